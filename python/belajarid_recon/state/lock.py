"""One run at a time in a state folder."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

import orjson

from belajarid_recon.errors import BusyError, SettingsError

LOCK_FILE = "lock"


class StateLock:
    """The state folder's lock, held while this object is entered.

    It is a `flock` on an open file, so it dies with the process whatever kills it; the file's content (process id and what
    it is doing) is for the message alone. Stages that write state take the lock as an argument: having one is the proof.
    """

    def __init__(self, state: Path, *, purpose: str) -> None:
        self.state = state
        self._purpose = purpose
        self._descriptor: int | None = None

    def __enter__(self) -> Self:
        """Take the lock. Raises BusyError naming the holder."""
        try:
            self.state.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self.state / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise SettingsError(f"state folder cannot be used: {self.state}", hint=str(error.strerror)) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = _holder(descriptor)
            os.close(descriptor)
            raise BusyError(f"state folder is in use: {self.state}", hint=holder) from error
        self._descriptor = descriptor
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, orjson.dumps({"pid": os.getpid(), "purpose": self._purpose}), 0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def require(self, state: Path) -> None:
        """Stop a caller that would write to `state` without holding its lock: that is a bug."""
        if self._descriptor is None or self.state.resolve() != state.resolve():
            raise AssertionError(f"the lock of this state folder is not held: {state}")


def _holder(descriptor: int) -> str:
    """Who holds the lock, as a hint."""
    try:
        holder = orjson.loads(os.pread(descriptor, 4_096, 0))
        return f"process {holder['pid']} holds it ({holder['purpose']}): wait for it, or end it"
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return "another process holds it: wait for it, or end it"
