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
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path
from typing import Any

import polars as pl

from belajarid_recon.apply.body import Step, differing, read_steps
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
from belajarid_recon.errors import DirectoryError, InputError, ReconError
from belajarid_recon.plan.steps import Steps
from belajarid_recon.schemas import Action, Jenjang, compact
from belajarid_recon.state.journal import Event, EventState

ACCOUNTS_AT_ONCE = 10_000
"""Listed accounts of the plan in memory before they are compared: each comparison goes through the tenant's steps, which lie in another
order than the list."""
SIEVE_BYTES = 2**22
"""Of a sieve, for each tenant that reads lists: with two million steps a sixteenth of the other accounts passes."""
STEPS_PER_COMMIT = 64
"""Steps read one by one before what they say is committed: what a kill costs is reading these again."""
MEMBERS_LISTED_MIN = 3
"""Changes of one group from which its list is read: it takes a call or two, and each change alone takes two."""
_UNITS = (Action.CREATE_ORGUNIT,)
_MEMBERS = (Action.ADD_MEMBER, Action.REMOVE_MEMBER)
_OTHERS = frozenset(Action) - TOLD_BY_ACCOUNT - set(_UNITS)
"""What no list of accounts tells, members that no list of theirs has told among them."""
_OF_THERE = TOLD_BY_ACCOUNT - {Action.CREATE}
"""Actions on accounts that a snapshot may show."""
_MEMBER = pl.Schema({"step": pl.Int64, "action": pl.String, "address": pl.String, "member_id": pl.String})
_FOUND = pl.Schema({"step": pl.Int64, "domain": pl.String})
_WRITTEN = pl.col("address").str.to_lowercase().str.split("@").list.last()


def read_back(step: Step, account: Account | None) -> str:
    """What an account, as it is read later, says against a step that is done: a reason as `contradiction` writes it, or nothing."""
    if account is None:
        return contradiction(ApplyReason.GONE_AFTER_WRITE)
    names = differing(step, account)
    if not carries_marker(account, step.marker or ""):
        names = ("marker", *names)
    return contradiction(ApplyReason.NOT_AS_WRITTEN, names) if names else ""


def _told(read: Callable[[Step], str], step: Step) -> str:
    """What `read` says against a step. What no reading can make sense of is not as it was written, and stops no run."""
    try:
        return read(step)
    except (ReconError, StoppedError, MemoryError):
        raise
    except Exception as error:
        return contradiction(ApplyReason.UNREADABLE, (type(error).__name__,))


def _agrees(step: Step, account: Account) -> bool:
    """Whether an account of the step's person is the step's own and as it wrote it."""
    return step.target_id in {None, account.get("id")} and not _told(lambda step: read_back(step, account), step)


_Accounts = dict[bytes, list[dict[str, Any]]]
"""Listed accounts by account key: two may carry one marker."""


class _Sieve:
    """Account keys, as a bit each: lets through all that were added and few others. A list of 24 million accounts is mostly others."""

    def __init__(self) -> None:
        self._bits = bytearray(SIEVE_BYTES)

    def add(self, key: bytes) -> None:
        """Let a key through from now."""
        place, bit = self._of(key)
        self._bits[place] |= bit

    def __contains__(self, key: bytes) -> bool:
        place, bit = self._of(key)
        return bool(self._bits[place] & bit)

    @staticmethod
    def _of(key: bytes) -> tuple[int, int]:
        # Keys are digests: any of their bits are as good as a hash.
        number = int.from_bytes(key[:8], "big")
        return (number >> 3) % SIEVE_BYTES, 1 << (number & 7)


class Places:
    """Which domain each account of a plan is in, and how many pages the domains have, by the run's snapshot.

    Shared by the tenants, and read at the first question. Without a readable snapshot nothing is known: accounts are read one by one.
    Memory is a byte a step and one part of the snapshot; time is, for each part, a pass over a few columns of the steps.
    """

    def __init__(self, snapshot: Path, steps: Steps) -> None:
        self._snapshot = snapshot
        self._steps = steps
        self._lock = threading.Lock()
        self._facts: SnapshotFacts | None = None
        self._domains: list[str | None] = [None]
        self._places: bytearray | None = None
        """Index in `_domains` of the account of each step that writes no address; 0 where nobody knows."""
        self._arriving: Counter[tuple[str, str]] = Counter()
        """Steps that write an address, by tenant and domain."""

    def domain_of(self, steps: pl.DataFrame) -> pl.Series:
        """Where the account of each of these steps (`step`, `address`) is after the step; null where nobody knows."""
        places = self._read()
        stays = pl.Series([self._domains[places[step]] for step in steps["step"]], dtype=pl.String)
        return steps.select(pl.coalesce(_WRITTEN, stays)).to_series()

    def pages(self, tenant: str, domain: str) -> int | None:
        """Calls that a list of the domain takes once the plan is carried out; None where the snapshot does not know it."""
        self._read()
        domains = self._facts.tenants.get(tenant, {}).get("domains", {}) if self._facts is not None else {}
        if domain not in domains:
            return None
        return -(-(int(domains[domain]["accounts"]) + self._arriving[tenant, domain]) // PAGE_ACCOUNTS)

    def _read(self) -> bytearray:
        with self._lock:
            if self._places is None:
                for rows in self._steps.pieces(columns=("tenant", "address")):
                    self._arriving.update(rows.select("tenant", _WRITTEN).drop_nulls().iter_rows())
                self._places = bytearray(self._steps.height)
                with suppress(InputError):
                    self._facts = read_facts(self._snapshot)
                    self._place(self._facts, self._places)
            return self._places

    def _place(self, facts: SnapshotFacts, places: bytearray) -> None:
        """Find the accounts of steps that write no address, part by part."""
        names = {domain for tenant in facts.tenants.values() for domain in tenant["domains"]}
        self._domains += sorted(names)[: 2**8 - 1]
        index = {domain: place for place, domain in enumerate(self._domains)}
        stays = any(True for _ in self._steps.numbers(actions=_OF_THERE))
        for part in range(facts.parts if stays else 0):
            seen = read_part(self._snapshot, part).select("account_key", "domain", target_id="id")
            for step, domain in self._found(seen).iter_rows():
                places[step] = index.get(domain, 0)

    def _found(self, seen: pl.DataFrame) -> pl.DataFrame:
        """`step` and `domain` of the steps whose account is among `seen`, which is sorted by account key."""
        if seen.is_empty():
            return pl.DataFrame(schema=_FOUND)
        here = pl.col("address").is_null() & pl.col("account_key").is_between(seen.item(0, 0), seen.item(-1, 0))
        columns = ("step", "account_key", "target_id", "address")
        steps = pl.concat(
            compact(rows.filter(here).select("step", "target_id"))
            for rows in self._steps.pieces(actions=_OF_THERE, columns=columns)
        )
        return steps.join(seen, on="target_id", how="inner").select("step", "domain")


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
        self._stop = scope.stops[tenant]
        self._places = places
        self._record = record

    def run(self) -> None:
        """Read back every step of the tenant that was sent and is done. Returns early when asked to stop."""
        with suppress(StoppedError):
            self._run()

    def _run(self) -> None:
        if self._stopped or not self._awaits():
            return
        began = self._scope.clock.monotonic()
        self._read(last=False)
        if self._stopped or not self._awaits():
            return
        remaining = began + self._scope.settings.apply.lag_seconds - self._scope.clock.monotonic()
        if pause(self._scope.clock, self._stop, remaining):
            self._read(last=True)

    @property
    def _stopped(self) -> bool:
        return self._stop.is_set()

    def _unread(self, actions: Collection[str] | None = None) -> Iterator[int]:
        """Numbers of the tenant's steps that are to be read back. Asks the journal, and reads no step."""
        return filter(self._scope.journal.awaits_reading, self._scope.steps.numbers(self._tenant, actions))

    def _awaits(self, actions: Collection[str] | None = None) -> bool:
        """Whether any step is to be read back."""
        return next(self._unread(actions), None) is not None

    def _whole(self, numbers: Iterable[int]) -> Iterator[Step]:
        """Steps with everything they wrote, a slice in memory at a time."""
        return read_steps(self._scope.steps.at(numbers))

    def _read(self, *, last: bool) -> None:
        """Read everything that is unread, each domain by whatever takes fewer calls; the last time contradict what does not agree."""
        self._read_units(last=last)
        self._read_members()
        self._read_all(self._whole(self._unread(_OTHERS)), self._judge, last=last)
        for domain, count in self._domains().items():
            pages = None if domain is None else self._places.pages(self._tenant, domain)
            listed = domain is not None and pages is not None and count > pages
            if listed:
                self._read_pages(str(domain))
            if last or not listed:
                self._read_all(self._unread_in(domain), self._get, last=last)

    def _domains(self) -> Counter[str | None]:
        """Domains with accounts to be read back, and how many; None for those of which nobody knows where they are."""
        counts: Counter[str | None] = Counter()
        for rows in self._scope.steps.at(self._unread(TOLD_BY_ACCOUNT), ("step", "address")):
            counts.update(self._places.domain_of(rows))
        return counts

    def _unread_in(self, domain: str | None) -> Iterator[Step]:
        """Steps whose accounts are in this domain and to be read back."""
        for rows in self._scope.steps.at(self._unread(TOLD_BY_ACCOUNT)):
            yield from read_steps([rows.filter(self._places.domain_of(rows).eq_missing(domain))])

    def _read_units(self, *, last: bool) -> None:
        """One call tells of all units."""
        if self._stopped or not self._awaits(_UNITS):
            return
        paths = self._directory.orgunit_paths()

        def missing(step: Step) -> str:
            there = judge_orgunit(step, paths).outcome.state is EventState.DONE
            return "" if there else contradiction(ApplyReason.GONE_AFTER_WRITE)

        self._read_all(self._whole(self._unread(_UNITS)), missing, last=last)

    def _read_members(self) -> None:
        """Confirm what the member lists of groups with several changes show: a call tells of 200 members.

        Memory is that of the changes' groups and members, which a plan has only where groups are on: a group's changes lie anywhere
        among the others, and to look them up again would read most of them for each group.
        """
        changes = self._scope.steps.at(self._unread(_MEMBERS), _MEMBER.names())
        members = pl.concat([_MEMBER.to_frame(), *map(compact, changes)])
        for (group,), steps in members.group_by("address", maintain_order=True):
            if steps.height < MEMBERS_LISTED_MIN or self._stopped:
                continue
            with suppress(StaleTokenError, DirectoryError):  # then they are read one by one
                there = self._members(str(group))
                agree = [
                    (step, "")
                    for step, action, _, member_id in steps.iter_rows()
                    if (member_id in there) is (action == Action.ADD_MEMBER)
                ]
                self._commit(agree, last=False)

    def _members(self, group: str) -> set[Any]:
        """Ids of a group's members. Raises DirectoryError where it is not there."""
        found: set[Any] = set()
        for page in pages(lambda token: self._member_page(group, token), "members", self._stop):
            found.update(member.get("id") for member in page.members)
        return found

    def _member_page(self, group: str, token: str | None) -> MemberPage:
        page = self._directory.list_members(group, token)
        if page is None:
            raise DirectoryError("a group has gone while its members were read back")
        return page

    def _read_all(self, left: Iterator[Step], read: Callable[[Step], str], *, last: bool) -> None:
        """Read step by step, as many at once as the tenant may have calls under way."""

        def told(step: Step) -> tuple[int, str] | None:
            return None if self._stopped else (step.step, _told(read, step))

        with ThreadPoolExecutor(self._scope.settings.apply.in_flight, f"read-back-{self._tenant}") as pool:
            while group := list(islice(left, STEPS_PER_COMMIT)):
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

    def _read_pages(self, domain: str) -> None:
        """Confirm what the domain's list shows. A list that must start again has confirmed what it has."""
        for accounts in self._listed(domain):
            self._commit([(step.step, "") for step in self._agreeing(accounts)], last=False)
            if self._stopped:
                return

    def _listed(self, domain: str) -> Iterator[_Accounts]:
        """Accounts of a domain that steps to be read back may be about, ACCOUNTS_AT_ONCE or a few more."""
        accounts, found = _Accounts(), 0
        jenjang, sieve = Jenjang(self._tenant), self._sieve()
        what = f"accounts: {domain}"
        with suppress(StaleTokenError):
            for page in pages(lambda token: self._directory.list_accounts(domain, token), what, threading.Event()):
                for account in page.accounts:
                    key, _ = account_key_of(account.get("externalIds"), jenjang)
                    if key is not None and key in sieve:
                        accounts.setdefault(key, []).append(account)
                        found += 1
                if found >= ACCOUNTS_AT_ONCE or self._stopped:
                    yield accounts
                    accounts, found = _Accounts(), 0
        if accounts:
            yield accounts

    def _sieve(self) -> _Sieve:
        """Of the accounts of all steps to be read back."""
        sieve = _Sieve()
        for rows in self._scope.steps.at(self._unread(TOLD_BY_ACCOUNT), ("account_key",)):
            for key in rows["account_key"].drop_nulls():
                sieve.add(key)
        return sieve

    def _agreeing(self, accounts: _Accounts) -> Iterator[Step]:
        """Steps to be read back whose account is among `accounts` and as the step wrote it, each once."""
        keys = pl.Series(accounts.keys(), dtype=pl.Binary).implode()
        unread = self._scope.steps.at(self._unread(TOLD_BY_ACCOUNT), ("step", "account_key"))
        listed = chain.from_iterable(rows.filter(pl.col("account_key").is_in(keys))["step"] for rows in unread)
        for step in self._whole(listed):
            if any(_agrees(step, account) for account in accounts.get(step.account_key or b"", ())):
                yield step

    def _commit(self, judged: list[tuple[int, str]], *, last: bool) -> None:
        """Write what was found out about steps: an empty reason confirms, and another contradicts if nothing is read after it."""
        reached(KillPoint.READ_BACK)
        events = [
            Event(step, 0, EventState.CONTRADICTED if reason else EventState.CONFIRMED, reason=reason)
            for step, reason in judged
            if last or not reason
        ]
        if events:
            self._record(events)
            reached(KillPoint.READ_BACK_COMMITTED)
