"""What ends a whole notification, whatever its channels wait for."""

from msgspec.structs import replace

from agents.router.notification_record import NotificationRecord
from schemas.words import Status

Stop = tuple[Status, str | None]


def erased(notification: NotificationRecord) -> Stop | None:
    gone = notification.context.state.known.erased(notification.facts.user_id) or notification.is_of_before_erasure
    notification.trail.append(("erased", not gone))
    return ("suppressed", "erased") if gone else None


def over(notification: NotificationRecord) -> Stop | None:
    """Whether it was cancelled, or has expired."""
    if cancelled(notification):
        return "cancelled", None
    alive = notification.context.now < notification.facts.expires_ms
    notification.trail.append(("expired", alive, notification.facts.expires_ms))
    return None if alive else ("expired", None)


def cancelled(notification: NotificationRecord) -> bool:
    facts = notification.facts
    gone = notification.context.state.known.cancelled(
        facts.user_id, facts.notification_id, facts.campaign_id, facts.source, facts.recorded_ms
    )
    notification.trail.append(("cancelled", not gone))
    return gone


def called_off(notification: NotificationRecord) -> Stop | None:
    """Whether a cancel or an erasure, which is in force at once, has yet to end it."""
    return erased(notification) or (("cancelled", None) if cancelled(notification) else None)


def stop_of(notification: NotificationRecord) -> Stop | None:
    """What ends the whole of it, asked again whenever a wait ends."""
    return erased(notification) or over(notification)


def end_waits(notification: NotificationRecord, status: Status, reason: str | None) -> None:
    """Ends whatever of it waits, and begins no further step."""
    if notification.scheduled:
        notification.context.state.schedule.delete(notification.scheduled)
        notification.scheduled = b""
        notification.emit(status, None, reason)
    for index, part in enumerate(notification.parts):
        if part.wait:
            notification.end_part(index, status, reason)
        stop_awaiting(notification, index)
    stop_chain(notification)


def stop_awaiting(notification: NotificationRecord, index: int) -> None:
    """Whatever comes back of the part's send, or doesn't: it isn't made once more."""
    part = notification.parts[index]
    if part.awaits_until:
        notification.context.state.schedule.delete(part.awaits_until)
        notification.parts[index] = replace(part, awaits_until=b"")


def stop_chain(notification: NotificationRecord) -> None:
    """The whole notification is over: no further step begins."""
    chain = notification.chain
    if chain is None or chain.state.over:
        return
    if chain.due:
        notification.context.state.schedule.delete(chain.due)
    notification.chain = replace(chain, state=replace(chain.state, over=True, due_ms=None), due=b"")
