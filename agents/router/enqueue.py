"""Enqueues a channel's sends, on push one for each device, and withdraws those that no call has begun for."""

from typing import Literal

from msgspec import Raw
from msgspec.json import decode
from msgspec.structs import replace

from agents.router.cap_slots import take_cap_slots
from agents.router.context import RouterContext
from agents.router.notification_record import NotificationRecord
from app.domain.attempts import behind
from app.domain.codes import mark_of
from app.domain.ids import event_id, send_id
from app.domain.routing import Target, Verdict
from app.domain.tracing import span_id_of
from schemas.sends import Item, Send, Withdraw, encode_send
from schemas.topics import SEND_TOPICS
from schemas.traces import Trace
from schemas.words import Channel, Provider
from tables.notifications import Facts, Part, Sent
from tables.routed import RECEIPTS_MS, Routed, routed_key

_NO_DATA = Raw(b"{}")


def queue(notification: NotificationRecord, index: int, verdict: Verdict) -> None:
    """Takes the places in the caps and produces the sends; a device that no provider serves fails at once."""
    part = notification.unwait(index)
    take_cap_slots(
        notification.context,
        notification.facts.user_id,
        notification.own_id,
        notification.rule.category.name,
        part.channel,
        notification.recipient.preferences,
    )
    sends = tuple([_queue_one(notification, part, target, verdict) for target in verdict.targets])
    notification.parts[index] = replace(part, sends=sends)
    if _may_follow(notification, part.channel, verdict):
        await_until(notification, index, notification.facts.expires_ms)


def await_until(
    notification: NotificationRecord, index: int, due_ms: int, provider: Provider | Literal[""] = ""
) -> None:
    """Has the part's send be made once more then, by whoever stands behind ``provider``; without one it is only seen
    then that it can't be any more."""
    part = notification.parts[index]
    if part.awaits_until:
        notification.context.state.schedule.delete(part.awaits_until)
    row = notification.wake_at(due_ms, "receipt", f"{index} {provider}")
    notification.parts[index] = replace(part, awaits_until=row)


def next_provider(context: RouterContext, channel: Channel, after: Provider) -> Provider | None:
    """Who stands behind ``after`` in the policy's order and has settings."""
    configured = context.providers.get(channel, frozenset())
    order = behind(context.policy.providers[channel].order, after)
    return next((provider for provider in order if provider in configured), None)


def _may_follow(notification: NotificationRecord, channel: Channel, verdict: Verdict) -> bool:
    """Whether the send may be made once more by another provider, if nothing comes back of it."""
    context = notification.context
    if notification.replay is not None or context.policy.no_receipt_ms(notification.facts.category, channel) is None:
        return False
    return any(target.provider and next_provider(context, channel, target.provider) for target in verdict.targets)


def withdraw(
    notification: NotificationRecord,
    index: int,
    status: Literal["cancelled", "suppressed"],
    reason: str | None = None,
    by: str | None = None,
) -> None:
    """Asks the channel's role to end what it has not begun to send. The role tells the end, if it comes to it."""
    part = notification.parts[index]
    for sent in part.sends:
        if not sent.end:
            record = Withdraw(
                send_id=sent.send_id, user_id=notification.facts.user_id, status=status, reason=reason, by=by
            )
            notification.context.out.send(
                _topic(notification.facts, part.channel), notification.facts.user_id.encode(), encode_send(record)
            )


def _queue_one(notification: NotificationRecord, part: Part, target: Target, verdict: Verdict) -> Sent:
    facts, context = notification.facts, notification.context
    name = send_id(
        facts.notification_id,
        facts.user_id,
        facts.recorded_ms,
        part.channel,
        target.device_id,
        part.step,
        context.state.partition,
        facts.replay_id,
    )
    named = {"device_id": target.device_id} if target.device_id is not None else {}
    if part.of:
        named["of"] = part.of
    if not target.provider:
        notification.emit("failed", part.channel, "no_provider", send_id=name, trail=verdict.trail, **named)
        if context.policy.target_ms(facts.category, facts.priority) is not None:
            context.out.tally("slo", facts.category, facts.priority, "false")
        return Sent(name, target.device_id, target.address, "failed")
    key = facts.user_id.encode()
    context.out.send(_topic(facts, part.channel), key, encode_send(_send(notification, part, target, name)))
    context.state.routed.put(
        routed_key(name),
        Routed(facts.user_id, notification.key, part.channel, max(facts.expires_ms, context.now) + RECEIPTS_MS),
    )
    notification.emit("queued", part.channel, send_id=name, trail=verdict.trail, **named)
    return Sent(name, target.device_id, target.address)


def _send(notification: NotificationRecord, part: Part, target: Target, name: str) -> Send:
    facts, request, replay = notification.facts, notification.request, notification.replay
    assert request is not None
    data = request.data_json
    return Send(
        send_id=name,
        notification_id=facts.notification_id,
        user_id=facts.user_id,
        channel=part.channel,
        device_id=target.device_id,
        event_type=facts.event_type,
        category=facts.category,
        priority=facts.priority,
        bulk=facts.bulk,
        source=facts.source,
        campaign_id=facts.campaign_id,
        template_id=facts.template_id,
        template_version=facts.template_version,
        variant=facts.variant,
        policy_version=notification.decided_by,
        content=request.content,
        data=Raw(data) if data else _NO_DATA,
        items=decode(notification.items, type=list[Item]) if notification.items else None,
        locale=request.locale,
        collapse_key=facts.collapse_key,
        created_at=facts.created_ms,
        accepted_at=facts.accepted_ms,
        expires_at=facts.expires_ms,
        step=part.step,
        replay_id=facts.replay_id,
        waited_until=notification.context.now if notification.context.now != facts.accepted_ms else None,
        verifies=_mark(notification, part.channel) if notification.verifies else None,
        provider=target.provider,
        after=target.after,
        of=part.of or None,
        first_accepted_at=None if replay is None else int.from_bytes(replay.order[:8], "big"),
        renders=None if replay is None else replay.renders,
        trace=None if facts.trace is None else _queueing_span(facts.trace, name, notification.cause),
        inbox=request.inbox if part.channel == "in_app" else None,
        push=request.push if part.channel == "push" else None,
    )


def _queueing_span(trace: Trace, name: str, cause: str) -> Trace:
    """What is done with the send comes behind the span that tells that it was queued."""
    return trace.behind(span_id_of(event_id(name, "queued", None, cause)))


def _mark(notification: NotificationRecord, channel: Channel) -> str:
    """Names the address that the code is for."""
    facts, profile = notification.facts, notification.recipient.profile
    address = profile.email if channel == "email" else profile.phone
    return mark_of(notification.context.secret, facts.user_id, channel, address or "", facts.notification_id)


def _topic(facts: Facts, channel: Channel) -> str:
    """Its lane follows its priority: critical; low or requested in bulk; the rest."""
    critical, normal, bulk = SEND_TOPICS[channel]
    if facts.priority == "critical":
        return critical
    return bulk if facts.bulk or facts.priority == "low" else normal
