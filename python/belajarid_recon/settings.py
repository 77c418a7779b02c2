"""Settings: one TOML file, checked in full before anything starts. Secrets are named by file, never written in it."""

from __future__ import annotations

import ipaddress
import tomllib
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from belajarid_recon.errors import SettingsError
from belajarid_recon.schemas import Jenjang

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


class Tenant(_Table):
    """One Google Workspace customer."""

    customer_id: Annotated[str, Field(min_length=1, max_length=64)]
    """The id the server must answer with; another one refuses the run."""
    credentials_file: Path
    """Service account key (JSON), readable by its owner only."""
    subject: str | None = None
    """Administrator the service account acts for; none where it holds a role itself."""


class Quotas(_Table):
    """Documented limits of the Directory API, per tenant (developers.google.com/workspace/admin/directory/v1/limits)."""

    calls_per_minute: Annotated[int, Field(gt=0)] = 2_400
    creations_per_second_and_domain: Annotated[int, Field(gt=0)] = 10
    orgunit_writes_per_second: Annotated[int, Field(gt=0)] = 1


class Apply(_Table):
    """How a plan is carried out."""

    in_flight: Annotated[int, Field(ge=1, le=64)] = 8
    """Calls under way at once in a tenant; also the most intents a kill can leave open there."""
    attempts: Annotated[int, Field(ge=1, le=100)] = 10
    """Sendings of one step before it is parked. Throttled replies do not count."""
    crashes: Annotated[int, Field(ge=1, le=100)] = 2
    """Deaths of the program at which a step was under way before it is taken up alone, and parked if the program dies again."""
    lag_seconds: Annotated[float, Field(ge=0, le=3_600)] = 60.0
    """How long an absent account is read again before an ambiguous insert is sent again."""
    password_rounds: Annotated[int, Field(ge=1_000, le=PASSWORD_ROUNDS)] | None = None
    """Rounds of the `$6$` hash of a new account; by default 1,000 towards the emulator and 10,000 otherwise."""


class Ceiling(_Table):
    """A guard's number. Over `count_max`, or over `share_max` once `count_min` is reached, the slice's steps are held."""

    share_max: Annotated[float, Field(ge=0, le=1)]
    count_max: Annotated[int, Field(ge=0)]
    count_min: Annotated[int, Field(ge=0)] = 20
    """Below this count the share is not looked at: one leaver of five pupils is no sign of a damaged source."""


class Guards(_Table):
    """Ceilings on what takes something away.

    The kabupaten's or kota's number is looked at over all tenants and in each tenant. A share of suspensions is one of all live accounts of
    ours in the slice, a share of demotions one of its live administrators' accounts.
    """

    suspensions_per_kabkota: Ceiling = Ceiling(share_max=0.05, count_max=20_000)
    suspensions_per_tenant: Ceiling = Ceiling(share_max=0.10, count_max=500_000)
    demotions_per_kabkota: Ceiling = Ceiling(share_max=0.10, count_max=1_000, count_min=10)
    demotions_per_tenant: Ceiling = Ceiling(share_max=0.10, count_max=10_000, count_min=10)


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
    apply: Apply = Apply()
    quotas: dict[Jenjang, Quotas] = {}
    guards: Guards = Guards()
    regulations: RegulationChoice = RegulationChoice()

    @model_validator(mode="after")
    def _one_tenant_a_customer(self) -> Settings:
        customers = [tenant.customer_id for tenant in self.tenants.values()]
        if len(set(customers)) != len(customers):
            raise ValueError("two tenants name one customer_id")
        return self

    def quotas_of(self, tenant: Jenjang) -> Quotas:
        """The tenant's own quotas, or the documented defaults."""
        return self.quotas.get(tenant, Quotas())

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
        raise SettingsError(_describe(path, error), hint="see docs/settings.md") from error


def _anchored(document: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Make the paths of a settings document absolute."""

    def anchor(table: Any, name: str) -> None:  # noqa: ANN401 - not checked yet
        if isinstance(table, dict) and isinstance(table.get(name), str):
            table[name] = str(folder / table[name])

    anchor(document, "state")
    anchor(document, "state_anchor")
    for name in ("marker_file", "naming_file"):
        anchor(document.get("keys"), name)
    tenants = document.get("tenants")
    for tenant in tenants.values() if isinstance(tenants, dict) else ():
        anchor(tenant, "credentials_file")
    return document


def _describe(path: Path, error: ValidationError) -> str:
    """Every fault in one message. Values are not repeated: one of them could be a secret put in the wrong place."""
    faults = [
        f"{'.'.join(map(str, fault['loc'])) or 'settings'}: {fault['msg']}"
        for fault in error.errors(include_input=False)
    ]
    return f"settings are refused: {path}: " + "; ".join(faults)
