"""Staff of one block: teachers, heads, support staff, operators, and their assignments."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import polars as pl

from belajarid_recon.population.block import Block, companions, expand
from belajarid_recon.population.identifiers import STAFF_SERIALS, nik, nuptk, phone
from belajarid_recon.population.names import sample, spell
from belajarid_recon.population.randomness import uuid
from belajarid_recon.population.spelling import COMMON_KINDS, RARE_KINDS, dirt_words, roll_name_dirt, soil_names

HEAD, ACTING_HEAD, PKBM_MANAGER, PAUD_MANAGER, KESETARAAN_MANAGER = 2, 33, 18, 30, 31
"""jabatan_ptk_id of the extra duties that lead a school; the three managers are inferred for their forms (reference, section 1.5)."""

DEPUTY = 11
TYPED_HEAD, TYPED_OFFICE = 20, 11
"""jenis_ptk_id of a head, and of school administration."""

OPERATOR = 10
OTHER_ROLE = 53
"""peran_id of a school operator, and one that is not."""

_STAFF_KINDS = ("missing_nuptk", "filler_nik", "shared_nik", "two_schools", "two_jenjang", "stale_year", "left_already", "one_word",
                "head_without_type", "acting_head", "ended_head_term", "upper_uuid")  # fmt: skip
STAFF_KINDS = _STAFF_KINDS + RARE_KINDS + COMMON_KINDS
"""Dirt kinds of staff, as truth names them."""

OPERATOR_KINDS = ("operator_without_ptk", "role_expired", "not_approved")

_TEACHER_TYPES = {
    "paud": [3],
    "sd": [3, 3, 3, 3, 3, 3, 4, 4, 4, 15],
    "smp": [4, 4, 4, 4, 4, 4, 4, 4, 5, 14],
    "sma": [4, 4, 4, 4, 4, 4, 4, 4, 5, 14],
    "smk": [4, 4, 4, 4, 4, 4, 4, 17, 5, 14],
    "slb": [3, 3, 3, 4, 4, 16, 16, 6],
    "kesetaraan": [63, 63, 63, 63, 64],
}
_SUPPORT_TYPES = [40, 42, 43, 44, 41, 30, 11]
"""Support staff after the first, who is the administrator: library, guards, caretakers, laboratory; no account follows from these."""


@dataclass(frozen=True, slots=True)
class StaffTables:
    """The staff side of a block."""

    ptk: pl.DataFrame
    ptk_terdaftar: pl.DataFrame
    tugas_tambahan: pl.DataFrame
    pengguna: pl.DataFrame
    role_pengguna: pl.DataFrame
    truth: pl.DataFrame
    homeroom: pl.DataFrame


def make_staff(block: Block) -> StaffTables:
    """Make the staff of a block: row 0 of a school leads it, teachers follow, support staff comes last."""
    people = _people(block)
    users, roles, operators = _users(block, people)
    truth = people.select(
        person_id="ptk_id",
        person_kind=pl.lit("ptk"),
        true_person_id="ptk_id",
        dirt=dirt_words(list(STAFF_KINDS)),
        event=pl.lit("created"),
    )
    return StaffTables(
        ptk=_person_rows(people),
        ptk_terdaftar=_assignments(block, people),
        tugas_tambahan=_duties(block, people),
        pengguna=users,
        role_pengguna=roles,
        truth=pl.concat([truth, operators]),
        homeroom=people.filter((pl.col("seat") > 0) & ~pl.col("support_staff")).select("school", "ptk_id"),
    )


def _people(block: Block) -> pl.DataFrame:
    draws, model, shares = block.draws, block.world.model, block.world.dirt["staff"]
    counted = block.schools.select(
        "school", "teachers", "support", "bentuk", "jenjang", "province", size=pl.col("teachers") + pl.col("support")
    )
    seats = expand(counted, "size", "seat").with_columns(row=pl.int_range(pl.len(), dtype=pl.UInt32))
    start = pl.lit(date(block.world.calendar.year, 7, 1))
    age_days = (23 + 36 * draws.unit("staff/age")) * 365.25
    seats = seats.with_columns(
        girl=draws.happens("staff/girl", 0.64),
        adult=pl.lit(value=True),
        support_staff=pl.col("seat") >= pl.col("teachers"),
        tanggal_lahir=start - pl.duration(days=age_days.cast(pl.Int64)),
    )
    named = sample(seats, model, draws, "staff").with_columns(
        *_roll(block, shares), nama=spell(model), one_word=pl.col("t5").is_null(), other=spell(model)
    )
    soiled = soil_names(named.drop("t1", "t2", "t3", "t4", "t5"), draws, "staff")
    people = soiled.with_columns(
        nik=nik(block, "staff", STAFF_SERIALS), ptk_id=uuid(draws, "ptk"), jenis_ptk_id=_types(block)
    )
    lender = pl.when(~pl.col("filler_nik") & ~pl.col("shared_nik")).then("nik").shift(-7).backward_fill()
    shared = pl.col("shared_nik") & lender.is_not_null()
    return people.with_columns(
        *_contacts(block),
        shared_nik=shared,
        nik=pl.when("filler_nik").then(pl.lit("0" * 16)).when(shared).then(lender).otherwise("nik"),
    )


def _roll(block: Block, shares: dict[str, float]) -> list[pl.Expr]:
    draws, heads = block.draws, block.world.dirt["heads"]
    number = draws.unit("staff/dirt/nik")
    leads = pl.col("seat") == 0
    plain = (pl.col("seat") > 0) & ~pl.col("support_staff")
    second = draws.unit("staff/dirt/second")
    acting = block.lookup(acting_heads(block), pl.col("school"))
    paired = block.lookup(companions(block.schools, "jenjang"), pl.col("school")) != pl.col("school")
    mixed = block.lookup(other_jenjang(block), pl.col("school")) != pl.col("school")
    rolled = {
        "missing_nuptk": draws.happens("staff/dirt/nuptk", shares["missing_nuptk"]),
        "filler_nik": number < shares["filler_nik"],
        "shared_nik": (number >= shares["filler_nik"]) & (number < shares["filler_nik"] + shares["shared_nik"]),
        "two_schools": plain & paired & (second < shares["two_schools"]),
        "two_jenjang": plain
        & mixed
        & (second >= shares["two_schools"])
        & (second < shares["two_schools"] + shares["two_jenjang"]),
        "stale_year": draws.happens("staff/dirt/stale", shares["stale_year"]),
        "left_already": plain & draws.happens("staff/dirt/left", shares["left_already"]),
        "acting_head": leads & acting,
        "head_without_type": leads & ~acting & draws.happens("staff/dirt/type", heads["head_without_type"]),
        "ended_head_term": (pl.col("seat") == 1) & plain & draws.happens("staff/dirt/term", heads["ended_head_term"]),
        "upper_uuid": draws.happens("staff/dirt/uuid", shares["upper_uuid"]),
    }
    return [column.alias(kind) for kind, column in rolled.items()] + roll_name_dirt(draws, "staff", shares)


def acting_heads(block: Block) -> pl.Series:
    """Which schools of the block are led by an acting head."""
    share = block.world.dirt["heads"]["acting_head"]
    return block.schools.select(block.draws.happens("acting-head", share, "school")).to_series()


def _types(block: Block) -> pl.Expr:
    """jenis_ptk_id by jenjang and seat."""
    draws = block.draws
    chance = draws.bits("staff/type")
    expression = pl.lit(4)
    for jenjang, types in _TEACHER_TYPES.items():
        pick = block.lookup(pl.Series(types, dtype=pl.Int32), chance % len(types))
        expression = pl.when(pl.col("jenjang") == jenjang).then(pick).otherwise(expression)
    support = block.lookup(pl.Series(_SUPPORT_TYPES, dtype=pl.Int32), chance % len(_SUPPORT_TYPES))
    support = pl.when(pl.col("seat") == pl.col("teachers")).then(TYPED_OFFICE).otherwise(support)
    leads = (pl.col("seat") == 0) & ~pl.col("acting_head") & ~pl.col("head_without_type")
    return pl.when("support_staff").then(support).when(leads).then(TYPED_HEAD).otherwise(expression).cast(pl.Int32)


def _person_rows(people: pl.DataFrame) -> pl.DataFrame:
    """`ptk`."""
    return people.select(
        "ptk_id",
        "nama",
        jenis_kelamin=pl.when("girl").then(pl.lit("P")).otherwise(pl.lit("L")),
        nik="nik",
        nuptk="nuptk",
        nip="nip",
        tanggal_lahir="tanggal_lahir",
        email="email",
        no_hp="no_hp",
        status_keaktifan_id=pl.when("left_already").then(2).otherwise(1).cast(pl.Int64),
        kewarganegaraan=pl.lit("ID"),
        soft_delete=pl.lit(0, dtype=pl.Int32),
    )


def _contacts(block: Block) -> list[pl.Expr]:
    """NUPTK, NIP (two in five, birth date, appointment, sex and a number), mail and phone."""
    draws = block.draws
    born = pl.col("tanggal_lahir")
    hired = (born.dt.year() + 24).cast(pl.String) + (1 + draws.below("nip/month", 12)).cast(pl.String).str.zfill(2)
    sex = pl.when("girl").then(pl.lit("2")).otherwise(pl.lit("1"))
    serial = draws.below("nip/serial", 1_000).cast(pl.String).str.zfill(3)
    nip = pl.concat_str([born.dt.strftime("%Y%m%d"), hired, sex, serial])
    permanent = draws.happens("nip", 0.4) & ~pl.col("support_staff")
    return [
        pl.when(~pl.col("missing_nuptk")).then(nuptk(block)).alias("nuptk"),
        pl.when(permanent).then(nip).alias("nip"),
        pl.when(draws.happens("staff/email", 0.8))
        .then(pl.format("ptk.{}.{}@example.org", pl.lit(block.number), "row"))
        .alias("email"),
        pl.when(draws.happens("staff/phone", 0.9)).then(phone(draws, "staff")).alias("no_hp"),
    ]


@dataclass(frozen=True, slots=True)
class _Placement:
    """One kind of assignment: whose, at which school, home (1) or not (0), and of which school year."""

    name: str
    whose: pl.Expr
    school: pl.Expr
    induk: int
    year: int


def _assignments(block: Block, people: pl.DataFrame) -> pl.DataFrame:
    """`ptk_terdaftar`: the home school, a second school for some, and stale rows of last year."""
    year = block.world.calendar.year
    same = block.lookup(companions(block.schools, "jenjang"), pl.col("school"))
    apart = block.lookup(other_jenjang(block), pl.col("school"))
    second = pl.when("two_schools").then(same).otherwise(apart)
    moved = block.draws.happens("staff/moved", block.world.dirt["staff"]["moved_last_year"])
    earlier = pl.when(moved).then(same).otherwise("school")
    placements = (
        _Placement("home", pl.lit(value=True), pl.col("school"), 1, year),
        _Placement("second", pl.col("two_schools") | pl.col("two_jenjang"), second, 0, year),
        _Placement("stale", pl.col("stale_year"), earlier, 1, year - 1),
    )
    return pl.concat(_assignment_rows(block, people, placement) for placement in placements)


def _assignment_rows(block: Block, people: pl.DataFrame, placement: _Placement) -> pl.DataFrame:
    draws, calendar = block.draws, block.world.calendar
    stale = placement.year < calendar.year
    heads = pl.col("jenis_ptk_id") == TYPED_HEAD
    kind = pl.when(heads).then(3).otherwise("jenis_ptk_id") if stale else pl.col("jenis_ptk_id")
    gone = pl.lit(value=False) if stale else pl.col("left_already")
    code = block.lookup(pl.Series(["9", "4", "2", "6", "8"]), draws.below("staff/exit", 5))
    left = pl.lit(calendar.day) - pl.duration(days=5 + draws.below("staff/exit-day", 80).cast(pl.Int64))
    days = draws.below(f"tmt/{placement.name}", 4_000).cast(pl.Int64)
    return people.filter(placement.whose).select(
        ptk_terdaftar_id=uuid(draws, f"ptk_terdaftar/{placement.name}"),
        ptk_id=pl.when("upper_uuid").then(pl.col("ptk_id").str.to_uppercase()).otherwise("ptk_id"),
        sekolah_id=block.at_school("sekolah_id", placement.school),
        tahun_ajaran_id=pl.lit(placement.year, dtype=pl.Int32),
        jenis_ptk_id=kind.cast(pl.Int32),
        jabatan_ptk_id=pl.when(heads).then(HEAD).when("support_staff").then(6).otherwise(1).cast(pl.Int32),
        ptk_induk=pl.lit(placement.induk, dtype=pl.Int32),
        tmt_tugas=pl.lit(date(placement.year, 7, 1)) - pl.duration(days=days),
        jenis_keluar_id=pl.when(gone).then(code),
        tgl_ptk_keluar=pl.when(gone).then(left),
        soft_delete=pl.lit(0, dtype=pl.Int32),
    )


def other_jenjang(block: Block) -> pl.Series:
    """For each school of the block a school of another jenjang, near in the list; itself where the block has one jenjang only."""
    ring = block.schools.select("school", "jenjang").sort("jenjang", "school", maintain_order=True)
    half = ring.height // 2
    partner = pl.concat([ring.tail(ring.height - half), ring.head(half)])
    pairs = ring.with_columns(partner=partner["school"], differs=partner["jenjang"] != ring["jenjang"])
    return pairs.select("school", pl.when("differs").then("partner").otherwise("school").alias("other")).sort("school")[
        "other"
    ]


def _duties(block: Block, people: pl.DataFrame) -> pl.DataFrame:
    """`tugas_tambahan`: one head, manager or acting head a school, ended terms of former heads, and deputies of large schools."""
    draws, calendar = block.draws, block.world.calendar
    leads = people.filter(pl.col("seat") == 0)
    manager = (
        pl.when(pl.col("jenjang") == "paud")
        .then(PAUD_MANAGER)
        .when(pl.col("bentuk") == 27)
        .then(PKBM_MANAGER)
        .when(pl.col("bentuk") == 40)
        .then(KESETARAAN_MANAGER)
        .otherwise(HEAD)
    )
    duty = pl.when("acting_head").then(ACTING_HEAD).otherwise(manager)
    elsewhere = draws.happens("acting/elsewhere", block.world.dirt["heads"]["acting_from_elsewhere"], "school")
    neighbours = block.lookup(companions(block.schools, "jenjang"), pl.col("school"))
    head_of = leads.sort("school")["ptk_id"]
    stand_in = pl.when(pl.col("acting_head") & elsewhere).then(block.lookup(head_of, neighbours)).otherwise("ptk_id")
    deputies = people.filter(
        (pl.col("seat") == 2) & ~pl.col("support_staff") & pl.col("jenjang").is_in(["smp", "sma", "smk"])
    )
    parts = (
        ("head", leads, stand_in, duty, pl.lit(value=False)),
        ("ended", people.filter("ended_head_term"), pl.col("ptk_id"), pl.lit(HEAD), pl.lit(value=True)),
        ("deputy", deputies, pl.col("ptk_id"), pl.lit(DEPUTY), pl.lit(value=False)),
    )
    return pl.concat(
        rows.select(
            ptk_tugas_tambahan_id=uuid(draws, f"tugas_tambahan/{name}"),
            ptk_id=who,
            sekolah_id=block.at_school("sekolah_id"),
            jabatan_ptk_id=what.cast(pl.Int32),
            tmt_tambahan=pl.lit(date(calendar.year - 1, 7, 1))
            - pl.duration(days=draws.below(f"duty/{name}", 1_400).cast(pl.Int64)),
            tst_tambahan=pl.when(ended).then(pl.lit(date(calendar.year, 6, 30))),
            soft_delete=pl.lit(0, dtype=pl.Int32),
        )
        for name, rows, who, what, ended in parts
    )


def _users(block: Block, people: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """`pengguna`, `role_pengguna`, and truth rows of operators without a PTK row.

    One operator a school: the administrator, else the last of the staff; for some schools somebody without a PTK row.
    Some schools have one more application user whose role is another.
    """
    draws, shares = block.draws, block.world.dirt["operators"]
    last = people.group_by("school", maintain_order=True).agg(
        ptk_id=pl.coalesce(
            pl.col("ptk_id").filter(pl.col("jenis_ptk_id") == TYPED_OFFICE).first(), pl.col("ptk_id").last()
        ),
        nama=pl.coalesce(pl.col("nama").filter(pl.col("jenis_ptk_id") == TYPED_OFFICE).first(), pl.col("nama").last()),
    )
    schools = block.schools.select("school", "sekolah_id", "province", "outside_operator").join(
        last, on="school", how="left", maintain_order="left"
    )
    outside = pl.col("outside_operator") == 1
    drawn = schools.with_columns(
        row=pl.col("school"), girl=draws.happens("user/girl", 0.4, "school"), adult=pl.lit(value=True)
    )
    drawn = sample(drawn, block.world.model, draws, "user").with_columns(own=spell(block.world.model))
    operators = drawn.select(
        pengguna_id=uuid(draws, "pengguna", "school"),
        sekolah_id="sekolah_id",
        ptk_id=pl.when(~outside).then("ptk_id"),
        username=pl.format("operator.{}.{}@example.org", pl.lit(block.number), "school"),
        nama=pl.when(outside).then("own").otherwise("nama"),
        peran_id=pl.lit(OPERATOR, dtype=pl.Int32),
        approval=~draws.happens("user/approval", shares["not_approved"], "school"),
        expired=draws.happens("user/expired", shares["role_expired"], "school"),
        outside=outside,
    )
    more = drawn.filter(draws.happens("user/other", shares["other_role"], "school")).select(
        pengguna_id=uuid(draws, "pengguna/other", "school"),
        sekolah_id="sekolah_id",
        ptk_id="ptk_id",
        username=pl.format("pengguna.{}.{}@example.org", pl.lit(block.number), "school"),
        nama="nama",
        peran_id=pl.lit(OTHER_ROLE, dtype=pl.Int32),
        approval=pl.lit(value=True),
        expired=pl.lit(value=False),
        outside=pl.lit(value=False),
    )
    users = pl.concat([operators, more]).with_row_index("row")
    return _user_rows(users), _role_rows(block, users), _operator_truth(operators)


def _user_rows(users: pl.DataFrame) -> pl.DataFrame:
    """`pengguna`; the source's password column is not made."""
    return users.select(
        "pengguna_id",
        "sekolah_id",
        peserta_didik_id=pl.lit(None, dtype=pl.String),
        ptk_id="ptk_id",
        username="username",
        nama="nama",
        aktif=pl.lit(value=True),
        soft_delete=pl.lit(0, dtype=pl.Int32),
    )


def _role_rows(block: Block, users: pl.DataFrame) -> pl.DataFrame:
    """`role_pengguna`."""
    return users.select(
        id_role_pengguna=uuid(block.draws, "role_pengguna"),
        pengguna_id="pengguna_id",
        peran_id="peran_id",
        sekolah_id="sekolah_id",
        approval_peran="approval",
        tgl_kadaluwarsa=pl.when("expired").then(pl.lit(date(block.world.calendar.year, 6, 30))),
    )


def _operator_truth(operators: pl.DataFrame) -> pl.DataFrame:
    outside = operators.filter("outside").with_columns(
        operator_without_ptk=pl.lit(value=True), role_expired="expired", not_approved=~pl.col("approval")
    )
    return outside.select(
        person_id="pengguna_id",
        person_kind=pl.lit("pengguna"),
        true_person_id="pengguna_id",
        dirt=dirt_words(list(OPERATOR_KINDS)),
        event=pl.lit("created"),
    )
