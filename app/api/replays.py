"""Replays: what a channel did not get out is sent again, with a receipt."""

import msgspec
from aiohttp import web
from msgspec import Struct

from app.api.audit_log import audited
from app.api.call import Call, answer
from app.api.callers import ADMIN, ADMIN_READ
from app.api.problems import Problem, later, problem_of, unknown
from app.api.routes import Route
from app.replay.asking import ReplayAsked, read_asked
from app.replay.jobs import Known
from app.replay.ledger import Candidate
from app.replay.receipt import DRY_RUN, OUTCOMES, JobStatus, Receipt
from app.replay.service import Ended, NoLongerKept, NotNow, TooMany
from schemas.decode import Invalid
from schemas.verifications import Uuid

_PATH = "/v1/replays"
_MOST = 500
_SHOWN = tuple(dict.fromkeys((*OUTCOMES, *DRY_RUN)))


class ReplayBegun(Struct, frozen=True):
    replay_id: str
    status: JobStatus


class ReplayList(Struct, frozen=True):
    """Newest first."""

    replays: list[Receipt]
    next_cursor: str | None = None


class CandidateList(Struct, frozen=True):
    """By send id."""

    candidates: list[Candidate]
    next_cursor: str | None = None


async def post(call: Call) -> web.Response:
    asked = await call.read(read_asked)
    try:
        job = call.deps.replays.prepare(asked, call.deps.new_id(), call.service.key_id)
    except Invalid as invalid:
        raise problem_of(invalid) from invalid
    except TooMany as error:
        raise _too_many() from error
    await audited(call, f"replay {job.replay_id} of {job.channel}{', dry run' if job.dry_run else ''}")
    return _status(await call.deps.replays.begin(job))


async def get_all(call: Call) -> web.Response:
    limit, cursor = call.integer("limit", 50, _MOST), call.query.get("cursor")
    try:
        replays, following = await call.deps.replays.receipts(limit, cursor)
    except LookupError as error:
        raise Problem(400, "is not a cursor", "cursor") from error
    except NotNow as error:
        raise _not_now() from error
    return answer(ReplayList(replays, following))


async def get(call: Call) -> web.Response:
    try:
        receipt = await call.deps.replays.receipt(call.path("id"))
    except NotNow as error:
        raise _not_now() from error
    if receipt is None:
        raise unknown("the replay")
    return answer(receipt)


async def get_candidates(call: Call) -> web.Response:
    outcome, limit = call.query.get("outcome"), call.integer("limit", 100, _MOST)
    if outcome is not None and outcome not in _SHOWN:
        raise Problem(400, f"is not one of {', '.join(_SHOWN)}", "outcome")
    try:
        page = await call.deps.replays.candidates(call.path("id"), outcome, _cursor(call), limit)
    except NotNow as error:
        raise _not_now() from error
    if page is None:
        raise unknown("the replay")
    return answer(CandidateList(page.candidates, page.following))


async def post_stop(call: Call) -> web.Response:
    try:
        known = call.deps.replays.may_stop(call.path("id"))
    except Ended as error:
        raise _ended() from error
    return await _request(call, known, stop=True)


async def post_resume(call: Call) -> web.Response:
    try:
        known = await call.deps.replays.may_resume(call.path("id"))
    except Ended as error:
        raise _ended() from error
    except TooMany as error:
        raise _too_many() from error
    except NoLongerKept as error:
        raise Problem(409, "its sends are no longer kept: begin another replay", "status") from error
    return await _request(call, known, stop=False)


async def _request(call: Call, known: Known | None, *, stop: bool) -> web.Response:
    if known is None or known.job is None:
        raise unknown("the replay")
    await audited(call, f"replay {known.job.replay_id}")
    return _status(await call.deps.replays.wish(known.job.replay_id, call.service.key_id, stop=stop))


def _ended() -> Problem:
    return Problem(409, "the replay is done", "status")


def _too_many() -> Problem:
    return Problem(409, "too many replays are running: wait until one ends, or stop one", "status")


def _status(known: Known | None) -> web.Response:
    if known is None or known.job is None:
        raise unknown("the replay")
    return answer(ReplayBegun(known.job.replay_id, known.status), 202)


def _cursor(call: Call) -> str:
    text = call.query.get("cursor")
    if text is None:
        return ""
    try:
        return msgspec.convert(text, Uuid)
    except msgspec.ValidationError as error:
        raise Problem(400, "is not a cursor", "cursor") from error


def _not_now() -> Problem:
    return later("the results of replays are still being read: try again")


_CURSOR = {"cursor": "The next_cursor of the previous page"}

ROUTES = (
    Route(
        "POST",
        _PATH,
        post,
        ADMIN,
        "Send again what a channel failed to deliver",
        {202: ReplayBegun},
        ReplayAsked,
        action="replay.begin",
    ),
    Route(
        "GET",
        _PATH,
        get_all,
        ADMIN_READ,
        "Replays of the last 90 days, newest first",
        {200: ReplayList},
        query={"limit": f"At most this many, 1 to {_MOST}; 50 by default", **_CURSOR},
    ),
    Route("GET", f"{_PATH}/{{id}}", get, ADMIN_READ, "The receipt of a replay", {200: Receipt}),
    Route(
        "GET",
        f"{_PATH}/{{id}}/candidates",
        get_candidates,
        ADMIN_READ,
        "What became of each candidate of a replay",
        {200: CandidateList},
        query={
            "outcome": f"Only those with this outcome: {', '.join(_SHOWN)}",
            "limit": f"At most this many, 1 to {_MOST}; 100 by default",
            **_CURSOR,
        },
    ),
    Route(
        "POST",
        f"{_PATH}/{{id}}/stop",
        post_stop,
        ADMIN,
        "Stop a replay: after 1 s it queues nothing more",
        {202: ReplayBegun},
        action="replay.stop",
    ),
    Route(
        "POST",
        f"{_PATH}/{{id}}/resume",
        post_resume,
        ADMIN,
        "Resume a stopped replay",
        {202: ReplayBegun},
        action="replay.resume",
    ),
)
