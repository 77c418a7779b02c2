"""Engines: the same plan whoever works the parts, nothing under way after an end, no key with a worker."""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
import threading
import time
from argparse import Namespace
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import polars as pl
import pytest

from belajarid_recon import engines, partitions, pipeline
from belajarid_recon.components import ScaledClock
from belajarid_recon.directory.snapshot import SnapshotRequest, read_facts, seal_snapshot
from belajarid_recon.engines import LocalEngine, open_engine
from belajarid_recon.errors import InputError, PlanError, SettingsError
from belajarid_recon.population.create import CreateRequest, create_population
from belajarid_recon.settings import EngineName, Recovery, Run, Settings

PEOPLE = 1_200
PARTS = (1, 4, 128)
RAY = Run(engine=EngineName.RAY, parts_at_once=2)


def _load_bench():
    """benches/plan.py, which makes a directory that nearly agrees with an extract."""
    path = Path(__file__).parent.parent / "benches" / "plan.py"
    spec = importlib.util.spec_from_file_location("plan_bench", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


bench = _load_bench()


@pytest.fixture(scope="module")
def folder(tmp_path_factory, request) -> Path:
    """An extract, and a snapshot of a directory that nearly agrees with it for each cut."""
    folder = tmp_path_factory.mktemp("engines")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECON_MARKER_KEY", "5a" * 32)
        patch.setenv("RECON_NAMING_KEY", "a5" * 32)
        create_population(CreateRequest(out=folder / "extract", people=PEOPLE, seed=5, day=bench.DAY))
        settings = settings_of(folder, Run(parts=1))
        register = pipeline.opened_register(settings, request_of(folder))
        (folder / "records").mkdir()
        desired = list(pipeline.desired_parts(settings, register, folder / "records"))
        customers = {tenant: account.customer_id for tenant, account in settings.tenants.items()}
        for parts in PARTS:
            seal_snapshot(
                SnapshotRequest(
                    folder=folder / f"snapshot{parts}",
                    customer_ids=customers,
                    parts=parts,
                    threads=1,
                    clock=ScaledClock(),
                ),
                lambda spool: bench.spool_accounts(iter(desired), spool, customers),
            )
        yield folder


@pytest.fixture(scope="module")
def ray_there():
    """One Ray with two workers for all tests; each engine opened meanwhile uses it."""
    with open_engine(RAY) as engine:
        from ray import cloudpickle  # noqa: PLC0415 - the engine is to be the first that imports it

        cloudpickle.register_pickle_by_value(sys.modules[__name__])  # this file is no module that workers could import
        yield engine


def settings_of(folder: Path, run: Run) -> Settings:
    """Settings of seven tenants that no server has."""
    made = bench.settings_of(Namespace(work=folder, parts=run.parts, threads=run.threads, engine="local"))
    return made.model_copy(update={"run": run})


def request_of(folder: Path) -> pipeline.PlanRequest:
    """What the plan is made from."""
    return pipeline.PlanRequest(folder / "extract", bench.DAY)


def plan_of(folder: Path, run: Run, watch: partitions.Watch = partitions.quiet) -> pipeline.PlannedRun:
    """A plan of the extract and the snapshot of the same cut."""
    snapshot = folder / f"snapshot{run.parts}"
    return pipeline.plan_from_snapshot(settings_of(folder, run), request_of(folder), snapshot, watch=watch)


def test_every_cut_and_engine_gives_one_plan(folder, ray_there):
    """P of 1, 4 and 128, on threads and on two workers of Ray: one digest, of a plan with steps of every kind."""
    plans = {}
    for parts in PARTS:
        for engine in EngineName:
            plans[parts, engine] = plan_of(folder, Run(parts=parts, engine=engine, parts_at_once=2)).plan
    assert len({plan.digest for plan in plans.values()}) == 1
    steps = plans[4, EngineName.RAY].steps.whole()
    assert {"create", "update", "move", "suspend"} <= set(steps["action"])
    assert plans[4, EngineName.RAY].count("no-op") > PEOPLE / 2


def test_people_under_doubt_are_counted_once_whatever_the_cut(folder):
    """Two people with one NISN are ineligible in the counts and have no step, in one part or in two."""
    doubtful = folder / "doubtful"
    (doubtful / "extract").mkdir(parents=True)
    for table in (folder / "extract").glob("*.parquet"):
        frame = pl.read_parquet(table)
        if table.stem == "peserta_didik":
            shared = pl.when(pl.int_range(pl.len()) < 40).then(pl.lit("3121231234")).otherwise("nisn")
            frame = frame.with_columns(nisn=shared)
        frame.write_parquet(doubtful / "extract" / table.name)
    seen = []
    for parts in (1, 4):
        (doubtful / f"snapshot{parts}").symlink_to(folder / f"snapshot{parts}")
        made = plan_of(doubtful, Run(parts=parts)).plan
        seen.append((made.digest, made.facts.people["ineligible"]["suspected-duplicate"]))
    assert seen[0] == seen[1]
    assert seen[0][1] > 20
    before, after = (
        sum(sum(r.values()) for r in p.facts.people.values()) for p in (plan_of(folder, Run(parts=4)).plan, made)
    )
    assert before == after


def test_shared_and_missing_contacts_are_counted_whatever_the_cut(folder):
    """An office's number on many people is written to nobody; by tenant and by school the counts are the same for any cut."""
    office = folder / "office"
    (office / "extract").mkdir(parents=True)
    for table in (folder / "extract").glob("*.parquet"):
        frame = pl.read_parquet(table)
        if table.stem == "ptk":
            number = (
                pl.when(pl.int_range(pl.len()) < frame.height // 2).then(pl.lit("0812 3456 7801")).otherwise("no_hp")
            )
            frame = frame.with_columns(email=pl.lit("bersama@example.org"), no_hp=number)
        frame.write_parquet(office / "extract" / table.name)
    seen = []
    for parts in (1, 4):
        (office / f"snapshot{parts}").symlink_to(folder / f"snapshot{parts}")
        planned = plan_of(office, Run(parts=parts))
        facts, by_school = planned.plan.facts, pl.read_parquet(planned.folder.no_contact)
        seen.append((planned.plan.digest, facts.contacts, facts.no_contact, by_school.rows()))
    assert seen[0] == seen[1]
    written = pl.read_parquet(planned.folder.contacts)
    assert written["recovery_email"].null_count() == written.height > 0
    assert "+6281234567801" not in written["recovery_phone"]
    assert by_school["accounts"].sum() == sum(sum(tenant.values()) for tenant in facts.no_contact.values())
    assert "contact-shared" in set(by_school["reason"])
    assert by_school["npsn"].null_count() == 0


def test_settings_say_whose_contacts_are_written(folder):
    """Pupils' only where asked for, nobody's where staff is off; nothing is missed then either, and never a pupil's."""
    seen, missing = [], []
    for choice in (Recovery(staff=False), Recovery(), Recovery(pupils=True)):
        settings = settings_of(folder, Run(parts=4)).model_copy(update={"recovery": choice})
        planned = pipeline.plan_from_snapshot(settings, request_of(folder), folder / "snapshot4")
        writing = planned.plan.steps.whole().filter(pl.col("recovery").is_not_null())
        seen.append((writing["reason"].str.contains("pupil").sum(), writing.height))
        missing.append(planned.plan.facts.no_contact)
        assert planned.folder.contacts.exists() == bool(writing.height)
        assert not list(planned.folder.records.rglob("contact*.parquet"))
    (none, nothing), (few, staff), (pupils, everybody) = seen
    assert (none, nothing, few) == (0, 0, 0)
    assert not missing[0]
    assert missing[1] == missing[2] != {}
    assert staff > 0
    assert everybody - pupils == staff
    assert pupils > 100


@dataclass(frozen=True)
class Counted:
    """Work that notes how many parts are under way at once."""

    most: list[int]
    now: list[int]
    guard: threading.Lock
    fail_at: int = -1

    def __call__(self, part: int) -> int:
        """Take a moment."""
        with self.guard:
            self.now.append(part)
            self.most.append(len(self.now))
        time.sleep(0.01)
        with self.guard:
            self.now.remove(part)
        if part == self.fail_at:
            raise InputError("a part failed", hint="mend it")
        return part * part


@pytest.mark.parametrize("at_once", [1, 2, 5])
def test_local_parts_are_worked_so_many_at_once(at_once):
    """Every part once, never more under way than asked, and as many as asked when there are enough."""
    work = Counted([], [], threading.Lock())
    results = sorted(LocalEngine(at_once).each(17, work))
    assert results == [(part, part * part) for part in range(17)]
    assert max(work.most) == at_once


def test_a_failed_part_ends_the_loop_with_nothing_under_way():
    """The failure reaches the caller when the parts begun have ended; the others are not begun."""
    work = Counted([], [], threading.Lock(), fail_at=3)
    with pytest.raises(InputError, match="a part failed"), closing(LocalEngine(2).each(100, work)) as results:
        list(results)
    assert work.now == []
    assert len(work.most) < 10


def refuse(part: int) -> int:
    """Work that refuses a part, as a damaged file would."""
    if part == 2:
        raise InputError("a file of the extract is damaged inside: x", hint="copy it again")
    return part


def die(part: int) -> int:
    """Work that takes its process with it."""
    if part == 1:
        os._exit(7)
    return part


def look(part: int) -> tuple[str | None, str | None, str]:
    """What a worker knows."""
    del part
    return os.environ.get("RECON_MARKER_KEY"), os.environ.get("RECON_NAMING_KEY"), os.environ["POLARS_MAX_THREADS"]


def test_what_a_ray_worker_raises_is_raised_as_it_was(ray_there):
    """Kind, message and hint of the error survive the way."""
    with pytest.raises(InputError, match="damaged inside") as raised, closing(ray_there.each(8, refuse)) as results:
        list(results)
    assert raised.value.hint == "copy it again"
    assert dict(ray_there.each(2, refuse)) == {0: 0, 1: 1}


def test_a_dead_ray_worker_is_an_error_that_says_so(ray_there):
    """A worker that dies twice over one part ends the loop as the machine's refusal, and the engine still works."""
    with pytest.raises(OSError, match="a worker died"), closing(ray_there.each(3, die)) as results:
        list(results)
    assert dict(ray_there.each(2, refuse)) == {0: 0, 1: 1}


def test_keys_are_not_with_ray_and_nobody_else_reaches_it(folder, ray_there):
    """Workers have no key in their environment, no file of Ray holds one, and every socket of Ray is on loopback."""
    assert set(dict(ray_there.each(2, look)).values()) == {(None, None, "1")}
    plan_of(folder, Run(parts=4, engine=EngineName.RAY))
    sessions = list(Path(tempfile.gettempdir()).glob("recon-ray-*"))
    assert sessions
    files = [path for session in sessions for path in session.rglob("*") if path.is_file()]
    assert files
    for path in files:
        content = path.read_bytes()
        assert b"5a" * 32 not in content, path.name
        assert b"\x5a" * 32 not in content, path.name
    inodes = {str(link.readlink()) for pid in bench.family(os.getpid()) for link in descriptors(pid)}
    listening = [
        (address, inode) for address, inode in listening_sockets() if f"socket:[{inode}]" in inodes
    ]  # fmt: skip
    assert listening
    assert {address for address, _ in listening} <= LOOPBACKS


LOOPBACKS = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
"""127.0.0.1, the same in IPv6's dress, and ::1, as the kernel lists them."""


def descriptors(pid: int) -> list[Path]:
    """Links to what a process has open."""
    try:
        return [link for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()]
    except OSError:
        return []


def listening_sockets() -> list[tuple[str, str]]:
    """Address and inode of every socket that listens."""
    found = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A":
                found.append((fields[1].partition(":")[0], fields[9]))
    return found


def test_a_missing_engine_says_what_to_install(folder, monkeypatch):
    """Settings that ask for Ray where it is not installed are refused with the remedy, and no run is left."""
    monkeypatch.setitem(sys.modules, "ray", None)
    before = runs_of(folder)
    with pytest.raises(SettingsError, match="not installed: ray") as raised:
        plan_of(folder, Run(parts=4, engine=EngineName.RAY))
    assert "belajarid-recon[ray]" in raised.value.hint
    assert runs_of(folder) == before


@pytest.mark.parametrize("label", ["records", "compare"])
@pytest.mark.parametrize("engine", list(EngineName))
def test_an_interruption_leaves_no_run_and_nobody_at_work(folder, request, label, engine):
    """Ctrl-C while parts are under way: the run's folder is gone, and nothing writes into it afterwards."""
    if engine is EngineName.RAY:
        request.getfixturevalue("ray_there")
    before = runs_of(folder)
    with pytest.raises(KeyboardInterrupt):
        plan_of(folder, Run(parts=4, engine=engine, parts_at_once=2), partial(interrupt, label))
    assert runs_of(folder) == before
    time.sleep(0.3)
    assert runs_of(folder) == before


def interrupt(wanted: str, label: str, done: int, total: int) -> None:
    """A watch during which Ctrl-C is pressed."""
    del total
    if (label, done) == (wanted, 1):
        raise KeyboardInterrupt


def test_a_failing_part_leaves_no_run(folder, monkeypatch):
    """An error in one part reaches the caller, and the run with its personal numbers is gone."""
    before = runs_of(folder)

    def damaged(folder: Path, part: int) -> pl.DataFrame:
        raise InputError(f"a file of the snapshot is damaged: {part}")

    monkeypatch.setattr(partitions, "read_part", damaged)
    with pytest.raises(InputError, match="damaged"):
        plan_of(folder, Run(parts=4))
    assert runs_of(folder) == before


def test_records_without_a_list_of_doubts_are_refused(folder, tmp_path):
    """Who is under doubt must be known: without the list they would get accounts."""
    loop = partitions.PartLoop(tmp_path, parts=1, threads=1)
    rules = partitions.ReconcileRules({}, pl.Series([], dtype=pl.Binary), seed=1)
    with pytest.raises(PlanError, match="gone or damaged"):
        partitions.reconcile_parts(loop, folder / "snapshot1", rules)


def test_a_snapshot_of_others_is_refused(folder):
    """Another cut or another customer is refused before a run is made; a snapshot in use twice stays whole."""
    before, sealed = runs_of(folder), read_facts(folder / "snapshot4")
    with pytest.raises(SettingsError, match="other parts"):
        pipeline.plan_from_snapshot(settings_of(folder, Run(parts=2)), request_of(folder), folder / "snapshot4")
    settings = settings_of(folder, Run(parts=4))
    tenants = {name: tenant.model_copy(update={"customer_id": f"X{name}"}) for name, tenant in settings.tenants.items()}
    with pytest.raises(SettingsError, match="another customer"):
        pipeline.plan_from_snapshot(
            settings.model_copy(update={"tenants": tenants}), request_of(folder), folder / "snapshot4"
        )
    assert runs_of(folder) == before
    made = plan_of(folder, Run(parts=4))
    assert read_facts(made.folder.snapshot) == sealed == read_facts(folder / "snapshot4")


def runs_of(folder: Path) -> set[str]:
    """Names of the runs there are."""
    runs = folder / "state" / "runs"
    return {path.name for path in runs.iterdir()} if runs.exists() else set()


def test_the_engine_can_be_typed():
    """What is typed beats the settings, and nothing else changes."""
    from belajarid_recon.cli.commands import _with_engine  # noqa: PLC0415

    settings = bench.settings_of(Namespace(work=Path("nowhere"), parts=4, threads=2, engine="local"))
    assert _with_engine(settings, None) is settings
    typed = _with_engine(settings, EngineName.RAY)
    assert typed.run == settings.run.model_copy(update={"engine": EngineName.RAY})
    assert isinstance(engines.ALONE, LocalEngine)
