"""The emulator's directory: accounts, lists, aliases, units, customers, over real sockets and the official client."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from belajarid_recon.emulator.launch import EmulatorProcess
from belajarid_recon.schemas import Jenjang
from emulator_kit import HASH, Plain, marked, official, person, refusal, unlimited

FORBIDDEN = (403, "forbidden", "Not Authorized to access this resource/api")
DUPLICATE = (409, "duplicate", "Entity already exists.")
NO_USER = (404, "notFound", "Resource Not Found: userKey")
_count = itertools.count(1)


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatorProcess]:
    """One emulator for this module; every test uses addresses of its own."""
    with EmulatorProcess(unlimited(tmp_path_factory.mktemp("emulator") / "state")) as running:
        yield running


@pytest.fixture(scope="module")
def sd(emulator: EmulatorProcess) -> Any:
    """The official client of the sd tenant."""
    return official(emulator, Jenjang.SD)


@pytest.fixture(scope="module")
def plain(emulator: EmulatorProcess) -> Plain:
    """Raw requests to the sd tenant."""
    return Plain(emulator, Jenjang.SD)


def fresh(domain: str = "sd.belajar.id") -> str:
    """An address nobody has used."""
    return f"budi.santoso{next(_count):04d}@{domain}"


def test_insert_answers_the_whole_account(sd: Any) -> None:
    """A new account has Google's defaults, a 21-digit id and no password in any answer."""
    address = fresh()
    made = sd.users().insert(body=person(address.upper(), changePasswordAtNextLogin=True)).execute()
    assert made["primaryEmail"] == address
    assert len(made["id"]) == 21
    assert made["id"].isdecimal()
    assert made["name"]["fullName"] == "Budi Santoso"
    assert made["orgUnitPath"] == "/"
    assert made["lastLoginTime"] == "1970-01-01T00:00:00.000Z"
    assert made["changePasswordAtNextLogin"] is True
    assert made["includeInGlobalAddressList"] is True
    assert made["suspended"] is False
    assert "suspensionReason" not in made
    assert "password" not in made
    assert "hashFunction" not in made
    for key in (made["id"], address, address.upper()):
        assert sd.users().get(userKey=key).execute() == made


def test_read_only_fields_are_dropped(sd: Any) -> None:
    """What a caller cannot write changes nothing, administrator rights above all."""
    body = person(fresh(), isAdmin=True, isDelegatedAdmin=True, id="1", etag="x", aliases=[fresh()], agreedToTerms=True)
    made = sd.users().insert(body=body).execute()
    assert made["isAdmin"] is False
    assert made["isDelegatedAdmin"] is False
    assert made["agreedToTerms"] is False
    assert made["id"] != "1"
    assert "aliases" not in made
    updated = sd.users().update(userKey=made["id"], body={"isAdmin": True, "lastLoginTime": "x"}).execute()
    assert updated == made


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"primaryEmail": None}, "Invalid Input: primary_user_email"),
        ({"primaryEmail": "budi..s@sd.belajar.id"}, "Invalid Input: primary_user_email"),
        ({"primaryEmail": ".budi@sd.belajar.id"}, "Invalid Input: primary_user_email"),
        ({"primaryEmail": "budi+s@sd.belajar.id"}, "Invalid Input: primary_user_email"),
        ({"primaryEmail": "postmaster@sd.belajar.id"}, "Invalid Input: primary_user_email"),
        ({"primaryEmail": "b" * 65 + "@sd.belajar.id"}, "Invalid Input: primary_user_email"),
        ({"primaryEmail": "budí@sd.belajar.id"}, "Invalid Input: primary_user_email"),
        ({"name": None}, "Invalid Given/Family Name: FamilyName"),
        ({"name": {"givenName": "Budi"}}, "Invalid Given/Family Name: FamilyName"),
        ({"name": {"givenName": "B" * 61, "familyName": "S"}}, "Invalid Given/Family Name: GivenName"),
        ({"password": None}, "Invalid Password"),
        ({"password": "pendek1", "hashFunction": None}, "Invalid Password"),
        ({"password": "p" * 101, "hashFunction": None}, "Invalid Password"),
        ({"password": "kata sandí", "hashFunction": None}, "Invalid Password"),
        ({"password": HASH.replace("1000", "10001")}, "Invalid Password"),
        ({"password": "$2b$12$" + "a" * 53}, "Invalid Password"),
        ({"hashFunction": "bcrypt"}, "Invalid Input: hash_function"),
        ({"password": "d" * 31, "hashFunction": "MD5"}, "Invalid Password"),
        ({"orgUnitPath": "/nowhere"}, "Invalid Input: INVALID_OU_ID"),
        ({"externalIds": [{"type": "custom", "customType": "recon", "value": "x" * 2100}]}, "Invalid Input: external_ids"),
        ({"recoveryPhone": "0812"}, "Invalid recovery phone."),
        ({"customSchemas": {"sekolah": {"npsn": "1"}}}, "Invalid Input: custom_schema"),
    ],
)  # fmt: skip
def test_insert_refuses_what_google_refuses(sd: Any, change: dict[str, Any], message: str) -> None:
    """Each rule of a field gives 400 invalid with Google's words, and nothing is made."""
    address = fresh()
    assert refusal(sd.users().insert(body=person(address, **change))) == (400, "invalid", message)
    assert refusal(sd.users().get(userKey=address)) == NO_USER


@pytest.mark.parametrize(
    ("password", "function"),
    [
        ("kata-sandi-1", None),
        (HASH, "crypt"),
        ("$5$rounds=10000$garam$" + "a" * 43, "crypt"),
        ("$1$garam$" + "a" * 22, "crypt"),
        ("5f4dcc3b5aa765d61d8327deb882cf99", "MD5"),
        ("5baa61e4c9b93f3f0682250b6cf8331b7ee68fd8", "SHA-1"),
    ],
)
def test_insert_takes_every_hash_google_takes(sd: Any, password: str, function: str | None) -> None:
    """Plain passwords and the documented hash functions are accepted."""
    made = sd.users().insert(body=person(fresh(), password=password, hashFunction=function)).execute()
    assert made["id"]


def test_an_address_belongs_to_one_account(sd: Any) -> None:
    """A second insert of an address is 409 duplicate, in any case of letters, and leaves the first alone."""
    address = fresh()
    made = sd.users().insert(body=person(address)).execute()
    assert refusal(sd.users().insert(body=person(address.upper()))) == DUPLICATE
    assert sd.users().get(userKey=address).execute() == made


def test_update_keeps_clears_and_replaces(sd: Any) -> None:
    """Absent is kept, null is cleared, lists are replaced whole, parts of a name are kept."""
    address = fresh()
    organizations = [{"costCenter": "20219999", "primary": True}]
    body = person(address, externalIds=marked("a.sd"), organizations=organizations, includeInGlobalAddressList=False)
    made = sd.users().insert(body=body).execute()
    kept = sd.users().update(userKey=address, body={"name": {"familyName": "Wijaya"}}).execute()
    assert kept["name"] == {"givenName": "Budi", "familyName": "Wijaya", "fullName": "Budi Wijaya"}
    assert kept["organizations"] == organizations
    assert kept["includeInGlobalAddressList"] is False
    assert kept["etag"] != made["etag"]
    changes = {
        "organizations": None,
        "externalIds": [{"type": "organization", "value": "9"}],
        "includeInGlobalAddressList": None,
    }
    cleared = sd.users().update(userKey=address, body=changes).execute()
    assert "organizations" not in cleared
    assert cleared["externalIds"] == [{"type": "organization", "value": "9"}]
    assert cleared["includeInGlobalAddressList"] is True
    assert cleared["id"] == made["id"]
    assert cleared["creationTime"] == made["creationTime"]


def test_update_refuses_and_changes_nothing(sd: Any) -> None:
    """A refused update leaves the account as it was, though another of its fields was good."""
    address = fresh()
    made = sd.users().insert(body=person(address)).execute()
    for body, message in (
        ({"suspended": True, "orgUnitPath": "/nowhere"}, "Invalid Input: INVALID_OU_ID"),
        ({"suspended": True, "name": {"givenName": None}}, "Invalid Given/Family Name: GivenName"),
        ({"suspended": True, "password": "pendek"}, "Invalid Password"),
        ({"suspended": True, "primaryEmail": None}, "Invalid Input: primary_user_email"),
    ):
        assert refusal(sd.users().update(userKey=address, body=body)) == (400, "invalid", message)
    assert sd.users().get(userKey=address).execute() == made
    assert refusal(sd.users().update(userKey=fresh(), body={"suspended": True})) == NO_USER


def test_suspending_says_by_whom(sd: Any) -> None:
    """A suspended account has a reason; restored, it has none."""
    address = fresh()
    sd.users().insert(body=person(address)).execute()
    suspended = sd.users().update(userKey=address, body={"suspended": True}).execute()
    assert suspended["suspensionReason"] == "ADMIN"
    restored = sd.users().update(userKey=address, body={"suspended": False}).execute()
    assert "suspensionReason" not in restored


def test_a_rename_leaves_an_alias_that_stays_taken(sd: Any) -> None:
    """The old address becomes an alias: it finds the account, and neither an insert nor a rename gets it, not even back."""
    old, new = fresh(), fresh("guru.sd.belajar.id")
    made = sd.users().insert(body=person(old)).execute()
    renamed = sd.users().update(userKey=made["id"], body={"primaryEmail": new}).execute()
    assert renamed["primaryEmail"] == new
    assert renamed["aliases"] == [old]
    assert sd.users().get(userKey=old).execute() == renamed
    listed = sd.users().aliases().list(userKey=new).execute()
    assert [entry["alias"] for entry in listed["aliases"]] == [old]
    assert refusal(sd.users().insert(body=person(old))) == DUPLICATE
    assert refusal(sd.users().update(userKey=new, body={"primaryEmail": old})) == DUPLICATE
    other = sd.users().insert(body=person(fresh())).execute()
    assert refusal(sd.users().update(userKey=other["id"], body={"primaryEmail": old})) == DUPLICATE
    assert refusal(sd.users().update(userKey=other["id"], body={"primaryEmail": new})) == DUPLICATE
    assert listed_addresses(sd, "guru.sd.belajar.id").count(new) == 1
    assert old not in listed_addresses(sd, "sd.belajar.id")


def test_the_thirty_first_alias_is_refused(sd: Any) -> None:
    """Thirty renames fill an account; the next is 412 and changes nothing."""
    made = sd.users().insert(body=person(fresh())).execute()
    for _ in range(30):
        renamed = sd.users().update(userKey=made["id"], body={"primaryEmail": fresh()}).execute()
    assert len(renamed["aliases"]) == 30
    status, reason, _message = refusal(sd.users().update(userKey=made["id"], body={"primaryEmail": fresh()}))
    assert (status, reason) == (412, "limitExceeded")
    assert sd.users().get(userKey=made["id"]).execute() == renamed


def test_deleted_accounts_are_listed_apart_and_free_their_addresses(emulator: EmulatorProcess) -> None:
    """A deleted account is gone from every read but showDeleted, for 20 days, and its address and alias can be used again."""
    smk = official(emulator, Jenjang.SMK)
    old, new = fresh("smk.belajar.id"), fresh("smk.belajar.id")
    first = smk.users().insert(body=person(old)).execute()
    smk.users().update(userKey=old, body={"primaryEmail": new}).execute()
    assert smk.users().delete(userKey=new).execute() == ""
    for key in (first["id"], old, new):
        assert refusal(smk.users().get(userKey=key)) == NO_USER
    assert listed_addresses(smk, "smk.belajar.id") == []
    second = smk.users().insert(body=person(new)).execute()
    smk.users().insert(body=person(old)).execute()
    assert second["id"] != first["id"]
    deleted = smk.users().list(domain="smk.belajar.id", showDeleted="true").execute()["users"]
    assert [(user["id"], user["primaryEmail"]) for user in deleted] == [(first["id"], new)]
    assert deleted[0]["deletionTime"] > deleted[0]["creationTime"]
    smk.users().delete(userKey=second["id"]).execute()
    pages = list(paged(smk, domain="smk.belajar.id", showDeleted="true", maxResults=1))
    assert [[user["id"] for user in page] for page in pages] == [[first["id"]], [second["id"]]]
    emulator.advance(20 * 86_400 + 1)
    assert (
        "users"
        not in official(emulator, Jenjang.SMK).users().list(domain="smk.belajar.id", showDeleted="true").execute()
    )


def listed_addresses(service: Any, domain: str) -> list[str]:
    """Primary addresses of a domain, as a list shows them."""
    return [user["primaryEmail"] for page in paged(service, domain=domain) for user in page]


def paged(service: Any, **query: Any) -> Iterator[list[dict[str, Any]]]:
    """The pages of a list."""
    request = service.users().list(**query)
    while request is not None:
        answer = request.execute()
        yield answer.get("users", [])
        request = service.users().list_next(request, answer)


def test_pages_cover_a_domain_once_in_order(emulator: EmulatorProcess) -> None:
    """Pages of any size give every account of the domain once, by address, and no other; a customer's list merges its domains."""
    emulator.plant(Jenjang.SMA, [{"primaryEmail": f"murid{number}@sma.belajar.id"} for number in range(1_203)])
    emulator.plant(Jenjang.SMA, [{"primaryEmail": f"murid{number}@guru.sma.belajar.id"} for number in range(5)])
    sma = official(emulator, Jenjang.SMA)
    expected = sorted(f"murid{number}@sma.belajar.id" for number in range(1_203))
    sizes = [len(page) for page in paged(sma, domain="sma.belajar.id", maxResults=500)]
    assert sizes == [500, 500, 203]
    assert len(next(paged(sma, domain="sma.belajar.id"))) == 100
    assert [
        user["primaryEmail"] for page in paged(sma, domain="SMA.belajar.id", maxResults=401) for user in page
    ] == expected
    everybody = [user["primaryEmail"] for page in paged(sma, customer="my_customer", maxResults=500) for user in page]
    assert everybody == sorted([*expected, *(f"murid{number}@guru.sma.belajar.id" for number in range(5))])


def test_a_page_token_belongs_to_its_query_for_three_days(emulator: EmulatorProcess) -> None:
    """Another query, a changed token and a token of the day before yesterday's yesterday are 400."""
    emulator.plant(Jenjang.SLB, [{"primaryEmail": f"murid{number}@slb.belajar.id"} for number in range(3)])
    slb = official(emulator, Jenjang.SLB)
    token = slb.users().list(domain="slb.belajar.id", maxResults=1).execute()["nextPageToken"]
    again = slb.users().list(domain="slb.belajar.id", maxResults=2, pageToken=token).execute()
    assert [user["primaryEmail"] for user in again["users"]] == ["murid1@slb.belajar.id", "murid2@slb.belajar.id"]
    refused = (400, "invalid", "Invalid Input: page_token")
    assert refusal(slb.users().list(domain="guru.slb.belajar.id", pageToken=token)) == refused
    assert refusal(slb.users().list(domain="slb.belajar.id", showDeleted="true", pageToken=token)) == refused
    assert refusal(slb.users().list(domain="slb.belajar.id", pageToken=token[:-8] + "AAAAAAAA")) == refused
    assert refusal(slb.users().list(domain="slb.belajar.id", pageToken="é")) == refused
    emulator.advance(3 * 86_400 + 1)
    late = official(emulator, Jenjang.SLB)
    assert refusal(late.users().list(domain="slb.belajar.id", pageToken=token)) == refused


def test_a_list_goes_over_a_domain_or_a_customer(sd: Any) -> None:
    """Exactly one of the two must be given."""
    assert refusal(sd.users().list()) == (400, "badRequest", "Bad Request")
    assert refusal(sd.users().list(domain="sd.belajar.id", customer="my_customer")) == (
        400,
        "badRequest",
        "Bad Request",
    )


def test_search_finds_by_external_id_and_address(sd: Any) -> None:
    """`externalId=` and `email=` find live accounts, by alias too, and after a change by the new value only."""
    address = fresh()
    made = sd.users().insert(body=person(address, externalIds=marked("00ff.sd"))).execute()

    def found(query: str) -> list[str]:
        answer = sd.users().list(customer="my_customer", query=query).execute()
        return [user["id"] for user in answer.get("users", [])]

    assert found("externalId=00ff.sd") == [made["id"]]
    assert found("externalId='00ff.sd'") == [made["id"]]
    assert found("externalId=00ff") == []
    assert found(f"email={address}") == [made["id"]]
    sd.users().update(userKey=address, body={"externalIds": marked("00fe.sd"), "primaryEmail": fresh()}).execute()
    assert found("externalId=00ff.sd") == []
    assert found("externalId=00fe.sd") == [made["id"]]
    assert found(f"email={address}") == [made["id"]]


def test_partial_answers_hold_what_was_asked_for(sd: Any) -> None:
    """`fields` keeps the named fields and refuses names that the answer does not have."""
    address = fresh()
    made = sd.users().insert(body=person(address, externalIds=marked("77.sd"))).execute()
    some = sd.users().get(userKey=address, fields="id,name(givenName,familyName),externalIds/value").execute()
    assert some == {
        "id": made["id"],
        "name": {"givenName": "Budi", "familyName": "Santoso"},
        "externalIds": [{"value": "77.sd"}],
    }
    page = sd.users().list(domain="sd.belajar.id", maxResults=1, fields="nextPageToken,users/id").execute()
    assert set(page) <= {"nextPageToken", "users"}
    assert all(set(user) == {"id"} for user in page["users"])
    assert sd.users().get(userKey=address, fields="*").execute() == made
    for fields in ("nope", "name/nope", "name(", "id,", "users)", "(id)"):
        assert refusal(sd.users().get(userKey=address, fields=fields)) == (
            400,
            "invalidParameter",
            "Invalid field selection",
        )


def test_other_customers_are_out_of_reach(emulator: EmulatorProcess, sd: Any) -> None:
    """A tenant's token opens nothing of another tenant: 403 for what exists there, 404 or 400 for what exists nowhere."""
    other = official(emulator, Jenjang.SMP).users().insert(body=person(fresh("smp.belajar.id"))).execute()
    theirs = emulator.customer_ids[Jenjang.SMP]
    users = sd.users()
    assert refusal(users.get(userKey=other["primaryEmail"])) == FORBIDDEN
    assert refusal(users.get(userKey=other["id"])) == NO_USER
    assert refusal(users.update(userKey=other["id"], body={"suspended": True})) == NO_USER
    assert refusal(users.update(userKey=other["primaryEmail"], body={"suspended": True})) == FORBIDDEN
    assert refusal(users.delete(userKey=other["id"])) == NO_USER
    assert refusal(users.insert(body=person(fresh("smp.belajar.id")))) == FORBIDDEN
    assert refusal(users.insert(body=person("budi@gmail.example"))) == (404, "notFound", "Domain not found.")
    assert refusal(users.list(domain="smp.belajar.id")) == FORBIDDEN
    assert refusal(users.list(customer=theirs)) == FORBIDDEN
    assert refusal(users.list(customer="C0nobody0")) == (400, "badRequest", "Bad Request")
    assert refusal(sd.customers().get(customerKey=theirs)) == FORBIDDEN
    assert refusal(sd.domains().list(customer=theirs)) == FORBIDDEN
    assert refusal(sd.orgunits().list(customerId=theirs)) == FORBIDDEN
    assert refusal(sd.orgunits().insert(customerId=theirs, body={"name": "X", "parentOrgUnitPath": "/"})) == FORBIDDEN
    assert official(emulator, Jenjang.SMP).users().get(userKey=other["id"]).execute() == other


@pytest.mark.parametrize("tenant", list(Jenjang))
def test_each_jenjang_is_a_customer_of_its_own(emulator: EmulatorProcess, tenant: Jenjang) -> None:
    """Seven customers with their ids and domains; the caller may name itself my_customer."""
    service = official(emulator, tenant)
    mine = service.customers().get(customerKey="my_customer").execute()
    assert mine["id"] == emulator.customer_ids[tenant]
    assert service.customers().get(customerKey=mine["id"]).execute() == mine
    domains = service.domains().list(customer="my_customer").execute()["domains"]
    names = [domain["domainName"] for domain in domains]
    expected = [f"{tenant}.belajar.id", f"guru.{tenant}.belajar.id", f"admin.{tenant}.belajar.id"]
    assert names == expected + (["pendidik.kesetaraan.belajar.id"] if tenant is Jenjang.KESETARAAN else [])
    assert [domain["domainName"] for domain in domains if domain["isPrimary"]] == [mine["customerDomain"]]
    assert len(set(emulator.customer_ids.values())) == 7


def test_units_form_a_tree_without_regard_to_case(emulator: EmulatorProcess) -> None:
    """Units are found by path in any case and by id; lists go one or all levels down."""
    paud = official(emulator, Jenjang.PAUD)
    units = paud.orgunits()
    first = units.insert(customerId="my_customer", body={"name": "Jawa Barat", "parentOrgUnitPath": "/"}).execute()
    below = {"name": "Kota Bandung", "parentOrgUnitId": first["orgUnitId"], "description": "kota"}
    second = units.insert(customerId="my_customer", body=below).execute()
    assert second["orgUnitPath"] == "/Jawa Barat/Kota Bandung"
    assert second["parentOrgUnitPath"] == "/Jawa Barat"
    for path in ("Jawa Barat/Kota Bandung", "jawa barat/kota bandung", second["orgUnitId"]):
        assert units.get(customerId="my_customer", orgUnitPath=path).execute() == second

    def listed(**query: str) -> list[str]:
        answer = units.list(customerId=emulator.customer_ids[Jenjang.PAUD], **query).execute()
        return [unit["orgUnitPath"] for unit in answer.get("organizationUnits", [])]

    assert listed() == ["/Jawa Barat"]
    assert listed(type="all") == ["/Jawa Barat", "/Jawa Barat/Kota Bandung"]
    assert listed(type="allIncludingParent") == ["/", "/Jawa Barat", "/Jawa Barat/Kota Bandung"]
    assert listed(orgUnitPath="/jawa barat", type="all") == ["/Jawa Barat/Kota Bandung"]
    assert listed(orgUnitPath=second["orgUnitId"]) == []
    made = paud.users().insert(body=person(fresh("paud.belajar.id"), orgUnitPath="/JAWA BARAT")).execute()
    assert made["orgUnitPath"] == "/Jawa Barat"


def test_units_refuse_what_google_refuses(emulator: EmulatorProcess) -> None:
    """A parent that is missing, a name that is taken or impossible: 400; a path nobody has: 404."""
    units = official(emulator, Jenjang.KESETARAAN).orgunits()
    units.insert(customerId="my_customer", body={"name": "Bali", "parentOrgUnitPath": "/"}).execute()

    def refused(**body: str) -> tuple[int, str, str]:
        return refusal(units.insert(customerId="my_customer", body=body))

    assert refused(name="BALI", parentOrgUnitPath="/") == (400, "invalid", "Invalid Ou Id")
    assert refused(name="A/B", parentOrgUnitPath="/") == (400, "invalid", "Invalid Ou Name")
    assert refused(parentOrgUnitPath="/") == (400, "invalid", "Invalid Ou Name")
    assert refused(name="A") == (400, "invalid", "Invalid Parent Orgunit Id")
    assert refused(name="A", parentOrgUnitPath="/Nusa") == (400, "invalid", "Invalid Parent Orgunit Id")
    missing = units.get(customerId="my_customer", orgUnitPath="Nusa")
    assert refusal(missing) == (404, "notFound", "Org unit not found")


def test_unknown_paths_and_methods_are_told_apart(plain: Plain) -> None:
    """A path Google does not have is 404; a method Google has and the emulator lacks is 501 and says so."""
    assert plain("GET", "nope")[0] == 404
    assert plain("POST", "users/x")[0] == 404
    assert plain("PUT", "users")[0] == 404
    for verb, path, name in (
        ("POST", "users:createGuest", "users.createGuest"),
        ("POST", "users/watch", "users.watch"),
        ("GET", "users/1/photos/thumbnail", "users.photos.get"),
        ("GET", "customers/C1/chrome/printers", "admin.customers.chrome.printers.list"),
    ):
        status, body = plain(verb, path)
        assert status == 501
        assert body["error"]["message"].endswith(name)
    answer = plain.pool.request("POST", f"{plain.url}batch/admin/reports_v1", body=b"x")
    assert (answer.status, answer.headers["X-Emulator"]) == (404, "belajarid-recon")


def test_a_request_is_checked_against_the_discovery_document(plain: Plain) -> None:
    """Unknown and mistyped fields and parameters are 400 in Google's envelope, and nothing is made."""
    address = fresh()
    for change, place in (
        ({"nama": "Budi"}, "'nama'"),
        ({"name": {"givenName": "B", "familyName": "S", "nickName": "x"}}, ".name: unknown name 'nickName'"),
        ({"suspended": "true"}, ".suspended is not a boolean"),
        ({"externalIds": "x"}, ".externalIds is not a list"),
        ({"externalIds": [{"value": 7}]}, ".externalIds[0].value is not a string"),
        ({"organizations": [{"npsn": "1"}]}, ".organizations[0]: unknown name 'npsn'"),
        ({"gender": []}, ".gender is not an object"),
    ):
        status, body = plain("POST", "users", person(address, **change))
        assert status == 400
        assert body["error"]["errors"][0]["reason"] == "invalid"
        assert place in body["error"]["message"]
    for query, name in (
        ("domain=sd.belajar.id&foo=1", "foo"),
        ("domain=sd.belajar.id&maxResults=501", "maxResults"),
        ("domain=sd.belajar.id&maxResults=x", "maxResults"),
        ("domain=sd.belajar.id&projection=all", "projection"),
        ("domain=sd.belajar.id&prettyPrint=yes", "prettyPrint"),
        ("domain=sd.belajar.id&alt=media", "alt"),
    ):
        status, body = plain("GET", f"users?{query}")
        assert status == 400
        fault = body["error"]["errors"][0]
        assert (fault["reason"], fault["location"]) == ("invalidParameter", name)
    assert plain("POST", "users", raw=b"{")[1]["error"]["errors"][0]["reason"] == "parseError"
    assert plain("POST", "users", [])[0] == 400
    assert plain("POST", "users", raw=b" " * 1_100_000)[0] == 413
    assert plain("GET", f"users/{address}")[0] == 404


def test_errors_repeat_no_value_that_was_sent(plain: Plain) -> None:
    """Names, addresses and secrets of a refused request are not in its answer."""
    secret = "Rahasia-9917"  # noqa: S105 - made up
    for body in (
        person(f"{secret}@sd.belajar.id ".replace("-", "+")),
        person(fresh(), password=secret * 20, hashFunction=None),
        person(fresh(), name={"givenName": secret * 10, "familyName": "S"}),
        person(fresh(), externalIds=[{"value": [secret]}]),
    ):
        status, answer = plain("POST", "users", body)
        assert status == 400
        assert secret.lower()[:7] not in str(answer).lower()


def test_stats_count_what_was_done_apart_from_what_was_answered(emulator: EmulatorProcess, sd: Any) -> None:
    """An applied insert, a refused one and their answers are three numbers."""
    before = emulator.stats()
    address = fresh()
    sd.users().insert(body=person(address)).execute()
    assert refusal(sd.users().insert(body=person(address))) == DUPLICATE
    after = emulator.stats()

    def grown(*path: str) -> int:
        values = []
        for stats in (before, after):
            value: Any = stats
            for key in path:
                value = value.get(key, {})
            values.append(value or 0)
        return int(values[1] - values[0])

    assert grown("applied", "users.insert", "sd") == 1
    assert grown("answers", "users.insert", "200") == 1
    assert grown("answers", "users.insert", "409") == 1
    assert grown("rejected", "users.insert", "duplicate") == 1
    assert after["concurrent_calls_max"]["all"] >= 1


def test_inspection_shows_every_account_with_its_inserts(emulator: EmulatorProcess) -> None:
    """Deleted accounts are shown too, and a marker inserted twice has two inserts."""
    smp = official(emulator, Jenjang.SMP)
    for _ in range(2):
        made = smp.users().insert(body=person(fresh("smp.belajar.id"), externalIds=marked("twice.smp"))).execute()
    smp.users().delete(userKey=made["id"]).execute()
    planted = emulator.plant(
        Jenjang.SMP,
        [
            {
                "primaryEmail": fresh("smp.belajar.id"),
                "isAdmin": True,
                "aliases": ["kepala@smp.belajar.id"],
                "suspended": True,
            }
        ],
    )
    lines = {line["account"]["id"]: line for line in emulator.accounts(Jenjang.SMP)}
    assert lines[made["id"]]["deleted"] is True
    assert lines[made["id"]]["inserts"] == 2
    assert lines[planted[0]]["account"]["isAdmin"] is True
    assert lines[planted[0]]["inserts"] == 0
    assert lines[planted[0]]["marker"] is None
    assert smp.users().get(userKey="kepala@smp.belajar.id").execute()["id"] == planted[0]
    assert refusal(smp.users().insert(body=person("kepala@smp.belajar.id"))) == DUPLICATE
    edited = emulator.edit(Jenjang.SMP, planted[0], {"suspended": False, "isDelegatedAdmin": True})
    assert edited["isDelegatedAdmin"] is True
    assert smp.users().get(userKey=planted[0]).execute() == edited
