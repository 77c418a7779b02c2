"""The transport: which requests leave, how often, and what comes of bad answers."""

from __future__ import annotations

import contextlib
import gzip
import ipaddress
import json
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from googleapiclient.discovery import build
from googleapiclient.discovery_cache import get_static_doc
from hypothesis import given
from hypothesis import strategies as st

import belajarid_recon
from belajarid_recon.directory.connections import Answer, Lost, NoAnswerError, Request, WireLimits, verified_pool
from belajarid_recon.directory.transport import (
    Transport,
    Wire,
    World,
    refuse_denied,
    refuse_member_of,
    refuse_other_world,
)
from belajarid_recon.errors import DirectoryError
from belajarid_recon.settings import EndpointClass
from directory_server import (
    FixedBearer,
    Received,
    emulator_endpoint,
    google_endpoint,
    reply,
    scripted,
)

EMULATOR_WORLD = World.of(emulator_endpoint("http://127.0.0.1:8080/"))
USERS = "admin/directory/v1/users"


def transport_to(url: str, **limits: Any) -> Transport:
    """A transport to a server of this test."""
    return Transport(Wire(emulator_endpoint(url), WireLimits(**{"timeout_seconds": 5.0, **limits})), FixedBearer())


def post(transport: Transport, target: str = USERS) -> Answer:
    """Send one POST."""
    return transport.send(Request("POST", transport.base + target, b'{"a": 1}', {"content-type": "application/json"}))


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every way a socket could reach or look up an address, recorded and stopped."""
    attempts: list[str] = []

    def stop(name: str) -> Any:
        def attempt(*arguments: Any, **_: Any) -> Any:
            attempts.append(f"{name}: {arguments[-1]}")
            raise OSError(name)

        return attempt

    for name in ("create_connection", "getaddrinfo", "gethostbyname", "gethostbyname_ex"):
        monkeypatch.setattr(socket, name, stop(name))
    monkeypatch.setattr(socket.socket, "connect", stop("connect"), raising=False)
    monkeypatch.setattr(socket.socket, "connect_ex", stop("connect_ex"), raising=False)
    return attempts


@pytest.mark.parametrize(
    "address",
    [
        "https://admin.googleapis.com/admin/directory/v1/users",
        "http://admin.googleapis.com/admin/directory/v1/users",
        "https://oauth2.googleapis.com/token",
        "http://localhost:8080/admin/directory/v1/users",
        "http://127.0.0.1:8081/admin/directory/v1/users",
        "https://127.0.0.1:8080/admin/directory/v1/users",
        "http://127.0.0.2:8080/admin/directory/v1/users",
        "http://[::1]:8080/admin/directory/v1/users",
        "http://127.0.0.1:8080@example.org/admin/directory/v1/users",
        "http://127.0.0.1:8080.example.org/admin/directory/v1/users",
        "http://127.0.0.1:80801/admin/directory/v1/users",
        "//127.0.0.1:8080/admin/directory/v1/users",
        "/admin/directory/v1/users",
        "",
    ],
)
def test_any_non_loopback_address_is_refused_while_the_emulator_is_the_target(
    address: str, no_network: list[str]
) -> None:
    """Nothing is sent, connected to or even looked up, and the error names the endpoint class."""
    transport = transport_to("http://127.0.0.1:8080/")
    with pytest.raises(DirectoryError, match="endpoint class emulator"):
        transport.send(Request("GET", address, None, {}))
    with pytest.raises(DirectoryError, match="endpoint class emulator"):
        transport.request(address)
    assert no_network == []


_PIECES = st.sampled_from(
    ["http://", "https://", "127.0.0.1", "[::1]", "localhost", ":8080", ":1", "/", "@", ".", "\\", "#", "x"]
)


@given(st.lists(_PIECES, max_size=6).map("".join) | st.text(max_size=40))
def test_only_the_exact_base_address_is_let_through(address: str) -> None:
    """Whatever text is taken for an address, only one that begins with the settings' own passes."""
    if address.startswith("http://127.0.0.1:8080/"):
        assert EMULATOR_WORLD.base_of(address) == "http://127.0.0.1:8080/"
    else:
        with pytest.raises(DirectoryError, match="endpoint class emulator"):
            EMULATOR_WORLD.base_of(address)


def test_the_clients_batch_never_leaves(no_network: list[str]) -> None:
    """google-api-python-client sends batches to the discovery document's host whatever the endpoint: refused."""
    transport = transport_to("http://127.0.0.1:8080/")
    service = build(
        "admin", "directory_v1", http=transport, static_discovery=True, client_options={"api_endpoint": transport.base}
    )
    batch = service.new_batch_http_request()
    batch.add(service.users().get(userKey="a@sd.belajar.id"))
    with pytest.raises(DirectoryError, match="endpoint class emulator"):
        batch.execute()
    assert no_network == []


def test_loopback_is_refused_while_google_is_the_target(no_network: list[str]) -> None:
    """A Google run that is pointed at an emulator stops before a byte leaves; so does plain http."""
    wire = Wire(google_endpoint())
    for address in ("http://127.0.0.1:8080/admin", "http://admin.googleapis.com/admin", "https://example.org/admin"):
        with pytest.raises(DirectoryError, match="endpoint class google"):
            wire.route(Request("GET", address, None, {}))
    good = Request("GET", "https://admin.googleapis.com/admin/directory/v1/users", None, {})
    assert wire.route(good).target == "/admin/directory/v1/users"
    assert no_network == []


@pytest.mark.parametrize(
    ("kind", "headers", "ending"),
    [
        (EndpointClass.EMULATOR, {"x-emulator": "1"}, "taken"),
        (EndpointClass.EMULATOR, {}, "refused"),
        (EndpointClass.GOOGLE, {"x-emulator": "1"}, "refused"),
        (EndpointClass.GOOGLE, {}, "taken"),
    ],
)
def test_an_answer_of_the_other_world_stops_the_run(kind: EndpointClass, headers: dict[str, str], ending: str) -> None:
    """The emulator marks its answers; the mark in Google's world, or its absence in the emulator's, is a mix-up."""
    answer = Answer(200, headers, b"{}")
    if ending == "refused":
        with pytest.raises(DirectoryError, match=f"endpoint class {kind}"):
            refuse_other_world(kind, answer)
    else:
        refuse_other_world(kind, answer)


def test_an_unmarked_answer_over_the_wire_stops_an_emulator_run() -> None:
    """A server that is not the emulator is noticed at its first answer."""
    with (
        scripted([reply(200, {}, emulator=False)]) as server,
        pytest.raises(DirectoryError, match="something other than the emulator"),
    ):
        post(transport_to(server.url))


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("POST", "/admin/directory/v1/users/1/makeAdmin"),
        ("POST", "/admin/directory/v1/users/1/MAKEADMIN?alt=json"),
        ("POST", "/admin/directory/v1/users/1/make%41dmin"),
        ("POST", "/admin/directory/v1/users/1%2FmakeAdmin"),
        ("POST", "/admin/directory/v1/customer/C0/roleassignments"),
        ("DELETE", "/admin/directory/v1/customer/C0/roleassignments/1"),
        ("POST", "/admin/directory/v1/customer/C0/roles"),
        ("PUT", "/admin/directory/v1/customer/C0/roles/1"),
        ("POST", "/batch"),
        ("POST", "/batch/admin/directory_v1"),
        ("POST", "/admin/directory/v1/users?resolveConflictAccount=true"),
        ("POST", "/admin/directory/v1/users?alt=json&RESOLVECONFLICTACCOUNT=false"),
        ("POST", "/admin/directory/v1/users?resolve%43onflictAccount=true"),
        ("POST", "/admin/directory/v1/users/../customer/C0/orgunits"),
        ("POST", "/admin/directory/v1//users"),
        ("PUT", "/admin/directory/v1/users/1#/makeAdmin"),
        ("PUT", "/admin/directory/v1/customer/C0/orgunits/%252e%252e/roles/1"),
        ("POST", "/admin/directory/v1/groups/1/members"),
        ("PUT", "/admin/directory/v1/users/1%2Fphotos%2Fthumbnail"),
        ("GET", "/ADMIN/directory/v1/users/1"),
        ("GET", "/token"),
        ("GET", "/admin/directory/v1/users?access_token=1"),
        ("GET", "/admin/directory/v1/users/1?%24.xgafv=2"),
    ],
)
def test_what_must_never_be_asked_for_is_refused(method: str, target: str, no_network: list[str]) -> None:
    """makeAdmin, roles, members, batches, resolveConflictAccount, in any spelling: no byte leaves, whoever built the request."""
    transport = transport_to("http://127.0.0.1:8080/")
    with pytest.raises(DirectoryError, match="the transport refuses"):
        transport.send(Request(method, transport.base[:-1] + target, b"{}", {}))
    assert no_network == []


def test_a_method_override_is_refused(no_network: list[str]) -> None:
    """A GET that asks to be read as something else would slip past every check of the method."""
    transport = transport_to("http://127.0.0.1:8080/")
    for name in ("X-HTTP-Method-Override", "x-method-override"):
        with pytest.raises(DirectoryError, match="override"):
            transport.send(Request("GET", transport.base + USERS, None, {name: "DELETE"}))
    assert no_network == []


def test_the_official_client_cannot_reach_admin_rights(no_network: list[str]) -> None:
    """The client's own methods for admin rights, and its parameter for taking over accounts, end at the transport."""
    transport = transport_to("http://127.0.0.1:8080/")
    service = build(
        "admin", "directory_v1", http=transport, static_discovery=True, client_options={"api_endpoint": transport.base}
    )
    for request in (
        service.users().makeAdmin(userKey="1", body={"status": True}),
        service.roleAssignments().insert(customer="C0", body={}),
        service.roles().insert(customer="C0", body={}),
        service.users().insert(body={}, resolveConflictAccount=True),
    ):
        with pytest.raises(DirectoryError, match="the transport refuses"):
            request.execute(num_retries=3)
    assert no_network == []


@given(st.sampled_from(["GET", "PUT"]), st.text("aA.@%2Fu", max_size=12))
def test_ordinary_requests_are_not_refused(method: str, key: str) -> None:
    """Whole paths are compared: an account whose address merely resembles a refused word is served."""
    if "%" not in key:
        refuse_denied(method, f"/admin/directory/v1/users/x{key}makeadmin%40sd.belajar.id?alt=json", {})


MAY_LEAVE = {
    "customers.get",
    "domains.list",
    "groups.get",
    "groups.insert",
    "groups.list",
    "members.delete",
    "members.get",
    "members.insert",
    "members.list",
    "orgunits.get",
    "orgunits.insert",
    "orgunits.list",
    "orgunits.patch",
    "roleAssignments.list",
    "users.aliases.delete",
    "users.aliases.insert",
    "users.delete",
    "users.get",
    "users.insert",
    "users.list",
    "users.undelete",
    "users.update",
}


def every_request() -> Iterator[tuple[str, str, str]]:
    """Name, verb and path of every method of the discovery document, each parameter filled in."""

    def walk(resource: dict[str, Any]) -> Iterator[dict[str, Any]]:
        yield from resource.get("methods", {}).values()
        for inner in resource.get("resources", {}).values():
            yield from walk(inner)

    for method in walk(json.loads(get_static_doc("admin", "directory_v1"))):
        path = re.sub(r"\{\+?\w+\}", "x1", method["path"])
        yield method["id"].removeprefix("directory."), method["httpMethod"], f"/{path}"


def test_exactly_the_listed_methods_leave() -> None:
    """Every method of the discovery document is tried, plainly, under a batch's path and in other spellings; a server says what came."""
    with scripted([reply(200, {})]) as server:
        transport = transport_to(server.url)
        transport.groups_with_a_role = frozenset()
        expected = []
        for name, verb, path in every_request():
            for target in (path, f"/batch{path}", f"/batch/{name}", path.replace("admin", "ADMIN", 1), f"{path}/"):
                with contextlib.suppress(DirectoryError):
                    transport.send(Request(verb, server.url[:-1] + target, None, {}))
            if name in MAY_LEAVE:
                expected.append((verb, path))
        assert [(received.method, received.target) for received in server.received] == expected
        assert len(expected) == len(MAY_LEAVE)
    assert not any(re.match(r"roles|roleAssignments\.(?!list)|users\.makeAdmin", name) for name in MAY_LEAVE)


@pytest.mark.parametrize(
    "key",
    ["admins%40sd.belajar.id", "Admins@SD.belajar.id", "03x", "admins%2540sd.belajar.id", "%2530%2533x", "%30%33x"],
)
@pytest.mark.parametrize("slash", ["/", "%2F", "%252f"])
def test_no_member_joins_a_group_that_holds_a_role(key: str, slash: str) -> None:
    """Under any of its names in any spelling; while nobody has read which groups do, none joins any. Reading and removing may go on."""
    path = f"/admin/directory/v1/groups{slash}{key}{slash}members"
    with pytest.raises(DirectoryError, match="before it is known"):
        refuse_member_of(None, "POST", f"{path}?alt=json")
    known = frozenset({"admins@sd.belajar.id", "03x"})
    with pytest.raises(DirectoryError, match="that holds a role"):
        refuse_member_of(known, "POST", f"{path}?alt=json")
    refuse_member_of(known, "GET", path)
    refuse_member_of(known, "DELETE", f"{path}/1")
    refuse_member_of(known, "POST", "/admin/directory/v1/groups/guru%40sd.belajar.id/members?alt=json")


def test_every_parameter_but_one_of_a_listed_method_leaves() -> None:
    """The document's own parameters pass, and `resolveConflictAccount` of users.insert does not."""
    transport = transport_to("http://127.0.0.1:8080/")
    service = build(
        "admin", "directory_v1", http=transport, static_discovery=True, client_options={"api_endpoint": transport.base}
    )
    built = service.users().list(
        domain="sd.belajar.id", maxResults=1, query="email=a", showDeleted="true", fields="users"
    )
    refuse_denied(built.method, built.uri.removeprefix(transport.base[:-1]), built.headers)
    with pytest.raises(DirectoryError, match="refuses this request: resolveConflictAccount"):
        service.users().insert(body={}, resolveConflictAccount=False).execute()


def test_a_post_whose_connection_closes_is_sent_once() -> None:
    """The server takes the request and closes without an answer: one POST was seen, and the caller is told so."""

    def close(received: Received, connection: Any) -> None:
        raise ConnectionError

    with scripted(close) as server:
        transport = transport_to(server.url)
        for lost in (1, 2):
            with pytest.raises(NoAnswerError) as raised:
                post(transport)
            assert raised.value.lost is Lost.CONNECTION
            assert len(server.received) == lost


def test_the_clients_own_execute_does_not_resend() -> None:
    """Through the client's `execute`, retries asked for or not, a lost insert leaves the machine once."""

    def close(received: Received, connection: Any) -> None:
        raise ConnectionError

    with scripted(close) as server:
        transport = transport_to(server.url)
        service = build(
            "admin",
            "directory_v1",
            http=transport,
            static_discovery=True,
            client_options={"api_endpoint": transport.base},
        )
        with pytest.raises(NoAnswerError):
            service.users().insert(body={"primaryEmail": "a@sd.belajar.id"}).execute(num_retries=3)
        assert len(server.received) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(status: int) -> None:
    """The target of a redirect hears nothing, and the run stops."""
    with scripted([reply(200, {})]) as target:
        moved = reply(status, headers={"location": target.url + USERS})
        with scripted([moved]) as server:
            with pytest.raises(DirectoryError, match="redirect"):
                post(transport_to(server.url))
            assert len(server.received) == 1
        assert target.received == []


def test_an_announced_oversize_answer_is_not_read() -> None:
    """An answer over the bound is given up at its Content-Length."""
    with scripted([b"HTTP/1.1 200 OK\r\nx-emulator: 1\r\ncontent-length: 99999999\r\n\r\n{"]) as server:
        with pytest.raises(NoAnswerError) as raised:
            post(transport_to(server.url, answer_bytes_max=1_000))
        assert raised.value.lost is Lost.OVERSIZE


@pytest.mark.parametrize("form", ["chunked", "gzip", "endless"])
def test_an_unannounced_oversize_answer_is_cut(form: str) -> None:
    """Without a length that counts, reading stops soon after the bound; a compressed bomb is not unpacked."""
    bomb = gzip.compress(b" " * 50_000_000)

    def flood(received: Received, connection: Any) -> None:
        if form == "gzip":
            connection.sendall(reply(200, bomb, headers={"content-encoding": "gzip"}))
            return
        head = b"HTTP/1.1 200 OK\r\nx-emulator: 1\r\n"
        connection.sendall(head + (b"transfer-encoding: chunked\r\n\r\n" if form == "chunked" else b"\r\n"))
        for _ in range(10_000):
            connection.sendall(b"1000\r\n" + b"x" * 4_096 + b"\r\n")

    with scripted(flood) as server:
        with pytest.raises(NoAnswerError) as raised:
            post(transport_to(server.url, answer_bytes_max=100_000))
        assert raised.value.lost is Lost.OVERSIZE


@pytest.mark.parametrize("where", ["nothing", "head", "body"])
def test_a_slow_answer_ends_at_the_time_limit(where: str) -> None:
    """Bytes that drip just often enough to keep a socket's own time limit from firing do not hold a request."""

    def drip(received: Received, connection: Any) -> None:
        if where == "body":
            connection.sendall(b"HTTP/1.1 200 OK\r\nx-emulator: 1\r\ncontent-length: 1000\r\n\r\n")
        for _ in range(200):
            time.sleep(0.05)
            if where != "nothing":
                connection.sendall(
                    b"x-long: 1\r\n" if where == "head" and _ else b"HTTP/1.1 200 OK\r\n" if not _ else b"x"
                )

    with scripted(drip) as server:
        began = time.monotonic()
        with pytest.raises(NoAnswerError) as raised:
            post(transport_to(server.url, timeout_seconds=0.4))
        assert raised.value.lost is Lost.TIMEOUT
        assert time.monotonic() - began < 2.0
        assert len(server.received) == 1


@pytest.mark.parametrize(
    ("answer", "lost"),
    [
        (b"HTTP/1.1 200 OK\r\nx-emulator: 1\r\ncontent-length: 10\r\n\r\n{}", Lost.CONNECTION),
        (b"garbage\r\n\r\n", Lost.CONNECTION),
        (reply(200, gzip.compress(b"{}")[:-4], headers={"content-encoding": "gzip"}), Lost.UNREADABLE),
        (reply(200, b"{}", headers={"content-encoding": "br"}), Lost.UNREADABLE),
        (reply(200, b"not gzip", headers={"content-encoding": "gzip"}), Lost.UNREADABLE),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nx-emulator: 1\r\n\r\nzz\r\n", Lost.CONNECTION),
    ],
    ids=["cut short", "no http", "half a gzip", "unknown encoding", "no gzip", "bad chunk"],
)
def test_a_damaged_answer_is_no_answer(answer: bytes, lost: Lost) -> None:
    """What cannot be read whole tells nothing about the request, and is not asked for again."""

    def damage(received: Received, connection: Any) -> None:
        connection.sendall(answer)
        raise ConnectionError

    with scripted(damage) as server:
        with pytest.raises(NoAnswerError) as raised:
            post(transport_to(server.url))
        assert raised.value.lost is lost
        assert len(server.received) == 1


@pytest.mark.parametrize(
    ("answer", "kept"),
    [
        (b"HTTP/1.1 200 OK\r\nx-emulator: 1\r\ncontent-length: 2\r\n\r\n{}", True),
        (b"HTTP/1.1 200 OK\r\nx-emulator: 1\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}", False),
        (
            b"HTTP/1.1 200 OK\r\nx-emulator: 1\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{\r\n1;a=b\r\n}\r\n0\r\n\r\n",
            True,
        ),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nx-emulator: 1\r\ncontent-length: 2\r\n\r\n{}", True),
        (b"HTTP/1.1 200 OK\r\nx-emulator: 1\r\n\r\n{}", False),
        (b"HTTP/1.0 200 OK\r\nx-emulator: 1\r\ncontent-length: 2\r\n\r\n{}", False),
    ],
    ids=["length", "close", "chunks", "100", "to the end", "1.0"],
)
@pytest.mark.parametrize("piece", [1, 7, 10_000])
def test_an_answer_ends_where_it_says_and_its_connection_is_used_again_only_then(
    answer: bytes,
    kept: bool,  # noqa: FBT001 - a parameter of the test
    piece: int,
) -> None:
    """However it is cut into packets."""

    def send(received: Received, connection: Any) -> None:
        for start in range(0, len(answer), piece):
            connection.sendall(answer[start : start + piece])
            time.sleep(0.0005 if piece < len(answer) else 0)
        if b"length" not in answer and b"chunked" not in answer:
            raise ConnectionError

    with scripted(send) as server:
        transport = transport_to(server.url)
        for _ in range(2):
            assert post(transport).content == b"{}"
        assert server.connections == (1 if kept else 2)


@pytest.mark.parametrize("more", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n0", b"}"])
def test_what_nobody_asked_for_never_becomes_the_next_answer(more: bytes) -> None:
    """What came with an answer ends its connection; bytes that are no answer make it none."""
    with scripted([reply(200, b"{}") + more]) as server:
        transport = transport_to(server.url)
        for _ in range(2):
            with contextlib.nullcontext() if more.startswith(b"HTTP") else pytest.raises(NoAnswerError):
                assert post(transport).content == b"{}"
        assert server.connections == 2


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 200 OK\r\n" + b"x-a: b\r\n" * 40_000, b"HTTP/1.1 100 Continue\r\n\r\n" * 9_000]
)
def test_a_head_without_an_end_is_cut(answer: bytes) -> None:
    """It counts against a bound of its own."""
    with scripted([answer]) as server:
        with pytest.raises(NoAnswerError) as raised:
            post(transport_to(server.url))
        assert raised.value.lost is Lost.OVERSIZE


def test_a_closed_port_is_told_apart() -> None:
    """Where nothing listens, nothing was sent: the one loss that proves it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/"
    with pytest.raises(NoAnswerError) as raised:
        post(transport_to(url))
    assert raised.value.lost is Lost.NOT_CONNECTED


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that nobody has signed, with its key."""
    key = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    now = datetime.now(tz=UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(address, critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    path.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain) + signed.public_bytes(pem))
    return path


def test_tls_ends_at_the_time_limit_and_trusts_no_stranger(certificate: Path) -> None:
    """Google's side of the wire, tried on loopback: a good answer, one that drips, and a certificate nobody vouches for."""
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(certificate)
    trusting = ssl.create_default_context(cafile=str(certificate))

    def answer(received: Received, connection: Any) -> None:
        if received.target == "/good":
            connection.sendall(reply(200, {"good": True}))
            return
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
        for _ in range(100):
            time.sleep(0.05)
            connection.sendall(b"x")

    with scripted(answer) as server:
        server.socket = server_side.wrap_socket(server.socket, server_side=True)
        port = server.server_address[1]
        pool = verified_pool("127.0.0.1", port, WireLimits(timeout_seconds=0.5), trusting)
        assert pool.exchange(Request("GET", "/good", None, {})).content == b'{"good": true}'
        began = time.monotonic()
        with pytest.raises(NoAnswerError) as raised:
            pool.exchange(Request("GET", "/slow", None, {}))
        assert raised.value.lost is Lost.TIMEOUT
        assert time.monotonic() - began < 2.0
        stranger = verified_pool("127.0.0.1", port, WireLimits(), ssl.create_default_context())
        with pytest.raises(NoAnswerError):
            stranger.exchange(Request("GET", "/good", None, {}))
        assert [received.target for received in server.received] == ["/good", "/slow"]


def test_proxies_of_the_environment_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy variable, set for other programs, does not send pupils' names elsewhere."""
    with scripted([reply(200, {"proxy": True})]) as proxy, scripted([reply(200, {"proxy": False})]) as server:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "https_proxy"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        assert post(transport_to(server.url)).content == b'{"proxy": false}'
        assert proxy.received == []


def test_threads_share_the_connections() -> None:
    """Eight threads, 400 requests, no more connections than threads, every answer to its own question."""

    def echo(received: Received, connection: Any) -> None:
        connection.sendall(reply(200, {"target": received.target}))

    wrong: list[str] = []

    def ask(transport: Transport, thread: int) -> None:
        for number in range(50):
            target = f"{USERS}/{thread}-{number}"
            request = Request("PUT", transport.base + target, b"{}", {})
            if f'"/{target}"'.encode() not in transport.send(request).content:
                wrong.append(target)

    with scripted(echo) as server:
        transport = transport_to(server.url)
        threads = [threading.Thread(target=ask, args=(transport, number)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
        assert len(server.received) == 400
        assert server.connections <= 8


def test_a_request_leaves_in_one_piece_with_its_token() -> None:
    """The server reads method, target, token and body as they were built."""
    with scripted([reply(200, {})]) as server:
        post(transport_to(server.url), USERS + "?alt=json")
        (received,) = server.received
        assert (received.method, received.target) == ("POST", f"/{USERS}?alt=json")
        assert received.headers["authorization"] == "Bearer token-0"
        assert received.body == b'{"a": 1}'


@pytest.mark.parametrize(
    ("target", "headers"),
    [
        (USERS + " HTTP/1.1", {}),
        (USERS + "\r\nx: y", {}),
        (USERS + "/\x00", {}),
        (USERS + "/\u00e9", {}),
        (USERS, {"accept": "a\r\nx: y"}),
        (USERS, {"accept": "a\nx: y"}),
        (USERS, {"accept\r\nx": "y"}),
        (USERS, {"accept": "\u00e9"}),
    ],
)
def test_no_value_becomes_a_line_of_its_own(target: str, headers: dict[str, str]) -> None:
    """What would split a request's lines is not sent at all; the connection serves the next request."""
    with scripted([reply(200, {})]) as server:
        transport = transport_to(server.url)
        with pytest.raises(DirectoryError, match=r"was not sent|the transport refuses"):
            transport.send(Request("POST", transport.base + target, b"{}", headers))
        assert server.received == []
        assert post(transport).status == 200


def test_the_frame_of_a_request_is_the_transports_own() -> None:
    """A length or host in the built headers does not reach the wire a second time, or wrongly."""
    with scripted([reply(200, {})]) as server:
        transport = transport_to(server.url)
        headers = {"Content-Length": "1", "host": "example.org", "Transfer-Encoding": "chunked", "accept": "a"}
        transport.send(Request("POST", transport.base + USERS, '{"name": "Siti \u00e9"}', headers))
        (received,) = server.received
        assert received.body.decode() == '{"name": "Siti \u00e9"}'
        assert received.headers["host"] == server.url.removeprefix("http://").rstrip("/")
        assert "transfer-encoding" not in received.headers


def test_a_refused_token_is_renewed_and_sent_again_only_where_that_is_safe() -> None:
    """A 401 costs a renewal always, and a second sending only when the caller says a 401 proves that nothing happened."""
    with scripted([reply(401, {}), reply(200, {})]) as server:
        transport = transport_to(server.url)
        request = Request("POST", transport.base + USERS, b"{}", {})
        assert transport.send(request).status == 401
        assert len(server.received) == 1
    with scripted([reply(401, {}), reply(200, {})]) as server:
        transport = transport_to(server.url)
        request = Request("POST", transport.base + USERS, b"{}", {})
        assert transport.send(request, again_if_refused=True).status == 200
        assert [received.headers["authorization"] for received in server.received] == [
            "Bearer token-0",
            "Bearer token-1",
        ]


def test_only_the_transport_knows_googles_host() -> None:
    """No other file of the package holds a Google API's host name, so no other can send there."""
    package = Path(belajarid_recon.__file__).parent
    knowing = [
        path.relative_to(package).as_posix() for path in package.rglob("*.py") if "googleapis.com" in path.read_text()
    ]
    assert knowing == ["directory/transport.py"]
