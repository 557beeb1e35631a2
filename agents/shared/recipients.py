"""What a channel's role knows of a send's recipient now, for the last look and for rendering."""

from typing import Any

from app.domain.codes import mark_of, same
from app.domain.last_look import Known, Reach
from app.domain.policy import Policy
from schemas.sends import Send
from tables.knowledge import Knowledge
from tables.profiles import Profile


def known_of(knowledge: Knowledge, send: Send, policy: Policy, secret: bytes = b"") -> Known:
    """``secret``: the installation's, for sends that verify an address."""
    profile = knowledge.profile(send.user_id)
    reach = _reach(profile, send) if profile is not None else None
    if reach is not None and send.verifies is not None and not _is_for(send, reach, secret):
        reach = None
    return Known(
        erased=knowledge.erased(send.user_id),
        cancelled=knowledge.cancelled(
            send.user_id, send.notification_id, send.campaign_id, send.source, send.accepted_at
        ),
        preferences=knowledge.preferences(send.user_id),
        granted=knowledge.consent(send.user_id, send.channel, send.category),
        reach=reach,
        suppressed=reach is not None and knowledge.is_suppressed(send.channel, reach.value),
        zone=knowledge.zone(send.user_id, policy),
    )


def user_shown(knowledge: Knowledge, user_id: str) -> dict[str, Any]:
    """What templates see as ``user``."""
    profile = knowledge.profile(user_id)
    if profile is None:
        return {"id": user_id}
    return {
        "id": user_id,
        "name": profile.name,
        "email": profile.email,
        "phone": profile.phone,
        "locale": profile.locale,
        "timezone": profile.timezone,
        "attributes": profile.attributes,
    }


def _is_for(send: Send, reach: Reach, secret: bytes) -> bool:
    """Whether the code is for the address that the user has now."""
    mark = mark_of(secret, send.user_id, send.channel, reach.value, send.notification_id)
    return same(mark, send.verifies or "")


def _reach(profile: Profile, send: Send) -> Reach | None:
    match send.channel:
        case "push":
            device = profile.device(send.device_id) if send.device_id is not None else None
            if device is None:
                return None
            return Reach(
                device.token, platform=device.platform, app_id=device.app_id, locale=device.locale or profile.locale
            )
        case "email" if profile.email:
            return Reach(profile.email, profile.email_verified, profile.email_claimed, locale=profile.locale)
        case "sms" if profile.phone:
            return Reach(profile.phone, profile.phone_verified, profile.phone_claimed, locale=profile.locale)
        case _:
            return None
