"""Components handed in: clock and randomness. Stages never ask the machine for either."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Time as the run sees it. All durations are in seconds of this clock."""

    def monotonic(self) -> float:
        """Seconds since an arbitrary start; never goes back."""
        ...

    def sleep(self, seconds: float) -> None:
        """Return after `seconds` of this clock."""
        ...

    def real(self, seconds: float) -> float:
        """Seconds of the machine's time in which `seconds` of this clock pass."""
        ...

    def now(self) -> datetime:
        """Wall time in UTC, for records and for what another start must know: no decision within a run waits on it."""
        ...


class ScaledClock:
    """The machine's clock, `scale` times faster: 1 is real time.

    The emulator is started with the same scale, so quotas keep their documented numbers and a demo that would last
    hours ends in minutes. A scale other than 1 is refused for any endpoint but the emulator (settings).
    """

    def __init__(self, scale: float = 1.0) -> None:
        if scale <= 0:
            raise ValueError(f"time scale must be positive: {scale}")
        self.scale = scale

    def monotonic(self) -> float:
        """Seconds of this clock since an arbitrary start."""
        return time.monotonic() * self.scale

    def sleep(self, seconds: float) -> None:
        """Sleep `seconds` of this clock, `seconds / scale` of real time."""
        if seconds > 0:
            time.sleep(self.real(seconds))

    def real(self, seconds: float) -> float:
        """Real seconds in which `seconds` of this clock pass."""
        return seconds / self.scale

    def now(self) -> datetime:
        """Real wall time in UTC; the scale does not touch it."""
        return datetime.now(tz=UTC)


class Randomness(Protocol):
    """Where unpredictable bytes come from."""

    def bytes(self, count: int) -> bytes:
        """Return `count` unpredictable bytes."""
        ...


class SystemRandomness:
    """The operating system's generator."""

    def bytes(self, count: int) -> bytes:
        """Return `count` bytes from the operating system."""
        return os.urandom(count)
