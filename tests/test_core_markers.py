"""`_core.markers`: keyed hashes of person ids, against BLAKE3 in plain Python."""

from __future__ import annotations

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from belajarid_recon import _core
from blake3_reference import keyed_hash

KEY = bytes(range(32))


def test_reference_gives_the_published_hash() -> None:
    """The reference agrees with BLAKE3's own test vectors, so that what agrees with it is BLAKE3."""
    vector_key = b"whats the Elvish word for friend"
    assert (
        keyed_hash(vector_key, b"").hex().startswith("92b2b75604ed3c761f9d6f62392c8a9227ad0ea3f09573e783f1498a4ed60d26")
    )
    assert keyed_hash(vector_key, b"\0").hex() == "6d7878dfff2f485635d39013278ae14f1454b8c0a3a2d34bc1ab38228a80c95b"


@given(
    st.lists(st.one_of(st.none(), st.binary(min_size=16, max_size=16)), max_size=20),
    st.binary(min_size=32, max_size=32),
)
def test_markers_are_the_front_of_the_keyed_hash(ids: list[bytes | None], key: bytes) -> None:
    """16 bytes of the keyed hash for each id; null stays null."""
    markers = pl.Series(_core.markers(pl.Series(ids, dtype=pl.Binary), key=key)).to_list()
    assert markers == [None if person is None else keyed_hash(key, person)[:16] for person in ids]


@pytest.mark.parametrize("layout", [pa.binary(), pa.large_binary(), pa.binary_view(), pa.binary(16)], ids=str)
def test_layout_does_not_matter(layout: pa.DataType) -> None:
    """Every binary type gives the same marker."""
    assert pl.Series(_core.markers(pa.array([b"p" * 16], layout), key=KEY)).to_list() == [
        keyed_hash(KEY, b"p" * 16)[:16]
    ]


def test_key_must_have_32_bytes_and_never_shows() -> None:
    """A short key is refused with its length, without its bytes."""
    with pytest.raises(ValueError, match="32 bytes") as caught:
        _core.markers(pl.Series([b"p" * 16]), key=b"geheim")
    assert "geheim" not in str(caught.value)
    assert str(caught.value).endswith(": 6")


def test_ids_of_other_lengths_or_types_are_refused() -> None:
    """An id that is not 16 bytes would be nobody's, so it is an error."""
    with pytest.raises(_core.TableError, match="16 bytes expected, not 15: column person_ids"):
        _core.markers(pl.Series([b"p" * 15]), key=KEY)
    with pytest.raises(_core.TableError, match="column person_ids"):
        _core.markers(pl.Series(["p" * 16]), key=KEY)
