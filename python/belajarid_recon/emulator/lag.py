"""Lag: how long the directory takes to agree with itself, in emulated time.

Sources: reference, "Consistency" (field reports and Google's page on searching users): an account just made is not found by its id,
may lack its name, and cannot be changed; one just renamed cannot be changed; lists and searches show what was some time ago.

What is behind is held in memory: a restart catches up at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from heapq import merge
from itertools import islice
from typing import NamedTuple

import orjson
from xxhash import xxh3_64_intdigest

from belajarid_recon.emulator.call import Call
from belajarid_recon.emulator.instants import EmulatedTime
from belajarid_recon.emulator.replies import Answer, ApiError, duplicate, not_found
from belajarid_recon.emulator.settings import EmulatorLag
from belajarid_recon.emulator.storage import Storage, StoredUser

CHANGES_MAX = 200_000
"""Changes held; when there are more the oldest is caught up with early."""

Place = tuple[str, int]
"""Primary address and account number: the order of every list."""
Page = Callable[[Place, int], list[StoredUser]]
"""Up to so many accounts behind a place, as they are now."""


class Late(StrEnum):
    """What can be behind."""

    INSERT = "insert"
    RENAME = "rename"
    LIST = "list"
    SEARCH = "search"


class Change(NamedTuple):
    """One change of an account."""

    at: float
    before: StoredUser | None
    """None when it was made."""
    is_rename: bool


class Lag:
    """Who was what a while ago, and what cannot be done yet."""

    def __init__(self, settings: EmulatorLag, storage: Storage, time: EmulatedTime) -> None:
        self._seconds = {late: float(getattr(settings, f"{late}_seconds")) for late in Late}
        self._seed = settings.seed
        self.time = time
        self._changes: dict[int, list[Change]] = {}
        self._order: deque[tuple[float, int]] = deque()
        self._is_watching = True
        self.is_on = any(self._seconds.values())
        if self.is_on:
            storage.on_change = self._saw

    @contextmanager
    def unseen(self) -> Iterator[None]:
        """Changes meanwhile are everywhere at once."""
        self._is_watching = False
        try:
            yield
        finally:
            self._is_watching = True

    def _saw(self, before: StoredUser | None, after: StoredUser) -> None:
        if not self._is_watching:
            return
        now = self.time.elapsed()
        is_rename = before is not None and before.email != after.email
        self._changes.setdefault(after.number, []).append(Change(now, before, is_rename))
        self._order.append((now, after.number))
        oldest = now - max(self._seconds.values())
        while self._order[0][0] < oldest or len(self._order) > CHANGES_MAX:
            _, number = self._order.popleft()
            rest = self._changes.pop(number)[1:]
            if rest:
                self._changes[number] = rest

    def _late(self, late: Late, number: int) -> Iterator[Change]:
        """The changes of an account that are still on their way, the oldest first."""
        seconds = self._seconds[late]
        if self._seed is not None:
            seconds *= self._share(late, number)
        horizon = self.time.elapsed() - seconds
        return (change for change in self._changes.get(number, ()) if change.at > horizon)

    def _share(self, what: str, number: int) -> float:
        """From 0 to 1, the account's own."""
        return float(xxh3_64_intdigest(f"{self._seed}/{what}/{number}".encode()) / 2**64)

    def _is_new(self, number: int) -> bool:
        return any(change.before is None for change in self._late(Late.INSERT, number))

    def check(self, call: Call, number: int | None) -> None:
        """Refuse what is too early for the account a call names. Raises ApiError 404, 412, 409."""
        if number is None:
            return
        is_new = self._is_new(number)
        if call.method.verb == "GET":
            if is_new and "@" not in call.path[0]:
                raise not_found("Resource Not Found: userKey")
        elif is_new:
            raise ApiError(412, "conditionNotMet", "User creation is not complete.", location=("header", "If-Match"))
        elif any(change.is_rename for change in self._late(Late.RENAME, number)):
            raise duplicate()

    def dressed(self, answer: Answer, number: int) -> Answer:
        """The answer of users.get: without its name while the account is new; drawn, for half of the accounts."""
        if not self._is_new(number) or (self._seed is not None and self._share("name", number) < 0.5):
            return answer
        account = orjson.loads(answer.body)
        account.pop("name", None)
        return answer._replace(body=orjson.dumps(account))

    def page(
        self, late: Late, present: Page, belongs: Callable[[StoredUser], bool], place: Place, limit: int
    ) -> list[StoredUser]:
        """A page as it was: `present` gives it as it is, `belongs` says whether an earlier state of an account is of the list."""
        behind = self._behind(late)
        if not behind:
            return present(place, limit)
        earlier = [user for user in behind.values() if user is not None and _place(user) > place and belongs(user)]
        unchanged = (user for user in _all(present, place, limit) if user.number not in behind)
        return list(islice(merge(sorted(earlier, key=_place), unchanged, key=_place), limit))

    def _behind(self, late: Late) -> dict[int, StoredUser | None]:
        """The accounts that are shown as they were, as they were; None where there was none."""
        if not self._seconds[late]:
            return {}
        found = ((number, next(self._late(late, number), None)) for number in self._changes)
        return {number: change.before for number, change in found if change is not None}


def _place(user: StoredUser) -> Place:
    return user.email, user.number


def _all(present: Page, place: Place, limit: int) -> Iterator[StoredUser]:
    """Everything behind a place, page by page."""
    while users := present(place, limit):
        yield from users
        place = _place(users[-1])
