"""`_core.account_keys`: marker and jenjang in 17 bytes."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from belajarid_recon import _core
from belajarid_recon.schemas import JENJANG_CODE

INTEGERS = [pl.UInt8, pl.Int8, pl.UInt16, pl.Int32, pl.Int64, pl.UInt64]


@given(
    st.lists(
        st.tuples(st.one_of(st.none(), st.binary(min_size=16, max_size=16)), st.one_of(st.none(), st.integers(0, 255)))
    )
)
def test_key_is_marker_and_code(rows: list[tuple[bytes | None, int | None]]) -> None:
    """The code is the last byte; a null on either side gives null."""
    frame = pl.DataFrame(rows, schema={"marker": pl.Binary, "code": pl.UInt8}, orient="row")
    keys = pl.Series(_core.account_keys(frame["marker"], frame["code"])).to_list()
    assert keys == [None if None in row else row[0] + bytes([row[1]]) for row in rows]  # type: ignore[operator, list-item]


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_any_integer_type_is_a_code(dtype: pl.DataType) -> None:
    """Codes are values, whatever width they came in."""
    codes = pl.Series(list(JENJANG_CODE.values()), dtype=dtype)
    keys = pl.Series(_core.account_keys(pl.Series([b"m" * 16] * len(codes)), codes)).to_list()
    assert [key[16] for key in keys] == list(JENJANG_CODE.values())


def test_what_does_not_fit_is_refused() -> None:
    """Codes out of a byte, markers of another length, and columns of different lengths are errors."""
    marker = pl.Series([b"m" * 16])
    for code in (-1, 256):
        with pytest.raises(_core.TableError, match="0 to 255: column jenjang_codes"):
            _core.account_keys(marker, pl.Series([code]))
    with pytest.raises(_core.TableError, match="integer expected"):
        _core.account_keys(marker, pl.Series([1.0]))
    with pytest.raises(_core.TableError, match="column markers"):
        _core.account_keys(pl.Series([b"m"]), pl.Series([1]))
    with pytest.raises(_core.TableError, match="as many rows as each other: 1 and 2"):
        _core.account_keys(marker, pl.Series([1, 2]))
