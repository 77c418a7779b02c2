"""User IDs for creations: unique in a jenjang, for life, and the same whatever the order of rows.

Addresses are schemas.ADDRESSES, as a frame or as Parquet files of it. Files are streamed: 100 million addresses never stand in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import polars as pl

from belajarid_recon import _core
from belajarid_recon.errors import PlanError
from belajarid_recon.naming import allocation
from belajarid_recon.schemas import ADDRESSES
from belajarid_recon.secrets import Secret

Addresses: TypeAlias = pl.DataFrame | Sequence[Path]

_COLUMNS = allocation.Columns(jenjang="tenant")


def allocate_user_ids(people: pl.DataFrame, addresses: Addresses, *, naming_key: Secret, threads: int) -> pl.DataFrame:
    """Give each of `people` (account_key, nama) a user ID that nobody in `addresses` has or had.

    Returns account_key and user_id, in account-key order; user_id is null when every candidate is taken. Raises PlanError
    when a file of addresses is damaged.
    """
    with _whole():
        named = allocation.allocate_user_ids(
            people.select("account_key", "nama"),
            addresses if isinstance(addresses, pl.DataFrame) else list(addresses),
            naming_key=naming_key.reveal(),
            columns=_COLUMNS,
            threads=threads,
        )
    return pl.DataFrame(named).select("account_key", "user_id")


def given_before(creations: pl.DataFrame, addresses: Addresses) -> pl.DataFrame:
    """`account_key`, `user_id` and `in_use` of `creations` (account_key, tenant) for whom the ledger has a user ID.

    The first by letters if there are several. In use: an account in sight has one of them. Raises PlanError when a file of
    addresses is damaged.
    """
    if creations.is_empty():
        return pl.DataFrame(schema={"account_key": pl.Binary, "user_id": pl.String, "in_use": pl.Boolean})
    rows = scan_addresses(addresses)
    people = creations.lazy().select("account_key", "tenant")
    with _whole():
        owned = (
            rows.filter(pl.col("owner").is_not_null())
            .select("tenant", "user_id", account_key="owner")
            .join(people, on=["account_key", "tenant"], how="semi")
            .collect(engine="streaming")
        )
        in_sight = (
            rows.filter(pl.col("owner").is_null())
            .select("tenant", "user_id")
            .join(owned.lazy(), on=["tenant", "user_id"], how="semi")
            .unique()
            .collect(engine="streaming")
        )
    return (
        owned.join(in_sight.with_columns(in_use=pl.lit(value=True)), on=["tenant", "user_id"], how="left")
        .group_by("account_key")
        .agg(pl.col("user_id").min(), in_use=pl.col("in_use").any())
    )


def in_sight(wanted: pl.DataFrame, addresses: Addresses) -> pl.DataFrame:
    """Rows of `wanted` (tenant, user_id), each once, that somebody in `addresses` has or had. Raises PlanError when a file is damaged."""
    with _whole():
        return (
            scan_addresses(addresses)
            .select("tenant", "user_id")
            .join(wanted.lazy(), on=["tenant", "user_id"], how="semi")
            .unique()
            .collect(engine="streaming")
        )


def scan_addresses(addresses: Addresses) -> pl.LazyFrame:
    """The addresses as one lazy schemas.ADDRESSES; a row may come twice."""
    if isinstance(addresses, pl.DataFrame):
        return addresses.lazy()
    files = [
        pl.scan_parquet(file).select(pl.col(name).cast(kind) for name, kind in ADDRESSES.items()) for file in addresses
    ]
    return pl.concat([ADDRESSES.to_frame().lazy(), *files])


@contextmanager
def _whole() -> Iterator[None]:
    """Files that cannot be read to their end are the plan's error: nobody may be named without all of them."""
    try:
        yield
    except (_core.TableError, pl.exceptions.PolarsError, OSError) as error:
        raise PlanError(
            f"addresses cannot be read: {error}", hint="restore the ledger from a backup, or take the snapshot again"
        ) from error
