"""Applying a plan to the emulator over real sockets: what stands in the directory afterwards, and what the run says of it."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import threading
import time
from base64 import b64encode
from collections import Counter
from dataclasses import replace
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliers.desk import CLOCK, TENANTS, Desk, numbers, target_of
from appliers.plans import creation, marker, orgunit, plan_of, settings_of, update
from belajarid_recon.apply import operations
from belajarid_recon.apply import run as run_module
from belajarid_recon.apply.body import Step, attributes_of, fingerprint, read_steps
from belajarid_recon.apply.result import ApplyResult, Progress, count_result
from belajarid_recon.apply.run import ApplyComponents, abandon_run, apply_plan
from belajarid_recon.apply.settle import ApplyReason
from belajarid_recon.apply.tenant import FAULTS_PARKED_MAX
from belajarid_recon.components import ScaledClock
from belajarid_recon.directory.connect import connect
from belajarid_recon.directory.observed import npsn_of
from belajarid_recon.directory.snapshot import SnapshotRequest, take_snapshots
from belajarid_recon.errors import DirectoryError, PlanError, UnreachableError
from belajarid_recon.plan.contacts import contacts_digest, write_contacts
from belajarid_recon.plan.definition import Plan
from belajarid_recon.schemas import Jenjang
from belajarid_recon.settings import Quotas
from belajarid_recon.state.folders import RunFolder, RunStatus
from belajarid_recon.state.journal import Event, EventState, Journal
from belajarid_recon.state.ledger import read_ledger
from belajarid_recon.state.lifecycle import suspended_by_us
from belajarid_recon.state.lock import StateLock

SALT = bytes(range(32))


def test_an_insert_carries_what_it_must(desk):
    """Marker, NPSN, unit, listing and the change of password at first login are part of the insert itself."""
    (number,) = numbers(1)
    result = desk.apply(desk.plan(orgunit("sd", "/Kelas"), creation("sd", number, ou_path="/Kelas")))
    assert (result.done, result.parked, result.remaining) == (2, 0, 0)
    account = desk.account(number)
    assert account["externalIds"] == [{"type": "custom", "customType": "recon", "value": marker("sd", number)}]
    assert account["organizations"] == [{"costCenter": str(20_000_000 + number), "primary": True}]
    assert account["name"]["givenName"] == "Budi"
    assert account["orgUnitPath"] == "/Kelas"
    assert account["includeInGlobalAddressList"] is False
    assert account["changePasswordAtNextLogin"] is True
    assert account["suspended"] is False
    assert desk.runs[-1].status() is RunStatus.CLOSED


def test_an_update_writes_only_what_differs(desk):
    """What the step does not name stays as it was."""
    (number,) = numbers(1)
    target_id = desk.plant(number, phones=[{"value": "081234567890"}])
    rename = {"address": f"budi.santoso{number:05}@guru.sd.belajar.id", "listed": False}
    desk.apply(desk.plan(update("sd", number, target_id, {"domain": "sd.belajar.id", "listed": True}, **rename)))
    account = desk.account(number)
    assert account["primaryEmail"] == rename["address"]
    assert account["includeInGlobalAddressList"] is False
    assert account["name"]["familyName"] == f"Santoso {number}"
    assert account["phones"] == [{"value": "081234567890"}]


def test_no_password_is_kept_anywhere(desk):
    """Neither the secrets nor their hashes are in any file of the run."""
    desk.apply(desk.plan(*(creation("sd", number) for number in numbers(20))))
    texts = {
        b64encode(given[start : start + 12], altchars=b"./")
        for given in desk.randomness.given
        for start in range(0, len(given), 12)
    }
    assert len(texts) > 40
    content = b"".join(path.read_bytes() for path in desk.state.rglob("*") if path.is_file())
    assert len(content) > 1_000
    assert b"$6$" not in content
    assert [text for text in texts if len(text) == 16 and text[:15] in content] == []


FAULTS = {
    "the answer is lost": [("drop-after", {})],
    "the request is lost": [("drop-before", {})],
    "lost three times": [("drop-before", {"times": 2}), ("drop-after", {})],
    "503 after the effect": [("status-after", {"status": 503})],
    "503 without effect": [("status", {"status": 503})],
    "409 after the effect": [("bogus-409-after", {})],
    "409 without effect": [("status", {"status": 409, "reason": "duplicate"})],
    "an answer that is no JSON": [("status-after", {"status": 502, "text": "<html>Bad Gateway</html>"})],
    "the quota is used up": [("status", {"status": 403, "reason": "quotaExceeded", "times": 3})],
    "too many calls at once": [("status", {"status": 429, "reason": "rateLimitExceeded", "retry_after_seconds": 3})],
}


@pytest.mark.parametrize("fault", FAULTS)
def test_an_insert_takes_effect_once_although(desk, fault):
    """Whatever comes back, the account is there once and the step is done."""
    people = numbers(3)
    for kind, script in FAULTS[fault]:
        desk.emulator.fault("users.insert", kind, **script)
    result = desk.apply(desk.plan(*(creation("sd", number) for number in people)))
    assert (result.done, result.parked_reasons, result.findings) == (3, {}, {})
    for number in people:
        assert desk.account(number)["primaryEmail"] == f"budi.santoso{number:05}@sd.belajar.id"


@pytest.mark.parametrize("fault", [*FAULTS, "the account is not ready"])
def test_an_update_takes_effect_although(desk, fault):
    """The same for a change, whose values are absolute."""
    (number,) = numbers(1)
    target_id = desk.plant(number)
    script = [("status", {"status": 412, "reason": "conditionNotMet", "times": 2})]
    for kind, fields in FAULTS.get(fault, script):
        desk.emulator.fault("users.update", kind, **fields)
    result = desk.apply(desk.plan(update("sd", number, target_id, {"suspended": False}, suspended=True)))
    assert (result.done, result.parked) == (1, 0)
    assert desk.account(number)["suspended"] is True


def test_a_stale_read_is_no_proof_of_absence(desk):
    """An account that cannot be read for a moment after its insert is not created again."""
    (number,) = numbers(1)
    desk.emulator.fault("users.insert", "drop-after")
    desk.emulator.fault("users.get", "status", status=404, reason="notFound", times=3)
    assert desk.apply(desk.plan(creation("sd", number))).done == 1
    assert desk.account(number)["orgUnitPath"] == "/"


@pytest.mark.parametrize("foreign_marker", [None, "00" * 16 + ".sd"])
def test_an_address_of_somebody_else_is_left_alone(desk, foreign_marker):
    """The step is parked, the other account is as before, and no address is invented."""
    (number,) = numbers(1)
    row = creation("sd", number)
    theirs = [{"type": "custom", "customType": "recon", "value": foreign_marker}] if foreign_marker else []
    target_id = desk.plant(number, externalIds=theirs, name={"givenName": "Orang", "familyName": "Lain"})
    result = desk.apply(desk.plan(row))
    assert result.parked_reasons == {ApplyReason.ADDRESS_FOREIGN: 1}
    assert marker("sd", number) not in desk.accounts()
    (theirs,) = [
        line["account"] for lines in desk.accounts().values() for line in lines if line["account"]["id"] == target_id
    ]
    assert theirs["name"]["givenName"] == "Orang"


def test_an_account_renamed_in_the_gap_gets_no_second(desk):
    """The search by marker finds it under its new address, and the run says that it differs."""
    (number,) = numbers(1)
    desk.plant(number, primaryEmail=f"lain{number}@sd.belajar.id")
    desk.emulator.fault("users.insert", "drop-before")
    result = desk.apply(desk.plan(creation("sd", number)))
    assert (result.done, result.findings) == (1, {ApplyReason.FIELDS_DIFFER: 1})
    assert desk.account(number)["primaryEmail"] == f"lain{number}@sd.belajar.id"


FOREIGN_MARKERS = {
    "none": [],
    "another person's": [{"type": "custom", "customType": "recon", "value": "00" * 16 + ".sd"}],
    "ours, and a second": [
        {"type": "custom", "customType": "recon", "value": value} for value in (marker("sd", 999), "00" * 16 + ".sd")
    ],
}


@pytest.mark.parametrize("theirs", FOREIGN_MARKERS)
def test_an_account_without_our_marker_is_not_ours(desk, theirs):
    """It is read before anything is sent: the step is parked and no update leaves."""
    target_id = desk.plant(999, externalIds=FOREIGN_MARKERS[theirs], primaryEmail=f"asing{numbers(1)[0]}@sd.belajar.id")
    before = desk.applied()
    step = update("sd", 999, target_id, {"suspended": False}, suspended=True)
    assert desk.apply(desk.plan(step)).parked_reasons == {ApplyReason.ACCOUNT_FOREIGN: 1}
    assert desk.applied() == before
    assert suspended_by_us(desk.state).is_empty()


@pytest.mark.parametrize("right", ["isAdmin", "isDelegatedAdmin"])
def test_an_administrator_is_not_touched(desk, right):
    """Somebody became one after the plan was made: the account stays as it is."""
    (number,) = numbers(1)
    target_id = desk.plant(number, **{right: True})
    step = update("sd", number, target_id, {"suspended": False}, suspended=True)
    assert desk.apply(desk.plan(step)).parked_reasons == {ApplyReason.ADMINISTRATOR: 1}
    assert desk.account(number)["suspended"] is False


@pytest.mark.parametrize("theirs", [{"name": {"givenName": "Ubah", "familyName": "Sendiri"}}, {"primaryEmail": ""}])
def test_a_change_by_others_is_not_overwritten(desk, theirs):
    """An account that has neither the old nor the new value, in the local part too, is parked as drift unsent."""
    (number,) = numbers(1)
    theirs = theirs | ({"primaryEmail": f"ubah{number}@sd.belajar.id"} if "primaryEmail" in theirs else {})
    target_id = desk.plant(number, **theirs)
    as_planted = attributes_of(desk.account(number))
    before = {"domain": "sd.belajar.id", "given_name": "Budi", "family_name": f"Santoso {number}"}
    after = {"given_name": "Budiman", "family_name": "Santoso"}
    step = update("sd", number, target_id, before, address=f"budi.santoso{number:05}@guru.sd.belajar.id", **after)
    assert desk.apply(desk.plan(step)).parked_reasons == {ApplyReason.DRIFT: 1}
    assert attributes_of(desk.account(number)) == as_planted


def test_what_stands_already_is_done_without_sending(desk):
    """And a suspension that somebody else made meanwhile is not taken for ours."""
    (number,) = numbers(1)
    target_id = desk.plant(number, suspended=True)
    before = desk.applied()
    result = desk.apply(desk.plan(update("sd", number, target_id, {"suspended": False}, suspended=True)))
    assert (result.done, result.parked) == (1, 0)
    assert desk.applied() == before
    assert suspended_by_us(desk.state).is_empty()


def test_nothing_is_sent_without_an_intent_and_no_intent_without_a_sending(desk):
    """Looking comes first: a step that looking settles has an outcome alone, one that was sent has its intent before it."""
    sent, foreign = numbers(2)
    there, theirs = desk.plant(sent), desk.plant(foreign, externalIds=[])
    steps = [update("sd", n, i, {"suspended": False}, suspended=True) for n, i in ((sent, there), (foreign, theirs))]
    desk.apply(desk.plan(*steps))
    with desk.journal() as journal:
        assert [row[3] for row in journal._rows() if row[1] == 0] == ["intent", "done", "confirmed"]
        assert [row[3] for row in journal._rows() if row[1] == 1] == ["parked"]
        assert (journal.was_sent(0), journal.was_sent(1)) == (True, False)


ORGANIZATIONS = {
    "none": ([], [{"costCenter": "20209999", "primary": True}]),
    "the primary one": (
        [{"title": "Wali", "costCenter": "7"}, {"costCenter": "20200001", "primary": True, "department": "IPA"}],
        [{"title": "Wali", "costCenter": "7"}, {"costCenter": "20209999", "primary": True, "department": "IPA"}],
    ),
    "no primary one": (
        [{"costCenter": "20200001", "title": "Guru"}, {"costCenter": "20200002"}],
        [{"costCenter": "20209999", "title": "Guru"}, {"costCenter": "20200002"}],
    ),
    "a primary one without cost centre": (
        [{"costCenter": "20200001"}, {"title": "Guru", "primary": True}],
        [{"costCenter": "20200001"}, {"title": "Guru", "primary": True, "costCenter": "20209999"}],
    ),
}


@pytest.mark.parametrize("case", ORGANIZATIONS)
def test_a_move_changes_the_cost_centre_alone(desk, case):
    """Titles and departments somebody entered stay, also when the update has to be sent twice."""
    (number,) = numbers(1)
    there, expected = ORGANIZATIONS[case]
    target_id = desk.plant(number, organizations=there)
    desk.emulator.fault("users.update", "drop-before")
    before = {"npsn": npsn_of(there)}
    result = desk.apply(desk.plan(update("sd", number, target_id, before, npsn="20209999")))
    assert (result.done, result.parked) == (1, 0)
    assert desk.account(number)["organizations"] == expected


BOTH = {"recoveryEmail": "budi@example.org", "recoveryPhone": "+6281234567801"}
"""Contacts of the register."""
OWNERS = {"recoveryEmail": "sendiri@example.org", "recoveryPhone": "+6285234567801"}
"""Contacts the owner has set."""


def with_contacts(desk: Desk, *rows: dict[str, Any], contacts: dict[str, str] = BOTH) -> tuple[Plan, RunFolder]:
    """A plan of these rows, which write `contacts` where they say so, and a new run with them."""
    plan, run = desk.plan(*rows), desk.new_run()
    writing = plan.steps.whole().filter(pl.col("recovery").is_not_null() & pl.col("held_by").is_null())
    values = writing.select(
        "step",
        *(
            pl.when(pl.col("recovery").str.contains(word)).then(pl.lit(value)).alias(f"recovery_{word}")
            for word, value in zip(("email", "phone"), contacts.values(), strict=True)
        ),
    )
    write_contacts(run.contacts, values, SALT)
    return replace(plan, facts=replace(plan.facts, contacts=contacts_digest([values], SALT))), run


def contacts_of(account: dict[str, Any]) -> dict[str, str]:
    """The account's recovery contacts."""
    return {name: account[name] for name in BOTH if name in account}


def recovery_only(number: int, target_id: str, recovery: str = "email,phone") -> dict[str, Any]:
    """A row that writes recovery contacts to an account that is there."""
    return update("sd", number, target_id, {"recovery": None}, recovery=recovery)


def test_a_creation_carries_its_contacts_and_a_run_that_is_over_keeps_none(desk):
    """They are part of the insert, whatever it takes to send it; nothing in the state folder knows them afterwards."""
    people = numbers(3)
    words = ("email,phone", "phone", None)
    rows = [creation("sd", number, recovery=word) for number, word in zip(people, words, strict=True)]
    plan, run = with_contacts(desk, *rows)
    assert run.contacts.stat().st_mode & 0o777 == 0o600
    for kind, script in (("drop-before", {}), ("drop-after", {}), ("status", {"status": 503})):
        desk.emulator.fault("users.insert", kind, **script)
    result = desk.apply(plan, run)
    assert (result.done, result.parked_reasons, result.findings) == (3, {}, {})
    assert [contacts_of(desk.account(number)) for number in people] == [
        BOTH, {"recoveryPhone": BOTH["recoveryPhone"]}, {},
    ]  # fmt: skip
    assert not run.contacts.exists()
    content = b"".join(path.read_bytes() for path in desk.state.rglob("*") if path.is_file())
    assert b"81234567801" not in content
    assert b"budi@example.org" not in content


@pytest.mark.parametrize("fault", FAULTS)
def test_contacts_reach_an_account_that_has_none_although(desk, fault):
    """Whatever comes back, they are there in the end, beside what else the step writes."""
    (number,) = numbers(1)
    target_id = desk.plant(number)
    for kind, script in FAULTS[fault]:
        desk.emulator.fault("users.update", kind, **script)
    before = {"recovery": None, "listed": True}
    plan, run = with_contacts(desk, update("sd", number, target_id, before, recovery="email,phone", listed=False))
    result = desk.apply(plan, run)
    assert (result.done, result.parked) == (1, 0)
    assert contacts_of(desk.account(number)) == BOTH
    assert desk.account(number)["includeInGlobalAddressList"] is False


@pytest.mark.parametrize("theirs", [("recoveryEmail",), ("recoveryPhone",), ("recoveryEmail", "recoveryPhone")])
def test_a_contact_the_owner_has_set_meanwhile_is_never_overwritten(desk, theirs):
    """What came since the plan stays; only the other one is written, and the step is done."""
    (number,) = numbers(1)
    own = {name: OWNERS[name] for name in theirs}
    plan, run = with_contacts(desk, recovery_only(number, desk.plant(number, **own)))
    before = desk.applied()
    assert desk.apply(plan, run).done == 1
    assert contacts_of(desk.account(number)) == BOTH | own
    assert desk.applied() - before == (len(own) < 2)


def test_a_contact_set_after_a_lost_answer_is_never_overwritten(desk):
    """A change that has to be sent again looks again."""
    (number,) = numbers(1)
    target_id = desk.plant(number)
    plan, run = with_contacts(desk, recovery_only(number, target_id))
    desk.emulator.fault("users.update", "status", status=401, reason="authError", times=None)
    with pytest.raises(DirectoryError):
        desk.apply(plan, run)
    assert run.contacts.exists()
    desk.emulator.clear_faults()
    desk.emulator.edit(Jenjang.SD, target_id, OWNERS)
    assert desk.apply(plan, run).done == 1
    assert contacts_of(desk.account(number)) == OWNERS


def test_a_contact_the_directory_refuses_costs_nobody_the_account(desk):
    """A creation and a move are sent again without it; a step that has nothing else is parked, with a reason of its own."""
    created, moved, only_contact = numbers(3)
    rows = [
        creation("sd", created, recovery="email,phone"),
        update("sd", moved, desk.plant(moved), {"listed": True, "recovery": None}, listed=False, recovery="phone"),
        recovery_only(only_contact, desk.plant(only_contact)),
    ]
    plan, run = with_contacts(desk, *rows, contacts=BOTH | {"recoveryPhone": "0812"})
    result = desk.apply(plan, run, attempts=1)
    assert (result.done, result.parked_reasons) == (2, {ApplyReason.CONTACT_REFUSED: 1})
    assert contacts_of(desk.account(created)) == contacts_of(desk.account(moved)) == {}
    assert desk.account(moved)["includeInGlobalAddressList"] is False


def test_a_step_refused_for_something_else_is_parked_for_that(desk):
    """Without its contacts it is refused again, with the directory's own word."""
    (number,) = numbers(1)
    plan, run = with_contacts(desk, creation("sd", number, ou_path="/Tidak/Ada", recovery="phone"))
    (reason,) = desk.apply(plan, run).parked_reasons
    assert reason.startswith("rejected-")


def spoil_missing(run: RunFolder) -> None:
    """Remove the file."""
    run.contacts.unlink()


def spoil_end(run: RunFolder) -> None:
    """Cut its end off."""
    run.contacts.write_bytes(run.contacts.read_bytes()[:-20])


def spoil_values(run: RunFolder) -> None:
    """Put another number into it."""
    rows = pl.read_parquet(run.contacts)
    write_contacts(run.contacts, rows.with_columns(recovery_phone=pl.lit(OWNERS["recoveryPhone"])), SALT)


def spoil_owner(run: RunFolder) -> None:
    """Swap two people's contacts."""
    rows = pl.read_parquet(run.contacts)
    write_contacts(run.contacts, rows.with_columns(step=1 - pl.col("step")).sort("step"), SALT)


def spoil_salt(run: RunFolder) -> None:
    """Salt it otherwise."""
    write_contacts(run.contacts, pl.read_parquet(run.contacts), bytes(32))


@pytest.mark.parametrize("spoil", [spoil_missing, spoil_end, spoil_values, spoil_owner, spoil_salt])
def test_contacts_that_are_not_the_plans_are_refused_before_the_first_write(desk, spoil):
    """Nothing is sent, the message names no number, and the run can be abandoned."""
    rows = [creation("sd", number, recovery=word) for number, word in zip(numbers(2), ("phone", "email"), strict=True)]
    plan, run = with_contacts(desk, *rows)
    spoil(run)
    before = desk.applied()
    with pytest.raises(PlanError, match="recovery contacts of the plan's steps are") as refused:
        desk.apply(plan, run)
    assert "abandon" in refused.value.hint
    assert "+62" not in str(refused.value)
    assert desk.applied() == before
    with StateLock(desk.state, purpose="test") as lock:
        abandon_run(lock, run, plan, CLOCK)
    assert not run.contacts.exists()


def test_a_plan_that_writes_no_contact_needs_no_file(desk):
    """A held step needs none either."""
    (number,) = numbers(1)
    plan = desk.plan(creation("sd", number), creation("sd", number + 1, recovery="phone", held_by="a guard"))
    assert desk.apply(plan).done == 1


def test_the_journal_knows_no_contact(desk):
    """Neither a row nor a fingerprint depends on a number: nobody finds it by trying them all."""
    (number,) = numbers(1)
    target_id = desk.plant(number)
    plan, run = with_contacts(desk, recovery_only(number, target_id))
    desk.apply(plan, run)
    (step,) = read_steps(plan.steps.pieces())
    with desk.journal(run) as journal:
        _, intent, done, confirmed = journal._rows()
    assert (intent[3], done[3], confirmed[3]) == ("intent", "done", "confirmed")
    assert intent[7] == fingerprint(step, {})


def test_a_unit_does_not_overtake_the_one_above_it(desk):
    """A unit that has to be sent again is waited for: below a unit that is not there its children would be refused for good."""
    (number,) = numbers(1)
    top = f"/Tunggu {number}"
    desk.emulator.fault("orgunits.insert", "status", status=429, reason="rateLimitExceeded", retry_after_seconds=60)
    plan = desk.plan(orgunit("sd", top), orgunit("sd", f"{top}/Siswa"), creation("sd", number, ou_path=f"{top}/Siswa"))
    result = desk.apply(plan)
    assert (result.done, result.parked_reasons) == (3, {})
    assert desk.account(number)["orgUnitPath"] == f"{top}/Siswa"


def test_a_full_tenant_stops_its_creations_only(desk):
    """Everything else goes on; nothing is parked, the error says why, and the same call goes on when there is room."""
    people, other = numbers(40), numbers(3)
    (changed,) = numbers(1)
    suspend = update("sd", changed, desk.plant(changed), {"suspended": False}, suspended=True)
    rows = [creation("sd", n) for n in people] + [suspend] + [creation("smp", n) for n in other]
    limit = {"status": 412, "reason": "limitExceeded", "tenant": "sd"}
    desk.emulator.fault("users.insert", "status", after=10, times=None, **limit)
    plan, run = desk.plan(*rows), desk.new_run()
    with pytest.raises(DirectoryError, match="user limit is reached: sd"):
        desk.apply(plan, run)
    assert run.status() is RunStatus.APPLYING
    assert desk.account(changed)["suspended"] is True
    assert len(desk.attributes(other, "smp")) == 3
    with desk.journal(run) as journal:
        counted = {tenant.tenant: tenant for tenant in count_result(plan.steps, journal).tenants}
        assert journal.open_intents() == {}
    assert (counted["sd"].done, counted["sd"].parked, counted["sd"].remaining) == (11, 0, 30)
    (fault,) = desk.emulator.stats()["faults"]
    assert fault["used"] <= 16
    desk.emulator.clear_faults()
    assert desk.apply(plan, run, attempts=1).done == 44
    assert len(desk.attributes(people, "sd")) == 40


def test_a_refused_step_is_parked_with_the_directorys_word(desk):
    """A unit that does not exist is a 400: the step is parked after one sending, its neighbour is done."""
    bad, good = numbers(2)
    result = desk.apply(desk.plan(creation("sd", bad, ou_path="/Tidak/Ada"), creation("sd", good)))
    assert (result.done, result.parked) == (1, 1)
    (reason,) = result.parked_reasons
    assert reason.startswith("rejected-")
    assert marker("sd", bad) not in desk.accounts()


def test_attempts_are_bounded(desk):
    """A step that never works is sent as often as the settings allow, then parked; nothing is there."""
    (number,) = numbers(1)
    desk.emulator.fault("users.insert", "drop-before", times=None)
    result = desk.apply(desk.plan(creation("sd", number)), attempts=4)
    assert result.parked_reasons == {ApplyReason.ATTEMPTS_USED_UP: 1}
    assert desk.emulator.stats()["faults"][0]["used"] == 4
    assert marker("sd", number) not in desk.accounts()


def test_throttled_replies_use_no_attempt_up(desk):
    """One attempt is enough for a step that waits for its quota."""
    (number,) = numbers(1)
    desk.emulator.fault("users.insert", "status", status=403, reason="userRateLimitExceeded", times=5)
    assert desk.apply(desk.plan(creation("sd", number)), attempts=1).done == 1


def test_units_are_made_parents_first_and_once(desk):
    """A 401 after the effect, a lost answer, a unit somebody made meanwhile: each path is there once."""
    (number,) = numbers(1)
    paths = [f"/Kota {number}", f"/Kota {number}/Sekolah", f"/Kota {number}/Sekolah/Siswa"]
    desk.emulator.fault("orgunits.insert", "status-after", status=401, reason="authError")
    desk.emulator.fault("orgunits.insert", "drop-after")
    plan = desk.plan(*(orgunit("sd", path) for path in paths), creation("sd", number, ou_path=paths[-1]))
    assert desk.apply(plan).done == 4
    assert desk.account(number)["orgUnitPath"] == paths[-1]
    assert desk.apply(desk.plan(*(orgunit("sd", path) for path in paths))).done == 3


def test_held_steps_are_never_run(desk):
    """They are counted, and the run closes without them."""
    held, free = numbers(2)
    target_id = desk.plant(held)
    suspend = update("sd", held, target_id, {"suspended": False}, suspended=True) | {
        "held_by": "suspensions_per_tenant"
    }
    result = desk.apply(desk.plan(suspend, creation("sd", free)))
    assert (result.done, result.held, result.remaining) == (1, 1, 0)
    assert desk.account(held)["suspended"] is False
    assert suspended_by_us(desk.state).is_empty()
    assert read_ledger(desk.state)["user_id"].to_list() == [f"budi.santoso{free:05}"]


def test_suspensions_are_remembered_when_the_run_closes(desk):
    """Those that were carried out, so that a later run may lift them."""
    done, gone = numbers(2)
    steps = [
        update("sd", number, target_id, {"suspended": False}, suspended=True)
        for number, target_id in ((done, desk.plant(done)), (gone, "100000000000000000000"))
    ]
    result = desk.apply(desk.plan(*steps), attempts=2)
    assert (result.done, result.parked_reasons) == (1, {ApplyReason.ACCOUNT_GONE: 1})
    assert suspended_by_us(desk.state)["account_key"].to_list() == [steps[0]["account_key"]]


def test_a_suspension_that_the_snapshot_shows_lifted_is_forgotten(desk):
    """Somebody lifted it, and somebody suspended the account again: that is not ours to lift. Closing reads the run's snapshot."""
    lifted, kept = numbers(2)
    ids = [desk.plant(number, tenant="smp") for number in (lifted, kept)]
    suspend = [
        update("smp", number, target_id, {"suspended": False}, suspended=True)
        for number, target_id in zip((lifted, kept), ids, strict=True)
    ]
    desk.apply(desk.plan(*suspend))
    assert suspended_by_us(desk.state).height == 2
    desk.emulator.edit(Jenjang.SMP, ids[0], {"suspended": False})
    run = desk.new_run()
    customers = {Jenjang.SMP: desk.customer_ids["smp"]}
    request = SnapshotRequest(folder=run.snapshot, customer_ids=customers, parts=2, threads=1, clock=CLOCK)
    take_snapshots({Jenjang.SMP: desk.directories[Jenjang.SMP]}, request)
    desk.emulator.edit(Jenjang.SMP, ids[0], {"suspended": True})
    desk.apply(desk.plan(), run)
    assert suspended_by_us(desk.state)["account_key"].to_list() == [suspend[1]["account_key"]]


def test_addresses_are_reserved_before_there_is_a_journal(desk, monkeypatch):
    """Whatever ends the first start, a journal never stands without its ledger segment."""
    run, plan = desk.new_run(), desk.plan(creation("sd", numbers(1)[0]))
    monkeypatch.setattr("belajarid_recon.state.ledger.write_rows_atomically", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        desk.apply(plan, run)
    assert not run.journal.exists()
    assert read_ledger(desk.state).is_empty()


def test_the_window_is_never_exceeded(desk):
    """Neither calls under way nor open intents of a tenant are ever more than the settings' in_flight."""
    reports: list[Progress] = []
    desk.apply(desk.plan(*(creation("smp", n) for n in numbers(120))), watch=reports.append, in_flight=5)
    assert max(intents_at_once(desk.runs[-1])) == 5
    last = Progress("smp", done=120, parked=0, held=0, total=120, confirmed=120)
    assert reports[-1] == last._replace(calls=reports[-1].calls)
    assert reports[-1].calls >= 120 > reports[0].calls


def test_changes_fill_what_creations_leave(desk):
    """Creations are limited to one a second; changes, of a later lane, are done meanwhile, and creations still come first."""
    people, changed = numbers(12), numbers(30)
    rows = [creation("sd", n) for n in people]
    rows += [update("sd", n, desk.plant(n), {"suspended": False}, suspended=True) for n in changed]
    slow = replace(target_of(desk.emulator, desk.state), time_scale=10.0)
    chosen = settings_of(slow).model_copy(update={"quotas": {Jenjang.SD: Quotas(creations_per_second_and_domain=1)}})
    desk.directories, clock = connect(chosen, ScaledClock(10.0), desk.randomness), ScaledClock(10.0)
    plan, run = desk.plan(*rows), desk.new_run()
    with StateLock(desk.state, purpose="test") as lock:
        result = apply_plan(lock, run, plan, chosen, ApplyComponents(desk.directories, clock, desk.randomness))
    assert (result.done, result.parked) == (42, 0)
    with desk.journal(run) as journal:
        sent = [row[1] for row in journal._rows() if row[3] == "intent"]
    last_creation = max(place for place, step in enumerate(sent) if step < len(people))
    assert sent[0] < len(people)
    assert last_creation >= len(people) + 10


def test_a_tenant_that_must_wait_keeps_no_other_waiting(desk):
    """One tenant is asked for patience at its first call; the other is done long before it, which has only made what had left by then."""
    people = numbers(20)
    desk.emulator.fault("users.insert", "status", status=429, tenant="smp", retry_after_seconds=900)
    reports: list[Progress] = []
    desk.apply(
        desk.plan(*(creation(tenant, n) for tenant in TENANTS for n in people)), watch=reports.append, in_flight=4
    )
    done = [(report.tenant, report.done) for report in reports if report.done]
    assert done.index(("sd", 20)) < done.index(("smp", 20))
    assert max((count for tenant, count in done[: done.index(("sd", 20))] if tenant == "smp"), default=0) < 4


def intents_at_once(run: RunFolder) -> list[int]:
    """How many intents were open after each row of the journal."""
    with Journal.open(run.journal, clock=CLOCK) as journal:
        states = [row[3] for row in journal._rows() if row[3] != "started"]
    return list(itertools.accumulate(1 if state == "intent" else -1 for state in states))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"endpoint_class": "google"}, "another endpoint"),
        ({"customer_ids": {"sd": "C0other", "smp": "C0other"}}, "another customer"),
    ],
)
def test_a_plan_of_another_world_is_refused_before_the_first_write(desk, change, message):
    """The customer id is the server's own word, not the settings'."""
    before = desk.applied()
    rows = [creation("sd", number) for number in numbers(2)]
    plan = plan_of(rows, **({"customer_ids": desk.customer_ids} | change))
    with pytest.raises(PlanError, match=message):
        desk.apply(plan)
    assert desk.applied() == before
    assert not desk.runs[-1].journal.exists()
    assert desk.runs[-1].status() is RunStatus.PLANNED


def test_a_tenant_without_settings_is_refused(desk):
    """Before anything is written anywhere."""
    plan = desk.plan(creation("sd", numbers(1)[0]), creation("sma", 1))
    with pytest.raises(PlanError, match="a tenant the settings do not name: sma"):
        desk.apply(plan)


def test_another_plan_does_not_go_on_with_a_run(desk):
    """A journal knows the digest of its plan."""
    first, second = (desk.plan(creation("sd", number)) for number in numbers(2))
    run = desk.new_run()
    Journal.create(run.journal, {"plan_digest": first.digest}, steps=1, clock=CLOCK).close()
    with pytest.raises(PlanError, match="journal belongs to another plan"):
        desk.apply(second, run)


def test_a_closed_run_is_over(desk):
    """Applying it again is refused and writes nothing."""
    plan = desk.plan(creation("sd", numbers(1)[0]))
    desk.apply(plan)
    before = desk.applied()
    with pytest.raises(PlanError, match="run is closed"):
        desk.apply(plan, desk.runs[-1])
    assert desk.applied() == before


def test_a_plan_that_was_overtaken_is_refused(desk):
    """It knows nothing of what the later run did; nor may two runs be under way at once."""
    first, second = (desk.plan(creation("sd", number)) for number in numbers(2))
    early, late = desk.new_run(), desk.new_run()
    desk.emulator.fault("users.insert", "status", status=401, reason="authError", times=None)
    with pytest.raises(DirectoryError):
        desk.apply(second, late)
    with pytest.raises(PlanError, match="another run is unfinished"):
        desk.apply(first, early)
    desk.emulator.clear_faults()
    desk.apply(second, late)
    with pytest.raises(PlanError, match="a later run has been applied"):
        desk.apply(first, early)
    assert early.status() is RunStatus.PLANNED


def test_another_version_does_not_go_on_with_an_open_intent(desk):
    """What was sent is known by its fingerprint; a version that would send something else stops before it reads or writes."""
    plan = desk.plan(creation("sd", numbers(1)[0]))
    run = desk.new_run()
    with Journal.create(run.journal, {"plan_digest": plan.digest}, steps=1, clock=CLOCK) as journal:
        journal.commit([Event(0, 1, EventState.INTENT, fingerprint="0" * 32)])
    before = desk.applied()
    with pytest.raises(PlanError, match="another request than the journal says") as refused:
        desk.apply(plan, run)
    assert "an earlier version" in refused.value.hint  # this journal does not say which
    assert desk.applied() == before


def test_a_run_goes_on_days_later_after_an_upgrade(desk, monkeypatch):
    """A newer version that sends the same requests finishes what an older one left open, weeks of the endpoint's clock later."""
    people = numbers(12)
    changed = {number: desk.plant(number) for number in numbers(4)}
    rows = [creation("sd", number) for number in people]
    rows += [update("sd", n, one, {"suspended": False}, suspended=True) for n, one in changed.items()]
    plan, run = desk.plan(*rows), desk.new_run()
    monkeypatch.setattr(run_module, "__version__", "0.0.9")
    desk.emulator.fault("users.insert", "drop-after", after=5)
    desk.emulator.fault("*", "status", status=503, reason="backendError", tenant="sd", after=12, times=None)
    with pytest.raises(UnreachableError):
        desk.apply(plan, run, in_flight=4)
    monkeypatch.undo()
    with desk.journal(run) as journal:
        assert journal.meta["engine"] == "0.0.9"
        assert journal.open_intents()
        assert 0 < journal.settled_count < 16
    desk.emulator.clear_faults()
    desk.emulator.advance(19 * 86_400.0)
    desk.directories = connect(settings_of(target_of(desk.emulator, desk.state)), CLOCK, desk.randomness)
    result = desk.apply(plan, run)
    assert (result.done, result.parked, result.confirmed, result.contradicted) == (16, 0, 16, 0)
    desk.attributes(people, "sd")


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_ends_like_an_uninterrupted_one(desk, sent):
    """Ctrl-C, or a machine that shuts down, again and again: each stop is clean, and the directory is the same in the end."""
    people = numbers(150)
    plan = desk.plan(*(creation("sd", number) for number in people))
    run, stops, last = desk.new_run(), 0, 0
    while run.status() is not RunStatus.CLOSED:
        alarm = itertools.count(1)

        def interrupt(_progress: Progress, alarm=alarm) -> None:
            if next(alarm) == 4:
                os.kill(os.getpid(), sent)
                time.sleep(0.1)  # the handler runs in the main thread, and all of this would be done before

        try:
            desk.apply(plan, run, watch=interrupt, in_flight=8)
        except KeyboardInterrupt:
            stops += 1
            with desk.journal(run) as journal:
                assert journal.open_intents() == {}
                come = journal.settled_count + sum(map(journal.is_confirmed, range(150)))
                assert come > last
                last = come
    assert stops > 3
    desk.apply(desk.plan(*(creation("smp", number) for number in people)))
    assert desk.attributes(people, "sd") == desk.attributes(people, "smp")


def test_a_second_interrupt_says_nothing_of_what_is_under_way(desk):
    """Like a kill: what was sent stays open for the next start to settle, and the journal stays whole."""
    people = numbers(6)
    plan, run = desk.plan(*(creation("sd", number) for number in people)), desk.new_run()
    desk.emulator.fault("users.insert", "delay", seconds=3.0, times=None)

    def press() -> None:
        presses = [threading.Timer(at, os.kill, (os.getpid(), signal.SIGINT)) for at in (0.7, 1.2)]
        for one in presses:
            one.start()

    reports: list[Progress] = []

    def watch(progress: Progress) -> None:
        reports.append(progress)
        if len(reports) == 1:
            press()

    with pytest.raises(KeyboardInterrupt):
        desk.apply(plan, run, watch=watch, in_flight=6)
    with desk.journal(run) as journal:
        open_intents = journal.open_intents()
        assert len(open_intents) == 6
        assert not any(sendings.stopped for sendings in open_intents.values())
    desk.emulator.clear_faults()
    time.sleep(3.0)  # what is under way has landed, and nobody is there to note it
    assert desk.apply(plan, run).done == 6
    desk.attributes(people, "sd")


def test_a_tenant_that_cannot_be_reached_stops_no_other(desk):
    """The others go on to their end, the run stays open, and the error names whom it is about; later the same call finishes."""
    people = numbers(20)
    plan, run = desk.plan(*(creation(tenant, number) for tenant in TENANTS for number in people)), desk.new_run()
    desk.emulator.fault("*", "status", status=503, reason="backendError", tenant="sd", times=None, after=8)
    with pytest.raises(UnreachableError, match="the directory of tenant sd does not answer") as ended:
        desk.apply(plan, run, in_flight=4)
    assert "the other tenants have gone on" in ended.value.hint
    assert run.status() is RunStatus.APPLYING
    with desk.journal(run) as journal:
        done = [step for step in range(40) if journal.is_done(step)]
        assert {step for step in range(20, 40) if journal.is_confirmed(step)} == set(range(20, 40)) <= set(done)
        assert len(done) < 40
    desk.emulator.clear_faults()
    result = desk.apply(plan, run)
    assert (result.done, result.parked) == (40, 0)
    assert desk.attributes(people, "sd") == desk.attributes(people, "smp")


def test_an_account_the_program_cannot_read_is_given_up_at_its_look_and_many_are_not(desk, monkeypatch):
    """Nothing of it is under way, so no start would count it as a death. Where several are such, the fault is the program's own."""
    few, many = numbers(3), numbers(4)
    steps = {
        number: update("sd", number, desk.plant(number), {"suspended": False}, suspended=True) for number in few + many
    }
    read = operations.completed

    def fail(step: Step, body: dict[str, Any], account: Any) -> dict[str, Any]:
        if step.target_id in strange:
            raise ValueError("odd")
        return read(step, body, account)

    monkeypatch.setattr(operations, "completed", fail)
    strange = {steps[few[0]]["target_id"]}
    result = desk.apply(desk.plan(*(steps[number] for number in few)))
    assert (result.done, result.parked_reasons) == (2, {ApplyReason.CRASHED: 1})
    strange = {steps[number]["target_id"] for number in many}
    run, plan = desk.new_run(), desk.plan(*(steps[number] for number in many))
    with pytest.raises(ValueError, match="odd"):
        desk.apply(plan, run)
    monkeypatch.undo()
    assert desk.apply(plan, run).parked == FAULTS_PARKED_MAX


def test_a_refused_token_stops_all_tenants_cleanly(desk):
    """What came back is committed, what was not sent is untouched, and the same call goes on later."""
    people = numbers(60)
    plan = desk.plan(*(creation(tenant, number) for tenant in TENANTS for number in people))
    desk.emulator.fault("users.insert", "status", status=401, reason="authError", times=None, after=40)
    run = desk.new_run()
    with pytest.raises(DirectoryError, match="does not take our token"):
        desk.apply(plan, run, in_flight=8)
    assert run.status() is RunStatus.APPLYING
    with desk.journal(run) as journal:
        assert 40 - 16 <= journal.settled_count <= 40
        assert len(journal.open_intents()) <= 16
    desk.emulator.clear_faults()
    result = desk.apply(plan, run)
    assert (result.done, result.parked) == (120, 0)
    assert desk.attributes(people, "sd") == desk.attributes(people, "smp")


def test_an_abandoned_run_keeps_its_addresses(desk):
    """It is over; what it did stands, and its addresses stay with their owners."""
    people = numbers(30)
    plan = desk.plan(*(creation("sd", number) for number in people))
    desk.emulator.fault("users.insert", "status", status=401, reason="authError", times=None, after=5)
    run = desk.new_run()
    with pytest.raises(DirectoryError):
        desk.apply(plan, run)
    with StateLock(desk.state, purpose="test") as lock:
        abandon_run(lock, run, plan, CLOCK)
    assert run.status() is RunStatus.ABANDONED
    assert read_ledger(desk.state).height == 30
    with pytest.raises(PlanError, match="run is abandoned"):
        desk.apply(plan, run)


def test_a_run_with_a_damaged_journal_can_be_abandoned(desk):
    """Applying says what to do, and doing it works."""
    plan = desk.plan(creation("sd", numbers(1)[0]))
    run = desk.new_run()
    Journal.create(run.journal, {"plan_digest": plan.digest}, steps=1, clock=CLOCK).close()
    run.journal.write_bytes(run.journal.read_bytes()[:4_096])
    with pytest.raises(PlanError, match="journal is damaged") as refused:
        desk.apply(plan, run)
    assert "or abandon the run" in refused.value.hint
    with StateLock(desk.state, purpose="test") as lock:
        abandon_run(lock, run, plan, CLOCK)
    assert run.status() is RunStatus.ABANDONED


def test_an_empty_plan_closes_at_once(desk):
    """A plan of no-ops asks the directory nothing."""
    assert desk.apply(desk.plan()).tenants == ()
    assert desk.runs[-1].status() is RunStatus.CLOSED


def apply_until_it_ends(desk: Desk, plan: Plan) -> ApplyResult:
    """Apply, and go on as often as the directory does not answer."""
    run = desk.new_run()
    for _ in range(10):
        with contextlib.suppress(DirectoryError):
            return desk.apply(plan, run, attempts=100)
    raise AssertionError("no end after ten starts")


METHODS = {
    "users.insert": ["drop-before", "drop-after", "status", "status-after", "bogus-409-after"],
    "users.update": ["drop-before", "drop-after", "status", "status-after", "bogus-409-after"],
    "users.get": ["drop-before", "status"],
    "users.list": ["drop-before", "status"],
}


@settings(max_examples=30, deadline=None)
@given(
    script=st.lists(
        st.sampled_from([(method, kind) for method, kinds in METHODS.items() for kind in kinds]).flatmap(
            lambda pair: st.tuples(st.just(pair[0]), st.just(pair[1]), st.integers(0, 12), st.integers(1, 3))
        ),
        max_size=8,
    )
)
def test_whatever_the_faults_each_step_is_done_once(emulator, directories, tmp_path_factory, script):
    """Any few faults at any calls, also so many that applying gives up in between: every account is there once, every change is made."""
    desk = Desk(emulator, directories, tmp_path_factory.mktemp("faults") / "state")
    created, changed = numbers(6), numbers(3)
    rows = [creation("sd", number) for number in created]
    rows += [update("sd", n, desk.plant(n), {"suspended": False}, suspended=True) for n in changed]
    for method, kind, after, times in script:
        emulator.fault(method, kind, after=after, times=times)
    try:
        result = apply_until_it_ends(desk, desk.plan(*rows))
    finally:
        emulator.clear_faults()
    assert (result.done, result.parked_reasons, result.remaining) == (9, {}, 0)
    there = desk.accounts()
    assert [(len(there[marker("sd", n)]), there[marker("sd", n)][0]["inserts"]) for n in created] == [(1, 1)] * 6
    assert [there[marker("sd", n)][0]["account"]["suspended"] for n in changed] == [True] * 3


def test_counts_add_up(desk):
    """Done, parked, held and remaining are all steps, by tenant."""
    people = numbers(8)
    rows = [creation("sd", number) for number in people[:5]] + [creation("smp", number) for number in people[5:]]
    rows[1]["held_by"] = "suspensions_per_kabkota"
    rows[2]["ou_path"] = "/Tidak/Ada"
    plan = desk.plan(*rows)
    result = desk.apply(plan)
    counted = {tenant.tenant: (tenant.done, tenant.parked, tenant.held, tenant.remaining) for tenant in result.tenants}
    assert counted == {"sd": (3, 1, 1, 0), "smp": (3, 0, 0, 0)}
    by_tenant = Counter(plan.steps.whole().select(pl.col("tenant")).to_series().to_list())
    assert {tenant: sum(counts) for tenant, counts in counted.items()} == by_tenant
