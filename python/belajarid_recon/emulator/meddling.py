"""Other administrators: somebody renames, edits, unmarks or deletes the very account a call is about."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from belajarid_recon.emulator import accounts
from belajarid_recon.emulator.call import Call
from belajarid_recon.emulator.discovery import Method
from belajarid_recon.emulator.orgunits import Orgunits
from belajarid_recon.emulator.replies import ApiError
from belajarid_recon.emulator.tenants import Tenant
from belajarid_recon.emulator.users import Users


@dataclass(frozen=True)
class Meddler:
    """Does what another administrator would, with every right."""

    users: Users
    orgunits: Orgunits
    delete: Method
    """The method users.delete."""

    def meddle(self, kind: str, tenant: Tenant, key: str, draw: int) -> str | None:
        """Touch the account with this id or address; returns its id, or None when there was nothing to do.

        `draw` decides what a rename or an edit makes of it.
        """
        changes: Mapping[str, Callable[[Tenant, dict[str, Any], int], dict[str, Any]]] = {
            "other-rename": _renamed,
            "other-edit": self._edited,
            "other-unmark": _unmarked,
        }
        try:
            account: dict[str, Any] = orjson.loads(self.users.find(tenant, key).answer)
            identity: str = account["id"]
            if kind == "other-delete":
                self.users.delete(Call(self.delete, tenant, (identity,), {}, {}))
                return identity
            change = changes[kind](tenant, account, draw)
            if not change:
                return None
            self.users.edit(tenant, identity, change)
        except ApiError:
            return None
        return identity

    def _edited(self, tenant: Tenant, account: dict[str, Any], draw: int) -> dict[str, Any]:
        """A change of unit, state or name."""
        others = [path for path in self.orgunits.paths(tenant) if path != account["orgUnitPath"]]
        which, rest = draw % 3, draw // 3
        if which == 0 and others:
            return {"orgUnitPath": others[rest % len(others)]}
        if which == 1:
            return {"suspended": not account["suspended"]}
        return {"name": {"familyName": f"Lain{rest % 1_000}"}}


def _renamed(_tenant: Tenant, account: dict[str, Any], draw: int) -> dict[str, Any]:
    domain = account["primaryEmail"].rpartition("@")[2]
    return {"primaryEmail": f"lain{draw % 10**10:010}@{domain}"}


def _unmarked(_tenant: Tenant, account: dict[str, Any], _draw: int) -> dict[str, Any]:
    if accounts.marker_of(account) is None:
        return {}
    kept = [entry for entry in account["externalIds"] if entry.get("customType") != accounts.MARKER_TYPE]
    return {"externalIds": kept or None}
