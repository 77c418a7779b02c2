"""The whole road: one plan digest whatever the order and the cut, no bypass, nothing personal left behind."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from pathlib import Path

import orjson
import polars as pl
import pytest
from belajarid_recon.population.advance import AdvanceRequest, advance_population

from belajarid_recon import pipeline
from belajarid_recon.components import ScaledClock
from belajarid_recon.errors import BusyError, PlanError, SettingsError
from belajarid_recon.schemas import EXTRACT, Jenjang
from belajarid_recon.settings import Endpoint, Run, Settings
from belajarid_recon.state.folders import RunStatus
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
    steps = pipeline.read_plan(run.plan).steps
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
    steps = pipeline.read_plan(pipeline.latest(converged.settings).plan).steps
    created = steps.filter(pl.col("action") == "create").with_columns(
        local=pl.col("address").str.split("@").list.first()
    )
    assert created.group_by("tenant", "local").len()["len"].max() == 1
    assert created["local"].str.contains(r"^[a-z]+(\.[a-z]+)?[0-9]{4,6}$").all()


def test_shuffled_rows_parts_and_threads_give_one_digest(converged: World, next_week: Path, tmp_path: Path):
    """Row order, files, P and threads change nothing: one digest, and it is no empty plan's."""
    digests, heights = set(), set()
    for number, (parts, threads) in enumerate([(1, 1), (2, 3), (4, 8), (4, 1), (1, 8)]):
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
        four = pipeline.make_plan(cut(fresh.settings, 4, 8), pipeline.PlanRequest(extract=other, date=DAY))
        assert one.plan.digest == four.plan.digest
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


def test_nothing_personal_is_in_a_run_but_its_records(converged: World):
    """No NIK, NISN or password stands in any file of the run outside records/, nor in state, settings or emulator logs."""
    numbers = set()
    for table, columns in (("peserta_didik", ("nik", "nisn")), ("ptk", ("nik", "nuptk"))):
        for column in columns:
            numbers |= set(tables_of(converged.extract, table)[column].drop_nulls().str.strip_chars())
    numbers = {number for number in numbers if len(set(number)) > 1}
    assert len(numbers) > PEOPLE
    looked_at = 0
    for path in sorted(converged.settings.state.rglob("*")):
        if path.is_dir() or "records" in path.parts:
            continue
        looked_at += 1
        found = set(re.findall(r"(?<!\d)(?:\d{16}|\d{10})(?!\d)", text_of(path))) & numbers
        assert not found, f"{len(found)} personal numbers in {path.name}"
        assert "$6$" not in text_of(path), path.name
        assert '"password"' not in text_of(path), path.name
    assert looked_at > 10


def text_of(path: Path) -> str:
    """Everything readable in a file: decoded columns of Parquet, raw bytes of the rest."""
    if path.suffix != ".parquet":
        return path.read_bytes().decode("latin-1")
    frame = pl.read_parquet(path)
    texts = [frame[name].cast(pl.String) for name, dtype in frame.schema.items() if dtype != pl.Binary]
    raw = [frame[name].bin.encode("hex") for name, dtype in frame.schema.items() if dtype == pl.Binary]
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


def test_other_keys_make_strangers_of_all_accounts(converged: World, tmp_path: Path):
    """With another marker key our accounts are not ours: they get no step, and their addresses still block."""
    other = tmp_path / "marker"
    other.touch(mode=0o600)
    other.write_text("ab" * 32)
    keys = converged.settings.keys.model_copy(update={"marker_file": other})
    state = tmp_path / "state"
    settings = converged.settings.model_copy(update={"keys": keys, "state": state})
    planned = pipeline.make_plan(settings, pipeline.PlanRequest(extract=converged.extract, date=DAY))
    assert set(planned.plan.steps["action"]) == {"create"}
    live = {row["account"]["primaryEmail"] for tenant in Jenjang for row in converged.emulator.accounts(tenant)}
    assert not live & set(planned.plan.steps["address"])
    shutil.rmtree(state)
