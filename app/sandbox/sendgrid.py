"""SendGrid's v3 mail/send.

Sources: Twilio SendGrid's OpenAPI description of mail/send (github.com/twilio/sendgrid-oai) and its "Errors" page.
"""

import hmac
import re
import secrets
from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from app.sandbox.certificates import keep
from app.sandbox.exchange import Judged, Moment, Reply, Request, attempt_of, refused
from app.sandbox.journal import Journal
from app.sandbox.records import Shown
from schemas.words import Provider

DOMAIN = "example.com"
SENDER = f"notifications@{DOMAIN}"
MAX_BODY = 30 << 20
MAX_CUSTOM_ARGS = 10_000

#: Code → SendGrid's message; the code is the HTTP status, as SendGrid has no others.
ERRORS = {
    "400": "Bad Request",
    "401": "The provided authorization grant is invalid, expired, or revoked",
    "403": "The from address does not match a verified Sender Identity.",
    "404": "Not Found",
    "405": "Method Not Allowed",
    "413": "Request Entity Too Large",
    "415": "Content-Type should be application/json.",
    "429": "too many requests",
    "500": "Internal Server Error",
}

#: Members of a request, and of one personalization.
_MEMBERS = frozenset(
    (
        *("personalizations", "from", "reply_to", "reply_to_list", "subject", "content", "attachments", "template_id"),
        *("headers", "categories", "custom_args", "send_at", "batch_id", "asm", "ip_pool_name", "mail_settings"),
        "tracking_settings",
    )
)
_OF_PERSONALIZATION = frozenset(
    (
        *("from", "to", "cc", "bcc", "subject", "headers", "substitutions", "dynamic_template_data", "custom_args"),
        "send_at",
    )
)
_RESERVED = frozenset(
    (
        *("x-sg-id", "x-sg-eid", "received", "dkim-signature", "content-type", "content-transfer-encoding"),
        *("to", "from", "subject", "reply-to", "cc", "bcc"),
    )
)
_ADDRESS = re.compile(r"[^@\s\x00-\x1f<>,;]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")

#: The field at fault and what is said of it.
Objection = tuple[str | None, str]


class SendGrid:
    """One account whose domain is authenticated."""

    name: Provider = "sendgrid"
    protocols: tuple[str, ...] = ("http/1.1",)
    codes = frozenset(ERRORS)
    outage = "500"

    def __init__(self, folder: Path, journal: Journal) -> None:
        self.env: Mapping[str, str] = {}
        self._api_key = keep(folder / "sendgrid.key", _new_api_key).decode()

    def open_at(self, host: str, port: int, ca_file: str) -> dict[str, Any]:
        return {
            "base_url": f"https://{host}:{port}",
            "api_key": self._api_key,
            "from": f"Tocsin <{SENDER}>",
            "ca_file": ca_file,
        }

    def judge(self, request: Request, at: Moment) -> Judged:
        code = self._objection_to_request(request)
        if code is not None:
            return Judged(error(code), operation="unknown" if code in ("404", "405") else "send", code=code)
        try:
            mail = orjson.loads(request.body)
        except orjson.JSONDecodeError:
            mail = None
        if not isinstance(mail, dict):
            return Judged(error("400", [(None, "Bad Request")]), code="400")
        judged = _named(mail, at)
        objections = list(_objections(mail))
        if objections:
            return refused(judged, "400", error("400", objections))
        if mail["from"]["email"].rpartition("@")[2].lower() != DOMAIN:
            return refused(judged, "403", error("403", [("from", ERRORS["403"])]))
        return replace(judged, shown=_shown(mail))

    def failure(self, code: str, judged: Judged, since_ms: int) -> Reply:
        return error(code)

    def _objection_to_request(self, request: Request) -> str | None:
        if request.path != "/v3/mail/send":
            return "404"
        if request.method != "POST":
            return "405"
        if not hmac.compare_digest(
            (request.header("authorization") or "").encode(), f"Bearer {self._api_key}".encode()
        ):
            return "401"
        if (request.header("content-type") or "").partition(";")[0].strip().lower() != "application/json":
            return "415"
        return "413" if len(request.body) > MAX_BODY else None


def error(code: str, objections: list[Objection] | None = None) -> Reply:
    """SendGrid's error JSON."""
    told = objections or [(None, ERRORS[code])]
    body = {"errors": [{"message": text, "field": field, "help": None} for field, text in told]}
    return Reply(int(code), orjson.dumps(body), {"content-type": "application/json"})


def _named(mail: dict[str, Any], at: Moment) -> Judged:
    """Whose mail it is, as far as a body that may still be wrong tells."""
    arguments = mail.get("custom_args")
    arguments = arguments if isinstance(arguments, dict) else {}
    message_id = b64encode(at.id.bytes, b"-_").rstrip(b"=").decode()
    return Judged(
        Reply(202, headers={"x-message-id": message_id}),
        address=", ".join(_recipients(mail)) or None,
        send_id=_text(arguments.get("send_id")),
        notification_id=_text(arguments.get("notification_id")),
        attempt=attempt_of(arguments.get("attempt")),
        provider_message_id=message_id,
    )


def _recipients(mail: dict[str, Any]) -> list[str]:
    return [
        str(box["email"])
        for part in _objects(mail.get("personalizations"))
        for kind in ("to", "cc", "bcc")
        for box in _objects(part.get(kind))
        if "email" in box
    ]


def _objections(mail: dict[str, Any]) -> Iterator[Objection]:
    for member in mail.keys() - _MEMBERS:
        yield member, f"Invalid property: {member}"
    yield from _objections_to_personalizations(mail.get("personalizations"))
    yield from _objections_to_box(mail.get("from"), "from")
    if mail.get("reply_to") is not None:
        yield from _objections_to_box(mail["reply_to"], "reply_to")
    if not isinstance(mail.get("subject"), str) or not mail["subject"]:
        yield "subject", "The subject is required. You can get around this requirement if you use a template."
    yield from _objections_to_content(mail.get("content"))
    yield from _objections_to_headers(mail.get("headers"))
    arguments = mail.get("custom_args")
    if arguments is not None and not _is_texts(arguments):
        yield "custom_args", "The custom_args must be an object of strings."
    elif arguments is not None and len(orjson.dumps(arguments)) > MAX_CUSTOM_ARGS:
        yield "custom_args", "The custom_args may not exceed 10,000 bytes."


def _objections_to_personalizations(parts: Any) -> Iterator[Objection]:
    if not isinstance(parts, list) or not 1 <= len(parts) <= 1000:
        yield "personalizations", "The personalizations field is required and must have at least one personalization."
        return
    for number, part in enumerate(parts):
        field = f"personalizations.{number}"
        if not isinstance(part, dict) or part.keys() - _OF_PERSONALIZATION:
            yield field, "Invalid personalization."
            continue
        boxes = part.get("to")
        if not isinstance(boxes, list) or not boxes:
            yield f"{field}.to", "The to array is required for all personalization objects, and must have an email."
            continue
        for place, box in enumerate(boxes):
            yield from _objections_to_box(box, f"{field}.to.{place}")
    addresses = [address.lower() for address in _recipients({"personalizations": parts})]
    if len(set(addresses)) < len(addresses):
        yield "personalizations", "Each email address in the personalization block should be unique."
    if len(addresses) > 1000:
        yield "personalizations", "There is a limit of 1000 total recipients."


def _objections_to_box(box: Any, field: str) -> Iterator[Objection]:
    if not isinstance(box, dict) or box.keys() - {"email", "name"} or not isinstance(box.get("email"), str):
        yield f"{field}.email", "The email parameter is required."
    elif not _ADDRESS.fullmatch(box["email"]):
        yield f"{field}.email", "Does not contain a valid address."
    elif "name" in box and not isinstance(box["name"], str):
        yield f"{field}.name", "The name must be a string."


def _objections_to_content(content: Any) -> Iterator[Objection]:
    if not isinstance(content, list) or not content:
        yield "content", "Unless a valid template_id is provided, the content parameter is required."
        return
    kinds = []
    for number, part in enumerate(content):
        if not isinstance(part, dict) or not isinstance(part.get("type"), str) or not part.get("value"):
            yield f"content.{number}", "The content value must be a string at least one character in length."
        else:
            kinds.append(part["type"])
    if "text/plain" in kinds[1:] or ("text/html" in kinds and "text/html" not in kinds[:2]):
        yield "content", "If present, text/plain must be first, followed by text/html, followed by any other content."


def _objections_to_headers(headers: Any) -> Iterator[Objection]:
    if headers is None:
        return
    if not _is_texts(headers):
        yield "headers", "The headers must be an object of strings."
        return
    for name, value in headers.items():
        if name.lower() in _RESERVED:
            yield "headers", f"The header {name} is reserved."
        if not name.isascii() or any(ord(character) < 32 for character in name + value):
            yield "headers", "The headers hold control characters."


def _is_texts(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(text, str) for text in value.values())


def _objects(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _shown(mail: dict[str, Any]) -> Shown:
    parts = {part["type"]: part["value"] for part in mail["content"]}
    sender = mail["from"]
    return Shown(
        subject=mail["subject"],
        body=parts.get("text/plain"),
        html=parts.get("text/html"),
        sender=f"{sender['name']} <{sender['email']}>" if sender.get("name") else sender["email"],
        tags=mail.get("custom_args") or {},
        headers=mail.get("headers") or {},
    )


def _new_api_key() -> bytes:
    return f"SG.{secrets.token_urlsafe(16)}.{secrets.token_urlsafe(32)}".encode()
