"""`python -m belajarid_recon.emulator SETTINGS`: the child that `launch.EmulatorProcess` starts.

SETTINGS is one JSON object (`EmulatorSettings.to_json`). It stops when its standard input ends. People start an emulator
with `belajarid-recon emulator`.
"""

from __future__ import annotations

import sys

import orjson

from belajarid_recon.emulator.server import serve
from belajarid_recon.emulator.settings import settings_from_json
from belajarid_recon.errors import ReconError


def main(arguments: list[str]) -> int:
    """Serve, and return the exit status; an error is one JSON line on standard error."""
    try:
        serve(settings_from_json(arguments[0] if arguments else ""), until_input_ends=True)
    except ReconError as error:
        report = {"error": error.message, "hint": error.hint}
        sys.stderr.buffer.write(orjson.dumps(report) + b"\n")
        return int(error.exit_status)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
