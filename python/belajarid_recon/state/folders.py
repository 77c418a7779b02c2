"""The state folder: one folder a run, and what outlives runs.

<state>/lock
<state>/runs/<run-id>/run.json, records/, quarantine.parquet, snapshot/, plan/, contacts.parquet, no-contact.parquet, journal.sqlite,
                     verify.json
<state>/ledger/      every address ever reserved, one segment a run
<state>/lifecycle/   suspensions we made and lifted, one segment a run
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

import orjson

from belajarid_recon.components import Clock, Randomness
from belajarid_recon.errors import PlanError, SettingsError
from belajarid_recon.state.atomic import fsync_folder, write_atomically

FORMAT_VERSION = 1
RUN_FILE = "run.json"
READING_FOLDER = "reading"
"""In the state folder: readings that are under way or were stopped, by what they are for."""
_RUN_ID = re.compile(r"(\d{8}T\d{6}\d{3})Z-[0-9a-f]{8}")
_STAMP = "%Y%m%dT%H%M%S"


class RunStatus(StrEnum):
    """Where a run is in its life."""

    PLANNED = "planned"
    """Nothing was sent yet; the plan is there once `plan/plan.json` is."""
    APPLYING = "applying"
    """Steps may have been sent. The run must be resumed or abandoned before the next plan."""
    CLOSED = "closed"
    """Every step that no guard holds is settled."""
    ABANDONED = "abandoned"
    """Given up; what it did is found by the next snapshot."""


_NEXT = {
    RunStatus.PLANNED: {RunStatus.APPLYING, RunStatus.ABANDONED},
    RunStatus.APPLYING: {RunStatus.APPLYING, RunStatus.CLOSED, RunStatus.ABANDONED},
    RunStatus.CLOSED: {RunStatus.CLOSED},
    RunStatus.ABANDONED: {RunStatus.ABANDONED},
}


@dataclass(frozen=True)
class RunFolder:
    """Paths of one run. Making one touches nothing."""

    path: Path

    @property
    def run_id(self) -> str:
        """The folder's name: UTC time in milliseconds and a random suffix."""
        return self.path.name

    @property
    def state(self) -> Path:
        """The state folder it belongs to."""
        return self.path.parent.parent

    @property
    def records(self) -> Path:
        """Shuffled and accepted rows: while a plan is made the one place with personal numbers."""
        return self.path / "records"

    @property
    def quarantine(self) -> Path:
        """Rows set aside, as Parquet."""
        return self.path / "quarantine.parquet"

    @property
    def snapshot(self) -> Path:
        """What the directory said before the plan."""
        return self.path / "snapshot"

    @property
    def plan(self) -> Path:
        """The plan's own folder."""
        return self.path / "plan"

    @property
    def contacts(self) -> Path:
        """Recovery contacts of the plan's steps, until the run is over: the one file with personal numbers once it is planned."""
        return self.path / "contacts.parquet"

    @property
    def no_contact(self) -> Path:
        """Accounts of staff without a way of recovery, counted by school, as Parquet."""
        return self.path / "no-contact.parquet"

    @property
    def journal(self) -> Path:
        """Intents and outcomes."""
        return self.path / "journal.sqlite"

    @property
    def verify(self) -> Path:
        """What reading the directory again said."""
        return self.path / "verify.json"

    def document(self) -> dict[str, Any]:
        """`run.json` as it stands. Raises PlanError when it cannot be read."""
        try:
            document = orjson.loads((self.path / RUN_FILE).read_bytes())
        except (OSError, orjson.JSONDecodeError) as error:
            raise PlanError(f"no readable run: {self.path}", hint="name a run folder of this state folder") from error
        if not isinstance(document, dict) or document.get("format_version") != FORMAT_VERSION:
            raise PlanError(
                f"run has a format this version does not read: {self.path}", hint="use the version it was made with"
            )
        return document

    def status(self) -> RunStatus:
        """Where the run is in its life."""
        status = self.document().get("status")
        try:
            return RunStatus(str(status))
        except ValueError as error:
            raise PlanError(f"run has an unknown status: {status}", hint=str(self.path / RUN_FILE)) from error

    def mark(self, status: RunStatus, clock: Clock, **facts: str) -> None:
        """Write the run's status, durably; `facts` are kept beside it. A run that is over loses its contacts.

        Raises PlanError for a step back.
        """
        document = self.document()
        if status not in _NEXT[self.status()]:
            raise PlanError(f"run is {self.status()} and cannot become {status}: {self.run_id}", hint="make a new plan")
        document |= {"status": status.value, "changed_at": clock.now().isoformat(), **facts}
        write_atomically(self.path / RUN_FILE, orjson.dumps(document, option=orjson.OPT_INDENT_2))
        if status in {RunStatus.CLOSED, RunStatus.ABANDONED}:
            # After the status, so that a kill in between leaves no run that lacks what it still needs.
            self.contacts.unlink(missing_ok=True)


def new_run(state: Path, clock: Clock, randomness: Randomness) -> RunFolder:
    """Make a run folder. Call it with the state folder's lock held.

    Ids of a state folder only grow: when the machine's clock went back, the new id follows the latest one, so that the order
    of names is the order of runs.
    """
    run = RunFolder(state / "runs" / _next_id(state, clock, randomness))
    try:
        run.path.mkdir(mode=0o700, parents=True)
    except OSError as error:
        raise SettingsError(f"state folder cannot be used: {state}", hint=str(error.strerror)) from error
    document = {
        "format_version": FORMAT_VERSION,
        "run_id": run.run_id,
        "status": RunStatus.PLANNED.value,
        "created_at": clock.now().isoformat(),
    }
    write_atomically(run.path / RUN_FILE, orjson.dumps(document, option=orjson.OPT_INDENT_2))
    fsync_folder(run.path.parent)
    return run


def _next_id(state: Path, clock: Clock, randomness: Randomness) -> str:
    stamp = clock.now().astimezone(UTC)
    runs = list_runs(state)
    if runs:
        text = runs[-1].run_id.partition("Z")[0]
        latest = datetime.strptime(text[:-3], _STAMP).replace(tzinfo=UTC) + timedelta(milliseconds=int(text[-3:]))
        stamp = max(stamp, latest + timedelta(milliseconds=1))
    return f"{stamp.strftime(_STAMP)}{stamp.microsecond // 1_000:03d}Z-{randomness.bytes(4).hex()}"


def open_run(state: Path, run_id: str) -> RunFolder:
    """The run of this id. Raises PlanError when there is none."""
    if not _RUN_ID.fullmatch(run_id):
        raise PlanError(f"no run id: {run_id}", hint="run ids look like 20260105T031500123Z-1a2b3c4d")
    run = RunFolder(state / "runs" / run_id)
    run.document()
    return run


def list_runs(state: Path) -> list[RunFolder]:
    """Every run of the state folder, oldest first."""
    folder = state / "runs"
    if not folder.is_dir():
        return []
    return [
        RunFolder(path)
        for path in sorted(folder.iterdir())
        if _RUN_ID.fullmatch(path.name) and (path / RUN_FILE).is_file()
    ]


def latest_run(state: Path) -> RunFolder | None:
    """The newest run, or None."""
    runs = list_runs(state)
    return runs[-1] if runs else None


def unfinished_run(state: Path) -> RunFolder | None:
    """The run that is applying, or None. It must be resumed or abandoned before another plan is made."""
    return next((run for run in reversed(list_runs(state)) if run.status() is RunStatus.APPLYING), None)
