"""One authorised call on its way to its method."""

from __future__ import annotations

from collections.abc import Mapping
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


@dataclass(frozen=True)
class Territory:
    """Whose customer ids and domains are whose, over all tenants."""

    customer_ids: frozenset[str]
    domains: frozenset[str]

    def check_customer(self, tenant: Tenant, key: str) -> None:
        """Refuse a customer that is not the caller's: 403 for another tenant's, 400 for nobody's."""
        if key in ("my_customer", tenant.customer_id):
            return
        if key in self.customer_ids:
            raise forbidden()
        raise ApiError(400, "badRequest", "Bad Request")

    def check_domain(self, tenant: Tenant, domain: str) -> None:
        """Refuse a domain that is not the caller's: 403 for another tenant's, 404 for nobody's."""
        if domain in tenant.domains:
            return
        if domain in self.domains:
            raise forbidden()
        raise ApiError(404, "notFound", "Domain not found.")
