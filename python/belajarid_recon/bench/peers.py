"""The program of one engine, to be run as a process of its own.

`python -m belajarid_recon.bench.peers --engine duckdb < job.json` does the job (`job.Job`), and prints the engine's version
and the process's peak memory as JSON, or why it failed: of a foreign error only the type, since its text may hold a row.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from dataclasses import dataclass
from importlib.metadata import version

import orjson

from belajarid_recon.bench.job import Job, peak_bytes
from belajarid_recon.differences import MEMORY_LIMIT
from belajarid_recon.errors import ReconError


@dataclass(frozen=True)
class Engine:
    """How an engine is called: the module with its FORMS, the form that is taken, the package it needs and its import.

    `memory_limit` is in bytes and is the engine's own default here; None for no limit.
    """

    module: str
    form: str
    package: str
    import_name: str
    memory_limit: int | None


ENGINES = {
    "recon": Engine("by_recon", "diff", "belajarid-recon", "belajarid_recon", MEMORY_LIMIT),
    "duckdb": Engine("by_duckdb", "groups", "duckdb", "duckdb", None),
    "duckdb-4gb": Engine("by_duckdb", "groups", "duckdb", "duckdb", 4_000_000_000),
    "polars": Engine("by_polars", "groups", "polars", "polars", None),
    "duckdb-join": Engine("by_duckdb", "join", "duckdb", "duckdb", None),
    "polars-join": Engine("by_polars", "join", "polars", "polars", None),
}
DEFAULT = ("recon", "duckdb", "duckdb-4gb", "polars")
"""The peers in the fastest form of those measured; the others can be named, to measure them again."""


def main(arguments: list[str]) -> None:
    """Do one job."""
    parser = argparse.ArgumentParser(prog="python -m belajarid_recon.bench.peers", description=__doc__)
    parser.add_argument("--engine", choices=tuple(ENGINES), required=True)
    chosen = parser.parse_args(arguments)
    engine = ENGINES[chosen.engine]
    job = Job.from_json(sys.stdin.buffer.read())
    os.environ["POLARS_MAX_THREADS"] = str(job.threads)  # read when polars is imported
    forms = importlib.import_module(f"belajarid_recon.bench.{engine.module}").FORMS
    answer: dict[str, str | int] = {"version": version(engine.package)}
    try:
        forms[engine.form](job)
    except Exception as error:  # whatever it is, the parent says it beside the other engines
        told = f": {error}" if isinstance(error, ReconError) else ""
        answer["failure"] = f"{type(error).__name__}{told}"
    answer["peak_bytes"] = peak_bytes()
    sys.stdout.buffer.write(orjson.dumps(answer))


if __name__ == "__main__":
    main(sys.argv[1:])
