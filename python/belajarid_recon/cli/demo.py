"""`belajarid-recon demo`: two cities, seven tenants, two weeks, every account one real request to the emulator's socket."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated, Any

import polars as pl
import typer
from rich.table import Table

from belajarid_recon import pipeline
from belajarid_recon.cli.commands import DebugOption, JsonOption, show_plan, show_verification
from belajarid_recon.cli.ending import ending
from belajarid_recon.cli.following import following
from belajarid_recon.cli.printer import Printer
from belajarid_recon.cli.starting import write_settings
from belajarid_recon.emulator.launch import EmulatorProcess
from belajarid_recon.emulator.settings import EmulatorSettings
from belajarid_recon.errors import ExitStatus, SettingsError
from belajarid_recon.population.advance import AdvanceRequest, Plant, advance_population
from belajarid_recon.population.create import CreateRequest, create_population
from belajarid_recon.population.mend import MendRequest, mend_population
from belajarid_recon.settings import Settings

FIRST_WEEK = date(2026, 11, 15)
SECOND_WEEK = FIRST_WEEK + timedelta(days=7)
TIME_SCALE = 400.0
"""Emulated seconds in a real one. Google's default quotas allow 10 creations a second in a domain: 85,000 SD pupils would
take more than two hours; at this scale the machine, not the quota, sets the pace."""
PLANTED_SHARE = 0.08
"""Share of a kota's pupils that get a false exit code in week 2."""


@dataclass
class DemoStory:
    """What the demo saw, for the closing table."""

    rows: list[tuple[str, ...]] = field(default_factory=list)
    runs: list[dict[str, Any]] = field(default_factory=list)
    surprises: list[str] = field(default_factory=list)
    """What did not come out as it must; the demo fails when there is any."""


def demo(
    people: Annotated[int, typer.Option("--people", min=1_000, help="People in both cities together.")] = 200_000,
    folder: Annotated[Path, typer.Option("--folder", help="Where everything is written.")] = Path("demo-run"),
    seed: Annotated[int, typer.Option("--seed", help="Same seed, same people.")] = 1,
    replace: Annotated[bool, typer.Option("--replace", help="Remove an earlier demo in the folder first.")] = False,  # noqa: FBT002 - a flag
    *,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Create two cities of synthetic people, reconcile them twice a week apart, and prove that nothing is left to do.

    Example: `belajarid-recon demo --people 5000 --folder demo-run --replace`
    """
    printer = Printer(as_json=as_json)
    with ending(printer, debug=debug):
        _prepare(folder, replace=replace)
        story = _play(printer, folder.absolute(), people, seed)
        _close(printer, story, folder)
        if story.surprises:
            raise typer.Exit(ExitStatus.WORK_REMAINS)


MARK = "belajarid-recon-demo"


def _prepare(folder: Path, *, replace: bool) -> None:
    """Make the demo's folder; remove only what a demo made."""
    if folder.exists() and any(folder.iterdir()):
        if not (folder / MARK).exists():
            raise SettingsError(f"folder holds something that is no demo: {folder}", hint="name another --folder")
        if not replace:
            raise SettingsError(
                f"folder holds an earlier demo: {folder}", hint="add --replace or name another --folder"
            )
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARK).touch()


def _play(printer: Printer, folder: Path, people: int, seed: int) -> DemoStory:
    """Week 1, week 2 with a damaged kota, week 2 again after the kota has mended its data."""
    story = DemoStory()
    started = time.monotonic()
    printer.say(f"1. {people:,} synthetic people at the real schools of two cities")
    week1, week2, mended = (folder / name for name in ("extract-week1", "extract-week2", "extract-week2-mended"))
    with printer.watch() as watch:
        created = create_population(
            CreateRequest(
                out=week1,
                people=people,
                seed=seed,
                day=FIRST_WEEK,
                progress=lambda done, total: watch("people", done, total),
            )
        )
    printer.say(f"   {sum(created.rows.values()):,} rows in {len(created.rows)} tables, {_seconds(started)}")
    with EmulatorProcess(EmulatorSettings(folder / "emulator", scale=TIME_SCALE)) as emulator:
        settings = write_settings(folder, emulator)
        printer.say(f"2. week 1, {FIRST_WEEK}: an empty directory at {emulator.url}")
        first = _week(printer, story, settings, week1, FIRST_WEEK)
        _expect(story, first.plan.count("create") > 0, "week 1 creates accounts")
        _expect(story, first.plan.held == 0, "week 1 holds nothing")
        kota, name = first_kabkota(week1)
        printer.say(f"3. a week passes; by mistake {PLANTED_SHARE:.0%} of the pupils of {name} get an exit code")
        request = AdvanceRequest(source=week1, out=week2, seed=seed, plant=Plant(kode_kab=kota, share=PLANTED_SHARE))
        advance_population(request)
        second = _week(printer, story, settings, week2, SECOND_WEEK)
        _expect(story, second.plan.held > 0, "a guard holds the damaged kota's suspensions")
        _expect(story, 0 < second.plan.runnable < first.plan.steps.height / 10, "week 2 plans only what changed")
        printer.say(f"4. {name} takes the week's exit codes back, to enter the true ones anew; a third plan")
        mend_population(MendRequest(week2, mended, kota, since=FIRST_WEEK + timedelta(days=1)))
        third = _week(printer, story, settings, mended, SECOND_WEEK)
        _expect(story, third.plan.steps.height == 0, "the third plan is all no-op")
        _expect(story, third.plan.count("no-op") > 0, "the third plan counts the accounts that agree")
    printer.record(seconds=round(time.monotonic() - started, 1))
    printer.say(f"   done in {_seconds(started)}")
    return story


def _week(printer: Printer, story: DemoStory, settings: Settings, extract: Path, day: date) -> pipeline.PlannedRun:
    """Plan, apply, verify; remember what came out."""
    started = time.monotonic()
    request = pipeline.PlanRequest(extract=extract, date=day, regulation=None)
    with printer.watch() as watch:
        planned = pipeline.make_plan(settings, request, watch=watch)
    show_plan(printer, planned, f"Plan of {day}")
    planned_in = _seconds(started)
    started = time.monotonic()
    with following(printer, settings) as follower:
        applied = follower.result = pipeline.apply_run(settings, planned.folder.run_id, follower=follower)
    seconds = time.monotonic() - started
    applied_in = _seconds(started)
    rate = f", {applied.done / seconds:,.0f} a second" if applied.done > 1_000 else ""
    printer.say(f"   planned in {planned_in}; applied {applied.done:,} steps in {applied_in}{rate}")
    with printer.watch() as watch:
        verified = pipeline.verify_run(settings, planned.folder.run_id, watch=watch)
    show_verification(printer, verified)
    _expect(story, applied.parked == 0, f"{day}: no step is parked")
    _expect(story, applied.done == planned.plan.runnable, f"{day}: every free step is done")
    _expect(story, applied.confirmed == applied.done, f"{day}: every step is confirmed by reading it back")
    _expect(story, verified.remaining == verified.held, f"{day}: the directory agrees with the register")
    _expect(story, verified.held == planned.plan.held, f"{day}: what is held still waits")
    counts = planned.plan
    story.rows.append(
        (
            str(day),
            f"{counts.count('create'):,}",
            f"{counts.runnable - counts.count('create') - counts.count('create-orgunit'):,}",
            f"{counts.held:,}",
            f"{counts.count('no-op'):,}",
            planned_in,
            applied_in,
            "yes" if verified.remaining == verified.held else "no",
        )
    )
    story.runs.append(
        {
            "run": planned.folder.run_id,
            "folder": str(planned.folder.path),
            "digest": planned.plan.digest,
            "counts": planned.plan.facts.counts,
            "apply_seconds": round(seconds, 1),
        }
    )
    return planned


def _expect(story: DemoStory, holds: bool, claim: str) -> None:  # noqa: FBT001 - a claim and whether it holds
    if not holds:
        story.surprises.append(claim)


def _close(printer: Printer, story: DemoStory, folder: Path) -> None:
    """The table a person takes away, and where everything is."""
    table = Table(title="Two weeks of belajar.id", title_justify="left")
    for name in ("extract of", "created", "changed", "held", "no-op", "plan", "apply", "agrees"):
        table.add_column(name, justify="left" if name == "extract of" else "right")
    for row in story.rows:
        table.add_row(*row)
    printer.table(table)
    for run in story.runs:
        printer.line(f"run folder: {run['folder']}")
    printer.line(f"settings:   {folder / 'recon.toml'}")
    for claim in story.surprises:
        printer.say(f"not as it must be: {claim}")
    printer.record(runs=story.runs, surprises=story.surprises)


LEVEL_KABKOTA = 2
"""`mst_wilayah.id_level_wilayah` of a kabupaten or kota."""


def first_kabkota(extract: Path) -> tuple[str, str]:
    """Code and name of the first kabupaten or kota of an extract, by code."""
    regions = pl.read_parquet(extract / "mst_wilayah.parquet").filter(pl.col("id_level_wilayah") == LEVEL_KABKOTA)
    code, name = regions.select(pl.col("kode_wilayah").str.strip_chars(), "nama").sort("kode_wilayah").row(0)
    return code, name


def _seconds(started: float) -> str:
    return f"{time.monotonic() - started:.1f} s"
