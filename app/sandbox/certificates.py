"""What proves who is who: made once in the sandbox's folder, reused ever after."""

import datetime
import ipaddress
import ssl
from collections.abc import Callable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from app.private import write_private

_NAMES = ("127.0.0.1", "localhost")
_DAYS = 3650


def keep(path: Path, make: Callable[[], bytes]) -> bytes:
    """The file's content; made first where there is none. Readable by its owner only, never half written."""
    if not path.exists():
        write_private(path, make())
    return path.read_bytes()


def pem_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def new_ec_key() -> bytes:
    """A P-256 private key as PEM (PKCS 8), the form of Apple's .p8 files."""
    return pem_of(ec.generate_private_key(ec.SECP256R1()))


class Authority:
    """A certificate authority of our own, and a server certificate for this machine."""

    def __init__(self, folder: Path) -> None:
        self.ca_file = folder / "ca.pem"
        self._server_file = folder / "server.pem"
        if not self._server_file.exists():
            ca, server = _issue(datetime.datetime.now(datetime.UTC))
            self.ca_file.write_bytes(ca)
            keep(self._server_file, lambda: server)

    def server_context(self, protocols: tuple[str, ...]) -> ssl.SSLContext:
        """TLS for a server that speaks these ALPN protocols."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self._server_file)
        context.set_alpn_protocols(list(protocols))
        return context


def _issue(now: datetime.datetime) -> tuple[bytes, bytes]:
    """(CA certificate, server key with its chain), both PEM. The CA's key is thrown away."""
    ca_key, server_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Tocsin provider sandbox CA")])
    server_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Tocsin provider sandbox")])
    ca = (
        _certificate(ca_name, ca_name, ca_key, ca_key, now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    addresses = [
        x509.IPAddress(ipaddress.ip_address(name)) if name[0].isdigit() else x509.DNSName(name) for name in _NAMES
    ]
    server = (
        _certificate(server_name, ca_name, server_key, ca_key, now)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(addresses), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    ca_pem = ca.public_bytes(serialization.Encoding.PEM)
    return ca_pem, pem_of(server_key) + server.public_bytes(serialization.Encoding.PEM) + ca_pem


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    issuer_key: ec.EllipticCurvePrivateKey,
    now: datetime.datetime,
) -> x509.CertificateBuilder:
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=_DAYS))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(identifier, critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
