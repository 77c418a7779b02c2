"""What each action sends, and how its effect is read: one operation an action, and no other place that tells actions apart.

All of them are absolute: sending one twice has the effect of once. What a reading means is judged in `settle`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from belajarid_recon.apply import settle
from belajarid_recon.apply.body import Step, completed, group_body, insert_body, orgunit_body, update_body
from belajarid_recon.apply.settle import ABSENT, ApplyReason, Judgement, Outcome
from belajarid_recon.directory.interface import Directory, Readable, Reply
from belajarid_recon.schemas import Action
from belajarid_recon.state.journal import EventState


class Look(NamedTuple):
    """What a reading before the intent says: the judgement, and the request that may be sent if nothing stands against it."""

    judgement: Judgement
    body: dict[str, Any]


class Operation(ABC):
    """How one action is carried out. Holds no state: shared by all threads and tenants."""

    looks_first = True
    """Whether what is changed is read before its intent. Creations have nothing to look at, and the quota would pay for it."""

    told_by_account = True
    """Whether the account, as a list shows it, tells later that the step is done."""

    def body(self, step: Step) -> dict[str, Any]:
        """The step's request as the plan alone makes it, without a password."""
        del step
        return {}

    @abstractmethod
    def send(self, directory: Directory, step: Step, body: dict[str, Any]) -> Reply:
        """Send it once."""

    @abstractmethod
    def read(self, directory: Readable, step: Step) -> Judgement:
        """Judge by reading what a sending did."""

    def look(self, directory: Directory, step: Step, body: dict[str, Any]) -> Look:
        """Judge by reading whether it may be sent."""
        return Look(self.read(directory, step), body)

    def confirmed(self, step: Step, reply: Reply) -> Outcome | None:
        """The outcome that a 2xx proves; None when its answer does not carry what was asked, and reading must tell."""
        return Outcome(EventState.DONE, "", reply.status, step.target_id)

    def refused(self, directory: Directory, step: Step, reply: Reply) -> Outcome:
        """The outcome of a reply that says no for good."""
        del directory, step
        return settle.rejection(reply)

    def _there_or_refused(self, directory: Directory, step: Step, reply: Reply) -> Outcome:
        """What a reading says when it says that the step is done, else the refusal."""
        outcome = self.read(directory, step).outcome
        return outcome if outcome.state is EventState.DONE else settle.rejection(reply)


class CreateOrgunit(Operation):
    """orgunits.insert."""

    looks_first = False
    told_by_account = False

    def body(self, step: Step) -> dict[str, Any]:
        """Name and parent."""
        return orgunit_body(step)

    def send(self, directory: Directory, step: Step, body: dict[str, Any]) -> Reply:
        """Send it once."""
        del step
        return directory.insert_orgunit(body["parentOrgUnitPath"], body["name"])

    def read(self, directory: Readable, step: Step) -> Judgement:
        """Judge by all paths."""
        return settle.judge_orgunit(step, directory.orgunit_paths())

    def refused(self, directory: Directory, step: Step, reply: Reply) -> Outcome:
        """A unit that is there already is refused like one with a bad name; what counts is that it is there."""
        return self._there_or_refused(directory, step, reply)


class CreateAccount(Operation):
    """users.insert."""

    looks_first = False

    def body(self, step: Step) -> dict[str, Any]:
        """Everything but the password."""
        return insert_body(step)

    def send(self, directory: Directory, step: Step, body: dict[str, Any]) -> Reply:
        """Send it once."""
        del step
        return directory.insert_account(body)

    def read(self, directory: Readable, step: Step) -> Judgement:
        """Judge by the account at the address; where it is not plainly ours, ours may stand under another address."""
        at_address = directory.get_account(_required(step.address))
        judgement = settle.judge_creation(step, at_address, ())
        if judgement.final and judgement.outcome.state is EventState.DONE:
            return judgement
        return settle.judge_creation(step, at_address, directory.find_by_marker(_required(step.marker)))

    def confirmed(self, step: Step, reply: Reply) -> Outcome | None:
        """The directory's client has compared address and marker; the fields are read back later."""
        del step
        if reply.account is None or not reply.account.get("id"):
            return None
        return Outcome(EventState.DONE, "", reply.status, str(reply.account["id"]))

    def refused(self, directory: Directory, step: Step, reply: Reply) -> Outcome:
        """A tenant that takes no more accounts refuses none of them for good."""
        if settle.is_user_limit(reply):
            return Outcome(EventState.THROTTLED, ApplyReason.USER_LIMIT, reply.status)
        return super().refused(directory, step, reply)


class ChangeAccount(Operation):
    """users.update of whatever attributes the step writes."""

    def body(self, step: Step) -> dict[str, Any]:
        """Absolute values."""
        return update_body(step)

    def send(self, directory: Directory, step: Step, body: dict[str, Any]) -> Reply:
        """Send it once."""
        return directory.update_account(_required(step.target_id), body)

    def read(self, directory: Readable, step: Step) -> Judgement:
        """Judge by the account with the immutable id."""
        return settle.judge_update(step, directory.get_account(_required(step.target_id)))

    def look(self, directory: Directory, step: Step, body: dict[str, Any]) -> Look:
        """The same reading completes the request: lists are replaced whole."""
        account = directory.get_account(_required(step.target_id))
        judgement = settle.judge_update(step, account)
        return Look(judgement, body if account is None else completed(step, body, account))

    def confirmed(self, step: Step, reply: Reply) -> Outcome | None:
        """The answer is the account: it must be the right one and carry the step."""
        account = reply.account
        if account is None or account.get("id") != step.target_id:
            return None
        if settle.judge_update(step, account).outcome.state is not EventState.DONE:
            return None
        return Outcome(EventState.DONE, "", reply.status, step.target_id)


class UndeleteAccount(Operation):
    """users.undelete, by immutable id."""

    def body(self, step: Step) -> dict[str, Any]:
        """The unit it comes back to."""
        return {"orgUnitPath": step.ou_path}

    def send(self, directory: Directory, step: Step, body: dict[str, Any]) -> Reply:
        """Send it once."""
        return directory.undelete_account(_required(step.target_id), body["orgUnitPath"])

    def refused(self, directory: Directory, step: Step, reply: Reply) -> Outcome:
        """An account that is back already is refused like one that is gone for good; what counts is that it is there."""
        return self._there_or_refused(directory, step, reply)

    def read(self, directory: Readable, step: Step) -> Judgement:
        """Judge by the account with the immutable id."""
        return settle.judge_undelete(step, directory.get_account(_required(step.target_id)))


class DeleteAccount(Operation):
    """users.delete, by immutable id, of an account that is still suspended."""

    told_by_account = False

    def send(self, directory: Directory, step: Step, body: dict[str, Any]) -> Reply:
        """Send it once."""
        del body
        return directory.delete_account(_required(step.target_id))

    def read(self, directory: Readable, step: Step) -> Judgement:
        """Judge by the account with the immutable id."""
        return settle.judge_delete(step, directory.get_account(_required(step.target_id)))


class AddAlias(Operation):
    """users.aliases.insert."""

    def body(self, step: Step) -> dict[str, Any]:
        """The alias."""
        return {"alias": step.alias}

    def send(self, directory: Directory, step: Step, body: dict[str, Any]) -> Reply:
        """Send it once."""
        return directory.insert_alias(_required(step.target_id), body["alias"])

    def read(self, directory: Readable, step: Step) -> Judgement:
        """Judge by the account, and by who holds the address where the account does not."""
        account = directory.get_account(_required(step.target_id))
        judgement = settle.judge_alias(step, account, wanted=True)
        if judgement.outcome is not ABSENT:
            return judgement
        holder = directory.get_account(_required(step.alias))
        if holder is not None and holder.get("id") != step.target_id:
            return Judgement(Outcome(EventState.PARKED, ApplyReason.ADDRESS_FOREIGN), final=True)
        return judgement


class RemoveAlias(Operation):
    """users.aliases.delete."""

    def body(self, step: Step) -> dict[str, Any]:
        """The alias; the request has it in its path."""
        return {"alias": step.alias}

    def send(self, directory: Directory, step: Step, body: dict[str, Any]) -> Reply:
        """Send it once."""
        return directory.delete_alias(_required(step.target_id), body["alias"])

    def read(self, directory: Readable, step: Step) -> Judgement:
        """Judge by the account with the immutable id."""
        return settle.judge_alias(step, directory.get_account(_required(step.target_id)), wanted=False)


class CreateGroup(Operation):
    """groups.insert, with our marker in the description of the same insert."""

    looks_first = False
    told_by_account = False

    def body(self, step: Step) -> dict[str, Any]:
        """Address, name, description."""
        return group_body(step)

    def send(self, directory: Directory, step: Step, body: dict[str, Any]) -> Reply:
        """Send it once."""
        del step
        return directory.insert_group(body)

    def read(self, directory: Readable, step: Step) -> Judgement:
        """Judge by the group at the address, and by whether an account holds it where no group does."""
        address = _required(step.address)
        judgement = settle.judge_group(step, directory.get_group(address))
        if judgement.outcome is ABSENT and directory.get_account(address) is not None:
            return Judgement(Outcome(EventState.PARKED, ApplyReason.ADDRESS_FOREIGN), final=True)
        return judgement


class _Membership(Operation):
    """What adding and removing a member share: the group must be ours."""

    told_by_account = False
    wanted: bool

    def body(self, step: Step) -> dict[str, Any]:
        """The member by immutable id, as nothing but a member."""
        return {"id": step.member_id, "role": "MEMBER"}

    def read(self, directory: Readable, step: Step) -> Judgement:
        """Judge by the group's marker and by whether the account is in it."""
        address = _required(step.address)
        refusal = settle.refuse_group(step, directory.get_group(address))
        if refusal is not None:
            return refusal
        there = directory.has_member(address, _required(step.member_id))
        if there is self.wanted:
            # A member that is not there may only not be found just now.
            return Judgement(Outcome(EventState.DONE), final=self.wanted, found=there)
        return Judgement(ABSENT, final=False, found=there)


class AddMember(_Membership):
    """members.insert."""

    wanted = True

    def send(self, directory: Directory, step: Step, body: dict[str, Any]) -> Reply:
        """Send it once."""
        return directory.insert_member(_required(step.address), body["id"])


class RemoveMember(_Membership):
    """members.delete."""

    wanted = False

    def send(self, directory: Directory, step: Step, body: dict[str, Any]) -> Reply:
        """Send it once."""
        return directory.delete_member(_required(step.address), body["id"])


_CHANGE = ChangeAccount()
OPERATIONS: Mapping[str, Operation] = MappingProxyType(
    {
        Action.CREATE_ORGUNIT: CreateOrgunit(),
        Action.CREATE: CreateAccount(),
        Action.UPDATE: _CHANGE,
        Action.RENAME: _CHANGE,
        Action.MOVE: _CHANGE,
        Action.PROMOTE: _CHANGE,
        Action.DEMOTE: _CHANGE,
        Action.SUSPEND: _CHANGE,
        Action.RESTORE: _CHANGE,
        Action.UNDELETE: UndeleteAccount(),
        Action.DELETE: DeleteAccount(),
        Action.ADD_ALIAS: AddAlias(),
        Action.REMOVE_ALIAS: RemoveAlias(),
        Action.CREATE_GROUP: CreateGroup(),
        Action.ADD_MEMBER: AddMember(),
        Action.REMOVE_MEMBER: RemoveMember(),
    }
)
"""Every action of the plan (schemas.Action) to how it is carried out."""


def operation_of(step: Step) -> Operation:
    """How the step is carried out."""
    return OPERATIONS[step.action]


TOLD_BY_ACCOUNT = frozenset(action for action, operation in OPERATIONS.items() if operation.told_by_account)
"""Actions that lists of accounts tell about."""


def body_of(step: Step) -> dict[str, Any]:
    """The step's request without a password."""
    return operation_of(step).body(step)


def _required(value: str | None) -> str:
    """A column that this action's steps always have."""
    if value is None:
        raise AssertionError("a step lacks a column its action needs")
    return value
