"""People: one row a person, from the pupils' and staff's tables, and from the users for operators who are no PTK."""

from __future__ import annotations

import polars as pl

from belajarid_recon.records.contacts import CONTACT_COLUMNS, read_contacts
from belajarid_recon.records.judging import in_series, judge
from belajarid_recon.schemas import PERSON, PersonKind
from belajarid_recon.sources import identifiers, names
from belajarid_recon.sources.columns import fault
from belajarid_recon.sources.reasons import QuarantineReason
from belajarid_recon.sources.tables import Table, repeated_rows


def judge_people(table: Table, other_ids: pl.Series, kind: PersonKind, *, contacts: bool) -> Table:
    """Set aside repeated people, ids that `other_ids` (another kind of person) has too, and names without a letter.

    The frame gains `given_name` and `family_name`, and contacts as `read_contacts` reads them (`contacts`: whether they were
    asked for); `nama` is folded.
    """
    frame = read_contacts(table.frame, kind, asked=contacts)
    table = Table(frame, table.aside, table.files, table.read)
    table = table.set_aside(repeated_rows(table.frame, ["_person"]))
    shared = in_series("_person", other_ids)
    table = judge(table, pl.when(shared).then(fault("_person", QuarantineReason.PERSON_ID_SHARED)))
    return judge_names(table)


def judge_names(table: Table) -> Table:
    """Set aside rows whose name has no letter; the frame gains `given_name` and `family_name`, and `nama` is folded."""
    frame = table.frame.with_columns(names.read_names(table.frame["nama"]).get_columns())
    named = Table(frame, table.aside, table.files, table.read)
    nameless = pl.col("family_name").is_null() | pl.col("given_name").is_null()
    return judge(named, pl.when(nameless).then(fault("nama", QuarantineReason.NAME_UNUSABLE)))


def people_of(table: Table, kind: PersonKind) -> pl.DataFrame:
    """The rows of schemas.PERSON that judged people make; deleted ones make none."""
    kept = table.frame.filter(~pl.col("soft_delete"))
    numbers = {"nik": identifiers.nik, "nisn": identifiers.nisn, "nuptk": identifiers.nuptk}
    nothing = pl.lit(None, dtype=pl.String)
    return kept.select(
        person_id="_person",
        marker="_marker",
        person_kind=pl.lit(kind.value),
        nama="nama",
        given_name="given_name",
        family_name="family_name",
        **{name: read(name) if name in kept.columns else nothing for name, read in numbers.items()},
        tanggal_lahir=pl.col("tanggal_lahir") if "tanggal_lahir" in kept.columns else pl.lit(None, dtype=pl.Date),
        **{name: pl.col(name) for name in (*CONTACT_COLUMNS, "contact_reason")},
    ).cast(PERSON)


def operators_who_are_no_ptk(operators: Table, *, contacts: bool) -> pl.DataFrame:
    """One row of schemas.PERSON for each user of judged operator roles who has no PTK row; deleted users make none."""
    alone = operators.frame.filter(~pl.col("is_ptk")).unique("_person", keep="any")
    alone = read_contacts(alone, PersonKind.PENGGUNA, asked=contacts)
    return people_of(Table(alone, operators.aside, operators.files, 0), PersonKind.PENGGUNA).sort("person_id")
