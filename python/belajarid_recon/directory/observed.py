"""From accounts as the Directory API writes them to columns of schemas.OBSERVED, a page at a time."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import polars as pl

from belajarid_recon.directory.interface import Account
from belajarid_recon.errors import DirectoryError
from belajarid_recon.schemas import DELETED, JENJANG_CODE, OBSERVED, Jenjang

_MARKER = re.compile(rf"[0-9a-f]{{32}}\.(?:{'|'.join(JENJANG_CODE)})")
FINDING_MALFORMED = "malformed-marker"
FINDING_FOREIGN = "marker-of-another-jenjang"
FINDING_SEVERAL = "several-markers"


def read_marker(external_ids: Iterable[Mapping[str, Any]] | None) -> tuple[str | None, str]:
    """The account's marker as it is written there, and a finding: a word for why one was not taken, or nothing.

    The one reader of markers. A marker is `<32 lower-case hexadecimal digits>.<jenjang>` with type custom and customType
    recon. One that is damaged or not alone proves nothing: the account counts as unmarked, so that nothing touches it.
    """
    values = [
        entry.get("value")
        for entry in external_ids or ()
        if entry.get("customType") == "recon" and entry.get("type") == "custom"
    ]
    if not values:
        return None, ""
    if len(values) > 1:
        return None, FINDING_SEVERAL
    value = values[0]
    if not isinstance(value, str) or _MARKER.fullmatch(value) is None:
        return None, FINDING_MALFORMED
    return value, ""


def account_key_of(external_ids: Iterable[Mapping[str, Any]] | None, jenjang: Jenjang) -> tuple[bytes | None, str]:
    """The account key that an account's marker stands for, and a finding as `read_marker` gives it.

    A marker of another jenjang proves nothing either.
    """
    marker, finding = read_marker(external_ids)
    if marker is None:
        return None, finding
    digits, _, named = marker.partition(".")
    if named != jenjang:
        return None, FINDING_FOREIGN
    return bytes.fromhex(digits) + bytes((JENJANG_CODE[jenjang],)), ""


def carries_marker(account: Account, marker: str) -> bool:
    """Whether the account carries exactly this marker of ours."""
    return read_marker(account.get("externalIds"))[0] == marker


def shows_marker(account: Account) -> bool:
    """Whether something stands where our marker does, be it another one, damaged, or several."""
    return read_marker(account.get("externalIds")) != (None, "")


def npsn_of(organizations: Iterable[Mapping[str, Any]] | None) -> str | None:
    """The cost centre of the account's primary organisation, or of its first."""
    first = None
    for organization in organizations or ():
        npsn = organization.get("costCenter")
        if organization.get("primary") and npsn is not None:
            return str(npsn)
        if first is None and npsn is not None:
            first = str(npsn)
    return first


class ObservedColumns:
    """Columns that grow by a page. Lists, not rows: one dictionary an account is enough of them."""

    def __init__(self, jenjang: Jenjang) -> None:
        self._jenjang = jenjang
        self._columns = _empty_columns()
        self._read_at: list[pl.Series] = []
        """A series a page: an instant each for every row would take longer than the rest of a page."""
        self._deleted: list[tuple[Any, ...]] = []
        self.findings: Counter[str] = Counter()
        self.user_ids: list[str] = []
        """Local parts in sight: primary addresses and aliases."""

    def __len__(self) -> int:
        return len(self._columns["id"])

    def add(self, accounts: list[dict[str, Any]], read_at: datetime) -> None:
        """Add one page. Raises DirectoryError when an account has no id or no address: such a list cannot be trusted."""
        columns = self._columns
        try:
            addresses = [account["primaryEmail"].lower().rpartition("@") for account in accounts]
            columns["id"] += [account["id"] for account in accounts]
        except (KeyError, AttributeError) as error:
            raise DirectoryError(f"a listed account has no id or no address: tenant {self._jenjang}") from error
        columns["account_key"] += [self._key(account.get("externalIds")) for account in accounts]
        columns["user_id"] += [local for local, _, _ in addresses]
        columns["domain"] += [domain for _, _, domain in addresses]
        names = [account.get("name") or {} for account in accounts]
        columns["given_name"] += [name.get("givenName") for name in names]
        columns["family_name"] += [name.get("familyName") for name in names]
        columns["ou_path"] += [account.get("orgUnitPath") for account in accounts]
        columns["npsn"] += [npsn_of(account.get("organizations")) for account in accounts]
        columns["listed"] += [account.get("includeInGlobalAddressList", True) for account in accounts]
        columns["suspended"] += [account.get("suspended", False) for account in accounts]
        columns["is_admin"] += [bool(account.get("isAdmin") or account.get("isDelegatedAdmin")) for account in accounts]
        columns["aliases"] += [
            " ".join(sorted(map(str.lower, account.get("aliases") or ()))) or None for account in accounts
        ]
        # Whether there is a way of recovery, and no more: the owner's address and number are nobody's business here.
        columns["has_recovery_email"] += [bool(account.get("recoveryEmail")) for account in accounts]
        columns["has_recovery_phone"] += [bool(account.get("recoveryPhone")) for account in accounts]
        self._read_at.append(pl.repeat(read_at, len(accounts), dtype=OBSERVED["read_at"], eager=True))
        self.user_ids += [local for local, _, _ in addresses]
        self.user_ids += alias_local_parts(accounts)

    def add_deleted(self, accounts: list[dict[str, Any]]) -> None:
        """Add one page of a list of deleted accounts. Raises DirectoryError as `add` does."""
        for account in accounts:
            try:
                user_id, _, domain = account["primaryEmail"].lower().rpartition("@")
                row = (self._key(account.get("externalIds")), str(self._jenjang), account["id"], user_id, domain)
            except (KeyError, AttributeError) as error:
                raise DirectoryError(f"a deleted account has no id or no address: tenant {self._jenjang}") from error
            self._deleted.append(row)
            self.user_ids.append(user_id)
        self.user_ids += alias_local_parts(accounts)

    def _key(self, external_ids: Iterable[Mapping[str, Any]] | None) -> bytes | None:
        key, finding = account_key_of(external_ids, self._jenjang)
        if finding:
            self.findings[finding] += 1
        return key

    def take_frame(self) -> pl.DataFrame:
        """The rows so far as schemas.OBSERVED; the columns start again empty."""
        rows = pl.DataFrame(self._columns, schema={name: OBSERVED[name] for name in self._columns})
        read_at = pl.concat([pl.Series(dtype=OBSERVED["read_at"]), *self._read_at])
        self._columns, self._read_at = _empty_columns(), []
        return rows.with_columns(tenant=pl.lit(str(self._jenjang)), read_at=read_at).select(OBSERVED.names())

    def take_deleted(self) -> pl.DataFrame:
        """The deleted accounts so far as schemas.DELETED; the list starts again empty."""
        rows, self._deleted = self._deleted, []
        return pl.DataFrame(rows, schema=DELETED, orient="row")

    def take_user_ids(self) -> list[str]:
        """The local parts so far; the list starts again empty."""
        user_ids, self.user_ids = self.user_ids, []
        return user_ids


def _empty_columns() -> dict[str, list[Any]]:
    return {name: [] for name in OBSERVED if name not in ("tenant", "read_at")}


def alias_local_parts(accounts: list[dict[str, Any]]) -> list[str]:
    """Local parts of the accounts' other addresses, lower case: aliases, and aliases Google derives."""
    return [
        alias.lower().rpartition("@")[0]
        for account in accounts
        for kind in ("aliases", "nonEditableAliases")
        for alias in account.get(kind) or ()
    ]
