"""Groups of a tenant and the members of ours, read for a snapshot.

Groups are listed by domain, 200 a call. Members cost a call a group and one more for each further 200, so they are read only of groups
whose marker the run may have to keep. No count in the list spares that reading: one member more and one less leave the count as it was.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from belajarid_recon.directory.chains import from_the_start, pages
from belajarid_recon.directory.interface import Directory, Group, MemberPage
from belajarid_recon.directory.reading import Work, digest_of
from belajarid_recon.errors import DirectoryError
from belajarid_recon.schemas import OBSERVED_GROUP, OBSERVED_MEMBER, Jenjang

GROUPS_PER_WORK = 200
"""Groups whose members one thread reads before it takes others: some 5 seconds of a tenant's quota."""
_MARKER = re.compile(r"\((recon:[0-9a-f]{32})\)\Z")


def group_marker_of(group: Group) -> str | None:
    """The marker that a group's description ends with, in parentheses; None where there is none. The one reader of groups' markers."""
    found = _MARKER.search(str(group.get("description") or ""))
    return found[1] if found else None


@dataclass(frozen=True)
class GroupSource:
    """One tenant whose groups are read."""

    directory: Directory
    tenant: Jenjang
    markers: frozenset[str]
    """Of the groups whose members are read."""
    stop: threading.Event
    """Set when the snapshot has failed: no list goes on for its own sake."""


def read_groups(source: GroupSource, domains: Collection[str], spool: Path) -> pl.DataFrame:
    """A tenant's groups (schemas.OBSERVED_GROUP), each once; local parts of all their addresses go to the spool.

    `members_read` says which groups' members are to be read. A list that an earlier start finished is not read again. Raises
    DirectoryError when a list cannot be read to its end.
    """
    work = Work(spool / groups_work(source.tenant), digest_of([*sorted(domains), *sorted(source.markers)]))
    if not work.progress:
        groups: list[tuple[Any, ...]] = []
        local_parts: list[str] = []
        for domain in domains:
            rows, seen = from_the_start(partial(_list_groups, source, domain), f"groups: {domain}")
            groups += rows
            local_parts += seen
        listed = pl.DataFrame(groups, schema=OBSERVED_GROUP, orient="row")
        work.add("groups", listed.unique("id", keep="last", maintain_order=True))
        work.add("addresses", pl.DataFrame({"user_id": local_parts}, schema={"user_id": pl.String}).unique())
        work.note({"groups": listed.height})
    (file,) = work.files("groups")
    return pl.read_parquet(file)


def groups_work(tenant: str) -> str:
    """The name of the work that lists a tenant's groups."""
    return f"{tenant}.groups"


MEMBERS_FOLDER = "members"
"""Where the works are that read members."""


def members_work(tenant: str, start: int) -> str:
    """The name, in MEMBERS_FOLDER, of the work that reads the members of a tenant's groups from the `start`-th one on."""
    return f"{tenant}.{start:09}"


def read_members(source: GroupSource, group_ids: Sequence[str], work: Work) -> list[str]:
    """Spool the direct members (schemas.OBSERVED_MEMBER, keys null) of some groups; returns the ids of those that went away meanwhile.

    Nothing is read where an earlier start has finished the work. Raises DirectoryError when a list cannot be read to its end.
    """
    if work.progress:
        return list(work.progress["gone"])
    rows: dict[str, list[Any]] = {name: [] for name in OBSERVED_MEMBER}
    gone = []
    for group_id in group_ids:
        listed = from_the_start(partial(_list_members, source, group_id), f"members: tenant {source.tenant}")
        if listed is None:
            gone.append(group_id)
            continue
        # A member that moved to a later page while the list was read is there twice.
        members = {str(member["id"]): member for member in listed if member.get("id")}
        rows["tenant"] += [source.tenant.value] * len(members)
        rows["group_id"] += [group_id] * len(members)
        rows["member_id"] += members
        rows["account_key"] += [None] * len(members)
        rows["role"] += [str(member.get("role", "MEMBER")) for member in members.values()]
    work.add("members", pl.DataFrame(rows, schema=OBSERVED_MEMBER))
    work.note({"gone": gone})
    return gone


def spooled_members(spool: Path) -> pl.DataFrame:
    """What `read_members` put into the spool: schemas.OBSERVED_MEMBER."""
    files = sorted((spool / MEMBERS_FOLDER).glob("*/*.members.parquet"))
    return pl.concat([OBSERVED_MEMBER.to_frame(), *map(pl.read_parquet, files)])


def with_account_keys(members: pl.DataFrame, accounts: pl.DataFrame) -> pl.DataFrame:
    """The members that are accounts of `accounts` (tenant, id, account_key), with their keys, in order of key and group.

    Other columns of `members` than those of schemas.OBSERVED_MEMBER come after them.
    """
    keys = accounts.select("tenant", "account_key", member_id="id")
    return (
        members.drop("account_key")
        .join(keys, on=["tenant", "member_id"], how="inner")
        .select(*OBSERVED_MEMBER, pl.exclude(*OBSERVED_MEMBER))
        .sort("account_key", "tenant", "group_id", "member_id")
    )


def _list_groups(source: GroupSource, domain: str) -> tuple[list[tuple[Any, ...]], list[str]]:
    """Rows of schemas.OBSERVED_GROUP, and the local parts of all addresses of the listed groups."""
    rows: list[tuple[Any, ...]] = []
    local_parts: list[str] = []
    for page in pages(lambda token: source.directory.list_groups(domain, token), f"groups: {domain}", source.stop):
        for group in page.groups:
            try:
                group_id, address = str(group["id"]), group["email"].lower()
                held = [address, *(group.get("aliases") or ()), *(group.get("nonEditableAliases") or ())]
                local_parts += [alias.lower().rpartition("@")[0] for alias in held]
            except (KeyError, AttributeError) as error:
                raise DirectoryError(f"a listed group has no id or no address: tenant {source.tenant}") from error
            marker = group_marker_of(group)
            rows.append((source.tenant.value, group_id, address, marker, marker in source.markers))
    return rows, local_parts


def _list_members(source: GroupSource, group_id: str) -> list[dict[str, Any]] | None:
    """A group's direct members; None when the group is not there."""
    listed: list[dict[str, Any]] = []
    there = True

    def list_page(token: str | None) -> MemberPage:
        nonlocal there
        page = source.directory.list_members(group_id, token)
        there = page is not None
        return page if page is not None else MemberPage()

    for page in pages(list_page, f"members: tenant {source.tenant}", source.stop):
        listed += page.members
    return listed if there else None
