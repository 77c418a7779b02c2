"""What a reading of the directory says about one sending. Pure: accounts in, judgement out."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from belajarid_recon.apply.body import (
    CONTACT_FIELDS,
    Step,
    carries_group_marker,
    carries_step,
    has_alias,
    is_administrator,
    stands_before,
)
from belajarid_recon.directory.interface import Account, Reply
from belajarid_recon.directory.observed import carries_marker, shows_marker
from belajarid_recon.state.journal import EventState


class ApplyReason(StrEnum):
    """Why a step was parked, or what was found about one that is done. A rejection adds the directory's word: `rejected-…`."""

    FIELDS_DIFFER = "fields-differ"
    """Done: the account is ours, and somebody has changed it since. The next plan sees it."""
    ADDRESS_FOREIGN = "address-foreign"
    """Parked: another account holds the address. It is never touched; the next plan gives a new name."""
    ACCOUNT_FOREIGN = "account-foreign"
    """Parked: the account to change does not carry our marker (any more)."""
    ADMINISTRATOR = "administrator-untouched"
    """Parked: the account to change has become an administrator's since the plan was made."""
    ACCOUNT_GONE = "account-gone"
    """Parked: the account to change is not there."""
    MARKER_TWICE = "marker-on-two-accounts"
    """Parked: more than one account carries the marker; a person has to look."""
    DRIFT = "drift"
    """Parked: somebody gave the account other values than the plan saw."""
    ATTEMPTS_USED_UP = "attempts-used-up"
    """Parked: sent as often as the settings allow, without effect."""
    NOT_SUSPENDED = "account-in-use"
    """Parked: the account to delete is not suspended (any more)."""
    GROUP_GONE = "group-gone"
    """Parked: the group to change is not there."""
    GROUP_FOREIGN = "group-foreign"
    """Parked: the group to change does not carry our marker (any more)."""
    CONTACT_REFUSED = "contact-refused"
    """Parked: the directory does not take the recovery contact, and there was nothing else to write."""
    CRASHED = "crashed-the-program"
    """Parked: the program died with it under way as often as the settings allow, the last time with nothing else."""
    USER_LIMIT = "user-limit-reached"
    """Throttled: the tenant takes no more accounts. Its creations wait until somebody has made room."""
    REJECTED = "rejected"
    """Parked: the directory says no for good."""
    NOT_AS_WRITTEN = "not-as-written"
    """Contradicted: the directory said yes, and has other values. The attributes' names follow after a colon."""
    UNREADABLE = "unreadable-after-write"
    """Contradicted: the program failed at what the directory has. The fault's class follows after a colon."""
    GONE_AFTER_WRITE = "gone-after-write"
    """Contradicted: the directory said yes, and what was written is not there."""


class Outcome(NamedTuple):
    """How a sending ended. Its state is never `intent`."""

    state: EventState
    reason: str = ""
    status: int | None = None
    target_id: str | None = None
    retry_after_seconds: float | None = None


class Ready(NamedTuple):
    """A change whose account was read and is as the plan saw it: it may be sent."""

    body: dict[str, Any]


class Judgement(NamedTuple):
    """What one reading says, and whether a later one could say otherwise: reads lag behind writes."""

    outcome: Outcome
    final: bool
    found: bool = True
    """Whether it rests on something that was found. What was not found may only not be found just now, or not be there yet."""


ABSENT = Outcome(EventState.ABSENT)
GONE = Judgement(Outcome(EventState.PARKED, ApplyReason.ACCOUNT_GONE), final=False, found=False)


def judge_creation(step: Step, at_address: Account | None, with_marker: Sequence[Account]) -> Judgement:
    """Judge an insert by the account at its address and by those the search finds under its marker.

    Only the marker says whose an account is. An address in other hands proves that our insert had no effect there; an
    account of ours under another address was renamed in between, and making a second one would be wrong.
    """
    candidates = [*with_marker] if at_address is None else [at_address, *with_marker]
    ours = {str(account.get("id")): account for account in candidates if carries_marker(account, step.marker or "")}
    if len(ours) > 1:
        return Judgement(Outcome(EventState.PARKED, ApplyReason.MARKER_TWICE), final=False)
    for target_id, account in ours.items():
        if carries_step(step, account):
            return Judgement(Outcome(EventState.DONE, target_id=target_id), final=True)
        # A fresh account can be read in part only, so this waits for a fuller reading.
        return Judgement(Outcome(EventState.DONE, ApplyReason.FIELDS_DIFFER, target_id=target_id), final=False)
    if at_address is not None:
        foreign = Outcome(EventState.PARKED, ApplyReason.ADDRESS_FOREIGN)
        return Judgement(foreign, final=shows_marker(at_address))
    return Judgement(ABSENT, final=False, found=False)


def judge_update(step: Step, account: Account | None) -> Judgement:
    """Judge an update by the account with its immutable id, before it is sent as after. Absent means: it may be sent.

    What carries the step already is done, whoever did it; everything else that is not ours, or an administrator's, stays as it is.
    """
    if account is None:
        return GONE
    refusal = _refuse_account(step, account)
    if refusal is not None and refusal.outcome.reason == ApplyReason.ACCOUNT_FOREIGN:
        return refusal
    if carries_step(step, account):
        return Judgement(Outcome(EventState.DONE, target_id=step.target_id), final=True)
    if refusal is not None:
        return refusal
    if stands_before(step, account):
        # Values are absolute: sending them twice has the effect of once, so there is nothing to wait for.
        return Judgement(ABSENT, final=True)
    return Judgement(Outcome(EventState.PARKED, ApplyReason.DRIFT), final=False)


def judge_orgunit(step: Step, paths: set[str]) -> Judgement:
    """Judge a unit by the paths that exist; the directory does not tell their cases apart, and makes no path twice."""
    there = (step.ou_path or "").lower() in {path.lower() for path in paths}
    return Judgement(Outcome(EventState.DONE) if there else ABSENT, final=True)


def judge_undelete(step: Step, account: Account | None) -> Judgement:
    """Judge an undeletion by the live account with its immutable id. A deleted one is not found, and may be restored."""
    if account is None:
        return Judgement(ABSENT, final=False, found=False)
    if not carries_marker(account, step.marker or ""):
        return Judgement(Outcome(EventState.PARKED, ApplyReason.ACCOUNT_FOREIGN), final=shows_marker(account))
    return Judgement(Outcome(EventState.DONE, target_id=step.target_id), final=True)


def judge_delete(step: Step, account: Account | None) -> Judgement:
    """Judge a deletion by the live account with its immutable id. Only one that is ours and still suspended may go.

    One that is not there may only not be found just now.
    """
    if account is None:
        return Judgement(Outcome(EventState.DONE, target_id=step.target_id), final=False, found=False)
    refusal = _refuse_account(step, account)
    if refusal is not None:
        return refusal
    if not account.get("suspended", False):
        return Judgement(Outcome(EventState.PARKED, ApplyReason.NOT_SUSPENDED), final=True)
    return Judgement(ABSENT, final=False)


def judge_alias(step: Step, account: Account | None, *, wanted: bool) -> Judgement:
    """Judge an alias of the account with the immutable id. `ABSENT` itself means: it may be sent."""
    if account is None:
        return GONE
    refusal = _refuse_account(step, account)
    if refusal is not None:
        return refusal
    if has_alias(account, step.alias or "") is wanted:
        return Judgement(Outcome(EventState.DONE, target_id=step.target_id), final=True)
    return Judgement(ABSENT, final=False)


def _refuse_account(step: Step, account: Account) -> Judgement | None:
    """Why an account must not be touched at all: it is not ours, or an administrator's."""
    if not carries_marker(account, step.marker or ""):
        return Judgement(Outcome(EventState.PARKED, ApplyReason.ACCOUNT_FOREIGN), final=shows_marker(account))
    if is_administrator(account):
        return Judgement(Outcome(EventState.PARKED, ApplyReason.ADMINISTRATOR), final=True)
    return None


def judge_group(step: Step, group: Mapping[str, Any] | None) -> Judgement:
    """Judge a group's creation by what stands at its address."""
    if group is None:
        return Judgement(ABSENT, final=False, found=False)
    if carries_group_marker(group, step.marker):
        return Judgement(Outcome(EventState.DONE, target_id=str(group.get("id"))), final=True)
    return Judgement(Outcome(EventState.PARKED, ApplyReason.ADDRESS_FOREIGN), final=True)


def refuse_group(step: Step, group: Mapping[str, Any] | None) -> Judgement | None:
    """Why a group's members must not be touched, or nothing. A group that was just made may not be found yet."""
    if group is None:
        return Judgement(Outcome(EventState.PARKED, ApplyReason.GROUP_GONE), final=False, found=False)
    if not carries_group_marker(group, step.marker):
        return Judgement(Outcome(EventState.PARKED, ApplyReason.GROUP_FOREIGN), final=True)
    return None


def is_user_limit(reply: Reply) -> bool:
    """Whether an insert was refused because the customer may have no more accounts (412, "Domain user limit reached")."""
    return reply.status == 412 and reply.reason == "limitExceeded"


def contact_refusal(body: Mapping[str, Any], reply: Reply) -> Outcome | None:
    """What becomes of a request that is refused as invalid while it carries recovery contacts; None for any other.

    Which field was wrong no reason word says, and the register's contacts are the likeliest. Nobody is to go without an account,
    or without a change of school, for a mistyped number: everything else is sent again.
    """
    if reply.status != 400 or not any(name in body for name in CONTACT_FIELDS):
        return None
    alone = all(name in CONTACT_FIELDS for name in body)
    return Outcome(EventState.PARKED if alone else EventState.ABSENT, ApplyReason.CONTACT_REFUSED, reply.status)


def rejection(reply: Reply) -> Outcome:
    """A step the directory refused for good, with its reason word as a reason code."""
    word = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", reply.reason).lower()
    known = re.fullmatch(r"[a-z0-9-]{1,64}", word)
    reason = f"{ApplyReason.REJECTED}-{word}" if known else str(ApplyReason.REJECTED)
    return Outcome(EventState.PARKED, reason, reply.status)
