"""Replaces what shares a collapse key: only the newest stays on each channel."""

from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from agents.router.enqueue import withdraw
from agents.router.notification_record import NotificationRecord
from agents.router.stop import called_off, end_waits
from schemas.words import Channel
from tables.collapses import REPLAYABLE_MS, Collapse, collapse_key, plain_collapse_key
from tables.notifications import Part

#: So many of a key's notifications are remembered for each channel, beside those that never came to anything.
_MOST_BEGUN = 8
#: Ends after which nothing of a send is at its recipient's.
_UNSENT = frozenset(("failed", "suppressed", "expired", "cancelled"))


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
    until_ms = max(row.until_ms, facts.expires_ms, notification.context.now + REPLAYABLE_MS)
    begun = {**row.begun, channel: _with_begun(notification, row.begun.get(channel, ()), channel)}
    collapses.put(key, Collapse((*others, notification.key), until_ms, begun))


def newer_of(notification: NotificationRecord, channel: Channel) -> str | None:
    """The notification with the same collapse key, accepted later, that was sent on the channel or is on its way."""
    facts = notification.facts
    if facts.collapse_key is None:
        return None
    collapses = notification.context.state.collapses
    row = collapses.get(collapse_key(facts.user_id, facts.collapse_key))
    row = row or collapses.get(plain_collapse_key(facts.user_id, facts.collapse_key)) or Collapse((), 0)
    names = dict.fromkeys((*row.begun.get(channel, ()), *row.notifications))
    for other in _loaded(notification, tuple(names)):
        if other.order > notification.order and _counts(other, channel):
            return other.facts.notification_id
    return None


def _with_begun(notification: NotificationRecord, names: tuple[bytes, ...], channel: Channel) -> tuple[bytes, ...]:
    """With this one. Most need not be looked at for that: only when there are too many, those that came to nothing
    are left out, and those that are older than one that was sent."""
    names = (*(name for name in names if name != notification.key), notification.key)
    if len(names) <= _MOST_BEGUN:
        return names
    counting = [other for other in _loaded(notification, names[:-1]) if _counts(other, channel)]
    counting.sort(key=lambda other: other.order)
    sent = [number for number, other in enumerate(counting) if _was_sent(other, channel)]
    return (*(other.key for other in counting[sent[-1] if sent else 0 :][1 - _MOST_BEGUN :]), notification.key)


def _loaded(notification: NotificationRecord, names: tuple[bytes, ...]) -> Iterator[NotificationRecord]:
    """Other notifications of the user's, as far as they are still known."""
    for name in names:
        other = NotificationRecord.load(notification.context, name, notification.cause)
        if other is not None and other.facts.notification_id != notification.facts.notification_id:
            yield other


def _counts(other: NotificationRecord, channel: Channel) -> bool:
    """Whether it was sent on the channel, may have been, or may yet be."""
    return any(
        part.wait or any(sent.end not in _UNSENT or sent.reported for sent in part.sends)
        for part in other.parts
        if part.channel == channel
    )


def _was_sent(other: NotificationRecord, channel: Channel) -> bool:
    return any(sent.end == "sent" for part in other.parts if part.channel == channel for sent in part.sends)


def _replaced(notification: NotificationRecord, name: bytes, channel: Channel) -> bool:
    """Ends or withdraws another's parts on the channel, if it is older; whether nothing more of it can be replaced."""
    other = NotificationRecord.load(notification.context, name, notification.cause)
    if other is None:
        return True
    if other.facts.notification_id == notification.facts.notification_id:
        return not _can_be_replaced(other, other.parts)  # (a replay doesn't replace what it repeats)
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
    return not _can_be_replaced(other, [part for part in other.parts if part.channel != channel])


def _can_be_replaced(other: NotificationRecord, parts: Sequence[Part]) -> bool:
    """Whether anything of it is open, or may begin yet. ``parts``: those that haven't been replaced just now."""
    is_open = any(part.wait or not all(sent.end for sent in part.sends) for part in parts)
    return is_open or bool(other.scheduled) or _may_go_on(other)


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
