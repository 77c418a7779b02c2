"""Which keys a state folder belongs to. With another marker key every account of ours would look like a stranger's."""

from __future__ import annotations

import hashlib
from pathlib import Path

import orjson

from belajarid_recon.errors import SettingsError
from belajarid_recon.secrets import Secret
from belajarid_recon.state.atomic import write_atomically

KEYS_FILE = "keys.json"
_PRINT_BYTES = 16


def check_keys(state: Path, keys: dict[str, Secret]) -> dict[str, str]:
    """Compare keys (name to key) with those the state folder was first used with, and remember them the first time.

    Call it with the state folder's lock held. Returns each key's print: a keyed hash of its name, which tells keys apart and
    reveals none. Raises SettingsError for a key that is another one.
    """
    prints = {
        name: hashlib.blake2b(
            f"belajarid-recon {name}".encode(), key=key.reveal(), digest_size=_PRINT_BYTES
        ).hexdigest()
        for name, key in sorted(keys.items())
    }
    path = state / KEYS_FILE
    if not path.exists():
        write_atomically(path, orjson.dumps(prints, option=orjson.OPT_INDENT_2))
        return prints
    try:
        known = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise SettingsError(f"key prints cannot be read: {path}", hint="restore the file from a backup") from error
    for name, value in prints.items():
        if known.get(name) != value:
            raise SettingsError(
                f"the {name} key is not the one this state folder was made with: {path}",
                hint="name the right key file: with another key every account would get a twin",
            )
    return prints
