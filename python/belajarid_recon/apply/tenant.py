"""One tenant's steps: a coordinator and a few workers.

The coordinator takes free places in the window, commits the outcomes that came back together with the new intents in one
transaction, and only then hands the new steps to the workers. So nothing leaves before its intent is durable, a commit
is shared by about half a window, and a kill leaves at most a window of steps to settle.

A change passes the workers twice: first they look at its account, and only what is ours and still as the plan saw it gets
an intent and is sent. Creations have nothing to look at, and the quota would pay for it.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import polars as pl

from belajarid_recon.apply.body import (
    CONTACT_FIELDS,
    CONTAINER_ACTIONS,
    EVERY,
    Contacts,
    Step,
    contact_fields,
    fingerprint,
    read_steps,
)
from belajarid_recon.apply.killpoints import KillPoint, reached
from belajarid_recon.apply.lanes import CHANGING, MAKING_UNITS, NEVER, Flight, Lanes, Stream, lane_order
from belajarid_recon.apply.operations import body_of
from belajarid_recon.apply.passwords import PasswordHashes
from belajarid_recon.apply.result import Progress, Watcher
from belajarid_recon.apply.sending import SLEEP_SECONDS_MAX, Sender
from belajarid_recon.apply.settle import ApplyReason, Outcome, Ready
from belajarid_recon.apply.workers import Answer, Call, Landing, ThreadWorkers, Workers
from belajarid_recon.components import Clock, Randomness
from belajarid_recon.directory.governor import Governor, Kind
from belajarid_recon.directory.interface import Directory
from belajarid_recon.errors import PlanError, ReconError, UnreachableError
from belajarid_recon.plan.build import LANE
from belajarid_recon.plan.steps import Steps
from belajarid_recon.schemas import Action
from belajarid_recon.settings import Settings
from belajarid_recon.state.journal import Event, EventState, Sendings

BACKOFF_SECONDS_MAX = 64.0
STEPS_AHEAD = 2_048
"""New steps of a lane and stream in memory: a few hundred kilobytes, of which a tenant with every action holds a dozen."""
FAULTS_PARKED_MAX = 3
"""Steps of a tenant that one start gives up because reading their accounts is a fault of the program."""
THROTTLED_MAX = 500
"""Throttled replies to one step before the tenant stops. With the longest backoff that is a working day of refusals."""


@dataclass(frozen=True)
class ApplyScope:
    """What all tenants of one apply share."""

    journal: StepJournal
    steps: Steps
    contacts: Contacts
    settings: Settings
    clock: Clock
    randomness: Randomness
    watch: Watcher
    stops: Mapping[str, threading.Event]
    """By tenant: asks it to bring in what is under way, to commit it, and to end."""
    begun_by: str
    """Version of this program that began the run."""

    def stop_all(self) -> None:
        """Ask all tenants to stop."""
        for stop in self.stops.values():
            stop.set()


def _without_contacts(flight: Flight) -> Flight:
    """The same without the contacts that the directory refuses, for this start of the run."""
    body = {name: value for name, value in flight.body.items() if name not in CONTACT_FIELDS}
    return flight._replace(step=flight.step._replace(recovery=None), body=body)


class StepJournal(Protocol):
    """What a tenant asks of the journal (state.journal)."""

    def commit(self, events: Sequence[Event]) -> None:
        """Make events durable."""
        ...

    def is_settled(self, step: int) -> bool:
        """Whether the step needs nothing more from this run."""
        ...

    def is_done(self, step: int) -> bool:
        """Whether the step was carried out."""
        ...

    def awaits_reading(self, step: int) -> bool:
        """Whether the step was carried out by a request of ours and not read back yet."""
        ...

    def is_confirmed(self, step: int) -> bool:
        """Whether it was read back as it was written."""
        ...

    def is_contradicted(self, step: int) -> bool:
        """Whether it was read back otherwise."""
        ...

    def sendings(self, step: int) -> Sendings | None:
        """Where an unsettled step stands; None if it was never sent."""
        ...

    def unsettled(self) -> dict[int, Sendings]:
        """Steps that were sent and are not settled, by number."""
        ...


class Caller(Protocol):
    """What carries out calls for steps (apply.sending)."""

    def look(self, step: Step, body: dict[str, Any]) -> Outcome | Ready | None:
        """Read the account a change is for."""
        ...

    def send(self, step: Step, body: dict[str, Any]) -> Outcome | None:
        """Send the step once and find out what came of it."""
        ...

    def settle(self, step: Step) -> Outcome | None:
        """Find out by reading what a sending did."""
        ...


class Passwords(Protocol):
    """Where a new account's password hash comes from (apply.passwords)."""

    def take(self) -> str:
        """A hash nobody knows the secret of."""
        ...


@dataclass(frozen=True)
class TenantParts:
    """What a tenant's coordinator works with: the real ones, or those of a forecast."""

    governor: Governor
    caller: Caller
    workers: Workers
    passwords: Passwords


def real_parts(tenant: str, directory: Directory, scope: ApplyScope) -> TenantParts:
    """A directory, threads, and secrets that nobody knows."""
    chosen = scope.settings.apply
    return TenantParts(
        governor=directory.governor,
        caller=Sender(directory, scope.clock, chosen.lag_seconds, scope.stops[tenant]),
        workers=ThreadWorkers(f"apply-{tenant}", chosen.in_flight, scope.clock),
        passwords=PasswordHashes(scope.settings.password_rounds(), scope.randomness),
    )


class TenantApply:
    """The coordinator of one tenant. `settle_open` comes first, for all tenants; then `send_all`."""

    def __init__(self, tenant: str, parts: TenantParts, scope: ApplyScope) -> None:
        self.tenant = tenant
        self.errors: list[BaseException] = []
        self.faulty: set[int] = set()
        """Steps whose call ended in a fault of the program: at the next start they count as under way at its death."""
        self.at_work = False
        """Whether a thread carries out a phase of this tenant."""
        self._scope = scope
        self._stop = scope.stops[tenant]
        self._caller = parts.caller
        self._workers = parts.workers
        self._passwords = parts.passwords
        self._under_way = 0
        self._governor = parts.governor
        self._container_lanes = self._new_lanes(CONTAINER_ACTIONS, strict=True)
        self._account_lanes = self._new_lanes(lane_order(scope.settings.apply.lanes))
        self._lanes = self._account_lanes
        """Those at work: units and groups before accounts."""
        self._alone: Lanes | None = None
        """Those of a step that must be under way alone."""
        self._faults_parked = 0
        self._full = False
        """Whether the tenant has taken no more accounts."""
        self._progress = self._counts()

    def has_suspects(self) -> bool:
        """Whether the run has steps, of whichever tenant, that were under way at too many deaths of the program."""
        return any(self._is_suspect(sendings) for _, sendings in self._unsettled())

    def settle_open(self) -> None:
        """Settle by reading what an earlier start left open, and take up what it was about to send again. Sends nothing."""
        self._scope.watch(self._progress)
        window = self._scope.settings.apply.in_flight
        resumed = {step: sendings for step, sendings in self._unsettled() if not self._is_suspect(sendings)}
        for step in read_steps(self._scope.steps.at(resumed), self._ours):
            sendings = resumed[step.step]
            flight = self._resumed(step, sendings)
            if not sendings.open:
                self._send_again(flight, after_seconds=0.0)
            elif not self._stop.is_set():
                self._lanes.handed_out(flight)
                self._hand_out([flight], self._settle)
                if self._under_way == window:
                    self._commit(self._collect(window - 1), [])
        while self._under_way:
            self._commit(self._collect(self._under_way - 1), [])

    def settle_suspects(self) -> None:
        """Settle what was under way at too many deaths of the program, each step alone to its end: one that kills it again is known."""
        journal = self._scope.journal
        suspects = {step: sendings for step, sendings in self._unsettled() if self._is_suspect(sendings)}
        for step in read_steps(self._scope.steps.at(suspects), self._ours):
            if self._stop.is_set():
                break
            flight = self._resumed(step, suspects[step.step])
            journal.commit([Event(step.step, flight.attempt, EventState.ALONE)])
            self._lanes = self._alone = self._new_lanes([Action(step.action)])
            if suspects[step.step].open:
                self._lanes.handed_out(flight)
                self._hand_out([flight], self._settle)
                self._commit(self._collect(0), [])
            else:
                self._send_again(flight, after_seconds=0.0)
            self._run(window=1)
        self._alone = None

    def send_all(self) -> None:
        """Send what is not settled: units and groups one at a time and parents first, then what goes into them, by lanes."""
        for action, stream in ((Action.CREATE_ORGUNIT, MAKING_UNITS), (Action.CREATE_GROUP, CHANGING)):
            self._container_lanes.add_new(action, stream, self._fresh(EVERY, action))
        self._lanes = self._container_lanes
        self._run(window=1)
        if not self._stop.is_set():
            for action, stream, condition in self._account_streams():
                self._account_lanes.add_new(action, stream, self._fresh(condition, action))
            self._lanes = self._account_lanes
            self._run(window=self._scope.settings.apply.in_flight)
        if self._full:
            # Raised at the end, and without a wish to stop: what is no creation, and every other tenant, has gone on.
            message = f"the tenant's user limit is reached: {self.tenant}"
            self.errors.append(UnreachableError(message, hint="have it raised, then apply again: its creations go on"))

    def fail(self, error: BaseException) -> None:
        """Remember what stops this tenant, and all others unless it is this one's directory that cannot be reached."""
        self.errors.append(error)
        if isinstance(error, UnreachableError):
            self._stop.set()
        else:
            self._scope.stop_all()

    def leave_in_order(self) -> None:
        """Note that what this tenant leaves open is not under way: a death while others go on is none of its steps' doing."""
        steps, unsettled = self._scope.steps, self._unsettled()
        left = [
            Event(step, sendings.attempt, EventState.STOPPED)
            for step, sendings in unsettled
            if sendings.open and steps.tenant_of(step) == self.tenant and step not in self.faulty
        ]
        self._scope.journal.commit(left)

    def close(self) -> None:
        """End the workers."""
        self._workers.close()

    def _run(self, *, window: int) -> None:
        """Keep the window filled until nothing is left, or until asked to stop; then bring in what is under way."""
        events: list[Event] = []
        while True:
            free = window - self._under_way
            group = [] if self._stop.is_set() else self._take(free)
            sendings = [flight for flight in group if not flight.must_look]
            self._commit(events, sendings)
            self._hand_out(sendings, self._send)
            self._hand_out([flight for flight in group if flight.must_look], self._look)
            if self._under_way:
                # With a full window, wait until half of it is free; otherwise for the next landing, or for room.
                full = len(group) == free
                events = self._collect(window // 2 if full else self._under_way - 1, until_room=not full)
            elif not self._lanes.is_empty and not self._stop.is_set():
                events = []
                self._scope.clock.sleep(min(self._seconds_to_room(), SLEEP_SECONDS_MAX))
            else:
                return

    def _take(self, count: int) -> list[Flight]:
        """Up to `count` steps that may be looked at or sent now."""
        now = self._scope.clock.monotonic()
        group: list[Flight] = []
        while len(group) < count:
            flight = self._lanes.next(now)
            if flight is None:
                break
            group.append(flight)
        self._put_in_passwords(group)
        return group

    def _flight(self, step: Step, *, attempt: int = 1) -> Flight:
        """The step with its request, whose contacts are no part of its fingerprint."""
        body = body_of(step)
        fields = contact_fields(step, self._scope.contacts)
        return Flight(step, body | fields, fingerprint(step, body), attempt, throttled=0)

    def _new_lanes(self, actions: Iterable[Action], *, strict: bool = False) -> Lanes:
        return Lanes(self._governor, actions, self._flight, strict=strict)

    def _put_in_passwords(self, group: list[Flight]) -> None:
        """Give each creation that has none a password's hash; a request that is sent again in this process keeps its own."""
        for flight in group:
            if flight.step.is_creation and "password" not in flight.body:
                flight.body["password"], flight.body["hashFunction"] = self._passwords.take(), "crypt"

    def _commit(self, events: list[Event], group: list[Flight]) -> None:
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

    def _hand_out(self, group: list[Flight], call: Call) -> None:
        for flight in group:
            self._under_way += 1
            self._workers.hand_out(flight, call, under_way=self._under_way)

    def _look(self, flight: Flight) -> Answer:
        return self._caller.look(flight.step, flight.body)

    def _send(self, flight: Flight) -> Answer:
        return self._caller.send(flight.step, flight.body)

    def _settle(self, flight: Flight) -> Answer:
        return self._caller.settle(flight.step)

    def _collect(self, leave: int, *, until_room: bool = False) -> list[Event]:
        """Wait until no more than `leave` calls are under way, take what else has landed, and return what to commit.

        With `until_room` not longer than until a step that waits has room: there is a free place for it.
        """
        events: list[Event] = []
        while self._under_way:
            seconds: float | None = 0.0
            if self._under_way > leave:
                seconds = self._seconds_to_room() if until_room else None
            landing = self._workers.next_landing(seconds if seconds != NEVER else None)
            if landing is None:
                break
            self._under_way -= 1
            event = self._land(landing)
            if event is not None:
                events.append(event)
        return events

    def _land(self, landing: Landing) -> Event | None:
        """Turn what a worker brought back into a row, and put the step back where it has to be sent again."""
        flight, outcome, error = landing
        self._lanes.landed(flight)
        if error is not None:
            if self._may_park_fault(flight, error):
                return Event(flight.step.step, flight.attempt, EventState.PARKED, reason=ApplyReason.CRASHED)
            if not isinstance(error, ReconError):
                self.faulty.add(flight.step.step)
            self.fail(error)
        if outcome is None:
            return None
        if isinstance(outcome, Ready):
            self._lanes.put_ready(flight._replace(body=outcome.body, looked=True))
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

    def _may_park_fault(self, flight: Flight, error: BaseException) -> bool:
        """Whether a fault of the program at a look is the step's own: nothing of it is under way, so no start would count it.

        Not of many steps: then the fault is not theirs, and parking would give them all up.
        """
        if not isinstance(error, Exception) or isinstance(error, (ReconError, MemoryError)):
            return False
        sendings = self._scope.journal.sendings(flight.step.step)
        if (sendings is not None and sendings.open) or self._faults_parked == FAULTS_PARKED_MAX:
            return False
        self._faults_parked += 1
        return True

    def _throttled(self, flight: Flight, outcome: Outcome) -> None:
        if outcome.reason == ApplyReason.USER_LIMIT:
            self._full = True
            self._lanes.close(Action.CREATE)
            return
        throttled = flight.throttled + 1
        if throttled > THROTTLED_MAX:
            message = f"the directory of tenant {self.tenant} refuses every call for want of quota"
            self.fail(UnreachableError(message, hint="apply again when the quota is back; nothing is lost"))
            return
        seconds = max(self._backoff(throttled), outcome.retry_after_seconds or 0.0)
        self._send_again(flight._replace(throttled=throttled), after_seconds=seconds)

    def _send_again(self, flight: Flight, *, after_seconds: float) -> None:
        due = self._scope.clock.monotonic() + after_seconds
        again = flight._replace(attempt=flight.attempt + 1, looked=False)
        if not (self._full and again.step.is_creation):
            lanes = self._container_lanes if again.step.is_container else self._account_lanes
            (self._alone or lanes).put_again(again, due)

    def _backoff(self, count: int) -> float:
        """Seconds to wait after the count-th failure: doubling, with jitter around it."""
        jitter = 0.5 + int.from_bytes(self._scope.randomness.bytes(2), "big") / 65_536
        return float(min(BACKOFF_SECONDS_MAX, 2.0 ** min(count - 1, 10)) * jitter)

    def _seconds_to_room(self) -> float:
        """How long until a step that waits may leave, if nothing lands before; infinite if only a landing helps."""
        now = self._scope.clock.monotonic()
        return self._lanes.room_at(now) - now

    @property
    def _ours(self) -> pl.Expr:
        return pl.col("tenant") == self.tenant

    def _account_streams(self) -> Iterator[tuple[Action, Stream, pl.Expr]]:
        """Actions on accounts with the stream of their requests and the steps of it; creations by domain."""
        domain = pl.col("address").str.to_lowercase().str.extract("@(.*)$")
        for action in LANE:
            if action is Action.CREATE:
                created = self._scope.steps.pieces(self.tenant, [action], ["address"])
                for name in sorted({name for rows in created for name in rows.select(domain).to_series().unique()}):
                    yield action, (Kind.CREATION, name), domain == name
            elif action not in CONTAINER_ACTIONS:
                yield action, CHANGING, EVERY

    def _fresh(self, condition: pl.Expr, action: Action) -> Iterator[Step]:
        """Steps of this tenant and action that were never sent."""
        journal = self._scope.journal
        for step in read_steps(self._scope.steps.pieces(self.tenant, [action], rows=STEPS_AHEAD), condition):
            if not journal.is_settled(step.step) and journal.sendings(step.step) is None:
                yield step

    def _unsettled(self) -> list[tuple[int, Sendings]]:
        return sorted(self._scope.journal.unsettled().items())

    def _is_suspect(self, sendings: Sendings) -> bool:
        return sendings.crashes >= self._scope.settings.apply.crashes

    def _resumed(self, step: Step, sendings: Sendings) -> Flight:
        """The step as an earlier start sent it. Raises PlanError if this version would send something else."""
        flight = self._flight(step, attempt=sendings.attempt)
        if flight.fingerprint != sendings.fingerprint:
            raise PlanError(
                f"this version would send another request than the journal says: step {step.step}",
                hint=f"finish the run with the version that began it, {self._scope.begun_by}, or abandon it and plan again",
            )
        return flight

    def _counts(self) -> Progress:
        """Where the tenant stands before this start."""
        journal, steps = self._scope.journal, self._scope.steps
        total, held = steps.counts()[self.tenant]
        done = parked = confirmed = contradicted = 0
        for step in steps.numbers(self.tenant):
            done += journal.is_done(step)
            parked += journal.is_settled(step) and not journal.is_done(step)
            confirmed += journal.is_confirmed(step)
            contradicted += journal.is_contradicted(step)
        return Progress(self.tenant, done, parked, held, total, confirmed, contradicted, self._governor.calls)

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
            calls=self._governor.calls,
        )
        self._scope.watch(self._progress)
