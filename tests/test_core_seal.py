"""`_core.seal`: parts sorted by account key, the same whatever threads; unmarked rows apart."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from belajarid_recon import _core

COLUMNS = ["id", "account_key", "listed"]


def accounts(count: int, seed: int = 0) -> pl.DataFrame:
    """Accounts, every fifth without a marker and every ninth with its neighbour's."""
    draw = random.Random(seed)  # noqa: S311 - not for secrets
    keys: list[bytes | None] = [draw.randbytes(16) + bytes([draw.randrange(7)]) for _ in range(count)]
    for place in range(count):
        if place % 5 == 4:
            keys[place] = None
        elif place and place % 9 == 8:
            keys[place] = keys[place - 1]
    return pl.DataFrame(
        {
            "id": [f"{seed}-{place}" for place in range(count)],
            "account_key": keys,
            "listed": [bool(p % 2) for p in range(count)],
        },
        schema={"id": pl.String, "account_key": pl.Binary, "listed": pl.Boolean},
    )


def sealed(folder: Path, frames: list[pl.DataFrame], **changes: Any) -> dict[str, Any]:
    """A seal of these frames, each a file, into `folder/out`."""
    files = []
    for number, frame in enumerate(frames):
        files.append(str(folder / f"{number}.parquet"))
        frame.write_parquet(files[-1], row_group_size=61, compression="lz4")
    arguments: dict[str, Any] = {
        "key_column": "account_key", "columns": COLUMNS, "parts": 4, "out_folder": str(folder / "out"), "table": "accounts",
        "threads": 1,
    }  # fmt: skip
    return dict(_core.seal(files, **(arguments | changes)))


def part(folder: Path, number: int) -> pl.DataFrame:
    """One part of `folder/out`."""
    return pl.read_parquet(folder / f"out/part={number:03}/accounts.parquet")


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("parts", [1, 4, 16])
def test_parts_are_sorted_by_key(tmp_path: Path, parts: int, threads: int) -> None:
    """Each part holds its keys in byte order, equal keys in order of file and row, and nothing is added or lost."""
    frames = [accounts(700, 1), accounts(0), accounts(300, 2)]
    counts = sealed(tmp_path, frames, parts=parts, threads=threads)
    rows = pl.concat(frames)
    marked = rows.filter(pl.col("account_key").is_not_null()).sort("account_key", maintain_order=True)
    number_of = marked["account_key"].map_elements(lambda key: key[0] * parts >> 8, return_dtype=pl.Int64)
    for number in range(parts):
        assert part(tmp_path, number).equals(marked.filter(number_of == number))
    unmarked = pl.read_parquet(tmp_path / "out/unmarked/accounts.parquet")
    assert unmarked.equals(rows.filter(pl.col("account_key").is_null()))
    assert counts["read"] == rows.height
    assert counts["unmarked"] == unmarked.height
    assert counts["parts"] == [part(tmp_path, number).height for number in range(parts)]
    assert sorted(path.name for path in (tmp_path / "out").iterdir())[parts:] == ["unmarked"]


def test_keys_are_fixed_and_row_groups_bounded(tmp_path: Path) -> None:
    """A reader finds 17 fixed bytes a key and at most 131,072 rows a row group."""
    keys = pl.int_range(300_000, eager=True).cast(pl.String).str.pad_start(17, "0").cast(pl.Binary)
    frame = pl.DataFrame({"account_key": keys.shuffle(seed=1), "id": keys.cast(pl.String), "listed": True})
    sealed(tmp_path, [frame], parts=1)
    file = pq.ParquetFile(tmp_path / "out/part=000/accounts.parquet")
    assert file.schema_arrow.field("account_key").type == pa.binary(17)
    groups = [file.metadata.row_group(number) for number in range(file.num_row_groups)]
    assert [group.num_rows for group in groups] == [131_072, 131_072, 37_856]
    ranges = [group.column(1).statistics for group in groups]
    assert all(one.max < other.min for one, other in pairwise(ranges))
    assert part(tmp_path, 0)["account_key"].equals(keys)


def test_the_key_is_written_though_not_asked(tmp_path: Path) -> None:
    """The key comes first where `columns` does not place it."""
    sealed(tmp_path, [accounts(20)], columns=["id"], parts=1)
    assert part(tmp_path, 0).columns == ["account_key", "id"]


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(6)), st.integers(1, 4), st.sampled_from([1, 2, 8]))
def test_a_seal_depends_on_content_alone(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], threads: int, parts: int
) -> None:
    """Distinct keys give the same bytes in whatever files, order and threads they came."""
    frame = accounts(240).unique("account_key", keep="first", maintain_order=True).drop_nulls()
    slices = [frame.slice(place * 40, 40) for place in range(6)]
    folder = tmp_path_factory.mktemp("seal")
    (folder / "other").mkdir()
    sealed(folder, [frame], parts=parts)
    sealed(folder / "other", [slices[place] for place in order], parts=parts, threads=threads)
    for number in range(parts):
        place = f"out/part={number:03}/accounts.parquet"
        assert (folder / place).read_bytes() == (folder / "other" / place).read_bytes()


def test_a_damaged_file_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    """No part, no draft and no spill stays behind a failure."""
    accounts(100).write_parquet(tmp_path / "9.parquet")
    whole = (tmp_path / "9.parquet").read_bytes()
    (tmp_path / "9.parquet").write_bytes(whole[:-20])
    with pytest.raises(_core.TableError, match=r"not whole Parquet .*9\.parquet"):
        _core.seal(
            [str(tmp_path / "9.parquet")], key_column="account_key", columns=COLUMNS, parts=2,
            out_folder=str(tmp_path / "out"), table="accounts", threads=2,
        )  # fmt: skip
    assert not [path for path in tmp_path.glob("out/**/*") if path.is_file()]


def test_keys_that_are_none_are_refused(tmp_path: Path) -> None:
    """A key of another length or type is an error with its file and column; nothing is left."""
    with pytest.raises(_core.TableError, match=r"17 bytes expected, not 3: file .*0\.parquet, column account_key"):
        sealed(tmp_path, [accounts(9).with_columns(account_key=pl.lit(b"abc"))])
    with pytest.raises(_core.TableError, match="keys expected, not LargeUtf8: file"):
        sealed(tmp_path, [accounts(9)], key_column="id")
    with pytest.raises(ValueError, match="parts must be a power of two from 1 to 512: 6"):
        sealed(tmp_path, [accounts(9)], parts=6)
    assert not [path for path in tmp_path.glob("out/**/*") if path.is_file()]
