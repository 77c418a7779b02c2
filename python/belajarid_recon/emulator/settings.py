"""What an emulator is started with. Everything has a default but its folder."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import orjson
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from belajarid_recon.errors import SettingsError
from belajarid_recon.schemas import Jenjang
from belajarid_recon.settings import describe_faults, is_loopback

LAGS = ("insert_seconds", "rename_seconds", "list_seconds", "search_seconds")
_NO_OTHERS = ConfigDict(extra="forbid")

Limit = Annotated[int, Field(strict=True, ge=0)]
"""0 refuses every call. These bounds are for settings that are read; code that makes its own is trusted further."""
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class EmulatorQuotas:
    """Limits of one tenant, counted in emulated time, its calls a minute for each user; the defaults are the documented ones.

    Source: developers.google.com/workspace/admin/directory/v1/limits. Google publishes no number for calls at once, so
    there is none here unless a start asks for one.
    """

    __pydantic_config__ = _NO_OTHERS

    calls_per_minute: Limit = 2_400
    """By user and Cloud project, so for each administrator that a tenant's service account acts for, and for itself."""
    calls_by_whole_minutes: bool = False
    """Google does not say whether a minute is any sixty seconds or one of the clock. False: a bucket that fills steadily and holds a
    minute's calls. True: each minute of emulated time has its calls, and what it does not use is lost."""
    creations_per_second_and_domain: Limit = 10
    orgunit_writes_per_second: Limit = 1
    orgunits_max: Limit = 40_000
    concurrent_calls_max: Limit | None = None
    accounts_max: Limit | None = None


@dataclass(frozen=True)
class EmulatorLag:
    """How long the directory takes to agree with itself, in emulated seconds; by default no time at all.

    Google promises no numbers. In the field: seconds to minutes after an insert, a minute and more after a rename, 15 seconds to
    minutes for lists, an hour and up to 36 for searches (reference, "Consistency").
    """

    __pydantic_config__ = _NO_OTHERS

    insert_seconds: Seconds = 0.0
    """A new account is not found by its id (404), may lack its name, and cannot be changed (412 conditionNotMet)."""
    rename_seconds: Seconds = 0.0
    """A renamed account cannot be changed (409 duplicate)."""
    list_seconds: Seconds = 0.0
    """Lists show accounts as they were, and miss those that were not."""
    search_seconds: Seconds = 0.0
    """The same for searches (`query=`)."""
    seed: int | None = None
    """With a seed each account has its own share of these numbers, from nothing to all; without, all of them all."""

    def __post_init__(self) -> None:
        """Refuse negative time."""
        if min(self.insert_seconds, self.rename_seconds, self.list_seconds, self.search_seconds) < 0:
            raise SettingsError("a lag cannot be negative", hint="use 0 or more emulated seconds")


@dataclass(frozen=True)
class EmulatorSettings:
    """One emulator: where it listens, where its state is, how fast its time runs, what it refuses."""

    __pydantic_config__ = _NO_OTHERS

    folder: Path
    """State, keys and service-account files. Starting again on the same folder continues."""
    host: str = "127.0.0.1"
    port: int = 0
    """0 takes a free one; the first line on standard output says which."""
    scale: float = 1.0
    """Emulated seconds in a real second."""
    quotas: EmulatorQuotas = EmulatorQuotas()
    quotas_by_tenant: Mapping[Jenjang, EmulatorQuotas] = field(default_factory=dict)
    lag: EmulatorLag = EmulatorLag()
    tenants: tuple[Jenjang, ...] = tuple(Jenjang)
    seed: int = 0
    """Decides customer ids and account ids. A folder keeps the one it was made with."""
    jitter_seconds: Seconds = 0.25
    """Real seconds of burst that quotas forgive. At scale 100 one real millisecond is a tenth of an emulated second, so
    without it the machine's own hiccups would count as the client's haste. The long-run rate is not touched, and at scale 1
    neither is anything else."""
    token_life_seconds: Seconds = 3_600.0
    """Emulated seconds an access token is good for. `expires_in` says the same number; a client counts it in real seconds, so at a
    scale above 1 it meets 401 and must ask again."""
    latency_seconds: Seconds = 0.0
    """Real seconds every call waits before it is carried out; makes calls overlap."""
    check_replies: bool = False
    """Whether each reply is held against the discovery document before it leaves, as each request always is. What does not fit is counted
    (`unfit_replies`) and sent all the same: a run ends, and its test fails. Costs about as much as carrying out a read."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if not is_loopback(self.host):
            raise SettingsError(
                f"the emulator listens on loopback only: {self.host}", hint="use a literal address: 127.0.0.1 or ::1"
            )
        if not 0 <= self.port <= 65_535:
            raise SettingsError(f"no such port: {self.port}", hint="use 0 to 65535; 0 takes a free one")
        if not 0 < self.scale <= 10_000:
            raise SettingsError(f"time scale is outside 0 to 10,000: {self.scale}", hint="1 is real time")
        if self.jitter_seconds < 0 or self.latency_seconds < 0 or self.token_life_seconds <= 0:
            raise SettingsError(
                "jitter_seconds and latency_seconds cannot be negative, nor token_life_seconds nothing",
                hint="use numbers of seconds",
            )
        if not self.tenants or len(set(self.tenants)) != len(self.tenants):
            hint = f"name each once: {', '.join(Jenjang)}"
            raise SettingsError(f"tenants must be one or more different jenjang: {', '.join(self.tenants)}", hint=hint)

    def quotas_of(self, tenant: Jenjang) -> EmulatorQuotas:
        """The tenant's own limits, or those of all."""
        return self.quotas_by_tenant.get(tenant, self.quotas)

    def to_json(self) -> str:
        """These settings as the one argument of `python -m belajarid_recon.emulator`."""
        document = asdict(self) | {"folder": str(self.folder), "quotas_by_tenant": {}}
        document["quotas_by_tenant"] = {str(name): asdict(limits) for name, limits in self.quotas_by_tenant.items()}
        return orjson.dumps(document).decode()


_SETTINGS = TypeAdapter(EmulatorSettings)
_SEE = "see docs/emulator.md"
_PARSERS: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    ".toml": ("TOML", tomllib.loads),
    ".json": ("JSON", orjson.loads),
}
_ARGUMENT = "the emulator's argument"


def settings_from_json(text: str) -> EmulatorSettings:
    """Read what `EmulatorSettings.to_json` wrote. Raises SettingsError naming what is wrong."""
    hint = 'pass one JSON object, at least {"folder": "..."}'
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise SettingsError(f"settings are refused: {_ARGUMENT}: {error}", hint=hint) from error
    return checked_settings(document, _ARGUMENT, hint=hint)


def read_settings_file(path: Path) -> dict[str, Any]:
    """A TOML or JSON file of emulator settings, not checked yet; a relative `folder` in it starts at the file's own.

    Raises SettingsError when it cannot be read, or is no table.
    """
    if path.suffix not in _PARSERS:
        raise SettingsError(
            f"settings are neither TOML nor JSON by their name: {path}", hint="end it in .toml or .json"
        )
    kind, parse = _PARSERS[path.suffix]
    try:
        document = parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"settings cannot be read: {path}", hint=str(error.strerror)) from error
    except ValueError as error:
        raise SettingsError(f"settings are not {kind}: {path}", hint=str(error)) from error
    if not isinstance(document, dict):
        raise SettingsError(f"settings are not one {kind} object: {path}", hint=_SEE)
    if isinstance(document.get("folder"), str):
        document["folder"] = str(path.parent.absolute() / document["folder"])
    return document


def checked_settings(document: Any, place: str, *, hint: str = _SEE) -> EmulatorSettings:  # noqa: ANN401 - not checked yet
    """Settings out of a document that stands at `place`. Raises SettingsError naming everything that is wrong in it."""
    try:
        _SETTINGS.validate_python(document)  # as it was written first: a shared limit that is wrong is no tenant's own
        return _SETTINGS.validate_python(_with_shared_quotas(document))
    except ValidationError as error:
        raise SettingsError(describe_faults(place, error), hint=hint) from error
    except SettingsError as error:
        raise SettingsError(f"settings are refused: {place}: {error.message}", hint=error.hint) from error


def _with_shared_quotas(document: dict[str, Any]) -> dict[str, Any]:
    """What a tenant's own quotas leave out is as the quotas of all have it."""
    shared, own = document.get("quotas", {}), document.get("quotas_by_tenant", {})
    return document | {"quotas_by_tenant": {name: shared | limits for name, limits in own.items()}}
