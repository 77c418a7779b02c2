"""Benchmark of `belajarid_recon.allocate_user_ids` beside DuckDB and Polars, on the same Parquet files and by the same naming rule.

    python benches/allocate.py                                  # 200,000 people, 1,000,000 taken addresses, three runs each
    python benches/allocate.py --people 10000000 --taken 50000000 --runs 1

Each engine is a process of its own that reads the same files and writes the same table (account_key, user_id, attempt, in key order) as
Parquet; wall time, CPU time and peak memory are the process's own. The results must be equal, row by row.

What the peers are spared: BLAKE3, which neither has. The digits of each person's first eight candidates stand in the people's file
as ready columns, made outside of any time. Whoever finds all eight taken (of people here: a few in ten thousand) gets nothing from them and
a later candidate from the core; later candidates have other widths, so this changes nobody else's. The names of this benchmark are
plain words, so that the peers part them at blanks where the core applies the whole rule. Nothing taken has an owner here.

How the peers do it, because "lowest key first" is no query: rounds of deferred acceptance. In each round whoever has no ID asks for their
next candidate that is not taken, and of all who ask for or hold an ID the lowest key holds it. Taken addresses are looked through once for
everybody's first candidate, once for the other seven of those who need one, and again only for people displaced later.

The data is `allocate_data.py`'s, by seed, in a temporary folder. Needs the extras `test` and `bench`.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from allocate_data import CANDIDATES, NAMING_KEY, make

THREADS = os.cpu_count() or 1
ENGINES = ("core", "duckdb", "polars")
BYTES_A_ROW = 80  # of a folder: both inputs and three results


def by_core(folder: Path, out: Path) -> None:
    """The engine that is measured."""
    import belajarid_recon  # noqa: PLC0415
    from belajarid_recon.naming.allocation import Columns  # noqa: PLC0415

    given = belajarid_recon.allocate_user_ids(
        folder / "people.parquet",
        folder / "taken.parquet",
        naming_key=NAMING_KEY,
        columns=Columns(owner=None),
        threads=THREADS,
    )
    given.write_parquet(out, threads=THREADS)


def by_duckdb(folder: Path, out: Path) -> None:
    """Deferred acceptance in SQL."""
    import duckdb  # noqa: PLC0415

    base = duckdb.connect(config={"threads": THREADS, "preserve_insertion_order": False})
    taken = f"read_parquet('{folder / 'taken.parquet'}')"
    later = ", ".join(f"c{attempt}" for attempt in range(1, CANDIDATES))
    base.execute(
        f"""
        CREATE TABLE people AS SELECT account_key AS k, jenjang AS j, c0, {later},
            lower(split_part(nama, ' ', 1) || '.' || split_part(nama, ' ', -1)) AS base
        FROM read_parquet('{folder / "people.parquet"}');
        CREATE TABLE blocked AS SELECT DISTINCT j, u FROM (SELECT jenjang AS j, user_id AS u FROM {taken}) t
            SEMI JOIN (SELECT j, base || c0 AS u FROM people) p USING (j, u);
        CREATE TABLE held AS SELECT j, u, min(k) AS k, 0 AS n
            FROM (SELECT j, base || c0 AS u, k FROM people) ANTI JOIN blocked USING (j, u) GROUP BY j, u;
        CREATE TABLE free (k BLOB, n INTEGER, j UTINYINT, u VARCHAR);
        CREATE TABLE pending AS SELECT k, 0 AS n FROM (SELECT k FROM people ANTI JOIN held USING (k));
        CREATE TABLE looked AS SELECT k FROM pending LIMIT 0;
        """  # noqa: S608 - no input of others
    )
    while base.execute("SELECT count(*) FROM pending").fetchone() != (0,):
        # Candidates of whoever comes here first, less those taken.
        base.execute(
            f"""
            CREATE OR REPLACE TABLE fresh AS SELECT k FROM pending ANTI JOIN looked USING (k);
            INSERT INTO looked FROM fresh;
            CREATE OR REPLACE TABLE asked AS SELECT k, j, unnest(generate_series(1, {CANDIDATES - 1})) AS n,
                base || unnest([{later}]) AS u FROM people SEMI JOIN fresh USING (k);
            """  # noqa: S608
        )
        if base.execute("SELECT count(*) FROM asked").fetchone() != (0,):
            base.execute(
                f"""
                CREATE OR REPLACE TABLE blocked AS SELECT DISTINCT j, u
                    FROM (SELECT jenjang AS j, user_id AS u FROM {taken}) t SEMI JOIN asked USING (j, u);
                INSERT INTO free SELECT k, n, j, u FROM asked ANTI JOIN blocked USING (j, u);
                """  # noqa: S608
            )
        base.execute(
            """
            CREATE OR REPLACE TABLE proposed AS SELECT f.k, min_by(f.n, f.n) AS n, min_by(f.j, f.n) AS j, min_by(f.u, f.n) AS u
                FROM free f JOIN pending p ON f.k = p.k AND f.n > p.n GROUP BY f.k;
            CREATE OR REPLACE TABLE touched AS
                SELECT h.* FROM held h SEMI JOIN proposed USING (j, u) UNION ALL SELECT j, u, k, n FROM proposed;
            CREATE OR REPLACE TABLE winners AS SELECT j, u, min(k) AS k, arg_min(n, k) AS n FROM touched GROUP BY j, u;
            DELETE FROM held USING winners w WHERE held.j = w.j AND held.u = w.u;
            INSERT INTO held FROM winners;
            CREATE OR REPLACE TABLE pending AS SELECT k, n FROM touched ANTI JOIN winners USING (k);
            """
        )
    base.execute(
        f"""
        COPY (SELECT k AS account_key, u AS user_id, n AS attempt FROM people LEFT JOIN (SELECT k, u, n FROM held) USING (k)
            ORDER BY k) TO '{out}' (FORMAT parquet, COMPRESSION zstd)
        """  # noqa: S608
    )


def by_polars(folder: Path, out: Path) -> None:
    """Deferred acceptance in frames, with the streaming engine."""
    import polars as pl  # noqa: PLC0415

    taken = pl.scan_parquet(folder / "taken.parquet").select(j="jenjang", u="user_id")
    words = pl.col("nama").str.split(" ")
    people = (
        pl.scan_parquet(folder / "people.parquet")
        .select(
            pl.col("account_key").alias("k"),
            pl.col("jenjang").alias("j"),
            pl.concat_str(words.list.first(), pl.lit("."), words.list.last()).str.to_lowercase().alias("base"),
            *(f"c{attempt}" for attempt in range(CANDIDATES)),
        )
        .collect(engine="streaming")
    )
    slot = ["j", "u"]

    def not_taken(asked: pl.DataFrame) -> pl.DataFrame:
        blocked = taken.join(asked.lazy().select(slot), on=slot, how="semi").collect(engine="streaming")
        return asked.join(blocked, on=slot, how="anti")

    first = not_taken(people.select("k", "j", u=pl.concat_str("base", "c0"), n=pl.lit(0)))
    held = first.sort("k").unique(slot, keep="first")
    pending = people.select("k", n=pl.lit(0)).join(held, on="k", how="anti")
    looked, free = pending.clear().select("k"), first.clear()
    while pending.height:
        fresh = pending.select("k").join(looked, on="k", how="anti")
        if fresh.height:
            looked = pl.concat([looked, fresh])
            askers = people.join(fresh, on="k", how="semi")
            asked = pl.concat(
                askers.select("k", "j", u=pl.concat_str("base", f"c{attempt}"), n=pl.lit(attempt))
                for attempt in range(1, CANDIDATES)
            )
            free = pl.concat([free, not_taken(asked)])
        proposed = (
            free.join(pending.rename({"n": "after"}), on="k")
            .filter(pl.col("n") > pl.col("after"))
            .sort("n")
            .unique("k", keep="first")
            .select(first.columns)
        )
        touched = pl.concat([held.join(proposed, on=slot, how="semi"), proposed])
        winners = touched.sort("k").unique(slot, keep="first")
        held = pl.concat([held.join(winners, on=slot, how="anti"), winners])
        pending = touched.join(winners, on="k", how="anti").select("k", "n")
    named = people.select("k").join(held, on="k", how="left").sort("k")
    named.select(account_key="k", user_id="u", attempt="n").write_parquet(out, compression="zstd")


def compare(folder: Path) -> None:
    """Refuse results that differ; whoever needs a later candidate than the peers know has one of the core alone."""
    import polars as pl  # noqa: PLC0415

    known = pl.col("attempt") < CANDIDATES
    expected = pl.read_parquet(folder / "core.parquet").with_columns(
        user_id=pl.when(known).then("user_id"), attempt=pl.when(known).then("attempt")
    )
    if expected["account_key"].is_sorted() is False or expected["user_id"].null_count() == expected.height:
        sys.exit("the core's result is not in key order, or empty")
    for engine in ENGINES[1:]:
        place = folder / f"{engine}.parquet"
        if place.exists():
            other = pl.read_parquet(place).with_columns(pl.col("attempt").cast(pl.Int32))
            if not other.equals(expected):
                sys.exit(f"core and {engine} disagree")
    print(f"later than attempt {CANDIDATES - 1}, or none: {expected['user_id'].null_count():,} people")


@dataclass(frozen=True)
class Usage:
    """What one process took. Its peak starts at the size of the process that started it, so that this one loads nothing large."""

    wall: float
    cpu: float
    peak: float


def measured(*arguments: str) -> Usage:
    """Run this file with arguments, to its end."""
    started = time.perf_counter()
    child = subprocess.Popen([sys.executable, __file__, *arguments])  # noqa: S603 - this file
    _, status, usage = os.wait4(child.pid, 0)
    wall = time.perf_counter() - started
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.exit(f"failed: {' '.join(arguments)}")
    return Usage(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1e6)


def median(usages: list[Usage]) -> Usage:
    """Of each measure by itself."""
    return Usage(*(statistics.median(getattr(usage, name) for usage in usages) for name in ("wall", "cpu", "peak")))


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--people", type=int, default=200_000)
    parser.add_argument("--taken", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--folder", type=Path, help="where to make the data; removed afterwards, as all of it is")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        needed = BYTES_A_ROW * (options.people * 3 + options.taken)
        if shutil.disk_usage(folder).free < 2 * needed:
            sys.exit(f"too little free disk in {folder}: {2 * needed / 1e9:.0f} GB are needed")
        measured("--make", folder, str(options.people), str(options.taken), str(options.seed))
        report(Path(folder), options)


def report(folder: Path, options: argparse.Namespace) -> None:
    """Measure in turns, so that a slow minute of the machine meets everybody."""
    usages: dict[str, list[Usage]] = {engine: [] for engine in options.engines}
    for _ in range(options.runs):
        for engine in options.engines:
            usages[engine].append(measured("--engine", engine, str(folder)))
    measured("--compare", str(folder))
    print(
        f"{platform.processor() or platform.machine()}, {THREADS} threads, {options.people:,} people, "
        f"{options.taken:,} taken, median of {options.runs}"
    )
    ours = median(usages[options.engines[0]])
    for engine in options.engines:
        usage = median(usages[engine])
        print(
            f"{engine:8} wall {usage.wall:8.2f} s   CPU {usage.cpu:8.2f} s   peak {usage.peak:6.2f} GB"
            f"   wall ratio {usage.wall / ours.wall:5.1f}   memory ratio {usage.peak / ours.peak:5.1f}"
        )


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--make", folder, people, taken, seed]:
            make(Path(folder), int(people), int(taken), int(seed))
        case ["--engine", engine, folder]:
            {"core": by_core, "duckdb": by_duckdb, "polars": by_polars}[engine](
                Path(folder), Path(folder) / f"{engine}.parquet"
            )
        case ["--compare", folder]:
            compare(Path(folder))
        case _:
            main()
