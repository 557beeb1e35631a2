"""Adds a notification to the digest of its user, rule, key and channel, where it waits."""

from typing import Any

from msgspec.structs import replace

from agents.router.notification_record import NotificationRecord
from app.domain.digest import DigestItem, DigestRule, OpenDigest, due_of, join, lead
from app.domain.preferences import rhythm_in_force
from app.domain.routing import Verdict
from schemas.instants import rfc3339
from schemas.words import Channel
from tables.digests import Gathering, digest_key, plain_digest_key
from tables.schedule import Due


def may_lead(notification: NotificationRecord, channel: Channel, verdict: Verdict) -> bool:
    """Whether it is the first of a digest that lets the first one out at once, if nothing else keeps it."""
    rule = verdict.digest
    assert rule is not None
    if rule.first != "send" or verdict.over is not None:
        return False
    return _open_digest(notification, _key(notification, channel, verdict)) is None


def lead_digest(notification: NotificationRecord, channel: Channel, verdict: Verdict) -> None:
    """Opens the digest for those that come after it."""
    rule = verdict.digest
    assert rule is not None
    opened = lead(rule, verdict.digest_key, channel, notification.context.now)
    _put(notification, _key(notification, channel, verdict), None, opened, rule)


def gather(notification: NotificationRecord, index: int, verdict: Verdict) -> None:
    rule = verdict.digest
    assert rule is not None
    part = notification.unwait(index)
    facts, context = notification.facts, notification.context
    key = _key(notification, part.channel, verdict)
    row = _open_digest(notification, key)
    item = DigestItem(
        notification_id=facts.notification_id,
        event_type=facts.event_type,
        campaign_id=facts.campaign_id,
        priority=facts.priority,
        at=facts.created_ms,
    )
    before = row.digest if row is not None else None
    due_ms = _put(notification, key, row, join(before, rule, verdict.digest_key, part.channel, item, context.now), rule)
    notification.parts[index] = replace(part, wait="digest", until_ms=due_ms, waits_for=key)
    over: dict[str, Any] = (
        {} if verdict.over is None else {"cap": verdict.over.cap.name, "used_by": verdict.over.used_by}
    )
    verdict.trail.append(("digest", "wait", rule.name, due_ms))
    notification.emit("held", part.channel, "digest", trail=verdict.trail, due=rfc3339(due_ms), **over)


def _key(notification: NotificationRecord, channel: Channel, verdict: Verdict) -> bytes:
    assert verdict.digest is not None
    named = (notification.facts.user_id, verdict.digest.name, verdict.digest_key, channel)
    plain = plain_digest_key(*named)
    return plain if notification.context.state.digests.get(plain) is not None else digest_key(*named)


def _open_digest(notification: NotificationRecord, key: bytes) -> Gathering | None:
    """One of before an erasure that is being carried out takes nothing more."""
    state = notification.context.state
    row = state.digests.get(key)
    if row is not None and state.known.forgets(row.user_id, row.after_erasure):
        state.schedule.delete(row.due)
        state.digests.delete(key)
        return None
    return row


def _put(
    notification: NotificationRecord, key: bytes, before: Gathering | None, digest: OpenDigest, rule: DigestRule
) -> int:
    """Writes the digest and has its close in the schedule; returns when that is. A full one is put aside, so that what
    comes before it is closed opens the next."""
    context, user_id = notification.context, notification.facts.user_id
    recipient = notification.recipient
    due_ms = due_of(
        digest, rule, rhythm_in_force(recipient.preferences, notification.rule.category, rule), recipient.zone
    )
    if before is not None:
        context.state.schedule.delete(before.due)
    if len(digest.items) >= rule.max_items:
        context.state.digests.delete(key)
        key = _full_key(notification, key)
    due = context.state.schedule.at(due_ms, Due("digest", user_id, key))
    context.state.digests.put(key, Gathering(user_id, digest, due, context.state.known.forgetting(user_id)))
    return due_ms


def _full_key(notification: NotificationRecord, key: bytes) -> bytes:
    """Of a full digest: behind those that are full already, and no other's, however soon the next one follows."""
    full = notification.context.state.digests.scan(key + b"\0", key + b"\1")
    number = int(full[-1][0][len(key) + 1 :][:8]) + 1 if full else 0
    return key + f"\0{number:08}{notification.facts.notification_id}".encode()
