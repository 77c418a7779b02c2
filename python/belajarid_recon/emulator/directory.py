"""The directory put together: what there is, what lets go of what, and which method of the API is whose."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from secrets import token_bytes

import orjson

from belajarid_recon.emulator.aliases import Aliases
from belajarid_recon.emulator.call import Call, Territory
from belajarid_recon.emulator.custom_schemas import CustomSchemas
from belajarid_recon.emulator.customers import Customers
from belajarid_recon.emulator.groups import Groups
from belajarid_recon.emulator.lag import Lag
from belajarid_recon.emulator.members import Members
from belajarid_recon.emulator.orgunits import Orgunits
from belajarid_recon.emulator.pages import PageTokens
from belajarid_recon.emulator.quotas import TenantQuotas
from belajarid_recon.emulator.replies import Answer
from belajarid_recon.emulator.roles import Roles
from belajarid_recon.emulator.sign_in import SignIn
from belajarid_recon.emulator.storage import Storage, StoredUser
from belajarid_recon.emulator.tenants import Tenant
from belajarid_recon.emulator.users import Users
from belajarid_recon.schemas import Jenjang

Perform = Callable[[Call], Answer]


@dataclass(frozen=True)
class Directory:
    """Everything behind the API."""

    orgunits: Orgunits
    users: Users
    sign_in: SignIn
    methods: Mapping[str, Perform]
    """By the method's name in the discovery document."""


def open_directory(
    storage: Storage, lag: Lag, tenants: Mapping[Jenjang, Tenant], quotas: Mapping[Jenjang, TenantQuotas]
) -> Directory:
    """Read what is stored and make it answer."""
    territory = Territory(tenants.values())
    customers = Customers(storage, territory, lag.time)
    customers.load(tenants.values())
    orgunits = Orgunits(storage, territory, quotas)
    for tenant in tenants.values():
        orgunits.load(tenant)
    pages = PageTokens(bytes.fromhex(storage.fact("page-key", token_bytes(32).hex())))
    custom = CustomSchemas(storage, territory)
    users = Users(storage, lag, orgunits, custom, pages)
    users.open(tenants.values(), territory, quotas)
    orgunits.on_move = users.follow_unit
    custom.on_delete = users.drop_custom
    groups = Groups(storage, users, territory, pages)
    roles = Roles(storage, users, groups, orgunits)
    roles.open(tenants.values(), territory, pages)
    users.on_delete = lambda tenant, user: _let_go(tenant, user, groups, roles)
    groups.on_delete = lambda tenant, group: roles.forget(tenant, group.id)
    methods = {
        **_of_users(users, Aliases(users, groups, territory), roles),
        **_of_groups(groups, Aliases(users, groups, territory), Members(groups, users, territory, pages)),
        **_of_roles(roles),
        **_of_customers(customers, users),
        **_of_units(orgunits, custom),
    }
    return Directory(orgunits, users, SignIn(tenants.values(), users, storage, lag.time), methods)


def _of_users(users: Users, aliases: Aliases, roles: Roles) -> dict[str, Perform]:
    return {
        "users.insert": users.insert,
        "users.get": users.get,
        "users.list": users.list_users,
        "users.update": users.update,
        "users.patch": users.patch,
        "users.delete": users.delete,
        "users.undelete": users.undelete,
        "users.signOut": users.sign_out,
        "users.makeAdmin": roles.make_admin,
        "users.aliases.insert": aliases.insert_of_user,
        "users.aliases.list": aliases.list_of_user,
        "users.aliases.delete": aliases.delete_of_user,
    }


def _of_groups(groups: Groups, aliases: Aliases, members: Members) -> dict[str, Perform]:
    return {
        "groups.insert": groups.insert,
        "groups.get": groups.get,
        "groups.list": groups.list_groups,
        "groups.update": groups.update,
        "groups.patch": groups.update,
        "groups.delete": groups.delete,
        "groups.aliases.insert": aliases.insert_of_group,
        "groups.aliases.list": aliases.list_of_group,
        "groups.aliases.delete": aliases.delete_of_group,
        "members.insert": members.insert,
        "members.get": members.get,
        "members.list": members.list_members,
        "members.update": members.update,
        "members.patch": members.update,
        "members.delete": members.delete,
        "members.hasMember": members.has_member,
    }


def _of_roles(roles: Roles) -> dict[str, Perform]:
    return {
        "privileges.list": roles.privileges,
        "roles.insert": roles.insert,
        "roles.get": roles.get,
        "roles.list": roles.list_roles,
        "roles.update": roles.update,
        "roles.patch": roles.update,
        "roles.delete": roles.delete,
        "roleAssignments.insert": roles.assign,
        "roleAssignments.get": roles.get_assignment,
        "roleAssignments.list": roles.list_assignments,
        "roleAssignments.delete": roles.unassign,
    }


def _of_customers(customers: Customers, users: Users) -> dict[str, Perform]:
    return {
        "customers.get": customers.get,
        "customers.update": customers.update,
        "customers.patch": customers.update,
        "domains.insert": customers.insert_domain,
        "domains.get": customers.get_domain,
        "domains.list": customers.list_domains,
        "domains.delete": lambda call: customers.delete_domain(call, users),
        "domainAliases.insert": customers.insert_alias,
        "domainAliases.get": customers.get_alias,
        "domainAliases.list": customers.list_aliases,
        "domainAliases.delete": customers.delete_alias,
    }


def _of_units(orgunits: Orgunits, custom: CustomSchemas) -> dict[str, Perform]:
    return {
        "orgunits.insert": orgunits.insert,
        "orgunits.get": orgunits.get,
        "orgunits.list": orgunits.list_units,
        "orgunits.update": orgunits.update,
        "orgunits.patch": orgunits.update,
        "orgunits.delete": orgunits.delete,
        "schemas.insert": custom.insert,
        "schemas.get": custom.get,
        "schemas.list": custom.list_schemas,
        "schemas.update": custom.update,
        "schemas.patch": custom.patch,
        "schemas.delete": custom.delete,
    }


def _let_go(tenant: Tenant, user: StoredUser, groups: Groups, roles: Roles) -> None:
    """Take an account that goes out of its groups and roles."""
    groups.storage.drop_memberships(user.number)
    roles.forget(tenant, orjson.loads(user.answer)["id"])
