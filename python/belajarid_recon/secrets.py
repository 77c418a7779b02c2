"""Values that print masked: keys, tokens, passwords. They come from files or the environment, never from arguments."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import final

from belajarid_recon.errors import SettingsError

KEY_BYTES = 32


@final
class Secret:
    """Bytes that never print themselves. `reveal()` is the one way out, so that its uses can be listed."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        self._value = value

    def reveal(self) -> bytes:
        """Return the bytes. Call it where they are used, and keep no copy."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a secret is not serialised")


def refuse_readable_by_others(path: Path, *, what: str) -> None:
    """Refuse a secret file that other users of this machine can read.

    Raises SettingsError with the mending command when the mode has any bit for group or others, or the file is missing.
    """
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise SettingsError(f"{what} cannot be read: {path}", hint=f"check the path: {error.strerror}") from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise SettingsError(f"{what} can be read by other users: {path}", hint=f"chmod 600 {path}")


def load_key(path: Path | None, *, environment: str, what: str) -> Secret:
    """Load a 32-byte key written as 64 hexadecimal digits, from `path` or from the environment variable `environment`.

    Raises SettingsError when there is none, the file is readable by others, or the text is no key.
    """
    text = os.environ.get(environment)
    origin = f"environment variable {environment}"
    if path is not None:
        refuse_readable_by_others(path, what=what)
        text, origin = path.read_text(encoding="ascii", errors="replace"), str(path)
    if not text:
        raise SettingsError(f"{what} is not set", hint=f"name its file in the settings or set {environment}")
    try:
        key = bytes.fromhex(text.strip())
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise SettingsError(
            f"{what} is not {KEY_BYTES * 2} hexadecimal digits: {origin}",
            hint="make one with: openssl rand -hex 32",
        )
    return Secret(key)
