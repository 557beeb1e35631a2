"""Twilio's client on a server that answers, falls silent or hangs up."""

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from pydantic import SecretStr

from app.config.providers import Twilio as TwilioSettings
from app.domain.outcome import Outcome
from app.ports import Address
from app.providers.twilio import CODES, Twilio, callback_url
from tests.unit.providers.factories import a_handle, a_message
from tests.unit.providers.http_server import HANG_UP, SILENCE, Answer, HttpServer, told

SID, NUMBER, OURS = "AC" + "0" * 32, "+14155550123", "+15005550006"


def settings(http: HttpServer, **changes: Any) -> TwilioSettings:
    sender: dict[str, Any] = {} if "messaging_service_sid" in changes else {"from_": OURS}
    return TwilioSettings(base_url=http.url, account_sid=SID, auth_token=SecretStr("secret"), **sender, **changes)


@pytest.fixture
async def twilio(http: HttpServer) -> AsyncIterator[Twilio]:
    client = Twilio(settings(http))
    await client.start()
    yield client
    await client.close()


def a_phone(number: str = NUMBER) -> Address:
    return Address(channel="sms", value=number)


async def send(twilio: Twilio, *, to: str = NUMBER, timeout_s: float = 60.0, body: str = "hi") -> Outcome:
    return await twilio.send(a_message(body=body), a_phone(to), a_handle(), timeout_s)


def created(_: object) -> Answer:
    return told(201, {"sid": "SM1", "status": "queued"})


def a_listed(body: str = "hi", *, at: datetime, **changes: Any) -> dict[str, Any]:
    return {"sid": "SM7", "body": body, "status": "sent", "date_created": format_datetime(at)} | changes


async def test_the_request_names_its_send_in_the_callback(twilio: Twilio, http: HttpServer) -> None:
    http.script = created
    handle = a_handle()

    outcome = await twilio.send(a_message(body="Code 123"), a_phone(), handle, 60.0)

    assert outcome == Outcome("ok", provider_message_id="SM1")
    [request] = http.received
    assert request.target == f"/2010-04-01/Accounts/{SID}/Messages.json"
    form = request.form
    assert 3590 <= int(form.pop("ValidityPeriod")) <= 3600
    assert form == {"To": NUMBER, "From": OURS, "Body": "Code 123", "StatusCallback": handle.callback_url}


def test_without_a_callback_of_ours_the_name_travels_all_the_same() -> None:
    handle = a_handle(callback_url=None)

    assert callback_url(handle).startswith("https://callbacks.invalid/")
    assert f"send_id={handle.send_id}" in callback_url(handle)


async def test_a_messaging_service_stands_in_for_a_number(http: HttpServer) -> None:
    http.script = created
    twilio = Twilio(settings(http, messaging_service_sid="MG1"))
    await twilio.start()

    await send(twilio)

    assert http.received[0].form["MessagingServiceSid"] == "MG1"
    assert "From" not in http.received[0].form
    await twilio.close()


@pytest.mark.parametrize(("code", "kind"), CODES.items())
async def test_every_code_has_its_outcome(twilio: Twilio, http: HttpServer, code: int, kind: str) -> None:
    http.script = lambda _: told(400, {"code": code, "message": "no", "status": 400})

    outcome = await send(twilio)

    assert (outcome.kind, outcome.code) == (kind, str(code))


async def test_problem_details_are_read_as_well(twilio: Twilio, http: HttpServer) -> None:
    http.script = lambda _: told(400, {"type": "x", "title": "no", "status": 400, "code": 21211})

    assert (await send(twilio)).kind == "bad_token"


async def test_an_opt_out_known_to_twilio_is_told(twilio: Twilio, http: HttpServer) -> None:
    http.script = lambda _: told(400, {"code": 21610, "status": 400})

    assert await send(twilio) == Outcome("drop", code="21610", why="opted_out")


async def test_a_forbidden_country_concerns_that_destination_only(twilio: Twilio, http: HttpServer) -> None:
    http.script = lambda _: told(400, {"code": 21408, "status": 400})

    assert await send(twilio) == Outcome("config", code="21408", scope="address")


async def test_wrong_credentials_are_config(twilio: Twilio, http: HttpServer) -> None:
    http.script = lambda _: told(401, {"code": 20003, "status": 401})

    assert await send(twilio) == Outcome("config", code="20003")


async def test_retry_after_of_a_429_is_kept(twilio: Twilio, http: HttpServer) -> None:
    http.script = lambda _: told(429, {"code": 20429, "status": 429}, Retry_After="3")

    assert await send(twilio) == Outcome("throttle", code="20429", retry_after_ms=3000)


@pytest.mark.parametrize(
    "answer", [told(500, {}), Answer(503, b"<html>"), Answer(201, b"<html>"), Answer(502, b""), HANG_UP]
)
async def test_an_answer_that_proves_nothing_is_in_doubt_and_nothing_is_sent_again(
    twilio: Twilio, http: HttpServer, answer: Answer | str
) -> None:
    http.script = lambda _: answer

    outcome = await send(twilio)

    assert (outcome.kind, outcome.doubt) == ("in_doubt", "connection_lost")
    assert len(http.received) == 1


async def test_silence_ends_at_the_deadline(twilio: Twilio, http: HttpServer) -> None:
    http.script = lambda _: SILENCE
    assert await send(twilio, timeout_s=2.0) == Outcome("in_doubt", doubt="timeout")
    http.script = created

    assert (await send(twilio)).kind == "ok"


async def test_a_refused_connection_was_not_sent(twilio: Twilio, http: HttpServer) -> None:
    await http.stop()

    assert (await send(twilio)).kind == "retry"


@pytest.mark.parametrize("to", ["whatsapp:+14155550123", "4155550123", "+0123456789", "+1415555012\n3", ""])
async def test_only_phone_numbers_are_called(twilio: Twilio, http: HttpServer, to: str) -> None:
    assert (await send(twilio, to=to)).kind == "bad_token"
    assert http.received == []


async def test_a_text_over_1600_characters_is_dropped_without_a_request(twilio: Twilio, http: HttpServer) -> None:
    assert await send(twilio, body="x" * 1601) == Outcome("drop", code="21617", why="too_large")
    assert http.received == []


# --- asking ------------------------------------------------------------------------------------------------------


async def ask(twilio: Twilio, called_at: datetime, body: str = "hi") -> Outcome | None:
    handle = a_handle(first_called_at_ms=int(called_at.timestamp() * 1000))
    return await twilio.ask(a_message(body=body), a_phone(), handle, 60.0)


NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)


async def test_every_listed_message_with_our_text_is_named(twilio: Twilio, http: HttpServer) -> None:
    now = datetime.now(UTC)
    listed = [a_listed(at=now, sid=f"SM{n}", body="hi" if n % 2 else "ho") for n in range(1, 6)]
    http.script = lambda _: told(200, {"messages": listed, "next_page_uri": None})
    outcome = await twilio.ask(a_message(body="hi"), a_phone(), a_handle(), 60.0)

    assert outcome is not None
    assert outcome.found == ("SM1", "SM3", "SM5")


async def test_a_listed_message_with_our_text_is_found(twilio: Twilio, http: HttpServer) -> None:
    listed = [a_listed("other", at=NOW, sid="SM8"), a_listed("hi ", at=NOW)]
    http.script = lambda _: told(200, {"messages": listed})

    assert await ask(twilio, NOW) == Outcome("ok", provider_message_id="SM7", found=("SM7",))
    assert "DateSent" not in http.received[0].target
    assert "To=%2B14155550123" in http.received[0].target


async def test_an_older_message_with_the_same_text_is_not_ours(twilio: Twilio, http: HttpServer) -> None:
    http.script = lambda _: told(200, {"messages": [a_listed(at=NOW - timedelta(minutes=5))]})

    assert await ask(twilio, NOW) is None


async def test_an_empty_list_finds_nothing(twilio: Twilio, http: HttpServer) -> None:
    http.script = lambda _: told(200, {"messages": []})

    assert await ask(twilio, NOW) is None


@pytest.mark.parametrize("answer", [told(500, {}), HANG_UP, told(401, {"code": 20003}), Answer(200, b"<html>")])
async def test_a_question_without_an_answer_is_not_taken_for_absence(
    twilio: Twilio, http: HttpServer, answer: Answer | str
) -> None:
    http.script = lambda _: answer

    outcome = await ask(twilio, NOW)

    assert outcome is not None
    assert outcome.kind == "in_doubt"


async def test_messages_of_another_service_are_passed_over(http: HttpServer) -> None:
    twilio = Twilio(settings(http, messaging_service_sid="MG1"))
    await twilio.start()
    http.script = lambda _: told(200, {"messages": [a_listed(at=NOW, messaging_service_sid="MG2")]})
    assert await ask(twilio, NOW) is None
    http.script = lambda _: told(200, {"messages": [a_listed(at=NOW, messaging_service_sid="MG1")]})

    assert (await ask(twilio, NOW)) is not None
    await twilio.close()


async def test_no_number_is_logged(twilio: Twilio, http: HttpServer, caplog: pytest.LogCaptureFixture) -> None:
    http.script = lambda _: told(200, {"messages": []})
    with caplog.at_level(logging.DEBUG):
        await ask(twilio, NOW)
        http.script = lambda _: told(400, {"code": 21211, "message": f"{NUMBER} is wrong", "status": 400})
        await send(twilio)

    assert NUMBER[1:] not in caplog.text


async def test_a_cancelled_send_leaves_the_client_working(twilio: Twilio, http: HttpServer) -> None:
    http.script = lambda _: SILENCE
    hanging = asyncio.create_task(send(twilio))
    while not http.received:
        await asyncio.sleep(0)

    hanging.cancel()
    await asyncio.wait([hanging])
    http.script = created

    assert (await send(twilio)).kind == "ok"
