"""Which groups make their members administrators: those that hold a role, and the groups inside them at any depth.

A role that is assigned to a group is every member's (roleAssignments, `assignedTo`). Whether it is also theirs who are members of a
group inside it, the API's reference does not say; it knows assignments that are indirect, and memberships that are derived. So they
count as administrators here. The snapshot asks for a plan, and the transport's lock asks again before the first member is added.
"""

from __future__ import annotations

import threading
from functools import partial
from typing import Protocol

from belajarid_recon.directory.chains import from_the_start, pages
from belajarid_recon.directory.interface import MemberPage, RoleHolderPage
from belajarid_recon.errors import DirectoryError

ROLE_GROUPS_MAX = 10_000
"""Groups of a tenant that hold a role or are inside one that does. Google allows some 1,000 assignments."""
_NO_GROUP = frozenset({"USER", "CUSTOMER", "EXTERNAL"})
"""Types of members (discovery document, Member.type) that are no groups. One without a type may be one."""


class RoleReader(Protocol):
    """What finding these groups reads of a tenant."""

    @property
    def tenant(self) -> str:
        """The jenjang."""
        ...

    def list_role_holders(self, token: str | None) -> RoleHolderPage:
        """One page of the groups that hold a role themselves."""
        ...

    def list_members(self, group: str, token: str | None) -> MemberPage | None:
        """One page of a group's direct members; None where there is no such group."""
        ...


def groups_with_a_role(directory: RoleReader, stop: threading.Event) -> frozenset[str]:
    """Ids of the tenant's groups whose members are administrators. Groups that contain each other are looked at once.

    It costs a call for 200 role assignments, and one for 200 members of such a group. Raises DirectoryError when `stop` is set, when a
    list cannot be read to its end, and for more than ROLE_GROUPS_MAX groups.
    """
    found: set[str] = set()
    waiting = from_the_start(partial(_holders, directory, stop), f"role assignments: tenant {directory.tenant}")
    while waiting:
        group_id = waiting.pop()
        found.add(group_id)
        if len(found) > ROLE_GROUPS_MAX:
            raise DirectoryError(
                f"too many groups hold a role or are inside one that does: tenant {directory.tenant}",
                hint=f"this program knows up to {ROLE_GROUPS_MAX}; take roles from groups in the console",
            )
        inside = partial(_groups_inside, directory, group_id, stop)
        waiting |= from_the_start(inside, f"members: tenant {directory.tenant}") - found
    return frozenset(found)


def _holders(directory: RoleReader, stop: threading.Event) -> set[str]:
    what = f"role assignments: tenant {directory.tenant}"
    return {group_id for page in pages(directory.list_role_holders, what, stop) for group_id in page.group_ids}


def _groups_inside(directory: RoleReader, group_id: str, stop: threading.Event) -> set[str]:
    """Ids of the groups that are direct members of a group; none where it is gone."""

    def list_page(token: str | None) -> MemberPage:
        return directory.list_members(group_id, token) or MemberPage()

    listed = pages(list_page, f"members: tenant {directory.tenant}", stop)
    members = (member for page in listed for member in page.members)
    return {str(one["id"]) for one in members if one.get("id") and one.get("type") not in _NO_GROUP}
