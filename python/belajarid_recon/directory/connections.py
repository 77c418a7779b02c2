"""Pooled connections that send a request once and read one whole answer within bounds of time and size.

urllib3 opens, verifies, pools and drops connections; its `urlopen` is left out, because everything it adds (retries, redirects,
its own response) is switched off here and costs more than the request. One rule runs through the file: a connection goes back to the
pool only when its answer was read to the last byte.
"""

from __future__ import annotations

import re
import socket
import ssl
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import httptools
import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

from belajarid_recon.errors import DirectoryError
from belajarid_recon.settings import is_loopback

CONNECT_SECONDS_MAX = 10.0
READ_BYTES = 64 * 1024
HEAD_BYTES_MAX = 128 * 1024
_EITHER_ZLIB_OR_GZIP = 47
_UNFIT_TARGET = re.compile(r"[\x00-\x20\x7f]")
_FRAMING = frozenset({"host", "content-length", "transfer-encoding", "connection"})
"""Headers that say where a request ends and goes. They are written here, whatever the builder of the request thought."""


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
class Request:
    """What is sent: to the whole address while it is checked, to the target on its server afterwards."""

    method: str
    uri: str
    body: bytes | str | None
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: any status, headers by lower-case name, the whole body decoded."""

    status: int
    headers: Mapping[str, str]
    content: bytes


@dataclass(frozen=True)
class WireLimits:
    """Bounds of the connections to one world."""

    timeout_seconds: float = 60.0
    """Real seconds from sending to the last byte of the answer."""
    connections: int = 10
    """Connections kept open; at least the calls in flight."""
    answer_bytes_max: int = 32 * 1024 * 1024


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


class _Connection(HTTPConnection):
    """A connection that carries one request and its answer at a time."""

    def __init__(self, *args: Any, limits: WireLimits, **kwargs: Any) -> None:  # noqa: ANN401 - urllib3 passes them
        super().__init__(*args, **kwargs)
        self._limits = limits
        self._buffer = memoryview(bytearray(READ_BYTES))
        host = f"[{self.host}]" if ":" in self.host else self.host
        self._host_line = f"host: {host}" if self.port == self.default_port else f"host: {host}:{self.port}"

    def exchange(self, request: Request) -> Answer:
        """Send once, read once. Raises what sockets raise, and NoAnswerError for what cannot be used.

        The request leaves in one piece: half the packets, and half the wake-ups of the server.
        """
        message = _message(request, self._host_line)
        if self.sock is None:
            self.connect()
        self.sock.settimeout(self._limits.timeout_seconds)
        if isinstance(self.sock, _DeadlineSocket | _DeadlineTlsSocket):
            self.sock.ends = time.monotonic() + self._limits.timeout_seconds
        self.sock.sendall(message)
        reply = _Reply(self._limits.answer_bytes_max)
        while not reply.is_whole:
            count = self.sock.recv_into(self._buffer)
            reply.feed(self._buffer[:count])
        if not reply.keeps_connection:
            self.close()
        content = bytes(reply.content)
        encoding = reply.headers.get("content-encoding", "identity")
        if encoding != "identity":
            content = _decoded(content, encoding, self._limits.answer_bytes_max)
        return Answer(reply.status, reply.headers, content)


class _Reply:
    """One answer as its bytes come in. Parsed in C, in 8 us instead of the standard library's 60."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._parser = httptools.HttpResponseParser(self)
        self._head_bytes = 0
        self._sized = False
        """Whether the answer says itself where it ends; one that does not ends with its connection."""
        self._in_body = False
        self._extra = False
        self.status = 0
        self.headers: dict[str, str] = {}
        self.content = bytearray()
        self.is_whole = False
        self.keeps_connection = False

    def feed(self, piece: memoryview) -> None:
        """Take the next bytes; none of them is the end of the connection. Raises NoAnswerError."""
        if not piece:
            self._end()
            return
        self._head_bytes += 0 if self._in_body else len(piece)
        try:
            self._parser.feed_data(piece)
        except httptools.HttpParserError as error:
            lost = error.__context__
            raise lost if isinstance(lost, NoAnswerError) else NoAnswerError(Lost.CONNECTION) from error
        if self._head_bytes > HEAD_BYTES_MAX and not self._in_body:
            raise NoAnswerError(Lost.OVERSIZE)

    def _end(self) -> None:
        if not self._in_body or self._sized:
            raise NoAnswerError(Lost.CONNECTION)
        self.is_whole = True

    # What the parser calls

    def on_message_begin(self) -> None:
        """What comes after a whole answer was not asked for: its connection is of no more use."""
        if self.is_whole:
            self._extra, self.keeps_connection = True, False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; of several with one name the last."""
        if not self._extra:
            self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Look at the length before the body comes."""
        if self._extra:
            return
        self.status = self._parser.get_status_code()
        self._in_body = self.status >= 200
        self._sized = "content-length" in self.headers or "transfer-encoding" in self.headers
        if int(self.headers.get("content-length", "0")) > self._bytes_max:
            raise NoAnswerError(Lost.OVERSIZE)

    def on_body(self, piece: bytes) -> None:
        """Keep a piece of the body, within the bound."""
        if self._extra:
            return
        if len(self.content) + len(piece) > self._bytes_max:
            raise NoAnswerError(Lost.OVERSIZE)
        self.content += piece

    def on_message_complete(self) -> None:
        """The answer is whole, unless it was one of those that only announce it (1xx)."""
        if not self._in_body:
            self.headers.clear()
            return
        if not self._extra:
            self.is_whole = True
            self.keeps_connection = self._parser.should_keep_alive()


class _LoopbackConnection(_Connection):
    """A connection to a literal loopback address: no name is ever looked up, and no other address connected to."""

    def _new_conn(self) -> socket.socket:
        if not is_loopback(self.host):
            raise DirectoryError(f"endpoint class emulator allows loopback only: {self.host}")
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


class _TlsConnection(_Connection, HTTPSConnection):
    """A connection to a server whose certificate is verified."""


class OncePool(urllib3.HTTPConnectionPool):
    """A pool, shared by threads, that sends each request exactly once."""

    def exchange(self, request: Request) -> Answer:
        """Send one request (its `uri` is the target on this server) and return its answer. Raises NoAnswerError."""
        connection = self._get_conn()
        if not isinstance(connection, _Connection):
            raise TypeError(f"not a connection of this pool: {type(connection).__name__}")
        try:
            self._validate_conn(connection)
            return connection.exchange(request)
        except BaseException as error:
            connection.close()  # a half-read answer must not be the next request's beginning
            lost = _loss(error)
            if lost is None:
                raise
            raise NoAnswerError(lost) from error
        finally:
            self._put_conn(connection)


class _LoopbackPool(OncePool):
    ConnectionCls = _LoopbackConnection


class _TlsPool(OncePool, urllib3.HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


def loopback_pool(host: str, port: int, limits: WireLimits) -> OncePool:
    """Connections to a program on this machine, `host` a literal loopback address."""
    return _LoopbackPool(host, port, **_options(limits))


def verified_pool(host: str, port: int, limits: WireLimits, context: ssl.SSLContext) -> OncePool:
    """TLS connections to a host whose certificate `context` trusts."""
    context.sslsocket_class = _DeadlineTlsSocket
    return _TlsPool(host, port, ssl_context=context, cert_reqs="CERT_REQUIRED", **_options(limits))


def _options(limits: WireLimits) -> dict[str, Any]:
    """What both pools are made with. No proxy: urllib3's pools read none from the environment."""
    seconds = min(CONNECT_SECONDS_MAX, limits.timeout_seconds)
    return {"maxsize": limits.connections, "retries": False, "timeout": seconds, "limits": limits}


def _loss(error: BaseException) -> Lost | None:
    """What an exception says about the answer; None where it is no matter of the network."""
    if isinstance(error, urllib3.exceptions.NewConnectionError | urllib3.exceptions.ConnectTimeoutError):
        return Lost.NOT_CONNECTED
    if isinstance(error, urllib3.exceptions.TimeoutError | TimeoutError):
        return Lost.TIMEOUT
    if isinstance(error, urllib3.exceptions.HTTPError | OSError):
        return Lost.CONNECTION
    return None


def _message(request: Request, host_line: str) -> bytes:
    """The request's bytes. Raises DirectoryError where a part of it would be read as another line or another request."""
    body = request.body.encode() if isinstance(request.body, str) else request.body or b""
    lines = [f"{request.method} {request.uri} HTTP/1.1", host_line]
    lines += [f"{name}: {value}" for name, value in request.headers.items() if name.lower() not in _FRAMING]
    if body or request.method != "GET":
        lines.append(f"content-length: {len(body)}")
    head = "\r\n".join(lines)
    unfit = not head.isascii() or head.count("\n") != len(lines) - 1 or head.count("\r") != len(lines) - 1
    if unfit or _UNFIT_TARGET.search(request.uri):
        raise DirectoryError("a request holds a character that its lines cannot, and was not sent")
    return head.encode() + b"\r\n\r\n" + body


def _decoded(content: bytes, encoding: str, bytes_max: int) -> bytes:
    """A compressed body unpacked, no further than the bound. Raises NoAnswerError."""
    if encoding not in {"gzip", "deflate"}:
        raise NoAnswerError(Lost.UNREADABLE)
    unpacker = zlib.decompressobj(wbits=_EITHER_ZLIB_OR_GZIP)
    try:
        unpacked = unpacker.decompress(content, bytes_max + 1)
    except zlib.error as error:
        raise NoAnswerError(Lost.UNREADABLE) from error
    if len(unpacked) > bytes_max:
        raise NoAnswerError(Lost.OVERSIZE)
    if not unpacker.eof:
        raise NoAnswerError(Lost.UNREADABLE)
    return unpacked
