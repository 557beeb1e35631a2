"""A send whose record became a dead letter ends all the same: the router has queued it, and waits for its end."""

from agents.shared.lifecycle import emit, report
from agents.shared.placement import check_place
from agents.shared.subscriptions import position_of
from app.domain.out import Out
from app.ports import FailedReason, LogRecord
from schemas.decode import Invalid
from schemas.instants import counted_ms
from schemas.results import ResultStatus
from schemas.sends import named_send
from schemas.topics import SEND_TOPICS
from schemas.words import Channel
from tables.attempts import Attempts, send_key


def end_refused_send(
    record: LogRecord, channel: Channel, partitions: int, attempts: Attempts, out: Out, now: int, reason: FailedReason
) -> None:
    """Ends the send that a record of the channel names, unless it has arrived by another copy. A record that lies where
    the router would never have put it names none."""
    if record.value is None or record.topic not in SEND_TOPICS[channel]:
        return
    send = named_send(record.value, counted_ms(record.timestamp, now))
    if send is None or send.channel != channel:
        return
    try:
        check_place(record, send.user_id, partitions)
        key = send_key(send.send_id)
    except Invalid:
        return
    row = attempts.get(key)
    withdrawn = row.withdrawn if row is not None else None
    if row is not None and withdrawn is None:
        return
    status: ResultStatus = "failed" if withdrawn is None else withdrawn.status
    why = reason if withdrawn is None else withdrawn.reason
    by = {"by": withdrawn.by} if withdrawn is not None and withdrawn.by else None
    attempts.end(key, status, now)
    emit(out, send, status, now, position_of(record), reason=why, detail=by)
    report(out, send, status, now, reason=why)
