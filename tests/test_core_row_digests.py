"""`_core.row_digests` recomputed with the Python package `xxhash`."""

from __future__ import annotations

import datetime
import struct
from typing import Any

import polars as pl
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from belajarid_recon import _core

SCHEMA = {
    "name": pl.String,
    "flag": pl.Boolean,
    "number": pl.Int16,
    "raw": pl.Binary,
    "born": pl.Date,
    "share": pl.Float64,
}

ROWS = st.lists(
    st.tuples(
        st.none() | st.text(max_size=40),
        st.none() | st.booleans(),
        st.none() | st.integers(-3, 3),
        st.none() | st.binary(max_size=300),
        st.none() | st.dates(),
        st.none() | st.floats(allow_nan=False),
    ),
    max_size=40,
)


def content(value: Any) -> bytes:
    """What is hashed of a value."""
    if isinstance(value, bool):
        return bytes([value])
    if isinstance(value, int):
        return value.to_bytes(8, "little", signed=True)
    if isinstance(value, datetime.date):
        return (value - datetime.date(1970, 1, 1)).days.to_bytes(4, "little", signed=True)
    if isinstance(value, float):
        return struct.pack("<d", value)
    return value.encode() if isinstance(value, str) else bytes(value)


def digest(row: tuple[Any, ...], seed: int) -> bytes:
    """The documented digest of a row."""
    total = 0
    for place, value in enumerate(row):
        if value is not None:
            own = xxhash.xxh3_64_intdigest(place.to_bytes(8, "little"), seed=seed)
            total += xxhash.xxh3_128_intdigest(content(value), seed=own)
    return (total % 2**128).to_bytes(16, "big")


@given(ROWS, st.integers(0, 2**64 - 1))
@settings(max_examples=150, deadline=None)
def test_digests_are_the_documented_ones(rows, seed):
    """The sum of the values' digests, each under the seed of its place."""
    table = pl.DataFrame(rows, schema=SCHEMA, orient="row")
    digests = pl.Series(_core.row_digests(table, attributes=list(SCHEMA), seed=seed))
    assert digests.cast(pl.Binary).to_list() == [digest(row, seed) for row in rows]


def test_a_missing_attribute_is_named():
    """The message says which."""
    with pytest.raises(_core.TableError, match="absent"):
        _core.row_digests(pl.DataFrame({"name": ["a"]}), attributes=["absent"], seed=1)
