"""A week of a population: what `advance` touches, what it leaves alone, and the planted bad slice."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from belajarid_recon.errors import InputError, ReconError, SettingsError
from belajarid_recon.population.advance import AdvanceRequest, Plant, advance_population
from belajarid_recon.population.create import CreateRequest, create_population
from belajarid_recon.population.sizing import form_table
from belajarid_recon.population.storage import Summary
from belajarid_recon.schemas import EXTRACT
from test_population import assert_keys_hold, folder_digest, read_table, read_truth

PEOPLE = 80_000
REGENCY = "046000"
SHARE = 0.2


@dataclass(frozen=True)
class Weeks:
    """A population, its next week, and the same week with a planted bad slice."""

    folder: Path
    summary: Summary
    before: dict[str, pl.DataFrame]
    after: dict[str, pl.DataFrame]
    truth: pl.DataFrame

    def happened(self, event: str) -> pl.DataFrame:
        """The people an event happened to: `person`."""
        return self.truth.filter(pl.col("event") == event).select(person="person_id")


def lowered(table: pl.DataFrame, column: str) -> pl.DataFrame:
    """Add `person`, the lower-case id."""
    return table.with_columns(person=pl.col(column).str.to_lowercase())


@pytest.fixture(scope="module")
def weeks(tmp_path_factory: pytest.TempPathFactory) -> Weeks:
    """Two weeks of the demo cities."""
    folder = tmp_path_factory.mktemp("weeks")
    create_population(CreateRequest(out=folder / "1", people=PEOPLE, seed=9))
    summary = advance_population(AdvanceRequest(folder / "1", folder / "2"))
    advance_population(AdvanceRequest(folder / "1", folder / "planted", plant=Plant(REGENCY, SHARE)))
    tables = [{table: read_table(folder / week, table) for table in EXTRACT} for week in ("1", "2")]
    return Weeks(folder, summary, tables[0], tables[1], read_truth(folder / "2"))


def test_about_half_a_percent_of_people_are_touched(weeks: Weeks) -> None:
    """Three to eight in a thousand, and truth counts the events that the summary counts."""
    touched = weeks.truth.filter(pl.col("event") != "")
    assert 0.003 < touched.height / weeks.truth.height < 0.008
    assert dict(touched.group_by("event").len().iter_rows()) == weeks.summary.events
    assert {
        "transfer",
        "left",
        "moved_away",
        "name_corrected",
        "entered",
        "retyped",
        "staff_retired",
        "staff_entered",
    } <= set(weeks.summary.events)


def test_the_week_is_dated_and_counted(weeks: Weeks) -> None:
    """Seven days later, with the rows and the people that the files hold."""
    document = json.loads((weeks.folder / "2" / "extract.json").read_text())
    assert document["date"] == "2026-11-22"
    assert weeks.summary.day == date(2026, 11, 22)
    for table, rows in weeks.after.items():
        assert weeks.summary.rows[table] == rows.height == document["tables"][table]["rows"]
    true = weeks.truth.filter(pl.col("person_id") == pl.col("true_person_id"))
    assert weeks.summary.people == true.height == document["people"]


def test_keys_hold_after_the_week(weeks: Weeks) -> None:
    """New rows refer to what is there, and ids stay unique."""
    assert_keys_hold(weeks.after)


def test_people_the_week_left_alone_have_the_same_rows(weeks: Weeks) -> None:
    """Whoever has no event has the same person, registration, class and assignment rows as before."""
    touched = weeks.truth.filter(pl.col("event") != "").select(person="person_id")
    columns = {"peserta_didik": "peserta_didik_id", "registrasi_peserta_didik": "peserta_didik_id", "anggota_rombel": "peserta_didik_id",
               "ptk": "ptk_id", "ptk_terdaftar": "ptk_id", "tugas_tambahan": "ptk_id"}  # fmt: skip
    for table, column in columns.items():
        old, new = (
            lowered(tables[table], column).join(touched, on="person", how="anti")
            for tables in (weeks.before, weeks.after)
        )
        assert old.equals(new), table
    for table in ("sekolah", "yayasan", "mst_wilayah", "rombongan_belajar"):
        assert weeks.before[table].equals(weeks.after[table])


def test_a_transfer_ends_one_registration_and_begins_another(weeks: Weeks) -> None:
    """Code 2 and a day of the week at the old school; a running registration and a class of the same grade at another of the jenjang."""
    moved = weeks.happened("transfer")
    forms = form_table().select("bentuk", "jenjang")
    schools = (
        weeks.after["sekolah"]
        .select("sekolah_id", bentuk=pl.col("bentuk_pendidikan_id").cast(pl.UInt8))
        .join(forms, on="bentuk")
    )
    rows = (
        lowered(weeks.after["registrasi_peserta_didik"], "peserta_didik_id")
        .join(moved, on="person")
        .join(schools, on="sekolah_id")
    )
    ended = rows.filter((pl.col("jenis_keluar_id") == "2") & (pl.col("tanggal_keluar") > date(2026, 11, 15)))
    running = rows.filter(pl.col("jenis_keluar_id").is_null())
    assert ended.height == running.height == moved.height > 0
    pairs = ended.join(running, on="person", suffix="_new")
    assert (pairs["sekolah_id"] != pairs["sekolah_id_new"]).all()
    assert (pairs["jenjang"] == pairs["jenjang_new"]).all()
    assert (pairs["tanggal_keluar"] <= date(2026, 11, 22)).all()
    grades = [grades_of(tables, moved) for tables in (weeks.before, weeks.after)]
    assert grades[0].join(grades[1], on=["person", "grade"]).height == moved.height
    assert grades[1].height == moved.height


def grades_of(tables: dict[str, pl.DataFrame], people: pl.DataFrame) -> pl.DataFrame:
    """Grade of each person's live membership in a regular class of the semester."""
    classes = tables["rombongan_belajar"].filter((pl.col("jenis_rombel") == 1) & (pl.col("semester_id") == "20261"))
    members = lowered(tables["anggota_rombel"].filter(pl.col("soft_delete") == 0), "peserta_didik_id").join(
        people, on="person"
    )
    return members.join(classes, on="rombongan_belajar_id").select("person", grade="tingkat_pendidikan_id")


def test_leavers_have_an_exit_code_of_the_week(weeks: Weeks) -> None:
    """Nobody who left has a running registration; the code is not that of a transfer, but for those who moved away."""
    for event, codes in (("left", {"3", "4", "5", "6", "7", "Z"}), ("moved_away", {"2"})):
        gone = weeks.happened(event)
        rows = lowered(weeks.after["registrasi_peserta_didik"], "peserta_didik_id").join(gone, on="person")
        assert rows.filter(pl.col("jenis_keluar_id").is_null()).is_empty()
        fresh = rows.filter(pl.col("tanggal_keluar") > date(2026, 11, 15))
        assert fresh.height == gone.height
        assert set(fresh["jenis_keluar_id"]) <= codes


def test_a_corrected_name_changes_the_person_row_only(weeks: Weeks) -> None:
    """Each corrected name differs from before, and nothing else of the row does."""
    for event, table in (("name_corrected", "peserta_didik"), ("staff_name_corrected", "ptk")):
        key = f"{table}_id"
        people = weeks.happened(event)
        old, new = (
            lowered(tables[table], key).join(people, on="person").sort(key) for tables in (weeks.before, weeks.after)
        )
        assert old.height == people.height > 0
        assert (old["nama"] != new["nama"]).all()
        assert old.drop("nama").equals(new.drop("nama"))


def test_a_transfer_that_was_typed_makes_a_second_person(weeks: Weeks) -> None:
    """The typed child has the NISN and birth date of the true one, whose registration has ended, and truth ties the two."""
    doubles = weeks.truth.filter(pl.col("event") == "retyped_double")
    assert doubles.height == weeks.happened("retyped").height > 0
    pupils = weeks.after["peserta_didik"].select("peserta_didik_id", "nisn", "tanggal_lahir")
    pairs = doubles.join(pupils, left_on="person_id", right_on="peserta_didik_id").join(
        pupils, left_on="true_person_id", right_on="peserta_didik_id", suffix="_true"
    )
    assert pairs["nisn"].eq_missing(pairs["nisn_true"]).all()
    assert (pairs["tanggal_lahir"] == pairs["tanggal_lahir_true"]).all()


def test_entrants_are_new_people_in_a_class(weeks: Weeks) -> None:
    """Entrants were not there before, have one running registration and one class, and numbers of their own."""
    entered = weeks.happened("entered")
    assert entered.join(weeks.before["peserta_didik"], left_on="person", right_on="peserta_didik_id").is_empty()
    rows = lowered(weeks.after["registrasi_peserta_didik"], "peserta_didik_id").join(entered, on="person")
    assert rows.height == entered.height
    assert grades_of(weeks.after, entered).height == entered.height
    people = weeks.after["peserta_didik"].join(entered, left_on="peserta_didik_id", right_on="person")
    old = weeks.before["peserta_didik"]
    assert people.filter(pl.col("nisn").is_not_null()).join(old, on="nisn").is_empty()


def test_a_school_still_has_one_head_after_a_change(tmp_path: Path) -> None:
    """Heads return to teaching, teachers take over, operators change; each school keeps one leader and one operator."""
    create_population(CreateRequest(out=tmp_path / "0", people=40_000, seed=2))
    events: dict[str, int] = {}
    for week in range(4):
        summary = advance_population(AdvanceRequest(tmp_path / str(week), tmp_path / str(week + 1)))
        for event, count in summary.events.items():
            events[event] = events.get(event, 0) + count
    assert {"became_head", "returned_to_teaching", "became_operator", "operator_ended", "staff_transferred"} <= set(
        events
    )
    tables = {table: read_table(tmp_path / "4", table) for table in EXTRACT}
    assert_keys_hold(tables)
    leads = tables["tugas_tambahan"].filter(
        pl.col("jabatan_ptk_id").is_in([2, 18, 30, 31, 33]) & pl.col("tst_tambahan").is_null()
    )
    assert leads["sekolah_id"].is_unique().all()
    assert leads.height == tables["sekolah"].height
    new = leads.filter(pl.col("tmt_tambahan") > date(2026, 11, 15))
    year = lowered(tables["ptk_terdaftar"], "ptk_id").filter(
        (pl.col("tahun_ajaran_id") == 2026) & (pl.col("ptk_induk") == 1)
    )
    typed = new.join(year, left_on=["ptk_id", "sekolah_id"], right_on=["person", "sekolah_id"])
    assert typed.height == new.height > 0
    assert (typed["jenis_ptk_id"] == 20).all()
    operators = tables["role_pengguna"].filter((pl.col("peran_id") == 10) & pl.col("tgl_kadaluwarsa").is_null())
    assert operators["sekolah_id"].is_unique().all()


def test_the_plant_changes_only_the_planted_rows(weeks: Weeks) -> None:
    """The share of the regency's active pupils gets a false exit code; every other file and row is that of the plain week."""
    plain, planted = folder_digest(weeks.folder / "2"), folder_digest(weeks.folder / "planted")
    differing = {name.split("/")[0] for name in plain if plain[name] != planted[name]}
    assert differing == {"registrasi_peserta_didik", "truth", "extract.json"}
    truth = read_truth(weeks.folder / "planted")
    chosen = truth.filter(pl.col("event") == "planted").select(person="person_id")
    assert truth.filter(pl.col("event") != "planted").equals(
        weeks.truth.join(chosen, left_on="person_id", right_on="person", how="anti")
    )
    old = lowered(weeks.after["registrasi_peserta_didik"], "peserta_didik_id")
    new = lowered(read_table(weeks.folder / "planted", "registrasi_peserta_didik"), "peserta_didik_id")
    changed = old["jenis_keluar_id"].ne_missing(new["jenis_keluar_id"])
    assert set(new.filter(changed)["person"]) == set(chosen["person"])
    assert old.filter(~changed).equals(new.filter(~changed))
    assert set(new.filter(changed)["jenis_keluar_id"]) == {"1"}
    inside = weeks.after["sekolah"].filter(pl.col("kode_wilayah").str.starts_with(REGENCY[:4])).select("sekolah_id")
    assert new.filter(changed).join(inside, on="sekolah_id", how="anti").is_empty()
    active = old.filter(pl.col("jenis_keluar_id").is_null() & (pl.col("soft_delete") == 0)).join(
        inside, on="sekolah_id"
    )
    assert abs(chosen.height - SHARE * active["person"].n_unique()) <= 2


def test_the_same_week_has_the_same_bytes_and_another_seed_has_not(weeks: Weeks, tmp_path: Path) -> None:
    """A week follows from population and seed."""
    told: list[tuple[int, int]] = []
    advance_population(
        AdvanceRequest(
            weeks.folder / "1", tmp_path / "again", progress=lambda done, people: told.append((done, people))
        )
    )
    assert told[-1] == (PEOPLE, PEOPLE)
    assert folder_digest(tmp_path / "again") == folder_digest(weeks.folder / "2")
    other = advance_population(AdvanceRequest(weeks.folder / "1", tmp_path / "other", seed=10))
    assert other.events != weeks.summary.events


def test_a_week_into_another_semester_is_refused(tmp_path: Path) -> None:
    """New semesters need new classes: a clear message, and nothing written."""
    create_population(CreateRequest(out=tmp_path / "1", people=1_000, day=date(2026, 12, 28)))
    with pytest.raises(SettingsError, match="semester"):
        advance_population(AdvanceRequest(tmp_path / "1", tmp_path / "2"))
    assert not (tmp_path / "2").exists()


@pytest.mark.parametrize(
    ("plant", "says"),
    [(Plant("010100", 0.3), "no schools"), (Plant("046000", 0.0), "share"), (Plant("046000", 1.5), "share")],
)
def test_a_plant_that_cannot_be_is_refused(weeks: Weeks, tmp_path: Path, plant: Plant, says: str) -> None:
    """A regency without schools and a share outside (0, 1] are settings errors."""
    with pytest.raises(SettingsError, match=says):
        advance_population(AdvanceRequest(weeks.folder / "1", tmp_path / "out", plant=plant))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("damage", ["missing", "garbled", "old-format", "truncated-part"])
def test_a_folder_that_is_no_population_is_refused(tmp_path: Path, damage: str) -> None:
    """Missing or garbled manifest, another format, a torn file: one message that names the place."""
    source = tmp_path / "1"
    if damage != "missing":
        create_population(CreateRequest(out=source, people=1_000))
    manifest = source / "extract.json"
    if damage == "garbled":
        manifest.write_text("{")
    if damage == "old-format":
        manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"format": 0}))
    if damage == "truncated-part":
        part = source / "peserta_didik.parquet"
        part.write_bytes(part.read_bytes()[:-40])
    with pytest.raises(InputError) as caught:
        advance_population(AdvanceRequest(source, tmp_path / "2"))
    assert isinstance(caught.value, ReconError)
    assert str(source) in caught.value.message
    assert caught.value.hint
