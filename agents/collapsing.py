"""Collapsing: of what shares a collapse key, only the newest is left on each channel."""

from agents.case import Case
from agents.queueing import withdraw
from schemas.words import Channel
from tables.collapses import Collapse, collapse_key


def replace_older(case: Case, channel: Channel) -> None:
    """The newer was queued or held on the channel: what of older ones has not begun to be sent there is suppressed."""
    facts = case.facts
    if facts.collapse_key is None:
        return
    collapses = case.desk.state.collapses
    key = collapse_key(facts.user_id, facts.collapse_key)
    row = collapses.get(key) or Collapse((), 0)
    if case.key in row.notifications:
        older = row.notifications[: row.notifications.index(case.key)]
    else:
        older = row.notifications
        row = Collapse((*older, case.key), max(row.until_ms, facts.expires_ms))
    kept = tuple(name for name in row.notifications if name not in older or not _replaced(case, name, channel))
    collapses.put(key, Collapse(kept, row.until_ms))


def _replaced(case: Case, older: bytes, channel: Channel) -> bool:
    """Ends or withdraws the older one's parts on the channel; whether nothing more of it can be replaced."""
    other = Case.load(case.desk, older, case.cause)
    if other is None:
        return True
    by = case.facts.notification_id
    for index, part in enumerate(other.parts):
        if part.channel != channel:
            continue
        if part.wait:
            other.end_part(index, "suppressed", "replaced", by=by)
        else:
            withdraw(other, index, "suppressed", "replaced", by)
    other.save()
    return all(p.channel == channel or not (p.wait or p.sends) for p in other.parts) and not other.scheduled
