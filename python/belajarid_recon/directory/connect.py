"""From settings to directories: one for each tenant, nothing sent yet."""

from __future__ import annotations

from google.oauth2 import service_account

from belajarid_recon.components import Clock, Randomness
from belajarid_recon.directory.connections import WireLimits
from belajarid_recon.directory.credentials import TokenKeeper, load_credentials
from belajarid_recon.directory.google import GoogleDirectory, TenantFacts
from belajarid_recon.directory.governor import Governor, ProjectSchedule, policy_writes_of_project
from belajarid_recon.directory.transport import Transport, Wire
from belajarid_recon.errors import SettingsError
from belajarid_recon.schemas import Jenjang
from belajarid_recon.settings import Settings
from belajarid_recon.state.pauses import Pauses

SPARE_CONNECTIONS = 4
"""Beside the calls in flight: the token, and reads that settle."""


def connect(settings: Settings, clock: Clock, randomness: Randomness) -> dict[Jenjang, GoogleDirectory]:
    """One directory for each tenant of the settings, in the settings' order.

    Credentials are read here, and belong to their own world: SettingsError names a file that is missing, readable by others, no
    service account key, of the other endpoint class, or used for two senders. Pauses that an earlier start was asked for go on. No
    request leaves before a method is called.
    """
    return _Connecting(settings, clock, randomness).all()


class _Connecting:
    """What the tenants of one process share while they are connected: pauses, and the limits of Cloud projects."""

    def __init__(self, settings: Settings, clock: Clock, randomness: Randomness) -> None:
        self._settings = settings
        self._clock = clock
        self._randomness = randomness
        self._pauses = Pauses(settings.state, clock)

    def all(self) -> dict[Jenjang, GoogleDirectory]:
        """Every tenant's directory."""
        endpoint = self._settings.endpoint
        in_flight = self._settings.apply.in_flight
        limits = WireLimits(timeout_seconds=endpoint.timeout_seconds, connections=in_flight + SPARE_CONNECTIONS)
        wires = {tenant: Wire(endpoint, limits) for tenant in self._settings.tenants}
        credentials = {tenant: self._credentials(tenant, wire) for tenant, wire in wires.items()}
        projects = self._projects(credentials)
        return {
            tenant: self._directory(tenant, wires[tenant], found, [projects[_project(one)] for one in found])
            for tenant, found in credentials.items()
        }

    def _credentials(self, tenant: Jenjang, wire: Wire) -> list[service_account.Credentials]:
        """The tenant's own credentials and those of its further senders. Raises SettingsError."""
        account = self._settings.tenants[tenant]
        found: dict[tuple[str, str], service_account.Credentials] = {}
        own = (account.credentials_file, account.subject)
        for path, subject in (own, *((more.credentials_file, more.subject) for more in account.more_senders)):
            credentials = load_credentials(path, world=wire.world, subject=subject)
            user = (_project(credentials), (subject or str(credentials.service_account_email)).lower())
            if user in found:
                raise SettingsError(
                    f"two senders of tenant {tenant} are one user of one Cloud project, and share its quota: {path}",
                    hint="name another project's key, or another administrator as subject",
                )
            found[user] = credentials
        return list(found.values())

    def _projects(self, credentials: dict[Jenjang, list[service_account.Credentials]]) -> dict[str, ProjectSchedule]:
        """The limits of each Cloud project, by its id; of two tenants' numbers the lower one counts."""
        least: dict[str, ProjectSchedule] = {}
        by_number = sorted(
            credentials, key=lambda one: -self._settings.quotas_of(one).policy_writes_per_second_and_project
        )
        for tenant in by_number:
            limit = policy_writes_of_project(self._settings.quotas_of(tenant))
            least |= dict.fromkeys(map(_project, credentials[tenant]), limit)
        return least

    def _directory(
        self,
        tenant: Jenjang,
        wire: Wire,
        credentials: list[service_account.Credentials],
        projects: list[ProjectSchedule],
    ) -> GoogleDirectory:
        governor = Governor(
            tenant,
            self._settings.quotas_of(tenant),
            self._clock,
            self._randomness,
            projects=projects,
            places=self._settings.apply.in_flight + SPARE_CONNECTIONS,
            pauses=self._pauses,
        )
        transports = [Transport(wire, TokenKeeper(one, wire, self._clock)) for one in credentials]
        customer_id = self._settings.tenants[tenant].customer_id
        return GoogleDirectory(transports, TenantFacts(tenant, customer_id, governor, self._clock, self._randomness))


def _project(credentials: service_account.Credentials) -> str:
    """The Cloud project a key belongs to."""
    return str(credentials.project_id)
