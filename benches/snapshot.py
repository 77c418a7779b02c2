"""Benchmark of a snapshot: users read and sealed in a second of the client's own work.

python benches/snapshot.py                        # 300,000 accounts
python benches/snapshot.py --accounts 1000000

An emulator holds accounts as belajar.id's are, four of five with our marker, in three domains of a tenant. They are listed over a
socket, 500 a page, spooled and sealed into parts, as a plan does it. What counts is the client's processor time, its kernel's
share included: the server is another machine's work, and the quota (20,000 users a second and tenant) is out of the way at
this time scale.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

from pacing import DOMAINS, PLANTED_AT_ONCE, key_of

from belajarid_recon.cli.main import OBJECTS_PER_COLLECTION
from belajarid_recon.components import ScaledClock, SystemRandomness
from belajarid_recon.directory.connect import connect
from belajarid_recon.directory.snapshot import SnapshotRequest, take_snapshot
from belajarid_recon.emulator.launch import EmulatorProcess
from belajarid_recon.emulator.settings import EmulatorSettings
from belajarid_recon.schemas import Jenjang
from belajarid_recon.settings import Settings

TENANT = Jenjang.SD
SCALE = 1_000.0


def main() -> None:
    """Plant accounts, take a snapshot of them as the command would, print what it cost."""
    gc.set_threshold(OBJECTS_PER_COLLECTION)
    chosen = options()
    with tempfile.TemporaryDirectory(prefix="snapshot-", dir=chosen.folder) as folder:
        settings = EmulatorSettings(Path(folder) / "emulator", scale=SCALE, tenants=(TENANT,))
        with EmulatorProcess(settings) as emulator:
            for start in range(0, chosen.accounts, PLANTED_AT_ONCE):
                count = min(PLANTED_AT_ONCE, chosen.accounts - start)
                emulator.plant(TENANT, [account(number) for number in range(start, start + count)])
            numbers = measure(emulator, Path(folder), chosen)
    for name, value in numbers.items():
        print(f"{name:<26} {value:,.2f}" if isinstance(value, float) else f"{name:<26} {value}")
    if chosen.json:
        chosen.json.write_text(json.dumps(numbers, indent=2) + "\n", encoding="utf-8")


def options() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--accounts", type=int, default=300_000)
    parser.add_argument("--parts", type=int, default=16, help="as run.parts")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="where the data is made")
    parser.add_argument("--json", type=Path, help="write the numbers there too")
    return parser.parse_args()


def account(number: int) -> dict[str, Any]:
    """One account as the directory has it."""
    marker = f"{key_of(TENANT, number)[:16].hex()}.{TENANT}"
    ours = number % 5 > 0
    return {
        "primaryEmail": f"siti.aminah{number:07}@{DOMAINS[number % 3].format(TENANT)}",
        "name": {"givenName": "Siti", "familyName": f"Aminah {number % 1_000}"},
        "organizations": [{"costCenter": f"{20_000_000 + number % 100_000}", "primary": True}],
        "externalIds": [{"type": "custom", "customType": "recon", "value": marker}] if ours else [],
    }


def measure(emulator: EmulatorProcess, folder: Path, chosen: argparse.Namespace) -> dict[str, Any]:
    """Take the snapshot."""
    document = {
        "state": folder / "state",
        "endpoint": {"class": "emulator", "url": emulator.url, "time_scale": SCALE},
        "tenants": {
            str(TENANT): {
                "customer_id": emulator.customer_ids[TENANT],
                "credentials_file": emulator.credentials[TENANT],
            }
        },
    }
    clock = ScaledClock(SCALE)
    directories = connect(Settings.model_validate(document), clock, SystemRandomness())
    request = SnapshotRequest(
        folder=folder / "snapshot",
        customer_ids={TENANT: emulator.customer_ids[TENANT]},
        parts=chosen.parts,
        threads=os.cpu_count() or 1,
        clock=clock,
    )
    before, began = used(), time.perf_counter()
    facts = take_snapshot(directories[TENANT], TENANT, request)
    seconds, spent = time.perf_counter() - began, used() - before
    return {
        "accounts": facts.accounts,
        "marked": facts.tenants[str(TENANT)]["marked"],
        "digest": facts.digest[:16],
        "wall_seconds": seconds,
        "client_seconds": spent,
        "users_a_client_second": facts.accounts / spent,
        "users_a_wall_second": facts.accounts / seconds,
        "peak_megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
        "machine": f"{platform.machine()}, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}",
        "python": platform.python_version(),
    }


def used() -> float:
    """Processor seconds of this process."""
    spent = resource.getrusage(resource.RUSAGE_SELF)
    return spent.ru_utime + spent.ru_stime


if __name__ == "__main__":
    main()
