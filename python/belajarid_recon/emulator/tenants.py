"""Seven customers: their ids, domains and service accounts."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

import orjson
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from belajarid_recon.schemas import Jenjang

RSA_BITS = 2_048
_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"


@dataclass(eq=False)
class Tenant:
    """One Google Workspace customer as the emulator plays it. Its domains are the one thing about it that changes."""

    jenjang: Jenjang
    customer_id: str
    domains: tuple[str, ...]
    """The first is the primary one."""
    client_email: str
    public_key: rsa.RSAPublicKey
    domain_aliases: dict[str, str] = field(default_factory=dict)
    """Alias of a domain to the domain."""


def customer_id(seed: int, jenjang: Jenjang) -> str:
    """A customer id in Google's shape, the same for the same seed."""
    number = int.from_bytes(blake2b(f"{seed}/{jenjang}".encode(), digest_size=8).digest(), "big")
    return "C0" + to_base36(number)[-7:].rjust(7, "0")


def domains_of(jenjang: Jenjang) -> tuple[str, ...]:
    """The domains of a jenjang's tenant; the primary one first (reference: belajar.id domains by role)."""
    base = f"{jenjang}.belajar.id"
    extra = (f"pendidik.{base}",) if jenjang is Jenjang.KESETARAAN else ()
    return (base, f"guru.{base}", f"admin.{base}", *extra)


def to_base36(number: int) -> str:
    """A number in the digits and letters Google's ids use."""
    digits = ""
    while True:
        number, rest = divmod(number, 36)
        digits = _ALPHABET[rest] + digits
        if not number:
            return digits


def open_tenant(jenjang: Jenjang, *, seed: int, folder: Path, token_url: str) -> Tenant:
    """The tenant with the key kept in `folder`, made there the first time.

    Its service-account file is written anew each time, because the port, and with it the token address, may have changed.
    """
    file = folder / f"{jenjang}.json"
    client_email = f"belajarid-recon@{jenjang}-emulator.invalid"
    key = _load_key(file) if file.exists() else rsa.generate_private_key(public_exponent=65_537, key_size=RSA_BITS)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode("ascii")
    document = {
        "type": "service_account",
        "project_id": f"{jenjang}-emulator",
        "private_key_id": blake2b(pem.encode(), digest_size=20).hexdigest(),
        "private_key": pem,
        "client_email": client_email,
        "client_id": str(10**20 + int.from_bytes(blake2b(client_email.encode(), digest_size=8).digest(), "big")),
        "token_uri": token_url,
    }
    _write_private(file, orjson.dumps(document, option=orjson.OPT_INDENT_2))
    return Tenant(jenjang, customer_id(seed, jenjang), domains_of(jenjang), client_email, key.public_key())


def _load_key(file: Path) -> rsa.RSAPrivateKey:
    pem = orjson.loads(file.read_bytes())["private_key"].encode("ascii")
    key = serialization.load_pem_private_key(pem, password=None)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise TypeError("the emulator's keys are RSA keys")
    return key


def _write_private(file: Path, content: bytes) -> None:
    """Replace a file that only its owner may read, never leaving half of it."""
    fresh = file.with_suffix(".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
    fresh.replace(file)
