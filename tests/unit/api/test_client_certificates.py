"""API keys that are bound to client certificates, over real TLS: a key that was stolen alone is of no use."""

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cryptography import x509

from app.api.callers import Callers
from app.api.connections import ConnectionLimits, Connections
from app.api.gateway import listen
from app.cli.gateway import CERT_FILE_VARIABLE, KEY_FILE_VARIABLE, GatewayClient, _client_certificate
from app.cli.output import Refused
from app.config import ApiKey, BadCertificate, Gateway
from app.domain.client_certificates import names_of
from tests.agents.harness import NOON
from tests.calling import bearer, key_hash
from tests.certificates import HERE, Authority
from tests.key_topic import KeyTopic
from tests.unit.api.test_hostile_calls import gateway

BOUND, FREE, OPS = "bound." + "b" * 43, "free." + "f" * 43, "ops." + "o" * 43
Files = tuple[Path, Path]
NAMES = (x509.DNSName("Shop.internal"), x509.UniformResourceIdentifier("spiffe://example.org/shop"))
DNS, URI = "dns:shop.internal", "uri:spiffe://example.org/shop"
WITHIN_S = 60


@dataclass(frozen=True, slots=True)
class Served:
    url: str
    authority: Authority
    topic: KeyTopic

    async def ask(
        self,
        path: str,
        key: str | None,
        certificate: Files | None,
        method: str = "GET",
        **more: Any,
    ) -> tuple[int, str]:
        """Over a connection of its own. ``certificate``: files of it and its key; None: none is shown."""
        headers = {} if key is None else bearer(key)
        connector = aiohttp.TCPConnector(ssl=client_tls(self.authority, certificate))
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.request(method, self.url + path, headers=headers, allow_redirects=False, **more) as response,
        ):
            return response.status, await response.text()


def client_tls(authority: Authority, certificate: Files | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=authority.ca_file)
    if certificate is not None:
        context.load_cert_chain(*certificate)
    return context


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def shops(authority: Authority) -> Files:
    return authority.issue("shop", *NAMES)


@pytest.fixture
def others(authority: Authority) -> Files:
    """A good one, of somebody else."""
    return authority.issue("shop.internal", x509.DNSName("blog.internal"))


def spki(files: Files) -> str:
    [name] = [each for each in names(files) if each.startswith("spki:")]
    return name


def names(files: Files) -> frozenset[str]:
    return names_of(ssl.PEM_cert_to_DER_cert(files[0].read_text()))


@asynccontextmanager
async def served(
    authority: Authority, *bound: str, limits: ConnectionLimits | None = None, **more: Any
) -> AsyncIterator[Served]:
    """``bound``: the names of the certificates that one of its keys is bound to. ``more``: of the settings."""
    cert_file, key_file = authority.issue("gateway", *HERE)
    settings = Gateway(port=0, cert_file=cert_file, key_file=key_file, **{"client_ca_file": authority.ca_file, **more})
    topic = KeyTopic()
    writer = topic.writer(clock=lambda: NOON)
    keys = [
        ApiKey(id="bound", sha256=key_hash(BOUND), scopes=("admin",), certificates=bound),
        ApiKey(id="free", sha256=key_hash(FREE), scopes=("admin",)),
    ]
    callers = Callers(keys, None, None, lambda: NOON / 1000, writer.states, writer.uses)
    asks = settings.client_ca_file is not None
    async with gateway(keys=writer, callers=callers, asks_certificates=asks) as (client, _):
        runner = client.server.runner
        assert runner is not None
        assert runner.server is not None
        server = await listen(settings, runner.server, Connections(limits or ConnectionLimits()))
        yield Served(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}", authority, topic)
        server.close()


async def test_a_key_is_taken_with_its_certificate_by_any_of_its_names(authority: Authority, shops: Files) -> None:
    for name in (DNS, URI, spki(shops)):
        async with served(authority, "dns:of.another", name) as it:
            assert (await it.ask("/v1/providers", BOUND, shops))[0] == 200


async def test_a_key_without_its_certificate_is_of_no_use(authority: Authority, shops: Files, others: Files) -> None:
    async with served(authority, DNS, spki(shops)) as it:
        for certificate in (None, others):
            status, text = await it.ask("/v1/providers", BOUND, certificate)
            assert status == 401
            assert "bound to a client certificate" in text
        assert (await it.ask("/v1/keys/bound", FREE, None))[1].count('"last_used_at":null') == 1


async def test_a_certificate_without_the_key_is_of_no_use(authority: Authority, shops: Files) -> None:
    async with served(authority, DNS) as it:
        for key in (None, "bound." + "x" * 43):
            assert (await it.ask("/v1/providers", key, shops))[0] == 401


async def test_where_certificates_are_optional_others_call_as_before(authority: Authority, shops: Files) -> None:
    async with served(authority, DNS) as it:
        for certificate in (None, shops):
            assert (await it.ask("/v1/providers", FREE, certificate))[0] == 200
            assert (await it.ask("/openapi.json", None, certificate))[0] == 200


async def test_where_they_are_required_nothing_is_answered_without(authority: Authority, others: Files) -> None:
    async with served(authority, DNS, client_certificates="required") as it:
        assert (await it.ask("/openapi.json", None, others))[0] == 200
        assert (await it.ask("/v1/providers", FREE, others))[0] == 200
        for key in (FREE, BOUND, None):
            with pytest.raises((aiohttp.ClientError, ssl.SSLError)):
                await it.ask("/openapi.json", key, None)


@pytest.mark.parametrize("client_certificates", ["optional", "required"])
async def test_a_certificate_that_is_not_good_is_refused_with_the_connection(
    authority: Authority, client_certificates: str, tmp_path: Path
) -> None:
    (tmp_path / "others").mkdir()
    foreign = Authority(tmp_path / "others").issue("shop", *NAMES)
    expired = authority.issue("shop", *NAMES, expired=True)
    async with served(authority, DNS, client_certificates=client_certificates) as it:
        for certificate in (foreign, expired):
            with pytest.raises((aiohttp.ClientError, ssl.SSLError)):
                await it.ask("/v1/providers", BOUND, certificate)


async def test_no_session_is_resumed_without_its_certificate(authority: Authority, shops: Files) -> None:
    async with served(authority, DNS) as it:
        context = client_tls(authority, shops)
        _, _, port = it.url.rpartition(":")

        def connected(session: ssl.SSLSession | None) -> tuple[ssl.SSLSession | None, bool | None]:
            raw = socket.create_connection(("127.0.0.1", int(port)), timeout=WITHIN_S)
            with context.wrap_socket(raw, server_hostname="127.0.0.1", session=session) as connection:
                connection.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                while connection.recv(65536):
                    pass
                return connection.session, connection.session_reused

        session, _ = await asyncio.to_thread(connected, None)
        assert (await asyncio.to_thread(connected, session))[1] is False
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises(ssl.SSLError):  # it would be resumed
            await asyncio.to_thread(connected, None)


async def test_a_handshake_that_hangs_is_ended(authority: Authority) -> None:
    async with served(authority, limits=ConnectionLimits(header_s=0.1)) as it:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(it.url.rpartition(":")[2]))
        async with asyncio.timeout(WITHIN_S):
            assert await reader.read() == b""
        writer.close()


async def test_plain_http_gets_no_answer(authority: Authority) -> None:
    async with served(authority) as it, aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientError):
            await session.get(it.url.replace("https", "http") + "/openapi.json", headers=bearer(FREE))


async def test_a_key_made_over_http_is_bound_too_and_stays_so_when_it_is_rotated(
    authority: Authority, shops: Files
) -> None:
    async with served(authority) as it:
        body = {"id": "shop", "scopes": ["admin:read"], "certificates": [URI, DNS, URI]}
        status, text = await it.ask("/v1/keys", FREE, None, "POST", json=body)
        assert status == 201, text
        made = [_key(text), _key((await it.ask("/v1/keys/shop/rotate", FREE, None, "POST"))[1])]

        for key in made:
            assert (await it.ask("/v1/providers", key, None))[0] == 401
            assert (await it.ask("/v1/providers", key, shops))[0] == 200
        assert f'"certificates":["{URI}","{DNS}"]' in (await it.ask("/v1/keys/shop", FREE, None))[1]
        assert f"bound to {URI} or {DNS}" in (await it.ask("/v1/audit-log", FREE, None))[1]


def _key(text: str) -> str:
    return str(json.loads(text)["key"])


async def test_a_gateway_that_asks_for_no_certificates_makes_no_key_that_needs_one(authority: Authority) -> None:
    async with served(authority, client_ca_file=None) as it:
        body = {"id": "shop", "scopes": ["send"], "certificates": [DNS]}
        status, text = await it.ask("/v1/keys", FREE, None, "POST", json=body)
        assert status == 422
        assert '"field":"certificates"' in text
        assert "gateway.client_ca_file" in text


@pytest.mark.parametrize("name", ["", "shop", "dns:", "dns:Shop", "dns:a b", "uri:", "uri:a\n", "spki:00", "cn:shop"])
async def test_a_name_that_is_none_is_refused_with_its_field(authority: Authority, name: str) -> None:
    async with served(authority) as it:
        body = {"id": "shop", "scopes": ["send"], "certificates": [name]}
        status, text = await it.ask("/v1/keys", FREE, None, "POST", json=body)
        assert status == 400
        assert '"field":"certificates"' in text


async def test_a_console_session_is_bound_as_its_key_is(authority: Authority, shops: Files) -> None:
    async with served(authority, DNS) as it:

        async def signed_in(certificate: Files | None) -> tuple[int, str]:
            connector = aiohttp.TCPConnector(ssl=client_tls(authority, certificate))
            async with (
                aiohttp.ClientSession(connector=connector) as session,
                session.post(f"{it.url}/console/sign-in", data={"key": BOUND}, allow_redirects=False) as response,
            ):
                return response.status, response.headers.get("Set-Cookie", "").partition(";")[0]

        assert (await signed_in(None))[0] == 403
        status, cookie = await signed_in(shops)
        assert status == 303

        async def overview(certificate: Files | None) -> int:
            connector = aiohttp.TCPConnector(ssl=client_tls(authority, certificate))
            async with (
                aiohttp.ClientSession(connector=connector) as session,
                session.get(f"{it.url}/console", headers={"Cookie": cookie}, allow_redirects=False) as response,
            ):
                return response.status

        assert await overview(shops) == 200
        assert await overview(None) == 303  # to sign in


async def test_a_command_shows_the_certificate_that_its_environment_names(
    authority: Authority, shops: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca_file))
    monkeypatch.setenv(CERT_FILE_VARIABLE, str(shops[0]))
    with pytest.raises(Refused, match=KEY_FILE_VARIABLE):
        _client_certificate()
    monkeypatch.setenv(KEY_FILE_VARIABLE, str(authority.ca_file))
    with pytest.raises(Refused, match=CERT_FILE_VARIABLE):
        _client_certificate()
    monkeypatch.setenv(KEY_FILE_VARIABLE, str(shops[1]))
    async with served(authority, DNS) as it:
        client = GatewayClient(it.url, BOUND, _client_certificate())
        assert "providers" in await asyncio.to_thread(client.call, "GET", "/v1/providers")


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"cert_file": "a.pem"}, "required together"),
        ({"key_file": "a.key"}, "required together"),
        ({"client_ca_file": "ca.pem"}, "client_ca_file needs cert_file"),
        ({"cert_file": "a.pem", "key_file": "a.key", "client_certificates": "required"}, "needs client_ca_file"),
        ({"client_certificates": "required"}, "needs client_ca_file"),
        ({"client_certificates": "wanted"}, "client_certificates"),
    ],
)
def test_settings_that_make_no_sense_are_refused_by_name(given: dict[str, str], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        Gateway.model_validate(given)


@pytest.mark.parametrize("content", [None, "not a certificate"])
def test_a_file_that_can_not_be_used_is_named_by_its_setting(
    authority: Authority, tmp_path: Path, content: str | None
) -> None:
    bad = tmp_path / "bad.pem"
    if content is not None:
        bad.write_text(content)
    cert_file, key_file = authority.issue("gateway", *HERE)

    for given, named in (
        ({"cert_file": bad}, r"gateway\.cert_file"),
        ({"key_file": bad}, r"gateway\.key_file"),
        ({"client_ca_file": bad}, r"gateway\.client_ca_file"),
    ):
        settings = Gateway.model_validate({"cert_file": cert_file, "key_file": key_file, **given})
        with pytest.raises(BadCertificate, match=named):
            settings.server_tls()
