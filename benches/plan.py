"""Benchmark of planning: an extract and a sealed snapshot to a plan, timed in a process of its own.

    python benches/plan.py                                  # 200,000 people, 4 parts
    python benches/plan.py --people 1000000 --parts 16 --runs 3
    python benches/plan.py --people 57000000 --parts 128 --schools schools.parquet --regions-file regions.csv

Makes synthetic people and a directory that nearly agrees with them: 1.5 % of the accounts are missing, 2 % differ in unit, name or school,
0.3 % are suspended, 5 % lack the recovery contacts that the register has, 3 % of the leavers still have theirs, and 0.5 % are
strangers' without a marker. Both are made outside the timing, and the snapshot is sealed by the code that seals a real one.
Everything made is removed.

Memory is the sum of the resident sets of the process and all it starts, read five times a second: pages they share count
in each. The process's own peak stands beside it. This script imports nothing large, because a child's peak starts at its parent's.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

DAY = date(2026, 11, 15)
NATION = 57_000_000
DISK_BYTES_A_PERSON = 800
"""Extract, snapshot with its spool, and the records of one run: 29 GB were seen at 57 million people."""
SAMPLE_SECONDS = 0.2
DEMO_PEOPLE_MAX = 300_000
"""More do not fit in the schools of the two cities that are the generator's default."""


def main() -> None:
    """Make the input, time the runs, print a table, remove everything."""
    chosen = options()
    if chosen.stage:
        {"extract": make_extract, "snapshot": make_snapshot, "plan": make_plan}[chosen.stage](chosen)
        return
    chosen.folder.mkdir(parents=True, exist_ok=True)
    needed, free = chosen.people * DISK_BYTES_A_PERSON, shutil.disk_usage(chosen.folder).free
    if needed > free:
        sys.exit(f"not enough disk: {needed / 1e9:.1f} GB needed, {free / 1e9:.1f} GB free in {chosen.folder}")
    with tempfile.TemporaryDirectory(prefix="plan-bench-", dir=chosen.folder) as folder:
        chosen.work = Path(folder)
        for stage in ("extract", "snapshot"):
            made = measured(chosen, stage)
            talk(f"made the {stage}: {made['wall']:.1f} s, {made['own_peak'] / 1e9:.2f} GB")
        runs = [measured(chosen, "plan") for _ in range(chosen.runs)]
    show(chosen, runs)


def options() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--people", type=int, default=200_000)
    parser.add_argument("--parts", type=int, default=4, help="a power of two")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--engine", default="local", help="local or ray")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="where the data is made")
    parser.add_argument("--schools", type=Path, help="a larger school list than the one shipped (Parquet)")
    parser.add_argument("--regions-file", type=Path, help="the regions of that list (CSV)")
    parser.add_argument("--json", type=Path, help="write the numbers there too")
    parser.add_argument("--profile", action="store_true", help="print where a run's own thread spends its time")
    parser.add_argument("--stage", choices=("extract", "snapshot", "plan"), help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def talk(text: str) -> None:
    """Tell on stderr; stdout has the table."""
    print(text, file=sys.stderr, flush=True)


def measured(chosen: argparse.Namespace, stage: str) -> dict[str, Any]:
    """Run one stage of this script in a process of its own; what it printed last, with wall, CPU and memory."""
    command = [sys.executable, __file__, *sys.argv[1:], "--stage", stage, "--work", str(chosen.work)]
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:  # noqa: S603 - this script
        watch = Watch(child.pid)
        printed = child.stdout.read() if child.stdout else b""
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        wall = time.perf_counter() - started
        peak = watch.stop()
    if child.returncode:
        sys.exit(f"the stage failed: {stage}")
    said = json.loads(printed.splitlines()[-1]) if printed.strip() else {}
    own = usage.ru_maxrss * 1024
    return said | {
        "wall": wall, "cpu": usage.ru_utime + usage.ru_stime, "own_peak": own, "peak": max(own, peak),
    }  # fmt: skip


class Watch:
    """Samples the resident memory of a process and all it started, until stopped."""

    def __init__(self, root: int) -> None:
        self._root, self._peak, self._stop = root, 0, threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def stop(self) -> int:
        """The largest sum seen, in bytes."""
        self._stop.set()
        self._thread.join()
        return self._peak

    def _sample(self) -> None:
        while not self._stop.wait(SAMPLE_SECONDS):
            self._peak = max(self._peak, sum(resident(pid) for pid in family(self._root)))


def family(root: int) -> set[int]:
    """A process and everything below it."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents[int(entry.name)] = int(fields[1])
    found = {root}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def resident(pid: int) -> int:
    """Bytes resident of one process; 0 when it has gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def show(chosen: argparse.Namespace, runs: list[dict[str, Any]]) -> None:
    """Print the numbers of all runs and their medians."""
    if len({run["digest"] for run in runs}) != 1:
        sys.exit("runs gave different plans")
    middle = {
        name: statistics.median(run[name] for run in runs) for name in ("wall", "cpu", "own_peak", "peak", "planning")
    }
    people, last = runs[0]["people"], runs[-1]
    machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} processors"
    print(f"{machine}: {people:,} people, {chosen.parts} parts, {chosen.threads} threads, engine {chosen.engine}")
    print(
        f"rows read {last['rows']:,}   steps {last['steps']:,}   agreeing {last['unchanged']:,}   digest {last['digest'][:16]}"
    )
    print(f"median of {len(runs)}: wall {middle['wall']:.2f} s   CPU {middle['cpu']:.2f} s   memory "
          f"{middle['peak'] / 2**30:.2f} GiB (own peak {middle['own_peak'] / 2**30:.2f})")  # fmt: skip
    for label, seconds in last["stages"].items():
        print(f"  {label:<20}{seconds:9.2f} s{seconds / people * 1e6:9.2f} us a person")
    million = middle["planning"] / people * 1e6
    print(f"planning alone {middle['planning']:.2f} s: {million:.2f} s a million people")
    if people < NATION // 2:
        print(f"EXTRAPOLATED, not measured: {NATION:,} people at this rate {million * NATION / 1e6 / 60:.1f} minutes")
    if chosen.json:
        chosen.json.write_text(json.dumps({"options": {k: str(v) for k, v in vars(chosen).items()}, "runs": runs}))


# What follows runs in processes of its own.


def make_extract(chosen: argparse.Namespace) -> None:
    """Make people."""
    from belajarid_recon.population.create import DEMO_REGIONS, CreateRequest, create_population  # noqa: PLC0415

    regions = DEMO_REGIONS if chosen.people <= DEMO_PEOPLE_MAX and not chosen.schools else ("all",)
    create_population(
        CreateRequest(
            out=chosen.work / "extract", people=chosen.people, seed=chosen.seed, day=DAY, regions=regions,
            schools_file=chosen.schools, regions_file=chosen.regions_file,
        )
    )  # fmt: skip


def settings_of(chosen: argparse.Namespace) -> Any:
    """Settings of seven tenants that no server has; the keys are no secrets."""
    from belajarid_recon.schemas import Jenjang  # noqa: PLC0415
    from belajarid_recon.settings import Settings  # noqa: PLC0415

    os.environ["RECON_MARKER_KEY"], os.environ["RECON_NAMING_KEY"] = "5a" * 32, "a5" * 32
    first_days = {
        "persesjen-16-2021": "2021-01-01",
        "persesjen-20-2022": "2022-01-01",
        "persesjen-14-2024": "2024-01-01",
    }
    run = {"parts": chosen.parts, "threads": chosen.threads}
    if chosen.engine != "local":
        run["engine"] = chosen.engine
    tenants = {jenjang.value: {"customer_id": f"C0{jenjang.value}", "credentials_file": "none"} for jenjang in Jenjang}
    return Settings.model_validate(
        {
            "state": chosen.work / "state",
            "endpoint": {"class": "emulator", "url": "http://127.0.0.1:1/"},
            "tenants": tenants,
            "run": run,
            "regulations": {"in_force_from": first_days},
        }
    )


def make_snapshot(chosen: argparse.Namespace) -> None:
    """Seal a directory that nearly agrees with the register."""
    from belajarid_recon import pipeline  # noqa: PLC0415
    from belajarid_recon.components import ScaledClock  # noqa: PLC0415
    from belajarid_recon.directory.snapshot import SnapshotRequest, seal_snapshot  # noqa: PLC0415

    settings = settings_of(chosen)
    register = pipeline.opened_register(settings, pipeline.PlanRequest(chosen.work / "extract", DAY))
    records = chosen.work / "records"
    records.mkdir()
    customers = {tenant: account.customer_id for tenant, account in settings.tenants.items()}
    request = SnapshotRequest(
        folder=chosen.work / "snapshot", customer_ids=customers, parts=chosen.parts, threads=chosen.threads,
        clock=ScaledClock(),
    )  # fmt: skip
    try:
        desired = pipeline.desired_parts(settings, register, records)
        seal_snapshot(request, lambda spool: spool_accounts(desired, spool, customers))
    finally:
        shutil.rmtree(records)


def spool_accounts(parts: Iterator[Any], spool: Path, customers: dict[Any, str]) -> dict[str, dict[str, Any]]:
    """Write accounts as lists would have brought them; the head of each tenant is returned."""
    heads: dict[str, dict[str, Any]] = {
        tenant.value: {"customer_id": customer, "domains": {}, "findings": {}, "orgunits": set()}
        for tenant, customer in customers.items()
    }
    for number, desired in enumerate(parts):
        for (tenant,), accounts in accounts_of(desired).partition_by("tenant", as_dict=True).items():
            folder = spool / f"{tenant}.all.live"
            folder.mkdir(exist_ok=True)
            accounts.write_parquet(folder / f"{number:06}.accounts.parquet", compression="lz4", statistics=False)
            accounts.select("user_id").write_parquet(folder / f"{number:06}.addresses.parquet", compression="lz4")
            head = heads[tenant]
            head["orgunits"].update(accounts["ou_path"].unique())
            for domain, count in accounts.group_by("domain").len().iter_rows():
                head["domains"].setdefault(domain, {"accounts": 0, "deleted": 0})["accounts"] += count
    for head in heads.values():
        units = {path.rpartition("/")[0] for path in head["orgunits"]}
        units |= {path.rpartition("/")[0] for path in units}
        head["orgunits"] = sorted((head["orgunits"] | units) - {""})
    return heads


def accounts_of(desired: Any) -> Any:
    """schemas.OBSERVED rows that nearly agree with schemas.DESIRED rows: what differs follows from the account key."""
    import polars as pl  # noqa: PLC0415

    from belajarid_recon import _core  # noqa: PLC0415
    from belajarid_recon.schemas import OBSERVED, conform  # noqa: PLC0415

    chance = pl.col("account_key").hash(chosen_seed) % 1_000
    leaver = (pl.col("standing") == "leaver") & (chance % 33 == 0)
    held = desired.filter(((pl.col("standing") == "active") & (chance >= 15)) | leaver).with_columns(
        stranger=chance.is_between(990, 994), chance=chance
    )
    base = pl.Series(_core.user_id_bases(held["nama"])).alias("base").cast(pl.String)
    made = held.with_columns(base).with_columns(
        account_key=pl.when(~pl.col("stranger")).then("account_key"),
        tenant="jenjang",
        id=pl.col("account_key").hash(1).cast(pl.String),
        user_id=pl.col("base") + (pl.col("account_key").hash(2) % 1_000_000).cast(pl.String),
        domain=pl.coalesce("domain", pl.col("jenjang") + ".belajar.id"),
        given_name=pl.when(pl.col("chance").is_between(20, 24)).then(pl.lit("Lama")).otherwise(
            pl.coalesce("given_name", pl.lit("Budi"))
        ),
        family_name=pl.coalesce("family_name", pl.lit("Santoso")),
        ou_path=pl.when(pl.col("chance").is_between(25, 29)).then(pl.lit("/Lama")).otherwise(
            pl.coalesce("ou_path", pl.lit("/Lama"))
        ),
        npsn=pl.when(pl.col("chance").is_between(30, 39)).then(pl.lit("20999999")).otherwise("npsn"),
        listed=pl.coalesce("listed", pl.lit(value=False)),
        suspended=pl.col("chance").is_between(40, 42),
        is_admin=pl.col("chance") == 43,
        **{
            f"has_recovery_{kind}": pl.col(f"offers_{kind}").fill_null(value=False) & ~pl.col("chance").is_between(44, 93)
            for kind in ("email", "phone")
        },
        read_at=pl.lit(DAY).cast(pl.Datetime("ms")).dt.replace_time_zone("UTC"),
    )  # fmt: skip
    return conform(made, OBSERVED)


chosen_seed = 20_261_115
"""What differs is the same in every benchmark."""


def make_plan(chosen: argparse.Namespace) -> None:
    """Plan, and print one line of JSON."""
    from belajarid_recon import _core, pipeline  # noqa: PLC0415

    if _core.__build__ != "release":
        sys.exit(f"a benchmark needs the optimised core, not this build: {_core.__build__}")
    shutil.rmtree(chosen.work / "state", ignore_errors=True)
    settings, stages = settings_of(chosen), Stages()
    request = pipeline.PlanRequest(chosen.work / "extract", DAY)

    def work() -> Any:
        return pipeline.plan_from_snapshot(settings, request, chosen.work / "snapshot", watch=stages)

    started = time.perf_counter()
    planned = profiled(work) if chosen.profile else work()
    seconds = time.perf_counter() - started
    print(
        json.dumps(
            {
                "people": sum(planned.counts[table]["read"] for table in ("peserta_didik", "ptk")),
                "rows": planned.rows_read,
                "steps": planned.plan.steps.height,
                "unchanged": planned.plan.count("no-op"),
                "digest": planned.plan.digest,
                "planning": seconds,
                "stages": stages.closed(),
            }
        )
    )


def profiled(work: Any) -> Any:
    """The work's result; the costliest functions go to stderr."""
    import cProfile  # noqa: PLC0415
    import pstats  # noqa: PLC0415

    profile = cProfile.Profile()
    result = profile.runcall(work)
    pstats.Stats(profile, stream=sys.stderr).sort_stats("tottime").print_stats(30)
    return result


class Stages:
    """A watch that times: a stage lasts from its first word to that of the next."""

    def __init__(self) -> None:
        self._began = [("extract check", time.perf_counter())]

    def __call__(self, label: str, done: int, total: int) -> None:
        """Note the time of a label's first word."""
        del done, total
        if label not in {name for name, _ in self._began}:
            self._began.append((label, time.perf_counter()))

    def closed(self) -> dict[str, float]:
        """Seconds of each stage, in order."""
        ends = [*(began for _, began in self._began[1:]), time.perf_counter()]
        return {label: end - began for (label, began), end in zip(self._began, ends, strict=True)}


if __name__ == "__main__":
    main()
