"""A process that reads one tenant of an emulator, and may kill itself on the way: what test_reading.py starts."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from belajarid_recon.components import ScaledClock, SystemRandomness
from belajarid_recon.directory import accounts, google, reading
from belajarid_recon.directory.connect import connect
from belajarid_recon.directory.snapshot import SnapshotRequest, take_snapshots
from belajarid_recon.settings import Settings

PAGE, CHUNK = 20, 50


def burning(call: Callable[..., Any], left: list[int]) -> Callable[..., Any]:
    """The call, with two chances to die: before and behind it."""

    def fused(*arguments: Any, **more: Any) -> Any:
        burn(left)
        result = call(*arguments, **more)
        burn(left)
        return result

    return fused


def burn(left: list[int]) -> None:
    """SIGKILL, when the last chance comes."""
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)


def read(state: Path, document: dict[str, Any], out: Path, chances: int) -> None:
    """Read on, dying at a chance; 0: never. Prints what came out."""
    settings = Settings.model_validate(document)
    google.PAGE_ACCOUNTS, accounts.CHUNK_ACCOUNTS = PAGE, CHUNK
    left = [chances]
    for name in ("fsync_file", "fsync_folder", "write_atomically"):
        setattr(reading, name, burning(getattr(reading, name), left))
    accounts.pages = burning(accounts.pages, left)
    clock = ScaledClock(settings.endpoint.time_scale)
    opened = reading.open_reading(state / "reading", {}, clock, age_max=timedelta(hours=1))
    request = SnapshotRequest(
        folder=out,
        customer_ids={tenant: account.customer_id for tenant, account in settings.tenants.items()},
        parts=2,
        threads=1,
        clock=clock,
        lists_at_once=2,
        reading=opened,
    )
    facts = take_snapshots(connect(settings, clock, SystemRandomness()), request)
    json.dump({"digest": facts.digest, "kept": opened.accounts, "accounts": facts.accounts}, sys.stdout)


if __name__ == "__main__":
    read(Path(sys.argv[1]), json.loads(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
