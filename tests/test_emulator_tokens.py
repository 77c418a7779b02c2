"""Access tokens: who gets one, what it opens, how long."""

from __future__ import annotations

import json
import stat
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
import urllib3
from google.auth import crypt, jwt
from google.auth.exceptions import RefreshError

from belajarid_recon.emulator.launch import EmulatorProcess
from belajarid_recon.schemas import Jenjang
from emulator_kit import SCOPES, Plain, official, person, refusal, unlimited

SD, SMP = Jenjang.SD, Jenjang.SMP
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
AUDIENCE = "https://oauth2.googleapis.com/token"


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatorProcess]:
    """One emulator with two tenants for this module."""
    with EmulatorProcess(unlimited(tmp_path_factory.mktemp("tokens") / "state", SD, SMP)) as running:
        yield running


def ask(
    emulator: EmulatorProcess, signer: Jenjang = SD, grant: str = GRANT, **claims: Any
) -> tuple[int, dict[str, Any]]:
    """Send one assertion signed with `signer`'s key; the claims are the sd tenant's unless told otherwise."""
    account = json.loads(emulator.credentials[SD].read_text())
    key = json.loads(emulator.credentials[signer].read_text())
    now = int(time.time())
    body = {"iss": account["client_email"], "iat": now, "exp": now + 3_600, "scope": SCOPES[0], "aud": AUDIENCE}
    kept = {name: value for name, value in (body | claims).items() if value is not None}
    assertion = jwt.encode(crypt.RSASigner.from_service_account_info(key), kept).decode()
    return send(emulator, {"assertion": assertion, "grant_type": grant})


def send(emulator: EmulatorProcess, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
    """Post a form to the token endpoint."""
    headers = {"content-type": "application/x-www-form-urlencoded"}
    answer = urllib3.request("POST", f"{emulator.url}token", body=urlencode(form), headers=headers, retries=False)
    assert answer.headers["X-Emulator"] == "belajarid-recon"
    return answer.status, answer.json()


def test_a_good_assertion_gives_a_token(emulator: EmulatorProcess) -> None:
    """The answer is the one OAuth clients know; Google's audience and the emulator's own are both taken."""
    for audience in (AUDIENCE, f"{emulator.url}token"):
        status, body = ask(emulator, aud=audience)
        assert status == 200
        assert body["expires_in"] == 3_600
        assert body["token_type"] == "Bearer"  # noqa: S105 - the kind, not a secret
        assert body["access_token"]


def test_a_bad_assertion_is_invalid_grant(emulator: EmulatorProcess) -> None:
    """Another key, issuer, audience, subject, age or form of assertion is refused with 400."""
    now = int(time.time())
    refused = [
        ask(emulator, signer=SMP),
        ask(emulator, iss="nobody@nowhere.invalid"),
        ask(emulator, iss=None),
        ask(emulator, aud="https://example.invalid/token"),
        ask(emulator, exp=now - 1),
        ask(emulator, iat=now - 7_200, exp=now + 10),
        ask(emulator, iat=now + 900, exp=now + 1_000),
        ask(emulator, sub="admin@smp.belajar.id"),
        send(emulator, {"assertion": "a.b", "grant_type": GRANT}),
        send(emulator, {"assertion": "é.b.c", "grant_type": GRANT}),
        send(emulator, {"grant_type": GRANT}),
    ]
    assert [(status, body["error"]) for status, body in refused] == [(400, "invalid_grant")] * len(refused)


def test_a_wrong_grant_or_scope_is_named(emulator: EmulatorProcess) -> None:
    """Another grant type and a scope the API does not have have errors of their own."""
    assert ask(emulator, grant="password")[1]["error"] == "unsupported_grant_type"
    assert ask(emulator, scope="https://example.invalid/scope")[1]["error"] == "invalid_scope"
    assert ask(emulator, scope=None)[1]["error"] == "invalid_scope"


def test_an_unsigned_assertion_is_refused(emulator: EmulatorProcess) -> None:
    """`alg: none` and an altered payload do not get past the signature."""
    key = json.loads(emulator.credentials[SD].read_text())
    now = int(time.time())
    body = {"iss": key["client_email"], "iat": now, "exp": now + 60, "scope": SCOPES[0], "aud": AUDIENCE}
    head, payload, signature = jwt.encode(crypt.RSASigner.from_service_account_info(key), body).decode().split(".")
    none = "eyJhbGciOiJub25lIn0"
    for assertion in (f"{none}.{payload}.", f"{none}.{payload}.{signature}", f"{head}.{payload[:-4]}AAAA.{signature}"):
        assert send(emulator, {"assertion": assertion, "grant_type": GRANT})[1]["error"] == "invalid_grant"


def test_a_call_without_a_token_is_refused(emulator: EmulatorProcess) -> None:
    """No token is 401 required; a made-up one is 401 authError."""
    answer = urllib3.request("GET", f"{emulator.url}admin/directory/v1/users/1", retries=False)
    assert answer.status == 401
    assert answer.json()["error"]["message"] == "Login Required."
    assert answer.json()["error"]["errors"][0]["reason"] == "required"
    headers = {"authorization": "Bearer ya29.emulator.made-up"}
    answer = urllib3.request("GET", f"{emulator.url}admin/directory/v1/users/1", headers=headers, retries=False)
    assert answer.status == 401
    assert answer.json()["error"]["errors"][0]["reason"] == "authError"


def test_a_token_opens_what_its_scopes_say(emulator: EmulatorProcess) -> None:
    """A read-only token reads and cannot write."""
    address = "pembaca@sd.belajar.id"
    official(emulator, SD).users().insert(body=person(address)).execute()
    reader = official(emulator, SD, [f"{SCOPES[0]}.readonly"], subject="admin@sd.belajar.id")
    assert reader.users().get(userKey=address).execute()["primaryEmail"] == address
    status, reason, _message = refusal(reader.users().update(userKey=address, body={"suspended": True}))
    assert (status, reason) == (403, "insufficientPermissions")
    assert reader.users().get(userKey=address).execute()["suspended"] is False


def test_a_subject_is_an_address_in_any_case(emulator: EmulatorProcess) -> None:
    """Google's addresses are the same in capitals; an address of no domain is nobody's."""
    assert ask(emulator, sub="Admin@SD.Belajar.ID")[0] == 200
    assert ask(emulator, sub="admin")[1]["error"] == "invalid_grant"


def test_a_token_ends_after_an_emulated_hour(emulator: EmulatorProcess) -> None:
    """Within the hour it works; after it, 401 until a new one is asked for."""
    plain = Plain(emulator, SMP)
    assert plain("GET", "users?customer=my_customer")[0] == 200
    emulator.advance(3_590)
    assert plain("GET", "users?customer=my_customer")[0] == 200
    emulator.advance(20)
    status, body = plain("GET", "users?customer=my_customer")
    assert (status, body["error"]["errors"][0]["reason"]) == (401, "authError")
    assert Plain(emulator, SMP)("GET", "users?customer=my_customer")[0] == 200


def test_the_official_client_gets_a_new_token_by_itself(emulator: EmulatorProcess) -> None:
    """A client that meets the 401 of an ended token asks again and goes on."""
    service = official(emulator, SMP)
    assert service.users().list(customer="my_customer").execute()["kind"] == "admin#directory#users"
    emulator.advance(4_000)
    assert service.users().list(customer="my_customer").execute()["kind"] == "admin#directory#users"


def test_credentials_are_private_and_name_the_emulator(emulator: EmulatorProcess) -> None:
    """Service-account files are readable by their owner only and send the client to this emulator."""
    for file in emulator.credentials.values():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert json.loads(file.read_text())["token_uri"] == f"{emulator.url}token"


def test_a_subject_of_another_tenant_is_refused_to_the_official_client(emulator: EmulatorProcess) -> None:
    """A service account acts for administrators of its own domains only."""
    service = official(emulator, SD, subject="admin@smp.belajar.id")
    with pytest.raises(RefreshError, match="invalid_grant"):
        service.users().list(customer="my_customer").execute()
