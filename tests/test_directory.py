"""The Google directory: what answers mean, credentials and worlds, and the same over the emulator's socket."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import pytest
from googleapiclient.discovery import build
from hypothesis import given
from hypothesis import strategies as st

from belajarid_recon.components import ScaledClock, SystemRandomness
from belajarid_recon.directory.connect import connect
from belajarid_recon.directory.connections import Answer
from belajarid_recon.directory.credentials import TOKEN_ATTEMPTS, TokenKeeper, load_credentials
from belajarid_recon.directory.google import (
    HOLE,
    READ_ATTEMPTS,
    SWAPPED_ATTEMPTS,
    GoogleDirectory,
    _Recipe,
    account_answer_verdict,
)
from belajarid_recon.directory.governor import Kind, StoppedError
from belajarid_recon.directory.interface import StaleTokenError, Verdict
from belajarid_recon.directory.transport import Wire, World
from belajarid_recon.emulator.launch import EmulatorProcess
from belajarid_recon.emulator.settings import EmulatorQuotas, EmulatorSettings
from belajarid_recon.errors import BusyError, DirectoryError, SettingsError, UnreachableError
from belajarid_recon.schemas import Jenjang
from belajarid_recon.settings import Quotas, Settings
from directory_server import (
    Received,
    SteppedClock,
    directory_at,
    emulator_endpoint,
    error,
    google_endpoint,
    reply,
    scripted,
    write_credentials,
)

MARKER = "00112233445566778899aabbccddeeff.sd"
ADDRESS = "budi.santoso1234@sd.belajar.id"
SECRET_WORDS = ("Secret", "3201010101010001")


def body(address: str = ADDRESS, marker: str = MARKER) -> dict[str, Any]:
    """An insert as a plan's step makes it."""
    return {
        "primaryEmail": address,
        "name": {"givenName": "Budi", "familyName": "Santoso"},
        "password": "$6$rounds=1000$abcdefgh$" + "b" * 86,
        "hashFunction": "crypt",
        "changePasswordAtNextLogin": True,
        "orgUnitPath": "/",
        "organizations": [{"costCenter": "20100100", "primary": True, "type": "school"}],
        "externalIds": [{"type": "custom", "customType": "recon", "value": marker}],
        "includeInGlobalAddressList": False,
    }


def echo(**changes: Any) -> dict[str, Any]:
    """The account the server answers an insert with."""
    return {"id": "1001", **{key: value for key, value in body().items() if key != "password"}} | changes


HTML = b"<html><title>Error 403 (Forbidden)!!1</title>Secret Person</html>"

INSERT_ANSWERS = [
    (reply(200, echo()), Verdict.DONE, ""),
    (reply(200, echo(primaryEmail="BUDI.Santoso1234@SD.belajar.id")), Verdict.DONE, ""),
    (reply(200, echo(primaryEmail="siti.aminah5678@sd.belajar.id")), Verdict.AMBIGUOUS, "echo-differs"),
    (reply(200, echo(externalIds=[])), Verdict.AMBIGUOUS, "echo-differs"),
    (reply(200, echo(id=None)), Verdict.AMBIGUOUS, "echo-differs"),
    (reply(200, b"<html>welcome</html>"), Verdict.AMBIGUOUS, "unreadable"),
    (reply(200, b""), Verdict.AMBIGUOUS, "unreadable"),
    (reply(200, b"[]"), Verdict.AMBIGUOUS, "unreadable"),
    (reply(202, echo()), Verdict.AMBIGUOUS, ""),
    (reply(204), Verdict.AMBIGUOUS, ""),
    (error(400, "invalid"), Verdict.REJECTED, "invalid"),
    (error(404, "notFound"), Verdict.REJECTED, "notFound"),
    (error(412, "limitExceeded"), Verdict.REJECTED, "limitExceeded"),
    (error(413, "uploadTooLarge"), Verdict.REJECTED, "uploadTooLarge"),
    (error(403, "adminCannotUnsuspend"), Verdict.REJECTED, "adminCannotUnsuspend"),
    (error(403, "userRateLimitExceeded"), Verdict.THROTTLED, "userRateLimitExceeded"),
    (error(403, "rateLimitExceeded"), Verdict.THROTTLED, "rateLimitExceeded"),
    (error(403, "quotaExceeded"), Verdict.THROTTLED, "quotaExceeded"),
    (reply(403, {"error": {"code": 403, "status": "RESOURCE_EXHAUSTED"}}), Verdict.THROTTLED, "RESOURCE_EXHAUSTED"),
    (reply(403, b"Request rate higher than configured."), Verdict.THROTTLED, "quotaExceeded"),
    (reply(403, b"<HTML><TITLE>Quota Exceeded</TITLE></HTML>"), Verdict.THROTTLED, "quotaExceeded"),
    (reply(403, HTML), Verdict.AMBIGUOUS, "unreadable"),
    (error(429, "rateLimitExceeded"), Verdict.THROTTLED, "rateLimitExceeded"),
    (reply(429, b"Quota exceeded for quota metric"), Verdict.THROTTLED, "quotaExceeded"),
    (reply(429, HTML), Verdict.THROTTLED, "unreadable"),
    (error(408, "timeout"), Verdict.AMBIGUOUS, "timeout"),
    (error(409, "duplicate"), Verdict.AMBIGUOUS, "duplicate"),
    (error(500, "backendError"), Verdict.AMBIGUOUS, "backendError"),
    (reply(502, HTML), Verdict.AMBIGUOUS, "unreadable"),
    (error(503, "Secret Person 3201010101010001"), Verdict.AMBIGUOUS, "unreadable"),
    (reply(503, b'{"error": "3201010101010001"}'), Verdict.AMBIGUOUS, "unreadable"),
]


@pytest.mark.parametrize(("answer", "verdict", "reason"), INSERT_ANSWERS)
def test_an_insert_is_sent_once_and_its_answer_classified(answer: bytes, verdict: Verdict, reason: str) -> None:
    """Each answer of Google's error model means one thing; the reason is a word, never the body's text."""
    with scripted([answer]) as server:
        got = directory_at(server.url).insert_account(body())
        assert (got.verdict, got.reason) == (verdict, reason)
        assert len(server.received) == 1
        assert (got.account is not None) == (verdict is Verdict.DONE)
        assert not any(word in got.reason for word in SECRET_WORDS)


UPDATE_ANSWERS = [
    (reply(200, {"id": "1001", "primaryEmail": ADDRESS}), Verdict.DONE, ""),
    (reply(200, {"id": "1002", "primaryEmail": ADDRESS}), Verdict.AMBIGUOUS, "echo-differs"),
    (error(404, "notFound"), Verdict.NOT_READY, "notFound"),
    (error(412, "conditionNotMet"), Verdict.NOT_READY, "conditionNotMet"),
    (error(412, "limitExceeded"), Verdict.REJECTED, "limitExceeded"),
    (error(400, "invalidInput"), Verdict.REJECTED, "invalidInput"),
    (error(403, "quotaExceeded"), Verdict.THROTTLED, "quotaExceeded"),
    (error(409, "duplicate"), Verdict.AMBIGUOUS, "duplicate"),
    (error(504, "backendError"), Verdict.AMBIGUOUS, "backendError"),
]


@pytest.mark.parametrize(("answer", "verdict", "reason"), UPDATE_ANSWERS)
def test_an_update_is_sent_once_and_its_answer_classified(answer: bytes, verdict: Verdict, reason: str) -> None:
    """An update's 404 and 412 mean that the account is not ready yet; the other answers mean what they mean for inserts."""
    with scripted([answer]) as server:
        got = directory_at(server.url).update_account("1001", {"suspended": True})
        assert (got.verdict, got.reason) == (verdict, reason)
        (received,) = server.received
        assert (received.method, received.target) == ("PUT", "/admin/directory/v1/users/1001?alt=json")


UNIT = {"orgUnitPath": "/Jawa Barat/Kota Bandung", "name": "Kota Bandung"}


@pytest.mark.parametrize(
    ("answer", "verdict", "reason"),
    [
        (reply(200, UNIT), Verdict.DONE, ""),
        (reply(200, UNIT | {"orgUnitPath": "/JAWA BARAT/KOTA BANDUNG"}), Verdict.DONE, ""),
        (reply(200, UNIT | {"orgUnitPath": "/Elsewhere"}), Verdict.AMBIGUOUS, "echo-differs"),
        (error(401, "authError"), Verdict.AMBIGUOUS, "authError"),
        (error(409, "duplicate"), Verdict.AMBIGUOUS, "duplicate"),
        (error(403, "quotaExceeded"), Verdict.THROTTLED, "quotaExceeded"),
        (error(400, "invalid"), Verdict.REJECTED, "invalid"),
    ],
)
def test_a_unit_is_made_once_and_a_401_proves_nothing(answer: bytes, verdict: Verdict, reason: str) -> None:
    """Google was seen to answer 401 and make the unit all the same: it is sent once, and only reading tells."""
    with scripted([answer]) as server:
        got = directory_at(server.url).insert_orgunit("/Jawa Barat", "Kota Bandung")
        assert (got.verdict, got.reason) == (verdict, reason)
        assert len(server.received) == 1


@pytest.mark.parametrize("name", ["SD 1#arsip", "A+B", "A/B", "A\\B", ""])
def test_a_units_name_that_addresses_another_unit_is_refused(name: str) -> None:
    """`#` cuts a path short and `+` becomes a space in the client's URLs: such a name is never made."""
    with scripted([reply(200, {})]) as server:
        with pytest.raises(DirectoryError, match="no such name"):
            directory_at(server.url).insert_orgunit("/", name)
        assert server.received == []


@pytest.mark.parametrize("way", ["close", "silence"])
def test_a_lost_write_is_ambiguous_and_sent_once(way: str) -> None:
    """No answer to an insert, an update or a unit: one request each reached the server, and the reply says so."""

    def lose(received: Received, connection: Any) -> None:
        if way == "silence":
            time.sleep(1.0)
        raise ConnectionError

    with scripted(lose) as server:
        directory = directory_at(server.url, timeout=0.3)
        replies = [
            directory.insert_account(body()),
            directory.update_account("1001", {}),
            directory.insert_orgunit("/", "A"),
        ]
        assert {got.verdict for got in replies} == {Verdict.AMBIGUOUS}
        assert {got.reason for got in replies} == {"connection-lost" if way == "close" else "timeout"}
        assert {got.status for got in replies} == {None}
        assert len(server.received) == 3


@given(st.integers(100, 599), st.binary(max_size=200))
def test_no_answer_is_done_unless_it_echoes(status: int, content: bytes) -> None:
    """Random statuses and bodies: an insert counts as done only for a 200 or 201 that carries the account."""
    try:
        got = account_answer_verdict(Answer(status, {}, content), body())
    except DirectoryError:
        assert status in {401, 403}
    else:
        assert got.verdict is not Verdict.DONE
        assert got.verdict is not Verdict.REJECTED or 400 <= status < 500


@pytest.mark.parametrize(
    "answer",
    [error(401, "authError")]
    + [
        error(403, reason)
        for reason in ("forbidden", "domainCannotUseApis", "insufficientPermissions", "accessNotConfigured")
    ],
)
def test_missing_rights_stop_the_run(answer: bytes) -> None:
    """Nothing can go on without rights: an error, for reads and for writes, with no text of the answer in it."""
    with scripted([answer]) as server:
        directory = directory_at(server.url)
        for call in (
            lambda: directory.insert_account(body()),
            lambda: directory.update_account("1001", {}),
            lambda: directory.get_account(ADDRESS),
        ):
            with pytest.raises(DirectoryError) as raised:
                call()
            assert not any(word in raised.value.message for word in SECRET_WORDS)


def test_an_expired_token_is_renewed_under_way() -> None:
    """A 401 in the middle of a run costs one renewal; the insert is done, once."""
    with scripted([error(401, "authError"), reply(200, echo())]) as server:
        assert directory_at(server.url).insert_account(body()).verdict is Verdict.DONE
        tokens = [received.headers["authorization"] for received in server.received]
        assert tokens == ["Bearer token-0", "Bearer token-1"]


@pytest.mark.parametrize(
    "bad",
    [
        error(403, "quotaExceeded"),
        error(403, "userRateLimitExceeded"),
        reply(403, b"Request rate higher than configured"),
        error(429, "rateLimitExceeded", headers={"retry-after": "3"}),
        error(500, "backendError"),
        reply(503, HTML),
        error(412, "conditionNotMet"),
        reply(200, b"<html>"),
        b"garbage\r\n\r\n",
    ],
)
def test_a_read_is_tried_again_with_patience(bad: bytes) -> None:
    """Two bad answers and a good one: the account is read, and the clock shows that somebody waited."""
    with scripted([bad, bad, reply(200, echo())]) as server:
        directory = directory_at(server.url)
        clock = directory._facts.clock
        assert isinstance(clock, SteppedClock)
        account = directory.get_account("1001")
        assert account is not None
        assert account["id"] == "1001"
        assert clock.monotonic() >= 3.0


def test_a_reads_patience_ends() -> None:
    """A directory that never answers is an error after a bounded number of tries, with the status in it."""
    with scripted([error(503, "backendError")]) as server:
        with pytest.raises(DirectoryError, match="status 503, backendError"):
            directory_at(server.url).domains()
        assert len(server.received) == READ_ATTEMPTS


def test_a_permanent_refusal_of_a_read_is_not_tried_again() -> None:
    """A 400 stays a 400."""
    with scripted([error(400, "invalid")]) as server:
        with pytest.raises(DirectoryError, match="status 400, invalid"):
            directory_at(server.url).orgunit_paths()
        assert len(server.received) == 1


Read = Callable[[GoogleDirectory], Any]
OTHER = echo(id="2002", primaryEmail="siti.aminah5678@smp.belajar.id")
GROUP = {"id": "03x", "email": "guru@sd.belajar.id", "aliases": ["staf@sd.belajar.id"]}
SWAPPED_READS: list[tuple[Read, dict[str, Any], dict[str, Any]]] = [
    (lambda directory: directory.get_account("1001"), OTHER, echo()),
    (lambda directory: directory.get_account(ADDRESS.upper()), OTHER, echo()),
    (lambda directory: directory.get_account("lama@sd.belajar.id"), OTHER, echo(aliases=["Lama@sd.belajar.id"])),
    (lambda directory: directory.list_accounts("sd.belajar.id", None), {"users": [OTHER]}, {"users": [OTHER, echo()]}),
    (lambda directory: directory.get_group("guru@sd.belajar.id"), {"id": "1", "email": "x@sd.belajar.id"}, GROUP),
    (lambda directory: directory.get_group("staf@sd.belajar.id"), {"id": "1", "email": "x@sd.belajar.id"}, GROUP),
    (lambda directory: directory.list_groups("sd.belajar.id", None), {"groups": [{"email": "x@y.id"}]}, {"groups": []}),
    (lambda directory: directory.has_member("guru@sd.belajar.id", "1001"), {"id": "2002"}, {"id": "1001"}),
    (lambda directory: directory.get_orgunit("/A"), {"orgUnitPath": "/B"}, {"orgUnitPath": "/a"}),
]


@pytest.mark.parametrize(("read", "others", "own"), SWAPPED_READS)
def test_an_answer_to_somebody_elses_question_is_asked_for_again(
    read: Read, others: dict[str, Any], own: dict[str, Any]
) -> None:
    """Answers may be swapped under way: an account taken for another's, or a list for ended, would be believed."""
    with scripted([reply(200, others), reply(200, own)]) as server:
        assert read(directory_at(server.url))
        assert len(server.received) == 2
    changing = [reply(200, {**others, "etag": str(place)}) for place in range(SWAPPED_ATTEMPTS)]
    with scripted(changing) as server:
        with pytest.raises(UnreachableError, match="answers for another"):
            read(directory_at(server.url))
        assert len(server.received) == SWAPPED_ATTEMPTS


def test_what_a_server_says_of_an_address_each_time_is_its_word() -> None:
    """It may still resolve an alias that is gone, and list who has moved to another domain. An id must be answered with itself."""
    with scripted([reply(200, OTHER)]) as server:
        assert directory_at(server.url).get_account(ADDRESS) == OTHER
        with pytest.raises(UnreachableError, match="answers for another"):
            directory_at(server.url).get_account("1001")
    with scripted([reply(200, {"users": [OTHER]})]) as server:
        assert len(directory_at(server.url).list_accounts("sd.belajar.id", None).accounts) == 1


def test_an_absent_account_is_none() -> None:
    """A 404 is an answer."""
    with scripted([error(404, "notFound")]) as server:
        assert directory_at(server.url).get_account("1001") is None
        assert len(server.received) == 1


@pytest.mark.parametrize("status", [400, 410])
def test_an_expired_page_token_is_told_apart(status: int) -> None:
    """The caller must start the list again, so it gets an error of its own; without a token a 400 is a plain refusal."""
    with scripted([error(status, "invalid")]) as server:
        directory = directory_at(server.url)
        with pytest.raises(StaleTokenError):
            directory.list_accounts("sd.belajar.id", "old")
        with pytest.raises(DirectoryError) as raised:
            directory.list_accounts("sd.belajar.id", None)
        assert not isinstance(raised.value, StaleTokenError)


def test_a_list_is_never_filtered() -> None:
    """A page of a domain's accounts is asked for without `query`, 500 at a time, with the least of fields."""
    with scripted([reply(200, {"users": [echo()], "nextPageToken": "n"})]) as server:
        page = directory_at(server.url).list_accounts("sd.belajar.id", None)
        assert (len(page.accounts), page.next_token) == (1, "n")
        target = server.received[0].target
        assert "domain=sd.belajar.id" in target
        assert "maxResults=500" in target
        assert "query=" not in target
        assert "birth" not in target
        assert "phones" not in target


def test_a_search_result_is_checked_for_the_whole_marker() -> None:
    """The directory's search may match more than was asked for; only the exact marker of our type counts."""
    others = [
        echo(id="2", externalIds=[{"type": "custom", "customType": "recon", "value": MARKER + "x"}]),
        echo(id="3", externalIds=[{"type": "organization", "value": MARKER}]),
        echo(id="4", externalIds=None),
    ]
    with scripted([reply(200, {"users": [*others, echo()]})]) as server:
        assert [account["id"] for account in directory_at(server.url).find_by_marker(MARKER)] == ["1001"]


def test_a_write_by_address_is_refused() -> None:
    """An alias resolves to its owner: accounts are changed by their immutable id only."""
    with scripted([reply(200, {})]) as server:
        with pytest.raises(DirectoryError, match="immutable id"):
            directory_at(server.url).update_account(ADDRESS, {})
        assert server.received == []


# Credentials and worlds


def settings_for(folder: Path, endpoint: dict[str, Any], credentials: Path) -> Settings:
    """Settings of one tenant."""
    return Settings.model_validate(
        {
            "state": folder,
            "endpoint": endpoint,
            "tenants": {"sd": {"customer_id": "C0test", "credentials_file": credentials}},
        }
    )


@pytest.mark.parametrize("endpoint", ["emulator", "google"])
@pytest.mark.parametrize("credentials", ["emulator", "google"])
def test_endpoint_and_credentials_are_of_one_world(endpoint: str, credentials: str, tmp_path: Path) -> None:
    """Two of the four pairs are refused when the directory is connected, before any request; the other two connect."""
    token_uri = {"emulator": "http://127.0.0.1:8080/token", "google": "https://oauth2.googleapis.com/token"}
    table = {
        "emulator": {"class": "emulator", "url": "http://127.0.0.1:8080/"},
        "google": {"class": "google"},
    }
    key = write_credentials(tmp_path / "key.json", token_uri[credentials])
    chosen = settings_for(tmp_path, table[endpoint], key)
    if endpoint == credentials:
        assert list(connect(chosen, ScaledClock(), SystemRandomness())) == [Jenjang.SD]
    else:
        with pytest.raises(SettingsError, match=f"not of endpoint class {endpoint}"):
            connect(chosen, ScaledClock(), SystemRandomness())


@pytest.mark.parametrize(
    "token_uri",
    ["http://127.0.0.1:8081/token", "http://localhost:8080/token", "https://127.0.0.1:8080/token", "", None, 7],
)
def test_credentials_of_another_emulator_are_refused(token_uri: Any, tmp_path: Path) -> None:
    """The token address must be the endpoint's own, not merely loopback."""
    key = write_credentials(tmp_path / "key.json", token_uri)
    with pytest.raises(SettingsError, match="credentials"):
        load_credentials(key, world=World.of(emulator_endpoint("http://127.0.0.1:8080/")), subject=None)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'"x"',
        b"\xff\xfe",
        b'{"type": "service_account"}',
        b'{"type": "authorized_user"}',
        b"{}" * 10**5,
    ],
)
def test_a_damaged_credentials_file_is_refused_without_being_quoted(content: bytes, tmp_path: Path) -> None:
    """Whatever the file holds, the error names the file and nothing in it."""
    path = tmp_path / "key.json"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(SettingsError, match="not a service account key") as raised:
        load_credentials(path, world=World.of(google_endpoint()), subject=None)
    assert raised.value.__cause__ is None


def test_a_damaged_private_key_is_refused_without_being_quoted(tmp_path: Path) -> None:
    """A key that does not parse is a settings error that does not repeat it."""
    path = write_credentials(tmp_path / "key.json", "https://oauth2.googleapis.com/token", private_key="Secret")
    with pytest.raises(SettingsError) as raised:
        load_credentials(path, world=World.of(google_endpoint()), subject=None)
    assert "Secret" not in f"{raised.value.message} {raised.value.hint}"


def test_credentials_that_others_can_read_are_refused(tmp_path: Path) -> None:
    """A missing file and one readable by the group are settings errors with the remedy."""
    path = write_credentials(tmp_path / "key.json", "https://oauth2.googleapis.com/token")
    path.chmod(0o640)
    with pytest.raises(SettingsError, match="other users"):
        load_credentials(path, world=World.of(google_endpoint()), subject=None)
    with pytest.raises(SettingsError, match="cannot be read"):
        load_credentials(tmp_path / "none.json", world=World.of(google_endpoint()), subject=None)


def keeper_at(url: str, folder: Path) -> tuple[TokenKeeper, SteppedClock]:
    """A token keeper with a key whose token endpoint is a server of this test."""
    clock = SteppedClock()
    wire = Wire(emulator_endpoint(url))
    credentials = load_credentials(
        write_credentials(folder / "key.json", f"{url}token"), world=wire.world, subject="admin@sd.belajar.id"
    )
    return TokenKeeper(credentials, wire, clock), clock


def token_answer(token: str, seconds: int = 3_600) -> bytes:
    """A grant."""
    return reply(200, {"access_token": token, "expires_in": seconds, "token_type": "Bearer"})


def test_threads_fetch_one_token(tmp_path: Path) -> None:
    """Eight threads that need a token, and then meet a 401 with it, cost two token requests and not sixteen."""
    with scripted([token_answer("one"), token_answer("two")]) as server:
        keeper, _ = keeper_at(server.url, tmp_path)
        tokens: list[str] = []

        def use() -> None:
            tokens.append(keeper.token())
            tokens.append(keeper.renew("one"))

        threads = [threading.Thread(target=use) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(server.received) == 2
        assert keeper.token() == "two"
        assert set(tokens) <= {"one", "two"}


def test_a_token_is_renewed_before_it_ends(tmp_path: Path) -> None:
    """Shortly before the hour is over by the run's own clock, the next token is fetched."""
    with scripted([token_answer("one"), token_answer("two")]) as server:
        keeper, clock = keeper_at(server.url, tmp_path)
        assert keeper.token() == "one"
        clock.sleep(3_300.0)
        assert keeper.token() == "one"
        clock.sleep(100.0)
        assert keeper.token() == "two"


def test_a_busy_token_endpoint_meets_bounded_patience(tmp_path: Path) -> None:
    """Two 503 and a token: a token. 503 for ever: an error after a few tries, all waits on the run's clock."""
    with scripted([reply(503), reply(503), token_answer("one")]) as server:
        keeper, clock = keeper_at(server.url, tmp_path)
        assert keeper.token() == "one"
        assert clock.slept == [1.0, 2.0]
    with scripted([reply(503)]) as server:
        keeper, _ = keeper_at(server.url, tmp_path)
        with pytest.raises(DirectoryError, match="does not answer: status 503"):
            keeper.token()
        assert len(server.received) == TOKEN_ATTEMPTS


def test_refused_credentials_stop_the_run(tmp_path: Path) -> None:
    """A key that was revoked is an error at once, without the endpoint's own words."""
    refusal = reply(400, {"error": "invalid_grant", "error_description": "Secret Person"})
    with scripted([refusal]) as server:
        keeper, _ = keeper_at(server.url, tmp_path)
        with pytest.raises(DirectoryError, match="refuses these credentials") as raised:
            keeper.token()
        assert "Secret" not in f"{raised.value.message} {raised.value.hint}"
        assert len(server.received) == 1


# The emulator


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatorProcess]:
    """One emulator for this file, 500 times faster than real time."""
    settings = EmulatorSettings(
        folder=tmp_path_factory.mktemp("emulator") / "state", scale=500.0, tenants=(Jenjang.SD, Jenjang.SMP)
    )
    with EmulatorProcess(settings) as running:
        yield running


@pytest.fixture
def directories(emulator: EmulatorProcess, tmp_path: Path) -> dict[Jenjang, GoogleDirectory]:
    """Both tenants, connected as a run connects them."""
    emulator.clear_faults()
    chosen = Settings.model_validate(
        {
            "state": tmp_path,
            "endpoint": {"class": "emulator", "url": emulator.url, "time_scale": 500.0, "timeout_seconds": 10.0},
            "tenants": {
                str(tenant): {
                    "customer_id": emulator.customer_ids[tenant],
                    "credentials_file": emulator.credentials[tenant],
                }
                for tenant in emulator.settings.tenants
            },
        }
    )
    return connect(chosen, ScaledClock(500.0), SystemRandomness())


def test_the_emulator_serves_the_whole_interface(
    emulator: EmulatorProcess, directories: dict[Jenjang, GoogleDirectory]
) -> None:
    """Customer, domains, units, insert, read by id and address and marker, update, list: over real sockets."""
    directory = directories[Jenjang.SD]
    assert directory.customer_id() == emulator.customer_ids[Jenjang.SD]
    assert "sd.belajar.id" in directory.domains()
    assert directory.insert_orgunit("/", "Jawa Barat").verdict is Verdict.DONE
    assert directory.insert_orgunit("/Jawa Barat", "Kota Bandung").verdict is Verdict.DONE
    assert directory.orgunit_paths() == {"/Jawa Barat", "/Jawa Barat/Kota Bandung"}
    made = directory.insert_account(body())
    assert made.verdict is Verdict.DONE
    assert made.account is not None
    emulator.advance(120.0)  # past the time in which a new account is not ready
    found = directory.get_account(made.account["id"])
    assert found is not None
    assert found["primaryEmail"] == ADDRESS
    assert directory.get_account(ADDRESS) is not None
    assert directory.get_account("nobody@sd.belajar.id") is None
    assert [account["id"] for account in directory.find_by_marker(MARKER)] in ([], [found["id"]])
    moved = directory.update_account(found["id"], {"orgUnitPath": "/Jawa Barat/Kota Bandung", "suspended": True})
    assert moved.verdict is Verdict.DONE
    listed = directory.list_accounts("sd.belajar.id", None).accounts
    assert [account["suspended"] for account in listed if account["id"] == found["id"]] == [True]
    assert directory.insert_account(body()).verdict is Verdict.AMBIGUOUS  # 409: it is there already


def test_a_lost_answer_leaves_one_account(
    emulator: EmulatorProcess, directories: dict[Jenjang, GoogleDirectory]
) -> None:
    """The emulator makes the account and cuts the connection: the reply is ambiguous, one account exists, inserted once."""
    directory = directories[Jenjang.SD]
    address, marker = "lost.answer0001@sd.belajar.id", "1" * 32 + ".sd"
    emulator.fault("users.insert", "drop-after", times=1)
    before = emulator.stats()["answers"].get("users.insert", {})
    got = directory.insert_account(body(address, marker))
    assert (got.verdict, got.reason) == (Verdict.AMBIGUOUS, "connection-lost")
    assert directory.get_account(address) is not None
    (line,) = [line for line in emulator.accounts(Jenjang.SD) if line["marker"] == marker]
    assert line["inserts"] == 1
    assert emulator.stats()["answers"].get("users.insert", {}) == before


def test_credentials_of_one_tenant_do_not_open_another(
    emulator: EmulatorProcess, directories: dict[Jenjang, GoogleDirectory]
) -> None:
    """Each tenant's server names its own customer, which is what a run compares before it goes on."""
    assert {directory.customer_id() for directory in directories.values()} == set(emulator.customer_ids.values())


def with_second_sender(emulator: EmulatorProcess, folder: Path, **second: Any) -> Settings:
    """Settings of SD with one more sender that somebody agreed to."""
    return Settings.model_validate(
        {
            "state": folder,
            "endpoint": {"class": "emulator", "url": emulator.url, "time_scale": emulator.settings.scale},
            "tenants": {
                "sd": {
                    "customer_id": emulator.customer_ids[Jenjang.SD],
                    "credentials_file": emulator.credentials[Jenjang.SD],
                    "more_senders": [
                        {"credentials_file": emulator.credentials[Jenjang.SD]}
                        | second
                        | {"agreed_by": "Pusdatin", "agreed_on": "2026-11-01"}
                    ],
                }
            },
        }
    )


def test_calls_are_shared_among_the_senders_that_were_agreed_on(emulator: EmulatorProcess, tmp_path: Path) -> None:
    """Another administrator of the same customer: each signs in once and sends about half."""
    chosen = with_second_sender(emulator, tmp_path, subject="dua@admin.sd.belajar.id")
    directory = connect(chosen, ScaledClock(1.0), SystemRandomness())[Jenjang.SD]
    granted = emulator.stats()["answers"].get("token", {}).get("200", 0)
    assert directory.customer_id() == emulator.customer_ids[Jenjang.SD]
    assert emulator.stats()["answers"]["token"]["200"] == granted + 2
    senders = []
    for _ in range(20):
        with directory.governor.permit(Kind.READ) as permit:
            senders.append(permit.sender)
    assert 5 <= senders.count(0) <= 15


def test_two_senders_pace_themselves_as_the_server_counts(tmp_path: Path) -> None:
    """At twice one sender's rate, longer than a minute saved up would last, the server refuses nothing."""
    scale, quotas = 60.0, EmulatorQuotas(calls_per_minute=60)
    settings = EmulatorSettings(tmp_path / "e", scale=scale, quotas=quotas, tenants=(Jenjang.SD,))
    with EmulatorProcess(settings) as running:
        chosen = with_second_sender(running, tmp_path, subject="dua@admin.sd.belajar.id").model_copy(
            update={"quotas": {Jenjang.SD: Quotas(calls_per_minute=60)}}
        )
        directory = connect(chosen, ScaledClock(scale), SystemRandomness())[Jenjang.SD]
        directory.customer_id()  # the tokens are not part of the measurement
        began = running.stats()["emulated_seconds"]
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda _: directory.get_account(ADDRESS), range(240)))
        seconds = running.stats()["emulated_seconds"] - began
        assert [minute["refused"] for minute in running.minutes()] == [{}] * len(running.minutes())
        assert seconds < 0.75 * 240


def test_one_user_is_not_two_senders(emulator: EmulatorProcess, tmp_path: Path) -> None:
    """The same key for the same user has the same quota, which two buckets would overdraw."""
    with pytest.raises(SettingsError, match="share its quota"):
        connect(with_second_sender(emulator, tmp_path), ScaledClock(500.0), SystemRandomness())


def test_a_sender_of_another_customer_is_refused(emulator: EmulatorProcess, tmp_path: Path) -> None:
    """Half of a tenant's steps must not go to another tenant."""
    chosen = with_second_sender(emulator, tmp_path, credentials_file=emulator.credentials[Jenjang.SMP])
    with pytest.raises(SettingsError, match="several customers"):
        connect(chosen, ScaledClock(500.0), SystemRandomness())[Jenjang.SD].customer_id()


def test_full_speed_provokes_no_refusal(tmp_path: Path) -> None:
    """At the documented limits, eight threads fill at least 85 % of a second's creations and the server refuses none.

    The pacing alone is held to 97 % in test_governor; here the machine's other work is in the measurement.
    """
    scale = 20.0
    quotas = EmulatorQuotas(calls_per_minute=2_400, creations_per_second_and_domain=10)
    with EmulatorProcess(
        EmulatorSettings(folder=tmp_path / "state", scale=scale, quotas=quotas, tenants=(Jenjang.SD,))
    ) as running:
        chosen = Settings.model_validate(
            {
                "state": tmp_path,
                "endpoint": {"class": "emulator", "url": running.url, "time_scale": scale},
                "tenants": {
                    "sd": {
                        "customer_id": running.customer_ids[Jenjang.SD],
                        "credentials_file": running.credentials[Jenjang.SD],
                    }
                },
            }
        )
        directory = connect(chosen, ScaledClock(scale), SystemRandomness())[Jenjang.SD]
        verdicts: list[Verdict] = []

        def insert(thread: int) -> None:
            for number in range(75):
                name = f"thread{thread}.number{number}@sd.belajar.id"
                verdicts.append(directory.insert_account(body(name, f"{thread:016x}{number:016x}.sd")).verdict)

        directory.customer_id()  # the token is not part of the measurement
        began = time.monotonic()
        threads = [threading.Thread(target=insert, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert set(verdicts) == {Verdict.DONE}
        assert len(verdicts) / ((time.monotonic() - began) * scale) >= 0.85 * 10


@cache
def official_users() -> Any:
    """The client's builder of requests about users."""
    return build("admin", "directory_v1", http=object(), static_discovery=True).users()


@given(
    key=st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=40),
    name=st.text(max_size=20),
)
def test_a_recipe_gives_the_request_that_the_client_builds(key: str, name: str) -> None:
    """Address, method, headers and body, whatever an address or a name holds."""
    users = official_users()
    body = {"primaryEmail": key, "name": {"givenName": name}}
    pairs = [
        (users.get(userKey=key), _Recipe(users.get(userKey=HOLE)).request(key)),
        (users.insert(body=body), _Recipe(users.insert(body={})).request(body=body)),
        (users.update(userKey=key, body=body), _Recipe(users.update(userKey=HOLE, body={})).request(key, body)),
    ]
    for built, made in pairs:
        assert (built.method, built.uri, dict(built.headers)) == (made.method, made.uri, dict(made.headers))
        sent = None if built.body is None else orjson.loads(built.body)
        assert sent == (None if made.body is None else orjson.loads(made.body))


def test_a_write_is_asked_about_before_each_sending() -> None:
    """Also before the one that follows a renewed token; a reading is not asked about, and what may not leave does not."""
    with scripted([reply(401, b"{}"), reply(200, b"{}")]) as server:
        directory, asked = directory_at(server.url), list[int]()
        directory.governor.may_write = lambda: asked.append(len(server.received))
        directory.update_account("1", {"suspended": True})
        assert asked == [0, 1]

        def refuse() -> None:
            raise BusyError("lease is lost")

        directory.governor.may_write = refuse
        with pytest.raises(BusyError):
            directory.update_account("1", {"suspended": True})
        assert directory.domains() == []
        assert [received.method for received in server.received] == ["PUT", "PUT", "GET"]


def test_a_pause_between_readings_hears_a_stop() -> None:
    """A server may ask for minutes."""
    with scripted([reply(429, b"{}", headers={"retry-after": "600"})]) as server:
        directory = directory_at(server.url)
        directory.governor.stop.set()
        began = time.monotonic()
        with pytest.raises(StoppedError):
            directory.get_account("1")
        assert time.monotonic() - began < 5
