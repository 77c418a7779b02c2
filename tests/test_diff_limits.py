"""`belajarid_recon.diff` at sizes where limits count: one output for any threads, order and memory, and how it ends when it must."""

from __future__ import annotations

import contextlib
import hashlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import belajarid_recon
from belajarid_recon.differences import Diff
from belajarid_recon.errors import ExitStatus
from diff_reference import counted, lines_of

MIB = 1 << 20
NOBODY = 65_534
ATTRIBUTES = ["nama", "jenjang", "npsn", "lahir"]


@dataclass(frozen=True)
class Pair:
    """Two files and what differs between them, by construction."""

    source: Path
    directory: Path
    truth: dict[str, int]


def people(first: int, last: int, *, changed_every: int, week: int) -> pl.DataFrame:
    """Rows of people `first` to `last`: keys as text UUIDs that look random, names of various lengths, nulls."""
    scattered = pl.col("n").hash(1) % 90_000_000 + 10_000_000
    moved = pl.lit(week) * (pl.col("n") % changed_every == 0)
    return pl.select(n=pl.int_range(first, last)).select(
        key=pl.format("{}-0000-4000-8000-{}", scattered, pl.col("n") + 100_000_000_000),
        nama=pl.format("NAMA {}", pl.col("n") % 50_000),
        jenjang=pl.col("n") % 7,
        npsn=pl.when(pl.col("n") % 11 > 0).then(pl.col("n") % 200_000 + moved),
        lahir=(pl.lit(0) + pl.col("n") % 7_000).cast(pl.Int32).cast(pl.Date),
    )


def made(folder: Path, rows: int) -> Pair:
    """A source and a directory of `rows` each: of the keys 1 % are in one alone, and about 5 % differ; rows in another order."""
    folder.mkdir(parents=True, exist_ok=True)
    apart = rows // 100
    source = people(apart, rows + apart, changed_every=20, week=1)
    directory = people(0, rows, changed_every=20, week=0).reverse()
    doubled = directory[rows // 2 : rows // 2 + 5]
    source.write_parquet(folder / "source.parquet", row_group_size=100_000)
    pl.concat([directory, doubled]).write_parquet(folder / "directory.parquet", row_group_size=130_000)
    changed = sum(1 for n in range(apart - apart % -20, rows, 20) if n % 11)
    twice = {rows - 1 - place for place in range(rows // 2, rows // 2 + 5)}
    changed -= sum(1 for n in twice if n % 20 == 0 and n % 11)
    truth = {"source_rows": rows, "directory_rows": rows + 5, "common": rows - apart, "added": apart, "removed": apart}
    truth |= {"duplicate_source": 0, "duplicate_directory": 5, "changed": changed}
    truth["unchanged"] = rows - apart - changed - 5
    truth["lines"] = 2 * apart + changed + 5
    return Pair(folder / "source.parquet", folder / "directory.parquet", truth)


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> Pair:
    """A million rows a side."""
    return made(tmp_path_factory.mktemp("million"), 1_000_000)


def ask(pair: Pair, folder: Path, **changes: Any) -> Diff:
    """A diff into a folder in which nothing else is left; what is found is the truth."""
    asked = {"key": "key", "attributes": ATTRIBUTES, "threads": 2, "out": folder / "changes.parquet"}
    found = belajarid_recon.diff(pair.source, pair.directory, **asked | changes)
    assert counted(found) == pair.truth
    assert list(folder.iterdir()) == [found.out]
    return found


def digest_of(folder: Path) -> str:
    """The digest of the bytes that a diff wrote."""
    return hashlib.sha256((folder / "changes.parquet").read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def expected(pair: Pair, tmp_path_factory) -> str:
    """What every other way of asking must give."""
    folder = tmp_path_factory.mktemp("expected")
    ask(pair, folder)
    return digest_of(folder)


@pytest.mark.parametrize("threads", [1, 8])
def test_threads_do_not_show(pair: Pair, expected: str, tmp_path: Path, threads: int):
    """One output for 1, 2 and 8 threads."""
    ask(pair, tmp_path, threads=threads)
    assert digest_of(tmp_path) == expected


def test_the_order_of_rows_does_not_show(pair: Pair, expected: str, tmp_path: Path):
    """Shuffled rows in other row groups and in several files."""
    (tmp_path / "out").mkdir()
    for side in ("source", "directory"):
        frame = pl.read_parquet(getattr(pair, side)).sample(fraction=1.0, shuffle=True, seed=4)
        (tmp_path / side).mkdir()
        cut = frame.height // 3
        frame[:cut].write_parquet(tmp_path / side / "a.parquet", row_group_size=77_777)
        frame[cut:].write_parquet(tmp_path / side / "b.parquet", compression="lz4")
    shuffled = Pair(tmp_path / "source", tmp_path / "directory", pair.truth)
    ask(shuffled, tmp_path / "out")
    assert digest_of(tmp_path / "out") == expected


@pytest.mark.parametrize("limit", [512 * MIB, 256 * MIB])
def test_the_memory_limit_does_not_show(pair: Pair, expected: str, tmp_path: Path, limit: int):
    """One output for three limits, of which the smallest makes it spill."""
    found = ask(pair, tmp_path, memory_limit=limit)
    assert digest_of(tmp_path) == expected
    assert (found.counts["spilled_bytes"] > 0) == (limit == 256 * MIB)


def test_bytes_and_digests_find_the_same(pair: Pair, expected: str, tmp_path: Path):
    """`exact` gives the same file."""
    ask(pair, tmp_path, exact=True)
    assert digest_of(tmp_path) == expected


PEAK = """
import sys, belajarid_recon
found = belajarid_recon.diff(*sys.argv[1:3], key="key", attributes=["nama", "jenjang", "npsn", "lahir"],
                             memory_limit=256 << 20, threads=int(sys.argv[4]), out=sys.argv[3])
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
print(found.counts["lines"])
"""


def peak_of(pair: Pair, out: Path, threads: int) -> tuple[int, int]:
    """The most memory that a process held for a diff within 256 MiB, in bytes and read by itself, and the lines."""
    words = [sys.executable, "-c", PEAK, *map(str, (pair.source, pair.directory, out, threads))]
    ended = subprocess.run(words, capture_output=True, text=True, check=True, timeout=120)
    peak, lines = (int(line) for line in ended.stdout.split())
    return peak * 1024, lines


def test_the_memory_limit_is_kept(tmp_path: Path):
    """Three million rows a side, with everything the process holds: interpreter, libraries, threads."""
    large = made(tmp_path / "in", 3_000_000)
    peak, lines = peak_of(large, tmp_path / "changes.parquet", threads=2)
    assert lines == large.truth["lines"]
    assert peak < 256 * MIB


def test_the_memory_limit_is_kept_when_everything_changed(tmp_path: Path):
    """Values before and after of every row, on eight threads."""
    number = pl.int_range(0, 700_000, eager=True)
    for side, week in (("source", 1), ("directory", 0)):
        street = pl.format(
            "JALAN {} NOMOR {} RT {} KELURAHAN {}", number * 7919, number + week, number % 3, number * 31
        )
        columns = {
            "key": number,
            "nama": pl.select(street).to_series(),
            "jenjang": number,
            "npsn": number,
            "lahir": number,
        }
        pl.DataFrame(columns).write_parquet(tmp_path / side, row_group_size=100_000)
    pair = Pair(tmp_path / "source", tmp_path / "directory", {})
    peak, lines = peak_of(pair, tmp_path / "changes.parquet", threads=8)
    assert lines == 700_000
    assert peak < 256 * MIB


def test_one_key_in_most_rows_is_counted(tmp_path: Path):
    """Half a million rows of one key, far more than a part may hold, beside others that are not disturbed."""
    rows = pl.DataFrame({"key": ["same"] * 500_000 + [f"{n:06}" for n in range(100_000)], "x": 1})
    found = belajarid_recon.diff(rows, rows.unique(), key="key", memory_limit=256 * MIB)
    assert (found.counts["common"], found.counts["unchanged"]) == (100_001, 100_000)
    assert lines_of(found) == [("duplicate-source", "same", [], None, None, 500_000)]


def test_keys_that_crowd_where_none_was_expected_are_compared(tmp_path: Path):
    """The first rows of a file say nothing of the others, which share a long beginning: their part is cut again, and again."""
    spread = [f"{n * 7919 % 10**6:06}" for n in range(30_000)]
    crowded = [f"5{'0' * 60}{n:07}" for n in range(400_000)]
    for name, week in (("source", 1), ("directory", 0)):
        columns = {"key": [*spread, *crowded], "x": pl.int_range(0, 430_000, eager=True) // 100 * week % 2}
        pl.DataFrame(columns).write_parquet(tmp_path / name, data_page_size=1 << 16)
    expected = pl.read_parquet(tmp_path / "source").filter(pl.col("x") != 0).sort("key")["key"]
    asked = {"key": "key", "key_form": "text", "memory_limit": 256 * MIB, "threads": 2}
    found = belajarid_recon.diff(tmp_path / "source", tmp_path / "directory", **asked)
    assert pl.DataFrame(found)["key"].equals(expected)
    assert found.counts["unchanged"] == 430_000 - expected.len()


def test_progress_is_told(pair: Pair):
    """Phases in their order, each with how much of it is done, on the calling thread."""
    calls: list[tuple[str, int, int]] = []
    threads = set()

    def tell(*call: Any) -> None:
        calls.append(call)
        threads.add(threading.current_thread())

    asked = {"key": "key", "attributes": ATTRIBUTES, "threads": 1, "exact": True}
    belajarid_recon.diff(pair.source, pair.directory, **asked, progress=tell)
    phases = list(dict.fromkeys(phase for phase, _, _ in calls))
    order = ["open", "read", "match", "gather", "write"]
    assert phases == [phase for phase in order if phase in phases]
    assert {"read", "gather"} <= set(phases)
    assert all(0 <= done <= total for _, done, total in calls)
    done = [done for phase, done, _ in calls if phase == "read"]
    assert done == sorted(done)
    assert done[-1] > 0
    assert threads == {threading.current_thread()}


def test_an_error_of_the_progress_comes_back(pair: Pair, tmp_path: Path):
    """Whoever looks on may stop it; nothing is left."""

    def stop(*_: object) -> None:
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        belajarid_recon.diff(pair.source, pair.directory, key="key", progress=stop, out=tmp_path / "changes.parquet")
    assert list(tmp_path.iterdir()) == []


# How it ends

LONG = """
import sys, belajarid_recon
def tell(phase, done, total):
    print(phase, flush=True)
belajarid_recon.diff(*sys.argv[1:3], key="key", attributes=["nama", "jenjang", "npsn", "lahir"], exact=True, threads=1,
                     memory_limit=256 << 20, temporary_folder=sys.argv[4], out=sys.argv[3] + "/changes.parquet", progress=tell)
print("done", flush=True)
"""


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """A folder for the result and one to spill to."""
    (tmp_path / "out").mkdir()
    (tmp_path / "spill").mkdir()
    return tmp_path / "out", tmp_path / "spill"


def spent(child: subprocess.Popen) -> float:
    """Processor seconds that a living process has used: on a machine with other work a second of the clock may be none of its own."""
    fields = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def spent_by_the_ended() -> float:
    """Processor seconds of all children that were waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.parametrize("phase", ["read", "gather"])
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_diff_leaves_nothing(pair: Pair, folders: tuple[Path, Path], sent: signal.Signals, phase: str):
    """Ctrl-C ends it within a second, and a kill leaves no file either, neither of the result nor to spill."""
    words = [sys.executable, "-c", LONG, *map(str, (pair.source, pair.directory, *folders))]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        said = None
        while said not in {phase, "done", ""}:
            said = child.stdout.readline().strip()
        assert said == phase
        before = spent_by_the_ended() + spent(child)
        child.send_signal(sent)
        status = child.wait(timeout=20)
        rest, error = child.stdout.read(), child.stderr.read()
    assert "done" not in rest
    assert spent_by_the_ended() - before < 1.0
    assert [list(folder.iterdir()) for folder in folders] == [[], []]
    if sent == signal.SIGINT:
        assert status == -signal.SIGINT
        assert "KeyboardInterrupt" in error
    else:
        assert status == -signal.SIGKILL


SLOW_STREAM = """
import sys, time, pyarrow as pa, belajarid_recon
schema = pa.schema([("key", pa.int64())])
def batches():
    for number in range(10_000):
        print(number, flush=True)
        time.sleep(0.02)
        yield pa.record_batch([[number]], schema=schema)
reader = pa.RecordBatchReader.from_batches(schema, batches())
belajarid_recon.diff(reader, pa.table({"key": [1]}), key="key")
"""


def test_a_stream_that_is_read_is_interrupted():
    """Ctrl-C while the caller's own reader brings its batches."""
    words = [sys.executable, "-c", SLOW_STREAM]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        while child.stdout.readline().strip() != "9":
            assert child.poll() is None
        child.send_signal(signal.SIGINT)
        rest, error = child.communicate(timeout=20)
    assert len(rest.splitlines()) < 50  # a second's batches
    assert child.returncode == -signal.SIGINT
    assert "KeyboardInterrupt" in error


def reads(child: subprocess.Popen, path: Path) -> bool:
    """Whether a process has a file open."""
    links = Path(f"/proc/{child.pid}/fd").iterdir()
    for link in links:
        try:
            if link.readlink() == path:
                return True
        except FileNotFoundError:
            continue
    return False


def test_the_command_ends_with_130(pair: Pair, folders: tuple[Path, Path]):
    """Ctrl-C while it reads: the documented status, one message, no file."""
    words = [sys.executable, "-m", "belajarid_recon", "diff", pair.source, pair.directory, "--key", "key", "--exact"]
    words += [
        "--threads",
        1,
        "--memory-limit",
        "256MiB",
        "--out",
        folders[0] / "x.parquet",
        "--temporary-folder",
        folders[1],
    ]
    with subprocess.Popen(
        [str(word) for word in words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        while child.poll() is None and not reads(child, pair.directory):
            time.sleep(0.005)
        assert child.poll() is None
        before = spent_by_the_ended() + spent(child)
        child.send_signal(signal.SIGINT)
        output, error = child.communicate(timeout=20)
    assert child.returncode == ExitStatus.INTERRUPTED
    assert spent_by_the_ended() - before < 1.0
    assert output == ""
    assert error.startswith("error: interrupted")
    assert [list(folder.iterdir()) for folder in folders] == [[], []]


# Full disks

FULL = """
import errno, os, sys, belajarid_recon
source, directory, small, large, which = sys.argv[1:6]
out, spill = (small, large) if which == "out" else (large, small)
try:
    belajarid_recon.diff(source, directory, key="key", attributes=["nama", "jenjang", "npsn", "lahir"], threads=2,
                         memory_limit=256 << 20, temporary_folder=spill, out=out + "/changes.parquet")
except OSError as error:
    assert error.errno in (errno.ENOSPC, errno.EFBIG), error
    print(error.filename)
    print(os.listdir(small), os.listdir(large))
"""


def in_own_mounts(script: list[str]) -> list[str] | None:
    """Words that run a script where it may mount, in a namespace that ends with it; None where this machine forbids it."""
    for words in (["unshare", "--mount"], ["unshare", "--user", "--map-root-user", "--mount"]):
        tried = [*words, "sh", "-c", "mount -t tmpfs -o size=64k none /mnt"]
        if shutil.which("unshare") and subprocess.run(tried, capture_output=True, check=False).returncode == 0:
            return [*words, *script]
    return None


@pytest.mark.parametrize("which", ["out", "spill"])
def test_a_full_disk_is_said(pair: Pair, folders: tuple[Path, Path], which: str):
    """No room for the result, or to spill: an error that names the place, and nothing is left in it."""
    small, large = folders
    script = [sys.executable, "-c", FULL, *map(str, (pair.source, pair.directory, small, large)), which]
    mounted = in_own_mounts(["sh", "-c", f'mount -t tmpfs -o size=1m none "{small}" && exec "$@"', "sh", *script])
    limit = None if mounted else lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, MIB))
    ended = subprocess.run(mounted or script, capture_output=True, text=True, check=False, timeout=60, preexec_fn=limit)
    assert ended.returncode == 0, ended.stderr
    named, left = ended.stdout.splitlines()
    assert named.startswith(str(small))
    assert left == "[] []"


@contextlib.contextmanager
def without_rights() -> Iterator[None]:
    """Nobody's rights for a while, where the superuser's would let everything be written."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(before)


def test_a_folder_that_is_not_ours_is_said():
    """No right to write there: the machine's refusal, and nothing written."""
    with tempfile.TemporaryDirectory(prefix="recon-test-") as folder:
        Path(folder).chmod(0o555)
        table = pl.DataFrame({"key": ["a", "b"], "nama": ["x", "y"]})
        with without_rights(), pytest.raises(PermissionError):
            belajarid_recon.diff(table, table, key="key", out=Path(folder) / "changes.parquet")
        assert list(Path(folder).iterdir()) == []
        Path(folder).chmod(0o700)
