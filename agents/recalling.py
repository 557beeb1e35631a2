"""Sends that are taken back or looked at again before their time: withdrawn, replaced, after a command of the user."""

from dataclasses import replace as replaced

from msgspec.structs import replace

from agents.claiming import give_up, look_at, proceed
from agents.turn import Job, Turn
from app.domain.last_look import Over
from schemas.sends import Send, Withdraw, read_send
from tables.attempts import SendRow, send_key


def job_of(turn: Turn, key: bytes) -> Job | None:
    """The open send of a key; None where there is none, or where it has ended."""
    return job_in(key, turn.state.attempts.get(key))


def job_in(key: bytes, row: SendRow | None) -> Job | None:
    if row is None or row.open is None:
        return None
    send = read_send(row.open.send)
    assert isinstance(send, Send)
    return Job(key, send, row.state, row.open)


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
    acceptance; what waits for another call goes on waiting unless it is over."""
    for key, _ in turn.state.pauses.of(user_id):
        job = job_of(turn, key)
        if job is None:
            continue
        if is_quiet(job):
            proceed(turn, job)
        elif isinstance(seen := look_at(turn, job), Over):
            give_up(turn, job, seen)


def end_holds(turn: Turn, user_id: str) -> None:
    """The night is over: what it held is judged again in the order of acceptance, and counts from now."""
    for key, _ in turn.state.pauses.of(user_id):
        job = job_of(turn, key)
        if job is not None and is_quiet(job):
            proceed(turn, replaced(job, open=replace(job.open, queued_at=turn.now)))


def is_quiet(job: Job) -> bool:
    """Held by quiet hours: it has no timer of its own."""
    return job.state == "held" and job.open.timer is None
