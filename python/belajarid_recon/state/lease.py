"""Who may write: one start at a time, between hosts too, each under an epoch of its own.

The lock (state.lock) is sure on one host. A state folder that several hosts share may have locks that do not cross them, and a
holder that was frozen for minutes wakes up and writes on. So each start takes the next epoch, whose file only one can make, and
writes a beat into it while it lives:

    <state>/lease/<epoch>.json    who took it, how often it has been confirmed since, whether it was given back

Whoever finds an epoch that was not given back watches it for a whole lease before taking the next one; on the same running machine the
lock has proved already that its holder is dead. Whoever cannot confirm an epoch for half a lease sends nothing and writes nothing.

Confirming is beat first, then a look for a later epoch; taking is a later epoch first, then a look at the beat. So of a holder that wakes
up and a start that takes over, at least one sees the other.
"""

from __future__ import annotations

import contextlib
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson

from belajarid_recon.components import Clock, Randomness
from belajarid_recon.errors import BusyError, PlanError
from belajarid_recon.state.atomic import fsync_folder, write_atomically
from belajarid_recon.state.lock import StateLock

FORMAT_VERSION = 1
LEASE_FOLDER = "lease"
IDENTITY_FILE = "identity"
"""In the state folder: 32 hexadecimal digits drawn once, which name it to its anchor and to the directory."""
LEASE_SECONDS = 60.0
"""Real seconds: what a frozen machine loses is real time, whatever the clock's scale."""
BEAT_SECONDS = LEASE_SECONDS / 6
"""Between two confirmations; half a lease passes without one before anything stops."""
LOOK_SECONDS = 1.0
"""Between two looks at an epoch that somebody else may still hold."""
EPOCHS_KEPT = 1_000
"""Whose tokens are known, so that the note of another copy is told from our own."""
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def state_identity(state: Path, randomness: Randomness) -> str:
    """The state folder's name for itself, drawn at the first call. Call it with the state folder's lock held."""
    found = known_identity(state)
    if found is not None:
        return found
    drawn = randomness.bytes(16).hex()
    write_atomically(state / IDENTITY_FILE, drawn.encode("ascii"))
    return drawn


def known_identity(state: Path) -> str | None:
    """The state folder's name for itself; None for one that has never been applied from."""
    try:
        return (state / IDENTITY_FILE).read_text(encoding="ascii")
    except FileNotFoundError:
        return None


@dataclass(frozen=True)
class Epoch:
    """One start: the how-manieth of which state folder."""

    number: int
    token: str
    """16 hexadecimal digits drawn by the start: two copies of a state folder take the same number, and not the same token."""
    identity: str
    """Of the state folder."""
    run: str = ""
    """The run it applied."""


@dataclass(frozen=True)
class KnownEpochs:
    """The epochs that a state folder has taken."""

    identity: str | None
    newest: int
    """0 before the first."""
    tokens: dict[int, str]
    """Of the latest of them."""

    @classmethod
    def of(cls, state: Path) -> KnownEpochs:
        """Those of a state folder. One whose file cannot be read is known by its number."""
        files = {int(path.stem): path for path in _epoch_files(state)}
        tokens = {number: document["token"] for number, path in files.items() if (document := _read(path))}
        known = {number: token for number, token in tokens.items() if token}
        return cls(known_identity(state), max(files, default=0), known)

    def lacks(self, epoch: Epoch) -> bool:
        """Whether somebody else has taken this epoch, or this state folder is an older copy."""
        if epoch.identity != self.identity or epoch.number > self.newest:
            return True
        return self.tokens.get(epoch.number, epoch.token) != epoch.token


@dataclass(frozen=True)
class _Holder:
    """One start, as others see it."""

    token: str
    pid: int
    boot: str
    """Which running machine: no two have one, and a restart changes it."""


class Lease:
    """The epoch of one start, confirmed by a thread while this object is entered."""

    def __init__(self, lock: StateLock, clock: Clock, randomness: Randomness, *, after: int = 0) -> None:
        """Take nothing yet. `after` is an epoch that is known from elsewhere: the next one is later than it, too."""
        self._folder = lock.state / LEASE_FOLDER
        lock.require(lock.state)
        self._clock = clock
        self._holder = _Holder(randomness.bytes(8).hex(), os.getpid(), _boot())
        self._guard = threading.Lock()
        self._ended = threading.Event()
        self._beats = 0
        self._lost: str | None = None
        self._confirmed_at = float("-inf")
        self._thread: threading.Thread | None = None
        self._after = after
        self._identity = state_identity(lock.state, randomness)
        self.number = 0
        """Greater than every epoch of this state folder before it; 0 until it is taken."""
        self._next_file = ""
        """Of the epoch after it; a name, because every write asks for it."""

    def __enter__(self) -> Self:
        """Take the next epoch. Raises BusyError naming the holder of one that is alive, and where the folder cannot be written."""
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            self._take()
        except OSError as error:
            raise BusyError(f"lease cannot be written: {self._folder}", hint=str(error.strerror)) from error
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the epoch back, so that the next start on another host need not wait."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        with self._guard, contextlib.suppress(OSError):
            if self._lost is None:
                self._lost = "it was given back"
                self._write(released=True)

    @property
    def epoch(self) -> Epoch:
        """What was taken."""
        return Epoch(self.number, self._holder.token, self._identity)

    def require(self) -> None:
        """Return if this start may write now. Raises BusyError when a later one has taken over, or nobody can tell."""
        fresh = self._lost is None and self._now() - self._confirmed_at <= LEASE_SECONDS / 2
        # A clock stands still while a machine is suspended: the next epoch's file tells all the same.
        if fresh and not self._overtaken():
            return
        with self._guard:
            if self._lost is None:
                self._confirm()
            if self._lost is not None:
                raise BusyError(f"lease is lost: {self._folder}: {self._lost}", hint=_LOST_HINT)

    def _overtaken(self) -> bool:
        """Whether a later epoch is there. Raises BusyError when nobody can tell."""
        try:
            os.stat(self._next_file)  # noqa: PTH116 - a path takes ten times as long
        except FileNotFoundError:
            return False
        except OSError as error:
            raise BusyError(f"lease cannot be read: {self._folder}", hint=str(error.strerror)) from error
        return True

    def _take(self) -> None:
        before = KnownEpochs.of(self._folder.parent).newest
        seen = self._watched(before) if before else None
        self.number = max(before, self._after) + 1
        self._next_file = str(self._path(self.number + 1))
        taken = self._now()
        self._create()
        if seen is not None and (now := _read(self._path(before))) is not None and now != seen:
            self._write(released=True)
            raise self._held(now)
        self._confirmed_at = taken
        for path in _epoch_files(self._folder.parent):
            if int(path.stem) <= self.number - EPOCHS_KEPT:
                path.unlink(missing_ok=True)

    def _watched(self, epoch: int) -> dict[str, Any] | None:
        """What an epoch's file says once its holder is known to be dead or done. Raises BusyError while it is alive."""
        first = _read(self._path(epoch))
        if first is None or first["released"] or (first["boot"] and first["boot"] == self._holder.boot):
            return first
        began = self._now()
        while self._now() - began < LEASE_SECONDS:
            self._clock.sleep(LOOK_SECONDS / self._clock.real(1.0))
            now = _read(self._path(epoch))
            if now is None or now["released"]:
                return now
            if now != first:
                raise self._held(now)
        return first

    def _held(self, by: dict[str, Any]) -> BusyError:
        return BusyError(
            f"state folder is in use on another host: {self._folder.parent}",
            hint=f"process {by['pid']} there holds it: wait for it, or end it",
        )

    def _create(self) -> None:
        """Make the epoch's file, whole, if nobody else has."""
        draft = self._folder / f"draft-{self._holder.token}"
        write_atomically(draft, self._content(released=False))
        try:
            os.link(draft, self._path(self.number))
        except FileExistsError as error:
            raise BusyError(
                f"state folder is in use: {self._folder.parent}", hint="another start has just taken it: wait for it"
            ) from error
        finally:
            draft.unlink()
        fsync_folder(self._folder)

    def _keep(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            with self._guard:
                if self._lost is None:
                    self._confirm()
                if self._lost is not None:
                    return

    def _confirm(self) -> None:
        """Write a beat, then look for a later epoch. A folder that cannot be used confirms nothing and loses nothing yet."""
        began = self._now()
        self._beats += 1
        try:
            self._write(released=False)
            newest = max(int(path.stem) for path in _epoch_files(self._folder.parent))
        except OSError as error:
            if self._now() - self._confirmed_at > LEASE_SECONDS / 2:
                self._lost = f"it cannot be confirmed: {error.strerror}"
            return
        if newest != self.number:
            self._lost = f"epoch {newest} was taken after our {self.number}"
        else:
            self._confirmed_at = began

    def _write(self, *, released: bool) -> None:
        write_atomically(self._path(self.number), self._content(released=released))

    def _content(self, *, released: bool) -> bytes:
        holder = self._holder
        return orjson.dumps(
            {
                "format_version": FORMAT_VERSION,
                "token": holder.token,
                "pid": holder.pid,
                "boot": holder.boot,
                "beats": self._beats,
                "released": released,
            }
        )

    def _path(self, epoch: int) -> Path:
        return self._folder / f"{epoch:012}.json"

    def _now(self) -> float:
        """Real seconds since an arbitrary start."""
        return self._clock.real(self._clock.monotonic())


_LOST_HINT = (
    "nothing more was sent; when the other start is over, apply again: what was under way is settled by reading"
)


def refuse_later_epochs(written: int, epoch: int, what: Path) -> None:
    """Refuse what a later epoch than `epoch` has written already. Raises PlanError."""
    if written >= epoch:
        raise PlanError(
            f"state folder is older than what is in it: {what}: epoch {written}, and ours is {epoch}",
            hint="put the newest copy of the whole state folder back",
        )


def _read(path: Path) -> dict[str, Any] | None:
    """An epoch's file; None for one that is not there. One that cannot be read counts as held by somebody unknown."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        document: dict[str, Any] = orjson.loads(content)
        if document["format_version"] == FORMAT_VERSION and {"pid", "boot", "released", "token"} <= document.keys():
            return document
    except (ValueError, TypeError, KeyError):
        pass
    return {"pid": "unknown", "boot": "", "released": False, "token": "", "content": content}


def _epoch_files(state: Path) -> list[Path]:
    folder = state / LEASE_FOLDER
    if not folder.is_dir():
        return []
    return [path for path in folder.iterdir() if path.suffix == ".json" and path.stem.isdigit()]


def _boot() -> str:
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""
