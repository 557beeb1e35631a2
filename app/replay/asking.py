"""What is asked of a replay, checked: its filters, its pace, how much new time it gives."""

from collections.abc import Mapping
from typing import Annotated, Final, TypeVar

from msgspec import Meta, Struct

from app.domain.policy import duration_ms
from app.jobs.pace import RATE_FORM, parse_rate
from schemas.decode import CampaignId, Category, EventType, Invalid, Reader
from schemas.instants import Instant, instant_ms, rfc3339
from schemas.replay_jobs import ReplayFilters, ReplayJob
from schemas.words import Channel, Provider, Status

T = TypeVar("T")

#: A replay names at most so many values in one filter.
MOST_VALUES = 100
_DURATION = r"^[1-9][0-9]{0,8}(ms|s|m|h|d)$(?!\n)"

EndReason = Annotated[str, Meta(min_length=1, max_length=100, pattern=r"^[a-z0-9_]+$(?!\n)")]
Duration = Annotated[str, Meta(max_length=12, pattern=_DURATION)]
RateText = Annotated[str, Meta(max_length=16, pattern=RATE_FORM)]
_Some = Meta(max_length=MOST_VALUES)


class ReplayAsked(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"from_": "from"}):
    """The body of ``POST /v1/replays``. A filter that is misspelt would send more than is meant: it is refused."""

    channel: Channel
    from_: Instant
    to: Instant
    provider: Annotated[tuple[Provider, ...], _Some] | None = None
    status: Annotated[tuple[Status, ...], _Some] | None = None
    reason: Annotated[tuple[EndReason, ...], _Some] | None = None
    category: Annotated[tuple[Category, ...], _Some] | None = None
    campaign: Annotated[tuple[CampaignId, ...], _Some] | None = None
    event_type: Annotated[tuple[EventType, ...], _Some] | None = None
    as_decided: bool | None = None
    rate: RateText | None = None
    expires_after: Duration | None = None
    dry_run: bool | None = None


read_asked: Final = Reader[ReplayAsked](ReplayAsked)

#: Who carries what.
PROVIDERS_OF: Final[Mapping[Channel, tuple[Provider, ...]]] = {
    "push": ("apns", "fcm", "webpush"),
    "email": ("ses", "sendgrid"),
    "sms": ("twilio", "vonage", "sns"),
}
#: The ends that a replay may be asked for. What was sent is never sent again; what went into a digest has gone on.
REPEATABLE: Final[tuple[Status, ...]] = ("expired", "failed", "unknown", "suppressed", "cancelled")

#: How long the send topics may have kept what is asked for, beyond what they have to keep: clocks differ.
_SLACK_MS = 60_000
_LONGEST_MS = 366 * 86_400_000


def job_of(
    asked: ReplayAsked, *, replay_id: str, by: str, now: int, kept_ms: int, default_rate: tuple[int, int]
) -> ReplayJob:
    """The job. Raises Invalid with the field. ``kept_ms``: for how long the channel's send topics keep sends.
    ``default_rate``: (candidates, in how many milliseconds)."""
    if asked.channel not in PROVIDERS_OF:
        raise Invalid(f"can't be replayed: it is one of {', '.join(PROVIDERS_OF)}", "channel")
    from_ms, to_ms = instant_ms(asked.from_, "from"), instant_ms(asked.to, "to")
    if from_ms >= to_ms:
        raise Invalid("is not after from", "to")
    if from_ms > now:
        raise Invalid("is in the future: nothing was queued then", "from")
    if from_ms < now - kept_ms - _SLACK_MS:
        raise Invalid(f"is older than the send topics, which begin at {rfc3339(now - kept_ms)}", "from")
    if asked.expires_after is not None and duration_ms(asked.expires_after) > _LONGEST_MS:
        raise Invalid("is more than 366 days", "expires_after")
    filters = ReplayFilters(
        from_ms=from_ms,
        to_ms=to_ms,
        provider=_each_once(asked.provider, "provider"),
        status=_each_once(asked.status, "status"),
        reason=_each_once(asked.reason, "reason"),
        category=_each_once(asked.category, "category"),
        campaign=_each_once(asked.campaign, "campaign"),
        event_type=_each_once(asked.event_type, "event_type"),
    )
    _check_ends(filters, asked.channel)
    rate, per_ms = default_rate if asked.rate is None else parse_rate(asked.rate)
    return ReplayJob(
        replay_id=replay_id,
        by=by,
        at=now,
        channel=asked.channel,
        filters=filters,
        rate=rate,
        per_ms=per_ms,
        as_decided=bool(asked.as_decided),
        dry_run=bool(asked.dry_run),
        expires_after_ms=None if asked.expires_after is None else duration_ms(asked.expires_after),
    )


def _check_ends(filters: ReplayFilters, channel: Channel) -> None:
    for provider in filters.provider:
        if provider not in PROVIDERS_OF[channel]:
            raise Invalid(f"{provider} doesn't carry {channel}: {', '.join(PROVIDERS_OF[channel])} do", "provider")
    for status in filters.status:
        if status not in REPEATABLE:
            raise Invalid(f"{status} is not an end that can be replayed: {', '.join(REPEATABLE)} are", "status")
    if "suppressed" in filters.status and not filters.reason:
        raise Invalid("is required where status names suppressed", "reason")


def _each_once(values: tuple[T, ...] | None, field: str) -> tuple[T, ...]:
    if values is not None and not values:
        raise Invalid("is empty: leave it out, or name what is to be replayed", field)
    return tuple(dict.fromkeys(values or ()))


# --- what the filters say of a send ---


def names_end(filters: ReplayFilters, status: str, reason: str | None) -> bool:
    """Whether the filters name an end of this status and reason. By default ``expired``, and ``failed`` with
    ``retries_exhausted``; other reasons and ``unknown`` only when named."""
    if filters.reason:
        return reason in filters.reason and status in (filters.status or REPEATABLE)
    if status == "failed":
        return reason == "retries_exhausted" and status in (filters.status or ("failed",))
    return status in (filters.status or ("expired",))


def names_send(
    filters: ReplayFilters, *, provider: str | None, category: str, campaign: str | None, event_type: str
) -> bool:
    """Whether every filter holds that isn't of the end."""
    return (
        (not filters.provider or provider in filters.provider)
        and (not filters.category or category in filters.category)
        and (not filters.campaign or campaign in filters.campaign)
        and (not filters.event_type or event_type in filters.event_type)
    )
