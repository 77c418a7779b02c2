"""Settings: one TOML file, checked in full before anything starts. Secrets are named by file, never written in it."""

from __future__ import annotations

import ipaddress
import re
import tomllib
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from belajarid_recon.errors import SettingsError
from belajarid_recon.schemas import Action, GroupKind, Jenjang, PersonKind

LOOPBACK_PASSWORD_ROUNDS = 1_000
PASSWORD_ROUNDS = 10_000  # the most Google accepts: discovery document, User.hashFunction


class _Table(BaseModel):
    """A settings table: unknown keys are refused, values are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class EndpointClass(StrEnum):
    """Which world a run talks to. It is part of the plan's digest."""

    EMULATOR = "emulator"
    GOOGLE = "google"


class Endpoint(_Table):
    """Where the directory is."""

    kind: EndpointClass = Field(alias="class")
    url: str = ""
    """Base address, `http://127.0.0.1:PORT/`; empty for Google, whose address only the transport knows."""
    time_scale: Annotated[float, Field(gt=0, le=10_000)] = 1.0
    """How many times faster than real time the emulator's clock runs; 1 for Google."""
    timeout_seconds: Annotated[float, Field(gt=0, le=600)] = 60.0
    """Real seconds a request may take before its outcome counts as unknown."""

    @model_validator(mode="after")
    def _one_world(self) -> Endpoint:
        if self.kind is EndpointClass.EMULATOR:
            parts = urlsplit(self.url)
            if parts.scheme != "http" or not is_loopback(parts.hostname or "") or parts.port is None:
                raise ValueError(f"the emulator's url must be http://127.0.0.1:PORT/ or http://[::1]:PORT/: {self.url}")
        elif self.url or self.time_scale != 1.0:
            raise ValueError("url and time_scale belong to the emulator")
        return self


def is_loopback(host: str) -> bool:
    """Whether `host` is a literal loopback address. Names, `localhost` too, are not: a name can be made to point anywhere."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Sender(_Table):
    """One more service account or administrator that sends for a tenant.

    Google allows 2,400 calls a minute to each user in each Cloud project, and says nothing of several in turn: it is a way past a limit
    that somebody has to answer for. Hence the name and the day, and no default for either.
    """

    credentials_file: Path
    subject: str | None = None
    agreed_by: Annotated[str, Field(min_length=3, max_length=200)]
    """Who agreed, at Google or at the ministry, that this tenant is written by more than one sender."""
    agreed_on: date


class Tenant(_Table):
    """One Google Workspace customer."""

    customer_id: Annotated[str, Field(min_length=1, max_length=64)]
    """The id the server must answer with; another one refuses the run."""
    credentials_file: Path
    """Service account key (JSON), readable by its owner only."""
    subject: str | None = None
    """Administrator the service account acts for; none where it holds a role itself."""
    more_senders: Annotated[tuple[Sender, ...], Field(max_length=16)] = ()

    @model_validator(mode="before")
    @classmethod
    def _agreed(cls, table: Any) -> Any:  # noqa: ANN401 - not checked yet
        """Say why an agreement is asked for, where `Field required` would not."""
        senders = table.get("more_senders", ()) if isinstance(table, dict) else ()
        for sender in senders if isinstance(senders, list | tuple) else ():
            if isinstance(sender, dict) and not {"agreed_by", "agreed_on"} <= sender.keys():
                raise ValueError(
                    "more_senders multiply a quota that Google gives once: each needs agreed_by (who) and agreed_on (the day)"
                )
        return table


Count = Annotated[int, Field(strict=True, gt=0, le=10**9)]


class Quotas(_Table):
    """Documented limits, per tenant.

    developers.google.com/workspace/admin/directory/v1/limits, and developers.google.com/chrome/policy/guides/api-quotas.
    """

    calls_per_minute: Count = 2_400
    """By administrator and Cloud project, so for each of a tenant's senders."""
    creations_per_second_and_domain: Count = 10
    orgunit_writes_per_second: Count = 1
    policy_writes_per_minute: Count = 30
    """Writes to Chrome policies, by customer."""
    policy_writes_per_second_and_project: Count = 15
    """Likewise by Cloud project; tenants that share a project share it, and the lowest of their numbers counts."""
    device_writes_per_minute: Count | None = None
    """Google publishes no number for writes to devices: they are calls like others unless a tenant sets one."""


class Apply(_Table):
    """How a plan is carried out."""

    in_flight: Annotated[int, Field(strict=True, ge=1, le=64)] = 16
    """Calls under way at once in a tenant; also the most intents a kill can leave open there. 8 fill the documented quota where an
    answer takes 200 ms; the rest wait for their slots."""
    lanes: Annotated[tuple[Action, ...], Field(max_length=len(Action))] = ()
    """Actions on accounts by importance, the first first; those not named follow in the plan's own order."""
    attempts: Annotated[int, Field(ge=1, le=100)] = 10
    """Sendings of one step before it is parked. Throttled replies do not count."""
    crashes: Annotated[int, Field(ge=1, le=100)] = 2
    """Deaths of the program at which a step was under way before it is taken up alone, and parked if the program dies again."""
    lag_seconds: Annotated[float, Field(ge=0, le=3_600)] = 60.0
    """How long an absent account is read again before an ambiguous insert is sent again, and a write before it is contradicted."""
    password_rounds: Annotated[int, Field(ge=1_000, le=PASSWORD_ROUNDS)] | None = None
    """Rounds of the `$6$` hash of a new account; by default 1,000 towards the emulator and 10,000 otherwise."""

    @field_validator("lanes")
    @classmethod
    def _each_once(cls, lanes: tuple[Action, ...]) -> tuple[Action, ...]:
        if len(set(lanes)) != len(lanes):
            raise ValueError("an action stands in lanes twice")
        if Action.CREATE_ORGUNIT in lanes:
            raise ValueError(
                "create-orgunit has no place in lanes: accounts need their units, so units always come first"
            )
        return lanes


class Lease(_Table):
    """Where the epoch of the latest apply stands in each tenant's directory."""

    unit: Annotated[str, Field(max_length=200, pattern=r"^(/[^/#+\\\x00-\x1f]+)*$")] = "/belajarid-recon"
    """Path of an organisational unit for its description alone; made when it is not there. Empty: a restored older state folder is
    not noticed by what the directory says."""


class Ceiling(_Table):
    """A guard's number. Over `count_max`, or over `share_max` once `count_min` is reached, the slice's steps are held."""

    share_max: Annotated[float, Field(ge=0, le=1)]
    count_max: Annotated[int, Field(ge=0)]
    count_min: Annotated[int, Field(ge=0)] = 20
    """Below this count the share is not looked at: one leaver of five pupils is no sign of a damaged source."""


class Guards(_Table):
    """Ceilings on what takes something away.

    The kabupaten's or kota's number is looked at over all tenants and in each tenant. A share of suspensions is one of all live accounts of
    ours in the slice, a share of demotions one of its live administrators' accounts, a share of removals (of members from groups) one of
    the members of ours in its groups.
    """

    suspensions_per_kabkota: Ceiling = Ceiling(share_max=0.05, count_max=20_000)
    suspensions_per_tenant: Ceiling = Ceiling(share_max=0.10, count_max=500_000)
    deletions_per_kabkota: Ceiling = Ceiling(share_max=0.05, count_max=5_000)
    deletions_per_tenant: Ceiling = Ceiling(share_max=0.05, count_max=100_000)
    demotions_per_kabkota: Ceiling = Ceiling(share_max=0.10, count_max=1_000, count_min=10)
    demotions_per_tenant: Ceiling = Ceiling(share_max=0.10, count_max=10_000, count_min=10)
    removals_per_kabkota: Ceiling = Ceiling(share_max=0.10, count_max=5_000)
    removals_per_tenant: Ceiling = Ceiling(share_max=0.10, count_max=100_000)


GROUP_LOCAL_PART_MAX = 64
GROUP_NAME_MAX = 73
_SAMPLE_FIELDS = {
    GroupKind.EDUCATORS_OF_SCHOOL: {"npsn": "20100100", "kode_kabkota": "026100"},
    GroupKind.ADMINS_OF_KABKOTA: {"kode_kabkota": "026100"},
}
"""Codes as long as any, to try patterns with."""
_CODE_OF_KIND = {GroupKind.EDUCATORS_OF_SCHOOL: "npsn", GroupKind.ADMINS_OF_KABKOTA: "kode_kabkota"}
_ADDRESS_OF_KIND = {
    GroupKind.EDUCATORS_OF_SCHOOL: "guru-{npsn}@guru.{jenjang}.belajar.id",
    GroupKind.ADMINS_OF_KABKOTA: "admin-{kode_kabkota}@admin.{jenjang}.belajar.id",
}
_NAME_OF_KIND = {
    GroupKind.EDUCATORS_OF_SCHOOL: "Guru {npsn} {jenjang}",
    GroupKind.ADMINS_OF_KABKOTA: "Admin {jenjang} {kabkota}",
}
_GROUP_LOCAL_PART = re.compile(r"[a-z0-9](?:[._-]?[a-z0-9])*")
_GROUP_DOMAIN = re.compile(r"[a-z0-9](?:[.-]?[a-z0-9])*")


class GroupRule(_Table):
    """One kind of group that is made and kept, in the tenant of each jenjang it names.

    `address` and `name` are patterns with fields in braces: {npsn} (schools only), {kode_kabkota}, {jenjang}, and in names {kabkota}, the
    name of the kabupaten or kota. They are used when a group is made; one that is there keeps its address and name.
    Limits: 64 characters of letters, digits, `.`, `-` and `_` before the @, and 73 of a name (support.google.com/a/answer/9193374).
    """

    kind: GroupKind
    jenjang: Annotated[tuple[Jenjang, ...], Field(min_length=1)] | None = None
    """Tenants that have it; absent: all."""
    address: Annotated[str, Field(max_length=256)] = ""
    name: Annotated[str, Field(max_length=256)] = ""

    @model_validator(mode="after")
    def _patterns(self) -> GroupRule:
        local, _, domain = self.address_pattern.partition("@")
        if f"{{{_CODE_OF_KIND[self.kind]}}}" not in local:
            raise ValueError(
                f"address needs {{{_CODE_OF_KIND[self.kind]}}} before the @: each group has its own address"
            )
        if not set("-_") & set(re.sub(r"\{[a-z_]*\}", "", local)):
            raise ValueError("address needs a hyphen or an underscore before the @: no account's user ID has one")
        fields = _SAMPLE_FIELDS[self.kind]
        for jenjang in self.jenjang or tuple(Jenjang):
            named = {"jenjang": jenjang.value}
            part = _filled("address", local, fields | named)
            if len(part) > GROUP_LOCAL_PART_MAX or not _GROUP_LOCAL_PART.fullmatch(part):
                raise ValueError("address is no address: up to 64 letters, digits, . - and _ before the @, all small")
            if not _GROUP_DOMAIN.fullmatch(_filled("address", domain, named)):
                raise ValueError("address has no domain after the @; {jenjang} is its only field")
            name = _filled("name", self.name_pattern, fields | named | {"kabkota": ""})
            if not name.strip() or len(name) > GROUP_NAME_MAX or set("=<>") & set(name):
                raise ValueError("name is too long or has = < or >: up to 73 characters")
        return self

    @property
    def address_pattern(self) -> str:
        """The pattern of addresses, or the kind's default."""
        return self.address or _ADDRESS_OF_KIND[self.kind]

    @property
    def name_pattern(self) -> str:
        """The pattern of names, or the kind's default."""
        return self.name or _NAME_OF_KIND[self.kind]


def _filled(what: str, pattern: str, fields: dict[str, str]) -> str:
    """The pattern with its fields filled in. Raises ValueError for another field, or a brace that is none."""
    plain = pattern
    for field, value in fields.items():
        plain = plain.replace(f"{{{field}}}", value)
    if "{" in plain or "}" in plain:
        raise ValueError(f"{what} has a field that is none here; there are: {', '.join(sorted(fields))}")
    return plain


class Deletion(_Table):
    """Who agreed that accounts are deleted, and after how long. Without this table none is."""

    agreed_by: Annotated[str, Field(min_length=3, max_length=200)]
    """Name and office of the person who answers for it."""
    agreed_on: date
    after_days: Annotated[int, Field(ge=30, le=3_650)] = 365
    """Days between our suspension of a leaver's account and its deletion."""
    notices_file: Path
    """Notices that were delivered: CSV with the columns address and delivered_on (ISO date)."""
    notice_days: Annotated[int, Field(ge=7, le=3_650)] = 30
    """Days between the notice and the deletion."""


class Aliases(_Table):
    """Aliases that people asked for."""

    file: Path
    """CSV with the columns address (the primary one), alias and wanted (yes or no)."""


class EngineName(StrEnum):
    """Who works the parts."""

    LOCAL = "local"
    RAY = "ray"


class Run(_Table):
    """How the work is cut, and who does it. Nothing here changes a plan."""

    parts: Annotated[int, Field(ge=1, le=512)] = 4
    threads: Annotated[int, Field(ge=1, le=64)] = 2
    """Threads of one call of the core."""
    parts_at_once: Annotated[int, Field(ge=1, le=512)] = 2
    """Parts under way at once: memory is theirs, and not the country's."""
    engine: EngineName = EngineName.LOCAL
    ray_address: Annotated[str, Field(max_length=256)] = ""
    """Address of a Ray cluster that sees the same folders; empty: workers on this machine, on loopback."""

    @model_validator(mode="after")
    def _power_of_two(self) -> Run:
        if self.parts & (self.parts - 1):
            raise ValueError(f"parts must be a power of two: {self.parts}")
        return self


class Keys(_Table):
    """Files that hold one 32-byte key each, as 64 hexadecimal digits."""

    marker_file: Path | None = None
    naming_file: Path | None = None


class Recovery(_Table):
    """Whose own mail and phone of the register become the recovery contacts of their accounts."""

    staff: bool = True
    pupils: bool = False
    """Off, their contacts are not even read: most are children, and what the register has is often a parent's."""
    people_per_contact_max: Annotated[int, Field(ge=1, le=1_000)] = 5
    """A contact of more people than this is nobody's own, a school's office for one, and is not written."""

    def kinds(self) -> frozenset[PersonKind]:
        """Whose contacts are read. Users without a PTK row are staff, and the register's tables have none of theirs."""
        staff = {PersonKind.PTK, PersonKind.PENGGUNA} if self.staff else set()
        return frozenset(staff | ({PersonKind.PESERTA_DIDIK} if self.pupils else set()))


class Backup(_Table):
    """To whom backups of the state folder and its keys are sealed."""

    recipients: Annotated[tuple[str, ...], Field(min_length=2, max_length=16)]
    """Age public keys, `age1…`, of people who keep the secret keys apart. Each opens a backup alone: one that is lost costs nothing."""

    @field_validator("recipients")
    @classmethod
    def _two_people(cls, recipients: tuple[str, ...]) -> tuple[str, ...]:
        import pyrage  # noqa: PLC0415 - only where a backup is spoken of

        keys = []
        for place, text in enumerate(recipients):
            try:
                keys.append(str(pyrage.x25519.Recipient.from_str(text)))
            except pyrage.RecipientError:
                secret = text.upper().startswith("AGE-SECRET-KEY")
                what = "a secret key, which belongs in no settings" if secret else "no age public key (age1…)"
                raise ValueError(f"number {place + 1} is {what}") from None
        if len(set(keys)) != len(keys):
            raise ValueError("one recipient stands there twice: two different ones are needed at least")
        return tuple(keys)


class Reading(_Table):
    """How a reading of the directory that was stopped is gone on with."""

    hours_max: Annotated[float, Field(ge=0, le=72)] = 24.0
    """Hours from its beginning after which it is begun anew; 0: always.

    The country takes some seven hours, so a day lets a reading that was stopped at night end in the morning, and no plan is made from
    last week's directory. Page tokens live three days (discovery document, users.list): the most that makes sense.
    """


class RegulationChoice(_Table):
    """What the shipped regulations leave to the ministry."""

    in_force_from: dict[str, date] = {}
    """Regulation id to its first day, for those whose date is not confirmed in the published texts."""


class Settings(_Table):
    """Everything a run needs to know beside its extract and date."""

    state: Path
    state_anchor: Path | None = None
    """Folder, best on another disk, that remembers how far the state folder has come; none: an older copy is not noticed."""
    endpoint: Endpoint
    tenants: dict[Jenjang, Tenant]
    keys: Keys = Keys()
    run: Run = Run()
    reading: Reading = Reading()
    apply: Apply = Apply()
    lease: Lease = Lease()
    quotas: dict[Jenjang, Quotas] = {}
    guards: Guards = Guards()
    deletion: Deletion | None = None
    aliases: Aliases | None = None
    recovery: Recovery = Recovery()
    backup: Backup | None = None
    regulations: RegulationChoice = RegulationChoice()
    groups: Annotated[tuple[GroupRule, ...], Field(max_length=2 * len(Jenjang))] = ()

    @model_validator(mode="after")
    def _one_rule_a_group(self) -> Settings:
        pairs = [(rule.kind, jenjang) for rule in self.groups for jenjang in self.jenjang_of(rule)]
        if len(set(pairs)) != len(pairs):
            raise ValueError("groups name one kind twice for a jenjang")
        for _, jenjang in pairs:
            if jenjang not in self.tenants:
                raise ValueError(f"groups name a jenjang that is no tenant: {jenjang}")
        return self

    @model_validator(mode="after")
    def _one_tenant_a_customer(self) -> Settings:
        customers = [tenant.customer_id for tenant in self.tenants.values()]
        if len(set(customers)) != len(customers):
            raise ValueError("two tenants name one customer_id")
        return self

    @model_validator(mode="after")
    def _quotas_of_tenants(self) -> Settings:
        strangers = sorted(self.quotas.keys() - self.tenants.keys())
        if strangers:
            raise ValueError(f"quotas are set for what is no tenant here: {', '.join(strangers)}")
        return self

    def quotas_of(self, tenant: Jenjang) -> Quotas:
        """The tenant's own quotas, or the documented defaults."""
        return self.quotas.get(tenant, Quotas())

    def jenjang_of(self, rule: GroupRule) -> tuple[Jenjang, ...]:
        """The tenants that have a rule's groups."""
        return rule.jenjang or tuple(self.tenants)

    def password_rounds(self) -> int:
        """Rounds of a new account's password hash."""
        if self.apply.password_rounds is not None:
            return self.apply.password_rounds
        loopback = self.endpoint.kind is EndpointClass.EMULATOR
        return LOOPBACK_PASSWORD_ROUNDS if loopback else PASSWORD_ROUNDS


def load_settings(path: Path) -> Settings:
    """Read and check a settings file; relative paths in it start at its folder.

    Raises SettingsError naming the file, the place in it, and what is wrong there.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"settings cannot be read: {path}", hint=str(error.strerror)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"settings are not TOML: {path}", hint=str(error)) from error
    try:
        return Settings.model_validate(_anchored(document, path.parent.absolute()))
    except ValidationError as error:
        raise SettingsError(describe_faults(str(path), error), hint="see docs/settings.md") from error


def _anchored(document: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Make the paths of a settings document absolute."""

    def anchor(table: Any, name: str) -> None:  # noqa: ANN401 - not checked yet
        if isinstance(table, dict) and isinstance(table.get(name), str):
            table[name] = str(folder / table[name])

    anchor(document, "state")
    anchor(document, "state_anchor")
    for name in ("marker_file", "naming_file"):
        anchor(document.get("keys"), name)
    anchor(document.get("deletion"), "notices_file")
    anchor(document.get("aliases"), "file")
    tenants = document.get("tenants")
    for tenant in tenants.values() if isinstance(tenants, dict) else ():
        anchor(tenant, "credentials_file")
        senders = tenant.get("more_senders") if isinstance(tenant, dict) else None
        for sender in senders if isinstance(senders, list) else ():
            anchor(sender, "credentials_file")
    return document


def describe_faults(place: str, error: ValidationError) -> str:
    """Every fault in one message. Values are not repeated: one of them could be a secret put in the wrong place."""
    faults = [
        f"{'.'.join(map(str, fault['loc'])) or 'settings'}: {fault['msg']}"
        for fault in error.errors(include_input=False)
    ]
    return f"settings are refused: {place}: " + "; ".join(faults)
