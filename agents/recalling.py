"""Sends that are taken back or looked at again before their time: withdrawn, replaced, after a command of the user."""

from collections.abc import Callable
from dataclasses import replace as replaced

from msgspec.structs import replace

from agents.claiming import give_up, look_at, proceed
from agents.turn import Job, Turn, job_in, job_of, one_of_several
from app.domain.last_look import Look, Over
from schemas.sends import Send, Withdraw
from tables.attempts import Timer, send_key
from tables.pauses import MOST_DOUBTS, doubt_key, send_key_of
from tables.schedule import Due

#: Sends of one user that are looked at in one go: what else waits in the partition is never held up for long.
AT_ONCE = 200
#: A send that fails is tried again so much later: from then on as any row that falls due and fails.
_ASIDE_MS = 60_000


def withdraw(turn: Turn, asked: Withdraw) -> None:
    """What the router takes back ends unless a call was made; cancelled, unless one is being made or may have arrived.

    One that comes before its send (on another lane) is remembered.
    """
    key = send_key(asked.send_id)
    row = turn.state.attempts.get(key)
    if row is None:
        turn.state.attempts.withdraw_first(key, asked, turn.now)
        return
    job = job_in(key, row)
    if job is None or (job.open.begun and asked.status != "cancelled"):
        return
    if job.in_call:
        turn.rest(job, job.state or "calling", replace(job.open, withdrawn=asked), job.open.timer)
    else:
        take_back(turn, job, asked)


def take_back(turn: Turn, job: Job, asked: Withdraw) -> None:
    if job.open.tries.doubted:
        give_up(turn, job, Over(asked.status, asked.reason))
    else:
        turn.end(job, asked.status, asked.reason, detail={"by": asked.by} if asked.by else None)


def collapse(turn: Turn, newer: Send) -> None:
    """The newer one replaces older ones of the same key that wait here and have not begun."""
    if newer.collapse_key is None:
        return
    for key, wait in turn.state.pauses.of(newer.user_id):
        if wait.begun or wait.collapse_key != newer.collapse_key or wait.notification_id == newer.notification_id:
            continue
        job = job_of(turn, key)
        if job is not None and job.send.accepted_at <= newer.accepted_at:
            turn.end(job, "suppressed", "replaced", detail={"by": newer.notification_id})


def look_again(turn: Turn, user_id: str) -> None:
    """A command changed what is known of the user: quiet-hours holds are judged again at once, in the order of
    acceptance; what waits for another call goes on waiting unless it is over. Of very many only a part at a time: the
    others' last look, before any call of theirs, is all that the command needs."""
    going_on = turn.state.looks.get(user_id)
    if going_on is not None and turn.state.schedule.get(going_on[0]) is not None:
        turn.state.looks[user_id] = (going_on[0], True)
        return
    _look_on(turn, user_id, b"", again=False)


def go_on_looking(turn: Turn, user_id: str, after: bytes) -> None:
    """The next part; from the first again if a command has come meanwhile."""
    _, again = turn.state.looks.pop(user_id, (b"", False))
    _look_on(turn, user_id, after, again=again)


def _look_on(turn: Turn, user_id: str, after: bytes, *, again: bool) -> None:
    more = turn.state.knowledge.erased(user_id) and _end_doubts(turn, user_id)
    last = _each(turn, user_id, after, _look)
    if last is None and not again and not more:
        return
    detail = "" if last is None else last.hex()
    row = turn.state.schedule.at(turn.now, Due("look", user_id, user_id.encode(), detail))
    turn.state.looks[user_id] = (row, again and last is not None)


def _end_doubts(turn: Turn, user_id: str) -> bool:
    """The user was erased: nothing is asked after for them, so nothing of what might have arrived is kept. Returns
    whether there may be more."""
    keys = turn.state.pauses.in_doubt(user_id)
    for key in keys:
        place = doubt_key(user_id, key)
        with one_of_several(turn, place, user_id):
            job = job_of(turn, key)
            if job is not None and job.state == "in_doubt":
                give_up(turn, job, Over("suppressed", "erased"))
            else:
                turn.state.pauses.delete(place)
    return len(keys) == MOST_DOUBTS


def _look(turn: Turn, job: Job) -> None:
    if is_quiet(job):
        proceed(turn, job)
    elif isinstance(seen := _seen(turn, job), Over):
        give_up(turn, job, seen)
    elif job.state == "queued":
        turn.freed[job.line] = job.send.user_id  # it may have another address now


def _seen(turn: Turn, job: Job) -> Look | None:
    """None where the look fails: the look before its call has what fails passed over, and the command counts here."""
    try:
        return look_at(turn, job)
    except Exception:
        return None


def end_holds(turn: Turn, user_id: str, after: bytes = b"") -> None:
    """The night is over: what it held is judged again in the order of acceptance, and counts from now."""
    last = _each(turn, user_id, after, _end_hold)
    if last is not None:
        turn.state.schedule.at(turn.now, Due("judge", user_id, user_id.encode(), last.hex()))


def _end_hold(turn: Turn, job: Job) -> None:
    if is_quiet(job):
        proceed(turn, replaced(job, open=replace(job.open, queued_at=turn.now)))


def _each(turn: Turn, user_id: str, after: bytes, act: Callable[[Turn, Job], None]) -> bytes | None:
    """Acts on the user's next sends that wait. Returns where to go on, None where those were the last."""
    keys = turn.state.pauses.some_of(user_id, after, AT_ONCE)
    for key in keys:
        with one_of_several(turn, key, user_id):
            job = job_of(turn, send_key_of(key))
            if job is not None:
                act(turn, job)
    return keys[-1] if len(keys) == AT_ONCE else None


def set_aside(turn: Turn, place: bytes, *, poison: bool) -> None:
    """Takes a send that fails out of its line: it is tried again by itself, or ends if it is poison. A row that can't
    even be read only loses its place."""
    try:
        job = job_of(turn, send_key_of(place))
    except Exception:
        turn.state.pauses.delete(place)
        return
    if job is None or job.in_call:
        turn.state.pauses.delete(place)
    elif poison:
        give_up(turn, job, Over("failed", "permanent"))
    else:
        turn.rest(job, "retrying", job.open, Timer("retry", turn.now + _ASIDE_MS))
    for line, user_id in turn.freed.items():
        turn.state.schedule.at(turn.now, Due("dispatch", user_id, line))


def is_quiet(job: Job) -> bool:
    """Held by quiet hours: it has no timer of its own."""
    return job.state == "held" and job.open.timer is None
