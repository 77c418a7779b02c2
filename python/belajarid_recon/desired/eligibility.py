"""The verdict of a regulation on each duty."""

from __future__ import annotations

import polars as pl

from belajarid_recon.desired.reasons import REASON_OF_EXIT_CODE, ReasonCode
from belajarid_recon.regulations import Regulation
from belajarid_recon.schemas import Role

ROLE_OF_DUTY = {"pupil": Role.PUPIL, "educator": Role.GURU, "head": Role.ADMIN, "operator": Role.ADMIN}
"""Heads and operators are the school's admins (socialisation slides 2022: tenaga kependidikan has @admin)."""

_ELIGIBLE = {
    "pupil": ReasonCode.PUPIL_ELIGIBLE,
    "educator": ReasonCode.EDUCATOR_ELIGIBLE,
    "head": ReasonCode.HEAD_ELIGIBLE,
    "operator": ReasonCode.OPERATOR_ELIGIBLE,
}


def judged_duties(duties: pl.DataFrame, regulation: Regulation, *, alone: bool = False) -> pl.DataFrame:
    """Duties in a jenjang (schemas.DUTY) with `reason`, `eligible`, and `holds`.

    `holds`: the duty has not ended, so that the person has not left the jenjang, eligible or not. A row of an earlier year
    holds, because absence is not departure; half a head's duty and a role that is not in force hold nobody. A duty that is
    unclear (a row was set aside) holds too, and keeps an educator's account as it is: the lost row may make a head.
    `alone`: each row is its person's only one, so that none is looked for.
    """
    unclear = pl.col("duty") == "unclear"
    gone = pl.col("exit_code").is_not_null()
    weak = pl.col("duty").is_in(["head", "operator"]) & ~pl.col("current")
    return (
        duties.filter(pl.col("jenjang").is_not_null())
        .with_columns(
            reason=_reason(regulation, gone), unclear=unclear if alone else unclear.any().over("person_id", "jenjang")
        )
        .with_columns(
            reason=pl.when(pl.col("unclear") & (pl.col("reason") == ReasonCode.EDUCATOR_ELIGIBLE.value))
            .then(_code(ReasonCode.ROWS_SET_ASIDE))
            .otherwise("reason")
        )
        .with_columns(
            eligible=pl.col("reason").is_in([code.value for code in _ELIGIBLE.values()]),
            holds=~gone & ~weak,
        )
    )


def _reason(regulation: Regulation, gone: pl.Expr) -> pl.Expr:
    duty, current = pl.col("duty"), pl.col("current")
    exits = {code: reason.value for code, reason in REASON_OF_EXIT_CODE.items()}
    eligible = {name: reason.value for name, reason in _ELIGIBLE.items()}
    left = pl.col("exit_code").replace_strict(exits, default=ReasonCode.LEFT_OTHER.value, return_dtype=pl.String)
    return (
        pl.when(gone)
        .then(left)
        .when(duty == "unclear")
        .then(_code(ReasonCode.ROWS_SET_ASIDE))
        .when((duty == "head") & ~current)
        .then(_code(ReasonCode.HEAD_WITHOUT_HEAD_TYPE))
        .when((duty == "operator") & ~current)
        .then(_code(ReasonCode.OPERATOR_NOT_IN_FORCE))
        .when(~current)
        .then(_code(ReasonCode.STALE_YEAR))
        .when(~pl.col("school_open"))
        .then(_code(ReasonCode.SCHOOL_CLOSED))
        .when(duty == "other-staff")
        .then(_code(ReasonCode.STAFF_OUTSIDE_REGULATION))
        .when(~_jenjang_named(regulation))
        .then(_code(ReasonCode.JENJANG_OUTSIDE_REGULATION))
        .when(_in_need_of_class(regulation) & pl.col("grade").is_null())
        .then(_code(ReasonCode.NO_CLASS))
        .when(_in_need_of_class(regulation) & ~_grade_named(regulation))
        .then(_code(ReasonCode.GRADE_OUTSIDE_REGULATION))
        .when(pl.col("npsn").is_null())
        .then(_code(ReasonCode.SCHOOL_WITHOUT_NPSN))
        .otherwise(duty.replace_strict(eligible, default=None, return_dtype=pl.String))
    )


def _code(code: ReasonCode) -> pl.Expr:
    return pl.lit(code.value)


def _among(pairs: list[str], *columns: str) -> pl.Expr:
    return pl.concat_str(*columns, separator=".").is_in(pairs).fill_null(value=False)


def _jenjang_named(regulation: Regulation) -> pl.Expr:
    """Whether the regulation names this duty in this jenjang at all."""
    pupils = [f"pupil.{jenjang}" for jenjang in regulation.pupil_grades()]
    staff = [f"{duty}.{jenjang}" for duty, named in regulation.staff_jenjang().items() for jenjang in named]
    return _among(pupils + staff, "duty", "jenjang")


def _in_need_of_class(regulation: Regulation) -> pl.Expr:
    return _among(
        [f"pupil.{jenjang}" for jenjang, grades in regulation.pupil_grades().items() if grades], "duty", "jenjang"
    )


def _grade_named(regulation: Regulation) -> pl.Expr:
    grades = regulation.pupil_grades()
    return _among(
        [f"{jenjang}.{grade}" for jenjang, named in grades.items() for grade in named or ()], "jenjang", "grade"
    )
