"""Populations: what `create` writes, that it holds together, and that every kind of dirt has its share."""

from __future__ import annotations

import hashlib
import json
import math
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from belajarid_recon.errors import InputError, ReconError, SettingsError
from belajarid_recon.population.create import DEMO_REGIONS, CreateRequest, create_population, soil_schools
from belajarid_recon.population.names import read_numbers, read_shipped
from belajarid_recon.population.places import load_places
from belajarid_recon.population.pupils import PUPIL_KINDS
from belajarid_recon.population.randomness import Draws, uuid
from belajarid_recon.population.sizing import form_table, size_schools
from belajarid_recon.population.staff import STAFF_KINDS
from belajarid_recon.population.storage import Summary
from belajarid_recon.schemas import EXTRACT, ColumnKind, Jenjang

PEOPLE = 80_000
"""Two blocks, and enough people for the rarest dirt to be counted."""

FOREIGN_KEYS = (
    ("sekolah", "yayasan_id", "yayasan"),
    ("registrasi_peserta_didik", "peserta_didik_id", "peserta_didik"),
    ("registrasi_peserta_didik", "sekolah_id", "sekolah"),
    ("rombongan_belajar", "sekolah_id", "sekolah"),
    ("rombongan_belajar", "ptk_id", "ptk"),
    ("anggota_rombel", "rombongan_belajar_id", "rombongan_belajar"),
    ("anggota_rombel", "peserta_didik_id", "peserta_didik"),
    ("ptk_terdaftar", "ptk_id", "ptk"),
    ("ptk_terdaftar", "sekolah_id", "sekolah"),
    ("tugas_tambahan", "ptk_id", "ptk"),
    ("tugas_tambahan", "sekolah_id", "sekolah"),
    ("pengguna", "sekolah_id", "sekolah"),
    ("pengguna", "ptk_id", "ptk"),
    ("role_pengguna", "pengguna_id", "pengguna"),
    ("role_pengguna", "sekolah_id", "sekolah"),
)


def read_table(folder: Path, table: str) -> pl.DataFrame:
    """Read a table of a population, one file or many."""
    single = folder / f"{table}.parquet"
    return pl.read_parquet(single if single.exists() else sorted((folder / table).glob("*.parquet")))


def read_truth(folder: Path) -> pl.DataFrame:
    """Read a population's truth, with `dirt` as a list."""
    truth = pl.read_parquet(sorted((folder / "truth").glob("*.parquet")))
    return truth.with_columns(dirt=pl.col("dirt").str.split(" ").list.drop_nulls())


def assert_keys_hold(tables: dict[str, pl.DataFrame]) -> None:
    """Primary keys are unique and foreign keys found, both without regard to case."""
    keys = {table: tables[table][next(iter(EXTRACT[table]))].str.to_lowercase() for table in EXTRACT}
    for table, column in keys.items():
        assert column.n_unique() == len(column), table
    for table, column, target in FOREIGN_KEYS:
        values = tables[table].select(key=pl.col(column).drop_nulls().str.to_lowercase())
        assert values.join(keys[target].alias("key").to_frame(), on="key", how="anti").is_empty(), (table, column)


def folder_digest(folder: Path) -> dict[str, str]:
    """SHA-256 of every file, by its path in the folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@dataclass(frozen=True)
class Populated:
    """A population on disk and in memory."""

    folder: Path
    summary: Summary
    tables: dict[str, pl.DataFrame]
    truth: pl.DataFrame

    def with_jenjang(self, table: str) -> pl.DataFrame:
        """A table with its school's `bentuk` and `jenjang`."""
        schools = self.tables["sekolah"].select("sekolah_id", bentuk=pl.col("bentuk_pendidikan_id").cast(pl.UInt8))
        forms = schools.join(form_table().select("bentuk", "jenjang"), on="bentuk")
        return self.tables[table].join(forms, on="sekolah_id")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Populated:
    """The two demo cities with `PEOPLE` people."""
    folder = tmp_path_factory.mktemp("population") / "week-1"
    summary = create_population(CreateRequest(out=folder, people=PEOPLE, seed=5))
    return Populated(folder, summary, {table: read_table(folder, table) for table in EXTRACT}, read_truth(folder))


def test_twelve_tables_have_the_registers_columns_and_types(world: Populated) -> None:
    """Each table has the columns of the schema in the types a database export gives them."""
    accepted = {
        ColumnKind.UUID: (pl.String,),
        ColumnKind.TEXT: (pl.String,),
        ColumnKind.CODE: (pl.Int32, pl.Int64),
        ColumnKind.FLAG: (pl.Int32, pl.Boolean),
        ColumnKind.DATE: (pl.Date,),
    }
    for table, columns in EXTRACT.items():
        for column, kind in columns.items():
            assert world.tables[table].schema[column] in accepted[kind], (table, column)
            if kind is ColumnKind.UUID:
                shaped = (
                    world.tables[table][column]
                    .drop_nulls()
                    .str.contains("^(?i)[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
                )
                assert shaped.all(), (table, column)
    assert world.tables["peserta_didik"].schema["soft_delete"] == pl.Int32


def test_counts_in_summary_manifest_and_files_agree(world: Populated) -> None:
    """The summary counts the rows that the files hold, and extract.json says the same of each file."""
    document = json.loads((world.folder / "extract.json").read_text())
    assert document["blocks"] == 2
    for table, rows in world.tables.items():
        listed = document["tables"][table]
        assert world.summary.rows[table] == rows.height == listed["rows"]
        assert rows.height == sum(
            pl.scan_parquet(world.folder / name).select(pl.len()).collect().item() for name in listed["files"]
        )
    assert document["semester"] == world.summary.semester == "20261"


def test_people_are_exactly_as_many_as_asked_for(world: Populated) -> None:
    """True persons in truth are the people asked for; rows of doubles come on top and point at their true person."""
    truth = world.truth
    true = truth.filter(pl.col("person_id") == pl.col("true_person_id"))
    assert world.summary.people == true.height == PEOPLE
    doubles = truth.filter(pl.col("person_id") != pl.col("true_person_id"))
    assert doubles.join(true, left_on="true_person_id", right_on="person_id", how="anti").is_empty()
    for kind, table in (("peserta_didik", "peserta_didik_id"), ("ptk", "ptk_id")):
        known = world.tables[kind].select(person_id=table)
        assert known.join(truth.filter(pl.col("person_kind") == kind), on="person_id", how="anti").is_empty()


def test_keys_hold(world: Populated) -> None:
    """Nothing refers to a row that is not there, and region codes are found in the region table once they are trimmed."""
    assert_keys_hold(world.tables)
    regions = world.tables["mst_wilayah"].select(kode=pl.col("kode_wilayah").str.strip_chars())
    for table in ("sekolah", "peserta_didik", "yayasan"):
        codes = world.tables[table].select(kode=pl.col("kode_wilayah").str.strip_chars())
        assert codes.join(regions, on="kode", how="anti").is_empty(), table
    parents = world.tables["mst_wilayah"].select(kode=pl.col("mst_kode_wilayah").str.strip_chars()).drop_nulls()
    assert parents.join(regions, on="kode", how="anti").is_empty()


def test_every_pupil_in_a_class_is_in_one_class_of_the_school_and_semester(world: Populated) -> None:
    """Regular classes of the semester hold each pupil once, at the school of the registration, in a size schools have."""
    tables = world.tables
    regular = tables["rombongan_belajar"].filter((pl.col("jenis_rombel") == 1) & (pl.col("semester_id") == "20261"))
    seats = tables["anggota_rombel"].join(regular, on="rombongan_belajar_id")
    assert seats["peserta_didik_id"].is_unique().all()
    registered = tables["registrasi_peserta_didik"].with_columns(pl.col("peserta_didik_id").str.to_lowercase())
    assert seats.join(registered, on=["peserta_didik_id", "sekolah_id"], how="anti").is_empty()
    sizes = seats.group_by("rombongan_belajar_id").len()["len"]
    assert 15 < float(sizes.mean() or 0) < 30
    assert int(sizes.max() or 0) <= 40


def test_grades_fit_the_form_of_the_school(world: Populated) -> None:
    """SD has grades 1 to 6, SMP 7 to 9, SMA 10 to 12, SMK also 13, SLB and Kesetaraan 1 to 12, PAUD its groups."""
    classes = world.with_jenjang("rombongan_belajar")
    grades = {
        jenjang: set(rows["tingkat_pendidikan_id"])
        for (jenjang,), rows in classes.group_by("jenjang", maintain_order=True)
    }
    assert grades["sd"] == set(range(1, 7))
    assert grades["smp"] == {7, 8, 9}
    assert grades["sma"] == {10, 11, 12}
    assert {10, 11, 12} <= grades["smk"] <= {10, 11, 12, 13}
    assert grades["slb"] == grades["kesetaraan"] == set(range(1, 13))
    assert grades["paud"] == {71, 72}


def test_ages_and_numbers_follow_from_birth_and_sex(world: Populated) -> None:
    """NISN starts with the birth year, NIK carries birth date and sex, and ages fit the grade."""
    pupils = world.tables["peserta_didik"].filter(pl.col("kewarganegaraan") == "ID")
    with_nisn = pupils.filter(pl.col("nisn").is_not_null())
    assert (with_nisn["nisn"].str.slice(0, 3) == with_nisn["tanggal_lahir"].dt.strftime("%Y").str.slice(1)).all()
    clean = world.truth.filter(~pl.col("dirt").list.contains("shared_nik")).select(peserta_didik_id="person_id")
    own = pupils.join(clean, on="peserta_didik_id").filter(~pl.col("nik").str.contains("^(0{16}|9{16})$"))
    day = own["tanggal_lahir"].dt.day() + own["jenis_kelamin"].replace_strict({"P": 40, "L": 0}, return_dtype=pl.Int8)
    assert (own["nik"].str.slice(6, 2).cast(pl.Int8) == day).all()
    assert (own["nik"].str.slice(8, 4) == own["tanggal_lahir"].dt.strftime("%m%y")).all()
    ages = pupils.select(age=(pl.lit(date(2026, 7, 1)) - pl.col("tanggal_lahir")).dt.total_days() / 365.25)["age"]
    assert float(ages.min() or 0) > 0
    assert float(ages.max() or 0) < 40


def test_one_person_leads_each_school(world: Populated) -> None:
    """One running duty of head, manager or acting head a school; a head sits at the home school, PAUD and PKBM have managers."""
    duties = world.with_jenjang("tugas_tambahan").filter(pl.col("tst_tambahan").is_null())
    leads = duties.filter(pl.col("jabatan_ptk_id").is_in([2, 18, 30, 31, 33]))
    assert leads.height == world.tables["sekolah"].height
    assert leads["sekolah_id"].is_unique().all()
    assert set(leads.filter(pl.col("jenjang") == "paud")["jabatan_ptk_id"]) <= {30, 33}
    assert set(leads.filter(pl.col("bentuk") == 27)["jabatan_ptk_id"]) <= {18, 33}
    home = world.tables["ptk_terdaftar"].filter((pl.col("ptk_induk") == 1) & (pl.col("tahun_ajaran_id") == 2026))
    home = home.with_columns(pl.col("ptk_id").str.to_lowercase())
    heads = leads.filter(pl.col("jabatan_ptk_id") != 33)
    seated = heads.join(home, on=["ptk_id", "sekolah_id"], how="left")
    assert seated["jenis_ptk_id"].null_count() == 0
    assert (seated["jenis_ptk_id"] == 20).mean() > 0.9


def test_each_school_has_an_operator_and_few_lack_a_ptk_row(world: Populated) -> None:
    """One user with role 10 a school; about one in eight has no PTK row; other roles exist and mean nothing."""
    roles = world.tables["role_pengguna"].filter(pl.col("peran_id") == 10)
    assert roles["sekolah_id"].is_unique().all()
    assert roles.height == world.tables["sekolah"].height
    users = world.tables["pengguna"].join(roles.select("pengguna_id"), on="pengguna_id")
    assert 0.05 < users["ptk_id"].is_null().mean() < 0.22
    assert "password" not in world.tables["pengguna"].columns
    others = world.tables["role_pengguna"].filter(pl.col("peran_id") != 10)
    assert 0.03 < others.height / roles.height < 0.2


def test_addresses_and_phones_reach_nobody(world: Populated) -> None:
    """Mail addresses are under example.org and phone numbers in a prefix that is no mobile network's."""
    texts = [
        world.tables["peserta_didik"]["email"],
        world.tables["ptk"]["email"],
        world.tables["pengguna"]["username"],
    ]
    for column in texts:
        assert column.drop_nulls().str.ends_with("@example.org").all()
    for column in (world.tables["peserta_didik"]["nomor_telepon_seluler"], world.tables["ptk"]["no_hp"]):
        assert column.drop_nulls().str.contains(r"^(\+62 |0|62)800\d{8}$").all()


def within(count: int, share: float, total: int) -> bool:
    """Whether a count is what a share of the total gives, up to five standard deviations."""
    return abs(count - share * total) <= 5 * math.sqrt(max(share * (1 - share) * total, 1.0))


PUPIL_SHARES = read_numbers("dirt")["pupils"]
STAFF_SHARES = read_numbers("dirt")["staff"]
_APART = {"missing_nisn", "one_word"}
"""Kinds whose share is not one number of dirt.toml: by jenjang, and from the name model."""


@pytest.mark.parametrize("kind", [kind for kind in PUPIL_KINDS if kind not in _APART])
def test_pupil_dirt_has_its_share(world: Populated, kind: str) -> None:
    """Truth holds about the share of dirt.toml of each kind, among true pupils."""
    pupils = world.truth.filter(
        (pl.col("person_kind") == "peserta_didik") & (pl.col("person_id") == pl.col("true_person_id"))
    )
    count = int(pupils["dirt"].list.contains(kind).sum())
    assert count > 0
    assert within(count, PUPIL_SHARES[kind], pupils.height)


@pytest.mark.parametrize("kind", [kind for kind in STAFF_KINDS if kind in STAFF_SHARES])
def test_staff_dirt_has_its_share(world: Populated, kind: str) -> None:
    """Truth holds about the share of dirt.toml of each kind; second schools and exits concern plain teachers only."""
    staff = world.truth.filter(pl.col("person_kind") == "ptk")
    count = int(staff["dirt"].list.contains(kind).sum())
    plain = 0.75 if kind in ("two_schools", "two_jenjang", "left_already") else 1.0
    tolerance = 0.35 if plain < 1 else 0.0
    expected = STAFF_SHARES[kind] * plain * staff.height
    assert within(count, STAFF_SHARES[kind] * plain, staff.height) or abs(count - expected) <= tolerance * expected


def people_with(world: Populated, kind: str, table: str) -> pl.DataFrame:
    """Rows of a person table whose truth names a kind of dirt."""
    key = f"{table}_id"
    chosen = world.truth.filter(pl.col("dirt").list.contains(kind)).select("true_person_id", **{key: "person_id"})
    return world.tables[table].join(chosen, on=key)


def test_missing_and_filler_numbers_are_what_truth_says(world: Populated) -> None:
    """Null NISN, null NIK and filler NIK in the tables are exactly the rows that truth names."""
    pupils = world.tables["peserta_didik"]
    named = people_with(world, "missing_nisn", "peserta_didik")
    assert named.height == pupils["nisn"].null_count() == named["nisn"].null_count()
    jenjang = world.with_jenjang("registrasi_peserta_didik").filter(pl.col("jenis_keluar_id").is_null())
    by = jenjang.with_columns(pl.col("peserta_didik_id").str.to_lowercase()).join(pupils, on="peserta_didik_id")
    paud = by.filter(pl.col("jenjang") == "paud")
    assert within(paud["nisn"].null_count(), PUPIL_SHARES["missing_nisn_paud"], paud.height)
    rest = by.filter(pl.col("jenjang") != "paud")
    assert within(rest["nisn"].null_count(), PUPIL_SHARES["missing_nisn"], rest.height)
    filler = pupils.filter(pl.col("nik").is_in(["0" * 16, "9" * 16]))
    assert set(filler["nik"]) == {"0" * 16, "9" * 16}
    assert filler.height <= people_with(world, "filler_nik", "peserta_didik").height


def test_no_number_is_on_two_people_by_accident(world: Populated) -> None:
    """A NIK or NISN on two rows is dirt that truth names: shared, or the same child typed twice."""
    pupils = world.tables["peserta_didik"].join(
        world.truth.select(peserta_didik_id="person_id", true="true_person_id"), on="peserta_didik_id"
    )
    nisn = pupils.filter(pl.col("nisn").is_not_null()).group_by("nisn").agg(people=pl.col("true").n_unique())
    assert (nisn["people"] == 1).all()
    staff = world.tables["ptk"].select("nik", true="ptk_id")
    shared = world.truth.filter(pl.col("dirt").list.contains("shared_nik")).select(
        true="person_id", shared=pl.lit(value=True)
    )
    every = pl.concat([pupils.select("nik", "true"), staff]).filter(~pl.col("nik").is_in(["0" * 16, "9" * 16]))
    people = (
        every.unique()
        .join(shared, on="true", how="left")
        .group_by("nik")
        .agg(own=pl.col("shared").is_null().sum(), borrowers=pl.col("shared").sum())
    )
    assert (people["own"] <= 1).all()
    assert int(people.filter(pl.col("own") == 1)["borrowers"].sum()) > 0


def test_a_child_typed_twice_is_two_rows_of_one_child(world: Populated) -> None:
    """Both rows have the NISN and birth date, some at another school of the same form, each with a registration of its own."""
    doubles = world.truth.filter(pl.col("person_id") != pl.col("true_person_id"))
    pupils = world.tables["peserta_didik"]
    pairs = doubles.join(pupils, left_on="person_id", right_on="peserta_didik_id").join(
        pupils, left_on="true_person_id", right_on="peserta_didik_id", suffix="_true"
    )
    assert pairs.height == doubles.height
    for column in ("tanggal_lahir", "nama", "nama_ibu_kandung"):
        assert (pairs[column] == pairs[f"{column}_true"]).all()
    assert pairs["nisn"].eq_missing(pairs["nisn_true"]).all()
    running = world.tables["registrasi_peserta_didik"].filter(pl.col("jenis_keluar_id").is_null())
    where = running.select("sekolah_id", key=pl.col("peserta_didik_id").str.to_lowercase())
    both = doubles.join(where, left_on="person_id", right_on="key").join(
        where, left_on="true_person_id", right_on="key", suffix="_true"
    )
    assert both.height == doubles.height
    elsewhere = int((both["sekolah_id"] != both["sekolah_id_true"]).sum())
    assert 0.3 < elsewhere / both.height < 0.7


def test_name_dirt_is_in_the_names(world: Populated) -> None:
    """Titles, accents, apostrophes, very long names, cases and double blanks are where truth says, and one-word names as modelled."""
    titles = r"(?i)(^(drs|hj|h|dr|dra|ust|r)\. |s\.?\s?pd|m\.pd|a\.ma|s\.e$)"
    for table in ("peserta_didik", "ptk"):
        single = ~pl.col("nama").str.contains(r"  | $")
        assert people_with(world, "title_in_name", table)["nama"].str.contains(titles).all()
        assert people_with(world, "double_blank", table).filter(single).is_empty()
        lower = people_with(world, "lower_case", table)["nama"]
        assert (lower == lower.str.to_lowercase()).all()
    upper = people_with(world, "upper_case", "peserta_didik")["nama"]
    assert (upper == upper.str.to_uppercase()).all()
    assert (people_with(world, "long_name", "peserta_didik")["nama"].str.len_chars() >= 60).all()
    assert people_with(world, "apostrophe", "peserta_didik")["nama"].str.contains("'", literal=True).all()
    assert people_with(world, "diacritic", "peserta_didik")["nama"].str.contains("[^\\x00-\\x7F]").any()
    true = world.truth.filter(pl.col("person_id") == pl.col("true_person_id"))
    for kind, share in (("peserta_didik", 0.03), ("ptk", 0.20)):
        people = true.filter(pl.col("person_kind") == kind)
        assert within(int(people["dirt"].list.contains("one_word").sum()), share, people.height)


def test_a_teacher_at_two_schools_has_two_rows(world: Populated) -> None:
    """One home row and one other, in the same jenjang or in two; stale rows are of the year before."""
    rows = world.with_jenjang("ptk_terdaftar").with_columns(pl.col("ptk_id").str.to_lowercase())
    year = rows.filter(pl.col("tahun_ajaran_id") == 2026)
    assert set(rows["tahun_ajaran_id"]) == {2025, 2026}
    for kind, jenjang in (("two_schools", 1), ("two_jenjang", 2)):
        chosen = year.join(people_with(world, kind, "ptk").select("ptk_id"), on="ptk_id")
        each = chosen.group_by("ptk_id").agg(
            pl.len(), pl.col("sekolah_id", "jenjang").n_unique(), pl.col("ptk_induk").sum()
        )
        assert each.height > 0
        assert (each["len"] == 2).all()
        assert (each["sekolah_id"] == 2).all()
        assert (each["jenjang"] == jenjang).all()
        assert (each["ptk_induk"] == 1).all()


def test_leaving_and_having_no_class_are_what_truth_says(world: Populated) -> None:
    """Pupils without a class and people already gone are exactly those that truth names."""
    registrations = world.tables["registrasi_peserta_didik"].with_columns(pl.col("peserta_didik_id").str.to_lowercase())
    running = registrations.filter(pl.col("jenis_keluar_id").is_null())
    gone = people_with(world, "left_already", "peserta_didik").select("peserta_didik_id")
    assert gone.join(running, on="peserta_didik_id").is_empty()
    everybody = world.tables["peserta_didik"].select("peserta_didik_id")
    assert everybody.join(running, on="peserta_didik_id", how="anti").height == gone.height
    regular = world.tables["rombongan_belajar"].filter(
        (pl.col("jenis_rombel") == 1) & (pl.col("semester_id") == "20261")
    )
    seated = world.tables["anggota_rombel"].join(regular, on="rombongan_belajar_id")
    unseated = running.join(seated, on="peserta_didik_id", how="anti")
    assert set(unseated["peserta_didik_id"]) == set(people_with(world, "no_class", "peserta_didik")["peserta_didik_id"])
    stale = world.tables["rombongan_belajar"].filter(pl.col("semester_id") == "20252")
    assert (
        world.tables["anggota_rombel"].join(stale, on="rombongan_belajar_id").height
        == people_with(world, "stale_class", "peserta_didik").height
    )
    extra = world.tables["rombongan_belajar"].filter(pl.col("jenis_rombel") == 51)
    assert (
        world.tables["anggota_rombel"].join(extra, on="rombongan_belajar_id").height
        == people_with(world, "extracurricular", "peserta_didik").height
    )


def test_ids_are_in_upper_case_on_some_rows_only(world: Populated) -> None:
    """References in upper case are those of the people truth names; a person's own id is always in lower case."""
    for table, person in (("registrasi_peserta_didik", "peserta_didik"), ("ptk_terdaftar", "ptk")):
        rows = world.tables[table][f"{person}_id"]
        shouted = rows.filter(rows != rows.str.to_lowercase())
        named = people_with(world, "upper_uuid", person)[f"{person}_id"]
        assert set(shouted.str.to_lowercase()) == set(named)
        own = world.tables[person][f"{person}_id"]
        assert (own == own.str.to_lowercase()).all()


def test_school_dirt_has_its_share() -> None:
    """Over all shipped schools: no NPSN, NP codes, padded regions and closed schools in the shares of dirt.toml."""
    shares = read_numbers("dirt")["schools"]
    schools = soil_schools(load_places(("all",), None, None).schools, shares, Draws(1, "schools"))
    assert within(schools["npsn"].null_count(), shares["no_npsn"], schools.height)
    assert within(int(schools["npsn"].str.starts_with("NP").sum()), shares["np_code"], schools.height)
    padded = schools["kode_wilayah"].str.ends_with("  ")
    assert within(int(padded.sum()), shares["padded_region"], schools.height)
    assert (schools["kode_wilayah"].str.len_chars() == 8).all()
    assert within(int((~schools["keaktifan"]).sum()), shares["closed"], schools.height)


def test_head_dirt_has_its_share(world: Populated) -> None:
    """Acting heads, heads not typed as head, and ended terms are there in about their shares."""
    heads, schools = read_numbers("dirt")["heads"], world.tables["sekolah"].height
    kinds = world.truth["dirt"].explode().value_counts()
    counts = dict(kinds.iter_rows())
    duties = world.tables["tugas_tambahan"]
    acting = duties.filter(pl.col("jabatan_ptk_id") == 33)
    assert within(acting.height, heads["acting_head"], schools)
    assert counts["acting_head"] == acting.height
    assert within(counts["head_without_type"], heads["head_without_type"] * 0.95, schools)
    ended = duties.filter(pl.col("tst_tambahan").is_not_null())
    assert ended.height == counts["ended_head_term"]
    assert within(ended.height, heads["ended_head_term"], schools)


def test_operator_roles_expire_and_lack_approval_rarely(world: Populated) -> None:
    """Expired and unapproved operator roles have about their shares."""
    shares = read_numbers("dirt")["operators"]
    roles = world.tables["role_pengguna"].filter(pl.col("peran_id") == 10)
    expired = roles.filter(pl.col("tgl_kadaluwarsa") < date(2026, 11, 15))
    assert expired.height == roles.height - roles["tgl_kadaluwarsa"].null_count() > 0
    assert within(expired.height, shares["role_expired"], roles.height)
    assert within(int((~roles["approval_peran"]).sum()), shares["not_approved"], roles.height)


def test_synthesised_units_collide_with_no_real_school() -> None:
    """PAUD, PKBM and SKB units have codes and ids of their own, always the same ones, in real subdistricts."""
    first = load_places(("all",), None, None).schools
    units = first.filter(pl.col("npsn").str.starts_with("8"))
    assert set(units["bentuk"]) == {1, 2, 3, 4, 27, 40}
    real = read_shipped("schools")
    assert units.join(real, on="npsn").is_empty()
    assert first["sekolah_id"].is_unique().all()
    assert units["npsn"].str.contains("^8[0-9]{7}$").all()
    again = load_places(("Kota Yogyakarta",), None, None).schools
    assert again.join(first, on=["npsn", "sekolah_id", "nama"], how="anti").is_empty()


def test_sizes_follow_the_published_means() -> None:
    """At their natural size schools of each form have the published mean of pupils, within a tenth, and teachers to match."""
    schools = load_places(("all",), None, None).schools
    forms = form_table()
    expected = (
        schools.join(forms, on="bentuk")
        .select((pl.col("pupils_mean") * (1 + 1 / pl.col("pupils_per_teacher"))).sum())
        .item()
    )
    sized = size_schools(schools, int(expected * 1.01), Draws(1, "sizing")).schools
    means = sized.group_by("bentuk").agg(
        pl.col("pupils").mean(), pl.col("teachers").sum() / pl.col("pupils").sum(), pl.len()
    )
    joined = means.join(forms, on="bentuk").filter(pl.col("len") > 100)
    assert ((joined["pupils"] / joined["pupils_mean"] - 1).abs() < 0.10).all()
    large = joined.filter(pl.col("pupils_mean") > 100)  # the smallest units have two teachers whatever the ratio
    ratio = large["teachers"] * large["pupils_per_teacher"]
    assert ((ratio - 1).abs() < 0.12).all()
    pupils = dict(sized.group_by("jenjang").agg(pl.col("pupils").sum()).iter_rows())
    assert pupils["sd"] > pupils["smp"] > pupils["sma"] > pupils["slb"]


@settings(max_examples=12, deadline=None)
@given(people=st.integers(min_value=300, max_value=500_000), seed=st.integers(min_value=0, max_value=2**63))
def test_any_number_of_people_is_met_exactly(people: int, seed: int) -> None:
    """Pupils, staff and operators without a PTK row add up to the people asked for, in schools of all seven jenjang."""
    sizing = size_schools(load_places(DEMO_REGIONS, None, None).schools, people, Draws(seed, "sizing"))
    total = sizing.schools.select(pl.col("pupils", "teachers", "support", "outside_operator").sum()).row(0)
    assert sum(total) == people
    assert set(sizing.schools["jenjang"]) == {jenjang.value for jenjang in Jenjang}
    assert int(sizing.schools["pupils"].min() or 0) >= 1
    assert sizing.blocks == sizing.schools["block"].n_unique()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(min_value=0, max_value=2**64), share=st.floats(min_value=0.0, max_value=1.0))
def test_draws_keep_to_their_bounds_and_shares(seed: int, share: float) -> None:
    """Any seed gives draws inside their bounds, events in about their share, and ids of version 4 that do not repeat."""
    rows, draws = pl.DataFrame({"row": pl.int_range(4_000, eager=True)}), Draws(seed, "test")
    drawn = rows.select(
        below=draws.below("a", 7), happens=draws.happens("b", share), unit=draws.unit("c"), uuid=uuid(draws, "d")
    )
    assert set(drawn["below"]) == set(range(7))
    assert within(int(drawn["happens"].sum()), share, rows.height)
    assert drawn["unit"].is_between(0, 1, closed="left").all()
    assert drawn["uuid"].is_unique().all()
    assert drawn["uuid"].str.contains("^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$").all()


_CHILD = """
import re, sys
from pathlib import Path
from belajarid_recon.population.create import CreateRequest, create_population
create_population(CreateRequest(out=Path(sys.argv[1]), people=int(sys.argv[2]), seed=5))
# VmHWM and not ru_maxrss: the latter starts at the size of the process that started this one.
print(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text()).group(1))
"""


def run_child(out: Path, people: int, threads: int) -> int:
    """Create a population in another process; returns its peak resident size in KiB."""
    environment = os.environ | {"POLARS_MAX_THREADS": str(threads), "PYTHONHASHSEED": "7"}
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, str(out), str(people)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout)


def test_same_seed_gives_same_bytes_in_another_process(world: Populated, tmp_path: Path) -> None:
    """Another process with one thread writes the same files, byte for byte."""
    run_child(tmp_path / "again", PEOPLE, threads=1)
    assert folder_digest(tmp_path / "again") == folder_digest(world.folder)


def test_memory_does_not_grow_with_the_people(tmp_path: Path) -> None:
    """Five blocks need no more memory than two, and less than half a gigabyte."""
    small = run_child(tmp_path / "small", 100_000, threads=2)
    large = run_child(tmp_path / "large", 250_000, threads=2)
    assert large < small * 1.25
    assert large < 500_000


def test_another_seed_gives_other_people_at_the_same_schools(tmp_path: Path) -> None:
    """Seeds change people, never the schools' identities."""
    for seed in (1, 2):
        create_population(CreateRequest(out=tmp_path / str(seed), people=2_000, seed=seed, regions=("Kota Salatiga",)))
    one, two = (read_table(tmp_path / str(seed), "peserta_didik") for seed in (1, 2))
    assert one.join(two, on="peserta_didik_id").is_empty()
    every = load_places(("Kota Salatiga",), None, None).schools
    schools = read_table(tmp_path / "1", "sekolah")
    assert schools.join(every, on="sekolah_id", how="anti").is_empty()


def test_progress_ends_at_the_people_asked_for(tmp_path: Path) -> None:
    """Progress is told as people made of people asked for."""
    told: list[tuple[int, int]] = []
    create_population(
        CreateRequest(out=tmp_path / "out", people=1_000, progress=lambda made, all_: told.append((made, all_)))
    )
    assert told[-1] == (1_000, 1_000)


def test_a_list_of_schools_from_outside_serves_regions_that_are_not_shipped(tmp_path: Path) -> None:
    """With --schools and a regions CSV, schools of any regency can be used."""
    shipped = read_shipped("schools").filter(pl.col("kode_kec").str.starts_with("0361"))
    names = {5: "SD", 6: "SMP", 7: "SDLB", 8: "SMPLB", 13: "SMA", 14: "SMLB", 15: "SMK", 29: "SLB"}
    listed = shipped.select(
        "npsn", "nama", "sekolah_id",
        bentuk=pl.col("bentuk").replace_strict(names, return_dtype=pl.String),
        status=pl.when("negeri").then(pl.lit("N")).otherwise(pl.lit("S")),
        kode_kec=pl.lit("2260") + pl.col("kode_kec").str.slice(4),
    )  # fmt: skip
    listed.write_parquet(tmp_path / "schools.parquet")
    regions = read_shipped("regions").filter(pl.col("kode_kec").str.starts_with("2260")).drop("nik_region", "schools")
    regions.write_csv(tmp_path / "regions.csv")
    request = CreateRequest(
        out=tmp_path / "out",
        people=2_000,
        regions=("Kota Denpasar",),
        schools_file=tmp_path / "schools.parquet",
        regions_file=tmp_path / "regions.csv",
    )
    assert create_population(request).people == 2_000
    assert read_table(tmp_path / "out", "peserta_didik")["nama"].str.contains("(?i)^(ni|i) ").any()


@pytest.mark.parametrize(
    ("change", "kind", "says"),
    [
        ({"regions": ("Kota Surakrta",)}, SettingsError, "Kota Surakarta"),
        ({"regions": ("Kota Bandung",)}, SettingsError, "--schools"),
        ({"regions": ("",)}, SettingsError, "kode_kab"),
        ({"people": 10_000_000}, SettingsError, "more regions"),
        ({"people": 12}, SettingsError, "more people"),
        ({"schools_file": Path("no-such-file.parquet")}, InputError, "Parquet"),
        ({"regions_file": Path("no-such-file.csv")}, InputError, "CSV"),
    ],
)  # fmt: skip
def test_what_cannot_be_made_is_refused_before_anything_is_written(
    tmp_path: Path, change: dict[str, object], kind: type[ReconError], says: str
) -> None:
    """One clear message with a remedy, and no folder."""
    request = replace(CreateRequest(out=tmp_path / "out", people=1_000), **change)  # type: ignore[arg-type]
    with pytest.raises(kind) as caught:
        create_population(request)
    assert says in caught.value.hint
    assert not (tmp_path / "out").exists()


def test_a_damaged_list_of_schools_is_refused(tmp_path: Path) -> None:
    """Bytes that are no Parquet, and Parquet without the columns, are input errors."""
    (tmp_path / "noise.parquet").write_bytes(b"PAR1 this is no table PAR1")
    pl.DataFrame({"npsn": ["1"]}).write_parquet(tmp_path / "thin.parquet")
    for name in ("noise", "thin"):
        with pytest.raises(InputError):
            create_population(
                CreateRequest(out=tmp_path / "out", people=1_000, schools_file=tmp_path / f"{name}.parquet")
            )


def test_an_occupied_folder_is_left_as_it_is(tmp_path: Path) -> None:
    """A population never mixes with what is there."""
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        create_population(CreateRequest(out=tmp_path, people=1_000))
    assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]
