"""Preferences, consent and do-not-disturb: what a user lets through (contract, "Preference", "DND")."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from msgspec import Struct

from app.domain.digest import DigestRule, Rhythm
from app.domain.policy import Category, EventRule, Policy
from app.domain.quiet_hours import DAYS, EVERY_DAY, Hours, days_mask, minutes_of
from schemas.decode import Invalid
from schemas.instants import to_ms
from schemas.words import CHANNELS, Channel

Switches = dict[str, dict[Channel, bool]]


class Refused(Invalid):
    """Well formed, but a rule refuses it (over HTTP a 422)."""


class Dnd(Struct, frozen=True, array_like=True):
    """Do not disturb; ``until_ms`` None: until turned off."""

    enabled: bool
    until_ms: int | None = None


class OwnHours(Struct, frozen=True, array_like=True):
    """A user's own quiet hours, as ``quiet_hours.Hours``; not enabled means none, whatever the policy's default."""

    enabled: bool
    start: int = 0
    end: int = 0
    days: int = EVERY_DAY


class Preferences(Struct, frozen=True, omit_defaults=True):
    channels: dict[Channel, bool] = {}
    categories: Switches = {}
    #: By exact name or pattern (a beginning and ``*``).
    event_types: Switches = {}
    quiet_hours: OwnHours | None = None
    dnd: Dnd | None = None
    #: By category.
    digest: dict[str, Rhythm] = {}


NO_PREFERENCES = Preferences()


@dataclass(frozen=True, slots=True)
class Answer:
    """``by``: the entry that decided, as in the document (``categories.social.email``), or the policy's rule."""

    allowed: bool
    by: str


def parse_preferences(document: Mapping[str, Any], policy: Policy | None = None) -> Preferences:
    """The preferences of a document; a null is an absent member. Raises Invalid with the field's dotted name, and
    with a policy what ``check_digest_choice`` raises."""
    raise NotImplementedError


def check_digest_choice(preferences: Preferences, policy: Policy) -> None:
    """Raises Refused where a digest is chosen for a category that has no digest rule (422; on Kafka ignored)."""
    raise NotImplementedError


def judge_preference(preferences: Preferences, rule: EventRule, event_type: str, channel: Channel) -> Answer:
    """Whether the user lets this through: the most specific entry that speaks of the channel decides."""
    raise NotImplementedError


def judge_consent(granted: bool | None, category: Category, channel: Channel) -> Answer:
    """``granted``: what the user said last of this channel and category, None: nothing. A withdrawal stands until
    consent is granted again, and where the policy requires consent it must have been granted."""
    raise NotImplementedError


def unsubscribed(document: Mapping[str, Any], category: str, channel: Channel, policy: Policy) -> dict[str, Any]:
    """The document after the user unsubscribed from a category on a channel, also by event type."""
    raise NotImplementedError


def dnd_active(dnd: Dnd | None, now_ms: int) -> bool:
    return dnd is not None and dnd.enabled and (dnd.until_ms is None or now_ms < dnd.until_ms)


def hours_in_force(preferences: Preferences, policy: Policy) -> Hours | None:
    """The user's own quiet hours, else the policy's; they hold the channels that the policy names."""
    raise NotImplementedError


def rhythm_in_force(preferences: Preferences, category: Category, rule: DigestRule) -> Rhythm | None:
    """The user's own choice for the digest of a category, never for an event type's own."""
    raise NotImplementedError
