"""Pacing: each limit has its bucket, each refusal its answer, and trouble never makes traffic."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from belajarid_recon.components import ScaledClock, SystemRandomness
from belajarid_recon.directory.governor import (
    FAILURES_IN_A_ROW,
    RETRIES_AT_START,
    Governor,
    Kind,
    Pace,
    Permit,
    StoppedError,
    policy_writes_of_project,
)
from belajarid_recon.settings import Quotas
from belajarid_recon.state.pauses import PAUSES_FILE, Pauses
from directory_server import SteppedClock
from test_schedules import most_within

DOMAIN = "sd.belajar.id"
NEVER = float("inf")


class NoJitter:
    """Randomness that adds nothing."""

    def bytes(self, count: int) -> bytes:
        """Return zeros."""
        return bytes(count)


def governor_on(clock: SteppedClock, *, places: int = 64, pauses: Pauses | None = None, **limits: int) -> Governor:
    """A governor with the documented limits but for those named."""
    return Governor("sd", Quotas(**limits), clock, NoJitter(), places=places, pauses=pauses)


def call(
    governor: Governor, kind: Kind = Kind.READ, domain: str = "", pace: Pace = Pace.KEPT, after: float | None = None
):
    """One call that is answered at once."""
    with governor.permit(kind, domain) as permit:
        permit.answered(pace, after)


def times_of(clock: SteppedClock, count: int, wait: Callable[[], None]) -> list[float]:
    """When `count` calls in a row left."""
    instants = []
    for _ in range(count):
        wait()
        instants.append(clock.monotonic())
    return instants


@contextmanager
def under_way(governor: Governor, count: int, kind: Kind = Kind.READ, domain: str = "") -> Iterator[list[Permit]]:
    """Calls that left and were not answered yet; those the test answers are taken back."""
    permits = [governor.permit(kind, domain) for _ in range(count)]
    yield permits
    for permit in permits:
        governor.leave(permit)


# Limits


def test_domains_do_not_wait_for_each_other() -> None:
    """Creations in three domains together run three times as fast as in one."""
    clock = SteppedClock()
    governor = governor_on(clock)
    for _ in range(100):
        for domain in ("sd.belajar.id", "guru.sd.belajar.id", "admin.sd.belajar.id"):
            call(governor, Kind.CREATION, domain)
    assert clock.monotonic() <= 100 / 9.8


def test_each_documented_limit_binds() -> None:
    """A long run of each kind goes at its own limit's rate, and at that of calls where it has none."""
    rates = {
        Kind.READ: 40,
        Kind.CHANGE: 40,
        Kind.CREATION: 10,
        Kind.ORGUNIT_WRITE: 1,
        Kind.POLICY_WRITE: 0.5,
        Kind.DEVICE_WRITE: 40,
    }
    for kind, rate in rates.items():
        clock = SteppedClock()
        governor = governor_on(clock)
        instants = times_of(clock, 300, lambda: call(governor, kind, DOMAIN))  # noqa: B023 - called at once
        assert 0.94 * rate <= 299 / (instants[-1] - instants[0]) <= rate
        assert most_within(instants, 60.0) <= 60 * rate


def test_a_tenants_own_number_for_devices_binds() -> None:
    """Google publishes none; a tenant may set one."""
    clock = SteppedClock()
    governor = governor_on(clock, device_writes_per_minute=60)
    times_of(clock, 61, lambda: call(governor, Kind.DEVICE_WRITE))
    assert 60.0 <= clock.monotonic() <= 61.0


def test_a_creation_counts_as_a_call() -> None:
    """Where calls are the tighter limit, creations obey it."""
    clock = SteppedClock()
    governor = governor_on(clock, calls_per_minute=60)
    instants = times_of(clock, 100, lambda: call(governor, Kind.CREATION, DOMAIN))
    assert most_within(instants, 60.0) <= 60


def test_two_senders_have_a_minute_each() -> None:
    """Twice the calls, and each sender's own minute holds no more than the quota."""
    clock = SteppedClock()
    projects = [policy_writes_of_project(Quotas()) for _ in range(2)]
    governor = Governor("sd", Quotas(), clock, NoJitter(), projects=projects)
    by_sender: dict[int, list[float]] = {0: [], 1: []}
    for _ in range(10_000):
        with governor.permit(Kind.READ) as permit:
            by_sender[permit.sender].append(clock.monotonic())
    assert 10_000 / clock.monotonic() >= 0.99 * 80
    assert all(most_within(instants, 60.0) <= 2_400 for instants in by_sender.values())


def test_tenants_of_one_project_share_its_policy_writes() -> None:
    """Four tenants may send 40 a second each for all their own limits know; their project allows 15 together."""
    clock = SteppedClock()
    project = policy_writes_of_project(Quotas())
    quotas = Quotas(policy_writes_per_minute=2_400)
    governors = [Governor(str(n), quotas, clock, NoJitter(), projects=[project]) for n in range(4)]
    turns = itertools.cycle(governors)
    instants = times_of(clock, 600, lambda: call(next(turns), Kind.POLICY_WRITE))
    assert 0.9 * 15 <= 599 / instants[-1] <= 15


class Bucket:
    """The server's side: `rate` tokens a second, `capacity` saved at most."""

    def __init__(self, rate: float, capacity: float) -> None:
        self.rate, self.capacity, self.tokens, self.at = rate, capacity, capacity, 0.0

    def take(self, now: float) -> bool:
        """Take one if there is one."""
        self.tokens = min(self.capacity, self.tokens + (now - self.at) * self.rate)
        self.at = now
        if self.tokens < 1.0:
            return False
        self.tokens -= 1.0
        return True


@settings(max_examples=40, deadline=None)
@given(
    oversleeps=st.lists(st.floats(0.0, 0.04), min_size=1, max_size=50),
    rate=st.sampled_from([2, 5, 10, 40]),
)
def test_a_sleep_that_lasts_too_long_loses_no_rate_and_provokes_no_refusal(oversleeps: list[float], rate: int) -> None:
    """Whatever the pattern of late wake-ups within a hiccup, a server that saves up a second's tokens refuses nothing."""
    turn = iter(range(10**9))
    clock = SteppedClock(lambda: oversleeps[next(turn) % len(oversleeps)])
    governor = governor_on(clock, creations_per_second_and_domain=rate)
    server = Bucket(rate, max(rate, 2.0))
    for _ in range(500):
        with governor.permit(Kind.CREATION, DOMAIN):
            assert server.take(clock.monotonic())
    assert 500 / clock.monotonic() >= 0.97 * min(rate, 40)


def test_threads_share_one_schedule() -> None:
    """Eight threads on a clock 200 times faster keep 90 % of the rate or more and never pass it by more than the hiccup."""
    clock = ScaledClock(200.0)
    governor = Governor("sd", Quotas(calls_per_minute=600), clock, SystemRandomness())
    instants: list[float] = []

    def calls() -> None:
        for _ in range(150):
            call(governor)
            instants.append(clock.monotonic())

    threads = [threading.Thread(target=calls) for _ in range(8)]
    began = clock.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rate = len(instants) / (clock.monotonic() - began)
    assert 0.9 * 10 <= rate <= 10 * 1.1


def test_a_permit_that_is_due_is_cheap() -> None:
    """Where the quota does not bind, pacing costs microseconds."""
    clock = ScaledClock(1.0)
    quotas = Quotas(calls_per_minute=10**9, creations_per_second_and_domain=10**7)
    governor = Governor("sd", quotas, clock, SystemRandomness())
    began = time.process_time()
    for _ in range(20_000):
        call(governor, Kind.CREATION, DOMAIN)
    assert (time.process_time() - began) / 20_000 < 50e-6


# What a caller with a choice is told


def test_room_is_told_apart_by_kind() -> None:
    """A domain whose second is full has room a tenth of a second later, its neighbour and changes have it now."""
    clock = SteppedClock()
    governor = governor_on(clock)
    for _ in range(3):
        call(governor, Kind.CREATION, DOMAIN)
    assert governor.room_at(Kind.CREATION, DOMAIN) == pytest.approx(clock.monotonic() + 0.1, abs=0.01)
    assert governor.room_at(Kind.CREATION, DOMAIN, handed_out=2) == pytest.approx(clock.monotonic() + 0.3, abs=0.02)
    assert governor.room_at(Kind.CREATION, "guru.sd.belajar.id") <= clock.monotonic()
    assert governor.room_at(Kind.CHANGE) <= clock.monotonic()


# Refusals


def test_a_spent_minute_is_waited_out() -> None:
    """The next call leaves when the minute has turned, and the rate is half of what it was."""
    clock = SteppedClock()
    governor = governor_on(clock)
    times_of(clock, 1_200, lambda: call(governor))
    assert 29 < clock.monotonic() < 31
    call(governor, pace=Pace.MINUTE_SPENT)
    instants = times_of(clock, 200, lambda: call(governor))
    assert 60.0 <= instants[0] <= 61.0
    assert most_within([one for one in instants if one < 63.0], 1.0) <= 24


def test_a_minute_that_is_spent_again_and_again_is_asked_for_less_and_less() -> None:
    """Six hours without quota cost a call every quarter of an hour in the end, and the first good answer ends it."""
    clock = SteppedClock()
    governor = governor_on(clock)
    tries = 0
    while clock.monotonic() < 6 * 3_600:
        call(governor, pace=Pace.MINUTE_SPENT)
        tries += 1
    assert 6 * 4 <= tries <= 6 * 4 + 8


def test_the_other_sender_goes_on_while_one_waits_for_its_minute() -> None:
    """A minute is one sender's: the other's is untouched."""
    clock = SteppedClock()
    projects = [policy_writes_of_project(Quotas()) for _ in range(2)]
    governor = Governor("sd", Quotas(), clock, NoJitter(), projects=projects)
    with governor.permit(Kind.READ) as permit:
        permit.answered(Pace.MINUTE_SPENT)
        spent = permit.sender
    for _ in range(100):
        with governor.permit(Kind.READ) as permit:
            assert permit.sender != spent
    assert clock.monotonic() < 3.0


def test_too_many_of_a_kind_halves_its_calls_under_way() -> None:
    """Eight under way, one refused: four places are left, to that kind alone, and each good round gives one back."""
    clock = SteppedClock()
    governor = governor_on(clock, places=8)
    with under_way(governor, 8, Kind.CHANGE) as permits:
        assert governor.room_at(Kind.CHANGE) == NEVER
        for permit in permits:
            permit.answered(Pace.TOO_MANY_OF_KIND)
    clock.sleep(2.0)
    assert [governor.room_at(Kind.CHANGE, handed_out=n) < NEVER for n in (3, 4)] == [True, False]
    assert governor.room_at(Kind.READ, handed_out=7) < NEVER
    for _ in range(5):
        call(governor, Kind.CHANGE)
    assert [governor.room_at(Kind.CHANGE, handed_out=n) < NEVER for n in (4, 5)] == [True, False]


def test_a_full_gate_makes_callers_wait() -> None:
    """With one place, the second caller leaves when the first was answered."""
    governor = Governor("sd", Quotas(), ScaledClock(1_000.0), NoJitter(), places=1)
    first = governor.permit(Kind.READ)
    left = threading.Event()
    second = threading.Thread(target=lambda: (call(governor), left.set()), daemon=True)
    second.start()
    assert not left.wait(0.1)
    first.answered(Pace.KEPT)
    governor.leave(first)
    assert left.wait(5.0)


def test_429_slows_the_whole_tenant() -> None:
    """Every kind pauses, and all together have half the places and half the rate."""
    clock = SteppedClock()
    governor = governor_on(clock, places=8)
    with under_way(governor, 8) as permits:
        permits[0].answered(Pace.TOO_MANY)
    refused = clock.monotonic()
    rooms = [governor.room_at(kind, DOMAIN) for kind in Kind]
    assert all(refused + 1.0 <= room <= refused + 2.0 for room in rooms)
    with under_way(governor, 4, Kind.CHANGE):
        assert governor.room_at(Kind.CREATION, DOMAIN) == NEVER
    instants = times_of(clock, 60, lambda: call(governor, Kind.CHANGE))
    assert most_within(instants, 1.0) <= 24


def test_only_what_was_limited_slows_down() -> None:
    """A refused creation in one domain does not hold up calls, or other domains."""
    clock = SteppedClock()
    governor = governor_on(clock)
    call(governor, Kind.CREATION, DOMAIN, Pace.TOO_MANY_OF_KIND)
    call(governor)
    call(governor, Kind.CREATION, "guru.sd.belajar.id")
    assert clock.monotonic() < 0.5
    call(governor, Kind.CREATION, DOMAIN)
    assert clock.monotonic() >= 1.0


@pytest.mark.parametrize("pace", [Pace.MINUTE_SPENT, Pace.TOO_MANY_OF_KIND, Pace.TOO_MANY])
def test_refusals_of_one_burst_count_once(pace: Pace) -> None:
    """Eight calls under way are refused for one cause: what follows is what follows one refusal of eight."""
    after = []
    for refused in (1, 8):
        clock = SteppedClock()
        governor = governor_on(clock, places=8)
        with under_way(governor, 8) as permits:
            for permit in permits[:refused]:
                permit.answered(pace)
        after.append(times_of(clock, 200, lambda: call(governor)))  # noqa: B023 - called at once
    assert after[0] == after[1]


@pytest.mark.parametrize("pace", [Pace.MINUTE_SPENT, Pace.TOO_MANY_OF_KIND, Pace.TOO_MANY, Pace.FAILED])
@pytest.mark.parametrize(("asked", "least", "most"), [(7.0, 7.0, 8.1), (0.0, 0.0, 1.1), (10**9, 900.0, 902.0)])
def test_retry_after_is_obeyed_within_a_bound(pace: Pace, asked: float, least: float, most: float) -> None:
    """The server's own number of seconds counts, up to a quarter of an hour."""
    clock = SteppedClock()
    governor = governor_on(clock)
    call(governor, pace=pace, after=asked)
    call(governor)
    assert least <= clock.monotonic() <= most


def test_a_pause_that_begins_while_a_call_waits_for_its_slot_holds_it_too() -> None:
    """A call that was admitted before the refusal, and not sent yet, is not sent into it."""
    clock = SteppedClock()
    governor = governor_on(clock, orgunit_writes_per_second=1)
    first = governor.permit(Kind.ORGUNIT_WRITE)
    slept: list[float] = []

    def refuse_first(seconds: float) -> None:
        slept.append(seconds)
        SteppedClock.sleep(clock, seconds)
        if len(slept) == 1:
            first.answered(Pace.TOO_MANY, 30.0)
            governor.leave(first)

    clock.sleep = refuse_first  # type: ignore[method-assign]
    call(governor, Kind.ORGUNIT_WRITE)
    assert len(slept) > 1
    assert clock.monotonic() >= 30.0


# The breaker


def test_failures_in_a_row_open_the_breaker_of_their_kind() -> None:
    """Then only probes leave, at growing distances; a success closes it, and other kinds never noticed."""
    clock = SteppedClock()
    governor = governor_on(clock)
    for _ in range(FAILURES_IN_A_ROW):
        call(governor, Kind.CHANGE, pace=Pace.FAILED)
    assert clock.monotonic() < 1.0
    probes = times_of(clock, 5, lambda: call(governor, Kind.CHANGE, pace=Pace.FAILED))
    gaps = [later - earlier for earlier, later in itertools.pairwise(probes)]
    assert gaps == pytest.approx([2.0, 4.0, 8.0, 16.0], abs=0.1)
    assert governor.room_at(Kind.READ) <= clock.monotonic()
    call(governor, Kind.CHANGE)
    closed = clock.monotonic()
    times_of(clock, 40, lambda: call(governor, Kind.CHANGE))
    assert clock.monotonic() - closed <= 1.1


def test_failures_now_and_then_open_nothing() -> None:
    """Four of five calls lost is bad luck as long as one of five is answered; the calls go on."""
    clock = SteppedClock()
    governor = governor_on(clock)
    for number in range(200):
        call(governor, pace=Pace.KEPT if number % FAILURES_IN_A_ROW == 0 else Pace.FAILED)
    assert clock.monotonic() <= 200 / 39


def test_one_probe_leaves_at_a_time() -> None:
    """Of eight callers at an open breaker one leaves; the others follow once it was answered."""
    governor = Governor("sd", Quotas(), ScaledClock(1_000.0), NoJitter())
    for _ in range(FAILURES_IN_A_ROW):
        call(governor, pace=Pace.FAILED)
    left: list[Permit] = []
    threads = [threading.Thread(target=lambda: left.append(governor.permit(Kind.READ)), daemon=True) for _ in range(8)]
    for thread in threads:
        thread.start()
    time.sleep(0.2)
    assert len(left) == 1
    assert governor.room_at(Kind.READ) == NEVER
    left[0].answered(Pace.KEPT)
    governor.leave(left[0])
    for thread in threads:
        thread.join(5.0)
    assert len(left) == 8


def test_a_probe_that_was_given_up_leaves_its_place_to_the_next() -> None:
    """A call that ended without an answer says nothing; the breaker stays open, and nobody waits for it for ever."""
    clock = SteppedClock()
    governor = governor_on(clock)
    for _ in range(FAILURES_IN_A_ROW):
        call(governor, pace=Pace.FAILED)
    with pytest.raises(KeyboardInterrupt), governor.permit(Kind.READ):
        raise KeyboardInterrupt
    call(governor)
    assert governor.room_at(Kind.READ, handed_out=3) < NEVER


# Retries


def test_retries_stay_a_tenth_of_first_sendings() -> None:
    """A caller that has to send every third call again is slowed down until it is one in ten and the trickle."""
    clock = SteppedClock()
    governor = governor_on(clock)
    retries = 0
    for number in range(3_000):
        call(governor, Kind.CHANGE)
        if number % 3 == 0:
            governor.charge_retry(Kind.CHANGE)
            call(governor, Kind.CHANGE)
            retries += 1
    assert retries == 1_000
    assert clock.monotonic() >= (1_000 - 0.1 * 3_000 - RETRIES_AT_START) / 0.2 * 0.95


def test_first_sendings_wait_where_retries_are_spent() -> None:
    """A kind that has used up its retries sends nothing new either; other kinds do."""
    clock = SteppedClock()
    governor = governor_on(clock)
    for _ in range(30):
        governor.charge_retry(Kind.CHANGE)
    began = clock.monotonic()
    assert governor.room_at(Kind.CHANGE) >= began + 30.0
    assert governor.room_at(Kind.READ) <= began
    call(governor, Kind.CHANGE)
    assert clock.monotonic() >= began + 30.0


def test_one_retry_in_twenty_costs_nothing() -> None:
    """Within the budget nobody waits."""
    clock = SteppedClock()
    governor = governor_on(clock)
    for number in range(2_000):
        if number % 20 == 0:
            governor.charge_retry(Kind.CHANGE)
        call(governor, Kind.CHANGE)
    assert clock.monotonic() <= 2_000 / 39


# Pauses across restarts


def test_a_pause_goes_on_after_a_restart(tmp_path: Path) -> None:
    """Ten minutes were asked for, four pass until the next start: it waits six, each kind and sender its own."""
    clock = SteppedClock()
    governor = governor_on(clock, pauses=Pauses(tmp_path, clock))
    call(governor, Kind.CREATION, DOMAIN, Pace.TOO_MANY_OF_KIND, 600.0)
    clock.sleep(240.0)
    again = governor_on(clock, pauses=Pauses(tmp_path, clock))
    assert again.room_at(Kind.CREATION, DOMAIN) == pytest.approx(600.0, abs=1.0)
    assert again.room_at(Kind.CREATION, "guru.sd.belajar.id") <= 240.0
    call(again, pace=Pace.MINUTE_SPENT, after=120.0)
    third = governor_on(clock, pauses=Pauses(tmp_path, clock))
    call(third)
    assert clock.monotonic() == pytest.approx(360.0, abs=1.0)


def test_a_pause_on_a_fast_clock_is_kept_in_real_seconds(tmp_path: Path) -> None:
    """900 emulated seconds at scale 60 are 15 real ones, whatever the next start's scale."""
    clock = ScaledClock(60.0)
    governor = Governor("sd", Quotas(), clock, NoJitter(), pauses=Pauses(tmp_path, clock))
    call(governor, pace=Pace.TOO_MANY, after=900.0)
    left = Pauses(tmp_path, clock).seconds_left("sd")["tenant"]
    assert 10.0 < left <= 15.1
    again = Governor("sd", Quotas(), clock, NoJitter(), pauses=Pauses(tmp_path, clock))
    assert 600.0 < again.room_at(Kind.READ) - clock.monotonic() <= 906.0


NOW = SteppedClock().now().timestamp()
NO_PAUSES = {
    "over": orjson.dumps({"sd": {"tenant": NOW - 1}}),
    "absurd": orjson.dumps({"sd": {"tenant": NOW + 10**7}}),
    "no number": orjson.dumps({"sd": {"tenant": "soon"}}),
    "no table": orjson.dumps({"sd": 5}),
    "a list": b"[]",
    "cut off": b'{"sd": {"tenant": 17',
    "another tenant's": orjson.dumps({"smp": {"tenant": NOW + 100}}),
    "empty": b"",
}


@pytest.mark.parametrize("content", NO_PAUSES)
def test_a_file_that_says_nothing_sensible_pauses_nothing(content: str, tmp_path: Path) -> None:
    """A pause that is over, absurd or unreadable is none, and the next one is kept all the same."""
    (tmp_path / PAUSES_FILE).write_bytes(NO_PAUSES[content])
    clock = SteppedClock()
    governor = governor_on(clock, pauses=Pauses(tmp_path, clock))
    assert governor.room_at(Kind.READ) <= clock.monotonic()
    call(governor, pace=Pace.TOO_MANY, after=60.0)
    assert Pauses(tmp_path, clock).seconds_left("sd")["tenant"] == pytest.approx(60.0, abs=1.0)


def test_a_pause_needs_no_folder_and_makes_none(tmp_path: Path) -> None:
    """Only a run makes a state folder."""
    clock = SteppedClock()
    governor = governor_on(clock, pauses=Pauses(tmp_path / "state", clock))
    call(governor, pace=Pace.TOO_MANY, after=60.0)
    assert not (tmp_path / "state").exists()
    assert clock.now() == datetime(2026, 7, 13, tzinfo=UTC)


@pytest.mark.parametrize("pace", [Pace.MINUTE_SPENT, Pace.TOO_MANY])
def test_a_long_wait_ends_when_it_is_asked_to(pace):
    """A pause lasts for minutes; a wish to stop is heard in a second, and what would soon have left still leaves."""
    governor = Governor("sd", Quotas(), ScaledClock(), SystemRandomness())
    governor.stop.set()
    call(governor)
    call(governor, pace=pace, after=300.0)
    governor.stop.clear()
    ends: list[str] = []

    def wait() -> None:
        try:
            call(governor)
        except StoppedError:
            ends.append("stopped")

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.3)
    governor.stop.set()
    thread.join(5)
    assert ends == ["stopped"]
    assert governor.room_at(Kind.READ) > time.monotonic() + 60
