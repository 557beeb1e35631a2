"""Dead letters: what couldn't be taken, with the reason and the field; shown, and put back."""

from base64 import b64decode
from typing import Annotated, Any

import msgspec
from aiohttp import web
from msgspec import Meta, Struct

from app.api.audit_log import audited, changes_nothing
from app.api.call import Call, answer
from app.api.callers import ADMIN, ADMIN_READ
from app.api.problems import Problem, problem_of, unknown
from app.api.redriving import checked_would_become, would_become
from app.api.routes import Route
from app.domain.partition import partition_of
from app.domain.placement import receipt_partition
from app.domain.redrive import Original, is_letter_id
from app.store.dead_letters import Letter, TooMany, Wanted
from app.store.redriver import MOST_PLACES, Result, Would
from schemas.dead import Contents
from schemas.decode import Invalid, Reader
from schemas.instants import Instant, instant_ms
from schemas.receipts import read_receipt
from schemas.sizes import MIB
from schemas.topics import RECEIPTS

_PATH = "/v1/dead"
_MOST = 500
_MOST_IDS = 1000
#: A corrected record in base64, in JSON.
_MAX_BODY_BYTES = 2 * MIB

LetterId = Annotated[str, Meta(pattern=r"^[0-9]{1,9}-[0-9]{1,18}$(?!\n)", extra_json_schema={"examples": ["3-1204"]})]
_Text = Annotated[str, Meta(max_length=1000)]
_Base64 = Annotated[str, Meta(max_length=_MAX_BODY_BYTES)]
_Header = tuple[Annotated[str, Meta(max_length=1000)], _Base64 | None]


class DeadPage(Struct, frozen=True):
    """Newest first; each letter as on notify_dead, and its place there as ``id``; ``redriven`` where it was put back,
    ``first`` where it is of a record that was."""

    letters: list[dict[str, Any]]
    next_cursor: str | None = None


class Edited(Struct, frozen=True, kw_only=True):
    """The corrected record: ``key``, ``value`` and the headers' values in base64. Headers left out: as they were."""

    key: _Base64 | None = None
    value: _Base64
    headers: Annotated[list[_Header], Meta(max_length=1000)] | None = None


class RedriveBody(Struct, frozen=True, kw_only=True, rename={"from_": "from"}):
    """Either ``ids``, or at least one of the others, which all must hold. ``edited``: for one id."""

    ids: Annotated[list[LetterId], Meta(min_length=1, max_length=_MOST_IDS)] | None = None
    reason: _Text | None = None
    code: _Text | None = None
    field: _Text | None = None
    topic: _Text | None = None
    from_: Instant | None = None
    to: Instant | None = None
    dry_run: bool = False
    edited: Edited | None = None


class Redriving(Struct, frozen=True, omit_defaults=True):
    """Letters of one place count as one."""

    matched: int
    redriven: int
    refused: list[dict[str, str]]
    #: Of users who were erased after the letter's record.
    left_out: int
    #: Of a dry run.
    would: dict[Would, int] | None = None


_read_body: Reader[RedriveBody] = Reader(RedriveBody)


async def get(call: Call) -> web.Response:
    query = call.query
    wanted = Wanted(
        query.get("reason"),
        query.get("code"),
        query.get("field"),
        query.get("topic"),
        _instant(query.get("from"), "from"),
        _instant(query.get("to"), "to"),
    )
    limit, cursor = call.integer("limit", 50, _MOST), query.get("cursor")
    try:
        letters, following = await call.deps.dead.newest(limit, cursor, wanted)
    except ValueError as error:
        raise Problem(400, "is not a cursor", "cursor") from error
    return answer(DeadPage([_document(call, letter) for letter in letters], following))


async def get_one(call: Call) -> web.Response:
    return answer(_document(call, await _one(call, call.path("letter_id"), "letter_id")))


async def redrive(call: Call) -> web.Response:
    body = await call.read(_read_body, _MAX_BODY_BYTES)
    asked = _asked(body)
    if body.edited is not None:
        return await _redrive_edited(call, body, body.edited)
    deps = call.deps
    try:
        if body.dry_run:
            changes_nothing(call)
            now, catalog = deps.clock(), deps.config.catalog
            result = await deps.redriver.dry_run(asked, lambda it: would_become(it, catalog, deps.partitions, now))
            return answer(_redriving(result))
        await audited(call, _words(body))
        return answer(_redriving(await deps.redriver.redrive(asked, call.service.key_id)), 202)
    except TooMany as error:
        raise Problem(
            422, f"that are too many letters for one call, which puts back {MOST_PLACES}: narrow it", "from"
        ) from error


async def _redrive_edited(call: Call, body: RedriveBody, edited: Edited) -> web.Response:
    deps = call.deps
    assert body.ids is not None
    letter = await _one(call, body.ids[0], "ids")
    if (why := deps.redriver.why_not(letter)) is not None:
        raise Problem(422, why, "ids")
    corrected = _corrected(deps.redriver.original(letter), edited, deps.partitions)
    try:
        would = checked_would_become(corrected, deps.config.catalog, deps.partitions, deps.clock())
    except Invalid as invalid:
        raise Problem(422, invalid.reason, f"edited.{invalid.field or 'value'}") from invalid
    if body.dry_run:
        changes_nothing(call)
        counts: dict[Would, int] = {"accepted": 0, "expired": 0, "dead": 0, would: 1}
        return answer(_redriving(Result(1, 0, [], 0, counts)))
    await audited(call, f"letter {letter.id}, edited")
    return answer(_redriving(await deps.redriver.redrive_edited(letter, corrected, call.service.key_id)), 202)


def _corrected(original: Original, edited: Edited, partitions: int) -> Original:
    """The corrected record, in the partition of its key. Raises Problem."""
    key, value = _decoded(edited.key, "edited.key"), _decoded(edited.value, "edited.value") or b""
    headers = original.contents.headers
    if edited.headers is not None:
        headers = [(name, _decoded(text, "edited.headers")) for name, text in edited.headers]
    partition = original.partition if key is None else partition_of(key, partitions)
    if key is None and original.topic == RECEIPTS:
        try:
            partition = receipt_partition(key, read_receipt(value), partitions)
        except Invalid as invalid:
            raise Problem(422, invalid.reason, f"edited.{invalid.field or 'value'}") from invalid
    if partition >= partitions:
        raise Problem(422, "names a partition that isn't there", "edited.send_id")
    return Original(
        original.place,
        original.first,
        original.topic,
        partition,
        original.timestamp_ms,
        Contents(key, value, headers),
    )


def _decoded(text: str | None, field: str) -> bytes | None:
    try:
        return None if text is None else b64decode(text, validate=True)
    except ValueError as error:
        raise Problem(400, "is not base64", field) from error


def _asked(body: RedriveBody) -> list[str] | Wanted:
    """Raises Problem."""
    wanted = Wanted(
        body.reason, body.code, body.field, body.topic, _instant(body.from_, "from"), _instant(body.to, "to")
    )
    if body.ids is None and wanted == Wanted():
        raise Problem(400, "give ids, or at least one of reason, code, field, topic, from and to", "ids")
    if body.ids is not None and wanted != Wanted():
        raise Problem(400, "give ids or a filter, not both", "ids")
    if body.edited is not None and (body.ids is None or len(body.ids) != 1):
        raise Problem(400, "is for one id", "edited")
    return wanted if body.ids is None else body.ids


def _words(body: RedriveBody) -> str:
    """For the audit log: which letters, by ids or filter. Reasons are Tocsin's own words, and may quote a record."""
    if body.ids is not None:
        return f"{len(body.ids)} letters: {', '.join(body.ids)}"
    asked = {"code": body.code, "field": body.field, "topic": body.topic, "from": body.from_, "to": body.to}
    words = [f"{name} {value}" for name, value in asked.items() if value is not None]
    return f"letters by {', '.join([*words, *(['reason'] if body.reason is not None else [])])}"


async def _one(call: Call, letter_id: str, field: str) -> Letter:
    letter = await call.deps.redriver.one(letter_id) if is_letter_id(letter_id) else None
    if letter is None:
        raise unknown("the letter", field)
    return letter


def _document(call: Call, found: Letter) -> dict[str, Any]:
    document = {"id": found.id, **msgspec.to_builtins(found.letter)}
    if (redriven := call.deps.redriver.redriven(found)) is not None:
        document["redriven"] = msgspec.to_builtins(redriven)
    if (first := call.deps.redriver.original(found).first) is not None:
        document["first"] = first
    return document


def _redriving(result: Result) -> Redriving:
    refused = [refusal._asdict() for refusal in result.refused]
    return Redriving(result.matched, result.redriven, refused, result.left_out, dict(result.would) or None)


def _instant(text: str | None, name: str) -> int | None:
    try:
        return None if text is None else instant_ms(text, name)
    except Invalid as invalid:
        raise problem_of(invalid) from invalid


_FILTERS = {
    "reason": "Only letters with exactly this reason",
    "code": "Only letters with this code",
    "field": "Only letters with this field",
    "topic": "Only letters of records of this topic",
    "from": "Only letters written at or after this time (RFC 3339)",
    "to": "Only letters written before this time (RFC 3339)",
}

ROUTES = (
    Route(
        "GET",
        _PATH,
        get,
        ADMIN_READ,
        "Dead letters, newest first",
        {200: DeadPage},
        query={
            **_FILTERS,
            "limit": f"At most this many, 1 to {_MOST}; 50 by default",
            "cursor": "The next_cursor of the previous page",
        },
    ),
    Route("GET", f"{_PATH}/{{letter_id}}", get_one, ADMIN_READ, "A dead letter", {200: dict[str, Any]}),
    Route(
        "POST",
        f"{_PATH}/redrive",
        redrive,
        ADMIN,
        "Put dead letters back as they were",
        {200: Redriving, 202: Redriving},
        body=RedriveBody,
        action="dead.redrive",
    ),
)
