"""Scripted faults: what the caller sees, and what was done all the same."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import urllib3

from belajarid_recon.emulator.launch import EmulatorProcess
from belajarid_recon.errors import ReconError
from belajarid_recon.schemas import Jenjang
from emulator_kit import Plain, marked, person, unlimited

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


REFUSALS = {
    "status": (503, "backendError"),
    "html": (502, "<!DOCTYPE html>"),
    "429": (429, "rateLimitExceeded"),
    "429-text": (429, "Quota exceeded for quota metric"),
    "403-user-rate": (403, "userRateLimitExceeded"),
    "403-rate": (403, "rateLimitExceeded"),
    "403-quota": (403, "quotaExceeded"),
    "403-text": (403, "Request rate higher than configured"),
    "403-exhausted": (403, "RESOURCE_EXHAUSTED"),
    "bogus-409": (409, "duplicate"),
    "status-after": (503, "backendError"),
    "html-after": (502, "<!DOCTYPE html>"),
    "bogus-409-after": (409, "duplicate"),
}


@pytest.mark.parametrize("kind", REFUSALS)
def test_a_refusal_is_worded_as_google_words_it(emulator: EmulatorProcess, sd: Plain, kind: str) -> None:
    """Envelope, newer envelope, plain text or a page, with Retry-After if asked; the work is done for `-after` alone."""
    address = f"tolak.{kind}@sd.belajar.id"
    emulator.fault("users.insert", kind, retry_after_seconds=9)
    answer = sd.send("POST", "users", person(address))
    status, words = REFUSALS[kind]
    done = kind.endswith("-after")
    assert (answer.status, answer.headers["retry-after"]) == (status, "9")
    if words[0].islower():
        assert answer.json()["error"]["errors"][0]["reason"] == words
    elif words.isupper():
        assert answer.json()["error"] == {"code": 403, "message": answer.json()["error"]["message"], "status": words}
    else:
        assert answer.data.decode().startswith(words)
        assert answer.headers["content-type"].startswith("text/html" if "html" in kind else "text/plain")
    assert sd("GET", f"users/{address}")[0] == (200 if done else 404)
    assert emulator.strikes() == [
        {"kind": kind, "method": "users.insert", "tenant": "sd", "call": 1, "applied": done, "status": status, "account": None}
    ]  # fmt: skip
    assert emulator.stats()["struck"] == {kind: {"users.insert": 1}}


def test_a_truncated_answer_ends_in_its_body(emulator: EmulatorProcess, sd: Plain) -> None:
    """The head promises more than comes; the work was done, and nothing was delivered."""
    answers = emulator.stats()["answers"].get("users.insert", {}).get("200", 0)
    for number in range(5):
        emulator.fault("users.insert", "truncated", times=2, seed=number)
        with pytest.raises((urllib3.exceptions.IncompleteRead, urllib3.exceptions.ProtocolError)):
            sd("POST", "users", person(f"putus{number}@sd.belajar.id"))
        emulator.clear_faults()
        assert sd("GET", f"users/putus{number}@sd.belajar.id")[0] == 200
    assert emulator.stats()["answers"].get("users.insert", {}).get("200", 0) == answers


def test_a_dripped_answer_comes_whole_and_late(emulator: EmulatorProcess, sd: Plain) -> None:
    """In pieces over as many seconds as it was told."""
    emulator.fault("users.insert", "drip", seconds=0.4)
    start = time.monotonic()
    status, body = sd("POST", "users", person("tetes@sd.belajar.id"))
    assert time.monotonic() - start >= 0.4
    assert (status, body) == (200, sd("GET", "users/tetes@sd.belajar.id")[1])


def test_an_expired_token_is_told_until_another_one_is_got(emulator: EmulatorProcess, sd: Plain) -> None:
    """The token ends with the call that met the fault; a fresh one works, and the call was not carried out."""
    emulator.fault("users.insert", "expired-token")
    for _ in range(2):
        status, body = sd("POST", "users", person("kedaluwarsa@sd.belajar.id"))
        assert (status, body["error"]["errors"][0]["reason"]) == (401, "authError")
    assert Plain(emulator, SD)("GET", "users/kedaluwarsa@sd.belajar.id")[0] == 404
    assert len(emulator.strikes()) == 1


def test_two_calls_get_each_others_answer(emulator: EmulatorProcess, sd: Plain) -> None:
    """One call is struck, another of its method passes by, and each hears of the other's account."""
    emulator.fault("users.insert", "swapped", seconds=20)
    addresses = ["tukar.a@sd.belajar.id", "tukar.b@sd.belajar.id"]
    with ThreadPoolExecutor(2) as pool:
        heard = list(
            pool.map(lambda address: Plain(emulator, SD, sd.token)("POST", "users", person(address)), addresses)
        )
    assert [body["primaryEmail"] for _, body in heard] == addresses[::-1]
    assert all(sd("GET", f"users/{address}")[0] == 200 for address in addresses)
    assert [one["applied"] for one in emulator.strikes()] == [True]


def test_a_lone_call_gets_the_previous_answer(emulator: EmulatorProcess, sd: Plain) -> None:
    """With nobody to swap with, a call hears what the call before it heard, though its own work was done."""
    sd("POST", "users", person("sebelum@sd.belajar.id"))
    emulator.fault("users.insert", "swapped", seconds=0.01)
    assert sd("POST", "users", person("sendiri@sd.belajar.id"))[1]["primaryEmail"] == "sebelum@sd.belajar.id"
    assert sd("GET", "users/sendiri@sd.belajar.id")[1]["primaryEmail"] == "sendiri@sd.belajar.id"


def test_a_200_may_have_changed_nothing(emulator: EmulatorProcess, sd: Plain) -> None:
    """Insert, update and delete answer as ever, and the directory is what it was, searches and passwords included."""
    sd("POST", "users", person("tetap@sd.belajar.id", externalIds=marked("tetap.sd")))
    before = list(emulator.accounts(SD))
    counted = applied(emulator)
    emulator.fault("users.*", "unchanged", times=None)
    status, body = sd("POST", "users", person("tiada@sd.belajar.id", externalIds=marked("tiada.sd")))
    assert (status, body["primaryEmail"]) == (200, "tiada@sd.belajar.id")
    change = {
        "primaryEmail": "pindah@sd.belajar.id",
        "suspended": True,
        "externalIds": [],
        "password": "kata-sandi-baru",
    }
    status, body = sd("PUT", "users/tetap@sd.belajar.id", change)
    assert (status, body["primaryEmail"], body["suspended"]) == (200, "pindah@sd.belajar.id", True)
    assert sd("DELETE", "users/tetap@sd.belajar.id") == (204, None)
    assert list(emulator.accounts(SD)) == before
    assert applied(emulator) == counted
    assert [one["applied"] for one in emulator.strikes()] == [False] * 3
    emulator.clear_faults()
    assert sd("GET", "users?customer=my_customer&query=externalId=tiada.sd")[1].get("users", []) == []
    assert len(sd("GET", "users?customer=my_customer&query=externalId=tetap.sd")[1]["users"]) == 1
    for address in ("tiada", "pindah"):
        assert sd("POST", "users", person(f"{address}@sd.belajar.id"))[0] == 200


def test_a_move_that_was_only_answered_leaves_units_as_empty_as_they_were(emulator: EmulatorProcess, sd: Plain) -> None:
    """Neither an account only answered as made in a unit, nor one as moved there, keeps the unit from being deleted."""
    assert sd("POST", "customer/my_customer/orgunits", {"name": "Hampa", "parentOrgUnitPath": "/"})[0] == 200
    sd("POST", "users", person("diam@sd.belajar.id"))
    emulator.fault("users.*", "unchanged", times=None)
    status, moved = sd("PATCH", "users/diam@sd.belajar.id", {"orgUnitPath": "/Hampa"})
    assert (status, moved["orgUnitPath"]) == (200, "/Hampa")
    status, made = sd("POST", "users", person("hampa@sd.belajar.id", orgUnitPath="/Hampa"))
    assert (status, made["orgUnitPath"]) == (200, "/Hampa")
    emulator.clear_faults()
    assert sd("GET", "users/diam@sd.belajar.id")[1]["orgUnitPath"] == "/"
    assert sd("DELETE", "customer/my_customer/orgunits/Hampa") == (204, None)


def test_a_long_query_sent_as_a_body_meets_the_faults_of_its_method(emulator: EmulatorProcess, sd: Plain) -> None:
    """A GET that comes as a POST is a users.list: it is counted as one, fails as one, and applies nothing."""
    counted = emulator.stats()["applied"]
    emulator.fault("users.list", "429")
    headers = {"authorization": f"Bearer {sd.token.token}", "x-http-method-override": "GET"}
    url = f"{sd.url}admin/directory/v1/users"
    statuses = [
        sd.pool.request("POST", url, body=b"customer=my_customer&maxResults=1", headers=headers).status for _ in "12"
    ]
    assert statuses == [429, 200]
    assert [(one["method"], one["status"]) for one in emulator.strikes()] == [("users.list", 429)]
    assert emulator.stats()["applied"] == counted


@pytest.mark.parametrize("kind", ["other-rename", "other-edit", "other-unmark", "other-delete"])
@pytest.mark.parametrize("method", ["users.insert", "users.get", "users.update"])
def test_another_administrator_comes_in_between(emulator: EmulatorProcess, sd: Plain, kind: str, method: str) -> None:
    """Behind an insert or a look, before a change: what was heard is not what is there."""
    address = f"{kind}.{method.replace('.', '-')}@sd.belajar.id"
    emulator.fault(method, kind, seed=4)
    _, made = sd("POST", "users", person(address, externalIds=marked(f"{kind}.{method}")))
    status, looked = sd("GET", f"users/{made['id']}") if method != "users.insert" else (200, made)
    assert (status, looked["etag"]) == (200, made["etag"])
    deleted = kind == "other-delete"
    if method == "users.update":
        status, _ = sd("PUT", f"users/{made['id']}", {"includeInGlobalAddressList": False})
        assert status == (404 if deleted else 200)
    status, now = sd("GET", f"users/{made['id']}")
    assert status == (404 if deleted else 200)
    if not deleted:
        fields = {"other-rename": {"primaryEmail"}, "other-unmark": {"externalIds"}}
        touched = fields.get(kind, {"suspended", "name", "orgUnitPath"})
        assert {name for name in touched if now.get(name) != made[name]}
        assert now["id"] == made["id"]
    (strike,) = emulator.strikes()
    assert (strike["kind"], strike["account"], strike["method"]) == (kind, made["id"], method)


def test_the_same_calls_meet_the_same_drawn_faults(emulator: EmulatorProcess, sd: Plain) -> None:
    """A swarm's strikes follow from its seed; another seed gives others; about as many as the probability says."""
    swarm = [
        {"method": "customers.*", "kind": "429", "probability": 0.2},
        {"method": "*", "kind": "status", "probability": 0.3, "times_max": 12},
        {"method": "domains.list", "kind": "403-quota", "probability": 1, "tenant": "smp"},
    ]

    def struck(seed: int) -> list[int]:
        emulator.clear_faults()
        emulator.swarm(seed, swarm)
        statuses = [sd("GET", "customers/my_customer")[0] for _ in range(100)]
        strikes = emulator.strikes()
        assert [statuses[one["call"] - 1] for one in strikes] == [one["status"] for one in strikes]
        assert statuses.count(503) <= 12
        assert 10 <= statuses.count(429) <= 35
        assert len(strikes) == 100 - statuses.count(200)
        return statuses

    first = struck(1)
    assert struck(1) == first
    assert struck(2) != first


def test_a_fault_that_cannot_be_meant_is_refused(emulator: EmulatorProcess) -> None:
    """An unknown kind, method or field is told, not ignored; a swarm with one such fault adds none."""
    for method, kind, more in (
        ("users.insert", "explode", {}),
        ("users.inzert", "status", {}),
        ("*", "status", {"often": 1}),
        ("*", "status", {"probability": 1.5}),
        ("orgunits.insert", "unchanged", {}),
        ("batch", "swapped", {}),
    ):
        with pytest.raises(ReconError, match="the emulator refused"):
            emulator.fault(method, kind, **more)
    good = {"method": "*", "kind": "status"}
    for swarm in ([good, {"method": "*"}], [good, 1], [{**good, "times": 1}], [good] * 1_001):
        with pytest.raises(ReconError, match="the emulator refused"):
            emulator.swarm(1, swarm)
    assert emulator.stats()["faults"] == []
