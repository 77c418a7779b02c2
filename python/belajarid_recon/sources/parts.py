"""The extract cut into parts by person, and the small tables every part needs.

A person's rows of every table land in the same part, because the part is the top bits of the marker. The rows themselves
are moved by the Rust core; what could not be keyed is set aside here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from belajarid_recon import _core
from belajarid_recon.errors import InputError
from belajarid_recon.schemas import QUARANTINE, PersonKind
from belajarid_recon.secrets import Secret
from belajarid_recon.sources.columns import COLUMNS, CONTACTS, person_of, uuid_columns
from belajarid_recon.sources.extract import PERSON_KEYS, Extract, scan_file
from belajarid_recon.sources.operators import OPERATOR, read_operators
from belajarid_recon.sources.reasons import QuarantineReason
from belajarid_recon.sources.tables import (
    ASIDE,
    Table,
    TableCounts,
    canonical_table,
    join_tables,
    read_batches,
    read_table,
)

__all__ = ["Broadcast", "Cut", "PartTables", "ShuffledExtract", "TableCounts", "read_broadcast", "shuffle_extract"]


@dataclass(frozen=True)
class Broadcast:
    """Tables every part needs whole. `classes` holds those of the asked semester, `other_classes` the ids of all others."""

    sekolah: Table
    mst_wilayah: Table
    yayasan: Table
    classes: Table
    other_classes: pl.Series


@dataclass(frozen=True)
class _Group:
    """Files of one table with the same physical types: one call of the core."""

    name: str
    table: str
    files: tuple[int, ...]
    """Their places in the table's list of files."""


@dataclass(frozen=True)
class ShuffledExtract:
    """An extract cut into `parts` folders.

    `quarantine` (schemas.QUARANTINE) and `counts` cover only what was settled before the parts: rows without a usable
    key, user accounts, and roles of other kinds. What is left is counted by `records`.
    """

    extract: Extract
    folder: Path
    parts: int
    groups: tuple[_Group, ...]
    quarantine: pl.DataFrame
    counts: dict[str, TableCounts]
    lost_operators: pl.Series
    contacts: frozenset[PersonKind]
    """Whose contacts the parts hold."""

    def read_part(self, part: int) -> PartTables:
        """Read one part's tables in canonical types."""
        tables = {table: self._read(part, table) for table in PERSON_KEYS}
        return PartTables(
            part=part,
            tables=tables,
            operators=self._read_operators(part),
            lost_operators=self.lost_operators,
            contacts=self.contacts,
        )

    def _read(self, part: int, table: str) -> Table:
        files = tuple(self.extract.relative(table))
        pieces = []
        for group in self.groups:
            path = part_folder(self.folder, part) / f"{group.name}.parquet"
            if group.table == table and path.exists():
                pieces.append(canonical_table(table, _with_places(scan_file(path).collect(), group.files), files))
        return join_tables(pieces) if pieces else empty_table(table, files, _columns_read(table, self.contacts))

    def _read_operators(self, part: int) -> Table:
        files = tuple(self.extract.relative("role_pengguna"))
        path = part_folder(self.folder, part) / "operator.parquet"
        frame = pl.DataFrame(schema=_PART_OPERATOR)
        if path.exists():
            frame = scan_file(path).drop("_file", "_row").collect()
        frame = frame.rename({"_source_file": "_file", "_source_row": "_row"})
        return Table(frame, pl.DataFrame(schema=ASIDE), files, frame.height)


@dataclass(frozen=True)
class PartTables:
    """One part: tables of PERSON_KEYS with `_person` and `_marker` (16 bytes each), and `operators` (OPERATOR).

    `lost_operators`: ids of PTK, of every part, with a role that was set aside before the parts were cut. `contacts`: whose
    contacts were read.
    """

    part: int
    tables: dict[str, Table]
    operators: Table
    lost_operators: pl.Series
    contacts: frozenset[PersonKind]


_PART_KEYS = pl.Schema({"_person": pl.Binary, "_marker": pl.Binary})
_OPERATOR_COLUMNS = [name for name in OPERATOR if name != "person_id"]
_PART_OPERATOR = pl.Schema([(name, OPERATOR[name]) for name in _OPERATOR_COLUMNS] + list(_PART_KEYS.items()))


def part_folder(folder: Path, part: int) -> Path:
    """The folder the core writes a part to."""
    return folder / f"part={part:03}"


@dataclass(frozen=True)
class Cut:
    """How an extract is cut: into `parts` (a power of two) under `folder`, which must be empty."""

    folder: Path
    parts: int
    marker_key: Secret
    threads: int
    contacts: frozenset[PersonKind] = frozenset()
    """Whose contacts are read."""


def shuffle_extract(extract: Extract, cut: Cut) -> ShuffledExtract:
    """Cut an extract into parts.

    The parts hold the same people whatever the order of rows and files. Raises InputError when a file turns out to
    be damaged inside.
    """
    shuffle = _Shuffle(cut)
    cut.folder.mkdir(parents=True, exist_ok=True)
    groups: list[_Group] = []
    aside: list[pl.DataFrame] = []
    counts: dict[str, TableCounts] = {}
    for table, key in PERSON_KEYS.items():
        mine = _groups(extract, table, (key, *_columns_read(table, cut.contacts)))
        unkeyed = [shuffle.run(group, [extract.tables[table][place] for place in group.files], key) for group in mine]
        settled = Table(
            pl.DataFrame(), pl.concat([pl.DataFrame(schema=ASIDE), *unkeyed]), tuple(extract.relative(table)), 0
        )
        groups += mine
        aside.append(settled.quarantine(table))
        counts[table] = TableCounts(read=settled.aside.height, quarantined=settled.aside.height)
    operators = read_operators(extract)
    shuffle.operators(operators.frame)
    return ShuffledExtract(
        extract=extract,
        folder=cut.folder,
        parts=cut.parts,
        groups=tuple(groups),
        quarantine=pl.concat([*aside, operators.quarantine]).cast(QUARANTINE),
        counts=counts | operators.counts,
        lost_operators=operators.lost,
        contacts=cut.contacts,
    )


def _columns_read(table: str, contacts: frozenset[PersonKind]) -> tuple[str, ...]:
    """The table's columns that the parts hold."""
    asked = [columns for kind, (name, columns) in CONTACTS.items() if name == table and kind in contacts]
    return (*COLUMNS[table], *(column for columns in asked for column in columns))


def read_broadcast(extract: Extract, semester_id: str) -> Broadcast:
    """Read the small tables. Of the classes only those of one semester are kept; of the others their ids, 16 bytes each."""
    current, others = [], []
    for batch in read_batches(extract, "rombongan_belajar"):
        mine = pl.col("semester_id") == semester_id
        others.append(batch.frame.filter(~mine)["rombongan_belajar_id"])
        current.append(Table(batch.frame.filter(mine), batch.aside, batch.files, batch.read))
    return Broadcast(
        sekolah=read_table(extract, "sekolah"),
        mst_wilayah=read_table(extract, "mst_wilayah"),
        yayasan=read_table(extract, "yayasan"),
        classes=join_tables(current),
        other_classes=pl.concat(others),
    )


def empty_table(table: str, files: tuple[str, ...], columns: tuple[str, ...]) -> Table:
    """A table without rows, in canonical types."""
    raw = pl.DataFrame(schema={**dict.fromkeys(columns, pl.String), **_PART_KEYS, "_file": pl.Int64, "_row": pl.Int64})
    return canonical_table(table, raw, files)


def _with_places(raw: pl.DataFrame, places: tuple[int, ...]) -> pl.DataFrame:
    """Let `_file`, which counts in one call's files, count in the table's files."""
    place = pl.Series(places, dtype=pl.Int64)
    return raw.with_columns(_file=place.gather(raw["_file"]), _row=pl.col("_row").cast(pl.Int64))


def _groups(extract: Extract, table: str, columns: tuple[str, ...]) -> list[_Group]:
    """Files by the physical types of the columns that are read. Files without rows are left out: they may lack types."""
    by_types: dict[tuple[str, ...], list[int]] = {}
    for place, path in enumerate(extract.tables[table]):
        if int(scan_file(path).select(pl.len()).collect().item()):
            schema = pl.read_parquet_schema(path)
            by_types.setdefault(tuple(str(schema[column]) for column in columns), []).append(place)
    ordered = sorted(by_types.values())
    return [_Group(f"{table}.{number}", table, tuple(places)) for number, places in enumerate(ordered)]


@dataclass(frozen=True)
class _Shuffle:
    """One way of cutting, for every table of a run."""

    cut: Cut

    def run(self, group: _Group, files: list[Path], key: str) -> pl.DataFrame:
        """Cut files of one physical shape; the rows without a usable key come back as ASIDE."""
        columns = list(_columns_read(group.table, self.cut.contacts))
        self._core(files, key, columns, group.name, uuid_columns(group.table))
        path = self.cut.folder / "unkeyed" / f"{group.name}.parquet"
        if not path.exists():
            return pl.DataFrame(schema=ASIDE)
        unkeyed = scan_file(path).select("_file", "_row").collect()
        reason = pl.lit(QuarantineReason.PERSON_ID_UNREADABLE.value)
        return _with_places(unkeyed, group.files).select(
            "_file", "_row", person_of(unkeyed), column=pl.lit(key), reason=reason
        )

    def operators(self, frame: pl.DataFrame) -> None:
        """Cut the derived table; its keys are whole, so nothing is set aside."""
        if frame.is_empty():
            return
        path = self.cut.folder / "operators.parquet"
        frame.write_parquet(path)
        self._core([path], "person_id", _OPERATOR_COLUMNS, "operator", [])

    def _core(self, files: list[Path], key: str, columns: list[str], table: str, uuids: list[str]) -> None:
        try:
            _core.shuffle(
                [str(path) for path in files],
                key_column=key,
                key="person",
                columns=columns,
                parts=self.cut.parts,
                marker_key=self.cut.marker_key.reveal(),
                out_folder=str(self.cut.folder),
                table=table,
                threads=self.cut.threads,
                uuid_columns=uuids,
            )
        except (_core.TableError, OSError) as error:
            raise InputError(
                f"a file of the extract is damaged inside: table {table.partition('.')[0]}",
                hint=f"copy or export it again; nothing was changed ({error})",
            ) from error
