"""Whose turn is next: the lines in which a place or a call has just ended, and the providers with a slot to give.

What follows from a settled call is dispatched in the same settle. Of very much only a part at a time is: a row of
``schedule`` goes on.
"""

from agents.claiming import DRAIN_MS, may_begin, proceed, watch, watch_line
from agents.turn import Turn, job_of, one_of_several
from schemas.words import Provider
from tables.pauses import send_key_of
from tables.schedule import Due

#: Sends that are dispatched, or found to be over, in one go.
AT_ONCE = 100


def dispatch(turn: Turn, *, calls: bool = True) -> None:
    """Gives each line that was freed in this turn its next call. ``calls``: whether any may begin now."""
    left = AT_ONCE if calls else 0
    while turn.freed:
        line, user_id = turn.freed.popitem()
        left = _dispatch_line(turn, line, user_id, left)


def _dispatch_line(turn: Turn, line: bytes, user_id: str, left: int) -> int:
    while (first := turn.state.pauses.first_in(line)) is not None:
        if not left:
            turn.state.schedule.at(turn.now, Due("dispatch", user_id, line))
            return 0
        with one_of_several(turn, first, user_id):
            job = job_of(turn, send_key_of(first))
            if job is None or job.state != "queued":
                turn.state.pauses.delete(first)
                continue
            if not may_begin(turn, line):
                watch_line(turn, line, user_id)
                return left
            left -= 1
            proceed(turn, job)
        turn.freed.pop(line, None)
        if turn.state.pauses.first_in(line) == first:
            return left  # it waits for its address, or for a slot
    return left


def drain(turn: Turn, provider: Provider) -> None:
    """Gives the provider's slots to those that wait for one."""
    pauses = turn.state.pauses
    for _ in range(AT_ONCE):
        first = pauses.first_for(provider)
        if first is None:
            return
        with one_of_several(turn, first, ""):
            job = job_of(turn, send_key_of(first))
            if job is None or job.state != "queued" or job.place_for(provider) != first:
                pauses.delete(first)
                continue
            proceed(turn, job)
        if pauses.get(first) is not None:
            break  # there is no slot
    if pauses.first_for(provider) is not None:
        watch(turn, provider.encode(), Due("drain", "", provider.encode()), turn.now + DRAIN_MS)
