"""Kills in numbers that no test waits for: `make soak`.

Prints a line for each swarm, with its seed, and ends with 1 on any violation, and when a full swarm has passed a kill point by.

A swarm of the same seed has the same plans, faults and kill points; the instants at which requests overlap are the machine's own.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from appliers.deck import KINDS_DEALT
from appliers.harness import Report, SwarmRequest, points_hit, swarms

SWARM_KILLS = 2_000
FRESH_SWARM_KILLS = 100
SHOWN_MAX = 20


def main() -> int:
    """Read what was asked, and run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100_000, help="of forked appliers, at named points")
    parser.add_argument(
        "--fresh", type=int, default=1_000, help="of fresh processes, at named points and at any instant"
    )
    parser.add_argument("--seed", type=int, default=time.time_ns() // 1_000_000, help="of the first swarm")
    asked = parser.parse_args()
    forked = [SwarmRequest(kills=count, seed=0) for count in _shares(asked.kills, SWARM_KILLS)]
    fresh = [
        SwarmRequest(kills=count, seed=0, creations=40, kills_of_case=12, random_share=0.5)
        for count in _shares(asked.fresh, FRESH_SWARM_KILLS)
    ]
    reports = [*_run(forked, asked.seed, forks=True), *_run(fresh, asked.seed + len(forked), forks=False)]
    kills = sum(report.kills for report in reports)
    violations = sum(len(report.violations) for report in reports)
    hit = points_hit(sum((report.by_point for report in reports), Counter()))
    _tell(f"{kills:,} kills in {sum(report.cases for report in reports):,} cases; {hit:.0%} of the kill points hit")
    passed_by = [report.seed for report in reports if report.kills >= SWARM_KILLS and report.points_hit < 1.0]
    for seed in passed_by:
        _tell(f"seed {seed}: a full swarm that has not hit every kill point")
    met: Counter[str] = sum((report.met for report in reports), Counter())
    _tell(f"{met.total():,} faults met; kinds never met: {', '.join(sorted(KINDS_DEALT - {*met})) or 'none'}")
    _tell(f"{violations:,} violations")
    return 1 if violations or passed_by else 0


def _shares(kills: int, most: int) -> list[int]:
    return [min(most, kills - done) for done in range(0, kills, most)]


def _run(requests: list[SwarmRequest], seed: int, *, forks: bool) -> Iterator[Report]:
    """The swarms, each with a seed of its own, told as they end."""
    for report in swarms([replace(request, seed=seed + n) for n, request in enumerate(requests)], forks=forks):
        _tell(f"{'forked' if forks else 'fresh'} {report.line()}")
        for violation in report.violations[:SHOWN_MAX]:
            _tell(f"  {violation.seed}: {violation.what}")
        yield report


def _tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
