"""Random pairs of tables for `diff`, in every layout of Arrow and with many options of Parquet."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

from diff_reference import Row

DAY = datetime.date(2026, 1, 1)
NOON = datetime.datetime(2026, 1, 1, 12)  # noqa: DTZ001 - Arrow's instants without a zone
PEOPLE = [uuid.UUID(int=number * 0x1234_5678_9ABC_DEF0_0FED_CBA9_8765_4321 % 2**128) for number in range(1, 7)]

INTEGERS = (pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64())
PLAIN_TEXTS = (pa.string(), pa.large_string(), pa.string_view())
PLAIN_BYTES = (pa.binary(), pa.large_binary(), pa.binary_view(), pa.binary(2))
TEXTS = (
    *PLAIN_TEXTS,
    *(pa.dictionary(index, value) for index in INTEGERS for value in (pa.string(), pa.large_string())),
)
BYTES = (*PLAIN_BYTES, pa.dictionary(pa.int32(), pa.binary()), pa.dictionary(pa.uint8(), pa.large_binary()))

MARKS = st.sampled_from(
    ["", "a", "B", "siti", "Siti", " siti ", "é", "e\u0301", "Ayu 🌱", "a" * 13, "a" * 40, "\u3000x"]
)
"""Texts that are close to each other, short (12 bytes and less stand inside a view) and long."""

KINDS: dict[str, tuple[st.SearchStrategy[Any], tuple[pa.DataType, ...]]] = {
    "text": (MARKS | st.text(max_size=3), TEXTS),
    "bytes": (st.sampled_from([b"aa", b"ab", b"\0\0", b"\xff\xff"]), BYTES),
    "integer": (st.integers(0, 4), INTEGERS),
    "signed": (st.sampled_from([-(2**63), -1, 0, 2**63 - 1]), (pa.int64(),)),
    "boolean": (st.booleans(), (pa.bool_(),)),
    "float": (st.sampled_from([0.0, 1.5, float("inf"), float("nan")]), (pa.float64(),)),
    "single": (st.sampled_from([0.0, 1.5, -2.0]), (pa.float32(),)),
    "date": (st.sampled_from([DAY, DAY + datetime.timedelta(days=1)]), (pa.date32(),)),
    "instant": (st.sampled_from([NOON, NOON + datetime.timedelta(microseconds=1)]), (pa.timestamp("us"),)),
    "decimal": (st.sampled_from([Decimal("0.00"), Decimal("1.10"), Decimal("-1.10")]), (pa.decimal128(20, 2),)),
    "time": (st.sampled_from([datetime.time(7), datetime.time(7, 0, 1)]), (pa.time64("us"),)),
}
"""Kinds of attributes: values, and the types they may stand in, another on each side."""

KEYS: dict[str, tuple[st.SearchStrategy[Any], tuple[pa.DataType, ...], tuple[pa.DataType, ...]]] = {
    "text": (MARKS | st.sampled_from("abcdefgh"), TEXTS, TEXTS),
    "binary": (st.sampled_from([bytes([one, two]) for one in (0, 7, 255) for two in (0, 1, 9)]), BYTES, BYTES),
    "integer": (st.integers(0, 9), INTEGERS, INTEGERS),
    "uuid": (st.sampled_from(PEOPLE), (pa.binary(16), *TEXTS), (pa.binary(16), *TEXTS)),
}
"""Forms of keys: values, and the types of either side."""


@dataclass(frozen=True)
class Question:
    """Two lists of rows, and the types their columns take on either side; the key's is first."""

    key_form: str
    names: list[str]
    rows: tuple[list[Row], list[Row]]
    types: tuple[list[pa.DataType], list[pa.DataType]]

    def tables(self) -> tuple[pa.Table, pa.Table]:
        """Both sides as Arrow tables."""
        return table(self, 0), table(self, 1)

    @property
    def shown_as(self) -> type:
        """The Python type of the source's keys."""
        return python_type(self.types[0][0])


def is_text(kind: pa.DataType) -> bool:
    """Whether a type holds text, in whatever layout."""
    return "string" in str(kind)


def python_type(kind: pa.DataType) -> type:
    """What a key of this type is in Python."""
    return str if is_text(kind) else int if pa.types.is_integer(kind) else bytes


@st.composite
def questions(draw: st.DrawFn, key_forms: Sequence[str] = tuple(KEYS)) -> Question:
    """Up to 30 rows a side over a few keys, some of them doubled, with up to four attributes and nulls."""
    form = draw(st.sampled_from(key_forms))
    keys, *key_types = KEYS[form]
    kinds = draw(st.lists(st.sampled_from(list(KINDS)), min_size=1, max_size=4))
    names = [f"{kind} {place}" for place, kind in enumerate(kinds)]
    types = tuple(
        [draw(st.sampled_from(key_types[side])), *(draw(st.sampled_from(KINDS[k][1])) for k in kinds)]
        for side in (0, 1)
    )
    values = [st.none() | KINDS[kind][0] for kind in kinds]
    rows = tuple(
        draw(st.lists(st.tuples(_written(keys, types[side][0], form), *values), max_size=30)) for side in (0, 1)
    )
    return Question(form, names, rows, types)


def _written(keys: st.SearchStrategy[Any], kind: pa.DataType, form: str) -> st.SearchStrategy[Any]:
    """Keys as this side writes them: UUIDs as bytes, or as text in either case."""
    if form != "uuid":
        return keys
    if not is_text(kind):
        return keys.map(lambda key: key.bytes)
    return st.builds(lambda key, upper: str(key).upper() if upper else str(key), keys, st.booleans())


def array(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """An array of a type. A dictionary gets an entry that no row uses and is a slice, as real ones are."""
    if pa.types.is_dictionary(kind):
        unused = "unused" if is_text(kind) else b"unused"
        encoded = pa.array([unused, *values], kind.value_type).dictionary_encode()
        return pa.DictionaryArray.from_arrays(encoded.indices.cast(kind.index_type), encoded.dictionary).slice(1)
    return pa.array(values, kind)


def table(question: Question, side: int) -> pa.Table:
    """One side as an Arrow table in two batches, the second with an offset."""
    rows, types = question.rows[side], question.types[side]
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(types)
    arrays = [array(column, kind) for column, kind in zip(columns, types, strict=True)]
    whole = pa.table(dict(zip(["key", *question.names], arrays, strict=True)))
    cut = len(rows) // 3
    return pa.concat_tables([whole.slice(0, cut), whole.slice(cut)])


ENCODINGS = {
    "text": ("PLAIN", "DELTA_LENGTH_BYTE_ARRAY", "DELTA_BYTE_ARRAY"),
    "integer": ("PLAIN", "DELTA_BINARY_PACKED", "BYTE_STREAM_SPLIT"),
    "fixed": ("PLAIN", "BYTE_STREAM_SPLIT", "DELTA_BYTE_ARRAY"),
    "float": ("PLAIN", "BYTE_STREAM_SPLIT"),
    "boolean": ("PLAIN", "RLE"),
}
"""Encodings of Parquet without a dictionary, by what they can hold."""


def encodings_of(kind: pa.DataType) -> tuple[str, ...]:
    """The encodings a column of this type can be written in."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_boolean(kind):
        return ENCODINGS["boolean"]
    if pa.types.is_fixed_size_binary(kind) or pa.types.is_decimal(kind):
        return ENCODINGS["fixed"]
    if is_text(kind) or "binary" in str(kind):
        return ENCODINGS["text"]
    return ENCODINGS["float" if pa.types.is_floating(kind) else "integer"]


@st.composite
def writings(draw: st.DrawFn, question: Question, side: int) -> dict[str, Any]:
    """Options of pyarrow's writer for one side."""
    options: dict[str, Any] = {
        "compression": draw(st.sampled_from(["none", "snappy", "zstd", "lz4"])),
        "data_page_version": draw(st.sampled_from(["1.0", "2.0"])),
        "data_page_size": draw(st.sampled_from([1, 64, 1 << 20])),
        "write_batch_size": draw(st.sampled_from([1, 3, 1024])),
        "row_group_size": draw(st.sampled_from([1, 4, 1 << 20])),
        "store_schema": draw(st.booleans()),
        "write_statistics": draw(st.booleans()),
        "write_page_index": draw(st.booleans()),
        "version": draw(st.sampled_from(["1.0", "2.4", "2.6"])),
    }
    if draw(st.booleans()):
        return options | {"use_dictionary": True, "dictionary_pagesize_limit": draw(st.sampled_from([1, 24, 1 << 20]))}
    encoding = {
        name: draw(st.sampled_from(encodings_of(kind)))
        for name, kind in zip(["key", *question.names], question.types[side], strict=True)
    }
    return options | {"use_dictionary": False, "column_encoding": encoding}


def required(whole: pa.Table) -> pa.Table:
    """The table with every column that has no null declared as one that cannot."""
    fields = [field.with_nullable(whole[field.name].null_count > 0) for field in whole.schema]
    return pa.Table.from_arrays(whole.columns, schema=pa.schema(fields))


def write_files(folder: Path, whole: pa.Table, files: int, options: dict[str, Any]) -> list[Path]:
    """The table as so many Parquet files."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(files):
        first, last = whole.num_rows * number // files, whole.num_rows * (number + 1) // files
        paths.append(folder / f"{number:03}.parquet")
        pq.write_table(whole.slice(first, last - first), paths[-1], **options)
    return paths
