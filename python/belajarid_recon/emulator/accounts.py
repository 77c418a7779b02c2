"""The rules of an account's fields: what is accepted, what is derived, how it is written.

Sources: the discovery document's descriptions; Google's pages on user limits and on names (reference, field constraints).
A rule that fails raises ApiError with Google's message; no message repeats a value.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any

import orjson
from xxhash import xxh3_64_hexdigest

from belajarid_recon.emulator.discovery import load_discovery
from belajarid_recon.emulator.replies import ApiError, invalid

ALIASES_MAX = 30
MARKER_TYPE = "recon"
NAME_CHARACTERS_MAX = 60
_DISPLAY_NAME_CHARACTERS_MAX = 256
_LOCAL_PART = re.compile(r"[a-z0-9_'-]+(?:\.[a-z0-9_'-]+)*")
_LOCAL_PART_CHARACTERS_MAX = 64
_RESERVED = frozenset({"abuse", "postmaster"})
_E164 = re.compile(r"\+[1-9]\d{1,14}")
_ADDRESS = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")

_KIB = 1_024
_SIZES_MAX: Mapping[str, int] = {
    "name": _KIB, "externalIds": 2 * _KIB, "relations": 2 * _KIB, "websites": 2 * _KIB, "ims": 2 * _KIB,
    "phones": _KIB, "gender": _KIB, "keywords": _KIB, "languages": _KIB, "organizations": 10 * _KIB,
    "addresses": 10 * _KIB, "emails": 10 * _KIB, "locations": 10 * _KIB,
}  # fmt: skip
"""Bytes of JSON a field may take (discovery document, field descriptions)."""
_INPUT_NAMES: Mapping[str, str] = {"externalIds": "external_ids"}

_DEFAULTS: Mapping[str, Any] = {
    "suspended": False, "archived": False, "changePasswordAtNextLogin": False, "ipWhitelisted": False,
    "includeInGlobalAddressList": True,
}  # fmt: skip
"""What a field is when it was never set, and what null makes of it."""

_HASHES: Mapping[str, re.Pattern[str]] = {
    "MD5": re.compile(r"[0-9a-fA-F]{32}"),
    "SHA-1": re.compile(r"[0-9a-fA-F]{40}"),
    "crypt": re.compile(
        r"[./0-9A-Za-z]{13}"
        r"|\$1\$[^$]{0,8}\$[./0-9A-Za-z]{22}"
        r"|\$5\$(?:rounds=(?P<r5>\d{1,9})\$)?[^$]{0,16}\$[./0-9A-Za-z]{43}"
        r"|\$6\$(?:rounds=(?P<r6>\d{1,9})\$)?[^$]{0,16}\$[./0-9A-Za-z]{86}"
    ),
}
_ROUNDS_MAX = 10_000

DROPPED = load_discovery().read_only_fields("User") | {"id", "isGuestUser", "guestAccountInfo"}
"""Fields a caller may send and that change nothing."""
REPEATED = load_discovery().list_fields()
"""Fields of a User that are lists."""


def checked_local_part(address: str, refused: str = "Invalid Input: primary_user_email") -> tuple[str, str]:
    """The lower-case address and its domain, the local part having passed Google's rules; `refused` is what a bad one is told."""
    folded = address.strip().lower()
    local, at, domain = folded.rpartition("@")
    acceptable = (
        at
        and len(local) <= _LOCAL_PART_CHARACTERS_MAX
        and _LOCAL_PART.fullmatch(local)
        and local not in _RESERVED
        and folded.isascii()
    )
    if not acceptable:
        raise invalid(refused)
    return folded, domain


def check_name(name: Mapping[str, Any]) -> None:
    """Refuse a name object that lacks a part or exceeds a limit."""
    for field, label in (("familyName", "FamilyName"), ("givenName", "GivenName")):
        part = name.get(field)
        if not part or not part.strip() or len(part) > NAME_CHARACTERS_MAX:
            raise invalid(f"Invalid Given/Family Name: {label}")
    if len(name.get("displayName") or "") > _DISPLAY_NAME_CHARACTERS_MAX:
        raise invalid("Invalid Input: display_name")


def checked_password(body: dict[str, Any]) -> str | None:
    """Take the password out of a body and return what is stored for it; None when there is none.

    A hash is stored as it was given, a plain password as a digest. Neither ever leaves the database again.
    """
    password, function = body.pop("password", None), body.pop("hashFunction", None)
    if password is None:
        return None
    if function is None:
        if not 8 <= len(password) <= 100 or not password.isascii() or not password.isprintable():
            raise invalid("Invalid Password")
        return plain_digest(password)
    pattern = _HASHES.get(function)
    if pattern is None:
        raise invalid("Invalid Input: hash_function")
    match = pattern.fullmatch(password)
    if match is None or any(int(rounds) > _ROUNDS_MAX for rounds in match.groupdict().values() if rounds):
        raise invalid("Invalid Password")
    return f"{function}:{password}"


def plain_digest(password: str) -> str:
    """What is stored for a password that was given plain."""
    return "plain:" + blake2b(password.encode(), digest_size=16).hexdigest()


def check_fields(changes: Mapping[str, Any]) -> None:
    """Refuse fields that are too large or malformed; name, address, password and path have their own checks."""
    for field in changes.keys() & _SIZES_MAX.keys():
        if changes[field] is not None and len(orjson.dumps(changes[field])) > _SIZES_MAX[field]:
            raise invalid(f"Invalid Input: {_INPUT_NAMES.get(field, field)}")
    if changes.get("recoveryPhone") and not _E164.fullmatch(changes["recoveryPhone"]):
        raise invalid("Invalid recovery phone.")
    if changes.get("recoveryEmail") and not _ADDRESS.fullmatch(changes["recoveryEmail"]):
        raise invalid("Invalid recovery email.")


def new_account(account_id: str, customer_id: str, created: str) -> dict[str, Any]:
    """An account as it is before its first fields are set."""
    return {
        "kind": "admin#directory#user",
        "id": account_id,
        "primaryEmail": "",
        "name": {},
        "isAdmin": False,
        "isDelegatedAdmin": False,
        "lastLoginTime": "1970-01-01T00:00:00.000Z",
        "creationTime": created,
        "agreedToTerms": False,
        **_DEFAULTS,
        "customerId": customer_id,
        "orgUnitPath": "/",
        "isMailboxSetup": True,
        "isEnrolledIn2Sv": False,
        "isEnforcedIn2Sv": False,
    }


def merge(account: dict[str, Any], changes: Mapping[str, Any], now: str) -> None:
    """Apply checked changes: absent is kept, null is cleared, lists are replaced whole; then derive what follows."""
    for field, value in changes.items():
        if field == "name":
            account["name"] = _merged_name(account["name"], value)
        elif field == "customSchemas":
            merge_custom(account, value)
        elif value is not None:
            account[field] = value
        elif field in _DEFAULTS:
            account[field] = _DEFAULTS[field]
        else:
            account.pop(field, None)
    _stamp(account, "suspended", {"suspensionReason": "ADMIN", "suspensionTime": now})
    _stamp(account, "archived", {"archivalTime": now})


def _merged_name(name: Mapping[str, Any], value: Mapping[str, Any] | None) -> dict[str, Any]:
    merged = {field: part for field, part in {**name, **(value or {})}.items() if part is not None}
    check_name(merged)
    merged["fullName"] = f"{merged['givenName']} {merged['familyName']}"
    return merged


def merge_custom(account: dict[str, Any], value: Mapping[str, Any] | None) -> None:
    """Custom fields: what is not sent stays, null deletes a field, a whole schema, or all (Google: manage-schemas)."""
    merged: dict[str, Any] = {} if value is None else dict(account.get("customSchemas", {}))
    for schema, fields in (value or {}).items():
        kept = {} if fields is None else {**merged.get(schema, {}), **fields}
        merged[schema] = {field: one for field, one in kept.items() if one is not None}
    merged = {schema: fields for schema, fields in merged.items() if fields}
    account.pop("customSchemas", None)
    if merged:
        account["customSchemas"] = merged


def _stamp(account: dict[str, Any], field: str, stamps: Mapping[str, str]) -> None:
    """Fields that stand beside a flag while it is up, written when it goes up."""
    for name, value in stamps.items():
        if account[field]:
            account.setdefault(name, value)
        else:
            account.pop(name, None)


def rendered(account: dict[str, Any]) -> bytes:
    """The account as it goes over the wire, with the addresses Google lists in `emails` and its etag."""
    account.pop("etag", None)
    primary = account["primaryEmail"]
    aliases = account.get("aliases", ())
    account["emails"] = [
        {"address": primary, "primary": True},
        *({"address": alias} for alias in aliases),
        *(entry for entry in account.get("emails", ()) if entry.get("address") not in (None, primary, *aliases)),
    ]
    raw = orjson.dumps(account)
    return b'{"etag":"\\"' + xxh3_64_hexdigest(raw).encode() + b'\\"",' + raw[1:]


def external_values(account: Mapping[str, Any]) -> list[str]:
    """Values of the account's external ids."""
    return [entry["value"] for entry in account.get("externalIds", ()) if entry.get("value")]


def marker_of(account: Mapping[str, Any]) -> str | None:
    """The value of the external id of custom type `recon`, if the account carries one."""
    entries: Iterable[Mapping[str, Any]] = account.get("externalIds") or ()
    for entry in entries:
        if entry.get("type") == "custom" and entry.get("customType") == MARKER_TYPE:
            value = entry.get("value")
            return None if value is None else str(value)
    return None


def set_aliases(account: dict[str, Any], aliases: Sequence[str]) -> None:
    """Give an account exactly these aliases; addresses it loses leave `emails` too."""
    lost = set(account.get("aliases", ())).difference(aliases)
    account["emails"] = [entry for entry in account.get("emails", ()) if entry.get("address") not in lost]
    account["aliases"] = list(aliases)
    if not aliases:
        del account["aliases"]


def check_alias_room(aliases: Sequence[str]) -> None:
    """Refuse one more alias when there are 30 already. A rename needs one too: the old address becomes an alias."""
    if len(aliases) >= ALIASES_MAX:
        raise ApiError(412, "limitExceeded", "User alias limit exceeded.")
