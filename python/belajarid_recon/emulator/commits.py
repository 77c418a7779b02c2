"""Group commit: no answer leaves before what it shows is durable, and one commit serves all calls of a turn of the loop.

SQLite's COMMIT ends in write calls to the kernel, which survive a kill of this process; a power cut is not what an emulator is for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import apsw

from belajarid_recon.emulator.storage import Storage


class Commits:
    """Commits what was written in the next turn of the loop, and lets answers wait for it."""

    def __init__(self, storage: Storage, give_up: Callable[[], None]) -> None:
        """Call `give_up` once when the database fails: what is in memory is then ahead of it."""
        self._storage = storage
        self._give_up = give_up
        self._done: asyncio.Future[None] | None = None
        self._failed = False
        storage.on_first_write = self._soon

    def _soon(self) -> None:
        loop = asyncio.get_running_loop()
        self._done = loop.create_future()
        loop.call_soon(self._commit)

    def _commit(self) -> None:
        try:
            if not self._failed:
                self._storage.commit()
        except apsw.Error:
            self.fail()
        done, self._done = self._done, None
        if done is not None and not done.done():
            done.set_result(None)

    def fail(self) -> None:
        """Undo what is not committed, of which no answer left, and let none leave any more."""
        if not self._failed:
            self._failed = True
            self._storage.abandon()
            self._give_up()

    async def wait(self) -> None:
        """Until everything written so far is durable. Raises apsw.IOError when it never will be."""
        if self._done is not None:
            await self._done
        if self._failed:
            raise apsw.IOError("the database failed")
