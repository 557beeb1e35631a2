"""Applies a command to what is known of a user, and to what waits at the router."""

from agents.router.broadcasts import claim_token
from agents.router.cancel_and_erase import cancel, erase
from agents.router.close_digest import drop_when_active, time_digests_again
from agents.router.context import RouterContext
from agents.router.repartition import moved
from agents.router.retire_devices import report_retired
from agents.router.timers import end_quiet_holds
from agents.shared.placement import check_key, check_keyless
from agents.shared.subscriptions import position_of
from app.domain.erasure import user_hash
from app.ports import LogRecord
from schemas.commands import ActivitySeen, NotificationCancel, read_command
from schemas.erasures import PARTITION, REDACT, USER, Erased, ToRedact, encode_erasure
from schemas.topics import ERASURES


def take_command(context: RouterContext, record: LogRecord) -> None:
    """Takes one record of notify_commands. Raises Invalid with the field."""
    assert record.value is not None
    command = read_command(record.value)
    if command.user_id is None:
        check_keyless(record)
    elif moved(context, record, check_key(record, command.user_id)):
        return
    change = context.state.known.apply(
        command, position_of(record), context.now, context.catalog.bounds, record.timestamp, context.policy
    )
    if change.claim is not None:
        claim_token(context, change.claim)
    if not change.applied:
        return
    report_retired(context, change.retired, position_of(record))
    if isinstance(command, NotificationCancel):
        cancel(context, command)
    elif command.user_id is not None:
        if change.erased:
            erase(context, command.user_id, command.id)
            _record_erased(context, command.user_id, command.id)
        if change.erased_before is not None:
            _record_for_user(context, command.user_id, Erased(erased_at=change.erased_before, until=context.now))
        if change.clock:
            end_quiet_holds(context, command.user_id, command.id)
        if change.clock or change.rhythm:
            time_digests_again(context, command.user_id, command.id)
        if isinstance(command, ActivitySeen):
            drop_when_active(context, command.user_id, command.id)


def _record_erased(context: RouterContext, user_id: str, erasure_id: str) -> None:
    """To those who keep no tables: who was erased, and whose events are to be redacted."""
    _record_for_user(context, user_id, Erased(erased_at=context.now))
    whose = ToRedact(user_id=user_id, partition=context.state.partition, erased_at=context.now)
    context.out.send(ERASURES, REDACT + erasure_id.encode(), encode_erasure(whose), partition=PARTITION)


def _record_for_user(context: RouterContext, user_id: str, erased: Erased) -> None:
    key = USER + user_hash(user_id).hex().encode()
    context.out.send(ERASURES, key, encode_erasure(erased), partition=PARTITION)
