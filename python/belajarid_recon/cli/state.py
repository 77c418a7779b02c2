"""`state backup` and `state restore`: the state folder and its keys as one sealed file."""

from __future__ import annotations

from datetime import UTC
from pathlib import Path
from typing import Annotated, Any

import typer

from belajarid_recon import pipeline
from belajarid_recon.cli.commands import DEFAULT_SETTINGS, DebugOption, JsonOption, SettingsOption
from belajarid_recon.cli.ending import ending
from belajarid_recon.cli.printer import Printer
from belajarid_recon.settings import load_settings
from belajarid_recon.state.archive import Manifest, count_of


def backup(
    out: Annotated[Path, typer.Argument(help="File to make; it must not be there.")],
    settings: SettingsOption = DEFAULT_SETTINGS,
    *,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Seal the state folder, the marker key and the naming key into one file, for each recipient of the settings to open alone.

    Nothing else may run in the state folder meanwhile. Service accounts' credentials and the settings are not in it.

    Example: `belajarid-recon state backup /mnt/other/recon-2026-11-22.age --settings recon.toml`
    """
    printer = Printer(as_json=as_json)
    with ending(printer, debug=debug):
        loaded = load_settings(settings)
        with printer.watch() as watch:
            made = pipeline.back_up_state(loaded, out, watch=watch)
        recipients = list(loaded.backup.recipients if loaded.backup else ())
        printer.line(f"sealed: {_content(made.manifest)} to {len(recipients)} recipients, each of whom opens it alone:")
        for recipient in recipients:
            printer.line(f"  {recipient}")
        printer.line(f"backup: {made.path}, {made.size:,} bytes, SHA-256 {made.sha256}")
        facts = {"file": str(made.path), "bytes": made.size, "sha256": made.sha256, "recipients": recipients}
        printer.record(backup=facts | _document(made.manifest))


def restore(
    backup: Annotated[Path, typer.Argument(help="File that `state backup` made.")],
    identity: Annotated[
        Path, typer.Option("--identity", help="File with the age secret key of one of its recipients (chmod 600).")
    ],
    settings: SettingsOption = DEFAULT_SETTINGS,
    keys: Annotated[
        Path | None, typer.Option("--keys", help="Folder to put the key files into; if absent they stay in the backup.")
    ] = None,
    *,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Put a backup back as the settings' state folder, which must be absent or empty. Other commands then go on as before.

    Ends with 7 where the settings' anchor says that the backup is older than the state it was made of; the folder is there then.

    Example: `belajarid-recon state restore recon-2026-11-22.age --identity officer.key --keys keys --settings recon.toml`
    """
    printer = Printer(as_json=as_json)
    with ending(printer, debug=debug):
        loaded = load_settings(settings)
        with printer.watch() as watch:
            made, older = pipeline.restore_state(loaded, backup, identity=identity, keys=keys, watch=watch)
        made_at = made.manifest.made_at.astimezone(UTC)
        printer.line(f"restored: {_content(made.manifest, keys=False)}, as of {made_at:%Y-%m-%d %H:%M:%S} UTC")
        printer.line(f"state: {made.state}")
        for path in made.keys:
            printer.line(f"key: {path}")
        if not made.keys:
            printer.line("the keys stay in the backup; --keys FOLDER puts them back")
        printer.record(
            restored={"state": str(made.state), "keys": [str(path) for path in made.keys]} | _document(made.manifest)
        )
        if older is not None:
            raise older
        if unfinished := made.manifest.unfinished_run:
            printer.line(f"run {unfinished} is not finished; go on with: belajarid-recon apply")


def _content(manifest: Manifest, *, keys: bool = True) -> str:
    files, key_count = count_of(manifest.files)
    with_keys = f" and {key_count} keys" if keys else ""
    return f"{files:,} files of {manifest.state_size:,} bytes{with_keys}"


def _document(manifest: Manifest) -> dict[str, Any]:
    """What `--json` says of a backup's content."""
    files, _ = count_of(manifest.files)
    return {"files": files, "state_bytes": manifest.state_size} | manifest.model_dump(
        mode="json", include={"made_at", "tool_version", "state_identity", "latest_run", "unfinished_run", "ledger_end"}
    )
