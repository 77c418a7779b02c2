"""A plan's steps in memory and in their file: the same rows, whichever way they are asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from belajarid_recon.errors import PlanError
from belajarid_recon.plan.definition import Plan, PlanFacts, frame_digest, frames_digest
from belajarid_recon.plan.file import read_plan, write_plan
from belajarid_recon.plan.steps import ROWS_PER_GROUP, StepRange, Steps, TenantSteps
from belajarid_recon.schemas import STEP, conform

FACTS = PlanFacts("emulator", {}, "2026-11-15", "test", {}, {})
HEIGHT = 2 * ROWS_PER_GROUP + 1_000


def frame_of(lanes: list[tuple[str, str, int]]) -> pl.DataFrame:
    """Steps of lanes: tenant, action, and how many; every seventh of all is held."""
    tenants = [tenant for tenant, _, count in lanes for _ in range(count)]
    actions = [action for _, action, count in lanes for _ in range(count)]
    rows = pl.DataFrame({"tenant": tenants, "action": actions}, schema={"tenant": pl.String, "action": pl.String})
    step = pl.int_range(pl.len(), dtype=pl.Int64)
    held = pl.when(step % 7 == 0).then(pl.lit("a guard"))
    made = rows.with_columns(step=step, held_by=held, address=pl.format("siti{}@sd.belajar.id", step))
    return conform(made, STEP)


@pytest.fixture(scope="module")
def frame() -> pl.DataFrame:
    """Steps over three row groups; a lane begins in the middle of the first and ends in the last."""
    return frame_of([("sd", "create", 5_000), ("sd", "update", HEIGHT - 5_500), ("smp", "create", 500)])


@pytest.fixture(scope="module", params=["memory", "file"])
def steps(request: Any, frame: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Steps:
    """The same, from memory and from their file."""
    made = Steps.of(frame)
    if request.param == "memory":
        return made
    path = tmp_path_factory.mktemp("steps") / "steps.parquet"
    made.write(path)
    return Steps.read(path)


def test_all_pieces_are_all_steps(steps, frame):
    """In the plan's order, whatever the height of a piece."""
    assert pl.concat(steps.pieces()).equals(frame)
    assert pl.concat(steps.pieces(rows=2_048)).equals(frame)
    assert steps.whole().equals(frame)
    assert steps.scan().collect().equals(frame)
    assert steps.height == frame.height


def test_a_piece_is_never_higher_than_asked(steps):
    """Nor is it longer than a row group where nothing is asked."""
    assert {rows.height for rows in steps.pieces(rows=100)} == {100, (HEIGHT - 500) % 100 or 100, HEIGHT % 100 or 100}
    assert max(rows.height for rows in steps.pieces()) == ROWS_PER_GROUP


def test_ranges_tell_whose_steps_are_where(steps, frame):
    """Ranges go over the borders of row groups, and count what is held."""
    held = [frame.slice(start, stop - start)["held_by"].count() for start, stop in ((0, 5_000), (5_000, HEIGHT - 500))]
    assert steps.ranges[:2] == (
        StepRange("sd", "create", 0, 5_000, held[0]),
        StepRange("sd", "update", 5_000, HEIGHT - 500, held[1]),
    )
    assert steps.counts()["sd"] == TenantSteps(HEIGHT - 500, sum(held))
    assert steps.held == frame["held_by"].count()
    assert [steps.tenant_of(step) for step in (0, HEIGHT - 501, HEIGHT - 500, HEIGHT - 1)] == ["sd", "sd", "smp", "smp"]


@pytest.mark.parametrize(
    ("tenant", "actions"),
    [("sd", None), ("sd", ["update"]), (None, ["create"]), ("smp", ["update"]), ("sma", None), ("sd", [])],
)
def test_a_lane_is_read_alone(steps, frame, tenant, actions):
    """Steps of a tenant and of actions are those a filter finds, and so are their numbers."""
    of_tenant = pl.col("tenant").is_in(["sd", "smp"] if tenant is None else [tenant])
    of_actions = pl.col("action").is_in(["create", "update"] if actions is None else actions)
    expected = frame.filter(of_tenant & of_actions)
    assert list(steps.numbers(tenant, actions)) == expected["step"].to_list()
    found = pl.concat([frame.clear(), *steps.pieces(tenant, actions)])
    assert found.equals(expected)
    narrow = pl.concat([frame.clear().select("address"), *steps.pieces(tenant, actions, ["address"])])
    assert narrow.equals(expected.select("address"))


@given(st.sets(st.integers(0, HEIGHT - 1), max_size=50))
@settings(max_examples=50, deadline=None)
def test_steps_are_found_by_their_numbers(steps, frame, numbers):
    """Any of them, over any row groups."""
    found = pl.concat([frame.clear(), *steps.at(sorted(numbers))])
    assert found.equals(frame[sorted(numbers)])


def test_a_plan_in_no_order_is_read_by_its_ranges():
    """Tests make plans whose lanes take turns: every lane is whole, and steps keep the plan's order."""
    steps = Steps.of(frame_of([("sd", "create", 2), ("smp", "create", 1), ("sd", "update", 1), ("sd", "create", 3)]))
    assert list(steps.numbers("sd", ["create"])) == [0, 1, 4, 5, 6]
    assert list(steps.numbers("sd")) == [0, 1, 3, 4, 5, 6]
    assert steps.counts() == {"sd": (6, 1), "smp": (1, 0)}
    assert steps.free_tenants() == ["sd", "smp"]


def test_a_tenant_whose_every_step_is_held_is_not_free():
    """Nothing is done there."""
    steps = Steps.of(frame_of([("sd", "create", 1), ("smp", "create", 1)]))
    assert (list(steps.counts()), steps.free_tenants()) == (["sd", "smp"], ["smp"])


def test_no_steps_are_a_plan_too(tmp_path):
    """Nothing is found in it, and it is written and read."""
    Steps.of(STEP.to_frame()).write(tmp_path / "steps.parquet")
    for steps in (Steps.of(STEP.to_frame()), Steps.read(tmp_path / "steps.parquet")):
        assert (steps.height, steps.ranges, steps.held, steps.counts()) == (0, (), 0, {})
        assert (list(steps.pieces()), list(steps.numbers()), list(steps.at([]))) == ([], [], [])


def test_the_digest_is_that_of_the_rows_however_they_are_cut(steps, frame, tmp_path):
    """The same in memory and read from the file, and as one frame gives it."""
    assert frames_digest(steps.pieces(rows=1_000)) == frame_digest(frame)
    plan = Plan(steps, FACTS)
    assert plan.digest == Plan(Steps.of(frame), FACTS).digest
    write_plan(tmp_path, plan)
    assert read_plan(tmp_path).digest == plan.digest


def damage(path: Path, place: int) -> None:
    """Turn one byte round."""
    content = bytearray(path.read_bytes())
    content[place] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize("place", [4, 5_000, -1_000, -5])
def test_a_damaged_file_is_refused_before_anything_is_sent(frame, tmp_path, place):
    """Wherever the bytes are that changed."""
    write_plan(tmp_path, Plan(Steps.of(frame), FACTS))
    damage(tmp_path / "steps.parquet", place)
    with pytest.raises(PlanError):
        read_plan(tmp_path)


@pytest.mark.parametrize("numbers", [[2], [None], [0], [-1], [10**15], [9, 2]])
def test_rows_behind_the_last_step_are_no_part_of_the_plan(tmp_path, numbers):
    """Whatever number they bear: every row of the file is in the digest, and none is looked for by the number that stands there."""
    frame = frame_of([("sd", "create", 3)])
    write_plan(tmp_path, Plan(Steps.of(frame), FACTS))
    step = pl.Series("step", numbers, dtype=pl.Int64)
    added = pl.concat([frame.head(1)] * len(numbers)).with_columns(step, address=pl.lit("stranger@sd.belajar.id"))
    pl.concat([frame, added]).write_parquet(tmp_path / "steps.parquet")
    with pytest.raises(PlanError, match="changed after it was made"):
        read_plan(tmp_path)


def test_a_file_that_is_none_is_refused(tmp_path):
    """Neither one that is gone nor one with other columns is taken for steps."""
    with pytest.raises(PlanError, match="cannot be read"):
        Steps.read(tmp_path / "steps.parquet")
    pl.DataFrame({"step": [0]}).write_parquet(tmp_path / "steps.parquet")
    with pytest.raises(PlanError, match="changed after it was made"):
        Steps.read(tmp_path / "steps.parquet")


def test_a_file_that_is_written_again_while_it_is_read_is_refused(frame, tmp_path):
    """What was not checked against the digest is never read: not another file, and none at all."""
    path = tmp_path / "steps.parquet"
    Steps.of(frame).write(path)
    steps = Steps.read(path)
    pieces = steps.pieces()
    next(pieces)
    Steps.of(frame.with_columns(target_id=pl.lit("another child"))).write(path)
    with pytest.raises(PlanError, match="changed while it was read"):
        next(pieces)
    path.unlink()
    with pytest.raises(PlanError, match="changed while it was read"):
        next(steps.at([0]))
