"""A plan's steps, in memory or in their file. Who reads them holds a piece of them, so that memory does not grow with the plan."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import chain, groupby
from pathlib import Path
from typing import NamedTuple

import polars as pl

from belajarid_recon.errors import PlanError
from belajarid_recon.schemas import STEP

ROWS_PER_GROUP = 8_192
"""Steps in a row group of the file: step n is in row group n // ROWS_PER_GROUP. Reading any of them costs a millisecond or two."""
_UNREADABLE = (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException)
"""What a file of no sense makes polars raise; its reader panics where a page's header lies."""


class StepRange(NamedTuple):
    """Steps in a row of one tenant and action. A plan is sorted by both, so it has one for each pair; others have more."""

    tenant: str
    action: str
    start: int
    stop: int
    held: int
    """How many of them a guard holds."""


class TenantSteps(NamedTuple):
    """How many steps a tenant has."""

    total: int
    held: int
    """Of them, those that a guard holds."""


class Steps:
    """Rows of schemas.STEP, `step` dense from 0. May be read from several threads."""

    def __init__(self, rows: pl.LazyFrame, height: int, file: Path | None = None) -> None:
        """Take rows with the columns of schemas.STEP, and the `file` that they are read from."""
        self.height = height
        self._rows = rows
        self._file = file
        self._state = _state_of(file)

    @classmethod
    def of(cls, frame: pl.DataFrame) -> Steps:
        """Steps in memory."""
        return cls(frame.lazy(), frame.height)

    @classmethod
    def read(cls, path: Path) -> Steps:
        """Steps of a file that `write` wrote. Raises PlanError when it is no such file; its content is the caller's to check."""
        rows = pl.scan_parquet(path, glob=False, hive_partitioning=False)
        try:
            if rows.collect_schema() != STEP:
                raise _unreadable("was changed after it was made", path)
            return cls(rows, rows.select(pl.len()).collect().item(), path)
        except _UNREADABLE as error:
            raise _unreadable("cannot be read", path) from error

    def write(self, path: Path) -> None:
        """Write the steps as Parquet, in row groups of ROWS_PER_GROUP."""
        # Statistics would be the greater part of what a reader keeps of the file.
        self._rows.sink_parquet(path, compression="zstd", row_group_size=ROWS_PER_GROUP, statistics=False)

    @cached_property
    def ranges(self) -> tuple[StepRange, ...]:
        """Which steps are whose, in the plan's order."""
        found: list[StepRange] = []
        for start in range(0, self.height, ROWS_PER_GROUP):
            # By place in the file and not by the numbers that stand there: so every row is in a range, and the plan's digest asks it.
            stop = min(start + ROWS_PER_GROUP, self.height)
            for one in _ranges_of(self._read(start, stop, ("tenant", "action", "held_by")), start):
                before = found[-1] if found else None
                if before is not None and before[:2] == one[:2]:
                    found[-1] = before._replace(stop=one.stop, held=before.held + one.held)
                else:
                    found.append(one)
        return tuple(found)

    @property
    def held(self) -> int:
        """Steps that a guard holds."""
        return sum(one.held for one in self.ranges)

    def counts(self) -> dict[str, TenantSteps]:
        """Tenants with steps, in the plan's order, and how many each has."""
        counts: dict[str, TenantSteps] = {}
        for one in self.ranges:
            total, held = counts.get(one.tenant, (0, 0))
            counts[one.tenant] = TenantSteps(total + one.stop - one.start, held + one.held)
        return counts

    def free_tenants(self) -> list[str]:
        """Tenants with steps that no guard holds, in the plan's order."""
        return [tenant for tenant, count in self.counts().items() if count.held < count.total]

    def tenant_of(self, step: int) -> str:
        """Whose a step is, by its number."""
        return self.ranges[bisect_right(self.ranges, step, key=lambda one: one.start) - 1].tenant

    def numbers(self, tenant: str | None = None, actions: Collection[str] | None = None) -> Iterator[int]:
        """Numbers of the steps of a tenant and of some actions, ascending; of all where none are named. Reads no row."""
        return chain.from_iterable(range(*stretch) for stretch in self._stretches(tenant, actions))

    def pieces(
        self,
        tenant: str | None = None,
        actions: Collection[str] | None = None,
        columns: Sequence[str] = tuple(STEP),
        *,
        rows: int = ROWS_PER_GROUP,
    ) -> Iterator[pl.DataFrame]:
        """The same steps themselves, `rows` in memory at a time. Raises PlanError when the file is another one by now."""
        for start, stop in self._stretches(tenant, actions):
            yield from self._cut(start, stop, columns, rows)

    def at(self, numbers: Iterable[int], columns: Sequence[str] = tuple(STEP)) -> Iterator[pl.DataFrame]:
        """Steps by their numbers, which ascend, those of a row group in memory at a time. Raises as `pieces`."""
        for _, group in groupby(numbers, lambda number: number // ROWS_PER_GROUP):
            wanted = list(group)
            first, last = wanted[0], wanted[-1]
            yield self._read(first, last + 1, columns)[[number - first for number in wanted]]

    def scan(self) -> pl.LazyFrame:
        """All steps, for a query that takes few columns or few rows out of them. Raises as `pieces`, before the query."""
        self.require_same()
        return self._rows

    def whole(self) -> pl.DataFrame:
        """All steps in memory: for plans that were made a moment ago, and tests."""
        return self.scan().collect()

    def _stretches(self, tenant: str | None, actions: Collection[str] | None) -> Iterator[tuple[int, int]]:
        """Where the chosen steps begin and end; ranges that touch are one."""
        start = stop = 0
        for one in self.ranges:
            if tenant not in {None, one.tenant} or (actions is not None and one.action not in actions):
                continue
            if one.start != stop:
                yield start, stop
                start = one.start
            stop = one.stop
        yield start, stop

    def _cut(self, start: int, stop: int, columns: Sequence[str], rows: int) -> Iterator[pl.DataFrame]:
        """Steps from `start` until `stop`, cut at multiples of `rows`, so that none is of two row groups."""
        while start < stop:
            end = min(stop, start - start % rows + rows)
            yield self._read(start, end, columns)
            start = end

    def _read(self, start: int, stop: int, columns: Sequence[str]) -> pl.DataFrame:
        self.require_same()
        try:
            rows = self._rows.slice(start, stop - start).select(columns).collect()
        except _UNREADABLE as error:
            raise _unreadable("cannot be read", self._file) from error
        self.require_same()
        return rows

    def require_same(self) -> None:
        """Refuse a file that was written again: its content was checked once, and is read for as long as an apply takes.

        Asked after a reading too: before it alone, the file could still be replaced in between.
        """
        try:
            state = _state_of(self._file)
        except OSError as error:
            raise _unreadable("cannot be read", self._file) from error
        if state != self._state:
            raise _unreadable("was changed while it was read", self._file)


def _ranges_of(rows: pl.DataFrame, start: int) -> Iterator[StepRange]:
    """The ranges of one piece, whose first step is `start`."""
    runs = rows.group_by(pl.struct("tenant", "action").rle_id().alias("run"), maintain_order=True).agg(
        pl.col("tenant", "action").first(), pl.len(), held=pl.col("held_by").count()
    )
    for tenant, action, length, held in runs.drop("run").iter_rows():
        yield StepRange(tenant, action, start, start + length, held)
        start += length


def _state_of(file: Path | None) -> tuple[int, ...]:
    """What tells that a file was written again since; empty for steps in memory, and for a file that is not there."""
    try:
        state = file.stat() if file is not None else None
    except FileNotFoundError:
        state = None
    return () if state is None else (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns)


def _unreadable(how: str, file: Path | None) -> PlanError:
    return PlanError(f"plan {how}: {file}", hint="put the run's own plan back, or abandon the run and plan again")
