"""Plans: digest, files, guards, order."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from belajarid_recon.errors import PlanError
from belajarid_recon.plan.build import LANE, STEP_CLASS, PlanContext, build_plan
from belajarid_recon.plan.definition import Plan, PlanFacts, plan_digest
from belajarid_recon.plan.file import read_plan, write_plan
from belajarid_recon.plan.guards import count_slices, hold_slices, with_held
from belajarid_recon.reconcile import BASE, PROPOSAL, TALLY, PartChanges
from belajarid_recon.schemas import ADDRESSES, DELETED, STEP, Action, Jenjang
from belajarid_recon.secrets import Secret
from belajarid_recon.settings import Ceiling, Guards

NAMING_KEY = Secret(bytes(range(32)))


def key_of(number: int) -> bytes:
    """The account key of the synthetic account `number` in the sd tenant."""
    return number.to_bytes(16, "big") + b"\x01"


def proposal(number: int, action: Action = Action.CREATE, **changes: object) -> dict[str, object]:
    """One row of PROPOSAL for the synthetic account `number` in the sd tenant."""
    creation = action is Action.CREATE
    row: dict[str, object] = dict.fromkeys(PROPOSAL)
    row |= {
        "tenant": "sd",
        "action": action.value,
        "reason": "pupil",
        "account_key": key_of(number),
        "target_id": None if creation else f"id-{number}",
        "user_id": None if creation else f"user{number}",
        "nama": "Sri Wahyuni" if creation else None,
        "domain": "sd.belajar.id" if creation else None,
        "ou_path": "/Jawa Tengah/Kota Tegal/Siswa" if creation else None,
        "kode_kabkota": "036400",
    }
    return row | changes


def part(rows: list[dict[str, object]], base: int = 0) -> PartChanges:
    """A part with these proposals and `base` live accounts in one kota."""
    return PartChanges(
        proposals=pl.DataFrame(rows, schema=PROPOSAL),
        tallies=pl.DataFrame([{"tenant": "sd", "kind": "action", "name": "no-op", "count": 5}], schema=TALLY),
        bases=pl.DataFrame([{"tenant": "sd", "kode_kabkota": "036400", "accounts": base, "admins": base}], schema=BASE),
    )


def context(**changes: object) -> PlanContext:
    """A context with an empty directory."""
    values: dict[str, object] = {
        "endpoint_class": "emulator",
        "customer_ids": {"sd": "C0"},
        "date": "2026-11-15",
        "regulation": "persesjen-14-2024",
        "addresses": pl.DataFrame(schema=ADDRESSES),
        "aliases_asked": 0,
        "deleted": pl.DataFrame(schema=DELETED),
        "orgunits": {"sd": set()},
        "kabkota_names": {"036400": "Kota Tegal"},
        "guards": Guards(),
        "naming_key": NAMING_KEY,
    }
    return PlanContext(**(values | changes))  # type: ignore[arg-type]


def test_every_action_has_a_lane_and_a_class():
    """A new action cannot be forgotten in the order or the classes."""
    assert set(LANE) == set(Action)
    assert set(STEP_CLASS) == set(Action)
    assert len(set(LANE.values())) == len(LANE)


def test_units_come_before_the_accounts_that_live_in_them():
    """Missing units are created once each, parents first, and before any account."""
    plan = build_plan([part([proposal(1), proposal(2)])], context(orgunits={"sd": {"/jawa tengah"}}), {})
    assert plan.steps.whole()["action"].to_list() == ["create-orgunit", "create-orgunit", "create", "create"]
    assert plan.steps.whole()["ou_path"].to_list()[:2] == ["/Jawa Tengah/Kota Tegal", "/Jawa Tengah/Kota Tegal/Siswa"]
    assert plan.steps.whole()["step"].to_list() == [0, 1, 2, 3]
    assert plan.steps.whole().schema == STEP


def test_creations_get_an_address_and_a_marker():
    """The address is the user ID in the role's domain; the marker names key and jenjang."""
    plan = build_plan([part([proposal(255)])], context(), {})
    created = plan.steps.whole().filter(pl.col("action") == "create").row(0, named=True)
    assert created["address"].startswith("sri.wahyuni")
    assert created["address"].endswith("@sd.belajar.id")
    assert created["marker"] == "000000000000000000000000000000ff.sd"


def test_a_rename_keeps_the_user_id_and_other_changes_write_no_address():
    """A promotion changes the domain only; an update of a name leaves the address alone."""
    rows = [
        proposal(1, Action.PROMOTE, domain="admin.sd.belajar.id"),
        proposal(2, Action.UPDATE, given_name="Sri", family_name="Wahyuni"),
    ]
    plan = build_plan([part(rows)], context(), {})
    assert plan.steps.whole()["address"].to_list() == ["user1@admin.sd.belajar.id", None]


def test_a_slice_over_its_share_is_held_and_the_rest_goes_on():
    """40 suspensions of 100 accounts trip the kota's guard; the creation beside them stays free."""
    rows = [proposal(n, Action.SUSPEND, suspended=True) for n in range(40)] + [proposal(99)]
    plan = build_plan([part(rows, base=100)], context(), {})
    assert plan.held == 40
    assert plan.facts.counts["sd"]["held"] == 40
    assert plan.steps.whole().filter(pl.col("held_by").is_null())["action"].unique().sort().to_list() == [
        "create",
        "create-orgunit",
    ]
    (finding,) = plan.facts.findings
    assert (finding.scope, finding.name, finding.count, finding.base) == ("kabkota:036400", "Kota Tegal", 40, 100)


def test_the_tenant_guard_looks_at_what_the_finer_guard_left():
    """Suspensions already held in their kota do not count against the tenant."""
    guards = Guards(
        suspensions_per_kabkota=Ceiling(share_max=0.05, count_max=1_000),
        suspensions_per_tenant=Ceiling(share_max=1, count_max=30),
    )
    bad = [proposal(n, Action.SUSPEND, suspended=True) for n in range(40)]
    few = [proposal(100 + n, Action.SUSPEND, suspended=True, kode_kabkota="036500") for n in range(25)]
    rows = pl.DataFrame(bad + few, schema=PROPOSAL)
    bases = pl.DataFrame(
        [
            {"tenant": "sd", "kode_kabkota": "036400", "accounts": 100, "admins": 0},
            {"tenant": "sd", "kode_kabkota": "036500", "accounts": 10_000, "admins": 0},
        ],
        schema=BASE,
    )
    held, findings = hold_slices(count_slices(rows, guards), bases, guards, {})
    assert [finding.scope for finding in findings] == ["kabkota:036400"]
    assert with_held(rows, held)["held_by"].count() == 40
    more = pl.concat(
        [
            rows,
            pl.DataFrame([proposal(200 + n, Action.SUSPEND, kode_kabkota="036500") for n in range(9)], schema=PROPOSAL),
        ]
    )
    _, findings = hold_slices(count_slices(more, guards), bases, guards, {})
    assert [finding.scope for finding in findings] == ["kabkota:036400", "tenant:sd"]


@given(
    suspensions=st.integers(0, 200),
    base=st.integers(0, 400),
    share=st.floats(0, 1),
    count=st.integers(0, 200),
    floor=st.integers(0, 50),
)
@settings(max_examples=200, deadline=None)
def test_no_free_suspensions_pass_a_ceiling(suspensions, base, share, count, floor):
    """Whatever the numbers, what a guard lets through is within its count, and within its share above the floor."""
    ceiling = Ceiling(share_max=share, count_max=count, count_min=floor)
    rows = pl.DataFrame([proposal(n, Action.SUSPEND) for n in range(suspensions)], schema=PROPOSAL)
    bases = pl.DataFrame([{"tenant": "sd", "kode_kabkota": "036400", "accounts": base, "admins": base}], schema=BASE)
    guards = Guards(suspensions_per_kabkota=ceiling, suspensions_per_tenant=Ceiling(share_max=1, count_max=10**6))
    held, findings = hold_slices(count_slices(rows, guards), bases, guards, {})
    free = with_held(rows, held)["held_by"].null_count()
    assert free in {0, suspensions}
    assert free <= count
    assert free < max(floor, 1) or free <= share * base
    assert bool(findings) == (free < suspensions)


def test_a_plan_read_back_is_the_plan_written(tmp_path):
    """Writing and reading changes neither content nor digest."""
    plan = build_plan([part([proposal(1), proposal(2, Action.SUSPEND, suspended=True)])], context(), {"extract": {}})
    write_plan(tmp_path / "plan", plan)
    again = read_plan(tmp_path / "plan")
    assert again.digest == plan.digest
    assert again.steps.whole().equals(plan.steps.whole())
    assert again.facts == plan.facts


def test_a_plan_changed_on_disk_is_refused(tmp_path):
    """Another target id in one step is noticed before anything is applied."""
    plan = build_plan([part([proposal(1, Action.SUSPEND, suspended=True)])], context(), {})
    write_plan(tmp_path, plan)
    plan.steps.whole().with_columns(target_id=pl.lit("another child")).write_parquet(tmp_path / "steps.parquet")
    with pytest.raises(PlanError, match="changed after it was made"):
        read_plan(tmp_path)


def test_a_truncated_plan_is_refused(tmp_path):
    """Half a file is no plan."""
    write_plan(tmp_path, build_plan([part([proposal(1)])], context(), {}))
    path = tmp_path / "steps.parquet"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(PlanError, match="cannot be read"):
        read_plan(tmp_path)


def mixed_proposals() -> list[dict[str, object]]:
    """Creations and suspensions of two tenants, and two aliases of one account, which have all else in common."""
    tenants = ("sd", "smp")
    rows = [proposal(n, Action.CREATE if n % 3 else Action.SUSPEND, tenant=tenants[n % 2]) for n in range(28)]
    return rows + [proposal(99, Action.ADD_ALIAS, alias=f"nama{n}@sd.belajar.id") for n in range(2)]


@given(st.permutations(range(30)), st.integers(1, 8))
@settings(max_examples=30, deadline=None)
def test_order_and_parts_do_not_change_a_plan(order, cuts):
    """Shuffled proposals in any number of parts give one digest."""
    rows = mixed_proposals()
    tally = part([]).tallies
    shuffled = [rows[n] for n in order]
    parts = [
        PartChanges(
            pl.DataFrame(shuffled[cut::cuts], schema=PROPOSAL),
            tally.clear() if cut else tally,
            pl.DataFrame(schema=BASE),
        )
        for cut in range(cuts)
    ]
    whole = PartChanges(pl.DataFrame(rows, schema=PROPOSAL), tally, pl.DataFrame(schema=BASE))
    assert build_plan(parts, context(), {}).digest == build_plan([whole], context(), {}).digest


def test_steps_stand_by_tenant_and_lane_and_are_numbered():
    """Whatever order they were made in: apply sends them in the order of their numbers."""
    steps = build_plan([part(mixed_proposals())], context(), {}).steps.whole()
    tenants = [jenjang.value for jenjang in Jenjang]
    places = [(tenants.index(tenant), LANE[action]) for tenant, action in steps.select("tenant", "action").iter_rows()]
    assert places == sorted(places)
    assert {tenant for tenant, _ in places} == {tenants.index("sd"), tenants.index("smp")}
    assert steps["step"].to_list() == list(range(steps.height))


def test_the_digest_tells_null_from_empty_and_neighbours_apart():
    """Lengths in the canonical form keep values from running into each other."""
    facts = PlanFacts("emulator", {}, "2026-11-15", "x", {}, {})
    rows = [
        {"given_name": "a", "family_name": ""},
        {"given_name": "a", "family_name": None},
        {"given_name": "", "family_name": "a"},
        {"given_name": "a1:b", "family_name": None},
        {"given_name": "a", "family_name": "b"},
    ]
    digests = {plan_digest([pl.DataFrame([dict.fromkeys(STEP) | row], schema=STEP)], facts) for row in rows}
    assert len(digests) == len(rows)


def test_an_empty_plan_says_so():
    """A converged directory gives no steps and only no-ops."""
    plan = build_plan([part([])], context(), {})
    assert plan.runnable == plan.held == 0
    assert plan.count("no-op") == 5
    assert isinstance(plan, Plan)


def test_a_mass_demotion_is_held():
    """A table of roles that came empty would turn every operator into an educator: over a tenth of the administrators is held."""
    rows = [proposal(n, Action.DEMOTE, domain="guru.sd.belajar.id") for n in range(15)]
    plan = build_plan([part(rows, base=100)], context(), {})
    assert plan.held == 15
    assert plan.facts.findings[0].guard == "demotions_per_kabkota"


def test_a_small_tenant_of_a_kota_is_looked_at_by_itself():
    """All pupils of the SLB of a kota are few beside the kota, and all of them are too many."""
    rows = [proposal(n, Action.SUSPEND, suspended=True, tenant="slb") for n in range(30)]
    bases = pl.DataFrame(
        [
            {"tenant": "sd", "kode_kabkota": "036400", "accounts": 5_000, "admins": 0},
            {"tenant": "slb", "kode_kabkota": "036400", "accounts": 30, "admins": 0},
        ],
        schema=BASE,
    )
    proposals = pl.DataFrame(rows, schema=PROPOSAL)
    held, findings = hold_slices(count_slices(proposals, Guards()), bases, Guards(), {"036400": "Kota Tegal"})
    assert with_held(proposals, held)["held_by"].count() == 30
    assert findings[0].scope == "kabkota:036400/slb"
    assert findings[0].name == "Kota Tegal slb"


def test_a_deleted_account_is_restored_and_not_made_again():
    """Whoever comes back within the days Google keeps it gets the same account, by immutable id and without a new address."""
    mine = pl.DataFrame([(key_of(1), "sd", "id-1", "budi.santoso1234", "sd.belajar.id")], schema=DELETED, orient="row")
    plan = build_plan([part([proposal(1), proposal(2)])], context(deleted=mine), {})
    accounts = plan.steps.whole().filter(pl.col("account_key").is_not_null())
    assert accounts["action"].to_list() == ["undelete", "create"]
    step = accounts.row(0, named=True)
    assert (step["target_id"], step["address"], step["given_name"]) == ("id-1", None, None)
    assert step["ou_path"] == proposal(1)["ou_path"]
    assert step["marker"].startswith(key_of(1)[:16].hex())


def test_of_two_deleted_accounts_of_one_person_none_is_restored_by_guess():
    """Nor is a third one made: a person has to look."""
    rows = [(key_of(1), "sd", f"id-{number}", "x", "sd.belajar.id") for number in (1, 2)]
    plan = build_plan([part([proposal(1)])], context(deleted=pl.DataFrame(rows, schema=DELETED, orient="row")), {})
    assert plan.steps.whole().filter(pl.col("account_key").is_not_null()).is_empty()
    assert plan.facts.reasons["sd"]["marker-on-two-accounts"] == 1


def test_lines_of_aliases_without_an_account_are_told():
    """Nothing people asked for goes without a word."""
    found = part([proposal(1)])
    told = pl.DataFrame([{"tenant": "sd", "kind": "alias-found", "name": None, "count": 2}], schema=TALLY)
    plan = build_plan([replace(found, tallies=pl.concat([found.tallies, told]))], context(aliases_asked=5), {})
    assert plan.facts.reasons["-"] == {"alias-without-account": 3}
    assert "-" not in build_plan([part([proposal(1)])], context(), {}).facts.reasons
