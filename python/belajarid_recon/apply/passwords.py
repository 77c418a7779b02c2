"""First passwords until credentials are handed out: hashes of random secrets that are kept nowhere."""

from __future__ import annotations

from base64 import b64encode

from belajarid_recon import _core
from belajarid_recon.components import Randomness

SECRET_CHARACTERS = 15
"""The least length where a password is the only factor: NIST SP 800-63B-4, section 3.1.1."""
SALT_CHARACTERS = 16
_RANDOM_BYTES = 12
"""Bytes behind 16 base64 characters; 15 of them carry 90 bits."""


def password_hashes(count: int, rounds: int, randomness: Randomness) -> list[str]:
    """`count` hashes in the form `$6$rounds=…$salt$…`, which the directory takes with hashFunction `crypt`.

    The secrets exist in this function only. The interpreter is released while they are hashed.
    """
    drawn = randomness.bytes(2 * _RANDOM_BYTES * count)
    texts = [
        b64encode(drawn[start : start + _RANDOM_BYTES], altchars=b"./").decode("ascii")
        for start in range(0, len(drawn), _RANDOM_BYTES)
    ]
    secrets = [text[:SECRET_CHARACTERS] for text in texts[:count]]
    return list(_core.sha512_crypt(secrets, texts[count:], rounds=rounds))
