"""Tables read whole, and batches of those too large for it; each row with its locator."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from belajarid_recon.errors import InputError
from belajarid_recon.schemas import QUARANTINE
from belajarid_recon.sources.columns import COLUMNS, person_of, read_columns
from belajarid_recon.sources.extract import Extract, scan_file
from belajarid_recon.sources.reasons import QuarantineReason

BATCH_ROWS = 1_000_000
"""Rows held at once while a large table is read through: about 200 MB of the widest."""

ASIDE = pl.Schema({"_file": pl.Int64, "_row": pl.Int64, "_person": pl.Binary, "column": pl.String, "reason": pl.String})
"""Rows set aside within one table; `_file` counts in the table's list of files, `_person` is null where it is not known."""


@dataclass(frozen=True)
class TableCounts:
    """Rows of one table: `read` is `accepted` and `quarantined`; of the accepted, `unused` say nothing about today."""

    read: int = 0
    accepted: int = 0
    quarantined: int = 0
    unused: int = 0

    def __add__(self, other: TableCounts) -> TableCounts:
        return TableCounts(
            self.read + other.read,
            self.accepted + other.accepted,
            self.quarantined + other.quarantined,
            self.unused + other.unused,
        )


@dataclass(frozen=True)
class Table:
    """Rows of one table: accepted so far (`frame`), set aside (`aside`), and read (`read`, their sum).

    `frame` has the columns of COLUMNS in canonical types and `_file`, `_row`; `files` are the paths a locator names.
    """

    frame: pl.DataFrame
    aside: pl.DataFrame
    files: tuple[str, ...]
    read: int

    def set_aside(self, aside: pl.DataFrame) -> Table:
        """The table without the rows that `aside` names (ASIDE; at most one row each)."""
        if aside.is_empty():
            return self
        # Few rows go: their places are looked up among those of all.
        place = pl.struct("_file", "_row")
        first = self.frame["_row"].is_in(aside["_row"].unique().implode())
        gone = (
            self.frame.filter(first)
            .select(place.alias("place"))
            .with_columns(gone=pl.col("place").is_in(aside.select(place.alias("place"))["place"].implode()))["gone"]
        )
        kept = self.frame.filter(~first.scatter(first.arg_true(), gone))
        return Table(kept, pl.concat([self.aside, aside.cast(ASIDE)]), self.files, self.read)

    def quarantine(self, name: str) -> pl.DataFrame:
        """The rows set aside as schemas.QUARANTINE."""
        paths = pl.Series(self.files, dtype=pl.String)
        file = self.aside["_file"]
        return self.aside.select(
            table=pl.lit(name), file=paths.gather(file) if len(file) else pl.lit(None, dtype=pl.String), row="_row",
            column="column", reason="reason",
        ).cast(QUARANTINE)  # fmt: skip


def read_table(extract: Extract, name: str) -> Table:
    """Read one small table whole."""
    return join_tables(list(read_batches(extract, name)))


def join_tables(pieces: list[Table]) -> Table:
    """Put pieces of one table together; they name the same files."""
    return Table(
        frame=pl.concat([piece.frame for piece in pieces], how="vertical"),
        aside=pl.concat([piece.aside for piece in pieces], how="vertical"),
        files=pieces[0].files,
        read=sum(piece.read for piece in pieces),
    )


def read_batches(
    extract: Extract, name: str, *, rows_max: int = BATCH_ROWS, person: str | None = None
) -> Iterator[Table]:
    """Read one table piece by piece, at least one piece, in the order of its files and rows.

    `person` names the column that says whose the rows set aside are, where it can be read.
    """
    files = tuple(extract.relative(name))
    for index, path in enumerate(extract.tables[name]):
        scan = scan_file(path).select(list(COLUMNS[name]))
        start = 0
        while True:
            raw = _collect(scan.slice(start, rows_max), path).with_columns(
                _file=pl.lit(index, dtype=pl.Int64), _row=pl.int_range(start, start + pl.len(), dtype=pl.Int64)
            )
            yield canonical_table(name, raw, files, person=person)
            start += raw.height
            if raw.height < rows_max:
                break


def canonical_table(name: str, raw: pl.DataFrame, files: tuple[str, ...], *, person: str | None = None) -> Table:
    """A raw frame with `_file` and `_row` as a table in canonical types; `person` as in `read_batches`."""
    rows = read_columns(name, raw, person=person)
    return Table(frame=rows.frame, aside=rows.aside.cast(ASIDE), files=files, read=raw.height)


def _collect(scan: pl.LazyFrame, path: Path) -> pl.DataFrame:
    try:
        return scan.collect()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise InputError(
            f"a file of the extract is damaged inside: {path}", hint="copy or export it again; nothing was changed"
        ) from error


def repeated_rows(frame: pl.DataFrame, key: list[str]) -> pl.DataFrame:
    """Rows (ASIDE) that say the same as an earlier row of their key, or contradict another row of it.

    Of equal rows the first by file and row stays; of contradicting ones none does, because nobody knows which is right.
    """
    front = pl.col(key[-1])
    if frame.schema[key[-1]] == pl.Binary:
        # Eight bytes tell nearly all rows apart at a fifth of the cost; what they do not is looked at in full.
        front = front.bin.slice(0, 8).bin.reinterpret(dtype=pl.UInt64, endianness="big")
    several = frame.filter(front.is_duplicated())
    several = several.filter(pl.struct(key).is_duplicated())
    if several.is_empty():
        return pl.DataFrame(schema=ASIDE)
    content = [name for name in several.columns if name not in ("_file", "_row", *key)]
    judged = several.sort("_file", "_row").with_columns(
        kinds=pl.struct(content).n_unique().over(key) if content else pl.lit(1),
        first=pl.int_range(pl.len()).over(key) == 0,
    )
    contradicts = pl.col("kinds") > 1
    return judged.filter(contradicts | ~pl.col("first")).select(
        "_file",
        "_row",
        person_of(judged),
        column=pl.lit(key[-1]),
        reason=pl.when(contradicts)
        .then(pl.lit(QuarantineReason.ROW_CONTRADICTS.value))
        .otherwise(pl.lit(QuarantineReason.ROW_REPEATED.value)),
    )
