"""Whether somebody could sign in: what Google's sign-in page would do with an address and a password. Not part of the API.

Passwords are checked against what was stored for them: plain ones, `MD5` and `SHA-1` in hexadecimal, and crypt(3) hashes (`$6$` with the
core; the others with the standard library, where it still has `crypt`: Python 3.12 and before).
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable, Mapping
from hashlib import md5, sha1
from typing import Any

import orjson

from belajarid_recon._core import sha512_crypt
from belajarid_recon.emulator import accounts
from belajarid_recon.emulator.instants import EmulatedTime
from belajarid_recon.emulator.replies import Answer, ApiError, encode, invalid, not_offered
from belajarid_recon.emulator.storage import Storage, StoredUser
from belajarid_recon.emulator.tenants import Tenant
from belajarid_recon.emulator.users import Users

VERDICTS = ("ok", "must-change", "suspended", "archived", "wrong-password", "unknown-address")
_SHA512 = re.compile(r"\$6\$(?:rounds=(?P<rounds>\d+)\$)?(?P<salt>[./0-9A-Za-z]{1,16})\$(?P<hash>.+)")
_SHA512_ROUNDS = 5_000
"""What crypt(3) takes when a hash names none."""
_SHA512_ROUNDS_MIN = 1_000
"""What crypt(3) makes of fewer."""
_PASSWORD_BYTES_MAX = 512


class SignIn:
    """The sign-in page of all tenants."""

    def __init__(self, tenants: Iterable[Tenant], users: Users, storage: Storage, time: EmulatedTime) -> None:
        self._tenants = tuple(tenants)
        self._users = users
        self._storage = storage
        self._time = time

    def attempt(self, document: Mapping[str, Any]) -> Answer:
        """Try `address` and `password`, with `new_password` for an account that must change it; answers with a verdict.

        Only `ok` changes anything: `lastLoginTime`, and after a forced change the password. Raises ApiError 400 for a new password that
        Google would refuse or did not ask for, 501 for a stored hash that cannot be checked here.
        """
        address, password = str(document.get("address") or ""), document.get("password")
        new = document.get("new_password")
        if not isinstance(password, str) or not (new is None or isinstance(new, str)):
            raise invalid("address and password must be given as text, new_password may")
        stored = self._find(address)
        if stored is None:
            return _verdict("unknown-address")
        if not verify(self._storage.password(stored.number), password):
            return _verdict("wrong-password")
        account = orjson.loads(stored.answer)
        for field in ("suspended", "archived"):
            if account[field]:
                return _verdict(field)
        return self._enter(stored, account, new)

    def _enter(self, stored: StoredUser, account: dict[str, Any], new: str | None) -> Answer:
        """Let somebody in whose password was right, after the change of it that may be due."""
        must_change = account["changePasswordAtNextLogin"]
        if must_change and new is None:
            return _verdict("must-change")
        if new is not None and not must_change:
            raise invalid("a new password was not asked for")
        kept = accounts.checked_password({"password": new})
        account |= {
            "changePasswordAtNextLogin": False,
            "lastLoginTime": self._time.calendar(),
            "agreedToTerms": True,
        }
        self._users.rewrite(stored, account, kept)
        return _verdict("ok", id=account["id"], lastLoginTime=account["lastLoginTime"])

    def _find(self, address: str) -> StoredUser | None:
        domain = address.lower().rpartition("@")[2]
        for tenant in self._tenants:
            if domain in tenant.domains or domain in tenant.domain_aliases:
                try:
                    return self._users.find(tenant, address)
                except ApiError:
                    return None
        return None


def verify(stored: str | None, password: str) -> bool:
    """Whether a password is the one that `accounts.checked_password` stored. Raises ApiError 501 for a hash that cannot be checked."""
    secret = password.encode()
    if stored is None or len(secret) > _PASSWORD_BYTES_MAX or b"\0" in secret:
        return False
    function, _, kept = stored.partition(":")
    if function == "plain":
        return hmac.compare_digest(stored, accounts.plain_digest(password))
    if function == "MD5":
        return hmac.compare_digest(kept.lower(), md5(secret, usedforsecurity=False).hexdigest())
    if function == "SHA-1":
        return hmac.compare_digest(kept.lower(), sha1(secret, usedforsecurity=False).hexdigest())
    return hmac.compare_digest(kept.rpartition("$")[2].encode(), _crypted(kept, secret).rpartition("$")[2].encode())


def _crypted(kept: str, secret: bytes) -> str:
    """The secret under the salt of a crypt(3) hash."""
    match = _SHA512.fullmatch(kept)
    if match is not None:
        rounds = max(int(match["rounds"] or _SHA512_ROUNDS), _SHA512_ROUNDS_MIN)
        return sha512_crypt([secret], [match["salt"]], rounds=rounds)[0]
    try:
        from crypt import crypt  # noqa: PLC0415 - gone from Python 3.13 on, where the answer is 501

        return crypt(secret.decode(), kept)
    except (ImportError, OSError) as error:
        raise not_offered("a check of this kind of hash on this machine") from error


def _verdict(verdict: str, **more: str) -> Answer:
    return encode({"verdict": verdict, **more})
