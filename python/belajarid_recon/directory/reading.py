"""What was read of the directories so far, kept so that a reading that was stopped goes on where it was.

    <folder>/reading.json             what it is a reading of, and when it began
    <folder>/<work>/NNNNNN.*.parquet  rows, as the seal takes them
    <folder>/<work>/note.json         which of these files count, their SHA-256, and how far the work has come

A work is one list, or the members of a few groups. Its note is written when its files are durable, and the note alone says what was
read: a file that it does not name was cut off by the stop, and goes. So the rows of a page are there once, or the page is asked for
again. A work whose note or files are damaged begins anew, and the others go on.

No row holds a personal number, but names and addresses, as the snapshot does: folders are their owner's only.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import polars as pl

from belajarid_recon.components import Clock
from belajarid_recon.schemas import DELETED, OBSERVED, OBSERVED_GROUP, OBSERVED_MEMBER
from belajarid_recon.state.atomic import fsync_file, fsync_folder, write_atomically

FORMAT_VERSION = 1
READING_FILE = "reading.json"
NOTE_FILE = "note.json"
LIVE = "live"
"""How the names of works end that list live accounts."""
_TABLES = (OBSERVED, DELETED, OBSERVED_GROUP, OBSERVED_MEMBER)
_DIGEST_CHARACTERS = 64


@dataclass(frozen=True)
class Reading:
    """A folder that outlives the process that reads into it."""

    folder: Path
    started: datetime
    """When its first process began."""
    accounts: int
    """Live accounts that were there when it was opened; 0: nothing was, and it begins."""


def open_reading(folder: Path, request: Mapping[str, Any], clock: Clock, *, age_max: timedelta) -> Reading:
    """Go on with the reading in `folder` if it is of the same `request` and no older than `age_max`; else begin one there.

    `request` holds, as JSON, whatever decides what a reading finds. Call it with the state folder's lock held.
    """
    now, digest = clock.now(), _request_digest(request)
    started = _started(folder, digest)
    # A reading that seems to come from the future is as old as the clock was wrong.
    if started is not None and abs(now - started) < age_max and any(folder.glob(f"*/{NOTE_FILE}")):
        return Reading(folder, started, _accounts_noted(folder))
    remove_reading(folder)
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.mkdir(mode=0o700)
    document = {"format_version": FORMAT_VERSION, "request": digest, "started_at": now.isoformat()}
    write_atomically(folder / READING_FILE, orjson.dumps(document, option=orjson.OPT_INDENT_2))
    return Reading(folder, now, 0)


def remove_reading(folder: Path) -> None:
    """Remove a reading, if there is one. A kill in between leaves none that could be gone on with."""
    if folder.exists():
        (folder / READING_FILE).unlink(missing_ok=True)
        fsync_folder(folder)
        shutil.rmtree(folder)


def keep_only(folder_of_works: Path, names: Collection[str]) -> None:
    """Remove folders that are none of these works: of a domain that is gone, or of groups that are asked for no more."""
    for folder in folder_of_works.glob("*"):
        if folder.is_dir() and folder.name not in names:
            shutil.rmtree(folder)


class Work:
    """One work's folder: its files, and how far it has come. Used by one thread at a time."""

    def __init__(self, folder: Path, of: str = "") -> None:
        """Open the folder, or make it. What is there counts only if its note and files are whole and it is `of` the same."""
        self._folder = folder
        self._of = of
        self._notes = 0
        self._files: dict[str, str] = {}
        self.progress: dict[str, Any] = {}
        """As last noted; empty at the beginning."""
        noted = _read_note(folder)
        if noted is None or noted["of"] != of or not _are_whole(folder, noted["files"]):
            self.begin_anew()
            return
        self._notes, self._files, self.progress = noted["notes"], noted["files"], noted["progress"]
        for path in folder.iterdir():
            if path.name != NOTE_FILE and path.name not in self._files:
                path.unlink()

    def begin_anew(self) -> None:
        """Forget everything."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(mode=0o700)
        self._notes, self._files, self.progress = 0, {}, {}

    def add(self, kind: str, rows: pl.DataFrame) -> None:
        """Write rows, durably, to a file `NNNNNN.<kind>.parquet`. They count with the next note."""
        path = self._folder / f"{self._notes:06}.{kind}.parquet"
        rows.write_parquet(path, compression="lz4", statistics=False)
        fsync_file(path)
        self._files[path.name] = _sha256(path)

    def note(self, progress: dict[str, Any]) -> None:
        """Say, durably, how far the work has come with what was added."""
        fsync_folder(self._folder)
        self._notes += 1
        self.progress = progress
        document = {"of": self._of, "notes": self._notes, "files": self._files, "progress": progress}
        content = orjson.dumps(document)
        digest = hashlib.sha256(content).hexdigest().encode()
        write_atomically(self._folder / NOTE_FILE, digest + b"\n" + content)

    def files(self, kind: str) -> list[Path]:
        """The files of a kind that were added, in order."""
        return [self._folder / name for name in sorted(self._files) if name.endswith(f".{kind}.parquet")]


def digest_of(values: Collection[str]) -> str:
    """What a work is `of`, from the values it depends on, in their order."""
    return hashlib.sha256(orjson.dumps(list(values))).hexdigest()


def _request_digest(request: Mapping[str, Any]) -> str:
    # The columns are part of it: another version may read other ones.
    columns = [[(name, str(kind)) for name, kind in table.items()] for table in _TABLES]
    return hashlib.sha256(orjson.dumps([request, columns], option=orjson.OPT_SORT_KEYS)).hexdigest()


def _started(folder: Path, digest: str) -> datetime | None:
    """When the reading of this request began; None when there is none."""
    try:
        document = orjson.loads((folder / READING_FILE).read_bytes())
        if document["format_version"] != FORMAT_VERSION or document["request"] != digest:
            return None
        return datetime.fromisoformat(document["started_at"]).astimezone(UTC)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _accounts_noted(folder: Path) -> int:
    notes = map(_read_note, folder.glob(f"*.{LIVE}"))
    return sum(note["progress"].get("accounts", 0) for note in notes if note is not None)


def _read_note(folder: Path) -> dict[str, Any] | None:
    """The note of a work; None when there is none, or it is damaged."""
    try:
        content = (folder / NOTE_FILE).read_bytes()
    except OSError:
        return None
    digest, document = content[:_DIGEST_CHARACTERS], content[_DIGEST_CHARACTERS + 1 :]
    if hashlib.sha256(document).hexdigest().encode() != digest:
        return None
    note: dict[str, Any] = orjson.loads(document)
    return note


def _are_whole(folder: Path, files: Mapping[str, str]) -> bool:
    """Whether every file has the bytes that were noted. It costs reading the spool once, some seconds in tens of gigabytes."""
    try:
        return all(_sha256(folder / name) == digest for name, digest in files.items())
    except OSError:
        return False


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
