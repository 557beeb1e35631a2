"""Commands: what changes what is known of a user (contract, "Commands and receipts")."""

from typing import Any, Literal, get_args

import msgspec
from msgspec import UNSET, Struct, UnsetType

from schemas.decode import CampaignId, Invalid, Reader, RecordId, Source, UserId
from schemas.instants import Instant
from schemas.words import Channel, Platform

Mark = Literal["seen", "read", "unread", "archived"]


class Command(Struct, frozen=True, kw_only=True, tag_field="type", omit_defaults=True):
    """What every command carries; idempotent by ``id``, effective in the log's order."""

    id: RecordId
    at: Instant
    user_id: UserId | None = None


class ProfileSet(Command, frozen=True, kw_only=True, tag="profile.set"):
    """Merged as RFC 7396: an explicit null removes, so absent (UNSET) and null differ here."""

    email: str | UnsetType | None = UNSET
    email_verified: bool | UnsetType | None = UNSET
    phone: str | UnsetType | None = UNSET
    phone_verified: bool | UnsetType | None = UNSET
    locale: str | UnsetType | None = UNSET
    timezone: str | UnsetType | None = UNSET
    name: str | UnsetType | None = UNSET
    attributes: dict[str, Any] | UnsetType | None = UNSET
    #: What the user says by their own token (the gateway sets it): nobody vouches for an address of it.
    claimed: bool | None = None


class DeviceAdd(Command, frozen=True, kw_only=True, tag="device.add"):
    device_id: RecordId
    platform: Platform
    token: str | None = None
    subscription: dict[str, Any] | None = None
    app_id: str | None = None
    timezone: str | None = None
    locale: str | None = None


class DeviceRemove(Command, frozen=True, kw_only=True, tag="device.remove"):
    """``token_hash`` (ours) removes whatever device of the user still holds that token."""

    device_id: RecordId | None = None
    token_hash: str | None = None
    #: The user who has the token now and keeps it (ours: broadcast when a token changes hands).
    unless_user: UserId | None = None


class PreferencesSet(Command, frozen=True, kw_only=True, tag="preferences.set"):
    preferences: dict[str, Any]


class PreferencesPatch(Command, frozen=True, kw_only=True, tag="preferences.patch"):
    preferences: dict[str, Any]


class ConsentSet(Command, frozen=True, kw_only=True, tag="consent.set"):
    channel: Channel
    category: str
    granted: bool
    evidence: Any = None


class NotificationCancel(Command, frozen=True, kw_only=True, tag="notification.cancel"):
    notification_id: str | None = None
    campaign_id: CampaignId | None = None
    source: Source | None = None


class InboxMark(Command, frozen=True, kw_only=True, tag="inbox.mark"):
    notification_id: str | None = None
    all: bool | None = None
    as_: Mark = msgspec.field(name="as")


class ActivitySeen(Command, frozen=True, kw_only=True, tag="activity.seen"):
    timezone: str | None = None


class SuppressionAdd(Command, frozen=True, kw_only=True, tag="suppression.add"):
    channel: Channel
    address: str | None = None
    #: In place of the address, in hex (ours: what is known of an address whose user may be gone).
    address_hash: str | None = None
    reason: str | None = None


class SuppressionRemove(Command, frozen=True, kw_only=True, tag="suppression.remove"):
    channel: Channel
    address: str | None = None
    #: In place of the address, in hex (ours: what is known of an address whose user may be gone).
    address_hash: str | None = None
    reason: str | None = None


class UserErase(Command, frozen=True, kw_only=True, tag="user.erase"):
    pass


AnyCommand = (
    ProfileSet
    | DeviceAdd
    | DeviceRemove
    | PreferencesSet
    | PreferencesPatch
    | ConsentSet
    | NotificationCancel
    | InboxMark
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
    command: AnyCommand = _read(value)
    ours = isinstance(command, DeviceRemove) and command.token_hash is not None
    if command.user_id is None and not (ours or isinstance(command, WITHOUT_USER)):
        raise Invalid("is required", "user_id")
    match command:
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
        case (
            SuppressionAdd(address=None | "", address_hash=None)
            | SuppressionRemove(address=None | "", address_hash=None)
        ):
            raise Invalid("is required", "address")
        case DeviceRemove(device_id=None, token_hash=None):
            raise Invalid("is required", "device_id")
        case _:
            return command
