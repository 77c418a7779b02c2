"""`_core.plain_names`: given and family name of names that need no other rule."""

from __future__ import annotations

import polars as pl
import pyarrow as pa
import pytest

from belajarid_recon import _core

TITLES = ["drs", "spd"]


def split(names: list[str | None]) -> list[tuple[str | None, str | None]]:
    """The core's answer as rows."""
    table = _core.plain_names(pl.Series(names, dtype=pl.String), not_names=TITLES)
    return pl.DataFrame(table).select("given_name", "family_name").rows()


def test_plain_names_are_split_and_cased():
    """One case becomes title case, mixed case stays, a single word is both fields."""
    names = ["SITI NUR AISYAH", "budi", "Ahmad MUzaki", "I KETUT", "A", "aB c"]
    fields = [("Siti Nur", "Aisyah"), ("Budi", "Budi"), ("Ahmad", "MUzaki"), ("I", "Ketut"), ("A", "A"), ("aB", "c")]
    assert split(names) == fields


@pytest.mark.parametrize(
    "name", [None, "", " ", "DRS Budi", "Budi SPd", "Ma'ruf", "M. Rizki", "José", "A  B", " A", "A ", "a\tb", "a" * 61]
)
def test_other_names_are_left(name):
    """Titles, other letters and signs, gaps and long fields are for the full rules."""
    assert split([name]) == [(None, None)]


def test_layouts_read_alike():
    """Every layout of strings gives the same; a column of numbers is refused."""
    names = ["BUDI SANTOSO", None, "Dr. X"]
    columns = [pa.array(names), pa.array(names, pa.large_string()), pa.array(names).dictionary_encode()]
    answers = [pl.DataFrame(_core.plain_names(column, not_names=TITLES)).rows() for column in columns]
    assert answers == [[("Budi", "Santoso"), (None, None), (None, None)]] * 3
    with pytest.raises(_core.TableError, match="strings"):
        _core.plain_names(pa.array([1]), not_names=TITLES)
