"""A certificate for this machine, keys, and the scripted APNs server."""

import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from app.config.providers import Apns as ApnsSettings
from app.providers.apns import Apns
from tests.unit.providers.apns_server import ApnsServer
from tests.unit.providers.http_server import HttpServer


def _pem_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    plain = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)


@pytest.fixture(scope="session")
def ca_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1, its key beside it as ``.key``."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "ca.pem"
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    path.with_suffix(".key").write_bytes(_pem_key(key))
    return path


@pytest.fixture(scope="session")
def server_tls(ca_file: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(ca_file, ca_file.with_suffix(".key"))
    context.set_alpn_protocols(["h2"])
    return context


@pytest.fixture(scope="session")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("apns") / "key.p8"
    path.write_bytes(_pem_key(ec.generate_private_key(ec.SECP256R1())))
    return path


@pytest.fixture
async def server(server_tls: ssl.SSLContext) -> AsyncIterator[ApnsServer]:
    server = ApnsServer(server_tls)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def apns(server: ApnsServer, ca_file: Path, key_file: Path) -> AsyncIterator[Apns]:
    client = Apns(
        ApnsSettings(
            host="127.0.0.1",
            port=server.port,
            ca_file=ca_file,
            key_file=key_file,
            key_id="KEYID12345",
            team_id="TEAMID1234",
            topic="com.example.shop",
            concurrency=50,
        )
    )
    await client.start()
    yield client
    await client.close()


@pytest.fixture
async def http() -> AsyncIterator[HttpServer]:
    server = HttpServer()
    await server.start()
    yield server
    await server.stop()
