"""Named places where a test can end this program for good.

Inert unless the environment variable RECON_KILL_POINT names one as `name:count`: the count-th arrival there sends SIGKILL to
the program itself. They are always compiled in, so that what is tested is what runs.
"""

from __future__ import annotations

import itertools
import os
import signal
from enum import StrEnum

VARIABLE = "RECON_KILL_POINT"


class KillPoint(StrEnum):
    """Every place, in the order a run passes them."""

    LEASE_TAKEN = "lease-taken"
    EPOCH_NOTED = "epoch-noted"
    """The directory has the epoch; the journal does not."""
    JOURNAL_ASIDE = "journal-aside"
    """Of a rebuild: the damaged journal has gone, the new one is not there."""
    ADDRESSES_RESERVED = "addresses-reserved"
    JOURNAL_READY = "journal-ready"
    APPLYING_MARKED = "applying-marked"
    SETTLE_READ = "settle-read"
    """The directory was read about one step; nothing is decided."""
    BEFORE_INTENT_COMMIT = "before-intent-commit"
    INTENT_COMMITTED = "intent-committed"
    BEFORE_SEND = "before-send"
    REPLY_RECEIVED = "reply-received"
    BEFORE_OUTCOME_COMMIT = "before-outcome-commit"
    OUTCOME_COMMITTED = "outcome-committed"
    READ_BACK = "read-back"
    """The directory was read to confirm what was written; nothing of it is in the journal."""
    READ_BACK_COMMITTED = "read-back-committed"
    ALL_SETTLED = "all-settled"
    LIFECYCLE_RECORDED = "lifecycle-recorded"
    HANDOFFS_RECORDED = "handoffs-recorded"


def _armed() -> tuple[str, int]:
    name, _, count = os.environ.get(VARIABLE, "").partition(":")
    return name, int(count or 1)


_name, _count = _armed()
_arrivals = itertools.count(1)


def arm_from_environment() -> None:
    """Read the variable again. A test that forks its appliers calls it in the child."""
    global _name, _count, _arrivals  # noqa: PLW0603 - one process dies at one place
    _name, _count = _armed()
    _arrivals = itertools.count(1)


def reached(point: KillPoint) -> None:
    """Pass a place. Returns, or never does."""
    if point == _name and next(_arrivals) == _count:
        os.kill(os.getpid(), signal.SIGKILL)
