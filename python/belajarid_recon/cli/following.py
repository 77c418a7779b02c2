"""An apply as it goes: a live table on a terminal, a line now and then elsewhere, and the files that machines read."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.live import Live
from rich.table import Table

from belajarid_recon.apply.progress import ApplyPace, EventLog, TenantPace, metrics_text, write_metrics
from belajarid_recon.apply.result import ApplyResult, Progress
from belajarid_recon.cli.printer import PLAIN_LINE_SECONDS, Printer
from belajarid_recon.components import Clock, ScaledClock
from belajarid_recon.errors import ReconError
from belajarid_recon.plan.definition import Plan
from belajarid_recon.settings import Settings

FILES_SECONDS = 1.0
"""Real seconds between two writings of the metrics, and between two events of one tenant."""
REFRESHES_PER_SECOND = 4


@dataclass(frozen=True)
class ProgressFiles:
    """Where machines read how far an apply is."""

    metrics: Path | None = None
    events: Path | None = None


class Following:
    """Follows one apply (pipeline.ApplyFollower). A file that cannot be written is given up with a word; the apply goes on."""

    def __init__(self, printer: Printer, pace: ApplyPace, clock: Clock, files: ProgressFiles) -> None:
        self.result: ApplyResult | None = None
        self._printer = printer
        self._pace = pace
        self._clock = clock
        self._metrics = files.metrics
        self._events = None if files.events is None else EventLog(files.events, clock)
        self._lock = threading.Lock()
        self._due: dict[str, float] = {}
        self.lines = False
        """Whether lines are printed: there is no terminal for a table."""
        if self._metrics is not None:  # a path that cannot be written is told before anything is sent
            write_metrics(self._metrics, metrics_text([], at=clock.now(), running=True))

    def started(self, run_id: str, plan: Plan) -> None:
        """A run was chosen and its plan is read."""
        if self._events is not None:
            tenants = {
                tenant: {"steps": count.total, "held": count.held} for tenant, count in plan.steps.counts().items()
            }
            self._events.started(run_id, plan.digest, tenants)

    def progressed(self, progress: Progress) -> None:
        """One tenant has come on. Called from several threads."""
        self._pace(progress)
        with self._lock:
            if self._is_due(f"event {progress.tenant}", FILES_SECONDS):
                self._tell_event(progress.tenant)
            if self._is_due("metrics", FILES_SECONDS):
                self._write_metrics(running=True)
            if self.lines and self._is_due(f"line {progress.tenant}", PLAIN_LINE_SECONDS):
                self._printer.say(_line(self._pace_of(progress.tenant)))

    def ended(self, outcome: str) -> None:
        """Write the last word everywhere."""
        with self._lock:
            for pace in self._pace.tenants():
                self._tell_event(pace.progress.tenant)
            self._write_metrics(running=False)
            if self._events is not None:
                self._events.ended(outcome, self.result)
                self._events.close()

    def table(self) -> Table:
        """All tenants as they are now."""
        table = Table(title="Apply", title_justify="left")
        table.add_column("tenant")
        for name in (
            "done",
            "of",
            "held",
            "parked",
            "confirmed",
            "contradicted",
            "steps/min",
            "calls/min",
            "allowed",
            "left",
        ):
            table.add_column(name, justify="right")
        for pace in self._pace.tenants():
            at = pace.progress
            counts = (at.done, at.total, at.held, at.parked, at.confirmed, at.contradicted)
            rates = (
                f"{pace.steps_per_minute:,.0f}",
                f"{pace.calls_per_minute:,.0f}",
                f"{pace.calls_per_minute_allowed:,}",
                _duration(pace.seconds_left),
            )
            table.add_row(at.tenant, *(f"{count:,}" for count in counts), *rates)
        return table

    def _is_due(self, what: str, seconds: float) -> bool:
        now = time.monotonic()
        if now < self._due.get(what, 0.0):
            return False
        self._due[what] = now + seconds
        return True

    def _pace_of(self, tenant: str) -> TenantPace:
        return next(pace for pace in self._pace.tenants() if pace.progress.tenant == tenant)

    def _tell_event(self, tenant: str) -> None:
        if self._events is None:
            return
        try:
            self._events.progressed(self._pace_of(tenant))
        except OSError as error:
            self._events = None
            self._printer.say(f"events are not written any more: {error.strerror}")

    def _write_metrics(self, *, running: bool) -> None:
        if self._metrics is None:
            return
        try:
            write_metrics(self._metrics, metrics_text(self._pace.tenants(), at=self._clock.now(), running=running))
        except OSError as error:
            self._metrics = None
            self._printer.say(f"metrics are not written any more: {error.strerror}")


@contextmanager
def following(printer: Printer, settings: Settings, files: ProgressFiles | None = None) -> Iterator[Following]:
    """Follow an apply while the block runs; set `result` on what is yielded when it came to its end."""
    clock = ScaledClock(settings.endpoint.time_scale)
    allowed = {
        tenant.value: settings.quotas_of(tenant).calls_per_minute * (1 + len(account.more_senders))
        for tenant, account in settings.tenants.items()
    }
    follower = Following(printer, ApplyPace(allowed, clock), clock, files or ProgressFiles())
    outcome = "bug"
    try:
        if printer.talk.is_terminal:
            with Live(
                get_renderable=follower.table,
                console=printer.talk,
                refresh_per_second=REFRESHES_PER_SECOND,
                transient=True,
            ):
                yield follower
        else:
            follower.lines = True
            yield follower
        outcome = "applied"
    except KeyboardInterrupt:
        outcome = "interrupted"
        raise
    except ReconError as error:
        outcome = error.kind.value
        raise
    finally:
        follower.ended(outcome)


def _line(pace: TenantPace) -> str:
    """One tenant for a log."""
    at = pace.progress
    return (
        f"{at.tenant}: {at.done:,} of {at.total:,} done, {at.held:,} held, {at.parked:,} parked, {at.confirmed:,} confirmed, "
        f"{at.contradicted:,} contradicted; {pace.steps_per_minute:,.0f} steps and "
        f"{pace.calls_per_minute:,.0f} of {pace.calls_per_minute_allowed:,} calls a minute; left: {_duration(pace.seconds_left)}"
    )


def _duration(seconds: float | None) -> str:
    """A length of time as people say it."""
    if seconds is None:
        return "unknown"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5_400 else f"{seconds / 3_600:.1f} h"
