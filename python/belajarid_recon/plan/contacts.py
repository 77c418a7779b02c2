"""The recovery contacts a plan's steps write: values in one file beside the plan, which names them only by digest.

A plan is kept and shown to people, a personal number is neither. The file belongs to its owner alone, is checked against the plan
before anything is sent, and is removed when its run is over. Its digest is salted: without a salt the digest of a few phone
numbers tells them to anybody who tries all there are. The salt follows from the marker key, so that the same inputs give the same
plan, stands in the file, and goes with it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import polars as pl

from belajarid_recon.errors import PlanError
from belajarid_recon.plan.definition import ROWS_PER_DIGEST_CHUNK, frames_digest
from belajarid_recon.plan.steps import Steps
from belajarid_recon.schemas import CONTACT, STEP_CONTACT, compact
from belajarid_recon.secrets import Secret
from belajarid_recon.state.atomic import PART_SUFFIX, fsync_file, fsync_folder

SALT_BYTES = 32
_SALT = "salt"
ROWS_PER_BLOCK = 4_096
"""Steps whose contacts are read together: about a millisecond, and half a megabyte."""
BLOCKS_KEPT = 32
"""A few for each tenant: steps come in the plan's order but for those that are sent again."""


def contacts_salt(key: Secret, date: str) -> bytes:
    """The salt of a run's contacts. It tells nothing of the key."""
    return hashlib.blake2b(date.encode(), key=key.reveal(), digest_size=SALT_BYTES, person=b"contacts").digest()


def step_contacts(steps: Steps, files: Sequence[Path]) -> pl.DataFrame:
    """Contacts (schemas.STEP_CONTACT, by step) of the steps that write some and that no guard holds.

    `files` hold schemas.CONTACT of all parts.
    """
    columns = pl.col("step", "account_key", "recovery")
    writing = steps.scan().filter(pl.col("held_by").is_null()).select(columns).drop_nulls("recovery").collect()
    if writing.is_empty():
        return STEP_CONTACT.to_frame()
    # A file at a time: contacts of the whole country are more than all of its steps.
    return pl.concat([_contacts_in(file, writing) for file in files]).sort("step")


def _contacts_in(file: Path, writing: pl.DataFrame) -> pl.DataFrame:
    """The contacts (schemas.STEP_CONTACT) that one file of schemas.CONTACT has of the steps in `writing`."""
    words = pl.col("recovery").str.split(",")
    kept = {
        f"recovery_{word}": pl.when(words.list.contains(word)).then(f"recovery_{word}") for word in ("email", "phone")
    }
    found = pl.read_parquet(file, columns=CONTACT.names()).join(writing, on="account_key", how="inner")
    return compact(found.with_columns(**kept).select(STEP_CONTACT.names()))


def contacts_digest(pieces: Iterable[pl.DataFrame], salt: bytes) -> str:
    """Salted digest of schemas.STEP_CONTACT, which come in pieces and in their order, as 64 hexadecimal digits."""
    return hashlib.sha256(salt + bytes.fromhex(frames_digest(pieces))).hexdigest()


def write_contacts(path: Path, contacts: pl.DataFrame, salt: bytes) -> None:
    """Write contacts, durably, for their owner's eyes only."""
    temporary = path.with_name(path.name + PART_SUFFIX)
    temporary.unlink(missing_ok=True)
    temporary.touch(mode=0o600)
    contacts.write_parquet(
        temporary, compression="zstd", statistics=True, row_group_size=ROWS_PER_BLOCK, metadata={_SALT: salt.hex()}
    )
    fsync_file(temporary)
    temporary.replace(path)
    fsync_folder(path.parent)


_UNREADABLE = (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException, KeyError)
"""What a file of no sense makes polars raise; its reader panics where a page's header lies."""


@dataclass(frozen=True)
class ContactBook:
    """The contacts of a plan's steps, read in blocks as they are needed. May be asked from several threads."""

    path: Path

    @classmethod
    def open(cls, path: Path, digest: str) -> ContactBook:
        """The book of a plan whose facts name this digest.

        Raises PlanError when the file is missing, damaged or of another plan. The digest of a plan that writes no contact is
        empty, and needs no file.
        """
        if not digest:
            return cls(path)
        try:
            salt = bytes.fromhex(pl.read_parquet_metadata(path)[_SALT])
            found = contacts_digest(_pieces(path), salt)
        except (*_UNREADABLE, ValueError) as error:
            raise _unusable("missing or cannot be read", path) from error
        if found != digest:
            raise _unusable("not those it was made with", path)
        return cls(path)

    def of(self, step: int) -> tuple[str | None, str | None]:
        """Address and phone of a step that writes at least one of them. Raises PlanError when the file is gone by now."""
        try:
            return _block(self.path, step // ROWS_PER_BLOCK)[step]
        except _UNREADABLE as error:
            raise _unusable("missing or cannot be read", self.path) from error


def _pieces(path: Path) -> Iterator[pl.DataFrame]:
    rows = pl.scan_parquet(path, glob=False).select(STEP_CONTACT.names())
    height = int(rows.select(pl.len()).collect().item())
    for start in range(0, height, ROWS_PER_DIGEST_CHUNK):
        yield rows.slice(start, ROWS_PER_DIGEST_CHUNK).collect()


@lru_cache(maxsize=BLOCKS_KEPT)
def _block(path: Path, number: int) -> dict[int, tuple[str | None, str | None]]:
    first = number * ROWS_PER_BLOCK
    wanted = pl.col("step").is_between(first, first + ROWS_PER_BLOCK - 1)
    rows = pl.scan_parquet(path, glob=False).filter(wanted).collect()
    return {step: (address, number) for step, address, number in rows.iter_rows()}


def _unusable(what: str, path: Path) -> PlanError:
    return PlanError(
        f"the recovery contacts of the plan's steps are {what}: {path}",
        hint="abandon the run and plan again; what was carried out stays done",
    )
