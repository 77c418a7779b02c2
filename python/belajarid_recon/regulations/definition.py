"""What a regulation file, the domain table and the duty codes may say. Checked by pydantic when they are read."""

from __future__ import annotations

import tomllib
from datetime import date
from enum import StrEnum
from functools import cache
from importlib import resources
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from belajarid_recon.schemas import Jenjang, Role

_GRADE = Annotated[int, Field(ge=1, le=13)]
_SOURCE = Annotated[str, Field(min_length=8)]


class _Table(BaseModel):
    """A table of a regulation file: unknown keys are refused, values are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class StaffDuty(StrEnum):
    """Duties of staff a regulation can name; the values are those of schemas.DUTY."""

    EDUCATOR = "educator"
    HEAD = "head"
    OPERATOR = "operator"


class PupilRow(_Table):
    """Pupils of one jenjang. No grades: every pupil, in a class or not."""

    jenjang: Jenjang
    grades: Annotated[tuple[_GRADE, ...], Field(min_length=1)] | None = None
    source: _SOURCE


class StaffRow(_Table):
    """Staff of one duty in some jenjang."""

    duty: StaffDuty
    jenjang: Annotated[tuple[Jenjang, ...], Field(min_length=1)]
    source: _SOURCE


class Regulation(_Table):
    """One regulation. `in_force_from` is its first day when `confirmed`, else the first day it can have been."""

    id: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
    title: str
    in_force_from: date
    confirmed: bool
    sources: Annotated[tuple[_SOURCE, ...], Field(min_length=1)]
    pupils: Annotated[tuple[PupilRow, ...], Field(min_length=1)]
    staff: Annotated[tuple[StaffRow, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _named_once(self) -> Regulation:
        named = [row.jenjang for row in self.pupils]
        duties_named = [row.duty for row in self.staff]
        if len(set(named)) != len(named) or len(set(duties_named)) != len(duties_named):
            raise ValueError("a jenjang or duty is named twice")
        return self

    def pupil_grades(self) -> dict[Jenjang, tuple[int, ...] | None]:
        """Grades of pupils by jenjang; None: no class is needed. A jenjang that is not here has no pupils' accounts."""
        return {row.jenjang: row.grades for row in self.pupils}

    def staff_jenjang(self) -> dict[StaffDuty, tuple[Jenjang, ...]]:
        """Jenjang by duty."""
        return {row.duty: row.jenjang for row in self.staff}


class _Form(_Table):
    id: int
    label: str
    jenjang: Jenjang
    source: _SOURCE


class _Outside(_Table):
    forms: tuple[int, ...]
    source: _SOURCE


class DomainRow(_Table):
    """The domains of one jenjang. `older_guru`: domains an educator's existing account may stay in."""

    jenjang: Jenjang
    pupil: str
    guru: str
    admin: str
    older_guru: tuple[str, ...] = ()
    source: _SOURCE

    def of(self, role: Role) -> str:
        """The domain of a new account."""
        return {Role.PUPIL: self.pupil, Role.GURU: self.guru, Role.ADMIN: self.admin}[role]

    def older(self, role: Role) -> tuple[str, ...]:
        """Other domains an existing account of the role may stay in."""
        return self.older_guru if role is Role.GURU else ()


class Domains(_Table):
    """School forms and domains (domains.toml)."""

    forms: tuple[_Form, ...]
    outside: _Outside
    domains: tuple[DomainRow, ...]

    @model_validator(mode="after")
    def _complete(self) -> Domains:
        if [row.jenjang for row in self.domains] != list(Jenjang):
            raise ValueError("domains must name every jenjang once, in order")
        codes = [form.id for form in self.forms] + list(self.outside.forms)
        if len(set(codes)) != len(codes):
            raise ValueError("a school form is named twice")
        return self

    def jenjang_of_form(self) -> dict[int, str]:
        """Jenjang by `bentuk_pendidikan_id`; a form that is not here is outside belajar.id."""
        return {form.id: form.jenjang.value for form in self.forms}


class _Manager(_Table):
    assignment: int
    label: str
    forms: tuple[int, ...]


class Duties(_Table):
    """Register codes the duty rules read (duties.toml); keys are the codes as text, values their meaning."""

    educator_types: dict[int, str]
    head_types: dict[int, str]
    head_assignments: dict[int, str]
    acting_head_assignments: dict[int, str]
    managers: tuple[_Manager, ...]
    grade_classes: dict[int, str]
    exit_codes: dict[Annotated[str, Field(min_length=1, max_length=1)], str]


def read_toml(name: str) -> dict[str, Any]:
    """A TOML file of this package."""
    return tomllib.loads(resources.files(__package__).joinpath(name).read_text(encoding="utf-8"))


@cache
def domains() -> Domains:
    """The shipped domain table."""
    return Domains.model_validate(read_toml("domains.toml"))


@cache
def duties() -> Duties:
    """The shipped duty codes."""
    return Duties.model_validate(read_toml("duties.toml"))


RegulationId = Literal["se-37-2020", "persesjen-16-2021", "persesjen-20-2022", "persesjen-14-2024"]
"""Shipped regulations, oldest first."""
