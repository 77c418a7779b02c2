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
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson
import polars as pl

import belajarid_recon
from appliers.disk import DiskFault
from appliers.further import ABOUT_GROUPS, further_steps, kept_accounts, wrong_with_group
from appliers.host import FAULTY, REFUSED
from appliers.naive import POINTS as NAIVE_POINTS
from appliers.oracle import Case, Seen, Violation, violations
from appliers.plans import DOMAINS, Target, creation, orgunit, plan_of, settings_of, update
from belajarid_recon.apply.body import read_steps
from belajarid_recon.apply.killpoints import KillPoint
from belajarid_recon.components import ScaledClock, SystemRandomness
from belajarid_recon.directory.connect import connect
from belajarid_recon.emulator.launch import EmulatorProcess
from belajarid_recon.emulator.settings import EmulatorSettings
from belajarid_recon.errors import ReconError
from belajarid_recon.plan.file import write_plan
from belajarid_recon.schemas import Jenjang
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
APPLIED = [point for point in KillPoint if point is not KillPoint.JOURNAL_ASIDE]
"""The kill points of an apply."""
_ON_THE_WAY = [point for point in APPLIED if point not in _ON_THE_WAY_OUT]


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
    """Whether somebody else squats and renames."""
    further: bool = True
    """Whether there are steps for aliases, deletions and groups: naive appliers know none."""


@dataclass
class Report:
    """What a swarm came to."""

    seed: int
    cases: int = 0
    kills: int = 0
    by_point: Counter[str] = field(default_factory=Counter)
    missed: int = 0
    """Lives that ended before their point."""
    faults: int = 0
    renamed: int = 0
    violations: list[Violation] = field(default_factory=list)

    @property
    def points_hit(self) -> float:
        """Share of the kill points at which somebody was killed."""
        return len({*APPLIED} & {*self.by_point}) / len(APPLIED)

    def line(self) -> str:
        """For people."""
        points = ", ".join(f"{point} {count}" for point, count in sorted(self.by_point.items()))
        return (
            f"seed {self.seed}: {self.kills} kills in {self.cases} cases, {self.points_hit:.0%} of the kill points hit ({points}); "
            f"{self.faults} faults met, {self.renamed} accounts renamed by others; {len(self.violations)} violations"
        )


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
class Arena:
    """An emulator, somebody who looks at it, and appliers."""

    folder: Path
    emulator: EmulatorProcess
    target: Target
    hosts: Hosts
    cases: list[Case] = field(default_factory=list)
    strangers: dict[Jenjang, list[dict[str, Any]]] = field(default_factory=lambda: {tenant: [] for tenant in TENANTS})

    def prepare(self, request: SwarmRequest, count: int) -> list[Case]:
        """Make the next `count` cases: their plans, and who is in the directory before."""
        first = len(self.cases)
        clock = ScaledClock()
        chances = [random.Random(f"{request.seed}:{n}") for n in range(first, first + count)]  # noqa: S311 - repeatable
        rows: list[list[dict[str, Any]]] = [[] for _ in range(count)]
        squatted: list[set[str]] = [set() for _ in range(count)]
        tenants = [chance.choice(_TENANTS_OF_CASE) for chance in chances]
        for tenant in TENANTS:
            for n, chance in enumerate(chances):
                if tenant not in tenants[n]:
                    continue
                rows[n] += _creations(tenant, first + n, chance.randint(1, request.creations))
                if request.others and chance.random() < 0.5:
                    squatted[n].add(chance.choice([row["address"] for row in rows[n] if row.get("address")]))
            changed = [
                _changed(tenant, first + n, chance, request) if tenant in tenants[n] else []
                for n, chance in enumerate(chances)
            ]
            ids = iter(self.emulator.plant(tenant, [_ours(row) for group in changed for row in group]))
            for n, group in enumerate(changed):
                rows[n] += [_change(tenant, row, next(ids), chances[n]) for row in group]
            if request.further:
                self._add_further(tenant, first, [n for n in range(count) if tenant in tenants[n]], rows)
        self._squat({address for addresses in squatted for address in addresses})
        for n, chance in enumerate(chances):
            chance.random()
            state = self.folder / f"state-{first + n}"
            state.mkdir()
            case = Case(
                new_run(state, clock, SystemRandomness()),
                plan_of(rows[n], self.target.customer_ids),
                f"{request.seed}:{first + n}",
                frozenset(squatted[n]),
                unit=f"/Zaman {first + n}" if (first + n) % UNITS_EVERY == 0 else "",
            )
            write_plan(case.run.plan, case.plan)
            self.cases.append(case)
        return self.cases[first:]

    def _add_further(self, tenant: Jenjang, first: int, cases: list[int], rows: list[list[dict[str, Any]]]) -> None:
        """Give every few of these cases steps of the other kinds."""
        chosen = [n for n in cases if (first + n) % FURTHER_EVERY == 1]
        kept = {n: kept_accounts(tenant, _first(tenant, first + n) + 400) for n in chosen}
        ids = iter(self.emulator.plant(tenant, [_ours(row) | other for pairs in kept.values() for row, other in pairs]))
        for n, pairs in kept.items():
            rows[n] += further_steps(tenant, _first(tenant, first + n) + 400, [next(ids) for _ in pairs])

    def _squat(self, addresses: set[str]) -> None:
        for tenant in TENANTS:
            theirs = sorted(address for address in addresses if address.endswith(f"@{DOMAINS[tenant]}"))
            self.emulator.plant(tenant, [{"primaryEmail": address} for address in theirs])
            lines = self.emulator.accounts(tenant)
            self.strangers[tenant] = [line["account"] for line in lines if line["marker"] is None]

    def live(
        self,
        case: Case,
        applier: str = "real",
        *,
        point: str = "",
        kill_after: float | None = None,
        disk: tuple[DiskFault, int] | None = None,
        poison: tuple[str, str] | None = None,
    ) -> bool:
        """Let an applier live; whether it was killed, or stopped by its disk or a poison. Any other bad end is an error."""
        command = {
            "applier": applier,
            "kill_point": point,
            "disk": disk,
            "poison": poison,
            "unit": case.unit,
            "state": str(case.run.state),
            "run_id": case.run.run_id,
        }
        status = self.hosts.live(command, kill_after)
        expected = {0, -signal.SIGKILL} | ({REFUSED} if disk else set()) | ({FAULTY} if poison else set())
        if status not in expected:
            raise AssertionError(f"the applier ended with status {status}, seed {case.seed}; its message is above")
        if status == 0 and applier == "real" and case.run.status() is not RunStatus.CLOSED:
            raise AssertionError(f"the run is not closed, seed {case.seed}")
        return status != 0

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
        clock = ScaledClock(TIME_SCALE)
        directories = connect(settings_of(self.target, **APPLY), clock, SystemRandomness())
        seen = {}
        for tenant, directory in directories.items():
            lines = [line for line in self.emulator.accounts(tenant) if not line["deleted"]]
            notes = {
                case.unit: str((directory.get_orgunit(case.unit) or {}).get("description"))
                for case in self.cases
                if case.unit and str(tenant) in case.tenants
            }
            groups = [
                Violation(case.seed, what)
                for case in self.cases
                for step in read_steps(case.plan.steps.pieces(), pl.col("tenant") == str(tenant))
                if step.action in ABOUT_GROUPS
                for what in wrong_with_group(step, case.squatted, directory)
            ]
            seen[str(tenant)] = Seen(lines, directory.orgunit_paths(), self.strangers[tenant], notes, groups)
            directory.close()
        return violations(self.cases, seen) + [Violation("", what) for what in unfit(self.emulator.stats())]


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
    before, after = chance.choice(
        [
            ({"domain": domain}, {"address": f"{local}@guru.{domain}"}),
            (name, name | {"given_name": "Budiman"}),
            ({"suspended": False}, {"suspended": True}),
        ]
    )
    return update(tenant, number, target_id, before, **after)


@contextmanager
def arena_of(*, forks: bool, **apply: Any) -> Iterator[Arena]:
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
            with contextlib.closing(hosts):
                yield Arena(folder, emulator, target, hosts)
    finally:
        shutil.rmtree(folder)


def swarm(arena: Arena, request: SwarmRequest) -> Report:
    """Kill appliers until there were `request.kills`, let every case come to its end, and judge."""
    report = Report(request.seed)
    points = itertools.cycle(_ON_THE_WAY if request.applier == "real" else NAIVE_POINTS)
    while report.kills < request.kills:
        for case in arena.prepare(request, min(CASES_AT_ONCE, (request.kills - report.kills) // 4 + 1)):
            _live_and_die(arena, case, request, points, report)
    report.violations = arena.judge()
    return report


AT_ONCE = 2
"""Swarms side by side: one for each processor of a small machine."""


def swarms(requests: Sequence[SwarmRequest], *, forks: bool) -> Iterator[Report]:
    """Swarms, each in a directory of its own, two at a time; their reports in the order of the requests."""

    def one(request: SwarmRequest) -> Report:
        with arena_of(forks=forks) as arena:
            return swarm(arena, request)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield from pool.map(one, requests)


def _live_and_die(arena: Arena, case: Case, request: SwarmRequest, points: Iterator[KillPoint], report: Report) -> None:
    """One case from its first applier to the one that comes to the end."""
    chance = random.Random(f"{case.seed}:lives")  # noqa: S311 - a case can be repeated
    report.cases += 1
    for _ in range(min(chance.randint(1, request.kills_of_case), request.kills - report.kills)):
        report.faults += _script_faults(arena, chance, request)
        if chance.random() < request.random_share:
            name, kill = "random", {"kill_after": chance.uniform(0, request.random_seconds_max)}
        else:
            point = next(points)
            name, kill = point.value, {"point": f"{point}:{1 if point in _ONCE else chance.randint(1, 4)}"}
        if not arena.live(case, request.applier, **kill):
            report.missed += 1
            return
        report.kills += 1
        report.by_point[name] += 1
        report.renamed += request.others and chance.random() < 0.5 and arena.rename(case)
    ways_out = _ON_THE_WAY_OUT if request.applier == "real" and report.kills < request.kills else ()
    for point in ways_out:
        if not arena.live(case, point=f"{point}:1"):
            # Nothing was to be read back: the run has come to its end without passing there.
            report.missed += 1
            return
        report.kills += 1
        report.by_point[point.value] += 1
    report.faults += _script_faults(arena, chance, request)
    if arena.live(case, request.applier):
        raise AssertionError("the last applier was not to be killed")


def _script_faults(arena: Arena, chance: random.Random, request: SwarmRequest) -> int:
    """Faults for the next life; how many the life before it met."""
    if not request.faults:
        return 0
    met = sum(fault["used"] for fault in arena.emulator.stats()["faults"])
    arena.emulator.clear_faults()
    stale = False
    for _ in range(chance.randint(0, request.faults)):
        method, kind, script = chance.choice(_FAULTS)
        after = chance.randint(0, 3)
        # Two could make every reading of one account stale, as no reading is for longer than the lag.
        if not (stale and method == "users.get"):
            arena.emulator.fault(method, kind, after=after, **script)
        stale = stale or method == "users.get"
    return met


_QUOTA = {"status": 403, "reason": "quotaExceeded"}
_FAULTS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("users.insert", "drop-before", {}),
    ("users.insert", "drop-after", {}),
    ("users.insert", "drop-after", {"times": 3}),
    ("users.insert", "status", {"status": 503}),
    ("users.insert", "status-after", {"status": 503}),
    ("users.insert", "bogus-409-after", {}),
    ("users.insert", "status", {"status": 409, "reason": "duplicate"}),
    ("users.insert", "status", _QUOTA),
    ("users.insert", "status", {"status": 429, "reason": "rateLimitExceeded", "retry_after_seconds": 2}),
    ("users.update", "drop-after", {}),
    ("users.update", "drop-before", {}),
    ("users.update", "bogus-409-after", {}),
    ("users.update", "status", {"status": 412, "reason": "conditionNotMet"}),
    ("users.get", "status", {"status": 404, "reason": "notFound"}),
    ("users.get", "status", {"status": 404, "reason": "notFound", "times": 3}),
    ("users.list", "status", {"status": 503}),
    ("orgunits.insert", "status-after", {"status": 401, "reason": "authError"}),
    ("orgunits.insert", "drop-after", {}),
    ("users.aliases.insert", "drop-after", {}),
    ("users.aliases.delete", "drop-after", {}),
    ("users.delete", "drop-after", {}),
    ("groups.insert", "drop-after", {}),
    ("groups.insert", "bogus-409-after", {}),
    ("members.insert", "drop-after", {}),
    ("members.insert", "status", {"status": 409, "reason": "duplicate"}),
)
