"""Organisational units. Paths are compared without regard to case; a unit that moves takes along what is in it.

Sources: the discovery document; Google's limits page (35 levels, 40,000 units, one write a second) and its page on managing units.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from belajarid_recon.emulator.call import Call, Territory
from belajarid_recon.emulator.quotas import TenantQuotas
from belajarid_recon.emulator.replies import (
    Answer,
    ApiError,
    encode,
    invalid,
    not_found,
    precondition,
    tagged,
)
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

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]

    @property
    def folded_prefix(self) -> str:
        """What the folded paths of the units below begin with."""
        return self.path.rstrip("/").casefold() + "/"

    def resource(self) -> dict[str, Any]:
        """The unit as the API writes it."""
        document: dict[str, Any] = {
            "kind": "admin#directory#orgUnit",
            "name": self.name,
            "description": self.description,
            "orgUnitPath": self.path,
            "orgUnitId": self.id,
        }
        if self.parent_id:
            document |= {"parentOrgUnitPath": self.parent_path, "parentOrgUnitId": self.parent_id}
        return tagged(document)


class Orgunits:
    """All tenants' units. They are few, so they are held in memory beside their rows."""

    def __init__(self, storage: Storage, territory: Territory, quotas: Mapping[Jenjang, TenantQuotas]) -> None:
        self._storage = storage
        self._territory = territory
        self._quotas = quotas
        self._by_path: dict[Jenjang, dict[str, Orgunit]] = {}
        self._by_id: dict[str, Orgunit] = {}
        self._residents: Counter[tuple[Jenjang, str]] = Counter()
        self.on_move: Callable[[Tenant, str, str], None] = lambda _tenant, _old, _new: None
        """Called with the old and the new path of a unit that moved, so that its accounts follow."""

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

    def unit_of_id(self, tenant: Tenant, unit_id: str) -> Orgunit | None:
        """The tenant's unit with this id, given with or without its `id:`."""
        unit = self._by_id.get(f"id:{unit_id.removeprefix('id:')}")
        return unit if unit is not None and self._is_of(tenant, unit) else None

    def enter(self, tenant: Jenjang, path: str) -> None:
        """A live account is in this unit from now on."""
        self._residents[tenant, path] += 1

    def leave(self, tenant: Jenjang, path: str) -> None:
        """A live account is in this unit no longer."""
        self._residents[tenant, path] -= 1

    # Methods of the API

    def insert(self, call: Call) -> Answer:
        """POST .../orgunits."""
        self._territory.check_customer(call.tenant, call.path[0])
        parent = self._parent(call.tenant, call.body)
        path = _joined(parent, _checked_name(call.body.get("name")))
        self._check_free(call.tenant, path)
        units = self._by_path[call.tenant.jenjang]
        quotas = self._quotas[call.tenant.jenjang]
        if len(units) > quotas.limits.orgunits_max:
            raise ApiError(412, "limitExceeded", "Organizational unit limit reached.")
        quotas.take_orgunit_write()
        unit = Orgunit(path, self._next_id(call.tenant), parent.id, call.body.get("description") or "")
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
        document: dict[str, Any] = {"kind": "admin#directory#orgUnits"}
        if found:
            document["organizationUnits"] = found
        return encode(tagged(document))

    def update(self, call: Call) -> Answer:
        """PUT and PATCH .../orgunits/{path or id}: both keep what is absent.

        A new name or parent moves the unit, the units below it and all their accounts.
        """
        self._territory.check_customer(call.tenant, call.path[0])
        unit = self._find(call.tenant, call.path[1])
        changed = self._changed(call.tenant, unit, call.body)
        moves = changed.path != unit.path
        if moves:
            self._check_move(call.tenant, unit, changed)
        self._quotas[call.tenant.jenjang].take_orgunit_write()
        if moves:
            self._move_below(call.tenant, unit, changed)
        self._replace(call.tenant, unit, changed)
        if moves:
            self._move_residents(call.tenant, unit, changed)
        return encode(changed.resource())

    def delete(self, call: Call) -> Answer:
        """DELETE .../orgunits/{path or id}; refused while anything is in it."""
        self._territory.check_customer(call.tenant, call.path[0])
        unit = self._find(call.tenant, call.path[1])
        if not unit.parent_id:
            raise invalid("Invalid Ou Id")
        if self._residents[call.tenant.jenjang, unit.path] or next(self._below(call.tenant, unit, "children"), None):
            raise precondition("The organizational unit is not empty.")
        self._drop(call.tenant, unit)
        return Answer(204, b"")

    # Steps of the methods

    def _changed(self, tenant: Tenant, unit: Orgunit, body: Mapping[str, Any]) -> Orgunit:
        """The unit as an update wants it, its name and parent checked by themselves."""
        description = body.get("description", unit.description) or ""
        renamed = "name" in body
        reparented = bool(body.get("parentOrgUnitPath") or body.get("parentOrgUnitId"))
        if not unit.parent_id:
            if (renamed and body["name"] != unit.name) or reparented:
                raise invalid("Invalid Ou Id")
            return replace(unit, description=description)
        parent = self._parent(tenant, body) if reparented else self._by_id[unit.parent_id]
        name = _checked_name(body["name"]) if renamed else unit.name
        return Orgunit(_joined(parent, name), unit.id, parent.id, description)

    def _check_move(self, tenant: Tenant, unit: Orgunit, changed: Orgunit) -> None:
        """Refuse a move into the unit itself, onto another unit, or below the deepest level."""
        if (changed.parent_path.casefold() + "/").startswith(unit.folded_prefix):
            raise invalid("Invalid Parent Orgunit Id")
        if changed.path.casefold() != unit.path.casefold():
            self._check_free(tenant, changed.path)
        levels = max((below.path.count("/") for below in self._below(tenant, unit, "all")), default=0)
        if levels + changed.path.count("/") - unit.path.count("/") > DEPTH_MAX:
            raise invalid("Invalid Ou Id")

    def _move_below(self, tenant: Tenant, unit: Orgunit, changed: Orgunit) -> None:
        for below in list(self._below(tenant, unit, "all")):
            self._replace(tenant, below, replace(below, path=changed.path + below.path[len(unit.path) :]))

    def _move_residents(self, tenant: Tenant, unit: Orgunit, changed: Orgunit) -> None:
        """Count the accounts at their new paths, and have them follow if there are any."""
        moved = {
            key: count
            for key, count in self._residents.items()
            if count and key[0] is tenant.jenjang and (key[1] + "/").startswith(unit.path + "/")
        }
        for (jenjang, path), count in moved.items():
            del self._residents[jenjang, path]
            self._residents[jenjang, changed.path + path[len(unit.path) :]] += count
        if moved:
            self.on_move(tenant, unit.path, changed.path)

    def _below(self, tenant: Tenant, top: Orgunit, kind: str) -> Iterator[Orgunit]:
        prefix = top.folded_prefix
        for folded, unit in sorted(self._by_path[tenant.jenjang].items()):
            if unit is top:
                if kind == "allIncludingParent":
                    yield unit
            elif folded.startswith(prefix) and (kind != "children" or "/" not in folded[len(prefix) :]):
                yield unit

    def _find(self, tenant: Tenant, key: str) -> Orgunit:
        """The unit with this path (leading slash or not) or id. Raises ApiError 404."""
        by_path = self._by_path[tenant.jenjang]
        unit = self.unit_of_id(tenant, key) if key.startswith("id:") else by_path.get("/" + key.strip("/").casefold())
        if unit is None:
            raise not_found("Org unit not found")
        return unit

    def _is_of(self, tenant: Tenant, unit: Orgunit) -> bool:
        return self._by_path[tenant.jenjang].get(unit.path.casefold()) is unit

    def _parent(self, tenant: Tenant, body: Mapping[str, Any]) -> Orgunit:
        """The unit a body wants its own under: named by path, by id, or by both if they agree."""
        keys = [key for key in (body.get("parentOrgUnitPath"), body.get("parentOrgUnitId")) if key]
        try:
            found = {self._find(tenant, key) for key in keys}
        except ApiError as error:
            raise invalid("Invalid Parent Orgunit Id") from error
        if len(found) != 1:
            raise invalid("Invalid Parent Orgunit Id")
        return found.pop()

    def _check_free(self, tenant: Tenant, path: str) -> None:
        if path.casefold() in self._by_path[tenant.jenjang] or path.count("/") > DEPTH_MAX:
            raise invalid("Invalid Ou Id")

    def _next_id(self, tenant: Tenant) -> str:
        """An id never given before, deleted units' included."""
        name = f"orgunits-made/{tenant.jenjang}"
        number = int(self._storage.fact(name, str(len(self._by_path[tenant.jenjang]))))
        self._storage.set_fact(name, str(number + 1))
        return _orgunit_id(tenant, number)

    def _replace(self, tenant: Tenant, unit: Orgunit, changed: Orgunit) -> None:
        self._drop(tenant, unit)
        self._keep(tenant, changed)

    def _keep(self, tenant: Tenant, unit: Orgunit) -> None:
        folded = unit.path.casefold()
        self._storage.add_orgunit(tenant.jenjang, (folded, unit.path, unit.id, unit.parent_id, unit.description))
        self._by_path[tenant.jenjang][folded] = unit
        self._by_id[unit.id] = unit

    def _drop(self, tenant: Tenant, unit: Orgunit) -> None:
        self._storage.drop_orgunit(unit.id)
        del self._by_path[tenant.jenjang][unit.path.casefold()]
        del self._by_id[unit.id]


def _checked_name(name: str | None) -> str:
    if not name or not name.strip() or "/" in name or _CONTROL.search(name):
        raise invalid("Invalid Ou Name")
    return name


def _joined(parent: Orgunit, name: str) -> str:
    return f"{parent.path.rstrip('/')}/{name}"


def _orgunit_id(tenant: Tenant, number: int) -> str:
    """An id in Google's shape; `number` counts the units the tenant ever had, the root is 0."""
    return f"id:0{tenant.customer_id[2:]}{to_base36(number).rjust(5, '0')}"
