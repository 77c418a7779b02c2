"""A journal made anew from the directory, for a run whose own is damaged or gone.

The journal only ever saved readings: what was carried out stands in the directory, under the markers of the plan. So all of it is
listed once, what the plan speaks of is kept on disk until its steps' turn, each step is judged by what is there as after a kill,
and no step is sent. Steps without effect are left as never sent, or as open where an undamaged row says that they were; `apply` goes
on from there. What a removal was to take away may only not be found just now, so it is looked for again when the lag has passed.
"""

from __future__ import annotations

import shutil
import threading
from array import array
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count, islice
from pathlib import Path

import orjson
import polars as pl

from belajarid_recon.apply.body import CONTACT_FIELDS, Step, fingerprint, read_steps
from belajarid_recon.apply.killpoints import KillPoint, reached
from belajarid_recon.apply.operations import body_of, operation_of
from belajarid_recon.apply.read_back import STEPS_PER_COMMIT
from belajarid_recon.apply.run import (
    ApplyComponents,
    check_turn,
    check_world,
    journal_facts,
    taken_lease,
    tenants_of,
)
from belajarid_recon.apply.settle import ABSENT, Outcome
from belajarid_recon.directory.chains import pages
from belajarid_recon.directory.interface import Account, Directory, Group
from belajarid_recon.errors import PlanError
from belajarid_recon.plan.definition import Plan
from belajarid_recon.plan.steps import ROWS_PER_GROUP, Steps
from belajarid_recon.settings import Settings
from belajarid_recon.state.anchor import Anchor
from belajarid_recon.state.folders import RunFolder, RunStatus
from belajarid_recon.state.journal import (
    Event,
    EventState,
    Journal,
    move_journal,
    note_sent_before_damage,
    set_journal_aside,
)
from belajarid_recon.state.lease import Lease
from belajarid_recon.state.ledger import reserve_addresses
from belajarid_recon.state.lock import StateLock

ASIDE = "damaged-"


ACCOUNTS_AT_ONCE = 10_000
"""Listed accounts whose steps are looked up together."""
_NAMES = pl.Schema({"name": pl.UInt64, "rows": pl.Int64})
"""Digest of a marker, address or id that a step speaks of, and which row group of the plan the step is in: 16 bytes."""


@dataclass
class _Seen:
    """What one tenant holds of the accounts some steps speak of, for operations to judge by; groups are asked for.

    It has of a directory what operations read, and nothing that writes.
    """

    directory: Directory
    paths: set[str]
    by_marker: dict[str, list[Account]] = field(default_factory=dict)
    by_address: dict[str, Account] = field(default_factory=dict)
    by_id: dict[str, Account] = field(default_factory=dict)

    def add(self, account: Account) -> None:
        """One account, under all that a step may call it by."""
        for marker in _markers_of(account):
            self.by_marker.setdefault(marker, []).append(account)
        for address in _addresses_of(account):
            self.by_address[address] = account
        self.by_id[str(account.get("id"))] = account

    def orgunit_paths(self) -> set[str]:
        """As Directory."""
        return self.paths

    def get_account(self, key: str) -> Account | None:
        """As Directory, of accounts the plan speaks of."""
        return self.by_address.get(key.lower()) if "@" in key else self.by_id.get(key)

    def find_by_marker(self, marker: str) -> list[Account]:
        """As Directory, without its lag."""
        return self.by_marker.get(marker, [])

    def get_group(self, address: str) -> Group | None:
        """As Directory."""
        return self.directory.get_group(address)

    def has_member(self, group: str, account_id: str) -> bool:
        """As Directory."""
        return self.directory.has_member(group, account_id)


def rebuild_journal(
    lock: StateLock, run: RunFolder, plan: Plan, settings: Settings, components: ApplyComponents
) -> dict[str, int]:
    """Put a journal made from the directory in the place of the run's own, which is kept in `damaged-<n>/`.

    Returns how many steps are `done`, `parked` and `to-send`. A suspension that stands counts as ours only if the undamaged
    rows say that it was sent. Raises PlanError for a run that has not begun, is over, or is of another world, and
    DirectoryError; after each of them, and after a kill, the same call begins again.
    """
    lock.require(run.state)
    check_turn(run)
    if run.status() is not RunStatus.APPLYING:
        raise PlanError(f"run has not begun, so there is nothing to rebuild: {run.run_id}", hint="apply it")
    if settings.state_anchor is not None:
        Anchor.of(settings.state_anchor, run.state, components.clock, components.randomness).check(rebuilding=run)
    check_world(plan, settings, components.directories)
    for directory in components.directories.values():
        directory.governor.stop = threading.Event()
    with taken_lease(lock, run, plan, settings, components, rebuilding=True) as lease:
        reserve_addresses(run, plan.steps.scan(), plan.steps.require_same)
        # What the last requests did may not be in the lists yet.
        components.clock.sleep(settings.apply.lag_seconds)
        return _rebuild(lease, run, plan, settings, components)


def _rebuild(
    lease: Lease, run: RunFolder, plan: Plan, settings: Settings, components: ApplyComponents
) -> dict[str, int]:
    folder = run.path / "rebuilt"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    # Journals that were set aside too: a kill after that leaves the run without one.
    journals = [run.journal, *run.path.glob(f"{ASIDE}*/{run.journal.name}")]
    sent = bytearray(plan.steps.height)
    for path in journals:
        note_sent_before_damage(path, sent)
    facts = journal_facts(run, plan, plan.digest)
    with Journal.create(folder / run.journal.name, facts, steps=plan.steps.height, clock=components.clock) as journal:
        journal.start(lease.number, lease.require)
        counts = _judge(journal, plan, sent, settings, components)
        if settings.state_anchor is not None:
            Anchor.of(settings.state_anchor, run.state, components.clock, components.randomness).replace(run, journal)
    lease.require()
    set_journal_aside(run.journal, _aside(run))
    reached(KillPoint.JOURNAL_ASIDE)
    move_journal(folder / run.journal.name, run.path)
    folder.rmdir()
    return {word: counts[word] for word in ("done", "parked", "to-send")}


def _judge(
    journal: Journal, plan: Plan, sent: bytearray, settings: Settings, components: ApplyComponents
) -> Counter[str]:
    """Write what the directories say of each step. Accounts are kept beside the journal meanwhile."""
    counts: Counter[str] = Counter()
    missing = {tenant: array("q") for tenant in tenants_of(plan)}
    for tenant, theirs in missing.items():
        with _spooled(journal.path.parent / f"accounts-{tenant}", components.directories[tenant], plan.steps) as spool:
            counts += _judge_tenant(journal, plan, spool, sent, theirs)
    if any(missing.values()):
        components.clock.sleep(settings.apply.lag_seconds)
    for tenant, theirs in missing.items():
        gone = _look_again(journal, plan, components.directories[tenant], theirs, settings.apply.in_flight)
        counts += Counter({"done": gone, "to-send": -gone})
    return counts


def _aside(run: RunFolder) -> Path:
    """A fresh folder for the damaged journal: evidence, never read again."""
    path = next(path for n in count(1) if not (path := run.path / f"{ASIDE}{n}").exists())
    path.mkdir(mode=0o700)
    return path


class _Spool:
    """Accounts of one tenant that its steps speak of, in a file for each row group of the plan: those of one are in memory at a time."""

    def __init__(self, folder: Path, directory: Directory, steps: Steps) -> None:
        """List every account of the tenant once, and keep those that a step names by marker, address or id."""
        self.directory = directory
        self._folder = folder
        self._paths = directory.orgunit_paths()
        named = steps.pieces(directory.tenant, columns=("step", "marker", "address", "alias", "target_id"))
        names = pl.concat([_NAMES.to_frame(), *map(_names_in, named)]).unique()
        accounts = _accounts(directory)
        while some := list(islice(accounts, ACCOUNTS_AT_ONCE)):
            self._keep(some, names)

    def _keep(self, accounts: list[Account], names: pl.DataFrame) -> None:
        own = [(name, place) for place, account in enumerate(accounts) for name in _names_of(account)]
        called = pl.DataFrame(own, schema={"name": pl.String, "place": pl.Int64}, orient="row")
        wanted = called.with_columns(pl.col("name").hash()).join(names, on="name").select("rows", "place").unique()
        for (rows,), places in wanted.group_by("rows"):
            with (self._folder / str(rows)).open("ab") as file:
                file.writelines(
                    orjson.dumps(_without_contacts(accounts[place])) + b"\n" for place in sorted(places["place"])
                )

    def seen(self, rows: int) -> _Seen:
        """What steps of one row group of the plan may be judged by."""
        seen = _Seen(self.directory, self._paths)
        path = self._folder / str(rows)
        for line in path.open("rb") if path.exists() else ():
            seen.add(orjson.loads(line))
        return seen


@contextmanager
def _spooled(folder: Path, directory: Directory, steps: Steps) -> Iterator[_Spool]:
    folder.mkdir(mode=0o700)
    try:
        yield _Spool(folder, directory, steps)
    finally:
        shutil.rmtree(folder)


def _names_in(steps: pl.DataFrame) -> pl.DataFrame:
    """What steps of one row group call accounts by (_NAMES)."""
    names = [steps[name] for name in ("marker", "target_id")]
    names += [steps[name].str.to_lowercase() for name in ("address", "alias")]
    rows = steps["step"][0] // ROWS_PER_GROUP
    return (
        pl.concat([name.alias("name") for name in names])
        .drop_nulls()
        .hash()
        .to_frame()
        .with_columns(rows=rows)
        .cast(_NAMES)
    )


def _names_of(account: Account) -> list[str]:
    """What steps may call an account by."""
    return [*_markers_of(account), *_addresses_of(account), str(account.get("id"))]


def _without_contacts(account: Account) -> Account:
    """The account as it may stand on disk: of a way of recovery only that there is one, which is all that judging asks."""
    return {**account, **{name: "set" for name in CONTACT_FIELDS if account.get(name)}}


def _markers_of(account: Account) -> list[str]:
    return [entry["value"] for entry in account.get("externalIds") or () if isinstance(entry.get("value"), str)]


def _addresses_of(account: Account) -> list[str]:
    own = (account.get("primaryEmail", ""), *account.get("aliases", ()), *account.get("nonEditableAliases", ()))
    return [str(address).lower() for address in own]


def _judge_tenant(journal: Journal, plan: Plan, spool: _Spool, sent: bytearray, missing: array[int]) -> Counter[str]:
    """Judge a tenant's steps by its lists. `missing` gets the numbers of removals whose object was not found."""
    counts: Counter[str] = Counter()
    for rows in plan.steps.pieces(spool.directory.tenant):
        seen = spool.seen(rows["step"][0] // ROWS_PER_GROUP)
        events: list[Event] = []
        for step in read_steps([rows]):
            judgement = operation_of(step).read(seen, step)
            # What is not there may be what the plan has yet to make. Applying looks again, and waits for it.
            outcome = judgement.outcome if judgement.found else ABSENT
            if sent[step.step]:
                events.append(Event(step.step, 1, EventState.INTENT, fingerprint=fingerprint(step, body_of(step))))
            if outcome.state is EventState.ABSENT:
                counts["to-send"] += 1
            else:
                counts[outcome.state.value] += 1
                events.append(_settled(step, outcome))
            if judgement.outcome.state is EventState.DONE and not judgement.found:
                missing.append(step.step)
        journal.commit(events)
    return counts


def _look_again(journal: Journal, plan: Plan, directory: Directory, missing: array[int], in_flight: int) -> int:
    """Note the removals as done whose object the directory itself does not find either; how many."""

    def read(step: Step) -> Outcome:
        return operation_of(step).read(directory, step).outcome

    gone = 0
    steps = read_steps(plan.steps.at(missing))
    with ThreadPoolExecutor(in_flight, f"look-again-{directory.tenant}") as pool:
        while some := list(islice(steps, STEPS_PER_COMMIT)):
            judged = zip(some, pool.map(read, some), strict=True)
            events = [_settled(step, outcome) for step, outcome in judged if outcome.state is EventState.DONE]
            journal.commit(events)
            gone += len(events)
    return gone


def _settled(step: Step, outcome: Outcome) -> Event:
    return Event(step.step, 1, outcome.state, None, outcome.reason, outcome.target_id)


def _accounts(directory: Directory) -> Iterator[Account]:
    for domain in directory.domains():
        for page in pages(partial(directory.list_accounts, domain), f"accounts: {domain}", threading.Event()):
            yield from page.accounts
