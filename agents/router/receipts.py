"""Takes receipts: reports what came back of a send, and acts on it (suppression, opt-out, the next step)."""

from msgspec.structs import replace

from agents.router.broadcasts import command
from agents.router.context import RouterContext
from agents.router.fallback import send_ended
from agents.router.find_send import find, note, suppress
from agents.router.lifecycle import emit_event
from agents.router.no_receipt import receipt_came
from agents.router.notification_record import NotificationRecord
from agents.router.repartition import moved_to
from agents.router.replays import cancel_what_arrived
from agents.shared.placement import partition_of_receipt
from app.domain.ids import derived_id
from app.domain.merge import merge_diff
from app.domain.preferences import unsubscribed
from app.ports import LogRecord
from schemas.commands import PreferencesPatch
from schemas.instants import rfc3339
from schemas.receipts import IMPLIES, Receipt, happened_ms, is_machine, read_receipt
from schemas.words import Status
from tables.notifications import MACHINE, REPORTED, Facts, Sent, with_receipt
from tables.preferences import document_of


def take_receipt(context: RouterContext, record: LogRecord) -> None:
    """Takes one record of notify_receipts; one of a send that isn't known (any more) is counted, and changes nothing.
    Raises Invalid with the field."""
    assert record.value is not None
    receipt = read_receipt(record.value)
    if _lies_elsewhere(context, record, receipt):
        return
    receipt, claimed_at = _in_time(receipt, record.timestamp)
    found = find(context, receipt)
    if found is None:
        context.out.unknown += 1
        return
    notification, index, at = found
    if notification.is_forgotten:
        return
    _came_back(notification, index, at, receipt, record.timestamp, claimed_at)


def _in_time(receipt: Receipt, recorded_ms: int) -> tuple[Receipt, str | None]:
    """The receipt with the time that counts, and what it said itself where that couldn't be."""
    ms = happened_ms(receipt, recorded_ms)
    counts = replace(receipt, occurred_at=rfc3339(recorded_ms if ms is None else ms))
    return counts, receipt.occurred_at if ms is None else None


def _lies_elsewhere(context: RouterContext, record: LogRecord, receipt: Receipt) -> bool:
    """Moves a receipt to the partition that it belongs to."""
    partition = partition_of_receipt(record, receipt, context.partitions)
    return moved_to(context, record, partition)


def _came_back(
    notification: NotificationRecord,
    index: int | None,
    at: int | None,
    receipt: Receipt,
    recorded: int,
    claimed_at: str | None,
) -> None:
    """``recorded``: when the receipt was, Unix ms."""
    status: Status = "bounced" if receipt.status == "failed" else receipt.status
    reason = receipt.reason
    if status == "bounced" and reason not in ("hard", "soft"):
        reason = "soft" if receipt.status == "failed" else "hard"
    sent = notification.parts[index].sends[at] if index is not None and at is not None else None
    if status == "unsubscribed" and index is not None and sent is not None and sent.reported & REPORTED[status]:
        _unsubscribe(notification, index, sent, receipt, recorded)  # (they may have opted in again)
        return
    receipts = with_receipt(notification.receipts if sent is None else sent.receipts, receipt.id, receipt.status)
    if receipts is None:
        return  # its events are there; where it gave no time that counts, they would differ now
    if sent is None:
        notification.receipts = receipts
    else:
        sent = replace(sent, receipts=receipts)
    implied = [s for s in reversed(IMPLIES.get(status, ())) if sent is None or not sent.reported & REPORTED[s]]
    if is_machine(receipt):
        _came_to_machine(notification, index, at, sent, receipt, claimed_at, implied)
        return
    for reported in (*implied, status):
        _emit(notification, index, sent, reported, receipt, reason if reported == status else None, claimed_at)
    if sent is None or index is None or at is None:
        send_ended(notification, "", status)  # of no send in particular: it reached the user
        notification.came_back = notification.came_back or receipt.channel is None
        receipt_came(notification, receipt.channel)
        cancel_what_arrived(notification)
        return
    receipt_came(notification, notification.parts[index].channel)
    reported_now = sum(REPORTED[reported] for reported in {*implied, status})
    note(notification, index, at, replace(sent, reported=sent.reported | reported_now))
    if status == "complained" or (status == "bounced" and reason == "hard"):
        why = "complaint" if status == "complained" else "hard_bounce"
        suppress(notification.context, notification.parts[index].channel, sent.address.hex(), why, recorded)
    if status == "unsubscribed":
        _unsubscribe(notification, index, sent, receipt, recorded)
    for reported in (*implied, status):
        send_ended(notification, sent.send_id, reported)
    cancel_what_arrived(notification)


def _came_to_machine(
    notification: NotificationRecord,
    index: int | None,
    at: int | None,
    sent: Sent | None,
    receipt: Receipt,
    claimed_at: str | None,
    implied: list[Status],
) -> None:
    """It arrived, so a replay leaves it alone; nobody need have seen it, so a fallback chain goes on."""
    if sent is not None and sent.reported & MACHINE:
        implied = []
    for reported in (*implied, receipt.status):
        _emit(notification, index, sent, reported, receipt, None, claimed_at)
    receipt_came(notification, notification.parts[index].channel if index is not None else receipt.channel)
    if sent is None or index is None or at is None:
        notification.came_back = notification.came_back or receipt.channel is None
    else:
        note(notification, index, at, replace(sent, reported=sent.reported | MACHINE))
    cancel_what_arrived(notification)


def _emit(
    notification: NotificationRecord,
    index: int | None,
    sent: Sent | None,
    status: Status,
    receipt: Receipt,
    reason: str | None,
    claimed_at: str | None,
) -> None:
    known = {
        "device_id": sent.device_id if sent is not None else None,
        "claimed_at": claimed_at,
        "machine": True if is_machine(receipt) else None,
    }
    if sent is not None and index is not None:
        known["of"] = notification.parts[index].of or None
    emit_event(
        notification.context,
        _facts_of(notification, sent),
        status,
        receipt.id,
        channel=notification.parts[index].channel if index is not None else receipt.channel,
        send_id=sent.send_id if sent is not None else None,
        reason=reason,
        provider=receipt.provider,
        provider_message_id=receipt.provider_message_id,
        happened=receipt.occurred_at,
        detail={name: value for name, value in known.items() if value is not None} or None,
    )


def _facts_of(notification: NotificationRecord, sent: Sent | None) -> Facts:
    """With the template's version that the recipient saw: another may have come into force since it was queued."""
    if sent is None or sent.template_version is None:
        return notification.facts
    return replace(notification.facts, template_version=sent.template_version, variant=sent.variant)


def _unsubscribe(notification: NotificationRecord, index: int, sent: Sent, receipt: Receipt, recorded: int) -> None:
    """Opts out of the category on the channel, by a command that every role sees; an SMS STOP lists the number."""
    context, facts, channel = notification.context, notification.facts, notification.parts[index].channel
    if channel == "sms" and (receipt.reason or "").lower() == "stop":
        suppress(context, channel, sent.address.hex(), "stop", recorded)
        return
    before = document_of(context.state.known.wishes(facts.user_id))
    patch = merge_diff(before, unsubscribed(before, facts.category, channel, context.policy))
    if not patch:  # as after the command of an unsubscribe link
        return
    name = derived_id("unsubscribe", receipt.id)
    command(context, PreferencesPatch(id=name, at=receipt.occurred_at, user_id=facts.user_id, preferences=patch))
