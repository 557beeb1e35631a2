"""Takes requests: each becomes a notification, or is refused, repartitioned, or recognized as a repetition."""

from collections.abc import Collection
from typing import Any

import msgspec
from msgspec.structs import replace

from agents.router.cancel_and_erase import forget, is_kept
from agents.router.context import RouterContext
from agents.router.evaluate import begin, waits_for_its_time
from agents.router.fallback import begin_chain
from agents.router.lifecycle import emit_event
from agents.router.notification_record import NotificationRecord, rows_of
from agents.router.repartition import moved, origin_of
from agents.router.replays import cancel_replays
from agents.router.stop import Stop, erased, over, stop_of
from agents.router.tracing import trace_request
from agents.shared.placement import check_key
from agents.shared.subscriptions import position_of
from app.domain.holdout import group_of, holdout_of, is_held_out, percent
from app.domain.ids import keyed_notification_id, positioned_notification_id
from app.domain.origin import as_produced
from app.domain.quiet_hours import minutes_of
from app.domain.rendering import choose_variant
from app.domain.requested import created_at_ms, expires_ms, template_of
from app.domain.zones import next_local_time
from app.ports import LogRecord
from schemas.cloudevents import read_event
from schemas.instants import rfc3339, stored_ms
from schemas.requests import Request, content_hash
from schemas.topics import EVENTS_BULK, LANE_OF_EVENT_TOPIC
from schemas.words import CHANNELS, Channel
from tables.dedup import First, dedup_key
from tables.notifications import Facts, Notification, aside_key, notification_key
from tables.routed import RECEIPTS_MS, routed_key


def take_request(context: RouterContext, record: LogRecord) -> None:
    """Takes one record of an event topic. Raises Invalid with the field."""
    assert record.value is not None
    schemes = context.catalog.bounds.link_schemes
    origin = origin_of(context, record)
    headers = record.headers if origin is None else as_produced(record.headers)
    request, raw = read_event(record.value, headers, record.timestamp, schemes, record.key)
    user_id = request.user_id
    record_key = check_key(record, user_id)
    lane = LANE_OF_EVENT_TOPIC[record.topic]
    if context.state.known.profile(user_id) is None and moved(context, record, record_key):
        context.out.tally("requests", lane, "moved")
        return  # (whoever has a profile here belongs here)
    notification_id = _notification_id(request, record, origin)
    key = notification_key(user_id, notification_id)
    position = origin or position_of(record)
    before = _before(context, key, position)
    if before is not None and (before.position == position or before.was_reported(position)):
        context.out.tally("requests", lane, "read_again")
        return  # all of it was done
    if request.local_time is not None:
        request, raw = _at_local_time(context, request, record.timestamp)
    facts = _facts(context, request, record, notification_id)
    if (share := context.catalog.bounds.traced) is not None:
        facts = trace_request(context, facts, request, record, headers, position, share)
    content = content_hash(request, facts.template_id)
    if before is not None:
        if (
            before.still_waits
            or request.remembered_until is not None
            or record.timestamp - before.facts.recorded_ms < context.policy.dedup_keys_ms
        ):
            context.out.tally("requests", lane, "repeated")
            _emit_repeated(context, before, facts, content, position, record.timestamp)
            context.state.notifications.put(key, replace(before, reported_until=before.with_reported(position)))
            return
        _set_aside(context, key, before)
        if before.replayed:
            cancel_replays(rows_of(context, user_id, notification_id, position, besides=key))
    row = Notification(
        facts=facts,
        position=position,
        content=content,
        until_ms=_remembered_until(context, request),
        request=raw,
        reported_until={} if before is None else before.with_reported(before.position),
        after_erasure=context.state.known.forgetting(user_id),
        replayed=before is not None and before.replayed,
        holdout=holdout_of(context.secret, facts.source, facts.campaign_id, headers) if headers else None,
    )
    context.out.tally("requests", lane, "accepted")
    _accept(NotificationRecord.new(context, key, row, position, request), origin)


def _at_local_time(context: RouterContext, request: Request, recorded_ms: int) -> tuple[Request, bytes]:
    """With the moment in place of the time of day: in the zone that is known now, wherever the user goes until then."""
    assert request.local_time is not None
    since_ms = recorded_ms if request.send_at is None else stored_ms(request.send_at)
    zone = context.state.known.zone(request.user_id, context.policy)
    due_ms = next_local_time(zone, since_ms, minutes_of(request.local_time))
    timed = replace(request, send_at=rfc3339(due_ms), local_time=None)
    return timed, msgspec.json.encode(timed)


def _remembered_until(context: RouterContext, request: Request) -> int:
    """Unix ms. A campaign's recipients are remembered for longer than the policy asks for."""
    until_ms = context.now + max(context.policy.dedup_keys_ms, RECEIPTS_MS)
    return until_ms if request.remembered_until is None else max(until_ms, stored_ms(request.remembered_until))


def _before(context: RouterContext, key: bytes, position: str) -> Notification | None:
    """What is known of the same id. Of before an erasure that is being carried out, it is forgotten now."""
    before = context.state.notifications.get(key)
    if before is None or not context.state.known.forgets(before.facts.user_id, before.after_erasure):
        return before
    if (notification := NotificationRecord.load(context, key, position)) is not None:
        forget(notification)
        context.flush()
    return context.state.notifications.get(key)


def evaluate_request(notification: NotificationRecord) -> None:
    """A notification whose time (``send_at``) has come."""
    notification.use_what_is_in_force()
    _judge(notification, stop_of(notification))


def _accept(notification: NotificationRecord, origin: str | None) -> None:
    """Tells that it was read, and gives it its place: an end, a wait, or its channels'."""
    moved_from: dict[str, Any] = {} if origin is None else {"origin": origin}
    notification.emit("accepted", **moved_from)
    stop = erased(notification)
    notification.trail.append(("repeated", True))
    if stop is None and (first := _first_that_said_it(notification)) is not None:
        notification.trail.append(("duplicate", False, first))
        notification.emit("suppressed", None, "duplicate", of=first)
    else:
        _judge(notification, stop or over(notification))


def _judge(notification: NotificationRecord, stop: Stop | None) -> None:
    if stop is not None:
        status, reason = stop
        notification.emit(status, None, reason)
    elif waits_for_its_time(notification):
        return
    elif _is_held_out(notification):
        notification.emit("suppressed", None, "holdout")
    else:
        _begin_channels(notification)


def _is_held_out(notification: NotificationRecord) -> bool:
    """Whether the user is of those who get nothing of its campaign (else category). The campaign's own share, if it
    has one, stands in for its category's."""
    facts, category = notification.facts, notification.rule.category
    share = category.holdout if notification.holdout is None else notification.holdout
    if not share:
        return False
    if facts.priority == "critical":
        notification.trail.append(("holdout", True, "critical"))
        return False
    group = group_of(category.name, facts.source, facts.campaign_id)
    held_out = is_held_out(facts.user_id, group, share)
    notification.trail.append(("holdout", not held_out, percent(share), group[0], group[-1]))
    return held_out


def _begin_channels(notification: NotificationRecord) -> None:
    """Begins each channel of the request, else of the policy, that the template has; a chain replaces them."""
    request = notification.request
    assert request is not None
    able = _channels_shown(notification)
    if not able:
        notification.trail.append(("template", False, notification.facts.template_id))
        notification.emit("failed", None, "bad_template")
        return
    by, listed = (
        ("policy", notification.rule.channels)
        if request.channels is None
        else ("request", tuple(dict.fromkeys(request.channels)))
    )
    chain = notification.rule.fallback
    if notification.facts.priority == "low" and not notification.context.policy.low_by_sms:
        if "sms" in (*listed, *(chain.steps if chain is not None else ())):
            notification.trail.append(("low_by_sms", False))
        able = [channel for channel in able if channel != "sms"]
    if chain is not None:
        chain = chain.within(tuple(c for c in able if request.channels is None or c in request.channels))
        channels: tuple[Channel, ...] = tuple(c for c in listed if c == "in_app" and c in able and c not in chain.steps)
    else:
        channels = tuple(c for c in listed if c in able)
    steps = chain.steps if chain is not None else ()
    if not channels and not steps:
        notification.trail.append(("channels", False, by))
        notification.emit("suppressed", None, "no_channel")
        return
    notification.trail.append(("channels", True, by, *channels, *steps))
    for channel in channels:
        begin(notification, channel)
    if chain is not None and steps:
        begin_chain(notification, chain)


def _channels_shown(notification: NotificationRecord) -> Collection[Channel]:
    """The channels for which there is something to show."""
    template_id = notification.facts.template_id
    return CHANNELS if template_id is None else notification.context.catalog.channels_of_template(template_id)


def _first_that_said_it(notification: NotificationRecord) -> str | None:
    """For a request without key or id: the one that said the same to the user within the window before it."""
    request, facts, window_ms = notification.request, notification.facts, notification.context.policy.dedup_content_ms
    assert request is not None
    if request.idempotency_key is not None or request.notification_id is not None:
        return None
    if not window_ms or (request.content is None and not notification.data()):
        return None
    dedup = notification.context.state.dedup
    key = dedup_key(facts.user_id, notification.content)
    first = dedup.get(key)
    if first is not None and not is_kept(notification.context, facts.user_id, first):
        first = None
    if first is not None and abs(facts.recorded_ms - first.recorded_ms) < window_ms:
        return first.notification_id
    if first is None or facts.recorded_ms > first.recorded_ms:  # (a slower lane may tell of earlier times)
        until_ms = max(notification.context.now, facts.recorded_ms) + window_ms
        dedup.put(key, First(facts.notification_id, facts.recorded_ms, until_ms))
    notification.trail.append(("duplicate", True))
    return None


def _emit_repeated(
    context: RouterContext, before: Notification, facts: Facts, content: bytes, position: str, recorded_ms: int
) -> None:
    """Says so, once, and changes nothing, whatever became of the first. ``facts``: of the request that repeats it."""
    detail: dict[str, Any] = {"trail": [("repeated", False)]}
    if content != before.content and not before.is_forgotten:
        detail["differs"] = True
    message = facts if before.is_forgotten else before.facts
    if message.trace is not facts.trace:  # it is the repeated request's trace that shows it
        message = replace(message, trace=facts.trace)
    emit_event(context, message, "repeated", position, happened=rfc3339(recorded_ms), detail=detail)


def _set_aside(context: RouterContext, key: bytes, before: Notification) -> None:
    """The same id begins anew: the row makes room, and what yet comes back of its sends still finds it."""
    aside = aside_key(key, before.facts.recorded_ms)
    context.state.notifications.put(aside, before)
    for sent in (sent for part in before.parts for sent in part.sends):
        routed = context.state.routed.get(routed_key(sent.send_id))
        if routed is not None:
            context.state.routed.put(routed_key(sent.send_id), replace(routed, notification=aside))


def _notification_id(request: Request, record: LogRecord, origin: str | None) -> str:
    """The field, else a function of the key, else the gateway's, else of where the record lay at first."""
    if request.notification_id is not None:
        return request.notification_id.lower()
    if request.idempotency_key is not None:
        return keyed_notification_id(request.source or "", request.idempotency_key)
    if request.assigned_id is not None:
        return request.assigned_id.lower()
    if origin is not None:
        topic, partition, offset = origin.rsplit(":", 2)
        return positioned_notification_id(topic, int(partition), int(offset))
    return positioned_notification_id(record.topic, record.partition, record.offset)


def _facts(context: RouterContext, request: Request, record: LogRecord, notification_id: str) -> Facts:
    policy = context.policy
    rule = policy.rule_of(request.event_type)
    source = request.source or ""
    template_id = template_of(request, rule)
    template = context.catalog.template(template_id) if template_id is not None else None
    created_ms = created_at_ms(request, record.timestamp)
    return Facts(
        notification_id=notification_id,
        user_id=request.user_id,
        event_type=request.event_type,
        category=rule.category.name,
        priority=policy.priority_of(rule, request.priority, source),
        source=source,
        campaign_id=request.campaign_id or None,
        template_id=template_id,
        template_version=template.version if template is not None else None,
        variant=choose_variant(template.template, request.user_id) if template is not None else None,
        policy_version=context.catalog.policy_version,
        collapse_key=request.collapse_key or None,
        replay_id=None,
        bulk=record.topic == EVENTS_BULK,
        created_ms=created_ms,
        accepted_ms=context.now,
        recorded_ms=record.timestamp,
        expires_ms=expires_ms(request, rule, created_ms, record.timestamp),
    )
