"""What the gateway may read of a user."""

from collections.abc import Callable
from typing import Any

import msgspec

from schemas.instants import rfc3339
from tables.knowledge import Knowledge
from tables.preferences import Grant
from tables.profiles import Device


def _profile(known: Knowledge, user_id: str) -> dict[str, Any] | None:
    profile = known.profile(user_id)
    if profile is None:
        return None
    return {
        "email": profile.email,
        "email_verified": profile.email_verified,
        "email_claimed": profile.email_claimed,
        "phone": profile.phone,
        "phone_verified": profile.phone_verified,
        "phone_claimed": profile.phone_claimed,
        "locale": profile.locale,
        "timezone": profile.timezone,
        "name": profile.name,
        "attributes": profile.attributes,
    }


def _devices(known: Knowledge, user_id: str) -> list[dict[str, Any]]:
    return [_device(device) for device in known.devices(user_id)]


def _device(device: Device) -> dict[str, Any]:
    """Never the whole token: whoever has it can send to the device."""
    return {
        "device_id": device.device_id,
        "platform": device.platform,
        "token": f"…{device.token[-4:]}" if device.platform != "web" else None,
        "app_id": device.app_id,
        "locale": device.locale,
        "registered_at": rfc3339(device.registered_ms),
    }


def _preferences(known: Knowledge, user_id: str) -> Any:
    return msgspec.json.decode(known.wishes(user_id).document)


def _consents(known: Knowledge, user_id: str) -> list[dict[str, Any]]:
    return [
        {
            "channel": consent.channel,
            "category": consent.category,
            "granted": consent.granted,
            "at": rfc3339(consent.at_ms),
            "evidence": msgspec.json.decode(consent.evidence),
            "withdrawn_grant": None if consent.grant is None else _grant(consent.grant),
        }
        for consent in known.wishes(user_id).consents
    ]


def _grant(grant: Grant) -> dict[str, Any]:
    return {"at": rfc3339(grant.at_ms), "evidence": msgspec.json.decode(grant.evidence)}


def _known(known: Knowledge, user_id: str) -> dict[str, bool]:
    return {"known": known.profile(user_id) is not None, "erased": known.erased(user_id)}


VIEWS: dict[str, Callable[[Knowledge, str], Any]] = {
    "profile": _profile,
    "devices": _devices,
    "preferences": _preferences,
    "consents": _consents,
    "known": _known,
}
