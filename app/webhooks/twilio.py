"""Twilio's status callbacks and inbound messages: a signature over the URL that Twilio called and the form's fields.

Sources: Twilio, "Webhooks security", "Track the message status of outbound messages", "Messaging request parameters",
"Error and warning dictionary".
"""

from collections.abc import Mapping, Sequence
from urllib.parse import parse_qsl, urlsplit

from multidict import MultiDict
from twilio.request_validator import RequestValidator

from app.webhooks.events import (
    FORM,
    NO_INTEREST,
    UNREADABLE,
    Event,
    InboundText,
    NotGenuine,
    OptOut,
    Posted,
    Report,
    event_id,
    form,
    send_id_in,
)
from app.webhooks.keywords import opt_out_of
from schemas.receipts import ReceiptStatus

SIGNATURE = "X-Twilio-Signature"

#: Final states; accepted, scheduled, queued, sending and sent only lead to them, and ``canceled`` was never sent.
_STATUS: Mapping[str, ReceiptStatus] = {
    "delivered": "delivered",
    "read": "read",
    "undelivered": "failed",
    "failed": "failed",
}
_INBOUND = frozenset(("received", "receiving"))
#: Error codes that say that nothing ever arrives at this number: blocked, unknown, a landline, invalid, no mobile.
_HARD = frozenset(("30004", "30005", "30006", "21211", "21614", "21635"))
_OPTED_OUT = "21610"
_OPT_OUT_TYPES: Mapping[str, OptOut | None] = {"STOP": "stop", "START": "start", "HELP": None}


def verified(posted: Posted, auth_token: str) -> Mapping[str, str]:
    """The form's fields, of a repeated one the first. Raises NotGenuine."""
    signature = posted.headers.get(SIGNATURE, "")
    if posted.content_type not in (FORM, ""):
        raise NotGenuine("Twilio reports by a form")
    try:
        fields = MultiDict(form(posted.body))
        genuine = bool(signature) and RequestValidator(auth_token).validate(posted.url, fields, signature)
    except ValueError as error:
        raise NotGenuine("the request can't be what Twilio signed") from error
    if not genuine:
        raise NotGenuine("the signature is not Twilio's for this URL")
    return fields


def events_of(posted: Posted, fields: Mapping[str, str]) -> Sequence[Event]:
    """One event. ``fields``: as ``verified`` returned them."""
    sid = fields.get("MessageSid") or fields.get("SmsSid")
    status = (fields.get("MessageStatus") or fields.get("SmsStatus") or "").lower()
    if not sid:
        return [UNREADABLE]
    if status in _INBOUND or (not status and "Body" in fields):
        return [_inbound(sid, fields)]
    if not status:
        return [UNREADABLE]
    if status not in _STATUS:
        return [NO_INTEREST]
    code = fields.get("ErrorCode") or ""
    reported, reason = _failed(code) if _STATUS[status] == "failed" else (_STATUS[status], None)
    return [
        Report(
            event_id=event_id(sid, status),
            send_id=send_id_in(dict(parse_qsl(urlsplit(posted.url).query)).get("send_id")),
            status=reported,
            reason=reason,
            provider_message_id=sid,
        )
    ]


def _failed(code: str) -> tuple[ReceiptStatus, str]:
    if code == _OPTED_OUT:
        return "unsubscribed", "stop"
    return ("bounced", "hard") if code in _HARD else ("failed", "soft")


def _inbound(sid: str, fields: Mapping[str, str]) -> InboundText:
    """Advanced Opt-Out tells what it made of the text, in whatever language its keywords are."""
    said = fields.get("OptOutType", "").upper()
    opt_out = _OPT_OUT_TYPES[said] if said in _OPT_OUT_TYPES else opt_out_of(fields.get("Body"))
    return InboundText(event_id(sid, "inbound"), fields.get("From", ""), opt_out)
