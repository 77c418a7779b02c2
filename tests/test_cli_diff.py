"""`belajarid-recon diff`: what it shows, writes and refuses, and how it ends."""

from __future__ import annotations

import datetime
from pathlib import Path

import orjson
import polars as pl
import pytest
from typer.testing import CliRunner

from belajarid_recon.cli.diff import parse_normalisations, parse_size
from belajarid_recon.cli.main import app
from belajarid_recon.errors import ExitStatus, SettingsError
from endings import refused_with

SOURCE = pl.DataFrame(
    {
        "nik": ["3201", "3202", "3203", "3204"],
        "nama": ["Siti Rahma", "Budi Santoso", " Agus ", "Dewi"],
        "lahir": [datetime.date(2010, 1, day) for day in (1, 2, 3, 4)],
        "sidik": [b"\x01", b"\x02", None, b"\xff"],
    }
)
DIRECTORY = pl.DataFrame(
    {
        "nik": ["3202", "3203", "3204", "3205", "3206", "3206"],
        "nama": ["Budi Susanto", "Agus", "Dewi", "Rahasia", "Joko", "Joko"],
        "lahir": [datetime.date(2010, 1, day) for day in (2, 3, 4, 5, 6, 6)],
        "sidik": [b"\x03", None, b"\xff", b"\xee", None, None],
    }
)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """The two tables as files."""
    SOURCE.write_parquet(tmp_path / "source.parquet")
    DIRECTORY.write_parquet(tmp_path / "directory.parquet")
    return tmp_path / "source.parquet", tmp_path / "directory.parquet"


def type_in(files: tuple[Path, Path], *words: object):
    """The command as if typed."""
    return CliRunner().invoke(app, ["diff", *map(str, files), "--key", "nik", *map(str, words)])


def test_tables_that_agree_end_with_0(files):
    """A file against itself: nothing to show."""
    result = type_in((files[0], files[0]))
    assert result.exit_code == ExitStatus.DONE, result.output
    assert "Lines" not in result.stdout


def test_differences_end_with_8_and_show_no_values(files):
    """Keys and names of what differs are shown; values are not, unless asked."""
    result = type_in(files)
    assert result.exit_code == ExitStatus.WORK_REMAINS, result.output
    for words in ("3201", "3205", "duplicate-directory", "nama, sidik"):
        assert words in result.stdout
    assert not any(name in result.stdout for name in ("Siti Rahma", "Budi", "Rahasia"))
    with_values = type_in(files, "--values")
    assert "nama: Budi Susanto → Budi Santoso" in with_values.stdout
    assert "nama: Rahasia → null" in with_values.stdout
    assert "2010-01-05" in with_values.stdout


def test_few_lines_are_shown(files):
    """As many as asked; the rest are counted."""
    result = type_in(files, "--lines", 1)
    assert "3201" in result.stdout
    assert "3202" not in result.stdout
    assert "and 4 lines more" in result.stdout


def test_json_holds_counts_and_lines(files):
    """One document on stdout, without values unless asked, bytes as hexadecimal digits."""
    result = type_in(files, "--json")
    document = orjson.loads(result.stdout)
    counts = {
        "source_rows": 4,
        "directory_rows": 6,
        "common": 3,
        "unchanged": 1,
        "added": 1,
        "removed": 1,
        "changed": 2,
    }
    counts |= {"duplicate_source": 0, "duplicate_directory": 1, "lines": 5}
    assert document["counts"].items() >= counts.items()
    assert document["lines"][1] == {"kind": "changed", "key": "3202", "differs": ["nama", "sidik"], "count": 1}
    lines = orjson.loads(type_in(files, "--json", "--values").stdout)["lines"]
    assert lines[1]["before"] == {"nama": "Budi Susanto", "lahir": None, "sidik": "03"}
    assert lines[0]["before"] is None
    assert lines[0]["after"] == {"nama": "Siti Rahma", "lahir": "2010-01-01", "sidik": "01"}


def test_normalisations_and_attributes_are_taken(files):
    """What was typed is what is compared."""
    words = ("--attributes", "nama, lahir", "--normalise", "nama=trim-1,nfc-1", "--json", "--exact")
    counts = orjson.loads(type_in(files, *words).stdout)["counts"]
    assert (counts["changed"], counts["unchanged"]) == (1, 2)


def test_a_file_of_changes_is_written(files, tmp_path):
    """Parquet: every line, and the summary on stdout."""
    out = tmp_path / "changes.parquet"
    result = type_in(files, "--out", out, "--memory-limit", "256MiB", "--threads", 2, "--temporary-folder", tmp_path)
    assert result.exit_code == ExitStatus.WORK_REMAINS, result.output
    assert f"5 lines written to {out}" in result.stdout
    assert pl.read_parquet(out)["kind"].to_list() == ["added", "changed", "changed", "removed", "duplicate-directory"]


def test_json_lines_are_written(files, tmp_path):
    """One object a line, in the same order and with the same values as Parquet."""
    out = tmp_path / "changes.jsonl"
    assert type_in(files, "--out", out, "--format", "jsonl").exit_code == ExitStatus.WORK_REMAINS
    lines = [orjson.loads(line) for line in out.read_bytes().splitlines()]
    assert [line["key"] for line in lines] == ["3201", "3202", "3203", "3205", "3206"]
    assert lines[1]["differs"] == ["nama", "sidik"]
    assert lines[1]["after"] == {"nama": "Budi Santoso", "lahir": None, "sidik": "02"}
    assert lines[3]["before"] == {"nama": "Rahasia", "lahir": "2010-01-05", "sidik": "ee"}
    assert lines[3]["after"] is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["changes.jsonl", "directory.parquet", "source.parquet"]


@pytest.mark.parametrize("written_as", ["parquet", "jsonl"])
def test_a_table_that_is_read_is_not_replaced(files, written_as):
    """The result's name is a mistake then."""
    before = files[1].read_bytes()
    refused_with(type_in(files, "--out", files[1], "--format", written_as), ExitStatus.SETTINGS_REFUSED, files[1].name)
    assert files[1].read_bytes() == before


@pytest.mark.parametrize("written_as", ["parquet", "jsonl"])
def test_keys_that_never_meet_are_refused(files, tmp_path, written_as):
    """The message tells what to type if it is meant so; nothing is written."""
    SOURCE.with_columns(nik=pl.col("nik") + "0").write_parquet(files[0])
    out = tmp_path / "changes"
    words = ("--out", out, "--format", written_as)
    refused_with(type_in(files, *words), ExitStatus.INPUT_REFUSED, "no key in common", "--allow-disjoint")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["directory.parquet", "source.parquet"]
    assert type_in(files, *words, "--allow-disjoint").exit_code == ExitStatus.WORK_REMAINS
    assert out.is_file()


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["--attributes", "nama,alamat"], ExitStatus.INPUT_REFUSED, "alamat"),
        (["--normalise", "nama"], ExitStatus.SETTINGS_REFUSED, "COLUMN=NAME"),
        (["--normalise", "nama=trim-9"], ExitStatus.SETTINGS_REFUSED, "trim-9"),
        (["--memory-limit", "much"], ExitStatus.SETTINGS_REFUSED, "much"),
        (["--threads", "0"], ExitStatus.SETTINGS_REFUSED, "threads"),
        (["--temporary-folder", "/nowhere/at/all"], ExitStatus.SETTINGS_REFUSED, "/nowhere/at/all"),
        (["--out", "/nowhere/at/all/x.parquet"], ExitStatus.SETTINGS_REFUSED, "/nowhere/at/all"),
        (["--out", "/nowhere/at/all/x.jsonl", "--format", "jsonl"], ExitStatus.SETTINGS_REFUSED, "/nowhere/at/all"),
    ],
)
def test_what_cannot_be_is_refused(files, words, status, said):
    """A column, a normalisation, a size, a folder."""
    refused_with(type_in(files, *words), status, said)


def test_a_missing_key_is_named(files):
    """With the columns there are."""
    result = CliRunner().invoke(app, ["diff", *map(str, files), "--key", "nisn"])
    refused_with(result, ExitStatus.INPUT_REFUSED, "column nisn", "nik, nama")


def test_a_missing_file_is_named(files):
    """The side and the path."""
    refused_with(type_in((files[0], files[1].with_name("none"))), ExitStatus.INPUT_REFUSED, "directory", "none")


def test_a_truncated_file_is_named(files, tmp_path):
    """Half of a file; nothing is written."""
    files[1].write_bytes(files[1].read_bytes()[:400])
    out = tmp_path / "changes.parquet"
    refused_with(type_in(files, "--attributes", "nama", "--out", out), ExitStatus.INPUT_REFUSED, "directory.parquet")
    assert not out.exists()


def test_errors_are_json_on_request(files):
    """With the exit status in it."""
    result = type_in(files, "--attributes", "alamat", "--json")
    document = orjson.loads(result.stdout)
    assert document["error"]["exit_status"] == result.exit_code == ExitStatus.INPUT_REFUSED


def test_what_steers_a_terminal_is_escaped(files):
    """A key with an escape sequence in it is shown, not obeyed."""
    SOURCE.with_columns(nik=pl.lit("\x1b[2J") + pl.col("nik")).write_parquet(files[0])
    result = type_in(files, "--allow-disjoint")
    assert "\x1b[2J" not in result.stdout
    assert "\\x1b[2J3201" in result.stdout


def test_sizes_are_read():
    """Units by 1,024 and by 1,000, in either case, and none."""
    sizes = {
        "2GiB": 2 << 30,
        "64 mib": 64 << 20,
        "1KiB": 1024,
        "3TiB": 3 << 40,
        "4GB": 4 * 10**9,
        "1kB": 1000,
        "7": 7,
        "7B": 7,
    }
    assert {text: parse_size(text) for text in sizes} == sizes
    for wrong in ("", "GiB", "-1GiB", "1.5GiB", "1GiBs", "1 2", "9" * 13):
        with pytest.raises(SettingsError):
            parse_size(wrong)


def test_normalisations_are_read():
    """A column and its names; a column's name may hold an equals sign."""
    assert parse_normalisations(["a=trim-1,nfc-1", "b=c=lower-1"]) == {"a": ["trim-1", "nfc-1"], "b=c": ["lower-1"]}
    for wrong in (["a"], ["=trim-1"], ["a=trim-1", "a=nfc-1"]):
        with pytest.raises(SettingsError):
            parse_normalisations(wrong)
