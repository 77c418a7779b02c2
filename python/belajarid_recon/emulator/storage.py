"""State in SQLite: the one copy, read and written through one connection.

Writes go into a transaction that stays open until `commit`, which the server calls every few milliseconds; reads on the same connection
see them at once. A kill of the emulator itself loses at most what came after the last commit; a stop loses nothing.
A user's answer is kept as the bytes that are sent, so that reading is copying.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw

from belajarid_recon.errors import SettingsError

FORMAT = 1
WRITES_MAX = 5_000
"""Writes a transaction may hold before it is committed without waiting for the clock."""

_TABLES = """
CREATE TABLE IF NOT EXISTS fact (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS user (
    number INTEGER PRIMARY KEY, tenant TEXT NOT NULL, domain TEXT NOT NULL, email TEXT NOT NULL, deleted_at REAL,
    marker TEXT, password TEXT, answer BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS user_live ON user (domain, email) WHERE deleted_at IS NULL;
CREATE INDEX IF NOT EXISTS user_deleted ON user (domain, email, number) WHERE deleted_at IS NOT NULL;
CREATE TABLE IF NOT EXISTS address (
    address TEXT PRIMARY KEY, number INTEGER NOT NULL, alias INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS external (
    tenant TEXT NOT NULL, value TEXT NOT NULL, number INTEGER NOT NULL, PRIMARY KEY (tenant, value, number)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS orgunit (
    tenant TEXT NOT NULL, folded TEXT NOT NULL, path TEXT NOT NULL, id TEXT NOT NULL UNIQUE, parent_id TEXT NOT NULL,
    description TEXT NOT NULL, PRIMARY KEY (tenant, folded)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS token (
    digest BLOB PRIMARY KEY, tenant TEXT NOT NULL, scopes TEXT NOT NULL, expires_at REAL NOT NULL
) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class StoredUser:
    """One row of `user`."""

    number: int
    tenant: str
    domain: str
    email: str
    deleted_at: float | None
    marker: str | None
    answer: bytes


_COLUMNS = "number, tenant, domain, email, deleted_at, marker, answer"


class Storage:
    """The database of one folder. Not for more than one thread or process."""

    def __init__(self, file: Path) -> None:
        self._database = apsw.Connection(str(file))
        # OFF: a kill of the process loses nothing that was committed; only a power cut could, and this is an emulator.
        self._database.execute(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF; PRAGMA wal_autocheckpoint=8000; PRAGMA cache_size=-131072"
        )
        self._database.execute(_TABLES)
        self._writes = 0
        self.on_first_write: Callable[[], None] = lambda: None
        """Called when a transaction is opened; the server then sets its timer."""
        if self.fact("format", str(FORMAT)) != str(FORMAT):
            raise SettingsError(
                f"the emulator's folder has another format: {file.parent}", hint="delete it, or use another folder"
            )

    def close(self) -> None:
        """Commit and close."""
        self.commit()
        self._database.close()

    @property
    def has_writes(self) -> bool:
        """Whether something was written since the last commit."""
        return self._writes > 0

    def commit(self) -> None:
        """Make every write so far durable."""
        if self._writes:
            self._writes = 0
            self._database.execute("COMMIT")

    def _write(self, statement: str, values: tuple[Any, ...]) -> None:
        if not self._writes:
            self._database.execute("BEGIN IMMEDIATE")
            self.on_first_write()
        elif self._writes >= WRITES_MAX:
            self.commit()
            self._database.execute("BEGIN IMMEDIATE")
        self._writes += 1
        self._database.execute(statement, values)

    # Facts

    def fact(self, name: str, default: str) -> str:
        """A single value kept under a name; `default` is stored when there is none yet."""
        for (value,) in self._database.execute("SELECT value FROM fact WHERE name = ?", (name,)):
            return str(value)
        self.set_fact(name, default)
        return default

    def set_fact(self, name: str, value: str) -> None:
        """Keep a single value under a name."""
        self._write("INSERT OR REPLACE INTO fact VALUES (?, ?)", (name, value))

    # Users

    def last_number(self) -> int:
        """The highest account number ever given; 0 when there is none."""
        for (number,) in self._database.execute("SELECT max(number) FROM user"):
            return int(number or 0)
        return 0

    def add_user(self, user: StoredUser, password: str | None) -> None:
        """Store a new account. Its addresses and external ids are added apart."""
        self._write(
            "INSERT INTO user VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                user.number, user.tenant, user.domain, user.email, user.deleted_at, user.marker, password, user.answer,
            ),
        )  # fmt: skip

    def change_user(self, user: StoredUser, password: str | None) -> None:
        """Replace what an update may change; a password of None stays."""
        self._write(
            "UPDATE user SET domain = ?, email = ?, deleted_at = ?, answer = ?, password = coalesce(?, password)"
            " WHERE number = ?",
            (user.domain, user.email, user.deleted_at, user.answer, password, user.number),
        )

    def user(self, number: int) -> StoredUser | None:
        """The account with this number, deleted or not."""
        return self._one_user("WHERE number = ?", (number,))

    def user_at(self, address: str) -> StoredUser | None:
        """The live account that has this address, as primary one or alias."""
        return self._one_user("WHERE number = (SELECT number FROM address WHERE address = ?)", (address,))

    def _one_user(self, condition: str, values: tuple[Any, ...]) -> StoredUser | None:
        for row in self._database.execute(f"SELECT {_COLUMNS} FROM user {condition}", values):  # noqa: S608 - constants
            return StoredUser(*row)
        return None

    def live_users(self, domain: str, after: str, limit: int) -> list[StoredUser]:
        """Live accounts of a domain by primary address, those behind `after` only."""
        rows = self._database.execute(
            f"SELECT {_COLUMNS} FROM user WHERE domain = ? AND deleted_at IS NULL AND email > ?"  # noqa: S608
            " ORDER BY email LIMIT ?",
            (domain, after, limit),
        )
        return [StoredUser(*row) for row in rows]

    def deleted_users(self, domain: str, after: tuple[str, int], since: float, limit: int) -> list[StoredUser]:
        """Accounts of a domain deleted at `since` or later, by address and number, those behind `after` only."""
        rows = self._database.execute(
            f"SELECT {_COLUMNS} FROM user WHERE domain = ? AND deleted_at IS NOT NULL AND deleted_at >= ?"  # noqa: S608
            " AND (email, number) > (?, ?) ORDER BY email, number LIMIT ?",
            (domain, since, *after, limit),
        )
        return [StoredUser(*row) for row in rows]

    def users_with_external_id(self, tenant: str, value: str, limit: int) -> list[StoredUser]:
        """Live accounts of a tenant that carry this external id, by primary address."""
        rows = self._database.execute(
            f"SELECT {_COLUMNS} FROM user WHERE deleted_at IS NULL AND number IN"  # noqa: S608
            " (SELECT number FROM external WHERE tenant = ? AND value = ?) ORDER BY email LIMIT ?",
            (tenant, value, limit),
        )
        return [StoredUser(*row) for row in rows]

    def all_users(self, tenant: str, after: int, limit: int) -> list[StoredUser]:
        """Accounts of a tenant in the order they were made, deleted ones included."""
        rows = self._database.execute(
            f"SELECT {_COLUMNS} FROM user WHERE number > ? AND tenant = ? ORDER BY number LIMIT ?",  # noqa: S608
            (after, tenant, limit),
        )
        return [StoredUser(*row) for row in rows]

    def inserts_by_marker(self, tenant: str) -> dict[str, int]:
        """How often an account was ever made with each marker."""
        rows = self._database.execute(
            "SELECT marker, count(*) FROM user WHERE tenant = ? AND marker IS NOT NULL GROUP BY marker", (tenant,)
        )
        return dict(iter(rows))

    def count_live(self, tenant: str) -> int:
        """Live accounts of a tenant."""
        for (count,) in self._database.execute(
            "SELECT count(*) FROM user WHERE tenant = ? AND deleted_at IS NULL", (tenant,)
        ):
            return int(count)
        return 0

    # Addresses and external ids

    def address_taken(self, address: str) -> bool:
        """Whether a live account has this address."""
        return any(True for _ in self._database.execute("SELECT 1 FROM address WHERE address = ?", (address,)))

    def aliases(self, number: int, addresses: Iterable[str]) -> Iterator[str]:
        """Those of `addresses` that are aliases of the account, for consistency checks."""
        for address in addresses:
            yield from (
                str(found)
                for (found,) in self._database.execute(
                    "SELECT address FROM address WHERE address = ? AND number = ? AND alias", (address, number)
                )
            )

    def put_address(self, address: str, number: int, *, alias: bool) -> None:
        """Give an address to an account, or change what it is to it."""
        self._write("INSERT OR REPLACE INTO address VALUES (?, ?, ?)", (address, number, alias))

    def drop_addresses(self, addresses: Iterable[str]) -> None:
        """Free addresses."""
        for address in addresses:
            self._write("DELETE FROM address WHERE address = ?", (address,))

    def put_external_ids(self, tenant: str, number: int, values: Iterable[str]) -> None:
        """Make external ids searchable."""
        for value in values:
            self._write("INSERT OR IGNORE INTO external VALUES (?, ?, ?)", (tenant, value, number))

    def drop_external_ids(self, tenant: str, number: int, values: Iterable[str]) -> None:
        """Forget external ids."""
        for value in values:
            self._write("DELETE FROM external WHERE tenant = ? AND value = ? AND number = ?", (tenant, value, number))

    # Organisational units

    def orgunits(self, tenant: str) -> Iterator[tuple[str, str, str, str]]:
        """Path, id, parent's id and description of every unit of a tenant."""
        yield from self._database.execute(
            "SELECT path, id, parent_id, description FROM orgunit WHERE tenant = ?", (tenant,)
        )

    def add_orgunit(self, tenant: str, row: tuple[str, str, str, str, str]) -> None:
        """Store a unit: folded path, path, id, parent's id, description."""
        self._write("INSERT INTO orgunit VALUES (?, ?, ?, ?, ?, ?)", (tenant, *row))

    # Access tokens

    def add_token(self, digest: bytes, tenant: str, scopes: str, expires_at: float) -> None:
        """Remember an access token by its digest."""
        self._write("INSERT INTO token VALUES (?, ?, ?, ?)", (digest, tenant, scopes, expires_at))

    def token(self, digest: bytes) -> tuple[str, str, float] | None:
        """Tenant, scopes and expiry of an access token."""
        for row in self._database.execute("SELECT tenant, scopes, expires_at FROM token WHERE digest = ?", (digest,)):
            return str(row[0]), str(row[1]), float(row[2])
        return None

    def forget_tokens(self, before: float) -> None:
        """Drop access tokens that expired before this emulated instant."""
        self._write("DELETE FROM token WHERE expires_at < ?", (before,))
