"""Takes the candidates of a replay: each is judged by what is known of it and of its user, and left alone or begun
again (docs/decisions/0018).

The guard against a second send is asked in the same checkpoint as the decision, and all rows of a notification share
the start of their keys: what was made of it by the original, by a fallback step or by another replay is one scan.
"""

from collections.abc import Sequence

from msgspec import Raw
from msgspec.json import encode
from msgspec.structs import replace

from agents.router.collapse import newer_of
from agents.router.context import RouterContext
from agents.router.enqueue import withdraw
from agents.router.evaluate import begin, verdict_of
from agents.router.notification_record import NotificationRecord, rows_of
from agents.router.replay_guard import has_arrived, holder, refused
from agents.shared.placement import check_place
from agents.shared.subscriptions import position_of
from app.domain.ids import send_id
from app.domain.replay import outcome_of
from app.domain.routing import Verdict
from app.ports import FailedReason, LogRecord
from schemas.decode import Invalid
from schemas.instants import FIRST_MS, LAST_MS
from schemas.replays import NotBegun, ReplayOutcome, ReplayRequest, Would, encode_replay_outcome, read_replay_request
from schemas.requests import Request
from schemas.sends import Send
from schemas.topics import REPLAY_OUTCOMES
from schemas.words import Priority
from tables.notifications import Facts, Notification, Part, Replay, replay_key
from tables.routed import RECEIPTS_MS

#: What is decided of a candidate, and why; ``by``: the newer notification that has replaced it.
_Answer = tuple[NotBegun | Would, str | None, str | None]
#: Of what has these outcomes nothing is kept: of who was erased nothing may be, and of the others nothing is known.
_NOT_KEPT = frozenset(("erased", "forgotten"))
#: The template of now is gone, or has lost the channel.
_NOTHING_TO_SHOW = frozenset(("bad_template", "no_channel"))


def take_replay_request(context: RouterContext, record: LogRecord) -> None:
    """Takes one record of tocsin_replay_requests. Raises Invalid with the field."""
    assert record.value is not None
    request = read_replay_request(record.value)
    check_place(record, request.user_id, context.partitions)
    _check(request)
    if request.until is not None and context.now > request.until:
        return  # the replay may have been stopped: its job asks again if it goes on
    send, cause = request.send, position_of(record)
    key = replay_key(send.user_id, send.notification_id, request.replay_id, send.channel, send.device_id)
    rows = rows_of(context, send.user_id, send.notification_id, cause)
    before = next((row for row in rows if row.key == key), None)
    if before is not None and before.replay is not None and before.replay.candidate != send.send_id:
        _answer(context, request, "replayed_before")  # by this replay: what it made is no candidate of its own
        return
    if before is not None and not request.dry_run:
        before.answer()
        return
    others = [row for row in rows if row.key != key]
    original = holder(others, send.send_id)
    outcome = refused(original, others, send, erased=context.state.known.erased(send.user_id))
    if outcome is None and context.now >= _expires_ms(request):
        outcome = "expired"
    if original is None or (outcome is not None and (request.dry_run or outcome in _NOT_KEPT)):
        _answer(context, request, outcome or "forgotten")
    elif outcome is not None:
        _keep(context, key, request, original, outcome, cause)
    elif request.dry_run:
        _answer(context, request, *_outlook(_made_again(context, key, request, original, cause), request.newer)[:2])
    else:
        _begin(_made_again(context, key, request, original, cause), request, others)


def answer_refused(context: RouterContext, record: LogRecord, reason: FailedReason) -> None:
    """A request that became a dead letter is answered all the same: its job would ask for ever. One that names no
    candidate, or isn't in its place, was never asked by a job."""
    try:
        request = read_replay_request(record.value or b"")
        check_place(record, request.user_id, context.partitions)
    except Invalid:
        return
    _answer(context, request, "suppressed", reason)


def cancel_what_arrived(notification: NotificationRecord) -> None:
    """A receipt came: what a replay makes of the same send, and isn't sent yet, is not needed any more."""
    if not notification.has_siblings:
        return
    rows = [notification, *notification.siblings()]
    cancel_replays([row for row in rows if has_arrived(row, rows)])


def cancel_replays(rows: Sequence[NotificationRecord]) -> None:
    """Ends those of them that are a replay's and wait, and takes back what no call has begun for."""
    for row in rows:
        if row.replay is None:
            continue
        row.trail = []
        for index, part in enumerate(row.parts):
            if part.wait:
                row.end_part(index, "cancelled")
            else:
                withdraw(row, index, "cancelled")


def _check(request: ReplayRequest) -> None:
    """Raises Invalid."""
    send = request.send
    if send.user_id != request.user_id:
        raise Invalid("is not the user_id", "send.user_id")
    if send.channel == "in_app":
        raise Invalid("can't be replayed: an inbox has no outages", "send.channel")
    for field, ms in (("expires_at", request.expires_at), ("send.expires_at", send.expires_at)):
        if ms is not None and not FIRST_MS <= ms <= LAST_MS:
            raise Invalid("is not between 1970 and 2200", field)
    if send.step < 0:
        raise Invalid("is not a step of a fallback chain", "send.step")


# --- what is begun ---


def _expires_ms(request: ReplayRequest) -> int:
    """A code that verifies an address is good for its own time only."""
    if request.expires_at is None or request.send.verifies is not None:
        return request.send.expires_at
    return max(request.send.expires_at, request.expires_at)


def _begin(notification: NotificationRecord, request: ReplayRequest, others: Sequence[NotificationRecord]) -> None:
    """Accepts it as a send of its own, and has it wait, go out or end."""
    notification.add()
    for other in others:
        other.replayed = other.replayed or bool(other.parts)
    notification.trail = notification.begins_trail()
    notification.emit("accepted")
    _, reason, by = _outlook(notification, request.newer)
    send = request.send
    if by is None and reason not in _NOTHING_TO_SHOW:
        begin(notification, send.channel, send.step, undigested=True)
        return
    notification.parts.append(Part(send.channel, send.step, undigested=True))
    if reason == "bad_template":
        notification.end_part(0, "failed", reason)
    elif by is None:
        notification.end_part(0, "suppressed", reason)
    else:
        notification.end_part(0, "suppressed", reason, by=by)


def _outlook(notification: NotificationRecord, newer: str | None) -> _Answer:
    """What would become of it now. Changes nothing."""
    replay = notification.replay
    assert replay is not None
    if (reason := _nothing_to_show(notification)) is not None:
        return "suppressed", reason, None
    verdict = verdict_of(notification, Part(replay.channel), True)
    outcome = _would(verdict)
    by = newer or newer_of(notification, replay.channel)
    if by is not None and outcome != "opted_out":
        return "suppressed", "replaced", by
    return outcome, verdict.reason, None


def _would(verdict: Verdict) -> NotBegun | Would:
    match verdict.act:
        case "queue":
            return "would_send"
        case "hold" | "digest":
            return "would_wait"
        case "fail":
            return "suppressed"
        case _:
            return "opted_out" if outcome_of("suppressed", verdict.reason) == "opted_out" else "suppressed"


def _nothing_to_show(notification: NotificationRecord) -> str | None:
    replay, template_id = notification.replay, notification.facts.template_id
    if replay is None or replay.as_decided or template_id is None:
        return None
    channels = notification.context.catalog.channels_of_template(template_id)
    if not channels:
        return "bad_template"
    return None if replay.channel in channels else "no_channel"


def _made_again(
    context: RouterContext, key: bytes, request: ReplayRequest, original: NotificationRecord, cause: str
) -> NotificationRecord:
    """The replay's notification as it is judged, which nobody has seen yet."""
    send = request.send
    facts = original.facts
    name = send_id(
        send.notification_id,
        send.user_id,
        facts.recorded_ms,
        send.channel,
        send.device_id,
        send.step,
        context.state.partition,
        request.replay_id,
    )
    asked = None if request.as_decided else _priority_asked(context, send)
    row = Notification(
        facts=_facts(context, request, facts),
        position=original.position,
        content=b"",
        until_ms=context.now + RECEIPTS_MS,
        request=encode(_request(send, asked)),
        items=encode(send.items) if send.items else b"",
        after_erasure=context.state.known.forgetting(send.user_id),
        replay=Replay(
            send.send_id,
            name,
            send.channel,
            send.device_id,
            original.order,
            request.as_decided,
            _version_of_then(request) if request.as_decided else None,
        ),
    )
    notification = NotificationRecord(context, key, row, cause)
    notification.use_what_is_in_force()
    return notification


def _keep(
    context: RouterContext,
    key: bytes,
    request: ReplayRequest,
    original: NotificationRecord,
    refused: NotBegun,
    cause: str,
) -> None:
    """Remembers the answer, so that asking again changes nothing."""
    send = request.send
    replay = Replay(send.send_id, "", send.channel, send.device_id, original.order, outcome=refused)
    row = Notification(
        facts=replace(original.facts, replay_id=request.replay_id),
        position=original.position,
        content=b"",
        until_ms=context.now + RECEIPTS_MS,
        after_erasure=context.state.known.forgetting(send.user_id),
        replay=replay,
    )
    NotificationRecord.new(context, key, row, cause)


def _facts(context: RouterContext, request: ReplayRequest, before: Facts) -> Facts:
    """As the send was made; its time counts from now."""
    send = request.send
    return replace(
        before,
        event_type=send.event_type,
        category=send.category,
        priority=send.priority,
        source=send.source,
        campaign_id=send.campaign_id,
        template_id=send.template_id,
        template_version=_version_of_then(request) if request.as_decided else send.template_version,
        variant=send.variant,
        policy_version=send.policy_version,
        collapse_key=send.collapse_key,
        replay_id=request.replay_id,
        bulk=True,
        accepted_ms=context.now,
        expires_ms=_expires_ms(request),
    )


def _version_of_then(request: ReplayRequest) -> int | None:
    version = request.template_version
    return request.send.template_version if version is None else version


def _priority_asked(context: RouterContext, send: Send) -> Priority | None:
    """What the request asked for, as far as the policy of then doesn't account for the priority that it had."""
    then = context.catalog.policy_at(send.policy_version)
    if then is None or then.priority_of(then.rule_of(send.event_type), None, send.source) != send.priority:
        return send.priority
    return None


def _request(send: Send, asked: Priority | None) -> Request:
    return Request(
        user_id=send.user_id,
        event_type=send.event_type,
        template_id=send.template_id,
        content=send.content,
        data=Raw(bytes(send.data)),
        channels=[send.channel],
        priority=asked,
        notification_id=send.notification_id,
        source=send.source,
        collapse_key=send.collapse_key,
        campaign_id=send.campaign_id,
        locale=send.locale,
        push=send.push,
    )


def _answer(
    context: RouterContext, request: ReplayRequest, outcome: NotBegun | Would, reason: str | None = None
) -> None:
    answer = ReplayOutcome(
        replay_id=request.replay_id,
        user_id=request.user_id,
        notification_id=request.send.notification_id,
        send_id=request.send.send_id,
        outcome=outcome,
        at=context.now,
        reason=reason,
        dry_run=request.dry_run,
    )
    context.out.send(REPLAY_OUTCOMES, request.user_id.encode(), encode_replay_outcome(answer))
