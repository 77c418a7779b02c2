"""Swapped answers: two calls of one method under way in one tenant get each other's."""

from __future__ import annotations

import asyncio

from belajarid_recon.emulator.replies import Answer

WAIT_SECONDS = 0.05
"""Real seconds a call waits for another one to swap with, unless its fault says otherwise."""

Place = tuple[str, str]
"""Tenant and method."""


class Swaps:
    """Where a call that must get another's answer waits for that other."""

    def __init__(self) -> None:
        self._waiting: dict[Place, tuple[Answer, asyncio.Future[Answer]]] = {}
        self._previous: dict[Place, Answer] = {}

    def pass_by(self, place: Place, answer: Answer) -> Answer:
        """The answer a call leaves with: its own, or that of one that waits, which then gets this one."""
        waiting = self._waiting.pop(place, None)
        if waiting is None or waiting[1].done():
            self._previous[place] = answer
            return answer
        waiting[1].set_result(answer)
        return waiting[0]

    async def wait(self, place: Place, answer: Answer, seconds: float) -> Answer | None:
        """Another call's answer: of one under way, or of the previous one. None when there never was one."""
        if place in self._waiting:
            return self.pass_by(place, answer)
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[place] = answer, future
        try:
            return await asyncio.wait_for(future, seconds or WAIT_SECONDS)
        except TimeoutError:
            del self._waiting[place]
            previous, self._previous[place] = self._previous.get(place), answer
            return previous
