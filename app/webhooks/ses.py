"""SES's events, as a configuration set publishes them to a topic of SNS; the send is named by the mail's tags.

Sources: AWS, "Contents of event data that Amazon SES publishes to Amazon SNS", and "Amazon SNS notification contents".
"""

from collections.abc import Sequence
from typing import Any

from app.domain.machines import is_machine_agent
from app.webhooks.events import (
    NO_INTEREST,
    UNREADABLE,
    Event,
    Report,
    event_id,
    member,
    ms_of_instant,
    read_object,
    send_id_in,
    text,
)
from schemas.decode import Invalid
from schemas.receipts import ReceiptStatus

#: Where each event's own part stands; others are of no interest, as Send and DeliveryDelay, which only lead to these.
_PARTS = {
    "Bounce": "bounce",
    "Complaint": "complaint",
    "Delivery": "delivery",
    "Reject": "reject",
    "Open": "open",
    "Click": "click",
    "Rendering Failure": "failure",
    "Subscription": "subscription",
}
#: A complaint that takes an earlier one back.
_NOT_SPAM = "not-spam"


def events_of(message: str) -> Sequence[Event]:
    """One event. ``message``: the envelope's."""
    try:
        said = read_object(message)
    except Invalid:
        return [UNREADABLE]  # what SES says of the topic itself, once, is plain text
    kind = text(said, "eventType") or text(said, "notificationType")
    mail = member(said, "mail")
    message_id = text(mail, "messageId")
    if kind is None or message_id is None:
        return [UNREADABLE]
    if kind not in _PARTS:
        return [NO_INTEREST]
    part = member(said, _PARTS[kind])
    named = _named(kind, part)
    if named is None:
        return [NO_INTEREST]
    status, reason = named
    at = text(part, "timestamp")
    return [
        Report(
            # A mail may be opened often, and each of its links clicked: those are told apart by time and link.
            event_id=event_id(message_id, kind, text(part, "feedbackId") or at, text(part, "link")),
            send_id=send_id_in(_tag(mail, "send_id")),
            status=status,
            reason=reason,
            at_ms=ms_of_instant(at),
            provider_message_id=message_id,
            is_machine=kind in ("Open", "Click") and is_machine_agent(text(part, "userAgent")),
        )
    ]


def _named(kind: str, part: dict[str, Any]) -> tuple[ReceiptStatus, str | None] | None:
    """None: of no interest."""
    match kind:
        case "Bounce":
            # "Transient" may be a full mailbox or a machine's reply, "Undetermined" anything.
            return "bounced", "hard" if text(part, "bounceType") == "Permanent" else "soft"
        case "Complaint":
            return None if text(part, "complaintFeedbackType") == _NOT_SPAM else ("complained", None)
        case "Delivery":
            return "delivered", None
        case "Open":
            return "opened", None
        case "Click":
            return "clicked", None
        case "Subscription":
            return ("unsubscribed", None) if _opts_out(member(part, "newTopicPreferences")) else None
        case _:  # Reject (a virus), Rendering Failure: it never left, and the address isn't to blame
            return "failed", "soft"


def _opts_out(preferences: dict[str, Any]) -> bool:
    if preferences.get("unsubscribeAll") is True:
        return True
    topics = preferences.get("topicSubscriptionStatus")
    return isinstance(topics, list) and any(text(topic, "subscriptionStatus") == "OptOut" for topic in topics)


def _tag(mail: dict[str, Any], name: str) -> str | None:
    values = member(mail, "tags").get(name)
    return values[0] if isinstance(values, list) and values and isinstance(values[0], str) else None
