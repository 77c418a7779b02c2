"""`belajarid-recon`: the commands, what they were asked, and how they end."""

from __future__ import annotations

import gc
import sys
from typing import Annotated

import typer

from belajarid_recon import __version__
from belajarid_recon.cli import bench, commands, demo, state
from belajarid_recon.cli.diff import diff
from belajarid_recon.cli.emulator import emulator
from belajarid_recon.cli.handoff import handoff
from belajarid_recon.errors import ExitStatus

EXIT_STATUSES = """
Exit statuses: 0 done · 1 fault in the program · 2 wrong usage · 3 the extract, a table or a backup is refused ·
4 the settings are refused · 5 busy: locked by another run, or a port is in use ·
6 the directory refuses or cannot be reached · 7 the plan is refused, or the state is older than its anchor ·
8 work remains: steps are held, parked or contradicted, or what was compared differs · 9 the machine refuses: a full disk, a file ·
10 the directory does not take the credentials, or allows less than is needed ·
130 interrupted, go on with `apply`.
"""

app = typer.Typer(
    name="belajarid-recon",
    help="Bring the belajar.id accounts of Google Workspace into agreement with the school register, Dapodik.",
    epilog=EXIT_STATUSES,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


def _version(value: bool) -> None:  # noqa: FBT001 - the shape typer calls back with
    if value:
        typer.echo(f"belajarid-recon {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[  # noqa: FBT002 - a flag
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    del version


population = typer.Typer(help="Seeded synthetic people in the register's own tables.", no_args_is_help=True)
population.command("create", epilog=EXIT_STATUSES)(commands.population_create)
population.command("advance", epilog=EXIT_STATUSES)(commands.population_advance)
population.command("mend", epilog=EXIT_STATUSES)(commands.population_mend)

state_commands = typer.Typer(help="The state folder as a sealed file, and back.", no_args_is_help=True)
state_commands.command("backup", epilog=EXIT_STATUSES)(state.backup)
state_commands.command("restore", epilog=EXIT_STATUSES)(state.restore)

app.command("demo", epilog=EXIT_STATUSES)(demo.demo)
app.command("run", epilog=EXIT_STATUSES)(commands.run)
app.command("plan", epilog=EXIT_STATUSES)(commands.plan)
app.command("apply", epilog=EXIT_STATUSES)(commands.apply)
app.command("forecast", epilog=EXIT_STATUSES)(commands.forecast)
app.command("verify", epilog=EXIT_STATUSES)(commands.verify)
app.command("abandon", epilog=EXIT_STATUSES)(commands.abandon)
app.command("rebuild", epilog=EXIT_STATUSES)(commands.rebuild)
app.command("handoff", epilog=EXIT_STATUSES)(handoff)
app.command("diff", epilog=EXIT_STATUSES)(diff)
app.command("emulator", epilog=EXIT_STATUSES)(emulator)
app.command("bench", epilog=EXIT_STATUSES)(bench.bench)
app.add_typer(population, name="population")
app.add_typer(state_commands, name="state")


OBJECTS_PER_COLLECTION = 50_000
"""A page of accounts is thousands of objects and none is a cycle: looking for cycles after every 700 costs a sixth of a snapshot."""


def main() -> None:
    """Entry point of the installed command."""
    gc.set_threshold(OBJECTS_PER_COLLECTION)
    try:
        app()
    except BrokenPipeError:  # the reader of our output went away; nothing is lost by stopping
        sys.stderr.close()
        sys.exit(ExitStatus.DONE)
