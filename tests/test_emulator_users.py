"""The emulator's accounts beyond insert and update: patch, undelete, rights to see, custom fields, aliases, searches."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from belajarid_recon.emulator.launch import EmulatorProcess
from belajarid_recon.emulator.search import FIELDS
from belajarid_recon.emulator.settings import EmulatorQuotas, EmulatorSettings
from belajarid_recon.schemas import Jenjang
from emulator_kit import marked, official, person, refusal, unlimited

SD, SMP = Jenjang.SD, Jenjang.SMP
DUPLICATE = (409, "duplicate", "Entity already exists.")
NO_USER = (404, "notFound", "Resource Not Found: userKey")
GONE = (412, "conditionNotMet", "This account cannot be undeleted.")
_count = itertools.count(1)


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatorProcess]:
    """One emulator for this module; every test uses addresses of its own."""
    with EmulatorProcess(unlimited(tmp_path_factory.mktemp("users") / "state", SD, SMP)) as running:
        yield running


@pytest.fixture(scope="module")
def sd(emulator: EmulatorProcess) -> Any:
    """The official client of the sd tenant."""
    return official(emulator, SD)


def fresh(domain: str = "sd.belajar.id") -> str:
    """An address nobody has used."""
    return f"siti.rahayu{next(_count):04d}@{domain}"


def inserted(sd: Any, **more: Any) -> dict[str, Any]:
    """A new account."""
    account: dict[str, Any] = sd.users().insert(body=person(fresh(), **more)).execute()
    return account


WRITABLE: dict[str, Any] = {
    "addresses": [{"type": "home", "locality": "Bandung"}],
    "archived": True,
    "changePasswordAtNextLogin": True,
    "emails": [{"address": "siti@contoh.example", "type": "home"}],
    "externalIds": [
        {"type": "custom", "customType": "recon", "value": "9a.sd"},
        {"type": "organization", "value": "7"},
    ],
    "gender": {"type": "female"},
    "ims": [{"type": "work", "protocol": "xmpp", "im": "siti"}],
    "includeInGlobalAddressList": False,
    "ipWhitelisted": True,
    "keywords": [{"type": "occupation", "value": "guru"}],
    "languages": [{"languageCode": "id"}],
    "locations": [{"type": "desk", "area": "ruang guru"}],
    "name": {"givenName": "Siti", "familyName": "Rahayu", "displayName": "Ibu Siti"},
    "notes": {"contentType": "text_plain", "value": "catatan"},
    "organizations": [{"name": "SDN 1", "costCenter": "20219999", "title": "Guru", "primary": True}],
    "phones": [{"type": "work", "value": "+62215550101"}],
    "posixAccounts": [{"username": "siti", "uid": "1001", "gid": "1001"}],
    "recoveryEmail": "siti@contoh.example",
    "recoveryPhone": "+62215550101",
    "relations": [{"type": "manager", "value": "kepala@sd.belajar.id"}],
    "sshPublicKeys": [{"key": "ssh-ed25519 AAAA"}],
    "suspended": True,
    "websites": [{"type": "work", "value": "https://sekolah.example"}],
}


@pytest.mark.parametrize("verb", ["insert", "update", "patch"])
def test_every_writable_field_is_kept_and_echoed(sd: Any, verb: str) -> None:
    """Each field comes back as it was sent, at once and on the next reading; what follows from it is beside it."""
    if verb == "insert":
        written = inserted(sd, **WRITABLE)
    else:
        made = inserted(sd)
        written = getattr(sd.users(), verb)(userKey=made["id"], body=WRITABLE).execute()
    assert sd.users().get(userKey=written["id"]).execute() == written
    expected = {**WRITABLE, "name": {**WRITABLE["name"], "fullName": "Siti Rahayu"}}
    expected["emails"] = [{"address": written["primaryEmail"], "primary": True}, *WRITABLE["emails"]]
    assert {field: written[field] for field in WRITABLE} == expected
    assert written["suspensionReason"] == "ADMIN"
    assert written["archivalTime"] == written["suspensionTime"]


def test_a_patch_cannot_clear_a_list(sd: Any) -> None:
    """Null and an empty list leave a list as it was, and null clears a plain field; update clears the list."""
    made = inserted(sd, externalIds=marked("p.sd"), recoveryEmail="siti@contoh.example")
    for nothing in (None, []):
        body = {"externalIds": nothing, "recoveryEmail": None, "suspended": True}
        patched = sd.users().patch(userKey=made["id"], body=body).execute()
        assert patched["externalIds"] == marked("p.sd")
        assert "recoveryEmail" not in patched
        assert patched["suspended"] is True
    replaced = sd.users().patch(userKey=made["id"], body={"externalIds": marked("q.sd")}).execute()
    assert replaced["externalIds"] == marked("q.sd")
    assert "externalIds" not in sd.users().update(userKey=made["id"], body={"externalIds": None}).execute()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"recoveryPhone": "0215550101"}, "Invalid recovery phone."),
        ({"recoveryPhone": "+0215550101"}, "Invalid recovery phone."),
        ({"recoveryEmail": "siti"}, "Invalid recovery email."),
        ({"externalIds": [{"value": "x" * 700, "type": "custom"}] * 3}, "Invalid Input: external_ids"),
        ({"organizations": [{"name": "x" * 2_600}] * 4}, "Invalid Input: organizations"),
        ({"phones": [{"value": "1" * 1_024}]}, "Invalid Input: phones"),
        ({"customSchemas": {"tidakada": {"npsn": "1"}}}, "Invalid Input: custom_schema"),
    ],
)
def test_a_patch_refuses_what_update_refuses(sd: Any, body: dict[str, Any], message: str) -> None:
    """A bad field is 400, and the good one beside it is not written."""
    made = inserted(sd)
    assert refusal(sd.users().patch(userKey=made["id"], body={"suspended": True, **body})) == (400, "invalid", message)
    assert sd.users().get(userKey=made["id"]).execute() == made


def test_undelete_brings_an_account_back(emulator: EmulatorProcess, sd: Any) -> None:
    """By its id: with its fields, marker and the aliases that are free; in the unit that is named; found by every way again."""
    made = inserted(sd, externalIds=marked("u.sd"), suspended=True)
    old = made["primaryEmail"]
    for _ in range(2):
        made = sd.users().update(userKey=made["id"], body={"primaryEmail": fresh()}).execute()
    taken, free = made["aliases"]
    assert taken == old
    sd.users().delete(userKey=made["id"]).execute()
    sd.users().insert(body=person(taken)).execute()
    assert refusal(sd.users().undelete(userKey=made["primaryEmail"], body={})) == NO_USER
    assert sd.users().undelete(userKey=made["id"], body={"orgUnitPath": "/"}).execute() == ""
    back = sd.users().get(userKey=free).execute()
    assert {**back, "etag": "", "aliases": [], "emails": []} == {**made, "etag": "", "aliases": [], "emails": []}
    assert back["aliases"] == [free]
    assert [one["address"] for one in back["emails"]] == [made["primaryEmail"], free]
    found = sd.users().list(customer="my_customer", query="externalId=u.sd").execute()["users"]
    assert [user["id"] for user in found] == [made["id"]]
    listed = sd.users().list(customer="my_customer", showDeleted="true").execute().get("users", [])
    assert made["id"] not in [user["id"] for user in listed]
    assert refusal(sd.users().undelete(userKey=made["id"], body={})) == GONE


def test_undelete_is_refused_when_it_cannot_be(emulator: EmulatorProcess, sd: Any) -> None:
    """Another customer's, nobody's, an address given away, a unit that is not there, and after 20 days."""
    made = inserted(sd)
    sd.users().delete(userKey=made["id"]).execute()
    assert refusal(official(emulator, SMP).users().undelete(userKey=made["id"], body={})) == NO_USER
    assert refusal(sd.users().undelete(userKey="1" * 21, body={})) == NO_USER
    assert refusal(sd.users().undelete(userKey=made["id"], body={"orgUnitPath": "/nowhere"}))[0] == 400
    other = inserted(sd)
    alias = sd.users().aliases().insert(userKey=other["id"], body={"alias": made["primaryEmail"]}).execute()
    assert refusal(sd.users().undelete(userKey=made["id"], body={})) == DUPLICATE
    sd.users().aliases().delete(userKey=other["id"], alias=alias["alias"]).execute()
    emulator.advance(20 * 86_400 - 60)
    young = official(emulator, SD)
    young.users().undelete(userKey=made["id"], body={}).execute()
    young.users().delete(userKey=made["id"]).execute()
    emulator.advance(20 * 86_400 + 60)
    assert refusal(official(emulator, SD).users().undelete(userKey=made["id"], body={})) == GONE


def test_a_full_customer_gets_nobody_back(tmp_path: Any) -> None:
    """An insert and an undelete meet the same limit."""
    quotas = EmulatorQuotas(calls_per_minute=10**9, creations_per_second_and_domain=10**9, accounts_max=1)
    with EmulatorProcess(EmulatorSettings(tmp_path / "e", tenants=(SD,), quotas=quotas)) as emulator:
        sd = official(emulator, SD)
        first = inserted(sd)
        sd.users().delete(userKey=first["id"]).execute()
        second = inserted(sd)
        full = (412, "limitExceeded", "Domain user limit reached.")
        assert refusal(sd.users().insert(body=person(fresh()))) == full
        assert refusal(sd.users().undelete(userKey=first["id"], body={})) == full
        sd.users().delete(userKey=second["id"]).execute()
        sd.users().undelete(userKey=first["id"], body={}).execute()


def test_sign_out_changes_nothing_that_can_be_read(sd: Any) -> None:
    """204 for an account there is, 404 for one there is not."""
    made = inserted(sd)
    assert sd.users().signOut(userKey=made["id"]).execute() == ""
    assert sd.users().get(userKey=made["id"]).execute() == made
    assert refusal(sd.users().signOut(userKey=fresh())) == NO_USER


def test_aliases_come_and_go(sd: Any) -> None:
    """An alias finds its account, blocks everybody else, in any case of letters, and is free the moment it is deleted."""
    made, other = inserted(sd), inserted(sd)
    alias = fresh("guru.sd.belajar.id")
    answer = sd.users().aliases().insert(userKey=made["id"], body={"alias": alias.upper()}).execute()
    assert (answer["alias"], answer["primaryEmail"], answer["id"]) == (alias, made["primaryEmail"], made["id"])
    found = sd.users().get(userKey=alias).execute()
    assert found["aliases"] == [alias]
    assert [one["address"] for one in found["emails"]] == [made["primaryEmail"], alias]
    assert [one["alias"] for one in sd.users().aliases().list(userKey=alias).execute()["aliases"]] == [alias]
    for key in (made["id"], other["id"]):
        assert refusal(sd.users().aliases().insert(userKey=key, body={"alias": alias})) == DUPLICATE
    assert refusal(sd.users().insert(body=person(alias))) == DUPLICATE
    assert refusal(sd.groups().insert(body={"email": alias})) == DUPLICATE
    missing = (404, "notFound", "Resource Not Found: alias")
    assert refusal(sd.users().aliases().delete(userKey=other["id"], alias=alias)) == missing
    assert refusal(sd.users().aliases().delete(userKey=made["id"], alias=made["primaryEmail"])) == missing
    sd.users().aliases().delete(userKey=made["id"], alias=alias.upper()).execute()
    assert {**sd.users().get(userKey=made["id"]).execute(), "etag": ""} == {**made, "etag": ""}
    assert refusal(sd.users().get(userKey=alias)) == NO_USER
    assert sd.users().insert(body=person(alias)).execute()["id"] != made["id"]


def test_aliases_have_rules(sd: Any) -> None:
    """Thirty at most, in a domain of the customer, with a local part that an address may have."""
    made = inserted(sd)
    aliases = sd.users().aliases()
    for _ in range(30):
        aliases.insert(userKey=made["id"], body={"alias": fresh()}).execute()
    assert refusal(aliases.insert(userKey=made["id"], body={"alias": fresh()}))[:2] == (412, "limitExceeded")
    other = inserted(sd)["id"]
    assert refusal(aliases.insert(userKey=other, body={})) == (400, "invalid", "Invalid Input: alias")
    assert refusal(aliases.insert(userKey=other, body={"alias": "a..b@sd.belajar.id"}))[0] == 400
    assert refusal(aliases.insert(userKey=other, body={"alias": fresh("smp.belajar.id")}))[:2] == (403, "forbidden")
    assert "aliases" not in aliases.list(userKey=other).execute()


def found_ids(sd: Any, query: str, **more: Any) -> list[str]:
    """Ids of everybody a search finds, over all its pages."""
    ids: list[str] = []
    request = sd.users().list(customer="my_customer", query=query, **more)
    while request is not None:
        answer = request.execute()
        ids += [user["id"] for user in answer.get("users", [])]
        request = sd.users().list_next(request, answer)
    return ids


def test_searches_find_exactly_whom_they_ask_for(sd: Any) -> None:
    """Names as wholes, words and beginnings; flags; units with what is below; organisations; all clauses must hold."""
    sd.orgunits().insert(customerId="my_customer", body={"name": "Cari", "parentOrgUnitPath": "/"}).execute()
    sd.orgunits().insert(customerId="my_customer", body={"name": "Dalam", "parentOrgUnitPath": "/Cari"}).execute()
    names = {"givenName": "Wayan Putu", "familyName": "Xaverius"}
    first = inserted(sd, name=names, orgUnitPath="/Cari/Dalam", suspended=True)
    second = inserted(
        sd,
        name={"givenName": "Wayang", "familyName": "Xaverius"},
        orgUnitPath="/Cari",
        organizations=[{"costCenter": "20219999"}],
    )
    both = [first["id"], second["id"]]
    for query, expected in (
        ("familyName=xaverius", both),
        ("givenName='wayan putu'", [first["id"]]),
        ("givenName:putu", [first["id"]]),
        ("givenName:Wayan", [first["id"]]),
        ("givenName:Wayan*", both),
        ("givenName:aya*", []),
        ("name:'Wayang Xaverius'", [second["id"]]),
        ("orgUnitPath=/cari", both),
        ("orgUnitPath='/Cari/Dalam'", [first["id"]]),
        ("orgUnitPath=/Ca", []),
        ("orgUnitPath=/ familyName=Xaverius isSuspended=False", [second["id"]]),
        ("isSuspended=true familyName:xav*", [first["id"]]),
        ("familyName=xaverius isAdmin=true", []),
        ("orgCostCenter=20219999 familyName=xaverius", [second["id"]]),
        (f"email={first['primaryEmail']} isSuspended=false", []),
        (f"email:{first['primaryEmail'].partition('@')[0]}*", [first["id"]]),
    ):
        assert found_ids(sd, query) == expected, query
    assert found_ids(sd, "familyName=xaverius", maxResults=1) == both


def test_a_query_too_long_for_an_address_is_sent_as_a_body(sd: Any) -> None:
    """The official client turns such a GET into a POST that says so; it is answered as the GET it means."""
    made = inserted(sd, name={"givenName": "Zulaikha", "familyName": "Panjang"})
    request = sd.users().list(customer="my_customer", query="'".join(["givenName=", "zulaikha", " "]) * 90)
    assert len(request.uri) > 2_048
    assert [user["id"] for user in request.execute()["users"]] == [made["id"]]


def test_a_search_that_is_not_understood_finds_nobody(sd: Any) -> None:
    """What is no search is 400; a field that is not known is 501 and named in the answer's list, never answered with everybody."""
    for query in (
        "",
        " ",
        "externalId=0*",
        "isAdmin=ya",
        "orgUnitPath:/",
        "email=a b",
        "=x",
        "email=",
        "name:x " * 300,
    ):
        refused = refusal(sd.users().list(customer="my_customer", query=query))
        assert refused == (400, "invalid", "Invalid Input: query"), query
    status, reason, message = refusal(sd.users().list(customer="my_customer", query="directManager='x@y.z'"))
    assert (status, reason) == (501, "notImplemented")
    assert message.endswith(f"{', '.join(FIELDS)}.")
    assert refusal(sd.users().list(customer="my_customer", query="isAdmin=true", showDeleted="true"))[0] == 501


SCHEMA = {
    "schemaName": "sekolah",
    "fields": [
        {"fieldName": "npsn", "fieldType": "STRING"},
        {"fieldName": "kelas", "fieldType": "INT64"},
        {"fieldName": "mapel", "fieldType": "STRING", "multiValued": True},
    ],
}


def test_custom_fields_are_checked_merged_and_shown_when_asked_for(emulator: EmulatorProcess) -> None:
    """Values must fit their schema; what is not sent stays, null deletes; get and list show them by projection only."""
    smp = official(emulator, SMP)
    made_schema = smp.schemas().insert(customerId="my_customer", body=SCHEMA).execute()
    smp.schemas().insert(customerId="my_customer", body={**SCHEMA, "schemaName": "lain"}).execute()
    address = fresh("smp.belajar.id")
    values = {"sekolah": {"npsn": "20219999", "kelas": 7, "mapel": [{"value": "ipa"}]}, "lain": {"npsn": "1"}}
    made = smp.users().insert(body=person(address, customSchemas=values)).execute()
    assert made["customSchemas"] == values
    users = smp.users()

    def shown(**query: str) -> Any:
        account = users.get(userKey=address, **query).execute()
        page = users.list(customer="my_customer", **query).execute()["users"]
        assert page == [account]
        return account.get("customSchemas")

    assert shown() is None
    assert shown(projection="basic") is None
    assert shown(projection="full") == values
    assert shown(projection="custom", customFieldMask="lain,tidakada") == {"lain": {"npsn": "1"}}
    assert refusal(users.get(userKey=address, projection="custom"))[0] == 400
    users.update(userKey=address, body={"customSchemas": {"sekolah": {"kelas": None, "npsn": "2"}}}).execute()
    assert shown(projection="full") == {
        "sekolah": {"npsn": "2", "mapel": [{"value": "ipa"}]},
        "lain": {"npsn": "1"},
    }
    users.patch(userKey=address, body={"customSchemas": {"lain": None}}).execute()
    assert shown(projection="full") == {"sekolah": {"npsn": "2", "mapel": [{"value": "ipa"}]}}
    refused = (400, "invalid", "Invalid Input: custom_schema")
    for wrong in (
        {"tidakada": {"npsn": "1"}},
        {"sekolah": {"tidakada": "1"}},
        {"sekolah": {"npsn": 1}},
        {"sekolah": {"kelas": "tujuh"}},
        {"sekolah": {"kelas": 2**63}},
        {"sekolah": {"mapel": "ipa"}},
        {"sekolah": {"mapel": [{"value": 1}]}},
    ):
        assert refusal(users.update(userKey=address, body={"customSchemas": wrong})) == refused
    two = {"schemaName": "sekolah", "fields": SCHEMA["fields"][:2]}
    smp.schemas().update(customerId="my_customer", schemaKey="sekolah", body=two).execute()
    assert shown(projection="full") == {"sekolah": {"npsn": "2"}}
    smp.schemas().delete(customerId="my_customer", schemaKey=made_schema["schemaId"]).execute()
    assert shown(projection="full") is None
    assert refusal(users.update(userKey=address, body={"customSchemas": {"sekolah": {"npsn": "1"}}})) == refused
