"""Commands but the demo: they read what was typed, call the pipeline, and print what came back."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Annotated, Any

import typer

from belajarid_recon import pipeline
from belajarid_recon.apply.forecast import LATENCY_SECONDS
from belajarid_recon.cli.ending import GO_ON, ending
from belajarid_recon.cli.following import ProgressFiles, following
from belajarid_recon.cli.printer import Printer, duration, forecast_table, plan_table
from belajarid_recon.errors import ExitStatus, InputError, SettingsError
from belajarid_recon.plan.definition import Plan
from belajarid_recon.settings import EngineName, Settings, load_settings

SettingsOption = Annotated[Path, typer.Option("--settings", help="Settings file (TOML).", show_default=True)]
ExtractOption = Annotated[Path, typer.Option("--extract", help="Folder with the register's tables as Parquet.")]
DateOption = Annotated[
    str | None,
    typer.Option("--date", help="The run's date, YYYY-MM-DD; today if absent. Decides semester and regulation."),
]
RegulationOption = Annotated[str | None, typer.Option("--regulation", help="Regulation id, instead of the date's own.")]
EngineOption = Annotated[
    EngineName | None, typer.Option("--engine", help="Who works the parts, instead of the settings' own.")
]
RunOption = Annotated[str | None, typer.Option("--run", help="Run id; the latest run if absent.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on stdout instead of tables.")]
MetricsOption = Annotated[
    Path | None, typer.Option("--metrics", help="File for Prometheus' text format, rewritten each second.")
]
EventsOption = Annotated[
    Path | None, typer.Option("--events", help="File that events are added to, a JSON object a line.")
]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]

JAKARTA = timezone(timedelta(hours=7))
"""Western Indonesian time has no summer time. A run at dawn on the first of July belongs to the new school year."""
DEFAULT_SETTINGS = Path("recon.toml")


def parse_date(text: str | None) -> date:
    """The date typed, or today in Jakarta."""
    if text is None:
        return datetime.now(tz=JAKARTA).date()
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise SettingsError(f"not a date: {text}", hint="write it as 2026-11-15") from error


def _with_engine(settings: Settings, engine: EngineName | None) -> Settings:
    """The settings with the engine that was typed, if one was."""
    if engine is None:
        return settings
    return settings.model_copy(update={"run": settings.run.model_copy(update={"engine": engine})})


def plan(
    extract: ExtractOption,
    settings: SettingsOption = DEFAULT_SETTINGS,
    date: DateOption = None,
    regulation: RegulationOption = None,
    engine: EngineOption = None,
    *,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Read extract and directory, and write a plan. Nothing is changed in the directory.

    Example: `belajarid-recon plan --settings recon.toml --extract week1 --date 2026-11-15`
    """
    printer = Printer(as_json=as_json)
    with ending(printer, debug=debug):
        loaded = _with_engine(load_settings(settings), engine)
        request = pipeline.PlanRequest(extract=extract, date=parse_date(date), regulation=regulation)
        _plan(printer, loaded, request)


def apply(
    settings: SettingsOption = DEFAULT_SETTINGS,
    run_id: RunOption = None,
    metrics: MetricsOption = None,
    events: EventsOption = None,
    *,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Carry out a run's plan, or go on with it after an interruption. Held steps are not carried out.

    Example: `belajarid-recon apply --settings recon.toml`
    """
    printer = Printer(as_json=as_json)
    with ending(printer, debug=debug, go_on=GO_ON):
        remaining = _apply(printer, load_settings(settings), run_id, ProgressFiles(metrics, events))
        _end(remaining)


def forecast(
    settings: SettingsOption = DEFAULT_SETTINGS,
    run_id: RunOption = None,
    latency: Annotated[
        float, typer.Option("--latency", min=0.0, max=60.0, help="Seconds the directory takes to answer a call.")
    ] = LATENCY_SECONDS,
    *,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Say how long a run's plan will take within the quotas, by tenant and lane. Sends nothing.

    Example: `belajarid-recon forecast --settings recon.toml`
    """
    printer = Printer(as_json=as_json)
    with ending(printer, debug=debug):
        folder, made = pipeline.forecast_run(load_settings(settings), run_id, latency_seconds=latency)
        printer.table(forecast_table(made))
        printer.line(f"run {folder.run_id}: {duration(made.seconds)} if nothing goes wrong and nothing was sent yet")
        lanes = [vars(lane) for lane in made.lanes]
        printer.record(run=folder.run_id, forecast={"seconds": made.seconds, "lanes": lanes})


def verify(
    settings: SettingsOption = DEFAULT_SETTINGS,
    run_id: RunOption = None,
    *,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Read the directory again, plan again from the run's records, and say what still differs.

    Example: `belajarid-recon verify --settings recon.toml`
    """
    printer = Printer(as_json=as_json)
    with ending(printer, debug=debug):
        remaining = _verify(printer, load_settings(settings), run_id)
        _end(remaining)


def run(
    extract: ExtractOption,
    settings: SettingsOption = DEFAULT_SETTINGS,
    date: DateOption = None,
    regulation: RegulationOption = None,
    engine: EngineOption = None,
    metrics: MetricsOption = None,
    events: EventsOption = None,
    *,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Plan, apply and verify in one go.

    Example: `belajarid-recon run --settings recon.toml --extract week1 --date 2026-11-15`
    """
    printer = Printer(as_json=as_json)
    with ending(printer, debug=debug, go_on=GO_ON):
        loaded = _with_engine(load_settings(settings), engine)
        request = pipeline.PlanRequest(extract=extract, date=parse_date(date), regulation=regulation)
        planned = _plan(printer, loaded, request)
        _apply(printer, loaded, planned.folder.run_id, ProgressFiles(metrics, events))
        _end(_verify(printer, loaded, planned.folder.run_id))


def abandon(
    settings: SettingsOption = DEFAULT_SETTINGS,
    run_id: RunOption = None,
    *,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Give up a run that was begun, so that the next plan can be made. Its addresses stay reserved for their owners.

    Example: `belajarid-recon abandon --settings recon.toml --run 20261115T010203Z-1a2b3c`
    """
    printer = Printer(as_json=as_json)
    with ending(printer, debug=debug):
        folder = pipeline.abandon_run(load_settings(settings), run_id)
        printer.record(run=folder.run_id, status="abandoned")
        printer.line(f"run {folder.run_id} is abandoned")


def rebuild(
    settings: SettingsOption = DEFAULT_SETTINGS,
    run_id: RunOption = None,
    *,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Make a damaged or lost journal anew from what the directory shows. Nothing is sent; `apply` goes on afterwards.

    Example: `belajarid-recon rebuild --settings recon.toml`
    """
    printer = Printer(as_json=as_json)
    with ending(printer, debug=debug):
        folder, counts = pipeline.rebuild_run(load_settings(settings), run_id)
        printer.record(run=folder.run_id, rebuilt=counts)
        printer.line(
            f"rebuilt: {counts['done']:,} done, {counts['parked']:,} parked, {counts['to-send']:,} to send; "
            "go on with: belajarid-recon apply"
        )


def population_create(
    out: Annotated[Path, typer.Option("--out", help="Folder to create; it must be empty or absent.")],
    people: Annotated[
        int, typer.Option("--people", min=1, help="How many people, pupils and staff together.")
    ] = 200_000,
    regions: Annotated[
        str | None, typer.Option("--regions", help="Kabupaten or kota, by name or code, with commas.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Same seed, same bytes.")] = 1,
    date: DateOption = None,
    schools: Annotated[
        Path | None, typer.Option("--schools", help="A larger school list than the one shipped.")
    ] = None,
    regions_file: Annotated[Path | None, typer.Option("--regions-file", help="The regions of that list (CSV).")] = None,
    *,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Create synthetic people at real schools.

    Example: `belajarid-recon population create --out week1 --people 5000 --seed 7 --date 2026-11-15`
    """
    printer = Printer(as_json=as_json)
    with ending(printer, debug=debug):
        from belajarid_recon.population.create import (  # noqa: PLC0415 - a tool, no stage
            DEMO_REGIONS,
            CreateRequest,
            create_population,
        )

        with printer.watch() as watch:
            request = CreateRequest(
                out=out,
                people=people,
                seed=seed,
                day=parse_date(date),
                regions=tuple(name.strip() for name in regions.split(",")) if regions else DEMO_REGIONS,
                schools_file=schools,
                regions_file=regions_file,
                progress=lambda done, total: watch("people", done, total),
            )
            summary = create_population(request)
        _print_population(printer, summary.rows, out)


def population_advance(
    source: Annotated[Path, typer.Option("--from", help="A population folder.")],
    out: Annotated[Path, typer.Option("--out", help="Folder to create; it must be empty or absent.")],
    seed: Annotated[
        int | None, typer.Option("--seed", help="Same seed, same week; the population's own if absent.")
    ] = None,
    plant: Annotated[
        str | None, typer.Option("--plant", help="CODE:SHARE, a kabupaten or kota with that share of false exit codes.")
    ] = None,
    *,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Move a population on by a week.

    Example: `belajarid-recon population advance --from week1 --out week2 --seed 7`
    """
    printer = Printer(as_json=as_json)
    with ending(printer, debug=debug):
        from belajarid_recon.population.advance import AdvanceRequest, Plant, advance_population  # noqa: PLC0415

        planted = None
        if plant is not None:
            code, _, share = plant.partition(":")
            try:
                planted = Plant(kode_kab=code, share=float(share))
            except ValueError as error:
                raise SettingsError(f"not CODE:SHARE: {plant}", hint="write it as 036500:0.08") from error
        with printer.watch() as watch:
            request = AdvanceRequest(
                source=source,
                out=out,
                seed=seed,
                plant=planted,
                progress=lambda done, total: watch("people", done, total),
            )
            summary = advance_population(request)
        _print_population(printer, summary.rows, out)


def population_mend(
    source: Annotated[Path, typer.Option("--from", help="A population folder.")],
    out: Annotated[Path, typer.Option("--out", help="Folder to create; it must be empty or absent.")],
    kabkota: Annotated[str, typer.Option("--kabkota", help="Code of the kabupaten or kota.")],
    since: Annotated[str, typer.Option("--since", help="First day of the exit codes taken back, YYYY-MM-DD.")],
    *,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Take back the exit codes a kabupaten or kota gave since a day, as its schools do after a mass action went wrong.

    Example: `belajarid-recon population mend --from week2 --out week2-mended --kabkota 036100 --since 2026-11-16`
    """
    printer = Printer(as_json=as_json)
    with ending(printer, debug=debug):
        from belajarid_recon.population.mend import MendRequest, mend_population  # noqa: PLC0415 - a tool, no stage

        mended = mend_population(MendRequest(source, out, kabkota, parse_date(since)))
        printer.record(folder=str(out), mended=mended)
        for table, count in mended.items():
            printer.line(f"{table:<28}{count:>12,} rows mended")


def _print_population(printer: Printer, rows: dict[str, int], out: Path) -> None:
    printer.record(folder=str(out), rows=rows)
    for table, count in rows.items():
        printer.line(f"{table:<28}{count:>12,}")
    printer.line(f"written to {out}")


def _plan(printer: Printer, settings: Settings, request: pipeline.PlanRequest) -> pipeline.PlannedRun:
    """Make a plan and show it."""
    if not request.extract.is_dir():
        raise InputError(f"no such extract folder: {request.extract}", hint="name the folder that holds the tables")
    with printer.watch() as watch:
        planned = pipeline.make_plan(settings, request, watch=watch, goes_on=telling_of_readings(printer))
    show_plan(printer, planned)
    return planned


def telling_of_readings(printer: Printer) -> Callable[[pipeline.Reading], None]:
    """Tells that a reading of the directory goes on."""

    def tell(reading: pipeline.Reading) -> None:
        began = reading.started.astimezone(JAKARTA).strftime("%Y-%m-%d %H:%M")
        printer.say(
            f"goes on with the reading of the directory begun {began} WIB: {reading.accounts:,} accounts are there"
        )
        printer.record(reading={"started_at": reading.started.isoformat(), "accounts": reading.accounts})

    return tell


def show_plan(printer: Printer, planned: pipeline.PlannedRun, title: str = "Plan") -> None:
    """Print a plan's counts, what was set aside, and what is held."""
    made: Plan = planned.plan
    printer.table(plan_table(made.facts.counts, title))
    read, quarantined = planned.rows_read, planned.rows_quarantined
    printer.line(f"rows read {read:,} = accepted {read - quarantined:,} + quarantined {quarantined:,}")
    for finding in made.facts.findings:
        printer.line(
            f"held: {finding.count:,} suspensions in {finding.name} ({finding.guard}: {finding.ceiling}, "
            f"of {finding.base:,} accounts)"
        )
    without = sum(sum(reasons.values()) for reasons in made.facts.no_contact.values())
    if without:
        printer.line(
            f"no recovery contact: {without:,} accounts of staff, by school in {planned.folder.no_contact.name}"
        )
    printer.line(f"run {planned.folder.run_id}: {planned.folder.path}")
    printer.record(run=planned.folder.run_id, folder=str(planned.folder.path), plan=plan_document(made))
    printer.record(records=planned.counts)


def plan_document(made: Plan) -> dict[str, Any]:
    """What `--json` says of a plan."""
    return {"digest": made.digest, "steps": made.steps.height, "held": made.held, **made.facts.as_document()}


def _apply(printer: Printer, settings: Settings, run_id: str | None, files: ProgressFiles) -> int:
    """Apply and show; returns how many steps remain, those the directory contradicts included."""
    with following(printer, settings, files) as follower:
        result = follower.result = pipeline.apply_run(settings, run_id, follower=follower)
    printer.line(f"applied: {result.done:,} done, {result.parked:,} parked, {result.held:,} held")
    printer.line(f"read back: {result.confirmed:,} confirmed, {result.contradicted:,} contradicted")
    if waiting := pipeline.waiting_for_console(settings).height:
        printer.line(f"waiting for the console: {waiting:,} administrators' accounts; see belajarid-recon handoff")
    for reason, count in sorted(result.parked_reasons.items()):
        printer.line(f"  parked: {count:,} {reason}")
    for reason, count in sorted(result.findings.items()):
        printer.line(f"  found: {count:,} {reason}")
    for reason, count in sorted(result.contradictions.items()):
        printer.line(f"  contradicted: {count:,} {reason}")
    for attribute, count in sorted(result.differing.items()):
        printer.line(f"    not as written: {count:,} {attribute}")
    tenants = {tenant.tenant: vars(tenant) for tenant in result.tenants}
    sums = {name: getattr(result, name) for name in ("done", "parked", "held", "confirmed", "contradicted")}
    printer.record(apply={**sums, "tenants": tenants})
    return result.parked + result.held + result.remaining + result.contradicted


def _verify(printer: Printer, settings: Settings, run_id: str | None) -> int:
    """Verify and show; returns how many steps remain."""
    with printer.watch() as watch:
        result = pipeline.verify_run(settings, run_id, watch=watch, goes_on=telling_of_readings(printer))
    show_verification(printer, result)
    return result.remaining


def show_verification(printer: Printer, result: pipeline.Verification) -> None:
    """Print what a second reading of the directory found."""
    if result.remaining == 0:
        printer.line(f"verified: converged, {result.unchanged:,} accounts agree with the register")
    else:
        printer.line(
            f"verified: {result.unchanged:,} accounts agree, {result.differences:,} differ, {result.held:,} wait for a person"
        )
    if result.joining:
        printer.line(f"  groups: {result.joining:,} steps of the next plan, for accounts that this run made")
    for reason, count in result.doubtful.items():
        printer.line(f"  a person must look: {count:,} {reason}")
    printer.record(
        verify={
            "doubtful": result.doubtful,
            "unchanged": result.unchanged,
            "differences": result.differences,
            "held": result.held,
            "joining": result.joining,
        }
    )


def _end(remaining: int) -> None:
    if remaining:
        raise typer.Exit(ExitStatus.WORK_REMAINS)
