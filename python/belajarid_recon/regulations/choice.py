"""Which regulation a run follows: the one in force on its date, or the one its operator names."""

from __future__ import annotations

from datetime import date
from functools import cache
from typing import get_args

from belajarid_recon.errors import SettingsError
from belajarid_recon.regulations.definition import Regulation, RegulationId, read_toml
from belajarid_recon.settings import RegulationChoice


@cache
def known_regulations() -> dict[str, Regulation]:
    """Shipped regulations by id, in the order in which they replaced each other."""
    return {name: Regulation.model_validate(read_toml(f"{name}.toml")) for name in get_args(RegulationId)}


def load_regulations(choice: RegulationChoice, on: date, chosen: str | None = None) -> Regulation:
    """The regulation in force on the date `on`, or `chosen` (an id) if it is in force by then.

    A regulation whose first day the published texts do not confirm needs a line in the settings; without it nobody can say
    which one is in force, and the run is refused with that line. Raises SettingsError for that, for an unknown id, for
    a first day outside the year in the regulation's number, and for a date that no regulation covers.
    """
    known = known_regulations()
    first_days = _first_days(choice, known)
    if chosen is not None:
        if chosen not in known:
            raise SettingsError(f"the regulation is not known: {chosen}", hint=f"known are {', '.join(known)}")
        return _in_force(known[chosen], first_days[chosen], on)
    for name in reversed(known):
        regulation, first_day = known[name], first_days[name]
        if first_day is None and regulation.in_force_from <= on:
            raise _unconfirmed(regulation)
        if first_day is not None and first_day <= on:
            return regulation
    oldest = next(iter(known.values()))
    raise SettingsError(
        f"no regulation is in force on the run's date: {on}",
        hint=f"the first one, {oldest.id}, is in force from {oldest.in_force_from}",
    )


def _in_force(regulation: Regulation, first_day: date | None, on: date) -> Regulation:
    if first_day is None:
        raise _unconfirmed(regulation)
    if first_day > on:
        raise SettingsError(
            f"the regulation is not in force on the run's date: {regulation.id}",
            hint=f"it is in force from {first_day}, and the run's date is {on}",
        )
    return regulation


def _first_days(choice: RegulationChoice, known: dict[str, Regulation]) -> dict[str, date | None]:
    """First day by id; None where it is neither confirmed nor set."""
    for name, day in choice.in_force_from.items():
        if name not in known:
            raise SettingsError(
                f"the settings confirm a regulation that is not known: {name}", hint=f"known are {', '.join(known)}"
            )
        _check_day(known[name], day)
    return {
        name: regulation.in_force_from if regulation.confirmed else choice.in_force_from.get(name)
        for name, regulation in known.items()
    }


def _check_day(regulation: Regulation, day: date) -> None:
    if regulation.confirmed and day != regulation.in_force_from:
        raise SettingsError(
            f"the settings change a confirmed date: {regulation.id}",
            hint=f"remove the line; it is in force from {regulation.in_force_from}",
        )
    if day.year != regulation.in_force_from.year:
        raise SettingsError(
            f"the settings date a regulation into another year than its number's: {regulation.id} = {day}",
            hint=f"it was set in {regulation.in_force_from.year}",
        )


def _unconfirmed(regulation: Regulation) -> SettingsError:
    year = regulation.in_force_from.year
    return SettingsError(
        f"the regulation's first day is not confirmed in the published texts: {regulation.id}",
        hint="confirm it in the settings, in the table [regulations.in_force_from], with the line "
        f'"{regulation.id}" = {year}-MM-DD (the day it was set)',
    )
