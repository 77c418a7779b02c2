"""Benchmark of pacing: the share of the allowed rate that apply reaches with seven tenants, counted by the emulator.

    python benches/pacing.py                                 # scale 6, 18 emulated minutes: 3 real ones
    python benches/pacing.py --scale 6 --minutes 60
    python benches/pacing.py --scale 1 --minutes 10
    python benches/pacing.py --mix creations                 # where creations, and not calls, are the limit

Plans more than the minutes allow: in each tenant creations in its three domains, and changes of accounts that are there. Creations may be
30 of a tenant's 40 calls a second; changes, each with its read, must fill the rest. Applies it with the real journal, stops at the end
of the minutes as Ctrl-C does, and asks the emulator what it answered. The first five emulated seconds are not counted: connections,
tokens, and the server's savings. The share is one of the documented 2,400 calls a minute (with `--mix creations`: of 10 a
second and domain).

Client and emulator share the machine; their processor time is in the table, so that a share below the goal can be told from a slow machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import signal
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import orjson
import polars as pl

from belajarid_recon.apply.run import ApplyComponents, apply_plan
from belajarid_recon.components import ScaledClock, SystemRandomness
from belajarid_recon.directory.connect import connect
from belajarid_recon.emulator.launch import EmulatorProcess
from belajarid_recon.emulator.settings import EmulatorSettings
from belajarid_recon.plan.definition import Plan, PlanFacts
from belajarid_recon.plan.steps import Steps
from belajarid_recon.schemas import JENJANG_CODE, STEP, Action, Jenjang
from belajarid_recon.settings import Settings
from belajarid_recon.state.folders import new_run
from belajarid_recon.state.lock import StateLock

WARM_UP_SECONDS = 5.0
CALLS_PER_SECOND = 40
CREATIONS_PER_SECOND = 10
SPARE = 1.15
"""More steps than can be sent, so that no tenant runs out."""
PLANTED_AT_ONCE = 5_000
DOMAINS = ("{}.belajar.id", "guru.{}.belajar.id", "admin.{}.belajar.id")


def main() -> None:
    """Make plan and directory, apply for the minutes, print what the emulator counted."""
    chosen = options()
    seconds = WARM_UP_SECONDS + chosen.minutes * 60
    with tempfile.TemporaryDirectory(prefix="pacing-", dir=chosen.folder) as folder:
        settings = EmulatorSettings(Path(folder) / "emulator", scale=chosen.scale, latency_seconds=chosen.latency)
        with EmulatorProcess(settings) as emulator:
            plan = plan_for(emulator, seconds, chosen.mix)
            measured = measure(emulator, plan, Path(folder) / "state", chosen)
    show(measured, chosen)


def options() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--scale", type=float, default=6.0, help="emulated seconds in a real one")
    parser.add_argument("--minutes", type=float, default=18.0, help="emulated minutes that are counted")
    parser.add_argument("--mix", choices=("both", "creations", "changes"), default="both")
    parser.add_argument("--in-flight", type=int, default=16, help="as apply.in_flight")
    parser.add_argument("--latency", type=float, default=0.0, help="real seconds the emulator lets each call wait")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="where the data is made")
    parser.add_argument("--json", type=Path, help="write the numbers there too")
    return parser.parse_args()


def plan_for(emulator: EmulatorProcess, seconds: float, mix: str) -> Plan:
    """Steps for every tenant, more than `seconds` allow; the accounts they change are planted."""
    rows = []
    for tenant in emulator.settings.tenants:
        domains = [name.format(tenant) for name in DOMAINS]
        created = {"both": 3 * CREATIONS_PER_SECOND, "creations": 3 * CREATIONS_PER_SECOND, "changes": 0}[mix]
        changed = {"both": 10 / 2, "creations": 0, "changes": CALLS_PER_SECOND / 2}[mix]
        rows += [creation(tenant, number, domains[number % 3]) for number in range(int(created * seconds * SPARE))]
        rows += changes(emulator, tenant, domains[0], int(changed * seconds * SPARE))
    return plan_of(emulator, rows)


def plan_of(emulator: EmulatorProcess, rows: list[dict[str, Any]]) -> Plan:
    """A plan of these steps, whose columns are theirs and null otherwise."""
    steps = pl.DataFrame({name: [row.get(name) for row in rows] for name in STEP}, schema=STEP)
    steps = steps.with_columns(step=pl.int_range(pl.len(), dtype=pl.Int64))
    facts = PlanFacts(
        endpoint_class="emulator",
        customer_ids={str(tenant): customer for tenant, customer in emulator.customer_ids.items()},
        date="2026-11-15",
        regulation="bench",
        counts={},
        reasons={},
    )
    return Plan(steps=Steps.of(steps.select(STEP.names())), facts=facts)


def key_of(tenant: Jenjang, number: int) -> bytes:
    """The account key of a synthetic person."""
    return blake2b(b"%d" % number, digest_size=16).digest() + bytes((JENJANG_CODE[tenant],))


def common(tenant: Jenjang, number: int) -> dict[str, Any]:
    """What all steps on a synthetic person's account have."""
    key = key_of(tenant, number)
    marker = f"{key[:16].hex()}.{tenant}"
    return {"tenant": str(tenant), "class": "safe", "reason": "bench", "account_key": key, "marker": marker}


def creation(tenant: Jenjang, number: int, domain: str) -> dict[str, Any]:
    """A step that makes an account."""
    attributes = {
        "given_name": "Budi",
        "family_name": f"Santoso {number}",
        "ou_path": "/",
        "npsn": f"{20_000_000 + number % 1_000_000}",
        "listed": False,
        "suspended": False,
    }
    address = f"budi.santoso{number:07}@{domain}"
    return common(tenant, number) | attributes | {"action": Action.CREATE.value, "address": address}


def changes(emulator: EmulatorProcess, tenant: Jenjang, domain: str, count: int) -> list[dict[str, Any]]:
    """Steps that change accounts, and the accounts."""
    rows = [
        common(tenant, number) | {"action": Action.UPDATE.value, "given_name": "Siti", "family_name": "Aminah"}
        for number in range(10**7, 10**7 + count)
    ]
    before = orjson.dumps({"family_name": "Lama", "given_name": "Siti"}).decode()
    for start in range(0, count, PLANTED_AT_ONCE):
        group = rows[start : start + PLANTED_AT_ONCE]
        accounts = [
            {
                "primaryEmail": f"siti.aminah{start + number:07}@{domain}",
                "name": {"givenName": "Siti", "familyName": "Lama"},
                "externalIds": [{"type": "custom", "customType": "recon", "value": row["marker"]}],
            }
            for number, row in enumerate(group)
        ]
        for row, target_id in zip(group, emulator.plant(tenant, accounts), strict=True):
            row.update(target_id=target_id, before=before)
    return rows


@dataclass(frozen=True)
class Measured:
    """What the emulator counted between two instants, and what it cost."""

    seconds: float
    """Emulated."""
    answers: dict[str, dict[str, int]]
    rejected: dict[str, dict[str, int]]
    applied: dict[str, dict[str, int]]
    client_seconds: float
    emulator_seconds: float
    steps: int


@dataclass(frozen=True)
class _Reading:
    """The counters at one instant."""

    at: float
    stats: dict[str, Any]
    client_seconds: float
    emulator_seconds: float


def measure(emulator: EmulatorProcess, plan: Plan, state: Path, chosen: argparse.Namespace) -> Measured:
    """Apply for the minutes, and read the emulator's counters when the warm-up ends and when they do."""
    settings = settings_for(emulator, state, chosen)
    clock, randomness = ScaledClock(chosen.scale), SystemRandomness()
    components = ApplyComponents(connect(settings, clock, randomness), clock, randomness)
    readings: list[_Reading] = []

    def watch() -> None:
        while sum(map(sum, (found.values() for found in emulator.stats()["applied"].values()))) == 0:
            time.sleep(0.05)
        for seconds in (WARM_UP_SECONDS, chosen.minutes * 60):
            time.sleep(clock.real(seconds))
            readings.append(read(emulator))
        os.kill(os.getpid(), signal.SIGINT)

    state.mkdir()
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    with StateLock(state, purpose="bench") as lock, suppress(KeyboardInterrupt):
        apply_plan(lock, new_run(state, clock, randomness), plan, settings, components)
        sys.exit("the plan was too small for the minutes")
    watcher.join()
    return difference(*readings, chosen.scale)


def settings_for(emulator: EmulatorProcess, state: Path, chosen: argparse.Namespace) -> Settings:
    """Settings towards the emulator, quotas as documented."""
    document = {
        "state": state,
        "endpoint": {"class": "emulator", "url": emulator.url, "time_scale": chosen.scale},
        "tenants": {
            str(tenant): {"customer_id": emulator.customer_ids[tenant], "credentials_file": path}
            for tenant, path in emulator.credentials.items()
        },
        "apply": {"in_flight": chosen.in_flight},
    }
    return Settings.model_validate(document)


def read(emulator: EmulatorProcess) -> _Reading:
    """The counters now."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    fields = Path(f"/proc/{emulator.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    emulator_seconds = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return _Reading(time.monotonic(), emulator.stats(), used.ru_utime + used.ru_stime, emulator_seconds)


def difference(first: _Reading, last: _Reading, scale: float) -> Measured:
    """What was counted between two readings."""

    def between(name: str) -> dict[str, dict[str, int]]:
        earlier = first.stats[name]
        return {
            outer: {inner: count - earlier.get(outer, {}).get(inner, 0) for inner, count in inners.items()}
            for outer, inners in last.stats[name].items()
        }

    applied = between("applied")
    return Measured(
        seconds=(last.at - first.at) * scale,
        answers=between("answers"),
        rejected=between("rejected"),
        applied=applied,
        client_seconds=last.client_seconds - first.client_seconds,
        emulator_seconds=last.emulator_seconds - first.emulator_seconds,
        steps=sum(sum(found.values()) for found in applied.values()),
    )


def show(measured: Measured, chosen: argparse.Namespace) -> None:
    """Print the table, and write the numbers where asked."""
    calls = sum(sum(by_status.values()) for by_status in measured.answers.values())
    rejected = sum(sum(by_reason.values()) for by_reason in measured.rejected.values())
    tenants = len(Jenjang)
    allowed = tenants * measured.seconds * (3 * CREATIONS_PER_SECOND if chosen.mix == "creations" else CALLS_PER_SECOND)
    by_tenant = {
        tenant: sum(found.get(tenant, 0) for found in measured.applied.values()) / measured.seconds
        for tenant in map(str, Jenjang)
    }
    real = measured.seconds / chosen.scale
    numbers = {
        "scale": chosen.scale,
        "minutes": measured.seconds / 60,
        "mix": chosen.mix,
        "in_flight": chosen.in_flight,
        "share_of_allowed": (calls - rejected) / allowed,
        "share_rejected": rejected / max(1, calls),
        "steps_a_second_by_tenant": by_tenant,
        "steps_a_real_second": measured.steps / real,
        "client_ms_a_step": measured.client_seconds / max(1, measured.steps) * 1e3,
        "client_processors": measured.client_seconds / real,
        "emulator_processors": measured.emulator_seconds / real,
        "answers": measured.answers,
        "rejected": measured.rejected,
        "machine": f"{platform.machine()}, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}",
        "python": platform.python_version(),
    }
    for name, value in numbers.items():
        print(f"{name:<26} {value:.4f}" if isinstance(value, float) else f"{name:<26} {value}")
    if chosen.json:
        chosen.json.write_text(json.dumps(numbers, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
