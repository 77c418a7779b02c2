"""Starts appliers, kills them, reads what each kill left, and judges the directory at the end.

The judge (`violations`) knows nothing of journals or appliers: it compares the plan with what the emulator says was applied.
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
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson
import polars as pl

import belajarid_recon
from appliers.plans import Target, creation, orgunit, plan_of, settings_of, update
from belajarid_recon.apply.body import Step, attributes_of, carries_step, desired_attributes, read_steps
from belajarid_recon.apply.killpoints import KillPoint
from belajarid_recon.components import ScaledClock, SystemRandomness
from belajarid_recon.directory.connect import connect
from belajarid_recon.directory.google import GoogleDirectory
from belajarid_recon.directory.observed import carries_marker
from belajarid_recon.emulator.launch import EmulatorProcess
from belajarid_recon.emulator.settings import EmulatorSettings
from belajarid_recon.plan.definition import Plan
from belajarid_recon.plan.file import write_plan
from belajarid_recon.schemas import Jenjang
from belajarid_recon.settings import Settings
from belajarid_recon.state.folders import RunFolder, RunStatus, new_run
from belajarid_recon.state.journal import Journal

TENANTS = (Jenjang.SD, Jenjang.SMP)
TIME_SCALE = 1_000.0
LATENCY_SECONDS = 0.01
"""What the emulator waits before each call: it makes calls overlap, so that a kill finds some on their way."""
QUIET_SECONDS = 0.02
"""After a kill, until the emulator has carried out what was already on its socket."""
APPLY = {"in_flight": 6, "attempts": 100, "lag_seconds": 20.0}
RANDOM_SECONDS_MAX = 0.12
"""From the moment an applier begins to work; it needs about a third of it to open its journal."""
POINT_SECONDS_MAX = 0.5
"""An applier that has not reached its kill point by then is killed where it is."""
_PASSED_ONCE = {KillPoint.JOURNAL_READY, KillPoint.ADDRESSES_RESERVED, KillPoint.APPLYING_MARKED}
_ON_THE_WAY_OUT = (
    KillPoint.READ_BACK,
    KillPoint.READ_BACK_COMMITTED,
    KillPoint.ALL_SETTLED,
    KillPoint.LIFECYCLE_RECORDED,
    KillPoint.HANDOFFS_RECORDED,
)


@dataclass
class Kills:
    """What the kills hit."""

    total: int = 0
    by_point: Counter[str] = field(default_factory=Counter)
    without_effect: int = 0
    """Open intents whose request never took effect: the kill fell between intent and send."""
    with_effect: int = 0
    """Open intents whose effect is there: the kill fell between effect and outcome."""
    kills_without_effect: int = 0
    kills_with_effect: int = 0
    settled: int = 0
    """Steps with an outcome after the last kill."""

    def table(self) -> str:
        """For people."""
        points = ", ".join(f"{point} {count}" for point, count in sorted(self.by_point.items()))
        return (
            f"{self.total} kills ({points}); "
            f"{self.kills_without_effect} left an intent without effect ({self.without_effect} intents), "
            f"{self.kills_with_effect} left an effect without outcome ({self.with_effect} intents)"
        )


@dataclass
class Arena:
    """An emulator, a plan, and a host that starts appliers for it."""

    emulator: EmulatorProcess
    settings: Settings
    run: RunFolder
    plan: Plan
    directories: dict[Jenjang, GoogleDirectory]
    host: subprocess.Popen[bytes]
    planted: dict[str, list[dict[str, Any]]]
    """Tenant to accounts of others, as they were before."""
    kills: Kills = field(default_factory=Kills)

    def live(self, *, applier: str = "real", kill_point: str = "", kill_after: float | None = None) -> int:
        """Start an applier, kill it as asked, and return how it ended (negative: by that signal)."""
        self._tell({"applier": applier, "kill_point": kill_point})
        pid = self._hear("pid")
        ended = self._hear("applying", "status")
        killed_by = kill_point.partition(":")[0]
        if ended is True and kill_after is not None and not self._something_to_hear(kill_after):
            killed_by = "random"
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        status = self._hear("status") if ended is True else ended
        if status == -signal.SIGKILL:
            self.kills.total += 1
            self.kills.by_point[killed_by] += 1
        elif status != 0:
            raise AssertionError(f"the applier ended with status {status}; its message is above")
        return int(status)

    def classify(self) -> None:
        """Read what the last kill left open, and whether the directory shows its effect."""
        if not self.run.journal.exists():
            return
        time.sleep(QUIET_SECONDS)
        open_steps = self._open_steps()
        steps = list(read_steps(self.plan.steps, pl.col("step").is_in(open_steps))) if open_steps else []
        effects = [self._has_effect(step) for step in steps]
        self.kills.with_effect += sum(effects)
        self.kills.without_effect += len(effects) - sum(effects)
        self.kills.kills_with_effect += any(effects)
        self.kills.kills_without_effect += not all(effects)

    def _open_steps(self) -> list[int]:
        """Open intents, read from a copy: opening the journal itself would do the next applier's recovery for it."""
        copy = self.run.path.parent / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        copy.mkdir()
        for path in self.run.path.glob("journal.*"):
            shutil.copyfile(path, copy / path.name)
        with Journal.open(copy / self.run.journal.name, clock=ScaledClock()) as journal:
            self.kills.settled = journal.settled_count
            return sorted(journal.open_intents())

    def _has_effect(self, step: Step) -> bool:
        directory = self.directories[Jenjang(step.tenant)]
        if step.is_orgunit:
            return step.ou_path in directory.orgunit_paths()
        account = directory.get_account(step.address if step.is_creation else step.target_id)
        return account is not None and carries_marker(account, step.marker) and carries_step(step, account)

    def _tell(self, command: dict[str, Any]) -> None:
        self.host.stdin.write(orjson.dumps(command) + b"\n")
        self.host.stdin.flush()

    def _hear(self, *names: str) -> Any:
        """The next line's value under one of `names`. The pipe is unbuffered, so that select sees what is left."""
        line = orjson.loads(self.host.stdout.readline())
        return next(line[name] for name in names if name in line)

    def _something_to_hear(self, seconds: float) -> bool:
        return bool(select.select([self.host.stdout], [], [], seconds)[0])


def violations(arena: Arena) -> list[str]:
    """What is wrong in the directory now that the plan is said to be applied. Empty: each step was carried out, once."""
    wrong: list[str] = []
    for tenant in TENANTS:
        steps = list(read_steps(arena.plan.steps, pl.col("tenant") == tenant))
        everything = [line for line in arena.emulator.accounts(tenant) if not line["deleted"]]
        by_marker: dict[str, list[dict[str, Any]]] = {}
        for line in everything:
            by_marker.setdefault(line["marker"] or "", []).append(line)
        squatted = {account["primaryEmail"] for account in arena.planted[tenant]}
        for step in steps:
            if not step.is_orgunit:
                wrong += _wrong_with(step, by_marker.pop(step.marker, []), squatted)
        wrong += ["an account nobody planned"] * (len(by_marker.pop("", [])) - len(squatted))
        wrong += ["a marker nobody planned"] * len(by_marker)
        there = {line["account"]["id"]: line["account"] for line in everything}
        wrong += [
            "an account of others was changed"
            for account in arena.planted[tenant]
            if attributes_of(there.get(account["id"], {})) != attributes_of(account)
        ]
        paths = arena.directories[tenant].orgunit_paths()
        wrong += ["a unit is missing" for step in steps if step.is_orgunit and step.ou_path not in paths]
    return wrong


def _wrong_with(step: Step, accounts: list[dict[str, Any]], squatted: set[str]) -> list[str]:
    if step.is_creation and step.address in squatted:
        return ["an account beside a squatted address"] * len(accounts)
    if len(accounts) != 1:
        return [f"{len(accounts)} live accounts of one person"]
    account = accounts[0]["account"]
    wrong = []
    if step.is_creation and accounts[0]["inserts"] != 1:
        wrong.append(f"{accounts[0]['inserts']} inserts of one person")
    if attributes_of(account) | desired_attributes(step) != attributes_of(account):
        wrong.append("an account that is not as planned")
    return wrong


@dataclass(frozen=True)
class ArenaRequest:
    """How large an arena is."""

    creations: int
    updates: int = 0
    squatted: int = 0
    """Planned addresses that somebody else holds by the time they are created."""
    seed: int = 0


@contextmanager
def arena_of(folder: Path, request: ArenaRequest) -> Iterator[Arena]:
    """An emulator with accounts to change, a plan of `request`'s size over two tenants, and a host."""
    emulator_settings = EmulatorSettings(
        folder / "emulator", scale=TIME_SCALE, tenants=TENANTS, latency_seconds=LATENCY_SECONDS
    )
    with EmulatorProcess(emulator_settings) as emulator:
        target = Target(
            state=folder / "state",
            customer_ids={str(tenant): customer for tenant, customer in emulator.customer_ids.items()},
            url=emulator.url,
            credentials=emulator.folder / "credentials",
            time_scale=TIME_SCALE,
        )
        settings = settings_of(target, **APPLY)
        clock = ScaledClock(TIME_SCALE)
        plan, planted = _plan(emulator, request, target.customer_ids)
        settings.state.mkdir()
        run = new_run(settings.state, clock, SystemRandomness())
        write_plan(run.plan, plan)
        directories = connect(settings, clock, SystemRandomness())
        host = _host(target, run)
        try:
            yield Arena(emulator, settings, run, plan, directories, host, planted)
        finally:
            host.stdin.close()
            host.wait(10)
            host.stdout.close()
            for directory in directories.values():
                directory.close()


def _host(target: Target, run: RunFolder) -> subprocess.Popen[bytes]:
    paths = [str(Path(belajarid_recon.__file__).parent.parent), str(Path(__file__).parent.parent)]
    paths += filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    world = {
        "target": asdict(target) | {"state": str(target.state), "credentials": str(target.credentials)},
        "apply": APPLY,
        "run_id": run.run_id,
    }
    return subprocess.Popen(
        [sys.executable, "-m", "appliers.host", orjson.dumps(world).decode()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "POLARS_MAX_THREADS": "1"},
    )


def _plan(
    emulator: EmulatorProcess, request: ArenaRequest, customer_ids: dict[str, str]
) -> tuple[Plan, dict[str, list[dict[str, Any]]]]:
    """Units, creations, and changes of planted accounts, the first creations of each tenant at addresses others hold."""
    rows: list[dict[str, Any]] = []
    planted: dict[str, list[dict[str, Any]]] = {}
    for place, tenant in enumerate(TENANTS):
        first = place * 1_000_000
        rows += [orgunit(tenant, "/Surabaya"), orgunit(tenant, "/Surabaya/Siswa")]
        created = [creation(tenant, first + n, ou_path="/Surabaya/Siswa") for n in range(request.creations)]
        changed = [first + 500_000 + n for n in range(request.updates)]
        rows += created + _changes(emulator, tenant, changed)
        squatters = [{"primaryEmail": row["address"]} for row in created[:: max(1, len(created) // 4)]]
        emulator.plant(tenant, squatters[: request.squatted])
        planted[tenant] = [line["account"] for line in emulator.accounts(tenant) if line["marker"] is None]
    return plan_of(rows, customer_ids), planted


def _changes(emulator: EmulatorProcess, tenant: Jenjang, numbers: list[int]) -> list[dict[str, Any]]:
    """Accounts of ours that are there already, and steps that rename, move and suspend them."""
    accounts = [creation(tenant, number) for number in numbers]
    ids = emulator.plant(
        tenant,
        [
            {
                "primaryEmail": row["address"],
                "name": {"givenName": row["given_name"], "familyName": row["family_name"]},
                "externalIds": [{"type": "custom", "customType": "recon", "value": row["marker"]}],
            }
            for row in accounts
        ],
    )
    steps = []
    for number, row, target_id in zip(numbers, accounts, ids, strict=True):
        local, domain = row["address"].split("@")
        kinds = [
            ({"domain": domain}, {"address": f"{local}@guru.{domain}"}),
            ({"ou_path": "/"}, {"ou_path": "/Surabaya/Siswa"}),
            ({"suspended": False}, {"suspended": True}),
        ]
        before, after = kinds[number % len(kinds)]
        steps.append(update(tenant, number, target_id, before, **after))
    return steps


def script_faults(arena: Arena, count: int, *, seed: int) -> None:
    """Spread `count` scripted faults over the calls to come: lost requests, lost answers, lying answers, stale reads, quotas."""
    chance = random.Random(seed)  # noqa: S311 - a test that can be repeated
    for _ in range(count):
        method, kind, script = chance.choice(_FAULTS)
        arena.emulator.fault(method, kind, after=chance.randint(0, 20 * count // len(_FAULTS)), **script)


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
)


def kill_until(arena: Arena, kills: int, *, seed: int, applier: str = "real") -> None:
    """Kill `kills` appliers: every second one at a named point, the others at a random instant.

    On a fast machine the plan could be applied too soon; appliers that are ahead of it are killed earlier.
    """
    chance = random.Random(seed)  # noqa: S311 - a test that can be repeated
    points = itertools.cycle(point for point in KillPoint if point not in _ON_THE_WAY_OUT)
    for kill in range(kills):
        ahead = arena.kills.settled * kills > arena.plan.steps.height * kill
        if applier == "real" and kill % 2:
            point = next(points)
            count = 1 if ahead or point in _PASSED_ONCE else chance.randint(1, 4)
            status = arena.live(kill_point=f"{point}:{count}", kill_after=POINT_SECONDS_MAX)
        else:
            seconds = chance.uniform(0.0, RANDOM_SECONDS_MAX / (3 if ahead else 1))
            status = arena.live(applier=applier, kill_after=seconds)
        if status == 0:
            raise AssertionError(f"the plan was too small: applied after {arena.kills.total} kills")
        arena.classify()


def finish(arena: Arena, *, applier: str = "real") -> None:
    """Let an applier come to its end, after the last kills on the way out."""
    if applier == "real":
        for point in _ON_THE_WAY_OUT:
            arena.live(kill_point=f"{point}:1")
            arena.classify()
    if arena.live(applier=applier) != 0:
        raise AssertionError("the last applier was not to be killed")
    if applier == "real" and arena.run.status() is not RunStatus.CLOSED:
        raise AssertionError("the run is not closed")
