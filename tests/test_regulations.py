"""Regulations: dated, sourced, complete, and chosen by the run's date."""

from __future__ import annotations

import tomllib
from datetime import date
from importlib import resources
from pathlib import Path

import pytest
from pydantic import ValidationError

from belajarid_recon import regulations
from belajarid_recon.errors import ExitStatus, SettingsError
from belajarid_recon.regulations import Regulation, describe, domains, duties, known_regulations, load_regulations
from belajarid_recon.regulations.definition import StaffDuty
from belajarid_recon.schemas import Jenjang, Role
from belajarid_recon.settings import RegulationChoice, load_settings

DATED = {
    "persesjen-16-2021": date(2021, 8, 2),
    "persesjen-20-2022": date(2022, 6, 1),
    "persesjen-14-2024": date(2024, 5, 2),
}

_SAME = {"smp": (7, 9), "sma": (10, 12), "smk": (10, 13), "slb": (5, 12)}
PUPILS = {
    "se-37-2020": {"sd": (5, 6), "kesetaraan": (5, 12), **_SAME},
    "persesjen-16-2021": {"paud": None, "sd": (1, 6), "kesetaraan": (1, 12), **_SAME},
}
PUPILS["persesjen-20-2022"] = PUPILS["persesjen-14-2024"] = PUPILS["persesjen-16-2021"]


def choice(*names: str) -> RegulationChoice:
    """Settings that date these regulations."""
    return RegulationChoice(in_force_from={name: DATED[name] for name in names})


def test_pupils_of_each_regulation_are_those_of_its_text():
    """First and last grade by jenjang, as the texts have them (reference 2.1); no grade: no class is needed."""
    for name, regulation in known_regulations().items():
        found = {
            str(jenjang): grades and (grades[0], grades[-1]) for jenjang, grades in regulation.pupil_grades().items()
        }
        assert found == PUPILS[name]
        for grades in regulation.pupil_grades().values():
            assert grades is None or list(grades) == list(range(grades[0], grades[-1] + 1))


def test_staff_of_each_regulation_are_educators_heads_and_operators():
    """In 2020 of basic and middle education, since 2021 of PAUD too."""
    everywhere = tuple(Jenjang)
    for name, regulation in known_regulations().items():
        expected = everywhere[1:] if name == "se-37-2020" else everywhere
        assert regulation.staff_jenjang() == dict.fromkeys(StaffDuty, expected)


def test_every_row_has_its_legal_source_and_every_date_says_whether_it_is_confirmed():
    """The only confirmed first day is that of the circular of 2020."""
    for name, regulation in known_regulations().items():
        assert regulation.id == name
        assert regulation.confirmed == (name == "se-37-2020")
        assert all(len(row.source) > 20 for row in (*regulation.pupils, *regulation.staff))
    assert all(row.source for row in (*domains().forms, *domains().domains))


def test_closed_lists_agree_with_the_enums():
    """Every jenjang has domains for every role, and forms; the duty codes do not overlap."""
    table = domains()
    assert [row.jenjang for row in table.domains] == list(Jenjang)
    assert set(table.jenjang_of_form().values()) == {jenjang.value for jenjang in Jenjang}
    names = [row.of(role) for row in table.domains for role in Role]
    assert len(set(names)) == len(Jenjang) * len(Role)
    codes = duties()
    assert not set(codes.educator_types) & set(codes.head_types)
    posts = [*codes.head_assignments, *codes.acting_head_assignments, *(row.assignment for row in codes.managers)]
    assert len(set(posts)) == len(posts)


def test_domains_are_those_of_the_table_of_2021_but_for_equivalency_educators():
    """New ones get guru.kesetaraan; the older pendidik.kesetaraan is accepted for existing educators only."""
    for row in domains().domains:
        assert row.of(Role.PUPIL) == f"{row.jenjang}.belajar.id"
        assert row.of(Role.GURU) == f"guru.{row.jenjang}.belajar.id"
        assert row.of(Role.ADMIN) == f"admin.{row.jenjang}.belajar.id"
        older = ("pendidik.kesetaraan.belajar.id",) if row.jenjang is Jenjang.KESETARAAN else ()
        assert (row.older(Role.GURU), row.older(Role.ADMIN), row.older(Role.PUPIL)) == (older, (), ())


@pytest.mark.parametrize(
    ("on", "expected"),
    [
        (date(2020, 12, 3), "se-37-2020"),
        (date(2021, 8, 1), "se-37-2020"),
        (date(2021, 8, 2), "persesjen-16-2021"),
        (date(2022, 6, 1), "persesjen-20-2022"),
        (date(2024, 5, 1), "persesjen-20-2022"),
        (date(2024, 5, 2), "persesjen-14-2024"),
        (date(2026, 11, 15), "persesjen-14-2024"),
    ],
)
def test_the_date_chooses_the_regulation(on, expected):
    """The newest one whose first day has come."""
    assert load_regulations(choice(*DATED), on).id == expected


def test_a_regulation_whose_date_nobody_confirmed_stops_the_run_with_the_line_to_add():
    """Only those that could be in force on the date need one."""
    with pytest.raises(SettingsError) as caught:
        load_regulations(choice(), date(2026, 11, 15))
    assert caught.value.exit_status is ExitStatus.SETTINGS_REFUSED
    assert "persesjen-14-2024" in caught.value.message
    assert "[regulations.in_force_from]" in caught.value.hint
    assert '"persesjen-14-2024" = 2024-MM-DD' in caught.value.hint
    with pytest.raises(SettingsError, match="persesjen-20-2022"):
        load_regulations(choice("persesjen-14-2024"), date(2024, 2, 1))
    assert load_regulations(choice("persesjen-14-2024"), date(2024, 5, 2)).id == "persesjen-14-2024"
    assert load_regulations(choice(), date(2020, 12, 31)).id == "se-37-2020"


def test_a_regulation_can_be_named_if_it_is_in_force(tmp_path):
    """An older one may be followed on purpose, a coming one may not."""
    on = date(2024, 9, 2)
    assert load_regulations(choice(*DATED), on, "persesjen-16-2021").id == "persesjen-16-2021"
    assert load_regulations(choice(), on, "se-37-2020").id == "se-37-2020"
    with pytest.raises(SettingsError, match="not confirmed"):
        load_regulations(choice(), on, "persesjen-14-2024")
    with pytest.raises(SettingsError, match="not in force on the run's date: persesjen-14-2024"):
        load_regulations(choice(*DATED), date(2024, 5, 1), "persesjen-14-2024")
    with pytest.raises(SettingsError, match="not known: persesjen-99-2099"):
        load_regulations(choice(*DATED), on, "persesjen-99-2099")


def test_dates_outside_every_regulation_and_impossible_settings_are_refused():
    """Before the first one, a misspelt id, another year than the number's, and a changed confirmed day."""
    with pytest.raises(SettingsError, match="no regulation is in force on the run's date: 2020-12-02"):
        load_regulations(choice(), date(2020, 12, 2))
    for settings, said in [
        ({"persesjen-14-2042": date(2024, 5, 2)}, "not known: persesjen-14-2042"),
        ({"persesjen-14-2024": date(2025, 5, 2)}, "another year"),
        ({"se-37-2020": date(2020, 12, 4)}, "confirmed date"),
    ]:
        with pytest.raises(SettingsError, match=said):
            load_regulations(RegulationChoice(in_force_from=settings), date(2024, 9, 2))


def test_the_line_of_the_hint_is_one_the_settings_take(tmp_path):
    """What the message says to add is what makes the run go on."""
    path = tmp_path / "recon.toml"
    path.write_text(
        'state = "state"\ntenants = {}\n[endpoint]\nclass = "emulator"\nurl = "http://127.0.0.1:8080/"\n'
        '[regulations.in_force_from]\n"persesjen-14-2024" = 2024-05-02\n'
    )
    chosen = load_settings(path).regulations
    assert load_regulations(chosen, date(2024, 9, 2)).id == "persesjen-14-2024"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('jenjang = "paud"', 'jenjang = "tk"'),
        ("grades = [7, 8, 9]", "grades = [7, 8, 14]"),
        ("grades = [7, 8, 9]", "grades = []"),
        ("grades = [7, 8, 9]", "classes = [7]"),
        ('jenjang = "smp"', 'jenjang = "sd"'),
        ('duty = "head"', 'duty = "librarian"'),
        ('duty = "head"', 'duty = "educator"'),
        ("confirmed = false", ""),
        ("in_force_from = 2024-01-01", 'in_force_from = "soon"'),
    ],
)
def test_a_wrong_regulation_file_is_refused(old, new):
    """A typing error in a table is found when it is read, not when somebody loses an account."""
    text = resources.files(regulations).joinpath("persesjen-14-2024.toml").read_text(encoding="utf-8")
    assert old in text
    with pytest.raises(ValidationError):
        Regulation.model_validate(tomllib.loads(text.replace(old, new, 1)))


def test_the_document_holds_the_tables_as_they_are():
    """docs/regulations.md ends with what `describe` says."""
    document = Path(__file__).parents[1] / "docs" / "regulations.md"
    assert document.read_text(encoding="utf-8").endswith(describe())
