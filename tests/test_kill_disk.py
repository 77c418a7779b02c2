"""A run on a disk that fails, fills up, or is the last thing an applier touches: at each write and sync of its journal."""

from __future__ import annotations

import pytest

from appliers.disk import DiskFault
from appliers.harness import Arena, SwarmRequest, arena_of
from belajarid_recon.state.folders import RunStatus

FIRST = range(1, 36, 2)
"""Operations of an applier that makes its journal, opens it, and commits its first groups; each in a run of its own."""
LATER = [*range(1, 32, 2), *range(32, 200, 24)]
"""Operations of appliers that go on with a run of about two hundred steps, one after the other."""
SMALL = SwarmRequest(kills=0, seed=5, creations=4)
LARGE = SwarmRequest(kills=0, seed=5, creations=100)


def at_each(arena: Arena, fault: DiskFault) -> int:
    """Let the fault strike everywhere, each run then coming to its end; how many appliers it stopped."""
    stopped = 0
    for at in FIRST:
        (case,) = arena.prepare(SMALL, 1)
        stopped += bool(arena.live(case, disk=(fault, at)))
        if case.run.status() is not RunStatus.CLOSED:
            arena.live(case)
    (case,) = arena.prepare(LARGE, 1)
    for at in LATER:
        if case.run.status() is RunStatus.CLOSED:
            (case,) = arena.prepare(LARGE, 1)
        stopped += bool(arena.live(case, disk=(fault, at)))
    if case.run.status() is not RunStatus.CLOSED:
        arena.live(case)
    return stopped


@pytest.mark.parametrize("fault", DiskFault)
def test_no_refusal_of_the_disk_loses_or_repeats_a_step(fault):
    """Wherever it strikes, the applier ends with the one error that says so, and the next one goes on from what is there."""
    with arena_of(forks=True) as arena:
        stopped = at_each(arena, fault)
        assert arena.judge() == []
    assert stopped > (len(FIRST) + len(LATER)) / 2
