"""The `emulator` command: what was typed and what a file says become one emulator's settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from belajarid_recon.cli.commands import DebugOption
from belajarid_recon.cli.ending import ending
from belajarid_recon.cli.printer import Printer
from belajarid_recon.cli.starting import write_settings
from belajarid_recon.emulator.launch import EmulatorProcess
from belajarid_recon.emulator.server import serve
from belajarid_recon.emulator.settings import LAGS, EmulatorSettings, checked_settings, read_settings_file
from belajarid_recon.errors import SettingsError
from belajarid_recon.schemas import Jenjang

DEFAULTS: dict[str, Any] = {"folder": "emulator", "port": 8787}
"""Where the command differs from the settings' own defaults: somebody types its address by hand."""


def emulator(
    folder: Annotated[
        Path | None, typer.Option("--folder", help="Where its state and credentials live; emulator if absent.")
    ] = None,
    host: Annotated[
        str | None, typer.Option("--host", help="Loopback address to listen on; 127.0.0.1 if absent.")
    ] = None,
    port: Annotated[
        int | None, typer.Option("--port", min=0, max=65535, help="Port; 8787 if absent, 0 takes a free one.")
    ] = None,
    scale: Annotated[
        float | None, typer.Option("--scale", min=0.001, help="Emulated seconds in a real second; 1 if absent.")
    ] = None,
    tenants: Annotated[
        list[Jenjang] | None, typer.Option("--tenant", help="A jenjang to have, once for each; all if absent.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", help="Decides ids; 0 if absent. A folder keeps the one it was made with.")
    ] = None,
    latency: Annotated[
        float | None, typer.Option("--latency", min=0, help="Real seconds each call waits; none if absent.")
    ] = None,
    lag: Annotated[
        float | None,
        typer.Option("--lag", min=0, help="Emulated seconds until a change is seen everywhere; none if absent."),
    ] = None,
    settings: Annotated[
        Path | None,
        typer.Option(
            "--settings", help="Emulator settings, quotas too, as .toml or .json; an option typed goes first."
        ),
    ] = None,
    settings_folder: Annotated[
        Path | None, typer.Option("--write-settings", help="Folder to write a recon.toml and keys for it into, first.")
    ] = None,
    *,
    debug: DebugOption = False,
) -> None:
    """Serve Google's Directory API for one to seven tenants on loopback, for demos and tests, of this program and of any other client.

    Example: `belajarid-recon emulator --folder emulator --port 8787 --scale 60 --write-settings .`

    It offers POST /token, POST /batch and, below /admin/directory/v1/:

    - users: insert, get, list, update, patch, delete, undelete, makeAdmin, signOut
    - users.aliases: insert, list, delete
    - groups: insert, get, list, update, patch, delete
    - groups.aliases: insert, list, delete
    - members: insert, get, list, update, patch, delete, hasMember
    - orgunits: insert, get, list, update, patch, delete
    - privileges: list
    - roles: insert, get, list, update, patch, delete
    - roleAssignments: insert, get, list, delete
    - schemas: insert, get, list, update, patch, delete
    - domains: insert, get, list, delete
    - domainAliases: insert, get, list, delete
    - customers: get, update, patch

    Any other method of Google's answers 501. Quotas, lags and token lives run in emulated time, `--scale` times as fast as real time.

    Below /emulator/, for tests: stats, minutes (calls and refusals), accounts, edits, sign-in, clock (a jump ahead), faults
    (failures, scripted or drawn) and strikes (the calls that met them).
    The page docs/emulator.md says what each does, how faults and quotas are set, and what is not as Google has it.
    """
    printer = Printer(as_json=False)
    with ending(printer, debug=debug):
        typed = {
            "folder": folder, "host": host, "port": port, "scale": scale, "tenants": tenants or None, "seed": seed,
            "latency_seconds": latency,
        }  # fmt: skip
        chosen = _chosen(settings, {name: value for name, value in typed.items() if value is not None}, lag)
        if settings_folder is not None:
            _write_settings(settings_folder, chosen)
        serve(chosen)


def _chosen(path: Path | None, typed: dict[str, Any], lag_seconds: float | None) -> EmulatorSettings:
    """What was typed, or else what the file says, or else the defaults. Raises SettingsError.

    The file is checked alone first: what is wrong is then known to stand in it, or to have been typed.
    """
    document = DEFAULTS
    if path is not None:
        document = document | read_settings_file(path)
        checked_settings(document, str(path))
    if lag_seconds is not None:
        typed = typed | {"lag": document.get("lag", {}) | dict.fromkeys(LAGS, lag_seconds)}
    return checked_settings(document | typed, "the command line")


def _write_settings(folder: Path, chosen: EmulatorSettings) -> None:
    """Settings of this program for an emulator that is about to start. Raises SettingsError when nobody knows its port yet."""
    if chosen.port == 0:
        raise SettingsError("settings need a port that is known: 0", hint="choose one: --port 8787")
    host = f"[{chosen.host}]" if ":" in chosen.host else chosen.host
    write_settings(folder, EmulatorProcess(chosen), url=f"http://{host}:{chosen.port}/")
