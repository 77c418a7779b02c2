"""Groups in a plan: which of the possible ones are there, who joins and who leaves, and the steps for it.

A membership begins when the register gives an account a duty that the group stands for. It ends only when the register says so: the
school is closed, or the person's standing in the jenjang is active without that duty, or leaver. Whom the register no longer mentions, or
says nothing sure of, stays: absence is not departure. Groups are never deleted, and only accounts with our marker leave one. Nobody joins
a group that holds a role.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from belajarid_recon.naming.user_ids import Addresses, in_sight
from belajarid_recon.reconcile import BASE, MEMBER_PROPOSAL, TALLY
from belajarid_recon.schemas import GROUP, STEP, Action, GroupNoStep, Standing, conform

_SEEN = pl.Schema(
    {
        "group_id": pl.String,  # null: not there
        "left_alone": pl.Boolean,  # two have its marker, or its members were not read
        "holds_role": pl.Boolean,  # itself or a group it is inside: who joins would be an administrator
    }
)
KNOWN_GROUP = pl.Schema([*GROUP.items(), *_SEEN.items()])
"""schemas.GROUP with what the directory said of each; `address` is where a group that is there stands."""

NO_OP = "member-no-op"
"""Memberships that agree, in a plan's counts."""
_GROUP_NEEDED = "group-needed-by-members"
_LEFT = "no-longer-of-group"
_SCHOOL_CLOSED = "school-closed"
_OF_GROUP = ["tenant", "kind", "code"]


@dataclass(frozen=True)
class PartMembers:
    """One part of all that speaks of members."""

    belongs: pl.DataFrame
    """schemas.MEMBERSHIP."""
    unclear: pl.DataFrame
    """`account_key` of people who leave no group, for a row about a duty of theirs was set aside."""
    desired: pl.DataFrame
    """schemas.DESIRED."""
    accounts: pl.DataFrame
    """schemas.OBSERVED."""
    members: pl.DataFrame
    """schemas.OBSERVED_MEMBER, all with keys."""


@dataclass(frozen=True)
class MemberChanges:
    """What one part hands up of members: reconcile.MEMBER_PROPOSAL, TALLY and BASE."""

    proposals: pl.DataFrame
    tallies: pl.DataFrame
    bases: pl.DataFrame


ROLE_GROUP = pl.Schema({"tenant": pl.String, "id": pl.String})
"""A group that holds a role, or is inside one that does."""


def known_groups(
    possible: pl.DataFrame, observed: pl.DataFrame, role_groups: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The possible groups (schemas.GROUP) with what `observed` (schemas.OBSERVED_GROUP) says of them: KNOWN_GROUP, and a TALLY of oddities.

    A group is ours by its marker, wherever it stands. One that shows a marker no possible group has is left alone, as are two
    with one marker. Nobody joins one of `role_groups` (ROLE_GROUP), for this program makes nobody an administrator; members stay or
    leave as elsewhere.
    """
    holders = role_groups.unique().with_columns(holds_role=pl.lit(value=True))
    marked = observed.drop_nulls("marker").join(holders, on=["tenant", "id"], how="left", maintain_order="left")
    there = marked.group_by("tenant", "marker").agg(
        pl.col("id").min().alias("group_id"),
        pl.col("address").min().alias("at"),
        several=pl.len() > 1,
        unread=~pl.col("members_read").all(),
        holds_role=pl.col("holds_role").any(),
    )
    known = possible.join(there, on=["tenant", "marker"], how="left", maintain_order="left")
    moved = ~pl.col("several") & (pl.col("at") != pl.col("address"))
    oddities = {
        GroupNoStep.GROUP_MARKER_TWICE: known.filter("several"),
        GroupNoStep.GROUP_MEMBERS_NOT_READ: known.filter(~pl.col("several") & pl.col("unread")),
        GroupNoStep.GROUP_AT_ANOTHER_ADDRESS: known.filter(moved),
        GroupNoStep.GROUP_WITHOUT_RULE: marked.join(possible, on=["tenant", "marker"], how="anti"),
        GroupNoStep.GROUP_HOLDS_A_ROLE: known.filter("holds_role"),
    }
    tallies = pl.concat([TALLY.to_frame(), *(_reason_tally(rows, reason) for reason, rows in oddities.items())])
    found = known.with_columns(
        address=pl.coalesce("at", "address"),
        left_alone=(pl.col("several") | pl.col("unread")).fill_null(value=False),
        holds_role=pl.col("holds_role").fill_null(value=False),
    )
    return conform(found, KNOWN_GROUP), tallies


def compare_members(part: PartMembers, groups: pl.DataFrame) -> MemberChanges:
    """Who of one part joins and who leaves which of the known `groups` (KNOWN_GROUP)."""
    there = part.members.join(groups.filter(~pl.col("left_alone")), on=["tenant", "group_id"], how="inner")
    active = part.desired.filter(pl.col("standing") == Standing.ACTIVE)
    wanted = part.belongs.join(active, on="account_key", how="semi").join(groups, on=_OF_GROUP, how="inner")
    accounts = (
        part.accounts.join(pl.concat([wanted, there], how="diagonal"), on="account_key", how="semi")
        .group_by("account_key")
        .agg(accounts=pl.len(), member_id=pl.col("id").first(), suspended=pl.col("suspended").any())
    )
    joining = _joining(wanted, there, accounts)
    leaving = _leaving(there.join(wanted, on=[*_OF_GROUP, "account_key"], how="anti"), part, accounts)
    judged = pl.concat([joining, leaving], how="diagonal")
    settled = judged.filter(pl.col("action") == NO_OP).group_by("tenant").len("count")
    no_ops = conform(settled.with_columns(kind=pl.lit("action"), name=pl.lit(NO_OP)), TALLY)
    refused = judged.filter(pl.col("action").is_null()).group_by("tenant", name="refusal").len("count")
    proposed = judged.filter(pl.col("action").is_not_null() & (pl.col("action") != NO_OP))
    return MemberChanges(
        proposals=conform(proposed.with_columns(group_name="name"), MEMBER_PROPOSAL).sort(
            "account_key", "marker", "member_id"
        ),
        tallies=pl.concat([no_ops, conform(refused.with_columns(kind=pl.lit("reason")), TALLY)]),
        bases=conform(there.group_by("tenant", "kode_kabkota").agg(members=pl.len()), BASE),
    )


def _joining(wanted: pl.DataFrame, there: pl.DataFrame, accounts: pl.DataFrame) -> pl.DataFrame:
    """Wanted memberships with an action, or a refusal."""
    members = there.select(*_OF_GROUP, "account_key").unique().with_columns(is_member=pl.lit(value=True))
    refusal = (
        pl.when("left_alone")
        .then(pl.lit(GroupNoStep.MEMBER_OF_GROUP_LEFT_ALONE.value))
        .when(pl.col("is_member").is_null() & pl.col("holds_role"))
        .then(pl.lit(GroupNoStep.MEMBER_OF_GROUP_WITH_A_ROLE.value))
        .when(pl.col("is_member").is_null() & ((pl.col("accounts") != 1) | pl.col("suspended")).fill_null(value=True))
        .then(pl.lit(GroupNoStep.MEMBER_JOINS_LATER.value))
    )
    action = pl.when("is_member").then(pl.lit(NO_OP)).otherwise(pl.lit(Action.ADD_MEMBER.value))
    return (
        wanted.join(members, on=[*_OF_GROUP, "account_key"], how="left")
        .join(accounts, on="account_key", how="left")
        .with_columns(refusal=refusal)
        .with_columns(action=pl.when(pl.col("refusal").is_null()).then(action), reason=pl.col("kind"))
    )


def _leaving(unwanted: pl.DataFrame, part: PartMembers, accounts: pl.DataFrame) -> pl.DataFrame:
    """Members of ours whom nothing keeps in the group, with an action, or a refusal."""
    register = part.desired.select("account_key", "standing", register_reason="reason")
    unclear = part.unclear.with_columns(unclear=pl.lit(value=True))
    leaver = pl.col("standing") == Standing.LEAVER
    sure = (leaver | (pl.col("standing") == Standing.ACTIVE)) & pl.col("unclear").is_null()
    refusal = (
        pl.when(pl.col("role") != "MEMBER")
        .then(pl.lit(GroupNoStep.MEMBER_WITH_A_ROLE.value))
        .when((pl.col("accounts") != 1) | (pl.col("open") & ~sure.fill_null(value=False)))
        .then(pl.lit(GroupNoStep.MEMBER_IN_DOUBT.value))
    )
    reason = (
        pl.when(~pl.col("open"))
        .then(pl.lit(_SCHOOL_CLOSED))
        .when(leaver)
        .then("register_reason")
        .otherwise(pl.lit(_LEFT))
    )
    return (
        unwanted.join(register, on="account_key", how="left")
        .join(unclear, on="account_key", how="left")
        .join(accounts.select("account_key", "accounts"), on="account_key", how="left")
        .with_columns(refusal=refusal, reason=reason)
        .with_columns(action=pl.when(pl.col("refusal").is_null()).then(pl.lit(Action.REMOVE_MEMBER.value)))
    )


def stranger_tallies(strangers: pl.DataFrame, groups: pl.DataFrame) -> pl.DataFrame:
    """A TALLY of members that are no accounts of ours (schemas.OBSERVED_MEMBER), of the known `groups` (KNOWN_GROUP)."""
    return _reason_tally(
        strangers.join(groups, on=["tenant", "group_id"], how="semi"), GroupNoStep.MEMBER_IS_A_STRANGER
    )


def without_taken_groups(proposals: pl.DataFrame, addresses: Addresses) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The proposals (reconcile.MEMBER_PROPOSAL) less those for groups that cannot be made, and a TALLY of both.

    A group cannot be made where an account, an alias, a deleted account or another group has its local part in the tenant,
    or two groups would have one address.
    """
    local = pl.col("address").str.split("@").list.first()
    new = proposals.filter(pl.col("group_id").is_null()).select("tenant", "marker", "address", user_id=local).unique()
    if new.is_empty():
        return proposals, TALLY.to_frame()
    taken = new.filter(
        pl.col("address").is_duplicated()
        | pl.struct("tenant", "user_id").is_in(
            in_sight(new.select("tenant", "user_id"), addresses).to_struct().implode()
        )
    )
    refused = proposals.join(taken, on=["tenant", "marker"], how="semi")
    tallies = [
        _reason_tally(taken, GroupNoStep.GROUP_ADDRESS_TAKEN),
        _reason_tally(refused, GroupNoStep.MEMBER_OF_GROUP_LEFT_ALONE),
    ]
    return proposals.join(taken, on=["tenant", "marker"], how="anti"), pl.concat(tallies)


def group_steps(held: pl.DataFrame) -> pl.DataFrame:
    """Steps (schemas.STEP) of proposals (reconcile.MEMBER_PROPOSAL and `held_by`): groups that free additions need, and the members."""
    needed = held.filter(pl.col("group_id").is_null() & pl.col("held_by").is_null())
    made = needed.select("tenant", "marker", "address", "group_name", "kode_kabkota").unique()
    action, reason = pl.lit(Action.CREATE_GROUP.value), pl.lit(_GROUP_NEEDED)
    made = made.with_columns(action=action, reason=reason)
    return pl.concat([conform(made, STEP), conform(held.drop("group_name"), STEP)])


def _reason_tally(rows: pl.DataFrame, reason: GroupNoStep) -> pl.DataFrame:
    counted = rows.group_by("tenant").len("count")
    return conform(counted.with_columns(kind=pl.lit("reason"), name=pl.lit(reason.value)), TALLY)
