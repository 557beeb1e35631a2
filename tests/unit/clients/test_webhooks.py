"""Calls of our webhooks are verified as the specification's own library does, and as our role signs them."""

import base64
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from app.domain.hooks import body_of, signed_headers
from schemas.lifecycle import LifecycleEvent
from tocsin.client import WebhookError, verify_webhook

NOW = 1_772_625_600
SECRET = "whsec_" + base64.b64encode(b"s" * 24).decode()
OTHER = "whsec_" + base64.b64encode(b"t" * 24).decode()
EVENT = LifecycleEvent(
    event_id="e1",
    notification_id="n1",
    user_id="ann",
    status="sent",
    channel="push",
    occurred_at="2026-03-04T12:00:00.000Z",
    detail={"latency_ms": 12, "trail": [["erased", True]]},
)
BODY = body_of(EVENT)


def signed(body: bytes = BODY, secret: str = SECRET, at: int = NOW, name: str = "e1") -> dict[str, str]:
    return signed_headers(secret, name, at, body)


def test_what_our_role_signs_is_taken() -> None:
    event = verify_webhook(signed(), BODY, SECRET, NOW)

    assert event.type == "notification.sent"
    assert (event.data.event_id, event.data.user_id, event.data.detail) == ("e1", "ann", {"latency_ms": 12})


def test_what_the_specifications_library_signs_is_taken() -> None:
    signature = Webhook(SECRET).sign("e1", datetime.fromtimestamp(NOW, UTC), BODY.decode())
    headers = {"Webhook-Id": "e1", "Webhook-Timestamp": str(NOW), "Webhook-Signature": signature}

    assert verify_webhook(headers, BODY, SECRET, NOW).data.event_id == "e1"


@pytest.mark.parametrize("secrets", [[SECRET, OTHER], [OTHER, SECRET]])
def test_each_of_several_secrets_counts(secrets: list[str]) -> None:
    assert verify_webhook(signed(), BODY, secrets, NOW)


def test_each_of_several_signatures_counts() -> None:
    headers = signed()
    both = f"v1a,AAAA {signed(secret=OTHER)['webhook-signature']} {headers['webhook-signature']}"

    assert verify_webhook({**headers, "webhook-signature": both}, BODY, SECRET, NOW)


@pytest.mark.parametrize(("off", "taken"), [(-300, True), (300, True), (-301, False), (301, False)])
def test_a_call_of_another_time_is_not_taken(off: int, taken: bool) -> None:
    if taken:
        assert verify_webhook(signed(at=NOW + off), BODY, SECRET, NOW)
    else:
        with pytest.raises(WebhookError, match="clock"):
            verify_webhook(signed(at=NOW + off), BODY, SECRET, NOW)


def test_the_tolerance_can_be_set() -> None:
    assert verify_webhook(signed(at=NOW - 4_000), BODY, SECRET, NOW, tolerance_s=5_000)


ALTERED: list[Callable[[dict[str, str]], Any]] = [
    lambda headers: headers.pop("webhook-id"),
    lambda headers: headers.pop("webhook-timestamp"),
    lambda headers: headers.pop("webhook-signature"),
    lambda headers: headers.update({"webhook-id": "e2"}),
    lambda headers: headers.update({"webhook-timestamp": str(NOW + 1)}),
    lambda headers: headers.update({"webhook-timestamp": f" {NOW}"}),
    lambda headers: headers.update({"webhook-timestamp": "NaN"}),
    lambda headers: headers.update({"webhook-timestamp": "9" * 400}),
    lambda headers: headers.update({"webhook-timestamp": "１７７２６２５６００"}),
    lambda headers: headers.update({"webhook-signature": ""}),
    lambda headers: headers.update({"webhook-signature": "v1,"}),
    lambda headers: headers.update({"webhook-signature": headers["webhook-signature"].replace("v1", "v2")}),
    lambda headers: headers.update({"webhook-signature": "v1,ü\udcff"}),
]


@pytest.mark.parametrize("number", range(len(ALTERED)))
def test_a_call_whose_headers_were_altered_is_not_taken(number: int) -> None:
    headers = signed()
    ALTERED[number](headers)

    with pytest.raises(WebhookError):
        verify_webhook(headers, BODY, SECRET, NOW)


KEYS = st.binary(min_size=1, max_size=64)


@given(st.text(max_size=200), KEYS, KEYS, st.text(min_size=1, max_size=40), st.sampled_from(["", " ", "{}"]))
def test_the_specifications_library_takes_the_same(text: str, key: bytes, other: bytes, name: str, more: str) -> None:
    """Whatever is signed, by whichever key, and whatever was added to it afterwards."""
    now = int(time.time())  # (the library asks no other clock)
    body = json.dumps({"text": text}).encode()
    secret, verifying = ("whsec_" + base64.b64encode(each).decode() for each in (key, other))
    headers = signed(body, secret, now, name)
    came = body + more.encode()
    for by in (secret, verifying):
        assert ours(headers, came, by, now) == theirs(headers, came, by)


def ours(headers: dict[str, str], body: bytes, secret: str, now: float) -> bool:
    try:
        verify_webhook(headers, body, secret, now)
    except WebhookError as error:
        return "no event of Tocsin" in str(error)
    return True


def theirs(headers: dict[str, str], body: bytes, secret: str) -> bool:
    try:
        Webhook(secret).verify(body, headers)
    except WebhookVerificationError:
        return False
    except json.JSONDecodeError:
        return True
    return True


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"type": 1}', b"[" * 100_000, b"\xff"])
def test_a_signed_body_that_is_no_event_is_not_taken(body: bytes) -> None:
    with pytest.raises(WebhookError, match="no event"):
        verify_webhook(signed(body), body, SECRET, NOW)


@pytest.mark.parametrize("secret", ["", "whsec_", "not base64!", [], [""]])
def test_a_secret_that_is_none_is_a_mistake_of_ours(secret: Any) -> None:
    with pytest.raises(ValueError, match="secret"):
        verify_webhook(signed(), BODY, secret, NOW)


def test_every_field_of_an_event_is_read() -> None:
    assert msgspec.to_builtins(verify_webhook(signed(), BODY, SECRET, NOW)) == msgspec.json.decode(BODY)
