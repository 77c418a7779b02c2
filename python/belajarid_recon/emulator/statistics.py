"""Counts since the emulator's start."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

MINUTES_MAX = 7 * 24 * 60
"""Minutes of tenants that are kept: a day of seven."""


@dataclass(slots=True)
class Minute:
    """What one tenant did in one emulated minute."""

    minute: int
    """Counted from the folder's first start."""
    tenant: str
    calls: Counter[str] = field(default_factory=Counter)
    """By method: all that came, whatever became of them."""
    refused: Counter[str] = field(default_factory=Counter)
    """By reason: those that a limit refused."""


class Minutes:
    """Calls and refusals by emulated minute, the newest kept."""

    def __init__(self) -> None:
        self._by_place: dict[tuple[int, str], Minute] = {}

    def at(self, emulated_seconds: float, tenant: str) -> Minute:
        """The minute of an instant."""
        place = (int(emulated_seconds // 60), tenant)
        found = self._by_place.get(place)
        if found is None:
            found = self._by_place[place] = Minute(*place)
            if len(self._by_place) > MINUTES_MAX:
                del self._by_place[next(iter(self._by_place))]
        return found

    def describe(self) -> list[dict[str, Any]]:
        """All of them in order, as JSON objects."""
        found = (self._by_place[place] for place in sorted(self._by_place))
        return [
            {"minute": one.minute, "tenant": one.tenant, "calls": dict(one.calls), "refused": dict(one.refused)}
            for one in found
        ]


class Statistics:
    """What was asked, what was done, and what was answered: three things that differ as soon as a fault strikes."""

    def __init__(self) -> None:
        self.minutes = Minutes()
        self._answers: Counter[tuple[str, int]] = Counter()
        self._rejected: Counter[tuple[str, str]] = Counter()
        self._applied: Counter[tuple[str, str]] = Counter()
        self._dropped: Counter[str] = Counter()
        self._unfit_requests: Counter[str] = Counter()
        self._checked_replies = 0
        self._unfit_replies: Counter[tuple[str, str]] = Counter()
        self._under_way: Counter[str] = Counter()
        self._most_under_way: Counter[str] = Counter()
        self._total_under_way = 0
        self._most_in_total = 0

    def enter(self, tenant: str) -> int:
        """A call of a tenant begins; returns how many it has under way now."""
        self._under_way[tenant] += 1
        self._total_under_way += 1
        count = self._under_way[tenant]
        self._most_under_way[tenant] = max(count, self._most_under_way[tenant])
        self._most_in_total = max(self._most_in_total, self._total_under_way)
        return count

    def leave(self, tenant: str) -> None:
        """A call of a tenant ends."""
        self._under_way[tenant] -= 1
        self._total_under_way -= 1

    def applied(self, method: str, tenant: str) -> None:
        """A call changed the state, whatever its caller will hear of it."""
        self._applied[method, tenant] += 1

    def answered(self, method: str, status: int) -> None:
        """An answer was handed to the socket, whole."""
        self._answers[method, status] += 1

    def rejected(self, method: str, reason: str) -> None:
        """A call was refused with this reason."""
        self._rejected[method, reason] += 1

    def unfit_request(self, method: str) -> None:
        """A request whose parameters or body the discovery document does not know was refused."""
        self._unfit_requests[method] += 1

    def checked(self, method: str, fault: str | None) -> None:
        """A reply was held against the discovery document; `fault` is what does not fit, and where."""
        self._checked_replies += 1
        if fault is not None:
            self._unfit_replies[method, fault] += 1

    def dropped(self, method: str) -> None:
        """A call's connection was cut without an answer, or within it."""
        self._dropped[method] += 1

    def describe(self) -> dict[str, Any]:
        """Everything as JSON objects."""
        return {
            "answers": nested(self._answers),
            "applied": nested(self._applied),
            "rejected": nested(self._rejected),
            "dropped": dict(self._dropped),
            "unfit_requests": dict(self._unfit_requests),
            "checked_replies": self._checked_replies,
            "unfit_replies": nested(self._unfit_replies),
            "concurrent_calls_max": {"all": self._most_in_total}
            | {str(tenant): most for tenant, most in self._most_under_way.items()},
        }


def nested(counts: Counter[Any]) -> dict[str, dict[str, int]]:
    """Counts by pair as an object of objects."""
    nested: dict[str, dict[str, int]] = {}
    for (outer, inner), count in sorted(counts.items()):
        nested.setdefault(str(outer), {})[str(inner)] = count
    return nested
