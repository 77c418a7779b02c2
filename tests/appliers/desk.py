"""A desk from which plans are applied to an emulator, and what it sees afterwards."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from appliers.plans import Target, creation, marker, plan_of, settings_of
from belajarid_recon.apply.body import attributes_of
from belajarid_recon.apply.rebuild import rebuild_journal
from belajarid_recon.apply.result import ApplyResult
from belajarid_recon.apply.run import ApplyComponents, apply_plan
from belajarid_recon.components import ScaledClock, SystemRandomness
from belajarid_recon.directory.google import GoogleDirectory
from belajarid_recon.emulator.launch import EmulatorProcess
from belajarid_recon.plan.definition import Plan
from belajarid_recon.schemas import Jenjang
from belajarid_recon.state.folders import RunFolder, new_run
from belajarid_recon.state.journal import Journal
from belajarid_recon.state.lock import StateLock

TIME_SCALE = 1_000.0
TENANTS = (Jenjang.SD, Jenjang.SMP)
CLOCK = ScaledClock(TIME_SCALE)
NUMBERS = itertools.count(1_000)


class NotedRandomness(SystemRandomness):
    """The machine's randomness, with a note of what it gave."""

    def __init__(self) -> None:
        self.given: list[bytes] = []

    def bytes(self, count: int) -> bytes:
        """Return and note `count` bytes."""
        drawn = super().bytes(count)
        self.given.append(drawn)
        return drawn


def target_of(emulator: EmulatorProcess, state: Path, unit: str = "") -> Target:
    """Where plans go, and the unit that keeps the epoch."""
    return Target(
        unit=unit,
        state=state,
        customer_ids={str(tenant): customer for tenant, customer in emulator.customer_ids.items()},
        url=emulator.url,
        credentials=emulator.folder / "credentials",
        time_scale=TIME_SCALE,
    )


@dataclass
class Desk:
    """One emulator with its directories, and a state folder of one test's own."""

    emulator: EmulatorProcess
    directories: dict[Jenjang, GoogleDirectory]
    state: Path
    unit: str = ""
    """Where the directory keeps the epoch; empty: nowhere, for many state folders share the directory."""
    randomness: NotedRandomness = field(default_factory=NotedRandomness)
    runs: list[RunFolder] = field(default_factory=list)

    @property
    def customer_ids(self) -> dict[str, str]:
        """By tenant."""
        return target_of(self.emulator, self.state).customer_ids

    def plan(self, *rows: dict[str, Any]) -> Plan:
        """A plan of these rows."""
        return plan_of(list(rows), self.customer_ids)

    def new_run(self) -> RunFolder:
        """A run folder in this desk's state."""
        self.state.mkdir(exist_ok=True)
        self.runs.append(new_run(self.state, CLOCK, self.randomness))
        return self.runs[-1]

    def apply(self, plan: Plan, run: RunFolder | None = None, *, watch: Any = None, **table: Any) -> ApplyResult:
        """Apply a plan to its end, in a new run unless one is given."""
        settings_ = settings_of(target_of(self.emulator, self.state, self.unit), **({"lag_seconds": 20.0} | table))
        components = ApplyComponents(self.directories, CLOCK, self.randomness, watch or (lambda _: None))
        with StateLock(self.state, purpose="test") as lock:
            return apply_plan(lock, run or self.new_run(), plan, settings_, components)

    def rebuild(self, plan: Plan, run: RunFolder) -> dict[str, int]:
        """Make a run's journal anew."""
        settings_ = settings_of(target_of(self.emulator, self.state, self.unit), lag_seconds=20.0)
        components = ApplyComponents(self.directories, CLOCK, self.randomness)
        with StateLock(self.state, purpose="test") as lock:
            return rebuild_journal(lock, run, plan, settings_, components)

    def accounts(self, tenant: str = "sd") -> dict[str, list[dict[str, Any]]]:
        """Live accounts by marker."""
        found: dict[str, list[dict[str, Any]]] = {}
        for line in self.emulator.accounts(Jenjang(tenant)):
            if not line["deleted"]:
                found.setdefault(line["marker"] or "", []).append(line)
        return found

    def account(self, number: int, tenant: str = "sd") -> dict[str, Any]:
        """The one account of a person, made by at most one insert."""
        (line,) = self.accounts(tenant)[marker(tenant, number)]
        assert line["inserts"] <= 1
        return line["account"]

    def attributes(self, people: list[int], tenant: str) -> list[dict[str, Any]]:
        """What the directory says of these people, but for the tenant's domain; each has one account, made once."""
        there = self.accounts(tenant)
        lines = [line for number in people for line in there[marker(tenant, number)]]
        assert [line["inserts"] for line in lines] == [1] * len(people)
        return [attributes_of(line["account"]) | {"domain": ""} for line in lines]

    def plant(self, number: int, tenant: str = "sd", **changes: Any) -> str:
        """An account of ours that an earlier run made."""
        row = creation(tenant, number)
        account = {
            "primaryEmail": row["address"],
            "name": {"givenName": row["given_name"], "familyName": row["family_name"]},
            "externalIds": [{"type": "custom", "customType": "recon", "value": row["marker"]}],
        }
        return self.emulator.plant(Jenjang(tenant), [account | changes])[0]

    def applied(self) -> int:
        """Writes that took effect since the emulator's start."""
        return sum(sum(counts.values()) for counts in self.emulator.stats()["applied"].values())

    def journal(self, run: RunFolder | None = None) -> Journal:
        """A run's journal, the latest run's by default."""
        return Journal.open((run or self.runs[-1]).journal, clock=CLOCK)


def numbers(count: int) -> list[int]:
    """People no other test knows."""
    return list(itertools.islice(NUMBERS, count))
