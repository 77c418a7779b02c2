"""A population's folder: one Parquet file a table, or a folder of parts where it is made in several blocks, and `extract.json`."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from threading import Lock

import orjson
import polars as pl

from belajarid_recon.errors import InputError
from belajarid_recon.schemas import EXTRACT

FORMAT = 1
"""Version of the folder's layout, in extract.json."""

TRUTH = "truth"
TRUTH_COLUMNS = ("person_id", "person_kind", "true_person_id", "dirt", "event", "block")
_ROW_GROUP = 1 << 16


@dataclass(frozen=True, slots=True)
class Summary:
    """What a population holds.

    `rows` counts each table, `people` true persons, and `events` what a week did (empty after create).
    """

    out: Path
    people: int
    seed: int
    day: date
    semester: str
    rows: dict[str, int]
    events: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class PopulationWriter:
    """Writes tables block by block, from any thread, and counts their rows.

    Parts are named alike in every table: part k is block k.
    """

    out: Path
    blocks: int
    rows: dict[str, int] = field(default_factory=lambda: dict.fromkeys(EXTRACT, 0))
    files: dict[str, list[str]] = field(default_factory=lambda: {table: [] for table in EXTRACT})
    _counting: Lock = field(default_factory=Lock)

    def write(self, table: str, rows: pl.DataFrame, block: int | None) -> None:
        """Write one table of one block; `block` None is a table that is made once."""
        name = f"{table}.parquet" if self.blocks == 1 or block is None else f"{table}/part-{block:03d}.parquet"
        columns = list(EXTRACT[table]) if table in EXTRACT else list(TRUTH_COLUMNS)
        columns += [name for name in rows.columns if name not in columns]
        if table in EXTRACT:
            with self._counting:
                self.rows[table] += rows.height
                self.files[table].append(name)
        else:
            name = f"{TRUTH}/truth.parquet" if self.blocks == 1 else name
        path = self.out / name
        path.parent.mkdir(exist_ok=True)
        rows.select(columns).write_parquet(
            path, compression="zstd", compression_level=1, statistics=False, row_group_size=_ROW_GROUP
        )

    def finish(self, summary: Summary) -> None:
        """Write `extract.json`, last: a folder without it is unfinished."""
        document = {
            "format": FORMAT,
            "seed": summary.seed,
            "date": summary.day.isoformat(),
            "semester": summary.semester,
            "people": summary.people,
            "blocks": self.blocks,
            "events": summary.events,
            "tables": {table: {"rows": self.rows[table], "files": sorted(self.files[table])} for table in EXTRACT},
        }
        (self.out / "extract.json").write_bytes(
            orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)
        )


def claim_folder(out: Path) -> None:
    """Make `out`. Raises InputError when it holds anything: a population never mixes with another."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        occupied = any(out.iterdir())
    except OSError as error:
        raise InputError(f"population folder cannot be made: {out}", hint=str(error.strerror)) from error
    if occupied:
        raise InputError(f"population folder is not empty: {out}", hint="choose a new folder or remove this one")
