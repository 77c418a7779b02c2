"""A small extract, table by table, for tests of every stage.

    world = ExtractBuilder()
    school = world.school(form=5)
    world.pupil("Siti Aminah", school, grade=3)
    folder = world.write(tmp_path / "extract")

Everything is synthetic; ids are the same in every run. `tiny_extract` has a school of each jenjang with pupils, a
teacher, a head and an operator.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from belajarid_recon.desired.accounts import DesiredRules, desired_accounts
from belajarid_recon.records import (
    Doubts,
    Period,
    Records,
    Reference,
    add_counts,
    check_counts,
    evidence_seed,
    find_duplicates,
    make_records,
    make_reference,
)
from belajarid_recon.regulations import known_regulations
from belajarid_recon.schemas import EXTRACT, ColumnKind, PersonKind
from belajarid_recon.secrets import Secret
from belajarid_recon.settings import Recovery
from belajarid_recon.sources.extract import Extract, open_extract
from belajarid_recon.sources.parts import Cut, TableCounts, read_broadcast, shuffle_extract

DAY = date(2024, 9, 2)
"""The date tests run on: semester 20241, school year 2024."""

KABKOTA = "026100"
OTHER_KABKOTA = "026000"

FORMS = {"paud": 1, "sd": 5, "smp": 6, "sma": 13, "smk": 15, "slb": 29, "kesetaraan": 27}
GRADES = {"paud": 71, "sd": 1, "smp": 7, "sma": 10, "smk": 13, "slb": 5, "kesetaraan": 12}
"""A school form of each jenjang, and a grade that every regulation since 2021 takes there."""

PHYSICAL = {
    ColumnKind.UUID: pl.String(),
    ColumnKind.TEXT: pl.String(),
    ColumnKind.CODE: pl.Int64(),
    ColumnKind.FLAG: pl.Int8(),
    ColumnKind.DATE: pl.Date(),
}

_NAMESPACE = uuid.UUID("6f2f0c1e-5f5b-4d0e-9c56-3a3a1d5f7a10")


class ExtractBuilder:
    """Rows of the twelve tables, added by what they mean. `tables` may be changed freely before `write`."""

    def __init__(self) -> None:
        self.tables: dict[str, list[dict[str, Any]]] = {table: [] for table in EXTRACT}
        self._count = 0
        self._region("000000", "Indonesia", 0, None)
        self._region("020000", "Prov. Jawa Barat", 1, "000000")
        self._region(KABKOTA, "Kota Bandung", 2, "020000")
        self._region("026101", "Kec. Coblong", 3, KABKOTA)
        self._region("026101AA", "Dago", 4, "026101")
        self._region(OTHER_KABKOTA, "Kab. Bogor", 2, "020000")
        self._region("026001", "Kec. Ciawi", 3, OTHER_KABKOTA)

    def new_id(self) -> str:
        """The next id, as text."""
        self._count += 1
        return str(uuid.uuid5(_NAMESPACE, str(self._count)))

    def add(self, table: str, **values: object) -> dict[str, Any]:
        """Add one row; columns not named are null. Returns it, to be changed."""
        row: dict[str, Any] = dict.fromkeys(EXTRACT[table]) | values
        self.tables[table].append(row)
        return row

    def school(self, form: int = 5, **values: object) -> str:
        """An open school with an NPSN, in Kota Bandung; returns its id."""
        row = {"sekolah_id": self.new_id(), "nama": "Sekolah", "npsn": f"{20_000_000 + self._count}"}
        row |= {"bentuk_pendidikan_id": form, "status_sekolah": 1, "kode_wilayah": "026101  ", "keaktifan": 1}
        return str(self.add("sekolah", **(row | {"soft_delete": 0} | values))["sekolah_id"])

    def klass(self, school: str, grade: int, **values: object) -> str:
        """A class of the current semester; returns its id."""
        row = {"rombongan_belajar_id": self.new_id(), "semester_id": "20241", "sekolah_id": school, "nama": "A"}
        row |= {"tingkat_pendidikan_id": grade, "jenis_rombel": 1, "soft_delete": 0}
        return str(self.add("rombongan_belajar", **(row | values))["rombongan_belajar_id"])

    def pupil(self, nama: str, school: str | None = None, grade: int | None = None, **values: object) -> str:
        """A pupil, registered if a school is given, and in a class of their own if a grade is; returns the id."""
        row = {
            "peserta_didik_id": self.new_id(),
            "nama": nama,
            "jenis_kelamin": "P",
            "tanggal_lahir": date(2012, 5, 17),
        }
        row |= {"nisn": f"{3_120_000_000 + self._count:010}", "nik": f"{3_273_015_705_120_111 + self._count}"}
        pupil = str(self.add("peserta_didik", **(row | {"soft_delete": 0} | values))["peserta_didik_id"])
        if school is not None:
            self.register(pupil, school)
            if grade is not None:
                self.join(pupil, self.klass(school, grade))
        return pupil

    def register(self, pupil: str, school: str, exit_code: str | None = None, **values: object) -> dict[str, Any]:
        """A registration, ended if there is an exit code."""
        row = {"registrasi_id": self.new_id(), "peserta_didik_id": pupil, "sekolah_id": school, "soft_delete": 0}
        row |= {"jenis_pendaftaran_id": 1, "tanggal_masuk_sekolah": date(2023, 7, 17), "jenis_keluar_id": exit_code}
        return self.add("registrasi_peserta_didik", **(row | values))

    def join(self, pupil: str, klass: str, **values: object) -> dict[str, Any]:
        """A class membership."""
        row = {"anggota_rombel_id": self.new_id(), "rombongan_belajar_id": klass, "peserta_didik_id": pupil}
        return self.add("anggota_rombel", **(row | {"jenis_pendaftaran_id": 1, "soft_delete": 0} | values))

    def staff(self, nama: str, school: str | None = None, kind: int = 4, **values: object) -> str:
        """A PTK, assigned this year if a school is given; `kind` is jenis_ptk_id. Returns the id."""
        row = {"ptk_id": self.new_id(), "nama": nama, "jenis_kelamin": "L", "tanggal_lahir": date(1985, 3, 9)}
        row |= {"nik": f"{3_273_090_385_000_111 + self._count}", "soft_delete": 0}
        ptk = str(self.add("ptk", **(row | values))["ptk_id"])
        if school is not None:
            self.assign(ptk, school, kind)
        return ptk

    def assign(self, ptk: str, school: str, kind: int = 4, year: int = 2024, **values: object) -> dict[str, Any]:
        """A `ptk_terdaftar` row of a school year, at the home school."""
        row = {"ptk_terdaftar_id": self.new_id(), "ptk_id": ptk, "sekolah_id": school, "tahun_ajaran_id": year}
        row |= {"jenis_ptk_id": kind, "ptk_induk": 1, "tmt_tugas": date(2015, 1, 5), "soft_delete": 0}
        return self.add("ptk_terdaftar", **(row | values))

    def post(self, ptk: str, school: str, code: int = 2, **values: object) -> dict[str, Any]:
        """An extra duty (`jabatan_ptk_id`, 2: head) without an end."""
        row = {"ptk_tugas_tambahan_id": self.new_id(), "ptk_id": ptk, "sekolah_id": school, "jabatan_ptk_id": code}
        return self.add("tugas_tambahan", **(row | {"tmt_tambahan": date(2022, 1, 3), "soft_delete": 0} | values))

    def head(self, nama: str, school: str) -> str:
        """A head by both halves of the test; returns the ptk_id."""
        ptk = self.staff(nama, school, kind=20)
        self.post(ptk, school)
        return ptk

    def operator(self, nama: str, school: str, ptk: str | None = None, **values: object) -> str:
        """An approved operator's role with its active user; returns the pengguna_id. `values` go to the role."""
        user = self.new_id()
        self.add("pengguna", pengguna_id=user, sekolah_id=school, ptk_id=ptk, nama=nama, aktif=1, soft_delete=0)
        row = {"id_role_pengguna": self.new_id(), "pengguna_id": user, "peran_id": 10, "sekolah_id": school}
        self.add("role_pengguna", **(row | {"approval_peran": 1} | values))
        return user

    def frame(self, table: str, **physical: pl.DataType) -> pl.DataFrame:
        """A table as a frame; `physical` gives other types to some columns."""
        plain = {column: PHYSICAL[kind] for column, kind in EXTRACT[table].items()}
        frame = pl.DataFrame(self.tables[table], schema=plain, strict=False, infer_schema_length=None)
        return frame.cast(dict(physical))

    def write(self, folder: Path) -> Path:
        """Write every table as one Parquet file; returns the folder."""
        folder.mkdir(parents=True, exist_ok=True)
        for table in EXTRACT:
            self.frame(table).write_parquet(folder / f"{table}.parquet")
        return folder

    def _region(self, code: str, nama: str, level: int, above: str | None) -> None:
        padded = {"kode_wilayah": f"{code:8}", "mst_kode_wilayah": above and f"{above:8}"}
        self.add("mst_wilayah", **padded, nama=nama, id_level_wilayah=level)


def tiny_builder() -> ExtractBuilder:
    """One school of each jenjang with two pupils, a teacher, a head who is a PTK and an operator who is none."""
    world = ExtractBuilder()
    for jenjang, form in FORMS.items():
        school = world.school(form, nama=f"Sekolah {jenjang}")
        word = jenjang.capitalize()
        world.pupil(f"Ani {word}", school, GRADES[jenjang])
        world.pupil(f"Budi Santoso {word}", school, GRADES[jenjang])
        world.staff(f"Guru {word}, S.Pd.", school)
        world.head(f"Drs. Kepala {word}", school)
        world.operator(f"Operator {word}", school)
    return world


def tiny_extract(folder: Path) -> Path:
    """Write `tiny_builder` into a folder; returns it."""
    return tiny_builder().write(folder)


MARKER_KEY = Secret(b"a key for tests, of 32 bytes ...")


@dataclass(frozen=True)
class Worked:
    """An extract taken through sources and records, all parts together. `records.people` and the rest are those of every part."""

    extract: Extract
    reference: Reference
    records: Records
    quarantine: pl.DataFrame
    counts: dict[str, TableCounts]
    doubts: Doubts

    def desired(self, regulation: str = "persesjen-14-2024") -> pl.DataFrame:
        """Desired accounts under a regulation, with the registered name as `registered`."""
        rules = DesiredRules(known_regulations()[regulation], self.reference, self.doubts.people)
        accounts = desired_accounts(self.records.people, self.records.duties, rules)
        named = self.records.people.select("person_id", registered="nama")
        return accounts.join(named, on="person_id", maintain_order="left")

    def verdict(self, nama: str, regulation: str = "persesjen-14-2024") -> list[tuple[str, str, str | None, str]]:
        """(jenjang, standing, role, reason) of somebody by registered name, sorted."""
        mine = self.desired(regulation).filter(pl.col("registered") == nama)
        return sorted(mine.select("jenjang", "standing", "role", "reason").rows())

    def reasons(self) -> list[tuple[str, str | None, str]]:
        """(table, column, reason) of every row set aside, sorted."""
        return sorted(self.quarantine.select("table", "column", "reason").rows())


def work(
    folder: Path,
    scratch: Path,
    *,
    parts: int = 1,
    threads: int = 1,
    day: date = DAY,
    contacts: frozenset[PersonKind] = Recovery().kinds(),
) -> Worked:
    """Take an extract through sources and records; every count is checked. `contacts`: whose are read."""
    extract = open_extract(folder, may_be_empty=frozenset(EXTRACT))
    period = Period.of(day)
    reference = make_reference(read_broadcast(extract, period.semester_id))
    cut = shuffle_extract(extract, Cut(scratch, parts, MARKER_KEY, threads, contacts))
    made = [
        make_records(cut.read_part(part), reference, period, evidence_seed=evidence_seed(MARKER_KEY))
        for part in range(parts)
    ]
    counts = add_counts([reference.counts, cut.counts, *(records.counts for records in made)])
    check_counts(counts, extract.rows)
    quarantine = pl.concat([reference.quarantine, cut.quarantine, *(records.quarantine for records in made)])
    assert quarantine.height == sum(count.quarantined for count in counts.values())
    whole = Records(
        people=pl.concat([records.people for records in made]),
        duties=pl.concat([records.duties for records in made]),
        quarantine=quarantine,
        evidence=pl.concat([records.evidence for records in made]),
        counts=counts,
    )
    return Worked(extract, reference, whole, quarantine, counts, find_duplicates([whole.evidence]))
