"""The whole road, top to bottom: `make_plan`, `apply_run`, `verify_run`. Stages do the work; this file says in which order."""

from __future__ import annotations

import hashlib
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Protocol

import orjson
import polars as pl

from belajarid_recon import __version__
from belajarid_recon.apply.forecast import Forecast, forecast
from belajarid_recon.apply.rebuild import rebuild_journal
from belajarid_recon.apply.result import ApplyResult, Progress
from belajarid_recon.apply.run import ApplyComponents, apply_plan, waiting_so_far
from belajarid_recon.apply.run import abandon_run as give_up
from belajarid_recon.components import Clock, Randomness, ScaledClock, SystemRandomness
from belajarid_recon.desired.groups import possible_groups
from belajarid_recon.directory.connect import connect
from belajarid_recon.directory.epochs import refuse_newer_directory
from belajarid_recon.directory.google import GoogleDirectory
from belajarid_recon.directory.reading import Reading, open_reading, remove_reading
from belajarid_recon.directory.snapshot import (
    LISTS_AT_ONCE,
    SnapshotFacts,
    SnapshotRequest,
    address_files,
    adopt_snapshot,
    orgunits,
    read_deleted,
    read_facts,
    read_groups_of,
    read_strangers,
    seen_in_snapshot,
    take_snapshots,
)
from belajarid_recon.engines import open_engine
from belajarid_recon.errors import InputError, PlanError, SettingsError
from belajarid_recon.partitions import (
    SCHOOLS_FILE,
    PartLoop,
    ReconcileRules,
    Register,
    Watch,
    quiet,
    reconcile_parts,
    remove_contacts,
    write_records,
)
from belajarid_recon.plan.build import PlanContext, build_plan
from belajarid_recon.plan.contacts import contacts_digest, contacts_salt, step_contacts, write_contacts
from belajarid_recon.plan.definition import Plan, frame_digest
from belajarid_recon.plan.file import FACTS_FILE as FACTS_OF_PLAN
from belajarid_recon.plan.file import read_date, read_plan, write_plan
from belajarid_recon.plan.groups import ROLE_GROUP, known_groups, stranger_tallies
from belajarid_recon.plan.remembered import remember, restorable
from belajarid_recon.reconcile import NO_CONTACT, PartChanges
from belajarid_recon.regulations import load_regulations
from belajarid_recon.schemas import GROUP, OBSERVED_GROUP, Action, Jenjang, NoStep
from belajarid_recon.secrets import Secret, load_key
from belajarid_recon.settings import EndpointClass, Settings
from belajarid_recon.sources.extract import open_extract
from belajarid_recon.state.anchor import checked_anchor
from belajarid_recon.state.atomic import write_atomically
from belajarid_recon.state.backup import Backup, BackupRequest, back_up
from belajarid_recon.state.folders import (
    READING_FOLDER,
    RunFolder,
    RunStatus,
    latest_run,
    list_runs,
    new_run,
    open_run,
    unfinished_run,
)
from belajarid_recon.state.handoffs import closed_by, open_handoffs
from belajarid_recon.state.keyprints import check_keys
from belajarid_recon.state.lease import KnownEpochs
from belajarid_recon.state.ledger import ledger_digest, ledger_files
from belajarid_recon.state.lock import StateLock
from belajarid_recon.state.restore import Restored, RestoreRequest, restore

__all__ = [
    "ApplyFollower",
    "PlanRequest",
    "PlannedRun",
    "Reading",
    "Verification",
    "abandon_run",
    "apply_run",
    "back_up_state",
    "latest",
    "make_plan",
    "plan_from_snapshot",
    "read_plan",
    "rebuild_run",
    "restore_state",
    "verify_run",
    "waiting_for_console",
]


@dataclass(frozen=True)
class PlanRequest:
    """What a plan is made from, beside settings and directory."""

    extract: Path
    date: date
    regulation: str | None = None


@dataclass(frozen=True)
class Components:
    """Behaviour handed in."""

    clock: Clock
    randomness: Randomness = field(default_factory=SystemRandomness)

    @classmethod
    def of(cls, settings: Settings) -> Components:
        """The machine's own, at the endpoint's time scale."""
        return cls(clock=ScaledClock(settings.endpoint.time_scale))


@dataclass(frozen=True)
class Keys:
    """Keys of a run."""

    marker: Secret
    naming: Secret

    @classmethod
    def of(cls, settings: Settings) -> Keys:
        """Read from the files the settings name, or from the environment."""
        return cls(
            marker=load_key(settings.keys.marker_file, environment="RECON_MARKER_KEY", what="marker key"),
            naming=load_key(settings.keys.naming_file, environment="RECON_NAMING_KEY", what="naming key"),
        )


@dataclass(frozen=True)
class PlannedRun:
    """A plan, the run folder it is in, and how many rows of each table were read, accepted and quarantined."""

    folder: RunFolder
    plan: Plan
    counts: dict[str, dict[str, int]]

    @property
    def rows_read(self) -> int:
        """Rows of all tables."""
        return sum(count["read"] for count in self.counts.values())

    @property
    def rows_quarantined(self) -> int:
        """Rows set aside, of all tables."""
        return sum(count["quarantined"] for count in self.counts.values())


@dataclass(frozen=True)
class Verification:
    """What a second reading of the directory says."""

    unchanged: int
    """Accounts that agree."""
    differences: int
    """Steps a new plan would have beside the held ones."""
    held: int
    """Steps of the run's plan that still wait for a person."""
    doubtful: dict[str, int]
    """Reason code to number of people whose accounts only a person can put in order."""
    joining: int = 0
    """Steps of the next plan for accounts that this run made: they join their groups then."""

    @property
    def remaining(self) -> int:
        """What keeps the directory from being converged."""
        return self.differences + self.held + sum(self.doubtful.values())


DOUBTFUL = (NoStep.MARKER_ON_TWO_ACCOUNTS, NoStep.ADDRESS_OURS_WITHOUT_MARKER, NoStep.NO_USER_ID_FREE)
"""Reasons that only a person can mend."""


def _say_nothing(reading: Reading) -> None:
    """Tell nobody that a reading goes on."""
    del reading


def make_plan(
    settings: Settings, request: PlanRequest, *, watch: Watch = quiet, goes_on: Callable[[Reading], None] = _say_nothing
) -> PlannedRun:
    """Read the register and the directory and write a plan into a new run folder. The directory is only read.

    A reading of the directory that was stopped goes on where it was (`goes_on` is told of it), and stays until the plan is written.
    Everything that can be refused is looked at before the run folder is made. Raises ReconError kinds by what is to be
    mended: input, settings, directory, or an earlier run that is not finished.
    """
    components = Components.of(settings)
    with StateLock(settings.state, purpose="plan"):
        register = opened_register(settings, request)
        directories = connect(settings, components.clock, components.randomness)
        _check_customers(settings, directories)
        _refuse_newer_directories(settings, directories)

        reading = _opened_reading(settings, components.clock, "plan", goes_on)
        reader = _Reader(settings, components, directories, watch, reading)
        planned = _planned(settings, components, register, lambda run: reader.take(run, run.snapshot), watch)
        remove_reading(reading.folder)
        return planned


def _opened_reading(settings: Settings, clock: Clock, purpose: str, goes_on: Callable[[Reading], None]) -> Reading:
    """The reading of the directory that an earlier start of the same purpose was stopped in, or a new one."""
    request = {
        "version": __version__,
        "endpoint": [settings.endpoint.kind, settings.endpoint.url],
        "tenants": {
            tenant.value: [account.customer_id, account.subject, str(account.credentials_file)]
            for tenant, account in settings.tenants.items()
        },
        # What was read before a run sent anything is no reading of the directory as it is.
        "applied": [run.run_id for run in list_runs(settings.state) if run.journal.exists()],
    }
    age_max = timedelta(hours=settings.reading.hours_max)
    reading = open_reading(settings.state / READING_FOLDER / purpose, request, clock, age_max=age_max)
    if reading.accounts:
        goes_on(reading)
    return reading


def plan_from_snapshot(settings: Settings, request: PlanRequest, snapshot: Path, *, watch: Watch = quiet) -> PlannedRun:
    """Plan as `make_plan` does, from a snapshot sealed before, without reaching a server.

    Its parts must be those of the settings and its customers those of the tenants; else SettingsError. What has changed in
    the directory since it was sealed is not known: apply reads every account before it changes it, and creates without a look.
    """
    components = Components.of(settings)
    with StateLock(settings.state, purpose="plan"):
        register = opened_register(settings, request)
        sealed = read_facts(snapshot)
        _check_sealed(settings, sealed)
        return _planned(settings, components, register, lambda run: adopt_snapshot(snapshot, run.snapshot), watch)


def _check_sealed(settings: Settings, sealed: SnapshotFacts) -> None:
    """Refuse a snapshot of other customers, without one of the tenants, or cut otherwise."""
    if sealed.parts != settings.run.parts:
        raise SettingsError(
            f"the snapshot is cut into other parts than the settings say: {sealed.parts} and {settings.run.parts}",
            hint=f"set run.parts = {sealed.parts}",
        )
    for tenant, account in settings.tenants.items():
        if sealed.tenants.get(tenant, {}).get("customer_id") != account.customer_id:
            raise SettingsError(
                f"the snapshot is of another customer than the settings say: tenants.{tenant}",
                hint="take a snapshot with these settings",
            )


def opened_register(settings: Settings, request: PlanRequest) -> Register:
    """Everything that can be refused before a run folder is made, and the checked extract."""
    components = Components.of(settings)
    checked_anchor(settings.state_anchor, settings.state, components.clock, components.randomness)
    _refuse_unfinished(settings.state)
    _remove_leftovers(settings.state)
    _refuse_earlier(settings.state, request.date)
    regulation = load_regulations(settings.regulations, request.date, request.regulation)
    keys = Keys.of(settings)
    kinds = tuple(sorted({rule.kind for rule in settings.groups}))
    extract = open_extract(request.extract, threads=settings.run.threads)
    return Register(extract, request.date, regulation, settings.recovery, keys.marker, kinds)


def desired_parts(settings: Settings, register: Register, folder: Path) -> Iterator[pl.DataFrame]:
    """Desired accounts (schemas.DESIRED) of every part, by way of records in `folder`: what a plan compares, for tools."""
    with open_engine(settings.run) as engine:
        loop = PartLoop(folder, settings.run.parts, settings.run.threads, engine=engine)
        write_records(loop, register)
    for path in loop.files("desired"):
        yield pl.read_parquet(path)


def _planned(
    settings: Settings, components: Components, register: Register, snapshot: Callable[[RunFolder], None], watch: Watch
) -> PlannedRun:
    """A new run: records, then the snapshot that `snapshot` puts into its folder, then the plan."""
    run = new_run(settings.state, components.clock, components.randomness)
    try:
        with open_engine(settings.run) as engine:
            loop = PartLoop(run.records, settings.run.parts, settings.run.threads, watch, engine)
            counts = _write_records(loop, run, register)
            snapshot(run)
            plan, no_contact = _plan(settings, run, run.snapshot, loop)
        no_contact.write_parquet(run.no_contact)
        plan = _with_contacts(plan, run, loop, contacts_salt(register.marker_key, plan.facts.date))
        write_plan(run.plan, plan)
    except BaseException:
        # A run without a plan is of no use, and it holds personal numbers.
        shutil.rmtree(run.path, ignore_errors=True)
        raise
    return PlannedRun(run, plan, counts)


def _with_contacts(plan: Plan, run: RunFolder, loop: PartLoop, salt: bytes) -> Plan:
    """The plan with the digest of the recovery contacts its steps write, which go to the run's own file; all others are removed."""
    contacts = step_contacts(plan.steps, loop.files("contacts"))
    remove_contacts(loop)
    if contacts.is_empty():
        return plan
    write_contacts(run.contacts, contacts, salt)
    return replace(plan, facts=replace(plan.facts, contacts=contacts_digest([contacts], salt)))


def _write_records(loop: PartLoop, run: RunFolder, register: Register) -> dict[str, dict[str, int]]:
    """Write records, quarantine and what a plan needs to know of them; returns the row counts."""
    records = write_records(loop, register)
    records.quarantine.write_parquet(run.quarantine)
    made_from = {
        "date": register.day.isoformat(),
        "regulation": register.regulation.id,
        "recovery": register.recovery.model_dump(),
        "regulation_digest": hashlib.sha256(register.regulation.model_dump_json().encode()).hexdigest(),
        "parts": loop.parts,
        "counts": records.counts,
        "people": records.people,
        "findings": records.findings,
        "kabkota_names": records.kabkota_names,
        "group_kinds": register.group_kinds,
        "extract": {"files": register.extract.digests, "rows": register.extract.rows},
    }
    write_atomically(run.records / FACTS_FILE, orjson.dumps(made_from, option=orjson.OPT_INDENT_2))
    return records.counts


FACTS_FILE = "facts.json"
"""In a run's records: what a plan needs to know of them beside their tables."""


class ApplyFollower(Protocol):
    """Who is told how an apply goes."""

    def started(self, run_id: str, plan: Plan) -> None:
        """The run was chosen and nothing is sent yet."""
        ...

    def progressed(self, progress: Progress) -> None:
        """One tenant has come on. Called from several threads: it must be quick."""
        ...


def apply_run(settings: Settings, run_id: str | None = None, *, follower: ApplyFollower | None = None) -> ApplyResult:
    """Carry out a run's plan, or go on with it. `run_id` absent: the unfinished run, else the latest.

    Raises PlanError when the plan is damaged or for another world, and for a real endpoint: its plans need an approval,
    which cannot be given yet.
    """
    if settings.endpoint.kind is EndpointClass.GOOGLE:
        raise PlanError(
            "a plan for a real endpoint needs an approval, and this version cannot take one",
            hint='apply towards the emulator: [endpoint] class = "emulator"',
        )
    components = Components.of(settings)
    with StateLock(settings.state, purpose="apply") as lock:
        run = _taken(lock, run_id)
        plan = read_plan(run.plan)
        handed_in = _handed_in(settings, components)
        # From here on the directory is another one than was read.
        remove_reading(settings.state / READING_FOLDER)
        if follower is not None:
            follower.started(run.run_id, plan)
            handed_in = replace(handed_in, watch=follower.progressed)
        return apply_plan(lock, run, plan, settings, handed_in)


def forecast_run(
    settings: Settings, run_id: str | None = None, *, latency_seconds: float
) -> tuple[RunFolder, Forecast]:
    """How long a run's plan will take as if nothing of it was sent yet. Sends nothing and takes no lock.

    `run_id` absent: the unfinished run, else the latest. Raises PlanError when the plan is damaged.
    """
    run = _chosen(settings.state, run_id)
    return run, forecast(read_plan(run.plan).steps, settings, latency_seconds=latency_seconds)


def rebuild_run(settings: Settings, run_id: str | None = None) -> tuple[RunFolder, dict[str, int]]:
    """Make the journal of a run that was begun anew from the directory. Returns the run and counts of steps by how they stand."""
    components = Components.of(settings)
    with StateLock(settings.state, purpose="rebuild") as lock:
        run = _taken(lock, run_id)
        handed_in = _handed_in(settings, components)
        return run, rebuild_journal(lock, run, read_plan(run.plan), settings, handed_in)


def _handed_in(settings: Settings, components: Components) -> ApplyComponents:
    directories = connect(settings, components.clock, components.randomness)
    return ApplyComponents(
        directories={tenant.value: directory for tenant, directory in directories.items()},
        clock=components.clock,
        randomness=components.randomness,
    )


def verify_run(
    settings: Settings,
    run_id: str | None = None,
    *,
    watch: Watch = quiet,
    goes_on: Callable[[Reading], None] = _say_nothing,
) -> Verification:
    """Read the directory again and plan again from the run's records; write what still differs to `verify.json`.

    A verification's own reading that was stopped goes on, never one that was begun for a plan or before an apply.
    """
    components = Components.of(settings)
    with StateLock(settings.state, purpose="verify") as lock:
        run = _taken(lock, run_id)
        made = read_plan(run.plan)
        folder = run.path / "verify-snapshot"
        shutil.rmtree(folder, ignore_errors=True)
        directories = connect(settings, components.clock, components.randomness)
        reading = _opened_reading(settings, components.clock, "verify", goes_on)
        try:
            _Reader(settings, components, directories, watch, reading).take(run, folder)
            with open_engine(settings.run) as engine:
                loop = PartLoop(run.records, _made_from(run)["parts"], settings.run.threads, watch, engine)
                again, _ = _plan(settings, run, folder, loop)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        result = _compare_plans(made, again)
        document = {**vars(result), "counts": again.facts.counts, "reasons": again.facts.reasons}
        write_atomically(run.verify, orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))
        remove_reading(reading.folder)
        return result


def abandon_run(settings: Settings, run_id: str | None = None) -> RunFolder:
    """Give up a run that was begun. What it did stays done and the next snapshot finds it; its addresses stay reserved."""
    components = Components.of(settings)
    with StateLock(settings.state, purpose="abandon") as lock:
        run = _taken(lock, run_id)
        try:
            plan = read_plan(run.plan)
        except PlanError as error:  # what cannot be read cannot be applied, and must not block the next plan
            run.mark(RunStatus.ABANDONED, components.clock, plan=error.message)
            return run
        give_up(lock, run, plan, components.clock)
        return run


def waiting_for_console(settings: Settings) -> pl.DataFrame:
    """Hand-offs (handoffs.OPEN_HANDOFF) whose role nobody has seen yet, in the newest readable snapshot either. Reads no directory.

    Those of a run that is under way count from when their steps were done. Takes no lock.
    """
    running = unfinished_run(settings.state)
    if running is not None and running.journal.exists():
        waiting = waiting_so_far(running, read_plan(running.plan), ScaledClock().now())
    else:
        waiting = open_handoffs(settings.state)
    for run in reversed(list_runs(settings.state)):
        # A snapshot is older than what its own run did.
        earlier = waiting.filter(pl.col("run") < run.run_id)
        seen = seen_in_snapshot(run.snapshot, earlier["account_key"])
        if seen is not None:
            closed = closed_by(earlier, seen, ScaledClock().now())
            return waiting.join(closed, on="account_key", how="anti", maintain_order="left")
    return waiting


def back_up_state(settings: Settings, out: Path, *, watch: Watch = quiet) -> Backup:
    """Seal the state folder, the marker key and the naming key into one file for the settings' recipients."""
    if settings.backup is None:
        raise SettingsError("nobody is named to seal a backup to: [backup]", hint="see docs/settings.md, recipients")
    if not settings.state.is_dir():
        raise SettingsError(f"no state folder: {settings.state}", hint="check state in the settings")
    components, keys = Components.of(settings), vars(Keys.of(settings))
    with StateLock(settings.state, purpose="state backup") as lock:
        _remove_leftovers(settings.state)
        checked_anchor(settings.state_anchor, settings.state, components.clock, components.randomness)
        prints = check_keys(settings.state, keys)
        request = BackupRequest(settings.state, out, settings.backup.recipients, keys, prints)
        return back_up(lock, request, components.clock, watch)


def restore_state(
    settings: Settings, backup: Path, *, identity: Path, keys: Path | None = None, watch: Watch = quiet
) -> tuple[Restored, PlanError | None]:
    """Make a backup the state folder, its keys into the folder `keys` if one is named.

    Returns beside it why plan and apply will refuse it, where the settings' anchor says that it is older than what was there.
    """
    if settings.state_anchor is not None and not settings.state_anchor.is_dir():
        raise SettingsError(
            f"no such folder for the anchor: {settings.state_anchor}", hint="mount it, so that the backup's age is seen"
        )
    restored = restore(RestoreRequest(backup, identity, settings.state, keys), watch)
    components = Components.of(settings)
    try:
        with StateLock(settings.state, purpose="state restore"):
            checked_anchor(settings.state_anchor, settings.state, components.clock, components.randomness)
    except PlanError as error:
        return restored, error
    return restored, None


def latest(settings: Settings) -> RunFolder:
    """The newest run of the state folder. Raises PlanError when there is none."""
    run = latest_run(settings.state)
    if run is None:
        raise PlanError(f"no run yet: {settings.state}", hint="make one with: belajarid-recon plan")
    return run


def _taken(lock: StateLock, run_id: str | None) -> RunFolder:
    """The run chosen, for whoever holds the state folder, without what plans left that were killed."""
    _remove_leftovers(lock.state)
    return _chosen(lock.state, run_id)


def _chosen(state: Path, run_id: str | None) -> RunFolder:
    """The run named, else the unfinished one, else the latest. Changes nothing: a plan may be in the making."""
    run = open_run(state, run_id) if run_id else unfinished_run(state) or latest_run(state)
    if run is None:
        raise PlanError(f"no run yet: {state}", hint="make one with: belajarid-recon plan")
    return run


def _refuse_unfinished(state: Path) -> None:
    run = unfinished_run(state)
    if run is not None:
        raise PlanError(
            f"an earlier run is not finished: {run.run_id}",
            hint=f"finish it with: belajarid-recon apply, or give it up with: belajarid-recon abandon --run {run.run_id}",
        )


def _remove_leftovers(state: Path) -> None:
    """Remove what holds personal numbers and is of no use.

    That is runs that were killed before their plan was written, and recovery contacts of runs that are over or overtaken.
    """
    overtaken = False
    for run in reversed(list_runs(state)):
        status = run.status()
        if status is RunStatus.PLANNED and not (run.plan / FACTS_OF_PLAN).exists():
            shutil.rmtree(run.path)
        elif status is not RunStatus.APPLYING and (overtaken or status is not RunStatus.PLANNED):
            run.contacts.unlink(missing_ok=True)
        overtaken = overtaken or run.journal.exists()


def _refuse_earlier(state: Path, day: date) -> None:
    """Refuse a date before that of a run that was applied: an old extract would undo what has happened since."""
    for run in reversed(list_runs(state)):
        if run.status() is RunStatus.CLOSED:
            applied = read_date(run.plan)
            if day < applied:
                raise InputError(
                    f"a later week was applied already, that of {applied}: {day}",
                    hint="use this week's extract and date; an older one would undo what has happened since",
                )
            return


def _check_customers(settings: Settings, directories: Mapping[Jenjang, GoogleDirectory]) -> None:
    """Ask each server whose credentials these are; another customer than the settings' refuses the run."""
    for tenant, directory in directories.items():
        answered = directory.customer_id()
        if answered != settings.tenants[tenant].customer_id:
            raise SettingsError(
                f"the server knows these credentials as another customer than the settings: tenants.{tenant}",
                hint="put the tenant's own credentials_file and customer_id together",
            )


def _refuse_newer_directories(settings: Settings, directories: Mapping[Jenjang, GoogleDirectory]) -> None:
    """Refuse a state folder that lacks what a later one has applied: it would give addresses of others a second time."""
    if settings.lease.unit:
        known = KnownEpochs.of(settings.state)
        for directory in directories.values():
            refuse_newer_directory(directory, settings.lease.unit, known)


GROUP_LISTS_AT_ONCE = 6
"""Lists under way for each tenant whose groups are read: calls of 0.15 s then use up the documented 2,400 a minute."""


@dataclass(frozen=True)
class _Reader:
    """Reads all tenants."""

    settings: Settings
    components: Components
    directories: Mapping[Jenjang, GoogleDirectory]
    watch: Watch
    reading: Reading

    def take(self, run: RunFolder, folder: Path) -> None:
        """Read every tenant, and the members of the groups that the run's records name, and seal what was read into `folder`."""
        asked = _asked_groups(self.settings, run)
        markers = {
            Jenjang(tenant): frozenset(asked.filter(pl.col("tenant") == tenant)["marker"])
            for tenant in asked["tenant"].unique()
        }
        request = SnapshotRequest(
            folder=folder,
            customer_ids={tenant: account.customer_id for tenant, account in self.settings.tenants.items()},
            parts=self.settings.run.parts,
            threads=self.settings.run.threads,
            clock=self.components.clock,
            lists_at_once=LISTS_AT_ONCE + GROUP_LISTS_AT_ONCE * len(markers),
            group_markers=markers,
            report=self._report("accounts read"),
            report_groups=self._report("groups read"),
            reading=self.reading,
        )
        take_snapshots(self.directories, request)

    def _report(self, label: str) -> Callable[[str, int], None]:
        """Tells the watch what was read of all tenants together."""
        seen = Counter[str]()
        guard = threading.Lock()

        def report(tenant: str, number: int) -> None:
            with guard:
                seen[tenant] += number
                self.watch(label, seen.total(), 0)

        return report


def _plan(settings: Settings, run: RunFolder, snapshot: Path, loop: PartLoop) -> tuple[Plan, pl.DataFrame]:
    """Compare a run's desired accounts with a snapshot and make a plan of the differences, without the values of contacts.

    With it comes reconcile.NO_CONTACT of all parts, sorted.
    """
    made_from = _made_from(run)
    ledger = ledger_files(settings.state)
    sealed = read_facts(snapshot)
    if sealed.parts != loop.parts:
        raise PlanError(
            f"snapshot and records are cut differently: {sealed.parts} parts and {loop.parts}",
            hint=f"set run.parts = {loop.parts}, as when the plan was made, or plan again",
        )
    keys = Keys.of(settings)
    prints = check_keys(settings.state, {"marker": keys.marker, "naming": keys.naming})
    addresses = [*address_files(snapshot), *ledger]
    remembered = remember(settings, date.fromisoformat(made_from["date"]), addresses, sealed.tenants)
    units = {tenant.value: orgunits(snapshot, tenant.value) for tenant in settings.tenants}
    seed = int.from_bytes(SystemRandomness().bytes(8), "little")
    groups, group_tallies = _observed_groups(_asked_groups(settings, run), snapshot, sealed)
    changes = reconcile_parts(loop, snapshot, ReconcileRules(units, remembered, seed, groups))
    loop.watch("plan", 0, 1)
    _refuse_strangers(changes)
    _refuse_foreign_domains(changes, sealed)
    context = PlanContext(
        endpoint_class=settings.endpoint.kind.value,
        customer_ids={tenant.value: account.customer_id for tenant, account in sorted(settings.tenants.items())},
        date=made_from["date"],
        regulation=made_from["regulation"],
        addresses=addresses,
        aliases_asked=remembered.aliases.height,
        deleted=restorable(settings.state, read_deleted(snapshot)),
        orgunits=units,
        kabkota_names=made_from["kabkota_names"],
        guards=settings.guards,
        naming_key=keys.naming,
        threads=settings.run.threads,
        people=made_from["people"],
        group_tallies=group_tallies,
    )
    inputs = {
        "extract": made_from["extract"],
        "regulation": made_from["regulation_digest"],
        "snapshot": sealed.digest,
        "ledger": ledger_digest(ledger),
        "suspended_by_us": frame_digest(remembered.suspended_by_us.to_frame()),
        "notices": frame_digest(remembered.notices),
        "aliases": frame_digest(remembered.aliases),
        "guards": settings.guards.model_dump(),
        "groups": [rule.model_dump(mode="json") for rule in settings.groups],
        "recovery": made_from["recovery"],
        "key_prints": prints,
    }
    no_contact = pl.concat([NO_CONTACT.to_frame(), *(part.no_contact for part in changes)])
    by_school = no_contact.group_by("tenant", "npsn", "reason").agg(pl.col("accounts").sum())
    return build_plan(changes, context, inputs), by_school.sort("tenant", "npsn", "reason")


def _asked_groups(settings: Settings, run: RunFolder) -> pl.DataFrame:
    """The groups (schemas.GROUP) that the settings may ask for, by the schools in the run's records.

    Raises PlanError when the records were made with settings that ask for fewer kinds.
    """
    if not settings.groups:
        return GROUP.to_frame()
    made_from = _made_from(run)
    lacking = sorted({rule.kind.value for rule in settings.groups} - set(made_from.get("group_kinds", ())))
    if lacking:
        raise PlanError(
            f"the run's records say nothing of groups that the settings ask for: {', '.join(lacking)}",
            hint="plan again; the settings were changed after the run was made",
        )
    rules = {
        tenant.value: [rule for rule in settings.groups if tenant in settings.jenjang_of(rule)]
        for tenant in settings.tenants
    }
    schools = pl.read_parquet(run.records / SCHOOLS_FILE)
    return possible_groups(rules, schools, made_from["kabkota_names"], Keys.of(settings).marker)


def _observed_groups(asked: pl.DataFrame, snapshot: Path, sealed: SnapshotFacts) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The groups asked for (schemas.GROUP) as the snapshot knows them, and what it holds beside them (plan.groups).

    Raises PlanError for a snapshot without groups of a tenant, or a tenant without a domain its groups need.
    """
    wanted = asked.select("tenant", domain=pl.col("address").str.split("@").list.last()).unique()
    _refuse_domains_not_there(wanted, sealed, "groups")
    observed, role_groups = [OBSERVED_GROUP.to_frame()], [ROLE_GROUP.to_frame()]
    for tenant in wanted["tenant"].unique().sort():
        groups, with_role = read_groups_of(snapshot, tenant), sealed.tenants[tenant].get("role_groups")
        if groups is None or with_role is None:
            raise PlanError(
                f"the snapshot does not hold the groups that the settings ask for, or not their roles: tenant {tenant}",
                hint="take it again with these settings",
            )
        observed.append(groups)
        role_groups.append(pl.DataFrame({"tenant": tenant, "id": with_role}, schema=ROLE_GROUP))
    groups, tallies = known_groups(asked, pl.concat(observed), pl.concat(role_groups))
    return groups, pl.concat([tallies, stranger_tallies(read_strangers(snapshot), groups)])


STRANGERS_MIN = 20
LINKED_SHARE_MIN = 0.1


def _refuse_strangers(changes: list[PartChanges]) -> None:
    """Refuse a world in which nearly none of the accounts that carry a marker belong to anybody in the register.

    It means a wrong marker key or a wrong extract, and everybody would get a second account.
    """
    bases = pl.concat([part.bases for part in changes])
    marked = int(bases["accounts"].sum())
    linked = int(bases.drop_nulls("kode_kabkota")["accounts"].sum())
    if marked >= STRANGERS_MIN and linked < LINKED_SHARE_MIN * marked:
        raise PlanError(
            f"of the accounts with a marker nearly none belong to anybody in the register: {linked} of {marked}",
            hint="check the marker key and the extract; nothing was changed",
        )


def _refuse_foreign_domains(changes: list[PartChanges], sealed: SnapshotFacts) -> None:
    """Refuse accounts in domains their tenant does not have: settings that swap two tenants look like this."""
    wanted = pl.concat([part.proposals.select("tenant", "domain").unique() for part in changes]).drop_nulls().unique()
    _refuse_domains_not_there(wanted, sealed, "accounts")


def _refuse_domains_not_there(wanted: pl.DataFrame, sealed: SnapshotFacts, whose: str) -> None:
    for tenant, domain in wanted.sort("tenant", "domain").iter_rows():
        if domain not in sealed.tenants[tenant]["domains"]:
            raise PlanError(
                f"tenant {tenant} does not have a domain its {whose} need: {domain}",
                hint="put each tenant's own credentials_file and customer_id together, or add the domain in its console",
            )


def _made_from(run: RunFolder) -> dict[str, Any]:
    path = run.records / FACTS_FILE
    try:
        document: dict[str, Any] = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise PlanError(f"the run's records are gone or damaged: {path}", hint="plan again") from error
    return document


def _compare_plans(made: Plan, again: Plan) -> Verification:
    """What a new plan asks for, split into what the old one held, who joins groups with the next plan, and everything else."""
    waiting = made.steps.scan().filter(pl.col("held_by").is_not_null()).select("account_key", "action")
    held = again.steps.scan().join(waiting, on=["account_key", "action"], how="semi").select(pl.len()).collect().item()
    joining = _joining(made.steps.scan(), again.steps.scan())
    doubtful = {
        reason.value: count
        for reason in DOUBTFUL
        if (count := sum(reasons.get(reason, 0) for reasons in again.facts.reasons.values()))
    }
    differences = again.steps.height - held - joining
    return Verification(again.count("no-op"), differences, held, doubtful, joining)


_MAKES_LIVE = (Action.CREATE, Action.RESTORE, Action.UNDELETE)


def _joining(made: pl.LazyFrame, again: pl.LazyFrame) -> int:
    """Steps of a new plan that could not stand in the old one: members whose accounts it made, and groups that only they need."""
    live = made.filter(pl.col("action").is_in(list(_MAKES_LIVE))).select("account_key")
    additions = again.filter(pl.col("action") == Action.ADD_MEMBER)
    due = additions.join(live, on="account_key", how="anti")
    soon = additions.join(live, on="account_key", how="semi")
    groups = again.filter(pl.col("action") == Action.CREATE_GROUP).join(due, on=["tenant", "marker"], how="anti")
    return sum(rows.height for rows in pl.collect_all([soon.select("step"), groups.select("step")]))
