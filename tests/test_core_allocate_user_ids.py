"""`allocate_user_ids` against an obvious implementation, and whatever the order, the batches and the form of its input."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import belajarid_recon
from belajarid_recon import _core
from belajarid_recon.naming.allocation import Columns

KEY = bytes(range(32))
PEOPLE = {"account_key": pl.Binary, "nama": pl.String}
TAKEN = {"jenjang": pl.UInt8, "user_id": pl.String, "owner": pl.Binary}
KEPT = {"account_key": pl.Binary, "user_id": pl.String}

Person = tuple[bytes, str | None]
Row = tuple[int, str, bytes | None]
Have = tuple[bytes, str]


def account_key(number: int, jenjang: int = 1) -> bytes:
    """The key of a person by number, in the order of numbers."""
    return number.to_bytes(16, "big") + bytes([jenjang])


def base_of(name: str | None) -> str:
    """The base of one name."""
    return str(pl.Series(_core.user_id_bases(pl.Series([name], dtype=pl.String)))[0])


def candidate(base: str, key: bytes, attempt: int) -> str:
    """One candidate of a person."""
    return _core.candidate_user_id(base, key, attempt, naming_key=KEY)


def reference(people: list[Person], taken: list[Row], kept: Sequence[Have] = ()) -> list[tuple[Any, ...]]:
    """Everybody in key order takes the first candidate that neither a lower key nor somebody else's row nor a keeper has."""
    keeps = dict(kept)
    given = {(key[16], user_id.lower()) for key, user_id in kept}
    owners: dict[tuple[int, str], set[bytes | None]] = {}
    for code, user_id, owner in taken:
        owners.setdefault((code, user_id.lower()), set()).add(owner)
    lines: list[tuple[Any, ...]] = []
    for key, name in sorted(people):
        if key in keeps:
            lines.append((key, keeps[key], None))
            continue
        base, jenjang = base_of(name), key[16]
        free = (
            (user_id, attempt)
            for attempt in range(64)
            if (slot := (jenjang, user_id := candidate(base, key, attempt))) not in given
            and owners.get(slot, {key}) == {key}
        )
        user_id, attempt = next(free, (None, None))
        given.add((jenjang, user_id or ""))
        lines.append((key, user_id, attempt))
    return lines


def allocated(people: Any, taken: Any, kept: Any = None, threads: int = 1) -> list[tuple[Any, ...]]:
    """The answer as rows."""
    given = belajarid_recon.allocate_user_ids(people, taken, naming_key=KEY, kept=kept, threads=threads)
    frame = pl.DataFrame(given)
    assert len(given) == frame.height
    return frame.rows()


def frames(people: list[Person], taken: list[Row], kept: Sequence[Have] = ()) -> list[pl.DataFrame]:
    """The three tables as polars has them."""
    return [
        pl.DataFrame(rows, schema, orient="row")
        for rows, schema in ((people, PEOPLE), (taken, TAKEN), (list(kept), KEPT))
    ]


LONG = "ABDURRAHMANABDURRAHMANABDURRAHMAN AL-KHALILURRAHMANKHALILURRAHMAN"
NAMES = st.one_of(
    st.sampled_from(["BUDI SARI", "Budi Sari", "budi  sari", "SITI", "", None, "Núr Aini", LONG, LONG + "I"]),
    st.text(max_size=8),
)


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[Person], list[Row], list[Have]]:
    """People with few names in two jenjang, taken rows that meet their candidates, and some who keep an ID."""
    spread = draw(st.sampled_from([1, 1 << 120]))
    keys = draw(
        st.lists(
            st.builds(lambda n, j: account_key(n * spread, j), st.integers(0, 60), st.integers(0, 1)),
            unique=True,
            max_size=25,
        )
    )
    people = [(key, draw(NAMES)) for key in keys]
    owners = st.one_of(st.none(), st.sampled_from(keys), st.just(account_key(99))) if keys else st.none()
    taken: list[Row] = []
    for key, name in people:
        for attempt in draw(st.lists(st.sampled_from([0, 0, 1, 2, 4, 8]), max_size=4)):
            user_id = candidate(base_of(name), key, attempt)
            jenjang = draw(st.sampled_from([key[16], 1 - key[16]]))
            taken.append((jenjang, draw(st.sampled_from([user_id, user_id.upper()])), draw(owners)))
    strays = st.sampled_from(
        [
            "",
            "budi",
            "budi.sari",
            "budi.sari123",
            "budi.sari1234567",
            "1234",
            "ß1234",
            "orang.lain0001",
            "[udi@sari0001",
        ]
    )
    taken += [(1, draw(strays), None) for _ in range(draw(st.integers(0, 3)))]
    holders = draw(st.lists(st.sampled_from([*keys, account_key(98)]), unique=True, max_size=3))
    named = dict(people)
    kept = {
        (key[16], user_id.lower()): (key, user_id)
        for key in holders
        for user_id in [draw(st.sampled_from(["Kepala.Sekolah", candidate(base_of(named.get(key)), key, 0)]))]
    }
    return people, taken, list(kept.values())


@settings(max_examples=150, deadline=None)
@given(cases())
def test_result_is_the_obvious_one(case: tuple[list[Person], list[Row], list[Have]]) -> None:
    """In key order, each keeps what they have or takes the first candidate that is free."""
    assert allocated(*frames(*case)) == reference(*case)


@settings(max_examples=60, deadline=None)
@given(
    cases(),
    st.randoms(use_true_random=False),
    st.integers(1, 8),
    st.integers(1, 7),
    st.sampled_from(["stream", "files"]),
)
def test_order_batches_threads_and_form_do_not_matter(
    case: tuple[list[Person], list[Row], list[Have]], draw: Any, threads: int, size: int, form: str
) -> None:
    """Shuffled rows in batches of any size, streamed or in files of any row groups, on any threads give the same table."""
    expected = allocated(*frames(*case))
    shuffled = frames(*(draw.sample(rows, len(rows)) for rows in case))
    tables = [
        pa.Table.from_batches(frame.to_arrow().to_batches(max_chunksize=size), frame.to_arrow().schema)
        for frame in shuffled
    ]
    if form == "stream":
        readers = [pa.RecordBatchReader.from_batches(table.schema, table.to_batches()) for table in tables]
        assert allocated(*readers, threads=threads) == expected
        return
    with tempfile.TemporaryDirectory() as folder:
        places = []
        for number, table in enumerate(tables):
            place = Path(folder) / str(number)
            place.mkdir()
            half = table.num_rows // 2
            pq.write_table(table.slice(0, half), place / "a.parquet", row_group_size=size)
            pq.write_table(table.slice(half), place / "b.parquet", row_group_size=size)
            places.append(place)
        assert allocated(*places, threads=threads) == expected
        assert allocated(*([str(file) for file in place.iterdir()] for place in places), threads=threads) == expected


def test_many_people_share_a_base() -> None:
    """12,000 people of one base: more than four digits hold, all different, lower keys not moved by higher ones."""
    people = [(account_key(number), "SITI NUR") for number in range(12_000)]
    lines = allocated(*frames(people, []), threads=2)
    assert len({user_id for _, user_id, _ in lines}) == 12_000
    assert {attempt for _, _, attempt in lines} >= {0, 3, 4}
    assert allocated(*frames(people[:5_000], [])) == lines[:5_000]


def test_many_bases_and_taken_rows_are_the_obvious_ones() -> None:
    """Thousands of people and taken rows, so that tables grow and batches end: as the obvious implementation has it."""
    draw = random.Random(3)  # noqa: S311 - test data
    people = [
        (draw.randbytes(16) + b"\1", f"{draw.choice('ABCDEFGH') * draw.randint(1, 30)} {chr(65 + number % 26)}")
        for number in range(3_000)
    ]
    taken = [
        (1, candidate(base_of(name), key, draw.choice([0, 0, 1])), draw.choice([None, None, key, people[0][0]]))
        for key, name in draw.choices(people, k=5_000)
    ]
    assert allocated(*frames(people, taken), threads=3) == reference(people, taken)


def test_jenjang_are_apart() -> None:
    """The same ID may be given in two jenjang, and a row of one does not block in the other, by code or by name."""
    key, other = account_key(1, 1), account_key(1, 2)
    first = candidate("siti", key, 0)
    for name, code, expected in (("smp", 2, first), ("sd", 1, candidate("siti", key, 1))):
        people, taken, _ = frames([(key, "SITI")], [(code, first, None)])
        assert allocated(people, taken)[0][1] == expected
        assert allocated(people, taken.with_columns(jenjang=pl.lit(name)))[0][1] == expected
    assert [line[0] for line in allocated(*frames([(other, "SITI"), (key, "SITI")], []))] == [key, other]


def test_a_second_run_gives_what_the_ledger_holds() -> None:
    """With the first result as ledger, everybody keeps theirs; without owners, nobody gets it again."""
    people = [(account_key(number), f"NAMA {number % 5}") for number in range(300)]
    first = allocated(*frames(people, []))
    ledger: list[Row] = [(1, user_id, key) for key, user_id, _ in first]
    assert allocated(*frames(people, ledger)) == first
    deleted: list[Row] = [(code, user_id, None) for code, user_id, _ in ledger]
    assert not {line[1] for line in allocated(*frames(people, deleted))} & {line[1] for line in first}
    unowned = belajarid_recon.allocate_user_ids(
        *frames(people, ledger)[:2], naming_key=KEY, columns=Columns(owner=None), threads=2
    )
    assert pl.DataFrame(unowned).rows() == allocated(*frames(people, deleted))


def test_whoever_has_no_candidate_left_gets_null() -> None:
    """All 64 candidates taken: no user ID, no attempt, and the others are not disturbed."""
    key = account_key(1)
    taken: list[Row] = [(1, candidate("siti", key, attempt), None) for attempt in range(64)]
    lines = allocated(*frames([(key, "SITI"), (account_key(2), "SITI")], taken))
    assert lines[0] == (key, None, None)
    assert lines[1][1] is not None


@pytest.mark.parametrize(
    "layout", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())], ids=str
)
def test_layouts_do_not_matter(tmp_path: Path, layout: pa.DataType) -> None:
    """Keys and strings of any layout are understood, in memory and in files."""
    key = account_key(1)
    people = pa.table({"account_key": pa.array([key], pa.binary(17)), "nama": pa.array(["SITI"]).cast(layout)})
    user_id = pa.array([candidate("siti", key, 0)]).cast(layout)
    taken = pa.table(
        {"jenjang": pa.array(["sd"]).cast(layout), "user_id": user_id, "owner": pa.array([None], pa.large_binary())}
    )
    for name, table in (("people", people), ("taken", taken)):
        pq.write_table(table, tmp_path / f"{name}.parquet")
    expected = [(key, candidate("siti", key, 1), 1)]
    assert allocated(people, taken) == expected
    assert allocated(tmp_path / "people.parquet", tmp_path / "taken.parquet") == expected


def test_a_result_can_be_written_and_read_again(tmp_path: Path) -> None:
    """The file holds the rows of the stream, in row groups of a fixed size, whatever the threads; the stream can be read twice."""
    people = [(account_key(number), f"NAMA {chr(65 + number % 7)}") for number in range(140_000)]
    given = belajarid_recon.allocate_user_ids(*frames(people, [])[:2], naming_key=KEY, threads=2)
    assert (
        given.write_parquet(tmp_path / "one.parquet")
        == given.write_parquet(tmp_path / "two.parquet", threads=3)
        == 140_000
    )
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "two.parquet").read_bytes()
    frame = pl.DataFrame(given)
    assert frame.equals(pl.DataFrame(given))
    assert pl.read_parquet(tmp_path / "one.parquet").equals(frame)
    assert pq.read_metadata(tmp_path / "one.parquet").num_row_groups == 2
    with pytest.raises(_core.TableError, match="cannot be written"):
        given.write_parquet(tmp_path / "one.parquet" / "three.parquet")
    assert sorted(place.name for place in tmp_path.iterdir()) == ["one.parquet", "two.parquet"]


def test_wrong_tables_are_refused() -> None:
    """Doubled or null keys, missing columns and wrong types are errors that name the column."""
    people, taken, kept = frames([(account_key(1), "SITI")], [(1, "siti0001", None)], [(account_key(1), "siti0001")])
    other_key = pl.lit(account_key(2))
    wrong = [
        (pl.concat([people, people]), taken, kept, "an account key stands twice: column account_key"),
        (people.with_columns(account_key=pl.lit(None, pl.Binary)), taken, kept, "a value is null: column account_key"),
        (people.with_columns(account_key=pl.lit(b"x")), taken, kept, "17 bytes expected, not 1: column account_key"),
        (people.drop("nama"), taken, kept, "the people table has no such column: column nama"),
        (people.with_columns(nama=pl.lit(1)), taken, kept, "strings expected, not Int32: column nama"),
        (people, taken.drop("owner"), kept, "the taken table has no such column: column owner"),
        (people, taken.with_columns(user_id=pl.lit(None, pl.String)), kept, "a value is null: column user_id"),
        (people, taken.with_columns(jenjang=pl.lit(300)), kept, "0 to 255: column jenjang"),
        (
            people,
            taken.with_columns(jenjang=pl.lit(1.5)),
            kept,
            "integer or string expected, not Float64: column jenjang",
        ),
        (people, taken.with_columns(jenjang=pl.lit("SD")), kept, "a value names no jenjang: column jenjang"),
        (people, taken.with_columns(jenjang=pl.lit(None, pl.UInt8)), kept, "a value is null: column jenjang"),
        (people, taken.with_columns(owner=pl.lit(b"x")), kept, "17 bytes expected, not 1: column owner"),
        (people, taken, pl.concat([kept, kept]), "an account key stands twice among the kept: column account_key"),
        (
            people,
            taken,
            pl.concat([kept, kept.with_columns(account_key=other_key)]),
            "keep one user ID: column user_id",
        ),
        (people, taken, kept.with_columns(user_id=pl.lit(None, pl.String)), "a value is null: column user_id"),
    ]
    for one, other, have, message in wrong:
        with pytest.raises(_core.TableError, match=message):
            belajarid_recon.allocate_user_ids(one, other, naming_key=KEY, kept=have, threads=2)
    with pytest.raises(_core.TableError, match="threads must be from 1 to 64: 65"):
        belajarid_recon.allocate_user_ids(people, taken, naming_key=KEY, threads=65)
    with pytest.raises(ValueError, match="naming_key must be 32 bytes, not this many: 1"):
        belajarid_recon.allocate_user_ids(people, taken, naming_key=b"k")


def test_wrong_files_are_refused(tmp_path: Path) -> None:
    """A file that is missing, cut short or of another kind, or has a null, is an error with its name; so is a folder without any."""
    people, taken, _ = frames([(account_key(1), "SITI")], [(1, f"siti{number:04}", None) for number in range(5_000)])
    whole = tmp_path / "whole.parquet"
    taken.write_parquet(whole)
    (tmp_path / "cut.parquet").write_bytes(whole.read_bytes()[:-20])
    hollow = bytearray(whole.read_bytes())
    hollow[100:600] = bytes(500)
    (tmp_path / "hollow.parquet").write_bytes(hollow)
    taken.with_columns(user_id=pl.lit(None, pl.String)).write_parquet(tmp_path / "null.parquet")
    taken.drop("user_id").write_parquet(tmp_path / "lacking.parquet")
    (tmp_path / "empty").mkdir()
    for name, message in (
        ("cut.parquet", "not whole Parquet"),
        ("hollow.parquet", "not whole Parquet"),
        ("absent.parquet", "cannot be opened"),
        ("null.parquet", "a value is null"),
        ("lacking.parquet", "column is missing"),
        ("empty", "the taken folder holds no Parquet file"),
    ):
        with pytest.raises(_core.TableError, match=f"{message}.*: file .*{name}"):
            belajarid_recon.allocate_user_ids(
                people, [tmp_path / name] if "." in name else tmp_path / name, naming_key=KEY
            )


def test_an_error_of_the_callers_stream_comes_back() -> None:
    """What a reader raises while it is read is what the caller gets."""

    def batches() -> Any:
        yield from frames([], [(1, "siti0001", None)])[1].to_arrow().to_batches()
        raise RuntimeError("the source went away")

    schema = frames([], [])[1].to_arrow().schema
    reader = pa.RecordBatchReader.from_batches(schema, batches())
    with pytest.raises(Exception, match="the source went away"):
        belajarid_recon.allocate_user_ids(frames([(account_key(1), "A")], [])[0], reader, naming_key=KEY, threads=2)


def test_nobody_is_nothing() -> None:
    """No people, or no files at all, give no rows with all columns."""
    people, taken, _ = frames([], [])
    for nothing in (
        belajarid_recon.allocate_user_ids(people, taken, naming_key=KEY),
        belajarid_recon.allocate_user_ids([], [], naming_key=KEY),
    ):
        table = pl.DataFrame(nothing)
        assert table.schema == {"account_key": pl.Binary, "user_id": pl.String, "attempt": pl.Int32}
        assert table.is_empty()


_ENDLESS = """
import pyarrow as pa, belajarid_recon
people = pa.table({"account_key": pa.array([bytes(17)], pa.binary(17)), "nama": ["SITI"]})
batch = pa.record_batch({"jenjang": [1] * 1000, "user_id": ["siti0001"] * 1000})
def batches():
    print("ready", flush=True)
    while True:
        yield batch
reader = pa.RecordBatchReader.from_batches(batch.schema, batches())
from belajarid_recon.naming.allocation import Columns
belajarid_recon.allocate_user_ids(people, reader, naming_key=bytes(32), columns=Columns(owner=None), threads=2)
"""


def test_an_interrupt_ends_the_work() -> None:
    """Ctrl-C in the middle of an endless stream raises KeyboardInterrupt within a second or so."""
    child = subprocess.Popen(
        [sys.executable, "-c", _ENDLESS], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        time.sleep(0.3)
        os.kill(child.pid, signal.SIGINT)
        started = time.monotonic()
        _, errors = child.communicate(timeout=20)
        assert "KeyboardInterrupt" in errors
        assert time.monotonic() - started < 5
    finally:
        child.kill()
        child.communicate()
