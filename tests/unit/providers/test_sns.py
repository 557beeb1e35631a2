"""SNS' client on a server that answers, falls silent or hangs up."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from app.config.providers import Sns as SnsSettings
from app.domain.outcome import Outcome
from app.ports import Address
from app.providers.sns import CODES, Sns
from tests.unit.providers.factories import a_handle, a_message
from tests.unit.providers.http_server import HANG_UP, SILENCE, Answer, HttpServer

TO = Address("sms", "+14155550123")
_XMLNS = 'xmlns="http://sns.amazonaws.com/doc/2010-03-31/"'
TAKEN = Answer(
    200,
    f"<PublishResponse {_XMLNS}><PublishResult><MessageId>M-1</MessageId></PublishResult></PublishResponse>".encode(),
)


def refused(code: str, message: str = "no", status: int = 400) -> Answer:
    told = f"<Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>"
    return Answer(status, f"<ErrorResponse {_XMLNS}>{told}</ErrorResponse>".encode())


@pytest.fixture
async def sns(http: HttpServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Sns]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "7")
    http.script = lambda _: TAKEN
    client = Sns(SnsSettings.model_validate({"endpoint_url": http.url, "region": "eu-west-1"}))
    await client.start()
    yield client
    await client.close()


async def send(sns: Sns, *, to: str = TO.value, timeout_s: float = 60.0, **changes: Any) -> Outcome:
    return await sns.send(a_message(**changes), Address("sms", to), a_handle(), timeout_s)


@pytest.mark.parametrize(
    ("priority", "kind"),
    [("critical", "Transactional"), ("high", "Transactional"), ("normal", "Promotional"), ("low", "Promotional")],
)
async def test_the_request_names_its_send_and_says_how_urgent_it_is(
    sns: Sns, http: HttpServer, priority: Any, kind: str
) -> None:
    handle = a_handle(priority=priority, attempt=2)

    outcome = await sns.send(a_message(body="Привет"), TO, handle, 60.0)

    assert outcome == Outcome("ok", provider_message_id="M-1")
    form = http.received[0].form
    assert (form["Action"], form["PhoneNumber"], form["Message"]) == ("Publish", TO.value, "Привет")
    entries = range(1, 5)
    named = {
        form[f"MessageAttributes.entry.{n}.Name"]: form[f"MessageAttributes.entry.{n}.Value.StringValue"]
        for n in entries
    }
    assert named == {
        "AWS.SNS.SMS.SMSType": kind,
        "send_id": handle.send_id,
        "notification_id": handle.notification_id,
        "attempt": "2",
    }


async def test_every_code_has_its_outcome_after_one_request(sns: Sns, http: HttpServer) -> None:
    outcomes = {}
    for code in CODES:
        http.script = lambda _, code=code: refused(code)  # type: ignore[misc]
        outcomes[code] = await send(sns)

    assert {code: outcome.kind for code, outcome in outcomes.items()} == CODES
    assert all(outcome.code == code for code, outcome in outcomes.items())
    assert len(http.received) == len(CODES)


@pytest.mark.parametrize(
    ("code", "message", "expected"),
    [
        (
            "InvalidParameter",
            "Invalid parameter: PhoneNumber Reason: +1 is not valid to publish to",
            Outcome("bad_token", code="InvalidParameter"),
        ),
        (
            "InvalidParameter",
            "Invalid parameter: PhoneNumber Reason: +1 is opted out",
            Outcome("drop", code="InvalidParameter", why="opted_out"),
        ),
        ("OptedOut", "x", Outcome("drop", code="OptedOut", why="opted_out")),
        ("Throttled", "Rate exceeded", Outcome("throttle", code="Throttled", retry_after_ms=1000)),
    ],
)
async def test_what_sns_says_of_a_number_is_understood(
    sns: Sns, http: HttpServer, code: str, message: str, expected: Outcome
) -> None:
    http.script = lambda _: refused(code, message)

    assert await send(sns) == expected


@pytest.mark.parametrize(
    "answer",
    [
        *(Answer(500, b""), Answer(503, b"<html>"), Answer(502, b"<html/>"), Answer(200, b"<html>"), Answer(200, b"")),
        *(Answer(200, b"<PublishResponse/>"), refused("InternalError", status=500), HANG_UP),
    ],
)
async def test_an_answer_that_proves_nothing_is_in_doubt_and_nothing_is_sent_again(
    sns: Sns, http: HttpServer, answer: Answer | str
) -> None:
    http.script = lambda _: answer

    outcome = await send(sns)

    assert (outcome.kind, outcome.doubt) == ("in_doubt", "connection_lost")
    assert len(http.received) == 1


async def test_silence_ends_at_the_deadline(sns: Sns, http: HttpServer) -> None:
    http.script = lambda _: SILENCE
    assert await send(sns, timeout_s=2.0) == Outcome("in_doubt", doubt="timeout")


@pytest.mark.parametrize("number", ["14155550123", "whatsapp:+14155550123", "", "arn:aws:sns:eu-west-1:1:topic"])
async def test_what_is_no_number_is_a_bad_token_without_a_request(sns: Sns, http: HttpServer, number: str) -> None:
    assert (await send(sns, to=number)).kind == "bad_token"
    assert http.received == []


async def test_a_text_is_never_longer_than_sns_takes(sns: Sns, http: HttpServer) -> None:
    assert (await send(sns, body="x" * 1601)).why == "too_large"
    assert http.received == []
