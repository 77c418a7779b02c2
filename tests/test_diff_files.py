"""`belajarid_recon.diff` over Parquet files: every way of writing them, folders, and files that are damaged."""

from __future__ import annotations

import random
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import belajarid_recon
from belajarid_recon.errors import InputError, SettingsError
from diff_reference import counted, lines_of, reference, same
from diff_tables import PEOPLE, questions, required, write_files, writings


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_any_way_of_writing_gives_the_same_lines(data):
    """Compressions, encodings, page versions, tiny pages, fallback from a dictionary, row groups, files, required columns."""
    question = data.draw(questions())
    with tempfile.TemporaryDirectory() as name:
        sides = []
        for side, table in enumerate(question.tables()):
            stored = required(table) if data.draw(st.booleans()) else table
            options = data.draw(writings(question, side))
            sides.append(write_files(Path(name) / str(side), stored, data.draw(st.integers(1, 3)), options))
        lines, counts = reference(
            *question.rows, question.names, key_form=question.key_form, shown_as=question.shown_as
        )
        out = Path(name) / "changes.parquet"
        asked = {"key": "key", "key_form": question.key_form, "allow_disjoint": True}
        found = belajarid_recon.diff(
            *sides, **asked, out=out, exact=data.draw(st.booleans()), threads=data.draw(st.integers(1, 3))
        )
        assert counted(found) == counts
        assert same(lines_of(pq.read_table(out)), lines)
        assert same(lines_of(belajarid_recon.diff(*sides, **asked)), lines)


COMPRESSIONS = ("uncompressed", "snappy", "lz4", "zstd")


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_polars_files_are_read(tmp_path, compression):
    """Files as polars writes them, with categories and unsigned numbers, several row groups, nulls all over a page."""
    source, directory = (
        pl.DataFrame(
            {
                "key": [str(person) for person in PEOPLE] * 1
                + [f"{n:08}-0000-4000-8000-000000000000" for n in range(2_000)],
                "nama": [f"NAMA {n % modulus}" for n in range(2_006)],
                "jenjang": pl.Series(["sd", "smp", None, "slb"] * 501 + ["sd", "sd"], dtype=pl.Categorical),
                "npsn": pl.Series([None if 300 < n < 900 else n for n in range(2_006)], dtype=pl.UInt32),
            }
        )
        for modulus in (5, 7)
    )
    for name, frame in (("s", source), ("d", directory)):
        frame.write_parquet(tmp_path / name, compression=compression, row_group_size=100, data_page_size=64)
    names = ["nama", "jenjang", "npsn"]
    lines, counts = reference(source.rows(), directory.rows(), names)
    found = belajarid_recon.diff(tmp_path / "s", tmp_path / "d", key="key", attributes=names)
    assert counted(found) == counts
    assert lines_of(found) == lines
    assert lines_of(belajarid_recon.diff(source, directory, key="key")) == lines


def test_a_dictionary_that_overflows_is_followed(tmp_path):
    """A column chunk that begins with a dictionary and goes on plain, in the middle of equal and differing values."""
    draw = random.Random(5)  # noqa: S311 - test data
    rows = [(f"{n:06}", f"{draw.randrange(40):>30}" if n < 3_000 else f"{draw.random():.12f}") for n in range(9_000)]
    other = [(key, value if draw.random() < 0.9 else value.upper() + "x") for key, value in rows]
    for name, side in (("s", rows), ("d", other)):
        table = pa.table(dict(zip(["key", "x"], zip(*side, strict=True), strict=True)))
        pq.write_table(table, tmp_path / name, data_page_size=2_000, dictionary_pagesize_limit=8_000)
    chunk = pq.ParquetFile(tmp_path / "s").metadata.row_group(0).column(1)
    assert set(chunk.encodings) >= {"PLAIN", "RLE_DICTIONARY"}
    assert lines_of(belajarid_recon.diff(tmp_path / "s", tmp_path / "d", key="key")) == reference(rows, other, ["x"])[0]


WRITERS = [
    {
        "data_page_version": version,
        "data_page_size": size,
        "row_group_size": rows,
        "dictionary_pagesize_limit": limit,
        "compression": code,
    }
    for version, size, rows, limit, code in (
        ("1.0", 1 << 20, 1 << 20, 1 << 20, "zstd"),
        ("2.0", 1 << 20, 1 << 20, 1 << 20, "zstd"),
        ("1.0", 700, 7_001, 1 << 20, "snappy"),
        ("2.0", 700, 7_001, 3_000, "lz4"),
        ("2.0", 5_000, 30_000, 20_000, "none"),
    )
]


@pytest.mark.parametrize("options", WRITERS, ids=range(len(WRITERS)))
def test_what_is_read_of_a_file_is_what_it_holds(tmp_path: Path, options):
    """Codes of one bit to fifteen, in runs and packs, with nulls at random, in stretches and everywhere: a file against its own table."""
    draw = random.Random(12)  # noqa: S311 - test data
    rows = 30_000
    columns: dict[str, list] = {}
    for distinct in (1, 2, 3, 5, 17, 200, 300, 5_000, 30_000):
        values = [draw.randrange(distinct) for _ in range(rows)]
        sorted_values = sorted(values)
        columns[f"text {distinct}"] = [f"NAMA {value}" for value in values]
        columns[f"number {distinct}"] = [None if draw.random() < 0.2 else value for value in values]
        columns[f"runs {distinct}"] = [None if row % 9_000 < 4_000 else sorted_values[row] for row in range(rows)]
    columns["nothing"] = [None] * rows
    columns["rare"] = [None if row % 5_003 else "x" for row in range(rows)]
    table = pa.table({"key": [f"{row * 7_919 % rows:08}" for row in range(rows)], **columns})
    table = table.set_column(table.num_columns - 2, "nothing", pa.nulls(rows, pa.string()))
    pq.write_table(table, tmp_path / "file", **options)
    assert belajarid_recon.diff(tmp_path / "file", table, key="key", key_form="text").agrees
    assert belajarid_recon.diff(
        table, tmp_path / "file", key="key", key_form="text", exact=True, out=tmp_path / "x"
    ).agrees
    for name in ("text 300", "number 5000", "runs 17"):
        other = [None if row == 17_000 else value for row, value in enumerate(columns[name])]
        changed = table.set_column(table.column_names.index(name), name, pa.array(other, table[name].type))
        found = belajarid_recon.diff(tmp_path / "file", changed, key="key", key_form="text")
        assert found.counts["changed"] == (columns[name][17_000] is not None)


def test_uuids_of_the_format_itself_are_keys(tmp_path):
    """Parquet's own UUID type, as pyarrow writes it, against text."""
    keys = pa.array([person.bytes for person in PEOPLE], pa.uuid())
    pq.write_table(pa.table({"key": keys, "x": range(6)}), tmp_path / "s")
    pq.write_table(pa.table({"key": [str(person) for person in PEOPLE], "x": range(6)}), tmp_path / "d")
    assert belajarid_recon.diff(tmp_path / "s", tmp_path / "d", key="key").agrees
    assert belajarid_recon.diff(tmp_path / "d", tmp_path / "s", key="key").agrees


def test_files_of_a_side_may_differ_in_layout(tmp_path):
    """Text in one file, a dictionary of it in the next; other columns, in another order."""
    pq.write_table(pa.table({"key": ["a", "b"], "x": pa.array([1, 2], pa.int8())}), tmp_path / "0")
    later = {"unused": [0.5], "x": pa.array([3], pa.uint64()), "key": pa.array(["c"]).dictionary_encode()}
    pq.write_table(pa.table(later), tmp_path / "1")
    directory = pa.table({"key": ["c", "b", "a"], "x": [3, 2, 1]})
    files = [tmp_path / "0", tmp_path / "1"]
    assert belajarid_recon.diff(files, directory, key="key", attributes=["x"]).agrees


# Folders


def test_a_folder_is_its_parquet_files(tmp_path):
    """Recursively; drafts, hidden files and what is in hidden folders are left out."""
    people = pl.DataFrame({"key": ["a", "b"], "x": [1, 2]})
    folder = tmp_path / "table"
    for place in ("one.parquet", "more/two.parquet"):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
    people[:1].write_parquet(folder / "one.parquet")
    people[1:].write_parquet(folder / "more/two.parquet")
    for place in (
        ".hidden.parquet",
        "_draft.parquet",
        "three.parquet.part",
        "_temporary/four.parquet",
        ".log/5.parquet",
    ):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_bytes(b"no table")
    found = belajarid_recon.diff(folder, people, key="key")
    assert found.agrees
    assert found.counts["source_rows"] == 2


def test_a_hidden_folder_may_be_named(tmp_path):
    """What was asked for by name is read, wherever it lies."""
    folder = tmp_path / ".cache" / "_old"
    folder.mkdir(parents=True)
    people = pl.DataFrame({"key": ["a"], "x": [1]})
    people.write_parquet(folder / "one.parquet")
    assert belajarid_recon.diff(folder, str(folder / "one.parquet"), key="key").agrees


def test_what_is_not_there_is_named(tmp_path):
    """A path without a file, a folder without a table."""
    people = pl.DataFrame({"key": ["a"], "x": [1]})
    with pytest.raises(InputError, match=r"directory: .*nowhere"):
        belajarid_recon.diff(people, tmp_path / "nowhere", key="key")
    with pytest.raises(InputError, match=r"source: .*"):
        belajarid_recon.diff(tmp_path, people, key="key")


def test_the_result_replaces_in_one_step(tmp_path):
    """An earlier result is replaced when all is well, kept when not; and a table that is read is never replaced."""
    out = tmp_path / "changes.parquet"
    out.write_bytes(b"an earlier result")
    people = pl.DataFrame({"key": ["a"], "x": [1]})
    people.write_parquet(tmp_path / "people.parquet")
    with pytest.raises(InputError):
        belajarid_recon.diff(people, people.drop("x"), key="key", attributes=["x"], out=out)
    assert out.read_bytes() == b"an earlier result"
    assert belajarid_recon.diff(people, people, key="key", out=out).agrees
    assert pl.read_parquet(out).height == 0
    with pytest.raises(SettingsError, match=r"people\.parquet"):
        belajarid_recon.diff(tmp_path / "people.parquet", people, key="key", out=tmp_path / "people.parquet")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["changes.parquet", "people.parquet"]


def test_the_result_is_its_owners_alone(tmp_path):
    """Changes hold personal data: no other user of the machine may read them."""
    people = pl.DataFrame({"key": ["a"], "x": [1]})
    belajarid_recon.diff(people, people, key="key", out=tmp_path / "changes.parquet")
    assert (tmp_path / "changes.parquet").stat().st_mode & 0o777 == 0o600


# Damage


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    """A file of two columns, several row groups and pages."""
    path = tmp_path_factory.mktemp("sound") / "people.parquet"
    names = [f"NAMA {n * 7919 % 1_000}" for n in range(12_345)]
    table = pa.table({"key": [f"{n:08}" for n in range(12_345)], "nama": names})
    pq.write_table(table, path, row_group_size=5_000, data_page_size=4_096, compression="zstd")
    return path


def refused(path: Path, sound: Path, out: Path) -> InputError:
    """The error of a damaged file, which names it and leaves no output."""
    with pytest.raises(InputError) as refusal:
        belajarid_recon.diff(sound, path, key="key", attributes=["nama"], out=out)
    assert path.name in refusal.value.message
    assert refusal.value.hint
    assert list(out.parent.iterdir()) == []
    return refusal.value


def test_a_truncated_file_is_refused_wherever_it_ends(sound: Path, tmp_path: Path):
    """At many offsets, with and without the columns named."""
    content = sound.read_bytes()
    out = tmp_path / "out" / "changes.parquet"
    out.parent.mkdir()
    cut = tmp_path / "cut.parquet"
    for length in [0, 1, 4, 11, 12, *range(13, len(content), len(content) // 60), len(content) - 8, len(content) - 1]:
        cut.write_bytes(content[:length])
        refused(cut, sound, out)
    with pytest.raises(InputError, match=r"cut\.parquet"):
        belajarid_recon.diff(cut, sound, key="key", out=out)


def test_a_middle_that_is_missing_is_refused(sound: Path, tmp_path: Path):
    """A whole footer behind pages that were lost."""
    content = sound.read_bytes()
    out = tmp_path / "out" / "changes.parquet"
    out.parent.mkdir()
    cut = tmp_path / "cut.parquet"
    for start in range(4, len(content) // 2, len(content) // 11):
        cut.write_bytes(content[:start] + content[start + len(content) // 3 :])
        refused(cut, sound, out)


def test_garbage_in_pages_never_ends_the_process(sound: Path, tmp_path: Path):
    """Damage that a checksum does not guard is refused, or read as other values; a result that is there is whole."""
    content = sound.read_bytes()
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    out = tmp_path / "changes.parquet"
    hurt = tmp_path / "hurt.parquet"
    draw = random.Random(9)  # noqa: S311 - test data
    refusals = []
    for _ in range(60):
        damaged = bytearray(content)
        place = draw.randrange(4, footer)
        length = draw.choice([1, 1, 4, 400])
        damaged[place : place + length] = draw.randbytes(min(length, footer - place))
        hurt.write_bytes(damaged)
        try:
            found = belajarid_recon.diff(sound, hurt, key="key", attributes=["nama"], out=out, allow_disjoint=True)
        except InputError as error:
            refusals.append(error.message)
        else:
            assert pl.read_parquet(out).height == found.counts["lines"]
            out.unlink()
        assert list(tmp_path.iterdir()) == [hurt]
    assert len(refusals) > 20
    assert all("hurt.parquet" in refusal for refusal in refusals)


def varint(number: int) -> bytes:
    """A number as the footer's encoding (Thrift, compact) writes it: zigzag, seven bits a byte."""
    number <<= 1
    groups = []
    while number >= 0x80:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*groups, number])


def with_footer(content: bytes, change: dict[int, int]) -> bytes:
    """A file whose footer claims other numbers. The encoding holds no lengths of structures, so longer numbers may stand in their place."""
    length = int.from_bytes(content[-8:-4], "little")
    footer = content[-8 - length : -8]
    for old, new in change.items():
        assert varint(old) in footer
        footer = footer.replace(varint(old), varint(new))
    return content[: -8 - length] + footer + len(footer).to_bytes(4, "little") + b"PAR1"


CLAIM = 20_000_000_000

CLAIMING = """
import resource, sys, belajarid_recon
from belajarid_recon.errors import InputError
try:
    belajarid_recon.diff(*sys.argv[1:3], key="key", attributes=["nama"], out=sys.argv[3], memory_limit=256 << 20)
except InputError as error:
    print(error.message)
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
assert int(peak.split()[1]) < 600_000, peak
"""


@pytest.mark.parametrize("what", ["rows", "values", "bytes", "compressed", "everything"])
def test_a_row_group_that_claims_20_gb_is_refused(sound: Path, tmp_path: Path, what: str):
    """A footer whose rows, values or sizes are absurd: an error that names the file, and no memory taken for the claim."""
    single = tmp_path / "single.parquet"
    pq.write_table(pq.read_table(sound), single, row_group_size=1 << 20, compression="zstd")
    group = pq.ParquetFile(single).metadata.row_group(0)
    columns = [group.column(place) for place in (0, 1)]
    rows = {12_345: CLAIM}
    plain = {column.total_uncompressed_size: CLAIM for column in columns} | {group.total_byte_size: 2 * CLAIM}
    packed = {column.total_compressed_size: CLAIM for column in columns}
    changes = {"rows": rows, "values": rows, "bytes": plain, "compressed": packed, "everything": rows | plain | packed}
    absurd = tmp_path / "absurd.parquet"
    content = with_footer(single.read_bytes(), changes[what])
    if what == "values":  # the footer's and the group's own count stay; only the columns lie
        content = _only_columns_lie(single.read_bytes())
    absurd.write_bytes(content)
    out = tmp_path / "out" / "changes.parquet"
    out.parent.mkdir()
    words = [sys.executable, "-c", CLAIMING, str(sound), str(absurd), str(out)]
    ended = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 0, ended.stderr
    if what != "bytes":  # the uncompressed size is a hint that a reader may leave unread
        assert "absurd.parquet" in ended.stdout
        assert list(out.parent.iterdir()) == []
    assert [path for path in out.parent.iterdir() if path != out] == []


def _only_columns_lie(content: bytes) -> bytes:
    """The counts of values in the columns' own metadata, which stand between the first and the last count of rows."""
    length = int.from_bytes(content[-8:-4], "little")
    head, footer = content[: -8 - length], content[-8 - length : -8]
    pieces = footer.split(varint(12_345))
    assert len(pieces) >= 4
    lied = varint(12_345).join([pieces[0], varint(CLAIM).join(pieces[1:-1]), pieces[-1]])
    return head + lied + len(lied).to_bytes(4, "little") + b"PAR1"


def test_a_file_of_another_program_is_refused(tmp_path: Path):
    """Text, CSV, an encrypted or foreign footer."""
    people = pl.DataFrame({"key": ["a"], "x": [1]})
    out = tmp_path / "out" / "changes.parquet"
    out.parent.mkdir()
    for content in (b"key,x\na,1\n" * 9, b"PAR1" + b"\0" * 100 + b"PARE", b"PAR1" + b"\xff" * 100 + b"PAR1"):
        (tmp_path / "x.parquet").write_bytes(content)
        for attributes in (["x"], None):
            with pytest.raises(InputError, match=r"x\.parquet"):
                belajarid_recon.diff(tmp_path / "x.parquet", people, key="key", attributes=attributes, out=out)
    assert list(out.parent.iterdir()) == []


def test_columns_of_files_are_named(tmp_path: Path):
    """A key or attribute that a later file lacks or has in another kind: file and column are named."""
    good = pl.DataFrame({"key": ["a"], "x": [1]})
    good.write_parquet(tmp_path / "good.parquet")
    bad = tmp_path / "bad.parquet"
    nulls = good.with_columns(key=pl.lit(None, dtype=pl.String))
    for frame, column in (
        (good.drop("x"), "x"),
        (good.drop("key"), "key"),
        (good.with_columns(x=pl.lit("1")), "x"),
        (good.with_columns(key=pl.lit(1)), "key"),
        (nulls, "key"),
    ):
        frame.write_parquet(bad)
        with pytest.raises(InputError) as refusal:
            belajarid_recon.diff(good, [tmp_path / "good.parquet", bad], key="key", attributes=["x"])
        assert "bad.parquet" in refusal.value.message
        assert f"column {column}" in refusal.value.message


def test_a_compression_that_is_not_read_is_named(tmp_path: Path):
    """Brotli: the error says what is missing."""
    people = pa.table({"key": ["a" * 100], "x": [1]})
    pq.write_table(people, tmp_path / "x.parquet", compression="brotli")
    with pytest.raises(InputError, match=r"(?i)brotli.*x\.parquet|x\.parquet.*brotli"):
        belajarid_recon.diff(tmp_path / "x.parquet", people, key="key")


# Streams


def wide(rows: int, *, backwards: bool = False) -> pa.Table:
    """A table with a column of every layout, a part of it null."""
    number = pl.int_range(0, rows, eager=True)
    number = number.reverse() if backwards else number
    text = pl.select(pl.format("NAMA {}", number % 5_000)).to_series().to_arrow().cast(pa.string())
    some = pl.select(pl.when(number % 13 > 0).then(number)).to_series().to_arrow()
    columns = {
        "text": text,
        "large": text.cast(pa.large_string()),
        "view": text.cast(pa.string_view()),
        "coded": text.dictionary_encode(),
        "coded wide": text.cast(pa.large_string())
        .dictionary_encode()
        .cast(pa.dictionary(pa.int64(), pa.large_string())),
        "bytes": text.cast(pa.binary()),
        "bytes view": text.cast(pa.binary()).cast(pa.binary_view()),
        "number": some.cast(pa.int32()),
        "unsigned": some.cast(pa.uint64()),
        "flag": pl.select(number % 3 == 0).to_series().to_arrow(),
        "date": some.cast(pa.int32()).cast(pa.date32()),
        "instant": some.cast(pa.timestamp("us", "Asia/Jakarta")),
        "second": some.cast(pa.timestamp("s")),
        "time": some.cast(pa.time64("us")),
        "duration": some.cast(pa.duration("ms")),
        "float": some.cast(pa.float32()),
        "half": pl.select(number % 100).to_series().to_arrow().cast(pa.float16()),
        "decimal": some.cast(pa.decimal128(24, 2)),
        "long decimal": some.cast(pa.decimal256(60, 2)),
        "nothing": pa.nulls(rows, pa.string()),
    }
    return pa.table({"key": number.to_arrow(), **columns})


def test_streams_that_do_not_fit_are_kept_on_disk():
    """Columns of every layout, in a reader that can be read once, beyond what is kept in memory."""
    table = wide(120_000)
    names = table.column_names[1:]
    backwards = wide(120_000, backwards=True)
    changed = backwards.set_column(1, "text", table["large"].cast(pa.string()))
    for directory, expected in ((backwards, 0), (changed, 120_000)):
        once = pa.RecordBatchReader.from_batches(table.schema, table.to_batches(max_chunksize=10_000))
        found = belajarid_recon.diff(once, directory, key="key", attributes=names, memory_limit=256 << 20)
        assert found.counts["changed"] == expected
        assert found.counts["unchanged"] == table.num_rows - expected
        if expected:
            lines = pa.table(found)
            assert lines["differs"][0].as_py() == ["text"]
            assert lines["after"].combine_chunks().field("text").null_count == 0
            assert lines["after"].combine_chunks().field("date").null_count == expected


def test_every_type_comes_out_as_it_went_in():
    """Added rows of every layout: the documented types, and the same values."""
    table = wide(500)
    lines = pa.table(belajarid_recon.diff(table, table.slice(0, 0), key="key"))
    after = lines["after"].combine_chunks()
    for name in table.column_names[1:]:
        given, found = table[name], after.field(name)
        kind = given.type.value_type if pa.types.is_dictionary(given.type) else given.type
        if name in {"text", "large", "view", "coded", "coded wide", "nothing"}:
            kind = pa.large_string()
        elif "bytes" in name:
            kind = pa.large_binary()
        elif pa.types.is_integer(kind):
            kind = pa.int64()
        assert found.type == kind
        assert found.to_pylist() == given.to_pylist()


def test_an_error_of_a_stream_comes_back():
    """What a reader raises reaches the caller, and no result is there."""
    schema = pa.schema([("key", pa.string()), ("x", pa.int64())])

    def broken():
        yield pa.record_batch([["a"], [1]], schema=schema)
        raise RuntimeError("the line broke")

    with pytest.raises((InputError, RuntimeError), match="the line broke"):
        belajarid_recon.diff(
            pa.RecordBatchReader.from_batches(schema, broken()), pa.table({"key": ["a"], "x": [1]}), key="key"
        )


def test_more_files_than_may_be_open_are_read(tmp_path: Path):
    """A table of five hundred files where a process may open two hundred."""
    people = pl.DataFrame({"key": range(500), "x": range(500)})
    for number in range(500):
        people[number : number + 1].write_parquet(tmp_path / f"{number:03}.parquet", compression="uncompressed")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))
    try:
        assert belajarid_recon.diff(tmp_path, people, key="key").agrees
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_key_too_long_is_refused():
    """Over 65,535 bytes; its value is not told."""
    people = pa.table({"key": ["a", "b" * 65_535]})
    assert belajarid_recon.diff(people, people, key="key").agrees
    with pytest.raises(InputError, match="column key"):
        belajarid_recon.diff(people, pa.table({"key": ["b" * 65_536]}), key="key", key_form="text")
