"""What is answered. Made of the gateway's description by ``python -m clients.types``: don't edit it.

Members that this version doesn't know are passed over."""

from typing import Any

from msgspec import Struct, field


class Accepted(Struct, frozen=True, kw_only=True):
    notification_id: str
    recipients: int
    status: str = "accepted"


class AuditPage(Struct, frozen=True, kw_only=True):
    """Newest first, each as on ``tocsin_audit_log``."""

    entries: list[dict[str, Any]]
    next_cursor: str | None = None


class BulkAccepted(Struct, frozen=True, kw_only=True):
    """One result a request, in order: the accepted notification or a problem."""

    results: list[dict[str, Any]]


class RowError(Struct, frozen=True, kw_only=True):
    """A row of an upload that was refused. ``line``: from 1."""

    line: int
    field: str | None
    detail: str


class Campaign(Struct, frozen=True, kw_only=True):
    """``recipients``: users, each once. ``produced``: requests that the log has. ``refused``: rows, of the first of
    which ``errors`` says why. ``delivery``: sends by channel and by what became of them; null where that can't be
    asked now."""

    campaign_id: str
    notification_id: str
    status: str
    event_type: str
    created_at: str
    recipients: int
    produced: int
    refused: int
    errors: list[RowError]
    template_id: str | None = None
    priority: str | None = None
    send_at: str | None = None
    local_time: str | None = None
    expires_at: str | None = None
    rate: str | None = None
    canary: str | None = None
    holdout: str | None = None
    delivery: dict[str, dict[str, int]] | None = None


class CampaignList(Struct, frozen=True, kw_only=True):
    """Newest first; without ``delivery``."""

    campaigns: list[Campaign]
    next_cursor: str | None = None


class CampaignTaken(Struct, frozen=True, kw_only=True):
    campaign_id: str
    notification_id: str
    status: str


class Cancelling(Struct, frozen=True, kw_only=True):
    notification_id: str
    status: str = "accepted"


class Candidate(Struct, frozen=True, kw_only=True):
    """One candidate in the receipt's list. Of an erased user no reason is shown."""

    send_id: str
    new_send_id: str | None
    notification_id: str
    user_id: str
    outcome: str
    reason: str | None


class CandidateList(Struct, frozen=True, kw_only=True):
    """By send id."""

    candidates: list[Candidate]
    next_cursor: str | None = None


class Done(Struct, frozen=True, kw_only=True):
    """What one part of the system did. Times are RFC 3339; one that is missing is still to come."""

    where: str
    by: str | None = None
    deleted_at: str | None = None
    store_compacted_at: str | None = None
    log_compacted_at: str | None = None
    redacted_at: str | None = None


class Pending(Struct, frozen=True, kw_only=True):
    """What is still to come. ``until``: the latest time at which it will have been done by itself."""

    where: str
    what: str
    until: str | None = None


class Certificate(Struct, frozen=True, kw_only=True):
    """``status``: ``done`` when every part has reported that it is; topics with a time limit go on letting go."""

    erasure_id: str
    erased_at: str
    status: str
    deleted: list[str]
    remains: list[str]
    done: list[Done]
    pending: list[Pending]
    time_limited: dict[str, str]


class CodeSent(Struct, frozen=True, kw_only=True):
    """``notification_id``: of the message. ``expires_at``: until when its code is good."""

    notification_id: str
    expires_at: str
    status: str = "accepted"


class Consent(Struct, frozen=True, kw_only=True):
    """What was said, and since when it counts."""

    channel: str
    category: str
    granted: bool
    at: str


class Grant(Struct, frozen=True, kw_only=True):
    at: str
    evidence: Any


class RecordedConsent(Struct, frozen=True, kw_only=True):
    """What was said last. ``withdrawn_grant``: of a withdrawn one the grant that it withdrew."""

    channel: str
    category: str
    granted: bool
    at: str
    evidence: Any = None
    withdrawn_grant: Grant | None = None


class Consents(Struct, frozen=True, kw_only=True):
    consents: list[RecordedConsent]


class DeadPage(Struct, frozen=True, kw_only=True):
    """Newest first; each letter as on notify_dead, and its place there as ``id``; ``redriven`` where it was put
    back, ``first`` where it is of a record that was."""

    letters: list[dict[str, Any]]
    next_cursor: str | None = None


class Device(Struct, frozen=True, kw_only=True):
    """``token``: only its last four characters."""

    device_id: str
    platform: str
    token: str | None
    app_id: str | None
    locale: str | None
    registered_at: str


class Devices(Struct, frozen=True, kw_only=True):
    devices: list[Device]


class Erasing(Struct, frozen=True, kw_only=True):
    erasure_id: str
    status: str = "accepted"


class LifecycleEvent(Struct, frozen=True, kw_only=True):
    """What doesn't apply is null. ``detail`` never holds addresses, names, content or data. ``notification_id`` is
    null in ``device_retired`` only, which is of a device, not of a send."""

    event_id: str
    notification_id: str | None
    user_id: str
    send_id: str | None = None
    status: str
    reason: str | None = None
    channel: str | None = None
    provider: str | None = None
    attempt: int | None = None
    event_type: str | None = None
    category: str | None = None
    priority: str | None = None
    source: str | None = None
    campaign_id: str | None = None
    template_id: str | None = None
    template_version: int | None = None
    variant: str | None = None
    policy_version: int | None = None
    provider_message_id: str | None = None
    replay_id: str | None = None
    occurred_at: str
    detail: dict[str, Any] | None = None


class Events(Struct, frozen=True, kw_only=True):
    """Oldest first."""

    events: list[LifecycleEvent]
    next_cursor: str | None = None


class ChannelExplanation(Struct, frozen=True, kw_only=True):
    """``outcome``: the end, or what it waits for; a trail's entry: rule, input, answer, words."""

    outcome: str
    reason: str | None
    trail: list[dict[str, Any]]
    receipts: list[str] = []


class Explanation(Struct, frozen=True, kw_only=True):
    summary: str
    channels: dict[str, ChannelExplanation]


class DisabledShown(Struct, frozen=True, kw_only=True):
    at: str
    why: str


class ReplayShown(Struct, frozen=True, kw_only=True):
    from_: str = field(name="from")
    to: str


class HookShown(Struct, frozen=True, kw_only=True):
    """``disabled``: since when nobody is called, and why. ``replay``: the latest one that was asked for."""

    id: str
    source: str
    url: str
    statuses: list[str]
    created_at: str
    disabled: DisabledShown | None
    replay: ReplayShown | None


class HookList(Struct, frozen=True, kw_only=True):
    """The oldest first."""

    hooks: list[HookShown]


class HookMade(Struct, frozen=True, kw_only=True):
    """The secret is shown this once."""

    id: str
    url: str
    statuses: list[str]
    secret: str


class InboxCount(Struct, frozen=True, kw_only=True):
    unread: int = 0
    unseen: int = 0


class InboxPage(Struct, frozen=True, kw_only=True):
    """Newest first. An item: id, title, body, url, image, data, created_at, seen, read, archived, icon, actions,
    expires_at, category, snoozed_until. ``last_event_id``: where a stream that continues the page begins."""

    notifications: list[dict[str, Any]] = []
    unread_count: int = 0
    next_cursor: str | None = None
    last_event_id: str = "0"


class InboxSummary(Struct, frozen=True, kw_only=True):
    """All that an app shows before the inbox is opened. ``badge``: for the app's icon."""

    badge: int = 0
    unread: int = 0
    unseen: int = 0
    total: int = 0
    archived: int = 0
    snoozed: int = 0
    last_event_id: str = "0"


class SecretShown(Struct, frozen=True, kw_only=True):
    """One of a key's secrets that go on, by its number. ``expires_at`` null: with the key."""

    number: int
    created_at: str
    expires_at: str | None
    last_used_at: str | None


class KeyShown(Struct, frozen=True, kw_only=True):
    """``rate`` null: the gateway's own. ``created_by``: an API key. ``last_used_at``: within a minute or so; null:
    not known to have been used. ``secrets``: the oldest first; of a key in the settings none are shown.
    ``certificates``: it is taken with one of these only; empty: it needs none."""

    id: str
    source: str
    scopes: list[str]
    rate: float | None
    critical: bool
    state: str
    kept_in: str
    expires_at: str | None
    created_at: str | None
    created_by: str | None
    last_used_at: str | None
    secrets: list[SecretShown]
    certificates: list[str]


class KeyList(Struct, frozen=True, kw_only=True):
    """Those of the settings first, then those made over HTTP, the oldest first."""

    keys: list[KeyShown]


class KeyMade(Struct, frozen=True, kw_only=True):
    """``key`` is the whole of it, as it is sent with ``Authorization: Bearer``. It is shown this once."""

    id: str
    key: str
    secret: int
    scopes: list[str]
    source: str
    expires_at: str | None


class KeyRotated(Struct, frozen=True, kw_only=True):
    """``key``: with the new secret, shown this once. ``former_expires_at``: when the one before it ends."""

    id: str
    key: str
    secret: int
    former_expires_at: str | None


class Noted(Struct, frozen=True, kw_only=True):
    status: str = "accepted"


class NotificationStatus(Struct, frozen=True, kw_only=True):
    """``delivery`` counts sends by channel and by what became of them."""

    notification_id: str
    status: str
    recipients: int
    created_at: str
    delivery: dict[str, dict[str, int]]


class PauseAnswer(Struct, frozen=True, kw_only=True):
    """Those that the name stands for."""

    providers: list[str]
    paused: bool


class PolicyDocument(Struct, frozen=True, kw_only=True):
    version: int
    in_force: bool
    waiting_for: list[str]
    policy: dict[str, Any]


class PolicyVersionDocument(Struct, frozen=True, kw_only=True):
    version: int
    at: str
    sha256: str
    policy: dict[str, Any]


class PolicyVersion(Struct, frozen=True, kw_only=True):
    """``at``: when it was written; ``sha256``: of its text, as in the audit log."""

    version: int
    at: str
    sha256: str


class PolicyVersions(Struct, frozen=True, kw_only=True):
    """Newest first."""

    versions: list[PolicyVersion]
    next_cursor: str | None = None


class Choice(Struct, frozen=True, kw_only=True):
    """``on``: the user gets it now. ``change``: the patch of the preferences (RFC 7396) that turns it over."""

    channel: str
    on: bool
    change: dict[str, Any]


class CategoryChoices(Struct, frozen=True, kw_only=True):
    """``channels``: none where it can't be turned off."""

    name: str
    label: str
    description: str
    channels: list[Choice]


class PreferenceChoices(Struct, frozen=True, kw_only=True):
    """``channels``: of all that comes by a channel, whatever its category."""

    categories: list[CategoryChoices]
    channels: list[Choice]


class PreferencesLink(Struct, frozen=True, kw_only=True):
    """A page that whoever has its address can open until it expires."""

    url: str
    expires_at: str


class Preview(Struct, frozen=True, kw_only=True):
    """The rendered parts by channel. ``segments``: how many SMS the text takes."""

    version: int
    channels: dict[str, dict[str, str]]
    segments: int | None = None


class Profile(Struct, frozen=True, kw_only=True):
    """Empty for a user who isn't known."""

    email: str | None = None
    email_verified: bool = False
    email_claimed: bool = False
    phone: str | None = None
    phone_verified: bool = False
    phone_claimed: bool = False
    locale: str | None = None
    timezone: str | None = None
    name: str | None = None
    attributes: dict[str, Any] | None = None


class ProviderAtWorker(Struct, frozen=True, kw_only=True):
    """As one worker sees it."""

    worker: str
    state: str
    why: str | None
    since: str
    in_flight: int
    waiting: int
    rate: float | None
    limited_by: str | None


class ProviderDocument(Struct, frozen=True, kw_only=True):
    """As all its running workers see it: the worst of their states, and the sums of their counts."""

    provider: str
    channel: str
    state: str
    why: str | None
    since: str
    in_flight: int
    waiting: int
    rate: float | None
    limited_by: str | None
    paused: bool
    paused_by: str | None
    workers: list[ProviderAtWorker]


class ProviderList(Struct, frozen=True, kw_only=True):
    providers: list[ProviderDocument]


class QueryAnswer(Struct, frozen=True, kw_only=True):
    """``truncated``: there are more rows than were asked for."""

    columns: list[str]
    types: list[str]
    rows: list[list[Any]]
    truncated: bool


class Receipt(Struct, frozen=True, kw_only=True):
    """``by``: the API key that asked for it. ``dry_run`` and ``outcomes`` both add up to ``candidates``."""

    replay_id: str
    status: str
    by: str
    at: str
    channel: str
    filters: dict[str, Any]
    mode: str
    rate: str
    candidates: int
    dry_run: dict[str, int]
    outcomes: dict[str, int]
    expires_after: str | None = None


class Redriving(Struct, frozen=True, kw_only=True):
    """Letters of one place count as one."""

    matched: int
    redriven: int
    refused: list[dict[str, str]]
    left_out: int
    would: dict[str, int] | None = None


class ReplayBegun(Struct, frozen=True, kw_only=True):
    replay_id: str
    status: str


class ReplayList(Struct, frozen=True, kw_only=True):
    """Newest first."""

    replays: list[Receipt]
    next_cursor: str | None = None


class SchemaEntry(Struct, frozen=True, kw_only=True):
    name: str
    title: str
    schema: str


class SchemaList(Struct, frozen=True, kw_only=True):
    schemas: list[SchemaEntry]


class StreamEvent(Struct, frozen=True, kw_only=True):
    """``data`` is JSON: of a notification the item, of an update its id and marks, of the counts those."""

    id: str
    event: str
    data: str


class Variant(Struct, frozen=True, kw_only=True):
    name: str
    weight: int
    channels: dict[str, dict[str, dict[str, str]]]


class TemplateDocument(Struct, frozen=True, kw_only=True):
    """A version of a template."""

    id: str
    version: int
    at: str
    channels: dict[str, dict[str, dict[str, str]]]
    variants: list[Variant] | None = None
    deleted: bool = False


class Templates(Struct, frozen=True, kw_only=True):
    templates: list[TemplateDocument]


class TicketAnswer(Struct, frozen=True, kw_only=True):
    """Good for one stream until ``expires_at``."""

    ticket: str
    expires_at: str


class UserHistory(Struct, frozen=True, kw_only=True):
    """Newest first. An entry: notification_id, event_type, category, channel (null: all of them), status, reason,
    and at, when it was accepted."""

    notifications: list[dict[str, Any]]
    next_cursor: str | None = None


class Valid(Struct, frozen=True, kw_only=True):
    valid: bool = True


class Versions(Struct, frozen=True, kw_only=True):
    """Oldest first."""

    versions: list[TemplateDocument]
