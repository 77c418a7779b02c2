"""What a comparison has to know beside register and directory: what earlier runs did, and what people asked for."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from belajarid_recon.errors import InputError
from belajarid_recon.naming.user_ids import Addresses, scan_addresses
from belajarid_recon.reconcile import ALIASES, DELETABLE, NOTICES, Remembered
from belajarid_recon.settings import Aliases, Deletion, Settings
from belajarid_recon.sources.requests import read_aliases, read_notices
from belajarid_recon.state.lifecycle import deleted_by_us, suspended_by_us


def remember(
    settings: Settings, day: date, addresses: Addresses, tenants: Mapping[str, Mapping[str, Any]]
) -> Remembered:
    """Everything a plan of this day has to know.

    `tenants` are the snapshot's, by name, with their `domains`. Raises InputError for files of people's requests that cannot be meant,
    PlanError for state that is damaged.
    """
    ours = suspended_by_us(settings.state)
    deletable, notices = DELETABLE.to_frame(), NOTICES.to_frame()
    if settings.deletion is not None:
        deletable, notices = _announced(ours, settings.deletion, day)
    aliases = ALIASES.to_frame()
    if settings.aliases is not None:
        aliases = _asked(settings.aliases, addresses, tenants)
    return Remembered(ours["account_key"], deletable, notices, aliases)


def restorable(state: Path, deleted: pl.DataFrame) -> pl.DataFrame:
    """Deleted accounts (schemas.DELETED) that are ours: by their marker, or because a run of ours deleted this very id.

    Lists of deleted accounts need not show external ids.
    """
    ours = deleted_by_us(state).select(id="target_id", known="account_key")
    owned = deleted.join(ours, on="id", how="left").with_columns(account_key=pl.coalesce("account_key", "known"))
    return owned.drop("known").filter(pl.col("account_key").is_not_null())


def _announced(ours: pl.DataFrame, deletion: Deletion, day: date) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Suspensions and notices that are old enough on this day."""
    if deletion.agreed_on > day:
        raise InputError(
            f"deletion is agreed on a later day than the run's: {deletion.agreed_on}",
            hint="see settings, table deletion",
        )
    suspended_until = day - timedelta(days=deletion.after_days)
    delivered_until = day - timedelta(days=deletion.notice_days)
    notices = read_notices(deletion.notices_file).filter(pl.col("delivered_on") <= delivered_until)
    return ours.filter(pl.col("on") <= suspended_until).cast(DELETABLE), notices.cast(NOTICES)


def _asked(aliases: Aliases, addresses: Addresses, tenants: Mapping[str, Mapping[str, Any]]) -> pl.DataFrame:
    """The aliases people asked for, with who has or had their user IDs. Raises InputError where a tenant lacks a domain."""
    asked = read_aliases(aliases.file)
    home = {domain: tenant for tenant, facts in tenants.items() for domain in facts["domains"]}
    domain_of = {name: pl.col(name).str.split("@").list.last() for name in ("address", "alias")}
    placed = asked.with_columns(
        tenant=domain_of["alias"].replace_strict(home, default=None, return_dtype=pl.String),
        other=domain_of["address"].replace_strict(home, default=None, return_dtype=pl.String),
        user_id=pl.col("alias").str.split("@").list.first(),
    )
    wrong = placed.with_row_index("line", offset=2).filter(
        pl.col("tenant").eq_missing(pl.col("other")).not_() | pl.col("tenant").is_null()
    )
    if wrong.height:
        raise InputError(
            f"alias and account are not in one tenant: {aliases.file}, line {wrong['line'][0]}",
            hint="both domains must be verified in the account's own tenant",
        )
    held = (
        scan_addresses(addresses)
        .join(placed.lazy().select("tenant", "user_id"), on=["tenant", "user_id"], how="semi")
        .group_by("tenant", "user_id")
        .agg(
            in_sight=pl.col("owner").is_null().any() | (pl.col("owner").drop_nulls().n_unique() > 1),
            owner=pl.col("owner").drop_nulls().first(),
        )
        .collect(engine="streaming")
    )
    known = placed.join(held, on=["tenant", "user_id"], how="left")
    return known.with_columns(pl.col("in_sight").fill_null(value=False)).select(ALIASES.names()).cast(ALIASES)
