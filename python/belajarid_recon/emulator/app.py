"""The ASGI application: sockets on one side, the service on the other. A call is carried out between two awaits, never across one."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any
from urllib.parse import unquote

import apsw

from belajarid_recon.emulator.commits import Commits
from belajarid_recon.emulator.control import BODY_BYTES_MAX as CONTROL_BODY_BYTES_MAX
from belajarid_recon.emulator.control import PREFIX, Control
from belajarid_recon.emulator.faults import Fault
from belajarid_recon.emulator.replies import TEXT_TYPE, Answer, ApiError
from belajarid_recon.emulator.service import Admitted, Service

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

TRANSPORT = "emulator.transport"
"""Where the server puts the connection's transport in the scope, so that a fault can cut it."""
HEADER = ("X-Emulator", "belajarid-recon")
"""On every answer; the server adds it. The real service never sends it."""
BODY_BYTES_MAX = 1_024 * 1_024
_JSON_LINES = b"application/x-ndjson"


class App:
    """One emulator as an ASGI application."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._control = Control(service)
        self._commits = Commits(service.storage, _give_up)

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
            raw = await _read(receive, BODY_BYTES_MAX)
            await self._reply(send, _too_large() if raw is None else self._service.grant(raw))
        elif path == "/batch" or path.startswith("/batch/"):
            message = "The emulator does not offer batches: send single calls."
            await self._reply(send, ApiError(501, "notImplemented", message).answer())
        else:
            await self._reply(send, ApiError(404, "notFound", "Not Found").answer())

    async def _serve_call(self, scope: Message, receive: Receive, send: Send, path: str) -> None:
        statistics = self._service.statistics
        try:
            admitted = self._service.admit(scope["method"], path, _authorization(scope))
        except ApiError as error:
            statistics.rejected("none", error.reason)
            statistics.answered("none", error.status)
            await self._reply(send, error.answer())
            return
        tenant = admitted.access.tenant.jenjang
        under_way = statistics.enter(tenant)
        try:
            answer = await self._call(admitted, under_way, scope, receive)
            if answer is None:
                await _cut(scope, receive)
                return
            statistics.answered(admitted.method.name, answer.status)
            await self._reply(send, answer)
        finally:
            statistics.leave(tenant)

    async def _call(self, admitted: Admitted, under_way: int, scope: Message, receive: Receive) -> Answer | None:
        """The answer of an admitted call; None when a fault cuts the connection instead."""
        service = self._service
        tenant = admitted.access.tenant.jenjang
        raw = await _read(receive, BODY_BYTES_MAX)
        if raw is None:
            return _too_large()
        try:
            quotas = service.quotas[tenant]
            quotas.check_concurrency(under_way)
            quotas.take_call()
        except ApiError as error:
            service.statistics.rejected(admitted.method.name, error.reason)
            return error.answer()
        if service.settings.latency_seconds:
            await asyncio.sleep(service.settings.latency_seconds)
        fault = service.faults.draw(admitted.method.name, tenant) if service.faults.script else None
        if fault is None:
            return self._perform(admitted, scope["query_string"], raw)
        return await self._perform_faulty(fault, admitted, scope["query_string"], raw)

    def _perform(self, admitted: Admitted, query: bytes, raw: bytes) -> Answer:
        try:
            return self._service.perform(admitted, query, raw)
        except ApiError as error:
            self._service.statistics.rejected(admitted.method.name, error.reason)
            return error.answer()

    async def _perform_faulty(self, fault: Fault, admitted: Admitted, query: bytes, raw: bytes) -> Answer | None:
        """Carry a call out the way a fault's kind says."""
        does = fault.does
        if does.waits_before:
            await asyncio.sleep(fault.seconds)
        if does.applies:
            answer = self._perform(admitted, query, raw)
            if answer.status >= 400:
                fault.release()
                return answer
        if does.waits_after:
            await asyncio.sleep(fault.seconds)
        if not does.answers:
            self._service.statistics.dropped(admitted.method.name)
            return None
        return fault.answer() if does.scripted else answer

    async def _serve_control(self, scope: Message, receive: Receive, send: Send) -> None:
        raw = await _read(receive, CONTROL_BODY_BYTES_MAX)
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
        await self._reply(send, _too_large() if raw is None else self._control.answer(scope["method"], path, raw))


def _give_up() -> None:
    """Stop the emulator: the database failed (a full disk, for one), and what is in memory may be ahead of it."""
    os.kill(os.getpid(), signal.SIGTERM)


def _authorization(scope: Message) -> bytes | None:
    for name, value in scope["headers"]:
        if name == b"authorization":
            found: bytes = value
            return found
    return None


async def _read(receive: Receive, limit: int) -> bytes | None:
    """The request's body; None when it is longer than `limit` bytes. A caller that went away gives what came."""
    message = await receive()
    body: bytes = message.get("body", b"")
    if not message.get("more_body", False):
        return body if len(body) <= limit else None
    parts, size = [body], len(body)
    while message.get("more_body", False):
        message = await receive()
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limit:
            return None
    return b"".join(parts)


async def _reply(send: Send, answer: Answer) -> None:
    headers = [(b"content-type", answer.content_type), (b"content-length", b"%d" % len(answer.body))]
    if answer.status == 204:
        headers = []
    if answer.retry_after_seconds is not None:
        headers.append((b"retry-after", b"%d" % answer.retry_after_seconds))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


async def _stream(send: Send, pieces: Iterator[bytes]) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", _JSON_LINES)]})
    for piece in pieces:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _cut(scope: Message, receive: Receive) -> None:
    """Close the connection without an answer, and wait until the server has seen it closed."""
    scope[TRANSPORT].abort()
    while (await receive())["type"] != "http.disconnect":
        pass


def _too_large() -> Answer:
    message = "Request payload size exceeds the limit."
    answer = ApiError(413, "uploadTooLarge", message).answer()
    return answer if answer.body else Answer(413, message.encode(), TEXT_TYPE)
