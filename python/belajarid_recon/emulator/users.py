"""Accounts: insert, get, list, update, patch, delete, undelete, signOut. Aliases and rights have modules of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from heapq import merge as merge_sorted
from itertools import islice
from typing import Any

import orjson
from xxhash import xxh3_64_hexdigest

from belajarid_recon.emulator import accounts
from belajarid_recon.emulator.call import Call, Territory
from belajarid_recon.emulator.custom_schemas import CustomSchemas
from belajarid_recon.emulator.index import Index
from belajarid_recon.emulator.lag import Lag, Late, Place
from belajarid_recon.emulator.orgunits import Orgunits
from belajarid_recon.emulator.pages import PageTokens
from belajarid_recon.emulator.projection import projected
from belajarid_recon.emulator.quotas import TenantQuotas
from belajarid_recon.emulator.replies import Answer, ApiError, duplicate, invalid, not_found, not_offered, precondition
from belajarid_recon.emulator.search import Search
from belajarid_recon.emulator.storage import Storage, StoredUser
from belajarid_recon.emulator.tenants import Tenant
from belajarid_recon.schemas import Jenjang

DELETED_LIFE_SECONDS = 20 * 24 * 3_600
"""How long a deleted account can be listed (Google: manage-users, "undelete a user")."""
_PAGE_DEFAULT = 100
_ROWS = 2_000
"""Accounts read at once where many are looked through."""

_ID_BASE = 10**20
_ID_STEP = 48_271_630_927_415_926_543
"""Odd and no multiple of five, so that the step visits every 20-digit number once."""


class AccountIds:
    """Account ids: 21 digits, not in order, and each says which number it was made from."""

    def __init__(self, seed: int) -> None:
        self._offset = (seed * 7_046_029_254_386_353_131 + 8_837_213_497_214_263_541) % _ID_BASE
        self._back = pow(_ID_STEP, -1, _ID_BASE)

    def of(self, number: int) -> str:
        """The id of the account with this number."""
        return str(_ID_BASE + (number * _ID_STEP + self._offset) % _ID_BASE)

    def number(self, key: str) -> int | None:
        """The number behind an id; None when it was never given out or is no id."""
        if len(key) != 21 or not key.isdecimal() or not key.isascii():
            return None
        number = (int(key) - _ID_BASE - self._offset) * self._back % _ID_BASE
        return number if number < 2**53 else None


class Users:
    """The users of all tenants."""

    def __init__(
        self, storage: Storage, lag: Lag, orgunits: Orgunits, custom: CustomSchemas, pages: PageTokens
    ) -> None:
        self._storage = storage
        self._lag = lag
        self.time = lag.time
        self._orgunits = orgunits
        self._custom = custom
        self._pages = pages
        self._ids = AccountIds(int(storage.fact("seed", "0")))
        self.index = Index()
        self.on_delete: Callable[[Tenant, StoredUser], None] = lambda _tenant, _user: None
        """Called with an account that is about to be deleted, so that groups and roles let it go."""
        self._number = 0
        self._territory = Territory(())
        self._quotas: Mapping[Jenjang, TenantQuotas] = {}
        self._live: dict[Jenjang, int] = {}

    def open(self, tenants: Iterable[Tenant], territory: Territory, quotas: Mapping[Jenjang, TenantQuotas]) -> None:
        """Say who there is and what they may do."""
        self._territory = territory
        self._quotas = quotas
        self._live = {tenant.jenjang: 0 for tenant in tenants}
        for user in self._storage.all_users():
            self._number = user.number
            if user.deleted_at is None:
                self._enter(user, orjson.loads(user.answer))

    def _enter(self, user: StoredUser, account: Mapping[str, Any]) -> None:
        """Make a live account findable."""
        self.index.add_primary(user.email, user.number)
        for alias in account.get("aliases", ()):
            self.index.add_alias(alias, user.number)
        self.index.add_external_ids(user.tenant, user.number, accounts.external_values(account))
        tenant = Jenjang(user.tenant)
        self._live[tenant] = self._live.get(tenant, 0) + 1
        self._orgunits.enter(tenant, account["orgUnitPath"])

    def _leave(self, user: StoredUser, account: Mapping[str, Any]) -> None:
        """Take a live account out of all that finds it; its addresses are free."""
        self.index.free(user.email, account.get("aliases", ()))
        self.index.drop_external_ids(user.tenant, user.number, accounts.external_values(account))
        tenant = Jenjang(user.tenant)
        self._live[tenant] -= 1
        self._orgunits.leave(tenant, account["orgUnitPath"])

    def taken(self, address: str) -> bool:
        """Whether a live account or a group has this address, as primary one or alias."""
        return self.index.number(address) is not None

    # Methods of the API

    def insert(self, call: Call) -> Answer:
        """POST /users."""
        tenant, body = call.tenant, call.body
        address, domain = accounts.checked_local_part(body.get("primaryEmail") or "")
        self._territory.check_domain(tenant, domain)
        accounts.check_name(body.get("name") or {})
        password = accounts.checked_password(body)
        if password is None:
            raise invalid("Invalid Password")
        changes = self._checked(tenant, {name: value for name, value in body.items() if name not in accounts.DROPPED})
        if self.taken(address):
            raise duplicate()
        self._check_room(tenant)
        self._quotas[tenant.jenjang].take_creation(domain)
        return Answer(200, self.add(tenant, {**changes, "primaryEmail": address}, password).answer)

    def get(self, call: Call) -> Answer:
        """GET /users/{userKey}."""
        _refuse_public_view(call)
        return Answer(200, projected(self.find(call.tenant, call.path[0]).answer, call.query))

    def update(self, call: Call) -> Answer:
        """PUT /users/{userKey}: what is absent stays, null clears, lists are replaced whole."""
        stored = self.find(call.tenant, call.path[0])
        body = {field: value for field, value in call.body.items() if field not in accounts.DROPPED}
        return Answer(200, self._change(call.tenant, stored, body).answer)

    def patch(self, call: Call) -> Answer:
        """PATCH /users/{userKey}: as update, but a list cannot be cleared (reference: users.update)."""
        for field in accounts.REPEATED:
            if not call.body.get(field, True):
                del call.body[field]
        return self.update(call)

    def delete(self, call: Call) -> Answer:
        """DELETE /users/{userKey}. The account stays listed as deleted for 20 days; its addresses are free at once."""
        stored = self.find(call.tenant, call.path[0])
        self.on_delete(call.tenant, stored)
        stored = self._storage.user(stored.number) or stored
        account = orjson.loads(stored.answer)
        now = self.time.elapsed()
        account["deletionTime"] = self.time.calendar(now)
        self._storage.change_user(replace(stored, deleted_at=now, answer=accounts.rendered(account)), None)
        self._leave(stored, account)
        return Answer(204, b"")

    def undelete(self, call: Call) -> Answer:
        """POST /users/{id}/undelete, for 20 days, by the immutable id only.

        It comes back into the unit the body names, the root otherwise, with those of its aliases that are still free. Refused
        when its address was given away (409) and when the customer is full (412), as Google's help on restoring users says.
        """
        stored = self._by_id(call.tenant, call.path[0])
        if stored.deleted_at is None or stored.deleted_at < self.time.elapsed() - DELETED_LIFE_SECONDS:
            raise precondition("This account cannot be undeleted.")
        path = self._orgunits.canonical_path(call.tenant, call.body.get("orgUnitPath") or "/")
        self._territory.check_domain(call.tenant, stored.domain)
        if self.taken(stored.email):
            raise duplicate()
        self._check_room(call.tenant)
        account = orjson.loads(stored.answer)
        del account["deletionTime"]
        account["orgUnitPath"] = path
        free = (alias for alias in account.get("aliases", ()) if not self.taken(alias))
        accounts.set_aliases(account, [alias for alias in free if alias.rpartition("@")[2] in call.tenant.domains])
        restored = replace(stored, deleted_at=None, answer=accounts.rendered(account))
        self._storage.change_user(restored, None)
        self._enter(restored, account)
        return Answer(204, b"")

    def sign_out(self, call: Call) -> Answer:
        """POST /users/{userKey}/signOut. There are no sessions here, so nothing can be seen of it."""
        self.find(call.tenant, call.path[0])
        return Answer(204, b"")

    def list_users(self, call: Call) -> Answer:
        """GET /users, by primary address: a domain's or a customer's accounts, live or deleted, or a search among them."""
        query = call.query
        _refuse_public_view(call)
        domains = self._listed_domains(call.tenant, query)
        if query.get("orderBy", "email") != "email" or query.get("sortOrder", "ASCENDING") != "ASCENDING":
            raise not_offered("another order than by email, ascending")
        tenant = call.tenant.jenjang
        now = self.time.elapsed()
        after = self._pages.read(tenant, query, now)
        limit = int(query.get("maxResults", _PAGE_DEFAULT))
        shows_deleted = query.get("showDeleted", "").lower() == "true"
        if "query" in query:
            if shows_deleted:
                raise not_offered("a search among deleted accounts")
            found = self._searched_page(call.tenant, Search.parsed(query["query"]), domains, (after, limit + 1))
        elif shows_deleted:
            found = self._deleted_page(call.tenant, domains, (after, limit + 1))
        else:
            found = self._listed_page(domains, (after, limit + 1))
        answers = [projected(user.answer, query) for user in found[:limit]]
        token = ""
        if len(found) > limit:
            last = found[limit - 1]
            token = self._pages.issue(tenant, query, (last.email, last.number), now)
        return Answer(200, _page(answers, token))

    # Shared with the control endpoints

    def add(self, tenant: Tenant, changes: Mapping[str, Any], password: str | None) -> StoredUser:
        """Store a new account. Its address must be free and its fields checked."""
        self._number += 1
        number = self._number
        account = accounts.new_account(self._ids.of(number), tenant.customer_id, self.time.calendar())
        accounts.merge(account, changes, account["creationTime"])
        address = account["primaryEmail"]
        marker = accounts.marker_of(account) if password is not None else None
        user = StoredUser(number, tenant.jenjang, address, None, marker, accounts.rendered(account))
        self._storage.add_user(user, password)
        self._enter(user, account)
        return user

    def edit(self, tenant: Tenant, key: str, body: dict[str, Any]) -> StoredUser:
        """Change an account as somebody with every right would: read-only fields can be written, aliases be taken away."""
        changes = dict(body)
        kept = changes.pop("aliases", None)
        stored = self._change(tenant, self.find(tenant, key), changes)
        return stored if kept is None else self._keep_aliases(stored, set(kept))

    def rewrite(self, stored: StoredUser, account: dict[str, Any], password: str | None = None) -> None:
        """Store an account whose address, unit and external ids are what they were; a password of None stays."""
        self._storage.change_user(replace(stored, answer=accounts.rendered(account)), password)

    def rewrite_all(self, tenant: Tenant, needle: bytes, change: Callable[[dict[str, Any]], bool]) -> None:
        """Change every live account whose stored bytes hold `needle` and for which `change` says that it did something.

        Reads all of the tenant's accounts; for what is rare.
        """
        last = 0
        while rows := self._storage.users_from(tenant.jenjang, last, _ROWS):
            last = rows[-1].number
            for user in rows:
                if user.deleted_at is None and needle in user.answer:
                    account = orjson.loads(user.answer)
                    if change(account):
                        self.rewrite(user, account)

    def follow_unit(self, tenant: Tenant, old: str, new: str) -> None:
        """Give the accounts of a unit that moved, and of the units below it, their new paths."""

        def change(account: dict[str, Any]) -> bool:
            path = account["orgUnitPath"]
            if not (path + "/").startswith(old + "/"):
                return False
            account["orgUnitPath"] = new + path[len(old) :]
            return True

        self.rewrite_all(tenant, b'"orgUnitPath":' + orjson.dumps(old)[:-1], change)

    def drop_custom(self, tenant: Tenant, schema: str, fields: frozenset[str] | None) -> None:
        """Take some custom fields of a schema, or all, from every account."""

        def change(account: dict[str, Any]) -> bool:
            held = account.get("customSchemas", {}).get(schema)
            if held is None:
                return False
            accounts.merge_custom(account, {schema: fields and dict.fromkeys(fields)})
            return True

        self.rewrite_all(tenant, b'"customSchemas":', change)

    def of_numbers(self, numbers: Sequence[int]) -> list[StoredUser]:
        """The accounts with these numbers, in their order; numbers of nobody are left out."""
        return self._storage.users(numbers)

    def pretend(self, method: Callable[[Call], Answer], call: Call) -> Answer:
        """What insert, update, patch or delete would answer, everything left as it was. Raises ApiError as they do."""
        before = self.find(call.tenant, call.path[0]) if call.path else None
        if call.method.name == "users.delete":
            return Answer(204, b"")
        password = None if before is None else self._storage.password(before.number)
        answer = method(call)
        number = self._number if before is None else before.number
        for user in self._storage.users([number]):
            self._leave(user, orjson.loads(user.answer))
        if before is None:
            self._storage.drop_user(number)
        else:
            self._storage.put_user_back(before, password)
            self._enter(before, orjson.loads(before.answer))
        return answer

    # Steps of the methods

    def _check_room(self, tenant: Tenant) -> None:
        limit = self._quotas[tenant.jenjang].limits.accounts_max
        if limit is not None and self._live[tenant.jenjang] >= limit:
            raise ApiError(412, "limitExceeded", "Domain user limit reached.")

    def _keep_aliases(self, stored: StoredUser, kept: set[str]) -> StoredUser:
        """Take all aliases away but those of `kept`; their addresses are free at once."""
        account = orjson.loads(stored.answer)
        there = account.get("aliases", [])
        for alias in there:
            if alias not in kept:
                self.index.release(alias)
        accounts.set_aliases(account, [alias for alias in there if alias in kept])
        changed = replace(stored, answer=accounts.rendered(account))
        self._storage.change_user(changed, None)
        return changed

    def _change(self, tenant: Tenant, stored: StoredUser, body: dict[str, Any]) -> StoredUser:
        """Carry out an update whose fields may all be written."""
        password = accounts.checked_password(body)
        address = stored.email
        if "primaryEmail" in body:
            address, domain = accounts.checked_local_part(body["primaryEmail"] or "")
            self._territory.check_domain(tenant, domain)
        changes = self._checked(tenant, body)
        account = orjson.loads(stored.answer)
        external_before, path_before = accounts.external_values(account), account["orgUnitPath"]
        accounts.merge(account, changes, self.time.calendar())
        if address != stored.email:
            self._rename(account, stored, address)
        changed = replace(stored, email=address, answer=accounts.rendered(account))
        self._storage.change_user(changed, password)
        if "externalIds" in changes:
            self.index.drop_external_ids(stored.tenant, stored.number, external_before)
            self.index.add_external_ids(stored.tenant, stored.number, accounts.external_values(account))
        if account["orgUnitPath"] != path_before:
            self._orgunits.leave(tenant.jenjang, path_before)
            self._orgunits.enter(tenant.jenjang, account["orgUnitPath"])
        return changed

    def _checked(self, tenant: Tenant, body: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of a body, each having passed its rules; the address is the caller's to check."""
        changes = dict(body)
        accounts.check_fields(changes)
        if "orgUnitPath" in changes:
            changes["orgUnitPath"] = self._orgunits.canonical_path(tenant, changes["orgUnitPath"] or "")
        if changes.get("customSchemas"):
            self._custom.check(tenant, changes["customSchemas"])
        changes.pop("primaryEmail", None)
        return changes

    def _rename(self, account: dict[str, Any], stored: StoredUser, address: str) -> None:
        """Give the account a new primary address; the old one becomes its alias and stays taken."""
        if self.taken(address):
            raise duplicate()
        aliases = account.setdefault("aliases", [])
        accounts.check_alias_room(aliases)
        aliases.append(stored.email)
        account["primaryEmail"] = address
        self.index.demote(stored.email)
        self.index.add_primary(address, stored.number)

    def find(self, tenant: Tenant, key: str) -> StoredUser:
        """The live account with this id or address. Raises ApiError 403 or 404."""
        number = self.index.number(self._territory.resolved(tenant, key)) if "@" in key else self._ids.number(key)
        stored = self._of_number(tenant, number)
        if stored.deleted_at is not None:
            raise not_found("Resource Not Found: userKey")
        return stored

    def _by_id(self, tenant: Tenant, key: str) -> StoredUser:
        """The account with this id, deleted or not. Raises ApiError 404."""
        return self._of_number(tenant, self._ids.number(key))

    def _of_number(self, tenant: Tenant, number: int | None) -> StoredUser:
        stored = None if number is None else self._storage.user(number)
        if stored is None or stored.tenant != tenant.jenjang:
            raise not_found("Resource Not Found: userKey")
        return stored

    def number(self, call: Call) -> int | None:
        """The number of the account a call names: a live one, of users.undelete any. None when the tenant has none."""
        find = self._by_id if call.method.name == "users.undelete" else self.find
        try:
            return find(call.tenant, call.path[0]).number
        except ApiError:
            return None

    def _listed_domains(self, tenant: Tenant, query: Mapping[str, str]) -> tuple[str, ...]:
        """The domains a list goes over: exactly one of `domain` and `customer` must say."""
        if ("domain" in query) == ("customer" in query):
            raise ApiError(400, "badRequest", "Bad Request")
        if "customer" in query:
            self._territory.check_customer(tenant, query["customer"])
            return tenant.domains
        domain = query["domain"].lower()
        self._territory.check_domain(tenant, domain)
        return (domain,)

    def _listed_page(self, domains: tuple[str, ...], where: tuple[Place, int]) -> list[StoredUser]:
        """Live accounts of some domains behind a place, at most so many, as lists show them."""

        def present(place: Place, limit: int) -> list[StoredUser]:
            return self._live_page(domains, place[0], limit)

        def belongs(user: StoredUser) -> bool:
            return user.deleted_at is None and user.domain in domains

        return self._lag.page(Late.LIST, present, belongs, *where)

    def _live_page(self, domains: tuple[str, ...], after: str, limit: int) -> list[StoredUser]:
        pages = [self.index.listing(domain).after(after, limit) for domain in domains]
        addresses = pages[0] if len(pages) == 1 else islice(merge_sorted(*pages), limit)
        return self._storage.users(self.index.numbers(addresses))

    def _deleted_page(self, tenant: Tenant, domains: tuple[str, ...], where: tuple[Place, int]) -> list[StoredUser]:
        since = self.time.elapsed() - DELETED_LIFE_SECONDS

        def present(place: Place, limit: int) -> list[StoredUser]:
            found = self._storage.deleted_users(tenant.jenjang, place, since)
            return list(islice((user for user in found if user.domain in domains), limit))

        def belongs(user: StoredUser) -> bool:
            return user.deleted_at is not None and user.deleted_at >= since and user.domain in domains

        return self._lag.page(Late.LIST, present, belongs, *where)

    def _searched_page(
        self, tenant: Tenant, search: Search, domains: tuple[str, ...], where: tuple[Place, int]
    ) -> list[StoredUser]:
        """What `query=` finds behind a place, at most so many, as searches show them."""

        def present(place: Place, limit: int) -> list[StoredUser]:
            return self._search(tenant, search, domains, (place[0], limit))

        def belongs(user: StoredUser) -> bool:
            return user.deleted_at is None and user.domain in domains and search.finds(user.answer)

        return self._lag.page(Late.SEARCH, present, belongs, *where)

    def _search(
        self, tenant: Tenant, search: Search, domains: tuple[str, ...], place: tuple[str, int]
    ) -> list[StoredUser]:
        """What `query=` finds behind an address, at most so many."""
        after, limit = place
        if search.address is not None:
            number = self.index.number(search.address)
            candidates = [] if number is None else self._storage.users([number])
        elif search.external_id is not None:
            found = self._storage.users(self.index.with_external_id(tenant.jenjang, search.external_id))
            candidates = sorted(found, key=lambda user: user.email)
        else:
            return list(islice((user for user in self._walk(domains, after) if search.finds(user.answer)), limit))
        near = (user for user in candidates if user.domain in domains and user.email > after)
        return list(islice((user for user in near if search.finds(user.answer)), limit))

    def _walk(self, domains: tuple[str, ...], after: str) -> Iterator[StoredUser]:
        """All live accounts of some domains by address, behind one."""
        while page := self._live_page(domains, after, _ROWS):
            yield from page
            after = page[-1].email


def _refuse_public_view(call: Call) -> None:
    """Refuse what would be answered with more than was asked for."""
    if call.query.get("viewType", "admin_view") != "admin_view":
        raise not_offered("another view than the administrator's")


def _page(answers: list[bytes], token: str) -> bytes:
    """A page of a list, put together from stored answers without decoding them."""
    listed = b",".join(answers)
    parts = [b'{"kind":"admin#directory#users","etag":"\\"', xxh3_64_hexdigest(listed).encode(), b'\\""']
    if answers:
        parts += [b',"users":[', listed, b"]"]
    if token:
        parts += [b',"nextPageToken":', orjson.dumps(token)]
    return b"".join((*parts, b"}"))
