"""Reading back what was written: which lies are found, what it costs, and that a stop loses nothing of it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliers.desk import CLOCK, TENANTS, TIME_SCALE, Desk, numbers, target_of
from appliers.plans import creation, marker, orgunit, plan_of, settings_of, update
from belajarid_recon.apply import read_back as read_back_module
from belajarid_recon.apply.body import Step, read_steps
from belajarid_recon.apply.read_back import read_back
from belajarid_recon.apply.result import Progress
from belajarid_recon.apply.settle import ApplyReason
from belajarid_recon.components import SystemRandomness
from belajarid_recon.directory.connect import connect
from belajarid_recon.directory.connections import Answer, Request
from belajarid_recon.directory.google import GoogleDirectory
from belajarid_recon.directory.governor import unfenced
from belajarid_recon.directory.snapshot import SnapshotRequest, take_snapshots
from belajarid_recon.directory.transport import EMULATOR_HEADER, Transport
from belajarid_recon.emulator.launch import EmulatorProcess
from belajarid_recon.emulator.settings import EmulatorSettings
from belajarid_recon.schemas import Jenjang
from belajarid_recon.state.folders import RunFolder, RunStatus
from belajarid_recon.state.journal import EventState
from belajarid_recon.state.lifecycle import suspended_by_us

Meddling = Callable[[Transport, Request], Answer | None]
"""What happens to a request on its way: an answer of its own, or None, and it goes through."""


class MeddledTransport(Transport):
    """A tenant's transport over which somebody lies, or acts, in between."""

    def __init__(self, through: Transport, meddling: Meddling) -> None:
        super().__init__(through.wire, through._bearer)
        self._meddling = meddling

    def send(
        self, request: Request, may_send: Callable[[], None] = unfenced, *, again_if_refused: bool = False
    ) -> Answer:
        """Send it, unless somebody answers first."""
        answer = self._meddling(self, request)
        return answer if answer is not None else super().send(request, may_send, again_if_refused=again_if_refused)


def truly(through: Transport, request: Request) -> Answer:
    """The directory's own answer."""
    return Transport.send(through, request)


def says(document: dict[str, Any]) -> Answer:
    """A 200 with a document."""
    return Answer(200, {EMULATOR_HEADER: "test"}, orjson.dumps(document))


def yes_to(verb: str, part: str) -> Meddling:
    """A directory that says yes to writes whose address or body holds `part`, echoes what was asked, and changes nothing."""

    def lie(through: Transport, request: Request) -> Answer | None:
        body = request.body if isinstance(request.body, bytes) else str(request.body or "").encode()
        if request.method != verb or (part not in request.uri and part.encode() not in body):
            return None
        asked = orjson.loads(body)
        if "/orgunits" in request.uri:
            return says(asked | {"orgUnitPath": f"{asked['parentOrgUnitPath'].rstrip('/')}/{asked['name']}"})
        there = {"id": "1" * 21}
        if verb == "PUT":
            there = orjson.loads(truly(through, replace(request, method="GET", body=None)).content)
        return says(there | asked)

    return lie


def afterwards(verb: str, act: Callable[[], object]) -> Meddling:
    """Somebody who acts right after each write of a kind has taken effect."""

    def meddle(through: Transport, request: Request) -> Answer | None:
        if request.method != verb:
            return None
        answer = truly(through, request)
        act()
        return answer

    return meddle


class LaggingLists:
    """Lists that show the domain as it was when it was first asked for, `times` times, and count what is asked."""

    def __init__(self, times: int) -> None:
        self.times = times
        self.old: dict[str, Answer] = {}
        self.asked: list[str] = []

    def __call__(self, through: Transport, request: Request) -> Answer | None:
        """Answer a list of a domain from memory as long as it lags."""
        if request.method != "GET" or "/users" not in request.uri:
            return None
        self.asked.append("list" if "domain=" in request.uri else "get")
        if "domain=" not in request.uri:
            return None
        if request.uri not in self.old:
            self.old[request.uri] = truly(through, request)
            return self.old[request.uri]
        self.times -= 1
        return self.old[request.uri] if self.times >= 0 else None


@pytest.fixture(scope="module")
def emulator(tmp_path_factory) -> Iterator[EmulatorProcess]:
    """One emulator for all tests of this file; each takes people of its own."""
    folder = tmp_path_factory.mktemp("emulator")
    with EmulatorProcess(
        EmulatorSettings(folder, scale=TIME_SCALE, tenants=(*TENANTS, Jenjang.SMA), seed=9)
    ) as process:
        yield process


@pytest.fixture(scope="module")
def directories(emulator, tmp_path_factory) -> Iterator[dict[Jenjang, GoogleDirectory]]:
    """Connections are kept between tests."""
    unused = tmp_path_factory.mktemp("unused")
    connected = connect(settings_of(target_of(emulator, unused)), CLOCK, SystemRandomness())
    yield connected
    for directory in connected.values():
        directory.close()


@pytest.fixture
def desk(emulator, directories, tmp_path) -> Iterator[Desk]:
    """A fresh state folder, and an honest directory."""
    yield Desk(emulator, dict(directories), tmp_path / "state")
    emulator.clear_faults()


def meddle(desk: Desk, meddling: Meddling, tenant: Jenjang = Jenjang.SD) -> None:
    """Put somebody between the desk and a tenant's directory."""
    honest = desk.directories[tenant]
    desk.directories[tenant] = GoogleDirectory(
        [MeddledTransport(transport, meddling) for transport in honest._transports], honest._facts
    )


def suspend(number: int, target_id: str) -> dict[str, Any]:
    """A step that suspends an account."""
    return update("sd", number, target_id, {"suspended": False}, suspended=True)


def with_snapshot(desk: Desk, tenant: Jenjang) -> RunFolder:
    """A new run whose snapshot is of now."""
    run = desk.new_run()
    request = SnapshotRequest(run.snapshot, {tenant: desk.customer_ids[tenant]}, parts=2, threads=1, clock=CLOCK)
    take_snapshots({tenant: desk.directories[tenant]}, request)
    return run


def test_what_the_program_cannot_make_sense_of_is_contradicted_and_stops_nothing(desk, monkeypatch):
    """A fault at one account, by a list or by itself, at every start: the others are confirmed, and the run comes to its end."""
    people = numbers(3)
    ids = [desk.plant(number) for number in people]
    judged = read_back_module.differing

    def fail(step: Step, account: Any) -> tuple[str, ...]:
        if step.target_id == ids[1]:
            raise ValueError("odd")
        return judged(step, account)

    monkeypatch.setattr(read_back_module, "differing", fail)
    result = desk.apply(desk.plan(*(suspend(number, one) for number, one in zip(people, ids, strict=True))))
    assert (result.done, result.confirmed, result.contradicted) == (3, 2, 1)
    assert result.contradictions == {ApplyReason.UNREADABLE: 1}


def test_a_yes_that_changed_nothing_is_contradicted_and_mended_by_the_next_plan(desk):
    """Three of four updates took effect. The fourth is done by the directory's word alone, and the run says so."""
    people = numbers(4)
    ids = [desk.plant(number) for number in people]
    steps = [suspend(number, target_id) for number, target_id in zip(people, ids, strict=True)]
    meddle(desk, yes_to("PUT", ids[2]))
    result = desk.apply(desk.plan(*steps))
    assert (result.done, result.confirmed, result.contradicted, result.remaining) == (4, 3, 1, 0)
    assert (result.contradictions, result.differing) == ({ApplyReason.NOT_AS_WRITTEN: 1}, {"suspended": 1})
    assert [desk.account(number)["suspended"] for number in people] == [True, True, False, True]
    with desk.journal() as journal:
        assert [(journal.is_confirmed(step), journal.is_contradicted(step)) for step in (1, 2)] == [
            (True, False),
            (False, True),
        ]
        assert list(journal.reasons()) == [(2, EventState.CONTRADICTED, "not-as-written:suspended")]
    meddle(desk, truly)
    again = desk.apply(desk.plan(steps[2]))
    assert (again.done, again.confirmed, again.contradicted) == (1, 1, 0)
    assert desk.account(people[2])["suspended"] is True


def test_an_account_the_directory_only_said_to_have_made_is_missed(desk):
    """Its neighbour is there; a unit that was never made is missed too."""
    made, missing = numbers(2)
    meddle(desk, yes_to("POST", f"{missing:05}"))
    rows = [orgunit("sd", f"/Kota {made}"), orgunit("sd", f"/Kota {missing:05}")]
    result = desk.apply(desk.plan(*rows, creation("sd", made), creation("sd", missing)))
    assert (result.done, result.confirmed, result.contradicted) == (4, 2, 2)
    assert result.contradictions == {ApplyReason.GONE_AFTER_WRITE: 2}
    assert marker("sd", missing) not in desk.accounts()


EDITS = {
    "renamed": ({"name": {"givenName": "Ubah", "familyName": "Lain"}}, {"given_name": 1, "family_name": 1}),
    "no longer marked": ({"externalIds": []}, {"marker": 1}),
    "at another address": ({"primaryEmail": ""}, {"user_id": 1}),
    "what we did not write": ({"phones": [{"value": "+62211234567"}]}, {}),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_by_somebody_else_right_after_is_found(desk, edit):
    """The journal names the attributes and never their values; what the step did not write is nobody's business."""
    (number,) = numbers(1)
    changes, differing = EDITS[edit]
    changes = changes | ({"primaryEmail": f"ubah{number}@sd.belajar.id"} if "primaryEmail" in changes else {})
    address = creation("sd", number)["address"]
    meddle(desk, afterwards("POST", lambda: desk.emulator.edit(Jenjang.SD, address, changes)))
    result = desk.apply(desk.plan(creation("sd", number)))
    assert (result.done, result.confirmed, result.contradicted) == (1, not differing, bool(differing))
    assert result.differing == differing
    content = b"".join(path.read_bytes() for path in desk.runs[-1].path.glob("journal*"))
    assert b"Ubah" not in content
    assert b"ubah" not in content


def test_a_restoration_that_was_only_said_stays_ours_to_make(desk):
    """The account is still suspended by us, so that the next plan may restore it."""
    (number,) = numbers(1)
    target_id = desk.plant(number)
    desk.apply(desk.plan(suspend(number, target_id)))
    meddle(desk, yes_to("PUT", target_id))
    result = desk.apply(desk.plan(update("sd", number, target_id, {"suspended": True}, suspended=False)))
    assert result.differing == {"suspended": 1}
    assert suspended_by_us(desk.state).height == 1


COSTS = {
    "one write in a small domain": ("guru.sd.belajar.id", 3, ["get"]),
    "some writes in a small domain": ("admin.sd.belajar.id", 3, ["list"]),
    "as many writes as pages": ("guru.smp.belajar.id", 520, ["get"] * 2),
    "more writes than pages": ("admin.smp.belajar.id", 520, ["list"] * 2),
}


@pytest.mark.parametrize("case", COSTS)
def test_whatever_takes_fewer_calls_reads_back(desk, case):
    """A page of 500 for several writes of a small domain, single accounts for a few of a large one."""
    domain, listed, asked = COSTS[case]
    tenant = Jenjang(domain.split(".")[1])
    written = len(asked) if asked[0] == "get" else len(asked) + 1
    desk.emulator.plant(tenant, [{"primaryEmail": f"ada{n}@{domain}"} for n in range(listed)])
    run = with_snapshot(desk, tenant)
    lists = LaggingLists(times=0)
    meddle(desk, lists, tenant)
    rows = [creation(tenant, number, address=f"budi{number}@{domain}") for number in numbers(written)]
    result = desk.apply(desk.plan(*rows), run)
    assert (result.done, result.confirmed) == (written, written)
    assert lists.asked == asked


@pytest.mark.parametrize(("lagging", "asked"), [(1, ["list", "list"]), (9, ["list", "list", "get", "get", "get"])])
def test_a_lagging_list_contradicts_nothing(desk, lagging, asked):
    """What a list does not show yet is looked for again after the lag, and then account by account."""
    people = numbers(3)
    ids = [desk.plant(number, tenant="sma") for number in people]
    run = with_snapshot(desk, Jenjang.SMA)
    lists = LaggingLists(times=lagging)
    meddle(desk, lists, Jenjang.SMA)
    desk.directories[Jenjang.SMA].list_accounts("sma.belajar.id", None)
    steps = [
        update("sma", number, target_id, {"suspended": False}, suspended=True)
        for number, target_id in zip(people, ids, strict=True)
    ]
    lists.asked.clear()
    result = desk.apply(desk.plan(*steps), run)
    assert (result.done, result.confirmed, result.contradicted) == (3, 3, 0)
    assert sorted(lists.asked[3:]) == sorted(asked)
    assert lists.asked[:3] == ["get"] * 3


def test_a_list_that_must_start_again_loses_nothing(desk):
    """An expired page token in the middle: the rest is read after the lag."""
    people = numbers(4)
    tokens = iter([True])

    def expire(_through: Transport, request: Request) -> Answer | None:
        gone = "pageToken=" in request.uri and next(tokens, False)
        return Answer(410, {EMULATOR_HEADER: "test"}, b"{}") if gone else None

    desk.emulator.plant(Jenjang.SMP, [{"primaryEmail": f"awal{n}@smp.belajar.id"} for n in range(510)])
    run = with_snapshot(desk, Jenjang.SMP)
    meddle(desk, expire, Jenjang.SMP)
    result = desk.apply(desk.plan(*(creation("smp", number) for number in people)), run)
    assert next(tokens, None) is None
    assert (result.confirmed, result.contradicted) == (4, 0)


def test_a_stop_while_reading_back_loses_nothing_and_writes_nothing_again(desk):
    """Ctrl-C at the first confirmation: the run is not closed, and the same call confirms the rest."""
    people = numbers(200)
    plan, run = desk.plan(*(creation("sd", number) for number in people)), desk.new_run()

    def interrupt(progress: Progress) -> None:
        if progress.confirmed:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        desk.apply(plan, run, watch=interrupt)
    assert run.status() is RunStatus.APPLYING
    with desk.journal(run) as journal:
        confirmed = [step for step in range(200) if journal.is_confirmed(step)]
        assert 0 < len(confirmed) < 200
        assert all(journal.is_done(step) for step in range(200))
    before = desk.applied()
    result = desk.apply(plan, run)
    assert (result.done, result.confirmed, result.contradicted) == (200, 200, 0)
    assert desk.applied() == before
    assert run.status() is RunStatus.CLOSED


def test_what_was_found_done_is_not_read_back(desk):
    """No request of ours left, so nothing of ours is to be confirmed."""
    (number,) = numbers(1)
    result = desk.apply(desk.plan(suspend(number, desk.plant(number, suspended=True))))
    assert (result.done, result.confirmed, result.contradicted) == (1, 0, 0)


VALUES = {
    "given_name": "Budiman",
    "family_name": "Lain",
    "ou_path": "/Lain",
    "npsn": "20111111",
    "listed": True,
    "suspended": True,
}


def account_of(step: Step) -> dict[str, Any]:
    """An account as the step wrote it."""
    return {
        "id": "1",
        "primaryEmail": step.address,
        "name": {"givenName": step.given_name, "familyName": step.family_name},
        "orgUnitPath": step.ou_path,
        "organizations": [{"costCenter": step.npsn, "primary": True}],
        "includeInGlobalAddressList": step.listed,
        "suspended": step.suspended,
        "externalIds": [{"type": "custom", "customType": "recon", "value": step.marker}],
    }


@given(st.sets(st.sampled_from(sorted(VALUES))), st.booleans())
def test_exactly_what_differs_is_named(changed, unmarked):
    """Whatever subset of the attributes has another value, the reason names it and nothing else."""
    (step,) = read_steps(plan_of([creation("sd", 7)], {"sd": "C0"}).steps.pieces())
    account = account_of(step._replace(**{name: VALUES[name] for name in changed}))
    if unmarked:
        account["externalIds"] = []
    code, _, names = read_back(step, account).partition(":")
    expected = {"marker"} & {"marker" * unmarked} | changed
    assert code == ("not-as-written" if expected else "")
    assert sorted(filter(None, names.split(","))) == sorted(expected)
    assert read_back(step, None) == "gone-after-write"
