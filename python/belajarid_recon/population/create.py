"""Create a population: seeded synthetic people over real schools and regions, in the twelve tables of a national extract."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import polars as pl

from belajarid_recon.population.block import VILLAGES, Block, World, each_block
from belajarid_recon.population.calendar import SchoolCalendar
from belajarid_recon.population.names import build_model, read_numbers, read_shipped
from belajarid_recon.population.places import Places, load_places, regions_table, village_code
from belajarid_recon.population.pupils import EXTRACURRICULAR, make_pupils
from belajarid_recon.population.randomness import Draws, uuid
from belajarid_recon.population.sizing import Sizing, size_schools
from belajarid_recon.population.staff import make_staff
from belajarid_recon.population.storage import PopulationWriter, Summary, claim_folder

DEMO_REGIONS = tuple(read_numbers("sizes")["demo"]["regions"])
DEMO_DATE = date(2026, 11, 15)

_TAIL_WORDS_MIN, _TAIL_WORDS_MAX = 1 << 12, 1 << 17


@dataclass(frozen=True, slots=True)
class CreateRequest:
    """What to create. `regions` are names ("Kota Surakarta"), kode_kab, provinces, or ("all",).

    `schools_file` is a whole list of schools (Parquet: npsn, nama, bentuk, status, kode_kec, sekolah_id) and
    `regions_file` its regions (CSV: kode_kec, kode_prov, provinsi, kode_kab, kabupaten_kota, kecamatan); without them
    the shipped schools of two provinces are used.
    """

    out: Path
    people: int = 200_000
    seed: int = 1
    day: date = DEMO_DATE
    regions: tuple[str, ...] = DEMO_REGIONS
    schools_file: Path | None = None
    regions_file: Path | None = None
    progress: Callable[[int, int], None] | None = None
    """Called with (people made, people asked for) after each block."""


def create_population(request: CreateRequest) -> Summary:
    """Create the population; the same request gives the same bytes. Memory is that of two blocks, whatever the size.

    Raises SettingsError for a region that is unknown or cannot hold that many people, InputError for an unreadable
    list or an occupied folder.
    """
    places = load_places(request.regions, request.schools_file, request.regions_file)
    sizing = size_schools(places.schools, request.people, Draws(request.seed, "sizing"))
    claim_folder(request.out)
    world = _make_world(request, places, sizing)
    schools = soil_schools(sizing.schools, world.dirt["schools"], Draws(request.seed, "schools"))
    schools = schools.with_columns(province=world.model.province_number(pl.col("kode_prov")))
    writer = PopulationWriter(request.out, sizing.blocks)
    writer.write("mst_wilayah", regions_table(places, VILLAGES), None)
    made = 0

    def work(number: int) -> int:
        rows = schools.filter(pl.col("block") == number).with_columns(school=pl.int_range(pl.len(), dtype=pl.UInt32))
        return _write_block(writer, Block(world, number, rows, Draws(request.seed, f"block/{number}")))

    def done(people: int) -> None:
        nonlocal made
        made += people
        if request.progress is not None:
            request.progress(made, request.people)

    each_block(sizing.blocks, work, done)
    calendar = world.calendar
    summary = Summary(request.out, made, request.seed, calendar.day, calendar.semester, writer.rows)
    writer.finish(summary)
    return summary


def _make_world(request: CreateRequest, places: Places, sizing: Sizing) -> World:
    """Build what all blocks share; the tail vocabulary grows with the population up to a bound."""
    provinces = tuple(places.regions["kode_prov"].unique().sort().to_list())
    tail_words = min(max(_TAIL_WORDS_MIN, 1 << (request.people // 16).bit_length()), _TAIL_WORDS_MAX)
    return World(
        model=build_model(Draws(request.seed, "names"), provinces, tail_words),
        calendar=SchoolCalendar(request.day),
        dirt=read_numbers("dirt"),
        nik_regions=read_shipped("regions")["nik_region"].cast(pl.Int64).unique().sort(),
        blocks=sizing.blocks,
    )


def soil_schools(schools: pl.DataFrame, shares: dict[str, float], draws: Draws) -> pl.DataFrame:
    """Give schools their foundation, how their region is written, and dirt: npsn, keaktifan, yayasan_id, kode_wilayah."""
    code = draws.unit("code")
    schools = schools.with_row_index("row").with_columns(
        npsn=pl.when(code < shares["no_npsn"])
        .then(None)
        .when(code < shares["no_npsn"] + shares["np_code"])
        .then(pl.lit("NP") + pl.col("row").add(100_000).cast(pl.String))
        .otherwise("npsn"),
        keaktifan=~draws.happens("closed", shares["closed"]),
        yayasan_id=pl.when(~pl.col("negeri")).then(uuid(draws, "yayasan")),
    )
    village = village_code(pl.col("kode_kec"), draws.below("village", VILLAGES))
    padded = pl.when(draws.happens("region", shares["padded_region"])).then(pl.col("kode_kec").str.pad_end(8))
    return schools.with_columns(kode_wilayah=padded.otherwise(village)).drop("row")


def _write_block(writer: PopulationWriter, block: Block) -> int:
    """Make one block, write its tables, and return its true persons."""
    pupils, staff = make_pupils(block), make_staff(block)
    tables = {
        "sekolah": _school_rows(block.schools),
        "yayasan": _foundation_rows(block.schools),
        "peserta_didik": pupils.peserta_didik,
        "registrasi_peserta_didik": pupils.registrasi_peserta_didik,
        "rombongan_belajar": _with_homeroom(block, pupils.rombongan_belajar, staff.homeroom),
        "anggota_rombel": pupils.anggota_rombel,
        "ptk": staff.ptk,
        "ptk_terdaftar": staff.ptk_terdaftar,
        "tugas_tambahan": staff.tugas_tambahan,
        "pengguna": staff.pengguna,
        "role_pengguna": staff.role_pengguna,
    }
    for table, rows in tables.items():
        writer.write(table, rows, block.number)
    truth = pl.concat([pupils.truth, staff.truth]).with_columns(block=pl.lit(block.number, dtype=pl.Int32))
    writer.write("truth", truth, block.number)
    return int((truth["person_id"] == truth["true_person_id"]).sum())


def _school_rows(schools: pl.DataFrame) -> pl.DataFrame:
    """`sekolah`."""
    return schools.select(
        "sekolah_id",
        "nama",
        "npsn",
        bentuk_pendidikan_id=pl.col("bentuk").cast(pl.Int64),
        status_sekolah=pl.when("negeri").then(1).otherwise(2).cast(pl.Int32),
        yayasan_id="yayasan_id",
        kode_wilayah="kode_wilayah",
        keaktifan="keaktifan",
        soft_delete=pl.lit(0, dtype=pl.Int32),
    )


def _foundation_rows(schools: pl.DataFrame) -> pl.DataFrame:
    """`yayasan`: one for each private school."""
    return schools.filter(pl.col("yayasan_id").is_not_null()).select(
        "yayasan_id",
        nama=pl.lit("YAYASAN ") + pl.col("nama"),
        kode_wilayah=pl.col("kode_kec").str.pad_end(8),
        soft_delete=pl.lit(0, dtype=pl.Int32),
    )


def _with_homeroom(block: Block, classes: pl.DataFrame, teachers: pl.DataFrame) -> pl.DataFrame:
    """Give each regular class a home-room teacher of its school (`ptk_id`), in turn."""
    schools = block.schools.select("school", "sekolah_id")
    lists = teachers.group_by("school", maintain_order=True).agg("ptk_id").join(schools, on="school").drop("school")
    turn = pl.int_range(pl.len()).over("sekolah_id")
    joined = classes.join(lists, on="sekolah_id", how="left", maintain_order="left")
    teacher = pl.col("ptk_id").list.get(turn % pl.col("ptk_id").list.len(), null_on_oob=True)
    return joined.with_columns(ptk_id=pl.when(pl.col("jenis_rombel") != EXTRACURRICULAR).then(teacher))
