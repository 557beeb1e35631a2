"""Web push's client on a push service that answers as a test scripts it."""

import json
import re
import ssl
import time
from base64 import b64encode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from app.config.providers import WebPush as WebPushSettings
from app.domain.addresses import parse_subscription
from app.domain.outcome import Outcome
from app.ports import Address
from app.providers.webpush import (
    PushServices,
    Subscription,
    WebPush,
    compose,
    is_allowed,
    read_key,
    topic_of,
)
from app.providers.wire import unusable
from app.sandbox.webpush import Browser, decrypted, subscription
from schemas.requests import PushAction, PushOptions
from tests.unit.providers.factories import a_handle, a_message
from tests.unit.providers.http_server import HANG_UP, SILENCE, Answer, HttpServer

KEY = ec.derive_private_key(4711, ec.SECP256R1())
RAW = urlsafe_b64encode((4711).to_bytes(32)).decode()
MISMATCHES = [
    Answer(403, b"the VAPID credentials in the authorization header do not correspond to the credentials used to ..."),
    Answer(
        403, b"the key in the authorization header does not correspond to the sender ID used to subscribe this user"
    ),
    Answer(401, b'{"code":401,"errno":109,"error":"Unauthorized","message":"VAPID public key mismatch"}'),
    Answer(403, b'{"reason":"VapidPkHashMismatch"}'),
    Answer(400, b"<HTML><TITLE>UnauthorizedRegistration</TITLE>"),
]
CREATED = Answer(201, b"", (("Location", "https://push.example/m/1"),))


@pytest.fixture
async def https(ca_file: Path) -> AsyncIterator[HttpServer]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(ca_file, ca_file.with_suffix(".key"))
    server = HttpServer()
    await server.start(context)
    server.script = lambda _: CREATED
    yield server
    await server.stop()


def settings(ca_file: Path, *allowed: str, **changes: Any) -> WebPushSettings:
    given = {"vapid_private_key": RAW, "subject": "mailto:ops@example.com", "allow_hosts": allowed, "ca_file": ca_file}
    return WebPushSettings.model_validate({**given, **changes})


@pytest.fixture
async def webpush(https: HttpServer, ca_file: Path) -> AsyncIterator[WebPush]:
    client = WebPush(settings(ca_file, https.url.removeprefix("https://")))
    await client.start()
    yield client
    await client.close()


def a_browser(origin: str, **changes: Any) -> Address:
    return Address("push", parse_subscription({**subscription(origin), **changes}), platform="web")


async def send(webpush: WebPush, https: HttpServer, timeout_s: float = 60.0, **changes: Any) -> Outcome:
    return await webpush.send(a_message(**changes), a_browser(https.url), a_handle(), timeout_s)


def read(body: bytes, to: Address) -> Any:
    name = json.loads(to.value)["endpoint"].rpartition("/")[2]
    return json.loads(decrypted(body, Browser.of(name)))


async def test_the_request_is_what_the_rfcs_ask_for(webpush: WebPush, https: HttpServer) -> None:
    to, handle = a_browser(https.url), a_handle(priority="high", collapse_id="one")

    outcome = await webpush.send(a_message(), to, handle, 60.0)

    assert outcome == Outcome("ok", provider_message_id="https://push.example/m/1")
    [request] = https.received
    assert (request.method, f"{https.url}{request.target}") == ("POST", json.loads(to.value)["endpoint"])
    assert request.headers["content-encoding"] == "aes128gcm"
    assert 3500 < int(request.headers["ttl"]) <= 3600
    assert request.headers["urgency"] == "high"
    assert request.headers["topic"] == topic_of("one")
    assert read(request.body, to) == {
        "title": "Your order",
        "body": "It has left.",
        "url": "https://shop.example/orders/7",
        "data": {"order": "7"},
        "tag": "one",
        "send_id": handle.send_id,
        "notification_id": handle.notification_id,
    }


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (PushOptions(badge=0), {"badge": 0}),
        (PushOptions(sound=""), {"silent": True}),
        (PushOptions(sound="gate"), {}),
        (PushOptions(silent=True, category="ORDER"), {"silent": True, "category": "ORDER"}),
        (PushOptions(actions=[PushAction("pay", "Pay")]), {"actions": [{"action": "pay", "title": "Pay"}]}),
    ],
)
def test_the_service_worker_is_given_what_was_asked(options: PushOptions, told: dict[str, Any]) -> None:
    handle = a_handle()

    usual = json.loads(compose(a_message(), handle))
    assert json.loads(compose(a_message(push=options), handle)) == usual | told


async def test_the_signature_is_for_the_push_service_alone_and_used_for_hours(
    webpush: WebPush, https: HttpServer
) -> None:
    for _ in range(3):
        await send(webpush, https)

    [given] = {request.headers["authorization"] for request in https.received}
    found = re.fullmatch(r"vapid t=([\w.-]+), k=([\w-]+)", given)
    assert found is not None
    claims = jwt.decode(found[1], KEY.public_key(), ["ES256"], audience=https.url)
    assert claims["sub"] == "mailto:ops@example.com"
    assert 0 < claims["exp"] - time.time() <= 12 * 3600
    point = KEY.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    assert urlsafe_b64decode(found[2] + "=") == point


async def test_what_has_expired_meanwhile_lives_no_moment(webpush: WebPush, https: HttpServer) -> None:
    await webpush.send(a_message(), a_browser(https.url), a_handle(expires_at_ms=1), 60.0)

    assert https.received[0].headers["ttl"] == "0"


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (200, Outcome("ok")),
        (202, Outcome("ok")),
        (400, Outcome("drop", code="400", why="permanent")),
        (401, Outcome("config", code="401")),
        (403, Outcome("config", code="403")),
        (404, Outcome("bad_token", code="404")),
        (406, Outcome("throttle", code="406", retry_after_ms=9000, scope="address")),
        (410, Outcome("bad_token", code="410")),
        (413, Outcome("drop", code="413", why="too_large")),
        (429, Outcome("throttle", code="429", retry_after_ms=9000, scope="address")),
        (500, Outcome("retry", code="500", retry_after_ms=9000)),
        (503, Outcome("retry", code="503", retry_after_ms=9000)),
        (502, Outcome("in_doubt", code="502", doubt="connection_lost")),
        (504, Outcome("in_doubt", code="504", doubt="connection_lost")),
    ],
)
async def test_each_status_has_its_outcome_after_one_request(
    webpush: WebPush, https: HttpServer, status: int, expected: Outcome
) -> None:
    https.script = lambda _: Answer(status, b"", (("Retry-After", "9"),))

    assert await send(webpush, https) == expected
    assert len(https.received) == 1


async def refused_scopes(webpush: WebPush, https: HttpServer, browsers: list[Address]) -> list[str]:
    https.script = lambda _: Answer(429)
    outcomes = [await webpush.send(a_message(), to, a_handle(), 60.0) for to in browsers]
    assert {outcome.kind for outcome in outcomes} == {"throttle"}
    return [outcome.scope for outcome in outcomes]


async def test_a_push_service_that_refuses_one_after_the_other_limits_all(webpush: WebPush, https: HttpServer) -> None:
    browsers = [a_browser(https.url) for _ in range(6)]
    scopes = await refused_scopes(webpush, https, browsers)
    assert scopes == ["address"] * 4 + ["lane"] * 2

    https.script = lambda _: CREATED
    for _ in range(6):
        assert (await send(webpush, https)).kind == "ok"
    assert await refused_scopes(webpush, https, browsers[:1]) == ["address"]


async def test_a_subscription_that_is_refused_again_and_again_limits_itself_alone(
    webpush: WebPush, https: HttpServer
) -> None:
    browsers = [a_browser(https.url) for _ in range(4)]

    assert set(await refused_scopes(webpush, https, browsers * 5)) == {"address"}


def test_one_push_service_says_nothing_of_another_and_few_are_remembered() -> None:
    services = PushServices()
    for number in range(4):
        assert not services.note(a_subscription("https://one.example", number), refused=True)
    assert not services.note(a_subscription("https://two.example", 5), refused=True)
    assert services.note(a_subscription("https://one.example", 5), refused=True)

    for number in range(3_000):
        services.note(a_subscription(f"https://{number}.example", 0), refused=True)
    assert len(services._latest) <= 1_000


def a_subscription(origin: str, number: int) -> Subscription:
    return Subscription(f"{origin}/{number}", bytes(65), bytes(16))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(webpush: WebPush, https: HttpServer, status: int) -> None:
    https.script = lambda _: Answer(status, b"", (("Location", f"{https.url}/elsewhere"),))

    assert (await send(webpush, https)).kind == "retry"
    assert len(https.received) == 1


@pytest.mark.parametrize("answer", MISMATCHES)
async def test_another_key_is_config_until_ours_was_taken_then_the_subscriptions_fault(
    webpush: WebPush, https: HttpServer, answer: Answer
) -> None:
    https.script = lambda _: answer
    before = await send(webpush, https)
    https.script = lambda _: CREATED
    await send(webpush, https)
    https.script = lambda _: answer
    after = await send(webpush, https)

    assert (before, after) == (Outcome("config", code="vapid_mismatch"), Outcome("bad_token", code="vapid_mismatch"))


@pytest.mark.parametrize("status", [400, 401, 403])
async def test_a_signature_that_is_refused_retires_nobody(webpush: WebPush, https: HttpServer, status: int) -> None:
    await send(webpush, https)
    https.script = lambda _: Answer(status, b'{"reason":"BadJwtToken"}')

    assert (await send(webpush, https)).kind == "config"


@pytest.mark.parametrize(("behaviour", "doubt"), [(HANG_UP, "connection_lost"), (SILENCE, "timeout")])
async def test_a_lost_answer_is_in_doubt_after_one_request(
    webpush: WebPush, https: HttpServer, behaviour: str, doubt: str
) -> None:
    https.script = lambda _: behaviour

    outcome = await send(webpush, https, timeout_s=2.0)

    assert (outcome.kind, outcome.doubt) == ("in_doubt", doubt)
    assert len(https.received) == 1


async def test_what_is_too_large_is_not_sent(webpush: WebPush, https: HttpServer) -> None:
    assert (await send(webpush, https, body="ж" * 2000)).why == "too_large"
    assert https.received == []


async def test_a_key_that_is_no_point_of_the_curve_is_a_bad_token(webpush: WebPush, https: HttpServer) -> None:
    keys = {"p256dh": urlsafe_b64encode(b"\4" + bytes(64)).decode(), "auth": urlsafe_b64encode(bytes(16)).decode()}

    outcome = await webpush.send(a_message(), a_browser(https.url, keys=keys), a_handle(), 60.0)

    assert outcome == unusable("invalid_key")
    assert https.received == []


@pytest.mark.parametrize(
    "token", ["", "x", "[]", "{}", '{"endpoint": 1, "keys": {}}', "null", '{"endpoint":"https://x:y/"}']
)
async def test_what_is_no_subscription_is_a_bad_token(webpush: WebPush, token: str) -> None:
    outcome = await webpush.send(a_message(), Address("push", token, platform="web"), a_handle(), 60.0)

    assert outcome == unusable("not_a_subscription")


async def test_a_host_that_is_not_allowed_is_not_called(webpush: WebPush, https: HttpServer) -> None:
    stranger = https.url.replace("127.0.0.1", "localhost")

    outcome = await webpush.send(a_message(), a_browser(stranger), a_handle(), 60.0)

    assert (outcome.kind, outcome.why) == ("drop", "no_provider")
    assert https.received == []


@pytest.mark.parametrize(
    ("endpoint", "allowed"),
    [
        ("https://fcm.googleapis.com/fcm/send/x", True),
        ("https://jmt17.google.com/fcm/send/x", True),
        ("https://updates.push.services.mozilla.com/wpush/v2/x", True),
        ("https://web.push.apple.com/x", True),
        ("https://wns2-par02p.notify.windows.com/w/?token=x", True),
        ("https://inner.example:8443/x", True),
        ("https://any.example:1/x", True),
        ("https://[fd00::1]:8443/x", True),
        ("https://[fd00::1]/x", False),
        ("https://fcm.googleapis.com:8443/x", False),
        ("http://fcm.googleapis.com/x", False),
        ("https://user@fcm.googleapis.com/x", False),
        ("https://fcm.googleapis.com.evil.example/x", False),
        ("https://evilpush.apple.com.example/x", False),
        ("https://notpush.services.mozilla.com.example/", False),
        ("https://xpush.apple.com/", False),
        ("https://inner.example/x", False),
        ("https://127.0.0.1/x", False),
        ("https://169.254.169.254/latest/meta-data", False),
        ("https://[::1]/", False),
    ],
)
def test_only_push_services_and_allowed_hosts_are_called(endpoint: str, allowed: bool) -> None:
    assert is_allowed(endpoint, ("inner.example:8443", "Any.example", "[fd00::1]:8443")) is allowed


def pem(key: ec.EllipticCurvePrivateKey, form: serialization.PrivateFormat) -> str:
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


@pytest.mark.parametrize(
    "written",
    [
        RAW,
        RAW.rstrip("="),
        f" {RAW}\n",
        b64encode((4711).to_bytes(32)).decode(),
        pem(KEY, serialization.PrivateFormat.PKCS8),
        pem(KEY, serialization.PrivateFormat.TraditionalOpenSSL),
    ],
)
def test_a_key_is_read_as_tools_write_it(written: str) -> None:
    assert read_key(written).private_numbers() == KEY.private_numbers()


@pytest.mark.parametrize(
    "written",
    [
        *(
            "",
            "k",
            "é",
            "A" * 42,
            "A" * 44 + "B",
            RAW[:-1] + "!",
            urlsafe_b64encode(bytes(32)).decode(),
            "-----BEGIN x",
        ),
        pem(ec.generate_private_key(ec.SECP384R1()), serialization.PrivateFormat.PKCS8),
    ],
)
def test_what_is_no_key_is_refused_by_the_settings_name_and_not_shown(written: str) -> None:
    with pytest.raises(ValueError, match=r"providers\.webpush\.vapid_private_key") as refused:
        read_key(written)

    assert len(written) < 3 or written not in str(refused.value)


def test_a_topic_is_what_push_services_take_and_differs() -> None:
    names = ["", "one", "x" * 64, "a-b", "ж"]

    topics = [topic_of(name) for name in names]

    assert all(re.fullmatch(r"[A-Za-z0-9_-]{32}", topic) for topic in topics)
    assert len(set(topics)) == len(names)
