"""Scripted faults, table-driven: what is done to a call, and when.

A fault is one JSON object: `method` (as in the discovery document: `users.insert`; `*` is any), `kind`, and as needed `status`, `reason`,
`message`, `text` (a plain-text body instead of Google's envelope), `seconds` (real ones), `retry_after_seconds`, `tenant`,
`after` (calls let through first, 0), `times` (calls hit, 1; null is every one).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from belajarid_recon.emulator.replies import TEXT_TYPE, Answer, ApiError

FAULTS_MAX = 1_000


@dataclass(frozen=True)
class Kind:
    """What a fault of this kind does around the call's own work."""

    applies: bool
    """Whether the call is carried out."""
    answers: bool
    """Whether the caller gets an answer; otherwise the connection is cut."""
    scripted: bool = False
    """Whether that answer is the fault's, not the method's."""
    waits_before: bool = False
    waits_after: bool = False
    status: int = 503
    reason: str = "backendError"


KINDS: Mapping[str, Kind] = {
    "drop-before": Kind(applies=False, answers=False),
    "drop-after": Kind(applies=True, answers=False),
    "status": Kind(applies=False, answers=True, scripted=True),
    "status-after": Kind(applies=True, answers=True, scripted=True),
    "bogus-409-after": Kind(applies=True, answers=True, scripted=True, status=409, reason="duplicate"),
    "delay": Kind(applies=True, answers=True, waits_before=True),
    "delay-after": Kind(applies=True, answers=True, waits_after=True),
}

_MESSAGES: Mapping[str, str] = {
    "backendError": "Backend Error",
    "duplicate": "Entity already exists.",
    "userRateLimitExceeded": "User Rate Limit Exceeded",
    "rateLimitExceeded": "Rate Limit Exceeded",
    "quotaExceeded": "Request rate higher than configured.",
    "conditionNotMet": "User creation is not complete.",
    "authError": "Invalid Credentials",
}


@dataclass
class Fault:
    """One scripted fault and how often it was used."""

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
    seen: int = field(default=0, init=False)
    used: int = field(default=0, init=False)

    @property
    def does(self) -> Kind:
        """The row of the table for this fault's kind."""
        return KINDS[self.kind]

    def answer(self) -> Answer:
        """The scripted answer."""
        status = self.status or self.does.status
        reason = self.reason or self.does.reason
        message = self.message or _MESSAGES.get(reason, reason)
        answer = ApiError(status, reason, message).answer()
        if self.text is not None:
            answer = Answer(status, self.text.encode(), TEXT_TYPE)
        return answer._replace(retry_after_seconds=self.retry_after_seconds)

    def release(self) -> None:
        """Give a use back: the call failed by itself, so there was nothing to spoil."""
        self.used -= 1

    def describe(self) -> dict[str, Any]:
        """Its script and its uses, for the stats."""
        return {one.name: getattr(self, one.name) for one in fields(self)}


class Faults:
    """The script. Faults are tried in the order they came; the first that is due is used."""

    def __init__(self) -> None:
        self.script: list[Fault] = []

    def add(self, document: Mapping[str, Any], methods: frozenset[str]) -> None:
        """Append a fault. Raises ApiError 400 for one that cannot be meant."""
        try:
            fault = Fault(**document)
        except TypeError as error:
            raise ApiError(400, "invalid", f"not a fault: {error}") from error
        if fault.kind not in KINDS:
            raise ApiError(400, "invalid", f"unknown kind of fault; known: {', '.join(KINDS)}")
        if fault.method != "*" and fault.method not in methods:
            raise ApiError(400, "invalid", "unknown method; use its name in the discovery document, or *")
        if len(self.script) >= FAULTS_MAX:
            raise ApiError(400, "invalid", f"too many faults: {FAULTS_MAX} at most")
        self.script.append(fault)

    def draw(self, method: str, tenant: str) -> Fault | None:
        """The fault this call meets, counted as used."""
        for fault in self.script:
            if fault.method not in (method, "*") or fault.tenant not in (tenant, None):
                continue
            fault.seen += 1
            if fault.seen > fault.after and (fault.times is None or fault.used < fault.times):
                fault.used += 1
                return fault
        return None

    def clear(self) -> None:
        """Forget the script."""
        self.script.clear()
