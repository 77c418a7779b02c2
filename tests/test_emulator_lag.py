"""Lag: what is too early, and what is shown as it was."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from belajarid_recon.emulator.lag import Lag, Late
from belajarid_recon.emulator.launch import EmulatorProcess
from belajarid_recon.emulator.settings import EmulatorLag, settings_from_json
from belajarid_recon.emulator.storage import Storage, StoredUser
from belajarid_recon.errors import SettingsError
from belajarid_recon.schemas import Jenjang
from emulator_kit import Plain, marked, person, unlimited

SD = Jenjang.SD
LAG = EmulatorLag(insert_seconds=5, rename_seconds=60, list_seconds=120, search_seconds=3_600)
STILL = {"scale": 0.001, "lag": LAG, "token_life_seconds": 10**6}
"""Emulated time that hardly moves by itself."""


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatorProcess]:
    """One emulator for this module; its time moves when a test says so."""
    with EmulatorProcess(unlimited(tmp_path_factory.mktemp("lag") / "state", SD, **STILL)) as emulator:
        yield emulator


@pytest.fixture
def sd(emulator: EmulatorProcess) -> Plain:
    """Raw requests to it, when all that was before is settled."""
    emulator.advance(4_000)
    return Plain(emulator, SD)


def listed(sd: Plain, query: str) -> dict[str, Any]:
    """What a list or search shows, by address, over pages of two."""
    found, token = {}, ""
    while True:
        status, page = sd("GET", f"users?customer=my_customer&maxResults=2&{query}&pageToken={token}")
        assert status == 200
        found |= {account["primaryEmail"]: account for account in page.get("users", ())}
        token = page.get("nextPageToken", "")
        if not token:
            return found


def test_an_account_just_made_is_known_by_its_address_alone(emulator: EmulatorProcess, sd: Plain) -> None:
    """By id it is 404, its name is missing, changes are 412 by either key; seconds later all is well."""
    status, made = sd("POST", "users", person("baru@sd.belajar.id"))
    assert (status, "name" in made) == (200, True)
    assert sd("GET", f"users/{made['id']}")[0] == 404
    status, seen = sd("GET", "users/baru@sd.belajar.id")
    assert status == 200
    assert {**seen, "name": made["name"]} == made
    assert "name" not in seen
    for key in (made["id"], made["primaryEmail"]):
        for verb, body in (("PUT", {"suspended": True}), ("DELETE", None)):
            status, refused = sd(verb, f"users/{key}", body)
            assert (status, refused["error"]["errors"][0]["reason"]) == (412, "conditionNotMet")
    assert sd("POST", "users", person("baru@sd.belajar.id"))[0] == 409
    emulator.advance(6)
    assert sd("GET", f"users/{made['id']}") == (200, made)
    assert sd("PUT", f"users/{made['id']}", {"suspended": True})[0] == 200


def test_a_renamed_account_cannot_be_changed_for_a_while(emulator: EmulatorProcess, sd: Plain) -> None:
    """Reads show the new address at once; other changes are 409 until the rename has spread."""
    _, made = sd("POST", "users", person("lama@sd.belajar.id"))
    emulator.advance(6)
    assert sd("PUT", f"users/{made['id']}", {"primaryEmail": "namabaru@sd.belajar.id"})[0] == 200
    assert sd("GET", f"users/{made['id']}")[1]["primaryEmail"] == "namabaru@sd.belajar.id"
    status, refused = sd("PUT", f"users/{made['id']}", {"suspended": True})
    assert (status, refused["error"]["errors"][0]["reason"]) == (409, "duplicate")
    emulator.advance(61)
    assert sd("PUT", f"users/{made['id']}", {"suspended": True})[0] == 200


@pytest.mark.parametrize(
    ("verb", "below", "body"),
    [
        ("PATCH", "", {"suspended": True}),
        ("POST", "/aliases", {"alias": "lain@sd.belajar.id"}),
        ("DELETE", "/aliases/{alias}", None),
        ("POST", "/makeAdmin", {"status": True}),
        ("POST", "/signOut", None),
        ("POST", "/undelete", {}),
    ],
)
def test_every_change_of_an_account_waits(
    emulator: EmulatorProcess, sd: Plain, verb: str, below: str, body: dict[str, Any] | None
) -> None:
    """Right after an insert it is 412, right after a rename 409, and then it is done."""
    name = f"tunggu{verb}{below.replace('/', '.').split('{')[0]}".lower().rstrip(".")
    _, made = sd("POST", "users", person(f"{name}@sd.belajar.id"))
    path = f"users/{made['id']}{below.format(alias=f'{name}@sd.belajar.id')}"
    assert sd(verb, path, body)[0] == 412
    emulator.advance(6)
    assert sd("PUT", f"users/{made['id']}", {"primaryEmail": f"{name}.baru@sd.belajar.id"})[0] == 200
    if below == "/undelete":
        emulator.fault("users.get", "other-delete")
        assert sd("GET", f"users/{made['id']}")[0] == 200
    status, refused = sd(verb, path, body)
    assert (status, refused["error"]["errors"][0]["reason"]) == (409, "duplicate")
    emulator.advance(61)
    assert sd(verb, path, body)[0] in {200, 204}


def test_an_alias_and_an_undelete_are_listed_late(emulator: EmulatorProcess, sd: Plain) -> None:
    """Both are there for who asks by id; lists show the account without its alias, and among the deleted, a while longer."""
    _, made = sd("POST", "users", person("kembali@sd.belajar.id"))
    emulator.advance(4_000)
    assert sd("POST", f"users/{made['id']}/aliases", {"alias": "julukan@sd.belajar.id"})[0] == 200
    assert [one["alias"] for one in sd("GET", f"users/{made['id']}/aliases")[1]["aliases"]] == ["julukan@sd.belajar.id"]
    assert "aliases" not in listed(sd, "orderBy=email")["kembali@sd.belajar.id"]
    assert listed(sd, "query=email=julukan@sd.belajar.id") == {}
    emulator.advance(4_000)
    assert listed(sd, "orderBy=email")["kembali@sd.belajar.id"]["aliases"] == ["julukan@sd.belajar.id"]
    assert listed(sd, "query=email=julukan@sd.belajar.id").keys() == {"kembali@sd.belajar.id"}
    assert sd("DELETE", f"users/{made['id']}")[0] == 204
    emulator.advance(4_000)
    assert sd("POST", f"users/{made['id']}/undelete", {})[0] == 204
    assert sd("GET", f"users/{made['id']}")[0] == 200
    assert "kembali@sd.belajar.id" in listed(sd, "showDeleted=true")
    assert "kembali@sd.belajar.id" not in listed(sd, "orderBy=email")
    emulator.advance(121)
    assert "kembali@sd.belajar.id" not in listed(sd, "showDeleted=true")
    assert "kembali@sd.belajar.id" in listed(sd, "orderBy=email")


def test_accounts_of_a_moved_unit_are_listed_where_they_were(emulator: EmulatorProcess, sd: Plain) -> None:
    """A unit's new name reaches its accounts at once and their list later."""
    unit = "customer/my_customer/orgunits"
    assert sd("POST", unit, {"name": "Lama", "parentOrgUnitPath": "/"})[0] == 200
    _, made = sd("POST", "users", person("warga@sd.belajar.id", orgUnitPath="/Lama"))
    emulator.advance(4_000)
    assert sd("PATCH", f"{unit}/Lama", {"name": "Anyar"})[0] == 200
    assert sd("GET", f"users/{made['id']}")[1]["orgUnitPath"] == "/Anyar"
    assert listed(sd, "orderBy=email")["warga@sd.belajar.id"]["orgUnitPath"] == "/Lama"
    assert listed(sd, "query=orgUnitPath=/Lama").keys() == {"warga@sd.belajar.id"}
    emulator.advance(121)
    assert listed(sd, "orderBy=email")["warga@sd.belajar.id"]["orgUnitPath"] == "/Anyar"


def test_lists_show_what_was(emulator: EmulatorProcess, sd: Plain) -> None:
    """A new account is missing, a renamed one has its old address, a changed one its old state, a deleted one is there."""
    for name in ("ubah", "ganti", "hapus", "diam"):
        assert sd("POST", "users", person(f"{name}@sd.belajar.id"))[0] == 200
    emulator.advance(4_000)
    before, deleted_before = listed(sd, "orderBy=email"), listed(sd, "showDeleted=true")
    assert {"ubah@sd.belajar.id", "ganti@sd.belajar.id", "hapus@sd.belajar.id"} <= before.keys()
    assert sd("PUT", "users/ubah@sd.belajar.id", {"suspended": True})[0] == 200
    assert sd("PUT", "users/ganti@sd.belajar.id", {"primaryEmail": "aganti@sd.belajar.id"})[0] == 200
    assert sd("DELETE", "users/hapus@sd.belajar.id")[0] == 204
    assert sd("POST", "users", person("anyar@sd.belajar.id"))[0] == 200
    assert listed(sd, "orderBy=email") == before
    assert listed(sd, "showDeleted=true") == deleted_before
    emulator.advance(121)
    now = listed(sd, "orderBy=email")
    assert now.keys() - before.keys() == {"aganti@sd.belajar.id", "anyar@sd.belajar.id"}
    assert before.keys() - now.keys() == {"ganti@sd.belajar.id", "hapus@sd.belajar.id"}
    assert now["ubah@sd.belajar.id"]["suspended"] is True
    assert "hapus@sd.belajar.id" in listed(sd, "showDeleted=true")


def test_searches_lag_longer_than_lists(emulator: EmulatorProcess, sd: Plain) -> None:
    """A marker is not found until an hour after it was set, and found for an hour after it went."""
    marker = "query=externalId=0123.sd"
    assert sd("POST", "users", person("cari@sd.belajar.id", externalIds=marked("0123.sd")))[0] == 200
    emulator.advance(121)
    assert "cari@sd.belajar.id" in listed(sd, "orderBy=email")
    assert listed(sd, marker) == {}
    emulator.advance(3_600)
    assert listed(sd, marker).keys() == {"cari@sd.belajar.id"}
    assert sd("PUT", "users/cari@sd.belajar.id", {"externalIds": []})[0] == 200
    assert sd("PUT", "users/cari@sd.belajar.id", {"suspended": True})[0] == 200
    emulator.advance(3_500)
    found = listed(sd, marker)
    assert found["cari@sd.belajar.id"]["externalIds"] == marked("0123.sd")
    emulator.advance(101)
    assert listed(sd, marker) == {}
    assert listed(sd, "query=email=cari@sd.belajar.id").keys() == {"cari@sd.belajar.id"}


def test_planted_accounts_were_always_there(emulator: EmulatorProcess, sd: Plain) -> None:
    """What a test plants is the world before; what it edits is another administrator's change and lags."""
    (identity,) = emulator.plant(SD, [{"primaryEmail": "tanam@sd.belajar.id"}])
    assert sd("GET", f"users/{identity}")[1]["name"]
    assert "tanam@sd.belajar.id" in listed(sd, "orderBy=email")
    emulator.edit(SD, identity, {"suspended": True})
    assert listed(sd, "orderBy=email")["tanam@sd.belajar.id"]["suspended"] is False
    assert sd("GET", f"users/{identity}")[1]["suspended"] is True


def test_an_answer_that_changed_nothing_does_not_lag(emulator: EmulatorProcess, sd: Plain) -> None:
    """A rename that was only answered holds nothing up."""
    _, made = sd("POST", "users", person("pura@sd.belajar.id"))
    emulator.advance(6)
    emulator.fault("users.update", "unchanged")
    assert sd("PUT", f"users/{made['id']}", {"primaryEmail": "purapura@sd.belajar.id"})[0] == 200
    assert sd("PUT", f"users/{made['id']}", {"suspended": True})[0] == 200
    emulator.clear_faults()


def test_a_drawn_lag_is_the_accounts_own(tmp_path: Path) -> None:
    """With a seed accounts catch up one by one within the time given, the same ones first each time."""
    lag = EmulatorLag(insert_seconds=100, seed=3)
    orders = []
    for run in range(2):
        with EmulatorProcess(unlimited(tmp_path / str(run), SD, scale=0.001, lag=lag)) as emulator:
            sd = Plain(emulator, SD)
            made = [sd("POST", "users", person(f"m{number}@sd.belajar.id"))[1]["id"] for number in range(24)]
            nameless = {number for number in range(24) if "name" not in sd("GET", f"users/m{number}@sd.belajar.id")[1]}
            order = []
            for _ in range(4):
                order.append([identity for identity in made if sd("GET", f"users/{identity}")[0] == 200])
                emulator.advance(33.4)
            orders.append((order, nameless))
    assert orders[0] == orders[1]
    sizes = [len(found) for found in orders[0][0]]
    assert sizes == sorted(set(sizes))
    assert sizes[-1] == 24
    assert 0 < len(orders[0][1]) < 24


class Moving:
    """An emulated time that a test moves."""

    now = 0.0

    def elapsed(self) -> float:
        """The emulated second."""
        return self.now


@settings(deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from("abcdef"), st.sampled_from(["make", "edit", "rename", "delete"]), st.integers(0, 9))
    ),
    size=st.integers(1, 4),
)
def test_a_late_list_is_the_list_of_then(steps: list[tuple[str, str, int]], size: int, tmp_path_factory) -> None:
    """Whatever happened, pages that lag by 20 seconds show exactly the list of 20 seconds ago."""
    storage = Storage(tmp_path_factory.mktemp("late") / "directory.sqlite")
    time = Moving()
    lag = Lag(EmulatorLag(list_seconds=20), storage, time)
    live: dict[str, StoredUser] = {}
    states: list[tuple[float, list[StoredUser]]] = [(-1e9, [])]
    for count, (key, step, seconds) in enumerate(steps):
        time.now += seconds
        user = live.get(key)
        if step == "make" and user is None:
            user = StoredUser(count + 1, "sd", f"{key}{count}@sd.belajar.id", None, None, b"0")
            storage.add_user(user, None)
        elif user is not None and step != "make":
            email = f"{key}{count}@sd.belajar.id" if step == "rename" else user.email
            gone = time.now if step == "delete" else None
            user = StoredUser(user.number, "sd", email, gone, None, b"%d" % count)
            storage.change_user(user, None)
        if user is not None:
            live[key] = user
            if user.deleted_at is not None:
                del live[key]
        states.append((time.now, sorted(live.values(), key=lambda one: one.email)))

    def present(place: tuple[str, int], limit: int) -> list[StoredUser]:
        return [user for user in states[-1][1] if user.email > place[0]][:limit]

    found: list[StoredUser] = []
    place = ("", 0)
    while page := lag.page(Late.LIST, present, lambda user: user.deleted_at is None, place, size):
        found += page
        place = (page[-1].email, page[-1].number)
    storage.close()
    assert found == [users for at, users in states if at <= time.now - 20][-1]


def test_a_lag_survives_its_way_to_the_child_and_cannot_be_negative(tmp_path: Path) -> None:
    """Settings read what they wrote."""
    settings = unlimited(tmp_path, SD, lag=LAG)
    assert settings_from_json(settings.to_json()) == settings
    with pytest.raises(SettingsError, match="negative"):
        EmulatorLag(list_seconds=-1)
