"""Partial answers: the `fields` parameter (Google: "Improve performance", partial response).

A mask is a comma-separated list of paths; `a/b` goes down, `a(b,c)` goes down twice, `*` is everything. It is
checked against the schema of the answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import orjson

from belajarid_recon.emulator.discovery import Discovery, Method
from belajarid_recon.emulator.replies import ApiError

_TOKEN = re.compile(r"[\w*.-]+|[(),/]")
_CHARACTERS_MAX = 2_000
_DEPTH_MAX = 10

Mask = dict[str, Any]
"""Field name to the mask below it; an empty mask takes all."""


def filtered(body: bytes, fields: str, method: Method, discovery: Discovery) -> bytes:
    """Keep of a JSON answer what `fields` asks for. Raises ApiError 400 when it asks for what there is not."""
    mask = _parsed(fields)
    if method.response is not None:
        _check(mask, {"$ref": method.response}, discovery)
    return orjson.dumps(_kept(orjson.loads(body), mask))


@lru_cache(maxsize=256)
def _parsed(fields: str) -> Mask:
    tokens = _TOKEN.findall(fields) if len(fields) <= _CHARACTERS_MAX else []
    if not tokens or "".join(tokens) != re.sub(r"\s", "", fields):
        raise _refused()
    mask, end = _list(tokens, 0, 0)
    if end != len(tokens):
        raise _refused()
    return mask


def _list(tokens: list[str], at: int, depth: int) -> tuple[Mask, int]:
    """Read `path,path,...` from `tokens[at:]`; returns its mask and where it ends."""
    mask: Mask = {}
    while True:
        at = _path(tokens, at, depth, mask)
        if at >= len(tokens) or tokens[at] != ",":
            return mask, at
        at += 1


def _path(tokens: list[str], at: int, depth: int, mask: Mask) -> int:
    """Read one path into `mask`; returns where it ends."""
    if at >= len(tokens) or tokens[at] in "(),/" or depth > _DEPTH_MAX:
        raise _refused()
    below: Mask = mask.setdefault(tokens[at], {})
    at += 1
    if at < len(tokens) and tokens[at] == "/":
        return _path(tokens, at + 1, depth + 1, below)
    if at < len(tokens) and tokens[at] == "(":
        inner, at = _list(tokens, at + 1, depth + 1)
        if at >= len(tokens) or tokens[at] != ")":
            raise _refused()
        below |= inner
        return at + 1
    return at


def _check(mask: Mask, rule: Mapping[str, Any], discovery: Discovery) -> None:
    """Refuse a mask that names a field the answer's schema does not have."""
    if rule.get("type") == "array":
        rule = rule["items"]
    if "$ref" in rule:
        rule = discovery.schema(rule["$ref"])
    properties = rule.get("properties")
    if properties is None:
        return
    for name, below in mask.items():
        if name != "*" and name not in properties:
            raise _refused()
        if name != "*" and below:
            _check(below, properties[name], discovery)


def _kept(value: Any, mask: Mask) -> Any:  # noqa: ANN401 - JSON
    if not mask:
        return value
    if isinstance(value, list):
        return [_kept(element, mask) for element in value]
    if not isinstance(value, dict):
        return value
    rest = mask.get("*")
    kept = {}
    for name, inner in value.items():
        below = mask.get(name, rest)
        if below is not None:
            kept[name] = _kept(inner, below)
    return kept


def _refused() -> ApiError:
    return ApiError(400, "invalidParameter", "Invalid field selection", location=("parameter", "fields"))
