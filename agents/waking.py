"""Waking: what to do when a wait is over."""

from uuid import UUID

from agents.case import Case
from agents.desk import Desk
from agents.digesting import close_digest
from agents.fallback import part_judged, stop_chain, wait_over
from agents.intake import judge_whole
from agents.judging import judge_again
from agents.normalizing import normalize_tokens
from tables.notifications import notification_key
from tables.schedule import Due, due_ms_of

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
    """A place in a cap is free: those who wait for it are judged again, in order, until one has to wait on."""
    row = desk.state.windows.get(user_id.encode())
    for own_id in row.waiting.get(cap, ()) if row is not None else ():
        case = Case.load(desk, notification_key(user_id, str(UUID(bytes=own_id))), cause)
        if case is None:
            continue
        waiting = [i for i, part in enumerate(case.parts) if part.wait == "rate_cap" and part.waits_for == cap.encode()]
        judge_parts_again(case, waiting)
        if any(case.parts[i].wait == "rate_cap" for i in waiting):
            return


def end_quiet_holds(desk: Desk, user_id: str, cause: str) -> None:
    """The user's hours, zone or DND changed: what they hold is judged again, in order of acceptance."""
    cases = (Case.load(desk, row.notification, cause) for row in desk.state.pending.of_user(user_id))
    held = [case for case in cases if case is not None and any(part.wait == "quiet_hours" for part in case.parts)]
    for case in sorted(held, key=lambda case: case.order):
        judge_parts_again(case, [i for i, part in enumerate(case.parts) if part.wait == "quiet_hours"])


def _end_hold(case: Case, index: int) -> None:
    part = case.parts[index]
    if part.wait in ("quiet_hours", "rate_cap") and due_ms_of(part.due) <= case.desk.now:
        judge_parts_again(case, [index])


def _end_step(case: Case, step: int) -> None:
    if case.chain is not None and case.chain.state.step == step:
        wait_over(case)
