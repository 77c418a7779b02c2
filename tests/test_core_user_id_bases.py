"""`_core.user_id_bases`: the first and last word of a name, folded."""

from __future__ import annotations

import re

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from belajarid_recon import _core

FOLDED = [
    ("BUDI SANTOSO", "budi.santoso"),
    ("  Siti   Nurhaliza  ", "siti.nurhaliza"),
    ("SUHARTO", "suharto"),
    ("SITI SITI", "siti.siti"),
    ("Muhammad Rizky Al-Fatih", "muhammad.fatih"),
    ("ABD. RAHMAN", "abd.rahman"),
    ("A'yun Qur'ani", "ayun.qurani"),
    ("Wayan/Putu", "wayan.putu"),
    ("Budi,Santoso", "budi.santoso"),
    ("Andi 2", "andi"),
    ("4ndi S4ri", "ndi.sri"),
    ("José Núñez", "jose.nunez"),
    ("Łukasz Gößmann", "lukasz.gossmann"),
    ("ＢＵＤＩ　ＳＡＲＩ", "budi.sari"),  # noqa: RUF001 - full-width letters are the point
    ("محمد", "mhmd"),
    ("Budi\u00a0Sari", "budi.sari"),
    ("Budi\u2009Sari", "budi.sari"),
    ("ABCDEFGHIJKLMNOPQRSTUVWXYZ ZYXWVUTSRQPONMLKJIHGFEDCBA", "abcdefghijklmnopqrstuvwx.zyxwvutsrqponmlkjihgfedc"),
    ("- . , / '", "akun"),
    ("12345", "akun"),
    ("", "akun"),
    (None, "akun"),
]


def bases(names: list[str | None]) -> list[str]:
    """The core's answer as a list."""
    return pl.Series(_core.user_id_bases(pl.Series(names, dtype=pl.String))).to_list()


@pytest.mark.parametrize(("name", "expected"), FOLDED)
def test_names_fold_by_the_rule(name: str | None, expected: str) -> None:
    """Examples of each sentence of the rule."""
    assert bases([name]) == [expected]


@given(st.lists(st.text(st.characters(codec="ascii"), max_size=60)))
def test_ascii_names_agree_with_the_rule_in_python(names: list[str]) -> None:
    """Where nothing is to transliterate, five lines of Python give the same."""
    for name, base in zip(names, bases(list(names)), strict=True):
        words = re.split(r"[ \t\n\v\f\r\-.,/]", name.lower())
        words = [word[:24] for word in (re.sub("[^a-z]", "", word) for word in words) if word]
        assert base == ".".join(words[:1] + words[1:][-1:]) or (not words and base == "akun")


@given(st.lists(st.one_of(st.none(), st.text(max_size=80))))
def test_a_base_has_its_form_whatever_the_name(names: list[str | None]) -> None:
    """One or two words of 1 to 24 letters: with six digits at most 55 characters."""
    assert all(re.fullmatch(r"[a-z]{1,24}(\.[a-z]{1,24})?", base) for base in bases(names))


@pytest.mark.parametrize(
    "layout", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())], ids=str
)
def test_layout_does_not_matter(layout: pa.DataType) -> None:
    """Every string type gives the same base."""
    assert pl.Series(_core.user_id_bases(pa.array(["BUDI SARI"]).cast(layout))).to_list() == ["budi.sari"]


def test_other_types_are_refused() -> None:
    """Names are strings."""
    with pytest.raises(_core.TableError, match="strings expected, not BinaryView: column names"):
        _core.user_id_bases(pl.Series([b"BUDI"]))
