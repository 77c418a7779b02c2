"""Steps of a case beside creations and changes: aliases that come and go, accounts that are deleted, a group with members."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from appliers.plans import DOMAINS, account_step, creation
from belajarid_recon.apply.body import Step
from belajarid_recon.directory.google import GoogleDirectory
from belajarid_recon.directory.groups import group_marker_of
from belajarid_recon.schemas import Action, Jenjang

GAINS, LOSES, LEAVES = range(3)
"""Whose account gains an alias, loses one, is deleted."""
ABOUT_GROUPS = frozenset({Action.CREATE_GROUP, Action.ADD_MEMBER})


def alias_of(tenant: Jenjang, number: int) -> str:
    """An alias of the number-th person's own."""
    return f"alias.{number:05}@{DOMAINS[tenant]}"


def kept_accounts(tenant: Jenjang, first: int) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Creation rows of the accounts that are there before, each with what is not as a creation makes it."""
    others: list[dict[str, Any]] = [{}, {"aliases": [alias_of(tenant, first + LOSES)]}, {"suspended": True}]
    return [(creation(tenant, first + n), other) for n, other in enumerate(others)]


def further_steps(tenant: Jenjang, first: int, ids: list[str]) -> list[dict[str, Any]]:
    """Steps on those accounts, by their ids, and on a group that two of them join."""
    gains = account_step(tenant, first + GAINS, Action.ADD_ALIAS, ids[GAINS])
    loses = account_step(tenant, first + LOSES, Action.REMOVE_ALIAS, ids[LOSES])
    address = f"guru-{first}@{DOMAINS[tenant]}"
    group = {"tenant": tenant, "class": "safe", "reason": "test", "marker": f"recon:{first:032x}", "address": address}
    return [
        gains | {"alias": alias_of(tenant, first + GAINS)},
        loses | {"alias": alias_of(tenant, first + LOSES)},
        account_step(tenant, first + LEAVES, Action.DELETE, ids[LEAVES]),
        group | {"action": Action.CREATE_GROUP.value, "group_name": f"Guru {first}"},
        *(group | {"action": Action.ADD_MEMBER.value, "member_id": ids[n]} for n in (GAINS, LOSES)),
    ]


def wrong_with_account(step: Step, lines: list[dict[str, Any]]) -> Iterator[str]:
    """What is wrong with the account of such a step, given the live accounts with its marker."""
    if step.action == Action.DELETE:
        yield from ["an account that should have been deleted"] * len(lines)
        return
    if len(lines) != 1:
        yield f"{len(lines)} live accounts of one person"
        return
    there = lines[0]["account"].get("aliases", [])
    if there != ([step.alias] if step.action == Action.ADD_ALIAS else []):
        yield "aliases that are not as planned"


def wrong_with_group(step: Step, squatted: frozenset[str], directory: GoogleDirectory) -> Iterator[str]:
    """What is wrong with the group of a step, as the directory shows it."""
    group = directory.get_group(str(step.address))
    if step.address in squatted:
        yield from () if group is None else ["a group at a squatted address"]
    elif group is None or group_marker_of(group) != step.marker:
        yield "a group that is not as planned"
    elif step.action == Action.ADD_MEMBER and not directory.has_member(str(step.address), str(step.member_id)):
        yield "a member is missing"
