"""Which step is next in a tenant: by importance, and never idle where a limit has room.

A lane is an action; lanes stand in an order of importance. The next step is the first one of the first lane whose own limit has room, so
creations, of which a domain takes ten a second, leave the rest of the tenant's calls to what stands behind them, and
nothing of a later lane passes an earlier one that could have gone. Within a lane: changes whose account was read, steps that are
due to be sent again, new ones in the plan's order.

Memory is that of the steps under way or waiting to be sent again: new ones are read from the plan as they are taken.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from belajarid_recon.apply.body import CONTAINER_ACTIONS, Step
from belajarid_recon.apply.operations import operation_of
from belajarid_recon.directory.governor import Governor, Kind
from belajarid_recon.plan.build import LANE
from belajarid_recon.schemas import Action

Stream = tuple[Kind, str]
"""A kind of call, and the domain of a creation: what has a limit of its own."""
LOOKING: Stream = (Kind.READ, "")
CHANGING: Stream = (Kind.CHANGE, "")
MAKING_UNITS: Stream = (Kind.ORGUNIT_WRITE, "")
NEVER = float("inf")


class Flight(NamedTuple):
    """A step with its request on its way."""

    step: Step
    body: dict[str, Any]
    fingerprint: str
    attempt: int
    throttled: int
    looked: bool = False
    """Whether `body` fits the account as it was read for this attempt."""

    @property
    def must_look(self) -> bool:
        """Whether its account is to be read before it is sent."""
        return operation_of(self.step).looks_first and not self.looked

    @property
    def stream(self) -> Stream:
        """Whose limit its next call counts against."""
        return LOOKING if self.must_look else stream_of(self.step)


def stream_of(step: Step) -> Stream:
    """Whose limit the step's request counts against."""
    if step.action == Action.CREATE_ORGUNIT:
        return MAKING_UNITS
    if step.is_creation:
        return Kind.CREATION, (step.address or "").lower().rpartition("@")[2]
    return CHANGING


def lane_order(chosen: Iterable[Action]) -> list[Action]:
    """Actions on accounts by importance: those of the settings first, the others in the plan's order."""
    order = dict.fromkeys([*chosen, *sorted(LANE, key=LANE.__getitem__)])
    return [action for action in order if action not in CONTAINER_ACTIONS]


class _Queue:
    """New steps of one lane and stream, in plan order."""

    def __init__(self, stream: Stream, steps: Iterator[Step]) -> None:
        self.stream = stream
        self._steps = steps
        self.first = next(steps, None)

    def pop(self) -> Step:
        first = self.first
        if first is None:
            raise IndexError("the queue is empty")
        self.first = next(self._steps, None)
        return first


class _Lane:
    """Everything of one action that waits."""

    def __init__(self, queues: list[_Queue]) -> None:
        self.ready: deque[Flight] = deque()
        self.again: list[tuple[float, int, Flight]] = []
        """Heap: due time, tie-breaker, flight."""
        self.queues = queues

    @property
    def is_empty(self) -> bool:
        return not self.ready and not self.again and not self.queues


class Lanes:
    """Steps of a tenant that are not under way, and how many calls of each kind are."""

    def __init__(
        self, governor: Governor, order: Iterable[Action], new: Callable[[Step], Flight], *, strict: bool = False
    ) -> None:
        """Take `new`, which makes a step's first flight. `strict`: nothing passes a step that waits to be sent again."""
        self._governor = governor
        self._new = new
        self._strict = strict
        self._lanes = {action.value: _Lane([]) for action in order}
        self._ties = itertools.count()
        self._handed_out: Counter[Stream] = Counter()
        self._rooms: dict[Stream, float] = {}
        """What the governor said at `_asked_at` of streams that nothing was handed out of since."""
        self._asked_at = NEVER

    def add_new(self, action: Action, stream: Stream, steps: Iterator[Step]) -> None:
        """Take steps of one action that were never sent; those of `stream`, if they are creations."""
        queue = _Queue(stream, steps)
        if queue.first is not None:
            self._lanes[action.value].queues.append(queue)

    def put_ready(self, flight: Flight) -> None:
        """Take back a change that was looked at and may be sent."""
        self._lanes[flight.step.action].ready.append(flight)

    def put_again(self, flight: Flight, due: float) -> None:
        """Take back a step that is to be sent again, not before `due`."""
        heapq.heappush(self._lanes[flight.step.action].again, (due, next(self._ties), flight))

    def close(self, action: Action) -> None:
        """Forget what waits of an action; another start takes it up."""
        self._lanes[action.value] = _Lane([])

    def handed_out(self, flight: Flight) -> None:
        """Count a call that is under way from now."""
        self._handed_out[flight.stream] += 1
        self._rooms.pop(flight.stream, None)

    def landed(self, flight: Flight) -> None:
        """Count it out again."""
        self._handed_out[flight.stream] -= 1
        self._rooms.pop(flight.stream, None)

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return all(lane.is_empty for lane in self._lanes.values())

    def next(self, now: float) -> Flight | None:
        """The next step with room for its call, counted as handed out; None while nothing has. `now` is of one round of asking."""
        if now != self._asked_at:
            self._ask_anew(now)
        for lane in self._lanes.values():
            flight = self._from(lane, now) if not lane.is_empty else None
            if flight is not None:
                self.handed_out(flight)
                return flight
            if self._strict and not lane.is_empty:
                return None
        return None

    def room_at(self, now: float) -> float:
        """When `next` will have something at the latest, if nothing lands before: infinite if only a landing helps."""
        self._ask_anew(now)
        times = [NEVER]
        waiting = [lane for lane in self._lanes.values() if not lane.is_empty]
        for lane in waiting[:1] if self._strict else waiting:
            if lane.ready:
                times.append(self._room_at(lane.ready[0].stream))
            if lane.again:
                due, _, flight = lane.again[0]
                times.append(max(due, self._room_of(flight)))
            if not (self._strict and lane.again):
                times += [self._room_of_new(queue.stream) for queue in lane.queues]
        return max(now, min(times) - self._governor.ahead_seconds)

    def _from(self, lane: _Lane, now: float) -> Flight | None:
        """The next step of a lane, if it has room; of the new ones, whose domains each have room of their own, the earliest."""
        soon = now + self._governor.ahead_seconds
        if lane.ready and self._room_at(lane.ready[0].stream) <= soon:
            return lane.ready.popleft()
        if lane.again and lane.again[0][0] <= now and self._room_of(lane.again[0][2]) <= soon:
            flight = heapq.heappop(lane.again)[2]
            self._governor.charge_retry(*stream_of(flight.step))
            self._ask_anew(now)
            return flight
        if not lane.queues or (self._strict and lane.again):
            return None
        room, place = min((self._room_of_new(queue.stream), place) for place, queue in enumerate(lane.queues))
        if room > soon:
            return None
        queue = lane.queues[place]
        step = queue.pop()
        if queue.first is None:
            del lane.queues[place]
        return self._new(step)

    def _ask_anew(self, now: float) -> None:
        self._asked_at = now
        self._rooms.clear()

    def _room_of(self, flight: Flight) -> float:
        return self._room_of_new(stream_of(flight.step))

    def _room_of_new(self, stream: Stream) -> float:
        """A change is read first, and not even read while changes are paused or out of retries."""
        room = self._room_at(stream)
        return max(room, self._room_at(LOOKING)) if stream == CHANGING else room

    def _room_at(self, stream: Stream) -> float:
        room = self._rooms.get(stream)
        if room is None:
            room = self._rooms[stream] = self._governor.room_at(*stream, handed_out=self._handed_out[stream])
        return room
