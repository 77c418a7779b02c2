"""The customer itself, its domains and their aliases.

Sources: the discovery document; reference, table of limits (600 domains, 20 domain aliases). A domain is verified as soon as it is added:
proof of ownership is another API's business.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from belajarid_recon.emulator.call import Call, Territory
from belajarid_recon.emulator.documents import Document, Documents
from belajarid_recon.emulator.instants import EmulatedTime
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
from belajarid_recon.emulator.storage import Storage
from belajarid_recon.emulator.tenants import Tenant
from belajarid_recon.emulator.users import Users

DOMAINS_MAX = 600
DOMAIN_ALIASES_MAX = 20
_DOMAIN = re.compile(r"(?=.{4,253}$)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}")
_E164 = re.compile(r"\+[1-9]\d{1,14}")
_WRITABLE = ("alternateEmail", "language", "phoneNumber", "postalAddress")
_OWN = "own"


class Customers:
    """customers, domains and domainAliases."""

    def __init__(self, storage: Storage, territory: Territory, time: EmulatedTime) -> None:
        self._customers = Documents(storage, "customer")
        self._domains = Documents(storage, "domain")
        self._aliases = Documents(storage, "domain-alias")
        self._territory = territory
        self._time = time

    def load(self, tenants: Iterable[Tenant]) -> None:
        """Give each tenant the domains it has now; a new one keeps those it was made with. Before any address is looked up."""
        for tenant in tenants:
            if not self._domains.count(tenant.jenjang):
                for domain in tenant.domains:
                    self._add_domain(tenant, domain, 0.0)
            self._spread(tenant)

    def _spread(self, tenant: Tenant) -> None:
        """Tell the tenant its domains, the primary one first."""
        domains = sorted(self._domains.all(tenant.jenjang), key=lambda one: int(one["number"]))
        tenant.domains = tuple(one["domainName"] for one in domains)
        tenant.domain_aliases = {
            one["domainAliasName"]: one["parentDomainName"] for one in self._aliases.all(tenant.jenjang)
        }

    # The customer

    def get(self, call: Call) -> Answer:
        """GET /customers/{customerKey}."""
        tenant = self._tenant(call)
        own = self._customers.get(tenant.jenjang, _OWN) or {}
        document = {
            "kind": "admin#directory#customer",
            "id": tenant.customer_id,
            "customerDomain": tenant.domains[0],
            "customerCreationTime": self._time.calendar(0.0),
            "language": "id",
        }
        return encode(tagged(document | own))

    def update(self, call: Call) -> Answer:
        """PUT and PATCH /customers/{customerKey}: what is absent stays, null clears; PUT replaces the postal address whole."""
        tenant = self._tenant(call)
        if call.body.get("customerDomain", tenant.domains[0]) != tenant.domains[0]:
            raise not_offered("another primary domain")
        own = dict(self._customers.get(tenant.jenjang, _OWN) or {})
        changes = {name: call.body[name] for name in _WRITABLE if name in call.body}
        _check_customer_fields(tenant, changes)
        if call.method.verb == "PATCH" and changes.get("postalAddress"):
            changes["postalAddress"] = {**own.get("postalAddress", {}), **changes["postalAddress"]}
        own = {name: value for name, value in {**own, **changes}.items() if value is not None}
        self._customers.put(tenant.jenjang, _OWN, own)
        return self.get(call)

    # Domains

    def list_domains(self, call: Call) -> Answer:
        """GET /customer/{customer}/domains; not paged, the primary domain first."""
        tenant = self._tenant(call)
        found = [self._domain(tenant, domain) for domain in tenant.domains]
        return encode(tagged({"kind": "admin#directory#domains", "domains": found}))

    def get_domain(self, call: Call) -> Answer:
        """GET /customer/{customer}/domains/{domainName}."""
        return encode(self._domain(*self._found_domain(call)))

    def insert_domain(self, call: Call) -> Answer:
        """POST /customer/{customer}/domains."""
        tenant = self._tenant(call)
        domain = self._free_name(call.body.get("domainName"))
        if self._domains.count(tenant.jenjang) >= DOMAINS_MAX:
            raise ApiError(412, "limitExceeded", "Domain limit reached.")
        self._add_domain(tenant, domain, self._time.elapsed())
        self._spread(tenant)
        return encode(self._domain(tenant, domain))

    def delete_domain(self, call: Call, users: Users) -> Answer:
        """DELETE /customer/{customer}/domains/{domainName}; refused for the primary one and while an address is in it."""
        tenant, domain = self._found_domain(call)
        if domain == tenant.domains[0] or domain in tenant.domain_aliases.values() or users.index.has_domain(domain):
            raise precondition("The domain is in use.")
        self._domains.drop(tenant.jenjang, domain)
        self._spread(tenant)
        return Answer(204, b"")

    def _add_domain(self, tenant: Tenant, domain: str, elapsed: float) -> None:
        number = self._domains.next_number(tenant.jenjang)
        created = self._time.unix_milliseconds(elapsed)
        self._domains.put(tenant.jenjang, domain, {"domainName": domain, "number": number, "creationTime": created})

    def _found_domain(self, call: Call) -> tuple[Tenant, str]:
        tenant, domain = self._tenant(call), call.path[1].lower()
        self._territory.check_domain(tenant, domain)
        return tenant, domain

    def _domain(self, tenant: Tenant, domain: str) -> Document:
        """A domain as the API writes it, with its aliases."""
        stored = self._domains.get(tenant.jenjang, domain) or {}
        document: Document = {
            "kind": "admin#directory#domain",
            "domainName": domain,
            "isPrimary": domain == tenant.domains[0],
            "verified": True,
            "creationTime": stored["creationTime"],
        }
        aliases = [_domain_alias(one) for one in self._aliases.all(tenant.jenjang) if one["parentDomainName"] == domain]
        return tagged(document | ({"domainAliases": aliases} if aliases else {}))

    # Their aliases

    def list_aliases(self, call: Call) -> Answer:
        """GET /customer/{customer}/domainaliases; not paged."""
        tenant = self._tenant(call)
        parent = call.query.get("parentDomainName")
        found = [
            _domain_alias(one)
            for one in self._aliases.all(tenant.jenjang)
            if parent is None or one["parentDomainName"] == parent.lower()
        ]
        document: Document = {"kind": "admin#directory#domainAliases"}
        return encode(tagged(document | ({"domainAliases": found} if found else {})))

    def get_alias(self, call: Call) -> Answer:
        """GET /customer/{customer}/domainaliases/{domainAliasName}."""
        return encode(_domain_alias(self._found_alias(call)))

    def insert_alias(self, call: Call) -> Answer:
        """POST /customer/{customer}/domainaliases. Every address of the parent is found under the alias from then on."""
        tenant = self._tenant(call)
        parent = (call.body.get("parentDomainName") or "").lower()
        self._territory.check_domain(tenant, parent)
        alias = self._free_name(call.body.get("domainAliasName"))
        if self._aliases.count(tenant.jenjang) >= DOMAIN_ALIASES_MAX:
            raise ApiError(412, "limitExceeded", "Domain alias limit reached.")
        created = self._time.unix_milliseconds(self._time.elapsed())
        document = {"domainAliasName": alias, "parentDomainName": parent, "creationTime": created}
        self._aliases.put(tenant.jenjang, alias, document)
        self._spread(tenant)
        return encode(_domain_alias(document))

    def delete_alias(self, call: Call) -> Answer:
        """DELETE /customer/{customer}/domainaliases/{domainAliasName}."""
        alias = self._found_alias(call)
        self._aliases.drop(call.tenant.jenjang, alias["domainAliasName"])
        self._spread(call.tenant)
        return Answer(204, b"")

    def _found_alias(self, call: Call) -> Document:
        found = self._aliases.get(self._tenant(call).jenjang, call.path[1].lower())
        if found is None:
            raise not_found("Domain alias not found.")
        return found

    def _free_name(self, name: str | None) -> str:
        """A domain name that no tenant has. Raises ApiError 400 or 409."""
        folded = (name or "").lower()
        if _DOMAIN.fullmatch(folded) is None:
            raise invalid("Invalid Input: domain_name")
        if self._territory.is_known(folded):
            raise duplicate()
        return folded

    def _tenant(self, call: Call) -> Tenant:
        self._territory.check_customer(call.tenant, call.path[0])
        return call.tenant


def _check_customer_fields(tenant: Tenant, changes: dict[str, Any]) -> None:
    phone, address = changes.get("phoneNumber"), changes.get("alternateEmail")
    if phone and _E164.fullmatch(phone) is None:
        raise invalid("Invalid Input: phone_number")
    if address and ("@" not in address or address.lower().endswith(f"@{tenant.domains[0]}")):
        raise invalid("Invalid Input: alternate_email")


def _domain_alias(one: Document) -> Document:
    return tagged({"kind": "admin#directory#domainAlias", **one, "verified": True})
