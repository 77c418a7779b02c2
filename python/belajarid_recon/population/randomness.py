"""Counter-based randomness in table expressions: a draw depends on (seed, block, stream, row) and on nothing else.

So a block can be made alone, in any order, by any number of threads, and the same seed gives the same bytes. The
mixer is splitmix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014), which
needs only wrapping integer arithmetic and is therefore the same on every machine and in every version of polars. It
is no source of secrets.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

import polars as pl

_STEP = 0x9E3779B97F4A7C15
_MIX_1 = 0xBF58476D1CE4E5B9
_MIX_2 = 0x94D049BB133111EB
_HALF = 1 << 32
_FULL = 1 << 64


def u64(number: int) -> pl.Expr:
    """A 64-bit literal: a plain literal would widen or narrow the arithmetic around it."""
    return pl.lit(number, dtype=pl.UInt64)


@dataclass(frozen=True, slots=True)
class Draws:
    """The streams of one block of one population."""

    seed: int
    scope: str

    def key(self, stream: str) -> int:
        """The 64-bit key of a stream."""
        text = f"{self.seed}/{self.scope}/{stream}".encode()
        return int.from_bytes(blake2b(text, digest_size=8).digest(), "little")

    def bits(self, stream: str, row: str | pl.Expr = "row") -> pl.Expr:
        """64 uniform bits for each row number in `row` (any integer)."""
        counter = pl.col(row) if isinstance(row, str) else row
        x = counter.cast(pl.UInt64) * u64(_STEP) + u64(self.key(stream))
        x = (x ^ (x // u64(1 << 30))) * u64(_MIX_1)
        x = (x ^ (x // u64(1 << 27))) * u64(_MIX_2)
        return x ^ (x // u64(1 << 31))

    def below(self, stream: str, bound: int | pl.Expr, row: str | pl.Expr = "row") -> pl.Expr:
        """Uniform integers in [0, bound), bound up to 2**32."""
        return scaled(self.bits(stream, row), bound)

    def happens(self, stream: str, share: float | pl.Expr, row: str | pl.Expr = "row") -> pl.Expr:
        """True for that share of rows."""
        if isinstance(share, pl.Expr):
            return (self.bits(stream, row) // u64(1 << 11)).cast(pl.Float64) < share * float(1 << 53)
        return self.bits(stream, row) < u64(min(int(share * _FULL), _FULL - 1))

    def unit(self, stream: str, row: str | pl.Expr = "row") -> pl.Expr:
        """Uniform fractions in [0, 1)."""
        return (self.bits(stream, row) // u64(1 << 11)).cast(pl.Float64) / float(1 << 53)


def scaled(bits: pl.Expr, bound: int | pl.Expr) -> pl.Expr:
    """The upper half of 64 bits as a uniform integer in [0, bound); leaves the lower half for another use."""
    limit = u64(bound) if isinstance(bound, int) else bound.cast(pl.UInt64)
    return (bits // u64(_HALF)) * limit // u64(_HALF)


def lower_half(bits: pl.Expr) -> pl.Expr:
    """The lower 32 bits."""
    return bits % u64(_HALF)


def _hexadecimal(prefix: str, count: int, start: int, suffix: str) -> pl.Series:
    return pl.Series([f"{prefix}{number:0{4 - len(prefix)}x}{suffix}" for number in range(start, start + count)])


_ANY = _hexadecimal("", 1 << 16, 0, "")
_ANY_DASH = _hexadecimal("", 1 << 16, 0, "-")
_VERSION_DASH = _hexadecimal("4", 1 << 12, 0, "-")
_VARIANT_DASH = _hexadecimal("", 1 << 14, 0x8000, "-")


def uuid(draws: Draws, stream: str, row: str | pl.Expr = "row") -> pl.Expr:
    """UUIDs as 36 lower-case characters, version 4 as the register's application makes them."""
    counter = pl.col(row) if isinstance(row, str) else row

    def write(rows: pl.Series) -> pl.Series:
        halves = rows.to_frame("row").select(high=draws.bits(stream + "/high"), low=draws.bits(stream + "/low"))
        return halves.select(pl.concat_str([_piece(*piece) for piece in _PIECES])).to_series()

    # In one expression each piece would compute its bits anew; the function computes them once.
    return counter.map_batches(write, return_dtype=pl.String, is_elementwise=True)


_PIECES = (
    (_ANY, "high", 0),
    (_ANY_DASH, "high", 16),
    (_ANY_DASH, "high", 32),
    (_VERSION_DASH, "high", 48),
    (_VARIANT_DASH, "low", 0),
    (_ANY, "low", 16),
    (_ANY, "low", 32),
    (_ANY, "low", 48),
)


def _piece(table: pl.Series, half: str, shift: int) -> pl.Expr:
    index = pl.col(half) // u64(1 << shift) % u64(len(table))
    return pl.lit(table).gather(index.cast(pl.UInt32))


def weighted_slots(values: pl.Series, weights: pl.Series, slots: int) -> pl.Series:
    """Repeat `values` by weight until `slots` are filled, so that a uniform slot is a weighted draw. Shares are exact to 1/slots."""
    edges = (weights.cast(pl.Float64).cum_sum() / weights.sum() * slots).round().cast(pl.UInt32)
    counts = edges - edges.shift(1, fill_value=0)
    return values.repeat_by(counts).explode(empty_as_null=False)
