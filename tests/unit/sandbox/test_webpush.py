"""A push service's rules for a message: its signature, its headers, and that a browser can read it."""

import json
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from app.providers.webpush import read_key
from app.providers.webpush_encryption import encrypt, public_bytes
from app.sandbox.exchange import Judged, Request
from app.sandbox.journal import Journal
from app.sandbox.webpush import MISMATCH, Browser, WebPush
from tests.unit.sandbox.requests import NOW_S, SEND_ID, at

ORIGIN = "https://127.0.0.1:4711"
MESSAGE = {"title": "Gate 7", "body": "Boarding", "tag": "one", "send_id": SEND_ID, "notification_id": "n-1"}


@pytest.fixture
def vendor(tmp_path: Path) -> WebPush:
    vendor = WebPush(tmp_path, Journal(tmp_path))
    vendor.open_at("127.0.0.1", 4711, "ca.pem")
    return vendor


def signed(vendor: WebPush, key: ec.EllipticCurvePrivateKey | None = None, **claims: Any) -> str:
    own = key or read_key(vendor.open_at("127.0.0.1", 4711, "ca.pem")["vapid_private_key"])
    told = {"aud": ORIGIN, "exp": NOW_S + 3600, "sub": "mailto:ops@example.com", **claims}
    token = jwt.encode({name: value for name, value in told.items() if value is not None}, own, "ES256")
    return f"vapid t={token}, k={urlsafe_b64encode(public_bytes(own)).rstrip(b'=').decode()}"


def judged(
    vendor: WebPush,
    message: Any = MESSAGE,
    *,
    path: str | None = None,
    body: bytes | None = None,
    **changes: str | None,
) -> Judged:
    endpoint = urlsplit(vendor.subscription()["endpoint"]).path
    browser = Browser.of(endpoint.rpartition("/")[2])
    content = encrypt(json.dumps(message).encode(), public_bytes(browser.key), browser.auth) if body is None else body
    given: Mapping[str, str | None] = {
        "authorization": signed(vendor),
        "content_encoding": "aes128gcm",
        "ttl": "60",
        "urgency": "high",
        "topic": "one",
        **changes,
    }
    headers = tuple((name.replace("_", "-"), value) for name, value in given.items() if value is not None)
    return vendor.judge(Request("POST", path or endpoint, "", headers, content), at())


def test_a_right_message_is_taken_and_shown_as_the_browser_reads_it(vendor: WebPush) -> None:
    taken = judged(vendor)

    assert (taken.code, taken.reply.status) == (None, 201)
    assert taken.reply.headers["location"] == taken.provider_message_id
    assert (taken.send_id, taken.notification_id) == (SEND_ID, "n-1")
    assert taken.shown is not None
    assert (taken.shown.title, taken.shown.body, taken.shown.collapse_id) == ("Gate 7", "Boarding", "one")
    assert (taken.shown.expiration, taken.shown.tags) == (NOW_S + 60, {"topic": "one", "urgency": "high"})


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("404", {"path": "/push/x"}),
        ("404", {"path": "/elsewhere"}),
        ("401", {"authorization": None}),
        ("403", {"authorization": "Bearer x"}),
        ("403", {"authorization": "vapid t=x, k=" + "A" * 87}),
        ("400", {"ttl": None}),
        ("400", {"ttl": "2419201"}),
        ("400", {"ttl": "-1"}),
        ("400", {"urgency": "highest"}),
        ("400", {"topic": "x" * 33}),
        ("400", {"topic": "a b"}),
        ("400", {"content_encoding": "aesgcm"}),
        ("400", {"content_encoding": None}),
        ("413", {"body": b"x" * 4097}),
        ("400", {"body": b""}),
        ("400", {"body": b"x" * 200}),
        ("400", {"message": "no object"}),
    ],
)
def test_a_wrong_request_gets_its_status(vendor: WebPush, code: str, changes: dict[str, Any]) -> None:
    refused = judged(vendor, **changes)

    assert (refused.code, refused.reply.status, refused.shown) == (code, int(code), None)


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "https://elsewhere.example"},
        {"aud": None},
        {"exp": NOW_S},
        {"exp": NOW_S + 86_401},
        {"exp": None},
        {"sub": "ops@example.com"},
        {"sub": None},
    ],
)
def test_a_signature_says_for_whom_until_when_and_by_whom(vendor: WebPush, claims: dict[str, Any]) -> None:
    assert judged(vendor, authorization=signed(vendor, **claims)).code == "403"


def test_another_key_than_the_one_that_subscribed_is_refused_as_such(vendor: WebPush) -> None:
    refused = judged(vendor, authorization=signed(vendor, ec.generate_private_key(ec.SECP256R1())))

    assert (refused.code, refused.reply.body) == ("403", MISMATCH.encode())


def test_a_message_for_another_browser_cannot_be_read(vendor: WebPush) -> None:
    other = Browser.of("somebody else's subscription")

    refused = judged(vendor, body=encrypt(b"{}", public_bytes(other.key), other.auth))

    assert refused.code == "400"
