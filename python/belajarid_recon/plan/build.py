"""Make a plan of all parts' proposals: names for creations, organisational units first, guards, one order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import polars as pl

from belajarid_recon.desired.orgunits import with_units_above
from belajarid_recon.naming.user_ids import Addresses, allocate_user_ids, given_before
from belajarid_recon.plan.definition import Plan, PlanFacts
from belajarid_recon.plan.groups import group_steps, without_taken_groups
from belajarid_recon.plan.guards import count_slices, hold_slices, with_held
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

_TENANT_PLACE = {jenjang.value: place for place, jenjang in enumerate(Jenjang)}

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


_Waiting = dict[str, dict[str, list[pl.DataFrame]]]
"""Proposals by tenant and action."""


def build_plan(parts: list[PartChanges], context: PlanContext, inputs: dict[str, object]) -> Plan:
    """One plan of all parts; the same whatever their number or order.

    Takes the parts over: the list is emptied, and proposals go as their steps are made, for a country's are a gigabyte.
    """
    tallies = pl.concat([TALLY.to_frame(), *(part.tallies for part in parts)])
    bases = pl.concat([BASE.to_frame(), *(part.bases for part in parts)])
    members = pl.concat([MEMBER_PROPOSAL.to_frame(), *(part.members for part in parts)])
    no_contact = pl.concat([NO_CONTACT.to_frame(), *(part.no_contact for part in parts)])
    joinable, unjoinable = without_taken_groups(members, context.addresses)
    counts = pl.concat([count_slices(of, context.guards) for of in (joinable, *(part.proposals for part in parts))])
    held, findings = hold_slices(counts, bases, context.guards, context.kabkota_names)
    waiting = _by_tenant(parts)
    outcomes = _outcomes(_creations(waiting), context)
    steps = _numbered(list(_pieces(waiting, outcomes, with_held(joinable, held), held, context.orgunits)))
    lost_aliases = _aliases_without_account(tallies, context.aliases_asked)
    facts = PlanFacts(
        endpoint_class=context.endpoint_class,
        customer_ids=context.customer_ids,
        date=context.date,
        regulation=context.regulation,
        counts=_counts(steps, tallies),
        reasons=_reasons(pl.concat([tallies, context.group_tallies, _refused(outcomes), unjoinable, lost_aliases])),
        findings=findings,
        people=context.people,
        no_contact=_nested(no_contact.select("tenant", name="reason", count="accounts")),
    )
    return Plan(steps=Steps.of(steps), facts=facts, inputs=dict(inputs))


def _by_tenant(parts: list[PartChanges]) -> _Waiting:
    """The proposals of all parts. The list is emptied."""
    waiting: _Waiting = {}
    while parts:
        for key, rows in parts.pop().proposals.partition_by("tenant", "action", as_dict=True).items():
            tenant, action = map(str, key)
            waiting.setdefault(tenant, {}).setdefault(action, []).append(rows)
    return waiting


def _creations(waiting: _Waiting) -> pl.DataFrame:
    """`account_key`, `tenant` and `nama` of all creations."""
    columns = ("account_key", "tenant", "nama")
    found = [rows.select(columns) for actions in waiting.values() for rows in actions.get(Action.CREATE, ())]
    return pl.concat([PROPOSAL.to_frame().select(columns), *found])


def _outcomes(creations: pl.DataFrame, context: PlanContext) -> pl.DataFrame:
    """What becomes of each of `creations`: `account_key` and `tenant`, with one of `user_id`, `target_id` and `refusal`.

    A deleted account that can be restored (`target_id`) is restored instead; of two, a person must choose. Whoever was given a
    user ID before gets it again, whatever the name is now. If it is in use, some account there is most likely theirs and has lost
    its marker: a second account would be the worst answer.
    """
    of_account = ["account_key", "tenant"]
    gone = context.deleted.group_by(of_account).agg(target_id=pl.col("id").first(), found=pl.len())
    twice = pl.when(pl.col("found") > 1).then(pl.lit(NoStep.MARKER_ON_TWO_ACCOUNTS.value))
    restored = creations.join(gone, on=of_account).with_columns(refusal=twice)
    unknown = creations.join(gone, on=of_account, how="anti")
    before = given_before(unknown, context.addresses)
    fresh = unknown.join(before, on="account_key", how="anti")
    given = allocate_user_ids(fresh, context.addresses, naming_key=context.naming_key, threads=context.threads)
    refusal = (
        pl.when(pl.col("in_use"))
        .then(pl.lit(NoStep.ADDRESS_OURS_WITHOUT_MARKER.value))
        .when(pl.col("user_id").is_null())
        .then(pl.lit(NoStep.NO_USER_ID_FREE.value))
    )
    given = pl.concat([given, before], how="diagonal")
    named = unknown.join(given, on="account_key", how="left").with_columns(refusal=refusal)
    return pl.concat([conform(found, _OUTCOME) for found in (restored, named)])


_OUTCOME = pl.Schema(
    {
        "account_key": pl.Binary,
        "tenant": pl.String,
        "user_id": pl.String,
        "target_id": pl.String,
        "refusal": pl.String,  # NoStep
    }
)


def _refused(outcomes: pl.DataFrame) -> pl.DataFrame:
    """The tally of people for whom a person must look."""
    refused = outcomes.drop_nulls("refusal").group_by("tenant", name="refusal").len("count")
    return conform(refused.with_columns(kind=pl.lit("reason")), TALLY)


def _pieces(
    waiting: _Waiting, outcomes: pl.DataFrame, members: pl.DataFrame, held: pl.DataFrame, units: dict[str, set[str]]
) -> Iterator[pl.DataFrame]:
    """The plan's steps in its order, those of one action of one tenant at a time. `waiting` is emptied as they are made."""
    for tenant in sorted({*waiting, *members["tenant"].unique()}, key=_TENANT_PLACE.__getitem__):
        proposals = _taken(waiting.pop(tenant, {}), outcomes)
        pieces = [_ordered(_account_steps(with_held(rows, held))) for rows in proposals]
        pieces.append(_ordered(_orgunit_steps(pieces, units)))
        of_groups = group_steps(members.filter(pl.col("tenant") == tenant))
        pieces += map(_ordered, of_groups.partition_by("action"))
        yield from sorted((piece for piece in pieces if piece.height), key=lambda piece: LANE[piece["action"][0]])


def _taken(waiting: dict[str, list[pl.DataFrame]], outcomes: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """A tenant's proposals, an action at a time, with what became of creations. `waiting` is emptied."""
    while waiting:
        action, rows = waiting.popitem()
        if action == Action.CREATE:
            yield from _settled(pl.concat(rows), outcomes)
        else:
            yield pl.concat(rows)


def _settled(creations: pl.DataFrame, outcomes: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Creations with their user IDs, and undeletions; both PROPOSAL, without those that were refused.

    A restored account comes back as it went; what else should differ is for the next plan.
    """
    possible = outcomes.filter(pl.col("refusal").is_null()).drop("refusal")
    settled = creations.drop("user_id", "target_id").join(possible, on=["account_key", "tenant"])
    back = pl.col("target_id").is_not_null()
    restored = settled.filter(back).with_columns(action=pl.lit(Action.UNDELETE.value)).select(_OF_UNDELETION)
    return conform(settled.filter(~back), PROPOSAL), conform(restored, PROPOSAL)


_OF_UNDELETION = ("tenant", "action", "reason", "account_key", "target_id", "ou_path", "kode_kabkota")
"""What the proposal of an undeletion says."""


def _orgunit_steps(pieces: list[pl.DataFrame], existing: dict[str, set[str]]) -> pl.DataFrame:
    """A creation for each path that accounts go to and that is not there, units above included. Paths are case-insensitive.

    `pieces` are the steps of accounts; a step that is held needs no unit.
    """
    paths = [piece.filter(pl.col("held_by").is_null()).select("tenant", "ou_path").unique() for piece in pieces]
    there = pl.DataFrame(
        [(tenant, path.lower()) for tenant, paths in existing.items() for path in paths],
        schema={"tenant": pl.String, "folded": pl.String},
        orient="row",
    )
    missing = (
        with_units_above(pl.concat([STEP.to_frame().select("tenant", "ou_path"), *paths]))
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
    """Steps of one action of one tenant with their class, by depth of unit, key, group. No two are equal in all of it."""
    alone = pl.col("account_key").is_null()
    return (
        steps.with_columns(
            pl.col("action")
            .replace_strict({action.value: cls.value for action, cls in STEP_CLASS.items()}, return_dtype=pl.String)
            .alias("class"),
            depth=pl.when(alone).then(pl.col("ou_path").str.count_matches("/")),
            unit=pl.when(alone).then(pl.col("ou_path")),
        )
        .sort("depth", "unit", "account_key", "address", "alias", "member_id", nulls_last=True)
        .select(STEP.names())
    )


def _numbered(pieces: list[pl.DataFrame]) -> pl.DataFrame:
    """The pieces as one, numbered from 0. Each is numbered by itself: a column of the whole would make polars copy all others."""
    first, numbered = 0, [STEP.to_frame()]
    for piece in pieces:
        numbered.append(piece.with_columns(step=pl.int_range(first, first + piece.height, dtype=pl.Int64)))
        first += piece.height
    return pl.concat(numbered)


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
