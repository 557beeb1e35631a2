"""The sections of a policy that say how what is queued is sent: providers, retries, failover, in_doubt, sms, shed; and
which devices are kept."""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any

from app.domain.policy.checks import UNITS_MS, Checks
from app.domain.policy.model import Failover, InDoubt, ProviderChoice, Rate, Retries, SmsLimit, WarmUp
from app.domain.policy.problems import Path
from schemas.words import CHANNELS, Channel, Priority, Provider

_PROVIDERS: dict[Channel, tuple[Provider, ...]] = {
    "push": ("apns", "fcm", "webpush"),
    "email": ("ses", "sendgrid"),
    "sms": ("twilio", "vonage", "sns"),
    "in_app": ("inbox",),
}
_RETRIES: dict[Channel, Retries] = {
    "push": Retries(5, 1_000, 60_000),
    "email": Retries(6, 5_000, 900_000),
    "sms": Retries(4, 2_000, 60_000),
    "in_app": Retries(5, 1_000, 60_000),
}


def providers_of(root: Mapping[str, Any], checks: Checks) -> dict[Channel, ProviderChoice]:
    providers = root.get("providers", {})
    choices: dict[Channel, ProviderChoice] = {}
    for channel in CHANNELS:
        entry = providers.get(channel, {})
        order = tuple(entry.get("order", _PROVIDERS[channel]))
        for section, left_out in (("limits", "its limit"), ("warm_up", "its plan")):
            for provider in entry.get(section, {}):
                if provider not in order:
                    path = ("providers", channel, section, provider)
                    checks.problem(path, f"{provider} isn't in the order", f"add it there, or leave out {left_out}")
        plans = {
            provider: _warm_up(("providers", channel, "warm_up", provider), plan, checks)
            for provider, plan in entry.get("warm_up", {}).items()
        }
        choices[channel] = ProviderChoice(order, {p: _rate(text) for p, text in entry.get("limits", {}).items()}, plans)
    return choices


def _warm_up(path: Path, plan: Mapping[str, Any], checks: Checks) -> WarmUp:
    try:
        since = datetime.fromisoformat(plan["since"]).replace(tzinfo=UTC)
    except ValueError:
        checks.problem((*path, "since"), f"is {plan['since']}, which isn't a date", "write one such as 2026-12-01")
        since = datetime(1970, 1, 1, tzinfo=UTC)
    every_ms = checks.duration((*path, "double_every"), plan["double_every"])
    return WarmUp(_rate(plan["start"]), every_ms or UNITS_MS["d"], round(since.timestamp() * 1000))


def retries_of(root: Mapping[str, Any], checks: Checks) -> dict[Channel, Retries]:
    retries = dict(_RETRIES)
    for channel, entry in root.get("retries", {}).items():
        path, default = ("retries", channel), _RETRIES[channel]
        retries[channel] = Retries(
            int(entry.get("attempts", default.attempts)),
            checks.duration((*path, "base"), entry["base"]) if "base" in entry else default.base_ms,
            checks.duration((*path, "cap"), entry["cap"]) if "cap" in entry else default.cap_ms,
        )
        if retries[channel].cap_ms < retries[channel].base_ms:
            checks.problem(path, "has a cap below its base", "raise cap, or lower base")
    return retries


def takeover_of(root: Mapping[str, Any], checks: Checks) -> dict[Channel, int]:
    """By channel, in milliseconds."""
    entries = root.get("failover", {})
    return {
        channel: checks.duration_or_0(("failover", channel, "after"), entry["after"])
        for channel, entry in entries.items()
        if "after" in entry
    }


def failover_of(path: Path, entries: Mapping[Channel, Mapping[str, Any]], checks: Checks) -> dict[Channel, Failover]:
    """A category's, by channel."""
    return {
        channel: Failover(
            checks.duration_or_0((*path, channel, "after"), entry["after"]) if "after" in entry else None,
            checks.duration((*path, channel, "no_receipt"), entry["no_receipt"]) if "no_receipt" in entry else None,
        )
        for channel, entry in entries.items()
    }


def stale_after_of(root: Mapping[str, Any], checks: Checks) -> int | None:
    text = root.get("devices", {}).get("stale_after")
    return None if text is None else checks.duration(("devices", "stale_after"), text)


def in_doubt_of(root: Mapping[str, Any], checks: Checks, categories: Collection[str]) -> InDoubt:
    entry = root.get("in_doubt", {})
    by_category = {name: then for name, then in entry.items() if name not in ("settle", "default")}
    for name in by_category:
        checks.known(("in_doubt", name), "category", name, categories)
    settle_ms = checks.duration_or_0(("in_doubt", "settle"), entry.get("settle", "5m"))
    return InDoubt(settle_ms, entry.get("default", "give_up"), by_category)


def sms_of(root: Mapping[str, Any]) -> SmsLimit | None:
    limit: dict[str, Any] = root.get("sms", {})
    return SmsLimit(limit["max_segments"], limit.get("over", "fail")) if "max_segments" in limit else None


def shed_of(root: Mapping[str, Any], checks: Checks) -> dict[Priority, int]:
    ages = {priority: text for priority, text in root.get("shed", {}).items() if priority != "backlog"}
    return {priority: checks.duration(("shed", priority), text) for priority, text in ages.items()}


def shed_backlog_of(
    root: Mapping[str, Any], checks: Checks, choices: Mapping[Channel, ProviderChoice]
) -> dict[Provider, int]:
    limits: dict[Provider, int] = root.get("shed", {}).get("backlog", {})
    used = {provider for choice in choices.values() for provider in choice.order}
    for provider in limits:
        if provider not in used:
            path = ("shed", "backlog", provider)
            checks.problem(path, f"{provider} is in no channel's order", "add it there, or leave out its limit")
    return {provider: int(limit) for provider, limit in limits.items()}


def _rate(text: str) -> Rate:
    count, unit = text.split("/")
    return Rate(int(count), UNITS_MS[unit])
