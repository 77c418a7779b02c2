"""Which step is next: the most important one that has room, and never none while something has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from appliers.plans import creation, orgunit, plan_of, update
from belajarid_recon.apply.body import Step, read_steps
from belajarid_recon.apply.lanes import CHANGING, LOOKING, MAKING_UNITS, NEVER, Flight, Lanes, lane_order, stream_of
from belajarid_recon.directory.governor import Governor, Kind, Pace
from belajarid_recon.plan.build import LANE
from belajarid_recon.schemas import Action
from belajarid_recon.settings import Quotas
from directory_server import SteppedClock
from test_governor import NoJitter

DOMAIN = "sd.belajar.id"
TEACHERS = "guru.sd.belajar.id"


def steps_of(*rows: dict[str, Any]) -> Iterator[Step]:
    """These rows as steps of a plan."""
    return read_steps(plan_of(list(rows), {}).steps.pieces())


def creations(count: int, domain: str = DOMAIN) -> Iterator[Step]:
    """So many accounts to make in a domain."""
    return steps_of(*(creation("sd", n, address=f"budi{n:05}@{domain}") for n in range(count)))


def changes(count: int, action: Action = Action.UPDATE) -> Iterator[Step]:
    """So many accounts to change."""
    return steps_of(
        *(update("sd", n, str(n), {"listed": True}, listed=False, action=action.value) for n in range(count))
    )


def first(step: Step) -> Flight:
    """A step's first flight."""
    return Flight(step, {}, "", attempt=1, throttled=0)


@pytest.fixture
def clock() -> SteppedClock:
    """Time that passes when the test says so."""
    return SteppedClock()


@pytest.fixture
def governor(clock: SteppedClock) -> Governor:
    """The documented limits."""
    return Governor("sd", Quotas(), clock, NoJitter())


@pytest.fixture
def lanes(governor: Governor) -> Lanes:
    """Nothing waits yet."""
    return Lanes(governor, lane_order(()), first)


def actions_of(lanes: Lanes, clock: SteppedClock, count: int) -> list[str]:
    """The actions of the next steps, as many as have room."""
    taken = []
    while len(taken) < count and (flight := lanes.next(clock.monotonic())) is not None:
        taken.append(flight.step.action)
    return taken


def call(governor: Governor, stream: tuple[Kind, str], pace: Pace = Pace.KEPT) -> None:
    """One call, answered at once."""
    with governor.permit(*stream) as permit:
        permit.answered(pace)


def test_an_earlier_lane_with_room_goes_first(lanes: Lanes, clock: SteppedClock) -> None:
    """Restores have no limit of their own: all of them come before the first creation, whatever was added first."""
    lanes.add_new(Action.UPDATE, CHANGING, changes(3))
    lanes.add_new(Action.CREATE, (Kind.CREATION, DOMAIN), creations(2))
    lanes.add_new(Action.RESTORE, CHANGING, changes(4, Action.RESTORE))
    assert actions_of(lanes, clock, 20) == ["restore"] * 4 + ["create"] * 2 + ["update"] * 3
    assert lanes.is_empty


def test_later_lanes_use_what_earlier_ones_cannot(lanes: Lanes, governor: Governor, clock: SteppedClock) -> None:
    """Of sixteen places creations get those their second has slots for soon, in each domain; changes get the rest."""
    lanes.add_new(Action.CREATE, (Kind.CREATION, DOMAIN), creations(50))
    lanes.add_new(Action.CREATE, (Kind.CREATION, TEACHERS), creations(50, TEACHERS))
    lanes.add_new(Action.UPDATE, CHANGING, changes(50))
    assert actions_of(lanes, clock, 16) == ["create"] * 6 + ["update"] * 10


def test_creations_come_back_as_their_slots_do(lanes: Lanes, governor: Governor, clock: SteppedClock) -> None:
    """Over ten seconds a domain's creations take every slot of theirs although changes wait without end."""
    lanes.add_new(Action.CREATE, (Kind.CREATION, DOMAIN), creations(200))
    lanes.add_new(Action.UPDATE, CHANGING, changes(1_000))
    made = 0
    while clock.monotonic() < 10.0:
        flight = lanes.next(clock.monotonic())
        assert flight is not None
        call(governor, flight.stream)
        lanes.landed(flight)
        made += flight.step.is_creation
    assert 96 <= made <= 102


def test_the_settings_order_beats_the_plans() -> None:
    """What is named comes first, the rest as the plan has it; no lane is lost, and units are no lane of accounts."""
    order = lane_order((Action.SUSPEND, Action.UPDATE))
    assert order[:3] == [Action.SUSPEND, Action.UPDATE, Action.RESTORE]
    assert sorted(order) == sorted(LANE.keys() - {Action.CREATE_ORGUNIT, Action.CREATE_GROUP})
    assert lane_order(())[:3] == [Action.RESTORE, Action.UNDELETE, Action.CREATE]


def test_nothing_passes_a_unit_that_waits(governor: Governor, clock: SteppedClock) -> None:
    """Below a unit that is not there its children would be refused for good; groups wait as well."""
    strict = Lanes(governor, [Action.CREATE_ORGUNIT, Action.CREATE_GROUP], first, strict=True)
    strict.add_new(Action.CREATE_ORGUNIT, MAKING_UNITS, steps_of(orgunit("sd", "/A"), orgunit("sd", "/A/B")))
    top = strict.next(clock.monotonic())
    assert top is not None
    strict.landed(top)
    strict.put_again(top._replace(attempt=2), 5.0)
    assert strict.next(clock.monotonic()) is None
    assert strict.room_at(clock.monotonic()) == pytest.approx(5.0 - governor.ahead_seconds)
    clock.sleep(10.0)
    again = strict.next(clock.monotonic())
    assert again is not None
    assert (again.step.ou_path, again.attempt) == ("/A", 2)


def test_nothing_is_read_for_changes_that_may_not_be_sent(
    lanes: Lanes, governor: Governor, clock: SteppedClock
) -> None:
    """While changes are paused their accounts are not even read, and `room_at` says until when."""
    lanes.add_new(Action.UPDATE, CHANGING, changes(5))
    call(governor, CHANGING, Pace.TOO_MANY_OF_KIND)
    assert lanes.next(clock.monotonic()) is None
    assert lanes.room_at(clock.monotonic()) == pytest.approx(1.0 - governor.ahead_seconds)
    clock.sleep(1.0)
    assert actions_of(lanes, clock, 9) == ["update"] * 5


def test_a_step_is_sent_again_when_it_is_due_and_paid_for(
    lanes: Lanes, governor: Governor, clock: SteppedClock
) -> None:
    """Not before; and each costs the retries of its kind, so that too many wait."""
    steps = list(changes(25))
    for number, step in enumerate(steps):
        lanes.put_again(Flight(step, {}, "", attempt=2, throttled=0), 5.0 + number / 1_000)
    assert lanes.next(0.0) is None
    assert lanes.room_at(0.0) == pytest.approx(5.0 - governor.ahead_seconds)
    clock.sleep(6.0)
    assert len(actions_of(lanes, clock, 25)) == 19  # 20 saved up, 1.1 each, and one on credit
    assert lanes.room_at(clock.monotonic()) > clock.monotonic()
    assert not lanes.is_empty


def test_places_taken_are_counted_by_kind(lanes: Lanes, clock: SteppedClock) -> None:
    """A change that was read counts as a change and no longer as a read."""
    lanes.add_new(Action.UPDATE, CHANGING, changes(1))
    flight = lanes.next(clock.monotonic())
    assert flight is not None
    assert flight.stream == LOOKING
    lanes.landed(flight)
    lanes.put_ready(flight._replace(looked=True))
    again = lanes.next(clock.monotonic())
    assert again is not None
    assert again.stream == CHANGING == stream_of(again.step)
    assert lanes.is_empty
    assert lanes.room_at(clock.monotonic()) == NEVER


def test_a_closed_lane_is_forgotten(lanes: Lanes, clock: SteppedClock) -> None:
    """A tenant that takes no more accounts goes on with the rest."""
    lanes.add_new(Action.CREATE, (Kind.CREATION, DOMAIN), creations(9))
    lanes.add_new(Action.UPDATE, CHANGING, changes(2))
    lanes.close(Action.CREATE)
    assert actions_of(lanes, clock, 9) == ["update"] * 2
