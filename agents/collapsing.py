"""Collapsing: of what shares a collapse key, only the newest is left on each channel."""

from msgspec.structs import replace

from agents.case import Case
from agents.queueing import withdraw
from agents.stopping import called_off, end_waits
from schemas.words import Channel
from tables.collapses import Collapse, collapse_key, plain_collapse_key
from tables.notifications import Part


def replace_older(case: Case, channel: Channel) -> None:
    """The newer was queued or held on the channel: what of older ones has not begun to be sent there is suppressed."""
    facts = case.facts
    if facts.collapse_key is None:
        return
    collapses = case.desk.state.collapses
    key = collapse_key(facts.user_id, facts.collapse_key)
    plain = plain_collapse_key(facts.user_id, facts.collapse_key)
    row = collapses.get(key) or collapses.get(plain) or Collapse((), 0)
    collapses.delete(plain)
    others = tuple(name for name in row.notifications if name != case.key and not _replaced(case, name, channel))
    collapses.put(key, Collapse((*others, case.key), max(row.until_ms, facts.expires_ms)))


def _replaced(case: Case, name: bytes, channel: Channel) -> bool:
    """Ends or withdraws another's parts on the channel, if it is older; whether nothing more of it can be replaced."""
    other = Case.load(case.desk, name, case.cause)
    if other is None:
        return True
    other.trail = []
    if (stop := called_off(other)) is not None:
        end_waits(other, *stop)
        return True
    if other.order > case.order:  # what waited for its time doesn't replace what came meanwhile
        return False
    by = case.facts.notification_id
    for index, part in enumerate(other.parts):
        if part.channel != channel:
            continue
        if part.wait:
            other.end_part(index, "suppressed", "replaced", by=by)
            _hurry(other, part)
        else:
            withdraw(other, index, "suppressed", "replaced", by)
    open_elsewhere = any(p.wait or not all(s.end for s in p.sends) for p in other.parts if p.channel != channel)
    return not open_elsewhere and not other.scheduled and not _may_go_on(other)


def _hurry(case: Case, part: Part) -> None:
    """The step of a chain was suppressed: the next begins as soon as what is being handled is done."""
    chain = case.chain
    if (
        chain is None
        or chain.state.over
        or chain.state.step != part.step
        or chain.state.steps[part.step] != part.channel
    ):
        return
    case.desk.state.schedule.delete(chain.due)
    now = case.desk.now
    due = case.wake_at(now, "step", str(part.step)) if part.step + 1 < len(chain.state.steps) else b""
    case.chain = replace(chain, state=replace(chain.state, due_ms=now), due=due)


def _may_go_on(case: Case) -> bool:
    return case.chain is not None and not case.chain.state.over
