"""Vonage's rules for a message, and its reports."""

import base64
from pathlib import Path
from urllib.parse import urlencode

import pytest

from app.sandbox.exchange import Judged, Request
from app.sandbox.journal import Journal
from app.sandbox.vonage import Vonage, objection
from tests.unit.sandbox.requests import SEND_ID, at, body_of

RIGHT = {"from": "Tocsin", "to": "14155550123", "text": "hello", "type": "text", "client-ref": SEND_ID, "ttl": "20000"}


@pytest.fixture
def vendor(tmp_path: Path) -> Vonage:
    return Vonage(tmp_path, Journal(tmp_path))


def judged(vendor: Vonage, **changes: str) -> Judged:
    settings = vendor.open_at("127.0.0.1", 1, "ca.pem")
    form = {**RIGHT, "api_key": settings["api_key"], "api_secret": settings["api_secret"], **changes}
    headers = (("content-type", "application/x-www-form-urlencoded"),)
    return vendor.judge(Request("POST", "/sms/json", "", headers, urlencode(form).encode()), at())


def test_a_right_message_is_taken_in_as_many_parts_as_it_needs(vendor: Vonage) -> None:
    taken = judged(vendor, text="ж" * 100, type="unicode")

    answer = body_of(taken.reply.body)
    assert (taken.code, answer["message-count"], {part["status"] for part in answer["messages"]}) == (None, "2", {"0"})
    assert {part["client-ref"] for part in answer["messages"]} == {SEND_ID} == {taken.send_id}
    assert len({part["message-id"] for part in answer["messages"]}) == 2
    assert answer["messages"][0]["message-id"] == taken.provider_message_id
    assert taken.address == "+14155550123"


@pytest.mark.parametrize(
    ("status", "changes"),
    [
        ("3", {"colour": "red"}),
        ("2", {"to": ""}),
        ("2", {"text": ""}),
        ("3", {"to": "+14155550123"}),
        ("3", {"client-ref": "x" * 101}),
        ("3", {"type": "binary"}),
        ("3", {"text": "Привет"}),
        ("3", {"ttl": "19999"}),
        ("3", {"ttl": "604800001"}),
        ("3", {"ttl": "soon"}),
        ("15", {"from": "Other"}),
        ("23", {"callback": "tocsin.example/cb"}),
        ("23", {"callback": "https://tocsin.example/" + "x" * 100}),
        ("12", {"text": "x" * 1601}),
    ],
)
def test_a_wrong_message_gets_vonages_status(status: str, changes: dict[str, str]) -> None:
    assert objection({**RIGHT, **changes}) == status
    assert objection(RIGHT) is None


@pytest.mark.parametrize("changes", [{"api_secret": "wrong"}, {"api_key": "wrong"}, {"api_secret": ""}])
def test_wrong_credentials_are_a_status_too(vendor: Vonage, changes: dict[str, str]) -> None:
    refused = judged(vendor, **changes)

    assert (refused.code, refused.reply.status) == ("4", 200)
    assert body_of(refused.reply.body)["messages"] == [{"status": "4", "error-text": "Invalid credentials"}]


@pytest.mark.parametrize(
    ("code", "question"),
    [
        ("401", None),
        ("422", {}),
        ("422", {"product": "SMS", "direction": "outbound", "date_start": "soon", "date_end": "2026-01-01T00:00:00Z"}),
        (
            "422",
            {
                "product": "SMS",
                "direction": "outbound",
                "date_start": "2026-01-01T00:00:00Z",
                "date_end": "2026-01-02T00:00:01Z",
            },
        ),
        ("422", {"product": "SMS", "date_start": "2026-01-01T00:00:00Z", "date_end": "2026-01-01T00:00:01Z"}),
    ],
)
def test_a_question_must_be_signed_and_about_a_day_at_most(
    vendor: Vonage, code: str, question: dict[str, str] | None
) -> None:
    settings = vendor.open_at("127.0.0.1", 1, "ca.pem")
    secret = base64.b64encode(f"{settings['api_key']}:{settings['api_secret']}".encode()).decode()
    headers = () if question is None else (("authorization", f"Basic {secret}"),)
    asked = Request("GET", "/v2/reports/records", urlencode(question or {}), headers, b"")

    assert vendor.judge(asked, at()).code == code
