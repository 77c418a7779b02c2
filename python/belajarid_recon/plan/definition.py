"""What a plan is: steps, the facts they were made from, and one digest over both."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from typing import Any

import orjson
import polars as pl

from belajarid_recon.plan.steps import Steps

FORMAT_VERSION = 2
ROWS_PER_DIGEST_CHUNK = 100_000


@dataclass(frozen=True)
class Finding:
    """One slice over a ceiling: its suspensions are held until a person has looked."""

    guard: str
    scope: str
    """`tenant:<jenjang>` or `kabkota:<code>`."""
    name: str
    """What a person calls the slice."""
    count: int
    base: int
    """Accounts of ours in the slice that are not suspended."""
    ceiling: str
    """Which number was passed, as `share > 0.05` or `count > 20000`."""


@dataclass(frozen=True)
class PlanFacts:
    """What a plan was made for and what it counts. Part of the digest, so it holds no run id, time, part or thread count."""

    endpoint_class: str
    customer_ids: dict[str, str]
    date: str
    """The run's date, ISO."""
    regulation: str
    counts: dict[str, dict[str, int]]
    """Tenant to action (`no-op` and `held` included) to number of accounts or units."""
    reasons: dict[str, dict[str, int]]
    """Tenant to reason code to number of people or accounts, for everything that got no step."""
    findings: tuple[Finding, ...] = ()
    people: dict[str, dict[str, int]] = field(default_factory=dict)
    """Standing to reason code to number of people in the register: everybody is in it once."""
    no_contact: dict[str, dict[str, int]] = field(default_factory=dict)
    """Tenant to schemas.ContactReason to accounts of staff without a way of recovery, whatever else becomes of them."""
    contacts: str = ""
    """Digest of the recovery contacts that the steps write (`plan.contacts`); empty where none does."""

    def as_document(self) -> dict[str, Any]:
        """The facts as plain JSON values."""
        return {
            "endpoint_class": self.endpoint_class,
            "customer_ids": self.customer_ids,
            "date": self.date,
            "regulation": self.regulation,
            "counts": self.counts,
            "reasons": self.reasons,
            "findings": [vars(finding) for finding in self.findings],
            "people": self.people,
            "no_contact": self.no_contact,
            "contacts": self.contacts,
        }


@dataclass(frozen=True)
class Plan:
    """Steps in order, facts, and where the inputs came from."""

    steps: Steps
    facts: PlanFacts
    inputs: dict[str, Any] = field(default_factory=dict)
    """Digests of the files read (extract, snapshot, ledger). Outside `digest`: the same rows in another order are the same plan."""

    @property
    def endpoint_class(self) -> str:
        """Which world the plan was made for."""
        return self.facts.endpoint_class

    @property
    def day(self) -> date:
        """The run's date."""
        return date.fromisoformat(self.facts.date)

    @property
    def customer_ids(self) -> dict[str, str]:
        """Tenant to the customer id its steps are meant for."""
        return self.facts.customer_ids

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the facts and every step, as 64 hexadecimal digits."""
        return plan_digest(self.steps.pieces(), self.facts)

    def count(self, action: str) -> int:
        """Accounts or units with this action, over all tenants."""
        return sum(tenant.get(action, 0) for tenant in self.facts.counts.values())

    @property
    def runnable(self) -> int:
        """Steps that no guard holds."""
        return self.steps.height - self.held

    @property
    def held(self) -> int:
        """Steps that a guard holds."""
        return self.steps.held


def plan_digest(pieces: Iterable[pl.DataFrame], facts: PlanFacts) -> str:
    """Canonical digest of a plan's content: a line of sorted-key JSON for the facts, then the steps as `frame_digest` writes rows.

    `pieces` are all of schemas.STEP, in order; how they are cut makes no difference.
    """
    digest = hashlib.sha256(f"belajarid-recon plan {FORMAT_VERSION}\n".encode())
    digest.update(orjson.dumps(facts.as_document(), option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE))
    for rows in pieces:
        _digest_rows(digest, rows)
    return digest.hexdigest()


def frame_digest(frame: pl.DataFrame) -> str:
    """SHA-256 over the rows of a frame in their order, as 64 hexadecimal digits.

    A line a row: for each column in order `-` for null, else the byte length, `:` and the text (integers in decimal, booleans
    `true`/`false`, bytes in lower hexadecimal). The lengths make it unambiguous whatever a name contains.
    """
    return frames_digest([frame])


def frames_digest(frames: Iterable[pl.DataFrame]) -> str:
    """The same of a frame that comes in pieces."""
    digest = hashlib.sha256()
    for frame in frames:
        _digest_rows(digest, frame)
    return digest.hexdigest()


def _digest_rows(digest: hashlib._Hash, frame: pl.DataFrame) -> None:
    texts = []
    for name, dtype in frame.schema.items():
        text = pl.col(name).bin.encode("hex") if dtype == pl.Binary else pl.col(name).cast(pl.String)
        counted = pl.concat_str(text.str.len_bytes().cast(pl.String), pl.lit(":"), text)
        texts.append(counted.fill_null("-"))
    lines = pl.concat_str([*texts, pl.lit("\n")]).str.join("")
    for start in range(0, frame.height, ROWS_PER_DIGEST_CHUNK):
        digest.update(frame.slice(start, ROWS_PER_DIGEST_CHUNK).select(lines).item().encode())
