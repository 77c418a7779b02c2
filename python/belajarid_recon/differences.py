"""Compare two tables of any origin: what stands in one alone, what in both and differs, and which keys stand more than once.

The rows are compared by the Rust core. This module finds the files, settles what was left open (columns, threads, seed, folders), and sees
to it that a result is at its place whole or not at all. Imported as `belajarid_recon.diff`.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, Protocol, get_args

from belajarid_recon import _core
from belajarid_recon.components import SystemRandomness
from belajarid_recon.errors import InputError, ReconError, SettingsError
from belajarid_recon.state.atomic import PART_SUFFIX, fsync_folder

if TYPE_CHECKING:
    from belajarid_recon._core import DiffCounts

__all__ = [
    "MEMORY_LIMIT",
    "NORMALISATIONS",
    "ArrowTable",
    "Diff",
    "KeyForm",
    "diff",
    "draft",
    "find_files",
    "result_file",
]

KeyForm = Literal["auto", "uuid", "text", "binary", "integer"]
"""How keys are read. `auto` takes UUIDs where a side has 16 fixed bytes, or both begin with a UUID of 36 characters."""

NORMALISATIONS = ("trim-1", "nfc-1", "lower-1", "empty-null-1")
"""What may be done to a text before it is compared, by name and version (docs/diff.md says what each does)."""

MEMORY_LIMIT = 2 * 1024**3
"""Bytes of memory to keep within when nothing else is said."""

MEMORY_LIMIT_MIN = 256 * 1024**2
"""Below this the interpreter and its libraries are most of it."""

THREADS_MAX = 64
FILES_MAX = 100_000
"""Files of one side. The country in files of 64 MB is a few hundred."""

NAMES_SHOWN = 20
"""Column names one message lists; the rest are counted."""

_SEED_BYTES = 8


class ArrowTable(Protocol):
    """A table of any Arrow library: polars and pyarrow tables, DuckDB relations, record batch readers."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """The Arrow PyCapsule protocol's stream, a struct a row."""
        ...


Table = str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | ArrowTable
"""What a side may be: a Parquet file, a folder of them, several files, or a table in memory."""


class Diff:
    """The result of `diff`.

    `counts`: `source_rows`, `directory_rows` (rows read); keys in `common`, `unchanged`, `added`, `removed`, `changed`, and doubled in one
    side, `duplicate_source`, `duplicate_directory`; `lines` of the result; `spilled_bytes`. `out`: the Parquet file that holds
    the lines; None when they are to be taken from this object, once, by anything that reads Arrow streams:
    `polars.DataFrame(result)`, `pyarrow.table(result)`. With `exact`, the counts of such a result are final when its lines were taken.
    """

    def __init__(self, found: _core.Diff, out: Path | None) -> None:
        self.out = out
        self._found = found

    @property
    def counts(self) -> DiffCounts:
        """What was read and found, by name."""
        return self._found.counts

    @property
    def agrees(self) -> bool:
        """Whether nothing was found: every key once on both sides, with equal attributes."""
        return self.counts["lines"] == 0

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """The lines as an Arrow stream. Raises InputError when they are in a file, or were taken already."""
        if self.out is not None:
            raise InputError(f"the lines of the result are in a file: {self.out}", hint="read them from there")
        with _refusals():
            return self._found.__arrow_c_stream__(requested_schema)

    def __repr__(self) -> str:
        found = ", ".join(f"{name}={count}" for name, count in self.counts.items())
        return f"Diff({found}, out={str(self.out)!r})" if self.out else f"Diff({found})"


def diff(  # noqa: PLR0913 - the parts of one question, each given by name
    source: Table,
    directory: Table,
    *,
    key: str,
    attributes: Sequence[str] | None = None,
    key_form: KeyForm = "auto",
    exact: bool = False,
    normalise: Mapping[str, Sequence[str]] | None = None,
    memory_limit: int = MEMORY_LIMIT,
    threads: int | None = None,
    temporary_folder: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] | None = None,
    seed: int | None = None,
    allow_disjoint: bool = False,
    progress: Callable[[str, int, int], object] | None = None,
) -> Diff:
    """What differs between two tables, in the order of their keys. Neither is changed.

    `source` is what should be, `directory` what is. Each is a Parquet file, a folder (its `*.parquet`, recursively, in order of their
    paths, without names that begin with a dot or an underscore), a sequence of files, or any object with
    `__arrow_c_stream__`. Rows may be in any order, and more than fit into memory.

    - `key`: the column rows are matched by, without nulls: text, bytes, integers, or UUIDs (16 bytes, or 36 characters in either case; one
      kind on each side is fine). `key_form` says which, where "auto" would guess wrong.
    - `attributes`: the columns to compare, 64 at most, each of one kind on both sides; None takes all that both sides have.
      Null equals null and differs from everything else.
    - `exact`: compare by bytes and not by 128-bit digests. Slower; rules out a miss whose chance is 2^-128 a pair.
    - `normalise`: attribute to names from NORMALISATIONS, applied in that order before comparing. `before` and `after` show what is stored.
    - `memory_limit`: bytes the core may hold; what does not fit goes to `temporary_folder`, by default the folder of `out` or
      else the system's. Its files have no name there and vanish with the process, however that ends.
    - `threads`: 1 to 64; None takes the CPUs this process may use. `seed`: of the digests, 64 bits; None draws one.
    - `out`: a Parquet file to write, replaced in one step when all is well; None makes the result a stream.
    - `allow_disjoint`: go on when both sides have rows and no key in common, which is refused otherwise.
    - `progress`: called as (phase, done, total) on this thread, with phases "read", "match", "gather", "write".

    Columns of the result:

    - `kind`: `added` (source alone), `removed` (directory alone), `changed`, or `duplicate-source`, `duplicate-directory` for a key that
      stands more than once on that side: it comes out as nothing else.
    - `key`: as in `source`: large text, large binary, Int64; a UUID as 36 lower-case characters, or as 16 fixed bytes.
    - `differs`: list of the attributes that differ, in the order asked; empty unless changed.
    - `before`, `after`: structs of the attributes from directory and source. Of a changed row only what differs, the rest null; of a
      removed or added row all of its side; null otherwise. Text is large text, bytes large binary, integers Int64; other types stay.
    - `count` (UInt64): how often a duplicate key stands on its side; 1 otherwise.

    The result is the same to the byte for any order of the rows, any number of files, threads and bytes of memory.

    Raises InputError (a file, column or key that cannot be used, no key in common), SettingsError (an argument), OSError (a full disk,
    a place that cannot be written), KeyboardInterrupt within a second of Ctrl-C. Nothing is at `out` then that was not there before.
    """
    sides = _opened(source, "source"), _opened(directory, "directory")
    place = None if out is None else result_file(Path(out), (file for side in sides for file in side.files()))
    question = _Question(
        key=key,
        attributes=_attributes(sides, key, attributes),
        key_form=_one_of("key_form", key_form, get_args(KeyForm)),
        exact=exact,
        normalise=normalise or {},
        memory_limit=memory_limit,
        threads=_cpus() if threads is None else threads,
        temporary_folder=_temporary_folder(temporary_folder, place),
        seed=int.from_bytes(SystemRandomness().bytes(_SEED_BYTES), "little") if seed is None else seed,
        allow_disjoint=allow_disjoint,
    )
    question.check()
    found = question.ask(sides, place, progress)
    if place is not None:
        fsync_folder(place.parent)
    return Diff(found, place)


@dataclass(frozen=True)
class _Side:
    """One of the two tables: its files, or a table in memory."""

    name: str
    handed: list[str] | ArrowTable

    def files(self) -> list[str]:
        """Its files; none where it is in memory."""
        return self.handed if isinstance(self.handed, list) else []

    def columns(self) -> list[str]:
        """The names of its columns, of the first file where there are several. Takes no rows from a stream."""
        return _columns_of_file(self.handed[0]) if isinstance(self.handed, list) else _columns_in_memory(self)


@dataclass(frozen=True)
class _Question:
    """What is asked, with nothing left open."""

    key: str
    attributes: list[str]
    key_form: KeyForm
    exact: bool
    normalise: Mapping[str, Sequence[str]]
    memory_limit: int
    threads: int
    temporary_folder: Path
    seed: int
    allow_disjoint: bool

    def check(self) -> None:
        """Refuse what no table could make right."""
        if not 1 <= self.threads <= THREADS_MAX:
            raise SettingsError(f"threads must be from 1 to {THREADS_MAX}: {self.threads}", hint="leave it out")
        if self.memory_limit < MEMORY_LIMIT_MIN:
            raise SettingsError(
                f"the memory limit must be 256 MiB at least, in bytes: {self.memory_limit}", hint="leave it out"
            )
        if not 0 <= self.seed < 1 << 8 * _SEED_BYTES:
            raise SettingsError("the seed does not fit into 64 bits", hint="leave it out, and one is drawn")
        if self.key in self.attributes:
            raise SettingsError(
                f"the key is among the attributes: {self.key}", hint="name it once; keys are compared anyway"
            )
        doubled = sorted({name for name in self.attributes if self.attributes.count(name) > 1})
        if doubled:
            raise SettingsError(f"attributes that are named twice: {_listed(doubled)}", hint="name each once")
        for attribute, names in self.normalise.items():
            _check_normalisations(attribute, names, self.attributes)

    def ask(
        self, sides: tuple[_Side, _Side], out: Path | None, progress: Callable[[str, int, int], object] | None
    ) -> _core.Diff:
        """The core's answer, written to `out` if there is one."""
        with _refusals():
            return _core.diff(
                sides[0].handed,
                sides[1].handed,
                key=self.key,
                attributes=self.attributes,
                key_form=self.key_form,
                exact=self.exact,
                normalise={name: list(steps) for name, steps in self.normalise.items()},
                seed=self.seed,
                memory_limit=self.memory_limit,
                threads=self.threads,
                temporary_folder=str(self.temporary_folder),
                allow_disjoint=self.allow_disjoint,
                out=None if out is None else str(out),
                progress=progress,
            )


def _opened(table: Table, name: str) -> _Side:
    """A side as the core takes it."""
    if isinstance(table, str | os.PathLike):
        return _Side(name, find_files(Path(table), side=name))
    if hasattr(table, "__arrow_c_stream__"):
        return _Side(name, table)
    if not isinstance(table, Sequence) or not all(isinstance(path, str | os.PathLike) for path in table):
        raise InputError(
            f"neither files nor a table, {name}: {type(table).__name__}",
            hint="give a Parquet file, a folder, a list of files, or an object with __arrow_c_stream__",
        )
    files = [file for path in table for file in find_files(Path(path), side=name)]
    if not files:
        raise InputError(f"no files at all, {name}", hint="name one at least")
    return _Side(name, files)


def find_files(path: Path, *, side: str) -> list[str]:
    """The Parquet files at a path: itself, or what is under it in order of the paths.

    Names that begin with a dot or an underscore are drafts, logs and markers of the program that wrote the folder; they and what is in
    them are left out. Raises InputError when nothing is there, or too much.
    """
    if path.is_file():
        return [str(path)]
    if not path.is_dir():
        raise InputError(f"no such file or folder, {side}: {path}", hint="name a Parquet file, or a folder of them")
    found = sorted(
        (file.relative_to(path).parts, str(file))
        for file in path.rglob("*.parquet")
        if not any(part.startswith((".", "_")) for part in file.relative_to(path).parts) and file.is_file()
    )
    if not found:
        raise InputError(f"no *.parquet file in the folder, {side}: {path}", hint="name another folder, or the files")
    if len(found) > FILES_MAX:
        raise InputError(f"more than {FILES_MAX} files in the folder, {side}: {path}", hint="write larger ones")
    return [file for _, file in found]


def _columns_of_file(path: str) -> list[str]:
    import polars as pl  # noqa: PLC0415 - only where columns are left open

    try:
        return list(pl.read_parquet_schema(path))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise InputError(f"not a whole Parquet file: {path}", hint="copy or export it again") from error


def _columns_in_memory(side: _Side) -> list[str]:
    """The names that a table tells without its rows: polars, pyarrow, DuckDB and pandas have one of these."""
    table = side.handed
    names = getattr(getattr(table, "schema", None), "names", None)
    names = names() if callable(names) else names
    if names is None:
        names = getattr(table, "columns", None)
    if names is None or not all(isinstance(name, str) for name in names):
        raise SettingsError(
            f"a {type(table).__name__} does not tell its columns without its rows, {side.name}",
            hint="name them: attributes=[...]",
        )
    return list(names)


def _attributes(sides: tuple[_Side, _Side], key: str, asked: Sequence[str] | None) -> list[str]:
    """The columns to compare: those asked, or all but the key, which both sides must have then."""
    if isinstance(asked, str):
        raise SettingsError(f"attributes must be a list of names: {asked}", hint=f"write [{asked!r}]")
    if asked is not None:
        return list(asked)
    columns = [side.columns() for side in sides]
    for side, names in zip(sides, columns, strict=True):
        if key not in names:
            raise InputError(f"the key is missing in the {side.name}: column {key}", hint=f"it has {_listed(names)}")
    for side, names, others in zip(sides, columns, reversed(columns), strict=True):
        alone = [name for name in names if name not in others]
        if alone:
            both = [name for name in names if name in others and name != key]
            raise InputError(
                f"columns that only the {side.name} has: {_listed(alone)}",
                hint=f"choose what to compare: attributes (--attributes); both sides have {_listed(both)}",
            )
    return [name for name in columns[0] if name != key]


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:NAMES_SHOWN])
    return f"{shown} and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else shown or "none"


def _one_of(argument: str, value: KeyForm, allowed: tuple[str, ...]) -> KeyForm:
    if value not in allowed:
        raise SettingsError(f"{argument} must be one of {', '.join(allowed)}: {value}", hint="leave it out")
    return value


def _check_normalisations(attribute: str, names: Sequence[str], attributes: Sequence[str]) -> None:
    if attribute not in attributes:
        raise SettingsError(f"a normalisation of no attribute: {attribute}", hint=f"compared are {_listed(attributes)}")
    if isinstance(names, str):
        raise SettingsError(f"normalisations must be a list: attribute {attribute}", hint=f"write [{names!r}]")
    for name in names:
        if name not in NORMALISATIONS:
            raise SettingsError(
                f"no such normalisation: attribute {attribute}: {name}", hint=f"there are {', '.join(NORMALISATIONS)}"
            )


def _cpus() -> int:
    """The CPUs this process may use, as far as the core takes them."""
    return min(len(os.sched_getaffinity(0)), THREADS_MAX)


def _temporary_folder(asked: str | os.PathLike[str] | None, out: Path | None) -> Path:
    """Where to spill. Beside the result there is room for large files; the system's folder may be a part of memory."""
    if asked is None:
        return out.parent if out else Path(tempfile.gettempdir())
    folder = Path(asked)
    if not folder.is_dir():
        raise SettingsError(f"no such temporary folder: {folder}", hint="make it, or name another")
    return folder


def result_file(out: Path, read: Iterable[str]) -> Path:
    """A place for a result: its folder is there, and it is none of the files that are `read`. Raises SettingsError."""
    if not out.parent.is_dir():
        raise SettingsError(f"no such folder for the result: {out.parent}", hint="make it, or name another")
    if out.is_dir():
        raise SettingsError(f"the result is to be a file, and this is a folder: {out}", hint="name a file in it")
    if out.exists() and any(out.samefile(path) for path in read):
        raise SettingsError(f"the result would replace a file that is compared: {out}", hint="name another")
    return out


@contextlib.contextmanager
def draft(out: Path) -> Iterator[BinaryIO]:
    """A file that takes the name `out` when the block ends well. Readable by its owner only.

    It has no name until then, where the file system has such files, so that no way of ending leaves it behind.
    """
    named = out.with_name(f".{out.name}{PART_SUFFIX}")
    descriptor, nameless = _opened_draft(named)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(descriptor)
            if nameless:
                named.unlink(missing_ok=True)
                # With any folder's descriptor Python lets linkat(2) follow the link to the file.
                os.link(f"/proc/self/fd/{descriptor}", named, src_dir_fd=descriptor, follow_symlinks=True)
        named.replace(out)
        fsync_folder(out.parent)
    finally:
        named.unlink(missing_ok=True)


def _opened_draft(named: Path) -> tuple[int, bool]:
    """A file to write, and whether it is one without a name."""
    try:
        return os.open(named.parent, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600), True
    except OSError:  # a file system without such files; a folder that cannot be written fails again
        return os.open(named, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), False


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    """Turn the core's errors into ours; a full disk is the machine's and no fault of the tables."""
    try:
        yield
    except _core.TableError as error:
        raise _refusal(str(error)) from error


_MACHINE = re.compile(
    r"(?:temporary file cannot be used|cannot be written) \(.*\(os error (\d+)\).*\): (?:folder|file) (.*)", re.DOTALL
)
"""What the core says when the system refuses to write: the number of the reason, and the place."""
_DISJOINT = "the sides have no key in common"


def _refusal(message: str) -> ReconError | OSError:
    machine = _MACHINE.fullmatch(message)
    if machine:
        number = int(machine[1])
        return OSError(number, os.strerror(number), machine[2])
    if message.startswith(_DISJOINT):
        hint = (
            "is it the same number on both sides, written the same way? "
            "If they have nothing in common, say so: allow_disjoint=True, --allow-disjoint"
        )
        return InputError(message, hint=hint)
    return InputError(message, hint="mend the file or column named; nothing was written")
