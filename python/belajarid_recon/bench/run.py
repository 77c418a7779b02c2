"""Rounds of engines on the same files: every run a process of its own, every output judged, medians and ratios."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson
import polars as pl

from belajarid_recon.bench.check import Tally, faults, tally_file
from belajarid_recon.bench.job import Job, KeyForm
from belajarid_recon.bench.peers import ENGINES
from belajarid_recon.errors import InputError, SettingsError

Watch = Callable[[str, int, int], None]
"""Told a label, how much of the work under it is done, and how much there is."""

ROUNDS_MAX = 99
_READ_AT_ONCE = 8 << 20
_UUID = r"^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$"


@dataclass(frozen=True)
class Inputs:
    """What is compared: Parquet files of either side, the key and the attributes."""

    source: tuple[str, ...]
    directory: tuple[str, ...]
    key: str
    attributes: tuple[str, ...]

    def as_document(self) -> dict[str, Any]:
        """For JSON: columns, and files and bytes of each side."""
        sides = {"source": self.source, "directory": self.directory}
        sizes = {side: sum(Path(name).stat().st_size for name in files) for side, files in sides.items()}
        files = {side: {"files": len(names), "bytes": sizes[side]} for side, names in sides.items()}
        return {"key": self.key, "attributes": list(self.attributes), **files}


@dataclass(frozen=True)
class Rounds:
    """How it is compared: engines (names of `peers.ENGINES`) in the order of a round, rounds, threads, and a folder for outputs."""

    engines: tuple[str, ...]
    rounds: int
    threads: int
    folder: Path
    watch: Watch = lambda _label, _done, _total: None

    def __post_init__(self) -> None:
        """Refuse what cannot be run."""
        if not 1 <= self.rounds <= ROUNDS_MAX:
            raise SettingsError(f"rounds out of bounds, 1 to {ROUNDS_MAX}: {self.rounds}")
        for engine in self.engines:
            if engine not in ENGINES:
                raise SettingsError(f"unknown engine: {engine}", hint=f"known are: {', '.join(ENGINES)}")
            if not is_installed(engine):
                raise SettingsError(
                    f"an engine is not installed: {engine}", hint="install it: pip install 'belajarid-recon[bench]'"
                )
        if not self.engines:
            raise SettingsError("no engine to run", hint=f"known are: {', '.join(ENGINES)}")


@dataclass(frozen=True)
class Run:
    """One process: seconds of wall clock and of CPU (user and system), peak resident bytes, and what is wrong with its output."""

    wall_seconds: float
    cpu_seconds: float
    peak_bytes: int
    faults: list[str]


@dataclass
class Result:
    """All runs of one engine. `failure` says why a process did not end well; no further round is run then."""

    engine: str
    version: str = ""
    runs: list[Run] = field(default_factory=list)
    failure: str = ""

    def median(self, measure: str) -> float:
        """Of `wall_seconds`, `cpu_seconds` or `peak_bytes`."""
        return float(statistics.median(getattr(run, measure) for run in self.runs))

    @property
    def faults(self) -> list[str]:
        """What was wrong with any output, each thing once."""
        return list(dict.fromkeys(fault for run in self.runs for fault in run.faults))


def is_installed(engine: str) -> bool:
    """Whether the engine's package is there."""
    return importlib.util.find_spec(ENGINES[engine].import_name) is not None


def key_form(inputs: Inputs) -> KeyForm:
    """Whether the first key of each side is a UUID as text.

    Raises InputError, with side and column, when a file cannot be read or a column is missing.
    """
    forms = []
    for side, files in (("source", inputs.source), ("directory", inputs.directory)):
        try:
            table = pl.scan_parquet(list(files))
            schema = table.collect_schema()
            missing = [name for name in (inputs.key, *inputs.attributes) if name not in schema]
            if missing:
                raise InputError(f"no such column in {side}: {missing[0]}", hint=f"there are: {', '.join(schema)}")
            first = table.select(inputs.key).head(1).collect().to_series()
        except (OSError, pl.exceptions.PolarsError) as error:
            raise InputError(
                f"{side} cannot be read: {type(error).__name__}", hint="are all files whole Parquet?"
            ) from error
        forms.append(first.dtype == pl.String and bool(first.str.contains(_UUID).any()))
    return "uuid-text" if all(forms) else "plain"


def compare_engines(inputs: Inputs, rounds: Rounds, expected: Tally | None = None) -> list[Result]:
    """Run every engine once a round, in turn, and judge each output.

    Against `expected`; without it against the first output there is, so that the engines are checked against each other. Before
    each run the files are read through once, so that nobody pays for another's pushing them out of the page cache.
    """
    form = key_form(inputs)
    results = {engine: Result(engine) for engine in rounds.engines}
    total = rounds.rounds * len(results)
    for number in range(total):
        result = results[rounds.engines[number % len(results)]]
        rounds.watch(f"round {number // len(results) + 1}: {result.engine}", number, total)
        if not result.failure:
            tally = _one_run(result, _job(inputs, form, rounds, result.engine), expected)
            expected = expected or tally
    rounds.watch("rounds", total, total)
    return list(results.values())


def _job(inputs: Inputs, form: KeyForm, rounds: Rounds, engine: str) -> Job:
    return Job(
        source=inputs.source,
        directory=inputs.directory,
        key=inputs.key,
        attributes=inputs.attributes,
        key_form=form,
        threads=rounds.threads,
        memory_limit=ENGINES[engine].memory_limit,
        temporary_folder=str(rounds.folder),
        out=str(rounds.folder / f"{engine}.parquet"),
    )


def _one_run(result: Result, job: Job, expected: Tally | None) -> Tally | None:
    """Run an engine and judge its output; add the run to the result, or say why there is none. Returns the output's tally."""
    _warm(job.source + job.directory)
    run = _run(result, job)
    if run is None:
        return None
    try:
        tally = tally_file(Path(job.out))
    except InputError as error:
        result.failure = error.message
        return None
    finally:
        Path(job.out).unlink(missing_ok=True)
    result.runs.append(replace(run, faults=faults(tally, expected or tally)))
    return tally


def _run(result: Result, job: Job) -> Run | None:
    """One process, from its start to its end."""
    command = [sys.executable, "-m", "belajarid_recon.bench.peers", "--engine", result.engine]
    started = time.perf_counter()
    process = subprocess.Popen(  # noqa: S603
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        answer, usage = _finish(process, job.to_json())
    except BaseException:
        process.kill()
        process.wait()
        raise
    wall = time.perf_counter() - started
    document: dict[str, Any] = orjson.loads(answer) if answer else {}
    if process.returncode or "failure" in document:
        result.failure = document.get("failure", f"ended with status {process.returncode}")
        return None
    result.version = document["version"]
    return Run(wall, usage.ru_utime + usage.ru_stime, document["peak_bytes"], [])


def _finish(process: subprocess.Popen[bytes], question: bytes) -> tuple[bytes, resource.struct_rusage]:
    """Ask, wait for the answer and the end, and return the answer and what the process used."""
    assert process.stdin is not None and process.stdout is not None  # noqa: S101, PT018 - for the type checker
    with contextlib.suppress(BrokenPipeError):  # it ended already; its status says how
        process.stdin.write(question)
        process.stdin.close()
    answer = process.stdout.read()
    process.stdout.close()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return answer, usage


def _warm(files: Sequence[str]) -> None:
    for name in files:
        with Path(name).open("rb", buffering=0) as file:
            while file.read(_READ_AT_ONCE):
                pass
