"""What a request means whose client could not, or would not, send it so: `X-HTTP-Method-Override`.

Google's client for Java sends each PATCH as a POST, because the connections of its runtime have no PATCH; and the clients for several
languages send a GET whose address is longer than 2,048 bytes as a POST with the query as its body. Parts of batches come so, too.
"""

from __future__ import annotations

HEADER = b"x-http-method-override"


def meant_verb(sent: str, override: bytes | None) -> str:
    """The verb that is meant. Only a POST can stand for another, and then for whichever is named."""
    named = (override or b"").decode("latin-1").strip().upper()
    return named if named and sent == "POST" else sent


def meant_content(sent: str, meant: str, query: bytes, body: bytes) -> tuple[bytes, bytes]:
    """Query and body: a GET that came as a POST has its query where the body would be."""
    return (body, b"") if meant == "GET" and sent != meant else (query, body)
