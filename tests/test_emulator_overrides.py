"""Calls that come as a POST and mean something else, alone and in batches."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from belajarid_recon.emulator.launch import EmulatorProcess
from belajarid_recon.schemas import Jenjang
from emulator_kit import Plain, person, unlimited

SD = Jenjang.SD
USERS = "admin/directory/v1/users"


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatorProcess]:
    """One emulator for this module."""
    with EmulatorProcess(unlimited(tmp_path_factory.mktemp("overrides") / "state", SD)) as running:
        yield running


@pytest.fixture(scope="module")
def sd(emulator: EmulatorProcess) -> Plain:
    """Raw requests to it."""
    return Plain(emulator, SD)


def meaning(sd: Plain, verb: str, path: str, body: Any = None, *, sent: str = "POST") -> Any:
    """Send a request that names another verb than its own; returns the whole response."""
    headers = {"authorization": f"Bearer {sd.token.token}", "x-http-method-override": verb}
    raw = b"" if body is None else json.dumps(body).encode()
    return sd.pool.request(sent, sd.url + path, body=raw, headers=headers)


def applied(emulator: EmulatorProcess, method: str) -> int:
    """How often a method has changed something."""
    count: int = emulator.stats()["applied"].get(method, {}).get(SD.value, 0)
    return count


@pytest.mark.parametrize(("verb", "name"), [("PATCH", "satu"), ("patch", "dua")])
def test_a_patch_may_come_as_a_post(emulator: EmulatorProcess, sd: Plain, verb: str, name: str) -> None:
    """As the client for Java sends each: what it names is changed, nothing else, and it counts as the patch that it is."""
    made = sd("POST", "users", person(f"{name}@sd.belajar.id"))[1]
    before = applied(emulator, "users.patch")
    answer = meaning(sd, verb, f"{USERS}/{made['id']}", {"suspended": True})
    assert (answer.status, answer.json()["suspended"]) == (200, True)
    assert sd("GET", f"users/{made['id']}")[1]["name"]["familyName"] == "Santoso"
    assert applied(emulator, "users.patch") == before + 1


def test_put_and_delete_may_come_as_a_post(sd: Plain) -> None:
    """No client is known to; the header says any verb."""
    made = sd("POST", "users", person("ganti@sd.belajar.id"))[1]
    path = f"{USERS}/{made['id']}"
    assert meaning(sd, "PUT", path, {"suspended": True}).json()["suspended"] is True
    assert meaning(sd, "DELETE", path).status == 204
    assert sd("GET", f"users/{made['id']}")[0] == 404


def test_only_a_post_stands_for_another_verb(sd: Plain) -> None:
    """A GET that names another verb stays the GET that it is."""
    made = sd("POST", "users", person("tinggal@sd.belajar.id"))[1]
    assert meaning(sd, "DELETE", f"{USERS}/{made['id']}", sent="GET").json()["id"] == made["id"]
    assert sd("GET", f"users/{made['id']}")[0] == 200


def test_a_verb_that_no_method_has_makes_nothing(emulator: EmulatorProcess, sd: Plain) -> None:
    """It is not taken for the insert that its POST would be."""
    before = applied(emulator, "users.insert")
    for verb in ("TRACE", "PATCHES", "\u00fc"):
        assert meaning(sd, verb, USERS, person("hampa@sd.belajar.id")).status == 404
    assert applied(emulator, "users.insert") == before


def test_parts_of_a_batch_may_come_as_a_post(sd: Plain) -> None:
    """A patch and a list with its query as the body, as the client for Java puts them into a batch."""
    made = sd("POST", "users", person("bagian@sd.belajar.id"))[1]
    parts = (
        f"POST /{USERS}/{made['id']} HTTP/1.1\r\nX-HTTP-Method-Override: PATCH\r\n\r\n" + '{"suspended": true}',
        f"POST /{USERS} HTTP/1.1\r\nX-HTTP-Method-Override: GET\r\n\r\ncustomer=my_customer&maxResults=1&fields=kind",
    )
    raw = "".join(f"--b\r\nContent-Type: application/http\r\n\r\n{part}\r\n" for part in parts) + "--b--"
    headers = {"authorization": f"Bearer {sd.token.token}", "content-type": "multipart/mixed; boundary=b"}
    answer = sd.pool.request("POST", f"{sd.url}batch", body=raw.encode(), headers=headers)
    assert answer.data.count(b"HTTP/1.1 200 OK") == 2
    assert b"admin#directory#users" in answer.data
    assert sd("GET", f"users/{made['id']}")[1]["suspended"] is True
