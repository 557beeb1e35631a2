"""SES's events, published to a topic of SNS that posts them; and SNS's certificate, which it signs with."""

import base64
import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

from app.sandbox.callbacks.plans import Kind
from app.sandbox.callbacks.reports import Post, Told
from app.sandbox.certificates import keep
from schemas.instants import rfc3339

TOPIC = "arn:aws:sns:us-east-1:123456789012:tocsin-ses-events"
CERTIFICATE_PATH = "/SimpleNotificationService-0123456789abcdef0123456789abcdef.pem"
SNS_NAME = "sns.amazonaws.com"

_DAYS = 3650
_EVENTS: dict[Kind, str] = {
    "accepted": "Send",
    "delivered": "Delivery",
    "bounced": "Bounce",
    "complained": "Complaint",
}
_SIGNED = ("Message", "MessageId", "SubscribeURL", "Subject", "Timestamp", "Token", "TopicArn", "Type")


class Ses:
    """``opened_at``: where SNS listens, for its certificate and for who confirms a subscription."""

    def __init__(self, folder: Path, opened: Mapping[str, Any], opened_at: str) -> None:
        kept = keep(folder / "sns-signer.pem", _new_signer)
        key = serialization.load_pem_private_key(kept, None)
        assert isinstance(key, rsa.RSAPrivateKey)
        self._key = key
        leaf, authority = x509.load_pem_x509_certificates(kept)
        self.certificate = leaf.public_bytes(serialization.Encoding.PEM)
        self._at = opened_at
        trusted = folder / "ses-ca.pem"
        trusted.write_bytes(Path(opened["ca_file"]).read_bytes() + authority.public_bytes(serialization.Encoding.PEM))
        self.settings: Mapping[str, Any] = {
            "ca_file": str(trusted),
            "webhook_topic_arns": [TOPIC],
            "webhook_cert_hosts": [opened_at.partition("://")[2]],
        }

    def report(self, told: Told, now_ms: int) -> Post | None:
        message, at = told.message, rfc3339(now_ms)
        event = {
            "eventType": _EVENTS[told.kind],
            "mail": {
                "timestamp": rfc3339(message.at_ms),
                "messageId": message.provider_message_id,
                "destination": [message.address],
                "tags": {name: [value] for name, value in message.tags.items()},
            },
            _EVENTS[told.kind].lower(): {"timestamp": at, **self._part(told)},
        }
        return self._post(told.url, {"Type": "Notification", "Message": orjson.dumps(event).decode()}, told.name, at)

    def inbound(self, sender: str, said: str, name: str, url: str, now_ms: int) -> Post | None:
        return None

    def confirmation(self, url: str, token: str, now_ms: int) -> Post:
        """What a new subscription begins with."""
        fields = {
            "Type": "SubscriptionConfirmation",
            "Token": token,
            "Message": f"You have chosen to subscribe to the topic {TOPIC}.",
            "SubscribeURL": f"{self._at}/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token={token}",
        }
        return self._post(url, fields, str(uuid4()), rfc3339(now_ms))

    def _part(self, told: Told) -> dict[str, Any]:
        recipient = {"emailAddress": told.message.address}
        match told.kind:
            case "bounced":
                return {
                    "bounceType": "Permanent",
                    "bounceSubType": "General",
                    "bouncedRecipients": [recipient],
                    "feedbackId": told.name,
                }
            case "complained":
                return {
                    "complainedRecipients": [recipient],
                    "complaintFeedbackType": "abuse",
                    "feedbackId": told.name,
                }
            case "delivered":
                return {"recipients": [told.message.address], "smtpResponse": "250 ok"}
            case _:
                return {}

    def _post(self, url: str, fields: dict[str, str], name: str, at: str) -> Post:
        said = {**fields, "MessageId": name, "TopicArn": TOPIC, "Timestamp": at}
        signed = "".join(f"{each}\n{said[each]}\n" for each in _SIGNED if each in said)
        signature = self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        said |= {
            "SignatureVersion": "2",
            "Signature": base64.b64encode(signature).decode(),
            "SigningCertURL": f"{self._at}{CERTIFICATE_PATH}",
        }
        headers = {"Content-Type": "text/plain; charset=UTF-8", "x-amz-sns-message-type": said["Type"]}
        return Post(f"{url}/v1/webhooks/ses", headers, orjson.dumps(said))


def _new_signer() -> bytes:
    """A key, its certificate, and that of its authority, whose key is thrown away."""
    now = datetime.datetime.now(datetime.UTC)
    root_key, key = (rsa.generate_private_key(65537, 2048) for _ in range(2))
    root_name, name = (
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)]) for text in ("Tocsin sandbox's SNS CA", SNS_NAME)
    )

    def certificate(subject: x509.Name, own: rsa.RSAPrivateKey, *, ca: bool) -> x509.Certificate:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(root_name)
            .public_key(own.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=_DAYS))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(SNS_NAME)]), critical=False)
            .sign(root_key, hashes.SHA256())
        )

    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    certificates = (certificate(name, key, ca=False), certificate(root_name, root_key, ca=True))
    return pem + b"".join(each.public_bytes(serialization.Encoding.PEM) for each in certificates)
