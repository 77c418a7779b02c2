"""Plans made directly, for tests of what comes after planning."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import polars as pl

from belajarid_recon.plan.definition import Plan, PlanFacts
from belajarid_recon.plan.steps import Steps
from belajarid_recon.schemas import JENJANG_CODE, STEP, Action, Jenjang
from belajarid_recon.settings import Settings

DOMAINS = {
    Jenjang.SD: "sd.belajar.id",
    Jenjang.SMP: "smp.belajar.id",
    Jenjang.SMA: "sma.belajar.id",
    Jenjang.SMK: "smk.belajar.id",
}


def account_key(tenant: str, number: int) -> bytes:
    """The account key of the number-th synthetic person."""
    return hashlib.blake2b(b"%d" % number, digest_size=16).digest() + bytes((JENJANG_CODE[Jenjang(tenant)],))


def marker(tenant: str, number: int) -> str:
    """The externalIds value of the number-th synthetic person."""
    return f"{account_key(tenant, number)[:16].hex()}.{tenant}"


def creation(tenant: str, number: int, **changes: Any) -> dict[str, Any]:
    """A row that makes an account."""
    return {
        "tenant": tenant,
        "action": Action.CREATE.value,
        "class": "safe",
        "reason": "pupil-enrolled",
        "account_key": account_key(tenant, number),
        "marker": marker(tenant, number),
        "address": f"budi.santoso{number:05}@{DOMAINS[Jenjang(tenant)]}",
        "given_name": "Budi",
        "family_name": f"Santoso {number}",
        "ou_path": "/",
        "npsn": f"{20_000_000 + number}",
        "listed": False,
        "suspended": False,
        "kode_kabkota": "026000",
    } | changes


def update(tenant: str, number: int, target_id: str, before: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A row that changes an account; `changes` are its new values, `before` what they replace."""
    return {
        "tenant": tenant,
        "action": Action.UPDATE.value,
        "class": "safe",
        "reason": "pupil-enrolled",
        "account_key": account_key(tenant, number),
        "marker": marker(tenant, number),
        "target_id": target_id,
        "before": orjson.dumps(before, option=orjson.OPT_SORT_KEYS).decode(),
        "kode_kabkota": "026000",
    } | changes


def account_step(tenant: str, number: int, action: Action, target_id: str | None) -> dict[str, Any]:
    """A row that does something to an account which the action alone describes."""
    return {
        "tenant": tenant,
        "action": action.value,
        "class": "reversible",
        "reason": "test",
        "account_key": account_key(tenant, number),
        "marker": marker(tenant, number),
        "target_id": target_id,
    }


def orgunit(tenant: str, path: str) -> dict[str, Any]:
    """A row that makes an organisational unit."""
    return {
        "tenant": tenant,
        "action": Action.CREATE_ORGUNIT.value,
        "class": "safe",
        "reason": "unit-needed-by-accounts",
        "ou_path": path,
    }


def plan_of(rows: list[dict[str, Any]], customer_ids: dict[str, str], *, endpoint_class: str = "emulator") -> Plan:
    """A plan of `rows` in their order."""
    numbered = [dict.fromkeys(STEP) | row | {"step": step} for step, row in enumerate(rows)]
    steps = pl.DataFrame(numbered, schema=STEP, orient="row") if numbered else pl.DataFrame(schema=STEP)
    facts = PlanFacts(
        endpoint_class=endpoint_class,
        customer_ids=customer_ids,
        date="2026-11-15",
        regulation="test",
        counts={},
        reasons={},
    )
    return Plan(steps=Steps.of(steps), facts=facts)


@dataclass(frozen=True)
class Target:
    """Where a plan is applied."""

    state: Path
    customer_ids: dict[str, str]
    url: str = "http://127.0.0.1:9/"
    credentials: Path = Path("credentials")
    """Folder with one service-account file a tenant."""
    time_scale: float = 1.0
    unit: str = ""
    """Where the directory keeps the epoch."""


def settings_of(target: Target, **apply: Any) -> Settings:
    """Settings towards an emulator; `apply` is the apply table."""
    document = {
        "state": target.state,
        "endpoint": {"class": "emulator", "url": target.url, "time_scale": target.time_scale},
        "tenants": {
            tenant: {"customer_id": customer, "credentials_file": target.credentials / f"{tenant}.json"}
            for tenant, customer in target.customer_ids.items()
        },
        "apply": apply,
        # Many state folders share one directory in these tests; those of the epoch name a unit.
        "lease": {"unit": target.unit},
    }
    return Settings.model_validate(document)
