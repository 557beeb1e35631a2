"""Which delivery is next: in a line whose call has ended, or for a provider that has a free slot.

What follows from a settled call is dispatched in the same settle. Of very much only a part at a time is: a row of
``schedule`` goes on.
"""

from agents.sender.context import Delivery, SenderContext, delivery_of, one_of_several
from agents.sender.dispatch import may_begin, proceed, watch_line, watch_queue
from schemas.words import Provider
from tables.pauses import send_key_of
from tables.schedule import Due

#: Sends that are dispatched, or found to be over, in one go.
AT_ONCE = 100


def dispatch(context: SenderContext, *, calls: bool = True) -> None:
    """Gives each line that was freed in this turn its next call. ``calls``: whether any may begin now."""
    left = AT_ONCE if calls else 0
    while context.freed:
        line, user_id = context.freed.popitem()
        left = _dispatch_line(context, line, user_id, left)


def _dispatch_line(context: SenderContext, line: bytes, user_id: str, left: int) -> int:
    while (first := context.state.pauses.first_in(line)) is not None:
        if not left:
            context.state.schedule.at(context.now, Due("dispatch", user_id, line))
            return 0
        with one_of_several(context, first, user_id):
            delivery = delivery_of(context, send_key_of(first))
            if delivery is None or delivery.state != "queued":
                context.state.pauses.delete(first)
                continue
            if not may_begin(context, line):
                watch_line(context, line, user_id)
                return left
            left -= 1
            proceed(context, delivery)
        context.freed.pop(line, None)
        if context.state.pauses.first_in(line) == first:
            return left  # it waits for its address, or for a slot
    return left


def drain(context: SenderContext, provider: Provider) -> None:
    """Gives the provider's slots to those that wait for one. Of a paused one, all that waited are held; the first of
    them is tried again and again: the provider may be resumed, or another one take over. So is the first of those that
    an open circuit holds: it is the circuit's probe, and the others follow when it closes."""
    pauses = context.state.pauses
    for _ in range(AT_ONCE):
        first = pauses.first_for(provider)
        if first is None:
            return
        with one_of_several(context, first, ""):
            delivery = delivery_of(context, send_key_of(first))
            if delivery is None or not _waits_at(delivery, provider, first):
                pauses.delete(first)
                continue
            proceed(context, delivery)
        if pauses.get(first) is not None:
            break  # there is no slot, or the provider is paused
    watch_queue(context, provider)


def _waits_at(delivery: Delivery, provider: Provider, place: bytes) -> bool:
    if delivery.state == "queued":
        return delivery.place_for(provider) == place
    if delivery.held_until_recovery == provider:
        return delivery.place_until_recovery(provider) == place
    return delivery.held_by == provider and delivery.place_until_resumed(provider) == place
