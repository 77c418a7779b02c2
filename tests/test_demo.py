"""The demo as a newcomer types it, with 5,000 people."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import orjson


def test_the_demo_ends_converged(tmp_path: Path):
    """A real process: week 1 creates, week 2 changes little and holds the damaged kota, the third plan is all no-op."""
    folder = tmp_path / "demo"
    ended = subprocess.run(
        [sys.executable, "-m", "belajarid_recon", "demo", "--people", "5000", "--folder", folder, "--json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert ended.returncode == 0, ended.stderr
    told = orjson.loads(ended.stdout)
    assert told["surprises"] == []
    first, second, third = (run["counts"] for run in told["runs"])

    def total(counts, *actions):
        return sum(tenant.get(action, 0) for tenant in counts.values() for action in actions)

    changes = ("create", "restore", "promote", "demote", "rename", "move", "update", "suspend")
    assert set(first) == {"paud", "sd", "smp", "sma", "smk", "slb", "kesetaraan"}
    assert total(first, "create") > 2_500
    assert total(second, "held") > 50
    assert 0 < total(second, *changes) - total(second, "held") < total(first, "create") / 10
    assert total(third, *changes) == total(third, "held") == 0
    assert total(third, "no-op") > 2_500
    for run in told["runs"]:
        assert (Path(run["folder"]) / "journal.sqlite").exists() or run is told["runs"][2]
