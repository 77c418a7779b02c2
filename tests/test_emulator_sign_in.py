"""The emulator's sign-in check."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from hashlib import md5, sha1
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from belajarid_recon._core import sha512_crypt
from belajarid_recon.emulator.accounts import checked_password
from belajarid_recon.emulator.launch import EmulatorProcess
from belajarid_recon.emulator.replies import ApiError
from belajarid_recon.emulator.sign_in import VERDICTS, verify
from belajarid_recon.errors import ReconError
from belajarid_recon.schemas import Jenjang
from emulator_kit import official, person, unlimited

SD = Jenjang.SD
PASSWORD = "kata-sandi-7"  # noqa: S105 - made up
ADDRESS = "siti@sd.belajar.id"


def stored(hashed: str, function: str | None) -> str | None:
    """What the emulator keeps for a password."""
    return checked_password({"password": hashed, "hashFunction": function})


pytestmark = pytest.mark.filterwarnings("ignore:'crypt' is deprecated")
OLD_CRYPT = pytest.mark.skipif(sys.version_info >= (3, 13), reason="the standard library has no crypt from 3.13 on")


@pytest.mark.parametrize(
    ("hashed", "function", "secret"),
    [
        (PASSWORD, None, PASSWORD),
        (md5(PASSWORD.encode(), usedforsecurity=False).hexdigest().upper(), "MD5", PASSWORD),
        (sha1(PASSWORD.encode(), usedforsecurity=False).hexdigest(), "SHA-1", PASSWORD),
        # Made by other programs: `openssl passwd -6`, `-5`, `-1`; Perl's crypt.
        (
            "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1",
            "crypt",
            "Hello world!",
        ),
        pytest.param(
            "$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5", "crypt", "Hello world!", marks=OLD_CRYPT
        ),
        pytest.param("$1$garam$p7CbHcRLgtGlFPNleBx6d/", "crypt", PASSWORD, marks=OLD_CRYPT),
        pytest.param("abgOeLfPimXQo", "crypt", "test", marks=OLD_CRYPT),
    ],
)
def test_every_hash_google_takes_is_checked(hashed: str, function: str | None, secret: str) -> None:
    """The right password passes, one letter more, less or changed does not."""
    kept = stored(hashed, function)
    assert verify(kept, secret)
    for wrong in (secret[:-1], secret.swapcase(), "x" + secret, "", "\0", "é" * 600):
        assert not verify(kept, wrong)
    assert not verify(None, secret)


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40), st.integers(1_000, 1_200))
def test_a_hash_of_ours_is_recognised(secret: str, rounds: int) -> None:
    """What apply sends for a password lets that password in and no other."""
    kept = stored(sha512_crypt([secret], ["garam0123456789."], rounds=rounds)[0], "crypt")
    assert verify(kept, secret)
    assert not verify(kept, secret + "x")


def test_a_hash_that_cannot_be_checked_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the standard library has no crypt, the answer is 501 and neither yes nor no."""
    monkeypatch.setitem(sys.modules, "crypt", None)
    with pytest.raises(ApiError) as caught:
        verify(stored("$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5", "crypt"), PASSWORD)
    assert caught.value.status == 501


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatorProcess]:
    """One emulator for this module."""
    with EmulatorProcess(unlimited(tmp_path_factory.mktemp("sign-in") / "state", SD)) as running:
        yield running


@pytest.fixture
def account(emulator: EmulatorProcess) -> Iterator[dict[str, Any]]:
    """An account that must change its password, deleted afterwards."""
    hashed = sha512_crypt([PASSWORD], ["garamgaram"], rounds=1_000)[0]
    body = person(ADDRESS, password=hashed, changePasswordAtNextLogin=True)
    made = official(emulator, SD).users().insert(body=body).execute()
    yield made
    official(emulator, SD).users().delete(userKey=made["id"]).execute()


def test_the_first_sign_in_changes_the_password(emulator: EmulatorProcess, account: dict[str, Any]) -> None:
    """Nothing happens before the change; then the new password counts, the old one is dead, and the time is written."""
    users = official(emulator, SD).users()
    assert emulator.sign_in(ADDRESS, PASSWORD) == {"verdict": "must-change"}
    assert users.get(userKey=ADDRESS).execute() == account
    with pytest.raises(ReconError, match="Invalid Password"):
        emulator.sign_in(ADDRESS, PASSWORD, "pendek")
    assert users.get(userKey=ADDRESS).execute() == account
    emulator.advance(3_000)
    entered = emulator.sign_in(ADDRESS.upper(), PASSWORD, "kata-sandi-baru")
    after = users.get(userKey=ADDRESS).execute()
    assert entered == {"verdict": "ok", "id": account["id"], "lastLoginTime": after["lastLoginTime"]}
    assert after["lastLoginTime"] > account["creationTime"]
    assert (after["changePasswordAtNextLogin"], after["agreedToTerms"]) == (False, True)
    assert emulator.sign_in(ADDRESS, PASSWORD) == {"verdict": "wrong-password"}
    emulator.advance(1)
    again = emulator.sign_in(ADDRESS, "kata-sandi-baru")
    assert again["lastLoginTime"] > entered["lastLoginTime"]
    with pytest.raises(ReconError, match="not asked for"):
        emulator.sign_in(ADDRESS, "kata-sandi-baru", "kata-sandi-lain")


def test_who_may_not_sign_in_is_told_why(emulator: EmulatorProcess, account: dict[str, Any]) -> None:
    """Suspended and archived only to who knows the password; wrong and unknown are told apart; nobody's time is written."""
    users = official(emulator, SD).users()
    seen = [emulator.sign_in(ADDRESS, "kata-sandi-8"), emulator.sign_in("nobody@sd.belajar.id", PASSWORD)]
    seen += [emulator.sign_in("siti@tidakada.example", PASSWORD), emulator.sign_in("", PASSWORD)]
    for field in ("archived", "suspended"):
        users.update(userKey=account["id"], body={field: True}).execute()
        seen.append(emulator.sign_in(ADDRESS, PASSWORD, "kata-sandi-baru"))
        assert emulator.sign_in(ADDRESS, "kata-sandi-8") == {"verdict": "wrong-password"}
    verdicts = ["wrong-password", "unknown-address", "unknown-address", "unknown-address", "archived", "suspended"]
    assert seen == [{"verdict": verdict} for verdict in verdicts]
    assert set(verdicts) < set(VERDICTS)
    shown = users.get(userKey=ADDRESS).execute()
    assert (shown["lastLoginTime"], shown["changePasswordAtNextLogin"]) == (account["lastLoginTime"], True)


def test_a_planted_account_has_no_password(emulator: EmulatorProcess) -> None:
    """Nobody gets in until one is set."""
    (identity,) = emulator.plant(SD, [{"primaryEmail": "tanam@sd.belajar.id"}])
    assert emulator.sign_in("tanam@sd.belajar.id", "") == {"verdict": "wrong-password"}
    official(emulator, SD).users().update(userKey=identity, body={"password": PASSWORD}).execute()
    assert emulator.sign_in("tanam@sd.belajar.id", PASSWORD)["verdict"] == "ok"


def test_no_password_is_repeated_or_kept_in_the_clear(tmp_path: Path) -> None:
    """A new password is in no answer and in no file."""
    new = "RahasiaBaru9917"
    with EmulatorProcess(unlimited(tmp_path / "e", SD)) as emulator:
        body = person(ADDRESS, password=PASSWORD, hashFunction=None, changePasswordAtNextLogin=True)
        official(emulator, SD).users().insert(body=body).execute()
        assert new not in str(emulator.sign_in(ADDRESS, PASSWORD, new))
    with EmulatorProcess(unlimited(tmp_path / "e", SD)) as emulator:
        assert emulator.sign_in(ADDRESS, new)["verdict"] == "ok"
    for file in (tmp_path / "e").rglob("*"):
        assert not file.is_file() or new.encode() not in file.read_bytes()
