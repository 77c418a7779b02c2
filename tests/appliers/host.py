"""A process that imports everything once and then is an applier, or forks one whenever it is told to, before any thread exists.

Each line on standard input is a JSON object: `applier` (`real`, `rebuild` or a naive one's habit), `kill_point` (`name:count` or empty),
`disk` (a fault and the number of the operation it strikes, or empty), `poison` (an address and what its replies do to the
applier, or empty), `unit` (where the directory keeps the epoch, or empty), `sign_in` (whether the host's tokens were revoked),
`may_stop` (whether the directory may make an applier stop), `state` and `run_id`. Each applier answers with lines of
JSON: `pid` when it exists, `applying` when it begins to work, and, when it was forked, `status` when it is gone.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from appliers.disk import DiskFault, FaultyDisk
from appliers.naive import Habit, NaiveApplier
from appliers.plans import Target, settings_of
from belajarid_recon.apply.killpoints import VARIABLE, arm_from_environment
from belajarid_recon.apply.rebuild import rebuild_journal
from belajarid_recon.apply.run import ApplyComponents, apply_plan
from belajarid_recon.components import ScaledClock, SystemRandomness
from belajarid_recon.directory.connect import connect
from belajarid_recon.errors import BusyError, DirectoryError
from belajarid_recon.plan.file import read_plan
from belajarid_recon.settings import Lease, Settings
from belajarid_recon.state.folders import open_run
from belajarid_recon.state.lock import StateLock

REFUSED = 75
"""How an applier ends that its disk has stopped."""
FAULTY = 70
"""How an applier ends that a fault of its own has stopped."""
STOPPED = 76
"""How an applier ends that the directory has stopped."""


def main() -> None:
    """Serve until standard input ends, or, when it does not fork, one applier."""
    world = orjson.loads(sys.argv[1])
    target = world["target"] | {name: Path(world["target"][name]) for name in ("state", "credentials")}
    settings = settings_of(Target(**target), **world["apply"])
    clock = ScaledClock(settings.endpoint.time_scale)
    components = ApplyComponents(connect(settings, clock, SystemRandomness()), clock, SystemRandomness())
    if world["forks"]:
        bring_tokens(settings, components)
    gc.freeze()
    for line in sys.stdin.buffer:
        command = orjson.loads(line)
        if world["forks"] and command["sign_in"]:
            bring_tokens(settings, components)
        child = os.fork() if world["forks"] else 0
        if child == 0:
            live(command, settings, components)
        _, status = os.waitpid(child, 0)
        say(status=os.waitstatus_to_exitcode(status))


def bring_tokens(settings: Settings, components: ApplyComponents) -> None:
    """Sign in before the first fork, by connections of twins: two appliers on one connection would read each other's answers."""
    for tenant, twin in connect(settings, components.clock, components.randomness).items():
        twin.customer_id()
        ours, theirs = (one._transports[0]._bearer for one in (components.directories[tenant], twin))
        ours._token, ours._stale_at = theirs._token, theirs._stale_at
        twin.close()


def live(command: dict[str, Any], settings: Settings, components: ApplyComponents) -> None:
    """Be an applier, to the end or to the kill."""
    say(pid=os.getpid())
    os.environ[VARIABLE] = command["kill_point"]
    arm_from_environment()
    lease = Lease(unit=command["unit"])
    settings = settings.model_copy(update={"state": Path(command["state"]), "lease": lease})
    if command["disk"]:
        fault, at = command["disk"]
        FaultyDisk(DiskFault(fault), at).install()
    if command["poison"]:
        poison(components, *command["poison"])
    try:
        with StateLock(settings.state, purpose="kill test") as lock:
            run = open_run(settings.state, command["run_id"])
            plan = read_plan(run.plan)
            say(applying=True)
            if command["applier"] in {"real", "rebuild"}:
                work = apply_plan if command["applier"] == "real" else rebuild_journal
                work(lock, run, plan, settings, components)
            else:
                NaiveApplier(Habit(command["applier"]), run, settings, components).apply(plan)
    except (BusyError, OSError) as error:
        os._exit(REFUSED if command["disk"] else complain(error))
    except DirectoryError as error:
        os._exit(STOPPED if command["may_stop"] else complain(error))
    except ZeroDivisionError:
        os._exit(FAULTY if command["poison"] else 1)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)


def poison(components: ApplyComponents, address: str, effect: str) -> None:
    """Have each reply about an address, to a sending or to a reading, be the end of this process: `kill`, or a `fault`."""

    def struck(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(about: Any) -> Any:
            answer = real(about)
            if address in (about, about["primaryEmail"] if isinstance(about, dict) else ""):
                if effect == "kill":
                    os.kill(os.getpid(), signal.SIGKILL)
                raise ZeroDivisionError
            return answer

        return call

    for directory in components.directories.values():
        directory.insert_account = struck(directory.insert_account)
        directory.get_account = struck(directory.get_account)


def complain(error: Exception) -> int:
    """Print what nobody asked for."""
    traceback.print_exception(error)
    return 1


def say(**facts: Any) -> None:
    """One line to the harness."""
    os.write(1, orjson.dumps(facts) + b"\n")


if __name__ == "__main__":
    main()
