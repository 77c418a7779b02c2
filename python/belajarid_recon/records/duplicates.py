"""People the register may hold twice. Found from evidence of all parts, because two typings of one person share no key."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import polars as pl

from belajarid_recon.schemas import PersonKind
from belajarid_recon.secrets import Secret
from belajarid_recon.sources import names

EVIDENCE = pl.Schema({"person_id": pl.Binary, "kind": pl.String, "digest": pl.UInt64, "twin": pl.UInt64})
"""`kind` is `nisn` or `nik`; `digest` a keyed hash of the number, `twin` (`nik` only) of the number, birth date and folded name.

64 bits: among 53 million pupils the chance that any two different numbers meet is below 1 in 4,000 a run, and the harm is one
pair of accounts that waits."""

_OF_PUPILS = pl.lit(0x9E3779B97F4A7C15, pl.UInt64)
"""Any number: pupils and staff with one NIK must not meet."""
ROWS_AT_ONCE = 8_000_000
"""Digests that are looked through together: 64 MB, whatever the size of the country."""
_ROW_GROUP = 1 << 14


@dataclass(frozen=True)
class Doubts:
    """`people`: `person_id` (one column) of those who may be one person twice. The counts are of people.

    One NIK on two people of different names or birth dates is a finding for the register's own desks (`nik_shared`), and no doubt.
    """

    people: pl.DataFrame
    nisn_shared: int
    nik_twins: int
    nik_shared: int


def evidence_seed(key: Secret) -> int:
    """The seed of evidence under a key. It tells nothing of the key, so that it may go to workers."""
    digest = hashlib.blake2b(key=key.reveal(), digest_size=8, person=b"evidence").digest()
    return int.from_bytes(digest, "little")


def evidence_of(people: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Evidence (EVIDENCE) of people (schemas.PERSON): pupils and staff are kept apart, for one person may be both."""
    kind = (
        pl.when(pl.col("person_kind") == PersonKind.PESERTA_DIDIK.value)
        .then(_OF_PUPILS)
        .otherwise(pl.lit(0, pl.UInt64))
    )
    number = pl.col("value").hash(seed) ^ kind
    # A sum of hashes under different seeds, modulo 2^64: equal for equal pieces, and for others by chance alone.
    twin = number + pl.col("tanggal_lahir").hash(seed ^ 1) + pl.col("letters").hash(seed ^ 2)
    nisn = people.filter(pl.col("nisn").is_not_null()).select("person_id", "person_kind", value="nisn")
    nik = people.filter(pl.col("nik").is_not_null()).select(
        "person_id", "person_kind", "tanggal_lahir", "nama", value="nik"
    )
    nik = nik.with_columns(names.comparable_names(nik["nama"]).alias("letters"))
    told = [
        nisn.select("person_id", kind=pl.lit("nisn"), digest=number, twin=pl.lit(None, pl.UInt64)),
        nik.select("person_id", kind=pl.lit("nik"), digest=number, twin=twin),
    ]
    return pl.concat(told).cast(EVIDENCE)


def write_evidence(evidence: pl.DataFrame, path: Path) -> None:
    """Write one part's evidence (a column `digest` among others) in order of its digests, so that a range of them is read alone."""
    evidence.sort("digest").write_parquet(path, compression="uncompressed", statistics=True, row_group_size=_ROW_GROUP)


def find_duplicates_in(files: Sequence[Path], rows_at_once: int = ROWS_AT_ONCE) -> Doubts:
    """What `find_duplicates` finds in the evidence that `write_evidence` wrote for all parts, without holding it."""
    digest = pl.col("digest")
    repeated = [
        rows.select("digest").filter(digest.is_duplicated()).collect()["digest"].unique()
        for rows in in_ranges(files, rows_at_once)
    ]
    doubtful = pl.concat(repeated)
    return find_duplicates([_scan(files).filter(digest.is_in(doubtful.implode())).collect()])


def in_ranges(files: Sequence[Path], rows_at_once: int) -> Iterator[pl.LazyFrame]:
    """The rows that `write_evidence` wrote, in ranges of their digests of about `rows_at_once`: equal digests are in one range."""
    everything = _scan(files)
    rows = int(everything.select(pl.len()).collect().item())
    cuts = max(1, -(-rows // rows_at_once))
    bounds = [(1 << 64) * cut // cuts for cut in range(cuts + 1)]
    for first, following in pairwise(bounds):
        yield everything.filter(pl.col("digest").is_between(pl.lit(first, pl.UInt64), pl.lit(following - 1, pl.UInt64)))


def _scan(files: Sequence[Path]) -> pl.LazyFrame:
    return pl.scan_parquet(list(files), glob=False, hive_partitioning=False)


def find_duplicates(evidence: Iterable[pl.DataFrame]) -> Doubts:
    """People under doubt: a NISN on two of them, or a NIK with the same birth date and the same letters in the name.

    The order of the frames and of their rows does not matter.
    """
    whole = pl.concat([pl.DataFrame(schema=EVIDENCE), *evidence])
    nisn = whole.filter(pl.col("kind") == "nisn").filter(pl.col("digest").is_duplicated())
    nik = whole.filter(pl.col("kind") == "nik").filter(pl.col("digest").is_duplicated())
    twins = nik.filter(pl.col("twin").is_duplicated())
    shared = nik.filter(pl.col("twin").n_unique().over("digest") > 1)
    return Doubts(
        people=pl.concat([nisn, twins]).select("person_id").unique().sort("person_id"),
        nisn_shared=nisn["person_id"].n_unique(),
        nik_twins=twins["person_id"].n_unique(),
        nik_shared=shared["person_id"].n_unique(),
    )
