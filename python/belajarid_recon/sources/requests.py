"""What people ask for beside the register: notices that were delivered, and aliases. CSV files of a few thousand lines."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from belajarid_recon.errors import InputError

LINES_MAX = 5_000_000
ADDRESS_CHARACTERS_MAX = 254
_YES_NO = {"yes": True, "ya": True, "no": False, "tidak": False}


def read_notices(path: Path) -> pl.DataFrame:
    """`address` (lower case) and `delivered_on` of every notice. Raises InputError naming file and line."""
    readers: dict[str, Callable[[str], Any]] = {"address": _address, "delivered_on": date.fromisoformat}
    return _read(path, readers, {"address": pl.String, "delivered_on": pl.Date})


def read_aliases(path: Path) -> pl.DataFrame:
    """`address`, `alias` (both lower case) and `wanted` of every line. Raises InputError naming file and line.

    An alias that two lines ask for, of one account or of two, is refused: which of them counts is nobody's guess.
    """
    readers: dict[str, Callable[[str], Any]] = {"address": _address, "alias": _address, "wanted": _yes_no}
    asked = _read(path, readers, {"address": pl.String, "alias": pl.String, "wanted": pl.Boolean})
    lines = asked.with_row_index("line", offset=2).filter(pl.col("alias").is_duplicated())["line"].to_list()
    if lines:
        raise InputError(f"one alias stands on two lines: {path}, lines {lines[0]} and {lines[1]}", hint="keep one")
    return asked


def _read(path: Path, readers: dict[str, Callable[[str], Any]], schema: dict[str, Any]) -> pl.DataFrame:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return pl.DataFrame(
                list(_rows(path, csv.DictReader(file, strict=True), readers)), schema=schema, orient="row"
            )
    except OSError as error:
        raise InputError(f"file cannot be read: {path}", hint=str(error.strerror)) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"file is no CSV in UTF-8: {path}", hint=str(error)) from error


def _rows(
    path: Path, lines: csv.DictReader[str], readers: dict[str, Callable[[str], Any]]
) -> Iterator[tuple[Any, ...]]:
    missing = [name for name in readers if name not in (lines.fieldnames or ())]
    if missing:
        raise InputError(f"file has no such column: {path}, column {missing[0]}", hint=f"columns: {', '.join(readers)}")
    for number, line in enumerate(lines, start=2):
        if number > LINES_MAX:
            raise InputError(f"file has too many lines: {path}, over {LINES_MAX}")
        row = []
        for name, reader in readers.items():
            try:
                row.append(reader((line[name] or "").strip()))
            except ValueError as error:
                # Without the value: it may be a person's address.
                raise InputError(f"line cannot be read: {path}, line {number}, column {name}") from error
        yield tuple(row)


def _address(text: str) -> str:
    local, at, domain = text.lower().partition("@")
    if not local or not at or "." not in domain or len(text) > ADDRESS_CHARACTERS_MAX or " " in text or "@" in domain:
        raise ValueError
    return text.lower()


def _yes_no(text: str) -> bool:
    if text.lower() not in _YES_NO:
        raise ValueError
    return _YES_NO[text.lower()]
