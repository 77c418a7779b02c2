"""Backup and restore of the state folder: whole or not at all, for its recipients alone, and a run goes on on another machine."""

from __future__ import annotations

import base64
import contextlib
import io
import os
import random
import resource
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
import pyrage
import pytest
from typer.testing import CliRunner

from appliers.plans import creation, plan_of
from belajarid_recon import pipeline
from belajarid_recon.apply.killpoints import VARIABLE, KillPoint
from belajarid_recon.cli.main import app
from belajarid_recon.cli.starting import write_settings
from belajarid_recon.components import ScaledClock, SystemRandomness
from belajarid_recon.emulator.launch import EmulatorProcess
from belajarid_recon.emulator.settings import EmulatorSettings
from belajarid_recon.errors import BusyError, ExitStatus, InputError
from belajarid_recon.settings import load_settings
from belajarid_recon.state.archive import ArchiveReader, Entry, Manifest, write_end, write_file, write_manifest
from belajarid_recon.state.folders import RunStatus, new_run
from belajarid_recon.state.journal import Event, EventState, Journal
from belajarid_recon.state.ledger import reserve_addresses
from belajarid_recon.state.lock import StateLock
from endings import refused_with
from worlds import DAY, world

CLOCK = ScaledClock()
LARGE_BYTES = 1_300_000
"""More than the buffers on the way hold."""


def type_in(*words: object) -> Any:
    """Run a command as if typed."""
    return CliRunner().invoke(app, [str(word) for word in words])


def names_in(folder: Path) -> list[str]:
    """What stands in a folder, sorted."""
    return sorted(path.name for path in folder.iterdir())


def identity_file(path: Path) -> tuple[Path, str]:
    """What age-keygen writes, and the public key."""
    identity = pyrage.x25519.Identity.generate()
    public = str(identity.to_public())
    path.touch(mode=0o600)
    path.write_text(f"# created: 2026-11-15T08:00:00+07:00\n# public key: {public}\n{identity}\n")
    return path, public


@dataclass
class Office:
    """A machine with settings, keys and a state folder, and three people with an identity each; the third is no recipient."""

    folder: Path
    identities: list[Path]
    publics: list[str]

    @property
    def settings_file(self) -> Path:
        """As the operator wrote it."""
        return self.folder / "recon.toml"

    @property
    def state(self) -> Path:
        """The state folder."""
        return self.folder / "state"

    @property
    def out(self) -> Path:
        """Where its backup goes."""
        return self.folder / "backup.age"

    def name_recipients(self, *recipients: str) -> None:
        """Write the table [backup]."""
        text = self.settings_file.read_text().partition("\n[backup]")[0]
        listed = ", ".join(f'"{one}"' for one in recipients)
        self.settings_file.write_text(f"{text}\n[backup]\nrecipients = [{listed}]\n")

    def back_up(self, *words: object) -> Any:
        """`state backup`."""
        return type_in("state", "backup", self.out, "--settings", self.settings_file, *words)

    def restore(self, *words: object, identity: int = 0, backup: Path | None = None) -> Any:
        """`state restore`."""
        asked = ("--identity", self.identities[identity], "--settings", self.settings_file)
        return type_in("state", "restore", backup or self.out, *asked, *words)

    def content(self) -> dict[str, bytes]:
        """The state's files that a backup keeps."""
        files = (path for path in self.state.rglob("*") if path.is_file() and path.name != "lock")
        return {path.relative_to(self.state).as_posix(): path.read_bytes() for path in files}

    def lose_state(self) -> None:
        """The machine's disk is gone."""
        shutil.rmtree(self.state)

    def left_behind(self) -> list[str]:
        """What a refused command must not leave."""
        return [name for name in names_in(self.folder) if name.startswith("state") or name.endswith(".part")]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Office:
    """A state folder with a run that is closed and one under way."""
    folder = tmp_path_factory.mktemp("model")
    write_settings(folder / "office", EmulatorProcess(EmulatorSettings(folder / "e")), url="http://127.0.0.1:9/")
    people = [identity_file(folder / f"{name}.key") for name in ("head", "escrow", "stranger")]
    made = Office(folder / "office", [path for path, _ in people], [public for _, public in people])
    made.name_recipients(*made.publics[:2])
    begin(made.state, 1, RunStatus.CLOSED)
    (begin(made.state, 2) / "snapshot.parquet").write_bytes(random.Random(1).randbytes(LARGE_BYTES))  # noqa: S311
    (made.state / "handoffs").mkdir()
    (made.state / "handoffs" / "kosong.parquet").touch()
    return made


def copy_of(office: Office, folder: Path) -> Office:
    """The same machine once more, for a test to change."""
    shutil.copytree(office.folder.parent, folder, dirs_exist_ok=True)
    identities = [folder / path.name for path in office.identities]
    return Office(folder / "office", identities, office.publics)


@pytest.fixture
def office(model, tmp_path) -> Office:
    """A machine of one test's own."""
    return copy_of(model, tmp_path)


def begin(state: Path, number: int, end: RunStatus | None = None) -> Path:
    """A run that was begun, with an address and a journal; its folder."""
    run = new_run(state, CLOCK, SystemRandomness())
    reserve_addresses(run, plan_of([creation("sd", number)], {}).steps.scan())
    with Journal.create(run.journal, {}, steps=4, clock=CLOCK) as journal:
        journal.commit([Event(0, 1, EventState.INTENT), Event(0, 1, EventState.DONE)])
    run.mark(RunStatus.APPLYING, CLOCK)
    if end:
        run.mark(end, CLOCK)
    return run.path


@pytest.fixture(scope="module")
def model_backed_up(model, tmp_path_factory) -> Office:
    """The same with a backup, and the state lost."""
    office = copy_of(model, tmp_path_factory.mktemp("backed-up"))
    assert office.back_up().exit_code == ExitStatus.DONE
    office.lose_state()
    return office


@pytest.fixture
def backed_up(model_backed_up, tmp_path) -> Office:
    """A machine of one test's own, with a backup and no state."""
    return copy_of(model_backed_up, tmp_path)


def test_what_comes_back_is_what_was_there(office):
    """Every file of the state by its bytes, readable by its owner only, and the keys where they are asked for, never on the screen."""
    (office.state / "half.parquet.part").write_bytes(b"x")
    (office.state / "journal.sqlite-shm").write_bytes(b"x")
    keys = {name: (office.folder / "keys" / name).read_bytes() for name in ("marker", "naming")}
    made = office.back_up("--json")
    document = orjson.loads(made.stdout)["backup"]
    assert document["sha256"] == sha256(office.out.read_bytes()).hexdigest()
    assert document["bytes"] == office.out.stat().st_size
    assert document["recipients"] == office.publics[:2]
    assert stat.S_IMODE(office.out.stat().st_mode) == 0o600
    before = office.content()
    office.lose_state()
    restored = office.restore("--keys", office.folder / "again")
    assert restored.exit_code == ExitStatus.DONE, restored.output
    assert "go on with: belajarid-recon apply" in restored.stdout
    after = office.content()
    assert after == {name: content for name, content in before.items() if not name.endswith((".part", "-shm"))}
    assert {name: (office.folder / "again" / name).read_bytes() for name in keys} == keys
    files = [path for folder in ("state", "again") for path in (office.folder / folder).rglob("*")]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600, 0o700}
    shown = made.output + restored.output
    assert not [key for key in keys.values() if key.decode().strip() in shown]
    assert "AGE-SECRET-KEY" not in shown


def test_either_recipient_opens_it_and_nobody_else(backed_up):
    """Each alone; a third person's identity is told that it is none, and leaves nothing."""
    refused_with(backed_up.restore(identity=2), ExitStatus.SETTINGS_REFUSED, "identity is not one")
    assert backed_up.left_behind() == []
    for identity in (0, 1):
        assert backed_up.restore(identity=identity).exit_code == ExitStatus.DONE
        backed_up.lose_state()


def test_age_and_tar_alone_open_it(backed_up):
    """Where this program cannot be had the archive is a plain one."""
    identity = pyrage.x25519.Identity.from_str(backed_up.identities[1].read_text().split()[-1])
    with tarfile.open(fileobj=io.BytesIO(pyrage.decrypt(backed_up.out.read_bytes(), [identity]))) as archive:
        names = archive.getnames()
        assert names[:3] == ["manifest.json", "keys/marker", "keys/naming"]
        assert archive.extractfile("keys/marker").read() == (backed_up.folder / "keys" / "marker").read_bytes()
        assert all(member.isreg() for member in archive)


def test_a_journal_with_rows_in_its_wal_keeps_them(office):
    """As a kill leaves it: the newest rows are not in the main file yet; of a run that is over, too."""
    images = []
    for path in sorted((office.state / "runs").iterdir()):
        journal = Journal.open(path / "journal.sqlite", clock=CLOCK)
        journal.commit([Event(1, 1, EventState.INTENT), Event(1, 1, EventState.DONE)])
        images.append((path, shutil.copytree(path, office.folder / f"image-{path.name}")))
        journal.close()
    for path, image in images:
        shutil.rmtree(path)
        image.rename(path)
        assert (path / "journal.sqlite-wal").stat().st_size > 0
    assert office.back_up().exit_code == ExitStatus.DONE
    office.lose_state()
    assert office.restore().exit_code == ExitStatus.DONE
    for path, _ in images:
        with Journal.open(path / "journal.sqlite", clock=CLOCK) as journal:
            assert journal.is_done(1)


@pytest.mark.parametrize(
    ("recipients", "said"),
    [
        ([0], "backup.recipients"),
        ([0, 0], "twice"),
        (["age1qqqq", 0], "number 1 is no age public key"),
        ([0, "AGE-SECRET-KEY-1HUNTER2"], "number 2 is a secret key"),
    ],
)
def test_fewer_than_two_people_are_refused(office, recipients, said):
    """One recipient, one twice, or what is no public key; what stands there is not repeated."""
    office.name_recipients(*(office.publics[one] if isinstance(one, int) else one for one in recipients))
    result = office.back_up()
    refused_with(result, ExitStatus.SETTINGS_REFUSED, said)
    assert "HUNTER2" not in result.output
    assert not office.out.exists()


def test_without_recipients_nothing_is_sealed(office):
    """The settings have no table [backup]."""
    office.settings_file.write_text(office.settings_file.read_text().partition("\n[backup]")[0])
    refused_with(office.back_up(), ExitStatus.SETTINGS_REFUSED, "[backup]")


def test_a_backup_goes_over_nothing_and_not_into_the_state(office):
    """A file that is there stays, and a backup is not part of what it keeps."""
    office.out.write_text("mine")
    refused_with(office.back_up(), ExitStatus.SETTINGS_REFUSED, "something already")
    assert office.out.read_text() == "mine"
    for place, said in (("state/runs/b.age", "in the state folder"), ("nowhere/b.age", "no such folder")):
        result = type_in("state", "backup", office.folder / place, "--settings", office.settings_file)
        refused_with(result, ExitStatus.SETTINGS_REFUSED, said)
    office.out.unlink()
    office.lose_state()
    refused_with(office.back_up(), ExitStatus.SETTINGS_REFUSED, "no state folder")
    assert office.left_behind() == []


def test_a_state_in_use_is_busy(office):
    """Nothing may change while it is read."""
    with StateLock(office.state, purpose="test"):
        refused_with(office.back_up(), ExitStatus.BUSY, "in use")
    assert not office.out.exists()


def cut_ledger(office: Office) -> None:
    """A segment is gone."""
    next((office.state / "ledger").glob("*.parquet")).unlink()


def cut_journal(office: Office) -> None:
    """The journal of the run under way is cut."""
    path = max((office.state / "runs").iterdir()) / "journal.sqlite"
    os.truncate(path, path.stat().st_size // 2)


def put_link(office: Office) -> None:
    """A link stands in the state folder."""
    (office.state / "elsewhere").symlink_to("/etc")


def change_key(office: Office) -> None:
    """The marker key is another one than that of the accounts."""
    assert office.back_up().exit_code == ExitStatus.DONE
    office.out.unlink()
    (office.folder / "keys" / "marker").write_text("ab" * 32)


@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        (cut_ledger, ExitStatus.PLAN_REFUSED, "ledger"),
        (cut_journal, ExitStatus.PLAN_REFUSED, "journal is damaged"),
        (put_link, ExitStatus.SETTINGS_REFUSED, "elsewhere"),
        (change_key, ExitStatus.SETTINGS_REFUSED, "marker key"),
    ],
)
def test_what_could_not_be_used_again_is_not_backed_up(office, change: Callable[[Office], None], status, said):
    """It would take the place of a good copy."""
    change(office)
    refused_with(office.back_up(), status, said)
    assert not office.out.exists()
    assert office.left_behind() == ["state"]


def test_a_file_that_changes_meanwhile_is_noticed(office):
    """Somebody wrote past the lock between the two readings: no backup."""

    def write(label: str, done: int, total: int) -> None:
        if label == "MiB sealed" and done == 0:
            (office.state / "handoffs" / "kosong.parquet").write_bytes(b"late")

    with pytest.raises(BusyError, match="changed while it was read"):
        pipeline.back_up_state(load_settings(office.settings_file), office.out, watch=write)
    assert office.left_behind() == ["state"]


def test_a_taken_place_is_refused(backed_up):
    """A state folder that holds anything, a key file that is there; an empty folder may be filled."""
    (backed_up.folder / "keys-there").mkdir()
    (backed_up.folder / "keys-there" / "naming").write_text("mine")
    refused_with(
        backed_up.restore("--keys", backed_up.folder / "keys-there"), ExitStatus.SETTINGS_REFUSED, "key file already"
    )
    assert names_in(backed_up.folder / "keys-there") == ["naming"]
    backed_up.state.mkdir()
    (backed_up.state / "thesis.txt").write_text("mine")
    refused_with(backed_up.restore(), ExitStatus.SETTINGS_REFUSED, "something already")
    assert names_in(backed_up.state) == ["thesis.txt"]
    (backed_up.state / "thesis.txt").unlink()
    assert backed_up.restore().exit_code == ExitStatus.DONE


def test_an_anchor_that_is_not_mounted_is_asked_for(backed_up):
    """Before anything is put back: without it nobody would see that the backup is old."""
    text = backed_up.settings_file.read_text().replace('state = "state"', 'state = "state"\nstate_anchor = "nowhere"')
    backed_up.settings_file.write_text(text)
    refused_with(backed_up.restore(), ExitStatus.SETTINGS_REFUSED, "no such folder for the anchor")
    assert backed_up.left_behind() == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda path: path.chmod(0o640), "chmod 600"),
        (lambda path: path.unlink(), "cannot be read"),
        (lambda path: path.write_text("AGE-SECRET-KEY-1HUNTER2\n"), "no age secret key"),
        (lambda path: path.write_bytes(b"\xff\xfe"), "no age secret key"),
        (lambda path: path.write_text("# public key: age1…\n", encoding="utf-8"), "no age secret key"),
    ],
)
def test_an_identity_file_that_cannot_be_used_is_refused(backed_up, change: Callable[[Path], object], said):
    """Readable by others, missing, or no key; its content is not repeated."""
    change(backed_up.identities[0])
    result = backed_up.restore()
    refused_with(result, ExitStatus.SETTINGS_REFUSED, said)
    assert "HUNTER2" not in result.output
    assert backed_up.left_behind() == []


def damages() -> Iterator[tuple[str, Callable[[bytes], bytes]]]:
    """Ways a file is damaged on its way."""
    for place in (0, 30, 300, 70_000, LARGE_BYTES // 2, -1):
        yield f"a bit at {place}", lambda sealed, at=place: flipped(sealed, at)
    for place in (0, 10, 200, 1_000, 66_000, LARGE_BYTES, -1):
        yield f"cut at {place}", lambda sealed, at=place: sealed[:at]
    yield "another file", lambda _: b"PAR1" * 10_000
    yield "a byte more", lambda sealed: sealed + b"\0"
    yield "itself again", lambda sealed: sealed + sealed


def flipped(content: bytes, at: int) -> bytes:
    """One bit is another."""
    changed = bytearray(content)
    changed[at] ^= 1
    return bytes(changed)


def test_a_damaged_file_is_refused_and_leaves_nothing(backed_up):
    """Wherever it is damaged: one message, the documented status, neither state nor keys."""
    sealed, bad = backed_up.out.read_bytes(), backed_up.folder / "bad.age"
    for name, damage in damages():
        bad.write_bytes(damage(sealed))
        result = backed_up.restore("--keys", backed_up.folder / "new-keys", backup=bad)
        # Damage to a recipient's line cannot be told from an identity that is none.
        statuses = {ExitStatus.INPUT_REFUSED} | ({ExitStatus.SETTINGS_REFUSED} if name == "a bit at 30" else set())
        assert result.exit_code in statuses, (name, result.output)
        refused_with(result, result.exit_code, "bad.age")
        assert backed_up.left_behind() == [], name
        assert not (backed_up.folder / "new-keys").exists()


CONTENT = b"sebelas"
KEY = b"ab" * 32 + b"\n"


def entry(path: str, content: bytes = CONTENT, **changes: Any) -> dict[str, Any]:
    """A file as a manifest has it."""
    return {"path": path, "size": len(content), "sha256": sha256(content).hexdigest()} | changes


def manifest(*files: dict[str, Any], **changes: Any) -> bytes:
    """A manifest's bytes, checked by nobody."""
    facts = {"tool_version": "0.1.0", "made_at": "2026-11-22T00:00:00Z", "state_identity": None, "latest_run": None}
    facts |= {"format": "belajarid-recon state backup", "format_version": 1, "ledger_end": "", "key_prints": {}}
    return orjson.dumps(facts | {"unfinished_run": None, "files": files} | changes)


def archive(head: bytes, *members: tuple[str, bytes], kind: bytes = tarfile.REGTYPE, link: str = "") -> bytes:
    """A tar archive of these members behind a manifest."""
    stream = io.BytesIO()
    for name, content in (("manifest.json", head), *members):
        made = tarfile.TarInfo(name)
        made.size, made.mode = len(content), 0o600
        if members and name == members[-1][0]:
            made.type, made.linkname = kind, link
        stream.write(made.tobuf(tarfile.GNU_FORMAT) + content + bytes(-len(content) % 512))
    return stream.getvalue() + bytes(1024)


ONE = ("state/a", CONTENT)
NOT_OURS: dict[str, bytes] = {
    "a path that leads out": archive(manifest(entry("state/../a")), ("state/../a", CONTENT)),
    "an absolute path": archive(manifest(entry("/tmp/a")), ("/tmp/a", CONTENT)),  # noqa: S108 - must not be made
    "an absolute path below": archive(manifest(entry("state//a")), ("state//a", CONTENT)),
    "another folder": archive(manifest(entry("other/a")), ("other/a", CONTENT)),
    "an unknown key": archive(manifest(entry("keys/google", KEY)), ("keys/google", KEY)),
    "a key that is none": archive(manifest(entry("keys/marker", b"x" * 65)), ("keys/marker", b"x" * 65)),
    "a long key": archive(manifest(entry("keys/marker", KEY * 2)), ("keys/marker", KEY * 2)),
    "a file twice": archive(manifest(entry("state/a"), entry("state/a")), ONE, ONE),
    "a file and a folder": archive(manifest(entry("state/a"), entry("state/a/b")), ONE, ("state/a/b", CONTENT)),
    "a lock": archive(manifest(entry("state/lock")), ("state/lock", CONTENT)),
    "a line end in a name": archive(manifest(entry("state/a\nb")), ("state/a\nb", CONTENT)),
    "a name too long": archive(manifest(entry("state/" + "a" * 300)), ("state/" + "a" * 300, CONTENT)),
    "a link": archive(manifest(entry("state/a", b"")), ("state/a", b""), kind=tarfile.SYMTYPE, link="/etc"),
    "a hard link": archive(manifest(entry("state/a", b"")), ("state/a", b""), kind=tarfile.LNKTYPE, link="/etc/passwd"),
    "a device": archive(manifest(entry("state/a", b"")), ("state/a", b""), kind=tarfile.CHRTYPE),
    "another name": archive(manifest(entry("state/a")), ("state/b", CONTENT)),
    "another content": archive(manifest(entry("state/a")), ("state/a", b"duabela")),
    "more than announced": archive(manifest(entry("state/a", size=6)), ONE),
    "less than announced": archive(manifest(entry("state/a", size=1 << 40)), ONE),
    "a file nobody announced": archive(manifest(entry("state/a")), ONE, ("state/b", CONTENT)),
    "a file that is missing": archive(manifest(entry("state/a"), entry("state/b")), ONE),
    "no end": archive(manifest(entry("state/a")), ONE)[:-512],
    "something after the end": archive(manifest(entry("state/a")), ONE) + b"\0",
    "a size below zero": archive(manifest(entry("state/a", size=-1)), ONE),
    "a newer format": archive(manifest(format_version=2)),
    "another format": archive(manifest(format="of somebody else")),
    "a time without zone": archive(manifest(made_at="2026-11-22T00:00:00")),
    "a field nobody knows": archive(manifest(epoch=7)),
    "a manifest that is no JSON": archive(b"{"),
    "an archive without manifest": archive(b"{}")[1024:] + archive(b"{}"),
    "nothing": b"",
}


@pytest.mark.parametrize("what", NOT_OURS)
def test_an_archive_that_is_not_ours_is_refused(office, what):
    """Whoever knows the public keys can seal one: nothing of it is left, inside the folder or out of it."""
    office.lose_state()
    office.out.write_bytes(pyrage.encrypt(NOT_OURS[what], [pyrage.x25519.Recipient.from_str(office.publics[0])]))
    before = names_in(office.folder)
    result = office.restore("--keys", office.folder / "new-keys")
    refused_with(result, ExitStatus.INPUT_REFUSED, "backup")
    assert names_in(office.folder) == before
    assert "newer" not in what or "format this version does not read" in result.stderr


GOLDEN = (
    "eNrtV9tuozAQzXO+AvGcNGPjS+l37FNXKzS+NW6IiYCs1F3l39dAokabVehLo43KGcRl7DkeDGdkbzF4Z5v24bWpwuxzABECoL/C"
    "5ZVwkKf7wU+AAZklMLsB9k2LdZLMvih+z5MkdVW9xTZ9SlJlS3zF2ptlbXUVkjg5rU0U6s1+ly7e+xY/bd34KsQY0rvbqirPnCk8"
    "kAcYIrZobDHQU6BiSciS0m8AT/3xPHTqByq8saH17VvXF9V1G+LKGNa0Rb0PJ35CevYjnpenu6H/PjgffLO25hgT9mU5MFnzYuvC"
    "BtMxaXPdBraNfSt2tQ9tE2O6qexft97YuuOw7rqlMeAwTKovbUfxvacYiKJ7h+26I4rDNKsj7+LU2PhfNjYK/u5ZI+WiC3ikKLhg"
    "cSqUziTQ3GQq6ozxLAqLU+4QCSiQNNfUSWoyyChyxzTJFBpO0p7ysLiSTsCtDy8fS0cDGoEUc8ppHnMz3GglkDmMjxjzkVQ/grXA"
    "dGZBaqKkUoQbSa3jQo6k0/86q+HzrfQafbjISv4jKeEU45IxJqmjilCt0emcSccMCGrQZNQAZJCjynOLUispKde5EibTkuXHpOL5"
    "x/xwt/o/+7U+bYyR+h/LPfm7/gNjU/2/Bcaq7JjNZxPuGWe1/L/Sfzbp/yYYW+eM2aT/+8bl4un2+oeL/R+Jy/hJ/zf5/rbb8jWT"
    "ECZMmDDhi+EPBsZeSw=="
)
"""The archive of format 1 with two keys and a file, deflated."""


def golden() -> bytes:
    """An archive that this program wrote."""
    stream = io.BytesIO()
    keys = {"keys/marker": KEY, "keys/naming": b"cd" * 32 + b"\n", "state/ledger/chain": CONTENT}
    entries = tuple(Entry.model_validate(entry(path, content)) for path, content in keys.items())
    write_manifest(
        stream,
        Manifest(
            tool_version="0.1.0",
            made_at=datetime(2026, 11, 22, tzinfo=UTC),
            state_identity="ab" * 16,
            latest_run="20261122T000000000Z-00000000",
            unfinished_run=None,
            ledger_end="cd" * 16,
            key_prints={"marker": "ef" * 16},
            files=entries,
        ),
    )
    for one in entries:
        assert write_file(stream, one, io.BytesIO(keys[one.path]), lambda _: None)
    write_end(stream)
    return stream.getvalue()


def test_the_format_is_what_it_was(office):
    """An archive of the first version is written byte for byte, and read."""
    kept = zlib.decompress(base64.b64decode(GOLDEN))
    assert kept == golden()
    office.lose_state()
    office.out.write_bytes(pyrage.encrypt(kept, [pyrage.x25519.Recipient.from_str(office.publics[1])]))
    assert office.restore("--keys", office.folder / "new-keys", identity=1).exit_code == ExitStatus.DONE
    assert office.content() == {"ledger/chain": CONTENT}
    assert (office.folder / "new-keys" / "marker").read_bytes() == KEY


def test_a_name_and_a_size_beyond_the_oldest_tar_are_written():
    """A path of 600 characters and a file of 20 GiB have headers that tar reads."""
    path = "state/" + "/".join(["a" * 197] * 3)
    stream = io.BytesIO()
    assert not write_file(stream, Entry.model_validate(entry(path, size=20 << 30)), io.BytesIO(CONTENT), lambda _: None)
    stream.seek(0)
    with tarfile.open(fileobj=stream, mode="r|") as opened:
        member = opened.next()
    assert (member.name, member.size) == (path, 20 << 30)
    stream.seek(0)
    reader = ArchiveReader(stream, Path("a"))
    with pytest.raises(InputError, match="ends early"):
        list(reader.content(Entry.model_validate(entry(path, size=20 << 30))))


@contextlib.contextmanager
def disk_of(count: int) -> Iterator[None]:
    """Files of at most so many bytes: a write beyond fails as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (count, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_nothing(office):
    """Neither half a backup nor half a state; the file it happened at is named."""
    with disk_of(LARGE_BYTES // 2):
        refused_with(office.back_up(), ExitStatus.MACHINE, "backup.age.part")
    assert office.left_behind() == ["state"]
    assert office.back_up().exit_code == ExitStatus.DONE
    office.lose_state()
    with disk_of(LARGE_BYTES // 2):
        refused_with(office.restore(), ExitStatus.MACHINE, "snapshot.parquet")
    assert office.left_behind() == []


@pytest.mark.parametrize("label", ["MiB read", "MiB sealed", "MiB restored"])
def test_ctrl_c_leaves_nothing(office, label):
    """In the middle of reading, sealing or restoring; the same command then does it."""
    settings = load_settings(office.settings_file)

    def interrupt(at: str, done: int, total: int) -> None:
        if at == label and done >= 1:
            signal.raise_signal(signal.SIGINT)

    if label == "MiB restored":
        assert office.back_up().exit_code == ExitStatus.DONE
        office.lose_state()
        with pytest.raises(KeyboardInterrupt):
            pipeline.restore_state(
                settings, office.out, identity=office.identities[0], keys=office.folder / "new-keys", watch=interrupt
            )
        assert office.left_behind() == []
        assert not (office.folder / "new-keys").exists()
        assert office.restore().exit_code == ExitStatus.DONE
    else:
        with pytest.raises(KeyboardInterrupt):
            pipeline.back_up_state(settings, office.out, watch=interrupt)
        assert office.left_behind() == ["state"]
        assert office.back_up().exit_code == ExitStatus.DONE


def test_what_a_kill_left_is_cleared_away(backed_up):
    """Half a restore and half a backup of before do not get into the next, and two restores at once are not let in."""
    part = backed_up.folder / "state.part"
    (part / "runs").mkdir(parents=True)
    (part / "runs" / "old").write_text("x")
    with StateLock(part, purpose="test"):
        refused_with(backed_up.restore(), ExitStatus.BUSY, "in use")
    assert backed_up.restore().exit_code == ExitStatus.DONE
    assert not (backed_up.state / "runs" / "old").exists()
    assert not part.exists()
    backed_up.out.rename(backed_up.folder / "backup.age.part")
    assert backed_up.back_up().exit_code == ExitStatus.DONE
    assert backed_up.left_behind() == ["state"]


def machine(folder: Path, world_: Any, anchor: Path, recipients: list[str]) -> Path:
    """Settings of a machine of its own towards the world's directory; keys and state are in `folder`."""
    folder.mkdir()
    text = world_.settings_file.read_text().replace('"emulator/', f'"{world_.folder}/emulator/')
    text = text.replace('state = "state"', f'state = "state"\nstate_anchor = "{anchor}"')
    path = folder / "recon.toml"
    path.write_text(f"{text}\n[backup]\nrecipients = {orjson.dumps(recipients).decode()}\n")
    return path


def test_the_drill(tmp_path):
    """A run is killed half-way, backed up, and the machine is lost; another one gets the state from the first recipient and goes on.

    The accounts are made once each, the directory converges, and the same backup put back after that is known to be old.
    """
    first, second = (identity_file(tmp_path / f"{name}.key") for name in ("head", "escrow"))
    anchor = tmp_path / "anchor"
    anchor.mkdir()
    backup = tmp_path / "backup.age"
    with world(tmp_path / "world", 300) as made:
        settings = machine(tmp_path / "lost", made, anchor, [first[1], second[1]])
        shutil.copytree(made.folder / "keys", settings.parent / "keys")
        planned = type_in("plan", "--settings", settings, "--extract", made.extract, "--date", DAY, "--json")
        steps = orjson.loads(planned.stdout)["plan"]["steps"]
        killed = subprocess.run(
            [sys.executable, "-m", "belajarid_recon", "apply", "--settings", settings],
            env=os.environ | {VARIABLE: f"{KillPoint.REPLY_RECEIVED}:{steps // 2}"},
            capture_output=True,
            check=False,
            timeout=120,
        )
        assert killed.returncode == -signal.SIGKILL
        assert type_in("state", "backup", backup, "--settings", settings).exit_code == ExitStatus.DONE
        shutil.rmtree(settings.parent)

        def put_back(name: str, identity: Path) -> tuple[Path, Any]:
            there = machine(tmp_path / name, made, anchor, [first[1], second[1]])
            keys = ("--keys", tmp_path / name / "keys", "--settings", there)
            return there, type_in("state", "restore", backup, "--identity", identity, *keys)

        there, restored = put_back("another", first[0])
        assert restored.exit_code == ExitStatus.DONE, restored.output
        applied = type_in("apply", "--settings", there, "--json")
        assert applied.exit_code == ExitStatus.DONE, applied.output
        assert orjson.loads(applied.stdout)["apply"]["done"] == steps
        verified = type_in("verify", "--settings", there)
        assert verified.exit_code == ExitStatus.DONE, verified.output
        lines = [line for tenant in load_settings(there).tenants for line in made.emulator.accounts(tenant)]
        assert {line["inserts"] for line in lines} == {1}

        there, older = put_back("third", second[0])
        refused_with(older, ExitStatus.PLAN_REFUSED, "older than its anchor")
        assert "restored:" in older.stdout
        refused_with(type_in("apply", "--settings", there), ExitStatus.PLAN_REFUSED, "older than its anchor")
