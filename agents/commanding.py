"""Commanding: what a command changes of what is known, and of what waits at the router."""

from agents.broadcasting import claim_token
from agents.desk import Desk
from agents.digesting import drop_when_active, time_digests_again
from agents.ending import cancel, erase
from agents.intakes import position_of
from agents.moving import moved
from agents.placement import check_key, check_keyless
from agents.waking import end_quiet_holds
from app.ports import LogRecord
from schemas.commands import ActivitySeen, NotificationCancel, read_command


def take_command(desk: Desk, record: LogRecord) -> None:
    """Takes one record of notify_commands. Raises Invalid with the field."""
    assert record.value is not None
    command = read_command(record.value)
    if command.user_id is None:
        check_keyless(record)
    elif moved(desk, record, check_key(record, command.user_id)):
        return
    change = desk.state.known.apply(
        command, position_of(record), desk.now, desk.catalog.bounds.devices, record.timestamp
    )
    if change.claim is not None:
        claim_token(desk, change.claim)
    if not change.applied:
        return
    if isinstance(command, NotificationCancel):
        cancel(desk, command)
    elif command.user_id is not None:
        if change.erased:
            erase(desk, command.user_id, command.id)
        if change.clock:
            end_quiet_holds(desk, command.user_id, command.id)
        if change.clock or change.rhythm:
            time_digests_again(desk, command.user_id, command.id)
        if isinstance(command, ActivitySeen):
            drop_when_active(desk, command.user_id, command.id)
