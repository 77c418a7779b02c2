"""Sources: an extract is found and checked whole before anything else runs."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import orjson
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from belajarid_recon.errors import ExitStatus, InputError
from belajarid_recon.schemas import EXTRACT
from belajarid_recon.sources.extract import open_extract
from extract_builder import tiny_builder, tiny_extract


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A whole tiny extract."""
    return tiny_extract(tmp_path / "extract")


def refusal(folder: Path) -> str:
    """The message of the refusal; the files stay as they were."""
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(InputError) as caught:
        open_extract(folder)
    assert caught.value.exit_status is ExitStatus.INPUT_REFUSED
    assert caught.value.hint
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    return caught.value.message


def test_an_extract_is_described_by_files_rows_and_digests(folder):
    """Rows come from the footers, digests from the bytes, sorted by relative path."""
    extract = open_extract(folder)
    assert set(extract.tables) == set(EXTRACT)
    assert extract.rows["peserta_didik"] == 14
    assert extract.rows["yayasan"] == 0
    assert list(extract.digests) == sorted(extract.digests)
    ptk = folder / "ptk.parquet"
    assert extract.digests["ptk.parquet"] == hashlib.sha256(ptk.read_bytes()).hexdigest()


def test_a_table_may_be_a_folder_of_parts_of_different_physical_types(folder):
    """Parts are sorted by name, and one may hold as text what another holds as numbers."""
    whole = pl.read_parquet(folder / "registrasi_peserta_didik.parquet")
    (folder / "registrasi_peserta_didik.parquet").unlink()
    parts = folder / "registrasi_peserta_didik"
    parts.mkdir()
    whole[:5].write_parquet(parts / "b.parquet")
    whole[5:].cast({"soft_delete": pl.Boolean, "jenis_pendaftaran_id": pl.Float64}).write_parquet(parts / "a.parquet")
    (parts / "_SUCCESS").touch()
    extract = open_extract(folder)
    assert extract.rows["registrasi_peserta_didik"] == whole.height
    assert [path.name for path in extract.tables["registrasi_peserta_didik"]] == ["a.parquet", "b.parquet"]


def test_columns_no_rule_reads_are_ignored(folder):
    """The source has 3,486 columns; a password column among them is never looked at."""
    path = folder / "pengguna.parquet"
    pl.read_parquet(path).with_columns(password=pl.lit("x"), more=pl.lit([1])).write_parquet(path)
    assert open_extract(folder).rows["pengguna"] == 7


def test_a_missing_folder_or_table_is_refused_by_name(folder, tmp_path):
    """The message names what is missing and the hint how to add it."""
    assert "does not exist" in refusal(tmp_path / "nowhere")
    (folder / "ptk.parquet").unlink()
    assert "ptk: the table is missing" in refusal(folder)


def test_an_empty_folder_and_a_doubled_table_are_refused(folder):
    """A folder without Parquet files is a missing table; a file and a folder of one name are one too many."""
    (folder / "ptk").mkdir()
    assert "both ptk.parquet and a folder" in refusal(folder)
    (folder / "ptk.parquet").unlink()
    assert "ptk: the table is missing" in refusal(folder)


def test_a_missing_column_is_refused_with_file_and_column(folder):
    """The column is named with its file."""
    path = folder / "sekolah.parquet"
    pl.read_parquet(path).drop("npsn").write_parquet(path)
    assert "sekolah.parquet: column npsn is missing" in refusal(folder)


@pytest.mark.parametrize(
    ("table", "column", "wrong"),
    [
        ("sekolah", "npsn", pl.Series([1] * 7)),
        ("sekolah", "sekolah_id", pl.Series([1] * 7)),
        ("sekolah", "bentuk_pendidikan_id", pl.Series([True] * 7)),
        ("sekolah", "keaktifan", pl.Series([[1]] * 7)),
        ("peserta_didik", "tanggal_lahir", pl.Series([1.5] * 14)),
        ("peserta_didik", "nisn", pl.Series([b"1"] * 14)),
    ],
)
def test_a_wrong_type_is_refused_with_found_and_accepted_types(folder, table, column, wrong):
    """An NPSN as a number has lost its leading zeros already; the message says what is accepted instead."""
    path = folder / f"{table}.parquet"
    pl.read_parquet(path).with_columns(wrong.alias(column)).write_parquet(path)
    message = refusal(folder)
    assert f"{table}.parquet: column {column} has type" in message
    assert "accepted for a" in message


def test_a_key_without_any_value_is_refused(folder):
    """Rows nobody can be found for are no table; an untyped column elsewhere only has no values."""
    path = folder / "ptk_terdaftar.parquet"
    whole = pl.read_parquet(path)
    whole.with_columns(tmt_tugas=None).write_parquet(path)
    open_extract(folder)
    whole.with_columns(ptk_id=None).write_parquet(path)
    assert "ptk_terdaftar.parquet: column ptk_id has no value at all" in refusal(folder)
    posts = folder / "tugas_tambahan.parquet"  # a table without rows need not have types
    pl.read_parquet(posts).clear().with_columns(pl.lit(None).alias("ptk_id")).write_parquet(posts)
    whole.write_parquet(path)
    open_extract(folder)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda _: b"", "is empty (0 bytes)"),
        (lambda raw: raw[:-1], "truncated"),
        (lambda raw: raw[: len(raw) // 2], "truncated"),
        (lambda raw: raw[:4], "truncated"),
        (lambda raw: b"PK\x03\x04" + raw, "not Parquet"),
        (lambda _: b"nama,nisn\n", "not Parquet"),
        (lambda raw: raw[:-8] + b"\xff\xff\xff\x7fPAR1", "damaged"),
        (lambda raw: raw[:-1000] + bytes(992) + raw[-8:], "damaged"),
    ],
)
def test_a_damaged_file_is_refused_with_its_name(folder, damage, said):
    """Empty, truncated, of another format, or with a damaged footer: each is named as what it is."""
    path = folder / "anggota_rombel.parquet"
    path.write_bytes(damage(path.read_bytes()))
    message = refusal(folder)
    assert "anggota_rombel.parquet: " in message
    assert said in message


@pytest.mark.parametrize("table", ["sekolah", "mst_wilayah", "peserta_didik", "ptk"])
def test_headers_only_are_refused_where_no_country_is_empty(folder, table):
    """A table that is never empty in truth says that its export broke."""
    path = folder / f"{table}.parquet"
    pl.read_parquet(path).clear().write_parquet(path)
    assert f"{table}: the table has headers only" in refusal(folder)


def test_headers_only_pass_where_a_table_may_be_empty(tmp_path):
    """A city without foundations or extra duties is possible."""
    world = tiny_builder()
    for table in ("yayasan", "tugas_tambahan"):
        world.tables[table].clear()
    assert open_extract(world.write(tmp_path / "extract")).rows["tugas_tambahan"] == 0


def test_all_faults_are_told_at_once_and_bounded(folder):
    """One run of the command shows everything to mend; a flood is counted."""
    (folder / "yayasan.parquet").unlink()
    (folder / "pengguna.parquet").write_bytes(b"")
    message = refusal(folder)
    assert "yayasan: the table is missing" in message
    assert "pengguna.parquet: the file is empty" in message
    for table in EXTRACT:
        pl.DataFrame({"x": [1]}).write_parquet(folder / f"{table}.parquet")
    message = refusal(folder)
    assert message.count("is missing") == 20
    assert "more" in message


def test_the_manifest_must_agree_with_the_files(folder):
    """A part lost in transport shows in the manifest's count; a table it does not name is not compared."""
    rows = open_extract(folder).rows
    manifest = folder / "extract.json"
    manifest.write_bytes(
        orjson.dumps({"made": "x", "tables": {table: {"rows": count} for table, count in rows.items()}})
    )
    open_extract(folder)
    manifest.write_bytes(orjson.dumps({"tables": {"ptk": 15}}))
    assert "ptk: the manifest says 15 rows, the files have 14" in refusal(folder)
    for text in (b"{", b"[]", b'{"tables": [1]}', b'{"tables": {"ptk": {"count": 1}}}'):
        manifest.write_bytes(text)
        assert "manifest cannot be read" in refusal(folder)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.floats(0, 1, exclude_max=True))
def test_a_file_cut_anywhere_is_refused(folder, cut):
    """Wherever a copy breaks off, the file is named and nothing else happens."""
    path = folder / "ptk_terdaftar.parquet"
    whole = path.read_bytes()
    try:
        path.write_bytes(whole[: int(len(whole) * cut)])
        assert "ptk_terdaftar.parquet: the file is" in refusal(folder)
    finally:
        path.write_bytes(whole)


def test_the_digests_do_not_depend_on_where_the_folder_is(folder, tmp_path):
    """Relative paths and bytes only."""
    copy = Path(shutil.copytree(folder, tmp_path / "elsewhere"))
    assert open_extract(copy).digests == open_extract(folder).digests
