"""The policy under which experiments run: its waits are short, so that whatever waits ends while we look."""

from typing import Any

#: Longer than a call takes on a busy machine, short enough to wait for.
TIMEOUT_S = 6
SETTLE_S = 6
#: From the claim of a call to its arrival at the sandbox, and what a timer may be late where two cores do everything.
SLACK_MS = 3_000
#: In the short form, which runs beside other tests.
SLACK_SHORT_MS = 10_000

#: ``orders`` gives up what is in doubt, ``account`` sends it once more with the same name.
EVENT_TYPES = ("order.shipped", "account.changed")

#: Of comments, singly and gathered.
TEMPLATE: dict[str, Any] = {
    "id": "comments",
    "channels": {
        "push": {"en": {"title": "Comments", "body": "{{ count or 1 }}"}},
        "email": {"en": {"subject": "Comments", "text": "{% for i in items or [] %}{{ i.data.number }} {% endfor %}."}},
    },
}

POLICY: dict[str, Any] = {
    "timezone": "UTC",
    "defaults": {"category": "other", "dedup": {"keys": "7d"}, "expires_after": "48h"},
    "categories": {
        "orders": {"channels": ["push", "email", "sms", "in_app"]},
        "account": {"channels": ["push", "email", "sms", "in_app"]},
        "social": {"channels": ["push", "email"]},
        "other": {"channels": ["in_app"]},
    },
    "event_types": {
        "order.shipped": {"category": "orders"},
        "account.changed": {"category": "account", "priority": "high"},
        "comment.created": {
            "category": "social",
            "template": TEMPLATE["id"],
            "digest": {
                "key": "data.thread",
                "window": "3s",
                "max_wait": "10s",
                "max_items": 100,
                "min_items": 2,
                "template": TEMPLATE["id"],
                "channels": ["push", "email"],
            },
        },
    },
    "providers": {
        "push": {"order": ["apns", "fcm"]},
        "email": {"order": ["ses"]},
        "sms": {"order": ["twilio"]},
    },
    "retries": {
        "push": {"attempts": 8, "base": "500ms", "cap": "4s"},
        "email": {"attempts": 8, "base": "500ms", "cap": "4s"},
        "sms": {"attempts": 8, "base": "500ms", "cap": "4s"},
    },
    "in_doubt": {"settle": f"{SETTLE_S}s", "account": "resend", "default": "give_up"},
}
