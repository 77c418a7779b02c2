"""`_core.shuffle`: every row in the part of its person, once, in order, whatever threads and files."""

from __future__ import annotations

import contextlib
import datetime
import random
import uuid
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from belajarid_recon import _core

KEY = bytes(range(32))
COLUMNS = ["nama", "nilai", "tanggal"]


def people(count: int, seed: int = 0) -> pl.DataFrame:
    """Rows with a readable key but for every seventh (null) and every eleventh (no UUID)."""
    draw = random.Random(seed)  # noqa: S311 - not for secrets
    keys: list[str | None] = [str(uuid.UUID(int=draw.getrandbits(128))) for _ in range(count)]
    for place in range(count):
        if place % 7 == 6:
            keys[place] = None
        elif place % 11 == 10:
            keys[place] = "NULL"
    day = datetime.date(2010, 1, 1)
    return pl.DataFrame(
        {
            "peserta_didik_id": keys,
            "nama": [f"NAMA {place}" if place % 5 else None for place in range(count)],
            "nilai": range(count),
            "tanggal": [day + datetime.timedelta(days=place % 900) for place in range(count)],
            "lain": ["unasked"] * count,
        },
        schema_overrides={"peserta_didik_id": pl.String, "nama": pl.String, "nilai": pl.Int64, "tanggal": pl.Date},
    )


def written(folder: Path, *frames: pl.DataFrame) -> list[str]:
    """The frames as Parquet files of several row groups."""
    paths = []
    for number, frame in enumerate(frames):
        path = folder / f"{number}.parquet"
        frame.write_parquet(path, row_group_size=97)
        paths.append(str(path))
    return paths


def shuffled(files: list[str], out: Path, **changes: Any) -> dict[str, Any]:
    """A shuffle by person with the arguments most tests want."""
    arguments: dict[str, Any] = {
        "key_column": "peserta_didik_id", "key": "person", "columns": COLUMNS, "parts": 4, "marker_key": KEY,
        "out_folder": str(out), "table": "peserta_didik", "threads": 1,
    }  # fmt: skip
    return dict(_core.shuffle(files, **(arguments | changes)))


def parts_of(out: Path, table: str = "peserta_didik") -> list[pl.DataFrame]:
    """The parts in order."""
    return [pl.read_parquet(path) for path in sorted(out.glob(f"part=*/{table}.parquet"))]


def expected_parts(frames: list[pl.DataFrame], parts: int) -> tuple[list[pl.DataFrame], pl.DataFrame]:
    """What a shuffle must give, by polars."""
    rows = pl.concat(
        frame.with_row_index("_row").with_columns(
            _file=pl.lit(number, dtype=pl.UInt32),
            _row=pl.col("_row").cast(pl.Int64),
            _person=pl.Series(_core.parse_uuids(frame["peserta_didik_id"])),
        )
        for number, frame in enumerate(frames)
    )
    rows = rows.with_columns(_marker=pl.Series(_core.markers(rows["_person"], key=KEY)))
    part = [None if marker is None else int.from_bytes(marker, "big") * parts >> 128 for marker in rows["_marker"]]
    rows = rows.with_columns(part=pl.Series(part, dtype=pl.Int64))
    keyed = [*COLUMNS, "_person", "_marker", "_file", "_row"]
    cut = [rows.filter(pl.col("part") == number).select(keyed) for number in range(parts)]
    return cut, rows.filter(pl.col("part").is_null()).select([*COLUMNS, "_file", "_row"])


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
@pytest.mark.parametrize("parts", [1, 2, 32])
def test_rows_are_cut_by_the_top_bits_of_the_marker(tmp_path: Path, parts: int, threads: int) -> None:
    """Parts hold exactly their rows in order of file and row, columns unchanged, whatever the threads."""
    frames = [people(1000, 1), people(0), people(333, 2)]
    counts = shuffled(written(tmp_path, *frames), tmp_path / "out", parts=parts, threads=threads)
    cut, aside = expected_parts(frames, parts)
    found = parts_of(tmp_path / "out")
    assert len(found) == parts
    assert all(one.equals(other) for one, other in zip(found, cut, strict=True))
    assert pl.read_parquet(tmp_path / "out/unkeyed/peserta_didik.parquet").equals(aside)
    assert counts == {"read": 1333, "unkeyed": aside.height, "parts": [frame.height for frame in cut]}
    assert found[0].schema == cut[0].schema


def test_every_file_exists_when_there_are_no_rows(tmp_path: Path) -> None:
    """Headers alone give empty parts with all columns."""
    counts = shuffled(written(tmp_path, people(0)), tmp_path / "out", parts=2)
    assert counts == {"read": 0, "unkeyed": 0, "parts": [0, 0]}
    assert [frame.columns for frame in parts_of(tmp_path / "out")] == [
        [*COLUMNS, "_person", "_marker", "_file", "_row"]
    ] * 2
    assert pl.read_parquet(tmp_path / "out/unkeyed/peserta_didik.parquet").columns == [*COLUMNS, "_file", "_row"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["part=000", "part=001", "unkeyed"]


def test_account_keys_choose_the_part_directly(tmp_path: Path) -> None:
    """A 17-byte key's own top bits decide, and neither person nor marker is added."""
    keys = [bytes([first]) + b"m" * 15 + b"\3" for first in (0, 63, 64, 128, 255)]
    pl.DataFrame({"account_key": [*keys, None], "id": list("abcdef")}).write_parquet(tmp_path / "a.parquet")
    counts = shuffled(
        [str(tmp_path / "a.parquet")], tmp_path / "out", key_column="account_key", key="account", columns=["id"],
        marker_key=None, table="accounts",
    )  # fmt: skip
    assert counts == {"read": 6, "unkeyed": 1, "parts": [2, 1, 1, 1]}
    assert [frame["id"].to_list() for frame in parts_of(tmp_path / "out", "accounts")] == [
        ["a", "b"],
        ["c"],
        ["d"],
        ["e"],
    ]
    assert parts_of(tmp_path / "out", "accounts")[0].columns == ["id", "_file", "_row"]


LAYOUTS = [
    pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string()),
    pa.binary(), pa.large_binary(), pa.binary_view(), pa.binary(16),
]  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_keys_of_every_layout_are_read(tmp_path: Path, layout: pa.DataType) -> None:
    """A key is a key in whatever string or binary type the file has it."""
    person = uuid.UUID("80f04f5c-2df5-e011-aecb-0123456789ab")
    text = "string" in str(layout)
    values = pa.array([str(person) if text else person.bytes, None], pa.string() if text else pa.binary())
    table = pa.table(
        {"id": values.cast(layout) if layout != pa.binary_view() else pa.array(values.to_pylist(), layout)}
    )
    pq.write_table(table, tmp_path / "a.parquet")
    out = tmp_path / "out"
    counts = shuffled([str(tmp_path / "a.parquet")], out, key_column="id", columns=["id"], parts=1)
    assert counts == {"read": 2, "unkeyed": 1, "parts": [1]}
    assert parts_of(out)[0]["_person"].to_list() == [person.bytes]
    assert pq.read_schema(out / "part=000/peserta_didik.parquet").field("id").type == layout


def test_files_may_differ_in_layout(tmp_path: Path) -> None:
    """Strings and bytes of later files take the first file's layout."""
    person = str(uuid.UUID(int=5))
    for number, layout in enumerate((pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string()))):
        pq.write_table(pa.table({"id": pa.array([person]).cast(layout)}), tmp_path / f"{number}.parquet")
    files = [str(tmp_path / f"{number}.parquet") for number in range(3)]
    shuffled(files, tmp_path / "out", key_column="id", columns=["id"], parts=1)
    assert parts_of(tmp_path / "out")[0]["id"].to_list() == [person] * 3


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 120), min_size=1, max_size=4), st.sampled_from([1, 2, 4, 64, 512]), st.integers(1, 5))
def test_no_row_is_lost(tmp_path_factory: pytest.TempPathFactory, sizes: list[int], parts: int, threads: int) -> None:
    """Parts and rows set aside together are the rows read, each once."""
    folder = tmp_path_factory.mktemp("shuffle")
    frames = [people(size, seed) for seed, size in enumerate(sizes)]
    counts = shuffled(written(folder, *frames), folder / "out", parts=parts, threads=threads)
    where = [pl.read_parquet(path).select("_file", "_row") for path in (folder / "out").glob("*/*.parquet")]
    assert len(where) == parts + 1
    assert sorted(pl.concat(where).rows()) == [(file, row) for file, size in enumerate(sizes) for row in range(size)]
    assert counts["read"] == counts["unkeyed"] + sum(counts["parts"]) == sum(sizes)


@pytest.mark.parametrize("threads", [1, 4])
def test_a_truncated_file_is_named_and_leaves_nothing(tmp_path: Path, threads: int) -> None:
    """Cut anywhere, a Parquet file is refused by name, and no part appears."""
    files = written(tmp_path, people(500), people(500, 1))
    whole = Path(files[1]).read_bytes()
    for size in (0, 3, 100, len(whole) // 2, len(whole) - 1):
        Path(files[1]).write_bytes(whole[:size])
        with pytest.raises(_core.TableError, match="not whole Parquet") as caught:
            shuffled(files, tmp_path / "out", threads=threads)
        assert files[1] in str(caught.value)
        assert not [path for path in tmp_path.glob("out/**/*") if path.is_file()]


@pytest.mark.parametrize("threads", [1, 2])
def test_damage_inside_a_file_is_an_error_or_harmless(tmp_path: Path, threads: int) -> None:
    """Bytes overwritten at random end as the one error, or the rows still add up; nothing hangs, and no panic gets out."""
    files = written(tmp_path, people(400))
    whole = Path(files[0]).read_bytes()
    draw = random.Random(3)  # noqa: S311 - not for secrets
    for _ in range(60):
        damaged = bytearray(whole)
        for _ in range(20):
            damaged[draw.randrange(len(damaged))] = draw.randrange(256)
        Path(files[0]).write_bytes(damaged)
        with contextlib.suppress(_core.TableError):
            counts = shuffled(files, tmp_path / "out", threads=threads)
            assert counts["read"] == counts["unkeyed"] + sum(counts["parts"])


def test_an_earlier_result_stays_until_a_new_one_is_whole(tmp_path: Path) -> None:
    """A shuffle that fails leaves the parts of the one before as they were."""
    files = written(tmp_path, people(100), people(100, 1))
    shuffled(files[:1], tmp_path / "out")
    before = {path: path.read_bytes() for path in sorted((tmp_path / "out").glob("**/*.parquet"))}
    Path(files[1]).write_bytes(b"PAR1")
    with pytest.raises(_core.TableError):
        shuffled(files, tmp_path / "out")
    assert {path: path.read_bytes() for path in sorted((tmp_path / "out").glob("**/*")) if path.is_file()} == before


def test_equal_input_gives_equal_bytes(tmp_path: Path) -> None:
    """Threads do not show in what is written, nor does the clock."""
    files = written(tmp_path, people(2000), people(700, 1))
    contents = []
    for threads in (2, 3, 6):
        shuffled(files, tmp_path / f"out{threads}", threads=threads)
        contents.append([path.read_bytes() for path in sorted((tmp_path / f"out{threads}").glob("*/*.parquet"))])
    assert contents[0] == contents[1] == contents[2]


def test_columns_that_are_missing_or_differ_are_named(tmp_path: Path) -> None:
    """The message names file and column."""
    files = written(tmp_path, people(10), people(10).cast({"nilai": pl.Float64}))
    with pytest.raises(_core.TableError, match=r"column is missing: file .*0\.parquet, column nik"):
        shuffled(files, tmp_path / "out", columns=["nik"])
    with pytest.raises(
        _core.TableError, match=r"type Float64 differs from the first file's Int64: file .*1\.parquet, column nilai"
    ):
        shuffled(files, tmp_path / "out")
    with pytest.raises(_core.TableError, match=r"keys expected, not Int64: file .*0\.parquet, column nilai"):
        shuffled(files[:1], tmp_path / "out", key_column="nilai")
    with pytest.raises(_core.TableError, match=r"cannot be opened .*: file .*absent\.parquet"):
        shuffled([str(tmp_path / "absent.parquet")], tmp_path / "out")


WRONG = [
    ({"parts": 3}, "parts must be a power of two from 1 to 512: 3"),
    ({"parts": 0}, "parts must be a power of two"),
    ({"threads": 0}, "threads must be from 1 to 64: 0"),
    ({"threads": 65}, "threads must be from 1 to 64: 65"),
    ({"table": "../evil"}, "table must be a name"),
    ({"table": ""}, "table must be a name"),
    ({"columns": ["nama", "nama"]}, "column is asked twice or has a reserved name: column nama"),
    ({"columns": ["_row"]}, "column is asked twice or has a reserved name: column _row"),
    ({"marker_key": b"short"}, "marker_key must be 32 bytes, not this many: 5"),
    ({"marker_key": None}, "key person needs a marker_key"),
    ({"key": "account"}, "key account takes no marker_key"),
    ({"key": "school"}, "key must be person or account: school"),
]


@pytest.mark.parametrize(("changes", "message"), WRONG)
def test_arguments_out_of_bounds_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    """Each wrong argument is one clear error, and nothing is written."""
    files = written(tmp_path, people(10))
    with pytest.raises(ValueError, match=message):
        shuffled(files, tmp_path / "out", **changes)
    assert not (tmp_path / "out").exists()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A file where the folder should be is an error with the place."""
    (tmp_path / "out").write_text("in the way")
    with pytest.raises(_core.TableError, match=r"cannot be written .*out"):
        shuffled(written(tmp_path, people(10)), tmp_path / "out")
    with pytest.raises(_core.TableError, match="files must name at least one: 0"):
        shuffled([], tmp_path / "other")


def test_an_account_key_of_another_length_is_refused(tmp_path: Path) -> None:
    """A key that is no account key is an error, not a row set aside: it was made by us."""
    pl.DataFrame({"account_key": [b"x" * 16]}).write_parquet(tmp_path / "a.parquet")
    with pytest.raises(_core.TableError, match=r"17 bytes expected, not 16: file .*a\.parquet, column account_key"):
        shuffled(
            [str(tmp_path / "a.parquet")], tmp_path / "out", key_column="account_key", key="account",
            columns=["account_key"], marker_key=None,
        )  # fmt: skip


def test_uuids_leave_as_bytes_and_unreadable_ones_are_told(tmp_path):
    """16 bytes, null where nothing or nothing readable was, and a bit for each value that was there and is no UUID."""
    good = str(uuid.UUID(int=5))
    texts = [good, good.upper(), f" {good} ", "", "  ", None, "no", good[:-1]]
    frame = people(8, seed=3).with_columns(
        peserta_didik_id=pl.lit(str(uuid.UUID(int=9))),
        sekolah=pl.Series(texts, dtype=pl.String),
        kelas=pl.Series([bytes(16), None, b"short", good.encode(), *[None] * 4], dtype=pl.Binary),
    )
    columns, uuids = ["nama", "kelas", "sekolah"], ["sekolah", "kelas"]
    counts = shuffled(written(tmp_path, frame), tmp_path / "out", columns=columns, uuid_columns=uuids, parts=1)
    assert counts["read"] == 8
    (part,) = parts_of(tmp_path / "out")
    assert part.columns == ["nama", "kelas", "sekolah", "_person", "_marker", "_unreadable", "_file", "_row"]
    assert part["sekolah"].to_list() == [uuid.UUID(int=5).bytes] * 3 + [None] * 5
    assert part["kelas"].to_list() == [bytes(16), None, None, uuid.UUID(int=5).bytes] + [None] * 4
    assert part["_unreadable"].to_list() == [0, 0, 2, 0, 0, 0, 1, 1]
    unkeyed = pl.read_parquet(tmp_path / "out" / "unkeyed" / "peserta_didik.parquet")
    assert unkeyed.columns == [*columns, "_file", "_row"]


@pytest.mark.parametrize("columns", [["lain"], ["nilai"], ["nama"] * 33])
def test_columns_that_hold_no_uuids_are_refused(tmp_path, columns):
    """One that is not among the columns, one of numbers, and more than there are bits."""
    with pytest.raises(_core.TableError):
        shuffled(written(tmp_path, people(20)), tmp_path / "out", uuid_columns=columns)
    assert not list((tmp_path / "out").rglob("*.parquet"))
