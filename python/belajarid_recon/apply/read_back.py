"""Reading back what was written: "accepted" is not "done".

A directory may answer 200 and change nothing, and somebody else may change an account a moment after us. So every write that was
answered or settled is read again later: at once after a tenant's last step, and once more when the lag has passed for what is not there
yet. What agrees is `confirmed` in the journal. What still does not is `contradicted`, with the names of the attributes that
differ; nothing is sent again, because only a new plan knows what is right by then.

Lists cost a call for 500 accounts, so a domain with many writes is read in pages, and one with few account by account. A list lags longer
than a single account does: it can confirm, and only reading the account itself contradicts.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl

from belajarid_recon.apply.body import STEPS_PER_READ, Step, differing, read_steps
from belajarid_recon.apply.killpoints import KillPoint, reached
from belajarid_recon.apply.operations import TOLD_BY_ACCOUNT, operation_of
from belajarid_recon.apply.result import contradiction
from belajarid_recon.apply.sending import pause
from belajarid_recon.apply.settle import ApplyReason, judge_orgunit
from belajarid_recon.apply.tenant import ApplyScope
from belajarid_recon.directory.chains import PAGE_ACCOUNTS, pages
from belajarid_recon.directory.governor import StoppedError
from belajarid_recon.directory.interface import Account, Directory, MemberPage, StaleTokenError
from belajarid_recon.directory.observed import account_key_of, carries_marker
from belajarid_recon.directory.snapshot import SnapshotFacts, read_facts, read_part
from belajarid_recon.errors import DirectoryError, InputError
from belajarid_recon.schemas import Action, Jenjang
from belajarid_recon.state.journal import Event, EventState

ACCOUNTS_AT_ONCE = 10_000
"""Listed accounts in memory before they are compared: each comparison goes once through the tenant's steps."""
ACCOUNTS_PER_COMMIT = 64
"""Accounts read one by one before what they say is committed: what a kill costs is reading these again."""
_UNIT = pl.col("action") == Action.CREATE_ORGUNIT
_MEMBER = pl.col("action").is_in([Action.ADD_MEMBER.value, Action.REMOVE_MEMBER.value])
_OF_ACCOUNT = pl.col("action").is_in(TOLD_BY_ACCOUNT)
MEMBERS_LISTED_MIN = 3
"""Changes of one group from which its list is read: it takes a call or two, and each change alone takes two."""
_EVERY = pl.lit(value=True)
_FINDING = ("step", "account_key", "target_id", "address")
_PLACED = pl.Schema({"target_id": pl.String, "domain": pl.String})


def read_back(step: Step, account: Account | None) -> str:
    """What an account, as it is read later, says against a step that is done: a reason as `contradiction` writes it, or nothing."""
    if account is None:
        return contradiction(ApplyReason.GONE_AFTER_WRITE)
    names = differing(step, account)
    if not carries_marker(account, step.marker or ""):
        names = ("marker", *names)
    return contradiction(ApplyReason.NOT_AS_WRITTEN, names) if names else ""


class Places:
    """Which domain each account of a plan is in, and how many pages the domains have, by the run's snapshot.

    Shared by the tenants, and read at the first question. Without a readable snapshot nothing is known: accounts are read one by one.
    """

    def __init__(self, snapshot: Path, steps: pl.DataFrame) -> None:
        self._snapshot = snapshot
        self._steps = steps
        self._lock = threading.Lock()
        self._known: tuple[SnapshotFacts | None, pl.DataFrame] | None = None

    def with_domains(self, steps: pl.DataFrame) -> pl.DataFrame:
        """Steps (`target_id`, `address`) with a column `domain`: where the account is after the step; null where nobody knows."""
        _, placed = self._read()
        written = pl.col("address").str.to_lowercase().str.split("@").list.last()
        there = steps.join(placed, on="target_id", how="left", maintain_order="left")
        return there.with_columns(domain=pl.coalesce(written, "domain"))

    def pages(self, tenant: str, domain: str) -> int | None:
        """Calls that a list of the domain takes once the plan is carried out; None where the snapshot does not know it."""
        facts, _ = self._read()
        domains = facts.tenants.get(tenant, {}).get("domains", {}) if facts is not None else {}
        if domain not in domains:
            return None
        arriving = self._steps.filter(
            (pl.col("tenant") == tenant) & pl.col("address").str.to_lowercase().str.ends_with(f"@{domain}")
        ).height
        return -(-(int(domains[domain]["accounts"]) + arriving) // PAGE_ACCOUNTS)

    def _read(self) -> tuple[SnapshotFacts | None, pl.DataFrame]:
        with self._lock:
            if self._known is None:
                self._known = self._placed()
            return self._known

    def _placed(self) -> tuple[SnapshotFacts | None, pl.DataFrame]:
        """The snapshot's facts, and the domains of the accounts that steps change without writing an address."""
        stays = pl.col("target_id").is_not_null() & pl.col("address").is_null()
        targets = self._steps.filter(stays).select("target_id").unique()
        placed = [_PLACED.to_frame()]
        facts = None
        with suppress(InputError):
            facts = read_facts(self._snapshot)
            for part in range(facts.parts if targets.height else 0):
                seen = read_part(self._snapshot, part).select("domain", target_id="id")
                placed.append(seen.join(targets, on="target_id", how="semi").select(_PLACED.names()))
        # An id stands for one account, and a join must not multiply steps.
        return facts, pl.concat(placed).unique("target_id")


class ReadBack:
    """Confirms one tenant's writes. Its work is in the journal alone, so that a start goes on where a kill left it."""

    def __init__(
        self,
        tenant: str,
        directory: Directory,
        scope: ApplyScope,
        places: Places,
        record: Callable[[list[Event]], None],
    ) -> None:
        """Take `record`, which makes events durable."""
        self._tenant = tenant
        self._directory = directory
        self._scope = scope
        self._places = places
        self._record = record

    def run(self) -> None:
        """Read back every step of the tenant that was sent and is done. Returns early when asked to stop."""
        with suppress(StoppedError):
            self._run()

    def _run(self) -> None:
        if self._stopped or self._unread(_EVERY).is_empty():
            return
        began = self._scope.clock.monotonic()
        self._read(last=False)
        if self._stopped or self._unread(_EVERY).is_empty():
            return
        remaining = began + self._scope.settings.apply.lag_seconds - self._scope.clock.monotonic()
        if pause(self._scope.clock, self._scope.stop, remaining):
            self._read(last=True)

    @property
    def _stopped(self) -> bool:
        return self._scope.stop.is_set()

    def _unread(self, condition: pl.Expr) -> pl.DataFrame:
        """Steps of the tenant that are to be read back: what finds their accounts (_FINDING), not what was written."""
        of_tenant = (pl.col("tenant") == self._tenant) & condition
        return self._still_unread(self._scope.steps.lazy().filter(of_tenant).select(_FINDING).collect())

    def _still_unread(self, steps: pl.DataFrame) -> pl.DataFrame:
        awaits = map(self._scope.journal.awaits_reading, steps["step"])
        return steps.filter(pl.Series(awaits, dtype=pl.Boolean))

    def _whole(self, steps: pl.DataFrame) -> Iterator[Step]:
        """The same steps with everything they wrote, a slice in memory at a time. A plan's step is the number of its row."""
        for start in range(0, steps.height, STEPS_PER_READ):
            yield from read_steps(self._scope.steps[steps["step"].slice(start, STEPS_PER_READ)], _EVERY)

    def _read(self, *, last: bool) -> None:
        """Read everything that is unread, each domain by whatever takes fewer calls; the last time contradict what does not agree."""
        self._read_units(last=last)
        self._read_members()
        self._read_others(self._unread(~_UNIT & ~_OF_ACCOUNT), last=last)
        placed = self._places.with_domains(self._unread(_OF_ACCOUNT))
        for (domain,), steps in placed.group_by("domain", maintain_order=True):
            pages = None if domain is None else self._places.pages(self._tenant, str(domain))
            if pages is None or steps.height <= pages:
                self._read_each(steps, last=last)
                continue
            self._read_pages(str(domain), steps)
            if last:
                self._read_each(self._still_unread(steps), last=True)

    def _read_units(self, *, last: bool) -> None:
        """One call tells of all units."""
        units = list(self._whole(self._unread(_UNIT)))
        if not units or self._stopped:
            return
        paths = self._directory.orgunit_paths()
        there = {step.step: judge_orgunit(step, paths).outcome.state is EventState.DONE for step in units}
        gone = contradiction(ApplyReason.GONE_AFTER_WRITE)
        self._commit([(step, "" if there[step.step] else gone) for step in units], last=last)

    def _read_members(self) -> None:
        """Confirm what the member lists of groups with several changes show: a call tells of 200 members."""
        members = self._unread(_MEMBER)
        for (group,), steps in members.group_by("address", maintain_order=True):
            if steps.height < MEMBERS_LISTED_MIN or self._stopped:
                continue
            with suppress(StaleTokenError, DirectoryError):  # then they are read one by one
                there = self._members(str(group))
                agree = [
                    (step, "")
                    for step in self._whole(steps)
                    if (step.member_id in there) is (step.action == Action.ADD_MEMBER)
                ]
                self._commit(agree, last=False)

    def _members(self, group: str) -> set[Any]:
        """Ids of a group's members. Raises DirectoryError where it is not there."""
        found: set[Any] = set()
        for page in pages(lambda token: self._member_page(group, token), "members", self._scope.stop):
            found.update(member.get("id") for member in page.members)
        return found

    def _member_page(self, group: str, token: str | None) -> MemberPage:
        page = self._directory.list_members(group, token)
        if page is None:
            raise DirectoryError("a group has gone while its members were read back")
        return page

    def _read_others(self, steps: pl.DataFrame, *, last: bool) -> None:
        """Read what no list of accounts tells, as settling does."""
        self._read_all(steps, self._judge, last=last)

    def _read_each(self, steps: pl.DataFrame, *, last: bool) -> None:
        """Read account by account."""
        self._read_all(steps, self._get, last=last)

    def _read_all(self, steps: pl.DataFrame, read: Callable[[Step], str], *, last: bool) -> None:
        """Read step by step, as many at once as the tenant may have calls under way."""

        def told(step: Step) -> tuple[Step, str] | None:
            return None if self._stopped else (step, read(step))

        left = self._whole(steps)
        with ThreadPoolExecutor(self._scope.settings.apply.in_flight, f"read-back-{self._tenant}") as pool:
            while group := list(islice(left, ACCOUNTS_PER_COMMIT)):
                self._commit([found for found in pool.map(told, group) if found is not None], last=last)
                if self._stopped:
                    return

    def _get(self, step: Step) -> str:
        """What the account of a step says against it: a new one read by its address, every other by its immutable id."""
        key = step.address if step.is_creation else step.target_id
        return read_back(step, self._directory.get_account(key or ""))

    def _judge(self, step: Step) -> str:
        """What settling would say against a step."""
        outcome = operation_of(step).read(self._directory, step).outcome
        return "" if outcome.state is EventState.DONE else contradiction(ApplyReason.NOT_AS_WRITTEN)

    def _read_pages(self, domain: str, steps: pl.DataFrame) -> None:
        """Confirm what the domain's list shows. A list that must start again has confirmed what it has."""
        for accounts in self._listed(domain):
            found = self._agreeing(steps, accounts)
            self._commit([(step, "") for step in found.values()], last=False)
            if self._stopped:
                return

    def _listed(self, domain: str) -> Iterator[list[dict[str, Any]]]:
        """Accounts of a domain, ACCOUNTS_AT_ONCE or a few more."""
        accounts: list[dict[str, Any]] = []
        what = f"accounts: {domain}"
        with suppress(StaleTokenError):
            for page in pages(lambda token: self._directory.list_accounts(domain, token), what, threading.Event()):
                accounts += page.accounts
                if len(accounts) >= ACCOUNTS_AT_ONCE or self._stopped:
                    yield accounts
                    accounts = []
        if accounts:
            yield accounts

    def _agreeing(self, steps: pl.DataFrame, accounts: list[dict[str, Any]]) -> Mapping[int, Step]:
        """Steps, by number, whose account is among `accounts` and as the step wrote it."""
        jenjang = Jenjang(self._tenant)
        keys = [account_key_of(account.get("externalIds"), jenjang)[0] for account in accounts]
        listed = pl.DataFrame({"account_key": keys}, schema={"account_key": pl.Binary}).with_row_index("place")
        pairs = steps.join(listed, on="account_key", how="inner").select("step", "place")
        found = {}
        for step, place in zip(self._whole(pairs), pairs["place"], strict=True):
            account = accounts[place]
            if step.target_id in {None, account.get("id")} and not read_back(step, account):
                found[step.step] = step
        return found

    def _commit(self, judged: list[tuple[Step, str]], *, last: bool) -> None:
        """Write what was found out about steps: an empty reason confirms, and another contradicts if nothing is read after it."""
        reached(KillPoint.READ_BACK)
        events = [
            Event(step.step, 0, EventState.CONTRADICTED if reason else EventState.CONFIRMED, reason=reason)
            for step, reason in judged
            if last or not reason
        ]
        if events:
            self._record(events)
            reached(KillPoint.READ_BACK_COMMITTED)
