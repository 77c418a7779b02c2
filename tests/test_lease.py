"""One start at a time writes, on one host and between hosts; a start that was frozen past its lease writes nothing more."""

from __future__ import annotations

import os
import signal
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest

from belajarid_recon.components import ScaledClock, SystemRandomness
from belajarid_recon.errors import BusyError, PlanError
from belajarid_recon.state import lease as lease_module
from belajarid_recon.state.journal import Event, EventState, Journal
from belajarid_recon.state.lease import LEASE_SECONDS, Epoch, KnownEpochs, Lease, state_identity
from belajarid_recon.state.lock import StateLock

CLOCK = ScaledClock()


class Clock:
    """A clock that passes when somebody sleeps, or when it is told to."""

    def __init__(self) -> None:
        self.seconds = 1_000.0
        self.on_sleep = lambda: None

    def monotonic(self) -> float:
        """Seconds."""
        return self.seconds

    def sleep(self, seconds: float) -> None:
        """Pass, and let somebody else act."""
        self.seconds += seconds
        self.on_sleep()

    def real(self, seconds: float) -> float:
        """Real time."""
        return seconds

    def now(self) -> datetime:
        """Any."""
        return datetime(2026, 11, 22, tzinfo=UTC)


class UncrossedLock(StateLock):
    """A lock of a file system whose locks do not reach the other host."""

    def __enter__(self) -> UncrossedLock:
        """Hold nothing."""
        self.state.mkdir(exist_ok=True)
        self._descriptor = os.open(os.devnull, os.O_RDONLY)
        return self


@pytest.fixture
def other_host(monkeypatch):
    """From now on leases are taken on another machine."""

    def move() -> None:
        monkeypatch.setattr(lease_module, "_boot", lambda: "another machine")

    return move


def lock_of(folder: Path) -> StateLock:
    """A lock that another host would not see."""
    return UncrossedLock(folder / "state", purpose="test").__enter__()


def taken(folder: Path, clock: Clock | ScaledClock = CLOCK) -> Lease:
    """A lease whose holder goes on living without an end."""
    return Lease(lock_of(folder), clock, SystemRandomness()).__enter__()


def test_each_start_has_the_next_epoch(tmp_path, monkeypatch):
    """And keeps the folder small."""
    monkeypatch.setattr(lease_module, "EPOCHS_KEPT", 8)
    for number in range(1, 20):
        with Lease(lock_of(tmp_path), CLOCK, SystemRandomness()) as lease:
            assert lease.number == number
            lease.require()
    assert KnownEpochs.of(tmp_path / "state").newest == 19
    assert len(list((tmp_path / "state" / "lease").iterdir())) == lease_module.EPOCHS_KEPT


def test_a_killed_holder_on_this_machine_is_not_waited_for(tmp_path):
    """The lock has proved that it is dead."""
    taken(tmp_path)
    clock = Clock()
    assert taken(tmp_path, clock).number == 2
    assert clock.seconds == 1_000.0


def test_a_holder_on_another_host_is_waited_for_a_whole_lease(tmp_path, other_host):
    """Without a beat all that time it is dead; it finds out when it wakes up, and no commit of its gets through."""
    clock = Clock()
    first = taken(tmp_path, clock)
    with Journal.create(tmp_path / "j.sqlite", {}, steps=3, clock=CLOCK) as journal:
        journal.start(first.number, first.require)
        journal.commit([Event(0, 1, EventState.INTENT)])
        other_host()
        second = taken(tmp_path, clock)
        assert second.number == 2
        assert clock.seconds >= 1_000.0 + LEASE_SECONDS
        for _ in range(2):
            with pytest.raises(BusyError, match="epoch 2 was taken after our 1"):
                journal.commit([Event(0, 1, EventState.DONE)])
        assert journal.newest[0] == 2
    second.require()


def test_a_holder_that_beats_is_not_taken_over(tmp_path, other_host):
    """However long it is watched."""
    clock = Clock()
    first = taken(tmp_path, clock)
    other_host()
    clock.on_sleep = lambda: first._confirm() if clock.seconds > 1_040 else None
    with pytest.raises(BusyError, match="in use on another host") as refused:
        taken(tmp_path, clock)
    assert str(os.getpid()) in refused.value.hint
    first.require()


def test_a_holder_that_wakes_up_in_between_is_seen_by_the_one_or_the_other(tmp_path, other_host, monkeypatch):
    """The take-over has watched its lease to the end, and the old holder beats just before the new epoch is there."""
    clock = Clock()
    first = taken(tmp_path, clock)
    other_host()
    create = Lease._create

    def beaten(second: Lease) -> None:
        if second is not first:
            first._confirm()
        create(second)

    monkeypatch.setattr(Lease, "_create", beaten)
    with pytest.raises(BusyError, match="in use on another host"):
        taken(tmp_path, clock)
    clock.seconds += LEASE_SECONDS
    with pytest.raises(BusyError, match="lease is lost"):
        first.require()


def test_an_epoch_that_was_given_back_is_not_waited_for(tmp_path, other_host):
    """A start that ends lets the next host begin at once."""
    with Lease(lock_of(tmp_path), CLOCK, SystemRandomness()):
        pass
    other_host()
    clock = Clock()
    assert taken(tmp_path, clock).number == 2
    assert clock.seconds == 1_000.0


def test_of_many_starts_at_once_one_takes_the_epoch(tmp_path):
    """Whatever their locks say."""
    (tmp_path / "state").mkdir()
    barrier = threading.Barrier(8)
    ends: list[object] = []

    def start() -> None:
        lease = Lease(lock_of(tmp_path), CLOCK, SystemRandomness())
        lease_before = lease._watched
        lease._watched = lambda epoch: (barrier.wait(), lease_before(epoch))[1]
        try:
            ends.append(lease.__enter__().number)
        except BusyError as error:
            ends.append(str(error))

    with Lease(lock_of(tmp_path), CLOCK, SystemRandomness()):
        pass
    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [end for end in ends if isinstance(end, int)] == [2]
    assert sum("in use" in str(end) for end in ends) == 7


def test_a_folder_that_cannot_be_written_stops_writes_after_half_a_lease(tmp_path, monkeypatch):
    """Until then nobody can have taken over."""
    clock = Clock()
    lease = taken(tmp_path, clock)

    def refused(*_args: object, **_options: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(lease_module, "write_atomically", refused)
    lease._confirm()
    clock.seconds += LEASE_SECONDS / 3
    lease.require()
    clock.seconds += LEASE_SECONDS / 3
    with pytest.raises(BusyError, match="cannot be confirmed"):
        lease.require()


def test_a_frozen_process_stops_when_it_wakes_up(tmp_path, monkeypatch):
    """A real one, stopped past its lease while another takes over, and continued."""
    monkeypatch.setattr(lease_module, "LEASE_SECONDS", 1.0)
    monkeypatch.setattr(lease_module, "BEAT_SECONDS", 0.1)
    monkeypatch.setattr(lease_module, "LOOK_SECONDS", 0.1)
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        lease = taken(tmp_path)
        try:
            while True:
                lease.require()
                os.write(writes, b"w")
                time.sleep(0.02)
        except BusyError:
            os._exit(17)
        os._exit(1)
    assert os.read(reads, 1) == b"w"
    monkeypatch.setattr(lease_module, "_boot", lambda: "another machine")
    with pytest.raises(BusyError, match="another host"):
        taken(tmp_path)
    os.kill(child, signal.SIGSTOP)
    time.sleep(0.2)
    os.set_blocking(reads, False)
    while True:
        try:
            os.read(reads, 65_536)
        except BlockingIOError:
            break
    second = taken(tmp_path)
    os.kill(child, signal.SIGCONT)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 17
    with pytest.raises(BlockingIOError):
        os.read(reads, 1)
    second.require()
    second.__exit__(None, None, None)
    for descriptor in (reads, writes):
        os.close(descriptor)


def test_a_journal_of_a_later_epoch_is_refused(tmp_path):
    """A lease folder that was put back alone."""
    path = tmp_path / "j.sqlite"
    with Journal.create(path, {}, steps=3, clock=CLOCK) as journal:
        journal.start(7, lambda: None)
    with Journal.open(path, clock=CLOCK) as journal:
        assert journal.epoch == 7
        with pytest.raises(PlanError, match="epoch 7, and ours is 7"):
            journal.start(7, lambda: None)
        journal.start(8, lambda: None)


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", orjson.dumps({"format_version": 2, "pid": 1})])
def test_a_lease_that_cannot_be_read_is_watched_like_that_of_another_host(tmp_path, content):
    """Its number counts, whoever holds it: an epoch is never taken twice."""
    lost = taken(tmp_path)
    (newest,) = (tmp_path / "state" / "lease").iterdir()
    newest.write_bytes(content)
    assert KnownEpochs.of(tmp_path / "state").newest == 1
    clock = Clock()
    clock.on_sleep = lambda: lost._confirm() if clock.seconds > 1_040 else None
    with pytest.raises(BusyError, match="in use on another host"):
        taken(tmp_path, clock)
    newest.write_bytes(content)
    lost._ended.set()
    clock.on_sleep = lambda: None
    assert taken(tmp_path, clock).number == 2


def test_a_clock_that_stood_still_hides_no_later_start(tmp_path, other_host):
    """A machine that was suspended: its clock has not moved, and another host has taken over."""
    frozen, awake = Clock(), Clock()
    first = taken(tmp_path, frozen)
    other_host()
    taken(tmp_path, awake)
    with pytest.raises(BusyError, match="epoch 2 was taken after our 1"):
        first.require()


def test_a_folder_of_which_nobody_can_tell_gives_no_leave(tmp_path):
    """A share that answers with an error after a suspension: whether another host has taken over is not known."""
    lease = taken(tmp_path, Clock())
    lease.require()
    folder = tmp_path / "state" / "lease"
    folder.rename(tmp_path / "away")
    folder.write_bytes(b"")
    with pytest.raises(BusyError, match="lease cannot be read"):
        lease.require()


def test_what_was_given_back_gives_no_leave(tmp_path):
    """A worker that outlives its start writes nothing."""
    with Lease(lock_of(tmp_path), CLOCK, SystemRandomness()) as lease:
        lease.require()
    with pytest.raises(BusyError, match="it was given back"):
        lease.require()


def test_an_identity_is_drawn_once(tmp_path):
    """And is no secret."""
    assert state_identity(tmp_path, SystemRandomness()) == state_identity(tmp_path, SystemRandomness())
    assert len(state_identity(tmp_path, SystemRandomness())) == 32


def test_a_state_folder_knows_its_own_epochs(tmp_path):
    """By number and token; a copy that went on by itself is another."""
    for _ in range(3):
        with Lease(lock_of(tmp_path), CLOCK, SystemRandomness()) as lease:
            taken_last = lease.epoch
    known = KnownEpochs.of(tmp_path / "state")
    assert not known.lacks(taken_last)
    assert known.lacks(Epoch(4, taken_last.token, taken_last.identity))
    assert known.lacks(Epoch(3, "0" * 16, taken_last.identity))
    assert known.lacks(Epoch(3, taken_last.token, "0" * 32))
    assert KnownEpochs.of(tmp_path / "none") == KnownEpochs(None, 0, {})
