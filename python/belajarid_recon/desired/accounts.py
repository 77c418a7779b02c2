"""One account a person and jenjang: who should have one, in which role, at which school, and why not."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from belajarid_recon import _core
from belajarid_recon.desired.eligibility import ROLE_OF_DUTY, judged_duties
from belajarid_recon.desired.orgunits import UNIT_OF_ROLE, unit_paths
from belajarid_recon.desired.reasons import ReasonCode
from belajarid_recon.records import Reference
from belajarid_recon.regulations import Regulation, domains
from belajarid_recon.schemas import (
    ACCOUNT_ATTRIBUTES,
    CONTACT,
    DESIRED,
    JENJANG_CODE,
    ContactReason,
    Role,
    Standing,
)
from belajarid_recon.sources.columns import as_number, as_numbers

_KEY = ["person_id", "jenjang"]

_OFFERS = {"offers_email": "recovery_email", "offers_phone": "recovery_phone"}
"""Column of schemas.DESIRED to the contact it stands for."""

_OF_ACTIVE = (
    *("role", "nama", "domain", "accepted_domains"),
    *(name for name in ACCOUNT_ATTRIBUTES if name != "domain"),
    *_OFFERS,
    "contact_reason",
)
"""Columns of schemas.DESIRED that are null unless the standing is active."""

_ROLE_RANK = {role.value: rank for rank, role in enumerate(Role)}
_REASON_RANK = {reason.value: rank for rank, reason in enumerate(ReasonCode)}


@dataclass(frozen=True)
class DesiredRules:
    """What desired accounts follow from beside the records.

    `doubted` has the column `person_id`: people who may be registered twice (`records.Doubts.people`).
    """

    regulation: Regulation
    reference: Reference
    doubted: pl.DataFrame


def desired_accounts(people: pl.DataFrame, duties: pl.DataFrame, rules: DesiredRules) -> pl.DataFrame:
    """Desired accounts (schemas.DESIRED) of one part, sorted by account key: one row a person and jenjang with a duty.

    `people` is schemas.PERSON, `duties` schemas.DUTY.

    Rules. One account a person and jenjang, whatever the number of schools (pusatinformasi.belajar.id 5925552020761); admin beats
    guru beats pupil. The school is that of the duty that gives the role, then the home school, the earliest, the lowest
    NPSN. A leaver has ended duties and none that still holds; the latest end counts. Doubted people get neither account nor
    suspension until a person decides.
    """
    # Nine of ten people have one duty: nothing is to be chosen there, and choosing costs the most.
    several = duties.select(as_number("person_id").is_duplicated())["person_id"]
    chosen = pl.concat(
        [
            _chosen(judged_duties(duties.filter(~several), rules.regulation, alone=True), alone=True),
            _chosen(judged_duties(duties.filter(several), rules.regulation), alone=False),
        ]
    ).with_columns(person=as_number("person_id"))
    named = people.select(
        *("marker", "given_name", "family_name", "contact_reason"),
        **{offer: pl.col(contact).is_not_null() for offer, contact in _OFFERS.items()},
        person=as_number("person_id"),
    )
    rows = chosen.join(named, on="person", how="inner")
    codes = rows["jenjang"].replace_strict(
        {jenjang.value: code for jenjang, code in JENJANG_CODE.items()}, return_dtype=pl.UInt8
    )
    keys = pl.Series(_core.account_keys(rows["marker"], codes)).cast(pl.Binary).alias("account_key")
    front, jenjang = pl.col("account_key").bin.slice(0, 16), pl.col("account_key").bin.slice(16, 1)
    # By marker and then jenjang: the key's order, at half the cost.
    desired = _with_attributes(rows.with_columns(keys), rules.reference).sort(front.pipe(as_numbers), jenjang)
    return hold_doubted(desired, rules.doubted.select("person_id"))


def hold_doubted(desired: pl.DataFrame, doubted: pl.DataFrame) -> pl.DataFrame:
    """Desired accounts (schemas.DESIRED) with those of `doubted` ineligible.

    `doubted` has one column of `desired`, `person_id` or `account_key`. The order of rows stays.
    """
    if doubted.is_empty():
        return desired
    key = doubted.columns[0]
    found = desired.select(pl.col(key).is_in(doubted[key].unique().implode()))[key]
    if not found.any():
        return desired
    held = pl.lit(found)
    said = {"standing": Standing.INELIGIBLE.value, "reason": ReasonCode.SUSPECTED_DUPLICATE.value}
    return desired.with_columns(
        *(pl.when(held).then(pl.lit(word)).otherwise(name).alias(name) for name, word in said.items()),
        *(pl.when(~held).then(name).alias(name) for name in _OF_ACTIVE),
    )


def account_contacts(people: pl.DataFrame, desired: pl.DataFrame) -> pl.DataFrame:
    """Contacts (schemas.CONTACT and `person_id`) of the accounts in `desired` whose person offers one."""
    offering = desired.filter(pl.any_horizontal(*_OFFERS)).select("account_key", "person_id")
    values = people.select("person_id", *_OFFERS.values())
    return offering.join(values, on="person_id", how="inner").select("person_id", *CONTACT)


def withdraw_contacts(desired: pl.DataFrame, withdrawn: pl.DataFrame) -> pl.DataFrame:
    """Desired accounts (schemas.DESIRED) without the contacts they share with too many people. The order of rows stays.

    `withdrawn` has `account_key` and a column of `offers_email` and `offers_phone` each: whether that one is withdrawn.
    """
    if withdrawn.is_empty():
        return desired
    gone = {offer: pl.col(f"{offer}_withdrawn").fill_null(value=False) for offer in _OFFERS}
    left = desired.join(
        withdrawn, on="account_key", how="left", suffix="_withdrawn", maintain_order="left"
    ).with_columns(
        hit=pl.any_horizontal(*gone.values()), **{offer: pl.col(offer) & ~lost for offer, lost in gone.items()}
    )
    nothing = pl.col("hit") & ~pl.any_horizontal(*_OFFERS) & (pl.col("role") != Role.PUPIL.value)
    reason = pl.when(nothing).then(pl.lit(ContactReason.SHARED.value)).otherwise("contact_reason")
    return left.with_columns(contact_reason=reason).select(list(DESIRED))


def _chosen(judged: pl.DataFrame, *, alone: bool) -> pl.DataFrame:
    """The duty that speaks for each person and jenjang, with `standing` and the `role` of an active one.

    `alone`: each row is its person's only one.
    """

    def any_of_key(condition: pl.Expr) -> pl.Expr:
        return condition if alone else condition.any().over(_KEY)

    roles = {duty: role.value for duty, role in ROLE_OF_DUTY.items()}
    ranked = judged.with_columns(
        role=pl.col("duty").replace_strict(roles, default=None, return_dtype=pl.String),
        stays=any_of_key(pl.col("holds")),
        gone=pl.col("exit_code").is_not_null(),
    ).with_columns(
        # 0: gives the account; 1: an end that counts; 2: says why there is none; 3: an end that does not count.
        order=pl.when(pl.col("eligible"))
        .then(0)
        .when(pl.col("gone"))
        .then(pl.when(pl.col("stays")).then(3).otherwise(1))
        .otherwise(2),
        role_rank=pl.col("role").replace_strict(_ROLE_RANK, default=-1, return_dtype=pl.Int64),
        reason_rank=pl.col("reason").replace_strict(_REASON_RANK, return_dtype=pl.Int64),
        half_head=any_of_key(pl.col("reason") == ReasonCode.HEAD_WITHOUT_HEAD_TYPE),
    )
    first = ranked if alone else _first_of_key(ranked)
    active, leaver = pl.col("order") == 0, pl.col("order") == 1
    return first.with_columns(
        standing=pl.when(active)
        .then(pl.lit(Standing.ACTIVE.value))
        .when(leaver)
        .then(pl.lit(Standing.LEAVER.value))
        .otherwise(pl.lit(Standing.INELIGIBLE.value)),
        # An educator who is half a head keeps the educator's account, and the reason says why it is no admin's.
        reason=pl.when(active & pl.col("half_head") & (pl.col("role") == Role.GURU))
        .then(pl.lit(ReasonCode.HEAD_WITHOUT_HEAD_TYPE.value))
        .otherwise("reason"),
    )


def _first_of_key(ranked: pl.DataFrame) -> pl.DataFrame:
    """The first row of each person and jenjang by the rules of `desired_accounts`."""
    ordered = ranked.sort(
        "order",
        pl.when(pl.col("eligible")).then(-pl.col("role_rank")),
        pl.when(~pl.col("eligible") & ~pl.col("gone")).then("reason_rank"),
        pl.when(pl.col("gone")).then(-pl.col("exit_date").to_physical().cast(pl.Int64)),
        ~pl.col("induk").fill_null(value=False),
        "since",
        "npsn",
        "sekolah_id",
        "reason_rank",
        "exit_code",
        nulls_last=True,
    )
    return ordered.unique(_KEY, keep="first", maintain_order=True)


def _with_attributes(rows: pl.DataFrame, reference: Reference) -> pl.DataFrame:
    """The columns of schemas.DESIRED; attributes only where the standing is active."""
    active = pl.col("standing") == Standing.ACTIVE
    units = {role.value: unit for role, unit in UNIT_OF_ROLE.items()}
    single = pl.col("given_name") == pl.col("family_name")
    attributes = {
        "role": pl.col("role"),
        "nama": pl.when(single).then("given_name").otherwise(pl.concat_str("given_name", "family_name", separator=" ")),
        "domain": pl.col("domain"),
        "accepted_domains": pl.col("accepted_domains"),
        "given_name": pl.col("given_name"),
        "family_name": pl.col("family_name"),
        "ou_path": pl.concat_str(
            "unit", pl.lit("/"), pl.col("role").replace_strict(units, default=None, return_dtype=pl.String)
        ),
        "npsn": pl.col("npsn"),
        "listed": pl.col("role") != Role.PUPIL.value,
        "suspended": pl.lit(value=False),
        **{offer: pl.col(offer) for offer in _OFFERS},
        "contact_reason": pl.when(pl.col("role") != Role.PUPIL.value).then("contact_reason"),
    }
    return (
        rows.join(_domain_table(), on=["jenjang", "role"], how="left")
        .join(unit_paths(reference), on="kode_kabkota", how="left")
        .with_columns(**{name: pl.when(active).then(value) for name, value in attributes.items()})
        .select(list(DESIRED))
        .cast(DESIRED)
    )


def _domain_table() -> pl.DataFrame:
    rows = [
        {
            "jenjang": row.jenjang.value,
            "role": role.value,
            "domain": row.of(role),
            "accepted_domains": list(row.older(role)),
        }
        for row in domains().domains
        for role in Role
    ]
    return pl.DataFrame(
        rows,
        schema={"jenjang": pl.String, "role": pl.String, "domain": pl.String, "accepted_domains": pl.List(pl.String)},
    )
