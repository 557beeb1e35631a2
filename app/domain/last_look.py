"""The last look: whether a send may still be made, just before every provider call (docs/policy.md#the-last-look)."""

from dataclasses import dataclass, field, replace
from typing import Literal

from app.domain.policy import EventRule, Policy
from app.domain.preferences import Preferences, dnd_active, evaluate_consent, evaluate_preference, hours_in_force
from app.domain.quiet_hours import hold_until, spread_offset_ms
from app.domain.trail import Entry
from schemas.sends import Send
from schemas.words import Platform


@dataclass(frozen=True, slots=True)
class Reach:
    """Where the user can be reached on the channel now."""

    value: str
    verified: bool = True
    #: Only the user says that it is theirs: nothing goes there until it is verified, whatever the policy says.
    claimed: bool = False
    platform: Platform | None = None
    app_id: str | None = None
    locale: str | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of the user at this moment. ``reach`` None: the address or the device is gone; of ``in_app``
    there is none."""

    erased: bool
    cancelled: bool
    preferences: Preferences
    #: Consent to the category on the channel: granted, withdrawn, or None: never said.
    granted: bool | None
    reach: Reach | None
    suppressed: bool
    zone: str


@dataclass(frozen=True, slots=True)
class Go:
    """Nothing speaks against it."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Quiet hours: they end at ``until``, and the user's holds are let go at ``due`` (Unix ms). ``trail``: the rules
    that were asked."""

    until: int
    due: int
    trail: tuple[Entry, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class Over:
    """The send is not to be made: how it ends instead. ``trail``: the rules that were asked, if any."""

    status: Literal["suppressed", "cancelled", "expired", "failed"]
    reason: str | None = None
    trail: tuple[Entry, ...] = field(default=(), compare=False)


Look = Go | Hold | Over

_GO = Go()
_NO_DND: Entry = ("dnd", True)
_ADDRESS: Entry = ("address", True, 1)


def look(send: Send, known: Known, policy: Policy, now: int, queued_at: int | None) -> Look:
    """Judges in the documented order; the first rule that speaks against it decides, and the trail says which were
    asked.

    ``queued_at``: since when it waits for its first call, None: a call was made. All times in Unix ms.
    """
    rule, trail = _rule(send, policy), list[Entry]()
    over = _over(send, known, rule, now, trail) or _unreachable(send, known, policy, rule, trail)
    if over is None and send.channel != "in_app" and send.priority != "critical":
        over = _shed(send, policy, now, queued_at, trail)
    if over is not None:
        return Over(*over, trail=tuple(trail))
    if send.channel == "in_app" or send.priority == "critical":
        return _GO
    return _quiet(send, known, policy, now, trail)


def _rule(send: Send, policy: Policy) -> EventRule:
    """The category is the one that the send was judged by."""
    rule = policy.rule_of(send.event_type)
    if send.verifies is not None:
        return rule
    category = policy.categories.get(send.category)
    return rule if category is None or category is rule.category else replace(rule, category=category)


_End = tuple[Literal["suppressed", "cancelled", "expired", "failed"], str | None]


def _over(send: Send, known: Known, rule: EventRule, now: int, trail: list[Entry]) -> _End | None:
    trail.append(("erased", not known.erased))
    if known.erased:
        return "suppressed", "erased"
    trail.append(("cancelled", not known.cancelled))
    if known.cancelled:
        return "cancelled", None
    trail.append(("expired", now < send.expires_at, send.expires_at))
    if now >= send.expires_at:
        return "expired", None
    wanted = evaluate_preference(known.preferences, rule, send.event_type, send.channel)
    trail.append(("preference", wanted.allowed, wanted.by))
    if not wanted.allowed:
        return "suppressed", "opted_out"
    consented = evaluate_consent(known.granted, rule.category, send.channel)
    trail.append(("consent", consented.allowed, consented.by))
    if not consented.allowed:
        return "suppressed", "no_consent"
    if send.channel == "in_app" or send.priority == "critical":
        trail.append(("dnd", True, "in_app" if send.channel == "in_app" else "critical"))
    elif dnd_active(known.preferences.dnd, now):
        trail.append(("dnd", False, known.preferences.dnd.until_ms if known.preferences.dnd else None))
        return "suppressed", "dnd"
    else:
        trail.append(_NO_DND)
    return None


def _unreachable(send: Send, known: Known, policy: Policy, rule: EventRule, trail: list[Entry]) -> _End | None:
    if send.channel == "in_app":
        return None
    trail.append(("suppression_list", not known.suppressed))
    if known.suppressed:
        return "suppressed", "suppression_list"
    reach = known.reach
    if reach is None:
        trail.append(("address", False, "no_address"))
        return "suppressed", "no_address"
    if (
        not reach.verified
        and send.verifies is None
        and (reach.claimed or policy.verified_required(rule.category, send.channel))
    ):
        trail.append(("address", False, "claimed" if reach.claimed else "unverified"))
        return "suppressed", "unverified"
    trail.append(_ADDRESS)
    return None


def _shed(send: Send, policy: Policy, now: int, queued_at: int | None, trail: list[Entry]) -> _End | None:
    shed_ms = policy.shed_ms(send.priority)
    if shed_ms is None or queued_at is None or now - queued_at < shed_ms:
        return None
    trail.append(("shed", False, shed_ms))
    return "suppressed", "shed"


def _quiet(send: Send, known: Known, policy: Policy, now: int, trail: list[Entry]) -> Look:
    hours = hours_in_force(known.preferences, policy)
    if hours is None or send.channel not in hours.channels:
        return _GO
    until = hold_until(hours, known.zone, now)
    if until is None:
        return _GO
    trail.append(("quiet_hours", "wait", known.zone, until, hours.start, hours.end))
    return Hold(until, until + spread_offset_ms(hours.spread_ms, send.user_id), tuple(trail))
