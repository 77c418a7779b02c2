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
from belajarid_recon.schemas import QUARANTINE
from belajarid_recon.secrets import Secret
from belajarid_recon.sources.columns import COLUMNS, fault, person_of, split
from belajarid_recon.sources.extract import PERSON_KEYS, Extract, scan_file
from belajarid_recon.sources.reasons import QuarantineReason
from belajarid_recon.sources.tables import ASIDE, Table, canonical_table, join_tables, read_batches, read_table

OPERATOR_ROLE = 10
"""`role_pengguna.peran_id` of a school's operator (github masadi/tool-dapodik, DapodikController)."""

OPERATOR = pl.Schema(
    {
        "person_id": pl.Binary,  # ptk_id, else pengguna_id
        "is_ptk": pl.Boolean,
        "nama": pl.String,
        "id_role_pengguna": pl.Binary,
        "sekolah_id": pl.Binary,
        "approval_peran": pl.Boolean,
        "tgl_kadaluwarsa": pl.Date,
        "aktif": pl.Boolean,
        "soft_delete": pl.Boolean,
        "_source_file": pl.Int64,  # of role_pengguna
        "_source_row": pl.Int64,
    }
)
"""`role_pengguna` of operators joined with `pengguna`: the table `operator` of a part."""


@dataclass(frozen=True)
class TableCounts:
    """Rows of one table: `read` is `accepted` and `quarantined`; of the accepted, `unused` say nothing about today."""

    read: int = 0
    accepted: int = 0
    quarantined: int = 0
    unused: int = 0

    def __add__(self, other: TableCounts) -> TableCounts:
        return TableCounts(
            self.read + other.read,
            self.accepted + other.accepted,
            self.quarantined + other.quarantined,
            self.unused + other.unused,
        )


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

    def read_part(self, part: int) -> PartTables:
        """Read one part's tables in canonical types."""
        tables = {table: self._read(part, table) for table in PERSON_KEYS}
        return PartTables(part=part, tables=tables, operators=self._read_operators(part))

    def _read(self, part: int, table: str) -> Table:
        files = tuple(self.extract.relative(table))
        pieces = []
        for group in self.groups:
            path = part_folder(self.folder, part) / f"{group.name}.parquet"
            if group.table == table and path.exists():
                pieces.append(canonical_table(table, _with_places(scan_file(path).collect(), group.files), files))
        return join_tables(pieces) if pieces else empty_table(table, files)

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
    """One part: tables of PERSON_KEYS with `_person` and `_marker` (16 bytes each), and `operators` (OPERATOR)."""

    part: int
    tables: dict[str, Table]
    operators: Table


_PART_KEYS = pl.Schema({"_person": pl.Binary, "_marker": pl.Binary})
_OPERATOR_COLUMNS = [name for name in OPERATOR if name != "person_id"]
_PART_OPERATOR = pl.Schema([(name, OPERATOR[name]) for name in _OPERATOR_COLUMNS] + list(_PART_KEYS.items()))


def part_folder(folder: Path, part: int) -> Path:
    """The folder the core writes a part to."""
    return folder / f"part={part:03}"


def shuffle_extract(extract: Extract, *, parts: int, marker_key: Secret, folder: Path, threads: int) -> ShuffledExtract:
    """Cut an extract into `parts` (a power of two) under `folder`, which must be empty.

    The parts hold the same people whatever the order of rows and files. Raises InputError when a file turns out to
    be damaged inside.
    """
    shuffle = _Shuffle(folder=folder, parts=parts, marker_key=marker_key, threads=threads)
    folder.mkdir(parents=True, exist_ok=True)
    groups: list[_Group] = []
    aside: list[pl.DataFrame] = []
    counts: dict[str, TableCounts] = {}
    for table, key in PERSON_KEYS.items():
        mine = _groups(extract, table, key)
        unkeyed = [shuffle.run(group, [extract.tables[table][place] for place in group.files], key) for group in mine]
        settled = Table(
            pl.DataFrame(), pl.concat([pl.DataFrame(schema=ASIDE), *unkeyed]), tuple(extract.relative(table)), 0
        )
        groups += mine
        aside.append(settled.quarantine(table))
        counts[table] = TableCounts(read=settled.aside.height, quarantined=settled.aside.height)
    operators = _operators(extract)
    shuffle.operators(operators.frame)
    return ShuffledExtract(
        extract=extract,
        folder=folder,
        parts=parts,
        groups=tuple(groups),
        quarantine=pl.concat([*aside, operators.quarantine]).cast(QUARANTINE),
        counts=counts | operators.counts,
    )


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


def empty_table(table: str, files: tuple[str, ...]) -> Table:
    """A table without rows, in canonical types."""
    raw = pl.DataFrame(
        schema={**dict.fromkeys(COLUMNS[table], pl.String), **_PART_KEYS, "_file": pl.Int64, "_row": pl.Int64}
    )
    return canonical_table(table, raw, files)


def _with_places(raw: pl.DataFrame, places: tuple[int, ...]) -> pl.DataFrame:
    """Let `_file`, which counts in one call's files, count in the table's files."""
    place = pl.Series(places, dtype=pl.Int64)
    return raw.with_columns(_file=place.gather(raw["_file"]), _row=pl.col("_row").cast(pl.Int64))


def _groups(extract: Extract, table: str, key: str) -> list[_Group]:
    """Files by the physical types of the columns that are read. Files without rows are left out: they may lack types."""
    by_types: dict[tuple[str, ...], list[int]] = {}
    for place, path in enumerate(extract.tables[table]):
        if int(scan_file(path).select(pl.len()).collect().item()):
            schema = pl.read_parquet_schema(path)
            by_types.setdefault(tuple(str(schema[column]) for column in (key, *COLUMNS[table])), []).append(place)
    ordered = sorted(by_types.values())
    return [_Group(f"{table}.{number}", table, tuple(places)) for number, places in enumerate(ordered)]


@dataclass(frozen=True)
class _Shuffle:
    """One way of cutting, for every table of a run."""

    folder: Path
    parts: int
    marker_key: Secret
    threads: int

    def run(self, group: _Group, files: list[Path], key: str) -> pl.DataFrame:
        """Cut files of one physical shape; the rows without a usable key come back as ASIDE."""
        self._core(files, key, list(COLUMNS[group.table]), group.name)
        path = self.folder / "unkeyed" / f"{group.name}.parquet"
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
        path = self.folder / "operators.parquet"
        frame.write_parquet(path)
        self._core([path], "person_id", _OPERATOR_COLUMNS, "operator")

    def _core(self, files: list[Path], key: str, columns: list[str], table: str) -> None:
        try:
            _core.shuffle(
                [str(path) for path in files],
                key_column=key,
                key="person",
                columns=columns,
                parts=self.parts,
                marker_key=self.marker_key.reveal(),
                out_folder=str(self.folder),
                table=table,
                threads=self.threads,
            )
        except (_core.TableError, OSError) as error:
            raise InputError(
                f"a file of the extract is damaged inside: table {table.partition('.')[0]}",
                hint=f"copy or export it again; nothing was changed ({error})",
            ) from error


@dataclass(frozen=True)
class _Operators:
    frame: pl.DataFrame
    quarantine: pl.DataFrame
    counts: dict[str, TableCounts]


def _operators(extract: Extract) -> _Operators:
    """Operators' roles with their user accounts; `role_pengguna` is counted here but for the rows handed on.

    A role names its school, else its user's is taken. User accounts are compared with each other only where an operator's role
    names them; of the millions of others nothing is used.
    """
    roles_read = others = 0
    kept: list[Table] = []
    for batch in read_batches(extract, "role_pengguna"):
        operator = batch.frame.filter(pl.col("peran_id") == OPERATOR_ROLE)
        roles_read += batch.read
        others += batch.frame.height - operator.height
        kept.append(Table(operator, batch.aside, batch.files, 0))
    roles = join_tables(kept)
    users = _users(extract, roles.frame["pengguna_id"])
    joined = roles.frame.join(users.frame, on="pengguna_id", how="left", suffix="_user", maintain_order="left")
    unknown = joined.select(
        pl.when(pl.col("aktif").is_null()).then(fault("pengguna_id", QuarantineReason.USER_UNKNOWN)).alias("fault")
    )["fault"]
    rows = split(joined, unknown)
    roles = roles.set_aside(rows.aside)
    frame = rows.frame.select(
        person_id=pl.coalesce("ptk_id", "pengguna_id"),
        is_ptk=pl.col("ptk_id").is_not_null(),
        nama="nama",
        id_role_pengguna="id_role_pengguna",
        sekolah_id=pl.coalesce("sekolah_id", "sekolah_id_user"),
        approval_peran=pl.col("approval_peran").fill_null(value=False),
        tgl_kadaluwarsa="tgl_kadaluwarsa",
        aktif="aktif",
        soft_delete="soft_delete",
        _source_file="_file",
        _source_row="_row",
    ).cast(OPERATOR)
    set_aside = roles.aside.height
    return _Operators(
        frame=frame,
        quarantine=pl.concat([roles.quarantine("role_pengguna"), users.quarantine("pengguna")]),
        counts={
            "role_pengguna": TableCounts(others + set_aside, others, set_aside, others),
            "pengguna": TableCounts(users.read, users.read - users.aside.height, users.aside.height),
        },
    )


def _users(extract: Extract, wanted: pl.Series) -> Table:
    """User accounts that operators' roles name, one row each; repeated and contradicting rows are set aside."""
    ids = wanted.unique().to_frame("pengguna_id")
    pieces = []
    for batch in read_batches(extract, "pengguna"):
        mine = batch.frame.join(ids, on="pengguna_id", how="semi")
        pieces.append(Table(mine, batch.aside, batch.files, batch.read))
    users = join_tables(pieces)
    return users.set_aside(repeated_rows(users.frame, ["pengguna_id"]))


def repeated_rows(frame: pl.DataFrame, key: list[str]) -> pl.DataFrame:
    """Rows (ASIDE) that say the same as an earlier row of their key, or contradict another row of it.

    Of equal rows the first by file and row stays; of contradicting ones none does, because nobody knows which is right.
    """
    several = frame.filter(pl.struct(key).is_duplicated())
    if several.is_empty():
        return pl.DataFrame(schema=ASIDE)
    content = [name for name in several.columns if name not in ("_file", "_row", *key)]
    judged = several.sort("_file", "_row").with_columns(
        kinds=pl.struct(content).n_unique().over(key) if content else pl.lit(1),
        first=pl.int_range(pl.len()).over(key) == 0,
    )
    contradicts = pl.col("kinds") > 1
    return judged.filter(contradicts | ~pl.col("first")).select(
        "_file",
        "_row",
        person_of(judged),
        column=pl.lit(key[-1]),
        reason=pl.when(contradicts)
        .then(pl.lit(QuarantineReason.ROW_CONTRADICTS.value))
        .otherwise(pl.lit(QuarantineReason.ROW_REPEATED.value)),
    )
