"""Maintainers' script: derives the shipped data from the folder of reference data (its SOURCES.md says where each file is from).

Run it as `python -m belajarid_recon.population.derive FOLDER`. Nothing else imports it. What it leaves out it leaves
out for size: schools outside the shipped provinces, positions of schools, and spellings that only matching would
need.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import polars as pl

from belajarid_recon.population.places import read_schools

DATA = Path(__file__).with_name("data")
SHIPPED_PROVINCES = ("030000", "040000")
"""Jawa Tengah and D.I. Yogyakarta: the two demo cities lie there, and about 28,000 schools carry ten million people."""

_RENAMED = {
    "kabtobasamosir": "kabtoba",
    "kabbolaangmongondaw": "kabbolaangmongondow",
    "kabbolaangmongondawselatan": "kabbolaangmongondowselatan",
    "kabbolaangmongondawtimur": "kabbolaangmongondowtimur",
    "kabhumbanghasudutan": "kabhumbanghasundutan",
    "kabkepsangihe": "kabkepulauansangihe",
    "kabkepulauanmorotai": "kabpulaumorotai",
    "kabkepulauansitaro": "kabkepulauansiautagulandangbiaro",
    "kablimapuluhkoto": "kablimapuluhkota",
    "kabmalukutenggarabarat": "kabkepulauantanimbar",
    "kabmamujuutara": "kabpasangkayu",
    "kabmemberamoraya": "kabmamberamoraya",
    "kabmembramotengah": "kabmamberamotengah",
    "kabnagakeo": "kabnagekeo",
    "kabpohuwato": "kabpahuwato",
}
"""Regencies whose two codings spell them differently, letters only."""


def main(folder: Path) -> None:
    """Write every shipped file from `folder`."""
    DATA.mkdir(exist_ok=True)
    schools = read_schools(folder / "schools_npsn_2019.parquet")
    regions = add_nik_codes(_csv(folder / "regions_2019.csv.gz"), _csv(folder / "kemendagri_kec_2024.csv.gz"))
    weights = schools.group_by("kode_kec").len("schools")
    regions = regions.join(weights, on="kode_kec", how="left").with_columns(
        pl.col("schools").fill_null(0).cast(pl.UInt16)
    )
    shipped = schools.filter(pl.col("kode_kec").str.slice(0, 2).is_in([code[:2] for code in SHIPPED_PROVINCES]))
    _write(shipped.sort("kode_kec", "npsn"), "schools")
    _write(regions.sort("kode_kec"), "regions")
    counts = ["n_first", "n_middle", "n_last", "n_only"]
    _write(
        _csv(folder / "name_tokens_dct2019.csv.gz").select("token", "sex", pl.col(counts).cast(pl.UInt16)),
        "name_tokens",
    )
    provinces = _csv(folder / "name_tokens_by_province_dct2019.csv.gz")
    _write(
        provinces.rename({"kode_prov_dapodik": "kode_prov"}).with_columns(pl.col("n").cast(pl.UInt16)), "name_provinces"
    )
    _write(_csv(folder / "name_char_ngrams_dct2019.csv.gz").with_columns(pl.col("n").cast(pl.UInt16)), "name_ngrams")
    patterns = _csv(folder / "names_ethnic_patterns.csv.gz").drop("note").rename({"weight_est": "weight"})
    _write(patterns.with_columns(pl.col("weight").cast(pl.UInt16)), "name_patterns")
    _write(_csv(folder / "names_variants.csv.gz").rename({"variants_pipe_separated": "variants"}), "name_variants")
    scale = _csv(folder / "scale_counts.csv.gz").filter(
        pl.col("measure").is_in(["students", "schools", "teachers", "tendik", "classes"])
    )
    _write(scale.with_columns(pl.col("value").cast(pl.Float64).cast(pl.UInt32)), "scale_counts")


def add_nik_codes(regions: pl.DataFrame, home_affairs: pl.DataFrame) -> pl.DataFrame:
    """Add `nik_region`, the Ministry of Home Affairs' 6-digit code that starts a NIK, to the register's subdistricts.

    By name: the subdistrict inside its regency; else another subdistrict of the regency, in turn; else one of the
    province.
    """
    regions = regions.with_columns(
        kab_key=pl.col("kabupaten_kota").map_elements(_regency_key, return_dtype=pl.String),
        kec_key=pl.col("kecamatan").map_elements(_letters, return_dtype=pl.String),
        prov_key=pl.col("provinsi").map_elements(_letters, return_dtype=pl.String),
    )
    home_affairs = home_affairs.select(
        kab_key=pl.col("kab_kota").map_elements(_regency_key, return_dtype=pl.String),
        kec_key=pl.col("kecamatan").map_elements(_letters, return_dtype=pl.String),
        code=pl.col("kode_kec"),
    )
    exact = home_affairs.group_by("kab_key", "kec_key").agg(exact=pl.col("code").min())
    lists = home_affairs.group_by("kab_key").agg(codes=pl.col("code").sort())
    joined = (
        regions.join(exact, on=["kab_key", "kec_key"], how="left")
        .join(lists, on="kab_key", how="left")
        .sort("kode_kec")
    )
    rank = pl.int_range(pl.len()).over("kode_kab")
    inside = pl.col("codes").list.get(rank % pl.col("codes").list.len(), null_on_oob=True)
    province = pl.coalesce("exact", pl.col("codes").list.first()).first().over("kode_prov")
    filled = joined.with_columns(nik_region=pl.coalesce("exact", inside, province))
    missing = filled.filter(pl.col("exact").is_null())
    sys.stdout.write(f"subdistricts without a namesake: {missing.height} of {filled.height}; ")
    sys.stdout.write(
        f"regencies without one: {missing.filter(pl.col('codes').is_null())['kabupaten_kota'].unique().sort().to_list()}\n"
    )
    return filled.select("kode_kec", "kode_prov", "provinsi", "kode_kab", "kabupaten_kota", "kecamatan", "nik_region")


def _letters(name: str) -> str:
    return re.sub(r"[^a-z]", "", re.sub(r"^(kec|distrik|prov)\.? |\(.*\)", "", name.lower()))


def _regency_key(name: str) -> str:
    kind = "kota" if name.lower().startswith("kota") else "kab"
    key = kind + re.sub(r"[^a-z]", "", re.sub(r"^(kab|kota)( adm)?\.? |\(.*\)|administrasi", "", name.lower()))
    return _RENAMED.get(key, key)


def _csv(path: Path) -> pl.DataFrame:
    return pl.read_csv(path, infer_schema_length=0)


def _write(table: pl.DataFrame, name: str) -> None:
    path = DATA / f"{name}.parquet"
    table.write_parquet(path, compression="zstd", compression_level=19, statistics=False)
    sys.stdout.write(f"{path.name}: {table.height} rows, {path.stat().st_size} bytes\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
