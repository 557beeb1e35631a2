"""Campaigns: one message to many, who are named, uploaded, or found by what is known of them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

import msgspec
from aiohttp import web
from msgspec import UNSET, Meta, Struct, UnsetType

from app.api.audit_log import audited, changes_nothing
from app.api.call import Call, answer
from app.api.callers import CAMPAIGN
from app.api.commands import check_in_path
from app.api.problems import Problem, problem_of, unknown
from app.api.routes import Route
from app.campaigns.asking import CampaignAsked, audience_of, check_row_data, read_asked, read_query
from app.campaigns.jobs import Known
from app.campaigns.rows import Format, Refused, Rows, rows_of
from app.campaigns.running import cancel_command
from app.campaigns.service import Act, Differs, HasEnded, TooMany, Uploading
from app.domain.holdout import percent
from app.jobs.pace import show_rate
from app.store.clickhouse import Unavailable
from schemas.campaigns import CampaignJob, Row, RowError
from schemas.decode import Invalid
from schemas.instants import rfc3339

_PATH = "/v1/campaigns"
_MOST = 500
MAX_JSON_BYTES = 16 << 20
#: Rows that are looked at before other calls have their turn.
_AT_A_TIME = 200

Status = Literal["uploading", "scheduled", "running", "paused", "done", "cancelled"]
#: The content types of JSON, also where none is given.
_JSON = ("application/json", "application/octet-stream", "application/x-www-form-urlencoded")
_UPLOADS: dict[str, Format] = {"application/x-ndjson": "application/x-ndjson", "text/csv": "text/csv"}


_DESCRIBED = {"data": Annotated[dict[str, Any] | None, Meta(description="At most 64 KiB as compact JSON")]}
#: The body as it is described to callers.
CampaignBody = msgspec.defstruct(
    "CampaignBody",
    [
        (each.name, each.type) if each.required else (each.name, _DESCRIBED.get(each.name, each.type), None)
        for each in msgspec.structs.fields(CampaignAsked)
    ],
    kw_only=True,
)


class CampaignTaken(Struct, frozen=True):
    campaign_id: str
    notification_id: str
    status: Status


class Campaign(Struct, frozen=True):
    """``recipients``: users, each once. ``produced``: requests that the log has. ``refused``: rows, of the first of
    which ``errors`` says why. ``delivery``: sends by channel and by what became of them; null where that can't be asked
    now."""

    campaign_id: str
    notification_id: str
    status: Status
    event_type: str
    created_at: str
    recipients: int
    produced: int
    refused: int
    errors: Annotated[tuple[RowError, ...], Meta(max_length=100)]
    template_id: str | None = None
    priority: str | None = None
    send_at: str | None = None
    local_time: str | None = None
    expires_at: str | None = None
    rate: str | None = None
    canary: str | None = None
    holdout: str | None = None
    delivery: dict[str, dict[str, int]] | UnsetType | None = UNSET


class CampaignList(Struct, frozen=True):
    """Newest first; without ``delivery``."""

    campaigns: list[Campaign]
    next_cursor: str | None = None


async def post(call: Call) -> web.Response:
    media = call.request.content_type if "Content-Type" in call.request.headers else "application/json"
    try:
        if media in _UPLOADS:
            return await _post_rows(call, _UPLOADS[media])
        if media in _JSON or media.endswith("+json"):
            return await _post_json(call)
    except Invalid as invalid:
        raise problem_of(invalid) from invalid
    except Differs as error:
        raise Problem(409, "differs from the campaign that has this name", error.field) from error
    except TooMany as error:
        raise Problem(
            409, "too many campaigns are active: wait until one ends, or cancel one", "campaign_id"
        ) from error
    raise Problem(415, "is not one of application/json, application/x-ndjson and text/csv", "Content-Type")


async def _post_json(call: Call) -> web.Response:
    asked = await call.read(read_asked, MAX_JSON_BYTES)
    call.check_event_type(asked.event_type)
    _check_name(asked.campaign_id)
    audience = audience_of(asked)
    service = call.service
    job, known = call.deps.campaigns.prepare(asked, audience, asked.segment, service.source, service.key_id)
    known = await _begun(call, job, known)
    if audience != "listed" or known.has_ended:
        return _taken(call, known)
    upload = await call.deps.campaigns.uploading(job)
    if upload is not None:
        try:
            for user_id in dict.fromkeys(asked.user_ids or ()):
                upload.add(Row(user_id))
                if upload.is_full:
                    await upload.flush()
            await upload.end()
        except BaseException:
            await asyncio.shield(upload.break_off())
            raise
    return _taken(call, _known(call, job))


async def _post_rows(call: Call, kind: Format) -> web.Response:
    charset = call.request.charset
    if charset is not None and charset.lower() not in ("utf-8", "utf8", "us-ascii"):
        raise Problem(415, "is not UTF-8", "Content-Type")
    for name in call.query:
        if len(call.request.query.getall(name)) > 1:
            raise Problem(400, "is given twice", name)
    terms = read_query(call.query)
    call.check_event_type(terms.event_type)
    _check_name(terms.campaign_id)
    service = call.service
    job, known = call.deps.campaigns.prepare(terms, "listed", None, service.source, service.key_id)
    if known is not None and known.has_ended:
        changes_nothing(call)
        return await _answered_after_reading(call, job)
    rows = rows_of(kind, lambda row: check_row_data(job, row))
    upload: Uploading | None = None
    try:
        async for row in _each(call, rows):
            if isinstance(row, int):
                if upload is not None:
                    await upload.flush()
                continue
            if upload is None:
                # Not before there is a row: of what can't be read at all nothing stays.
                await _begun(call, job, known)
                upload = await call.deps.campaigns.uploading(job)
                if upload is None:
                    return await _answered_after_reading(call, job)
            upload.add(row)
            if upload.is_full:
                await upload.flush()
        if upload is None:
            raise Problem(400, "has no rows", "body")
        await upload.end()
    except BaseException:
        if upload is not None:
            await asyncio.shield(upload.break_off())
        raise
    return _taken(call, _known(call, job))


async def _each(call: Call, rows: Rows) -> AsyncIterator[Row | Refused | int]:
    """Each row, and after all that has come together how many bytes it was."""
    async for octets in call.stream():
        for number, row in enumerate(rows.feed(octets), 1):
            yield row
            if number % _AT_A_TIME == 0:
                await asyncio.sleep(0)  # others' calls have their turn
        yield len(octets)
    for row in rows.end():
        yield row


async def _answered_after_reading(call: Call, job: CampaignJob) -> web.Response:
    """The campaign has ended and takes nobody any more; but whoever sends users reads the answer only afterwards."""
    async for _ in call.stream():
        pass
    return _taken(call, _known(call, job))


async def _begun(call: Call, job: CampaignJob, known: Known | None) -> Known:
    """Enters the campaign, unless it is there."""
    if known is not None and (known.has_ended or job.audience != "listed"):
        changes_nothing(call)
        return known
    await audited(call, _named(job))
    return known if known is not None else await call.deps.campaigns.begin(job)


def _check_name(campaign_id: str | None) -> None:
    if campaign_id is not None:
        check_in_path(campaign_id, "campaign_id")


def _known(call: Call, job: CampaignJob) -> Known:
    known = call.deps.campaigns.find(job.source, job.campaign_id)
    if known is None:
        raise unknown("the campaign")
    return known


def _named(job: CampaignJob) -> str:
    return f"campaign {job.campaign_id} of {job.source or 'no source'}"


def _taken(call: Call, known: Known) -> web.Response:
    job = known.job
    assert job is not None
    status: Any = call.deps.campaigns.status(known)
    return answer(CampaignTaken(job.campaign_id, job.notification_id, status), 202)


# --- one that there is ---


async def get_all(call: Call) -> web.Response:
    limit, cursor = call.integer("limit", 50, _MOST), call.query.get("cursor")
    try:
        page, following = call.deps.campaigns.of_source(call.service.source, limit, cursor)
    except LookupError as error:
        raise Problem(400, "is not a cursor", "cursor") from error
    return answer(CampaignList([_shown(call, known) for known in page], following))


async def get(call: Call) -> web.Response:
    known = call.deps.campaigns.find(call.service.source, call.path("id"))
    if known is None or known.job is None:
        raise unknown("the campaign")
    try:
        found = await call.deps.history.status(known.job.notification_id)
    except Unavailable:
        return answer(_shown(call, known, None))
    return answer(_shown(call, known, {} if found is None else found["delivery"]))


async def delete(call: Call) -> web.Response:
    return await _act(call, "cancel")


async def post_pause(call: Call) -> web.Response:
    return await _act(call, "pause")


async def post_resume(call: Call) -> web.Response:
    return await _act(call, "run")


async def _act(call: Call, act: Act) -> web.Response:
    campaigns = call.deps.campaigns
    try:
        known = campaigns.may(call.service.source, call.path("id"))
        if known is None or known.job is None:
            raise unknown("the campaign")
        call.check_event_type(known.job.event_type)
        await audited(call, _named(known.job))
        after = await campaigns.control(known, act, call.service.key_id)
    except HasEnded as error:
        raise Problem(409, f"the campaign is {error.status}", "status") from error
    if act == "cancel":
        # Whoever runs it says so, too: but then this call's caller knows that what isn't sent yet won't be.
        await cancel_command(call.deps.publisher, call.deps.partitions, known.job, call.deps.clock())
    return _taken(call, after)


def _shown(call: Call, known: Known, delivery: dict[str, dict[str, int]] | UnsetType | None = UNSET) -> Campaign:
    job, state = known.job, known.progress
    assert job is not None
    status: Any = call.deps.campaigns.status(known)
    return Campaign(
        campaign_id=job.campaign_id,
        notification_id=job.notification_id,
        status=status,
        event_type=job.event_type,
        created_at=rfc3339(job.at),
        recipients=state.recipients,
        produced=state.produced,
        refused=state.refused,
        errors=state.errors,
        template_id=job.template_id,
        priority=job.priority,
        send_at=None if job.send_at is None else rfc3339(job.send_at),
        local_time=job.local_time,
        expires_at=None if job.expires_at is None else rfc3339(job.expires_at),
        rate=show_rate(job.rate, job.per_ms) if job.rate else None,
        canary=None if job.canary is None else percent(job.canary),
        holdout=None if job.holdout is None else percent(job.holdout),
        delivery=delivery,
    )


_TERMS = {
    "campaign_id": "Of an upload: names the campaign; by default a new one",
    "event_type": "Of an upload, required: what happened",
    "template_id": "Of an upload: a template",
    "content": "Of an upload: literal content, as JSON",
    "data": "Of an upload: what all rows have in common, as JSON",
    "channels": "Of an upload: with commas, or as JSON",
    "priority": "Of an upload: high, normal or low; low by default",
    "send_at": "Of an upload: when it begins (RFC 3339)",
    "local_time": "Of an upload: a time of day in each user's zone, such as 09:00",
    "expires_at": "Of an upload: nothing is sent after it (RFC 3339)",
    "rate": "Of an upload: how fast at most, such as 500/s",
    "canary": "Of an upload: the part of the users that gets it first, such as 1%",
    "holdout": "Of an upload: the part of the users that gets nothing, such as 5%",
}


def _begin(path: str) -> Route:
    return Route(
        "POST",
        path,
        post,
        CAMPAIGN,
        "Send one message to many; repeating it returns its status, and adds users",
        {202: CampaignTaken},
        CampaignBody,
        query=_TERMS,
        action="campaign.begin",
        takes=("application/json", "application/x-ndjson", "text/csv"),
    )


ROUTES = (
    _begin(_PATH),
    _begin("/v1/notifications/batch"),
    Route(
        "GET",
        _PATH,
        get_all,
        CAMPAIGN,
        "The source's campaigns, newest first",
        {200: CampaignList},
        query={
            "limit": f"At most this many, 1 to {_MOST}; 50 by default",
            "cursor": "The next_cursor of the previous page",
        },
    ),
    Route("GET", f"{_PATH}/{{id}}", get, CAMPAIGN, "A campaign's status and progress", {200: Campaign}),
    Route(
        "DELETE",
        f"{_PATH}/{{id}}",
        delete,
        CAMPAIGN,
        "Cancel a campaign: nothing more is produced, and what isn't sent yet ends cancelled",
        {202: CampaignTaken},
        action="campaign.cancel",
    ),
    Route(
        "POST",
        f"{_PATH}/{{id}}/pause",
        post_pause,
        CAMPAIGN,
        "Pause a campaign: after 1 s nothing more is produced",
        {202: CampaignTaken},
        action="campaign.pause",
    ),
    Route(
        "POST",
        f"{_PATH}/{{id}}/resume",
        post_resume,
        CAMPAIGN,
        "Resume a paused campaign where it stopped",
        {202: CampaignTaken},
        action="campaign.resume",
    ),
)
