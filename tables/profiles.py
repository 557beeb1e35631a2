"""profiles: who a user is and where they can be reached: addresses, language, time zone, devices."""

from collections.abc import Collection
from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace

from app.domain.addresses import (
    NotASubscription,
    check_push_host,
    parse_email,
    parse_phone,
    parse_subscription,
    parse_token,
    parsed_hash,
)
from app.domain.merge import merge_patch
from app.domain.zones import is_zone
from schemas.commands import MAX_TOKEN_BYTES, AddressVerify, DeviceAdd, ProfileSet
from schemas.decode import Invalid, Locale, TooLarge
from schemas.words import Platform
from tables.table import TableSpec

MAX_ATTRIBUTES_BYTES = 16 * 1024


class Device(Struct, frozen=True, array_like=True, gc=False):
    """One device of a user. ``token``: as ``addresses.parse_token`` gives it, for web push the subscription's JSON."""

    device_id: str
    platform: Platform
    token: str
    #: What names the token where it must not stand itself (``addresses.parsed_hash``).
    token_hash: bytes
    #: When it was said last, Unix ms.
    registered_ms: int
    app_id: str | None = None
    locale: str | None = None


class Profile(Struct, frozen=True, array_like=True, gc=False):
    """What ``profile.set``, ``device.add`` and ``activity.seen`` said, merged."""

    email: str | None = None
    email_verified: bool = False
    phone: str | None = None
    phone_verified: bool = False
    locale: str | None = None
    timezone: str | None = None
    name: str | None = None
    attributes: dict[str, Any] = {}
    devices: tuple[Device, ...] = ()
    #: Only the user says that the address is theirs: until it is verified, nothing goes there.
    email_claimed: bool = False
    phone_claimed: bool = False

    def device(self, device_id: str) -> Device | None:
        return next((d for d in self.devices if d.device_id == device_id), None)


NOBODY = Profile()

PROFILES: TableSpec[Profile] = TableSpec("profiles", Profile, kept=800)


def with_profile(old: Profile, message: ProfileSet) -> Profile:
    """Merges as RFC 7396; a new address is unverified unless the same command says otherwise. Raises Invalid."""
    email = old.email if message.email is UNSET else checked_email(message.email)
    claimed = bool(message.claimed)
    phone = old.phone if message.phone is UNSET else checked_phone(message.phone, claimed=claimed)
    email_verified = _verified(email, old.email, old.email_verified, message.email_verified)
    phone_verified = _verified(phone, old.phone, old.phone_verified, message.phone_verified)
    return Profile(
        email=email,
        email_verified=email_verified,
        phone=phone,
        phone_verified=phone_verified,
        locale=old.locale if message.locale is UNSET else checked_locale(message.locale),
        timezone=old.timezone if message.timezone is UNSET else checked_zone(message.timezone),
        name=old.name if message.name is UNSET else message.name,
        attributes=with_attributes(old.attributes, message.attributes),
        devices=old.devices,
        email_claimed=not email_verified and _claimed(email, old.email, old.email_claimed, message.email, claimed),
        phone_claimed=not phone_verified and _claimed(phone, old.phone, old.phone_claimed, message.phone, claimed),
    )


def with_verified(old: Profile, message: AddressVerify) -> Profile:
    """The same profile unless the address is the one that the user has now."""
    if message.channel == "email" and old.email is not None and parse_email(message.address) == old.email:
        return replace(old, email_verified=True, email_claimed=False)
    if message.channel == "sms" and old.phone is not None and parse_phone(message.address) == old.phone:
        return replace(old, phone_verified=True, phone_claimed=False)
    return old


def with_device(old: Profile, device: Device, timezone: str | None) -> Profile:
    """Another device of the user that had the id or the token gives it up."""
    others = (d for d in old.devices if d.device_id != device.device_id and d.token_hash != device.token_hash)
    return replace(old, devices=(*others, device), timezone=checked_zone(timezone) or old.timezone)


def device_said(message: DeviceAdd, registered_ms: int, push_hosts: Collection[str]) -> Device:
    """The device of a ``device.add``. ``push_hosts``: see ``Bounds``. Raises Invalid."""
    token = (
        _subscription(message.subscription, push_hosts)
        if message.platform == "web"
        else checked_token(message.platform, message.token)
    )
    return Device(
        device_id=message.device_id,
        platform=message.platform,
        token=token,
        token_hash=parsed_hash("push", token),
        registered_ms=registered_ms,
        app_id=message.app_id,
        locale=checked_locale(message.locale),
    )


def normalized(device: Device) -> Device:
    """The device with its token in the one form; the same device if it is so already, or if it can't be."""
    token = parse_token(device.platform, device.token)
    if token is None or token == device.token:
        return device
    return replace(device, token=token, token_hash=parsed_hash("push", token))


def checked_email(text: str | None) -> str | None:
    email = parse_email(text) if text else None
    if text and email is None:
        if not text.rpartition("@")[0].isascii():
            raise Invalid("has letters outside ASCII before the @, and mail to such addresses can't be sent", "email")
        raise Invalid("is not a mail address", "email")
    return email


def checked_phone(text: str | None, *, claimed: bool = False) -> str | None:
    """``claimed``: nobody but the user says that it is theirs, so it must be one that its country has assigned."""
    phone = parse_phone(text, claimed=claimed) if text else None
    if text and phone is None:
        if parse_phone(text):
            raise Invalid("is not a number that its country has assigned", "phone")
        raise Invalid("is not a phone number in E.164, such as +442071838750", "phone")
    return phone


def checked_token(platform: Platform, text: str | None) -> str:
    token = parse_token(platform, text) if text else None
    if token is None:
        form = (
            "64 to 200 hex digits"
            if platform == "ios"
            else f"a token of 1 to {MAX_TOKEN_BYTES} bytes without control characters"
        )
        raise Invalid(f"is not {form}", "token")
    return token


def checked_zone(name: str | None) -> str | None:
    if name and not is_zone(name):
        raise Invalid("is not an IANA time zone", "timezone")
    return name or None


def checked_locale(locale: str | None) -> str | None:
    if locale:
        try:
            msgspec.convert(locale, Locale)
        except msgspec.ValidationError as error:
            raise Invalid("is not a BCP 47 language tag", "locale") from error
    return locale or None


def _verified(address: str | None, old: str | None, was: bool, message: bool | UnsetType | None) -> bool:
    if address is None:
        return False
    if message is not UNSET:
        return bool(message)
    return was and address == old


def _claimed(address: str | None, old: str | None, was: bool, message: str | UnsetType | None, claimed: bool) -> bool:
    """An address that a service has vouched for stays so when its user says the same."""
    if address is None:
        return False
    if message is UNSET or (claimed and address == old):
        return was
    return claimed


def with_attributes(old: dict[str, Any], message: dict[str, Any] | UnsetType | None) -> dict[str, Any]:
    """Merges as RFC 7396. Raises TooLarge."""
    if message is UNSET:
        return old
    merged = merge_patch(old, message or {}) if message is not None else {}
    if len(msgspec.json.encode(merged)) > MAX_ATTRIBUTES_BYTES:
        raise TooLarge("is larger than 16 KiB as compact JSON", "attributes")
    return merged


def _subscription(subscription: dict[str, Any] | None, push_hosts: Collection[str]) -> str:
    try:
        parsed = parse_subscription(subscription)
        check_push_host(parsed, push_hosts)
        return parsed
    except NotASubscription as error:
        raise Invalid(str(error), f"subscription.{error.field}") from error
