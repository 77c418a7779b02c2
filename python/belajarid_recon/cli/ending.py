"""How a command ends: one message with place and remedy, a documented exit status, and no traceback unless asked."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import polars as pl
import typer

from belajarid_recon.cli.printer import Printer
from belajarid_recon.errors import ExitStatus, ReconError

NOTHING_CHANGED = "nothing was changed; type the command again"
GO_ON = "nothing is lost; go on with: belajarid-recon apply"


@contextmanager
def ending(printer: Printer, *, debug: bool, go_on: str = NOTHING_CHANGED) -> Iterator[None]:
    """Run a command's body and turn its errors into messages and exit statuses; `go_on` is the hint after Ctrl-C."""
    try:
        yield
    except ReconError as error:
        _tell(printer, error.message, error.hint, error.exit_status, error.kind.value)
        if debug:
            raise
        raise typer.Exit(error.exit_status) from None
    except KeyboardInterrupt:
        _tell(printer, "interrupted", go_on, ExitStatus.INTERRUPTED, "interrupted")
        raise typer.Exit(ExitStatus.INTERRUPTED) from None
    except typer.Exit:
        printer.close()
        raise
    except OSError as error:
        if debug:
            raise
        place = f": {error.filename}" if error.filename else ""
        _tell(printer, f"the machine refuses{place}", str(error.strerror), ExitStatus.MACHINE, "machine")
        raise typer.Exit(ExitStatus.MACHINE) from None
    except (Exception, pl.exceptions.PanicException) as error:
        if debug:
            raise
        # The text of a foreign error may hold a row; its type never does.
        _tell(printer, f"fault in the program: {type(error).__name__}", "run again with --debug", ExitStatus.BUG, "bug")
        raise typer.Exit(ExitStatus.BUG) from None
    else:
        printer.close()


def _tell(printer: Printer, message: str, hint: str, status: ExitStatus, kind: str) -> None:
    print(f"error: {message}", file=sys.stderr)  # noqa: T201 - the one place errors are printed
    if hint:
        print(f"  hint: {hint}", file=sys.stderr)  # noqa: T201
    printer.record(error={"kind": kind, "message": message, "hint": hint, "exit_status": int(status)})
    printer.close()
