"""Organisational units: insert, get, list. Paths are compared without regard to case."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from xxhash import xxh3_64_hexdigest

from belajarid_recon.emulator.call import Call, Territory
from belajarid_recon.emulator.quotas import TenantQuotas
from belajarid_recon.emulator.replies import Answer, ApiError, encode, invalid, not_found
from belajarid_recon.emulator.storage import Storage
from belajarid_recon.emulator.tenants import Tenant, to_base36
from belajarid_recon.schemas import Jenjang

DEPTH_MAX = 35
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True)
class Orgunit:
    """One unit. The root has the path `/` and no parent."""

    path: str
    id: str
    parent_id: str
    description: str

    @property
    def parent_path(self) -> str:
        """Path of the unit above."""
        return self.path.rpartition("/")[0] or "/"

    def resource(self) -> dict[str, Any]:
        """The unit as the API writes it."""
        document: dict[str, Any] = {
            "kind": "admin#directory#orgUnit",
            "etag": f'"{xxh3_64_hexdigest("|".join((self.id, self.path, self.description)).encode())}"',
            "name": self.path.rpartition("/")[2],
            "description": self.description,
            "orgUnitPath": self.path,
            "orgUnitId": self.id,
        }
        if self.parent_id:
            document |= {"parentOrgUnitPath": self.parent_path, "parentOrgUnitId": self.parent_id}
        return document


class Orgunits:
    """All tenants' units. They are few, so they are held in memory beside their rows."""

    def __init__(self, storage: Storage, territory: Territory, quotas: Mapping[Jenjang, TenantQuotas]) -> None:
        self._storage = storage
        self._territory = territory
        self._quotas = quotas
        self._by_path: dict[Jenjang, dict[str, Orgunit]] = {}
        self._by_id: dict[str, Orgunit] = {}

    def load(self, tenant: Tenant) -> None:
        """Read a tenant's units; its root is made up from its customer id."""
        root = Orgunit("/", _orgunit_id(tenant, 0), "", "")
        units = [root, *(Orgunit(*row) for row in self._storage.orgunits(tenant.jenjang))]
        self._by_path[tenant.jenjang] = {unit.path.casefold(): unit for unit in units}
        self._by_id.update({unit.id: unit for unit in units})

    def paths(self, tenant: Tenant) -> list[str]:
        """The paths of all of a tenant's units, in order."""
        return sorted(unit.path for unit in self._by_path[tenant.jenjang].values())

    def canonical_path(self, tenant: Tenant, path: str) -> str:
        """The path in the case it was made with. Raises ApiError when the tenant has no such unit."""
        unit = self._by_path[tenant.jenjang].get(path.casefold())
        if unit is None:
            raise invalid("Invalid Input: INVALID_OU_ID")
        return unit.path

    def insert(self, call: Call) -> Answer:
        """POST .../orgunits."""
        self._territory.check_customer(call.tenant, call.path[0])
        parent = self._parent(call.tenant, call.body)
        name = call.body.get("name")
        if not name or not name.strip() or "/" in name or _CONTROL.search(name):
            raise invalid("Invalid Ou Name")
        path = f"{parent.path.rstrip('/')}/{name}"
        units = self._by_path[call.tenant.jenjang]
        quotas = self._quotas[call.tenant.jenjang]
        if path.casefold() in units:
            raise invalid("Invalid Ou Id")
        if path.count("/") > DEPTH_MAX:
            raise invalid("Invalid Ou Id")
        if len(units) > quotas.limits.orgunits_max:
            raise ApiError(412, "limitExceeded", "Organizational unit limit reached.")
        quotas.take_orgunit_write()
        unit = Orgunit(path, _orgunit_id(call.tenant, len(units)), parent.id, call.body.get("description") or "")
        self._keep(call.tenant, unit)
        return encode(unit.resource())

    def get(self, call: Call) -> Answer:
        """GET .../orgunits/{path or id}."""
        self._territory.check_customer(call.tenant, call.path[0])
        return encode(self._find(call.tenant, call.path[1]).resource())

    def list_units(self, call: Call) -> Answer:
        """GET .../orgunits, not paged; by path."""
        self._territory.check_customer(call.tenant, call.path[0])
        top = self._find(call.tenant, call.query.get("orgUnitPath") or "/")
        kind = call.query.get("type", "children")
        found = [unit.resource() for unit in self._below(call.tenant, top, kind)]
        document: dict[str, Any] = {
            "kind": "admin#directory#orgUnits",
            "etag": f'"{xxh3_64_hexdigest(repr(found).encode())}"',
        }
        if found:
            document["organizationUnits"] = found
        return encode(document)

    def _below(self, tenant: Tenant, top: Orgunit, kind: str) -> Iterator[Orgunit]:
        prefix = top.path.rstrip("/").casefold() + "/"
        for folded, unit in sorted(self._by_path[tenant.jenjang].items()):
            if unit is top:
                if kind == "allIncludingParent":
                    yield unit
            elif folded.startswith(prefix) and (kind != "children" or "/" not in folded[len(prefix) :]):
                yield unit

    def _find(self, tenant: Tenant, key: str) -> Orgunit:
        """The unit with this path (leading slash or not) or id. Raises ApiError 404."""
        units = self._by_path[tenant.jenjang]
        unit = self._by_id.get(key) if key.startswith("id:") else units.get("/" + key.strip("/").casefold())
        if unit is None or units.get(unit.path.casefold()) is not unit:
            raise not_found("Org unit not found")
        return unit

    def _parent(self, tenant: Tenant, body: Mapping[str, Any]) -> Orgunit:
        """The unit a new one goes under: named by path, by id, or by both if they agree."""
        keys = [key for key in (body.get("parentOrgUnitPath"), body.get("parentOrgUnitId")) if key]
        try:
            found = {self._find(tenant, key) for key in keys}
        except ApiError as error:
            raise invalid("Invalid Parent Orgunit Id") from error
        if len(found) != 1:
            raise invalid("Invalid Parent Orgunit Id")
        return found.pop()

    def _keep(self, tenant: Tenant, unit: Orgunit) -> None:
        folded = unit.path.casefold()
        self._storage.add_orgunit(tenant.jenjang, (folded, unit.path, unit.id, unit.parent_id, unit.description))
        self._by_path[tenant.jenjang][folded] = unit
        self._by_id[unit.id] = unit


def _orgunit_id(tenant: Tenant, number: int) -> str:
    """An id in Google's shape; `number` counts the tenant's units, the root is 0. Units are never deleted here."""
    return f"id:0{tenant.customer_id[2:]}{to_base36(number).rjust(5, '0')}"
