"""Requests made from steps, and what a read answers about them: is it done, is it as before, is it an administrator's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b
from typing import Any, NamedTuple, Protocol

import orjson
import polars as pl

from belajarid_recon.directory.groups import group_marker_of
from belajarid_recon.directory.interface import Account
from belajarid_recon.directory.observed import npsn_of
from belajarid_recon.schemas import ACCOUNT_ATTRIBUTES, Action

CONTAINER_ACTIONS = (Action.CREATE_ORGUNIT, Action.CREATE_GROUP)
"""Sent before all others, one at a time."""
FINGERPRINT_BYTES = 16
CONTACT_FIELDS = ("recoveryEmail", "recoveryPhone")
EVERY = pl.lit(value=True)
NO_CONTACTS = {"has_recovery_email": False, "has_recovery_phone": False}


class Step(NamedTuple):
    """One row of schemas.STEP, its columns in order."""

    step: int
    tenant: str
    action: str
    step_class: str
    reason: str
    account_key: bytes | None
    marker: str | None
    target_id: str | None
    address: str | None
    given_name: str | None
    family_name: str | None
    ou_path: str | None
    npsn: str | None
    listed: bool | None
    suspended: bool | None
    alias: str | None
    group_name: str | None
    member_id: str | None
    before: str | None
    recovery: str | None
    kode_kabkota: str | None
    held_by: str | None

    @property
    def is_creation(self) -> bool:
        """Whether it makes an account."""
        return self.action == Action.CREATE

    @property
    def is_container(self) -> bool:
        """Whether it makes what later steps put accounts into."""
        return self.action in CONTAINER_ACTIONS


def read_steps(pieces: Iterable[pl.DataFrame], condition: pl.Expr = EVERY) -> Iterator[Step]:
    """Steps (schemas.STEP, in pieces) that no guard holds and that meet `condition`, in their order."""
    for rows in pieces:
        yield from map(Step._make, rows.filter(pl.col("held_by").is_null() & condition).iter_rows())


def insert_body(step: Step) -> dict[str, Any]:
    """users.insert for a creation, without its password.

    Field names: discovery document admin directory_v1, schema User. The marker is part of the insert itself, so an account of
    ours never stands without it.
    """
    body: dict[str, Any] = {
        "primaryEmail": step.address,
        "name": {"givenName": step.given_name, "familyName": step.family_name},
        "orgUnitPath": step.ou_path,
        "externalIds": [{"type": "custom", "customType": "recon", "value": step.marker}],
        "changePasswordAtNextLogin": True,
    }
    if step.npsn is not None:
        body["organizations"] = [{"costCenter": step.npsn, "primary": True}]
    if step.listed is not None:
        body["includeInGlobalAddressList"] = step.listed
    return body


def update_body(step: Step) -> dict[str, Any]:
    """users.update: the attributes the step writes, as absolute values. The name goes whole, because the directory replaces it whole.

    `completed` adds what only the account itself says.
    """
    body: dict[str, Any] = {}
    if step.address is not None:
        body["primaryEmail"] = step.address
    if step.given_name is not None or step.family_name is not None:
        body["name"] = {"givenName": step.given_name, "familyName": step.family_name}
    if step.ou_path is not None:
        body["orgUnitPath"] = step.ou_path
    if step.npsn is not None:
        body["organizations"] = [{"costCenter": step.npsn, "primary": True}]
    if step.listed is not None:
        body["includeInGlobalAddressList"] = step.listed
    if step.suspended is not None:
        body["suspended"] = step.suspended
    return body


def completed(step: Step, body: dict[str, Any], account: Account) -> dict[str, Any]:
    """The update `body` as the account just read needs it.

    The directory replaces `organizations` whole, and titles and departments that somebody entered stand there: what was read
    goes back with the cost centre of the primary entry changed, or of the first, where `npsn_of` looks for it. A recovery contact
    that has come since the plan stays: it may be the owner's.
    """
    body = {name: value for name, value in body.items() if not (name in CONTACT_FIELDS and account.get(name))}
    if step.npsn is None:
        return body
    entries = [dict(entry) for entry in account.get("organizations") or ({"primary": True},)]
    chosen = next((entry for entry in entries if entry.get("primary")), entries[0])
    chosen["costCenter"] = step.npsn
    return body | {"organizations": entries}


class Contacts(Protocol):
    """Where the recovery contacts are that steps write (plan.contacts)."""

    def of(self, step: int) -> tuple[str | None, str | None]:
        """Address and phone of a step that writes at least one of them."""
        ...


def contact_fields(step: Step, contacts: Contacts) -> dict[str, str]:
    """The recovery contacts the step writes, as fields of its request."""
    if step.recovery is None:
        return {}
    pairs = zip(CONTACT_FIELDS, contacts.of(step.step), strict=True)
    return {name: value for name, value in pairs if value is not None}


def orgunit_body(step: Step) -> dict[str, Any]:
    """orgunits.insert: the unit's name and its parent's path."""
    parent, _, name = (step.ou_path or "").rpartition("/")
    return {"parentOrgUnitPath": parent or "/", "name": name}


def group_body(step: Step) -> dict[str, Any]:
    """groups.insert. A group has no external ids: its marker stands in the description, where people can read what it is for."""
    return {
        "email": step.address,
        "name": step.group_name,
        "description": f"Dikelola otomatis oleh belajar.id ({step.marker})",
    }


def carries_group_marker(group: Mapping[str, Any], marker: str | None) -> bool:
    """Whether the group is the one that our step with this marker makes."""
    return marker is not None and group_marker_of(group) == marker


def fingerprint(step: Step, body: dict[str, Any]) -> str:
    """What ties an intent to its request: a keyless hash over target and body, as the plan alone makes it.

    Take it before a password and contacts are put in and before `completed`: a resumed step has the same then, and nobody finds a
    number by trying them all.
    """
    content = orjson.dumps([step.action, step.target_id, body], option=orjson.OPT_SORT_KEYS)
    return blake2b(content, digest_size=FINGERPRINT_BYTES).hexdigest()


def desired_attributes(step: Step) -> dict[str, Any]:
    """What the step writes, by attribute (schemas.ACCOUNT_ATTRIBUTES), with the local part of an address as `user_id`.

    Of a recovery contact, whether there is one: whoever put it there, nothing is left to do.
    """
    values = {name: getattr(step, name) for name in ACCOUNT_ATTRIBUTES if name != "domain"}
    if step.address is not None:
        values["user_id"], _, values["domain"] = step.address.lower().partition("@")
    if step.is_creation:
        values["suspended"] = False
    values |= {f"has_recovery_{word}": True for word in (step.recovery or "").split(",") if word}
    return {name: value for name, value in values.items() if value is not None}


def attributes_of(account: Account) -> dict[str, Any]:
    """The same attributes as the directory answers them, with its defaults."""
    name = account.get("name") or {}
    user_id, _, domain = str(account.get("primaryEmail", "")).lower().partition("@")
    return {
        "user_id": user_id,
        "domain": domain,
        "given_name": name.get("givenName"),
        "family_name": name.get("familyName"),
        "ou_path": account.get("orgUnitPath"),
        "npsn": npsn_of(account.get("organizations")),
        "listed": account.get("includeInGlobalAddressList", True),
        "suspended": account.get("suspended", False),
        "has_recovery_email": bool(account.get("recoveryEmail")),
        "has_recovery_phone": bool(account.get("recoveryPhone")),
    }


def differing(step: Step, account: Account) -> tuple[str, ...]:
    """Names of the attributes that the step writes and of which the account has another value."""
    there = attributes_of(account)
    names = [name for name, value in desired_attributes(step).items() if there[name] != value]
    if step.alias is not None and has_alias(account, step.alias) is not (step.action == Action.ADD_ALIAS):
        names.append("aliases")
    return tuple(names)


def has_alias(account: Account, alias: str) -> bool:
    """Whether the account has this address beside its primary one."""
    return alias.lower() in {str(held).lower() for held in account.get("aliases") or ()}


def carries_step(step: Step, account: Account) -> bool:
    """Whether the account has every value the step writes."""
    return not differing(step, account)


def stands_before(step: Step, account: Account) -> bool:
    """Whether each attribute the step writes has either its new value or the one the plan saw: nobody else changed it.

    The local part of an address has one value only, because no step changes it. A recovery contact was not there.
    """
    before = orjson.loads(step.before or "{}") | NO_CONTACTS
    there = attributes_of(account)
    return all(
        there[name] == value or (name in before and there[name] == before[name])
        for name, value in desired_attributes(step).items()
    )


def is_administrator(account: Account) -> bool:
    """Whether it has rights over others, as schemas.OBSERVED counts them."""
    return bool(account.get("isAdmin") or account.get("isDelegatedAdmin"))
