"""Vendors' signatures, made as the vendors make them: by their own libraries, where those sign."""

import base64
import datetime
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import urlencode

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import NameOID
from multidict import CIMultiDict, MultiDict
from pydantic import SecretStr
from twilio.request_validator import RequestValidator

from app.config.providers import Ses, Twilio, Vonage
from app.webhooks.doors import Webhooks
from app.webhooks.events import Posted
from schemas.instants import rfc3339

NOW = 1_796_000_000_000
PUBLIC_URL = "https://n.example"
SEND_ID = "0b6a5e5c-6f0e-8d7c-9f5e-7b1d2a3c0000"
NOTIFICATION_ID = "11111111-2222-4333-8444-555555555555"

AUTH_TOKEN = "0123456789abcdef0123456789abcdef"
API_KEY, SIGNATURE_SECRET = "a1b2c3d4", "a signature secret of Vonage, and long enough"
TOPIC = "arn:aws:sns:us-east-1:123456789012:ses-events"

SENDGRID_KEY = ec.derive_private_key(4711, ec.SECP256R1())


def sendgrid_public_key() -> str:
    """As SendGrid shows it."""
    der = SENDGRID_KEY.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return base64.b64encode(der).decode()


def set_up(**changes: Any) -> Webhooks:
    """Every vendor but SES, which needs to fetch certificates."""
    given: dict[str, Any] = {
        "sendgrid": SENDGRID_KEY.public_key(),
        "twilio": Twilio.model_validate(
            {"account_sid": "AC1", "auth_token": SecretStr(AUTH_TOKEN), "from": "+15005550006"}
        ),
        "vonage": Vonage.model_validate(
            {"api_key": API_KEY, "api_secret": "s", "signature_secret": SIGNATURE_SECRET, "from": "Shop"}
        ),
        "public_url": PUBLIC_URL,
    }
    return Webhooks(**{**given, **changes})


def ses_settings(**changes: Any) -> Ses:
    return Ses.model_validate({"region": "us-east-1", "from": "a@b.example", "webhook_topic_arns": (TOPIC,)} | changes)


def posted(body: bytes, headers: Mapping[str, str], url: str = f"{PUBLIC_URL}/v1/webhooks/x") -> Posted:
    return Posted(url, CIMultiDict(headers), body)


# --- SendGrid ---


def sendgrid(events: Any, at_ms: int = NOW) -> tuple[bytes, dict[str, str]]:
    body = events if isinstance(events, bytes) else json.dumps(events, separators=(",", ":")).encode()
    at = str(at_ms // 1000)
    signature = SENDGRID_KEY.sign(at.encode() + body, ec.ECDSA(hashes.SHA256()))
    return body, {
        "X-Twilio-Email-Event-Webhook-Signature": base64.b64encode(signature).decode(),
        "X-Twilio-Email-Event-Webhook-Timestamp": at,
        "Content-Type": "application/json",
    }


def sendgrid_event(event: str, **more: Any) -> dict[str, Any]:
    named = {"email": "ada@example.com", "timestamp": NOW // 1000 - 5, "sg_event_id": f"id-{event}", "send_id": SEND_ID}
    return {**named, "sg_message_id": "14c5d75ce93.dfd.64b469.filter0001", "event": event, **more}


# --- Twilio ---


def twilio(
    fields: Sequence[tuple[str, str]], query: str = f"?attempt=1&send_id={SEND_ID}", public_url: str = PUBLIC_URL
) -> tuple[bytes, dict[str, str], str]:
    """The body, its headers, and path and query."""
    target = f"/v1/webhooks/twilio{query}"
    signature = RequestValidator(AUTH_TOKEN).compute_signature(f"{public_url}{target}", MultiDict(fields))
    headers = {"X-Twilio-Signature": signature, "Content-Type": "application/x-www-form-urlencoded"}
    return urlencode(fields).encode(), headers, target


def twilio_status(status: str, **more: str) -> list[tuple[str, str]]:
    return [
        ("AccountSid", "AC1"),
        ("MessageSid", "SM1"),
        ("SmsSid", "SM1"),
        ("MessageStatus", status),
        ("SmsStatus", status),
        ("To", "+15005550009"),
        *more.items(),
    ]


def twilio_text(said: str, **more: str) -> list[tuple[str, str]]:
    return [
        ("MessageSid", "SM2"),
        ("SmsStatus", "received"),
        ("From", "+14155550100"),
        ("To", "+15005550006"),
        ("Body", said),
        *more.items(),
    ]


# --- Vonage ---


def vonage(said: Any, at_ms: int = NOW, secret: str = SIGNATURE_SECRET, **claims: Any) -> tuple[bytes, dict[str, str]]:
    body = said if isinstance(said, bytes) else json.dumps(said).encode()
    given = {
        "iat": at_ms // 1000,
        "jti": "c6bdbdc3-5f0f-4d3e-8a3f-5fd6a8b0f6f1",
        "iss": "Vonage",
        "payload_hash": hashlib.sha256(body).hexdigest(),
        "api_key": API_KEY,
        "application_id": "aaaaaaaa-bbbb-cccc-dddd-0123456789ab",
        **claims,
    }
    token = jwt.encode({name: value for name, value in given.items() if value is not None}, secret, "HS256")
    return body, {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}


def vonage_receipt(status: str, **more: Any) -> dict[str, Any]:
    """Of the SMS API."""
    return {
        "msisdn": "447700900000",
        "to": "Shop",
        "network-code": "23410",
        "messageId": "0A0000001234567B",
        "price": "0.0333",
        "status": status,
        "scts": "2611301130",
        "err-code": "0",
        "api-key": API_KEY,
        "client-ref": SEND_ID,
        "message-timestamp": rfc3339(NOW - 5_000)[:19].replace("T", " "),
        **more,
    }


def vonage_message(status: str, **more: Any) -> dict[str, Any]:
    """Of the Messages API."""
    return {
        "message_uuid": "aaaaaaaa-bbbb-cccc-dddd-0123456789ab",
        "to": "447700900000",
        "from": "Shop",
        "timestamp": rfc3339(NOW - 5_000),
        "status": status,
        "client_ref": SEND_ID,
        "channel": "sms",
        **more,
    }


# --- SNS ---


@dataclass(frozen=True, slots=True)
class Signer:
    """A key, with its certificate and those of its issuers, as PEM."""

    key: rsa.RSAPrivateKey
    pem: bytes
    ca_pem: bytes


@cache
def _rsa_key(name: str) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def certificate(
    name: str,
    issuer: str,
    *,
    ca: bool = False,
    names: Sequence[str] = (),
    ended_days_ago: int = -365,
    began_days_ago: int = 800,
) -> x509.Certificate:
    """For the key of ``name``, signed by that of ``issuer``."""
    now = datetime.datetime.fromtimestamp(NOW / 1000, datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(_rsa_key(name).public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=began_days_ago))
        .not_valid_after(now - datetime.timedelta(days=ended_days_ago))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(n) for n in names]), critical=False)
    return builder.sign(_rsa_key(issuer), hashes.SHA256())


def pem_of(*certificates: x509.Certificate) -> bytes:
    return b"".join(each.public_bytes(serialization.Encoding.PEM) for each in certificates)


@cache
def sns_signer() -> Signer:
    """Below an authority and one between them."""
    root = certificate("A root", "A root", ca=True)
    between = certificate("Between", "A root", ca=True)
    leaf = certificate("sns.amazonaws.com", "Between", names=("sns.amazonaws.com",))
    return Signer(_rsa_key("sns.amazonaws.com"), pem_of(leaf, between), pem_of(root))


_OF_SUBSCRIPTION = ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")
_SIGNED = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": _OF_SUBSCRIPTION,
    "UnsubscribeConfirmation": _OF_SUBSCRIPTION,
}


def sns(
    message: Any,
    cert_url: str,
    *,
    version: str = "2",
    key: rsa.RSAPrivateKey | None = None,
    at_ms: int = NOW,
    **changes: Any,
) -> dict[str, Any]:
    """What SNS posts."""
    said: dict[str, Any] = {
        "Type": "Notification",
        "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
        "TopicArn": TOPIC,
        "Message": message if isinstance(message, str) else json.dumps(message),
        "Timestamp": rfc3339(at_ms),
        "SignatureVersion": version,
        "SigningCertURL": cert_url,
        "UnsubscribeURL": "https://sns.us-east-1.amazonaws.com/?Action=Unsubscribe",
        **changes,
    }
    signed = "".join(f"{name}\n{said[name]}\n" for name in _SIGNED[said["Type"]] if name in said)
    digest = hashes.SHA1() if version == "1" else hashes.SHA256()
    signature = (key or sns_signer().key).sign(signed.encode(), padding.PKCS1v15(), digest)
    return {**said, "Signature": base64.b64encode(signature).decode()}


def ses_event(kind: str, part: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    names = {"Rendering Failure": "failure"}
    return {
        "eventType": kind,
        "mail": {
            "timestamp": rfc3339(NOW - 60_000),
            "messageId": "EXAMPLE7c191be45-e9aedb9a-02f9-4d12",
            "destination": ["ada@example.com"],
            "tags": {"send_id": [SEND_ID], "ses:configuration-set": ["tocsin"]},
        },
        names.get(kind, kind.lower()): {"timestamp": rfc3339(NOW - 5_000), **(part or {})},
        **changes,
    }
