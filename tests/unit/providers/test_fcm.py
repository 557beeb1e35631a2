"""FCM's client on a server that answers, falls silent or hangs up; the same server is the token endpoint."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from app.config.providers import Fcm as FcmSettings
from app.domain.outcome import Outcome
from app.providers.fcm import CODES, FCM_ERROR, Fcm, compose
from schemas.requests import PushAction, PushOptions
from tests.unit.providers.factories import a_device, a_handle, a_message
from tests.unit.providers.http_server import HANG_UP, SILENCE, Answer, HttpServer, Received, told

SEND = "/v1/projects/shop/messages:send"


@pytest.fixture(scope="session")
def private_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    plain = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain).decode()


@pytest.fixture
def account_file(http: HttpServer, tmp_path: Path, private_key: str) -> Path:
    path = tmp_path / "account.json"
    account = {
        "type": "service_account",
        "project_id": "shop",
        "private_key_id": "1",
        "private_key": private_key,
        "client_email": "push@shop.example",
        "token_uri": f"{http.url}/token",
    }
    path.write_text(json.dumps(account))
    return path


class Google:
    """Scripts the two endpoints apart."""

    def __init__(self, http: HttpServer) -> None:
        self.http = http
        self.token: Callable[[], Answer | str] = lambda: told(
            200, {"access_token": f"t{len(self.asked('/token'))}", "expires_in": 3600, "token_type": "Bearer"}
        )
        self.message: Callable[[], Answer | str] = lambda: told(200, {"name": "projects/shop/messages/1"})
        http.script = lambda request: self.token() if request.target == "/token" else self.message()

    def asked(self, target: str) -> list[Received]:
        return [one for one in self.http.received if one.target == target]

    @property
    def sent(self) -> list[Received]:
        return self.asked(SEND)

    def refuse(self, status: int, code: str, *details: Any, **headers: str) -> None:
        own = {"@type": FCM_ERROR, "errorCode": code}
        self.message = lambda: told(status, {"error": {"status": "X", "details": [own, *details]}}, **headers)


@pytest.fixture
def google(http: HttpServer) -> Google:
    return Google(http)


@pytest.fixture
async def fcm(http: HttpServer, google: Google, account_file: Path) -> AsyncIterator[Fcm]:
    client = Fcm(FcmSettings(base_url=http.url, service_account_file=account_file))
    await client.start()
    yield client
    await client.close()


async def send(fcm: Fcm, *, timeout_s: float = 60.0, **changes: Any) -> Outcome:
    return await fcm.send(a_message(**changes), a_device("token-1", platform="android"), a_handle(), timeout_s)


async def test_the_request_names_its_send_and_replaces_on_screen(fcm: Fcm, google: Google) -> None:
    handle = a_handle(priority="high", collapse_id="c" * 64)

    outcome = await fcm.send(a_message(), a_device("token-1"), handle, 60.0)

    assert outcome == Outcome("ok", provider_message_id="projects/shop/messages/1")
    [request] = google.sent
    assert request.headers["authorization"] == "Bearer t1"
    message = request.json["message"]
    assert 3590 <= int(message["android"].pop("ttl").removesuffix("s")) <= 3600
    assert message == {
        "token": "token-1",
        "notification": {"title": "Your order", "body": "It has left."},
        "data": {
            "order": "7",
            "url": "https://shop.example/orders/7",
            "send_id": handle.send_id,
            "notification_id": handle.notification_id,
        },
        "android": {"priority": "high", "notification": {"tag": "c" * 64}},
        "apns": {
            "headers": {
                "apns-collapse-id": "c" * 64,
                "apns-expiration": str(handle.expires_at_ms // 1000),
                "apns-priority": "10",
            }
        },
    }


def test_keys_that_fcm_reserves_do_not_cost_the_message() -> None:
    data = {"from": "x", "google.a": "x", "gcm.b": "x", "kept": "y"}

    composed = compose(a_message(data=data), a_device(), a_handle(), 0.0)

    assert set(composed.data) == {"kept", "url", "send_id", "notification_id"}


def encoded(options: PushOptions, **handle: Any) -> dict[str, Any]:
    composed = compose(a_message(push=options), a_device(), a_handle(**handle), 0.0)
    found: dict[str, Any] = json.loads(str(composed))
    return found


@pytest.mark.parametrize(
    ("options", "path", "value"),
    [
        (PushOptions(badge=7), "android.notification.notification_count", 7),
        (PushOptions(sound="gate"), "android.notification.sound", "gate"),
        (PushOptions(sound=""), "android.notification.sound", None),
        (PushOptions(android_channel_id="orders"), "android.notification.channel_id", "orders"),
        (PushOptions(android_priority="high"), "android.priority", "high"),
        (PushOptions(android_priority="normal"), "android.priority", "normal"),
        (PushOptions(badge=1), "android.priority", "normal"),
        (PushOptions(category="ORDER"), "data.category", "ORDER"),
        (PushOptions(actions=[PushAction("a", "Ä")]), "data.actions", '[{"action":"a","title":"Ä"}]'),
        (PushOptions(silent=True), "notification", None),
        (PushOptions(silent=True, badge=1), "android.notification", None),
    ],
)
def test_each_option_is_where_google_looks_for_it(options: PushOptions, path: str, value: Any) -> None:
    found: Any = encoded(options)
    for name in path.split("."):
        found = (found or {}).get(name)

    assert found == value


@pytest.mark.parametrize(("ahead_s", "ttl"), [(-5, 0), (10, 10), (10**8, 2_419_200)])
def test_the_time_to_live_ends_with_the_notification(ahead_s: int, ttl: int) -> None:
    composed = compose(a_message(), a_device(), a_handle(expires_at_ms=(1000 + ahead_s) * 1000), 1000.0)

    assert composed.android.ttl == ttl


async def test_a_payload_over_4096_bytes_is_dropped_without_a_request(fcm: Fcm, google: Google) -> None:
    assert await send(fcm, body="x" * 4096) == Outcome("drop", code="INVALID_ARGUMENT", why="too_large")
    assert google.sent == []


# --- refusals ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("code", "kind"), CODES.items())
async def test_every_code_has_its_outcome(fcm: Fcm, google: Google, code: str, kind: str) -> None:
    google.refuse(400, code)

    outcome = await send(fcm)

    assert (outcome.kind, outcome.code) == (kind, code)
    assert len(google.sent) == 1


async def test_an_invalid_argument_that_names_the_token_is_a_bad_token(fcm: Fcm, google: Google) -> None:
    violation = {"fieldViolations": [{"field": "message.token", "description": "Invalid registration token"}]}
    google.refuse(400, "INVALID_ARGUMENT", violation)

    assert (await send(fcm)).kind == "bad_token"


async def test_retry_after_is_kept_and_a_quota_without_one_waits_a_minute(fcm: Fcm, google: Google) -> None:
    google.refuse(429, "QUOTA_EXCEEDED")
    assert await send(fcm) == Outcome("throttle", code="QUOTA_EXCEEDED", retry_after_ms=60_000)

    google.refuse(429, "QUOTA_EXCEEDED", Retry_After="5")
    assert (await send(fcm)).retry_after_ms == 5000


def violating(*violations: object) -> dict[str, object]:
    return {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": list(violations)}


PROJECT = {"subject": "project:device-shop", "description": "Quota exceeded for quota metric 'Send requests'"}
DEVICE = {"subject": "", "description": "Device message rate exceeded."}


@pytest.mark.parametrize(
    ("detail", "scope"),
    [
        (violating(DEVICE), "address"),
        (violating({"subject": "device:abc"}), "address"),
        (violating({"description": "limit 'Messages per minute per device'"}), "address"),
        (violating(PROJECT), "lane"),
        (violating(DEVICE, PROJECT), "lane"),
        (violating({"description": "Topic quota exceeded."}), "lane"),
        (violating(), "lane"),
        (violating(1, None, []), "lane"),
        ({"violations": 5}, "lane"),
        ({"violations": {"description": "device quota"}}, "lane"),
    ],
)
async def test_a_quota_of_one_device_concerns_that_device_alone(
    fcm: Fcm, google: Google, detail: dict[str, object], scope: str
) -> None:
    google.refuse(429, "QUOTA_EXCEEDED", detail)

    outcome = await send(fcm)

    assert (outcome.kind, outcome.scope) == ("throttle", scope)


@pytest.mark.parametrize("violations", [5, "x", {"field": "message.token"}, [7, None]])
async def test_violations_that_are_none_are_passed_over(fcm: Fcm, google: Google, violations: object) -> None:
    google.refuse(400, "INVALID_ARGUMENT", {"fieldViolations": violations})

    assert (await send(fcm)).kind == "drop"


async def test_a_refusal_of_the_api_itself_is_judged_by_its_status(fcm: Fcm, google: Google) -> None:
    google.message = lambda: told(403, {"error": {"status": "PERMISSION_DENIED", "message": "no"}})

    assert await send(fcm) == Outcome("config", code="PERMISSION_DENIED")


@pytest.mark.parametrize(
    "answer",
    [
        Answer(502, b"<html>"),
        Answer(500, b"<html>"),
        Answer(200, b"<html>"),
        Answer(200, b"{}"),
        told(500, {"error": 1}),
    ],
)
async def test_an_answer_that_proves_nothing_is_in_doubt(fcm: Fcm, google: Google, answer: Answer) -> None:
    google.message = lambda: answer

    outcome = await send(fcm)

    assert (outcome.kind, outcome.doubt) == ("in_doubt", "connection_lost")
    assert len(google.sent) == 1


@pytest.mark.parametrize("status", [500, 503])
async def test_a_failing_server_is_asked_once(fcm: Fcm, google: Google, status: int) -> None:
    google.refuse(status, "UNAVAILABLE")

    assert (await send(fcm)).kind == "retry"
    assert len(google.sent) == 1


# --- the wire ----------------------------------------------------------------------------------------------------


async def test_a_lost_connection_is_in_doubt_and_nothing_is_sent_again(fcm: Fcm, google: Google) -> None:
    google.message = lambda: HANG_UP

    assert (await send(fcm)).doubt == "connection_lost"
    assert len(google.sent) == 1


async def test_silence_ends_at_the_deadline_and_siblings_are_left_alone(fcm: Fcm, google: Google) -> None:
    await send(fcm)
    answers = iter([SILENCE])
    google.message = lambda: next(answers, told(200, {"name": "projects/shop/messages/2"}))

    outcomes = await asyncio.gather(*(send(fcm, timeout_s=2.0) for _ in range(5)))

    assert sorted(outcome.kind for outcome in outcomes) == ["in_doubt", "ok", "ok", "ok", "ok"]
    assert Outcome("in_doubt", doubt="timeout") in outcomes
    assert (await send(fcm)).kind == "ok"


async def test_a_refused_connection_was_not_sent(fcm: Fcm, http: HttpServer) -> None:
    await send(fcm)
    await http.stop()

    assert (await send(fcm)).kind in {"retry", "in_doubt"}  # the kept connection is lost first
    assert await send(fcm) == Outcome("retry", code="ConnectError")


# --- the access token --------------------------------------------------------------------------------------------


async def test_many_sends_share_one_token(fcm: Fcm, google: Google) -> None:
    outcomes = await asyncio.gather(*(send(fcm) for _ in range(20)))

    assert {outcome.kind for outcome in outcomes} == {"ok"}
    assert len(google.asked("/token")) == 1


async def test_a_token_near_its_end_is_renewed_while_the_old_one_serves(fcm: Fcm, google: Google) -> None:
    await send(fcm)
    assert fcm._token is not None
    fcm._token._renew_at = 0.0

    assert (await send(fcm)).kind == "ok"
    assert google.sent[-1].headers["authorization"] == "Bearer t1"
    async with asyncio.timeout(30):
        while len(google.asked("/token")) < 2 or fcm._token._fetch is not None:
            await asyncio.sleep(0.01)
    await send(fcm)
    assert google.sent[-1].headers["authorization"] == "Bearer t2"


async def test_a_refused_token_is_config_and_replaced_before_the_next_send(fcm: Fcm, google: Google) -> None:
    google.refuse(401, "UNAUTHENTICATED")
    assert (await send(fcm)).kind == "config"
    assert len(google.sent) == 1

    google.message = lambda: told(200, {"name": "projects/shop/messages/2"})
    assert (await send(fcm)).kind == "ok"
    assert google.sent[-1].headers["authorization"] == "Bearer t2"


async def test_an_account_that_google_refuses_is_config(fcm: Fcm, google: Google) -> None:
    google.token = lambda: told(400, {"error": "invalid_grant", "error_description": "Invalid JWT Signature."})

    assert await send(fcm) == Outcome("config", code="invalid_grant")
    assert google.sent == []


async def test_a_token_endpoint_that_hangs_up_means_not_sent(fcm: Fcm, google: Google) -> None:
    google.token = lambda: HANG_UP

    assert (await send(fcm)).kind == "retry"
    assert google.sent == []


async def test_a_silent_token_endpoint_ends_at_the_deadline_not_sent(
    fcm: Fcm, google: Google, http: HttpServer
) -> None:
    google.token = lambda: SILENCE

    assert await send(fcm, timeout_s=0.3) == Outcome("retry", code="TimeoutError")
    await http.stop()  # lets the thread that still waits go


async def test_a_file_that_is_no_account_is_refused_at_start_by_its_setting(tmp_path: Path) -> None:
    path = tmp_path / "account.json"
    path.write_text("{}")

    with pytest.raises(ValueError, match=r"providers\.fcm\.service_account_file"):
        await Fcm(FcmSettings(service_account_file=path)).start()
