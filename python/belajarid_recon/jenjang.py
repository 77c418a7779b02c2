"""The education levels, apart from the tables: who needs no table need not load polars."""

from __future__ import annotations

from enum import StrEnum


class Jenjang(StrEnum):
    """Education levels; each has its own domains and tenant. The order is the byte in an account key: append only."""

    PAUD = "paud"
    SD = "sd"
    SMP = "smp"
    SMA = "sma"
    SMK = "smk"
    SLB = "slb"
    KESETARAAN = "kesetaraan"


JENJANG_CODE = {jenjang: code for code, jenjang in enumerate(Jenjang)}
"""The last byte of an account key."""
