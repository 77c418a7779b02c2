"""Every action of a plan against the emulator: what stands in the directory afterwards, what is left alone, and what is told."""

from __future__ import annotations

from typing import Any

import pytest

from appliers.desk import CLOCK, Desk, numbers, target_of
from appliers.plans import account_key, account_step, marker, settings_of, update
from belajarid_recon.apply.operations import OPERATIONS
from belajarid_recon.components import SystemRandomness
from belajarid_recon.directory.connect import connect
from belajarid_recon.errors import DirectoryError
from belajarid_recon.schemas import Action, Jenjang
from belajarid_recon.state.lifecycle import deleted_by_us, suspended_by_us
from emulator_kit import official

GROUP_MARKER = "recon:" + "5a" * 16


def test_every_action_can_be_carried_out():
    """A new action cannot be forgotten."""
    assert set(OPERATIONS) == set(Action)


def parked(desk: Desk) -> list[str]:
    """Why the steps of the latest run were parked."""
    with desk.journal() as journal:
        return [reason for _, state, reason in journal.reasons() if state.value == "parked"]


def one(number: int, action: Action, target_id: str, **changes: Any) -> dict[str, Any]:
    """A step on the account of this person in sd."""
    return account_step("sd", number, action, target_id) | changes


def test_a_suspended_account_is_deleted_and_comes_back(desk: Desk):
    """By its immutable id, with its marker and its name; what comes back is as suspended as it went."""
    (number,) = numbers(1)
    target_id = desk.plant(number)
    desk.apply(desk.plan(update("sd", number, target_id, {"suspended": False}, suspended=True)))
    result = desk.apply(desk.plan(one(number, Action.DELETE, target_id)))
    assert (result.done, result.parked) == (1, 0)
    assert marker("sd", number) not in desk.accounts()
    assert deleted_by_us(desk.state).rows() == [(account_key("sd", number), target_id)]
    again = desk.apply(desk.plan(one(number, Action.DELETE, target_id)))
    assert (again.done, again.parked) == (1, 0)
    back = desk.apply(desk.plan(one(number, Action.UNDELETE, target_id, ou_path="/")))
    assert (back.done, back.parked) == (1, 0)
    account = desk.account(number)
    assert (account["id"], account["suspended"], account["name"]["givenName"]) == (target_id, True, "Budi")
    assert suspended_by_us(desk.state)["account_key"].to_list() == [account_key("sd", number)]


def test_an_account_that_is_not_found_once_is_deleted_all_the_same(desk: Desk):
    """A reading that says 404 proves nothing: it is read again until the lag has passed."""
    (number,) = numbers(1)
    target_id = desk.plant(number, suspended=True)
    desk.emulator.fault("users.get", "status", status=404, reason="notFound", times=3)
    assert desk.apply(desk.plan(one(number, Action.DELETE, target_id))).done == 1
    assert marker("sd", number) not in desk.accounts()


@pytest.mark.parametrize("action", [Action.DELETE, Action.ADD_ALIAS, Action.REMOVE_ALIAS])
def test_what_was_found_while_settling_counts_more_than_that_it_is_not_found_last(desk: Desk, action: Action):
    """The request was lost, five readings show the account as it was, and the last does not find it: it is sent again."""
    (number,) = numbers(1)
    target_id = desk.plant(number, suspended=True, aliases=[f"budi.lama{number}@sd.belajar.id"])
    there = {"alias": f"budi.lama{number}@sd.belajar.id"} if action is Action.REMOVE_ALIAS else {}
    wanted = there | ({"alias": f"budi.baru{number}@sd.belajar.id"} if action is Action.ADD_ALIAS else {})
    method = {
        Action.DELETE: "users.delete",
        Action.ADD_ALIAS: "users.aliases.insert",
        Action.REMOVE_ALIAS: "users.aliases.delete",
    }[action]
    desk.emulator.fault(method, "drop-before")
    # A look and a settling: adding an alias looks at the alias's holder as well, each time.
    readings = 6 * (2 if action is Action.ADD_ALIAS else 1)
    desk.emulator.fault("users.get", "status", status=404, reason="notFound", after=readings, times=2)
    before = desk.applied()
    assert desk.apply(desk.plan(one(number, action, target_id, **wanted))).done == 1, parked(desk)
    assert desk.applied() == before + 1


def test_an_undeletion_whose_answer_is_lost_is_done(desk: Desk):
    """Readings say for long that it is not there, and what is back is refused to be brought back: then it is read once more."""
    (number,) = numbers(1)
    target_id = desk.plant(number, suspended=True)
    desk.apply(desk.plan(update("sd", number, target_id, {"suspended": True}, family_name="Baru")))
    desk.apply(desk.plan(one(number, Action.DELETE, target_id)))
    desk.emulator.fault("users.undelete", "drop-after")
    # The look, and every reading until the lag has passed.
    desk.emulator.fault("users.get", "status", status=404, reason="notFound", times=1 + 6)
    back = desk.apply(desk.plan(one(number, Action.UNDELETE, target_id, ou_path="/")))
    assert (back.done, back.parked) == (1, 0), parked(desk)
    assert [strike["method"] for strike in desk.emulator.strikes()].count("users.get") == 1 + 6
    assert deleted_by_us(desk.state).is_empty()


def test_a_member_that_is_not_found_once_is_removed_all_the_same(desk: Desk):
    """Likewise."""
    (number,) = numbers(1)
    made, joins = group_steps(number, desk.plant(number))
    desk.apply(desk.plan(made, joins))
    desk.emulator.fault("members.get", "status", status=404, reason="notFound", times=3)
    assert desk.apply(desk.plan(joins | {"action": Action.REMOVE_MEMBER.value})).done == 1
    assert members_of(desk, made["address"]) == set()


def test_an_account_in_use_or_of_a_stranger_is_not_deleted(desk: Desk):
    """Whatever the plan saw: it is looked at before."""
    used, strange, admin = numbers(3)
    ids = [desk.plant(used), desk.plant(strange, externalIds=[], suspended=True)]
    ids.append(desk.plant(admin, suspended=True))
    desk.emulator.edit(Jenjang.SD, ids[2], {"isAdmin": True})
    desk.apply(desk.plan(*(one(n, Action.DELETE, i) for n, i in zip((used, strange, admin), ids, strict=True))))
    assert sorted(parked(desk)) == ["account-foreign", "account-in-use", "administrator-untouched"]
    live = {line["account"]["id"] for line in desk.emulator.accounts(Jenjang.SD) if not line["deleted"]}
    assert live.issuperset(ids)


def test_aliases_come_and_go(desk: Desk):
    """Twice is as good as once; and a rename may take the address that its removal freed."""
    (number,) = numbers(1)
    target_id = desk.plant(number)
    alias = f"budi.santoso{number:05}@guru.sd.belajar.id"
    for _ in range(2):
        assert desk.apply(desk.plan(one(number, Action.ADD_ALIAS, target_id, alias=alias))).done == 1
        assert desk.account(number)["aliases"] == [alias]
    removal = one(number, Action.REMOVE_ALIAS, target_id, alias=alias)
    rename = update("sd", number, target_id, {"domain": "sd.belajar.id"}, address=alias)
    result = desk.apply(desk.plan(removal, rename))
    assert (result.done, result.parked) == (2, 0)
    assert desk.account(number)["primaryEmail"] == alias
    old = f"budi.santoso{number:05}@sd.belajar.id"
    assert desk.account(number)["aliases"] == [old]


def test_an_alias_that_another_holds_stays_theirs(desk: Desk):
    """It is parked at the first reading, and not after the lag."""
    mine, theirs = numbers(2)
    target_id, _ = desk.plant(mine), desk.plant(theirs)
    alias = f"budi.santoso{theirs:05}@sd.belajar.id"
    desk.apply(desk.plan(one(mine, Action.ADD_ALIAS, target_id, alias=alias)))
    assert parked(desk) == ["address-foreign"]
    assert desk.account(theirs)["primaryEmail"] == alias
    assert "aliases" not in desk.account(mine)


def group_steps(number: int, *member_ids: str) -> list[dict[str, Any]]:
    """Steps that make a group of its own and put these accounts into it."""
    address = f"guru-{number}@guru.sd.belajar.id"
    group = {"tenant": "sd", "class": "safe", "reason": "test", "marker": GROUP_MARKER, "address": address}
    made = group | {"action": Action.CREATE_GROUP.value, "group_name": f"Guru {number}"}
    joins = [group | {"action": Action.ADD_MEMBER.value, "member_id": member_id} for member_id in member_ids]
    return [made, *joins]


def members_of(desk: Desk, address: str) -> set[str]:
    """Ids of a group's members."""
    page = desk.directories[Jenjang.SD].list_members(address, None)
    assert page is not None
    return {member["id"] for member in page.members}


def test_a_group_is_made_and_filled_and_emptied(desk: Desk):
    """Marked from its insert on; each member once, as nothing but a member; and the read-back confirms all of it."""
    people = numbers(4)
    ids = [desk.plant(number) for number in people]
    steps = group_steps(people[0], *ids)
    result = desk.apply(desk.plan(*steps))
    assert (result.done, result.confirmed, result.parked) == (5, 5, 0)
    address = steps[0]["address"]
    group = desk.directories[Jenjang.SD].get_group(address)
    assert group is not None
    assert str(group["description"]).endswith(f"({GROUP_MARKER})")
    assert members_of(desk, address) == set(ids)
    again = desk.apply(desk.plan(*steps))
    assert (again.done, again.parked) == (5, 0)
    leaves = [step | {"action": Action.REMOVE_MEMBER.value} for step in steps[1:3]]
    result = desk.apply(desk.plan(*leaves, *leaves))
    assert (result.done, result.parked) == (4, 0)
    assert members_of(desk, address) == set(ids[2:])


def test_a_group_whose_address_an_account_holds_is_parked_at_once(desk: Desk):
    """The server says that it is taken as often as it is asked."""
    (number,) = numbers(1)
    steps = group_steps(number, desk.plant(number, aliases=[f"guru-{number}@guru.sd.belajar.id"]))
    desk.apply(desk.plan(*steps))
    assert sorted(parked(desk)) == ["address-foreign", "group-gone"]
    with desk.journal() as journal:
        assert [row[2] for row in journal._rows() if row[3] == "intent"] == [1]


@pytest.mark.parametrize("foreign", ["another description", f"({GROUP_MARKER[:-1]}0)"])
def test_a_group_of_strangers_is_never_touched(desk: Desk, foreign: str):
    """Neither taken over nor filled nor emptied."""
    (number,) = numbers(1)
    member = desk.plant(number)
    steps = group_steps(number, member)
    address = steps[0]["address"]
    desk.directories[Jenjang.SD].insert_group({"email": address, "name": "x", "description": foreign})
    leave = steps[1] | {"action": Action.REMOVE_MEMBER.value}
    desk.apply(desk.plan(*steps, leave))
    assert sorted(parked(desk)) == ["address-foreign", "group-foreign", "group-foreign"]
    assert members_of(desk, address) == set()


METHODS = {
    Action.DELETE: "users.delete",
    Action.ADD_ALIAS: "users.aliases.insert",
    Action.REMOVE_ALIAS: "users.aliases.delete",
    Action.CREATE_GROUP: "groups.insert",
    Action.ADD_MEMBER: "members.insert",
    Action.REMOVE_MEMBER: "members.delete",
}


@pytest.mark.parametrize("kind", ["drop-before", "drop-after", "status", "status-after", "bogus-409-after"])
def test_lost_and_lying_answers_to_every_kind_of_write(desk: Desk, kind: str):
    """Each effect takes place once, whatever the first answer was."""
    gone, add, remove = numbers(3)
    old, new = f"lama{remove}@sd.belajar.id", f"baru{add}@sd.belajar.id"
    ids = [desk.plant(gone, suspended=True), desk.plant(add), desk.plant(remove)]
    assert desk.apply(desk.plan(one(remove, Action.ADD_ALIAS, ids[2], alias=old))).done == 1
    group = group_steps(gone, ids[1])
    for method in METHODS.values():
        desk.emulator.fault(method, kind)
    first = desk.apply(desk.plan(*group, one(add, Action.ADD_ALIAS, ids[1], alias=new)))
    leave = group[1] | {"action": Action.REMOVE_MEMBER.value}
    removal = one(remove, Action.REMOVE_ALIAS, ids[2], alias=old)
    second = desk.apply(desk.plan(leave, removal, one(gone, Action.DELETE, ids[0])))
    assert (first.done, first.parked, second.done, second.parked) == (3, 0, 3, 0)
    assert [fault["used"] for fault in desk.emulator.stats()["faults"]] == [1] * len(METHODS)
    assert desk.account(add)["aliases"] == [new]
    assert "aliases" not in desk.account(remove)
    assert marker("sd", gone) not in desk.accounts()


@pytest.mark.parametrize("inside", [False, True], ids=["itself", "inside another"])
def test_a_group_that_holds_a_role_gets_no_member(desk: Desk, *, inside: bool):
    """Whoever joins it, or a group inside it, would be an administrator: the apply stops, and the group stays as it is."""
    (number,) = numbers(1)
    member = desk.plant(number)
    steps = group_steps(number, member)
    assert desk.apply(desk.plan(steps[0])).done == 1
    client = official(desk.emulator, Jenjang.SD)
    customer = desk.customer_ids["sd"]
    roles = [role for role in client.roles().list(customer=customer).execute()["items"] if not role["isSuperAdminRole"]]
    holder = group = client.groups().get(groupKey=steps[0]["address"]).execute()
    if inside:
        holder = client.groups().insert(body={"email": f"pengelola-{number}@sd.belajar.id"}).execute()
        client.members().insert(groupKey=holder["id"], body={"id": group["id"]}).execute()
    assignment = {"roleId": roles[0]["roleId"], "assignedTo": holder["id"], "scopeType": "CUSTOMER"}
    client.roleAssignments().insert(customer=customer, body=assignment).execute()
    fresh = connect(settings_of(target_of(desk.emulator, desk.state)), CLOCK, SystemRandomness())
    desk.directories = fresh
    with pytest.raises(DirectoryError, match="a member of a group that holds a role"):
        desk.apply(desk.plan(steps[1]))
    assert members_of(desk, steps[0]["address"]) == set()
    for directory in fresh.values():
        directory.close()
