"""What an emulator is started with. Everything has a default but its folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson

from belajarid_recon.errors import SettingsError
from belajarid_recon.schemas import Jenjang
from belajarid_recon.settings import is_loopback


@dataclass(frozen=True)
class EmulatorQuotas:
    """Limits of one tenant, counted in emulated time, its calls a minute for each user; the defaults are the documented ones.

    Source: developers.google.com/workspace/admin/directory/v1/limits. Google publishes no number for calls at once, so
    there is none here unless a start asks for one.
    """

    calls_per_minute: int = 2_400
    """By user and Cloud project, so for each administrator that a tenant's service account acts for, and for itself."""
    calls_by_whole_minutes: bool = False
    """Google does not say whether a minute is any sixty seconds or one of the clock. False: a bucket that fills steadily and holds a
    minute's calls. True: each minute of emulated time has its calls, and what it does not use is lost."""
    creations_per_second_and_domain: int = 10
    orgunit_writes_per_second: int = 1
    orgunits_max: int = 40_000
    concurrent_calls_max: int | None = None
    accounts_max: int | None = None


@dataclass(frozen=True)
class EmulatorLag:
    """How long the directory takes to agree with itself, in emulated seconds; by default no time at all.

    Google promises no numbers. In the field: seconds to minutes after an insert, a minute and more after a rename, 15 seconds to
    minutes for lists, an hour and up to 36 for searches (reference, "Consistency").
    """

    insert_seconds: float = 0.0
    """A new account is not found by its id (404), may lack its name, and cannot be changed (412 conditionNotMet)."""
    rename_seconds: float = 0.0
    """A renamed account cannot be changed (409 duplicate)."""
    list_seconds: float = 0.0
    """Lists show accounts as they were, and miss those that were not."""
    search_seconds: float = 0.0
    """The same for searches (`query=`)."""
    seed: int | None = None
    """With a seed each account has its own share of these numbers, from nothing to all; without, all of them all."""

    def __post_init__(self) -> None:
        """Refuse negative time."""
        if min(self.insert_seconds, self.rename_seconds, self.list_seconds, self.search_seconds) < 0:
            raise SettingsError("a lag cannot be negative")


@dataclass(frozen=True)
class EmulatorSettings:
    """One emulator: where it listens, where its state is, how fast its time runs, what it refuses."""

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
    jitter_seconds: float = 0.25
    """Real seconds of burst that quotas forgive. At scale 100 one real millisecond is a tenth of an emulated second, so
    without it the machine's own hiccups would count as the client's haste. The long-run rate is not touched, and at scale 1
    neither is anything else."""
    token_life_seconds: float = 3_600.0
    """Emulated seconds an access token is good for. `expires_in` says the same number; a client counts it in real seconds, so at a
    scale above 1 it meets 401 and must ask again."""
    latency_seconds: float = 0.0
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
            raise SettingsError(f"time scale is outside 0 to 10,000: {self.scale}")
        if self.jitter_seconds < 0 or self.latency_seconds < 0 or self.token_life_seconds <= 0:
            raise SettingsError("jitter_seconds and latency_seconds cannot be negative, nor token_life_seconds nothing")
        if not self.tenants or len(set(self.tenants)) != len(self.tenants):
            raise SettingsError("tenants must be one or more different jenjang")

    def quotas_of(self, tenant: Jenjang) -> EmulatorQuotas:
        """The tenant's own limits, or those of all."""
        return self.quotas_by_tenant.get(tenant, self.quotas)

    def to_json(self) -> str:
        """These settings as the one argument of `python -m belajarid_recon.emulator`."""
        document = asdict(self) | {"folder": str(self.folder), "quotas_by_tenant": {}}
        document["quotas_by_tenant"] = {str(name): asdict(limits) for name, limits in self.quotas_by_tenant.items()}
        return orjson.dumps(document).decode()


def settings_from_json(text: str) -> EmulatorSettings:
    """Read what `EmulatorSettings.to_json` wrote. Raises SettingsError naming what is wrong."""
    try:
        document: dict[str, Any] = orjson.loads(text)
        quotas = EmulatorQuotas(**document.pop("quotas", {}))
        by_tenant = {
            Jenjang(name): replace(quotas, **limits) for name, limits in document.pop("quotas_by_tenant", {}).items()
        }
        lag = EmulatorLag(**document.pop("lag", {}))
        tenants = tuple(Jenjang(name) for name in document.pop("tenants", tuple(Jenjang)))
        folder = Path(document.pop("folder"))
        return EmulatorSettings(
            folder=folder, quotas=quotas, quotas_by_tenant=by_tenant, lag=lag, tenants=tenants, **document
        )
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise SettingsError(
            f"emulator settings are refused: {error}", hint='pass one JSON object, at least {"folder": "..."}'
        ) from error
