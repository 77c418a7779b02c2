"""Scripted faults: what the caller sees, and what was done all the same."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import urllib3

from belajarid_recon.emulator.launch import EmulatorProcess
from belajarid_recon.errors import ReconError
from belajarid_recon.schemas import Jenjang
from emulator_kit import Plain, person, unlimited

SD = Jenjang.SD


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatorProcess]:
    """One emulator for this module."""
    with EmulatorProcess(unlimited(tmp_path_factory.mktemp("faults") / "state", SD)) as emulator:
        yield emulator


@pytest.fixture
def emulator(running: EmulatorProcess) -> EmulatorProcess:
    """The emulator without faults."""
    running.clear_faults()
    return running


@pytest.fixture
def sd(emulator: EmulatorProcess) -> Plain:
    """Raw requests to it."""
    return Plain(emulator, SD)


def applied(emulator: EmulatorProcess) -> int:
    """Inserts carried out so far."""
    count: int = emulator.stats()["applied"].get("users.insert", {}).get("sd", 0)
    return count


@pytest.mark.parametrize(("kind", "done"), [("drop-before", 0), ("drop-after", 1)])
def test_a_dropped_call_has_no_answer(emulator: EmulatorProcess, sd: Plain, kind: str, done: int) -> None:
    """The connection is cut; before, nothing was done; after, the account is there."""
    address = f"{kind}@sd.belajar.id"
    before = applied(emulator)
    emulator.fault("users.insert", kind)
    with pytest.raises(urllib3.exceptions.HTTPError):
        sd("POST", "users", person(address))
    assert applied(emulator) - before == done
    assert sd("GET", f"users/{address}")[0] == (200 if done else 404)
    stats = emulator.stats()
    assert stats["faults"][0]["used"] == 1
    assert stats["dropped"]["users.insert"] >= 1
    assert sd("POST", "users", person(address))[0] == (409 if done else 200)


def test_a_scripted_status_is_answered_without_or_after_the_work(emulator: EmulatorProcess, sd: Plain) -> None:
    """`status` does nothing, `status-after` does the work and denies it; `bogus-409-after` claims a duplicate."""
    emulator.fault("users.insert", "status", status=503, reason="backendError", times=1)
    emulator.fault("users.insert", "status-after", status=500, reason="internalError", times=1)
    emulator.fault("users.insert", "bogus-409-after", times=1)
    seen = []
    for name in ("satu", "dua", "tiga"):
        status, body = sd("POST", "users", person(f"{name}@sd.belajar.id"))
        seen.append((status, body["error"]["errors"][0]["reason"], sd("GET", f"users/{name}@sd.belajar.id")[0]))
    assert seen == [(503, "backendError", 404), (500, "internalError", 200), (409, "duplicate", 200)]


def test_a_fault_waits_for_its_turn(emulator: EmulatorProcess, sd: Plain) -> None:
    """`after` lets calls through, `times` ends it, `method` and `tenant` choose the calls."""
    emulator.fault("customers.get", "status", status=429, reason="rateLimitExceeded", after=2, times=2)
    emulator.fault("domains.list", "status", tenant="smp")
    statuses = [sd("GET", "customers/my_customer")[0] for _ in range(6)]
    assert statuses == [200, 200, 429, 429, 200, 200]
    assert sd("GET", "customer/my_customer/domains")[0] == 200
    emulator.fault("*", "status", times=None)
    assert {sd("GET", "customer/my_customer/domains")[0] for _ in range(3)} == {503}
    emulator.clear_faults()
    assert sd("GET", "customer/my_customer/domains")[0] == 200


def test_a_delay_delays(emulator: EmulatorProcess, sd: Plain) -> None:
    """`delay` waits before the work and `delay-after` behind it; both answer truthfully."""
    for kind in ("delay", "delay-after"):
        emulator.fault("users.insert", kind, seconds=0.2)
        start = time.monotonic()
        assert sd("POST", "users", person(f"{kind}@sd.belajar.id"))[0] == 200
        assert time.monotonic() - start >= 0.2


def test_an_answer_need_not_be_json(emulator: EmulatorProcess, sd: Plain) -> None:
    """Some of Google's throttling answers are plain text; Retry-After can come along."""
    emulator.fault(
        "customers.get", "status", status=403, text="Request rate higher than configured", retry_after_seconds=7
    )
    headers = {"authorization": f"Bearer {sd.token.token}"}
    answer = sd.pool.request("GET", f"{sd.url}admin/directory/v1/customers/my_customer", headers=headers)
    assert (answer.status, answer.data) == (403, b"Request rate higher than configured")
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.headers["retry-after"] == "7"


def test_a_call_that_fails_by_itself_uses_no_fault_after_it(emulator: EmulatorProcess, sd: Plain) -> None:
    """A fault behind the work waits for work that was done."""
    sd("POST", "users", person("empat@sd.belajar.id"))
    emulator.fault("users.insert", "drop-after")
    assert sd("POST", "users", person("empat@sd.belajar.id"))[0] == 409
    assert emulator.stats()["faults"][0]["used"] == 0
    with pytest.raises(urllib3.exceptions.HTTPError):
        sd("POST", "users", person("lima@sd.belajar.id"))


def test_a_fault_that_cannot_be_meant_is_refused(emulator: EmulatorProcess) -> None:
    """An unknown kind, method or field is told, not ignored."""
    for method, kind, more in (
        ("users.insert", "explode", {}),
        ("users.inzert", "status", {}),
        ("*", "status", {"often": 1}),
    ):
        with pytest.raises(ReconError, match="the emulator refused"):
            emulator.fault(method, kind, **more)
    assert emulator.stats()["faults"] == []
