"""Stage 5: desired accounts against observed ones, one part at a time. What comes out are proposals; the plan makes steps of them."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field, fields

import polars as pl

from belajarid_recon import _core
from belajarid_recon.schemas import ACCOUNT_ATTRIBUTES, Action, NoStep, Standing, compact, conform

PROPOSAL = pl.Schema(
    {
        "tenant": pl.String,
        "action": pl.String,
        "reason": pl.String,
        "account_key": pl.Binary,
        "target_id": pl.String,
        "user_id": pl.String,  # null for creations: naming gives it
        "nama": pl.String,  # creations only
        "domain": pl.String,
        "given_name": pl.String,
        "family_name": pl.String,
        "ou_path": pl.String,
        "npsn": pl.String,
        "listed": pl.Boolean,
        "suspended": pl.Boolean,
        "alias": pl.String,
        "before": pl.String,
        "recovery": pl.String,
        "kode_kabkota": pl.String,
    }
)
"""One row a proposed change of an account; attributes that stay as they are are null."""

TALLY = pl.Schema({"tenant": pl.String, "kind": pl.String, "name": pl.String, "count": pl.Int64})
"""Counts by tenant. `kind` is `action` (name: no-op), `reason` (name: why there is no step), or ALIAS_FOUND (no name)."""

ALIAS_FOUND = "alias-found"
"""Kind of a tally: aliases that were asked for of accounts there are."""

MEMBER_PROPOSAL = pl.Schema(
    {
        "tenant": pl.String,
        "action": pl.String,
        "reason": pl.String,
        "account_key": pl.Binary,  # the member's
        "member_id": pl.String,
        "marker": pl.String,  # the group's
        "group_id": pl.String,  # null: the group is not there yet
        "address": pl.String,  # the group's
        "group_name": pl.String,
        "kode_kabkota": pl.String,  # the group's
    }
)
"""One row an account that is to join or leave a group."""

BASE = pl.Schema(
    {
        "tenant": pl.String,
        "kode_kabkota": pl.String,
        "accounts": pl.Int64,
        "admins": pl.Int64,
        "members": pl.Int64,
    }
)
"""What shares are shares of: accounts of ours that are not suspended, those of them in an administrators' domain, and members of ours
in groups. `kode_kabkota` is null for accounts whose person the register does not mention."""

NO_CONTACT = pl.Schema({"tenant": pl.String, "npsn": pl.String, "reason": pl.String, "accounts": pl.Int64})
"""Accounts of staff that have no way of recovery, in the register nor in the directory, by school and schemas.ContactReason."""

_BIT = {name: 1 << place for place, name in enumerate(ACCOUNT_ATTRIBUTES)}

DELETABLE = pl.Schema({"account_key": pl.Binary, "on": pl.Date})
"""Suspensions of ours that are old enough, with their dates."""

NOTICES = pl.Schema({"address": pl.String, "delivered_on": pl.Date})
"""Notices of a deletion that were delivered long enough ago, by primary address in lower case."""

ALIASES = pl.Schema(
    {"address": pl.String, "alias": pl.String, "wanted": pl.Boolean, "in_sight": pl.Boolean, "owner": pl.Binary}
)
"""Aliases an account of ours should or should not have, by primary address, all in lower case. `in_sight`: the directory shows their
user ID; `owner`: the account key that the ledger gave it to."""

PART_MEMORY_BYTES = 512 << 20
"""For comparing a part, which is in memory as it is."""


@dataclass(frozen=True)
class Remembered:
    """What earlier runs did and what people asked for, beside the register."""

    suspended_by_us: pl.Series
    """Account keys."""
    deletable: pl.DataFrame = field(default_factory=DELETABLE.to_frame)
    notices: pl.DataFrame = field(default_factory=NOTICES.to_frame)
    aliases: pl.DataFrame = field(default_factory=ALIASES.to_frame)


@dataclass(frozen=True)
class PartChanges:
    """What one part hands up."""

    proposals: pl.DataFrame
    tallies: pl.DataFrame
    bases: pl.DataFrame
    members: pl.DataFrame = field(default_factory=MEMBER_PROPOSAL.to_frame)
    no_contact: pl.DataFrame = field(default_factory=NO_CONTACT.to_frame)

    def compacted(self) -> PartChanges:
        """The same in memory of its own (schemas.compact)."""
        return PartChanges(**{one.name: compact(getattr(self, one.name)) for one in fields(self)})


def reconcile_part(
    desired: pl.DataFrame, observed: pl.DataFrame, *, remembered: Remembered, seed: int, threads: int
) -> PartChanges:
    """Compare one part.

    `desired` is schemas.DESIRED, `observed` schemas.OBSERVED with every `account_key` present. Rules: an account two rows claim
    gets no step; an administrator's account gets no step; an account someone else suspended stays suspended; an account whose
    person the register no longer mentions gets no step, because absence is not departure. A leaver's account that we suspended long
    enough ago, and of whose end a notice was delivered since, is deleted. A recovery contact goes to an account that has none of its
    kind, and one that is there is never replaced: it may be the owner's.
    """
    active = _keep_accepted_domain(desired.filter(pl.col("standing") == Standing.ACTIVE), observed)
    changes, unchanged = _compared(active, observed, seed=seed, threads=threads)
    lacking = _lacking(active, observed)
    lacking_only = lacking.join(changes.select(account_key="key"), on="account_key", how="anti")
    creations = _creations(changes, active)
    to_change = _to_change(changes, lacking, lacking_only)
    updates = _updates(to_change, active, observed, remembered.suspended_by_us)
    endings = _endings(changes, desired, observed, remembered)
    asked = _asked_aliases(active, observed, remembered.aliases)
    aliases = _aliases(asked)
    verdicts = pl.concat([found.select(_VERDICT) for found in (updates, endings, aliases)])
    proposals = pl.concat([creations, *map(_proposed, (updates, _aliases_in_the_way(updates), endings, aliases))])
    still = _unchanged(active, changes, lacking_only, unchanged)
    found = conform(asked.group_by("tenant").len("count").with_columns(kind=pl.lit(ALIAS_FOUND)), TALLY)
    return PartChanges(
        proposals=proposals.sort("account_key", "action", "alias"),
        tallies=pl.concat([_tallies(desired, changes, verdicts, unchanged=still), found]),
        bases=_bases(desired, observed),
        no_contact=_no_contact(active, observed),
    )


_VERDICT = ["tenant", "action", "reason"]


def _compared(active: pl.DataFrame, observed: pl.DataFrame, *, seed: int, threads: int) -> tuple[pl.DataFrame, int]:
    """What differs (columns kind, key, mask, before, after, count), and how many accounts do not."""
    found = _core.diff(
        active.select("account_key", *ACCOUNT_ATTRIBUTES),
        observed.select("account_key", *ACCOUNT_ATTRIBUTES),
        key="account_key",
        attributes=list(ACCOUNT_ATTRIBUTES),
        key_form="binary",
        exact=False,
        normalise={},
        seed=seed,
        memory_limit=PART_MEMORY_BYTES,
        threads=threads,
        temporary_folder=tempfile.gettempdir(),
        out=None,
        progress=None,
    )
    bits = [pl.when(pl.col("differs").list.contains(name)).then(bit).otherwise(0) for name, bit in _BIT.items()]
    changes = pl.DataFrame(found).with_columns(mask=pl.sum_horizontal(bits))
    return changes, found.counts["unchanged"]


def _keep_accepted_domain(active: pl.DataFrame, observed: pl.DataFrame) -> pl.DataFrame:
    """Let an existing account stay in an older domain that its role may still have."""
    older = (
        active.lazy()
        .filter(pl.col("accepted_domains").list.len() > 0)
        .join(observed.lazy().select("account_key", kept="domain"), on="account_key", how="inner")
        .filter(pl.col("accepted_domains").list.contains(pl.col("kept")))
        .select("account_key", "kept")
        .unique("account_key", keep="any")
        .collect()
    )
    if older.is_empty():
        return active
    return (
        active.join(older, on="account_key", how="left").with_columns(domain=pl.coalesce("kept", "domain")).drop("kept")
    )


def _recovery(email: pl.Expr, phone: pl.Expr) -> pl.Expr:
    """Which contacts are written, as schemas.STEP says it; null for none."""
    words = pl.concat_str(
        pl.when(email).then(pl.lit("email")), pl.when(phone).then(pl.lit("phone")), separator=",", ignore_nulls=True
    )
    return pl.when(email | phone).then(words)


def _lacking(active: pl.DataFrame, observed: pl.DataFrame) -> pl.DataFrame:
    """Accounts (`account_key`) that lack a contact which the register has, and what they lack (`recovery`)."""
    offering = active.select("account_key", "offers_email", "offers_phone").filter(
        pl.col("offers_email") | pl.col("offers_phone")
    )
    if offering.is_empty():
        return pl.DataFrame(schema={"account_key": pl.Binary, "recovery": pl.String})
    there = observed.select("account_key", "has_recovery_email", "has_recovery_phone")
    email = pl.col("offers_email") & ~pl.col("has_recovery_email")
    phone = pl.col("offers_phone") & ~pl.col("has_recovery_phone")
    return (
        there.join(offering, on="account_key", how="inner")
        .filter(email | phone)
        .select("account_key", recovery=_recovery(email, phone))
    )


def _no_contact(active: pl.DataFrame, observed: pl.DataFrame) -> pl.DataFrame:
    """NO_CONTACT of one part."""
    without = active.select("account_key", "npsn", "jenjang", "contact_reason").drop_nulls("contact_reason")
    reached = observed.select("account_key", "has_recovery_email", "has_recovery_phone").filter(
        pl.col("has_recovery_email") | pl.col("has_recovery_phone")
    )
    counted = (
        without.join(reached, on="account_key", how="anti")
        .group_by("npsn", tenant="jenjang", reason="contact_reason")
        .len("accounts")
    )
    return conform(counted, NO_CONTACT)


def _creations(changes: pl.DataFrame, active: pl.DataFrame) -> pl.DataFrame:
    added = changes.filter(pl.col("kind") == "added").select(account_key="key")
    wanted = active.join(added, on="account_key", how="semi")
    made = wanted.with_columns(
        tenant="jenjang",
        action=pl.lit(Action.CREATE.value),
        recovery=_recovery(pl.col("offers_email"), pl.col("offers_phone")),
    )
    return conform(made, PROPOSAL)


def _to_change(changes: pl.DataFrame, lacking: pl.DataFrame, lacking_only: pl.DataFrame) -> pl.DataFrame:
    """Accounts that differ or lack a contact: `account_key`, `mask` and `old` of what differs, and `recovery`."""
    changed = changes.filter(pl.col("kind") == "changed").select("mask", account_key="key", old="before")
    return pl.concat(
        [
            changed.join(lacking, on="account_key", how="left"),
            lacking_only.with_columns(mask=pl.lit(0)),
        ],
        how="diagonal_relaxed",
    )


def _updates(
    to_change: pl.DataFrame, active: pl.DataFrame, observed: pl.DataFrame, suspended_by_us: pl.Series
) -> pl.DataFrame:
    """Changed accounts with their action; a null action means no step, and `reason` says why."""
    ours = pl.DataFrame({"account_key": suspended_by_us}, schema={"account_key": pl.Binary}).with_columns(
        suspended_by_us=pl.lit(value=True)
    )
    changed = (
        to_change.join(
            active.select("account_key", "reason", "kode_kabkota", *ACCOUNT_ATTRIBUTES, tenant="jenjang"),
            on="account_key",
        )
        .join(observed.select("account_key", "user_id", "is_admin", "aliases", target_id="id"), on="account_key")
        .join(ours, on="account_key", how="left")
    )
    # A suspension that is not ours is left alone: Google or a person had a reason.
    foreign = (pl.col("mask") & _BIT["suspended"] != 0) & pl.col("suspended_by_us").is_null()
    changed = changed.with_columns(
        mask=pl.when(foreign).then(pl.col("mask") - _BIT["suspended"]).otherwise(pl.col("mask")), foreign=foreign
    )
    refusal = (
        pl.when(pl.col("is_admin"))
        .then(pl.lit(NoStep.ADMINISTRATOR_UNTOUCHED.value))
        .when((pl.col("mask") == 0) & pl.col("recovery").is_null())
        .then(pl.lit(NoStep.SUSPENDED_BY_OTHER.value))
    )
    return changed.with_columns(
        action=pl.when(refusal.is_null()).then(_action()),
        reason=pl.coalesce(refusal, "reason"),
        before=_before_json(),
        **{name: _after(name) for name in ACCOUNT_ATTRIBUTES},
    )


def _differs(name: str) -> pl.Expr:
    return pl.col("mask") & _BIT[name] != 0


def _action() -> pl.Expr:
    """The action that names a change best; all of its attributes go into one call whatever the name."""
    old, new = pl.col("old").struct.field("domain"), pl.col("domain")
    to_admin = old.str.starts_with("admin.").not_() & new.str.starts_with("admin.")
    from_admin = old.str.starts_with("admin.") & new.str.starts_with("admin.").not_()
    return (
        pl.when(_differs("suspended"))
        .then(pl.lit(Action.RESTORE.value))
        .when(_differs("domain") & to_admin)
        .then(pl.lit(Action.PROMOTE.value))
        .when(_differs("domain") & from_admin)
        .then(pl.lit(Action.DEMOTE.value))
        .when(_differs("domain"))
        .then(pl.lit(Action.RENAME.value))
        .when(_differs("ou_path") | _differs("npsn"))
        .then(pl.lit(Action.MOVE.value))
        .otherwise(pl.lit(Action.UPDATE.value))
    )


def _after(name: str) -> pl.Expr:
    """The new value where it differs. Both names go together, because the directory replaces the name object whole."""
    needed = _differs("given_name") | _differs("family_name") if name.endswith("_name") else _differs(name)
    return pl.when(needed).then(pl.col(name))


def _before_json() -> pl.Expr:
    """What is replaced, as a JSON object with sorted keys. A recovery contact replaces nothing."""
    pieces = {"recovery": pl.when(pl.col("recovery").is_not_null()).then(pl.lit('"recovery":null'))}
    for name in ACCOUNT_ATTRIBUTES:
        value = pl.struct(pl.col("old").struct.field(name)).struct.json_encode()
        pieces[name] = pl.when(_differs(name)).then(value.str.strip_prefix("{").str.strip_suffix("}"))
    ordered = [pieces[name] for name in sorted(pieces)]
    return pl.concat_str(pl.lit("{"), pl.concat_str(ordered, separator=",", ignore_nulls=True), pl.lit("}"))


def _aliases_in_the_way(updates: pl.DataFrame) -> pl.DataFrame:
    """Removals of aliases that an account's rename wants as its address: Google refuses a rename onto an existing name or alias."""
    address = pl.concat_str("user_id", pl.lit("@"), "domain")
    wanted = updates.filter(pl.col("action").is_not_null() & pl.col("domain").is_not_null())
    own = wanted.filter(_holds(address))
    return conform(own.with_columns(action=pl.lit(Action.REMOVE_ALIAS.value), alias=address), _ALIAS_STEP)


_ALIAS_STEP = pl.Schema(
    {
        name: PROPOSAL[name]
        for name in ("tenant", "reason", "account_key", "target_id", "kode_kabkota", "action", "alias")
    }
)


def _holds(address: pl.Expr) -> pl.Expr:
    """Whether `aliases` has the address."""
    spaced = pl.concat_str(pl.lit(" "), pl.col("aliases"), pl.lit(" "))
    return spaced.str.contains(pl.concat_str(pl.lit(" "), address, pl.lit(" ")), literal=True).fill_null(value=False)


def _asked_aliases(active: pl.DataFrame, observed: pl.DataFrame, aliases: pl.DataFrame) -> pl.DataFrame:
    """Aliases that people asked for, with the account of this part they are for."""
    address = pl.concat_str("user_id", pl.lit("@"), "domain")
    asked = observed.lazy().with_columns(address=address, target_id="id").join(aliases.lazy(), on="address")
    return asked.join(active.lazy().select("account_key", "kode_kabkota"), on="account_key").collect()


def _aliases(asked: pl.DataFrame) -> pl.DataFrame:
    """Aliases that were asked for and are not there, or the other way round; a null action means no step."""
    differing = asked.filter(_holds(pl.col("alias")) != pl.col("wanted"))
    refusal = (
        pl.when("is_admin")
        .then(pl.lit(NoStep.ADMINISTRATOR_UNTOUCHED.value))
        .when(pl.col("wanted") & _is_another_s())
        .then(pl.lit(NoStep.ALIAS_TAKEN.value))
    )
    action = pl.when("wanted").then(pl.lit(Action.ADD_ALIAS.value)).otherwise(pl.lit(Action.REMOVE_ALIAS.value))
    return conform(
        differing.with_columns(
            action=pl.when(refusal.is_null()).then(action), reason=pl.coalesce(refusal, pl.lit("alias-asked-for"))
        ),
        _ALIAS_STEP,
    )


def _is_another_s() -> pl.Expr:
    """Whether somebody else has or had the alias's user ID. One's own stays one's own in every domain of the tenant."""
    own = pl.col("alias").str.starts_with(pl.concat_str("user_id", pl.lit("@")))
    lent = (pl.col("owner") != pl.col("account_key")).fill_null(value=False)
    return ~own & (pl.col("in_sight") | lent)


def _endings(
    changes: pl.DataFrame, desired: pl.DataFrame, observed: pl.DataFrame, remembered: Remembered
) -> pl.DataFrame:
    """Accounts that no active row asks for: leavers are suspended, later deleted, and everybody else gets a reason."""
    removed = changes.filter(pl.col("kind") == "removed").select(account_key="key")
    register = desired.select("account_key", "standing", "kode_kabkota", register_reason="reason").filter(
        pl.col("standing") != Standing.ACTIVE
    )
    joined = _with_announced(
        observed.join(removed, on="account_key", how="semi").join(register, on="account_key", how="left"), remembered
    )
    leaver = pl.col("standing") == Standing.LEAVER
    refusal = (
        pl.when(pl.col("standing").is_null())
        .then(pl.lit(NoStep.ABSENT_FROM_REGISTER.value))
        .when(~leaver)
        .then(pl.col("register_reason"))
        .when(pl.col("is_admin"))
        .then(pl.lit(NoStep.ADMINISTRATOR_UNTOUCHED.value))
        .when(pl.col("suspended") & ~pl.col("announced"))
        .then(pl.lit(NoStep.ALREADY_SUSPENDED.value))
    )
    action = pl.when("suspended").then(pl.lit(Action.DELETE.value)).otherwise(pl.lit(Action.SUSPEND.value))
    live = ~pl.col("suspended")
    return joined.select(
        "tenant",
        pl.when(refusal.is_null()).then(action).alias("action"),
        pl.coalesce(refusal, "register_reason").alias("reason"),
        "account_key",
        "user_id",
        "kode_kabkota",
        target_id="id",
        suspended=pl.when(live).then(pl.lit(value=True)),
        before=pl.when(live).then(pl.lit('{"suspended":false}')),
    )


def _with_announced(endings: pl.DataFrame, remembered: Remembered) -> pl.DataFrame:
    """Add `announced`: we suspended it long enough ago, and a notice of its end was delivered after that."""
    told = (
        endings.lazy()
        .select("account_key", address=pl.concat_str("user_id", pl.lit("@"), "domain"))
        .join(remembered.deletable.lazy(), on="account_key")
        .join(remembered.notices.lazy(), on="address")
        .filter(pl.col("delivered_on") >= pl.col("on"))
        .select("account_key", announced=pl.lit(value=True))
        .unique()
        .collect()
    )
    return endings.join(told, on="account_key", how="left").with_columns(pl.col("announced").fill_null(value=False))


def _proposed(verdicts: pl.DataFrame) -> pl.DataFrame:
    return conform(verdicts.filter(pl.col("action").is_not_null()), PROPOSAL)


def _unchanged(active: pl.DataFrame, changes: pl.DataFrame, lacking_only: pl.DataFrame, agreeing: int) -> pl.DataFrame:
    """No-ops by tenant: active rows that the comparison did not list and that lack no contact."""
    listed = pl.concat([changes.select(account_key="key"), lacking_only.select("account_key")])
    named = active.select("account_key", tenant="jenjang")
    unchanged = named.join(listed, on="account_key", how="anti").group_by("tenant").len("count")
    expected = agreeing - lacking_only.height
    if unchanged["count"].sum() != expected:  # the Rust count is the truth; a gap would mean lost rows
        raise AssertionError(f"no-ops do not add up: {expected}")
    return unchanged.with_columns(kind=pl.lit("action"), name=pl.lit("no-op"))


def _tallies(
    desired: pl.DataFrame, changes: pl.DataFrame, verdicts: pl.DataFrame, *, unchanged: pl.DataFrame
) -> pl.DataFrame:
    """No-ops, accounts without a step, and people who get no account, each by tenant and reason."""
    refused = verdicts.filter(pl.col("action").is_null()).group_by("tenant", name="reason").len("count")
    without_account = (
        desired.select("account_key", "jenjang", "standing", "reason")
        .filter(pl.col("standing") != Standing.ACTIVE)
        .join(changes.select(account_key="key"), on="account_key", how="anti")
        .group_by(tenant="jenjang", name="reason")
        .len("count")
    )
    claimed_twice = (
        changes.filter(pl.col("kind").str.starts_with("duplicate"))
        .select(account_key="key")
        .join(desired.select("account_key", tenant="jenjang"), on="account_key", how="left")
        .group_by("tenant")
        .len("count")
        .with_columns(name=pl.lit(NoStep.MARKER_ON_TWO_ACCOUNTS.value))
    )
    rows = [part.with_columns(kind=pl.lit("reason")) for part in (refused, without_account, claimed_twice)]
    return pl.concat([conform(frame, TALLY) for frame in (unchanged, *rows)])


def _bases(desired: pl.DataFrame, observed: pl.DataFrame) -> pl.DataFrame:
    live = observed.select("account_key", "tenant", "domain", "suspended").filter(pl.col("suspended").not_())
    return conform(
        live.join(desired.select("account_key", "kode_kabkota"), on="account_key", how="left")
        .group_by("tenant", "kode_kabkota")
        .agg(accounts=pl.len(), admins=pl.col("domain").str.starts_with("admin.").sum()),
        BASE,
    )
