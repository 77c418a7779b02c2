"""What tests of the directory share: a server that answers as told, clocks, credentials."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from belajarid_recon.components import SystemRandomness
from belajarid_recon.directory.connections import WireLimits
from belajarid_recon.directory.google import GoogleDirectory, TenantFacts
from belajarid_recon.directory.governor import Governor
from belajarid_recon.directory.transport import Transport, Wire
from belajarid_recon.schemas import Jenjang
from belajarid_recon.settings import Endpoint, Quotas


@dataclass(frozen=True)
class Received:
    """One request as the server read it."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


Script = Callable[[Received, Any], None]
"""Gets the request and the connection's socket; what it does not send is not sent. It closes by raising ConnectionError."""


def reply(status: int, body: Any = b"", *, emulator: bool = True, headers: dict[str, str] | None = None) -> bytes:
    """An answer's bytes; a body that is no bytes is sent as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} Whatever", f"content-length: {len(content)}"]
    lines += ["x-emulator: test"] if emulator else []
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + content


def error(status: int, reason: str, **more: Any) -> bytes:
    """An answer in Google's error envelope."""
    fault = {"domain": "global", "reason": reason, "message": "Secret Person 3201010101010001"}
    return reply(status, {"error": {"code": status, "message": fault["message"], "errors": [fault]}}, **more)


class ScriptedServer(socketserver.ThreadingTCPServer):
    """Answers each request by its script, keeps connections open, and remembers what it read."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, script: Script) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.script = script
        self.received: list[Received] = []
        self.connections = 0
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        """The base address."""
        return f"http://127.0.0.1:{self.server_address[1]}/"


class _Connection(socketserver.StreamRequestHandler):
    server: ScriptedServer
    disable_nagle_algorithm = True

    def handle(self) -> None:
        with self.server.lock:
            self.server.connections += 1
        try:
            while (received := self._read()) is not None:
                with self.server.lock:
                    self.server.received.append(received)
                self.server.script(received, self.connection)
        except (ConnectionError, TimeoutError):
            return

    def _read(self) -> Received | None:
        first = self.rfile.readline().decode("latin-1").split()
        if not first:
            return None
        headers = {}
        while line := self.rfile.readline().decode("latin-1").strip():
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        return Received(first[0], first[1], headers, self.rfile.read(int(headers.get("content-length", 0))))


@contextmanager
def scripted(script: Script | list[bytes]) -> Iterator[ScriptedServer]:
    """A running server. A list is answered in turn, the last answer for ever."""
    answers = script if isinstance(script, list) else None

    def in_turn(received: Received, connection: Any) -> None:
        del received
        assert answers is not None
        connection.sendall(answers.pop(0) if len(answers) > 1 else answers[0])

    with ScriptedServer(in_turn if answers is not None else script) as server:  # type: ignore[arg-type]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()


class FixedBearer:
    """A token that is always good."""

    def __init__(self) -> None:
        self.renewals = 0

    def token(self) -> str:
        """The current one."""
        return f"token-{self.renewals}"

    def renew(self, refused: str) -> str:
        """The next one."""
        if refused == self.token():
            self.renewals += 1
        return self.token()


class SteppedClock:
    """Time that passes only in sleeps, which may take longer than asked."""

    def __init__(self, oversleep: Callable[[], float] = lambda: 0.0) -> None:
        self.time = 0.0
        self.slept: list[float] = []
        self._oversleep = oversleep
        self._lock = threading.Lock()

    def monotonic(self) -> float:
        """Seconds slept so far."""
        return self.time

    def sleep(self, seconds: float) -> None:
        """Move on."""
        with self._lock:
            self.slept.append(seconds)
            self.time += max(0.0, seconds) + self._oversleep()

    def real(self, seconds: float) -> float:
        """The same: this clock is as fast as the machine's."""
        return seconds

    def now(self) -> datetime:
        """A day in July, and the seconds slept."""
        return datetime(2026, 7, 13, tzinfo=UTC) + timedelta(seconds=self.time)


def emulator_endpoint(url: str, **more: Any) -> Endpoint:
    """Settings of an emulator's endpoint."""
    return Endpoint.model_validate({"class": "emulator", "url": url, **more})


def google_endpoint() -> Endpoint:
    """Settings of Google's endpoint."""
    return Endpoint.model_validate({"class": "google"})


def directory_at(url: str, *, tenant: Jenjang = Jenjang.SD, timeout: float = 5.0) -> GoogleDirectory:
    """A directory on a scripted server, with a token that is always good and a clock that does not wait."""
    clock, randomness = SteppedClock(), SystemRandomness()
    wire = Wire(emulator_endpoint(url), WireLimits(timeout_seconds=timeout))
    facts = TenantFacts(tenant, "C0test", Governor(tenant, Quotas(), clock, randomness), clock, randomness)
    return GoogleDirectory([Transport(wire, FixedBearer())], facts)


@cache
def private_key() -> str:
    """One RSA key for the whole test run, in PEM."""
    key = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def write_credentials(path: Path, token_uri: str, **changes: Any) -> Path:
    """A service account key as Google's console writes it, for its owner only."""
    key = {
        "type": "service_account",
        "project_id": "test",
        "private_key_id": "0",
        "private_key": private_key(),
        "client_email": "recon@test.iam.gserviceaccount.com",
        "client_id": "1",
        "token_uri": token_uri,
    } | changes
    path.write_text(json.dumps({name: value for name, value in key.items() if value is not None}))
    path.chmod(0o600)
    return path
