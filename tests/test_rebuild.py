"""A journal that is damaged or gone stops the run, and is made anew from the directory; nothing is lost or sent twice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import apsw
import pytest

from appliers.harness import APPLY, Arena, SwarmRequest, arena_of
from appliers.plans import creation, plan_of, settings_of
from belajarid_recon.apply.killpoints import KillPoint
from belajarid_recon.apply.rebuild import _spooled, rebuild_journal
from belajarid_recon.apply.run import ApplyComponents, apply_plan
from belajarid_recon.components import ScaledClock, SystemRandomness
from belajarid_recon.directory.chains import PAGE_ACCOUNTS
from belajarid_recon.directory.connect import connect
from belajarid_recon.directory.interface import Page
from belajarid_recon.errors import PlanError
from belajarid_recon.plan.steps import ROWS_PER_GROUP
from belajarid_recon.settings import Settings
from belajarid_recon.state.folders import RunStatus
from belajarid_recon.state.lock import StateLock

REQUEST = SwarmRequest(kills=0, seed=6, creations=40)
STOP = "outcome-committed:5"


def change_a_row(journal: Path) -> None:
    """As somebody with an editor would."""
    with apsw.Connection(str(journal)) as connection:
        connection.execute("UPDATE events SET state = 'done' WHERE n = 6")
    connection.close()


def lose_it(journal: Path) -> None:
    """With everything that belongs to it."""
    for path in journal.parent.glob("journal.*"):
        path.unlink()


def fill_with_zeros(journal: Path) -> None:
    """As some file systems leave it after a power cut."""
    journal.write_bytes(bytes(journal.stat().st_size))


DAMAGES: dict[str, Callable[[Path], None]] = {
    "a row is changed": change_a_row,
    "it is lost": lose_it,
    "it is zeros": fill_with_zeros,
    "its head is lost": lambda journal: journal.with_suffix(".head").unlink(),
}


def hands_of(arena: Arena) -> tuple[Settings, ApplyComponents]:
    """What applying needs in this process."""
    settings = settings_of(arena.target, **APPLY)
    clock = ScaledClock(settings.endpoint.time_scale)
    return settings, ApplyComponents(connect(settings, clock, SystemRandomness()), clock, SystemRandomness())


def test_a_damaged_journal_is_made_anew_from_the_directory():
    """The run stops on it, the rebuild settles what stands, a rebuild that was itself interrupted too, and the rest is sent once."""
    with arena_of(forks=True) as arena:
        cases = arena.prepare(REQUEST, len(DAMAGES))
        settings, components = hands_of(arena)
        for case, damage in zip(cases, DAMAGES.values(), strict=True):
            assert arena.live(case, point=STOP)
            damage(case.run.journal)
            with (
                StateLock(case.run.state, purpose="test") as lock,
                pytest.raises(PlanError, match="is damaged") as refused,
            ):
                apply_plan(lock, case.run, case.plan, settings, components)
            assert refused.value.hint.startswith("belajarid-recon rebuild")
            arena.live(case, "rebuild", kill_after=0.01)
            # The damaged journal has gone and the new one is not there: an apply must not take that for a run without one.
            assert arena.live(case, "rebuild", point=f"{KillPoint.JOURNAL_ASIDE}:1")
            with StateLock(case.run.state, purpose="test") as lock, pytest.raises(PlanError, match="is damaged"):
                apply_plan(lock, case.run, case.plan, settings, components)
            assert not arena.live(case, "rebuild")
            assert case.run.status() is RunStatus.APPLYING
            assert not arena.live(case)
            assert list(case.run.path.glob("damaged-*/*")) or damage is lose_it
        answers = arena.emulator.stats()["answers"]["users.insert"]
        squatted = sum(step.is_creation and step.address in case.squatted for case in cases for step in case.steps)
        assert arena.judge() == []
    assert answers.get("409", 0) == squatted


def test_a_run_that_has_not_begun_or_is_over_is_not_rebuilt():
    """There is nothing the directory could say about it."""
    with arena_of(forks=True) as arena:
        (case,) = arena.prepare(REQUEST, 1)
        settings, components = hands_of(arena)
        with StateLock(case.run.state, purpose="test") as lock, pytest.raises(PlanError, match="has not begun"):
            rebuild_journal(lock, case.run, case.plan, settings, components)
        assert not arena.live(case)
        with StateLock(case.run.state, purpose="test") as lock, pytest.raises(PlanError, match="run is closed"):
            rebuild_journal(lock, case.run, case.plan, settings, components)


def test_who_is_not_found_once_has_not_left():
    """A member whom one reading of a rebuild does not find is looked for again, still to be removed, and leaves for good."""
    with arena_of(forks=True) as arena:
        other, case = arena.prepare(replace(REQUEST, creations=3, others=False), 2)
        assert not arena.live(other)
        assert "remove-member" in {str(step.action) for step in case.steps}
        assert arena.live(case, point=f"{KillPoint.APPLYING_MARKED}:1")
        arena.emulator.fault("members.get", "status", status=404, reason="notFound", times=len(case.tenants))
        settings, components = hands_of(arena)
        with StateLock(case.run.state, purpose="test") as lock:
            counts = rebuild_journal(lock, case.run, case.plan, settings, components)
        assert counts == {"done": 0, "parked": 0, "to-send": len([*case.steps])}
        assert not arena.live(case)
        assert arena.judge() == []


def test_what_has_left_is_done():
    """A rebuild of a run that has sent all it had says so of its removals too."""
    with arena_of(forks=True) as arena:
        other, case = arena.prepare(replace(REQUEST, creations=3, others=False), 2)
        assert not arena.live(other)
        assert arena.live(case, point=f"{KillPoint.ALL_SETTLED}:1")
        settings, components = hands_of(arena)
        with StateLock(case.run.state, purpose="test") as lock:
            counts = rebuild_journal(lock, case.run, case.plan, settings, components)
        assert counts["to-send"] == 0
        assert not arena.live(case)
        assert arena.judge() == []


class Listed:
    """A tenant of which a rebuild only needs the lists: every third step's account, its address in capitals, and strangers."""

    tenant = "sd"

    def __init__(self, count: int) -> None:
        self._accounts = [self.account(number) for number in range(0, count, 3)]
        self._accounts += [{"id": f"s{number}", "primaryEmail": f"s{number}@sd.belajar.id"} for number in range(2_000)]

    def account(self, number: int) -> dict[str, Any]:
        """The account of a creation of `creation`."""
        row = creation("sd", number)
        value = {"type": "custom", "customType": "recon", "value": row["marker"]}
        return {"id": f"id{number}", "primaryEmail": row["address"].upper(), "externalIds": [value]}

    def orgunit_paths(self) -> set[str]:
        """As Directory."""
        return {"/A"}

    def domains(self) -> list[str]:
        """As Directory."""
        return ["sd.belajar.id"]

    def list_accounts(self, domain: str, token: str | None) -> Page:
        """As Directory."""
        assert domain == "sd.belajar.id"
        start = int(token or 0)
        end = start + PAGE_ACCOUNTS
        return Page(self._accounts[start:end], str(end) if end < len(self._accounts) else None)


def test_accounts_wait_on_disk_for_their_steps(tmp_path):
    """Each row group of a plan finds the accounts its own steps speak of, by any of their names, and no others; nothing is left."""
    count, row_groups = 2 * ROWS_PER_GROUP + 100, 3
    steps = plan_of([creation("sd", number) for number in range(count)], {}).steps
    with _spooled(tmp_path / "spool", Listed(count), steps) as spool:
        for rows in range(row_groups):
            seen = spool.seen(rows)
            mine = range(rows * ROWS_PER_GROUP, min(count, (rows + 1) * ROWS_PER_GROUP))
            there = {number for number in mine if number % 3 == 0}
            assert set(seen.by_id) == {f"id{number}" for number in there}
            for number in mine:
                row = creation("sd", number)
                found = seen.get_account(row["address"])
                assert (found is not None) is (number in there)
                assert seen.find_by_marker(row["marker"]) == ([] if found is None else [found])
        assert len(list((tmp_path / "spool").iterdir())) == row_groups
    assert not (tmp_path / "spool").exists()
