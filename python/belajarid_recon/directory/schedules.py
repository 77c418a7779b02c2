"""One documented limit as a schedule of slots: so many calls in so many seconds, evenly, and arrears made up.

Not a bucket that callers poll: a caller takes the next slot and sleeps until then, once. Slots that nobody took in time, because the
machine stood still, are made up a little faster than the even rate, as far as a log of the latest slots allows: whether the server's
periods slide or stand, none ever holds more than the limit. Pure: times come in and go out; whoever shares one guards it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

CATCH_UP = 1.25
"""How much faster than evenly arrears are made up: quick enough to lose nothing, no burst that a server would notice."""
RECOVERY_SECONDS = 30.0
"""Time in which a halved rate grows back to the whole one."""
SLOWEST_SHARE = 1 / 16
LOGGED_CALLS_MAX = 100_000
"""A limit of more calls a period is no published one: it is kept evenly, and without a log."""


@dataclass(frozen=True)
class Limit:
    """A documented number, and how much of it is used."""

    count: int
    seconds: float
    """The period that `count` is allowed in."""
    share: float
    """Share of `count` that is used. The rest pays for calls that arrive closer together than they left."""
    arrears_seconds: float
    """How long a standstill may be and be made up afterwards. A longer silence was idleness, and is not saved up."""
    late_seconds: float
    """How far in the past a slot may be: callers that overslept a little go one after the other without sleeping again."""


class Schedule:
    """The slots of one limit. Not thread-safe."""

    __slots__ = ("_arrears", "_even", "_interval", "_late", "_log", "_period", "_share", "_share_since", "last")

    def __init__(self, limit: Limit) -> None:
        self._interval = limit.seconds / (limit.count * limit.share)
        self._arrears = limit.arrears_seconds
        self._late = limit.late_seconds
        # Half of what the share leaves is for catching up, half for calls that arrive closer together than they left.
        self._period = limit.seconds * (1.0 + (1.0 / limit.share - 1.0) / 2)
        self._log: deque[float] | None = deque(maxlen=limit.count) if limit.count <= LOGGED_CALLS_MAX else None
        self._even = float("-inf")
        self.last = float("-inf")
        """The slot that was taken last."""
        self._share = 1.0
        self._share_since = 0.0

    def peek(self, now: float, ahead: int = 0) -> float:
        """The slot a caller would get at `now` after `ahead` others."""
        interval = self._interval_at(now)
        return self._slot(now, interval) + ahead * interval

    def take(self, now: float) -> float:
        """Take the next slot; it is due when it is past."""
        interval = self._interval_at(now)
        slot = self._slot(now, interval)
        self._even = self._even_from(now) + interval
        self.last = slot
        if self._log is not None:
            self._log.append(slot)
        return slot

    def pause(self, until: float) -> None:
        """Let no slot fall before `until`; the pause itself is no arrears."""
        self._even = max(self._even, until)

    def halve(self, now: float, until: float) -> None:
        """Pause until then, go on at half the present rate, and let it grow back."""
        self._share = max(SLOWEST_SHARE, self._share_at(now) / 2)
        self._share_since = until
        self.pause(until)

    def _slot(self, now: float, interval: float) -> float:
        slot = max(now - self._late, self._even_from(now), self.last + interval / CATCH_UP)
        if self._log is not None and len(self._log) == self._log.maxlen:
            slot = max(slot, self._log[0] + self._period)
        return slot

    def _even_from(self, now: float) -> float:
        """When the next call was or is due by the even rate; now, after a longer silence than arrears go back."""
        return self._even if self._even >= now - self._arrears else now

    def _interval_at(self, now: float) -> float:
        return self._interval if self._share >= 1.0 else self._interval / self._share_at(now)

    def _share_at(self, now: float) -> float:
        if self._share < 1.0:
            share = self._share + max(0.0, now - self._share_since) / RECOVERY_SECONDS
            if share < 1.0:
                return share
            self._share = 1.0
        return 1.0
