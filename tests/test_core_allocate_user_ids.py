"""`_core.allocate_user_ids` against an obvious implementation, and whatever the order of its input."""

from __future__ import annotations

from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from belajarid_recon import _core

KEY = bytes(range(32))
PEOPLE = {"account_key": pl.Binary, "name": pl.String}
TAKEN = {"jenjang_code": pl.UInt8, "user_id": pl.String, "owner": pl.Binary}

Person = tuple[bytes, str | None]
Row = tuple[int, str, bytes | None]


def account_key(number: int, jenjang: int = 1) -> bytes:
    """The key of a person by number, in the order of numbers."""
    return number.to_bytes(16, "big") + bytes([jenjang])


def base_of(name: str | None) -> str:
    """The base of one name."""
    return str(pl.Series(_core.user_id_bases(pl.Series([name], dtype=pl.String)))[0])


def candidate(base: str, key: bytes, attempt: int) -> str:
    """One candidate of a person."""
    return _core.candidate_user_id(base, key, attempt, naming_key=KEY)


def reference(people: list[Person], taken: list[Row]) -> list[tuple[bytes, str | None, int | None, str]]:
    """Everybody in key order takes the first candidate that neither a lower key nor somebody else's row has."""
    given: set[tuple[int, str]] = set()
    lines = []
    for key, name in sorted(people):
        base, jenjang = base_of(name), key[16]
        blocked = {user_id.lower() for code, user_id, owner in taken if code == jenjang and owner != key}
        free = (
            (user_id, attempt)
            for attempt in range(64)
            if (user_id := candidate(base, key, attempt)) not in blocked and (jenjang, user_id) not in given
        )
        user_id, attempt = next(free, (None, None))
        given.add((jenjang, user_id or ""))
        lines.append((key, user_id, attempt, base))
    return lines


def allocated(people: Any, taken: Any, threads: int = 1) -> list[tuple[Any, ...]]:
    """The core's answer as rows."""
    table = _core.allocate_user_ids(people, taken, naming_key=KEY, threads=threads)
    return pl.DataFrame(table).select("account_key", "user_id", "attempt", "base").rows()


def frames(people: list[Person], taken: list[Row]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """People and taken rows as polars has them."""
    return pl.DataFrame(people, PEOPLE, orient="row"), pl.DataFrame(taken, TAKEN, orient="row")


NAMES = st.sampled_from(["BUDI SARI", "Budi Sari", "budi  sari", "SITI", "", None, "Núr Aini"])


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[Person], list[Row]]:
    """People with few names in two jenjang, and taken rows that meet their candidates."""
    keys = draw(st.lists(st.builds(account_key, st.integers(0, 60), st.integers(0, 1)), unique=True, max_size=25))
    people = [(key, draw(NAMES)) for key in keys]
    owners = st.one_of(st.none(), st.sampled_from(keys), st.just(account_key(99))) if keys else st.none()
    taken = []
    for key, name in people:
        for attempt in draw(st.lists(st.integers(0, 5), max_size=4)):
            user_id = candidate(base_of(name), key, attempt)
            taken.append((draw(st.integers(0, 1)), draw(st.sampled_from([user_id, user_id.upper()])), draw(owners)))
    strays = st.sampled_from(
        ["", "budi", "budi.sari", "budi.sari123", "budi.sari1234567", "1234", "ß1234", "orang.lain0001"]
    )
    taken += [(1, draw(strays), None) for _ in range(draw(st.integers(0, 3)))]
    return people, taken


@settings(max_examples=150, deadline=None)
@given(cases())
def test_result_is_the_obvious_one(case: tuple[list[Person], list[Row]]) -> None:
    """In key order, each has the first candidate that is free."""
    assert allocated(*frames(*case)) == reference(*case)


@settings(max_examples=60, deadline=None)
@given(cases(), st.randoms(use_true_random=False), st.integers(1, 8), st.integers(1, 7))
def test_order_batches_and_threads_do_not_matter(
    case: tuple[list[Person], list[Row]], draw: Any, threads: int, size: int
) -> None:
    """Shuffled rows in batches of any size on any threads give the same table."""
    people, taken = (list(rows) for rows in case)
    expected = allocated(*frames(people, taken))
    draw.shuffle(people)
    draw.shuffle(taken)
    batched = [
        pa.Table.from_batches(frame.to_arrow().to_batches(max_chunksize=size), frame.to_arrow().schema)
        for frame in frames(people, taken)
    ]
    assert allocated(*batched, threads=threads) == expected


def test_many_people_share_a_base() -> None:
    """12,000 people of one base: more than four digits hold, all different, lower keys not moved by higher ones."""
    people = [(account_key(number), "SITI NUR") for number in range(12_000)]
    lines = allocated(*frames(people, []), threads=2)
    assert len({user_id for _, user_id, _, _ in lines}) == 12_000
    assert {attempt for _, _, attempt, _ in lines} >= {0, 3, 4}
    assert allocated(*frames(people[:5_000], [])) == lines[:5_000]


def test_jenjang_are_apart() -> None:
    """The same ID may be given in two jenjang, and a row of one does not block in the other."""
    key, other = account_key(1, 1), account_key(1, 2)
    first = candidate("siti", key, 0)
    assert allocated(*frames([(key, "SITI")], [(2, first, None)]))[0][1] == first
    assert allocated(*frames([(key, "SITI")], [(1, first, None)]))[0][1] == candidate("siti", key, 1)
    assert [line[0] for line in allocated(*frames([(other, "SITI"), (key, "SITI")], []))] == [key, other]


def test_a_second_run_gives_what_the_ledger_holds() -> None:
    """With the first result as ledger, everybody keeps theirs; without owners, nobody gets it again."""
    people = [(account_key(number), f"NAMA {number % 5}") for number in range(300)]
    first = allocated(*frames(people, []))
    ledger = [(1, user_id, key) for key, user_id, _, _ in first]
    assert allocated(*frames(people, ledger)) == first
    deleted = [(code, user_id, None) for code, user_id, _ in ledger]
    assert not {line[1] for line in allocated(*frames(people, deleted))} & {line[1] for line in first}


def test_whoever_has_no_candidate_left_gets_null() -> None:
    """All 64 candidates taken: no user ID, no attempt, and the others are not disturbed."""
    key = account_key(1)
    taken = [(1, candidate("siti", key, attempt), None) for attempt in range(64)]
    lines = allocated(*frames([(key, "SITI"), (account_key(2), "SITI")], taken))
    assert lines[0] == (key, None, None, "siti")
    assert lines[1][1] is not None


@pytest.mark.parametrize(
    "layout", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())], ids=str
)
def test_layouts_do_not_matter(layout: pa.DataType) -> None:
    """Keys and strings of any layout are understood."""
    key = account_key(1)
    people = pa.table({"account_key": pa.array([key], pa.binary(17)), "name": pa.array(["SITI"]).cast(layout)})
    user_id = pa.array([candidate("siti", key, 0)]).cast(layout)
    taken = pa.table({"jenjang_code": [1], "user_id": user_id, "owner": pa.array([None], pa.large_binary())})
    assert allocated(people, taken)[0][1] == candidate("siti", key, 1)


def test_wrong_tables_are_refused() -> None:
    """Doubled or null keys, missing columns and wrong types are errors that name the column."""
    people, taken = frames([(account_key(1), "SITI")], [(1, "siti0001", None)])
    wrong = [
        (pl.concat([people, people]), taken, "an account key stands twice: column account_key"),
        (people.with_columns(account_key=pl.lit(None, pl.Binary)), taken, "a value is null: column account_key"),
        (people.drop("name"), taken, "the people table has no such column: column name"),
        (people.with_columns(name=pl.lit(1)), taken, "strings expected, not Int32: column name"),
        (people, taken.drop("owner"), "the taken table has no such column: column owner"),
        (people, taken.with_columns(user_id=pl.lit(None, pl.String)), "a value is null: column user_id"),
        (people, taken.with_columns(jenjang_code=pl.lit(300)), "0 to 255: column jenjang_code"),
        (people, taken.with_columns(owner=pl.lit(b"x")), "17 bytes expected, not 1: column owner"),
    ]
    for one, other, message in wrong:
        with pytest.raises(_core.TableError, match=message):
            _core.allocate_user_ids(one, other, naming_key=KEY)
    with pytest.raises(_core.TableError, match="threads must be from 1 to 64: 0"):
        _core.allocate_user_ids(people, taken, naming_key=KEY, threads=0)


def test_nobody_is_nothing() -> None:
    """No people give no rows with all columns."""
    table = pl.DataFrame(_core.allocate_user_ids(*frames([], []), naming_key=KEY))
    assert table.schema == {"account_key": pl.Binary, "user_id": pl.String, "attempt": pl.Int32, "base": pl.String}
    assert table.is_empty()
