"""Small whole worlds: synthetic people, an emulator with seven tenants, settings that join them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from belajarid_recon.cli.starting import write_settings
from belajarid_recon.emulator.launch import EmulatorProcess
from belajarid_recon.emulator.settings import EmulatorSettings
from belajarid_recon.population.create import CreateRequest, create_population
from belajarid_recon.settings import Settings

DAY = date(2026, 11, 15)
SCALE = 400.0


@dataclass(frozen=True)
class World:
    """Everything a run needs."""

    folder: Path
    settings: Settings
    settings_file: Path
    extract: Path
    emulator: EmulatorProcess


@contextmanager
def world(folder: Path, people: int, seed: int = 11) -> Iterator[World]:
    """Make people and a directory without accounts; the emulator lives as long as the block."""
    folder.mkdir(parents=True, exist_ok=True)
    extract = folder / "extract"
    create_population(CreateRequest(out=extract, people=people, seed=seed, day=DAY))
    with EmulatorProcess(EmulatorSettings(folder / "emulator", scale=SCALE)) as emulator:
        settings = write_settings(folder, emulator)
        yield World(folder, settings, folder / "recon.toml", extract, emulator)
