"""The judge of an output: counts and digests by kind that do not depend on the order of lines, and the order itself.

Every engine writes one Parquet file of the columns of `belajarid_recon.diff`: kind, key, differs, before, after, count. A line
is written out as text and hashed with xxh3-128; the digests of a kind's lines are added up. Two outputs with the same
tally hold the same lines, whatever their types (text or large text, 32 or 64 bits), row groups and compression.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import polars as pl
import xxhash

from belajarid_recon.errors import InputError

COLUMNS = ("kind", "key", "differs", "before", "after", "count")
KINDS = ("added", "removed", "changed", "duplicate-source", "duplicate-directory")
_LINES_AT_ONCE = 250_000
_DIGEST_BITS = 128
_SEPARATOR, _NULL, _NULL_STRUCT = "\x1f", "\x00", "\x01"


@dataclass
class Kind:
    """Lines of one kind: how many, and the sum of their digests modulo 2**128."""

    lines: int = 0
    digest: int = 0


@dataclass
class Tally:
    """What an output holds. `disorder` is the number (from 0) of the first line that does not come after the one before it."""

    kinds: dict[str, Kind] = field(default_factory=dict)
    lines: int = 0
    disorder: int | None = None
    _last: pl.DataFrame | None = field(default=None, repr=False, compare=False)

    def add(self, lines: pl.DataFrame) -> None:
        """Take in the next lines of an output (COLUMNS)."""
        if not lines.height:
            return
        self._look_at_order(lines)
        for kind, line in (
            lines.lazy().select("kind", line=_line(lines.schema)).collect().partition_by("kind", as_dict=True).items()
        ):
            entry = self.kinds.setdefault(str(kind[0]), Kind())
            entry.lines += line.height
            digests = sum(map(xxhash.xxh3_128_intdigest, line["line"].cast(pl.Binary).to_list()))
            entry.digest = (entry.digest + digests) % (1 << _DIGEST_BITS)
        self.lines += lines.height

    def _look_at_order(self, lines: pl.DataFrame) -> None:
        """Keys ascend; of one key there may be two lines, its duplicates in source and then in directory."""
        keys = lines.select("key", directory=pl.col("kind") == "duplicate-directory")
        if self._last is not None:
            keys = pl.concat([self._last, keys], how="vertical_relaxed")
        self._last = keys.tail(1)
        if self.disorder is not None:
            return
        before, now = pl.col("key").shift(1), pl.col("key")
        second = (before == now) & pl.col("directory") & ~pl.col("directory").shift(1)
        wrong = keys.select(((before < now) | second).not_().fill_null(value=False).arg_true()).to_series()
        if wrong.len():
            self.disorder = int(wrong[0]) + self.lines - (keys.height - lines.height)

    def as_document(self) -> dict[str, Any]:
        """For JSON: an entry for each kind that occurs."""
        return {
            kind: {"lines": entry.lines, "digest": f"{entry.digest:032x}"} for kind, entry in sorted(self.kinds.items())
        }

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Tally:
        """What `as_document` wrote."""
        kinds = {kind: Kind(entry["lines"], int(entry["digest"], 16)) for kind, entry in document.items()}
        return cls(kinds=kinds, lines=sum(entry.lines for entry in kinds.values()))


def tally_file(path: Path) -> Tally:
    """The tally of one engine's output, read a quarter of a million lines at a time.

    Raises InputError when the file is missing, cannot be read, or lacks a column.
    """
    tally = Tally()
    try:
        table = pl.scan_parquet(path)
        missing = [name for name in COLUMNS if name not in table.collect_schema()]
        if missing:
            raise InputError(f"an output without the column: {path.name}: {missing[0]}")
        height = int(table.select(pl.len()).collect().item())
        for start in range(0, height, _LINES_AT_ONCE):
            tally.add(table.select(COLUMNS).slice(start, _LINES_AT_ONCE).collect())
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InputError(f"an output that cannot be read: {path.name}: {type(error).__name__}") from error
    return tally


def faults(tally: Tally, expected: Tally) -> list[str]:
    """What is wrong with an output, in words; empty when it holds the expected lines in order."""
    found = []
    for kind in [*KINDS, *sorted(set(tally.kinds) - set(KINDS))]:
        ours, theirs = tally.kinds.get(kind, Kind()), expected.kinds.get(kind, Kind())
        if ours.lines != theirs.lines:
            found.append(f"{kind}: {ours.lines:,} lines instead of {theirs.lines:,}")
        elif ours.digest != theirs.digest:
            found.append(f"{kind}: as many lines as expected, but other keys or values")
    if tally.disorder is not None:
        found.append(f"line {tally.disorder + 1:,} is not in the order of keys")
    return found


def _line(schema: pl.Schema) -> pl.Expr:
    """A line as text; every value stands between separators, and null is not the empty text."""
    differs = pl.col("differs").list.join(",")
    pieces = [_text("key", schema["key"]), differs, _struct("before", schema), _struct("after", schema)]
    return pl.concat_str(
        [piece.fill_null(_NULL) for piece in [pl.col("kind"), *pieces, pl.col("count").cast(pl.String)]],
        separator=_SEPARATOR,
    )


def _struct(name: str, schema: pl.Schema) -> pl.Expr:
    kind = schema[name]
    if not isinstance(kind, pl.Struct) or not kind.fields:
        return pl.lit(_NULL_STRUCT)
    values = [
        _text(pl.col(name).struct.field(part.name), cast("pl.DataType", part.dtype)).fill_null(_NULL)
        for part in kind.fields
    ]
    written = pl.concat_str(values, separator=_SEPARATOR)
    return pl.when(pl.col(name).is_null()).then(pl.lit(_NULL_STRUCT)).otherwise(written)


def _text(column: str | pl.Expr, kind: pl.DataType) -> pl.Expr:
    values = pl.col(column) if isinstance(column, str) else column
    return values.bin.encode("hex") if kind == pl.Binary else values.cast(pl.String)
