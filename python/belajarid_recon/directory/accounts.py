"""One list of accounts read to its end, page by page, into a work that a later start can go on with."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import polars as pl

from belajarid_recon.components import Clock
from belajarid_recon.directory.chains import from_the_start, pages
from belajarid_recon.directory.interface import Directory, Page, StaleTokenError
from belajarid_recon.directory.observed import ObservedColumns
from belajarid_recon.directory.reading import LIVE, Work
from belajarid_recon.schemas import Jenjang

CHUNK_ACCOUNTS = 50_000
"""Accounts of a spool file: about 12 MB of columns held by each list under way, and the most a stop makes a list read again."""
_BEFORE = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class AccountList:
    """One list to read: the accounts of a domain, live or deleted."""

    directory: Directory
    tenant: Jenjang
    domain: str
    deleted: bool
    clock: Clock
    report: Callable[[str, int], None]
    """Called with the tenant and the number of live accounts just read."""
    stop: threading.Event
    """Set when the snapshot has failed: no list goes on for its own sake."""

    @property
    def name(self) -> str:
        """Of its work."""
        return f"{self.tenant}.{self.domain}.{'deleted' if self.deleted else LIVE}"

    @property
    def what(self) -> str:
        """The list, in messages."""
        return f"accounts: {self.domain}"


@dataclass
class ListRead:
    """How far one list has come."""

    accounts: int = 0
    findings: Counter[str] = field(default_factory=Counter)
    token: str | None = None
    """Of the next page; None before the first and after the last."""
    read_at: datetime = _BEFORE
    """When its newest page was read."""
    done: bool = False

    @classmethod
    def of(cls, noted: dict[str, Any]) -> ListRead:
        """As noted."""
        if not noted:
            return cls()
        findings, read_at = Counter(noted["findings"]), datetime.fromisoformat(noted["read_at"])
        return cls(noted["accounts"], findings, noted["token"], read_at, done=noted["token"] is None)

    def to_note(self) -> dict[str, Any]:
        """For the work's note."""
        return {
            "accounts": self.accounts,
            "findings": dict(self.findings),
            "token": self.token,
            "read_at": self.read_at.isoformat(),
        }


def read_accounts(listed: AccountList, work: Work) -> ListRead:
    """Read a list to its end from where its work stands; where its page token expires, from its beginning again.

    Raises DirectoryError when it cannot be read to its end.
    """
    noted = ListRead.of(work.progress)
    if noted.accounts and not listed.deleted:
        listed.report(str(listed.tenant), noted.accounts)

    def read() -> ListRead:
        try:
            return _read_pages(listed, work)
        except StaleTokenError:
            work.begin_anew()
            raise

    return from_the_start(read, listed.what)


def _read_pages(listed: AccountList, work: Work) -> ListRead:
    read = ListRead.of(work.progress)
    if read.done:
        return read
    columns = ObservedColumns(listed.tenant)
    columns.findings = read.findings

    def list_page(token: str | None) -> Page:
        return listed.directory.list_accounts(listed.domain, token, deleted=listed.deleted)

    for page in pages(list_page, listed.what, listed.stop, read.token):
        # Never earlier than the page before, whatever the clock of this start says: of an account listed twice the later reading stays.
        read.read_at = max(read.read_at, listed.clock.now())
        if listed.deleted:
            columns.add_deleted(page.accounts)
        else:
            columns.add(page.accounts, read.read_at)
            listed.report(str(listed.tenant), len(page.accounts))
        read.accounts += len(page.accounts)
        read.token = page.next_token
        if read.token is None or len(columns.user_ids) >= CHUNK_ACCOUNTS:
            _spill(columns, work)
            work.note(read.to_note())
    return read


def _spill(columns: ObservedColumns, work: Work) -> None:
    """Write what the columns hold to the next spool files."""
    accounts, user_ids, deleted = columns.take_frame(), columns.take_user_ids(), columns.take_deleted()
    if deleted.height:
        work.add("deleted", deleted)
    if accounts.height:
        work.add("accounts", accounts)
    if user_ids:
        work.add("addresses", pl.DataFrame({"user_id": user_ids}, schema={"user_id": pl.String}).unique())
