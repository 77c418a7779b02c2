"""Records: rows become people and duties; everything else is quarantined with a reason, and nothing is lost."""

from __future__ import annotations

import random
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from belajarid_recon.errors import ReconError
from belajarid_recon.records import (
    EVIDENCE,
    Period,
    check_counts,
    find_duplicates,
    find_duplicates_in,
    write_evidence,
)
from belajarid_recon.schemas import DUTY, EXTRACT, PERSON, ColumnKind
from belajarid_recon.sources.parts import TableCounts
from belajarid_recon.sources.reasons import QuarantineReason
from extract_builder import DAY, ExtractBuilder, Worked, tiny_builder, work


@pytest.fixture
def world() -> ExtractBuilder:
    """A tiny extract to be changed."""
    return tiny_builder()


def works(world: ExtractBuilder, tmp_path: Path, parts: int = 1) -> Worked:
    """Write a world and work it."""
    return work(world.write(tmp_path / "extract"), tmp_path / f"cut-{parts}", parts=parts)


def duties_of(worked: Worked, nama: str) -> list[tuple]:
    """(duty, jenjang, grade, exit code, current) of somebody, sorted."""
    mine = worked.records.people.filter(pl.col("nama") == nama).select("person_id")
    rows = worked.records.duties.join(mine, on="person_id", how="semi")
    return sorted(rows.select("duty", "jenjang", "grade", "exit_code", "current").rows(), key=str)


@pytest.mark.parametrize(
    ("day", "semester", "year"),
    [
        (date(2024, 7, 1), "20241", 2024),
        (date(2024, 12, 31), "20241", 2024),
        (date(2025, 1, 1), "20242", 2024),
        (date(2025, 6, 30), "20242", 2024),
        (date(2025, 7, 1), "20251", 2025),
    ],
)
def test_the_semester_follows_from_the_date(day, semester, year):
    """The school year begins in July and is named after the year it begins in."""
    assert Period.of(day) == Period(day, semester, year)


def test_records_have_the_exchanged_columns(world, tmp_path):
    """Nothing crosses the border but schemas.PERSON and schemas.DUTY."""
    records = works(world, tmp_path).records
    assert records.people.schema == PERSON
    assert records.duties.schema == DUTY
    assert records.people.height == 35
    assert records.quarantine.is_empty()


def test_the_grade_is_that_of_the_current_class_at_the_school(world, tmp_path):
    """Classes of another semester, school or kind give none; of two the higher counts."""
    school, other = world.school(5), world.school(5)
    current = world.pupil("In Two", school, 3)
    world.join(current, world.klass(school, 4))
    past = world.pupil("Of Last Semester", school)
    world.join(past, world.klass(school, 3, semester_id="20232"))
    away = world.pupil("Elsewhere", school)
    world.join(away, world.klass(other, 3))
    club = world.pupil("In A Club", school)
    world.join(club, world.klass(school, 3, jenis_rombel=51))
    gone = world.pupil("Taken Out", school)
    world.join(gone, world.klass(school, 3), soft_delete=1)
    worked = works(world, tmp_path)
    assert worked.reasons() == []
    assert duties_of(worked, "In Two") == [("pupil", "sd", 4, None, True)]
    for nama in ("Of Last Semester", "Elsewhere", "In A Club", "Taken Out"):
        assert duties_of(worked, nama) == [("pupil", "sd", None, None, True)]


def test_references_to_nothing_are_set_aside(world, tmp_path):
    """A registration of an unknown school, rows of unknown people, a membership of an unknown class, a stray class."""
    school = world.tables["sekolah"][1]["sekolah_id"]
    pupil = world.pupil("Lost", world.new_id())
    world.join(pupil, world.new_id())
    world.register(world.new_id(), school)
    world.assign(world.new_id(), school)
    world.post(world.new_id(), school)
    world.operator("Nobody", school, ptk=world.new_id())
    world.klass(world.new_id(), 3)
    assert works(world, tmp_path, 2).reasons() == sorted(
        [
            ("registrasi_peserta_didik", "sekolah_id", "school-unknown"),
            ("anggota_rombel", "rombongan_belajar_id", "class-unknown"),
            ("registrasi_peserta_didik", "_person", "person-unknown"),
            ("ptk_terdaftar", "_person", "person-unknown"),
            ("tugas_tambahan", "_person", "person-unknown"),
            ("role_pengguna", "ptk_id", "person-unknown"),
            ("rombongan_belajar", "sekolah_id", "school-unknown"),
        ]
    )


def test_a_repeated_row_is_used_once_and_contradicting_ones_never(world, tmp_path):
    """Equal rows of one key: one is accepted. Different ones: none, because nobody knows which is right."""
    pupils, schools = world.tables["peserta_didik"], world.tables["sekolah"]
    pupils.append(pupils[0] | {})
    pupils.append(pupils[2] | {"nama": "Other Name"})
    schools.append(schools[6] | {"nama": "A column no rule reads"})
    worked = works(world, tmp_path)
    people = worked.records.people["nama"].to_list()
    assert people.count(pupils[0]["nama"]) == 1
    assert pupils[2]["nama"] not in people
    counted = worked.quarantine.group_by("table", "reason").len().sort("table", "reason").rows()
    assert counted == [
        ("anggota_rombel", "person-unknown", 1),
        ("peserta_didik", "row-contradicts", 2),
        ("peserta_didik", "row-repeated", 1),
        ("registrasi_peserta_didik", "person-unknown", 1),
        ("sekolah", "row-repeated", 1),
    ]


def test_deleted_rows_are_accepted_and_unused(world, tmp_path):
    """`soft_delete` is a statement, not damage; a deleted person's rows are no strangers."""
    school = world.school(5)
    world.pupil("Deleted Person", school, 3, soft_delete=1)
    kept = world.pupil("Deleted Registration")
    world.register(kept, school, soft_delete=1)
    worked = works(world, tmp_path)
    assert worked.reasons() == []
    assert "Deleted Person" not in worked.records.people["nama"].to_list()
    assert duties_of(worked, "Deleted Registration") == []
    assert worked.counts["peserta_didik"] == TableCounts(16, 16, 0, 1)


def test_a_name_without_letters_or_a_shared_id_makes_no_person(world, tmp_path):
    """Both are quarantined; a name of nothing could not be an account, and one id cannot be two people."""
    school = world.school(5)
    world.pupil("...", school, 3)
    twice = world.pupil("Is Pupil", school, 3)
    world.add("ptk", ptk_id=twice, nama="Is Teacher", tanggal_lahir=DAY, soft_delete=0)
    world.operator("-", school)
    worked = works(world, tmp_path, 2)
    assert {("peserta_didik", "nama", "name-unusable"), ("role_pengguna", "nama", "name-unusable")} <= set(
        worked.reasons()
    )
    shared = [(table, reason) for table, _, reason in worked.reasons() if reason == "person-id-shared"]
    assert shared == [("peserta_didik", "person-id-shared"), ("ptk", "person-id-shared")]
    assert not {"...", "Is Pupil", "Is Teacher", "-"} & set(worked.records.people["nama"])


def test_an_unknown_exit_code_is_quarantined(world, tmp_path):
    """Nobody is suspended on a code that no list explains."""
    pupil = world.pupil("Odd Exit")
    world.register(pupil, world.school(5), exit_code="Q")
    assert works(world, tmp_path).reasons() == [("registrasi_peserta_didik", "jenis_keluar_id", "exit-code-unknown")]


def test_a_school_without_a_region_is_quarantined_with_what_points_at_it(world, tmp_path):
    """Its region decides the guards' slice and the organisational unit; a village that is not listed counts as its kecamatan."""
    world.pupil("Nowhere", world.school(5, kode_wilayah="990000"), 3)
    world.pupil("In A New Village", world.school(5, kode_wilayah="026001ZZ"), 3)
    worked = works(world, tmp_path)
    assert ("sekolah", "kode_wilayah", "region-unknown") in worked.reasons()
    assert duties_of(worked, "Nowhere") == []
    assert worked.records.duties["kode_kabkota"].unique().sort().to_list() == ["026000", "026100"]


def test_head_duties_follow_the_registers_own_test(world, tmp_path):
    """Both halves make a head; one half none; acting heads and managers have tests of their own."""
    sd, other, pkbm = world.school(5), world.school(5), world.school(27)
    world.head("Both Halves", sd)
    world.post(world.staff("Duty Only", sd), sd)
    world.staff("Type Only", sd, kind=20)
    ended = world.staff("Ended", sd)
    world.post(ended, sd, tst_tambahan=date(2024, 9, 2))
    begins = world.staff("To Begin", sd, kind=20)
    world.post(begins, sd, tmt_tambahan=date(2024, 9, 3))
    world.post(world.staff("Acting", sd), other, code=33)
    world.post(world.staff("Acting But Gone"), other, code=33)
    world.assign(world.staff("Manager"), pkbm, kind=11, jabatan_ptk_id=18)
    world.post(world.staff("Manager By Duty", pkbm, kind=63), pkbm, code=31)
    world.post(world.staff("Manager Of A School", sd, kind=11), sd, code=18)
    world.post(world.staff("Deputy", sd), sd, code=11)
    worked = works(world, tmp_path)
    educator, half = ("educator", "sd", None, None, True), ("head", "sd", None, None, False)
    head, staff = ("head", "sd", None, None, True), ("other-staff", "sd", None, None, True)
    assert duties_of(worked, "Both Halves") == [head]
    assert duties_of(worked, "Duty Only") == [educator, half]
    assert duties_of(worked, "Type Only") == [half]
    assert duties_of(worked, "Ended") == [educator]
    assert duties_of(worked, "To Begin") == [half]
    assert duties_of(worked, "Acting") == [educator, head]
    assert duties_of(worked, "Acting But Gone") == []
    assert [duty[0] for duty in duties_of(worked, "Manager")] == ["head", "other-staff"]
    assert [duty[0] for duty in duties_of(worked, "Manager By Duty")] == ["educator", "head"]
    assert duties_of(worked, "Manager Of A School") == [staff]
    assert duties_of(worked, "Deputy") == [educator]


def test_only_the_newest_school_year_of_a_jenjang_speaks(world, tmp_path):
    """`ptk_terdaftar` has a row a year: older ones are superseded, a newest one of the past is stale, a coming year waits."""
    sd, smp = world.school(5), world.school(6)
    moved = world.staff("Moved", smp)
    world.assign(moved, sd, year=2023, jenis_keluar_id="2")
    retired = world.staff("Retired")
    world.assign(retired, sd, year=2022)
    world.assign(retired, sd, year=2024, jenis_keluar_id="9")
    stale = world.staff("Stale")
    world.assign(stale, sd, year=2020, jenis_keluar_id="2")
    world.assign(stale, sd, year=2023)
    coming = world.staff("Coming")
    world.assign(coming, sd, year=2025)
    worked = works(world, tmp_path)
    assert duties_of(worked, "Moved") == [("educator", "sd", None, "2", False), ("educator", "smp", None, None, True)]
    assert duties_of(worked, "Retired") == [("educator", "sd", None, "9", True)]
    assert duties_of(worked, "Stale") == [("educator", "sd", None, None, False)]
    assert duties_of(worked, "Coming") == []


def test_an_operators_role_is_in_force_or_not(world, tmp_path):
    """Approved, not expired, and the user active."""
    sd = world.school(5)
    world.operator("In Force", sd, tgl_kadaluwarsa=date(2024, 9, 3))
    world.operator("Expired", sd, tgl_kadaluwarsa=date(2024, 9, 2))
    world.operator("Not Approved", sd, approval_peran=0)
    world.operator("Unknown Approval", sd, approval_peran=None)
    world.operator("Inactive", sd)
    world.tables["pengguna"][-1]["aktif"] = 0
    worked = works(world, tmp_path)
    for nama in ("In Force", "Expired", "Not Approved", "Unknown Approval", "Inactive"):
        assert duties_of(worked, nama) == [("operator", "sd", None, None, nama == "In Force")]


def test_two_records_of_one_pupil_are_found_across_parts(world, tmp_path):
    """The same NISN, or the same NIK with birth date and name; a NIK shared by different people is only a finding."""
    school = world.school(5)
    nik = "3273015705120999"
    world.pupil("First Typing", school, 3, nisn="3129999999")
    world.pupil("Second Typing", school, 3, nisn="3129999999")
    world.pupil("Siti Nur'aini", school, 3, nik=nik)
    world.pupil("SITI  NURAINI", school, 3, nik=nik)
    world.pupil("Another Child", school, 3, nik=nik)
    world.pupil("Filler One", school, 3, nik="0" * 16, nisn=None)
    world.pupil("Filler One", school, 3, nik="0" * 16, nisn=None)
    left = world.pupil("Left Already", nisn="3129999998")
    world.register(left, school, exit_code="2")
    world.pupil("Typed Again", school, 3, nisn="3129999998")
    world.staff("Siti Nuraini", school, nik=nik, tanggal_lahir=date(2012, 5, 17))
    for parts in (1, 4):
        worked = works(world, tmp_path, parts)
        doubted = worked.records.people.join(worked.doubts.people, on="person_id", how="semi")["nama"]
        assert sorted(doubted) == ["First Typing", "SITI NURAINI", "Second Typing", "Siti Nur'aini"]
        assert (worked.doubts.nisn_shared, worked.doubts.nik_twins, worked.doubts.nik_shared) == (2, 2, 3)


def test_numbers_of_people_stay_out_of_the_quarantine(world, tmp_path):
    """A locator says where, never who."""
    for row in world.tables["peserta_didik"]:
        row["tanggal_lahir"] = None
    worked = works(world, tmp_path)
    text = str(worked.quarantine.rows())
    assert worked.quarantine.height >= 14
    assert not any(
        row["nik"] in text or row["nisn"] in text or row["nama"] in text for row in world.tables["peserta_didik"]
    )


def test_counts_that_do_not_add_up_are_a_bug():
    """The sum is checked, not assumed."""
    check_counts({"ptk": TableCounts(3, 2, 1)}, {"ptk": 3})
    for count in (TableCounts(3, 3, 1), TableCounts(4, 3, 1), TableCounts(2, 2, 0)):
        with pytest.raises(ReconError, match="do not add up: ptk"):
            check_counts({"ptk": count}, {"ptk": 3})


DAMAGE = {
    ColumnKind.UUID: [None, "", "garbage", "0" * 32],
    ColumnKind.TEXT: [None, "", " ", "\x00", "9", "Z"],
    ColumnKind.CODE: [None, -1, 999999],
    ColumnKind.FLAG: [None, 2, 1, 0],
    ColumnKind.DATE: [None, date(1, 1, 1), date(9999, 12, 31)],
}


def damaged(seed: int, changes: int) -> ExtractBuilder:
    """The tiny extract with cells overwritten, rows repeated and rows removed at random."""
    world, chance = tiny_builder(), random.Random(seed)  # noqa: S311 - test data
    for number, row in enumerate(world.tables["ptk"]):
        row |= {"email": f"guru{number}@example.org", "no_hp": f"0812345678{number:02}"}
    for _ in range(changes):
        table = chance.choice(sorted(EXTRACT))
        rows = world.tables[table]
        if not rows:
            continue
        what, row = chance.random(), chance.choice(rows)
        if what < 0.15:
            rows.append(row | {})
        elif what < 0.25 and len(rows) > 1:
            rows.remove(row)
        else:
            column = chance.choice(sorted(EXTRACT[table]))
            kind = EXTRACT[table][column]
            others = [other[column] for other in rows]
            row[column] = chance.choice([*DAMAGE[kind], *others])
    return world


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), changes=st.integers(1, 60), shuffled=st.booleans())
def test_no_damage_loses_a_row_or_depends_on_order_or_parts(seed, changes, shuffled, tmp_path_factory):
    """Accepted and quarantined are the rows read; people, duties and doubts are the same for any order of rows and any P."""
    tmp_path = tmp_path_factory.mktemp("damage")
    world = damaged(seed, changes)
    plain = work(world.write(tmp_path / "plain"), tmp_path / "one")
    for rows in world.tables.values():
        random.Random(seed).shuffle(rows)  # noqa: S311 - test data
    other = work(world.write(tmp_path / "other"), tmp_path / "many", parts=4 if shuffled else 2)
    assert set(plain.quarantine["reason"]) <= {reason.value for reason in QuarantineReason}
    for name in ("people", "duties"):
        first, second = getattr(plain.records, name), getattr(other.records, name)
        assert first.sort(first.columns).equals(second.sort(first.columns))
    assert plain.doubts.people.equals(other.doubts.people)
    assert plain.counts == other.counts
    assert plain.desired().equals(other.desired())


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(
        st.tuples(st.integers(0, 40), st.sampled_from(["nisn", "nik"]), st.integers(0, 8), st.integers(0, 3)),
        max_size=60,
    ),
    parts=st.integers(1, 4),
    rows_at_once=st.integers(1, 70),
)
def test_duplicates_are_found_in_files_as_in_memory(rows, parts, rows_at_once, tmp_path_factory):
    """Whatever the parts and the rows looked through at once, digests at both ends of their range included."""
    digests = [0, 1, 2**63 - 1, 2**63, 2**64 - 1, 7, 2**40, 2**41, 2**62]
    evidence = pl.DataFrame(
        {
            "person_id": [person.to_bytes(16) for person, *_ in rows],
            "kind": [kind for _, kind, *_ in rows],
            "digest": [digests[number] for *_, number, _ in rows],
            "twin": [twin if kind == "nik" else None for _, kind, _, twin in rows],
        },
        schema=EVIDENCE,
    )
    folder = tmp_path_factory.mktemp("evidence")
    files = [folder / f"{part}.parquet" for part in range(parts)]
    for part, path in enumerate(files):
        write_evidence(evidence.gather_every(parts, part), path)
    found, expected = find_duplicates_in(files, rows_at_once), find_duplicates([evidence])
    assert found.people.equals(expected.people)
    numbers = ("nisn_shared", "nik_twins", "nik_shared")
    assert [getattr(found, name) for name in numbers] == [getattr(expected, name) for name in numbers]
