"""Guards: ceilings on suspensions. What is over a ceiling is held; everything else goes on."""

from __future__ import annotations

import polars as pl

from belajarid_recon.plan.definition import Finding
from belajarid_recon.schemas import Action
from belajarid_recon.settings import Ceiling, Guards


def hold_suspensions(
    proposals: pl.DataFrame, bases: pl.DataFrame, guards: Guards, names: dict[str, str]
) -> tuple[pl.DataFrame, tuple[Finding, ...]]:
    """Add `held_by` to `proposals` and list the slices over a ceiling.

    `bases` is reconcile.BASE over all parts; `names` maps kabupaten or kota codes to names. A slice over its ceiling holds
    all its suspensions, because nothing tells which of them are wrong. The tenant's ceiling is looked at
    last, over what the finer guard has not already held: one bad kabupaten must not stop its whole jenjang.
    """
    held = proposals.with_columns(held_by=pl.lit(None, dtype=pl.String))
    findings: list[Finding] = []
    for guard, column, ceiling in (
        ("suspensions_per_kabkota", "kode_kabkota", guards.suspensions_per_kabkota),
        ("suspensions_per_tenant", "tenant", guards.suspensions_per_tenant),
    ):
        over = _over_ceiling(held, bases, column, ceiling)
        scope = "kabkota" if column == "kode_kabkota" else column
        findings += [
            Finding(guard, f"{scope}:{code}", names.get(code, code), count, base, passed)
            for code, count, base, passed in over
        ]
        hit = (
            (pl.col("action") == Action.SUSPEND)
            & pl.col("held_by").is_null()
            & pl.col(column).is_in([code for code, *_ in over])
        )
        held = held.with_columns(held_by=pl.when(hit).then(pl.lit(guard)).otherwise("held_by"))
    return held, tuple(findings)


def _over_ceiling(
    proposals: pl.DataFrame, bases: pl.DataFrame, column: str, ceiling: Ceiling
) -> list[tuple[str, int, int, str]]:
    """Slices of `column` over the ceiling: code, suspensions, base, and the number that was passed; in order of code."""
    counts = (
        proposals.filter((pl.col("action") == Action.SUSPEND) & pl.col("held_by").is_null())
        .group_by(column)
        .len("suspensions")
        .join(bases.group_by(column).agg(pl.col("count").sum()), on=column, how="left")
        .with_columns(pl.col("count").fill_null(0))
        .drop_nulls(column)
        .sort(column)
    )
    over = []
    for code, suspensions, base in counts.select(column, "suspensions", "count").iter_rows():
        if suspensions > ceiling.count_max:
            over.append((code, suspensions, base, f"count > {ceiling.count_max}"))
        elif suspensions >= ceiling.count_min and suspensions > ceiling.share_max * base:
            over.append((code, suspensions, base, f"share > {ceiling.share_max}"))
    return over
