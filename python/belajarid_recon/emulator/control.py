"""What tests and demos see and change behind the API's back, under `/emulator/`. Not part of Google's surface; no token, no quota.

GET stats | GET minutes | GET accounts?tenant= (JSON lines) | POST accounts (plant) | POST edits (change one) |
POST, GET, DELETE faults | GET strikes | POST clock (jump ahead) | POST sign-in (try a password)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import parse_qs

import orjson

from belajarid_recon.emulator import accounts
from belajarid_recon.emulator.replies import Answer, ApiError, duplicate, encode, invalid
from belajarid_recon.emulator.service import Service
from belajarid_recon.emulator.statistics import nested
from belajarid_recon.emulator.storage import StoredUser
from belajarid_recon.emulator.tenants import Tenant
from belajarid_recon.schemas import Jenjang

PREFIX = "/emulator/"
BODY_BYTES_MAX = 64 * 1_024 * 1_024
_ROWS = 2_000
_DERIVED = frozenset({"emails", "etag", "id", "kind"})
_ADVANCE_SECONDS_MAX = 3_660 * 86_400


class Control:
    """The control endpoints of one emulator."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._routes: Mapping[tuple[str, str], Callable[[bytes], Answer]] = {
            ("GET", "stats"): self._stats,
            ("POST", "accounts"): self._plant,
            ("POST", "edits"): self._edit,
            ("GET", "faults"): self._list_faults,
            ("POST", "faults"): self._add_fault,
            ("DELETE", "faults"): self._clear_faults,
            ("GET", "strikes"): self._strikes,
            ("GET", "minutes"): self._minutes,
            ("POST", "clock"): self._advance,
            ("POST", "sign-in"): lambda raw: self._service.sign_in.attempt(_object(raw)),
        }

    def answer(self, verb: str, path: str, raw: bytes) -> Answer:
        """Answer one request below `/emulator/`."""
        route = self._routes.get((verb, path.removeprefix(PREFIX)))
        if route is None:
            return ApiError(404, "notFound", "no such control endpoint").answer()
        try:
            return route(raw)
        except ApiError as error:
            return error.answer()
        except orjson.JSONDecodeError:
            return ApiError(400, "parseError", "the body is not JSON").answer()

    def account_lines(self, query: bytes) -> Iterator[bytes]:
        """Every account of a tenant, deleted ones too, as JSON lines in pieces. Raises ApiError at once, not later.

        A line has the account as the API shows it, `deleted`, its `marker`, and `inserts`: how often users.insert
        ever made an account with that marker. More than one is a duplicated creation.
        """
        tenant = self._tenant(parse_qs(query.decode("ascii", "replace")).get("tenant", [""])[0])
        return self._lines(tenant.jenjang)

    def _lines(self, tenant: str) -> Iterator[bytes]:
        inserts = self._service.storage.inserts_by_marker(tenant)
        last = 0
        while rows := self._service.storage.users_from(tenant, last, _ROWS):
            last = rows[-1].number
            yield b"".join(_line(user, inserts) for user in rows)

    def _stats(self, _raw: bytes) -> Answer:
        service = self._service
        return encode(
            {
                **service.statistics.describe(),
                "struck": nested(service.faults.counts()),
                "faults": [fault.describe() for fault in service.faults.script],
                "emulated_seconds": service.time.elapsed(),
                "emulated_time": service.time.calendar(),
            }
        )

    def _plant(self, raw: bytes) -> Answer:
        """Accounts as somebody else would have made them: with aliases, administrators, no marker, whatever a test asks."""
        document = _object(raw)
        tenant = self._tenant(document.get("tenant", ""))
        planted = document.get("accounts")
        if not isinstance(planted, list):
            raise invalid("accounts is not a list")
        check = self._service.discovery.check_of("User")
        bodies = []
        for body in planted:
            fault = check(body)
            if fault is not None:
                raise invalid(f"account{fault}")
            bodies.append(self._plantable(tenant, body))
        return encode({"ids": [self._add_planted(tenant, body) for body in bodies]})

    def _plantable(self, tenant: Tenant, body: dict[str, Any]) -> dict[str, Any]:
        """The body with what it lacks. Its address must be of the tenant, and free."""
        address, domain = accounts.checked_local_part(body.get("primaryEmail") or "")
        if domain not in tenant.domains:
            raise invalid("the address is not in a domain of the tenant")
        for field in ("password", "hashFunction", "id", "etag"):
            body.pop(field, None)
        path = self._service.orgunits.canonical_path(tenant, body.get("orgUnitPath") or "/")
        name = body.get("name") or {"givenName": "Tanam", "familyName": "Tanam"}
        return {**body, "primaryEmail": address, "orgUnitPath": path, "name": name}

    def _add_planted(self, tenant: Tenant, body: dict[str, Any]) -> str:
        if any(self._service.users.taken(one) for one in (body["primaryEmail"], *body.get("aliases", ()))):
            raise duplicate()
        with self._service.lag.unseen():
            user = self._service.users.add(tenant, body, None)
        identity: str = orjson.loads(user.answer)["id"]
        return identity

    def _edit(self, raw: bytes) -> Answer:
        """One account changed as somebody else would: `tenant`, `key` (id or address), `changes` (fields of a User)."""
        document = _object(raw)
        tenant = self._tenant(document.get("tenant", ""))
        changes: Any = document.get("changes")
        fault = self._service.discovery.check_of("User")(changes)
        if fault is not None:
            raise invalid(f"changes{fault}")
        if _DERIVED & changes.keys():
            raise invalid(f"these fields follow from others: {', '.join(sorted(_DERIVED))}")
        return Answer(200, self._service.users.edit(tenant, str(document.get("key")), changes).answer)

    def _add_fault(self, raw: bytes) -> Answer:
        self._service.faults.add(_object(raw))
        return encode({})

    def _list_faults(self, _raw: bytes) -> Answer:
        return encode([fault.describe() for fault in self._service.faults.script])

    def _strikes(self, _raw: bytes) -> Answer:
        """Every call that met a fault, the oldest first: kind, method, tenant, which call, whether it was applied, what left."""
        return encode(self._service.faults.strikes())

    def _minutes(self, _raw: bytes) -> Answer:
        """Calls by method and refusals by reason, for each emulated minute and tenant."""
        return encode(self._service.statistics.minutes.describe())

    def _clear_faults(self, _raw: bytes) -> Answer:
        self._service.faults.clear()
        return encode({})

    def _advance(self, raw: bytes) -> Answer:
        seconds = _object(raw).get("advance_seconds")
        if not isinstance(seconds, int | float) or not 0 <= seconds <= _ADVANCE_SECONDS_MAX:
            raise invalid("advance_seconds is not a number of seconds from 0 to ten years")
        self._service.time.advance(float(seconds))
        return encode({"emulated_seconds": self._service.time.elapsed()})

    def _tenant(self, name: str) -> Tenant:
        tenant = self._service.tenants.get(Jenjang(name)) if name in set(Jenjang) else None
        if tenant is None:
            raise invalid("unknown tenant; give the jenjang")
        return tenant


def _line(user: StoredUser, inserts: Mapping[str, int]) -> bytes:
    account = orjson.loads(user.answer)
    marker = accounts.marker_of(account)
    line = {
        "tenant": user.tenant,
        "deleted": user.deleted_at is not None,
        "marker": marker,
        "inserts": inserts.get(marker or "", 0),
        "account": account,
    }
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


def _object(raw: bytes) -> dict[str, Any]:
    document = orjson.loads(raw)
    if not isinstance(document, dict):
        raise invalid("the body is not an object")
    return document
