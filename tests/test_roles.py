"""Which groups make administrators of their members: those that hold a role, and all that are inside them."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from belajarid_recon.directory import roles
from belajarid_recon.directory.interface import MemberPage, RoleHolderPage, StaleTokenError
from belajarid_recon.directory.roles import groups_with_a_role
from belajarid_recon.errors import DirectoryError
from directory_server import directory_at, error, reply, scripted


@dataclass
class Nested:
    """Groups in groups, in pages of one."""

    holders: list[str]
    inside: dict[str, list[str]]
    stale: int = 0
    asked_for: list[str] = field(default_factory=list)
    tenant: str = "sd"

    def list_role_holders(self, token: str | None) -> RoleHolderPage:
        """One holder."""
        if token is not None and self.stale:
            self.stale -= 1
            raise StaleTokenError("stale")
        start = int(token or 0)
        return RoleHolderPage(self.holders[start : start + 1], self._next(start, len(self.holders)))

    def list_members(self, group: str, token: str | None) -> MemberPage | None:
        """One member: an account, then the groups."""
        self.asked_for.append(group)
        if group not in self.inside:
            return None
        members = [{"id": "somebody", "type": "USER"}, *({"id": one, "type": "GROUP"} for one in self.inside[group])]
        start = int(token or 0)
        return MemberPage(members[start : start + 1], self._next(start, len(members)))

    @staticmethod
    def _next(start: int, length: int) -> str | None:
        return str(start + 1) if start + 1 < length else None


def found(nested: Nested) -> set[str]:
    """The groups that hold a role."""
    return set(groups_with_a_role(nested, threading.Event()))


def test_groups_inside_count_at_any_depth():
    """Below the holder, not above it and not beside it; a group that went away is one all the same."""
    inside = {"top": ["a"], "a": ["b"], "b": ["c"], "c": [], "above": ["top"], "beside": ["c"]}
    assert found(Nested(["top", "gone"], inside)) == {"top", "a", "b", "c", "gone"}
    assert found(Nested([], inside)) == set()


@given(
    st.dictionaries(st.sampled_from("abcdefgh"), st.lists(st.sampled_from("abcdefgh"), max_size=4)),
    st.sets(st.sampled_from("abcdefgh")),
)
def test_groups_in_circles_end(inside: dict[str, list[str]], holders: set[str]):
    """Whoever contains whom, each group's members are listed once, and the answer is what is reachable."""
    nested = Nested(sorted(holders), inside)
    reached, waiting = set(holders), list(holders)
    while waiting:
        new = set(inside.get(waiting.pop(), ())) - reached
        reached |= new
        waiting += new
    assert found(nested) == reached
    assert set(nested.asked_for) == reached
    listed = sum(1 + len(inside[group]) if group in inside else 1 for group in reached)
    assert len(nested.asked_for) == listed


def test_a_stale_token_starts_the_list_again():
    """And no holder is missed."""
    assert found(Nested(["a", "b", "c"], {}, stale=1)) == {"a", "b", "c"}


def test_a_stopped_snapshot_asks_for_nothing_more():
    """The walk ends with the snapshot it is for."""
    stop = threading.Event()
    stop.set()
    with pytest.raises(DirectoryError, match="was stopped"):
        groups_with_a_role(Nested(["a"], {}), stop)


def test_there_is_a_bound(monkeypatch: pytest.MonkeyPatch):
    """More groups than any console holds end it."""
    monkeypatch.setattr(roles, "ROLE_GROUPS_MAX", 3)
    assert len(found(Nested(["a"], {"a": ["b", "c"]}))) == 3
    with pytest.raises(DirectoryError, match="too many groups hold a role"):
        found(Nested(["a"], {"a": ["b", "c", "d"]}))


def test_only_users_and_service_accounts_are_no_groups():
    """The type may come in capitals, as the reference has it; what has none, or another, is taken for a group."""
    kinds = {"1": "user", "2": "USER", "3": "group", "4": "GROUP", "5": "SOMETHING"}
    items = [{"assignedTo": number, "assigneeType": kind} for number, kind in kinds.items()] + [{"assignedTo": "6"}]
    with scripted([reply(200, {"items": items})]) as server:
        page = directory_at(server.url).list_role_holders(None)
    assert (page.group_ids, page.next_token) == (["3", "4", "5", "6"], None)
    with scripted([error(403, "forbidden")]) as server, pytest.raises(DirectoryError, match="may not do this"):
        directory_at(server.url).list_role_holders(None)
