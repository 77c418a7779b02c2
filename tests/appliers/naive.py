"""How one would write it at first, in four ways. Kept to prove that the kill tests' judge sees what such appliers break.

Each remembers in a checkpoint what it did and goes on there; they differ in what they make of an answer that proves nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from appliers.oracle import CHECKPOINT
from belajarid_recon.apply.body import Step, insert_body, orgunit_body, read_steps, update_body
from belajarid_recon.apply.killpoints import KillPoint, reached
from belajarid_recon.apply.passwords import PasswordHashes
from belajarid_recon.apply.run import ApplyComponents
from belajarid_recon.directory.interface import Reply, Verdict
from belajarid_recon.directory.observed import carries_marker
from belajarid_recon.plan.definition import Plan
from belajarid_recon.settings import Settings
from belajarid_recon.state.folders import RunFolder

SENDINGS_MAX = 100
POINTS = (KillPoint.BEFORE_SEND, KillPoint.REPLY_RECEIVED, KillPoint.OUTCOME_COMMITTED)
"""Where they can be killed."""


class Habit(StrEnum):
    """What a naive applier believes."""

    NUMBER_ON_409 = "number-on-409"
    """A taken address is somebody else's: the next number is tried."""
    CONFLICT_IS_SUCCESS = "409-is-success"
    """A taken address is our own: the insert got through before."""
    NO_READ_BACK = "no-read-back"
    """An intent stands for its effect: what was open at a kill is done, and so is a 409 behind our own sending."""
    ADDRESS_ONLY = "address-only"
    """Looks before each insert and after each doubt, but only at the planned address."""


@dataclass
class _Sending:
    """One step on its way."""

    step: Step
    count: int = 0
    reply: Reply | None = None


_Answer = str | None
"""`done`, `parked`, or None to send once more."""


class NaiveApplier:
    """One naive applier in one run."""

    def __init__(self, habit: Habit, run: RunFolder, settings: Settings, components: ApplyComponents) -> None:
        self._habit = habit
        self._path = run.path / CHECKPOINT
        self._settings = settings
        self._components = components
        self._judge: Callable[[_Sending], _Answer] = {
            Habit.NUMBER_ON_409: self._number,
            Habit.CONFLICT_IS_SUCCESS: self._succeed,
            Habit.NO_READ_BACK: self._trust,
            Habit.ADDRESS_ONLY: self._look,
        }[habit]

    def apply(self, plan: Plan) -> None:
        """Carry out the plan, step by step, with a line in the checkpoint for each."""
        self._path.touch()
        words = {int(step): word for word, step in map(str.split, self._path.read_text().splitlines())}
        for step in read_steps(plan.steps.pieces()):
            if words.get(step.step) in {"done", "parked"}:
                continue
            if self._habit is Habit.NO_READ_BACK and words.get(step.step) == "intent":
                self._remember("done", step)
                continue
            self._remember(self._carry_out(_Sending(step)), step)
            reached(KillPoint.OUTCOME_COMMITTED)

    def _carry_out(self, sending: _Sending) -> str:
        step = sending.step
        if self._habit is Habit.ADDRESS_ONLY and step.is_creation and self._at_address(step):
            return self._judge(sending) or "parked"
        if self._habit is Habit.NO_READ_BACK:
            self._remember("intent", step)
        for sending.count in range(SENDINGS_MAX):
            reached(KillPoint.BEFORE_SEND)
            sending.reply = self._send(sending)
            reached(KillPoint.REPLY_RECEIVED)
            if sending.reply.verdict is Verdict.DONE:
                return "done"
            if step.is_container and sending.reply.verdict is Verdict.REJECTED:
                return "done"  # it is there already
            if sending.reply.verdict is Verdict.REJECTED:
                return "parked"
            answer = self._judge(sending) if step.is_creation and sending.reply.status != 429 else None
            if answer is not None:
                return answer
            self._components.clock.sleep(1.0)
        return "parked"

    def _number(self, _sending: _Sending) -> _Answer:
        return None

    def _succeed(self, sending: _Sending) -> _Answer:
        return "done" if sending.reply.status == 409 else None

    def _trust(self, sending: _Sending) -> _Answer:
        if sending.reply.status != 409:
            return None
        return "done" if sending.count else "parked"

    def _look(self, sending: _Sending) -> _Answer:
        for _ in range(3):
            if account := self._at_address(sending.step):
                return "done" if carries_marker(account, sending.step.marker) else "parked"
            self._components.clock.sleep(self._settings.apply.lag_seconds / 3)
        return None

    def _at_address(self, step: Step):
        return self._components.directories[step.tenant].get_account(step.address)

    def _send(self, sending: _Sending) -> Reply:
        step = sending.step
        directory = self._components.directories[step.tenant]
        if step.is_container:
            body = orgunit_body(step)
            return directory.insert_orgunit(body["parentOrgUnitPath"], body["name"])
        if not step.is_creation:
            return directory.update_account(step.target_id, update_body(step))
        body = insert_body(step)
        if sending.count and self._habit is Habit.NUMBER_ON_409:
            local, _, domain = step.address.partition("@")
            body["primaryEmail"] = f"{local}{sending.count}@{domain}"
        password = PasswordHashes(self._settings.password_rounds(), self._components.randomness).take()
        return directory.insert_account(body | {"password": password, "hashFunction": "crypt"})

    def _remember(self, word: str, step: Step) -> None:
        """Durably, as far as a kill goes."""
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND)
        os.write(descriptor, f"{word} {step.step}\n".encode())
        os.close(descriptor)
