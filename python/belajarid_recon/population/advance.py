"""Advance a population by a week: the next extract of the same world, in another folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import orjson
import polars as pl

from belajarid_recon.errors import InputError, SettingsError
from belajarid_recon.population.block import Block, World, each_block
from belajarid_recon.population.calendar import SchoolCalendar
from belajarid_recon.population.names import build_model, read_numbers, read_shipped
from belajarid_recon.population.pupil_week import advance_pupils, plant_exits
from belajarid_recon.population.randomness import Draws
from belajarid_recon.population.sizing import form_table
from belajarid_recon.population.staff_week import advance_staff
from belajarid_recon.population.storage import FORMAT, TRUTH, PopulationWriter, Summary, claim_folder
from belajarid_recon.population.week import BlockWeek
from belajarid_recon.schemas import EXTRACT

_UNCHANGED = ("sekolah", "yayasan", "mst_wilayah", "rombongan_belajar")
_TAIL_WORDS = 1 << 12


@dataclass(frozen=True, slots=True)
class Plant:
    """A planted bad slice: `share` of the active pupils of regency `kode_kab` gets a false exit code."""

    kode_kab: str
    share: float


@dataclass(frozen=True, slots=True)
class AdvanceRequest:
    """What to advance. `seed` None keeps the population's own.

    Two weeks of one seed still differ, for the date takes part in every draw.
    """

    source: Path
    out: Path
    seed: int | None = None
    days: int = 7
    plant: Plant | None = None
    progress: Callable[[int, int], None] | None = None
    """Called with (people done, people of the source) after each block."""


def advance_population(request: AdvanceRequest) -> Summary:
    """Write the extract `request.days` later. Same source and seed, same bytes; with a plant only the planted rows differ.

    Raises InputError for a folder that is no finished population or an occupied one, SettingsError for a date in
    another semester or a plant in a regency that is not here.
    """
    document = _read_manifest(request.source)
    day = date.fromisoformat(document["date"]) + timedelta(days=request.days)
    _check_semester(document["semester"], day)
    schools = _read_schools(request.source, int(document["blocks"]))
    _check_plant(request.plant, schools)
    claim_folder(request.out)
    seed = int(document["seed"]) if request.seed is None else request.seed
    world = _make_world(request.source, seed, day, int(document["blocks"]))
    writer = PopulationWriter(request.out, world.blocks)
    _copy_unchanged(request, document, writer)
    events: dict[str, int] = {}

    people_done = 0

    def work(number: int) -> tuple[int, dict[str, int]]:
        block = _make_block(world, schools, number, Draws(seed, f"{day.isoformat()}/block/{number}"))
        week = _read_week(request.source, block, day)
        people = int((week.truth["person_id"] == week.truth["true_person_id"]).sum())
        _write_week(request, writer, week)
        return people, week.events

    def done(result: tuple[int, dict[str, int]]) -> None:
        nonlocal people_done
        people, happened = result
        people_done += people
        for event, count in happened.items():
            events[event] = events.get(event, 0) + count
        if request.progress is not None:
            request.progress(people_done, int(document["people"]))

    each_block(world.blocks, work, done)
    people = int(document["people"]) + events.get("entered", 0) + events.get("staff_entered", 0)
    summary = Summary(
        request.out, people, seed, day, world.calendar.semester, writer.rows, dict(sorted(events.items()))
    )
    writer.finish(summary)
    return summary


def _read_manifest(source: Path) -> dict[str, Any]:
    path = source / "extract.json"
    try:
        document = orjson.loads(path.read_bytes())
        known = document["format"] == FORMAT and all(
            key in document for key in ("seed", "date", "semester", "people", "blocks", "tables")
        )
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise InputError(
            f"not a finished population: {source}",
            hint="extract.json must be readable; make one with `population create`",
        ) from error
    if not known:
        raise InputError(f"population has another format: {source}", hint="make it again with `population create`")
    return dict(document)


def _check_semester(semester: str, day: date) -> None:
    if SchoolCalendar(day).semester != semester:
        raise SettingsError(
            f"the population's semester ends before this date: {day.isoformat()}",
            hint="a new semester has new classes: create a population of a later date",
        )


def _check_plant(plant: Plant | None, schools: pl.DataFrame) -> None:
    if plant is None:
        return
    if not 0.0 < plant.share <= 1.0:
        raise SettingsError(f"a planted share must lie above 0 and at most at 1: {plant.share}", hint="for example 0.3")
    present = schools["kode_kab"].unique().sort().to_list()
    if plant.kode_kab not in present:
        raise SettingsError(
            f"the population has no schools in this regency: {plant.kode_kab}", hint="it has " + ", ".join(present[:20])
        )


def _part(source: Path, table: str, number: int, blocks: int) -> Path:
    return source / (f"{table}.parquet" if blocks == 1 else f"{table}/part-{number:03d}.parquet")


def _read_schools(source: Path, blocks: int) -> pl.DataFrame:
    """Schools with block, jenjang, bentuk, kode_kec, kode_kab, kabupaten_kota, nik_region and kode_prov."""
    parts = [
        _read_part(_part(source, "sekolah", number, blocks)).with_columns(block=pl.lit(number, dtype=pl.UInt32))
        for number in range(blocks)
    ]
    schools = pl.concat(parts).with_columns(
        kode_kec=pl.col("kode_wilayah").str.slice(0, 6), bentuk=pl.col("bentuk_pendidikan_id").cast(pl.UInt8)
    )
    regions = _read_part(source / "mst_wilayah.parquet").select(
        kode=pl.col("kode_wilayah").str.strip_chars_end(),
        kabupaten_kota="nama",
        parent=pl.col("mst_kode_wilayah").str.strip_chars_end(),
    )
    parents = regions.select(kode_kec="kode", kode_kab="parent")
    regencies = regions.select(kode_kab="kode", kabupaten_kota="kabupaten_kota", kode_prov="parent")
    codes = read_shipped("regions").select("kode_kec", "nik_region")
    joined = schools.join(parents, on="kode_kec", how="left", maintain_order="left").join(
        regencies, on="kode_kab", how="left", maintain_order="left"
    )
    joined = joined.join(codes, on="kode_kec", how="left", maintain_order="left").with_columns(
        pl.col("nik_region").fill_null("990101")
    )
    return joined.join(form_table().select("bentuk", "jenjang"), on="bentuk", how="left", maintain_order="left")


def _read_part(path: Path) -> pl.DataFrame:
    try:
        return pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InputError(
            f"population file cannot be read: {path}", hint="make the population again with `population create`"
        ) from error


def _make_world(source: Path, seed: int, day: date, blocks: int) -> World:
    regions = _read_part(source / "mst_wilayah.parquet")
    provinces = regions.filter(pl.col("id_level_wilayah") == 1)["kode_wilayah"].str.strip_chars_end().unique().sort()
    return World(
        model=build_model(Draws(seed, f"names/{day.isoformat()}"), tuple(provinces.to_list()), _TAIL_WORDS),
        calendar=SchoolCalendar(day),
        dirt=read_numbers("dirt"),
        nik_regions=read_shipped("regions")["nik_region"].cast(pl.Int64).unique().sort(),
        blocks=blocks,
    )


def _make_block(world: World, schools: pl.DataFrame, number: int, draws: Draws) -> Block:
    rows = schools.filter(pl.col("block") == number).with_columns(
        school=pl.int_range(pl.len(), dtype=pl.UInt32), province=world.model.province_number(pl.col("kode_prov"))
    )
    return Block(world, number, rows, draws)


def _copy_unchanged(request: AdvanceRequest, document: dict[str, Any], writer: PopulationWriter) -> None:
    """Copy the files of tables that a week leaves alone, byte for byte."""
    for table in _UNCHANGED:
        facts = document["tables"][table]
        writer.rows[table] = int(facts["rows"])
        for name in facts["files"]:
            target = request.out / name
            target.parent.mkdir(exist_ok=True)
            try:
                shutil.copyfile(request.source / name, target)
            except OSError as error:
                raise InputError(
                    f"population file cannot be copied: {request.source / name}", hint=str(error.strerror)
                ) from error
            writer.files[table].append(name)


def _read_week(source: Path, block: Block, day: date) -> BlockWeek:
    blocks = block.world.blocks
    tables = {
        table: _read_part(_part(source, table, block.number, blocks))
        for table in EXTRACT
        if table not in ("sekolah", "yayasan", "mst_wilayah")
    }
    truth_path = source / TRUTH / "truth.parquet" if blocks == 1 else _part(source, TRUTH, block.number, blocks)
    truth = _read_part(truth_path).with_columns(event=pl.lit(""))
    return BlockWeek(block, tables, truth, read_numbers("drift"), day, day.toordinal() // 7)


def _write_week(request: AdvanceRequest, writer: PopulationWriter, week: BlockWeek) -> None:
    advance_pupils(week)
    advance_staff(week)
    if request.plant is not None:
        plant_exits(week, request.plant.kode_kab, request.plant.share)
    for table, rows in week.tables.items():
        if table not in _UNCHANGED:
            writer.write(table, rows, week.block.number)
    writer.write(TRUTH, week.truth, week.block.number)
