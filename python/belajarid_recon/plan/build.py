"""Make a plan of all parts' proposals: names for creations, organisational units first, guards, one order."""

from __future__ import annotations

from dataclasses import dataclass, field

import polars as pl

from belajarid_recon.desired.orgunits import with_units_above
from belajarid_recon.naming.user_ids import Addresses, allocate_user_ids, given_before
from belajarid_recon.plan.definition import Plan, PlanFacts
from belajarid_recon.plan.guards import hold_steps
from belajarid_recon.reconcile import BASE, PROPOSAL, TALLY, PartChanges
from belajarid_recon.schemas import STEP, Action, Jenjang, NoStep, StepClass, conform
from belajarid_recon.secrets import Secret
from belajarid_recon.settings import Guards

LANE = {
    Action.CREATE_ORGUNIT: 0,
    Action.RESTORE: 1,  # a child locked out comes first
    Action.CREATE: 2,
    Action.PROMOTE: 3,
    Action.DEMOTE: 4,
    Action.RENAME: 5,
    Action.MOVE: 6,
    Action.UPDATE: 7,
    Action.SUSPEND: 8,  # what takes something away comes last
}
"""Order of actions in a tenant."""

STEP_CLASS = {
    Action.CREATE_ORGUNIT: StepClass.SAFE,
    Action.CREATE: StepClass.SAFE,
    Action.UPDATE: StepClass.SAFE,
    Action.RESTORE: StepClass.REVERSIBLE,
    Action.PROMOTE: StepClass.REVERSIBLE,
    Action.DEMOTE: StepClass.REVERSIBLE,
    Action.RENAME: StepClass.REVERSIBLE,
    Action.MOVE: StepClass.REVERSIBLE,
    Action.SUSPEND: StepClass.REVERSIBLE,
}
"""What a wrong step of each action costs."""


@dataclass(frozen=True)
class PlanContext:
    """What a plan is made for, and what it may not collide with."""

    endpoint_class: str
    customer_ids: dict[str, str]
    date: str
    regulation: str
    addresses: Addresses
    """schemas.ADDRESSES: directory and ledger, as a frame or as files."""
    orgunits: dict[str, set[str]]
    """Tenant to the paths that exist."""
    kabkota_names: dict[str, str]
    guards: Guards
    naming_key: Secret
    threads: int = 1
    people: dict[str, dict[str, int]] = field(default_factory=dict)
    """Everybody in the register, by standing and reason code."""


def build_plan(parts: list[PartChanges], context: PlanContext, inputs: dict[str, object]) -> Plan:
    """One plan of all parts; the same whatever their number or order.

    Takes them over: the list is emptied, because what is held twice of a country's parts is a gigabyte.
    """
    proposals = pl.concat([part.proposals for part in parts]) if parts else pl.DataFrame(schema=PROPOSAL)
    tallies = pl.concat([part.tallies for part in parts]) if parts else pl.DataFrame(schema=TALLY)
    bases = pl.concat([part.bases for part in parts]) if parts else pl.DataFrame(schema=BASE)
    parts.clear()
    named, unnamed = _named(proposals, context)
    del proposals
    held, findings = hold_steps(named, bases, context.guards, context.kabkota_names)
    steps = _ordered(pl.concat([_orgunit_steps(held, context.orgunits), _account_steps(held)]))
    facts = PlanFacts(
        endpoint_class=context.endpoint_class,
        customer_ids=context.customer_ids,
        date=context.date,
        regulation=context.regulation,
        counts=_counts(steps, tallies),
        reasons=_reasons(pl.concat([tallies, unnamed])),
        findings=findings,
        people=context.people,
    )
    return Plan(steps=steps, facts=facts, inputs=dict(inputs))


def _named(proposals: pl.DataFrame, context: PlanContext) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Proposals with a user ID each, and the tally of people for whom a person must look.

    Whoever was given a user ID before gets it again, whatever the name is now. If it is in use, some account there is most
    likely theirs and has lost its marker: a second account would be the worst answer.
    """
    creations = proposals.filter(pl.col("action") == Action.CREATE).select("account_key", "tenant", "nama")
    before = given_before(creations, context.addresses)
    fresh = creations.join(before, on="account_key", how="anti").select("account_key", "nama")
    given = allocate_user_ids(fresh, context.addresses, naming_key=context.naming_key, threads=context.threads)
    given = pl.concat(
        [given.with_columns(in_use=pl.lit(value=False)), before.select("account_key", "user_id", "in_use")]
    )
    named = proposals.join(given.rename({"user_id": "given"}), on="account_key", how="left").with_columns(
        user_id=pl.coalesce("user_id", "given")
    )
    refusal = (
        pl.when(pl.col("in_use"))
        .then(pl.lit(NoStep.ADDRESS_OURS_WITHOUT_MARKER.value))
        .when(pl.col("user_id").is_null())
        .then(pl.lit(NoStep.NO_USER_ID_FREE.value))
    )
    judged = named.with_columns(refusal=refusal)
    refused = judged.drop_nulls("refusal").group_by("tenant", name="refusal").len("count")
    free = judged.filter(pl.col("refusal").is_null()).drop("given", "in_use", "refusal")
    return free, conform(refused.with_columns(kind=pl.lit("reason")), TALLY)


def _orgunit_steps(proposals: pl.DataFrame, existing: dict[str, set[str]]) -> pl.DataFrame:
    """A creation for each path that accounts go to and that is not there, units above included. Paths are case-insensitive."""
    there = pl.DataFrame(
        [(tenant, path.lower()) for tenant, paths in existing.items() for path in paths],
        schema={"tenant": pl.String, "folded": pl.String},
        orient="row",
    )
    missing = (
        with_units_above(proposals.filter(pl.col("held_by").is_null()))
        .with_columns(folded=pl.col("ou_path").str.to_lowercase())
        .join(there, on=["tenant", "folded"], how="anti")
        .unique(["tenant", "folded"], keep="first", maintain_order=True)
    )
    action, reason = pl.lit(Action.CREATE_ORGUNIT.value), pl.lit("unit-needed-by-accounts")
    return conform(missing.with_columns(action=action, reason=reason), STEP)


def _account_steps(proposals: pl.DataFrame) -> pl.DataFrame:
    """Proposals as steps. The address is written on creation and whenever the domain changes."""
    key = pl.col("account_key").bin.encode("hex")
    return conform(
        proposals.with_columns(
            address=pl.when(pl.col("domain").is_not_null()).then(pl.concat_str("user_id", pl.lit("@"), "domain")),
            marker=pl.concat_str(key.str.slice(0, 32), pl.lit("."), "tenant"),
        ),
        STEP,
    )


def _ordered(steps: pl.DataFrame) -> pl.DataFrame:
    """Steps by tenant, lane, depth of unit, key; numbered from 0."""
    tenants = {jenjang.value: place for place, jenjang in enumerate(Jenjang)}
    return (
        steps.with_columns(
            pl.col("action")
            .replace_strict({action.value: cls.value for action, cls in STEP_CLASS.items()})
            .alias("class"),
            tenant_place=pl.col("tenant").replace_strict(tenants, return_dtype=pl.Int64),
            lane=pl.col("action").replace_strict({a.value: lane for a, lane in LANE.items()}, return_dtype=pl.Int64),
            depth=pl.when(pl.col("account_key").is_null()).then(pl.col("ou_path").str.count_matches("/")),
            unit=pl.when(pl.col("account_key").is_null()).then(pl.col("ou_path")),
        )
        .sort("tenant_place", "lane", "depth", "unit", "account_key", nulls_last=True)
        .with_columns(step=pl.int_range(pl.len(), dtype=pl.Int64))
        .select(STEP.names())
    )


def _counts(steps: pl.DataFrame, tallies: pl.DataFrame) -> dict[str, dict[str, int]]:
    """Tenant to action to count; `held` counts held steps, which stand under their action too."""
    parts = [
        tallies.filter(pl.col("kind") == "action").select("tenant", "name", "count"),
        steps.group_by("tenant", name="action").len("count").with_columns(pl.col("count").cast(pl.Int64)),
        steps.filter(pl.col("held_by").is_not_null())
        .group_by("tenant")
        .len("count")
        .select("tenant", pl.lit("held").alias("name"), pl.col("count").cast(pl.Int64)),
    ]
    return _nested(pl.concat(parts))


def _reasons(tallies: pl.DataFrame) -> dict[str, dict[str, int]]:
    return _nested(tallies.filter(pl.col("kind") == "reason").select("tenant", "name", "count"))


def _nested(rows: pl.DataFrame) -> dict[str, dict[str, int]]:
    """Rows of tenant, name, count as nested dictionaries in sorted order."""
    nested: dict[str, dict[str, int]] = {}
    summed = rows.group_by("tenant", "name").agg(pl.col("count").sum()).sort("tenant", "name", nulls_last=True)
    for tenant, name, count in summed.iter_rows():
        nested.setdefault(tenant or "-", {})[name] = count
    return nested
