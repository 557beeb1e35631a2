"""SendGrid's event webhook."""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from app.sandbox.callbacks.plans import Kind
from app.sandbox.callbacks.reports import Post, Told
from app.sandbox.certificates import keep, new_ec_key

_EVENTS: dict[Kind, str] = {
    "accepted": "processed",
    "delivered": "delivered",
    "bounced": "bounce",
    "complained": "spamreport",
}


class SendGrid:
    """Signs with a key of the sandbox's folder."""

    def __init__(self, folder: Path, opened: Mapping[str, Any]) -> None:
        key = serialization.load_pem_private_key(keep(folder / "sendgrid-webhook.pem", new_ec_key), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        self._key = key
        public = key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.settings: Mapping[str, Any] = {"webhook_public_key": base64.b64encode(public).decode()}

    def report(self, told: Told, now_ms: int) -> Post | None:
        message = told.message
        event = {
            "email": message.address,
            "timestamp": now_ms // 1000,
            "event": _EVENTS[told.kind],
            "sg_event_id": told.name,
            "sg_message_id": f"{message.provider_message_id}.filter0001.1-0",
            "send_id": message.send_id,
            "notification_id": message.notification_id,
            **({"type": "bounce", "reason": "550 5.1.1 no such user"} if told.kind == "bounced" else {}),
        }
        body, at = orjson.dumps([event]), str(now_ms // 1000)
        signature = self._key.sign(at.encode() + body, ec.ECDSA(hashes.SHA256()))
        headers = {
            "Content-Type": "application/json",
            "X-Twilio-Email-Event-Webhook-Signature": base64.b64encode(signature).decode(),
            "X-Twilio-Email-Event-Webhook-Timestamp": at,
        }
        return Post(f"{told.url}/v1/webhooks/sendgrid", headers, body)

    def inbound(self, sender: str, said: str, name: str, url: str, now_ms: int) -> Post | None:
        return None
