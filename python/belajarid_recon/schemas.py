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
    UNDELETE = "undelete"
    DELETE = "delete"
    ADD_ALIAS = "add-alias"
    REMOVE_ALIAS = "remove-alias"
    CREATE_GROUP = "create-group"
    ADD_MEMBER = "add-member"
    REMOVE_MEMBER = "remove-member"


GROUP_ACTIONS = (Action.CREATE_GROUP, Action.ADD_MEMBER, Action.REMOVE_MEMBER)
"""Actions on groups: the address of their steps is the group's."""


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
    ALIAS_TAKEN = "alias-taken"
    ALIAS_WITHOUT_ACCOUNT = "alias-without-account"


class GroupKind(StrEnum):
    """Whose group it is, and what its code is."""

    EDUCATORS_OF_SCHOOL = "educators-of-school"
    """Code: the school's NPSN."""
    ADMINS_OF_KABKOTA = "admins-of-kabkota"
    """Code: the kabupaten's or kota's, 6 characters."""


class GroupNoStep(StrEnum):
    """Why a group, or a membership of one of its members, gets no step although it differs (docs/reason-codes.md).

    What begins with `group` counts groups, what begins with `member` memberships.
    """

    GROUP_ADDRESS_TAKEN = "group-address-taken"
    GROUP_AT_ANOTHER_ADDRESS = "group-at-another-address"
    GROUP_MARKER_TWICE = "group-marker-twice"
    GROUP_MEMBERS_NOT_READ = "group-members-not-read"
    GROUP_WITHOUT_RULE = "group-without-rule"
    GROUP_HOLDS_A_ROLE = "group-holds-a-role"
    MEMBER_JOINS_LATER = "member-joins-later"
    MEMBER_OF_GROUP_LEFT_ALONE = "member-of-group-left-alone"
    MEMBER_OF_GROUP_WITH_A_ROLE = "member-of-group-with-a-role"
    MEMBER_IN_DOUBT = "member-in-doubt"
    MEMBER_WITH_A_ROLE = "member-with-a-role"
    MEMBER_IS_A_STRANGER = "member-is-a-stranger"


class ContactReason(StrEnum):
    """Why an account of staff has no way of recovery, in the register nor in the directory (docs/reason-codes.md).

    The later speaks where several hold. It is beside the account's step or no-op, not in place of it.
    """

    MISSING = "contact-missing"
    UNUSABLE = "contact-unusable"
    SHARED = "contact-shared"


class StepClass(StrEnum):
    """What a wrong step would cost."""

    SAFE = "safe"
    REVERSIBLE = "reversible"
    DESTRUCTIVE = "destructive"


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
        "recovery_email": pl.String,  # lower case
        "recovery_phone": pl.String,  # E.164
        "contact_reason": pl.String,  # ContactReason, where both are null; null too where contacts are not read
    }
)
"""One row a person. NIK, NISN and NUPTK are null when missing or filler, contacts when missing or unusable."""

CONTACT = pl.Schema({"account_key": pl.Binary, "recovery_email": pl.String, "recovery_phone": pl.String})
"""One row an account that has at least one of the two. Values stand here, and in no table that outlives the plan's making but
STEP_CONTACT."""

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
    "offers_email": pl.Boolean,  # whether the register has a recovery address of the person's own
    "offers_phone": pl.Boolean,
    "contact_reason": pl.String,  # ContactReason, for accounts of staff where it has neither
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
    "aliases": pl.String,  # addresses beside the primary one, lower case, sorted, a space between; null: none
    "has_recovery_email": pl.Boolean,  # whether; the address itself is not kept
    "has_recovery_phone": pl.Boolean,
    "read_at": pl.Datetime("ms", "UTC"),
}
OBSERVED = pl.Schema(_OBSERVED)
"""One row an account, as the directory said."""

DELETED = pl.Schema(
    {
        "account_key": pl.Binary,  # null: the list shows no marker of ours
        "tenant": pl.String,
        "id": pl.String,
        "user_id": pl.String,
        "domain": pl.String,
    }
)
"""One row a deleted account that the directory still lists, and so still restores."""

ADDRESSES = pl.Schema({"tenant": pl.String, "user_id": pl.String, "owner": pl.Binary})
"""User IDs in sight. `owner` is the account key in ledger rows and null elsewhere:
a live, alias or deleted address blocks everybody."""

SCHOOL = pl.Schema(
    {
        "jenjang": pl.String,  # Jenjang
        "npsn": pl.String,
        "kode_kabkota": pl.String,
        "open": pl.Boolean,
    }
)
"""One row a jenjang and NPSN of the register, closed schools included."""

MEMBERSHIP = pl.Schema(
    {
        "account_key": pl.Binary,
        "tenant": pl.String,  # Jenjang
        "kind": pl.String,  # GroupKind
        "code": pl.String,  # NPSN, or kode_kabkota
    }
)
"""One row a group that an account belongs to by its person's duties, if the account is active."""

GROUP = pl.Schema(
    {
        "tenant": pl.String,  # Jenjang
        "kind": pl.String,  # GroupKind
        "code": pl.String,
        "marker": pl.String,  # `recon:` and 32 hexadecimal digits
        "address": pl.String,
        "name": pl.String,
        "kode_kabkota": pl.String,
        "open": pl.Boolean,  # false: the register says that the school is closed
    }
)
"""One row a group that the settings may ask for: it is made once somebody can join it."""

OBSERVED_GROUP = pl.Schema(
    {
        "tenant": pl.String,
        "id": pl.String,  # immutable
        "address": pl.String,  # lower case
        "marker": pl.String,  # null: the description shows none
        "members_read": pl.Boolean,  # false: nobody asked for them, or the group went away meanwhile
    }
)
"""One row a group, as the directory said."""

OBSERVED_MEMBER = pl.Schema(
    {
        "tenant": pl.String,
        "group_id": pl.String,
        "member_id": pl.String,  # immutable id of the account, or of whatever else is a member
        "account_key": pl.Binary,  # null: no account with our marker in this tenant
        "role": pl.String,  # MEMBER, MANAGER or OWNER
    }
)
"""One row a direct member of a group whose members were read."""

STEP = pl.Schema(
    {
        "step": pl.Int64,  # dense, from 0: the order of the plan
        "tenant": pl.String,
        "action": pl.String,  # Action
        "class": pl.String,  # StepClass
        "reason": pl.String,
        "account_key": pl.Binary,  # the account's, or the member's; null for organisational units and groups
        "marker": pl.String,  # externalIds value of the account; of group steps, what stands in the group's description
        "target_id": pl.String,  # immutable id of the account to change; null for creations, groups and members
        "address": pl.String,  # primary address: to create, to rename to, else null; of group steps, the group's
        "given_name": pl.String,
        "family_name": pl.String,
        "ou_path": pl.String,
        "npsn": pl.String,
        "listed": pl.Boolean,
        "suspended": pl.Boolean,
        "alias": pl.String,  # address to add to the account or to take from it
        "group_name": pl.String,  # what people read in the directory; on group creations
        "member_id": pl.String,  # immutable id of the account that joins or leaves the group
        "before": pl.String,  # JSON object of what is replaced, keys sorted; null for creations
        "recovery": pl.String,  # recovery contacts it writes: "email", "phone" or "email,phone"; their values: STEP_CONTACT
        "kode_kabkota": pl.String,
        "held_by": pl.String,  # guard that holds the step; null: free to run
    }
)
"""One row a step. A null attribute is not written; `before` names exactly the attributes that are."""


STEP_CONTACT = pl.Schema({"step": pl.Int64, "recovery_email": pl.String, "recovery_phone": pl.String})
"""One row a step that writes recovery contacts and that no guard holds: the values, those it does not write null."""


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
