"""Lifecycle events: everything that happens to a notification, for analysts and for `why`.

See docs/records.md#lifecycle-events.
"""

from typing import Any

import msgspec
from msgspec import Struct

from schemas.decode import Reader
from schemas.words import Channel, Priority, Provider, Status


class LifecycleEvent(Struct, frozen=True, kw_only=True, gc=False):
    """What doesn't apply is null. ``detail`` never holds addresses, names, content or data. ``notification_id`` is null
    in ``device_retired`` only, which is of a device, not of a send."""

    event_id: str
    notification_id: str | None
    user_id: str
    send_id: str | None = None
    status: Status
    reason: str | None = None
    channel: Channel | None = None
    provider: Provider | None = None
    attempt: int | None = None
    event_type: str | None = None
    category: str | None = None
    priority: Priority | None = None
    source: str | None = None
    campaign_id: str | None = None
    template_id: str | None = None
    template_version: int | None = None
    variant: str | None = None
    policy_version: int | None = None
    provider_message_id: str | None = None
    replay_id: str | None = None
    #: RFC 3339, UTC.
    occurred_at: str
    detail: dict[str, Any] | None = None

    @property
    def notification(self) -> str:
        """The notification's id; ``""`` where the event is of a device."""
        return self.notification_id or ""


#: The only keys that ``detail`` may hold.
DETAIL_KEYS = frozenset(
    (
        "of",
        "differs",
        "by",
        "into",
        "cap",
        "used_by",
        "until",
        "due",
        "retry_at",
        "error",
        "latency_ms",
        "device_id",
        "trail",
        "origin",
        "claimed_at",
        "segments",
        "machine",
    )
)

#: What is told of a send after its end.
CAME_BACK: frozenset[Status] = frozenset(
    ("delivered", "opened", "clicked", "seen", "read", "bounced", "complained", "unsubscribed")
)

read_lifecycle: Reader[LifecycleEvent] = Reader(LifecycleEvent, own=True)
encode_lifecycle = msgspec.json.Encoder().encode
