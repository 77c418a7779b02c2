"""One authorised call on its way to its method."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from belajarid_recon.emulator.discovery import Method
from belajarid_recon.emulator.replies import ApiError, forbidden
from belajarid_recon.emulator.tenants import Tenant


@dataclass(slots=True)
class Call:
    """What a method needs to know of its request. Query and body have passed the discovery document's checks."""

    method: Method
    tenant: Tenant
    path: tuple[str, ...]
    """Decoded path parameters, in the path's order."""
    query: Mapping[str, str]
    body: dict[str, Any]


class Territory:
    """Whose customer ids and domains are whose, over all tenants. Domains come and go; a tenant knows its own."""

    def __init__(self, tenants: Iterable[Tenant]) -> None:
        self._tenants = tuple(tenants)

    def check_customer(self, tenant: Tenant, key: str) -> None:
        """Refuse a customer that is not the caller's: 403 for another tenant's, 400 for nobody's."""
        if key in ("my_customer", tenant.customer_id):
            return
        if any(key == other.customer_id for other in self._tenants):
            raise forbidden()
        raise ApiError(400, "badRequest", "Bad Request")

    def check_domain(self, tenant: Tenant, domain: str) -> None:
        """Refuse a domain that is not the caller's: 403 for another tenant's, 404 for nobody's."""
        if domain in tenant.domains:
            return
        if any(domain in other.domains for other in self._tenants):
            raise forbidden()
        raise ApiError(404, "notFound", "Domain not found.")

    def is_known(self, domain: str) -> bool:
        """Whether some tenant has this domain, or an alias of that name."""
        return any(domain in tenant.domains or domain in tenant.domain_aliases for tenant in self._tenants)

    def resolved(self, tenant: Tenant, address: str) -> str:
        """An address of the caller's as it is stored: in lower case, an alias domain replaced by its parent.

        Raises ApiError as `check_domain`.
        """
        folded = address.lower()
        local, _, domain = folded.rpartition("@")
        parent = tenant.domain_aliases.get(domain)
        if parent is not None:
            return f"{local}@{parent}"
        self.check_domain(tenant, domain)
        return folded
