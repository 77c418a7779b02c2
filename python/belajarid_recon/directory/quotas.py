"""Pacing: calls leave at the rate Google documents, never faster, and almost never slower.

Each limit is a schedule of slots, not a bucket that callers poll (the generic cell rate algorithm). A caller takes the next slot under a
lock and sleeps until then, once. A caller that oversleeps keeps its slot, and those behind it keep theirs, so coarse
sleeps cost no rate. A schedule that nobody has used for longer than a hiccup starts anew: idle time is not saved up.
"""

from __future__ import annotations

import threading
from enum import StrEnum

from belajarid_recon.components import Clock, Randomness
from belajarid_recon.settings import Quotas

CALLS_SHARE = 0.98
"""Share of the limit that is used. The rest pays for lateness: 60 s of calls and one more second's stay under a minute's limit."""
CREATIONS_SHARE = 0.96
"""Likewise: a second and one hiccup hold 10 creations of 10 allowed."""
ORGUNITS_SHARE = 0.95
"""One write a second leaves no room for a late one followed by one on time."""
CALLS_LATE_SECONDS = 1.0
HICCUP_SECONDS = 0.04
"""Real seconds a machine may stall without losing slots. On a faster clock that is many of its seconds, which the emulator
forgives in turn (`jitter_seconds`)."""
PAUSE_SECONDS_MIN = 1.0
PAUSE_SECONDS_MAX = 64.0
"""Google's own recipe backs off to about half a minute, GAM to one; longer waits come from Retry-After."""
RETRY_AFTER_SECONDS_MAX = 900.0
SLOWEST_SHARE = 1 / 16
RECOVERY_SECONDS = 30.0
"""Time in which a halved rate grows back to the whole one."""


class Limited(StrEnum):
    """What a quota counts."""

    CALLS = "calls"
    CREATIONS = "creations"
    ORGUNIT_WRITES = "orgunit-writes"


class _Schedule:
    """Slots at an even distance. Not thread-safe: the pacer's lock guards it."""

    __slots__ = ("_interval", "_late_seconds", "_next", "_pause_ends", "_share", "_share_since", "_throttles")

    def __init__(self, per_second: float, late_seconds: float) -> None:
        self._interval = 1.0 / per_second
        self._late_seconds = late_seconds
        self._next = float("-inf")
        self._share = 1.0
        self._share_since = 0.0
        self._pause_ends = float("-inf")
        self._throttles = 0

    def take(self, now: float) -> float:
        """Take the next slot and return its time, which may be past."""
        interval = self._interval
        if self._share < 1.0:
            interval /= self._share_at(now)
        slot = self._next if self._next >= now - self._late_seconds else now
        self._next = slot + interval
        return slot

    def _share_at(self, now: float) -> float:
        share = min(1.0, self._share + max(0.0, now - self._share_since) / RECOVERY_SECONDS)
        if share >= 1.0:
            self._share, self._throttles = 1.0, 0
        return share

    def throttled(self, now: float, retry_after: float | None, jitter: float) -> None:
        """Halve the rate and let no slot fall before the pause's end; the other answers of the same burst count as one."""
        fresh = now >= self._pause_ends
        if fresh:
            share = self._share_at(now) if self._share < 1.0 else 1.0
            self._share = max(SLOWEST_SHARE, share / 2)
            self._throttles += 1
        if retry_after is not None:
            pause = max(0.0, min(retry_after, RETRY_AFTER_SECONDS_MAX)) + jitter
        elif fresh:
            pause = min(PAUSE_SECONDS_MAX, PAUSE_SECONDS_MIN * 2.0 ** min(self._throttles - 1, 10)) * (1.0 + jitter)
        else:
            return
        self._pause_ends = self._share_since = max(self._pause_ends, now + pause)
        self._next = max(self._next, self._pause_ends)


class Pacer:
    """The quotas of one tenant, shared by its threads. Each wait takes a slot and sleeps until it, once.

    A creation or an organisational unit is a call as well, so its wait takes both slots: nobody adds `wait_for_call`.
    """

    def __init__(self, quotas: Quotas, clock: Clock, randomness: Randomness, *, scale: float = 1.0) -> None:
        """Take `scale` as the clock's speed (settings: endpoint.time_scale)."""
        self._clock = clock
        self._randomness = randomness
        self._lock = threading.Lock()
        self._hiccup = HICCUP_SECONDS * scale
        self._creations_rate = quotas.creations_per_second_and_domain * CREATIONS_SHARE
        self._calls = _Schedule(quotas.calls_per_minute / 60 * CALLS_SHARE, max(CALLS_LATE_SECONDS, self._hiccup))
        self._orgunits = _Schedule(quotas.orgunit_writes_per_second * ORGUNITS_SHARE, 0.0)
        self._creations: dict[str, _Schedule] = {}

    def wait_for_call(self) -> None:
        """Return when a call may leave."""
        now = self._clock.monotonic()
        with self._lock:
            slot = self._calls.take(now)
        self._sleep_until(slot, now)

    def wait_for_creation(self, domain: str) -> None:
        """Return when an insert of an account in `domain` may leave."""
        now = self._clock.monotonic()
        with self._lock:
            slot = max(self._creations_in(domain).take(now), self._calls.take(now))
        self._sleep_until(slot, now)

    def wait_for_orgunit_write(self) -> None:
        """Return when an organisational unit may be written."""
        now = self._clock.monotonic()
        with self._lock:
            slot = max(self._orgunits.take(now), self._calls.take(now))
        self._sleep_until(slot, now)

    def throttled(self, limited: Limited, *, domain: str = "", retry_after: float | None = None) -> None:
        """Slow down: pause, halve the rate of what was limited, and let it grow back.

        `domain` belongs to CREATIONS. Answers that arrive during the pause lengthen it at most: several calls under way
        are refused for one cause.
        """
        jitter = int.from_bytes(self._randomness.bytes(2), "big") / 65_536
        now = self._clock.monotonic()
        with self._lock:
            schedule = self._calls
            if limited is Limited.ORGUNIT_WRITES:
                schedule = self._orgunits
            elif limited is Limited.CREATIONS:
                schedule = self._creations_in(domain)
            schedule.throttled(now, retry_after, jitter)

    def _creations_in(self, domain: str) -> _Schedule:
        schedule = self._creations.get(domain)
        if schedule is None:
            schedule = self._creations[domain] = _Schedule(self._creations_rate, self._hiccup)
        return schedule

    def _sleep_until(self, slot: float, now: float) -> None:
        if slot > now:
            self._clock.sleep(slot - now)
