"""Pupils of one block: people, registrations, classes and memberships."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import polars as pl

from belajarid_recon.population.block import VILLAGES, Block, companions, expand
from belajarid_recon.population.identifiers import PUPIL_SERIALS, nik, nisn, phone
from belajarid_recon.population.names import sample, sample_ends, spell
from belajarid_recon.population.places import village_code
from belajarid_recon.population.randomness import uuid
from belajarid_recon.population.sizing import grade_table
from belajarid_recon.population.spelling import COMMON_KINDS, RARE_KINDS, dirt_words, roll_name_dirt, soil_names

_PERSON_KINDS = ("missing_nisn", "missing_nik", "filler_nik", "shared_nik", "typed_twice", "no_class", "soft_deleted", "left_already",
                 "earlier_registration", "stale_class", "extracurricular", "one_word", "upper_uuid")  # fmt: skip
PUPIL_KINDS = _PERSON_KINDS + RARE_KINDS + COMMON_KINDS
"""Dirt kinds of pupils, as truth names them."""

EXTRACURRICULAR = 51


@dataclass(frozen=True, slots=True)
class PupilTables:
    """The pupil side of a block. `homerooms` is (rombongan_belajar_id, school) of the regular classes, for the staff side."""

    peserta_didik: pl.DataFrame
    registrasi_peserta_didik: pl.DataFrame
    rombongan_belajar: pl.DataFrame
    anggota_rombel: pl.DataFrame
    truth: pl.DataFrame


def make_pupils(block: Block) -> PupilTables:
    """Make the pupils of a block, true people first, then the rows typed a second time."""
    grades = _grade_counts(block)
    classes = _classes(block, grades)
    people = _people(block, grades)
    everybody = pl.concat([people, _typed_again(block, people, grades)], how="diagonal")
    everybody = everybody.with_columns(peserta_didik_id=uuid(block.draws, "peserta_didik", "line"))
    original = everybody.head(people.height)["peserta_didik_id"]
    everybody = everybody.with_columns(true_person_id=block.lookup(original, pl.col("row")))
    return PupilTables(
        peserta_didik=_person_rows(everybody),
        registrasi_peserta_didik=_registrations(block, everybody),
        rombongan_belajar=classes.drop("key"),
        anggota_rombel=_memberships(block, everybody, classes),
        truth=everybody.select(
            person_id="peserta_didik_id",
            person_kind=pl.lit("peserta_didik"),
            true_person_id="true_person_id",
            dirt=dirt_words(list(PUPIL_KINDS)),
            event=pl.lit("created"),
        ),
    )


def _grade_counts(block: Block) -> pl.DataFrame:
    """Pupils of each school and grade: school, grade, pupils, classes, and `key`, where the grade's classes start."""
    rows = block.schools.select("school", "bentuk", "pupils", "class_size", "extra").join(
        grade_table(), on="bentuk", how="left"
    )
    rows = rows.sort("school", "grade").with_columns(row=pl.int_range(pl.len()))
    kept = (pl.col("grade") < 13) | block.draws.happens("last-grade", pl.col("extra"))
    weight = pl.col("weight") * (0.85 + 0.3 * block.draws.unit("grade-size")) * kept.cast(pl.Float64)
    share = weight.cum_sum().over("school") / weight.sum().over("school")
    upper = (share * pl.col("pupils")).round().cast(pl.Int64)
    counts = rows.with_columns(upper=upper).with_columns(
        count=pl.col("upper") - pl.col("upper").shift(1, fill_value=0).over("school")
    )
    number = (pl.col("count") / pl.col("class_size")).ceil().cast(pl.Int64)
    counts = counts.with_columns(classes=number).with_columns(key=number.cum_sum() - number)
    return counts.filter(pl.col("count") > 0).select(
        "school", "bentuk", "grade", "first", "last", "count", "classes", "key"
    )


def _classes(block: Block, grades: pl.DataFrame) -> pl.DataFrame:
    """`rombongan_belajar`: regular classes in key order, then one extracurricular and one class of the semester before per school."""
    regular = expand(grades, "classes", "number").select("school", "grade", "number", jenis_rombel=pl.lit(1))
    once = grades.group_by("school", maintain_order=True).agg(pl.col("grade").first())
    extra = once.select("school", "grade", number=pl.lit(0, dtype=pl.Int64), jenis_rombel=pl.lit(EXTRACURRICULAR))
    stale = once.select("school", "grade", number=pl.lit(0, dtype=pl.Int64), jenis_rombel=pl.lit(1))
    rows = pl.concat([regular, extra, stale]).with_columns(key=pl.int_range(pl.len()))
    is_stale = pl.col("key") >= regular.height + extra.height
    calendar = block.world.calendar
    letter = block.lookup(pl.Series([chr(65 + index) for index in range(26)]), pl.col("number") % 26)
    serial = pl.when(pl.col("number") >= 26).then((pl.col("number") // 26).cast(pl.String)).otherwise(pl.lit(""))
    label = (
        pl.when(pl.col("grade") > 13)
        .then(pl.lit("Kelompok "))
        .otherwise(pl.lit("Kelas ") + pl.col("grade").cast(pl.String))
    )
    name = (
        pl.when(pl.col("jenis_rombel") == EXTRACURRICULAR)
        .then(pl.lit("Pramuka"))
        .otherwise(pl.concat_str([label, letter, serial]))
    )
    return rows.select(
        rombongan_belajar_id=uuid(block.draws, "rombongan_belajar", "key"),
        semester_id=pl.when(is_stale).then(pl.lit(calendar.semester_before)).otherwise(pl.lit(calendar.semester)),
        sekolah_id=block.at_school("sekolah_id"),
        tingkat_pendidikan_id=pl.col("grade").cast(pl.Int32),
        nama=name,
        jenis_rombel=pl.col("jenis_rombel").cast(pl.Int32),
        soft_delete=pl.lit(0, dtype=pl.Int32),
        key="key",
    )


def _people(block: Block, grades: pl.DataFrame) -> pl.DataFrame:
    """One row a true pupil: school, grade, class key, names, birth date, identifiers, and a Boolean for each kind of dirt."""
    draws, model, shares = block.draws, block.world.model, block.world.dirt["pupils"]
    seats = expand(grades, "count", "seat").with_columns(row=pl.int_range(pl.len(), dtype=pl.UInt32))
    seats = seats.with_columns(
        line=pl.col("row"),
        rombel=pl.col("key") + pl.col("seat") * pl.col("classes") // pl.col("count"),
        girl=draws.happens("girl", 0.487),
        adult=pl.lit(value=False),
        province=block.at_school("province"),
        jenjang=block.at_school("jenjang"),
        tanggal_lahir=_birth_date(block),
    )
    named = sample(seats, model, draws, "pupil").with_columns(
        *_roll(block, shares), nama=spell(model), one_word=pl.col("t5").is_null()
    )
    named = named.drop("t1", "t2", "t3", "t4", "t5")
    always = pl.lit(value=True)
    mothers = sample_ends(named.select("row", "province", girl=always, adult=always), model, draws, "mother")
    mother = spell(model, ("t1", "t5"))
    named = named.with_columns(mothers.select(nama_ibu_kandung=mother)).with_columns(other="nama_ibu_kandung")
    return _identify(block, soil_names(named, draws, "pupil"))


def _birth_date(block: Block) -> pl.Expr:
    """Age by grade; adults and late starters in equivalency programmes, one repeater in fifty elsewhere."""
    draws = block.draws
    grade, form = pl.col("grade"), pl.col("bentuk")
    youngest = (
        pl.when(form == 3)
        .then(0.3)
        .when(form == 2)
        .then(2.0)
        .when(grade > 13)
        .then(3.9 + 1.1 * (grade - 71))
        .otherwise(grade + 5.0)
    )
    width = pl.when(form == 3).then(3.5).when(form == 2).then(2.2).otherwise(1.15)
    late = (
        pl.when(form.is_in([27, 40]) & (grade >= 4))
        .then(draws.unit("late") ** 3 * 14)
        .otherwise(draws.happens("repeater", 0.02).cast(pl.Float64))
    )
    age_days = (
        youngest + 1.0 + width * draws.unit("age") - pl.when(grade > 13).then(1.0).otherwise(0.0) + late
    ) * 365.25
    start = pl.lit(date(block.world.calendar.year, 7, 1))
    return start - pl.duration(days=age_days.cast(pl.Int64))


def _roll(block: Block, shares: dict[str, float]) -> list[pl.Expr]:
    """One Boolean a kind of dirt; kinds that exclude each other share a draw."""
    draws = block.draws
    number = draws.unit("dirt/nik")
    edges = [shares["missing_nik"], shares["filler_nik"], shares["shared_nik"]]
    upto = [sum(edges[: index + 1]) for index in range(3)]
    life = draws.unit("dirt/life")
    gone, deleted = shares["left_already"], shares["soft_deleted"]
    apart = life >= gone + deleted
    paud = pl.col("jenjang") == "paud"
    rolled = {
        "missing_nisn": draws.happens(
            "dirt/nisn", pl.when(paud).then(shares["missing_nisn_paud"]).otherwise(shares["missing_nisn"])
        ),
        "missing_nik": number < upto[0],
        "filler_nik": (number >= upto[0]) & (number < upto[1]),
        "shared_nik": (number >= upto[1]) & (number < upto[2]),
        "left_already": life < gone,
        "soft_deleted": (life >= gone) & ~apart,
        "no_class": draws.happens("dirt/class", shares["no_class"]) & apart,
        "typed_twice": draws.happens("dirt/twice", shares["typed_twice"]) & apart,
        "earlier_registration": draws.happens("dirt/earlier", shares["earlier_registration"]),
        "stale_class": draws.happens("dirt/stale", shares["stale_class"]) & apart,
        "extracurricular": draws.happens("dirt/extra", shares["extracurricular"]) & apart,
        "upper_uuid": draws.happens("dirt/uuid", shares["upper_uuid"]),
    }
    return [column.alias(kind) for kind, column in rolled.items()] + roll_name_dirt(draws, "pupil", shares)


def _identify(block: Block, people: pl.DataFrame) -> pl.DataFrame:
    """Add nik, nisn and the contact fields. A shared NIK is the one of the next pupil but 40 of the block that has one."""
    draws = block.draws
    people = people.with_columns(nik=nik(block, "pupil", PUPIL_SERIALS), nisn=nisn(block))
    own = pl.col("missing_nik") | pl.col("filler_nik") | pl.col("shared_nik")
    lender = pl.when(~own).then("nik").shift(-40).backward_fill()
    filler = pl.when(pl.col("row") % 3 == 0).then(pl.lit("9" * 16)).otherwise(pl.lit("0" * 16))
    shared = pl.col("shared_nik") & lender.is_not_null()
    place = block.at_school("kabupaten_kota").str.replace(r"^(Kab\.|Kota) ", "")
    village = village_code(block.at_school("kode_kec"), draws.below("village", VILLAGES))
    return people.with_columns(
        shared_nik=shared,
        nik=pl.when("missing_nik")
        .then(None)
        .when("filler_nik")
        .then(filler)
        .when(shared)
        .then(lender)
        .otherwise("nik"),
        nisn=pl.when("missing_nisn").then(None).otherwise("nisn"),
        tempat_lahir=place,
        kode_wilayah=pl.when(draws.happens("address", 0.5))
        .then(village)
        .otherwise(block.at_school("kode_kec").str.pad_end(8)),
        email=pl.when(draws.happens("email", 0.12)).then(
            pl.format("murid.{}.{}@example.org", pl.lit(block.number), "row")
        ),
        nomor_telepon_seluler=pl.when(draws.happens("phone", 0.55)).then(phone(draws, "pupil")),
        kewarganegaraan=pl.when(draws.happens("foreign", 0.0005)).then(pl.lit("MY")).otherwise(pl.lit("ID")),
        again=pl.lit(value=False),
    )


def _typed_again(block: Block, people: pl.DataFrame, grades: pl.DataFrame) -> pl.DataFrame:
    """The second rows of children typed twice: same name, birth date and NISN, half of them at the next school of the same form."""
    draws, shares = block.draws, block.world.dirt["pupils"]
    neighbour = block.lookup(companions(block.schools, "bentuk"), pl.col("school"))
    elsewhere = draws.happens("twice/where", shares["typed_twice_elsewhere"])
    twice = people.filter("typed_twice").with_columns(
        line=people.height + pl.int_range(pl.len(), dtype=pl.UInt32),
        school=pl.when(elsewhere).then(neighbour).otherwise("school"),
        nik=pl.when(draws.happens("twice/nik", 0.5)).then("nik"),
        email=pl.lit(None, dtype=pl.String),
        again=pl.lit(value=True),
        **{
            kind: pl.lit(value=False)
            for kind in ("earlier_registration", "stale_class", "extracurricular", "upper_uuid", "no_class")
        },
    )
    places = grades.select("school", "grade", place="key")
    joined = twice.join(places, on=["school", "grade"], how="left", maintain_order="left")
    return joined.with_columns(rombel=pl.col("place"), no_class=pl.col("place").is_null()).drop("place")


def _person_rows(everybody: pl.DataFrame) -> pl.DataFrame:
    """`peserta_didik`."""
    return everybody.select(
        "peserta_didik_id",
        "nama",
        jenis_kelamin=pl.when("girl").then(pl.lit("P")).otherwise(pl.lit("L")),
        nisn="nisn",
        nik="nik",
        tempat_lahir="tempat_lahir",
        tanggal_lahir="tanggal_lahir",
        nama_ibu_kandung="nama_ibu_kandung",
        kode_wilayah="kode_wilayah",
        email="email",
        nomor_telepon_seluler="nomor_telepon_seluler",
        kewarganegaraan="kewarganegaraan",
        soft_delete=pl.col("soft_deleted").cast(pl.Int32),
    )


def _registrations(block: Block, everybody: pl.DataFrame) -> pl.DataFrame:
    """`registrasi_peserta_didik`: the registration at the present school, and an ended one at another school for some."""
    draws, calendar = block.draws, block.world.calendar
    years = (pl.col("grade") - pl.col("first")).clip(upper_bound=5)
    arrived = draws.happens("moved-in", 0.06) & (pl.col("grade") > pl.col("first"))
    entry = pl.date(calendar.year - years, 7, 13) + pl.duration(days=draws.below("entry", 8).cast(pl.Int64))
    last = pl.col("grade") == pl.col("last")
    codes = pl.Series(["1", "1", "1", "2", "2", "4", "5", "3", "6", "Z"])
    code = block.lookup(codes, draws.below("exit", len(codes)))
    code = pl.when(last & ~pl.col("soft_deleted")).then(pl.lit("1")).otherwise(code)
    ended = (
        pl.when(code == "1")
        .then(pl.date(calendar.year, 6, 20))
        .otherwise(pl.lit(calendar.day) - pl.duration(days=10 + draws.below("exit-day", 90).cast(pl.Int64)))
    )
    current = everybody.select(
        registrasi_id=uuid(draws, "registrasi", "line"),
        peserta_didik_id=_referred(),
        sekolah_id=block.at_school("sekolah_id"),
        jenis_pendaftaran_id=pl.when(arrived).then(2).otherwise(1).cast(pl.Int32),
        nipd=pl.format("{}{}", calendar.year - years, pl.col("line").cast(pl.String).str.zfill(5)),
        tanggal_masuk_sekolah=entry,
        jenis_keluar_id=pl.when("left_already").then(code),
        tanggal_keluar=pl.when("left_already").then(ended),
        soft_delete=pl.col("soft_deleted").cast(pl.Int32),
    )
    return pl.concat([current, _earlier(block, everybody)])


def _earlier(block: Block, everybody: pl.DataFrame) -> pl.DataFrame:
    """Ended registrations: moved away from the next school of the form, or graduated from some school of the block."""
    draws, calendar = block.draws, block.world.calendar
    chosen = everybody.filter("earlier_registration")
    neighbour = block.lookup(companions(block.schools, "bentuk"), pl.col("school"))
    some = draws.below("earlier/school", block.schools.height)
    moved = pl.col("jenjang").is_in(["sd", "paud"])
    ended = pl.date(calendar.year - (pl.col("grade") - pl.col("first")).clip(upper_bound=5), 6, 20)
    return chosen.select(
        registrasi_id=uuid(draws, "registrasi/earlier", "line"),
        peserta_didik_id=_referred(),
        sekolah_id=block.at_school("sekolah_id", pl.when(moved).then(neighbour).otherwise(some)),
        jenis_pendaftaran_id=pl.lit(1, dtype=pl.Int32),
        nipd=pl.lit(None, dtype=pl.String),
        tanggal_masuk_sekolah=ended.dt.offset_by("-3y"),
        jenis_keluar_id=pl.when(moved).then(pl.lit("2")).otherwise(pl.lit("1")),
        tanggal_keluar=ended,
        soft_delete=pl.lit(0, dtype=pl.Int32),
    )


def _referred() -> pl.Expr:
    """The person's id as referring rows have it: upper case on some."""
    return pl.when("upper_uuid").then(pl.col("peserta_didik_id").str.to_uppercase()).otherwise("peserta_didik_id")


def _memberships(block: Block, everybody: pl.DataFrame, classes: pl.DataFrame) -> pl.DataFrame:
    """`anggota_rombel`: the class, an extracurricular one for some, and a class of the semester before for some."""
    ids = classes["rombongan_belajar_id"]
    schools = block.schools.height
    regular = classes.height - 2 * schools
    seated = ~pl.col("no_class") & ~pl.col("left_already")
    parts = (
        ("regular", seated, pl.col("rombel")),
        ("extra", pl.col("extracurricular"), pl.col("school") + regular),
        ("stale", pl.col("stale_class"), pl.col("school") + regular + schools),
    )
    calendar = block.world.calendar
    fresh = pl.when(pl.col("grade") == pl.col("first")).then(1).otherwise(3)
    kind = fresh if calendar.semester.endswith("1") else pl.lit(6)
    return pl.concat(
        everybody.filter(mask).select(
            anggota_rombel_id=uuid(block.draws, f"anggota_rombel/{name}", "line"),
            rombongan_belajar_id=block.lookup(ids, index),
            peserta_didik_id="peserta_didik_id",
            jenis_pendaftaran_id=kind.cast(pl.Int32),
            soft_delete=pl.col("soft_deleted").cast(pl.Int32),
        )
        for name, mask, index in parts
    )
