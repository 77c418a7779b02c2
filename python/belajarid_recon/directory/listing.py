"""Lists, page after page, with a bound."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar

from belajarid_recon.directory.interface import Directory, MemberPage, Page
from belajarid_recon.errors import DirectoryError

PAGE_ACCOUNTS = 500
"""The most a call of a list answers with (discovery document, users.list, maxResults)."""
CHAIN_PAGES_MAX = 200_000
"""100 million accounts in one domain: a list that goes on longer goes round in circles."""


class _Page(Protocol):
    @property
    def next_token(self) -> str | None: ...


_P = TypeVar("_P", bound=_Page)


def pages_of(directory: Directory, domain: str, *, deleted: bool = False) -> Iterator[Page]:
    """Every page of a domain's accounts, as they are asked for.

    Raises StaleTokenError when the list must start again, and DirectoryError when it does not end.
    """
    return _chain(lambda token: directory.list_accounts(domain, token, deleted=deleted), f"of accounts: {domain}")


def member_pages(directory: Directory, group: str) -> Iterator[MemberPage]:
    """Every page of a group's direct members. Raises as `pages_of` does."""
    return _chain(lambda token: directory.list_members(group, token), f"of members: {group}")


def _chain(ask: Callable[[str | None], _P], what: str) -> Iterator[_P]:
    token: str | None = None
    for _ in range(CHAIN_PAGES_MAX):
        page = ask(token)
        yield page
        if page.next_token is None:
            return
        if page.next_token == token:
            break
        token = page.next_token
    raise DirectoryError(f"the list goes round in circles {what}")
