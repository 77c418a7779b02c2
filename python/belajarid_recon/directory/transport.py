"""The one way out: every request to a directory passes here, and only here is Google's host known.

A `Wire` is a urllib3 pool with locks in front of it. Before a byte leaves it refuses an address of the wrong world, the paths that
lead to admin rights, the batch endpoint, and the parameter that can take an unmanaged person's account. It resends nothing,
follows no redirect, reads no proxy from the environment, and bounds the time and the size of an answer. A `Transport` is a wire
with a bearer token; google-api-python-client accepts it as `http=`.

Why not httplib2, the client's own: it sends a POST a second time when the server closes without an answer, it must not be
shared by threads, and the client's batch requests ignore `api_endpoint` and would reach Google.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

import httplib2
import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

from belajarid_recon.errors import DirectoryError
from belajarid_recon.settings import Endpoint, EndpointClass, is_loopback

GOOGLE_API = "https://admin.googleapis.com/"
GOOGLE_TOKEN = "https://oauth2.googleapis.com/"  # noqa: S105 - an address
SCOPES = (
    "https://www.googleapis.com/auth/admin.directory.user",
    "https://www.googleapis.com/auth/admin.directory.orgunit",
    "https://www.googleapis.com/auth/admin.directory.domain.readonly",
    "https://www.googleapis.com/auth/admin.directory.customer.readonly",
)
"""The least the calls of this package need (discovery document, `scopes` of each method). None of them can assign a role,
but makeAdmin needs no more than the first: hence the deny-list below."""

EMULATOR_HEADER = "x-emulator"
ANSWER_BYTES_MAX = 32 * 1024 * 1024
CONNECT_SECONDS_MAX = 10.0
_CHUNK_BYTES = 256 * 1024

_DENIED_SEGMENTS = frozenset({"makeadmin", "roleassignments"})
_DENIED_PARAMETERS = ("resolveconflictaccount",)
_OVERRIDE_HEADERS = ("x-http-method-override", "x-http-method", "x-method-override")
_REDIRECTS = frozenset({300, 301, 302, 303, 305, 307, 308})


class Lost(StrEnum):
    """Why no usable answer arrived. Only NOT_CONNECTED proves that the server got nothing."""

    NOT_CONNECTED = "not-connected"
    TIMEOUT = "timeout"
    CONNECTION = "connection-lost"
    OVERSIZE = "oversize"
    UNREADABLE = "unreadable"


class NoAnswerError(Exception):
    """A request left, or may have left, and no usable answer came back. Stays inside this package."""

    def __init__(self, lost: Lost) -> None:
        super().__init__(str(lost))
        self.lost = lost


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: any status, headers with lower-case look-up, the whole body decoded."""

    status: int
    headers: Mapping[str, str]
    content: bytes


@dataclass(frozen=True, slots=True)
class Request:
    """What google-api-python-client built."""

    method: str
    uri: str
    body: bytes | str | None
    headers: Mapping[str, str]


class Bearer(Protocol):
    """Where a transport takes its token from."""

    def token(self) -> str:
        """A token that is good for now."""
        ...

    def renew(self, refused: str) -> str:
        """A token other than `refused`, which the server did not take."""
        ...


@dataclass(frozen=True)
class World:
    """Which addresses a run may use: one for the API, one for tokens."""

    kind: EndpointClass
    api: str
    token: str

    @classmethod
    def of(cls, endpoint: Endpoint) -> World:
        """The world of an endpoint's settings. Raises DirectoryError when an emulator's address is no literal loopback."""
        if endpoint.kind is EndpointClass.GOOGLE:
            return cls(endpoint.kind, GOOGLE_API, GOOGLE_TOKEN)
        parts = urlsplit(endpoint.url)
        host = parts.hostname or ""
        if parts.scheme != "http" or parts.port is None or not is_loopback(host):
            raise DirectoryError(f"endpoint class emulator allows loopback only: {endpoint.url}", hint=_ONE_WORLD)
        base = f"http://[{host}]:{parts.port}/" if ":" in host else f"http://{host}:{parts.port}/"
        return cls(endpoint.kind, base, base)

    def base_of(self, uri: str) -> str:
        """The allowed base address that `uri` starts with. Raises DirectoryError naming the class; nothing is looked up."""
        for base in (self.api, self.token):
            if uri.startswith(base):
                return base
        # Scheme and host at most: a path may hold a pupil's address.
        host = "/".join(uri.split("/", 3)[:3])
        raise DirectoryError(f"endpoint class {self.kind} does not allow this address: {host}", hint=_ONE_WORLD)


_ONE_WORLD = (
    "the emulator is reached on loopback, Google on its own hosts, and never the one with the other's credentials"
)


class _DeadlineSocket(socket.socket):
    """A socket whose reads end at one instant, however slowly the bytes drip."""

    ends = float("inf")

    def recv_into(self, *args: Any, **kwargs: Any) -> int:  # noqa: ANN401 - the base class's own signature
        """Read as the base class does, waiting no longer than until `ends`."""
        self.settimeout(_remaining(self.ends))
        return super().recv_into(*args, **kwargs)


class _DeadlineTlsSocket(ssl.SSLSocket):
    """The same over TLS."""

    ends = float("inf")

    def recv_into(self, *args: Any, **kwargs: Any) -> int:  # noqa: ANN401 - the base class's own signature
        """Read as the base class does, waiting no longer than until `ends`."""
        self.settimeout(_remaining(self.ends))
        return super().recv_into(*args, **kwargs)


def _remaining(ends: float) -> float | None:
    """Seconds left until `ends`; None for no limit. Raises TimeoutError when there are none left."""
    if ends == float("inf"):
        return None
    remaining = ends - time.monotonic()
    if remaining <= 0:
        raise TimeoutError("the answer took longer than the request may take")
    return remaining


def _end_at(connection: socket.socket | None, ends: float) -> None:
    """Give an open socket its instant; one that opens later gets it when it does."""
    if isinstance(connection, _DeadlineSocket | _DeadlineTlsSocket):
        connection.ends = ends


class _LoopbackConnection(HTTPConnection):
    """A connection to a literal loopback address: no name is ever looked up. One request leaves in one piece."""

    def __init__(self, *args: Any, total_seconds: float, **kwargs: Any) -> None:  # noqa: ANN401 - urllib3 passes them
        super().__init__(*args, **kwargs)
        self._total_seconds = total_seconds
        self._ends = float("inf")
        self._held: bytearray | None = None

    def _new_conn(self) -> socket.socket:
        if not is_loopback(self.host):
            raise DirectoryError(f"endpoint class emulator allows loopback only: {self.host}", hint=_ONE_WORLD)
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        connection = _DeadlineSocket(family, socket.SOCK_STREAM)
        try:
            connection.settimeout(self.timeout)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.connect((self.host, self.port))
        except OSError as error:
            connection.close()
            raise urllib3.exceptions.NewConnectionError(self, "no connection") from error
        return connection

    def connect(self) -> None:
        super().connect()
        _end_at(self.sock, self._ends)

    def request(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - the base class's own signature
        """Write head and body with one call: half the packets, and half the wake-ups of the server."""
        self._ends = time.monotonic() + self._total_seconds
        self._held = bytearray()
        try:
            super().request(*args, **kwargs)
        finally:
            message, self._held = self._held, None
        _end_at(self.sock, self._ends)
        super().send(bytes(message))

    def send(self, data: Any) -> None:  # noqa: ANN401 - the base class's own signature
        if self._held is None:
            super().send(data)
        else:
            self._held += data


class _LoopbackPool(urllib3.HTTPConnectionPool):
    """Connections to the emulator."""

    ConnectionCls = _LoopbackConnection


class _GoogleConnection(HTTPSConnection):
    """A verified TLS connection whose answers end at one instant."""

    def __init__(self, *args: Any, total_seconds: float, **kwargs: Any) -> None:  # noqa: ANN401 - urllib3 passes them
        super().__init__(*args, **kwargs)
        self._total_seconds = total_seconds

    def request(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - the base class's own signature
        """Set the instant, then write as the base class does."""
        if self.sock is None:
            self.connect()
        _end_at(self.sock, time.monotonic() + self._total_seconds)
        super().request(*args, **kwargs)


class _GooglePool(urllib3.HTTPSConnectionPool):
    """Connections to Google."""

    ConnectionCls = _GoogleConnection


def verified_pool(host: str, port: int, context: ssl.SSLContext, **more: Any) -> urllib3.HTTPSConnectionPool:  # noqa: ANN401 - urllib3's own options
    """Connections to a host whose certificate `context` trusts; `more` needs `total_seconds`."""
    context.sslsocket_class = _DeadlineTlsSocket
    return _GooglePool(host, port, ssl_context=context, cert_reqs="CERT_REQUIRED", **more)


@dataclass(frozen=True)
class WireLimits:
    """Bounds of one wire."""

    timeout_seconds: float = 60.0
    """Real seconds from sending to the last byte of the answer."""
    connections: int = 10
    """Connections kept open; at least the calls in flight."""
    answer_bytes_max: int = ANSWER_BYTES_MAX


@dataclass(frozen=True, slots=True)
class Route:
    """A request's way out, made only by `Wire.route`."""

    pool: urllib3.HTTPConnectionPool
    method: str
    target: str


class Wire:
    """A locked pool of connections to one world, shared by threads. It knows nothing of tokens."""

    def __init__(self, endpoint: Endpoint, limits: WireLimits | None = None) -> None:
        self.world = World.of(endpoint)
        self._limits = limits or WireLimits(timeout_seconds=endpoint.timeout_seconds)
        self._pools = {base: self._pool(base) for base in {self.world.api, self.world.token}}

    def _pool(self, base: str) -> urllib3.HTTPConnectionPool:
        parts = urlsplit(base)
        limits = self._limits
        common: dict[str, Any] = {
            "maxsize": limits.connections,
            "retries": False,
            "timeout": urllib3.Timeout(
                connect=min(CONNECT_SECONDS_MAX, limits.timeout_seconds), read=limits.timeout_seconds
            ),
            "total_seconds": limits.timeout_seconds,
        }
        host = parts.hostname or ""
        if self.world.kind is EndpointClass.EMULATOR:
            return _LoopbackPool(host, parts.port, **common)
        return verified_pool(host, parts.port or 443, ssl.create_default_context(), **common)

    def route(self, method: str, uri: str, headers: Mapping[str, str]) -> Route:
        """Where a request would go, once every lock has let it pass. Raises DirectoryError; nothing is looked up or sent."""
        base = self.world.base_of(uri)
        target = uri[len(base) - 1 :]
        refuse_denied(method, target, headers)
        return Route(self._pools[base], method, target)

    def send(self, route: Route, body: bytes | str | None, headers: Mapping[str, str]) -> Answer:
        """Send one request once and return its answer, whatever its status.

        Raises NoAnswerError when none arrived that can be used, and DirectoryError when the answer comes from the wrong world or
        is a redirect.
        """
        try:
            answer = self._exchange(route, body, headers)
        except (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError) as error:
            raise NoAnswerError(Lost.NOT_CONNECTED) from error
        except (urllib3.exceptions.TimeoutError, TimeoutError) as error:
            raise NoAnswerError(Lost.TIMEOUT) from error
        except urllib3.exceptions.DecodeError as error:
            raise NoAnswerError(Lost.UNREADABLE) from error
        except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError) as error:
            raise NoAnswerError(Lost.CONNECTION) from error
        refuse_other_world(self.world.kind, answer)
        return answer

    def _exchange(self, route: Route, body: bytes | str | None, headers: Mapping[str, str]) -> Answer:
        response = route.pool.urlopen(
            route.method,
            route.target,
            body=body.encode() if isinstance(body, str) else body,
            headers=headers,
            retries=False,
            redirect=False,
            preload_content=False,
        )
        try:
            content = self._read(response)
        except BaseException:
            response.close()  # a half-read answer must not be the next request's beginning
            raise
        response.release_conn()
        return Answer(response.status, response.headers, content)

    def _read(self, response: urllib3.BaseHTTPResponse) -> bytes:
        """The whole body, decoded, refused as soon as it is over the bound."""
        bound = self._limits.answer_bytes_max
        announced = response.length_remaining
        if announced is not None and "content-encoding" not in response.headers:
            if announced > bound:
                raise NoAnswerError(Lost.OVERSIZE)
            return response.read()
        content = bytearray()
        while chunk := response.read(_CHUNK_BYTES, decode_content=True):
            content += chunk
            if len(content) > bound:
                raise NoAnswerError(Lost.OVERSIZE)
        return bytes(content)

    def close(self) -> None:
        """Close the connections that are idle."""
        for pool in self._pools.values():
            pool.close()


def refuse_other_world(kind: EndpointClass, answer: Answer) -> None:
    """Refuse a redirect, an answer without the emulator's mark in its world, and one with it in Google's. Raises DirectoryError."""
    if answer.status in _REDIRECTS:
        raise DirectoryError(
            f"the directory answered with a redirect, which is never followed: {answer.status}",
            hint="look for a proxy or a wrong address between this machine and the directory",
        )
    marked = EMULATOR_HEADER in answer.headers
    if marked is not (kind is EndpointClass.EMULATOR):
        whom = "an emulator" if marked else "something other than the emulator"
        raise DirectoryError(f"endpoint class {kind} was answered by {whom}: status {answer.status}", hint=_ONE_WORLD)


def refuse_denied(method: str, target: str, headers: Mapping[str, str]) -> None:
    """Refuse what this program must never ask for, whoever built the request.

    `makeAdmin`, role assignments and writes to roles lead to admin rights; `batch` goes to the discovery document's host whatever the
    endpoint; `resolveConflictAccount` may replace a private person's account (discovery document, users.insert). A method
    override would slip past the check of the method. Raises DirectoryError naming the rule.
    """
    path, _, query = target.partition("?")
    segments = unquote(path).lower().split("/")[1:]
    refused = next((segment for segment in segments if segment in _DENIED_SEGMENTS), None)
    if refused is None and segments[0] == "batch":
        refused = "batch"
    if refused is None and method != "GET" and "roles" in segments:
        refused = "roles"
    if refused is None and ("#" in target or ".." in segments or "" in segments):
        refused = "an address that a server may read otherwise"
    if refused is None and any(name in unquote(query).lower() for name in _DENIED_PARAMETERS):
        refused = "resolveConflictAccount"
    if refused is None and any(name.lower() in _OVERRIDE_HEADERS for name in headers):
        refused = "a method override"
    if refused is not None:
        raise DirectoryError(
            f"the transport refuses this request: {refused}", hint="no part of this program may send it"
        )


class Transport:
    """A wire with a bearer token, for one tenant."""

    def __init__(self, wire: Wire, bearer: Bearer) -> None:
        self.wire = wire
        self._bearer = bearer

    @property
    def base(self) -> str:
        """The API's base address: what google-api-python-client is given as `api_endpoint`."""
        return self.wire.world.api

    def send(
        self,
        request: Request,
        *,
        again_if_refused: bool = False,
    ) -> Answer:
        """Send with the tenant's token; a 401 renews the token, and with `again_if_refused` sends once more.

        A 401 is decided before the request is looked at, so nothing was carried out: sending again is safe for reads and for users. Not
        for organisational units, where the server has been seen to answer 401 and create the unit
        (terraform-provider-googleworkspace, changelog 0.7.0).
        """
        # The locks come before the token: a refused address must not even cost a token request.
        route = self.wire.route(request.method, request.uri, request.headers)
        token = self._bearer.token()
        answer = self.wire.send(route, request.body, {**request.headers, "authorization": f"Bearer {token}"})
        if answer.status == 401:
            token = self._bearer.renew(token)
            if again_if_refused:
                answer = self.wire.send(route, request.body, {**request.headers, "authorization": f"Bearer {token}"})
        return answer

    def request(  # noqa: PLR0913, PLR0917 - the signature google-api-python-client calls
        self,
        uri: str,
        method: str = "GET",
        body: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
        redirections: int = 0,  # noqa: ARG002 - part of the client's convention; none are followed
        connection_type: Callable[..., Any] | None = None,  # noqa: ARG002 - likewise; the pool decides
    ) -> tuple[httplib2.Response, bytes]:
        """Send for google-api-python-client's own `execute()`: the same locks, one sending, no resend.

        Raises NoAnswerError, which the client does not know and so does not retry.
        """
        answer = self.send(Request(method, uri, body, headers or {}))
        response = httplib2.Response({name.lower(): value for name, value in answer.headers.items()})
        response.status = answer.status
        return response, answer.content

    def close(self) -> None:
        """Close idle connections."""
        self.wire.close()
