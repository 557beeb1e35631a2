"""Fallback: beginning the steps of a chain one after the other, until one of them arrives."""

from agents.case import Case
from agents.judging import begin
from agents.queueing import withdraw
from agents.stopping import stop_chain, stop_of
from app.domain.fallback import Chain, ChainState, Move, reached, send_failed, step_failed, timed_out, waits
from schemas.words import Channel, Status
from tables.notifications import Chained


def begin_chain(case: Case, chain: Chain) -> None:
    """Begins the first step that isn't stopped at once."""
    case.chain = Chained(ChainState(chain.steps), chain.wait_ms, tuple(sorted(chain.until)))
    _begin_step(case, 0, "first")


def part_judged(case: Case, index: int) -> None:
    """A step was judged: it waits or was queued, so its wait runs; or it was stopped, so the next one begins."""
    part = case.parts[index]
    if not _is_current(case, part.channel, part.step):
        return
    assert case.chain is not None
    live = tuple(sent.send_id for sent in part.sends if not sent.end)
    if part.wait or live:
        _set(case, waits(case.chain.state, _rule(case.chain), case.desk.now, live))
    else:
        _follow(case, step_failed(case.chain.state, part.step), "ended")


def send_ended(case: Case, send_id: str, status: Status) -> None:
    """What became of a send, or came back of it."""
    if case.chain is None:
        return
    if status in ("failed", "suppressed", "bounced"):
        _follow(case, send_failed(case.chain.state, send_id), status)
    elif status in ("expired", "cancelled"):
        if send_id in case.chain.state.live:
            stop_chain(case)
    elif status != "sent" or _is_of_chain(case, send_id):  # (the inbox's item beside it is sent at once)
        _follow(case, reached(case.chain.state, _rule(case.chain), status), status)


def wait_over(case: Case) -> None:
    """The current step's wait is over without word of it."""
    if case.chain is not None:
        _follow(case, timed_out(case.chain.state, case.desk.now), "wait")


def _follow(case: Case, move: Move, why: str) -> None:
    """``why``: what happened to the step before, see ``app.domain.trail``."""
    _set(case, move.state)
    for index, part in enumerate(case.parts):
        if part.step in move.cancel and _in_chain(case, part.channel, part.step):
            if part.wait:
                case.end_part(index, "cancelled")
            else:
                withdraw(case, index, "cancelled")
    if move.begin is not None:
        _begin_step(case, move.begin, why)


def _begin_step(case: Case, step: int, why: str) -> None:
    assert case.chain is not None
    if step > 0:
        case.trail = []
        case.use_what_is_in_force()
        if stop_of(case) is not None:
            stop_chain(case)
            return
    rule = case.chain
    case.trail.append(("fallback", True, step, why, rule.wait_ms, rule.state.steps, rule.until))
    part_judged(case, begin(case, case.chain.state.steps[step], step))


def _set(case: Case, state: ChainState) -> None:
    """Notes the state, and has its wait's end in the schedule."""
    assert case.chain is not None
    before = case.chain
    due = before.due
    if state.due_ms != before.state.due_ms or state.over:
        if due:
            case.desk.state.schedule.delete(due)
        last = state.step + 1 >= len(state.steps)
        due = b"" if state.due_ms is None or state.over or last else case.wake_at(state.due_ms, "step", str(state.step))
    case.chain = Chained(state, before.wait_ms, before.until, due)


def _rule(chained: Chained) -> Chain:
    return Chain(chained.state.steps, chained.wait_ms, frozenset(chained.until))


def _in_chain(case: Case, channel: Channel, step: int) -> bool:
    steps = case.chain.state.steps if case.chain is not None else ()
    return step < len(steps) and steps[step] == channel


def _is_of_chain(case: Case, send_id: str) -> bool:
    return any(
        sent.send_id == send_id
        for part in case.parts
        if _in_chain(case, part.channel, part.step)
        for sent in part.sends
    )


def _is_current(case: Case, channel: Channel, step: int) -> bool:
    return case.chain is not None and step == case.chain.state.step and _in_chain(case, channel, step)
