"""How one would write it at first: send, remember success, send again what is not remembered, add a number on 409.

Kept to prove that the kill test's oracle sees what such an applier breaks.
"""

from __future__ import annotations

import os

import polars as pl

from belajarid_recon.apply.body import Step, insert_body, read_steps, update_body
from belajarid_recon.apply.passwords import PasswordHashes
from belajarid_recon.apply.run import ApplyComponents
from belajarid_recon.directory.interface import Directory, Reply, Verdict
from belajarid_recon.plan.definition import Plan
from belajarid_recon.settings import Settings
from belajarid_recon.state.folders import RunFolder

NUMBERS_MAX = 100


def apply_naively(run: RunFolder, plan: Plan, settings: Settings, components: ApplyComponents) -> int:
    """Carry out the plan, step by step, with a checkpoint after each success; returns how many steps it believes done."""
    path = run.path / "checkpoint"
    path.touch()
    done = {int(line) for line in path.read_text().splitlines()}
    with path.open("a") as checkpoint:
        for step in read_steps(plan.steps, pl.lit(value=True)):
            if step.step in done:
                continue
            if _send_until_it_works(step, components.directories[step.tenant], settings, components):
                done.add(step.step)
                checkpoint.write(f"{step.step}\n")
                checkpoint.flush()
                os.fsync(checkpoint.fileno())
    return len(done)


def _send_until_it_works(step: Step, directory: Directory, settings: Settings, components: ApplyComponents) -> bool:
    if step.is_orgunit:
        parent, _, name = (step.ou_path or "").rpartition("/")
        reply = directory.insert_orgunit(parent or "/", name)
        return reply.verdict is Verdict.DONE or reply.status == 409
    for number in range(NUMBERS_MAX):
        reply = _send(step, directory, settings, components, number)
        if reply.verdict is Verdict.DONE:
            return True
        if reply.verdict is Verdict.REJECTED:
            return False
        components.clock.sleep(1.0)
    return False


def _send(step: Step, directory: Directory, settings: Settings, components: ApplyComponents, number: int) -> Reply:
    if not step.is_creation:
        return directory.update_account(step.target_id or "", update_body(step))
    body = insert_body(step)
    local, _, domain = (step.address or "").partition("@")
    if number:
        body["primaryEmail"] = f"{local}{number}@{domain}"
    password = PasswordHashes(settings.password_rounds(), components.randomness).take()
    return directory.insert_account(body | {"password": password, "hashFunction": "crypt"})
