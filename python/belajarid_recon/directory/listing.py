"""A list of accounts, page after page, with a bound."""

from __future__ import annotations

from collections.abc import Iterator

from belajarid_recon.directory.interface import Directory, Page
from belajarid_recon.errors import DirectoryError

PAGE_ACCOUNTS = 500
"""The most a call of a list answers with (discovery document, users.list, maxResults)."""
CHAIN_PAGES_MAX = 200_000
"""100 million accounts in one domain: a list that goes on longer goes round in circles."""


def pages_of(directory: Directory, domain: str, *, deleted: bool = False) -> Iterator[Page]:
    """Every page of a domain's accounts, as they are asked for.

    Raises StaleTokenError when the list must start again, and DirectoryError when it does not end.
    """
    token: str | None = None
    for _ in range(CHAIN_PAGES_MAX):
        page = directory.list_accounts(domain, token, deleted=deleted)
        yield page
        if page.next_token is None:
            return
        if page.next_token == token:
            break
        token = page.next_token
    raise DirectoryError(f"the list of accounts goes round in circles: {domain}")
