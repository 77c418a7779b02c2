"""The journal of one run: intents before requests, outcomes after them, in SQLite.

A step's life, each arrow one row:

    (nothing) ──▶ intent ──▶ done        carried out, known from the reply or from reading; settled
                    │  ├───▶ parked      will not be carried out by this run, with a reason; settled
                    │  ├───▶ throttled   not carried out for want of quota; no attempt used up ──▶ intent
                    │  └───▶ absent      reading showed no effect; the attempt is used up      ──▶ intent
                    └─ (ended here) an open intent: only reading the directory tells what happened

    an open intent ──▶ stopped   left open by a program that ended in good order
                   ──▶ crashed   it was under way when the program died; `alone` as reason when nothing else was
                   ──▶ alone     taken up with nothing else under way, because it was there at too many deaths

    (nothing), throttled, absent ──▶ done, parked     settled by looking at the account; no request was sent this time

    done ──▶ confirmed       read back later: the directory has every value that was written
      └────▶ contradicted    read back later, and after the lag: it has not; the reason names what differs

    started        no step's row (step -1): the rows after it were written under the epoch that stands as its attempt

Rows are added, never changed. Bodies are in the plan; a row holds numbers, a reason code, the account's immutable id and a
fingerprint of the request without its password.

SQLite reports neither a flipped bit nor a tail that recovery cut off, so rows carry a hash chain, and the newest row's
number and chain are copied to a second file after each commit. Against power loss: WAL with synchronous=FULL, and the
folder is synced after the switch to WAL, else a rollback journal that comes back from the dead undoes acknowledged rows.
"""

from __future__ import annotations

import errno
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import apsw
import orjson

from belajarid_recon.components import Clock
from belajarid_recon.errors import BusyError, PlanError, SettingsError
from belajarid_recon.state.atomic import PART_SUFFIX, fsync_file, fsync_folder, write_atomically
from belajarid_recon.state.lease import refuse_later_epochs

FORMAT_VERSION = 1
SQLITE_VERSION_MIN = (3, 51, 3)
"""Versions before it can corrupt a WAL database (sqlite.org/wal.html#walresetbug)."""
CHAIN_BYTES = 16
ROWS_PER_STATEMENT = 256
ROWS_PER_READ = 4_096
BUSY_MILLISECONDS = 5_000
DAMAGED_HINT = (
    "belajarid-recon rebuild settles its steps by what the directory shows; or abandon the run and plan again: "
    "accounts it made are found by their markers, their addresses stay reserved"
)

_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE events (
    n INTEGER PRIMARY KEY,  -- dense from 1; a random key would cost three quarters of the rate
    step INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    state TEXT NOT NULL,
    status INTEGER,
    reason TEXT NOT NULL,
    target_id TEXT,
    fingerprint TEXT,
    at INTEGER NOT NULL,
    chain BLOB NOT NULL
) STRICT;
"""
_COLUMNS = "n, step, attempt, state, status, reason, target_id, fingerprint, at, chain"
_COLUMN_COUNT = 10
_REFUSALS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EROFS})


class EventState(StrEnum):
    """What a row says about its step."""

    INTENT = "intent"
    DONE = "done"
    PARKED = "parked"
    THROTTLED = "throttled"
    ABSENT = "absent"
    CONFIRMED = "confirmed"
    CONTRADICTED = "contradicted"
    STOPPED = "stopped"
    CRASHED = "crashed"
    ALONE = "alone"
    STARTED = "started"


class Event(NamedTuple):
    """One row to be written."""

    step: int
    attempt: int
    """Which sending of the step, from 1; 0 on what was read back."""
    state: EventState
    status: int | None = None
    """HTTP status, where a reply told."""
    reason: str = ""
    """Why it was parked or contradicted; on a done step, a finding."""
    target_id: str | None = None
    """Immutable id of the account."""
    fingerprint: str | None = None
    """Of the request without its password; on intents."""


@dataclass(frozen=True, slots=True)
class Sendings:
    """Where an unsettled step stands."""

    attempt: int
    """Number of its latest sending."""
    used: int
    """Sendings that count against the settings' attempts."""
    fingerprint: str | None
    open: bool
    """Whether nobody knows what its latest sending did."""
    crashes: int = 0
    """Deaths of the program at which it was under way."""
    crashed_alone: bool = False
    """Whether nothing else was at the latest of them."""
    stopped: bool = False
    """Whether it was left open in good order."""
    alone: bool = False
    """Whether it was taken up with nothing else under way."""


ALONE_REASON = "alone"
"""Reason on a crashed row: nothing else was under way."""


_MARKS = frozenset({EventState.STOPPED, EventState.CRASHED, EventState.ALONE})
"""States that say something of an open intent and leave it open."""
_DONE, _PARKED, _SENT, _CONFIRMED, _CONTRADICTED = 1, 2, 4, 8, 16
"""Bits of a step's byte. The third stands for a request that may have taken effect."""


class _Waiting:
    """Rows of one thread that waits for them to be durable."""

    __slots__ = ("events", "written")

    def __init__(self, events: Sequence[Event]) -> None:
        self.events = events
        self.written = False


class Journal:
    """An open journal with one writer connection. `commit` may be called from any thread."""

    def __init__(self, path: Path, connection: apsw.Connection, clock: Clock) -> None:
        self.path = path
        self._connection = connection
        self._clock = clock
        self._lock = threading.Lock()
        self._queue: deque[_Waiting] = deque()
        self._failure: Exception | None = None
        self._follower: Callable[[int, bytes], None] | None = None
        self._may_write: Callable[[], None] = _always
        self.epoch = 0
        """Under which the newest rows were written; 0 before any start."""
        self._n = 0
        self.meta = _read_meta(path, connection)
        self._chain = _first_chain(self.meta)
        self._steps = bytearray(int(self.meta["steps"]))
        self._unsettled: dict[int, Sendings] = {}
        self._head = os.open(_head_path(path), os.O_RDWR | os.O_CLOEXEC)

    @classmethod
    def create(cls, path: Path, meta: Mapping[str, str], *, steps: int, clock: Clock) -> Self:
        """Make a journal for a plan of `steps` steps and open it.

        It is made beside its place and renamed once it is durable, so that a kill leaves either no journal or a whole one.
        Raises BusyError when the disk refuses.
        """
        refuse_old_sqlite(apsw.sqlite_lib_version())
        facts = {"format_version": str(FORMAT_VERSION), "steps": str(steps), **meta}
        try:
            cls._make(path, facts)
        except (apsw.Error, OSError) as error:
            raise _unwritable(path) from error
        return cls.open(path, clock=clock)

    @staticmethod
    def _make(path: Path, facts: Mapping[str, str]) -> None:
        temporary = path.with_name(path.name + PART_SUFFIX)
        for suffix in ("", "-wal", "-shm", "-journal"):
            temporary.with_name(temporary.name + suffix).unlink(missing_ok=True)
        connection = apsw.Connection(str(temporary))
        _set_durable(connection)
        with connection:
            connection.execute(_SCHEMA)
            connection.executemany("INSERT INTO meta VALUES (?, ?)", sorted(facts.items()))
        connection.close()
        temporary.chmod(0o600)
        fsync_file(temporary)
        write_atomically(_head_path(path), _head_text(0, _first_chain(facts)))
        temporary.rename(path)
        fsync_folder(path.parent)

    @classmethod
    def open(cls, path: Path, *, clock: Clock) -> Self:
        """Open a journal and read it through.

        Raises PlanError when a row, its chain or its newest rows are damaged or gone, and BusyError when the disk refuses: its
        refusal says nothing of the rows. Costs about 5 µs a row.
        """
        refuse_old_sqlite(apsw.sqlite_lib_version())
        try:
            connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
            _set_durable(connection)
            journal = cls(path, connection, clock)
            journal._replay()
        except (apsw.Error, OSError, LookupError, TypeError, ValueError) as error:
            raise _unwritable(path) if _is_refusal(error) else _damaged(path, type(error).__name__) from error
        return journal

    def __enter__(self) -> Self:
        """Return the journal itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Close the connection; further commits fail."""
        with self._lock:
            if self._head >= 0:
                os.close(self._head)
                self._head = -1
                self._connection.close()

    def start(self, epoch: int, may_write: Callable[[], None]) -> None:
        """Write that all rows from now on are of `epoch`. `may_write` is asked before each commit and stops it by raising.

        Raises PlanError when a later epoch has written here already.
        """
        refuse_later_epochs(self.epoch, epoch, self.path)
        self._may_write = may_write
        self.commit([Event(-1, epoch, EventState.STARTED)])

    def commit(self, events: Sequence[Event]) -> None:
        """Write `events` in one transaction. They are durable on return.

        Raises BusyError when they cannot be written (full disk, failed fsync); after that every commit fails, because what
        the disk holds is not known until the journal is opened again.
        """
        if not events:
            return
        self._may_write()
        waiting = _Waiting(events)
        self._queue.append(waiting)
        with self._lock:
            if not waiting.written:
                self._write_queue()

    def _write_queue(self) -> None:
        """Write what every waiting thread brought: while one sync runs, the others' rows gather for the next."""
        if isinstance(self._failure, BusyError):
            raise self._failure
        if self._failure is not None:
            raise _unwritable(self.path) from self._failure
        group = [self._queue.popleft() for _ in range(len(self._queue))]
        events = [event for waiting in group for event in waiting.events]
        bindings, n, chain = self._bind(events)
        try:
            self._insert(bindings, len(events))
            os.pwrite(self._head, _head_text(n, chain), 0)
        except (apsw.Error, OSError) as error:
            self._failure = error
            raise _unwritable(self.path) from error
        self._n, self._chain = n, chain
        for event in events:
            self._count(event)
        for waiting in group:
            waiting.written = True
        self._tell_follower()

    def follow(self, follower: Callable[[int, bytes], None]) -> None:
        """Have number and chain value of the newest row told to `follower`, now and after each commit, under the journal's lock.

        What it raises stops the journal: no later commit succeeds.
        """
        with self._lock:
            self._follower = follower
            self._tell_follower()

    def _tell_follower(self) -> None:
        if self._follower is not None:
            try:
                self._follower(self._n, self._chain)
            except Exception as error:
                self._failure = error
                raise

    def _bind(self, events: Sequence[Event]) -> tuple[list[Any], int, bytes]:
        """The rows of `events`, flat, and where they leave the count and the chain."""
        at = int(self._clock.now().timestamp() * 1_000)
        n, chain = self._n, self._chain
        bindings: list[Any] = []
        for event in events:
            n += 1
            row: tuple[Any, ...] = (n, *event, at)
            chain = _next_chain(chain, row)
            bindings += row
            bindings.append(chain)
        return bindings, n, chain

    def _insert(self, bindings: list[Any], count: int) -> None:
        """One statement is one transaction and one round through the interpreter's lock."""
        if count <= ROWS_PER_STATEMENT:
            self._connection.execute(_insert_statement(count), bindings)
            return
        with self._connection:
            for start in range(0, count, ROWS_PER_STATEMENT):
                rows = bindings[start * _COLUMN_COUNT : (start + ROWS_PER_STATEMENT) * _COLUMN_COUNT]
                self._connection.execute(_insert_statement(len(rows) // _COLUMN_COUNT), rows)

    def _replay(self) -> None:
        """Check every row against the chain, and the newest against its copy outside; count as `commit` does."""
        head_n, head_chain = _read_head(self._head)
        if head_n == 0 and head_chain != self._chain:
            raise _damaged(self.path, "its facts")
        for row in self._rows():
            n, step, attempt, state, status, reason, target_id, fingerprint, _, chain = row
            expected = _next_chain(self._chain, row[:-1])
            if n != self._n + 1 or chain != expected:
                raise _damaged(self.path, f"row {self._n + 1}")
            self._n, self._chain = n, expected
            self._count(Event(step, attempt, EventState(state), status, reason, target_id, fingerprint))
            if n == head_n and chain != head_chain:
                raise _damaged(self.path, f"row {n}")
        if head_n > self._n:
            raise _damaged(self.path, f"rows after {self._n} are gone")

    def _rows(self) -> Iterator[tuple[Any, ...]]:
        """All rows in order, a chunk at a time."""
        last = 0
        while True:
            query = f"SELECT {_COLUMNS} FROM events WHERE n > ? ORDER BY n LIMIT {ROWS_PER_READ}"  # noqa: S608 - constants
            rows: list[tuple[Any, ...]] = self._connection.execute(query, (last,)).fetchall()
            if not rows:
                return
            yield from rows
            last = rows[-1][0]

    def _count(self, event: Event) -> None:
        """Keep what decisions need: a byte for each step, and only the steps in trouble in full."""
        step, state = event.step, event.state
        if state is EventState.INTENT:
            before = self._unsettled.get(step)
            used = before.used if before else 0
            crashes, alone = (before.crashes, before.alone) if before else (0, False)
            self._unsettled[step] = Sendings(
                event.attempt, used + 1, event.fingerprint, open=True, crashes=crashes, alone=alone
            )
            self._steps[step] |= _SENT
        elif state is EventState.STARTED:
            self.epoch = event.attempt
        elif state in _MARKS:
            self._unsettled[step] = _marked(self._unsettled[step], event)
        elif state is EventState.DONE or state is EventState.PARKED:
            self._steps[step] |= _DONE if state is EventState.DONE else _PARKED
            self._unsettled.pop(step, None)
        elif state is EventState.CONFIRMED or state is EventState.CONTRADICTED:
            self._steps[step] |= _CONFIRMED if state is EventState.CONFIRMED else _CONTRADICTED
        else:
            before = self._unsettled[step]
            used = before.used - (state is EventState.THROTTLED)
            self._unsettled[step] = replace(before, used=used, open=False)
            if not used:
                self._steps[step] &= ~_SENT

    @property
    def newest(self) -> tuple[int, bytes]:
        """Number and chain value of the newest row; 0 and the facts' own before any."""
        return self._n, self._chain

    def passes(self, n: int, chain: bytes) -> bool:
        """Whether row `n` has this chain value, and so everything before it is what it was."""
        if n == 0:
            return chain == _first_chain(self.meta)
        return self._connection.execute("SELECT chain FROM events WHERE n = ?", (n,)).fetchall() == [(chain,)]

    def is_settled(self, step: int) -> bool:
        """Whether the step needs nothing more from this run."""
        return bool(self._steps[step] & (_DONE | _PARKED))

    def is_done(self, step: int) -> bool:
        """Whether the step was carried out."""
        return bool(self._steps[step] & _DONE)

    def was_sent(self, step: int) -> bool:
        """Whether a request of the step may have taken effect, or may yet: sent at least once, and not only throttled."""
        return bool(self._steps[step] & _SENT)

    def awaits_reading(self, step: int) -> bool:
        """Whether the step was carried out by a request of ours and nobody has read since what the directory has."""
        return self._steps[step] & (_DONE | _SENT | _CONFIRMED | _CONTRADICTED) == _DONE | _SENT

    def is_confirmed(self, step: int) -> bool:
        """Whether the directory was read later and has what was written."""
        return bool(self._steps[step] & _CONFIRMED)

    def is_contradicted(self, step: int) -> bool:
        """Whether the directory was read later and has not what was written."""
        return bool(self._steps[step] & _CONTRADICTED)

    @property
    def settled_count(self) -> int:
        """Steps that need nothing more from this run."""
        return len(self._steps) - self._steps.count(0) - self._steps.count(_SENT)

    def unsettled(self) -> dict[int, Sendings]:
        """Steps that were sent and are not settled, by number."""
        return dict(self._unsettled)

    def sendings(self, step: int) -> Sendings | None:
        """Where an unsettled step stands; None if it was never sent."""
        return self._unsettled.get(step)

    def open_intents(self) -> dict[int, Sendings]:
        """Steps whose latest sending nobody knows the effect of."""
        return {step: sendings for step, sendings in self.unsettled().items() if sendings.open}

    def reasons(self) -> Iterator[tuple[int, EventState, str]]:
        """Step, state and reason of every step that has one: parked, done with a finding, contradicted."""
        states = "'done', 'parked', 'contradicted'"
        query = f"SELECT step, state, reason FROM events WHERE state IN ({states}) AND reason <> '' ORDER BY n"  # noqa: S608
        rows: Iterator[tuple[Any, ...]] = self._connection.execute(query)
        for step, state, reason in rows:
            yield step, EventState(state), reason


def _always() -> None:
    """No start was named: nobody else is asked."""


def _marked(sendings: Sendings, event: Event) -> Sendings:
    """Where a step stands after a row that leaves its intent open."""
    if event.state is EventState.ALONE:
        return replace(sendings, alone=True, stopped=False)
    if event.state is EventState.STOPPED:
        return replace(sendings, stopped=True, alone=False)
    crashed_alone = event.reason == ALONE_REASON
    return replace(sendings, crashes=sendings.crashes + 1, crashed_alone=crashed_alone, alone=False)


def newest_row(path: Path) -> int:
    """Number of the newest row as the copy of the head has it; 0 for one that cannot be read. May be a group behind."""
    try:
        descriptor = os.open(_head_path(path), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        return _read_head(descriptor)[0]
    except ValueError:
        return 0
    finally:
        os.close(descriptor)


def set_journal_aside(path: Path, to: Path) -> None:
    """Take a closed journal, whole or damaged, away with all its files, so that a kill never parts them. What is missing is passed over.

    First each has a second name in `to`, then they go, the database first.
    """
    names = _file_names(path)
    for name in names:
        with suppress(FileNotFoundError):
            os.link(path.parent / name, to / name)
    fsync_folder(to)
    for name in reversed(names):
        (path.parent / name).unlink(missing_ok=True)
    fsync_folder(path.parent)


def _file_names(path: Path) -> list[str]:
    """Files of a journal: the copy of its head first, the database last."""
    return [_head_path(path).name, *(path.name + suffix for suffix in ("-wal", "-shm", ""))]


def move_journal(path: Path, to: Path) -> None:
    """Move a closed journal with all its files to where none is; what is missing is passed over.

    A kill in between leaves no journal at the place it came to, never one without its head.
    """
    for name in _file_names(path):
        with suppress(FileNotFoundError):
            (path.parent / name).rename(to / name)
    fsync_folder(path.parent)
    fsync_folder(to)


def note_sent_before_damage(path: Path, sent: bytearray) -> None:
    """Set the byte of each step with an intent in the rows of a damaged journal that come before its damage; never raises for damage."""
    with suppress(apsw.Error, OSError, LookupError, TypeError, ValueError, PlanError):
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            chain = _first_chain(_read_meta(path, connection))
            for row in connection.execute(f"SELECT {_COLUMNS} FROM events ORDER BY n"):  # noqa: S608 - constants
                chain = _next_chain(chain, row[:-1])
                if row[-1] != chain:
                    break
                if row[3] == EventState.INTENT and 0 <= row[1] < len(sent):
                    sent[row[1]] = True
        finally:
            connection.close()


def carried_out(path: Path, steps: Iterable[int]) -> dict[int, datetime]:
    """When each of these steps was carried out, but for those that reading back has contradicted.

    Reads a journal that another process may be writing, and checks no chain: for reports, never for what is sent. Raises PlanError
    where it cannot be read.
    """
    wanted, found = set(steps), dict[int, datetime]()
    if not wanted:
        return found
    query = "SELECT step, state, at FROM events WHERE state IN (?, ?) ORDER BY n"
    try:
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            connection.set_busy_timeout(BUSY_MILLISECONDS)
            for step, state, at in connection.execute(query, (EventState.DONE, EventState.CONTRADICTED)):
                if step in wanted and state == EventState.DONE:
                    found[step] = datetime.fromtimestamp(at / 1_000, UTC)
                elif step in wanted:
                    found.pop(step, None)
        finally:
            connection.close()
    except (apsw.Error, OSError, TypeError, ValueError) as error:
        raise _unwritable(path) if _is_refusal(error) else _damaged(path, type(error).__name__) from error
    return found


def missing_journal(path: Path) -> PlanError:
    """What to raise where a run that has begun has no journal."""
    return _damaged(path, "it is missing")


def refuse_old_sqlite(version: str) -> None:
    """Raise SettingsError for an SQLite that can corrupt a journal."""
    if tuple(int(part) for part in version.split(".")[:3]) < SQLITE_VERSION_MIN:
        needed = ".".join(map(str, SQLITE_VERSION_MIN))
        raise SettingsError(
            f"SQLite is older than {needed}: {version}", hint="install the apsw named in requirements.lock"
        )


def _set_durable(connection: apsw.Connection) -> None:
    connection.set_busy_timeout(BUSY_MILLISECONDS)
    mode = connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", "full")
    if (mode, connection.pragma("synchronous")) != ("wal", 2):
        raise SettingsError(
            f"the journal cannot be made durable: journal mode {mode}", hint="keep the state folder on a local disk"
        )


def _read_meta(path: Path, connection: apsw.Connection) -> dict[str, str]:
    meta = {str(name): str(value) for name, value in connection.execute("SELECT name, value FROM meta")}
    if meta.get("format_version") != str(FORMAT_VERSION):
        raise PlanError(
            f"journal has a format this version does not read: {path}",
            hint="finish the run with the version that began it",
        )
    return meta


def _first_chain(meta: Mapping[str, str]) -> bytes:
    """The chain value before any row: the journal's own facts."""
    return blake2b(orjson.dumps(dict(meta), option=orjson.OPT_SORT_KEYS), digest_size=CHAIN_BYTES).digest()


def _next_chain(chain: bytes, row: tuple[Any, ...]) -> bytes:
    """The chain value of a row: everything in it and all rows before it."""
    return blake2b(chain + orjson.dumps(row), digest_size=CHAIN_BYTES).digest()


def _insert_statement(count: int) -> str:
    row = f"({','.join('?' * _COLUMN_COUNT)})"
    return f"INSERT INTO events VALUES {','.join([row] * count)}"  # noqa: S608 - placeholders alone


def _head_path(path: Path) -> Path:
    return path.with_suffix(".head")


def _head_text(n: int, chain: bytes) -> bytes:
    """Always the same length, within one disk sector, so that it is replaced whole."""
    return b"%016x %s\n" % (n, chain.hex().encode())


def _read_head(descriptor: int) -> tuple[int, bytes]:
    """Number and chain of the newest row some commit returned from. Raises ValueError on anything else."""
    text = os.pread(descriptor, 64, 0)
    number, chain = text[:16], text[17:-1]
    if text != _head_text(int(number, 16), bytes.fromhex(chain.decode("ascii"))):
        raise ValueError("not a head")
    return int(number, 16), bytes.fromhex(chain.decode("ascii"))


def _is_refusal(error: Exception) -> bool:
    """Whether the disk, not the content, is to blame."""
    if isinstance(error, OSError):
        return error.errno in _REFUSALS
    return isinstance(error, apsw.FullError | apsw.IOError | apsw.BusyError | apsw.NoMemError)


def _damaged(path: Path, where: str) -> PlanError:
    return PlanError(f"journal is damaged: {path}: {where}", hint=DAMAGED_HINT)


def _unwritable(path: Path) -> BusyError:
    return BusyError(
        f"journal cannot be read or written: {path}", hint="see to the disk (space, health), then apply again"
    )
