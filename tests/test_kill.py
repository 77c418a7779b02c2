"""Killing the applier: hundreds of times, at named points and at random instants, over real sockets."""

from __future__ import annotations

import sys
from collections import Counter

from appliers.harness import Arena, ArenaRequest, arena_of, finish, kill_until, script_faults, violations
from belajarid_recon.apply.killpoints import KillPoint
from belajarid_recon.apply.settle import ApplyReason
from belajarid_recon.components import ScaledClock
from belajarid_recon.state.journal import EventState, Journal

KILLS = 200
FAULTY_KILLS = 30
FAULTS = 200
NAIVE_KILLS = 15


def assert_settled(arena: Arena, *, squatted: int):
    """Every step has one outcome; parked are only those whose address somebody else holds."""
    with Journal.open(arena.run.journal, clock=ScaledClock()) as journal:
        assert journal.settled_count == arena.plan.steps.height
        assert journal.unsettled() == {}
        read_back = [(journal.awaits_reading(step), journal.is_contradicted(step)) for step in arena.plan.steps["step"]]
        assert set(read_back) == {(False, False)}
        reasons = Counter((state, reason) for _, state, reason in journal.reasons())
    assert reasons == {(EventState.PARKED, ApplyReason.ADDRESS_FOREIGN): squatted}


def test_each_account_is_created_once_whatever_the_kills(tmp_path, capsys):
    """Two hundred kills and more, between intent and send and between effect and outcome, and every step took effect once."""
    with arena_of(tmp_path, ArenaRequest(creations=1_000, updates=120, squatted=3)) as arena:
        kill_until(arena, KILLS, seed=20_261_122)
        finish(arena)
        with capsys.disabled():
            sys.stdout.write(f"\n  {arena.kills.table()}\n")
        assert violations(arena) == []
        assert_settled(arena, squatted=6)
    assert arena.kills.total > KILLS
    assert arena.kills.kills_without_effect > 0
    assert arena.kills.kills_with_effect > 0
    assert set(arena.kills.by_point) == {*KillPoint, "random"}


def test_each_account_is_created_once_among_kills_and_faults(tmp_path, capsys):
    """Requests and answers that get lost, answers that lie, stale reads and quotas change nothing about that."""
    with arena_of(tmp_path, ArenaRequest(creations=300, updates=120, squatted=2)) as arena:
        script_faults(arena, FAULTS, seed=3)
        kill_until(arena, FAULTY_KILLS, seed=4)
        finish(arena)
        used = sum(fault["used"] for fault in arena.emulator.stats()["faults"])
        with capsys.disabled():
            sys.stdout.write(f"\n  {used} faults met; {arena.kills.table()}\n")
        assert violations(arena) == []
        assert_settled(arena, squatted=4)
    assert used > FAULTS / 2


def test_a_naive_applier_fails_the_same_judge(tmp_path):
    """Remembering successes, sending the rest again and adding numbers on 409 gives people two accounts; the judge sees it."""
    with arena_of(tmp_path, ArenaRequest(creations=100, updates=10, squatted=2)) as arena:
        kill_until(arena, NAIVE_KILLS, seed=1, applier="naive")
        finish(arena, applier="naive")
        found = Counter(violations(arena))
    assert found["2 live accounts of one person"] > 0
    assert found["an account beside a squatted address"] == 4


def test_a_plan_without_kills_has_no_violations(tmp_path):
    """The judge is silent when nothing went wrong."""
    with arena_of(tmp_path, ArenaRequest(creations=30, updates=9, squatted=1)) as arena:
        assert arena.live() == 0
        assert violations(arena) == []


def test_the_naive_applier_is_no_straw_man(tmp_path):
    """Left alone, and where no address is taken, it does the same as the real one."""
    with arena_of(tmp_path, ArenaRequest(creations=20, updates=9)) as arena:
        assert arena.live(applier="naive") == 0
        assert violations(arena) == []
