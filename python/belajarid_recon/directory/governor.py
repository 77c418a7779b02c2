"""Pacing: who may call when. One governor a tenant, outside its workers; they ask for a permit and sleep until it is due.

A call passes, in this order: a place among those under way (its kind's, and the tenant's), a slot of its kind's own limit and of a
sender's calls a minute, and then whatever pause began while it slept. What came back is told to the permit, and the governor draws
the conclusions, so that no worker ever backs off by itself:

| answer | conclusion |
|---|---|
| 403 `userRateLimitExceeded`, `rateLimitExceeded` | this sender waits for the minute to turn and goes on at half its rate |
| 403 `quotaExceeded` | fewer calls of this kind at once (halved, one more after each round that went well), and a pause |
| 429 | the same for the whole tenant, and half the rate |
| 5xx, a lost answer, several in a row | no call of this kind but one to see whether it works again, at growing distances |
| Retry-After | obeyed, up to a quarter of an hour |

Calls that were under way together are refused for one cause, and count as one refusal. Retries may be a tenth of first sendings: a kind
that needs more waits, first sendings too, so that trouble never makes traffic. Pauses are on the monotonic clock, and those worth it
are kept for the next start (state.pauses). Sources: developers.google.com/workspace/admin/directory/v1/limits, and the reasons named
there and by other provisioners.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from enum import Enum, StrEnum
from types import TracebackType
from typing import Self

from belajarid_recon.components import Clock, Randomness
from belajarid_recon.directory.schedules import RECOVERY_SECONDS, Limit, Schedule
from belajarid_recon.settings import Quotas
from belajarid_recon.state.pauses import Pauses

CALLS_SHARE = 0.995
"""Share of the limit that is used. The rest pays for lateness: a minute in which calls bunch up by a quarter of a second is within it."""
CALLS_ARREARS_SECONDS = 10.0
CREATIONS_SHARE = 0.99
"""Likewise: a second has room for ten creations of which the last comes a hundredth early."""
ORGUNITS_SHARE = 0.95
"""One write a second leaves no room for a late one followed by one on time."""
POLICIES_SHARE = 0.98
AHEAD_SECONDS = 0.25
"""How long before its slot a caller may ask, so that no slot waits for a caller: a commit and half a window's landings. Real seconds
too, which on a faster clock are many of its seconds."""
LATE_SECONDS = 0.04
"""How much a sleep may last too long and cost nothing; real seconds likewise."""
PAUSE_SECONDS_MIN = 1.0
PAUSE_SECONDS_MAX = 64.0
"""Google's own recipe backs off to about half a minute, GAM to one; longer waits come from Retry-After."""
RETRY_AFTER_SECONDS_MAX = 900.0
MINUTES_MAX = 15
"""The longest wait for a sender whose minutes are spent again and again."""
FAILURES_IN_A_ROW = 5
"""One lost answer is chance and settled by reading; five in a row are a server that has trouble."""

RETRY_SHARE = 0.1
RETRIES_SAVED_MAX = 100.0
RETRIES_AT_START = 20.0
"""A full window refused for one cause, before anything was sent that retries could be a share of."""
RETRIES_PER_SECOND = 0.2
"""A lane in trouble comes back by this trickle."""


class Kind(StrEnum):
    """Kinds of calls, as the limits tell them apart."""

    READ = "read"
    CREATION = "creation"
    CHANGE = "change"
    ORGUNIT_WRITE = "orgunit-write"
    POLICY_WRITE = "policy-write"
    DEVICE_WRITE = "device-write"


class Pace(Enum):
    """What an answer says about the pace."""

    KEPT = "kept"
    MINUTE_SPENT = "minute-spent"
    TOO_MANY_OF_KIND = "too-many-of-kind"
    TOO_MANY = "too-many"
    FAILED = "failed"


class ProjectSchedule(Schedule):
    """A limit of a Cloud project, shared by the tenants whose credentials belong to it. Thread-safe."""

    __slots__ = ("_lock",)

    def __init__(self, limit: Limit) -> None:
        super().__init__(limit)
        self._lock = threading.Lock()

    def peek(self, now: float, ahead: int = 0) -> float:
        """As `Schedule.peek`."""
        with self._lock:
            return super().peek(now, ahead)

    def take(self, now: float) -> float:
        """As `Schedule.take`."""
        with self._lock:
            return super().take(now)

    def halve(self, now: float, until: float) -> None:
        """As `Schedule.halve`."""
        with self._lock:
            super().halve(now, until)


def policy_writes_of_project(quotas: Quotas) -> ProjectSchedule:
    """The writes to Chrome policies a project may send, all tenants together."""
    return ProjectSchedule(Limit(quotas.policy_writes_per_second_and_project, 1.0, POLICIES_SHARE, 0.0, 0.0))


class _Pausing:
    """Something that can be paused: the tenant, a sender, a kind. Refusals of one burst count as one."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.pause_ends = float("-inf")
        self.burst = 0
        """Refusals that counted."""
        self._refusals = 0
        """Refusals in a row."""

    def refused(self, now: float) -> int:
        """Count a refusal; returns how many there were in a row."""
        if now > self.pause_ends + RECOVERY_SECONDS:
            self._refusals = 0
        self.burst += 1
        self._refusals += 1
        return self._refusals

    def pause(self, until: float) -> None:
        self.pause_ends = max(self.pause_ends, until)


class _Gate:
    """Calls under way: additive increase, multiplicative decrease."""

    def __init__(self, places: int) -> None:
        self._most = float(places)
        self._places = float(places)
        self.under_way = 0

    @property
    def places(self) -> int:
        return int(self._places)

    def refused(self) -> None:
        self._places = max(1.0, min(self._places, self.under_way) / 2)

    def answered(self) -> None:
        if self._places < self._most:
            self._places = min(self._most, self._places + 1.0 / self._places)


class _Retries:
    """A tenth of first sendings, saved up to a bound, and a trickle without which nothing could begin."""

    def __init__(self, now: float) -> None:
        self._saved = RETRIES_AT_START
        self._at = now

    def sent(self, now: float) -> None:
        self._trickle(now)
        self._saved = min(RETRIES_SAVED_MAX, self._saved + RETRY_SHARE)

    def charge(self, now: float) -> None:
        """Pay for one retry, and for what it will itself be counted as a sending."""
        self._trickle(now)
        self._saved -= 1.0 + RETRY_SHARE

    def ready_at(self, now: float) -> float:
        self._trickle(now)
        return now + max(0.0, -self._saved) / RETRIES_PER_SECOND

    def _trickle(self, now: float) -> None:
        if self._saved < RETRIES_AT_START:
            self._saved = min(RETRIES_AT_START, self._saved + (now - self._at) * RETRIES_PER_SECOND)
        self._at = now


class _Sender(_Pausing):
    """One service account or administrator, with calls a minute of its own."""

    def __init__(self, name: str, calls: Schedule, project: ProjectSchedule) -> None:
        super().__init__(name)
        self.calls = calls
        self.project = project


class _Stream(_Pausing):
    """The calls of one kind; creations of one domain."""

    def __init__(self, kind: Kind, domain: str, limits: Sequence[Schedule], places: int, now: float) -> None:
        super().__init__(f"{kind} {domain}".rstrip())
        self.kind = kind
        self._limits = limits
        self.gate = _Gate(places)
        self.retries = _Retries(now)
        self.failures = 0
        self.trips = 0
        """How often in a row the breaker opened; 0 while it is closed."""
        self.opens_at = float("-inf")
        """When the one call may leave that sees whether the server works again."""
        self.probe: Permit | None = None

    def limits_with(self, sender: _Sender) -> Sequence[Schedule]:
        """The limits beside the sender's calls a minute."""
        return [*self._limits, sender.project] if self.kind is Kind.POLICY_WRITE else self._limits


class Permit:
    """Leave for one call. Used as a context in which the call is made and its answer told."""

    __slots__ = ("_governor", "bursts", "pace", "retry_after_seconds", "sender", "stream", "whose")

    def __init__(self, governor: Governor, stream: _Stream, sender: int, whose: _Sender) -> None:
        self._governor = governor
        self.stream = stream
        self.sender = sender
        """Number of the sender whose minute pays for the call."""
        self.whose = whose
        self.bursts: dict[_Pausing, int] = {}
        """How many refusals each had counted when the call left: one that was under way at the latest is of its burst."""
        self.pace: Pace | None = None
        self.retry_after_seconds: float | None = None

    def answered(self, pace: Pace, retry_after_seconds: float | None = None) -> None:
        """Say what came back."""
        self.pace, self.retry_after_seconds = pace, retry_after_seconds

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._governor.leave(self)


class StoppedError(Exception):
    """Asked to stop while a call waited for its place in the quotas: it was not sent."""


PIECE_SECONDS = 0.5
"""Real seconds of a wait between two looks at whether to stop."""
PATIENCE_SECONDS = 2.0
"""Real seconds that a call which was asked to stop still waits for its slot: what is under way then ends as usual."""


def unfenced() -> None:
    """Let every write leave: nobody else is asked."""


class Governor:
    """The limits of one tenant, shared by its threads."""

    def __init__(  # noqa: PLR0913 - the parts of one tenant's pace; each is handed in, none has another home
        self,
        tenant: str,
        quotas: Quotas,
        clock: Clock,
        randomness: Randomness,
        *,
        projects: Sequence[ProjectSchedule] = (),
        places: int = 64,
        pauses: Pauses | None = None,
    ) -> None:
        """Take `projects` as those of the senders, each with a minute of its own; one sender if there are none.

        `places` is the most calls under way at once.
        """
        self._name = tenant
        self._tenant = _Pausing("tenant")
        self._quotas = quotas
        self._clock = clock
        self._randomness = randomness
        self._places = places
        self._pauses = pauses
        self._changed = threading.Condition()
        self._gate = _Gate(places)
        speed = max(1.0, 1.0 / clock.real(1.0))
        projects = projects or [policy_writes_of_project(quotas)]
        self._hiccup_seconds = AHEAD_SECONDS * speed
        calls_per_second = len(projects) * quotas.calls_per_minute / 60.0
        self.ahead_seconds = min(self._hiccup_seconds, places / 2 / calls_per_second)
        """How long before its slot a caller may ask. Not longer than half of the places are called through in: else creations that
        wait for their slots would fill them, and nothing else would find one."""
        self._late_seconds = LATE_SECONDS * speed
        self._started = clock.monotonic()
        self._started_at = clock.now().timestamp()
        self.may_write: Callable[[], None] = unfenced
        """For the caller's transport to ask before each sending of a write; it stops it by raising."""
        self.calls = 0
        """That were let through since the start, of every kind."""
        self.stop = threading.Event()
        """Ends every long wait with StoppedError once it is set: a pause may last for minutes."""
        kept = pauses.seconds_left(tenant) if pauses else {}
        self._kept = {name: self._started + seconds / clock.real(1.0) for name, seconds in kept.items()}
        """Pauses of an earlier start, by name, until somebody asks for what is paused."""
        self._senders = [self._sender(number, project) for number, project in enumerate(projects)]
        self._streams: dict[tuple[Kind, str], _Stream] = {}
        self._tenant.pause(self._kept.pop("tenant", float("-inf")))

    def permit(self, kind: Kind, domain: str = "") -> Permit:
        """Wait until a call of this kind may leave; `domain` belongs to creations. Use the permit in a `with`."""
        with self._changed:
            stream = self._stream(kind, domain)
            while not self._has_place(stream):
                self._changed.wait(PIECE_SECONDS)
                self._refuse_stopped()
            permit, slot = self._admit(stream)
        try:
            with self._changed:
                slot = max(slot, self._held_until(permit))
            while (seconds := slot - self._clock.monotonic()) > 0:
                self._sleep_a_while(seconds)
                with self._changed:
                    slot = max(slot, self._held_until(permit))
        except BaseException:
            self.leave(permit)
            raise
        return permit

    def sleep(self, seconds: float) -> None:
        """Sleep as a call that waits does: raises StoppedError when asked to stop in a long sleep."""
        ends = self._clock.monotonic() + seconds
        while (left := ends - self._clock.monotonic()) > 0:
            self._sleep_a_while(left)

    def _sleep_a_while(self, seconds: float) -> None:
        """Sleep, or a piece of a long sleep."""
        if self._clock.real(seconds) > PATIENCE_SECONDS:
            self._refuse_stopped()
            seconds = PIECE_SECONDS / self._clock.real(1.0)
        self._clock.sleep(seconds)

    def _refuse_stopped(self) -> None:
        if self.stop.is_set():
            raise StoppedError

    def room_at(self, kind: Kind, domain: str = "", *, handed_out: int = 0) -> float:
        """When the kind's own limit has room for one more call; infinite while only an answer can make room.

        `handed_out` are the caller's calls of this kind under way, those included that have not asked for their permit yet. The calls
        a minute are not looked at: all kinds share them, so they give none a reason to step aside for another.
        """
        with self._changed:
            now = self._clock.monotonic()
            stream = self._stream(kind, domain)
            if handed_out >= stream.gate.places or not self._has_place(stream):
                return float("inf")
            if stream.trips and (stream.probe is not None or handed_out):
                return float("inf")
            ahead = max(0, handed_out - stream.gate.under_way)
            return max(
                stream.pause_ends,
                stream.opens_at if stream.trips else now,
                self._tenant.pause_ends,
                min(sender.pause_ends for sender in self._senders),
                stream.retries.ready_at(now),
                *(limit.peek(now, ahead) for limit in stream.limits_with(self._senders[0])),
            )

    def charge_retry(self, kind: Kind, domain: str = "") -> None:
        """Count a call that was sent before and will be sent again against the kind's share of retries."""
        with self._changed:
            self._stream(kind, domain).retries.charge(self._clock.monotonic())

    def leave(self, permit: Permit) -> None:
        """Take back a permit and draw the conclusions of its answer, if it got one."""
        now = self._clock.monotonic()
        stream = permit.stream
        with self._changed:
            paused = self._conclude(permit, now)
            if stream.probe is permit:
                stream.probe = None
            stream.gate.under_way -= 1
            self._gate.under_way -= 1
            self._changed.notify_all()
        if paused is not None and self._pauses is not None:
            seconds = max(paused.pause_ends, stream.opens_at if paused is stream else paused.pause_ends) - now
            # Advice to the next start: what cannot be written down costs it one refused call.
            with suppress(OSError):
                self._pauses.keep(self._name, paused.name, self._clock.real(seconds))

    def _has_place(self, stream: _Stream) -> bool:
        return stream.gate.under_way < stream.gate.places and self._gate.under_way < self._gate.places

    def _admit(self, stream: _Stream) -> tuple[Permit, float]:
        """A permit with its places and slots taken, and when it is due. The lock is held."""
        now = self._clock.monotonic()
        number = self._next_sender(now) if len(self._senders) > 1 else 0
        sender = self._senders[number]
        permit = Permit(self, stream, number, sender)
        slots = [sender.calls.take(now), stream.retries.ready_at(now)]
        slots += [limit.take(now) for limit in stream.limits_with(sender)]
        stream.retries.sent(now)
        stream.gate.under_way += 1
        self._gate.under_way += 1
        self.calls += 1
        return permit, max(slots)

    def _next_sender(self, now: float) -> int:
        """Number of the sender that may send first; of several that may now, of the one whose last call is longest ago."""

        def turn(number: int) -> tuple[float, float]:
            sender = self._senders[number]
            return max(now, sender.pause_ends, sender.calls.peek(now)), sender.calls.last

        return min(range(len(self._senders)), key=turn)

    def _held_until(self, permit: Permit) -> float:
        """When the pauses end that a permit must still sit out. The lock is held, and given up to wait for a probe's answer."""
        stream = permit.stream
        while stream.trips and stream.probe is not permit:
            if stream.probe is None:
                stream.probe = permit
            else:
                self._changed.wait()
        permit.bursts = {whom: whom.burst for whom in (stream, permit.whose, self._tenant)}
        ends = max(stream.pause_ends, permit.whose.pause_ends, self._tenant.pause_ends)
        return max(ends, stream.opens_at) if stream.trips else ends

    def _conclude(self, permit: Permit, now: float) -> _Pausing | None:
        """Slow down or recover by what came back; returns what is paused now, if anything is. The lock is held."""
        stream = permit.stream
        if permit.pace is None:
            return None
        if permit.pace is Pace.FAILED:
            return self._failed(permit, now)
        stream.failures = 0
        if stream.probe is permit:
            stream.trips = 0
        if permit.pace is Pace.KEPT:
            stream.gate.answered()
            self._gate.answered()
            return None
        whom = {Pace.MINUTE_SPENT: permit.whose, Pace.TOO_MANY_OF_KIND: stream}.get(permit.pace, self._tenant)
        asked = self._asked_for(permit, now)
        if permit.bursts[whom] < whom.burst:
            whom.pause(asked)
            return whom
        in_a_row = whom.refused(now)
        until = asked if asked >= now else self._pause_ends(permit.pace, in_a_row, now)
        whom.pause(until)
        self._slow_down(permit, now, until)
        return whom

    def _slow_down(self, permit: Permit, now: float, until: float) -> None:
        """Halve what a refusal was about."""
        schedules = [permit.whose.calls]
        if permit.pace is Pace.TOO_MANY_OF_KIND:
            permit.stream.gate.refused()
            schedules = list(permit.stream.limits_with(permit.whose))
        elif permit.pace is Pace.TOO_MANY:
            self._gate.refused()
            schedules = [sender.calls for sender in self._senders]
        for schedule in schedules:
            schedule.halve(now, until)

    def _failed(self, permit: Permit, now: float) -> _Pausing | None:
        """Open the kind's breaker after several failures, or again after a failed probe; a lone failure is none of our business."""
        stream = permit.stream
        stream.failures += 1
        asked = self._asked_for(permit, now)
        stream.pause(asked)
        if stream.probe is permit or (not stream.trips and stream.failures >= FAILURES_IN_A_ROW):
            stream.trips += 1
            stream.opens_at = now + self._backoff(stream.trips)
            return stream
        return stream if asked >= now else None

    def _pause_ends(self, pace: Pace, in_a_row: int, now: float) -> float:
        """When a pause ends that the server gave no number for."""
        if pace is not Pace.MINUTE_SPENT:
            return now + self._backoff(in_a_row)
        wall = self._started_at + (now - self._started)
        minutes = min(MINUTES_MAX, 1 << min(in_a_row - 1, 10))
        return now + 60.0 * minutes - wall % 60.0 + self._jitter()

    def _backoff(self, in_a_row: int) -> float:
        seconds = min(PAUSE_SECONDS_MAX, math.ldexp(PAUSE_SECONDS_MIN, min(in_a_row - 1, 10)))
        return seconds * (1.0 + self._jitter())

    def _asked_for(self, permit: Permit, now: float) -> float:
        """When the pause ends that Retry-After asks for; in the past without one."""
        asked = permit.retry_after_seconds
        if asked is None:
            return float("-inf")
        return now + max(0.0, min(asked, RETRY_AFTER_SECONDS_MAX)) + self._jitter()

    def _jitter(self) -> float:
        return int.from_bytes(self._randomness.bytes(2), "big") / 65_536

    def _sender(self, number: int, project: ProjectSchedule) -> _Sender:
        arrears = max(CALLS_ARREARS_SECONDS, self._hiccup_seconds)
        calls = Limit(self._quotas.calls_per_minute, 60.0, CALLS_SHARE, arrears, self._late_seconds)
        sender = _Sender(f"sender {number}", Schedule(self._stretched(calls)), project)
        sender.pause(self._kept.pop(sender.name, float("-inf")))
        sender.calls.pause(sender.pause_ends)
        return sender

    def _stream(self, kind: Kind, domain: str) -> _Stream:
        stream = self._streams.get((kind, domain))
        if stream is None:
            stream = _Stream(kind, domain, self._limits_of(kind), self._places, self._clock.monotonic())
            stream.pause(self._kept.pop(stream.name, float("-inf")))
            self._streams[kind, domain] = stream
        return stream

    def _limits_of(self, kind: Kind) -> list[Schedule]:
        """The limits of a kind in its tenant, beside the calls a minute."""
        quotas = self._quotas
        if kind is Kind.CREATION:
            count, arrears = quotas.creations_per_second_and_domain, max(1.0, self._hiccup_seconds)
            return [Schedule(self._stretched(Limit(count, 1.0, CREATIONS_SHARE, arrears, self._late_seconds)))]
        if kind is Kind.ORGUNIT_WRITE:
            return [Schedule(Limit(quotas.orgunit_writes_per_second, 1.0, ORGUNITS_SHARE, 0.0, 0.0))]
        if kind is Kind.POLICY_WRITE:
            return [Schedule(Limit(quotas.policy_writes_per_minute, 60.0, POLICIES_SHARE, 0.0, 0.0))]
        if kind is Kind.DEVICE_WRITE and quotas.device_writes_per_minute is not None:
            return [Schedule(Limit(quotas.device_writes_per_minute, 60.0, CALLS_SHARE, 0.0, 0.0))]
        return []

    def _stretched(self, limit: Limit) -> Limit:
        """The same rate over a longer period where a hiccup is longer than the period: on a fast clock only."""
        times = math.ceil(max(1.0, self._hiccup_seconds / limit.seconds))
        return replace(limit, count=limit.count * times, seconds=limit.seconds * times)
