"""People and taken addresses for `allocate.py`: Parquet files by seed.

Names are drawn from the words of the shipped name statistics (`population/data`) as often as they are borne, and every fourth last word
gets a rare ending. Taken addresses are names drawn likewise, with four digits (95 %), five, six, or none of the rule's forms.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

# Imports of large packages stand in the functions: the process that measures the others must stay small.

NAMING_KEY = bytes(range(32))
CANDIDATES = 8
"""Candidates whose digits stand in the people's file."""
JENJANG_SHARES = {0: 10, 1: 113, 2: 49, 3: 26, 4: 26, 5: 2, 6: 30}
"""Code of each jenjang to its share in 256, about that in the register."""
_CHUNK = 1_000_000
_ROW_GROUP = 262_144


def make(folder: Path, people: int, taken: int, seed: int) -> None:
    """Write people.parquet (account_key, jenjang, nama, c0 to c7) and taken.parquet (jenjang, user_id)."""
    _write(folder / "people.parquet", people, _people, random.Random(seed))  # noqa: S311 - a benchmark's data
    _write(folder / "taken.parquet", taken, _taken, random.Random(seed + 1))  # noqa: S311


def _write(place: Path, rows: int, table_of: Callable[[int, random.Random], pa.Table], draw: random.Random) -> None:
    import pyarrow.parquet as pq  # noqa: PLC0415

    first = table_of(min(_CHUNK, rows), draw)
    with pq.ParquetWriter(place, first.schema, compression="zstd") as writer:
        writer.write_table(first, row_group_size=_ROW_GROUP)
        for start in range(_CHUNK, rows, _CHUNK):
            writer.write_table(table_of(min(_CHUNK, rows - start), draw), row_group_size=_ROW_GROUP)


def _people(rows: int, draw: random.Random) -> pa.Table:
    import polars as pl  # noqa: PLC0415
    import pyarrow as pa  # noqa: PLC0415

    from belajarid_recon import _core  # noqa: PLC0415

    codes = _jenjang_codes(rows, draw)
    keys = bytearray(draw.randbytes(17 * rows))
    keys[16::17] = codes
    key_column = pa.FixedSizeBinaryArray.from_buffers(pa.binary(17), rows, [None, pa.py_buffer(bytes(keys))])
    words = _words(rows, draw).select(
        pl.when(pl.int_range(pl.len()) % 2 == 0)
        .then(pl.concat_str("first", pl.lit(" NUR "), "last"))
        .otherwise(pl.concat_str("first", pl.lit(" "), "last"))
    )
    columns = {
        "account_key": key_column,
        "jenjang": pa.array(memoryview(codes), pa.uint8()),
        "nama": _text(words.to_series()),
    }
    for attempt in range(CANDIDATES):
        columns[f"c{attempt}"] = _text(pl.Series(_core.candidate_digits(key_column, attempt, naming_key=NAMING_KEY)))
    return pa.table(columns)


def _taken(rows: int, draw: random.Random) -> pa.Table:
    import polars as pl  # noqa: PLC0415
    import pyarrow as pa  # noqa: PLC0415

    def padded(width: int) -> pl.Expr:
        return (pl.col("number") % 10**width).cast(pl.String).str.zfill(width)

    number = pl.int_range(rows, eager=True).hash(draw.randrange(1 << 32))
    form = pl.col("form")
    digits = pl.when(form < 95).then(padded(4)).when(form < 98).then(padded(5)).when(form < 99).then(padded(6))
    user_ids = (
        _words(rows, draw)
        .with_columns(form=number % 100, number=number // 100)
        .select(pl.concat_str("first", pl.lit("."), "last", digits.otherwise(padded(2))).str.to_lowercase())
    )
    codes = pa.array(memoryview(_jenjang_codes(rows, draw)), pa.uint8())
    return pa.table({"jenjang": codes, "user_id": _text(user_ids.to_series())})


def _words(rows: int, draw: random.Random) -> pl.DataFrame:
    """`first` and `last` words."""
    import polars as pl  # noqa: PLC0415

    def drawn(of: pl.Series) -> pl.Series:
        places = pl.int_range(rows, eager=True).hash(draw.randrange(1 << 32)) % len(of)
        return of.gather(places.cast(pl.UInt32))

    with resources.as_file(resources.files("belajarid_recon.population") / "data" / "name_tokens.parquet") as place:
        tokens = pl.read_parquet(place).filter(pl.col("token").str.contains("^[A-Z]{2,12}$"))
    first, last = (
        drawn(tokens.select(pl.col("token").repeat_by(count)).explode("token").drop_nulls().to_series())
        for count in ("n_first", "n_last")
    )
    syllables = pl.Series([one + other for one in "BDFGHJKLMNPRSTW" for other in "AEIOU"])
    endings = pl.concat([syllables, pl.Series([""] * 3 * len(syllables))])
    return pl.DataFrame({"first": first, "last": last + drawn(endings)})


def _jenjang_codes(rows: int, draw: random.Random) -> bytes:
    table = bytes(code for code, share in JENJANG_SHARES.items() for _ in range(share))
    return draw.randbytes(rows).translate(table)


def _text(column: pl.Series) -> pa.Array:
    import pyarrow as pa  # noqa: PLC0415

    return column.to_arrow().cast(pa.string())
