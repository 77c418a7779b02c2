"""`_core.candidate_digits`: the digits of `candidate_user_id`, a column at a time."""

from __future__ import annotations

import polars as pl
import pytest

from belajarid_recon import _core

KEY = bytes(range(32))


@pytest.mark.parametrize("attempt", [0, 4, 63])
def test_digits_are_those_of_the_candidate(attempt: int) -> None:
    """What stands after the base, for each key; null for null."""
    keys = [bytes([number]) * 17 for number in range(50)]
    digits = pl.Series(
        _core.candidate_digits(pl.Series([*keys, None], dtype=pl.Binary), attempt, naming_key=KEY)
    ).to_list()
    assert digits == [_core.candidate_user_id("a", key, attempt, naming_key=KEY)[1:] for key in keys] + [None]


def test_arguments_out_of_bounds_are_refused() -> None:
    """A key of another length and an attempt that nobody has."""
    with pytest.raises(_core.TableError, match="17 bytes expected, not 1: column account_keys"):
        _core.candidate_digits(pl.Series([b"x"]), 0, naming_key=KEY)
    with pytest.raises(_core.TableError, match="attempt must be from 0 to 63: 64"):
        _core.candidate_digits(pl.Series([b"x" * 17]), 64, naming_key=KEY)
