"""Why a row of the extract is set aside: a closed list, documented for the help desk in docs/reason-codes.md."""

from __future__ import annotations

from enum import StrEnum


class QuarantineReason(StrEnum):
    """Reason codes of schemas.QUARANTINE."""

    PERSON_ID_UNREADABLE = "person-id-unreadable"
    VALUE_MISSING = "value-missing"
    UNREADABLE_ID = "unreadable-id"
    UNREADABLE_CODE = "unreadable-code"
    UNREADABLE_FLAG = "unreadable-flag"
    UNREADABLE_DATE = "unreadable-date"
    EXIT_CODE_UNKNOWN = "exit-code-unknown"
    NAME_UNUSABLE = "name-unusable"
    PERSON_ID_SHARED = "person-id-shared"
    ROW_REPEATED = "row-repeated"
    ROW_CONTRADICTS = "row-contradicts"
    PERSON_UNKNOWN = "person-unknown"
    SCHOOL_UNKNOWN = "school-unknown"
    CLASS_UNKNOWN = "class-unknown"
    REGION_UNKNOWN = "region-unknown"
    USER_UNKNOWN = "user-unknown"
