"""Begins the steps of a fallback chain one after the other, until one of them arrives."""

from agents.router.enqueue import withdraw
from agents.router.evaluate import begin
from agents.router.notification_record import NotificationRecord
from agents.router.stop import stop_awaiting, stop_chain, stop_of
from app.domain.fallback import Chain, ChainState, Move, reached, send_failed, step_failed, timed_out, waits
from schemas.words import Channel, Status
from tables.notifications import Chained, chain_step


def begin_chain(notification: NotificationRecord, chain: Chain) -> None:
    """Begins the first step that isn't stopped at once."""
    notification.chain = Chained(ChainState(chain.steps), chain.wait_ms, tuple(sorted(chain.until)))
    _begin_step(notification, 0, "first")


def part_judged(notification: NotificationRecord, index: int) -> None:
    """A step was judged: it waits or was queued, so its wait runs; or it was stopped, so the next one begins."""
    part = notification.parts[index]
    if not _is_current(notification, part.channel, part.step):
        return
    assert notification.chain is not None
    live = tuple(sent.send_id for sent in part.sends if not sent.end)
    if part.wait or live:
        _set(notification, waits(notification.chain.state, _rule(notification.chain), notification.context.now, live))
    else:
        _follow(notification, step_failed(notification.chain.state, part.step), "ended")


def send_ended(notification: NotificationRecord, send_id: str, status: Status) -> None:
    """What became of a send, or came back of it."""
    if notification.chain is None:
        return
    if status in ("failed", "suppressed", "bounced"):
        _follow(notification, send_failed(notification.chain.state, send_id), status)
    elif status in ("expired", "cancelled"):
        if send_id in notification.chain.state.live:
            stop_chain(notification)
    elif status != "sent" or _is_of_chain(notification, send_id):  # (the inbox's item beside it is sent at once)
        _follow(notification, reached(notification.chain.state, _rule(notification.chain), status), status)


def wait_over(notification: NotificationRecord) -> None:
    """The current step's wait is over without word of it."""
    if notification.chain is not None:
        _follow(notification, timed_out(notification.chain.state, notification.context.now), "wait")


def _follow(notification: NotificationRecord, move: Move, why: str) -> None:
    """``why``: what happened to the step before, see ``app.domain.trail``."""
    _set(notification, move.state)
    for index, part in enumerate(notification.parts):
        step = chain_step(part.step)
        if step in move.cancel and _in_chain(notification, part.channel, step):
            stop_awaiting(notification, index)
            if part.wait:
                notification.end_part(index, "cancelled")
            else:
                withdraw(notification, index, "cancelled")
    if move.begin is not None:
        _begin_step(notification, move.begin, why)


def _begin_step(notification: NotificationRecord, step: int, why: str) -> None:
    assert notification.chain is not None
    if step > 0:
        notification.trail = []
        notification.use_what_is_in_force()
        if stop_of(notification) is not None:
            stop_chain(notification)
            return
    rule = notification.chain
    notification.trail.append(("fallback", True, step, why, rule.wait_ms, rule.state.steps, rule.until))
    part_judged(notification, begin(notification, notification.chain.state.steps[step], step))


def _set(notification: NotificationRecord, state: ChainState) -> None:
    """Notes the state, and has its wait's end in the schedule."""
    assert notification.chain is not None
    before = notification.chain
    due = before.due
    if state.due_ms != before.state.due_ms or state.over:
        if due:
            notification.context.state.schedule.delete(due)
        last = state.step + 1 >= len(state.steps)
        due = (
            b""
            if state.due_ms is None or state.over or last
            else notification.wake_at(state.due_ms, "step", str(state.step))
        )
    notification.chain = Chained(state, before.wait_ms, before.until, due)


def _rule(chained: Chained) -> Chain:
    return Chain(chained.state.steps, chained.wait_ms, frozenset(chained.until))


def _in_chain(notification: NotificationRecord, channel: Channel, step: int) -> bool:
    steps = notification.chain.state.steps if notification.chain is not None else ()
    return step < len(steps) and steps[step] == channel


def _is_of_chain(notification: NotificationRecord, send_id: str) -> bool:
    return any(
        sent.send_id == send_id
        for part in notification.parts
        if _in_chain(notification, part.channel, chain_step(part.step))
        for sent in part.sends
    )


def _is_current(notification: NotificationRecord, channel: Channel, step: int) -> bool:
    return (
        notification.chain is not None
        and step == notification.chain.state.step
        and _in_chain(notification, channel, step)
    )
