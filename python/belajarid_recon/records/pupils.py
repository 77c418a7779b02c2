"""Pupils' registrations and classes as duties."""

from __future__ import annotations

import polars as pl

from belajarid_recon.records.judging import in_series, judge
from belajarid_recon.records.reference import Reference
from belajarid_recon.regulations import duties
from belajarid_recon.sources.columns import as_number, fault
from belajarid_recon.sources.reasons import QuarantineReason
from belajarid_recon.sources.tables import Table, repeated_rows


def judge_rows(table: Table, own_key: str, known_people: pl.Series, reference: Reference) -> Table:
    """Set aside rows that repeat, have an unknown exit code, or point at nobody, at no school or at no class.

    `own_key` is the table's primary key. It is compared within one person only: the rows of different people may lie in
    different parts, and the verdict must not depend on how many parts there are. A class of another semester is no error.
    """
    table = table.set_aside(repeated_rows(table.frame, ["_person", own_key]))
    verdict = pl.when(~in_series("_person", known_people)).then(fault("_person", QuarantineReason.PERSON_UNKNOWN))
    verdicts = [verdict]
    if "sekolah_id" in table.frame.columns:
        stray = ~in_series("sekolah_id", reference.schools["sekolah_id"])
        verdicts.append(pl.when(stray).then(fault("sekolah_id", QuarantineReason.SCHOOL_UNKNOWN)))
    if "jenis_keluar_id" in table.frame.columns:
        code = pl.col("jenis_keluar_id")
        strange = code.is_not_null() & ~code.is_in(list(duties().exit_codes))
        verdicts.append(pl.when(strange).then(fault("jenis_keluar_id", QuarantineReason.EXIT_CODE_UNKNOWN)))
    if "rombongan_belajar_id" in table.frame.columns:
        stray = ~in_series("rombongan_belajar_id", reference.known_classes)
        verdicts.append(pl.when(stray).then(fault("rombongan_belajar_id", QuarantineReason.CLASS_UNKNOWN)))
    return judge(table, pl.coalesce(verdicts))


def pupil_duties(registrations: pl.DataFrame, memberships: pl.DataFrame, reference: Reference) -> pl.DataFrame:
    """A duty for each registration that is not deleted, without the school's columns.

    The grade is that of the current semester's class at the school of the registration; of several the highest, because a pupil
    in two of them has been promoted and not yet taken out. An ended registration has none.
    """
    known = reference.classes.select("grade", room=as_number("rombongan_belajar_id"), school=as_number("sekolah_id"))
    classes = (
        memberships.filter(~pl.col("soft_delete"))
        .select(person=as_number("_person"), room=as_number("rombongan_belajar_id"))
        .join(known, on="room", how="inner")
        .group_by("person", "school")
        .agg(pl.col("grade").max())
    )
    there = pl.col("jenis_keluar_id").is_null()
    return (
        registrations.filter(~pl.col("soft_delete"))
        .with_columns(person=as_number("_person"), school=as_number("sekolah_id"))
        .join(classes, on=["person", "school"], how="left")
        .select(
            person_id="_person",
            sekolah_id="sekolah_id",
            duty=pl.lit("pupil"),
            grade=pl.when(there).then("grade"),
            induk=pl.lit(value=True),
            since="tanggal_masuk_sekolah",
            exit_code="jenis_keluar_id",
            exit_date=pl.when(~there).then("tanggal_keluar"),
            current=pl.lit(value=True),
        )
    )
