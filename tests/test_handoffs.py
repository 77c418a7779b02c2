"""Hand-offs to the console: opened by promotions, aged, closed when the role is seen, and written as files a person can use."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from appliers.desk import CLOCK, TIME_SCALE, Desk, numbers
from appliers.plans import account_key, creation, update
from belajarid_recon import pipeline
from belajarid_recon.cli.handoff import bulk_csv, file_name
from belajarid_recon.cli.main import app
from belajarid_recon.cli.starting import write_settings
from belajarid_recon.components import SystemRandomness
from belajarid_recon.directory.connect import connect
from belajarid_recon.directory.google import GoogleDirectory
from belajarid_recon.directory.snapshot import SnapshotRequest, take_snapshots
from belajarid_recon.emulator.launch import EmulatorProcess
from belajarid_recon.emulator.settings import EmulatorSettings
from belajarid_recon.errors import DirectoryError, ExitStatus, PlanError
from belajarid_recon.plan.file import write_plan
from belajarid_recon.schemas import OBSERVED, Action, Jenjang, conform
from belajarid_recon.settings import Settings
from belajarid_recon.state.folders import RunFolder
from belajarid_recon.state.handoffs import open_handoffs, record_handoffs
from belajarid_recon.state.journal import Event, EventState, Journal

SD = Jenjang.SD


@pytest.fixture(scope="module")
def office(tmp_path_factory) -> Iterator[tuple[EmulatorProcess, Settings, dict[Jenjang, GoogleDirectory]]]:
    """An emulator, settings for it, and connections."""
    folder = tmp_path_factory.mktemp("office")
    with EmulatorProcess(EmulatorSettings(folder / "emulator", scale=TIME_SCALE)) as emulator:
        settings = write_settings(folder, emulator)
        connected = connect(settings, CLOCK, SystemRandomness())
        yield emulator, settings, connected
        for directory in connected.values():
            directory.close()


@pytest.fixture
def desk(office, tmp_path) -> Desk:
    """A fresh state folder."""
    emulator, _, directories = office
    return Desk(emulator, directories, tmp_path / "state")


@pytest.fixture
def settings(office, desk) -> Settings:
    """Settings whose state is the desk's."""
    return office[1].model_copy(update={"state": desk.state})


def snapshot_run(desk: Desk) -> RunFolder:
    """A new run with a snapshot of now."""
    run = desk.new_run()
    request = SnapshotRequest(run.snapshot, {SD: desk.customer_ids["sd"]}, parts=2, threads=1, clock=CLOCK)
    take_snapshots({SD: desk.directories[SD]}, request)
    return run


def promotion(number: int, target_id: str, **changes: Any) -> dict[str, Any]:
    """A step that moves an account of ours into the administrators' domain."""
    address = f"budi.santoso{number:05}@admin.sd.belajar.id"
    step = update("sd", number, target_id, {"domain": "sd.belajar.id"}, address=address, **changes)
    return step | {"action": Action.PROMOTE.value}


def test_a_promotion_waits_until_the_role_is_seen(desk, settings):
    """Opened when the run closes, with the unit the snapshot knows; a later snapshot with the role closes it, and a run keeps that."""
    promoted, other = numbers(2)
    ids = [desk.plant(number) for number in (promoted, other)]
    desk.apply(desk.plan(*(promotion(n, i) for n, i in zip((promoted, other), ids, strict=True))), snapshot_run(desk))
    waiting = pipeline.waiting_for_console(settings)
    assert set(waiting["account_key"]) == {account_key("sd", promoted), account_key("sd", other)}
    assert set(waiting["ou_path"]) == {"/"}
    assert set(waiting["address"]) == {f"budi.santoso{n:05}@admin.sd.belajar.id" for n in (promoted, other)}
    desk.emulator.edit(SD, ids[0], {"isDelegatedAdmin": True})
    assert pipeline.waiting_for_console(settings).height == 2
    later = snapshot_run(desk)
    assert pipeline.waiting_for_console(settings)["account_key"].to_list() == [account_key("sd", other)]
    desk.apply(desk.plan(), later)
    assert open_handoffs(desk.state)["account_key"].to_list() == [account_key("sd", other)]
    opened = dict(waiting.select("account_key", "at").iter_rows())
    assert pipeline.waiting_for_console(settings)["at"].to_list() == [opened[account_key("sd", other)]]


def test_a_promotion_waits_while_its_run_is_under_way(desk, settings):
    """A run may last for weeks: whoever is promoted on its first day waits from that day, and still does so when it is closed."""
    done, waits = numbers(2)
    ids = [desk.plant(number) for number in (done, waits)]
    plan = desk.plan(promotion(done, ids[0]), promotion(waits, ids[1]))
    run = snapshot_run(desk)
    write_plan(run.plan, plan)
    desk.emulator.fault("users.update", "status", status=401, reason="authError", after=1, times=None)
    with pytest.raises(DirectoryError):
        desk.apply(plan, run, in_flight=1)
    begun = pipeline.waiting_for_console(settings)
    assert begun.select("account_key", "ou_path", "run").rows() == [(account_key("sd", done), "/", run.run_id)]
    desk.emulator.clear_faults()
    desk.apply(plan, run)
    closed = pipeline.waiting_for_console(settings)
    assert closed.height == 2
    assert closed.filter(pl.col("account_key") == account_key("sd", done))["at"].to_list() == begun["at"].to_list()


def test_only_what_was_carried_out_waits(desk):
    """A new account in the administrators' domain does; a parked promotion, a held one, and an ordinary account do not."""
    made, gone, held, ordinary = numbers(4)
    rows = [
        creation("sd", made, address=f"kepala{made}@admin.sd.belajar.id"),
        creation("sd", ordinary),
        promotion(gone, "1" * 21),
        promotion(held, desk.plant(held)) | {"held_by": "demotions_per_tenant"},
    ]
    desk.apply(desk.plan(*rows))
    assert open_handoffs(desk.state)["account_key"].to_list() == [account_key("sd", made)]


def test_a_demotion_withdraws_a_hand_off(desk):
    """By our own step at once, by somebody else's when a snapshot shows it."""
    ours, theirs = numbers(2)
    ids = [desk.plant(number) for number in (ours, theirs)]
    desk.apply(desk.plan(promotion(ours, ids[0]), promotion(theirs, ids[1])))
    assert open_handoffs(desk.state).height == 2
    desk.emulator.edit(SD, ids[1], {"primaryEmail": f"pindah{theirs}@sd.belajar.id"})
    back = {"address": f"budi.santoso{ours:05}@guru.sd.belajar.id"}
    demotion = update("sd", ours, ids[0], {"domain": "admin.sd.belajar.id"}, **back) | {"action": Action.DEMOTE.value}
    desk.apply(desk.plan(demotion), snapshot_run(desk))
    assert open_handoffs(desk.state).is_empty()


def test_what_one_run_closes_and_opens_again_is_open(desk):
    """Somebody moved the account away, the run's snapshot shows it, and the run moves it back; writing twice is writing once."""
    (number,) = numbers(1)
    steps = list(desk.plan(promotion(number, "1" * 21)).steps.pieces())
    for place in range(2):
        run = desk.new_run()
        seen = pl.DataFrame(
            [
                {
                    "account_key": account_key("sd", number),
                    "tenant": "sd",
                    "domain": "guru.sd.belajar.id",
                    "is_admin": False,
                }
            ],
            schema_overrides={"account_key": pl.Binary},
        )
        with Journal.create(run.journal, {}, steps=1, clock=CLOCK) as journal:
            journal.commit([Event(0, 1, EventState.INTENT), Event(0, 1, EventState.DONE)])
            for _ in range(2):
                assert record_handoffs(run, steps, conform(seen, OBSERVED), CLOCK.now()) == 1
        events = pl.read_parquet(desk.state / "handoffs" / f"{run.run_id}.parquet")["event"].to_list()
        assert events == ["withdrawn"] * place + ["opened"]
        assert open_handoffs(desk.state)["run"].to_list() == [run.run_id]


def test_a_promotion_that_was_only_said_does_not_wait(desk):
    """A contradicted step hands nothing off: the next plan promotes the account again."""
    (number,) = numbers(1)
    plan = desk.plan(promotion(number, "1" * 21))
    run = desk.new_run()
    with Journal.create(run.journal, {}, steps=1, clock=CLOCK) as journal:
        sent = [Event(0, 1, EventState.INTENT), Event(0, 1, EventState.DONE)]
        journal.commit([*sent, Event(0, 0, EventState.CONTRADICTED, reason="not-as-written:domain")])
        assert record_handoffs(run, plan.steps.pieces(), None, CLOCK.now()) == 0


def test_a_lost_segment_is_noticed(desk):
    """A run that wrote one is not taken for one that had nothing to hand off."""
    (number,) = numbers(1)
    desk.apply(desk.plan(creation("sd", number, address=f"kepala{number}@admin.sd.belajar.id")))
    (segment,) = (desk.state / "handoffs").iterdir()
    content = segment.read_bytes()
    segment.write_bytes(content[:100])
    with pytest.raises(PlanError, match="hand-off segment cannot be read"):
        open_handoffs(desk.state)
    segment.unlink()
    with pytest.raises(PlanError, match="hand-off segment is missing"):
        open_handoffs(desk.state)


def test_the_command_counts_and_writes_a_file_a_unit(desk, office, tmp_path):
    """Counts and ages on the screen, addresses in the files alone, each of them for its owner only."""
    _, settings, _ = office
    people = numbers(3)
    own = Desk(desk.emulator, desk.directories, settings.state)
    unit = "/Kota =Uji"
    desk.directories[SD].insert_orgunit("/", "Kota =Uji")
    own.apply(
        own.plan(
            *(creation("sd", n, address=f"kepala{n}@admin.sd.belajar.id", ou_path=unit) for n in people[:2]),
            creation("smp", people[2], address=f"kepala{people[2]}@admin.smp.belajar.id"),
        )
    )
    out = tmp_path / "handoff"
    words = ["handoff", "--settings", str(settings.state.parent / "recon.toml"), "--out", str(out), "--role", "=Peran"]
    told = CliRunner().invoke(app, [*words, "--json"])
    assert told.exit_code == ExitStatus.DONE, told.output
    document = orjson.loads(told.stdout)
    assert (document["state"], document["accounts"]) == ("waiting for the console", 3)
    assert document["units"] == [
        {"tenant": "sd", "unit": unit, "accounts": 2, "oldest_days": 0},
        {"tenant": "smp", "unit": "/", "accounts": 1, "oldest_days": 0},
    ]
    assert "kepala" not in told.output + CliRunner().invoke(app, words).output
    files = {path.name: path for path in out.iterdir()}
    assert sorted(files) == sorted([file_name("sd", unit), file_name("smp", "/")])
    rows = list(csv.reader(io.StringIO(files[file_name("sd", unit)].read_bytes().decode(), newline="")))
    assert rows == [
        ["address", "role", "unit"],
        *([f"kepala{n}@admin.sd.belajar.id", "'=Peran", unit] for n in people[:2]),
    ]
    assert {path.stat().st_mode & 0o777 for path in files.values()} == {0o600}


@given(st.text(min_size=1, max_size=300), st.text(min_size=1, max_size=300))
def test_a_units_name_leads_nowhere(one: str, other: str):
    """Whatever a unit is called, its file has a plain name of bounded length, and no two units share it."""
    name = file_name("sd", one)
    assert Path(name).name == name
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-.")
    assert name.startswith("sd-")
    assert len(name) < 120
    assert (file_name("sd", other) == name) is (one == other)


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=20), max_size=5))
def test_no_cell_is_a_formula(cells: list[str]):
    """Commas, quotes and line ends stay inside their cell, and nothing begins as a formula does."""
    rows = list(csv.reader(io.StringIO(bulk_csv(cells, "Peran", "/Kota").decode(), newline="")))
    assert len(rows) == len(cells) + 1
    for row, cell in zip(rows[1:], cells, strict=True):
        assert row[0] in {cell, f"'{cell}"}
        assert not row[0].startswith(("=", "+", "-", "@", "\t", "\r"))
