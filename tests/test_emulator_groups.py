"""The emulator's groups and members."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from belajarid_recon.emulator.launch import EmulatorProcess
from belajarid_recon.schemas import Jenjang
from emulator_kit import official, person, refusal, unlimited

SD, SMP = Jenjang.SD, Jenjang.SMP
DUPLICATE = (409, "duplicate", "Entity already exists.")
NO_GROUP = (404, "notFound", "Resource Not Found: groupKey")
NO_MEMBER = (404, "notFound", "Resource Not Found: memberKey")
CYCLE = (412, "conditionNotMet", "Cyclic memberships not allowed")
_count = itertools.count(1)


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatorProcess]:
    """One emulator for this module; every test uses addresses of its own."""
    with EmulatorProcess(unlimited(tmp_path_factory.mktemp("groups") / "state", SD, SMP)) as running:
        yield running


@pytest.fixture(scope="module")
def sd(emulator: EmulatorProcess) -> Any:
    """The official client of the sd tenant."""
    return official(emulator, SD)


def fresh(domain: str = "sd.belajar.id") -> str:
    """An address nobody has used."""
    return f"grup{next(_count):04d}@{domain}"


def grouped(sd: Any, *members: str, **more: Any) -> dict[str, Any]:
    """A new group with these members."""
    group: dict[str, Any] = sd.groups().insert(body={"email": fresh(), **more}).execute()
    for member in members:
        sd.members().insert(groupKey=group["id"], body={"email": member}).execute()
    return group


def account(sd: Any, **more: Any) -> dict[str, Any]:
    """A new account."""
    made: dict[str, Any] = sd.users().insert(body=person(fresh(), **more)).execute()
    return made


def paged(resource: Any, name: str, **query: Any) -> list[Any]:
    """All entries of a list, page by page."""
    entries: list[Any] = []
    request = resource.list(**query)
    while request is not None:
        answer = request.execute()
        entries += answer.get(name, [])
        request = resource.list_next(request, answer)
    return entries


def members(sd: Any, group: dict[str, Any], **query: Any) -> set[str]:
    """Addresses of a group's members."""
    return {member["email"] for member in paged(sd.members(), "members", groupKey=group["id"], **query)}


def size(sd: Any, group: dict[str, Any]) -> str:
    """How many accounts are direct members."""
    count: str = sd.groups().get(groupKey=group["id"]).execute()["directMembersCount"]
    return count


def test_a_group_is_made_read_changed_and_deleted(sd: Any) -> None:
    """Its fields come back; patch and update keep what they do not name; once deleted its addresses are free."""
    address = fresh()
    body = {"email": address.upper(), "name": "Pendidik", "description": "Semua pendidik"}
    made = sd.groups().insert(body=body).execute()
    assert (made["email"], made["name"], made["description"]) == (address, "Pendidik", "Semua pendidik")
    assert made["directMembersCount"] == "0"
    for key in (made["id"], address, address.upper()):
        assert sd.groups().get(groupKey=key).execute() == made
    patched = sd.groups().patch(groupKey=made["id"], body={"description": "Guru"}).execute()
    assert {**patched, "etag": ""} == {**made, "description": "Guru", "etag": ""}
    new = fresh("guru.sd.belajar.id")
    renamed = sd.groups().update(groupKey=address, body={"email": new}).execute()
    assert (renamed["email"], renamed["aliases"], renamed["name"]) == (new, [address], "Pendidik")
    assert sd.groups().get(groupKey=address).execute() == renamed
    assert refusal(sd.users().insert(body=person(address))) == DUPLICATE
    assert sd.groups().delete(groupKey=new).execute() == ""
    for key in (made["id"], address, new):
        assert refusal(sd.groups().get(groupKey=key)) == NO_GROUP
    sd.users().insert(body=person(address)).execute()
    sd.groups().insert(body={"email": new}).execute()


def test_groups_and_accounts_share_one_name_space(sd: Any) -> None:
    """Neither takes the other's address or alias, and neither is found as the other."""
    person_, group = account(sd), grouped(sd)
    alias = sd.groups().aliases().insert(groupKey=group["id"], body={"alias": fresh()}).execute()["alias"]
    assert refusal(sd.groups().insert(body={"email": person_["primaryEmail"]})) == DUPLICATE
    assert refusal(sd.groups().update(groupKey=group["id"], body={"email": person_["primaryEmail"]})) == DUPLICATE
    for address in (group["email"], alias):
        assert refusal(sd.users().insert(body=person(address))) == DUPLICATE
        assert refusal(sd.users().update(userKey=person_["id"], body={"primaryEmail": address})) == DUPLICATE
        assert refusal(sd.users().aliases().insert(userKey=person_["id"], body={"alias": address})) == DUPLICATE
        assert refusal(sd.users().get(userKey=address))[:2] == (404, "notFound")
        assert "users" not in sd.users().list(customer="my_customer", query=f"email={address}").execute()
    assert refusal(sd.groups().get(groupKey=person_["primaryEmail"])) == NO_GROUP
    assert refusal(sd.groups().get(groupKey=person_["id"])) == NO_GROUP
    assert [one["alias"] for one in sd.groups().aliases().list(groupKey=alias).execute()["aliases"]] == [alias]
    sd.groups().aliases().delete(groupKey=group["id"], alias=alias).execute()
    assert "aliases" not in sd.groups().aliases().list(groupKey=group["id"]).execute()
    assert refusal(sd.groups().aliases().delete(groupKey=group["id"], alias=alias))[0] == 404
    sd.users().insert(body=person(alias)).execute()


@pytest.mark.parametrize(
    ("body", "refused"),
    [
        ({}, (400, "invalid", "Invalid Input: group_email")),
        ({"email": "a..b@sd.belajar.id"}, (400, "invalid", "Invalid Input: group_email")),
        ({"email": "a@tidakada.example"}, (404, "notFound", "Domain not found.")),
        ({"email": "a@smp.belajar.id"}, (403, "forbidden", "Not Authorized to access this resource/api")),
        ({"email": "panjang@sd.belajar.id", "name": "x" * 74}, (400, "invalid", "Invalid Input: name")),
        ({"email": "panjang@sd.belajar.id", "description": "x" * 4097}, (400, "invalid", "Invalid Input: description")),
    ],
)
def test_a_group_obeys_the_rules(sd: Any, body: dict[str, Any], refused: tuple[int, str, str]) -> None:
    """Each rule has its refusal, and nothing is made."""
    before = len(paged(sd.groups(), "groups", customer="my_customer"))
    assert refusal(sd.groups().insert(body=body)) == refused
    assert len(paged(sd.groups(), "groups", customer="my_customer")) == before


def test_groups_are_listed_by_customer_domain_and_member(emulator: EmulatorProcess) -> None:
    """By address, in pages that cover each once; a customer and a member exclude each other."""
    smp = official(emulator, SMP)
    addresses = sorted(fresh(domain) for domain in ("smp.belajar.id", "guru.smp.belajar.id") * 4)
    for address in reversed(addresses):
        smp.groups().insert(body={"email": address, "name": f"Grup {address[:8]}"}).execute()
    user = smp.users().insert(body=person(fresh("smp.belajar.id"))).execute()
    mine = addresses[1::3]
    for address in mine:
        smp.members().insert(groupKey=address, body={"id": user["id"]}).execute()

    def listed(**query: Any) -> list[str]:
        return [group["email"] for group in paged(smp.groups(), "groups", **query)]

    assert listed(customer="my_customer") == addresses
    assert listed(customer=emulator.customer_ids[SMP], maxResults=3) == addresses
    assert listed(domain="guru.smp.belajar.id", maxResults=1) == [one for one in addresses if "@guru." in one]
    assert listed(userKey=user["primaryEmail"], maxResults=2) == mine
    assert listed(userKey=user["id"], domain="smp.belajar.id") == [one for one in mine if "@smp." in one]
    assert listed(customer="my_customer", query=f"memberKey={user['primaryEmail']}") == mine
    assert listed(customer="my_customer", query=f"email={addresses[0]}") == addresses[:1]
    assert listed(customer="my_customer", query="email:grup*") == addresses
    assert listed(customer="my_customer", query=f"name='Grup {addresses[2][:8]}'") == [addresses[2]]
    bad = (400, "badRequest", "Bad Request")
    assert refusal(smp.groups().list()) == bad
    assert refusal(smp.groups().list(customer="my_customer", userKey=user["id"])) == bad
    assert refusal(smp.groups().list(customer="my_customer", query="name=x email=y"))[0] == 501
    assert refusal(smp.groups().list(domain="sd.belajar.id"))[0] == 403
    token = smp.groups().list(customer="my_customer", maxResults=1).execute()["nextPageToken"]
    assert refusal(smp.groups().list(domain="smp.belajar.id", maxResults=1, pageToken=token))[0] == 400
    assert refusal(smp.users().list(customer="my_customer", maxResults=1, pageToken=token))[0] == 400


def test_members_have_roles_and_settings(sd: Any) -> None:
    """A member is added once, by address, alias or id; role and delivery settings change; removed, it is gone."""
    one, group = account(sd), grouped(sd)
    alias = sd.users().aliases().insert(userKey=one["id"], body={"alias": fresh()}).execute()["alias"]
    made = sd.members().insert(groupKey=group["email"], body={"email": alias, "role": "MANAGER"}).execute()
    assert (made["email"], made["id"], made["role"]) == (one["primaryEmail"], one["id"], "MANAGER")
    assert (made["type"], made["status"], made["delivery_settings"]) == ("USER", "ACTIVE", "ALL_MAIL")
    again = sd.members().insert(groupKey=group["id"], body={"id": one["id"]})
    assert refusal(again) == (409, "duplicate", "Member already exists.")
    for key in (one["id"], one["primaryEmail"], alias):
        assert sd.members().get(groupKey=group["id"], memberKey=key).execute() == made
    listed = paged(sd.members(), "members", groupKey=group["id"])
    assert [set(made) - set(member) for member in listed] == [{"delivery_settings"}]
    patch = {"groupKey": group["id"], "memberKey": one["id"]}
    changed = sd.members().patch(**patch, body={"role": "OWNER"}).execute()
    assert (changed["role"], changed["delivery_settings"]) == ("OWNER", "ALL_MAIL")
    changed = sd.members().update(**patch, body={"delivery_settings": "NONE"}).execute()
    assert (changed["role"], changed["delivery_settings"]) == ("OWNER", "NONE")
    assert size(sd, group) == "1"
    for body, message in (({"role": "RAJA"}, "role"), ({"delivery_settings": "KADANG"}, "delivery_settings")):
        assert refusal(sd.members().patch(**patch, body=body)) == (400, "invalid", f"Invalid Input: {message}")
    assert sd.members().delete(**patch).execute() == ""
    assert size(sd, group) == "0"
    for request in (sd.members().get(**patch), sd.members().delete(**patch), sd.members().patch(**patch, body={})):
        assert refusal(request) == NO_MEMBER


def test_nobody_from_outside_becomes_a_member(sd: Any) -> None:
    """An address of nobody is 404; one of another customer, or of the world, is 501 rather than half done."""
    group = grouped(sd)
    insert = sd.members().insert
    assert refusal(insert(groupKey=group["id"], body={"email": fresh()})) == NO_MEMBER
    assert refusal(insert(groupKey=group["id"], body={"id": "1" * 21})) == NO_MEMBER
    assert refusal(insert(groupKey=group["id"], body={"email": fresh("smp.belajar.id")}))[0] == 501
    assert refusal(insert(groupKey=group["id"], body={"email": "siti@contoh.example"}))[0] == 501
    assert refusal(insert(groupKey=group["id"], body={})) == (400, "required", "Missing required field: memberKey")
    assert refusal(insert(groupKey=fresh(), body={"email": fresh()})) == NO_GROUP
    assert members(sd, group) == set()


def test_groups_in_groups(sd: Any) -> None:
    """Derived members are listed once, hasMember looks through, and no circle can be closed."""
    one, two, three = (account(sd)["primaryEmail"] for _ in range(3))
    low = grouped(sd, one, two)
    middle = grouped(sd, low["email"], two)
    high = grouped(sd, middle["email"], three, low["email"])
    assert members(sd, high) == {middle["email"], three, low["email"]}
    everybody = {one, two, three, middle["email"], low["email"]}
    assert members(sd, high, includeDerivedMembership=True) == everybody
    assert members(sd, high, includeDerivedMembership=True, maxResults=2) == everybody
    listed = paged(sd.members(), "members", groupKey=high["id"], includeDerivedMembership=True)
    assert len(listed) == len(everybody)
    assert {member["email"] for member in listed if member["type"] == "GROUP"} == {middle["email"], low["email"]}
    assert size(sd, high) == "1"

    def has(group: dict[str, Any], key: str) -> bool:
        answer: bool = sd.members().hasMember(groupKey=group["id"], memberKey=key).execute()["isMember"]
        return answer

    assert [has(high, key) for key in (one, three, low["email"], high["email"])] == [True, True, True, False]
    assert [has(low, key) for key in (one, three)] == [True, False]
    assert refusal(sd.members().hasMember(groupKey=low["id"], memberKey=fresh())) == NO_MEMBER
    for group, member in ((low, high), (low, middle), (high, high)):
        assert refusal(sd.members().insert(groupKey=group["id"], body={"email": member["email"]})) == CYCLE
    owner = {"email": low["email"], "role": "OWNER"}
    assert refusal(sd.members().insert(groupKey=grouped(sd)["id"], body=owner))[0] == 400
    sd.groups().delete(groupKey=middle["id"]).execute()
    assert members(sd, high) == {three, low["email"]}
    sd.members().delete(groupKey=high["id"], memberKey=low["id"]).execute()
    assert not has(high, one)


def test_members_come_in_pages_and_by_role(sd: Any) -> None:
    """Pages of any size give each member once; roles choose; a token belongs to its group."""
    people = [account(sd)["primaryEmail"] for _ in range(7)]
    group, other = grouped(sd, *people), grouped(sd, *people)
    for number, role in ((0, "OWNER"), (1, "MANAGER")):
        sd.members().patch(groupKey=group["id"], memberKey=people[number], body={"role": role}).execute()
    assert members(sd, group, maxResults=3) == set(people)
    assert len(paged(sd.members(), "members", groupKey=group["id"], maxResults=2)) == 7
    assert members(sd, group, roles="OWNER,MANAGER") == set(people[:2])
    assert members(sd, group, roles="MEMBER", maxResults=2) == set(people[2:])
    assert refusal(sd.members().list(groupKey=group["id"], roles="RAJA"))[0] == 400
    assert refusal(sd.members().list(groupKey=group["id"], roles="OWNER", includeDerivedMembership=True))[0] == 501
    token = sd.members().list(groupKey=group["id"], maxResults=1).execute()["nextPageToken"]
    assert refusal(sd.members().list(groupKey=other["id"], maxResults=1, pageToken=token))[0] == 400


def test_an_account_that_goes_leaves_its_groups(sd: Any) -> None:
    """A suspended one is shown so; a renamed one under its new address; a deleted one not at all, nor when it comes back."""
    one = account(sd)
    group = grouped(sd, one["primaryEmail"])
    new = fresh()
    sd.users().update(userKey=one["id"], body={"suspended": True, "primaryEmail": new}).execute()
    shown = sd.members().get(groupKey=group["id"], memberKey=one["id"]).execute()
    assert (shown["email"], shown["status"]) == (new, "SUSPENDED")
    sd.users().delete(userKey=one["id"]).execute()
    assert (members(sd, group), size(sd, group)) == (set(), "0")
    sd.users().undelete(userKey=one["id"], body={}).execute()
    assert members(sd, group) == set()


def test_groups_are_there_after_a_restart(tmp_path: Path) -> None:
    """Groups, addresses, members and ids; what was deleted stays away."""
    settings = unlimited(tmp_path / "e", SD)
    with EmulatorProcess(settings) as emulator:
        sd = official(emulator, SD)
        one = account(sd)
        gone, kept = grouped(sd, one["primaryEmail"]), grouped(sd, one["primaryEmail"])
        sd.groups().delete(groupKey=gone["id"]).execute()
        alias = sd.groups().aliases().insert(groupKey=kept["id"], body={"alias": fresh()}).execute()["alias"]
        before = sd.groups().get(groupKey=kept["id"]).execute()
    with EmulatorProcess(settings) as emulator:
        sd = official(emulator, SD)
        assert sd.groups().get(groupKey=alias).execute() == before
        assert refusal(sd.groups().get(groupKey=gone["id"])) == NO_GROUP
        assert members(sd, kept) == {one["primaryEmail"]}
        assert refusal(sd.users().insert(body=person(alias))) == DUPLICATE
        assert grouped(sd)["id"] not in {gone["id"], kept["id"]}
