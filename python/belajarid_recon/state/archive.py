"""What a backup is before it is sealed: a tar archive that starts with a manifest of everything in it.

    manifest.json              format, when, of which state, and each file's size and SHA-256
    keys/marker, keys/naming   the key files
    state/…                    the state folder's files

It is a plain tar archive so that `age` and `tar` alone can open it where this program cannot be had. This program reads less than tar
would: every header must be, byte for byte, the one it writes itself for the path and size that the manifest has at this place. Links,
devices, owners, names that lead out of the folder, and files nobody announced cannot even be said.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO, Final, Literal

import orjson
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, field_validator

from belajarid_recon.errors import InputError

FORMAT: Final = "belajarid-recon state backup"
FORMAT_VERSION: Final = 1
MANIFEST_NAME = "manifest.json"
MANIFEST_BYTES_MAX = 256 * 1024 * 1024
FILES_MAX = 1_000_000
PATH_BYTES_MAX = 1_024
NAME_BYTES_MAX = 255
KEY_FILE_BYTES = 65
"""64 hexadecimal digits and a line end."""
KEYS_FOLDER = "keys/"
STATE_FOLDER = "state/"
KEY_NAMES = ("marker", "naming")
_BLOCK = tarfile.BLOCKSIZE
_END = bytes(2 * _BLOCK)
_CHUNK_BYTES = 1024 * 1024

Progress = Callable[[int], None]
"""Told how many bytes more are done."""


class Entry(BaseModel):
    """One file of an archive. `path` begins with `keys/` or `state/`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str
    size: Annotated[int, Field(strict=True, ge=0, lt=1 << 50)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

    @field_validator("path")
    @classmethod
    def _leads_nowhere_else(cls, path: str) -> str:
        if not is_plain(path) or not path.startswith((KEYS_FOLDER, STATE_FOLDER)):
            raise ValueError("not a path of an archive")
        if path.startswith(KEYS_FOLDER) and path.removeprefix(KEYS_FOLDER) not in KEY_NAMES:
            raise ValueError("not a key")
        return path

    @property
    def is_key(self) -> bool:
        """Whether it is a key file."""
        return self.path.startswith(KEYS_FOLDER)

    @property
    def name(self) -> str:
        """The path within its folder."""
        return self.path.partition("/")[2]


class Manifest(BaseModel):
    """What an archive says of itself. Nothing in it is about a person."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["belajarid-recon state backup"] = FORMAT
    format_version: Literal[1] = FORMAT_VERSION
    tool_version: Annotated[str, Field(pattern=r"^[0-9A-Za-z.+-]{1,64}$")]
    made_at: AwareDatetime
    state_identity: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")] | None
    """Names the state's anchor; null for one that never had any."""
    latest_run: Annotated[str, Field(pattern=r"^[0-9TZa-f-]{1,64}$")] | None
    unfinished_run: Annotated[str, Field(pattern=r"^[0-9TZa-f-]{1,64}$")] | None
    ledger_end: Annotated[str, Field(pattern=r"^([0-9a-f]{32})?$")]
    """The last hash of the ledger's chain; empty for a ledger without segments."""
    key_prints: dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]]
    files: Annotated[tuple[Entry, ...], Field(max_length=FILES_MAX)]

    @field_validator("files")
    @classmethod
    def _each_once(cls, files: tuple[Entry, ...]) -> tuple[Entry, ...]:
        paths = [entry.path for entry in files]
        if paths != sorted(set(paths)):
            raise ValueError("paths are not in order, or one stands there twice")
        if not set(paths).isdisjoint(folder for path in paths for folder in folders_above(path)):
            raise ValueError("a path is a file and a folder")
        if any(entry.is_key and entry.size != KEY_FILE_BYTES for entry in files):
            raise ValueError("a key file has another size")
        return files

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(entry.size for entry in self.files)

    @property
    def state_size(self) -> int:
        """Bytes of the state folder's files."""
        return sum(entry.size for entry in self.files if not entry.is_key)


def is_plain(path: str) -> bool:
    """Whether a relative path names a file below its folder, in names any file system takes, and nothing else."""
    names = path.split("/")
    return (
        path.isprintable()
        and len(path.encode(errors="replace")) <= PATH_BYTES_MAX
        and all(name not in {"", ".", ".."} and len(name.encode()) <= NAME_BYTES_MAX for name in names)
    )


def folders_above(path: str) -> Iterator[str]:
    """The folders a path leads through, the outermost first."""
    at = path.find("/")
    while at >= 0:
        yield path[:at]
        at = path.find("/", at + 1)


def file_digest(path: Path, progress: Progress) -> tuple[int, str]:
    """Size and SHA-256 of a file."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
            progress(len(chunk))
    return size, digest.hexdigest()


def write_manifest(stream: BinaryIO, manifest: Manifest) -> None:
    """The archive's first file."""
    content = orjson.dumps(manifest.model_dump(mode="json"), option=orjson.OPT_INDENT_2)
    stream.write(_header(MANIFEST_NAME, len(content)) + content + _padding(len(content)))


def write_file(stream: BinaryIO, entry: Entry, content: BinaryIO, progress: Progress) -> bool:
    """The next file of the archive; whether `content` was what the entry says. The archive is of no use where it was not."""
    stream.write(_header(entry.path, entry.size))
    digest, left = hashlib.sha256(), entry.size
    while left and (chunk := content.read(min(left, _CHUNK_BYTES))):
        digest.update(chunk)
        stream.write(chunk)
        left -= len(chunk)
        progress(len(chunk))
    stream.write(_padding(entry.size))
    return left == 0 and not content.read(1) and digest.hexdigest() == entry.sha256


def write_end(stream: BinaryIO) -> None:
    """The archive's end."""
    stream.write(_END)


class ArchiveReader:
    """Reads an archive from front to end. Everything that is not as this program writes it raises InputError; `name` is for messages."""

    def __init__(self, stream: BinaryIO, name: Path) -> None:
        self._stream = stream
        self._name = name

    def manifest(self) -> Manifest:
        """The manifest; the first thing to read. Refuses what is no backup of a state folder, or one of a newer format."""
        block = self._stream.read(_BLOCK)
        try:
            size = tarfile.TarInfo.frombuf(block, "utf-8", "strict").size
        except (tarfile.HeaderError, UnicodeDecodeError):
            size = 0
        if not 0 < size <= MANIFEST_BYTES_MAX or block != _header(MANIFEST_NAME, size):
            raise self._foreign()
        content = self._exactly(size)
        self._expect(_padding(size))
        try:
            document = orjson.loads(content)
        except orjson.JSONDecodeError:
            raise self._foreign() from None
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise self._foreign()
        version = document.get("format_version")
        if isinstance(version, int) and version > FORMAT_VERSION:
            raise InputError(
                f"backup has a format this version does not read: {self._name}: {version}",
                hint="use the version it was made with, or a newer one",
            )
        try:
            return Manifest.model_validate(document)
        except ValidationError as error:
            place = ".".join(map(str, error.errors(include_input=False)[0]["loc"]))
            raise InputError(
                f"backup's manifest is refused: {self._name}: {place}", hint="this program does not write it so"
            ) from None

    def content(self, entry: Entry) -> Iterator[bytes]:
        """The next file's content in chunks; its size is the entry's. Read to the end it is the entry's SHA-256, too."""
        self._expect(_header(entry.path, entry.size))
        digest, left = hashlib.sha256(), entry.size
        while left:
            chunk = self._exactly(min(left, _CHUNK_BYTES))
            digest.update(chunk)
            left -= len(chunk)
            yield chunk
        self._expect(_padding(entry.size))
        if digest.hexdigest() != entry.sha256:
            raise self._damaged(entry.path)

    def end(self) -> None:
        """The end, and nothing after it."""
        self._expect(_END)
        if self._stream.read(1):
            raise self._damaged("something follows its end")

    def _exactly(self, count: int) -> bytes:
        content = self._stream.read(count)
        if len(content) != count:
            raise self._damaged("it ends early")
        return content

    def _expect(self, content: bytes) -> None:
        if self._exactly(len(content)) != content:
            raise self._damaged("it is not what its manifest says")

    def _damaged(self, where: str) -> InputError:
        return InputError(f"backup is damaged: {self._name}: {where}", hint="use another copy of it")

    def _foreign(self) -> InputError:
        return InputError(
            f"no backup of a state folder: {self._name}", hint="name a file that belajarid-recon state backup wrote"
        )


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Give an OSError of the block the file it was about, where it has none: a write does not know."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
        raise


def count_of(entries: Sequence[Entry]) -> tuple[int, int]:
    """How many are files of the state folder, and how many keys."""
    keys = sum(entry.is_key for entry in entries)
    return len(entries) - keys, keys


def _header(path: str, size: int) -> bytes:
    """A regular file of mode 600 without owner or time. GNU's format has no upper end for names and sizes."""
    made = tarfile.TarInfo(path)
    made.size, made.mode = size, 0o600
    return made.tobuf(tarfile.GNU_FORMAT, "utf-8", "strict")


def _padding(size: int) -> bytes:
    return bytes(-size % _BLOCK)
