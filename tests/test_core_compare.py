"""`_core.compare` against an obvious implementation, and its digests against the Python package."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from belajarid_recon import _core

ATTRIBUTES = ["name", "flag", "number", "raw"]
SCHEMA = {"key": pl.Binary, "name": pl.String, "flag": pl.Boolean, "number": pl.Int64, "raw": pl.Binary}
LAYOUTS = (pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string()))
KEYS = (pa.binary(), pa.large_binary(), pa.binary_view(), pa.binary(2))

Row = tuple[Any, ...]


def reference(desired: list[Row], observed: list[Row]) -> tuple[list[Row], int]:
    """What the result must be: lines of kind, key, mask, before, after, count in key order; and how many are unchanged."""
    lines, unchanged = [], 0
    wanted, seen = ({row[0]: row[1:] for row in side} for side in (desired, observed))
    times = [Counter(row[0] for row in side) for side in (desired, observed)]
    for key in sorted(wanted.keys() | seen.keys()):
        doubled = [("duplicate-desired", times[0][key]), ("duplicate-observed", times[1][key])]
        if any(count > 1 for _, count in doubled):
            lines += [(kind, key, 0, None, None, count) for kind, count in doubled if count > 1]
        elif key not in seen:
            lines.append(("added", key, 0, None, wanted[key], 1))
        elif key not in wanted:
            lines.append(("removed", key, 0, seen[key], None, 1))
        elif wanted[key] == seen[key]:
            unchanged += 1
        else:
            differs = [one != other for one, other in zip(wanted[key], seen[key], strict=True)]
            sides = [tuple(v if d else None for v, d in zip(s[key], differs, strict=True)) for s in (seen, wanted)]
            lines.append(("changed", key, sum(1 << n for n, d in enumerate(differs) if d), *sides, 1))
    return lines, unchanged


def compared(desired: Any, observed: Any, **changes: Any) -> tuple[list[Row], dict[str, int]]:
    """The core's answer in the reference's form."""
    arguments = {"key": "key", "attributes": ATTRIBUTES, "seed": 7, "threads": 1} | changes
    table, counts = _core.compare(desired, observed, **arguments)
    sides = ("before", "after")
    lines = [
        tuple(tuple(row[name].values()) if name in sides and row[name] else row[name] for name in row)
        for row in pl.DataFrame(table).iter_rows(named=True)
    ]
    return lines, counts


def frame(rows: list[Row]) -> pl.DataFrame:
    """Rows as a polars frame."""
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


ROWS = st.lists(
    st.tuples(
        st.binary(min_size=2, max_size=2).map(lambda raw: bytes(byte % 6 for byte in raw)),
        st.none() | st.text(max_size=4),
        st.none() | st.booleans(),
        st.none() | st.integers(-3, 3),
        st.none() | st.binary(max_size=2),
    ),
    max_size=40,
)


@given(ROWS, ROWS, st.integers(0, 2**64 - 1))
@settings(max_examples=300, deadline=None)
def test_it_agrees_with_the_reference(desired, observed, seed):
    """Random tables with nulls, unicode and duplicates; everybody is counted once."""
    expected, unchanged = reference(desired, observed)
    lines, counts = compared(frame(desired), frame(observed), seed=seed)
    assert lines == expected
    kinds = Counter(line[0].split("-")[0] for line in expected)
    assert counts == {"unchanged": unchanged} | {
        kind: kinds[kind] for kind in ("added", "removed", "changed", "duplicate")
    }


@given(ROWS, ROWS, st.sampled_from(LAYOUTS), st.sampled_from(LAYOUTS), st.sampled_from(KEYS), st.sampled_from(KEYS))
@settings(max_examples=150, deadline=None)
def test_the_layout_does_not_matter(desired, observed, one, other, key, other_key):  # noqa: PLR0917 - drawn
    """Strings and keys in any layout, different on the two sides."""

    def table(rows: list[Row], text: pa.DataType, binary: pa.DataType) -> pa.Table:
        columns = list(zip(*rows, strict=True)) if rows else [()] * 5
        types = [binary, text, pa.bool_(), pa.int16(), pa.large_binary()]
        arrays = [
            pa.array(column, pa.string()).dictionary_encode()
            if pa.types.is_dictionary(kind)
            else pa.array(column, kind)
            for column, kind in zip(columns, types, strict=True)
        ]
        return pa.table(dict(zip(["key", *ATTRIBUTES], arrays, strict=True)))

    lines, _ = compared(table(desired, one, key), table(observed, other, other_key))
    assert lines == reference(desired, observed)[0]


def many(rows: int, seed: int) -> list[Row]:
    """Rows of a few thousand keys, some twice."""
    draw = random.Random(seed)  # noqa: S311 - test data
    return [
        (draw.randrange(rows).to_bytes(17, "big"), draw.choice("abc"), draw.random() < 0.5, draw.randrange(3), b"x")
        for _ in range(rows)
    ]


@pytest.mark.parametrize("threads", range(1, 9))
def test_order_batches_and_threads_do_not_matter(threads):
    """Shuffled rows in any number of batches on 1 to 8 threads give the same lines."""
    desired, observed = many(5_000, 1), many(5_000, 2)
    expected = compared(frame(desired), frame(observed))
    draw = random.Random(threads)  # noqa: S311 - test data
    draw.shuffle(desired)
    draw.shuffle(observed)
    cut = draw.randrange(5_000)
    pieces = pl.concat([frame(desired[:cut]), frame(desired[cut:])], rechunk=False)
    assert compared(pieces, frame(observed), threads=threads) == expected


@given(ROWS, st.integers(0, 2**64 - 1))
@settings(max_examples=100, deadline=None)
def test_digests_are_the_documented_ones(rows, seed):
    """The Python package `xxhash` gives the same digest over the same canonical form."""

    def canonical(value: Any) -> bytes:
        if value is None:
            return b"\0"
        if isinstance(value, bool):
            content = bytes([value])
        elif isinstance(value, int):
            content = value.to_bytes(8, "little", signed=True)
        else:
            content = value.encode() if isinstance(value, str) else value
        return b"\1" + len(content).to_bytes(8, "little") + content

    expected = [xxhash.xxh3_128_digest(b"".join(map(canonical, row[1:])), seed=seed) for row in rows]
    digests = pl.Series(_core.row_digests(frame(rows), attributes=ATTRIBUTES, seed=seed))
    assert digests.cast(pl.Binary).to_list() == expected


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"key": "nokey"}, "nokey"),
        ({"attributes": ["name", "absent"]}, "absent"),
        ({"attributes": [f"a{n}" for n in range(65)]}, "64 at most"),
        ({"threads": 0}, "threads"),
        ({"key": "flag", "attributes": ["name"]}, "flag"),
    ],
)
def test_wrong_arguments_are_named(change, words):
    """A missing key or attribute, too many of them, no thread, a key that is no string."""
    with pytest.raises(_core.TableError, match=words):
        compared(frame([]), frame([]), **change)


def test_wrong_columns_are_named():
    """A null key, types that differ on the two sides, a type that is not compared, an integer out of bounds."""
    good = frame([(b"k", "n", True, 1, b"")])
    for bad, column in (
        (good.with_columns(key=pl.lit(None, dtype=pl.Binary)), "key"),
        (good.with_columns(name=pl.lit(1)), "name"),
        (good.with_columns(number=pl.lit(0.5)), "number"),
        (good.with_columns(number=pl.lit(2**63, dtype=pl.UInt64)), "number"),
    ):
        with pytest.raises(_core.TableError, match=column):
            compared(good, bad)


def test_messages_hold_no_value():
    """A refused column is named; what stands in it is not."""
    rows = frame([(b"k", "3201010101010001", True, 1, b"")])
    with pytest.raises(_core.TableError) as refusal:
        compared(rows, rows.with_columns(name=pl.lit(0.25)))
    assert "3201010101010001" not in str(refusal.value)
