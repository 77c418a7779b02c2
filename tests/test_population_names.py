"""The name model: how many people share a base, drawn at ten million through the sampler that populations use."""

from __future__ import annotations

import polars as pl
import pytest

from belajarid_recon.population.names import (
    NameModel,
    base_numbers,
    build_model,
    fold_bases,
    read_shipped,
    sample,
    sample_ends,
    spell,
)
from belajarid_recon.population.randomness import Draws, weighted_slots

CHILDREN = 10_000_000
_CHUNK = 100_000

TARGETS = {10: 23.5, 100: 7.3, 1_000: 1.2}
"""Percent of people whose base has more holders than the key: reference, section 4.4, ten million children."""


def people(draws: Draws, start: int, count: int, *, adult: bool = False) -> pl.DataFrame:
    """Rows to name, with provinces in proportion to their schools."""
    provinces = (
        read_shipped("regions").group_by("kode_prov").agg(pl.col("schools").cast(pl.Int64).sum()).sort("kode_prov")
    )
    numbers = pl.int_range(provinces.height, dtype=pl.UInt32, eager=True)
    slots = weighted_slots(numbers, provinces["schools"], 1 << 12)
    rows = pl.DataFrame({"row": pl.int_range(start, start + count, eager=True)})
    where = pl.lit(slots).gather(draws.below("province", 1 << 12).cast(pl.UInt32))
    return rows.with_columns(girl=draws.happens("girl", 0.487), adult=pl.lit(adult), province=where)


@pytest.fixture(scope="module")
def model() -> NameModel:
    """All provinces, with the tail of a population of ten million."""
    provinces = read_shipped("regions")["kode_prov"].unique().sort()
    return build_model(Draws(1, "names"), tuple(provinces), 1 << 17)


def test_ten_million_children_collide_as_the_reference_says(model: NameModel) -> None:
    """The share of people whose base has more than 10, 100 and 1,000 holders is the reference's, each within a fifth.

    Ten million first and last words are drawn as token numbers by the sampler that populations use (no text is made),
    in 100 chunks; a base is the pair of folded words. It takes about a quarter of a minute and 700 MB.
    """
    draws, bases = Draws(1, "children"), fold_bases(model.text)
    chunks = [
        sample_ends(people(draws, start, _CHUNK), model, draws, "child").select(base_numbers(bases)).to_series()
        for start in range(0, CHILDREN, _CHUNK)
    ]
    holders = pl.concat(chunks).sort().rle().struct.field("len").cast(pl.Int64)
    assert int(holders.sum()) == CHILDREN
    for more_than, percent in TARGETS.items():
        drawn = int(holders.filter(holders > more_than).sum()) / CHILDREN * 100
        assert abs(drawn - percent) <= percent / 5, (more_than, drawn)


def test_a_base_is_the_pair_of_folded_first_and_last_word(model: NameModel) -> None:
    """Equal base numbers mean equal words and the other way round, compound tokens and single words included."""
    draws = Draws(3, "bases")
    named = sample(people(draws, 0, 60_000), model, draws, "child")
    named = named.with_columns(nama=spell(model), base=base_numbers(fold_bases(model.text)))
    folded = pl.col("nama").str.to_lowercase().str.replace_all("[^a-z ]", "").str.strip_chars()
    words = named.select("base", first=folded.str.extract(r"^(\S+)"), last=folded.str.extract(r"\s(\S+)$")).fill_null(
        ""
    )
    assert (words.group_by("base").agg(pl.struct("first", "last").n_unique().alias("pairs"))["pairs"] == 1).all()
    assert (words.group_by("first", "last").agg(pl.col("base").n_unique())["base"] == 1).all()


def test_ends_are_drawn_alike_with_and_without_the_middle(model: NameModel) -> None:
    """The short sampler gives the first and last words of the full one."""
    draws = Draws(4, "ends")
    rows = people(draws, 0, 5_000)
    full, ends = sample(rows, model, draws, "x"), sample_ends(rows, model, draws, "x")
    assert full.select("t1", "t5").equals(ends.select("t1", "t5"))


@pytest.mark.parametrize(("adult", "one_word"), [(False, 0.03), (True, 0.20)])
def test_words_per_name_follow_the_model(model: NameModel, adult: bool, one_word: float) -> None:  # noqa: FBT001
    """Three in a hundred children and a fifth of adults have one word; nobody has more than a handful of tokens or none."""
    draws = Draws(5, "words")
    named = sample(people(draws, 0, 50_000, adult=adult), model, draws, "x").with_columns(nama=spell(model))
    assert abs(named["t5"].is_null().mean() - one_word) < 0.01
    assert (named["nama"].str.len_chars() > 0).all()
    assert (named["nama"] == named["nama"].str.strip_chars()).all()


def test_one_boy_in_eight_is_named_muhammad_first(model: NameModel) -> None:
    """Twelve per cent of boys whose name has several words and follows the listed words start with Muhammad; girls do not."""
    draws = Draws(6, "boys")
    named = sample(people(draws, 0, 50_000), model, draws, "x").with_columns(nama=spell(model))
    several = named.filter(pl.col("t5").is_not_null())
    starts = several.group_by("girl").agg(share=pl.col("nama").str.starts_with("Muhammad ").mean()).sort("girl")
    assert 0.10 < starts["share"][0] < 0.13
    assert starts["share"][1] < 0.005


def test_patterns_follow_the_province(model: NameModel) -> None:
    """Balinese names start with their particles, Batak names end with a marga, and neither is common elsewhere."""
    draws = Draws(7, "patterns")
    named = sample(people(draws, 0, 100_000), model, draws, "x").with_columns(nama=spell(model))
    bali = pl.col("province") == model.provinces.index("220000")
    particle = pl.col("nama").str.contains(r"^(I|Ni|Ida|Anak|Cokorda|Gusti|Dewa|Desak|Sang) ")
    assert named.filter(bali & particle).height / named.filter(bali).height > 0.3
    assert named.filter(~bali & particle).height / named.filter(~bali).height < 0.03
