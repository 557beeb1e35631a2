"""Vonage's SMS API, and of its Reports API the question which messages went to a number.

Sources: Vonage's OpenAPI descriptions of the SMS API and the Reports API, and "Troubleshooting outbound SMS".
"""

import base64
import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import orjson

from app.domain.sms import is_gsm, segments
from app.sandbox.certificates import keep
from app.sandbox.exchange import Judged, Moment, Reply, Request, refused
from app.sandbox.journal import Journal
from app.sandbox.records import Accepted, Shown
from schemas.words import Provider

FROM = "Tocsin"
MAX_TEXT = 1600
MAX_REF = MAX_CALLBACK = 100
TTL_MS = (20_000, 604_800_000)

#: Status → Vonage's error text.
ERRORS = {
    "1": "Throughput Rate Exceeded",
    "2": "Missing params",
    "3": "Invalid params",
    "4": "Invalid credentials",
    "5": "Internal error",
    "6": "Invalid message",
    "7": "Number barred",
    "8": "Partner account barred",
    "9": "Partner quota violation",
    "10": "Too many existing binds",
    "11": "Account not enabled for HTTP",
    "12": "Message too long",
    "14": "Invalid signature",
    "15": "Invalid sender address",
    "22": "Invalid network code",
    "23": "Invalid callback URL",
    "29": "Non-Whitelisted Destination",
    "32": "Signature and API secret disallowed",
    "33": "Number de-activated",
}

PARAMETERS = frozenset(
    (
        *("api_key", "api_secret", "from", "to", "text", "type", "ttl", "status-report-req", "callback"),
        *("message-class", "body", "udh", "protocol-id", "client-ref", "account-ref", "entity-id", "content-id"),
        "trusted-recipient",
    )
)
#: Of a question to the Reports API by date.
_QUESTION = frozenset(
    (
        *("account_id", "product", "direction", "date_start", "date_end", "to", "from", "status", "country"),
        *("network", "client_ref", "account_ref", "include_message", "show_concatenated", "cursor", "iv"),
    )
)
_NUMBER = re.compile(r"[1-9]\d{6,14}")
_JSON = {"content-type": "application/json"}
_DAY_MS = 86_400_000


class Vonage:
    """One account with one sender's name."""

    name: Provider = "vonage"
    protocols: tuple[str, ...] = ("http/1.1",)
    codes = frozenset(ERRORS)
    outage = "5"

    def __init__(self, folder: Path, journal: Journal) -> None:
        self.env: Mapping[str, str] = {}
        account = orjson.loads(keep(folder / "vonage-account.json", _new_account))
        self._key: str = account["api_key"]
        self._secret: str = account["api_secret"]
        self._journal = journal

    def open_at(self, host: str, port: int, ca_file: str) -> dict[str, Any]:
        return {
            "base_url": f"https://{host}:{port}",
            "api_key": self._key,
            "api_secret": self._secret,
            "from": FROM,
            "ca_file": ca_file,
        }

    def judge(self, request: Request, at: Moment) -> Judged:
        if request.path == "/sms/json" and request.method == "POST":
            return self._judge_send(request, at)
        if request.path == "/v2/reports/records" and request.method == "GET":
            return self._judge_question(request)
        return Judged(Reply(404, b"{}", _JSON), operation="unknown", code="404")

    def failure(self, code: str, judged: Judged, since_ms: int) -> Reply:
        if judged.operation == "list":
            return _problem(429 if code == "1" else 500, ERRORS[code])
        return error(code)

    def _judge_send(self, request: Request, at: Moment) -> Judged:
        form = dict(parse_qsl(request.body.decode("utf-8", "replace"), keep_blank_values=True))
        ref = form.get("client-ref")
        message_id = at.id.hex[:16].upper()
        parts = [
            {
                "to": form.get("to"),
                "message-id": message_id if part == 0 else f"{message_id[:-2]}{part:02d}",
                "status": "0",
                "remaining-balance": "100.00",
                "message-price": "0.0333",
                "network": "12345",
                **({} if ref is None else {"client-ref": ref}),
            }
            for part in range(segments(form.get("text", "")))
        ]
        judged = Judged(
            Reply(200, orjson.dumps({"message-count": str(len(parts)), "messages": parts}), _JSON),
            address=f"+{form['to']}" if form.get("to") else None,
            send_id=ref,
            provider_message_id=message_id,
        )
        code = self._objection(form, request)
        if code is not None:
            return refused(judged, code, error(code))
        told = ("type", "ttl", "client-ref", "callback")
        tags = {name: form[name] for name in told if name in form}
        return replace(judged, shown=Shown(body=form["text"], sender=form["from"], tags=tags))

    def _objection(self, form: dict[str, str], request: Request) -> str | None:
        if (request.header("content-type") or "").partition(";")[0] != "application/x-www-form-urlencoded":
            return "2"
        key, secret = form.get("api_key", ""), form.get("api_secret", "")
        genuine = hmac.compare_digest(key.encode(), self._key.encode())
        if not (hmac.compare_digest(secret.encode(), self._secret.encode()) and genuine):
            return "4"
        return objection(form)

    def _judge_question(self, request: Request) -> Judged:
        expected = base64.b64encode(f"{self._key}:{self._secret}".encode())
        scheme, _, given = (request.header("authorization") or "").partition(" ")
        if scheme.lower() != "basic" or not hmac.compare_digest(given.encode(), expected):
            return Judged(_problem(401, "You did not provide correct credentials."), operation="list", code="401")
        asked = request.params()
        try:
            start, end = (_ms(asked[name]) for name in ("date_start", "date_end"))
        except (KeyError, ValueError):
            return Judged(_problem(422, "date_start and date_end are required dates."), operation="list", code="422")
        right = asked.get("product") == "SMS" and asked.get("direction") == "outbound" and _QUESTION.issuperset(asked)
        if not right or not 0 <= end - start <= _DAY_MS:
            return Judged(_problem(422, "Your request parameters didn't validate."), operation="list", code="422")
        wanted = {"provider": self.name} | ({"address": f"+{asked['to']}"} if "to" in asked else {})
        found = self._journal.accepted.find(wanted, newest_first=True)
        records = [self._record(one) for one in found if start <= one.at_ms <= end]
        answer = {
            "request_status": "SUCCESS",
            "product": "SMS",
            "account_id": self._key,
            "direction": "outbound",
            "items_count": len(records),
            "records": records,
        }
        return Judged(Reply(200, orjson.dumps(answer), _JSON), operation="list", address=wanted.get("address"))

    def _record(self, message: Accepted) -> dict[str, Any]:
        received = datetime.fromtimestamp(message.at_ms / 1000, UTC).isoformat()
        return {
            "account_id": self._key,
            "message_id": message.provider_message_id,
            "client_ref": message.send_id,
            "direction": "outbound",
            "from": message.sender,
            "to": message.address.removeprefix("+"),
            "date_received": received,
            "status": "delivered",
            "error_code": "0",
        }


def error(status: str) -> Reply:
    """A refusal: HTTP 200, and the status in the message."""
    told = {"status": status, "error-text": ERRORS[status]}
    return Reply(200, orjson.dumps({"message-count": "1", "messages": [told]}), _JSON)


def _problem(status: int, detail: str) -> Reply:
    body = orjson.dumps({"title": detail, "type": "https://developer.vonage.com/api-errors", "detail": detail})
    return Reply(status, body, {"content-type": "application/problem+json"})


def objection(form: dict[str, str]) -> str | None:
    """The status of the first thing that is wrong with a message, None if Vonage takes it."""
    if not PARAMETERS.issuperset(form):
        return "3"
    if not all(form.get(name) for name in ("from", "to", "text")):
        return "2"
    kind, text, ttl = form.get("type", "text"), form["text"], form.get("ttl", "259200000")
    if not _NUMBER.fullmatch(form["to"]) or len(form.get("client-ref", "")) > MAX_REF:
        return "3"
    if kind not in ("text", "unicode") or (kind == "text" and not is_gsm(text)):  # else question marks arrive
        return "3"
    if not (ttl.isascii() and ttl.isdigit() and TTL_MS[0] <= int(ttl) <= TTL_MS[1]):
        return "3"
    if form["from"] != FROM:
        return "15"
    callback = form.get("callback")
    if callback is not None and not (
        len(callback) <= MAX_CALLBACK and urlsplit(callback).scheme in ("http", "https") and urlsplit(callback).hostname
    ):
        return "23"
    return "12" if len(text) > MAX_TEXT else None


def _ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def _new_account() -> bytes:
    return orjson.dumps({"api_key": secrets.token_hex(4), "api_secret": secrets.token_urlsafe(12)})
