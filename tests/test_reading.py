"""A reading that is stopped anywhere and gone on with: nothing is read twice that was noted, nothing is lost, one digest."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from belajarid_recon import pipeline
from belajarid_recon.cli.commands import telling_of_readings
from belajarid_recon.cli.printer import Printer
from belajarid_recon.directory import accounts, reading
from belajarid_recon.directory.google import GoogleDirectory
from belajarid_recon.directory.interface import Page
from belajarid_recon.directory.reading import NOTE_FILE, READING_FILE, Reading, open_reading
from belajarid_recon.directory.snapshot import SnapshotFacts, take_snapshot
from belajarid_recon.emulator.launch import EmulatorProcess
from belajarid_recon.emulator.settings import EmulatorSettings
from belajarid_recon.errors import DirectoryError
from belajarid_recon.schemas import Jenjang
from belajarid_recon.settings import Reading as ReadingSettings
from directory_server import SteppedClock
from extract_builder import DAY
from reading_child import CHUNK, PAGE
from test_groups import GroupedDirectory, grouped, possible
from test_groups_weeks import town
from test_snapshot import account, marked_rows, request_for

DAY_LONG = timedelta(hours=24)


class StoppedError(BaseException):
    """The process is gone: nothing of it may clean up."""


@dataclass
class Counted(GroupedDirectory):
    """One domain in memory that notes which pages it was asked for, and can be gone at a page."""

    pages_asked: list[tuple[bool, str | None]] = field(default_factory=list)
    burn: Callable[[], None] = lambda: None

    def domains(self) -> list[str]:
        """One is enough."""
        return ["sd.belajar.id"]

    def list_accounts(self, domain: str, token: str | None, *, deleted: bool = False) -> Page:
        """A page, noted."""
        self.burn()
        self.pages_asked.append((deleted, token))
        page = super().list_accounts(domain, token, deleted=deleted)
        self.burn()
        return page

    def list_groups(self, domain: str, token: str | None) -> Any:
        """A page, noted."""
        self.burn()
        return super().list_groups(domain, token)


def counted(**more: Any) -> Counted:
    """Forty-five live accounts, five deleted ones, and two groups of ours."""
    made = grouped()
    live = [account(number) for number in range(45)]
    removed = [account(number, primaryEmail=f"gone.away{number:04}@sd.belajar.id") for number in range(100, 105)]
    groups = [{**group, "email": str(group["email"]).replace("@guru.", "@")} for group in made.groups]
    return Counted(live=live, removed=removed, groups=groups, members=made.members, page=5, **more)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A note after every three pages."""
    monkeypatch.setattr(accounts, "CHUNK_ACCOUNTS", 12)


def opened(folder: Path, request: dict[str, Any] | None = None, clock: Any = None, **more: Any) -> Reading:
    """The reading in `folder`, of the request a test means."""
    return open_reading(folder, request or {}, clock or SteppedClock(), **({"age_max": DAY_LONG} | more))


def taken(directory: Counted, folder: Path, kept: Reading | None = None, **more: Any) -> SnapshotFacts:
    """A snapshot of one list after the other, with groups."""
    markers = {Jenjang.SD: frozenset(possible()["marker"])}
    request = request_for(folder, parts=1, threads=1, lists_at_once=1, group_markers=markers, reading=kept, **more)
    return take_snapshot(directory, Jenjang.SD, request)


def fused(call: Callable[..., Any], burn: Callable[[], None]) -> Callable[..., Any]:
    """The call, with two chances to stop."""

    def burning(*arguments: Any, **more: Any) -> Any:
        burn()
        result = call(*arguments, **more)
        burn()
        return result

    return burning


def test_a_reading_stopped_at_any_point_goes_on_to_the_same_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Before and behind every page, file, fsync and note: the second start reads the rest, and at most one chunk again."""
    calm = taken(counted(), tmp_path / "calm")
    chances = [0]

    def burn() -> None:
        chances[0] -= 1
        if chances[0] == 0:
            raise StoppedError

    # The machine does not stop here, only the program: what was written is there without any fsync.
    for name in ("fsync_file", "fsync_folder"):
        monkeypatch.setattr(reading, name, fused(lambda _: None, burn))
    monkeypatch.setattr(reading, "write_atomically", fused(reading.write_atomically, burn))
    whole = counted(burn=burn)
    assert taken(whole, tmp_path / "whole", opened(tmp_path / "reading")).digest == calm.digest
    points, pages = -chances[0], len(whole.pages_asked)
    assert points > 60
    for point in range(1, points + 1, 3):
        first, second = counted(burn=burn), counted(burn=burn)
        kept = tmp_path / f"reading-{point}"
        chances[0] = point
        with pytest.raises(StoppedError):
            taken(first, tmp_path / "s", opened(kept))
        chances[0] = 0
        facts = taken(second, tmp_path / f"s-{point}", opened(kept))
        assert facts.digest == calm.digest, point
        asked = len(first.pages_asked) + len(second.pages_asked)
        assert pages <= asked <= pages + 3, point


def test_what_is_finished_is_not_asked_for_again(tmp_path: Path):
    """A plan that was refused after the whole reading costs no page, no group and no member at the next start, and says what is there."""
    clock = SteppedClock()
    first, second = counted(), counted()
    began = opened(tmp_path / "reading", clock=clock)
    one = taken(first, tmp_path / "one", began, clock=clock)
    clock.sleep(3_600.0)
    again = opened(tmp_path / "reading", clock=clock)
    assert (again.started, again.accounts, began.accounts) == (began.started, 45, 0)
    reported: list[int] = []
    report = lambda _, number: reported.append(number)  # noqa: E731 - one line
    two = taken(second, tmp_path / "two", again, clock=clock, report=report)
    assert (two.digest, two.files.keys()) == (one.digest, one.files.keys())
    assert (second.pages_asked, second.asked_for, reported) == ([], [], [45])
    assert json.loads((tmp_path / "two" / "snapshot.json").read_bytes())["started_at"] == began.started.isoformat()
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "reading").rglob("*") if path.is_dir()}
    assert modes == {0o700}
    reading.remove_reading(tmp_path / "reading")
    assert not (tmp_path / "reading").exists()


def test_a_token_that_is_no_longer_taken_starts_that_list_again(tmp_path: Path):
    """The half-read list begins anew, its kept files go, and the finished one stays."""
    calm = taken(counted(), tmp_path / "calm")
    half(tmp_path / "reading")
    directory = counted(stale_at=[0])
    facts = taken(directory, tmp_path / "s", opened(tmp_path / "reading"))
    assert (facts.digest, facts.repeated) == (calm.digest, 0)
    live = [token for deleted, token in directory.pages_asked if not deleted]
    assert live == ["30", None, *(str(start) for start in range(5, 45, 5))]


def half(folder: Path) -> None:
    """A reading that was stopped after two notes of its one long list."""
    directory = counted()
    plain = directory.list_accounts

    def stopping(domain: str, token: str | None, *, deleted: bool = False) -> Page:
        if token == "35":  # noqa: S105 - a page
            raise DirectoryError("the network is gone")
        return plain(domain, token, deleted=deleted)

    directory.list_accounts = stopping  # type: ignore[method-assign]
    with pytest.raises(DirectoryError, match="the network is gone"):
        taken(directory, folder.with_name("never"), opened(folder))


LIVE, DELETED = "sd.sd.belajar.id.live", "sd.sd.belajar.id.deleted"


@pytest.mark.parametrize("damage", ["a byte", "cut off", "gone", "note", "no note", "note of another"])
def test_a_damaged_list_begins_anew_and_the_others_go_on(damage: str, tmp_path: Path):
    """Whatever happened to its note or files: that list is read again, whole, and no row is lost or there twice."""
    one = taken(counted(), tmp_path / "one", opened(tmp_path / "reading"))
    work = tmp_path / "reading" / LIVE
    path = work / NOTE_FILE if "note" in damage else sorted(work.glob("*.accounts.parquet"))[1]
    content = path.read_bytes()
    if damage in {"gone", "no note"}:
        path.unlink()
    elif damage == "note of another":
        path.write_bytes((tmp_path / "reading" / DELETED / NOTE_FILE).read_bytes())
    elif damage == "cut off":
        path.write_bytes(content[: len(content) // 2])
    else:
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    (work / "000009.accounts.parquet").write_bytes(b"cut off by the stop")
    directory = counted()
    two = taken(directory, tmp_path / "two", opened(tmp_path / "reading"))
    assert (two.digest, two.accounts) == (one.digest, 45)
    assert [deleted for deleted, _ in directory.pages_asked] == [False] * 9
    assert directory.asked_for == []


def test_another_request_or_an_old_reading_begins_anew(tmp_path: Path):
    """Settings, age, a clock that was wrong, a damaged head, a reading without a note: all of it goes."""
    clock = SteppedClock()
    folder = tmp_path / "reading"

    def begun() -> None:
        reading.remove_reading(folder)
        taken(counted(), tmp_path / f"s{clock.time}", opened(folder, {"a": 1}, clock), clock=clock)
        clock.sleep(1.0)
        assert opened(folder, {"a": 1}, clock).accounts == 45

    def is_anew(**more: Any) -> bool:
        found = opened(folder, **({"request": {"a": 1}, "clock": clock} | more))
        return found.accounts == 0 and [path.name for path in folder.iterdir()] == [READING_FILE]

    begun()
    assert is_anew(request={"a": 2})
    begun()
    assert is_anew(age_max=timedelta(0))
    begun()
    clock.time += 24 * 3_600 + 1
    assert is_anew()
    begun()
    clock.time -= 25 * 3_600
    assert is_anew()
    begun()
    (folder / READING_FILE).write_bytes(b"{}")
    assert is_anew()
    clock.sleep(5.0)
    assert opened(folder, {"a": 1}, clock).started == clock.now()
    begun()


def test_lists_and_groups_asked_for_no_more_leave_no_row(tmp_path: Path):
    """A domain that is gone, and groups of other settings, are not in the snapshot of the reading that goes on."""

    class TwoDomains(Counted):
        """With a second domain."""

        def domains(self) -> list[str]:
            return ["sd.belajar.id", "guru.sd.belajar.id"]

    base = counted()
    wider = TwoDomains(live=[*base.live, account(200, primaryEmail="x.y0001@guru.sd.belajar.id")], groups=base.groups)
    taken(wider, tmp_path / "wide", opened(tmp_path / "reading"))
    plain = Counted(live=base.live)
    facts = take_snapshot(plain, Jenjang.SD, request_for(tmp_path / "s", reading=opened(tmp_path / "reading")))
    assert facts.digest == take_snapshot(Counted(live=base.live), Jenjang.SD, request_for(tmp_path / "calm")).digest
    assert plain.pages_asked == []


def test_other_groups_are_read_anew_and_accounts_are_not(tmp_path: Path):
    """Which groups' members are read follows from register and settings, which may have changed since the stop."""
    taken(counted(), tmp_path / "one", opened(tmp_path / "reading"))
    directory = counted()
    markers = {Jenjang.SD: frozenset(possible()["marker"][:1])}
    request = request_for(tmp_path / "two", group_markers=markers, reading=opened(tmp_path / "reading"))
    fewer = take_snapshot(directory, Jenjang.SD, request)
    calm = take_snapshot(counted(), Jenjang.SD, request_for(tmp_path / "calm", group_markers=markers))
    assert fewer.digest == calm.digest
    assert (directory.pages_asked, len(set(directory.asked_for))) == ([], 1)


def test_an_account_that_moved_while_nobody_read_stays_as_seen_last(tmp_path: Path):
    """Read before the stop, and again behind it on a later page, by a clock that was put back meanwhile."""
    clock = SteppedClock()
    clock.sleep(7_200.0)
    half(tmp_path / "reading")
    clock.sleep(-7_200.0)
    moved = counted()
    moved.live[40] = moved.live[3] | {"suspended": True}
    facts = taken(moved, tmp_path / "s", opened(tmp_path / "reading", clock=clock), clock=SteppedClock(lambda: -60.0))
    assert facts.repeated == 1
    rows = marked_rows(tmp_path / "s").filter(pl.col("id") == moved.live[3]["id"])
    assert rows["suspended"].to_list() == [True]


# Over sockets


@pytest.fixture(scope="module")
def tenant(tmp_path_factory: pytest.TempPathFactory):
    """An emulator with one tenant of 330 accounts, and the settings that reach it."""
    jenjang = Jenjang.SMP
    folder = tmp_path_factory.mktemp("emulator")
    with EmulatorProcess(EmulatorSettings(folder=folder, scale=100.0, tenants=(jenjang,))) as running:
        planted = [account(number, jenjang, orgUnitPath="/") for number in range(330)]
        running.plant(jenjang, [{key: value for key, value in one.items() if key != "id"} for one in planted])
        document = {
            "state": str(folder / "state"),
            "endpoint": {"class": "emulator", "url": running.url, "time_scale": 100.0},
            "tenants": {
                str(jenjang): {
                    "customer_id": running.customer_ids[jenjang],
                    "credentials_file": str(running.credentials[jenjang]),
                }
            },
        }
        yield running, document


def child(state: Path, document: dict[str, Any], chances: int) -> subprocess.CompletedProcess[bytes]:
    """One process that reads on."""
    command = [sys.executable, str(Path(__file__).with_name("reading_child.py"))]
    return subprocess.run(
        [*command, str(state), json.dumps(document), str(state / "s"), str(chances)], capture_output=True, check=False
    )


def pages_of(emulator: EmulatorProcess) -> int:
    """Pages of accounts the emulator has handed out."""
    return int(emulator.stats()["answers"].get("users.list", {}).get("200", 0))


def test_processes_that_are_killed_read_the_tenant_together(tenant, tmp_path: Path):
    """Each goes on where the last one was killed; together they ask for little more than one that was left alone."""
    emulator, document = tenant
    states = {name: tmp_path / name for name in ("calm", "killed")}
    for state in states.values():
        state.mkdir()
    before = pages_of(emulator)
    calm = json.loads(child(states["calm"], document, 0).stdout)
    pages = pages_of(emulator) - before
    assert (calm["accounts"], calm["kept"]) == (330, 0)
    assert pages >= 330 / PAGE
    before, kills, kept = pages_of(emulator), 0, [0]
    dice = random.Random(7)  # noqa: S311 - a test's course
    while (ended := child(states["killed"], document, dice.randint(10, 26) if kills < 5 else 0)).returncode:
        assert ended.returncode == -9, ended.stderr.decode()
        kills += 1
        notes = (states["killed"] / "reading").glob(f"*.live/{NOTE_FILE}")
        kept.append(sum(json.loads(note.read_bytes().split(b"\n")[1])["progress"]["accounts"] for note in notes))
    last = json.loads(ended.stdout)
    assert (last["digest"], last["accounts"], last["kept"]) == (calm["digest"], 330, kept[-1])
    assert kept == sorted(kept)
    assert kills >= 3
    # A kill costs each of the two lists under way at most the pages of a chunk, and one on its way.
    assert pages_of(emulator) - before <= pages + kills * 2 * (CHUNK // PAGE + 2)


def test_a_plan_that_was_stopped_goes_on_and_an_apply_ends_every_reading(tmp_path: Path, monkeypatch):
    """Ctrl-C in the middle of a plan: the next one reads the rest and says so. What was read before an apply serves no later plan."""
    monkeypatch.setattr(pipeline, "LISTS_AT_ONCE", 1)
    monkeypatch.setattr(pipeline, "GROUP_LISTS_AT_ONCE", 0)
    plain, asked = GoogleDirectory.list_accounts, Counter[str]()

    def stopping(self: GoogleDirectory, domain: str, token: str | None, *, deleted: bool = False) -> Page:
        asked["pages"] += 1
        if asked["pages"] == asked["stop at"]:
            raise KeyboardInterrupt
        return plain(self, domain, token, deleted=deleted)

    monkeypatch.setattr(GoogleDirectory, "list_accounts", stopping)
    with town(tmp_path) as made:
        pipeline.apply_run(made.settings, made.plan().folder.run_id)
        folder = made.settings.state / pipeline.READING_FOLDER
        assert not folder.exists()
        asked.update({"pages": -asked["pages"], "stop at": 5})
        with pytest.raises(KeyboardInterrupt):
            made.plan()
        told: list[Reading] = []
        request = pipeline.PlanRequest(extract=made.folder / "extract2", date=DAY)
        again = pipeline.make_plan(made.settings, request, goes_on=told.append)
        # Live and deleted accounts of three domains, and the page that was interrupted once more.
        assert ([reading.accounts for reading in told], asked["pages"]) == ([5], 7)
        assert list(folder.iterdir()) == []
        asked["pages"] = 0
        with pytest.raises(KeyboardInterrupt):
            made.plan()
        assert [path.name for path in folder.iterdir()] == ["plan"]
        pipeline.apply_run(made.settings, again.folder.run_id)
        assert not folder.exists()
        assert pipeline.verify_run(made.settings, again.folder.run_id, goes_on=told.append).remaining == 0
        assert len(told) == 1


def test_the_command_says_since_when_it_reads(capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    """On stderr for a person, in the time of Jakarta, and in the JSON document for a script."""
    printer = Printer(as_json=True)
    began = datetime(2026, 11, 22, 18, 30, tzinfo=UTC)
    telling_of_readings(printer)(Reading(tmp_path, began, 12_345))
    printer.close()
    told = capsys.readouterr()
    assert "begun 2026-11-23 01:30 WIB: 12,345 accounts are there" in told.err
    assert json.loads(told.out) == {"reading": {"started_at": began.isoformat(), "accounts": 12_345}}


def test_the_setting_has_bounds() -> None:
    """A page token lives for three days, so nothing longer makes sense; 0 always begins anew."""
    assert (ReadingSettings().hours_max, ReadingSettings(hours_max=0).hours_max) == (24, 0)
    with pytest.raises(ValueError, match="less than or equal to 72"):
        ReadingSettings(hours_max=73)
