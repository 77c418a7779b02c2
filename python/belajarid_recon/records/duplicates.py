"""People the register may hold twice. Found from evidence of all parts, because two typings of one person share no key."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl

from belajarid_recon.secrets import Secret
from belajarid_recon.sources import names

EVIDENCE = pl.Schema({"person_id": pl.Binary, "kind": pl.String, "digest": pl.UInt64, "twin": pl.UInt64})
"""`kind` is `nisn` or `nik`; `digest` a keyed hash of the number, `twin` (`nik` only) of the number, birth date and folded name.

64 bits: among 53 million pupils the chance that any two different numbers meet is below 1 in 4,000 a run, and the harm is one
pair of accounts that waits. It stays in memory: 40 bytes a row and two rows a person."""


@dataclass(frozen=True)
class Doubts:
    """`people`: `person_id` (one column) of those who may be one person twice. The counts are of people.

    One NIK on two people of different names or birth dates is a finding for the register's own desks (`nik_shared`), and no doubt.
    """

    people: pl.DataFrame
    nisn_shared: int
    nik_twins: int
    nik_shared: int


def evidence_of(people: pl.DataFrame, key: Secret) -> pl.DataFrame:
    """Evidence (EVIDENCE) of people (schemas.PERSON): pupils and staff are kept apart, for one person may be both."""
    seed = int.from_bytes(key.reveal()[:8], "little")
    number = pl.concat_str("person_kind", "value", separator="|")
    twin = pl.concat_str("person_kind", "value", "tanggal_lahir", names.comparable_name("nama"), separator="|")
    kinds = [
        people.filter(pl.col(kind).is_not_null()).select(
            "person_id", "person_kind", "nama", "tanggal_lahir", kind=pl.lit(kind), value=pl.col(kind)
        )
        for kind in ("nisn", "nik")
    ]
    return (
        pl.concat(kinds)
        .select(
            "person_id", "kind", digest=number.hash(seed), twin=pl.when(pl.col("kind") == "nik").then(twin.hash(seed))
        )
        .cast(EVIDENCE)
    )


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
