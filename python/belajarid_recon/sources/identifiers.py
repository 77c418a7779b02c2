"""Register numbers of people and schools: kept when they can be what they claim to be, null otherwise.

A number never decides who a person is; it is evidence for merging only. A row therefore stays when its number is damaged.
"""

from __future__ import annotations

import polars as pl

_SAME_DIGIT = {length: [str(digit) * length for digit in range(10)] for length in (10, 16)}


def nik(column: str) -> pl.Expr:
    """NIK: 16 digits. A run of seven zeros or one digit throughout is filler (the register's own application says so)."""
    return _digits(column, 16)


def nuptk(column: str) -> pl.Expr:
    """NUPTK: 16 digits, no filler. Its structure is not published."""
    return _digits(column, 16)


def nisn(column: str) -> pl.Expr:
    """NISN: 10 digits, no filler. Its first three are those of the birth year, but corrected birth dates keep their NISN."""
    return _digits(column, 10)


def npsn(column: str) -> pl.Expr:
    """NPSN: 8 digits, or `NP` and 6 digits for a temporary one."""
    value = pl.col(column).str.to_uppercase()
    return pl.when(value.str.contains(r"^(?:[0-9]{8}|NP[0-9]{6})$")).then(value).alias(column)


def _digits(column: str, length: int) -> pl.Expr:
    """Exactly `length` digits that are no filler. What a spreadsheet made of one (3.2E+15, 15 digits, a decimal point) is null."""
    value = pl.col(column)
    genuine = (
        value.str.contains(rf"^[0-9]{{{length}}}$")
        & ~value.str.contains("0000000", literal=True)
        & ~value.is_in(_SAME_DIGIT[length])
    )
    return pl.when(genuine).then(value).alias(column)
