"""Benchmark of forecasting: a week of a million steps over seven tenants, in virtual time.

    python benches/forecast.py
    python benches/forecast.py --steps 100000

Seventy creations, twenty-five updates, four restores and one unit in a hundred steps, spread over the tenants as belajar.id's accounts
are; creations over three domains. Making the steps is outside the timing.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import time
from pathlib import Path

import polars as pl

from belajarid_recon.apply.forecast import forecast
from belajarid_recon.plan.steps import Steps
from belajarid_recon.schemas import STEP, Action, Jenjang, conform
from belajarid_recon.settings import Settings

SHARES = {
    Jenjang.PAUD: 0.10,
    Jenjang.SD: 0.44,
    Jenjang.SMP: 0.20,
    Jenjang.SMA: 0.11,
    Jenjang.SMK: 0.11,
    Jenjang.SLB: 0.01,
    Jenjang.KESETARAAN: 0.03,
}
"""About what the register's enrolment is."""


def main() -> None:
    """Make steps, forecast them, print what it cost."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--json", type=Path, help="write the numbers there too")
    chosen = parser.parse_args()
    steps = pl.concat([steps_of(tenant, int(chosen.steps * share)) for tenant, share in SHARES.items()])
    steps = steps.with_columns(step=pl.int_range(pl.len(), dtype=pl.Int64))
    began = time.perf_counter()
    made = forecast(Steps.of(steps), settings())
    seconds = time.perf_counter() - began
    numbers = {
        "steps": steps.height,
        "seconds": seconds,
        "microseconds_a_step": seconds / steps.height * 1e6,
        "peak_megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
        "forecast_hours": made.seconds / 3_600,
        "forecast_hours_by_tenant": {tenant: end / 3_600 for tenant, end in made.tenant_seconds().items()},
        "machine": f"{platform.machine()}, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}",
        "python": platform.python_version(),
    }
    for name, value in numbers.items():
        print(f"{name:<26} {value:.2f}" if isinstance(value, float) else f"{name:<26} {value}")
    if chosen.json:
        chosen.json.write_text(json.dumps(numbers, indent=2) + "\n", encoding="utf-8")


def steps_of(tenant: Jenjang, count: int) -> pl.DataFrame:
    """A tenant's steps."""
    turn = pl.col("number") % 100
    action = pl.when(turn < 70).then(pl.lit(Action.CREATE.value)).when(turn < 95).then(pl.lit(Action.UPDATE.value))
    action = action.when(turn < 99).then(pl.lit(Action.RESTORE.value)).otherwise(pl.lit(Action.CREATE_ORGUNIT.value))
    part = pl.when(turn % 3 == 0).then(pl.lit("")).when(turn % 3 == 1).then(pl.lit("guru.")).otherwise(pl.lit("admin."))
    address = pl.format("budi{}@{}" + f"{tenant}.belajar.id", "number", part)
    made = pl.select(number=pl.int_range(count, dtype=pl.Int64)).with_columns(
        tenant=pl.lit(tenant.value),
        action=action,
        address=pl.when(turn < 70).then(address),
        target_id=pl.when(turn < 99).then(pl.col("number").cast(pl.String)),
        given_name=pl.lit("Budi"),
        family_name=pl.lit("Santoso"),
        ou_path=pl.lit("/"),
    )
    return conform(made, STEP)


def settings() -> Settings:
    """Every tenant with the documented quotas."""
    document = {
        "state": "unused",
        "endpoint": {"class": "google"},
        "tenants": {str(tenant): {"customer_id": f"C{tenant}", "credentials_file": "unused"} for tenant in Jenjang},
    }
    return Settings.model_validate(document)


if __name__ == "__main__":
    main()
