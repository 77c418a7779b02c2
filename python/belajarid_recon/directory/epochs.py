"""The epoch of the latest apply, kept in the directory itself, so that a restored older state folder is refused.

It stands in the description of one organisational unit a tenant, with the identity of the state folder. A state folder that has not
taken at least that epoch lacks what was done since: addresses it would give a second time, suspensions it would not know as its own.
Google documents no conditional write for units, so two starts can write at once; the lease (state.lease) is what keeps them apart.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from belajarid_recon.components import Clock
from belajarid_recon.directory.interface import Directory, Reply, Verdict
from belajarid_recon.errors import DirectoryError, PlanError
from belajarid_recon.state.lease import Epoch, KnownEpochs

ATTEMPTS = 6
_MARK = "belajarid-recon epoch"
_NOTE = re.compile(r"belajarid-recon epoch ([0-9]{1,12}) ([0-9a-f]{16}) of ([0-9a-f]{32}), run ([0-9TZ]+-[0-9a-f]{8})")


def note_text(epoch: Epoch) -> str:
    """What is written into the directory."""
    return f"belajarid-recon epoch {epoch.number} {epoch.token} of {epoch.identity}, run {epoch.run}"


def refuse_newer_directory(directory: Directory, unit: str, known: KnownEpochs, *, rebuilding: str = "") -> int:
    """Return the number of the epoch that the unit at `unit` holds, 0 for none. Raises PlanError for one the state folder has not taken.

    Later starts of the run that is `rebuilding` may be missing: what they did is read from the directory.
    """
    noted = _noted(directory, unit, directory.get_orgunit(unit))
    if noted is None:
        return 0
    if known.lacks(noted) and not (noted.identity == known.identity and noted.run == rebuilding):
        raise _refusal(directory, unit, noted, known.identity, known.newest)
    return noted.number


def note_epoch(directory: Directory, unit: str, ours: Epoch, clock: Clock) -> None:
    """Write `ours` into the description of the unit at `unit`, make the unit if it is not there, and read it back.

    Raises PlanError when somebody else has written as late an epoch there, and DirectoryError when ours does not come to stand there.
    """
    for attempt in range(ATTEMPTS + 1):
        held = directory.get_orgunit(unit)
        noted = _noted(directory, unit, held)
        if noted == ours:
            return
        if noted is not None and (noted.identity != ours.identity or noted.number >= ours.number):
            raise _refusal(directory, unit, noted, ours.identity, ours.number)
        if attempt < ATTEMPTS:
            reply = _write(directory, unit, ours, make=held is None)
            if reply.verdict is not Verdict.DONE or attempt:
                clock.sleep(max(2.0**attempt, reply.retry_after_seconds or 0.0))
    raise DirectoryError(
        f"the epoch cannot be written into the directory: tenant {directory.tenant}, unit {unit}",
        hint="the unit is named by lease.unit in the settings; an administrator may make it by hand",
    )


def refuse_overtaken(directory: Directory, unit: str, ours: Epoch) -> None:
    """Raise PlanError when somebody else has written as late an epoch since `ours` was noted. A reading that lags says nothing."""
    noted = _noted(directory, unit, directory.get_orgunit(unit))
    if noted not in {None, ours} and (noted.identity != ours.identity or noted.number >= ours.number):
        raise _refusal(directory, unit, noted, ours.identity, ours.number)


def _write(directory: Directory, unit: str, ours: Epoch, *, make: bool) -> Reply:
    if make:
        parent, _, name = unit.rpartition("/")
        return directory.insert_orgunit(parent or "/", name, note_text(ours))
    return directory.describe_orgunit(unit, note_text(ours))


def _noted(directory: Directory, unit: str, held: Mapping[str, Any] | None) -> Epoch | None:
    """The epoch in a unit's description; None where nothing there looks like one. Raises PlanError for one that cannot be read."""
    text = str((held or {}).get("description") or "")
    found = _NOTE.search(text)
    if found is None and _MARK in text:
        raise PlanError(
            f"the epoch in the directory cannot be read: tenant {directory.tenant}, unit {unit}",
            hint="was it edited by hand, or written by a newer version? Use that one, or put the description back",
        )
    return Epoch(int(found[1]), found[2], found[3], found[4]) if found else None


def _refusal(directory: Directory, unit: str, noted: Epoch, identity: str | None, newest: int) -> PlanError:
    if noted.identity != identity:
        why = f"another state folder has applied to it, up to epoch {noted.number}"
    else:
        why = f"a later copy of this one has applied to it, up to epoch {noted.number}, and ours is {newest}"
    return PlanError(
        f"state folder is not the directory's newest: tenant {directory.tenant}: {why}",
        hint=f"put the newest copy of the state folder back; if {noted.run} is the run that is unfinished here, belajarid-recon rebuild "
        "makes up for what is missing; only when the newest state is lost for good, delete the unit "
        f"{unit} in the Admin console: addresses given since are then known to nobody",
    )
