"""Steps of a case beside creations and changes: aliases that come and go, accounts that are deleted and come back, rights, groups."""

from __future__ import annotations

from typing import Any

from appliers.plans import DOMAINS, account_step, creation, orgunit, update
from belajarid_recon.schemas import Action, Jenjang

GAINS, LOSES, LEAVES, RETURNS, FREED, PROMOTED, DEMOTED = range(7)
"""Whose account gains an alias, loses one, is deleted, undeleted, live again, and what the two others say."""
UNIT_BEFORE = "/Lama"
"""Where the one who is demoted stands."""
NEW_MEMBERS = (GAINS, LOSES, PROMOTED)
"""Who joins the new group: as many as its list is read for."""
OLD_MEMBERS = (GAINS, LOSES)
"""Who is in the group that was there before; the second leaves it."""


def alias_of(tenant: Jenjang, number: int) -> str:
    """An alias of the number-th person's own."""
    return f"alias.{number:05}@{DOMAINS[tenant]}"


def group_of(tenant: Jenjang, first: int, *, old: bool = False) -> dict[str, str]:
    """Address and marker of a case's group."""
    number = first + old
    return {"address": f"guru-{number}@{DOMAINS[tenant]}", "marker": f"recon:{number:032x}"}


def kept_accounts(tenant: Jenjang, first: int) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Creation rows of the accounts that are there before, each with what is not as a creation makes it."""
    others: dict[int, dict[str, Any]] = {
        LOSES: {"aliases": [alias_of(tenant, first + LOSES)]},
        LEAVES: {"suspended": True},
        FREED: {"suspended": True},
        DEMOTED: {"primaryEmail": _at_guru(tenant, first + DEMOTED), "orgUnitPath": UNIT_BEFORE},
    }
    return [(creation(tenant, first + n), others.get(n, {})) for n in range(DEMOTED + 1)]


def further_steps(tenant: Jenjang, first: int, ids: list[str]) -> list[dict[str, Any]]:
    """Steps on those accounts, by their ids, and on two groups."""

    def on(who: int, action: Action, **more: Any) -> dict[str, Any]:
        return account_step(tenant, first + who, action, ids[who]) | more

    return [
        on(GAINS, Action.ADD_ALIAS, alias=alias_of(tenant, first + GAINS)),
        on(LOSES, Action.REMOVE_ALIAS, alias=alias_of(tenant, first + LOSES)),
        on(LEAVES, Action.DELETE),
        on(RETURNS, Action.UNDELETE, ou_path="/"),
        *_changes(tenant, first, ids),
        *_about_groups(tenant, first, ids),
    ]


def _changes(tenant: Jenjang, first: int, ids: list[str]) -> list[dict[str, Any]]:
    """Live again; to the domain and a unit of those with rights, and back from it."""
    unit, domain = f"/Guru {first}", DOMAINS[tenant]

    def change(who: int, action: Action, before: dict[str, Any], **after: Any) -> dict[str, Any]:
        return update(tenant, first + who, ids[who], before, action=action.value, **after)

    promoted = {"address": _at_guru(tenant, first + PROMOTED), "ou_path": unit}
    demoted = {"address": creation(tenant, first + DEMOTED)["address"], "ou_path": "/"}
    return [
        orgunit(tenant, unit),
        change(FREED, Action.RESTORE, {"suspended": True}, suspended=False),
        change(PROMOTED, Action.PROMOTE, {"domain": domain, "ou_path": "/"}, **promoted),
        change(DEMOTED, Action.DEMOTE, {"domain": f"guru.{domain}", "ou_path": UNIT_BEFORE}, **demoted),
    ]


def _about_groups(tenant: Jenjang, first: int, ids: list[str]) -> list[dict[str, Any]]:
    """One group is made and joined, another is left."""
    kept = {"tenant": tenant, "class": "safe", "reason": "test"}
    new, old = (kept | group_of(tenant, first, old=one) for one in (False, True))
    return [
        new | {"action": Action.CREATE_GROUP.value, "group_name": f"Guru {first}"},
        *(new | {"action": Action.ADD_MEMBER.value, "member_id": ids[n]} for n in NEW_MEMBERS),
        old | {"action": Action.REMOVE_MEMBER.value, "member_id": ids[OLD_MEMBERS[-1]]},
    ]


def _at_guru(tenant: Jenjang, number: int) -> str:
    """The address of somebody with rights."""
    local, _, domain = creation(tenant, number)["address"].partition("@")
    return f"{local}@guru.{domain}"
