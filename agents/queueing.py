"""Queueing: handing a channel its sends, on push one for each device, and taking back what no call has begun for."""

from typing import Literal

from msgspec import Raw
from msgspec.json import decode
from msgspec.structs import replace

from agents.case import Case
from agents.places import take_places
from app.domain.codes import mark_of
from app.domain.ids import send_id
from app.domain.routing import Target, Verdict
from schemas.sends import Item, Send, Withdraw, encode_send
from schemas.topics import SEND_TOPICS
from schemas.words import Channel
from tables.notifications import Facts, Part, Sent
from tables.routed import RECEIPTS_MS, Routed, routed_key

_NO_DATA = Raw(b"{}")


def queue(case: Case, index: int, verdict: Verdict) -> None:
    """Takes the places in the caps and produces the sends; a device that no provider serves fails at once."""
    part = case.unwait(index)
    take_places(case.desk, case.facts.user_id, case.own_id, case.rule.category.name, part.channel)
    sends = tuple([_queue_one(case, part, target, verdict) for target in verdict.targets])
    case.parts[index] = replace(part, sends=sends)


def withdraw(
    case: Case, index: int, status: Literal["cancelled", "suppressed"], reason: str | None = None, by: str | None = None
) -> None:
    """Asks the channel's role to end what it has not begun to send. The role tells the end, if it comes to it."""
    part = case.parts[index]
    for sent in part.sends:
        if not sent.end:
            record = Withdraw(send_id=sent.send_id, user_id=case.facts.user_id, status=status, reason=reason, by=by)
            case.desk.out.send(_topic(case.facts, part.channel), case.facts.user_id.encode(), encode_send(record))


def _queue_one(case: Case, part: Part, target: Target, verdict: Verdict) -> Sent:
    facts, desk = case.facts, case.desk
    name = send_id(
        facts.notification_id,
        facts.user_id,
        facts.recorded_ms,
        part.channel,
        target.device_id,
        part.step,
        desk.state.partition,
        facts.replay_id,
    )
    device = {"device_id": target.device_id} if target.device_id is not None else {}
    if not target.provider:
        case.tell("failed", part.channel, "no_provider", send_id=name, trail=verdict.trail, **device)
        return Sent(name, target.device_id, target.address, "failed")
    key = facts.user_id.encode()
    desk.out.send(_topic(facts, part.channel), key, encode_send(_send(case, part, target, name)))
    desk.state.routed.put(
        routed_key(name), Routed(facts.user_id, case.key, part.channel, max(facts.expires_ms, desk.now) + RECEIPTS_MS)
    )
    case.tell("queued", part.channel, send_id=name, trail=verdict.trail, **device)
    return Sent(name, target.device_id, target.address)


def _send(case: Case, part: Part, target: Target, name: str) -> Send:
    facts, request = case.facts, case.request
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
        policy_version=case.desk.catalog.policy_version,
        content=request.content,
        data=Raw(data) if data else _NO_DATA,
        items=decode(case.items, type=list[Item]) if case.items else None,
        locale=request.locale,
        collapse_key=facts.collapse_key,
        created_at=facts.created_ms,
        accepted_at=facts.accepted_ms,
        expires_at=facts.expires_ms,
        step=part.step,
        replay_id=facts.replay_id,
        verifies=_mark(case, part.channel) if case.verifies else None,
    )


def _mark(case: Case, channel: Channel) -> str:
    """Names the address that the code is for."""
    facts, profile = case.facts, case.recipient.profile
    address = profile.email if channel == "email" else profile.phone
    return mark_of(case.desk.secret, facts.user_id, channel, address or "", facts.notification_id)


def _topic(facts: Facts, channel: Channel) -> str:
    """Its lane follows its priority: critical; low or requested in bulk; the rest."""
    critical, normal, bulk = SEND_TOPICS[channel]
    if facts.priority == "critical":
        return critical
    return bulk if facts.bulk or facts.priority == "low" else normal
