"""From settings to directories: one for each tenant, nothing sent yet."""

from __future__ import annotations

from belajarid_recon.components import Clock, Randomness
from belajarid_recon.directory.connections import WireLimits
from belajarid_recon.directory.credentials import TokenKeeper, load_credentials
from belajarid_recon.directory.google import GoogleDirectory, Lane
from belajarid_recon.directory.quotas import Pacer
from belajarid_recon.directory.transport import Transport, Wire
from belajarid_recon.schemas import Jenjang
from belajarid_recon.settings import Settings

SPARE_CONNECTIONS = 4
"""Beside the calls in flight: the token, and reads that settle."""


def connect(settings: Settings, clock: Clock, randomness: Randomness) -> dict[Jenjang, GoogleDirectory]:
    """One directory for each tenant of the settings, in the settings' order.

    Credentials are read here, and belong to their own world: SettingsError names a file that is missing, readable by others, no
    service account key, or of the other endpoint class. No request leaves before a method is called.
    """
    return {tenant: connect_tenant(settings, tenant, clock, randomness) for tenant in settings.tenants}


def connect_tenant(settings: Settings, tenant: Jenjang, clock: Clock, randomness: Randomness) -> GoogleDirectory:
    """The directory of one tenant. Raises as `connect`."""
    account = settings.tenants[tenant]
    endpoint = settings.endpoint
    limits = WireLimits(
        timeout_seconds=endpoint.timeout_seconds, connections=settings.apply.in_flight + SPARE_CONNECTIONS
    )
    wire = Wire(endpoint, limits)
    credentials = load_credentials(account.credentials_file, world=wire.world, subject=account.subject)
    pacer = Pacer(settings.quotas_of(tenant), clock, randomness, scale=endpoint.time_scale)
    lane = Lane(tenant, account.customer_id, pacer, clock, randomness)
    return GoogleDirectory(Transport(wire, TokenKeeper(credentials, wire, clock)), lane)
