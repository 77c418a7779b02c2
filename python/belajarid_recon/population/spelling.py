"""Dirt on names: the ways a name field is typed that are not the name."""

from __future__ import annotations

import polars as pl

from belajarid_recon.population.randomness import Draws

RARE_KINDS = ("apostrophe", "diacritic", "long_name", "title_in_name")
COMMON_KINDS = ("upper_case", "lower_case", "double_blank")
_PREFIXES = pl.Series(["Drs. ", "Hj. ", "H. ", "Dr. ", "Dra. ", "Ust. ", "R. "])
_SUFFIXES = pl.Series([", S.Pd", " S.Pd", ", S.Pd.I", " S. Pd.", ", M.Pd", " SPd", ", A.Ma.Pd", ", S.E"])
_ACCENTS = (("e", "é"), ("a", "á"), ("o", "ö"), ("u", "ü"), ("i", "ï"))


def roll_name_dirt(draws: Draws, stream: str, shares: dict[str, float]) -> list[pl.Expr]:
    """One Boolean column for each kind. Upper and lower case exclude each other, and so do the rare kinds."""
    chance = draws.unit(f"{stream}/rare")
    columns, start = [], 0.0
    for kind in RARE_KINDS:
        columns.append(((chance >= start) & (chance < start + shares[kind])).alias(kind))
        start += shares[kind]
    case = draws.unit(f"{stream}/case")
    upper = shares["upper_case"]
    columns.append((case < upper).alias("upper_case"))
    columns.append(((case >= upper) & (case < upper + shares["lower_case"])).alias("lower_case"))
    columns.append(draws.happens(f"{stream}/blank", shares["double_blank"]).alias("double_blank"))
    return columns


def soil_names(people: pl.DataFrame, draws: Draws, stream: str) -> pl.DataFrame:
    """Rewrite `nama` where a dirt column says so; `other` (another full name) lengthens the very long ones. Row order stays."""
    rare = people.filter(pl.any_horizontal(RARE_KINDS)).select("row", "nama", "other", *RARE_KINDS)
    title = draws.below(f"{stream}/title", 2 * len(_SUFFIXES))
    suffix = pl.col("nama") + pl.lit(_SUFFIXES).gather((title % len(_SUFFIXES)).cast(pl.UInt32))
    prefix = pl.lit(_PREFIXES).gather((title % len(_PREFIXES)).cast(pl.UInt32)) + pl.col("nama")
    accented = pl.col("nama")
    for plain, marked in reversed(_ACCENTS):
        accented = (
            pl.when(pl.col("nama").str.contains(plain, literal=True))
            .then(pl.col("nama").str.replace(plain, marked, literal=True))
            .otherwise(accented)
        )
    long = (
        pl.concat_str(["nama", "other", "other", "nama", "other", "nama", "nama"], separator=" ")
        .str.slice(0, 75)
        .str.strip_chars()
    )
    rewritten = rare.select(
        "row",
        soiled=pl.when("apostrophe")
        .then(pl.concat_str([pl.col("nama").str.slice(0, 2), pl.lit("'"), pl.col("nama").str.slice(2)]))
        .when("diacritic")
        .then(accented)
        .when("long_name")
        .then(long)
        .when(title < len(_SUFFIXES))
        .then(suffix)
        .otherwise(prefix),
    )
    joined = people.join(rewritten, on="row", how="left", maintain_order="left")
    name = pl.coalesce("soiled", "nama")
    name = (
        pl.when("upper_case")
        .then(name.str.to_uppercase())
        .when("lower_case")
        .then(name.str.to_lowercase())
        .otherwise(name)
    )
    blank = (
        pl.when(name.str.contains(" ", literal=True))
        .then(name.str.replace(" ", "  ", literal=True))
        .otherwise(name + " ")
    )
    return joined.with_columns(nama=pl.when("double_blank").then(blank).otherwise(name)).drop("soiled", "other")


def dirt_words(kinds: list[str]) -> pl.Expr:
    """The dirt kinds of a row as one text, blank-separated and empty for a clean row."""
    return pl.concat_str([pl.when(kind).then(pl.lit(kind)) for kind in kinds], separator=" ", ignore_nulls=True)
