"""Custom fields of accounts: their schemas, and the check of values against them.

Source: Google's page on managing custom user fields; the discovery document's Schema and SchemaFieldSpec. 100 schemas of 100 fields
each are second-hand numbers (reference, field constraints).
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Any

from belajarid_recon.emulator.call import Call, Territory
from belajarid_recon.emulator.documents import Document, Documents
from belajarid_recon.emulator.replies import Answer, ApiError, duplicate, encode, invalid, not_found, tagged
from belajarid_recon.emulator.storage import Storage
from belajarid_recon.emulator.tenants import Tenant

SCHEMAS_MAX = 100
FIELDS_MAX = 100
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_INTEGER = re.compile(r"-?\d{1,19}")
_TEXT_CHARACTERS_MAX = 500
_ACCESS = ("ALL_DOMAIN_USERS", "ADMINS_AND_SELF")
_REFUSED = "Invalid Input: custom_schema"


def _is_text(value: object) -> bool:
    return isinstance(value, str) and len(value) <= _TEXT_CHARACTERS_MAX


def _is_integer(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | str):
        return False
    return _INTEGER.fullmatch(str(value)) is not None and -(2**63) <= int(value) < 2**63


def _is_double(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return False
    try:
        return math.isfinite(float(value))
    except (ValueError, OverflowError):
        return False


TYPES: Mapping[str, Callable[[object], bool]] = {
    "BOOL": lambda value: isinstance(value, bool) or value in ("true", "false"),
    "DATE": lambda value: isinstance(value, str) and _DATE.fullmatch(value) is not None,
    "DOUBLE": _is_double,
    "EMAIL": lambda value: _is_text(value) and "@" in str(value),
    "INT64": _is_integer,
    "PHONE": _is_text,
    "STRING": _is_text,
}
"""Field types and the JSON values each takes; numbers also as decimal text."""


class CustomSchemas:
    """The schemas of all tenants."""

    def __init__(self, storage: Storage, territory: Territory) -> None:
        self._territory = territory
        self._documents = Documents(storage, "schema")
        self.on_delete: Callable[[Tenant, str, frozenset[str] | None], None] = lambda _tenant, _name, _fields: None
        """Called with a schema's name and those of its fields that are gone (None: all), so that accounts lose their values."""

    def check(self, tenant: Tenant, values: Mapping[str, Any]) -> None:
        """Refuse custom values that no schema describes. Raises ApiError 400."""
        for name, fields in values.items():
            schema = self._named(tenant, name)
            if schema is None:
                raise invalid(_REFUSED)
            if fields is None:
                continue
            specs = {spec["fieldName"]: spec for spec in schema["fields"]}
            for field, value in fields.items():
                if field not in specs or not _fits(specs[field], value):
                    raise invalid(_REFUSED)

    # Methods of the API

    def insert(self, call: Call) -> Answer:
        """POST .../schemas."""
        tenant = self._tenant(call)
        name = call.body.get("schemaName") or ""
        if _NAME.fullmatch(name) is None:
            raise invalid("Invalid Input: schema_name")
        if self._named(tenant, name) is not None:
            raise duplicate()
        if self._documents.count(tenant.jenjang) >= SCHEMAS_MAX:
            raise ApiError(412, "limitExceeded", "Custom schema limit reached.")
        number = self._documents.next_number(tenant.jenjang)
        schema_id = _identity(tenant, f"schema/{number}")
        fields = _checked_fields(tenant, schema_id, call.body.get("fields") or ())
        return self._keep(tenant, schema_id, {"schemaName": name, **_display(call.body, name), "fields": fields})

    def get(self, call: Call) -> Answer:
        """GET .../schemas/{name or id}."""
        return encode(_resource(self._find(self._tenant(call), call.path[1])))

    def list_schemas(self, call: Call) -> Answer:
        """GET .../schemas, not paged."""
        found = [_resource(schema) for schema in self._documents.all(self._tenant(call).jenjang)]
        document: Document = {"kind": "admin#directory#schemas"}
        return encode(tagged(document | ({"schemas": found} if found else {})))

    def update(self, call: Call) -> Answer:
        """PUT .../schemas/{name or id}: the list of fields is replaced whole, and what is no longer there loses its values."""
        return self._change(call, call.body.get("fields") or ())

    def patch(self, call: Call) -> Answer:
        """PATCH .../schemas/{name or id}: fields that are not named stay."""
        schema = self._find(self._tenant(call), call.path[1])
        fields = {field["fieldName"]: field for field in schema["fields"]}
        for field in call.body.get("fields") or ():
            name = field.get("fieldName") or ""
            fields[name] = {**fields.get(name, {}), **field}
        return self._change(call, fields.values())

    def delete(self, call: Call) -> Answer:
        """DELETE .../schemas/{name or id}. Every account loses its values."""
        tenant = self._tenant(call)
        schema = self._find(tenant, call.path[1])
        self._documents.drop(tenant.jenjang, schema["schemaId"])
        self.on_delete(tenant, schema["schemaName"], None)
        return Answer(204, b"")

    # Steps of the methods

    def _change(self, call: Call, wanted: Any) -> Answer:  # noqa: ANN401 - any iterable of a body's fields
        tenant = self._tenant(call)
        schema = self._find(tenant, call.path[1])
        name = call.body.get("schemaName") or schema["schemaName"]
        if name != schema["schemaName"]:
            raise invalid("Invalid Input: schema_name")
        fields = _checked_fields(tenant, schema["schemaId"], wanted)
        types = {field["fieldName"]: (field["fieldType"], field["multiValued"]) for field in schema["fields"]}
        changed = (field for field in fields if types.get(field["fieldName"], _shape(field)) != _shape(field))
        if next(changed, None) is not None:
            raise invalid("Invalid Input: field_type")
        answer = self._keep(
            tenant, schema["schemaId"], {**schema, **_display(call.body, schema["displayName"]), "fields": fields}
        )
        gone = types.keys() - {field["fieldName"] for field in fields}
        if gone:
            self.on_delete(tenant, name, frozenset(gone))
        return answer

    def _keep(self, tenant: Tenant, schema_id: str, schema: Document) -> Answer:
        document = {"schemaId": schema_id, **schema}
        self._documents.put(tenant.jenjang, schema_id, document)
        return encode(_resource(document))

    def _tenant(self, call: Call) -> Tenant:
        self._territory.check_customer(call.tenant, call.path[0])
        return call.tenant

    def _named(self, tenant: Tenant, name: str) -> Document | None:
        return next((one for one in self._documents.all(tenant.jenjang) if one["schemaName"] == name), None)

    def _find(self, tenant: Tenant, key: str) -> Document:
        schema = self._documents.get(tenant.jenjang, key) or self._named(tenant, key)
        if schema is None:
            raise not_found("Resource Not Found: schemaKey")
        return schema


def _fits(spec: Mapping[str, Any], value: object) -> bool:
    """Whether a field takes a value; null deletes it. Many values are a list of objects with a `value` each."""
    if value is None:
        return True
    accepts = TYPES[spec["fieldType"]]
    if not spec["multiValued"]:
        return accepts(value)
    return isinstance(value, list) and all(isinstance(one, dict) and accepts(one.get("value")) for one in value)


def _shape(field: Mapping[str, Any]) -> tuple[str, bool]:
    return field["fieldType"], field["multiValued"]


def _checked_fields(tenant: Tenant, schema_id: str, wanted: Any) -> list[Document]:  # noqa: ANN401 - any iterable
    """The fields of a schema as they are stored. Raises ApiError 400 for a name twice, a bad name or type, or too many or none."""
    fields = [_field(tenant, schema_id, field) for field in wanted]
    if not fields or len(fields) > FIELDS_MAX or len({field["fieldName"] for field in fields}) != len(fields):
        raise invalid("Invalid Input: fields")
    return fields


def _field(tenant: Tenant, schema_id: str, wanted: Mapping[str, Any]) -> Document:
    name, kind = wanted.get("fieldName") or "", wanted.get("fieldType") or ""
    access = wanted.get("readAccessType") or _ACCESS[0]
    if _NAME.fullmatch(name) is None or kind not in TYPES or access not in _ACCESS:
        raise invalid("Invalid Input: fields")
    field = {
        "kind": "admin#directory#schema#fieldspec",
        "fieldId": _identity(tenant, f"{schema_id}/{name}"),
        "fieldName": name,
        "fieldType": kind,
        "multiValued": wanted.get("multiValued") is True,
        "indexed": wanted.get("indexed") is not False,
        "readAccessType": access,
        **_display(wanted, name),
    }
    if wanted.get("numericIndexingSpec"):
        field["numericIndexingSpec"] = wanted["numericIndexingSpec"]
    return tagged(field)


def _display(body: Mapping[str, Any], otherwise: str) -> Document:
    return {"displayName": body.get("displayName") or otherwise}


def _identity(tenant: Tenant, name: str) -> str:
    """An id in the shape of Google's: base64 of 16 bytes."""
    digest = blake2b(f"{tenant.customer_id}/{name}".encode(), digest_size=16).digest()
    return base64.urlsafe_b64encode(digest).decode("ascii")


def _resource(schema: Document) -> Document:
    return tagged({"kind": "admin#directory#schema", **schema})
