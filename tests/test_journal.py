"""The journal: durable on return, whole or refused, and the same after it was opened again."""

from __future__ import annotations

import random
import shutil
import threading
from collections import deque
from pathlib import Path

import apsw
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from belajarid_recon.components import ScaledClock
from belajarid_recon.errors import BusyError, ErrorKind, PlanError, SettingsError
from belajarid_recon.state import journal as journal_module
from belajarid_recon.state.journal import Event, EventState, Journal, Sendings, refuse_old_sqlite

META = {"plan_digest": "d" * 64}
CLOCK = ScaledClock()
FLIPS = 120


def create(folder: Path, *, steps: int = 100) -> Journal:
    """A fresh journal."""
    return Journal.create(folder / "journal.sqlite", META, steps=steps, clock=CLOCK)


def reopen(folder: Path) -> Journal:
    """The journal of the folder, read from disk."""
    return Journal.open(folder / "journal.sqlite", clock=CLOCK)


def intent(step: int, attempt: int = 1) -> Event:
    """An intent with a fingerprint."""
    return Event(step, attempt, EventState.INTENT, fingerprint=f"{step:032x}")


def done(step: int, attempt: int = 1) -> Event:
    """An outcome."""
    return Event(step, attempt, EventState.DONE, 200, "", f"id{step}")


def fill(journal: Journal, steps: int) -> None:
    """Settle `steps` steps in groups, leaving the last one open."""
    journal.commit([intent(step) for step in range(8)])
    for step in range(8, steps):
        journal.commit([done(step - 8), intent(step)])
    for step in range(steps - 8, steps - 1):
        journal.commit([done(step)])


def picture(journal: Journal) -> tuple:
    """Everything a resume decides by."""
    settled = [journal.is_settled(step) for step in range(int(journal.meta["steps"]))]
    sent = [journal.was_sent(step) for step in range(int(journal.meta["steps"]))]
    return settled, sent, journal.unsettled(), list(journal.reasons())


def test_a_journal_says_what_may_have_taken_effect(tmp_path):
    """Whatever left and was not refused for want of quota; not what looking alone has settled."""
    with create(tmp_path) as journal:
        journal.commit([intent(step) for step in range(4)])
        journal.commit([done(0), Event(1, 1, EventState.PARKED), Event(2, 1, EventState.THROTTLED, 403), done(5)])
        journal.commit([Event(3, 1, EventState.ABSENT), intent(3, 2), Event(3, 2, EventState.THROTTLED, 403)])
        assert [step for step in range(6) if journal.was_sent(step)] == [0, 1, 3]
        assert (journal.settled_count, journal.is_done(5)) == (3, True)
        before = picture(journal)
    with reopen(tmp_path) as journal:
        assert picture(journal) == before
        journal.commit([Event(2, 1, EventState.DONE)])
        assert (journal.settled_count, journal.was_sent(2)) == (4, False)


def test_a_journal_says_where_each_step_stands(tmp_path):
    """Settled, open, or to be sent again with its attempts counted; throttled sendings use none up."""
    with create(tmp_path) as journal:
        journal.commit([intent(0), intent(1), intent(2), intent(3)])
        journal.commit([done(0), Event(1, 1, EventState.PARKED, 400, "rejected-invalid")])
        journal.commit([Event(2, 1, EventState.THROTTLED, 403), intent(2, 2), Event(2, 2, EventState.ABSENT)])
        assert journal.settled_count == 2
        assert [journal.is_done(step) for step in range(4)] == [True, False, False, False]
        assert journal.sendings(2) == Sendings(attempt=2, used=1, fingerprint=f"{2:032x}", open=False)
        assert set(journal.open_intents()) == {3}
        assert list(journal.reasons()) == [(1, EventState.PARKED, "rejected-invalid")]
        before = picture(journal)
    with reopen(tmp_path) as journal:
        assert picture(journal) == before


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_what_is_read_again_is_what_was_written(tmp_path_factory, data):
    """After any history in any groups, an opened journal decides as the one that wrote it, and takes up its chain."""
    folder = tmp_path_factory.mktemp("journal")
    with create(folder, steps=6) as journal:
        for _ in range(data.draw(st.integers(0, 12))):
            group = []
            for step in data.draw(st.sets(st.integers(0, 5), max_size=4)):
                sendings = journal.sendings(step)
                if journal.is_settled(step):
                    continue
                if sendings is not None and sendings.open:
                    state = data.draw(
                        st.sampled_from([state for state in EventState if state is not EventState.INTENT])
                    )
                    group.append(Event(step, sendings.attempt, state, reason=data.draw(st.sampled_from(["", "drift"]))))
                else:
                    group.append(intent(step, sendings.attempt + 1 if sendings else 1))
            journal.commit(group)
        before = picture(journal)
    for _ in range(2):
        with reopen(folder) as journal:
            assert picture(journal) == before


def test_commits_from_many_threads_all_arrive(tmp_path):
    """Threads that commit at once share transactions, and nobody's rows are lost or written twice."""
    with create(tmp_path, steps=800) as journal:

        def settle(first: int) -> None:
            for step in range(first, first + 100):
                journal.commit([intent(step)])
                assert journal.sendings(step).open
                journal.commit([done(step)])

        threads = [threading.Thread(target=settle, args=(first,)) for first in range(0, 800, 100)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (journal.settled_count, journal.unsettled()) == (800, {})
    with reopen(tmp_path) as journal:
        assert (journal.settled_count, journal.unsettled()) == (800, {})


def test_groups_larger_than_a_statement_are_one_transaction(tmp_path):
    """A window of several tenants may exceed what one statement takes."""
    with create(tmp_path, steps=1_000) as journal:
        journal.commit([intent(step) for step in range(1_000)])
    with reopen(tmp_path) as journal:
        assert len(journal.open_intents()) == 1_000


class RecordingVFS(apsw.VFS):
    """The operating system's files, with a note of each sync."""

    def __init__(self) -> None:
        self.synced: list[str] = []
        super().__init__("recording", "unix", makedefault=True)

    def xOpen(self, name, flags):  # noqa: N802 - apsw's name
        """Open a file that notes its syncs."""
        return RecordingFile(self, name, flags)


class RecordingFile(apsw.VFSFile):
    """A file that notes its syncs."""

    def __init__(self, vfs, name, flags) -> None:
        self._vfs = vfs
        self._name = name.filename() if isinstance(name, apsw.URIFilename) else name
        super().__init__("unix", name, flags)

    def xSync(self, flags):  # noqa: N802 - apsw's name
        """Note it, and sync."""
        self._vfs.synced.append(Path(self._name or "").name)
        super().xSync(flags)


def test_every_commit_is_synced_before_it_returns(tmp_path):
    """WAL with synchronous=FULL: one sync of the WAL a commit, so an acknowledged row survives a power cut."""
    vfs = RecordingVFS()
    try:
        with create(tmp_path) as journal:
            for step in range(20):
                before = vfs.synced.count("journal.sqlite-wal")
                journal.commit([intent(step)])
                assert vfs.synced.count("journal.sqlite-wal") > before
    finally:
        vfs.unregister()


def test_a_journal_is_durable_before_it_has_its_name(tmp_path, monkeypatch):
    """File, then the copy of its head, then the name, then the folder; SQLite's rollback file is gone by then."""
    order = []

    def note(name, real):
        def noted(*arguments):
            order.append((name, sorted(path.name for path in tmp_path.iterdir())))
            return real(*arguments)

        return noted

    monkeypatch.setattr(journal_module, "fsync_file", note("file", journal_module.fsync_file))
    monkeypatch.setattr(journal_module, "fsync_folder", note("folder", journal_module.fsync_folder))
    monkeypatch.setattr(journal_module, "write_atomically", note("head", journal_module.write_atomically))
    create(tmp_path).close()
    assert order == [
        ("file", ["journal.sqlite.part"]),
        ("head", ["journal.sqlite.part"]),
        ("folder", ["journal.head", "journal.sqlite"]),
    ]


def test_what_a_kill_left_of_a_creation_is_in_nobodys_way(tmp_path):
    """A journal without its name was never used."""
    for suffix in ("", "-wal", "-shm", "-journal"):
        (tmp_path / f"journal.sqlite.part{suffix}").write_bytes(b"half")
    with create(tmp_path) as journal:
        journal.commit([intent(0)])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["journal.head", "journal.sqlite"]


def leave_copy(folder: Path, *, killed: bool) -> Path:
    """A copy of a journal as a kill leaves it, all rows in the WAL; or as a close does, all rows in the file."""
    copy = folder / "copy"
    with create(folder) as journal:
        fill(journal, 60)
        if killed:
            shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("*-shm", "copy"))
    return copy if killed else shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("copy"))


@pytest.mark.parametrize("name", ["journal.sqlite", "journal.sqlite-wal", "journal.head"])
def test_flipped_bits_are_found_or_do_no_harm(tmp_path, name):
    """SQLite opens a damaged journal without a word; ours says so, or the damage is where nothing is read."""
    intact = leave_copy(tmp_path, killed=name.endswith("-wal"))
    with Journal.open(shutil.copytree(intact, tmp_path / "whole") / "journal.sqlite", clock=CLOCK) as journal:
        expected = picture(journal)
    chance = random.Random(name)  # noqa: S311 - a test that can be repeated
    content = (intact / name).read_bytes()
    found = 0
    for _ in range(FLIPS):
        damaged = shutil.copytree(intact, tmp_path / "damaged")
        flipped = bytearray(content)
        flipped[chance.randrange(len(flipped))] ^= 1 << chance.randrange(8)
        (damaged / name).write_bytes(flipped)
        try:
            with Journal.open(damaged / "journal.sqlite", clock=CLOCK) as journal:
                assert picture(journal) == expected
        except (PlanError, SettingsError) as error:
            found += 1
            assert error.hint  # noqa: PT017 - both ends are right; what is wrong is a third
        shutil.rmtree(damaged)
    assert found > FLIPS / 20


@pytest.mark.parametrize("rows", [1, 5])
def test_a_tail_that_is_gone_is_noticed(tmp_path, rows):
    """Rows can vanish whole, with an intact chain before them; the copy of the head remembers that they were there."""
    with create(tmp_path) as journal:
        fill(journal, 40)
    connection = apsw.Connection(str(tmp_path / "journal.sqlite"))
    connection.execute("DELETE FROM events WHERE n > (SELECT max(n) FROM events) - ?", (rows,))
    connection.close()
    with pytest.raises(PlanError, match="are gone") as refused:
        reopen(tmp_path)
    assert refused.value.hint.startswith("belajarid-recon rebuild settles")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE events SET state = 'done' WHERE n = 20",
        "UPDATE events SET step = step + 1 WHERE n = 20",
        "UPDATE events SET target_id = 'id99' WHERE n = 20",
        "DELETE FROM events WHERE n = 20",
        "UPDATE events SET n = n + 1000 WHERE n = 20",
        "UPDATE meta SET value = '3' WHERE name = 'steps'",
        "DROP TABLE events",
    ],
)
def test_a_changed_row_is_noticed(tmp_path, statement):
    """The chain covers every column of every row."""
    with create(tmp_path) as journal:
        fill(journal, 40)
    connection = apsw.Connection(str(tmp_path / "journal.sqlite"))
    connection.execute(statement)
    connection.close()
    with pytest.raises(PlanError, match="journal is damaged"):
        reopen(tmp_path)


def test_a_head_behind_its_journal_is_no_damage(tmp_path):
    """A kill between commit and copy leaves it behind by a group."""
    with create(tmp_path) as journal:
        fill(journal, 20)
        head = (tmp_path / "journal.head").read_bytes()
        journal.commit([done(19), intent(20)])
    (tmp_path / "journal.head").write_bytes(head)
    with reopen(tmp_path) as journal:
        assert set(journal.open_intents()) == {20}


@pytest.mark.parametrize("name", ["journal.sqlite", "journal.head"])
def test_a_missing_file_is_damage(tmp_path, name):
    """Neither half is made anew in silence."""
    create(tmp_path).close()
    (tmp_path / name).unlink()
    with pytest.raises(PlanError, match="journal is damaged"):
        reopen(tmp_path)


def test_a_full_disk_stops_the_journal(tmp_path):
    """The group is refused with the remedy, what was acknowledged stays, and no later commit pretends to succeed."""
    with create(tmp_path, steps=5_000) as journal:
        journal.commit([intent(0)])
        journal._connection.pragma("max_page_count", 5)
        groups = [[intent(number) for number in range(step, step + 50)] for step in range(1, 5_000, 50)]
        with pytest.raises(BusyError, match="journal cannot be read or written") as refused:
            deque(map(journal.commit, groups), maxlen=0)
        assert refused.value.kind is ErrorKind.RETRY_LATER
        acknowledged = set(journal.open_intents())
        with pytest.raises(BusyError):
            journal.commit([intent(4_999)])
        assert 4_999 not in journal.open_intents()
    with reopen(tmp_path) as journal:
        assert set(journal.open_intents()) == acknowledged


class FailingVFS(apsw.VFS):
    """A disk whose journal cannot be read."""

    def __init__(self) -> None:
        super().__init__("failing", "unix", makedefault=True)

    def xOpen(self, name, flags):  # noqa: N802 - apsw's name
        """Open a file that cannot be read."""
        return FailingFile("unix", name, flags)


class FailingFile(apsw.VFSFile):
    """A file whose device fails."""

    def xRead(self, *_where):  # noqa: N802 - apsw's name
        """Fail."""
        raise apsw.IOError("device")


def test_a_disk_that_cannot_be_read_is_no_damage(tmp_path):
    """What the device refuses says nothing of the rows: nobody is told to give the run up."""
    create(tmp_path).close()
    vfs = FailingVFS()
    try:
        with pytest.raises(BusyError, match="journal cannot be read or written"):
            reopen(tmp_path)
    finally:
        vfs.unregister()
    reopen(tmp_path).close()


@pytest.mark.parametrize("version", ["3.40.1", "3.51.2", "2.8.17"])
def test_an_sqlite_that_can_corrupt_is_refused(version):
    """The WAL-reset bug was mended in 3.51.3."""
    with pytest.raises(SettingsError, match=r"SQLite is older than 3\.51\.3"):
        refuse_old_sqlite(version)


@pytest.mark.parametrize("version", ["3.51.3", "3.54.1", "4.0.0"])
def test_a_mended_sqlite_is_taken(version):
    """Also the one in use."""
    refuse_old_sqlite(version)
    refuse_old_sqlite(apsw.sqlite_lib_version())
