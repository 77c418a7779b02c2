"""Stage 2: rows become people and duties; what cannot be used is quarantined with a reason."""

from belajarid_recon.records.contacts import Shared, contact_evidence, find_shared
from belajarid_recon.records.duplicates import (
    EVIDENCE,
    Doubts,
    evidence_seed,
    find_duplicates,
    find_duplicates_in,
    write_evidence,
)
from belajarid_recon.records.made import Records, add_counts, check_counts, make_records
from belajarid_recon.records.period import Period
from belajarid_recon.records.reference import Reference, make_reference

__all__ = [
    "EVIDENCE",
    "Doubts",
    "Period",
    "Records",
    "Reference",
    "Shared",
    "add_counts",
    "check_counts",
    "contact_evidence",
    "evidence_seed",
    "find_duplicates",
    "find_duplicates_in",
    "find_shared",
    "make_records",
    "make_reference",
    "write_evidence",
]
