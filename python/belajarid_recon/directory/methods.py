"""Which methods of the Directory API may leave this program: a list of those that may, by their names in the discovery document.

What is not on the list has no way out, whoever built the request: `makeAdmin`, and writes to roles and their assignments above all. A
group can hold a role, so members are added only where the transport has been told which groups do. Paths and parameters are read from
the document that google-api-python-client ships, so a name on the list is all there is to write.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple
from urllib.parse import unquote, unquote_plus

import orjson
from googleapiclient.discovery_cache import get_static_doc

ALLOWED = frozenset(
    {
        "customers.get",
        "domains.list",
        "groups.get",
        "groups.insert",
        "groups.list",
        "members.delete",
        "members.get",
        "members.insert",
        "members.list",
        "orgunits.get",
        "orgunits.insert",
        "orgunits.list",
        "orgunits.patch",
        "roleAssignments.list",
        "users.aliases.delete",
        "users.aliases.insert",
        "users.delete",
        "users.get",
        "users.insert",
        "users.list",
        "users.undelete",
        "users.update",
    }
)
"""Methods as the discovery document calls them, without its `directory.` prefix: those some part calls, and no more."""

_SHARED_PARAMETERS = frozenset({"alt", "fields", "prettyPrint"})
"""Of the parameters every method takes; the others carry credentials or change what an answer is."""
_REFUSED_PARAMETERS = frozenset({"resolveConflictAccount"})
"""May take an unmanaged private person's account (discovery document, users.insert)."""


class ListedMethod(NamedTuple):
    """One method that may leave."""

    name: str
    pattern: re.Pattern[str]
    """Matches the decoded path."""
    parameters: frozenset[str]

    def refused_parameter(self, query: str) -> str | None:
        """The first parameter of an undecoded query that the method may not carry, by its name; None: there is none."""
        names = (unquote_plus(pair.partition("=")[0]) for pair in query.split("&"))
        return next((name for name in names if name not in self.parameters), None)


_TOKEN = ListedMethod("token", re.compile("/token"), frozenset())
"""Asking for an access token: no method of the API, and the one request beside them."""


def listed_method(verb: str, path: str) -> ListedMethod | None:
    """The method that a verb and an undecoded path without query are; None when it is none of the list.

    The path is compared decoded, so that an escaped slash is the slash a server may take it for, and in its exact case.
    """
    decoded = unquote(path)
    return next((method for method in _listed().get(verb, ()) if method.pattern.fullmatch(decoded)), None)


@cache
def _listed() -> Mapping[str, tuple[ListedMethod, ...]]:
    """The list by verb."""
    document = orjson.loads(get_static_doc("admin", "directory_v1"))
    found: dict[str, tuple[ListedMethod, ...]] = {"POST": (_TOKEN,)}
    for method in _walk(document):
        name = str(method["id"]).removeprefix("directory.")
        if name in ALLOWED:
            listed = ListedMethod(name, _path_pattern(f"/{method['path']}"), _parameters_of(method))
            found[method["httpMethod"]] = (*found.get(method["httpMethod"], ()), listed)
    return found


def _parameters_of(method: Mapping[str, Any]) -> frozenset[str]:
    own = {name for name, rule in method.get("parameters", {}).items() if rule["location"] == "query"}
    return frozenset((own | _SHARED_PARAMETERS) - _REFUSED_PARAMETERS)


def _path_pattern(path: str) -> re.Pattern[str]:
    """A regular expression over decoded paths. `{+name}` may hold slashes, every other parameter is one segment."""
    pieces = re.split(r"(\{\+?\w+\})", path)
    return re.compile("".join(_piece(piece) for piece in pieces), re.DOTALL)


def _piece(piece: str) -> str:
    if piece.startswith("{"):
        return ".+" if piece.startswith("{+") else "[^/]+"
    return re.escape(piece)


def _walk(resource: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Every method below a resource of the document."""
    yield from resource.get("methods", {}).values()
    for inner in resource.get("resources", {}).values():
        yield from _walk(inner)
