"""A step whose reply ends the program each time is parked, alone; everything else is carried out."""

from __future__ import annotations

import pytest

from appliers.harness import SwarmRequest, arena_of
from belajarid_recon.apply.settle import ApplyReason
from belajarid_recon.components import ScaledClock
from belajarid_recon.state.journal import EventState, Journal

CRASHES = 2
LIVES_MAX = {"kill": CRASHES + 1, "fault": CRASHES}
"""A kill leaves a window of suspects, of which one then proves itself alone; a fault names its step at once."""


@pytest.mark.parametrize("effect", LIVES_MAX)
@pytest.mark.parametrize("place", [0, 9, -1])
def test_a_step_that_ends_the_program_is_parked(effect, place):
    """Its neighbours in the window are settled alone and stay what they are; it costs a few starts, never the run."""
    with arena_of(forks=True, crashes=CRASHES) as arena:
        (case,) = arena.prepare(SwarmRequest(kills=0, seed=8, creations=20, others=False), 1)
        rows = case.plan.steps.whole().rows(named=True)
        poison = [row for row in rows if row["action"] == "create"][place]
        lives = 0
        while arena.live(case, poison=(poison["address"], effect)):
            lives += 1
            assert lives <= LIVES_MAX[effect]
        assert lives >= CRASHES
        with Journal.open(case.run.journal, clock=ScaledClock()) as journal:
            assert list(journal.reasons()) == [(poison["step"], EventState.PARKED, ApplyReason.CRASHED)]
        wrong = [violation.what for violation in arena.judge()]
    assert wrong == [f"carried out, or free to be, and said to be parked: {ApplyReason.CRASHED}"]
