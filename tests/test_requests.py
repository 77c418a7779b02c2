"""What people ask for beside the register: files they write by hand, and what a plan makes of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from appliers.plans import Target, account_key, settings_of
from belajarid_recon.errors import InputError
from belajarid_recon.plan.remembered import remember, restorable
from belajarid_recon.schemas import ADDRESSES, DELETED
from belajarid_recon.settings import Settings
from belajarid_recon.sources.requests import read_aliases, read_notices
from belajarid_recon.state.lifecycle import LIFECYCLE

DAY = date(2026, 11, 15)
TENANTS = {"sd": {"domains": ["sd.belajar.id", "guru.sd.belajar.id"]}, "smp": {"domains": ["smp.belajar.id"]}}
NOBODY = pl.DataFrame(schema=ADDRESSES)


def test_notices_are_read_as_spreadsheets_write_them(tmp_path: Path):
    """With a byte order mark, further columns, quotes and addresses in any case."""
    path = tmp_path / "notices.csv"
    path.write_text('\ufeffaddress,note,delivered_on\r\n"Budi@SD.belajar.id","a, b",2026-01-31\r\n', encoding="utf-8")
    assert read_notices(path).rows() == [("budi@sd.belajar.id", date(2026, 1, 31))]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("address\nbudi@sd.belajar.id\n", "no such column.*delivered_on"),
        ("", "no such column.*address"),
        ("address,delivered_on\nbudi@sd.belajar.id,31/01/2026\n", "line 2, column delivered_on"),
        ("address,delivered_on\nbudi@sd.belajar.id,2026-01-31\nbudi,2026-01-31\n", "line 3, column address"),
        ("address,delivered_on\nbudi@sd.belajar.id\n", "line 2, column delivered_on"),
        ('address,delivered_on\n"budi@sd.belajar.id,2026-01-31\n', "no CSV"),
        (b"address,delivered_on\n\xff\xfe,2026-01-31\n", "no CSV in UTF-8"),
    ],
)
def test_files_that_cannot_be_meant_are_refused(tmp_path: Path, content: str | bytes, told: str):
    """By file, line and column, and without the value: it may be a person's address."""
    path = tmp_path / "notices.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=told) as refused:
        read_notices(path)
    assert "budi" not in f"{refused.value.message} {refused.value.hint}"


def test_a_missing_file_is_named(tmp_path: Path):
    """It is not taken for an empty one."""
    with pytest.raises(InputError, match=r"notices\.csv"):
        read_notices(tmp_path / "notices.csv")


def test_an_alias_for_two_is_refused(tmp_path: Path):
    """Also when one line wants it and another does not; yes and no may be Indonesian."""
    path = tmp_path / "aliases.csv"
    path.write_text("address,alias,wanted\na@sd.belajar.id,X@sd.belajar.id,ya\nb@sd.belajar.id,y@sd.belajar.id,NO\n")
    assert read_aliases(path)["wanted"].to_list() == [True, False]
    path.write_text(path.read_text() + "b@sd.belajar.id,x@sd.belajar.id,no\n")
    with pytest.raises(InputError, match="lines 2 and 4"):
        read_aliases(path)


@dataclass(frozen=True)
class Desk:
    """A state folder with suspensions of ours, and files of requests."""

    folder: Path

    def settings(self, **tables: object) -> Settings:
        """Settings with these tables."""
        made = settings_of(Target(self.folder / "state", {"sd": "C0", "smp": "C1"}))
        return Settings.model_validate(made.model_dump(by_alias=True) | tables)

    def write(self, name: str, text: str) -> Path:
        """A file."""
        (self.folder / name).write_text(text)
        return self.folder / name

    def remember_that(self, *rows: tuple[bytes, str, date | None, str | None]) -> None:
        """A segment of what runs did."""
        (self.folder / "state" / "lifecycle").mkdir(parents=True)
        segment = pl.DataFrame(rows, schema=LIFECYCLE, orient="row")
        segment.write_parquet(self.folder / "state" / "lifecycle" / "20260105T031500123Z-1a2b3c4d.parquet")


def deletion(desk: Desk, **changes: object) -> dict[str, object]:
    """The table of an agreed deletion."""
    notices = "address,delivered_on\na@sd.belajar.id,2026-10-16\nb@sd.belajar.id,2026-10-17\n"
    return {
        "agreed_by": "Kepala Pusdatin",
        "agreed_on": date(2026, 1, 5),
        "notices_file": desk.write("notices.csv", notices),
    } | changes


def test_deletions_need_both_days(tmp_path: Path):
    """A year since our suspension and a month since the notice, on the day of the run; and a table that names who agreed."""
    desk = Desk(tmp_path)
    old, young = account_key("sd", 1), account_key("sd", 2)
    desk.remember_that(
        (old, "suspended", date(2025, 11, 15), None),
        (young, "suspended", date(2025, 11, 16), None),
        (account_key("sd", 3), "suspended", None, None),
        (account_key("sd", 4), "restored", date(2020, 1, 1), None),
    )
    known = remember(desk.settings(deletion=deletion(desk)), DAY, NOBODY, TENANTS)
    assert known.deletable["account_key"].to_list() == [old]
    assert known.notices["address"].to_list() == ["a@sd.belajar.id"]
    assert set(known.suspended_by_us) == {old, young, account_key("sd", 3)}
    nothing = remember(desk.settings(), DAY, NOBODY, TENANTS)
    assert (nothing.deletable.height, nothing.notices.height) == (0, 0)
    with pytest.raises(InputError, match="agreed on a later day"):
        remember(desk.settings(deletion=deletion(desk, agreed_on=date(2026, 11, 16))), DAY, NOBODY, TENANTS)
    for wrong in ({"after_days": 0}, {"agreed_by": ""}, {"notice_days": 1}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            desk.settings(deletion=deletion(desk, **wrong))


def test_who_has_or_had_an_alias_is_known(tmp_path: Path):
    """In sight, given by the ledger to one account, or to two: then it is nobody's to have."""
    desk = Desk(tmp_path)
    lines = "".join(f"a@sd.belajar.id,{name}@guru.sd.belajar.id,yes\n" for name in ("free", "seen", "lent", "twice"))
    settings = desk.settings(aliases={"file": desk.write("aliases.csv", "address,alias,wanted\n" + lines)})
    one, two = account_key("sd", 1), account_key("sd", 2)
    rows = [
        ("sd", "seen", None),
        ("sd", "lent", one),
        ("sd", "twice", one),
        ("sd", "twice", two),
        ("smp", "free", None),
    ]
    known = remember(settings, DAY, pl.DataFrame(rows, schema=ADDRESSES, orient="row"), TENANTS).aliases
    told = {row["alias"].partition("@")[0]: (row["in_sight"], row["owner"]) for row in known.to_dicts()}
    assert told["free"] == (False, None)
    assert told["seen"] == (True, None)
    assert told["lent"] == (False, one)
    assert told["twice"][0] is True


@pytest.mark.parametrize(
    ("address", "alias"), [("a@sd.belajar.id", "x@smp.belajar.id"), ("a@sd.belajar.id", "x@gmail.com")]
)
def test_an_alias_outside_its_tenant_is_refused(tmp_path: Path, address: str, alias: str):
    """Google has no such alias; the line is named."""
    desk = Desk(tmp_path)
    path = desk.write(
        "aliases.csv", f"address,alias,wanted\na@sd.belajar.id,b@sd.belajar.id,yes\n{address},{alias},yes\n"
    )
    with pytest.raises(InputError, match="line 3"):
        remember(desk.settings(aliases={"file": path}), DAY, NOBODY, TENANTS)


def test_an_account_we_deleted_is_known_by_its_id(tmp_path: Path):
    """Lists of deleted accounts need not show external ids; an id that we did not delete is nobody's."""
    desk = Desk(tmp_path)
    mine, marked = account_key("sd", 1), account_key("sd", 2)
    desk.remember_that((mine, "deleted", date(2026, 11, 8), "id-1"), (account_key("sd", 3), "deleted", DAY, "id-9"))
    rows = [
        (None, "sd", "id-1", "a", "sd.belajar.id"),
        (marked, "sd", "id-2", "b", "sd.belajar.id"),
        (None, "sd", "id-3", "c", "sd.belajar.id"),
    ]
    known = restorable(desk.folder / "state", pl.DataFrame(rows, schema=DELETED, orient="row"))
    assert known.select("account_key", "id").rows() == [(mine, "id-1"), (marked, "id-2")]
