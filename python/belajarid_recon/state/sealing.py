"""Streams sealed with age (age-encryption.org/v1): to several recipients, each of whom opens them alone.

What is sealed never stands on a disk unsealed: bytes go through a pipe to a thread that seals or opens them, 64 KiB at a time, so that
memory does not grow with the stream. The thread is there for Ctrl-C, too: it reaches the main thread only, and pyrage would turn it into an
error of its own. Each piece is authenticated before it is handed on, and the end with the last one: what was damaged, cut off or added to
is refused. Age does not say who sealed a stream: whoever knows the public keys can.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import pyrage

from belajarid_recon.errors import InputError, SettingsError
from belajarid_recon.secrets import refuse_readable_by_others

PIECE_BYTES = 64 * 1024
"""Age's own piece; also what a pipe of Linux holds."""
IDENTITY_FILE_BYTES_MAX = 64 * 1024
_NO_KEY_FITS = "No matching keys found"
"""What pyrage says of an identity that is no recipient's."""


class Writable(Protocol):
    """What sealed bytes go to."""

    def write(self, content: bytes, /) -> int:
        """Write some or all of it; how much it was."""
        ...


def load_identities(path: Path) -> list[Any]:
    """The age secret keys in a file as `age-keygen` writes it: a key a line, comments after `#`.

    Raises SettingsError when the file is missing, readable by others, or holds anything else.
    """
    what = "identity file"
    refuse_readable_by_others(path, what=what)
    try:
        text = path.read_bytes()[:IDENTITY_FILE_BYTES_MAX].decode("ascii")
        lines = [line.strip() for line in text.splitlines()]
        identities = [pyrage.x25519.Identity.from_str(line) for line in lines if line and not line.startswith("#")]
    except (OSError, UnicodeDecodeError, pyrage.IdentityError):
        # The parser's own words may quote the file, so they are not passed on.
        identities = []
    if not identities:
        raise SettingsError(
            f"{what} holds no age secret key, or something else beside it: {path}",
            hint="name the file that age-keygen wrote: a line AGE-SECRET-KEY-1…, not sealed with a passphrase",
        )
    return identities


@contextmanager
def sealing(file: Writable, recipients: Sequence[str]) -> Iterator[BinaryIO]:
    """A stream to write to; it comes sealed to `recipients` (age public keys) into `file`, whole once the block has ended well.

    Raises OSError when `file` cannot be written.
    """
    keys = [pyrage.x25519.Recipient.from_str(recipient) for recipient in recipients]
    inlet, outlet = _pipe()
    target = _Target(file)

    def seal() -> None:
        with inlet:
            pyrage.encrypt_io(inlet, target, keys)

    worker = _Worker(seal)
    try:
        with outlet:
            yield outlet
    except BrokenPipeError:
        worker.join()
        raise (target.failure or worker.failure or AssertionError("the pipe broke by itself")) from None
    finally:
        worker.join()
    if failure := target.failure or worker.failure:
        raise failure


@contextmanager
def opening(file: BinaryIO, identities: Sequence[Any], *, name: Path) -> Iterator[BinaryIO]:
    """A stream to read the opened `file` from, to its end; `name` is for messages.

    An end that comes early is the reader's to refuse with InputError; what was wrong with the file is then raised in its place. Raises
    SettingsError when no identity is a recipient's, InputError for a file that is none of age's, damaged or cut off, and
    OSError when it cannot be read.
    """
    inlet, outlet = _pipe()
    source, target = _Source(file), _Target(outlet)

    def unseal() -> None:
        with outlet:
            pyrage.decrypt_io(source, target, identities)

    worker = _Worker(unseal)
    try:
        with inlet:
            yield inlet
    except InputError:
        worker.join()
        _refuse(source.failure or worker.failure, name, read=target.failure is None)
        raise
    finally:
        worker.join()
    _refuse(source.failure or worker.failure, name, read=target.failure is None)


def _refuse(failure: BaseException | None, name: Path, *, read: bool) -> None:
    """Raise what was wrong with an opened file. A reader that left off before what it was given was `read` is no fault of the file's."""
    if failure is None or not read or isinstance(failure, BrokenPipeError):
        return
    if isinstance(failure, OSError) and failure.errno is not None:
        raise failure
    if isinstance(failure, pyrage.DecryptError) and str(failure) == _NO_KEY_FITS:
        raise SettingsError(
            f"the identity is not one this file was sealed to: {name}",
            hint="name the identity file of one of its recipients; if it is one, the file's first lines are damaged",
        )
    raise InputError(f"sealed file is damaged, cut off or no age file: {name}", hint="use another copy of it")


class _Worker(threading.Thread):
    """A thread that starts at once and keeps what ended it."""

    def __init__(self, work: Callable[[], None]) -> None:
        super().__init__(daemon=True)
        self.failure: BaseException | None = None
        self._work = work
        self.start()

    def run(self) -> None:
        """Do the work."""
        try:
            self._work()
        except BaseException as error:  # a panic of the age library is no Exception
            self.failure = error


class _Source:
    """A file to read whose own error is kept: pyrage passes on only its text."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.failure: OSError | None = None

    def read(self, count: int = -1) -> bytes:
        """Read at most `count` bytes."""
        try:
            return self._file.read(count)
        except OSError as error:
            self.failure = error
            raise


class _Target:
    """A file to write, likewise."""

    def __init__(self, file: Writable) -> None:
        self._file = file
        self.failure: OSError | None = None

    def write(self, content: bytes) -> int:
        """Write some or all of it."""
        try:
            return self._file.write(content)
        except OSError as error:
            self.failure = error
            raise

    def flush(self) -> None:
        """Nothing: whoever gave the file syncs it."""


def _pipe() -> tuple[BinaryIO, BinaryIO]:
    inlet, outlet = os.pipe()
    return os.fdopen(inlet, "rb", PIECE_BYTES), os.fdopen(outlet, "wb", PIECE_BYTES)
