"""Quotas in emulated time, and calls at once."""

from __future__ import annotations

import threading
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from belajarid_recon.emulator.instants import EmulatedTime
from belajarid_recon.emulator.launch import EmulatorProcess
from belajarid_recon.emulator.quotas import USERS_MAX, Bucket, TenantQuotas, Window
from belajarid_recon.emulator.replies import ApiError
from belajarid_recon.emulator.settings import EmulatorQuotas, EmulatorSettings
from belajarid_recon.emulator.statistics import MINUTES_MAX, Minutes
from belajarid_recon.schemas import Jenjang
from directory_server import SteppedClock
from emulator_kit import Plain, person

SD, SMP = Jenjang.SD, Jenjang.SMP


def started(folder: Path, quotas: EmulatorQuotas, *tenants: Jenjang, **more: Any) -> EmulatorProcess:
    """An emulator with these quotas and no forgiveness for bursts."""
    return EmulatorProcess(
        EmulatorSettings(folder, quotas=quotas, tenants=tenants or (SD,), jitter_seconds=0.0, **more)
    )


def outcome(answer: tuple[int, Any]) -> tuple[int, str]:
    """Status and reason."""
    status, body = answer
    return status, body["error"]["errors"][0]["reason"] if status >= 400 else ""


def test_calls_a_minute_are_counted_for_each_tenant(tmp_path: Path) -> None:
    """The 61st call of a minute's 60 is 403 userRateLimitExceeded, another tenant goes on, and half a minute gives half back."""
    with started(tmp_path / "e", EmulatorQuotas(calls_per_minute=60), SD, SMP) as emulator:
        sd, smp = Plain(emulator, SD), Plain(emulator, SMP)
        outcomes = [outcome(sd("GET", "customers/my_customer")) for _ in range(70)]
        assert outcomes[:60] == [(200, "")] * 60
        assert outcomes.count((403, "userRateLimitExceeded")) >= 8  # a second or two may pass meanwhile
        assert outcome(smp("GET", "customers/my_customer")) == (200, "")
        emulator.advance(30)
        outcomes = [outcome(sd("GET", "customers/my_customer")) for _ in range(40)]
        assert 30 <= outcomes.count((200, "")) <= 33


def test_calls_a_minute_are_counted_for_each_user(tmp_path: Path) -> None:
    """Two administrators get twice what one gets; a second token, and another spelling, of the same one get nothing more."""
    with started(tmp_path / "e", EmulatorQuotas(calls_per_minute=30), scale=0.01) as emulator:

        def passed(*subjects: str) -> int:
            """How many of 80 calls, taken in turn by new tokens for these users, are answered."""
            clients = [Plain(emulator, SD, subject=subject) for subject in subjects]
            outcomes = [outcome(client("GET", "customers/my_customer")) for _ in range(40) for client in clients]
            assert set(outcomes) <= {(200, ""), (403, "userRateLimitExceeded")}
            return outcomes.count((200, ""))

        satu, dua = "satu@admin.sd.belajar.id", "dua@admin.sd.belajar.id"
        assert passed(satu) == 30
        emulator.advance(60)
        assert passed(satu, satu.upper()) == 30
        emulator.advance(60)
        assert passed(satu, dua) == 60
        emulator.advance(60)
        assert passed(satu, "") == 60  # the service account itself is a user, too
        assert [sum(minute["calls"].values()) for minute in emulator.minutes()] == [40, 80, 80, 80]
        assert [minute["refused"]["userRateLimitExceeded"] for minute in emulator.minutes()] == [10, 50, 20, 20]


def test_other_limits_are_shared_by_a_tenants_users(tmp_path: Path) -> None:
    """Creations in a domain and new units are the tenant's, whoever makes them."""
    with started(tmp_path / "e", EmulatorQuotas(), scale=0.01) as emulator:
        clients = [
            Plain(emulator, SD, subject=name) for name in ("satu@admin.sd.belajar.id", "dua@admin.sd.belajar.id")
        ]
        made = [outcome(clients[n % 2]("POST", "users", person(f"murid{n}@sd.belajar.id"))) for n in range(12)]
        assert made == [(200, "")] * 10 + [(403, "quotaExceeded")] * 2
        units = "customer/my_customer/orgunits"
        made = [
            outcome(client("POST", units, {"name": f"Unit {number}", "parentOrgUnitPath": "/"}))
            for number, client in enumerate(clients)
        ]
        assert made == [(200, ""), (403, "quotaExceeded")]


def test_a_batch_counts_each_part_for_the_user_of_its_token(tmp_path: Path) -> None:
    """Parts with a token of their own spend its user's calls, and the others those of the batch's."""
    with started(tmp_path / "e", EmulatorQuotas(calls_per_minute=10), scale=0.01) as emulator:
        own, other = Plain(emulator, SD), Plain(emulator, SD, subject="dua@admin.sd.belajar.id")
        call = "GET /admin/directory/v1/customers/my_customer HTTP/1.1\r\n"
        head = "--b\r\nContent-Type: application/http\r\n\r\n"
        parts = [f"{head}{call}\r\n", f"{head}{call}Authorization: Bearer {other.token.token}\r\n\r\n"] * 15
        headers = {"content-type": "multipart/mixed; boundary=b", "authorization": f"Bearer {own.token.token}"}
        raw = "\r\n".join((*parts, "--b--")).encode()
        answer = own.pool.request("POST", f"{emulator.url}batch", body=raw, headers=headers)
        assert (answer.data.count(b"HTTP/1.1 200"), answer.data.count(b"HTTP/1.1 403")) == (20, 10)


def test_only_so_many_users_are_remembered() -> None:
    """The one who called longest ago is forgotten, and the others' calls stay counted."""
    quotas = TenantQuotas(
        EmulatorQuotas(calls_per_minute=1), EmulatedTime(SteppedClock(), origin=datetime.now(tz=UTC), elapsed=0.0), 0.0
    )
    for number in range(USERS_MAX):
        quotas.take_call(f"{number}")
    for number in range(USERS_MAX):
        with pytest.raises(ApiError):
            quotas.take_call(f"{number}")
    quotas.take_call("newcomer")
    quotas.take_call("0")
    for user in ("newcomer", "0", "2"):
        with pytest.raises(ApiError):
            quotas.take_call(user)


def test_creations_a_second_are_counted_for_each_domain(tmp_path: Path) -> None:
    """Ten creations a second in a domain, ten in the next; the eleventh is 403 quotaExceeded and makes nobody."""
    with started(tmp_path / "e", EmulatorQuotas(), SD, scale=0.01) as emulator:
        sd = Plain(emulator, SD)
        for domain in ("sd.belajar.id", "guru.sd.belajar.id"):
            made = [outcome(sd("POST", "users", person(f"murid{number}@{domain}"))) for number in range(12)]
            assert made == [(200, "")] * 10 + [(403, "quotaExceeded")] * 2
        assert sd("GET", "users/murid10@sd.belajar.id")[0] == 404
        emulator.advance(0.5)
        made = [outcome(sd("POST", "users", person(f"siswa{number}@sd.belajar.id"))) for number in range(7)]
        assert made == [(200, "")] * 5 + [(403, "quotaExceeded")] * 2
        assert emulator.stats()["applied"]["users.insert"]["sd"] == 25


def test_one_unit_a_second(tmp_path: Path) -> None:
    """A second unit within the second is 403 quotaExceeded; reads are not counted."""
    with started(tmp_path / "e", EmulatorQuotas(orgunits_max=3), SD, scale=0.01) as emulator:
        sd = Plain(emulator, SD)

        def make(name: str) -> tuple[int, str]:
            body = {"name": name, "parentOrgUnitPath": "/"}
            return outcome(sd("POST", "customer/my_customer/orgunits", body))

        assert make("A") == (200, "")
        assert make("B") == (403, "quotaExceeded")
        assert sd("GET", "customer/my_customer/orgunits/A")[0] == 200
        for name in ("B", "C"):
            emulator.advance(1)
            assert make(name) == (200, "")
        emulator.advance(1)
        assert make("D") == (412, "limitExceeded")


def test_quotas_follow_the_time_scale(tmp_path: Path) -> None:
    """At 200 times real time a second's worth of creations is back after some real milliseconds."""
    with started(tmp_path / "e", EmulatorQuotas(creations_per_second_and_domain=1), SD, scale=200.0) as emulator:
        sd = Plain(emulator, SD)
        start = time.monotonic()
        made = 0
        while made < 100:
            status, _reason = outcome(sd("POST", "users", person(f"murid{made}@sd.belajar.id")))
            made += status == 200
        emulated = (time.monotonic() - start) * 200
        assert emulated >= 99 - 1  # the first is free; a hundred need 99 emulated seconds


def test_a_customer_can_be_full(tmp_path: Path) -> None:
    """The account over the licences is 412 limitExceeded; a deletion makes room."""
    with started(tmp_path / "e", EmulatorQuotas(accounts_max=1)) as emulator:
        sd = Plain(emulator, SD)
        assert outcome(sd("POST", "users", person("a@sd.belajar.id"))) == (200, "")
        assert outcome(sd("POST", "users", person("b@sd.belajar.id"))) == (412, "limitExceeded")
        assert sd("DELETE", "users/a@sd.belajar.id")[0] == 204
        assert outcome(sd("POST", "users", person("b@sd.belajar.id"))) == (200, "")


def test_calls_at_once_are_limited_when_asked(tmp_path: Path) -> None:
    """With a limit of two, five calls at once give at least one 429 rateLimitExceeded, and stats say how many there were."""
    with started(tmp_path / "e", EmulatorQuotas(concurrent_calls_max=2), latency_seconds=0.3) as emulator:
        clients = [Plain(emulator, SD) for _ in range(5)]
        outcomes: list[tuple[int, str]] = []

        def call(client: Plain) -> None:
            outcomes.append(outcome(client("GET", "customers/my_customer")))

        threads = [threading.Thread(target=call, args=(client,)) for client in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert set(outcomes) == {(200, ""), (429, "rateLimitExceeded")}
        assert outcomes.count((200, "")) >= 2
        assert emulator.stats()["concurrent_calls_max"]["sd"] >= 3


def test_each_minute_says_what_came_and_what_was_refused(tmp_path: Path) -> None:
    """Calls by method and refusals by reason, by emulated minute and tenant; a fault's refusal is none of a limit's."""
    with started(tmp_path / "e", EmulatorQuotas(calls_per_minute=40), SD, SMP, scale=0.01) as emulator:
        sd, smp = Plain(emulator, SD), Plain(emulator, SMP)
        for number in range(12):
            sd("POST", "users", person(f"murid{number}@sd.belajar.id"))
        smp("GET", "customers/my_customer")
        emulator.advance(60)
        emulator.fault("customers.get", "403-quota")
        statuses = [sd("GET", "customers/my_customer")[0] for _ in range(42)]
        assert statuses.count(403) == 3
        assert emulator.minutes() == [
            {"minute": 0, "tenant": "sd", "calls": {"users.insert": 12}, "refused": {"quotaExceeded": 2}},
            {"minute": 0, "tenant": "smp", "calls": {"customers.get": 1}, "refused": {}},
            {"minute": 1, "tenant": "sd", "calls": {"customers.get": 42}, "refused": {"userRateLimitExceeded": 2}},
        ]


def test_only_so_many_minutes_are_kept() -> None:
    """The oldest go first."""
    minutes = Minutes()
    for minute in range(MINUTES_MAX + 5):
        minutes.at(minute * 60.0, "sd").calls["users.get"] += 1
    found = minutes.describe()
    assert (len(found), found[0]["minute"], found[-1]["minute"]) == (MINUTES_MAX, 5, MINUTES_MAX + 4)


def test_calls_can_be_counted_by_whole_minutes(tmp_path: Path) -> None:
    """What a minute does not use is lost, and the next one begins at once with all of its own."""
    quotas = EmulatorQuotas(calls_per_minute=10, calls_by_whole_minutes=True)
    with started(tmp_path / "e", quotas, SD, scale=0.01) as emulator:
        sd = Plain(emulator, SD)

        def passed(count: int) -> int:
            return [sd("GET", "customers/my_customer")[0] for _ in range(count)].count(200)

        assert passed(4) == 4
        emulator.advance(58)
        assert passed(9) == 6
        emulator.advance(3)
        assert passed(15) == 10


@given(gaps=st.lists(st.floats(0, 30, allow_nan=False), max_size=80), limit=st.integers(1, 6))
def test_a_window_gives_each_minute_its_own(gaps: list[float], limit: int) -> None:
    """No minute gives more than the limit, and none refuses before it gave that much."""
    window = Window(limit)
    now, taken, asked = 0.0, Counter[int](), Counter[int]()
    for gap in gaps:
        now += gap
        asked[int(now // 60)] += 1
        taken[int(now // 60)] += window.take(now)
    assert taken == {minute: min(count, limit) for minute, count in asked.items()}


@given(
    rate=st.floats(0.1, 100),
    capacity=st.floats(1, 50),
    gaps=st.lists(st.floats(0, 5, allow_nan=False), max_size=60),
)
def test_a_bucket_never_gives_more_than_its_rate(rate: float, capacity: float, gaps: list[float]) -> None:
    """Over any run of requests: at most the capacity, and the rate times the time that passed."""
    bucket = Bucket(rate, capacity, 0.0)
    now, taken = 0.0, 0
    for gap in gaps:
        now += gap
        taken += bucket.take(now)
        assert taken <= capacity + rate * now + 1e-6
