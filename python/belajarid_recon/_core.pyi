"""The Rust core: row work over Arrow columns and Parquet files.

Columns and tables come in as any object with `__arrow_c_stream__` or `__arrow_c_array__` (polars, pyarrow) and go out as objects that
polars takes: `pl.Series(column)`, `pl.DataFrame(table)`. Strings may be Utf8, LargeUtf8, Utf8View or a dictionary of them;
bytes Binary, LargeBinary, BinaryView, FixedSizeBinary or a dictionary of them. A polars column of type Null is not
taken, because polars exports it in a form that the Arrow specification does not allow: give frames their schema.

Every function works without holding the interpreter. Keys are 32 bytes and never show in a message.
`ValueError` (TableError included) means that an argument, table or file cannot be used; nothing is left behind then.
"""

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Literal, Protocol, TypedDict, final, type_check_only

__all__ = [
    "Diff",
    "TableError",
    "UserIds",
    "__build__",
    "__version__",
    "account_keys",
    "allocate_user_ids",
    "candidate_digits",
    "candidate_user_id",
    "diff",
    "markers",
    "parse_uuids",
    "plain_names",
    "row_digests",
    "seal",
    "sha512_crypt",
    "shuffle",
    "user_id_bases",
]

__version__: str
__build__: Literal["debug", "release"]
"""How the core was compiled: benchmarks refuse a debug build."""

@type_check_only
class ArrowColumn(Protocol):
    """A column of any Arrow library."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """The Arrow PyCapsule protocol's stream."""
        ...

@type_check_only
class ArrowTable(Protocol):
    """A table of any Arrow library."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """The Arrow PyCapsule protocol's stream, a struct a row."""
        ...

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

@type_check_only
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
    uuid_columns: Sequence[str] = ...,
) -> ShuffleCounts:
    """Cut the Parquet files of one table into parts, each `out_folder/part=NNN/<table>.parquet`.

    The part is the top log2(parts) bits of the marker; `parts` is a power of two from 1 to 512, `threads` is from 1 to 64. With
    key "person", `key_column` holds a UUID as `parse_uuids` takes it, and the marker is made under `marker_key`; with
    "account" it holds 17-byte account keys, whose front is a marker, and `marker_key` is None.

    A part holds `columns` as they are (as LargeUtf8 or LargeBinary where the files differ in layout), then
    `_person` and `_marker` (16 bytes; key "person" only), `_file` (UInt32, position in `files`) and `_row` (Int64, from 0 in that
    file). Rows are in order of file and row, whatever the threads. Rows whose key is null or no UUID go to
    `out_folder/unkeyed/<table>.parquet` with `columns`, `_file` and `_row`. All of these files exist afterwards, empty or not; each is
    written beside its place, and takes its name when all are whole.

    Of the `columns`, `uuid_columns` (32 at most, strings or bytes) leave as 16 fixed bytes, null where nothing or nothing readable
    was: text is taken without blanks around it, and blank text is nothing. Parts then have `_unreadable` (UInt32) before `_file`: bit i
    is set where `uuid_columns[i]` was there and is no UUID as `parse_uuids` takes it.

    Memory is bounded by the row groups under construction: 256 MiB, and at least 1 MiB a part.
    Raises TableError, with file and column, for a file that is missing, truncated or not Parquet; a column that is missing, or of
    another type than in the first file; an account key that is not 17 bytes long; a place that cannot be written.
    """

@type_check_only
class SealCounts(TypedDict):
    """Rows read; without a key; in each part. The second and third add up to the first."""

    read: int
    unmarked: int
    parts: list[int]

def seal(
    files: Sequence[str],
    *,
    key_column: str,
    columns: Sequence[str],
    parts: int,
    out_folder: str,
    table: str,
    threads: int,
) -> SealCounts:
    """Cut the Parquet files of one table by account key, each part `out_folder/part=NNN/<table>.parquet` sorted by that key.

    As `shuffle` with key "account", but: rows are in order of the key's bytes (rows of one key in order of file and row); row groups have
    131,072 rows at most; `key_column` is written as 17 fixed bytes, in its place among `columns` or before them; nothing
    is added, so that a sealed part does not depend on how its rows were spread over files. Rows whose key is null go to
    `out_folder/unmarked/<table>.parquet`, in order of file and row.

    The rows pass through `out_folder/.<table>.spill`, which is removed. Each thread holds one part in memory.
    Raises TableError as `shuffle` does.
    """

def plain_names(names: ArrowColumn, *, not_names: Sequence[str]) -> ArrowTable:
    """`given_name` and `family_name` of each plain name; both null where a name is null or needs more rules than these.

    Plain is: words of the letters a to z in either case, one blank between two, none around them, no word that stands in `not_names`
    (lower case), and neither field over 60 letters. The last word is the family name, the words before it the given name; a
    single word is both. A name all in capitals or all in small letters gets a capital for each word.
    Raises TableError when the column holds no strings.
    """

def sha512_crypt(
    secrets: Sequence[bytes] | Sequence[str], salts: Sequence[str], *, rounds: int, threads: int = 1
) -> list[str]:
    """The password hashes `$6$rounds=N$salt$hash` of glibc's crypt(3), in order. Rounds are written also where they are the default.

    `rounds` is from 1,000 to 999,999,999; a salt has 1 to 16 letters, digits, dots and slashes; a secret at most 1,024 bytes without
    a zero byte (text is hashed as UTF-8); `threads` is from 1 to 64. Where glibc moves rounds into bounds and cuts salts, this refuses.
    Secrets of one length are hashed side by side, eight at a time on AVX-512 and four on AVX2: ask for many at once.
    Measured at 1,000 rounds on one 2.5 GHz AVX-512 core, 15-byte secrets: 0.09 ms each; a single one 0.5 ms.
    Raises TableError when an argument is out of bounds; the message never holds a secret.
    """

@type_check_only
class DiffCounts(TypedDict):
    """Rows of each side; keys by what became of them; lines; bytes that went to temporary files.

    Keys in `common`, on both sides; `unchanged`, with equal rows there; in one side alone; with differing rows; more than once on a side.
    """

    source_rows: int
    directory_rows: int
    common: int
    unchanged: int
    added: int
    removed: int
    changed: int
    duplicate_source: int
    duplicate_directory: int
    lines: int
    spilled_bytes: int

@final
class Diff:
    """What `diff` found. Its lines are handed out once, as an Arrow stream, unless they were written to a file."""

    @property
    def counts(self) -> DiffCounts:
        """How many rows and keys of each kind. With `exact`, pairs count as changed until their lines were handed out."""
        ...

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """The lines, in batches of 65,536. Raises TableError when they were taken before or are in a file."""
        ...

def diff(
    source: Sequence[str] | ArrowTable,
    directory: Sequence[str] | ArrowTable,
    *,
    key: str,
    attributes: Sequence[str],
    key_form: Literal["auto", "uuid", "text", "binary", "integer"],
    exact: bool,
    normalise: Mapping[str, Sequence[str]],
    seed: int,
    memory_limit: int,
    threads: int,
    temporary_folder: str,
    out: str | None,
    progress: Callable[[str, int, int], object] | None,
    allow_disjoint: bool = True,
) -> Diff:
    """What differs between two tables with a key, in the order of keys; equal rows are only counted.

    A side is a list of Parquet files of one table, or a table with an Arrow stream. `key` is a column of strings, bytes or integers
    without nulls; `attributes` are up to 64 columns of strings, bytes, booleans, integers of any width, dates, times, floats or decimals,
    of the same kind on both sides in any layout. Null differs from every value and equals null.

    `key_form` "uuid" takes 16 bytes and text in either case for one another; "auto" means "uuid" when a side is FixedSizeBinary(16),
    or both sides are text and the first key of each is a UUID of 36 characters. `normalise` names, for text attributes, ways in
    which values are made alike before they are compared: "trim-1", "nfc-1", "lower-1", "empty-null-1", one after the other.

    Rows are told apart by `row_digests` under `seed`, to be drawn anew for each run: the chance that a changed row is taken for equal is
    about 2^-128 a pair; with `exact` by their values. Keys are always compared in full. Columns of the lines:

    - `kind`: `added` (source alone), `removed` (directory alone), `changed`; or `duplicate-source`, `duplicate-directory` for a
      key that stands more than once on that side: it comes out as nothing else.
    - `key`: LargeUtf8, LargeBinary or Int64; a UUID as 36 lower-case characters when it is text in the source, else as 16 fixed bytes.
      Keys are in the order of their bytes, integers in that of numbers.
    - `differs`: names of the attributes that differ, in the order asked; none unless changed.
    - `before`, `after`: structs of the attributes, from directory and source. Of a changed row only what differs, the rest null; of an
      added or removed row all of its side and null on the other; null for duplicates; absent when no attributes are asked. Strings leave
      as LargeUtf8, bytes as LargeBinary, integers as Int64, everything else as it is.
    - `count` (UInt64): how often a duplicate key stands on its side; 1 otherwise.

    The lines are the same, also byte by byte in `out`, whatever the order of rows, the batches, the `threads` (1 to 64) and the
    `memory_limit` (bytes, 256 MiB at least), within which the call works by spilling to files without a name in `temporary_folder`.
    `out` appears when it is whole. `progress` gets phase ("open", "read", "match", "gather", "write"), done and total ten times a second.

    Without `allow_disjoint`, two sides with rows and without a common key are a TableError, before anything is written.
    Raises TableError that names side or file, and column, for a column that is missing or of another type, a key that is null or
    not of its form, a damaged file, a row group that claims more than 16 GiB, a temporary folder or an `out` that cannot be written;
    whatever `progress` or a signal raises, within a second.
    """

def row_digests(table: ArrowTable, *, attributes: Sequence[str], seed: int) -> ArrowColumn:
    """The digest of each row's attributes under `seed`, 16 bytes, most significant first.

    It is the sum, modulo 2^128, of the xxh3 digests (128 bits) of the values that are not null: each hashed over its content under the
    seed of its attribute, which is the xxh3 digest (64 bits) of the attribute's place from 0 (8 bytes, least significant first) under
    `seed`.
    Content: UTF-8 text or bytes; one byte 0 or 1; an integer as 8 bytes with sign, least significant first; any other value as its
    bytes, least significant first. It tells rows apart within a run and guards no integrity. Raises TableError that names the column.
    """

def user_id_bases(names: ArrowColumn) -> ArrowColumn:
    """The base of each name's user ID: its first and last word, folded to a to z and joined by a dot.

    A name is normalised (NFKC), transliterated to ASCII and lower-cased. Blanks, hyphens, dots, commas and slashes part its words;
    of a word the letters a to z stay (apostrophes and digits drop out of it), 24 at most, and a word without any is none. A name
    of one word gives that word; a name of none, and a null, `akun`. Rule: docs/decisions/0001-spine.md, "User IDs".
    Raises TableError when the column holds no strings.
    """

def candidate_digits(account_keys: ArrowColumn, attempt: int, *, naming_key: bytes) -> ArrowColumn:
    """The digits of one candidate of each account key (17 bytes), as text: what `candidate_user_id` puts after the base. Null stays null.

    Raises TableError when the column is not binary, a key has another length, or there is no such attempt.
    """

def candidate_user_id(base: str, account_key: bytes, attempt: int, *, naming_key: bytes) -> str:
    """The user ID of one candidate: the base, and digits that follow from account key and attempt.

    Digits: 4 for attempts 0 to 3, 5 for 4 to 7, 6 for 8 to 63, zero-padded. Their number is the BLAKE3 keyed hash, under `naming_key`, of
    the account key's 17 bytes and the attempt's 4 (least significant first); of that the first 8 bytes, least significant first,
    modulo 10^digits. One number can be likelier than another by less than 10^6 / 2^64.
    Raises TableError when an argument is out of bounds.
    """

@final
class UserIds:
    """What everybody got: account_key (17 bytes), user_id, attempt (Int32), in account-key order; one row a person.

    `user_id` is null when all 64 candidates are gone. `attempt` is the candidate's number; null without one and where a user ID was kept.
    It can be read as an Arrow stream as often as wanted; each batch (32,768 rows) is made when it is asked for. It holds some 50 bytes a
    person, and the kept user IDs.
    """

    def __len__(self) -> int:
        """How many people."""
        ...
    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """The Arrow PyCapsule protocol's stream, a struct a row."""
        ...
    def write_parquet(self, path: str | PathLike[str], *, threads: int = 1) -> int:
        """Write all rows to a Parquet file, which appears when it is whole; returns how many. Ctrl-C ends it and leaves nothing.

        Raises TableError when the place cannot be written.
        """
        ...

def allocate_user_ids(
    people: ArrowTable | Sequence[str],
    taken: ArrowTable | Sequence[str],
    *,
    naming_key: bytes,
    kept: ArrowTable | Sequence[str] | None = None,
    people_columns: tuple[str, str],
    taken_columns: tuple[str, str],
    owner_column: str | None,
    jenjang_names: Sequence[str],
    kept_columns: tuple[str, str],
    threads: int,
) -> UserIds:
    """Give each person a user ID that nobody else has. Callers use `belajarid_recon.allocate_user_ids`, which says what it does.

    Tables are Arrow streams, or lists of Parquet files of one table; an empty list is a table without rows. Columns, in order: of `people`
    account key and name; of `taken` jenjang (code, or a name whose place in `jenjang_names` is the code), user ID, and the owner where
    `owner_column` is given; of `kept` account key and user ID.

    People, then what is taken, are read batch by batch by `threads` threads (1 to 64) and not held: in memory are some 60 bytes a
    person, 60 a base in a jenjang, 8 a taken user ID that could meet a candidate, 80 a kept one. The result does not depend on the order
    of rows, the batches or the threads. Signals are looked for ten times a second.

    Raises TableError for a column that is missing, of another type, or null where it must not be; an account key that stands
    twice; a damaged file; a user ID that two people of a jenjang keep.
    """
