"""Our own comparison."""

from __future__ import annotations

from collections.abc import Callable

from belajarid_recon import _core
from belajarid_recon.bench.job import Job

_SEED = 0x5EED
"""Drawn anew for each run elsewhere; a benchmark repeats."""


def by_core(job: Job) -> None:
    """The whole comparison in the Rust core."""
    _core.diff(
        job.source,
        job.directory,
        key=job.key,
        attributes=job.attributes,
        key_form="auto",
        exact=False,
        normalise={},
        seed=_SEED,
        memory_limit=job.memory_limit or 2 << 30,
        threads=job.threads,
        temporary_folder=job.temporary_folder,
        out=job.out,
        progress=None,
    )


FORMS: dict[str, Callable[[Job], None]] = {"core": by_core}
