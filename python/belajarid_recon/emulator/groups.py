"""Groups. Their addresses share one name space with those of accounts.

Sources: the discovery document; Google's page on names (73 characters of a name, 4,096 of a description) and on managing groups.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b
from itertools import islice
from typing import Any

from belajarid_recon.emulator import accounts
from belajarid_recon.emulator.call import Call, Territory
from belajarid_recon.emulator.group_storage import GROUP_NUMBERS, GroupStorage, StoredGroup
from belajarid_recon.emulator.pages import PageTokens
from belajarid_recon.emulator.replies import (
    Answer,
    ApiError,
    duplicate,
    encode,
    invalid,
    not_found,
    not_offered,
    tagged,
)
from belajarid_recon.emulator.storage import Storage
from belajarid_recon.emulator.tenants import Tenant, to_base36
from belajarid_recon.emulator.users import Users

PAGE_MAX = 200
"""Of groups and of members; also the default (discovery document)."""
_NAME_CHARACTERS_MAX = 73
_DESCRIPTION_CHARACTERS_MAX = 4_096
_ID_CHARACTERS = 14
_QUERY = re.compile(r"\s*(email|name|memberKey)\s*([=:])\s*(?:'([^'*]+)'|\"([^\"*]+)\"|([^\s'\"*]+))(\*?)\s*")
_WRITABLE = ("name", "description", "externalIds")


class Groups:
    """The groups of all tenants."""

    def __init__(self, storage: Storage, users: Users, territory: Territory, pages: PageTokens) -> None:
        self.storage = GroupStorage(storage)
        self._users = users
        self._territory = territory
        self._pages = pages
        self._seed = storage.fact("seed", "0")
        self._time = users.time
        self.on_delete: Callable[[Tenant, StoredGroup], None] = lambda _tenant, _group: None
        """Called with a group that is about to be deleted, so that roles let it go."""
        for group in self.storage.all_groups():
            for address in (group.email, *group.aliases):
                users.index.add_alias(address, group.number)

    def find(self, tenant: Tenant, key: str) -> StoredGroup:
        """The group with this id or address. Raises ApiError 403 or 404."""
        group = self.look_up(tenant, key)
        if group is None:
            raise not_found("Resource Not Found: groupKey")
        return group

    def look_up(self, tenant: Tenant, key: str) -> StoredGroup | None:
        """The group with this id or address, if there is one. Raises ApiError for an address of a strange domain."""
        if "@" in key:
            number = self._users.index.number(self._territory.resolved(tenant, key))
            group = self.storage.group(number) if number is not None and number >= GROUP_NUMBERS else None
        else:
            group = self.storage.group_of_id(key)
        return group if group is not None and group.tenant == tenant.jenjang else None

    # Methods of the API

    def insert(self, call: Call) -> Answer:
        """POST /groups."""
        address = self._checked_address(call.tenant, call.body)
        fields = _checked(call.body)
        if self._users.taken(address):
            raise duplicate()
        number = self.storage.next_number()
        body = {"name": address.partition("@")[0], "description": "", **fields}
        group = StoredGroup(number, call.tenant.jenjang, self._id_of(number), address, 0, body)
        self.storage.put(group)
        self._users.index.add_alias(address, number)
        return encode(_resource(group))

    def get(self, call: Call) -> Answer:
        """GET /groups/{groupKey}."""
        return encode(_resource(self.find(call.tenant, call.path[0])))

    def update(self, call: Call) -> Answer:
        """PUT and PATCH /groups/{groupKey}: what is absent stays. A new address leaves the old one as an alias."""
        group = self.find(call.tenant, call.path[0])
        fields = _checked(call.body)
        if call.body.get("email"):
            self._rename(group, self._checked_address(call.tenant, call.body))
        group.body |= fields
        self.storage.put(group)
        return encode(_resource(group))

    def delete(self, call: Call) -> Answer:
        """DELETE /groups/{groupKey}. Its addresses are free at once; its members stay what they are."""
        group = self.find(call.tenant, call.path[0])
        self.on_delete(call.tenant, group)
        self.storage.drop(group)
        for address in (group.email, *group.aliases):
            self._users.index.release(address)
        return Answer(204, b"")

    def list_groups(self, call: Call) -> Answer:
        """GET /groups by address: a customer's, a domain's, or those that have one direct member."""
        query = call.query
        if query.get("orderBy", "email") != "email" or query.get("sortOrder", "ASCENDING") != "ASCENDING":
            raise not_offered("another order than by email, ascending")
        now = self._time.elapsed()
        bound = {**query, "list": "groups"}
        after, _ = self._pages.read(call.tenant.jenjang, bound, now)
        limit = int(query.get("maxResults", PAGE_MAX))
        found = list(islice(self._listed(call, after), limit + 1))
        document: dict[str, Any] = {"kind": "admin#directory#groups"}
        if found:
            document["groups"] = [_resource(group) for group in found[:limit]]
        document = tagged(document)
        if len(found) > limit:
            place = (found[limit - 1].email, 0)
            document["nextPageToken"] = self._pages.issue(call.tenant.jenjang, bound, place, now)
        return encode(document)

    # Steps of the methods

    def _listed(self, call: Call, after: str) -> Iterator[StoredGroup]:
        query = call.query
        named = [name for name in ("customer", "domain", "userKey") if name in query]
        if not named or {"customer", "userKey"} <= query.keys() or {"customer", "domain"} <= query.keys():
            raise ApiError(400, "badRequest", "Bad Request")
        if "customer" in query:
            self._territory.check_customer(call.tenant, query["customer"])
        domain = query.get("domain", "").lower()
        if domain:
            self._territory.check_domain(call.tenant, domain)
        member, wanted = self._wanted(call)
        found = (
            self.storage.groups_of_tenant(call.tenant.jenjang, after)
            if member is None
            else self.storage.groups_of_member(member, after)
        )
        return (group for group in found if group.email.endswith(f"@{domain}" if domain else "") and wanted(group))

    def _wanted(self, call: Call) -> tuple[int | None, Callable[[StoredGroup], bool]]:
        """The member whose groups are asked for, if it is one, and what `query` asks of a group."""
        member = self.member_number(call.tenant, call.query["userKey"]) if "userKey" in call.query else None
        text = call.query.get("query")
        if text is None:
            return member, lambda _group: True
        match = _QUERY.fullmatch(text)
        if match is None or (match[2] == "=" and match[6]):
            raise not_offered("this search; known are email, name and memberKey, one of them alone")
        value = (match[3] or match[4] or match[5]).casefold()
        if match[1] == "memberKey":
            return self.member_number(call.tenant, value), lambda _group: True
        is_prefix = bool(match[6])

        def wanted(group: StoredGroup) -> bool:
            texts: Iterable[str] = (group.email, *group.aliases) if match[1] == "email" else (group.body["name"],)
            return any(text.casefold().startswith(value) if is_prefix else text.casefold() == value for text in texts)

        return member, wanted

    def member_number(self, tenant: Tenant, key: str) -> int:
        """The number of the account or group with this id or address. Raises ApiError 404."""
        group = self.look_up(tenant, key)
        return self._users.find(tenant, key).number if group is None else group.number

    def _rename(self, group: StoredGroup, address: str) -> None:
        if address == group.email:
            return
        if self._users.taken(address):
            raise duplicate()
        accounts.check_alias_room(group.aliases)
        group.body["aliases"] = [*group.aliases, group.email]
        group.email = address
        self._users.index.add_alias(address, group.number)

    def _checked_address(self, tenant: Tenant, body: dict[str, Any]) -> str:
        address, domain = accounts.checked_local_part(body.get("email") or "", "Invalid Input: group_email")
        self._territory.check_domain(tenant, domain)
        return address

    def _id_of(self, number: int) -> str:
        """An id in Google's shape; the same for the same seed and order."""
        digest = blake2b(f"{self._seed}/group/{number}".encode(), digest_size=9).digest()
        return "0" + to_base36(int.from_bytes(digest, "big")).rjust(_ID_CHARACTERS, "0")[-_ID_CHARACTERS:]


def _checked(body: dict[str, Any]) -> dict[str, Any]:
    """The fields of a body that are written, each having passed its rules; null clears."""
    fields = {name: body[name] for name in _WRITABLE if name in body}
    if "name" in fields and not 0 < len(fields["name"] or "") <= _NAME_CHARACTERS_MAX:
        raise invalid("Invalid Input: name")
    if "description" in fields:
        fields["description"] = fields["description"] or ""
        if len(fields["description"]) > _DESCRIPTION_CHARACTERS_MAX:
            raise invalid("Invalid Input: description")
    return fields


def _resource(group: StoredGroup) -> dict[str, Any]:
    """The group as the API writes it."""
    document = {
        "kind": "admin#directory#group",
        "id": group.id,
        "email": group.email,
        "directMembersCount": str(group.users),
        "adminCreated": True,
        **{name: value for name, value in group.body.items() if value not in (None, [])},
    }
    return tagged(document)
