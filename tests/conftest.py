"""What several files of tests are given: one emulator a file, and a desk with a state folder a test."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliers.desk import CLOCK, TENANTS, TIME_SCALE, Desk, target_of
from appliers.plans import settings_of
from belajarid_recon.components import SystemRandomness
from belajarid_recon.directory.connect import connect
from belajarid_recon.directory.google import GoogleDirectory
from belajarid_recon.emulator.launch import EmulatorProcess
from belajarid_recon.emulator.settings import EmulatorSettings
from belajarid_recon.schemas import Jenjang

# A shell that starts the tests in the background has them ignore Ctrl-C, which some of them press.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatorProcess]:
    """One emulator for all tests of a file; each takes people of its own."""
    folder = tmp_path_factory.mktemp("emulator")
    with EmulatorProcess(EmulatorSettings(folder, scale=TIME_SCALE, tenants=TENANTS, seed=5)) as process:
        yield process


@pytest.fixture(scope="module")
def directories(emulator: EmulatorProcess) -> Iterator[dict[Jenjang, GoogleDirectory]]:
    """Connections are kept between tests: reading a service account's key costs more than applying a plan."""
    connected = connect(settings_of(target_of(emulator, Path("unused"))), CLOCK, SystemRandomness())
    yield connected
    for directory in connected.values():
        directory.close()


@pytest.fixture
def desk(emulator: EmulatorProcess, directories: dict[Jenjang, GoogleDirectory], tmp_path: Path) -> Iterator[Desk]:
    """A fresh state folder, and no faults but the test's own."""
    yield Desk(emulator, directories, tmp_path / "state")
    emulator.clear_faults()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what the swarms of kills came to, wherever they ran."""
    reports = [report for outcome in ("passed", "failed") for report in terminalreporter.getreports(outcome)]
    lines = [value for report in reports for name, value in report.user_properties if name == "swarm"]
    if lines:
        terminalreporter.section("kills")
        for line in lines:
            terminalreporter.write_line(str(line))
