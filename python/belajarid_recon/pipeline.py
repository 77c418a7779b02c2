"""The whole road, top to bottom: `make_plan`, `apply_run`, `verify_run`. Stages do the work; this file says in which order."""

from __future__ import annotations

import hashlib
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import orjson
import polars as pl

from belajarid_recon.apply.rebuild import rebuild_journal
from belajarid_recon.apply.result import ApplyResult, Progress
from belajarid_recon.apply.run import ApplyComponents, apply_plan
from belajarid_recon.apply.run import abandon_run as give_up
from belajarid_recon.components import Clock, Randomness, ScaledClock, SystemRandomness
from belajarid_recon.directory.connect import connect
from belajarid_recon.directory.google import GoogleDirectory
from belajarid_recon.directory.snapshot import (
    SnapshotFacts,
    SnapshotRequest,
    address_files,
    adopt_snapshot,
    orgunits,
    read_facts,
    take_snapshots,
)
from belajarid_recon.engines import open_engine
from belajarid_recon.errors import InputError, PlanError, SettingsError
from belajarid_recon.partitions import PartLoop, ReconcileRules, Watch, quiet, reconcile_parts, write_records
from belajarid_recon.plan.build import PlanContext, build_plan
from belajarid_recon.plan.definition import Plan, frame_digest
from belajarid_recon.plan.file import FACTS_FILE as FACTS_OF_PLAN
from belajarid_recon.plan.file import read_plan, write_plan
from belajarid_recon.reconcile import PartChanges
from belajarid_recon.regulations import Regulation, load_regulations
from belajarid_recon.schemas import Jenjang, NoStep
from belajarid_recon.secrets import Secret, load_key
from belajarid_recon.settings import EndpointClass, Settings
from belajarid_recon.sources.extract import Extract, open_extract
from belajarid_recon.state.anchor import checked_anchor
from belajarid_recon.state.atomic import write_atomically
from belajarid_recon.state.folders import RunFolder, RunStatus, latest_run, list_runs, new_run, open_run, unfinished_run
from belajarid_recon.state.keyprints import check_keys
from belajarid_recon.state.ledger import ledger_digest, ledger_files
from belajarid_recon.state.lifecycle import suspended_by_us
from belajarid_recon.state.lock import StateLock

__all__ = [
    "PlanRequest",
    "PlannedRun",
    "Verification",
    "abandon_run",
    "apply_run",
    "latest",
    "make_plan",
    "plan_from_snapshot",
    "read_plan",
    "rebuild_run",
    "verify_run",
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

    @property
    def remaining(self) -> int:
        """What keeps the directory from being converged."""
        return self.differences + self.held + sum(self.doubtful.values())


DOUBTFUL = (NoStep.MARKER_ON_TWO_ACCOUNTS, NoStep.ADDRESS_OURS_WITHOUT_MARKER, NoStep.NO_USER_ID_FREE)
"""Reasons that only a person can mend."""


@dataclass(frozen=True)
class Register:
    """A checked extract and the rules it is read by."""

    extract: Extract
    day: date
    regulation: Regulation
    marker_key: Secret


def make_plan(settings: Settings, request: PlanRequest, *, watch: Watch = quiet) -> PlannedRun:
    """Read the register and the directory and write a plan into a new run folder. The directory is only read.

    Everything that can be refused is looked at before the run folder is made. Raises ReconError kinds by what is to be
    mended: input, settings, directory, or an earlier run that is not finished.
    """
    components = Components.of(settings)
    with StateLock(settings.state, purpose="plan"):
        register = opened_register(settings, request)
        directories = connect(settings, components.clock, components.randomness)
        _check_customers(settings, directories)

        def take(folder: Path) -> None:
            _snapshot(settings, components, directories, folder, watch)

        return _planned(settings, components, register, take, watch)


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
        return _planned(settings, components, register, lambda folder: adopt_snapshot(snapshot, folder), watch)


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
    _remove_half_made(settings.state)
    _refuse_earlier(settings.state, request.date)
    regulation = load_regulations(settings.regulations, request.date, request.regulation)
    keys = Keys.of(settings)
    return Register(open_extract(request.extract, threads=settings.run.threads), request.date, regulation, keys.marker)


def desired_parts(settings: Settings, register: Register, folder: Path) -> Iterator[pl.DataFrame]:
    """Desired accounts (schemas.DESIRED) of every part, by way of records in `folder`: what a plan compares, for tools."""
    with open_engine(settings.run) as engine:
        loop = PartLoop(folder, settings.run.parts, settings.run.threads, engine=engine)
        write_records(loop, register.extract, register.day, register.regulation, register.marker_key)
    for path in loop.files("desired"):
        yield pl.read_parquet(path)


def _planned(
    settings: Settings, components: Components, register: Register, snapshot: Callable[[Path], None], watch: Watch
) -> PlannedRun:
    """A new run: records, then the snapshot that `snapshot` puts into a folder, then the plan."""
    run = new_run(settings.state, components.clock, components.randomness)
    try:
        with open_engine(settings.run) as engine:
            loop = PartLoop(run.records, settings.run.parts, settings.run.threads, watch, engine)
            counts = _write_records(loop, run, register)
            snapshot(run.snapshot)
            plan = _plan(settings, run, run.snapshot, loop)
        write_plan(run.plan, plan)
    except BaseException:
        # A run without a plan is of no use, and it holds personal numbers.
        shutil.rmtree(run.path, ignore_errors=True)
        raise
    return PlannedRun(run, plan, counts)


def _write_records(loop: PartLoop, run: RunFolder, register: Register) -> dict[str, dict[str, int]]:
    """Write records, quarantine and what a plan needs to know of them; returns the row counts."""
    records = write_records(loop, register.extract, register.day, register.regulation, register.marker_key)
    records.quarantine.write_parquet(run.quarantine)
    made_from = {
        "date": register.day.isoformat(),
        "regulation": register.regulation.id,
        "regulation_digest": hashlib.sha256(register.regulation.model_dump_json().encode()).hexdigest(),
        "parts": loop.parts,
        "counts": records.counts,
        "people": records.people,
        "findings": records.findings,
        "kabkota_names": records.kabkota_names,
        "extract": {"files": register.extract.digests, "rows": register.extract.rows},
    }
    write_atomically(run.records / FACTS_FILE, orjson.dumps(made_from, option=orjson.OPT_INDENT_2))
    return records.counts


FACTS_FILE = "facts.json"
"""In a run's records: what a plan needs to know of them beside their tables."""


def apply_run(settings: Settings, run_id: str | None = None, *, watch: Watch = quiet) -> ApplyResult:
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
        run = _chosen(settings.state, run_id)
        plan = read_plan(run.plan)
        return apply_plan(lock, run, plan, settings, _handed_in(settings, components, _applied(watch, plan)))


def rebuild_run(settings: Settings, run_id: str | None = None) -> tuple[RunFolder, dict[str, int]]:
    """Make the journal of a run that was begun anew from the directory. Returns the run and counts of steps by how they stand."""
    components = Components.of(settings)
    with StateLock(settings.state, purpose="rebuild") as lock:
        run = _chosen(settings.state, run_id)
        handed_in = _handed_in(settings, components, lambda _: None)
        return run, rebuild_journal(lock, run, read_plan(run.plan), settings, handed_in)


def _handed_in(settings: Settings, components: Components, watch: Callable[[Progress], None]) -> ApplyComponents:
    directories = connect(settings, components.clock, components.randomness)
    return ApplyComponents(
        directories={tenant.value: directory for tenant, directory in directories.items()},
        clock=components.clock,
        randomness=components.randomness,
        watch=watch,
    )


def _applied(watch: Watch, plan: Plan) -> Callable[[Progress], None]:
    """Steps of all tenants in one count: their settled steps are told apart by tenant, and summed here."""
    settled: dict[str, int] = {}
    guard = threading.Lock()

    def told(progress: Progress) -> None:
        with guard:
            settled[progress.tenant] = progress.done + progress.parked
            watch("steps", sum(settled.values()), plan.runnable)

    return told


def verify_run(settings: Settings, run_id: str | None = None, *, watch: Watch = quiet) -> Verification:
    """Read the directory again and plan again from the run's records; write what still differs to `verify.json`."""
    components = Components.of(settings)
    with StateLock(settings.state, purpose="verify"):
        run = _chosen(settings.state, run_id)
        made = read_plan(run.plan)
        folder = run.path / "verify-snapshot"
        shutil.rmtree(folder, ignore_errors=True)
        directories = connect(settings, components.clock, components.randomness)
        try:
            _snapshot(settings, components, directories, folder, watch)
            with open_engine(settings.run) as engine:
                loop = PartLoop(run.records, _made_from(run)["parts"], settings.run.threads, watch, engine)
                again = _plan(settings, run, folder, loop)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        result = _compare_plans(made, again)
        document = {**vars(result), "counts": again.facts.counts, "reasons": again.facts.reasons}
        write_atomically(run.verify, orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))
        return result


def abandon_run(settings: Settings, run_id: str | None = None) -> RunFolder:
    """Give up a run that was begun. What it did stays done and the next snapshot finds it; its addresses stay reserved."""
    components = Components.of(settings)
    with StateLock(settings.state, purpose="abandon") as lock:
        run = _chosen(settings.state, run_id)
        try:
            plan = read_plan(run.plan)
        except PlanError as error:  # what cannot be read cannot be applied, and must not block the next plan
            run.mark(RunStatus.ABANDONED, components.clock, plan=error.message)
            return run
        give_up(lock, run, plan, components.clock)
        return run


def latest(settings: Settings) -> RunFolder:
    """The newest run of the state folder. Raises PlanError when there is none."""
    run = latest_run(settings.state)
    if run is None:
        raise PlanError(f"no run yet: {settings.state}", hint="make one with: belajarid-recon plan")
    return run


def _chosen(state: Path, run_id: str | None) -> RunFolder:
    """The run named, else the unfinished one, else the latest."""
    _remove_half_made(state)
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


def _remove_half_made(state: Path) -> None:
    """Remove runs that were killed before their plan was written: they are of no use, and hold personal numbers."""
    for run in list_runs(state):
        if run.status() is RunStatus.PLANNED and not (run.plan / FACTS_OF_PLAN).exists():
            shutil.rmtree(run.path)


def _refuse_earlier(state: Path, day: date) -> None:
    """Refuse a date before that of a run that was applied: an old extract would undo what has happened since."""
    for run in reversed(list_runs(state)):
        if run.status() is RunStatus.CLOSED:
            applied = date.fromisoformat(read_plan(run.plan).facts.date)
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


def _snapshot(
    settings: Settings,
    components: Components,
    directories: Mapping[Jenjang, GoogleDirectory],
    folder: Path,
    watch: Watch,
) -> None:
    """Read every tenant and seal what was read."""
    seen = Counter[str]()
    guard = threading.Lock()

    def report(tenant: str, accounts: int) -> None:
        with guard:
            seen[tenant] += accounts
            watch("accounts read", seen.total(), 0)

    request = SnapshotRequest(
        folder=folder,
        customer_ids={tenant: account.customer_id for tenant, account in settings.tenants.items()},
        parts=settings.run.parts,
        threads=settings.run.threads,
        clock=components.clock,
        report=report,
    )
    take_snapshots(directories, request)


def _plan(settings: Settings, run: RunFolder, snapshot: Path, loop: PartLoop) -> Plan:
    """Compare a run's desired accounts with a snapshot and make a plan of the differences."""
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
    ours = suspended_by_us(settings.state)
    units = {tenant.value: orgunits(snapshot, tenant.value) for tenant in settings.tenants}
    seed = int.from_bytes(SystemRandomness().bytes(8), "little")
    changes = reconcile_parts(loop, snapshot, ReconcileRules(units, ours["account_key"], seed))
    loop.watch("plan", 0, 1)
    _refuse_strangers(changes)
    _refuse_foreign_domains(changes, sealed)
    context = PlanContext(
        endpoint_class=settings.endpoint.kind.value,
        customer_ids={tenant.value: account.customer_id for tenant, account in sorted(settings.tenants.items())},
        date=made_from["date"],
        regulation=made_from["regulation"],
        addresses=[*address_files(snapshot), *ledger],
        orgunits=units,
        kabkota_names=made_from["kabkota_names"],
        guards=settings.guards,
        naming_key=keys.naming,
        threads=settings.run.threads,
        people=made_from["people"],
    )
    inputs = {
        "extract": made_from["extract"],
        "regulation": made_from["regulation_digest"],
        "snapshot": sealed.digest,
        "ledger": ledger_digest(ledger),
        "suspended_by_us": frame_digest(ours),
        "guards": settings.guards.model_dump(),
        "key_prints": prints,
    }
    return build_plan(changes, context, inputs)


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
    wanted = pl.concat([part.proposals.select("tenant", "domain") for part in changes]).drop_nulls().unique()
    for tenant, domain in wanted.sort("tenant", "domain").iter_rows():
        if domain not in sealed.tenants[tenant]["domains"]:
            raise PlanError(
                f"tenant {tenant} does not have a domain its accounts need: {domain}",
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
    """What a new plan asks for, split into what the old one held and everything else."""
    waiting = made.steps.filter(pl.col("held_by").is_not_null()).select("account_key", "action")
    held = again.steps.join(waiting, on=["account_key", "action"], how="semi").height
    doubtful = {
        reason.value: count
        for reason in DOUBTFUL
        if (count := sum(reasons.get(reason, 0) for reasons in again.facts.reasons.values()))
    }
    return Verification(again.count("no-op"), again.steps.height - held, held, doubtful)
