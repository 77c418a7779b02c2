"""One look at an account to change, or one sending of one step, to a known outcome. Runs in a worker thread."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

from belajarid_recon.apply.body import Step, completed
from belajarid_recon.apply.killpoints import KillPoint, reached
from belajarid_recon.apply.settle import (
    ApplyReason,
    Judgement,
    Outcome,
    Ready,
    contact_refusal,
    is_user_limit,
    judge_creation,
    judge_orgunit,
    judge_update,
    rejection,
)
from belajarid_recon.components import Clock
from belajarid_recon.directory.interface import Directory, Reply, Verdict
from belajarid_recon.state.journal import EventState

PAUSE_SHARES = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 17 / 32)
"""Pauses between readings as shares of the lag; with the first and the last there are six readings."""
SLEEP_SECONDS_MAX = 1.0
"""A sleep is cut into pieces of this length, between which a wish to stop is heard."""


@dataclass(frozen=True)
class Sender:
    """What sending needs in one tenant. Shared by its worker threads."""

    directory: Directory
    clock: Clock
    lag_seconds: float
    stop: threading.Event

    def look(self, step: Step, body: dict[str, Any]) -> Outcome | Ready | None:
        """Read the account a change is for, before its intent: the request to send, or the outcome without sending.

        Only an account that cannot be found is looked for again: nothing of ours is under way that could change the rest.
        None when asked to stop.
        """
        target_id = _required(step.target_id)
        for pause_share in (*PAUSE_SHARES, 0.0):
            account = self.directory.get_account(target_id)
            judgement = judge_update(step, account)
            reached(KillPoint.SETTLE_READ)
            if judgement.outcome.reason != ApplyReason.ACCOUNT_GONE or not pause_share:
                break
            if not self._pause(pause_share * self.lag_seconds):
                return None
        if account is not None and judgement.outcome.state is EventState.ABSENT:
            return Ready(completed(step, body, account))
        return judgement.outcome

    def send(self, step: Step, body: dict[str, Any]) -> Outcome | None:
        """Send the step once and find out what came of it. None when asked to stop before that was known."""
        reached(KillPoint.BEFORE_SEND)
        reply = self._call(step, body)
        reached(KillPoint.REPLY_RECEIVED)
        verdict = reply.verdict
        if verdict is Verdict.DONE:
            confirmed = _confirmed(step, reply)
            return confirmed if confirmed is not None else self.settle(step)
        if verdict is Verdict.REJECTED:
            return contact_refusal(body, reply) or self._refused(step, reply)
        if verdict is Verdict.THROTTLED:
            return Outcome(EventState.THROTTLED, "", reply.status, None, reply.retry_after_seconds)
        if verdict is Verdict.NOT_READY:
            return Outcome(EventState.ABSENT, "not-ready", reply.status, None, reply.retry_after_seconds)
        return self.settle(step)

    def settle(self, step: Step) -> Outcome | None:
        """Find out by reading what a sending did; read again until nothing can change any more or the lag has passed.

        An account that is not there may only be not there yet: a read after an insert lags by seconds, the search by more.
        None when asked to stop in between: the intent stays open, and the next start settles it.
        """
        for pause_share in (*PAUSE_SHARES, 0.0):
            judgement = self._read(step)
            reached(KillPoint.SETTLE_READ)
            if judgement.final or not pause_share:
                break
            if not self._pause(pause_share * self.lag_seconds):
                return None
        return judgement.outcome

    def _call(self, step: Step, body: dict[str, Any]) -> Reply:
        if step.is_orgunit:
            return self.directory.insert_orgunit(body["parentOrgUnitPath"], body["name"])
        if step.is_creation:
            return self.directory.insert_account(body)
        return self.directory.update_account(_required(step.target_id), body)

    def _read(self, step: Step) -> Judgement:
        if step.is_orgunit:
            return judge_orgunit(step, self.directory.orgunit_paths())
        if not step.is_creation:
            return judge_update(step, self.directory.get_account(_required(step.target_id)))
        at_address = self.directory.get_account(_required(step.address))
        judgement = judge_creation(step, at_address, ())
        if judgement.final and judgement.outcome.state is EventState.DONE:
            return judgement
        # Not plainly ours at its address: an account of ours may stand under another one.
        return judge_creation(step, at_address, self.directory.find_by_marker(_required(step.marker)))

    def _refused(self, step: Step, reply: Reply) -> Outcome:
        """A unit that is there already is refused like one with a bad name; what counts is that it is there."""
        if is_user_limit(step, reply):
            return Outcome(EventState.THROTTLED, ApplyReason.USER_LIMIT, reply.status)
        if step.is_orgunit:
            outcome = self._read(step).outcome
            if outcome.state is EventState.DONE:
                return outcome
        return rejection(reply)

    def _pause(self, seconds: float) -> bool:
        """Sleep; False when asked to stop."""
        while seconds > 0 and not self.stop.is_set():
            piece = min(seconds, SLEEP_SECONDS_MAX)
            self.clock.sleep(piece)
            seconds -= piece
        return not self.stop.is_set()


def _confirmed(step: Step, reply: Reply) -> Outcome | None:
    """The outcome a 2xx proves, or None when its answer does not carry what was asked."""
    if step.is_orgunit:
        return Outcome(EventState.DONE, "", reply.status)
    account = reply.account
    if account is None or not account.get("id"):
        return None
    if step.is_creation:
        # The directory's client has compared address and marker; the fields are read again by `verify`.
        return Outcome(EventState.DONE, "", reply.status, str(account["id"]))
    if account["id"] == step.target_id and judge_update(step, account).outcome.state is EventState.DONE:
        return Outcome(EventState.DONE, "", reply.status, step.target_id)
    return None


def _required(value: str | None) -> str:
    """A column that this action's steps always have."""
    if value is None:
        raise AssertionError("a step lacks a column its action needs")
    return value
