"""What the emulator's tests share: clients of it, and what they send."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import urllib3
from google.oauth2 import service_account
from googleapiclient.discovery import build
from googleapiclient.errors import HttpError
from googleapiclient.http import HttpRequest

from belajarid_recon.emulator.discovery import load_discovery
from belajarid_recon.emulator.launch import EmulatorProcess
from belajarid_recon.emulator.settings import EmulatorQuotas, EmulatorSettings
from belajarid_recon.schemas import Jenjang

SCOPES = [
    f"https://www.googleapis.com/auth/admin.directory.{name}"
    for name in (
        "user", "user.security", "orgunit", "domain", "customer", "group", "group.member", "rolemanagement", "userschema"
    )
]  # fmt: skip
UNLIMITED = EmulatorQuotas(
    calls_per_minute=10**9, creations_per_second_and_domain=10**9, orgunit_writes_per_second=10**9
)
HASH = "$6$rounds=1000$" + "s" * 16 + "$" + "h" * 86


def unlimited(folder: Path, *tenants: Jenjang, **more: Any) -> EmulatorSettings:
    """Settings without quotas, for tests of something else."""
    return EmulatorSettings(folder=folder, quotas=UNLIMITED, tenants=tenants or tuple(Jenjang), **more)


def official(emulator: EmulatorProcess, tenant: Jenjang, scopes: list[str] | None = None, subject: str = "") -> Any:
    """The official client, signed in as the tenant's service account."""
    credentials = service_account.Credentials.from_service_account_file(
        str(emulator.credentials[tenant]), scopes=scopes or SCOPES, subject=subject or None
    )
    options = {"api_endpoint": emulator.url}
    return build(
        "admin", "directory_v1", credentials=credentials, client_options=options, requestBuilder=CheckedRequest
    )


class CheckedRequest(HttpRequest):
    """The official client's request; each answer must be what the discovery document says this method answers."""

    def execute(self, *arguments: Any, **more: Any) -> Any:
        """Send it and check the answer."""
        answer = super().execute(*arguments, **more)
        schema = load_discovery().methods[self.methodId.removeprefix("directory.")].response
        if schema is None:
            assert answer == "", self.methodId
        else:
            fault = load_discovery().check_of(schema)(answer)
            assert fault is None, f"{self.methodId}: {schema}{fault}"
        return answer


class Plain:
    """Raw requests with a tenant's token, for what the official client would not send."""

    def __init__(self, emulator: EmulatorProcess, tenant: Jenjang, token: Any = None, subject: str = "") -> None:
        """Sign in, for `subject` if there is one, unless with a token that another one got."""
        self.url = emulator.url
        self.pool = urllib3.PoolManager(retries=False, timeout=30)
        self.token = token or official(emulator, tenant, subject=subject)._http.credentials
        if token is None:
            self.token.refresh(_Asking(self.pool))

    def __call__(self, verb: str, path: str, body: Any = None, raw: bytes | None = None) -> tuple[int, Any]:
        """Send one request; returns status and decoded body."""
        answer = self.send(verb, path, body, raw)
        return answer.status, json.loads(answer.data) if answer.data else None

    def send(self, verb: str, path: str, body: Any = None, raw: bytes | None = None) -> Any:
        """Send one request; returns the whole response."""
        sent = raw if raw is not None else None if body is None else json.dumps(body).encode()
        headers = {"authorization": f"Bearer {self.token.token}", "content-type": "application/json"}
        answer = self.pool.request(verb, f"{self.url}admin/directory/v1/{path}", body=sent, headers=headers)
        assert answer.headers["X-Emulator"] == "belajarid-recon"
        return answer


class _Asking:
    """google-auth's transport over urllib3."""

    def __init__(self, pool: urllib3.PoolManager) -> None:
        self.pool = pool

    def __call__(self, url: str, method: str = "GET", body: Any = None, headers: Any = None, **_: Any) -> Any:
        return self.pool.request(method, url, body=body, headers=headers)


def person(address: str, **more: Any) -> dict[str, Any]:
    """A body users.insert accepts."""
    body = {
        "primaryEmail": address,
        "name": {"givenName": "Budi", "familyName": "Santoso"},
        "password": HASH,
        "hashFunction": "crypt",
    }
    return {**body, **more}


def marked(marker: str) -> list[dict[str, str]]:
    """External ids that carry a marker."""
    return [{"type": "custom", "customType": "recon", "value": marker}]


def refusal(request: Any) -> tuple[int, str, str]:
    """Status, reason and message of a request that must be refused."""
    with pytest.raises(HttpError) as caught:
        request.execute()
    status = caught.value.resp.status
    fault = json.loads(caught.value.content)["error"]
    assert fault["code"] == status
    assert fault["message"] == fault["errors"][0]["message"]
    assert fault["errors"][0]["domain"] == "global"
    return status, fault["errors"][0]["reason"], fault["message"]
