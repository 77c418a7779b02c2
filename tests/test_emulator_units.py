"""The emulator's organisational units: what changes them, and what is in them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from belajarid_recon.emulator.launch import EmulatorProcess
from belajarid_recon.emulator.orgunits import DEPTH_MAX
from belajarid_recon.emulator.settings import EmulatorQuotas, EmulatorSettings
from belajarid_recon.schemas import Jenjang
from emulator_kit import official, person, refusal, unlimited

SD = Jenjang.SD
NO_UNIT = (404, "notFound", "Org unit not found")
TAKEN = (400, "invalid", "Invalid Ou Id")


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatorProcess]:
    """One emulator for this module; every test has a unit of its own below the root."""
    with EmulatorProcess(unlimited(tmp_path_factory.mktemp("units") / "state", SD)) as running:
        yield running


@pytest.fixture(scope="module")
def sd(emulator: EmulatorProcess) -> Any:
    """The official client of the sd tenant."""
    return official(emulator, SD)


def made(sd: Any, name: str, parent: str = "/", **more: str) -> dict[str, Any]:
    """A new unit."""
    body = {"name": name, "parentOrgUnitPath": parent, **more}
    unit: dict[str, Any] = sd.orgunits().insert(customerId="my_customer", body=body).execute()
    return unit


def paths(sd: Any, top: str) -> list[str]:
    """The unit and all below it."""
    answer = sd.orgunits().list(customerId="my_customer", orgUnitPath=top, type="allIncludingParent").execute()
    return [unit["orgUnitPath"] for unit in answer.get("organizationUnits", [])]


def test_a_patch_keeps_what_it_does_not_name(sd: Any) -> None:
    """A description is changed and cleared without touching name, id or place, by path and by id, with PATCH and PUT."""
    unit = made(sd, "Aceh", description="provinsi")
    assert unit["description"] == "provinsi"
    units = sd.orgunits()
    changed = units.patch(customerId="my_customer", orgUnitPath="aceh", body={"description": "Provinsi"}).execute()
    assert {**changed, "etag": ""} == {**unit, "description": "Provinsi", "etag": ""}
    assert changed["etag"] != unit["etag"]
    assert units.get(customerId="my_customer", orgUnitPath="Aceh").execute() == changed
    cleared = units.update(customerId="my_customer", orgUnitPath=unit["orgUnitId"], body={"description": ""}).execute()
    assert {**cleared, "etag": ""} == {**unit, "description": "", "etag": ""}


def test_a_unit_that_moves_takes_along_what_is_in_it(emulator: EmulatorProcess, sd: Any) -> None:
    """Units below and accounts, theirs included, are found at the new place only; ids stay; a neighbour of like name stays."""
    old = made(sd, "Jawa Barat")
    below = made(sd, "Kota Bandung", "/Jawa Barat")
    made(sd, "Jawa Barat Daya")
    made(sd, "Arsip")
    users = sd.users()
    inside, deep, near = (
        users.insert(body=person(f"{name}@sd.belajar.id", orgUnitPath=path)).execute()
        for name, path in (("a", "/Jawa Barat"), ("b", "/jawa barat/kota bandung"), ("c", "/Jawa Barat Daya"))
    )
    body = {"name": "Jabar", "parentOrgUnitPath": "/Arsip"}
    moved = sd.orgunits().patch(customerId="my_customer", orgUnitPath=old["orgUnitId"], body=body).execute()
    assert (moved["orgUnitPath"], moved["orgUnitId"]) == ("/Arsip/Jabar", old["orgUnitId"])
    assert paths(sd, "/Arsip") == ["/Arsip", "/Arsip/Jabar", "/Arsip/Jabar/Kota Bandung"]
    missing = sd.orgunits().get(customerId="my_customer", orgUnitPath="Jawa Barat/Kota Bandung")
    assert refusal(missing) == NO_UNIT
    again = sd.orgunits().get(customerId="my_customer", orgUnitPath=below["orgUnitId"]).execute()
    assert (again["orgUnitPath"], again["parentOrgUnitPath"]) == ("/Arsip/Jabar/Kota Bandung", "/Arsip/Jabar")
    assert users.get(userKey=inside["id"]).execute()["orgUnitPath"] == "/Arsip/Jabar"
    assert users.get(userKey=deep["id"]).execute()["orgUnitPath"] == "/Arsip/Jabar/Kota Bandung"
    assert users.get(userKey=near["id"]).execute() == near
    found = users.list(customer="my_customer", query="orgUnitPath=/arsip/jabar").execute()["users"]
    assert [user["id"] for user in found] == [inside["id"], deep["id"]]


def test_a_unit_is_renamed_in_the_case_of_its_letters(sd: Any) -> None:
    """Its own folded path does not stand in its way."""
    unit = made(sd, "papua")
    made(sd, "Nabire", "/papua")
    sd.orgunits().patch(customerId="my_customer", orgUnitPath="papua", body={"name": "Papua"}).execute()
    assert paths(sd, "/PAPUA") == ["/Papua", "/Papua/Nabire"]
    assert sd.orgunits().get(customerId="my_customer", orgUnitPath="papua").execute()["orgUnitId"] == unit["orgUnitId"]


def test_moves_that_cannot_be_are_refused(sd: Any) -> None:
    """Into itself, below itself, onto another, to nowhere, under a bad name: 400, and nothing has moved."""
    made(sd, "Riau")
    made(sd, "Siak", "/Riau")
    made(sd, "Kampar", "/Riau")

    def refused(path: str, **body: str) -> tuple[int, str, str]:
        return refusal(sd.orgunits().patch(customerId="my_customer", orgUnitPath=path, body=body))

    assert refused("Riau", parentOrgUnitPath="/Riau") == (400, "invalid", "Invalid Parent Orgunit Id")
    assert refused("Riau", parentOrgUnitPath="/riau/siak") == (400, "invalid", "Invalid Parent Orgunit Id")
    assert refused("Riau", parentOrgUnitPath="/nowhere") == (400, "invalid", "Invalid Parent Orgunit Id")
    assert refused("Riau/Siak", name="KAMPAR") == TAKEN
    assert refused("Riau/Siak", name="Si/ak") == (400, "invalid", "Invalid Ou Name")
    assert refused("/", name="akar") == TAKEN
    assert refused("nowhere", name="x") == NO_UNIT
    assert paths(sd, "/Riau") == ["/Riau", "/Riau/Kampar", "/Riau/Siak"]


def test_a_unit_is_deleted_when_it_is_empty(sd: Any) -> None:
    """Refused over a unit or an account in it, an account that was moved in included; the name is free again, the id is not."""
    unit = made(sd, "Bali")
    made(sd, "Badung", "/Bali")
    deletion = {"customerId": "my_customer", "orgUnitPath": "Bali"}
    not_empty = (412, "conditionNotMet", "The organizational unit is not empty.")
    assert refusal(sd.orgunits().delete(**deletion)) == not_empty
    sd.orgunits().delete(customerId="my_customer", orgUnitPath="bali/badung").execute()
    users = sd.users()
    account = users.insert(body=person("d@sd.belajar.id")).execute()
    users.update(userKey=account["id"], body={"orgUnitPath": "/Bali"}).execute()
    assert refusal(sd.orgunits().delete(**deletion)) == not_empty
    users.delete(userKey=account["id"]).execute()
    sd.orgunits().delete(**deletion).execute()
    assert refusal(sd.orgunits().get(**deletion)) == NO_UNIT
    assert refusal(sd.orgunits().get(customerId="my_customer", orgUnitPath=unit["orgUnitId"])) == NO_UNIT
    assert refusal(users.undelete(userKey=account["id"], body={"orgUnitPath": "/Bali"}))[0] == 400
    assert made(sd, "Bali")["orgUnitId"] != unit["orgUnitId"]
    assert refusal(sd.orgunits().delete(customerId="my_customer", orgUnitPath="/")) == TAKEN


def test_thirty_five_levels_are_the_deepest(sd: Any) -> None:
    """A unit below level 35 is refused, and so is a move that would bring one there."""
    path = ""
    for level in range(1, DEPTH_MAX + 1):
        path = made(sd, f"t{level}", path or "/")["orgUnitPath"]
    body = {"name": "more", "parentOrgUnitPath": path}
    assert refusal(sd.orgunits().insert(customerId="my_customer", body=body)) == TAKEN
    made(sd, "Pasir")
    made(sd, "Tanah", "/Pasir")
    above = path.rpartition("/")[0]
    move = {"parentOrgUnitPath": above}
    assert refusal(sd.orgunits().patch(customerId="my_customer", orgUnitPath="Pasir", body=move)) == TAKEN
    sd.orgunits().patch(customerId="my_customer", orgUnitPath="Pasir/Tanah", body=move).execute()
    assert f"{above}/Tanah" in paths(sd, "/t1")


def test_unit_writes_are_one_a_second(tmp_path: Any) -> None:
    """Insert and patch share a customer's quota; reading and deleting cost nothing of it."""
    settings = EmulatorSettings(
        tmp_path / "e", tenants=(SD,), quotas=EmulatorQuotas(calls_per_minute=10**9), jitter_seconds=0
    )
    with EmulatorProcess(settings) as emulator:
        sd = official(emulator, SD)
        made(sd, "Bali")
        patch = sd.orgunits().patch(customerId="my_customer", orgUnitPath="Bali", body={"description": "x"})
        assert refusal(patch) == (403, "quotaExceeded", "Request rate higher than configured.")
        emulator.advance(1.0)
        assert patch.execute()["description"] == "x"
        sd.orgunits().delete(customerId="my_customer", orgUnitPath="Bali").execute()


def test_units_that_moved_are_there_after_a_restart(tmp_path: Any) -> None:
    """Paths, ids, the count of who is in a unit, and that an id is never given twice."""
    settings = unlimited(tmp_path / "e", SD)
    with EmulatorProcess(settings) as emulator:
        sd = official(emulator, SD)
        gone = made(sd, "Lama")
        sd.orgunits().delete(customerId="my_customer", orgUnitPath="Lama").execute()
        unit = made(sd, "Bali")
        sd.users().insert(body=person("a@sd.belajar.id", orgUnitPath="/Bali")).execute()
        moved = sd.orgunits().patch(customerId="my_customer", orgUnitPath="Bali", body={"name": "Nusa"}).execute()
        root = sd.orgunits().patch(customerId="my_customer", orgUnitPath="/", body={"description": "akar"}).execute()
    with EmulatorProcess(settings) as emulator:
        sd = official(emulator, SD)
        assert sd.orgunits().get(customerId="my_customer", orgUnitPath="nusa").execute() == moved
        assert sd.orgunits().get(customerId="my_customer", orgUnitPath="/").execute() == root
        assert sd.users().get(userKey="a@sd.belajar.id").execute()["orgUnitPath"] == "/Nusa"
        assert refusal(sd.orgunits().delete(customerId="my_customer", orgUnitPath="Nusa"))[0] == 412
        assert made(sd, "Baru")["orgUnitId"] not in {gone["orgUnitId"], unit["orgUnitId"]}
