"""A disk that refuses: the n-th write, sync or truncation of a process fails, tears, or is the last thing the process does.

SQLite's own files are reached through a VFS, everything else through `os.pwrite` and `os.fsync`.
"""

from __future__ import annotations

import errno
import itertools
import os
import signal
from collections.abc import Callable
from enum import StrEnum
from typing import Any

import apsw


class DiskFault(StrEnum):
    """What the n-th operation meets."""

    ENOSPC = "enospc"
    """No space: half of a write is there, and every later write is refused too."""
    EIO = "eio"
    """The device fails once. A sync that is tried again would report success (Rebello et al., USENIX ATC 2020)."""
    KILL = "kill"
    """SIGKILL in its place."""


class FaultyDisk:
    """Counts operations and refuses from the n-th on, or it alone."""

    def __init__(self, fault: DiskFault, at: int) -> None:
        self._fault = fault
        self._at = at
        self._count = itertools.count(1)

    def install(self) -> None:
        """Put it under everything this process writes from now on."""
        _FaultyVFS(self)
        os.pwrite = self._guarded(os.pwrite)  # type: ignore[assignment] # a test's own process
        os.fsync = self._guarded(os.fsync)

    def refuses(self) -> bool:
        """Count one operation; whether it is refused. Never returns from a kill."""
        number = next(self._count)
        if self._fault is DiskFault.KILL and number == self._at:
            os.kill(os.getpid(), signal.SIGKILL)
        return number >= self._at if self._fault is DiskFault.ENOSPC else number == self._at

    def error(self) -> apsw.Error:
        """As SQLite's own VFS says it."""
        return apsw.FullError("full") if self._fault is DiskFault.ENOSPC else apsw.IOError("device")

    def _guarded(self, real: Callable[..., Any]) -> Callable[..., Any]:
        number = errno.ENOSPC if self._fault is DiskFault.ENOSPC else errno.EIO

        def guarded(*arguments: Any) -> Any:
            if self.refuses():
                raise OSError(number, os.strerror(number))
            return real(*arguments)

        return guarded


class _FaultyVFS(apsw.VFS):
    """The operating system's files on a faulty disk."""

    def __init__(self, disk: FaultyDisk) -> None:
        self._disk = disk
        super().__init__("faulty", "unix", makedefault=True)

    def xOpen(self, name, flags):  # noqa: N802 - apsw's name
        """Open a file on it."""
        return _FaultyFile(self._disk, name, flags)


class _FaultyFile(apsw.VFSFile):
    """A file on a faulty disk."""

    def __init__(self, disk: FaultyDisk, name, flags) -> None:
        self._disk = disk
        super().__init__("unix", name, flags)

    def xWrite(self, content, offset):  # noqa: N802 - apsw's name
        """Write it, or half of it."""
        if self._disk.refuses():
            super().xWrite(content[: len(content) // 2], offset)
            raise self._disk.error()
        super().xWrite(content, offset)

    def xSync(self, flags):  # noqa: N802 - apsw's name
        """Sync, or refuse."""
        if self._disk.refuses():
            raise self._disk.error()
        super().xSync(flags)

    def xTruncate(self, size):  # noqa: N802 - apsw's name
        """Cut, or refuse."""
        if self._disk.refuses():
            raise self._disk.error()
        super().xTruncate(size)
