"""The command line under bad input: one clear message, a documented exit status, nothing changed, no traceback."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import orjson
import polars as pl
import pytest
from typer.testing import CliRunner

from belajarid_recon.cli.main import app
from belajarid_recon.errors import ExitStatus
from belajarid_recon.settings import load_settings
from belajarid_recon.state.lock import StateLock
from endings import refused_with
from worlds import DAY, World, world

COMMANDS = (
    ["demo"],
    ["run"],
    ["plan"],
    ["apply"],
    ["forecast"],
    ["verify"],
    ["abandon"],
    ["handoff"],
    ["emulator"],
    ["diff"],
    ["bench"],
    ["population", "create"],
    ["population", "advance"],
    ["population", "mend"],
    ["state", "backup"],
    ["state", "restore"],
)


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """A world with an empty directory."""
    with world(tmp_path_factory.mktemp("cli"), 1_000) as made:
        yield made


def type_in(*words: object):
    """Run a command as if typed."""
    return CliRunner().invoke(app, [str(word) for word in words])


def plan_of(fresh: World, extract: Path, *more: object):
    """`plan` over an extract."""
    return type_in("plan", "--settings", fresh.settings_file, "--extract", extract, "--date", DAY, *more)


def refused(fresh: World, result, status: ExitStatus, *said: str) -> None:
    """The command ended as documented, said where and how to mend it, and changed nothing."""
    refused_with(result, status, *said)
    runs = fresh.settings.state / "runs"
    assert not runs.exists() or not any(runs.iterdir())
    assert not any(list(fresh.emulator.accounts(tenant)) for tenant in fresh.settings.tenants)


@pytest.fixture
def extract(fresh: World, tmp_path: Path) -> Path:
    """A copy of the extract to damage."""
    return shutil.copytree(fresh.extract, tmp_path / "extract")


def file_of(extract: Path, table: str) -> Path:
    """The first file of a table."""
    single = extract / f"{table}.parquet"
    return single if single.exists() else sorted((extract / table).glob("*.parquet"))[0]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(command):
    """`--help` gives an example and the exit statuses."""
    result = type_in(*command, "--help")
    assert result.exit_code == 0
    assert "Example" in result.output
    assert "Exit statuses" in result.output


def test_a_missing_table_is_named(fresh: World, extract: Path):
    """No `ptk` at all."""
    path = file_of(extract, "ptk")
    shutil.rmtree(path.parent) if path.parent != extract else path.unlink()
    refused(fresh, plan_of(fresh, extract), ExitStatus.INPUT_REFUSED, "ptk")


def test_a_missing_column_is_named(fresh: World, extract: Path):
    """`sekolah` without `npsn`."""
    path = file_of(extract, "sekolah")
    pl.read_parquet(path).drop("npsn").write_parquet(path)
    refused(fresh, plan_of(fresh, extract), ExitStatus.INPUT_REFUSED, "sekolah", "npsn")


def test_a_wrong_type_is_named(fresh: World, extract: Path):
    """Birth dates as numbers."""
    path = file_of(extract, "peserta_didik")
    pl.read_parquet(path).with_columns(tanggal_lahir=pl.lit(1.5)).write_parquet(path)
    refused(fresh, plan_of(fresh, extract), ExitStatus.INPUT_REFUSED, "peserta_didik", "tanggal_lahir")


def test_an_empty_file_is_named(fresh: World, extract: Path):
    """No bytes at all."""
    path = file_of(extract, "ptk_terdaftar")
    path.write_bytes(b"")
    refused(fresh, plan_of(fresh, extract), ExitStatus.INPUT_REFUSED, path.name)


def test_headers_only_is_refused(fresh: World, extract: Path):
    """A register without pupils is no register."""
    for path in [file_of(extract, "peserta_didik"), *(extract / "peserta_didik").glob("*.parquet")]:
        pl.read_parquet(path).clear().write_parquet(path)
    refused(fresh, plan_of(fresh, extract), ExitStatus.INPUT_REFUSED, "peserta_didik")


def test_a_truncated_file_is_named(fresh: World, extract: Path):
    """Half of a Parquet file."""
    path = file_of(extract, "registrasi_peserta_didik")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    refused(fresh, plan_of(fresh, extract), ExitStatus.INPUT_REFUSED, path.name)


def test_damage_inside_a_file_is_refused(fresh: World, extract: Path):
    """A whole footer over garbage pages."""
    path = file_of(extract, "peserta_didik")
    content = bytearray(path.read_bytes())
    content[100:4_000] = bytes(3_900)
    path.write_bytes(content)
    result = plan_of(fresh, extract)
    assert result.exit_code == ExitStatus.INPUT_REFUSED, result.output
    assert "Traceback" not in result.output


def test_a_missing_folder_is_named(fresh: World, tmp_path: Path):
    """An extract folder that is not there."""
    refused(fresh, plan_of(fresh, tmp_path / "nowhere"), ExitStatus.INPUT_REFUSED, "nowhere")


def test_an_unknown_setting_is_named(fresh: World, tmp_path: Path):
    """A misspelt entry is refused with its place, and its value is not repeated."""
    path = tmp_path / "recon.toml"
    path.write_text(fresh.settings_file.read_text() + "\n[guardz]\nsecret = 'hunter2hunter2'\n")
    result = type_in("plan", "--settings", path, "--extract", fresh.extract)
    refused(fresh, result, ExitStatus.SETTINGS_REFUSED, "guardz")
    assert "hunter2" not in result.output


@pytest.mark.parametrize(
    ("line", "place"),
    [
        ('url = "http://203.0.113.5:80/"', "endpoint"),
        ('url = "http://localhost:80/"', "endpoint"),
        ('url = "https://127.0.0.1:80/"', "endpoint"),
    ],
)
def test_the_emulator_is_on_loopback_or_nowhere(fresh: World, tmp_path: Path, line: str, place: str):
    """A name, another machine's address or another scheme is refused before anything is sent."""
    path = tmp_path / "recon.toml"
    path.write_text(re.sub(r"url = .*", line, fresh.settings_file.read_text()))
    refused(fresh, type_in("plan", "--settings", path, "--extract", fresh.extract), ExitStatus.SETTINGS_REFUSED, place)


def test_a_key_others_can_read_is_refused(fresh: World, tmp_path: Path):
    """A marker key with mode 644 stops the run with the mending command."""
    folder = shutil.copytree(fresh.folder / "keys", tmp_path / "keys")
    (folder / "marker").chmod(0o644)
    path = tmp_path / "recon.toml"
    text = (
        fresh.settings_file.read_text()
        .replace('"keys/', f'"{folder}/')
        .replace('"emulator/', f'"{fresh.folder}/emulator/')
    )
    path.write_text(text)
    refused(
        fresh, type_in("plan", "--settings", path, "--extract", fresh.extract), ExitStatus.SETTINGS_REFUSED, "chmod 600"
    )


def test_an_unconfirmed_regulation_asks_for_its_line(fresh: World, tmp_path: Path):
    """The message holds the very line to add."""
    path = tmp_path / "recon.toml"
    text = re.sub(r'"persesjen-14-2024" = .*\n', "", fresh.settings_file.read_text())
    path.write_text(
        text.replace('"keys/', f'"{fresh.folder}/keys/').replace('"emulator/', f'"{fresh.folder}/emulator/')
    )
    result = type_in(
        "plan", "--settings", path, "--extract", fresh.extract, "--regulation", "persesjen-14-2024", "--date", DAY
    )
    refused(fresh, result, ExitStatus.SETTINGS_REFUSED, '"persesjen-14-2024" = ')


def test_a_locked_state_folder_is_busy(fresh: World):
    """A second run says who holds the folder."""
    with StateLock(fresh.settings.state, purpose="test"):
        refused(fresh, plan_of(fresh, fresh.extract), ExitStatus.BUSY, "in use")


def test_a_port_in_use_is_busy(tmp_path: Path):
    """The emulator says which port, and how to choose another."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = type_in("emulator", "--folder", tmp_path / "e", "--port", port)
    assert result.exit_code == ExitStatus.BUSY, result.output
    assert str(port) in result.stderr
    assert "hint: " in result.stderr


def test_the_emulator_refuses_other_addresses(tmp_path: Path):
    """It serves this machine only."""
    result = type_in("emulator", "--folder", tmp_path / "e", "--host", "0.0.0.0", "--port", 0)  # noqa: S104
    assert result.exit_code == ExitStatus.SETTINGS_REFUSED
    assert "0.0.0.0" in result.stderr  # noqa: S104


def test_errors_are_json_on_request(fresh: World, tmp_path: Path):
    """`--json` gives the error as a document with its exit status."""
    result = plan_of(fresh, tmp_path / "nowhere", "--json")
    document = orjson.loads(result.stdout)
    assert document["error"]["exit_status"] == result.exit_code == ExitStatus.INPUT_REFUSED
    assert document["error"]["hint"]


def test_a_wrong_date_is_refused(fresh: World):
    """A date that is none."""
    result = type_in("plan", "--settings", fresh.settings_file, "--extract", fresh.extract, "--date", "15-11-2026")
    refused(fresh, result, ExitStatus.SETTINGS_REFUSED, "15-11-2026")


def test_the_installed_program_ends_the_same_way(tmp_path: Path):
    """A real process: the message on stderr, nothing on stdout, the documented status."""
    ended = subprocess.run(
        [sys.executable, "-m", "belajarid_recon", "plan", "--settings", tmp_path / "none.toml", "--extract", tmp_path],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.returncode == ExitStatus.SETTINGS_REFUSED
    assert ended.stdout == ""
    assert ended.stderr.startswith("error: settings cannot be read: ")
    assert "Traceback" not in ended.stderr


def test_a_demo_folder_is_not_overwritten(tmp_path: Path):
    """A folder with somebody's files is refused, with and without --replace."""
    (tmp_path / "thesis.txt").write_text("mine")
    for words in ((), ("--replace",)):
        result = type_in("demo", "--people", 1_000, "--folder", tmp_path, *words)
        assert result.exit_code == ExitStatus.SETTINGS_REFUSED
    assert (tmp_path / "thesis.txt").read_text() == "mine"


@pytest.mark.parametrize("table", ["role_pengguna", "registrasi_peserta_didik", "ptk_terdaftar", "rombongan_belajar"])
def test_an_empty_table_is_no_departure(fresh: World, extract: Path, table: str):
    """Roles, registrations, assignments or classes with headers only are a broken export, not everybody's leaving."""
    path = file_of(extract, table)
    pl.read_parquet(path).clear().write_parquet(path)
    (extract / "extract.json").unlink()
    refused(fresh, plan_of(fresh, extract), ExitStatus.INPUT_REFUSED, table)


def test_a_path_with_brackets_is_printed_as_it_is(fresh: World, tmp_path: Path):
    """Square brackets in a folder's name are no markup."""
    result = plan_of(fresh, tmp_path / "[week]")
    refused(fresh, result, ExitStatus.INPUT_REFUSED, "[week]")


def test_the_emulator_writes_settings_that_work(tmp_path: Path):
    """What `--write-settings` leaves is a whole settings file for that emulator, and keys that are there are kept."""
    folder = tmp_path / "office"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        words = ("emulator", "--folder", tmp_path / "e", "--port", port, "--scale", 60, "--write-settings", folder)
        assert type_in(*words).exit_code == ExitStatus.BUSY
        marker = (folder / "keys" / "marker").read_text()
        type_in(*words)
    written = load_settings(folder / "recon.toml")
    assert written.endpoint.url == f"http://127.0.0.1:{port}/"
    assert len(written.tenants) == 7
    assert (folder / "keys" / "marker").read_text() == marker
    assert type_in("emulator", "--port", 0, "--write-settings", folder).exit_code == ExitStatus.SETTINGS_REFUSED
