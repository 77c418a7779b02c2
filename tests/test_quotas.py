"""Pacing: never over a limit, hardly ever under it, and slower when the server asks for it."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from belajarid_recon.components import ScaledClock, SystemRandomness
from belajarid_recon.directory.quotas import Limited, Pacer
from belajarid_recon.settings import Quotas
from directory_server import SteppedClock

DOMAIN = "sd.belajar.id"


class NoJitter:
    """Randomness that adds nothing."""

    def bytes(self, count: int) -> bytes:
        """Return zeros."""
        return bytes(count)


def pacer_on(clock: SteppedClock, **limits: int) -> Pacer:
    """A pacer with the documented limits but for those named."""
    return Pacer(Quotas(**limits), clock, NoJitter())


def most_within(instants: list[float], seconds: float) -> int:
    """The largest number of instants in any window of this length, its end not included."""
    return max(bisect_left(instants, instant + seconds) - number for number, instant in enumerate(instants))


def times_of(clock: SteppedClock, wait: object, count: int) -> list[float]:
    """When `count` waits in a row returned."""
    instants = []
    for _ in range(count):
        wait()  # type: ignore[operator]
        instants.append(clock.monotonic())
    return instants


def test_no_minute_holds_more_calls_than_the_quota() -> None:
    """2,400 calls a minute: any minute of a long busy time holds at most that, and at least 95 % of it."""
    clock = SteppedClock()
    instants = times_of(clock, pacer_on(clock).wait_for_call, 10_000)
    assert most_within(instants, 60.0) <= 2_400
    assert 10_000 / (instants[-1] - instants[0]) >= 0.95 * 40


def test_no_second_holds_more_creations_than_the_quota() -> None:
    """10 creations a second in a domain: any second holds at most that, and the long-run rate is at least 95 % of it."""
    clock = SteppedClock()
    pacer = pacer_on(clock)
    instants = times_of(clock, lambda: pacer.wait_for_creation(DOMAIN), 1_000)
    assert most_within(instants, 1.0) <= 10
    assert 1_000 / (instants[-1] - instants[0]) >= 0.95 * 10


def test_units_are_written_at_most_once_a_second() -> None:
    """1 write a second: two are never closer, and the rate is at least 95 % of it."""
    clock = SteppedClock()
    instants = times_of(clock, pacer_on(clock).wait_for_orgunit_write, 100)
    assert most_within(instants, 1.0) == 1
    assert 100 / (instants[-1] - instants[0]) >= 0.95


def test_domains_do_not_wait_for_each_other() -> None:
    """Creations in three domains together run three times as fast as in one."""
    clock = SteppedClock()
    pacer = pacer_on(clock)
    began = clock.monotonic()
    for _ in range(100):
        for domain in ("sd.belajar.id", "guru.sd.belajar.id", "admin.sd.belajar.id"):
            pacer.wait_for_creation(domain)
    assert clock.monotonic() - began <= 100 / 9.5


def test_a_creation_counts_as_a_call() -> None:
    """Where calls are the tighter limit, creations obey it."""
    clock = SteppedClock()
    pacer = pacer_on(clock, calls_per_minute=60)
    instants = times_of(clock, lambda: pacer.wait_for_creation(DOMAIN), 100)
    assert most_within(instants, 60.0) <= 61


def test_idle_time_is_not_saved_up() -> None:
    """After an hour without calls, the next minute still holds no more than the quota."""
    clock = SteppedClock()
    pacer = pacer_on(clock)
    pacer.wait_for_call()
    clock.sleep(3_600.0)
    assert most_within(times_of(clock, pacer.wait_for_call, 5_000), 60.0) <= 2_400


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
    rate=st.sampled_from([1, 5, 10, 40]),
)
def test_a_sleep_that_lasts_too_long_loses_no_rate_and_provokes_no_refusal(oversleeps: list[float], rate: int) -> None:
    """Whatever the pattern of late wake-ups within a hiccup, a server that saves up a second's tokens refuses nothing."""
    turn = iter(range(10**9))
    clock = SteppedClock(lambda: oversleeps[next(turn) % len(oversleeps)])
    pacer = pacer_on(clock, creations_per_second_and_domain=rate)
    server = Bucket(rate, max(rate, 2.0))
    began = clock.monotonic()
    for _ in range(500):
        pacer.wait_for_creation(DOMAIN)
        assert server.take(clock.monotonic())
    assert 500 / (clock.monotonic() - began) >= 0.95 * min(rate, 40)


def test_threads_share_one_schedule() -> None:
    """Eight threads on a clock 200 times faster keep 90 % of the rate or more and never pass it by more than the hiccup."""
    clock = ScaledClock(200.0)
    pacer = Pacer(Quotas(calls_per_minute=600), clock, SystemRandomness(), scale=200.0)
    instants: list[float] = []

    def call() -> None:
        for _ in range(150):
            pacer.wait_for_call()
            instants.append(clock.monotonic())

    threads = [threading.Thread(target=call) for _ in range(8)]
    began = clock.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rate = len(instants) / (clock.monotonic() - began)
    assert 0.9 * 10 <= rate <= 10 * 1.1


def test_a_wait_that_is_not_due_is_cheap() -> None:
    """Where the quota does not bind, pacing costs microseconds."""
    clock = ScaledClock(1.0)
    pacer = Pacer(Quotas(calls_per_minute=10**9, creations_per_second_and_domain=10**7), clock, SystemRandomness())
    began = time.process_time()
    for _ in range(20_000):
        pacer.wait_for_creation(DOMAIN)
    assert (time.process_time() - began) / 20_000 < 50e-6


def test_a_throttled_reply_pauses_and_halves_the_rate_which_then_grows_back() -> None:
    """After one refusal nothing leaves for a second, then half the rate, and within a minute the whole again."""
    clock = SteppedClock()
    pacer = pacer_on(clock)
    times_of(clock, pacer.wait_for_call, 100)
    refused = clock.monotonic()
    pacer.throttled(Limited.CALLS)
    instants = times_of(clock, pacer.wait_for_call, 4_000)
    assert instants[0] >= refused + 1.0
    assert most_within([one for one in instants if one < refused + 6.0], 1.0) <= 26
    settled = [one for one in instants if one > refused + 61.0]
    assert len(settled) / (settled[-1] - settled[0]) >= 0.95 * 40


def test_refusals_of_one_burst_count_once() -> None:
    """Eight calls under way are refused for one cause: the rate is halved, not divided by 256."""
    clock, other = SteppedClock(), SteppedClock()
    one, eight = pacer_on(clock), pacer_on(other)
    one.throttled(Limited.CALLS)
    for _ in range(8):
        eight.throttled(Limited.CALLS)
    assert times_of(clock, one.wait_for_call, 200) == times_of(other, eight.wait_for_call, 200)


@pytest.mark.parametrize(("asked", "least", "most"), [(7.0, 7.0, 8.1), (0.0, 0.0, 1.1), (10**9, 900.0, 902.0)])
def test_retry_after_is_obeyed_within_a_bound(asked: float, least: float, most: float) -> None:
    """The server's own number of seconds counts, up to a quarter of an hour."""
    clock = SteppedClock()
    pacer = pacer_on(clock)
    pacer.throttled(Limited.CALLS, retry_after=asked)
    pacer.wait_for_call()
    assert least <= clock.monotonic() <= most


def test_refusals_without_end_slow_down_to_a_floor() -> None:
    """A quota that is gone for hours meets pauses of a minute, not a hot loop and not a stop."""
    clock = SteppedClock()
    pacer = pacer_on(clock)
    tries = 0
    while clock.monotonic() < 6 * 3_600:
        pacer.wait_for_call()
        pacer.throttled(Limited.CALLS)
        tries += 1
    assert 6 * 60 * 0.5 <= tries <= 6 * 60 * 1.5


def test_only_what_was_limited_slows_down() -> None:
    """A refused creation in one domain does not hold up calls, or other domains."""
    clock = SteppedClock()
    pacer = pacer_on(clock)
    pacer.throttled(Limited.CREATIONS, domain=DOMAIN)
    pacer.wait_for_call()
    pacer.wait_for_creation("guru.sd.belajar.id")
    assert clock.monotonic() < 0.5
    pacer.wait_for_creation(DOMAIN)
    assert clock.monotonic() >= 1.0
