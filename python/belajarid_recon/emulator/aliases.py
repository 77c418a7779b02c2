"""Other addresses of accounts and groups: insert, delete, list (not paged; 30 at most)."""

from __future__ import annotations

from typing import Any

import orjson

from belajarid_recon.emulator import accounts
from belajarid_recon.emulator.call import Call, Territory
from belajarid_recon.emulator.groups import Groups
from belajarid_recon.emulator.replies import Answer, duplicate, encode, not_found, tagged
from belajarid_recon.emulator.tenants import Tenant
from belajarid_recon.emulator.users import Users


class Aliases:
    """The aliases of everything that has an address."""

    def __init__(self, users: Users, groups: Groups, territory: Territory) -> None:
        self._users = users
        self._groups = groups
        self._territory = territory

    def insert_of_user(self, call: Call) -> Answer:
        """POST /users/{userKey}/aliases."""
        stored = self._users.find(call.tenant, call.path[0])
        account = orjson.loads(stored.answer)
        alias = self._checked(call.tenant, call.body, account.get("aliases", []))
        accounts.set_aliases(account, [*account.get("aliases", ()), alias])
        self._users.rewrite(stored, account)
        self._users.index.add_alias(alias, stored.number)
        return encode(_resource(account["id"], stored.email, alias))

    def delete_of_user(self, call: Call) -> Answer:
        """DELETE /users/{userKey}/aliases/{alias}. The address is free at once."""
        stored = self._users.find(call.tenant, call.path[0])
        account = orjson.loads(stored.answer)
        accounts.set_aliases(account, _without(account.get("aliases", []), call.path[1]))
        self._users.rewrite(stored, account)
        self._users.index.release(call.path[1].lower())
        return Answer(204, b"")

    def list_of_user(self, call: Call) -> Answer:
        """GET /users/{userKey}/aliases."""
        account = orjson.loads(self._users.find(call.tenant, call.path[0]).answer)
        return _listing(account["id"], account["primaryEmail"], account.get("aliases", []))

    def insert_of_group(self, call: Call) -> Answer:
        """POST /groups/{groupKey}/aliases."""
        group = self._groups.find(call.tenant, call.path[0])
        alias = self._checked(call.tenant, call.body, group.aliases)
        group.body["aliases"] = [*group.aliases, alias]
        self._groups.storage.put(group)
        self._users.index.add_alias(alias, group.number)
        return encode(_resource(group.id, group.email, alias))

    def delete_of_group(self, call: Call) -> Answer:
        """DELETE /groups/{groupKey}/aliases/{alias}."""
        group = self._groups.find(call.tenant, call.path[0])
        group.body["aliases"] = _without(group.aliases, call.path[1])
        self._groups.storage.put(group)
        self._users.index.release(call.path[1].lower())
        return Answer(204, b"")

    def list_of_group(self, call: Call) -> Answer:
        """GET /groups/{groupKey}/aliases."""
        group = self._groups.find(call.tenant, call.path[0])
        return _listing(group.id, group.email, group.aliases)

    def _checked(self, tenant: Tenant, body: dict[str, Any], held: list[str]) -> str:
        """The new alias, free and within the limit. Raises ApiError."""
        alias, domain = accounts.checked_local_part(body.get("alias") or "", "Invalid Input: alias")
        self._territory.check_domain(tenant, domain)
        if self._users.taken(alias):
            raise duplicate()
        accounts.check_alias_room(held)
        return alias


def _without(held: list[str], alias: str) -> list[str]:
    if alias.lower() not in held:
        raise not_found("Resource Not Found: alias")
    return [one for one in held if one != alias.lower()]


def _resource(identity: str, primary: str, alias: str) -> dict[str, Any]:
    return tagged({"kind": "admin#directory#alias", "id": identity, "primaryEmail": primary, "alias": alias})


def _listing(identity: str, primary: str, held: list[str]) -> Answer:
    document: dict[str, Any] = {"kind": "admin#directory#aliases"}
    if held:
        document["aliases"] = [_resource(identity, primary, alias) for alias in held]
    return encode(tagged(document))
