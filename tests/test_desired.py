"""Desired accounts: who should have which account, at which school, and why not."""

from __future__ import annotations

import random
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from belajarid_recon.desired.orgunits import with_units_above
from belajarid_recon.desired.reasons import ReasonCode
from belajarid_recon.desired.verdicts import person_verdicts, verdicts
from belajarid_recon.regulations import domains, known_regulations
from belajarid_recon.schemas import ACCOUNT_ATTRIBUTES, DESIRED, JENJANG_CODE
from extract_builder import FORMS, ExtractBuilder, Worked, tiny_builder, work

NEWEST = "persesjen-14-2024"
REGULATIONS = list(known_regulations())

ELIGIBLE_GRADES = {
    "se-37-2020": {
        "sd": {5, 6},
        "smp": {7, 8, 9},
        "sma": {10, 11, 12},
        "smk": {10, 11, 12, 13},
        "slb": set(range(5, 13)),
    }
    | {"kesetaraan": set(range(5, 13))},
    "persesjen-16-2021": {"sd": set(range(1, 7)), "smp": {7, 8, 9}, "sma": {10, 11, 12}, "smk": {10, 11, 12, 13}}
    | {"slb": set(range(5, 13)), "kesetaraan": set(range(1, 13))},
}
ELIGIBLE_GRADES["persesjen-20-2022"] = ELIGIBLE_GRADES[NEWEST] = ELIGIBLE_GRADES["persesjen-16-2021"]


LEAVINGS = [
    "graduated",
    "transferred",
    "expelled",
    "resigned",
    "dropped-out",
    "died",
    "missing",
    "changed-function",
    "retired",
    "other",
]
"""In the order of the codes 1 to 9 and Z."""


@pytest.fixture
def world() -> ExtractBuilder:
    """An empty extract but for regions, with one teacher so that no table is empty that may not be."""
    builder = ExtractBuilder()
    builder.staff("Somebody", builder.school(5))
    builder.pupil("Anybody")
    return builder


def works(world: ExtractBuilder, tmp_path: Path) -> Worked:
    """Write a world and work it."""
    return work(world.write(tmp_path / "extract"), tmp_path / "cut")


def account(worked: Worked, nama: str, regulation: str = NEWEST) -> dict:
    """The only desired account of somebody."""
    (row,) = worked.desired(regulation).filter(pl.col("registered") == nama).rows(named=True)
    return row


@pytest.fixture(scope="module")
def everybody(tmp_path_factory) -> Worked:
    """A pupil of every grade 0 to 13 and one without, an educator, a head, an operator and a librarian in every jenjang."""
    builder = ExtractBuilder()
    for jenjang, form in FORMS.items():
        school = builder.school(form)
        for grade in range(14):
            builder.pupil(f"Pupil {jenjang} {grade}", school, grade)
        builder.pupil(f"Pupil {jenjang} none", school)
        builder.staff(f"Educator {jenjang}", school)
        builder.head(f"Head {jenjang}", school)
        builder.operator(f"Operator {jenjang}", school)
        builder.staff(f"Librarian {jenjang}", school, kind=40)
    folder = tmp_path_factory.mktemp("everybody")
    return work(builder.write(folder / "extract"), folder / "cut", parts=2)


@pytest.mark.parametrize("regulation", REGULATIONS)
@pytest.mark.parametrize("jenjang", [jenjang for jenjang in FORMS if jenjang != "paud"])
def test_pupils_are_eligible_by_grade(everybody, regulation, jenjang):
    """Every grade of every jenjang under every regulation; without a class nobody is."""
    for grade in range(14):
        reason = "pupil-eligible" if grade in ELIGIBLE_GRADES[regulation][jenjang] else "grade-outside-regulation"
        standing, role = ("active", "pupil") if reason == "pupil-eligible" else ("ineligible", None)
        assert everybody.verdict(f"Pupil {jenjang} {grade}", regulation) == [(jenjang, standing, role, reason)]
    assert everybody.verdict(f"Pupil {jenjang} none", regulation) == [(jenjang, "ineligible", None, "no-class")]


@pytest.mark.parametrize("regulation", REGULATIONS)
def test_paud_pupils_need_no_class_and_have_no_account_in_2020(everybody, regulation):
    """The later texts name PAUD without a grade; the circular of 2020 does not name it."""
    eligible = [("paud", "active", "pupil", "pupil-eligible")]
    outside = [("paud", "ineligible", None, "jenjang-outside-regulation")]
    for who in ("Pupil paud 1", "Pupil paud none"):
        assert everybody.verdict(who, regulation) == (outside if regulation == "se-37-2020" else eligible)


@pytest.mark.parametrize("regulation", REGULATIONS)
@pytest.mark.parametrize("jenjang", FORMS)
def test_staff_are_eligible_by_duty(everybody, regulation, jenjang):
    """Educators, heads and operators; a librarian under none."""
    named = not (regulation == "se-37-2020" and jenjang == "paud")
    for who, role, reason in [
        ("Educator", "guru", "educator"),
        ("Head", "admin", "head"),
        ("Operator", "admin", "operator"),
    ]:
        expected = (
            (jenjang, "active", role, f"{reason}-eligible")
            if named
            else (jenjang, "ineligible", None, "jenjang-outside-regulation")
        )
        assert everybody.verdict(f"{who} {jenjang}", regulation) == [expected]
    outside = (jenjang, "ineligible", None, "staff-outside-regulation")
    assert everybody.verdict(f"Librarian {jenjang}", regulation) == [outside]


def test_an_active_account_has_every_attribute_and_another_none(everybody):
    """Attributes stand only where an account should exist; the key is the marker and the jenjang's byte."""
    desired = everybody.desired().drop("registered")
    assert desired.schema == DESIRED
    assert desired["account_key"].is_sorted()
    assert not desired["account_key"].is_duplicated().any()
    for row in desired.rows(named=True):
        values = [row[name] for name in (*ACCOUNT_ATTRIBUTES, "role", "nama", "accepted_domains")]
        assert all(value is not None for value in values) if row["standing"] == "active" else values == [None] * 10
        assert len(row["account_key"]) == 17
        assert row["account_key"][16] == JENJANG_CODE[row["jenjang"]]
        assert row["kode_kabkota"] == "026100"
        assert row["reason"] in set(ReasonCode)


def test_domains_and_units_follow_jenjang_and_role(everybody):
    """The domain is the table's, the unit province, kabupaten or kota, and role; pupils are not listed."""
    table = {row.jenjang.value: row for row in domains().domains}
    units = {"pupil": "Siswa", "guru": "Guru", "admin": "Admin"}
    for row in everybody.desired().filter(pl.col("standing") == "active").rows(named=True):
        assert row["domain"] == getattr(table[row["jenjang"]], row["role"])
        assert row["ou_path"] == f"/Jawa Barat/Kota Bandung/{units[row['role']]}"
        assert row["listed"] == (row["role"] != "pupil")
        assert row["suspended"] is False
        older = ["pendidik.kesetaraan.belajar.id"] if (row["jenjang"], row["role"]) == ("kesetaraan", "guru") else []
        assert row["accepted_domains"] == older


def test_one_person_has_one_account_a_jenjang(world, tmp_path):
    """Two schools of one jenjang share an account; two jenjang are two accounts; admin beats guru in the same jenjang only."""
    sd, sd_too, smp = world.school(5), world.school(5), world.school(6)
    shared = world.staff("Two Schools", sd)
    world.assign(shared, sd_too)
    both = world.staff("Two Jenjang", sd)
    world.assign(both, smp)
    head = world.head("Head And Teacher", sd)
    world.assign(head, sd_too)
    world.assign(head, smp)
    operator = world.staff("Teacher And Operator", sd)
    world.operator("Teacher And Operator", sd, ptk=operator)
    worked = works(world, tmp_path)
    assert worked.verdict("Two Schools") == [("sd", "active", "guru", "educator-eligible")]
    guru_smp = ("smp", "active", "guru", "educator-eligible")
    assert worked.verdict("Two Jenjang") == [("sd", "active", "guru", "educator-eligible"), guru_smp]
    assert worked.verdict("Head And Teacher") == [("sd", "active", "admin", "head-eligible"), guru_smp]
    assert worked.verdict("Teacher And Operator") == [("sd", "active", "admin", "operator-eligible")]


def test_the_school_is_the_admins_then_home_then_earliest_then_lowest_npsn(world, tmp_path):
    """The choice does not depend on the order of rows."""
    first, second, third = (world.school(5, npsn=npsn) for npsn in ("10000001", "10000002", "10000003"))
    head = world.staff("Head Elsewhere", first)
    world.assign(head, third, kind=20, ptk_induk=0)
    world.post(head, third)
    home = world.staff("At Home")
    world.assign(home, first, ptk_induk=0, tmt_tugas=date(2000, 1, 1))
    world.assign(home, second, ptk_induk=1, tmt_tugas=date(2020, 1, 1))
    earliest = world.staff("Earliest")
    world.assign(earliest, first, tmt_tugas=None)
    world.assign(earliest, second, tmt_tugas=date(2020, 1, 1))
    world.assign(earliest, third, tmt_tugas=date(2019, 1, 1))
    lowest = world.staff("Lowest")
    for school in (third, first, second):
        world.assign(lowest, school)
    worked = works(world, tmp_path)
    chosen = {nama: account(worked, nama)["npsn"] for nama in ("Head Elsewhere", "At Home", "Earliest", "Lowest")}
    assert chosen == {"Head Elsewhere": "10000003", "At Home": "10000002", "Earliest": "10000003", "Lowest": "10000001"}


def test_a_school_that_cannot_have_accounts_gives_way_to_one_that_can(world, tmp_path):
    """Closed, deleted, without NPSN or outside belajar.id: a reason, and no step; another school of the jenjang still counts."""
    sd, smp = world.school(5, npsn="10000009"), world.school(6)
    closed, deleted = world.school(5, keaktifan=0), world.school(5, soft_delete=1)
    unnumbered, damaged = world.school(5, npsn=None), world.school(5, npsn="2,01E+07")
    madrasah, unknown = world.school(9), world.school(53)
    for nama, school in [
        ("Closed", closed),
        ("Deleted", deleted),
        ("No Number", unnumbered),
        ("Damaged Number", damaged),
    ]:
        world.pupil(nama, school, 3)
    for nama, school in [("Madrasah", madrasah), ("Unknown Form", unknown)]:
        world.pupil(nama, school, 3)
    teacher = world.staff("Closed And Open", closed)
    world.assign(teacher, sd)
    moved = world.pupil("Went To Madrasah", madrasah, 7)
    world.register(moved, smp, exit_code="2")
    worked = works(world, tmp_path)
    for nama, reason in [
        ("Closed", "school-closed"),
        ("Deleted", "school-closed"),
        ("No Number", "school-without-npsn"),
        ("Damaged Number", "school-without-npsn"),
    ]:
        assert worked.verdict(nama) == [("sd", "ineligible", None, reason)]
    for nama in ("Madrasah", "Unknown Form"):
        assert worked.verdict(nama) == []
    assert account(worked, "Closed And Open")["npsn"] == "10000009"
    assert worked.verdict("Went To Madrasah") == [("smp", "leaver", None, "left-transferred")]
    said = person_verdicts(worked.records.people, worked.records.duties, worked.desired())
    outside = said.filter(pl.col("reason") == "form-outside-belajar-id")
    assert outside.height == 2


@pytest.mark.parametrize(
    ("code", "reason"),
    list(zip("123456789Z", LEAVINGS, strict=True)),
)
def test_an_exit_code_makes_a_leaver(world, tmp_path, code, reason):
    """Pupils and staff, each code with its reason; the slice of the guards stays known."""
    school = world.school(5, kode_wilayah="026001")
    world.register(world.pupil("Pupil"), school, exit_code=code, tanggal_keluar=date(2024, 6, 30))
    world.assign(world.staff("Teacher"), school, jenis_keluar_id=code)
    worked = works(world, tmp_path)
    for nama in ("Pupil", "Teacher"):
        assert worked.verdict(nama) == [("sd", "leaver", None, f"left-{reason}")]
        assert account(worked, nama)["kode_kabkota"] == "026000"


def test_nobody_leaves_a_jenjang_they_still_have_a_duty_in(world, tmp_path):
    """A transfer inside a jenjang is an active pupil; one who is back but in no class, or a stale teacher, is no leaver."""
    sd, sd_too, smp = world.school(5), world.school(5), world.school(6)
    moved = world.pupil("Moved", sd_too, 4)
    world.register(moved, sd, exit_code="2")
    graduated = world.pupil("Graduated", smp, 7)
    world.register(graduated, sd, exit_code="1")
    back = world.pupil("Back Without Class", sd_too)
    world.register(back, sd, exit_code="4")
    closed = world.pupil("At A Closed School", world.school(5, keaktifan=0), 4)
    world.register(closed, sd, exit_code="2")
    both = world.staff("Stale And Left")
    world.assign(both, sd, year=2023, jenis_keluar_id="2")
    world.assign(both, sd_too, year=2023)
    teacher = world.staff("Left And Operator")
    world.assign(teacher, sd, jenis_keluar_id="9")
    world.operator("Left And Operator", sd_too, ptk=teacher)
    former = world.staff("Left, Role Expired")
    world.assign(former, sd, jenis_keluar_id="9")
    world.operator("Left, Role Expired", sd_too, ptk=former, tgl_kadaluwarsa=date(2024, 1, 1))
    worked = works(world, tmp_path)
    assert worked.verdict("Moved") == [("sd", "active", "pupil", "pupil-eligible")]
    assert worked.verdict("Graduated") == [
        ("sd", "leaver", None, "left-graduated"),
        ("smp", "active", "pupil", "pupil-eligible"),
    ]
    assert worked.verdict("Back Without Class") == [("sd", "ineligible", None, "no-class")]
    assert worked.verdict("At A Closed School") == [("sd", "ineligible", None, "school-closed")]
    assert worked.verdict("Stale And Left") == [("sd", "ineligible", None, "stale-year")]
    assert worked.verdict("Left And Operator") == [("sd", "active", "admin", "operator-eligible")]
    assert worked.verdict("Left, Role Expired") == [("sd", "leaver", None, "left-retired")]


def test_the_latest_end_gives_the_reason(world, tmp_path):
    """A dated end beats an undated one; the slice is that of the school left last."""
    sd, far = world.school(5), world.school(5, kode_wilayah="026001")
    pupil = world.pupil("Left Twice")
    world.register(pupil, sd, exit_code="2", tanggal_keluar=date(2023, 1, 1))
    world.register(pupil, far, exit_code="5", tanggal_keluar=date(2024, 1, 1))
    world.register(pupil, sd, exit_code="6")
    worked = works(world, tmp_path)
    assert worked.verdict("Left Twice") == [("sd", "leaver", None, "left-dropped-out")]
    assert account(worked, "Left Twice")["kode_kabkota"] == "026000"


def test_absence_is_no_departure(world, tmp_path):
    """No duty at all, a role that ended, an assignment of last year: no leaver."""
    sd = world.school(5)
    world.pupil("No Registration")
    world.operator("Role Expired", sd, tgl_kadaluwarsa=date(2024, 1, 1))
    world.assign(world.staff("Last Year"), sd, year=2023)
    worked = works(world, tmp_path)
    assert worked.verdict("No Registration") == []
    assert worked.verdict("Role Expired") == [("sd", "ineligible", None, "operator-not-in-force")]
    assert worked.verdict("Last Year") == [("sd", "ineligible", None, "stale-year")]
    assert worked.desired().filter(pl.col("standing") == "leaver").is_empty()


def test_half_a_head_keeps_the_educators_account_and_says_why(world, tmp_path):
    """The loudest complaint is a head without an admin account: the reason names the missing half."""
    sd = world.school(5)
    world.post(world.staff("Duty Only", sd), sd)
    world.staff("Type Only", sd, kind=20)
    worked = works(world, tmp_path)
    assert worked.verdict("Duty Only") == [("sd", "active", "guru", "head-without-head-type")]
    assert worked.verdict("Type Only") == [("sd", "ineligible", None, "head-without-head-type")]


def test_a_damaged_row_neither_suspends_nor_demotes(world, tmp_path):
    """While a row about a duty is set aside nobody can say whether the person left or is a head; a repeated row says nothing new."""
    sd, smp = world.school(5), world.school(6)
    moved = world.pupil("Moved To Nowhere")
    world.register(moved, sd, exit_code="2")
    world.register(moved, world.new_id())
    head = world.staff("Damaged Head", sd)
    world.assign(head, smp)
    world.post(head, sd, soft_delete=None)
    acting = world.head("Head Beyond Doubt", sd)
    world.post(acting, sd, soft_delete=None)
    pupil = world.pupil("Active Pupil", sd, 3)
    world.register(pupil, sd, exit_code="Q")
    twice = world.pupil("Left, Row Repeated")
    world.tables["registrasi_peserta_didik"].append(world.register(twice, sd, exit_code="1") | {})
    worked = works(world, tmp_path)
    held = ("ineligible", None, "rows-set-aside")
    assert worked.verdict("Moved To Nowhere") == [("sd", *held)]
    assert worked.verdict("Damaged Head") == [("sd", *held), ("smp", *held)]
    assert worked.verdict("Head Beyond Doubt") == [("sd", "active", "admin", "head-eligible")]
    assert worked.verdict("Active Pupil") == [("sd", "active", "pupil", "pupil-eligible")]
    assert worked.verdict("Left, Row Repeated") == [("sd", "leaver", None, "left-graduated")]


@pytest.mark.parametrize("damage", ["expiry", "kind", "school", "user", "two-users", "repeated"])
def test_a_damaged_role_does_not_demote_an_operator(world, tmp_path, damage):
    """A teacher whose operator's role cannot be read keeps the account that is there; a repeated row says nothing new."""
    school = world.school(5)
    teacher = world.staff("Teacher And Operator", school)
    world.operator("Teacher And Operator", school, ptk=teacher)
    world.staff("Teacher", school)
    user, role = world.tables["pengguna"][-1], world.tables["role_pengguna"][-1]
    if damage == "user":
        user["aktif"] = None
    elif damage == "two-users":
        world.tables["pengguna"].append(user | {"nama": "Other"})
    elif damage == "repeated":
        world.tables["role_pengguna"].append(role | {})
    elif damage == "kind":
        role["peran_id"] = None
    elif damage == "school":
        role["sekolah_id"] = world.new_id()
    folder = world.write(tmp_path / "extract")
    if damage == "expiry":
        world.frame("role_pengguna").with_columns(tgl_kadaluwarsa=pl.lit("soon")).write_parquet(
            folder / "role_pengguna.parquet"
        )
    worked = work(folder, tmp_path / "cut", parts=2)
    admin, held = ("sd", "active", "admin", "operator-eligible"), ("sd", "ineligible", None, "rows-set-aside")
    assert worked.verdict("Teacher And Operator") == [admin if damage == "repeated" else held]
    assert worked.verdict("Teacher") == [("sd", "active", "guru", "educator-eligible")]


def test_people_who_may_be_one_get_no_step_until_somebody_decides(world, tmp_path):
    """Neither a second account nor a suspension, in no jenjang."""
    sd, smp = world.school(5), world.school(6)
    world.pupil("First", smp, 7, nisn="3129999999")
    second = world.pupil("Second", smp, 7, nisn="3129999999")
    world.register(second, sd, exit_code="1")
    worked = works(world, tmp_path)
    held = ("ineligible", None, "suspected-duplicate")
    assert worked.verdict("First") == [("smp", *held)]
    assert worked.verdict("Second") == [("sd", *held), ("smp", *held)]


def test_names_on_the_account_have_no_titles(world, tmp_path):
    """The user ID is made from the same name; a single word is both fields."""
    school = world.school(5)
    world.staff("Drs. H. AHMAD FAUZI, M.Pd", school)
    world.pupil("slamet", school, 3)
    worked = works(world, tmp_path)
    names = ["nama", "given_name", "family_name"]
    assert [account(worked, "Drs. H. AHMAD FAUZI, M.Pd")[name] for name in names] == ["Ahmad Fauzi", "Ahmad", "Fauzi"]
    assert [account(worked, "slamet")[name] for name in names] == ["Slamet"] * 3


def test_units_are_named_for_the_directory_and_come_after_those_above(tmp_path):
    """The register's prefix goes, characters a path may not have become hyphens, and each tenant gets its own units."""
    builder = tiny_builder()
    for row in builder.tables["mst_wilayah"]:
        row["nama"] = {"Prov. Jawa Barat": "Prov. D.K.I./Jakarta", "Kota Bandung": " Kota <Bandung> + #1 "}.get(
            row["nama"], row["nama"]
        )
    builder.pupil("In Bogor", builder.school(5, kode_wilayah="026001"), 3)
    units = with_units_above(works(builder, tmp_path).desired().rename({"jenjang": "tenant"}))
    paths = units.filter(pl.col("tenant") == "sd")["ou_path"].to_list()
    city = "/D.K.I.-Jakarta/Kota -Bandung- - -1"
    assert paths == ["/D.K.I.-Jakarta", "/D.K.I.-Jakarta/Kab. Bogor", city, "/D.K.I.-Jakarta/Kab. Bogor/Siswa"] + [
        f"{city}/{role}" for role in ("Admin", "Guru", "Siswa")
    ]
    assert units["tenant"].n_unique() == 7
    assert units.filter(pl.col("tenant") == "smk").height == 5


def test_everybody_has_exactly_one_verdict(everybody):
    """Quarantined, excluded and planned are the people read."""
    for regulation in REGULATIONS:
        said = person_verdicts(everybody.records.people, everybody.records.duties, everybody.desired(regulation))
        assert said["person_id"].sort().equals(everybody.records.people["person_id"].sort())
        counted = verdicts(said, everybody.counts)
        for kind in ("peserta_didik", "ptk"):
            assert counted.filter(pl.col("person_kind") == kind)["people"].sum() == everybody.counts[kind].accepted


def test_deleted_people_are_counted_with_a_reason(world, tmp_path):
    """They are rows that were read and make no person."""
    world.pupil("Deleted", world.school(5), 3, soft_delete=1)
    worked = works(world, tmp_path)
    said = verdicts(person_verdicts(worked.records.people, worked.records.duties, worked.desired()), worked.counts)
    assert ("peserta_didik", "ineligible", "record-deleted", 1) in said.rows()
    assert ("peserta_didik", "ineligible", "no-duty", 1) in said.rows()


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), regulation=st.sampled_from(REGULATIONS))
def test_desired_accounts_do_not_depend_on_the_order_of_people_or_duties(seed, regulation, everybody):
    """Shuffled frames give the same bytes."""
    chance = random.Random(seed)  # noqa: S311 - test data
    records = everybody.records
    mixed = {
        name: getattr(records, name).sample(fraction=1, shuffle=True, seed=chance.randrange(2**32))
        for name in ("people", "duties")
    }
    other = Worked(
        everybody.extract,
        everybody.reference,
        type(records)(**(vars(records) | mixed)),
        everybody.quarantine,
        everybody.counts,
        everybody.doubts,
    )
    assert other.desired(regulation).equals(everybody.desired(regulation))


def test_an_empty_part_gives_empty_tables(everybody):
    """More parts than people is allowed."""
    records = everybody.records
    nobody = type(records)(**(vars(records) | {"people": records.people.clear(), "duties": records.duties.clear()}))
    empty = Worked(
        everybody.extract, everybody.reference, nobody, everybody.quarantine, everybody.counts, everybody.doubts
    )
    assert empty.desired().drop("registered").schema == DESIRED
    assert empty.desired().is_empty()
    assert with_units_above(empty.desired().rename({"jenjang": "tenant"})).is_empty()
