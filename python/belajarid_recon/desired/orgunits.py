"""Where an account lives: province, kabupaten or kota, role. A unit for each school would not fit (40,000 a customer)."""

from __future__ import annotations

import polars as pl

from belajarid_recon.records import Reference
from belajarid_recon.schemas import Role

UNIT_OF_ROLE = {Role.PUPIL: "Siswa", Role.GURU: "Guru", Role.ADMIN: "Admin"}

_PROVINCE_PREFIX = r"(?i)^prov(?:insi|\.)\s*"
_NOT_IN_UNITS = r"[/#+<>\\]+"
_CONTROL = r"[\p{C}\s]+"


def unit_paths(reference: Reference) -> pl.DataFrame:
    """`kode_kabkota`, `unit`: the path of each kabupaten or kota, `/Jawa Barat/Kota Bandung`.

    The register's names without "Prov."; characters a unit's name or path may not have become a hyphen.
    """
    return reference.regions.select(
        "kode_kabkota",
        unit=pl.concat_str(
            pl.lit("/"),
            _unit_name(pl.col("province").str.replace(_PROVINCE_PREFIX, "")),
            pl.lit("/"),
            _unit_name(pl.col("kabkota")),
        ),
    )


def with_units_above(paths: pl.DataFrame) -> pl.DataFrame:
    """`tenant`, `ou_path` of these units and of all units above them, each once; a unit comes after the one above it."""
    levels = [paths.select("tenant", "ou_path").drop_nulls().unique()]
    while levels[-1].height:
        above = pl.col("ou_path").str.extract(r"^(.+)/[^/]+$")
        levels.append(levels[-1].with_columns(above).drop_nulls().unique())
    return pl.concat(levels).unique().sort("tenant", pl.col("ou_path").str.count_matches("/"), "ou_path")


def _unit_name(name: pl.Expr) -> pl.Expr:
    plain = name.str.replace_all(_CONTROL, " ").str.replace_all(_NOT_IN_UNITS, "-").str.strip_chars(" -")
    return pl.when(plain != "").then(plain).otherwise(pl.lit("-"))
