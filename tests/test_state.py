"""The state folder: atomic files, run folders, the lock, the address ledger, and whose suspensions are whose."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import belajarid_recon
from appliers.plans import account_key, account_step, creation, orgunit, plan_of, update
from belajarid_recon.components import ScaledClock, SystemRandomness
from belajarid_recon.errors import BusyError, ExitStatus, PlanError, SettingsError
from belajarid_recon.schemas import ADDRESSES, Action
from belajarid_recon.state.atomic import PART_SUFFIX, write_atomically
from belajarid_recon.state.folders import RunFolder, RunStatus, latest_run, list_runs, new_run, open_run, unfinished_run
from belajarid_recon.state.journal import Event, EventState, Journal
from belajarid_recon.state.ledger import ledger_digest, ledger_files, read_ledger, reserve_addresses
from belajarid_recon.state.lifecycle import deleted_by_us, record_lifecycle, suspended_by_us
from belajarid_recon.state.lock import StateLock

DAY = date(2026, 11, 15)


class SetClock(ScaledClock):
    """A clock whose wall time a test sets."""

    def __init__(self) -> None:
        super().__init__()
        self.wall = datetime(2026, 11, 15, 3, 15, tzinfo=UTC)

    def now(self) -> datetime:
        """The time it was set to."""
        return self.wall


def run_of(state: Path, clock: ScaledClock | None = None):
    """A fresh run folder."""
    return new_run(state, clock or ScaledClock(), SystemRandomness())


def journal_of(run, steps: int) -> Journal:
    """A fresh journal of a run."""
    return Journal.create(run.journal, {"plan_digest": "0" * 64}, steps=steps, clock=ScaledClock())


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    """When the disk refuses the sync, readers still find what was there, whole."""
    path = tmp_path / "run.json"
    write_atomically(path, b"old")

    def refuse(_descriptor):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="Input/output"):
        write_atomically(path, b"new and longer")
    assert path.read_bytes() == b"old"


def test_a_write_replaces_what_a_kill_left(tmp_path):
    """A half-written temporary file is in nobody's way."""
    path = tmp_path / "run.json"
    (tmp_path / f"run.json{PART_SUFFIX}").write_bytes(b"half of a longer te")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["run.json"]


def test_files_of_a_run_are_its_owners_alone(tmp_path):
    """Names of children are in them."""
    run = run_of(tmp_path / "state")
    assert run.path.stat().st_mode & 0o077 == 0
    assert (run.path / "run.json").stat().st_mode & 0o077 == 0


def test_run_ids_grow_when_the_clock_goes_back(tmp_path):
    """The order of names is the order of runs, whatever the machine's clock says."""
    clock = SetClock()
    first = run_of(tmp_path, clock)
    clock.wall -= timedelta(days=400)
    second, third = run_of(tmp_path, clock), run_of(tmp_path, clock)
    assert [run.run_id for run in list_runs(tmp_path)] == [first.run_id, second.run_id, third.run_id]
    assert first.run_id.startswith("20261115T031500000Z-")
    assert latest_run(tmp_path) == third


def test_a_run_goes_forward_only(tmp_path):
    """Planned, applying, closed; a step back is refused and changes nothing."""
    clock = ScaledClock()
    run = run_of(tmp_path)
    assert (run.status(), unfinished_run(tmp_path)) == (RunStatus.PLANNED, None)
    run.mark(RunStatus.APPLYING, clock)
    assert unfinished_run(tmp_path) == run
    run.mark(RunStatus.CLOSED, clock)
    with pytest.raises(PlanError, match="closed and cannot become applying"):
        run.mark(RunStatus.APPLYING, clock)
    assert (run.status(), unfinished_run(tmp_path)) == (RunStatus.CLOSED, None)


@pytest.mark.parametrize("name", ["../..", "", "20260105T031500123Z-1a2b3c4d/../x", "20260105T031500123Z-1A2B3C4D"])
def test_a_name_that_is_no_run_id_is_refused(tmp_path, name):
    """A run id from the command line is never used as a path."""
    with pytest.raises(PlanError, match="no run id"):
        open_run(tmp_path, name)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"format_version": 2}', b'{"format_version": 1}'])
def test_a_damaged_run_file_is_one_clear_error(tmp_path, content):
    """No guess is made about a run whose status cannot be read."""
    run = run_of(tmp_path)
    (run.path / "run.json").write_bytes(content)
    with pytest.raises(PlanError):
        run.status()


def test_the_lock_keeps_a_second_process_out(tmp_path):
    """It names its holder; when the holder is gone, however it went, the lock is free."""
    program = (
        "import sys, time; from pathlib import Path; from belajarid_recon.state.lock import StateLock\n"
        f"with StateLock(Path({str(tmp_path)!r}), purpose='apply'): print('held', flush=True); sys.stdin.read()"
    )
    root = str(Path(belajarid_recon.__file__).parent.parent)
    holder = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": root},
    )
    try:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(BusyError) as refused, StateLock(tmp_path, purpose="plan"):
            pass
        assert refused.value.exit_status is ExitStatus.BUSY
        assert refused.value.hint == f"process {holder.pid} holds it (apply): wait for it, or end it"
    finally:
        holder.kill()
        holder.communicate()
    with StateLock(tmp_path, purpose="plan") as lock:
        lock.require(tmp_path)


def test_the_lock_of_one_folder_is_none_of_another(tmp_path):
    """What writes state asks for the proof, and a lock that was let go proves nothing."""
    with StateLock(tmp_path / "a", purpose="plan") as lock, pytest.raises(AssertionError):
        lock.require(tmp_path / "b")
    with pytest.raises(AssertionError):
        lock.require(tmp_path / "a")


def test_a_state_folder_that_is_a_file_is_refused(tmp_path):
    """With one clear message, not a traceback of the operating system's."""
    (tmp_path / "state").write_text("")
    with pytest.raises(SettingsError, match="state folder cannot be used"), StateLock(tmp_path / "state", purpose=""):
        pass


def test_addresses_of_a_plan_are_reserved_for_their_owners(tmp_path):
    """Creations and renames, each once, without the domain; held steps and units reserve nothing."""
    rename = update("sd", 2, "id2", {"domain": "sd.belajar.id"}, address="siti.aminah0002@guru.sd.belajar.id")
    held = creation("sd", 3) | {"held_by": "suspensions_per_tenant"}
    plan = plan_of([orgunit("sd", "/A"), creation("sd", 1, address="Budi.Santoso0001@sd.belajar.id"), rename, held], {})
    run = run_of(tmp_path)
    reserve_addresses(run, plan.steps.scan())
    reserve_addresses(run, plan.steps.scan())
    expected = [("sd", "budi.santoso0001", account_key("sd", 1)), ("sd", "siti.aminah0002", account_key("sd", 2))]
    assert read_ledger(tmp_path).rows() == expected


def test_the_ledger_forgets_nothing(tmp_path):
    """Every run adds a segment, the same reservation twice is one row, and an empty ledger has the right columns."""
    assert read_ledger(tmp_path).schema == ADDRESSES
    for numbers in ((1, 2), (2, 3)):
        reserve_addresses(run_of(tmp_path), plan_of([creation("sd", number) for number in numbers], {}).steps.scan())
    assert read_ledger(tmp_path)["user_id"].to_list() == [f"budi.santoso{number:05}" for number in (1, 2, 3)]


def test_the_ledgers_files_hold_what_it_holds(tmp_path):
    """Every run's segment is among the files, and their digest changes with each; one without a column is refused."""
    digests = set()
    for number in (1, 2):
        reserve_addresses(run_of(tmp_path), plan_of([creation("sd", number)], {}).steps.scan())
        files = ledger_files(tmp_path)
        digests.add(ledger_digest(files))
        assert pl.concat(map(pl.read_parquet, files)).sort("user_id").equals(read_ledger(tmp_path))
    assert len(digests) == 2
    pl.read_parquet(files[0]).drop("owner").write_parquet(files[0])
    (tmp_path / "ledger" / "chain").unlink()  # which would have refused the file for being another one
    with pytest.raises(PlanError, match=r"ledger segment has no such column: .*, column owner"):
        ledger_files(tmp_path)


def test_a_damaged_ledger_stops_everything(tmp_path):
    """Without it a child's old address could be given away."""
    run = run_of(tmp_path)
    reserve_addresses(run, plan_of([creation("sd", 1)], {}).steps.scan())
    (segment,) = (tmp_path / "ledger").glob("*.parquet")
    segment.write_bytes(segment.read_bytes()[:-20])
    for message in ("ledger segment was changed", "ledger segment cannot be read"):
        for read in (read_ledger, ledger_files):
            with pytest.raises(PlanError, match=message):
                read(tmp_path)
        (tmp_path / "ledger" / "chain").unlink(missing_ok=True)


def reserved_in(state: Path, *numbers: int) -> list[RunFolder]:
    """Runs that each reserved the address of one person."""
    runs = [run_of(state) for _ in numbers]
    for run, number in zip(runs, numbers, strict=True):
        reserve_addresses(run, plan_of([creation("sd", number)], {}).steps.scan())
    return runs


def swap_segments(ledger: Path) -> None:
    """Two segments that are whole change places."""
    first, second = sorted(ledger.glob("*.parquet"))[:2]
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)


def cut_a_line(ledger: Path) -> None:
    """The chain loses its first line."""
    path = ledger / "chain"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))


LEDGER_DAMAGES = {
    "segments are swapped": (swap_segments, "segment was changed"),
    "a segment is lost": (lambda ledger: sorted(ledger.glob("*.parquet"))[1].unlink(), "segment is missing"),
    "the chain is cut": (cut_a_line, "chain is damaged"),
    "the chain is no text": (lambda ledger: (ledger / "chain").write_bytes(b"\xff"), "chain is damaged"),
}


@pytest.mark.parametrize("damage", LEDGER_DAMAGES)
def test_a_ledger_is_whole_or_refused(tmp_path, damage):
    """Segments hang together by hashes: none can be changed, exchanged or taken away in silence, even one of a run long gone."""
    do, message = LEDGER_DAMAGES[damage]
    reserved_in(tmp_path, 1, 2, 3)
    assert read_ledger(tmp_path).height == 3
    do(tmp_path / "ledger")
    for read in (read_ledger, ledger_files):
        with pytest.raises(PlanError, match=message):
            read(tmp_path)


def test_a_kill_between_segment_and_chain_is_made_good(tmp_path):
    """The next reservation of the same run links it; segments older than any chain are linked before the first."""
    *_, run = reserved_in(tmp_path, 1, 2)
    chain = tmp_path / "ledger" / "chain"
    whole = chain.read_text()
    for lines in (whole.splitlines(keepends=True)[:1], None):
        chain.unlink() if lines is None else chain.write_text("".join(lines))
        assert read_ledger(tmp_path).height == 2
        reserve_addresses(run, plan_of([creation("sd", 2)], {}).steps.scan())
        assert chain.read_text() == whole


def settle(journal: Journal, step: int, state: EventState) -> None:
    """Intent and outcome of one step."""
    journal.commit([Event(step, 1, EventState.INTENT), Event(step, 1, state)])


def test_only_suspensions_that_were_carried_out_are_ours(tmp_path):
    """Every suspension that was sent is, however it ended; one that was never sent, or only throttled, is not."""
    suspend = [update("sd", number, f"id{number}", {"suspended": False}, suspended=True) for number in range(9)]
    plan = plan_of([*suspend, creation("sd", 9)], {})
    run = run_of(tmp_path)
    with journal_of(run, 10) as journal:
        settle(journal, 0, EventState.DONE)
        settle(journal, 1, EventState.DONE)
        settle(journal, 2, EventState.PARKED)
        journal.commit([Event(3, 1, EventState.INTENT)])
        settle(journal, 4, EventState.ABSENT)
        settle(journal, 5, EventState.THROTTLED)
        journal.commit([Event(6, 1, EventState.DONE), Event(7, 1, EventState.PARKED)])
        settle(journal, 9, EventState.DONE)
        record_lifecycle(run, plan.steps.pieces(), journal, on=plan.day)
    keys = sorted(account_key("sd", number) for number in (0, 1, 2, 3, 4))
    assert suspended_by_us(tmp_path)["account_key"].to_list() == keys

    restore = plan_of([update("sd", 1, "id1", {"suspended": True}, suspended=False)], {})
    later = run_of(tmp_path)
    with journal_of(later, 1) as journal:
        settle(journal, 0, EventState.DONE)
        record_lifecycle(later, restore.steps.pieces(), journal, on=restore.day)
    assert suspended_by_us(tmp_path)["account_key"].to_list() == sorted(
        account_key("sd", number) for number in (0, 2, 3, 4)
    )


def suspend_in_a_run(state: Path, numbers: list[int], live: list[int], *, sent: bool = True) -> RunFolder:
    """A closed run that suspended the accounts of these people, and whose snapshot showed those of others live."""
    rows = [update("sd", number, f"id{number}", {"suspended": False}, suspended=True) for number in numbers]
    run = run_of(state)
    with journal_of(run, len(rows)) as journal:
        for step in range(len(rows)):
            if sent:
                settle(journal, step, EventState.DONE)
            else:
                journal.commit([Event(step, 1, EventState.DONE)])
        seen = pl.Series([account_key("sd", number) for number in live], dtype=pl.Binary)
        for _ in range(2):  # a kill before the run is closed repeats it
            record_lifecycle(run, plan_of(rows, {}).steps.pieces(), journal, on=DAY, live=seen)
    run.mark(RunStatus.APPLYING, ScaledClock())
    run.mark(RunStatus.CLOSED, ScaledClock())
    return run


def test_a_suspension_that_others_lifted_is_ours_no_more(tmp_path):
    """A later suspension of that account is somebody else's, but for one that this very run made or found landed."""
    suspend_in_a_run(tmp_path, [1, 2, 3, 4], [])
    suspend_in_a_run(tmp_path, [3], [2, 3, 9])
    suspend_in_a_run(tmp_path, [4], [4], sent=False)
    assert suspended_by_us(tmp_path)["account_key"].to_list() == sorted(account_key("sd", n) for n in (1, 3, 4))


def test_a_missing_lifecycle_segment_stops_everything(tmp_path):
    """Without it a pupil who comes back would stay locked out; a run that is not closed need not have one."""
    run_of(tmp_path).mark(RunStatus.APPLYING, ScaledClock())
    closed = suspend_in_a_run(tmp_path, [1], [])
    assert suspended_by_us(tmp_path).height == 1
    (tmp_path / "lifecycle" / f"{closed.run_id}.parquet").unlink()
    with pytest.raises(PlanError, match="lifecycle segment is missing") as refused:
        suspended_by_us(tmp_path)
    assert "backup" in refused.value.hint


def test_a_missing_ledger_segment_stops_everything(tmp_path):
    """A run with a journal may have given addresses away; one without has not."""
    run_of(tmp_path)
    run = run_of(tmp_path)
    reserve_addresses(run, plan_of([creation("sd", 1)], {}).steps.scan())
    journal_of(run, 1).close()
    assert read_ledger(tmp_path).height == 1
    (tmp_path / "ledger" / f"{run.run_id}.parquet").unlink()
    for read in (read_ledger, ledger_files):
        with pytest.raises(PlanError, match="ledger segment is missing") as refused:
            read(tmp_path)
        assert "backup" in refused.value.hint


def test_nothing_is_ours_at_first(tmp_path):
    """An empty state folder gives an empty frame of the right type."""
    assert suspended_by_us(tmp_path).schema == pl.Schema({"account_key": pl.Binary, "on": pl.Date})
    assert deleted_by_us(tmp_path).schema == pl.Schema({"account_key": pl.Binary, "target_id": pl.String})


def run_one(state: Path, action: Action, day: date, *outcomes: EventState) -> None:
    """A closed run of this day that did one thing to the account of person 1, with this outcome."""
    row = account_step("sd", 1, action, "id1") | {"suspended": True if action is Action.SUSPEND else None}
    run = run_of(state)
    with journal_of(run, 1) as journal:
        for state_of_step in outcomes:
            journal.commit([Event(0, 1, state_of_step)])
        record_lifecycle(run, plan_of([row], {}).steps.pieces(), journal, on=day)


def test_a_deletion_of_ours_is_remembered_with_its_id_until_the_account_is_back(tmp_path):
    """Suspended, deleted, restored: what comes back is suspended by us as it was; and a deletion that was refused is none."""
    key = account_key("sd", 1)
    run_one(tmp_path, Action.SUSPEND, date(2025, 11, 1), EventState.INTENT, EventState.DONE)
    assert suspended_by_us(tmp_path).rows() == [(key, date(2025, 11, 1))]
    run_one(tmp_path, Action.DELETE, date(2026, 11, 8), EventState.PARKED)  # looked at, and nothing sent
    assert deleted_by_us(tmp_path).is_empty()
    run_one(tmp_path, Action.DELETE, date(2026, 11, 15), EventState.INTENT, EventState.DONE)
    assert deleted_by_us(tmp_path).rows() == [(key, "id1")]
    assert suspended_by_us(tmp_path).is_empty()
    run_one(tmp_path, Action.UNDELETE, date(2026, 11, 22), EventState.INTENT, EventState.PARKED)
    assert deleted_by_us(tmp_path).height == 1
    run_one(tmp_path, Action.UNDELETE, date(2026, 11, 29), EventState.INTENT, EventState.DONE)
    assert deleted_by_us(tmp_path).is_empty()
    assert suspended_by_us(tmp_path).rows() == [(key, date(2026, 11, 29))]


def test_segments_without_dates_are_read(tmp_path):
    """A version that wrote no dates left segments of two columns; their suspensions are ours, of an unknown day."""
    suspend_in_a_run(tmp_path, [1], [])
    segment = next((tmp_path / "lifecycle").iterdir())
    pl.read_parquet(segment).select("account_key", "event").write_parquet(segment)
    assert suspended_by_us(tmp_path).rows() == [(account_key("sd", 1), None)]
    pl.read_parquet(segment).select("account_key").write_parquet(segment)
    with pytest.raises(PlanError, match="column event"):
        suspended_by_us(tmp_path)


def test_what_is_reserved(tmp_path):
    """An address and an alias for their account. A group's is not: its local part can be no user ID, and a later plan must find it free."""
    group = {"tenant": "sd", "action": Action.CREATE_GROUP.value, "address": "guru-20328765@guru.sd.belajar.id"}
    joins = account_step("sd", 2, Action.ADD_MEMBER, None) | {"address": group["address"], "member_id": "id2"}
    alias = account_step("sd", 3, Action.ADD_ALIAS, "id3") | {"alias": "Budi.Baru@sd.belajar.id"}
    reserve_addresses(run_of(tmp_path), plan_of([group, joins, alias], {}).steps.scan())
    assert read_ledger(tmp_path).rows() == [("sd", "budi.baru", account_key("sd", 3))]


@settings(max_examples=15, deadline=None)
@given(history=st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=6))
def test_the_latest_event_decides(tmp_path_factory, history):
    """Whatever the history of an account, it is suspended by us exactly if the last thing we did was to suspend it."""
    state = tmp_path_factory.mktemp("state")
    expected = {}
    for number, suspended in history:
        row = update("sd", number, f"id{number}", {"suspended": not suspended}, suspended=suspended)
        run = run_of(state)
        with journal_of(run, 1) as journal:
            settle(journal, 0, EventState.DONE)
            record_lifecycle(run, plan_of([row], {}).steps.pieces(), journal, on=DAY)
        expected[account_key("sd", number)] = suspended
    ours = sorted(key for key, suspended in expected.items() if suspended)
    assert suspended_by_us(state)["account_key"].to_list() == ours
