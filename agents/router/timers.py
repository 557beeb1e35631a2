"""What happens when a timer of the router is due."""

from uuid import UUID

from agents.router.cancel_and_erase import go_on_cancelling, go_on_forgetting
from agents.router.cap_slots import leave_queue, wake_queue_now
from agents.router.close_digest import (
    close_digest,
    drop_digests,
    give_up_digest,
    give_up_item,
    retime_digests,
    wake_item,
)
from agents.router.context import RouterContext
from agents.router.evaluate import evaluate_again
from agents.router.fallback import part_judged, wait_over
from agents.router.no_receipt import receipt_overdue
from agents.router.normalize_tokens import normalize_tokens
from agents.router.notification_record import NotificationRecord, rows_of
from agents.router.requests import evaluate_request
from agents.router.stop import called_off, end_waits, stop_awaiting, stop_chain
from agents.router.sweep_devices import sweep_devices
from agents.shared.slices import Share, Walk
from app.ports import FailedReason
from tables.notifications import notification_key
from tables.schedule import Due, due_ms_of
from tables.slices import (
    Cancel,
    DropDigests,
    FindHolds,
    Forget,
    JudgeHolds,
    RetimeDigests,
    Work,
    go_on_later,
    park,
    parked_range,
    parked_subject,
    work_of,
)

#: Before the key of the notification in a wait's subject: its place in the order of acceptance.
_ORDER_BYTES = 16


def wake(context: RouterContext, due_key: bytes, due: Due) -> None:
    """Takes a row of the schedule that fell due."""
    cause = f"due:{due_ms_of(due_key)}"
    if due.kind == "digest":
        close_digest(context, due.subject, cause)
        return
    if due.kind == "normalize":
        normalize_tokens(context, due.subject)
        return
    if due.kind == "stale":
        sweep_devices(context, due.subject)
        return
    if due.kind == "place":
        wake_queue(context, due.user_id, due.detail, cause)
        return
    if due.kind == "slice":
        _go_on(context, work_of(due))
        return
    if due.kind == "item":
        wake_item(context, due)
        return
    notification = NotificationRecord.load(context, due.subject[_ORDER_BYTES:], cause)
    if notification is None:
        return
    if due.kind == "receipt":
        receipt_overdue(notification, due.detail)
    elif due.kind == "step":
        _end_step(notification, int(due.detail))
    elif due.detail:
        _end_hold(notification, int(due.detail))
    elif notification.scheduled:
        notification.scheduled = b""
        evaluate_request(notification)


def give_up(context: RouterContext, due_key: bytes, due: Due, reason: FailedReason) -> bool:
    """Ends what can't be woken; False where a row is no notification's. Work that goes on in slices isn't: it is tried
    again, and so is the queue of a cap, each of whose parts has a row of its own."""
    cause = f"due:{due_ms_of(due_key)}"
    match due.kind:
        case "digest":
            give_up_digest(context, due.subject, reason, cause)
        case "item":
            give_up_item(context, due, reason)
        case "judge" | "step":
            notification = NotificationRecord.load(context, due.subject[_ORDER_BYTES:], cause)
            if notification is not None:
                _give_up_waits(notification, due, reason)
        case "receipt":
            notification = NotificationRecord.load(context, due.subject[_ORDER_BYTES:], cause)
            if notification is not None:
                stop_awaiting(notification, int(due.detail.partition(" ")[0]))
        case _:
            return False
    return True


def _give_up_waits(notification: NotificationRecord, due: Due, reason: FailedReason) -> None:
    if (stop := called_off(notification)) is not None:
        end_waits(notification, *stop)
        return
    notification.trail = []
    if due.kind == "judge" and not due.detail:
        end_waits(notification, "failed", reason)
        return
    if due.kind == "judge" and notification.parts[int(due.detail)].wait:
        notification.end_part(int(due.detail), "failed", reason)
    stop_chain(notification)


def _go_on(context: RouterContext, work: Work) -> None:
    match work:
        case Cancel():
            go_on_cancelling(context, work)
        case Forget():
            go_on_forgetting(context, work)
        case FindHolds():
            find_holds(context, work)
        case JudgeHolds():
            evaluate_holds(context, work)
        case RetimeDigests():
            retime_digests(context, work)
        case DropDigests():
            drop_digests(context, work)


def evaluate_parts_again(notification: NotificationRecord, indexes: list[int]) -> None:
    """Parts whose waits ended, with what follows for a fallback chain; that may be the end of another of them."""
    for index in indexes:
        if not notification.parts[index].wait:
            continue
        if evaluate_again(notification, index):
            part_judged(notification, index)
        else:
            stop_chain(notification)


def wake_queue(context: RouterContext, user_id: str, cap: str, cause: str) -> None:
    """A place in a cap is free: those who wait for it are judged again, in order, until one has to wait on. A few at
    once, for each of them may be queued."""
    row = context.state.windows.get(user_id.encode())
    share = Share()
    for own_id in row.waiting.get(cap, ()) if row is not None else ():
        if share.is_spent:
            wake_queue_now(context, user_id, cap)
            return
        waiting = _waiting_for(context, user_id, str(UUID(bytes=own_id)), cap, cause)
        if not waiting:
            leave_queue(context, user_id, own_id, cap)
        for notification, indexes in waiting:
            share.spend(notification.size)
            evaluate_parts_again(notification, indexes)
            if any(notification.parts[i].wait == "rate_cap" for i in indexes):
                return


def _waiting_for(
    context: RouterContext, user_id: str, notification_id: str, cap: str, cause: str
) -> list[tuple[NotificationRecord, list[int]]]:
    """The parts that wait for the cap: of the notification, or of what replays make of it."""
    notification = NotificationRecord.load(context, notification_key(user_id, notification_id), cause)
    rows = [] if notification is None else [notification]
    if notification is None or notification.replayed:
        rows += rows_of(context, user_id, notification_id, cause, besides=notification_key(user_id, notification_id))
    named = cap.encode()
    waiting = [
        (row, [i for i, part in enumerate(row.parts) if part.wait == "rate_cap" and part.waits_for == named])
        for row in rows
    ]
    return [(row, indexes) for row, indexes in waiting if indexes]


# --- the user's hours, zone or DND changed ---


def end_quiet_holds(context: RouterContext, user_id: str, cause: str) -> None:
    """What they hold is judged again, in order of acceptance."""
    start, end = context.state.pending.range_of_user(user_id)
    find_holds(context, FindHolds(cause, start, end, user_id))


def find_holds(context: RouterContext, work: FindHolds) -> None:
    """Puts them in order. Where all are found at once, they are judged at once."""
    walk = Walk(context.state.pending.table, work.start, work.end)
    held = []
    for _, row in walk:
        notification = NotificationRecord.load(context, row.notification, work.cause)
        if notification is None:
            continue
        walk.spend(notification.size, 0)
        if any(part.wait == "quiet_hours" for part in notification.parts):
            held.append(notification)
    keys = parked_range(work.user_id, work.cause)
    judged = JudgeHolds(work.cause, *keys, work.user_id)
    if walk.is_over and not context.state.schedule.scan(*keys, 1):
        for notification in sorted(held, key=lambda notification: notification.order):
            _evaluate_hold(notification)
        return
    for notification in held:
        park(context.state.schedule, work.user_id, work.cause, notification.order + notification.key)
    if walk.is_over:
        go_on_later(context.state.schedule, context.now, judged, judged.start)
    else:
        go_on_later(context.state.schedule, context.now, work, walk.at)


def evaluate_holds(context: RouterContext, work: JudgeHolds) -> None:
    walk = Walk(context.state.schedule, work.start, work.end)
    for key, due in walk:
        context.state.schedule.delete(key)
        notification = NotificationRecord.load(context, parked_subject(due)[_ORDER_BYTES:], work.cause)
        if notification is not None:
            walk.spend(notification.size, 0)
            _evaluate_hold(notification)
    if not walk.is_over:
        go_on_later(context.state.schedule, context.now, work, walk.at)


def _evaluate_hold(notification: NotificationRecord) -> None:
    evaluate_parts_again(notification, [i for i, part in enumerate(notification.parts) if part.wait == "quiet_hours"])


def _end_hold(notification: NotificationRecord, index: int) -> None:
    part = notification.parts[index]
    if part.wait in ("quiet_hours", "rate_cap") and due_ms_of(part.due) <= notification.context.now:
        evaluate_parts_again(notification, [index])


def _end_step(notification: NotificationRecord, step: int) -> None:
    if notification.chain is None or notification.chain.state.step != step:
        return
    if (stop := called_off(notification)) is not None:
        end_waits(notification, *stop)
    else:
        notification.trail = []
        wait_over(notification)
