"""Staff assignments, extra duties and operators' roles as duties.

Codes and the sources of the rules stand in regulations/duties.toml.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from belajarid_recon.records.period import Period
from belajarid_recon.records.reference import Reference
from belajarid_recon.regulations import duties

_BARE = ["person_id", "sekolah_id", "duty", "grade", "induk", "since", "exit_code", "exit_date", "current"]


@dataclass(frozen=True)
class StaffRows:
    """Accepted rows of a part: `ptk_terdaftar`, `tugas_tambahan`, and operators' roles."""

    assignments: pl.DataFrame
    posts: pl.DataFrame
    operators: pl.DataFrame


def staff_duties(rows: StaffRows, reference: Reference, period: Period) -> pl.DataFrame:
    """Duties of staff, without the school's columns.

    `ptk_terdaftar` has a row a school year: for each person and jenjang only those of the newest year speak, and they are `current`
    if that is the run's year. Rows of a later year than the run's say nothing yet. A `head` that is not `current` has one half of
    the head test only; an `operator` that is not `current` has a role that is not in force.
    """
    spoken = _newest_year(rows.assignments, reference, period)
    active = spoken.filter(pl.col("current") & pl.col("jenis_keluar_id").is_null())
    heads = _heads(active, _posts_in_force(rows.posts, period), reference)
    appointed = heads.filter(pl.col("current")).select("_person", "sekolah_id")
    return pl.concat([_assignments(spoken, appointed), _as_duties(heads), _operators(rows.operators, period)])


def _newest_year(assignments: pl.DataFrame, reference: Reference, period: Period) -> pl.DataFrame:
    jenjang = reference.schools.select("sekolah_id", "jenjang")
    year = pl.col("tahun_ajaran_id")
    return (
        assignments.filter(~pl.col("soft_delete") & (year <= period.tahun_ajaran_id))
        .join(jenjang, on="sekolah_id", how="left")
        .filter(year == year.max().over("_person", "jenjang"))
        .with_columns(current=year == period.tahun_ajaran_id)
        .drop("jenjang")
    )


def _posts_in_force(posts: pl.DataFrame, period: Period) -> pl.DataFrame:
    """Extra duties of the day: begun, and without an end or with one to come."""
    begun = pl.col("tmt_tambahan").is_null() | (pl.col("tmt_tambahan") <= period.day)
    lasting = pl.col("tst_tambahan").is_null() | (pl.col("tst_tambahan") > period.day)
    return posts.filter(~pl.col("soft_delete") & begun & lasting).select(
        "_person", "sekolah_id", post="jabatan_ptk_id", since="tmt_tambahan"
    )


def _heads(active: pl.DataFrame, posts: pl.DataFrame, reference: Reference) -> pl.DataFrame:
    """Heads (`current`), and those with a head's duty at a school where they are not typed as head (not `current`).

    The register's own test: the extra duty of head together with the type of head at the same school; or acting head, who
    may come from another school but must be active somewhere. Managers head units without a head teacher: by extra
    duty or by the assignment's own `jabatan_ptk_id`.
    """
    codes = duties()
    here = active.select("_person", "sekolah_id", "jenis_ptk_id", "jabatan_ptk_id", "ptk_induk", "tmt_tugas")
    held = posts.join(here, on=["_person", "sekolah_id"], how="inner")
    head_post = pl.col("post").is_in(list(codes.head_assignments))
    appointed = held.filter(head_post).select(
        "_person",
        "sekolah_id",
        "since",
        induk="ptk_induk",
        current=pl.col("jenis_ptk_id").is_in(list(codes.head_types)),
    )
    acting = (
        posts.filter(pl.col("post").is_in(list(codes.acting_head_assignments)))
        .join(here.select("_person").unique(), on="_person", how="semi")
        .select("_person", "sekolah_id", "since", induk=pl.lit(value=False), current=pl.lit(value=True))
    )
    own = here.select("_person", "sekolah_id", "ptk_induk", post="jabatan_ptk_id", since="tmt_tugas")
    managing = (
        pl.concat([held.select("_person", "sekolah_id", "ptk_induk", "post", "since"), own])
        .join(reference.schools.select("sekolah_id", "form"), on="sekolah_id", how="inner")
        .join(_manager_posts(), on=["post", "form"], how="semi")
        .select("_person", "sekolah_id", "since", induk="ptk_induk", current=pl.lit(value=True))
    )
    # A person typed as head in one row and as teacher in another of the same school passes the test by the first.
    keys = ["_person", "sekolah_id"]
    passed = pl.col("current").any().over(keys)
    return pl.concat([appointed, acting, managing]).filter(pl.col("current") | ~passed)


def _manager_posts() -> pl.DataFrame:
    pairs = [{"post": row.assignment, "form": form} for row in duties().managers for form in row.forms]
    return pl.DataFrame(pairs, schema={"post": pl.Int64, "form": pl.Int64})


def _assignments(spoken: pl.DataFrame, appointed: pl.DataFrame) -> pl.DataFrame:
    """`ptk_terdaftar` rows as duties. One of a head's type is covered by the head's duty, and half a head without it."""
    codes = duties()
    typed = pl.col("jenis_ptk_id").is_in(list(codes.head_types))
    teaches = pl.col("jenis_ptk_id").is_in(list(codes.educator_types))
    gone = pl.col("jenis_keluar_id").is_not_null()
    head = appointed.unique().with_columns(appointed=pl.lit(value=True))
    rows = spoken.join(head, on=["_person", "sekolah_id"], how="left").with_columns(
        pl.col("appointed").fill_null(value=False)
    )
    half = typed & ~gone & pl.col("current")
    return rows.filter(~(half & pl.col("appointed"))).select(
        person_id="_person",
        sekolah_id="sekolah_id",
        duty=pl.when(teaches)
        .then(pl.lit("educator"))
        .when(half | (typed & gone))
        .then(pl.lit("head"))
        .otherwise(pl.lit("other-staff")),
        grade=pl.lit(None, dtype=pl.Int64),
        induk=pl.col("ptk_induk").fill_null(value=False),
        since="tmt_tugas",
        exit_code="jenis_keluar_id",
        exit_date=pl.when(gone).then("tgl_ptk_keluar"),
        current=pl.col("current") & ~half,
    )


def _as_duties(heads: pl.DataFrame) -> pl.DataFrame:
    return heads.select(
        person_id="_person",
        sekolah_id="sekolah_id",
        duty=pl.lit("head"),
        grade=pl.lit(None, dtype=pl.Int64),
        induk=pl.col("induk").fill_null(value=False),
        since="since",
        exit_code=pl.lit(None, dtype=pl.String),
        exit_date=pl.lit(None, dtype=pl.Date),
        current="current",
    )


def _operators(operators: pl.DataFrame, period: Period) -> pl.DataFrame:
    """Operators' roles; `current` if approved, the user active, and not expired on the day."""
    lasting = pl.col("tgl_kadaluwarsa").is_null() | (pl.col("tgl_kadaluwarsa") > period.day)
    return operators.select(
        person_id="_person",
        sekolah_id="sekolah_id",
        duty=pl.lit("operator"),
        grade=pl.lit(None, dtype=pl.Int64),
        induk=pl.lit(value=False),
        since=pl.lit(None, dtype=pl.Date),
        exit_code=pl.lit(None, dtype=pl.String),
        exit_date=pl.lit(None, dtype=pl.Date),
        current=pl.col("approval_peran") & pl.col("aktif") & lasting,
    ).select(_BARE)
