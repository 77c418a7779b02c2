"""Runs an emulator in this process until it is told to stop."""

from __future__ import annotations

import errno
import fcntl
import gc
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import orjson

from belajarid_recon.emulator.settings import EmulatorSettings
from belajarid_recon.errors import BusyError, SettingsError

if TYPE_CHECKING:
    import uvicorn

_BACKLOG = 1_024
_KEEP_ALIVE_SECONDS = 3_600
"""An idle connection that the server closes is a lost request to a client that is about to use it."""
_STOP_SECONDS = 2
_GARBAGE_THRESHOLD = 20_000


def serve(settings: EmulatorSettings, *, until_input_ends: bool = False) -> None:
    """Serve until SIGTERM or SIGINT, or with `until_input_ends` until standard input ends as well.

    Prints one JSON line `{"url": ..., "pid": ...}` to standard output once it listens. Raises BusyError when the port or the
    folder is taken, SettingsError when the extra is not installed.
    """
    _require_extra()
    # Imported here: the package works without the extra, and only this function needs it.
    from belajarid_recon.emulator.app import App  # noqa: PLC0415
    from belajarid_recon.emulator.service import Service  # noqa: PLC0415

    settings.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _locked(settings.folder), _bound(settings) as listener:
        url = _url(listener)
        service = Service(settings, url)
        try:
            server = _make_server(App(service), url, until_input_ends=until_input_ends)
            gc.freeze()
            gc.set_threshold(_GARBAGE_THRESHOLD)
            _run(server, listener)
        finally:
            service.close()


def _require_extra() -> None:
    try:
        import httptools  # noqa: F401, PLC0415
        import uvicorn  # noqa: F401, PLC0415
        import uvloop  # noqa: F401, PLC0415
    except ImportError as error:
        raise SettingsError(
            f"the emulator's dependencies are not installed: {error.name}",
            hint="pip install 'belajarid-recon[emulator]'",
        ) from error


def _make_server(app: Any, url: str, *, until_input_ends: bool) -> uvicorn.Server:  # noqa: ANN401 - any ASGI application
    """A uvicorn server that says when it listens and lets the application reach its connections."""
    import uvicorn  # noqa: PLC0415
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol  # noqa: PLC0415

    from belajarid_recon.emulator.app import HEADER, TRANSPORT  # noqa: PLC0415

    class Protocol(HttpToolsProtocol):
        """Puts the connection's transport in the scope: a scripted fault may have to cut it."""

        def on_message_begin(self) -> None:
            super().on_message_begin()
            cast("dict[str, Any]", self.scope)[TRANSPORT] = self.transport

    class Server(uvicorn.Server):
        """Announces its address on standard output."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if until_input_ends:
                _watch_input(self)
            sys.stdout.buffer.write(orjson.dumps({"url": url, "pid": os.getpid()}) + b"\n")
            sys.stdout.buffer.flush()

    config = uvicorn.Config(
        app, loop="uvloop", http=Protocol, ws="none", lifespan="off", interface="asgi3", log_config=None,
        access_log=False, proxy_headers=False, server_header=False, date_header=False, headers=[HEADER],
        timeout_keep_alive=_KEEP_ALIVE_SECONDS, timeout_graceful_shutdown=_STOP_SECONDS, backlog=_BACKLOG,
    )  # fmt: skip
    return Server(config)


def _watch_input(server: uvicorn.Server) -> None:
    """Stop when standard input ends: the parent holds its other end, and dies with it open however it dies."""
    import asyncio  # noqa: PLC0415

    loop = asyncio.get_running_loop()

    def look() -> None:
        if not os.read(0, 4_096):
            loop.remove_reader(0)
            server.should_exit = True

    loop.add_reader(0, look)


def _run(server: uvicorn.Server, listener: socket.socket) -> None:
    """Run to the end. uvicorn raises a caught signal again when it has stopped; that one must not end us before we close."""
    kept = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        server.run(sockets=[listener])
    finally:
        for number, before in kept.items():
            signal.signal(number, before)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder: two emulators on one state would undo each other's writes."""
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise BusyError(
                f"another emulator runs on this folder: {folder}", hint="stop it, or use another folder"
            ) from error
        yield


@contextmanager
def _bound(settings: EmulatorSettings) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ip_address(settings.host).version == 6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((settings.host, settings.port))
            listener.listen(_BACKLOG)
        except OSError as error:
            raise _bind_error(error, settings) from error
        yield listener


def _bind_error(error: OSError, settings: EmulatorSettings) -> BusyError | SettingsError:
    place = f"{settings.host} port {settings.port}"
    if error.errno == errno.EADDRINUSE:
        return BusyError(f"the port is in use: {place}", hint="stop what listens there, or use port 0 for a free one")
    return SettingsError(f"the emulator cannot listen: {place}", hint=str(error.strerror))


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"
