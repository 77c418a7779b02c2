"""User IDs for people, as a library function: `belajarid_recon.allocate_user_ids`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from belajarid_recon import _core
from belajarid_recon.jenjang import Jenjang

if TYPE_CHECKING:
    from belajarid_recon._core import ArrowTable, UserIds

    Table: TypeAlias = ArrowTable | str | Path | Sequence[str | Path]

_THREADS_MAX = 64


@dataclass(frozen=True)
class Columns:
    """Names of the columns that are read. `owner` None: the taken user IDs have no owners."""

    account_key: str = "account_key"
    name: str = "nama"
    jenjang: str = "jenjang"
    user_id: str = "user_id"
    owner: str | None = "owner"


_COLUMNS = Columns()


def allocate_user_ids(  # noqa: PLR0913 - three tables, and what each call must say about them
    people: Table,
    taken: Table,
    *,
    naming_key: bytes,
    kept: Table | None = None,
    columns: Columns = _COLUMNS,
    threads: int | None = None,
) -> UserIds:
    """Give each of `people` a user ID (the local part of an address) that nobody else has or had.

    A table is a Parquet file, a folder with Parquet files at any depth, a list of such files, or anything with an Arrow
    stream: a polars or pyarrow table, a reader that makes its batches as it goes. Files and streams are read batch by batch and not held.

    - `people`: account_key (17 bytes: a marker, and the code of the jenjang in which the user ID must be unique), nama (string;
      null for no name). Each key once.
    - `taken`: jenjang (code from 0 to 255, or its name as in `schemas.Jenjang`), user_id (string, in any case), owner (account key
      or null). What is in sight or was ever given. A row blocks everybody but its owner; two rows of one user ID block
      whomever either blocks. A row may stand many times.
    - `kept`: account_key, user_id: user IDs that people have already. Whoever of `people` stands there keeps theirs, and nobody else
      gets it, also if its holder is not among `people`. Each key once, each user ID once in a jenjang.

    The rule (docs/decisions/0001-spine.md, "User IDs"): in each jenjang, people with one base (`_core.user_id_bases`) take, in the order
    of their account keys, their first of 64 candidates (`_core.candidate_user_id`, under the 32 bytes of `naming_key`) that is
    neither blocked nor given to a lower key of this call. The same people get the same IDs whatever the order of rows, the
    batches and the `threads` (1 to 64; absent: one a processor).

    Returns account_key, user_id (null: no candidate is free) and attempt (null: none is free, or the ID was kept), in account-key
    order, as an object with an Arrow stream and `write_parquet`. `columns` gives other names to the columns that are read.

    Memory: about 60 bytes a person, 60 a base in a jenjang, 8 a taken user ID with somebody's base in it, 80 a kept one. Ctrl-C ends the
    work within a second. Raises TableError (a ValueError), with file and column and never with a row's value, for a column that is
    missing, of another type or null where it must not be, a key that stands twice, a damaged file, no file at all.
    """
    return _core.allocate_user_ids(
        _rows(people, "people"),
        _rows(taken, "taken"),
        naming_key=naming_key,
        kept=None if kept is None else _rows(kept, "kept"),
        people_columns=(columns.account_key, columns.name),
        taken_columns=(columns.jenjang, columns.user_id),
        owner_column=columns.owner,
        jenjang_names=[jenjang.value for jenjang in Jenjang],
        kept_columns=(columns.account_key, columns.user_id),
        threads=threads or min(os.cpu_count() or 1, _THREADS_MAX),
    )


def _rows(table: Table, name: str) -> ArrowTable | list[str]:
    """A stream as it is, files as a list of paths."""
    if isinstance(table, (str, Path)):
        place = Path(table)
        if not place.is_dir():
            return [str(place)]
        files = sorted(str(file) for file in place.rglob("*.parquet") if file.is_file())
        if not files:
            raise _core.TableError(f"the {name} folder holds no Parquet file: file {place}")
        return files
    if isinstance(table, Sequence):
        return [str(file) for file in table]
    return table
