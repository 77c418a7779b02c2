"""Groups and memberships in SQLite. They are searched there: a membership is small, and there are millions.

A member is a number: an account's as it is, a group's from `GROUP_NUMBERS` on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from belajarid_recon.emulator.storage import Storage

GROUP_NUMBERS = 2**53
"""The first number a group can have; accounts stay below."""

_TABLES = """
CREATE TABLE IF NOT EXISTS team (
    number INTEGER PRIMARY KEY, tenant TEXT NOT NULL, id TEXT NOT NULL UNIQUE, email TEXT NOT NULL UNIQUE,
    users INTEGER NOT NULL, body BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS team_email ON team (tenant, email);
CREATE TABLE IF NOT EXISTS membership (
    team INTEGER NOT NULL, member INTEGER NOT NULL, role TEXT NOT NULL, delivery TEXT NOT NULL, PRIMARY KEY (team, member)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS membership_of ON membership (member, team);
"""

_SELECT = "SELECT number, tenant, id, email, users, body FROM team"
_DERIVED = """
WITH RECURSIVE below(team) AS (
    SELECT ? UNION SELECT membership.member FROM membership JOIN below USING (team) WHERE membership.member >= ?
)
SELECT DISTINCT member FROM membership WHERE team IN below AND member > ? ORDER BY member LIMIT ?
"""
_ABOVE = """
WITH RECURSIVE above(number) AS (
    SELECT team FROM membership WHERE member = ? UNION SELECT team FROM membership JOIN above ON member = above.number
)
SELECT number FROM above
"""


@dataclass(slots=True)
class StoredGroup:
    """One group."""

    number: int
    tenant: str
    id: str
    email: str
    users: int
    """Accounts that are direct members."""
    body: dict[str, Any] = field(default_factory=dict)
    """Name, description, aliases, external ids."""

    @property
    def aliases(self) -> list[str]:
        """Its other addresses."""
        found: list[str] = self.body.get("aliases", [])
        return found


@dataclass(frozen=True, slots=True)
class Membership:
    """One member of one group."""

    team: int
    member: int
    role: str
    delivery: str


class GroupStorage:
    """The groups of all tenants."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        storage.open_tables(_TABLES)

    def next_number(self) -> int:
        """A number no group ever had."""
        number = int(self._storage.fact("groups-made", "0"))
        self._storage.set_fact("groups-made", str(number + 1))
        return GROUP_NUMBERS + number

    def all_groups(self) -> Iterator[StoredGroup]:
        """Every group."""
        return (_group(row) for row in self._storage.rows(_SELECT, ()))

    def group(self, number: int) -> StoredGroup | None:
        """The group with this number."""
        return self._one("number = ?", number)

    def group_of_id(self, group_id: str) -> StoredGroup | None:
        """The group with this id."""
        return self._one("id = ?", group_id)

    def _one(self, condition: str, value: int | str) -> StoredGroup | None:
        rows = self._storage.all_rows(f"{_SELECT} WHERE {condition}", (value,))
        return _group(rows[0]) if rows else None

    def groups_of_tenant(self, tenant: str, after: str) -> Iterator[StoredGroup]:
        """A tenant's groups by address, behind one."""
        rows = self._storage.rows(f"{_SELECT} WHERE tenant = ? AND email > ? ORDER BY email", (tenant, after))
        return (_group(row) for row in rows)

    def groups_of_member(self, member: int, after: str) -> Iterator[StoredGroup]:
        """The groups that have this direct member, by address, behind one."""
        rows = self._storage.rows(
            f"{_SELECT} JOIN membership ON team = number WHERE member = ? AND email > ? ORDER BY email", (member, after)
        )
        return (_group(row) for row in rows)

    def put(self, group: StoredGroup) -> None:
        """Store a group in the place of the one with its number."""
        self._storage.write(
            "INSERT INTO team VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (number) DO UPDATE SET email = excluded.email, body = excluded.body",
            (group.number, group.tenant, group.id, group.email, group.users, orjson.dumps(group.body)),
        )

    def drop(self, group: StoredGroup) -> None:
        """Forget a group, its members, and its memberships."""
        self._storage.write("DELETE FROM membership WHERE team = ?", (group.number,))
        self._storage.write("DELETE FROM membership WHERE member = ?", (group.number,))
        self._storage.write("DELETE FROM team WHERE number = ?", (group.number,))

    # Members

    def membership(self, team: int, member: int) -> Membership | None:
        """A direct membership."""
        rows = self._storage.all_rows("SELECT * FROM membership WHERE team = ? AND member = ?", (team, member))
        return Membership(*rows[0]) if rows else None

    def count_groups_of(self, member: int) -> int:
        """How many groups have this direct member."""
        return int(self._storage.all_rows("SELECT count(*) FROM membership WHERE member = ?", (member,))[0][0])

    def members(self, team: int, roles: Sequence[str], after: int, limit: int) -> list[Membership]:
        """Direct members with one of some roles (none named: all), by number."""
        rows = self._storage.all_rows(
            "SELECT * FROM membership WHERE team = ? AND member > ? AND (? = '[]' OR role IN (SELECT value FROM json_each(?)))"
            " ORDER BY member LIMIT ?",
            (team, after, *[orjson.dumps(roles).decode()] * 2, limit),
        )
        return [Membership(*row) for row in rows]

    def derived_members(self, team: int, after: int, limit: int) -> list[int]:
        """Direct and indirect members, each once, by number."""
        rows = self._storage.all_rows(_DERIVED, (team, GROUP_NUMBERS, after, limit))
        return [int(member) for (member,) in rows]

    def groups_above(self, member: int) -> set[int]:
        """Every group a member is in, directly or through others."""
        return {int(number) for (number,) in self._storage.all_rows(_ABOVE, (member,))}

    def put_membership(self, one: Membership) -> None:
        """Store a membership in the place of the one there was."""
        known = self.membership(one.team, one.member) is not None
        self._storage.write(
            "INSERT OR REPLACE INTO membership VALUES (?, ?, ?, ?)", (one.team, one.member, one.role, one.delivery)
        )
        if not known:
            self._count(one.team, one.member, 1)

    def drop_membership(self, team: int, member: int) -> None:
        """Forget a membership that there is."""
        self._storage.write("DELETE FROM membership WHERE team = ? AND member = ?", (team, member))
        self._count(team, member, -1)

    def drop_memberships(self, member: int) -> None:
        """Take a member out of all its groups."""
        for (team,) in self._storage.all_rows("SELECT team FROM membership WHERE member = ?", (member,)):
            self.drop_membership(team, member)

    def _count(self, team: int, member: int, change: int) -> None:
        if member < GROUP_NUMBERS:
            self._storage.write("UPDATE team SET users = users + ? WHERE number = ?", (change, team))


def _group(row: tuple[Any, ...]) -> StoredGroup:
    number, tenant, group_id, email, users, body = row
    return StoredGroup(number, tenant, group_id, email, users, orjson.loads(body))
