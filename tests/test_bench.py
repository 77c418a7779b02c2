"""The benchmark of comparing: pairs hold what their truth says, every engine finds it, and the judge lets nothing wrong pass."""

from __future__ import annotations

import hashlib
import random
from datetime import UTC, date, datetime
from pathlib import Path

import orjson
import polars as pl
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from belajarid_recon.bench.__main__ import main as bench_main
from belajarid_recon.bench.by_polars import by_groups
from belajarid_recon.bench.check import Tally, faults, tally_file
from belajarid_recon.bench.data import (
    _CHUNK,
    _FAMILY,
    _GIVEN,
    ATTRIBUTES,
    KEY,
    ROW_GROUP,
    Pair,
    Truth,
    make_pair,
    read_truth,
)
from belajarid_recon.bench.job import Job
from belajarid_recon.bench.peers import DEFAULT, ENGINES
from belajarid_recon.bench.report import as_document, is_right, table
from belajarid_recon.bench.run import Inputs, Rounds, compare_engines, is_installed
from belajarid_recon.cli.main import app
from belajarid_recon.errors import ExitStatus, InputError, SettingsError

KEYS = 20_000
INSTALLED = tuple(filter(is_installed, ENGINES))


def inputs_of(folder: Path, attributes: tuple[str, ...] = ATTRIBUTES) -> Inputs:
    """A pair as engines get it."""
    return Inputs((str(folder / "source.parquet"),), (str(folder / "directory.parquet"),), KEY, attributes)


@pytest.fixture(scope="module", params=["text", "sealed"])
def pair(request, tmp_path_factory) -> tuple[Path, Truth]:
    """A pair of each layout, with its truth."""
    folder = tmp_path_factory.mktemp(request.param)
    return folder, make_pair(folder, Pair(KEYS, layout=request.param))


@pytest.fixture(scope="module")
def output(tmp_path_factory) -> tuple[pl.DataFrame, Tally]:
    """A right output, and what is expected of it."""
    folder = tmp_path_factory.mktemp("output")
    truth = make_pair(folder, Pair(KEYS))
    return pl.read_parquet(polars_output(folder)), truth.tally


def polars_output(folder: Path) -> Path:
    """What the peer that is always there writes."""
    pair = inputs_of(folder)
    out = folder / "out.parquet"
    by_groups(Job(pair.source, pair.directory, KEY, ATTRIBUTES, "uuid-text", 1, None, str(folder), str(out)))
    return out


def judged(folder: Path, lines: pl.DataFrame, expected: Tally) -> list[str]:
    """What the judge says of lines in a file."""
    lines.write_parquet(folder / "judged.parquet")
    return faults(tally_file(folder / "judged.parquet"), expected)


def test_every_engine_finds_the_truth(pair, tmp_path):
    """Ours and every peer that is installed, in each of its forms, give the lines the generator knows, each in a process of its own."""
    folder, truth = pair
    results = compare_engines(inputs_of(folder), Rounds(INSTALLED, 1, 2, tmp_path), truth.tally)
    assert [(result.engine, result.failure, result.faults) for result in results] == [
        (engine, "", []) for engine in INSTALLED
    ]
    assert all(
        run.wall_seconds > 0 and run.cpu_seconds > 0 and run.peak_bytes > 10e6 for r in results for run in r.runs
    )
    assert list(tmp_path.iterdir()) == [], "outputs and spills are removed"
    assert {"recon", "polars"} <= set(INSTALLED)


def test_a_pair_is_what_its_truth_says(pair):
    """Counted from the files alone: rows, keys of either side alone, changed keys, doubled keys, and keys that are the same."""
    folder, truth = pair
    source, directory = (pl.read_parquet(folder / f"{side}.parquet") for side in ("source", "directory"))
    assert (source.height, directory.height) == (truth.source_rows, truth.directory_rows)
    kinds = {kind: entry.lines for kind, entry in truth.tally.kinds.items()}
    doubled = [frame[KEY].filter(frame[KEY].is_duplicated()).unique().implode() for frame in (source, directory)]
    assert [names.item().len() for names in doubled] == [kinds["duplicate-source"], kinds["duplicate-directory"]]
    single = [
        frame.filter(~pl.col(KEY).is_in(doubled[0]) & ~pl.col(KEY).is_in(doubled[1])) for frame in (source, directory)
    ]
    assert single[0].join(single[1], on=KEY, how="anti").height == kinds["added"]
    assert single[1].join(single[0], on=KEY, how="anti").height == kinds["removed"]
    equal = single[0].join(single[1], on=[KEY, *ATTRIBUTES], how="semi", nulls_equal=True).height
    both = single[0].join(single[1], on=KEY, how="semi").height
    assert (equal, both - equal) == (truth.unchanged, kinds["changed"])
    assert 0.06 < sum(kinds.values()) / KEYS < 0.08, "7 % of the keys differ"
    assert source.null_count().select("tingkat", "kode_kabkota", "tanggal_lahir").row(0) > (0, 0, 0)
    assert truth == read_truth(folder)


def test_layouts_are_as_promised(tmp_path):
    """Text keys in another order on each side; sealed keys as 16 fixed bytes that ascend; row groups, compression and chunks' borders."""
    keys = {"text": 300_000, "sealed": _CHUNK + 1_000}
    for layout, number in keys.items():
        make_pair(tmp_path / layout, Pair(number, layout=layout))
        file = pq.ParquetFile(tmp_path / layout / "source.parquet")
        groups = [file.metadata.row_group(place) for place in range(file.num_row_groups)]
        assert {group.num_rows for group in groups[:-1]} == {ROW_GROUP[layout]}
        assert {group.column(0).compression for group in groups} == {"ZSTD"}
    sealed = pq.ParquetFile(tmp_path / "sealed" / "directory.parquet")
    assert str(sealed.schema_arrow.field(KEY).type) == "fixed_size_binary[16]"
    assert pl.read_parquet(tmp_path / "sealed" / "directory.parquet")[KEY].is_sorted()
    sides = [pl.read_parquet(tmp_path / "text" / f"{side}.parquet")[KEY] for side in ("source", "directory")]
    assert all(
        side.str.contains(r"^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$").all()
        for side in sides
    )
    for side in sides:
        ascents = (side.shift(-1) > side).mean()
        assert 0.48 < ascents < 0.52, "a scattered order, not a sorted one"
    assert (sides[0].head(1000) == sides[1].head(1000)).sum() < 5


def test_a_seed_is_its_bytes(tmp_path):
    """The same seed writes the same bytes; another seed other keys, with another truth."""
    prints, tallies = [], []
    for place, seed in enumerate((5, 5, 6)):
        tallies.append(make_pair(tmp_path / str(place), Pair(2_000, seed=seed)).tally.as_document())
        files = sorted((tmp_path / str(place)).iterdir())
        prints.append([hashlib.sha256(file.read_bytes()).hexdigest() for file in files])
    assert prints[0] == prints[1]
    assert not set(prints[0]) & set(prints[2])
    assert tallies[0] == tallies[1] != tallies[2]


@pytest.mark.parametrize("keys", [1, 2, 7, 100])
def test_smallest_pairs(keys, tmp_path):
    """Pairs of few keys are whole, and are found to be so."""
    truth = make_pair(tmp_path, Pair(keys))
    if truth.tally.lines:
        assert faults(tally_file(polars_output(tmp_path)), truth.tally) == []
    assert truth.unchanged <= keys + 1


def test_names_do_not_repeat():
    """Two numbers of a name never give one text, so that a changed number is a changed name."""
    assert _GIVEN.n_unique() == len(_GIVEN)
    assert _FAMILY.n_unique() == len(_FAMILY)


def test_sizes_are_bounded():
    """A pair of no keys, and one beyond what can be numbered, are refused."""
    for keys in (0, 1_000_000_001):
        with pytest.raises(SettingsError, match="keys out of bounds"):
            Pair(keys)


def test_a_right_output_passes(output, tmp_path):
    """The judge has nothing to say of the expected lines, also in small row groups and other types."""
    lines, expected = output
    assert judged(tmp_path, lines, expected) == []
    other = lines.with_columns(pl.col("count").cast(pl.Int32), pl.col("kind").cast(pl.Categorical).cast(pl.String))
    assert judged(tmp_path, other, expected) == []


def test_one_other_value_is_caught(output, tmp_path):
    """A single value of one line that is not the expected one, on either side of a change."""
    lines, expected = output
    place = lines["kind"].to_list().index("added")
    for side, kind in (("after", "added"), ("before", "removed")):
        place = lines["kind"].to_list().index(kind)
        here = pl.int_range(pl.len()) == place
        other = pl.col(side).struct.with_fields(
            nama=pl.when(here).then(pl.lit("Orang Lain")).otherwise(pl.field("nama"))
        )
        tampered = lines.with_columns(pl.when(pl.col(side).is_null()).then(None).otherwise(other).alias(side))
        assert judged(tmp_path, tampered, expected) == [f"{kind}: as many lines as expected, but other keys or values"]


def test_a_null_is_no_empty_text(output, tmp_path):
    """Null in place of the empty text, and no struct in place of one of nulls, are differences."""
    lines, _ = output
    few = lines.filter(pl.col("kind") == "changed").head(3)
    empty = pl.col("after").struct.with_fields(nama=pl.lit(""))
    null = pl.col("after").struct.with_fields(nama=pl.lit(None, dtype=pl.String))
    nothing = pl.lit(None, dtype=lines.schema["after"])
    digests = []
    for after in (empty, null, nothing):
        tally = Tally()
        tally.add(few.with_columns(after=after))
        digests.append(tally.kinds["changed"].digest)
    assert len(set(digests)) == 3


def test_a_dropped_line_is_caught(output, tmp_path):
    """One line less, wherever it is."""
    lines, expected = output
    kinds = expected.kinds
    for place in (0, lines.height // 2, lines.height - 1):
        dropped = lines.filter(pl.int_range(pl.len()) != place)
        kind = lines["kind"][place]
        assert judged(tmp_path, dropped, expected) == [
            f"{kind}: {kinds[kind].lines - 1:,} lines instead of {kinds[kind].lines:,}"
        ]


def test_a_line_told_twice_is_caught(output, tmp_path):
    """A repeated line is a line too many, and out of order."""
    lines, expected = output
    twice = pl.concat([lines.head(5), lines.slice(4)])
    found = judged(tmp_path, twice, expected)
    assert any("instead of" in fault for fault in found)
    assert "line 6 is not in the order of keys" in found


def test_two_swapped_lines_are_caught(output, tmp_path):
    """All lines, but two of them in each other's place."""
    lines, expected = output
    swapped = pl.concat([lines.head(100), lines.slice(101, 1), lines.slice(100, 1), lines.slice(102)])
    assert judged(tmp_path, swapped, expected) == ["line 102 is not in the order of keys"]


def test_order_is_seen_across_borders(output):
    """A wrong order between the last line of one reading and the first of the next."""
    lines, _ = output
    tally = Tally()
    for start in (0, 50, 20):
        tally.add(lines.slice(start, 50 if start == 0 else 10))
    assert tally.disorder == 60


def test_another_kind_is_caught(output, tmp_path):
    """A kind no engine should tell of."""
    lines, expected = output
    renamed = lines.with_columns(kind=pl.col("kind").replace("duplicate-source", "doubled"))
    found = judged(tmp_path, renamed, expected)
    assert any(fault.startswith("duplicate-source: 0 lines instead of") for fault in found)
    assert any(fault.startswith("doubled:") for fault in found)


def test_an_output_that_is_none_is_refused(tmp_path):
    """No file, a file without a column, and a file that is no Parquet."""
    with pytest.raises(InputError, match=r"cannot be read: nothing\.parquet"):
        tally_file(tmp_path / "nothing.parquet")
    (tmp_path / "torn.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"cannot be read: torn\.parquet"):
        tally_file(tmp_path / "torn.parquet")
    pl.DataFrame({"kind": ["added"]}).write_parquet(tmp_path / "less.parquet")
    with pytest.raises(InputError, match=r"without the column: less\.parquet: key"):
        tally_file(tmp_path / "less.parquet")


def test_an_engine_that_fails_is_named(pair, tmp_path):
    """An attribute of a kind that ours refuses and the judge cannot read: the report says who failed and how, without a value of a row."""
    folder, _ = pair
    lists = pl.col("nama").str.split(" ")
    for side in ("source", "directory"):
        pl.read_parquet(folder / f"{side}.parquet").head(100).with_columns(words=lists).write_parquet(
            tmp_path / f"{side}.parquet"
        )
    inputs = Inputs((str(tmp_path / "source.parquet"),), (str(tmp_path / "directory.parquet"),), KEY, ("words",))
    ours, polars = compare_engines(inputs, Rounds(("recon", "polars"), 1, 1, tmp_path))
    assert ours.failure.startswith("InputError")
    assert "words" in ours.failure
    assert polars.failure == "an output that cannot be read: polars.parquet: InvalidOperationError"
    assert not ours.runs + polars.runs
    assert not is_right([ours, polars])
    assert table([ours, polars], "title").row_count == 2
    assert as_document([ours, polars])["engines"]["recon"]["median"] == {}


def test_own_files_are_compared_without_a_truth(pair, tmp_path):
    """The command runs engines on a user's files, finds them of one mind, and writes medians and ratios as JSON and table."""
    folder, _ = pair
    told = tmp_path / "told.json"
    words = [
        str(folder / "source.parquet"),
        str(folder / "directory.parquet"),
        "--key",
        KEY,
        "--attributes",
        "nama, npsn",
    ]
    options = ["--engines", "recon,polars", "--rounds", "2", "--folder", str(tmp_path), "--out", str(told)]
    result = CliRunner().invoke(app, ["bench", *words, *options])
    assert result.exit_code == ExitStatus.DONE, result.output
    document = orjson.loads(told.read_bytes())
    assert list(document["engines"]) == ["recon", "polars"]
    for engine in document["engines"].values():
        assert len(engine["runs"]) == 2
        assert engine["faults"] == []
        assert set(engine["ratio"]) == {"wall_seconds", "cpu_seconds", "peak_bytes"}
    assert document["engines"]["recon"]["ratio"]["wall_seconds"] == 1.0
    assert document["inputs"]["attributes"] == ["nama", "npsn"]
    assert document["machine"]["cores"] >= 1
    assert "recon 0" in result.output
    assert [entry.name for entry in tmp_path.iterdir()] == ["told.json"], "nothing else is left"


def test_engines_of_two_minds_end_with_a_fault(tmp_path):
    """UUIDs in upper case on one side alone: ours pairs them, the peer does not, and the command says so."""
    key = "0123ABCD-0000-4000-8000-00000000000F"
    pl.DataFrame({"id": [key], "nama": ["Budi"]}).write_parquet(tmp_path / "source.parquet")
    pl.DataFrame({"id": [key.lower()], "nama": ["Budi"]}).write_parquet(tmp_path / "directory.parquet")
    words = [
        str(tmp_path / "source.parquet"),
        str(tmp_path / "directory.parquet"),
        "--key",
        "id",
        "--attributes",
        "nama",
    ]
    result = CliRunner().invoke(app, ["bench", *words, "--engines", "recon,polars", "--rounds", "1", "--json"])
    assert result.exit_code == ExitStatus.BUG
    document = orjson.loads(result.stdout)
    assert document["engines"]["polars"]["faults"] == [
        "added: 1 lines instead of 0",
        "removed: 1 lines instead of 0",
        "line 2 is not in the order of keys",
    ]


@pytest.mark.parametrize(
    ("change", "status", "message"),
    [
        ({"--key": "nix"}, ExitStatus.INPUT_REFUSED, "no such column in source: nix"),
        ({"--attributes": "nama,nix"}, ExitStatus.INPUT_REFUSED, "no such column in source: nix"),
        ({"--engines": "abacus"}, ExitStatus.SETTINGS_REFUSED, "unknown engine: abacus"),
        ({"--engines": ","}, ExitStatus.SETTINGS_REFUSED, "no engine to run"),
        ({"--rounds": "0"}, ExitStatus.USAGE, ""),
    ],
)
def test_wrong_words_are_refused(pair, change, status, message):
    """Columns and engines that are not there end the command with a documented status, and say which."""
    folder, _ = pair
    options = {"--key": KEY, "--attributes": "nama", "--engines": "polars", "--rounds": "1", **change}
    words = [word for option in options.items() for word in option]
    result = CliRunner().invoke(
        app, ["bench", str(folder / "source.parquet"), str(folder / "directory.parquet"), *words]
    )
    assert result.exit_code == status
    assert message in result.output


def test_a_missing_or_empty_place_is_refused(pair, tmp_path):
    """A file that is not there and a folder without tables are named."""
    folder, _ = pair
    for place, message in (
        (tmp_path / "nix.parquet", "no such file or folder"),
        (tmp_path, "no *.parquet file in the folder"),
    ):
        result = CliRunner().invoke(
            app, ["bench", str(folder / "source.parquet"), str(place), "--key", KEY, "--attributes", "nama"]
        )
        assert result.exit_code == ExitStatus.INPUT_REFUSED
        assert f"{message}, directory: {place}" in result.output


def test_bench_target_cleans_up(tmp_path, capsys):
    """What `make bench` calls makes its pairs, judges, writes JSON, and removes the pairs."""
    told = tmp_path / "told.json"
    place = tmp_path / "place"
    place.mkdir()
    options = ["--keys", "2000,4000", "--layouts", "text", "--engines", "recon", "--rounds", "1", "--threads", "1"]
    assert bench_main([*options, "--folder", str(place), "--json", str(told)]) == ExitStatus.DONE
    assert [document["truth"]["keys"] for document in orjson.loads(told.read_bytes())] == [2_000, 4_000]
    assert list(place.iterdir()) == []
    assert "us a key" in capsys.readouterr().out


def test_bench_target_checks_the_disk(tmp_path, capsys, monkeypatch):
    """Too little room is said before anything is made."""
    monkeypatch.setattr("belajarid_recon.bench.__main__._DISK_BYTES_A_KEY", 1 << 60)
    assert bench_main(["--keys", "1000", "--folder", str(tmp_path)]) == ExitStatus.SETTINGS_REFUSED
    assert "too little free disk" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_default_engines_are_known():
    """What runs when no engine is named, ours first: ratios are to the first."""
    assert DEFAULT[0] == "recon"
    assert set(DEFAULT) <= set(ENGINES)


def typed_rows(seed: int) -> pl.DataFrame:
    """Rows under integer keys, some doubled, with attributes of many types and few values, nulls among them."""
    draw = random.Random(seed)  # noqa: S311 - a test's rows
    rows = 3_000
    return pl.DataFrame({"id": [draw.randrange(-rows, rows) for _ in range(rows)]}).with_columns(
        text=pl.Series([draw.choice(["", "a", "Ä", "\U0001d54f", None]) for _ in range(rows)]),
        data=pl.Series([draw.choice([b"", b"\x00", b"\xff\x00", None]) for _ in range(rows)]),
        flag=pl.Series([draw.choice([True, True, True, None]) for _ in range(rows)]),
        small=pl.Series([draw.choice([-1, 0, None]) for _ in range(rows)], dtype=pl.Int8),
        real=pl.Series([draw.choice([0.5, -1e300, None]) for _ in range(rows)]),
        day=pl.Series([draw.choice([date(1970, 1, 1), date(2026, 11, 15)]) for _ in range(rows)]),
        moment=pl.Series([draw.choice([datetime(2026, 11, 15, 7, 0, 0, 1, tzinfo=UTC), None]) for _ in range(rows)]),
    )


def test_engines_agree_on_every_type(tmp_path):
    """Each engine on its own comes to the same lines for keys that are integers and attributes of any type."""
    for side, seed in (("source", 1), ("directory", 2)):
        typed_rows(seed).write_parquet(tmp_path / f"{side}.parquet")
    files = [(str(tmp_path / f"{side}.parquet"),) for side in ("source", "directory")]
    attributes = ("text", "data", "flag", "small", "real", "day", "moment")
    results = compare_engines(Inputs(*files, "id", attributes), Rounds(INSTALLED, 1, 2, tmp_path))
    assert [(result.engine, result.failure, result.faults) for result in results] == [
        (name, "", []) for name in INSTALLED
    ]
