"""The judge: what was planned, what each applier says it did, and what stands in the directory.

It knows nothing of how appliers work. What an applier says is its journal, or the checkpoint of a naive one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from appliers.further import ABOUT_GROUPS, wrong_with_account
from belajarid_recon.apply.body import Step, attributes_of, desired_attributes, read_steps
from belajarid_recon.components import ScaledClock
from belajarid_recon.directory.epochs import note_text
from belajarid_recon.plan.definition import Plan
from belajarid_recon.schemas import Action
from belajarid_recon.state.folders import RunFolder
from belajarid_recon.state.journal import Journal
from belajarid_recon.state.lease import Epoch, KnownEpochs

CHECKPOINT = "checkpoint"
"""File in the run folder in which a naive applier remembers what it did: a word and a step a line."""
_ADDRESS = ("user_id", "domain")


@dataclass
class Case:
    """One plan in the hands of appliers."""

    run: RunFolder
    plan: Plan
    seed: str
    squatted: frozenset[str] = frozenset()
    """Planned addresses that somebody else holds."""
    moved: dict[str, str] = field(default_factory=dict)
    """Marker to the address that another administrator has given the account since."""
    unit: str = ""
    """Where the directory keeps the epoch of its appliers, or empty."""

    @property
    def tenants(self) -> set[str]:
        """Tenants with steps."""
        return set(self.plan.steps.whole()["tenant"])

    def unread(self) -> int:
        """Steps that an applier sent, calls done, and has not read back."""
        if not self.run.journal.exists():
            return 0
        with Journal.open(self.run.journal, clock=ScaledClock()) as journal:
            return sum(journal.awaits_reading(step) for step in range(self.plan.steps.height))

    def said(self) -> dict[int, str]:
        """Step to `done`, or to `parked` with the reason if the applier has one."""
        if not self.run.journal.exists():
            lines = (self.run.path / CHECKPOINT).read_text().splitlines()
            words = {int(step): word for word, step in map(str.split, lines)}
            return {step: word for step, word in words.items() if word in {"done", "parked"}}
        with Journal.open(self.run.journal, clock=ScaledClock()) as journal:
            settled = [step for step in range(self.plan.steps.height) if journal.is_settled(step)]
            reasons = {step: reason for step, _, reason in journal.reasons()}
            return {step: "done" if journal.is_done(step) else f"parked: {reasons.get(step)}" for step in settled}


class Violation(NamedTuple):
    """What is wrong, and the seed of the case it is wrong in."""

    seed: str
    what: str


@dataclass(frozen=True)
class Seen:
    """One tenant as it stands."""

    lines: list[dict[str, Any]]
    """Live accounts, as the emulator lists them."""
    paths: set[str]
    strangers: list[dict[str, Any]]
    """Accounts of others as they were before."""
    notes: dict[str, str] = field(default_factory=dict)
    """Unit to its description, of those that keep an epoch."""
    groups: list[Violation] = field(default_factory=list)
    """What is wrong with its groups."""


def violations(cases: Sequence[Case], tenants: Mapping[str, Seen]) -> list[Violation]:
    """Everything that is wrong now that the cases are said to be applied. Empty: each step was carried out, once, or parked."""
    wrong: list[Violation] = []
    by_marker: dict[str, list[dict[str, Any]]] = {}
    for seen in tenants.values():
        for line in seen.lines:
            by_marker.setdefault(line["marker"] or "", []).append(line)
    for case in cases:
        said = case.said()
        for step in read_steps(case.plan.steps.pieces()):
            found = _wrong_about(step, case, tenants[step.tenant], by_marker, said.get(step.step))
            wrong += [Violation(case.seed, what) for what in found]
        wrong += [Violation(case.seed, "a step neither done nor parked")] * (case.plan.steps.height - len(said))
        wrong += [Violation(case.seed, "a step that was never read back")] * case.unread()
        wrong += [Violation(case.seed, what) for tenant in case.tenants for what in _wrong_epoch(case, tenants[tenant])]
    strangers = sum(len(seen.strangers) for seen in tenants.values())
    wrong += [Violation("", "an account nobody planned")] * (len(by_marker.pop("", [])) - strangers)
    wrong += [Violation("", "a marker nobody planned")] * len(by_marker)
    wrong += [violation for seen in tenants.values() for violation in seen.groups]
    return wrong + [Violation("", what) for seen in tenants.values() for what in _wrong_with_strangers(seen)]


def _wrong_about(
    step: Step, case: Case, seen: Seen, by_marker: dict[str, list[dict[str, Any]]], said: str | None
) -> Iterator[str]:
    """What is wrong with what one step is about; accounts that were looked at leave `by_marker`."""
    if step.action == Action.CREATE_ORGUNIT:
        return iter(() if step.ou_path in seen.paths else ("a unit is missing",))
    if step.action in ABOUT_GROUPS:
        return iter(())
    lines = by_marker.pop(step.marker or "", [])
    if step.action in {Action.ADD_ALIAS, Action.REMOVE_ALIAS, Action.DELETE}:
        return wrong_with_account(step, lines)
    return _wrong_with(step, lines, case, said)


def _wrong_with(step: Step, lines: list[dict[str, Any]], case: Case, said: str | None) -> Iterator[str]:
    if step.is_creation and step.address in case.squatted:
        yield from ["an account beside a squatted address"] * len(lines)
        if said == "done":
            yield "said to be done and is not"
        return
    if said is not None and said != "done":
        yield f"carried out, or free to be, and said to be {said}"
    if len(lines) != 1:
        yield f"{len(lines)} live accounts of one person"
        return
    (line,) = lines
    if step.is_creation and line["inserts"] != 1:
        yield f"{line['inserts']} inserts of one person"
    there, planned = attributes_of(line["account"]), desired_attributes(step)
    moved_to = case.moved.get(step.marker)
    if moved_to is not None:
        planned = {name: value for name, value in planned.items() if name not in _ADDRESS}
        if line["account"]["primaryEmail"] != moved_to:
            yield "what another administrator changed was undone"
    if there | planned != there:
        yield "an account that is not as planned"


def _wrong_epoch(case: Case, seen: Seen) -> list[str]:
    """Each applier has left its epoch in the directory before anything else."""
    if not case.run.journal.exists() or not case.unit:
        return []
    known = KnownEpochs.of(case.run.state)
    ours = Epoch(known.newest, known.tokens[known.newest], str(known.identity), case.run.run_id)
    return [] if seen.notes[case.unit] == note_text(ours) else ["an epoch that the directory does not have"]


def _wrong_with_strangers(seen: Seen) -> list[str]:
    there = {line["account"]["id"]: line["account"] for line in seen.lines}
    return [
        "an account of others was changed"
        for account in seen.strangers
        if attributes_of(there.get(account["id"], {})) != attributes_of(account)
    ]
