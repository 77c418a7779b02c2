"""State in SQLite, through one connection; what is searched by is in `index`.

Writes go into a transaction that stays open until `commit`, which the server calls in the next turn of its loop; reads on the same
connection see them at once, and no answer leaves before the commit. So a kill of the emulator loses nothing that was answered.
A user's answer is kept as the bytes that are sent, so that reading is copying.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import apsw
import orjson

from belajarid_recon.errors import SettingsError

FORMAT = 2

_PRAGMAS = """
PRAGMA locking_mode=EXCLUSIVE;
PRAGMA journal_mode=WAL;
PRAGMA synchronous=OFF;
PRAGMA wal_autocheckpoint=8000;
PRAGMA cache_size=-65536;
"""
# EXCLUSIVE: the folder's lock keeps others out already. OFF: a kill of the process loses nothing that was committed;
# only a power cut could, and this is an emulator.

_TABLES = """
CREATE TABLE IF NOT EXISTS fact (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS user (
    number INTEGER PRIMARY KEY, tenant TEXT NOT NULL, email TEXT NOT NULL, deleted_at REAL, marker TEXT, password TEXT,
    answer BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS user_deleted ON user (tenant, email, number) WHERE deleted_at IS NOT NULL;
CREATE TABLE IF NOT EXISTS orgunit (
    tenant TEXT NOT NULL, folded TEXT NOT NULL, path TEXT NOT NULL, id TEXT NOT NULL UNIQUE, parent_id TEXT NOT NULL,
    description TEXT NOT NULL, PRIMARY KEY (tenant, folded)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS token (
    digest BLOB PRIMARY KEY, tenant TEXT NOT NULL, scopes TEXT NOT NULL, expires_at REAL NOT NULL, user TEXT NOT NULL
) WITHOUT ROWID;
"""


@dataclass(slots=True)
class StoredUser:
    """One row of `user`, without its password."""

    number: int
    tenant: str
    email: str
    deleted_at: float | None
    marker: str | None
    """The marker users.insert made it with; None when it had none or was planted."""
    answer: bytes

    @property
    def domain(self) -> str:
        """The domain of its primary address."""
        return self.email.rpartition("@")[2]


class StoredToken(NamedTuple):
    """One row of `token`, without its digest."""

    tenant: str
    scopes: str
    expires_at: float
    user: str
    """Empty for a token of a folder's first format: then it is the service account's."""


_SELECT_USER = "SELECT number, tenant, email, deleted_at, marker, answer FROM user"


class Storage:
    """The database of one folder. Not for more than one thread or process."""

    def __init__(self, file: Path) -> None:
        self._database = apsw.Connection(str(file))
        # Fetched to the end: apsw stops behind each row, and a PRAGMA answers with one.
        self._database.execute(_PRAGMAS).fetchall()
        self._database.execute(_TABLES)
        self._writes = 0
        self.on_first_write: Callable[[], None] = lambda: None
        """Called when a transaction is opened; the server then sees to its commit."""
        self.on_change: Callable[[StoredUser | None, StoredUser], None] | None = None
        """Told of every account that is made (None before) or changed, if somebody asked to be."""
        self._check_format(file.parent)

    def _check_format(self, folder: Path) -> None:
        """Bring a folder of the first format, whose tokens named no user, to this one. Raises SettingsError for any other."""
        found = self.fact("format", str(FORMAT))
        if found == "1":
            self._write("ALTER TABLE token ADD COLUMN user TEXT NOT NULL DEFAULT ''", ())
            self.set_fact("format", str(FORMAT))
        elif found != str(FORMAT):
            raise SettingsError(
                f"the emulator's folder has another format: {folder}", hint="delete it, or use another folder"
            )

    def close(self) -> None:
        """Commit and close."""
        self.commit()
        self._database.close()

    def commit(self) -> None:
        """Make every write so far durable."""
        if self._writes:
            self._database.execute("COMMIT")
            self._writes = 0

    def abandon(self) -> None:
        """Undo every write since the last commit, as far as SQLite has not done so itself."""
        self._writes = 0
        if self._database.in_transaction:
            self._database.execute("ROLLBACK")

    def _write(self, statement: str, values: tuple[Any, ...]) -> None:
        if not self._writes:
            self._database.execute("BEGIN IMMEDIATE")
            self.on_first_write()
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

    def add_user(self, user: StoredUser, password: str | None) -> None:
        """Store a new account."""
        if self.on_change is not None:
            self.on_change(None, user)
        self._write(
            "INSERT INTO user VALUES (?, ?, ?, ?, ?, ?, ?)",
            (user.number, user.tenant, user.email, user.deleted_at, user.marker, password, user.answer),
        )

    def change_user(self, user: StoredUser, password: str | None) -> None:
        """Replace what an update may change; a password of None stays."""
        if self.on_change is not None:
            self.on_change(self.user(user.number), user)
        self._write(
            "UPDATE user SET email = ?, deleted_at = ?, answer = ?, password = coalesce(?, password) WHERE number = ?",
            (user.email, user.deleted_at, user.answer, password, user.number),
        )

    def put_user_back(self, user: StoredUser, password: str | None) -> None:
        """Make an account what it was, its password too."""
        self.drop_user(user.number)
        self.add_user(user, password)

    def drop_user(self, number: int) -> None:
        """Take an account out as if it had never been."""
        self._write("DELETE FROM user WHERE number = ?", (number,))

    def user(self, number: int) -> StoredUser | None:
        """The account with this number, deleted or not."""
        for row in self._database.execute(f"{_SELECT_USER} WHERE number = ?", (number,)):
            return StoredUser(*row)
        return None

    def users(self, numbers: Sequence[int]) -> list[StoredUser]:
        """The accounts with these numbers, in their order."""
        rows = self._database.execute(
            f"{_SELECT_USER.replace('FROM', 'FROM json_each(?) AS wanted JOIN')} ON number = wanted.value"
            " ORDER BY wanted.key",
            (orjson.dumps(numbers).decode(),),
        )
        return [StoredUser(*row) for row in rows]

    def password(self, number: int) -> str | None:
        """What is stored for an account's password; None when it never had one."""
        for (password,) in self._database.execute("SELECT password FROM user WHERE number = ?", (number,)):
            return None if password is None else str(password)
        return None

    def deleted_users(self, tenant: str, after: tuple[str, int], since: float) -> Iterator[StoredUser]:
        """A tenant's accounts deleted at `since` or later, by address and number, those behind `after` only."""
        rows = self._database.execute(
            f"{_SELECT_USER} WHERE tenant = ? AND deleted_at IS NOT NULL AND deleted_at >= ? AND (email, number) > (?, ?)"
            " ORDER BY email, number",
            (tenant, since, *after),
        )
        return (StoredUser(*row) for row in rows)

    def all_users(self) -> Iterator[StoredUser]:
        """Every account in the order they were made, deleted ones included. Nothing may be written meanwhile."""
        return (StoredUser(*row) for row in self._database.execute(f"{_SELECT_USER} ORDER BY number"))

    def users_from(self, tenant: str, after: int, limit: int) -> list[StoredUser]:
        """Accounts of a tenant behind a number, in the order they were made, deleted ones included."""
        rows = self._database.execute(
            f"{_SELECT_USER} WHERE number > ? AND tenant = ? ORDER BY number LIMIT ?", (after, tenant, limit)
        )
        return [StoredUser(*row) for row in rows]

    def inserts_by_marker(self, tenant: str) -> dict[str, int]:
        """How often an account was ever made with each marker."""
        rows = self._database.execute(
            "SELECT marker, count(*) FROM user WHERE tenant = ? AND marker IS NOT NULL GROUP BY marker", (tenant,)
        )
        return dict(iter(rows))

    # Organisational units

    def orgunits(self, tenant: str) -> Iterator[tuple[str, str, str, str]]:
        """Path, id, parent's id and description of every unit of a tenant."""
        yield from self._database.execute(
            "SELECT path, id, parent_id, description FROM orgunit WHERE tenant = ?", (tenant,)
        )

    def add_orgunit(self, tenant: str, row: tuple[str, str, str, str, str]) -> None:
        """Store a unit: folded path, path, id, parent's id, description."""
        self._write("INSERT INTO orgunit VALUES (?, ?, ?, ?, ?, ?)", (tenant, *row))

    def drop_orgunit(self, unit_id: str) -> None:
        """Forget a unit."""
        self._write("DELETE FROM orgunit WHERE id = ?", (unit_id,))

    # Access tokens

    def add_token(self, digest: bytes, token: StoredToken) -> None:
        """Remember an access token by its digest."""
        self._write("INSERT INTO token VALUES (?, ?, ?, ?, ?)", (digest, *token))

    def token(self, digest: bytes) -> StoredToken | None:
        """What an access token stands for."""
        statement = "SELECT tenant, scopes, expires_at, user FROM token WHERE digest = ?"
        for row in self._database.execute(statement, (digest,)):
            return StoredToken(*row)
        return None

    def drop_token(self, digest: bytes) -> None:
        """Forget one access token."""
        self._write("DELETE FROM token WHERE digest = ?", (digest,))

    def forget_tokens(self, before: float) -> None:
        """Drop access tokens that expired before this emulated instant."""
        self._write("DELETE FROM token WHERE expires_at < ?", (before,))

    # Tables that other modules keep

    def open_tables(self, statements: str) -> None:
        """Make tables that are not there yet."""
        self._database.execute(statements)

    def write(self, statement: str, values: tuple[Any, ...]) -> None:
        """Carry out one statement that writes."""
        self._write(statement, values)

    def rows(self, statement: str, values: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
        """The rows a statement finds, as they are asked for. Nothing may be written meanwhile."""
        return iter(self._database.execute(statement, values))

    def all_rows(self, statement: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """The rows a statement finds."""
        return self._database.execute(statement, values).fetchall()
