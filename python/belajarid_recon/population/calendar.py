"""School year and semester of a date."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True, slots=True)
class SchoolCalendar:
    """What follows from an extract's date: July to December of Y is semester 1 of year Y, January to June semester 2 of Y-1."""

    day: date

    @property
    def year(self) -> int:
        """The year the school year began: tahun_ajaran_id."""
        return self.day.year if self.day.month >= 7 else self.day.year - 1

    @property
    def semester(self) -> str:
        """semester_id of five digits."""
        return f"{self.year}{1 if self.day.month >= 7 else 2}"

    @property
    def semester_before(self) -> str:
        """The semester_id before this one."""
        return f"{self.year}1" if self.semester.endswith("2") else f"{self.year - 1}2"
