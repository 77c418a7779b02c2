"""Why a person has, keeps, loses or does not get an account: a closed list, documented for the help desk in docs/reason-codes.md."""

from __future__ import annotations

from enum import StrEnum


class ReasonCode(StrEnum):
    """Reason codes of schemas.DESIRED and of people without a row there.

    The order decides between several duties that give no account: the earlier code is the one shown.
    """

    PUPIL_ELIGIBLE = "pupil-eligible"
    HEAD_ELIGIBLE = "head-eligible"
    OPERATOR_ELIGIBLE = "operator-eligible"
    EDUCATOR_ELIGIBLE = "educator-eligible"

    SUSPECTED_DUPLICATE = "suspected-duplicate"
    ROWS_SET_ASIDE = "rows-set-aside"
    HEAD_WITHOUT_HEAD_TYPE = "head-without-head-type"
    SCHOOL_WITHOUT_NPSN = "school-without-npsn"
    SCHOOL_CLOSED = "school-closed"
    NO_CLASS = "no-class"
    GRADE_OUTSIDE_REGULATION = "grade-outside-regulation"
    JENJANG_OUTSIDE_REGULATION = "jenjang-outside-regulation"
    OPERATOR_NOT_IN_FORCE = "operator-not-in-force"
    STAFF_OUTSIDE_REGULATION = "staff-outside-regulation"
    STALE_YEAR = "stale-year"

    LEFT_GRADUATED = "left-graduated"
    LEFT_TRANSFERRED = "left-transferred"
    LEFT_EXPELLED = "left-expelled"
    LEFT_RESIGNED = "left-resigned"
    LEFT_DROPPED_OUT = "left-dropped-out"
    LEFT_DIED = "left-died"
    LEFT_MISSING = "left-missing"
    LEFT_CHANGED_FUNCTION = "left-changed-function"
    LEFT_RETIRED = "left-retired"
    LEFT_OTHER = "left-other"

    FORM_OUTSIDE_BELAJAR_ID = "form-outside-belajar-id"
    NO_DUTY = "no-duty"
    RECORD_DELETED = "record-deleted"


REASON_OF_EXIT_CODE = {
    "1": ReasonCode.LEFT_GRADUATED,
    "2": ReasonCode.LEFT_TRANSFERRED,
    "3": ReasonCode.LEFT_EXPELLED,
    "4": ReasonCode.LEFT_RESIGNED,
    "5": ReasonCode.LEFT_DROPPED_OUT,
    "6": ReasonCode.LEFT_DIED,
    "7": ReasonCode.LEFT_MISSING,
    "8": ReasonCode.LEFT_CHANGED_FUNCTION,
    "9": ReasonCode.LEFT_RETIRED,
    "Z": ReasonCode.LEFT_OTHER,
}
"""`jenis_keluar_id` to reason; a test compares its keys with regulations/duties.toml."""
