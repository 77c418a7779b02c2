"""Reconciling one part: what becomes of every pair of desired and observed account."""

from __future__ import annotations

from datetime import date

import polars as pl

from belajarid_recon.reconcile import ALIASES, DELETABLE, NO_CONTACT, NOTICES, Remembered, reconcile_part
from belajarid_recon.schemas import ACCOUNT_ATTRIBUTES, DESIRED, OBSERVED, Standing

NOBODY = pl.Series([], dtype=pl.Binary)


def key(number: int) -> bytes:
    """Account key of the synthetic person `number` in sd."""
    return number.to_bytes(16, "big") + b"\x01"


def desired(number: int, **changes: object) -> dict[str, object]:
    """An active pupil."""
    return {
        "account_key": key(number),
        "person_id": number.to_bytes(16, "big"),
        "jenjang": "sd",
        "role": "pupil",
        "standing": Standing.ACTIVE.value,
        "reason": "pupil",
        "kode_kabkota": "036400",
        "nama": "Budi Santoso",
        "domain": "sd.belajar.id",
        "accepted_domains": [],
        "given_name": "Budi",
        "family_name": "Santoso",
        "ou_path": "/Jawa Tengah/Kota Tegal/Siswa",
        "npsn": "20328765",
        "listed": False,
        "suspended": False,
        "offers_email": False,
        "offers_phone": False,
        "contact_reason": None,
    } | changes


def observed(number: int, **changes: object) -> dict[str, object]:
    """The account that agrees with `desired(number)`."""
    return {
        "account_key": key(number),
        "tenant": "sd",
        "id": f"id-{number}",
        "user_id": f"budi.santoso{number:04}",
        "domain": "sd.belajar.id",
        "given_name": "Budi",
        "family_name": "Santoso",
        "ou_path": "/Jawa Tengah/Kota Tegal/Siswa",
        "npsn": "20328765",
        "listed": False,
        "suspended": False,
        "is_admin": False,
        "aliases": None,
        "has_recovery_email": False,
        "has_recovery_phone": False,
        "read_at": None,
    } | changes


def changes(wanted, seen, ours=NOBODY, **known):
    """Reconcile these rows."""
    return reconcile_part(
        pl.DataFrame(wanted, schema=DESIRED),
        pl.DataFrame(seen, schema=OBSERVED),
        remembered=Remembered(ours, **known),
        seed=7,
        threads=1,
    )


def only(result):
    """The one proposal there is."""
    assert result.proposals.height == 1
    return result.proposals.row(0, named=True)


def tally(result, name):
    """The count under a name."""
    return result.tallies.filter(pl.col("name") == name)["count"].sum()


def test_agreement_is_a_no_op():
    """Equal rows give no step and are counted."""
    result = changes([desired(1), desired(2)], [observed(2), observed(1)])
    assert result.proposals.is_empty()
    assert tally(result, "no-op") == 2


def test_a_missing_account_is_created_with_every_attribute():
    """A creation carries all that is written and the name the user ID is made from."""
    row = only(changes([desired(1)], []))
    assert row["action"] == "create"
    assert (row["nama"], row["domain"], row["npsn"], row["target_id"]) == (
        "Budi Santoso",
        "sd.belajar.id",
        "20328765",
        None,
    )


def test_only_differing_attributes_are_written():
    """A move of school writes the NPSN and nothing else, and remembers what stood there."""
    row = only(changes([desired(1, npsn="20399999")], [observed(1)]))
    assert row["action"] == "move"
    assert row["npsn"] == "20399999"
    assert [row[name] for name in ("domain", "given_name", "family_name", "ou_path", "listed", "suspended")] == [
        None
    ] * 6
    assert row["before"] == '{"npsn":"20328765"}'


def test_both_names_go_together():
    """The directory replaces the name object whole, so one changed word writes both."""
    row = only(changes([desired(1, given_name='Bu"di')], [observed(1)]))
    assert (row["action"], row["given_name"], row["family_name"]) == ("update", 'Bu"di', "Santoso")
    assert row["before"] == '{"given_name":"Budi"}'


def test_role_changes_are_promotions_and_demotions():
    """The local part stays; the domain tells the direction; everything else goes into the same call."""
    guru = {"domain": "guru.sd.belajar.id", "ou_path": "/Jawa Tengah/Kota Tegal/Guru", "listed": True}
    admin = {"domain": "admin.sd.belajar.id", "ou_path": "/Jawa Tengah/Kota Tegal/Admin", "listed": True}
    up = only(changes([desired(1, **admin)], [observed(1, **guru)]))
    assert (up["action"], up["domain"], up["ou_path"], up["user_id"]) == (
        "promote",
        "admin.sd.belajar.id",
        "/Jawa Tengah/Kota Tegal/Admin",
        "budi.santoso0001",
    )
    assert only(changes([desired(1, **guru)], [observed(1, **admin)]))["action"] == "demote"


def test_an_accepted_older_domain_stays():
    """An educator who already has the 2021 form of a domain is not renamed; a new one gets today's."""
    today = desired(1, domain="guru.kesetaraan.belajar.id", accepted_domains=["pendidik.kesetaraan.belajar.id"])
    kept = changes([today], [observed(1, domain="pendidik.kesetaraan.belajar.id")])
    assert kept.proposals.is_empty()
    assert only(changes([today], []))["domain"] == "guru.kesetaraan.belajar.id"


def test_a_leaver_is_suspended_once():
    """An exit code suspends a live account and leaves a suspended one alone."""
    left = desired(1, standing=Standing.LEAVER.value, reason="left-graduated", domain=None, given_name=None)
    row = only(changes([left], [observed(1)]))
    assert (row["action"], row["reason"], row["suspended"]) == ("suspend", "left-graduated", True)
    again = changes([left], [observed(1, suspended=True)])
    assert again.proposals.is_empty()
    assert tally(again, "already-suspended") == 1


def test_absence_is_not_departure():
    """An account whose person the register no longer mentions gets a reason and no step."""
    result = changes([], [observed(1)])
    assert result.proposals.is_empty()
    assert tally(result, "absent-from-register") == 1


def test_a_person_without_eligibility_keeps_the_account():
    """Losing a class is no exit: the reason is the register's, and there is no step."""
    result = changes([desired(1, standing=Standing.INELIGIBLE.value, reason="no-class")], [observed(1)])
    assert result.proposals.is_empty()
    assert tally(result, "no-class") == 1


def test_only_our_own_suspensions_are_lifted():
    """Somebody else's suspension stays; ours is restored when the person is back."""
    theirs = changes([desired(1)], [observed(1, suspended=True)])
    assert theirs.proposals.is_empty()
    assert tally(theirs, "suspended-by-other") == 1
    row = only(changes([desired(1)], [observed(1, suspended=True)], ours=pl.Series([key(1)], dtype=pl.Binary)))
    assert (row["action"], row["suspended"]) == ("restore", False)


def test_a_foreign_suspension_does_not_stop_other_changes():
    """The name of a suspended account still follows the register."""
    row = only(changes([desired(1, given_name="Budiman")], [observed(1, suspended=True)]))
    assert (row["action"], row["given_name"], row["suspended"]) == ("update", "Budiman", None)


def test_administrators_are_never_touched():
    """Neither a change nor an exit code reaches an account with console rights."""
    result = changes([desired(1, npsn="20399999")], [observed(1, is_admin=True)])
    assert result.proposals.is_empty()
    left = changes([desired(1, standing=Standing.LEAVER.value, reason="left-retired")], [observed(1, is_admin=True)])
    assert left.proposals.is_empty()
    assert tally(result, "administrator-untouched") == tally(left, "administrator-untouched") == 1


def test_two_accounts_with_one_marker_get_no_step():
    """Doubt is for a person to settle: neither account is changed, and the finding is counted."""
    result = changes([desired(1, npsn="20399999")], [observed(1), observed(1, id="id-other")])
    assert result.proposals.is_empty()
    assert tally(result, "marker-on-two-accounts") == 1


BOTH = {"offers_email": True, "offers_phone": True}
THERE = {"has_recovery_email": True, "has_recovery_phone": True}


def test_a_creation_writes_what_the_register_offers():
    """The contacts are named, their values are elsewhere."""
    assert only(changes([desired(1, **BOTH)], []))["recovery"] == "email,phone"
    assert only(changes([desired(1, offers_phone=True)], []))["recovery"] == "phone"
    assert only(changes([desired(1)], []))["recovery"] is None


def test_an_account_without_a_contact_gets_it_and_one_with_it_keeps_it():
    """Only what the directory has not is written; what is there may be the owner's."""
    row = only(changes([desired(1, **BOTH)], [observed(1)]))
    assert (row["action"], row["recovery"], row["before"]) == ("update", "email,phone", '{"recovery":null}')
    assert [row[name] for name in ACCOUNT_ATTRIBUTES] == [None] * len(ACCOUNT_ATTRIBUTES)
    half = only(changes([desired(1, **BOTH)], [observed(1, has_recovery_email=True)]))
    assert half["recovery"] == "phone"
    full = changes(
        [desired(1, **BOTH), desired(2), desired(3, offers_phone=True)], [observed(n, **THERE) for n in (1, 2, 3)]
    )
    assert full.proposals.is_empty()
    assert tally(full, "no-op") == 3


def test_a_contact_goes_with_another_change():
    """One call for both; the action is named after the change."""
    row = only(changes([desired(1, npsn="20399999", **BOTH)], [observed(1)]))
    assert (row["action"], row["npsn"], row["recovery"]) == ("move", "20399999", "email,phone")
    assert row["before"] == '{"npsn":"20328765","recovery":null}'


def test_nobody_gets_a_contact_whom_a_plan_does_not_touch():
    """Administrators, two accounts of one marker, leavers and people without eligibility stay as they are."""
    admin = changes([desired(1, **BOTH)], [observed(1, is_admin=True)])
    assert admin.proposals.is_empty()
    assert tally(admin, "administrator-untouched") == 1
    twice = changes([desired(1, **BOTH)], [observed(1), observed(1, id="id-other")])
    assert twice.proposals.is_empty()
    gone = desired(1, standing=Standing.LEAVER.value, reason="left-retired", offers_email=None, offers_phone=None)
    assert only(changes([gone], [observed(1)]))["recovery"] is None


def test_a_foreign_suspension_stays_when_a_contact_is_written():
    """The contact is written, the suspension is not lifted."""
    row = only(changes([desired(1, **BOTH)], [observed(1, suspended=True)]))
    assert (row["action"], row["recovery"], row["suspended"]) == ("update", "email,phone", None)
    assert row["before"] == '{"recovery":null}'


def test_staff_without_a_way_of_recovery_are_counted_by_school():
    """Whoever has nothing in the register and nothing in the directory, with the reason, whether the account is there or not."""
    missing = {"role": "guru", "contact_reason": "contact-missing"}
    wanted = [
        desired(1, **missing),
        desired(2, **missing),
        desired(3, **missing),
        desired(4, **missing, npsn="20399999"),
        desired(5, role="guru", contact_reason="contact-shared"),
        desired(6, role="guru", offers_phone=True),
        desired(7),
    ]
    seen = [observed(1), observed(2, has_recovery_phone=True), observed(5), observed(6), observed(7)]
    counted = changes(wanted, seen).no_contact.sort("npsn", "reason")
    assert counted.schema == NO_CONTACT
    assert counted.rows() == [
        ("sd", "20328765", "contact-missing", 2),
        ("sd", "20328765", "contact-shared", 1),
        ("sd", "20399999", "contact-missing", 1),
    ]


def test_everybody_is_counted_once():
    """Proposals, no-ops and reasons together are all desired rows and all observed strangers."""
    wanted = [desired(n, **(BOTH if n % 2 else {})) for n in range(10)] + [
        desired(20, standing=Standing.LEAVER.value, reason="left-retired"),
        desired(21, standing=Standing.INELIGIBLE.value, reason="no-class"),
    ]
    seen = [observed(n, npsn="1" if n == 3 else "20328765") for n in range(5)] + [observed(20), observed(77)]
    result = changes(wanted, seen)
    assert result.proposals.height + result.tallies["count"].sum() == len(wanted) + 1


def test_bases_count_live_accounts_by_kota():
    """The base of a share is what could be suspended: accounts that are not suspended yet."""
    result = changes([desired(1), desired(2)], [observed(1), observed(2, suspended=True), observed(9)])
    assert sorted(result.bases.drop("members").rows(), key=str) == [("sd", "036400", 1, 0), ("sd", None, 1, 0)]


def announced(since=date(2025, 6, 1), delivered=date(2026, 1, 1), address="budi.santoso0001@sd.belajar.id"):
    """What a deletion of person 1's account needs: our suspension of that day, and a notice delivered on the other."""
    return {
        "deletable": pl.DataFrame([(key(1), since)], schema=DELETABLE, orient="row"),
        "notices": pl.DataFrame([(address, delivered)], schema=NOTICES, orient="row"),
    }


LEAVER = {"standing": Standing.LEAVER.value, "reason": "graduated", "role": None, "domain": None}


def test_a_leaver_whose_end_was_announced_is_deleted():
    """By immutable id, with nothing written; and it needs the suspension, the notice, and the notice after the suspension."""
    row = only(changes([desired(1, **LEAVER)], [observed(1, suspended=True)], **announced()))
    assert (row["action"], row["reason"], row["target_id"]) == ("delete", "graduated", "id-1")
    assert (row["suspended"], row["before"]) == (None, None)
    too_early = announced(delivered=date(2025, 5, 31))
    for known in ({}, too_early, announced(address="budi.santoso0002@sd.belajar.id")):
        result = changes([desired(1, **LEAVER)], [observed(1, suspended=True)], **known)
        assert result.proposals.is_empty()
        assert tally(result, "already-suspended") == 1


def test_nobody_else_is_deleted():
    """Not who is enrolled again, whom the register does not mention, who is an administrator, or whose account is in use."""
    gone = observed(1, suspended=True)
    assert changes([desired(1)], [gone], **announced()).proposals.is_empty()
    assert changes([], [gone], **announced()).proposals.is_empty()
    assert changes([desired(1, **LEAVER)], [gone | {"is_admin": True}], **announced()).proposals.is_empty()
    assert only(changes([desired(1, **LEAVER)], [observed(1)], **announced()))["action"] == "suspend"


def test_an_alias_in_the_way_of_its_own_accounts_rename_is_removed():
    """A teacher who was an administrator and is one again: Google refuses a rename onto an alias, also one's own."""
    admin = {"domain": "admin.sd.belajar.id", "ou_path": "/Jawa Tengah/Kota Tegal/Admin", "listed": True}
    before = observed(1, domain="guru.sd.belajar.id", aliases="budi.santoso0001@admin.sd.belajar.id x@sd.belajar.id")
    result = changes([desired(1, **admin)], [before])
    assert result.proposals["action"].to_list() == ["promote", "remove-alias"]
    removal = result.proposals.row(1, named=True)
    assert (removal["alias"], removal["target_id"]) == ("budi.santoso0001@admin.sd.belajar.id", "id-1")
    assert (removal["domain"], removal["ou_path"], removal["before"]) == (None, None, None)
    elsewhere = before | {"aliases": "budi.santoso00011@admin.sd.belajar.id abudi.santoso0001@admin.sd.belajar.id"}
    assert changes([desired(1, **admin)], [elsewhere]).proposals["action"].to_list() == ["promote"]


def asked(*rows):
    """What people asked for: address, alias, wanted, in sight, owner."""
    return {"aliases": pl.DataFrame(rows, schema=ALIASES, orient="row")}


def test_aliases_people_ask_for_are_added_and_removed():
    """Where they differ from what is there, and only of an active person's account."""
    mine, alias = "budi.santoso0001@sd.belajar.id", "budi.baru@sd.belajar.id"
    row = only(changes([desired(1)], [observed(1)], **asked((mine, alias, True, False, None))))
    assert (row["action"], row["alias"], row["target_id"]) == ("add-alias", alias, "id-1")
    has = observed(1, aliases=alias)
    assert only(changes([desired(1)], [has], **asked((mine, alias, False, True, None))))["action"] == "remove-alias"
    for seen, wanted in ((has, True), (observed(1), False)):
        result = changes([desired(1)], [seen], **asked((mine, alias, wanted, True, None)))
        assert result.proposals.is_empty()
        assert result.tallies.filter(pl.col("kind") == "alias-found")["count"].sum() == 1
    assert changes([desired(1, **LEAVER)], [has], **asked((mine, alias, False, True, None))).proposals[
        "alias"
    ].to_list() == [None]


def test_an_alias_somebody_has_or_had_is_not_given():
    """In sight, or in the ledger for another; one's own user ID, or one that the ledger gave to oneself, is free."""
    mine, alias = "budi.santoso0001@sd.belajar.id", "budi.baru@sd.belajar.id"
    for in_sight, owner in ((True, None), (True, key(1)), (False, key(2))):
        result = changes([desired(1)], [observed(1)], **asked((mine, alias, True, in_sight, owner)))
        assert result.proposals.is_empty()
        assert tally(result, "alias-taken") == 1
    own = "budi.santoso0001@guru.sd.belajar.id"
    assert only(changes([desired(1)], [observed(1)], **asked((mine, own, True, True, None))))["alias"] == own
    assert only(changes([desired(1)], [observed(1)], **asked((mine, alias, True, False, key(1)))))["alias"] == alias
