"""Starts an emulator as a child of this process, for demos and tests."""

from __future__ import annotations

import os
import selectors
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson
import urllib3

import belajarid_recon
from belajarid_recon.emulator.settings import EmulatorSettings
from belajarid_recon.emulator.tenants import customer_id
from belajarid_recon.errors import BusyError, ExitStatus, ReconError, SettingsError
from belajarid_recon.schemas import Jenjang

READY_SECONDS_MAX = 60.0
"""Seven RSA keys on a busy machine, the first time."""
STOP_SECONDS_MAX = 15.0
_CONTROL_SECONDS_MAX = 120.0
_LOG = "emulator.log"

_ERRORS: Mapping[int, type[ReconError]] = {
    ExitStatus.BUSY: BusyError,
    ExitStatus.SETTINGS_REFUSED: SettingsError,
}


class EmulatorProcess:
    """An emulator in a process of its own, from `start` (or `with`) to `stop`.

    The child's standard input is a pipe from here: it stops when this process ends, however it ends.
    """

    def __init__(self, settings: EmulatorSettings) -> None:
        self.settings = settings
        self.url = ""
        """`http://127.0.0.1:PORT/` while it runs."""
        self._child: subprocess.Popen[bytes] | None = None
        self._pool = urllib3.PoolManager(retries=False, timeout=_CONTROL_SECONDS_MAX)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def folder(self) -> Path:
        """Where its state is."""
        return self.settings.folder

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._running().pid

    @property
    def credentials(self) -> dict[Jenjang, Path]:
        """Service-account files, one a tenant, mode 0600; their `token_uri` is this emulator's."""
        return {tenant: self.folder / "credentials" / f"{tenant}.json" for tenant in self.settings.tenants}

    @property
    def customer_ids(self) -> dict[Jenjang, str]:
        """Customer id of each tenant; the same for the same seed."""
        return {tenant: customer_id(self.settings.seed, tenant) for tenant in self.settings.tenants}

    def start(self) -> None:
        """Start the child and wait until it listens. Raises what the child died of, or ReconError when it takes too long."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        command = [sys.executable, "-m", "belajarid_recon.emulator", self.settings.to_json()]
        with (self.folder / _LOG).open("wb") as log:
            self._child = subprocess.Popen(  # noqa: S603 - our own module, our own arguments
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=_environment()
            )
        try:
            self.url = orjson.loads(self._first_line())["url"]
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """SIGTERM, and SIGKILL when it does not end in time. Its state stays in the folder."""
        child, self._child = self._child, None
        if child is None:
            return
        child.terminate()
        try:
            child.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                pipe.close()
        self._pool.clear()

    def stats(self) -> dict[str, Any]:
        """Counts since its start: answers, applied, rejected, dropped, concurrent_calls_max, faults."""
        found: dict[str, Any] = self._control("GET", "stats")
        return found

    def minutes(self) -> list[dict[str, Any]]:
        """Each emulated minute of each tenant since its start (the last 10,080): minute, tenant, calls by method, refused by reason."""
        found: list[dict[str, Any]] = self._control("GET", "minutes")
        return found

    def accounts(self, tenant: Jenjang) -> Iterator[dict[str, Any]]:
        """Every account of a tenant, deleted ones too: tenant, deleted, marker, inserts, account."""
        response = self._pool.request("GET", f"{self.url}emulator/accounts?tenant={tenant}", preload_content=False)
        try:
            if response.status != 200:
                raise ReconError(f"the emulator refused: {response.read().decode()}")
            for line in response:
                yield orjson.loads(line)
        finally:
            response.release_conn()

    def plant(self, tenant: Jenjang, accounts: list[dict[str, Any]]) -> list[str]:
        """Make accounts behind the API's back; returns their ids."""
        found: list[str] = self._control("POST", "accounts", {"tenant": str(tenant), "accounts": accounts})["ids"]
        return found

    def edit(self, tenant: Jenjang, key: str, changes: dict[str, Any]) -> dict[str, Any]:
        """Change an account behind the API's back, read-only fields too; returns it."""
        document = {"tenant": str(tenant), "key": key, "changes": changes}
        found: dict[str, Any] = self._control("POST", "edits", document)
        return found

    def sign_in(self, address: str, password: str, new_password: str | None = None) -> dict[str, Any]:
        """Try a password as the sign-in page would; returns its `verdict` (emulator.sign_in says which there are)."""
        document = {"address": address, "password": password, "new_password": new_password}
        found: dict[str, Any] = self._control("POST", "sign-in", document)
        return found

    def fault(self, method: str, kind: str, **script: Any) -> None:  # noqa: ANN401 - see faults.Fault
        """Script a fault (emulator.faults says which there are)."""
        self._control("POST", "faults", {"method": method, "kind": kind, **script})

    def swarm(self, seed: int, faults: list[dict[str, Any]]) -> None:
        """Add faults that are drawn from a seed; each has a method, a kind, and as a rule a probability."""
        self._control("POST", "faults", {"seed": seed, "swarm": faults})

    def strikes(self) -> list[dict[str, Any]]:
        """Every call that met a fault since they were last cleared, the oldest first (the last 100,000)."""
        found: list[dict[str, Any]] = self._control("GET", "strikes")
        return found

    def clear_faults(self) -> None:
        """Forget all scripted faults."""
        self._control("DELETE", "faults")

    def advance(self, seconds: float) -> None:
        """Jump ahead in emulated time."""
        self._control("POST", "clock", {"advance_seconds": seconds})

    def _control(self, verb: str, name: str, document: Any = None) -> Any:  # noqa: ANN401 - JSON
        body = None if document is None else orjson.dumps(document)
        response = self._pool.request(verb, f"{self.url}emulator/{name}", body=body)
        if response.status != 200:
            raise ReconError(f"the emulator refused: {response.data.decode()}")
        return orjson.loads(response.data)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._child is None:
            raise ReconError("the emulator is not running", hint="call start, or use it in a with statement")
        return self._child

    def _first_line(self) -> bytes:
        """The line the child prints when it listens."""
        child = self._running()
        stream = child.stdout
        if stream is None:
            raise ReconError("the emulator has no standard output")
        deadline = time.monotonic() + READY_SECONDS_MAX
        line = b""
        with selectors.DefaultSelector() as selector:
            selector.register(stream, selectors.EVENT_READ)
            while not line.endswith(b"\n"):
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise ReconError(f"the emulator was not ready in time: {READY_SECONDS_MAX:.0f} s")
                piece = os.read(stream.fileno(), 4_096)
                if not piece:
                    raise self._death(child)
                line += piece
        return line

    def _death(self, child: subprocess.Popen[bytes]) -> ReconError:
        """What the child said when it ended before it listened."""
        status = child.wait(STOP_SECONDS_MAX)
        lines = (self.folder / _LOG).read_text(encoding="utf-8", errors="replace").splitlines()
        last = lines[-1] if lines else ""
        try:
            report = orjson.loads(last)
            return _ERRORS.get(status, ReconError)(str(report["error"]), hint=str(report["hint"]))
        except (ValueError, TypeError, KeyError):
            return ReconError(f"the emulator ended with status {status}: {last}")


def _environment() -> dict[str, str]:
    """This process's environment, with the package importable even where it is not installed."""
    root = str(Path(belajarid_recon.__file__).parent.parent)
    paths = [root, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
