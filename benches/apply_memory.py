"""Benchmark of an apply's memory: the peak of a fresh process that applies a plan, for plans of several sizes, and their ratio.

    python benches/apply_memory.py
    python benches/apply_memory.py --steps 100000 1000000 --json memory.json
    python benches/apply_memory.py --steps 500000 5000000 --folder /dev/shm

Seventy-five creations, twenty-one updates and four suspensions in a hundred steps, spread over the tenants as belajar.id's accounts
are. The apply is the real one: journal, ledger, lanes, governor, reading back by lists, lifecycle. Its directory answers in the process,
makes each account up from its number, and keeps a bit an account; its clock runs ten thousand times as fast, so that no quota is waited
for.

Plan and snapshot are made in a process of their own. The peak is VmHWM: what getrusage says, a process has from its parent.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

import orjson
import polars as pl

from belajarid_recon.apply.run import ApplyComponents, apply_plan
from belajarid_recon.components import ScaledClock, SystemRandomness
from belajarid_recon.directory.chains import PAGE_ACCOUNTS
from belajarid_recon.directory.governor import Governor, policy_writes_of_project
from belajarid_recon.directory.interface import Account, Directory, Page, Reply, Verdict
from belajarid_recon.directory.snapshot import SnapshotRequest, take_snapshots
from belajarid_recon.plan.definition import Plan, PlanFacts
from belajarid_recon.plan.file import read_plan, write_plan
from belajarid_recon.plan.steps import Steps
from belajarid_recon.schemas import JENJANG_CODE, STEP, Action, Jenjang, StepClass, conform
from belajarid_recon.settings import Settings
from belajarid_recon.state.folders import latest_run, new_run
from belajarid_recon.state.lock import StateLock

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
CREATIONS, UPDATES = 75, 21
"""Of a hundred steps; the others are suspensions."""
PUPILS = 90
"""Of a hundred accounts; the others are in the domain of staff."""
PARTS = 16
CLOCK_SCALE = 10_000.0
FAMILY_NAMES = ("Lama", "Aminah")
"""Of an account that was not updated yet, and of one that was."""
FIRST_ID = 10**20


def main() -> None:
    """Apply a plan of each size in a fresh process, and print the peaks."""
    chosen = options()
    if chosen.part == "make":
        make(chosen.folder, chosen.steps[0])
    elif chosen.part == "apply":
        print(json.dumps(applied(chosen.folder, chosen.steps[0])))
    else:
        show([measured(steps, chosen) for steps in chosen.steps], chosen.json)


def options() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").partition("\n")[0],
        epilog="example: python benches/apply_memory.py --steps 100000 1000000",
    )
    parser.add_argument("--steps", type=int, nargs="+", default=[100_000, 1_000_000], help="sizes of the plans")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="where the data is made")
    parser.add_argument("--json", type=Path, help="write the numbers there too")
    parser.add_argument("--part", choices=("make", "apply"), help=argparse.SUPPRESS)
    return parser.parse_args()


def measured(steps: int, chosen: argparse.Namespace) -> dict[str, Any]:
    """What applying this many steps took."""
    with tempfile.TemporaryDirectory(prefix="apply-memory-", dir=chosen.folder) as folder:
        command = [sys.executable, __file__, "--folder", folder, "--steps", str(steps), "--part"]
        subprocess.run([*command, "make"], check=True)  # noqa: S603 - ourselves
        said = subprocess.run([*command, "apply"], check=True, stdout=subprocess.PIPE).stdout  # noqa: S603 - ourselves
    found: dict[str, Any] = json.loads(said)
    return found


def make(state: Path, steps: int) -> None:
    """A run with a snapshot and a plan."""
    clock, settings = ScaledClock(CLOCK_SCALE), settings_for(state)
    run = new_run(state, clock, SystemRandomness())
    directories = directories_for(settings, steps)
    customers = {tenant: directory.customer_id() for tenant, directory in directories.items()}
    take_snapshots(directories, SnapshotRequest(run.snapshot, customers, parts=PARTS, threads=1, clock=clock))
    facts = PlanFacts(
        endpoint_class="emulator",
        customer_ids={tenant.value: customer for tenant, customer in customers.items()},
        date="2026-11-15",
        regulation="bench",
        counts={},
        reasons={},
    )
    rows = pl.concat([steps_of(tenant, int(steps * share)) for tenant, share in SHARES.items()])
    write_plan(run.plan, Plan(Steps.of(rows.with_columns(step=pl.int_range(pl.len(), dtype=pl.Int64))), facts))


def steps_of(tenant: Jenjang, count: int) -> pl.DataFrame:
    """A tenant's steps in a plan's order."""
    number, turn = pl.col("number"), pl.col("number") % 100
    creates, updates = turn < CREATIONS, turn.is_between(CREATIONS, CREATIONS + UPDATES - 1)
    action = pl.when(creates).then(pl.lit(Action.CREATE.value)).when(updates).then(pl.lit(Action.UPDATE.value))
    old = {"family_name": FAMILY_NAMES[False], "given_name": "Siti"}
    before = pl.when(updates).then(pl.lit(orjson.dumps(old).decode())).otherwise(pl.lit('{"suspended":false}'))
    keys = pl.Series([key_of(tenant, place) for place in range(count)], dtype=pl.Binary)
    made = pl.select(number=pl.int_range(count, dtype=pl.Int64)).with_columns(
        account_key=keys,
        marker=pl.concat_str(keys.bin.slice(0, 16).bin.encode("hex"), pl.lit(f".{tenant}")),
        tenant=pl.lit(tenant.value),
        action=action.otherwise(pl.lit(Action.SUSPEND.value)),
        reason=pl.lit("bench"),
        address=pl.when(creates).then(pl.Series([address_of(tenant, place) for place in range(count)])),
        target_id=pl.when(~creates).then(pl.Series([str(FIRST_ID + place) for place in range(count)])),
        given_name=pl.when(creates | updates).then(pl.lit("Siti")),
        family_name=pl.when(creates)
        .then(pl.format("Santoso {}", number))
        .when(updates)
        .then(pl.lit(FAMILY_NAMES[True])),
        ou_path=pl.when(creates).then(pl.lit("/")),
        npsn=pl.when(creates).then(pl.Series([npsn_of(place) for place in range(count)])),
        listed=pl.when(creates).then(pl.lit(value=False)),
        suspended=pl.when(~(creates | updates)).then(pl.lit(value=True)),
        before=pl.when(~creates).then(before),
    )
    return conform(
        made.with_columns(pl.lit(StepClass.REVERSIBLE.value).alias("class")).sort("action", "account_key"), STEP
    )


def key_of(tenant: Jenjang, number: int) -> bytes:
    """The account key of a synthetic person."""
    return blake2b(b"%d" % number, digest_size=16).digest() + bytes((JENJANG_CODE[tenant],))


def address_of(tenant: Jenjang, number: int) -> str:
    """The address of an account."""
    return f"siti{number}@{domain_of(tenant, number)}"


def domain_of(tenant: Jenjang, number: int) -> str:
    """Where an account is: a hundred in a row are in one domain."""
    return domains_of(tenant)[number // 100 % 100 >= PUPILS]


def domains_of(tenant: Jenjang) -> tuple[str, str]:
    """The pupils' domain and that of staff."""
    return f"{tenant}.belajar.id", f"guru.{tenant}.belajar.id"


class MadeUpDirectory:
    """A tenant whose accounts follow from their numbers: what a plan of `count` steps finds, and what its steps make of it."""

    def __init__(self, tenant: Jenjang, count: int, governor: Governor) -> None:
        self.tenant = tenant.value
        self.governor = governor
        self._jenjang = tenant
        self._count = count
        self._written = bytearray(count // 8 + 1)
        """A bit an account: whether its step was carried out."""

    def customer_id(self) -> str:
        """As Directory."""
        return f"C{self.tenant}"

    def domains(self) -> list[str]:
        """As Directory."""
        return list(domains_of(self._jenjang))

    def orgunit_paths(self) -> set[str]:
        """As Directory."""
        return set()

    def list_accounts(self, domain: str, token: str | None, *, deleted: bool = False) -> Page:
        """As Directory: by number, from the one that `token` names."""
        accounts: list[dict[str, Any]] = []
        number = self._count if deleted else int(token or 0)
        while number < self._count and len(accounts) < PAGE_ACCOUNTS:
            if domain_of(self._jenjang, number) == domain and self._is_there(number):
                accounts.append(self._account(number))
            number += 1
        return Page(accounts, str(number) if number < self._count else None)

    def get_account(self, key: str) -> Account | None:
        """As Directory."""
        number = number_of(key)
        return self._account(number) if self._is_there(number) else None

    def insert_account(self, body: Mapping[str, Any]) -> Reply:
        """As Directory."""
        return self._write(number_of(body["primaryEmail"]))

    def update_account(self, account_id: str, body: Mapping[str, Any]) -> Reply:
        """As Directory."""
        del body
        return self._write(number_of(account_id))

    def _write(self, number: int) -> Reply:
        self._written[number // 8] |= 1 << number % 8
        return Reply(Verdict.DONE, 200, account=self._account(number))

    def _is_written(self, number: int) -> bool:
        return bool(self._written[number // 8] >> number % 8 & 1)

    def _is_there(self, number: int) -> bool:
        return number % 100 >= CREATIONS or self._is_written(number)

    def _account(self, number: int) -> dict[str, Any]:
        turn, written = number % 100, self._is_written(number)
        created, updated = turn < CREATIONS, turn < CREATIONS + UPDATES
        family_name = f"Santoso {number}" if created else FAMILY_NAMES[updated and written]
        marker = f"{key_of(self._jenjang, number)[:16].hex()}.{self.tenant}"
        return {
            "id": str(FIRST_ID + number),
            "primaryEmail": address_of(self._jenjang, number),
            "name": {"givenName": "Siti", "familyName": family_name},
            "orgUnitPath": "/",
            "externalIds": [{"type": "custom", "customType": "recon", "value": marker}],
            "organizations": [{"costCenter": npsn_of(number), "primary": True}],
            "includeInGlobalAddressList": False,
            "suspended": written and not updated,
        }


def number_of(key: str) -> int:
    """An account's number by its id or address."""
    return int(key.partition("@")[0].removeprefix("siti")) if "@" in key else int(key) - FIRST_ID


def npsn_of(number: int) -> str:
    """An account's school."""
    return str(20_000_000 + number % 1_000_000)


def directories_for(settings: Settings, steps: int) -> dict[Jenjang, Directory]:
    """A directory for each tenant of a plan of this many steps."""
    made: dict[Jenjang, Any] = {}
    for tenant, share in SHARES.items():
        quotas = settings.quotas_of(tenant)
        governor = Governor(
            tenant.value,
            quotas,
            ScaledClock(CLOCK_SCALE),
            SystemRandomness(),
            projects=[policy_writes_of_project(quotas)],
            places=settings.apply.in_flight,
        )
        made[tenant] = MadeUpDirectory(tenant, int(steps * share), governor)
    return made


def settings_for(state: Path) -> Settings:
    """Quotas as documented, and no note of the epoch: the directory has no units."""
    document = {
        "state": state,
        "endpoint": {"class": "emulator", "url": "http://127.0.0.1:9/", "time_scale": 1.0},
        "tenants": {str(tenant): {"customer_id": f"C{tenant}", "credentials_file": "unused"} for tenant in Jenjang},
        "lease": {"unit": ""},
    }
    return Settings.model_validate(document)


def applied(state: Path, steps: int) -> dict[str, Any]:
    """Apply the run that `make` made, and say what it took."""
    settings = settings_for(state)
    directories = {tenant.value: directory for tenant, directory in directories_for(settings, steps).items()}
    components = ApplyComponents(directories, ScaledClock(CLOCK_SCALE), SystemRandomness())
    run = latest_run(state)
    if run is None:
        sys.exit("there is no run to apply")
    loaded = peak_megabytes()
    began = time.perf_counter()
    plan = read_plan(run.plan)
    read = peak_megabytes()
    with StateLock(state, purpose="bench") as lock:
        result = apply_plan(lock, run, plan, settings, components)
    seconds = time.perf_counter() - began
    if result.confirmed != plan.runnable:
        sys.exit(f"not every step was confirmed: {result.confirmed} of {plan.runnable}")
    return {
        "steps": plan.runnable,
        "peak_megabytes": peak_megabytes(),
        "peak_megabytes_loaded": loaded,
        "peak_megabytes_plan_read": read,
        "seconds": seconds,
        "microseconds_a_step": seconds / plan.runnable * 1e6,
    }


def peak_megabytes() -> float:
    """The most this process has had resident."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1_024


def show(found: list[dict[str, Any]], path: Path | None) -> None:
    """Print the table, and write the numbers where asked."""
    numbers = {
        "applies": found,
        "ratio": found[-1]["peak_megabytes"] / found[0]["peak_megabytes"],
        "machine": f"{platform.machine()}, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}",
        "python": platform.python_version(),
    }
    for name in found[0]:
        print(f"{name:<26} " + " ".join(f"{one[name]:>14,.1f}" for one in found))
    print(f"{'ratio':<26} {numbers['ratio']:.3f}")
    if path:
        path.write_text(json.dumps(numbers, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
