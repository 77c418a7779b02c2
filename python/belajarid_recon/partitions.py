"""The loop over parts: rows to records, records to desired accounts, desired accounts to proposals. Memory is one part's."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path

import polars as pl

from belajarid_recon.desired.accounts import DesiredRules, desired_accounts
from belajarid_recon.desired.verdicts import VERDICTS, person_verdicts, verdicts
from belajarid_recon.directory.snapshot import read_part
from belajarid_recon.reconcile import TALLY, PartChanges, reconcile_part
from belajarid_recon.records import (
    Doubts,
    Period,
    Reference,
    add_counts,
    check_counts,
    find_duplicates,
    make_records,
    make_reference,
)
from belajarid_recon.regulations import Regulation
from belajarid_recon.schemas import QUARANTINE, NoStep, conform
from belajarid_recon.secrets import Secret
from belajarid_recon.sources.extract import Extract
from belajarid_recon.sources.parts import ShuffledExtract, TableCounts, read_broadcast, shuffle_extract

Watch = Callable[[str, int, int], None]
"""Told a label, how much of the work under it is done, and how much there is (0: not known beforehand)."""


def quiet(label: str, done: int, total: int) -> None:
    """A watch that says nothing."""
    del label, done, total


@dataclass(frozen=True)
class PartLoop:
    """Where a run's records are, in how many parts, and how they are worked."""

    folder: Path
    parts: int
    threads: int
    watch: Watch = quiet

    def each(self, label: str) -> Iterator[int]:
        """Every part's number, with progress."""
        for part in range(self.parts):
            self.watch(label, part, self.parts)
            yield part
        self.watch(label, self.parts, self.parts)

    def file(self, part: int, table: str) -> Path:
        """The file of a part's table."""
        return self.folder / f"part={part:03}" / f"{table}.parquet"


@dataclass(frozen=True)
class RecordFacts:
    """What the records of all parts say together."""

    counts: dict[str, dict[str, int]]
    """Table to read, accepted, quarantined and unused rows."""
    quarantine: pl.DataFrame
    """schemas.QUARANTINE, in order of table, file and row."""
    people: dict[str, dict[str, int]]
    """Standing to reason code to number of people: everybody is in it once."""
    findings: dict[str, int]
    """People who share a NISN, or a NIK, with somebody."""
    kabkota_names: dict[str, str]
    """Code to name."""


def write_records(
    loop: PartLoop, extract: Extract, day: date, regulation: Regulation, marker_key: Secret
) -> RecordFacts:
    """Make people, duties and desired accounts of every part and write them into the loop's folder.

    The folder holds personal numbers: it is the one place of a run that does. Raises InputError for a file damaged inside.
    """
    period = Period.of(day)
    reference = make_reference(read_broadcast(extract, period.semester_id))
    shuffled = loop.folder / "shuffled"
    loop.watch("shuffle", 0, 1)
    try:
        cut = shuffle_extract(extract, parts=loop.parts, marker_key=marker_key, folder=shuffled, threads=loop.threads)
        loop.watch("shuffle", 1, 1)
        made = _write_people(loop, cut, reference, period, marker_key)
    finally:
        shutil.rmtree(shuffled, ignore_errors=True)
    counts = add_counts([reference.counts, cut.counts, *made.counts])
    check_counts(counts, extract.rows)
    doubts = find_duplicates(made.evidence)
    people = _write_desired(loop, reference, regulation, doubts, made.counts)
    quarantine = pl.concat([reference.quarantine, cut.quarantine, *made.quarantine]).select(QUARANTINE.names())
    return RecordFacts(
        counts={table: vars(count) for table, count in sorted(counts.items())},
        quarantine=quarantine.sort("table", "file", "row"),
        people=people,
        findings={
            "nisn-shared": doubts.nisn_shared,
            "nik-of-one-person-twice": doubts.nik_twins,
            "nik-shared": doubts.nik_shared,
        },
        kabkota_names=dict(reference.regions.select("kode_kabkota", "kabkota").iter_rows()),
    )


@dataclass
class _Made:
    """What the parts hand up, a piece a part."""

    counts: list[dict[str, TableCounts]] = field(default_factory=list)
    quarantine: list[pl.DataFrame] = field(default_factory=list)
    evidence: list[pl.DataFrame] = field(default_factory=list)


def _write_people(
    loop: PartLoop, cut: ShuffledExtract, reference: Reference, period: Period, evidence_key: Secret
) -> _Made:
    """Write people and duties of every part."""
    made = _Made()
    for part in loop.each("records"):
        records = make_records(cut.read_part(part), reference, period, evidence_key=evidence_key)
        loop.file(part, "people").parent.mkdir(parents=True, exist_ok=True)
        records.people.write_parquet(loop.file(part, "people"))
        records.duties.write_parquet(loop.file(part, "duties"))
        made.counts.append(records.counts)
        made.quarantine.append(records.quarantine)
        made.evidence.append(records.evidence)
    return made


def _write_desired(
    loop: PartLoop,
    reference: Reference,
    regulation: Regulation,
    doubts: Doubts,
    counts: list[dict[str, TableCounts]],
) -> dict[str, dict[str, int]]:
    """Write desired accounts of every part; people by standing and reason over all parts."""
    rules = DesiredRules(regulation, reference, doubts.people)
    told = [pl.DataFrame(schema=VERDICTS)]
    for part in loop.each("desired accounts"):
        people = pl.read_parquet(loop.file(part, "people"))
        duties = pl.read_parquet(loop.file(part, "duties"))
        desired = desired_accounts(people, duties, rules)
        desired.write_parquet(loop.file(part, "desired"))
        told.append(verdicts(person_verdicts(people, duties, desired), counts[part]))
    summed = pl.concat(told).group_by("standing", "reason").agg(pl.col("people").sum()).sort("standing", "reason")
    by_standing: dict[str, dict[str, int]] = {}
    for standing, reason, number in summed.iter_rows():
        by_standing.setdefault(standing, {})[reason] = number
    return by_standing


@dataclass(frozen=True)
class ReconcileRules:
    """What every part is compared under."""

    orgunits: dict[str, set[str]]
    """Tenant to the unit paths that exist. People of a jenjang that is no tenant here get no step."""
    suspended_by_us: pl.Series
    seed: int


def reconcile_parts(loop: PartLoop, snapshot: Path, rules: ReconcileRules) -> list[PartChanges]:
    """Compare every part's desired accounts with the snapshot's same part."""
    spelling = pl.DataFrame(
        [(tenant, path.lower(), path) for tenant, paths in sorted(rules.orgunits.items()) for path in sorted(paths)],
        schema={"jenjang": pl.String, "folded": pl.String, "there": pl.String},
        orient="row",
    ).unique(["jenjang", "folded"], keep="first", maintain_order=True)
    changes = []
    for part in loop.each("compare"):
        desired = pl.read_parquet(loop.file(part, "desired"))
        served = desired.filter(pl.col("jenjang").is_in(list(rules.orgunits)))
        made = reconcile_part(
            _as_spelt(served, spelling),
            read_part(snapshot, part),
            suspended_by_us=rules.suspended_by_us,
            seed=rules.seed,
            threads=loop.threads,
        )
        changes.append(replace(made, tallies=pl.concat([made.tallies, _not_served(desired, rules.orgunits)])))
    return changes


def _as_spelt(desired: pl.DataFrame, spelling: pl.DataFrame) -> pl.DataFrame:
    """Unit paths as the directory spells them: it takes them in any case, and a comparison would call them different."""
    return (
        desired.with_columns(folded=pl.col("ou_path").str.to_lowercase())
        .join(spelling, on=["jenjang", "folded"], how="left", maintain_order="left")
        .with_columns(ou_path=pl.coalesce("there", "ou_path"))
        .drop("folded", "there")
    )


def _not_served(desired: pl.DataFrame, tenants: dict[str, set[str]]) -> pl.DataFrame:
    elsewhere = desired.filter(pl.col("jenjang").is_in(list(tenants)).not_())
    counted = elsewhere.group_by(tenant="jenjang").len("count")
    return conform(counted.with_columns(kind=pl.lit("reason"), name=pl.lit(NoStep.TENANT_NOT_IN_SETTINGS.value)), TALLY)
