"""A kill of the emulator itself: what it answered is there when it starts again on the same folder."""

from __future__ import annotations

import itertools
import os
import random
import signal
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import urllib3

from belajarid_recon.emulator.launch import EmulatorProcess
from belajarid_recon.schemas import Jenjang
from emulator_kit import Plain, person, unlimited

KILLS = 12
LANES = 6
ALIVE_SECONDS_MAX = 0.15
SD, SMP = Jenjang.SD, Jenjang.SMP
GONE = "gone"


@dataclass
class Heard:
    """What one lane's answers said about its accounts: address to etag, or to GONE; and the one call that got no answer."""

    state: dict[str, str] = field(default_factory=dict)
    open: str = ""


def lane(sd: Plain, numbers: itertools.count[int], name: str, heard: Heard, others: list[Heard]) -> None:
    """Insert, change, delete, and read other lanes' accounts, until the connection ends."""
    try:
        for number in numbers:
            address = f"{name}{number}@sd.belajar.id"
            steps = [("POST", "users", person(address)), ("PUT", f"users/{address}", {"suspended": True})]
            steps += [("DELETE", f"users/{address}", None)] * (number % 3 == 0)
            for verb, path, body in steps:
                heard.open = address
                status, answer = sd(verb, path, body)
                assert status in (200, 204)
                heard.state[address] = answer["etag"] if answer else GONE
            read(sd, heard, random.choice(others))  # noqa: S311 - any of them
    except urllib3.exceptions.HTTPError:
        return


def read(sd: Plain, heard: Heard, other: Heard) -> None:
    """What a read showed is an answer too, though its writer may not have heard yet."""
    address = other.open  # that lane goes on meanwhile
    if address and sd("GET", f"users/{address}")[0] == 200:
        heard.state.setdefault(address, "")


def lost(emulator: EmulatorProcess, heard: list[Heard]) -> list[str]:
    """Answers that the directory does not bear out. A call without an answer may have been done or not."""
    lines = list(emulator.accounts(SD))
    etags = {line["account"]["primaryEmail"]: GONE if line["deleted"] else line["account"]["etag"] for line in lines}
    unsure = {one.open for one in heard}
    found = []
    for address, etag in itertools.chain.from_iterable(one.state.items() for one in heard):
        if address not in etags or (etag and address not in unsure and etags[address] != etag):
            found.append(address)
    return found


def test_what_was_answered_outlives_a_kill(tmp_path: Path) -> None:
    """SIGKILL at random instants among inserts, changes, deletions and reads: every answer, and the token, holds afterwards."""
    moments = random.Random(20_261_122)  # noqa: S311 - reproducible
    emulator = EmulatorProcess(unlimited(tmp_path / "e", SD))
    emulator.start()
    token = Plain(emulator, SD).token
    numbers = itertools.count()
    answers = 0
    seconds_before = 0.0
    for kill in range(KILLS):
        lanes = []
        heard = [Heard() for _ in range(LANES)]
        for one in range(LANES):
            sd = Plain(emulator, SD, token)
            lanes.append(threading.Thread(target=lane, args=(sd, numbers, f"k{kill}x{one}n", heard[one], heard)))
        for thread in lanes:
            thread.start()
        time.sleep(moments.uniform(0.02, ALIVE_SECONDS_MAX))
        os.kill(emulator.pid, signal.SIGKILL)
        for thread in lanes:
            thread.join()
        emulator.stop()
        emulator.start()
        assert lost(emulator, heard) == []
        seconds, seconds_before = seconds_before, emulator.stats()["emulated_seconds"]
        assert seconds_before > seconds
        answers += sum(len(one.state) for one in heard)
    emulator.stop()
    assert answers > KILLS * LANES


def test_emulated_time_never_goes_back(tmp_path: Path) -> None:
    """An instant that was answered is past after a kill, at any scale and without a single write in between."""
    emulator = EmulatorProcess(unlimited(tmp_path / "e", SD, scale=1_000.0))
    emulator.start()
    for _ in range(2):
        time.sleep(0.15)
        shown = emulator.stats()["emulated_seconds"]
        os.kill(emulator.pid, signal.SIGKILL)
        emulator.stop()
        emulator.start()
        assert emulator.stats()["emulated_seconds"] >= shown
    emulator.stop()
