"""The loop over parts: rows to records, records to desired accounts, desired accounts to proposals. Memory is that of a few parts.

What is done to a part is a picklable object called with the part's number, so that any engine can work it. It reads and writes files
of its part alone, and hands up what is small: counts, and the few rows that become steps.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import TypeVar

import polars as pl

from belajarid_recon.desired.accounts import (
    DesiredRules,
    account_contacts,
    desired_accounts,
    hold_doubted,
    withdraw_contacts,
)
from belajarid_recon.desired.groups import memberships, schools_of
from belajarid_recon.desired.reasons import ReasonCode
from belajarid_recon.desired.verdicts import VERDICTS, best_verdicts, person_verdicts, verdicts
from belajarid_recon.directory.snapshot import read_members_of, read_part
from belajarid_recon.engines import ALONE, Engine
from belajarid_recon.errors import PlanError
from belajarid_recon.plan.groups import KNOWN_GROUP, PartMembers, compare_members
from belajarid_recon.reconcile import TALLY, PartChanges, Remembered, reconcile_part
from belajarid_recon.records import (
    Doubts,
    Period,
    Shared,
    add_counts,
    check_counts,
    contact_evidence,
    evidence_seed,
    find_duplicates_in,
    find_shared,
    make_records,
    make_reference,
    write_evidence,
)
from belajarid_recon.regulations import Regulation
from belajarid_recon.schemas import CONTACT, QUARANTINE, GroupKind, NoStep, Standing, compact, conform
from belajarid_recon.secrets import Secret
from belajarid_recon.settings import Recovery
from belajarid_recon.sources.extract import Extract
from belajarid_recon.sources.parts import Cut, ShuffledExtract, TableCounts, read_broadcast, shuffle_extract

T = TypeVar("T")

Watch = Callable[[str, int, int], None]
"""Told a label, how much of the work under it is done, and how much there is (0: not known beforehand)."""


def quiet(label: str, done: int, total: int) -> None:
    """A watch that says nothing."""
    del label, done, total


def part_file(folder: Path, part: int, table: str) -> Path:
    """The file of a part's table."""
    return folder / f"part={part:03}" / f"{table}.parquet"


@dataclass(frozen=True)
class PartLoop:
    """Where a run's records are, in how many parts, and who works them."""

    folder: Path
    parts: int
    threads: int
    """Threads of one call of the core."""
    watch: Watch = quiet
    engine: Engine = ALONE

    def each(self, label: str, work: Callable[[int], T]) -> list[T]:
        """What `work` makes of every part, in the order of parts, with progress. It must be fit for any engine."""
        made: dict[int, T] = {}
        self.watch(label, 0, self.parts)
        # Closed whatever happens: afterwards no part is under way any more.
        with closing(self.engine.each(self.parts, work)) as results:
            for part, result in results:
                made[part] = result
                self.watch(label, len(made), self.parts)
        return [made[part] for part in range(self.parts)]

    def file(self, part: int, table: str) -> Path:
        """The file of a part's table."""
        return part_file(self.folder, part, table)

    def files(self, table: str) -> list[Path]:
        """The files of a table, of all parts."""
        return [self.file(part, table) for part in range(self.parts)]


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


@dataclass(frozen=True)
class Register:
    """A checked extract and the rules it is read by."""

    extract: Extract
    day: date
    regulation: Regulation
    recovery: Recovery
    marker_key: Secret
    group_kinds: tuple[GroupKind, ...] = ()
    """Kinds of groups that the settings ask for."""


def write_records(loop: PartLoop, register: Register) -> RecordFacts:
    """Make people and duties of every part; write desired accounts, their contacts, and who is under doubt into the loop's folder.

    Where the settings ask for groups, the schools and who belongs to which group are written too.

    While it works, the folder holds personal numbers, and the contacts until `remove_contacts`: it is the one place of a run that
    does. Raises InputError for a file damaged inside.
    """
    extract, period = register.extract, Period.of(register.day)
    reference = make_reference(read_broadcast(extract, period.semester_id))
    shuffled, seed = loop.folder / "shuffled", evidence_seed(register.marker_key)
    loop.watch("shuffle", 0, 1)
    try:
        how = Cut(shuffled, loop.parts, register.marker_key, loop.threads, register.recovery.kinds())
        cut = shuffle_extract(extract, how)
        loop.watch("shuffle", 1, 1)
        rules = DesiredRules(register.regulation, reference, pl.DataFrame(schema={"person_id": pl.Binary}))
        made = loop.each("records", DesiredWork(cut, rules, period, seed, loop.folder, register.group_kinds))
        counts = add_counts([reference.counts, cut.counts, *(part.counts for part in made)])
        check_counts(counts, extract.rows)
        doubts = find_duplicates_in(loop.files("evidence"))
        shared = find_shared(loop.files("contact-evidence"), seed, register.recovery.people_per_contact_max)
    finally:
        shutil.rmtree(shuffled, ignore_errors=True)
        for path in (*loop.files("evidence"), *loop.files("contact-evidence")):
            path.unlink(missing_ok=True)
    if register.group_kinds:
        schools_of(reference.schools).write_parquet(loop.folder / SCHOOLS_FILE)
    _withdraw(loop, shared)
    told = pl.concat([part.verdicts for part in made] + _hold(loop, doubts))
    quarantine = pl.concat([reference.quarantine, cut.quarantine, *(part.quarantine for part in made)])
    return RecordFacts(
        counts={table: vars(count) for table, count in sorted(counts.items())},
        quarantine=quarantine.select(QUARANTINE.names()).sort("table", "file", "row"),
        people=_by_standing(told),
        findings={
            "nisn-shared": doubts.nisn_shared,
            "nik-of-one-person-twice": doubts.nik_twins,
            "nik-shared": doubts.nik_shared,
        },
        kabkota_names=dict(reference.regions.select("kode_kabkota", "kabkota").iter_rows()),
    )


@dataclass(frozen=True)
class PartRecords:
    """What one part hands up of its records."""

    counts: dict[str, TableCounts]
    quarantine: pl.DataFrame
    verdicts: pl.DataFrame
    """desired.verdicts.VERDICTS, as if nobody were under doubt."""


@dataclass(frozen=True)
class DesiredWork:
    """Writes a part's desired accounts, as if nobody were under doubt, and the evidence that says who is."""

    cut: ShuffledExtract
    rules: DesiredRules
    period: Period
    evidence_seed: int
    folder: Path
    group_kinds: tuple[GroupKind, ...] = ()

    def __call__(self, part: int) -> PartRecords:
        """Make one part."""
        records = make_records(
            self.cut.read_part(part), self.rules.reference, self.period, evidence_seed=self.evidence_seed
        )
        part_file(self.folder, part, "desired").parent.mkdir(exist_ok=True)  # not its parents: a removed run stays so
        write_evidence(records.evidence, part_file(self.folder, part, "evidence"))
        desired = desired_accounts(records.people, records.duties, self.rules)
        contacts = account_contacts(records.people, desired)
        told = contact_evidence(contacts.unique("person_id"), self.evidence_seed)
        write_evidence(told, part_file(self.folder, part, "contact-evidence"))
        contacts.select(CONTACT.names()).write_parquet(part_file(self.folder, part, "contacts"), compression="lz4")
        # Read once or twice, soon: packing it would cost more than it saves.
        desired.write_parquet(part_file(self.folder, part, "desired"), compression="uncompressed", statistics=False)
        if self.group_kinds:
            of_groups = memberships(records.duties, desired, self.rules.regulation, self.group_kinds)
            of_groups.belongs.write_parquet(part_file(self.folder, part, "memberships"))
            of_groups.unclear.write_parquet(part_file(self.folder, part, "unclear"))
        seen = verdicts(person_verdicts(records.people, records.duties, desired), records.counts)
        return PartRecords(records.counts, compact(records.quarantine), compact(seen))


def _hold(loop: PartLoop, doubts: Doubts) -> list[pl.DataFrame]:
    """Write the account keys of people under doubt; what changes in the verdicts (VERDICTS, with negative numbers) is returned."""
    found = [_Doubted(pl.DataFrame(schema={"account_key": pl.Binary}), pl.DataFrame(schema=VERDICTS))]
    if doubts.people.height:
        found += loop.each("doubts", DoubtWork(doubts.people, loop.folder))
    keys = pl.concat([part.keys for part in found])
    keys.sort("account_key").write_parquet(loop.folder / DOUBTED_FILE)
    return [part.verdicts for part in found]


SCHOOLS_FILE = "schools.parquet"
"""schemas.SCHOOL of the register, where the settings ask for groups."""
DOUBTED_FILE = "doubted.parquet"
"""Account keys of people under doubt, of all parts: their desired accounts count as ineligible."""


@dataclass(frozen=True)
class _Doubted:
    keys: pl.DataFrame
    verdicts: pl.DataFrame


@dataclass(frozen=True)
class DoubtWork:
    """Finds the desired accounts of people under doubt in a part."""

    people: pl.DataFrame
    """`person_id`."""
    folder: Path

    def __call__(self, part: int) -> _Doubted:
        """Look through one part."""
        columns = ["person_id", "account_key", "jenjang", "standing", "reason"]
        wanted = pl.read_parquet(part_file(self.folder, part, "desired"), columns=columns).join(
            self.people, on="person_id", how="semi"
        )
        before = best_verdicts(wanted).select("standing", "reason", people=pl.lit(-1, pl.Int64))
        after = before.with_columns(
            standing=pl.lit(Standing.INELIGIBLE.value),
            reason=pl.lit(ReasonCode.SUSPECTED_DUPLICATE.value),
            people=-pl.col("people"),
        )
        changed = pl.concat([before, after]).group_by("standing", "reason").sum()
        return _Doubted(wanted.select("account_key"), conform(changed, VERDICTS))


def _withdraw(loop: PartLoop, shared: Shared) -> None:
    """Write who has a contact that too many people share: no step of theirs will name it, so that nobody asks for its value."""
    found = [pl.DataFrame(schema=_WITHDRAWN)]
    if len(shared.digests):
        found += loop.each("contacts", SharedWork(shared, loop.folder))
    pl.concat(found).sort("account_key").write_parquet(loop.folder / WITHDRAWN_FILE)


WITHDRAWN_FILE = "withdrawn.parquet"
"""Account keys of people with a contact that too many people share, and which one, of all parts."""

_WITHDRAWN = pl.Schema({"account_key": pl.Binary, "offers_email": pl.Boolean, "offers_phone": pl.Boolean})


@dataclass(frozen=True)
class SharedWork:
    """Finds the accounts of a part that have a shared contact."""

    shared: Shared
    folder: Path

    def __call__(self, part: int) -> pl.DataFrame:
        """Look through one part."""
        contacts = pl.read_parquet(part_file(self.folder, part, "contacts"))
        own = self.shared.without(contacts)
        lost = {
            offer: contacts[name].is_not_null() & own[name].is_null()
            for offer, name in (("offers_email", "recovery_email"), ("offers_phone", "recovery_phone"))
        }
        withdrawn = pl.DataFrame({"account_key": contacts["account_key"], **lost}, schema=_WITHDRAWN)
        return withdrawn.filter(pl.col("offers_email") | pl.col("offers_phone"))


def remove_contacts(loop: PartLoop) -> None:
    """Remove the contacts that `write_records` wrote. What is planned from the records afterwards knows only which there were."""
    for path in loop.files("contacts"):
        path.unlink(missing_ok=True)


def _by_standing(told: pl.DataFrame) -> dict[str, dict[str, int]]:
    """VERDICTS of all parts as standing to reason to people."""
    summed = told.group_by("standing", "reason").agg(pl.col("people").sum()).sort("standing", "reason")
    by_standing: dict[str, dict[str, int]] = {}
    for standing, reason, number in summed.filter(pl.col("people") != 0).iter_rows():
        by_standing.setdefault(standing, {})[reason] = number
    return by_standing


@dataclass(frozen=True)
class ReconcileRules:
    """What every part is compared under."""

    orgunits: dict[str, set[str]]
    """Tenant to the unit paths that exist. People of a jenjang that is no tenant here get no step."""
    remembered: Remembered
    seed: int
    groups: pl.DataFrame = field(default_factory=KNOWN_GROUP.to_frame)
    """plan.groups.KNOWN_GROUP of all tenants; none where the settings ask for none."""


def reconcile_parts(loop: PartLoop, snapshot: Path, rules: ReconcileRules) -> list[PartChanges]:
    """Compare every part's desired accounts with the snapshot's same part.

    Raises PlanError when it is not known who is under doubt, InputError when a file of the snapshot is damaged.
    """
    spelling = pl.DataFrame(
        [(tenant, path.lower(), path) for tenant, paths in sorted(rules.orgunits.items()) for path in sorted(paths)],
        schema={"jenjang": pl.String, "folded": pl.String, "there": pl.String},
        orient="row",
    ).unique(["jenjang", "folded"], keep="first", maintain_order=True)
    try:
        doubted = pl.read_parquet(loop.folder / DOUBTED_FILE)
        withdrawn = pl.read_parquet(loop.folder / WITHDRAWN_FILE)
    except OSError as error:  # also a run that an earlier version made
        raise PlanError(f"the run's records are gone or damaged: {loop.folder}", hint="plan again") from error
    return loop.each("compare", CompareWork(loop.folder, snapshot, rules, spelling, doubted, withdrawn, loop.threads))


@dataclass(frozen=True)
class CompareWork:
    """Compares a part."""

    folder: Path
    snapshot: Path
    rules: ReconcileRules
    spelling: pl.DataFrame
    doubted: pl.DataFrame
    withdrawn: pl.DataFrame
    threads: int

    def __call__(self, part: int) -> PartChanges:
        """Compare one part."""
        # A part's rows are most of what a plan needs of memory: none of these tables stands twice.
        desired = pl.read_parquet(part_file(self.folder, part, "desired"))
        desired = hold_doubted(withdraw_contacts(desired, self.withdrawn), self.doubted)
        not_served = _not_served(desired, self.rules.orgunits)
        if not not_served.is_empty():
            desired = desired.filter(pl.col("jenjang").is_in(list(self.rules.orgunits)))
        desired = _as_spelt(desired, self.spelling)
        observed = read_part(self.snapshot, part)
        made = reconcile_part(
            desired, observed, remembered=self.rules.remembered, seed=self.rules.seed, threads=self.threads
        )
        made = replace(made, tallies=pl.concat([made.tallies, not_served]))
        if not self.rules.groups.is_empty():
            made = self._with_members(made, part, desired, observed)
        # What is handed up stays until the plan is made, and the part must not stay with it.
        return made.compacted()

    def _with_members(self, made: PartChanges, part: int, desired: pl.DataFrame, observed: pl.DataFrame) -> PartChanges:
        """What the part hands up, and who joins and leaves groups. Raises PlanError for records without memberships."""
        try:
            belongs, unclear = (
                pl.read_parquet(part_file(self.folder, part, table)) for table in ("memberships", "unclear")
            )
        except OSError as error:
            raise PlanError(f"the run's records are gone or damaged: {self.folder}", hint="plan again") from error
        members = read_members_of(self.snapshot, part)
        changes = compare_members(PartMembers(belongs, unclear, desired, observed, members), self.rules.groups)
        return replace(
            made,
            members=changes.proposals,
            tallies=pl.concat([made.tallies, changes.tallies]),
            bases=pl.concat([made.bases, changes.bases]),
        )


def _as_spelt(desired: pl.DataFrame, spelling: pl.DataFrame) -> pl.DataFrame:
    """Unit paths as the directory spells them: it takes them in any case, and a comparison would call them different."""
    return (
        desired.with_columns(folded=pl.col("ou_path").str.to_lowercase())
        .join(spelling, on=["jenjang", "folded"], how="left", maintain_order="left")
        .with_columns(ou_path=pl.coalesce("there", "ou_path"))
        .drop("folded", "there")
    )


def _not_served(desired: pl.DataFrame, tenants: dict[str, set[str]]) -> pl.DataFrame:
    elsewhere = desired.select("jenjang").filter(pl.col("jenjang").is_in(list(tenants)).not_())
    counted = elsewhere.group_by(tenant="jenjang").len("count")
    return conform(counted.with_columns(kind=pl.lit("reason"), name=pl.lit(NoStep.TENANT_NOT_IN_SETTINGS.value)), TALLY)
