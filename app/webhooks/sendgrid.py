"""SendGrid's event webhook: an ECDSA signature over time and body, then a list of events.

Sources: Twilio, "Event Webhook reference" and "Getting started with the Event Webhook security features".
"""

import base64
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from app.domain.machines import is_machine_agent
from app.webhooks.events import (
    FRESH_MS,
    NO_INTEREST,
    UNREADABLE,
    Event,
    NotGenuine,
    Posted,
    Report,
    event_id,
    ms_of_seconds,
    read_list,
    read_object,
    send_id_in,
    text,
)
from schemas.decode import Invalid
from schemas.receipts import ReceiptStatus

SIGNATURE = "X-Twilio-Email-Event-Webhook-Signature"
TIMESTAMP = "X-Twilio-Email-Event-Webhook-Timestamp"

#: What an event comes to; one that isn't here or below is of no interest: processed, deferred, group_resubscribe,
#: account_status_change, and what SendGrid may add.
_STATUS: Mapping[str, ReceiptStatus] = {
    "delivered": "delivered",
    "open": "opened",
    "click": "clicked",
    "spamreport": "complained",
    "unsubscribe": "unsubscribed",
    "group_unsubscribe": "unsubscribed",
}
#: How the reason of ``dropped`` begins: the mail was never sent, as SendGrid's own lists name the address.
_DROPPED: Mapping[str, tuple[ReceiptStatus, str | None]] = {
    "bounced": ("bounced", "hard"),
    "invalid": ("bounced", "hard"),
    "unsubscribed": ("unsubscribed", None),
    "spam reporting": ("complained", None),
}
#: Begins like the address's fault, and is ours.
_OURS = "invalid smtpapi"


def verify(posted: Posted, key: ec.EllipticCurvePublicKey, now_ms: int) -> None:
    """Raises NotGenuine."""
    at = posted.headers.get(TIMESTAMP, "")
    at_ms = ms_of_seconds(at)
    if at_ms is None:
        raise NotGenuine("the signature's time is missing")
    if abs(at_ms - now_ms) > FRESH_MS:
        raise NotGenuine("the signature's time is too far from ours")
    try:
        signature = base64.b64decode(posted.headers.get(SIGNATURE, "").encode(), validate=True)
        key.verify(signature, at.encode() + posted.body, ec.ECDSA(hashes.SHA256()))
    except (ValueError, InvalidSignature) as error:
        raise NotGenuine("the signature is not SendGrid's") from error


def events_of(body: bytes) -> Sequence[Event]:
    """Raises Invalid where the body is no list."""
    return [_event(raw) for raw in read_list(body)]


def _event(raw: msgspec.Raw) -> Event:
    try:
        said = read_object(raw)
    except Invalid:
        return UNREADABLE
    kind = text(said, "event")
    if kind is None:
        return UNREADABLE
    named = _named(said, kind)
    if named is None:
        return NO_INTEREST
    status, reason = named
    message_id = text(said, "sg_message_id")
    own = text(said, "sg_event_id")
    return Report(
        event_id=event_id(own) if own else event_id(message_id, kind, text(said, "timestamp"), text(said, "url")),
        send_id=send_id_in(text(said, "send_id")),
        status=status,
        reason=reason,
        at_ms=ms_of_seconds(text(said, "timestamp")),
        # As it was answered when the mail was taken: what follows names SendGrid's own machines.
        provider_message_id=re.split(r"\.(?:filter|recvd)", message_id or "", maxsplit=1)[0] or None,
        is_machine=said.get("sg_machine_open") is True
        or (kind in ("open", "click") and is_machine_agent(text(said, "useragent"))),
    )


def _named(said: Any, kind: str) -> tuple[ReceiptStatus, str | None] | None:
    match kind:
        case "bounce":
            # "blocked": refused this time (a policy, a reputation), and SendGrid goes on sending to the address.
            return "bounced", "soft" if text(said, "type") == "blocked" else "hard"
        case "dropped":
            why = (text(said, "reason") or "").lower()
            if why.startswith(_OURS):
                return "failed", "soft"
            return next((means for begins, means in _DROPPED.items() if why.startswith(begins)), ("failed", "soft"))
        case _:
            return (_STATUS[kind], None) if kind in _STATUS else None
