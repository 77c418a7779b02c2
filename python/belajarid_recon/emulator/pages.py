"""Page tokens: where a list goes on, bound to its query, valid for three days of emulated time."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping

import orjson

from belajarid_recon.emulator.replies import ApiError, invalid

LIFE_SECONDS = 3 * 24 * 3_600
"""Discovery document, users.list: "The page token is only valid for three days"."""
_MAC_BYTES = 12
_UNBOUND = frozenset({"pageToken", "maxResults", "alt", "fields", "prettyPrint", "quotaUser", "key"})
"""Parameters that may change between the pages of one list."""


class PageTokens:
    """Makes and reads page tokens. They hold their own state, so they outlive the emulator's process."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def issue(self, tenant: str, query: Mapping[str, str], after: tuple[str, int], now: float) -> str:
        """A token that goes on behind `after`: primary address and account number."""
        payload = orjson.dumps([self._binding(tenant, query), *after, now])
        return base64.urlsafe_b64encode(self._mac(payload) + payload).decode("ascii")

    def read(self, tenant: str, query: Mapping[str, str], now: float) -> tuple[str, int]:
        """Where the query's `pageToken` goes on; the start when it has none. Raises ApiError 400."""
        token = query.get("pageToken", "")
        if not token:
            return "", 0
        try:
            raw = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True)
        except (binascii.Error, UnicodeEncodeError) as error:
            raise _refused() from error
        if not hmac.compare_digest(raw[:_MAC_BYTES], self._mac(raw[_MAC_BYTES:])):
            raise _refused()
        binding, email, number, issued = orjson.loads(raw[_MAC_BYTES:])
        if binding != self._binding(tenant, query) or now - issued > LIFE_SECONDS:
            raise _refused()
        return str(email), int(number)

    def _binding(self, tenant: str, query: Mapping[str, str]) -> str:
        bound = sorted((name, value) for name, value in query.items() if name not in _UNBOUND)
        return self._mac(orjson.dumps([tenant, bound])).hex()

    def _mac(self, payload: bytes) -> bytes:
        return hmac.digest(self._key, payload, "sha256")[:_MAC_BYTES]


def _refused() -> ApiError:
    return invalid("Invalid Input: page_token")
