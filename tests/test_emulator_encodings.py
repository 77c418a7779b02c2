"""Compressed request bodies, on every route that takes a body."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from belajarid_recon.emulator.app import BODY_BYTES_MAX
from belajarid_recon.emulator.batches import BYTES_MAX as BATCH_BYTES_MAX
from belajarid_recon.emulator.control import BODY_BYTES_MAX as CONTROL_BODY_BYTES_MAX
from belajarid_recon.emulator.encodings import decoded
from belajarid_recon.emulator.launch import EmulatorProcess
from belajarid_recon.emulator.replies import ApiError
from belajarid_recon.schemas import Jenjang
from emulator_kit import Plain, person, unlimited

SD = Jenjang.SD
CALL, BATCH, TOKEN, CONTROL = "admin/directory/v1/users", "batch", "token", "emulator/clock"


@pytest.fixture(scope="module")
def sd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plain]:
    """Raw requests to one emulator for this module."""
    with EmulatorProcess(unlimited(tmp_path_factory.mktemp("encodings") / "state", SD)) as emulator:
        yield Plain(emulator, SD)


def send(sd: Plain, path: str, raw: bytes, encoding: str = "gzip", **headers: str) -> Any:
    """Post a body of this encoding; returns the whole response."""
    own = {"authorization": f"Bearer {sd.token.token}", "content-encoding": encoding, **headers}
    return sd.pool.request("POST", sd.url + path, body=raw, headers=own)


def fault_of(response: Any) -> tuple[int, str]:
    """Status and reason of a refusal."""
    return response.status, response.json()["error"]["errors"][0]["reason"]


@pytest.mark.parametrize(("encoding", "name"), [("gzip", "satu"), ("GZIP", "dua"), ("x-gzip", "tiga")])
def test_an_account_is_made_from_a_compressed_body(sd: Plain, encoding: str, name: str) -> None:
    """As Google's clients for Java and .NET send it; the account is the one that was meant."""
    address = f"{name}@sd.belajar.id"
    answer = send(sd, CALL, gzip.compress(json.dumps(person(address)).encode()), encoding)
    assert (answer.status, answer.json()["primaryEmail"]) == (200, address)
    assert sd("GET", f"users/{address}")[1]["name"]["familyName"] == "Santoso"
    assert fault_of(send(sd, CALL, json.dumps(person(address)).encode(), "identity")) == (409, "duplicate")


def test_a_body_of_unknown_length_may_be_compressed(sd: Plain) -> None:
    """The Java client does not know the compressed length beforehand, and sends it in chunks."""
    raw = gzip.compress(json.dumps(person("potongan@sd.belajar.id")).encode())
    pieces = [raw[at : at + 50] for at in range(0, len(raw), 50)]
    headers = {"authorization": f"Bearer {sd.token.token}", "content-encoding": "gzip"}
    answer = sd.pool.request("POST", sd.url + CALL, body=iter(pieces), headers=headers, chunked=True)
    assert answer.status == 200


def test_a_call_without_content_may_say_that_it_is_compressed(sd: Plain) -> None:
    """Nothing, and nothing compressed, are both an empty body."""
    identity = sd("POST", "users", person("kosong@sd.belajar.id"))[1]["id"]
    for raw in (b"", gzip.compress(b"")):
        assert send(sd, f"{CALL}/{identity}/signOut", raw).status == 204


def test_a_query_in_a_compressed_body_is_understood(sd: Plain) -> None:
    """A GET that came as a POST, its query compressed like any body."""
    raw = gzip.compress(b"customer=my_customer&maxResults=1")
    answer = send(sd, CALL, raw, **{"x-http-method-override": "GET"})
    assert (answer.status, answer.json()["kind"]) == (200, "admin#directory#users")


def test_a_batch_a_grant_and_a_control_request_may_be_compressed(sd: Plain) -> None:
    """The other three routes take a compressed body as well."""
    part = (
        b"--b\r\nContent-Type: application/http\r\n\r\nGET /admin/directory/v1/customers/my_customer HTTP/1.1\r\n\r\n"
    )
    batch = send(sd, BATCH, gzip.compress(part + b"\r\n--b--"), **{"content-type": "multipart/mixed; boundary=b"})
    assert batch.status == 200
    assert b"HTTP/1.1 200 OK" in batch.data
    grant = send(sd, TOKEN, gzip.compress(b"grant_type=password"))
    assert (grant.status, grant.json()["error"]) == (400, "unsupported_grant_type")
    clock = send(sd, CONTROL, gzip.compress(b'{"advance_seconds": 0}'))
    assert clock.status == 200


@pytest.mark.parametrize(
    ("path", "limit"),
    [(CALL, BODY_BYTES_MAX), (BATCH, BATCH_BYTES_MAX), (TOKEN, BODY_BYTES_MAX), (CONTROL, CONTROL_BODY_BYTES_MAX)],
)
def test_a_body_that_swells_over_the_limit_is_refused(sd: Plain, path: str, limit: int) -> None:
    """A thousandth on the wire, and the answer of a body that was sent at its full size; the emulator goes on."""
    assert fault_of(send(sd, path, gzip.compress(b" " * (limit + 1)))) == (413, "uploadTooLarge")
    assert send(sd, path, gzip.compress(b" " * limit)).status == 400  # read whole, and no request
    assert sd("GET", "customers/my_customer")[0] == 200


@pytest.mark.parametrize("path", [CALL, BATCH, TOKEN, CONTROL])
def test_damaged_and_unknown_encodings_are_refused(sd: Plain, path: str) -> None:
    """What is no gzip, ends early or fails its checksum is 400, another encoding 415, and nobody is made."""
    whole = gzip.compress(json.dumps(person("rusak@sd.belajar.id")).encode())
    for raw in (b"{}", whole[:-12], whole[:-8] + b"\0" * 8, whole + b"rest"):
        assert fault_of(send(sd, path, raw)) == (400, "badRequest")
    for encoding in ("br", "deflate", "gzip, gzip"):
        assert fault_of(send(sd, path, whole, encoding)) == (415, "unsupportedMediaType")
    assert sd("GET", "users/rusak@sd.belajar.id")[0] == 404


def test_a_bomb_takes_no_more_than_the_limit() -> None:
    """A gigabyte of nothing, in sixteen members, is never held."""
    bomb = gzip.compress(bytes(64 * 1_024 * 1_024)) * 16
    tracemalloc.start()
    with pytest.raises(ApiError) as caught:
        decoded(bomb, b"gzip", BODY_BYTES_MAX)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert caught.value.status == 413
    assert peak < 4 * BODY_BYTES_MAX


@given(parts=st.lists(st.binary(max_size=200), min_size=1, max_size=3), limit=st.integers(0, 600))
def test_a_body_comes_back_as_it_was_or_is_too_large(parts: list[bytes], limit: int) -> None:
    """Whatever it holds, in one member or several."""
    body, raw = b"".join(parts), b"".join(gzip.compress(part) for part in parts)
    if len(body) <= limit:
        assert decoded(raw, b"gzip", limit) == body
    else:
        with pytest.raises(ApiError):
            decoded(raw, b"gzip", limit)


@given(raw=st.binary(max_size=100), cut=st.integers(0, 120))
def test_rubbish_is_refused_cleanly(raw: bytes, cut: int) -> None:
    """Anything but a whole gzip file ends in a refusal, not in another error."""
    for body in (raw, gzip.compress(raw)[:cut]):
        try:
            decoded(body, b"gzip", 1_000)
        except ApiError as error:
            assert error.status == 400  # noqa: PT017 - most, not all, are refused
