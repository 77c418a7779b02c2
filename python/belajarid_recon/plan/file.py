"""A plan on disk: `steps.parquet` and `plan.json`. What is read back is checked against its digest."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import orjson

from belajarid_recon.errors import PlanError
from belajarid_recon.plan.definition import FORMAT_VERSION, Finding, Plan, PlanFacts
from belajarid_recon.plan.steps import Steps
from belajarid_recon.state.atomic import write_atomically

STEPS_FILE = "steps.parquet"
FACTS_FILE = "plan.json"


def write_plan(folder: Path, plan: Plan) -> None:
    """Write a plan; `plan.json` comes last and its presence says the folder is whole."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f"{STEPS_FILE}.part"
    plan.steps.write(temporary)
    temporary.replace(folder / STEPS_FILE)
    document = {
        "format_version": FORMAT_VERSION,
        "digest": plan.digest,
        "steps": plan.steps.height,
        "held": plan.held,
        **plan.facts.as_document(),
        "inputs": plan.inputs,
    }
    write_atomically(folder / FACTS_FILE, orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))


def read_plan(folder: Path) -> Plan:
    """Read a plan and check it. Its steps stay in their file.

    Raises PlanError when the folder is no plan, of another format version, or its content no longer has its digest.
    """
    document = _read_document(folder / FACTS_FILE)
    if document.get("format_version") != FORMAT_VERSION:
        raise PlanError(
            f"plan has a format this version does not read: {document.get('format_version')}", hint="plan again"
        )
    try:
        facts = _facts(document)
    except (KeyError, TypeError) as error:
        raise PlanError(f"plan cannot be read: {folder}", hint="plan again; nothing was applied") from error
    plan = Plan(steps=Steps.read(folder / STEPS_FILE), facts=facts, inputs=document.get("inputs", {}))
    if plan.digest != document.get("digest"):
        raise PlanError(f"plan was changed after it was made: {folder}", hint="plan again; nothing was applied")
    return plan


def read_date(folder: Path) -> date:
    """The date a plan was made for, whatever its format version. Raises PlanError when it cannot be read."""
    path = folder / FACTS_FILE
    try:
        return date.fromisoformat(_read_document(path)["date"])
    except (KeyError, TypeError, ValueError) as error:
        raise PlanError(
            f"no readable plan: {path}", hint="restore it from a backup: its date bars older weeks"
        ) from error


def _read_document(path: Path) -> dict[str, Any]:
    try:
        document = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise PlanError(f"no readable plan: {path}", hint="name the run folder of a finished plan") from error
    if not isinstance(document, dict):
        raise PlanError(f"no readable plan: {path}", hint="plan again")
    return document


def _facts(document: dict[str, Any]) -> PlanFacts:
    return PlanFacts(
        endpoint_class=document["endpoint_class"],
        customer_ids=document["customer_ids"],
        date=document["date"],
        regulation=document["regulation"],
        counts=document["counts"],
        reasons=document["reasons"],
        findings=tuple(Finding(**finding) for finding in document["findings"]),
        people=document["people"],
        no_contact=document["no_contact"],
        contacts=document["contacts"],
    )
