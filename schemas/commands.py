"""Commands: what changes what is known of a user (docs/records.md#commands)."""

from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from schemas.decode import (
    AnyId,
    CampaignId,
    Category,
    Invalid,
    Reader,
    Reason,
    RecordId,
    Source,
    TooLarge,
    UserId,
    check_size,
)
from schemas.instants import Instant, instant_ms
from schemas.verifications import VerifiedChannel
from schemas.words import Channel, Platform

MAX_COMMAND_BYTES = 64 * 1024
#: As compact JSON.
MAX_EVIDENCE_BYTES = 16 * 1024
#: A device token, or a web push subscription as compact JSON. (Of an iOS token: 64 to 200 hex digits.)
MAX_TOKEN_BYTES = 4 * 1024

#: A mail address, a phone number or a device token.
Address = Annotated[str, Meta(max_length=MAX_TOKEN_BYTES)]
#: What must be a language tag is judged where the profile is made, as an empty one means none.
LocaleText = Annotated[str, Meta(max_length=35)]
#: So must an IANA time zone.
ZoneName = Annotated[str, Meta(max_length=64)]

Mark = Literal["seen", "read", "unread", "archived"]


class Command(Struct, frozen=True, kw_only=True, tag_field="type", omit_defaults=True):
    """What every command carries; idempotent by ``id``, effective in the log's order."""

    id: RecordId
    at: Instant
    user_id: UserId | None = None


class ProfileSet(Command, frozen=True, kw_only=True, tag="profile.set"):
    """Merged as RFC 7396: an explicit null removes, so absent (UNSET) and null differ here."""

    email: Address | UnsetType | None = UNSET
    email_verified: bool | UnsetType | None = UNSET
    phone: Address | UnsetType | None = UNSET
    phone_verified: bool | UnsetType | None = UNSET
    locale: LocaleText | UnsetType | None = UNSET
    timezone: ZoneName | UnsetType | None = UNSET
    name: Annotated[str, Meta(max_length=200)] | UnsetType | None = UNSET
    attributes: dict[str, Any] | UnsetType | None = UNSET
    #: What the user says by their own token (the gateway sets it): nobody vouches for an address of it.
    claimed: bool | None = None


class AddressVerify(Command, frozen=True, kw_only=True, tag="address.verify"):
    """The user has shown that the address is theirs. Of another one than they have now, it says nothing (ours: from the
    router)."""

    channel: VerifiedChannel
    address: Address


class DeviceAdd(Command, frozen=True, kw_only=True, tag="device.add"):
    device_id: RecordId
    platform: Platform
    token: str | None = None
    subscription: dict[str, Any] | None = None
    app_id: Annotated[str, Meta(max_length=255)] | None = None
    timezone: ZoneName | None = None
    locale: LocaleText | None = None


class DeviceRemove(Command, frozen=True, kw_only=True, tag="device.remove"):
    device_id: RecordId


class DeviceNormalize(Command, frozen=True, kw_only=True, tag="device.normalize"):
    """Brings a device's token, stored before each had one form, to that form (ours: from the router)."""

    device_id: RecordId


class PreferencesSet(Command, frozen=True, kw_only=True, tag="preferences.set"):
    preferences: dict[str, Any]


class PreferencesPatch(Command, frozen=True, kw_only=True, tag="preferences.patch"):
    preferences: dict[str, Any]


class PreferencesUnsubscribe(Command, frozen=True, kw_only=True, tag="preferences.unsubscribe"):
    """Opts out of the category on the channel, as a link to unsubscribe does."""

    channel: Channel
    category: Category


class ConsentSet(Command, frozen=True, kw_only=True, tag="consent.set"):
    channel: Channel
    category: Category
    granted: bool
    evidence: Any = None


class NotificationCancel(Command, frozen=True, kw_only=True, tag="notification.cancel"):
    notification_id: AnyId | None = None
    campaign_id: CampaignId | None = None
    source: Source | None = None


class InboxMark(Command, frozen=True, kw_only=True, tag="inbox.mark"):
    notification_id: AnyId | None = None
    all: bool | None = None
    as_: Mark = msgspec.field(name="as")


class InboxSnooze(Command, frozen=True, kw_only=True, tag="inbox.snooze"):
    """Puts an item off; a time that is over, or none, brings it back."""

    notification_id: AnyId
    until: Instant | None = None


class ActivitySeen(Command, frozen=True, kw_only=True, tag="activity.seen"):
    timezone: ZoneName | None = None


class SuppressionAdd(Command, frozen=True, kw_only=True, tag="suppression.add"):
    channel: Channel
    address: Address | None = None
    reason: Reason | None = None


class SuppressionRemove(Command, frozen=True, kw_only=True, tag="suppression.remove"):
    channel: Channel
    address: Address | None = None
    reason: Reason | None = None


class UserErase(Command, frozen=True, kw_only=True, tag="user.erase"):
    pass


AnyCommand = (
    ProfileSet
    | AddressVerify
    | DeviceAdd
    | DeviceRemove
    | DeviceNormalize
    | PreferencesSet
    | PreferencesPatch
    | PreferencesUnsubscribe
    | ConsentSet
    | NotificationCancel
    | InboxMark
    | InboxSnooze
    | ActivitySeen
    | SuppressionAdd
    | SuppressionRemove
    | UserErase
)

#: The commands that may lie in every partition, with no user and no key.
WITHOUT_USER = (NotificationCancel, SuppressionAdd, SuppressionRemove)

TYPES: tuple[str, ...] = tuple(str(kind.__struct_config__.tag) for kind in get_args(AnyCommand))

_read: Reader[AnyCommand] = Reader(AnyCommand)


def read_command(value: bytes) -> AnyCommand:
    """A valid command; raises Invalid with the field."""
    check_size(value, MAX_COMMAND_BYTES)
    command: AnyCommand = _read(value)
    instant_ms(command.at, "at")
    if command.user_id is None and not isinstance(command, WITHOUT_USER):
        raise Invalid("is required", "user_id")
    match command:
        case DeviceAdd(token=str(token)) if len(token.encode()) > MAX_TOKEN_BYTES:
            raise TooLarge("is larger than 4 KiB", "token")
        case DeviceAdd(subscription=dict(subscription)) if len(msgspec.json.encode(subscription)) > MAX_TOKEN_BYTES:
            raise TooLarge("is larger than 4 KiB as compact JSON", "subscription")
        case ConsentSet(evidence=evidence) if len(msgspec.json.encode(evidence)) > MAX_EVIDENCE_BYTES:
            raise TooLarge("is larger than 16 KiB as compact JSON", "evidence")
        case DeviceAdd(platform="web", subscription=None):
            raise Invalid("is required for platform web", "subscription")
        case DeviceAdd(platform="ios" | "android", token=None | ""):
            raise Invalid("is required", "token")
        case ConsentSet(granted=True, evidence=evidence) if not evidence:
            raise Invalid("is required to grant consent", "evidence")
        case NotificationCancel(notification_id=None | "", campaign_id=None | ""):
            raise Invalid("give notification_id or campaign_id", "notification_id")
        case InboxMark(notification_id=None | "", all=None | False):
            raise Invalid("give notification_id or all", "notification_id")
        case InboxSnooze(notification_id=""):
            raise Invalid("is required", "notification_id")
        case InboxSnooze(until=str(until)):
            instant_ms(until, "until")
            return command
        case SuppressionAdd(address=None | "") | SuppressionRemove(address=None | ""):
            raise Invalid("is required", "address")
        case _:
            return command
