"""What is asked of a campaign, checked; and whether it is what was asked for before."""

from collections.abc import Mapping
from hashlib import blake2b
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Raw, Struct

from app.domain.catalog import Catalog
from app.domain.holdout import share_of
from app.domain.zones import is_zone
from app.jobs.pace import RATE_FORM, parse_rate
from schemas.campaigns import Audience, CampaignJob, Row, Segment
from schemas.decode import EventType, Invalid, Malformed, Reader, TemplateId, TooLarge, UserId
from schemas.instants import Instant, instant_ms, rfc3339
from schemas.requests import MAX_DATA_BYTES, Content, LocalTime, Request, canonical_json, check_request, decoded_data
from schemas.words import Channel, Priority

MOST_USER_IDS = 10_000
#: As JSON: it travels in the address of a read.
MOST_SEGMENT_BYTES = 2 * 1024
#: How long the router remembers a campaign's request: longer than any process may be away that would ask again.
REMEMBERED_MS = 60 * 86_400_000

#: A campaign's id may stand in a path.
Name = Annotated[str, Meta(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$(?!\n)")]
RateText = Annotated[str, Meta(max_length=16, pattern=RATE_FORM)]
Percent = Annotated[str, Meta(max_length=8, pattern=r"^(100(\.0{1,2})?|[0-9]{1,2}(\.[0-9]{1,2})?)%$(?!\n)")]


class Terms(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a campaign says, and how. A parameter that is misspelt would send more than is meant: it is refused."""

    campaign_id: Name | None = None
    event_type: EventType
    template_id: TemplateId | None = None
    content: Content | None = None
    data: Raw = Raw(b"")
    channels: Annotated[list[Channel], Meta(max_length=16)] | None = None
    priority: Priority | None = None
    send_at: Instant | None = None
    local_time: LocalTime | None = None
    expires_at: Instant | None = None
    rate: RateText | None = None
    canary: Percent | None = None
    holdout: Percent | None = None


class CampaignAsked(Terms, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of ``POST /v1/campaigns`` as JSON: the terms, and exactly one of ``user_ids``, ``segment`` and
    ``all``."""

    user_ids: Annotated[list[UserId], Meta(min_length=1, max_length=MOST_USER_IDS)] | None = None
    segment: Segment | None = None
    all: bool | None = None


read_asked: Final = Reader[CampaignAsked](CampaignAsked)
_read_terms: Final = Reader[Terms](Terms)

#: Of the query: what is JSON there, and what may be a list with commas.
_OBJECTS = ("content", "data")
_NAMES = frozenset(Terms.__struct_fields__)


def read_query(query: Mapping[str, str]) -> Terms:
    """The terms of an upload. Raises Invalid with the field."""
    given: dict[str, Any] = {}
    for name, text in query.items():
        if name not in _NAMES:
            raise Malformed("is unknown", name)
        if name in _OBJECTS or (name == "channels" and text.lstrip().startswith("[")):
            given[name] = _json(name, text)
        elif name == "channels":
            given[name] = [part.strip() for part in text.split(",")]
        else:
            given[name] = text
    try:
        return _read_terms(msgspec.json.encode(given))
    except UnicodeEncodeError as error:
        raise Malformed("is not UTF-8", "query") from error


_read_json: Final = Reader[Raw](Raw)


def _json(name: str, text: str) -> Raw:
    try:
        return Raw(bytes(_read_json(text)))
    except Invalid as invalid:
        raise Malformed(f"is not JSON: {invalid.reason}", name) from invalid


def audience_of(asked: CampaignAsked) -> Audience:
    """Raises Invalid unless it is exactly one."""
    given = [asked.user_ids is not None, asked.segment is not None, bool(asked.all)]
    if sum(given) != 1:
        raise Malformed("give exactly one of user_ids, segment and all, or upload the users", "user_ids")
    if asked.user_ids is not None:
        return "listed"
    return "all" if asked.all else "segment"


def job_of(
    terms: Terms,
    audience: Audience,
    segment: Segment | None,
    *,
    notification_id: str,
    campaign_id: str,
    source: str,
    by: str,
    now: int,
) -> CampaignJob:
    """The job, whatever the policy says of it (``check_job``). Raises Invalid with the field."""
    rate, per_ms = (0, 1000) if terms.rate is None else parse_rate(terms.rate)
    job = CampaignJob(
        notification_id=notification_id,
        campaign_id=campaign_id,
        source=source,
        by=by,
        at=now,
        event_type=terms.event_type,
        audience=audience,
        priority=terms.priority or "low",
        digests={},
        template_id=terms.template_id,
        content=terms.content,
        data=_data_of(terms),
        channels=None if terms.channels is None else tuple(dict.fromkeys(terms.channels)),
        send_at=None if terms.send_at is None else instant_ms(terms.send_at, "send_at"),
        local_time=terms.local_time,
        expires_at=None if terms.expires_at is None else instant_ms(terms.expires_at, "expires_at"),
        rate=rate,
        per_ms=per_ms,
        canary=None if terms.canary is None else share_of(terms.canary),
        holdout=None if terms.holdout is None else share_of(terms.holdout),
        segment=segment,
    )
    return msgspec.structs.replace(job, digests=_digests(job))


def check_job(job: CampaignJob, catalog: Catalog) -> None:
    """Whether the campaign may begin, by the policy in force. Raises Invalid with the field."""
    if job.priority == "critical":
        raise Invalid("a campaign is never critical", "priority")
    rule = catalog.policy.rule_of(job.event_type)
    if rule.category.critical:
        raise Invalid(f"is of the category {rule.category.name}, whose notifications are critical", "event_type")
    check_request(request_of(job, Row("-"), job.at), job.at, catalog.bounds.link_schemes)
    template_id = job.template_id or (rule.template if job.content is None else None)
    if job.content is None and template_id is None:
        raise Invalid("give template_id or content: the policy has no template for this event type", "template_id")
    if template_id is not None and catalog.template(template_id) is None:
        raise Invalid(f"there is no template {template_id}", "template_id")
    if job.segment is not None:
        _check_segment(job.segment)


def _check_segment(segment: Segment) -> None:
    if not any(getattr(segment, name) for name in Segment.__struct_fields__):
        raise Invalid("is empty: say whom it is for, or give all", "segment")
    if len(msgspec.json.encode(segment)) > MOST_SEGMENT_BYTES:
        raise TooLarge(f"is larger than {MOST_SEGMENT_BYTES // 1024} KiB as compact JSON", "segment")
    if segment.timezone is not None and not is_zone(segment.timezone):
        raise Invalid("is not an IANA time zone", "segment.timezone")


def _data_of(terms: Terms) -> str | None:
    """As compact JSON. Raises Invalid."""
    data = bytes(terms.data)
    if data in (b"", b"null"):
        return None
    if not data.startswith(b"{"):
        raise Malformed("is not an object", "data")
    return msgspec.json.encode(msgspec.json.decode(data)).decode()


def _digests(job: CampaignJob) -> dict[str, str]:
    """A hash of each parameter; what isn't given has none."""
    parameters: dict[str, Any] = {
        "event_type": job.event_type,
        "template_id": job.template_id,
        "content": job.content,
        "data": None if job.data is None else decoded_data(job.data.encode()),
        "channels": job.channels,
        "priority": job.priority,
        "send_at": job.send_at,
        "local_time": job.local_time,
        "expires_at": job.expires_at,
        "rate": (job.rate, job.per_ms) if job.rate else None,
        "canary": job.canary,
        "holdout": job.holdout,
        "segment": job.segment,
        "all": True if job.audience == "all" else None,
    }
    return {name: _hash(value) for name, value in parameters.items() if value is not None}


def _hash(value: Any) -> str:
    return blake2b(canonical_json(msgspec.to_builtins(value)), digest_size=8).hexdigest()


def differing(before: CampaignJob, now: CampaignJob) -> str | None:
    """The first parameter in which a campaign that is asked for again differs."""
    names = dict.fromkeys((*now.digests, *before.digests))
    return next((name for name in names if before.digests.get(name) != now.digests.get(name)), None)


# --- its requests ---


def request_of(job: CampaignJob, row: Row, now: int, common: Mapping[str, Any] | None = None) -> Request:
    """One recipient's request, produced ``now``. ``common``: the campaign's data, decoded."""
    since = job.send_at if job.send_at is not None else job.at
    data = merged_data(job, row, common)
    request = Request(
        user_id=row.user_id,
        event_type=job.event_type,
        template_id=job.template_id,
        content=job.content,
        channels=None if job.channels is None else list(job.channels),
        priority=job.priority,
        notification_id=job.notification_id,
        source=job.source,
        campaign_id=job.campaign_id,
        send_at=rfc3339(since) if job.send_at is not None or job.local_time is not None else None,
        local_time=job.local_time,
        expires_at=None if job.expires_at is None else rfc3339(job.expires_at),
        remembered_until=rfc3339(now + REMEMBERED_MS),
    )
    return request if data is None else msgspec.structs.replace(request, data=Raw(data.encode()))


def merged_data(job: CampaignJob, row: Row, common: Mapping[str, Any] | None = None) -> str | None:
    """The campaign's data, over which the recipient's own goes, as JSON."""
    if row.data is None or job.data is None:
        return row.data if job.data is None else job.data
    ours = msgspec.json.decode(job.data) if common is None else common
    return msgspec.json.encode({**ours, **msgspec.json.decode(row.data)}).decode()


def check_row_data(job: CampaignJob, row: Row) -> None:
    """Raises TooLarge where the data of campaign and recipient together are too much."""
    if row.data is None or len(row.data.encode()) + len((job.data or "").encode()) <= MAX_DATA_BYTES:
        return
    if len((merged_data(job, row) or "").encode()) > MAX_DATA_BYTES:
        raise TooLarge("is larger than 64 KiB as compact JSON, the campaign's own data included", "data")
