"""The emulator's customer, domains, domain aliases and custom schemas."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from belajarid_recon.emulator.launch import EmulatorProcess
from belajarid_recon.schemas import Jenjang
from emulator_kit import official, person, refusal, unlimited

SD, SMP = Jenjang.SD, Jenjang.SMP
MINE = {"customer": "my_customer"}
UNITS = {"customerId": "my_customer"}
DUPLICATE = (409, "duplicate", "Entity already exists.")
IN_USE = (412, "conditionNotMet", "The domain is in use.")


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatorProcess]:
    """One emulator for this module; every test uses domains and schemas of its own."""
    with EmulatorProcess(unlimited(tmp_path_factory.mktemp("customers") / "state", SD, SMP)) as running:
        yield running


@pytest.fixture(scope="module")
def sd(emulator: EmulatorProcess) -> Any:
    """The official client of the sd tenant."""
    return official(emulator, SD)


def test_a_customer_changes_what_it_may(sd: Any) -> None:
    """PATCH keeps the rest of the address, PUT replaces it, null clears; id, domain and birth stay."""
    customers = sd.customers()
    before = customers.get(customerKey="my_customer").execute()
    address = {"countryCode": "ID", "locality": "Jakarta"}
    body = {
        "phoneNumber": "+62215550101",
        "alternateEmail": "admin@contoh.example",
        "postalAddress": address,
        "id": "C1",
    }
    patched = customers.patch(customerKey="my_customer", body=body).execute()
    assert {**patched, "etag": ""} == {**before, **body, "id": before["id"], "etag": ""}
    body = {"postalAddress": {"region": "DKI"}, "phoneNumber": None}
    patched = customers.patch(customerKey=before["id"], body=body).execute()
    assert (patched["postalAddress"], "phoneNumber" in patched) == ({**address, "region": "DKI"}, False)
    body = {"postalAddress": {"countryCode": "ID"}, "language": "su"}
    updated = customers.update(customerKey="my_customer", body=body).execute()
    assert (updated["postalAddress"], updated["language"]) == ({"countryCode": "ID"}, "su")
    assert customers.get(customerKey="my_customer").execute() == updated
    for wrong, status in (
        ({"phoneNumber": "0215550101"}, 400),
        ({"alternateEmail": "siti@sd.belajar.id"}, 400),
        ({"customerDomain": "guru.sd.belajar.id"}, 501),
    ):
        assert refusal(customers.patch(customerKey="my_customer", body=wrong))[0] == status
    assert customers.get(customerKey="my_customer").execute() == updated


def test_a_domain_comes_and_goes(emulator: EmulatorProcess, sd: Any) -> None:
    """Accounts and groups can be in it, nobody else can have it, and it goes only when it is empty; the primary one never."""
    name = "madrasah.example"
    assert refusal(sd.users().insert(body=person(f"a@{name}"))) == (404, "notFound", "Domain not found.")
    made = sd.domains().insert(**MINE, body={"domainName": "Madrasah.Example"}).execute()
    assert (made["domainName"], made["isPrimary"], made["verified"]) == (name, False, True)
    assert sd.domains().get(**MINE, domainName=name).execute() == made
    assert made in sd.domains().list(**MINE).execute()["domains"]
    for tenant in (SD, SMP):
        again = official(emulator, tenant).domains().insert(**MINE, body={"domainName": name})
        assert refusal(again) == DUPLICATE
    stranger = official(emulator, SMP).users().insert(body=person(f"a@{name}"))
    assert refusal(stranger)[:2] == (403, "forbidden")
    account = sd.users().insert(body=person(f"a@{name}")).execute()
    assert [one["id"] for one in sd.users().list(domain=name).execute()["users"]] == [account["id"]]
    delete = sd.domains().delete(**MINE, domainName=name)
    assert refusal(delete) == IN_USE
    sd.users().update(userKey=account["id"], body={"primaryEmail": "a@sd.belajar.id"}).execute()
    assert refusal(delete) == IN_USE
    sd.users().aliases().delete(userKey=account["id"], alias=f"a@{name}").execute()
    assert delete.execute() == ""
    assert refusal(sd.domains().get(**MINE, domainName=name))[0] == 404
    assert refusal(sd.domains().delete(**MINE, domainName="sd.belajar.id")) == IN_USE
    for wrong in ("", "tanpatitik", "a b.example", "-a.example"):
        assert refusal(sd.domains().insert(**MINE, body={"domainName": wrong}))[:2] == (400, "invalid")


def test_a_domain_alias_finds_what_its_domain_has(sd: Any) -> None:
    """Accounts, groups and members are found under it; no address is made in it; it is listed with its parent."""
    made = sd.users().insert(body=person("budi@guru.sd.belajar.id")).execute()
    group = sd.groups().insert(body={"email": "semua@guru.sd.belajar.id"}).execute()
    body = {"domainAliasName": "guru.example", "parentDomainName": "guru.sd.belajar.id"}
    alias = sd.domainAliases().insert(**MINE, body=body).execute()
    assert sd.users().get(userKey="Budi@guru.example").execute() == made
    assert sd.groups().get(groupKey="semua@guru.example").execute() == group
    sd.members().insert(groupKey="semua@guru.example", body={"email": "budi@guru.example"}).execute()
    assert refusal(sd.users().insert(body=person("siti@guru.example")))[0] == 404
    assert sd.domainAliases().get(**MINE, domainAliasName="guru.example").execute() == alias
    assert sd.domainAliases().list(**MINE).execute()["domainAliases"] == [alias]
    assert sd.domains().get(**MINE, domainName="guru.sd.belajar.id").execute()["domainAliases"] == [alias]
    assert "domainAliases" not in sd.domainAliases().list(**MINE, parentDomainName="sd.belajar.id").execute()
    assert refusal(sd.domainAliases().insert(**MINE, body=body)) == DUPLICATE
    assert refusal(sd.domains().insert(**MINE, body={"domainName": "guru.example"})) == DUPLICATE
    sd.domainAliases().delete(**MINE, domainAliasName="guru.example").execute()
    assert refusal(sd.users().get(userKey="budi@guru.example"))[0] == 404
    assert refusal(sd.domainAliases().get(**MINE, domainAliasName="guru.example"))[0] == 404


def schema(name: str, *fields: dict[str, Any]) -> dict[str, Any]:
    """A body schemas.insert accepts."""
    return {"schemaName": name, "fields": list(fields) or [{"fieldName": "npsn", "fieldType": "STRING"}]}


def test_a_schema_is_made_changed_and_deleted(sd: Any) -> None:
    """Fields get ids and defaults; patch adds and keeps, update replaces, neither changes a type; found by name and id."""
    made = sd.schemas().insert(**UNITS, body=schema("sekolah")).execute()
    (field,) = made["fields"]
    assert (field["fieldName"], field["multiValued"], field["indexed"]) == ("npsn", False, True)
    assert field["readAccessType"] == "ALL_DOMAIN_USERS"
    for key in ("sekolah", made["schemaId"]):
        assert sd.schemas().get(**UNITS, schemaKey=key).execute() == made
    assert made in sd.schemas().list(**UNITS).execute()["schemas"]
    assert refusal(sd.schemas().insert(**UNITS, body=schema("sekolah"))) == DUPLICATE
    more = {"fields": [{"fieldName": "kelas", "fieldType": "INT64", "multiValued": True}], "displayName": "Sekolah"}
    patched = sd.schemas().patch(**UNITS, schemaKey="sekolah", body=more).execute()
    assert [one["fieldName"] for one in patched["fields"]] == ["npsn", "kelas"]
    assert (patched["fields"][0], patched["displayName"]) == (field, "Sekolah")
    retyped = schema("sekolah", {"fieldName": "npsn", "fieldType": "INT64"})
    for change in (sd.schemas().patch, sd.schemas().update):
        refused = (400, "invalid", "Invalid Input: field_type")
        assert refusal(change(**UNITS, schemaKey="sekolah", body=retyped)) == refused
    only = schema("sekolah", {"fieldName": "kelas", "fieldType": "INT64", "multiValued": True})
    updated = sd.schemas().update(**UNITS, schemaKey=made["schemaId"], body=only).execute()
    assert updated["fields"] == patched["fields"][1:]
    assert sd.schemas().delete(**UNITS, schemaKey="sekolah").execute() == ""
    assert refusal(sd.schemas().get(**UNITS, schemaKey=made["schemaId"]))[0] == 404
    again = sd.schemas().insert(**UNITS, body=schema("sekolah")).execute()
    assert again["schemaId"] != made["schemaId"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"fields": [{"fieldName": "a", "fieldType": "STRING"}]}, "Invalid Input: schema_name"),
        (schema("dua kata"), "Invalid Input: schema_name"),
        ({"schemaName": "kosong"}, "Invalid Input: fields"),
        (schema("x", {"fieldName": "a", "fieldType": "TEXT"}), "Invalid Input: fields"),
        (schema("x", {"fieldName": "a b", "fieldType": "STRING"}), "Invalid Input: fields"),
        (schema("x", *[{"fieldName": "a", "fieldType": "STRING"}] * 2), "Invalid Input: fields"),
        (schema("x", *[{"fieldName": f"f{n}", "fieldType": "BOOL"} for n in range(101)]), "Invalid Input: fields"),
    ],
)
def test_a_schema_obeys_the_rules(sd: Any, body: dict[str, Any], message: str) -> None:
    """Names, types, and how many."""
    assert refusal(sd.schemas().insert(**UNITS, body=body)) == (400, "invalid", message)


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("BOOL", [True, "false"], ["ya", 1]),
        ("DATE", ["2026-11-22"], ["22-11-2026", 20261122]),
        ("DOUBLE", [1, 2.5, "3.5"], ["banyak", True]),
        ("EMAIL", ["siti@contoh.example"], ["siti", 7]),
        ("INT64", [7, "-7"], [7.5, "tujuh", True, 2**63]),
        ("PHONE", ["+62215550101"], [62]),
        ("STRING", ["", "x" * 500], [7, "x" * 501]),
    ],
)
def test_values_are_of_their_fields_type(sd: Any, kind: str, good: list[Any], bad: list[Any]) -> None:
    """Each type takes its own values, and is given back what it took."""
    name = f"tipe{kind}"
    sd.schemas().insert(**UNITS, body=schema(name, {"fieldName": "nilai", "fieldType": kind})).execute()
    made = sd.users().insert(body=person(f"tipe.{kind.lower()}@sd.belajar.id")).execute()
    users = sd.users()
    for value in good:
        users.update(userKey=made["id"], body={"customSchemas": {name: {"nilai": value}}}).execute()
        shown = users.get(userKey=made["id"], projection="full").execute()
        assert shown["customSchemas"] == {name: {"nilai": value}}
    for value in bad:
        request = users.update(userKey=made["id"], body={"customSchemas": {name: {"nilai": value}}})
        assert refusal(request) == (400, "invalid", "Invalid Input: custom_schema")


def test_domains_and_schemas_are_there_after_a_restart(tmp_path: Path) -> None:
    """What was added and what was taken away, and addresses in an added domain."""
    settings = unlimited(tmp_path / "e", SD)
    with EmulatorProcess(settings) as emulator:
        sd = official(emulator, SD)
        sd.domains().insert(**MINE, body={"domainName": "baru.example"}).execute()
        sd.domains().delete(**MINE, domainName="admin.sd.belajar.id").execute()
        alias = {"domainAliasName": "lain.example", "parentDomainName": "baru.example"}
        sd.domainAliases().insert(**MINE, body=alias).execute()
        sd.schemas().insert(**UNITS, body=schema("sekolah")).execute()
        sd.customers().patch(customerKey="my_customer", body={"language": "su"}).execute()
        custom = {"sekolah": {"npsn": "1"}}
        made = sd.users().insert(body=person("a@baru.example", customSchemas=custom)).execute()
    with EmulatorProcess(settings) as emulator:
        sd = official(emulator, SD)
        names = [one["domainName"] for one in sd.domains().list(**MINE).execute()["domains"]]
        assert names == ["sd.belajar.id", "guru.sd.belajar.id", "baru.example"]
        assert sd.users().get(userKey="a@lain.example", projection="full").execute() == made
        assert sd.customers().get(customerKey="my_customer").execute()["language"] == "su"
        assert refusal(sd.schemas().insert(**UNITS, body=schema("sekolah"))) == DUPLICATE
