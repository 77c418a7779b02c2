"""The customer itself and its domains."""

from __future__ import annotations

from typing import Any

from xxhash import xxh3_64_hexdigest

from belajarid_recon.emulator.call import Call, Territory
from belajarid_recon.emulator.instants import EmulatedTime
from belajarid_recon.emulator.replies import Answer, encode


class Customers:
    """customers.get and domains.list."""

    def __init__(self, territory: Territory, time: EmulatedTime) -> None:
        self._territory = territory
        self._time = time

    def get(self, call: Call) -> Answer:
        """GET /customers/{customerKey}."""
        tenant = call.tenant
        self._territory.check_customer(tenant, call.path[0])
        return encode(
            {
                "kind": "admin#directory#customer",
                "etag": f'"{xxh3_64_hexdigest(tenant.customer_id.encode())}"',
                "id": tenant.customer_id,
                "customerDomain": tenant.domains[0],
                "customerCreationTime": self._time.calendar(0.0),
                "language": "id",
            }
        )

    def domains(self, call: Call) -> Answer:
        """GET /customer/{customer}/domains; not paged, the primary domain first."""
        tenant = call.tenant
        self._territory.check_customer(tenant, call.path[0])
        found: list[dict[str, Any]] = [
            {
                "kind": "admin#directory#domain",
                "etag": f'"{xxh3_64_hexdigest(domain.encode())}"',
                "domainName": domain,
                "isPrimary": domain == tenant.domains[0],
                "verified": True,
                "creationTime": self._time.unix_milliseconds(0.0),
            }
            for domain in tenant.domains
        ]
        etag = f'"{xxh3_64_hexdigest("|".join(tenant.domains).encode())}"'
        return encode({"kind": "admin#directory#domains", "etag": etag, "domains": found})
