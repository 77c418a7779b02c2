"""Which columns the rules need, and how a raw column becomes its canonical type.

A register's exports differ in physical type from part to part; after `read_columns` they do not. A value that cannot be read
either sets its row aside or becomes null, as `COLUMNS` says for each column.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

import polars as pl

from belajarid_recon import _core
from belajarid_recon.schemas import EXTRACT, ColumnKind, PersonKind
from belajarid_recon.sources.reasons import QuarantineReason


class Need(Enum):
    """What becomes of a row whose value is missing or cannot be read."""

    REQUIRED = "required"
    """Missing or unreadable: the row is set aside."""
    READABLE = "readable"
    """Missing is a statement of its own (still there, still in office); unreadable: the row is set aside."""
    OPTIONAL = "optional"
    """Missing or unreadable: null, and the row stays."""


_R, _E, _O = Need.REQUIRED, Need.READABLE, Need.OPTIONAL

COLUMNS: dict[str, dict[str, Need]] = {
    "sekolah": {
        "sekolah_id": _R, "npsn": _O, "bentuk_pendidikan_id": _R, "kode_wilayah": _R, "keaktifan": _R, "soft_delete": _R,
    },
    "yayasan": {"yayasan_id": _R, "soft_delete": _R},
    "mst_wilayah": {"kode_wilayah": _R, "nama": _R, "id_level_wilayah": _R, "mst_kode_wilayah": _O},
    "peserta_didik": {"nama": _O, "nisn": _O, "nik": _O, "tanggal_lahir": _R, "soft_delete": _R},
    "registrasi_peserta_didik": {
        "registrasi_id": _R, "sekolah_id": _R, "tanggal_masuk_sekolah": _O, "jenis_keluar_id": _O, "tanggal_keluar": _O,
        "soft_delete": _R,
    },
    "rombongan_belajar": {
        "rombongan_belajar_id": _R, "semester_id": _R, "sekolah_id": _R, "tingkat_pendidikan_id": _R, "jenis_rombel": _R,
        "soft_delete": _R,
    },
    "anggota_rombel": {"anggota_rombel_id": _R, "rombongan_belajar_id": _R, "soft_delete": _R},
    "ptk": {"nama": _O, "nik": _O, "nuptk": _O, "tanggal_lahir": _R, "soft_delete": _R},
    "ptk_terdaftar": {
        "ptk_terdaftar_id": _R, "sekolah_id": _R, "tahun_ajaran_id": _R, "jenis_ptk_id": _R, "jabatan_ptk_id": _O,
        "ptk_induk": _O, "tmt_tugas": _O, "jenis_keluar_id": _O, "tgl_ptk_keluar": _O, "soft_delete": _R,
    },
    "tugas_tambahan": {
        "ptk_tugas_tambahan_id": _R, "sekolah_id": _R, "jabatan_ptk_id": _R, "tmt_tambahan": _O, "tst_tambahan": _E,
        "soft_delete": _R,
    },
    "pengguna": {
        "pengguna_id": _R, "sekolah_id": _O, "ptk_id": _E, "nama": _O, "aktif": _O, "soft_delete": _O,
    },
    "role_pengguna": {
        "id_role_pengguna": _R, "pengguna_id": _R, "peran_id": _R, "sekolah_id": _E, "approval_peran": _O,
        "tgl_kadaluwarsa": _E,
    },
}  # fmt: skip
"""Columns that are read, with their need. The person's key of a shuffled table is read by the shuffle.

Reasons beside the less obvious: `tanggal_lahir` is required because a person without one cannot be told from a namesake
(both register tables have it NOT NULL); an unreadable `tst_tambahan` or `tgl_kadaluwarsa` would read as "for ever"; an
unreadable `pengguna.ptk_id` would make a second person of a teacher. What else is missing of a user is judged with the
operator's role. `nama` is judged with the name rules (`name-unusable`), `jenis_keluar_id` against the known codes
(`exit-code-unknown`). A missing `approval_peran` is no approval. Damaged NISN, NIK, NUPTK and NPSN, dates of entry and
exit, and `ptk_induk` become null: nobody loses an account over them."""

CONTACTS: dict[PersonKind, tuple[str, tuple[str, str]]] = {
    PersonKind.PESERTA_DIDIK: ("peserta_didik", ("email", "nomor_telepon_seluler")),
    PersonKind.PTK: ("ptk", ("email", "no_hp")),
}
"""Table and columns (address, phone) of somebody's own contacts. They are read only where settings ask for them, and OPTIONAL then."""

LOCATOR = ("_file", "_row")

UNREADABLE = "_unreadable"
"""Column of bits: which of `uuid_columns` were there and could not be read. Only where the shuffle has read them."""


def uuid_columns(table: str) -> list[str]:
    """The columns of a table that hold UUIDs."""
    return [column for column in COLUMNS[table] if EXTRACT[table][column] is ColumnKind.UUID]


_DATE_FIRST, _DATE_LAST = pl.date(1900, 1, 1), pl.date(9999, 12, 31)
_ISO_DATE = r"^([0-9]{4}-[0-9]{2}-[0-9]{2})(?:[T ].*)?$"
_WHOLE_NUMBER = r"^([+-]?[0-9]{1,18})(?:\.0*)?$"
_EXACT_FLOAT_MAX = 2.0**53

_UNREADABLE = {
    ColumnKind.UUID: QuarantineReason.UNREADABLE_ID,
    ColumnKind.CODE: QuarantineReason.UNREADABLE_CODE,
    ColumnKind.FLAG: QuarantineReason.UNREADABLE_FLAG,
    ColumnKind.DATE: QuarantineReason.UNREADABLE_DATE,
}


@dataclass(frozen=True)
class Rows:
    """Rows of one table in canonical types, and those set aside.

    `frame` keeps every column of the raw frame that is not in COLUMNS as it was (locators, keys). `aside` has `_file`,
    `_row`, `_person`, `column`, `reason`. Heights add up to the raw frame's.
    """

    frame: pl.DataFrame
    aside: pl.DataFrame


def read_columns(table: str, raw: pl.DataFrame, *, person: str | None = None) -> Rows:
    """Bring the table's columns to their canonical types (schemas.ColumnKind) and set aside the rows that need it.

    Contacts are read where the raw frame has them. `person` names a column that stands for `_person`, which the frame then gains.
    """
    needs = COLUMNS[table] | {column: Need.OPTIONAL for column in contact_columns(table) if column in raw.columns}
    kinds = {column: EXTRACT[table][column] for column in needs}
    parsed = set(uuid_columns(table)) if UNREADABLE in raw.columns else set()
    texts = raw.with_columns(
        _plain_text(raw.schema, {name: kind for name, kind in kinds.items() if name not in parsed})
    )
    read = texts.with_columns(_canonical(texts, name, kind) for name, kind in kinds.items() if name not in parsed)
    present = texts.select(
        _present(table, column, parsed) for column, need in needs.items() if need is not Need.OPTIONAL
    )
    read = read.drop(UNREADABLE, strict=False)
    if person:
        read = read.with_columns(_person=pl.col(person))
    # Few rows are set aside: the words for why are looked for in these alone.
    bad = read.select(lost=pl.any_horizontal(_lost(column, need, present) for column, need in needs.items()))["lost"]
    if not bad.any():
        return Rows(frame=read, aside=_aside(read.clear(), pl.Series(dtype=pl.String)))
    rows, there = read.filter(bad), present.filter(bad)
    verdict = rows.select(
        fault=pl.coalesce([_fault(column, need, kinds[column], there) for column, need in needs.items()])
    )["fault"]
    return Rows(frame=read.filter(~bad), aside=_aside(rows, verdict))


def contact_columns(table: str) -> tuple[str, ...]:
    """The table's columns of CONTACTS."""
    return next((columns for name, columns in CONTACTS.values() if name == table), ())


def split(frame: pl.DataFrame, verdict: pl.Series) -> Rows:
    """Set aside the rows whose `verdict` (`column|reason`, or null) is not null."""
    bad = verdict.is_not_null()
    if not bad.any():
        return Rows(frame=frame, aside=_aside(frame.clear(), verdict.clear()))
    return Rows(frame=frame.filter(~bad), aside=_aside(frame.filter(bad), verdict.filter(bad)))


def _aside(rows: pl.DataFrame, verdict: pl.Series) -> pl.DataFrame:
    """Rows to set aside with the column and the reason of their verdict."""
    words = verdict.cast(pl.String).str.split("|").list
    return rows.select(*LOCATOR, person_of(rows), column=words.get(0), reason=words.get(1))


def person_of(frame: pl.DataFrame) -> pl.Expr:
    """The column `_person` where a frame has one, else nulls."""
    return pl.col("_person") if "_person" in frame.columns else pl.lit(None, dtype=pl.Binary).alias("_person")


def fault(column: str, reason: QuarantineReason) -> pl.Expr:
    """The verdict `split` takes."""
    return pl.lit(f"{column}|{reason}")


def _present(table: str, column: str, parsed: set[str]) -> pl.Expr:
    """Whether a value was there, readable or not."""
    there = pl.col(column).is_not_null()
    if column not in parsed:
        return there
    return there | (pl.col(UNREADABLE) & (1 << uuid_columns(table).index(column)) != 0)


def _lost(column: str, need: Need, present: pl.DataFrame) -> pl.Expr:
    """Whether a row must go for this column."""
    if need is Need.OPTIONAL:
        return pl.lit(value=False)
    lost = pl.col(column).is_null()
    return lost if need is Need.REQUIRED else lost & pl.lit(present[column])


def _fault(column: str, need: Need, kind: ColumnKind, present: pl.DataFrame) -> pl.Expr:
    """Null when the row may stay as far as this column goes."""
    none = pl.lit(None, dtype=pl.String)
    if need is Need.OPTIONAL:
        return none
    lost = pl.col(column).is_null()
    unreadable = pl.when(lost & pl.lit(present[column])).then(
        fault(column, _UNREADABLE.get(kind, QuarantineReason.VALUE_MISSING))
    )
    if need is Need.READABLE:
        return unreadable.otherwise(none)
    return unreadable.when(lost).then(fault(column, QuarantineReason.VALUE_MISSING)).otherwise(none)


def _plain_text(schema: pl.Schema, kinds: dict[str, ColumnKind]) -> Iterable[pl.Expr]:
    """Text without padding, and blank text as null; other physical types stay."""
    for column, kind in kinds.items():
        if schema[column] in (pl.String, pl.Categorical, pl.Enum, pl.Null):
            nothing = schema[column] == pl.Null and kind is ColumnKind.UUID
            text = pl.col(column).cast(pl.Binary if nothing else pl.String)
            if not nothing:
                text = text.str.strip_chars()
                text = pl.when(text != "").then(text)
            yield text.alias(column)


def _canonical(frame: pl.DataFrame, column: str, kind: ColumnKind) -> pl.Expr | pl.Series:
    """One column in its canonical type; what cannot be read is null."""
    found = frame.schema[column]
    if kind is ColumnKind.UUID:
        return parse_uuids(frame[column])
    if kind is ColumnKind.CODE:
        return _code(column, found)
    if kind is ColumnKind.FLAG:
        return _flag(column, found)
    if kind is ColumnKind.DATE:
        return _date(column, found)
    return pl.col(column)


def parse_uuids(values: pl.Series) -> pl.Series:
    """Identifiers as 16 bytes; what is none is null. No UUID version is demanded: most `sekolah_id` have none."""
    return pl.Series(_core.parse_uuids(values)).cast(pl.Binary).alias(values.name)


def as_number(column: str) -> pl.Expr:
    """Identifiers of 16 bytes as numbers of 128 bits in the same order: compared, joined and sorted at half the cost or less."""
    return as_numbers(pl.col(column))


def as_numbers(identifiers: pl.Expr) -> pl.Expr:
    """The same of an expression."""
    return identifiers.bin.reinterpret(dtype=pl.UInt128, endianness="big")


def _code(column: str, found: pl.DataType) -> pl.Expr:
    value = pl.col(column)
    if found == pl.String:
        return value.str.extract(_WHOLE_NUMBER).cast(pl.Int64, strict=False)
    if found.is_float():
        whole = value.is_finite() & (value == value.round()) & (value.abs() <= _EXACT_FLOAT_MAX)
        return pl.when(whole).then(value).cast(pl.Int64, strict=False)
    if isinstance(found, pl.Decimal):
        whole = value.cast(pl.Int64, strict=False)
        return pl.when(whole.cast(found, strict=False) == value).then(whole)
    return value.cast(pl.Int64, strict=False)


def _flag(column: str, found: pl.DataType) -> pl.Expr:
    value = pl.col(column)
    if found == pl.Boolean:
        return value
    if found == pl.String:
        word = value.str.to_lowercase()
        yes, no = word.is_in(["true", "t"]), word.is_in(["false", "f"])
        number = _code(column, found)
        return (
            pl.when(yes | (number == 1))
            .then(statement=True)
            .when(no | (number == 0))
            .then(statement=False)
            .alias(column)
        )
    number = _code(column, found)
    return pl.when(number == 1).then(statement=True).when(number == 0).then(statement=False).alias(column)


def _date(column: str, found: pl.DataType) -> pl.Expr:
    value = pl.col(column)
    if found == pl.String:
        value = value.str.extract(_ISO_DATE).str.to_date("%Y-%m-%d", strict=False)
    elif isinstance(found, pl.Datetime):
        value = value.dt.date()
    return pl.when(value.is_between(_DATE_FIRST, _DATE_LAST)).then(value).alias(column)
