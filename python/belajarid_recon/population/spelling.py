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
    """Rewrite `nama` where a dirt column says so; `other` (another full name) lengthens the very long ones.

    Row order stays. All but plain upper case is done on the few rows it concerns.
    """
    kinds = [*RARE_KINDS, "lower_case", "double_blank"]
    chosen = people.filter(pl.any_horizontal(kinds)).select("row", "nama", "other", "upper_case", *kinds)
    rewritten = chosen.with_columns(nama=_rare_name(draws, stream)).with_columns(nama=_cased())
    name = pl.col("nama")
    blank = pl.when(name.str.contains(" ", literal=True)).then(name.str.replace(" ", "  ", literal=True))
    rewritten = rewritten.select(
        "row", soiled=pl.when("double_blank").then(blank.otherwise(name + " ")).otherwise(name)
    )
    joined = people.join(rewritten, on="row", how="left", maintain_order="left")
    upper = pl.when("upper_case").then(name.str.to_uppercase()).otherwise(name)
    return joined.with_columns(nama=pl.coalesce("soiled", upper)).drop("soiled", "other")


def _rare_name(draws: Draws, stream: str) -> pl.Expr:
    """The name with its rare kind of dirt, if it has one."""
    name = pl.col("nama")
    title = draws.below(f"{stream}/title", 2 * len(_SUFFIXES))
    suffix = name + pl.lit(_SUFFIXES).gather((title % len(_SUFFIXES)).cast(pl.UInt32))
    prefix = pl.lit(_PREFIXES).gather((title % len(_PREFIXES)).cast(pl.UInt32)) + name
    accented = name
    for plain, marked in reversed(_ACCENTS):
        swapped = name.str.replace(plain, marked, literal=True)
        accented = pl.when(name.str.contains(plain, literal=True)).then(swapped).otherwise(accented)
    words = ["nama", "other", "other", "nama", "other", "nama", "nama"] * 3
    long = pl.concat_str(words, separator=" ").str.slice(0, 75).str.strip_chars()
    apostrophe = pl.concat_str([name.str.slice(0, 2), pl.lit("'"), name.str.slice(2)])
    titled = pl.when(title < len(_SUFFIXES)).then(suffix).otherwise(prefix)
    return (
        pl.when("apostrophe")
        .then(apostrophe)
        .when("diacritic")
        .then(accented)
        .when("long_name")
        .then(long)
        .when("title_in_name")
        .then(titled)
        .otherwise(name)
    )


def _cased() -> pl.Expr:
    name = pl.col("nama")
    return (
        pl.when("upper_case")
        .then(name.str.to_uppercase())
        .when("lower_case")
        .then(name.str.to_lowercase())
        .otherwise(name)
    )


def dirt_words(kinds: list[str]) -> pl.Expr:
    """The dirt kinds of a row as one text, blank-separated and empty for a clean row."""
    return pl.concat_str([pl.when(kind).then(pl.lit(kind)) for kind in kinds], separator=" ", ignore_nulls=True)
