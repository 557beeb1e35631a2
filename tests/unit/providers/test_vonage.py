"""Vonage's client on a server that answers, falls silent or hangs up."""

from base64 import b64encode
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from app.config.providers import Vonage as VonageSettings
from app.domain.outcome import Outcome
from app.ports import Address
from app.providers.vonage import MAX_CALLBACK, STATUSES, Vonage
from tests.unit.providers.factories import a_handle, a_message
from tests.unit.providers.http_server import HANG_UP, SILENCE, Answer, HttpServer, told

TO = Address("sms", "+14155550123")


def parts(*statuses: str) -> Answer:
    messages = [{"status": status, "message-id": f"M-{n}", "to": "1"} for n, status in enumerate(statuses, 1)]
    return told(200, {"message-count": str(len(statuses)), "messages": messages})


@pytest.fixture
async def vonage(http: HttpServer) -> AsyncIterator[Vonage]:
    http.script = lambda _: parts("0")
    given = {"base_url": http.url, "api_key": "abcd1234", "api_secret": "secret", "from": "Shop"}
    client = Vonage(VonageSettings.model_validate(given))
    await client.start()
    yield client
    await client.close()


async def send(vonage: Vonage, *, to: str = TO.value, timeout_s: float = 60.0, **changes: Any) -> Outcome:
    return await vonage.send(a_message(**changes), Address("sms", to), a_handle(), timeout_s)


async def test_the_request_names_its_send_by_its_reference(vonage: Vonage, http: HttpServer) -> None:
    handle = a_handle(attempt=2, callback_url="https://shop.example/v1/webhooks/vonage?send_id=1&user_id=2")

    outcome = await vonage.send(a_message(body="Привет"), TO, handle, 60.0)

    assert outcome == Outcome("ok", provider_message_id="M-1")
    [request] = http.received
    assert (request.method, request.target) == ("POST", "/sms/json")
    form = request.form
    assert 3_500_000 < int(form.pop("ttl")) <= 3_600_000
    assert form == {
        "api_key": "abcd1234",
        "api_secret": "secret",
        "from": "Shop",
        "to": "14155550123",
        "text": "Привет",
        "type": "unicode",
        "client-ref": handle.send_id,
        "callback": "https://shop.example/v1/webhooks/vonage",
    }


@pytest.mark.parametrize(("body", "kind"), [("Hello €[]", "text"), ("naïve", "unicode"), ("😀", "unicode")])
async def test_a_text_goes_in_the_alphabet_that_it_needs(
    vonage: Vonage, http: HttpServer, body: str, kind: str
) -> None:
    await send(vonage, body=body)

    assert (http.received[0].form["type"], http.received[0].form["text"]) == (kind, body)


@pytest.mark.parametrize("url", [None, "https://shop.example/" + "x" * MAX_CALLBACK])
async def test_a_callback_that_vonage_cannot_take_is_left_out(
    vonage: Vonage, http: HttpServer, url: str | None
) -> None:
    await vonage.send(a_message(), TO, a_handle(callback_url=url), 60.0)

    assert "callback" not in http.received[0].form


@pytest.mark.parametrize(("expires_at_ms", "ttl"), [(1, "20000"), (2**45, "604800000")])
async def test_the_time_to_live_is_within_vonages_bounds(
    vonage: Vonage, http: HttpServer, expires_at_ms: int, ttl: str
) -> None:
    await vonage.send(a_message(), TO, a_handle(expires_at_ms=expires_at_ms), 60.0)

    assert http.received[0].form["ttl"] == ttl


@pytest.mark.parametrize(
    "number", ["14155550123", "whatsapp:+14155550123", "+0155550123", "", "+1415555012x", "+٤٤٢٠٧١٨"]
)
async def test_what_is_no_number_is_a_bad_token_without_a_request(
    vonage: Vonage, http: HttpServer, number: str
) -> None:
    assert (await send(vonage, to=number)).kind == "bad_token"
    assert http.received == []


async def test_every_status_has_its_outcome_after_one_request(vonage: Vonage, http: HttpServer) -> None:
    outcomes = {}
    for status in STATUSES:
        http.script = lambda _, status=status: parts(status)  # type: ignore[misc]
        outcomes[status] = await send(vonage)

    assert {status: outcome.kind for status, outcome in outcomes.items()} == STATUSES
    assert all(outcome.code == status for status, outcome in outcomes.items())
    assert len(http.received) == len(STATUSES)
    assert (outcomes["12"].why, outcomes["29"].scope, outcomes["4"].scope) == ("too_large", "address", "lane")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (parts("0", "0"), Outcome("ok", provider_message_id="M-1")),
        (parts("0", "1"), Outcome("in_doubt", code="partly_sent", doubt="connection_lost")),
        (parts("4", "0"), Outcome("in_doubt", code="partly_sent", doubt="connection_lost")),
        (parts("99"), Outcome("drop", code="99", why="permanent")),
        (parts(), Outcome("in_doubt", code="unreadable", doubt="connection_lost")),
        (Answer(200, b"<html>"), Outcome("in_doubt", code="unreadable", doubt="connection_lost")),
        (told(200, {"messages": "0"}), Outcome("in_doubt", code="unreadable", doubt="connection_lost")),
        (Answer(401, b""), Outcome("config", code="401")),
        (Answer(302, b"", (("Location", "/"),)), Outcome("config", code="302")),
        (Answer(429, b"", (("Retry-After", "9"),)), Outcome("throttle", code="429", retry_after_ms=9000)),
        (Answer(500, b""), Outcome("in_doubt", code="500", doubt="connection_lost")),
        (Answer(503, b""), Outcome("in_doubt", code="503", doubt="connection_lost")),
    ],
)
async def test_an_answer_is_that_of_all_parts(
    vonage: Vonage, http: HttpServer, answer: Answer, expected: Outcome
) -> None:
    http.script = lambda _: answer

    assert await send(vonage) == expected
    assert len(http.received) == 1


@pytest.mark.parametrize(("behaviour", "doubt"), [(HANG_UP, "connection_lost"), (SILENCE, "timeout")])
async def test_a_lost_answer_is_in_doubt_after_one_request(
    vonage: Vonage, http: HttpServer, behaviour: str, doubt: str
) -> None:
    http.script = lambda _: behaviour

    outcome = await send(vonage, timeout_s=2.0)

    assert (outcome.kind, outcome.doubt) == ("in_doubt", doubt)
    assert len(http.received) == 1


# --- asking ------------------------------------------------------------------------------------------------------


async def ask(vonage: Vonage, http: HttpServer, answer: Answer | str) -> Outcome | None:
    http.script = lambda _: answer
    return await vonage.ask(a_message(), TO, a_handle(send_id="mine", first_called_at_ms=1_700_000_000_000), 0.5)


async def test_the_question_is_about_the_number_and_a_day_at_most(vonage: Vonage, http: HttpServer) -> None:
    await ask(vonage, http, told(200, {"records": []}))

    [request] = http.received
    url = urlsplit(request.target)
    assert (request.method, url.path) == ("GET", "/v2/reports/records")
    assert {name: values[0] for name, values in parse_qs(url.query).items()} == {
        "account_id": "abcd1234",
        "product": "SMS",
        "direction": "outbound",
        "to": "14155550123",
        "date_start": "2023-11-14T22:12:20Z",
        "date_end": "2023-11-15T22:12:20Z",
    }
    assert request.headers["authorization"] == "Basic " + b64encode(b"abcd1234:secret").decode()


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ([], None),
        ([{"client_ref": "another's", "message_id": "M-0"}], None),
        ([{"client_ref": "mine"}], None),
        ([{"client_ref": "x", "message_id": "M-0"}, {"client_ref": "mine", "message_id": "M-1"}], "M-1"),
    ],
)
async def test_only_a_record_with_the_sends_own_reference_is_evidence(
    vonage: Vonage, http: HttpServer, records: list[Any], expected: str | None
) -> None:
    answer = await ask(vonage, http, told(200, {"records": records}))

    assert answer == (None if expected is None else Outcome("ok", provider_message_id=expected))


@pytest.mark.parametrize("answer", [HANG_UP, SILENCE, Answer(500), Answer(401), Answer(422), Answer(429), Answer(404)])
async def test_a_question_without_an_answer_is_not_taken_for_absence(
    vonage: Vonage, http: HttpServer, answer: Answer | str
) -> None:
    found = await ask(vonage, http, answer)

    assert found is not None
    assert found.kind == "in_doubt"


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ({}, "https://api.nexmo.com"),
        ({"base_url": "https://eu.example"}, "https://eu.example"),
        ({"base_url": "https://eu.example", "reports_url": "https://reports.example"}, "https://reports.example"),
    ],
)
def test_reports_are_asked_where_vonage_has_them(given: dict[str, str], url: str) -> None:
    account = {"api_key": "k", "api_secret": "s", "from": "Shop"}

    assert VonageSettings.model_validate({**account, **given}).reports == url
