"""A journal made anew from the directory, for a run whose own is damaged or gone.

The journal only ever saved readings: what was carried out stands in the directory, under the markers of the plan. So all of it
is listed once, each step is judged by what is there as after a kill, and no step is sent. Steps without effect are left as
never sent, or as open where an undamaged row says that they were; `apply` goes on from there.
"""

from __future__ import annotations

import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path

from belajarid_recon.apply.body import fingerprint, read_steps
from belajarid_recon.apply.killpoints import KillPoint, reached
from belajarid_recon.apply.operations import body_of, operation_of
from belajarid_recon.apply.run import (
    ApplyComponents,
    check_turn,
    check_world,
    journal_facts,
    taken_lease,
    tenants_of,
)
from belajarid_recon.directory.chains import pages
from belajarid_recon.directory.interface import Account, Directory, Group
from belajarid_recon.errors import PlanError
from belajarid_recon.plan.definition import Plan
from belajarid_recon.plan.steps import Steps
from belajarid_recon.settings import Settings
from belajarid_recon.state.anchor import Anchor
from belajarid_recon.state.folders import RunFolder, RunStatus
from belajarid_recon.state.journal import (
    Event,
    EventState,
    Journal,
    move_journal,
    sent_before_damage,
    set_journal_aside,
)
from belajarid_recon.state.lease import Lease
from belajarid_recon.state.ledger import reserve_addresses
from belajarid_recon.state.lock import StateLock

STEPS_PER_COMMIT = 1_000
ASIDE = "damaged-"


@dataclass
class _Seen:
    """What one tenant holds of the accounts a plan speaks of, read once, for operations to judge by; groups are asked for.

    It has of a directory what operations read, and nothing that writes.
    """

    directory: Directory
    paths: set[str]
    by_marker: dict[str, list[Account]] = field(default_factory=dict)
    by_address: dict[str, Account] = field(default_factory=dict)
    by_id: dict[str, Account] = field(default_factory=dict)

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
    sent = set[int]().union(*(sent_before_damage(path, steps=plan.steps.height) for path in journals))
    facts = journal_facts(run, plan, plan.digest)
    with Journal.create(folder / run.journal.name, facts, steps=plan.steps.height, clock=components.clock) as journal:
        journal.start(lease.number, lease.require)
        counts = Counter({"done": 0, "parked": 0, "to-send": 0})
        for tenant in tenants_of(plan):
            counts += _rebuild_tenant(journal, plan, components.directories[tenant], sent)
        if settings.state_anchor is not None:
            Anchor.of(settings.state_anchor, run.state, components.clock, components.randomness).replace(run, journal)
    lease.require()
    set_journal_aside(run.journal, _aside(run))
    reached(KillPoint.JOURNAL_ASIDE)
    move_journal(folder / run.journal.name, run.path)
    folder.rmdir()
    return {word: counts[word] for word in ("done", "parked", "to-send")}


def _aside(run: RunFolder) -> Path:
    """A fresh folder for the damaged journal: evidence, never read again."""
    path = next(path for n in count(1) if not (path := run.path / f"{ASIDE}{n}").exists())
    path.mkdir(mode=0o700)
    return path


def _rebuild_tenant(journal: Journal, plan: Plan, directory: Directory, sent: set[int]) -> Counter[str]:
    seen = _look(directory, plan.steps)
    counts: Counter[str] = Counter()
    events: list[Event] = []
    for step in read_steps(plan.steps.pieces(directory.tenant)):
        outcome = operation_of(step).read(seen, step).outcome
        if step.step in sent:
            events.append(Event(step.step, 1, EventState.INTENT, fingerprint=fingerprint(step, body_of(step))))
        if outcome.state is EventState.ABSENT:
            counts["to-send"] += 1
        else:
            counts[outcome.state.value] += 1
            events.append(Event(step.step, 1, outcome.state, None, outcome.reason, outcome.target_id))
        if len(events) >= STEPS_PER_COMMIT:
            journal.commit(events)
            events = []
    journal.commit(events)
    return counts


def _look(directory: Directory, steps: Steps) -> _Seen:
    """Read every account of the tenant, and keep those that its steps name by marker, address or id."""
    markers: set[str] = set()
    addresses: set[str] = set()
    ids: set[str] = set()
    for step in read_steps(steps.pieces(directory.tenant)):
        markers.update(filter(None, (step.marker,)))
        addresses.update(address.lower() for address in (step.address, step.alias) if address is not None)
        ids.update(filter(None, (step.target_id,)))
    seen = _Seen(directory, directory.orgunit_paths())
    for account in _accounts(directory):
        values = {entry.get("value") for entry in account.get("externalIds") or ()}
        for marker in markers.intersection(values):
            seen.by_marker.setdefault(marker, []).append(account)
        own = (account.get("primaryEmail", ""), *account.get("aliases", ()), *account.get("nonEditableAliases", ()))
        for address in addresses.intersection(map(str.lower, own)):
            seen.by_address[address] = account
        if account.get("id") in ids:
            seen.by_id[str(account["id"])] = account
    return seen


def _accounts(directory: Directory) -> Iterator[Account]:
    for domain in directory.domains():
        for page in pages(partial(directory.list_accounts, domain), f"accounts: {domain}", threading.Event()):
            yield from page.accounts
