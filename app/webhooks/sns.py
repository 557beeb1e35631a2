"""SNS's envelope around what a topic says: what is signed, by whom, and which addresses in it may be called.

Sources: AWS, "Verifying the signatures of Amazon SNS messages", "Parsing Amazon SNS message formats".
"""

import base64
import re
from collections.abc import Collection
from typing import Literal, get_args
from urllib.parse import SplitResult, urlsplit

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from msgspec import Struct

from app.config import is_loopback
from app.webhooks.events import NotGenuine, object_of
from schemas.instants import parse_ms

Type = Literal["Notification", "SubscriptionConfirmation", "UnsubscribeConfirmation"]

#: SNS tries for less than this by default, with the signature that it began with.
FRESH_MS = 60 * 60_000

_SIGNED: dict[str, tuple[str, ...]] = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    **dict.fromkeys(
        ("SubscriptionConfirmation", "UnsubscribeConfirmation"),
        ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
    ),
}
_HASHES = {"1": hashes.SHA1, "2": hashes.SHA256}
_AMAZON_HOST = re.compile(r"sns\.[a-z]{2}(?:-[a-z]+)+-[0-9]{1,2}\.amazonaws\.com(?:\.cn)?")
_AMAZON_PATH = re.compile(r"/SimpleNotificationService-[0-9a-f]{8,64}\.pem")
_PRINTED = re.compile(r"[!-~]{1,2048}")


class Envelope(Struct, frozen=True):
    """``signed``: what the signature is over."""

    type: Type
    message: str
    topic_arn: str
    cert_url: str
    subscribe_url: str | None
    signature: bytes
    version: str
    at_ms: int
    signed: bytes


def read_envelope(body: bytes) -> Envelope:
    """Raises NotGenuine for what SNS doesn't send."""
    said = {name: value for name, value in object_of(body).items() if isinstance(value, str)}
    kind = said.get("Type", "")
    if kind not in get_args(Type):
        raise NotGenuine("is not an SNS message")
    needed = [name for name in _SIGNED[kind] if name != "Subject"]
    if any(name not in said for name in (*needed, "Signature", "SigningCertURL", "SignatureVersion")):
        raise NotGenuine("is not a signed SNS message")
    try:
        return Envelope(
            type=kind,  # type: ignore[arg-type]  # it is one of them
            message=said["Message"],
            topic_arn=said["TopicArn"],
            cert_url=said["SigningCertURL"],
            subscribe_url=said.get("SubscribeURL"),
            signature=base64.b64decode(said["Signature"].encode(), validate=True),
            version=said["SignatureVersion"],
            at_ms=parse_ms(said["Timestamp"]),
            signed="".join(f"{name}\n{said[name]}\n" for name in _SIGNED[kind] if name in said).encode(),
        )
    except ValueError as error:
        raise NotGenuine("has a signature or a time that can't be read") from error


def check_envelope(envelope: Envelope, topic_arns: Collection[str], cert_hosts: Collection[str], now_ms: int) -> None:
    """All that can be checked before anybody is called. Raises NotGenuine."""
    if envelope.topic_arn not in topic_arns:
        raise NotGenuine("the topic is not one of providers.ses.webhook_topic_arns")
    if envelope.version not in _HASHES:
        raise NotGenuine("the signature's version is neither 1 nor 2")
    if abs(now_ms - envelope.at_ms) > FRESH_MS:
        raise NotGenuine("the signature's time is too far from ours")
    check_url(envelope.cert_url, cert_hosts, "the certificate's address", of_certificate=True)


def check_signature(envelope: Envelope, key: RSAPublicKey) -> None:
    """Raises NotGenuine."""
    try:
        key.verify(envelope.signature, envelope.signed, padding.PKCS1v15(), _HASHES[envelope.version]())
    except InvalidSignature as error:
        raise NotGenuine("the signature is not SNS's") from error


def check_url(url: str, hosts: Collection[str], what: str, *, of_certificate: bool = False) -> None:
    """Raises NotGenuine unless the address is on one of the hosts (``host`` or ``host:port``); without any, on one of
    Amazon's own for SNS. ``of_certificate``: and may be a certificate's."""
    parts = _split(url)
    if parts is None or parts.username is not None or parts.password is not None or parts.fragment:
        raise NotGenuine(f"{what} is not a plain https address")
    if hosts:
        fits = _is_one_of(parts, hosts) and (not of_certificate or parts.path.endswith(".pem"))
    else:
        fits = (
            parts.scheme == "https"
            and _AMAZON_HOST.fullmatch(parts.netloc) is not None
            and (not of_certificate or (_AMAZON_PATH.fullmatch(parts.path) is not None and not parts.query))
        )
    if not fits:
        raise NotGenuine(f"{what} is on no host that is allowed (providers.ses.webhook_cert_hosts)")


def _split(url: str) -> SplitResult | None:
    if not _PRINTED.fullmatch(url) or "\\" in url:
        return None
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises where it is none
    except ValueError:
        return None
    return parts if parts.hostname else None


def _is_one_of(parts: SplitResult, hosts: Collection[str]) -> bool:
    """On this machine any port will do, and plain http."""
    here = is_loopback(parts.hostname or "")
    if parts.scheme != "https" and not (here and parts.scheme == "http"):
        return False
    return parts.netloc in hosts or (parts.hostname in hosts and (here or parts.port in (None, 443)))
