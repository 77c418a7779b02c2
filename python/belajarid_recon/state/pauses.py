"""Pauses that a directory asked for, kept across restarts: a small file of when each ends.

Advice, never truth: a file that is missing, damaged or absurd means no pause, and costs a refused call at most.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path

import orjson

from belajarid_recon.components import Clock
from belajarid_recon.state.atomic import write_atomically

PAUSES_FILE = "pauses.json"
PAUSE_KEPT_SECONDS_MIN = 5.0
"""Real seconds. A shorter pause is over before another start could profit."""
PAUSE_KEPT_SECONDS_MAX = 1_200.0
"""A longer one is not ours (the governor's longest is a quarter of an hour and its jitter): the wall clock jumped, or somebody wrote it."""
PAUSES_MAX = 500
FILE_BYTES_MAX = 64 * 1024


class Pauses:
    """The file `pauses.json` of a state folder: by tenant and name, the wall time a pause ends. Thread-safe.

    Without a folder nothing is kept: a state folder is made by its first run, and by nobody else.
    """

    def __init__(self, state: Path, clock: Clock) -> None:
        self._path = state / PAUSES_FILE
        self._clock = clock
        self._lock = threading.Lock()
        self._ends = self._read()

    def seconds_left(self, tenant: str) -> dict[str, float]:
        """Real seconds until each of the tenant's pauses ends, by name; none that is over or absurd."""
        now = self._wall()
        left = {name: end - now for name, end in self._ends.get(tenant, {}).items()}
        return {name: seconds for name, seconds in left.items() if 0 < seconds <= PAUSE_KEPT_SECONDS_MAX}

    def keep(self, tenant: str, name: str, seconds: float) -> None:
        """Remember that a pause ends in so many real seconds. Raises OSError when the file cannot be written."""
        if seconds < PAUSE_KEPT_SECONDS_MIN:
            return
        with self._lock:
            now = self._wall()
            ends = {
                whose: {which: end for which, end in of.items() if now < end <= now + PAUSE_KEPT_SECONDS_MAX}
                for whose, of in self._ends.items()
            }
            ends.setdefault(tenant, {})[name] = now + min(seconds, PAUSE_KEPT_SECONDS_MAX)
            if sum(map(len, ends.values())) > PAUSES_MAX:
                return
            self._ends = ends
            if self._path.parent.is_dir():
                write_atomically(self._path, orjson.dumps(ends, option=orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2))

    def _wall(self) -> float:
        return self._clock.now().timestamp()

    def _read(self) -> dict[str, dict[str, float]]:
        ends: dict[str, dict[str, float]] = {}
        with suppress(OSError, orjson.JSONDecodeError, AttributeError):
            with self._path.open("rb") as file:
                document = orjson.loads(file.read(FILE_BYTES_MAX))
            for tenant, of in document.items():
                ends[tenant] = {name: float(end) for name, end in of.items() if isinstance(end, int | float)}
        return ends
