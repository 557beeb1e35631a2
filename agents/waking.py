"""Waking: what to do when a wait is over."""

from uuid import UUID

from agents.case import Case
from agents.desk import Desk
from agents.digesting import close_digest, drop_digests, give_up_digest, give_up_item, retime_digests, wake_item
from agents.ending import go_on_cancelling, go_on_forgetting
from agents.fallback import part_judged, wait_over
from agents.intake import judge_whole
from agents.judging import judge_again
from agents.normalizing import normalize_tokens
from agents.places import leave_queue, wake_queue_now
from agents.slicing import Share, Walk
from agents.stopping import called_off, end_waits, stop_chain
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


def wake(desk: Desk, due_key: bytes, due: Due) -> None:
    """Takes a row of the schedule that fell due."""
    cause = f"due:{due_ms_of(due_key)}"
    if due.kind == "digest":
        close_digest(desk, due.subject, cause)
        return
    if due.kind == "normalize":
        normalize_tokens(desk, due.subject)
        return
    if due.kind == "place":
        wake_queue(desk, due.user_id, due.detail, cause)
        return
    if due.kind == "slice":
        _go_on(desk, work_of(due))
        return
    if due.kind == "item":
        wake_item(desk, due)
        return
    case = Case.load(desk, due.subject[_ORDER_BYTES:], cause)
    if case is None:
        return
    if due.kind == "step":
        _end_step(case, int(due.detail))
    elif due.detail:
        _end_hold(case, int(due.detail))
    elif case.scheduled:
        case.scheduled = b""
        judge_whole(case)


def give_up(desk: Desk, due_key: bytes, due: Due, reason: FailedReason) -> bool:
    """Ends what can't be woken; False where a row is no notification's. Work that goes on in slices isn't: it is tried
    again, and so is the queue of a cap, each of whose parts has a row of its own."""
    cause = f"due:{due_ms_of(due_key)}"
    match due.kind:
        case "digest":
            give_up_digest(desk, due.subject, reason, cause)
        case "item":
            give_up_item(desk, due, reason)
        case "judge" | "step":
            case = Case.load(desk, due.subject[_ORDER_BYTES:], cause)
            if case is not None:
                _give_up_waits(case, due, reason)
        case _:
            return False
    return True


def _give_up_waits(case: Case, due: Due, reason: FailedReason) -> None:
    if (stop := called_off(case)) is not None:
        end_waits(case, *stop)
        return
    case.trail = []
    if due.kind == "judge" and not due.detail:
        end_waits(case, "failed", reason)
        return
    if due.kind == "judge" and case.parts[int(due.detail)].wait:
        case.end_part(int(due.detail), "failed", reason)
    stop_chain(case)


def _go_on(desk: Desk, work: Work) -> None:
    match work:
        case Cancel():
            go_on_cancelling(desk, work)
        case Forget():
            go_on_forgetting(desk, work)
        case FindHolds():
            find_holds(desk, work)
        case JudgeHolds():
            judge_holds(desk, work)
        case RetimeDigests():
            retime_digests(desk, work)
        case DropDigests():
            drop_digests(desk, work)


def judge_parts_again(case: Case, indexes: list[int]) -> None:
    """Parts whose waits ended, with what follows for a fallback chain; that may be the end of another of them."""
    for index in indexes:
        if not case.parts[index].wait:
            continue
        if judge_again(case, index):
            part_judged(case, index)
        else:
            stop_chain(case)


def wake_queue(desk: Desk, user_id: str, cap: str, cause: str) -> None:
    """A place in a cap is free: those who wait for it are judged again, in order, until one has to wait on. A few at
    once, for each of them may be queued."""
    row = desk.state.windows.get(user_id.encode())
    share = Share()
    for own_id in row.waiting.get(cap, ()) if row is not None else ():
        if share.is_spent:
            wake_queue_now(desk, user_id, cap)
            return
        case = Case.load(desk, notification_key(user_id, str(UUID(bytes=own_id))), cause)
        parts = case.parts if case is not None else ()
        waiting = [i for i, part in enumerate(parts) if part.wait == "rate_cap" and part.waits_for == cap.encode()]
        if case is None or not waiting:
            leave_queue(desk, user_id, own_id, cap)
            continue
        share.spend(case.size)
        judge_parts_again(case, waiting)
        if any(case.parts[i].wait == "rate_cap" for i in waiting):
            return


# --- the user's hours, zone or DND changed ---


def end_quiet_holds(desk: Desk, user_id: str, cause: str) -> None:
    """What they hold is judged again, in order of acceptance."""
    start, end = desk.state.pending.range_of_user(user_id)
    find_holds(desk, FindHolds(cause, start, end, user_id))


def find_holds(desk: Desk, work: FindHolds) -> None:
    """Puts them in order. Where all are found at once, they are judged at once."""
    walk = Walk(desk.state.pending.table, work.start, work.end)
    held = []
    for _, row in walk:
        case = Case.load(desk, row.notification, work.cause)
        if case is None:
            continue
        walk.spend(case.size, 0)
        if any(part.wait == "quiet_hours" for part in case.parts):
            held.append(case)
    keys = parked_range(work.user_id, work.cause)
    judged = JudgeHolds(work.cause, *keys, work.user_id)
    if walk.is_over and not desk.state.schedule.scan(*keys, 1):
        for case in sorted(held, key=lambda case: case.order):
            _judge_hold(case)
        return
    for case in held:
        park(desk.state.schedule, work.user_id, work.cause, case.order + case.key)
    if walk.is_over:
        go_on_later(desk.state.schedule, desk.now, judged, judged.start)
    else:
        go_on_later(desk.state.schedule, desk.now, work, walk.at)


def judge_holds(desk: Desk, work: JudgeHolds) -> None:
    walk = Walk(desk.state.schedule, work.start, work.end)
    for key, due in walk:
        desk.state.schedule.delete(key)
        case = Case.load(desk, parked_subject(due)[_ORDER_BYTES:], work.cause)
        if case is not None:
            walk.spend(case.size, 0)
            _judge_hold(case)
    if not walk.is_over:
        go_on_later(desk.state.schedule, desk.now, work, walk.at)


def _judge_hold(case: Case) -> None:
    judge_parts_again(case, [i for i, part in enumerate(case.parts) if part.wait == "quiet_hours"])


def _end_hold(case: Case, index: int) -> None:
    part = case.parts[index]
    if part.wait in ("quiet_hours", "rate_cap") and due_ms_of(part.due) <= case.desk.now:
        judge_parts_again(case, [index])


def _end_step(case: Case, step: int) -> None:
    if case.chain is None or case.chain.state.step != step:
        return
    if (stop := called_off(case)) is not None:
        end_waits(case, *stop)
    else:
        case.trail = []
        wait_over(case)
