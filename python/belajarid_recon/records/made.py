"""From a part's tables to people, duties, quarantine and evidence; and the sum that must always be right."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl

from belajarid_recon.errors import ReconError
from belajarid_recon.records.duplicates import evidence_of
from belajarid_recon.records.judging import in_series, judge
from belajarid_recon.records.people import judge_names, judge_people, operators_who_are_no_ptk, people_of
from belajarid_recon.records.period import Period
from belajarid_recon.records.pupils import judge_rows, pupil_duties
from belajarid_recon.records.reference import Reference
from belajarid_recon.records.staff import StaffRows, staff_duties
from belajarid_recon.schemas import DUTY, QUARANTINE, PersonKind
from belajarid_recon.sources.columns import as_number, fault
from belajarid_recon.sources.parts import PartTables
from belajarid_recon.sources.reasons import QuarantineReason
from belajarid_recon.sources.tables import Table, TableCounts, repeated_rows

DUTY_TABLES = ("registrasi_peserta_didik", "ptk_terdaftar", "tugas_tambahan", "role_pengguna")
"""Tables whose rows give or end duties."""


@dataclass(frozen=True)
class Records:
    """What one part's rows say.

    `people` (schemas.PERSON), `duties` (schemas.DUTY, of these people), `quarantine` (schemas.QUARANTINE), `evidence`
    (duplicates.EVIDENCE), `counts` by table. Accepted and unused rows are those deleted at the source, of past years and
    semesters, or of people who are deleted.
    """

    people: pl.DataFrame
    duties: pl.DataFrame
    quarantine: pl.DataFrame
    evidence: pl.DataFrame
    counts: dict[str, TableCounts]


def make_records(part: PartTables, reference: Reference, period: Period, *, evidence_seed: int) -> Records:
    """Judge every row of a part and make people and duties of the accepted ones.

    Pure; the same for any order of rows, but for which of several equal rows is the one accepted. Raises ReconError (a
    bug) when accepted and quarantined rows of a table are not the rows read.
    """
    reference = reference.of_classes(part.tables["anggota_rombel"].frame["rombongan_belajar_id"])
    judged = _judge(part, reference)
    pupils = people_of(judged["peserta_didik"], PersonKind.PESERTA_DIDIK)
    staff = people_of(judged["ptk"], PersonKind.PTK)
    alone = operators_who_are_no_ptk(judged["role_pengguna"], contacts=PersonKind.PENGGUNA in part.contacts)
    people = pl.concat([pupils, staff, alone])
    registered = pupil_duties(judged["registrasi_peserta_didik"].frame, judged["anggota_rombel"].frame, reference)
    rows = StaffRows(
        assignments=judged["ptk_terdaftar"].frame,
        posts=judged["tugas_tambahan"].frame,
        operators=judged["role_pengguna"].frame.filter(~pl.col("soft_delete")),
    )
    clear = _with_schools(pl.concat([registered, staff_duties(rows, reference, period)]), reference, people)
    duties = pl.concat([clear, _unclear(clear, judged, part.lost_operators)])
    there = duties.filter(pl.col("exit_code").is_null() & pl.col("current"))["person_id"]
    counts = {name: _counts(name, table, people) for name, table in judged.items()}
    read = {name: table.read for name, table in part.tables.items()} | {"role_pengguna": part.operators.read}
    check_counts(counts, read)
    return Records(
        people=people,
        duties=duties,
        quarantine=pl.concat([table.quarantine(name) for name, table in judged.items()]).cast(QUARANTINE),
        evidence=evidence_of(people.filter(in_series("person_id", there)), evidence_seed),
        counts=counts,
    )


def add_counts(counts: Iterable[dict[str, TableCounts]]) -> dict[str, TableCounts]:
    """Counts by table of several parts, of the shuffle and of the reference together."""
    total: dict[str, TableCounts] = {}
    for each in counts:
        for table, count in each.items():
            total[table] = total.get(table, TableCounts()) + count
    return dict(sorted(total.items()))


def check_counts(counts: dict[str, TableCounts], read: dict[str, int]) -> None:
    """Demand that accepted and quarantined rows of every table add up to the rows read (by table).

    Use it once more on the summed counts of all parts with `Extract.rows`. Raises ReconError: it cannot happen by bad input.
    """
    for table, rows in read.items():
        count = counts.get(table, TableCounts())
        if not (count.read == rows == count.accepted + count.quarantined):
            raise ReconError(
                f"rows of a table do not add up: {table}: {rows} read, {count.accepted} accepted, "
                f"{count.quarantined} quarantined",
                hint="report this as a bug; nothing was changed",
            )


def _judge(part: PartTables, reference: Reference) -> dict[str, Table]:
    """Every table of the part, judged. People first: the others point at them."""
    tables = part.tables
    pupils = _judge_people(part, PersonKind.PESERTA_DIDIK, tables["ptk"].frame["_person"])
    staff = _judge_people(part, PersonKind.PTK, tables["peserta_didik"].frame["_person"])
    known = {"pupil": pupils.frame["_person"], "staff": staff.frame["_person"]}
    everybody = pl.concat([tables["peserta_didik"].frame["_person"], tables["ptk"].frame["_person"]])
    return {
        "peserta_didik": pupils,
        "registrasi_peserta_didik": judge_rows(
            tables["registrasi_peserta_didik"], "registrasi_id", known["pupil"], reference
        ),
        "anggota_rombel": judge_rows(tables["anggota_rombel"], "anggota_rombel_id", known["pupil"], reference),
        "ptk": staff,
        "ptk_terdaftar": judge_rows(tables["ptk_terdaftar"], "ptk_terdaftar_id", known["staff"], reference),
        "tugas_tambahan": judge_rows(tables["tugas_tambahan"], "ptk_tugas_tambahan_id", known["staff"], reference),
        "role_pengguna": _judge_operators(part.operators, known["staff"], everybody, reference),
    }


def _judge_people(part: PartTables, kind: PersonKind, other_ids: pl.Series) -> Table:
    return judge_people(part.tables[kind.value], other_ids, kind, contacts=kind in part.contacts)


def _judge_operators(table: Table, staff: pl.Series, everybody: pl.Series, reference: Reference) -> Table:
    """Set aside roles that repeat, point at nobody or no school, or whose user has no usable name or another person's id."""
    table = table.set_aside(repeated_rows(table.frame, ["_person", "id_role_pengguna"]))
    is_ptk, school = pl.col("is_ptk"), pl.col("sekolah_id")
    verdict = (
        pl.when(is_ptk & ~in_series("_person", staff))
        .then(fault("ptk_id", QuarantineReason.PERSON_UNKNOWN))
        .when(~is_ptk & in_series("_person", everybody))
        .then(fault("pengguna_id", QuarantineReason.PERSON_ID_SHARED))
        .when(pl.col("aktif").is_null() | pl.col("soft_delete").is_null())
        .then(fault("aktif", QuarantineReason.VALUE_MISSING))
        .when(school.is_null())
        .then(fault("sekolah_id", QuarantineReason.VALUE_MISSING))
        .when(~in_series("sekolah_id", reference.schools["sekolah_id"]))
        .then(fault("sekolah_id", QuarantineReason.SCHOOL_UNKNOWN))
    )
    table = judge(table, verdict)
    # The user's name matters only where no PTK row has one.
    named = table.frame.with_columns(nama=pl.when(is_ptk).then(pl.lit("ptk")).otherwise("nama"))
    return judge_names(Table(named, table.aside, table.files, table.read))


def _with_schools(bare: pl.DataFrame, reference: Reference, people: pl.DataFrame) -> pl.DataFrame:
    """Duties of known people as schemas.DUTY."""
    schools = reference.schools.rename({"open": "school_open"}).with_columns(school=as_number("sekolah_id"))
    return (
        bare.filter(in_series("person_id", people["person_id"]))
        .with_columns(school=as_number("sekolah_id"))
        .join(schools.drop("sekolah_id"), on="school", how="inner")
        .select(list(DUTY))
        .cast(DUTY)
    )


def _unclear(duties: pl.DataFrame, judged: dict[str, Table], lost_operators: pl.Series) -> pl.DataFrame:
    """A duty `unclear` in every jenjang of a person one of whose rows about duties was set aside, for more than a repetition.

    What the lost row said is not known: without this, a damaged row of a new school would make a leaver of somebody who moved,
    and a damaged duty of head would demote the head.
    """
    telling = [judged[name].aside for name in DUTY_TABLES]
    contrary = pl.concat(telling).filter(pl.col("reason") != QuarantineReason.ROW_REPEATED.value)
    lost = pl.concat([contrary.select("_person"), lost_operators.to_frame("_person")]).unique()
    return (
        duties.join(lost, left_on="person_id", right_on="_person", how="semi")
        .sort("person_id", "jenjang", "npsn", "sekolah_id")
        .unique(["person_id", "jenjang"], keep="first", maintain_order=True)
        .with_columns(
            pl.lit("unclear").alias("duty"),
            pl.lit(value=False).alias("current"),
            pl.lit(None, dtype=pl.String).alias("exit_code"),
            *(pl.lit(None, dtype=pl.Date).alias(name) for name in ("since", "exit_date")),
            pl.lit(None, dtype=pl.Int64).alias("grade"),
        )
    )


def _counts(name: str, table: Table, people: pl.DataFrame) -> TableCounts:
    accepted = table.frame.height
    unused = 0
    if name in ("peserta_didik", "ptk"):
        unused = accepted - table.frame.select(in_series("_person", people["person_id"]).sum()).item()
    elif accepted:
        unused = table.frame.filter(pl.col("soft_delete")).height
    return TableCounts(table.read, accepted, table.aside.height, unused)
