"""Emulated time: seconds since the folder was made, and the calendar that goes with them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from belajarid_recon.components import Clock


class EmulatedTime:
    """Counts on from where the folder stopped; it stands still while no emulator runs.

    The calendar starts at the wall time of the folder's first start and runs at the emulator's scale from there, so that
    `creationTime`, the 20 days of a deleted account and the 3 days of a page token agree with each other.
    """

    def __init__(self, clock: Clock, *, origin: datetime, elapsed: float) -> None:
        self._clock = clock
        self._origin = origin
        self._offset = elapsed - clock.monotonic()

    def elapsed(self) -> float:
        """Emulated seconds since the folder's first start."""
        return self._clock.monotonic() + self._offset

    def wall(self) -> float:
        """Real seconds since 1970: what an assertion's times are written in, whatever the scale."""
        return self._clock.now().timestamp()

    def advance(self, seconds: float) -> None:
        """Jump ahead, for tests that would wait days."""
        self._offset += seconds

    def calendar(self, elapsed: float | None = None) -> str:
        """An instant as Google writes it, in UTC with milliseconds; now unless told otherwise."""
        moment = self._origin + timedelta(seconds=self.elapsed() if elapsed is None else elapsed)
        return moment.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"

    def unix_milliseconds(self, elapsed: float) -> str:
        """An instant as Google writes its 64-bit times: decimal text."""
        return str(int((self._origin.timestamp() + elapsed) * 1_000))
