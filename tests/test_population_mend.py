"""Mending a kota: the week's exit codes are taken back there and nowhere else."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import polars as pl
import pytest

from belajarid_recon.errors import InputError
from belajarid_recon.population.advance import AdvanceRequest, Plant, advance_population
from belajarid_recon.population.create import CreateRequest, create_population
from belajarid_recon.population.mend import MendRequest, mend_population

SURAKARTA, SINCE = "036100", date(2026, 11, 16)


@pytest.fixture(scope="module")
def weeks(tmp_path_factory) -> tuple[Path, Path]:
    """A week with a planted slice, and the same mended."""
    folder = tmp_path_factory.mktemp("mend")
    create_population(CreateRequest(out=folder / "one", people=4_000, seed=3))
    advance_population(
        AdvanceRequest(source=folder / "one", out=folder / "two", plant=Plant(kode_kab=SURAKARTA, share=0.2))
    )
    mend_population(MendRequest(folder / "two", folder / "mended", SURAKARTA, SINCE))
    return folder / "two", folder / "mended"


def exits(folder: Path) -> pl.DataFrame:
    """Registrations that ended since the day, with the kabupaten or kota of their school."""
    schools = pl.read_parquet(folder / "sekolah.parquet").select(
        school=pl.col("sekolah_id").str.to_lowercase(), kota=pl.col("kode_wilayah").str.slice(0, 3) + "100"
    )
    rows = pl.read_parquet(folder / "registrasi_peserta_didik.parquet").filter(pl.col("tanggal_keluar") >= SINCE)
    return rows.with_columns(school=pl.col("sekolah_id").str.to_lowercase()).join(schools, on="school")


def test_the_planted_exits_are_gone(weeks):
    """In the mended kota only transfers inside a jenjang keep their code; elsewhere nothing has changed."""
    two, mended = weeks
    planted = pl.read_parquet(two / "truth" / "truth.parquet").filter(pl.col("event") == "planted")
    before, after = exits(two), exits(mended)
    assert planted.height > 100
    assert before.filter(pl.col("kota") == SURAKARTA).height >= planted.height
    assert set(after.filter(pl.col("kota") == SURAKARTA)["jenis_keluar_id"]) <= {"2"}
    assert after.filter(pl.col("kota") != SURAKARTA).equals(before.filter(pl.col("kota") != SURAKARTA))


def test_nothing_else_is_touched(weeks):
    """Rows, their order and every other column and table stay as they were."""
    two, mended = weeks
    for path in sorted(two.glob("*.parquet")):
        before, after = pl.read_parquet(path), pl.read_parquet(mended / path.name)
        for column in ("jenis_keluar_id", "tanggal_keluar", "tgl_ptk_keluar"):
            before, after = (frame.drop(column, strict=False) for frame in (before, after))
        assert after.equals(before), path.name


def test_what_is_no_population_is_refused(tmp_path: Path):
    """An empty folder is named, with the remedy."""
    (tmp_path / "nothing").mkdir()
    with pytest.raises(InputError, match="not a finished population"):
        mend_population(MendRequest(tmp_path / "nothing", tmp_path / "out", SURAKARTA, SINCE))
