"""Benchmarks of the Rust core beside polars, in one process and one run: medians and ratios.

    make bench                       # one million rows
    python benches/core.py 200000 5  # rows, repetitions

Both sides get the same frames in memory and must find the same differences (1 % changed, 1 % added, 1 % removed); polars does a
full join with before and after, in key order, as the core does. The extension is the optimised one that `make` installs.
"""

from __future__ import annotations

import os
import platform
import random
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import polars as pl

from belajarid_recon import _core

ATTRIBUTES = ["domain", "given_name", "family_name", "ou_path", "npsn", "listed", "suspended"]
THREADS = os.cpu_count() or 1


def frames(rows: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Desired and observed accounts of one jenjang."""
    draw = random.Random(7)  # noqa: S311 - a benchmark's data
    keys = [draw.randbytes(16) + b"\x01" for _ in range(rows)]
    desired = pl.DataFrame(
        {
            "account_key": keys,
            "domain": ["sd.belajar.id"] * rows,
            "given_name": [word(n % 5_003) for n in range(rows)],
            "family_name": [word(n % 3_001) for n in range(rows)],
            "ou_path": [f"/Jawa Tengah/Kota {n % 35}/Siswa" for n in range(rows)],
            "npsn": [f"{20_000_000 + n % 40_000}" for n in range(rows)],
            "listed": [False] * rows,
            "suspended": [False] * rows,
        }
    )
    hundredth = rows // 100
    changed = pl.when(pl.int_range(pl.len()) < hundredth).then(pl.lit("20999999")).otherwise("npsn")
    observed = desired.head(rows - hundredth).with_columns(npsn=changed)
    strangers = desired.tail(hundredth).with_columns(account_key=pl.Series([key[::-1] for key in keys[-hundredth:]]))
    return desired, pl.concat([observed, strangers]).sample(fraction=1.0, shuffle=True, seed=3)


def word(number: int) -> str:
    """A name of letters: digits are no part of a user ID's base."""
    return "Bu" + str(number).translate(str.maketrans("0123456789", "aeioudinsk"))


def by_core(desired: pl.DataFrame, observed: pl.DataFrame) -> int:
    """Number of differences the core finds."""
    table = _core.diff(
        desired, observed, key="account_key", attributes=ATTRIBUTES, seed=time.time_ns(), threads=THREADS
    )
    return pl.DataFrame(table).height


def by_polars(desired: pl.DataFrame, observed: pl.DataFrame) -> int:
    """The same by a full join."""
    joined = desired.lazy().join(observed.lazy(), on="account_key", how="full", suffix="_before", coalesce=False)
    differs = pl.any_horizontal([pl.col(name).ne_missing(pl.col(f"{name}_before")) for name in ATTRIBUTES])
    alone = pl.col("account_key").is_null() | pl.col("account_key_before").is_null()
    return joined.filter(alone | differs).sort(pl.coalesce("account_key", "account_key_before")).collect().height


def median_seconds(work: Callable[[], Any], repetitions: int) -> float:
    """Median of several timings after one that is not counted."""
    work()
    timings = []
    for _ in range(repetitions):
        started = time.perf_counter()
        work()
        timings.append(time.perf_counter() - started)
    return statistics.median(timings)


def main() -> None:
    """Print a table."""
    if _core.__build__ != "release":
        sys.exit(f"a benchmark needs the optimised core, not this build: {_core.__build__}")
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    repetitions = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    desired, observed = frames(rows)
    found = by_core(desired, observed)
    if found != by_polars(desired, observed) or found != 3 * (rows // 100):
        sys.exit("core and polars disagree")
    core = median_seconds(lambda: by_core(desired, observed), repetitions)
    polars = median_seconds(lambda: by_polars(desired, observed), repetitions)
    people = desired.select("account_key", name=pl.concat_str("given_name", pl.lit(" "), "family_name"))
    taken = pl.DataFrame(schema={"jenjang_code": pl.UInt8, "user_id": pl.String, "owner": pl.Binary})
    key = bytes(range(32))
    naming = median_seconds(
        lambda: _core.allocate_user_ids(people, taken, naming_key=key, threads=THREADS), repetitions
    )
    hashes = 2_000
    secrets, salts = [b"123456789012345"] * hashes, ["abcdefghijklmnop"] * hashes
    crypt = median_seconds(lambda: _core.sha512_crypt(secrets, salts, rounds=1_000, threads=1), repetitions)
    print(f"{platform.processor() or platform.machine()}, {THREADS} threads, {rows:,} rows, median of {repetitions}")
    print(f"compare            {core:8.3f} s    polars {polars:8.3f} s    ratio {polars / core:.1f}")
    print(f"allocate user IDs  {naming:8.3f} s    {naming / rows * 1e6:.2f} us a person")
    print(f"$6$ 1,000 rounds   {crypt / hashes * 1e6:8.1f} us a hash, one thread")


if __name__ == "__main__":
    main()
