"""First passwords until credentials are handed out: hashes of random secrets that are kept nowhere."""

from __future__ import annotations

from base64 import b64encode

from belajarid_recon import _core
from belajarid_recon.components import Randomness

SECRET_CHARACTERS = 15
"""The least length where a password is the only factor: NIST SP 800-63B-4, section 3.1.1."""
HASHES_PER_CALL = 16
"""The core hashes eight secrets side by side; more at once would keep the coordinator from its window."""
_RANDOM_BYTES = 12
"""Bytes behind 16 base64 characters: a whole salt, or a secret and one character; 15 of them carry 90 bits."""


class PasswordHashes:
    """A small stock of hashes in the form `$6$rounds=…$salt$…`, which the directory takes with hashFunction `crypt`.

    Not thread-safe: each tenant's coordinator has one. The interpreter is released while secrets are hashed.
    """

    def __init__(self, rounds: int, randomness: Randomness) -> None:
        self._rounds = rounds
        self._randomness = randomness
        self._stock: list[str] = []

    def take(self) -> str:
        """A hash nobody knows the secret of, each given once."""
        if not self._stock:
            self._stock = self._make()
        return self._stock.pop()

    def _make(self) -> list[str]:
        """The secrets exist in this function only."""
        drawn = self._randomness.bytes(2 * _RANDOM_BYTES * HASHES_PER_CALL)
        texts = [
            b64encode(drawn[start : start + _RANDOM_BYTES], altchars=b"./")
            for start in range(0, len(drawn), _RANDOM_BYTES)
        ]
        secrets = [text[:SECRET_CHARACTERS] for text in texts[:HASHES_PER_CALL]]
        salts = [text.decode("ascii") for text in texts[HASHES_PER_CALL:]]
        return _core.sha512_crypt(secrets, salts, rounds=self._rounds)
