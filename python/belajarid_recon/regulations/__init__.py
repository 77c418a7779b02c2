"""Dated rules with their legal source: who may hold which account, and in which domain."""

from belajarid_recon.regulations.choice import known_regulations, load_regulations
from belajarid_recon.regulations.definition import Domains, Duties, Regulation, domains, duties
from belajarid_recon.regulations.description import describe

__all__ = ["Domains", "Duties", "Regulation", "describe", "domains", "duties", "known_regulations", "load_regulations"]
