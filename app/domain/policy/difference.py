"""What a policy changes in another, by what they mean: written-out defaults and other spellings are no difference."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType

from app.domain.digest import DigestRule
from app.domain.fallback import Chain
from app.domain.holdout import percent
from app.domain.policy.model import Category, EventRule, Failover, Policy, ProviderChoice, Rate, WarmUp
from app.domain.quiet_hours import DAYS, EVERY_DAY, Hours
from schemas.words import CHANNELS

#: One rule as the document has it, every default filled in.
RuleDocument = dict[str, Any]

_UNITS = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000))


class Difference(Struct, frozen=True):
    """One key of one rule; ``old`` or ``new`` UNSET: it isn't said there."""

    rule: str
    key: str
    rule_is: Literal["changed", "new", "gone"] = "changed"
    old: Any | UnsetType = UNSET
    new: Any | UnsetType = UNSET


def differences(old: Policy, new: Policy) -> list[Difference]:
    """In the order of the document. An event type that follows its category, or the defaults, in both isn't named for
    what changes there."""
    before, after = _rules(old), _rules(new)
    types_before, types_after = _event_rules(old), _event_rules(new)
    found = []
    for rule in dict.fromkeys((*before, *after)):
        was, is_now = before.get(rule, {}), after.get(rule, {})
        for key in dict.fromkeys((*was, *is_now)):
            rule_is: Literal["changed", "new", "gone"] = (
                "new" if rule not in before else "gone" if rule not in after else "changed"
            )
            change = Difference(rule, key, rule_is, was.get(key, UNSET), is_now.get(key, UNSET))
            name = rule.removeprefix("event_types.")
            was_type, is_type = (None, None) if name == rule else (types_before.get(name), types_after.get(name))
            if change.old == change.new:
                continue
            if was_type is None or is_type is None or not _inherited(key, was_type, is_type, old, new):
                found.append(change)
    return found


def _inherited(key: str, was: EventRule, is_now: EventRule, old: Policy, new: Policy) -> bool:
    """Whether an event type's change is that of what it follows."""
    if was.category.name != is_now.category.name:
        return False
    match key:
        case "channels":
            return was.channels == was.category.channels and is_now.channels == is_now.category.channels
        case "digest":
            return was.digest == was.category.digest and is_now.digest == is_now.category.digest
        case "expires_after":
            return was.expires_after_ms == old.expires_after_ms and is_now.expires_after_ms == new.expires_after_ms
        case _:
            return False


def _event_rules(policy: Policy) -> dict[str, EventRule]:
    return {**policy.exact, **{f"{prefix}*": rule for prefix, rule in policy.patterns}}


def _rules(policy: Policy) -> dict[str, RuleDocument]:
    """Every rule of a policy by where it stands in the document."""
    return {
        "timezone": {"timezone": policy.timezone},
        "defaults": dict(_defaults(policy)),
        "critical": {"sources": None if policy.critical_sources is None else sorted(policy.critical_sources)},
        **{f"categories.{name}": _category(category) for name, category in policy.categories.items()},
        "caps": {"order": [cap.name for cap in policy.caps]},
        **{
            f"caps.{cap.name}": {
                "limit": cap.limit,
                "window": _time(cap.window_ms),
                "category": cap.category,
                "channel": cap.channel,
                "over": {"digest": cap.digest} if cap.over == "digest" else cap.over,
            }
            for cap in policy.caps
        },
        **{f"digests.{name}": _digest(digest) for name, digest in policy.digests.items()},
        **{f"event_types.{name}": _event_type(rule, policy) for name, rule in _event_rules(policy).items()},
        **_verification(policy.verification),
        **{f"providers.{channel}": _providers(policy.providers[channel]) for channel in CHANNELS},
        **{
            f"retries.{channel}": {"attempts": r.attempts, "base": _time(r.base_ms), "cap": _time(r.cap_ms)}
            for channel, r in policy.retries.items()
        },
        "failover": {f"{channel}.after": _time(ms) for channel, ms in policy.takeover_ms.items() if ms},
        "inbox": {
            "keep": _time(policy.inbox_keep_ms),
            "items": policy.inbox_items,
        },
        "devices": {"stale_after": None if policy.stale_after_ms is None else _time(policy.stale_after_ms)},
        "in_doubt": {
            "settle": _time(policy.in_doubt.settle_ms),
            "default": policy.in_doubt.default,
            **policy.in_doubt.by_category,
        },
        "sms": {
            "low": policy.low_by_sms,
            **({} if policy.sms is None else {"max_segments": policy.sms.max_segments, "over": policy.sms.over}),
        },
        "shed": {
            **{priority: _time(ms) for priority, ms in policy.shed.items()},
            **{f"backlog.{provider}": limit for provider, limit in policy.shed_backlog.items()},
        },
    }


def _defaults(policy: Policy) -> Iterator[tuple[str, Any]]:
    yield "category", policy.default_category.name
    yield "dedup.keys", _time(policy.dedup_keys_ms)
    yield "dedup.content", _time(policy.dedup_content_ms)
    yield "expires_after", _time(policy.expires_after_ms)
    yield "quiet_hours", _hours(policy.quiet_hours)
    yield "quiet_hours.channels", sorted(policy.quiet_channels)
    yield "quiet_hours.spread", _time(policy.quiet_spread_ms)
    for channel, verified in policy.verified.items():
        yield f"channels.{channel}.verified", verified


def _hours(hours: Hours | None) -> str | None:
    if hours is None:
        return None
    days = "" if hours.days == EVERY_DAY else " " + ",".join(d for n, d in enumerate(DAYS) if hours.days >> n & 1)
    return f"{_clock(hours.start)}-{_clock(hours.end)}{days}"


def _category(category: Category) -> RuleDocument:
    return {
        "channels": list(category.channels),
        "opt_out": "never" if category.opt_out_never else "allowed",
        "critical": category.critical,
        "default": _sorted({channel: on for channel, on in category.default.items() if not on}),
        "consent": sorted(category.consent),
        "verified": _sorted(category.verified),
        "unsubscribe": category.unsubscribe,
        "tracking": category.tracking,
        "footer": category.footer,
        "name": category.label or category.name,
        "description": category.description,
        "digest": None if category.digest is None else category.digest.name,
        "target": None if category.target_ms is None else _time(category.target_ms),
        "holdout": percent(category.holdout),
        "failover": {channel: _failover(rule) for channel, rule in sorted(category.failover.items())},
    }


def _failover(rule: Failover) -> RuleDocument:
    times = {"after": rule.after_ms, "no_receipt": rule.no_receipt_ms}
    return {key: _time(ms) for key, ms in times.items() if ms is not None}


def _digest(rule: DigestRule) -> RuleDocument:
    rhythm = rule.rhythm
    return {
        "template": rule.template,
        **(
            {"window": _time(rule.window_ms), "max_wait": _time(rule.max_wait_ms)}
            if rhythm is None
            else {"every": rhythm.every, "at": _clock(rhythm.at), "on": DAYS[rhythm.on]}
        ),
        "max_items": rule.max_items,
        "min_items": rule.min_items,
        "channels": sorted(rule.channels),
        "key": None if rule.key is None else ".".join(("data", *rule.key)),
        "first": rule.first,
        "drop_when_active": rule.drop_when_active,
    }


def _event_type(rule: EventRule, policy: Policy) -> RuleDocument:
    own = rule.digest is not None and policy.digests.get(rule.digest.name) != rule.digest
    return {
        "category": rule.category.name,
        "priority": rule.priority,
        "template": rule.template,
        "channels": list(rule.channels),
        "expires_after": _time(rule.expires_after_ms),
        "digest": None if rule.digest is None else _digest(rule.digest) if own else rule.digest.name,
        "fallback": None if rule.fallback is None else _chain(rule.fallback),
    }


def _verification(rule: EventRule) -> dict[str, RuleDocument]:
    """A policy has no say but in the template."""
    return {} if rule.template is None else {f"event_types.{rule.name}": {"template": rule.template}}


def _chain(chain: Chain) -> RuleDocument:
    return {"chain": list(chain.steps), "wait": _time(chain.wait_ms), "until": sorted(chain.until)}


def _providers(choice: ProviderChoice) -> RuleDocument:
    return {
        "order": list(choice.order),
        "limits": {p: _rate(rate) for p, rate in sorted(choice.limits.items())},
        "warm_up": {p: _warm_up(plan) for p, plan in sorted(choice.warm_up.items())},
    }


def _warm_up(plan: WarmUp) -> RuleDocument:
    since = datetime.fromtimestamp(plan.since / 1000, UTC).date().isoformat()
    return {"start": _rate(plan.start), "double_every": _time(plan.double_every_ms), "since": since}


def _rate(rate: Rate) -> str:
    return f"{rate.count}/{next(unit for unit, ms in _UNITS if ms == rate.per_ms)}"


def _sorted(values: Mapping[Any, Any]) -> dict[Any, Any]:
    return dict(sorted(values.items()))


def _time(ms: int) -> str:
    for unit, size in _UNITS:
        if ms and ms % size == 0:
            return f"{ms // size}{unit}"
    return f"{ms}ms" if ms else "0"


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02d}:{minutes % 60:02d}"
