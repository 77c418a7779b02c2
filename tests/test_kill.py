"""Killing appliers in numbers: forked ones at named points, fresh ones over sockets at any instant; and naive ones, to judge the judge."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from appliers.deck import KINDS_DEALT
from appliers.harness import Report, SwarmRequest, arena_of, swarms
from appliers.naive import Habit
from appliers.plans import DOMAINS
from belajarid_recon.schemas import Action, Jenjang

KILLS = 2_000
FRESH_KILLS = 40
NAIVE_KILLS = 80
SEED = 20_261_122


@pytest.fixture
def swarmed(record_property: Callable[[str, object], None]) -> Callable[..., list[Report]]:
    """Runs swarms side by side, and has what they came to printed at the end (conftest.py)."""

    def run(requests: list[SwarmRequest], *, forks: bool = True) -> list[Report]:
        reports = list(swarms(requests, forks=forks))
        for report in reports:
            record_property("swarm", report.line())
        return reports

    return run


def halves(request: SwarmRequest) -> list[SwarmRequest]:
    """Two swarms that share a request's kills."""
    return [replace(request, kills=request.kills // 2, seed=request.seed + half) for half in range(2)]


def test_no_kill_loses_or_repeats_a_step(swarmed):
    """Two thousand kills at every named point, nested, among faults of every kind, a directory that lags, and what others do meanwhile."""
    reports = swarmed(halves(SwarmRequest(kills=KILLS, seed=SEED)))
    assert [violation for report in reports for violation in report.violations] == []
    assert sum(report.kills for report in reports) >= KILLS
    assert [report.points_hit for report in reports] == [1.0, 1.0]
    assert set().union(*(report.met for report in reports)) >= KINDS_DEALT
    assert sum(report.faults for report in reports) > KILLS / 4
    assert sum(report.renamed for report in reports) > KILLS / 50


def test_no_fresh_process_loses_or_repeats_a_step(swarmed):
    """The same with processes that start from nothing, larger plans, and kills at any instant as well."""
    request = SwarmRequest(kills=FRESH_KILLS, seed=SEED, creations=40, kills_of_case=12, random_share=0.5)
    reports = swarmed(halves(request), forks=False)
    assert [violation for report in reports for violation in report.violations] == []
    assert sum(report.kills for report in reports) >= FRESH_KILLS
    assert all(report.by_point["random"] > 0 for report in reports)


CAUGHT = {
    Habit.NUMBER_ON_409: {"2 live accounts of one person", "an account beside a squatted address"},
    Habit.CONFLICT_IS_SUCCESS: {"said to be done and is not"},
    Habit.NO_READ_BACK: {"0 live accounts of one person"},
    Habit.ADDRESS_ONLY: {"2 live accounts of one person"},
}


@pytest.mark.parametrize("habit", Habit)
def test_the_judge_sees_what_a_naive_applier_breaks(habit, swarmed):
    """Each belief about answers that prove nothing costs somebody an account, and the judge names it."""
    (report,) = swarmed([SwarmRequest(kills=NAIVE_KILLS, seed=SEED, applier=habit, further=False)])
    assert {violation.what for violation in report.violations} >= CAUGHT[habit]


def test_the_judge_is_silent_where_nothing_goes_wrong():
    """Left alone, without faults and others, each applier does what was planned: none of them is a straw man."""
    request = SwarmRequest(kills=0, seed=SEED, faults=0, others=False, further=False)
    with arena_of(forks=True) as arena:
        for case, applier in zip(arena.prepare(request, 10), 2 * ["real", *Habit], strict=True):
            assert not arena.live(case, applier)
        assert arena.judge() == []


def test_the_judge_sees_what_nobody_planned():
    """An account's other fields, accounts of others, units, groups and members: whatever no step explains is named."""
    with arena_of(forks=True) as arena:
        for case in arena.prepare(SwarmRequest(kills=0, seed=SEED, faults=0, others=False), 2):
            assert not arena.live(case)
        assert arena.judge() == []
        tenant = Jenjang(min(case.tenants))
        directory, entry = arena.directories[tenant], {"organizations": [{"title": "Lain"}]}
        stranger = arena.strangers[tenant][0]
        arena.emulator.edit(tenant, stranger, entry)
        changed = next(step for step in case.steps if step.tenant == tenant and step.action == Action.RESTORE)
        arena.emulator.edit(tenant, str(changed.target_id), entry)
        group = next(
            step.address for step in case.steps if step.tenant == tenant and step.action == Action.CREATE_GROUP
        )
        directory.insert_orgunit("/", "Lain")
        directory.insert_group({"email": f"lain@{DOMAINS[tenant]}", "name": "Lain"})
        directory.insert_member(str(group), stranger)
        seen = {violation.what for violation in arena.judge()}
    assert seen == {
        "an account of others was changed",
        "an account that is not as planned: ['organizations']",
        "a unit nobody planned",
        "a group nobody planned",
        "a member nobody planned",
        *(f"an effect too many: {what}.insert" for what in ("orgunits", "groups", "members")),
    }
