"""Gathering: a notification joins the digest of its user, rule, key and channel, and waits there."""

from typing import Any

from msgspec.structs import replace

from agents.case import Case
from app.domain.digest import DigestItem, DigestRule, OpenDigest, due_of, join, lead
from app.domain.preferences import rhythm_in_force
from app.domain.routing import Verdict
from schemas.instants import rfc3339
from schemas.words import Channel
from tables.digests import Gathering, digest_key, plain_digest_key
from tables.schedule import Due


def may_lead(case: Case, channel: Channel, verdict: Verdict) -> bool:
    """Whether it is the first of a digest that lets the first one out at once, if nothing else keeps it."""
    rule = verdict.digest
    assert rule is not None
    if rule.first != "send" or verdict.over is not None:
        return False
    return _open_digest(case, _key(case, channel, verdict)) is None


def lead_digest(case: Case, channel: Channel, verdict: Verdict) -> None:
    """Opens the digest for those that come after it."""
    rule = verdict.digest
    assert rule is not None
    opened = lead(rule, verdict.digest_key, channel, case.desk.now)
    _put(case, _key(case, channel, verdict), None, opened, rule)


def gather(case: Case, index: int, verdict: Verdict) -> None:
    rule = verdict.digest
    assert rule is not None
    part = case.unwait(index)
    facts, desk = case.facts, case.desk
    key = _key(case, part.channel, verdict)
    row = _open_digest(case, key)
    item = DigestItem(
        notification_id=facts.notification_id,
        event_type=facts.event_type,
        campaign_id=facts.campaign_id,
        priority=facts.priority,
        at=facts.created_ms,
    )
    before = row.digest if row is not None else None
    due_ms = _put(case, key, row, join(before, rule, verdict.digest_key, part.channel, item, desk.now), rule)
    case.parts[index] = replace(part, wait="digest", until_ms=due_ms, waits_for=key)
    over: dict[str, Any] = (
        {} if verdict.over is None else {"cap": verdict.over.cap.name, "used_by": verdict.over.used_by}
    )
    verdict.trail.append(("digest", "wait", rule.name, due_ms))
    case.tell("held", part.channel, "digest", trail=verdict.trail, due=rfc3339(due_ms), **over)


def _key(case: Case, channel: Channel, verdict: Verdict) -> bytes:
    assert verdict.digest is not None
    named = (case.facts.user_id, verdict.digest.name, verdict.digest_key, channel)
    plain = plain_digest_key(*named)
    return plain if case.desk.state.digests.get(plain) is not None else digest_key(*named)


def _open_digest(case: Case, key: bytes) -> Gathering | None:
    """One of before an erasure that is being carried out takes nothing more."""
    state = case.desk.state
    row = state.digests.get(key)
    if row is not None and state.known.forgets(row.user_id, row.after_erasure):
        state.schedule.delete(row.due)
        state.digests.delete(key)
        return None
    return row


def _put(case: Case, key: bytes, before: Gathering | None, digest: OpenDigest, rule: DigestRule) -> int:
    """Writes the digest and has its close in the schedule; returns when that is. A full one is put aside, so that what
    comes before it is closed opens the next."""
    desk, user_id = case.desk, case.facts.user_id
    recipient = case.recipient
    due_ms = due_of(digest, rule, rhythm_in_force(recipient.preferences, case.rule.category, rule), recipient.zone)
    if before is not None:
        desk.state.schedule.delete(before.due)
    if len(digest.items) >= rule.max_items:
        desk.state.digests.delete(key)
        key = _full_key(case, key)
    due = desk.state.schedule.at(due_ms, Due("digest", user_id, key))
    desk.state.digests.put(key, Gathering(user_id, digest, due, desk.state.known.forgetting(user_id)))
    return due_ms


def _full_key(case: Case, key: bytes) -> bytes:
    """Of a full digest: behind those that are full already, and no other's, however soon the next one follows."""
    full = case.desk.state.digests.scan(key + b"\0", key + b"\1")
    number = int(full[-1][0][len(key) + 1 :][:8]) + 1 if full else 0
    return key + f"\0{number:08}{case.facts.notification_id}".encode()
