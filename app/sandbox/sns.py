"""Amazon SNS: Publish to a phone number.

Sources: botocore's model of sns; AWS, "Publish" and "Common errors" of the SNS API reference.
"""

import datetime
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from app.domain.sms import E164
from app.sandbox.aws import Gate, complaints, service_model
from app.sandbox.exchange import Judged, Moment, Reply, Request, attempt_of, refused
from app.sandbox.journal import Journal
from app.sandbox.records import Shown
from schemas.words import Provider

REGION = "us-east-1"
VERSION = "2010-03-31"
MAX_MESSAGE = 1600

#: Error code → HTTP status.
STATUS = {
    "IncompleteSignature": 400,
    "InvalidAction": 400,
    "InvalidParameter": 400,
    "KMSThrottling": 400,
    "OptedOut": 400,
    "ParameterValueInvalid": 400,
    "Throttling": 400,
    "ValidationError": 400,
    "AuthorizationError": 403,
    "InvalidClientTokenId": 403,
    "InvalidSecurity": 403,
    "MissingAuthenticationToken": 403,
    "SignatureDoesNotMatch": 403,
    "NotFound": 404,
    "Throttled": 429,
    "InternalError": 500,
    "ServiceUnavailable": 503,
}
#: What the query protocol calls what others of AWS call so.
_IN_QUERY = {
    "IncompleteSignatureException": "IncompleteSignature",
    "InvalidSignatureException": "SignatureDoesNotMatch",
    "MissingAuthenticationTokenException": "MissingAuthenticationToken",
    "UnrecognizedClientException": "InvalidClientTokenId",
}
_NAMESPACE = f"http://sns.amazonaws.com/doc/{VERSION}/"
_ENTRY = re.compile(r"MessageAttributes\.entry\.(\d{1,3})\.(Name|Value\.(?:DataType|StringValue|BinaryValue))")

#: AWS's error code and its words.
Objection = tuple[str, str]


class Sns:
    """One account in one region, out of the SMS sandbox of AWS."""

    name: Provider = "sns"
    protocols: tuple[str, ...] = ("http/1.1",)
    codes = frozenset(STATUS)
    outage = "InternalError"

    def __init__(self, folder: Path, journal: Journal) -> None:
        self._gate = Gate(folder, "sns", REGION)
        self.env = self._gate.env
        self._shape = service_model("sns").operation_model("Publish").input_shape

    def open_at(self, host: str, port: int, ca_file: str) -> dict[str, Any]:
        return {"endpoint_url": f"https://{host}:{port}", "region": REGION, "ca_file": ca_file}

    def judge(self, request: Request, at: Moment) -> Judged:
        if request.path != "/" or request.method != "POST":
            return _refused(Judged(Reply(0), operation="unknown"), ("InvalidAction", "No such action"))
        objection = self._gate.objection(request, datetime.datetime.fromtimestamp(at.ms / 1000, datetime.UTC))
        if objection is not None:
            return _refused(Judged(Reply(0)), (_IN_QUERY[objection[0]], objection[1]))
        form = dict(parse_qsl(request.body.decode("utf-8", "replace"), keep_blank_values=True))
        action = form.pop("Action", None), form.pop("Version", None)
        if action != ("Publish", VERSION):
            text = f"The action {action[0]} is not valid for this endpoint."
            return _refused(Judged(Reply(0), operation="unknown"), ("InvalidAction", text))
        message = _message(form)
        judged = _named(message, at)
        wrong = tuple(complaints(self._shape, message))
        refusal = ("ValidationError", "; ".join(wrong)) if wrong else _objection(message)
        if refusal is not None:
            return _refused(judged, refusal)
        tags = {name: value.get("StringValue", "") for name, value in message.get("MessageAttributes", {}).items()}
        return replace(judged, shown=Shown(body=message["Message"], tags=tags))

    def failure(self, code: str, judged: Judged, since_ms: int) -> Reply:
        return error(code, code)


def error(code: str, text: str) -> Reply:
    who = "Sender" if STATUS[code] < 500 else "Receiver"
    told = f"<Error><Type>{who}</Type><Code>{code}</Code><Message>{escape(text)}</Message></Error>"
    return Reply(
        STATUS[code], _document("ErrorResponse", f"{told}<RequestId>0</RequestId>"), {"content-type": "text/xml"}
    )


def _document(name: str, content: str) -> bytes:
    return f'<{name} xmlns="{_NAMESPACE}">{content}</{name}>'.encode()


def _refused(judged: Judged, objection: Objection) -> Judged:
    return refused(judged, objection[0], error(*objection))


def _message(form: dict[str, str]) -> dict[str, Any]:
    """The form as the model has it: attributes are a map."""
    message: dict[str, Any] = {}
    entries: dict[str, dict[str, str]] = {}
    for name, value in form.items():
        entry = _ENTRY.fullmatch(name)
        if entry is None:
            message[name] = value
        else:
            entries.setdefault(entry[1], {})[entry[2].removeprefix("Value.")] = value
    if entries:
        message["MessageAttributes"] = {entry.pop("Name", ""): entry for entry in entries.values()}
    return message


def _named(message: dict[str, Any], at: Moment) -> Judged:
    """Whose message it is, as far as one that may still be wrong tells."""
    told = {name: value.get("StringValue") for name, value in message.get("MessageAttributes", {}).items()}
    message_id = str(at.id)
    metadata = "<ResponseMetadata><RequestId>0</RequestId></ResponseMetadata>"
    shown = f"<PublishResult><MessageId>{message_id}</MessageId></PublishResult>{metadata}"
    return Judged(
        Reply(200, _document("PublishResponse", shown), {"content-type": "text/xml"}),
        address=message.get("PhoneNumber"),
        send_id=told.get("send_id"),
        notification_id=told.get("notification_id"),
        attempt=attempt_of(told.get("attempt")),
        provider_message_id=message_id,
    )


def _objection(message: dict[str, Any]) -> Objection | None:
    """The rules that the model can't state, for a message of the right shape."""
    targets = [name for name in ("PhoneNumber", "TopicArn", "TargetArn") if message.get(name)]
    if len(targets) != 1:
        return (
            "InvalidParameter",
            "Invalid parameter: TopicArn or TargetArn or PhoneNumber Reason: exactly one is required",
        )
    if targets != ["PhoneNumber"]:
        return "NotFound", f"{targets[0]} does not exist"
    if not E164.fullmatch(message["PhoneNumber"]):
        number = message["PhoneNumber"]
        return "InvalidParameter", f"Invalid parameter: PhoneNumber Reason: {number} is not valid to publish to"
    if not message["Message"]:
        return "InvalidParameter", "Invalid parameter: Empty message"
    if len(message["Message"]) > MAX_MESSAGE:
        return "InvalidParameter", "Invalid parameter: Message too long"
    for name, value in message.get("MessageAttributes", {}).items():
        if value["DataType"] not in ("String", "Number", "Binary", "String.Array") or not value.get("StringValue"):
            return "ParameterValueInvalid", f"The message attribute '{name}' has an invalid type or no value."
    kind = message.get("MessageAttributes", {}).get("AWS.SNS.SMS.SMSType", {}).get("StringValue", "Promotional")
    if kind not in ("Promotional", "Transactional"):
        return "InvalidParameter", "Invalid parameter: SMSType is neither Promotional nor Transactional"
    return None
