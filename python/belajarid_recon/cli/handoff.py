"""`handoff`: who waits for a role that only a person may give in the Admin console, and the files to give it with."""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Annotated

import polars as pl
import typer
from rich.table import Table

from belajarid_recon import pipeline
from belajarid_recon.cli.commands import DEFAULT_SETTINGS, DebugOption, JsonOption, SettingsOption
from belajarid_recon.cli.ending import ending
from belajarid_recon.cli.printer import Printer
from belajarid_recon.settings import load_settings
from belajarid_recon.state.atomic import write_atomically

COLUMNS = ("address", "role", "unit")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What makes a spreadsheet take a cell for a formula."""
_UNSAFE = re.compile(r"[^a-z0-9]+")
NAME_CHARACTERS_MAX = 80


def handoff(
    settings: SettingsOption = DEFAULT_SETTINGS,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for one CSV a tenant and unit.")] = None,
    role: Annotated[
        str, typer.Option("--role", help="Name of the console's role to give.")
    ] = "Admin Satuan Pendidikan",
    *,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Count the accounts that wait for an administrator's role in the console, and write the files to give it with.

    Example: `belajarid-recon handoff --settings recon.toml --out handoff`
    """
    printer = Printer(as_json=as_json)
    with ending(printer, debug=debug):
        waiting = pipeline.waiting_for_console(load_settings(settings))
        now = datetime.now(tz=UTC)
        groups = [
            {"tenant": tenant, "unit": unit, "accounts": rows.height, "oldest_days": (now - min(rows["at"])).days}
            for (tenant, unit), rows in _groups(waiting)
        ]
        printer.record(state="waiting for the console", accounts=waiting.height, units=groups)
        table = Table(title="Waiting for the console", title_justify="left")
        for name in ("tenant", "unit"):
            table.add_column(name)
        for name in ("accounts", "oldest, days"):
            table.add_column(name, justify="right")
        for group in groups:
            table.add_row(*(str(value) for value in group.values()))
        printer.table(table)
        printer.line(f"{waiting.height:,} accounts wait for the console")
        if out is not None:
            out.mkdir(mode=0o700, parents=True, exist_ok=True)
            for (tenant, unit), rows in _groups(waiting):
                write_atomically(out / file_name(tenant, unit), bulk_csv(rows["address"].to_list(), role, unit))
            printer.line(f"{len(groups):,} files are written: {out}")


def _groups(waiting: pl.DataFrame) -> list[tuple[tuple[str, str], pl.DataFrame]]:
    """Hand-offs by tenant and unit, in order of both."""
    filled = waiting.with_columns(pl.col("ou_path").fill_null("/")).sort("tenant", "ou_path", "address")
    parts = filled.group_by("tenant", "ou_path", maintain_order=True)
    return [((str(tenant), str(unit)), rows) for (tenant, unit), rows in parts]


def file_name(tenant: str, unit: str) -> str:
    """A name no unit's name can lead out of the folder with, and no two units share."""
    plain = unicodedata.normalize("NFKD", unit).encode("ascii", "ignore").decode().lower()
    words = _UNSAFE.sub("-", plain).strip("-")[:NAME_CHARACTERS_MAX]
    digest = blake2b(unit.encode(), digest_size=4).hexdigest()
    return "-".join(filter(None, (tenant, words, digest))) + ".csv"


def bulk_csv(addresses: list[str], role: str, unit: str) -> bytes:
    """The file of one unit: UTF-8, lines ended as RFC 4180 has them, no cell a spreadsheet would calculate."""
    text = io.StringIO(newline="")
    rows = csv.writer(text, lineterminator="\r\n")
    rows.writerow(COLUMNS)
    rows.writerows([_plain(cell) for cell in (address, role, unit)] for address in addresses)
    return text.getvalue().encode()


def _plain(cell: str) -> str:
    return f"'{cell}" if cell.startswith(_FORMULA) else cell
