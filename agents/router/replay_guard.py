"""Guards against a second send by a replay: what was made of a notification before, by the original, by a fallback step
or by another replay. All of it is one scan, for the keys of a notification's rows start alike."""

from collections.abc import Sequence

from agents.router.notification_record import NotificationRecord
from agents.router.stop import Stop, cancelled
from app.domain.fallback import ChainState
from app.domain.replay import NO_CHAIN, ChainStands, Made, refusal
from schemas.receipts import IMPLIES
from schemas.replays import NotBegun
from schemas.sends import Send
from tables.notifications import REPORTED, Part, Replay, Sent


def refused(
    original: NotificationRecord | None, rows: Sequence[NotificationRecord], send: Send, *, erased: bool
) -> NotBegun | None:
    """Why nothing is begun for the candidate; None: it can be judged by the rules. ``original``: the row that made it;
    ``rows``: all of the notification's but the replay's own."""
    if erased or (original is not None and original.is_forgotten):
        return "erased"
    if original is None:
        return "forgotten"
    if cancelled(original):
        return "cancelled"
    came_back = any(row.came_back for row in rows)
    return refusal(_made(rows, original, send), _chain(rows, original, send), came_back=came_back)


def has_arrived(row: NotificationRecord, rows: Sequence[NotificationRecord]) -> bool:
    """Whether what a replay's row is about to send came to its user by other ways. ``rows``: all of its notification's.
    False of a row that is no replay's, or of which nothing was begun."""
    replay, others = row.replay, [other for other in rows if other is not row]
    original = None if replay is None else holder(others, replay.candidate)
    if replay is None or original is None or not row.parts:
        return False
    return (
        any(other.came_back for other in others)
        or any(each.came_back for each in _made(others, original, replay))
        or _chain(others, original, row.parts[0]).informed
    )


def arrived(notification: NotificationRecord) -> Stop | None:
    """Asked when a wait ends."""
    if notification.replay is None or not has_arrived(notification, notification.siblings()):
        return None
    return "cancelled", None


def holder(rows: Sequence[NotificationRecord], name: str) -> NotificationRecord | None:
    """The row that made the send."""
    return next((row for row in rows if any(s.send_id == name for part in row.parts for s in part.sends)), None)


def _made(rows: Sequence[NotificationRecord], original: NotificationRecord, what: Send | Replay) -> list[Made]:
    """All that was made of the notification on the channel (push: to the device)."""
    name = what.send_id if isinstance(what, Send) else what.candidate
    made = []
    for row in rows:
        whole = bool(row.scheduled)
        for part in row.parts:
            if part.channel != what.channel:
                continue
            whole = whole or bool(part.wait)
            made += [_one(row, original, part, sent, name) for sent in part.sends if sent.device_id == what.device_id]
        if whole and (row.replay is None or row.replay.device_id == what.device_id):
            made.append(Made("", replayed=row.replay is not None))
    return made


def _one(row: NotificationRecord, original: NotificationRecord, part: Part, sent: Sent, name: str) -> Made:
    candidate = next(p for p in original.parts for s in p.sends if s.send_id == name)
    return Made(
        sent.end,
        bool(sent.reported),
        sent.in_doubt,
        sent.send_id == name,
        (row.facts.accepted_ms, part.step) > (original.facts.accepted_ms, candidate.step),
        row.replay is not None,
    )


def _chain(rows: Sequence[NotificationRecord], original: NotificationRecord, what: Send | Part) -> ChainStands:
    """How the chain stands of which the send is a step; replays of its other steps count as these do."""
    run = [row for row in rows if row.facts.recorded_ms == original.facts.recorded_ms]
    chained = next((row.chain for row in run if row.chain is not None), None)
    if chained is None or not _is_step(chained.state, what):
        return NO_CHAIN
    steps = [part for row in run for part in row.parts if _is_step(chained.state, part)]
    later = [sent for part in steps if part.step > what.step for sent in part.sends]
    waits = any(part.wait for part in steps if part.step > what.step)
    reached = any(_reached(sent, chained.until) for part in steps for sent in part.sends)
    goes_on = not chained.state.over and chained.state.step + 1 < len(chained.state.steps)
    return ChainStands(
        informed=reached or any(sent.end == "sent" or sent.reported for sent in later),
        may_be=any(sent.in_doubt or sent.end == "unknown" for sent in later),
        open=goes_on or waits or any(not sent.end for sent in later),
    )


def _is_step(state: ChainState, what: Send | Part) -> bool:
    return what.step < len(state.steps) and state.steps[what.step] == what.channel


def _reached(sent: Sent, until: Sequence[str]) -> bool:
    states = {status for status, bit in REPORTED.items() if sent.reported & bit}
    return any(state in until for state in (*states, *(each for s in states for each in IMPLIES.get(s, ())), sent.end))
