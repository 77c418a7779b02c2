"""One comparison as every engine gets it, and the answer a process gives about itself."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import orjson

KeyForm = Literal["uuid-text", "plain"]

_PEAK = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)


@dataclass(frozen=True)
class Job:
    """Two tables, what to compare, and what the engine may use.

    `source` and `directory` are Parquet files. `key_form` "uuid-text": the key is UUIDs as text, and comes out in lower
    case; "plain": as it stands. `memory_limit` is in bytes, None for no limit. `out` is the Parquet file to write, of
    the columns `check.COLUMNS`.
    """

    source: tuple[str, ...]
    directory: tuple[str, ...]
    key: str
    attributes: tuple[str, ...]
    key_form: KeyForm
    threads: int
    memory_limit: int | None
    temporary_folder: str
    out: str

    def to_json(self) -> bytes:
        """As `from_json` reads it."""
        return orjson.dumps(asdict(self))

    @classmethod
    def from_json(cls, document: bytes) -> Job:
        """What `to_json` wrote."""
        read: dict[str, Any] = orjson.loads(document)
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in read.items()
        }
        return cls(**values)


def peak_bytes() -> int:
    """The largest resident size of this process.

    Read from the kernel's high-water mark: the peak of getrusage starts at the size of the process that started this one.
    """
    found = _PEAK.search(Path("/proc/self/status").read_text(encoding="ascii"))
    return int(found.group(1)) * 1024 if found else 0
