"""SendGrid's rules for a mail."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.sandbox.exchange import Judged, Request
from app.sandbox.journal import Journal
from app.sandbox.sendgrid import SendGrid
from tests.unit.sandbox.requests import SEND_ID, at, body_of

MAIL: dict[str, Any] = {
    "personalizations": [{"to": [{"email": "ann@mail.example"}]}],
    "from": {"email": "notifications@example.com", "name": "Tocsin"},
    "subject": "Your flight",
    "content": [{"type": "text/plain", "value": "It left"}, {"type": "text/html", "value": "<p>It left</p>"}],
    "headers": {"List-Unsubscribe": "<https://tocsin.example/u>"},
    "custom_args": {"send_id": SEND_ID, "notification_id": "n-1", "attempt": "3"},
}


@pytest.fixture
def vendor(tmp_path: Path) -> SendGrid:
    return SendGrid(tmp_path, Journal(tmp_path))


def judged(vendor: SendGrid, mail: Any, path: str = "/v3/mail/send", **headers: str) -> Judged:
    key = vendor.open_at("127.0.0.1", 1, "ca.pem")["api_key"]
    given = {"authorization": f"Bearer {key}", "content-type": "application/json", **headers}
    body = mail if isinstance(mail, bytes) else json.dumps(mail).encode()
    return vendor.judge(Request("POST", path, "", tuple(given.items()), body), at())


def test_a_right_mail_is_taken_and_shown(vendor: SendGrid) -> None:
    taken = judged(vendor, MAIL)

    assert (taken.code, taken.reply.status, taken.reply.body) == (None, 202, b"")
    assert taken.reply.headers["x-message-id"] == taken.provider_message_id
    assert (taken.send_id, taken.notification_id, taken.attempt) == (SEND_ID, "n-1", 3)
    assert taken.address == "ann@mail.example"
    assert taken.shown is not None
    assert (taken.shown.body, taken.shown.html, taken.shown.sender) == (
        "It left",
        "<p>It left</p>",
        "Tocsin <notifications@example.com>",
    )


Spoil = Callable[[dict[str, Any]], Any]


@pytest.mark.parametrize(
    ("field", "spoil"),
    [
        ("colour", lambda mail: mail.update(colour="red")),
        ("personalizations", lambda mail: mail.pop("personalizations")),
        ("personalizations", lambda mail: mail.update(personalizations=[])),
        ("personalizations.0", lambda mail: mail["personalizations"][0].update(colour="red")),
        ("personalizations.0.to", lambda mail: mail["personalizations"][0].update(to=[])),
        ("personalizations.0.to.0.email", lambda mail: mail["personalizations"][0]["to"][0].update(email="ann")),
        ("personalizations.0.to.0.email", lambda mail: mail["personalizations"][0]["to"][0].pop("email")),
        ("personalizations", lambda mail: mail["personalizations"].append(mail["personalizations"][0])),
        ("from.email", lambda mail: mail.pop("from")),
        ("from.email", lambda mail: mail["from"].update(email="notifications")),
        ("reply_to.email", lambda mail: mail.update(reply_to={"email": "x"})),
        ("subject", lambda mail: mail.update(subject="")),
        ("content", lambda mail: mail.pop("content")),
        ("content.0", lambda mail: mail["content"][0].update(value="")),
        ("content", lambda mail: mail["content"].reverse()),
        ("headers", lambda mail: mail["headers"].update({"Reply-To": "x@y.example"})),
        ("headers", lambda mail: mail["headers"].update({"X-A": "a\r\nBcc: eve@example.org"})),
        ("headers", lambda mail: mail["headers"].update({"X-A": 1})),
        ("custom_args", lambda mail: mail["custom_args"].update(attempt=3)),
        ("custom_args", lambda mail: mail["custom_args"].update(send_id="x" * 10_000)),
    ],
)
def test_a_wrong_mail_is_refused_with_the_field(vendor: SendGrid, field: str, spoil: Spoil) -> None:
    mail = copy.deepcopy(MAIL)
    spoil(mail)

    refused = judged(vendor, mail)

    assert (refused.code, refused.reply.status, refused.shown) == ("400", 400, None)
    assert field in [one["field"] for one in body_of(refused.reply.body)["errors"]]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"x"'])
def test_what_is_no_object_is_refused(vendor: SendGrid, body: bytes) -> None:
    assert judged(vendor, body).code == "400"


def test_each_wrong_request_gets_sendgrids_status(vendor: SendGrid) -> None:
    other = copy.deepcopy(MAIL)
    other["from"]["email"] = "shop@elsewhere.example"

    assert judged(vendor, MAIL, authorization="Bearer SG.wrong").code == "401"
    assert judged(vendor, MAIL, **{"content-type": "text/plain"}).code == "415"
    assert judged(vendor, MAIL, path="/v3/mail/sent").code == "404"
    assert judged(vendor, other).code == "403"
