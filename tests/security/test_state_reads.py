"""Users' state is read by Tocsin's own processes only: signed, at a known host, and over TLS if so wished."""

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from yarl import URL

from app.config import BadCertificate, Operations
from app.dev.ports import free_port
from app.domain import signed_reads
from app.operations import OperationsServer, ServedState
from app.sandbox.certificates import Authority
from app.store.owner_client import NotAnsweredError, StateReader

SECRET, OTHER = b"the installation's own secret of 32 bytes", b"another installation's secret of 32 bytes"
QUERY = {"partition": "1", "user_id": "ada"}
#: Every route of the port that is open to all.
OPEN = ("/health/live", "/health/ready", "/metrics")


def unix_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass
class State:
    """Answers everything, and knows how often it was asked."""

    asked: list[str] = field(default_factory=list)

    async def read(self, partition: int, view: str, user_id: str, *_: Any) -> Mapping[str, Any]:
        self.asked.append(user_id)
        return {"user_id": user_id, "email": f"{user_id}@example.com"}


@dataclass
class Port:
    url: str
    state: State
    session: aiohttp.ClientSession
    server: OperationsServer

    async def call(self, target: str, method: str = "GET", **headers: str) -> tuple[int, str]:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        url = URL(self.url + target, encoded=True)
        async with self.session.request(method, url, headers=given) as response:
            return response.status, await response.text()

    def signed(self, target: str, *, secret: bytes = SECRET, at: int | None = None, method: str = "GET") -> str:
        host = URL(self.url).raw_authority
        return signed_reads.authorization(secret, method, host, target, unix_ms() if at is None else at)


@asynccontextmanager
async def opened(folder: Path, operations: Operations | None = None, secret: bytes = SECRET) -> AsyncIterator[Port]:
    state = State()
    served = ServedState(state, secret, unix_ms)
    server = OperationsServer(role="router", problem=lambda: None, registry=CollectorRegistry(), state=served)
    await server.start(operations or Operations(), folder)
    async with aiohttp.ClientSession() as session:
        yield Port(server.url, state, session, server)
    await server.stop()


@pytest.fixture
async def port(tmp_path: Path) -> AsyncIterator[Port]:
    async with opened(tmp_path) as port:
        yield port


TARGET = "/state/profile?partition=1&user_id=ada"


# --- who may read ---


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer x", signed_reads.SCHEME, f"{signed_reads.SCHEME} at=1, signature={'0' * 64}", "ü", "x" * 7000],
)
async def test_a_request_that_is_not_signed_reads_nothing(port: Port, authorization: str) -> None:
    status, text = await port.call(TARGET, Authorization=authorization)

    assert (status, "ada@example.com" in text, port.state.asked) == (401, False, [])


async def test_the_secret_is_needed_and_never_travels(port: Port) -> None:
    assert (await port.call(TARGET, Authorization=port.signed(TARGET)))[0] == 200
    wrong = await port.call(TARGET, Authorization=port.signed(TARGET, secret=OTHER))

    assert wrong[0] == 401
    assert "the same installation.secret" in wrong[1]
    assert SECRET.decode() not in port.signed(TARGET)


@pytest.mark.parametrize("off_by_s", [-3600, -61, 61, 3600])
async def test_a_signature_is_good_for_a_minute(port: Port, off_by_s: int) -> None:
    late = port.signed(TARGET, at=unix_ms() + off_by_s * 1000)
    soon = port.signed(TARGET, at=unix_ms() + (off_by_s // abs(off_by_s)) * 30_000)

    assert (await port.call(TARGET, Authorization=late))[0] == 401
    assert (await port.call(TARGET, Authorization=soon))[0] == 200


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/state/profile?partition=1&user_id=bob"),
        ("GET", "/state/inbox?partition=1&user_id=ada"),
        ("GET", "/state/profile?partition=2&user_id=ada"),
        ("GET", "/state/profile?partition=1&user_id=ada&user_id=bob"),
        ("GET", "/state/profile?user_id=ada&partition=1"),
        ("GET", "/state/%70rofile?partition=1&user_id=ada"),
        ("GET", "/state/profile?partition=1&user_id=%61da"),
        ("HEAD", TARGET),
    ],
)
async def test_a_signature_is_for_one_request_only(port: Port, method: str, target: str) -> None:
    status, _ = await port.call(target, method, Authorization=port.signed(TARGET))

    assert (status, port.state.asked) == (401, [])


async def test_a_request_to_one_process_is_none_to_another(port: Port, tmp_path: Path) -> None:
    """Who gets one by a forged address can't pass it on to the owner."""
    signed = port.signed(TARGET)
    async with opened(tmp_path / "other") as other:
        assert (await other.call(TARGET, Authorization=signed))[0] == 401
        with_host = await other.call(TARGET, Authorization=signed, Host=URL(port.url).raw_authority)

    assert with_host[0] == 421
    assert other.state.asked == []


@given(
    st.binary(min_size=1),
    *(st.text(max_size=20) for _ in range(3)),
    st.integers(min_value=0, max_value=10**14),
    st.data(),
)
def test_only_the_request_that_was_signed_is_answered(
    secret: bytes, method: str, host: str, target: str, at: int, data: st.DataObject
) -> None:
    signed = [secret, method, host, target, at]
    header = signed_reads.authorization(secret, method, host, target, at)
    assert signed_reads.refusal(secret, header, method, host, target, at) is None

    changed = data.draw(st.integers(min_value=0, max_value=3))
    other: list[Any] = list(signed)
    other[changed] = data.draw(st.binary(min_size=1) if changed == 0 else st.text(max_size=20))
    same_host = changed == 2 and other[2].lower() == host.lower()
    if other != signed and not same_host and other[0].rstrip(b"\0") != secret.rstrip(b"\0"):
        assert signed_reads.refusal(other[0], header, other[1], other[2], other[3], at) is not None
    if changed != 0 and other != signed and not same_host:
        assert signed_reads.refusal(secret, header, other[1], other[2], other[3], at) is not None


@given(st.text(max_size=300))
def test_any_text_may_stand_in_the_header(header: str) -> None:
    assert signed_reads.refusal(SECRET, header, "GET", "h:1", "/", 0) is not None


# --- hosts ---


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "localhost.evil.example:{port}", ""]
)
async def test_a_web_page_reads_nothing_by_a_name_of_its_own(port: Port, host: str) -> None:
    """DNS rebinding: the page's own name leads to this port."""
    named = host.format(port=URL(port.url).port)
    signed = signed_reads.authorization(SECRET, "GET", named, TARGET, unix_ms())

    status, text = await port.call(TARGET, Host=named, Authorization=signed)

    assert status in (400, 421)
    assert ("ada@example.com" in text, port.state.asked) == (False, [])


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "LOCALHOST", "[::1]", "router.example"])
async def test_the_ports_own_names_are_known(tmp_path: Path, name: str) -> None:
    async with opened(tmp_path, Operations(advertised_host="router.example")) as port:
        host = f"{name}:{URL(port.url).port}"
        signed = signed_reads.authorization(SECRET, "GET", host, TARGET, unix_ms())
        called = f"http://127.0.0.1:{URL(port.url).port}"
        port.url = called

        assert (await port.call(TARGET, Host=host, Authorization=signed))[0] == 200


@pytest.mark.parametrize("path", OPEN)
async def test_health_and_metrics_are_open_by_any_name(port: Port, path: str) -> None:
    assert (await port.call(path, Host="prometheus-sees-this.example:9100"))[0] == 200


async def test_all_routes_are_open_ones_or_state(port: Port) -> None:
    """A new route has to be one or the other."""
    assert port.server._runner is not None
    app = port.server._runner.app
    assert app is not None

    assert {resource.canonical for resource in app.router.resources()} == {*OPEN, "/state/{view}"}


async def test_no_answer_is_kept_by_a_browser_or_names_the_server(port: Port) -> None:
    for target in (*OPEN, TARGET, "/nothing"):
        async with port.session.get(URL(port.url + target, encoded=True)) as response:
            assert response.headers["Cache-Control"] == "no-store"
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert "Server" not in response.headers
            assert "Access-Control-Allow-Origin" not in response.headers


# --- answers ---


@pytest.mark.parametrize("given", ["none", "of another secret", "of another request", "of another body"])
async def test_an_answer_that_no_process_of_ours_signed_does_not_count(given: str) -> None:
    async def forged(request: web.Request) -> web.Response:
        header = request.headers["Authorization"]
        body = b'{"email":"forged@example.com"}'
        proofs = {
            "none": "",
            "of another secret": signed_reads.proof(OTHER, header, 200, body),
            "of another request": signed_reads.proof(SECRET, header + " ", 200, body),
            "of another body": signed_reads.proof(SECRET, header, 200, b"{}"),
        }
        return web.Response(body=body, headers={signed_reads.PROOF: proofs[given]})

    app = web.Application()
    app.router.add_get("/state/{view}", forged)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        reader = StateReader(session, SECRET, unix_ms)
        with pytest.raises(NotAnsweredError, match="not signed with this installation's secret"):
            await reader.read(f"http://127.0.0.1:{server.port}", "profile", QUERY)


async def test_a_wrong_secret_is_named_as_the_reason(tmp_path: Path) -> None:
    async with opened(tmp_path, secret=OTHER) as port:
        with pytest.raises(NotAnsweredError, match=r"both processes need the same installation\.secret"):
            await StateReader(port.session, SECRET, unix_ms).read(port.url, "profile", QUERY)


async def test_refusals_are_logged_without_the_signature(port: Port, capsys: pytest.CaptureFixture[str]) -> None:
    signed = port.signed(TARGET, secret=OTHER)
    await port.call(TARGET, Authorization=signed)
    await port.call(TARGET, Authorization=port.signed(TARGET))
    said = "".join(capsys.readouterr())

    assert "a read of state was refused" in said
    assert "signature=" not in said
    assert "ada" not in said


# --- TLS ---


def tls(folder: Path) -> Operations:
    authority = Authority(folder)
    pem = folder / "server.pem"
    return Operations(cert_file=pem, key_file=pem, ca_file=authority.ca_file)


@pytest.fixture
def certified(tmp_path: Path) -> Operations:
    (tmp_path / "tls").mkdir()
    return tls(tmp_path / "tls")


async def test_the_hop_is_encrypted_and_verified(tmp_path: Path, certified: Operations) -> None:
    async with opened(tmp_path, certified) as port:
        reader = StateReader(port.session, SECRET, unix_ms, certified.client_tls())
        status, body = await reader.read(port.url, "profile", QUERY)

        assert port.url.startswith("https://")
        assert (status, b"ada@example.com" in body) == (200, True)
        with pytest.raises(aiohttp.ClientError):  # nothing is said in the clear
            await port.session.get(port.url.replace("https", "http"))


async def test_a_certificate_of_an_unknown_authority_is_refused(tmp_path: Path, certified: Operations) -> None:
    (tmp_path / "others").mkdir()
    async with opened(tmp_path, tls(tmp_path / "others")) as port:
        for context in (certified.client_tls(), Operations().client_tls()):
            with pytest.raises(NotAnsweredError, match="Certificate"):
                await StateReader(port.session, SECRET, unix_ms, context).read(port.url, "profile", QUERY)

    assert port.state.asked == []


async def test_a_certificate_of_another_name_is_refused(tmp_path: Path, certified: Operations) -> None:
    async with opened(tmp_path, certified.model_copy(update={"host": "127.0.0.2"})) as port:
        reader = StateReader(port.session, SECRET, unix_ms, certified.client_tls())
        with pytest.raises(NotAnsweredError, match="Certificate"):
            await reader.read(port.url, "profile", QUERY)

    assert port.state.asked == []


@pytest.mark.parametrize("field", ["cert_file", "key_file"])
def test_a_certificate_needs_its_key(field: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="required together"):
        Operations.model_validate({field: tmp_path})


@pytest.mark.parametrize("content", [None, "not a certificate"])
def test_what_can_not_be_used_is_named_by_its_setting(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "some.pem"
    if content is not None:
        file.write_text(content)
    operations = Operations(cert_file=file, key_file=file, ca_file=file)

    with pytest.raises(BadCertificate, match=r"operations\.cert_file"):
        operations.server_tls()
    with pytest.raises(BadCertificate, match=r"operations\.ca_file"):
        operations.client_tls()


async def test_ipv6_addresses_are_announced_as_urls(tmp_path: Path) -> None:
    async with opened(tmp_path, Operations(port=free_port(), advertised_host="2001:db8::1")) as port:
        assert port.url.startswith("http://[2001:db8::1]:")
