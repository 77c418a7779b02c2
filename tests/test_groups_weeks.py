"""Groups over four weeks, over the wire: accounts, then groups and members, then a teacher who moves, then nothing to do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest

from belajarid_recon import pipeline
from belajarid_recon.cli.starting import write_settings
from belajarid_recon.components import ScaledClock, SystemRandomness
from belajarid_recon.directory.connect import connect
from belajarid_recon.directory.google import GoogleDirectory
from belajarid_recon.directory.groups import group_marker_of
from belajarid_recon.directory.snapshot import adopt_snapshot, read_facts
from belajarid_recon.emulator.launch import EmulatorProcess
from belajarid_recon.emulator.settings import EmulatorSettings
from belajarid_recon.errors import PlanError
from belajarid_recon.plan.definition import Plan
from belajarid_recon.schemas import GROUP_ACTIONS, GroupKind, Jenjang
from belajarid_recon.settings import GroupRule, Run, Settings
from belajarid_recon.state.ledger import read_ledger
from emulator_kit import official
from extract_builder import DAY, ExtractBuilder

SCALE = 400.0
RULES = (GroupRule(kind=GroupKind.EDUCATORS_OF_SCHOOL), GroupRule(kind=GroupKind.ADMINS_OF_KABKOTA))


@dataclass
class Town:
    """Two primary schools of one kota with their people, and an emulator with its settings."""

    folder: Path
    settings: Settings
    emulator: EmulatorProcess
    register: ExtractBuilder
    first: str
    second: str
    moving: dict[str, object]
    """The assignment of the teacher who moves."""
    both: str
    """The teacher of two schools."""
    plans: int = 0

    def plan(self, settings: Settings | None = None) -> pipeline.PlannedRun:
        """Plan from the register as it is now."""
        self.plans += 1
        extract = self.register.write(self.folder / f"extract{self.plans}")
        return pipeline.make_plan(settings or self.settings, pipeline.PlanRequest(extract=extract, date=DAY))

    def run(self) -> tuple[Plan, pipeline.Verification]:
        """Plan, apply, verify a week."""
        planned = self.plan()
        result = pipeline.apply_run(self.settings, planned.folder.run_id)
        assert (result.parked, result.remaining, result.findings) == (0, 0, {}), result.parked_reasons
        return planned.plan, pipeline.verify_run(self.settings, planned.folder.run_id)

    def directory(self) -> GoogleDirectory:
        """A client of the primary schools' tenant."""
        return connect(self.settings, ScaledClock(SCALE), SystemRandomness())[Jenjang.SD]

    def members(self) -> dict[str, set[str]]:
        """Local part of each group of ours in the tenant to the given names of its members."""
        directory = self.directory()
        groups = [group for domain in directory.domains() for group in directory.list_groups(domain, None).groups]
        return {
            group["email"].partition("@")[0]: {
                directory.get_account(member["id"])["name"]["givenName"]
                for member in directory.list_members(group["id"], None).members
            }
            for group in groups
            if group_marker_of(group)
        }


@contextmanager
def town(folder: Path) -> Iterator[Town]:
    """A register, an empty directory, and settings of one tenant that ask for both kinds of groups."""
    register = ExtractBuilder()
    first, second = register.school(npsn="20100001"), register.school(npsn="20100002")
    register.staff("Ani Guru", first)
    mover = register.staff("Budi Pindah")
    moving = register.assign(mover, first)
    both = register.staff("Citra Rangkap", first)
    register.assign(both, second, ptk_induk=0)
    working = register.staff("Dewi Operator", second)
    register.operator("Dewi Operator", second, ptk=working)
    register.head("Eko Kepala", first)
    register.pupil("Fitri Murid", first, grade=3)
    with EmulatorProcess(EmulatorSettings(folder / "emulator", scale=SCALE)) as emulator:
        settings = write_settings(folder, emulator)
        only = {Jenjang.SD: settings.tenants[Jenjang.SD]}
        yield Town(
            folder,
            settings.model_copy(update={"groups": RULES, "tenants": only}),
            emulator,
            register,
            first,
            second,
            moving,
            both,
        )


def group_steps(plan: Plan) -> list[tuple[str, str]]:
    """Action and local part of the address of a plan's steps on groups."""
    found = plan.steps.whole().filter(pl.col("action").is_in(list(GROUP_ACTIONS)))
    return [(action, address.partition("@")[0]) for action, address in found.select("action", "address").iter_rows()]


@pytest.fixture(scope="module")
def settled(tmp_path_factory) -> Iterator[Town]:
    """A town after four weeks."""
    with town(tmp_path_factory.mktemp("town")) as made:
        yield after_four_weeks(made)


def after_four_weeks(made: Town) -> Town:
    """Accounts, then groups and members, then a teacher who moves: one addition and one removal, then nothing to do."""
    plan, verified = made.run()
    assert group_steps(plan) == []
    assert plan.facts.reasons["sd"]["member-joins-later"] == 7
    # Three groups and seven memberships wait for the next plan, and the run has done its part all the same.
    assert (verified.joining, verified.remaining) == (10, 0)
    plan, verified = made.run()
    assert group_steps(plan)[:3] == [
        ("create-group", group) for group in ("admin-026100", "guru-20100001", "guru-20100002")
    ]
    assert plan.facts.counts["sd"]["add-member"] == 7
    assert plan.steps.height == 10
    assert (verified.joining, verified.remaining) == (0, 0)
    assert made.members() == {
        "admin-026100": {"Dewi", "Eko"},
        "guru-20100001": {"Ani", "Budi", "Citra"},
        "guru-20100002": {"Citra", "Dewi"},
    }
    made.moving["sekolah_id"] = made.second
    assert_one_plan(made)
    plan, verified = made.run()
    assert group_steps(plan) == [("add-member", "guru-20100002"), ("remove-member", "guru-20100001")]
    assert verified.remaining == 0
    plan, _ = made.run()
    assert plan.steps.height == 0
    assert plan.facts.counts["sd"]["member-no-op"] == 7
    return made


def assert_one_plan(made: Town) -> None:
    """P of 1, 4 and 16, and rows in another order, give one digest."""
    digests = set()
    for parts in (1, 4, 16):
        cut = made.settings.model_copy(update={"run": Run(parts=parts)})
        digests.add(made.plan(cut).plan.digest)
        for rows in made.register.tables.values():
            rows.reverse()
    assert len(digests) == 1


def test_members_follow_the_register(settled: Town):
    """After a teacher's move the groups hold whom the register names, by the ids of their accounts."""
    assert settled.members() == {
        "admin-026100": {"Dewi", "Eko"},
        "guru-20100001": {"Ani", "Citra"},
        "guru-20100002": {"Budi", "Citra", "Dewi"},
    }


def test_nobody_owns_a_groups_address(settled: Town):
    """The ledger of user IDs holds no group's local part: it would become somebody's."""
    ledger = read_ledger(settled.settings.state)
    assert ledger.height == 6
    assert not ledger["user_id"].str.contains("-").any()


def test_what_others_made_is_left_alone(settled: Town):
    """A group of others at a wanted address, a member who is nobody's account, a member whom others made an owner: counted, no step."""
    client = official(settled.emulator, Jenjang.SD)
    third = settled.register.school(npsn="20100003")
    theirs = "guru-20100003@guru.sd.belajar.id"
    client.groups().insert(body={"email": theirs, "name": "Milik lain"}).execute()
    (stranger,) = settled.emulator.plant(Jenjang.SD, [{"primaryEmail": "tamu@sd.belajar.id"}])
    first = "guru-20100001@guru.sd.belajar.id"
    client.members().insert(groupKey=first, body={"id": stranger, "role": "MEMBER"}).execute()
    settled.register.assign(settled.both, third, ptk_induk=0)
    plan = settled.plan().plan
    assert group_steps(plan) == []
    reasons = plan.facts.reasons["sd"]
    assert (reasons["group-address-taken"], reasons["member-of-group-left-alone"]) == (1, 1)
    assert reasons["member-is-a-stranger"] == 1
    assert plan.facts.counts["sd"]["member-no-op"] == 7


def test_a_group_that_others_deleted_is_made_again(settled: Town):
    """Its members join in the same plan: their accounts are there."""
    client = official(settled.emulator, Jenjang.SD)
    client.groups().delete(groupKey="guru-20100002@guru.sd.belajar.id").execute()
    plan, verified = settled.run()
    assert group_steps(plan) == [("create-group", "guru-20100002")] + 3 * [("add-member", "guru-20100002")]
    assert verified.differences == 0
    assert settled.members()["guru-20100002"] == {"Budi", "Citra", "Dewi"}


def test_records_without_memberships_are_refused(settled: Town):
    """Settings that ask for groups after the run was made: verify says so, instead of taking everybody for a stranger."""
    planned = settled.plan(settled.settings.model_copy(update={"groups": ()}))
    assert "member-no-op" not in planned.plan.facts.counts["sd"]
    with pytest.raises(PlanError, match="say nothing of groups"):
        pipeline.verify_run(settled.settings, planned.folder.run_id)


def test_a_domain_that_is_not_there_is_refused(settled: Town):
    """A pattern whose domain the tenant does not have stops the plan."""
    rule = GroupRule(kind=GroupKind.EDUCATORS_OF_SCHOOL, address="guru-{npsn}@staf.{jenjang}.belajar.id")
    with pytest.raises(PlanError, match=r"domain its groups need: staf\.sd\.belajar\.id"):
        settled.plan(settled.settings.model_copy(update={"groups": (rule,)}))


def test_nobody_joins_a_group_inside_one_that_holds_a_role(settled: Town):
    """Given in the console after the last week: a teacher who would join is counted, and those who are members stay."""
    client = official(settled.emulator, Jenjang.SD)
    customer = settled.settings.tenants[Jenjang.SD].customer_id
    roles = client.roles().list(customer=customer).execute()["items"]
    above = client.groups().insert(body={"email": "pengelola@sd.belajar.id", "name": "Pengelola"}).execute()
    assignment = {"assignedTo": above["id"], "scopeType": "CUSTOMER"}
    assignment["roleId"] = next(role["roleId"] for role in roles if not role["isSuperAdminRole"])
    client.roleAssignments().insert(customer=customer, body=assignment).execute()
    first = client.groups().get(groupKey="guru-20100001@guru.sd.belajar.id").execute()
    client.members().insert(groupKey=above["id"], body={"id": first["id"], "role": "MEMBER"}).execute()
    settled.register.assign(str(settled.moving["ptk_id"]), settled.first, ptk_induk=0)
    planned = settled.plan()
    assert group_steps(planned.plan) == []
    reasons = planned.plan.facts.reasons["sd"]
    assert (reasons["group-holds-a-role"], reasons["member-of-group-with-a-role"]) == (1, 1)
    assert read_facts(planned.folder.snapshot).tenants["sd"]["role_groups"] == sorted([above["id"], first["id"]])
    # A snapshot that does not say so proves nothing: nobody may join on its word.
    facts = planned.folder.snapshot / "snapshot.json"
    document = json.loads(facts.read_bytes())
    del document["tenants"]["sd"]["role_groups"]
    old = settled.folder / "old"
    adopt_snapshot(planned.folder.snapshot, old)
    (old / "snapshot.json").unlink()
    (old / "snapshot.json").write_text(json.dumps(document))
    request = pipeline.PlanRequest(extract=settled.folder / f"extract{settled.plans}", date=DAY)
    with pytest.raises(PlanError, match="or not their roles"):
        pipeline.plan_from_snapshot(settled.settings, request, old)
