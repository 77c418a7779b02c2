"""Files that are there whole or not at all, after a kill or a power cut."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import polars as pl
from polars.io.plugins import register_io_source

PART_SUFFIX = ".part"
ROWS_PER_GROUP = 65_536
"""Rows of a table that are in memory while they are written."""


def write_atomically(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Put `content` at `path`: temporary file, fsync, rename, fsync of the folder.

    A failed fsync is not tried again: the kernel may have dropped the pages and report success the second time
    (Rebello et al., USENIX ATC 2020). The error reaches the caller and the old file stays.
    """
    temporary = path.with_name(path.name + PART_SUFFIX)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)
    temporary.replace(path)
    fsync_folder(path.parent)


def write_frame_atomically(path: Path, frame: pl.DataFrame) -> None:
    """Put `frame` at `path` as Parquet, with the same promise."""
    write_rows_atomically(path, frame.lazy())


def write_rows_atomically(path: Path, rows: pl.LazyFrame, check: Callable[[], None] = lambda: None) -> None:
    """The same of rows that are not in memory, and need not fit there; `check` may still refuse them once they are read."""
    temporary = path.with_name(path.name + PART_SUFFIX)
    rows.sink_parquet(temporary, compression="zstd", row_group_size=ROWS_PER_GROUP)
    check()
    fsync_file(temporary)
    temporary.replace(path)
    fsync_folder(path.parent)


def write_pieces_atomically(path: Path, pieces: Iterable[pl.DataFrame], schema: pl.Schema) -> None:
    """The same of tables that are made one by one, all of this schema; what making them raises is raised."""

    def made(
        columns: list[str] | None, predicate: pl.Expr | None, rows: int | None, _batch: int | None
    ) -> Iterator[pl.DataFrame]:
        if columns is not None or predicate is not None or rows is not None:
            raise AssertionError("nothing is asked of these rows but to be written")
        return iter(pieces)

    write_rows_atomically(path, register_io_source(made, schema=schema))


def fsync_file(path: Path) -> None:
    """Make the file's content durable."""
    _fsync(path, os.O_RDONLY)


def fsync_folder(path: Path) -> None:
    """Make the folder's names durable: new, renamed and removed files."""
    _fsync(path, os.O_RDONLY | os.O_DIRECTORY)


def _fsync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
