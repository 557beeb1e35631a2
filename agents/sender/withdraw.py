"""Withdraws sends, replaces them, and looks at them again after a command of their user."""

from collections.abc import Callable
from dataclasses import replace as replaced

from msgspec.structs import replace

from agents.sender.context import Delivery, SenderContext, delivery_in, delivery_of, one_of_several
from agents.sender.dispatch import give_up, look_at, proceed
from app.domain.last_look import Look, Over
from schemas.sends import Send, Withdraw
from tables.attempts import Timer, send_key
from tables.pauses import MOST_DOUBTS, doubt_key, send_key_of
from tables.schedule import Due

#: Sends of one user that are looked at in one go: what else waits in the partition is never held up for long.
AT_ONCE = 200
#: A send that fails is tried again so much later: from then on as any row that falls due and fails.
_ASIDE_MS = 60_000


def withdraw(context: SenderContext, asked: Withdraw) -> None:
    """What the router takes back ends unless a call was made; cancelled, unless one is being made or may have arrived.

    One that comes before its send (on another lane) is remembered.
    """
    key = send_key(asked.send_id)
    row = context.state.attempts.get(key)
    if row is None:
        context.state.attempts.withdraw_first(key, asked, context.now)
        return
    delivery = delivery_in(key, row)
    if delivery is None or (delivery.open.begun and asked.status != "cancelled"):
        return
    if delivery.in_call:
        context.rest(
            delivery, delivery.state or "calling", replace(delivery.open, withdrawn=asked), delivery.open.timer
        )
    else:
        take_back(context, delivery, asked)


def take_back(context: SenderContext, delivery: Delivery, asked: Withdraw) -> None:
    if delivery.open.tries.doubted:
        give_up(context, delivery, Over(asked.status, asked.reason))
    else:
        context.end(delivery, asked.status, asked.reason, detail={"by": asked.by} if asked.by else None)


def collapse(context: SenderContext, newer: Send) -> None:
    """The newer one replaces older ones of the same key that wait here and have not begun."""
    if newer.collapse_key is None:
        return
    for key, wait in context.state.pauses.of(newer.user_id):
        if wait.begun or wait.collapse_key != newer.collapse_key or wait.notification_id == newer.notification_id:
            continue
        delivery = delivery_of(context, key)
        if delivery is not None and _is_older(delivery.send, newer):
            context.end(delivery, "suppressed", "replaced", detail={"by": newer.notification_id})


def _is_older(waiting: Send, newer: Send) -> bool:
    """What is replayed is as old as what it repeats; of what was accepted at one time, it is never the newer."""
    before, after = (send.first_accepted_at or send.accepted_at for send in (waiting, newer))
    return before < after or (before == after and newer.replay_id is None)


def look_again(context: SenderContext, user_id: str) -> None:
    """A command changed what is known of the user: quiet-hours holds are judged again at once, in the order of
    acceptance; what waits for another call goes on waiting unless it is over. Of very many only a part at a time: the
    others' last look, before any call of theirs, is all that the command needs."""
    going_on = context.state.looks.get(user_id)
    if going_on is not None and context.state.schedule.get(going_on[0]) is not None:
        context.state.looks[user_id] = (going_on[0], True)
        return
    _look_on(context, user_id, b"", again=False)


def go_on_looking(context: SenderContext, user_id: str, after: bytes) -> None:
    """The next part; from the first again if a command has come meanwhile."""
    _, again = context.state.looks.pop(user_id, (b"", False))
    _look_on(context, user_id, after, again=again)


def _look_on(context: SenderContext, user_id: str, after: bytes, *, again: bool) -> None:
    more = context.state.knowledge.erased(user_id) and _end_doubts(context, user_id)
    last = _each(context, user_id, after, _look)
    if last is None and not again and not more:
        return
    detail = "" if last is None else last.hex()
    row = context.state.schedule.at(context.now, Due("look", user_id, user_id.encode(), detail))
    context.state.looks[user_id] = (row, again and last is not None)


def _end_doubts(context: SenderContext, user_id: str) -> bool:
    """The user was erased: nothing is asked after for them, so nothing of what might have arrived is kept. Returns
    whether there may be more."""
    keys = context.state.pauses.in_doubt(user_id)
    for key in keys:
        place = doubt_key(user_id, key)
        with one_of_several(context, place, user_id):
            delivery = delivery_of(context, key)
            if delivery is not None and delivery.state == "in_doubt":
                give_up(context, delivery, Over("suppressed", "erased"))
            else:
                context.state.pauses.delete(place)
    return len(keys) == MOST_DOUBTS


def _look(context: SenderContext, delivery: Delivery) -> None:
    if is_quiet(delivery):
        proceed(context, replaced(delivery, open=replace(delivery.open, waited_until=context.now)))
    elif isinstance(seen := _seen(context, delivery), Over):
        give_up(context, delivery, seen)
    elif delivery.state == "queued":
        context.freed[delivery.line] = delivery.send.user_id  # it may have another address now


def _seen(context: SenderContext, delivery: Delivery) -> Look | None:
    """None where the look fails: the look before its call has what fails passed over, and the command counts here."""
    try:
        return look_at(context, delivery)
    except Exception:
        return None


def end_holds(context: SenderContext, user_id: str, after: bytes = b"") -> None:
    """The night is over: what it held is judged again in the order of acceptance, and counts from now."""
    last = _each(context, user_id, after, _end_hold)
    if last is not None:
        context.state.schedule.at(context.now, Due("judge", user_id, user_id.encode(), last.hex()))


def _end_hold(context: SenderContext, delivery: Delivery) -> None:
    if is_quiet(delivery):
        now = context.now
        proceed(context, replaced(delivery, open=replace(delivery.open, queued_at=now, waited_until=now)))


def _each(
    context: SenderContext, user_id: str, after: bytes, act: Callable[[SenderContext, Delivery], None]
) -> bytes | None:
    """Acts on the user's next sends that wait. Returns where to go on, None where those were the last."""
    keys = context.state.pauses.some_of(user_id, after, AT_ONCE)
    for key in keys:
        with one_of_several(context, key, user_id):
            delivery = delivery_of(context, send_key_of(key))
            if delivery is not None:
                act(context, delivery)
    return keys[-1] if len(keys) == AT_ONCE else None


def set_aside(context: SenderContext, place: bytes, *, poison: bool) -> None:
    """Takes a send that fails out of its line: it is tried again by itself, or ends if it is poison. A row that can't
    even be read only loses its place."""
    try:
        delivery = delivery_of(context, send_key_of(place))
    except Exception:
        context.state.pauses.delete(place)
        return
    if delivery is None or delivery.in_call:
        context.state.pauses.delete(place)
    elif poison:
        give_up(context, delivery, Over("failed", "permanent"))
    else:
        context.rest(delivery, "retrying", delivery.open, Timer("retry", context.now + _ASIDE_MS))
    for line, user_id in context.freed.items():
        context.state.schedule.at(context.now, Due("dispatch", user_id, line))


def is_quiet(delivery: Delivery) -> bool:
    """Held by quiet hours: it has no timer of its own."""
    return delivery.state == "held" and delivery.open.timer is None
