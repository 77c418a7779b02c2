"""Tables and closed sets that stages exchange. A column not named here does not cross a stage's border."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import polars as pl

from belajarid_recon.jenjang import JENJANG_CODE as JENJANG_CODE  # noqa: PLC0414 - exported again
from belajarid_recon.jenjang import Jenjang as Jenjang  # noqa: PLC0414


class Role(StrEnum):
    """What an account is for; in one jenjang the later beats the earlier."""

    PUPIL = "pupil"
    GURU = "guru"
    ADMIN = "admin"


class PersonKind(StrEnum):
    """Which register table a person id was taken from."""

    PESERTA_DIDIK = "peserta_didik"
    PTK = "ptk"
    PENGGUNA = "pengguna"


class Standing(StrEnum):
    """What the register and the regulation say about one person in one jenjang."""

    ACTIVE = "active"
    LEAVER = "leaver"
    INELIGIBLE = "ineligible"


class Action(StrEnum):
    """Actions of a step (glossary); no-ops are counted, not listed."""

    CREATE_ORGUNIT = "create-orgunit"
    CREATE = "create"
    UPDATE = "update"
    RENAME = "rename"
    MOVE = "move"
    PROMOTE = "promote"
    DEMOTE = "demote"
    SUSPEND = "suspend"
    RESTORE = "restore"


class NoStep(StrEnum):
    """Why an account, or a person who should have one, gets no step although they differ (docs/reason-codes.md)."""

    ABSENT_FROM_REGISTER = "absent-from-register"
    ALREADY_SUSPENDED = "already-suspended"
    SUSPENDED_BY_OTHER = "suspended-by-other"
    ADMINISTRATOR_UNTOUCHED = "administrator-untouched"
    MARKER_ON_TWO_ACCOUNTS = "marker-on-two-accounts"
    ADDRESS_OURS_WITHOUT_MARKER = "address-ours-without-marker"
    NO_USER_ID_FREE = "no-user-id-free"
    TENANT_NOT_IN_SETTINGS = "tenant-not-in-settings"


class StepClass(StrEnum):
    """What a wrong step would cost."""

    SAFE = "safe"
    REVERSIBLE = "reversible"


class ColumnKind(StrEnum):
    """How a source column is read: the physical types accepted and the canonical type it becomes.

    uuid: text of 36 or 32 digits in either case, or 16 bytes -> Binary(16).  text: any string, dictionary included -> String.
    code: integer, decimal, integral float, or digits as text -> Int64.  flag: boolean, 0/1 as number or text -> Boolean.
    date: date, timestamp, or ISO text -> Date.
    """

    UUID = "uuid"
    TEXT = "text"
    CODE = "code"
    FLAG = "flag"
    DATE = "date"


_U, _T, _C, _F, _D = ColumnKind.UUID, ColumnKind.TEXT, ColumnKind.CODE, ColumnKind.FLAG, ColumnKind.DATE

EXTRACT: dict[str, dict[str, ColumnKind]] = {
    "sekolah": {
        "sekolah_id": _U, "nama": _T, "npsn": _T, "bentuk_pendidikan_id": _C, "status_sekolah": _C, "yayasan_id": _U,
        "kode_wilayah": _T, "keaktifan": _F, "soft_delete": _F,
    },
    "yayasan": {"yayasan_id": _U, "nama": _T, "kode_wilayah": _T, "soft_delete": _F},
    "mst_wilayah": {"kode_wilayah": _T, "nama": _T, "id_level_wilayah": _C, "mst_kode_wilayah": _T},
    "peserta_didik": {
        "peserta_didik_id": _U, "nama": _T, "jenis_kelamin": _T, "nisn": _T, "nik": _T, "tempat_lahir": _T,
        "tanggal_lahir": _D, "nama_ibu_kandung": _T, "kode_wilayah": _T, "email": _T, "nomor_telepon_seluler": _T,
        "kewarganegaraan": _T, "soft_delete": _F,
    },
    "registrasi_peserta_didik": {
        "registrasi_id": _U, "peserta_didik_id": _U, "sekolah_id": _U, "jenis_pendaftaran_id": _C, "nipd": _T,
        "tanggal_masuk_sekolah": _D, "jenis_keluar_id": _T, "tanggal_keluar": _D, "soft_delete": _F,
    },
    "rombongan_belajar": {
        "rombongan_belajar_id": _U, "semester_id": _T, "sekolah_id": _U, "tingkat_pendidikan_id": _C, "nama": _T,
        "jenis_rombel": _C, "soft_delete": _F,
    },
    "anggota_rombel": {
        "anggota_rombel_id": _U, "rombongan_belajar_id": _U, "peserta_didik_id": _U, "jenis_pendaftaran_id": _C,
        "soft_delete": _F,
    },
    "ptk": {
        "ptk_id": _U, "nama": _T, "jenis_kelamin": _T, "nik": _T, "nuptk": _T, "nip": _T, "tanggal_lahir": _D, "email": _T,
        "no_hp": _T, "status_keaktifan_id": _C, "kewarganegaraan": _T, "soft_delete": _F,
    },
    "ptk_terdaftar": {
        "ptk_terdaftar_id": _U, "ptk_id": _U, "sekolah_id": _U, "tahun_ajaran_id": _C, "jenis_ptk_id": _C,
        "jabatan_ptk_id": _C, "ptk_induk": _F, "tmt_tugas": _D, "jenis_keluar_id": _T, "tgl_ptk_keluar": _D, "soft_delete": _F,
    },
    "tugas_tambahan": {
        "ptk_tugas_tambahan_id": _U, "ptk_id": _U, "sekolah_id": _U, "jabatan_ptk_id": _C, "tmt_tambahan": _D,
        "tst_tambahan": _D, "soft_delete": _F,
    },
    "pengguna": {
        "pengguna_id": _U, "sekolah_id": _U, "peserta_didik_id": _U, "ptk_id": _U, "username": _T, "nama": _T, "aktif": _F,
        "soft_delete": _F,
    },
    "role_pengguna": {
        "id_role_pengguna": _U, "pengguna_id": _U, "peran_id": _C, "sekolah_id": _U, "approval_peran": _F,
        "tgl_kadaluwarsa": _D,
    },
}  # fmt: skip
"""Tables and columns the rules read, as the register's database names them (272-table schema, MIT, see NOTICE).
`pengguna.password` exists at the source and is never read."""

QUARANTINE = pl.Schema(
    {"table": pl.String, "file": pl.String, "row": pl.Int64, "column": pl.String, "reason": pl.String}
)
"""Rows set aside. `file` is the path relative to the extract folder and `row` counts from 0 in that file:
a locator says where, never who."""

PERSON = pl.Schema(
    {
        "person_id": pl.Binary,  # 16 bytes
        "marker": pl.Binary,  # 16 bytes; its top bits choose the part
        "person_kind": pl.String,  # PersonKind
        "nama": pl.String,  # as registered, white space folded
        "given_name": pl.String,
        "family_name": pl.String,
        "nik": pl.String,
        "nisn": pl.String,
        "nuptk": pl.String,
        "tanggal_lahir": pl.Date,
    }
)
"""One row a person. NIK, NISN and NUPTK are null when missing or filler."""

DUTY = pl.Schema(
    {
        "person_id": pl.Binary,
        "sekolah_id": pl.Binary,
        "npsn": pl.String,  # null: the school has none yet
        "jenjang": pl.String,  # Jenjang, or null when the form is outside belajar.id
        "kode_kabkota": pl.String,  # 6 characters
        "duty": pl.String,  # "pupil", "educator", "head", "operator", "other-staff", or "unclear": a row was set aside
        "grade": pl.Int64,  # null: no class, or not a pupil
        "form": pl.Int64,  # bentuk_pendidikan_id
        "induk": pl.Boolean,  # home school
        "since": pl.Date,
        "exit_code": pl.String,  # null: still there
        "exit_date": pl.Date,
        "school_open": pl.Boolean,
        "current": pl.Boolean,  # in force; false: of an earlier year, half a head, or a role not in force
    }
)
"""One row a person, school and duty."""

ACCOUNT_ATTRIBUTES = ("domain", "given_name", "family_name", "ou_path", "npsn", "listed", "suspended")
"""Attributes that are compared and written. `listed` is includeInGlobalAddressList; `npsn` is organizations[].costCenter."""

_DESIRED: dict[str, Any] = {
    "account_key": pl.Binary,  # marker (16 bytes) and JENJANG_CODE (1 byte)
    "person_id": pl.Binary,
    "jenjang": pl.String,
    "role": pl.String,  # Role; null unless active
    "standing": pl.String,  # Standing
    "reason": pl.String,  # reason code, for every row
    "kode_kabkota": pl.String,
    "nama": pl.String,  # what the user ID is made from
    "domain": pl.String,
    "accepted_domains": pl.List(pl.String),  # other domains an existing account of this role may stay in
    "given_name": pl.String,
    "family_name": pl.String,
    "ou_path": pl.String,
    "npsn": pl.String,
    "listed": pl.Boolean,
    "suspended": pl.Boolean,
}
DESIRED = pl.Schema(_DESIRED)
"""One row a person and jenjang the register says anything about; the attributes are null unless standing is active."""

_OBSERVED: dict[str, Any] = {
    "account_key": pl.Binary,  # null: the account carries no marker of ours
    "tenant": pl.String,  # Jenjang
    "id": pl.String,  # immutable
    "user_id": pl.String,  # local part, lower case
    "domain": pl.String,
    "given_name": pl.String,
    "family_name": pl.String,
    "ou_path": pl.String,
    "npsn": pl.String,
    "listed": pl.Boolean,
    "suspended": pl.Boolean,
    "is_admin": pl.Boolean,  # isAdmin or isDelegatedAdmin: never touched by a plan
    "read_at": pl.Datetime("ms", "UTC"),
}
OBSERVED = pl.Schema(_OBSERVED)
"""One row an account, as the directory said."""

ADDRESSES = pl.Schema({"tenant": pl.String, "user_id": pl.String, "owner": pl.Binary})
"""User IDs in sight. `owner` is the account key in ledger rows and null elsewhere:
a live, alias or deleted address blocks everybody."""

STEP = pl.Schema(
    {
        "step": pl.Int64,  # dense, from 0: the order of the plan
        "tenant": pl.String,
        "action": pl.String,  # Action
        "class": pl.String,  # StepClass
        "reason": pl.String,
        "account_key": pl.Binary,  # null for organisational units
        "marker": pl.String,  # externalIds value; null for organisational units
        "target_id": pl.String,  # immutable id of the account to change; null for creations
        "address": pl.String,  # primary address: to create, to rename to, else null
        "given_name": pl.String,
        "family_name": pl.String,
        "ou_path": pl.String,
        "npsn": pl.String,
        "listed": pl.Boolean,
        "suspended": pl.Boolean,
        "before": pl.String,  # JSON object of what is replaced, keys sorted; null for creations
        "kode_kabkota": pl.String,
        "held_by": pl.String,  # guard that holds the step; null: free to run
    }
)
"""One row a step. A null attribute is not written; `before` names exactly the attributes that are."""


def compact(frame: pl.DataFrame) -> pl.DataFrame:
    """The same frame with texts and bytes of its own.

    What polars filters or joins out of a table keeps all of the table's texts in memory as long as it lives.
    """
    written = frame.write_ipc_stream(None)
    written.seek(0)
    return pl.read_ipc_stream(written)


def conform(frame: pl.DataFrame, schema: pl.Schema) -> pl.DataFrame:
    """The frame with exactly the schema's columns, in its order and types; absent columns are null."""
    return frame.select(
        (pl.col(name) if name in frame.columns else pl.lit(None)).cast(dtype).alias(name)
        for name, dtype in schema.items()
    )
