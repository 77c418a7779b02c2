"""The one way out: every request to a directory passes here, and only here is Google's host known.

A `Wire` is a pool of connections with locks in front of it. Before a byte leaves it refuses an address of the wrong world, every
method that is not on the list (methods.py), the batch endpoint, and the parameter that can take an unmanaged person's account. It
resends nothing, follows no redirect, reads no proxy from the environment, and bounds the time and the size of an answer. A
`Transport` is a wire with a bearer token; google-api-python-client accepts it as `http=`.

Why not httplib2, the client's own: it sends a POST a second time when the server closes without an answer, it must not be
shared by threads, and the client's batch requests ignore `api_endpoint` and would reach Google.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

import httplib2

from belajarid_recon.directory.connections import Answer, OncePool, Request, WireLimits, loopback_pool, verified_pool
from belajarid_recon.directory.methods import listed_method
from belajarid_recon.errors import DirectoryError
from belajarid_recon.settings import Endpoint, EndpointClass, is_loopback

GOOGLE_API = "https://admin.googleapis.com/"
GOOGLE_TOKEN = "https://oauth2.googleapis.com/"  # noqa: S105 - an address
SCOPES = (
    "https://www.googleapis.com/auth/admin.directory.user",
    "https://www.googleapis.com/auth/admin.directory.orgunit",
    "https://www.googleapis.com/auth/admin.directory.group",
    "https://www.googleapis.com/auth/admin.directory.rolemanagement.readonly",
    "https://www.googleapis.com/auth/admin.directory.domain.readonly",
    "https://www.googleapis.com/auth/admin.directory.customer.readonly",
)
"""The least the calls of this package need (discovery document, `scopes` of each method). None of them can assign a role,
but makeAdmin needs no more than the first: hence the list of methods."""

EMULATOR_HEADER = "x-emulator"
_NONE: Mapping[str, str] = MappingProxyType({})

_NAMED_SEGMENTS = frozenset({"makeadmin", "roleassignments", "roles", "members", "batch"})
_NAMED_PARAMETERS = ("resolveConflictAccount",)
"""What a refusal names. Everything else in an address may be about a person."""
_OVERRIDE_HEADERS = ("x-http-method-override", "x-http-method", "x-method-override")
_REDIRECTS = frozenset({300, 301, 302, 303, 305, 307, 308})


class Bearer(Protocol):
    """Where a transport takes its token from."""

    def token(self) -> str:
        """A token that is good for now."""
        ...

    def renew(self, refused: str) -> str:
        """A token other than `refused`, which the server did not take."""
        ...


@dataclass(frozen=True)
class World:
    """Which addresses a run may use: one for the API, one for tokens."""

    kind: EndpointClass
    api: str
    token: str

    @classmethod
    def of(cls, endpoint: Endpoint) -> World:
        """The world of an endpoint's settings. Raises DirectoryError when an emulator's address is no literal loopback."""
        if endpoint.kind is EndpointClass.GOOGLE:
            return cls(endpoint.kind, GOOGLE_API, GOOGLE_TOKEN)
        parts = urlsplit(endpoint.url)
        host = parts.hostname or ""
        if parts.scheme != "http" or parts.port is None or not is_loopback(host):
            raise DirectoryError(f"endpoint class emulator allows loopback only: {endpoint.url}", hint=_ONE_WORLD)
        base = f"http://[{host}]:{parts.port}/" if ":" in host else f"http://{host}:{parts.port}/"
        return cls(endpoint.kind, base, base)

    def base_of(self, uri: str) -> str:
        """The allowed base address that `uri` starts with. Raises DirectoryError naming the class; nothing is looked up."""
        for base in (self.api, self.token):
            if uri.startswith(base):
                return base
        # Scheme and host at most: a path may hold a pupil's address.
        host = "/".join(uri.split("/", 3)[:3])
        raise DirectoryError(f"endpoint class {self.kind} does not allow this address: {host}", hint=_ONE_WORLD)


_ONE_WORLD = (
    "the emulator is reached on loopback, Google on its own hosts, and never the one with the other's credentials"
)


@dataclass(frozen=True, slots=True)
class Route:
    """A request's way out, made only by `Wire.route`."""

    pool: OncePool
    request: Request
    target: str


class Wire:
    """A locked pool of connections to one world, shared by threads. It knows nothing of tokens."""

    def __init__(self, endpoint: Endpoint, limits: WireLimits | None = None) -> None:
        self.world = World.of(endpoint)
        self._limits = limits or WireLimits(timeout_seconds=endpoint.timeout_seconds)
        self._pools = {base: self._pool(base) for base in {self.world.api, self.world.token}}

    def _pool(self, base: str) -> OncePool:
        parts = urlsplit(base)
        host = parts.hostname or ""
        if self.world.kind is EndpointClass.EMULATOR:
            return loopback_pool(host, parts.port or 80, self._limits)
        return verified_pool(host, parts.port or 443, self._limits, ssl.create_default_context())

    def route(self, request: Request) -> Route:
        """Where a request would go, once every lock has let it pass. Raises DirectoryError; nothing is looked up or sent."""
        base = self.world.base_of(request.uri)
        target = request.uri[len(base) - 1 :]
        refuse_denied(request.method, target, request.headers)
        return Route(self._pools[base], request, target)

    def send(self, route: Route, more_headers: Mapping[str, str] = _NONE) -> Answer:
        """Send a routed request once and return its answer, whatever its status.

        Raises NoAnswerError when none arrived that can be used, and DirectoryError when the answer comes from the wrong world or
        is a redirect.
        """
        request = route.request
        answer = route.pool.exchange(
            Request(request.method, route.target, request.body, {**request.headers, **more_headers})
        )
        refuse_other_world(self.world.kind, answer)
        return answer

    def close(self) -> None:
        """Close the connections that are idle."""
        for pool in self._pools.values():
            pool.close()


def refuse_other_world(kind: EndpointClass, answer: Answer) -> None:
    """Refuse a redirect, an answer without the emulator's mark in its world, and one with it in Google's. Raises DirectoryError."""
    if answer.status in _REDIRECTS:
        raise DirectoryError(
            f"the directory answered with a redirect, which is never followed: {answer.status}",
            hint="look for a proxy or a wrong address between this machine and the directory",
        )
    marked = EMULATOR_HEADER in answer.headers
    if marked is not (kind is EndpointClass.EMULATOR):
        whom = "an emulator" if marked else "something other than the emulator"
        raise DirectoryError(f"endpoint class {kind} was answered by {whom}: status {answer.status}", hint=_ONE_WORLD)


_MEMBERS = re.compile(r"/admin/directory/v1/groups/([^/]+)/members")


_ROLE_TAKEN = "take the role from the group, or abandon the run: the next plan adds nobody to it"


def refuse_member_of(groups: Container[str] | None, method: str, target: str) -> None:
    """Refuse a new member of a group that holds a role, or is inside one, and any while nobody has read which groups do (None).

    `groups` are ids and addresses in lower case. Whoever joins such a group is an administrator. Raises DirectoryError.
    """
    path = target.partition("?")[0]
    # As every server and proxy may read it: as it is, decoded, and decoded twice.
    readings = (path, unquote(path), unquote(unquote(path))) if method == "POST" else ()
    called = {unquote(found[1]).lower() for reading in readings if (found := _MEMBERS.fullmatch(reading))}
    if not called:
        return
    if groups is None:
        why = "a member of a group, before it is known which groups hold a role"
    elif any(name in groups for name in called):
        why = "a member of a group that holds a role"
    else:
        return
    raise DirectoryError(f"the transport refuses this request: {why}", hint=_ROLE_TAKEN)


def refuse_denied(method: str, target: str, headers: Mapping[str, str]) -> None:
    """Refuse every request that is not on the list of methods, whoever built it (directory/methods.py).

    So nothing leads to admin rights, and no batch leaves: it would go to the discovery document's host whatever the endpoint, with
    anything in it. A method's parameters are those of the document but `resolveConflictAccount`. A method override would slip past
    the check of the method. Raises DirectoryError naming the rule.
    """
    path, _, query = target.partition("?")
    # Decoded twice: there are servers, and proxies before them, that do.
    segments = unquote(unquote(path)).split("/")[1:]
    refused: str | None = None
    if "#" in target or ".." in segments or "" in segments:
        refused = "an address that a server may read otherwise"
    elif (listed := listed_method(method, path)) is None:
        # A path may hold a pupil's address: only a word that is none of the path's values is named.
        refused = next((word for word in segments if word.lower() in _NAMED_SEGMENTS), f"{method} on an unlisted path")
    elif query and (parameter := listed.refused_parameter(query)) is not None:
        refused = next((word for word in _NAMED_PARAMETERS if word.lower() == parameter.lower()), "a parameter")
    elif any(name.lower() in _OVERRIDE_HEADERS for name in headers):
        refused = "a method override"
    if refused is not None:
        raise DirectoryError(
            f"the transport refuses this request: {refused}", hint="no part of this program may send it"
        )


class Transport:
    """A wire with a bearer token, for one tenant."""

    def __init__(self, wire: Wire, bearer: Bearer) -> None:
        self.wire = wire
        self._bearer = bearer
        self.groups_with_a_role: frozenset[str] | None = None
        """Ids and addresses, lower case, of the tenant's groups that hold a role or are inside one that does. Until they are known no
        group gets a member."""

    @property
    def base(self) -> str:
        """The API's base address: what google-api-python-client is given as `api_endpoint`."""
        return self.wire.world.api

    def send(
        self,
        request: Request,
        may_send: Callable[[], None] = lambda: None,
        *,
        again_if_refused: bool = False,
    ) -> Answer:
        """Send with the tenant's token; a 401 renews the token, and with `again_if_refused` sends once more.

        A 401 is decided before the request is looked at, so nothing was carried out: sending again is safe for reads and for users. Not
        for organisational units, where the server has been seen to answer 401 and create the unit
        (terraform-provider-googleworkspace, changelog 0.7.0). `may_send` is asked before each sending, and stops it by raising.
        """
        # The locks come before the token: a refused address must not even cost a token request.
        route = self.wire.route(request)
        refuse_member_of(self.groups_with_a_role, request.method, route.target)
        token = self._bearer.token()
        may_send()
        answer = self.wire.send(route, {"authorization": f"Bearer {token}"})
        if answer.status == 401:
            token = self._bearer.renew(token)
            if again_if_refused:
                may_send()
                answer = self.wire.send(route, {"authorization": f"Bearer {token}"})
        return answer

    def request(  # noqa: PLR0913, PLR0917 - the signature google-api-python-client calls
        self,
        uri: str,
        method: str = "GET",
        body: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
        redirections: int = 0,  # noqa: ARG002 - part of the client's convention; none are followed
        connection_type: Callable[..., Any] | None = None,  # noqa: ARG002 - likewise; the pool decides
    ) -> tuple[httplib2.Response, bytes]:
        """Send for google-api-python-client's own `execute()`: the same locks, one sending, no resend.

        Raises NoAnswerError, which the client does not know and so does not retry.
        """
        answer = self.send(Request(method, uri, body, headers or {}))
        response = httplib2.Response(dict(answer.headers))
        response.status = answer.status
        return response, answer.content

    def close(self) -> None:
        """Close idle connections."""
        self.wire.close()
