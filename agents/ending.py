"""Ending what waits: after a cancel, and after the erasure of its user, with all else that is kept of them.

The command itself is in force at once: whatever is judged from then on sees it. What waits and isn't judged in between
is ended in slices.
"""

from agents.case import Case
from agents.desk import Desk
from agents.slicing import Walk
from agents.stopping import end_waits
from schemas.commands import NotificationCancel
from tables.collapses import Collapse
from tables.dedup import First
from tables.notifications import Notification, forgotten, notification_key
from tables.slices import Cancel, Forget, go_on_later, of_user

# --- cancelled ---


def cancel(desk: Desk, command: NotificationCancel) -> None:
    """Ends what waits here; what is queued its channel's role ends by itself."""
    pending = desk.state.pending
    if command.notification_id is not None:
        keys = pending.range_of_notification(command.notification_id.lower(), command.user_id)
        go_on_cancelling(desk, Cancel(command.id, *keys, command.source))
    if command.campaign_id is not None:
        keys = pending.range_of_campaign(command.campaign_id, command.user_id)
        go_on_cancelling(desk, Cancel(command.id, *keys, command.source))


def go_on_cancelling(desk: Desk, work: Cancel) -> None:
    """What is accepted meanwhile and falls under the cancel has ended already, by the cancel."""
    walk = Walk(desk.state.pending.table, work.start, work.end)
    for _, row in walk:
        case = Case.load(desk, row.notification, work.cause)
        if case is not None and work.source in (None, case.facts.source):
            walk.spend(case.size, 0)
            end_waits(case, "cancelled", None)
    if not walk.is_over:
        go_on_later(desk.state.schedule, desk.now, work, walk.at)


# --- erased ---


def erase(desk: Desk, user_id: str, cause: str) -> None:
    """Ends what waits here, and forgets what was counted and gathered."""
    desk.state.windows.delete(user_id.encode())
    desk.state.verifications.delete(user_id.encode())
    desk.state.known.begin_forgetting(user_id, cause, desk.now)
    go_on_forgetting(desk, Forget(cause, *of_user(user_id), user_id))


def go_on_forgetting(desk: Desk, work: Forget) -> None:
    """One table after the other. What was accepted since, of a user who began anew, is left alone."""
    if desk.state.known.forgetting(work.user_id) != work.cause:
        return  # erased once more: that goes through all of it
    start, end = of_user(work.user_id)
    for number, forget in enumerate(_FORGET[work.table :], start=work.table):
        at = forget(desk, work, work.start if number == work.table else start)
        if at is not None:
            rest = Forget(work.cause, at, end, work.user_id, number)
            go_on_later(desk.state.schedule, desk.now, rest, at)
            return
    desk.state.known.end_forgetting(work.user_id)


def forget(case: Case) -> None:
    """Of an erased user: ends what waits of it and keeps what recognises it, and nothing else."""
    case.trail = []
    end_waits(case, "suppressed", "erased")
    case.forget()


def is_kept(desk: Desk, user_id: str, first: First) -> bool:
    """Whether a request is still told from one that says the same. One of before an erasure is not."""
    if not desk.state.known.forgetting(user_id):
        return True
    return _is_newer(desk, notification_key(user_id, first.notification_id))


def _forget_notifications(desk: Desk, work: Forget, start: bytes) -> bytes | None:
    """Returns where the next slice begins; None: that was all."""
    walk = Walk(desk.state.notifications, start, work.end)
    for key, row in walk:
        if not _is_older(desk, row):
            continue
        walk.spend(len(row.request) + len(row.items), 0)
        if row.is_open:
            case = Case.load(desk, key, work.cause)
            assert case is not None
            forget(case)
        elif not row.is_forgotten:
            desk.state.notifications.put(key, forgotten(row))
    return None if walk.is_over else walk.at


def _forget_digests(desk: Desk, work: Forget, start: bytes) -> bytes | None:
    walk = Walk(desk.state.digests, start, work.end)
    for key, row in walk:
        if desk.state.known.forgets(work.user_id, row.after_erasure):
            walk.spend(row.digest.size, 0)
            desk.state.schedule.delete(row.due)
            desk.state.digests.delete(key)
    return None if walk.is_over else walk.at


def _forget_dedup(desk: Desk, work: Forget, start: bytes) -> bytes | None:
    walk = Walk(desk.state.dedup, start, work.end)
    for key, first in walk:
        if not is_kept(desk, work.user_id, first):
            desk.state.dedup.delete(key)
    return None if walk.is_over else walk.at


def _forget_collapses(desk: Desk, work: Forget, start: bytes) -> bytes | None:
    walk = Walk(desk.state.collapses, start, work.end)
    for key, collapse in walk:
        names = [name for name in collapse.notifications if _is_newer(desk, name)]
        walk.spend(0, len(collapse.notifications))
        if not names:
            desk.state.collapses.delete(key)
        elif len(names) < len(collapse.notifications):
            desk.state.collapses.put(key, Collapse(tuple(names), collapse.until_ms))
    return None if walk.is_over else walk.at


_FORGET = (_forget_notifications, _forget_digests, _forget_dedup, _forget_collapses)


def _is_newer(desk: Desk, key: bytes) -> bool:
    row = desk.state.notifications.get(key)
    return row is not None and not _is_older(desk, row)


def _is_older(desk: Desk, row: Notification) -> bool:
    """Than the erasure that is being carried out."""
    return desk.state.known.forgets(row.facts.user_id, row.after_erasure)
