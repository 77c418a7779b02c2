"""What happens to one admitted call: quotas, latency, faults, its own work. Single calls and the parts of a batch go this way.

A call is carried out between two awaits, never across one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import orjson

from belajarid_recon.emulator.faults import Manner, Outcome, Strike, Work
from belajarid_recon.emulator.meddling import Meddler
from belajarid_recon.emulator.quotas import LIMIT_REASONS
from belajarid_recon.emulator.replies import Answer, ApiError
from belajarid_recon.emulator.service import Admitted, Service
from belajarid_recon.emulator.statistics import Minute
from belajarid_recon.emulator.swaps import Swaps

DRIP_SECONDS = 0.2
"""Real seconds a dripped answer takes, unless its fault says otherwise."""


class Request(NamedTuple):
    """An admitted call with what came along."""

    admitted: Admitted
    query: bytes
    raw: bytes
    authorization: bytes | None

    @property
    def method(self) -> str:
        """Its method's name in the discovery document."""
        return self.admitted.method.name

    @property
    def tenant(self) -> str:
        """Whose call it is."""
        return self.admitted.access.tenant.jenjang


class Delivery(NamedTuple):
    """An answer and how it travels."""

    answer: Answer
    manner: Manner = Manner.WHOLE
    seconds: float = 0.0
    """For a dripped answer: how long it takes."""
    draw: int = 0
    """For a truncated answer: where it ends, counted around its length."""

    method: str = ""
    """For a part of a batch: whose answer it is."""
    parts: tuple[Delivery, ...] = ()
    """For a batch."""

    @property
    def status(self) -> int | None:
        """The status that leaves whole; None when nothing does."""
        return self.answer.status if self.manner in (Manner.WHOLE, Manner.DRIPPED) else None

    def shortened(self) -> Answer:
        """The answer, or for a truncated one what there is of it."""
        body = self.answer.body
        return (
            self.answer._replace(body=body[: self.draw % len(body)]) if self.manner is Manner.TRUNCATED else self.answer
        )


class Performer:
    """Carries calls out, the way the faults say."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._swaps = Swaps()
        self._meddler = Meddler(service.users, service.orgunits, service.discovery.methods["users.delete"])

    async def deliver(self, request: Request, under_way: int) -> Delivery:
        """The answer of an admitted call, of which its tenant has `under_way` at once."""
        service = self._service
        self._minute(request).calls[request.method] += 1
        try:
            access = request.admitted.access
            quotas = service.quotas[access.tenant.jenjang]
            quotas.check_concurrency(under_way)
            quotas.take_call(access.user)
        except ApiError as error:
            return Delivery(self._refused(request, error))
        strike = service.faults.draw(request.method, request.tenant) if service.faults.script else None
        if strike is None:
            return Delivery(self._swaps.pass_by((request.tenant, request.method), self._perform(request)))
        return await self._struck(strike, request)

    def _perform(self, request: Request, *, pretended: bool = False) -> Answer:
        try:
            return self._service.perform(request.admitted, request.query, request.raw, pretended=pretended)
        except ApiError as error:
            return self._refused(request, error)

    def _refused(self, request: Request, error: ApiError) -> Answer:
        """The answer of a refusal, counted; in the minute too when a limit refused."""
        self._service.statistics.rejected(request.method, error.reason)
        if error.reason in LIMIT_REASONS:
            self._minute(request).refused[error.reason] += 1
        return error.answer()

    def _minute(self, request: Request) -> Minute:
        return self._service.statistics.minutes.at(self._service.time.elapsed(), request.tenant)

    async def _struck(self, strike: Strike, request: Request) -> Delivery:
        """Carry a call out the way its fault's kind says."""
        does = strike.fault.does
        if does.meddles:
            return self._meddled(strike, request)
        if does.swaps:
            return await self._swapped(strike, request)

        async def carry_out() -> Answer:
            return self._perform(request, pretended=does.work is Work.PRETENDED)

        return await self.around(strike, request.authorization, carry_out)

    async def around(
        self, strike: Strike, authorization: bytes | None, carry_out: Callable[[], Awaitable[Answer]]
    ) -> Delivery:
        """What a fault does before and behind a call, or instead of it."""
        fault, does = strike.fault, strike.fault.does
        if does.waits_before:
            await asyncio.sleep(fault.seconds)
        if does.work is Work.LEFT:
            if does.revokes:
                self._service.tokens.revoke(authorization)
            return self._kept(strike, Delivery(fault.answer(), does.manner))
        answer = await carry_out()
        if answer.status >= 400:
            strike.release()
            return Delivery(answer)
        if does.waits_after:
            await asyncio.sleep(fault.seconds)
        manner = Manner.CUT if does.manner is Manner.TRUNCATED and not answer.body else does.manner
        sent = fault.answer() if does.scripted else answer
        delivery = Delivery(sent, manner, fault.seconds or DRIP_SECONDS, strike.draw)
        return self._kept(strike, delivery, applied=does.work is Work.DONE)

    def _kept(
        self, strike: Strike, delivery: Delivery, *, applied: bool = False, account: str | None = None
    ) -> Delivery:
        """The delivery, its strike written down."""
        self._service.faults.struck(strike, Outcome(applied, delivery.status, account))
        return delivery

    async def _swapped(self, strike: Strike, request: Request) -> Delivery:
        """Another call's answer. A call that fails keeps its own, and so does the first of all, which has none to swap with."""
        answer, other = self._perform(request), None
        if answer.status < 400:
            other = await self._swaps.wait((request.tenant, request.method), answer, strike.fault.seconds)
        if other is None:
            strike.release()
            return Delivery(answer)
        return self._kept(strike, Delivery(other), applied=True)

    def _meddled(self, strike: Strike, request: Request) -> Delivery:
        """Another administrator comes before a change, or behind a read or a creation: between a look and its change, that is."""
        method = request.admitted.method
        behind = method.verb == "GET" or method.name == "users.insert"
        account = None if behind else self._meddle(strike, request)
        answer = self._perform(request)
        if behind and answer.status < 400:
            account = self._meddle(strike, request)
        if account is None:
            strike.release()
            return Delivery(answer)
        return self._kept(strike, Delivery(answer), applied=answer.status < 400, account=account)

    def _meddle(self, strike: Strike, request: Request) -> str | None:
        """Touch the account a call is about; its id, or None when there is none or nothing to do."""
        admitted = request.admitted
        if admitted.method.name == "users.insert":
            key = orjson.loads(request.raw)["primaryEmail"]
        elif admitted.method.name.startswith("users.") and admitted.path:
            key = admitted.path[0]
        else:
            return None
        return self._meddler.meddle(strike.fault.kind, admitted.access.tenant, key, strike.draw)
