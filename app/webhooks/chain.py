"""Whether a certificate may sign for SNS: its chain leads to an authority that is trusted, now, and it is SNS's."""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.x509.oid import AuthorityInformationAccessOID
from cryptography.x509.verification import Criticality, ExtensionPolicy, Policy, PolicyBuilder, Store, VerificationError

from app.webhooks.events import NotGenuine

#: Whoever issues certificates for Amazon publishes its own there.
_AMAZON_ISSUERS = ".amazontrust.com"
_MOST_CERTIFICATES = 6


def read_certificates(pem: bytes) -> Sequence[x509.Certificate]:
    """The signer's first, then those of its issuers, as far as they are there. Raises NotGenuine."""
    try:
        found = x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise NotGenuine("the signer's certificate can't be read") from error
    if not 1 <= len(found) <= _MOST_CERTIFICATES:
        raise NotGenuine("the signer's certificate comes with too many others")
    return found


def issuer_url(certificate: x509.Certificate) -> str | None:
    """Where Amazon's issuer of a certificate publishes its own; None where it is another's, or it isn't named."""
    try:
        access = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    except (x509.ExtensionNotFound, ValueError):
        return None
    for each in access:
        location = each.access_location
        if each.access_method == AuthorityInformationAccessOID.CA_ISSUERS and isinstance(
            location, x509.UniformResourceIdentifier
        ):
            parts = urlsplit(location.value)
            if parts.scheme in ("http", "https") and parts.netloc.endswith(_AMAZON_ISSUERS):
                return location.value
    return None


def verified_key(
    chain: Sequence[x509.Certificate],
    roots: Sequence[x509.Certificate],
    names: Collection[str],
    now_ms: int,
) -> RSAPublicKey:
    """The signer's key. ``names``: the certificate must be for one of them; empty: the authorities are our own, and
    certify nobody else. Raises NotGenuine."""
    leaf, *issuers = chain
    verifier = (
        PolicyBuilder()
        .store(Store(list(roots)))
        .time(datetime.fromtimestamp(now_ms / 1000, UTC))
        .extension_policies(ca_policy=_CA, ee_policy=ExtensionPolicy.permit_all())
        .build_client_verifier()
    )
    try:
        verifier.verify(leaf, issuers)
    except (VerificationError, ValueError) as error:
        raise NotGenuine("the signer's certificate leads to no authority that is trusted") from error
    if names and not any(name in names for name in _names_of(leaf)):
        raise NotGenuine("the signer's certificate is not SNS's")
    key = leaf.public_key()
    if not isinstance(key, RSAPublicKey):
        raise NotGenuine("the signer's key is not RSA")
    return key


def _is_authority(_: Policy, certificate: x509.Certificate, constraints: x509.BasicConstraints) -> None:
    if not constraints.ca:
        raise ValueError("is not an authority")


_CA = ExtensionPolicy.permit_all().require_present(x509.BasicConstraints, Criticality.AGNOSTIC, _is_authority)


def _names_of(certificate: x509.Certificate) -> Sequence[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return ()
    return names.get_values_for_type(x509.DNSName)
