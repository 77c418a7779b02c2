"""Suspensions we made and lifted. Only what we suspended is ever restored: Google or a person may have had a reason."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from belajarid_recon.errors import PlanError
from belajarid_recon.state.atomic import fsync_folder, write_frame_atomically
from belajarid_recon.state.folders import RunFolder
from belajarid_recon.state.journal import Journal

LIFECYCLE = pl.Schema({"account_key": pl.Binary, "event": pl.String})
"""One row an account a run suspended or restored; `event` is `suspended` or `restored`."""


def record_lifecycle(run: RunFolder, steps: pl.DataFrame, journal: Journal) -> None:
    """Write the run's segment from its steps (schemas.STEP) and its journal, when the run is closed or abandoned.

    A suspension whose intent is still open counts as made: before it the account was not suspended, and taking it for
    somebody else's would lock a person out for good.
    """
    path = _folder(run.state) / f"{run.run_id}.parquet"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fsync_folder(run.state)
    changes = steps.filter(pl.col("target_id").is_not_null() & pl.col("suspended").is_not_null())
    open_intents = journal.open_intents()
    carried_out = [
        journal.is_done(step) or (suspended and step in open_intents)
        for step, suspended in changes.select("step", "suspended").iter_rows()
    ]
    event = pl.when(pl.col("suspended")).then(pl.lit("suspended")).otherwise(pl.lit("restored"))
    segment = changes.filter(pl.Series(carried_out, dtype=pl.Boolean)).select("account_key", event=event)
    write_frame_atomically(path, segment.cast(LIFECYCLE).sort("account_key"))


def suspended_by_us(state: Path) -> pl.DataFrame:
    """Account keys (column `account_key`) whose latest event is a suspension of ours, sorted. Raises PlanError on damage."""
    frames = [pl.DataFrame(schema={**LIFECYCLE, "place": pl.Int64})]
    for place, path in enumerate(sorted(_folder(state).glob("*.parquet"))):
        try:
            segment = pl.read_parquet(path).select([pl.col(name).cast(kind) for name, kind in LIFECYCLE.items()])
        except (OSError, pl.exceptions.PolarsError) as error:
            raise PlanError(
                f"lifecycle segment cannot be read: {path}",
                hint="restore it from a backup; without it nobody is restored",
            ) from error
        frames.append(segment.with_columns(place=pl.lit(place, dtype=pl.Int64)))
    latest = pl.concat(frames).sort("place").group_by("account_key").agg(pl.col("event").last())
    return latest.filter(pl.col("event") == "suspended").select("account_key").sort("account_key")


def _folder(state: Path) -> Path:
    return state / "lifecycle"
