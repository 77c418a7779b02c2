"""A settings file and keys to start with, for an emulator on this machine."""

from __future__ import annotations

import os
from pathlib import Path

from belajarid_recon.components import SystemRandomness
from belajarid_recon.emulator.launch import EmulatorProcess
from belajarid_recon.settings import Settings, load_settings

SETTINGS_FILE = "recon.toml"

SETTINGS_TEMPLATE = """\
# Written by belajarid-recon. The keys and credentials are for the emulator on this machine only.
state = "state"

[endpoint]
class = "emulator"
url = "{url}"
time_scale = {scale}

[keys]
marker_file = "keys/marker"
naming_file = "keys/naming"

[regulations.in_force_from]
# The published texts do not give these days; a ministry confirms them here. Here it is the first day of each year.
"persesjen-16-2021" = 2021-01-01
"persesjen-20-2022" = 2022-01-01
"persesjen-14-2024" = 2024-01-01
{tenants}"""

TENANT_TEMPLATE = """
[tenants.{jenjang}]
customer_id = "{customer_id}"
credentials_file = "{credentials}"
"""


def write_settings(folder: Path, emulator: EmulatorProcess, url: str | None = None) -> Settings:
    """Write `recon.toml` and `keys/` into `folder`, as an operator would have them; keys that are there stay.

    `url` is for an emulator that is not started yet.
    """
    folder = folder.absolute()
    keys = folder / "keys"
    keys.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in ("marker", "naming"):
        path = keys / name
        if not path.exists():
            path.touch(mode=0o600)
            path.write_text(SystemRandomness().bytes(32).hex() + "\n", encoding="ascii")
    tenants = "".join(
        TENANT_TEMPLATE.format(
            jenjang=jenjang.value,
            customer_id=emulator.customer_ids[jenjang],
            credentials=os.path.relpath(emulator.credentials[jenjang].absolute(), folder),
        )
        for jenjang in emulator.settings.tenants
    )
    path = folder / SETTINGS_FILE
    scale = emulator.settings.scale
    path.write_text(SETTINGS_TEMPLATE.format(url=url or emulator.url, scale=scale, tenants=tenants), encoding="utf-8")
    return load_settings(path)
