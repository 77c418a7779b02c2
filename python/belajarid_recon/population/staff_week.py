"""A week in the life of a block's staff."""

from __future__ import annotations

from datetime import date

import polars as pl

from belajarid_recon.population.block import companions
from belajarid_recon.population.identifiers import entrant_serials, nik
from belajarid_recon.population.names import sample, spell
from belajarid_recon.population.randomness import uuid
from belajarid_recon.population.staff import (
    ACTING_HEAD,
    HEAD,
    KESETARAAN_MANAGER,
    OPERATOR,
    PAUD_MANAGER,
    PKBM_MANAGER,
    TYPED_HEAD,
    TYPED_OFFICE,
    other_jenjang,
)
from belajarid_recon.population.week import BlockWeek, corrected_name, roll_event

_LEADS = (HEAD, ACTING_HEAD, PKBM_MANAGER, PAUD_MANAGER, KESETARAAN_MANAGER)
_NO_TEACHERS = (TYPED_HEAD, TYPED_OFFICE, 30, 40, 41, 42, 43, 44)


def advance_staff(week: BlockWeek) -> None:
    """Heads and operators change, staff move, leave, are renamed and enter: drift.toml's [staff] and [schools]."""
    home = _home_rows(week)
    leaders = _leaders(week)
    operators = _operators(week)
    busy = pl.concat([leaders.select("person"), operators.select("person")]).unique()
    teachers = home.filter(~pl.col("jenis_ptk_id").is_in(_NO_TEACHERS)).join(
        busy, on="person", how="anti", maintain_order="left"
    )
    first = _successors(week, teachers, "first")
    chosen = [_change_heads(week, home, leaders, first)]
    rest = teachers.join(chosen[0], on="person", how="anti", maintain_order="left")
    chosen.append(_change_operators(week, operators, _successors(week, rest, "second")))
    taken = pl.concat([busy, *(people.select("person") for people in chosen)]).unique()
    quiet = home.join(taken, on="person", how="anti", maintain_order="left")
    _ordinary_events(week, quiet)
    _enter(week, round(week.rates["staff"]["entered"] * home.height))


def _home_rows(week: BlockWeek) -> pl.DataFrame:
    """Active home assignments of this year: row, person, ptk_terdaftar_id, school, jenis_ptk_id."""
    rows = week.tables["ptk_terdaftar"].filter(
        pl.col("jenis_keluar_id").is_null()
        & (pl.col("soft_delete") == 0)
        & (pl.col("ptk_induk") == 1)
        & (pl.col("tahun_ajaran_id") == week.block.world.calendar.year)
    )
    schools = week.block.schools.select("sekolah_id", "school")
    joined = rows.join(schools, on="sekolah_id", how="inner", maintain_order="left").with_columns(
        person=pl.col("ptk_id").str.to_lowercase()
    )
    chosen = joined.select("person", "ptk_terdaftar_id", "school", "jenis_ptk_id")
    return chosen.unique("person", keep="first", maintain_order=True).with_row_index("row")


def _leaders(week: BlockWeek) -> pl.DataFrame:
    """Running duties that lead a school: person, ptk_tugas_tambahan_id, jabatan_ptk_id, school."""
    duties = week.tables["tugas_tambahan"].filter(
        pl.col("jabatan_ptk_id").is_in(_LEADS) & pl.col("tst_tambahan").is_null() & (pl.col("soft_delete") == 0)
    )
    schools = week.block.schools.select("sekolah_id", "school")
    joined = duties.join(schools, on="sekolah_id", how="inner", maintain_order="left")
    return joined.select(
        "ptk_tugas_tambahan_id", "jabatan_ptk_id", "school", person=pl.col("ptk_id").str.to_lowercase()
    )


def _operators(week: BlockWeek) -> pl.DataFrame:
    """Running operator roles: id_role_pengguna, school, and the person (ptk or pengguna)."""
    roles = week.tables["role_pengguna"].filter((pl.col("peran_id") == OPERATOR) & pl.col("tgl_kadaluwarsa").is_null())
    users = week.tables["pengguna"].select("pengguna_id", "ptk_id")
    schools = week.block.schools.select("sekolah_id", "school")
    joined = roles.join(users, on="pengguna_id", how="inner", maintain_order="left").join(
        schools, on="sekolah_id", how="inner", maintain_order="left"
    )
    return joined.select("id_role_pengguna", "school", person=pl.coalesce("ptk_id", "pengguna_id"))


def _successors(week: BlockWeek, teachers: pl.DataFrame, stream: str) -> pl.DataFrame:
    """One drawn teacher of each school that has one: school, person, ptk_terdaftar_id."""
    shuffled = teachers.sort(week.block.draws.bits(f"successor/{stream}"))
    return (
        shuffled.unique("school", keep="first", maintain_order=True)
        .select("school", "person", "ptk_terdaftar_id")
        .sort("school")
    )


def _change_heads(week: BlockWeek, home: pl.DataFrame, leaders: pl.DataFrame, successors: pl.DataFrame) -> pl.DataFrame:
    """Some heads return to teaching and a teacher of the school takes over. Returns the successors: person."""
    draws, block = week.block.draws, week.block
    happens = draws.happens("head", week.rates["schools"]["head_changed"], "school")
    changing = leaders.filter(happens).unique("school", keep="first", maintain_order=True)
    pairs = changing.join(
        successors.rename({"person": "next", "ptk_terdaftar_id": "next_row"}),
        on="school",
        how="inner",
        maintain_order="left",
    )
    pairs = pairs.with_row_index("row")
    week.edit(
        "tugas_tambahan",
        "ptk_tugas_tambahan_id",
        pairs.select("ptk_tugas_tambahan_id", tst_tambahan=pl.lit(week.day) - pl.duration(days=1)),
    )
    duty = pl.when(pl.col("jabatan_ptk_id") == ACTING_HEAD).then(HEAD).otherwise("jabatan_ptk_id")
    week.append(
        "tugas_tambahan",
        pairs.select(
            ptk_tugas_tambahan_id=uuid(draws, "tugas_tambahan/week"),
            ptk_id="next",
            sekolah_id=block.at_school("sekolah_id"),
            jabatan_ptk_id=duty,
            tmt_tambahan=pl.lit(week.day),
            soft_delete=pl.lit(0),
        ),
    )
    back = home.join(pairs.filter(pl.col("jabatan_ptk_id") != ACTING_HEAD).select("person"), on="person", how="semi")
    retyped = pl.concat(
        [
            back.select("ptk_terdaftar_id", jenis_ptk_id=pl.when(pl.col("jenis_ptk_id") == TYPED_HEAD).then(4)),
            pairs.select(ptk_terdaftar_id="next_row", jenis_ptk_id=pl.lit(TYPED_HEAD)),
        ]
    )
    week.edit("ptk_terdaftar", "ptk_terdaftar_id", retyped)
    week.record(pairs.select(person="next", event=pl.lit("became_head")))
    former = pairs.select("person", event=pl.lit("returned_to_teaching")).unique(
        "person", keep="first", maintain_order=True
    )
    week.record(former.join(pairs.select(person="next"), on="person", how="anti"))
    return pairs.select(person="next")


def _change_operators(week: BlockWeek, operators: pl.DataFrame, successors: pl.DataFrame) -> pl.DataFrame:
    """Some operators' roles end and a teacher of the school becomes operator. Returns the successors: person."""
    draws, block = week.block.draws, week.block
    happens = draws.happens("operator", week.rates["schools"]["operator_changed"], "school")
    changing = operators.filter(happens).unique("school", keep="first", maintain_order=True)
    pairs = changing.join(
        successors.select("school", next="person"), on="school", how="inner", maintain_order="left"
    ).with_row_index("row")
    pairs = pairs.join(
        week.tables["ptk"].select(next="ptk_id", nama="nama"), on="next", how="left", maintain_order="left"
    )
    week.edit(
        "role_pengguna",
        "id_role_pengguna",
        pairs.select("id_role_pengguna", tgl_kadaluwarsa=pl.lit(week.day) - pl.duration(days=1)),
    )
    users = pairs.select(
        "nama",
        pengguna_id=uuid(draws, "pengguna/week"),
        sekolah_id=block.at_school("sekolah_id"),
        ptk_id="next",
        username=pl.format("operator.{}.{}.{}@example.org", pl.lit(week.number), pl.lit(block.number), "row"),
        aktif=pl.lit(value=True),
        soft_delete=pl.lit(0),
        row="row",
    )
    week.append("pengguna", users.drop("row"))
    roles = users.select(
        "pengguna_id",
        "sekolah_id",
        id_role_pengguna=uuid(draws, "role_pengguna/week"),
        peran_id=pl.lit(OPERATOR),
        approval_peran=pl.lit(value=True),
    )
    week.append("role_pengguna", roles)
    week.record(pairs.select(person="next", event=pl.lit("became_operator")))
    ended = pairs.select("person", event=pl.lit("operator_ended")).unique("person", keep="first", maintain_order=True)
    touched = week.truth.filter(pl.col("event") != "").select(person="person_id")
    week.record(ended.join(touched, on="person", how="anti"))
    return pairs.select(person="next")


def _ordinary_events(week: BlockWeek, quiet: pl.DataFrame) -> None:
    """Transfers, retirements, other exits and name corrections of staff who lead nothing and operate nothing."""
    draws, block, rates = week.block.draws, week.block, week.rates["staff"]
    kinds = {name: rates[name] for name in ("transferred", "retired", "left", "name_corrected")}
    touched = quiet.with_columns(event=roll_event(draws.unit("staff/event"), kinds)).filter(
        pl.col("event").is_not_null()
    )
    same = block.lookup(companions(block.schools, "jenjang"), pl.col("school"))
    apart = block.lookup(other_jenjang(block), pl.col("school"))
    touched = touched.with_columns(
        target=pl.when(draws.happens("staff/apart", rates["transferred_jenjang"])).then(apart).otherwise(same)
    )
    touched = touched.filter((pl.col("event") != "transferred") | (pl.col("target") != pl.col("school")))
    leaving = touched.filter(pl.col("event").is_in(["transferred", "retired", "left"]))
    codes = pl.Series(["4", "4", "6", "8"])
    code = (
        pl.when(pl.col("event") == "transferred").then(pl.lit("2")).when(pl.col("event") == "retired").then(pl.lit("9"))
    )
    left = block.lookup(codes, draws.below("staff/code", len(codes)))
    day = pl.lit(week.day) - pl.duration(days=draws.below("staff/day", 7).cast(pl.Int64))
    week.edit(
        "ptk_terdaftar",
        "ptk_terdaftar_id",
        leaving.select("ptk_terdaftar_id", jenis_keluar_id=code.otherwise(left), tgl_ptk_keluar=day),
    )
    gone = leaving.filter(pl.col("event") != "transferred").select(ptk_id="person", status_keaktifan_id=pl.lit(2))
    week.edit("ptk", "ptk_id", gone)
    moved = touched.filter(pl.col("event") == "transferred")
    week.append("ptk_terdaftar", _assignments(week, moved, "target"))
    corrected = touched.filter(pl.col("event") == "name_corrected").select(ptk_id="person")
    names = week.tables["ptk"].select("ptk_id", "nama").join(corrected, on="ptk_id", how="semi")
    week.edit("ptk", "ptk_id", names.select("ptk_id", nama=corrected_name()))
    week.record(touched.select("person", event=pl.lit("staff_") + pl.col("event")))


def _assignments(week: BlockWeek, people: pl.DataFrame, school: str) -> pl.DataFrame:
    return people.select(
        "jenis_ptk_id",
        ptk_terdaftar_id=uuid(week.block.draws, f"ptk_terdaftar/{school}"),
        ptk_id="person",
        sekolah_id=week.block.at_school("sekolah_id", school),
        tahun_ajaran_id=pl.lit(week.block.world.calendar.year),
        jabatan_ptk_id=pl.lit(1),
        ptk_induk=pl.lit(1),
        tmt_tugas=pl.lit(week.day),
        soft_delete=pl.lit(0),
    )


def _enter(week: BlockWeek, count: int) -> None:
    """New teachers at drawn schools."""
    block, draws = week.block, week.block.draws
    rows = pl.DataFrame({"row": pl.int_range(count, dtype=pl.UInt32, eager=True)})
    days = ((22 + 20 * draws.unit("staff/enter/age")) * 365.25).cast(pl.Int64)
    rows = rows.with_columns(
        school=draws.below("staff/enter/school", block.schools.height).cast(pl.UInt32),
        girl=draws.happens("staff/enter/girl", 0.64),
        adult=pl.lit(value=True),
        tanggal_lahir=pl.lit(date(week.day.year, 7, 1)) - pl.duration(days=days),
        person=uuid(draws, "ptk/enter"),
        jenis_ptk_id=pl.lit(4),
    )
    rows = rows.with_columns(province=block.at_school("province"))
    people = sample(rows, block.world.model, draws, "staff/enter").with_columns(
        nama=spell(block.world.model), nik=nik(block, "hired", entrant_serials(week.number))
    )
    week.append(
        "ptk",
        people.select(
            "nama",
            "nik",
            "tanggal_lahir",
            ptk_id="person",
            jenis_kelamin=pl.when("girl").then(pl.lit("P")).otherwise(pl.lit("L")),
            status_keaktifan_id=pl.lit(1),
            kewarganegaraan=pl.lit("ID"),
            soft_delete=pl.lit(0),
        ),
    )
    week.append("ptk_terdaftar", _assignments(week, people, "school"))
    week.add_people(
        people.select("person", true_person_id="person", person_kind=pl.lit("ptk"), event=pl.lit("staff_entered"))
    )
