"""Stopping: what ends the whole of a notification, whatever its channels wait for."""

from msgspec.structs import replace

from agents.case import Case
from schemas.words import Status

Stop = tuple[Status, str | None]


def erased(case: Case) -> Stop | None:
    gone = case.desk.state.known.erased(case.facts.user_id) or case.is_of_before_erasure
    case.trail.append(("erased", not gone))
    return ("suppressed", "erased") if gone else None


def over(case: Case) -> Stop | None:
    """Whether it was cancelled, or has expired."""
    if cancelled(case):
        return "cancelled", None
    alive = case.desk.now < case.facts.expires_ms
    case.trail.append(("expired", alive, case.facts.expires_ms))
    return None if alive else ("expired", None)


def cancelled(case: Case) -> bool:
    facts = case.facts
    gone = case.desk.state.known.cancelled(
        facts.user_id, facts.notification_id, facts.campaign_id, facts.source, facts.recorded_ms
    )
    case.trail.append(("cancelled", not gone))
    return gone


def called_off(case: Case) -> Stop | None:
    """Whether a cancel or an erasure, which is in force at once, has yet to end it."""
    return erased(case) or (("cancelled", None) if cancelled(case) else None)


def stop_of(case: Case) -> Stop | None:
    """What ends the whole of it, asked again whenever a wait ends."""
    return erased(case) or over(case)


def end_waits(case: Case, status: Status, reason: str | None) -> None:
    """Ends whatever of it waits, and begins no further step."""
    if case.scheduled:
        case.desk.state.schedule.delete(case.scheduled)
        case.scheduled = b""
        case.tell(status, None, reason)
    for index, part in enumerate(case.parts):
        if part.wait:
            case.end_part(index, status, reason)
    stop_chain(case)


def stop_chain(case: Case) -> None:
    """The whole notification is over: no further step begins."""
    chain = case.chain
    if chain is None or chain.state.over:
        return
    if chain.due:
        case.desk.state.schedule.delete(chain.due)
    case.chain = replace(chain, state=replace(chain.state, over=True, due_ms=None), due=b"")
