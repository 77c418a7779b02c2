"""Contacts of the register: what counts as somebody's own mail or phone, and what is left out without losing the person."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from belajarid_recon.desired.accounts import account_contacts, withdraw_contacts
from belajarid_recon.records import Shared, contact_evidence, find_shared, write_evidence
from belajarid_recon.records.contacts import email, phone
from belajarid_recon.schemas import CONTACT, ContactReason, PersonKind
from belajarid_recon.settings import Recovery
from extract_builder import ExtractBuilder, Worked, tiny_builder, work

STAFF = Recovery().kinds()
EVERYBODY = Recovery(pupils=True).kinds()
SEED = 7

PHONES = {
    "081234567801": "+6281234567801",
    "81234567801": "+6281234567801",
    "6281234567801": "+6281234567801",
    "+6281234567801": "+6281234567801",
    "006281234567801": "+6281234567801",
    "+62 (0)812-3456.7801": "+6281234567801",
    " 0812 3456–7801\t": "+6281234567801",  # noqa: RUF001 - as a spreadsheet writes a dash
    "0812345678": "+62812345678",
    "081234567809876": None,
    "08123456": None,
    "0812-3456-7801 / 0856-1234-5678": None,
    "08l234567801": None,
    "(022) 4231221": None,
    "+62 22 4231221": None,
    "0811111111": None,
    "080000000000": None,
    "081234567890": None,
    "-": None,
    "+60 12-345 6701": "+60123456701",
    "+1 650 253 0000": "+16502530000",
    "60123456701": None,
    "+0812345678": None,
    "+12345": None,
    "+1234567890123456": None,
}
"""As typed, and in E.164 form. The numbers are made up; 0812-3456-7890 is the best known filler."""

EMAILS = {
    " Sri.Wahyuni@Example.ORG ": "sri.wahyuni@example.org",
    "a+b_c-1@mail.example.co.id": "a+b_c-1@mail.example.co.id",
    "sri@example": None,
    "sri.example.org": None,
    "sri@@example.org": None,
    "sri@budi@example.org": None,
    "sri wahyuni@example.org": None,
    ".sri@example.org": None,
    "sri..w@example.org": None,
    "sri@-example.org": None,
    "sri@example..org": None,
    "sri@127.0.0.1": None,
    "sri@example.org, budi@example.org": None,
    "a" * 65 + "@example.org": None,
    "a@" + "b" * 63 + "." + "c" * 63 + "." + "d" * 63 + "." + "e" * 56 + ".org": "whole",
    "a@" + "b" * 63 + "." + "c" * 63 + "." + "d" * 63 + "." + "e" * 57 + ".org": None,
    "sri@belajar.id": None,
    "sri@guru.sd.belajar.id": None,
    "SRI@ADMIN.SD.BELAJAR.ID": None,
    "sri@tidakbelajar.id": "sri@tidakbelajar.id",
    "-": None,
}
"""As typed, and as it is written; `whole`: as it is, with the 254 characters an address may have."""


def read(function, text: str | None) -> str | None:
    """One value, read."""
    return pl.select(value=function(pl.lit(text, dtype=pl.String)))["value"].item()


@pytest.mark.parametrize(("typed", "expected"), PHONES.items())
def test_a_phone_becomes_e164_or_counts_as_none(typed, expected):
    """Indonesian mobile numbers in the spellings people use, other countries' with their plus, and nothing else."""
    assert read(phone, typed) == expected


@pytest.mark.parametrize(("typed", "expected"), EMAILS.items())
def test_an_address_is_lower_case_and_not_ours_or_counts_as_none(typed, expected):
    """One plausible address of at most 254 characters; an account cannot recover itself."""
    assert read(email, typed) == (typed if expected == "whole" else expected)


@given(st.one_of(st.text(max_size=40), st.from_regex(r"[+0 ]{0,3}[0-9 ().-]{0,20}", fullmatch=True)))
@settings(max_examples=300, deadline=None)
@example("+628" + "9" * 60)
def test_whatever_is_typed_a_phone_is_e164_and_read_twice_the_same(typed):
    """What comes out is E.164, and reading it again changes nothing."""
    number = read(phone, typed)
    if number is not None:
        assert number[0] == "+"
        assert number[1:].isascii()
        assert number[1:].isdigit()
        assert 7 <= len(number) - 1 <= 15
        assert read(phone, number) == number


@given(st.one_of(st.text(max_size=40), st.emails()))
@settings(max_examples=300, deadline=None)
def test_whatever_is_typed_an_address_has_one_at_and_is_read_twice_the_same(typed):
    """What comes out has one @, no white space and no capital, and reading it again changes nothing."""
    address = read(email, typed)
    if address is not None:
        assert address.count("@") == 1
        assert address == address.lower() == "".join(address.split())
        assert read(email, address) == address


def works(world: ExtractBuilder, tmp_path, kinds=STAFF, parts=1) -> Worked:
    """Write a world and work it."""
    return work(world.write(tmp_path / "extract"), tmp_path / f"cut-{parts}", parts=parts, contacts=kinds)


def contacts_of(worked: Worked, nama: str) -> tuple[str | None, str | None, str | None]:
    """Address, phone and reason of somebody."""
    (row,) = worked.records.people.filter(pl.col("nama") == nama).iter_rows(named=True)
    return row["recovery_email"], row["recovery_phone"], row["contact_reason"]


def test_an_unusable_contact_sets_nobody_aside(tmp_path):
    """The person stays; the reason says whether the register has something to mend."""
    world = tiny_builder()
    world.staff("Guru Baik", email="Baik@example.org", no_hp="0812-3456-7801")
    world.staff("Guru Separuh", email="-", no_hp="0812-3456-7802")
    world.staff("Guru Rusak", email="baik@guru.sd.belajar.id", no_hp="tidak ada")
    world.staff("Guru Kosong", email=" ", no_hp=None)
    worked = works(world, tmp_path)
    assert worked.quarantine.is_empty()
    assert contacts_of(worked, "Guru Baik") == ("baik@example.org", "+6281234567801", None)
    assert contacts_of(worked, "Guru Separuh") == (None, "+6281234567802", None)
    assert contacts_of(worked, "Guru Rusak") == (None, None, ContactReason.UNUSABLE)
    assert contacts_of(worked, "Guru Kosong") == (None, None, ContactReason.MISSING)
    assert contacts_of(worked, "Operator Sd") == (None, None, ContactReason.MISSING)


@pytest.mark.parametrize("physical", [pl.String(), pl.Categorical(), pl.Null()])
def test_any_text_column_will_do(tmp_path, physical):
    """An export whose phone column is dictionary-coded, or empty and without a type, is read like any other."""
    world = tiny_builder()
    world.staff("Guru Baik", email="baik@example.org", no_hp=None if physical == pl.Null() else "081234567801")
    folder = world.write(tmp_path / "extract")
    world.frame("ptk", no_hp=physical).write_parquet(folder / "ptk.parquet")
    worked = work(folder, tmp_path / "cut", contacts=STAFF)
    assert contacts_of(worked, "Guru Baik")[:2] == (
        "baik@example.org",
        None if physical == pl.Null() else "+6281234567801",
    )


@pytest.mark.parametrize("kinds", [frozenset(), STAFF, EVERYBODY])
def test_contacts_that_nobody_asked_for_are_not_read(tmp_path, kinds):
    """By default no pupil's contact reaches the parts, nor the records; where staff is off, nobody's does."""
    world = tiny_builder()
    world.pupil("Murid", email="murid@example.org", nomor_telepon_seluler="081234567803")
    world.staff("Guru", email="guru@example.org", no_hp="081234567801")
    worked = works(world, tmp_path, kinds)
    expected = {
        "Murid": ("murid@example.org", "+6281234567803", None) if kinds == EVERYBODY else (None, None, None),
        "Guru": ("guru@example.org", "+6281234567801", None) if kinds else (None, None, None),
    }
    assert {nama: contacts_of(worked, nama) for nama in expected} == expected
    columns = {column for path in (tmp_path / "cut-1").rglob("*.parquet") for column in pl.read_parquet_schema(path)}
    assert ("no_hp" in columns, "nomor_telepon_seluler" in columns) == (bool(kinds), kinds == EVERYBODY)


def test_rows_that_disagree_about_a_contact_lose_it_alone(tmp_path):
    """Two rows of one person with two numbers: the person stays and has none, whichever row comes first; equal numbers stay."""
    world = tiny_builder()
    for nama, second in (("Guru Dua", "081234567899"), ("Guru Sama", "+62 812 3456 7801")):
        world.staff(nama, no_hp="081234567801")
        world.tables["ptk"].append(world.tables["ptk"][-1] | {"no_hp": second})
    worked = works(world, tmp_path)
    assert worked.reasons() == [("ptk", "_person", "row-repeated")] * 2
    assert contacts_of(worked, "Guru Dua") == (None, None, ContactReason.UNUSABLE)
    assert contacts_of(worked, "Guru Sama") == (None, "+6281234567801", None)


def people_of(contacts: list[tuple[str | None, str | None]]) -> pl.DataFrame:
    """One person for each pair of address and phone."""
    return pl.DataFrame(
        {
            "person_id": [number.to_bytes(16, "big") for number in range(len(contacts))],
            "recovery_email": [address for address, _ in contacts],
            "recovery_phone": [number for _, number in contacts],
        },
        schema={"person_id": pl.Binary, "recovery_email": pl.String, "recovery_phone": pl.String},
    )


def shared_of(people: pl.DataFrame, folder, people_max: int, parts: int = 3, rows_at_once: int = 7) -> Shared:
    """Find the shared contacts of `people`, cut into parts."""
    files = []
    for part in range(parts):
        files.append(folder / f"{part}.parquet")
        write_evidence(contact_evidence(people.gather_every(parts, part), SEED), files[-1])
    return find_shared(files, SEED, people_max, rows_at_once)


@given(
    holders=st.lists(st.integers(1, 9), min_size=1, max_size=12),
    people_max=st.integers(1, 8),
    parts=st.integers(1, 5),
    rows_at_once=st.sampled_from([3, 1_000]),
)
@settings(max_examples=40, deadline=None)
def test_a_contact_of_too_many_people_is_nobodys_whatever_the_cut(
    holders, people_max, parts, rows_at_once, tmp_path_factory
):
    """Exactly the contacts of more people than the settings allow are left out, whatever the parts and the order of rows."""
    pairs = [
        (f"kantor{number}@example.org" if number % 2 else None, f"+62812345678{number:02}")
        for number, count in enumerate(holders)
        for _ in range(count)
    ]
    people = people_of(pairs).sample(fraction=1.0, shuffle=True, seed=len(pairs))
    shared = shared_of(people, tmp_path_factory.mktemp("evidence"), people_max, parts, rows_at_once)
    for name in ("recovery_email", "recovery_phone"):
        often = people.drop_nulls(name).group_by(name).len().filter(pl.col("len") > people_max)[name]
        expected = people.select(pl.when(~pl.col(name).is_in(often.implode())).then(name))[name]
        assert shared.without(people)[name].equals(expected)


def test_a_shared_contact_is_withdrawn_from_desired_accounts(tmp_path):
    """Whoever had nothing else gets the reason; whoever has a second contact keeps it; pupils get none."""
    world = tiny_builder()
    school = world.school()
    for number in range(7):
        own = f"guru{number}@example.org" if number == 3 else None
        world.staff(f"Guru {'abcdefg'[number]} Satu", school, no_hp="0812-3456-7801", email=own)
    worked = works(world, tmp_path)
    desired, people = worked.desired().drop("registered"), worked.records.people
    contacts = account_contacts(people, desired)
    assert contacts.select(CONTACT.names()).schema == CONTACT
    assert contacts.height == 7
    shared = shared_of(contacts.unique("person_id"), tmp_path, 5)
    own = shared.without(contacts)
    withdrawn = contacts.select(
        "account_key",
        offers_email=pl.lit(value=False),
        offers_phone=pl.col("recovery_phone").is_not_null() & own["recovery_phone"].is_null(),
    )
    left = withdraw_contacts(desired, withdrawn).filter(pl.col("offers_phone").is_not_null())
    assert left["account_key"].to_list() == desired.filter(pl.col("standing") == "active")["account_key"].to_list()
    of_seven = left.join(contacts, on="account_key", how="semi")
    assert of_seven["offers_phone"].sum() == 0
    assert of_seven.group_by("offers_email", "contact_reason").len().sort("len").rows() == [
        (True, None, 1),
        (False, ContactReason.SHARED, 6),
    ]
    assert set(left.filter(pl.col("role") == "pupil")["contact_reason"]) == {None}


def test_only_active_accounts_have_contacts(tmp_path):
    """A leaver's number is not kept, and nobody asks about it."""
    world = tiny_builder()
    school = world.school()
    gone = world.staff("Guru Pergi", no_hp="081234567801")
    world.assign(gone, school, jenis_keluar_id="9")
    worked = works(world, tmp_path)
    (row,) = worked.desired().filter(pl.col("registered") == "Guru Pergi").iter_rows(named=True)
    assert (row["standing"], row["offers_email"], row["offers_phone"], row["contact_reason"]) == ("leaver", *[None] * 3)
    assert account_contacts(worked.records.people, worked.desired()).is_empty()


def test_kinds_follow_the_settings():
    """Operators without a PTK row are staff."""
    assert Recovery(staff=False).kinds() == frozenset()
    assert {PersonKind.PTK, PersonKind.PENGGUNA} == STAFF
    assert set(PersonKind) == EVERYBODY
