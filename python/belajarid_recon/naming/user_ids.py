"""User IDs for creations: unique in a jenjang, for life, and the same whatever the order of rows."""

from __future__ import annotations

import polars as pl

from belajarid_recon import _core
from belajarid_recon.schemas import JENJANG_CODE
from belajarid_recon.secrets import Secret


def allocate_user_ids(
    people: pl.DataFrame, addresses: pl.DataFrame, *, naming_key: Secret, threads: int
) -> pl.DataFrame:
    """Give each of `people` (account_key, nama) a user ID that nobody in `addresses` (schemas.ADDRESSES) has or had.

    Returns account_key and user_id, in account-key order; user_id is null when every candidate is taken.
    """
    codes = pl.DataFrame(
        {"tenant": [jenjang.value for jenjang in JENJANG_CODE], "jenjang_code": list(JENJANG_CODE.values())},
        schema={"tenant": pl.String, "jenjang_code": pl.UInt8},
    )
    taken = addresses.join(codes, on="tenant", how="inner").select("jenjang_code", "user_id", "owner")
    named = _core.allocate_user_ids(
        people.select("account_key", name="nama"), taken, naming_key=naming_key.reveal(), threads=threads
    )
    return pl.DataFrame(named).select("account_key", "user_id")
