"""One look at what is to be changed, or one sending of one step, to a known outcome. Runs in a worker thread."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

from belajarid_recon.apply.body import Step
from belajarid_recon.apply.killpoints import KillPoint, reached
from belajarid_recon.apply.operations import operation_of
from belajarid_recon.apply.settle import ABSENT, ApplyReason, Judgement, Outcome, Ready, contact_refusal
from belajarid_recon.components import Clock
from belajarid_recon.directory.interface import Directory, Verdict
from belajarid_recon.state.journal import EventState

PAUSE_SHARES = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 17 / 32)
"""Pauses between readings as shares of the lag; with the first and the last there are six readings."""
_GONE = frozenset({ApplyReason.ACCOUNT_GONE, ApplyReason.GROUP_GONE})
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
        """Read what a step changes, before its intent: the request to send, or the outcome without sending.

        Only what cannot be found is looked for again: nothing of ours is under way that could change the rest.
        None when asked to stop.
        """
        for pause_share in (*PAUSE_SHARES, 0.0):
            judgement, wanted = operation_of(step).look(self.directory, step, body)
            reached(KillPoint.SETTLE_READ)
            found = judgement.outcome.reason not in _GONE
            if not pause_share or (found and (judgement.final or judgement.outcome.state is not EventState.DONE)):
                break
            if not pause(self.clock, self.stop, pause_share * self.lag_seconds):
                return None
        return Ready(wanted) if judgement.outcome.state is EventState.ABSENT else judgement.outcome

    def send(self, step: Step, body: dict[str, Any]) -> Outcome | None:
        """Send the step once and find out what came of it. None when asked to stop before that was known."""
        reached(KillPoint.BEFORE_SEND)
        operation = operation_of(step)
        reply = operation.send(self.directory, step, body)
        reached(KillPoint.REPLY_RECEIVED)
        verdict = reply.verdict
        if verdict is Verdict.DONE:
            confirmed = operation.confirmed(step, reply)
            return confirmed if confirmed is not None else self.settle(step)
        if verdict is Verdict.REJECTED:
            return contact_refusal(body, reply) or operation.refused(self.directory, step, reply)
        if verdict is Verdict.THROTTLED:
            return Outcome(EventState.THROTTLED, "", reply.status, None, reply.retry_after_seconds)
        if verdict is Verdict.NOT_READY:
            return Outcome(EventState.ABSENT, "not-ready", reply.status, None, reply.retry_after_seconds)
        return self.settle(step)

    def settle(self, step: Step) -> Outcome | None:
        """Find out by reading what a sending did; read again until nothing can change any more or the lag has passed.

        An account that is not there may only be not there yet: a read after an insert lags by seconds, the search by more.
        So what was found once counts more than that it is not found later: at worst the step is sent again, which changes nothing.
        None when asked to stop in between: the intent stays open, and the next start settles it.
        """
        best = Judgement(ABSENT, final=False, found=False)
        weight = 0
        for pause_share in (*PAUSE_SHARES, 0.0):
            judgement = operation_of(step).read(self.directory, step)
            reached(KillPoint.SETTLE_READ)
            if judgement.final:
                return judgement.outcome
            if _weight(judgement) >= weight:
                best, weight = judgement, _weight(judgement)
            if pause_share and not pause(self.clock, self.stop, pause_share * self.lag_seconds):
                return None
        parked, reason = best.outcome.state is EventState.PARKED, best.outcome.reason
        if parked and best.found and not judgement.found and reason != ApplyReason.MARKER_TWICE:
            # What stood against it was seen in part, or has gone since: it is looked at, or refused, once more.
            return ABSENT
        return best.outcome


def _weight(judgement: Judgement) -> int:
    """What was found weighs more than what was not, and that more than that not even its account or group was."""
    return 2 if judgement.found else int(judgement.outcome.reason not in _GONE)


def pause(clock: Clock, stop: threading.Event, seconds: float) -> bool:
    """Sleep; False when asked to stop."""
    while seconds > 0 and not stop.is_set():
        piece = min(seconds, SLEEP_SECONDS_MAX)
        clock.sleep(piece)
        seconds -= piece
    return not stop.is_set()
