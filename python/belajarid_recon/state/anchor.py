"""How far a state folder has come, noted at a second place, so that an older copy of it is refused.

A backup that is put back says nothing of its age: its journal and its ledger are whole, and what was done since is not in them. The
anchor is a small file in a folder that is not restored with the state, best on another disk: the latest run, the number
and chain value of its newest journal row, and the end of the ledger's chain.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from belajarid_recon.components import Clock, Randomness
from belajarid_recon.errors import BusyError, PlanError, SettingsError
from belajarid_recon.state.atomic import write_atomically
from belajarid_recon.state.folders import RunFolder
from belajarid_recon.state.journal import Journal, newest_row
from belajarid_recon.state.lease import state_identity
from belajarid_recon.state.ledger import has_ledger_end, ledger_end

FORMAT_VERSION = 1
SECONDS_MIN = 1.0
"""Between two notes of one journal: a note costs two syncs, and a restored copy is older than a second."""


@dataclass(frozen=True)
class Anchor:
    """The anchor of one state folder. Making one touches nothing."""

    path: Path
    state: Path
    clock: Clock

    @classmethod
    def of(cls, folder: Path, state: Path, clock: Clock, randomness: Randomness) -> Anchor:
        """The anchor of `state` in `folder`. Call it with the state folder's lock held.

        Raises SettingsError when the folder is not there: a disk that is not mounted must not look like a first use.
        """
        if not folder.is_dir():
            raise SettingsError(
                f"no such folder for the anchor: {folder}", hint="mount it, or make it before its first use"
            )
        return cls(folder / f"{state_identity(state, randomness)}.json", state, clock)

    def check(self, *, rebuilding: RunFolder | None = None) -> None:
        """Refuse a state folder that is older than its anchor, or whose ledger or journal is another one. Raises PlanError.

        The journal of the run that is `rebuilding` may lack rows, if that run is what the anchor speaks of.
        """
        noted = self._read()
        if noted is None:
            return
        if not has_ledger_end(self.state, noted["ledger"]):
            raise self._older("the ledger lacks segments")
        run = RunFolder(self.state / "runs" / noted["run"])
        if not run.path.is_dir():
            raise self._older(f"run {noted['run']} is not in it")
        if run != rebuilding and run.journal.exists() and newest_row(run.journal) < noted["n"]:
            # The copy of the head is not synced: after a power cut only the journal itself can tell.
            with Journal.open(run.journal, clock=self.clock) as journal:
                self._refuse_other(run, journal, noted)

    def follow(self, run: RunFolder, journal: Journal) -> None:
        """Refuse a journal that does not pass through the noted row, then note it, and each second's newest row from now on.

        Raises PlanError for the journal, and BusyError when a note cannot be written; later notes that cannot be written
        stop the journal.
        """
        noted = self._read()
        if noted is not None and noted["run"] == run.run_id:
            self._refuse_other(run, journal, noted)
        ledger = ledger_end(self.state)
        due = self.clock.monotonic()

        def note(n: int, chain: bytes) -> None:
            nonlocal due
            if self.clock.monotonic() >= due:
                self._write(run, n, chain, ledger)
                due = self.clock.monotonic() + SECONDS_MIN

        journal.follow(note)

    def replace(self, run: RunFolder, journal: Journal) -> None:
        """Note a journal that was made anew, whatever was noted of the one before it."""
        n, chain = journal.newest
        self._write(run, n, chain, ledger_end(self.state))

    def _refuse_other(self, run: RunFolder, journal: Journal, noted: dict[str, Any]) -> None:
        if not journal.passes(noted["n"], bytes.fromhex(noted["chain"])):
            raise self._older(f"the journal of run {run.run_id} lacks row {noted['n']}")

    def _write(self, run: RunFolder, n: int, chain: bytes, ledger: str) -> None:
        document = {"format_version": FORMAT_VERSION, "run": run.run_id, "n": n, "chain": chain.hex(), "ledger": ledger}
        try:
            write_atomically(self.path, orjson.dumps(document))
        except OSError as error:
            hint = "see to the disk or share of state_anchor, then apply again"
            raise BusyError(f"anchor cannot be written: {self.path}", hint=hint) from error

    def _read(self) -> dict[str, Any] | None:
        """What was noted; None before the first note."""
        try:
            document: dict[str, Any] = orjson.loads(self.path.read_bytes())
            if document["format_version"] == FORMAT_VERSION and {"run", "n", "chain", "ledger"} <= document.keys():
                return document
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise self._unreadable() from error
        raise self._unreadable()

    def _unreadable(self) -> PlanError:
        return PlanError(f"anchor cannot be read: {self.path}", hint=_GIVE_UP_HINT)

    def _older(self, why: str) -> PlanError:
        return PlanError(
            f"state folder is older than its anchor: {self.state}: {why} (anchor {self.path})", hint=_GIVE_UP_HINT
        )


def checked_anchor(folder: Path | None, state: Path, clock: Clock, randomness: Randomness) -> Anchor | None:
    """The anchor in `folder`, once the state folder has been found no older than it; None where the settings name no folder.

    Raises as `Anchor.of` and `Anchor.check`. Call it with the state folder's lock held.
    """
    if folder is None:
        return None
    anchor = Anchor.of(folder, state, clock, randomness)
    anchor.check()
    return anchor


_GIVE_UP_HINT = (
    "put a newer copy of the state folder back; for a journal alone, belajarid-recon rebuild; only when everything newer is lost "
    "for good, delete the anchor: addresses given since are then known to nobody"
)
