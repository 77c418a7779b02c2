"""Groups: which the settings may ask for, who belongs to them, who joins and who leaves."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from belajarid_recon.apply.body import carries_group_marker, group_body, read_steps
from belajarid_recon.desired.groups import group_marker, memberships, possible_groups, schools_of
from belajarid_recon.directory.interface import GroupPage, MemberPage, RoleHolderPage, StaleTokenError
from belajarid_recon.directory.snapshot import (
    SnapshotFacts,
    read_facts,
    read_groups_of,
    read_members_of,
    read_strangers,
    take_snapshot,
)
from belajarid_recon.errors import DirectoryError
from belajarid_recon.plan.build import build_plan
from belajarid_recon.plan.definition import Plan
from belajarid_recon.plan.groups import (
    KNOWN_GROUP,
    NO_OP,
    ROLE_GROUP,
    MemberChanges,
    PartMembers,
    compare_members,
    known_groups,
    stranger_tallies,
)
from belajarid_recon.reconcile import PROPOSAL, TALLY, PartChanges
from belajarid_recon.regulations import known_regulations
from belajarid_recon.schemas import (
    ADDRESSES,
    DESIRED,
    GROUP,
    MEMBERSHIP,
    OBSERVED,
    OBSERVED_GROUP,
    OBSERVED_MEMBER,
    GroupKind,
    Jenjang,
)
from belajarid_recon.secrets import Secret
from belajarid_recon.settings import Ceiling, GroupRule, Guards, Settings
from extract_builder import KABKOTA, MARKER_KEY, OTHER_KABKOTA, ExtractBuilder, work
from test_plan import context
from test_reconcile import desired, key, observed
from test_snapshot import ListedDirectory, account, request_for

EDUCATORS = GroupKind.EDUCATORS_OF_SCHOOL.value
SCHOOL, OTHER_SCHOOL = "20100001", "20100002"
REGULATION = known_regulations()["persesjen-14-2024"]


# Settings


def test_a_pattern_is_checked_at_load():
    """What could not be an address, could be a person's, or would be one for two groups is refused; the defaults are not."""
    for kind in GroupKind:
        assert GroupRule(kind=kind).address_pattern
    school = GroupKind.EDUCATORS_OF_SCHOOL
    refused = {
        "guru-semua@guru.{jenjang}.belajar.id": "needs {npsn}",
        "guru{npsn}@guru.{jenjang}.belajar.id": "hyphen or an underscore",
        "guru-{npsn}": "no domain",
        "guru-{npsn}@guru.{npsn}.belajar.id": "field that is none here",
        "guru-{npsn}-{nama}@guru.sd.belajar.id": "field that is none here",
        "Guru-{npsn}@guru.sd.belajar.id": "all small",
        "guru-{npsn}.@guru.sd.belajar.id": "all small",
        f"guru-{'x' * 52}{{npsn}}@guru.sd.belajar.id": "up to 64",
    }
    for pattern, message in refused.items():
        with pytest.raises(ValidationError, match=message):
            GroupRule(kind=school, address=pattern)
    assert GroupRule(kind=school, address=f"guru-{'x' * 51}{{npsn}}@guru.sd.belajar.id")
    for name in ("Guru <{npsn}>", "x" * 74, " "):
        with pytest.raises(ValidationError, match="73 characters"):
            GroupRule(kind=school, name=name)
    with pytest.raises(ValidationError, match="field that is none here"):
        GroupRule(kind=GroupKind.ADMINS_OF_KABKOTA, name="Admin {npsn}")


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ([{"kind": EDUCATORS}, {"kind": EDUCATORS, "jenjang": ["sd"]}], "one kind twice"),
        ([{"kind": EDUCATORS, "jenjang": ["smp"]}], "no tenant: smp"),
        ([{"kind": EDUCATORS, "jenjang": []}], "at least 1"),
        ([{"kind": "everybody"}], "Input should be"),
    ],
)
def test_rules_are_for_tenants_and_do_not_overlap(rules: list[dict[str, object]], message: str):
    """Each kind has one rule a tenant, and tenants are those of the settings."""
    document = {
        "state": "state",
        "endpoint": {"class": "emulator", "url": "http://127.0.0.1:1/"},
        "tenants": {"sd": {"customer_id": "C0", "credentials_file": "x"}},
    }
    assert Settings.model_validate(document).groups == ()
    with pytest.raises(ValidationError, match=message):
        Settings.model_validate(document | {"groups": rules})


# Who belongs


def town() -> ExtractBuilder:
    """A school in each of two kabupaten or kota, a closed one, and one of another jenjang; people who belong in several ways."""
    world = ExtractBuilder()
    first = world.school(npsn=SCHOOL)
    second = world.school(npsn=OTHER_SCHOOL, kode_wilayah="026001  ")
    closed = world.school(npsn="20100003", keaktifan=0)
    world.school(npsn="NP100004", form=6)
    two = world.staff("Dua Sekolah", first)
    world.assign(two, second, ptk_induk=0)
    worker = world.staff("Guru Operator", first)
    world.operator("Guru Operator", second, ptk=worker)
    world.head("Kepala", first)
    world.operator("Operator", second)
    world.staff("Guru Tutup", closed)
    gone = world.staff("Guru Keluar")
    world.assign(gone, first, jenis_keluar_id="4", tgl_ptk_keluar=world.tables["ptk_terdaftar"][0]["tmt_tugas"])
    clerk = world.staff("Tata Usaha", first, kind=11)
    unclear = world.staff("Guru Ragu", first)
    world.assign(unclear, second, ptk_induk=0, jenis_keluar_id="?")
    world.pupil("Murid", first, grade=3)
    assert clerk
    return world


def test_membership_follows_the_duty(tmp_path: Path):
    """Both schools of a teacher of two; an educator whose account is an admin's; heads and operators for the kabupaten or kota."""
    worked = work(town().write(tmp_path / "extract"), tmp_path / "scratch")
    accounts = worked.desired()
    made = memberships(worked.records.duties, accounts.select(list(DESIRED)), REGULATION, tuple(GroupKind))
    assert made.belongs.schema == MEMBERSHIP
    named = made.belongs.join(accounts.select("account_key", "registered"), on="account_key")
    assert sorted(named.select("registered", "code").rows()) == [
        ("Dua Sekolah", SCHOOL),
        ("Dua Sekolah", OTHER_SCHOOL),
        ("Guru Operator", OTHER_KABKOTA),
        ("Guru Operator", SCHOOL),
        ("Kepala", KABKOTA),
        ("Operator", OTHER_KABKOTA),
    ]
    assert set(named["tenant"]) == {"sd"}
    unclear = made.unclear.join(accounts.select("account_key", "registered"), on="account_key")
    assert unclear["registered"].to_list() == ["Guru Ragu"]
    one_kind = memberships(worked.records.duties, accounts, REGULATION, [GroupKind.ADMINS_OF_KABKOTA])
    assert set(one_kind.belongs["code"]) == {KABKOTA, OTHER_KABKOTA}


def test_every_school_may_have_a_group_closed_ones_too(tmp_path: Path):
    """One row a school of the tenant and kabupaten or kota, each with its own marker and address; names are cut at 73 characters."""
    worked = work(town().write(tmp_path / "extract"), tmp_path / "scratch")
    schools = schools_of(worked.reference.schools)
    rules = {
        "sd": [GroupRule(kind=kind) for kind in GroupKind],
        "smp": [GroupRule(kind=GroupKind.EDUCATORS_OF_SCHOOL)],
    }
    names = {KABKOTA: "Kota Bandung", OTHER_KABKOTA: "Kab. <" + "B" * 90}
    made = possible_groups(rules, schools, names, MARKER_KEY)
    assert made.schema == GROUP
    rows = {(row["tenant"], row["code"]): row for row in made.to_dicts()}
    assert len(rows) == made.height == 3 + 2 + 1
    assert rows["sd", "20100003"]["open"] is False
    assert rows["sd", SCHOOL] | {"marker": None} == {
        "tenant": "sd", "kind": EDUCATORS, "code": SCHOOL, "marker": None, "address": f"guru-{SCHOOL}@guru.sd.belajar.id",
        "name": f"Guru {SCHOOL} sd", "kode_kabkota": KABKOTA, "open": True,
    }  # fmt: skip
    assert rows["smp", "NP100004"]["address"] == "guru-np100004@guru.smp.belajar.id"
    assert rows["sd", OTHER_KABKOTA]["name"] == ("Admin sd Kab. " + "B" * 90)[:73]
    assert made["marker"].n_unique() == made["address"].n_unique() == made.height


def test_a_groups_marker_tells_kind_tenant_code_and_key_apart():
    """Each of them changes it, and neighbours do not run into each other; it is read back from the description of our own insert."""
    other = Secret(bytes(range(32)))
    made = {
        group_marker(MARKER_KEY, EDUCATORS, "sd", "20100001"),
        group_marker(MARKER_KEY, EDUCATORS, "sd", "20100002"),
        group_marker(MARKER_KEY, EDUCATORS, "smp", "20100001"),
        group_marker(MARKER_KEY, EDUCATORS, "sd2", "0100001"),
        group_marker(MARKER_KEY, "admins-of-kabkota", "sd", "20100001"),
        group_marker(other, EDUCATORS, "sd", "20100001"),
    }
    assert len(made) == 6
    plan = planned(changes([1], []))
    (step,) = read_steps(plan.steps.pieces(), pl.col("action") == "create-group")
    assert carries_group_marker(group_body(step), step.marker)
    assert not carries_group_marker(group_body(step) | {"description": f"({step.marker}) x"}, step.marker)
    assert not carries_group_marker({}, step.marker)


# Who joins and who leaves


def possible(*codes: str, **values: object) -> pl.DataFrame:
    """Groups of the educators of schools in Kota Tegal, schemas.GROUP."""
    rows = [
        {
            "tenant": "sd",
            "kind": EDUCATORS,
            "code": code,
            "marker": group_marker(MARKER_KEY, EDUCATORS, "sd", code),
            "address": f"guru-{code}@guru.sd.belajar.id",
            "name": f"Guru {code}",
            "kode_kabkota": "036400",
            "open": True,
        }
        | values
        for code in codes or (SCHOOL, OTHER_SCHOOL)
    ]
    return pl.DataFrame(rows, schema=GROUP)


def seen_group(code: str, **values: object) -> dict[str, object]:
    """The group of a school as the directory has it, a row of schemas.OBSERVED_GROUP."""
    row = possible(code).row(0, named=True)
    return {
        "tenant": "sd",
        "id": f"g{code}",
        "address": row["address"],
        "marker": row["marker"],
        "members_read": True,
    } | values


def known(*groups: dict[str, object], **values: object) -> pl.DataFrame:
    """KNOWN_GROUP of the two schools with these groups there."""
    found, _ = known_groups(
        possible(**values), pl.DataFrame(list(groups), schema=OBSERVED_GROUP), ROLE_GROUP.to_frame()
    )
    return found


def with_a_role(*group_ids: str) -> pl.DataFrame:
    """ROLE_GROUP of the primary schools' tenant."""
    return pl.DataFrame({"tenant": ["sd"] * len(group_ids), "id": list(group_ids)}, schema=ROLE_GROUP)


def member(number: int, code: str = SCHOOL, role: str = "MEMBER") -> dict[str, object]:
    """An account of ours in a school's group."""
    return {
        "tenant": "sd",
        "group_id": f"g{code}",
        "member_id": f"id-{number}",
        "account_key": key(number),
        "role": role,
    }


def part_of(wanted: list[int], members: list[dict[str, object]], **more: object) -> PartMembers:
    """Educators `wanted` at the first school, all live, with these members there; `more` replaces rows of a table."""
    everybody = sorted({*wanted, *(int.from_bytes(row["account_key"][:16], "big") for row in members)})
    belongs = [{"account_key": key(n), "tenant": "sd", "kind": EDUCATORS, "code": SCHOOL} for n in wanted]
    tables = {
        "belongs": (belongs, MEMBERSHIP),
        "unclear": ([], pl.Schema({"account_key": pl.Binary})),
        "desired": ([desired(n, role="guru") for n in everybody], DESIRED),
        "accounts": ([observed(n) for n in everybody], OBSERVED),
        "members": (members, OBSERVED_MEMBER),
    }
    return PartMembers(
        **{name: pl.DataFrame(more.get(name, rows), schema=schema) for name, (rows, schema) in tables.items()}
    )


def changes(
    wanted: list[int], members: list[dict[str, object]], groups: pl.DataFrame | None = None, **more: object
) -> MemberChanges:
    """Compare such a part with the first school's group there, unless `groups` says otherwise."""
    there = known(seen_group(SCHOOL)) if groups is None and members else groups
    return compare_members(part_of(wanted, members, **more), known() if there is None else there)


def counted(tallies: pl.DataFrame) -> dict[str, int]:
    """A tally as name to count."""
    return dict(tallies.group_by("name").agg(pl.col("count").sum()).rows())


def asked(made: MemberChanges) -> list[tuple[str, str, str]]:
    """Action, member and reason of the proposals."""
    return made.proposals.select("action", "member_id", "reason").rows()


def test_members_that_agree_are_counted():
    """Nothing to do for whom the register and the group both name, whatever their role or account's state."""
    made = changes([1, 2], [member(1), member(2, role="OWNER")], accounts=[observed(1, suspended=True), observed(2)])
    assert asked(made) == []
    assert counted(made.tallies) == {NO_OP: 2}
    assert made.bases.select("tenant", "kode_kabkota", "members").rows() == [("sd", "036400", 2)]


def test_who_is_not_there_joins():
    """By the immutable id of the account, and into a group that is to be made as well."""
    made = changes([1, 2], [member(1)])
    assert asked(made) == [("add-member", "id-2", EDUCATORS)]
    assert made.proposals["group_id"].to_list() == [f"g{SCHOOL}"]
    assert changes([1], [], known()).proposals["group_id"].to_list() == [None]


@pytest.mark.parametrize(
    "accounts",
    [[], [observed(1, suspended=True)], [observed(1), observed(1, id="id-twin")]],
    ids=["none", "suspended", "two"],
)
def test_whoever_has_no_single_live_account_joins_later(accounts: list[dict[str, object]]):
    """No account yet, a suspended one, or two: counted, no step."""
    made = changes([1], [], known(seen_group(SCHOOL)), accounts=accounts)
    assert asked(made) == []
    assert counted(made.tallies) == {"member-joins-later": 1}


def test_only_active_people_join():
    """Somebody under doubt belongs by the duty and is not active: no step."""
    made = changes([1], [], known(seen_group(SCHOOL)), desired=[desired(1, standing="ineligible")])
    assert asked(made) == []
    assert made.tallies.is_empty()


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (desired(1), "no-longer-of-group"),
        (desired(1, standing="leaver", reason="left-retired"), "left-retired"),
    ],
    ids=["active elsewhere", "leaver"],
)
def test_who_has_surely_gone_leaves(row: dict[str, object], reason: str):
    """The register names the person in this jenjang, and not as one of this group."""
    made = changes([], [member(1)], desired=[row])
    assert asked(made) == [("remove-member", "id-1", reason)]
    assert made.tallies.is_empty()


@pytest.mark.parametrize(
    "more",
    [
        {"desired": []},
        {"desired": [desired(1, standing="ineligible", reason="stale-year")]},
        {"unclear": [{"account_key": key(1)}]},
        {"accounts": [observed(1), observed(1, id="id-twin")]},
    ],
    ids=["absent from the register", "ineligible", "rows set aside", "two accounts"],
)
def test_whoever_is_in_doubt_stays(more: dict[str, object]):
    """Absence is not departure, and nothing sure is nothing: counted, no step."""
    made = changes([], [member(1)], **more)
    assert asked(made) == []
    assert counted(made.tallies) == {"member-in-doubt": 1}


def test_a_closed_schools_group_empties_and_stays():
    """Everybody of ours leaves, also whom the register no longer mentions; nothing asks for the group's deletion."""
    made = changes([], [member(1), member(2)], known(seen_group(SCHOOL), open=False), desired=[desired(1)])
    assert asked(made) == [("remove-member", f"id-{n}", "school-closed") for n in (1, 2)]


def test_owners_and_managers_are_not_touched():
    """Others gave them that role: counted, no step."""
    made = changes([], [member(1, role="OWNER"), member(2, role="MANAGER")])
    assert asked(made) == []
    assert counted(made.tallies) == {"member-with-a-role": 2}


def test_odd_groups_are_left_alone_and_counted():
    """Two with one marker, one whose members were not read: no step; one elsewhere is kept where it is; one of no rule is not known."""
    elsewhere = seen_group(OTHER_SCHOOL, address="lain@guru.sd.belajar.id")
    twice = [seen_group(SCHOOL), seen_group(SCHOOL, id="copy", address="salinan@sd.belajar.id")]
    unknown = seen_group("20100009")
    plain = seen_group("20100008", marker=None)
    observed_groups = pl.DataFrame([*twice, elsewhere, unknown, plain], schema=OBSERVED_GROUP)
    found, tallies = known_groups(possible(), observed_groups, with_a_role())
    assert counted(tallies) == {"group-marker-twice": 1, "group-at-another-address": 1, "group-without-rule": 1}
    assert found.schema == KNOWN_GROUP
    assert found.select("code", "left_alone", "address").rows() == [
        (SCHOOL, True, f"guru-{SCHOOL}@guru.sd.belajar.id"),
        (OTHER_SCHOOL, False, "lain@guru.sd.belajar.id"),
    ]
    made = changes([1], [member(2)], found)
    assert asked(made) == []
    assert counted(made.tallies) == {"member-of-group-left-alone": 1}
    unread, tallies = known_groups(
        possible(), pl.DataFrame([seen_group(SCHOOL, members_read=False)], schema=OBSERVED_GROUP), with_a_role()
    )
    assert counted(tallies) == {"group-members-not-read": 1}
    assert asked(changes([1], [member(2)], unread)) == []


def test_nobody_joins_a_group_that_holds_a_role():
    """Whoever would is counted, live or not; who is in it stays, and who has left goes. In another tenant the id means nothing."""
    there = pl.DataFrame([seen_group(SCHOOL), seen_group(OTHER_SCHOOL)], schema=OBSERVED_GROUP)
    role_groups = pl.concat(
        [with_a_role(f"g{SCHOOL}", "theirs"), with_a_role(f"g{OTHER_SCHOOL}").with_columns(tenant=pl.lit("smp"))]
    )
    found, tallies = known_groups(possible(), there, role_groups)
    assert counted(tallies) == {"group-holds-a-role": 1}
    assert found.select("code", "holds_role").rows() == [(SCHOOL, True), (OTHER_SCHOOL, False)]
    people = [observed(1), observed(2), observed(3, suspended=True), observed(4)]
    made = changes([1, 2, 3], [member(1), member(4)], found, accounts=people)
    assert asked(made) == [("remove-member", "id-4", "no-longer-of-group")]
    assert counted(made.tallies) == {NO_OP: 1, "member-of-group-with-a-role": 2}
    plan = planned(made, group_tallies=tallies)
    assert plan.steps.whole()["action"].to_list() == ["remove-member"]
    assert plan.facts.reasons["sd"] == {"group-holds-a-role": 1, "member-of-group-with-a-role": 2}
    assert known().select(pl.col("holds_role").any()).item() is False


def test_strangers_are_counted():
    """Members that are no accounts of ours count in the groups that are kept, and in no others."""
    rows = [{**member(1), "account_key": None, "member_id": "x"}, {**member(2, "20100009"), "account_key": None}]
    assert counted(stranger_tallies(pl.DataFrame(rows, schema=OBSERVED_MEMBER), known(seen_group(SCHOOL)))) == {
        "member-is-a-stranger": 1
    }


@given(
    people=st.lists(
        st.tuples(
            st.booleans(), st.booleans(), st.sampled_from(["active", "leaver", "ineligible", None]), st.booleans()
        ),
        max_size=40,
    ),
    cuts=st.integers(1, 6),
    seed=st.integers(0, 99),
)
@settings(max_examples=20, deadline=None)
def test_memberships_add_up_and_order_and_parts_change_nothing(people, cuts, seed):
    """Wanted memberships are kept, joined or refused; members are kept, removed or refused; one plan whatever the cut and order."""

    def made(numbers: list[int], order: Callable[[list], list]) -> MemberChanges:
        standing = {n: people[n][2] for n in numbers}
        return changes(
            order([n for n in numbers if people[n][0]]),
            order([member(n) for n in numbers if people[n][1]]),
            known(seen_group(SCHOOL)),
            desired=order([desired(n, standing=standing[n]) for n in numbers if standing[n]]),
            accounts=order([observed(n) for n in numbers if people[n][1] or people[n][3]]),
        )

    numbers = list(range(len(people)))
    whole = made(numbers, list)
    counts = counted(whole.tallies)
    actions = dict(whole.proposals["action"].value_counts().rows())
    active = [n for n in numbers if people[n][0] and people[n][2] == "active"]
    assert len(active) == counts.get(NO_OP, 0) + actions.get("add-member", 0) + counts.get("member-joins-later", 0)
    there = sum(is_member for _, is_member, _, _ in people)
    assert there == counts.get(NO_OP, 0) + actions.get("remove-member", 0) + counts.get("member-in-doubt", 0)
    shuffle = random.Random(seed)  # noqa: S311 - test data
    parts = [made(numbers[cut::cuts], lambda rows: shuffle.sample(rows, len(rows))) for cut in range(cuts)]
    assert planned(*parts).digest == planned(whole).digest


# Steps


def planned(*parts: MemberChanges, **more: object) -> Plan:
    """A plan of these parts alone."""
    whole = [
        PartChanges(
            pl.DataFrame(schema=PROPOSAL), pl.concat([TALLY.to_frame(), part.tallies]), part.bases, part.proposals
        )
        for part in parts
    ]
    return build_plan(whole, context(**more), {})


@pytest.mark.parametrize("cuts", [4, 128])
def test_the_cut_does_not_change_a_plan(cuts: int):
    """Additions and removals of 200 people in two groups, cut into parts and shuffled: one digest."""
    groups = known(seen_group(SCHOOL), seen_group(OTHER_SCHOOL))

    def made(numbers: list[int]) -> MemberChanges:
        belongs = [
            {"account_key": key(n), "tenant": "sd", "kind": EDUCATORS, "code": code}
            for n in numbers
            if n % 2
            for code in (OTHER_SCHOOL, SCHOOL)
        ]
        return changes([], [member(n) for n in numbers if n % 3 == 0], groups, belongs=belongs, **everybody(numbers))

    whole = planned(made(list(range(200))))
    assert set(whole.steps.whole()["action"]) == {"add-member", "remove-member"}
    shuffled = random.Random(cuts).sample(range(200), 200)  # noqa: S311 - test data
    assert planned(*(made(shuffled[cut::cuts]) for cut in range(cuts))).digest == whole.digest


def everybody(numbers: list[int]) -> dict[str, list[dict[str, object]]]:
    """Active educators, each with an account."""
    return {"desired": [desired(n, role="guru") for n in numbers], "accounts": [observed(n) for n in numbers]}


def test_a_group_is_made_once_and_before_its_members():
    """One creation however many join, in the order of the plan; members name the group by address and marker."""
    plan = planned(changes([1], []), changes([2], []))
    assert plan.steps.whole()["action"].to_list() == ["create-group", "add-member", "add-member"]
    assert plan.steps.whole()["address"].unique().to_list() == [f"guru-{SCHOOL}@guru.sd.belajar.id"]
    assert plan.steps.whole()["marker"].n_unique() == 1
    assert plan.steps.whole()["group_name"].to_list() == [f"Guru {SCHOOL}", None, None]
    assert plan.steps.whole()["member_id"].to_list() == [None, "id-1", "id-2"]
    assert plan.facts.counts["sd"] == {"create-group": 1, "add-member": 2}


@pytest.mark.parametrize("owner", [None, key(9)], ids=["in sight", "in the ledger"])
def test_a_group_whose_address_is_taken_is_not_made(owner: bytes | None):
    """An account, an alias, another group or the ledger has the local part: counted, no step. In another tenant it does not matter."""
    row = {"tenant": "sd", "user_id": f"guru-{SCHOOL}", "owner": owner}
    plan = planned(changes([1, 2], []), addresses=pl.DataFrame([row], schema=ADDRESSES))
    assert plan.steps.height == 0
    assert plan.facts.reasons["sd"] == {"group-address-taken": 1, "member-of-group-left-alone": 2}
    elsewhere = planned(changes([1, 2], []), addresses=pl.DataFrame([row | {"tenant": "smp"}], schema=ADDRESSES))
    assert elsewhere.steps.height == 3


def test_two_groups_with_one_address_are_not_made():
    """A pattern that gives two groups one address makes neither."""
    both = known(address="guru-semua@guru.sd.belajar.id")
    belongs = [
        {"account_key": key(n), "tenant": "sd", "kind": EDUCATORS, "code": code}
        for n, code in ((1, SCHOOL), (2, OTHER_SCHOOL))
    ]
    plan = planned(changes([1, 2], [], both, belongs=belongs))
    assert plan.steps.height == 0
    assert plan.facts.reasons["sd"]["group-address-taken"] == 2


def test_a_mass_removal_is_held():
    """Over a tenth of a kabupaten's or kota's members leave: all of them stay until a person has looked; additions go on."""
    members = [member(n) for n in range(100)]
    plan = planned(changes([*range(75), 100], members))
    assert plan.held == 25
    assert plan.steps.whole().filter(pl.col("held_by").is_null())["action"].to_list() == ["add-member"]
    (finding,) = plan.facts.findings
    assert (finding.guard, finding.scope, finding.count, finding.base) == (
        "removals_per_kabkota",
        "kabkota:036400",
        25,
        100,
    )
    assert planned(changes([*range(91)], members)).held == 0
    guards = Guards(removals_per_tenant=Ceiling(share_max=1, count_max=5))
    assert planned(changes([*range(91)], members), guards=guards).held == 9


# Reading


@dataclass
class GroupedDirectory(ListedDirectory):
    """One tenant in memory with groups and members."""

    groups: list[dict[str, object]] = field(default_factory=list)
    members: dict[str, list[dict[str, object]]] = field(default_factory=dict)
    asked_for: list[str] = field(default_factory=list)
    role_holders: list[str] = field(default_factory=list)

    def list_role_holders(self, token: str | None) -> RoleHolderPage:
        """A page, or a stale token."""
        start, end = self._slice(token, len(self.role_holders))
        return RoleHolderPage(self.role_holders[start:end], str(end) if end < len(self.role_holders) else None)

    def list_groups(self, domain: str, token: str | None) -> GroupPage:
        """A page, or a stale token."""
        listed = [group for group in self.groups if str(group["email"]).lower().endswith("@" + domain)]
        start, end = self._slice(token, len(listed))
        return GroupPage(listed[start:end], str(end) if end < len(listed) else None)

    def list_members(self, group: str, token: str | None) -> MemberPage | None:
        """A page, or a stale token; None for a group that went away."""
        self.asked_for.append(group)
        if group not in self.members:
            return None
        listed = self.members[group]
        start, end = self._slice(token, len(listed))
        return MemberPage(listed[start:end], str(end) if end < len(listed) else None)

    def _slice(self, token: str | None, length: int) -> tuple[int, int]:
        if token is not None and next(self.calls) in self.stale_at:
            raise StaleTokenError("stale")
        start = int(token or 0)
        return start, min(start + self.page, length)


def grouped(**more: object) -> GroupedDirectory:
    """Thirty accounts; a group of ours with twenty of them and a stranger, one that went away, one of a stranger's."""
    live = [account(number) for number in range(30)]
    user = {"type": "USER", "role": "MEMBER"}
    in_group = [{"id": row["id"], **user} for row in live[:20]] + [{"id": "stranger", "type": "USER", "role": "OWNER"}]
    names = {"ours": SCHOOL, "gone": OTHER_SCHOOL, "unknown": "20100009"}
    groups = [
        {
            "id": group_id,
            "email": f"Guru-{code}@guru.sd.belajar.id",
            "description": f"Guru ({group_marker(MARKER_KEY, EDUCATORS, 'sd', code)})",
            "aliases": [f"alias-{code}@sd.belajar.id"],
        }
        for group_id, code in names.items()
    ]
    groups.append({"id": "theirs", "email": "rapat@sd.belajar.id", "directMembersCount": "3"})
    return GroupedDirectory(live=live, groups=groups, members={"ours": in_group}, **more)


def sealed_groups(directory: GroupedDirectory, folder: Path, **more: object) -> SnapshotFacts:
    """A snapshot that reads the members of the two schools' groups."""
    markers = {Jenjang.SD: frozenset(possible()["marker"])}
    return take_snapshot(directory, Jenjang.SD, request_for(folder, group_markers=markers, **more))


def test_a_snapshot_holds_the_groups_and_our_groups_members(tmp_path: Path):
    """Every group is there, and members only of those asked for, with the key of the account; all addresses are in sight."""
    directory = grouped()
    facts = sealed_groups(directory, tmp_path / "s")
    groups = {row["id"]: row for row in read_groups_of(tmp_path / "s", "sd").to_dicts()}
    assert {name: row["members_read"] for name, row in groups.items()} == {
        "ours": True,
        "gone": False,
        "unknown": False,
        "theirs": False,
    }
    assert groups["ours"]["address"] == f"guru-{SCHOOL}@guru.sd.belajar.id"
    assert groups["theirs"]["marker"] is None
    assert set(directory.asked_for) == {"ours", "gone"}
    members = pl.concat([read_members_of(tmp_path / "s", part) for part in range(4)])
    assert members.schema == OBSERVED_MEMBER
    marked = {str(row["externalIds"][0]["value"])[:32]: row["id"] for row in directory.live[:20]}
    assert {row["account_key"][:16].hex(): row["member_id"] for row in members.to_dicts()} == marked
    assert read_strangers(tmp_path / "s").select("member_id", "role").rows() == [("stranger", "OWNER")]
    assert {name: facts.tenants["sd"][name] for name in ("groups", "members", "strangers")} == {
        "groups": 4,
        "members": 20,
        "strangers": 1,
    }
    in_sight = pl.read_parquet(tmp_path / "s" / "addresses" / "sd.parquet")["user_id"].to_list()
    assert {f"guru-{SCHOOL}", f"alias-{SCHOOL}", "rapat", "guru-20100009"} <= set(in_sight)


def test_a_snapshot_knows_which_groups_hold_a_role(tmp_path: Path):
    """Those inside one that does as well; they are part of the digest, and of no member but theirs is anything read for it."""
    plain = sealed_groups(grouped(), tmp_path / "plain")
    directory = grouped(role_holders=["theirs"])
    directory.members["theirs"] = [{"id": "ours", "type": "GROUP"}, {"id": "somebody", "type": "USER"}]
    facts = sealed_groups(directory, tmp_path / "s")
    assert (plain.tenants["sd"]["role_groups"], facts.tenants["sd"]["role_groups"]) == ([], ["ours", "theirs"])
    assert facts.digest != plain.digest
    assert set(directory.asked_for) == {"ours", "gone", "theirs"}
    found, _ = known_groups(
        possible(), read_groups_of(tmp_path / "s", "sd"), with_a_role(*facts.tenants["sd"]["role_groups"])
    )
    assert found.filter("holds_role")["code"].to_list() == [SCHOOL]


def test_without_a_wish_no_group_is_read(tmp_path: Path):
    """Settings without groups cost no call, and the snapshot says that it knows none."""
    take_snapshot(ListedDirectory(live=[account(1)]), Jenjang.SD, request_for(tmp_path / "s"))
    assert read_groups_of(tmp_path / "s", "sd") is None
    assert read_strangers(tmp_path / "s").is_empty()
    assert "groups" not in read_facts(tmp_path / "s").tenants["sd"]


@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 2**32), parts=st.sampled_from([1, 4, 16]), page=st.integers(1, 30))
def test_the_digest_holds_groups_and_members(seed: int, parts: int, page: int, tmp_path_factory):
    """Order, pages, stale tokens and parts change nothing; one member more, or another role, changes the digest."""
    folder = tmp_path_factory.mktemp("groups")
    one = sealed_groups(grouped(), folder / "one").digest
    other = grouped(page=page, stale_at=[seed % 7])
    shuffle = random.Random(seed)  # noqa: S311 - test data
    shuffle.shuffle(other.groups)
    shuffle.shuffle(other.members["ours"])
    assert sealed_groups(other, folder / "two", parts=parts, lists_at_once=1).digest == one
    fewer, promoted = grouped(), grouped()
    fewer.members["ours"].pop(shuffle.randrange(21))
    promoted.members["ours"][shuffle.randrange(20)]["role"] = "MANAGER"
    assert len({one, sealed_groups(fewer, folder / "3").digest, sealed_groups(promoted, folder / "4").digest}) == 3


def test_a_damaged_list_of_groups_ends_the_snapshot(tmp_path: Path):
    """A group without an address, or a list of members without an end, is an error, and nothing is left behind."""
    nameless = grouped()
    nameless.groups[0].pop("id")
    with pytest.raises(DirectoryError, match="no id or no address"):
        sealed_groups(nameless, tmp_path / "s")
    endless = grouped()
    endless.list_members = lambda *_: MemberPage([], "again")
    with pytest.raises(DirectoryError, match="round in circles"):
        sealed_groups(endless, tmp_path / "s")
    assert list(tmp_path.iterdir()) == []
