"""The order of evaluation: one channel of one notification, asked of every rule in turn.

See docs/policy.md#the-order-of-evaluation.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol

from msgspec import Struct

from app.domain.addresses import earlier_hash, parsed_hash
from app.domain.caps import Over, evaluate_caps
from app.domain.digest import DigestRule, key_of
from app.domain.policy import EventRule, Policy
from app.domain.preferences import (
    Preferences,
    caps_in_force,
    dnd_active,
    evaluate_consent,
    evaluate_preference,
    hours_in_force,
    own_cap_name,
)
from app.domain.quiet_hours import hold_until, spread_offset_ms
from app.domain.trail import Entry
from schemas.words import Channel, Platform, Priority, Provider

#: A device's platform is served by one provider.
PROVIDER_OF: dict[Platform, Provider] = {"ios": "apns", "android": "fcm", "web": "webpush"}

Act = Literal["queue", "hold", "digest", "suppress", "fail"]


class Device(Protocol):
    """What is asked of a device."""

    @property
    def device_id(self) -> str: ...
    @property
    def platform(self) -> Platform: ...
    @property
    def token_hash(self) -> bytes: ...


class Reachable(Protocol):
    """What is asked of a profile."""

    @property
    def email(self) -> str | None: ...
    @property
    def email_verified(self) -> bool: ...
    @property
    def phone(self) -> str | None: ...
    @property
    def phone_verified(self) -> bool: ...
    @property
    def email_claimed(self) -> bool: ...
    @property
    def phone_claimed(self) -> bool: ...
    @property
    def devices(self) -> Sequence[Device]: ...


class Recipient(Struct, gc=False):
    """What is known of a user at the moment of the judgement."""

    user_id: str
    profile: Reachable
    preferences: Preferences
    zone: str
    consent: Callable[[Channel, str], bool | None]
    suppressed: Callable[[Channel, bytes], bool]


class Subject(Struct, gc=False):
    """What is judged. ``own_id``: the notification's 16 bytes. ``data``: the request's, decoded when asked for."""

    rule: EventRule
    event_type: str
    priority: Priority
    own_id: bytes
    data: Callable[[], Mapping[str, Any]]
    #: It carries the code that verifies its address.
    verifies: bool = False
    #: Caps let it through whatever was counted: it was judged by them before.
    uncapped: bool = False


class Target(Struct, frozen=True, gc=False):
    """Where one send goes. ``provider``: the first in the policy's order that could carry it; None: none is configured
    for the device's platform."""

    device_id: str | None
    address: bytes
    provider: Provider | None
    #: Only those behind it in the policy's order carry it: it made a send of which nothing came back.
    after: Provider | None = None


class Verdict(Struct, gc=False):
    """What becomes of the channel, with every rule that was asked."""

    act: Act
    trail: list[Entry]
    reason: str | None = None
    #: When what holds it ends, and when it is let go (later, where holds are spread).
    until_ms: int = 0
    due_ms: int = 0
    over: Over | None = None
    digest: DigestRule | None = None
    #: The value that tells the rule's digests apart.
    digest_key: str = ""
    targets: tuple[Target, ...] = ()


Providers = Mapping[Channel, frozenset[Provider]]

_NO_DND: Entry = ("dnd", True)
_NO_DND_CRITICAL: Entry = ("dnd", True, "critical")
_NO_DND_INBOX: Entry = ("dnd", True, "in_app")
_LISTED: Entry = ("suppression_list", False)
_UNLISTED: Entry = ("suppression_list", True)
_NO_DIGEST: Entry = ("digest", True)
_NO_CAP: Entry = ("cap", True, "none")
_CAP_CRITICAL: Entry = ("cap", True, "critical")
_CAP_AS_DECIDED: Entry = ("cap", True, "as_decided")
_LOUD: Entry = ("quiet_hours", True, "none")
_LOUD_CRITICAL: Entry = ("quiet_hours", True, "critical")
_LOUD_CHANNEL: Entry = ("quiet_hours", True, "channel")
_ADDRESS_INBOX: Entry = ("address", True)
_ADDRESS_ONE: Entry = ("address", True, 1)
_ADDRESS_CODE: Entry = ("address", True, "code")
_INBOX: tuple[Target, ...] = (Target(None, b"", "inbox"),)


def evaluate_channel(
    channel: Channel,
    subject: Subject,
    recipient: Recipient,
    policy: Policy,
    providers: Providers,
    windows: Mapping[str, bytes],
    waiting: Mapping[str, Sequence[bytes]],
    undigested: bool,
    now: int,
) -> Verdict:
    """DND → preference and consent → suppression list → address → provider → digest → cap (the user's own limit first)
    → quiet hours → queued.

    ``undigested``: what comes out of a digest isn't digested again. ``windows``, ``waiting``: as ``evaluate_caps``.
    """
    trail: list[Entry] = []
    critical = subject.priority == "critical"
    if (reason := _unwanted(channel, subject, recipient, critical, now, trail)) is not None:
        return Verdict("suppress", trail, reason)
    provider = policy.provider_entry(channel, providers.get(channel, frozenset()))
    targets, reason = _targets(channel, subject, recipient, policy, provider, trail)
    if reason is not None:
        return Verdict("suppress", trail, reason)
    served = provider[1] and (channel != "push" or any(target.provider for target in targets))
    trail.append(provider if served else ("provider", False, *provider[2:]))
    if not served:
        return Verdict("fail", trail, "no_provider")
    if not undigested and (verdict := _gathered(channel, subject, critical, trail)) is not None:
        return verdict
    verdict = _capped(channel, subject, recipient, policy, windows, waiting, undigested, critical, now, trail)
    if verdict is not None:
        return verdict
    ends = _quiet_until(channel, recipient, policy, critical, now, trail)
    if ends is not None:
        due = ends + spread_offset_ms(policy.quiet_spread_ms, recipient.user_id)
        return Verdict("hold", trail, "quiet_hours", ends, due)
    return Verdict("queue", trail, targets=targets)


def _unwanted(
    channel: Channel, subject: Subject, recipient: Recipient, critical: bool, now: int, trail: list[Entry]
) -> str | None:
    """The reason for which the user doesn't want it, None if they do."""
    preferences = recipient.preferences
    if channel == "in_app":
        trail.append(_NO_DND_INBOX)
    elif critical:
        trail.append(_NO_DND_CRITICAL)
    elif dnd_active(preferences.dnd, now):
        trail.append(("dnd", False, preferences.dnd.until_ms if preferences.dnd else None))
        return "dnd"
    else:
        trail.append(_NO_DND)
    wanted = evaluate_preference(preferences, subject.rule, subject.event_type, channel)
    trail.append(("preference", wanted.allowed, wanted.by))
    if not wanted.allowed:
        return "opted_out"
    category = subject.rule.category
    consented = evaluate_consent(recipient.consent(channel, category.name), category, channel)
    trail.append(("consent", consented.allowed, consented.by))
    return None if consented.allowed else "no_consent"


def _targets(
    channel: Channel, subject: Subject, recipient: Recipient, policy: Policy, provider: Entry, trail: list[Entry]
) -> tuple[tuple[Target, ...], str | None]:
    """Where it can go, devices that none of ``provider`` serves marked; or the reason why it can't."""
    if channel == "in_app":
        trail.append(_UNLISTED)
        trail.append(_ADDRESS_INBOX)
        return _INBOX, None
    profile, suppressed = recipient.profile, recipient.suppressed
    known = False
    targets: tuple[Target, ...] = ()
    if channel == "push":
        verified, claimed = True, False
        known = bool(profile.devices)
        targets = tuple(
            [
                Target(d.device_id, d.token_hash, served if (served := PROVIDER_OF[d.platform]) in provider else None)
                for d in profile.devices
                if not suppressed("push", d.token_hash)
            ]
        )
    else:
        email = channel == "email"
        address = profile.email if email else profile.phone
        verified = profile.email_verified if email else profile.phone_verified
        claimed = profile.email_claimed if email else profile.phone_claimed
        if address:
            known = True
            hashed = parsed_hash(channel, address)
            earlier = earlier_hash(channel, address)
            listed = suppressed(channel, hashed) or (earlier is not None and suppressed(channel, earlier))
            first: Provider | None = provider[2] if provider[1] else None
            targets = () if listed else (Target(None, hashed, first),)
    if known and not targets:
        trail.append(_LISTED)
        return (), "suppression_list"
    trail.append(_UNLISTED)
    if not targets:
        trail.append(("address", False, "no_address"))
        return (), "no_address"
    if not verified and subject.verifies:
        trail.append(_ADDRESS_CODE)
        return targets, None
    if not verified and (claimed or policy.verified_required(subject.rule.category, channel)):
        trail.append(("address", False, "claimed" if claimed else "unverified"))
        return (), "unverified"
    trail.append(_ADDRESS_ONE if len(targets) == 1 else ("address", True, len(targets)))
    return targets, None


def _gathered(channel: Channel, subject: Subject, critical: bool, trail: list[Entry]) -> Verdict | None:
    rule = subject.rule.digest
    if rule is None or critical or channel not in rule.channels or not subject.rule.digestible:
        trail.append(_NO_DIGEST)
        return None
    key = key_of(rule, subject.data())
    if key is None:
        trail.append(("digest", True, "no_key"))
        return None
    return Verdict("digest", trail, "digest", digest=rule, digest_key=key)


def _capped(
    channel: Channel,
    subject: Subject,
    recipient: Recipient,
    policy: Policy,
    windows: Mapping[str, bytes],
    waiting: Mapping[str, Sequence[bytes]],
    undigested: bool,
    critical: bool,
    now: int,
    trail: list[Entry],
) -> Verdict | None:
    """By the user's own limit, then by the policy's caps."""
    caps = caps_in_force(recipient.preferences, policy, subject.rule.category.name, channel)
    if critical or not caps:
        trail.append(_CAP_CRITICAL if critical else _NO_CAP)
        return None
    if subject.uncapped:
        trail.append(_CAP_AS_DECIDED)
        return None
    over = evaluate_caps(caps, windows, waiting, subject.own_id, now)
    if over is None:
        room = policy.room_entry(subject.rule.category.name, channel)
        has_own = caps[0].name == own_cap_name(channel)
        trail.append(("cap", True, "room", caps[0].name, *room[3:]) if has_own else room)
        return None
    cap = over.cap
    asked = (cap.name, len(over.used_by), cap.limit, cap.window_ms, over.free_at_ms)
    if cap.over == "digest" and not undigested and subject.rule.digestible:
        rule = policy.digests[cap.digest or ""]
        key = key_of(rule, subject.data()) if channel in rule.channels else None
        if key is not None:
            trail.append(("cap", "wait", *asked))
            return Verdict("digest", trail, "digest", over=over, digest=rule, digest_key=key)
    if cap.over == "defer":
        trail.append(("cap", "wait", *asked))
        return Verdict("hold", trail, "rate_cap", over.free_at_ms, over.free_at_ms, over)
    trail.append(("cap", False, *asked))
    return Verdict("suppress", trail, "rate_cap", over=over)


def _quiet_until(
    channel: Channel, recipient: Recipient, policy: Policy, critical: bool, now: int, trail: list[Entry]
) -> int | None:
    if critical:
        trail.append(_LOUD_CRITICAL)
        return None
    hours = hours_in_force(recipient.preferences, policy)
    if hours is None or channel not in hours.channels or channel == "in_app":
        trail.append(_LOUD if hours is None else _LOUD_CHANNEL)
        return None
    ends = hold_until(hours, recipient.zone, now)
    if ends is None:
        trail.append(("quiet_hours", True, "day", recipient.zone))
        return None
    trail.append(("quiet_hours", "wait", recipient.zone, ends, hours.start, hours.end))
    return ends
