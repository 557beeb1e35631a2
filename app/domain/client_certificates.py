"""Client certificates that API keys are bound to: by which names a key knows one. Whether a certificate is good, TLS
has judged before."""

import re
from hashlib import sha256

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from schemas.keys import CERTIFICATE_FORM, MAX_CERTIFICATE_CHARACTERS


def check_name(name: str) -> str:
    """Raises ValueError."""
    if len(name) > MAX_CERTIFICATE_CHARACTERS or not re.match(CERTIFICATE_FORM, name):
        raise ValueError(
            "a certificate is named by dns:NAME (in lower case), uri:URI, or spki: and the SHA-256 of its public key "
            "in 64 hex digits (in lower case)"
        )
    return name


def names_of(der: bytes) -> frozenset[str]:
    """The DNS names and URIs of a certificate's subjectAltName, and the hash of its public key. One that can't be read
    has none."""
    try:
        certificate = x509.load_der_x509_certificate(der)
        public = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return frozenset((f"spki:{sha256(public).hexdigest()}",))
    except Exception:  # (a dozen kinds, for as many ways of being none)
        return frozenset()
    names = [f"dns:{name.lower()}" for name in found.get_values_for_type(x509.DNSName)]
    uris = [f"uri:{uri}" for uri in found.get_values_for_type(x509.UniformResourceIdentifier)]
    return frozenset((*names, *uris, f"spki:{sha256(public).hexdigest()}"))
