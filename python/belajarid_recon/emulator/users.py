"""Accounts: insert, get, list, update, delete, and their aliases."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from heapq import merge as merge_sorted
from itertools import islice
from typing import Any, NamedTuple

import orjson
from xxhash import xxh3_64_hexdigest

from belajarid_recon.emulator import accounts
from belajarid_recon.emulator.call import Call, Territory
from belajarid_recon.emulator.index import Index
from belajarid_recon.emulator.instants import EmulatedTime
from belajarid_recon.emulator.lag import Lag, Late, Place
from belajarid_recon.emulator.orgunits import Orgunits
from belajarid_recon.emulator.pages import PageTokens
from belajarid_recon.emulator.quotas import TenantQuotas
from belajarid_recon.emulator.replies import Answer, ApiError, duplicate, encode, invalid, not_found
from belajarid_recon.emulator.storage import Storage, StoredUser
from belajarid_recon.emulator.tenants import Tenant
from belajarid_recon.schemas import Jenjang

DELETED_LIFE_SECONDS = 20 * 24 * 3_600
"""How long a deleted account can be listed (Google: manage-users, "undelete a user")."""
_PAGE_DEFAULT = 100
_SEARCH = re.compile(r"\s*(externalId|email)\s*[=:]\s*(?:'([^'*]+)'|\"([^\"*]+)\"|([^\s'\"*]+))\s*")

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

    def __init__(self, storage: Storage, time: EmulatedTime, orgunits: Orgunits, pages: PageTokens, lag: Lag) -> None:
        self._storage = storage
        self._time = time
        self._orgunits = orgunits
        self._pages = pages
        self._lag = lag
        self._ids = AccountIds(int(storage.fact("seed", "0")))
        self._index = Index()
        self._number = 0
        self._territory = Territory(frozenset(), frozenset())
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
        self._index.add_primary(user.email, user.number)
        for alias in account.get("aliases", ()):
            self._index.add_alias(alias, user.number)
        self._index.add_external_ids(user.tenant, user.number, accounts.external_values(account))
        tenant = Jenjang(user.tenant)
        self._live[tenant] = self._live.get(tenant, 0) + 1

    def _leave(self, user: StoredUser, account: Mapping[str, Any]) -> None:
        """Take a live account out of all that finds it; its addresses are free."""
        self._index.free(user.email, account.get("aliases", ()))
        self._index.drop_external_ids(user.tenant, user.number, accounts.external_values(account))
        self._live[Jenjang(user.tenant)] -= 1

    def taken(self, address: str) -> bool:
        """Whether a live account has this address, as primary one or alias."""
        return self._index.number(address) is not None

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
        quotas = self._quotas[tenant.jenjang]
        if quotas.limits.accounts_max is not None and self._live[tenant.jenjang] >= quotas.limits.accounts_max:
            raise ApiError(412, "limitExceeded", "Domain user limit reached.")
        quotas.take_creation(domain)
        return Answer(200, self.add(tenant, {**changes, "primaryEmail": address}, password).answer)

    def get(self, call: Call) -> Answer:
        """GET /users/{userKey}."""
        _refuse_public_view(call)
        return Answer(200, self.find(call.tenant, call.path[0]).answer)

    def update(self, call: Call) -> Answer:
        """PUT /users/{userKey}: what is absent stays, null clears, lists are replaced whole."""
        stored = self.find(call.tenant, call.path[0])
        body = {field: value for field, value in call.body.items() if field not in accounts.DROPPED}
        return Answer(200, self._change(call.tenant, stored, body).answer)

    def delete(self, call: Call) -> Answer:
        """DELETE /users/{userKey}. The account stays listed as deleted for 20 days; its addresses are free at once."""
        stored = self.find(call.tenant, call.path[0])
        account = orjson.loads(stored.answer)
        now = self._time.elapsed()
        account["deletionTime"] = self._time.calendar(now)
        self._storage.change_user(replace(stored, deleted_at=now, answer=accounts.rendered(account)), None)
        self._leave(stored, account)
        return Answer(204, b"")

    def aliases(self, call: Call) -> Answer:
        """GET /users/{userKey}/aliases, not paged."""
        account = orjson.loads(self.find(call.tenant, call.path[0]).answer)
        own = {"kind": "admin#directory#alias", "id": account["id"], "primaryEmail": account["primaryEmail"]}
        found = [{**own, "alias": alias} for alias in account.get("aliases", ())]
        document: dict[str, Any] = {"kind": "admin#directory#aliases", "etag": account["etag"]}
        if found:
            document["aliases"] = found
        return encode(document)

    def list_users(self, call: Call) -> Answer:
        """GET /users, by primary address: a domain's or a customer's accounts, live or deleted, or a search among them."""
        query = call.query
        _refuse_public_view(call)
        domains = self._listed_domains(call.tenant, query)
        if query.get("orderBy", "email") != "email" or query.get("sortOrder", "ASCENDING") != "ASCENDING":
            raise ApiError(501, "notImplemented", "The emulator lists by email, ascending, only.")
        tenant = call.tenant.jenjang
        now = self._time.elapsed()
        after = self._pages.read(tenant, query, now)
        limit = int(query.get("maxResults", _PAGE_DEFAULT))
        if "query" in query:
            found = self._searched_page(call.tenant, query["query"], domains, (after, limit + 1))
        elif query.get("showDeleted", "").lower() == "true":
            found = self._deleted_page(call.tenant, domains, (after, limit + 1))
        else:
            found = self._listed_page(domains, (after, limit + 1))
        answers = [user.answer for user in found[:limit]]
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
        account = accounts.new_account(self._ids.of(number), tenant.customer_id, self._time.calendar())
        accounts.merge(account, changes, account["creationTime"])
        address = account["primaryEmail"]
        marker = accounts.marker_of(account) if password is not None else None
        user = StoredUser(number, tenant.jenjang, address, None, marker, accounts.rendered(account))
        self._storage.add_user(user, password)
        self._enter(user, account)
        return user

    def edit(self, tenant: Tenant, key: str, body: dict[str, Any]) -> StoredUser:
        """Change an account as somebody with every right would: read-only fields can be written too."""
        return self._change(tenant, self.find(tenant, key), body)

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

    def _change(self, tenant: Tenant, stored: StoredUser, body: dict[str, Any]) -> StoredUser:
        """Carry out an update whose fields may all be written."""
        password = accounts.checked_password(body)
        address = stored.email
        if "primaryEmail" in body:
            address, domain = accounts.checked_local_part(body["primaryEmail"] or "")
            self._territory.check_domain(tenant, domain)
        changes = self._checked(tenant, body)
        account = orjson.loads(stored.answer)
        external_before = accounts.external_values(account)
        accounts.merge(account, changes, self._time.calendar())
        if address != stored.email:
            self._rename(account, stored, address)
        changed = replace(stored, email=address, answer=accounts.rendered(account))
        self._storage.change_user(changed, password)
        if "externalIds" in changes:
            self._index.drop_external_ids(stored.tenant, stored.number, external_before)
            self._index.add_external_ids(stored.tenant, stored.number, accounts.external_values(account))
        return changed

    def _checked(self, tenant: Tenant, body: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of a body, each having passed its rules; the address is the caller's to check."""
        changes = dict(body)
        accounts.check_fields(changes)
        if "orgUnitPath" in changes:
            changes["orgUnitPath"] = self._orgunits.canonical_path(tenant, changes["orgUnitPath"] or "")
        changes.pop("primaryEmail", None)
        return changes

    def _rename(self, account: dict[str, Any], stored: StoredUser, address: str) -> None:
        """Give the account a new primary address; the old one becomes its alias and stays taken."""
        if self.taken(address):
            raise duplicate()
        aliases = account.setdefault("aliases", [])
        accounts.check_rename_room(aliases)
        aliases.append(stored.email)
        account["primaryEmail"] = address
        self._index.demote(stored.email)
        self._index.add_primary(address, stored.number)

    def find(self, tenant: Tenant, key: str) -> StoredUser:
        """The live account with this id or address. Raises ApiError 403 or 404."""
        if "@" in key:
            address = key.lower()
            self._territory.check_domain(tenant, address.rpartition("@")[2])
            number = self._index.number(address)
        else:
            number = self._ids.number(key)
        stored = None if number is None else self._storage.user(number)
        if stored is None or stored.deleted_at is not None or stored.tenant != tenant.jenjang:
            raise not_found("Resource Not Found: userKey")
        return stored

    def number(self, tenant: Tenant, key: str) -> int | None:
        """The number of the live account with this id or address; None when the tenant has none."""
        try:
            return self.find(tenant, key).number
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
        pages = [self._index.listing(domain).after(after, limit) for domain in domains]
        addresses = pages[0] if len(pages) == 1 else islice(merge_sorted(*pages), limit)
        return self._storage.users(self._index.numbers(addresses))

    def _deleted_page(self, tenant: Tenant, domains: tuple[str, ...], where: tuple[Place, int]) -> list[StoredUser]:
        since = self._time.elapsed() - DELETED_LIFE_SECONDS

        def present(place: Place, limit: int) -> list[StoredUser]:
            found = self._storage.deleted_users(tenant.jenjang, place, since)
            return list(islice((user for user in found if user.domain in domains), limit))

        def belongs(user: StoredUser) -> bool:
            return user.deleted_at is not None and user.deleted_at >= since and user.domain in domains

        return self._lag.page(Late.LIST, present, belongs, *where)

    def _searched_page(
        self, tenant: Tenant, text: str, domains: tuple[str, ...], where: tuple[Place, int]
    ) -> list[StoredUser]:
        """What `query=` finds behind a place, at most so many."""
        search = _Search.parsed(text)

        def present(place: Place, limit: int) -> list[StoredUser]:
            return [user for user in self._search(tenant, search) if user.domain in domains and user.email > place[0]][
                :limit
            ]

        def belongs(user: StoredUser) -> bool:
            return user.deleted_at is None and user.domain in domains and search.finds(user.answer)

        return self._lag.page(Late.SEARCH, present, belongs, *where)

    def _search(self, tenant: Tenant, search: _Search) -> list[StoredUser]:
        """What a search finds, by address."""
        if search.field == "email":
            number = self._index.number(search.value.lower())
            numbers: tuple[int, ...] = () if number is None else (number,)
        else:
            numbers = self._index.with_external_id(tenant.jenjang, search.value)
        return sorted(self._storage.users(numbers), key=lambda user: user.email)


class _Search(NamedTuple):
    """What a query asks for."""

    field: str
    value: str

    @staticmethod
    def parsed(text: str) -> _Search:
        """Read a query. Two forms are known; any other is refused, never answered with too much."""
        match = _SEARCH.fullmatch(text)
        if match is None:
            raise invalid("Invalid Input: query")
        return _Search(match[1], match[2] or match[3] or match[4])

    def finds(self, answer: bytes) -> bool:
        """Whether an account is one of those it asks for."""
        account = orjson.loads(answer)
        if self.field == "email":
            return self.value.lower() in (account["primaryEmail"], *account.get("aliases", ()))
        return self.value in accounts.external_values(account)


def _refuse_public_view(call: Call) -> None:
    """Refuse what would be answered with more than was asked for."""
    if call.query.get("viewType", "admin_view") != "admin_view":
        raise ApiError(501, "notImplemented", "The emulator shows the administrator's view only.")


def _page(answers: list[bytes], token: str) -> bytes:
    """A page of a list, put together from stored answers without decoding them."""
    listed = b",".join(answers)
    parts = [b'{"kind":"admin#directory#users","etag":"\\"', xxh3_64_hexdigest(listed).encode(), b'\\""']
    if answers:
        parts += [b',"users":[', listed, b"]"]
    if token:
        parts += [b',"nextPageToken":', orjson.dumps(token)]
    return b"".join((*parts, b"}"))
