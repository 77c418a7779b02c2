"""The `emulator` command: what is typed and what a file says, which of them counts, and what is refused."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import urllib3
from typer.testing import CliRunner

from belajarid_recon.cli.emulator import emulator
from belajarid_recon.cli.main import app
from belajarid_recon.emulator.launch import EmulatorProcess
from belajarid_recon.emulator.settings import EmulatorLag, EmulatorQuotas, EmulatorSettings
from belajarid_recon.emulator.tenants import customer_id
from belajarid_recon.errors import ExitStatus
from belajarid_recon.schemas import Jenjang
from belajarid_recon.settings import load_settings
from emulator_kit import Plain, person
from endings import refused_with

SD, SMP = Jenjang.SD, Jenjang.SMP
TOML = """
folder = "keadaan"
port = 4711
tenants = ["sd", "smp"]
seed = 7
[quotas]
calls_per_minute = 60
accounts_max = 100
[quotas_by_tenant.sd]
calls_per_minute = 30
[lag]
list_seconds = 5
seed = 3
"""


def type_in(*words: object) -> Any:
    """Run the command as if typed."""
    return CliRunner().invoke(app, ["emulator", *map(str, words)])


Starting = Callable[..., EmulatorSettings]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Starting:
    """The settings that words on the command line start an emulator with; none is started."""

    def start(*words: object) -> EmulatorSettings:
        chosen: list[EmulatorSettings] = []
        monkeypatch.setattr(sys.modules["belajarid_recon.cli.emulator"], "serve", chosen.append)
        result = type_in(*words)
        assert result.exit_code == ExitStatus.DONE, result.output
        return chosen[0]

    return start


def test_nothing_typed_is_the_default(started: Starting) -> None:
    """A folder and a port that people remember, and the settings' own defaults."""
    assert started() == EmulatorSettings(Path("emulator"), port=8787)


def test_every_option_is_a_setting(started: Starting, tmp_path: Path) -> None:
    """What is typed is what the emulator starts with."""
    words = ("--folder", tmp_path, "--host", "::1", "--port", 0, "--scale", 60, "--tenant", "smp", "--tenant", "sd")
    chosen = started(*words, "--seed", 5, "--latency", 0.5, "--lag", 30)
    assert chosen == EmulatorSettings(
        tmp_path,
        host="::1",
        scale=60.0,
        tenants=(SMP, SD),
        seed=5,
        latency_seconds=0.5,
        lag=EmulatorLag(30, 30, 30, 30),
    )


@pytest.mark.parametrize("suffix", ["toml", "json"])
def test_a_file_has_every_setting(started: Starting, tmp_path: Path, suffix: str) -> None:
    """TOML and JSON say the same; its folder is beside it, and a tenant's quotas start from those of all."""
    file = tmp_path / f"emulator.{suffix}"
    file.write_text(TOML if suffix == "toml" else json.dumps(tomllib.loads(TOML)))
    assert started("--settings", file) == EmulatorSettings(
        tmp_path / "keadaan",
        port=4711,
        tenants=(SD, SMP),
        seed=7,
        quotas=EmulatorQuotas(calls_per_minute=60, accounts_max=100),
        quotas_by_tenant={SD: EmulatorQuotas(calls_per_minute=30, accounts_max=100)},
        lag=EmulatorLag(list_seconds=5, seed=3),
    )


def test_what_is_typed_goes_before_the_file(started: Starting, tmp_path: Path) -> None:
    """An option replaces its own setting and no other; the lag's seed stays."""
    file = tmp_path / "emulator.toml"
    file.write_text(TOML)
    chosen = started("--settings", file, "--port", 0, "--lag", 2, "--tenant", "slb", "--folder", "here")
    assert (chosen.port, chosen.seed, chosen.folder) == (0, 7, Path("here"))
    assert chosen.tenants == (Jenjang.SLB,)
    assert chosen.lag == EmulatorLag(2, 2, 2, 2, seed=3)


REFUSED = [
    ("colour = 1", ["colour: Unexpected"]),
    ("[quotas]\ncalls_per_minute = 'many'\ncolour = 1", ["quotas.calls_per_minute: ", "quotas.colour: "]),
    ("[quotas]\ncalls_per_minute = true", ["quotas.calls_per_minute: "]),
    ("[quotas]\naccounts_max = -1", ["quotas.accounts_max: "]),
    ("[quotas_by_tenant.sltp]\naccounts_max = 1", ["quotas_by_tenant.sltp"]),
    ("quotas = 3\nquotas_by_tenant = {sd = {accounts_max = 1}}", ["quotas: "]),
    ("quotas_by_tenant = {sd = 3}", ["quotas_by_tenant.sd: "]),
    ("lag = 3", ["lag: "]),
    ("[lag]\nlist_seconds = -1", ["lag.list_seconds: "]),
    ("[lag]\nlist_seconds = inf", ["lag.list_seconds: "]),
    ("jitter_seconds = nan", ["jitter_seconds: "]),
    ("token_life_seconds = 0", ["token_life_seconds"]),
    ("tenants = ['sd', 'sltp']", ["tenants.1: "]),
    ("tenants = []", ["one or more different jenjang"]),
    ("host = '0.0.0.0'", ["loopback only"]),
    ("port = 70000", ["no such port: 70000"]),
    ("port = ", ["not TOML"]),
]


@pytest.mark.parametrize(("text", "said"), REFUSED)
def test_a_wrong_file_is_refused_with_its_place(tmp_path: Path, text: str, said: Sequence[str]) -> None:
    """The message names the file and the setting, whatever is typed beside it."""
    file = tmp_path / "emulator.toml"
    file.write_text(text)
    refused_with(type_in("--settings", file, "--lag", 1), ExitStatus.SETTINGS_REFUSED, str(file), *said)
    assert list(tmp_path.iterdir()) == [file]


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    """One that is missing, of another kind, or no table at all."""
    (tmp_path / "emulator.yaml").write_text("port: 1")
    (tmp_path / "list.json").write_text("[1]")
    (tmp_path / "half.json").write_text("{")
    for name, said in (("none.toml", "cannot be read"), ("emulator.yaml", "neither TOML nor JSON")):
        refused_with(type_in("--settings", tmp_path / name), ExitStatus.SETTINGS_REFUSED, said, name)
    for name, said in (("list.json", "not one JSON object"), ("half.json", "not JSON")):
        refused_with(type_in("--settings", tmp_path / name), ExitStatus.SETTINGS_REFUSED, said, name)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--tenant", "sd", "--tenant", "sd"), "different jenjang: sd, sd"),
        (("--latency", "inf"), "latency_seconds"),
        (("--lag", "inf"), "insert_seconds"),
        (("--scale", "20000"), "20000"),
    ],
)
def test_what_cannot_be_meant_is_refused_as_typed(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    """A good file is not blamed for what stands on the command line."""
    file = tmp_path / "emulator.toml"
    file.write_text(TOML)
    result = type_in("--settings", file, *words)
    refused_with(result, ExitStatus.SETTINGS_REFUSED, "settings are refused: the command line: ", said)


@pytest.mark.parametrize("words", [("--tenant", "sltp"), ("--latency", "-1"), ("--lag", "soon"), ("--seed", "a")])
def test_a_word_that_is_no_value_is_wrong_usage(words: tuple[str, ...]) -> None:
    """The message names the option and what it takes."""
    result = type_in(*words)
    assert result.exit_code == ExitStatus.USAGE
    assert words[0] in result.stderr


def test_settings_written_for_it_have_its_tenants(started: Starting, tmp_path: Path) -> None:
    """`--write-settings` names the tenants, customers and time scale that the emulator will have, from the file too."""
    file = tmp_path / "emulator.toml"
    file.write_text(TOML)
    chosen = started("--settings", file, "--scale", 60, "--write-settings", tmp_path / "office")
    written = load_settings(tmp_path / "office" / "recon.toml")
    assert (written.endpoint.url, written.endpoint.time_scale) == ("http://127.0.0.1:4711/", 60.0)
    assert {name: tenant.customer_id for name, tenant in written.tenants.items()} == {
        name: customer_id(7, name) for name in (SD, SMP)
    }
    assert written.tenants[SD].credentials_file.resolve() == chosen.folder / "credentials" / "sd.json"


@contextmanager
def serving(*words: object) -> Iterator[str]:
    """The command as a process of its own; gives its address, and ends it with SIGTERM."""
    line = [sys.executable, "-m", "belajarid_recon", "emulator", *map(str, words)]
    with subprocess.Popen(line, stdout=subprocess.PIPE) as child:
        try:
            assert child.stdout is not None
            yield json.loads(child.stdout.readline())["url"]
        finally:
            child.send_signal(signal.SIGTERM)
            assert child.wait(20) == 0


def test_the_command_serves_what_was_asked_for(tmp_path: Path) -> None:
    """A real process: two tenants with this seed's ids, the file's quota, the lag, and each call as late as it was told."""
    file = tmp_path / "emulator.toml"
    file.write_text("[quotas]\naccounts_max = 1\n")
    words = ("--folder", tmp_path / "e", "--port", 0, "--tenant", "sd", "--tenant", "smp", "--seed", 5)
    with serving(*words, "--lag", 3_600, "--latency", 0.05, "--settings", file) as url:
        assert sorted(path.name for path in (tmp_path / "e" / "credentials").iterdir()) == ["sd.json", "smp.json"]
        away = EmulatorProcess(EmulatorSettings(tmp_path / "e", tenants=(SD, SMP), seed=5))
        away.url = url
        sd = Plain(away, SD)
        assert sd("GET", "customers/my_customer")[1]["id"] == customer_id(5, SD)
        assert sd("POST", "users", person("satu@sd.belajar.id"))[0] == 200
        assert sd("POST", "users", person("dua@sd.belajar.id"))[0] == 412
        assert "users" not in sd("GET", "users?customer=my_customer")[1]
        assert urllib3.request("GET", f"{url}emulator/stats").json()["applied"] == {"users.insert": {"sd": 1}}


@pytest.mark.parametrize(
    "word", ["POST /token", "POST /batch", "stats", "minutes", "accounts", "edits", "sign-in", "clock", "faults", "strikes"]
)  # fmt: skip
def test_the_help_names_every_address(word: str) -> None:
    """Whoever reads --help alone knows what there is to call."""
    assert word in (emulator.__doc__ or "")
