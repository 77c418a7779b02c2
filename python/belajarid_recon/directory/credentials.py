"""Service account keys and the tokens they earn. One keeper a tenant; its threads share one token."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import google.auth.exceptions
import google.auth.transport
import orjson
from google.oauth2 import service_account

from belajarid_recon.components import Clock
from belajarid_recon.directory.connections import NoAnswerError, Request
from belajarid_recon.directory.transport import SCOPES, Wire, World
from belajarid_recon.errors import AccessError, SettingsError, UnreachableError
from belajarid_recon.secrets import refuse_readable_by_others

TOKEN_ATTEMPTS = 5
STALE_SECONDS = 225.0
"""A token this close to its end is not used: a request must not outlive it. google-auth calls a token stale at the same age."""
CREDENTIALS_BYTES_MAX = 64 * 1024


def load_credentials(path: Path, *, world: World, subject: str | None) -> service_account.Credentials:
    """Read a service account key and bind it to the world it may be used in.

    Raises SettingsError when the file is missing, readable by others, no service account key, or of another world: its token
    address must lie where the endpoint's tokens come from.
    """
    what = "credentials file"
    refuse_readable_by_others(path, what=what)
    try:
        key = orjson.loads(path.read_bytes()[: CREDENTIALS_BYTES_MAX + 1])
        credentials: service_account.Credentials = service_account.Credentials.from_service_account_info(  # type: ignore[no-untyped-call]  # google-auth is typed in part
            key, scopes=SCOPES, subject=subject
        )
    except (OSError, ValueError, TypeError, AttributeError, google.auth.exceptions.GoogleAuthError):
        # The parser's own words may quote the file, so they are not passed on.
        raise SettingsError(
            f"{what} is not a service account key in JSON: {path}", hint="download the key again, as JSON"
        ) from None
    if not str(key["token_uri"]).startswith(world.token):
        raise SettingsError(
            f"credentials are not of endpoint class {world.kind}: {path}",
            hint="name the key file that belongs to this endpoint",
        )
    return credentials


class _TokenAnswer(google.auth.transport.Response):
    """An answer as google-auth reads it."""

    def __init__(self, status: int, headers: Mapping[str, str], content: bytes) -> None:
        self._parts = (status, headers, content)

    @property
    def status(self) -> int:
        """HTTP status."""
        return self._parts[0]

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers."""
        return self._parts[1]

    @property
    def data(self) -> bytes:
        """Body."""
        return self._parts[2]


class _TransientTokenError(Exception):
    """The token endpoint did not answer, or asked for patience."""


class _TokenRequest(google.auth.transport.Request):
    """google-auth's way out: the tenant's own wire, so that a token request obeys the same locks as any other."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,  # noqa: ARG002 - the wire has its own
        **_: Any,  # noqa: ANN401 - google-auth's own convention
    ) -> _TokenAnswer:
        """Send once. Raises _TransientTokenError past google-auth's own retries, which would sleep on the machine's clock."""
        route = self._wire.route(Request(method, url, body, headers or {}))
        try:
            answer = self._wire.send(route)
        except NoAnswerError as error:
            raise _TransientTokenError(str(error.lost)) from error
        if answer.status == 429 or answer.status >= 500:
            raise _TransientTokenError(f"status {answer.status}")
        return _TokenAnswer(answer.status, answer.headers, answer.content)


class TokenKeeper:
    """The current token of one tenant, renewed under a lock by whichever thread notices first."""

    def __init__(self, credentials: service_account.Credentials, wire: Wire, clock: Clock) -> None:
        self._credentials = credentials
        self._request = _TokenRequest(wire)
        self._clock = clock
        self._lock = threading.Lock()
        self._token = ""
        self._stale_at = float("-inf")

    def token(self) -> str:
        """A token that is not stale. Raises DirectoryError when none can be had."""
        if self._clock.monotonic() < self._stale_at:
            return self._token
        with self._lock:
            if self._clock.monotonic() >= self._stale_at:
                self._fetch()
            return self._token

    def renew(self, refused: str) -> str:
        """A token other than `refused`: the one another thread fetched meanwhile, or a new one."""
        with self._lock:
            if self._token == refused:
                self._fetch()
            return self._token

    def _fetch(self) -> None:
        """Fetch a token, with patience for a token endpoint that is busy. The lock is held."""
        for attempt in range(TOKEN_ATTEMPTS):
            try:
                self._credentials.refresh(self._request)  # type: ignore[no-untyped-call]  # google-auth is typed in part
            except _TransientTokenError as error:
                last = str(error)
            except google.auth.exceptions.GoogleAuthError:
                # What the endpoint said may quote the key's account; the status is enough for the operator.
                raise AccessError(
                    "the token endpoint refuses these credentials",
                    hint="check the service account's key, its delegation or role, and this machine's clock",
                ) from None
            else:
                self._token = str(self._credentials.token)
                self._stale_at = self._clock.monotonic() + _lifetime_seconds(self._credentials) - STALE_SECONDS
                return
            if attempt + 1 < TOKEN_ATTEMPTS:
                self._clock.sleep(2.0**attempt)
        raise UnreachableError(
            f"the token endpoint does not answer: {last}", hint="try again later; nothing was changed"
        )


def _lifetime_seconds(credentials: service_account.Credentials) -> float:
    """How long a token fetched just now is good for: measured at once, so that a later jump of the wall clock changes nothing."""
    expiry = credentials.expiry
    if expiry is None:
        return 2 * STALE_SECONDS
    return max(2 * STALE_SECONDS, float((expiry.replace(tzinfo=UTC) - datetime.now(tz=UTC)).total_seconds()))
