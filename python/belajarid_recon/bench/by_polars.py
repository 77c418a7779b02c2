"""Polars' comparison, in two forms; docs/benchmarks.md says which one is taken and why."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from operator import xor

import polars as pl

from belajarid_recon.bench.job import Job

_DIRECTORY = 1 << 32
"""A row of the directory in the count of a key's rows; one of the source is 1."""


def by_groups(job: Job) -> None:
    """Group the keys of both files with a hash of each row; read again the rows of the keys that are not one pair of equal rows."""
    # Hashes of the directory count negative, so that two sums say all there is to know of a key.
    both = [
        _prints(job.source, job).with_columns(number=pl.lit(1, dtype=pl.UInt64)),
        _prints(job.directory, job).with_columns(-pl.col("print"), number=pl.lit(_DIRECTORY, dtype=pl.UInt64)),
    ]
    odd = (
        pl.concat(both)
        .group_by("key")
        .agg(pl.col("print").sum(), pl.col("number").sum())
        .filter((pl.col("print") != 0) | (pl.col("number") != _DIRECTORY + 1))
        .select("key", in_source=pl.col("number") % _DIRECTORY, in_directory=pl.col("number") // _DIRECTORY)
        .collect(engine="streaming")
    )
    _write(job, odd)


def by_join(job: Job) -> None:
    """Join the keys and row hashes of the files in full, after grouping each side's keys."""
    source, directory = (
        _prints(files, job).group_by("key").agg(number=pl.len(), print=pl.col("print").first())
        for files in (job.source, job.directory)
    )
    odd = (
        source.join(directory, on="key", how="full", coalesce=True, suffix="_directory")
        .select(
            "key",
            in_source=pl.col("number").fill_null(0),
            in_directory=pl.col("number_directory").fill_null(0),
            same=pl.col("print").eq_missing(pl.col("print_directory")),
        )
        .filter(~pl.col("same") | (pl.col("in_source") != 1) | (pl.col("in_directory") != 1))
        .drop("same")
        .collect(engine="streaming")
    )
    _write(job, odd)


def _prints(files: tuple[str, ...], job: Job) -> pl.LazyFrame:
    """Key and row hash (64 bits, signed) of every row."""
    hashed = [pl.col(name).hash(seed=number) for number, name in enumerate(job.attributes)]
    both = reduce(xor, hashed) if hashed else pl.lit(0, dtype=pl.UInt64)
    return pl.scan_parquet(list(files)).select(key=pl.col(job.key), print=both.reinterpret(signed=True))


def _write(job: Job, odd: pl.DataFrame) -> None:
    """Lines in the order of keys, as Parquet with zstd."""
    wanted = odd.filter((pl.col("in_source") < 2) & (pl.col("in_directory") < 2)).select("key")
    source, directory = (
        pl.scan_parquet(list(files))
        .select(pl.col(job.key).alias("key"), *job.attributes)
        .join(wanted.lazy(), on="key", how="semi")
        .collect(engine="streaming")
        for files in (job.source, job.directory)
    )
    joined = (
        source.lazy()
        .with_columns(s=True)
        .join(directory.lazy().with_columns(d=True), on="key", how="full", coalesce=True, suffix="_directory")
    )
    lines = [joined.select(_line(job))]
    for number, kind in (("in_source", "duplicate-source"), ("in_directory", "duplicate-directory")):
        doubled = odd.lazy().filter(pl.col(number) > 1)
        lines.append(doubled.select(kind=pl.lit(kind), key="key", count=pl.col(number).cast(pl.UInt64)))
    key = pl.col("key").str.to_lowercase() if job.key_form == "uuid-text" else pl.col("key")
    pl.concat(lines, how="diagonal").with_columns(
        key, differs=pl.col("differs").fill_null(pl.lit([], dtype=pl.List(pl.String)))
    ).sort("key", pl.col("kind") == "duplicate-directory").select(
        "kind", "key", "differs", "before", "after", "count"
    ).sink_parquet(job.out, compression="zstd", engine="streaming")


def _line(job: Job) -> list[pl.Expr]:
    """One line of a joined pair."""
    added, removed = pl.col("d").is_null(), pl.col("s").is_null()
    both = ~added & ~removed
    differ = {name: both & pl.col(name).ne_missing(pl.col(f"{name}_directory")) for name in job.attributes}
    listed = [pl.when(which).then(pl.lit(name)) for name, which in differ.items()]
    return [
        pl.when(added)
        .then(pl.lit("added"))
        .when(removed)
        .then(pl.lit("removed"))
        .otherwise(pl.lit("changed"))
        .alias("kind"),
        pl.col("key"),
        (pl.concat_list(listed).list.drop_nulls() if listed else pl.lit([], dtype=pl.List(pl.String))).alias("differs"),
        _struct(job, differ, "_directory", removed, added).alias("before"),
        _struct(job, differ, "", added, removed).alias("after"),
        pl.lit(1, dtype=pl.UInt64).alias("count"),
    ]


def _struct(job: Job, differ: dict[str, pl.Expr], suffix: str, alone: pl.Expr, absent: pl.Expr) -> pl.Expr:
    """The values of one side: all where the key stands there alone, what differs where it stands on both, else null."""
    if not job.attributes:
        return pl.lit(None, dtype=pl.Null)
    values = [pl.when(alone | differ[name]).then(pl.col(f"{name}{suffix}")).alias(name) for name in job.attributes]
    return pl.when(~absent).then(pl.struct(values))


FORMS: dict[str, Callable[[Job], None]] = {"groups": by_groups, "join": by_join}
