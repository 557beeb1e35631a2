"""The closed sets of names that records, tables and decisions share."""

from typing import Literal, get_args

Channel = Literal["push", "email", "sms", "in_app"]
CHANNELS: tuple[Channel, ...] = get_args(Channel)

Priority = Literal["critical", "high", "normal", "low"]
PRIORITIES: tuple[Priority, ...] = get_args(Priority)

Platform = Literal["ios", "android", "web"]

Provider = Literal["apns", "fcm", "webpush", "ses", "sendgrid", "twilio", "vonage", "sns", "inbox"]
PROVIDERS: tuple[Provider, ...] = get_args(Provider)

Lane = Literal["critical", "normal", "bulk"]

Status = Literal[
    "accepted",
    "repeated",
    "scheduled",
    "held",
    "queued",
    "sending",
    "in_doubt",
    "retrying",
    "sent",
    "suppressed",
    "failed",
    "expired",
    "cancelled",
    "aggregated",
    "unknown",
    "delivered",
    "opened",
    "clicked",
    "seen",
    "read",
    "bounced",
    "complained",
    "unsubscribed",
    "device_retired",
]
WAITS: frozenset[Status] = frozenset(("scheduled", "held"))
ENDS: frozenset[Status] = frozenset(("sent", "suppressed", "failed", "expired", "cancelled", "aggregated", "unknown"))
CAME_BACK: frozenset[Status] = frozenset(
    ("delivered", "opened", "clicked", "seen", "read", "bounced", "complained", "unsubscribed")
)

#: Rank of a shown status: it never moves back, except into or out of a hold (docs/records.md#lifecycle-events).
RANK: dict[Status, int] = {
    "accepted": 0,
    "repeated": 0,
    "scheduled": 1,
    "held": 1,
    "queued": 2,
    "sending": 3,
    "in_doubt": 3,
    "retrying": 3,
    **dict.fromkeys(ENDS, 4),
    **dict.fromkeys(CAME_BACK, 5),
    "device_retired": 5,  # (of no send: it has no place among these)
}
