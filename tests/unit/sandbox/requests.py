"""Requests as the vendors of the sandbox see them, right in every part unless told otherwise."""

import json
import time
import uuid
from pathlib import Path
from typing import Any

import jwt

from app.sandbox import apns
from app.sandbox.exchange import Moment, Request

NOW_S = 1_795_000_000
DEVICE = "ab" * 32
SEND_ID = "0b0d5d0e-5a52-4a39-9d5e-0123456789ab"


def at(seconds: int = NOW_S) -> Moment:
    return Moment(seconds * 1000, uuid.UUID(int=7))


def provider_token(key_file: Path, *, iat: int = NOW_S, iss: str = apns.TEAM_ID, kid: str = apns.KEY_ID) -> str:
    return jwt.encode({"iss": iss, "iat": iat}, key_file.read_text(), "ES256", {"kid": kid})


def push(token: str, *, path: str = f"/3/device/{DEVICE}", body: Any = None, **headers: str | None) -> Request:
    """A push that APNs takes. Headers by their names with ``_`` for ``-``; None leaves one out."""
    given: dict[str, str | None] = {
        "authorization": f"bearer {token}",
        "apns_id": SEND_ID,
        "apns_topic": apns.TOPIC,
        "apns_push_type": "alert",
        "apns_priority": "10",
        "apns_expiration": str(NOW_S + 60),
        "apns_collapse_id": "one",
        **headers,
    }
    alert = {"aps": {"alert": {"title": "Gate 7", "body": "Boarding"}}, "send_id": SEND_ID, "notification_id": "n-1"}
    content = body if isinstance(body, bytes) else json.dumps(alert if body is None else body).encode()
    named = tuple((name.replace("_", "-"), value) for name, value in given.items() if value is not None)
    return Request("POST", path, "", named, content)


def body_of(reply_body: bytes) -> Any:
    return json.loads(reply_body)


def now_s() -> int:
    return int(time.time())
