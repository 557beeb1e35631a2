"""SNS' rules for a message to a number: botocore's model of Publish and what it can't state, and signatures."""

import datetime
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlencode

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from app.sandbox.exchange import Judged, Moment, Request
from app.sandbox.journal import Journal
from app.sandbox.sns import REGION, Sns
from tests.unit.sandbox.requests import SEND_ID, at, now_s

RIGHT = {
    "Action": "Publish",
    "Version": "2010-03-31",
    "PhoneNumber": "+14155550123",
    "Message": "hello",
    "MessageAttributes.entry.1.Name": "send_id",
    "MessageAttributes.entry.1.Value.DataType": "String",
    "MessageAttributes.entry.1.Value.StringValue": SEND_ID,
}


@pytest.fixture
def vendor(tmp_path: Path) -> Sns:
    return Sns(tmp_path, Journal(tmp_path))


def judged(
    vendor: Sns, changes: Mapping[str, str | None] = {}, *, secret: str | None = None, service: str = "sns"
) -> Judged:
    form = {name: value for name, value in {**RIGHT, **changes}.items() if value is not None}
    moment: Moment = at(now_s())
    request = AWSRequest("POST", "https://127.0.0.1:1/", data=urlencode(form).encode())
    keys = Credentials(vendor.env["AWS_ACCESS_KEY_ID"], secret or vendor.env["AWS_SECRET_ACCESS_KEY"])
    SigV4Auth(keys, service, REGION).add_auth(request)
    headers = (*((name.lower(), value) for name, value in request.headers.items()), ("host", "127.0.0.1:1"))
    return vendor.judge(Request("POST", "/", "", headers, request.body, "127.0.0.1:1"), moment)


def test_a_right_message_is_taken_and_shown(vendor: Sns) -> None:
    taken = judged(vendor)

    assert (taken.code, taken.reply.status) == (None, 200)
    assert f"<MessageId>{taken.provider_message_id}</MessageId>".encode() in taken.reply.body
    assert (taken.send_id, taken.address) == (SEND_ID, "+14155550123")
    assert taken.shown is not None
    assert taken.shown.body == "hello"


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("InvalidAction", {"Action": "Shout"}),
        ("InvalidAction", {"Version": "2009-03-31"}),
        ("ValidationError", {"Colour": "red"}),
        ("ValidationError", {"Message": None}),
        ("ValidationError", {"MessageAttributes.entry.1.Value.DataType": None}),
        ("InvalidParameter", {"PhoneNumber": None}),
        ("InvalidParameter", {"TopicArn": "arn:aws:sns:us-east-1:1:t"}),
        ("NotFound", {"PhoneNumber": None, "TopicArn": "arn:aws:sns:us-east-1:1:t"}),
        ("InvalidParameter", {"PhoneNumber": "4155550123"}),
        ("InvalidParameter", {"Message": ""}),
        ("InvalidParameter", {"Message": "x" * 1601}),
        ("ParameterValueInvalid", {"MessageAttributes.entry.1.Value.DataType": "Text"}),
        ("ParameterValueInvalid", {"MessageAttributes.entry.1.Value.StringValue": ""}),
        (
            "InvalidParameter",
            {
                "MessageAttributes.entry.1.Name": "AWS.SNS.SMS.SMSType",
                "MessageAttributes.entry.1.Value.StringValue": "Urgent",
            },
        ),
    ],
)
def test_a_wrong_message_gets_snss_code(vendor: Sns, code: str, changes: dict[str, str | None]) -> None:
    refused = judged(vendor, changes)

    assert (refused.code, refused.shown) == (code, None)
    assert f"<Code>{code}</Code>".encode() in refused.reply.body


def test_a_wrong_signature_is_refused_in_the_words_of_the_query_protocol(vendor: Sns) -> None:
    unsigned = Request("POST", "/", "", (), b"Action=Publish")

    assert judged(vendor, secret="wrong").code == "SignatureDoesNotMatch"
    assert judged(vendor, service="ses").code == "SignatureDoesNotMatch"
    assert vendor.judge(unsigned, at(round(datetime.datetime.now(datetime.UTC).timestamp()))).code == (
        "MissingAuthenticationToken"
    )
