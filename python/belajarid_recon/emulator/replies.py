"""Answers: bytes with a status, and Google's error envelope."""

from __future__ import annotations

from typing import Any, NamedTuple

import orjson
from xxhash import xxh3_64_hexdigest

JSON_TYPE = b"application/json; charset=UTF-8"
TEXT_TYPE = b"text/plain; charset=UTF-8"


class Answer(NamedTuple):
    """What goes back over the wire."""

    status: int
    body: bytes
    content_type: bytes = JSON_TYPE
    retry_after_seconds: int | None = None


class ApiError(Exception):
    """A refusal in Google's words: HTTP status, reason word, message. The message never holds a value that was sent."""

    def __init__(self, status: int, reason: str, message: str, *, location: tuple[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message
        self.location = location

    def answer(self) -> Answer:
        """The envelope of Google's JSON errors (reference: error model)."""
        fault: dict[str, Any] = {"domain": "global", "reason": self.reason, "message": self.message}
        if self.location is not None:
            fault["locationType"], fault["location"] = self.location
        envelope = {"error": {"code": self.status, "message": self.message, "errors": [fault]}}
        return Answer(self.status, orjson.dumps(envelope))


class GrantError(Exception):
    """A refusal of the token endpoint, in OAuth's words (RFC 6749, section 5.2)."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(description)
        self.error = error
        self.description = description

    def answer(self) -> Answer:
        """The JSON body OAuth clients read."""
        return Answer(400, orjson.dumps({"error": self.error, "error_description": self.description}))


def encode(document: Any, status: int = 200) -> Answer:  # noqa: ANN401 - whatever JSON can hold
    """An answer that carries `document` as JSON."""
    return Answer(status, orjson.dumps(document))


def tagged(document: dict[str, Any]) -> dict[str, Any]:
    """The document with the etag that follows from the rest of it."""
    rest = {name: value for name, value in document.items() if name != "etag"}
    return rest | {"etag": f'"{xxh3_64_hexdigest(orjson.dumps(rest))}"'}


def not_offered(what: str) -> ApiError:
    """501: Google does it and the emulator does not; said, never guessed."""
    return ApiError(501, "notImplemented", f"The emulator does not offer {what}.")


def precondition(message: str) -> ApiError:
    """412 conditionNotMet: the state of things forbids it."""
    return ApiError(412, "conditionNotMet", message)


def invalid(message: str) -> ApiError:
    """400 invalid: a value that the method does not accept."""
    return ApiError(400, "invalid", message)


def not_found(message: str) -> ApiError:
    """404 notFound."""
    return ApiError(404, "notFound", message)


def duplicate() -> ApiError:
    """409 duplicate: the address belongs to somebody already, or to an earlier attempt of the caller."""
    return ApiError(409, "duplicate", "Entity already exists.")


def forbidden() -> ApiError:
    """403 forbidden: it is another customer's."""
    return ApiError(403, "forbidden", "Not Authorized to access this resource/api")
