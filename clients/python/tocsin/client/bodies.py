"""What is sent. Made of the gateway's description by ``python -m clients.types``: don't edit it."""

from datetime import datetime
from typing import Any, Literal, Required, TypedDict

#: RFC 3339, or a time with its zone.
Instant = str | datetime
Channel = Literal["email", "in_app", "push", "sms"]
Platform = Literal["android", "ios", "web"]
Priority = Literal["critical", "high", "low", "normal"]
Provider = Literal["apns", "fcm", "inbox", "sendgrid", "ses", "sns", "twilio", "vonage", "webpush"]
Status = Literal[
    "accepted",
    "aggregated",
    "bounced",
    "cancelled",
    "clicked",
    "complained",
    "delivered",
    "device_retired",
    "expired",
    "failed",
    "held",
    "in_doubt",
    "opened",
    "queued",
    "read",
    "repeated",
    "retrying",
    "scheduled",
    "seen",
    "sending",
    "sent",
    "suppressed",
    "unknown",
    "unsubscribed",
]


class ActivitySeen(TypedDict, total=False):
    timezone: str | None


class AppReceipt(TypedDict, total=False):
    """Of a send, or of a notification; ``occurred_at`` is now unless the app says."""

    status: Required[
        Literal["bounced", "clicked", "complained", "delivered", "failed", "opened", "read", "seen", "unsubscribed"]
    ]
    notification_id: str | None
    send_id: str | None
    channel: Channel | None
    reason: str | None
    occurred_at: Instant | None
    detail: dict[str, Any] | None


class Content(TypedDict, total=False):
    """Literal content: strings are shown as they are, never read as templates."""

    title: Required[str]
    body: Required[str]
    subject: str | None
    html: str | None
    url: str | None
    image: str | None


class Button(TypedDict, total=False):
    """What an inbox shows below an item."""

    label: Required[str]
    url: Required[str]


class InboxOptions(TypedDict, total=False):
    """What concerns the inbox alone. ``icon``: a name that the app knows, or where it lies."""

    icon: str | None
    actions: list[Button] | None
    expires_at: Instant | None


class PushAction(TypedDict, total=False):
    """A button of a push. ``id``: what the app is told when it is tapped."""

    id: Required[str]
    label: Required[str]


class PushOptions(TypedDict, total=False):
    """What concerns push alone, in the words of Apple and Google."""

    badge: int | None
    sound: str | None
    category: str | None
    actions: list[PushAction] | None
    thread_id: str | None
    interruption_level: Literal["active", "passive", "time-sensitive"] | None
    mutable_content: bool
    silent: bool
    android_channel_id: str | None
    android_priority: Literal["high", "normal"] | None
    data: dict[str, str] | None


class Notification(TypedDict, total=False):
    user_id: str | None
    event_type: Required[str]
    template_id: str | None
    content: Content | None
    data: dict[str, Any] | None
    channels: list[Channel] | None
    priority: Priority | None
    idempotency_key: str | None
    send_at: Instant | None
    expires_at: Instant | None
    collapse_key: str | None
    campaign_id: str | None
    locale: str | None
    created_at: Instant | None
    inbox: InboxOptions | None
    push: PushOptions | None
    traceparent: str | None
    tracestate: str | None
    user_ids: list[str] | None


class Bulk(TypedDict, total=False):
    requests: Required[list[Notification]]


class Segment(TypedDict, total=False):
    """Whom a campaign is for, by what is known of users; all of it must hold. ``has``: an address or device."""

    attributes: dict[str, Any] | None
    locale: str | None
    timezone: str | None
    has: list[Literal["email", "push", "sms"]] | None


class CampaignBody(TypedDict, total=False):
    campaign_id: str | None
    event_type: Required[str]
    template_id: str | None
    content: Content | None
    data: dict[str, Any] | None
    channels: list[Channel] | None
    priority: Priority | None
    send_at: Instant | None
    local_time: str | None
    expires_at: Instant | None
    rate: str | None
    canary: str | None
    holdout: str | None
    user_ids: list[str] | None
    segment: Segment | None
    all: bool | None


class ConsentSet(TypedDict, total=False):
    channel: Required[Channel]
    category: Required[str]
    granted: Required[bool]
    evidence: Any


class DeviceAdd(TypedDict, total=False):
    device_id: Required[str]
    platform: Required[Platform]
    token: str | None
    subscription: dict[str, Any] | None
    app_id: str | None
    timezone: str | None
    locale: str | None


class HookAsked(TypedDict, total=False):
    """``statuses`` left out: all. ``secret`` left out: one is made."""

    url: Required[str]
    statuses: list[Status] | None
    secret: str | None


class KeyAsked(TypedDict, total=False):
    """What is misspelt is refused: it could be what limits the key. ``certificates``: it is taken with one of these
    client certificates only: ``dns:NAME``, ``uri:URI``, or ``spki:`` and the SHA-256 of the public key."""

    id: Required[str]
    scopes: Required[list[str]]
    source: str | None
    rate: float | None
    critical: bool | None
    expires_at: Instant | None
    certificates: list[str] | None


class PauseBody(TypedDict, total=False):
    why: Required[str]


class PreferencesBody(TypedDict, total=False):
    """The document below ``preferences``, or the document itself."""

    preferences: Required[dict[str, Any]]


class PreferencesForm(TypedDict, total=False):
    """What the page's form sends: ``act`` (``save``, ``all``), and with ``save`` what was shown and what is
    chosen."""

    act: str
    shown: list[str]
    on: list[str]
    quiet: str
    quiet_was: str
    quiet_start: str
    quiet_end: str
    quiet_day: list[str]


class PreviewBody(TypedDict, total=False):
    """What a send would bring: ``data``, and of a digest ``items``; ``user`` stands for the user's profile."""

    data: dict[str, Any]
    user: dict[str, Any]
    items: list[dict[str, Any]] | None
    locale: str | None
    variant: str | None
    channels: dict[str, dict[str, dict[str, str]]] | None


class ProfileSet(TypedDict, total=False):
    """Merged as RFC 7396: an explicit null removes, so absent (UNSET) and null differ here."""

    email: str | None
    email_verified: bool | None
    phone: str | None
    phone_verified: bool | None
    locale: str | None
    timezone: str | None
    name: str | None
    attributes: dict[str, Any] | None
    claimed: bool | None


class Edited(TypedDict, total=False):
    """The corrected record: ``key``, ``value`` and the headers' values in base64. Headers left out: as they
    were."""

    key: str | None
    value: Required[str]
    headers: list[tuple[str, str | None]] | None


class RedriveBody(TypedDict, total=False):
    """Either ``ids``, or at least one of the others, which all must hold. ``edited``: for one id."""

    ids: list[str] | None
    reason: str | None
    code: str | None
    field: str | None
    topic: str | None
    from_: Instant | None
    to: Instant | None
    dry_run: bool
    edited: Edited | None


class ResumeBody(TypedDict, total=False):
    why: str | None


class Rollback(TypedDict, total=False):
    """``version``: the one to go back to; it becomes a new one."""

    version: Required[int]


class RotationAsked(TypedDict, total=False):
    """``overlap``: for how long the secret that was the newest goes on; ``0s``: all former ones end now."""

    overlap: str | None


class Snooze(TypedDict, total=False):
    """Until when the item is put off (RFC 3339); null, or a time that is over: it comes back now."""

    until: Required[str | None]


class Variant(TypedDict, total=False):
    name: Required[str]
    weight: Required[int]
    channels: Required[dict[str, dict[str, dict[str, str]]]]


class Template(TypedDict, total=False):
    id: Required[str]
    channels: Required[dict[str, dict[str, dict[str, str]]]]
    variants: list[Variant] | None


class VerifyBody(TypedDict, total=False):
    """Without ``code`` one is sent; with it, it is checked."""

    channel: Required[Channel]
    code: str | None


class HooksReplayAsked(TypedDict, total=False):
    """What was recorded in [from, to)."""

    from_: Required[Instant]
    to: Required[Instant]


class AskingReplayAsked(TypedDict, total=False):
    """The body of ``POST /v1/replays``. A filter that is misspelt would send more than is meant: it is refused."""

    channel: Required[Channel]
    from_: Required[Instant]
    to: Required[Instant]
    provider: list[Provider] | None
    status: list[Status] | None
    reason: list[str] | None
    category: list[str] | None
    campaign: list[str] | None
    event_type: list[str] | None
    as_decided: bool | None
    rate: str | None
    expires_after: str | None
    dry_run: bool | None
