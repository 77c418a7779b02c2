"""How commands end, for the tests of all of them."""

from __future__ import annotations

import re
from typing import Any

from belajarid_recon.errors import ExitStatus


def refused_with(result: Any, status: ExitStatus, *said: str) -> None:
    """One message with place and remedy, the documented status, no traceback."""
    assert result.exit_code == status, result.output
    assert len(re.findall(r"^error: ", result.stderr, flags=re.MULTILINE)) == 1
    assert "hint: " in result.stderr
    assert "Traceback" not in result.output
    for words in said:
        assert words in result.stderr
