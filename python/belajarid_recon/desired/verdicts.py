"""One verdict for every person, so that nobody is lost between the register and the plan."""

from __future__ import annotations

import polars as pl

from belajarid_recon.desired.reasons import ReasonCode
from belajarid_recon.schemas import PersonKind, Standing
from belajarid_recon.sources.columns import as_number
from belajarid_recon.sources.tables import TableCounts

VERDICTS = pl.Schema({"person_kind": pl.String, "standing": pl.String, "reason": pl.String, "people": pl.Int64})

_STANDINGS = [Standing.ACTIVE.value, Standing.LEAVER.value, Standing.INELIGIBLE.value]


def person_verdicts(people: pl.DataFrame, duties: pl.DataFrame, desired: pl.DataFrame) -> pl.DataFrame:
    """`person_id`, `person_kind`, `standing`, `reason`: one row for each of `people`.

    Somebody with several jenjang counts under the best standing (active, leaver, ineligible). Somebody without a row in
    `desired` is ineligible: `form-outside-belajar-id` with duties outside belajar.id only, `no-duty` without any.
    """
    best = best_verdicts(desired)
    best = best.with_columns(person=as_number("person_id")).drop("person_id")
    told = people.select("person_id", "person_kind", person=as_number("person_id")).join(best, on="person", how="left")
    named, missing = told.filter(pl.col("reason").is_not_null()), told.filter(pl.col("reason").is_null())
    outside = duties.select(as_number("person_id").unique().implode()).to_series()
    reason = (
        pl.when(pl.col("person").is_in(outside))
        .then(pl.lit(ReasonCode.FORM_OUTSIDE_BELAJAR_ID.value))
        .otherwise(pl.lit(ReasonCode.NO_DUTY.value))
    )
    unnamed = missing.with_columns(standing=pl.lit(Standing.INELIGIBLE.value), reason=reason)
    return pl.concat([named, unnamed]).select("person_id", "person_kind", "standing", "reason")


def best_verdicts(desired: pl.DataFrame) -> pl.DataFrame:
    """`person_id`, `standing`, `reason`: one row for each person of `desired`, under the best standing."""
    several = desired.select(as_number("person_id").is_duplicated())["person_id"]
    columns = ["person_id", "standing", "reason"]
    first = (
        desired.filter(several)
        .select(*columns, "jenjang", rank=_rank())
        .sort("person_id", "rank", "jenjang")
        .unique("person_id", keep="first", maintain_order=True)
    )
    return pl.concat([desired.filter(~several).select(columns), first.select(columns)])


def verdicts(persons: pl.DataFrame, counts: dict[str, TableCounts]) -> pl.DataFrame:
    """People by kind, standing and reason (VERDICTS), sorted.

    `persons` is what `person_verdicts` says, of one part or all; `counts` those of the same records. The people of
    the register's two tables, those deleted at the source included (`record-deleted`), are the accepted rows of their
    table: quarantined, excluded and planned add up to read.
    """
    counted = persons.group_by("person_kind", "standing", "reason").agg(people=pl.len()).cast(VERDICTS)
    deleted = [
        {
            "person_kind": kind.value,
            "standing": Standing.INELIGIBLE.value,
            "reason": ReasonCode.RECORD_DELETED.value,
            "people": counts[kind.value].unused,
        }
        for kind in (PersonKind.PESERTA_DIDIK, PersonKind.PTK)
        if counts[kind.value].unused
    ]
    return pl.concat([counted, pl.DataFrame(deleted, schema=VERDICTS)]).sort("person_kind", "standing", "reason")


def _rank() -> pl.Expr:
    ranks = {standing: rank for rank, standing in enumerate(_STANDINGS)}
    return pl.col("standing").replace_strict(ranks, return_dtype=pl.Int64)
