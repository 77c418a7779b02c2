"""Apply a plan to its end, from wherever an earlier start left it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from types import FrameType

import polars as pl

from belajarid_recon import __version__
from belajarid_recon.apply.killpoints import KillPoint, reached
from belajarid_recon.apply.read_back import Places, ReadBack
from belajarid_recon.apply.result import ApplyResult, Watcher, count_result
from belajarid_recon.apply.settle import ApplyReason
from belajarid_recon.apply.tenant import ApplyScope, TenantApply, real_parts
from belajarid_recon.components import Clock, Randomness
from belajarid_recon.directory.epochs import note_epoch, refuse_newer_directory, refuse_overtaken
from belajarid_recon.directory.governor import unfenced
from belajarid_recon.directory.interface import Directory
from belajarid_recon.directory.snapshot import seen_in_snapshot
from belajarid_recon.errors import BusyError, PlanError, UnreachableError
from belajarid_recon.plan.contacts import ContactBook
from belajarid_recon.plan.definition import Plan
from belajarid_recon.schemas import OBSERVED
from belajarid_recon.settings import Settings
from belajarid_recon.state import handoffs, lifecycle
from belajarid_recon.state.anchor import checked_anchor
from belajarid_recon.state.folders import RunFolder, RunStatus, list_runs
from belajarid_recon.state.journal import ALONE_REASON, Event, EventState, Journal, missing_journal
from belajarid_recon.state.lease import Epoch, KnownEpochs, Lease
from belajarid_recon.state.ledger import reserve_addresses
from belajarid_recon.state.lock import StateLock

TWIN_SECONDS = 2.0
"""Between noting an epoch and looking at it again: two copies of a state folder that start within one call's time read each other's."""


@dataclass(frozen=True)
class ApplyComponents:
    """What is handed in to apply a plan."""

    directories: Mapping[str, Directory]
    """By tenant; one for each tenant the plan has free steps for."""
    clock: Clock
    randomness: Randomness
    watch: Watcher = lambda _: None


def apply_plan(
    lock: StateLock, run: RunFolder, plan: Plan, settings: Settings, components: ApplyComponents
) -> ApplyResult:
    """Carry out every step of the plan that no guard holds, each once; go on where an earlier start was interrupted.

    The run is closed when every such step is settled: done, or parked with a reason that the result counts; and when what was
    sent has been read back: confirmed, or contradicted with a reason. Raises
    PlanError before the first write when plan, settings and directory are not of one world or the run is over; DirectoryError
    when the directory refuses us; BusyError when the journal cannot be written; KeyboardInterrupt after a clean stop. After each
    of them the same call goes on.
    """
    lock.require(run.state)
    check_turn(run)
    stops = {tenant: threading.Event() for tenant in components.directories}
    for tenant, directory in components.directories.items():
        # It stays after an error: whoever still waits for a place then hears it.
        directory.governor.stop = stops[tenant]
    digest = plan.digest
    anchor = checked_anchor(settings.state_anchor, run.state, components.clock, components.randomness)
    check_world(plan, settings, components.directories)
    contacts = ContactBook.open(run.contacts, plan.facts.contacts)
    with (
        taken_lease(lock, run, plan, settings, components, rebuilding=False) as lease,
        _open_journal(run, plan, digest, components.clock) as journal,
    ):
        journal.start(lease.number, lease.require)
        if anchor is not None:
            anchor.follow(run, journal)
        reached(KillPoint.JOURNAL_READY)
        run.mark(RunStatus.APPLYING, components.clock, plan_digest=digest)
        reached(KillPoint.APPLYING_MARKED)
        scope = ApplyScope(
            journal=journal,
            steps=plan.steps,
            contacts=contacts,
            settings=settings,
            clock=components.clock,
            randomness=components.randomness,
            watch=components.watch,
            stops=stops,
            begun_by=journal.meta.get("engine", "an earlier version"),
        )
        _count_crashes(journal, settings.apply.crashes)
        tenants = _carried(run, plan, components.directories, scope)
        try:
            _apply_tenants(tenants, scope.stop_all)
        except BaseException:
            # After a second Ctrl-C they may still be committing what would be said otherwise here: that is left as a kill leaves it.
            if not any(tenant.apply.at_work for tenant in tenants):
                _leave_in_order(journal, {step for tenant in tenants for step in tenant.apply.faulty})
            raise
        reached(KillPoint.ALL_SETTLED)
        lease.require()
        _record_lifecycle(run, plan, journal, live=_ours_that_were_live(run))
        reached(KillPoint.LIFECYCLE_RECORDED)
        waiting = _record_handoffs(run, plan, components.clock)
        reached(KillPoint.HANDOFFS_RECORDED)
        run.mark(RunStatus.CLOSED, components.clock, **{handoffs.RECORDED: str(waiting)})
        return count_result(plan.steps, journal)


@contextmanager
def taken_lease(  # noqa: PLR0913 - what an apply is made of, and one switch
    lock: StateLock, run: RunFolder, plan: Plan, settings: Settings, components: ApplyComponents, *, rebuilding: bool
) -> Iterator[Lease]:
    """The next epoch of the state folder, noted in the directory of each tenant with free steps; no write leaves without it.

    Raises BusyError while another host holds the state folder, and PlanError when the directory knows a later epoch; where it is
    one of a run that is `rebuilding`, it is what is made up for.
    """
    unit = settings.lease.unit
    directories = [components.directories[tenant] for tenant in tenants_of(plan)]
    noted = 0
    if unit:
        # In all tenants, and before an epoch is taken: an older copy would catch up with the directory by trying often.
        known, lost = KnownEpochs.of(lock.state), run.run_id if rebuilding else ""
        everywhere = components.directories.values()
        noted = max(
            (refuse_newer_directory(directory, unit, known, rebuilding=lost) for directory in everywhere), default=0
        )
    with Lease(lock, components.clock, components.randomness, after=noted) as lease:
        reached(KillPoint.LEASE_TAKEN)
        for directory in directories:
            directory.governor.may_write = lease.require
        if unit:
            _note(directories, unit, replace(lease.epoch, run=run.run_id), components.clock)
        reached(KillPoint.EPOCH_NOTED)
        yield lease
    # Not after an error: whoever still waits with a write in hand must not find the way open.
    for directory in directories:
        directory.governor.may_write = unfenced


def _note(directories: Sequence[Directory], unit: str, ours: Epoch, clock: Clock) -> None:
    """Write the epoch everywhere, and look a moment later whether a twin that read before has written over it."""
    for directory in directories:
        note_epoch(directory, unit, ours, clock)
    clock.sleep(TWIN_SECONDS)
    for directory in directories:
        refuse_overtaken(directory, unit, ours)


@dataclass(frozen=True)
class _Carried:
    """One tenant's steps on their way: settled, sent, read back."""

    apply: TenantApply
    read_back: ReadBack

    def settle_open(self) -> None:
        """Settle what an earlier start left open."""
        self.apply.settle_open()

    def settle_suspects(self) -> None:
        """Settle what may be the death of the program."""
        self.apply.settle_suspects()

    def send_all(self) -> None:
        """Send what is not settled, then read back what was sent, whatever other tenants still have to send."""
        self.apply.send_all()
        self.read_back.run()

    def go_on(self) -> None:
        """Settle, send and read back, whatever other tenants still have to settle."""
        self.settle_open()
        self.send_all()


def _carried(run: RunFolder, plan: Plan, directories: Mapping[str, Directory], scope: ApplyScope) -> list[_Carried]:
    """The plan's tenants, ready to go."""
    places = Places(run.snapshot, plan.steps)
    carried = []
    for name in tenants_of(plan):
        tenant = TenantApply(name, real_parts(name, directories[name], scope), scope)
        carried.append(_Carried(tenant, ReadBack(name, directories[name], scope, places, tenant.record)))
    return carried


def abandon_run(lock: StateLock, run: RunFolder, plan: Plan, clock: Clock) -> None:
    """Give a run up so that another plan can be made. What it did stays done and is found by the next snapshot.

    A journal that is damaged is passed over: its addresses stay reserved, accounts it made are found by their markers, and
    accounts it suspended stay suspended until a person looks.
    """
    lock.require(run.state)
    if run.journal.exists():
        try:
            opened = Journal.open(run.journal, clock=clock)
        except PlanError as error:
            run.mark(RunStatus.ABANDONED, clock, journal=error.message)
            return
        with opened as journal:
            _record_lifecycle(run, plan, journal)
            _record_handoffs(run, plan, clock)
    run.mark(RunStatus.ABANDONED, clock)


def tenants_of(plan: Plan) -> list[str]:
    """Tenants with steps that no guard holds, in the plan's order."""
    return plan.steps.free_tenants()


def check_turn(run: RunFolder) -> None:
    """Refuse a run that is over, and one that another has overtaken: its plan knows nothing of what that one did."""
    if run.status() in {RunStatus.CLOSED, RunStatus.ABANDONED}:
        raise PlanError(f"run is {run.status()}: {run.run_id}", hint="make a new plan")
    for other in list_runs(run.state):
        if other != run and other.status() is RunStatus.APPLYING:
            raise PlanError(f"another run is unfinished: {other.run_id}", hint="apply it to its end, or abandon it")
        if other.run_id > run.run_id and other.journal.exists():
            raise PlanError(f"a later run has been applied: {other.run_id}", hint="make a new plan")


def check_world(plan: Plan, settings: Settings, directories: Mapping[str, Directory]) -> None:
    """Refuse a plan of another world. The customer id is read from the server: settings can be wrong about it."""
    if plan.endpoint_class != settings.endpoint.kind.value:
        raise PlanError(
            f"plan was made for another endpoint: {plan.endpoint_class}",
            hint="apply it with the settings it was made with",
        )
    for tenant in tenants_of(plan):
        directory = directories.get(tenant)
        if directory is None:
            raise PlanError(
                f"plan has steps for a tenant the settings do not name: {tenant}", hint="add it, or plan again"
            )
        customer_id = directory.customer_id()
        if customer_id != plan.customer_ids.get(tenant):
            raise PlanError(
                f"the directory of tenant {tenant} belongs to another customer than the plan: {customer_id}",
                hint="check the tenant's credentials and customer_id, then plan again",
            )


def _open_journal(run: RunFolder, plan: Plan, digest: str, clock: Clock) -> Journal:
    """The run's journal, made if this is its first start. Raises PlanError when it belongs to another plan.

    The addresses are reserved before there is a journal, so that a journal without its ledger segment is a loss to be noticed.
    """
    if not run.journal.exists():
        if run.status() is RunStatus.APPLYING:
            raise missing_journal(run.journal)
        _reserve(run, plan)
        return Journal.create(run.journal, journal_facts(run, plan, digest), steps=plan.steps.height, clock=clock)
    journal = Journal.open(run.journal, clock=clock)
    if journal.meta.get("plan_digest") != digest:
        journal.close()
        raise PlanError(
            f"journal belongs to another plan: {run.journal}", hint="put the run's own plan back, or abandon it"
        )
    _reserve(run, plan)
    return journal


def journal_facts(run: RunFolder, plan: Plan, digest: str) -> dict[str, str]:
    """What a run's journal says of itself."""
    return {
        "plan_digest": digest,
        "endpoint_class": plan.endpoint_class,
        "run_id": run.run_id,
        "engine": __version__,
    }


def _reserve(run: RunFolder, plan: Plan) -> None:
    reserve_addresses(run, plan.steps.scan(), plan.steps.require_same)
    reached(KillPoint.ADDRESSES_RESERVED)


def _count_crashes(journal: Journal, crashes_max: int) -> None:
    """Count a death of the program against the steps that were under way, and park one that was its likely cause.

    A step taken up alone was under way by itself whatever else is open. The others that were there are cleared by being settled
    alone in their turn (TenantApply.settle_suspects).
    """
    under_way = {step: sendings for step, sendings in journal.open_intents().items() if not sendings.stopped}
    alone = {step: sendings for step, sendings in under_way.items() if sendings.alone}
    counted = alone or under_way
    reason = ALONE_REASON if len(counted) == 1 else ""
    journal.commit([Event(step, one.attempt, EventState.CRASHED, reason=reason) for step, one in counted.items()])
    poison = [
        Event(step, sendings.attempt, EventState.PARKED, reason=ApplyReason.CRASHED)
        for step, sendings in journal.open_intents().items()
        if sendings.crashed_alone and sendings.crashes >= crashes_max
    ]
    journal.commit(poison)


def _leave_in_order(journal: Journal, faulty: set[int]) -> None:
    """Note that what is open was not under way at a death. A journal that cannot be written leaves it to be counted as one."""
    left = [
        Event(step, sendings.attempt, EventState.STOPPED)
        for step, sendings in journal.open_intents().items()
        if step not in faulty
    ]
    with suppress(BusyError):
        journal.commit(left)


def _ours_that_were_live(run: RunFolder) -> pl.Series:
    """Account keys that earlier runs suspended and that this run's snapshot shows live: somebody else lifted it since.

    Without a readable snapshot nobody: the next run's says the same of those that are still live.
    """
    seen = seen_in_snapshot(run.snapshot, lifecycle.suspended_by_us(run.state, before=run)["account_key"])
    accounts = (OBSERVED.to_frame() if seen is None else seen).group_by("account_key").agg(pl.col("suspended").any())
    return accounts.filter(~pl.col("suspended"))["account_key"]


def _record_lifecycle(run: RunFolder, plan: Plan, journal: Journal, live: pl.Series | None = None) -> None:
    """Remember what the run suspended, restored and deleted."""
    steps = plan.steps.pieces(columns=lifecycle.STEP_COLUMNS)
    lifecycle.record_lifecycle(run, steps, journal, on=plan.day, live=live)


def _record_handoffs(run: RunFolder, plan: Plan, clock: Clock) -> int:
    """Open and close hand-offs to the console; returns how many are open."""
    return handoffs.record_handoffs(run, _moves(plan), _seen_of_moves(run, plan), clock.now())


def waiting_so_far(run: RunFolder, plan: Plan, at: datetime) -> pl.DataFrame:
    """Hand-offs (handoffs.OPEN_HANDOFF) that are open by what a run has done so far; it may be under way in another process."""
    return handoffs.handoffs_so_far(run, _moves(plan), _seen_of_moves(run, plan), at)


def _moves(plan: Plan) -> Iterator[pl.DataFrame]:
    return plan.steps.pieces(columns=handoffs.STEP_COLUMNS)


def _seen_of_moves(run: RunFolder, plan: Plan) -> pl.DataFrame | None:
    """What the run's snapshot shows of the accounts of hand-offs."""
    return seen_in_snapshot(run.snapshot, handoffs.handoff_keys(run, _moves(plan)))


def _apply_tenants(tenants: list[_Carried], stop_all: Callable[[], None]) -> None:
    """Settle, send and read back, tenants side by side, each as far as it comes.

    Raises KeyboardInterrupt, or what went wrong once all have come to a clean end.
    """
    try:
        with _interrupts_set(stop_all) as interrupted:
            for phase in _phases(tenants):
                phase([tenant for tenant in tenants if not tenant.apply.errors])
                _raise_errors(tenants, unreachable=False)
                if interrupted.is_set():
                    raise KeyboardInterrupt
        _raise_errors(tenants, unreachable=True)
    finally:
        for tenant in tenants:
            tenant.apply.close()


def _phases(tenants: list[_Carried]) -> list[Callable[[list[_Carried]], None]]:
    """What tenants do side by side. They wait for each other only where there are suspects: one at a time is under way anywhere."""
    if not any(tenant.apply.has_suspects() for tenant in tenants):
        return [partial(_side_by_side, phase=_Carried.go_on)]
    return [
        partial(_side_by_side, phase=_Carried.settle_open),
        _settle_suspects,
        partial(_side_by_side, phase=_Carried.send_all),
    ]


def _settle_suspects(tenants: list[_Carried]) -> None:
    for tenant in tenants:
        _side_by_side([tenant], _Carried.settle_suspects)


def _raise_errors(tenants: list[_Carried], *, unreachable: bool) -> None:
    """Raise the first error that stops all tenants; with `unreachable` then those that stopped one, all in one message."""
    errors = [error for tenant in tenants for error in tenant.apply.errors]
    for error in errors:
        if not isinstance(error, UnreachableError):
            raise error
    if errors and unreachable:
        message = "; ".join(dict.fromkeys(map(str, errors)))
        hints = [error.hint for error in errors if isinstance(error, UnreachableError)]
        raise UnreachableError(message, hint="; ".join(dict.fromkeys([*hints, "the other tenants have gone on"])))


@contextmanager
def _interrupts_set(stop_all: Callable[[], None]) -> Iterator[threading.Event]:
    """Turn the first Ctrl-C or SIGTERM inside the block into a wish to stop; a second one gets through. Yields whether there was one.

    A handler, because an exception may strike anywhere; and in Python 3.11 one that strikes Thread.join marks a running thread as
    ended (github.com/python/cpython/issues/90882).
    """
    interrupted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield interrupted
        return
    previous = {number: signal.getsignal(number) or signal.SIG_DFL for number in (signal.SIGINT, signal.SIGTERM)}

    def put_back() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    def ask_to_stop(_number: int, _frame: FrameType | None) -> None:
        put_back()
        interrupted.set()
        stop_all()

    for number in previous:
        signal.signal(number, ask_to_stop)
    try:
        yield interrupted
    finally:
        put_back()


def _side_by_side(tenants: list[_Carried], phase: Callable[[_Carried], None]) -> None:
    """Run a phase in a thread for each tenant, until all have come to a clean end; what went wrong stands in their `errors`."""
    threads = [
        threading.Thread(target=_guarded, args=(tenant, phase), name=f"apply-{tenant.apply.tenant}", daemon=True)
        for tenant in tenants
    ]
    for tenant, thread in zip(tenants, threads, strict=True):
        tenant.apply.at_work = True
        thread.start()
    for thread in threads:
        thread.join()


def _guarded(tenant: _Carried, phase: Callable[[_Carried], None]) -> None:
    try:
        phase(tenant)
        if tenant.apply.errors:
            tenant.apply.leave_in_order()
    except BaseException as error:
        tenant.apply.fail(error)
    finally:
        tenant.apply.at_work = False
