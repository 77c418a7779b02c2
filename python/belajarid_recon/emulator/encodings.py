"""Request bodies as they were before their client compressed them.

Google's clients for Java and .NET gzip every body unless told not to. Which other encodings Google takes, and its words for a refusal, it
does not say: RFC 9110 has 415 for an encoding that is not known.
"""

from __future__ import annotations

import zlib
from gzip import GzipFile
from io import BytesIO

from belajarid_recon.emulator.replies import ApiError

_GZIP = frozenset({"gzip", "x-gzip"})
"""RFC 9110, section 8.4.1.3: both words mean the same."""


def decoded(raw: bytes, encoding: bytes | None, limit: int) -> bytes:
    """A body without its Content-Encoding, of `limit` bytes at most. Raises ApiError 400 damaged, 413 too large, 415 unknown encoding.

    No body at all needs no decoding: clients write the header on a request without content, too.
    """
    name = (encoding or b"").decode("latin-1").strip().lower()
    if not raw or name in ("", "identity"):
        return raw
    if name not in _GZIP:
        raise ApiError(415, "unsupportedMediaType", "The request's Content-Encoding is not supported; send gzip.")
    try:
        with GzipFile(fileobj=BytesIO(raw)) as stream:
            body = stream.read(limit + 1)  # never more, whatever the body claims to hold
    except (EOFError, OSError, zlib.error):
        message = "The request's body is not the gzip that its Content-Encoding promises."
        raise ApiError(400, "badRequest", message) from None
    if len(body) > limit:
        raise too_large()
    return body


def too_large() -> ApiError:
    """413: more bytes than the route takes."""
    return ApiError(413, "uploadTooLarge", "Request payload size exceeds the limit.")
