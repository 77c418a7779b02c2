"""What a block of schools is made from: its schools, its random streams, and what all blocks share."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from belajarid_recon.population.calendar import SchoolCalendar
from belajarid_recon.population.names import NameModel
from belajarid_recon.population.randomness import Draws

VILLAGES = 4
"""Numbered villages in each subdistrict."""


@dataclass(frozen=True, slots=True)
class World:
    """What all blocks share. `dirt` holds the tables of dirt.toml; `nik_regions` the 6-digit codes people from elsewhere have."""

    model: NameModel
    calendar: SchoolCalendar
    dirt: dict[str, dict[str, float]]
    nik_regions: pl.Series
    blocks: int


@dataclass(frozen=True, slots=True)
class Block:
    """One block. `schools` has the sizing's columns plus `school`, its row number in the block, and `province`, its number in the model."""

    world: World
    number: int
    schools: pl.DataFrame
    draws: Draws

    def at_school(self, column: str, school: str | pl.Expr = "school") -> pl.Expr:
        """A column of the schools, looked up by school number."""
        index = pl.col(school) if isinstance(school, str) else school
        return pl.lit(self.schools[column]).gather(index.cast(pl.UInt32))

    def lookup(self, values: pl.Series, index: pl.Expr) -> pl.Expr:
        """Values by row number."""
        return pl.lit(values).gather(index.cast(pl.UInt32))


def expand(rows: pl.DataFrame, count: str, sequence: str) -> pl.DataFrame:
    """Repeat each row `count` times; `sequence` numbers the repetitions from 0."""
    ranges = rows.with_columns(pl.int_ranges(0, pl.col(count)).alias(sequence)).filter(pl.col(count) > 0)
    return ranges.explode(sequence, empty_as_null=False)


def companions(schools: pl.DataFrame, group: str) -> pl.Series:
    """For each school the next school of the same `group` in the block, round the ring; itself where it is the only one."""
    following = pl.col("school").shift(-1).over(group)
    first = pl.col("school").first().over(group)
    return schools.select(following.fill_null(first).alias("companion")).to_series()
