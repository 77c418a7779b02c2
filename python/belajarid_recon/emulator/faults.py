"""Faults, scripted one by one or drawn from a seed: what is done to a call, and when.

A fault is one JSON object: `method` (as in the discovery document: `users.insert`; `users.*` and `*` are patterns; `batch` is
the outer call of a batch), `kind`, and as needed `status`, `reason`, `message`, `text` (a plain-text body instead of Google's
envelope), `seconds` (real ones), `retry_after_seconds`, `tenant`, `after` (calls let through first, 0), `times` (calls hit, 1;
null is every one), `probability` (1) and `seed`. A swarm is many of them under one seed:
`{"seed": 7, "swarm": [{"method": ..., "kind": ..., "probability": 0.02, "times_max": 50, ...}, ...]}`.

Whether a drawn fault strikes is decided by its seed, its place in the script, the tenant, the method, and which call of that
tenant and method it is: the same calls meet the same faults, however the tenants' calls interleave.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import orjson
from xxhash import xxh3_64_intdigest

from belajarid_recon.emulator.replies import TEXT_TYPE, Answer, ApiError, invalid

FAULTS_MAX = 1_000
STRIKES_MAX = 100_000
"""Strikes kept for `GET strikes`; the counts go on."""
BATCH = "batch"
"""The name by which a fault means a batch's outer call."""
PRETENDED = frozenset({"users.insert", "users.update", "users.patch", "users.delete"})
"""Methods that can be answered as if done."""
HTML_TYPE = b"text/html; charset=UTF-8"
_DRAWS = float(2**64)


class Work(StrEnum):
    """What becomes of the call's own work."""

    LEFT = "left"
    DONE = "done"
    PRETENDED = "pretended"
    """Answered as if done, and nothing changed."""


class Manner(StrEnum):
    """How an answer travels."""

    WHOLE = "whole"
    CUT = "cut"
    """Not at all: the connection is cut."""
    TRUNCATED = "truncated"
    """It ends somewhere in its body."""
    DRIPPED = "dripped"
    """In small pieces, with pauses."""


class Form(StrEnum):
    """How a scripted refusal is worded."""

    ERRORS = "errors"
    """Google's envelope with its list of errors."""
    STATUS = "status"
    """The envelope of newer services: a status and no list."""
    TEXT = "text"
    HTML = "html"


@dataclass(frozen=True)
class Kind:
    """What a fault of this kind does around the call's own work."""

    work: Work = Work.DONE
    manner: Manner = Manner.WHOLE
    scripted: bool = False
    """Whether the answer is the fault's, not the method's."""
    waits_before: bool = False
    waits_after: bool = False
    status: int = 503
    reason: str = "backendError"
    form: Form = Form.ERRORS
    revokes: bool = False
    """Whether the call's access token ends."""
    swaps: bool = False
    """Whether the answer is another call's."""
    meddles: bool = False
    """Whether another administrator touches the call's account."""

    def can_strike(self, method: str) -> bool:
        """Whether a call of this method can meet it."""
        if self.work is Work.PRETENDED:
            return method in PRETENDED
        if self.meddles:
            return method.startswith("users.")
        return method != BATCH or not self.swaps


def _refusal(status: int, reason: str, form: Form = Form.ERRORS, **more: Any) -> Kind:  # noqa: ANN401 - Kind's fields
    return Kind(**{"work": Work.LEFT, "scripted": True, "status": status, "reason": reason, "form": form, **more})


KINDS: Mapping[str, Kind] = {
    "drop-before": Kind(work=Work.LEFT, manner=Manner.CUT),
    "drop-after": Kind(manner=Manner.CUT),
    "status": _refusal(503, "backendError"),
    "status-after": _refusal(503, "backendError", work=Work.DONE),
    "html": _refusal(502, "backendError", Form.HTML),
    "html-after": _refusal(502, "backendError", Form.HTML, work=Work.DONE),
    "429": _refusal(429, "rateLimitExceeded"),
    "429-text": _refusal(429, "quotaMetric", Form.TEXT),
    "403-user-rate": _refusal(403, "userRateLimitExceeded"),
    "403-rate": _refusal(403, "rateLimitExceeded"),
    "403-quota": _refusal(403, "quotaExceeded"),
    "403-text": _refusal(403, "quotaExceeded", Form.TEXT),
    "403-exhausted": _refusal(403, "RESOURCE_EXHAUSTED", Form.STATUS),
    "bogus-409": _refusal(409, "duplicate"),
    "bogus-409-after": _refusal(409, "duplicate", work=Work.DONE),
    "expired-token": _refusal(401, "authError", revokes=True),
    "truncated": Kind(manner=Manner.TRUNCATED),
    "drip": Kind(manner=Manner.DRIPPED),
    "delay": Kind(waits_before=True),
    "delay-after": Kind(waits_after=True),
    "swapped": Kind(swaps=True),
    "unchanged": Kind(work=Work.PRETENDED),
    "other-rename": Kind(meddles=True),
    "other-edit": Kind(meddles=True),
    "other-unmark": Kind(meddles=True),
    "other-delete": Kind(meddles=True),
}

_MESSAGES: Mapping[str, str] = {
    "backendError": "Backend Error",
    "duplicate": "Entity already exists.",
    "userRateLimitExceeded": "User Rate Limit Exceeded",
    "rateLimitExceeded": "Rate Limit Exceeded",
    "quotaExceeded": "Request rate higher than configured.",
    "quotaMetric": "Quota exceeded for quota metric 'Queries' and limit 'Queries per minute per user'",
    "RESOURCE_EXHAUSTED": "Quota exceeded for quota metric 'Queries' and limit 'Queries per minute per user'",
    "conditionNotMet": "User creation is not complete.",
    "authError": "Invalid Credentials",
}
_PAGE = "<!DOCTYPE html>\n<html lang=en>\n<title>Error {status} (Server Error)!!1</title>\n<p><b>{status}.</b> {message}\n</html>\n"


@dataclass
class Fault:
    """One fault and how often it was used."""

    method: str
    kind: str
    status: int | None = None
    reason: str | None = None
    message: str | None = None
    text: str | None = None
    seconds: float = 0.0
    retry_after_seconds: int | None = None
    tenant: str | None = None
    after: int = 0
    times: int | None = 1
    probability: float = 1.0
    seed: int = 0
    seen: int = field(default=0, init=False)
    used: int = field(default=0, init=False)

    @property
    def does(self) -> Kind:
        """The row of the table for this fault's kind."""
        return KINDS[self.kind]

    def is_meant_for(self, method: str) -> bool:
        """Whether calls of this method can meet it."""
        return fnmatchcase(method, self.method) and self.does.can_strike(method)

    def answer(self) -> Answer:
        """The scripted answer."""
        status = self.status or self.does.status
        reason = self.reason or self.does.reason
        message = self.message or _MESSAGES.get(reason, reason)
        answer = ApiError(status, reason, message).answer()
        if self.text is not None or self.does.form is Form.TEXT:
            answer = Answer(status, (self.text or message.removesuffix(".")).encode(), TEXT_TYPE)
        elif self.does.form is Form.HTML:
            answer = Answer(status, _PAGE.format(status=status, message=message).encode(), HTML_TYPE)
        elif self.does.form is Form.STATUS:
            envelope = {"error": {"code": status, "message": message, "status": reason}}
            answer = Answer(status, orjson.dumps(envelope))
        return answer._replace(retry_after_seconds=self.retry_after_seconds)

    def describe(self) -> dict[str, Any]:
        """Its script and its uses, for the stats."""
        return {one.name: getattr(self, one.name) for one in fields(self)}


@dataclass(slots=True)
class Strike:
    """One call that met a fault."""

    fault: Fault
    method: str
    tenant: str
    call: int
    """Which call of this tenant and method it was since the script began, from 1."""
    draw: int
    """64 bits from the seed, for whatever the fault has to choose."""

    def release(self) -> None:
        """Give the use back: the call failed by itself, so there was nothing to spoil."""
        self.fault.used -= 1


class Outcome(NamedTuple):
    """What came of a call that met a fault."""

    applied: bool
    """Whether its own work was done."""
    status: int | None
    """What left; None when nothing whole did."""
    account: str | None
    """The account another administrator touched."""


class Faults:
    """The script. Faults are tried in the order they came; the first that is due is used."""

    def __init__(self, methods: frozenset[str]) -> None:
        """Take the names of the methods there are."""
        self._methods = methods | {BATCH}
        self.script: list[Fault] = []
        self._calls: Counter[tuple[str, str]] = Counter()
        self._meant: dict[tuple[str, str], list[tuple[int, Fault]]] = {}
        self._struck: deque[dict[str, Any]] = deque(maxlen=STRIKES_MAX)
        self._counts: Counter[tuple[str, str]] = Counter()

    def add(self, document: Mapping[str, Any]) -> None:
        """Append a fault or a swarm of them. Raises ApiError 400, and adds nothing, when one cannot be meant."""
        added = [self._checked(one) for one in _swarm(document)]
        if len(self.script) + len(added) > FAULTS_MAX:
            raise invalid(f"too many faults: {FAULTS_MAX} at most")
        self.script += added
        self._meant.clear()

    def _checked(self, document: Mapping[str, Any]) -> Fault:
        try:
            fault = Fault(**document)
        except TypeError as error:
            raise invalid(f"not a fault: {error}") from error
        if fault.kind not in KINDS:
            raise invalid(f"unknown kind of fault; known: {', '.join(KINDS)}")
        if not any(map(fault.is_meant_for, self._methods)):
            raise invalid(
                "no method that this kind can strike; use its name in the discovery document, a pattern like users.*, batch, or *"
            )
        if not 0 <= fault.probability <= 1:
            raise invalid("probability is outside 0 to 1")
        return fault

    def draw(self, method: str, tenant: str) -> Strike | None:
        """The fault this call meets, counted as used."""
        self._calls[method, tenant] += 1
        call = self._calls[method, tenant]
        meant = self._meant.get((method, tenant))
        if meant is None:
            meant = [
                (at, fault)
                for at, fault in enumerate(self.script)
                if fault.is_meant_for(method) and fault.tenant in (tenant, None)
            ]
            self._meant[method, tenant] = meant
        for at, fault in meant:
            fault.seen += 1
            if fault.seen <= fault.after or (fault.times is not None and fault.used >= fault.times):
                continue
            drawn = xxh3_64_intdigest(f"{fault.seed}/{at}/{tenant}/{method}/{call}".encode())
            if drawn < fault.probability * _DRAWS:
                fault.used += 1
                return Strike(fault, method, tenant, call, xxh3_64_intdigest(drawn.to_bytes(8, "big")))
        return None

    def struck(self, strike: Strike, outcome: Outcome) -> None:
        """Keep that a fault struck, and what came of it."""
        place = {"kind": strike.fault.kind, "method": strike.method, "tenant": strike.tenant, "call": strike.call}
        self._struck.append(place | outcome._asdict())
        self._counts[strike.fault.kind, strike.method] += 1

    def counts(self) -> Counter[tuple[str, str]]:
        """Strikes by kind and method."""
        return self._counts

    def strikes(self) -> list[dict[str, Any]]:
        """What struck, the oldest first."""
        return list(self._struck)

    def clear(self) -> None:
        """Forget the script and what it did; calls are counted from one again."""
        self.script.clear()
        self._calls.clear()
        self._meant.clear()
        self._struck.clear()
        self._counts.clear()


def _swarm(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The faults of a document: itself, or those of its swarm under the swarm's seed."""
    if "swarm" not in document:
        return [document]
    swarm, seed = document["swarm"], document.get("seed", 0)
    if document.keys() - {"swarm", "seed"} or not isinstance(swarm, list) or not isinstance(seed, int):
        raise invalid("a swarm has a seed, a whole number, and a list of faults, and nothing else")
    if not all(isinstance(one, dict) and "seed" not in one and "times" not in one for one in swarm):
        raise invalid("a fault of a swarm is an object with times_max, and the swarm's seed is its own")
    return [
        {
            **{name: value for name, value in one.items() if name != "times_max"},
            "times": one.get("times_max"),
            "seed": seed,
        }
        for one in swarm
    ]
