"""User IDs as the plan asks for them: from frames and from the files of snapshot and ledger alike."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from belajarid_recon.errors import PlanError
from belajarid_recon.naming.user_ids import Addresses, allocate_user_ids, given_before
from belajarid_recon.schemas import ADDRESSES
from belajarid_recon.secrets import Secret

KEY = Secret(bytes(range(32)))


def account_key(number: int) -> bytes:
    """A key in SD."""
    return bytes([number]) * 16 + b"\1"


def in_files(frame: pl.DataFrame, folder: Path) -> list[Path]:
    """The frame's rows in two files, as snapshot and ledger have them."""
    places = [folder / "addresses.parquet", folder / "ledger.parquet"]
    for place, rows in zip(places, (frame[:1], frame[1:]), strict=True):
        rows.write_parquet(place)
    return places


PEOPLE = pl.DataFrame(
    {"account_key": [account_key(n) for n in (1, 2)], "tenant": ["sd", "sd"], "nama": ["SITI", "SITI"]}
)


def named(addresses: Addresses) -> list[str]:
    """The user IDs of the two people."""
    return allocate_user_ids(PEOPLE, addresses, naming_key=KEY, threads=2)["user_id"].to_list()


def test_files_block_as_frames_do(tmp_path: Path) -> None:
    """What is taken in one tenant blocks there, from memory and from files; no address at all blocks nobody."""
    free = named([])
    rows = [("sd", free[0], None), ("smp", free[1], None), ("sd", "siti", account_key(9))]
    addresses = pl.DataFrame(rows, ADDRESSES, orient="row")
    assert free[0] not in named(addresses)
    assert named(addresses)[1] == free[1]
    assert named(in_files(addresses, tmp_path)) == named(addresses)


def test_what_the_ledger_gave_is_found_in_frames_and_files(tmp_path: Path) -> None:
    """The first by letters of a person's own, and whether an account in sight has any; others' rows and other tenants' do not count."""
    rows = [
        ("sd", "siti0002", None),
        ("sd", "siti0002", account_key(1)),
        ("sd", "siti0001", account_key(1)),
        ("smp", "siti0003", account_key(2)),
        ("sd", "siti0004", account_key(7)),
    ]
    addresses = pl.DataFrame(rows, ADDRESSES, orient="row")
    expected = [(account_key(1), "siti0001", True)]
    assert given_before(PEOPLE, addresses).rows() == expected
    assert given_before(PEOPLE, in_files(addresses, tmp_path)).rows() == expected
    assert given_before(PEOPLE, []).is_empty()
    assert given_before(PEOPLE.clear(), addresses).schema == given_before(PEOPLE, addresses).schema


def test_damaged_addresses_stop_the_plan(tmp_path: Path) -> None:
    """Nobody is named while a file cannot be read."""
    place = tmp_path / "addresses.parquet"
    place.write_bytes(b"PAR1 and no more")
    for ask in (lambda: named([place]), lambda: given_before(PEOPLE, [place])):
        with pytest.raises(PlanError, match="addresses cannot be read"):
            ask()
