"""Faults for a swarm: of every kind that the emulator has, for every method that appliers call, each kind in its turn.

A kind whose turn it is waits until a case comes that calls a method which it can strike; of these methods the one is chosen that
it was scripted for least. Many a life ends before the call, so one fault of each life is of the kind that was met most rarely.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

from belajarid_recon.emulator.faults import KINDS
from belajarid_recon.schemas import Action

READS = frozenset({"customers.get", "users.get", "users.list", "orgunits.list"})
"""What every apply calls: the customer's id, what is open, markers, and units."""
CALLS_OF_EPOCH = frozenset({"orgunits.get", "orgunits.insert", "orgunits.patch"})
CALLS_OF_REBUILD = frozenset({"domains.list"})
_MEMBERS = frozenset({"members.get", "members.list", "groups.get", "roleAssignments.list"})
CALLS_OF: Mapping[Action, frozenset[str]] = {
    Action.CREATE_ORGUNIT: frozenset({"orgunits.insert"}),
    Action.CREATE: frozenset({"users.insert"}),
    **dict.fromkeys(
        (Action.UPDATE, Action.RENAME, Action.MOVE, Action.PROMOTE, Action.DEMOTE, Action.SUSPEND, Action.RESTORE),
        frozenset({"users.update"}),
    ),
    Action.UNDELETE: frozenset({"users.undelete"}),
    Action.DELETE: frozenset({"users.delete"}),
    Action.ADD_ALIAS: frozenset({"users.aliases.insert"}),
    Action.REMOVE_ALIAS: frozenset({"users.aliases.delete"}),
    Action.CREATE_GROUP: frozenset({"groups.get", "groups.insert"}),
    Action.ADD_MEMBER: _MEMBERS | {"members.insert"},
    Action.REMOVE_MEMBER: _MEMBERS | {"members.delete"},
}
"""Action to the methods that carrying it out calls, beside those that every apply calls."""
CALLS = READS | CALLS_OF_EPOCH | CALLS_OF_REBUILD | frozenset().union(*CALLS_OF.values())
"""Everything that appliers call."""
_ABOUT_ACCOUNTS = frozenset(method for method in CALLS if method.startswith("users.") and method != "users.list")
_LOOKS = frozenset({"users.get", "groups.get", "members.get"})
STALE = "status-404"
"""A look that does not find what is there."""


class Card(NamedTuple):
    """One kind of fault: what the emulator is told, and of which methods."""

    kind: str
    methods: frozenset[str]
    script: Mapping[str, Any] = MappingProxyType({})

    @property
    def name(self) -> str:
        """The kind, and for a scripted status which."""
        return met_name(self.kind, self.script.get("status"))

    @property
    def meddles(self) -> bool:
        """Whether it is another administrator."""
        return KINDS[self.kind].meddles


def met_name(kind: str, status: int | None) -> str:
    """What a strike counts as: its kind, and which status where the kind leaves that open."""
    return f"{kind}-{status or KINDS[kind].status}" if kind in {"status", "status-after"} else kind


def _methods(kind: str) -> frozenset[str]:
    """What a kind can strike of what appliers call."""
    called = _ABOUT_ACCOUNTS if KINDS[kind].meddles else CALLS
    return frozenset(filter(KINDS[kind].can_strike, called))


_SLOW = {"seconds": 0.004}
"""Real seconds: some of the emulator's, and little of a kill's time."""
_SCRIPTS: Mapping[str, Mapping[str, Any]] = dict.fromkeys(("delay", "delay-after", "drip", "swapped"), _SLOW)
DECK = (
    *(Card(kind, _methods(kind), _SCRIPTS.get(kind, {})) for kind in KINDS),
    Card("drop-after", frozenset({"users.insert"}), {"times": 3}),
    Card("429", CALLS, {"retry_after_seconds": 2}),
    # Once: what is not found twice, with the lag between, is gone for whoever reads back. The emulator's own lag ends in time.
    Card("status", _LOOKS, {"status": 404, "reason": "notFound"}),
    # Only where a reply of this kind has been seen: on what was made or renamed a moment ago.
    Card("status", frozenset({"users.update", "users.aliases.insert"}), {"status": 412, "reason": "conditionNotMet"}),
    Card("status-after", frozenset({"orgunits.insert", "orgunits.patch"}), {"status": 401, "reason": "authError"}),
)
"""Every kind, and what else has been seen in the field."""
KINDS_DEALT = frozenset(card.name for card in DECK)
DRAWN = tuple(
    {"method": "*", "kind": card.kind, "probability": 0.004, "times_max": 1} | card.script
    for card in DECK
    if card.methods == CALLS and "retry_after_seconds" not in card.script
)
"""The emulator's own swarm: kinds that may strike any call, each perhaps."""


@dataclass
class Deck:
    """Deals faults, the kind first that has waited longest; in the beginning as a seed shuffles them."""

    seed: int
    met: Counter[str] = field(default_factory=Counter)
    """How often each was met, by name."""
    _turns: deque[Card] = field(init=False)
    _scripted: Counter[tuple[str, str]] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._turns = deque(random.Random(self.seed).sample(DECK, len(DECK)))  # noqa: S311 - repeatable

    def deal(self, methods: Collection[str], *, meddles: str, stale: bool, rarest: bool) -> tuple[str, Card]:
        """A method and its fault: the one whose turn it is, or the one that was met most rarely.

        Of other administrators only the one who `meddles`; no look that is `stale` unless one may be.
        """
        fitting = (
            card
            for card in self._turns
            if card.methods.intersection(methods)
            and (card.kind == meddles or not card.meddles)
            and (stale or card.name != STALE)
        )
        card = min(fitting, key=lambda one: self.met[one.name]) if rarest else next(fitting)
        self._turns.remove(card)
        self._turns.append(card)
        method = min(sorted(card.methods.intersection(methods)), key=lambda name: self._scripted[card.name, name])
        self._scripted[card.name, method] += 1
        return method, card


def calls_of(actions: Iterable[str], *, unit: bool) -> frozenset[str]:
    """What an apply of these actions calls, with or without a unit for its epoch."""
    called = (CALLS_OF[Action(action)] for action in actions)
    return READS.union(CALLS_OF_EPOCH if unit else (), *called)
