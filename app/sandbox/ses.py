"""Amazon SES v2: SendEmail.

Sources: botocore's model of sesv2; AWS, "SendEmail" and "Common errors" of the SES API v2 reference.
"""

import base64
import binascii
import datetime
import email
import email.policy
import re
from collections.abc import Iterator
from dataclasses import replace
from email.utils import parseaddr
from pathlib import Path
from typing import Any

import orjson

from app.sandbox.aws import Gate, complaints, service_model
from app.sandbox.exchange import Judged, Moment, Reply, Request, attempt_of, refused
from app.sandbox.journal import Journal
from app.sandbox.records import Shown
from schemas.words import Provider

REGION = "us-east-1"
DOMAIN = "example.com"
SENDER = f"notifications@{DOMAIN}"
CONFIGURATION_SET = "tocsin"
MAX_RECIPIENTS = 50
MAX_BODY = 40 << 20

#: Error code → HTTP status.
STATUS = {
    "AccountSuspendedException": 400,
    "BadRequestException": 400,
    "IncompleteSignatureException": 400,
    "LimitExceededException": 400,
    "MailFromDomainNotVerifiedException": 400,
    "MessageRejected": 400,
    "SendingPausedException": 400,
    "SerializationException": 400,
    "ThrottlingException": 400,
    "ValidationException": 400,
    "InvalidSignatureException": 403,
    "MissingAuthenticationTokenException": 403,
    "UnrecognizedClientException": 403,
    "NotFoundException": 404,
    "UnknownOperationException": 404,
    "TooManyRequestsException": 429,
    "InternalFailure": 500,
    "ServiceUnavailable": 503,
}
_TEXTS = {
    "TooManyRequestsException": "Maximum sending rate exceeded.",
    "SendingPausedException": "Sending is paused for this account.",
    "AccountSuspendedException": "The account's ability to send email has been permanently restricted.",
}

_TAG = re.compile(r"[A-Za-z0-9_-]{1,256}")
_ADDRESS = re.compile(r"[^@\s\x00-\x1f<>]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")


#: AWS's error code and its words.
Objection = tuple[str, str]


class Ses:
    """One account in one region, whose domain is verified."""

    name: Provider = "ses"
    protocols: tuple[str, ...] = ("http/1.1",)
    codes = frozenset(STATUS)
    outage = "ServiceUnavailable"

    def __init__(self, folder: Path, journal: Journal) -> None:
        self._gate = Gate(folder, "ses", REGION)
        self.env = self._gate.env
        operation = service_model("sesv2").operation_model("SendEmail")
        self._path = operation.http["requestUri"]
        self._shape = operation.input_shape

    def open_at(self, host: str, port: int, ca_file: str) -> dict[str, Any]:
        return {
            "endpoint_url": f"https://{host}:{port}",
            "region": REGION,
            "from": f"Tocsin <{SENDER}>",
            "configuration_set": CONFIGURATION_SET,
            "ca_file": ca_file,
        }

    def judge(self, request: Request, at: Moment) -> Judged:
        objection = self._objection_to_request(request, at)
        if objection is not None:
            return _refused(Judged(Reply(0)), objection)
        try:
            mail = orjson.loads(request.body)
        except orjson.JSONDecodeError:
            return _refused(Judged(Reply(0)), ("SerializationException", "Unexpected token in the body"))
        judged = _named(mail, at)
        wrong = tuple(complaints(self._shape, mail))
        if wrong:
            text = f"{len(wrong)} validation error{'s'[: len(wrong) > 1]} detected: {'; '.join(wrong)}"
            return _refused(judged, ("BadRequestException", text))
        objection = next(_objections(mail), None)
        return replace(judged, shown=_shown(mail)) if objection is None else _refused(judged, objection)

    def failure(self, code: str, judged: Judged, since_ms: int) -> Reply:
        return error(code, _TEXTS.get(code, code))

    def _objection_to_request(self, request: Request, at: Moment) -> Objection | None:
        if request.path != self._path or request.method != "POST":
            return "UnknownOperationException", f"No operation {request.method} {request.path}"
        if len(request.body) > MAX_BODY:
            return "BadRequestException", "Message length is more than 41943040 bytes long."
        return self._gate.objection(request, datetime.datetime.fromtimestamp(at.ms / 1000, datetime.UTC))


def error(code: str, text: str) -> Reply:
    headers = {"content-type": "application/json", "x-amzn-ErrorType": code, "x-amzn-RequestId": code.lower()}
    return Reply(STATUS[code], orjson.dumps({"message": text}), headers)


def _refused(judged: Judged, objection: Objection) -> Judged:
    return refused(judged, objection[0], error(*objection))


def _named(mail: Any, at: Moment) -> Judged:
    """Whose mail it is, as far as a body that may still be wrong tells."""
    tags = _tags(mail) if isinstance(mail, dict) else {}
    message_id = f"{at.ms:016x}-{at.id}-000000"
    return Judged(
        Reply(200, orjson.dumps({"MessageId": message_id}), {"content-type": "application/json"}),
        address=", ".join(_recipients(mail)) or None if isinstance(mail, dict) else None,
        send_id=tags.get("send_id"),
        notification_id=tags.get("notification_id"),
        attempt=attempt_of(tags.get("attempt")),
        provider_message_id=message_id,
    )


def _tags(mail: dict[str, Any]) -> dict[str, str]:
    tags = mail.get("EmailTags")
    if not isinstance(tags, list):
        return {}
    return {
        str(tag["Name"]): str(tag["Value"]) for tag in tags if isinstance(tag, dict) and {"Name", "Value"} <= tag.keys()
    }


def _recipients(mail: dict[str, Any]) -> list[str]:
    destination = mail.get("Destination")
    if not isinstance(destination, dict):
        return []
    kinds = (destination.get(kind) or [] for kind in ("ToAddresses", "CcAddresses", "BccAddresses"))
    return [parseaddr(str(address))[1] for addresses in kinds if isinstance(addresses, list) for address in addresses]


def _objections(mail: dict[str, Any]) -> Iterator[Objection]:
    """The rules that the model can't state, for a body of the right shape."""
    sender = mail.get("FromEmailAddress")
    if not sender:
        yield "BadRequestException", "FromEmailAddress is required."
    elif parseaddr(sender)[1].rpartition("@")[2].lower() != DOMAIN:
        checked = f"The following identities failed the check in region {REGION.upper()}: {parseaddr(sender)[1]}"
        yield "MessageRejected", f"Email address is not verified. {checked}"
    recipients = _recipients(mail)
    if not 1 <= len(recipients) <= MAX_RECIPIENTS:
        yield "BadRequestException", f"Recipient count must be between 1 and {MAX_RECIPIENTS}."
    if not all(_ADDRESS.fullmatch(recipient) for recipient in recipients):
        yield "BadRequestException", "Missing final '@domain' or illegal character in a recipient."
    if mail.get("ConfigurationSetName") not in (None, CONFIGURATION_SET):
        yield "NotFoundException", f"Configuration set <{mail['ConfigurationSetName']}> does not exist."
    tags = mail.get("EmailTags") or []
    if not all(_TAG.fullmatch(tag[part]) for tag in tags for part in ("Name", "Value")):
        yield "BadRequestException", "Tag names and values may only contain A-Z, a-z, 0-9, _ and -, 1 to 256 of them."
    if len({tag["Name"] for tag in tags}) < len(tags):
        yield "BadRequestException", "Duplicate message tag name."
    yield from _content_objections(mail["Content"])


def _content_objections(content: dict[str, Any]) -> Iterator[Objection]:
    kinds = [kind for kind in ("Simple", "Raw", "Template") if content.get(kind) is not None]
    if len(kinds) != 1:
        yield "BadRequestException", "Exactly one of Simple, Raw and Template must be given."
    elif kinds[0] == "Template":
        name = content["Template"].get("TemplateName", "")
        yield "NotFoundException", f"Template {name} does not exist."
    elif kinds[0] == "Raw":
        try:
            base64.b64decode(content["Raw"]["Data"], validate=True)
        except binascii.Error:
            yield "BadRequestException", "Raw data is not base64."
    elif not any(part in content["Simple"]["Body"] for part in ("Text", "Html")):
        yield "BadRequestException", "Body must have Text or Html."


def _shown(mail: dict[str, Any]) -> Shown:
    content = mail["Content"]
    if content.get("Raw") is not None:
        return _raw_shown(mail, base64.b64decode(content["Raw"]["Data"]))
    message = content["Simple"]
    body = message["Body"]
    return Shown(
        subject=message["Subject"]["Data"],
        body=(body.get("Text") or {}).get("Data"),
        html=(body.get("Html") or {}).get("Data"),
        sender=mail["FromEmailAddress"],
        tags=_tags(mail),
        headers={header["Name"]: header["Value"] for header in message.get("Headers") or []},
    )


def _raw_shown(mail: dict[str, Any], mime: bytes) -> Shown:
    message = email.message_from_bytes(mime, policy=email.policy.default)
    text, html = message.get_body(("plain",)), message.get_body(("html",))
    return Shown(
        subject=message["Subject"],
        body=text.get_content() if text else None,
        html=html.get_content() if html else None,
        sender=mail["FromEmailAddress"],
        tags=_tags(mail),
        headers={name: str(value) for name, value in message.items()},
    )
