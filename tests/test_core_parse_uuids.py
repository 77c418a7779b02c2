"""`_core.parse_uuids`: person ids in every form and layout a register writes."""

from __future__ import annotations

import uuid
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from belajarid_recon import _core

PERSON = uuid.UUID("80f04f5c-2df5-e011-aecb-0123456789ab")
TEXTS = (pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string()))
BINARIES = (pa.binary(), pa.large_binary(), pa.binary_view(), pa.binary(16), pa.dictionary(pa.int32(), pa.binary()))


def parsed(values: Any) -> list[bytes | None]:
    """The core's answer as a list."""
    return pl.Series(_core.parse_uuids(values)).to_list()


@pytest.mark.parametrize("layout", TEXTS, ids=str)
def test_text_of_every_layout_is_read(layout: pa.DataType) -> None:
    """Forms and cases agree, and nulls stay null, whatever the string type."""
    values = [str(PERSON), str(PERSON).upper(), PERSON.hex, None, ""]
    assert parsed(pa.array(values, pa.string()).cast(layout)) == [PERSON.bytes] * 3 + [None, None]


@pytest.mark.parametrize("layout", BINARIES, ids=str)
def test_bytes_of_every_layout_are_read(layout: pa.DataType) -> None:
    """16 raw bytes are a UUID, whatever the binary type."""
    plain = pa.array([PERSON.bytes, None], layout.value_type if pa.types.is_dictionary(layout) else layout)
    values = plain.dictionary_encode() if pa.types.is_dictionary(layout) else plain
    assert parsed(values) == [PERSON.bytes, None]


def test_text_in_a_binary_column_is_read() -> None:
    """A writer that left out the string annotation is understood."""
    assert parsed(pl.Series([str(PERSON).encode(), PERSON.hex.encode()])) == [PERSON.bytes] * 2


def test_sixteen_letters_are_no_uuid() -> None:
    """Text of 16 characters is not taken for 16 raw bytes."""
    assert parsed(pl.Series(["0123456789abcdef"])) == [None]


@pytest.mark.parametrize(
    "value",
    [f" {PERSON}", f"{PERSON} ", f"{{{PERSON}}}", f"urn:uuid:{PERSON}", str(PERSON)[:-1] + "g", str(PERSON)[:-1], "-" * 36,
     str(PERSON).replace("-", "_"), PERSON.hex[:-1] + "\u0661", "NULL"],
)  # fmt: skip
def test_what_is_not_exactly_a_uuid_is_null(value: str) -> None:
    """Blanks, braces, prefixes and strange digits are refused, not repaired."""
    assert parsed(pl.Series([value])) == [None]


@given(st.lists(st.one_of(st.none(), st.uuids(), st.text(max_size=40))))
def test_only_uuids_survive(values: list[Any]) -> None:
    """Every UUID comes back as its bytes, and text only where it is one."""
    texts = [None if value is None else str(value) for value in values]
    for value, result in zip(values, parsed(pl.Series(texts, dtype=pl.String)), strict=True):
        if isinstance(value, uuid.UUID):
            assert result == value.bytes
        elif result is not None:
            assert uuid.UUID(value).bytes == result


def test_chunks_are_one_column() -> None:
    """A column in many chunks gives as many rows, in order; no chunk gives none."""
    many = pa.chunked_array([[str(PERSON)], [], [None, PERSON.hex]], pa.string())
    assert parsed(many) == [PERSON.bytes, None, PERSON.bytes]
    assert parsed(pl.Series([], dtype=pl.String)) == []


def test_other_types_are_refused() -> None:
    """A column that is neither strings nor bytes is an error, as is what is no column."""
    with pytest.raises(_core.TableError, match="strings or bytes expected, not Int64: column values"):
        _core.parse_uuids(pl.Series([1]))
    with pytest.raises(ValueError, match="__arrow_c_stream__"):
        _core.parse_uuids([str(PERSON)])  # type: ignore[arg-type]
