"""How an apply is followed: lines, a Prometheus file, events, and a stop that says how to go on. Real commands, a real emulator."""

from __future__ import annotations

import re
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest
from rich.console import Console

from appliers.plans import creation, plan_of, update
from belajarid_recon.apply.progress import ApplyPace, metrics_text, write_metrics
from belajarid_recon.apply.result import Progress
from belajarid_recon.cli.following import following
from belajarid_recon.cli.printer import Printer
from belajarid_recon.cli.starting import write_settings
from belajarid_recon.components import ScaledClock, SystemRandomness
from belajarid_recon.emulator.launch import EmulatorProcess
from belajarid_recon.emulator.settings import EmulatorSettings
from belajarid_recon.errors import ExitStatus
from belajarid_recon.plan.file import write_plan
from belajarid_recon.schemas import Jenjang
from belajarid_recon.settings import Settings
from belajarid_recon.state.folders import RunFolder, new_run
from directory_server import SteppedClock

DOCUMENT = Path(__file__).parents[1] / "docs" / "operating.md"
SCALE = 400.0


@dataclass
class Office:
    """An emulator, settings for it, and plans that are put into runs."""

    emulator: EmulatorProcess
    settings: Settings
    folder: Path

    def run_of(self, *rows: dict[str, Any]) -> RunFolder:
        """A run with a plan of these rows."""
        customers = {str(tenant): customer for tenant, customer in self.emulator.customer_ids.items()}
        self.settings.state.mkdir(exist_ok=True)
        run = new_run(self.settings.state, ScaledClock(), SystemRandomness())
        write_plan(run.plan, plan_of(list(rows), customers))
        return run

    def apply(self, *words: object) -> subprocess.Popen[str]:
        """`apply`, as typed, in a process of its own."""
        command = [sys.executable, "-m", "belajarid_recon", "apply", "--settings", self.folder / "recon.toml", *words]
        return subprocess.Popen(
            [str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )


@pytest.fixture(scope="module")
def office(tmp_path_factory) -> Iterator[Office]:
    """One for all tests: each run is closed before the next."""
    folder = tmp_path_factory.mktemp("office")
    with EmulatorProcess(EmulatorSettings(folder / "emulator", scale=SCALE, latency_seconds=0.02)) as emulator:
        yield Office(emulator, write_settings(folder, emulator), folder)


def read_metrics(text: str) -> dict[tuple[str, str], float]:
    """A strict reader of the Prometheus text format as the documentation gives it: name and tenant to value."""
    values: dict[tuple[str, str], float] = {}
    described: set[str] = set()
    typed: set[str] = set()
    assert text.endswith("\n")
    for line in text.splitlines():
        if helped := re.fullmatch(r"# HELP ([a-z_:][a-z0-9_:]*) (\S.*\.)", line):
            assert helped[1] not in described
            described.add(helped[1])
        elif kind := re.fullmatch(r"# TYPE ([a-z_:][a-z0-9_:]*) gauge", line):
            assert kind[1] in described
            typed.add(kind[1])
        else:
            sample = re.fullmatch(r'([a-z_:][a-z0-9_:]*)(?:\{tenant="([a-z]+)"\})? (\S+)', line)
            assert sample, line
            assert sample[1] in typed
            assert (sample[1], sample[2] or "") not in values
            values[sample[1], sample[2] or ""] = float(sample[3])
    assert described == typed
    for name in typed:
        assert re.fullmatch(r"belajarid_recon_apply_\w+_(steps|second|seconds|bool)", name), name
    return values


def documented_fields(event: str) -> set[str]:
    """The fields of an event as docs/operating.md lists them."""
    (row,) = re.findall(rf"^\| `{event}` \| (.*?) \|", DOCUMENT.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {"event", "at", "run", *re.findall(r"`(\w+)`", row)}


def test_a_followed_apply_tells_people_and_machines_the_same(office: Office, tmp_path: Path):
    """Output, metrics and events agree on the counts, each event has its documented fields, and nothing is personal."""
    rows = [creation(tenant, number) for tenant in ("sd", "smp") for number in range(30)]
    rows[3]["held_by"] = "suspensions_per_tenant"
    rows[4]["ou_path"] = "/Tidak/Ada"
    office.run_of(*rows)
    metrics, events = tmp_path / "apply.prom", tmp_path / "events.jsonl"
    ended = office.apply("--metrics", metrics, "--events", events)
    out, told = ended.communicate(timeout=60)
    assert ended.returncode == ExitStatus.WORK_REMAINS, told
    assert "applied: 58 done, 1 parked, 1 held\nread back: 58 confirmed, 0 contradicted\n" in out
    values = read_metrics(metrics.read_text())
    names = ("planned", "done", "parked", "held", "confirmed", "contradicted")
    counted = {t: [values[f"belajarid_recon_apply_{name}_steps", t] for name in names] for t in ("sd", "smp")}
    assert counted == {"sd": [30, 28, 1, 1, 28, 0], "smp": [30, 30, 0, 0, 30, 0]}
    assert values["belajarid_recon_apply_allowed_calls_per_second", "sd"] == 40
    assert values["belajarid_recon_apply_calls_per_second", "sd"] > 0
    assert values["belajarid_recon_apply_running_bool", ""] == 0
    assert stat.S_IMODE(metrics.stat().st_mode) & 0o444 == 0o444
    lines = [orjson.loads(line) for line in events.read_bytes().splitlines()]
    assert [lines[0]["event"], lines[-1]["event"]] == ["apply-started", "apply-ended"]
    assert {line["event"] for line in lines} == {"apply-started", "tenant-progress", "apply-ended"}
    assert all(set(line) == documented_fields(line["event"]) for line in lines)
    assert lines[0]["tenants"] == {"sd": {"steps": 30, "held": 1}, "smp": {"steps": 30, "held": 0}}
    assert (lines[-1]["outcome"], lines[-1]["counts"]["confirmed"]) == ("applied", 58)
    assert not any(word in events.read_text() + told for word in ("Budi", "budi", "Santoso", "belajar.id"))


def test_ctrl_c_stops_cleanly_and_the_same_command_goes_on(office: Office, tmp_path: Path):
    """The message says how to go on, the events say what happened, and the second start tells where the first one was."""
    office.run_of(*(creation("sma", number) for number in range(400)))
    events = tmp_path / "events.jsonl"
    first = office.apply("--events", events)
    while not (events.exists() and b"tenant-progress" in events.read_bytes()):
        time.sleep(0.02)
    time.sleep(0.2)
    first.send_signal(signal.SIGINT)
    out, told = first.communicate(timeout=60)
    assert first.returncode == ExitStatus.INTERRUPTED, out + told
    assert "go on with: belajarid-recon apply" in told
    lines = [orjson.loads(line) for line in events.read_bytes().splitlines()]
    assert (lines[-1]["outcome"], lines[-1]["counts"]) == ("interrupted", None)
    done = lines[-2]["done"]
    assert 0 < done < 400
    second = office.apply("--events", events, "--json")
    out, told = second.communicate(timeout=60)
    assert second.returncode == ExitStatus.DONE, told
    assert orjson.loads(out)["apply"]["confirmed"] == 400
    lines = [orjson.loads(line) for line in events.read_bytes().splitlines()]
    later = lines[[line["event"] for line in lines].index("apply-started", 1) + 1]
    assert (later["event"], later["done"]) == ("tenant-progress", done)
    assert (lines[-1]["outcome"], lines[-1]["counts"]["done"]) == ("applied", 400)


def test_what_the_directory_contradicts_is_told_with_a_status_of_its_own_kind(office: Office):
    """Somebody undoes our change between the answer and the reading: the run names the attribute and ends with 8."""
    row = creation("smk", 1)
    account = {
        "primaryEmail": row["address"],
        "name": {"givenName": row["given_name"], "familyName": row["family_name"]},
        "externalIds": [{"type": "custom", "customType": "recon", "value": row["marker"]}],
    }
    (target_id,) = office.emulator.plant(Jenjang.SMK, [account])
    office.run_of(update("smk", 1, target_id, {"suspended": False}, suspended=True))
    # The look before the intent goes through; what reads back waits until somebody has acted.
    office.emulator.fault("users.get", "delay", tenant="smk", after=1, times=1, seconds=1.0)
    before = office.emulator.stats()["applied"].get("users.update", {})

    def undo() -> None:
        while office.emulator.stats()["applied"].get("users.update", {}) == before:
            time.sleep(0.01)
        office.emulator.edit(Jenjang.SMK, target_id, {"suspended": False})

    somebody = threading.Thread(target=undo)
    somebody.start()
    ended = office.apply()
    out, told = ended.communicate(timeout=60)
    somebody.join()
    assert ended.returncode == ExitStatus.WORK_REMAINS, told
    assert "read back: 0 confirmed, 1 contradicted\n" in out
    assert "  contradicted: 1 not-as-written\n    not as written: 1 suspended\n" in out


def test_metrics_that_cannot_be_written_are_told_before_anything_is_sent(office: Office, tmp_path: Path):
    """The run is as it was, and goes on once the path is mended."""
    office.run_of(creation("smk", 2))
    before = office.emulator.stats()["applied"]
    ended = office.apply("--metrics", tmp_path / "none" / "apply.prom")
    _, told = ended.communicate(timeout=60)
    assert ended.returncode == ExitStatus.MACHINE
    assert "apply.prom" in told
    assert office.emulator.stats()["applied"] == before
    again = office.apply()
    again.communicate(timeout=60)
    assert again.returncode == ExitStatus.DONE


def test_a_pace_is_that_of_the_last_two_minutes():
    """Ten steps a second for a minute, then nothing for two: the pace falls, and the time left grows with it."""
    clock = SteppedClock()
    pace = ApplyPace({"sd": 2_400}, clock)
    for second in range(61):
        pace(Progress("sd", done=10 * second, parked=0, held=100, total=1_300, calls=30 * second))
        clock.sleep(1.0)
    (now,) = pace.tenants()
    assert now.steps_per_minute == pytest.approx(600, rel=0.03)
    assert (now.calls_per_minute, now.calls_per_minute_allowed) == (pytest.approx(1_800, rel=0.03), 2_400)
    assert now.seconds_left == pytest.approx(60, rel=0.03)
    for _ in range(120):
        pace(Progress("sd", done=600, parked=0, held=100, total=1_300))
        clock.sleep(1.0)
    (later,) = pace.tenants()
    assert (later.steps_per_minute, later.seconds_left) == (0, None)
    pace(Progress("sd", done=1_200, parked=0, held=100, total=1_300))
    assert pace.tenants()[0].seconds_left == 0


def test_the_metrics_of_a_tenant_that_has_not_begun_say_no_time(office: Office):
    """A pace nobody knows is left out rather than made up."""
    clock = SteppedClock()
    pace = ApplyPace({"sd": 2_400}, clock)
    pace(Progress("sd", done=0, parked=0, held=0, total=10))
    values = read_metrics(metrics_text(pace.tenants(), at=clock.now(), running=True))
    assert ("belajarid_recon_apply_left_seconds", "sd") not in values
    assert values["belajarid_recon_apply_written_timestamp_seconds", ""] == clock.now().timestamp()


def test_a_terminal_gets_a_table_and_a_log_gets_lines(office: Office, capfd):
    """The table holds every tenant; where there is no terminal nothing is drawn over."""
    printer = Printer(as_json=False)
    with following(printer, office.settings) as follower:
        for tenant in ("sd", "smp"):
            follower.progressed(Progress(tenant, done=7, parked=1, held=2, total=20, confirmed=3))
        console = Console(width=120)
        with console.capture() as drawn:
            console.print(follower.table())
    lines = capfd.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in lines] == ["sd", "smp"]
    assert all("7 of 20 done, 2 held, 1 parked, 3 confirmed" in line for line in lines)
    assert [re.sub(r"[^\w/]+", " ", line).split()[:6] for line in drawn.get().splitlines() if " s" in line[:5]] == [
        ["sd", "7", "20", "2", "1", "3"],
        ["smp", "7", "20", "2", "1", "3"],
    ]
    assert "\x1b" not in "".join(lines)


def test_progress_files_are_not_left_half_written(tmp_path: Path):
    """A reader that looks all the time never sees anything but a whole file."""
    path = tmp_path / "apply.prom"
    texts = {f"{letter * 50_000}\n" for letter in "ab"}
    done = threading.Event()
    seen: set[str] = set()

    def look() -> None:
        while not done.is_set():
            if path.exists():
                seen.add(path.read_text())

    reader = threading.Thread(target=look)
    reader.start()
    for _ in range(20):
        for text in sorted(texts):
            write_metrics(path, text)
    done.set()
    reader.join()
    assert seen <= texts
    assert list(tmp_path.iterdir()) == [path]
