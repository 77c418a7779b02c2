"""Administrators: privileges, roles, who holds one, and makeAdmin.

The seeded roles bear Google's names; their privileges, and the ids of all, are the emulator's own. An account that holds the super
administrator's role itself is `isAdmin`, one that holds another itself is `isDelegatedAdmin`; a role held through a group shows on
the group's assignment only. Nobody's rights are looked at when a call comes in: a token's scopes decide.
Sources: the discovery document; reference 1.4 and its table of limits (750 roles of one's own).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import orjson

from belajarid_recon.emulator.call import Call, Territory
from belajarid_recon.emulator.documents import Document, Documents
from belajarid_recon.emulator.group_storage import StoredGroup
from belajarid_recon.emulator.groups import Groups
from belajarid_recon.emulator.orgunits import Orgunits
from belajarid_recon.emulator.pages import PageTokens
from belajarid_recon.emulator.replies import (
    Answer,
    ApiError,
    duplicate,
    encode,
    invalid,
    not_found,
    not_offered,
    precondition,
    tagged,
)
from belajarid_recon.emulator.storage import Storage, StoredUser
from belajarid_recon.emulator.tenants import Tenant
from belajarid_recon.emulator.users import Users

SUPER_ROLE = "_SEED_ADMIN_ROLE"
ROLES_MAX = 750
ASSIGNMENTS_MAX = 10_000
"""Of one customer; a bound of the emulator's own."""
_ROLES_PAGE = 100
_ASSIGNMENTS_PAGE = 200
_SERVICE = "0emulatordirectory"
_TREE: Mapping[str, tuple[str, ...]] = {
    "USERS_ALL": ("USERS_CREATE", "USERS_RETRIEVE", "USERS_UPDATE", "USERS_DELETE"),
    "GROUPS_ALL": ("GROUPS_CREATE", "GROUPS_RETRIEVE", "GROUPS_UPDATE", "GROUPS_DELETE"),
    "ORGANIZATION_UNITS_ALL": (
        "ORGANIZATION_UNITS_CREATE",
        "ORGANIZATION_UNITS_RETRIEVE",
        "ORGANIZATION_UNITS_UPDATE",
        "ORGANIZATION_UNITS_DELETE",
    ),
    "USER_SECURITY_ALL": (),
    "SCHEMA_MANAGEMENT": (),
    "DOMAIN_MANAGEMENT": (),
}
"""Privileges, each with those it is made of."""
_OU_SCOPABLE = frozenset({"USERS_ALL", *_TREE["USERS_ALL"], "ORGANIZATION_UNITS_ALL", *_TREE["ORGANIZATION_UNITS_ALL"]})
_PRIVILEGES = frozenset(_TREE) | frozenset(leaf for leaves in _TREE.values() for leaf in leaves)


@dataclass(frozen=True)
class _Seed:
    """A role every customer has."""

    name: str
    description: str
    privileges: tuple[str, ...]


_SEEDS = (
    _Seed(SUPER_ROLE, "Super administrator", tuple(_TREE)),
    _Seed("_GROUPS_ADMIN_ROLE", "Groups administrator", ("GROUPS_ALL",)),
    _Seed("_USER_MANAGEMENT_ADMIN_ROLE", "User management administrator", ("USERS_ALL", "USER_SECURITY_ALL")),
    _Seed("_HELP_DESK_ADMIN_ROLE", "Help desk administrator", ("USERS_RETRIEVE", "USER_SECURITY_ALL")),
)


class Roles:
    """The roles of all tenants and their holders."""

    def __init__(self, storage: Storage, users: Users, groups: Groups, orgunits: Orgunits) -> None:
        self._roles = Documents(storage, "role")
        self._assignments = Documents(storage, "role-assignment")
        self._users = users
        self._groups = groups
        self._orgunits = orgunits
        self._territory = Territory(())
        self._pages = PageTokens(b"")

    def open(self, tenants: Iterable[Tenant], territory: Territory, pages: PageTokens) -> None:
        """Say who there is; a new tenant gets the roles every customer has."""
        self._territory = territory
        self._pages = pages
        for tenant in tenants:
            if not self._roles.count(tenant.jenjang):
                for seed in _SEEDS:
                    fields = {"roleName": seed.name, "roleDescription": seed.description}
                    self._add_role(tenant, fields, seed.privileges, is_system=True)

    # Privileges and roles

    def privileges(self, call: Call) -> Answer:
        """GET /customer/{customer}/roles/ALL/privileges."""
        self._tenant(call)
        items = [
            _privilege(name) | ({"childPrivileges": [_privilege(leaf) for leaf in leaves]} if leaves else {})
            for name, leaves in _TREE.items()
        ]
        return encode(tagged({"kind": "admin#directory#privileges", "items": items}))

    def insert(self, call: Call) -> Answer:
        """POST .../roles."""
        tenant = self._tenant(call)
        name = call.body.get("roleName") or ""
        privileges = _checked_privileges(call.body.get("rolePrivileges") or ())
        self._check_name(tenant, name)
        if self._roles.count(tenant.jenjang) - len(_SEEDS) >= ROLES_MAX:
            raise ApiError(412, "limitExceeded", "Role limit reached.")
        fields = {"roleName": name, "roleDescription": call.body.get("roleDescription") or ""}
        return encode(_role(self._add_role(tenant, fields, privileges, is_system=False)))

    def get(self, call: Call) -> Answer:
        """GET .../roles/{roleId}."""
        return encode(_role(self._find_role(self._tenant(call), call.path[1])))

    def list_roles(self, call: Call) -> Answer:
        """GET .../roles, by id."""
        tenant = self._tenant(call)
        return self._listing(call, "roles", ("roleId", _ROLES_PAGE), map(_role, self._roles.all(tenant.jenjang)))

    def update(self, call: Call) -> Answer:
        """PUT and PATCH .../roles/{roleId}: what is absent stays; a system role cannot be changed."""
        tenant = self._tenant(call)
        role = self._own_role(tenant, call.path[1])
        name = call.body.get("roleName") or role["roleName"]
        if name != role["roleName"]:
            self._check_name(tenant, name)
        changed = {**role, "roleName": name}
        if "roleDescription" in call.body:
            changed["roleDescription"] = call.body["roleDescription"] or ""
        if call.body.get("rolePrivileges"):
            changed["privileges"] = list(_checked_privileges(call.body["rolePrivileges"]))
        self._roles.put(tenant.jenjang, role["roleId"], changed)
        return encode(_role(changed))

    def delete(self, call: Call) -> Answer:
        """DELETE .../roles/{roleId}; refused while somebody holds it."""
        tenant = self._tenant(call)
        role = self._own_role(tenant, call.path[1])
        if any(one["roleId"] == role["roleId"] for one in self._assignments.all(tenant.jenjang)):
            raise precondition("The role is assigned.")
        self._roles.drop(tenant.jenjang, role["roleId"])
        return Answer(204, b"")

    # Assignments

    def assign(self, call: Call) -> Answer:
        """POST .../roleassignments."""
        tenant = self._tenant(call)
        body = call.body
        if body.get("condition") or body.get("expirationDetails"):
            raise not_offered("assignments with a condition or an end")
        role = self._find_role(tenant, str(body.get("roleId") or ""))
        assignee = self._assignee(tenant, body.get("assignedTo") or "")
        scope = self._checked_scope(tenant, role, body)
        if isinstance(assignee, StoredGroup) and _is_super(role):
            raise invalid("Invalid Input: assigned_to")
        return encode(_assignment(self._assign(tenant, role, assignee, scope)))

    def get_assignment(self, call: Call) -> Answer:
        """GET .../roleassignments/{roleAssignmentId}."""
        return encode(_assignment(self._find_assignment(self._tenant(call), call.path[1])))

    def list_assignments(self, call: Call) -> Answer:
        """GET .../roleassignments, by id; of a role, of a user or group, with those a user has through groups."""
        tenant, query = self._tenant(call), call.query
        found = self._assignments.all(tenant.jenjang)
        if query.get("includeIndirectRoleAssignments") == "true" and "userKey" not in query:
            raise invalid("Invalid Input: user_key")
        if "roleId" in query:
            found = (one for one in found if one["roleId"] == query["roleId"])
        if "userKey" in query:
            holders = self._holders(tenant, query)
            found = (one for one in found if one["assignedTo"] in holders)
        page = ("roleAssignmentId", _ASSIGNMENTS_PAGE)
        return self._listing(call, "roleAssignments", page, map(_assignment, found))

    def unassign(self, call: Call) -> Answer:
        """DELETE .../roleassignments/{roleAssignmentId}."""
        tenant = self._tenant(call)
        one = self._find_assignment(tenant, call.path[1])
        self._unassign(tenant, one)
        return Answer(204, b"")

    def make_admin(self, call: Call) -> Answer:
        """POST /users/{userKey}/makeAdmin: gives or takes the super administrator's role."""
        stored = self._users.find(call.tenant, call.path[0])
        if call.body.get("status") is None:
            raise ApiError(400, "required", "Missing required field: status")
        role = next(one for one in self._roles.all(call.tenant.jenjang) if _is_super(one))
        held = [one for one in self._held(call.tenant, _id_of(stored)) if one["roleId"] == role["roleId"]]
        if call.body["status"] and not held:
            self._assign(call.tenant, role, stored, {"scopeType": "CUSTOMER"})
        elif not call.body["status"]:
            for one in held:
                self._assignments.drop(call.tenant.jenjang, one["roleAssignmentId"])
            self._show_rights(call.tenant, stored)
        return Answer(204, b"")

    def forget(self, tenant: Tenant, identity: str) -> None:
        """Take all roles from an account or group that goes."""
        for one in self._held(tenant, identity):
            self._unassign(tenant, one)

    # Steps of the methods

    def _add_role(self, tenant: Tenant, fields: Document, privileges: tuple[str, ...], *, is_system: bool) -> Document:
        role_id = _identity(tenant, "role", self._roles.next_number(tenant.jenjang))
        role = {"roleId": role_id, **fields, "privileges": list(privileges), "isSystemRole": is_system}
        self._roles.put(tenant.jenjang, role_id, role)
        return role

    def _check_name(self, tenant: Tenant, name: str) -> None:
        if not name.strip() or len(name) > 256:
            raise invalid("Invalid Input: role_name")
        if any(one["roleName"] == name for one in self._roles.all(tenant.jenjang)):
            raise duplicate()

    def _find_role(self, tenant: Tenant, key: str) -> Document:
        role = self._roles.get(tenant.jenjang, key)
        if role is None:
            raise not_found("Resource Not Found: roleId")
        return role

    def _own_role(self, tenant: Tenant, key: str) -> Document:
        role = self._find_role(tenant, key)
        if role["isSystemRole"]:
            raise invalid("Invalid Input: role_id")
        return role

    def _assignee(self, tenant: Tenant, identity: str) -> StoredUser | StoredGroup:
        """The account or group with this id; addresses are not taken here. Raises ApiError."""
        if not identity or "@" in identity:
            raise invalid("Invalid Input: assigned_to")
        return self._groups.look_up(tenant, identity) or self._users.find(tenant, identity)

    def _checked_scope(self, tenant: Tenant, role: Document, body: Mapping[str, Any]) -> Document:
        """Scope type and unit of a new assignment. Raises ApiError 400; a unit can bound some privileges only."""
        scope = body.get("scopeType") or "CUSTOMER"
        if scope == "CUSTOMER":
            return {"scopeType": scope}
        unit = self._orgunits.unit_of_id(tenant, body.get("orgUnitId") or "")
        if scope != "ORG_UNIT" or not _OU_SCOPABLE.issuperset(role["privileges"]):
            raise invalid("Invalid Input: scope_type")
        if unit is None:
            raise invalid("Invalid Input: INVALID_OU_ID")
        return {"scopeType": scope, "orgUnitId": unit.id.removeprefix("id:")}

    def _assign(self, tenant: Tenant, role: Document, assignee: StoredUser | StoredGroup, scope: Document) -> Document:
        wanted = {"roleId": role["roleId"], "assignedTo": _id_of(assignee), **scope}
        if any(wanted.items() <= one.items() for one in self._assignments.all(tenant.jenjang)):
            raise duplicate()
        if self._assignments.count(tenant.jenjang) >= ASSIGNMENTS_MAX:
            raise ApiError(412, "limitExceeded", "CUSTOMER_EXCEEDED_ROLE_ASSIGNMENTS_LIMIT")
        kind = "group" if isinstance(assignee, StoredGroup) else "user"
        identity = _identity(tenant, "assignment", self._assignments.next_number(tenant.jenjang))
        one = {"roleAssignmentId": identity, **wanted, "assigneeType": kind}
        self._assignments.put(tenant.jenjang, identity, one)
        if isinstance(assignee, StoredUser):
            self._show_rights(tenant, assignee)
        return one

    def _unassign(self, tenant: Tenant, one: Document) -> None:
        self._assignments.drop(tenant.jenjang, one["roleAssignmentId"])
        if one["assigneeType"] == "user":
            self._show_rights(tenant, self._users.find(tenant, one["assignedTo"]))

    def _show_rights(self, tenant: Tenant, stored: StoredUser) -> None:
        """Write on an account what follows from the roles it holds itself."""
        account = orjson.loads(stored.answer)
        roles = [self._find_role(tenant, one["roleId"]) for one in self._held(tenant, account["id"])]
        account["isAdmin"] = any(map(_is_super, roles))
        account["isDelegatedAdmin"] = not all(map(_is_super, roles))
        self._users.rewrite(stored, account)

    def _held(self, tenant: Tenant, identity: str) -> list[Document]:
        return [one for one in self._assignments.all(tenant.jenjang) if one["assignedTo"] == identity]

    def _holders(self, tenant: Tenant, query: Mapping[str, str]) -> set[str]:
        """The ids under which `userKey` holds roles: its own, and its groups' if asked for."""
        key = query["userKey"]
        holder = self._groups.look_up(tenant, key) or self._users.find(tenant, key)
        if query.get("includeIndirectRoleAssignments") != "true":
            return {_id_of(holder)}
        above = (self._groups.storage.group(number) for number in self._groups.storage.groups_above(holder.number))
        return {_id_of(holder), *(group.id for group in above if group is not None)}

    def _find_assignment(self, tenant: Tenant, key: str) -> Document:
        one = self._assignments.get(tenant.jenjang, key)
        if one is None:
            raise not_found("Resource Not Found: roleAssignmentId")
        return one

    def _listing(self, call: Call, name: str, page: tuple[str, int], resources: Iterator[Document]) -> Answer:
        """A page of resources that come sorted by their id; `page` is that field's name and the largest page."""
        field, size = page
        now, tenant = self._users.time.elapsed(), call.tenant.jenjang
        bound = {**call.query, "list": name}
        after, _ = self._pages.read(tenant, bound, now)
        limit = int(call.query.get("maxResults", size))
        found = [one for one in resources if one[field] > after][: limit + 1]
        document: Document = {"kind": f"admin#directory#{name}"}
        if found:
            document["items"] = found[:limit]
        document = tagged(document)
        if len(found) > limit:
            document["nextPageToken"] = self._pages.issue(tenant, bound, (found[limit - 1][field], 0), now)
        return encode(document)

    def _tenant(self, call: Call) -> Tenant:
        self._territory.check_customer(call.tenant, call.path[0])
        return call.tenant


def _checked_privileges(wanted: Any) -> tuple[str, ...]:  # noqa: ANN401 - a body's list
    """The names of a role's privileges. Raises ApiError 400 for one that there is not, or for none."""
    names = tuple(one.get("privilegeName") or "" for one in wanted)
    if not names or not _PRIVILEGES.issuperset(names) or any(one.get("serviceId") != _SERVICE for one in wanted):
        raise invalid("Invalid Input: role_privileges")
    return names


def _is_super(role: Document) -> bool:
    return bool(role["roleName"] == SUPER_ROLE)


def _id_of(holder: StoredUser | StoredGroup) -> str:
    return holder.id if isinstance(holder, StoredGroup) else str(orjson.loads(holder.answer)["id"])


def _identity(tenant: Tenant, kind: str, number: int) -> str:
    """An id as Google writes them, a 64-bit number as text; they count up."""
    digest = blake2b(f"{tenant.customer_id}/{kind}".encode(), digest_size=6).digest()
    return str(10**16 + int.from_bytes(digest, "big") % 10**9 * 10**6 + number)


def _privilege(name: str) -> Document:
    scopable = name in _OU_SCOPABLE
    return tagged(
        {
            "kind": "admin#directory#privilege",
            "serviceId": _SERVICE,
            "serviceName": "emulator",
            "privilegeName": name,
            "isOuScopable": scopable,
        }
    )


def _role(role: Document) -> Document:
    """A role as the API writes it."""
    shown = {field: value for field, value in role.items() if field != "privileges"}
    privileges = [{"privilegeName": name, "serviceId": _SERVICE} for name in role["privileges"]]
    kind = {"kind": "admin#directory#role", "isSuperAdminRole": _is_super(role)}
    return tagged({**kind, **shown, "rolePrivileges": privileges})


def _assignment(one: Document) -> Document:
    return tagged({"kind": "admin#directory#roleAssignment", **one})
