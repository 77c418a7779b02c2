"""Benchmark of a forecast's truth: 20,000 steps forecast, then applied in full before an emulator that counts.

    python benches/forecast_check.py
    python benches/forecast_check.py --steps 5000 --scale 4

The steps are those of `pacing.py`: creations in three domains of each tenant, and changes of accounts that are there; six creations to
a change, tenants as large as belajar.id's. Applied with the real journal and over sockets, from the first step done to the last.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

from forecast import SHARES
from pacing import DOMAINS, changes, creation, plan_of, settings_for

from belajarid_recon.apply.forecast import forecast
from belajarid_recon.apply.result import Progress
from belajarid_recon.apply.run import ApplyComponents, apply_plan
from belajarid_recon.components import ScaledClock, SystemRandomness
from belajarid_recon.directory.connect import connect
from belajarid_recon.emulator.launch import EmulatorProcess
from belajarid_recon.emulator.settings import EmulatorSettings
from belajarid_recon.plan.definition import Plan
from belajarid_recon.state.folders import new_run
from belajarid_recon.state.lock import StateLock

CREATIONS_TO_A_CHANGE = 6


def main() -> None:
    """Make the plan, forecast it, apply it, print both."""
    chosen = options()
    with tempfile.TemporaryDirectory(prefix="forecast-", dir=chosen.folder) as folder:
        settings = EmulatorSettings(Path(folder) / "emulator", scale=chosen.scale)
        with EmulatorProcess(settings) as emulator:
            plan = plan_for(emulator, chosen.steps)
            numbers = compared(emulator, plan, Path(folder) / "state", chosen)
    for name, value in numbers.items():
        print(f"{name:<26} {value:.3f}" if isinstance(value, float) else f"{name:<26} {value}")
    if chosen.json:
        chosen.json.write_text(json.dumps(numbers, indent=2) + "\n", encoding="utf-8")


def options() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--scale", type=float, default=3.0, help="emulated seconds in a real one")
    parser.add_argument("--in-flight", type=int, default=16, help="as apply.in_flight")
    parser.add_argument("--latency", type=float, default=0.0, help="real seconds the emulator lets each call wait")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="where the data is made")
    parser.add_argument("--json", type=Path, help="write the numbers there too")
    return parser.parse_args()


def plan_for(emulator: EmulatorProcess, steps: int) -> Plan:
    """That many steps over the tenants; the accounts they change are planted."""
    rows = []
    for tenant, share in SHARES.items():
        domains = [name.format(tenant) for name in DOMAINS]
        changed = int(steps * share / (CREATIONS_TO_A_CHANGE + 1))
        created = int(steps * share) - changed
        rows += [creation(tenant, number, domains[number % 3]) for number in range(created)]
        rows += changes(emulator, tenant, domains[0], changed)
    return plan_of(emulator, rows)


def compared(emulator: EmulatorProcess, plan: Plan, state: Path, chosen: argparse.Namespace) -> dict[str, Any]:
    """Emulated seconds as forecast and as measured, by tenant."""
    settings = settings_for(emulator, state, chosen)
    expected = forecast(plan.steps, settings, latency_seconds=chosen.latency * chosen.scale).tenant_seconds()
    clock, randomness = ScaledClock(chosen.scale), SystemRandomness()
    began: dict[str, float] = {}
    ended: dict[str, float] = {}

    def watch(progress: Progress) -> None:
        if progress.done:
            began.setdefault(progress.tenant, time.monotonic())
        if progress.done == progress.total:
            ended.setdefault(progress.tenant, time.monotonic())

    state.mkdir()
    components = ApplyComponents(connect(settings, clock, randomness), clock, randomness, watch)
    started = time.monotonic()
    with StateLock(state, purpose="bench") as lock:
        apply_plan(lock, new_run(state, clock, randomness), plan, settings, components)
    whole = (time.monotonic() - started) * chosen.scale
    measured = {tenant: (ended[tenant] - began[tenant]) * chosen.scale for tenant in expected}
    return {
        "steps": plan.steps.height,
        "scale": chosen.scale,
        "forecast_seconds": max(expected.values()),
        "measured_seconds": max(measured.values()),
        "measured_of_forecast": max(measured.values()) / max(expected.values()),
        "by_tenant": {tenant: round(measured[tenant] / expected[tenant], 3) for tenant in expected},
        "with_read_back_seconds": whole,
        "machine": f"{platform.machine()}, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}",
        "python": platform.python_version(),
    }


if __name__ == "__main__":
    main()
