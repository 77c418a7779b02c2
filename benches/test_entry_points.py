"""Python entry points of the core on frames in memory, by pytest-benchmark: `make bench`.

Sizes are small, so that a run is quick; benchmarks against other engines, on files and in processes of their own, are
`python -m belajarid_recon.bench`. docs/benchmarks.md says how to read both.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from belajarid_recon import _core, allocate_user_ids, diff
from belajarid_recon.bench.data import ATTRIBUTES, KEY, Pair, make_pair
from belajarid_recon.bench.run import Inputs

KEYS = 200_000
NAMING_KEY = bytes(range(32))


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """Two tables of pupils as Parquet."""
    assert _core.__build__ == "release", "a benchmark needs the optimised core: make setup"
    folder = tmp_path_factory.mktemp("pair")
    make_pair(folder, Pair(KEYS))
    return Inputs((str(folder / "source.parquet"),), (str(folder / "directory.parquet"),), KEY, ATTRIBUTES)


@pytest.fixture(scope="session")
def pupils(pair: Inputs) -> pl.DataFrame:
    """The source in memory."""
    return pl.read_parquet(pair.source[0])


@pytest.fixture(scope="session")
def account_keys(pupils: pl.DataFrame) -> pl.Series:
    """Account keys of the pupils, each once."""
    markers = pl.Series(_core.markers(_core.parse_uuids(pupils[KEY].unique()), key=NAMING_KEY))
    return pl.Series(_core.account_keys(markers, pl.repeat(1, markers.len(), dtype=pl.UInt8, eager=True)))


def test_diff_of_files(benchmark: Any, pair: Inputs, tmp_path: Path) -> None:
    """Two Parquet files to one."""
    found = benchmark(diff, pair.source, pair.directory, key=KEY, attributes=ATTRIBUTES, out=tmp_path / "out.parquet")
    assert found.counts["changed"] > 0


def test_diff_of_frames(benchmark: Any, pair: Inputs, pupils: pl.DataFrame) -> None:
    """Two frames in memory to an Arrow stream."""
    directory = pl.read_parquet(pair.directory[0])
    found = benchmark(lambda: pl.DataFrame(diff(pupils, directory, key=KEY, attributes=ATTRIBUTES)))
    assert found.height > 0


def test_parse_uuids(benchmark: Any, pupils: pl.DataFrame) -> None:
    """Text to 16 bytes."""
    assert pl.Series(benchmark(_core.parse_uuids, pupils[KEY])).null_count() == 0


def test_row_digests(benchmark: Any, pupils: pl.DataFrame) -> None:
    """Digests of eight attributes."""
    assert pl.Series(benchmark(_core.row_digests, pupils, attributes=ATTRIBUTES, seed=7)).len() == pupils.height


def test_user_id_bases(benchmark: Any, pupils: pl.DataFrame) -> None:
    """Names to bases of user IDs."""
    assert pl.Series(benchmark(_core.user_id_bases, pupils["nama"])).len() == pupils.height


def test_allocate_user_ids(benchmark: Any, pupils: pl.DataFrame, account_keys: pl.Series) -> None:
    """New people, nothing taken."""
    people = pl.DataFrame({"account_key": account_keys, "nama": pupils["nama"].head(account_keys.len())})
    given = benchmark(lambda: pl.DataFrame(allocate_user_ids(people, [], naming_key=NAMING_KEY)))
    assert given["user_id"].null_count() == 0


def test_sha512_crypt(benchmark: Any) -> None:
    """2,000 password hashes of 1,000 rounds on one thread."""
    secrets, salts = [b"123456789012345"] * 2_000, ["abcdefghijklmnop"] * 2_000
    assert len(benchmark(_core.sha512_crypt, secrets, salts, rounds=1_000, threads=1)) == 2_000
