"""Sources: rows are cut into parts by person, and what cannot be keyed is set aside with its place."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from belajarid_recon.errors import InputError
from belajarid_recon.sources.extract import PERSON_KEYS, open_extract
from belajarid_recon.sources.parts import Cut, ShuffledExtract, shuffle_extract
from belajarid_recon.sources.tables import read_batches
from extract_builder import MARKER_KEY, tiny_builder, tiny_extract, work


def shuffled(folder: Path, scratch: Path, parts: int = 4, threads: int = 2) -> ShuffledExtract:
    """A shuffled extract."""
    return shuffle_extract(open_extract(folder), Cut(scratch, parts, MARKER_KEY, threads))


def test_every_row_is_in_one_part_with_all_of_its_person(tmp_path):
    """A person's rows of every table are in the part of the marker's top bits, each row once with its locator."""
    cut = shuffled(tiny_extract(tmp_path / "extract"), tmp_path / "cut")
    parts = [cut.read_part(number) for number in range(4)]
    for table in PERSON_KEYS:
        frames = [part.tables[table].frame for part in parts]
        assert sum(frame.height for frame in frames) == cut.extract.rows[table]
        whole = pl.concat(frames)
        assert sorted(whole["_row"]) == list(range(whole.height))
        for number, frame in enumerate(frames):
            assert {marker[0] >> 6 for marker in frame["_marker"]} <= {number}
    assert sum(part.operators.read for part in parts) == 7


def test_parts_of_a_table_may_differ_in_physical_type(tmp_path):
    """Text ids beside bytes, numbers beside text: the same people, and locators that name the right file."""
    folder = tiny_extract(tmp_path / "extract")
    whole = pl.read_parquet(folder / "ptk_terdaftar.parquet")
    plain = work(folder, tmp_path / "one").records
    (folder / "ptk_terdaftar.parquet").unlink()
    (folder / "ptk_terdaftar").mkdir()
    bare = whole[:4].with_columns(pl.col("ptk_id").str.replace_all("-", "").str.decode("hex"))
    text = whole[4:9].with_columns(pl.col("soft_delete").cast(pl.String), pl.col("tmt_tugas").cast(pl.String))
    broken = whole[9:].with_columns(soft_delete=pl.lit("?"))
    for name, frame in (("a", bare), ("b", text), ("c", whole.clear()), ("d", broken), ("e", whole[9:])):
        frame.write_parquet(folder / "ptk_terdaftar" / f"{name}.parquet")
    worked = work(folder, tmp_path / "two", parts=2)
    assert set(worked.quarantine["file"]) == {"ptk_terdaftar/d.parquet"}
    assert sorted(worked.quarantine["row"]) == list(range(broken.height))
    assert worked.records.duties.filter(pl.col("duty") != "unclear").height == plain.duties.height
    assert worked.records.people.sort("person_id").equals(plain.people.sort("person_id"))


def test_a_row_without_a_usable_person_is_set_aside(tmp_path):
    """Missing and unreadable keys, in a table of people and in one that points at them."""
    world = tiny_builder()
    world.tables["peserta_didik"][3]["peserta_didik_id"] = None
    world.tables["ptk_terdaftar"][5]["ptk_id"] = "not-a-uuid"
    worked = work(world.write(tmp_path / "extract"), tmp_path / "cut", parts=2)
    found = worked.quarantine.filter(pl.col("reason") == "person-id-unreadable").sort("table").rows()
    assert found == [
        ("peserta_didik", "peserta_didik.parquet", 3, "peserta_didik_id", "person-id-unreadable"),
        ("ptk_terdaftar", "ptk_terdaftar.parquet", 5, "ptk_id", "person-id-unreadable"),
    ]


def test_operators_are_people_by_ptk_or_by_user(tmp_path):
    """An operator who is a PTK is that person; another one is the user. Other roles and users are read and unused."""
    world = tiny_builder()
    school = world.tables["sekolah"][1]["sekolah_id"]
    teacher = world.staff("Guru Operator", school)
    world.operator("Guru Operator", school, ptk=teacher)
    world.operator("Pengawas", school, peran_id=8)
    worked = work(world.write(tmp_path / "extract"), tmp_path / "cut", parts=2)
    assert worked.verdict("Guru Operator") == [("sd", "active", "admin", "operator-eligible")]
    assert worked.verdict("Operator Sd") == [("sd", "active", "admin", "operator-eligible")]
    assert worked.records.people.filter(pl.col("nama") == "Pengawas").is_empty()
    assert worked.counts["role_pengguna"].unused == 1
    assert worked.counts["pengguna"].accepted == 9


def test_a_role_without_its_user_is_set_aside(tmp_path):
    """Whose role it was cannot be known."""
    world = tiny_builder()
    world.tables["pengguna"].pop(2)
    worked = work(world.write(tmp_path / "extract"), tmp_path / "cut")
    assert worked.reasons() == [("role_pengguna", "pengguna_id", "user-unknown")]
    assert worked.quarantine["row"].to_list() == [2]


def test_users_that_repeat_or_contradict_are_set_aside(tmp_path):
    """A repeated user is used once; two that differ are not used, and their roles have no user."""
    world = tiny_builder()
    users = world.tables["pengguna"]
    users.append(users[0] | {})
    users.append(users[1] | {"nama": "Somebody Else"})
    worked = work(world.write(tmp_path / "extract"), tmp_path / "cut")
    assert worked.reasons() == [
        ("pengguna", "pengguna_id", "row-contradicts"),
        ("pengguna", "pengguna_id", "row-contradicts"),
        ("pengguna", "pengguna_id", "row-repeated"),
        ("role_pengguna", "pengguna_id", "user-unknown"),
    ]


def test_a_role_takes_its_school_from_the_user_if_it_has_none(tmp_path):
    """The role's own school comes first."""
    world = tiny_builder()
    world.tables["role_pengguna"][0]["sekolah_id"] = None
    world.tables["role_pengguna"][1]["sekolah_id"] = None
    world.tables["pengguna"][1]["sekolah_id"] = None
    worked = work(world.write(tmp_path / "extract"), tmp_path / "cut")
    assert worked.verdict("Operator Paud") == [("paud", "active", "admin", "operator-eligible")]
    assert worked.reasons() == [("role_pengguna", "sekolah_id", "value-missing")]


def test_a_file_damaged_inside_is_refused_when_it_is_read(tmp_path):
    """The footer is whole, the pages are not: one message with the table, no traceback of the reader."""
    for table in ("anggota_rombel", "sekolah"):
        folder = tiny_extract(tmp_path / table)
        path = folder / f"{table}.parquet"
        raw = bytearray(path.read_bytes())
        raw[4:400] = b"\xff" * 396
        path.write_bytes(raw)
        with pytest.raises(InputError, match="damaged inside"):
            work(folder, tmp_path / f"cut-{table}")


def test_batches_cover_a_table_once_with_its_rows(tmp_path):
    """Reading in batches of any size gives every row once, in order."""
    extract = open_extract(tiny_extract(tmp_path / "extract"))
    for rows_max in (1, 3, 7, 14, 15, 1000):
        batches = list(read_batches(extract, "pengguna", rows_max=rows_max))
        assert [row for batch in batches for row in batch.frame["_row"]] == list(range(7))
        assert sum(batch.read for batch in batches) == 7
