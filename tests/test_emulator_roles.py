"""The emulator's administrators: privileges, roles, assignments, makeAdmin."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from belajarid_recon.emulator.launch import EmulatorProcess
from belajarid_recon.schemas import Jenjang
from emulator_kit import official, person, refusal, unlimited

SD = Jenjang.SD
MINE = {"customer": "my_customer"}
DUPLICATE = (409, "duplicate", "Entity already exists.")
_count = itertools.count(1)


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatorProcess]:
    """One emulator for this module."""
    with EmulatorProcess(unlimited(tmp_path_factory.mktemp("roles") / "state", SD)) as running:
        yield running


@pytest.fixture(scope="module")
def sd(emulator: EmulatorProcess) -> Any:
    """The official client of the sd tenant."""
    return official(emulator, SD)


def account(sd: Any) -> dict[str, Any]:
    """A new account."""
    made: dict[str, Any] = sd.users().insert(body=person(f"admin{next(_count):04d}@sd.belajar.id")).execute()
    return made


def rights(sd: Any, made: dict[str, Any]) -> tuple[bool, bool]:
    """What an account shows of its roles."""
    shown = sd.users().get(userKey=made["id"]).execute()
    return shown["isAdmin"], shown["isDelegatedAdmin"]


def roles(sd: Any) -> dict[str, dict[str, Any]]:
    """The customer's roles by name."""
    return {role["roleName"]: role for role in sd.roles().list(**MINE).execute()["items"]}


def assigned(sd: Any, role: dict[str, Any], holder: dict[str, Any], **scope: str) -> Any:
    """A request that gives a role away."""
    body = {"roleId": role["roleId"], "assignedTo": holder["id"], "scopeType": "CUSTOMER", **scope}
    return sd.roleAssignments().insert(**MINE, body=body)


def holdings(sd: Any, **query: Any) -> list[str]:
    """Ids of the assignments a list gives, over its pages."""
    found: list[str] = []
    request = sd.roleAssignments().list(**MINE, **query)
    while request is not None:
        answer = request.execute()
        found += [one["roleAssignmentId"] for one in answer.get("items", [])]
        request = sd.roleAssignments().list_next(request, answer)
    return found


def privileges(sd: Any) -> dict[str, dict[str, Any]]:
    """All privileges by name, those below others too."""
    items = sd.privileges().list(**MINE).execute()["items"]
    return {one["privilegeName"]: one for item in items for one in (item, *item.get("childPrivileges", ()))}


def custom(sd: Any, name: str, *names: str) -> dict[str, Any]:
    """A new role with these privileges."""
    known = privileges(sd)
    wanted = [{"privilegeName": one, "serviceId": known[one]["serviceId"]} for one in names]
    role: dict[str, Any] = sd.roles().insert(**MINE, body={"roleName": name, "rolePrivileges": wanted}).execute()
    return role


def test_every_customer_has_the_system_roles(sd: Any) -> None:
    """They are there from the start, found by id, made of known privileges, and neither changed nor deleted."""
    known, found = privileges(sd), roles(sd)
    assert {"_SEED_ADMIN_ROLE", "_USER_MANAGEMENT_ADMIN_ROLE", "_HELP_DESK_ADMIN_ROLE", "_GROUPS_ADMIN_ROLE"} <= set(
        found
    )
    system = [role for role in found.values() if role["isSystemRole"]]
    assert [role["roleName"] for role in system if role["isSuperAdminRole"]] == ["_SEED_ADMIN_ROLE"]
    for role in system:
        assert {one["privilegeName"] for one in role["rolePrivileges"]} <= set(known)
        assert sd.roles().get(**MINE, roleId=role["roleId"]).execute() == role
        own = (400, "invalid", "Invalid Input: role_id")
        assert refusal(sd.roles().patch(**MINE, roleId=role["roleId"], body={"roleName": "x"})) == own
        assert refusal(sd.roles().delete(**MINE, roleId=role["roleId"])) == own


def test_roles_of_ones_own(sd: Any) -> None:
    """Made, changed, listed in pages, and deleted once nobody holds them."""
    role = custom(sd, "Operator", "USERS_RETRIEVE", "USERS_UPDATE")
    assert (role["isSystemRole"], role["isSuperAdminRole"]) == (False, False)
    patched = sd.roles().patch(**MINE, roleId=role["roleId"], body={"roleDescription": "sekolah"}).execute()
    assert {**patched, "etag": ""} == {**role, "roleDescription": "sekolah", "etag": ""}
    fewer = {"roleName": "Petugas", "rolePrivileges": role["rolePrivileges"][:1]}
    updated = sd.roles().update(**MINE, roleId=role["roleId"], body=fewer).execute()
    assert (updated["roleName"], updated["rolePrivileges"]) == ("Petugas", role["rolePrivileges"][:1])
    found, request = [], sd.roles().list(**MINE, maxResults=2)
    while request is not None:
        answer = request.execute()
        assert len(answer["items"]) <= 2
        found += [one["roleName"] for one in answer["items"]]
        request = sd.roles().list_next(request, answer)
    assert sorted(found) == sorted(roles(sd))
    assert refusal(sd.roles().insert(**MINE, body={**fewer})) == DUPLICATE
    wrong = (400, "invalid", "Invalid Input: role_privileges")
    for body in ({}, {"rolePrivileges": [{"privilegeName": "SEGALANYA", "serviceId": "x"}]}):
        assert refusal(sd.roles().insert(**MINE, body={"roleName": "Lain", **body})) == wrong
    assert refusal(sd.roles().insert(**MINE, body={"rolePrivileges": fewer["rolePrivileges"]}))[0] == 400
    one = assigned(sd, updated, account(sd)).execute()
    refused = (412, "conditionNotMet", "The role is assigned.")
    assert refusal(sd.roles().delete(**MINE, roleId=role["roleId"])) == refused
    sd.roleAssignments().delete(**MINE, roleAssignmentId=one["roleAssignmentId"]).execute()
    sd.roles().delete(**MINE, roleId=role["roleId"]).execute()
    assert refusal(sd.roles().get(**MINE, roleId=role["roleId"]))[0] == 404


def test_make_admin_gives_and_takes_the_first_role(sd: Any) -> None:
    """The flag and the assignment go together, whichever way they came; done twice it is done once."""
    made = account(sd)
    make = sd.users().makeAdmin
    for _ in range(2):
        assert make(userKey=made["primaryEmail"], body={"status": True}).execute() == ""
        assert rights(sd, made) == (True, False)
    found = holdings(sd, userKey=made["id"])
    assert len(found) == 1
    one = sd.roleAssignments().get(**MINE, roleAssignmentId=found[0]).execute()
    assert one["roleId"] == roles(sd)["_SEED_ADMIN_ROLE"]["roleId"]
    assert (one["assignedTo"], one["assigneeType"], one["scopeType"]) == (made["id"], "user", "CUSTOMER")
    make(userKey=made["id"], body={"status": False}).execute()
    assert (rights(sd, made), holdings(sd, userKey=made["id"])) == ((False, False), [])
    assigned(sd, roles(sd)["_SEED_ADMIN_ROLE"], made).execute()
    assert rights(sd, made) == (True, False)
    make(userKey=made["id"], body={"status": False}).execute()
    assert (rights(sd, made), holdings(sd, userKey=made["id"])) == ((False, False), [])
    assert refusal(make(userKey=made["id"], body={})) == (400, "required", "Missing required field: status")
    assert refusal(make(userKey="nobody@sd.belajar.id", body={"status": True}))[0] == 404


def test_makeadmin_takes_rights_that_were_planted(emulator: EmulatorProcess, sd: Any) -> None:
    """An administrator made behind the API's back holds no assignment, and can be undone all the same."""
    (identity,) = emulator.plant(SD, [{"primaryEmail": "tanam@sd.belajar.id", "isAdmin": True}])
    sd.users().makeAdmin(userKey=identity, body={"status": False}).execute()
    assert rights(sd, {"id": identity}) == (False, False)


def test_roles_show_on_who_holds_them(sd: Any) -> None:
    """Delegated rights come with the first role and go with the last; a deleted account holds none when it comes back."""
    made = account(sd)
    first = assigned(sd, roles(sd)["_HELP_DESK_ADMIN_ROLE"], made).execute()
    second = assigned(sd, roles(sd)["_GROUPS_ADMIN_ROLE"], made).execute()
    assert rights(sd, made) == (False, True)
    assert refusal(assigned(sd, roles(sd)["_GROUPS_ADMIN_ROLE"], made)) == DUPLICATE
    assert holdings(sd, userKey=made["primaryEmail"]) == [first["roleAssignmentId"], second["roleAssignmentId"]]
    assert holdings(sd, userKey=made["id"], maxResults=1) == holdings(sd, userKey=made["id"])
    assert holdings(sd, roleId=second["roleId"]) == [second["roleAssignmentId"]]
    sd.roleAssignments().delete(**MINE, roleAssignmentId=first["roleAssignmentId"]).execute()
    assert rights(sd, made) == (False, True)
    sd.users().delete(userKey=made["id"]).execute()
    missing = sd.roleAssignments().get(**MINE, roleAssignmentId=second["roleAssignmentId"])
    assert refusal(missing)[:2] == (404, "notFound")
    sd.users().undelete(userKey=made["id"], body={}).execute()
    assert rights(sd, made) == (False, False)


def test_a_group_holds_a_role_for_its_members(sd: Any) -> None:
    """Seen on the group and, when asked for, on members of members; not on the account itself; gone with the group."""
    made = account(sd)
    inner = sd.groups().insert(body={"email": "dalam@sd.belajar.id"}).execute()
    outer = sd.groups().insert(body={"email": "luar@sd.belajar.id"}).execute()
    sd.members().insert(groupKey=inner["id"], body={"id": made["id"]}).execute()
    sd.members().insert(groupKey=outer["id"], body={"id": inner["id"]}).execute()
    one = assigned(sd, roles(sd)["_USER_MANAGEMENT_ADMIN_ROLE"], outer).execute()
    assert one["assigneeType"] == "group"
    assert holdings(sd, userKey=outer["email"]) == [one["roleAssignmentId"]]
    assert holdings(sd, userKey=made["id"]) == []
    assert holdings(sd, userKey=made["id"], includeIndirectRoleAssignments=True) == [one["roleAssignmentId"]]
    assert rights(sd, made) == (False, False)
    assert refusal(sd.roleAssignments().list(**MINE, includeIndirectRoleAssignments=True))[0] == 400
    super_role = assigned(sd, roles(sd)["_SEED_ADMIN_ROLE"], outer)
    assert refusal(super_role) == (400, "invalid", "Invalid Input: assigned_to")
    sd.groups().delete(groupKey=outer["id"]).execute()
    assert holdings(sd, userKey=made["id"], includeIndirectRoleAssignments=True) == []


def test_a_unit_bounds_some_roles(sd: Any) -> None:
    """A unit's id is needed and must be known, and only privileges over accounts and units can be bounded by one."""
    made = account(sd)
    unit = sd.orgunits().insert(customerId="my_customer", body={"name": "Bali", "parentOrgUnitPath": "/"}).execute()
    role = custom(sd, "Operator Bali", "USERS_ALL")
    bounded = {"scopeType": "ORG_UNIT", "orgUnitId": unit["orgUnitId"].removeprefix("id:")}
    one = assigned(sd, role, made, **bounded).execute()
    assert (one["scopeType"], one["orgUnitId"]) == ("ORG_UNIT", bounded["orgUnitId"])
    assert rights(sd, made) == (False, True)
    no_unit = (400, "invalid", "Invalid Input: INVALID_OU_ID")
    assert refusal(assigned(sd, role, made, scopeType="ORG_UNIT")) == no_unit
    assert refusal(assigned(sd, role, made, scopeType="ORG_UNIT", orgUnitId="0tidakada")) == no_unit
    scope = (400, "invalid", "Invalid Input: scope_type")
    assert refusal(assigned(sd, role, made, scopeType="DUNIA")) == scope
    assert refusal(assigned(sd, roles(sd)["_GROUPS_ADMIN_ROLE"], made, **bounded)) == scope
    for wrong, status in (
        ({"assignedTo": made["primaryEmail"]}, 400),
        ({"assignedTo": "1" * 21}, 404),
        ({"roleId": "1"}, 404),
        ({"condition": "api.getAttribute('x', [])"}, 501),
    ):
        assert refusal(assigned(sd, role, made, **wrong))[0] == status
    assert len(holdings(sd, userKey=made["id"])) == 1


def test_roles_are_there_after_a_restart(tmp_path: Path) -> None:
    """Roles keep their ids, holders their roles, and the seeded ones are not seeded again."""
    settings = unlimited(tmp_path / "e", SD)
    with EmulatorProcess(settings) as emulator:
        sd = official(emulator, SD)
        made = account(sd)
        custom(sd, "Operator", "USERS_ALL")
        assigned(sd, roles(sd)["Operator"], made).execute()
        before = roles(sd), holdings(sd)
    with EmulatorProcess(settings) as emulator:
        sd = official(emulator, SD)
        assert (roles(sd), holdings(sd)) == before
        assert rights(sd, made) == (False, True)
        sd.users().makeAdmin(userKey=made["id"], body={"status": True}).execute()
        assert len(set(holdings(sd))) == 2
