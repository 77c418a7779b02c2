"""Errors that tell the caller what to do, and the exit statuses they map to.

A message says what went wrong and where, the offending value last after a colon, and never whose data it was.
The hint, printed on a line of its own, says how to mend it.
"""

from __future__ import annotations

from enum import Enum, IntEnum


class ExitStatus(IntEnum):
    """Documented exit statuses of every command."""

    DONE = 0
    BUG = 1
    USAGE = 2
    INPUT_REFUSED = 3
    SETTINGS_REFUSED = 4
    BUSY = 5
    DIRECTORY_UNAVAILABLE = 6
    PLAN_REFUSED = 7
    WORK_REMAINS = 8
    MACHINE = 9
    ACCESS_REFUSED = 10
    INTERRUPTED = 130


class ErrorKind(Enum):
    """What the caller should do about an error."""

    FIX_INPUT = "fix-input"
    FIX_SETTINGS = "fix-settings"
    RETRY_LATER = "retry-later"
    DIRECTORY = "directory"
    ACCESS = "access"
    REPLAN = "replan"
    BUG = "bug"


_EXIT_STATUS = {
    ErrorKind.FIX_INPUT: ExitStatus.INPUT_REFUSED,
    ErrorKind.FIX_SETTINGS: ExitStatus.SETTINGS_REFUSED,
    ErrorKind.RETRY_LATER: ExitStatus.BUSY,
    ErrorKind.DIRECTORY: ExitStatus.DIRECTORY_UNAVAILABLE,
    ErrorKind.ACCESS: ExitStatus.ACCESS_REFUSED,
    ErrorKind.REPLAN: ExitStatus.PLAN_REFUSED,
    ErrorKind.BUG: ExitStatus.BUG,
}


class ReconError(Exception):
    """An error with a kind, a message (what and where) and a hint (how to mend it)."""

    kind = ErrorKind.BUG

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    @property
    def exit_status(self) -> ExitStatus:
        """The exit status of a command that ends with this error."""
        return _EXIT_STATUS[self.kind]


class InputError(ReconError):
    """The extract cannot be used: a table, column, type or file is wrong."""

    kind = ErrorKind.FIX_INPUT


class SettingsError(ReconError):
    """The settings, a secret file or a regulation's confirmation is missing or wrong."""

    kind = ErrorKind.FIX_SETTINGS


class BusyError(ReconError):
    """Something is taken for now: the state folder's lock, or a port."""

    kind = ErrorKind.RETRY_LATER


class DirectoryError(ReconError):
    """The directory refused us or could not be reached, and no step can go on."""

    kind = ErrorKind.DIRECTORY


class UnreachableError(DirectoryError):
    """One tenant's directory does not answer, or refuses every call for want of quota; the others may go on."""


class AccessError(DirectoryError):
    """The directory does not take our credentials, or does not let us do this: waiting does not help."""

    kind = ErrorKind.ACCESS


class PlanError(ReconError):
    """The plan does not fit: damaged, of another endpoint or customer, or an earlier run is unfinished."""

    kind = ErrorKind.REPLAN
