"""Comparing two tables, slowly and obviously: what `diff` is held to."""

from __future__ import annotations

import struct
import unicodedata
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

Row = tuple[Any, ...]
"""A key and the attributes' values."""

Line = tuple[str, Any, list[str], dict[str, Any] | None, dict[str, Any] | None, int]
"""kind, key, differs, before, after, count."""

WHITE_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
"""Unicode's White_Space property. Python's `str.strip` takes four control characters more."""

NORMALISATIONS = {
    "trim-1": lambda text: text.strip(WHITE_SPACE),
    "nfc-1": lambda text: unicodedata.normalize("NFC", text),
    "lower-1": str.lower,
    "empty-null-1": lambda text: text or None,
}


def comparable(value: Any, steps: Sequence[str] = ()) -> Any:
    """A value as it is compared: normalised, and numbers with a fraction by their bits, so that NaN equals itself."""
    for step in steps:
        if value is not None:
            value = NORMALISATIONS[step](value)
    return struct.pack("<d", value) if isinstance(value, float) else value


def as_matched(key: Any, key_form: str) -> Any:
    """A key as it is matched and ordered."""
    if key_form == "uuid":
        return uuid.UUID(key).bytes if isinstance(key, str) else key
    return key.encode() if isinstance(key, str) else key


def as_shown(matched: Any, source_key: Any, key_form: str) -> Any:
    """A key as the result shows it: as the source has it."""
    if key_form == "uuid" and source_key is str:
        return str(uuid.UUID(bytes=matched))
    return matched.decode() if source_key is str else matched


def reference(
    source: Sequence[Row],
    directory: Sequence[Row],
    names: Sequence[str],
    *,
    key_form: str = "text",
    shown_as: type = str,
    normalise: Mapping[str, Sequence[str]] | None = None,
) -> tuple[list[Line], dict[str, int]]:
    """The lines that must come out, and the counts. `shown_as` is the Python type of the source's keys."""
    steps = [(normalise or {}).get(name, ()) for name in names]
    sides = [[(as_matched(row[0], key_form), row[1:]) for row in rows] for rows in (source, directory)]
    times = [Counter(key for key, _ in rows) for rows in sides]
    after, before = ({key: dict(zip(names, values, strict=True)) for key, values in rows} for rows in sides)
    counts = Counter(source_rows=len(source), directory_rows=len(directory), common=len(after.keys() & before.keys()))
    lines: list[Line] = []
    for key in sorted(after.keys() | before.keys()):
        shown = as_shown(key, shown_as, key_form)
        doubled = [
            (f"duplicate-{side}", count[key])
            for side, count in zip(("source", "directory"), times, strict=True)
            if count[key] > 1
        ]
        if doubled:
            lines += [(kind, shown, [], None, None, count) for kind, count in doubled]
        elif key not in before:
            lines.append(("added", shown, [], None, after[key], 1))
        elif key not in after:
            lines.append(("removed", shown, [], before[key], None, 1))
        else:
            differs = [
                name
                for name, taken in zip(names, steps, strict=True)
                if comparable(after[key][name], taken) != comparable(before[key][name], taken)
            ]
            if differs:
                old, new = ({n: side[key][n] if n in differs else None for n in names} for side in (before, after))
                lines.append(("changed", shown, differs, old, new, 1))
            else:
                counts["unchanged"] += 1
    counts.update(line[0].replace("-", "_") for line in lines)
    counts["lines"] = len(lines)
    return lines, {name: counts[name] for name in COUNTS}


COUNTS = (
    "source_rows",
    "directory_rows",
    "common",
    "unchanged",
    "added",
    "removed",
    "changed",
    "duplicate_source",
    "duplicate_directory",
    "lines",
)


def counted(found: Any) -> dict[str, int]:
    """A result's counts but for what depends on the machine. With `exact` they are final after the lines."""
    return {name: found.counts[name] for name in COUNTS}


def lines_of(result: Any) -> list[Line]:
    """A result's lines in the reference's form."""
    table = result if isinstance(result, pa.Table) else pa.table(result)
    assert table.column_names == ["kind", "key", "differs", "before", "after", "count"]
    return [tuple(row.values()) for row in table.to_pylist()]


def same(found: Sequence[Line], expected: Sequence[Line]) -> bool:
    """Whether two lists of lines are equal, NaN to itself."""
    return _bits(list(found)) == _bits(list(expected))


def _bits(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _bits(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_bits(inner) for inner in value]
    return comparable(value)
