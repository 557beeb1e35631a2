"""The policy under which experiments run: its waits are short, so that whatever waits ends while we look."""

from typing import Any

#: Longer than a call takes on a busy machine, short enough to wait for.
TIMEOUT_S = 6
SETTLE_S = 6
#: From the claim of a call to its arrival at the sandbox, and what a timer may be late where two cores do everything.
SLACK_MS = 3_000

#: ``orders`` gives up what is in doubt, ``account`` sends it once more with the same name.
EVENT_TYPES = ("order.shipped", "account.changed")

POLICY: dict[str, Any] = {
    "timezone": "UTC",
    "defaults": {"category": "other", "dedup": {"keys": "7d"}, "expires_after": "48h"},
    "categories": {
        "orders": {"channels": ["push", "email", "sms", "in_app"]},
        "account": {"channels": ["push", "email", "sms", "in_app"]},
        "other": {"channels": ["in_app"]},
    },
    "event_types": {
        "order.shipped": {"category": "orders"},
        "account.changed": {"category": "account", "priority": "high"},
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
