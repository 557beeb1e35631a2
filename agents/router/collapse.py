"""Replaces what shares a collapse key: only the newest stays on each channel."""

from msgspec.structs import replace

from agents.router.enqueue import withdraw
from agents.router.notification_record import NotificationRecord
from agents.router.stop import called_off, end_waits
from schemas.words import Channel
from tables.collapses import Collapse, collapse_key, plain_collapse_key
from tables.notifications import Part


def replace_older(notification: NotificationRecord, channel: Channel) -> None:
    """The newer was queued or held on the channel: what of older ones has not begun to be sent there is suppressed."""
    facts = notification.facts
    if facts.collapse_key is None:
        return
    collapses = notification.context.state.collapses
    key = collapse_key(facts.user_id, facts.collapse_key)
    plain = plain_collapse_key(facts.user_id, facts.collapse_key)
    row = collapses.get(key) or collapses.get(plain) or Collapse((), 0)
    collapses.delete(plain)
    others = tuple(
        name for name in row.notifications if name != notification.key and not _replaced(notification, name, channel)
    )
    collapses.put(key, Collapse((*others, notification.key), max(row.until_ms, facts.expires_ms)))


def _replaced(notification: NotificationRecord, name: bytes, channel: Channel) -> bool:
    """Ends or withdraws another's parts on the channel, if it is older; whether nothing more of it can be replaced."""
    other = NotificationRecord.load(notification.context, name, notification.cause)
    if other is None:
        return True
    other.trail = []
    if (stop := called_off(other)) is not None:
        end_waits(other, *stop)
        return True
    if other.order > notification.order:  # what waited for its time doesn't replace what came meanwhile
        return False
    by = notification.facts.notification_id
    for index, part in enumerate(other.parts):
        if part.channel != channel:
            continue
        if part.wait:
            other.end_part(index, "suppressed", "replaced", by=by)
            _hurry(other, part)
        else:
            withdraw(other, index, "suppressed", "replaced", by)
    open_elsewhere = any(p.wait or not all(s.end for s in p.sends) for p in other.parts if p.channel != channel)
    return not open_elsewhere and not other.scheduled and not _may_go_on(other)


def _hurry(notification: NotificationRecord, part: Part) -> None:
    """The step of a chain was suppressed: the next begins as soon as what is being handled is done."""
    chain = notification.chain
    if (
        chain is None
        or chain.state.over
        or chain.state.step != part.step
        or chain.state.steps[part.step] != part.channel
    ):
        return
    notification.context.state.schedule.delete(chain.due)
    now = notification.context.now
    due = notification.wake_at(now, "step", str(part.step)) if part.step + 1 < len(chain.state.steps) else b""
    notification.chain = replace(chain, state=replace(chain.state, due_ms=now), due=due)


def _may_go_on(notification: NotificationRecord) -> bool:
    return notification.chain is not None and not notification.chain.state.over
