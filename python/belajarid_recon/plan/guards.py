"""Guards: ceilings on what takes something away. What is over a ceiling is held; everything else goes on."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from belajarid_recon.plan.definition import Finding
from belajarid_recon.schemas import Action
from belajarid_recon.settings import Ceiling, Guards

_KABKOTA = pl.col("kode_kabkota")
_TENANT = pl.col("tenant")


@dataclass(frozen=True)
class _Check:
    """One guard over one kind of slice."""

    guard: str
    action: Action
    scope: str
    """What stands before the slice in a finding."""
    slice: pl.Expr
    base: str
    """Column of reconcile.BASE a share is taken of."""
    ceiling: Ceiling


def _checks(guards: Guards) -> list[_Check]:
    """Checks in order: a kabupaten or kota as a whole, then in each tenant, and the tenant over what is then still free.

    One bad kabupaten must not stop its whole jenjang.
    """
    inside = pl.concat_str(_KABKOTA, _TENANT, separator="/")
    kinds = (
        ("suspensions", Action.SUSPEND, "accounts", guards.suspensions_per_kabkota, guards.suspensions_per_tenant),
        ("deletions", Action.DELETE, "accounts", guards.deletions_per_kabkota, guards.deletions_per_tenant),
        ("demotions", Action.DEMOTE, "admins", guards.demotions_per_kabkota, guards.demotions_per_tenant),
        ("removals", Action.REMOVE_MEMBER, "members", guards.removals_per_kabkota, guards.removals_per_tenant),
    )
    return [
        check
        for name, action, base, per_kabkota, per_tenant in kinds
        for check in (
            _Check(f"{name}_per_kabkota", action, "kabkota", _KABKOTA, base, per_kabkota),
            _Check(f"{name}_per_kabkota", action, "kabkota", inside, base, per_kabkota),
            _Check(f"{name}_per_tenant", action, "tenant", _TENANT, base, per_tenant),
        )
    ]


_SLICE = ["tenant", "action", "kode_kabkota"]
"""What a guard looks at: it holds all rows that are equal in these, or none."""


def count_slices(proposals: pl.DataFrame, guards: Guards) -> pl.DataFrame:
    """What guards need to know of proposals: `tenant`, `action` and `kode_kabkota` with their number (`steps`), where a guard looks."""
    looked_at = {check.action.value for check in _checks(guards)}
    return proposals.select(_SLICE).filter(pl.col("action").is_in(looked_at)).group_by(_SLICE).len("steps")


def hold_slices(
    counts: pl.DataFrame, bases: pl.DataFrame, guards: Guards, names: dict[str, str]
) -> tuple[pl.DataFrame, tuple[Finding, ...]]:
    """Which proposals are held (`tenant`, `action`, `kode_kabkota`, `held_by`), and the slices over a ceiling.

    `counts` are those of `count_slices`, and `bases` reconcile.BASE, over all parts; a row may stand several times. `names` maps
    kabupaten or kota codes to names. A slice over its ceiling holds all its steps of that action, because nothing tells which of them
    are wrong.
    """
    held = counts.group_by(_SLICE).agg(pl.col("steps").sum()).with_columns(held_by=pl.lit(None, dtype=pl.String))
    findings: list[Finding] = []
    for check in _checks(guards):
        free = (pl.col("action") == check.action) & pl.col("held_by").is_null()
        over = _over_ceiling(held.filter(free), bases, check)
        for code, count, base, passed in over:
            kabkota, _, tenant = code.partition("/")
            name = " ".join(filter(None, [names.get(kabkota, kabkota), tenant]))
            findings.append(Finding(check.guard, f"{check.scope}:{code}", name, count, base, passed))
        hit = free & check.slice.is_in([code for code, *_ in over])
        held = held.with_columns(held_by=pl.when(hit).then(pl.lit(check.guard)).otherwise("held_by"))
    return held.drop_nulls("held_by").drop("steps"), tuple(findings)


def with_held(proposals: pl.DataFrame, held: pl.DataFrame) -> pl.DataFrame:
    """Proposals with the guard that holds them (`held_by`), by what `hold_slices` found."""
    return proposals.join(held, on=_SLICE, how="left", nulls_equal=True, maintain_order="left")


def _over_ceiling(free: pl.DataFrame, bases: pl.DataFrame, check: _Check) -> list[tuple[str, int, int, str]]:
    """Slices over the ceiling: code, steps, base, and the number that was passed; in order of code."""
    counts = (
        free.group_by(slice=check.slice)
        .agg(pl.col("steps").sum())
        .join(bases.group_by(slice=check.slice).agg(base=pl.col(check.base).sum()), on="slice", how="left")
        .with_columns(pl.col("base").fill_null(0))
        .drop_nulls("slice")
        .sort("slice")
    )
    over = []
    for code, steps, base in counts.select("slice", "steps", "base").iter_rows():
        if steps > check.ceiling.count_max:
            over.append((code, steps, base, f"count > {check.ceiling.count_max}"))
        elif steps >= check.ceiling.count_min and steps > check.ceiling.share_max * base:
            over.append((code, steps, base, f"share > {check.ceiling.share_max}"))
    return over
