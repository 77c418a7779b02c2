"""One dated reading of the register: which files hold which table, and whether every one of them can be read.

Everything is checked before anything else runs, so that a damaged extract changes nothing. Only footers are read here;
the rows are read by `sources.parts`.
"""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import orjson
import polars as pl

from belajarid_recon.errors import InputError
from belajarid_recon.schemas import EXTRACT, ColumnKind

MAY_BE_EMPTY = frozenset({"yayasan", "tugas_tambahan"})
"""Tables that a small region can be without. An empty one of any other kind can only mean a broken export, and would read as
pupils without class or operators without role."""

PERSON_KEYS = {
    "peserta_didik": "peserta_didik_id",
    "registrasi_peserta_didik": "peserta_didik_id",
    "anggota_rombel": "peserta_didik_id",
    "ptk": "ptk_id",
    "ptk_terdaftar": "ptk_id",
    "tugas_tambahan": "ptk_id",
}
"""Tables cut by person, and the column that holds the person's key."""

FILES_MAX = 100_000
"""Files of one table. The country in parts of 64 MB is a few hundred."""

FAULTS_SHOWN = 20
"""Faults one message lists; the rest are counted."""

MANIFEST = "extract.json"
"""Optional: `{"tables": {"<table>": {"rows": <count>}}}`; other keys are ignored."""

_MAGIC = b"PAR1"
_SMALLEST_PARQUET = 12  # magic, footer length, magic

_NUMBERS = ("integer", "decimal", "float")
_ACCEPTED: dict[ColumnKind, tuple[str, ...]] = {
    ColumnKind.UUID: ("text", "bytes"),
    ColumnKind.TEXT: ("text",),
    ColumnKind.CODE: (*_NUMBERS, "text"),
    ColumnKind.FLAG: ("boolean", *_NUMBERS, "text"),
    ColumnKind.DATE: ("date", "timestamp", "text"),
}


@dataclass(frozen=True)
class Extract:
    """A checked extract.

    `tables`: every table of schemas.EXTRACT to its files, sorted; `rows`: row counts by table, from the footers;
    `digests`: SHA-256 of each file's bytes by path relative to `folder`, sorted.
    """

    folder: Path
    tables: dict[str, list[Path]]
    rows: dict[str, int]
    digests: dict[str, str]

    def relative(self, table: str) -> list[str]:
        """The table's files as a locator names them: relative to the folder, with slashes."""
        return [path.relative_to(self.folder).as_posix() for path in self.tables[table]]


def open_extract(folder: Path, *, may_be_empty: frozenset[str] = MAY_BE_EMPTY, threads: int = 1) -> Extract:
    """Find and check the twelve tables of an extract: `<table>.parquet`, or a folder `<table>/` of `*.parquet` files.

    Parts of a table may differ in physical type; columns no rule reads are ignored. `may_be_empty` names the tables that may have no
    rows; the extract of a single school can be without more of them. Raises InputError that lists
    every fault with its file and remedy (the first 20, the rest counted), or that disagrees with the manifest.
    """
    if not folder.is_dir():
        raise InputError(
            f"the extract folder does not exist: {folder}", hint="give the folder that holds sekolah.parquet"
        )
    faults: list[str] = []
    tables = {table: _find(folder, table, faults) for table in EXTRACT}
    rows = {table: sum(_check_file(folder, path, table, faults) for path in paths) for table, paths in tables.items()}
    broken = {fault.split(":", 1)[0].split("/", 1)[0].removesuffix(".parquet") for fault in faults}
    faults += [
        f"{table}: the table has headers only; export it again with its rows"
        for table in sorted(EXTRACT.keys() - may_be_empty - broken)
        if rows[table] == 0
    ]
    _refuse(folder, faults)
    _check_manifest(folder, rows)
    return Extract(folder=folder, tables=tables, rows=rows, digests=_digests(folder, tables, threads))


def _find(folder: Path, table: str, faults: list[str]) -> list[Path]:
    """The files of one table, sorted by name; faults are added to `faults`."""
    single, parts = folder / f"{table}.parquet", folder / table
    if single.exists() and parts.is_dir():
        faults.append(f"{table}: there is both {table}.parquet and a folder {table}; remove the one that is not meant")
        return []
    if single.is_file():
        return [single]
    found = sorted(path for path in parts.glob("*.parquet") if path.is_file()) if parts.is_dir() else []
    if not found:
        faults.append(f"{table}: the table is missing; add {table}.parquet or a folder {table} of Parquet files")
    if len(found) > FILES_MAX:
        faults.append(f"{table}: more than {FILES_MAX} files; write larger ones: {len(found)}")
        return []
    return found


def _check_file(folder: Path, path: Path, table: str, faults: list[str]) -> int:
    """Check one file and return its rows, 0 when it cannot be read; faults are added to `faults`."""
    name = path.relative_to(folder).as_posix()
    envelope = _envelope_fault(path)
    if envelope:
        faults.append(f"{name}: {envelope}")
        return 0
    try:
        schema = pl.read_parquet_schema(path)
        rows = int(scan_file(path).select(pl.len()).collect().item())
    except (pl.exceptions.PolarsError, OSError, ValueError):
        faults.append(f"{name}: the Parquet footer is damaged; export the file again")
        return 0
    for column, kind in EXTRACT[table].items():
        fault = _column_fault(schema, table, column, kind)
        if not fault and rows and column == PERSON_KEYS.get(table) and schema[column] == pl.Null:
            fault = f"column {column} has no value at all; export {table} with it"
        if fault:
            faults.append(f"{name}: {fault}")
    return rows


def scan_file(path: Path) -> pl.LazyFrame:
    """Scan one Parquet file by exactly this name: no wildcards, and no columns read from folder names."""
    return pl.scan_parquet(path, glob=False, hive_partitioning=False)


def _envelope_fault(path: Path) -> str:
    """What is wrong with a file's first and last bytes; empty when they are those of a Parquet file."""
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            head = stream.read(len(_MAGIC))
            stream.seek(max(0, size - len(_MAGIC)))
            tail = stream.read(len(_MAGIC))
    except OSError as error:
        return f"the file cannot be read ({error.strerror}); check its permissions"
    if size == 0:
        return "the file is empty (0 bytes); copy or export it again"
    if head != _MAGIC:
        return "the file is not Parquet; export the table as Parquet"
    if tail != _MAGIC or size < _SMALLEST_PARQUET:
        return "the file is truncated: its Parquet footer is missing; copy it again"
    return ""


def _column_fault(schema: dict[str, pl.DataType], table: str, column: str, kind: ColumnKind) -> str:
    if column not in schema:
        return f"column {column} is missing; export {table} with it"
    found = schema[column]
    if physical_family(found) in (*_ACCEPTED[kind], "null"):
        return ""
    return f"column {column} has type {found}; accepted for a {kind}: {', '.join(_ACCEPTED[kind])}"


def physical_family(dtype: pl.DataType) -> str:
    """The family of a physical type as messages name it. A column without any value may have the type `null`."""
    families = (
        ("text", (pl.String, pl.Categorical, pl.Enum)),
        ("bytes", (pl.Binary,)),
        ("boolean", (pl.Boolean,)),
        ("decimal", (pl.Decimal,)),
        ("float", (pl.Float32, pl.Float64)),
        ("date", (pl.Date,)),
        ("timestamp", (pl.Datetime,)),
        ("null", (pl.Null,)),
    )
    if dtype.is_integer():
        return "integer"
    return next((name for name, types in families if isinstance(dtype, types)), "other")


def _refuse(folder: Path, faults: list[str]) -> None:
    if not faults:
        return
    shown = [*faults[:FAULTS_SHOWN]]
    if len(faults) > FAULTS_SHOWN:
        shown.append(f"and {len(faults) - FAULTS_SHOWN} more")
    raise InputError(
        f"the extract cannot be used: {folder}: " + "; ".join(shown),
        hint="mend the named files and run again; nothing was changed",
    )


def _check_manifest(folder: Path, rows: dict[str, int]) -> None:
    """Compare row counts with the manifest's, where there is one. Raises InputError for each table that disagrees."""
    path = folder / MANIFEST
    if not path.exists():
        return
    try:
        stated = orjson.loads(path.read_bytes())["tables"]
        counts = {table: entry["rows"] if isinstance(entry, dict) else entry for table, entry in stated.items()}
    except (OSError, orjson.JSONDecodeError, KeyError, AttributeError, TypeError) as error:
        raise InputError(
            f"the extract's manifest cannot be read: {path}",
            hint='it is {"tables": {"<table>": {"rows": <count>}}}; write it again or remove it',
        ) from error
    wrong = [
        f"{table}: the manifest says {counts[table]} rows, the files have {rows[table]}"
        for table in rows
        if table in counts and counts[table] != rows[table]
    ]
    _refuse(folder, wrong)


def _digests(folder: Path, tables: dict[str, list[Path]], threads: int) -> dict[str, str]:
    def digest(path: Path) -> str:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()

    paths = [path for paths in tables.values() for path in paths]
    with ThreadPoolExecutor(max_workers=threads) as pool:  # hashing does not hold the interpreter
        names = [path.relative_to(folder).as_posix() for path in paths]
        return dict(sorted(zip(names, pool.map(digest, paths), strict=True)))
