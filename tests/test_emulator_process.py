"""The emulator as a process: where it listens, what it keeps, how it ends."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import apsw
import pytest
import urllib3

import belajarid_recon
from belajarid_recon.emulator import server
from belajarid_recon.emulator.launch import EmulatorProcess
from belajarid_recon.emulator.settings import EmulatorQuotas, EmulatorSettings, settings_from_json
from belajarid_recon.errors import BusyError, ReconError, SettingsError
from belajarid_recon.schemas import Jenjang
from emulator_kit import HASH, Plain, marked, official, person, refusal, unlimited

SD = Jenjang.SD
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(belajarid_recon.__file__).parent.parent)}


@pytest.mark.parametrize("host", ["0.0.0.0", "localhost", "192.168.1.1", "::", ""])  # noqa: S104 - refused
def test_it_listens_on_loopback_only(tmp_path: Path, host: str) -> None:
    """Anything but a literal loopback address is refused before a socket is made."""
    with pytest.raises(SettingsError, match="loopback only"):
        EmulatorSettings(tmp_path, host=host)


def test_settings_survive_their_way_to_the_child(tmp_path: Path) -> None:
    """What is written is what is read; what is not settings is refused."""
    settings = EmulatorSettings(
        tmp_path,
        port=1,
        scale=3.5,
        quotas_by_tenant={SD: EmulatorQuotas(calls_per_minute=7)},
        tenants=(SD, Jenjang.SMP),
    )
    read = settings_from_json(settings.to_json())
    assert read == settings
    assert read.quotas_of(SD).calls_per_minute == 7
    assert read.quotas_of(Jenjang.SMP).calls_per_minute == 2_400
    for text in ("", "[]", "{}", '{"folder": "x", "colour": 1}', '{"folder": "x", "tenants": ["sltp"]}'):
        with pytest.raises(SettingsError):
            settings_from_json(text)


@pytest.mark.parametrize(
    "wrong", [{"port": 65_536}, {"scale": 0.0}, {"scale": 10_001.0}, {"tenants": ()}, {"jitter_seconds": -1.0}]
)
def test_settings_that_cannot_be_meant_are_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    """Each number has its bounds."""
    with pytest.raises(SettingsError):
        EmulatorSettings(tmp_path, **wrong)


def test_a_folder_used_again_continues(tmp_path: Path) -> None:
    """Accounts, aliases, deleted accounts, units, page tokens, access tokens, keys and time all survive a restart."""
    settings = unlimited(tmp_path / "e", SD)
    with EmulatorProcess(settings) as emulator:
        sd = official(emulator, SD)
        sd.orgunits().insert(customerId="my_customer", body={"name": "Bali", "parentOrgUnitPath": "/"}).execute()
        made = [
            sd.users()
            .insert(body=person(f"murid{n}@sd.belajar.id", orgUnitPath="/Bali", externalIds=marked(f"{n}.sd")))
            .execute()
            for n in range(4)
        ]
        renamed = sd.users().update(userKey=made[0]["id"], body={"primaryEmail": "siswa@sd.belajar.id"}).execute()
        sd.users().delete(userKey=made[1]["id"]).execute()
        token = sd.users().list(domain="sd.belajar.id", maxResults=1).execute()["nextPageToken"]
        bearer = sd._http.credentials.token
        key = emulator.credentials[SD].read_bytes()
        emulator.advance(1_000)
    port = int(emulator.url.rsplit(":", 1)[1].rstrip("/"))
    with EmulatorProcess(unlimited(tmp_path / "e", SD, port=port)) as emulator:
        assert emulator.credentials[SD].read_bytes() == key
        assert emulator.stats()["emulated_seconds"] >= 1_000
        listing = urllib3.request(
            "GET",
            f"{emulator.url}admin/directory/v1/users?domain=sd.belajar.id&maxResults=1&pageToken={token}",
            headers={"authorization": f"Bearer {bearer}"},
        )
        assert [user["id"] for user in listing.json()["users"]] == [made[3]["id"]]
        sd = official(emulator, SD)
        assert sd.users().get(userKey="murid0@sd.belajar.id").execute() == renamed
        assert refusal(sd.users().insert(body=person("murid0@sd.belajar.id")))[0] == 409
        deleted = sd.users().list(domain="sd.belajar.id", showDeleted="true").execute()["users"]
        assert [user["id"] for user in deleted] == [made[1]["id"]]
        found = sd.users().list(customer="my_customer", query="externalId=3.sd").execute()["users"]
        assert [user["id"] for user in found] == [made[3]["id"]]
        fresh = sd.users().insert(body=person("baru@sd.belajar.id", orgUnitPath="/bali")).execute()
        assert fresh["id"] not in {user["id"] for user in made}
        assert fresh["orgUnitPath"] == "/Bali"


def test_a_folder_of_the_first_format_continues(tmp_path: Path) -> None:
    """Its tokens named no user: they stay good, and new ones are granted beside them. Any other format is refused."""
    settings = unlimited(tmp_path / "e", SD)
    with EmulatorProcess(settings) as emulator:
        kept = Plain(emulator, SD).token
    database = tmp_path / "e" / "directory.sqlite"
    _execute(database, "ALTER TABLE token DROP COLUMN user", "UPDATE fact SET value = '1' WHERE name = 'format'")
    for _ in range(2):
        with EmulatorProcess(settings) as emulator:
            assert Plain(emulator, SD, kept)("GET", "customers/my_customer")[0] == 200
            assert Plain(emulator, SD)("GET", "customers/my_customer")[0] == 200
    _execute(database, "UPDATE fact SET value = '3' WHERE name = 'format'")
    with pytest.raises(SettingsError, match="another format"), EmulatorProcess(settings):
        pass


def _execute(database: Path, *statements: str) -> None:
    connection = apsw.Connection(str(database))
    for statement in statements:
        connection.execute(statement)
    connection.close()


def test_the_same_seed_gives_the_same_ids(tmp_path: Path) -> None:
    """Customer and account ids follow from seed and order alone; a folder refuses another seed."""
    ids = []
    for name in ("a", "b"):
        with EmulatorProcess(unlimited(tmp_path / name, SD, seed=5)) as emulator:
            sd = official(emulator, SD)
            made = [sd.users().insert(body=person(f"murid{n}@sd.belajar.id")).execute()["id"] for n in range(3)]
            ids.append((emulator.customer_ids, made))
    assert ids[0] == ids[1]
    assert len(set(ids[0][1])) == 3
    with pytest.raises(SettingsError, match="another seed"), EmulatorProcess(unlimited(tmp_path / "a", SD, seed=6)):
        pass


def test_a_taken_port_and_a_taken_folder_are_busy(tmp_path: Path) -> None:
    """Both are BusyError with a way out, and nothing is left running."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = unlimited(tmp_path / "port", SD, port=taken.getsockname()[1])
        with pytest.raises(BusyError, match="port is in use") as caught, EmulatorProcess(settings):
            pass
    assert caught.value.hint
    with EmulatorProcess(unlimited(tmp_path / "folder", SD)):
        second = EmulatorProcess(unlimited(tmp_path / "folder", SD))
        with pytest.raises(BusyError, match="runs on this folder") as caught, second:
            pass
    assert caught.value.hint


def test_serve_itself_says_that_the_port_is_in_use(tmp_path: Path) -> None:
    """The command's own function raises the error before it prints anything."""
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(BusyError, match="port is in use"):
        server.serve(EmulatorSettings(tmp_path / "e", port=taken.getsockname()[1], tenants=(SD,)))


def test_it_dies_with_its_parent(tmp_path: Path) -> None:
    """A parent that is killed without a chance to clean up takes the emulator with it."""
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from belajarid_recon.emulator.launch import EmulatorProcess\n"
        "from belajarid_recon.emulator.settings import EmulatorSettings\n"
        "from belajarid_recon.schemas import Jenjang\n"
        "emulator = EmulatorProcess(EmulatorSettings(Path(sys.argv[1]), tenants=(Jenjang.SD,)))\n"
        "emulator.start()\n"
        "print(emulator.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "e")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=ENVIRONMENT) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 10
    while _alive(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _alive(child)


def _alive(pid: int) -> bool:
    """Whether a process runs; one that ended and that nobody waits for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_database_that_cannot_grow_ends_it(tmp_path: Path) -> None:
    """When a write fails the emulator stops rather than answer from memory that is ahead of its file."""
    with EmulatorProcess(unlimited(tmp_path / "e", SD)) as emulator:
        child = emulator.pid
        made = emulator.plant(SD, [{"primaryEmail": f"guru{number}@sd.belajar.id"} for number in range(5)])
        resource.prlimit(child, resource.RLIMIT_FSIZE, (200_000, 200_000))
        accounts = [{"primaryEmail": f"murid{number}@sd.belajar.id"} for number in range(20_000)]
        with pytest.raises(ReconError, match="refused"):
            emulator.plant(SD, accounts)
        deadline = time.monotonic() + 10
        while _alive(child) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not _alive(child)
    with EmulatorProcess(unlimited(tmp_path / "e", SD)) as emulator:
        assert [line["account"]["id"] for line in emulator.accounts(SD)] == made
        service = official(emulator, SD)
        assert all(service.users().get(userKey=identity).execute() for identity in made)


def test_a_missing_extra_is_told_with_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without uvloop the package still imports; serving says what to type."""
    monkeypatch.setitem(sys.modules, "uvloop", None)
    with pytest.raises(SettingsError) as caught:
        server.serve(EmulatorSettings(tmp_path))
    assert caught.value.hint == "pip install 'belajarid-recon[emulator]'"


def test_the_package_imports_without_the_extra() -> None:
    """No module of the package needs uvicorn, uvloop or httptools to be imported."""
    script = (
        "import sys, pkgutil, importlib\n"
        "sys.modules.update(dict.fromkeys(('uvicorn', 'uvloop', 'httptools')))\n"
        "import belajarid_recon.emulator as package\n"
        "for module in pkgutil.iter_modules(package.__path__):\n"
        "    importlib.import_module(f'{package.__name__}.{module.name}')\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, env=ENVIRONMENT, timeout=60)


def test_passwords_are_in_no_answer_and_no_file_but_the_database(tmp_path: Path) -> None:
    """A plain password is nowhere; a given hash stands in the database alone."""
    with EmulatorProcess(unlimited(tmp_path / "e", SD)) as emulator:
        sd = official(emulator, SD)
        plain = person("a@sd.belajar.id", password="Sangat-Rahasia-4711", hashFunction=None)  # noqa: S106 - made up
        answers = [sd.users().insert(body=body).execute() for body in (plain, person("b@sd.belajar.id"))]
        answers += [*emulator.accounts(SD), emulator.stats()]
    assert "Rahasia" not in str(answers)
    assert HASH not in str(answers)
    for file in (path for path in (tmp_path / "e").rglob("*") if path.is_file()):
        content = file.read_bytes()
        assert b"Sangat-Rahasia" not in content
        assert (HASH.encode() in content) <= file.name.startswith("directory.sqlite")
