"""The whole road: one plan digest whatever the order and the cut, no bypass, nothing personal left behind."""

from __future__ import annotations

import re
from collections import Counter
from datetime import timedelta
from pathlib import Path

import orjson
import polars as pl
import pytest

from belajarid_recon import pipeline
from belajarid_recon.components import ScaledClock, SystemRandomness
from belajarid_recon.directory.connect import connect
from belajarid_recon.errors import BusyError, InputError, PlanError, SettingsError
from belajarid_recon.population.advance import AdvanceRequest, advance_population
from belajarid_recon.schemas import EXTRACT, Jenjang
from belajarid_recon.settings import Endpoint, Lease, Run, Settings
from belajarid_recon.state.folders import RunStatus, list_runs, new_run
from belajarid_recon.state.ledger import reserve_addresses
from belajarid_recon.state.lock import StateLock
from worlds import DAY, World, world

PEOPLE = 3_000


@pytest.fixture(scope="module")
def converged(tmp_path_factory):
    """A world whose first week is applied and verified."""
    with world(tmp_path_factory.mktemp("world"), PEOPLE) as made:
        request = pipeline.PlanRequest(extract=made.extract, date=DAY)
        planned = pipeline.make_plan(made.settings, request)
        pipeline.apply_run(made.settings, planned.folder.run_id)
        pipeline.verify_run(made.settings, planned.folder.run_id)
        yield made


@pytest.fixture(scope="module")
def next_week(converged: World) -> Path:
    """The extract a week later."""
    out = converged.folder / "week2"
    advance_population(AdvanceRequest(source=converged.extract, out=out, seed=5))
    return out


def cut(settings: Settings, parts: int, threads: int) -> Settings:
    """The settings with another cut of the work."""
    return settings.model_copy(update={"run": Run(parts=parts, threads=threads)})


def tables_of(extract: Path, table: str) -> pl.DataFrame:
    """A table of an extract, whichever layout it has."""
    single = extract / f"{table}.parquet"
    return pl.read_parquet(single if single.exists() else extract / table / "*.parquet")


def shuffled(extract: Path, out: Path, seed: int) -> Path:
    """The same rows in another order and in other files."""
    out.mkdir()
    for table in EXTRACT:
        rows = tables_of(extract, table).sample(fraction=1.0, shuffle=True, seed=seed)
        (out / table).mkdir()
        half = rows.height // 2
        rows.head(half).write_parquet(out / table / "b.parquet")
        rows.tail(rows.height - half).write_parquet(out / table / "a.parquet")
    return out


def test_the_directory_agrees_after_the_first_week(converged: World):
    """Every creation the plan asked for is one account that carries its marker, and the emulator applied each once."""
    run = pipeline.latest(converged.settings)
    steps = pipeline.read_plan(run.plan).steps.whole()
    created = steps.filter(pl.col("action") == "create")
    assert created.height > PEOPLE / 2
    assert set(created["tenant"]) == {jenjang.value for jenjang in Jenjang}
    for tenant in Jenjang:
        accounts = list(converged.emulator.accounts(tenant))
        wanted = created.filter(pl.col("tenant") == tenant.value)
        assert {row["account"]["primaryEmail"] for row in accounts} == set(wanted["address"])
        markers = Counter(row["marker"] for row in accounts)
        assert set(markers) == set(wanted["marker"])
        assert set(markers.values()) <= {1}
        assert all(row["inserts"] == 1 for row in accounts)
    assert orjson.loads(run.verify.read_bytes())["differences"] == 0


def test_user_ids_are_unique_in_a_jenjang(converged: World):
    """A local part stands for one person in all domains of a jenjang."""
    steps = pipeline.read_plan(pipeline.latest(converged.settings).plan).steps.whole()
    created = steps.filter(pl.col("action") == "create").with_columns(
        local=pl.col("address").str.split("@").list.first()
    )
    assert created.group_by("tenant", "local").len()["len"].max() == 1
    assert created["local"].str.contains(r"^[a-z]+(\.[a-z]+)?[0-9]{4,6}$").all()


def test_shuffled_rows_parts_and_threads_give_one_digest(converged: World, next_week: Path, tmp_path: Path):
    """Row order, files, P and threads change nothing: one digest, and it is no empty plan's."""
    digests, heights = set(), set()
    cuts = [(1, 1), (2, 2), (4, 3), (1, 4), (2, 5), (4, 6), (1, 7), (2, 8)]
    for number, (parts, threads) in enumerate(cuts):
        extract = next_week if number == 0 else shuffled(next_week, tmp_path / str(number), seed=number)
        planned = pipeline.make_plan(
            cut(converged.settings, parts, threads), pipeline.PlanRequest(extract=extract, date=DAY)
        )
        digests.add(planned.plan.digest)
        heights.add(planned.plan.steps.height)
    assert len(digests) == 1
    assert heights != {0}


def test_creations_do_not_depend_on_order_either(tmp_path: Path):
    """Towards an empty directory, where everybody is named, the digest is the same for any cut."""
    with world(tmp_path / "w", 1_500, seed=3) as fresh:
        other = shuffled(fresh.extract, tmp_path / "shuffled", seed=9)
        one = pipeline.make_plan(cut(fresh.settings, 1, 1), pipeline.PlanRequest(extract=fresh.extract, date=DAY))
        for parts, threads in ((2, 1), (4, 8)):
            cut_otherwise = cut(fresh.settings, parts, threads)
            again = pipeline.make_plan(cut_otherwise, pipeline.PlanRequest(extract=other, date=DAY))
            assert again.plan.digest == one.plan.digest
        assert one.plan.count("create") > 750


def test_rows_add_up(converged: World):
    """Accepted and quarantined rows are the rows read, in every table, and the files hold as many."""
    planned = pipeline.make_plan(converged.settings, pipeline.PlanRequest(extract=converged.extract, date=DAY))
    assert set(planned.counts) == set(EXTRACT)
    for table, count in planned.counts.items():
        assert count["read"] == count["accepted"] + count["quarantined"], table
        assert count["read"] == tables_of(converged.extract, table).height, table
    quarantine = pl.read_parquet(planned.folder.quarantine)
    assert quarantine.height == sum(count["quarantined"] for count in planned.counts.values())


def test_no_personal_number_is_in_a_planned_run(converged: World):
    """No NIK, NISN or password stands in any file of a run that is planned, nor in state, settings or emulator logs."""
    numbers = set()
    for table, columns in (("peserta_didik", ("nik", "nisn")), ("ptk", ("nik", "nuptk"))):
        for column in columns:
            numbers |= set(tables_of(converged.extract, table)[column].drop_nulls().str.strip_chars())
    numbers = {number for number in numbers if len(set(number)) > 1}
    assert len(numbers) > PEOPLE
    looked_at = 0
    for path in sorted(converged.settings.state.rglob("*")):
        if path.is_dir():
            continue
        looked_at += 1
        found = set(re.findall(r"(?<!\d)(?:\d{16}|\d{10})(?!\d)", text_of(path))) & numbers
        assert not found, f"{len(found)} personal numbers in {path.name}"
        assert "$6$" not in text_of(path), path.name
        assert '"password"' not in text_of(path), path.name
    assert looked_at > 10
    assert list(converged.settings.state.rglob("records/part=*/desired.parquet"))


def contacts_in(extract: Path) -> set[str]:
    """Distinctive parts of everybody's own contacts: local parts of addresses, and the last eleven digits of phones."""
    found: set[str] = set()
    for table, address, number in (("ptk", "email", "no_hp"), ("peserta_didik", "email", "nomor_telepon_seluler")):
        rows = tables_of(extract, table)
        found |= set(rows[address].drop_nulls().str.split("@").list.first())
        found |= set(rows[number].drop_nulls().str.replace_all(r"\D", "").str.tail(11))
    return found


def files_with(state: Path, words: set[str]) -> set[str]:
    """Names of the files below a folder in which one of `words` stands."""
    pattern = re.compile(r"(?:murid|ptk)\.\d+\.\d+|800\d{8}")
    return {path.name for path in state.rglob("*") if path.is_file() and words & set(pattern.findall(text_of(path)))}


def test_contacts_reach_the_directory_and_stand_in_one_file_until_then(converged: World, tmp_path: Path):
    """What the first week's steps named is on their accounts and in no file; the next week's waits in one. No pupil's is anywhere."""
    later = shuffled(converged.extract, tmp_path / "later", seed=1)
    staff = tables_of(later, "ptk").with_columns(
        pl.col("email").fill_null(pl.format("ptk.9999.{}@example.org", pl.int_range(pl.len())))
    )
    staff.write_parquet(later / "ptk" / "a.parquet")
    (later / "ptk" / "b.parquet").unlink()
    first = next(run for run in list_runs(converged.settings.state) if run.status() is RunStatus.CLOSED)
    writing = pipeline.read_plan(first.plan).steps.whole().filter(pl.col("recovery").is_not_null())
    assert writing.filter(pl.col("reason").str.contains("pupil")).is_empty()
    accounts = {row["marker"]: row["account"] for tenant in Jenjang for row in converged.emulator.accounts(tenant)}
    for word, field in (("email", "recoveryEmail"), ("phone", "recoveryPhone")):
        there = [marker for marker, account in accounts.items() if field in account]
        assert sorted(there) == sorted(writing.filter(pl.col("recovery").str.contains(word))["marker"])
        assert len(there) > 100
    planned = pipeline.make_plan(converged.settings, pipeline.PlanRequest(extract=later, date=DAY))
    assert set(planned.plan.steps.whole().select("action", "recovery", "before").rows()) == {
        ("update", "email", '{"recovery":null}')
    }
    assert planned.folder.contacts.stat().st_mode & 0o777 == 0o600
    assert not first.contacts.exists()
    contacts = contacts_in(converged.extract) | contacts_in(later)
    assert len(contacts) > 1_000
    assert files_with(converged.settings.state, contacts) == {planned.folder.contacts.name}


def test_runs_that_cannot_be_applied_any_more_keep_no_contacts(converged: World, tmp_path: Path):
    """Not one that a later run has overtaken, nor one that was killed when it was over; one that waits keeps them."""
    settings = converged.settings.model_copy(update={"state": tmp_path / "state"})
    settings.state.mkdir()
    overtaken, closed, waiting, given_up = (
        new_run(settings.state, ScaledClock(), SystemRandomness()) for _ in range(4)
    )
    for run in (overtaken, closed, waiting, given_up):
        run.plan.mkdir()
        (run.plan / "plan.json").write_bytes(b"{}")
        run.contacts.write_bytes(b"x")
    for status in (RunStatus.APPLYING, RunStatus.CLOSED):
        closed.mark(status, ScaledClock())
    closed.journal.write_bytes(b"x")
    closed.contacts.write_bytes(b"as a kill between the mark and the removal leaves them")
    pipeline.abandon_run(settings, given_up.run_id)
    kept = [run.contacts.exists() for run in (overtaken, closed, waiting, given_up)]
    assert kept == [False, False, True, False]


def test_a_plan_of_another_version_bars_older_weeks_and_no_later_one(converged: World, tmp_path: Path):
    """Of a run that is closed only the date is asked for; without it nobody knows which week was applied."""
    settings = converged.settings.model_copy(update={"state": tmp_path / "state"})
    settings.state.mkdir()
    closed = new_run(settings.state, ScaledClock(), SystemRandomness())
    for status in (RunStatus.APPLYING, RunStatus.CLOSED):
        closed.mark(status, ScaledClock())
    closed.plan.mkdir()
    document = closed.plan / "plan.json"
    document.write_bytes(orjson.dumps({"format_version": 1, "date": DAY.isoformat()}))
    assert pipeline.opened_register(settings, pipeline.PlanRequest(converged.extract, DAY)).day == DAY
    with pytest.raises(InputError, match="later week was applied"):
        pipeline.opened_register(settings, pipeline.PlanRequest(converged.extract, DAY - timedelta(days=7)))
    document.write_bytes(b"{}")
    with pytest.raises(PlanError, match="no readable plan"):
        pipeline.opened_register(settings, pipeline.PlanRequest(converged.extract, DAY))


def text_of(path: Path) -> str:
    """Everything readable in a file: decoded columns of Parquet, raw bytes of the rest."""
    if path.suffix != ".parquet":
        return path.read_bytes().decode("latin-1")
    columns = [
        column.explode() if column.dtype == pl.List else column for column in pl.read_parquet(path).get_columns()
    ]
    texts = [column.cast(pl.String) for column in columns if column.dtype != pl.Binary]
    raw = [column.bin.encode("hex") for column in columns if column.dtype == pl.Binary]
    return "\n".join("\n".join(series.drop_nulls()) for series in texts + raw)


def test_a_second_run_is_kept_out(converged: World):
    """While one run holds the state folder another is refused before it does anything."""
    before = sorted(path.name for path in (converged.settings.state / "runs").iterdir())
    with StateLock(converged.settings.state, purpose="test"), pytest.raises(BusyError, match="in use"):
        pipeline.make_plan(converged.settings, pipeline.PlanRequest(extract=converged.extract, date=DAY))
    assert sorted(path.name for path in (converged.settings.state / "runs").iterdir()) == before


def test_a_begun_run_is_finished_or_abandoned_first(tmp_path: Path):
    """A plan that was begun to be applied blocks the next plan until it is abandoned."""
    with world(tmp_path / "w", 1_000, seed=4) as fresh:
        request = pipeline.PlanRequest(extract=fresh.extract, date=DAY)
        planned = pipeline.make_plan(fresh.settings, request)
        planned.folder.mark(RunStatus.APPLYING, ScaledClock())
        with pytest.raises(PlanError, match="not finished"):
            pipeline.make_plan(fresh.settings, request)
        pipeline.abandon_run(fresh.settings, planned.folder.run_id)
        assert pipeline.make_plan(fresh.settings, request).plan.digest


def test_another_customer_is_refused(converged: World):
    """Settings that name another customer id than the server's stop the run before the plan."""
    tenants = dict(converged.settings.tenants)
    tenants[Jenjang.SD] = tenants[Jenjang.SD].model_copy(update={"customer_id": "C0somebody"})
    settings = converged.settings.model_copy(update={"tenants": tenants})
    with pytest.raises(SettingsError, match="customer"):
        pipeline.make_plan(settings, pipeline.PlanRequest(extract=converged.extract, date=DAY))


def test_a_real_endpoint_cannot_be_applied(converged: World):
    """Without an approval no plan reaches a real endpoint, and none can be given yet."""
    google = Endpoint.model_validate({"class": "google"})
    settings = converged.settings.model_copy(update={"endpoint": google})
    with pytest.raises(PlanError, match="approval"):
        pipeline.apply_run(settings, pipeline.latest(settings).run_id)


def with_marker_key(settings: Settings, folder: Path) -> Settings:
    """The settings with another marker key."""
    other = folder / "marker"
    other.touch(mode=0o600)
    other.write_text("ab" * 32)
    return settings.model_copy(update={"keys": settings.keys.model_copy(update={"marker_file": other})})


def test_another_marker_key_is_refused(converged: World, tmp_path: Path):
    """A state folder remembers its keys: with another marker key everybody would get a second account."""
    settings = with_marker_key(converged.settings, tmp_path)
    with pytest.raises(SettingsError, match="marker key is not the one"):
        pipeline.make_plan(settings, pipeline.PlanRequest(extract=converged.extract, date=DAY))


def test_a_directory_of_strangers_is_refused(converged: World, tmp_path: Path):
    """In a fresh state folder the same mistake shows in the directory: nearly no marker belongs to anybody."""
    settings = with_marker_key(converged.settings, tmp_path).model_copy(update={"state": tmp_path / "state"})
    with pytest.raises(PlanError, match="another state folder has applied to it"):
        pipeline.make_plan(settings, pipeline.PlanRequest(extract=converged.extract, date=DAY))
    settings = settings.model_copy(update={"lease": Lease(unit="")})
    with pytest.raises(PlanError, match="nearly none belong"):
        pipeline.make_plan(settings, pipeline.PlanRequest(extract=converged.extract, date=DAY))
    assert list((tmp_path / "state" / "runs").iterdir()) == []


def test_an_older_week_is_refused(converged: World):
    """After a week was applied an earlier date is refused: it would undo what has happened since."""
    with pytest.raises(InputError, match="later week was applied"):
        pipeline.make_plan(
            converged.settings, pipeline.PlanRequest(extract=converged.extract, date=DAY - timedelta(days=7))
        )


def test_half_made_runs_do_not_stay(converged: World):
    """A run killed before its plan was written is removed by the next command, with the numbers it holds."""
    killed = new_run(converged.settings.state, ScaledClock(), SystemRandomness())
    killed.records.mkdir()
    pipeline.make_plan(converged.settings, pipeline.PlanRequest(extract=converged.extract, date=DAY))
    assert not killed.path.exists()


def test_one_tenant_of_a_city(tmp_path: Path):
    """Settings with one tenant plan that jenjang alone; everybody else is counted, and the plan can be applied."""
    with world(tmp_path / "w", 1_000, seed=6) as fresh:
        settings = fresh.settings.model_copy(update={"tenants": {Jenjang.SMA: fresh.settings.tenants[Jenjang.SMA]}})
        planned = pipeline.make_plan(settings, pipeline.PlanRequest(extract=fresh.extract, date=DAY))
        assert set(planned.plan.steps.whole()["tenant"]) == {"sma"}
        assert planned.plan.facts.reasons["sd"]["tenant-not-in-settings"] > 0
        pipeline.apply_run(settings)
        assert pipeline.verify_run(settings).remaining == 0


def test_swapped_tenants_are_refused(tmp_path: Path):
    """The blocks of two tenants swapped whole: ids agree with the servers, but the domains do not."""
    with world(tmp_path / "w", 1_000, seed=6) as fresh:
        tenants = fresh.settings.tenants
        swapped = {**tenants, Jenjang.SD: tenants[Jenjang.SMP], Jenjang.SMP: tenants[Jenjang.SD]}
        settings = fresh.settings.model_copy(update={"tenants": swapped})
        with pytest.raises(PlanError, match="does not have a domain"):
            pipeline.make_plan(settings, pipeline.PlanRequest(extract=fresh.extract, date=DAY))


def test_a_lost_marker_makes_no_second_account(tmp_path: Path):
    """Somebody clears externalIds of one account and doubles the marker of another: verify says so, and nobody is created."""
    with world(tmp_path / "w", 1_000, seed=8) as fresh:
        request = pipeline.PlanRequest(extract=fresh.extract, date=DAY)
        planned = pipeline.make_plan(fresh.settings, request)
        pipeline.apply_run(fresh.settings)
        one, other, third = planned.plan.steps.whole().filter(pl.col("action") == "create").tail(3)["address"]
        tenant = Jenjang(planned.plan.steps.whole().tail(1)["tenant"].item())
        marker = planned.plan.steps.whole().filter(pl.col("address") == other)["marker"].item()
        fresh.emulator.edit(tenant, one, {"externalIds": None})
        fresh.emulator.edit(
            tenant, third, {"externalIds": [{"type": "custom", "customType": "recon", "value": marker}]}
        )
        verified = pipeline.verify_run(fresh.settings)
        assert verified.doubtful == {"marker-on-two-accounts": 1, "address-ours-without-marker": 2}
        assert verified.remaining == 3
        assert pipeline.make_plan(fresh.settings, request).plan.steps.height == 0


def test_an_abandoned_run_keeps_its_names(tmp_path: Path):
    """Whoever was given a user ID in a run that was given up gets the same again, although the name was corrected since."""
    with world(tmp_path / "w", 1_000, seed=9) as fresh:
        request = pipeline.PlanRequest(extract=fresh.extract, date=DAY)
        planned = pipeline.make_plan(fresh.settings, request)
        reserve_addresses(planned.folder, planned.plan.steps.scan())
        planned.folder.mark(RunStatus.APPLYING, ScaledClock())
        pipeline.abandon_run(fresh.settings)
        pupils = fresh.extract / "peserta_didik.parquet"
        pl.read_parquet(pupils).with_columns(nama=pl.lit("Nama Sudah Diperbaiki")).write_parquet(pupils)
        again = pipeline.make_plan(fresh.settings, request)
        before = dict(planned.plan.steps.whole().select("account_key", "address").drop_nulls().iter_rows())
        after = dict(again.plan.steps.whole().select("account_key", "address").drop_nulls().iter_rows())
        assert before.keys() & after.keys()
        assert all(after[key] == before[key] for key in before.keys() & after.keys())


def test_a_damaged_plan_can_be_abandoned(tmp_path: Path):
    """A run whose plan was cut on disk is refused by apply, given up by abandon, and blocks nothing after that."""
    with world(tmp_path / "w", 1_000, seed=4) as fresh:
        request = pipeline.PlanRequest(extract=fresh.extract, date=DAY)
        planned = pipeline.make_plan(fresh.settings, request)
        planned.folder.mark(RunStatus.APPLYING, ScaledClock())
        steps = planned.folder.plan / "steps.parquet"
        steps.write_bytes(steps.read_bytes()[:50])
        with pytest.raises(PlanError, match="cannot be read"):
            pipeline.apply_run(fresh.settings)
        pipeline.abandon_run(fresh.settings)
        assert pipeline.make_plan(fresh.settings, request).plan.digest


def test_units_in_another_case_are_the_same_units(tmp_path: Path):
    """The directory takes paths in any case; a unit spelt otherwise is used as it is, and nobody is moved."""
    with world(tmp_path / "w", 1_000, seed=4) as fresh:
        directory = connect(fresh.settings, ScaledClock(400), SystemRandomness())[Jenjang.SMA]
        assert directory.insert_orgunit("/", "JAWA TENGAH").verdict == "done"
        planned = pipeline.make_plan(fresh.settings, pipeline.PlanRequest(extract=fresh.extract, date=DAY))
        pipeline.apply_run(fresh.settings, planned.folder.run_id)
        assert pipeline.verify_run(fresh.settings).remaining == 0
