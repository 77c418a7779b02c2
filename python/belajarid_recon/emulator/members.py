"""Members of groups: accounts and groups of the same customer.

Sources: the discovery document; Google's note on membership limits (3,000 groups of one member).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from belajarid_recon.emulator.call import Call, Territory
from belajarid_recon.emulator.group_storage import GROUP_NUMBERS, Membership, StoredGroup
from belajarid_recon.emulator.groups import PAGE_MAX, Groups
from belajarid_recon.emulator.pages import PageTokens
from belajarid_recon.emulator.replies import (
    Answer,
    ApiError,
    encode,
    invalid,
    not_found,
    not_offered,
    precondition,
    tagged,
)
from belajarid_recon.emulator.tenants import Tenant
from belajarid_recon.emulator.users import Users

ROLES = ("OWNER", "MANAGER", "MEMBER")
GROUPS_OF_MEMBER_MAX = 3_000
_DELIVERY = ("ALL_MAIL", "DAILY", "DIGEST", "DISABLED", "NONE")


class Members:
    """The members of all groups."""

    def __init__(self, groups: Groups, users: Users, territory: Territory, pages: PageTokens) -> None:
        self._groups = groups
        self._storage = groups.storage
        self._users = users
        self._territory = territory
        self._pages = pages
        self._time = users.time

    def insert(self, call: Call) -> Answer:
        """POST /groups/{groupKey}/members, by address or id."""
        group = self._groups.find(call.tenant, call.path[0])
        key = call.body.get("email") or call.body.get("id")
        if not key:
            raise ApiError(400, "required", "Missing required field: memberKey")
        member = self._member(call.tenant, key)
        made = _checked(Membership(group.number, member, "MEMBER", "ALL_MAIL"), call.body)
        if self._storage.membership(group.number, member) is not None:
            raise ApiError(409, "duplicate", "Member already exists.")
        if member == group.number or member in self._storage.groups_above(group.number):
            raise precondition("Cyclic memberships not allowed")
        if self._storage.count_groups_of(member) >= GROUPS_OF_MEMBER_MAX:
            raise ApiError(412, "limitExceeded", "Membership limit reached.")
        self._storage.put_membership(made)
        return encode(self._whole(made))

    def get(self, call: Call) -> Answer:
        """GET /groups/{groupKey}/members/{memberKey}; a direct member only."""
        return encode(self._whole(self._find(call)))

    def update(self, call: Call) -> Answer:
        """PUT and PATCH /groups/{groupKey}/members/{memberKey}: role and delivery settings; what is absent stays."""
        changed = _checked(self._find(call), call.body)
        self._storage.put_membership(changed)
        return encode(self._whole(changed))

    def delete(self, call: Call) -> Answer:
        """DELETE /groups/{groupKey}/members/{memberKey}."""
        one = self._find(call)
        self._storage.drop_membership(one.team, one.member)
        return Answer(204, b"")

    def has_member(self, call: Call) -> Answer:
        """GET /groups/{groupKey}/hasMember/{memberKey}: directly or through other groups."""
        group = self._groups.find(call.tenant, call.path[0])
        member = self._member(call.tenant, call.path[1])
        return encode({"isMember": group.number in self._storage.groups_above(member)})

    def list_members(self, call: Call) -> Answer:
        """GET /groups/{groupKey}/members, groups behind accounts; each in the order they were made."""
        group = self._groups.find(call.tenant, call.path[0])
        now, tenant = self._time.elapsed(), call.tenant.jenjang
        bound = {**call.query, "list": f"members/{group.number}"}
        _, after = self._pages.read(tenant, bound, now)
        limit = int(call.query.get("maxResults", PAGE_MAX))
        found = self._page(call, group, after, limit + 1)
        document: dict[str, Any] = {"kind": "admin#directory#members"}
        if found:
            document["members"] = self._resources(found[:limit])
        document = tagged(document)
        if len(found) > limit:
            document["nextPageToken"] = self._pages.issue(tenant, bound, ("", found[limit - 1].member), now)
        return encode(document)

    # Steps of the methods

    def _page(self, call: Call, group: StoredGroup, after: int, limit: int) -> list[Membership]:
        roles = [role for role in call.query.get("roles", "").upper().split(",") if role]
        if not set(roles) <= set(ROLES):
            raise invalid("Invalid Input: roles")
        if call.query.get("includeDerivedMembership") != "true":
            return self._storage.members(group.number, roles, after, limit)
        if roles:
            raise not_offered("roles together with includeDerivedMembership")
        indirect = Membership(group.number, 0, "MEMBER", "ALL_MAIL")
        return [
            self._storage.membership(group.number, member)
            or Membership(group.number, member, indirect.role, "ALL_MAIL")
            for member in self._storage.derived_members(group.number, after, limit)
        ]

    def _member(self, tenant: Tenant, key: str) -> int:
        """The number behind a member's id or address. Raises ApiError 404, and 501 for somebody outside the customer."""
        if key == tenant.customer_id:
            raise not_offered("a whole customer as a member")
        domain = key.lower().rpartition("@")[2]
        if "@" in key and domain not in tenant.domains and domain not in tenant.domain_aliases:
            raise not_offered("members from outside the customer")
        try:
            return self._groups.member_number(tenant, key)
        except ApiError as error:
            raise not_found("Resource Not Found: memberKey") from error

    def _find(self, call: Call) -> Membership:
        group = self._groups.find(call.tenant, call.path[0])
        one = self._storage.membership(group.number, self._member(call.tenant, call.path[1]))
        if one is None:
            raise not_found("Resource Not Found: memberKey")
        return one

    def _whole(self, one: Membership) -> dict[str, Any]:
        """A member with its delivery settings, which lists leave out (discovery document)."""
        return tagged(self._resources([one])[0] | {"delivery_settings": one.delivery})

    def _resources(self, found: Sequence[Membership]) -> list[dict[str, Any]]:
        """Members as the API writes them."""
        accounts = {
            user.number: orjson.loads(user.answer) for user in self._users.of_numbers([one.member for one in found])
        }
        return [
            _of_account(one, accounts[one.member]) if one.member in accounts else self._of_group(one) for one in found
        ]

    def _of_group(self, one: Membership) -> dict[str, Any]:
        group = self._storage.group(one.member)
        if group is None:
            raise LookupError("a membership of nobody")
        return _resource(one, {"id": group.id, "email": group.email, "type": "GROUP", "status": "ACTIVE"})


def _of_account(one: Membership, account: dict[str, Any]) -> dict[str, Any]:
    status = "SUSPENDED" if account["suspended"] else "ACTIVE"
    identity = {"id": account["id"], "email": account["primaryEmail"]}
    return _resource(one, {**identity, "type": "USER", "status": status})


def _resource(one: Membership, who: dict[str, Any]) -> dict[str, Any]:
    return tagged({"kind": "admin#directory#member", **who, "role": one.role})


def _checked(one: Membership, body: dict[str, Any]) -> Membership:
    """The membership with a body's role and delivery settings. Raises ApiError 400; a group can be a member only."""
    role = (body.get("role") or one.role).upper()
    delivery = (body.get("delivery_settings") or one.delivery).upper()
    if role not in ROLES or (role == "OWNER" and one.member >= GROUP_NUMBERS):
        raise invalid("Invalid Input: role")
    if delivery not in _DELIVERY:
        raise invalid("Invalid Input: delivery_settings")
    return Membership(one.team, one.member, role, delivery)
