"""Groups that the settings ask for, and who belongs to them: the educators of a school, the admins of a kabupaten or kota.

Who belongs follows the duties and not the account: somebody who teaches at two schools of a jenjang is in the groups of both, though
the account's cost centre names one; an educator who is an operator too, and has an admin's account, is an educator of the school all the
same. Heads are admins of their kabupaten or kota and no educators of the school: the register knows them by another type.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import polars as pl

from belajarid_recon.desired.eligibility import judged_duties
from belajarid_recon.regulations import Regulation
from belajarid_recon.schemas import GROUP, MEMBERSHIP, SCHOOL, GroupKind, conform
from belajarid_recon.secrets import Secret
from belajarid_recon.settings import GROUP_NAME_MAX, GroupRule

GROUP_MARKER_PREFIX = "recon:"
_MARKER_BYTES = 16
_DUTIES = {
    "educator": GroupKind.EDUCATORS_OF_SCHOOL,
    "head": GroupKind.ADMINS_OF_KABKOTA,
    "operator": GroupKind.ADMINS_OF_KABKOTA,
}
_CODE_COLUMN = {GroupKind.EDUCATORS_OF_SCHOOL: "npsn", GroupKind.ADMINS_OF_KABKOTA: "kode_kabkota"}
UNCLEAR = pl.Schema({"account_key": pl.Binary})


@dataclass(frozen=True)
class Memberships:
    """What one part's duties say of groups."""

    belongs: pl.DataFrame
    """schemas.MEMBERSHIP, sorted, each row once."""
    unclear: pl.DataFrame
    """`account_key` of people one of whose rows about duties was set aside: they may belong to more groups, and leave none."""


def memberships(
    duties: pl.DataFrame, desired: pl.DataFrame, regulation: Regulation, kinds: Iterable[GroupKind]
) -> Memberships:
    """The groups of these kinds that each account belongs to by an eligible duty; `duties` is schemas.DUTY, `desired` schemas.DESIRED.

    Whether the account is active is not looked at: somebody under doubt is in it too.
    """
    kind_of_duty = {duty: kind.value for duty, kind in _DUTIES.items() if kind in set(kinds)}
    staff = duties.filter(pl.col("duty").is_in([*_DUTIES, "unclear"]))
    judged = judged_duties(staff, regulation).join(
        desired.select("account_key", "person_id", "jenjang"), on=["person_id", "jenjang"], how="inner"
    )
    kind = pl.col("duty").replace_strict(kind_of_duty, default=None, return_dtype=pl.String)
    code = pl.coalesce(
        pl.when(pl.col("kind") == kind.value).then(pl.col(column)) for kind, column in _CODE_COLUMN.items()
    )
    belongs = (
        judged.filter("eligible")
        .with_columns(kind=kind, tenant="jenjang")
        .with_columns(code=code)
        .drop_nulls(["kind", "code"])
        .select(MEMBERSHIP.names())
        .unique()
        .sort(MEMBERSHIP.names())
    )
    unclear = judged.filter("unclear").select("account_key").unique().sort("account_key")
    return Memberships(belongs, unclear)


def schools_of(schools: pl.DataFrame) -> pl.DataFrame:
    """schemas.SCHOOL of the register's schools (`records.Reference.schools`), sorted; two with one NPSN in a jenjang are one school."""
    return conform(
        schools.drop_nulls(["jenjang", "npsn"])
        .group_by("jenjang", "npsn")
        .agg(pl.col("kode_kabkota").min(), pl.col("open").any())
        .sort("jenjang", "npsn"),
        SCHOOL,
    )


def possible_groups(
    rules: Mapping[str, Iterable[GroupRule]], schools: pl.DataFrame, kabkota_names: Mapping[str, str], key: Secret
) -> pl.DataFrame:
    """Every group (schemas.GROUP) that `rules` (tenant to its rules) may ask for, in order of tenant, kind and code.

    `schools` is schemas.SCHOOL: closed ones are in it, so that their groups are known. `key` is the marker key.
    """
    made = [
        _of_rule(tenant, rule, schools.filter(pl.col("jenjang") == tenant), kabkota_names)
        for tenant, named in rules.items()
        for rule in named
    ]
    groups = pl.concat([GROUP.to_frame(), *made]).sort("tenant", "kind", "code")
    names = groups.select("kind", "tenant", "code").iter_rows()
    return groups.with_columns(marker=pl.Series([group_marker(key, *name) for name in names], dtype=pl.String))


def group_marker(key: Secret, kind: str, tenant: str, code: str) -> str:
    """What stands in the description of our group: `recon:` and 32 hexadecimal digits, a keyed hash of kind, tenant and code.

    BLAKE2b with a personalisation of its own under the marker key, as evidence has one: it can be no person's marker, and whoever reads one
    cannot make that of another group.
    """
    text = "\0".join((kind, tenant, code)).encode()
    digest = hashlib.blake2b(text, key=key.reveal(), digest_size=_MARKER_BYTES, person=b"recon group")
    return GROUP_MARKER_PREFIX + digest.hexdigest()


def _of_rule(tenant: str, rule: GroupRule, schools: pl.DataFrame, kabkota_names: Mapping[str, str]) -> pl.DataFrame:
    kabkota = pl.DataFrame(
        list(kabkota_names.items()), schema={"kode_kabkota": pl.String, "kabkota": pl.String}, orient="row"
    )
    if rule.kind is GroupKind.EDUCATORS_OF_SCHOOL:
        of = schools.join(kabkota, on="kode_kabkota", how="left").with_columns(pl.col("kabkota").fill_null(""))
    else:
        of = kabkota.with_columns(open=pl.lit(value=True))
    rows = of.with_columns(jenjang=pl.lit(tenant)).with_columns(
        tenant=pl.lit(tenant),
        kind=pl.lit(rule.kind.value),
        code=pl.col(_CODE_COLUMN[rule.kind]),
        address=_filled(rule.address_pattern).str.to_lowercase(),
        name=_filled(rule.name_pattern).str.replace_all(r"[=<>\p{C}\s]+", " ").str.slice(0, GROUP_NAME_MAX),
    )
    return conform(rows, GROUP)


def _filled(pattern: str) -> pl.Expr:
    """The pattern with its fields filled from the columns of their names."""
    pieces = [piece for piece in re.split(r"(\{[a-z_]+\})", pattern) if piece]
    return pl.concat_str(pl.col(piece[1:-1]) if piece.startswith("{") else pl.lit(piece) for piece in pieces)
