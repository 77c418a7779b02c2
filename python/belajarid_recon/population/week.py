"""One block of a population as `advance` sees it: its tables, who is active in them, and how a week's edits are written back."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date

import polars as pl

from belajarid_recon.population.block import Block
from belajarid_recon.population.names import read_shipped

Tables = dict[str, pl.DataFrame]

GRADE_CLASSES = (1, 8, 9, 10, 11, 12, 13)
"""jenis_rombel that carry a grade (reference, section 1.5)."""


@dataclass(slots=True)
class BlockWeek:
    """A block's tables, changed in place by the week; `truth` is its truth table and `events` counts what happened.

    `day` is the date of the new extract and `number` a count of weeks, so that two weeks never issue one identifier
    twice.
    """

    block: Block
    tables: Tables
    truth: pl.DataFrame
    rates: dict[str, dict[str, float]]
    day: date
    number: int
    events: dict[str, int] = field(default_factory=dict)

    def record(self, people: pl.DataFrame) -> None:
        """Write the events of existing people into truth: columns person (lower-case id) and event, one row a person."""
        named = people.select(person_id="person", happened="event")
        self.truth = self.truth.join(named, on="person_id", how="left", maintain_order="left").with_columns(
            event=pl.coalesce("happened", "event")
        )
        self.truth = self.truth.drop("happened")
        self.count(people)

    def count(self, people: pl.DataFrame) -> None:
        """Add the events of `people` to the counts."""
        for event, number in people.group_by("event").len().sort("event").iter_rows():
            self.events[event] = self.events.get(event, 0) + number

    def add_people(self, people: pl.DataFrame) -> None:
        """Append new people to truth: person, person_kind, true_person_id, event."""
        rows = people.select(
            "person_kind",
            "true_person_id",
            "event",
            person_id="person",
            dirt=pl.lit(""),
            block=pl.lit(self.block.number, dtype=pl.Int32),
        )
        self.truth = pl.concat([self.truth, rows.select(self.truth.columns)])
        self.count(people)

    def append(self, table: str, rows: pl.DataFrame) -> None:
        """Append rows; columns they lack are null, and types are the table's."""
        old = self.tables[table]
        missing = [pl.lit(None, dtype=old.schema[name]).alias(name) for name in old.columns if name not in rows.columns]
        new = rows.with_columns(missing).select(pl.col(name).cast(old.schema[name]) for name in old.columns)
        self.tables[table] = pl.concat([old, new])

    def edit(self, table: str, key: str, changes: pl.DataFrame) -> None:
        """Overwrite cells: `changes` has the key column and new values; a null in it leaves the cell as it is."""
        old = self.tables[table]
        names = [name for name in changes.columns if name != key]
        fresh = changes.rename({name: f"_{name}" for name in names})
        joined = old.join(fresh, on=key, how="left", maintain_order="left")
        self.tables[table] = joined.with_columns(
            pl.coalesce(pl.col(f"_{name}").cast(old.schema[name]), name).alias(name) for name in names
        ).select(old.columns)

    def classes(self) -> pl.DataFrame:
        """Classes of this semester that carry a grade: rombongan_belajar_id, school, jenjang, grade, in a fixed order."""
        schools = self.block.schools.select("sekolah_id", "school", "jenjang")
        rows = self.tables["rombongan_belajar"].filter(
            (pl.col("semester_id") == self.block.world.calendar.semester)
            & pl.col("jenis_rombel").is_in(GRADE_CLASSES)
            & (pl.col("soft_delete") == 0)
        )
        joined = rows.join(schools, on="sekolah_id", how="inner")
        chosen = joined.select(
            "rombongan_belajar_id", "school", "jenjang", grade=pl.col("tingkat_pendidikan_id").cast(pl.Int64)
        )
        return chosen.sort("jenjang", "grade", "school", "rombongan_belajar_id")


def roll_event(chance: pl.Expr, rates: dict[str, float]) -> pl.Expr:
    """At most one event a row: the names of `rates` share one draw, in their order; null for the rest."""
    event = pl.lit(None, dtype=pl.String)
    edges = [(name, sum(list(rates.values())[: index + 1])) for index, name in enumerate(rates)]
    for name, upto in reversed(edges):
        event = pl.when(chance < upto).then(pl.lit(name)).otherwise(event)
    return event


def corrected_name() -> pl.Expr:
    """`nama` with one correction that always changes it: blanks, a usual variant of a word, or a letter."""
    name = pl.col("nama")
    fixed = (
        pl.when(name.str.contains("i", literal=True))
        .then(name.str.replace("i", "y", literal=True))
        .otherwise(name + "h")
    )
    fixed = (
        pl.when(name.str.contains("U", literal=True)).then(name.str.replace("U", "OE", literal=True)).otherwise(fixed)
    )
    for word, variant in _respellings():
        whole = rf"\b{word}\b"
        fixed = pl.when(name.str.contains(whole)).then(name.str.replace(whole, variant)).otherwise(fixed)
    return (
        pl.when(name.str.contains("  ", literal=True)).then(name.str.replace("  ", " ", literal=True)).otherwise(fixed)
    )


def _respellings() -> list[tuple[str, str]]:
    """Pairs of usual spellings, both ways: a full word and its first variant that is no abbreviation."""
    pairs = []
    for word, variants in read_shipped("name_variants").iter_rows():
        longer = [variant for variant in variants.split("|") if len(variant) > 3]
        pairs += [(word, longer[0]), (longer[0], word)] if longer else []
    return pairs
