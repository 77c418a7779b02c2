"""The snapshot: everything the directories said, once, in one order, with one digest."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from belajarid_recon.components import ScaledClock, SystemRandomness
from belajarid_recon.directory.chains import CHAIN_STARTS_MAX
from belajarid_recon.directory.connect import connect
from belajarid_recon.directory.interface import Account, Page, Reply, StaleTokenError
from belajarid_recon.directory.observed import (
    FINDING_FOREIGN,
    FINDING_MALFORMED,
    FINDING_SEVERAL,
    ObservedColumns,
    account_key_of,
    carries_marker,
    npsn_of,
    shows_marker,
)
from belajarid_recon.directory.snapshot import (
    SnapshotFacts,
    SnapshotRequest,
    address_files,
    orgunits,
    read_addresses,
    read_deleted,
    read_facts,
    read_part,
    read_unmarked,
    snapshot_digest,
    take_snapshot,
    take_snapshots,
)
from belajarid_recon.emulator.launch import EmulatorProcess
from belajarid_recon.emulator.settings import EmulatorSettings
from belajarid_recon.errors import DirectoryError, InputError, ReconError, SettingsError
from belajarid_recon.schemas import ADDRESSES, DELETED, JENJANG_CODE, OBSERVED, Jenjang
from belajarid_recon.settings import Settings
from directory_server import SteppedClock


@dataclass
class ListedDirectory:
    """One tenant in memory, with pages of a size of its own and lists that fail as told."""

    jenjang: Jenjang = Jenjang.SD
    live: list[dict[str, Any]] = field(default_factory=list)
    removed: list[dict[str, Any]] = field(default_factory=list)
    units: set[str] = field(default_factory=lambda: {"/Jawa Barat"})
    customer: str = "C0sd"
    page: int = 7
    stale_at: list[int] = field(default_factory=list)
    """Numbers of page calls that find their token expired."""
    calls: Iterator[int] = field(default_factory=count)
    next_token: Callable[[int], str] = str

    @property
    def tenant(self) -> str:
        """The jenjang."""
        return str(self.jenjang)

    def customer_id(self) -> str:
        """The customer."""
        return self.customer

    def domains(self) -> list[str]:
        """The three domains of a jenjang."""
        return [f"{prefix}{self.jenjang}.belajar.id" for prefix in ("", "guru.", "admin.")]

    def orgunit_paths(self) -> set[str]:
        """The units."""
        return self.units

    def list_accounts(self, domain: str, token: str | None, *, deleted: bool = False) -> Page:
        """A page, or a stale token."""
        if next(self.calls) in self.stale_at and token is not None:
            raise StaleTokenError("stale")
        accounts = self.removed if deleted else self.live
        listed = [account for account in accounts if account["primaryEmail"].lower().endswith("@" + domain)]
        start = int(token or 0)
        more = start + self.page < len(listed)
        # Parsed from bytes, as they come over the wire.
        page = orjson.loads(orjson.dumps(listed[start : start + self.page]))
        return Page(page, self.next_token(start + self.page) if more else None)

    def get_account(self, key: str) -> Account | None:
        """Not asked for by a snapshot."""
        raise NotImplementedError

    def find_by_marker(self, marker: str) -> list[dict[str, Any]]:
        """Not asked for by a snapshot."""
        raise NotImplementedError

    def insert_account(self, body: Mapping[str, Any]) -> Reply:
        """Not asked for by a snapshot."""
        raise NotImplementedError

    def update_account(self, account_id: str, body: Mapping[str, Any]) -> Reply:
        """Not asked for by a snapshot."""
        raise NotImplementedError

    def insert_orgunit(self, parent_path: str, name: str) -> Reply:
        """Not asked for by a snapshot."""
        raise NotImplementedError


def account(number: int, jenjang: Jenjang = Jenjang.SD, **changes: Any) -> dict[str, Any]:
    """A pupil's account as this engine makes it; its marker is spread over all parts."""
    marker = random.Random(number).randbytes(16).hex()  # noqa: S311 - test data
    made = {
        "id": str(10**20 + number),
        "primaryEmail": f"budi.santoso{number:04}@{jenjang}.belajar.id",
        "name": {"givenName": "Budi", "familyName": "Santoso"},
        "orgUnitPath": "/Jawa Barat",
        "organizations": [{"costCenter": "20100100"}],
        "externalIds": [{"type": "custom", "customType": "recon", "value": f"{marker}.{jenjang}"}],
        "includeInGlobalAddressList": False,
        "suspended": False,
        "isAdmin": False,
        "isDelegatedAdmin": False,
    }
    return {name: value for name, value in (made | changes).items() if value is not None}


def request_for(folder: Path, **changes: Any) -> SnapshotRequest:
    """A request as a run makes it."""
    customers = {jenjang: f"C0{jenjang}" for jenjang in Jenjang}
    made = SnapshotRequest(folder=folder, customer_ids=customers, parts=4, threads=2, clock=SteppedClock())
    return replace(made, **changes)


def sealed(directory: ListedDirectory, folder: Path, **changes: Any) -> SnapshotFacts:
    """A snapshot of one tenant."""
    return take_snapshot(directory, directory.jenjang, request_for(folder, **changes))


def marked_rows(folder: Path) -> pl.DataFrame:
    """All parts, one after the other."""
    return pl.concat([read_part(folder, part) for part in range(read_facts(folder).parts)])


def test_every_account_is_there_once_with_its_attributes(tmp_path: Path) -> None:
    """What the directory listed is what the parts and the unmarked file hold, attribute by attribute."""
    plain = account(1)
    stranger = account(
        2, externalIds=None, primaryEmail="Kepala.Sekolah@GURU.sd.belajar.id", name=None, organizations=None
    )
    admin = account(3, isDelegatedAdmin=True, suspended=True, includeInGlobalAddressList=None)
    facts = sealed(ListedDirectory(live=[plain, stranger, admin]), tmp_path / "s")
    assert (facts.accounts, facts.tenants["sd"]["marked"], facts.tenants["sd"]["unmarked"]) == (3, 2, 1)
    rows = {row["id"]: row for row in marked_rows(tmp_path / "s").to_dicts()}
    assert rows[plain["id"]] | {"read_at": None} == {
        "account_key": bytes.fromhex(plain["externalIds"][0]["value"][:32]) + bytes([JENJANG_CODE[Jenjang.SD]]),
        "tenant": "sd", "id": plain["id"], "user_id": "budi.santoso0001", "domain": "sd.belajar.id",
        "given_name": "Budi", "family_name": "Santoso", "ou_path": "/Jawa Barat", "npsn": "20100100",
        "listed": False, "suspended": False, "is_admin": False, "aliases": None, "has_recovery_email": False,
        "has_recovery_phone": False, "read_at": None,
    }  # fmt: skip
    assert (rows[admin["id"]]["is_admin"], rows[admin["id"]]["suspended"], rows[admin["id"]]["listed"]) == (True,) * 3
    (row,) = read_unmarked(tmp_path / "s").to_dicts()
    assert (row["account_key"], row["user_id"], row["domain"]) == (None, "kepala.sekolah", "guru.sd.belajar.id")
    assert (row["given_name"], row["family_name"], row["npsn"]) == (None, None, None)
    assert marked_rows(tmp_path / "s").schema == OBSERVED


def test_of_a_recovery_contact_only_its_presence_is_kept(tmp_path: Path) -> None:
    """The owner's address and number go no further than the page they came on."""
    both = account(1, recoveryEmail="pemilik@example.org", recoveryPhone="+6281234567801")
    live = [both, account(2, recoveryPhone="+6281234567801", externalIds=None), account(3, recoveryEmail="")]
    sealed(ListedDirectory(live=live), tmp_path / "s", parts=1)
    seen = pl.concat([marked_rows(tmp_path / "s"), read_unmarked(tmp_path / "s")]).sort("id")
    assert seen.select("has_recovery_email", "has_recovery_phone").rows() == [
        (True, True),
        (False, True),
        (False, False),
    ]
    for path in tmp_path.rglob("*.*"):
        text = path.read_bytes() if path.suffix != ".parquet" else str(pl.read_parquet(path).rows()).encode()
        assert b"pemilik" not in text
        assert b"81234567801" not in text


def test_parts_are_cut_by_the_markers_top_bits_and_sorted(tmp_path: Path) -> None:
    """Part after part is one order by account key, and each key lies in the part its top bits name."""
    sealed(ListedDirectory(live=[account(number) for number in range(300)]), tmp_path / "s", parts=8)
    for part in range(8):
        keys = read_part(tmp_path / "s", part)["account_key"].to_list()
        assert keys == sorted(keys)
        assert {key[0] >> 5 for key in keys} <= {part}
    assert marked_rows(tmp_path / "s").height == 300


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**32),
    parts=st.sampled_from([1, 2, 4, 16]),
    page=st.integers(1, 50),
    lists_at_once=st.integers(1, 8),
)
def test_the_digest_is_the_contents(
    seed: int, parts: int, page: int, lists_at_once: int, tmp_path_factory: Any
) -> None:
    """Order of accounts, size of pages, parts, threads and instants: one digest. Any change of content: another."""
    folder = tmp_path_factory.mktemp("digests")
    live = [account(number) for number in range(40)] + [account(number, externalIds=None) for number in range(40, 60)]
    one = sealed(ListedDirectory(live=live), folder / "one").digest
    shuffled = random.Random(seed).sample(live, len(live))  # noqa: S311 - test data
    clock = SteppedClock(lambda: 1.0)
    clock.sleep(seed)
    other = sealed(
        ListedDirectory(live=shuffled, page=page), folder / "two",
        parts=parts, lists_at_once=lists_at_once, threads=1, clock=clock,
    )  # fmt: skip
    assert other.digest == one == snapshot_digest(folder / "two")
    changed = random.Random(seed).randrange(len(live))  # noqa: S311 - test data
    live[changed] = live[changed] | {"suspended": True}
    assert sealed(ListedDirectory(live=live), folder / "three").digest != one


@pytest.mark.parametrize(
    "change",
    [
        {"units": {"/Jawa Barat", "/Bali"}},
        {"removed": [account(99, primaryEmail="gone.away0001@sd.belajar.id")]},
        {"live": [account(1), account(2, aliases=["other.name0001@sd.belajar.id"])]},
        {"live": [account(1), account(2, externalIds=None)]},
        {"live": [account(1), account(2, recoveryPhone="+6281234567801")]},
        {"live": [account(1)]},
    ],
    ids=["a unit", "a deleted account", "an alias", "a marker gone", "a recovery phone", "an account gone"],
)
def test_the_digest_sees_everything(change: dict[str, Any], tmp_path: Path) -> None:
    """Units, deleted accounts, aliases and markers are content too."""
    base = {"live": [account(1), account(2)]}
    one = sealed(ListedDirectory(**base), tmp_path / "one").digest
    assert sealed(ListedDirectory(**(base | change)), tmp_path / "two").digest != one


def test_two_accounts_with_one_marker_are_both_kept(tmp_path: Path) -> None:
    """A duplicate is for the comparison to report, not for the snapshot to hide."""
    first = account(1)
    second = account(2) | {"externalIds": first["externalIds"]}
    sealed(ListedDirectory(live=[second, first]), tmp_path / "s")
    assert marked_rows(tmp_path / "s")["id"].to_list() == [first["id"], second["id"]]


def test_an_account_that_moved_to_a_later_page_is_there_once(tmp_path: Path) -> None:
    """Listed twice, because a name moved while the list was read: the later reading stays, and the repeat is counted."""
    early, late = account(1), account(1) | {"suspended": True}
    others = [account(number) for number in range(2, 20)]
    facts = sealed(
        ListedDirectory(live=[early, *others, late], page=5),
        tmp_path / "s",
        clock=_TickingClock(),
    )
    assert (facts.repeated, facts.accounts) == (1, 19)
    rows = marked_rows(tmp_path / "s").filter(pl.col("id") == early["id"])
    assert rows["suspended"].to_list() == [True]


class _TickingClock(SteppedClock):
    """A clock whose every look is a second later."""

    def now(self) -> Any:
        """One second after the last look."""
        self.sleep(1.0)
        return super().now()


@pytest.mark.parametrize(
    ("external_ids", "finding"),
    [
        (None, ""),
        ([], ""),
        ([{"type": "organization", "value": "0" * 32 + ".sd"}], ""),
        ([{"type": "custom", "customType": "other", "value": "0" * 32 + ".sd"}], ""),
        ([{"type": "custom", "customType": "recon"}], FINDING_MALFORMED),
        ([{"type": "custom", "customType": "recon", "value": ""}], FINDING_MALFORMED),
        ([{"type": "custom", "customType": "recon", "value": 7}], FINDING_MALFORMED),
        ([{"type": "custom", "customType": "recon", "value": "0" * 31 + ".sd"}], FINDING_MALFORMED),
        ([{"type": "custom", "customType": "recon", "value": "0" * 34 + ".sd"}], FINDING_MALFORMED),
        ([{"type": "custom", "customType": "recon", "value": "0" * 32}], FINDING_MALFORMED),
        ([{"type": "custom", "customType": "recon", "value": "0" * 32 + ".sd "}], FINDING_MALFORMED),
        ([{"type": "custom", "customType": "recon", "value": "A" * 32 + ".sd"}], FINDING_MALFORMED),
        ([{"type": "custom", "customType": "recon", "value": "00 " * 10 + "00.sd"}], FINDING_MALFORMED),
        ([{"type": "custom", "customType": "recon", "value": "0" * 32 + ".s2"}], FINDING_MALFORMED),
        ([{"type": "custom", "customType": "recon", "value": "0" * 32 + ".smp"}], FINDING_FOREIGN),
        ([{"type": "custom", "customType": "recon", "value": "0" * 32 + ".sd"}] * 2, FINDING_SEVERAL),
    ],
)
def test_a_marker_that_proves_nothing_counts_as_none(external_ids: Any, finding: str) -> None:
    """Damaged, of another jenjang, or not alone: the account is nobody's, and the finding says why."""
    assert account_key_of(external_ids, Jenjang.SD) == (None, finding)


MARKERS = ["0" * 32 + ".sd", "1" * 32 + ".sd", "0" * 32 + ".smp", "A" * 32 + ".sd", "?", None]


@given(
    st.lists(
        st.fixed_dictionaries(
            {"value": st.sampled_from(MARKERS)},
            optional={
                "type": st.sampled_from(["custom", "account"]),
                "customType": st.sampled_from(["recon", "other"]),
            },
        ),
        max_size=3,
    )
)
def test_all_readings_of_a_marker_agree(external_ids: Any) -> None:
    """A plan's key, the answer to "is it this person's" and the answer to "is it anybody's" come from one reader."""
    account = {"externalIds": external_ids}
    key, finding = account_key_of(external_ids, Jenjang.SD)
    carried = [marker for marker in MARKERS[:2] if carries_marker(account, str(marker))]
    assert carried == ([] if key is None else [f"{key[:16].hex()}.sd"])
    assert shows_marker(account) == (key is not None or finding != "")
    assert not carries_marker(account, "A" * 32 + ".sd")


@given(st.binary(min_size=16, max_size=16), st.sampled_from(list(Jenjang)))
def test_a_marker_round_trips(marker: bytes, jenjang: Jenjang) -> None:
    """What a plan writes into externalIds is read back as the same account key."""
    entry = {"type": "custom", "customType": "recon", "value": f"{marker.hex()}.{jenjang}"}
    assert account_key_of([{"type": "organization", "value": "x"}, entry], jenjang) == (
        marker + bytes([JENJANG_CODE[jenjang]]),
        "",
    )


@given(st.text(max_size=40))
def test_no_text_is_taken_for_a_marker_by_accident(value: str) -> None:
    """Random values of the right type: unmarked, without an exception."""
    key, finding = account_key_of([{"type": "custom", "customType": "recon", "value": value}], Jenjang.SD)
    assert key is None
    assert finding in {FINDING_MALFORMED, FINDING_FOREIGN}


def test_findings_are_counted_by_tenant(tmp_path: Path) -> None:
    """The snapshot's facts say how many markers were not taken, and why; the accounts are among the unmarked."""
    strange = [
        account(number, externalIds=[{"type": "custom", "customType": "recon", "value": value}])
        for number, value in enumerate(["?", "0" * 32 + ".smp", "1" * 32 + ".smp"])
    ]
    facts = sealed(ListedDirectory(live=[*strange, account(9)]), tmp_path / "s")
    assert facts.tenants["sd"]["findings"] == {FINDING_MALFORMED: 1, FINDING_FOREIGN: 2}
    assert read_unmarked(tmp_path / "s").height == 3


@pytest.mark.parametrize(
    ("organizations", "npsn"),
    [
        (None, None),
        ([{}], None),
        ([{"costCenter": "1"}, {"costCenter": "2"}], "1"),
        ([{"costCenter": "1"}, {"costCenter": "2", "primary": True}], "2"),
        ([{"name": "x", "primary": True}, {"costCenter": "2"}], "2"),
    ],
)
def test_the_npsn_is_the_primary_organisations_cost_centre(organizations: Any, npsn: str | None) -> None:
    """School administrators may have added organisations of their own."""
    assert npsn_of(organizations) == npsn


def test_every_address_in_sight_blocks_its_local_part(tmp_path: Path) -> None:
    """Primary addresses, aliases, Google's own aliases and deleted accounts: each local part once a tenant, nobody's own."""
    live = [
        account(
            1, aliases=["Old.Name0001@sd.belajar.id"], nonEditableAliases=["budi.santoso0001@sd.test-google-a.com"]
        ),
        account(2, primaryEmail="budi.santoso0001@guru.sd.belajar.id"),
    ]
    removed = [account(3, primaryEmail="gone.away0001@sd.belajar.id", aliases=["gone.alias0001@sd.belajar.id"])]
    facts = sealed(ListedDirectory(live=live, removed=removed), tmp_path / "s")
    addresses = read_addresses(tmp_path / "s")
    assert addresses.schema == ADDRESSES
    assert addresses["user_id"].to_list() == ["budi.santoso0001", "gone.alias0001", "gone.away0001", "old.name0001"]
    assert set(addresses["tenant"]) == {"sd"}
    assert addresses["owner"].null_count() == addresses.height
    files = address_files(tmp_path / "s")
    assert pl.concat(map(pl.read_parquet, files)).equals(addresses)
    files[0].write_bytes(files[0].read_bytes()[:-1])
    with pytest.raises(InputError, match="a file of the snapshot is damaged"):
        address_files(tmp_path / "s")
    files[0].unlink()
    with pytest.raises(InputError, match="a file of the snapshot is missing"):
        address_files(tmp_path / "s")
    assert facts.tenants["sd"]["domains"]["sd.belajar.id"] == {"accounts": 1, "deleted": 1}


def test_deleted_accounts_are_kept_with_their_ids_and_markers(tmp_path: Path) -> None:
    """Only an id restores one; whose it was is known where the list still shows its marker."""
    removed = [
        account(3, primaryEmail="Gone.Away0001@guru.sd.belajar.id"),
        account(4, externalIds=None),
        account(3, primaryEmail="Gone.Away0001@guru.sd.belajar.id"),
    ]
    facts = sealed(ListedDirectory(live=[account(1)], removed=removed), tmp_path / "s")
    gone = read_deleted(tmp_path / "s")
    assert gone.schema == DELETED
    key = bytes.fromhex(removed[0]["externalIds"][0]["value"][:32]) + bytes([JENJANG_CODE[Jenjang.SD]])
    assert gone.rows() == [
        (key, "sd", removed[0]["id"], "gone.away0001", "guru.sd.belajar.id"),
        (None, "sd", removed[1]["id"], "budi.santoso0004", "sd.belajar.id"),
    ]
    without = sealed(ListedDirectory(live=[account(1)], removed=removed[1:2]), tmp_path / "t")
    assert without.digest != facts.digest
    assert sealed(ListedDirectory(live=[account(1)], removed=removed[::-1]), tmp_path / "u").digest == facts.digest
    assert read_deleted(tmp_path / "s").height == 2
    (tmp_path / "s" / "deleted" / "accounts.parquet").write_bytes(b"")
    with pytest.raises(InputError, match="a file of the snapshot is damaged"):
        read_deleted(tmp_path / "s")


def test_aliases_are_sorted_and_lower_case(tmp_path: Path) -> None:
    """One text an account, so that the order in which a server lists them is no difference."""
    sealed(ListedDirectory(live=[account(1, aliases=["X.y@sd.belajar.id", "a.b@sd.belajar.id"])]), tmp_path / "s")
    assert marked_rows(tmp_path / "s")["aliases"].to_list() == ["a.b@sd.belajar.id x.y@sd.belajar.id"]


def test_tenants_are_read_side_by_side(tmp_path: Path) -> None:
    """Seven tenants in one snapshot: every account under its own tenant and jenjang code, units apart."""
    directories = {
        jenjang: ListedDirectory(
            jenjang,
            live=[account(number, jenjang) for number in range(20)],
            customer=f"C0{jenjang}",
            units={f"/{jenjang}"},
        )
        for jenjang in Jenjang
    }
    seen: list[int] = []
    facts = take_snapshots(directories, request_for(tmp_path / "s", report=lambda _, accounts: seen.append(accounts)))
    rows = marked_rows(tmp_path / "s")
    assert (rows.height, sum(seen), facts.accounts) == (140, 140, 140)
    assert {(row["tenant"], row["account_key"][16]) for row in rows.to_dicts()} == {
        (str(jenjang), code) for jenjang, code in JENJANG_CODE.items()
    }
    assert orgunits(tmp_path / "s", "smk") == {"/smk"}
    assert read_facts(tmp_path / "s") == facts


def test_an_empty_directory_has_a_snapshot(tmp_path: Path) -> None:
    """Week 1: nothing there, and every table has its columns."""
    facts = sealed(ListedDirectory(), tmp_path / "s")
    assert facts.accounts == 0
    assert marked_rows(tmp_path / "s").schema == OBSERVED
    assert read_unmarked(tmp_path / "s").schema == OBSERVED
    assert read_addresses(tmp_path / "s").schema == ADDRESSES


def test_another_customer_is_refused_before_a_list_is_read(tmp_path: Path) -> None:
    """The server's customer id is not the settings': nothing is listed and nothing is left."""
    directory = ListedDirectory(live=[account(1)], customer="C0other")
    with pytest.raises(SettingsError, match="another customer"):
        sealed(directory, tmp_path / "s")
    assert next(directory.calls) == 0
    assert list(tmp_path.iterdir()) == []


def test_a_list_whose_token_expires_starts_again(tmp_path: Path) -> None:
    """A stale token in the middle costs a second reading of that domain, and no account is there twice."""
    live = [account(number) for number in range(50)]
    calm = sealed(ListedDirectory(live=live), tmp_path / "calm")
    facts = sealed(ListedDirectory(live=live, stale_at=[3, 9]), tmp_path / "s", lists_at_once=1)
    assert (facts.digest, facts.repeated) == (calm.digest, 0)


def test_a_list_that_never_ends_well_is_an_error(tmp_path: Path) -> None:
    """Tokens that always expire, or lead back to themselves, are errors after a bounded number of tries; nothing is left."""
    live = [account(number) for number in range(50)]
    stale = ListedDirectory(live=live, stale_at=list(range(1_000)))
    with pytest.raises(DirectoryError, match=f"{CHAIN_STARTS_MAX} times"):
        sealed(stale, tmp_path / "s")
    circle = ListedDirectory(live=live, next_token=lambda _: "7")
    with pytest.raises(DirectoryError, match="round in circles"):
        sealed(circle, tmp_path / "s")
    assert list(tmp_path.iterdir()) == []


def test_one_failed_list_stops_the_others(tmp_path: Path) -> None:
    """A tenant whose list fails ends the snapshot with its error at once, though another tenant's list has no end."""

    class Endless(ListedDirectory):
        """A list that always has a next page."""

        def list_accounts(self, domain: str, token: str | None, *, deleted: bool = False) -> Page:
            del domain, deleted
            time.sleep(0.005)
            number = int(token or 0)
            return Page([account(number)], str(number + 1))

    class Failing(ListedDirectory):
        """A list that fails after a while."""

        def list_accounts(self, domain: str, token: str | None, *, deleted: bool = False) -> Page:
            del domain, token, deleted
            time.sleep(0.05)
            raise DirectoryError("the second tenant fails")

    directories = {
        Jenjang.SD: Endless(),
        Jenjang.SMP: Failing(Jenjang.SMP, customer="C0smp"),
    }
    began = time.monotonic()
    with pytest.raises(DirectoryError, match="the second tenant fails"):
        take_snapshots(directories, request_for(tmp_path / "s"))
    assert time.monotonic() - began < 10.0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("broken", [{"id": None}, {"primaryEmail": 7}])
def test_a_list_with_a_nameless_account_is_not_trusted(broken: dict[str, Any]) -> None:
    """An account without id or address means that the answer is not what it should be."""
    columns = ObservedColumns(Jenjang.SD)
    with pytest.raises(DirectoryError, match="no id or no address"):
        columns.add([account(1, **broken)], SteppedClock().now())


def test_a_snapshot_never_overwrites(tmp_path: Path) -> None:
    """A folder that exists is refused; leftovers of a killed reading are cleared away."""
    (tmp_path / "s.part" / "spool").mkdir(parents=True)
    (tmp_path / "s.part" / "spool" / "rubbish").write_bytes(b"x")
    sealed(ListedDirectory(live=[account(1)]), tmp_path / "s")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s"]
    with pytest.raises(ReconError, match="exists already"):
        sealed(ListedDirectory(), tmp_path / "s")


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    """One changed byte, a missing file, no snapshot at all: an input error that names the file."""
    folder = tmp_path / "s"
    sealed(ListedDirectory(live=[account(number) for number in range(100)]), folder)
    path = folder / "part=001" / "accounts.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"damaged.*part=001"):
        read_part(folder, 1)
    path.unlink()
    with pytest.raises(InputError, match=r"missing.*part=001"):
        read_part(folder, 1)
    with pytest.raises(InputError, match="no snapshot"):
        read_facts(tmp_path / "none")
    (folder / "snapshot.json").write_bytes(b"[]")
    with pytest.raises(InputError, match="no snapshot"):
        read_facts(folder)


def test_reading_a_page_is_cheap() -> None:
    """Columns of 50,000 accounts cost well under 60 microseconds an account, on a machine that has other work too."""
    accounts = [account(number) for number in range(500)]
    columns = ObservedColumns(Jenjang.SD)
    now = SteppedClock().now()
    began = time.process_time()
    for _ in range(100):
        columns.add(accounts, now)
    assert columns.take_frame().height == 50_000
    assert (time.process_time() - began) / 50_000 < 60e-6


def test_the_emulators_accounts_come_over_the_wire(tmp_path: Path) -> None:
    """1,200 planted accounts, three pages: what the emulator holds is what the snapshot says, twice with one digest."""
    jenjang = Jenjang.SMP
    with EmulatorProcess(EmulatorSettings(folder=tmp_path / "emulator", scale=1_000.0, tenants=(jenjang,))) as running:
        planted = [account(number, jenjang, orgUnitPath="/") for number in range(1_200)]
        for one in planted[:200]:
            del one["externalIds"]
        running.plant(jenjang, [{key: value for key, value in one.items() if key != "id"} for one in planted])
        chosen = Settings.model_validate(
            {
                "state": tmp_path,
                "endpoint": {"class": "emulator", "url": running.url, "time_scale": 1_000.0},
                "tenants": {
                    str(jenjang): {
                        "customer_id": running.customer_ids[jenjang],
                        "credentials_file": running.credentials[jenjang],
                    }
                },
            }
        )
        directories = connect(chosen, ScaledClock(1_000.0), SystemRandomness())
        request = request_for(tmp_path / "one", customer_ids=running.customer_ids)
        facts = take_snapshots(directories, request)
        again = take_snapshots(directories, replace(request, folder=tmp_path / "two", parts=1))
    assert (facts.tenants[jenjang]["marked"], facts.tenants[jenjang]["unmarked"]) == (1_000, 200)
    assert facts.digest == again.digest
    assert set(read_addresses(tmp_path / "one")["user_id"]) == {one["primaryEmail"].split("@")[0] for one in planted}
    assert set(marked_rows(tmp_path / "one")["account_key"].bin.encode("hex").str.slice(0, 32)) == {
        one["externalIds"][0]["value"][:32] for one in planted[200:]
    }
