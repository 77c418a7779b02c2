"""What applying a plan came to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import polars as pl

from belajarid_recon.state.journal import EventState, Journal


class Progress(NamedTuple):
    """Where one tenant is. Counts include what earlier starts of the run settled."""

    tenant: str
    done: int
    parked: int
    held: int
    total: int
    """Steps of the tenant, held ones included."""


Watcher = Callable[[Progress], None]
"""Called from the tenants' threads after each commit: it must be quick and safe to call from several at once."""


@dataclass(frozen=True)
class TenantResult:
    """Counts of one tenant; done + parked + held + remaining is its number of steps."""

    tenant: str
    done: int = 0
    parked: int = 0
    held: int = 0
    remaining: int = 0
    """Not settled: the run was stopped."""
    parked_reasons: dict[str, int] = field(default_factory=dict)
    findings: dict[str, int] = field(default_factory=dict)
    """Reasons on steps that are done: somebody changed the account since."""


@dataclass(frozen=True)
class ApplyResult:
    """Counts by tenant, in the plan's order, and over all."""

    tenants: tuple[TenantResult, ...]

    @property
    def done(self) -> int:
        """Steps carried out."""
        return sum(tenant.done for tenant in self.tenants)

    @property
    def parked(self) -> int:
        """Steps this run gave up, each with a reason."""
        return sum(tenant.parked for tenant in self.tenants)

    @property
    def held(self) -> int:
        """Steps a guard holds."""
        return sum(tenant.held for tenant in self.tenants)

    @property
    def remaining(self) -> int:
        """Steps not settled."""
        return sum(tenant.remaining for tenant in self.tenants)

    @property
    def parked_reasons(self) -> dict[str, int]:
        """Reason codes of parked steps, counted."""
        return _sum(tenant.parked_reasons for tenant in self.tenants)

    @property
    def findings(self) -> dict[str, int]:
        """Reason codes of findings, counted."""
        return _sum(tenant.findings for tenant in self.tenants)


def count_result(steps: pl.DataFrame, journal: Journal) -> ApplyResult:
    """Count the plan's steps (schemas.STEP) by what the journal says of each."""
    reasons = {step: (state, reason) for step, state, reason in journal.reasons()}
    counts: dict[str, Counter[str]] = {}
    words: dict[tuple[str, EventState], Counter[str]] = {}
    for step, tenant, held_by in steps.select("step", "tenant", "held_by").iter_rows():
        counter = counts.setdefault(tenant, Counter())
        if held_by is not None:
            counter["held"] += 1
        elif not journal.is_settled(step):
            counter["remaining"] += 1
        else:
            counter["done" if journal.is_done(step) else "parked"] += 1
        if step in reasons:
            state, reason = reasons[step]
            words.setdefault((tenant, state), Counter())[reason] += 1
    return ApplyResult(
        tuple(
            TenantResult(
                tenant=tenant,
                parked_reasons=dict(words.get((tenant, EventState.PARKED), {})),
                findings=dict(words.get((tenant, EventState.DONE), {})),
                **counter,
            )
            for tenant, counter in counts.items()
        )
    )


def _sum(parts: Iterable[dict[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for part in parts:
        total.update(part)
    return dict(sorted(total.items()))
