"""The small tables as every part needs them: schools with their region and jenjang, and the classes of the semester."""

from __future__ import annotations

from dataclasses import dataclass, replace

import polars as pl

from belajarid_recon.records.judging import in_series, judge
from belajarid_recon.regulations import domains, duties
from belajarid_recon.schemas import QUARANTINE
from belajarid_recon.sources import identifiers
from belajarid_recon.sources.columns import fault
from belajarid_recon.sources.parts import Broadcast
from belajarid_recon.sources.reasons import QuarantineReason
from belajarid_recon.sources.tables import Table, TableCounts, repeated_rows

_LEVEL_PROVINCE, _LEVEL_KABKOTA = 1, 2
_LEVELS_BELOW = 2  # kecamatan, village


@dataclass(frozen=True)
class Reference:
    """What the parts look up.

    `schools`: sekolah_id, npsn (null: none yet), form, jenjang (null: outside belajar.id), kode_kabkota, open.
    `regions`: kode_kabkota, province, kabkota (names as registered). `classes`: rombongan_belajar_id, sekolah_id, grade, of the
    current semester and of kinds that carry a grade. `known_classes`: ids of every accepted class. `quarantine` and `counts`
    are those of the tables read here.
    """

    schools: pl.DataFrame
    regions: pl.DataFrame
    classes: pl.DataFrame
    known_classes: pl.Series
    quarantine: pl.DataFrame
    counts: dict[str, TableCounts]

    def of_classes(self, wanted: pl.Series) -> Reference:
        """The same with only the classes that `wanted` (16 bytes each) names.

        A part names a fraction of the country's millions: looked through once here, they are not hashed again by every rule.
        """
        known = self.known_classes.to_frame("rombongan_belajar_id")
        there = in_series("rombongan_belajar_id", wanted.unique())
        return replace(
            self, classes=self.classes.filter(there), known_classes=known.filter(there)["rombongan_belajar_id"]
        )


def make_reference(broadcast: Broadcast) -> Reference:
    """Check the small tables and join what the parts look up in them."""
    regions = _unrepeated(broadcast.mst_wilayah, "kode_wilayah")
    places = _places(regions.frame)
    schools = _schools(_unrepeated(broadcast.sekolah, "sekolah_id"), places)
    yayasan = _unrepeated(broadcast.yayasan, "yayasan_id")
    classes = _unrepeated(broadcast.classes, "rombongan_belajar_id")
    stray = ~in_series("sekolah_id", schools.frame["sekolah_id"])
    classes = judge(classes, pl.when(stray).then(fault("sekolah_id", QuarantineReason.SCHOOL_UNKNOWN)))
    tables = {"mst_wilayah": regions, "sekolah": schools, "yayasan": yayasan, "rombongan_belajar": classes}
    accepted = {name: table.read - table.aside.height for name, table in tables.items()}
    unused = {"rombongan_belajar": accepted["rombongan_belajar"] - classes.frame.filter(_carries_grade()).height}
    return Reference(
        schools=schools.frame.select("sekolah_id", "npsn", "form", "jenjang", "kode_kabkota", "open"),
        regions=places.select("kode_kabkota", "province", "kabkota").unique("kode_kabkota").sort("kode_kabkota"),
        classes=classes.frame.filter(_carries_grade()).select(
            "rombongan_belajar_id", "sekolah_id", grade="tingkat_pendidikan_id"
        ),
        known_classes=pl.concat([classes.frame["rombongan_belajar_id"], broadcast.other_classes]),
        quarantine=pl.concat([table.quarantine(name) for name, table in tables.items()]).cast(QUARANTINE),
        counts={
            name: TableCounts(table.read, accepted[name], table.aside.height, unused.get(name, 0))
            for name, table in tables.items()
        },
    )


def _unrepeated(table: Table, key: str) -> Table:
    return table.set_aside(repeated_rows(table.frame, [key]))


def _carries_grade() -> pl.Expr:
    return pl.col("jenis_rombel").is_in(list(duties().grade_classes)) & ~pl.col("soft_delete")


def _places(regions: pl.DataFrame) -> pl.DataFrame:
    """Every region at or below a kabupaten or kota: code, kode_kabkota, and the names of it and its province.

    Follows `mst_kode_wilayah` upwards; no meaning is read into the digits, for the codings of register, statistics office and home
    ministry disagree on them.
    """
    parent = regions.select(above="kode_wilayah", above_level="id_level_wilayah", higher="mst_kode_wilayah")
    walk = regions.select(code="kode_wilayah", at="kode_wilayah", level="id_level_wilayah", up="mst_kode_wilayah")
    for _ in range(_LEVELS_BELOW):
        climbs = pl.col("level") > _LEVEL_KABKOTA
        walk = walk.join(parent, left_on="up", right_on="above", how="left").select(
            "code",
            at=pl.when(climbs).then("up").otherwise("at"),
            level=pl.when(climbs).then("above_level").otherwise("level"),
            up=pl.when(climbs).then("higher").otherwise("up"),
        )
    named = regions.select("kode_wilayah", "nama", "id_level_wilayah")
    province = named.filter(pl.col("id_level_wilayah") == _LEVEL_PROVINCE).select("kode_wilayah", province="nama")
    kabkota = named.select("kode_wilayah", kabkota="nama")
    return (
        walk.filter(pl.col("level") == _LEVEL_KABKOTA)
        .join(province, left_on="up", right_on="kode_wilayah", how="inner")
        .join(kabkota, left_on="at", right_on="kode_wilayah", how="inner")
        .select("code", "province", "kabkota", kode_kabkota="at")
    )


def _schools(table: Table, places: pl.DataFrame) -> Table:
    """Schools with jenjang and region. A village that is not in the region table counts as its kecamatan (first six characters)."""
    jenjang = domains().jenjang_of_form()
    place = places.select("code", "kode_kabkota")
    frame = (
        table.frame.with_columns(identifiers.npsn("npsn"), kecamatan=pl.col("kode_wilayah").str.slice(0, 6))
        .join(place, left_on="kode_wilayah", right_on="code", how="left", maintain_order="left")
        .join(place, left_on="kecamatan", right_on="code", how="left", suffix="_kecamatan", maintain_order="left")
        .with_columns(
            kode_kabkota=pl.coalesce("kode_kabkota", "kode_kabkota_kecamatan"),
            form="bentuk_pendidikan_id",
            jenjang=pl.col("bentuk_pendidikan_id").replace_strict(jenjang, default=None, return_dtype=pl.String),
            open=pl.col("keaktifan") & ~pl.col("soft_delete"),
        )
    )
    joined = Table(frame, table.aside, table.files, table.read)
    nowhere = pl.col("kode_kabkota").is_null()
    return judge(joined, pl.when(nowhere).then(fault("kode_wilayah", QuarantineReason.REGION_UNKNOWN)))
