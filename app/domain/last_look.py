"""The last look: whether a send may still be made, just before every provider call (contract, "The last look")."""

from dataclasses import dataclass, replace
from typing import Literal

from app.domain.policy import EventRule, Policy
from app.domain.preferences import Preferences, dnd_active, hours_in_force, judge_consent, judge_preference
from app.domain.quiet_hours import hold_until, spread_offset_ms
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
    """Quiet hours: they end at ``until``, and the user's holds are let go at ``due`` (Unix ms)."""

    until: int
    due: int


@dataclass(frozen=True, slots=True)
class Over:
    """The send is not to be made: how it ends instead."""

    status: Literal["suppressed", "cancelled", "expired", "failed"]
    reason: str | None = None


Look = Go | Hold | Over

_GO = Go()


def look(send: Send, known: Known, policy: Policy, now: int, queued_at: int | None) -> Look:
    """Judges in the contract's order; the first rule that speaks against it decides.

    ``queued_at``: since when it waits for its first call, None: a call was made. All times in Unix ms.
    """
    rule = _rule(send, policy)
    over = _over(send, known, rule, now) or _unreachable(send, known, policy, rule)
    if over is not None or send.channel == "in_app" or send.priority == "critical":
        return over or _GO
    shed_ms = policy.shed_ms(send.priority)
    if shed_ms is not None and queued_at is not None and now - queued_at >= shed_ms:
        return Over("suppressed", "shed")
    return _quiet(send, known, policy, now)


def _rule(send: Send, policy: Policy) -> EventRule:
    """The category is the one that the send was judged by."""
    rule = policy.rule_of(send.event_type)
    category = policy.categories.get(send.category)
    return rule if category is None or category is rule.category else replace(rule, category=category)


def _over(send: Send, known: Known, rule: EventRule, now: int) -> Over | None:
    if known.erased:
        return Over("suppressed", "erased")
    if known.cancelled:
        return Over("cancelled")
    if now >= send.expires_at:
        return Over("expired")
    if not judge_preference(known.preferences, rule, send.event_type, send.channel).allowed:
        return Over("suppressed", "opted_out")
    if not judge_consent(known.granted, rule.category, send.channel).allowed:
        return Over("suppressed", "no_consent")
    stoppable = send.channel != "in_app" and send.priority != "critical"
    if stoppable and dnd_active(known.preferences.dnd, now):
        return Over("suppressed", "dnd")
    return None


def _unreachable(send: Send, known: Known, policy: Policy, rule: EventRule) -> Over | None:
    if send.channel == "in_app":
        return None
    if known.suppressed:
        return Over("suppressed", "suppression_list")
    if known.reach is None:
        return Over("suppressed", "no_address")
    unverified = not known.reach.verified
    if unverified and (known.reach.claimed or policy.verified_required(rule.category, send.channel)):
        return Over("suppressed", "unverified")
    return None


def _quiet(send: Send, known: Known, policy: Policy, now: int) -> Look:
    hours = hours_in_force(known.preferences, policy)
    if hours is None or send.channel not in hours.channels:
        return _GO
    until = hold_until(hours, known.zone, now)
    if until is None:
        return _GO
    return Hold(until, until + spread_offset_ms(hours.spread_ms, send.user_id))
