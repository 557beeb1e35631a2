"""Commanding: what a command changes of what is known, and of what waits at the router."""

from agents.broadcasting import claim_token
from agents.case import Case
from agents.desk import Desk
from agents.digesting import drop_digests, forget_digest, time_digests_again
from agents.fallback import stop_chain
from agents.intakes import position_of
from agents.moving import moved
from agents.placement import check_key, check_keyless
from agents.waking import end_quiet_holds
from app.ports import LogRecord
from schemas.commands import ActivitySeen, NotificationCancel, read_command
from schemas.words import Status
from tables.notifications import forgotten
from tables.pending import Pending


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
        _cancel(desk, command)
    elif command.user_id is not None:
        if change.erased:
            _erase(desk, command.user_id, command.id)
        if change.clock:
            end_quiet_holds(desk, command.user_id, command.id)
        if change.clock or change.rhythm:
            time_digests_again(desk, command.user_id, command.id)
        if isinstance(command, ActivitySeen):
            drop_digests(desk, command.user_id, command.id)


def _cancel(desk: Desk, command: NotificationCancel) -> None:
    """Ends what waits here; what is queued its channel's role ends by itself."""
    pending = desk.state.pending
    rows: list[Pending] = []
    if command.notification_id is not None:
        rows += pending.of_notification(command.notification_id.lower())
    if command.campaign_id is not None:
        rows += pending.of_campaign(command.campaign_id)
    for row in rows:
        case = Case.load(desk, row.notification, command.id)
        if case is None or command.user_id not in (None, row.user_id):
            continue
        if command.source in (None, case.facts.source):
            _end(case, "cancelled", None)


def _erase(desk: Desk, user_id: str, cause: str) -> None:
    """Ends what waits here, and forgets what was counted and gathered."""
    for row in desk.state.pending.of_user(user_id):
        case = Case.load(desk, row.notification, cause)
        if case is not None:
            _end(case, "suppressed", "erased")
    start = user_id.encode() + b"\0"
    for key, gathering in desk.state.digests.scan(start, start[:-1] + b"\1"):
        forget_digest(desk, key, gathering)
    for table in (desk.state.dedup, desk.state.collapses):
        for key, _ in table.scan(start, start[:-1] + b"\1"):
            table.delete(key)
    desk.state.windows.delete(user_id.encode())
    desk.flush()
    for key, told in desk.state.notifications.scan(start, start[:-1] + b"\1"):
        desk.state.notifications.put(key, forgotten(told))


def _end(case: Case, status: Status, reason: str | None) -> None:
    """Ends whatever of it waits, and begins no further step."""
    if case.scheduled:
        case.desk.state.schedule.delete(case.scheduled)
        case.scheduled = b""
        case.tell(status, None, reason)
    for index, part in enumerate(case.parts):
        if part.wait:
            case.end_part(index, status, reason)
    stop_chain(case)
