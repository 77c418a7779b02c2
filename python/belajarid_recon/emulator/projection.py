"""Which fields of an account are shown: custom ones only when `projection` asks for them (discovery document, users.get)."""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from belajarid_recon.emulator.replies import invalid

_CUSTOM = b'"customSchemas":'


def projected(answer: bytes, query: Mapping[str, str]) -> bytes:
    """An account's bytes with the custom fields the query asks for. Raises ApiError for `custom` without a mask."""
    projection = query.get("projection", "basic")
    mask = query.get("customFieldMask", "")
    if projection == "custom" and not mask:
        raise invalid("Invalid Input: custom_field_mask")
    if projection == "full" or _CUSTOM not in answer:
        return answer
    account = orjson.loads(answer)
    custom = account.pop("customSchemas", {})
    if projection == "custom":
        shown = {name: custom[name] for name in mask.split(",") if name in custom}
        if shown:
            account["customSchemas"] = shown
    return orjson.dumps(account)
