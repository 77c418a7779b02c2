"""Forecasts: the arithmetic of the limits for large plans, in no time, and the same every time."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from appliers.plans import Target, creation, orgunit, plan_of, settings_of, update
from belajarid_recon.apply.forecast import Forecast, forecast
from belajarid_recon.errors import SettingsError
from belajarid_recon.settings import Settings

DOMAINS = ("sd.belajar.id", "guru.sd.belajar.id", "admin.sd.belajar.id")


def settings(**apply: Any) -> Settings:
    """Documented quotas."""
    return settings_of(Target(Path("unused"), {"sd": "C01", "smp": "C02"}), **apply)


def steps(*rows: dict[str, Any]) -> pl.DataFrame:
    """A plan's steps."""
    return plan_of(list(rows), {}).steps


def creations(count: int, domains: int = 1, tenant: str = "sd") -> list[dict[str, Any]]:
    """So many accounts to make, over some domains."""
    names = itertools.cycle(DOMAINS[:domains])
    return [creation(tenant, n, address=f"budi{n:05}@{next(names)}") for n in range(count)]


def changes(count: int, tenant: str = "sd") -> list[dict[str, Any]]:
    """So many accounts to change."""
    return [update(tenant, n, str(n), {"listed": True}, listed=False) for n in range(count)]


def ends_of(made: Forecast) -> dict[str, float]:
    """When each action ends."""
    return {lane.action: lane.ends_seconds for lane in made.lanes}


@pytest.mark.parametrize(
    ("rows", "seconds"),
    [
        (creations(1_000), 1_000 / 10),
        (creations(3_000, domains=3), 3_000 / 30),
        (changes(2_000), 2 * 2_000 / 40),
        ([orgunit("sd", f"/Kelas {n}") for n in range(60)], 60.0),
    ],
    ids=["one domain", "three domains", "changes", "units"],
)
def test_each_limit_decides_where_it_binds(rows: list[dict[str, Any]], seconds: float) -> None:
    """Creations take a tenth of a second each in their domain, a change two calls, a unit a second; within a few per cent."""
    assert seconds <= forecast(steps(*rows), settings()).seconds <= seconds * 1.07


def test_changes_fill_what_creations_leave() -> None:
    """3,000 creations in three domains take a hundred seconds, and 450 changes are done in the meantime."""
    made = forecast(steps(*creations(3_000, domains=3), *changes(450)), settings())
    assert made.seconds <= 100 * 1.05
    assert ends_of(made)["create"] <= 100 * 1.05


def test_the_lanes_of_the_settings_decide_who_is_done_first() -> None:
    """With updates first, they are done before the creations they would else have waited for."""
    rows = steps(*creations(600, domains=3), *changes(600))
    usual = ends_of(forecast(rows, settings()))
    turned = ends_of(forecast(rows, settings(lanes=["update", "create"])))
    assert usual["create"] < turned["create"]
    assert turned["update"] < usual["update"]


def test_a_window_too_small_for_the_latency_is_what_limits() -> None:
    """Four calls at once with answers after a second are four calls a second, whatever the quota."""
    made = forecast(steps(*changes(100)), settings(in_flight=4), latency_seconds=1.0)
    assert 200 / 4 <= made.seconds <= 200 / 4 * 1.1


def test_tenants_run_side_by_side() -> None:
    """The forecast of two is that of the slower one, and each is what it would be alone."""
    rows = [*creations(300), *creations(900, tenant="smp")]
    both = forecast(steps(*rows), settings())
    alone = {
        tenant: forecast(steps(*(row for row in rows if row["tenant"] == tenant)), settings())
        for tenant in ("sd", "smp")
    }
    assert both.tenant_seconds() == {tenant: made.seconds for tenant, made in alone.items()}
    assert both.seconds == alone["smp"].seconds


def test_a_forecast_is_the_same_every_time() -> None:
    """No thread and no clock of the machine has a say."""
    rows = steps(*creations(500, domains=2), *changes(200))
    assert forecast(rows, settings()) == forecast(rows, settings())


def test_held_steps_are_not_forecast() -> None:
    """They are not sent either."""
    rows = creations(10)
    rows[0]["held_by"] = "suspensions_per_kabkota"
    assert [lane.steps for lane in forecast(steps(*rows), settings()).lanes] == [9]
    assert forecast(steps(), settings()).seconds == 0.0


def test_a_tenant_without_settings_is_refused() -> None:
    """Its quotas are not known."""
    with pytest.raises(SettingsError, match="smk"):
        forecast(steps(*creations(1, tenant="smk")), settings())
