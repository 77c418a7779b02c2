"""Every address ever reserved, and for which account. Rows are added, never changed and never removed.

An address of a plan that is applied is reserved before the first creation leaves, so that no later run gives it to
another person even if everything else of this run is lost. Google itself lets a deleted account's address be given away
(support.google.com/a/answer/33314); only this ledger keeps a child's old mail from reaching somebody else.

`ledger/chain` has a line for each segment, in the order they were written: its name, its SHA-256, and a hash over both and the
line before. A segment that was changed, swapped or lost is noticed by whoever reads the ledger, and a chain that was cut by the
anchor, which remembers its end.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import polars as pl

from belajarid_recon.errors import PlanError
from belajarid_recon.schemas import ADDRESSES, GROUP_ACTIONS, Action
from belajarid_recon.state.atomic import fsync_folder, write_atomically, write_rows_atomically
from belajarid_recon.state.folders import RunFolder, list_runs

CHAIN_FILE = "chain"
_LOST_HINT = "restore it from a backup; no address can be given without it"
_CHAIN_BYTES = 16


def reserve_addresses(run: RunFolder, steps: pl.LazyFrame, check: Callable[[], None] = lambda: None) -> None:
    """Write the run's segment: the addresses of accounts in all steps (schemas.STEP) that no guard holds. A second call changes nothing.

    `check` refuses steps that turned out not to be the plan's while they were read.

    Aliases are addresses too. A group's address is nobody's: a step of a member names the group, and must not give the member
    its local part.
    """
    path = _folder(run.state) / f"{run.run_id}.parquet"
    if path.exists():
        _enter(path)
        return
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fsync_folder(run.state)
    free = steps.filter(pl.col("held_by").is_null() & ~pl.col("action").is_in(list(GROUP_ACTIONS)))
    added = free.filter(pl.col("action") == Action.ADD_ALIAS).with_columns(address="alias")
    user_id = pl.col("address").str.split("@").list.first().str.to_lowercase()
    reserved = pl.concat([free, added]).drop_nulls("address").select("tenant", user_id=user_id, owner="account_key")
    # Not sorted, and what two steps name stands twice: to sort them would take them all into memory.
    write_rows_atomically(path, reserved.select(ADDRESSES.names()), check)
    _enter(path)


def read_ledger(state: Path) -> pl.DataFrame:
    """All reserved addresses (schemas.ADDRESSES), each once. Raises PlanError when a segment cannot be read, was changed or is missing."""
    frames = [pl.DataFrame(schema=ADDRESSES)]
    for path in _segments(state):
        try:
            frames.append(pl.read_parquet(path).select([pl.col(name).cast(kind) for name, kind in ADDRESSES.items()]))
        except (OSError, pl.exceptions.PolarsError) as error:
            raise PlanError(f"ledger segment cannot be read: {path}", hint=_LOST_HINT) from error
    return pl.concat(frames).unique().sort("tenant", "user_id", "owner")


def ledger_files(state: Path) -> list[Path]:
    """The ledger's segments, Parquet files of schemas.ADDRESSES in the order of their runs: for readers that cannot hold them.

    A row may stand in several. Raises PlanError when a segment is missing, was changed, is no whole file, or has other columns.
    """
    files = _segments(state)
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


def ledger_end(state: Path) -> str:
    """The last hash of the ledger's chain, as 32 hexadecimal digits; empty for a ledger without segments."""
    chain = _read_chain(_folder(state))
    return chain[-1].end if chain else ""


def has_ledger_end(state: Path, end: str) -> bool:
    """Whether the ledger's chain passes through this hash, so that nothing behind it was lost."""
    return not end or any(link.end == end for link in _read_chain(_folder(state)))


class _Link(NamedTuple):
    """One line of the chain."""

    name: str
    digest: str
    end: str

    @classmethod
    def behind(cls, chain: list[_Link], name: str, digest: str) -> _Link:
        """The link that follows `chain`."""
        before = chain[-1].end if chain else ""
        end = hashlib.blake2b(f"{before} {name} {digest}".encode(), digest_size=_CHAIN_BYTES).hexdigest()
        return cls(name, digest, end)

    @classmethod
    def read(cls, chain: list[_Link], line: str) -> _Link:
        """The link a line says. Raises ValueError when it does not follow from `chain`."""
        name, digest, end = line.split(" ")
        link = cls.behind(chain, name, digest)
        if link.end != end:
            raise ValueError(name)
        return link


def _segments(state: Path) -> list[Path]:
    """Every segment in the order of their runs, each checked against the chain. Raises PlanError."""
    folder = _folder(state)
    _refuse_missing(state)
    chain = {link.name: link.digest for link in _read_chain(folder)}
    files = sorted(folder.glob("*.parquet"))
    for name in sorted(chain.keys() - {path.name for path in files}):
        raise PlanError(f"ledger segment is missing: {folder / name}", hint=_LOST_HINT)
    for path in files:
        if path.name in chain and _digest_of(path) != chain[path.name]:
            raise PlanError(f"ledger segment was changed: {path}", hint=_LOST_HINT)
        # A kill may fall between a segment and its link, but no journal is made before both are there.
        if chain and path.name not in chain and RunFolder(state / "runs" / path.stem).journal.exists():
            raise PlanError(f"ledger segment is in no chain: {path}", hint=_LOST_HINT)
    return files


def _enter(path: Path) -> None:
    """Put a segment at the end of the chain, unless it is there. Segments older than the chain itself come before it."""
    chain = _read_chain(path.parent)
    known = {link.name for link in chain}
    older = [] if chain else [other for other in sorted(path.parent.glob("*.parquet")) if other != path]
    for one in [*older, path]:
        if one.name not in known:
            chain.append(_Link.behind(chain, one.name, _digest_of(one)))
    if len(chain) > len(known):
        write_atomically(path.parent / CHAIN_FILE, "".join(f"{' '.join(link)}\n" for link in chain).encode())


def _read_chain(folder: Path) -> list[_Link]:
    """The chain's links in order. Raises PlanError for one that does not follow from those before it."""
    chain: list[_Link] = []
    try:
        lines = (folder / CHAIN_FILE).read_text(encoding="ascii").splitlines()
        for line in lines:
            chain.append(_Link.read(chain, line))
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise PlanError(f"ledger chain is damaged: {folder / CHAIN_FILE}", hint=_LOST_HINT) from error
    return chain


def _digest_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise PlanError(f"ledger segment cannot be read: {path}", hint=_LOST_HINT) from error


def _refuse_missing(state: Path) -> None:
    """A run reserves its addresses before it has a journal."""
    for run in list_runs(state):
        path = _folder(state) / f"{run.run_id}.parquet"
        if run.journal.exists() and not path.exists():
            raise PlanError(f"ledger segment is missing: {path}", hint=_LOST_HINT)


def _folder(state: Path) -> Path:
    return state / "ledger"
