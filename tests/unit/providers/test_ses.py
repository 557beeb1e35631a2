"""SES' client on a server that answers, falls silent or hangs up."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from botocore import exceptions as boto

from app.config.providers import Ses as SesSettings
from app.domain.outcome import Outcome
from app.ports import Address
from app.providers.ses import CODES, Ses, outcome_of
from tests.unit.providers.factories import a_handle, a_message
from tests.unit.providers.http_server import HANG_UP, SILENCE, Answer, HttpServer, told


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "7")


def settings(http: HttpServer, **changes: Any) -> SesSettings:
    given = {"endpoint_url": http.url, "region": "eu-west-1", "from_": "Shop <shop@example.com>"}
    return SesSettings(**{**given, **changes})


@pytest.fixture
async def ses(http: HttpServer) -> AsyncIterator[Ses]:
    client = Ses(settings(http, configuration_set="tocsin"))
    await client.start()
    yield client
    await client.close()


def a_mailbox(address: str = "ann@example.org") -> Address:
    return Address(channel="email", value=address)


async def send(ses: Ses, *, to: str = "ann@example.org", timeout_s: float = 60.0, **changes: Any) -> Outcome:
    return await ses.send(a_message(**changes), a_mailbox(to), a_handle(), timeout_s)


def refused(code: str, message: str = "no", status: int = 400) -> Answer:
    return told(status, {"message": message}, x_amzn_ErrorType=code)


async def test_the_request_names_its_send_in_the_tags(ses: Ses, http: HttpServer) -> None:
    http.script = lambda _: told(200, {"MessageId": "M-1"})
    handle = a_handle(attempt=2)

    outcome = await ses.send(a_message(), a_mailbox(), handle, 60.0)

    assert outcome == Outcome("ok", provider_message_id="M-1")
    [request] = http.received
    assert request.target == "/v2/email/outbound-emails"
    assert request.json == {
        "FromEmailAddress": "Shop <shop@example.com>",
        "Destination": {"ToAddresses": ["ann@example.org"]},
        "Content": {
            "Simple": {
                "Subject": {"Data": "Your order", "Charset": "UTF-8"},
                "Body": {
                    "Text": {"Data": "It has left.", "Charset": "UTF-8"},
                    "Html": {"Data": "<p>It has left.</p>", "Charset": "UTF-8"},
                },
                "Headers": [{"Name": "List-Unsubscribe", "Value": "<https://shop.example/u/1>"}],
            }
        },
        "EmailTags": [
            {"Name": "send_id", "Value": handle.send_id},
            {"Name": "notification_id", "Value": handle.notification_id},
            {"Name": "attempt", "Value": "2"},
        ],
        "ConfigurationSetName": "tocsin",
    }


async def test_a_mail_of_text_alone_takes_the_body_and_the_title(ses: Ses, http: HttpServer) -> None:
    http.script = lambda _: told(200, {"MessageId": "M-1"})

    await send(ses, html=None, text=None, subject=None, body="Plain", headers={})

    simple = http.received[0].json["Content"]["Simple"]
    assert simple == {
        "Subject": {"Data": "Your order", "Charset": "UTF-8"},
        "Body": {"Text": {"Data": "Plain", "Charset": "UTF-8"}},
    }


async def test_answers_go_where_the_mail_says(ses: Ses, http: HttpServer) -> None:
    http.script = lambda _: told(200, {"MessageId": "M-1"})

    await send(ses, reply_to="help@shop.example")

    assert http.received[0].json["ReplyToAddresses"] == ["help@shop.example"]


async def test_header_injection_is_dropped_without_a_request(ses: Ses, http: HttpServer) -> None:
    for broken in ("x\r\nBcc: eve@example.org", "x\ny", "x\x00"):
        outcomes = [
            await send(ses, subject=broken),
            await send(ses, headers={"X-Campaign": broken}),
            await send(ses, headers={broken: "1"}),
            await send(ses, to=f"ann@example.org{broken}"),
        ]

        assert [outcome.kind for outcome in outcomes] == ["drop"] * 4, broken
    assert http.received == []


async def test_one_recipient_a_call(ses: Ses, http: HttpServer) -> None:
    several = ("a@b.example, eve@example.org", "Ann <a@b.example>", "a@b@c", "ann", "", "a b@c.example")

    assert {to: (await send(ses, to=to)).kind for to in several} == dict.fromkeys(several, "drop")
    assert http.received == []


async def test_a_mail_over_40_megabytes_is_dropped_without_a_request(ses: Ses, http: HttpServer) -> None:
    assert await send(ses, html="x" * (40 * 1024 * 1024 + 1)) == Outcome("drop", code="too_large", why="too_large")
    assert http.received == []


async def test_every_code_has_its_outcome_after_one_request(ses: Ses, http: HttpServer) -> None:
    outcomes = {}
    for code in CODES:
        http.script = lambda _, code=code: refused(code)  # type: ignore[misc]
        outcomes[code] = await send(ses)

    assert {code: outcome.kind for code, outcome in outcomes.items()} == CODES
    assert all(outcome.code == code for code, outcome in outcomes.items())
    assert len(http.received) == len(CODES)


async def test_an_unverified_identity_is_config(ses: Ses, http: HttpServer) -> None:
    http.script = lambda _: refused("MessageRejected", "Email address is not verified.")

    assert (await send(ses)).kind == "config"


@pytest.mark.parametrize(
    ("message", "wait_ms"), [("Maximum sending rate exceeded.", 1000), ("Daily message quota exceeded", 3_600_000)]
)
async def test_a_spent_day_waits_longer_than_a_spent_second(
    ses: Ses, http: HttpServer, message: str, wait_ms: int
) -> None:
    http.script = lambda _: refused("TooManyRequestsException", message, 429)

    assert (await send(ses)).retry_after_ms == wait_ms


@pytest.mark.parametrize(
    "answer", [told(500, {}), Answer(503, b""), Answer(502, b"<html>"), Answer(200, b"<html>"), HANG_UP]
)
async def test_an_answer_that_proves_nothing_is_in_doubt_and_nothing_is_sent_again(
    ses: Ses, http: HttpServer, answer: Answer | str
) -> None:
    http.script = lambda _: answer

    outcome = await send(ses)

    assert (outcome.kind, outcome.doubt) == ("in_doubt", "connection_lost")
    assert len(http.received) == 1


async def test_silence_ends_at_the_deadline(ses: Ses, http: HttpServer) -> None:
    http.script = lambda _: SILENCE
    assert await send(ses, timeout_s=2.0) == Outcome("in_doubt", doubt="timeout")
    http.script = lambda _: told(200, {"MessageId": "M-1"})

    assert (await send(ses)).kind == "ok"


async def test_a_refused_connection_was_not_sent(ses: Ses, http: HttpServer) -> None:
    await http.stop()

    assert (await send(ses)).kind == "retry"


@pytest.mark.parametrize(
    ("inner", "kind"),
    [
        (aiohttp.ClientOSError(104, "reset"), "in_doubt"),
        (aiohttp.ClientConnectionResetError("closing"), "in_doubt"),
        (OSError("unknown"), "in_doubt"),
    ],
)
def test_a_connection_that_once_stood_may_have_carried_the_request(inner: Exception, kind: str) -> None:
    assert outcome_of(boto.EndpointConnectionError(endpoint_url="x", error=inner), 0.0).kind == kind


async def test_missing_credentials_are_config(
    ses: Ses, http: HttpServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    client = Ses(settings(http))
    await client.start()

    assert await send(client) == Outcome("config", code="NoCredentialsError")
    await client.close()


ODD = [b"null", b"[]", b"[1]", b"5", b'"x"', b"true", b"{}", b'{"MessageId": null}', b'{"MessageId": 5}']
ODD += [
    b'{"MessageId": {"a": 1}}',
    b'{"MessageId": [""]}',
    b'{"MessageId": ""}',
    b"",
    b"\xff",
    b"<html>",
    b"[" * 20_000,
]


@pytest.mark.parametrize("body", ODD, ids=lambda body: repr(body[:30]))
@pytest.mark.parametrize("status", [200, 400, 429, 500])
async def test_an_answer_that_ses_would_never_give_is_no_surprise(
    ses: Ses, http: HttpServer, body: bytes, status: int
) -> None:
    http.script = lambda _: Answer(status, body)
    outcome = await send(ses)

    assert outcome.kind == ("in_doubt" if status == 200 else outcome.kind)
    assert outcome.kind != "ok"
