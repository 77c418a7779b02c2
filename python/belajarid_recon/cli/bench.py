"""The `bench` command: engines side by side on a user's own files."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Annotated

import orjson
import typer

from belajarid_recon.cli.commands import DebugOption, JsonOption
from belajarid_recon.cli.ending import ending
from belajarid_recon.cli.printer import Printer
from belajarid_recon.differences import find_files
from belajarid_recon.errors import ReconError


def bench(
    source: Annotated[Path, typer.Argument(help="Parquet file, or folder of them: what should be.")],
    directory: Annotated[Path, typer.Argument(help="The same of what is.")],
    key: Annotated[str, typer.Option("--key", help="Column that tells rows apart; UUIDs in one case on both sides.")],
    attributes: Annotated[str, typer.Option("--attributes", help="Columns to compare, with commas.")],
    engines: Annotated[
        str | None,
        typer.Option(
            "--engines", help="With commas: recon, duckdb, duckdb-4gb, polars; if absent all that are installed."
        ),
    ] = None,
    rounds: Annotated[int, typer.Option("--rounds", min=1, max=99, help="Runs of each engine; medians are shown.")] = 3,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, max=64, help="Threads of each engine; as many as cores if absent.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--folder", help="Where outputs and spills go while it runs; there must be room.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="File to write the JSON document to, beside the table.")
    ] = None,
    *,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Compare two tables with this program, DuckDB and Polars, and show time, CPU and memory of each. Nothing is kept.

    Every run is a process of its own. The engines' outputs are checked against each other; where they are not the same lines in
    the same order, the command ends with status 1. Peers are optional: `pip install 'belajarid-recon[bench]'`.

    Example: `belajarid-recon bench week1.parquet week2.parquet --key id --attributes nama,npsn --rounds 5 --out bench.json`
    """
    printer = Printer(as_json=as_json)
    with ending(printer, debug=debug):
        from belajarid_recon.bench import report  # noqa: PLC0415 - a tool, no stage
        from belajarid_recon.bench.peers import DEFAULT  # noqa: PLC0415
        from belajarid_recon.bench.run import (  # noqa: PLC0415
            Inputs,
            Rounds,
            compare_engines,
            is_installed,
        )

        names = tuple(_words(engines)) if engines else tuple(filter(is_installed, DEFAULT))
        inputs = Inputs(
            source=tuple(find_files(source, side="source")),
            directory=tuple(find_files(directory, side="directory")),
            key=key,
            attributes=tuple(_words(attributes)),
        )
        cores = threads or min(len(os.sched_getaffinity(0)), 64)
        with (
            tempfile.TemporaryDirectory(prefix="belajarid-recon-bench-", dir=folder) as place,
            printer.watch() as watch,
        ):
            results = compare_engines(inputs, Rounds(names, rounds, cores, Path(place), watch))
        document = report.as_document(results, threads=cores, inputs=inputs.as_document())
        printer.table(report.table(results, f"median of {rounds}, {cores} threads"))
        printer.record(**document)
        if out is not None:
            out.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
        if not report.is_right(results):
            raise ReconError(
                "an engine failed, or the engines do not give the same lines",
                hint="the table and the JSON document say which and where",
            )


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]
