"""What applying a plan came to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from belajarid_recon.plan.steps import Steps, TenantSteps
from belajarid_recon.state.journal import EventState, Journal


class Progress(NamedTuple):
    """Where one tenant is. Counts include what earlier starts of the run settled."""

    tenant: str
    done: int
    parked: int
    held: int
    total: int
    """Steps of the tenant, held ones included."""
    confirmed: int = 0
    """Done steps whose values were read back later."""
    contradicted: int = 0
    """Done steps of which the directory later had other values."""
    calls: int = 0
    """Let through since this start, readings and repeats included: what the quota counts."""


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
    confirmed: int = 0
    """Of the steps done: read back later, every value was there."""
    contradicted: int = 0
    """Of the steps done: read back later, and after the lag, something else was there."""
    contradictions: dict[str, int] = field(default_factory=dict)
    """Reasons on steps that are contradicted."""
    differing: dict[str, int] = field(default_factory=dict)
    """Attributes that contradicted steps wrote and that had other values, by name."""


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
    def confirmed(self) -> int:
        """Steps done and read back."""
        return sum(tenant.confirmed for tenant in self.tenants)

    @property
    def contradicted(self) -> int:
        """Steps the directory said yes to without having what was written."""
        return sum(tenant.contradicted for tenant in self.tenants)

    @property
    def contradictions(self) -> dict[str, int]:
        """Reason codes of contradicted steps, counted."""
        return _sum(tenant.contradictions for tenant in self.tenants)

    @property
    def differing(self) -> dict[str, int]:
        """Names of attributes that had other values than were written, counted."""
        return _sum(tenant.differing for tenant in self.tenants)

    @property
    def parked_reasons(self) -> dict[str, int]:
        """Reason codes of parked steps, counted."""
        return _sum(tenant.parked_reasons for tenant in self.tenants)

    @property
    def findings(self) -> dict[str, int]:
        """Reason codes of findings, counted."""
        return _sum(tenant.findings for tenant in self.tenants)


def contradiction(code: str, attributes: Iterable[str] = ()) -> str:
    """A journal row's reason: the code, and the names of the attributes that differ."""
    return ":".join(filter(None, (code, ",".join(attributes))))


def count_result(steps: Steps, journal: Journal) -> ApplyResult:
    """Count the plan's steps by what the journal says of each. Reads no step."""
    tenants = {tenant: _Tally(count) for tenant, count in steps.counts().items()}
    for tenant, tally in tenants.items():
        for step in steps.numbers(tenant):
            tally.count(step, journal)
    for step, state, reason in journal.reasons():
        tenants[steps.tenant_of(step)].explain(state, reason)
    return ApplyResult(tuple(tally.result(tenant) for tenant, tally in tenants.items()))


class _Tally:
    """One tenant's counts in the making."""

    def __init__(self, steps: TenantSteps) -> None:
        self._counts: Counter[str] = Counter(held=steps.held, remaining=steps.total - steps.held)
        self._reasons: dict[EventState, Counter[str]] = {}
        self._differing: Counter[str] = Counter()

    def count(self, step: int, journal: Journal) -> None:
        """Count one step. The journal knows nothing of held ones."""
        if journal.is_settled(step):
            self._counts["remaining"] -= 1
            self._counts["done" if journal.is_done(step) else "parked"] += 1
            self._counts["confirmed"] += journal.is_confirmed(step)
            self._counts["contradicted"] += journal.is_contradicted(step)

    def explain(self, state: EventState, reason: str) -> None:
        """Count one reason, and the attributes it names."""
        code, _, names = reason.partition(":")
        self._reasons.setdefault(state, Counter())[code] += 1
        self._differing.update(filter(None, names.split(",")))

    def result(self, tenant: str) -> TenantResult:
        """The counts as they are handed on."""
        parked, done, contradicted = (
            dict(self._reasons.get(state, ()))
            for state in (EventState.PARKED, EventState.DONE, EventState.CONTRADICTED)
        )
        return TenantResult(
            tenant=tenant,
            parked_reasons=parked,
            findings=done,
            contradictions=contradicted,
            differing=dict(self._differing),
            **self._counts,
        )


def _sum(parts: Iterable[dict[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for part in parts:
        total.update(part)
    return dict(sorted(total.items()))
