"""The school year and semester a run's date falls into."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

_FIRST_MONTH = 7


@dataclass(frozen=True)
class Period:
    """The run's date (`day`), and the register's names of its semester (`YYYY1` or `YYYY2`) and school year (`YYYY`).

    July to December of Y is semester `Y1`, January to June of Y is `(Y-1)2`: the dates of the register's own semester table.
    """

    day: date
    semester_id: str
    tahun_ajaran_id: int

    @classmethod
    def of(cls, day: date) -> Period:
        """The period a date falls into."""
        second = day.month < _FIRST_MONTH
        year = day.year - 1 if second else day.year
        return cls(day=day, semester_id=f"{year}{2 if second else 1}", tahun_ajaran_id=year)
