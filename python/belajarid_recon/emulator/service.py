"""The API without its socket: finds a call's method, checks it, carries it out, words its answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import orjson

from belajarid_recon.components import Clock, ScaledClock
from belajarid_recon.emulator.call import Call
from belajarid_recon.emulator.directory import open_directory
from belajarid_recon.emulator.discovery import Discovery, Method, load_discovery
from belajarid_recon.emulator.faults import Faults
from belajarid_recon.emulator.fields import filtered
from belajarid_recon.emulator.instants import EmulatedTime
from belajarid_recon.emulator.lag import Lag
from belajarid_recon.emulator.quotas import TenantQuotas
from belajarid_recon.emulator.replies import Answer, ApiError, GrantError
from belajarid_recon.emulator.settings import EmulatorSettings
from belajarid_recon.emulator.statistics import Statistics
from belajarid_recon.emulator.storage import Storage
from belajarid_recon.emulator.tenants import open_tenant
from belajarid_recon.emulator.tokens import Access, Terms, Tokens
from belajarid_recon.errors import SettingsError

DATABASE = "directory.sqlite"
CREDENTIALS = "credentials"
API = "/admin/directory/v1/"
_TIME_AHEAD_SECONDS = 0.1
"""Real seconds by which the kept time is ahead of the running one: a kill makes time jump by as much, and never go back."""


@dataclass(frozen=True, slots=True)
class Admitted:
    """A call whose method exists, is emulated, and whose caller may use it."""

    method: Method
    access: Access
    path: tuple[str, ...]


class Service:
    """One emulator: storage, tenants, quotas, methods."""

    def __init__(self, settings: EmulatorSettings, url: str) -> None:
        self.settings = settings
        self.discovery: Discovery = load_discovery()
        self.statistics = Statistics()
        self.faults = Faults(frozenset(self.discovery.methods))
        self.storage = Storage(settings.folder / DATABASE)
        seed = _kept_seed(self.storage, settings)
        self.time = _opened_time(self.storage, ScaledClock(settings.scale))
        self._time_kept = 0.0
        folder = _credentials_folder(settings.folder)
        self.tenants = {
            name: open_tenant(name, seed=seed, folder=folder, token_url=f"{url}token") for name in settings.tenants
        }
        terms = Terms(f"{url}token", settings.token_life_seconds)
        self.tokens = Tokens(self.tenants.values(), self.storage, self.time, terms)
        self._open_methods()
        self.storage.commit()

    def _open_methods(self) -> None:
        jitter = self.settings.jitter_seconds * self.settings.scale
        self.quotas = {name: TenantQuotas(self.settings.quotas_of(name), self.time, jitter) for name in self.tenants}
        self.lag = Lag(self.settings.lag, self.storage, self.time)
        directory = open_directory(self.storage, self.lag, self.tenants, self.quotas)
        self.orgunits, self.users, self.sign_in = directory.orgunits, directory.users, directory.sign_in
        self._methods = directory.methods

    @property
    def offered(self) -> frozenset[str]:
        """Names of the methods that are emulated, as the discovery document has them."""
        return frozenset(self._methods)

    def close(self) -> None:
        """Keep the emulated time and everything written, and close."""
        self.storage.on_first_write = lambda: None
        self._keep_time(self.time.elapsed())
        self.storage.close()

    def keep_time(self) -> None:
        """Before an answer leaves: write down an emulated time that is not behind what the answer may show."""
        now = self.time.elapsed()
        if now > self._time_kept:
            self._keep_time(now + _TIME_AHEAD_SECONDS * self.settings.scale)

    def _keep_time(self, elapsed: float) -> None:
        self._time_kept = elapsed
        self.storage.set_fact("elapsed", repr(elapsed))

    def grant(self, form: bytes) -> Answer:
        """Answer POST /token."""
        try:
            answer = self.tokens.grant(form, self.discovery.scopes())
        except GrantError as refusal:
            self.statistics.rejected("token", refusal.error)
            answer = refusal.answer()
        self.statistics.answered("token", answer.status)
        return answer

    def admit(self, verb: str, path: str, authorization: bytes | None) -> Admitted:
        """Find the method and the caller. Raises ApiError 404, 501, 401, 403."""
        found = self._find(verb, path)
        if found is None:
            raise ApiError(404, "notFound", "Not Found")
        method, values = found
        if method.name not in self._methods:
            raise ApiError(501, "notImplemented", f"The emulator does not offer this method: {method.name}")
        access = self.tokens.access(authorization)
        if access.scopes.isdisjoint(method.scopes):
            message = "Request had insufficient authentication scopes."
            raise ApiError(403, "insufficientPermissions", message)
        return Admitted(method, access, values)

    def _find(self, verb: str, path: str) -> tuple[Method, tuple[str, ...]] | None:
        """As Discovery.find, with a short cut for the path nearly all calls take."""
        if path == "/admin/directory/v1/users" and verb == "POST":
            return self.discovery.methods["users.insert"], ()
        return self.discovery.find(verb, path)

    def perform(self, admitted: Admitted, query: bytes, raw: bytes, *, pretended: bool = False) -> Answer:
        """Check the request against the discovery document and carry it out, or pretend to. Raises ApiError."""
        method = admitted.method
        try:
            parameters = method.parameters(query)
            body = method.body(raw)
        except ApiError:
            self.statistics.unfit_request(method.name)
            raise
        call = Call(method, admitted.access.tenant, admitted.path, parameters, body)
        carry_out = self._methods[method.name]
        if self.lag.is_on and method.name.startswith("users.") and call.path:
            carry_out = partial(self._lagging, carry_out)
        if pretended:
            with self.lag.unseen():
                answer = self.users.pretend(carry_out, call)
        else:
            answer = carry_out(call)
            if method.verb != "GET":
                self.statistics.applied(method.name, admitted.access.tenant.jenjang)
        fields = parameters.get("fields")
        if fields and answer.body:
            answer = answer._replace(body=filtered(answer.body, fields, method, self.discovery))
        if self.settings.check_replies:
            self._check_reply(method, answer)
        return answer

    def _check_reply(self, method: Method, answer: Answer) -> None:
        """Hold a reply against the schema that the discovery document names for its method; without one it must be empty."""
        if method.response is None:
            fault = " is not empty" if answer.body else None
        else:
            fault = self.discovery.check_of(method.response)(orjson.loads(answer.body))
        self.statistics.checked(method.name, fault)

    def _lagging(self, carry_out: Callable[[Call], Answer], call: Call) -> Answer:
        """Carry out a call about an account, unless it comes too early for that account."""
        number = self.users.number(call)
        self.lag.check(call, number)
        answer = carry_out(call)
        return answer if number is None or call.method.name != "users.get" else self.lag.dressed(answer, number)


def _kept_seed(storage: Storage, settings: EmulatorSettings) -> int:
    """The folder's seed; a start with another one is refused, because ids would change under their owners."""
    seed = int(storage.fact("seed", str(settings.seed)))
    if seed != settings.seed:
        raise SettingsError(
            f"the emulator's folder was made with another seed: {seed}", hint=f"start it with seed {seed}, or elsewhere"
        )
    return seed


def _opened_time(storage: Storage, clock: Clock) -> EmulatedTime:
    origin = datetime.fromisoformat(storage.fact("origin", datetime.now(tz=UTC).isoformat()))
    return EmulatedTime(clock, origin=origin, elapsed=float(storage.fact("elapsed", "0.0")))


def _credentials_folder(folder: Path) -> Path:
    credentials = folder / CREDENTIALS
    credentials.mkdir(mode=0o700, exist_ok=True)
    return credentials
