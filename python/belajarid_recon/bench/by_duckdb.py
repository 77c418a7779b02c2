"""DuckDB's comparison, in two forms; docs/benchmarks.md says which one is taken and why.

Keys are compared as they stand: casting their text to UUID takes DuckDB longer than it saves.
"""

from __future__ import annotations

from collections.abc import Callable

import duckdb

from belajarid_recon.bench.job import Job

DOUBLES = """
    UNION ALL
    SELECT 'duplicate-source', key, [], NULL, NULL, in_source FROM odd WHERE in_source > 1
    UNION ALL
    SELECT 'duplicate-directory', key, [], NULL, NULL, in_directory FROM odd WHERE in_directory > 1
"""


def by_groups(job: Job) -> None:
    """Group the keys of both files with a hash of each row; read again the rows of the keys that are not one pair of equal rows."""
    connection = _connect(job)
    hashed = f"hash({', '.join(_names(job))})" if job.attributes else "hash(0)"
    connection.execute(f"""
        CREATE TEMP TABLE odd AS
        SELECT key, count(side) AS in_source, count(*) - count(side) AS in_directory
        FROM (
            SELECT {_name(job.key)} AS key, {hashed} AS print, 1 AS side FROM {_table(job.source)}
            UNION ALL
            SELECT {_name(job.key)} AS key, {hashed} AS print, NULL AS side FROM {_table(job.directory)}
        )
        GROUP BY key HAVING count(*) <> 2 OR count(side) <> 1 OR bit_xor(print) <> 0
    """)
    for side in ("source", "directory"):
        files = job.source if side == "source" else job.directory
        connection.execute(f"""
            CREATE TEMP TABLE {side}_rows AS
            SELECT odd.key AS key, {", ".join(f"rows.{name}" for name in _names(job))}
            FROM {_table(files)} AS rows JOIN odd ON rows.{_name(job.key)} = odd.key
            WHERE odd.in_source < 2 AND odd.in_directory < 2
        """)
    _write(
        connection,
        job,
        f"""
        SELECT {_line(job)}
        FROM source_rows AS s FULL JOIN directory_rows AS d ON s.key = d.key
        {DOUBLES}
    """,
    )


def by_join(job: Job) -> None:
    """Join the files in full and keep what differs; keys that stand twice are found by grouping each side first."""
    connection = _connect(job)
    for side, files in (("source", job.source), ("directory", job.directory)):
        connection.execute(f"""
            CREATE TEMP TABLE {side}_doubles AS
            SELECT {_name(job.key)} AS key, count(*) AS number FROM {_table(files)} GROUP BY key HAVING count(*) > 1
        """)
    connection.execute("""
        CREATE TEMP TABLE odd AS
        SELECT key, coalesce(s.number, 1) AS in_source, coalesce(d.number, 1) AS in_directory
        FROM source_doubles AS s FULL JOIN directory_doubles AS d USING (key)
    """)
    differs = " OR ".join(f"s.{name} IS DISTINCT FROM d.{name}" for name in _names(job)) or "false"
    columns = ", ".join(_names(job))
    _write(
        connection,
        job,
        f"""
        SELECT {_line(job)}
        FROM (SELECT {_name(job.key)} AS key {"," if columns else ""} {columns} FROM {_table(job.source)}) AS s
        FULL JOIN (SELECT {_name(job.key)} AS key {"," if columns else ""} {columns} FROM {_table(job.directory)}) AS d
        ON s.key = d.key
        WHERE (s.key IS NULL OR d.key IS NULL OR {differs}) AND coalesce(s.key, d.key) NOT IN (SELECT key FROM odd)
        {DOUBLES}
    """,
    )


def _connect(job: Job) -> duckdb.DuckDBPyConnection:
    settings: dict[str, str | bool | int | float | list[str]] = {
        "threads": job.threads,
        "temp_directory": job.temporary_folder,
        "preserve_insertion_order": False,
    }
    if job.memory_limit is not None:
        settings["memory_limit"] = f"{job.memory_limit // 1_000_000}MB"
    return duckdb.connect(config=settings)


def _write(connection: duckdb.DuckDBPyConnection, job: Job, lines: str) -> None:
    """Lines in the order of keys, as Parquet with zstd."""
    key = "lower(key)" if job.key_form == "uuid-text" else "key"
    connection.execute(f"""
        COPY (
            SELECT kind, {key} AS key, differs, before, after, count
            FROM ({lines}) AS lines (kind, key, differs, before, after, count)
            ORDER BY lines.key, kind DESC
        ) TO {_text(job.out)} (FORMAT parquet, COMPRESSION zstd)
    """)


def _line(job: Job) -> str:
    """One line of a joined pair `s`, `d`."""
    names = _names(job)
    differ = {name: f"s.{name} IS DISTINCT FROM d.{name}" for name in names}
    listed = ", ".join(f"CASE WHEN {differ[name]} THEN {_text(job.attributes[i])} END" for i, name in enumerate(names))
    alone = "s.key IS NULL OR d.key IS NULL"

    def struct(side: str, condition: str = "") -> str:
        values = (
            f"CASE WHEN {differ[name]} THEN {side}.{name} END" if condition else f"{side}.{name}" for name in names
        )
        return "{" + ", ".join(f"{name}: {value}" for name, value in zip(names, values, strict=True)) + "}"

    if not names:
        return "CASE WHEN d.key IS NULL THEN 'added' ELSE 'removed' END, coalesce(s.key, d.key), [], NULL, NULL, 1"
    return f"""
        CASE WHEN d.key IS NULL THEN 'added' WHEN s.key IS NULL THEN 'removed' ELSE 'changed' END,
        coalesce(s.key, d.key),
        CASE WHEN {alone} THEN [] ELSE list_filter([{listed}], lambda name: name IS NOT NULL) END,
        CASE WHEN s.key IS NULL THEN {struct("d")} WHEN d.key IS NOT NULL THEN {struct("d", "part")} END,
        CASE WHEN d.key IS NULL THEN {struct("s")} WHEN s.key IS NOT NULL THEN {struct("s", "part")} END,
        1
    """


def _names(job: Job) -> list[str]:
    return [_name(attribute) for attribute in job.attributes]


def _name(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _table(files: tuple[str, ...]) -> str:
    return f"read_parquet([{', '.join(map(_text, files))}])"


FORMS: dict[str, Callable[[Job], None]] = {"groups": by_groups, "join": by_join}
