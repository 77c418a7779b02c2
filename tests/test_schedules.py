"""Slots: never over a limit in any period, hardly ever under it, and nothing lost to a machine that stands still."""

from __future__ import annotations

from bisect import bisect_left

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from belajarid_recon.directory.schedules import RECOVERY_SECONDS, Limit, Schedule

CALLS = Limit(2_400, 60.0, 0.995, 10.0, 0.04)
CREATIONS = Limit(10, 1.0, 0.99, 1.0, 0.04)
UNITS = Limit(1, 1.0, 0.95, 0.0, 0.0)


def most_within(instants: list[float], seconds: float) -> int:
    """The largest number of instants in any window of this length, its end not included."""
    return max(bisect_left(instants, instant + seconds) - number for number, instant in enumerate(instants))


def taken(schedule: Schedule, count: int, begin: float = 0.0) -> list[float]:
    """The slots of one caller that is always on time."""
    slots = []
    for _ in range(count):
        slots.append(schedule.take(begin))
        begin = max(begin, slots[-1])
    return slots


@pytest.mark.parametrize("limit", [CALLS, CREATIONS, UNITS])
def test_a_limit_is_kept_and_used(limit: Limit) -> None:
    """No period of a long busy time holds more than its number, and the rate is the limit's share."""
    slots = taken(Schedule(limit), 4 * limit.count + 50)
    assert most_within(slots, limit.seconds) <= limit.count
    rate = (len(slots) - 1) / (slots[-1] - slots[0])
    assert rate == pytest.approx(limit.count / limit.seconds * limit.share, rel=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    stalls=st.lists(st.tuples(st.integers(1, 400), st.floats(0.0, 30.0)), max_size=12),
    limit=st.sampled_from([CALLS, CREATIONS, UNITS]),
)
def test_no_standstill_leads_over_the_limit(stalls: list[tuple[int, float]], limit: Limit) -> None:
    """However often and long a caller stands still, no period holds more than the limit's number of slots, none much in the past."""
    schedule, now, slots = Schedule(limit), 0.0, []
    for count, seconds in [*stalls, (300, 0.0)]:
        for _ in range(count):
            slots.append(schedule.take(now))
            assert slots[-1] >= now - limit.late_seconds
            now = max(now, slots[-1])
        now += seconds
    assert slots == sorted(slots)
    assert most_within(slots, limit.seconds) <= limit.count


def test_a_short_standstill_is_made_up() -> None:
    """A tenth of a second lost in every minute costs nothing; more cannot be made up within what a minute may hold."""
    schedule, slots = Schedule(CALLS), [0.0]
    while slots[-1] < 600.0:
        slots += taken(schedule, 2_388, slots[-1] + 0.1)
    assert bisect_left(slots, 600.0) >= 0.9945 * 600 * 40
    assert most_within(slots, 60.0) <= 2_400


def test_idle_time_is_not_saved_up() -> None:
    """After an hour without calls, the next minute holds no more than the quota, and its first second no burst."""
    schedule = Schedule(CALLS)
    schedule.take(0.0)
    slots = taken(schedule, 5_000, 3_600.0)
    assert most_within(slots, 60.0) <= 2_400
    assert most_within(slots, 1.0) <= 41


def test_peeking_takes_nothing_and_tells_the_truth() -> None:
    """What `peek` says is what `take` gives, for the caller and for those after it."""
    schedule = Schedule(CREATIONS)
    taken(schedule, 5)
    foreseen = [schedule.peek(0.1, ahead) for ahead in range(4)]
    assert foreseen == pytest.approx([schedule.take(0.1) for _ in range(4)])


def test_a_halved_rate_grows_back() -> None:
    """Nothing before the pause's end, half the rate after it, and the whole one once the recovery is over."""
    schedule = Schedule(CALLS)
    taken(schedule, 100)
    schedule.halve(10.0, 70.0)
    slots = taken(schedule, 4_000, 10.0)
    assert slots[0] >= 70.0
    assert most_within([slot for slot in slots if slot < 73.0], 1.0) <= 24
    late = [slot for slot in slots if slot > 70.0 + RECOVERY_SECONDS]
    assert (len(late) - 1) / (late[-1] - late[0]) == pytest.approx(39.8, rel=1e-6)


def test_refusals_without_end_end_at_a_floor() -> None:
    """A thousand refusals leave a sixteenth of the rate, not nothing."""
    schedule = Schedule(CALLS)
    for _ in range(1_000):
        schedule.halve(0.0, 0.0)
    slots = taken(schedule, 10)
    assert slots[1] - slots[0] == pytest.approx(16 / 39.8)
