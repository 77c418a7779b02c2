"""Make a plan of all parts' proposals: names for creations, organisational units first, guards, one order."""

from __future__ import annotations

from dataclasses import dataclass, field

import polars as pl

from belajarid_recon.desired.orgunits import with_units_above
from belajarid_recon.naming.user_ids import Addresses, allocate_user_ids, given_before
from belajarid_recon.plan.definition import Plan, PlanFacts
from belajarid_recon.plan.groups import group_steps, without_taken_groups
from belajarid_recon.plan.guards import hold_steps
from belajarid_recon.plan.steps import Steps
from belajarid_recon.reconcile import ALIAS_FOUND, BASE, MEMBER_PROPOSAL, NO_CONTACT, PROPOSAL, TALLY, PartChanges
from belajarid_recon.schemas import STEP, Action, Jenjang, NoStep, StepClass, conform
from belajarid_recon.secrets import Secret
from belajarid_recon.settings import Guards

LANE = {
    Action.CREATE_ORGUNIT: 0,
    Action.CREATE_GROUP: 1,
    Action.RESTORE: 2,  # a child locked out comes first
    Action.UNDELETE: 3,
    Action.CREATE: 4,
    Action.REMOVE_ALIAS: 5,  # a rename may need the address
    Action.PROMOTE: 6,
    Action.DEMOTE: 7,
    Action.RENAME: 8,
    Action.MOVE: 9,
    Action.UPDATE: 10,
    Action.ADD_ALIAS: 11,
    Action.ADD_MEMBER: 12,
    Action.REMOVE_MEMBER: 13,
    Action.SUSPEND: 14,  # what takes something away comes last
    Action.DELETE: 15,
}
"""Order of actions in a tenant."""

STEP_CLASS = dict.fromkeys(Action, StepClass.REVERSIBLE) | {
    Action.CREATE_ORGUNIT: StepClass.SAFE,
    Action.CREATE_GROUP: StepClass.SAFE,
    Action.CREATE: StepClass.SAFE,
    Action.UPDATE: StepClass.SAFE,
    Action.ADD_ALIAS: StepClass.SAFE,
    Action.DELETE: StepClass.DESTRUCTIVE,
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
    aliases_asked: int
    """Lines of the file of aliases."""
    deleted: pl.DataFrame
    """schemas.DELETED whose `account_key` is known: accounts that can be restored."""
    kabkota_names: dict[str, str]
    guards: Guards
    naming_key: Secret
    threads: int = 1
    people: dict[str, dict[str, int]] = field(default_factory=dict)
    """Everybody in the register, by standing and reason code."""
    group_tallies: pl.DataFrame = field(default_factory=TALLY.to_frame)
    """reconcile.TALLY of what no part sees: groups left alone, and members that are no accounts of ours."""


def build_plan(parts: list[PartChanges], context: PlanContext, inputs: dict[str, object]) -> Plan:
    """One plan of all parts; the same whatever their number or order.

    Takes them over: the list is emptied, because what is held twice of a country's parts is a gigabyte.
    """
    proposals = pl.concat([part.proposals for part in parts]) if parts else pl.DataFrame(schema=PROPOSAL)
    tallies = pl.concat([part.tallies for part in parts]) if parts else pl.DataFrame(schema=TALLY)
    bases = pl.concat([part.bases for part in parts]) if parts else pl.DataFrame(schema=BASE)
    members = pl.concat([MEMBER_PROPOSAL.to_frame(), *(part.members for part in parts)])
    no_contact = pl.concat([NO_CONTACT.to_frame(), *(part.no_contact for part in parts)])
    parts.clear()
    named, unnamed = _named(proposals, context)
    del proposals
    joinable, unjoinable = without_taken_groups(members, context.addresses)
    held, findings = hold_steps(named, bases, context.guards, context.kabkota_names)
    held_members, member_findings = hold_steps(joinable, bases, context.guards, context.kabkota_names)
    steps = _ordered(
        pl.concat([_orgunit_steps(held, context.orgunits), _account_steps(held), group_steps(held_members)])
    )
    lost_aliases = _aliases_without_account(tallies, context.aliases_asked)
    facts = PlanFacts(
        endpoint_class=context.endpoint_class,
        customer_ids=context.customer_ids,
        date=context.date,
        regulation=context.regulation,
        counts=_counts(steps, tallies),
        reasons=_reasons(pl.concat([tallies, context.group_tallies, unnamed, unjoinable, lost_aliases])),
        findings=findings + member_findings,
        people=context.people,
        no_contact=_nested(no_contact.select("tenant", name="reason", count="accounts")),
    )
    return Plan(steps=Steps.of(steps), facts=facts, inputs=dict(inputs))


def _named(proposals: pl.DataFrame, context: PlanContext) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Proposals with a user ID each, and the tally of people for whom a person must look.

    Whoever was given a user ID before gets it again, whatever the name is now. If it is in use, some account there is most
    likely theirs and has lost its marker: a second account would be the worst answer.
    """
    proposals, twice = _restored(proposals, context.deleted)
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
        .when(pl.col("user_id").is_null() & (pl.col("action") == Action.CREATE))
        .then(pl.lit(NoStep.NO_USER_ID_FREE.value))
    )
    judged = named.with_columns(refusal=refusal)
    refused = judged.drop_nulls("refusal").group_by("tenant", name="refusal").len("count")
    free = judged.filter(pl.col("refusal").is_null()).drop("given", "in_use", "refusal")
    return free, pl.concat([conform(refused.with_columns(kind=pl.lit("reason")), TALLY), twice])


def _restored(proposals: pl.DataFrame, deleted: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Creations for whom a deleted account can be restored as undeletions, and the tally of people for whom two could.

    A restored account comes back as it went; what else should differ is for the next plan.
    """
    creates = pl.col("action") == Action.CREATE
    ids = deleted.group_by("account_key", "tenant").agg(pl.col("id").first().alias("gone"), found=pl.len())
    seen = proposals.join(ids, on=["account_key", "tenant"], how="left").with_columns(
        found=pl.when(creates).then("found")
    )
    once = pl.col("found") == 1
    kept = (*_VERDICT_OF_UNDELETE, "action", "target_id")
    restored = seen.filter(once).with_columns(action=pl.lit(Action.UNDELETE.value), target_id="gone")
    twice = seen.filter(pl.col("found") > 1).group_by("tenant").len("count")
    reason = pl.lit(NoStep.MARKER_ON_TWO_ACCOUNTS.value)
    return (
        pl.concat(
            [seen.filter(pl.col("found").is_null()).drop("gone", "found"), conform(restored.select(kept), PROPOSAL)]
        ),
        conform(twice.with_columns(kind=pl.lit("reason"), name=reason), TALLY),
    )


_VERDICT_OF_UNDELETE = ("tenant", "reason", "account_key", "ou_path", "kode_kabkota")
"""What an undeletion keeps of a creation's proposal."""


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
    """Steps by tenant, lane, depth of unit, key, group; numbered from 0."""
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
        .sort("tenant_place", "lane", "depth", "unit", "account_key", "address", nulls_last=True)
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


def _aliases_without_account(tallies: pl.DataFrame, asked: int) -> pl.DataFrame:
    """The tally of lines that name no active person's account of ours, under no tenant; none where every line does."""
    lost = asked - int(tallies.filter(pl.col("kind") == ALIAS_FOUND)["count"].sum())
    row = {"tenant": None, "kind": "reason", "name": NoStep.ALIAS_WITHOUT_ACCOUNT.value, "count": lost}
    return pl.DataFrame([row] if lost else [], schema=TALLY)


def _reasons(tallies: pl.DataFrame) -> dict[str, dict[str, int]]:
    return _nested(tallies.filter(pl.col("kind") == "reason").select("tenant", "name", "count"))


def _nested(rows: pl.DataFrame) -> dict[str, dict[str, int]]:
    """Rows of tenant, name, count as nested dictionaries in sorted order."""
    nested: dict[str, dict[str, int]] = {}
    summed = rows.group_by("tenant", "name").agg(pl.col("count").sum()).sort("tenant", "name", nulls_last=True)
    for tenant, name, count in summed.iter_rows():
        nested.setdefault(tenant or "-", {})[name] = count
    return nested
