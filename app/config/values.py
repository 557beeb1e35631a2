"""The kinds of value that settings hold, and how each is read."""

import base64
import ipaddress
import re
import unicodedata
from email import policy
from email.errors import HeaderParseError
from email.header import Header
from email.utils import formataddr
from typing import Annotated, Any
from urllib.parse import urlsplit

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key, load_pem_public_key
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from app.domain.addresses import parse_email

#: The longest encoded word there may be (RFC 2047).
_ENCODED_WORD = 75
_SECONDS_PER_UNIT = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


def seconds(value: object) -> object:
    """Seconds of ``15``, ``"15"``, ``"15s"``, ``"500ms"``, ``"2m"`` or ``"7d"``; raises ValueError for all else."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?", value.strip())
    if match is None:
        raise ValueError('a duration is a number of seconds, or such as "15s" or "500ms"')
    return float(match[1]) * _SECONDS_PER_UNIT[match[2] or "s"]


def per_second(value: object) -> object:
    """Calls per second of ``200``, ``"200"``, ``"200/s"`` or ``"100/m"``; raises ValueError for anything else."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(?:/\s*(s|m|h))?", value.strip())
    if match is None:
        raise ValueError('a rate is a number of calls a second, or such as "200/s" or "100/m"')
    return float(match[1]) / _SECONDS_PER_UNIT[match[2] or "s"]


def is_loopback(host: str) -> bool:
    """Whether a host name or literal address means this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _safe_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an https URL")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise ValueError("plain http is accepted only to loopback; use https")
    return url.rstrip("/")


def sender(text: str) -> str:
    """One mailbox as it stands in mail's From: the display name as RFC 2047 has it, the domain in ASCII."""
    if any(unicodedata.category(character) in ("Cc", "Zl", "Zp") for character in text):
        raise ValueError("contains a line break or another control character")
    wrong = ValueError('must be one mail address, such as "shop@example.com" or "The Shop <shop@example.com>"')
    try:
        header: Any = policy.default.header_factory("From", text)
        boxes, groups, defects = header.addresses, header.groups, header.defects
    except (ValueError, IndexError, AttributeError, RecursionError, HeaderParseError) as error:
        raise wrong from error
    if defects or len(boxes) != 1 or groups[0].display_name is not None:
        raise wrong
    address, name = parse_email(boxes[0].addr_spec), boxes[0].display_name
    if address is None or any(unicodedata.category(character) == "Cc" for character in name):
        raise wrong
    if name.isascii():
        return formataddr((name, address))
    return f"{Header(name, 'utf-8').encode(linesep='', maxlinelen=_ENCODED_WORD)} <{address}>"


def ecdsa_public_key(written: str) -> EllipticCurvePublicKey:
    """A verification key as SendGrid shows it (the base64 of its DER) or as PEM. Raises ValueError."""
    try:
        if "BEGIN" in written:
            key = load_pem_public_key(written.encode())
        else:
            key = load_der_public_key(base64.b64decode(written.encode(), validate=True))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError("is not a public key: paste the verification key as the vendor shows it") from error
    if not isinstance(key, EllipticCurvePublicKey):
        raise ValueError("is not an ECDSA key")
    return key


def _ecdsa_key_text(written: str) -> str:
    ecdsa_public_key(written.strip())
    return written.strip()


Seconds = Annotated[float, BeforeValidator(seconds), Field(gt=0)]
PerSecond = Annotated[float, BeforeValidator(per_second), Field(gt=0)]
SafeUrl = Annotated[str, AfterValidator(_safe_url)]
#: An ECDSA public key, as base64 or PEM.
EcdsaKey = Annotated[str, AfterValidator(_ecdsa_key_text)]
#: Whom mail comes from.
Sender = Annotated[str, AfterValidator(sender)]
Port = Annotated[int, Field(ge=1, le=65535)]
PortOrAny = Annotated[int, Field(ge=0, le=65535)]
#: What a scheme of links must not be: each runs or shows what somebody else wrote, or reads files of the reader's.
_UNSAFE_SCHEMES = frozenset(("javascript", "data", "file", "vbscript", "blob", "about", "view-source"))


def _link_scheme(text: str) -> str:
    scheme = text.lower()
    if not re.fullmatch(r"[a-z][a-z0-9+.-]{0,39}", scheme):
        raise ValueError("is not a link scheme: give it without the colon, such as myapp")
    if scheme in _UNSAFE_SCHEMES:
        raise ValueError("is never safe in a link")
    return scheme


#: How numbers of a country, or of a part of it, begin.
CountryPrefix = Annotated[str, Field(pattern=r"^\+[1-9][0-9]{0,14}$")]
LinkScheme = Annotated[str, AfterValidator(_link_scheme)]
#: A host's name or address, without a port.
HostName = Annotated[str, Field(pattern=r"^([A-Za-z0-9_.-]{1,253}|[0-9A-Fa-f:.]{2,45})$")]
#: The same, or HOST:PORT.
AllowedHost = Annotated[
    str, Field(pattern=r"^([A-Za-z0-9_.-]{1,253}|[0-9A-Fa-f:.]{2,45}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?$")
]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


class Section(BaseModel):
    """A part of the settings: frozen, and with no keys but its own."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, hide_input_in_errors=True)
