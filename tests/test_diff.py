"""`belajarid_recon.diff` against a slow and obvious implementation, and what it refuses."""

from __future__ import annotations

import random
import subprocess
import sys

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import belajarid_recon
from belajarid_recon.differences import NORMALISATIONS, Diff
from belajarid_recon.errors import ErrorKind, InputError, SettingsError
from diff_reference import counted, lines_of, reference, same
from diff_tables import MARKS, PEOPLE, Question, questions

COLUMNS = {"key": pl.String, "nama": pl.String, "npsn": pl.Int64}


def compared(source: object, directory: object, **changes: object) -> Diff:
    """`diff` with the arguments most tests want."""
    return belajarid_recon.diff(source, directory, **{"key": "key", "allow_disjoint": True} | changes)


def frame(*rows: tuple) -> pl.DataFrame:
    """A small table of people."""
    return pl.DataFrame(rows, schema=COLUMNS, orient="row")


def expected_of(question: Question, **changes: object) -> tuple[list, dict[str, int]]:
    """What the slow implementation says."""
    return reference(*question.rows, question.names, key_form=question.key_form, shown_as=question.shown_as, **changes)


@given(questions(), st.booleans(), st.integers(1, 4))
@settings(max_examples=250, deadline=None)
def test_it_agrees_with_the_reference(question, exact, threads):
    """Random tables of every layout, kind and form of key, with nulls and duplicates, by digest and by bytes."""
    lines, counts = expected_of(question)
    form = question.key_form
    found = compared(*question.tables(), key_form=form, exact=exact, threads=threads)
    assert same(lines_of(found), lines)
    assert counted(found) == counts


ROWS = st.lists(st.tuples(st.sampled_from("abcde"), st.none() | MARKS | st.text(max_size=3)), max_size=20)


@given(ROWS, ROWS, st.lists(st.sampled_from(NORMALISATIONS), unique=True, max_size=4), st.booleans())
@settings(max_examples=200, deadline=None)
def test_normalisations_are_the_documented_ones(source, directory, steps, exact):
    """Any of them in any order: what they make equal is no difference, and values are shown as they are stored."""
    lines, counts = reference(source, directory, ["nama"], normalise={"nama": steps})
    tables = [
        pl.DataFrame(rows, schema={"key": pl.String, "nama": pl.String}, orient="row") for rows in (source, directory)
    ]
    found = compared(*tables, key_form="text", normalise={"nama": steps}, exact=exact)
    assert lines_of(found) == lines
    assert counted(found) == counts


@pytest.mark.parametrize(
    ("steps", "one", "other"),
    [
        (["trim-1"], "\u3000siti\t", "siti"),
        (["nfc-1"], "Rene\u0301", "René"),
        (["lower-1"], "ΣΊΣΥΦΟΣ", "σίσυφος"),
        (["empty-null-1"], "", None),
        (["trim-1", "empty-null-1"], " \n", None),
    ],
)
def test_each_normalisation_has_its_effect(steps, one, other):
    """Two values that differ without it are equal with it, and one without the other stays a difference."""
    tables = frame(("a", one, 1)), frame(("a", other, 1))
    assert compared(*tables).counts["changed"] == 1
    assert compared(*tables, normalise={"nama": steps}).agrees


def test_the_result_is_as_documented():
    """Columns, types and order of the lines, of every kind."""
    source = frame(("b", "x", 1), ("c", None, 1), ("d", "new", 1), ("e", "", 1), ("e", "", 1), ("f", "same", 1))
    directory = frame(
        ("f", "same", 1), ("a", "old", None), ("c", "x", 1), ("b", "x", 2), ("e", "", 1), ("g", "", 1), ("g", "", 2)
    )
    found = pa.table(compared(source, directory))
    values = pa.struct([("nama", pa.large_string()), ("npsn", pa.int64())])
    assert found.schema.names == ["kind", "key", "differs", "before", "after", "count"]
    assert found.schema.types == [pa.string(), pa.large_string(), pa.list_(pa.string()), values, values, pa.uint64()]
    assert lines_of(found) == [
        ("removed", "a", [], {"nama": "old", "npsn": None}, None, 1),
        ("changed", "b", ["npsn"], {"nama": None, "npsn": 2}, {"nama": None, "npsn": 1}, 1),
        ("changed", "c", ["nama"], {"nama": "x", "npsn": None}, {"nama": None, "npsn": None}, 1),
        ("added", "d", [], None, {"nama": "new", "npsn": 1}, 1),
        ("duplicate-source", "e", [], None, None, 2),
        ("duplicate-directory", "g", [], None, None, 2),
    ]


def test_a_uuid_is_found_without_being_told():
    """Sixteen bytes on one side, text in upper case on the other."""
    raw = pa.table({"key": pa.array([person.bytes for person in PEOPLE], pa.binary(16)), "x": range(6)})
    text = pa.table({"key": [str(person).upper() for person in reversed(PEOPLE)], "x": list(reversed(range(6)))})
    assert compared(raw, text).counts["unchanged"] == 6
    assert compared(text, raw).counts["unchanged"] == 6
    lower = text.set_column(0, "key", pa.array([str(person) for person in reversed(PEOPLE)]))
    assert compared(text, lower).counts["unchanged"] == 6
    assert compared(text, lower, key_form="text").counts["unchanged"] == 0


def test_keys_come_as_the_source_has_them():
    """UUIDs: text in lower case, or 16 fixed bytes, in the order of their bytes."""
    raw = pa.table({"key": pa.array([person.bytes for person in PEOPLE], pa.binary(16))})
    text = pa.table({"key": [str(person).upper() for person in PEOPLE]})
    nobody = text.slice(0, 0)
    in_order = sorted(PEOPLE, key=lambda person: person.bytes)
    shown = pa.table(compared(text, nobody, key_form="uuid"))["key"]
    assert (shown.type, shown.to_pylist()) == (pa.large_string(), [str(person) for person in in_order])
    shown = pa.table(compared(raw, nobody))["key"]
    assert (shown.type, shown.to_pylist()) == (pa.binary(16), [person.bytes for person in in_order])


def test_integers_are_ordered_as_numbers():
    """Negative keys first, and of any width."""
    source = pa.table({"key": pa.array([300, -5, 0, -(2**63), 2**63 - 1], pa.int64())})
    directory = pa.table({"key": pa.array([7], pa.uint8())})
    found = pa.table(compared(source, directory))
    assert found["key"].to_pylist() == [-(2**63), -5, 0, 7, 300, 2**63 - 1]


def test_only_keys_are_compared_when_asked(tmp_path):
    """An empty list of attributes finds added, removed and doubled keys."""
    source, directory = frame(("a", "x", 1), ("b", "y", 1)), frame(("b", "z", 2), ("c", "z", 2))
    out = tmp_path / "changes.parquet"
    for exact in (False, True):
        found = pa.table(compared(source, directory, attributes=[], exact=exact))
        assert found.column_names == ["kind", "key", "differs", "count"]
        assert found.select([0, 1]).to_pylist() == [{"kind": "added", "key": "a"}, {"kind": "removed", "key": "c"}]
        compared(source, directory, attributes=[], exact=exact, out=out)
        assert pq.read_table(out) == found


def test_the_order_of_attributes_is_the_order_asked():
    """In `differs` and in both structs."""
    found = compared(frame(("a", "x", 1)), frame(("a", "y", 2)), attributes=["npsn", "nama"])
    (line,) = lines_of(found)
    assert line[2] == list(line[3]) == list(line[4]) == ["npsn", "nama"]


def test_sides_without_rows_are_compared():
    """Nobody yet, or nobody any more: that is a result and no error."""
    people = frame(("a", "x", 1))
    assert belajarid_recon.diff(people, people.clear(), key="key").counts["added"] == 1
    assert belajarid_recon.diff(people.clear(), people, key="key").counts["removed"] == 1
    assert belajarid_recon.diff(people.clear(), people.clear(), key="key").agrees


def test_the_seed_does_not_show():
    """Digests differ, lines do not."""
    source, directory = (frame(*((str(n % 700), f"NAMA {n % k}", n) for n in range(900))) for k in (5, 7))
    expected = pa.table(compared(source, directory, seed=0))
    for seed in (1, 2**64 - 1, None):
        assert pa.table(compared(source, directory, seed=seed)) == expected


def test_the_lines_are_taken_once():
    """A stream that was taken is refused, not empty."""
    found = compared(frame(("a", "x", 1)), frame(("b", "x", 1)))
    assert pa.table(found).num_rows == 2
    with pytest.raises(InputError):
        found.__arrow_c_stream__()


def test_lines_in_a_file_are_not_in_the_result(tmp_path):
    """The error says where they are."""
    out = tmp_path / "changes.parquet"
    found = compared(frame(("a", "x", 1)), frame(("b", "x", 1)), out=out)
    assert found.out == out
    with pytest.raises(InputError, match=r"changes\.parquet"):
        found.__arrow_c_stream__()


def test_any_arrow_stream_is_a_side():
    """A polars table, a pyarrow table, a reader that can be read once, polars in many chunks."""
    rows = [(str(n), f"NAMA {n}", n) for n in range(50)]
    whole = frame(*rows)
    chunked = pl.concat([frame(*rows[:7]), frame(*rows[7:])], rechunk=False)
    arrow = whole.to_arrow()
    for table in (
        whole,
        chunked,
        arrow,
        pa.RecordBatchReader.from_batches(arrow.schema, arrow.to_batches(max_chunksize=3)),
    ):
        assert compared(table, whole).counts["unchanged"] == 50


def test_columns_of_one_side_are_named():
    """Without attributes, a column that one side lacks is an error that says how to choose."""
    source, directory = frame(("a", "x", 1)), frame(("a", "x", 1)).with_columns(lain=pl.lit(1))
    with pytest.raises(InputError, match="only the directory has: lain") as refusal:
        compared(source, directory)
    assert "nama, npsn" in refusal.value.hint
    assert compared(source, directory, attributes=["nama", "npsn"]).agrees


def test_tables_without_a_common_key_are_refused(tmp_path):
    """Most likely the key is wrong: nothing is written, unless one says that it is so."""
    source, directory = frame(("1", "x", 1)), frame(("001", "x", 1), ("002", "x", 1), ("002", "x", 1))
    out = tmp_path / "changes.parquet"
    with pytest.raises(InputError, match="no key in common: column key") as refusal:
        belajarid_recon.diff(source, directory, key="key", out=out)
    assert "allow_disjoint" in refusal.value.hint
    assert list(tmp_path.iterdir()) == []
    found = belajarid_recon.diff(source, directory, key="key", out=out, allow_disjoint=True)
    assert found.counts["lines"] == 3
    assert list(tmp_path.iterdir()) == [out]


def test_a_doubled_key_is_a_common_one():
    """Keys that stand on both sides, one of them twice, are no reason to doubt the key."""
    found = belajarid_recon.diff(frame(("a", "x", 1)), frame(("a", "x", 1), ("a", "x", 1)), key="key")
    assert found.counts["common"] == 1
    assert found.counts["duplicate_directory"] == 1


GOOD = frame(("a", "x", 1))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"threads": 0}, "threads"),
        ({"threads": 65}, "threads"),
        ({"memory_limit": (256 << 20) - 1}, "memory limit"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**64}, "seed"),
        ({"attributes": ["key", "nama"]}, "key"),
        ({"attributes": ["nama", "nama"]}, "nama"),
        ({"attributes": "nama"}, "nama"),
        ({"key_form": "number"}, "number"),
        ({"normalise": {"lain": ["trim-1"]}}, "lain"),
        ({"normalise": {"nama": ["trim-9"]}}, "trim-9"),
        ({"normalise": {"nama": "trim-1"}}, "nama"),
        ({"temporary_folder": "/nowhere/at/all"}, "/nowhere/at/all"),
        ({"out": "/nowhere/at/all/changes.parquet"}, "/nowhere/at/all"),
        ({"out": "/"}, "folder"),
    ],
)
def test_wrong_arguments_are_named(change, words):
    """An argument out of its bounds, a normalisation or a folder that is not there."""
    with pytest.raises(SettingsError, match=words) as refusal:
        compared(GOOD, GOOD, **change)
    assert refusal.value.hint


@pytest.mark.parametrize("key_form", ["auto", "text"])
@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (GOOD.drop("key"), ["key", "directory"]),
        (GOOD.with_columns(key=pl.lit(None, dtype=pl.String)), ["key", "directory"]),
        (GOOD.with_columns(key=pl.lit(1)), ["key"]),
        (GOOD.with_columns(key=pl.lit(b"a")), ["key"]),
        (GOOD.with_columns(key=pl.lit(0.5)), ["key"]),
        (GOOD.drop("nama"), ["nama", "directory"]),
        (GOOD.with_columns(nama=pl.lit(1)), ["nama"]),
        (GOOD.with_columns(npsn=pl.lit("x")), ["npsn"]),
        (GOOD.with_columns(npsn=pl.lit(2**63, dtype=pl.UInt64)), ["npsn"]),
        (GOOD.with_columns(npsn=pl.lit([[1]])), ["npsn"]),
    ],
)
def test_wrong_columns_are_named(tmp_path, bad, words, key_form):
    """A key or attribute that is missing, null, of another kind, of a kind that is not compared, or too large. No value is told."""
    out = tmp_path / "changes.parquet"
    with pytest.raises(InputError) as refusal:
        compared(GOOD, bad, attributes=["nama", "npsn"], key_form=key_form, out=out)
    assert refusal.value.hint
    for word in words:
        assert word in refusal.value.message
    assert str(2**63) not in refusal.value.message
    assert list(tmp_path.iterdir()) == []


def test_a_key_that_is_no_uuid_is_refused():
    """The first keys are UUIDs, a later one is not: the message says how to take them as text, and does not show it."""
    keys = [str(person) for person in PEOPLE]
    source = pa.table({"key": [*keys, "3201010101010001"]})
    with pytest.raises(InputError, match="text") as refusal:
        compared(source, pa.table({"key": keys}))
    assert "key" in refusal.value.message
    assert "3201010101010001" not in refusal.value.message
    assert compared(source, pa.table({"key": keys}), key_form="text").counts["added"] == 1


@pytest.mark.parametrize("side", [7, None, [], [7], object()])
def test_what_is_no_table_is_refused(side):
    """A number, nothing, no files."""
    with pytest.raises(InputError) as refusal:
        compared(side, GOOD)
    assert refusal.value.kind is ErrorKind.FIX_INPUT


def test_a_key_a_hundred_thousand_times():
    """One line, and its count; the other keys are not disturbed."""
    many = pl.DataFrame({"key": ["same"] * 100_000 + ["b", "c"], "nama": ["x"] * 100_002})
    once = pl.DataFrame({"key": ["same", "b", "c"], "nama": ["x", "x", "y"]})
    assert [line[:3] + line[5:] for line in lines_of(compared(many, once))] == [
        ("changed", "c", ["nama"], 1),
        ("duplicate-source", "same", [], 100_000),
    ]
    assert compared(many, many).counts["duplicate_source"] == 1


@pytest.mark.parametrize("make", [str, lambda n: f"{'pendidikan/' * 12}{n:012}", int, lambda n: f"{n:012}{'x' * 90}"])
def test_skewed_keys_are_compared(make):
    """Numbers in sequence, keys with a long common beginning or end."""
    draw = random.Random(3)  # noqa: S311 - test data
    sides = [[(make(draw.randrange(9_000)), draw.randrange(3)) for _ in range(6_000)] for _ in (0, 1)]
    form = "integer" if make is int else "text"
    lines, counts = reference(*sides, ["x"], key_form=form, shown_as=int if make is int else str)
    tables = [pl.DataFrame(rows, schema=["key", "x"], orient="row") for rows in sides]
    found = compared(*tables, threads=2)
    assert lines_of(found) == lines
    assert counted(found) == counts


def test_importing_the_package_is_light():
    """Neither polars nor the core is loaded before something is asked of them."""
    code = "import sys, belajarid_recon; print(sorted({'polars', 'belajarid_recon._core'} & set(sys.modules)))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert ended.stdout == "[]\n"
