"""What a benchmark says: a JSON document with every run, and a table of medians with ratios."""

from __future__ import annotations

import os
import platform
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table

from belajarid_recon import __version__, _core
from belajarid_recon.bench.run import Result

_MEASURES = ("wall_seconds", "cpu_seconds", "peak_bytes")
_GIGABYTE = 1e9


def machine() -> dict[str, Any]:
    """Processor, cores this process may use, memory in bytes, system and Python."""
    return {
        "processor": _first("/proc/cpuinfo", r"^model name\s*:\s*(.+)$") or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": int(_first("/proc/meminfo", r"^MemTotal:\s+(\d+) kB$") or 0) * 1024,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "core": f"{_core.__version__} {_core.__build__}",
    }


def _first(path: str, pattern: str) -> str:
    try:
        found = re.search(pattern, Path(path).read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        return ""
    return found.group(1).strip() if found else ""


def as_document(results: list[Result], **facts: Any) -> dict[str, Any]:  # noqa: ANN401 - anything JSON can hold
    """For JSON: `facts`, the machine, and of each engine its runs, medians and ratios to the first engine's medians."""
    return {
        "version": __version__,
        **facts,
        "machine": machine(),
        "engines": {
            result.engine: {
                "version": result.version,
                "median": _medians(result),
                "ratio": _ratios(result, results[0]),
                "runs": [asdict(run) for run in result.runs],
                "faults": result.faults,
                "failure": result.failure,
            }
            for result in results
        },
    }


def table(results: list[Result], title: str) -> Table:
    """For people: medians, and each engine's as a multiple of the first one's."""
    made = Table(title=title, title_justify="left")
    made.add_column("engine")
    for name in ("wall s", "CPU s", "peak GB", "wall x", "CPU x", "peak x"):
        made.add_column(name, justify="right")
    made.add_column("output")
    for result in results:
        medians, ratios = _medians(result), _ratios(result, results[0])
        numbers = [
            *(
                f"{medians[name] / (_GIGABYTE if name == 'peak_bytes' else 1):.2f}" if medians else ""
                for name in _MEASURES
            ),
            *(f"{ratios[name]:.2f}" if ratios else "" for name in _MEASURES),
        ]
        made.add_row(
            f"{result.engine} {result.version}", *numbers, result.failure or "; ".join(result.faults) or "right"
        )
    return made


def is_right(results: list[Result]) -> bool:
    """Whether every engine ended well and gave the expected lines each time."""
    return not any(result.failure or result.faults for result in results)


def _medians(result: Result) -> dict[str, float]:
    return {name: result.median(name) for name in _MEASURES} if result.runs else {}


def _ratios(result: Result, base: Result) -> dict[str, float]:
    ours, theirs = _medians(base), _medians(result)
    return {name: theirs[name] / ours[name] for name in _MEASURES} if ours and theirs else {}
