"""Twilio Messages: create, fetch and list.

Sources: the official client's parameters; Twilio, "Messages resource", "Error and warning dictionary" and "Test
credentials" (the magic numbers).
"""

import base64
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import orjson

from app.domain.sms import E164, segments
from app.sandbox.certificates import keep
from app.sandbox.exchange import Judged, Moment, Reply, Request, attempt_of, refused
from app.sandbox.journal import Journal
from app.sandbox.records import Accepted, Shown
from schemas.words import Provider

FROM = "+15005550006"
MAX_BODY = 1600
MAX_PAGE = 1000

#: Twilio's error code → (HTTP status, message).
ERRORS = {
    "20001": (400, "Unknown parameters"),
    "20003": (401, "Authenticate"),
    "20404": (404, "The requested resource was not found"),
    "20429": (429, "Too Many Requests"),
    "20500": (500, "Internal Server Error"),
    "20503": (503, "Service Unavailable"),
    "21211": (400, "Invalid 'To' Phone Number"),
    "21212": (400, "Invalid 'From' Phone Number"),
    "21408": (400, "Permission to send an SMS has not been enabled for the region indicated by the 'To' number"),
    "21602": (400, "Message body is required."),
    "21603": (400, "A 'From' phone number is required."),
    "21604": (400, "A 'To' phone number is required."),
    "21606": (400, "The 'From' phone number provided is not a valid, SMS-capable Twilio phone number."),
    "21609": (400, "The 'StatusCallback' URL is not a valid URL."),
    "21610": (400, "Attempt to send to unsubscribed recipient"),
    "21611": (429, "This 'From' number has exceeded the maximum number of queued messages"),
    "21612": (400, "Message cannot be sent with the current combination of 'To' and/or 'From' parameters"),
    "21614": (400, "'To' number is not a valid mobile number"),
    "21617": (400, "The concatenated message body exceeds the 1600 character limit"),
    "21635": (400, "'To' number cannot be a landline"),
    "21701": (400, "The Messaging Service does not exist"),
    "30002": (403, "Account suspended"),
}

_MAGIC_TO = {
    "+15005550001": "21211",
    "+15005550002": "21612",
    "+15005550003": "21408",
    "+15005550004": "21610",
    "+15005550009": "21614",
}
_MAGIC_FROM = {"+15005550001": "21212", "+15005550007": "21606", "+15005550008": "21611"}

#: Parameters of a create call, as the official client knows them.
PARAMETERS = frozenset(
    (
        *("To", "From", "FallbackFrom", "MessagingServiceSid", "Body", "MediaUrl", "ContentSid", "ContentVariables"),
        *("StatusCallback", "ApplicationSid", "MaxPrice", "ProvideFeedback", "Attempt", "ValidityPeriod"),
        *("ForceDelivery", "ContentRetention", "AddressRetention", "SmartEncoded", "PersistentAction", "TrafficType"),
        *("ShortenUrls", "ScheduleType", "SendAt", "SendAsMms", "MessageIntent", "RiskCheck"),
    )
)

_JSON = {"content-type": "application/json"}


class Twilio:
    """One account with one number. Its list and fetch know the messages that the journal keeps in memory."""

    name: Provider = "twilio"
    protocols: tuple[str, ...] = ("http/1.1",)
    codes = frozenset(ERRORS)
    outage = "20503"

    def __init__(self, folder: Path, journal: Journal) -> None:
        self.env: Mapping[str, str] = {}
        account = orjson.loads(keep(folder / "twilio-account.json", _new_account))
        self._sid: str = account["account_sid"]
        self._token: str = account["auth_token"]
        self._journal = journal
        self._messages = f"/2010-04-01/Accounts/{self._sid}/Messages"

    def open_at(self, host: str, port: int, ca_file: str) -> dict[str, Any]:
        return {
            "base_url": f"https://{host}:{port}",
            "account_sid": self._sid,
            "auth_token": self._token,
            "from": FROM,
            "ca_file": ca_file,
        }

    def judge(self, request: Request, at: Moment) -> Judged:
        if not self._is_genuine(request.header("authorization")):
            return Judged(error("20003"), operation="unknown", code="20003")
        if request.path == f"{self._messages}.json":
            if request.method == "POST":
                return self._judge_create(request, at)
            if request.method == "GET":
                return self._list(request.params())
        if request.method == "GET" and request.path.startswith(f"{self._messages}/"):
            return self._fetch(request.path.removeprefix(f"{self._messages}/").removesuffix(".json"))
        return Judged(error("20404"), operation="unknown", code="20404")

    def failure(self, code: str, judged: Judged, since_ms: int) -> Reply:
        return error(code)

    def _is_genuine(self, authorization: str | None) -> bool:
        expected = base64.b64encode(f"{self._sid}:{self._token}".encode())
        scheme, _, given = (authorization or "").partition(" ")
        return scheme.lower() == "basic" and hmac.compare_digest(given.encode(), expected)

    def _judge_create(self, request: Request, at: Moment) -> Judged:
        pairs = parse_qsl(request.body.decode("utf-8", "replace"), keep_blank_values=True)
        form = dict(pairs)
        named = dict(parse_qsl(urlsplit(form.get("StatusCallback", "")).query))
        sid = f"SM{at.id.hex}"
        message = Accepted(
            seq=0,
            at_ms=at.ms,
            provider=self.name,
            provider_message_id=sid,
            send_id=named.get("send_id"),
            notification_id=named.get("notification_id"),
            address=form.get("To", ""),
            body=form.get("Body"),
            sender=form.get("From", FROM),
        )
        judged = Judged(
            Reply(201, orjson.dumps(self._resource(message, "queued")), _JSON),
            address=message.address or None,
            send_id=message.send_id,
            notification_id=message.notification_id,
            attempt=attempt_of(named.get("attempt")),
            provider_message_id=sid,
        )
        code = objection(form)
        if code is not None:
            return refused(judged, code, error(code))
        tags = {name: value for name, value in form.items() if name not in ("To", "From", "Body")}
        return replace(judged, shown=Shown(body=form["Body"], sender=message.sender, tags=tags))

    def _list(self, params: dict[str, str]) -> Judged:
        wanted: dict[str, str] = {"provider": self.name}
        wanted |= {field: params[name] for name, field in (("To", "address"), ("From", "sender")) if name in params}
        numbers = (params.get("PageSize", "50"), params.get("Page", "0"))
        if not all(number.isascii() and number.isdecimal() for number in numbers):
            return Judged(error("20001"), operation="list", code="20001")
        size, page = min(MAX_PAGE, max(1, int(numbers[0]))), int(numbers[1])
        found = list(self._journal.accepted.find(wanted, newest_first=True))
        shown = found[page * size : (page + 1) * size]
        more = len(found) > (page + 1) * size
        answer = {
            "messages": [self._resource(message, "delivered") for message in shown],
            "page": page,
            "page_size": size,
            "start": page * size,
            "end": page * size + max(0, len(shown) - 1),
            "uri": self._page_uri(params, page),
            "first_page_uri": self._page_uri(params, 0),
            "next_page_uri": self._page_uri(params, page + 1) if more else None,
            "previous_page_uri": self._page_uri(params, page - 1) if page else None,
        }
        return Judged(Reply(200, orjson.dumps(answer), _JSON), operation="list", address=params.get("To"))

    def _page_uri(self, params: dict[str, str], page: int) -> str:
        return f"{self._messages}.json?{urlencode({**params, 'Page': str(page)})}"

    def _fetch(self, sid: str) -> Judged:
        wanted = {"provider": self.name, "provider_message_id": sid}
        message = next(self._journal.accepted.find(wanted, newest_first=True), None)
        if message is None:
            return Judged(error("20404"), operation="fetch", code="20404")
        answer = orjson.dumps(self._resource(message, "delivered"))
        return Judged(Reply(200, answer, _JSON), operation="fetch", address=message.address)

    def _resource(self, message: Accepted, status: str) -> dict[str, Any]:
        created = format_datetime(datetime.fromtimestamp(message.at_ms // 1000, UTC))
        uri = f"{self._messages}/{message.provider_message_id}"
        return {
            "sid": message.provider_message_id,
            "account_sid": self._sid,
            "api_version": "2010-04-01",
            "to": message.address,
            "from": message.sender,
            "body": message.body,
            "status": status,
            "direction": "outbound-api",
            "num_segments": str(segments(message.body or "")),
            "num_media": "0",
            "messaging_service_sid": None,
            "date_created": created,
            "date_updated": created,
            "date_sent": None if status == "queued" else created,
            "error_code": None,
            "error_message": None,
            "price": None,
            "price_unit": "USD",
            "uri": f"{uri}.json",
            "subresource_uris": {"media": f"{uri}/Media.json"},
        }


def error(code: str) -> Reply:
    """Twilio's error JSON."""
    status, message = ERRORS[code]
    more = f"https://www.twilio.com/docs/errors/{code}"
    body = {"code": int(code), "message": message, "more_info": more, "status": status}
    return Reply(status, orjson.dumps(body), _JSON)


def objection(form: dict[str, str]) -> str | None:
    """The code of the first thing that is wrong with a message, None if Twilio takes it."""
    if not PARAMETERS.issuperset(form):
        return "20001"
    to, sender, body = form.get("To"), form.get("From"), form.get("Body")
    if not to:
        return "21604"
    if not sender:
        return "21701" if "MessagingServiceSid" in form else "21603"
    if not body:
        return "21602"
    if not E164.fullmatch(to):
        return "21211"
    if not E164.fullmatch(sender):
        return "21212"
    if to in _MAGIC_TO:
        return _MAGIC_TO[to]
    if sender != FROM:
        return _MAGIC_FROM.get(sender, "21606")
    if len(body) > MAX_BODY:
        return "21617"
    callback = form.get("StatusCallback")
    if callback is not None and not (urlsplit(callback).scheme in ("http", "https") and urlsplit(callback).hostname):
        return "21609"
    return None


def _new_account() -> bytes:
    return orjson.dumps({"account_sid": f"AC{secrets.token_hex(16)}", "auth_token": secrets.token_hex(16)})
