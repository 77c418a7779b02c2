"""Console roles that this program may not give: accounts in an administrators' domain that wait until a person has given them theirs.

A run opens a hand-off for each account it moved to, or made in, such a domain, as soon as that is done. A later snapshot that shows
the account with administrator rights closes it; so does an account that has left the domain. Until then the account is waiting for
the console.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import polars as pl

from belajarid_recon.errors import PlanError
from belajarid_recon.schemas import OBSERVED, STEP, Action, compact
from belajarid_recon.state.atomic import fsync_folder, write_frame_atomically
from belajarid_recon.state.folders import RunFolder, RunStatus, list_runs
from belajarid_recon.state.journal import carried_out


class HandoffEvent(StrEnum):
    """What became of a hand-off."""

    OPENED = "opened"
    ROLE_READ = "role-read"
    """A snapshot shows the account with administrator rights."""
    WITHDRAWN = "withdrawn"
    """The account is in no administrators' domain any more, or gone."""


_HANDOFF: dict[str, Any] = {
    "account_key": pl.Binary,
    "tenant": pl.String,
    "address": pl.String,
    "ou_path": pl.String,  # null where neither the step nor the snapshot says
    "event": pl.String,  # HandoffEvent
    "at": pl.Datetime("ms", "UTC"),
}
HANDOFF = pl.Schema(_HANDOFF)
"""One row an event of one account in one run."""

OPEN_HANDOFF = pl.Schema({**_HANDOFF, "run": pl.String})
"""A hand-off that is open, with the run that opened it."""

STEP_COLUMNS = ("step", "tenant", "action", "account_key", "address", "ou_path", "held_by")
"""Columns of schemas.STEP that tell whether a step opens or closes a hand-off."""
_STEP = pl.Schema({name: STEP[name] for name in STEP_COLUMNS})

RECORDED = "handoffs"
"""In run.json of a run that wrote its segment: how many hand-offs were open then."""
ADMIN_DOMAIN = "admin."
"""What an administrators' domain begins with."""


def record_handoffs(run: RunFolder, pieces: Iterable[pl.DataFrame], seen: pl.DataFrame | None, at: datetime) -> int:
    """Write the run's segment when it is closed or abandoned, and return how many hand-offs are open then.

    `pieces` are all of the run's steps (STEP_COLUMNS); what became of them is read from its journal. `seen` holds rows of the run's
    snapshot (schemas.OBSERVED) for at least the accounts of `handoff_keys`; None when there is no readable snapshot, and then none is
    closed by what it shows. `at` is when it closes others'; what it opens waits since it was done. Writing again gives the same segment.
    """
    before = open_handoffs(run.state, before=run)
    closed, opened = _changes(before, run, pieces, seen, at)
    path = _folder(run.state) / f"{run.run_id}.parquet"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fsync_folder(run.state)
    # The later event of an account is the one that counts: what is closed and opened by one run is open.
    segment = pl.concat([_typed(closed), _typed(opened)]).sort("account_key", maintain_order=True)
    write_frame_atomically(path, segment)
    return before.height - closed.height + opened.height


def handoffs_so_far(
    run: RunFolder, pieces: Iterable[pl.DataFrame], seen: pl.DataFrame | None, at: datetime
) -> pl.DataFrame:
    """What `record_handoffs` would leave open (OPEN_HANDOFF), of a run that may be under way in another process."""
    before = open_handoffs(run.state, before=run)
    closed, opened = _changes(before, run, pieces, seen, at)
    stays = before.join(closed, on="account_key", how="anti", maintain_order="left")
    return pl.concat([stays, _typed(opened).with_columns(run=pl.lit(run.run_id))]).sort("at", "account_key")


def _changes(
    before: pl.DataFrame, run: RunFolder, pieces: Iterable[pl.DataFrame], seen: pl.DataFrame | None, at: datetime
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Hand-offs that a run has closed so far, and those it has opened."""
    observed = OBSERVED.to_frame() if seen is None else seen
    done = _done(run, pieces)
    closed = pl.concat(
        [
            _events(before, done.filter(pl.col("action") == Action.DEMOTE), HandoffEvent.WITHDRAWN, at),
            *([] if seen is None else [closed_by(before, observed, at)]),
        ]
    ).unique("account_key", keep="last", maintain_order=True)
    units = observed.select("account_key", seen_unit="ou_path").unique("account_key")
    opened = (
        done.filter(_needs_role())
        .join(before.join(closed, on="account_key", how="anti"), on="account_key", how="anti")
        .join(units, on="account_key", how="left")
        .with_columns(ou_path=pl.coalesce("ou_path", "seen_unit"), event=pl.lit(HandoffEvent.OPENED.value))
    )
    return closed, opened


def handoff_keys(run: RunFolder, pieces: Iterable[pl.DataFrame]) -> pl.Series:
    """Account keys that `record_handoffs` wants to see in the run's snapshot."""
    wanted = [compact(steps.filter(_needs_role()).select("account_key")) for steps in pieces]
    return pl.concat([open_handoffs(run.state, before=run).select("account_key"), *wanted]).unique().to_series()


def closed_by(handoffs: pl.DataFrame, observed: pl.DataFrame, at: datetime) -> pl.DataFrame:
    """Events (HANDOFF) that close open hand-offs by what a later snapshot shows of their accounts (schemas.OBSERVED)."""
    rights = observed.filter("is_admin")
    waiting = observed.filter(~pl.col("is_admin") & pl.col("domain").str.starts_with(ADMIN_DOMAIN))
    left = handoffs.join(pl.concat([rights, waiting]), on="account_key", how="anti")
    return pl.concat(
        [_events(handoffs, left, HandoffEvent.WITHDRAWN, at), _events(handoffs, rights, HandoffEvent.ROLE_READ, at)]
    )


def open_handoffs(state: Path, *, before: RunFolder | None = None) -> pl.DataFrame:
    """Hand-offs (OPEN_HANDOFF) that no run has closed, oldest first; of runs `before` this one only.

    Raises PlanError when a segment is damaged, or missing where a run wrote one.
    """
    _refuse_missing(state)
    frames = [OPEN_HANDOFF.to_frame()]
    for path in sorted(_folder(state).glob("*.parquet")):
        if before is None or path.stem < before.run_id:
            try:
                frames.append(_typed(pl.read_parquet(path)).with_columns(run=pl.lit(path.stem)))
            except (OSError, pl.exceptions.PolarsError) as error:
                raise _lost(path, "cannot be read") from error
    latest = pl.concat(frames).unique("account_key", keep="last", maintain_order=True)
    return latest.filter(pl.col("event") == HandoffEvent.OPENED).sort("at", "account_key")


def _done(run: RunFolder, pieces: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """Steps that were carried out and open or close a hand-off, `at` when; with texts of their own: memory is that of these alone."""
    moves = _needs_role() | (pl.col("action") == Action.DEMOTE)
    moving = pl.concat([_STEP.to_frame(), *(compact(steps.filter(moves).select(STEP_COLUMNS)) for steps in pieces)])
    when = carried_out(run.journal, moving["step"])
    at = pl.Series("at", [when.get(step) for step in moving["step"]], dtype=HANDOFF["at"])
    return moving.with_columns(at).drop_nulls("at")


def _needs_role() -> pl.Expr:
    """Steps that bring an account into an administrators' domain."""
    domain = pl.col("address").str.to_lowercase().str.split("@").list.last()
    return (
        pl.col("action").is_in([Action.PROMOTE.value, Action.CREATE.value])
        & domain.str.starts_with(ADMIN_DOMAIN)
        & pl.col("held_by").is_null()
    )


def _events(handoffs: pl.DataFrame, accounts: pl.DataFrame, event: HandoffEvent, at: datetime) -> pl.DataFrame:
    """An event for each open hand-off whose account is in `accounts` (column `account_key`)."""
    hit = handoffs.join(accounts, on="account_key", how="semi")
    return _typed(hit.with_columns(event=pl.lit(event.value), at=pl.lit(at)))


def _typed(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.select(pl.col(name).cast(kind) for name, kind in HANDOFF.items())


def _refuse_missing(state: Path) -> None:
    for run in list_runs(state):
        path = _folder(state) / f"{run.run_id}.parquet"
        if not path.exists() and run.status() is RunStatus.CLOSED and RECORDED in run.document():
            raise _lost(path, "is missing")


def _lost(path: Path, how: str) -> PlanError:
    return PlanError(
        f"hand-off segment {how}: {path}", hint="restore it from a backup; without it nobody knows who waits for a role"
    )


def _folder(state: Path) -> Path:
    return state / "handoffs"
