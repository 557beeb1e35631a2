"""Whatever a provider answers, a call comes to one bounded outcome, the worker lives, and the next call is made."""

import json
import ssl
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from random import Random
from typing import Any, get_args

import pytest

from agents.executor import GatedExecutor, unix_ms
from agents.sender.calls import Call
from app.config.providers import Fcm as FcmSettings
from app.config.providers import ProviderSettings
from app.config.providers import SendGrid as SendGridSettings
from app.config.providers import Ses as SesSettings
from app.config.providers import Sns as SnsSettings
from app.config.providers import Twilio as TwilioSettings
from app.config.providers import Vonage as VonageSettings
from app.config.providers import WebPush as WebPushSettings
from app.domain.addresses import parse_subscription
from app.domain.outcome import LONGEST_WAIT_MS, MAX_CODE, MAX_MESSAGE_ID, Outcome, OutcomeKind
from app.ports import Address, ProviderClient
from app.providers.apns import Apns
from app.providers.fcm import Fcm
from app.providers.gate import Gate, GatedClient
from app.providers.sendgrid import SendGrid
from app.providers.ses import Ses
from app.providers.sns import Sns
from app.providers.twilio import Twilio
from app.providers.vonage import Vonage
from app.providers.webpush import WebPush
from app.providers.wire import MAX_ANSWER
from app.sandbox.webpush import subscription
from schemas.words import Provider
from tests.unit.providers.apns_server import ApnsServer, Request
from tests.unit.providers.factories import a_handle, a_message
from tests.unit.providers.http_server import Answer, HttpServer, Received, told
from tests.unit.providers.test_fcm import account_file, private_key  # noqa: F401 (fixtures)

ROUNDS = 30
STATUSES = (200, 201, 204, 299, 301, 304, 400, 401, 403, 404, 410, 413, 418, 429, 500, 503, 599, 999)
WAITS = ("9" * 18, "9" * 400, "-1", "1e999", "nan", "²", "Fri, 31 Dec 9999 23:59:59 -1200", "Fri Jan  2 00:01:40 1970")
SCALARS: tuple[Any, ...] = (None, True, -1, 0.5, 10**18, 10**300, "", "x" * 100_000, "é\u2028\x00", "\ud800", "21610")
RAW = (
    b"",
    b"\xff\xfe",
    b"[" * 15_000,
    b"[" * 500_000,
    b"1" * 10_000,
    b'{"code": 1e999}',
    b'"' + b"x" * 2_000_000 + b'"',
    b"<html>",
    b"null",
    b"[1]",
    b'{"error": 5}',
    b'{"error": {"message": 5, "status": [], "details": {"a": 1}}}',
    b'{"messages": [{"status": "0"}, {"status": {}}, 7]}',
    b'{"records": [{"client_ref": 1}, null, {"message_id": []}]}',
    b"<a>" * 20_000,
    b"<R><MessageId>" + b"x" * 5_000 + b"</MessageId></R>",
    b"<R><Error><Code>&lt;&#233;</Code><Message>phonenumber</Message></Error></R>",
    b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><R><Code>&b;</Code></R>',
    b'<?xml version="1.0" encoding="nonsense"?><R/>',
)
#: The members that the clients look at, at any depth.
NAMES = (
    "sid",
    "code",
    "status",
    "message",
    "type",
    "title",
    "error",
    "details",
    "name",
    "MessageId",
    "messages",
    "message-id",
    "records",
    "client_ref",
    "message_id",
    "body",
    "__type",
    "Code",
    "Message",
    "reason",
    "timestamp",
    "errorCode",
    "@type",
    "fieldViolations",
    "date_created",
    "next_page_uri",
    "page",
    "field",
    "expires_in",
    "access_token",
    "messaging_service_sid",
    "meta",
    "key",
)


def a_value(chance: Random, depth: int = 3) -> Any:
    kind = chance.random()
    if depth == 0 or kind < 0.4:
        return chance.choice(SCALARS)
    if kind < 0.6:
        return [a_value(chance, depth - 1) for _ in range(chance.randrange(3))]
    return {name: a_value(chance, depth - 1) for name in chance.sample(NAMES, chance.randrange(1, 7))}


def a_body(chance: Random) -> bytes:
    if chance.random() < 0.3:
        return chance.choice(RAW)
    return json.dumps(a_value(chance)).encode("utf-8", "surrogatepass")


def an_answer(chance: Random) -> Answer:
    headers: list[tuple[str, str]] = [("Retry-After", chance.choice(WAITS))]
    if chance.random() < 0.3:
        headers.append(("x-amzn-ErrorType", chance.choice(("x" * 5_000, "", "é", "TooManyRequestsException:"))))
    if chance.random() < 0.3:
        name = chance.choice(("Location", "X-Message-Id", "X-RateLimit-Reset"))
        headers.append((name, chance.choice((*WAITS[:3], "x" * 5_000, "", "http://127.0.0.1:1/", "\xe9"))))
    if chance.random() < 0.2:
        headers.append(("Content-Type", chance.choice(("text/plain; charset=nonsense", "\x7f", "application/json; x"))))
    return Answer(chance.choice(STATUSES), a_body(chance), tuple(headers))


def performing(client: ProviderClient) -> GatedExecutor:
    # A gate that never rests, so that every answer is one to a call.
    gate = Gate(client.name, concurrency=10)
    gate.breaker.failures_to_open = 10**9
    gate.breaker.dead_in_a_row = 10**9
    gate.breaker.dead_share = 2.0
    return GatedExecutor({client.name: GatedClient(client, gate)}, limit=10, reserved=2)


def a_call(provider: Provider, to: Address, purpose: Any = "send") -> Call:
    handle = a_handle()
    return Call(
        purpose, b"k", 1, "u1", provider, a_message(body="hi"), to, handle, claimed_at=unix_ms(), timeout_ms=1_000
    )


def assert_bounded(outcome: Outcome | None) -> None:
    if outcome is None:
        return
    assert outcome.kind in get_args(OutcomeKind)
    assert outcome.code is None or (len(outcome.code) <= MAX_CODE and outcome.code.isprintable())
    assert outcome.provider_message_id is None or len(outcome.provider_message_id) <= MAX_MESSAGE_ID
    assert outcome.retry_after_ms is None or 0 <= outcome.retry_after_ms <= LONGEST_WAIT_MS


TO: dict[Provider, Address] = {
    "fcm": Address("push", "token-1", platform="android"),
    "ses": Address("email", "ann@example.org"),
    "twilio": Address("sms", "+14155550123"),
    "apns": Address("push", "ab" * 32, platform="ios"),
    "sendgrid": Address("email", "ann@example.org"),
    "vonage": Address("sms", "+14155550123"),
    "sns": Address("sms", "+14155550123"),
}


class Web:
    """A provider over HTTP/1.1: says what it is told to, and hands out tokens as Google does."""

    def __init__(self, http: HttpServer) -> None:
        self.says = Answer()
        http.script = self._answer

    def _answer(self, request: Received) -> Answer:
        if request.target == "/token":
            return told(200, {"access_token": "t", "expires_in": 3600, "token_type": "Bearer"})
        return self.says


CLIENTS: dict[Provider, tuple[Callable[[Any], ProviderClient], type[ProviderSettings], str, dict[str, Any]]] = {
    "fcm": (Fcm, FcmSettings, "base_url", {}),
    "ses": (Ses, SesSettings, "endpoint_url", {"region": "eu-west-1", "from": "shop@example.com"}),
    "sendgrid": (SendGrid, SendGridSettings, "base_url", {"api_key": "secret", "from": "shop@example.com"}),
    "twilio": (
        *(Twilio, TwilioSettings, "base_url"),
        {"account_sid": "AC" + "0" * 32, "auth_token": "secret", "from": "+15005550006"},
    ),
    "vonage": (Vonage, VonageSettings, "base_url", {"api_key": "k", "api_secret": "secret", "from": "Shop"}),
    "sns": (Sns, SnsSettings, "endpoint_url", {"region": "eu-west-1"}),
}


@pytest.fixture(params=list(CLIENTS))
async def client(
    request: pytest.FixtureRequest,
    http: HttpServer,
    account_file: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[ProviderClient]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    make, settings, address, given = CLIENTS[request.param]
    own = {"service_account_file": account_file} if request.param == "fcm" else given
    url = http.url.replace("127.0.0.1", "localhost")  # (of an address no cookie would be kept anyway)
    made = make(settings.model_validate({address: url, **own}))
    await made.start()
    yield made
    await made.close()


@pytest.mark.parametrize("seed", range(2))
async def test_whatever_an_answer_holds_is_one_outcome(client: ProviderClient, http: HttpServer, seed: int) -> None:
    web, performer, chance = Web(http), performing(client), Random(f"{client.name} {seed}")
    for _ in range(ROUNDS):
        web.says = an_answer(chance)
        for purpose in ("send", "ask"):
            result = await performer.perform(a_call(client.name, TO[client.name], purpose))
            assert_bounded(result.outcome)


async def test_of_an_answer_without_an_end_no_more_is_read_than_any_vendor_says(
    client: ProviderClient, http: HttpServer
) -> None:
    web, performer = Web(http), performing(client)
    for status in (200, 201, 429, 500):
        web.says = Answer(status, b'{"x":"' + b"x" * (2 * MAX_ANSWER) + b'"}')
        assert_bounded((await performer.perform(a_call(client.name, TO[client.name]))).outcome)


async def test_headers_without_an_end_are_one_outcome(client: ProviderClient, http: HttpServer) -> None:
    web, performer = Web(http), performing(client)
    for headers in (
        tuple((f"x-{n}", "v") for n in range(20_000)),
        (("x", "v" * 1_000_000),),
        (("x" * 100_000, "v"),),
        (("Retry-After", "9" * 8_000),),
        (("x\xff", "\xff"),),
    ):
        web.says = Answer(429, b"{}", headers)
        assert_bounded((await performer.perform(a_call(client.name, TO[client.name]))).outcome)


async def test_no_cookie_is_kept(client: ProviderClient, http: HttpServer) -> None:
    web, performer = Web(http), performing(client)
    web.says = Answer(200, b"{}", (("Set-Cookie", "a=b; Path=/"),))
    for _ in range(2):
        await performer.perform(a_call(client.name, TO[client.name]))

    assert [request.headers.get("cookie") for request in http.received if "cookie" in request.headers] == []
    assert len(http.received) >= 2


@pytest.mark.parametrize("seed", range(2))
async def test_whatever_apple_answers_is_one_outcome(apns: Apns, server: ApnsServer, seed: int) -> None:
    performer, chance = performing(apns), Random(f"apns {seed}")

    def answer(request: Request) -> None:
        request.answer(
            chance.choice(STATUSES),
            a_body(chance)[:16_000],
            retry_after=chance.choice(WAITS).encode("ascii", "replace").decode(),
        )

    server.script = answer
    for _ in range(ROUNDS):
        assert_bounded((await performer.perform(a_call("apns", TO["apns"]))).outcome)


@pytest.mark.parametrize("seed", range(2))
async def test_whatever_a_push_service_answers_is_one_outcome(ca_file: Path, seed: int) -> None:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(ca_file, ca_file.with_suffix(".key"))
    server, chance = HttpServer(), Random(f"webpush {seed}")
    await server.start(tls)
    key = {"vapid_private_key": urlsafe_b64encode((7).to_bytes(32)).decode(), "subject": "mailto:ops@example.com"}
    allowed = {"allow_hosts": ["127.0.0.1"], "ca_file": ca_file}
    client = WebPush(WebPushSettings.model_validate({**key, **allowed}))
    await client.start()
    performer = performing(client)
    for _ in range(ROUNDS):
        answer = an_answer(chance)
        server.script = lambda _, answer=answer: answer  # type: ignore[misc]
        to = Address("push", parse_subscription(subscription(server.url)), platform="web")
        assert_bounded((await performer.perform(a_call("webpush", to))).outcome)
    await client.close()
    await server.stop()
