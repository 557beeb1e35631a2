"""SES's rules: botocore's model of SendEmail and what it can't state, and signatures made by botocore's own signer."""

import base64
import copy
import datetime
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from app.sandbox.exchange import Judged, Moment, Request
from app.sandbox.journal import Journal
from app.sandbox.ses import REGION, Ses
from tests.unit.sandbox.requests import SEND_ID, at, body_of, now_s

PATH = "/v2/email/outbound-emails"
MAIL: dict[str, Any] = {
    "FromEmailAddress": "Tocsin <notifications@example.com>",
    "Destination": {"ToAddresses": ["Ann <ann@mail.example>"]},
    "Content": {
        "Simple": {
            "Subject": {"Data": "Your flight"},
            "Body": {"Text": {"Data": "It left"}, "Html": {"Data": "<p>It left</p>"}},
            "Headers": [{"Name": "List-Unsubscribe", "Value": "<https://tocsin.example/u>"}],
        }
    },
    "EmailTags": [{"Name": "send_id", "Value": SEND_ID}, {"Name": "attempt", "Value": "3"}],
    "ConfigurationSetName": "tocsin",
}


@pytest.fixture
def vendor(tmp_path: Path) -> Ses:
    return Ses(tmp_path, Journal(tmp_path))


def signed(
    vendor: Ses, body: bytes, region: str = REGION, key: str | None = None, secret: str | None = None
) -> Request:
    """Signed now, since botocore's signer reads the clock."""
    keys = Credentials(key or vendor.env["AWS_ACCESS_KEY_ID"], secret or vendor.env["AWS_SECRET_ACCESS_KEY"])
    made = AWSRequest("POST", f"https://127.0.0.1:4431{PATH}", {"Content-Type": "application/json"}, body)
    SigV4Auth(keys, "ses", region).add_auth(made)
    headers = tuple((name.lower(), str(value)) for name, value in made.headers.items())
    return Request("POST", PATH, "", (*headers, ("host", "127.0.0.1:4431")), body, "127.0.0.1:4431")


def judge(vendor: Ses, request: Request, later_s: int = 0) -> Judged:
    return vendor.judge(request, Moment((now_s() + later_s) * 1000, at().id))


def changed(change: Callable[[dict[str, Any]], object]) -> bytes:
    mail = copy.deepcopy(MAIL)
    change(mail)
    return json.dumps(mail).encode()


def test_a_right_mail_is_accepted_with_tags_and_headers(vendor: Ses) -> None:
    judged = judge(vendor, signed(vendor, json.dumps(MAIL).encode()))

    assert judged.code is None
    assert body_of(judged.reply.body) == {"MessageId": judged.provider_message_id}
    assert (judged.address, judged.send_id, judged.attempt) == ("ann@mail.example", SEND_ID, 3)
    assert judged.shown is not None
    assert (judged.shown.subject, judged.shown.body, judged.shown.html) == ("Your flight", "It left", "<p>It left</p>")
    assert judged.shown.tags == {"send_id": SEND_ID, "attempt": "3"}
    assert judged.shown.headers == {"List-Unsubscribe": "<https://tocsin.example/u>"}


def test_a_raw_mail_is_shown_as_a_mailbox_would(vendor: Ses) -> None:
    mime = b"Subject: Raw\r\nContent-Type: text/plain\r\n\r\nwords"
    raw = {"Raw": {"Data": base64.b64encode(mime).decode()}}

    judged = judge(vendor, signed(vendor, changed(lambda mail: mail.update(Content=raw))))

    assert judged.shown is not None
    assert (judged.shown.subject, judged.shown.body) == ("Raw", "words")


@pytest.mark.parametrize(
    ("code", "status", "change"),
    [
        ("MessageRejected", 400, lambda mail: mail.update(FromEmailAddress="me@elsewhere.example")),
        ("BadRequestException", 400, lambda mail: mail.pop("FromEmailAddress")),
        ("BadRequestException", 400, lambda mail: mail.pop("Content")),
        ("BadRequestException", 400, lambda mail: mail.update(Colour="red")),
        ("BadRequestException", 400, lambda mail: mail["Content"]["Simple"].pop("Subject")),
        ("BadRequestException", 400, lambda mail: mail["Content"]["Simple"].update(Body={})),
        ("BadRequestException", 400, lambda mail: mail["Content"]["Simple"]["Subject"].update(Data=7)),
        ("BadRequestException", 400, lambda mail: mail["Content"]["Simple"]["Headers"][0].update(Name="a b")),
        ("BadRequestException", 400, lambda mail: mail["Content"].update(Raw={"Data": ""})),
        ("BadRequestException", 400, lambda mail: mail.update(Content={"Raw": {"Data": "%%%"}})),
        ("BadRequestException", 400, lambda mail: mail["Destination"].clear()),
        ("BadRequestException", 400, lambda mail: mail["Destination"]["ToAddresses"].append("nobody")),
        ("BadRequestException", 400, lambda mail: mail["EmailTags"].append({"Name": "x", "Value": "a b"})),
        ("BadRequestException", 400, lambda mail: mail["EmailTags"].append({"Name": "send_id", "Value": "2"})),
        ("NotFoundException", 404, lambda mail: mail.update(ConfigurationSetName="other")),
        ("NotFoundException", 404, lambda mail: mail.update(Content={"Template": {"TemplateName": "t"}})),
    ],
)
def test_a_wrong_mail_gets_awss_error(
    vendor: Ses, code: str, status: int, change: Callable[[dict[str, Any]], object]
) -> None:
    judged = judge(vendor, signed(vendor, changed(change)))

    assert (judged.code, judged.reply.status, judged.reply.headers["x-amzn-ErrorType"]) == (code, status, code)
    assert body_of(judged.reply.body)["message"]
    assert judged.shown is None


def test_a_missing_member_is_named_by_its_path(vendor: Ses) -> None:
    judged = judge(vendor, signed(vendor, changed(lambda mail: mail["Content"]["Simple"].pop("Subject"))))

    assert "'content.simple.subject'" in body_of(judged.reply.body)["message"]


def test_a_body_that_is_no_json_is_told_so(vendor: Ses) -> None:
    assert judge(vendor, signed(vendor, b"{")).code == "SerializationException"


@pytest.mark.parametrize(
    ("code", "keys"),
    [
        ("UnrecognizedClientException", {"key": "AKIAUNKNOWN"}),
        ("InvalidSignatureException", {"secret": "wrong"}),
        ("InvalidSignatureException", {"region": "eu-west-1"}),
    ],
)
def test_wrong_keys_are_refused(vendor: Ses, code: str, keys: dict[str, str]) -> None:
    judged = judge(vendor, signed(vendor, json.dumps(MAIL).encode(), **keys))

    assert (judged.code, judged.reply.status) == (code, 403)


def test_an_unsigned_request_lacks_its_token(vendor: Ses) -> None:
    judged = judge(vendor, Request("POST", PATH, "", (), b"{}"))

    assert (judged.code, judged.reply.status) == ("MissingAuthenticationTokenException", 403)


def test_a_body_changed_after_signing_is_refused(vendor: Ses) -> None:
    request = signed(vendor, json.dumps(MAIL).encode())
    forged = Request("POST", PATH, "", request.headers, request.body + b" ", request.authority)

    assert judge(vendor, forged).code == "InvalidSignatureException"


def test_a_signature_lasts_five_minutes(vendor: Ses) -> None:
    request = signed(vendor, json.dumps(MAIL).encode())
    signed_at = datetime.datetime.strptime(f"{request.header('x-amz-date')}+0000", "%Y%m%dT%H%M%SZ%z")
    stamp = int(signed_at.timestamp())

    assert vendor.judge(request, Moment((stamp + 300) * 1000, at().id)).code is None
    assert vendor.judge(request, Moment((stamp + 301) * 1000, at().id)).code == "InvalidSignatureException"
