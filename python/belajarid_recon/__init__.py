"""Reconciles belajar.id Google Workspace accounts with the national school register, Dapodik.

As a library: `allocate_user_ids`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from belajarid_recon.naming.allocation import allocate_user_ids

__all__ = ["__version__", "allocate_user_ids"]

__version__ = "0.1.0"

_PLACES = {"allocate_user_ids": "belajarid_recon.naming.allocation"}
"""Loaded when they are asked for: a command that needs none of them starts sooner."""


def __getattr__(name: str) -> object:
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module has no such attribute: {name}")
