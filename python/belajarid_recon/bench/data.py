"""A seeded pair of tables whose differences are known: pupils as Parquet, in two layouts, at flat memory.

`python -m belajarid_recon.bench.data FOLDER --keys 1000000` writes FOLDER/source.parquet, directory.parquet and truth.json.

Everything about a key follows from its number: what becomes of it (added, removed, changed, doubled), its attributes and its
UUID. So both sides, and the truth, are made in chunks and in any order. Numbers are counted in the order of keys, which makes
the sorted layout and the truth free of sorting; the layout "text" takes the rows in a permutation of its own on each side.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import orjson
import polars as pl

from belajarid_recon.bench.check import COLUMNS, Tally
from belajarid_recon.errors import SettingsError
from belajarid_recon.population.randomness import Draws, lower_half, scaled, u64

Layout = Literal["text", "sealed"]

KEY = "peserta_didik_id"
ATTRIBUTES = (
    "nama",
    "nisn",
    "npsn",
    "tingkat",
    "jenis_kelamin",
    "jenjang",
    "kode_kabkota",
    "tanggal_lahir",
)
"""All text but `tingkat` (32-bit integer); the last two and `tingkat` hold nulls."""

SHARES = {"added": 0.02, "removed": 0.02, "changed": 0.03, "double": 1 / 4096}
"""Of the keys of one side. Of the doubled keys a third each are doubled in the source, in the directory, on both sides."""

KEYS_MAX = 1_000_000_000
ROW_GROUP = {"text": 250_000, "sealed": 131_072}
_CHUNK = 1 << 19
_ZSTD_LEVEL = 3

_SCHOOL_PUPILS = 120
_NISN_STEP, _NISN_SPACE = 7_654_321_987, 10**10
_CLASS_SPACE = 1 << 32


@dataclass(frozen=True)
class Truth:
    """What stands in a pair: rows, keys and the tally of the lines that comparing them gives."""

    keys: int
    seed: int
    layout: Layout
    source_rows: int
    directory_rows: int
    unchanged: int
    tally: Tally

    def as_document(self) -> dict[str, Any]:
        """For truth.json."""
        return {**{name: getattr(self, name) for name in _TRUTH_FIELDS}, "kinds": self.tally.as_document()}


_TRUTH_FIELDS = ("keys", "seed", "layout", "source_rows", "directory_rows", "unchanged")


def read_truth(folder: Path) -> Truth:
    """The truth beside a pair."""
    document = orjson.loads((folder / "truth.json").read_bytes())
    return Truth(**{name: document[name] for name in _TRUTH_FIELDS}, tally=Tally.from_document(document["kinds"]))


@dataclass(frozen=True)
class Pair:
    """A pair to be made: `keys` on each side, the same bytes for the same seed and versions of polars and pyarrow."""

    keys: int
    seed: int = 1
    layout: Layout = "text"

    def __post_init__(self) -> None:
        """Refuse sizes that cannot be made."""
        if not 1 <= self.keys <= KEYS_MAX:
            raise SettingsError(f"keys out of bounds, 1 to {KEYS_MAX:,}: {self.keys:,}")

    @property
    def universe(self) -> int:
        """Keys of both sides together."""
        return self.keys + round(self.keys * SHARES["added"])

    @property
    def draws(self) -> Draws:
        """The randomness of everything but the order of rows."""
        return Draws(self.seed, "bench")


def make_pair(folder: Path, pair: Pair) -> Truth:
    """Write source.parquet, directory.parquet and truth.json into `folder`, which may exist; returns the truth.

    Memory is bounded by three chunks and two row groups. Parquet: zstd-3, row groups of ROW_GROUP. Layout "text": the key
    as 36 characters, rows in an order of its own on each side. Layout "sealed": the key as 16 fixed bytes, in order.
    Needs pyarrow (extra `bench`).
    """
    folder.mkdir(parents=True, exist_ok=True)
    doubles = _doubles(pair)
    with ThreadPoolExecutor(3) as threads:
        sides = [threads.submit(_write_side, folder, _Side(pair, side, doubles)) for side in ("source", "directory")]
        tally, unchanged = threads.submit(_truth, pair).result()
        source_rows, directory_rows = (side.result() for side in sides)
    truth = Truth(pair.keys, pair.seed, pair.layout, source_rows, directory_rows, unchanged, tally)
    (folder / "truth.json").write_bytes(
        orjson.dumps(truth.as_document(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    )
    return truth


# What becomes of a key. A column `fate` holds these numbers; `times` how often a doubled key stands.
_SAME, _ADDED, _REMOVED, _CHANGED, _DOUBLE_SOURCE, _DOUBLE_DIRECTORY, _DOUBLE_BOTH = range(7)
_FATES = (
    (_ADDED, SHARES["added"]),
    (_REMOVED, SHARES["removed"]),
    (_CHANGED, SHARES["changed"]),
    (_DOUBLE_SOURCE, SHARES["double"] / 3),
    (_DOUBLE_DIRECTORY, SHARES["double"] / 3),
    (_DOUBLE_BOTH, SHARES["double"] / 3),
)
_DOUBLED = {"source": (_DOUBLE_SOURCE, _DOUBLE_BOTH), "directory": (_DOUBLE_DIRECTORY, _DOUBLE_BOTH)}
_ABSENT = {"source": _REMOVED, "directory": _ADDED}


def _with_fates(numbers: pl.DataFrame, pair: Pair) -> pl.DataFrame:
    """Add `fate` and `times` to a frame of key numbers (`k`)."""
    luck = pl.col("bits") // u64(_CLASS_SPACE)
    fate = pl.lit(_SAME, dtype=pl.UInt8)
    edge = sum(share for _, share in _FATES) * pair.keys / pair.universe
    for number, share in reversed(_FATES):
        fate = pl.when(luck < u64(int(edge * _CLASS_SPACE))).then(pl.lit(number, dtype=pl.UInt8)).otherwise(fate)
        edge -= share * pair.keys / pair.universe
    times = 2 + (lower_half(pl.col("bits")) % u64(8) == 0).cast(pl.UInt64)
    return numbers.with_columns(bits=pair.draws.bits("fate", "k")).with_columns(fate=fate, times=times).drop("bits")


def _numbers(start: int, end: int) -> pl.DataFrame:
    return pl.select(k=pl.int_range(start, end, dtype=pl.UInt64))


def _chunks(end: int) -> Iterator[tuple[int, int]]:
    return ((start, min(start + _CHUNK, end)) for start in range(0, end, _CHUNK))


def _doubles(pair: Pair) -> pl.DataFrame:
    """Every doubled key in order: k, fate, times."""
    found = [
        _with_fates(_numbers(start, end), pair).filter(pl.col("fate") >= _DOUBLE_SOURCE)
        for start, end in _chunks(pair.universe)
    ]
    return pl.concat(found)


class _Side:
    """The rows of one side as chunks of k, fate, and `new`: whether the row shows the changed attributes."""

    def __init__(self, pair: Pair, name: str, doubles: pl.DataFrame) -> None:
        self.pair = pair
        self.name = name
        mine = doubles.filter(pl.col("fate").is_in(_DOUBLED[name]))
        # A key that stands `times` times has one row as every key and the rest here, each a row of its own.
        self._more = mine.select("k", pl.col("times") - 1).select(pl.col("k").repeat_by("times")).explode("k")["k"]

    def chunks(self) -> Iterator[pl.DataFrame]:
        """All rows, in the order of the layout."""
        pieces = self._sorted() if self.pair.layout == "sealed" else self._permuted()
        for rows in pieces:
            here = _with_fates(rows, self.pair).filter(pl.col("fate") != _ABSENT[self.name])
            # Half of the further rows of a doubled key differ from its first one.
            new = pl.when("more").then(pl.col("k") % 2 == 1).otherwise((pl.col("fate") == _CHANGED) & self._is_source)
            yield here.select("k", new=new)

    @property
    def _is_source(self) -> bool:
        return self.name == "source"

    def _sorted(self) -> Iterator[pl.DataFrame]:
        for start, end in _chunks(self.pair.universe):
            more = self._more.filter(self._more.is_between(start, end, closed="left")).to_frame("k")
            rows = pl.concat([_numbers(start, end).with_columns(more=False), more.with_columns(more=True)])
            yield rows.sort("k", maintain_order=True) if more.height else rows

    def _permuted(self) -> Iterator[pl.DataFrame]:
        """Row numbers through a bijection of so many bits, those beyond the last row left out: every row once."""
        universe = self.pair.universe
        total = universe + self._more.len()
        bits = max(2, math.ceil(math.log2(total)))
        further = pl.when(pl.col("k") >= u64(universe)).then(pl.col("k") - u64(universe)).otherwise(u64(0))
        for start, end in _chunks(1 << bits):
            rows = _numbers(start, end).with_columns(self._scatter(pl.col("k"), bits)).filter(pl.col("k") < u64(total))
            rows = rows.with_columns(more=pl.col("k") >= u64(universe))
            if self._more.len():
                key = pl.when("more").then(pl.lit(self._more).gather(further)).otherwise("k")
                rows = rows.with_columns(k=key)
            yield rows

    def _scatter(self, number: pl.Expr, bits: int) -> pl.Expr:
        """A bijection of [0, 2**bits): xor with the own upper half and odd multipliers, both of which can be undone."""
        space, half = u64(1 << bits), u64(1 << (bits + 1) // 2)
        for turn in range(3):
            odd = self.pair.draws.key(f"{self.name}/order/{turn}") % (1 << 32) | 1
            number = number ^ (number // half)
            number = (number * u64(odd) + u64(odd // 3)) % space
        return number ^ (number // half)


def _words(starts: str, endings: str) -> list[str]:
    return [start + ending for start in starts.split() for ending in ["", *endings.split()]]


_ENDINGS = "wan wati ni to ana yan sari na man sih di ah ta ya rin"
_FIRST_WORDS = _words("Adi Budi Cah Dewi Eka Fit Gal Hen Ind Joko Kart Les Made Nur Put Riz", _ENDINGS)
_LAST_WORDS = _words(
    "Ang Bas Cit Dar Erl Fir Gun Har Irm Jay Kus Luk Mar Nov Okt Pra "
    "Rah Sis Tri Ulf Vir Wah Yul Zul Asm Bay Dim Feb Hid Kri Mul Sut",
    _ENDINGS,
)
_GIVEN = pl.Series([f"{first} {second} " for first in _FIRST_WORDS for second in _FIRST_WORDS])
_FAMILY = pl.Series(_LAST_WORDS)
_SEX = pl.Series(["L", "P"])
_JENJANG = pl.Series(["paud", "sd", "smp", "sma", "smk", "slb", "kesetaraan"])
_KABKOTA = pl.Series([None, *(f"{10_000 + 100 * number:06}" for number in range(514))])
_BIRTHDAY = pl.Series(
    [None, *pl.date_range(pl.date(2005, 1, 1), pl.date(2024, 2, 29), eager=True).cast(pl.String).to_list()]
)
_GRADES = 13


def _values(rows: pl.DataFrame, pair: Pair) -> pl.DataFrame:
    """The key and the attributes of rows (k, new).

    An attribute is a number below its bound, and its text is taken from a table without repetitions: a
    changed attribute has another number, so another value. Number 0 is null where there are nulls.
    """
    sizes = {
        "nama": len(_GIVEN) * len(_FAMILY),
        "npsn": max(2, pair.keys // _SCHOOL_PUPILS),
        "tingkat": _GRADES + 1,
        "jenis_kelamin": len(_SEX),
        "jenjang": len(_JENJANG),
        "kode_kabkota": len(_KABKOTA),
        "tanggal_lahir": len(_BIRTHDAY),
    }
    drawn = rows.with_columns(
        **{f"_{stream}": pair.draws.bits(stream, "k") for stream in ("name", "school", "birth", "which", "by")}
    ).with_columns(
        nama=pl.col("_name") % u64(sizes["nama"]),
        npsn=scaled(pl.col("_school"), sizes["npsn"]),
        tingkat=lower_half(pl.col("_school")) % u64(sizes["tingkat"]),
        jenis_kelamin=lower_half(pl.col("_school")) // u64(1 << 8) % u64(sizes["jenis_kelamin"]),
        jenjang=lower_half(pl.col("_school")) // u64(1 << 16) % u64(sizes["jenjang"]),
        kode_kabkota=scaled(pl.col("_birth"), sizes["kode_kabkota"]),
        tanggal_lahir=lower_half(pl.col("_birth")) % u64(sizes["tanggal_lahir"]),
    )
    changed = [
        pl.when(pl.col("new") & _is_changed(name))
        .then((pl.col(name) + 1 + pl.col("_by") % u64(size - 1)) % u64(size))
        .otherwise(pl.col(name))
        .alias(name)
        for name, size in sizes.items()
    ]
    later = (pl.col("new") & _is_changed("nisn")).cast(pl.UInt64) * u64(KEYS_MAX + KEYS_MAX // 50)
    nisn = ((pl.col("k") + later) * u64(_NISN_STEP) % u64(_NISN_SPACE)).alias("nisn")
    return drawn.with_columns(*changed, nisn).select(_key(pair), *_texts())


def _is_changed(name: str) -> pl.Expr:
    """Whether a change is one of this attribute: always one of eight, every third time a second draw beside it."""
    number = u64(ATTRIBUTES.index(name))
    return (scaled(pl.col("_which"), len(ATTRIBUTES)) == number) | (
        lower_half(pl.col("_which")) % u64(3 * len(ATTRIBUTES)) == number
    )


def _texts() -> list[pl.Expr]:
    """The attributes' values from their numbers."""
    return [
        pl.concat_str(
            _take(_GIVEN, pl.col("nama") // u64(len(_FAMILY))), _take(_FAMILY, pl.col("nama") % u64(len(_FAMILY)))
        ),
        (pl.col("nisn") + u64(_NISN_SPACE)).cast(pl.String).str.slice(1),
        (pl.col("npsn") + u64(20_000_000)).cast(pl.String),
        pl.when(pl.col("tingkat") > 0).then(pl.col("tingkat").cast(pl.Int32)),
        _take(_SEX, pl.col("jenis_kelamin")),
        _take(_JENJANG, pl.col("jenjang")),
        _take(_KABKOTA, pl.col("kode_kabkota")),
        _take(_BIRTHDAY, pl.col("tanggal_lahir")),
    ]


def _take(values: pl.Series, number: pl.Expr) -> pl.Expr:
    return pl.lit(values).gather(number.cast(pl.UInt32)).alias(number.meta.root_names()[0])


def _hexadecimal(count: int, start: int, form: str) -> pl.Series:
    return pl.Series([form.format(number) for number in range(start, start + count)])


_PIECES = (
    (_hexadecimal(1 << 16, 0, "{:04x}"), "high", 48),
    (_hexadecimal(1 << 16, 0, "{:04x}-"), "high", 32),
    (_hexadecimal(1 << 16, 0, "{:04x}-"), "high", 16),
    (_hexadecimal(1 << 12, 0, "4{:03x}-"), "high", 0),
    (_hexadecimal(1 << 14, 0x8000, "{:04x}-"), "low", 48),
    (_hexadecimal(1 << 16, 0, "{:04x}"), "low", 32),
    (_hexadecimal(1 << 16, 0, "{:04x}"), "low", 16),
    (_hexadecimal(1 << 16, 0, "{:04x}"), "low", 0),
)


def _key(pair: Pair) -> pl.Expr:
    """UUIDs of version 4 that ascend with `k`: the first half is k's share of 2**64 and a random rest of that share."""
    step = min((1 << 64) // pair.universe, 1 << 63)

    def write(numbers: pl.Series) -> pl.Series:
        halves = numbers.to_frame("k").select(
            high=pl.col("k") * u64(step) + pair.draws.bits("high", "k") % u64(step), low=pair.draws.bits("low", "k")
        )
        pieces = [
            pl.lit(table).gather((pl.col(half) // u64(1 << shift) % u64(len(table))).cast(pl.UInt32))
            for table, half, shift in _PIECES
        ]
        text = halves.select(pl.concat_str(pieces)).to_series()
        return text if pair.layout == "text" else text.str.replace_all("-", "", literal=True).str.decode("hex")

    kind = pl.String if pair.layout == "text" else pl.Binary
    return pl.col("k").map_batches(write, return_dtype=kind, is_elementwise=True).alias(KEY)


def _write_side(folder: Path, side: _Side) -> int:
    """Write one side in row groups of the layout's size; returns its rows."""
    import pyarrow as pa  # noqa: PLC0415 - an extra; only the generator needs it
    import pyarrow.parquet as pq  # noqa: PLC0415

    group = ROW_GROUP[side.pair.layout]
    text = pa.large_string()
    schema = pa.schema(
        [(KEY, text if side.pair.layout == "text" else pa.binary(16))]
        + [(name, pa.int32() if name == "tingkat" else text) for name in ATTRIBUTES]
    )
    rows, waiting = 0, pl.DataFrame()
    path = folder / f"{side.name}.parquet"
    with pq.ParquetWriter(path, schema, compression="zstd", compression_level=_ZSTD_LEVEL, store_schema=False) as file:

        def write(frame: pl.DataFrame) -> None:
            file.write_table(frame.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(schema), row_group_size=group)

        for chunk in side.chunks():
            rows += chunk.height
            waiting = pl.concat([waiting, _values(chunk, side.pair)])
            whole = waiting.height // group * group
            write(waiting.head(whole))
            waiting = waiting.slice(whole)
        write(waiting)
    return rows


def _truth(pair: Pair) -> tuple[Tally, int]:
    """The tally of the expected lines, and how many keys are the same on both sides."""
    tally, unchanged = Tally(), 0
    for start, end in _chunks(pair.universe):
        numbers = _with_fates(_numbers(start, end), pair)
        differing = numbers.filter(pl.col("fate") != _SAME)
        unchanged += numbers.height - differing.height
        tally.add(_expected(differing, pair))
    return tally, unchanged


def _expected(keys: pl.DataFrame, pair: Pair) -> pl.DataFrame:
    """The lines that comparing must give for these keys (k, fate, times)."""
    old = _values(keys.select("k", new=False), pair)
    new = _values(keys.select("k", new=True), pair).rename({name: f"{name}_new" for name in (KEY, *ATTRIBUTES)})
    table = keys.with_columns(_which=pair.draws.bits("which", "k")).hstack(old).hstack(new)
    fate = pl.col("fate")
    changed = {name: (fate == _CHANGED) & _is_changed(name) for name in ATTRIBUTES}
    olds, news = {name: name for name in ATTRIBUTES}, {name: f"{name}_new" for name in ATTRIBUTES}
    none = pl.lit(None, dtype=pl.String)
    differs = pl.concat_list([pl.when(which).then(pl.lit(name)).otherwise(none) for name, which in changed.items()])
    lines = table.with_columns(
        kind=fate.replace_strict(
            {_ADDED: "added", _REMOVED: "removed", _CHANGED: "changed"}, default="duplicate-source"
        ),
        key=pl.col(KEY),
        differs=differs.list.drop_nulls(),
        before=_values_of(olds, changed, fate == _REMOVED, olds),
        after=_values_of(news, changed, fate == _ADDED, olds),
        count=pl.when(fate >= _DOUBLE_SOURCE).then("times").otherwise(1),
    )
    return _with_directory_doubles(lines).select(COLUMNS)


def _values_of(columns: dict[str, str], changed: dict[str, pl.Expr], alone: pl.Expr, whole: dict[str, str]) -> pl.Expr:
    """The struct of one side: all where the key is `alone` there, of a changed key what differs, else null."""
    full = pl.struct([pl.col(column).alias(name) for name, column in whole.items()])
    part = pl.struct([pl.when(changed[name]).then(pl.col(column)).alias(name) for name, column in columns.items()])
    return pl.when(alone).then(full).when(pl.col("fate") == _CHANGED).then(part)


def _with_directory_doubles(lines: pl.DataFrame) -> pl.DataFrame:
    """Keys doubled in the directory have their own line, after that of the source."""
    in_source = pl.col("fate") != _DOUBLE_DIRECTORY
    in_directory = pl.col("fate").is_in(_DOUBLED["directory"])
    second = lines.filter(in_directory).with_columns(kind=pl.lit("duplicate-directory"))
    return pl.concat([lines.filter(in_source), second]).sort("k", maintain_order=True)


def main(arguments: list[str]) -> None:
    """Make a pair from the command line and print its truth."""
    parser = argparse.ArgumentParser(prog="python -m belajarid_recon.bench.data", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--layout", choices=("text", "sealed"), default="text")
    chosen = parser.parse_args(arguments)
    truth = make_pair(chosen.folder, Pair(chosen.keys, chosen.seed, chosen.layout))
    sys.stdout.buffer.write(orjson.dumps(truth.as_document(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


if __name__ == "__main__":
    main(sys.argv[1:])
