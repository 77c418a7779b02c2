"""A tenant's workers: threads that call what they are handed, and bring back what came of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import NamedTuple, Protocol

from belajarid_recon.apply.lanes import Flight
from belajarid_recon.apply.settle import Outcome, Ready
from belajarid_recon.components import Clock
from belajarid_recon.directory.governor import StoppedError

Answer = Outcome | Ready | None
"""What a worker finds out: an outcome, that a change may be sent, or None if it was stopped before it knew."""
Call = Callable[[Flight], Answer]


class Landing(NamedTuple):
    """What a worker brought back: an answer or an error."""

    flight: Flight
    answer: Answer
    error: BaseException | None


class Workers(Protocol):
    """Who calls what the coordinator hands out, several at once."""

    def hand_out(self, flight: Flight, call: Call, *, under_way: int) -> None:
        """Have `call(flight)` called; `under_way` counts the calls handed out and not landed, this one included."""
        ...

    def next_landing(self, seconds: float | None) -> Landing | None:
        """Wait for the next landing, `seconds` at most (None: for ever); None when there was none."""
        ...

    def close(self) -> None:
        """End what has nothing to do."""
        ...


class ThreadWorkers:
    """Threads that call what they are handed. They are started as they are needed: most tenants are small."""

    def __init__(self, name: str, limit: int, clock: Clock) -> None:
        self._name = name
        self._limit = limit
        self._clock = clock
        self._calls: SimpleQueue[tuple[Flight, Call] | None] = SimpleQueue()
        self._landings: SimpleQueue[Landing] = SimpleQueue()
        self._threads: list[threading.Thread] = []

    def hand_out(self, flight: Flight, call: Call, *, under_way: int) -> None:
        """Have a worker call `call(flight)`; `under_way` counts the calls handed out and not landed, this one included."""
        if len(self._threads) < min(under_way, self._limit):
            thread = threading.Thread(target=self._work, name=f"{self._name}-{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()
        self._calls.put((flight, call))

    def _work(self) -> None:
        while (handed := self._calls.get()) is not None:
            flight, call = handed
            try:
                landing = Landing(flight, call(flight), None)
            except StoppedError:
                landing = Landing(flight, None, None)
            except BaseException as error:
                landing = Landing(flight, None, error)
            self._landings.put(landing)

    def next_landing(self, seconds: float | None) -> Landing | None:
        """Wait for the next landing, `seconds` at most (None: for ever); None when there was none."""
        try:
            return self._landings.get(timeout=None if seconds is None else max(0.0, self._clock.real(seconds)))
        except Empty:
            return None

    def close(self) -> None:
        """End the threads that have nothing to do."""
        for _ in self._threads:
            self._calls.put(None)
