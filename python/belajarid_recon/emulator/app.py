"""The ASGI application: sockets on one side, the service on the other."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any, NamedTuple
from urllib.parse import unquote

import apsw

from belajarid_recon.emulator import batches
from belajarid_recon.emulator.batches import Batches
from belajarid_recon.emulator.commits import Commits
from belajarid_recon.emulator.control import BODY_BYTES_MAX as CONTROL_BODY_BYTES_MAX
from belajarid_recon.emulator.control import PREFIX, Control
from belajarid_recon.emulator.encodings import decoded, too_large
from belajarid_recon.emulator.faults import BATCH, Manner
from belajarid_recon.emulator.overrides import HEADER as OVERRIDE
from belajarid_recon.emulator.overrides import meant_content, meant_verb
from belajarid_recon.emulator.performing import Delivery, Performer, Request
from belajarid_recon.emulator.replies import Answer, ApiError
from belajarid_recon.emulator.service import Service

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Wire(NamedTuple):
    """Both ends of one request."""

    receive: Receive
    send: Send


TRANSPORT = "emulator.transport"
"""Where the server puts the connection's transport in the scope, so that a fault can cut it."""
HEADER = ("X-Emulator", "belajarid-recon")
"""On every answer; the server adds it. The real service never sends it."""
BODY_BYTES_MAX = 1_024 * 1_024
_DRIPS = 8
"""Pieces of a dripped answer."""
_JSON_LINES = b"application/x-ndjson"


class App:
    """One emulator as an ASGI application."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._control = Control(service)
        self._commits = Commits(service.storage, _give_up)
        self._performer = Performer(service)
        self._batches = Batches(service, self._performer)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one request."""
        try:
            await self._serve(scope, receive, send)
        except apsw.Error:
            self._commits.fail()
            raise

    async def _durable(self) -> None:
        """Wait until nothing that an answer may show can be lost by a kill of this process."""
        self._service.keep_time()
        await self._commits.wait()

    async def _reply(self, send: Send, answer: Answer) -> None:
        await self._durable()
        await _reply(send, answer)

    async def _serve(self, scope: Message, receive: Receive, send: Send) -> None:
        verb, path = scope["method"], scope["raw_path"].decode("ascii", "replace")
        if path.startswith("/admin/"):
            await self._serve_call(scope, receive, send, path)
        elif path.startswith(PREFIX):
            await self._serve_control(scope, receive, send)
        elif path == "/token" and verb == "POST":
            raw = await _read(scope, receive, BODY_BYTES_MAX)
            await self._reply(send, raw if isinstance(raw, Answer) else self._service.grant(raw))
        elif path in batches.PATHS and verb == "POST":
            await self._serve_batch(scope, Wire(receive, send))
        else:
            await self._reply(send, ApiError(404, "notFound", "Not Found").answer())

    async def _serve_call(self, scope: Message, receive: Receive, send: Send, path: str) -> None:
        statistics = self._service.statistics
        verb = meant_verb(scope["method"], _header(scope, OVERRIDE))
        try:
            admitted = self._service.admit(verb, path, _header(scope, b"authorization"))
        except ApiError as error:
            statistics.rejected("none", error.reason)
            statistics.answered("none", error.status)
            await self._reply(send, error.answer())
            return
        tenant = admitted.access.tenant.jenjang
        under_way = statistics.enter(tenant)
        try:
            raw = await _read(scope, receive, BODY_BYTES_MAX)
            if self._service.settings.latency_seconds:
                await asyncio.sleep(self._service.settings.latency_seconds)
            if isinstance(raw, Answer):
                delivery = Delivery(raw)
            else:
                query, body = meant_content(scope["method"], verb, scope["query_string"], raw)
                request = Request(admitted, query, body, _header(scope, b"authorization"))
                delivery = await self._performer.deliver(request, under_way)
            await self._deliver(admitted.method.name, delivery, scope, Wire(receive, send))
        finally:
            statistics.leave(tenant)

    async def _serve_batch(self, scope: Message, wire: Wire) -> None:
        raw = await _read(scope, wire.receive, batches.BYTES_MAX)
        if isinstance(raw, Answer):
            delivery = Delivery(raw)
        else:
            content_type = (_header(scope, b"content-type") or b"").decode("latin-1")
            delivery = await self._batches.deliver(content_type, raw, _header(scope, b"authorization"))
        for part in delivery.parts:
            self._count(part.method, part.status if delivery.status == 200 else None)
        await self._deliver(BATCH, delivery, scope, wire)

    def _count(self, method: str, status: int | None) -> None:
        """Count what a call is about to be answered; None when nothing whole leaves."""
        if status is None:
            self._service.statistics.dropped(method)
        else:
            self._service.statistics.answered(method, status)

    async def _deliver(self, method: str, delivery: Delivery, scope: Message, wire: Wire) -> None:
        """Send an answer the way its fault says, once it is durable, and count it."""
        await self._durable()
        self._count(method, delivery.status)
        if delivery.manner is Manner.WHOLE:
            await _reply(wire.send, delivery.answer)
        elif delivery.manner is Manner.DRIPPED:
            await _drip(wire.send, delivery)
        else:
            if delivery.manner is Manner.TRUNCATED:
                await _begin(wire.send, delivery)
                scope[TRANSPORT].close()
            else:
                scope[TRANSPORT].abort()
            await _closed(wire.receive)

    async def _serve_control(self, scope: Message, receive: Receive, send: Send) -> None:
        raw = await _read(scope, receive, CONTROL_BODY_BYTES_MAX)
        path = unquote(scope["raw_path"].decode("ascii", "replace"))
        if scope["method"] == "GET" and path == f"{PREFIX}accounts":
            try:
                lines = self._control.account_lines(scope["query_string"])
            except ApiError as error:
                await self._reply(send, error.answer())
                return
            await self._durable()
            await _stream(send, lines)
            return
        answer = raw if isinstance(raw, Answer) else self._control.answer(scope["method"], path, raw)
        await self._reply(send, answer)


def _give_up() -> None:
    """Stop the emulator: the database failed (a full disk, for one), and what is in memory may be ahead of it."""
    os.kill(os.getpid(), signal.SIGTERM)


def _header(scope: Message, wanted: bytes) -> bytes | None:
    for name, value in scope["headers"]:
        if name == wanted:
            found: bytes = value
            return found
    return None


async def _read(scope: Message, receive: Receive, limit: int) -> bytes | Answer:
    """The request's body, uncompressed, or the refusal of one that is longer than `limit` bytes, before or after, or is damaged."""
    try:
        raw = await _received(receive, limit)
        return decoded(raw, _header(scope, b"content-encoding"), limit)
    except ApiError as error:
        return error.answer()


async def _received(receive: Receive, limit: int) -> bytes:
    """The body as it came; a caller that went away gives what came. Raises ApiError 413."""
    message = await receive()
    body: bytes = message.get("body", b"")
    parts, size = [body], len(body)
    while message.get("more_body", False) and size <= limit:
        message = await receive()
        parts.append(message.get("body", b""))
        size += len(parts[-1])
    if size > limit:
        raise too_large()
    return body if len(parts) == 1 else b"".join(parts)


async def _reply(send: Send, answer: Answer) -> None:
    await _start(send, answer)
    await send({"type": "http.response.body", "body": answer.body})


async def _drip(send: Send, delivery: Delivery) -> None:
    """Send an answer in pieces, each after a pause."""
    body = delivery.answer.body
    await _start(send, delivery.answer)
    size = max(1, -(-len(body) // _DRIPS))
    for start in range(0, len(body), size):
        await asyncio.sleep(delivery.seconds / _DRIPS)
        await send({"type": "http.response.body", "body": body[start : start + size], "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _begin(send: Send, delivery: Delivery) -> None:
    """Send an answer up to somewhere in its body, whose whole length its head promises."""
    await _start(send, delivery.answer)
    await send({"type": "http.response.body", "body": delivery.shortened().body, "more_body": True})


async def _start(send: Send, answer: Answer) -> None:
    headers = [(b"content-type", answer.content_type), (b"content-length", b"%d" % len(answer.body))]
    if answer.status == 204:
        headers = []
    if answer.retry_after_seconds is not None:
        headers.append((b"retry-after", b"%d" % answer.retry_after_seconds))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})


async def _stream(send: Send, pieces: Iterator[bytes]) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", _JSON_LINES)]})
    for piece in pieces:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _closed(receive: Receive) -> None:
    """Wait until the server has seen that the connection is closed."""
    while (await receive())["type"] != "http.disconnect":
        pass
