"""The file of recovery contacts beside a plan: what stands in it, who may read it, and that nothing else is taken for it."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliers.plans import creation, plan_of
from belajarid_recon.errors import PlanError
from belajarid_recon.plan.contacts import (
    ROWS_PER_BLOCK,
    ContactBook,
    contacts_digest,
    contacts_salt,
    step_contacts,
    write_contacts,
)
from belajarid_recon.schemas import CONTACT, STEP_CONTACT
from belajarid_recon.secrets import Secret

KEY = Secret(bytes(range(32)))
SALT = contacts_salt(KEY, "2026-11-15")


def contacts(count: int) -> pl.DataFrame:
    """Contacts of every third step."""
    return pl.DataFrame(
        [(3 * n, f"guru{n}@example.org" if n % 5 else None, f"+62812{n:08}" if n % 7 else None) for n in range(count)],
        schema=STEP_CONTACT,
        orient="row",
    )


def test_each_step_finds_its_own_contacts_across_blocks(tmp_path):
    """More rows than a block, asked for in any order; the file is its owner's alone."""
    rows, path = contacts(2 * ROWS_PER_BLOCK), tmp_path / "contacts.parquet"
    write_contacts(path, rows, SALT)
    assert path.stat().st_mode & 0o777 == 0o600
    book = ContactBook.open(path, contacts_digest([rows], SALT))
    for step, address, number in rows.sample(200, seed=1).iter_rows():
        assert book.of(step) == (address, number)
    with pytest.raises(PlanError):
        book.of(1)


def test_a_step_gets_what_it_writes_and_no_more(tmp_path):
    """Held steps, steps without contacts and people without steps leave none; the cut into files does not matter."""
    rows = [
        creation("sd", 1, recovery="email,phone"),
        creation("sd", 2, recovery="phone"),
        creation("sd", 3, recovery="email", held_by="a guard"),
        creation("sd", 4),
    ]
    steps = plan_of(rows, {"sd": "C0"}).steps
    offered = pl.DataFrame(
        {
            "account_key": [creation("sd", n)["account_key"] for n in range(1, 6)],
            "recovery_email": [f"guru{n}@example.org" for n in range(1, 6)],
            "recovery_phone": [f"+62812345678{n:02}" for n in range(1, 6)],
        },
        schema=CONTACT,
    )
    for cut in (1, 2, 5):
        files = [tmp_path / f"{cut}.{part}.parquet" for part in range(cut)]
        for part, path in enumerate(files):
            offered.gather_every(cut, part).write_parquet(path)
        assert step_contacts(steps, files).rows() == [
            (0, "guru1@example.org", "+6281234567801"),
            (1, None, "+6281234567802"),
        ]


def test_a_digest_tells_numbers_apart_and_nothing_about_them():
    """It depends on every value and on the salt, which is another with another key or date; pieces do not matter."""
    rows = contacts(10)
    digest = contacts_digest([rows], SALT)
    assert digest == contacts_digest([rows.head(4), rows.slice(4)], SALT)
    salts = [contacts_salt(KEY, "2026-11-22"), contacts_salt(Secret(bytes(32)), "2026-11-15")]
    others = [contacts_digest([rows], salt) for salt in salts]
    others += [contacts_digest([rows.with_columns(pl.col(name).reverse())], SALT) for name in STEP_CONTACT]
    assert len({digest, *others}) == 1 + len(salts) + len(STEP_CONTACT)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[bytes, str]:
    """A file's bytes, and the digest of its contacts."""
    rows, path = contacts(500), tmp_path_factory.mktemp("whole") / "contacts.parquet"
    write_contacts(path, rows, SALT)
    return path.read_bytes(), contacts_digest([rows], SALT)


@given(place=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_changed_byte_gives_no_wrong_number(whole, place, flip, tmp_path_factory):
    """A damaged file is refused, at once or when it is asked; or the damage touched no value."""
    content, digest = bytearray(whole[0]), whole[1]
    content[int(place * len(content))] ^= flip
    path = tmp_path_factory.mktemp("damaged") / "contacts.parquet"
    path.write_bytes(content)
    said, found = "", []
    try:
        book = ContactBook.open(path, digest)
        found = [(step, *book.of(step)) for step in range(0, 1_500, 3)]
    except PlanError as refused:
        said = str(refused)
    assert said or found == contacts(500).rows()
    assert "+62" not in said
    assert "example" not in said
