"""Ends what waits after a cancel, or after the erasure of its user, and deletes what is kept of an erased user.

The command itself is in force at once: whatever is judged from then on sees it. What waits and isn't judged in between
is ended in slices.
"""

from agents.router.context import RouterContext
from agents.router.notification_record import NotificationRecord
from agents.router.stop import end_waits
from agents.shared.slices import Walk
from schemas.commands import NotificationCancel
from tables.collapses import Collapse
from tables.dedup import First
from tables.notifications import Notification, forgotten, notification_key
from tables.slices import Cancel, Forget, go_on_later, of_user

# --- cancelled ---


def cancel(context: RouterContext, command: NotificationCancel) -> None:
    """Ends what waits here; what is queued its channel's role ends by itself."""
    pending = context.state.pending
    if command.notification_id is not None:
        keys = pending.range_of_notification(command.notification_id.lower(), command.user_id)
        go_on_cancelling(context, Cancel(command.id, *keys, command.source))
    if command.campaign_id is not None:
        keys = pending.range_of_campaign(command.campaign_id, command.user_id)
        go_on_cancelling(context, Cancel(command.id, *keys, command.source))


def go_on_cancelling(context: RouterContext, work: Cancel) -> None:
    """What is accepted meanwhile and falls under the cancel has ended already, by the cancel."""
    walk = Walk(context.state.pending.table, work.start, work.end)
    for _, row in walk:
        notification = NotificationRecord.load(context, row.notification, work.cause)
        if notification is not None and work.source in (None, notification.facts.source):
            walk.spend(notification.size, 0)
            end_waits(notification, "cancelled", None)
    if not walk.is_over:
        go_on_later(context.state.schedule, context.now, work, walk.at)


# --- erased ---


def erase(context: RouterContext, user_id: str, cause: str) -> None:
    """Ends what waits here, and forgets what was counted and gathered."""
    context.state.windows.delete(user_id.encode())
    context.state.verifications.delete(user_id.encode())
    context.state.known.begin_forgetting(user_id, cause, context.now)
    go_on_forgetting(context, Forget(cause, *of_user(user_id), user_id))


def go_on_forgetting(context: RouterContext, work: Forget) -> None:
    """One table after the other. What was accepted since, of a user who began anew, is left alone."""
    if context.state.known.forgetting(work.user_id) != work.cause:
        return  # erased once more: that goes through all of it
    start, end = of_user(work.user_id)
    for number, forget in enumerate(_FORGET[work.table :], start=work.table):
        at = forget(context, work, work.start if number == work.table else start)
        if at is not None:
            rest = Forget(work.cause, at, end, work.user_id, number)
            go_on_later(context.state.schedule, context.now, rest, at)
            return
    context.state.known.end_forgetting(work.user_id)


def forget(notification: NotificationRecord) -> None:
    """Of an erased user: ends what waits of it and keeps what recognises it, and nothing else."""
    notification.trail = []
    end_waits(notification, "suppressed", "erased")
    notification.forget()


def is_kept(context: RouterContext, user_id: str, first: First) -> bool:
    """Whether a request is still told from one that says the same. One of before an erasure is not."""
    if not context.state.known.forgetting(user_id):
        return True
    return _is_newer(context, notification_key(user_id, first.notification_id))


def _forget_notifications(context: RouterContext, work: Forget, start: bytes) -> bytes | None:
    """Returns where the next slice begins; None: that was all."""
    walk = Walk(context.state.notifications, start, work.end)
    for key, row in walk:
        if not _is_older(context, row):
            continue
        walk.spend(len(row.request) + len(row.items), 0)
        if row.is_open:
            notification = NotificationRecord.load(context, key, work.cause)
            assert notification is not None
            forget(notification)
        elif not row.is_forgotten:
            context.state.notifications.put(key, forgotten(row))
    return None if walk.is_over else walk.at


def _forget_digests(context: RouterContext, work: Forget, start: bytes) -> bytes | None:
    walk = Walk(context.state.digests, start, work.end)
    for key, row in walk:
        if context.state.known.forgets(work.user_id, row.after_erasure):
            walk.spend(row.digest.size, 0)
            context.state.schedule.delete(row.due)
            context.state.digests.delete(key)
    return None if walk.is_over else walk.at


def _forget_dedup(context: RouterContext, work: Forget, start: bytes) -> bytes | None:
    walk = Walk(context.state.dedup, start, work.end)
    for key, first in walk:
        if not is_kept(context, work.user_id, first):
            context.state.dedup.delete(key)
    return None if walk.is_over else walk.at


def _forget_collapses(context: RouterContext, work: Forget, start: bytes) -> bytes | None:
    walk = Walk(context.state.collapses, start, work.end)
    for key, collapse in walk:
        names = tuple(name for name in collapse.notifications if _is_newer(context, name))
        begun = {
            channel: tuple(name for name in rows if _is_newer(context, name))
            for channel, rows in collapse.begun.items()
        }
        walk.spend(0, len(collapse.notifications) + sum(map(len, collapse.begun.values())))
        if not names and not any(begun.values()):
            context.state.collapses.delete(key)
        elif (names, begun) != (collapse.notifications, collapse.begun):
            context.state.collapses.put(key, Collapse(names, collapse.until_ms, begun))
    return None if walk.is_over else walk.at


_FORGET = (_forget_notifications, _forget_digests, _forget_dedup, _forget_collapses)


def _is_newer(context: RouterContext, key: bytes) -> bool:
    row = context.state.notifications.get(key)
    return row is not None and not _is_older(context, row)


def _is_older(context: RouterContext, row: Notification) -> bool:
    """Than the erasure that is being carried out."""
    return context.state.known.forgets(row.facts.user_id, row.after_erasure)
