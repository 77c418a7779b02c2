"""The token endpoint: a signed assertion in, an access token out; and what a token may do.

Source: RFC 7523 and Google's server-to-server flow. google-auth fixes the audience to Google's own token address whatever `token_uri`
says, so that address is accepted beside the emulator's own.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qsl

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from google.oauth2 import service_account

from belajarid_recon.emulator.instants import EmulatedTime
from belajarid_recon.emulator.replies import Answer, ApiError, GrantError, encode
from belajarid_recon.emulator.storage import Storage, StoredToken
from belajarid_recon.emulator.tenants import Tenant

GRANT_TYPE = "urn:ietf:params:oauth:grant-type:jwt-bearer"
ASSERTION_LIFE_SECONDS = 3_600
"""Real seconds an assertion may be good for: its times are written by the client's clock."""
_SKEW_SECONDS = 300
_TOKEN_BYTES_MAX = 512
_CACHE_MAX = 10_000


@dataclass(frozen=True, eq=False)
class Access:
    """What a live access token stands for."""

    tenant: Tenant
    scopes: frozenset[str]
    expires_at: float
    user: str
    """Whose calls a minute it spends: the administrator it acts for, or the service account itself. A tenant has one service account, in
    a project of its own, so a tenant and a user are what Google calls a user and a project."""


@dataclass(frozen=True)
class Terms:
    """Where tokens are asked for, and how many emulated seconds they live."""

    url: str
    life_seconds: float


class Tokens:
    """Grants tokens and recognises them. Only digests of tokens are stored."""

    def __init__(self, tenants: Iterable[Tenant], storage: Storage, time: EmulatedTime, terms: Terms) -> None:
        self._tenants = {tenant.client_email: tenant for tenant in tenants}
        self._by_name = {str(tenant.jenjang): tenant for tenant in self._tenants.values()}
        self._storage = storage
        self._time = time
        self._audiences = {terms.url, service_account._GOOGLE_OAUTH2_TOKEN_ENDPOINT}
        self._life_seconds = terms.life_seconds
        self._known: dict[bytes, Access] = {}

    def grant(self, form: bytes, scopes_known: frozenset[str]) -> Answer:
        """Answer POST /token. Raises GrantError."""
        fields = dict(parse_qsl(form.decode("ascii", "replace")))
        if fields.get("grant_type") != GRANT_TYPE:
            raise GrantError("unsupported_grant_type", "Invalid grant_type.")
        claims, tenant, user = self._verified(fields.get("assertion", ""))
        scopes = frozenset(str(claims.get("scope", "")).split())
        if not scopes or not scopes <= scopes_known:
            raise GrantError("invalid_scope", "Some requested scopes were invalid.")
        token = "ya29.emulator." + secrets.token_urlsafe(32)
        expires_at = self._time.elapsed() + self._life_seconds
        self._storage.forget_tokens(self._time.elapsed())
        row = StoredToken(str(tenant.jenjang), " ".join(sorted(scopes)), expires_at, user)
        self._storage.add_token(_digest(token.encode()), row)
        return encode({"access_token": token, "expires_in": int(self._life_seconds), "token_type": "Bearer"})

    def access(self, authorization: bytes | None) -> Access:
        """What the Authorization header allows. Raises ApiError 401."""
        if authorization is None:
            raise ApiError(401, "required", "Login Required.", location=("header", "Authorization"))
        access = self._known.get(authorization) or self._recall(authorization)
        if access is None or access.expires_at <= self._time.elapsed():
            raise ApiError(401, "authError", "Invalid Credentials", location=("header", "Authorization"))
        return access

    def revoke(self, authorization: bytes | None) -> None:
        """End the access token of an Authorization header before its time."""
        if authorization is not None:
            self._known.pop(authorization, None)
            self._storage.drop_token(_digest(authorization.partition(b" ")[2]))

    def _recall(self, authorization: bytes) -> Access | None:
        kind, _, token = authorization.partition(b" ")
        if kind.lower() != b"bearer" or len(token) > _TOKEN_BYTES_MAX:
            return None
        row = self._storage.token(_digest(token))
        if row is None or row.tenant not in self._by_name:
            return None
        if len(self._known) >= _CACHE_MAX:
            self._known.clear()
        tenant = self._by_name[row.tenant]
        access = Access(tenant, frozenset(row.scopes.split()), row.expires_at, row.user or tenant.client_email)
        self._known[authorization] = access
        return access

    def _verified(self, assertion: str) -> tuple[Mapping[str, Any], Tenant, str]:
        """Claims, tenant and user of an assertion whose signature, issuer, audience, subject and times hold. Raises GrantError."""
        try:
            head, payload, signature = assertion.encode("ascii").split(b".")
            header, claims = orjson.loads(_decode(head)), orjson.loads(_decode(payload))
            tenant = self._tenants[claims["iss"]]
            tenant.public_key.verify(_decode(signature), head + b"." + payload, PKCS1v15(), SHA256())
            issued, expires = float(claims["iat"]), float(claims["exp"])
        except (ValueError, TypeError, KeyError, InvalidSignature) as error:
            raise GrantError("invalid_grant", "Invalid JWT Signature.") from error
        now = self._time.wall()
        if header.get("alg") != "RS256":
            raise GrantError("invalid_grant", "Invalid JWT: unsupported algorithm.")
        if not issued - _SKEW_SECONDS <= now < expires or expires - issued > ASSERTION_LIFE_SECONDS:
            raise GrantError("invalid_grant", "Invalid JWT: Token must be a short-lived token (60 minutes).")
        if claims.get("aud") not in self._audiences:
            raise GrantError("invalid_grant", "Invalid JWT: wrong audience.")
        user = str(claims.get("sub", tenant.client_email)).lower()
        if user != tenant.client_email and user.rpartition("@")[2] not in tenant.domains:
            raise GrantError("invalid_grant", "Invalid email or User ID")
        return claims, tenant, user


def _digest(token: bytes) -> bytes:
    return sha256(token).digest()


def _decode(part: bytes) -> bytes:
    return base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4))
