"""What `query=` of users.list asks for (Google: "Search for users").

Clauses joined by spaces, all of which must hold: `field=value`, `field:word`, `field:start*`, a value with spaces in quotes. A field
the emulator does not know is 501, never answered with too much or too little.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from belajarid_recon.emulator.replies import invalid, not_offered

_CHARACTERS_MAX = 2_000
_CLAUSE = re.compile(
    r"\s*(?P<field>[A-Za-z][\w.]*)\s*(?P<operator>[=:])\s*"
    r"(?:'(?P<single>[^'*]+)'|\"(?P<double>[^\"*]+)\"|(?P<bare>[^\s'\"*]+))(?P<star>\*?)(?=\s|$)"
)


@dataclass(frozen=True)
class Clause:
    """One condition."""

    field: str
    is_exact: bool
    """`=` rather than `:`."""
    is_prefix: bool
    """The value ended in `*`."""
    value: str
    """In lower case."""

    def finds(self, account: Mapping[str, Any]) -> bool:
        """Whether it holds for an account."""
        return _FIELDS[self.field](self, account)

    def matches(self, texts: Iterable[str]) -> bool:
        """Whether one of the texts is the value, holds it as a word, or has a word that begins with it."""
        return any(self._matches(text.casefold()) for text in texts)

    def _matches(self, text: str) -> bool:
        words = (text,) if self.is_exact else (text, *text.split())
        if self.is_prefix:
            return any(word.startswith(self.value) for word in words)
        return self.value in words


def _texts(read: Callable[[Mapping[str, Any]], Iterable[str]]) -> Callable[[Clause, Mapping[str, Any]], bool]:
    return lambda clause, account: clause.matches(read(account))


def _flag(field: str) -> Callable[[Clause, Mapping[str, Any]], bool]:
    return lambda clause, account: bool(account.get(field)) is (clause.value == "true")


def _addresses(account: Mapping[str, Any]) -> list[str]:
    return [entry["address"] for entry in account["emails"]]


def _external(account: Mapping[str, Any]) -> list[str]:
    return [entry.get("value") or "" for entry in account.get("externalIds", ())]


def _organizations(part: str) -> Callable[[Mapping[str, Any]], Iterable[str]]:
    return lambda account: (entry.get(part) or "" for entry in account.get("organizations", ()))


def _in_unit(clause: Clause, account: Mapping[str, Any]) -> bool:
    """The unit and all below it, as Google's page says."""
    path: str = account["orgUnitPath"]
    return (path.casefold().rstrip("/") + "/").startswith(clause.value.rstrip("/") + "/")


_FIELDS: Mapping[str, Callable[[Clause, Mapping[str, Any]], bool]] = {
    "email": _texts(_addresses),
    "externalId": _texts(_external),
    "familyName": _texts(lambda account: (account["name"]["familyName"],)),
    "givenName": _texts(lambda account: (account["name"]["givenName"],)),
    "isAdmin": _flag("isAdmin"),
    "isArchived": _flag("archived"),
    "isDelegatedAdmin": _flag("isDelegatedAdmin"),
    "isEnforcedIn2Sv": _flag("isEnforcedIn2Sv"),
    "isEnrolledIn2Sv": _flag("isEnrolledIn2Sv"),
    "isSuspended": _flag("suspended"),
    "name": _texts(lambda account: (account["name"]["fullName"],)),
    "orgCostCenter": _texts(_organizations("costCenter")),
    "orgDepartment": _texts(_organizations("department")),
    "orgName": _texts(_organizations("name")),
    "orgTitle": _texts(_organizations("title")),
    "orgUnitPath": _in_unit,
}
FIELDS = tuple(sorted(_FIELDS))


@dataclass(frozen=True)
class Search:
    """A whole query."""

    clauses: tuple[Clause, ...]
    address: str | None
    """The address an account must have, when a clause says so: the index finds it."""
    external_id: str | None
    """The same for an external id, as it was written."""

    @staticmethod
    def parsed(text: str) -> Search:
        """Read a query. Raises ApiError 400 for what is none, 501 for what the emulator cannot answer."""
        clauses: list[Clause] = []
        address = external_id = None
        for clause, written in _clauses(text):
            clauses.append(clause)
            whole = not clause.is_prefix
            if clause.field == "email" and whole:
                address = clause.value
            elif clause.field == "externalId" and whole and clause.is_exact:
                external_id = written
        return Search(tuple(clauses), address, external_id)

    def finds(self, answer: bytes) -> bool:
        """Whether every clause holds for an account as it is stored."""
        account = orjson.loads(answer)
        return all(clause.finds(account) for clause in self.clauses)


def _clauses(text: str) -> Iterator[tuple[Clause, str]]:
    """The clauses of a query, each with its value as written."""
    at = 0
    text = text.rstrip()
    if not text or len(text) > _CHARACTERS_MAX:
        raise invalid("Invalid Input: query")
    while at < len(text):
        match = _CLAUSE.match(text, at)
        if match is None:
            raise invalid("Invalid Input: query")
        at = match.end()
        value = match["single"] or match["double"] or match["bare"]
        clause = Clause(match["field"], match["operator"] == "=", bool(match["star"]), value.casefold())
        _check(clause)
        yield clause, value


def _check(clause: Clause) -> None:
    if clause.field not in _FIELDS:
        raise not_offered(f"a search by other fields than {', '.join(FIELDS)}")
    if clause.is_exact and clause.is_prefix:
        raise invalid("Invalid Input: query")
    if clause.field.startswith("is") and clause.value not in ("true", "false"):
        raise invalid("Invalid Input: query")
    if clause.field == "orgUnitPath" and not (clause.is_exact and clause.value.startswith("/")):
        raise invalid("Invalid Input: query")
