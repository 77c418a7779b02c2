"""Lists that are read to their end, a page at a time, within bounds."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar

from belajarid_recon.directory.interface import StaleTokenError
from belajarid_recon.errors import DirectoryError

PAGE_ACCOUNTS = 500
"""The most a call of a list of accounts answers with (discovery document, users.list, maxResults)."""
CHAIN_PAGES_MAX = 200_000
"""100 million accounts in one domain: a list that goes on longer goes round in circles."""
CHAIN_STARTS_MAX = 3


class Paged(Protocol):
    """One page of a list."""

    @property
    def next_token(self) -> str | None:
        """Token of the page after it; None on the last."""
        ...


_P = TypeVar("_P", bound=Paged)
_T = TypeVar("_T")


def from_the_start(read: Callable[[], _T], what: str) -> _T:
    """What `read` makes of a whole list; where a page token expires, read from its beginning again.

    `what` names the list in messages, as `accounts: sd.belajar.id`. Raises DirectoryError after CHAIN_STARTS_MAX times.
    """
    for _ in range(CHAIN_STARTS_MAX):
        try:
            return read()
        except StaleTokenError:
            continue
    raise DirectoryError(
        f"the list of {what} had to start again too often: {CHAIN_STARTS_MAX} times",
        hint="a page token lives for three days; try again when the directory is calm",
    )


def pages(
    list_page: Callable[[str | None], _P], what: str, stop: threading.Event, token: str | None = None
) -> Iterator[_P]:
    """Each page of a list to its end, from its beginning or from the page that `token` names.

    Raises DirectoryError when `stop` is set, or the list has no end; StaleTokenError when it must start again.
    """
    for _ in range(CHAIN_PAGES_MAX):
        if stop.is_set():
            raise DirectoryError(f"the list of {what} was stopped")
        page = list_page(token)
        yield page
        if page.next_token is None:
            return
        if page.next_token == token:
            break
        token = page.next_token
    raise DirectoryError(f"the list of {what} goes round in circles")
