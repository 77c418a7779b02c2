"""One tenant's steps: a coordinator and a few workers.

The coordinator takes free places in the window, commits the outcomes that came back together with the new intents in one
transaction, and only then hands the new steps to the workers. So nothing leaves before its intent is durable, a commit
is shared by about half a window, and a kill leaves at most a window of steps to settle.

A change passes the workers twice: first they look at its account, and only what is ours and still as the plan saw it gets
an intent and is sent. Creations have nothing to look at, and the quota would pay for it.
"""

from __future__ import annotations

import heapq
import itertools
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

import polars as pl

from belajarid_recon.apply.body import CONTACT_FIELDS, CONTAINER_ACTIONS, Step, contact_fields, fingerprint, read_steps
from belajarid_recon.apply.killpoints import KillPoint, reached
from belajarid_recon.apply.operations import body_of, operation_of
from belajarid_recon.apply.passwords import PasswordHashes
from belajarid_recon.apply.result import Progress, Watcher
from belajarid_recon.apply.sending import SLEEP_SECONDS_MAX, Sender
from belajarid_recon.apply.settle import ApplyReason, Outcome, Ready
from belajarid_recon.components import Clock, Randomness
from belajarid_recon.directory.interface import Directory
from belajarid_recon.errors import DirectoryError, PlanError, ReconError
from belajarid_recon.plan.contacts import ContactBook
from belajarid_recon.settings import Settings
from belajarid_recon.state.journal import Event, EventState, Journal, Sendings

BACKOFF_SECONDS_MAX = 64.0
THROTTLED_MAX = 500
"""Throttled replies to one step before the tenant stops. With the longest backoff that is a working day of refusals."""


@dataclass(frozen=True)
class ApplyScope:
    """What all tenants of one apply share."""

    journal: Journal
    steps: pl.DataFrame
    contacts: ContactBook
    settings: Settings
    clock: Clock
    randomness: Randomness
    watch: Watcher
    stop: threading.Event


class _Flight(NamedTuple):
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


def _without_contacts(flight: _Flight) -> _Flight:
    """The same without the contacts that the directory refuses, for this start of the run."""
    body = {name: value for name, value in flight.body.items() if name not in CONTACT_FIELDS}
    return flight._replace(step=flight.step._replace(recovery=None), body=body)


_Answer = Outcome | Ready | None
"""What a worker finds out: an outcome, that a change may be sent, or None if it was stopped before it knew."""
_Call = Callable[[_Flight], _Answer]


class _Landing(NamedTuple):
    """What a worker brought back: an answer or an error."""

    flight: _Flight
    answer: _Answer
    error: BaseException | None


class _Workers:
    """Threads that call what they are handed. They are started as they are needed: most tenants are small."""

    def __init__(self, name: str, limit: int) -> None:
        self._name = name
        self._limit = limit
        self._calls: SimpleQueue[tuple[_Flight, _Call] | None] = SimpleQueue()
        self.landings: SimpleQueue[_Landing] = SimpleQueue()
        self._threads: list[threading.Thread] = []

    def hand_out(self, flight: _Flight, call: _Call, *, under_way: int) -> None:
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
                landing = _Landing(flight, call(flight), None)
            except BaseException as error:
                landing = _Landing(flight, None, error)
            self.landings.put(landing)

    def close(self) -> None:
        """End the threads that have nothing to do."""
        for _ in self._threads:
            self._calls.put(None)


class TenantApply:
    """The coordinator of one tenant. `settle_open` comes first, for all tenants; then `send_all`."""

    def __init__(self, tenant: str, directory: Directory, scope: ApplyScope) -> None:
        self.tenant = tenant
        self.errors: list[BaseException] = []
        self.faulty: set[int] = set()
        """Steps whose call ended in a fault of the program: at the next start they count as under way at its death."""
        self._scope = scope
        self._sender = Sender(directory, scope.clock, scope.settings.apply.lag_seconds, scope.stop)
        self._workers = _Workers(f"apply-{tenant}", scope.settings.apply.in_flight)
        self._passwords = PasswordHashes(scope.settings.password_rounds(), scope.randomness)
        self._under_way = 0
        self._again: list[tuple[float, int, _Flight]] = []
        """Heap of steps to send again: due time, tie-breaker, flight."""
        self._ties = itertools.count()
        self._ready: deque[_Flight] = deque()
        """Changes that were looked at and may be sent; they are in no journal yet."""
        self._full = False
        """Whether the tenant has taken no more accounts."""
        self._progress = self._counts()

    def settle_open(self) -> None:
        """Settle by reading what an earlier start left open, and take up what it was about to send again. Sends nothing."""
        self._scope.watch(self._progress)
        window = self._scope.settings.apply.in_flight
        resumed = {step: sendings for step, sendings in self._unsettled() if not self._is_suspect(sendings)}
        numbers = pl.Series(sorted(resumed), dtype=pl.Int64).implode()
        for step in read_steps(self._scope.steps, self._ours & pl.col("step").is_in(numbers)) if resumed else ():
            sendings = resumed[step.step]
            flight = self._resumed(step, sendings)
            if not sendings.open:
                self._send_again(flight, after_seconds=0.0)
            elif not self._scope.stop.is_set():
                self._hand_out([flight], self._settle)
                if self._under_way == window:
                    self._commit(self._collect(window - 1), [])
        while self._under_way:
            self._commit(self._collect(self._under_way - 1), [])

    def settle_suspects(self) -> None:
        """Settle what was under way at too many deaths of the program, each step alone to its end: one that kills it again is known."""
        journal = self._scope.journal
        suspects = {step: sendings for step, sendings in self._unsettled() if self._is_suspect(sendings)}
        waiting, self._again = self._again, []
        numbers = pl.Series(sorted(suspects), dtype=pl.Int64).implode()
        for step in read_steps(self._scope.steps, self._ours & pl.col("step").is_in(numbers)) if suspects else ():
            if self._scope.stop.is_set():
                break
            flight = self._resumed(step, suspects[step.step])
            journal.commit([Event(step.step, flight.attempt, EventState.ALONE)])
            if suspects[step.step].open:
                self._hand_out([flight], self._settle)
                self._commit(self._collect(0), [])
            else:
                self._send_again(flight, after_seconds=0.0)
            self._run(iter(()), window=1)
        self._again = [*waiting, *self._again]

    def send_all(self) -> None:
        """Send what is not settled: units and groups one at a time and parents first, then what goes into them."""
        containers = pl.col("action").is_in(CONTAINER_ACTIONS)
        waiting = self._again
        self._again = [entry for entry in waiting if entry[2].step.is_container]
        heapq.heapify(self._again)
        self._run(self._fresh(containers), window=1)
        if not self._scope.stop.is_set():
            self._again = [entry for entry in waiting if not entry[2].step.is_container]
            heapq.heapify(self._again)
            self._run(self._fresh(~containers), window=self._scope.settings.apply.in_flight)
        if self._full:
            # Raised at the end, and without a wish to stop: what is no creation, and every other tenant, has gone on.
            message = f"the tenant's user limit is reached: {self.tenant}"
            self.errors.append(DirectoryError(message, hint="have it raised, then apply again: its creations go on"))

    def fail(self, error: BaseException) -> None:
        """Remember what stops this apply, and ask all tenants to stop."""
        self.errors.append(error)
        self.stop()

    def stop(self) -> None:
        """Ask all tenants to bring in what is under way, to commit it, and to end."""
        self._scope.stop.set()

    def close(self) -> None:
        """End the workers."""
        self._workers.close()

    def _run(self, fresh: Iterator[Step], *, window: int) -> None:
        """Keep the window filled until nothing is left, or until asked to stop; then bring in what is under way."""
        events: list[Event] = []
        while True:
            free = window - self._under_way
            group = [] if self._scope.stop.is_set() else self._take(fresh, free)
            sendings = [flight for flight in group if not flight.must_look]
            self._commit(events, sendings)
            self._hand_out(sendings, self._send)
            self._hand_out([flight for flight in group if flight.must_look], self._look)
            if self._under_way:
                # With a full window, wait until half of it is free; near the end, for the next landing.
                events = self._collect(window // 2 if len(group) == free else self._under_way - 1)
            elif self._again and not self._scope.stop.is_set():
                events = []
                self._sleep_until_due()
            else:
                return

    def _take(self, fresh: Iterator[Step], count: int) -> list[_Flight]:
        """Up to `count` steps to look at or send now: those that were looked at, those that are due again, then new ones."""
        now = self._scope.clock.monotonic()
        group: list[_Flight] = []
        while len(group) < count:
            flight = self._next(fresh, now)
            if flight is None:
                break
            if not (self._full and flight.step.is_creation):
                group.append(flight)
        self._put_in_passwords(group)
        return group

    def _next(self, fresh: Iterator[Step], now: float) -> _Flight | None:
        if self._ready:
            return self._ready.popleft()
        if self._again and self._again[0][0] <= now:
            return heapq.heappop(self._again)[2]
        if self._again and self._again[0][2].step.is_orgunit:
            return None  # what comes next may stand below it
        step = next(fresh, None)
        if step is None:
            return None
        return self._flight(step, attempt=1)

    def _flight(self, step: Step, *, attempt: int) -> _Flight:
        """The step with its request, whose contacts are no part of its fingerprint."""
        body = body_of(step)
        fields = contact_fields(step, self._scope.contacts)
        return _Flight(step, body | fields, fingerprint(step, body), attempt, throttled=0)

    def _put_in_passwords(self, group: list[_Flight]) -> None:
        """Give each creation that has none a password's hash; a request that is sent again in this process keeps its own."""
        for flight in group:
            if flight.step.is_creation and "password" not in flight.body:
                flight.body["password"], flight.body["hashFunction"] = self._passwords.take(), "crypt"

    def _commit(self, events: list[Event], group: list[_Flight]) -> None:
        """Make outcomes and intents durable in one transaction."""
        if not events and not group:
            return
        if events:
            reached(KillPoint.BEFORE_OUTCOME_COMMIT)
        if group:
            reached(KillPoint.BEFORE_INTENT_COMMIT)
        intents = [
            Event(flight.step.step, flight.attempt, EventState.INTENT, fingerprint=flight.fingerprint)
            for flight in group
        ]
        self._scope.journal.commit(events + intents)
        if events:
            reached(KillPoint.OUTCOME_COMMITTED)
            self._report(events)
        if group:
            reached(KillPoint.INTENT_COMMITTED)

    def _hand_out(self, group: list[_Flight], call: _Call) -> None:
        for flight in group:
            self._under_way += 1
            self._workers.hand_out(flight, call, under_way=self._under_way)

    def _look(self, flight: _Flight) -> _Answer:
        return self._sender.look(flight.step, flight.body)

    def _send(self, flight: _Flight) -> _Answer:
        return self._sender.send(flight.step, flight.body)

    def _settle(self, flight: _Flight) -> _Answer:
        return self._sender.settle(flight.step)

    def _collect(self, leave: int) -> list[Event]:
        """Wait until no more than `leave` calls are under way, take what else has landed, and return what to commit."""
        events: list[Event] = []
        while self._under_way:
            try:
                landing = self._workers.landings.get(block=self._under_way > leave)
            except Empty:
                break
            self._under_way -= 1
            event = self._land(landing)
            if event is not None:
                events.append(event)
        return events

    def _land(self, landing: _Landing) -> Event | None:
        """Turn what a worker brought back into a row, and put the step back where it has to be sent again."""
        flight, outcome, error = landing
        if error is not None:
            if not isinstance(error, ReconError):
                self.faulty.add(flight.step.step)
            self.fail(error)
        if outcome is None:
            return None
        if isinstance(outcome, Ready):
            self._ready.append(flight._replace(body=outcome.body, looked=True))
            return None
        state, reason = outcome.state, outcome.reason
        if state is EventState.THROTTLED:
            self._throttled(flight, outcome)
        elif state is EventState.ABSENT:
            sendings = self._scope.journal.sendings(flight.step.step)
            used = sendings.used if sendings else 1
            if reason == ApplyReason.CONTACT_REFUSED:
                self._send_again(_without_contacts(flight), after_seconds=0.0)
            elif used >= self._scope.settings.apply.attempts:
                state, reason = EventState.PARKED, ApplyReason.ATTEMPTS_USED_UP
            else:
                self._send_again(flight, after_seconds=max(self._backoff(used), outcome.retry_after_seconds or 0.0))
        return Event(flight.step.step, flight.attempt, state, outcome.status, reason, outcome.target_id)

    def _throttled(self, flight: _Flight, outcome: Outcome) -> None:
        if outcome.reason == ApplyReason.USER_LIMIT:
            self._full = True
            return
        throttled = flight.throttled + 1
        if throttled > THROTTLED_MAX:
            message = f"the directory of tenant {self.tenant} refuses every call for want of quota"
            self.fail(DirectoryError(message, hint="apply again when the quota is back; nothing is lost"))
            return
        seconds = max(self._backoff(throttled), outcome.retry_after_seconds or 0.0)
        self._send_again(flight._replace(throttled=throttled), after_seconds=seconds)

    def _send_again(self, flight: _Flight, *, after_seconds: float) -> None:
        due = self._scope.clock.monotonic() + after_seconds
        again = flight._replace(attempt=flight.attempt + 1, looked=False)
        heapq.heappush(self._again, (due, next(self._ties), again))

    def _backoff(self, count: int) -> float:
        """Seconds to wait after the count-th failure: doubling, with jitter around it."""
        jitter = 0.5 + int.from_bytes(self._scope.randomness.bytes(2), "big") / 65_536
        return float(min(BACKOFF_SECONDS_MAX, 2.0 ** min(count - 1, 10)) * jitter)

    def _sleep_until_due(self) -> None:
        seconds = self._again[0][0] - self._scope.clock.monotonic()
        self._scope.clock.sleep(min(seconds, SLEEP_SECONDS_MAX))

    @property
    def _ours(self) -> pl.Expr:
        return pl.col("tenant") == self.tenant

    def _fresh(self, condition: pl.Expr) -> Iterator[Step]:
        """Steps of this tenant that were never sent."""
        journal = self._scope.journal
        for step in read_steps(self._scope.steps, self._ours & condition):
            if not journal.is_settled(step.step) and journal.sendings(step.step) is None:
                yield step

    def _unsettled(self) -> list[tuple[int, Sendings]]:
        return sorted(self._scope.journal.unsettled().items())

    def _is_suspect(self, sendings: Sendings) -> bool:
        return sendings.crashes >= self._scope.settings.apply.crashes

    def _resumed(self, step: Step, sendings: Sendings) -> _Flight:
        """The step as an earlier start sent it. Raises PlanError if this version would send something else."""
        flight = self._flight(step, attempt=sendings.attempt)
        if flight.fingerprint != sendings.fingerprint:
            raise PlanError(
                f"this version would send another request than the journal says: step {step.step}",
                hint="finish the run with the version that began it, or abandon it and plan again",
            )
        return flight

    def _counts(self) -> Progress:
        """Where the tenant stands before this start."""
        journal = self._scope.journal
        done = parked = held = total = confirmed = contradicted = 0
        ours = self._scope.steps.filter(self._ours).select("step", pl.col("held_by").is_not_null())
        for step, is_held in ours.iter_rows():
            total += 1
            held += is_held
            done += journal.is_done(step)
            parked += journal.is_settled(step) and not journal.is_done(step)
            confirmed += journal.is_confirmed(step)
            contradicted += journal.is_contradicted(step)
        return Progress(self.tenant, done, parked, held, total, confirmed, contradicted)

    def record(self, events: list[Event]) -> None:
        """Make what was read back durable, and tell the watcher."""
        self._scope.journal.commit(events)
        self._report(events)

    def _report(self, events: list[Event]) -> None:
        """Tell the watcher about committed outcomes."""
        states = Counter(event.state for event in events)
        before = self._progress
        self._progress = before._replace(
            done=before.done + states[EventState.DONE],
            parked=before.parked + states[EventState.PARKED],
            confirmed=before.confirmed + states[EventState.CONFIRMED],
            contradicted=before.contradicted + states[EventState.CONTRADICTED],
        )
        self._scope.watch(self._progress)
