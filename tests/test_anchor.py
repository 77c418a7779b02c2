"""A state folder that is older than its anchor is refused, whatever of it was put back."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from appliers.harness import APPLY, SwarmRequest, arena_of
from appliers.plans import creation, plan_of, settings_of
from belajarid_recon.apply.run import ApplyComponents, apply_plan
from belajarid_recon.components import ScaledClock, SystemRandomness
from belajarid_recon.directory.connect import connect
from belajarid_recon.errors import BusyError, PlanError, SettingsError
from belajarid_recon.state.anchor import Anchor
from belajarid_recon.state.folders import RunFolder, new_run
from belajarid_recon.state.journal import Event, EventState, Journal
from belajarid_recon.state.ledger import reserve_addresses
from belajarid_recon.state.lock import StateLock

CLOCK = ScaledClock(1e6)
"""Each commit is more than a second after the one before it."""
STEPS = 8


class World:
    """A state folder with its anchor in another folder."""

    def __init__(self, folder: Path) -> None:
        self.state, self.outside = folder / "state", folder / "outside"
        self.state.mkdir()
        self.outside.mkdir()

    @property
    def anchor(self) -> Anchor:
        """As a command opens it."""
        return Anchor.of(self.outside, self.state, CLOCK, SystemRandomness())

    def begin(self, number: int) -> RunFolder:
        """A run with a reserved address and a journal."""
        run = new_run(self.state, CLOCK, SystemRandomness())
        reserve_addresses(run, plan_of([creation("sd", number)], {}).steps.scan())
        Journal.create(run.journal, {}, steps=STEPS, clock=CLOCK).close()
        return run

    def commit(self, run: RunFolder, *steps: int) -> None:
        """Settle steps in a group each, as an applier that starts and ends."""
        self.anchor.check()
        with Journal.open(run.journal, clock=CLOCK) as journal:
            self.anchor.follow(run, journal)
            for step in steps:
                journal.commit([Event(step, 1, EventState.INTENT), Event(step, 1, EventState.DONE)])


@pytest.fixture
def world(tmp_path) -> World:
    """Two runs, the second under way."""
    made = World(tmp_path)
    made.commit(made.begin(1), 0, 1)
    made.commit(made.begin(2), 0, 1, 2)
    return made


def later_rows(world: World) -> None:
    """What was put back lacks the second run's newest rows."""
    world.commit(latest(world), 3)


def later_run(world: World) -> None:
    """What was put back lacks a run."""
    world.commit(world.begin(3), 0)


def latest(world: World) -> RunFolder:
    """The newest run."""
    return RunFolder(max((world.state / "runs").iterdir()))


@pytest.mark.parametrize("since", [later_rows, later_run])
def test_an_older_copy_of_the_state_is_refused(world, tmp_path, since: Callable[[World], None]):
    """By the next start, before anything is sent; the state itself goes on."""
    copy = shutil.copytree(world.state, tmp_path / "copy")
    since(world)
    world.anchor.check()
    shutil.rmtree(world.state)
    shutil.copytree(copy, world.state)
    with pytest.raises(PlanError, match="older than its anchor") as refused:
        world.anchor.check()
    assert "rebuild" in refused.value.hint


@pytest.mark.parametrize("part", ["ledger", "runs"])
def test_a_part_that_was_put_back_is_refused(world, tmp_path, part):
    """An older ledger alone, or older runs alone."""
    copy = shutil.copytree(world.state / part, tmp_path / "copy")
    later_run(world)
    shutil.rmtree(world.state / part)
    shutil.copytree(copy, world.state / part)
    with pytest.raises(PlanError, match="older than its anchor"):
        world.anchor.check()


def test_another_journal_of_the_same_length_is_refused(world):
    """It is not the number of rows alone."""
    run = latest(world)
    n = Journal.open(run.journal, clock=CLOCK)
    rows = n.newest[0]
    n.close()
    for path in run.path.glob("journal.*"):
        path.unlink()
    with Journal.create(run.journal, {}, steps=STEPS, clock=CLOCK) as journal:
        for _ in range(rows // 2):
            journal.commit([Event(4, 1, EventState.INTENT), Event(4, 1, EventState.ABSENT)])
        assert journal.newest[0] == rows
        with pytest.raises(PlanError, match=f"lacks row {rows}"):
            world.anchor.follow(run, journal)
        world.anchor.replace(run, journal)
    world.commit(run, 5)


def test_a_copy_of_the_head_that_lags_is_not_held_against_the_journal(world):
    """It is not synced: after a power cut it may be older than the anchor."""
    head = latest(world).journal.with_suffix(".head")
    before = head.read_bytes()
    later_rows(world)
    head.write_bytes(before)
    later = world.anchor
    later.check()


def test_an_anchor_that_cannot_be_written_stops_the_journal(world):
    """What leaves after that could not be told from a restored copy."""
    run = latest(world)
    with Journal.open(run.journal, clock=CLOCK) as journal:
        world.anchor.follow(run, journal)
        shutil.rmtree(world.outside)
        for _ in range(2):
            with pytest.raises(BusyError, match="anchor cannot be written"):
                journal.commit([Event(5, 1, EventState.INTENT)])


def test_an_anchor_that_is_not_there_or_unreadable_is_refused(world):
    """A disk that is not mounted is no first use, and a damaged note is no note."""
    (path,) = world.outside.iterdir()
    for content in (b"", b"{}", b"[1]", b'{"format_version": 2}'):
        path.write_bytes(content)
        with pytest.raises(PlanError, match="anchor cannot be read"):
            world.anchor.check()
    shutil.rmtree(world.outside)
    with pytest.raises(SettingsError, match="no such folder for the anchor"):
        _ = world.anchor


def test_an_apply_of_an_older_copy_sends_nothing(tmp_path):
    """A copy taken in mid-run and put back after its end is refused; the plan was carried out once."""
    with arena_of(forks=True) as arena:
        (case,) = arena.prepare(SwarmRequest(kills=0, seed=4, creations=30, others=False), 1)
        copy, outside = tmp_path / "copy", tmp_path / "outside"
        outside.mkdir()
        settings = settings_of(arena.target, **APPLY).model_copy(update={"state_anchor": outside})
        clock = ScaledClock(settings.endpoint.time_scale)

        def keep_a_copy(_progress) -> None:
            if not copy.exists():
                shutil.copytree(case.run.state, copy)

        components = ApplyComponents(
            connect(settings, clock, SystemRandomness()), clock, SystemRandomness(), watch=keep_a_copy
        )
        with StateLock(case.run.state, purpose="test") as lock:
            apply_plan(lock, case.run, case.plan, settings, components)
        shutil.rmtree(case.run.state)
        shutil.copytree(copy, case.run.state)
        applied = arena.emulator.stats()["applied"]
        with StateLock(case.run.state, purpose="test") as lock, pytest.raises(PlanError, match="older than its anchor"):
            apply_plan(lock, case.run, case.plan, settings, replace(components, watch=lambda _: None))
        assert arena.emulator.stats()["applied"] == applied
