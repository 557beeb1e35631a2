"""Vonage's delivery receipts and inbound texts, as the SMS API words them, signed by a token."""

import hashlib
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jwt
import orjson

from app.sandbox.callbacks.plans import Kind
from app.sandbox.callbacks.reports import Post, Told
from app.sandbox.certificates import keep
from schemas.instants import rfc3339

_STATUS: dict[Kind, tuple[str, str]] = {
    "accepted": ("accepted", "0"),
    "delivered": ("delivered", "0"),
    "bounced": ("failed", "9"),
}


class Vonage:
    """Signs with the account's signature secret."""

    def __init__(self, folder: Path, opened: Mapping[str, Any]) -> None:
        self._secret = keep(folder / "vonage-signature-secret", lambda: secrets.token_urlsafe(40).encode()).decode()
        self._api_key: str = opened["api_key"]
        self._sender: str = opened["from"]
        self.settings: Mapping[str, Any] = {"signature_secret": self._secret}

    def report(self, told: Told, now_ms: int) -> Post | None:
        if told.kind not in _STATUS:
            return None
        status, error = _STATUS[told.kind]
        fields = {
            "msisdn": told.message.address.removeprefix("+"),
            "to": told.message.sender or self._sender,
            "network-code": "23410",
            "messageId": told.message.provider_message_id,
            "price": "0.0333",
            "status": status,
            "err-code": error,
            "api-key": self._api_key,
            "client-ref": told.message.send_id or "",
            "message-timestamp": _utc(now_ms),
        }
        # The account's address, unless the message named one of its own.
        return self._post(told.message.tags.get("callback") or _address(told.url), fields, told.name, now_ms)

    def inbound(self, sender: str, said: str, name: str, url: str, now_ms: int) -> Post | None:
        fields = {
            "api-key": self._api_key,
            "msisdn": sender.removeprefix("+"),
            "to": self._sender,
            "messageId": name,
            "text": said,
            "type": "text",
            "keyword": said.partition(" ")[0].upper(),
            "message-timestamp": _utc(now_ms),
        }
        return self._post(_address(url), fields, name, now_ms)

    def _post(self, url: str, fields: dict[str, str], name: str, now_ms: int) -> Post:
        body = orjson.dumps(fields)
        claims = {
            "iat": now_ms // 1000,
            "jti": name,
            "iss": "Vonage",
            "payload_hash": hashlib.sha256(body).hexdigest(),
            "api_key": self._api_key,
        }
        token = jwt.encode(claims, self._secret, "HS256")
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
        return Post(url, headers, body)


def _address(url: str) -> str:
    return f"{url}/v1/webhooks/vonage"


def _utc(ms: int) -> str:
    return rfc3339(ms)[:19].replace("T", " ")
