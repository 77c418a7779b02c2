"""Batches: the official client's, and those of others with their own habits."""

from __future__ import annotations

import json
from collections.abc import Iterator
from email import message_from_bytes
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import urllib3
from google.oauth2 import service_account
from googleapiclient.discovery import build_from_document
from googleapiclient.discovery_cache import get_static_doc
from googleapiclient.errors import HttpError
from hypothesis import given
from hypothesis import strategies as st

from belajarid_recon.emulator.launch import EmulatorProcess
from belajarid_recon.emulator.multipart import Part, read_parts, written
from belajarid_recon.emulator.replies import Answer, ApiError
from belajarid_recon.emulator.settings import EmulatorQuotas, EmulatorSettings
from belajarid_recon.schemas import Jenjang
from emulator_kit import SCOPES, Plain, person, unlimited

SD, SMP = Jenjang.SD, Jenjang.SMP


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatorProcess]:
    """One emulator for this module."""
    with EmulatorProcess(unlimited(tmp_path_factory.mktemp("batches") / "state", SD, SMP)) as emulator:
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


def unmodified(emulator: EmulatorProcess) -> Any:
    """The official client, its document's root pointed at the emulator, which is where its batches then go too."""
    document = json.loads(get_static_doc("admin", "directory_v1")) | {"rootUrl": emulator.url}
    credentials = service_account.Credentials.from_service_account_file(str(emulator.credentials[SD]), scopes=SCOPES)
    return build_from_document(document, credentials=credentials)


def executed(batch: Any, requests: dict[str, Any]) -> dict[str, Any]:
    """Run a batch of the official client on loopback; what each callback got."""
    assert urlsplit(batch._batch_uri).hostname == "127.0.0.1"
    heard: dict[str, Any] = {}
    for name, request in requests.items():
        batch.add(request, lambda who, answer, error: heard.update({who: error or answer}), request_id=name)
    batch.execute()
    return heard


def send(sd: Plain, raw: bytes, boundary: str = "b", path: str = "batch", **headers: str) -> Any:
    """Send a hand-made batch; returns the whole response."""
    own = {
        "content-type": f"multipart/mixed; boundary={boundary}",
        "authorization": f"Bearer {sd.token.token}",
        **headers,
    }
    return sd.pool.request("POST", sd.url + path, body=raw, headers=own)


def answers(response: Any) -> list[tuple[str | None, int, bytes]]:
    """Content-ID, status and body of each part, as the standard library reads them."""
    assert response.status == 200
    whole = message_from_bytes(
        b"content-type: " + response.headers["content-type"].encode() + b"\r\n\r\n" + response.data
    )
    found = []
    for part in whole.get_payload():
        head, _, body = part.get_payload(decode=True).partition(b"\r\n\r\n")
        found.append((part["content-id"], int(head.split(b" ", 2)[1]), body))
    return found


def test_the_official_client_uses_it_unmodified(emulator: EmulatorProcess) -> None:
    """Inserts, a duplicate, a change, a deletion, a list and a partial answer in one batch; each callback gets its own."""
    client = unmodified(emulator)
    users = client.users()
    users.insert(body=person("ada@sd.belajar.id")).execute()
    users.insert(body=person("pergi@sd.belajar.id")).execute()
    requests = {
        "satu dengan+tanda": users.insert(
            body=person("resmi1@sd.belajar.id", name={"givenName": "Éka", "familyName": "Ñ"})
        ),
        "dua": users.insert(body=person("resmi2@sd.belajar.id")),
        "ganda": users.insert(body=person("ada@sd.belajar.id")),
        "ubah": users.update(userKey="ada@sd.belajar.id", body={"suspended": True}),
        "hapus": users.delete(userKey="pergi@sd.belajar.id"),
        "tiada": users.get(userKey="tidak.ada@sd.belajar.id"),
        "sebagian": users.get(userKey="ada@sd.belajar.id", fields="primaryEmail"),
    }
    heard = executed(client.new_batch_http_request(), requests)
    assert list(heard) == list(requests)
    assert heard["satu dengan+tanda"]["name"]["fullName"] == "Éka Ñ"
    assert heard["dua"]["primaryEmail"] == "resmi2@sd.belajar.id"
    assert heard["ubah"]["suspended"] is True
    assert heard["hapus"] == ""
    assert heard["sebagian"] == {"primaryEmail": "ada@sd.belajar.id"}
    statuses = {name: error.resp.status for name, error in heard.items() if isinstance(error, HttpError)}
    assert statuses == {"ganda": 409, "tiada": 404}
    assert users.get(userKey="resmi1@sd.belajar.id").execute()["name"]["givenName"] == "Éka"


def test_a_thousand_calls_and_not_one_more(emulator: EmulatorProcess, sd: Plain) -> None:
    """A full batch is carried out; a fuller one is refused whole."""
    part = b"--b\n\nGET /admin/directory/v1/customers/my_customer\n\n"
    assert [status for _, status, _ in answers(send(sd, part * 1_000 + b"--b--"))] == [200] * 1_000
    before = emulator.stats()["answers"]["customers.get"]
    refused = send(sd, part * 1_001 + b"--b--")
    assert refused.status == 400
    assert "1000" in refused.json()["error"]["message"]
    assert emulator.stats()["answers"]["customers.get"] == before


GET = "/admin/directory/v1/customers/my_customer"
HABITS = {
    "lf only, folded id, quoted boundary": (
        b"--a=b\nContent-Type: application/http\nMIME-Version: 1.0\nContent-ID: <0b7a\n + 1>\n\n"
        b"GET /admin/directory/v1/customers/my_customer?fields=&alt=json HTTP/1.1\nHost: x\nAccept: */*\n\n\n--a=b--",
        '"a=b"',
        ["<response-0b7a + 1>"],
    ),
    "crlf, no version, no id, preamble, padding": (
        b"preamble\r\n--b  \r\nContent-Type: application/http\r\n\r\nGET /admin/directory/v1/customers/my_customer\r\n\r\n--b--\r\nx",
        "b",
        [None],
    ),
    "absolute url, bare id, no end of line": (
        b"--b\r\nContent-Type: application/http; charset=UTF-8\r\ncontent-id: 7\r\n\r\n"
        b"GET https://admin.googleapis.com/admin/directory/v1/customers/my_customer HTTP/1.1\r\nAccept-Encoding: gzip\r\n\r\n--b--",
        "b",
        ["response-7"],
    ),
    "no headers at all": (b"--b\n\nGET /admin/directory/v1/customers/my_customer\n--b--", "b", [None]),
}


@pytest.mark.parametrize("habit", HABITS)
@pytest.mark.parametrize("path", ["batch", "batch/admin/directory_v1"])
def test_every_clients_habits_are_understood(emulator: EmulatorProcess, sd: Plain, habit: str, path: str) -> None:
    """Line ends, folding, quoting, missing versions and ids, absolute addresses, empty `fields`."""
    raw, boundary, ids = HABITS[habit]
    found = answers(send(sd, raw, boundary, path))
    assert [one[0] for one in found] == ids
    for _, status, body in found:
        assert (status, json.loads(body)["id"]) == (200, emulator.customer_ids[SD])


def test_an_inner_token_counts_more_than_the_outer(emulator: EmulatorProcess, sd: Plain) -> None:
    """A part may be another tenant's; without any token it is 401, and its neighbours are not."""
    other = Plain(emulator, SMP).token.token.encode()
    get = b"--b\n\nGET /admin/directory/v1/customers/my_customer HTTP/1.1\n%b\n"
    raw = get % b"" + get % (b"Authorization: Bearer " + other + b"\n") + get % b"Authorization: Bearer no\n" + b"--b--"
    found = answers(send(sd, raw))
    assert [status for _, status, _ in found] == [200, 200, 401]
    ids = [json.loads(body)["id"] for _, _, body in found[:2]]
    assert ids == [emulator.customer_ids[SD], emulator.customer_ids[SMP]]
    assert [status for _, status, _ in answers(send(sd, raw, authorization=""))] == [401, 200, 401]


def test_a_part_that_is_no_request_is_refused_alone(sd: Plain) -> None:
    """Each faulty part has its own answer in its own place; no call of another API and no batch in a batch."""
    parts = [
        b"GET /admin/directory/v1/customers/my_customer",
        b"",
        b"GET",
        b"GET admin/directory/v1/customers/my_customer",
        b"GET //evil/x",
        b"POST /batch",
        b"GET /emulator/stats",
        b"GET /calendar/v3/calendars",
        b"POST /admin/directory/v1/users\nContent-Type: application/json\n\n{",
    ]
    raw = b"".join(b"--b\nContent-Type: application/http\n\n" + part + b"\n\n" for part in parts) + b"--b--"
    assert [status for _, status, _ in answers(send(sd, raw))] == [200, 400, 400, 400, 404, 404, 404, 404, 400]
    assert [status for _, status, _ in answers(send(sd, b"--b\nContent-Type: text/plain\n\nGET /\n\n--b--"))] == [400]


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (b"", "multipart/mixed; boundary=b"),
        (b"--b--", "multipart/mixed; boundary=b"),
        (b"--b\n\nGET /x\n\n", "multipart/mixed; boundary=b"),
        (b"--b\n\nGET /x\n\n--b--", "multipart/mixed"),
        (b"--b\n\nGET /x\n\n--b--", "application/json"),
        (b"--b\n\nGET /x\n\n--b--", ""),
    ],
)
def test_what_is_no_batch_is_refused_whole(sd: Plain, raw: bytes, kind: str) -> None:
    """Nothing in it, no end, no boundary, another type."""
    refused = send(sd, raw, **{"content-type": kind})
    assert (refused.status, refused.json()["error"]["errors"][0]["reason"]) == (400, "badRequest")


def test_each_part_counts_against_the_quotas(tmp_path: Path) -> None:
    """Of twelve creations in a second ten are made; of a hundred calls a minute the rest is refused."""
    quotas = EmulatorQuotas(calls_per_minute=40)
    with EmulatorProcess(
        EmulatorSettings(tmp_path, quotas=quotas, tenants=(SD,), scale=0.01, jitter_seconds=0)
    ) as emulator:
        sd = Plain(emulator, SD)
        bodies = [json.dumps(person(f"m{number}@sd.belajar.id")).encode() for number in range(12)]
        raw = b"".join(
            b"--b\n\nPOST /admin/directory/v1/users HTTP/1.1\nContent-Length: %d\n\n%b\n" % (len(body), body)
            for body in bodies
        )
        statuses = [status for _, status, _ in answers(send(sd, raw + b"--b--"))]
        assert (statuses.count(200), statuses.count(403)) == (10, 2)
        assert emulator.stats()["applied"]["users.insert"]["sd"] == 10
        assert statuses != sorted(statuses)  # they were carried out in another order than they came
        get = b"--b\n\nGET /admin/directory/v1/customers/my_customer\n\n"
        statuses = [status for _, status, _ in answers(send(sd, get * 30 + b"--b--"))]
        assert (statuses.count(200), statuses.count(403)) == (28, 2)


def test_faults_strike_parts_and_batches(emulator: EmulatorProcess, sd: Plain) -> None:
    """A dropped part is missing from the answer; a dropped batch has none, though its parts were carried out."""
    bodies = [json.dumps(person(f"kena{number}@sd.belajar.id")).encode() for number in range(6)]
    parts = [
        b"--b\nContent-ID: <%d>\n\nPOST /admin/directory/v1/users HTTP/1.1\n\n%b\n" % (number, body)
        for number, body in enumerate(bodies)
    ]
    emulator.fault("users.insert", "drop-after")
    emulator.fault("users.insert", "403-quota", retry_after_seconds=3)
    found = answers(send(sd, b"".join(parts[:3]) + b"--b--"))
    assert sorted(status for _, status, _ in found) == [200, 403]
    emulator.fault("batch", "drop-after")
    counted = emulator.stats()["answers"]["users.insert"]
    with pytest.raises(urllib3.exceptions.HTTPError):
        send(sd, b"".join(parts[3:]) + b"--b--")
    assert emulator.stats()["answers"]["users.insert"] == counted
    assert all(sd("GET", f"users/kena{number}@sd.belajar.id")[0] == 200 for number in (3, 4, 5))
    emulator.fault("batch", "status")
    refused = send(sd, parts[0] + b"--b--")
    assert refused.status == 503
    emulator.fault("batch", "truncated")
    with pytest.raises(urllib3.exceptions.HTTPError):
        send(sd, parts[0] + b"--b--")
    assert [(one["kind"], one["method"]) for one in emulator.strikes()] == [
        ("drop-after", "users.insert"),
        ("403-quota", "users.insert"),
        ("drop-after", "batch"),
        ("status", "batch"),
        ("truncated", "batch"),
    ]


BODIES = st.binary(max_size=40).filter(lambda body: b"--b~" not in body and not body.endswith(b"\r"))
"""A CR before a bare LF is taken for a part of the line end: with clients that write either there is no telling."""
TOKENS = st.text("abcXYZ019 +._-", min_size=1, max_size=12).map(str.strip).filter(bool)


@given(
    bodies=st.lists(st.tuples(st.none() | TOKENS, BODIES), min_size=1, max_size=5),
    line=st.sampled_from([b"\n", b"\r\n"]),
)
def test_what_is_written_is_read(bodies: list[tuple[str | None, bytes]], line: bytes) -> None:
    """Any bodies, with a length, come out as they went in; ids come back with their prefix."""
    raw = b"".join(
        line.join(
            (
                b"--b~",
                b"Content-ID: <" + name.encode() + b">" if name else b"X-Y: z",
                b"",
                b"POST /x?y=1 HTTP/1.1",
                b"content-length: %d" % len(body),
                b"",
                body,
                b"",
            )
        )
        for name, body in bodies
    )
    parts = [part for part in read_parts('multipart/mixed; boundary="b~"', raw + b"--b~--") if isinstance(part, Part)]
    assert [(part.verb, part.path, part.query, part.body) for part in parts] == [
        ("POST", "/x", b"y=1", body) for _, body in bodies
    ]
    answer = written([(part.content_id, Answer(200, b"{}")) for part in parts], b"q")
    ids = [
        part["content-id"]
        for part in message_from_bytes(
            b"content-type: " + answer.content_type + b"\r\n\r\n" + answer.body
        ).get_payload()
    ]
    assert ids == [name and f"<response-{name}>" for name, _ in bodies]


@given(st.binary(max_size=200), st.text(max_size=30))
def test_no_bytes_break_the_reader(raw: bytes, content_type: str) -> None:
    """Anything is parts or a refusal."""
    for kind in (content_type, "multipart/mixed; boundary=b"):
        try:
            parts = read_parts(kind, b"--b\n" + raw + b"\n--b--")
        except ApiError as error:
            parts = [error]
        assert parts
        assert all(isinstance(part, Part) or part.status == 400 for part in parts)
