"""Preferences, consent and do-not-disturb: what a user lets through.

See docs/policy.md#preference-and-consent and docs/policy.md#do-not-disturb.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal

from msgspec import Struct

from app.domain.caps import Cap
from app.domain.digest import DigestRule, Rhythm
from app.domain.policy import Category, EventRule, Policy
from app.domain.quiet_hours import EVERY_DAY, Hours
from schemas.decode import Invalid
from schemas.words import Channel

Switches = dict[str, dict[Channel, bool]]

PERIODS_MS = {"hour": 3_600_000, "day": 86_400_000, "week": 7 * 86_400_000}


class Refused(Invalid):
    """Well formed, but a rule refuses it (over HTTP a 422)."""


class Dnd(Struct, frozen=True, array_like=True, gc=False):
    """Do not disturb; ``until_ms`` None: until turned off."""

    enabled: bool
    until_ms: int | None = None


class OwnHours(Struct, frozen=True, array_like=True, gc=False):
    """A user's own quiet hours, as ``quiet_hours.Hours``; not enabled means none, whatever the policy's default."""

    enabled: bool
    start: int = 0
    end: int = 0
    days: int = EVERY_DAY


class Limit(Struct, frozen=True, array_like=True, gc=False):
    """At most ``most`` messages of a channel in a sliding hour, day or week."""

    most: int
    per: Literal["hour", "day", "week"]

    def cap_of(self, channel: Channel) -> Cap:
        """The limit as a cap, whose name no cap of a policy can have."""
        return _own_cap(channel, self.most, PERIODS_MS[self.per])


class Preferences(Struct, frozen=True, omit_defaults=True, gc=False):
    channels: dict[Channel, bool] = {}
    categories: Switches = {}
    #: By exact name or pattern (a beginning and ``*``).
    event_types: Switches = {}
    quiet_hours: OwnHours | None = None
    dnd: Dnd | None = None
    #: By category.
    digest: dict[str, Rhythm] = {}
    limits: dict[Channel, Limit] = {}


NO_PREFERENCES = Preferences()


class Answer(Struct, frozen=True, gc=False):
    """``by``: the entry that decided, as in the document (``categories.social.email``), or the policy's rule."""

    allowed: bool
    by: str


_NEVER = Answer(True, "opt_out never")
_NO_PREFERENCE = Answer(True, "no preference set")
_NO_CONSENT_NEEDED = Answer(True, "no consent required")


def check_digest_choice(preferences: Preferences, policy: Policy) -> None:
    """Raises Refused where a digest is chosen for a category that has no digest rule (422; on Kafka ignored)."""
    for name in preferences.digest:
        category = policy.categories.get(name)
        if category is None or category.digest is None:
            raise Refused("the policy has no digest for this category", f"digest.{name}")


def evaluate_preference(preferences: Preferences, rule: EventRule, event_type: str, channel: Channel) -> Answer:
    """Whether the user lets this through: the most specific entry that speaks of the channel decides."""
    category = rule.category
    if category.opt_out_never:
        return _NEVER
    if preferences.event_types:
        entry = _speaking_entry(preferences.event_types, event_type, channel)
        if entry is not None:
            return Answer(preferences.event_types[entry][channel], f"event_types.{entry}.{channel}")
    of_category = preferences.categories.get(category.name)
    if of_category is not None and channel in of_category:
        return Answer(of_category[channel], f"categories.{category.name}.{channel}")
    if channel in preferences.channels:
        return Answer(preferences.channels[channel], f"channels.{channel}")
    if channel in category.default:
        return Answer(category.default[channel], f"default of {category.name}")
    return _NO_PREFERENCE


def _speaking_entry(entries: Switches, event_type: str, channel: Channel) -> str | None:
    """The exact name, else the longest pattern, that says something of the channel."""
    if channel in entries.get(event_type, ()):
        return event_type
    patterns = [
        name
        for name, switches in entries.items()
        if name[-1:] == "*" and channel in switches and event_type.startswith(name[:-1])
    ]
    return max(patterns, key=len) if patterns else None


def evaluate_consent(granted: bool | None, category: Category, channel: Channel) -> Answer:
    """``granted``: what the user said last of this channel and category, None: nothing. A withdrawal stands until
    consent is granted again, and where the policy requires consent it must have been granted."""
    if channel in category.consent:
        return Answer(granted is True, "consent required")
    if granted is False and not category.opt_out_never:
        return Answer(False, "consent withdrawn")
    return _NO_CONSENT_NEEDED


def unsubscribed(document: Mapping[str, Any], category: str, channel: Channel, policy: Policy | None) -> dict[str, Any]:
    """The document after the user unsubscribed from a category on a channel.

    Entries that let its event types through on that channel go: they are more specific, and would win. ``policy``: says
    which event types those are; None: none.
    """
    event_types = {
        name: {
            of: on
            for of, on in switches.items()
            if of != channel or not on or policy is None or category not in policy.categories_of(name)
        }
        for name, switches in (document.get("event_types") or {}).items()
    }
    categories = dict(document.get("categories") or {})
    categories[category] = {**(categories.get(category) or {}), channel: False}
    changed = {**document, "categories": categories}
    if event_types:
        changed["event_types"] = {name: switches for name, switches in event_types.items() if switches}
    return changed


def dnd_active(dnd: Dnd | None, now_ms: int) -> bool:
    return dnd is not None and dnd.enabled and (dnd.until_ms is None or now_ms < dnd.until_ms)


def caps_in_force(preferences: Preferences, policy: Policy, category: str, channel: Channel) -> tuple[Cap, ...]:
    """The user's own limit of the channel, if they set one, then the policy's caps of the category."""
    caps = policy.caps_of(category, channel)
    limit = preferences.limits.get(channel) if preferences.limits else None
    return caps if limit is None else (limit.cap_of(channel), *caps)


def own_cap_name(channel: Channel) -> str:
    return f"user:{channel}"


@lru_cache(maxsize=4096)
def _own_cap(channel: Channel, most: int, window_ms: int) -> Cap:
    return Cap(own_cap_name(channel), most, window_ms, channel=channel)


def hours_in_force(preferences: Preferences, policy: Policy) -> Hours | None:
    """The user's own quiet hours, else the policy's; they hold the channels that the policy names."""
    own = preferences.quiet_hours
    if own is None:
        return policy.quiet_hours
    if not own.enabled:
        return None
    return _own_hours(own.start, own.end, own.days, policy.quiet_channels, policy.quiet_spread_ms)


@lru_cache(maxsize=4096)
def _own_hours(start: int, end: int, days: int, channels: frozenset[Channel], spread_ms: int) -> Hours:
    return Hours(start, end, days, channels, spread_ms)


def rhythm_in_force(preferences: Preferences, category: Category, rule: DigestRule) -> Rhythm | None:
    """The user's own choice for the digest of a category, never for an event type's own."""
    if category.digest is None or category.digest.name != rule.name:
        return None
    return preferences.digest.get(category.name)
