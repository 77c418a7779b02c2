"""What the stages ask of a directory, one tenant at a time. The Google implementation is beside this file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from belajarid_recon.directory.governor import Governor
from belajarid_recon.errors import DirectoryError

Account = Mapping[str, Any]
"""A user as the Directory API writes it (discovery document, schema User)."""


Group = Mapping[str, Any]
"""A group as the Directory API writes it (schema Group)."""


class Verdict(StrEnum):
    """What a reply to a write means for the step. Nothing but DONE and REJECTED is an outcome."""

    DONE = "done"
    """2xx, and the answer carries what was asked."""
    REJECTED = "rejected"
    """The server says no for good: sending the same again cannot help."""
    THROTTLED = "throttled"
    """Not carried out for want of quota: wait and send again; no attempt is used up."""
    NOT_READY = "not-ready"
    """404 or 412 on an account that was created or renamed a moment ago: wait and send again."""
    AMBIGUOUS = "ambiguous"
    """Time-out, reset, 5xx, 409, or an answer that cannot be read: only reading the directory tells what happened."""


@dataclass(frozen=True)
class Reply:
    """A classified answer to one write."""

    verdict: Verdict
    status: int | None = None
    """HTTP status; None when no answer arrived."""
    reason: str = ""
    """Google's reason word, or ours (connections.Lost, `echo-differs`, `unreadable`). Never text from the body."""
    account: Account | None = None
    """The answer's body when the verdict is DONE, and there is one."""
    retry_after_seconds: float | None = None
    """What Retry-After asked for, if it was sent."""


@dataclass(frozen=True)
class Page:
    """One page of a list of accounts."""

    accounts: list[dict[str, Any]] = field(default_factory=list)
    next_token: str | None = None


@dataclass(frozen=True)
class GroupPage:
    """One page of a list of groups."""

    groups: list[dict[str, Any]] = field(default_factory=list)
    next_token: str | None = None


@dataclass(frozen=True)
class MemberPage:
    """One page of a list of members."""

    members: list[dict[str, Any]] = field(default_factory=list)
    next_token: str | None = None


@dataclass(frozen=True)
class RoleHolderPage:
    """One page of a list of role assignments: the groups among those they are for."""

    group_ids: list[str] = field(default_factory=list)
    next_token: str | None = None


class StaleTokenError(DirectoryError):
    """A list's page token is no longer taken: the list must start again."""


class Readable(Protocol):
    """What judging a step reads."""

    def orgunit_paths(self) -> set[str]:
        """Paths of every organisational unit below the root."""
        ...

    def get_account(self, key: str) -> Account | None:
        """The account with this immutable id, address or alias; None where the server answers 404."""
        ...

    def find_by_marker(self, marker: str) -> Sequence[Account]:
        """Accounts whose externalIds carry `marker`, by the directory's search, which lags."""
        ...

    def get_group(self, address: str) -> Group | None:
        """The group with this address; None where the server answers 404."""
        ...

    def has_member(self, group: str, account_id: str) -> bool:
        """Whether the account is a direct member of the group with this address."""
        ...


class Directory(Readable, Protocol):
    """One tenant of the directory. Reads retry by themselves within their limits and raise DirectoryError; writes are sent once.

    Every call waits for its place in the tenant's quotas by itself, and slows down by itself when the server asks for it: the caller
    paces nothing, and sends a throttled step again at once. A write raises DirectoryError when no step can go on (rights, set-up,
    wrong world); the step's intent is then settled by reading, as after a kill. All methods may be called from several threads.
    """

    @property
    def tenant(self) -> str:
        """The jenjang this tenant serves."""
        ...

    @property
    def governor(self) -> Governor:
        """Who paces this tenant's calls; a caller that has a choice asks it what has room."""
        ...

    def customer_id(self) -> str:
        """The customer id the server says these credentials belong to."""
        ...

    def domains(self) -> list[str]:
        """Every domain of the customer."""
        ...

    def list_accounts(self, domain: str, token: str | None, *, deleted: bool = False) -> Page:
        """One page (500) of the accounts whose primary address is in `domain`, unfiltered. Raises StaleTokenError."""
        ...

    def insert_account(self, body: Mapping[str, Any]) -> Reply:
        """users.insert, sent once."""
        ...

    def update_account(self, account_id: str, body: Mapping[str, Any]) -> Reply:
        """users.update by immutable id, sent once; fields that are absent stay as they are."""
        ...

    def get_orgunit(self, path: str) -> Mapping[str, Any] | None:
        """The unit with this path; None where the server answers 404."""
        ...

    def insert_orgunit(self, parent_path: str, name: str, description: str = "") -> Reply:
        """orgunits.insert, sent once."""
        ...

    def describe_orgunit(self, path: str, description: str) -> Reply:
        """orgunits.patch of the description alone, sent once."""
        ...

    def undelete_account(self, account_id: str, ou_path: str) -> Reply:
        """users.undelete by immutable id, sent once."""
        ...

    def delete_account(self, account_id: str) -> Reply:
        """users.delete by immutable id, sent once."""
        ...

    def insert_alias(self, account_id: str, alias: str) -> Reply:
        """users.aliases.insert, sent once."""
        ...

    def delete_alias(self, account_id: str, alias: str) -> Reply:
        """users.aliases.delete, sent once."""
        ...

    def list_groups(self, domain: str, token: str | None) -> GroupPage:
        """One page (200) of the groups whose address is in `domain`. Raises StaleTokenError."""
        ...

    def list_members(self, group: str, token: str | None) -> MemberPage | None:
        """One page (200) of a group's direct members; None where the server answers 404. Raises StaleTokenError."""
        ...

    def list_role_holders(self, token: str | None) -> RoleHolderPage:
        """The groups in one page (200) of the customer's role assignments: those that hold a role themselves. Raises StaleTokenError."""
        ...

    def insert_group(self, body: Mapping[str, Any]) -> Reply:
        """groups.insert, sent once."""
        ...

    def insert_member(self, group: str, account_id: str) -> Reply:
        """members.insert with role MEMBER, sent once."""
        ...

    def delete_member(self, group: str, account_id: str) -> Reply:
        """members.delete, sent once."""
        ...
