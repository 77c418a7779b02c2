"""How many people each school has, and how schools are cut into blocks. Everything here is decided before a person is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

from belajarid_recon.errors import SettingsError
from belajarid_recon.population.names import read_numbers, read_shipped
from belajarid_recon.population.randomness import Draws


def form_table() -> pl.DataFrame:
    """One row a school form: bentuk, jenjang, pupils_mean, class_size, pupils_per_teacher, support_per_teacher, extra.

    Means are the published figures of scale_counts divided by one another: pupils of the newest year by the newest count of units,
    and pupils, teachers and support staff of one and the same year; `sizes.toml` fills what is not published.
    """
    numbers = read_numbers("sizes")
    rows = []
    for form in numbers["form"]:
        own = {key: float(form[key]) for key in _RATIOS if key in form}
        ratios = _published_ratios(form.get("counts", form["name"]), form["jenjang"], numbers["units_estimated"]) | own
        fixed = {"bentuk": form["code"], "jenjang": form["jenjang"], "class_size": float(form["class_size"])}
        rows.append(fixed | {key: ratios[key] for key in _RATIOS} | {"extra": float(form.get("extra", 1.0))})
    return pl.DataFrame(rows).with_columns(pl.col("bentuk").cast(pl.UInt8))


_RATIOS = ("pupils_mean", "pupils_per_teacher", "support_per_teacher")


def units_per_primary_school() -> dict[int, float]:
    """How many units of each form that the public list lacks go with one SD, by form code."""
    numbers = read_numbers("sizes")
    primary = _figures("schools", "SD")[-1]
    codes = {form["name"]: form["code"] for form in numbers["form"]}
    published = {codes[name]: _figures("schools", name)[-1] / primary for name in ("TK", "KB", "TPA", "SPS")}
    return published | {codes[name]: units / primary for name, units in numbers["units_estimated"].items()}


def _published_ratios(name: str, jenjang: str, estimated: dict[str, int]) -> dict[str, float]:
    """What scale_counts says about a form; teachers of PAUD are published for all its forms together."""
    units = estimated[name] if name in estimated else _figures("schools", name)[-1]
    ratios = {"pupils_mean": _figures("students", name)[-1] / units}
    staffed = "PAUD" if jenjang == "paud" else name
    teachers = _figures("teachers", staffed)
    if teachers:
        ratios["pupils_per_teacher"] = _figures("students", staffed)[0] / teachers[0]
    support = _figures("tendik", name)
    if support:
        ratios["support_per_teacher"] = support[0] / teachers[0]
    return ratios


def _figures(measure: str, name: str) -> list[float]:
    """The published figures of a measure, oldest first. Teachers and support staff are known for the oldest year of pupils only."""
    rows = read_shipped("scale_counts").filter((pl.col("measure") == measure) & (pl.col("jenjang") == name))
    return [float(value) for value in rows.sort("year")["value"]]


def grade_table() -> pl.DataFrame:
    """One row a form and grade: bentuk, grade, weight, first (the form's first grade), last (its last)."""
    rows = [
        {"bentuk": form["code"], "grade": int(grade), "weight": float(weight)}
        for form in read_numbers("sizes")["form"]
        for grade, weight in form["grades"].items()
    ]
    table = pl.DataFrame(rows).with_columns(pl.col("bentuk").cast(pl.UInt8))
    grade = pl.col("grade")
    return table.with_columns(first=grade.min().over("bentuk"), last=grade.max().over("bentuk")).sort("bentuk", "grade")


@dataclass(frozen=True, slots=True)
class Sizing:
    """Who is where: `schools` and the number of blocks.

    Added columns: pupils, teachers (the head included), support, outside_operator (0 or 1), jenjang, class_size, block.

    The sum of pupils, teachers, support and outside operators is exactly the people asked for.
    """

    schools: pl.DataFrame
    blocks: int


def size_schools(schools: pl.DataFrame, people: int, draws: Draws) -> Sizing:
    """Choose schools and give each its people. Raises SettingsError when the regions cannot carry that many, or nobody could.

    With fewer people than the regions' natural size some schools are left out, never all of a jenjang; with more,
    schools grow.
    """
    numbers = read_numbers("sizes")
    limits = numbers["limits"]
    if people < limits["people_min"]:
        raise SettingsError(
            f"a population needs at least {limits['people_min']} people to hold all seven jenjang: {people}",
            hint="ask for more people",
        )
    natural = _natural(schools, draws, numbers)
    capacity = int(natural.select(_people(pl.col("natural") * limits["stretch_max"])).sum().item())
    if people > capacity:
        raise SettingsError(
            f"the schools of these regions hold at most {capacity} people: {people}",
            hint="name more regions, or use all, or pass the whole list of schools with --schools",
        )
    chosen = _choose(natural, people)
    scale = _find_scale(chosen, people)
    sized = _settle(chosen.with_columns(pupils=_pupils(pl.col("natural") * scale)), people)
    return cut_blocks(sized, int(limits["block_people"]))


def _natural(schools: pl.DataFrame, draws: Draws, numbers: dict[str, Any]) -> pl.DataFrame:
    """Add each school's natural number of pupils (a fraction) and what its staff follows from."""
    forms = form_table()
    table = schools.join(forms, on="bentuk", how="left", maintain_order="left").with_row_index("row")
    spread = numbers["spread"]["all"]
    odds = draws.unit("size") * 0.98 + 0.01
    shape = (odds / (1.0 - odds)).log() * spread
    table = table.with_columns(shape=shape.exp())
    table = table.with_columns(natural=pl.col("pupils_mean") * pl.col("shape") / pl.col("shape").mean().over("bentuk"))
    outside = draws.happens("outside-operator", numbers["operators"]["without_ptk"])
    return table.with_columns(
        outside_operator=outside.cast(pl.UInt32), chance=draws.unit("support"), order=draws.bits("order")
    )


def _pupils(natural: pl.Expr) -> pl.Expr:
    return natural.round().clip(lower_bound=4).cast(pl.Int64)


def _teachers(pupils: pl.Expr) -> pl.Expr:
    return (pupils / pl.col("pupils_per_teacher")).round().clip(lower_bound=2).cast(pl.Int64)


def _support(pupils: pl.Expr) -> pl.Expr:
    return (_teachers(pupils) * pl.col("support_per_teacher") + pl.col("chance")).floor().cast(pl.Int64)


def _people(natural: pl.Expr) -> pl.Expr:
    pupils = _pupils(natural)
    return pupils + _teachers(pupils) + _support(pupils) + pl.col("outside_operator")


def _choose(natural: pl.DataFrame, people: int) -> pl.DataFrame:
    """Enough schools, in a drawn order that starts with the nearest-to-mean unit of each jenjang."""
    first = pl.col("order").rank("ordinal").over("jenjang") == 1
    ordered = natural.sort(~first, "order")
    reached = ordered.select(_people(pl.col("natural")).cum_sum()).to_series()
    needed = max(int((reached < people).sum()) + 1, ordered["jenjang"].n_unique())
    return ordered.head(needed).sort("row")


def _find_scale(chosen: pl.DataFrame, people: int) -> float:
    """The factor on natural sizes that brings the sum just under `people`, by bisection: the sum only grows with it."""
    low, high = 0.0, 8.0
    for _ in range(50):
        middle = (low + high) / 2
        if int(chosen.select(_people(pl.col("natural") * middle)).sum().item()) <= people:
            low = middle
        else:
            high = middle
    return low


def _settle(sized: pl.DataFrame, people: int) -> pl.DataFrame:
    """Fix the staff and give the last few people, missing or surplus, to the largest schools as pupils."""
    pupils = pl.col("pupils")
    fixed = sized.with_columns(teachers=_teachers(pupils), support=_support(pupils))
    total = int(fixed.select(pupils + pl.col("teachers") + pl.col("support") + pl.col("outside_operator")).sum().item())
    each, rest = divmod(people - total, fixed.height)
    rank = pl.struct(-pupils, "row").rank("ordinal")
    settled = fixed.with_columns(pupils=pupils + each + (rank <= rest).cast(pl.Int64))
    if bool((settled["pupils"] < 1).any()):
        raise SettingsError(f"too few people for one school of each jenjang: {people}", hint="ask for more people")
    return settled


def cut_blocks(sized: pl.DataFrame, block_people: int) -> Sizing:
    """Number the blocks: neighbouring schools (in the table's order) until a block has about `block_people`."""
    people = pl.col("pupils") + pl.col("teachers") + pl.col("support") + pl.col("outside_operator")
    total = int(sized.select(people.sum()).item())
    blocks = max(1, round(total / block_people))
    before = people.cum_sum() - people
    block = (before * blocks // total).cast(pl.UInt32)
    numbered = sized.with_columns(block=block.rank("dense").cast(pl.UInt32) - 1)
    return Sizing(numbered.drop("row", "shape", "natural", "chance", "order"), numbered["block"].n_unique())
