"""What a block of schools is made from: its schools, its random streams, and what all blocks share."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import polars as pl

from belajarid_recon.population.calendar import SchoolCalendar
from belajarid_recon.population.names import NameModel
from belajarid_recon.population.randomness import Draws

T = TypeVar("T")

VILLAGES = 4
"""Numbered villages in each subdistrict."""


@dataclass(frozen=True, slots=True)
class World:
    """What all blocks share.

    `dirt` holds the tables of dirt.toml, `nik_regions` the 6-digit codes (integers) that people from elsewhere have.
    """

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


BLOCKS_AT_ONCE = 2
"""Blocks under way at once: one alone leaves cores idle between its many short steps. Memory is that of so many blocks."""


def each_block(blocks: int, work: Callable[[int], T], done: Callable[[T], None]) -> None:
    """Run `work` for every block number, a few at once, and give the results to `done` in block order, on the caller's thread.

    The first error stops the rest and is raised.
    """
    pool = ThreadPoolExecutor(max_workers=min(BLOCKS_AT_ONCE, blocks), thread_name_prefix="population")
    try:
        for result in pool.map(work, range(blocks)):
            done(result)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def expand(rows: pl.DataFrame, count: str, sequence: str) -> pl.DataFrame:
    """Repeat each row `count` times; `sequence` numbers the repetitions from 0."""
    ranges = rows.with_columns(pl.int_ranges(0, pl.col(count)).alias(sequence)).filter(pl.col(count) > 0)
    return ranges.explode(sequence, empty_as_null=False)


def companions(schools: pl.DataFrame, group: str) -> pl.Series:
    """For each school the next school of the same `group` in the block, round the ring; itself where it is the only one."""
    following = pl.col("school").shift(-1).over(group)
    first = pl.col("school").first().over(group)
    return schools.select(following.fill_null(first).alias("companion")).to_series()
