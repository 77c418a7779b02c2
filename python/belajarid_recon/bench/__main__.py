"""`python -m belajarid_recon.bench`: makes pairs, runs the engines on them, judges, prints tables, and removes what it made."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console

from belajarid_recon import _core
from belajarid_recon.bench.data import ATTRIBUTES, KEY, SHARES, Pair, Truth, make_pair
from belajarid_recon.bench.peers import DEFAULT, ENGINES
from belajarid_recon.bench.report import as_document, is_right, table
from belajarid_recon.bench.run import Inputs, Result, Rounds, compare_engines, is_installed
from belajarid_recon.errors import ExitStatus, ReconError, SettingsError

_DISK_BYTES_A_KEY = 350
"""A pair 85, outputs 10, and what an engine held to its memory spills, up to about 250."""

_talk = Console(stderr=True, highlight=False, markup=False)


def main(arguments: list[str]) -> int:
    """Run what was asked; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m belajarid_recon.bench", description=__doc__)
    parser.add_argument("--keys", default="1000000", help="keys on each side; several sizes with commas")
    parser.add_argument("--layouts", default="text,sealed", help="text, sealed or both")
    parser.add_argument(
        "--engines", default="", help=f"of {', '.join(ENGINES)}; of the first four those that are installed if absent"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--folder", type=Path, default=None, help="where there is room; the system's temporary folder if absent"
    )
    parser.add_argument("--json", type=Path, default=None, help="file for every number")
    chosen = parser.parse_args(arguments)
    try:
        return _main(chosen)
    except ReconError as error:
        _talk.print(f"error: {error.message}")
        if error.hint:
            _talk.print(f"  hint: {error.hint}")
        return error.exit_status
    except KeyboardInterrupt:
        _talk.print("error: interrupted")
        return ExitStatus.INTERRUPTED


def _main(chosen: argparse.Namespace) -> int:
    if _core.__build__ != "release":
        raise SettingsError(
            f"a benchmark needs the optimised core, not this build: {_core.__build__}", hint="type: make setup"
        )
    sizes = [int(size) for size in chosen.keys.split(",")]
    pairs = [Pair(keys, chosen.seed, layout) for keys in sizes for layout in chosen.layouts.split(",")]
    engines = tuple(chosen.engines.split(",")) if chosen.engines else tuple(filter(is_installed, DEFAULT))
    documents, right = [], True
    with tempfile.TemporaryDirectory(prefix="belajarid-recon-bench-", dir=chosen.folder) as folder:
        _check_disk(Path(folder), max(sizes))
        rounds = Rounds(engines, chosen.rounds, chosen.threads, Path(folder), _watch)
        for pair in pairs:
            truth, results = _one(Path(folder) / "pair", pair, rounds)
            documents.append(as_document(results, threads=chosen.threads, truth=truth.as_document(), shares=SHARES))
            right = right and is_right(results)
    _say_growth(documents)
    if chosen.json:
        chosen.json.write_bytes(orjson.dumps(documents, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    return ExitStatus.DONE if right else ExitStatus.BUG


def _one(folder: Path, pair: Pair, rounds: Rounds) -> tuple[Truth, list[Result]]:
    """Make one pair, compare, print the table, and remove the pair."""
    _talk.print(f"making a pair of {pair.keys:,} keys, layout {pair.layout}")
    truth = make_pair(folder, pair)
    sides = (str(folder / "source.parquet"), str(folder / "directory.parquet"))
    inputs = Inputs((sides[0],), (sides[1],), KEY, ATTRIBUTES)
    results = compare_engines(inputs, rounds, truth.tally)
    title = f"{truth.source_rows:,} x {truth.directory_rows:,} rows, layout {pair.layout}, {rounds.threads} threads"
    Console(width=130).print(table(results, f"{title}, median of {rounds.rounds}"))
    shutil.rmtree(folder)
    return truth, results


def _check_disk(folder: Path, keys: int) -> None:
    needed, free = keys * _DISK_BYTES_A_KEY, shutil.disk_usage(folder).free
    if free < needed:
        raise SettingsError(
            f"too little free disk in {folder.parent}: {free / 1e9:.1f} GB",
            hint=f"{keys:,} keys need {needed / 1e9:.1f} GB; name a roomier place: --folder (make: BENCH_FOLDER=...)",
        )


def _say_growth(documents: list[dict[str, Any]]) -> None:
    """Time a key of the first engine, from the smallest size to the largest."""
    for layout in dict.fromkeys(document["truth"]["layout"] for document in documents):
        lines = []
        for document in documents:
            engine, measured = next(iter(document["engines"].items()))
            if document["truth"]["layout"] == layout and measured["median"]:
                keys = document["truth"]["keys"]
                lines.append(f"{keys:,} keys {measured['median']['wall_seconds'] / keys * 1e6:.3f} us a key")
        if len(lines) > 1:
            Console(width=130, highlight=False).print(f"{engine}, layout {layout}: {'; '.join(lines)}")


def _watch(label: str, done: int, total: int) -> None:
    if done < total:
        _talk.print(label)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
