"""Suspensions we made and lifted. Only what we suspended is ever restored: Google or a person may have had a reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl

from belajarid_recon.errors import PlanError
from belajarid_recon.state.atomic import fsync_folder, write_frame_atomically
from belajarid_recon.state.folders import RunFolder, RunStatus, list_runs
from belajarid_recon.state.journal import Journal

LIFECYCLE = pl.Schema({"account_key": pl.Binary, "event": pl.String})
"""One row an account a run suspended, restored, or found restored; `event` is `suspended` or `restored`."""
_LOST_HINT = "restore it from a backup; without it nobody is restored"


def record_lifecycle(run: RunFolder, steps: pl.DataFrame, journal: Journal, *, live: pl.Series | None = None) -> None:
    """Write the run's segment from its steps (schemas.STEP) and its journal, when the run is closed or abandoned.

    A suspension counts as made once its request has left, however it ended: before it the account was not suspended, its
    effect may land late, and taking it for somebody else's would lock a person out for good. One that was found there
    before any request left is somebody else's. A restoration counts when it is done and reading back has not contradicted it: an
    account that the directory only said to have restored stays ours to restore. `live` holds account keys that the run's
    snapshot shows not suspended: a suspension of ours was lifted there by others, and the next one on that account is not ours
    unless this run made it.
    """
    path = _folder(run.state) / f"{run.run_id}.parquet"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fsync_folder(run.state)
    changes = steps.filter(pl.col("target_id").is_not_null() & pl.col("suspended").is_not_null())
    changes = changes.with_columns(
        done=_of_steps(changes, lambda step: journal.is_done(step) and not journal.is_contradicted(step)),
        sent=_of_steps(changes, journal.was_sent),
    ).with_columns(event=pl.when("suspended").then(pl.lit("suspended")).otherwise(pl.lit("restored")))
    own = changes.filter(pl.when("suspended").then("sent").otherwise("done"))
    lifted = pl.DataFrame({"account_key": [] if live is None else live}, schema={"account_key": pl.Binary}).unique()
    lifted = lifted.join(suspended_by_us(run.state, before=run), on="account_key", how="semi")
    lifted = lifted.join(changes.filter(pl.col("sent") | pl.col("done")), on="account_key", how="anti")
    segment = pl.concat([own.select(LIFECYCLE.names()), lifted.with_columns(event=pl.lit("restored"))])
    write_frame_atomically(path, segment.cast(LIFECYCLE).sort("account_key"))


def _of_steps(steps: pl.DataFrame, answer: Callable[[int], bool]) -> pl.Series:
    return pl.Series(map(answer, steps["step"]), dtype=pl.Boolean)


def suspended_by_us(state: Path, *, before: RunFolder | None = None) -> pl.DataFrame:
    """Account keys (column `account_key`) whose latest event is a suspension of ours, sorted; of runs `before` this one only.

    Raises PlanError when a segment is damaged, or missing where a run was closed.
    """
    frames = [pl.DataFrame(schema={**LIFECYCLE, "place": pl.Int64})]
    _refuse_missing(state)
    paths = sorted(_folder(state).glob("*.parquet"))
    for place, path in enumerate(path for path in paths if before is None or path.stem < before.run_id):
        try:
            segment = pl.read_parquet(path).select([pl.col(name).cast(kind) for name, kind in LIFECYCLE.items()])
        except (OSError, pl.exceptions.PolarsError) as error:
            raise PlanError(f"lifecycle segment cannot be read: {path}", hint=_LOST_HINT) from error
        frames.append(segment.with_columns(place=pl.lit(place, dtype=pl.Int64)))
    latest = pl.concat(frames).sort("place").group_by("account_key").agg(pl.col("event").last())
    return latest.filter(pl.col("event") == "suspended").select("account_key").sort("account_key")


def _refuse_missing(state: Path) -> None:
    """A run writes its segment before it is closed."""
    for run in list_runs(state):
        path = _folder(state) / f"{run.run_id}.parquet"
        if not path.exists() and run.status() is RunStatus.CLOSED:
            raise PlanError(f"lifecycle segment is missing: {path}", hint=_LOST_HINT)


def _folder(state: Path) -> Path:
    return state / "lifecycle"
