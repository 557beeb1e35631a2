"""Commanding: what a command changes of what is known, and of what waits at the router."""

from agents.broadcasting import claim_token
from agents.desk import Desk
from agents.digesting import drop_when_active, time_digests_again
from agents.ending import cancel, erase
from agents.intakes import position_of
from agents.moving import moved
from agents.placement import check_key, check_keyless
from agents.retiring import report_retired
from agents.waking import end_quiet_holds
from app.domain.erasure import user_hash
from app.ports import LogRecord
from schemas.commands import ActivitySeen, NotificationCancel, read_command
from schemas.erasures import PARTITION, REDACT, USER, Erased, ToRedact, encode_erasure
from schemas.topics import ERASURES


def take_command(desk: Desk, record: LogRecord) -> None:
    """Takes one record of notify_commands. Raises Invalid with the field."""
    assert record.value is not None
    command = read_command(record.value)
    if command.user_id is None:
        check_keyless(record)
    elif moved(desk, record, check_key(record, command.user_id)):
        return
    change = desk.state.known.apply(command, position_of(record), desk.now, desk.catalog.bounds, record.timestamp)
    if change.claim is not None:
        claim_token(desk, change.claim)
    if not change.applied:
        return
    report_retired(desk, change.retired, position_of(record))
    if isinstance(command, NotificationCancel):
        cancel(desk, command)
    elif command.user_id is not None:
        if change.erased:
            erase(desk, command.user_id, command.id)
            _tell_erased(desk, command.user_id, command.id)
        if change.erased_before is not None:
            _tell_user(desk, command.user_id, Erased(erased_at=change.erased_before, until=desk.now))
        if change.clock:
            end_quiet_holds(desk, command.user_id, command.id)
        if change.clock or change.rhythm:
            time_digests_again(desk, command.user_id, command.id)
        if isinstance(command, ActivitySeen):
            drop_when_active(desk, command.user_id, command.id)


def _tell_erased(desk: Desk, user_id: str, erasure_id: str) -> None:
    """To those who keep no tables: who was erased, and whose events are to be redacted."""
    _tell_user(desk, user_id, Erased(erased_at=desk.now))
    whose = ToRedact(user_id=user_id, partition=desk.state.partition, erased_at=desk.now)
    desk.out.send(ERASURES, REDACT + erasure_id.encode(), encode_erasure(whose), partition=PARTITION)


def _tell_user(desk: Desk, user_id: str, erased: Erased) -> None:
    key = USER + user_hash(user_id).hex().encode()
    desk.out.send(ERASURES, key, encode_erasure(erased), partition=PARTITION)
