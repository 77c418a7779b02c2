"""Operators: roles joined with their user accounts, before people can be told apart.

A role names a user, and the user a PTK or nobody: only the join says whose the role is.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from belajarid_recon.sources.columns import fault, split
from belajarid_recon.sources.extract import Extract
from belajarid_recon.sources.reasons import QuarantineReason
from belajarid_recon.sources.tables import Table, TableCounts, join_tables, read_batches, repeated_rows

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
class Operators:
    """`frame` (OPERATOR), `quarantine` and `counts` of `pengguna` and of what of `role_pengguna` is not in `frame`.

    `lost`: ids of PTK with a role that was set aside here. Nobody can say whether it made them an operator.
    """

    frame: pl.DataFrame
    quarantine: pl.DataFrame
    counts: dict[str, TableCounts]
    lost: pl.Series


def read_operators(extract: Extract) -> Operators:
    """Read operators' roles with their users. Roles of other kinds are accepted and unused.

    A role names its school, else its user's is taken. Users are compared with each other only where an operator's role names
    them; of the millions of others nothing is used.
    """
    roles, others = _roles(extract)
    users = _users(extract, pl.concat([roles.frame["pengguna_id"], roles.aside["_person"]]))
    known = users.frame.with_columns(known=pl.lit(value=True))
    joined = roles.frame.join(known, on="pengguna_id", how="left", suffix="_user", maintain_order="left")
    stray = pl.when(pl.col("known").is_null()).then(fault("pengguna_id", QuarantineReason.USER_UNKNOWN))
    rows = split(joined, joined.select(fault=stray)["fault"])
    roles = roles.set_aside(rows.aside)
    of_roles = users.frame.join(roles.aside, left_on="pengguna_id", right_on="_person", how="semi")["ptk_id"]
    of_users = users.aside.filter(pl.col("reason") == QuarantineReason.ROW_CONTRADICTS.value)["_person"]
    aside = roles.aside.height
    return Operators(
        frame=_as_operators(rows.frame),
        quarantine=pl.concat([roles.quarantine("role_pengguna"), users.quarantine("pengguna")]),
        counts={
            "role_pengguna": TableCounts(others + aside, others, aside, others),
            "pengguna": TableCounts(users.read, users.read - users.aside.height, users.aside.height),
        },
        lost=pl.concat([of_roles, of_users]).drop_nulls().unique(),
    )


def _roles(extract: Extract) -> tuple[Table, int]:
    """Operators' roles, and the count of accepted roles of other kinds. The users of those set aside stand in `_person`."""
    others, kept = 0, []
    for batch in read_batches(extract, "role_pengguna", person="pengguna_id"):
        operator = batch.frame.filter(pl.col("peran_id") == OPERATOR_ROLE)
        others += batch.frame.height - operator.height
        kept.append(Table(operator, batch.aside, batch.files, 0))
    return join_tables(kept), others


def _users(extract: Extract, wanted: pl.Series) -> Table:
    """User accounts that operators' roles name, one row each; repeated and contradicting rows are set aside."""
    ids = wanted.unique().to_frame("pengguna_id")
    pieces = []
    for batch in read_batches(extract, "pengguna", person="ptk_id"):
        mine = batch.frame.join(ids, on="pengguna_id", how="semi")
        pieces.append(Table(mine, batch.aside, batch.files, batch.read))
    users = join_tables(pieces)
    return users.set_aside(repeated_rows(users.frame, ["pengguna_id"]))


def _as_operators(joined: pl.DataFrame) -> pl.DataFrame:
    return joined.select(
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
