"""A week in the life of a block's pupils."""

from __future__ import annotations

from datetime import date

import polars as pl

from belajarid_recon.population.block import VILLAGES
from belajarid_recon.population.identifiers import entrant_serials, nik, nisn_of_week, phone
from belajarid_recon.population.names import sample, sample_ends, spell
from belajarid_recon.population.places import village_code
from belajarid_recon.population.randomness import uuid
from belajarid_recon.population.week import BlockWeek, corrected_name, roll_event

_MOVES = ("transfer", "transfer_to_kesetaraan", "retyped", "class_changed")
_ENDS = ("transfer", "transfer_to_kesetaraan", "retyped", "moved_away", "left")
_LEFT_CODES = pl.Series(["5", "4", "4", "3", "6", "7", "Z", "5"])


def active_pupils(week: BlockWeek) -> pl.DataFrame:
    """Active pupils in a fixed order, with their class.

    Columns: row, person, registrasi_id, school, jenjang, grade (null: no class), anggota_rombel_id, rombongan_belajar_id.
    """
    registrations = week.tables["registrasi_peserta_didik"].filter(
        pl.col("jenis_keluar_id").is_null() & (pl.col("soft_delete") == 0)
    )
    registrations = registrations.with_columns(person=pl.col("peserta_didik_id").str.to_lowercase())
    schools = week.block.schools.select("sekolah_id", "school", "jenjang")
    one = registrations.unique("person", keep="first", maintain_order=True).join(
        schools, on="sekolah_id", how="inner", maintain_order="left"
    )
    classes = week.classes().select("rombongan_belajar_id", "grade")
    members = (
        week.tables["anggota_rombel"]
        .filter(pl.col("soft_delete") == 0)
        .join(classes, on="rombongan_belajar_id", how="inner")
    )
    members = members.select(
        "anggota_rombel_id", "rombongan_belajar_id", "grade", person=pl.col("peserta_didik_id").str.to_lowercase()
    )
    joined = one.join(
        members.unique("person", keep="first", maintain_order=True), on="person", how="left", maintain_order="left"
    )
    chosen = joined.select(
        "person", "registrasi_id", "school", "jenjang", "grade", "anggota_rombel_id", "rombongan_belajar_id"
    )
    return chosen.with_row_index("row")


def advance_pupils(week: BlockWeek) -> None:
    """Transfers, leavers, corrections, entrants and the rest of drift.toml's [pupils]."""
    draws, rates = week.block.draws, dict(week.rates["pupils"])
    entered, class_given = rates.pop("entered"), rates.pop("class_given")
    active = active_pupils(week)
    event = roll_event(draws.unit("pupil/event"), rates)
    unplaced = pl.col("grade").is_null()
    given = unplaced & draws.happens("pupil/class", class_given)
    rolled = active.with_columns(
        event=pl.when(given).then(pl.lit("class_given")).when(~(unplaced & event.is_in(_MOVES))).then(event)
    )
    touched = _find_targets(week, rolled.filter(pl.col("event").is_not_null()))
    _end_registrations(week, touched)
    _give_classes(week, touched)
    _correct_names(week, touched)
    week.record(touched.select("person", "event"))
    _type_again(week, touched.filter(pl.col("event") == "retyped"))
    _enter(week, round(entered * active.height))


def _find_targets(week: BlockWeek, touched: pl.DataFrame) -> pl.DataFrame:
    """Add the class a moving pupil goes to: `target` and `target_school`. A move that finds none does not happen."""
    draws = week.block.draws
    classes = week.classes().with_row_index("number")
    groups = classes.group_by("jenjang", "grade").agg(start=pl.col("number").min(), size=pl.len())
    same = touched.filter(pl.col("event") == "class_changed")
    rooms = classes.group_by("school", "grade").agg(start=pl.col("number").min(), size=pl.len())
    same = same.join(rooms, on=["school", "grade"], how="left", maintain_order="left")
    nearby = touched.filter(pl.col("event").is_in(["transfer", "transfer_to_kesetaraan", "retyped"]))
    nearby = nearby.with_columns(
        old=pl.col("jenjang"),
        jenjang=pl.when(pl.col("event") == "transfer_to_kesetaraan").then(pl.lit("kesetaraan")).otherwise("jenjang"),
    )
    nearby = (
        nearby.join(groups, on=["jenjang", "grade"], how="left", maintain_order="left")
        .drop("jenjang")
        .rename({"old": "jenjang"})
    )
    given = touched.filter(pl.col("event") == "class_given").join(
        classes.group_by("school").agg(start=pl.col("number").min(), size=pl.len()),
        on="school",
        how="left",
        maintain_order="left",
    )
    movers = pl.concat([same, nearby, given], how="diagonal").filter(pl.col("size").is_not_null())
    movers = movers.with_columns(
        number=(pl.col("start") + draws.below("pupil/target", pl.col("size"))).cast(pl.UInt32)
    ).drop("start", "size")
    places = classes.select("number", target="rombongan_belajar_id", target_school="school", target_grade="grade")
    movers = movers.join(places, on="number", how="left", maintain_order="left").drop("number")
    elsewhere = pl.col("target_school") != pl.col("school")
    other_class = pl.col("target") != pl.col("rombongan_belajar_id")
    may_stay = pl.col("event") == "class_given"
    fits = pl.when(pl.col("event") == "class_changed").then(other_class).otherwise(elsewhere | may_stay)
    staying = touched.filter(~pl.col("event").is_in([*_MOVES, "class_given"]))
    return pl.concat([staying, movers.filter(fits)], how="diagonal").sort("row")


def _day_of_week(week: BlockWeek, stream: str) -> pl.Expr:
    """A day of the week that has passed."""
    return pl.lit(week.day) - pl.duration(days=week.block.draws.below(stream, 7).cast(pl.Int64))


def _end_registrations(week: BlockWeek, touched: pl.DataFrame) -> None:
    """End the registrations of those who leave their school, and their memberships with them."""
    code = week.block.lookup(_LEFT_CODES, week.block.draws.below("pupil/code", len(_LEFT_CODES)))
    leaving = touched.filter(pl.col("event").is_in(_ENDS))
    changes = leaving.select(
        "registrasi_id",
        jenis_keluar_id=pl.when(pl.col("event") == "left").then(code).otherwise(pl.lit("2")),
        tanggal_keluar=_day_of_week(week, "pupil/day"),
    )
    week.edit("registrasi_peserta_didik", "registrasi_id", changes)
    members = week.tables["anggota_rombel"].select(
        "anggota_rombel_id", person=pl.col("peserta_didik_id").str.to_lowercase()
    )
    ended = members.join(leaving.select("person"), on="person", how="semi").select(
        "anggota_rombel_id", soft_delete=pl.lit(1)
    )
    week.edit("anggota_rombel", "anggota_rombel_id", ended)


def _give_classes(week: BlockWeek, touched: pl.DataFrame) -> None:
    """New registrations and memberships of transferred pupils, new memberships of the unplaced, and changed classes."""
    arrived = touched.filter(pl.col("event").is_in(["transfer", "transfer_to_kesetaraan"]))
    week.append("registrasi_peserta_didik", _registrations(week, arrived, "person", kind=2))
    placed = touched.filter(pl.col("event").is_in(["transfer", "transfer_to_kesetaraan", "class_given"]))
    week.append("anggota_rombel", _memberships(week, placed, "person"))
    changed = touched.filter(pl.col("event") == "class_changed")
    week.edit("anggota_rombel", "anggota_rombel_id", changed.select("anggota_rombel_id", rombongan_belajar_id="target"))


def _registrations(week: BlockWeek, people: pl.DataFrame, person: str, kind: int) -> pl.DataFrame:
    draws = week.block.draws
    return people.select(
        registrasi_id=uuid(draws, f"registrasi/{person}/{kind}"),
        peserta_didik_id=person,
        sekolah_id=week.block.at_school("sekolah_id", "target_school"),
        jenis_pendaftaran_id=pl.lit(kind),
        nipd=pl.format("{}{}", pl.lit(week.day.strftime("%y%m%d")), pl.col("row").cast(pl.String).str.zfill(5)),
        tanggal_masuk_sekolah=_day_of_week(week, "pupil/day"),
        soft_delete=pl.lit(0),
    )


def _memberships(week: BlockWeek, people: pl.DataFrame, person: str) -> pl.DataFrame:
    return people.select(
        anggota_rombel_id=uuid(week.block.draws, f"anggota/{person}"),
        rombongan_belajar_id="target",
        peserta_didik_id=person,
        jenis_pendaftaran_id=pl.lit(2),
        soft_delete=pl.lit(0),
    )


def _correct_names(week: BlockWeek, touched: pl.DataFrame) -> None:
    """A corrected name arrives in the person row, without any action of the school (reference, section 1.7)."""
    corrected = touched.filter(pl.col("event") == "name_corrected").select(peserta_didik_id="person")
    names = (
        week.tables["peserta_didik"]
        .select("peserta_didik_id", "nama")
        .join(corrected, on="peserta_didik_id", how="semi")
    )
    week.edit("peserta_didik", "peserta_didik_id", names.select("peserta_didik_id", nama=corrected_name()))


def _type_again(week: BlockWeek, again: pl.DataFrame) -> None:
    """The second person row of a child whose transfer was typed instead of pulled: same NISN, name and birth date, another id."""
    known = week.tables["peserta_didik"].join(
        again.select("person", "row"), left_on="peserta_didik_id", right_on="person", how="inner"
    )
    true = week.truth.select("person_id", "true_person_id")
    known = known.join(true, left_on="peserta_didik_id", right_on="person_id", how="left").sort("row")
    fresh = known.with_columns(
        peserta_didik_id=uuid(week.block.draws, "peserta_didik/again"),
        nama=pl.col("nama").str.to_uppercase(),
        nik=pl.lit(None, dtype=pl.String),
        email=pl.lit(None, dtype=pl.String),
    )
    week.append("peserta_didik", fresh.drop("row", "true_person_id"))
    placed = again.sort("row").with_columns(fresh=fresh["peserta_didik_id"])
    week.append("registrasi_peserta_didik", _registrations(week, placed, "fresh", kind=2))
    week.append("anggota_rombel", _memberships(week, placed, "fresh"))
    week.add_people(
        fresh.select(
            "true_person_id",
            person="peserta_didik_id",
            person_kind=pl.lit("peserta_didik"),
            event=pl.lit("retyped_double"),
        )
    )


def _enter(week: BlockWeek, count: int) -> None:
    """New pupils, each in a drawn class of the block: new registration, class, and an age that fits the grade."""
    block, draws = week.block, week.block.draws
    classes = week.classes().with_row_index("number")
    rows = pl.DataFrame({"row": pl.int_range(count, dtype=pl.UInt32, eager=True)})
    rows = rows.with_columns(number=draws.below("enter/class", classes.height).cast(pl.UInt32))
    rows = rows.join(classes, on="number", how="left", maintain_order="left")
    grade = pl.when(pl.col("grade") > 13).then(pl.col("grade") - 72).otherwise("grade")
    age_days = ((grade + 6.0 + 1.1 * draws.unit("enter/age")) * 365.25).cast(pl.Int64)
    rows = rows.with_columns(
        girl=draws.happens("enter/girl", 0.487),
        adult=pl.lit(value=False),
        province=block.at_school("province"),
        tanggal_lahir=pl.lit(date(block.world.calendar.year, 7, 1)) - pl.duration(days=age_days),
        target="rombongan_belajar_id",
        target_school="school",
        person=uuid(draws, "peserta_didik/enter"),
    )
    mothers = sample_ends(
        rows.select("row", "province", girl=pl.lit(value=True), adult=pl.lit(value=True)),
        block.world.model,
        draws,
        "enter/mother",
    )
    people = sample(rows, block.world.model, draws, "enter").with_columns(
        nama=spell(block.world.model),
        nik=nik(block, "entrant", entrant_serials(week.number)),
        nisn=nisn_of_week(block.number, week.number),
    )
    people = people.with_columns(mothers.select(nama_ibu_kandung=spell(block.world.model, ("t1", "t5"))))
    week.append("peserta_didik", _new_people(week, people))
    week.append("registrasi_peserta_didik", _registrations(week, people, "person", kind=1))
    week.append("anggota_rombel", _memberships(week, people.with_columns(entrant="person"), "entrant"))
    week.add_people(
        people.select("person", true_person_id="person", person_kind=pl.lit("peserta_didik"), event=pl.lit("entered"))
    )


def _new_people(week: BlockWeek, people: pl.DataFrame) -> pl.DataFrame:
    """`peserta_didik` rows of entrants; half have no NISN yet."""
    block, draws = week.block, week.block.draws
    return people.select(
        "nama",
        "nik",
        "tanggal_lahir",
        "nama_ibu_kandung",
        peserta_didik_id="person",
        jenis_kelamin=pl.when("girl").then(pl.lit("P")).otherwise(pl.lit("L")),
        nisn=pl.when(draws.happens("enter/nisn", 0.5)).then("nisn"),
        tempat_lahir=block.at_school("kabupaten_kota").str.replace(r"^(Kab\.|Kota) ", ""),
        kode_wilayah=village_code(block.at_school("kode_kec"), draws.below("enter/village", VILLAGES)),
        nomor_telepon_seluler=pl.when(draws.happens("enter/phone", 0.55)).then(phone(draws, "enter")),
        kewarganegaraan=pl.lit("ID"),
        soft_delete=pl.lit(0),
    )


def plant_exits(week: BlockWeek, regency: str, share: float) -> None:
    """The planted bad slice: that share of a regency's active pupils gets a false exit code, and nothing else changes.

    The code is "graduated", as if a school operator's mass action went wrong. Pupils the week touched are spared.
    """
    block = week.block
    inside = block.schools.filter(pl.col("kode_kab") == regency).select("school")
    quiet = week.truth.filter(pl.col("event") == "").select(person="person_id")
    active = active_pupils(week).join(inside, on="school", how="semi", maintain_order="left")
    count = round(share * active.height)
    ordered = active.join(quiet, on="person", how="semi", maintain_order="left").sort(block.draws.bits("plant"))
    planted = ordered.head(count).with_columns(event=pl.lit("planted"))
    changes = planted.select("registrasi_id", jenis_keluar_id=pl.lit("1"), tanggal_keluar=pl.lit(week.day))
    week.edit("registrasi_peserta_didik", "registrasi_id", changes)
    week.record(planted.select("person", "event"))
