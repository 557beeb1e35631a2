"""Takes the results that the channels' roles report: a send's end frees its slots and goes on with its chain."""

from msgspec.structs import replace

from agents.router.broadcasts import to_owner
from agents.router.cap_slots import release_cap_slots
from agents.router.context import RouterContext
from agents.router.fallback import send_ended
from agents.router.find_send import find, note, suppress
from agents.router.no_receipt import await_receipt
from agents.router.notification_record import NotificationRecord
from agents.shared.placement import check_place
from app.ports import LogRecord
from schemas.broadcasts import TokenDead
from schemas.receipts import IMPLIES
from schemas.results import SendResult, read_result
from schemas.words import Channel
from tables.notifications import REPORTED, Sent

#: Ends after which no provider has accepted the send.
_UNSENT: frozenset[str] = frozenset(("failed", "suppressed", "expired", "cancelled"))


def take_result(context: RouterContext, record: LogRecord) -> None:
    """Takes one record of tocsin_results. Raises Invalid with the field."""
    assert record.value is not None
    result = read_result(record.value)
    check_place(record, result.user_id, context.partitions)
    found = find(context, result)
    if found is None:
        return  # items lie in the inbox, and doubts last, longer than sends are remembered here
    notification, index, at = found
    if notification.is_forgotten:
        notification.note_outcome(result.status, result.reason)
        return
    if index is None or at is None:
        return
    if result.status == "seen" or result.status == "read":
        _marked(notification, index, at, result)
    elif result.status == "in_doubt":
        _doubted(notification, index, at)
    else:
        _ended(notification, index, at, result)


def note_end(context: RouterContext, record: LogRecord) -> None:
    """Of a result that can't be taken: notes that the send has ended, and lets its places in the caps go. What should
    follow from it, such as the next step of a chain, comes when its wait is over. Raises Invalid."""
    assert record.value is not None
    result = read_result(record.value)
    check_place(record, result.user_id, context.partitions)
    found = find(context, result)
    if found is None or result.status in ("seen", "read"):
        return
    notification, index, at = found
    if not notification.is_forgotten and index is not None and at is not None:
        _note_end(notification, index, at, result)


def _ended(notification: NotificationRecord, index: int, at: int, result: SendResult) -> None:
    sent = notification.parts[index].sends[at]
    if sent.end:
        return
    _note_end(notification, index, at, result)
    _retire_address(notification, notification.parts[index].channel, sent, result)
    send_ended(notification, sent.send_id, result.status)


def _note_end(notification: NotificationRecord, index: int, at: int, result: SendResult) -> None:
    part = notification.parts[index]
    sent = part.sends[at]
    if sent.end:
        return
    assert result.status != "in_doubt"
    ended = replace(
        sent, end=result.status, template_version=result.template_version, variant=result.variant, in_doubt=False
    )
    note(notification, index, at, ended)
    await_receipt(notification, index, result)
    notification.note_outcome(result.status, result.reason)
    if result.status in _UNSENT:
        rows = [notification, *notification.siblings()] if notification.has_siblings else [notification]
        kept_by = frozenset(
            other.channel for row in rows for other in row.parts if any(s.end not in _UNSENT for s in other.sends)
        )
        release_cap_slots(notification.context, notification.facts.user_id, notification.own_id, part.channel, kept_by)


def _doubted(notification: NotificationRecord, index: int, at: int) -> None:
    """Only a replay asks: what is in doubt is left alone."""
    sent = notification.parts[index].sends[at]
    if not sent.end and not sent.in_doubt:
        note(notification, index, at, replace(sent, in_doubt=True))


def _retire_address(notification: NotificationRecord, channel: Channel, sent: Sent, result: SendResult) -> None:
    """A token that the provider calls dead goes, unless it was registered since; a number that said stop is listed."""
    called = result.address
    hashed = called.address_hash if called is not None else sent.address.hex()
    if result.reason == "invalid_token" and sent.device_id is not None:
        since = result.at if called is None else called.invalid_since or called.called_at
        to_owner(notification.context, TokenDead(token_hash=hashed, user_id=notification.facts.user_id, since=since))
    elif called is not None and called.opted_out:
        suppress(notification.context, channel, hashed, "opted_out", result.at)


def _marked(notification: NotificationRecord, index: int, at: int, result: SendResult) -> None:
    """The inbox's item was marked, and that was told: only the chain has yet to learn of it."""
    mark = result.status
    assert mark == "seen" or mark == "read"
    sent = notification.parts[index].sends[at]
    reported = sum(REPORTED[status] for status in {*IMPLIES[mark], mark} if not sent.reported & REPORTED[status])
    note(notification, index, at, replace(sent, reported=sent.reported + reported))
    send_ended(notification, sent.send_id, mark)
