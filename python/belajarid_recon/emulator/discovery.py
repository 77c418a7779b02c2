"""The discovery document as a gate: which methods exist, and what a request may carry.

Source of every rule: `admin.directory_v1.json` as google-api-python-client ships it. Checks are compiled to closures at start,
because each request runs through them. A check returns None, or where and why in words that repeat no value.

The document types fifteen fields of a User as `any`, although each has a schema of its own there; Google refuses a text in
`externalIds` all the same, so those schemas are applied (`_ANY_FIELDS`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources
from typing import Any
from urllib.parse import parse_qsl, unquote

import orjson

from belajarid_recon.emulator.replies import ApiError

Check = Callable[[Any], str | None]
"""Takes a JSON value; returns None, or a path and what is wrong there (".name.givenName is not a string")."""

DOCUMENT = "admin.directory_v1.json"

_ANY_FIELDS: Mapping[str, str] = {
    "addresses": "UserAddress", "emails": "UserEmail", "externalIds": "UserExternalId", "ims": "UserIm",
    "keywords": "UserKeyword", "languages": "UserLanguage", "locations": "UserLocation",
    "organizations": "UserOrganization", "phones": "UserPhone", "posixAccounts": "UserPosixAccount",
    "relations": "UserRelation", "sshPublicKeys": "UserSshPublicKey", "websites": "UserWebsite",
}  # fmt: skip
"""Fields of a User that are lists of a schema, though the document says `any`."""
_ANY_OBJECTS: Mapping[str, str] = {"gender": "UserGender", "notes": "UserAbout"}
"""The same, for one object."""


@dataclass(frozen=True, eq=False)
class Method:
    """One method of the API."""

    name: str
    """As in the document, without its `directory.` prefix: `users.insert`."""
    verb: str
    pattern: re.Pattern[str]
    """Matches the undecoded path; one group for each path parameter."""
    path_parameters: tuple[str, ...]
    query_checks: Mapping[str, Check]
    body_check: Check | None
    scopes: frozenset[str]
    response: str | None
    """Name of the schema of the answer."""

    def path_values(self, path: str) -> tuple[str, ...] | None:
        """The decoded path parameters in order, or None when the path is another method's."""
        match = self.pattern.fullmatch(path)
        return None if match is None else tuple(map(unquote, match.groups()))

    @lru_cache(maxsize=4_096)  # noqa: B019 - methods live as long as the process
    def parameters(self, query: bytes) -> Mapping[str, str]:
        """The decoded query parameters, each checked. Clients repeat few queries, hence the cache.

        Raises ApiError 400 invalidParameter naming the parameter.
        """
        values: dict[str, str] = {}
        for name, value in parse_qsl(query.decode("ascii", "replace"), keep_blank_values=True):
            check = self.query_checks.get(name)
            if check is None:
                raise _bad_parameter(name, "cannot be bound: no such parameter of this method")
            fault = check(value)
            if fault is not None:
                raise _bad_parameter(name, fault.strip())
            values[name] = value
        if values.get("alt", "json") != "json":
            raise _bad_parameter("alt", "this method answers in JSON")
        return values

    def body(self, raw: bytes) -> dict[str, Any]:
        """The decoded body, checked field by field. Raises ApiError 400."""
        if self.body_check is None:
            if raw:
                raise ApiError(400, "invalid", "This method takes no request body.")
            return {}
        try:
            document: dict[str, Any] = orjson.loads(raw)
        except orjson.JSONDecodeError as error:
            raise ApiError(400, "parseError", "Parse Error") from error
        fault = self.body_check(document)
        if fault is not None:
            raise ApiError(400, "invalid", f"Invalid JSON payload received: body{fault}")
        return document


def _bad_parameter(name: str, fault: str) -> ApiError:
    message = f"Invalid value for parameter {name[:64]}: {fault}"
    return ApiError(400, "invalidParameter", message, location=("parameter", name[:64]))


class Discovery:
    """All methods of the document and the way to find one."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._schemas: Mapping[str, Any] = document["schemas"]
        self._checks: dict[str, Check] = {}
        shared = {name: _query_check(rule) for name, rule in document["parameters"].items()}
        found = [self._method(rule, shared) for rule in _walk(document)]
        self.methods: Mapping[str, Method] = {method.name: method for method in found}
        self._by_place: dict[tuple[str, str], list[Method]] = {}
        for method in sorted(found, key=lambda one: one.pattern.pattern.count("/")):
            self._by_place.setdefault((method.verb, _place(method.pattern.pattern)), []).append(method)

    def find(self, verb: str, path: str) -> tuple[Method, tuple[str, ...]] | None:
        """The method that serves this verb and undecoded path, with its path parameters; None when Google knows none."""
        for method in self._by_place.get((verb, _place(path)), ()):
            values = method.path_values(path)
            if values is not None:
                return method, values
        return None

    def scopes(self) -> frozenset[str]:
        """Every scope some method accepts."""
        return frozenset().union(*(method.scopes for method in self.methods.values()))

    def schema(self, name: str) -> Mapping[str, Any]:
        """A schema as the document has it."""
        schema: Mapping[str, Any] = self._schemas[name]
        return schema

    def read_only_fields(self, name: str) -> frozenset[str]:
        """Top-level fields of a schema that a caller cannot write."""
        return frozenset(field for field, rule in self._schemas[name]["properties"].items() if rule.get("readOnly"))

    @staticmethod
    def list_fields() -> frozenset[str]:
        """The fields of a User that are lists and that a caller can write."""
        return frozenset(_ANY_FIELDS)

    def check_of(self, name: str) -> Check:
        """The compiled check of a schema. Compiled once; schemas may name each other in a circle."""
        if name not in self._checks:
            self._checks[name] = self._later(name)
            self._checks[name] = self._object_check(self._schemas[name], name)
        return self._checks[name]

    def _later(self, name: str) -> Check:
        """A check that looks its schema's up when it runs, for a schema that is still in the making."""

        def check(value: Any) -> str | None:  # noqa: ANN401 - JSON
            return self._checks[name](value)

        return check

    def _method(self, rule: Mapping[str, Any], shared: Mapping[str, Check]) -> Method:
        parameters = rule.get("parameters", {})
        in_path = tuple(re.findall(r"\{\+?(\w+)\}", rule["path"]))
        own = {name: _query_check(one) for name, one in parameters.items() if one["location"] == "query"}
        request = rule.get("request")
        return Method(
            name=str(rule["id"]).removeprefix("directory."),
            verb=rule["httpMethod"],
            pattern=_path_pattern("/" + rule["path"], parameters),
            path_parameters=in_path,
            query_checks={**shared, **own},
            body_check=None if request is None else self.check_of(request["$ref"]),
            scopes=frozenset(rule.get("scopes", ())),
            response=rule.get("response", {}).get("$ref"),
        )

    def _object_check(self, schema: Mapping[str, Any], name: str = "") -> Check:
        rules = {
            field: self._user_rule(field, rule) if name == "User" else rule
            for field, rule in schema.get("properties", {}).items()
        }
        properties = {field: self._value_check(rule) for field, rule in rules.items()}
        # Texts and flags are most of what is sent; their type is looked at here, without a call.
        plain = {field: _PLAIN[rule["type"]] for field, rule in rules.items() if _is_plain(rule)}
        extra = schema.get("additionalProperties")
        other = None if extra is None else self._value_check(extra)

        def check(value: Any) -> str | None:  # noqa: ANN401 - JSON
            if type(value) is not dict:
                return " is not an object"
            for field, inner in value.items():
                if type(inner) is plain.get(field):
                    continue
                field_check = properties.get(field, other)
                if field_check is None:
                    return f": unknown name {field[:64]!r}: cannot find field"
                if inner is not None:
                    fault = field_check(inner)
                    if fault is not None:
                        return f".{field}{fault}"
            return None

        return check

    @staticmethod
    def _user_rule(field: str, rule: Mapping[str, Any]) -> Mapping[str, Any]:
        if field in _ANY_FIELDS:
            return {"type": "array", "items": {"$ref": _ANY_FIELDS[field]}}
        return {"$ref": _ANY_OBJECTS[field]} if field in _ANY_OBJECTS else rule

    def _value_check(self, rule: Mapping[str, Any]) -> Check:
        if "$ref" in rule:
            return self.check_of(rule["$ref"])
        if rule["type"] == "array":
            return _array_check(self._value_check(rule["items"]))
        if rule["type"] == "object":
            return self._object_check(rule)
        return _scalar_check(rule)


def _array_check(element: Check) -> Check:
    def check(value: Any) -> str | None:  # noqa: ANN401 - JSON
        if type(value) is not list:
            return " is not a list"
        for index, inner in enumerate(value):
            fault = element(inner)
            if fault is not None:
                return f"[{index}]{fault}"
        return None

    return check


def _scalar_check(rule: Mapping[str, Any]) -> Check:
    """A check of one JSON value against its type, format and enum."""
    if "enum" in rule:
        allowed = frozenset(rule["enum"])
        return lambda value: None if type(value) is str and value in allowed else " is not one of its enum's values"
    accepts, fault = _SCALARS.get(rule.get("format", ""), _SCALARS[rule["type"]])
    return lambda value: None if accepts(value) else fault


def _is_int64(value: Any) -> bool:  # noqa: ANN401 - JSON
    """Google writes 64-bit integers as text and takes both."""
    return type(value) is int or (type(value) is str and re.fullmatch(r"-?\d{1,20}", value) is not None)


_SCALARS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "any": (lambda _value: True, ""),
    "boolean": (lambda value: type(value) is bool, " is not a boolean"),
    "integer": (lambda value: type(value) is int and -(2**31) <= value < 2**31, " is not an integer"),
    "number": (lambda value: type(value) in (int, float), " is not a number"),
    "string": (lambda value: type(value) is str, " is not a string"),
    "int64": (_is_int64, " is not a 64-bit integer"),
    "uint64": (_is_int64, " is not a 64-bit integer"),
}
"""What a JSON value of a type or 64-bit format must be, and what it is told when it is not."""


_PLAIN: Mapping[str, type] = {"string": str, "boolean": bool}


def _is_plain(rule: Mapping[str, Any]) -> bool:
    """Whether a value of the right Python type is all a rule asks for."""
    return rule.get("type") in _PLAIN and "enum" not in rule and rule.get("format") not in _SCALARS


def _query_check(rule: Mapping[str, Any]) -> Check:
    """A check of one query parameter, which is always text."""
    if rule["type"] == "boolean":
        return lambda value: None if value in ("true", "false") else " is not true or false"
    if rule["type"] == "integer":
        low, high = int(rule.get("minimum", -(2**31))), int(rule.get("maximum", 2**31 - 1))
        return lambda value: (
            None if re.fullmatch(r"-?\d{1,10}", value) and low <= int(value) <= high else f" is not {low} to {high}"
        )
    allowed = frozenset(rule["enum"]) if "enum" in rule else None
    if allowed is not None:
        return lambda value: None if value in allowed else " is not one of its enum's values"
    return lambda _value: None


def _path_pattern(path: str, parameters: Mapping[str, Any]) -> re.Pattern[str]:
    """A regular expression over undecoded paths. `{+name}` may hold slashes unless its own pattern says otherwise."""

    def group(match: re.Match[str]) -> str:
        reserved, name = match.groups()
        if not reserved:
            return "([^/:]+)" if path.endswith("}:issueCommand") else "([^/]+)"
        own = str(parameters[name].get("pattern", "^.+$")).removeprefix("^").removesuffix("$")
        return f"({own})"

    return re.compile(re.sub(r"\{(\+?)(\w+)\}", group, path))


def _place(path: str) -> str:
    """The first word behind `/admin/directory/v1/`, by which methods are sorted before any pattern is tried."""
    return re.split(r"[/:(\\]", path.removeprefix("/admin/directory/v1/").lstrip("("), maxsplit=1)[0]


def _walk(resource: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Every method below a resource of the document."""
    found = list(resource.get("methods", {}).values())
    for inner in resource.get("resources", {}).values():
        found += _walk(inner)
    return found


@cache
def load_discovery() -> Discovery:
    """The document of the installed google-api-python-client, compiled."""
    file = resources.files("googleapiclient.discovery_cache.documents").joinpath(DOCUMENT)
    return Discovery(orjson.loads(file.read_bytes()))
