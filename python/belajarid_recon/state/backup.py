"""A state folder and its keys as one sealed file, so that both survive the machine.

The state's lock is held meanwhile, and everything is read twice: for the manifest, which comes first, and for the archive. A file that
changed in between is noticed. A state that is damaged is not backed up: it would take the place of a good copy.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from belajarid_recon import __version__
from belajarid_recon.components import Clock
from belajarid_recon.errors import BusyError, SettingsError
from belajarid_recon.secrets import Secret
from belajarid_recon.state.archive import (
    KEYS_FOLDER,
    STATE_FOLDER,
    Entry,
    Manifest,
    Progress,
    file_digest,
    is_plain,
    naming,
    write_end,
    write_file,
    write_manifest,
)
from belajarid_recon.state.atomic import PART_SUFFIX, fsync_folder
from belajarid_recon.state.folders import READING_FOLDER, latest_run, unfinished_run
from belajarid_recon.state.journal import Journal, missing_journal
from belajarid_recon.state.lease import known_identity
from belajarid_recon.state.ledger import ledger_end, ledger_files
from belajarid_recon.state.lock import LOCK_FILE, StateLock
from belajarid_recon.state.sealing import sealing

Watch = Callable[[str, int, int], None]
"""Told a label, how much under it is done, and how much there is."""
_LEFT_OUT = (PART_SUFFIX, "-shm")
"""Ends of names that nobody needs elsewhere: what a kill left half written, and SQLite's shared memory, which it makes anew."""
_NOT_KEPT = frozenset({LOCK_FILE, READING_FOLDER})
"""Paths likewise: a reading is begun anew on another machine, and is as large as all else."""
_NO_HARD_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
MEBIBYTE = 1 << 20


@dataclass(frozen=True)
class BackupRequest:
    """What is sealed, to whom, and where it goes."""

    state: Path
    out: Path
    recipients: Sequence[str]
    """Age public keys, at least two."""
    keys: Mapping[str, Secret]
    key_prints: Mapping[str, str]


@dataclass(frozen=True)
class Backup:
    """A backup that was made."""

    path: Path
    size: int
    """Bytes of the sealed file."""
    sha256: str
    """Of the sealed file."""
    manifest: Manifest


def back_up(lock: StateLock, request: BackupRequest, clock: Clock, watch: Watch) -> Backup:
    """Seal the state folder and its keys into `request.out`: mode 600, whole or not there, and never over another file.

    Raises SettingsError for a place that is taken or within the state, and for what is neither file nor folder in the state; PlanError
    when ledger or journal are damaged; BusyError when something changed meanwhile; OSError when the disk refuses.
    """
    lock.require(request.state)
    _refuse_place(request)
    _refuse_damaged(request.state, clock)
    manifest = _manifest(request, clock, watch)
    temporary = request.out.with_name(request.out.name + PART_SUFFIX)
    temporary.unlink(missing_ok=True)
    try:
        with naming(temporary):
            size, sha256 = _write(temporary, request, manifest, watch)
        _put(temporary, request.out)
    finally:
        temporary.unlink(missing_ok=True)
    fsync_folder(request.out.parent)
    return Backup(request.out, size, sha256, manifest)


def _refuse_place(request: BackupRequest) -> None:
    out = request.out
    if os.path.lexists(out):
        raise SettingsError(f"there is something already: {out}", hint="name a file that is not there yet")
    if not out.parent.is_dir():
        raise SettingsError(f"no such folder: {out.parent}", hint="make it first")
    if out.parent.resolve().is_relative_to(request.state.resolve()):
        raise SettingsError(
            f"the backup would lie in the state folder: {out}", hint="put it elsewhere, best on another machine"
        )


def _refuse_damaged(state: Path, clock: Clock) -> None:
    """Read the ledger's chain and the unfinished run's journal through."""
    ledger_files(state)
    run = unfinished_run(state)
    if run is not None:
        if not run.journal.exists():
            raise missing_journal(run.journal)
        Journal.open(run.journal, clock=clock).close()


def _manifest(request: BackupRequest, clock: Clock, watch: Watch) -> Manifest:
    """Read everything once."""
    state = request.state
    paths = sorted(_files(state))
    progress = progress_of(watch, "MiB read", sum(size for _, size in paths))
    entries = [
        Entry(path=f"{KEYS_FOLDER}{name}", size=len(content), sha256=hashlib.sha256(content).hexdigest())
        for name, content in _key_files(request.keys)
    ]
    for path, _ in paths:
        size, digest = file_digest(state / path, progress)
        entries.append(Entry(path=STATE_FOLDER + path, size=size, sha256=digest))
    latest, unfinished = latest_run(state), unfinished_run(state)
    return Manifest(
        tool_version=__version__,
        made_at=clock.now(),
        state_identity=known_identity(state),
        latest_run=latest.run_id if latest else None,
        unfinished_run=unfinished.run_id if unfinished else None,
        ledger_end=ledger_end(state),
        key_prints=dict(request.key_prints),
        files=tuple(sorted(entries, key=lambda entry: entry.path)),
    )


def _files(folder: Path, above: str = "") -> Iterator[tuple[str, int]]:
    """Relative path and size in bytes of every file that is worth keeping. Raises SettingsError for what is no plain file or folder."""
    with os.scandir(folder) as found:
        for one in found:
            path = above + one.name
            if path in _NOT_KEPT or one.name.endswith(_LEFT_OUT):
                continue
            facts = one.stat(follow_symlinks=False)
            if stat.S_ISDIR(facts.st_mode):
                yield from _files(Path(one.path), f"{path}/")
            elif stat.S_ISREG(facts.st_mode) and is_plain(path):
                yield path, facts.st_size
            else:
                raise SettingsError(
                    f"the state folder holds what is no plain file or folder: {one.path!a}",
                    hint="take links, sockets and files with odd names out of it",
                )


def _write(temporary: Path, request: BackupRequest, manifest: Manifest, watch: Watch) -> tuple[int, str]:
    """Seal keys and files into a new file and sync it. Returns its size and SHA-256."""
    progress = progress_of(watch, "MiB sealed", manifest.size)
    keys = {f"{KEYS_FOLDER}{name}": content for name, content in _key_files(request.keys)}
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        hashed = _Hashed(file)
        with sealing(hashed, request.recipients) as stream:
            write_manifest(stream, manifest)
            for entry in manifest.files:
                place = request.state / entry.name
                with io.BytesIO(keys[entry.path]) if entry.is_key else place.open("rb") as content:
                    if not write_file(stream, entry, content, progress):
                        raise BusyError(
                            f"changed while it was read: {place}",
                            hint="let nothing else write to the state folder, then type the command again",
                        )
            write_end(stream)
        file.flush()
        os.fsync(descriptor)
    return hashed.size, hashed.digest.hexdigest()


class _Hashed:
    """A file, and size and SHA-256 of what was written to it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = 0
        self.digest = hashlib.sha256()

    def write(self, content: bytes) -> int:
        """Write all of it."""
        self._file.write(content)
        self.digest.update(content)
        self.size += len(content)
        return len(content)


def _put(temporary: Path, out: Path) -> None:
    """Give the finished file its name; unlike a rename a link does not replace what came there meanwhile."""
    try:
        os.link(temporary, out)
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        # Sticks and shares may have no links; there the look before has to do.
        if os.path.lexists(out):
            raise
        temporary.rename(out)


def _key_files(keys: Mapping[str, Secret]) -> list[tuple[str, bytes]]:
    """Name and content of each key's file."""
    return [(name, key.reveal().hex().encode() + b"\n") for name, key in sorted(keys.items())]


def progress_of(watch: Watch, label: str, total: int) -> Progress:
    """Bytes as mebibytes for a watch."""
    done = 0

    def progress(count: int) -> None:
        nonlocal done
        done += count
        watch(label, done // MEBIBYTE, total // MEBIBYTE)

    watch(label, 0, total // MEBIBYTE)
    return progress
