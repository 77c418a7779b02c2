"""The directory remembers the latest epoch, and refuses a state folder that has not taken it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from appliers.desk import CLOCK, Desk, numbers, target_of
from appliers.plans import creation, settings_of
from belajarid_recon.directory.epochs import ATTEMPTS, note_epoch, note_text, refuse_newer_directory, refuse_overtaken
from belajarid_recon.errors import DirectoryError, PlanError, SettingsError
from belajarid_recon.plan.file import write_plan
from belajarid_recon.schemas import Jenjang
from belajarid_recon.settings import load_settings
from belajarid_recon.state.lease import Epoch, KnownEpochs

SD = Jenjang.SD
A, B = "a" * 32, "b" * 32
TOKEN = "0" * 16
RUN = "20261122T124510203Z-0a1b2c3d"


@pytest.fixture
def noted(desk) -> Desk:
    """A desk whose epoch stands in a unit of its own."""
    desk.unit = f"/Zaman {numbers(1)[0]}"
    return desk


def note_of(desk: Desk) -> str | None:
    """What the directory says."""
    unit = desk.directories[SD].get_orgunit(desk.unit)
    return None if unit is None else unit["description"]


def newest(desk: Desk, number: int) -> str:
    """What the directory should say after so many starts."""
    known = KnownEpochs.of(desk.state)
    assert known.newest == number
    return f"belajarid-recon epoch {number} {known.tokens[number]} of {known.identity}, run {desk.runs[-1].run_id}"


def put_back(desk: Desk, copy: Path) -> None:
    """The state folder becomes what it was when it was copied."""
    shutil.rmtree(desk.state)
    shutil.copytree(copy, desk.state)


def test_each_apply_leaves_its_epoch_before_anything_else(noted):
    """Also one that sends nothing any more, and one that ends badly."""
    (number,) = numbers(1)
    plan = noted.plan(creation("sd", number))
    noted.apply(plan)
    assert note_of(noted) == newest(noted, 1)
    noted.emulator.fault("users.insert", "status", status=403, reason="forbidden")
    (other,) = numbers(1)
    run = noted.new_run()
    with pytest.raises(DirectoryError):
        noted.apply(noted.plan(creation("sd", other)), run)
    assert note_of(noted) == newest(noted, 2)
    noted.apply(noted.plan(creation("sd", other)), run)
    assert note_of(noted) == newest(noted, 3)
    with noted.journal(run) as journal:
        assert journal.epoch == 3


@pytest.mark.parametrize("runs_since", [1, 3])
def test_a_restored_older_state_is_refused_before_the_first_write(noted, tmp_path, runs_since):
    """Every earlier copy, from the first on; the newest goes on."""
    copies = []
    for _ in range(runs_since + 1):
        noted.apply(noted.plan(creation("sd", *numbers(1))))
        copies.append(shutil.copytree(noted.state, tmp_path / f"copy-{len(copies)}"))
    newest = copies.pop()
    for copy in copies:
        put_back(noted, copy)
        before = noted.applied()
        with pytest.raises(
            PlanError, match="not the directory's newest: tenant sd: a later copy of this one"
        ) as refused:
            noted.apply(noted.plan(creation("sd", *numbers(1))))
        assert noted.unit in refused.value.hint
        assert noted.applied() == before
    put_back(noted, newest)
    noted.apply(noted.plan(creation("sd", *numbers(1))))


def test_a_restored_state_does_not_come_through_by_trying_often(noted, tmp_path):
    """Each start takes an epoch; a refused one leaves the number where it was."""
    noted.apply(noted.plan(creation("sd", *numbers(1))))
    copy = shutil.copytree(noted.state, tmp_path / "copy")
    for _ in range(3):
        noted.apply(noted.plan(creation("sd", *numbers(1))))
    put_back(noted, copy)
    for _ in range(5):
        with pytest.raises(PlanError, match="not the directory's newest"):
            noted.apply(noted.plan(creation("sd", *numbers(1))))


def test_another_state_folder_is_refused(noted, tmp_path):
    """A fresh one would know no reserved address, and no suspension of ours."""
    noted.apply(noted.plan(creation("sd", *numbers(1))))
    fresh = Desk(noted.emulator, noted.directories, tmp_path / "fresh", noted.unit)
    before = noted.applied()
    with pytest.raises(PlanError, match="another state folder has applied to it, up to epoch 1"):
        fresh.apply(fresh.plan(creation("sd", *numbers(1))))
    assert noted.applied() == before
    assert note_of(noted) == newest(noted, 1)


@pytest.mark.parametrize(
    ("method", "kind", "script"),
    [
        ("orgunits.insert", "drop-before", {}),
        ("orgunits.insert", "drop-after", {}),
        ("orgunits.insert", "status-after", {"status": 503}),
        ("orgunits.insert", "status", {"status": 429, "reason": "rateLimitExceeded", "retry_after_seconds": 3}),
        ("orgunits.insert", "status", {"status": 401, "reason": "authError"}),
        ("orgunits.get", "status", {"status": 503, "reason": "backendError"}),
    ],
)
def test_the_note_comes_to_stand_there_whatever_the_answers(noted, method, kind, script):
    """It is read back, and written again until it is there."""
    noted.emulator.fault(method, kind, **script)
    noted.apply(noted.plan(creation("sd", *numbers(1))))
    assert note_of(noted) == newest(noted, 1)
    assert all(fault["used"] for fault in noted.emulator.stats()["faults"])


@pytest.mark.parametrize("kind", ["drop-after", "drop-before"])
def test_the_next_note_comes_to_stand_there_too(noted, kind):
    """A patch instead of an insert."""
    noted.apply(noted.plan(creation("sd", *numbers(1))))
    noted.emulator.fault("orgunits.patch", kind)
    noted.apply(noted.plan(creation("sd", *numbers(1))))
    assert note_of(noted) == newest(noted, 2)


def test_a_note_that_cannot_be_written_stops_the_apply(noted):
    """Nothing else has left by then."""
    noted.emulator.fault("orgunits.insert", "drop-before", times=ATTEMPTS)
    before = noted.emulator.stats()["applied"].get("users.insert", {})
    with pytest.raises(DirectoryError, match="epoch cannot be written"):
        noted.apply(noted.plan(creation("sd", *numbers(1))))
    assert noted.emulator.stats()["applied"].get("users.insert", {}) == before


def test_a_run_that_lost_its_later_starts_is_rebuilt(noted, tmp_path):
    """What they did stands in the directory; of another run's starts nobody could say what they did."""
    first, second = numbers(2)
    plan, run = noted.plan(creation("sd", first), creation("sd", second)), noted.new_run()
    noted.emulator.fault("users.insert", "status", status=403, reason="forbidden", after=1)
    with pytest.raises(DirectoryError):
        noted.apply(plan, run, in_flight=1)
    write_plan(run.plan, plan)
    copy = shutil.copytree(noted.state, tmp_path / "copy")
    noted.emulator.clear_faults()
    noted.apply(plan, run)
    put_back(noted, copy)
    with pytest.raises(PlanError, match="a later copy of this one"):
        noted.apply(plan, run)
    counts = noted.rebuild(plan, run)
    assert counts == {"done": 2, "parked": 0, "to-send": 0}
    assert note_of(noted) == newest(noted, 3)
    noted.apply(plan, run)
    noted.apply(noted.plan(creation("sd", *numbers(1))))
    put_back(noted, copy)
    with pytest.raises(PlanError, match="a later copy of this one"):
        noted.rebuild(plan, run)


def test_a_description_of_somebody_else_is_no_note(noted):
    """The unit is ours by its name in the settings; a note is put into it."""
    directory = noted.directories[SD]
    directory.insert_orgunit("/", noted.unit[1:], "Bukan catatan, epoch 9")
    refuse_newer_directory(directory, noted.unit, KnownEpochs(None, 0, {}))
    ours = Epoch(1, TOKEN, A, RUN)
    note_epoch(directory, noted.unit, ours, CLOCK)
    note_epoch(directory, noted.unit, ours, CLOCK)
    assert note_of(noted) == note_text(ours)
    with pytest.raises(PlanError, match="another state folder"):
        note_epoch(directory, noted.unit, Epoch(9, TOKEN, B, RUN), CLOCK)
    with pytest.raises(PlanError, match="up to epoch 1, and ours is 0"):
        refuse_newer_directory(directory, noted.unit, KnownEpochs(A, 0, {}))


@pytest.mark.parametrize("text", ["belajarid-recon epoch sembilan", "belajarid-recon epoch 9 of " + A])
def test_a_note_that_cannot_be_read_refuses(noted, text):
    """It may be a newer version's, or have been edited: it is not taken for none."""
    noted.directories[SD].insert_orgunit("/", noted.unit[1:], text)
    with pytest.raises(PlanError, match="cannot be read"):
        noted.apply(noted.plan(creation("sd", *numbers(1))))
    assert note_of(noted) == text


def test_every_tenant_is_asked_whatever_the_plan(noted, tmp_path):
    """An older copy's plan for one tenant is refused for what was applied to another."""
    noted.apply(noted.plan(creation("smp", *numbers(1))))
    copy = shutil.copytree(noted.state, tmp_path / "copy")
    noted.apply(noted.plan(creation("sd", *numbers(1))))
    put_back(noted, copy)
    for _ in range(3):
        with pytest.raises(PlanError, match="tenant sd: a later copy of this one"):
            noted.apply(noted.plan(creation("smp", *numbers(1))))


def test_a_twin_that_writes_between_note_and_reading_is_seen(noted):
    """Both have read the same note before: the first looks again a moment later."""
    directory = noted.directories[SD]
    ours = Epoch(2, TOKEN, A, RUN)
    note_epoch(directory, noted.unit, ours, CLOCK)
    refuse_overtaken(directory, noted.unit, ours)
    directory.describe_orgunit(noted.unit, note_text(Epoch(1, "1" * 16, A, RUN)))
    refuse_overtaken(directory, noted.unit, ours)
    directory.describe_orgunit(noted.unit, note_text(Epoch(2, "1" * 16, A, RUN)))
    with pytest.raises(PlanError, match="a later copy of this one"):
        refuse_overtaken(directory, noted.unit, ours)


def test_two_copies_that_start_one_after_the_other_are_told_apart_by_their_tokens(noted):
    """Both take the same number: whoever wrote first reads the other's."""
    directory = noted.directories[SD]
    note_epoch(directory, noted.unit, Epoch(1, TOKEN, A, RUN), CLOCK)
    with pytest.raises(PlanError, match="a later copy of this one"):
        note_epoch(directory, noted.unit, Epoch(1, "1" * 16, A, RUN), CLOCK)


@pytest.mark.parametrize("unit", ["catatan", "/", "/a#b", "/a+b", "/a//b", "/a\\\\b"])
def test_a_unit_that_cannot_be_named_is_refused_with_the_settings(tmp_path, unit):
    """With its place in the file."""
    (tmp_path / "recon.toml").write_text(
        f'state = "s"\ntenants = {{}}\n[endpoint]\nclass = "emulator"\n[lease]\nunit = "{unit}"\n'
    )
    with pytest.raises(SettingsError, match=r"lease\.unit"):
        load_settings(tmp_path / "recon.toml")


def test_the_unit_is_on_by_default(desk):
    """Only who says so goes without."""
    settings = settings_of(target_of(desk.emulator, Path("unused")))
    assert type(settings.lease)().unit == "/belajarid-recon"
