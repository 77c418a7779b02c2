"""Reconciles belajar.id Google Workspace accounts with the national school register, Dapodik.

As a library: `diff` and `allocate_user_ids`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from belajarid_recon.differences import Diff, diff
    from belajarid_recon.naming.allocation import allocate_user_ids

__version__ = "0.1.0"
__all__ = ["Diff", "__version__", "allocate_user_ids", "diff"]

_HOMES = {
    "diff": "belajarid_recon.differences",
    "Diff": "belajarid_recon.differences",
    "allocate_user_ids": "belajarid_recon.naming.allocation",
}
"""Public names and the modules that hold them, loaded when first asked for: a command that needs none of them starts faster."""


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
