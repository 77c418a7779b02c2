"""Where an apply is, tenant by tenant: pace and time left, a Prometheus text file, and events as lines of JSON.

Nothing here is about a person: counts, reason codes, names of attributes.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from belajarid_recon.apply.result import ApplyResult, Progress
from belajarid_recon.components import Clock
from belajarid_recon.state.atomic import write_atomically

WINDOW_SECONDS = 120.0
"""Of the endpoint's clock: a pace is that of the last two minutes, because a quota counts minutes."""
SAMPLE_SECONDS = 1.0
METRICS_MODE = 0o644
"""An exporter runs as another user, and the file holds nothing to hide."""


class TenantPace(NamedTuple):
    """Where one tenant is and how fast it goes. Minutes and seconds are those of the endpoint's clock."""

    progress: Progress
    steps_per_minute: float
    calls_per_minute: float
    """What the quota counts: a creation costs one call, a change two or three."""
    calls_per_minute_allowed: int
    """The quota of all the tenant's senders together."""
    seconds_left: float | None
    """Until its last step is sent, at this pace; None where no pace is known."""


class ApplyPace:
    """Collects the tenants' reports. May be called from several threads at once."""

    def __init__(self, calls_per_minute_allowed: Mapping[str, int], clock: Clock) -> None:
        self._allowed = calls_per_minute_allowed
        self._clock = clock
        self._lock = threading.Lock()
        self._latest: dict[str, Progress] = {}
        self._samples: dict[str, deque[tuple[float, int, int]]] = {}

    def __call__(self, progress: Progress) -> None:
        """Take a report."""
        now = self._clock.monotonic()
        settled = progress.done + progress.parked
        with self._lock:
            self._latest[progress.tenant] = progress
            samples = self._samples.setdefault(progress.tenant, deque())
            if not samples or now - samples[-1][0] >= SAMPLE_SECONDS:
                samples.append((now, settled, progress.calls))
            while now - samples[0][0] > WINDOW_SECONDS and len(samples) > 2:
                samples.popleft()

    def tenants(self) -> list[TenantPace]:
        """Every tenant that has reported, in the order of the first reports."""
        with self._lock:
            return [self._pace(progress) for progress in self._latest.values()]

    def _pace(self, progress: Progress) -> TenantPace:
        began, settled_then, calls_then = self._samples[progress.tenant][0]
        seconds = self._clock.monotonic() - began
        settled = progress.done + progress.parked
        left = progress.total - progress.held - settled
        known = seconds >= SAMPLE_SECONDS
        per_second = (settled - settled_then) / seconds if known else 0.0
        calls_per_second = (progress.calls - calls_then) / seconds if known else 0.0
        seconds_left = 0.0 if left <= 0 else left / per_second if per_second > 0 else None
        allowed = self._allowed.get(progress.tenant, 0)
        return TenantPace(progress, per_second * 60, calls_per_second * 60, allowed, seconds_left)


class _Metric(NamedTuple):
    """One metric of the text file; a value of None is left out."""

    name: str
    help: str
    values: Iterable[tuple[str, float | None]]
    """Tenant and value; an empty tenant is no label."""


def metrics_text(tenants: list[TenantPace], *, at: datetime, running: bool) -> str:
    """The Prometheus text format, version 0.0.4: every metric with a help line, a type, and its unit at the end of its name."""
    metrics = [
        _Metric(f"{kind}_steps", meaning, [(pace.progress.tenant, getattr(pace.progress, field)) for pace in tenants])
        for kind, field, meaning in _STEP_METRICS
    ]
    metrics += [
        _Metric(
            "steps_per_second",
            "Steps settled a second, over the last two minutes of the endpoint's clock.",
            [(pace.progress.tenant, pace.steps_per_minute / 60) for pace in tenants],
        ),
        _Metric(
            "calls_per_second",
            "Calls a second, readings and repeats included, over the last two minutes of the endpoint's clock.",
            [(pace.progress.tenant, pace.calls_per_minute / 60) for pace in tenants],
        ),
        _Metric(
            "allowed_calls_per_second",
            "Calls a second that the quotas of the tenant's senders allow together.",
            [(pace.progress.tenant, pace.calls_per_minute_allowed / 60) for pace in tenants],
        ),
        _Metric(
            "left_seconds",
            "Seconds of the endpoint's clock until the last step is sent, at this pace; absent where no pace is known.",
            [(pace.progress.tenant, pace.seconds_left) for pace in tenants],
        ),
        _Metric("running_bool", "1 while apply is running, 0 after it has ended.", [("", float(running))]),
        _Metric("written_timestamp_seconds", "When this file was written, in Unix time.", [("", at.timestamp())]),
    ]
    return "".join(_metric_lines(metric) for metric in metrics)


_STEP_METRICS = (
    ("planned", "total", "Steps of the tenant in the plan, held ones included."),
    ("done", "done", "Steps carried out."),
    ("parked", "parked", "Steps given up, each with a reason."),
    ("held", "held", "Steps a guard holds."),
    ("confirmed", "confirmed", "Done steps whose values were read back."),
    ("contradicted", "contradicted", "Done steps of which the directory was read to have other values."),
)


def _metric_lines(metric: _Metric) -> str:
    name = f"belajarid_recon_apply_{metric.name}"
    lines = [f"# HELP {name} {metric.help}", f"# TYPE {name} gauge"]
    for tenant, value in metric.values:
        if value is not None:
            label = f'{{tenant="{tenant}"}}' if tenant else ""
            lines.append(f"{name}{label} {value!r}")
    return "\n".join([*lines, ""])


def write_metrics(path: Path, text: str) -> None:
    """Put the text at `path` whole, so that an exporter never reads half of it. Raises OSError."""
    write_atomically(path, text.encode(), mode=METRICS_MODE)


class EventLog:
    """Appends events to a file, one JSON object a line, each in one write. Raises OSError."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._file = path.open("ab", buffering=0)
        self._clock = clock
        self._lock = threading.Lock()
        self._run = ""

    def started(self, run_id: str, plan_digest: str, tenants: Mapping[str, Mapping[str, int]]) -> None:
        """The apply begins, or goes on."""
        self._run = run_id
        self._write("apply-started", plan=plan_digest, tenants=tenants)

    def progressed(self, pace: TenantPace) -> None:
        """Where one tenant is."""
        seconds = pace.seconds_left
        self._write(
            "tenant-progress",
            **_counts(pace.progress),
            steps_per_minute=round(pace.steps_per_minute, 1),
            calls_per_minute=round(pace.calls_per_minute, 1),
            calls_per_minute_allowed=pace.calls_per_minute_allowed,
            seconds_left=None if seconds is None else round(seconds, 1),
        )

    def ended(self, outcome: str, result: ApplyResult | None) -> None:
        """The apply is over: `applied`, `interrupted`, or the kind of the error that stopped it. Counts where it came to its end."""
        counts = (
            None
            if result is None
            else {
                "done": result.done,
                "parked": result.parked,
                "held": result.held,
                "confirmed": result.confirmed,
                "contradicted": result.contradicted,
                "parked_reasons": result.parked_reasons,
                "findings": result.findings,
                "contradictions": result.contradictions,
                "differing": result.differing,
            }
        )
        self._write("apply-ended", outcome=outcome, counts=counts)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, event: str, **fields: Any) -> None:  # noqa: ANN401 - JSON
        at = self._clock.now().isoformat(timespec="milliseconds")
        line = orjson.dumps({"event": event, "at": at, "run": self._run, **fields}, option=orjson.OPT_APPEND_NEWLINE)
        with self._lock:
            self._file.write(line)


def _counts(progress: Progress) -> dict[str, Any]:
    counts: dict[str, Any] = progress._asdict()
    counts["steps"] = counts.pop("total")
    return counts
