"""The shipped rules as a Markdown table, for docs/regulations.md."""

from __future__ import annotations

from belajarid_recon.regulations.choice import known_regulations
from belajarid_recon.regulations.definition import Regulation, domains


def describe() -> str:
    """Eligibility by regulation and the domains, as Markdown. docs/regulations.md holds it, and a test compares the two."""
    pieces = [_regulation(regulation) for regulation in known_regulations().values()]
    return "\n\n".join([*pieces, _domains()]) + "\n"


def _regulation(regulation: Regulation) -> str:
    year = regulation.in_force_from.year
    first_day = f"from {regulation.in_force_from}" if regulation.confirmed else f"{year}, day not confirmed"
    lines = [f"### {regulation.id}", "", f"{regulation.title}. In force {first_day}.", ""]
    lines += ["| who | jenjang | grades | source |", "|---|---|---|---|"]
    for row in regulation.pupils:
        grades = f"{row.grades[0]} to {row.grades[-1]}" if row.grades else "no class needed"
        lines.append(f"| pupils | {row.jenjang} | {grades} | {row.source} |")
    lines += [f"| {staff.duty} | {', '.join(staff.jenjang)} | | {staff.source} |" for staff in regulation.staff]
    return "\n".join(lines)


def _domains() -> str:
    table = domains()
    lines = ["### Domains", "", "| jenjang | school forms | pupil | guru | admin |", "|---|---|---|---|---|"]
    for row in table.domains:
        forms = ", ".join(f"{form.id} {form.label}" for form in table.forms if form.jenjang is row.jenjang)
        older = "".join(f" (existing accounts also {name})" for name in row.older_guru)
        lines.append(f"| {row.jenjang} | {forms} | {row.pupil} | {row.guru}{older} | {row.admin} |")
    return "\n".join(lines)
