"""A process that imports everything once and then forks an applier whenever it is told to, before any thread exists.

Each line on standard input is a JSON object: `applier` (`real` or `naive`), `kill_point` (`name:count` or empty). Each
applier answers with lines of JSON: `pid` when it exists, `applying` when it begins to work, `status` when it is gone.
"""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path
from typing import Any

import orjson

from appliers.naive import apply_naively
from appliers.plans import Target, settings_of
from belajarid_recon.apply.killpoints import VARIABLE, arm_from_environment
from belajarid_recon.apply.run import ApplyComponents, apply_plan
from belajarid_recon.components import ScaledClock, SystemRandomness
from belajarid_recon.directory.connect import connect
from belajarid_recon.plan.file import read_plan
from belajarid_recon.settings import Settings
from belajarid_recon.state.folders import open_run
from belajarid_recon.state.lock import StateLock


def main() -> None:
    """Serve until standard input ends."""
    world = orjson.loads(sys.argv[1])
    target = world["target"] | {name: Path(world["target"][name]) for name in ("state", "credentials")}
    settings = settings_of(Target(**target), **world["apply"])
    clock = ScaledClock(settings.endpoint.time_scale)
    components = ApplyComponents(connect(settings, clock, SystemRandomness()), clock, SystemRandomness())
    for line in sys.stdin.buffer:
        command = orjson.loads(line)
        child = os.fork()
        if child == 0:
            live(command, world["run_id"], settings, components)
        say(pid=child)
        _, status = os.waitpid(child, 0)
        say(status=os.waitstatus_to_exitcode(status))


def live(command: dict[str, Any], run_id: str, settings: Settings, components: ApplyComponents) -> None:
    """Be an applier, to the end or to the kill."""
    os.environ[VARIABLE] = command["kill_point"]
    arm_from_environment()
    try:
        with StateLock(settings.state, purpose="kill test") as lock:
            run = open_run(settings.state, run_id)
            plan = read_plan(run.plan)
            say(applying=True)
            if command["applier"] == "naive":
                apply_naively(run, plan, settings, components)
            else:
                apply_plan(lock, run, plan, settings, components)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)


def say(**facts: Any) -> None:
    """One line to the harness."""
    os.write(1, orjson.dumps(facts) + b"\n")


if __name__ == "__main__":
    main()
