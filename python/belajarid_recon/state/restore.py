"""A backup put back: as a new state folder, whole or not at all, checked file by file while it is written."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from belajarid_recon.errors import InputError, SettingsError
from belajarid_recon.secrets import KEY_BYTES
from belajarid_recon.state.archive import KEY_NAMES, ArchiveReader, Entry, Manifest, Progress, folders_above, naming
from belajarid_recon.state.atomic import PART_SUFFIX, fsync_folder
from belajarid_recon.state.backup import Watch, progress_of
from belajarid_recon.state.lock import LOCK_FILE, StateLock
from belajarid_recon.state.sealing import load_identities, opening


@dataclass(frozen=True)
class RestoreRequest:
    """What is opened, with which identity, and where it goes."""

    backup: Path
    identity: Path
    """File with an age secret key of one of the backup's recipients."""
    state: Path
    """Must not exist, or be empty."""
    keys: Path | None = None
    """Folder for the key files; absent: they stay in the backup."""


@dataclass(frozen=True)
class Restored:
    """What was put back."""

    state: Path
    manifest: Manifest
    keys: tuple[Path, ...]
    """Key files that were written."""


def restore(request: RestoreRequest, watch: Watch) -> Restored:
    """Open a backup and make it the state folder.

    It is written beside its place and renamed once every file is there, checked and synced. Raises SettingsError for a place that is
    taken and for an identity that cannot be used or is no recipient's, InputError for a backup that is damaged, foreign or of a newer
    format, OSError when the disk refuses; nothing is left behind then, nor after Ctrl-C.
    """
    state = request.state.resolve()
    identities = load_identities(request.identity)
    _refuse_places(state, request.keys)
    beside = state.with_name(state.name + PART_SUFFIX)
    with request.backup.open("rb") as file, _new_folder(beside) as folder:
        with opening(file, identities, name=request.backup) as stream:
            reader = ArchiveReader(stream, request.backup)
            manifest = reader.manifest()
            progress = progress_of(watch, "MiB restored", manifest.size)
            keys = _unpack(reader, manifest, folder, progress)
            reader.end()
        for path in sorted({above for entry in manifest.files for above in _folders_of(entry)}):
            fsync_folder(folder / path)
        fsync_folder(folder)
        with _written_keys(request.keys, keys) as paths:
            _put(folder, state)
        return Restored(state, manifest, paths)


def _refuse_places(state: Path, keys: Path | None) -> None:
    """Refuse a state folder that holds something or cannot be renamed to, and key files that are there."""
    if state.is_dir() and os.path.ismount(state):
        raise SettingsError(
            f"the state folder is where a disk is mounted: {state}", hint="name a folder on that disk as state"
        )
    if os.path.lexists(state) and not (state.is_dir() and not any(state.iterdir())):
        raise _taken(state)
    for path in [keys / name for name in KEY_NAMES] if keys else []:
        if os.path.lexists(path):
            raise SettingsError(f"there is a key file already: {path}", hint="name another folder with --keys")


@contextmanager
def _new_folder(path: Path) -> Iterator[Path]:
    """A folder of our own, empty but for its lock; it is gone after a block that failed.

    Its lock goes with it: nobody begins a run in a state folder that has just come to its place.
    """
    with StateLock(path, purpose="restore"):
        try:
            _empty(path)
            yield path
        except BaseException:
            shutil.rmtree(path, ignore_errors=True)
            raise


def _empty(folder: Path) -> None:
    """Remove what a killed restore left."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != LOCK_FILE:
            path.unlink()


def _unpack(reader: ArchiveReader, manifest: Manifest, folder: Path, progress: Progress) -> dict[str, bytes]:
    """Write the state's files below `folder`, synced. Returns the keys' files by name."""
    keys: dict[str, bytes] = {}
    for entry in manifest.files:
        if entry.is_key:
            keys[entry.name] = b"".join(reader.content(entry))
            _refuse_no_key(keys[entry.name], entry)
        elif entry.name == LOCK_FILE:
            raise InputError("backup holds a lock, which none does", hint="use another copy of it")
        else:
            for above in folders_above(entry.name):
                (folder / above).mkdir(mode=0o700, exist_ok=True)
            _write_new(folder / entry.name, reader.content(entry), progress)
    return keys


def _refuse_no_key(content: bytes, entry: Entry) -> None:
    try:
        if len(bytes.fromhex(content.decode("ascii"))) == KEY_BYTES:
            return
    except ValueError:
        pass
    raise InputError(f"backup holds a key that is none: {entry.path}", hint="use another copy of it")


def _write_new(path: Path, content: Iterator[bytes], progress: Progress) -> None:
    """A new file of mode 600, durable; gone again if it cannot be written."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with naming(path), os.fdopen(descriptor, "wb") as file:
            for chunk in content:
                file.write(chunk)
                progress(len(chunk))
            file.flush()
            os.fsync(descriptor)
    except BaseException:
        path.unlink()
        raise


@contextmanager
def _written_keys(folder: Path | None, keys: dict[str, bytes]) -> Iterator[tuple[Path, ...]]:
    """Put the key files into their folder; they are gone again if the block fails."""
    if folder is None:
        yield ()
        return
    written: list[Path] = []
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        for name, content in keys.items():
            _write_new(folder / name, iter((content,)), lambda _: None)
            written.append(folder / name)
        fsync_folder(folder)
        yield tuple(written)
    except BaseException:
        for path in written:
            path.unlink(missing_ok=True)
        raise


def _put(folder: Path, state: Path) -> None:
    """Give the finished folder its name. A rename replaces an empty folder and no other."""
    try:
        folder.rename(state)
    except OSError as error:
        if error.errno in {errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR}:
            raise _taken(state) from error
        raise
    fsync_folder(state.parent)


def _folders_of(entry: Entry) -> Iterator[str]:
    return iter(()) if entry.is_key else folders_above(entry.name)


def _taken(state: Path) -> SettingsError:
    return SettingsError(
        f"there is something already: {state}", hint="move it away, or name another folder as state in the settings"
    )
