"""Every address ever reserved, and for which account. Rows are added, never changed and never removed.

An address of a plan that is applied is reserved before the first creation leaves, so that no later run gives it to
another person even if everything else of this run is lost. Google itself lets a deleted account's address be given away
(support.google.com/a/answer/33314); only this ledger keeps a child's old mail from reaching somebody else.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import polars as pl

from belajarid_recon.errors import PlanError
from belajarid_recon.schemas import ADDRESSES, GROUP_ACTIONS, Action
from belajarid_recon.state.atomic import fsync_folder, write_frame_atomically
from belajarid_recon.state.folders import RunFolder, list_runs

_LOST_HINT = "restore it from a backup; no address can be given without it"


def reserve_addresses(run: RunFolder, steps: pl.DataFrame) -> None:
    """Write the run's segment: the addresses of accounts in all steps (schemas.STEP) that no guard holds. A second call changes nothing.

    Aliases are addresses too. A group's address is nobody's: a step of a member names the group, and must not give the member
    its local part.
    """
    path = _folder(run.state) / f"{run.run_id}.parquet"
    if path.exists():
        return
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fsync_folder(run.state)
    free = steps.filter(pl.col("held_by").is_null() & ~pl.col("action").is_in(list(GROUP_ACTIONS)))
    added = free.filter(pl.col("action") == Action.ADD_ALIAS).with_columns(address="alias")
    reserved = (
        pl.concat([free, added])
        .drop_nulls("address")
        .select("tenant", user_id=pl.col("address").str.split("@").list.first().str.to_lowercase(), owner="account_key")
    )
    write_frame_atomically(path, reserved.select(ADDRESSES.names()).unique().sort("tenant", "user_id", "owner"))


def read_ledger(state: Path) -> pl.DataFrame:
    """All reserved addresses (schemas.ADDRESSES), each once. Raises PlanError when a segment cannot be read or is missing."""
    frames = [pl.DataFrame(schema=ADDRESSES)]
    _refuse_missing(state)
    for path in sorted(_folder(state).glob("*.parquet")):
        try:
            frames.append(pl.read_parquet(path).select([pl.col(name).cast(kind) for name, kind in ADDRESSES.items()]))
        except (OSError, pl.exceptions.PolarsError) as error:
            raise PlanError(f"ledger segment cannot be read: {path}", hint=_LOST_HINT) from error
    return pl.concat(frames).unique().sort("tenant", "user_id", "owner")


def ledger_files(state: Path) -> list[Path]:
    """The ledger's segments, Parquet files of schemas.ADDRESSES in the order of their runs: for readers that cannot hold them.

    A row may stand in several. Raises PlanError when a segment is missing, is no whole file, or has other columns.
    """
    _refuse_missing(state)
    files = sorted(_folder(state).glob("*.parquet"))
    for path in files:
        try:
            columns = pl.read_parquet_schema(path)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise PlanError(f"ledger segment cannot be read: {path}", hint=_LOST_HINT) from error
        if missing := [name for name in ADDRESSES if name not in columns]:
            raise PlanError(f"ledger segment has no such column: {path}, column {missing[0]}", hint=_LOST_HINT)
    return files


def ledger_digest(files: list[Path]) -> str:
    """SHA-256 over the names and the digests of segments."""
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            digest.update(f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()


def _refuse_missing(state: Path) -> None:
    """A run reserves its addresses before it has a journal."""
    for run in list_runs(state):
        path = _folder(state) / f"{run.run_id}.parquet"
        if run.journal.exists() and not path.exists():
            raise PlanError(f"ledger segment is missing: {path}", hint=_LOST_HINT)


def _folder(state: Path) -> Path:
    return state / "ledger"
