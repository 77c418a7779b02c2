"""Sources: names as registered become the two name fields of an account."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from belajarid_recon.sources.names import (
    NAME_FIELD_MAX,
    account_names,
    comparable_name,
    comparable_names,
    folded_name,
    read_names,
)


def folded(name: str | None) -> str | None:
    """One folded name."""
    return pl.DataFrame({"nama": [name]}, schema={"nama": pl.String}).select(folded_name("nama")).item()


def fields(name: str | None) -> tuple[str | None, str | None]:
    """Given and family name of one name."""
    return account_names(pl.Series([folded(name)], dtype=pl.String)).row(0)


@pytest.mark.parametrize(
    ("name", "given", "family"),
    [
        ("Siti Aminah", "Siti", "Aminah"),
        ("Ni Luh Putu Ayu", "Ni Luh Putu", "Ayu"),
        ("Slamet", "Slamet", "Slamet"),
        ("SITI NURHALIZA", "Siti", "Nurhaliza"),
        ("siti nurhaliza", "Siti", "Nurhaliza"),
        ("Siti McDonald", "Siti", "McDonald"),
        ("I WAYAN SUDANA", "I Wayan", "Sudana"),
        ("NUR'AINI MA'RUF", "Nur'aini", "Ma'ruf"),
        ("Jeanne d\u2019Arc", "Jeanne", "d'Arc"),
        ("AN-NISA PUTRI", "An-Nisa", "Putri"),
        ("  Siti\t\u00a0 Aminah ", "Siti", "Aminah"),
        ("Siti, Aminah", "Siti", "Aminah"),
        ("Andre\u0301 Nunes", "Andr\u00e9", "Nunes"),
        ("Budi - Santoso", "Budi", "Santoso"),
        ("Siti <b>Aminah</b> 2", "Siti b Aminah", "b"),
        ("Ahm\u200bad Zaki", "Ahmad", "Zaki"),
    ],
)
def test_names_are_split_and_cased(name, given, family):
    """The last word is the family name; one word is both; only names of a single case are recased."""
    assert fields(name) == (given, family)


@pytest.mark.parametrize(
    "name",
    [
        "Drs. Ahmad Fauzi",
        "H. Ahmad Fauzi",
        "Dr. Ir. H. Ahmad Fauzi",
        "Prof Ahmad Fauzi",
        "Ahmad Fauzi, S.Pd",
        "Ahmad Fauzi S.Pd.",
        "Ahmad Fauzi, S. Pd. I., M.Pd",
        "AHMAD FAUZI, SPD, MM",
        "Ahmad Fauzi A.Ma.Pd.SD",
        "Ahmad Fauzi, Gr.",
        "Drs. H. Ahmad Fauzi, S.E., M.M., Ph.D",
        "H.Ahmad Fauzi,S.Ag",
        "Ahmad Fauzi SPd MPd",
    ],
)
def test_titles_do_not_reach_the_account(name):
    """Academic and religious titles before and after the name go, however they are spelled."""
    assert fields(name) == ("Ahmad", "Fauzi")


@pytest.mark.parametrize(
    ("name", "given", "family"),
    [
        ("M. Ahmad Fauzi", "M. Ahmad", "Fauzi"),
        ("R.A. Kartini", "R.A.", "Kartini"),
        ("Ni Ketut SE", "Ni Ketut", "SE"),
        ("Ida Ayu MA", "Ida Ayu", "MA"),
        ("Agus S", "Agus", "S"),
        ("Irwan Drajat", "Irwan", "Drajat"),
        ("S.Pd", "S.Pd", "S.Pd"),
        ("Drs.", "Drs.", "Drs."),
    ],
)
def test_what_may_be_a_name_stays(name, given, family):
    """Initials, two letters without a dot, words that begin like a title, and a name that is nothing but one."""
    assert fields(name) == (given, family)


@pytest.mark.parametrize("name", [None, "", "   ", "...", "123", "-", "?!", "\u200b"])
def test_a_name_without_a_letter_is_none(name):
    """Such rows are quarantined as `name-unusable`."""
    assert fields(name) == (None, None)


def test_long_names_are_cut_between_words():
    """Google takes 60 characters a field; a word of more is cut."""
    given_name, family_name = fields("Abcdefgh " * 12 + "Z" * 70)
    assert given_name == " ".join(["Abcdefgh"] * 6)
    assert family_name == "Z" * NAME_FIELD_MAX


def test_two_typings_of_a_name_compare_equal():
    """Case, dots, blanks and apostrophes are what typing changes."""
    typed = pl.DataFrame({"nama": ["MA'RUF  A. RAHMAN", "Maruf A Rahman"]}).select(comparable_name("nama"))["nama"]
    assert typed.n_unique() == 1


@settings(max_examples=200, deadline=None)
@given(name=st.text(max_size=120))
def test_any_name_gives_two_fields_google_takes_or_none(name):
    """No text breaks the rules: 1 to 60 characters, no control characters or angle brackets, and folding twice changes nothing."""
    once = folded(name)
    assert folded(once) == once
    given_name, family_name = fields(name)
    assert (given_name is None) == (family_name is None)
    if given_name is None:
        assert not any(letter.isalpha() for letter in once or "")
        return
    for field in (given_name, family_name):
        assert 1 <= len(field) <= NAME_FIELD_MAX
        assert field == field.strip()
        assert not set(field) & set("<>=@\n\t\x00")
    assert " " not in family_name


NEARLY_PLAIN = st.lists(
    st.sampled_from(["BUDI", "siti", "Nur", "Drs", "SPD", "hj", "m.", "A", "x" * 61, "Ma'ruf", "", "\u00e9", "MPdI"]),
    max_size=6,
).map(" ".join)


@settings(max_examples=300, deadline=None)
@given(registered=st.lists(st.one_of(st.none(), NEARLY_PLAIN, st.text(max_size=30)), max_size=8))
def test_plain_names_are_split_as_all_others(registered):
    """The short way for plain names and the rules for all names say the same of every name."""
    column = pl.Series("nama", registered, dtype=pl.String)
    folded_names = column.to_frame().select(folded_name("nama"))["nama"]
    # The short way takes what `read_columns` gives: text without blanks around it, and no blank text.
    stripped = column.str.strip_chars()
    given_names = read_names(stripped.set(stripped == "", None))
    ruled = account_names(folded_names)
    assert given_names["given_name"].to_list() == ruled["given_name"].to_list()
    assert given_names["family_name"].to_list() == ruled["family_name"].to_list()
    assert given_names["nama"].to_list() == folded_names.to_list()
    letters = column.to_frame().select(comparable_name("nama"))["nama"]
    assert comparable_names(column).to_list() == letters.to_list()
