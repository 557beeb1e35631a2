"""Where hooks may lead, how calls are signed, and when they are made again."""

import base64
import time
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from app.domain.hooks import (
    FAILING_MS,
    HOOK_STATUSES,
    HOUR_MS,
    RETRIED_MS,
    body_of,
    check_secret,
    check_url,
    is_given_up,
    new_secret,
    retry_at,
    seal,
    signed_headers,
    unseal,
)
from schemas.decode import Invalid, Malformed
from tests.unit.store.conftest import event

SECRET = "whsec_" + base64.b64encode(b"k" * 24).decode()
T0 = 1_780_000_000_000

# --- the specification's own library verifies what is signed ---


@given(st.binary(min_size=24, max_size=64), st.text(max_size=30), st.sampled_from(HOOK_STATUSES))
def test_the_specifications_library_verifies_every_call(key: bytes, said: str, status: Any) -> None:
    secret = "whsec_" + base64.b64encode(key).decode()
    check_secret(secret)
    told = event(status, detail={"error": said, "trail": [{"rule": "cap"}]})
    body = body_of(told)

    document: Any = Webhook(secret).verify(body, signed_headers(secret, told.event_id, int(time.time()), body))

    assert document["type"] == f"notification.{status}"
    assert document["timestamp"] == told.occurred_at
    assert document["data"] == msgspec.to_builtins(told) | {"detail": {"error": said}}


@pytest.mark.parametrize("change", ["secret", "id", "body", "time"])
def test_the_library_refuses_what_was_changed_on_the_way(change: str) -> None:
    body, now = b'{"a":1}', int(time.time())
    headers = signed_headers(SECRET, "e1", now - (3600 if change == "time" else 0), body)
    if change == "id":
        headers["webhook-id"] = "e2"
    other = "whsec_" + base64.b64encode(b"x" * 24).decode()

    with pytest.raises(WebhookVerificationError):
        Webhook(other if change == "secret" else SECRET).verify(b"{}" if change == "body" else body, headers)


def test_an_event_without_anything_but_a_trail_has_no_detail() -> None:
    document = msgspec.json.decode(body_of(event("sent", detail={"trail": []})))

    assert document["data"]["detail"] is None


@pytest.mark.parametrize(
    "secret",
    ["", "whsec_", "secret", base64.b64encode(b"k" * 32).decode(), "whsec_" + "!" * 40]
    + ["whsec_" + base64.b64encode(b"k" * size).decode() for size in (0, 23, 65)],
)
def test_a_secret_is_whsec_and_base64_of_24_to_64_bytes(secret: str) -> None:
    with pytest.raises(Malformed) as refused:
        check_secret(secret)
    assert refused.value.field == "secret"


def test_a_secret_that_is_made_is_a_good_one() -> None:
    check_secret(new_secret(b"r" * 24))


def test_a_sealed_secret_opens_for_its_hook_and_its_installation_alone() -> None:
    sealed = seal(SECRET, b"now" * 20, "h1", b"n" * 12)

    assert SECRET.encode() not in sealed
    assert unseal(sealed, [b"other" * 9, b"now" * 20], "h1") == SECRET
    assert unseal(sealed, [b"other" * 9], "h1") is None
    assert unseal(sealed, [b"now" * 20], "h2") is None
    assert unseal(b"", [b"now" * 20], "h1") is None


# --- where they lead ---

GOOD = [
    "https://example.com/hooks",
    "https://example.com",
    "https://example.com:8443/a/b?c=d%20e",
    "https://xn--bcher-kva.example/x",
    "https://8.8.8.8/x",
    "https://[2606:4700:4700::1111]/x",
]
NOT_PUBLIC = [
    "https://localhost/x",
    "https://127.0.0.1/x",
    "https://127.1/x",
    "https://2130706433/x",
    "https://0x7f000001/x",
    "https://0177.0.0.1/x",
    "https://10.0.0.1/x",
    "https://192.168.1.1/x",
    "https://169.254.169.254/latest/meta-data",
    "https://100.64.0.1/x",
    "https://0.0.0.0/x",
    "https://[::1]/x",
    "https://[::ffff:127.0.0.1]/x",
    "https://[fd00::1]/x",
    "https://[64:ff9b::7f00:1]/x",
    "https://metadata.google.internal/x",
    "https://printer.local/x",
    "https://intranet/x",
]
REFUSED = [
    "http://example.com/x",
    "https://user@example.com/x",
    "https://user:password@example.com/x",
    "https://example.com/x#part",
    "https://example.com:0/x",
]
MALFORMED = [
    "",
    "x",
    "example.com",
    "//example.com/x",
    "ftp://example.com/x",
    "javascript:alert(1)",
    "https://",
    "https:///x",
    "https://example.com:99999/x",
    "https://example.com:x/",
    "https://exa mple.com/x",
    "https://example.com\\@127.0.0.1/x",
    "https://example.com/\r\nHost: x",
    "https://[::1/x",
    "https://exämple.com/x",
    "https://example.com/" + "x" * 2048,
]


@pytest.mark.parametrize("url", GOOD)
def test_a_public_host_by_https_may_be_called(url: str) -> None:
    check_url(url, [])


@pytest.mark.parametrize("url", [*NOT_PUBLIC, *REFUSED])
def test_what_is_not_public_may_not_be_called(url: str) -> None:
    with pytest.raises(Invalid) as refused:
        check_url(url, [])
    assert refused.value.field == "url"
    assert not isinstance(refused.value, Malformed)


@pytest.mark.parametrize("url", MALFORMED)
def test_what_is_no_url_is_malformed(url: str) -> None:
    with pytest.raises(Malformed) as refused:
        check_url(url, [])
    assert refused.value.field == "url"


@pytest.mark.parametrize(
    ("url", "allowed", "may"),
    [
        ("http://127.0.0.1:9000/x", ["127.0.0.1"], True),
        ("http://127.0.0.1:9000/x", ["127.0.0.1:9000"], True),
        ("http://127.0.0.1:9000/x", ["127.0.0.1:9001"], False),
        ("http://localhost:9000/x", ["LOCALHOST"], True),
        ("http://[::1]:9000/x", ["::1"], True),
        ("http://[::1]:9000/x", ["[::1]:9000"], True),
        ("https://hooks.internal/x", ["hooks.internal"], True),
        ("https://hooks.internal/x", ["hooks.internal:443"], True),
        ("http://hooks.internal/x", ["hooks.internal"], False),
        ("https://10.0.0.7/x", ["10.0.0.7"], True),
        ("https://10.0.0.8/x", ["10.0.0.7"], False),
        ("https://a.hooks.internal/x", ["hooks.internal"], False),
    ],
)
def test_other_hosts_may_be_called_as_the_settings_allow(url: str, allowed: list[str], may: bool) -> None:
    if may:
        check_url(url, allowed)
        return
    with pytest.raises(Invalid):
        check_url(url, allowed)


# --- when they are made again ---


@given(st.text(min_size=1, max_size=20), st.integers(0, 10_000))
def test_a_call_is_repeated_for_24_hours_ever_more_seldom(event_id: str, begun: int) -> None:
    now = first = T0 + begun
    pauses = []
    for attempt in range(1, 1000):
        again = retry_at(event_id, attempt, first, now)
        if again is None:
            break
        pauses.append(again - now)
        now = again

    assert now == first + RETRIED_MS
    assert 4_000 <= pauses[0] <= 6_000
    assert max(pauses) <= HOUR_MS * 1.2
    assert 25 <= len(pauses) <= 45


@pytest.mark.parametrize(("asked_s", "pause_ms"), [(60.0, 60_000), (1e9, HOUR_MS)])
def test_a_receiver_may_ask_for_time(asked_s: float, pause_ms: int) -> None:
    assert retry_at("e", 1, T0, T0, asked_s) == T0 + pause_ms


def test_a_hook_is_given_up_after_5_days_without_a_success() -> None:
    assert not is_given_up(None, T0)
    assert not is_given_up(T0, T0 + FAILING_MS - 1)
    assert is_given_up(T0, T0 + FAILING_MS)
