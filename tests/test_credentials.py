"""Credentials that are missing, open, another tenant's or revoked: refused or stopped as documented, and no step is lost."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from belajarid_recon.components import ScaledClock, SystemRandomness
from belajarid_recon.errors import ExitStatus
from belajarid_recon.plan.definition import Plan
from belajarid_recon.plan.file import read_plan
from belajarid_recon.schemas import Jenjang
from belajarid_recon.state.folders import RunFolder, RunStatus, list_runs, new_run
from endings import refused_with
from test_cli import plan_of, type_in
from worlds import World, world

PEOPLE = 300


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world with a plan, and nothing applied yet."""
    with world(tmp_path_factory.mktemp("credentials"), PEOPLE) as made:
        assert plan_of(made, made.extract).exit_code == ExitStatus.DONE
        yield made


def run_of(made: World) -> tuple[RunFolder, Plan]:
    """The one run and its plan."""
    (run,) = list_runs(made.settings.state)
    return run, read_plan(run.plan)


def busiest(made: World) -> str:
    """The tenant with most steps."""
    counts = run_of(made)[1].steps.whole()["tenant"].value_counts(sort=True)
    return str(counts["tenant"][0])


def settings_with(made: World, folder: Path, key: Path) -> Path:
    """The world's settings with another credentials file for the busiest tenant, in a file of its own."""
    text = made.settings_file.read_text(encoding="utf-8")
    tenant = busiest(made)
    text, count = re.subn(
        rf'(\[tenants\.{tenant}\]\ncustomer_id = "[^"]*"\ncredentials_file = )"[^"]*"', rf'\g<1>"{key}"', text
    )
    assert count == 1
    path = made.folder / f"{folder.name}.toml"
    path.write_text(text, encoding="utf-8")
    return path


def missing(made: World, folder: Path) -> Path:
    """No file there."""
    return folder / "none.json"


def world_readable(made: World, folder: Path) -> Path:
    """The right key, readable by everybody on the machine."""
    key = shutil.copy(made.emulator.credentials[Jenjang(busiest(made))], folder / "key.json")
    key.chmod(0o644)
    return key


def another_tenants(made: World, folder: Path) -> Path:
    """A good key of the neighbour."""
    return made.emulator.credentials[next(tenant for tenant in Jenjang if tenant != busiest(made))]


def no_key(made: World, folder: Path) -> Path:
    """Some other JSON."""
    key = folder / "key.json"
    key.write_text('{"type": "authorized_user"}')
    key.chmod(0o600)
    return key


def test_a_plan_is_forecast_without_sending_anything(planned: World) -> None:
    """Every free step is in one lane, nothing is sent, and the last lane's end is the whole."""
    result = type_in("forecast", "--settings", planned.settings_file, "--json")
    assert result.exit_code == ExitStatus.DONE, result.output
    made = json.loads(result.stdout)["forecast"]
    run, plan = run_of(planned)
    assert sum(lane["steps"] for lane in made["lanes"]) == plan.runnable
    assert made["seconds"] == max(lane["ends_seconds"] for lane in made["lanes"]) > 1.0
    assert run.status() is RunStatus.PLANNED
    assert "ends after" in type_in("forecast", "--settings", planned.settings_file).stdout


def test_a_forecast_leaves_a_plan_in_the_making_alone(planned: World) -> None:
    """It takes no lock, so a run without a plan is no leftover to it; a command that holds the state folder removes it."""
    run, _ = run_of(planned)
    making = new_run(run.state, ScaledClock(), SystemRandomness())
    type_in("forecast", "--settings", planned.settings_file)
    assert making.path.is_dir()
    assert type_in("forecast", "--settings", planned.settings_file, "--run", run.run_id).exit_code == ExitStatus.DONE
    assert type_in("apply", "--settings", planned.settings_file, "--run", "none").exit_code == ExitStatus.PLAN_REFUSED
    assert not making.path.exists()


@pytest.mark.parametrize(
    ("key", "status", "said"),
    [
        (missing, ExitStatus.SETTINGS_REFUSED, "cannot be read"),
        (world_readable, ExitStatus.SETTINGS_REFUSED, "chmod 600"),
        (no_key, ExitStatus.SETTINGS_REFUSED, "not a service account key"),
        (another_tenants, ExitStatus.PLAN_REFUSED, "another customer"),
    ],
)
def test_unfit_credentials_refuse_the_run_before_any_step(
    planned: World, tmp_path: Path, key: Callable[[World, Path], Path], status: ExitStatus, said: str
) -> None:
    """The documented status, one message that names the remedy, no step begun in any tenant, and the run can still be applied."""
    result = type_in("apply", "--settings", settings_with(planned, tmp_path, key(planned, tmp_path)))
    refused_with(result, status, said)
    run, _ = run_of(planned)
    assert run.status() is RunStatus.PLANNED
    assert not run.journal.exists()
    assert not any(list(planned.emulator.accounts(tenant)) for tenant in Jenjang)


def test_credentials_revoked_under_way_stop_cleanly_and_nothing_is_lost(planned: World) -> None:
    """After thirty accounts no token of the tenant is taken any more: a status of its own; with a good one the same command finishes."""
    tenant = busiest(planned)
    planned.emulator.fault("*", "status", status=401, reason="authError", tenant=tenant, after=30, times=None)
    stopped = type_in("apply", "--settings", planned.settings_file)
    refused_with(stopped, ExitStatus.ACCESS_REFUSED, "does not take our token", "service account's key")
    run, plan = run_of(planned)
    assert run.status() is RunStatus.APPLYING
    made = sum(1 for _ in planned.emulator.accounts(Jenjang(tenant)))
    assert made <= 30
    planned.emulator.clear_faults()
    went_on = type_in("apply", "--settings", planned.settings_file)
    assert went_on.exit_code == ExitStatus.DONE, went_on.output
    accounts = [line for each in Jenjang for line in planned.emulator.accounts(each)]
    assert len(accounts) == plan.steps.whole()["marker"].drop_nulls().n_unique()
    assert {line["inserts"] for line in accounts} == {1}
