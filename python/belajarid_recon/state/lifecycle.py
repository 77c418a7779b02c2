"""Suspensions and deletions we made, and what became of them.

Only what we suspended is ever restored, and only that is ever deleted: Google or a person may have had a reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import date
from pathlib import Path

import polars as pl

from belajarid_recon.errors import PlanError
from belajarid_recon.schemas import Action, conform
from belajarid_recon.state.atomic import fsync_folder, write_pieces_atomically
from belajarid_recon.state.folders import RunFolder, RunStatus, list_runs
from belajarid_recon.state.journal import Journal

LIFECYCLE = pl.Schema({"account_key": pl.Binary, "event": pl.String, "on": pl.Date, "target_id": pl.String})
"""One row an account a run suspended, restored, deleted, or found restored. `event` is `suspended`, `restored` or `deleted`; `on`
is the run's date, null in segments of versions that did not write it; `target_id` is the immutable id of a deleted account."""
STEP_COLUMNS = ("step", "action", "account_key", "target_id", "suspended")
"""Columns of schemas.STEP that tell of a step what became of its account."""
_EVENT = pl.Schema(
    {
        "account_key": pl.Binary,
        "action": pl.String,
        "event": pl.String,
        "target_id": pl.String,
        "sent": pl.Boolean,
        "done": pl.Boolean,
        "own": pl.Boolean,  # whether the event took place
    }
)
_KEY = pl.Schema({"account_key": pl.Binary})
_LOST_HINT = "restore it from a backup; without it nobody is restored"


def record_lifecycle(
    run: RunFolder, pieces: Iterable[pl.DataFrame], journal: Journal, *, on: date, live: pl.Series | None = None
) -> None:
    """Write the run's segment from `pieces` of its steps (STEP_COLUMNS) and its journal, when the run of date `on` is closed or abandoned.

    A suspension counts as made once its request has left, however it ended: before it the account was not suspended, its
    effect may land late, and taking it for somebody else's would lock a person out for good. One that was found there
    before any request left is somebody else's. A restoration counts when it is done and reading back has not contradicted it: an
    account that the directory only said to have restored stays ours to restore. `live` holds account keys that the run's
    snapshot shows not suspended: a suspension of ours was lifted there by others, and the next one on that account is not ours
    unless this run made it. A deletion counts as a suspension does; what comes back from it is as suspended as it went.
    """
    path = _folder(run.state) / f"{run.run_id}.parquet"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fsync_folder(run.state)
    rows = _segment(run, pieces, journal, pl.DataFrame({"account_key": [] if live is None else live}, schema=_KEY))
    write_pieces_atomically(path, (conform(piece.with_columns(on=pl.lit(on)), LIFECYCLE) for piece in rows), LIFECYCLE)


def _segment(
    run: RunFolder, pieces: Iterable[pl.DataFrame], journal: Journal, live: pl.DataFrame
) -> Iterator[pl.DataFrame]:
    """Rows of the run's segment in the order of its steps, a piece of them in memory at a time; what others lifted comes last."""
    lifted = live.unique(maintain_order=True)
    lifted = lifted.join(suspended_by_us(run.state, before=run), on="account_key", how="semi", maintain_order="left")
    deleted = deleted_by_us(run.state, before=run)
    for steps in pieces:
        events = _events(steps, journal)
        touched = events.filter(pl.col("sent") | pl.col("done"))
        lifted = lifted.join(touched, on="account_key", how="anti", maintain_order="left")
        returned = touched.filter((pl.col("action") == Action.UNDELETE) & pl.col("done"))
        returned = returned.join(deleted, on="account_key", how="semi", maintain_order="left")
        yield events.filter("own")
        yield returned.with_columns(event=pl.lit("suspended"))
    yield lifted.with_columns(event=pl.lit("restored"))


def _events(steps: pl.DataFrame, journal: Journal) -> pl.DataFrame:
    """Steps that suspend, restore, delete or undelete (_EVENT)."""
    ends = pl.col("action").is_in([Action.DELETE.value, Action.UNDELETE.value])
    changes = steps.filter(pl.col("target_id").is_not_null() & (ends | pl.col("suspended").is_not_null()))
    deletes, suspends = pl.col("action") == Action.DELETE, pl.col("suspended").fill_null(value=False)
    undeletes = pl.col("action") == Action.UNDELETE
    found = changes.with_columns(
        done=_of_steps(changes, lambda step: journal.is_done(step) and not journal.is_contradicted(step)),
        sent=_of_steps(changes, journal.was_sent),
        event=pl.when(deletes)
        .then(pl.lit("deleted"))
        .when(suspends)
        .then(pl.lit("suspended"))
        .otherwise(pl.lit("restored")),
        target_id=pl.when(deletes).then("target_id"),
    ).with_columns(own=pl.when(suspends | deletes).then("sent").otherwise("done") & ~undeletes)
    return found.select(_EVENT.names())


def _of_steps(steps: pl.DataFrame, answer: Callable[[int], bool]) -> pl.Series:
    return pl.Series(map(answer, steps["step"]), dtype=pl.Boolean)


def suspended_by_us(state: Path, *, before: RunFolder | None = None) -> pl.DataFrame:
    """`account_key`, sorted, and `on` of accounts whose latest event is a suspension of ours; of runs `before` this one only.

    `on` is the date of that event. Raises PlanError when a segment is damaged, or missing where a run was closed.
    """
    return _latest(state, "suspended", before).select("account_key", "on")


def deleted_by_us(state: Path, *, before: RunFolder | None = None) -> pl.DataFrame:
    """`account_key`, sorted, and `target_id` of accounts whose latest event is a deletion of ours. Raises as `suspended_by_us`."""
    return _latest(state, "deleted", before).select("account_key", "target_id")


def _latest(state: Path, event: str, before: RunFolder | None) -> pl.DataFrame:
    """Accounts whose latest event is this one: LIFECYCLE, sorted."""
    frames = [LIFECYCLE.to_frame()]
    _refuse_missing(state)
    paths = sorted(_folder(state).glob("*.parquet"))
    for path in (path for path in paths if before is None or path.stem < before.run_id):
        try:
            segment = conform(pl.read_parquet(path), LIFECYCLE).filter(pl.col("account_key").is_not_null())
        except (OSError, pl.exceptions.PolarsError) as error:
            raise PlanError(f"lifecycle segment cannot be read: {path}", hint=_LOST_HINT) from error
        if segment["event"].null_count():
            raise PlanError(f"lifecycle segment has no such column: {path}, column event", hint=_LOST_HINT)
        frames.append(segment)
    # A group has its rows in the order of the table: runs one after the other, and each in the order of its steps.
    latest = pl.concat(frames).group_by("account_key").agg(pl.col("event", "on", "target_id").last())
    return latest.filter(pl.col("event") == event).sort("account_key")


def _refuse_missing(state: Path) -> None:
    """A run writes its segment before it is closed."""
    for run in list_runs(state):
        path = _folder(state) / f"{run.run_id}.parquet"
        if not path.exists() and run.status() is RunStatus.CLOSED:
            raise PlanError(f"lifecycle segment is missing: {path}", hint=_LOST_HINT)


def _folder(state: Path) -> Path:
    return state / "lifecycle"
