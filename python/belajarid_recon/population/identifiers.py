"""Identifiers of synthetic people: the registers' forms, never a real person's number.

NIK = 6-digit region (Ministry of Home Affairs), DDMMYY with 40 added to a woman's day, and a serial; NISN = last
three digits of the birth year and seven generated digits (reference, section 1.6). Both are unique in a population
but for the dirt.
"""

from __future__ import annotations

from typing import NamedTuple

import polars as pl

from belajarid_recon.population.block import Block
from belajarid_recon.population.randomness import Draws

NISN_CREATED = 9_000_000
"""Serials below this belong to `create`; the rest of each birth year is left to entrants of later weeks."""

_NISN_STRIDE = 5_555_557
"""Odd, and divisible by neither 3 nor 5: stepping by it visits each serial once."""

_NIK_BLOCKS = 90
_NIK_ELSEWHERE = 9_001


class Serials(NamedTuple):
    """Which of a block's hundred NIK serials of one day and region a kind of people takes; `turn` keeps weeks apart."""

    start: int
    width: int
    turn: int = 0


PUPIL_SERIALS = Serials(0, 50)
STAFF_SERIALS = Serials(50, 20)


def entrant_serials(week: int) -> Serials:
    """The serials of people who enter in a week."""
    return Serials(70, 30, week)


def nik(block: Block, stream: str, serials: Serials) -> pl.Expr:
    """NIKs over columns school, tanggal_lahir and girl. One in twenty-five people was first registered elsewhere in the country.

    Serial = 100 for each block of the region, plus the rank of the person in the block among those of the same day
    and region.
    """
    draws = block.draws
    elsewhere = draws.happens(f"nik/{stream}/elsewhere", 0.04)
    away = block.lookup(block.world.nik_regions, draws.below(f"nik/{stream}/region", len(block.world.nik_regions)))
    home = block.at_school("nik_region")
    born = pl.col("tanggal_lahir")
    day = born.dt.day().cast(pl.Int64) + pl.when("girl").then(40).otherwise(0)
    date = (day * 100 + born.dt.month().cast(pl.Int64)) * 100 + born.dt.year().cast(pl.Int64) % 100
    # One integer key: a window over three columns costs several times as much.
    rank = (pl.int_range(pl.len()).over(home.cast(pl.Int64) * 1_000_000 + date) + serials.turn) % serials.width
    at_home = 1 + (block.number % _NIK_BLOCKS) * 100 + serials.start + rank
    serial = pl.when(elsewhere).then(_NIK_ELSEWHERE + draws.below(f"nik/{stream}/serial", 999)).otherwise(at_home)
    region = pl.when(elsewhere).then(away).otherwise(home).cast(pl.Int64)
    return ((region * 1_000_000 + date) * 10_000 + serial.cast(pl.Int64)).cast(pl.String)


def nisn(block: Block) -> pl.Expr:
    """NISNs over tanggal_lahir: the serials of a birth year are dealt out by block."""
    year = pl.col("tanggal_lahir").dt.year()
    width = NISN_CREATED // block.world.blocks
    rank = pl.int_range(pl.len()).over(year) % width + block.number * width
    return _nisn_of(year, rank.cast(pl.Int64) * _NISN_STRIDE % NISN_CREATED)


def nisn_of_week(block: int, week: int) -> pl.Expr:
    """NISNs of entrants over tanggal_lahir: 25 weeks share the serials that `create` left, 40 for each block and birth year."""
    year = pl.col("tanggal_lahir").dt.year()
    start = NISN_CREATED + (week % 25) * 40_000 + (block % 1_000) * 40
    return _nisn_of(year, pl.int_range(pl.len()).over(year) % 40 + start)


def _nisn_of(year: pl.Expr, serial: pl.Expr) -> pl.Expr:
    return (year.cast(pl.Int64) % 1_000 * 10_000_000 + serial).cast(pl.String).str.zfill(10)


def nuptk(block: Block) -> pl.Expr:
    """16 digits. The structure is not published, so they are a block number, a row number and noise."""
    noise = block.draws.below("nuptk", 10_000).cast(pl.String).str.zfill(4)
    return pl.concat_str(
        [noise, pl.lit(f"{block.number % 10_000:04d}"), pl.col("row").cast(pl.String).str.zfill(6), pl.lit("00")]
    )


def phone(draws: Draws, stream: str) -> pl.Expr:
    """Mobile-like numbers in the spellings people use.

    They start with 800, a prefix of free-call services: no pupil or teacher answers there.
    """
    local = pl.lit("800") + draws.below(f"phone/{stream}", 100_000_000).cast(pl.String).str.zfill(8)
    spelling = draws.below(f"phone/{stream}/spelling", 8)
    return (
        pl.when(spelling < 5)
        .then(pl.lit("+62 ") + local)
        .when(spelling < 7)
        .then(pl.lit("0") + local)
        .otherwise(pl.lit("62") + local)
    )
