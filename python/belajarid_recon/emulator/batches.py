"""Batches: many calls in one request. Each part is a call of its own, with its own quota, faults and outcome.

Google promises no order of execution, so there is a seeded one here; answers come in the order of the requests.
"""

from __future__ import annotations

import asyncio
from functools import partial
from random import Random
from secrets import token_hex

from belajarid_recon.emulator.faults import BATCH, Manner
from belajarid_recon.emulator.multipart import Part, read_parts, written
from belajarid_recon.emulator.performing import Delivery, Performer, Request
from belajarid_recon.emulator.replies import Answer, ApiError
from belajarid_recon.emulator.service import Service

PATHS = frozenset({"/batch", "/batch/admin/directory_v1"})
BYTES_MAX = 16 * 1_024 * 1_024
_TURN = 20
"""Parts carried out before other connections get their turn."""


class Batches:
    """Carries batches out, part by part."""

    def __init__(self, service: Service, performer: Performer) -> None:
        self._service = service
        self._performer = performer
        self._count = 0

    async def deliver(self, content_type: str, raw: bytes, authorization: bytes | None) -> Delivery:
        """The answer of a batch; a fault may strike it as a whole, whatever strikes its parts."""
        try:
            parts = read_parts(content_type, raw)
        except ApiError as error:
            self._service.statistics.rejected(BATCH, error.reason)
            return Delivery(error.answer())
        if self._service.settings.latency_seconds:
            await asyncio.sleep(self._service.settings.latency_seconds)
        delivered: list[Delivery] = [Delivery(Answer(500, b""))] * len(parts)
        carry_out = partial(self._answer, parts, authorization, delivered)
        faults = self._service.faults
        strike = faults.draw(BATCH, self._tenant(authorization)) if faults.script else None
        if strike is None:
            whole = Delivery(await carry_out())
        else:
            whole = await self._performer.around(strike, authorization, carry_out)
        return whole._replace(parts=tuple(one for one in delivered if one.method))

    def _tenant(self, authorization: bytes | None) -> str:
        """Whose the batch is; a batch whose parts bring their own tokens may be nobody's."""
        try:
            return self._service.tokens.access(authorization).tenant.jenjang
        except ApiError:
            return ""

    async def _answer(
        self, parts: list[Part | ApiError], authorization: bytes | None, delivered: list[Delivery]
    ) -> Answer:
        """Carry out every part, in an order drawn from the emulator's seed; what each was answered goes into `delivered`."""
        self._count += 1
        order = list(range(len(parts)))
        Random(f"{self._service.settings.seed}/{self._count}").shuffle(order)  # noqa: S311 - reproducible
        for done, at in enumerate(order):
            delivered[at] = await self._deliver_part(parts[at], authorization)
            if done % _TURN == 0:
                await asyncio.sleep(0)
        answers = [
            (part.content_id if isinstance(part, Part) else None, delivery.shortened())
            for part, delivery in zip(parts, delivered, strict=True)
            if delivery.manner is not Manner.CUT
        ]
        return written(answers, b"batch_" + token_hex(16).encode())

    async def _deliver_part(self, part: Part | ApiError, authorization: bytes | None) -> Delivery:
        """One part as if it had come alone."""
        statistics = self._service.statistics
        try:
            if isinstance(part, ApiError):
                raise part
            token = part.authorization or authorization
            admitted = self._service.admit(part.verb, part.path, token)
        except ApiError as error:
            statistics.rejected("none", error.reason)
            return Delivery(error.answer(), method="none")
        tenant = admitted.access.tenant.jenjang
        under_way = statistics.enter(tenant)
        try:
            delivery = await self._performer.deliver(Request(admitted, part.query, part.body, token), under_way)
            return delivery._replace(method=admitted.method.name)
        finally:
            statistics.leave(tenant)
