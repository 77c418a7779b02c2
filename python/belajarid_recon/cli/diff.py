"""`belajarid-recon diff`: two tables of any origin compared, as a summary, as JSON or as a file of changes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer
from rich.table import Table

from belajarid_recon.cli.commands import DebugOption, JsonOption
from belajarid_recon.cli.ending import ending
from belajarid_recon.cli.printer import Printer
from belajarid_recon.errors import ExitStatus, SettingsError

if TYPE_CHECKING:
    import polars as pl

    from belajarid_recon.differences import Diff

LINES_SHOWN = 20
LINES_MAX = 10_000

_UNITS: dict[str, int] = {"": 1, "B": 1} | {
    unit + suffix: base**power
    for power, unit in enumerate("KMGT", start=1)
    for suffix, base in (("IB", 1024), ("B", 1000))
}
_SIZE = re.compile(r"(\d{1,12})\s*([A-Za-z]*)")


class KeyFormOption(StrEnum):
    """How keys are read."""

    AUTO = "auto"
    UUID = "uuid"
    TEXT = "text"
    BINARY = "binary"
    INTEGER = "integer"


class Format(StrEnum):
    """What the result is written as."""

    PARQUET = "parquet"
    JSONL = "jsonl"


def diff(
    source: Annotated[Path, typer.Argument(help="What should be: a Parquet file, or a folder of them.")],
    directory: Annotated[Path, typer.Argument(help="What is: likewise.")],
    key: Annotated[str, typer.Option("--key", help="The column rows are matched by; no nulls.")],
    attributes: Annotated[
        str | None,
        typer.Option("--attributes", help="Columns to compare, with commas; all that both sides have if absent."),
    ] = None,
    key_form: Annotated[
        KeyFormOption, typer.Option("--key-form", help="How keys are read, where auto would guess wrong.")
    ] = KeyFormOption.AUTO,
    normalise: Annotated[
        list[str] | None,
        typer.Option("--normalise", help="COLUMN=NAME,…: trim-1, nfc-1, lower-1, empty-null-1. May be given again."),
    ] = None,
    memory_limit: Annotated[
        str, typer.Option("--memory-limit", help="What may be held in memory: 512MiB, 2GiB, 4GB.")
    ] = "2GiB",
    threads: Annotated[int | None, typer.Option("--threads", help="1 to 64; the CPUs at hand if absent.")] = None,
    temporary_folder: Annotated[
        Path | None,
        typer.Option("--temporary-folder", help="Where to put what does not fit; beside the result if absent."),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="File for the changes; replaced if it is there.")] = None,
    written_as: Annotated[Format, typer.Option("--format", help="What the file is.")] = Format.PARQUET,
    lines: Annotated[
        int, typer.Option("--lines", min=0, max=LINES_MAX, help="Without --out: how many lines to show.")
    ] = LINES_SHOWN,
    *,
    values: Annotated[bool, typer.Option("--values", help="Without --out: show values before and after too.")] = False,
    exact: Annotated[bool, typer.Option("--exact", help="Compare by bytes and not by 128-bit digests.")] = False,
    allow_disjoint: Annotated[
        bool, typer.Option("--allow-disjoint", help="Go on when the sides have no key in common.")
    ] = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Compare two tables of Parquet files by key. Ends with 0 if they agree, with 8 if they differ; neither is changed.

    Without `--out` the summary and the first lines are shown: keys and the names of what differs, and no values unless asked.

    Example: `belajarid-recon diff register.parquet accounts/ --key nik --attributes nama,npsn --normalise nama=trim-1,nfc-1
    --out changes.parquet`
    """
    printer = Printer(as_json=as_json)
    with ending(printer, debug=debug):
        asked: dict[str, Any] = {
            "key": key,
            "attributes": parse_names(attributes),
            "key_form": key_form.value,
            "exact": exact,
            "normalise": parse_normalisations(normalise or []),
            "memory_limit": parse_size(memory_limit),
            "threads": threads,
            "temporary_folder": temporary_folder,
            "allow_disjoint": allow_disjoint,
        }
        found = _compare(printer, (source, directory), asked, _Result(out, written_as, lines, values=values))
        if not found.agrees:
            raise typer.Exit(ExitStatus.WORK_REMAINS)


@dataclass(frozen=True)
class _Result:
    """What is to become of the lines: a file, or the first of them shown."""

    out: Path | None
    written_as: Format
    shown: int
    values: bool


def _compare(printer: Printer, sides: tuple[Path, Path], asked: dict[str, Any], result: _Result) -> Diff:
    """Compare, write or show the lines, and print the summary."""
    from belajarid_recon import differences  # noqa: PLC0415 - other commands start without it

    out, first = result.out, None
    with printer.watch() as watch:
        if out is None:
            found = differences.diff(*sides, **asked, progress=watch)
            first = _first_lines(found, result)
        elif result.written_as is Format.PARQUET:
            found = differences.diff(*sides, **asked, out=out, progress=watch)
        else:
            names = zip(("source", "directory"), sides, strict=True)
            files = (file for name, side in names for file in differences.find_files(side, side=name))
            place = differences.result_file(out, files)
            asked["temporary_folder"] = asked["temporary_folder"] or place.parent
            found = differences.diff(*sides, **asked, progress=watch)
            with differences.draft(place) as file:
                _write_lines(found, file)
    # After the lines: only then the counts of an exact comparison are final.
    printer.record(counts=dict(found.counts), out=None if out is None else str(out))
    printer.table(counts_table(found.counts))
    if first is None:
        printer.line(f"{found.counts['lines']:,} lines written to {out}")
    else:
        _show_lines(printer, found, first, values=result.values)
    return found


def parse_names(text: str | None) -> list[str] | None:
    """Column names with commas between them; none at all for an empty text."""
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]


def parse_normalisations(texts: list[str]) -> dict[str, list[str]]:
    """`COLUMN=NAME,NAME` as often as it was typed."""
    found: dict[str, list[str]] = {}
    for text in texts:
        column, equals, names = text.rpartition("=")
        if not equals or not column or column in found:
            raise SettingsError(
                f"not COLUMN=NAME,NAME, or a column twice: {text}", hint="write it as nama=trim-1,nfc-1, once a column"
            )
        found[column] = parse_names(names) or []
    return found


def parse_size(text: str) -> int:
    """Bytes from a number with a unit: KiB, MiB, GiB, TiB count by 1,024 and kB, MB, GB, TB by 1,000."""
    match = _SIZE.fullmatch(text.strip())
    unit = _UNITS.get(match[2].upper()) if match else None
    if match is None or unit is None:
        raise SettingsError(f"not a size: {text}", hint="write it as 512MiB or 2GiB")
    return int(match[1]) * unit


def counts_table(counts: Mapping[str, object]) -> Table:
    """The summary."""
    table = Table(title="Differences", title_justify="left")
    table.add_column("what")
    table.add_column("count", justify="right")
    for name, label in COUNTS_SHOWN.items():
        table.add_row(label, f"{counts[name]:,}")
    return table


COUNTS_SHOWN = {
    "source_rows": "rows of the source",
    "directory_rows": "rows of the directory",
    "unchanged": "keys unchanged",
    "added": "keys added (source alone)",
    "removed": "keys removed (directory alone)",
    "changed": "keys changed",
    "duplicate_source": "keys doubled in the source",
    "duplicate_directory": "keys doubled in the directory",
}
"""Counts in the order they are shown, in words."""


def _first_lines(found: Diff, result: _Result) -> pl.DataFrame:
    """The first lines; the others are passed by."""
    import polars as pl  # noqa: PLC0415

    first = pl.DataFrame()
    for batch in pl.scan_arrow_c_stream(found).collect_batches(maintain_order=True):
        if first.height < result.shown or not first.width:
            first = (
                pl.concat([first, batch.head(result.shown - first.height)]) if first.width else batch.head(result.shown)
            )
    return readable(first) if first.width else first


def _show_lines(printer: Printer, found: Diff, first: pl.DataFrame, *, values: bool) -> None:
    """Kind, key, count and names of what differs; values only if asked."""
    shown = first if values else first.drop("before", "after", strict=False)
    printer.record(lines=shown.to_dicts())
    table = Table(title="First lines" if first.height < found.counts["lines"] else "Lines", title_justify="left")
    for column in ("kind", "key", "differs", "count", *(["values"] if values else [])):
        table.add_column(column)
    for line in shown.iter_rows(named=True):
        cells = [line["kind"], _cell(line["key"]), ", ".join(line["differs"]), f"{line['count']:,}"]
        table.add_row(*cells, *([_change(line)] if values else []))
    if shown.height:
        printer.table(table)
    left = found.counts["lines"] - first.height
    if left:
        printer.line(f"and {left:,} lines more; write all of them with --out")


def _change(line: dict[str, Any]) -> str:
    """Values before and after, an attribute a line."""
    before, after = line["before"] or {}, line["after"] or {}
    names = line["differs"] or list(before or after)
    sides = ((name, before.get(name), after.get(name)) for name in names)
    return "\n".join(f"{name}: {_cell(old)} → {_cell(new)}" for name, old, new in sides)


def _cell(value: object) -> str:
    """A value as a terminal can show it: what would steer the terminal is escaped."""
    text = "null" if value is None else str(value)
    return text if text.isprintable() else repr(text)


def _write_lines(found: Diff, file: BinaryIO) -> None:
    """One JSON object a line. A batch at a time, so that memory does not grow with the changes."""
    import polars as pl  # noqa: PLC0415

    for batch in pl.scan_arrow_c_stream(found).collect_batches(maintain_order=True):
        readable(batch).write_ndjson(file)


def readable(frame: pl.DataFrame) -> pl.DataFrame:
    """The lines with bytes as hexadecimal digits, which JSON and a terminal can hold."""
    import polars as pl  # noqa: PLC0415

    return frame.with_columns(
        *(pl.col(name).bin.encode("hex") for name, kind in frame.schema.items() if kind == pl.Binary),
        *(_readable_struct(name, kind) for name, kind in frame.schema.items() if isinstance(kind, pl.Struct)),
    )


def _readable_struct(name: str, kind: pl.Struct) -> pl.Expr:
    import polars as pl  # noqa: PLC0415

    bytes_of = [field.name for field in kind.fields if field.dtype == pl.Binary]
    made = pl.col(name).struct.with_fields(*(pl.field(inner).bin.encode("hex") for inner in bytes_of))
    return pl.when(pl.col(name).is_not_null()).then(made).otherwise(None).alias(name) if bytes_of else pl.col(name)
