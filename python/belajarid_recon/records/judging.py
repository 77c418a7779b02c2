"""Judging rows of one table by an expression."""

from __future__ import annotations

import polars as pl

from belajarid_recon.sources.columns import as_number, split
from belajarid_recon.sources.tables import ASIDE, Table


def judge(table: Table, verdict: pl.Expr) -> Table:
    """Set aside the rows for which `verdict` (see `columns.fault`) is not null."""
    if table.frame.is_empty():
        return table
    faults = table.frame.select(fault=verdict)["fault"].cast(pl.String)
    if faults.null_count() == len(faults):
        return table
    rows = split(table.frame, faults)
    return Table(rows.frame, pl.concat([table.aside, rows.aside.cast(ASIDE)]), table.files, table.read)


def in_series(column: str, values: pl.Series) -> pl.Expr:
    """Whether a column's identifier (16 bytes) is among `values`; false for null."""
    numbers = values.to_frame("id").select(as_number("id"))["id"]
    return as_number(column).is_in(numbers.implode()).fill_null(value=False)
