"""The Rust core: row work over Arrow columns and Parquet files.

Columns and tables come in as any object with `__arrow_c_stream__` or `__arrow_c_array__` (polars, pyarrow) and go out as objects that
polars takes: `pl.Series(column)`, `pl.DataFrame(table)`. Strings may be Utf8, LargeUtf8, Utf8View or a dictionary of them;
bytes Binary, LargeBinary, BinaryView, FixedSizeBinary or a dictionary of them. A polars column of type Null is not
taken, because polars exports it in a form that the Arrow specification does not allow: give frames their schema.

Every function works without holding the interpreter. Keys are 32 bytes and never show in a message.
`ValueError` (TableError included) means that an argument, table or file cannot be used; nothing is left behind then.
"""

from collections.abc import Sequence
from typing import Literal, Protocol, TypedDict, final

__version__: str

class ArrowColumn(Protocol):
    """A column of any Arrow library."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """The Arrow PyCapsule protocol's stream."""
        ...

ArrowTable = ArrowColumn
"""A table: the same protocol, a struct a row."""

class TableError(ValueError):
    """A table, column, file or argument that cannot be used. The message names file and column, and never holds a value of a row."""

def parse_uuids(values: ArrowColumn) -> ArrowColumn:
    """The 16 bytes of each UUID, null where a value is null or no UUID.

    Text: 36 characters with hyphens, or 32 hexadecimal digits, in either case. Bytes: 16 raw ones, or text as above. Blanks, braces and
    prefixes are refused; version and variant are not looked at.
    Raises TableError when the column is neither strings nor bytes.
    """

def markers(person_ids: ArrowColumn, *, key: bytes) -> ArrowColumn:
    """The marker of each person: the first 16 bytes of the BLAKE3 keyed hash of the 16-byte person id. Null stays null.

    Raises TableError when the column is not binary, or an id has another length.
    """

def account_keys(markers: ArrowColumn, jenjang_codes: ArrowColumn) -> ArrowColumn:
    """The account keys: marker (16 bytes) and jenjang code (an integer from 0 to 255), null where either is.

    Raises TableError when the lengths of the columns differ, or a value is out of bounds.
    """

class ShuffleCounts(TypedDict):
    """Rows read; set aside for want of a key; in each part. The second and third add up to the first."""

    read: int
    unkeyed: int
    parts: list[int]

def shuffle(
    files: Sequence[str],
    *,
    key_column: str,
    key: Literal["person", "account"],
    columns: Sequence[str],
    parts: int,
    marker_key: bytes | None,
    out_folder: str,
    table: str,
    threads: int,
) -> ShuffleCounts:
    """Cut the Parquet files of one table into parts, each `out_folder/part=NNN/<table>.parquet`.

    The part is the top log2(parts) bits of the marker; `parts` is a power of two from 1 to 512, `threads` is from 1 to 64. With
    key "person", `key_column` holds a UUID as `parse_uuids` takes it, and the marker is made under `marker_key`; with
    "account" it holds 17-byte account keys, whose front is a marker, and `marker_key` is None.

    A part holds `columns` as they are (with the first file's layout of strings and bytes where files differ in it), then
    `_person` and `_marker` (16 bytes; key "person" only), `_file` (UInt32, position in `files`) and `_row` (Int64, from 0 in that
    file). Rows are in order of file and row, whatever the threads. Rows whose key is null or no UUID go to
    `out_folder/unkeyed/<table>.parquet` with `columns`, `_file` and `_row`. All of these files exist afterwards, empty or not; each is
    written beside its place, and takes its name when all are whole.

    Memory is bounded by the row groups under construction: 256 MiB, and at least 1 MiB a part.
    Raises TableError, with file and column, for a file that is missing, truncated or not Parquet; a column that is missing, or of
    another type than in the first file; an account key that is not 17 bytes long; a place that cannot be written.
    """
