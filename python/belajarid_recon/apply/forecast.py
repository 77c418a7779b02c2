"""How long a plan takes: the real governor and scheduler in virtual time, before a directory that answers every call well.

Nothing is sent and nobody sleeps: a call takes its slot from the governor, and the clock moves on to where it would have landed. What a
forecast cannot know is what goes wrong: refusals, outages, other users of the same quota. It is a floor, and a close one on a quiet
day. Deterministic: no thread, no random number, no machine's clock. Costs about a tenth of a millisecond a call.
"""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from belajarid_recon import __version__
from belajarid_recon.apply.body import Step
from belajarid_recon.apply.lanes import LOOKING, Flight, Stream, stream_of
from belajarid_recon.apply.settle import Outcome, Ready
from belajarid_recon.apply.tenant import ApplyScope, TenantApply, TenantParts
from belajarid_recon.apply.workers import Call, Landing
from belajarid_recon.directory.governor import Governor, Pace, Permit, policy_writes_of_project
from belajarid_recon.errors import SettingsError
from belajarid_recon.plan.steps import Steps
from belajarid_recon.schemas import Jenjang
from belajarid_recon.settings import Settings
from belajarid_recon.state.journal import Event, EventState, Sendings

LATENCY_SECONDS = 0.2
"""What Google's answers take, measured by others from afar; the quota binds before it does."""
COMMIT_SECONDS = 0.01
"""A durable commit on a disk that turns."""
BEGINNING = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class LaneForecast:
    """When one lane of one tenant is sent, in seconds from the start of apply."""

    tenant: str
    action: str
    steps: int
    begins_seconds: float
    ends_seconds: float


@dataclass(frozen=True)
class Forecast:
    """Lanes by tenant, in the order they end within each."""

    lanes: tuple[LaneForecast, ...]

    @property
    def seconds(self) -> float:
        """Until the last tenant is done: they run side by side."""
        return max((lane.ends_seconds for lane in self.lanes), default=0.0)

    def tenant_seconds(self) -> dict[str, float]:
        """Until each tenant is done."""
        ends: dict[str, float] = {}
        for lane in self.lanes:
            ends[lane.tenant] = max(ends.get(lane.tenant, 0.0), lane.ends_seconds)
        return ends


def forecast(steps: Steps, settings: Settings, *, latency_seconds: float = LATENCY_SECONDS) -> Forecast:
    """Forecast the steps that no guard holds, as if none were sent yet.

    `latency_seconds` is how long every call takes once it left. Raises SettingsError for a tenant the settings do not name.
    """
    lanes: list[LaneForecast] = []
    for tenant in steps.free_tenants():
        if tenant not in settings.tenants:
            raise SettingsError(f"steps are for a tenant the settings do not name: {tenant}", hint="add it")
        lanes += _forecast_tenant(tenant, steps, settings, latency_seconds)
    return Forecast(tuple(lanes))


def _forecast_tenant(tenant: str, steps: Steps, settings: Settings, latency_seconds: float) -> list[LaneForecast]:
    """Run one tenant to its end. Tenants share no limit, so each has a time of its own."""
    clock, still = VirtualClock(), _Still()
    account, quotas = settings.tenants[Jenjang(tenant)], settings.quotas_of(Jenjang(tenant))
    governor = Governor(
        tenant,
        quotas,
        clock,
        still,
        projects=[policy_writes_of_project(quotas)] * (1 + len(account.more_senders)),
        places=settings.apply.in_flight,
    )
    caller = _Caller(governor, clock, latency_seconds)
    scope = ApplyScope(
        journal=_Journal(clock),
        steps=steps,
        contacts=_NoContacts(),
        settings=settings,
        clock=clock,
        randomness=still,
        watch=lambda _: None,
        stops={tenant: threading.Event()},
        begun_by=__version__,
    )
    apply = TenantApply(tenant, TenantParts(governor, caller, _VirtualWorkers(caller, clock), still), scope)
    apply.send_all()
    for error in apply.errors:
        raise error
    lanes = [LaneForecast(tenant, action, *times) for action, times in caller.lanes.items()]
    return sorted(lanes, key=lambda lane: (lane.ends_seconds, lane.action))


class VirtualClock:
    """Time that passes only where somebody sleeps, at once."""

    def __init__(self) -> None:
        self.time = 0.0

    def monotonic(self) -> float:
        """Seconds since the start."""
        return self.time

    def sleep(self, seconds: float) -> None:
        """Move on."""
        self.time += max(0.0, seconds)

    def real(self, seconds: float) -> float:
        """The same: quotas are meant as documented."""
        return seconds

    def now(self) -> datetime:
        """A wall clock that began with the forecast."""
        return BEGINNING + timedelta(seconds=self.time)


class _Still:
    """Randomness and passwords of a forecast: none."""

    def bytes(self, count: int) -> bytes:
        """Zeros."""
        return bytes(count)

    def take(self) -> str:
        """No hash: nothing is sent."""
        return ""


class _NoContacts:
    """Contacts of a forecast: what one says costs no call."""

    def of(self, step: int) -> tuple[str | None, str | None]:
        """Neither address nor phone."""
        del step
        return None, None


class _Caller:
    """A directory that answers every call well, after the latency."""

    def __init__(self, governor: Governor, clock: VirtualClock, latency_seconds: float) -> None:
        self._governor = governor
        self._clock = clock
        self._latency_seconds = latency_seconds
        self._permit: Permit | None = None
        self.lanes: dict[str, tuple[int, float, float]] = {}
        """Action to steps, first and last answer."""

    def look(self, step: Step, body: dict[str, Any]) -> Ready:
        """The account is as the plan saw it."""
        del step
        self._call(LOOKING)
        return Ready(body)

    def send(self, step: Step, body: dict[str, Any]) -> Outcome:
        """The step is done."""
        del body
        self._call(stream_of(step))
        now = self._clock.time
        count, begins, ends = self.lanes.get(step.action, (0, now, now))
        self.lanes[step.action] = (count + 1, min(begins, now), max(ends, now))
        return Outcome(EventState.DONE)

    def settle(self, step: Step) -> Outcome:
        """Nothing is ever open."""
        raise AssertionError(f"a forecast has nothing to settle: step {step.step}")

    def open_permit(self) -> Permit:
        """The latest call's permit, to be given back when its answer lands."""
        permit, self._permit = self._permit, None
        if permit is None:
            raise AssertionError("no call was made")
        return permit

    def answered(self, permit: Permit) -> None:
        """Give a permit back."""
        permit.answered(Pace.KEPT)
        self._governor.leave(permit)

    def _call(self, stream: Stream) -> None:
        self._permit = self._governor.permit(*stream)
        self._clock.sleep(self._latency_seconds)


class _VirtualWorkers:
    """Calls are carried out when they are handed out, each in a time of its own, and land when that time has come."""

    def __init__(self, caller: _Caller, clock: VirtualClock) -> None:
        self._caller = caller
        self._clock = clock
        self._ties = itertools.count()
        self._landings: list[tuple[float, int, Landing, Permit]] = []

    def hand_out(self, flight: Flight, call: Call, *, under_way: int) -> None:
        """Call, remember when it lands, and go back to the present."""
        del under_way
        present = self._clock.time
        landing = Landing(flight, call(flight), None)
        heapq.heappush(self._landings, (self._clock.time, next(self._ties), landing, self._caller.open_permit()))
        self._clock.time = present

    def next_landing(self, seconds: float | None) -> Landing | None:
        """Move on to the next landing, or by `seconds` when there is none until then."""
        until = float("inf") if seconds is None else self._clock.time + seconds
        if self._landings and self._landings[0][0] <= until:
            lands, _, landing, permit = heapq.heappop(self._landings)
            self._clock.time = max(self._clock.time, lands)
            self._caller.answered(permit)
            return landing
        if seconds is not None:
            self._clock.time = until
        return None

    def close(self) -> None:
        """Nothing to end."""


class _Journal:
    """A journal of which nothing is kept but the time a commit takes."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock

    def commit(self, events: Sequence[Event]) -> None:
        """Take as long as a disk does."""
        del events
        self._clock.sleep(COMMIT_SECONDS)

    def is_settled(self, step: int) -> bool:
        """No step was sent before."""
        del step
        return False

    def is_done(self, step: int) -> bool:
        """Likewise."""
        del step
        return False

    def awaits_reading(self, step: int) -> bool:
        """Nothing is read back: its lists are few beside the calls that write."""
        del step
        return False

    def is_confirmed(self, step: int) -> bool:
        """Likewise."""
        del step
        return False

    def is_contradicted(self, step: int) -> bool:
        """Likewise."""
        del step
        return False

    def sendings(self, step: int) -> Sendings | None:
        """No step was sent before."""
        del step
        return None

    def unsettled(self) -> dict[int, Sendings]:
        """Likewise."""
        return {}
