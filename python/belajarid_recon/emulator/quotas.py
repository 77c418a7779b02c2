"""Quotas: token buckets in emulated time, and the count of calls at once."""

from __future__ import annotations

from collections import OrderedDict

from belajarid_recon.emulator.instants import EmulatedTime
from belajarid_recon.emulator.replies import ApiError
from belajarid_recon.emulator.settings import EmulatorQuotas

LIMIT_REASONS = frozenset({"userRateLimitExceeded", "quotaExceeded", "rateLimitExceeded"})
"""Why a limit refuses. Nothing else here does for these reasons; faults are not counted among refusals."""


USERS_MAX = 1_000
"""Users of a tenant whose calls a minute are remembered. Whoever is forgotten starts with a full minute, as does whoever has not called
for one: so nobody gains by it unless more users than these call within a minute."""


class Bucket:
    """`rate` tokens an emulated second, at most `capacity` saved up."""

    __slots__ = ("_capacity", "_filled_at", "_rate", "_tokens")

    def __init__(self, rate: float, capacity: float, now: float) -> None:
        self._rate = rate
        self._capacity = capacity
        self._tokens = capacity
        self._filled_at = now

    def take(self, now: float) -> bool:
        """Take one token if there is one."""
        tokens = min(self._capacity, self._tokens + (now - self._filled_at) * self._rate)
        self._filled_at = now
        if tokens < 1.0:
            self._tokens = tokens
            return False
        self._tokens = tokens - 1.0
        return True


class Window:
    """At most `limit` in each whole minute of emulated time, however they fall in it."""

    __slots__ = ("_limit", "_minute", "_taken")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._minute = -1
        self._taken = 0

    def take(self, now: float) -> bool:
        """Take one if the minute has one left."""
        minute = int(now // 60)
        if minute != self._minute:
            self._minute, self._taken = minute, 0
        if self._taken >= self._limit:
            return False
        self._taken += 1
        return True


class TenantQuotas:
    """The limits of one tenant at work, and of each user who calls for it. Every refusal names the reason the reference gives for it."""

    def __init__(self, limits: EmulatorQuotas, time: EmulatedTime, jitter_seconds: float) -> None:
        """Take `jitter_seconds` in emulated time: the caller has scaled them."""
        self.limits = limits
        self._time = time
        self._jitter = jitter_seconds
        self._calls: OrderedDict[str, Bucket | Window] = OrderedDict()
        self._orgunit_writes = self._per_second(limits.orgunit_writes_per_second)
        self._creations: dict[str, Bucket] = {}

    def _per_second(self, rate: float) -> Bucket:
        return Bucket(rate, rate * max(1.0, self._jitter), self._time.elapsed())

    def take_call(self, user: str) -> None:
        """Count one call of `user`. Raises ApiError 403 userRateLimitExceeded."""
        if not self._calls_of(user).take(self._time.elapsed()):
            raise ApiError(403, "userRateLimitExceeded", "User Rate Limit Exceeded")

    def _calls_of(self, user: str) -> Bucket | Window:
        """The user's calls a minute; of too many users, the one who called longest ago is forgotten."""
        found = self._calls.get(user)
        if found is None:
            found = self._calls[user] = self._minute_of_calls()
            if len(self._calls) > USERS_MAX:
                self._calls.popitem(last=False)
        self._calls.move_to_end(user)
        return found

    def _minute_of_calls(self) -> Bucket | Window:
        limit = self.limits.calls_per_minute
        if self.limits.calls_by_whole_minutes:
            return Window(limit)
        return Bucket(limit / 60, limit / 60 * max(60.0, self._jitter), self._time.elapsed())

    def take_creation(self, domain: str) -> None:
        """Count one account made in `domain`. Raises ApiError 403 quotaExceeded."""
        bucket = self._creations.get(domain)
        if bucket is None:
            bucket = self._creations[domain] = self._per_second(self.limits.creations_per_second_and_domain)
        if not bucket.take(self._time.elapsed()):
            raise ApiError(403, "quotaExceeded", "Request rate higher than configured.")

    def take_orgunit_write(self) -> None:
        """Count one organisational unit made. Raises ApiError 403 quotaExceeded."""
        if not self._orgunit_writes.take(self._time.elapsed()):
            raise ApiError(403, "quotaExceeded", "Request rate higher than configured.")

    def check_concurrency(self, under_way: int) -> None:
        """Raises ApiError 429 rateLimitExceeded when `under_way` calls, this one included, are too many."""
        limit = self.limits.concurrent_calls_max
        if limit is not None and under_way > limit:
            raise ApiError(429, "rateLimitExceeded", "Rate Limit Exceeded")
