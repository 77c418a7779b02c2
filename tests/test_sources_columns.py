"""Sources: every physical type a register exports becomes one canonical type, or a reason."""

from __future__ import annotations

import uuid
from datetime import UTC, date, datetime
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from belajarid_recon.schemas import EXTRACT, ColumnKind
from belajarid_recon.sources import identifiers
from belajarid_recon.sources.columns import COLUMNS, Need, read_columns
from belajarid_recon.sources.extract import PERSON_KEYS
from extract_builder import ExtractBuilder

ID = uuid.UUID("9dee2a30-5b1c-e311-9a4e-0f3b7f3a1c2d")


def read(table: str, **values: object) -> pl.DataFrame:
    """One row of a table with some values replaced by these, as read; empty when it was set aside."""
    return rows_of(table, **{name: pl.Series(name, [value]) for name, value in values.items()}).frame


def rows_of(table: str, **columns: pl.Series):
    """Rows of a table with these columns; the others hold what a healthy row holds."""
    world = ExtractBuilder()
    school = world.school()
    pupil = world.pupil("Ani", school, 3)
    world.post(world.staff("Budi", school), school)
    world.operator("Cici", school)
    world.add("yayasan", yayasan_id=world.new_id(), soft_delete=0)
    height = len(next(iter(columns.values()))) if columns else 1
    frame = pl.concat([world.frame(table)[-1:]] * height).with_columns(**columns)
    assert pupil
    raw = frame.select(list(COLUMNS[table])).with_columns(
        _file=pl.lit(0, dtype=pl.Int64), _row=pl.int_range(pl.len(), dtype=pl.Int64)
    )
    return read_columns(table, raw)


def reasons(table: str, column: str, values: pl.Series) -> list[tuple[int, str, str]]:
    """(row, column, reason) of the rows set aside."""
    rows = rows_of(table, **{column: values})
    assert rows.frame.height + rows.aside.height == len(values)
    return rows.aside.select("_row", "column", "reason").rows()


def test_every_column_that_is_read_is_checked_for_first():
    """COLUMNS asks for nothing that `open_extract` did not find, and every table has a primary key in it."""
    assert set(COLUMNS) == set(EXTRACT)
    for table, needs in COLUMNS.items():
        assert set(needs) <= set(EXTRACT[table])
        assert PERSON_KEYS.get(table, next(iter(needs))) in EXTRACT[table]


def test_ids_are_read_from_text_and_bytes_in_any_spelling():
    """Upper case, no hyphens, 16 bytes, a dictionary: one id. No UUID version is demanded."""
    spelled = pl.Series([str(ID), str(ID).upper(), ID.hex, f" {ID} "])
    assert rows_of("sekolah", sekolah_id=spelled).frame["sekolah_id"].to_list() == [ID.bytes] * 4
    assert read("sekolah", sekolah_id=ID.bytes)["sekolah_id"].to_list() == [ID.bytes]
    assert rows_of("sekolah", sekolah_id=spelled.cast(pl.Categorical)).frame["sekolah_id"].to_list() == [ID.bytes] * 4


def test_an_id_that_is_none_is_set_aside():
    """Short, long, not hexadecimal, missing, blank."""
    values = pl.Series([str(ID)[:-1], "x" * 36, None, "  ", str(ID)])
    unreadable, missing = ("sekolah_id", "unreadable-id"), ("sekolah_id", "value-missing")
    assert reasons("sekolah", "sekolah_id", values) == [
        (0, *unreadable),
        (1, *unreadable),
        (2, *missing),
        (3, *missing),
    ]
    assert reasons("sekolah", "sekolah_id", pl.Series([b"short", None])) == [(0, *unreadable), (1, *missing)]


@pytest.mark.parametrize(
    "values",
    [
        pl.Series([5, 6]),
        pl.Series([5, 6], dtype=pl.UInt8),
        pl.Series([5.0, 6.0]),
        pl.Series(["5", " 6.0 "]),
        pl.Series(["5", "6"], dtype=pl.Categorical),
        pl.Series(["5", "6"], dtype=pl.Enum(["5", "6"])),
        pl.Series([Decimal("5"), Decimal("6")], dtype=pl.Decimal(2, 0)),
        pl.Series([Decimal("5.00"), Decimal("6.00")], dtype=pl.Decimal(10, 2)),
    ],
)
def test_codes_are_read_from_every_number(values):
    """Integers, decimals, whole floats and digits as text are one code."""
    assert rows_of("sekolah", bentuk_pendidikan_id=values).frame["bentuk_pendidikan_id"].to_list() == [5, 6]


@pytest.mark.parametrize(
    "values",
    [
        pl.Series([5.5, float("nan"), float("inf"), 1e300]),
        pl.Series(["5,0", "fünf", "5.5", "9" * 30]),
        pl.Series([Decimal("5.01")], dtype=pl.Decimal(10, 2)),
        pl.Series([2**64 - 1], dtype=pl.UInt64),
    ],
)
def test_a_code_that_is_no_whole_number_is_set_aside(values):
    """Nothing is rounded or cut."""
    found = reasons("sekolah", "bentuk_pendidikan_id", values)
    assert found == [(row, "bentuk_pendidikan_id", "unreadable-code") for row in range(len(values))]


@pytest.mark.parametrize(
    "values",
    [
        pl.Series([True, False]),
        pl.Series([1, 0]),
        pl.Series([1.0, 0.0]),
        pl.Series(["1", "0"]),
        pl.Series(["true", "FALSE"]),
        pl.Series(["t", "f"]),
        pl.Series([Decimal(1), Decimal(0)], dtype=pl.Decimal(1, 0)),
    ],
)
def test_flags_are_read_from_booleans_numbers_and_words(values):
    """PostgreSQL, its text form, and numbers say the same."""
    assert rows_of("sekolah", keaktifan=values).frame["keaktifan"].to_list() == [True, False]


def test_a_flag_that_is_neither_is_set_aside():
    """2 is not true, and `ya` is nobody's export."""
    values = pl.Series(["2", "ya", "", "-1"])
    found = [reason for _, _, reason in reasons("sekolah", "keaktifan", values)]
    assert found == ["unreadable-flag", "unreadable-flag", "value-missing", "unreadable-flag"]


@pytest.mark.parametrize(
    "values",
    [
        pl.Series([date(2012, 5, 17)]),
        pl.Series([datetime(2012, 5, 17, 23, 59)]),  # noqa: DTZ001 - the register has no time zone
        pl.Series([datetime(2012, 5, 17, 1, 0, tzinfo=UTC)]),
        pl.Series(["2012-05-17"]),
        pl.Series([" 2012-05-17 00:00:00.000"]),
        pl.Series(["2012-05-17T07:00:00+07:00"]),
    ],
)
def test_dates_are_read_from_dates_timestamps_and_text(values):
    """The day is the one that is written, whatever clock time stands beside it."""
    assert rows_of("ptk", tanggal_lahir=values).frame["tanggal_lahir"].to_list() == [date(2012, 5, 17)]


def test_a_date_that_is_none_is_set_aside():
    """Day first, a spreadsheet's serial, a day that never was, the year 12."""
    values = pl.Series(["17/05/2012", "41046", "2012-02-30", "0012-05-17", "2012-5-17x", None])
    found = [reason for _, _, reason in reasons("ptk", "tanggal_lahir", values)]
    assert found == ["unreadable-date"] * 5 + ["value-missing"]


def test_an_optional_value_that_cannot_be_read_is_null_and_the_row_stays():
    """Nobody loses an account over the date they joined."""
    assert read("ptk_terdaftar", tmt_tugas="soon", ptk_induk="?").select("tmt_tugas", "ptk_induk").rows() == [
        (None, None)
    ]


def test_an_end_that_cannot_be_read_is_not_taken_for_none():
    """An unreadable end of office would read as an office for ever; a missing one is a statement."""
    found = reasons("tugas_tambahan", "tst_tambahan", pl.Series(["someday", None, "2024-01-01", "9999-12-31"]))
    assert found == [(0, "tst_tambahan", "unreadable-date")]


def test_text_is_trimmed_and_blank_text_is_missing():
    """Region codes are padded to eight characters; a code without a region is set aside."""
    assert read("sekolah", kode_wilayah="026101  ")["kode_wilayah"].to_list() == ["026101"]
    assert reasons("sekolah", "kode_wilayah", pl.Series(["   ", "026101"])) == [(0, "kode_wilayah", "value-missing")]


def test_a_column_without_any_value_may_have_no_type():
    """Some writers give the type null to a part whose column is empty."""
    nothing = pl.Series([None, None], dtype=pl.Null)
    assert rows_of("sekolah", npsn=nothing).frame["npsn"].to_list() == [None, None]
    for table, needs in COLUMNS.items():
        for column, need in needs.items():
            aside = rows_of(table, **{column: nothing}).aside
            assert aside.height == (2 if need is Need.REQUIRED else 0), (table, column)


@settings(max_examples=60, deadline=None)
@given(day=st.dates(date(1900, 1, 1)), code=st.integers(-(10**17), 10**17), flag=st.booleans())
def test_text_and_typed_columns_agree(day, code, flag):
    """Writing a value as text and reading it gives what the typed column gives."""
    typed = read("ptk_terdaftar", tmt_tugas=day, jenis_ptk_id=code, ptk_induk=flag)
    text = read("ptk_terdaftar", tmt_tugas=day.isoformat(), jenis_ptk_id=str(code), ptk_induk=str(flag))
    names = ["tmt_tugas", "jenis_ptk_id", "ptk_induk"]
    assert typed.select(names).rows() == text.select(names).rows() == [(day, code, flag)]


@settings(max_examples=100, deadline=None)
@given(text=st.lists(st.text(max_size=40), min_size=1, max_size=5), kind=st.sampled_from(sorted(ColumnKind)))
def test_no_text_breaks_a_column(text, kind):
    """Whatever stands in a cell, the row is read or set aside."""
    where = {
        ColumnKind.UUID: ("sekolah", "sekolah_id"),
        ColumnKind.TEXT: ("sekolah", "kode_wilayah"),
        ColumnKind.CODE: ("sekolah", "bentuk_pendidikan_id"),
        ColumnKind.FLAG: ("sekolah", "keaktifan"),
        ColumnKind.DATE: ("ptk", "tanggal_lahir"),
    }
    reasons(*where[kind], pl.Series(text))


def test_numbers_of_people_are_kept_only_when_they_can_be_genuine():
    """Sixteen or ten digits; filler and what a spreadsheet leaves of a number are missing."""
    niks = [
        "3273015705120111",
        "0000000000000000",
        "3273010000000111",
        "9" * 16,
        "3.27302E+15",
        "327301570512011",
        "32730157051201112",
    ]
    nisns = ["0012345678", "12345678", "0000000001", "1111111111", "3120000002", "312000000O", "٠٠١٢٣٤٥٦٧٨"]
    frame = pl.DataFrame({"nik": niks, "nisn": nisns}).select(identifiers.nik("nik"), identifiers.nisn("nisn"))
    assert frame["nik"].to_list() == [niks[0]] + [None] * 6
    assert frame["nisn"].to_list() == [nisns[0], None, None, None, "3120000002", None, None]


def test_npsn_are_eight_digits_or_temporary():
    """A temporary NPSN is NP and six digits."""
    frame = pl.DataFrame({"npsn": ["20104001", "np123456", "2010400", "20104001x", None]})
    assert frame.select(identifiers.npsn("npsn"))["npsn"].to_list() == ["20104001", "NP123456", None, None, None]
