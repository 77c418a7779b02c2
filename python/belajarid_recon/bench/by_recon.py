"""Our own comparison."""

from __future__ import annotations

from collections.abc import Callable

from belajarid_recon import differences
from belajarid_recon.bench.job import Job

_SEED = 0x5EED
"""Drawn anew for each run elsewhere; a benchmark repeats."""


def by_diff(job: Job) -> None:
    """The public function, as anybody calls it."""
    differences.diff(
        job.source,
        job.directory,
        key=job.key,
        attributes=job.attributes,
        seed=_SEED,
        memory_limit=differences.MEMORY_LIMIT if job.memory_limit is None else job.memory_limit,
        threads=job.threads,
        temporary_folder=job.temporary_folder,
        out=job.out,
        allow_disjoint=True,
    )


FORMS: dict[str, Callable[[Job], None]] = {"diff": by_diff}
