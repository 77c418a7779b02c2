"""`_core.candidate_user_id`: digits that follow from account key and attempt alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from belajarid_recon import _core
from blake3_reference import keyed_hash

KEY = bytes(range(32))


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=17, max_size=17), st.integers(0, 63))
def test_digits_are_the_documented_hash(naming_key: bytes, account_key: bytes, attempt: int) -> None:
    """BLAKE3 of key and attempt, its first eight bytes modulo 10^4, 10^5 or 10^6, zero-padded."""
    width = 4 if attempt < 4 else 5 if attempt < 8 else 6
    digest = keyed_hash(naming_key, account_key + attempt.to_bytes(4, "little"))
    expected = f"siti.sari{int.from_bytes(digest[:8], 'little') % 10**width:0{width}}"
    assert _core.candidate_user_id("siti.sari", account_key, attempt, naming_key=naming_key) == expected


def test_attempts_differ_and_keys_differ() -> None:
    """64 attempts of one key give more than 60 IDs; 64 keys of one attempt likewise."""
    attempts = {_core.candidate_user_id("a", b"k" * 17, attempt, naming_key=KEY) for attempt in range(64)}
    keys = {_core.candidate_user_id("a", bytes([number]) * 17, 8, naming_key=KEY) for number in range(64)}
    assert min(len(attempts), len(keys)) > 60


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("a", b"k" * 17, 64), "attempt must be from 0 to 63: 64"),
        (("a", b"k" * 16, 0), "account_key must be 17 bytes, not this many: 16"),
        (("", b"k" * 17, 0), "base must be letters"),
        (("Budi", b"k" * 17, 0), "base must be letters"),
        (("budi1", b"k" * 17, 0), "base must be letters"),
    ],
)
def test_arguments_out_of_bounds_are_refused(arguments: tuple[str, bytes, int], message: str) -> None:
    """Each is one clear error; a base that is none does not show, since it may be a name."""
    with pytest.raises(_core.TableError, match=message) as caught:
        _core.candidate_user_id(*arguments, naming_key=KEY)
    assert "Budi" not in str(caught.value)
    assert "budi" not in str(caught.value)


def test_the_naming_key_must_have_32_bytes() -> None:
    """A key of another length is refused with its length."""
    with pytest.raises(ValueError, match="naming_key must be 32 bytes, not this many: 3"):
        _core.candidate_user_id("a", b"k" * 17, 0, naming_key=b"abc")
