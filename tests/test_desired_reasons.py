"""Reason codes: one closed list in code, documents and register codes."""

from __future__ import annotations

import re
from pathlib import Path

from belajarid_recon.apply.settle import ApplyReason
from belajarid_recon.desired.reasons import REASON_OF_EXIT_CODE, ReasonCode
from belajarid_recon.regulations import duties
from belajarid_recon.schemas import ContactReason, GroupNoStep, NoStep
from belajarid_recon.sources.reasons import QuarantineReason

DOCUMENT = Path(__file__).parents[1] / "docs" / "reason-codes.md"


def documented(heading: str) -> dict[str, str]:
    """Code to the last cell of its row, in the section of a heading."""
    section = DOCUMENT.read_text(encoding="utf-8").split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if re.match(r"\| [a-z-]+ \|", line)]
    return {cells[0]: cells[-1] for cells in rows if cells[0] != "code"}


def test_every_reason_is_documented_and_every_documented_reason_exists():
    """The tables hold exactly the enums."""
    assert set(documented("Accounts")) == {code.value for code in ReasonCode}
    assert list(documented("Accounts without a step")) == [code.value for code in NoStep]
    assert list(documented("Recovery contacts")) == [code.value for code in ContactReason]
    assert list(documented("Groups and members without a step")) == [code.value for code in GroupNoStep]
    assert list(documented("Steps parked")) == [code.value for code in ApplyReason]
    assert list(documented("Rows set aside")) == [code.value for code in QuarantineReason]


def test_every_reason_has_a_sentence_for_the_help_desk():
    """A whole Indonesian sentence, ending with a full stop."""
    headings = (
        "Accounts",
        "Accounts without a step",
        "Groups and members without a step",
        "Recovery contacts",
        "Steps parked",
        "Rows set aside",
    )
    for heading in headings:
        for code, sentence in documented(heading).items():
            assert sentence[0].isupper(), code
            assert sentence.endswith("."), code
            assert len(sentence) > 15, code


def test_codes_are_kebab_case():
    """Words of small letters and digits, joined by hyphens."""
    for code in (*ReasonCode, *NoStep, *GroupNoStep, *ContactReason, *ApplyReason, *QuarantineReason):
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", code), code


def test_every_exit_code_of_the_register_has_a_reason():
    """The codes are those of regulations/duties.toml, each with a reason of its own."""
    assert set(REASON_OF_EXIT_CODE) == set(duties().exit_codes)
    assert len(set(REASON_OF_EXIT_CODE.values())) == len(REASON_OF_EXIT_CODE)
