"""Who works the parts: this machine, or an engine that spreads them over several. The work is the same function either way."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

from belajarid_recon.errors import SettingsError
from belajarid_recon.settings import EngineName, Run

T = TypeVar("T")

WORKER_DIED = "a worker died, most likely for want of memory: set run.parts higher or run.parts_at_once lower"
_KEPT_FROM_WORKERS = ("RECON_MARKER_KEY", "RECON_NAMING_KEY")
_ALONE = {
    # Read when ray is imported: without it all of its servers listen on every address of the machine, whatever is asked for later.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
}
_LOOPBACK = "127.0.0.1"
_OBJECT_STORE_BYTES = 256 << 20
"""Shared memory of workers on this machine: the reference tables once, and the results of the parts at once."""


class Engine(Protocol):
    """Works parts, a few at once."""

    def each(self, parts: int, work: Callable[[int], T]) -> Generator[tuple[int, T]]:
        """Each part's number, from 0, with what `work` makes of it, as they are done.

        `work` is a function of a module, or an instance of a class of one, that can be pickled and holds no secret. What it raises
        is raised here, once no part is under way any more; the others are then not begun.
        """


@contextmanager
def open_engine(run: Run) -> Iterator[Engine]:
    """The engine the settings name, for as long as the block lasts.

    Raises SettingsError when it is not installed or does not answer.
    """
    if run.engine is EngineName.RAY:
        with _ray(run) as engine:
            yield engine
    else:
        yield LocalEngine(run.parts_at_once)


class LocalEngine:
    """Threads of this process: polars and the core work without holding the interpreter, and share the reference tables."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once

    def each(self, parts: int, work: Callable[[int], T]) -> Generator[tuple[int, T]]:
        """As Engine says. With one part at once all work is on the caller's thread."""
        if self._at_once == 1 or parts == 1:
            for part in range(parts):
                yield part, work(part)
            return
        waiting = iter(range(parts))
        with ThreadPoolExecutor(max_workers=self._at_once, thread_name_prefix="part") as pool:
            under_way: dict[Future[T], int] = {}
            # However this block is left, leaving the pool waits for the parts under way: nothing may still write when the
            # run's folder goes. No more are submitted than can run, so none begins afterwards.
            while True:
                for part in waiting:
                    under_way[pool.submit(work, part)] = part
                    if len(under_way) == self._at_once:
                        break
                if not under_way:
                    return
                for done in wait(under_way, return_when=FIRST_COMPLETED).done:
                    yield under_way.pop(done), done.result()


ALONE = LocalEngine(1)
"""One part after the other, on the caller's thread."""


class RayEngine:
    """Ray workers, on this machine or on a cluster that sees the same folders."""

    def __init__(self, ray: Any, at_once: int) -> None:  # noqa: ANN401 - an extra, absent where nobody asks for it
        self._ray, self._at_once = ray, at_once

    def each(self, parts: int, work: Callable[[int], T]) -> Generator[tuple[int, T]]:
        """As Engine says. A part whose worker died is begun once more: it writes the same files again."""
        ray = self._ray
        task = ray.remote(num_cpus=1, max_retries=1)(_work_part)
        shared = ray.put(work)
        waiting = iter(range(parts))
        under_way: dict[Any, int] = {}
        try:
            while True:
                for part in waiting:
                    under_way[task.remote(shared, part)] = part
                    if len(under_way) == self._at_once:
                        break
                if not under_way:
                    return
                for done in ray.wait(list(under_way))[0]:
                    yield under_way.pop(done), self._result(done)
        finally:
            self._stop(list(under_way))

    def _result(self, done: Any) -> Any:  # noqa: ANN401
        """What a worker returned; what it raised is raised as it was."""
        ray = self._ray
        try:
            return ray.get(done)
        except ray.exceptions.RayTaskError as error:
            raise (error.cause or error) from None
        except (
            ray.exceptions.WorkerCrashedError,
            ray.exceptions.OutOfMemoryError,
            ray.exceptions.RaySystemError,
        ) as error:
            raise OSError(errno.ENOMEM, WORKER_DIED) from error

    def _stop(self, under_way: list[Any]) -> None:
        """Stop what is under way and wait until it has stopped: nothing may still write when the run's folder goes."""
        ray = self._ray
        for reference in under_way:
            ray.cancel(reference, force=True)
        for reference in under_way:
            try:
                ray.get(reference)
            except ray.exceptions.RayError:
                continue


def _work_part(work: Callable[[int], T], part: int) -> T:
    return work(part)


@contextmanager
def _ray(run: Run) -> Iterator[RayEngine]:
    """Ray, started on loopback and stopped again; joined where the settings name a cluster; and as it is where this process has it."""
    os.environ.update(_ALONE if not run.ray_address else {}, RAY_USAGE_STATS_ENABLED="0")
    try:
        import ray  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise SettingsError(
            "the engine is not installed: ray", hint='pip install "belajarid-recon[ray]", or use --engine local'
        ) from error
    if ray.is_initialized():
        yield RayEngine(ray, run.parts_at_once)
        return
    # Not under the run: a socket's path may have 107 letters only.
    folder = Path(tempfile.mkdtemp(prefix="recon-ray-"))
    try:
        with _without_keys():
            _start(ray, run, folder)
        try:
            yield RayEngine(ray, run.parts_at_once)
        finally:
            ray.shutdown()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _start(ray: Any, run: Run, folder: Path) -> None:  # noqa: ANN401
    """Start or join. Nothing is reported to anybody, no page is served, and the workers' talk stays in their own logs."""
    alone: dict[str, Any] = {
        "address": "local",
        "num_cpus": run.parts_at_once,
        "include_dashboard": False,
        "object_store_memory": _OBJECT_STORE_BYTES,
        "_node_ip_address": _LOOPBACK,
        "_temp_dir": str(folder),
    }
    chosen = {"address": run.ray_address} if run.ray_address else alone
    try:
        ray.init(
            **chosen,
            log_to_driver=False,
            logging_level="error",
            # A worker is one of several: threads of its own would stand in the others' way.
            runtime_env={"env_vars": {"POLARS_MAX_THREADS": "1"}},
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise SettingsError(
            f"the engine cannot be reached or started: ray {run.ray_address}".rstrip(),
            hint="check run.ray_address, or use --engine local",
        ) from error
    if not run.ray_address and any(node["NodeManagerAddress"] != _LOOPBACK for node in ray.nodes()):
        ray.shutdown()
        raise SettingsError(
            "ray was imported before this program could keep it on loopback",
            hint="start ray yourself before, or use --engine local",
        )


@contextmanager
def _without_keys() -> Iterator[None]:
    """Let nothing that is started here inherit keys."""
    kept = {name: os.environ.pop(name) for name in _KEPT_FROM_WORKERS if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)
