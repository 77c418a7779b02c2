"""Places: regions, real schools, and the units the public list lacks.

PAUD units, PKBM and SKB are in no open list, so they are synthesised: their number in a subdistrict follows from its
primary schools, their codes start with 8 (no real NPSN does), and their UUIDs follow from the code. None of it
depends on the seed: the same unit is the same in every population.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from belajarid_recon.errors import InputError, SettingsError
from belajarid_recon.population.names import read_shipped
from belajarid_recon.population.randomness import Draws, uuid
from belajarid_recon.population.sizing import units_per_primary_school

FORM_CODES = {"SD": 5, "SMP": 6, "SDLB": 7, "SMPLB": 8, "SMA": 13, "SMLB": 14, "SMK": 15, "SLB": 29}
"""bentuk_pendidikan_id of the forms in the public list (reference table of the register)."""

_UNIT_CODES_START = 80_000_000
_UNITS_PER_SUBDISTRICT_MAX = 1_000
_WORLD = Draws(0, "places")
"""Synthesised units are facts of this package, not of a seed."""

_SKB = 40

_UNIT_WORDS = {
    1: (
        "Pertiwi",
        "Dharma Wanita",
        "Aisyiyah Bustanul Athfal",
        "Kartika",
        "Negeri Pembina",
        "Islam Terpadu",
        "Kanisius",
        "Bhayangkari",
    ),
    2: ("Melati", "Mawar", "Anggrek", "Kenanga", "Tunas Bangsa", "Cerdas Ceria", "Bunga Harapan", "Permata Hati"),
    3: ("Kasih Ibu", "Bina Balita", "Sayang Anak", "Pelangi"),
    4: ("Pos PAUD Melati", "Pos PAUD Dahlia", "Pos PAUD Flamboyan", "Taman Posyandu Sehat"),
    27: ("Bina Insani", "Harapan Bangsa", "Ngudi Kapinteran", "Tunas Mandiri", "Cahaya Ilmu", "Mitra Karya"),
    40: ("",),
}
"""Words that names of such units are made of; the subdistrict and a number follow."""


@dataclass(frozen=True, slots=True)
class Places:
    """What a population stands on.

    `regions`: kode_kec, kode_prov, provinsi, kode_kab, kabupaten_kota, kecamatan, nik_region, schools (count).
    `schools`: npsn, nama, bentuk, negeri, kode_kec, sekolah_id (36 characters), kode_kab, kode_prov, kabupaten_kota,
    kecamatan, nik_region; sorted by kode_kab, kode_kec, npsn.
    """

    regions: pl.DataFrame
    schools: pl.DataFrame


def load_places(wanted: tuple[str, ...], schools_file: Path | None, regions_file: Path | None) -> Places:
    """Load the schools of the wanted regions (names or kode_kab, or `all`), from the package or from a whole list.

    Raises InputError for an unreadable list, SettingsError for a region that is unknown or has no school here.
    """
    shipped = read_shipped("regions")
    regions = shipped if regions_file is None else _read_regions(regions_file, shipped)
    schools = read_shipped("schools") if schools_file is None else _read_list(schools_file)
    chosen = choose_regions(regions, schools, wanted)
    inside = schools.join(chosen, on="kode_kec", how="inner")
    real = inside.with_columns(sekolah_id=_as_uuid(pl.col("sekolah_id"))).select(_COLUMNS)
    every = pl.concat([real, _synthesise(chosen, inside).select(_COLUMNS)])
    return Places(chosen, every.sort("kode_kab", "kode_kec", "npsn", "sekolah_id"))


_COLUMNS = [
    "npsn", "nama", "bentuk", "negeri", "kode_kec", "sekolah_id",
    "kode_kab", "kode_prov", "kabupaten_kota", "kecamatan", "nik_region",
]  # fmt: skip


def choose_regions(regions: pl.DataFrame, schools: pl.DataFrame, wanted: tuple[str, ...]) -> pl.DataFrame:
    """The rows of `regions` that `wanted` names; every region that has a school here for `all`."""
    present = regions.join(schools.select("kode_kec").unique(), on="kode_kec", how="semi")
    if tuple(name.strip().lower() for name in wanted) == ("all",):
        return present
    kept = []
    for name in wanted:
        rows = _named(regions, name.strip())
        if rows.is_empty():
            raise SettingsError(f"region is unknown: {name}", hint=_suggest(regions, name.strip()))
        if present.join(rows.select("kode_kec"), on="kode_kec", how="semi").is_empty():
            raise SettingsError(
                f"the shipped list has no school in this region: {name}",
                hint="pass the whole list of schools with --schools, or choose a region of Jawa Tengah or D.I. Yogyakarta",
            )
        kept.append(rows["kode_kec"])
    return present.filter(pl.col("kode_kec").is_in(pl.concat(kept).implode()))


def _named(regions: pl.DataFrame, name: str) -> pl.DataFrame:
    code = pl.col("kode_kab") == name
    bare = pl.col("kabupaten_kota").str.to_lowercase() == name.lower()
    province = pl.col("provinsi").str.to_lowercase().str.replace(r"^prov\. ", "") == name.lower().removeprefix("prov. ")
    return regions.filter(code | bare | (pl.col("kode_prov") == name) | province)


def _suggest(regions: pl.DataFrame, name: str) -> str:
    names = regions["kabupaten_kota"].unique().sort().to_list()
    lowered = {each.lower(): each for each in names}
    close = difflib.get_close_matches(name.lower(), list(lowered), n=3, cutoff=0.5)
    close += [each for each in lowered if name.lower() and name.lower() in each and each not in close][:3]
    if not close:
        return 'use a name such as "Kota Surakarta", a kode_kab such as 036100, a province, or all'
    return "did you mean: " + ", ".join(lowered[each] for each in close)


def _read_list(path: Path) -> pl.DataFrame:
    try:
        return read_schools(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InputError(
            f"list of schools cannot be read: {path}",
            hint=f"expected Parquet with npsn, nama, bentuk, status, kode_kec, sekolah_id: {type(error).__name__}",
        ) from error


def _read_regions(path: Path, shipped: pl.DataFrame) -> pl.DataFrame:
    try:
        return _add_nik_regions(pl.read_csv(path, infer_schema_length=0), shipped)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InputError(
            f"list of regions cannot be read: {path}",
            hint="expected CSV with kode_kec, kode_prov, provinsi, kode_kab, kabupaten_kota, kecamatan",
        ) from error


def read_schools(path: Path) -> pl.DataFrame:
    """Read the public list of schools: npsn, nama, bentuk (code), negeri, kode_kec, sekolah_id (16 bytes)."""
    table = pl.read_parquet(path).with_columns(pl.col("bentuk", "status", "kode_kec").cast(pl.String))
    return table.select(
        "npsn",
        "nama",
        pl.col("bentuk").replace_strict(FORM_CODES, return_dtype=pl.UInt8),
        negeri=pl.col("status") == "N",
        kode_kec=pl.col("kode_kec"),
        sekolah_id=pl.col("sekolah_id"),
    )


def _add_nik_regions(regions: pl.DataFrame, shipped: pl.DataFrame) -> pl.DataFrame:
    """Complete a regions CSV with `nik_region` and `schools` from the shipped regions; 990101 where a subdistrict is new."""
    columns = ["kode_kec", "kode_prov", "provinsi", "kode_kab", "kabupaten_kota", "kecamatan"]
    known = shipped.select("kode_kec", "nik_region", "schools")
    return (
        regions.select(columns)
        .join(known, on="kode_kec", how="left")
        .with_columns(pl.col("nik_region").fill_null("990101"), pl.col("schools").fill_null(0))
    )


def _as_uuid(binary: pl.Expr) -> pl.Expr:
    digits = binary.bin.encode("hex")
    cuts = ((0, 8), (8, 4), (12, 4), (16, 4), (20, 12))
    return pl.concat_str([digits.str.slice(*cut) for cut in cuts], separator="-")


def _synthesise(regions: pl.DataFrame, schools: pl.DataFrame) -> pl.DataFrame:
    """The PAUD, PKBM and SKB units of `regions`, by the number of primary schools in each subdistrict."""
    primary = schools.filter(pl.col("bentuk") == FORM_CODES["SD"]).group_by("kode_kec").len("primary")
    counted = (
        regions.join(primary, on="kode_kec", how="left").with_columns(pl.col("primary").fill_null(0)).sort("kode_kec")
    )
    counted = counted.with_columns(seat=pl.int_range(pl.len()).over("kode_kab") == 0, order=_order_of(counted))
    parts = [_units_of(counted, form, ratio) for form, ratio in units_per_primary_school().items()]
    units = pl.concat(parts).sort("kode_kec", "bentuk", "number")
    slot = pl.int_range(pl.len()).over("kode_kec")
    code = _UNIT_CODES_START + pl.col("order").cast(pl.Int64) * _UNITS_PER_SUBDISTRICT_MAX + slot
    units = units.with_columns(code=code).filter(slot < _UNITS_PER_SUBDISTRICT_MAX)
    return units.with_columns(
        npsn=pl.col("code").cast(pl.String),
        sekolah_id=uuid(_WORLD, "unit", "code"),
        negeri=(pl.col("bentuk") == _SKB) | (pl.col("nama").str.contains("Negeri", literal=True)),
    )


def _order_of(regions: pl.DataFrame) -> pl.Series:
    """A number below 10,000 for each subdistrict, fixed by its place in the shipped list of regions."""
    shipped = read_shipped("regions").select("kode_kec").with_row_index("order")
    found = regions.select("kode_kec").join(shipped, on="kode_kec", how="left", maintain_order="left")["order"]
    unknown = pl.int_range(found.len(), eager=True, dtype=pl.UInt32) % 1_000 + 8_000
    return found.zip_with(found.is_not_null(), unknown)


def _units_of(regions: pl.DataFrame, form: int, ratio: float) -> pl.DataFrame:
    """Repeat each subdistrict by its units of one form; the first subdistrict of a regency has at least one of each."""
    by_chance = pl.col("primary") * ratio + _WORLD.unit(f"units/{form}", pl.col("order"))
    count = pl.max_horizontal(by_chance.floor().cast(pl.UInt32), pl.col("seat").cast(pl.UInt32))
    rows = regions.with_columns(count=count).with_columns(number=pl.int_ranges(1, pl.col("count") + 1))
    rows = (
        rows.filter(pl.col("count") > 0)
        .explode("number", empty_as_null=False)
        .with_columns(bentuk=pl.lit(form, dtype=pl.UInt8))
    )
    words = pl.Series(_UNIT_WORDS[form])
    pick = _WORLD.below(f"words/{form}", len(words), pl.col("order") * 1_000 + pl.col("number")).cast(pl.UInt32)
    place = pl.col("kecamatan").str.replace(r"^(Kec\.|Distrik) ", "")
    prefix = {1: "TK", 2: "KB", 3: "TPA", 4: "SPS", 27: "PKBM", 40: "SPNF SKB"}[form]
    name = pl.concat_str(
        [pl.lit(prefix), pl.lit(words).gather(pick), place, pl.col("number").cast(pl.String)], separator=" "
    )
    return rows.with_columns(nama=name.str.replace_all("  ", " ", literal=True))


def regions_table(places: Places, villages_per_subdistrict: int) -> pl.DataFrame:
    """`mst_wilayah` for the population: country, provinces, regencies, subdistricts (padded to 8), and numbered villages.

    Village rows are synthetic: 8 characters, the subdistrict's six digits and two letters, as the register codes
    them.
    """
    regions = places.regions
    top = pl.DataFrame({"code": ["000000"], "nama": ["Indonesia"], "level": [0], "parent": [None]}, schema=_LEVEL)
    provinces = _level(regions, "kode_prov", "provinsi", 1, pl.lit("000000"))
    regencies = _level(regions, "kode_kab", "kabupaten_kota", 2, pl.col("kode_prov"))
    subdistricts = _level(regions, "kode_kec", "kecamatan", 3, pl.col("kode_kab"))
    place = pl.col("kecamatan").str.replace(r"^(Kec\.|Distrik) ", "Desa ")
    villages = [
        regions.select(
            code=village_code(pl.col("kode_kec"), pl.lit(number)),
            nama=pl.concat_str([place, pl.lit(f" {number + 1}")]),
            level=pl.lit(4, dtype=pl.Int64),
            parent=pl.col("kode_kec"),
        )
        for number in range(villages_per_subdistrict)
    ]
    every = pl.concat([top, provinces, regencies, subdistricts, *villages]).sort("level", "code")
    return every.select(
        kode_wilayah=pl.col("code").str.pad_end(8),
        nama="nama",
        id_level_wilayah="level",
        mst_kode_wilayah=pl.col("parent").str.pad_end(8),
    )


def village_code(subdistrict: pl.Expr, number: pl.Expr) -> pl.Expr:
    """The 8-character code of a numbered village (up to 26)."""
    letters = pl.Series([f"A{chr(65 + index)}" for index in range(26)])
    return pl.concat_str([subdistrict, pl.lit(letters).gather(number.cast(pl.UInt32))])


_LEVEL: dict[str, Any] = {"code": pl.String, "nama": pl.String, "level": pl.Int64, "parent": pl.String}


def _level(regions: pl.DataFrame, code: str, name: str, level: int, parent: pl.Expr) -> pl.DataFrame:
    rows = regions.select(code=code, nama=name, level=pl.lit(level, dtype=pl.Int64), parent=parent.cast(pl.String))
    return rows.unique("code", keep="first", maintain_order=True)
