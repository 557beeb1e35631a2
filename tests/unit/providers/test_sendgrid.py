"""SendGrid's client on a server that answers, falls silent or hangs up."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from app.config.providers import SendGrid as SendGridSettings
from app.domain.outcome import LONGEST_WAIT_MS, Outcome
from app.ports import Address
from app.providers.sendgrid import MAX_BYTES, RESERVED, SendGrid, mailbox
from tests.unit.providers.factories import a_handle, a_message
from tests.unit.providers.http_server import HANG_UP, SILENCE, Answer, HttpServer, told

TAKEN = Answer(202, b"", (("X-Message-Id", "M-1"),))


@pytest.fixture
async def sendgrid(http: HttpServer) -> AsyncIterator[SendGrid]:
    http.script = lambda _: TAKEN
    given = {"base_url": http.url, "api_key": "SG.secret", "from": "Der Läden <shop@example.com>"}
    client = SendGrid(SendGridSettings.model_validate(given))
    await client.start()
    yield client
    await client.close()


async def send(sendgrid: SendGrid, *, to: str = "ann@example.org", timeout_s: float = 60.0, **changes: Any) -> Outcome:
    return await sendgrid.send(a_message(**changes), Address("email", to), a_handle(), timeout_s)


async def test_the_request_names_its_send_in_the_custom_arguments(sendgrid: SendGrid, http: HttpServer) -> None:
    handle = a_handle(attempt=2)

    outcome = await sendgrid.send(a_message(), Address("email", "ann@example.org"), handle, 60.0)

    assert outcome == Outcome("ok", provider_message_id="M-1")
    [request] = http.received
    assert (request.method, request.target) == ("POST", "/v3/mail/send")
    assert request.headers["authorization"] == "Bearer SG.secret"
    tracking = request.json.pop("tracking_settings", None)
    assert tracking is not None
    assert {name: value for name, value in request.json.items() if name != "tracking_settings"} == {
        "personalizations": [{"to": [{"email": "ann@example.org"}]}],
        "from": {"email": "shop@example.com", "name": "Der Läden"},
        "subject": "Your order",
        "content": [
            {"type": "text/plain", "value": "It has left."},
            {"type": "text/html", "value": "<p>It has left.</p>"},
        ],
        "headers": {"List-Unsubscribe": "<https://shop.example/u/1>"},
        "custom_args": {"send_id": handle.send_id, "notification_id": handle.notification_id, "attempt": "2"},
    }


async def test_sendgrid_is_told_not_to_track(sendgrid: SendGrid, http: HttpServer) -> None:
    await send(sendgrid)

    told_to = http.received[0].json["tracking_settings"]
    assert {name: one["enable"] for name, one in told_to.items()} == {
        "click_tracking": False,
        "open_tracking": False,
        "subscription_tracking": False,
    }


@pytest.mark.parametrize("name", sorted(RESERVED))
async def test_headers_that_sendgrid_writes_itself_are_left_to_it(
    sendgrid: SendGrid, http: HttpServer, name: str
) -> None:
    await send(sendgrid, headers={name.title(): "a@b.example", "X-Own": "1"})

    assert http.received[0].json["headers"] == {"X-Own": "1"}
    assert ("reply_to" in http.received[0].json) is (name == "reply-to")


async def test_a_mail_without_subject_and_text_is_one_that_sendgrid_takes(sendgrid: SendGrid, http: HttpServer) -> None:
    await send(sendgrid, title=None, subject="", text="", body=None, html=None, headers={})

    assert http.received[0].json["subject"] == "(no subject)"
    assert all(part["value"] for part in http.received[0].json["content"])


async def test_header_injection_and_several_recipients_are_dropped_without_a_request(
    sendgrid: SendGrid, http: HttpServer
) -> None:
    for broken in ("x\r\nBcc: eve@example.org", "x\ny", "x\x00"):
        assert (await send(sendgrid, subject=broken)).kind == "drop"
        assert (await send(sendgrid, headers={"X-Campaign": broken})).kind == "drop"
        assert (await send(sendgrid, to=f"ann@example.org{broken}")).kind == "drop"
    for several in ("a@b.example, eve@example.org", "Ann <a@b.example>", "a@b@c", ""):
        assert (await send(sendgrid, to=several)).kind == "drop"
    assert http.received == []


@pytest.mark.parametrize("content", ["x" * (MAX_BYTES + 1), '"' * (MAX_BYTES // 2 + 1)])
async def test_a_request_over_30_megabytes_is_not_made(sendgrid: SendGrid, http: HttpServer, content: str) -> None:
    assert (await send(sendgrid, html=content)).why == "too_large"
    assert http.received == []


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, Outcome("drop", code="400", why="permanent")),
        (401, Outcome("config", code="401")),
        (403, Outcome("config", code="403")),
        (404, Outcome("config", code="404")),
        (405, Outcome("drop", code="405", why="permanent")),
        (413, Outcome("drop", code="413", why="too_large")),
        (415, Outcome("drop", code="415", why="permanent")),
        (429, Outcome("throttle", code="429")),
        (301, Outcome("config", code="301")),
        (307, Outcome("config", code="307")),
        (500, Outcome("in_doubt", code="500", doubt="connection_lost")),
        (503, Outcome("in_doubt", code="503", doubt="connection_lost")),
        (200, Outcome("in_doubt", code="no_message_id", doubt="connection_lost")),
    ],
)
async def test_each_status_has_its_outcome_after_one_request(
    sendgrid: SendGrid, http: HttpServer, status: int, expected: Outcome
) -> None:
    http.script = lambda _: told(status, {"errors": [{"message": "no", "field": None}]}, Location=http.url)

    assert await send(sendgrid) == expected
    assert len(http.received) == 1


@pytest.mark.parametrize(
    ("header", "least", "most"), [("9999999999", LONGEST_WAIT_MS, LONGEST_WAIT_MS), ("1", 0, 0), ("soon", None, None)]
)
async def test_a_rate_that_is_spent_comes_back_when_sendgrid_says(
    sendgrid: SendGrid, http: HttpServer, header: str, least: int | None, most: int | None
) -> None:
    http.script = lambda _: told(429, {}, X_RateLimit_Reset=header)

    wait_ms = (await send(sendgrid)).retry_after_ms

    assert wait_ms is None if least is None or most is None else wait_ms is not None and least <= wait_ms <= most


@pytest.mark.parametrize(("behaviour", "doubt"), [(HANG_UP, "connection_lost"), (SILENCE, "timeout")])
async def test_a_lost_answer_is_in_doubt_after_one_request(
    sendgrid: SendGrid, http: HttpServer, behaviour: str, doubt: str
) -> None:
    http.script = lambda _: behaviour

    outcome = await send(sendgrid, timeout_s=2.0)

    assert (outcome.kind, outcome.doubt) == ("in_doubt", doubt)
    assert len(http.received) == 1


async def test_a_refused_connection_was_not_sent(sendgrid: SendGrid, http: HttpServer) -> None:
    await http.stop()

    assert (await send(sendgrid)).kind == "retry"


@pytest.mark.parametrize(
    ("header", "box"),
    [
        ("shop@example.com", {"email": "shop@example.com"}),
        ("The Shop <shop@example.com>", {"email": "shop@example.com", "name": "The Shop"}),
        ("=?utf-8?q?Der_L=C3=A4den?= <shop@example.com>", {"email": "shop@example.com", "name": "Der Läden"}),
        ('"Shop, Inc." <shop@example.com>', {"email": "shop@example.com", "name": "Shop, Inc."}),
    ],
)
def test_a_mailbox_is_told_in_two_parts(header: str, box: dict[str, str]) -> None:
    assert mailbox(header) == box
