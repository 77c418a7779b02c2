"""The judge: what was planned, what each applier says it did, and what stands in the directory.

It knows nothing of how appliers work. What an applier says is its journal, or the checkpoint of a naive one. Accounts are compared
whole, by what they were and what their step writes; what an account looks like that nobody touched, a model in each tenant says.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from belajarid_recon.apply.body import Step, carries_group_marker, insert_body, read_steps, update_body
from belajarid_recon.components import ScaledClock
from belajarid_recon.directory.epochs import note_text
from belajarid_recon.plan.definition import Plan
from belajarid_recon.schemas import GROUP_ACTIONS, Action
from belajarid_recon.state.folders import RunFolder
from belajarid_recon.state.journal import EventState, Journal
from belajarid_recon.state.lease import Epoch, KnownEpochs

CHECKPOINT = "checkpoint"
"""File in the run folder in which a naive applier remembers what it did: a word and a step a line."""
_DERIVED = frozenset(
    {"creationTime", "deletionTime", "emails", "etag", "lastLoginTime", "suspensionReason", "suspensionTime"}
)
"""Fields that time changes, or that follow from others."""
_OWN = frozenset({"id", "primaryEmail", "name"})
"""Fields that a model does not lend."""
_MEDDLED: Mapping[str, frozenset[str]] = {
    "other-rename": frozenset({"primaryEmail", "aliases"}),
    "other-edit": frozenset({"orgUnitPath", "suspended", "name"}),
    "other-unmark": frozenset({"externalIds"}),
    "other-delete": frozenset(),
}
"""Fields that another administrator may have changed."""
_METHODS: Mapping[str, str] = {Action.CREATE: "users.insert", Action.DELETE: "users.delete"}
"""Method that an action sends, if it can be answered as if done and is no update."""
_ONCE: Mapping[str, str] = {
    "users.insert": Action.CREATE,
    "users.delete": Action.DELETE,
    "users.undelete": Action.UNDELETE,
    "users.aliases.insert": Action.ADD_ALIAS,
    "users.aliases.delete": Action.REMOVE_ALIAS,
    "groups.insert": Action.CREATE_GROUP,
    "members.insert": Action.ADD_MEMBER,
    "members.delete": Action.REMOVE_MEMBER,
    "orgunits.insert": Action.CREATE_ORGUNIT,
}
"""Methods each of whose effects changes the state, so that there may be no more of them than steps. users.update is not among them: its
values are absolute, and after an answer that proves nothing it may be sent again; what it left is compared instead."""


@dataclass
class Case:
    """One plan in the hands of appliers."""

    run: RunFolder
    plan: Plan
    seed: str
    squatted: frozenset[str] = frozenset()
    """Planned addresses, of accounts and groups, that somebody else holds."""
    moved: dict[str, str] = field(default_factory=dict)
    """Marker to the address that another administrator has given the account since."""
    unit: str = ""
    """Where the directory keeps the epoch of its appliers, or empty."""
    meddles: str = ""
    """What another administrator does while its appliers are at it, of the emulator's kinds; empty: nothing but to rename."""
    meddled: set[str] = field(default_factory=set)
    """Ids of the accounts it was done to."""
    pretended: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Calls that were answered as if done and changed nothing, by tenant and method."""

    @property
    def tenants(self) -> set[str]:
        """Tenants with steps."""
        return set(self.plan.steps.whole()["tenant"])

    @cached_property
    def steps(self) -> list[Step]:
        """All of them."""
        return list(read_steps(self.plan.steps.pieces()))

    def unread(self) -> int:
        """Steps that an applier sent, calls done, and has not read back."""
        if not self.run.journal.exists():
            return 0
        with Journal.open(self.run.journal, clock=ScaledClock()) as journal:
            return sum(journal.awaits_reading(step) for step in range(self.plan.steps.height))

    def said(self) -> dict[int, str]:
        """Step to `done`, or to `parked` or `contradicted` with the reason if the applier has one; both is said, too."""
        if not self.run.journal.exists():
            lines = (self.run.path / CHECKPOINT).read_text().splitlines()
            words = {int(step): word for word, step in map(str.split, lines)}
            return {step: word for step, word in words.items() if word in {"done", "parked"}}
        with Journal.open(self.run.journal, clock=ScaledClock()) as journal:
            reasons = {(step, state): reason for step, state, reason in journal.reasons()}
            steps = range(self.plan.steps.height)
            return {step: _said(step, journal, reasons) for step in steps if journal.is_settled(step)}


def _said(step: int, journal: Journal, reasons: Mapping[tuple[int, EventState], str]) -> str:
    parked = reasons.get((step, EventState.PARKED))
    if not journal.is_done(step):
        return f"parked: {parked}"
    if parked is not None:
        return f"done and parked: {parked}"
    return f"contradicted: {reasons[step, EventState.CONTRADICTED]}" if journal.is_contradicted(step) else "done"


class Violation(NamedTuple):
    """What is wrong, and the seed of the case it is wrong in."""

    seed: str
    what: str


class Group(NamedTuple):
    """A group as the directory lists it, with the ids of its members."""

    document: dict[str, Any]
    members: frozenset[str]


@dataclass(frozen=True)
class Seen:
    """One tenant as it stands."""

    lines: list[dict[str, Any]]
    """Accounts, deleted ones too, as the emulator lists them."""
    paths: set[str]
    before: dict[str, dict[str, Any]]
    """Id to account, of all that were there before a plan was made."""
    strangers: set[str]
    """Ids of those of others; of no step."""
    model: dict[str, Any]
    """One of them that nobody has a reason to touch."""
    notes: dict[str, str] = field(default_factory=dict)
    """Unit to its description, of those that keep an epoch."""
    groups: dict[str, Group] = field(default_factory=dict)
    """By address."""
    planted: dict[str, Group] = field(default_factory=dict)
    """Those that were there before."""
    units: set[str] = field(default_factory=set)
    """Units that were there before."""
    applied: dict[str, int] = field(default_factory=dict)
    """Method to how often a call of it changed the state, those of the swarm's own preparations left out."""

    @cached_property
    def live(self) -> list[dict[str, Any]]:
        """Accounts that are not deleted."""
        return [line for line in self.lines if not line["deleted"]]

    @cached_property
    def by_marker(self) -> dict[str, list[dict[str, Any]]]:
        """Live accounts."""
        found: dict[str, list[dict[str, Any]]] = {}
        for line in self.live:
            found.setdefault(line["marker"] or "", []).append(line)
        return found

    @cached_property
    def by_id(self) -> dict[str, dict[str, Any]]:
        """All accounts."""
        return {line["account"]["id"]: line for line in self.lines}


def violations(cases: Sequence[Case], tenants: Mapping[str, Seen]) -> list[Violation]:
    """Everything that is wrong now that the cases are said to be applied. Empty: each step was carried out, once, or parked."""
    wrong: list[Violation] = []
    for case in cases:
        said = case.said()
        left = case.pretended.copy()
        for step in case.steps:
            judged = _Judged(step, case, tenants[step.tenant], said.get(step.step), left)
            wrong += [Violation(case.seed, what) for what in judged.wrong()]
        wrong += [Violation(case.seed, "a step neither done nor parked")] * (case.plan.steps.height - len(said))
        wrong += [Violation(case.seed, "a step that was never read back")] * case.unread()
        wrong += [Violation(case.seed, what) for tenant in case.tenants for what in _wrong_epoch(case, tenants[tenant])]
    for tenant, seen in tenants.items():
        wrong += [Violation("", what) for what in _wrong_with_the_rest(cases, tenant, seen)]
    return wrong


@dataclass(frozen=True)
class _Judged:
    """One step against what stands there."""

    step: Step
    case: Case
    seen: Seen
    said: str | None
    pretended: Counter[tuple[str, str]]
    """Calls of the case that changed nothing and explain no contradiction yet."""

    def wrong(self) -> Iterator[str]:
        """What is wrong with what the step is about."""
        action = self.step.action
        if action == Action.CREATE_ORGUNIT:
            yield from self._wrong_words(self.step.ou_path in self.seen.paths, "a unit is missing")
        elif action in GROUP_ACTIONS:
            yield from self._wrong_with_group()
        elif self.step.is_creation and self.step.address in self.case.squatted:
            yield from ["an account beside a squatted address"] * len(self._lines)
            if self.said == "done":
                yield "said to be done and is not"
        elif self._touched:
            yield from self._wrong_with_touched()
        else:
            yield from self._wrong_with_account()

    def _wrong_words(self, there: bool, missing: str) -> Iterator[str]:  # noqa: FBT001 - whether the effect is there
        """What is wrong with what is said about a step that nobody stood in the way of."""
        if not there:
            yield missing
        if self.said not in {None, "done"}:
            yield f"carried out, or free to be, and said to be {self.said}"

    @cached_property
    def _lines(self) -> list[dict[str, Any]]:
        """Live accounts of the step's person."""
        return self.seen.by_marker.get(self.step.marker or "", [])

    @cached_property
    def _before(self) -> dict[str, Any] | None:
        """The account as it was, or nothing before a creation."""
        return None if self.step.is_creation else self.seen.before[str(self.step.target_id)]

    @cached_property
    def _expected(self) -> dict[str, Any]:
        """The account as the step makes it."""
        step = self.step
        if self._before is None:
            model = {name: value for name, value in self.seen.model.items() if name not in _OWN}
            return core(model | insert_body(step))
        after = dict(self._before)
        if step.action == Action.UNDELETE:
            return core(after | {"orgUnitPath": step.ou_path})
        aliases = {*after.get("aliases", ())}
        if step.alias is not None:
            aliases = aliases | {step.alias} if step.action == Action.ADD_ALIAS else aliases - {step.alias}
        elif step.address is not None:
            aliases.add(after["primaryEmail"])
        return core(after | update_body(step) | {"aliases": sorted(aliases)})

    @property
    def _is_contradicted(self) -> bool:
        return (self.said or "").startswith("contradicted")

    def _wrong_with_account(self) -> Iterator[str]:
        """An account that nobody but the applier, and perhaps one who renames, has touched."""
        moved_to = self.case.moved.get(self.step.marker or "")
        if self._is_contradicted and not moved_to and self._was_pretended():
            yield from self._wrong_with_untouched()
            return
        if not (self._is_contradicted and moved_to):
            yield from self._wrong_words(there=True, missing="")
        if self.step.action == Action.DELETE:
            yield from ["an account that should have been deleted"] * len(self._lines)
            return
        if len(self._lines) != 1:
            yield f"{len(self._lines)} live accounts of one person"
            return
        (line,) = self._lines
        if self.step.is_creation and line["inserts"] != 1:
            yield f"{line['inserts']} inserts of one person"
        expected = self._expected
        if moved_to is not None:
            expected = expected | {"primaryEmail": moved_to, "aliases": []}
            if line["account"]["primaryEmail"] != moved_to:
                yield "what another administrator changed was undone"
        if names := _differing(line["account"], expected):
            yield f"an account that is not as planned: {names}"

    def _was_pretended(self) -> bool:
        """Whether a call of the step's kind changed nothing although it was answered as if it had; each explains one step."""
        place = self.step.tenant, _METHODS.get(self.step.action, "users.update")
        self.pretended[place] -= 1
        return self.pretended[place] >= 0

    def _wrong_with_untouched(self) -> Iterator[str]:
        """A step that is contradicted for a reason has left everything as it was."""
        there = [core(line["account"]) for line in self._lines]
        if there != ([] if self._before is None else [core(self._before)]):
            names = [_differing(line["account"], self._before or {}) for line in self._lines]
            yield f"an account that is neither as planned nor as it was, {self.step.action} {self.said}: {names}"

    @cached_property
    def _touched(self) -> list[dict[str, Any]]:
        """Accounts of the step, deleted ones too, that another administrator has touched."""
        there = (self.seen.by_id[identity] for identity in self.case.meddled if identity in self.seen.by_id)
        return [line for line in there if self._is_of_step(line)]

    def _is_of_step(self, line: dict[str, Any]) -> bool:
        account = line["account"]
        if self._before is not None:
            return bool(account["id"] == self.step.target_id)
        return line["marker"] == self.step.marker or account["primaryEmail"] == self.step.address

    def _wrong_with_touched(self) -> Iterator[str]:
        """An account that another administrator has touched.

        What is planned, what was, and what was made of it may all stand, each field for itself: who looks and then writes cannot help
        the gap between. One person has one account all the same, and every other field is what it was.
        """
        there = {line["account"]["id"]: line for line in (*self._touched, *self._lines) if not line["deleted"]}
        gone = [line for line in self._touched if line["deleted"]]
        if len(there) > 1:
            yield f"{len(there)} live accounts of one person"
        if not there and not gone and self.step.action not in {Action.DELETE, Action.UNDELETE}:
            yield "0 live accounts of one person"
        for line in there.values():
            if line["inserts"] > 1 + len(gone):
                yield f"{line['inserts']} inserts of one person"
            before = self._expected if self._before is None else core(self._before)
            names = {*_differing(line["account"], self._expected)} & {*_differing(line["account"], before)}
            if names := names - _MEDDLED[self.case.meddles]:
                yield f"an account that is not as planned: {sorted(names)}"

    def _wrong_with_group(self) -> Iterator[str]:
        """Groups at squatted addresses are not made, nor joined; the others are compared as a whole (`_wrong_groups`)."""
        step = self.step
        if step.address in self.case.squatted:
            if self.said == "done":
                yield "said to be done and is not"
            return
        group = self.seen.groups.get(str(step.address))
        if group is None or not carries_group_marker(group.document, step.marker):
            yield "a group that is not as planned"
        elif step.action == Action.ADD_MEMBER and step.member_id in self.case.meddled:
            return
        elif step.action == Action.ADD_MEMBER:
            yield from self._wrong_words(step.member_id in group.members, "a member is missing")
        elif step.action == Action.REMOVE_MEMBER:
            yield from self._wrong_words(step.member_id not in group.members, "a member who should have left")
        else:
            yield from self._wrong_words(there=True, missing="")


def core(account: Mapping[str, Any]) -> dict[str, Any]:
    """What is compared of an account: everything but what time changes and what follows from other fields."""
    kept = {name: value for name, value in account.items() if name not in _DERIVED}
    name = {part: value for part, value in (kept.get("name") or {}).items() if part != "fullName"}
    return kept | {"name": name, "aliases": sorted(kept.get("aliases", ()))}


def _differing(account: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    """Names of the fields that differ; the id of an account that was made is nobody's to expect."""
    there = core(account)
    names = (there.keys() | expected.keys()) - ({"id"} - expected.keys())
    return sorted(name for name in names if there.get(name) != expected.get(name))


def _wrong_epoch(case: Case, seen: Seen) -> list[str]:
    """Each applier has left its epoch in the directory before anything else."""
    if not case.run.journal.exists() or not case.unit:
        return []
    known = KnownEpochs.of(case.run.state)
    ours = Epoch(known.newest, known.tokens[known.newest], str(known.identity), case.run.run_id)
    return [] if seen.notes[case.unit] == note_text(ours) else ["an epoch that the directory does not have"]


def _wrong_with_the_rest(cases: Sequence[Case], tenant: str, seen: Seen) -> Iterator[str]:
    """What is there, or was done, that no step of any case explains."""
    steps = [step for case in cases for step in case.steps if step.tenant == tenant]
    meddled = {identity for case in cases for identity in case.meddled}
    yield from _wrong_accounts(steps, meddled, seen)
    units = {case.unit for case in cases if case.unit and tenant in case.tenants}
    planned = {step.ou_path for step in steps if step.action == Action.CREATE_ORGUNIT} | units | seen.units
    yield from ["a unit nobody planned"] * len(seen.paths - planned)
    yield from _wrong_groups(steps, seen)
    counts = Counter(step.action for step in steps)
    counts[Action.CREATE_ORGUNIT] += len(units)
    # Whoever is deleted by somebody else before our answer was known is made a second time, and rightly.
    counts[Action.CREATE] += sum(identity in meddled and line["deleted"] for identity, line in seen.by_id.items())
    for method, action in _ONCE.items():
        yield from [f"an effect too many: {method}"] * (seen.applied.get(method, 0) - counts[action])


def _wrong_accounts(steps: Sequence[Step], meddled: set[str], seen: Seen) -> Iterator[str]:
    """Accounts of others that are not as they were, and accounts of nobody."""
    there = {line["account"]["id"]: line["account"] for line in seen.live}
    for identity in seen.strangers:
        if core(there.get(identity, {})) != core(seen.before[identity]):
            yield "an account of others was changed"
    markers = {step.marker for step in steps}
    for line in seen.live:
        if line["account"]["id"] in seen.strangers | meddled:
            continue
        if line["marker"] is None:
            yield "an account nobody planned"
        elif line["marker"] not in markers:
            yield "a marker nobody planned"


def _wrong_groups(steps: Sequence[Step], seen: Seen) -> Iterator[str]:
    """Groups and members that were neither there before nor planned, and groups that were there and are not as they were."""
    joining = {(step.address, step.member_id) for step in steps if step.action == Action.ADD_MEMBER}
    made = {step.address for step in steps if step.action == Action.CREATE_GROUP}
    for address, group in seen.groups.items():
        before = seen.planted.get(address)
        if before is None and address not in made:
            yield "a group nobody planned"
        known = before.members if before is not None else frozenset()
        yield from ["a member nobody planned"] * sum((address, who) not in joining for who in group.members - known)
    leaving = {(step.address, step.member_id) for step in steps if step.action == Action.REMOVE_MEMBER}
    for address, before in seen.planted.items():
        there = seen.groups.get(address)
        if there is None or _shown(there.document) != _shown(before.document):
            yield "a group of before is not as it was"
            continue
        live = {who for who in before.members if not seen.by_id[who]["deleted"]}
        yield from ["a member of before is missing"] * sum(
            (address, who) not in leaving for who in live - there.members
        )


def _shown(group: Mapping[str, Any]) -> dict[str, Any]:
    """What is compared of a group: its members are counted elsewhere."""
    return {name: value for name, value in group.items() if name not in {"etag", "directMembersCount"}}
