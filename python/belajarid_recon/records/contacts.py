"""People's own mail and phone as the directory takes them, and those that are not their own because many people share them.

A contact that cannot be used is no fault of its row: the person stays, without it. What is written to an account lets whoever
holds it take the account over, so that filler, other people's numbers and an office's count as none.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from belajarid_recon.records.duplicates import ROWS_AT_ONCE, in_ranges
from belajarid_recon.schemas import ContactReason, PersonKind
from belajarid_recon.sources.columns import CONTACTS, as_number

CONTACT_COLUMNS = ("recovery_email", "recovery_phone")
DOMAIN = "belajar.id"
"""An account cannot be recovered by another one of ours: who has lost the one has often lost both."""
EMAIL_CHARACTERS_MAX = 254  # RFC 5321, 4.5.3.1.3 with erratum 1690

_ATOM = "[a-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_EMAIL = rf"^{_ATOM}(?:\.{_ATOM})*@(?:{_LABEL}\.)+(?:[a-z]{{2,63}}|xn--[a-z0-9-]{{2,59}})$"
"""Dot-atoms of RFC 5322 and host names of RFC 1123. What is legal and never seen (quoted parts, addresses of hosts) is left out."""
_LOCAL_PART_LONG = "^[^@]{65}"

_BETWEEN_DIGITS = r"[\s\-\x{2010}-\x{2015}.()\[\]]"
_MOBILE = r"^(?:\+?62|0062)?0?(8[0-9]{8,11})$"
"""Mobile numbers of Indonesia: 8 behind the country's 62, and 9 to 12 digits in all (the national numbering plan, as the ITU lists it
for country code 62). A zero after 62 is a habit of writing."""
_ABROAD = r"^\+[1-9][0-9]{6,14}$"
_FILLER = r"(?:0{7}|1{7}|2{7}|3{7}|4{7}|5{7}|6{7}|7{7}|8{7}|9{7}|123456789)"
"""One digit seven times, or counting: typed to get past a form, and somebody else's number all the same."""


def email(value: pl.Expr) -> pl.Expr:
    """The address in lower case; null when it is none, too long, or one of ours."""
    folded = value.str.strip_chars().str.to_lowercase()
    domain = folded.str.split("@").list.last()
    ours = (domain == DOMAIN) | domain.str.ends_with(f".{DOMAIN}")
    plausible = folded.str.contains(_EMAIL) & ~folded.str.contains(_LOCAL_PART_LONG)
    return pl.when(plausible & ~ours & (folded.str.len_bytes() <= EMAIL_CHARACTERS_MAX)).then(folded)


def phone(value: pl.Expr) -> pl.Expr:
    """The number in E.164 form; null when it is no Indonesian mobile number, nor one of another country with its `+`."""
    digits = value.str.replace_all(_BETWEEN_DIGITS, "")
    abroad = pl.when(digits.str.contains(_ABROAD) & ~digits.str.starts_with("+62")).then(digits)
    number = pl.coalesce(pl.lit("+62") + digits.str.extract(_MOBILE), abroad)
    return pl.when(~number.str.contains(_FILLER)).then(number)


def read_contacts(frame: pl.DataFrame, kind: PersonKind, *, asked: bool) -> pl.DataFrame:
    """A register's table (`_person`, and CONTACTS' columns where asked for) with the contacts of schemas.PERSON in their place.

    Rows of one person that disagree about a contact have none: nobody knows which is right, and the row is still good for the rest.
    `asked`: whether contacts of this kind of people are read; otherwise all three are null.
    """
    nothing = pl.lit(None, dtype=pl.String)
    if not asked:
        return frame.with_columns(nothing.alias(name) for name in (*CONTACT_COLUMNS, "contact_reason"))
    if kind not in CONTACTS:
        nobody = {"contact_reason": pl.lit(ContactReason.MISSING.value)}
        return frame.with_columns(*(nothing.alias(name) for name in CONTACT_COLUMNS), **nobody)
    address, number = CONTACTS[kind][1]
    read = frame.with_columns(recovery_email=email(pl.col(address)), recovery_phone=phone(pl.col(number)))
    neither = pl.all_horizontal(pl.col(name).is_null() for name in CONTACT_COLUMNS)
    reason = (
        pl.when(pl.col(address).is_not_null() | pl.col(number).is_not_null())
        .then(pl.lit(ContactReason.UNUSABLE.value))
        .otherwise(pl.lit(ContactReason.MISSING.value))
    )
    return _agreed(read.with_columns(contact_reason=pl.when(neither).then(reason)).drop(address, number))


def _agreed(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame without the contacts that rows of one person disagree about."""
    several = frame.filter(as_number("_person").is_duplicated())
    values = [*CONTACT_COLUMNS, "contact_reason"]
    torn = several.filter(pl.struct(values).n_unique().over("_person") > 1)["_person"].unique()
    if torn.is_empty():
        return frame
    lost = pl.col("_person").is_in(torn.implode())
    said = {"contact_reason": pl.lit(ContactReason.UNUSABLE.value)}
    return frame.with_columns(pl.when(~lost).then(name).alias(name) for name in CONTACT_COLUMNS).with_columns(
        contact_reason=pl.when(lost).then(said["contact_reason"]).otherwise("contact_reason")
    )


@dataclass(frozen=True)
class Shared:
    """Which contacts too many people have: keyed hashes, so that they may go to workers."""

    digests: pl.Series
    seed: int

    def without(self, contacts: pl.DataFrame) -> pl.DataFrame:
        """`contacts` (columns CONTACT_COLUMNS among others) with the shared ones null."""
        return contacts.with_columns(
            pl.when(~_digest(name, self.seed).is_in(self.digests.implode())).then(name).alias(name)
            for name in CONTACT_COLUMNS
        )


def _digest(column: str, seed: int) -> pl.Expr:
    # Numbers beside those of `duplicates.evidence_of`: an address and a phone never meet, nor either a NIK.
    return pl.col(column).hash(seed ^ (3 + CONTACT_COLUMNS.index(column)))


def contact_evidence(people: pl.DataFrame, seed: int) -> pl.DataFrame:
    """One row (`digest`) for each contact of each of `people`, one row a person."""
    digests: Iterable[pl.DataFrame] = (
        people.filter(pl.col(name).is_not_null()).select(digest=_digest(name, seed)) for name in CONTACT_COLUMNS
    )
    return pl.concat(digests)


def find_shared(files: Sequence[Path], seed: int, people_max: int, rows_at_once: int = ROWS_AT_ONCE) -> Shared:
    """Contacts of more than `people_max` people, from the evidence of all parts, without holding it."""
    counted = (
        rows.group_by("digest").len("people").filter(pl.col("people") > people_max).collect()["digest"]
        for rows in in_ranges(files, rows_at_once)
    )
    return Shared(pl.concat([pl.Series("digest", [], dtype=pl.UInt64), *counted]).sort(), seed)
