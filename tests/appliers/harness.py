"""Starts appliers, kills them, lets them come to an end, and has the directory judged.

A swarm is many small plans in one directory. Each plan is a case of its own, with its own state folder and seed: its appliers are killed
one after the other, at a named point or at a random instant, among faults, while somebody else renames what has just been made.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from enum import IntEnum
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import orjson
import polars as pl

import belajarid_recon
from appliers.deck import CALLS_OF_REBUILD, DRAWN, KINDS_DEALT, STALE, Deck, calls_of, met_name
from appliers.disk import DiskFault
from appliers.further import OLD_MEMBERS, RETURNS, UNIT_BEFORE, further_steps, group_of, kept_accounts
from appliers.host import FAULTY, REFUSED, STOPPED
from appliers.naive import POINTS as NAIVE_POINTS
from appliers.oracle import Case, Group, Seen, Violation, violations
from appliers.plans import DOMAINS, Target, creation, orgunit, plan_of, settings_of, update
from belajarid_recon.apply.killpoints import KillPoint
from belajarid_recon.components import ScaledClock, SystemRandomness
from belajarid_recon.directory.chains import pages
from belajarid_recon.directory.connect import connect
from belajarid_recon.directory.google import GoogleDirectory
from belajarid_recon.directory.interface import MemberPage, Reply, Verdict
from belajarid_recon.emulator.faults import KINDS
from belajarid_recon.emulator.launch import EmulatorProcess
from belajarid_recon.emulator.settings import EmulatorLag, EmulatorSettings
from belajarid_recon.errors import ReconError
from belajarid_recon.plan.file import write_plan
from belajarid_recon.schemas import Action, Jenjang
from belajarid_recon.state.folders import RunStatus, new_run

TENANTS = (Jenjang.SD, Jenjang.SMP)
_TENANTS_OF_CASE = ((Jenjang.SD,), (Jenjang.SMP,), TENANTS)
FURTHER_EVERY = 4
"""Every so many cases have steps for aliases, deletions and a group as well."""
TIME_SCALE = 1_000.0
APPLY = {"in_flight": 6, "attempts": 100, "crashes": 100, "lag_seconds": 20.0}
"""Hundreds of kills are no poison: no step may be parked for them."""
CASES_AT_ONCE = 50
"""Planted and planned together."""
UNITS_EVERY = 4
"""Every so many cases have steps for units, and a unit for their epoch: each reading of units reads those of all cases."""
MEDDLED_EVERY = 3
"""Every so many cases have another administrator who does to their accounts what the emulator can do; to the others one only renames."""
REBUILT_EVERY = 11
"""Every so many cases lose their journal's word once, and have it made anew; the second one already, for small swarms."""
STOPS_MAX = 20
"""How often the directory may stop a case's appliers in a row: each fault stops one at most."""
IN_FLIGHT_SECONDS = 0.003
"""Real seconds until a call that left before a kill has been carried out."""
LAG = EmulatorLag(insert_seconds=6.0, rename_seconds=6.0, list_seconds=12.0, search_seconds=12.0)
"""Within the lag that appliers are told of. An account's own share of it, so that much is seen at once and much is not."""
MEDDLINGS = tuple(kind for kind in KINDS if KINDS[kind].meddles)
POINT_SECONDS_MAX = 120.0
"""An applier that has neither reached its kill point nor its end by then hangs."""
MEMORY = Path("/dev/shm")  # noqa: S108 - a fresh folder of mkdtemp's is made in it
_ONCE = {
    KillPoint.LEASE_TAKEN,
    KillPoint.EPOCH_NOTED,
    KillPoint.ADDRESSES_RESERVED,
    KillPoint.JOURNAL_READY,
    KillPoint.APPLYING_MARKED,
}
_ON_THE_WAY_OUT = (
    KillPoint.READ_BACK,
    KillPoint.READ_BACK_COMMITTED,
    KillPoint.ALL_SETTLED,
    KillPoint.LIFECYCLE_RECORDED,
    KillPoint.HANDOFFS_RECORDED,
)
_ON_THE_WAY = [point for point in KillPoint if point not in {*_ON_THE_WAY_OUT, KillPoint.JOURNAL_ASIDE}]
"""Those of every apply; a rebuild has one of its own."""


class End(IntEnum):
    """How a life ended; only one that came to the end of its run is false."""

    FINISHED = 0
    KILLED = 1
    STOPPED = 2
    """By the directory, its disk, or a fault of its own, as was to be."""


@dataclass(frozen=True)
class SwarmRequest:
    """How much is done to whom."""

    kills: int
    seed: int
    applier: str = "real"
    creations: int = 5
    """In each tenant and case; also the most of its changes."""
    kills_of_case: int = 8
    random_share: float = 0.0
    """Share of the kills at a random instant instead of a named point."""
    random_seconds_max: float = 0.1
    faults: int = 2
    """The most of each life."""
    others: bool = True
    """Whether somebody else squats, renames and meddles."""
    further: bool = True
    """Whether there are steps for aliases, deletions, rights and groups: naive appliers know none."""
    lag: bool = True
    """Whether the directory takes its time to agree with itself."""


@dataclass
class Report:
    """What a swarm came to."""

    seed: int
    cases: int = 0
    kills: int = 0
    by_point: Counter[str] = field(default_factory=Counter)
    missed: int = 0
    """Lives that ended before their point."""
    met: Counter[str] = field(default_factory=Counter)
    """Faults that struck, by kind; `lag-…`: what the emulator refused because it was too early."""
    stopped: int = 0
    """Lives that the directory ended."""
    renamed: int = 0
    violations: list[Violation] = field(default_factory=list)

    @property
    def points_hit(self) -> float:
        """Share of the kill points at which somebody was killed."""
        return points_hit(self.by_point)

    @property
    def faults(self) -> int:
        """Faults met."""
        return sum(self.met.values())

    def line(self) -> str:
        """For people."""
        points = ", ".join(f"{point} {count}" for point, count in sorted(self.by_point.items()))
        return (
            f"seed {self.seed}: {self.kills} kills in {self.cases} cases, {self.points_hit:.0%} of the kill points hit ({points}); "
            f"{self.faults} faults of {len(KINDS_DEALT & {*self.met})} kinds out of {len(KINDS_DEALT)} met "
            f"({', '.join(f'{kind} {count}' for kind, count in sorted(self.met.items()))}), {self.stopped} lives stopped by them, "
            f"{self.renamed} accounts renamed by others; {len(self.violations)} violations"
        )


def points_hit(by_point: Counter[str]) -> float:
    """Share of the kill points at which somebody was killed."""
    return len({*KillPoint} & {*by_point}) / len(KillPoint)


class Hosts:
    """Appliers, each in a process of its own: forked by one host, or started afresh with the next one warming up."""

    def __init__(self, target: Target, *, forks: bool, **apply: Any) -> None:
        self._forks = forks
        world = {
            "target": asdict(target) | {"state": str(target.state), "credentials": str(target.credentials)},
            "apply": APPLY | apply,
            "forks": forks,
        }
        self._command = [sys.executable, "-m", "appliers.host", orjson.dumps(world).decode()]
        paths = [str(Path(belajarid_recon.__file__).parent.parent), str(Path(__file__).parent.parent)]
        paths += filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
        self._environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "POLARS_MAX_THREADS": "1"}
        self._waiting: deque[subprocess.Popen[bytes]] = deque()
        self._start()

    def _start(self) -> None:
        # Unbuffered, so that select sees what is left.
        self._waiting.append(
            subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, env=self._environment
            )
        )

    def live(self, command: dict[str, Any], kill_after: float | None) -> int:
        """Have an applier live, kill it as asked, and return how it ended (negative: by that signal)."""
        if not self._forks:
            self._start()
        host = self._waiting.popleft()
        host.stdin.write(orjson.dumps(command) + b"\n")
        pid = self._hear(host, "pid")
        status = self._hear(host, "applying", "status")
        began = status is True
        if began and kill_after is not None and not select.select([host.stdout], [], [], kill_after)[0]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self._forks:
            self._waiting.append(host)
            return int(self._hear(host, "status") if began else status)
        status = host.wait(POINT_SECONDS_MAX)
        _close(host)
        return status

    def _hear(self, host: subprocess.Popen[bytes], *names: str) -> Any:
        """The next line's value under one of `names`."""
        if not select.select([host.stdout], [], [], POINT_SECONDS_MAX)[0]:
            raise AssertionError("the applier hangs")
        document = orjson.loads(host.stdout.readline())
        return next(document[name] for name in names if name in document)

    def close(self) -> None:
        """End the hosts that wait."""
        for host in self._waiting:
            _close(host)


def _close(host: subprocess.Popen[bytes]) -> None:
    host.stdin.close()
    host.stdout.close()
    host.wait(POINT_SECONDS_MAX)


@dataclass
class _Draft:
    """A case in the making."""

    number: int
    chance: random.Random
    tenants: tuple[Jenjang, ...]
    meddles: str
    rows: list[dict[str, Any]] = field(default_factory=list)
    squatted: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, number: int, request: SwarmRequest) -> _Draft:
        """Who it is about, as its seed says."""
        chance = random.Random(f"{request.seed}:{number}")  # noqa: S311 - repeatable
        return cls(number, chance, chance.choice(_TENANTS_OF_CASE), _meddles(number, request))

    def squat(self, request: SwarmRequest, addresses: Sequence[str]) -> None:
        """Give somebody else one of these addresses, or leave them free.

        Not where another administrator meddles: one who renames or deletes the squatter would free its address.
        """
        if request.others and self.chance.random() < 0.5 and not self.meddles:
            self.squatted.add(self.chance.choice(addresses))


@dataclass
class Arena:
    """An emulator, somebody who looks at it, and appliers."""

    folder: Path
    emulator: EmulatorProcess
    target: Target
    hosts: Hosts
    cases: list[Case] = field(default_factory=list)
    before: dict[Jenjang, dict[str, dict[str, Any]]] = field(default_factory=lambda: {tenant: {} for tenant in TENANTS})
    """Id to account, of all that were there before a case's plan."""
    strangers: dict[Jenjang, list[str]] = field(default_factory=lambda: {tenant: [] for tenant in TENANTS})
    """Ids of accounts of others; the first one is a model."""
    groups: dict[Jenjang, dict[str, Group]] = field(default_factory=lambda: {tenant: {} for tenant in TENANTS})
    """Those that were there before."""
    units: dict[Jenjang, set[str]] = field(default_factory=lambda: {tenant: set() for tenant in TENANTS})
    own: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Effects of our own preparations, by method and tenant."""
    sign_in: bool = False
    """Whether a fault has ended a token."""

    @cached_property
    def directories(self) -> dict[Jenjang, GoogleDirectory]:
        """As appliers have them."""
        clock = ScaledClock(TIME_SCALE)
        return {
            Jenjang(tenant): directory
            for tenant, directory in connect(settings_of(self.target, **APPLY), clock, SystemRandomness()).items()
        }

    def close(self) -> None:
        """End our own connections."""
        for directory in self.directories.values():
            directory.close()

    def prepare(self, request: SwarmRequest, count: int) -> list[Case]:
        """Make the next `count` cases: their plans, and who is in the directory before."""
        first = len(self.cases)
        drafts = [_Draft.of(first + n, request) for n in range(count)]
        for tenant in TENANTS:
            if not self.strangers[tenant]:
                self.strangers[tenant] += self._plant(tenant, [{"primaryEmail": f"contoh@{DOMAINS[tenant]}"}])
            theirs = [draft for draft in drafts if tenant in draft.tenants]
            self._add_creations_and_changes(tenant, theirs, request)
            if request.further:
                self._add_further(tenant, [draft for draft in theirs if draft.number % FURTHER_EVERY == 1], request)
        self._squat({address for draft in drafts for address in draft.squatted})
        self.cases += [self._planned(draft, request) for draft in drafts]
        return self.cases[first:]

    def _add_creations_and_changes(self, tenant: Jenjang, drafts: list[_Draft], request: SwarmRequest) -> None:
        """Give these cases steps for accounts that are to be made, and for some that were made before."""
        changed = []
        for draft in drafts:
            made = _creations(tenant, draft.number, draft.chance.randint(1, request.creations))
            draft.rows += made
            draft.squat(request, [row["address"] for row in made if row["action"] == Action.CREATE])
            changed.append(_changed(tenant, draft.number, draft.chance, request))
        ids = iter(self._plant(tenant, [_ours(row) for group in changed for row in group]))
        for draft, group in zip(drafts, changed, strict=True):
            draft.rows += [_change(tenant, row, next(ids), draft.chance) for row in group]

    def _add_further(self, tenant: Jenjang, drafts: list[_Draft], request: SwarmRequest) -> None:
        """Give these cases steps of the other kinds, and make what has to be there for them."""
        if drafts and not self.units[tenant]:
            parent, _, name = UNIT_BEFORE.rpartition("/")
            self._do(tenant, "orgunits.insert", partial(self.directories[tenant].insert_orgunit, parent or "/", name))
            self.units[tenant].add(UNIT_BEFORE)
        kept = [kept_accounts(tenant, _first_further(tenant, draft.number)) for draft in drafts]
        ids = iter(self._plant(tenant, [_ours(row) | other for pairs in kept for row, other in pairs]))
        for draft, pairs in zip(drafts, kept, strict=True):
            theirs = [next(ids) for _ in pairs]
            first = _first_further(tenant, draft.number)
            self._do(tenant, "users.delete", partial(self.directories[tenant].delete_account, theirs[RETURNS]))
            self._plant_group(tenant, first, [theirs[member] for member in OLD_MEMBERS])
            draft.rows += further_steps(tenant, first, theirs)
            draft.squat(request, [group_of(tenant, first)["address"]])

    def _planned(self, draft: _Draft, request: SwarmRequest) -> Case:
        """The case, with its plan in a state folder of its own."""
        state = self.folder / f"state-{draft.number}"
        state.mkdir()
        case = Case(
            new_run(state, ScaledClock(), SystemRandomness()),
            plan_of(draft.rows, self.target.customer_ids),
            f"{request.seed}:{draft.number}",
            frozenset(draft.squatted),
            unit=f"/Zaman {draft.number}" if draft.number % UNITS_EVERY == 0 else "",
            meddles=draft.meddles,
        )
        write_plan(case.run.plan, case.plan)
        return case

    def _plant(self, tenant: Jenjang, accounts: list[dict[str, Any]]) -> list[str]:
        """Make accounts, and remember them as they are."""
        ids = self.emulator.plant(tenant, accounts)
        made = {*ids}
        for line in self.emulator.accounts(tenant):
            if line["account"]["id"] in made:
                self.before[tenant][line["account"]["id"]] = line["account"]
        return ids

    def _plant_group(self, tenant: Jenjang, first: int, members: list[str]) -> None:
        """A group of ours that was there before, as a plan of then made it."""
        group, directory = group_of(tenant, first, old=True), self.directories[tenant]
        body = {"email": group["address"], "name": "Lama", "description": f"Dikelola otomatis ({group['marker']})"}
        self._do(tenant, "groups.insert", partial(directory.insert_group, body))
        for member in members:
            self._do(tenant, "members.insert", partial(directory.insert_member, group["address"], member))
        made = directory.get_group(group["address"])
        self.groups[tenant][group["address"]] = Group(dict(made or {}), frozenset(members))

    def _do(self, tenant: Jenjang, method: str, send: Callable[[], Reply]) -> None:
        """One of our own changes."""
        reply = send()
        if reply.verdict is not Verdict.DONE:
            raise AssertionError(f"a preparation was not carried out: {method}, {reply}")
        self.own[method, tenant] += 1

    def _squat(self, addresses: set[str]) -> None:
        for tenant in TENANTS:
            theirs = sorted(address for address in addresses if address.endswith(f"@{DOMAINS[tenant]}"))
            self.strangers[tenant] += self._plant(tenant, [{"primaryEmail": address} for address in theirs])

    def live(
        self,
        case: Case,
        applier: str = "real",
        *,
        point: str = "",
        kill_after: float | None = None,
        disk: tuple[DiskFault, int] | None = None,
        poison: tuple[str, str] | None = None,
        may_stop: bool = False,
    ) -> End:
        """Let an applier live, and say how it ended; only with `may_stop` the directory may make it stop. Any other bad end is an error."""
        command = {
            "applier": applier,
            "kill_point": point,
            "disk": disk,
            "poison": poison,
            "unit": case.unit,
            "sign_in": self.sign_in,
            "may_stop": may_stop,
            "state": str(case.run.state),
            "run_id": case.run.run_id,
        }
        self.sign_in = False
        status = self.hosts.live(command, kill_after)
        stops = ({REFUSED} if disk else set()) | ({FAULTY} if poison else set()) | ({STOPPED} if may_stop else set())
        if status not in {0, -signal.SIGKILL} | stops:
            raise AssertionError(f"the applier ended with status {status}, seed {case.seed}; its message is above")
        if status == 0 and applier == "real" and case.run.status() is not RunStatus.CLOSED:
            raise AssertionError(f"the run is not closed, seed {case.seed}")
        return End.FINISHED if status == 0 else End.STOPPED if status in stops else End.KILLED

    def strikes(self, case: Case) -> Counter[str]:
        """What the faults did since they were scripted, by kind, once it is noted whom it was done to; the script is forgotten."""
        met: Counter[str] = Counter()
        for strike in self.emulator.strikes():
            met[met_name(strike["kind"], strike["status"])] += 1
            self.sign_in |= strike["kind"] == "expired-token"
            if strike["account"] is not None:
                case.meddled.add(strike["account"])
            if strike["kind"] == "unchanged":
                case.pretended[strike["tenant"], strike["method"]] += 1
        self.emulator.clear_faults()
        return met

    def rename(self, case: Case) -> bool:
        """Have somebody else give the newest account that a case has made another address, and its old one to nobody.

        The newest is the one whose answer the applier may not have had.
        """
        made = case.plan.steps.whole().filter(pl.col("action") == "create")
        for tenant, marker, address in reversed(made.select("tenant", "marker", "address").rows()):
            if marker in case.moved or address in case.squatted:
                continue
            moved_to = address.replace("budi.", "pindah.")
            with contextlib.suppress(ReconError):
                self.emulator.edit(Jenjang(tenant), address, {"primaryEmail": moved_to, "aliases": []})
                case.moved[marker] = moved_to
                return True
        return False

    def judge(self) -> list[Violation]:
        """What is wrong in the directory now that every case is said to be applied."""
        seen = {str(tenant): self._seen(tenant, directory) for tenant, directory in self.directories.items()}
        return violations(self.cases, seen) + [Violation("", what) for what in unfit(self.emulator.stats())]

    def _seen(self, tenant: Jenjang, directory: GoogleDirectory) -> Seen:
        """One tenant as it stands."""
        units = {case.unit for case in self.cases if case.unit and str(tenant) in case.tenants}
        applied = self.emulator.stats()["applied"]
        return Seen(
            lines=[*self.emulator.accounts(tenant)],
            paths=directory.orgunit_paths(),
            before=self.before[tenant],
            strangers={*self.strangers[tenant]},
            model=self.before[tenant][self.strangers[tenant][0]],
            notes={unit: str((directory.get_orgunit(unit) or {}).get("description")) for unit in units},
            groups=_groups_of(directory),
            planted=self.groups[tenant],
            units=self.units[tenant],
            applied={method: counts.get(tenant, 0) - self.own[method, tenant] for method, counts in applied.items()},
        )


def _groups_of(directory: GoogleDirectory) -> dict[str, Group]:
    """Every group with its members, by address."""
    found = {}
    for domain in directory.domains():
        for page in pages(partial(directory.list_groups, domain), "groups", threading.Event()):
            for group in page.groups:
                listed = pages(partial(_member_page, directory, group["email"]), "members", threading.Event())
                found[group["email"]] = Group(
                    dict(group), frozenset(str(one["id"]) for page in listed for one in page.members)
                )
    return found


def _member_page(directory: GoogleDirectory, group: str, token: str | None) -> MemberPage:
    return directory.list_members(group, token) or MemberPage([], None)


def unfit(stats: Mapping[str, Any]) -> list[str]:
    """Requests and replies of a run that the discovery document does not know, as an emulator with `check_replies` has counted them."""
    if not stats["checked_replies"]:
        return ["no reply was held against the discovery document"]
    replies = [f"{method}{fault}" for method, faults in stats["unfit_replies"].items() for fault in faults]
    return [f"a request that does not fit: {method}" for method in stats["unfit_requests"]] + [
        f"a reply that does not fit: {what}" for what in replies
    ]


def _creations(tenant: Jenjang, case: int, count: int) -> list[dict[str, Any]]:
    """Steps of one case in one tenant; every few cases have units to make first, one below the other."""
    units = [f"/Kelas {case}", f"/Kelas {case}/Siswa"] if case % UNITS_EVERY == 0 else []
    numbers = range(_first(tenant, case), _first(tenant, case) + count)
    return [orgunit(tenant, path) for path in units] + [
        creation(tenant, number, ou_path=units[-1] if units else "/") for number in numbers
    ]


def _changed(tenant: Jenjang, case: int, chance: random.Random, request: SwarmRequest) -> list[dict[str, Any]]:
    """Accounts of ours that a case finds and changes."""
    first = _first(tenant, case) + 250
    return [creation(tenant, first + n) for n in range(chance.randint(0, request.creations))]


def _first(tenant: Jenjang, case: int) -> int:
    """The first person of a case in a tenant: 250 to be made, 250 to be changed."""
    return case * 1_000 + TENANTS.index(tenant) * 500


def _first_further(tenant: Jenjang, case: int) -> int:
    """The first person whom further steps are about."""
    return _first(tenant, case) + 400


def _meddles(case: int, request: SwarmRequest) -> str:
    """What another administrator does to a case's accounts, or nothing.

    One thing only: who is unmarked and renamed is nobody's any more.
    """
    if not request.others or not request.faults or case % MEDDLED_EVERY:
        return ""
    return MEDDLINGS[case // MEDDLED_EVERY % len(MEDDLINGS)]


def _ours(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "primaryEmail": row["address"],
        "name": {"givenName": row["given_name"], "familyName": row["family_name"]},
        "externalIds": [{"type": "custom", "customType": "recon", "value": row["marker"]}],
    }


def _change(tenant: Jenjang, row: dict[str, Any], target_id: str, chance: random.Random) -> dict[str, Any]:
    """A step that renames, mends or suspends the account."""
    local, domain = row["address"].split("@")
    number = int(row["npsn"]) - 20_000_000
    name = {"given_name": row["given_name"], "family_name": row["family_name"]}
    action, before, after = chance.choice(
        [
            (Action.RENAME, {"domain": domain}, {"address": f"{local}@guru.{domain}"}),
            (Action.UPDATE, name, name | {"given_name": "Budiman"}),
            (Action.SUSPEND, {"suspended": False}, {"suspended": True}),
        ]
    )
    return update(tenant, number, target_id, before, action=action.value, **after)


@contextmanager
def arena_of(*, forks: bool, lag: EmulatorLag | None = None, **apply: Any) -> Iterator[Arena]:
    """An empty directory, in memory where the machine allows: a kill of a process needs no disk to be survived.

    `apply` is what the appliers' settings have otherwise.
    """
    folder = Path(tempfile.mkdtemp(prefix="kills-", dir=MEMORY if os.access(MEMORY, os.W_OK) else None))
    emulator_settings = EmulatorSettings(
        folder / "emulator",
        scale=TIME_SCALE,
        tenants=TENANTS,
        token_life_seconds=1e8,
        latency_seconds=0.001,
        check_replies=True,
        lag=lag or EmulatorLag(),
    )
    try:
        with EmulatorProcess(emulator_settings) as emulator:
            target = Target(
                state=folder / "state",
                customer_ids={str(tenant): customer for tenant, customer in emulator.customer_ids.items()},
                url=emulator.url,
                credentials=emulator.folder / "credentials",
                time_scale=TIME_SCALE,
            )
            hosts = Hosts(target, forks=forks, **apply)
            arena = Arena(folder, emulator, target, hosts)
            with contextlib.closing(hosts), contextlib.closing(arena):
                yield arena
    finally:
        shutil.rmtree(folder)


def swarm(arena: Arena, request: SwarmRequest) -> Report:
    """Kill appliers until there were `request.kills`, let every case come to its end, and judge."""
    report = Report(request.seed)
    points = itertools.cycle(_ON_THE_WAY if request.applier == "real" else NAIVE_POINTS)
    deck = Deck(request.seed, report.met)
    while report.kills < request.kills:
        for case in arena.prepare(request, min(CASES_AT_ONCE, (request.kills - report.kills) // 4 + 1)):
            _Lives(arena, case, request, deck, report).live_and_die(points)
    early = arena.emulator.stats()["rejected"].get("users.update", {})
    report.met.update({f"lag-{reason}": count for reason, count in early.items()})
    report.violations = arena.judge()
    return report


AT_ONCE = 2
"""Swarms side by side: one for each processor of a small machine."""


def swarms(requests: Sequence[SwarmRequest], *, forks: bool) -> Iterator[Report]:
    """Swarms, each in a directory of its own, two at a time; their reports in the order of the requests."""

    def one(request: SwarmRequest) -> Report:
        with arena_of(forks=forks, lag=replace(LAG, seed=request.seed) if request.lag else None) as arena:
            return swarm(arena, request)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield from pool.map(one, requests)


@dataclass
class _Lives:
    """One case from its first applier to the one that comes to the end."""

    arena: Arena
    case: Case
    request: SwarmRequest
    deck: Deck
    report: Report
    chance: random.Random = field(init=False)
    number: int = field(init=False)

    def __post_init__(self) -> None:
        self.chance = random.Random(f"{self.case.seed}:lives")  # noqa: S311 - a case can be repeated
        self.number = int(self.case.seed.rpartition(":")[2])

    def live_and_die(self, points: Iterator[KillPoint]) -> None:
        """Be killed a few times on the way, at each point on the way out, and live to the end."""
        request, report, chance = self.request, self.report, self.chance
        report.cases += 1
        to_rebuild = request.applier == "real" and self.number % REBUILT_EVERY == 1
        for _ in range(min(chance.randint(1, request.kills_of_case), request.kills - report.kills)):
            if chance.random() < request.random_share:
                end = self._live("random", kill_after=chance.uniform(0, request.random_seconds_max))
            else:
                point = next(points)
                end = self._live(point, point=f"{point}:{1 if point in _ONCE else chance.randint(1, 4)}")
            if end is End.FINISHED:
                report.missed += 1
                return
            report.renamed += request.others and chance.random() < 0.5 and self._rename()
            if to_rebuild and self.case.run.status() is RunStatus.APPLYING:
                to_rebuild = False
                self._rebuild()
        ways_out = _ON_THE_WAY_OUT if request.applier == "real" and report.kills < request.kills else ()
        for point in ways_out:
            if self._live_until_killed(point):
                # Nothing was to be read back: the run has come to its end without passing there.
                report.missed += 1
                return
        if self._live_on() is not End.FINISHED:
            raise AssertionError("the last applier was not to be killed")

    def _live_until_killed(self, point: KillPoint) -> bool:
        """Live until killed there; whether the run came to its end without passing."""
        return self._live_on(point, point=f"{point}:1") is End.FINISHED

    def _rebuild(self) -> None:
        """Have the journal made anew, by one who is killed between its two moves and by another."""
        aside = KillPoint.JOURNAL_ASIDE
        if self._live_on(aside, "rebuild", point=f"{aside}:1") is not End.KILLED:
            raise AssertionError("a rebuild does not pass between its moves")
        if self._live_on("", "rebuild") is not End.FINISHED:
            raise AssertionError("the last rebuild was not to be killed")

    def _live_on(self, name: str = "", applier: str = "", **kill: Any) -> End:
        """Live until something else than the directory ends it."""
        for _ in range(STOPS_MAX):
            end = self._live(name, applier, **kill)
            if end is not End.STOPPED:
                return end
        raise AssertionError(f"the directory stops every applier, seed {self.case.seed}")

    def _live(self, name: str, applier: str = "", **kill: Any) -> End:
        """One life among faults; a kill counts under `name`."""
        if self.request.faults:
            self._script_faults(applier)
        applier = applier or self.request.applier
        end = self.arena.live(self.case, applier, **kill, may_stop=bool(self.request.faults))
        if end is End.KILLED:
            self.report.kills += 1
            self.report.by_point[name] += 1
            # What left before the kill may meet its fault after it.
            time.sleep(IN_FLIGHT_SECONDS)
        self.report.stopped += end is End.STOPPED
        if self.request.faults:
            self.report.met.update(self.arena.strikes(self.case))
        return end

    def _rename(self) -> bool:
        """Two other administrators at one account would be too much: who is unmarked and renamed is nobody's."""
        return not self.case.meddles and self.arena.rename(self.case)

    def _script_faults(self, applier: str) -> None:
        """Faults for one life: of the deck, or now and then the emulator's own swarm."""
        chance, emulator = self.chance, self.arena.emulator
        if chance.random() < DRAWN_SHARE:
            emulator.swarm(chance.getrandbits(32), [*DRAWN])
            return
        calls = calls_of(self._actions, unit=bool(self.case.unit)) | (CALLS_OF_REBUILD if applier else frozenset())
        stale = False
        for rarest in [True, *[False] * self.request.faults][: chance.randint(0, self.request.faults)]:
            # Two could make every reading of one account stale, as no reading is for longer than the lag.
            method, card = self.deck.deal(calls, meddles=self.case.meddles, stale=not stale, rarest=rarest)
            stale = stale or card.name == STALE
            emulator.fault(method, card.kind, after=chance.choice(_LET_THROUGH), **card.script)

    @cached_property
    def _actions(self) -> set[str]:
        return {step.action for step in self.case.steps}


DRAWN_SHARE = 1 / 10
"""Of lives among faults that the emulator draws."""
_LET_THROUGH = (0, 0, 0, 1, 1, 2, 3)
"""Calls of the method before the one that is struck: a life has few of most."""
