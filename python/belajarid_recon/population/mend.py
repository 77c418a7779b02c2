"""Mend a kabupaten or kota: take back the exit codes its schools gave since a day, as an operator does after a mass action went wrong."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import polars as pl

from belajarid_recon.errors import InputError
from belajarid_recon.population.sizing import form_table
from belajarid_recon.population.storage import claim_folder

_EXIT_DATES = {
    "registrasi_peserta_didik": ("peserta_didik_id", "tanggal_keluar"),
    "ptk_terdaftar": ("ptk_id", "tgl_ptk_keluar"),
}


@dataclass(frozen=True, slots=True)
class MendRequest:
    """What to mend: exit codes of `kode_kab` dated `since` or later."""

    source: Path
    out: Path
    kode_kab: str
    since: date


def mend_population(request: MendRequest) -> dict[str, int]:
    """Copy a population without those exit codes; returns how many rows of each table were mended.

    All of them are taken back, the true ones too, because nobody can tell them apart from outside: the schools enter those again one
    by one. A row of somebody who has another row at a school of the same jenjang stays ended: that is a transfer. Raises
    InputError for a folder that is no population or an occupied one.
    """
    claim_folder(request.out)
    try:
        shutil.copytree(request.source, request.out, dirs_exist_ok=True)
        schools = _schools(request.source)
        return {table: _mend(request, table, schools) for table in _EXIT_DATES}
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InputError(
            f"not a finished population: {request.source}", hint="make one with `population create`"
        ) from error


def _files(folder: Path, table: str) -> list[Path]:
    single = folder / f"{table}.parquet"
    return [single] if single.exists() else sorted((folder / table).glob("*.parquet"))


def _schools(folder: Path) -> pl.DataFrame:
    """`school` (lower-case id), `jenjang` and `kode_kab` of every school."""
    regions = pl.read_parquet(folder / "mst_wilayah.parquet").select(
        kode_kec=pl.col("kode_wilayah").str.strip_chars(), kode_kab=pl.col("mst_kode_wilayah").str.strip_chars()
    )
    return (
        pl.concat([pl.read_parquet(path) for path in _files(folder, "sekolah")])
        .select(
            school=pl.col("sekolah_id").str.to_lowercase(),
            kode_kec=pl.col("kode_wilayah").str.slice(0, 6),
            bentuk=pl.col("bentuk_pendidikan_id").cast(pl.UInt8),
        )
        .join(regions, on="kode_kec", how="left")
        .join(form_table().select("bentuk", "jenjang"), on="bentuk", how="left")
    )


def _mend(request: MendRequest, table: str, schools: pl.DataFrame) -> int:
    person, exit_date = _EXIT_DATES[table]
    paths = _files(request.out, table)
    where = schools.select("school", "jenjang", "kode_kab")
    keyed = [
        pl.read_parquet(path)
        .with_columns(person=pl.col(person).str.to_lowercase(), school=pl.col("sekolah_id").str.to_lowercase())
        .join(where, on="school", how="left", maintain_order="left")
        for path in paths
    ]
    whole = pl.concat(keyed)
    if "tahun_ajaran_id" in whole.columns:  # an assignment of an earlier year keeps nobody anywhere
        whole = whole.filter(pl.col("tahun_ajaran_id") == pl.col("tahun_ajaran_id").max())
    elsewhere = (
        whole.filter(pl.col("jenis_keluar_id").is_null())
        .select("person", "jenjang")
        .unique()
        .with_columns(elsewhere=pl.lit(value=True))
    )
    mended = 0
    for path, rows in zip(paths, keyed, strict=True):
        judged = rows.join(elsewhere, on=["person", "jenjang"], how="left", maintain_order="left", nulls_equal=True)
        mistaken = (
            (pl.col("kode_kab") == request.kode_kab)
            & (pl.col(exit_date) >= request.since)
            & pl.col("elsewhere").is_null()
        ).fill_null(value=False)
        mended += judged.select(mistaken.sum()).item()
        judged.with_columns(pl.when(~mistaken).then(name).alias(name) for name in ("jenis_keluar_id", exit_date)).drop(
            "person", "school", "jenjang", "kode_kab", "elsewhere"
        ).write_parquet(path)
    return mended
