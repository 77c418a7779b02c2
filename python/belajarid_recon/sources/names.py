"""Names: folded as registered, and split into the two fields an account needs.

The register's own alphabet is letters, blank, apostrophe, comma, dot and hyphen; titles are forbidden in it and common.
"""

from __future__ import annotations

import re
import tomllib
from functools import cache
from importlib import resources

import polars as pl

from belajarid_recon import _core

NAME_FIELD_MAX = 60
"""Characters Google takes in a given or family name (Directory API, users.name)."""

_APOSTROPHES = "[`\u00b4\u02bb\u02bc\u2018\u2019]"
_NOT_IN_NAMES = r"[^\p{L}\p{M}'.\- ]+"
_LETTER_APOSTROPHE = "\u02bc"  # counts as a letter, so that a capital does not follow it
_INVISIBLE = r"[\p{Cc}\p{Cf}]+"


def folded_name(column: str) -> pl.Expr:
    """The name as registered: composed (NFC), invisible characters out, white space folded; null when blank."""
    spaced = pl.col(column).str.normalize("NFC").str.replace_all(r"\s+", " ")
    text = spaced.str.replace_all(_INVISIBLE, "").str.replace_all(r" {2,}", " ").str.strip_chars()
    return pl.when(text != "").then(text)


def comparable_name(column: str) -> pl.Expr:
    """Letters only, lower case: what two typings of one name have in common."""
    return pl.col(column).str.to_lowercase().str.replace_all(r"[^\p{L}]+", "")


def comparable_names(values: pl.Series) -> pl.Series:
    """What `comparable_name` makes of each value; where only blanks stand between letters a to z, at a tenth of the cost."""
    near = values.str.to_lowercase().str.replace_all(" ", "", literal=True)
    rest = near.str.contains(r"[^a-z]").arg_true()
    if rest.is_empty():
        return near
    ruled = values.gather(rest).alias("rest").to_frame().select(comparable_name("rest"))["rest"]
    return near.scatter(rest, ruled)


def read_names(registered: pl.Series) -> pl.DataFrame:
    """`nama`, `given_name`, `family_name`: what `folded_name` and `account_names` make of names as registered.

    Most names are plain, which the core tells and splits at a tenth of the cost; these rules see the others.
    """
    whole = registered.cast(pl.String)
    plain = pl.DataFrame(_core.plain_names(whole, not_names=_bare_titles()))
    rest = (whole.is_not_null() & plain["family_name"].is_null()).arg_true()
    nama = whole.alias("nama")
    if rest.is_empty():
        return plain.select(nama, "given_name", "family_name")
    folded = nama.gather(rest).to_frame().select(folded_name("nama"))["nama"]
    ruled = account_names(folded).with_columns(folded)
    return pl.DataFrame(
        column.scatter(rest, ruled[column.name]) for column in (nama.clone(), plain["given_name"], plain["family_name"])
    )


def account_names(folded: pl.Series) -> pl.DataFrame:
    """Names on the account, `given_name` and `family_name`; both null where no letter is left.

    From a folded name: titles go (titles.toml), unless nothing would be left; characters outside the register's alphabet
    become blanks; a name all in capitals or all in small letters gets a capital for each word (not after an apostrophe:
    Ma'ruf, D'arc), any other keeps its case. The last word is the family name, the words before it the given name, and a
    single word is both, because Google demands both. Each is cut to 60 characters, between words where there is a gap.
    """
    return (
        pl.DataFrame({"whole": folded.cast(pl.String)})
        .lazy()
        .with_columns(whole=pl.col("whole").str.replace_all(_APOSTROPHES, "'"))
        .with_columns(bare=_without_titles("whole"))
        .with_columns(whole=pl.when(_has_letter("bare")).then("bare").otherwise("whole"))
        .with_columns(whole=_words("whole"))
        .with_columns(whole=pl.when(_has_letter("whole")).then(_cased("whole")))
        .with_columns(
            given_name=_cut(pl.coalesce(pl.col("whole").str.extract(r"^(.+) \S+$"), "whole")),
            family_name=_cut(pl.col("whole").str.extract(r"(\S+)$")),
        )
        .select("given_name", "family_name")
        .collect()
    )


def _has_letter(column: str) -> pl.Expr:
    return pl.col(column).str.contains(r"\p{L}")


def _words(column: str) -> pl.Expr:
    text = pl.col(column).str.replace_all(_NOT_IN_NAMES, " ").str.replace_all(r" {2,}", " ")
    # A word without a letter (a lone dash or dot) is no word.
    return text.str.replace_all(r"(?:^|\s)[^\p{L}\s]+(?:$|\s)", " ").str.replace_all(r" {2,}", " ").str.strip_chars(" ")


def _cased(column: str) -> pl.Expr:
    text = pl.col(column)
    titled = text.str.replace_all("'", _LETTER_APOSTROPHE, literal=True).str.to_titlecase()
    one_case = (text == text.str.to_uppercase()) | (text == text.str.to_lowercase())
    return pl.when(one_case).then(titled.str.replace_all(_LETTER_APOSTROPHE, "'", literal=True)).otherwise(text)


def _cut(text: pl.Expr) -> pl.Expr:
    between_words = text.str.extract(rf"^(.{{1,{NAME_FIELD_MAX}}})(?: .*)?$")
    return pl.coalesce(between_words, text.str.slice(0, NAME_FIELD_MAX)).str.strip_chars(" ")


def _without_titles(column: str) -> pl.Expr:
    leading, after_comma, trailing = _title_patterns()
    text = pl.col(column).str.replace(leading, "").str.replace(after_comma, "").str.replace(trailing, "")
    return text.str.strip_chars(" ,")


@cache
def _bare_titles() -> list[str]:
    """Titles that stand without dot or comma, in lower case: a name with such a word is not plain."""
    titles = _titles()
    return sorted({title.lower() for title in [*titles["leading_bare"], *titles["trailing_bare"]]})


@cache
def _titles() -> dict[str, list[str]]:
    return tomllib.loads(resources.files(__package__).joinpath("titles.toml").read_text(encoding="utf-8"))


@cache
def _title_patterns() -> tuple[str, str, str]:
    """Patterns of titles before the name, after a comma, and after the name without one."""
    titles = _titles()
    dotted = _alternatives(titles["leading"], gap=r"\.\s?")
    bare = _alternatives(titles["leading_bare"], gap="")
    leading = rf"(?i)^(?:(?:{dotted})\.\s*|(?:{bare})\s+)+"
    loose = _alternatives([*titles["trailing"], *titles["trailing_bare"], *titles["leading"]], gap=r"\.?\s?")
    abbreviation = r"[a-z]{1,6}(?:\.\s?[a-z]{1,6})+|[a-z]{1,4}\."
    after_comma = rf"(?i)\s*,[\s,]*(?:(?:{loose}|{abbreviation})(?:[\s,.]+|$))+$"
    spelled = _alternatives([title for title in titles["trailing"] if "." in title], gap=r"\.\s?")
    trailing = rf"(?i)(?:\s+(?:{spelled}|{_alternatives(titles['trailing_bare'], gap='')})[.,]*)+$"
    return leading, after_comma, trailing


def _alternatives(titles: list[str], *, gap: str) -> str:
    """Titles as one alternation, longest first; their pieces may be joined by `gap`."""
    ordered = sorted(titles, key=lambda title: (-len(title), title))
    return "|".join(gap.join(re.escape(piece) for piece in title.split(".")) for title in ordered)
