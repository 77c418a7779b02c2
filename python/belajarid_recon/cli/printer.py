"""Output: data on stdout, talk on stderr. Colour is decoration; without a terminal progress is a plain line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import orjson
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from belajarid_recon.apply.forecast import Forecast
from belajarid_recon.partitions import Watch

PLAIN_LINE_SECONDS = 10.0
FILE_WIDTH = 120


class Printer:
    """Prints for a person, or one JSON document for a script."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        # A file or a pipe has no width of its own, and a table that is cut there is lost.
        self._out = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else FILE_WIDTH)
        self.talk = Console(stderr=True, highlight=False, markup=False)
        """Standard error, where a person is talked to."""
        self._document: dict[str, Any] = {}

    def say(self, text: str) -> None:
        """Tell a person on stderr; a script that asked for JSON is not talked to less, only elsewhere."""
        self.talk.print(text, soft_wrap=True)

    def table(self, table: Table) -> None:
        """Print a table on stdout, unless JSON was asked for."""
        if not self.as_json:
            self._out.print(table)

    def line(self, text: str) -> None:
        """Print a line on stdout, unless JSON was asked for."""
        if not self.as_json:
            self._out.print(text, soft_wrap=True)

    def record(self, **values: Any) -> None:  # noqa: ANN401 - anything JSON can hold
        """Add to the JSON document."""
        self._document.update(values)

    def close(self) -> None:
        """Write the JSON document, if one was asked for."""
        if self.as_json:
            write_json(self._document)

    @contextmanager
    def watch(self) -> Iterator[Watch]:
        """Show progress while the block runs."""
        if self.talk.is_terminal:
            with Progress(
                TextColumn("{task.description:<28}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                console=self.talk,
                transient=True,
            ) as bars:
                yield _Bars(bars)
        else:
            yield _PlainLines()


class _Bars:
    """One bar for each label."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, label: str, done: int, total: int) -> None:
        if label not in self._tasks:
            self._tasks[label] = self._bars.add_task(label, total=total or None)
        self._bars.update(self._tasks[label], completed=done, total=total or None)


class _PlainLines:
    """A line for each label at most every PLAIN_LINE_SECONDS, so that a log stays readable."""

    def __init__(self) -> None:
        self._last: dict[str, float] = {}
        self._started = time.monotonic()

    def __call__(self, label: str, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._last.get(label, self._started) < PLAIN_LINE_SECONDS:
            return
        self._last[label] = now
        of = f" of {total:,}" if total else ""
        print(f"{label}: {done:,}{of}", file=sys.stderr, flush=True)  # noqa: T201 - this is the printer


def write_json(document: dict[str, Any]) -> None:
    """Write one JSON document and a line end to stdout."""
    sys.stdout.buffer.write(orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    sys.stdout.buffer.flush()


def plan_table(counts: dict[str, dict[str, int]], title: str) -> Table:
    """Counts of a plan, a row a tenant and a column an action that occurs."""
    actions = [action for action in ACTION_ORDER if any(action in row for row in counts.values())]
    table = Table(title=title, title_justify="left")
    table.add_column("tenant")
    for action in actions:
        table.add_column(action, justify="right")
    for tenant, row in counts.items():
        table.add_row(tenant, *(f"{row.get(action, 0):,}" for action in actions))
    if len(counts) > 1:
        table.add_section()
        sums = [sum(row.get(action, 0) for row in counts.values()) for action in actions]
        table.add_row("all", *(f"{total:,}" for total in sums))
    return table


def forecast_table(made: Forecast) -> Table:
    """A forecast, a row a lane, in the order they end within each tenant."""
    table = Table(title="Forecast", title_justify="left")
    for name in ("tenant", "lane"):
        table.add_column(name)
    for name in ("steps", "begins after", "ends after"):
        table.add_column(name, justify="right")
    for lane in made.lanes:
        times = duration(lane.begins_seconds), duration(lane.ends_seconds)
        table.add_row(lane.tenant, lane.action, f"{lane.steps:,}", *times)
    return table


def duration(seconds: float) -> str:
    """Hours, minutes and seconds, days before them where there are any."""
    days, rest = divmod(round(seconds), 86_400)
    clock = f"{rest // 3_600}:{rest // 60 % 60:02}:{rest % 60:02}"
    return f"{days} d {clock}" if days else clock


ACTION_ORDER = (
    "create-orgunit",
    "create-group",
    "create",
    "restore",
    "promote",
    "demote",
    "rename",
    "move",
    "update",
    "add-member",
    "remove-member",
    "suspend",
    "held",
    "no-op",
    "member-no-op",
)
"""Columns of a plan table, from what gives to what takes, then what waits and what stays."""
