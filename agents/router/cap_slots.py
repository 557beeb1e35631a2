"""Slots under the caps: takes them, releases them, and queues for one."""

from msgspec.structs import replace

from agents.router.context import RouterContext
from app.domain.caps import give_back, take
from app.domain.preferences import Preferences, caps_in_force, own_cap_name
from schemas.words import Channel
from tables.schedule import Due
from tables.windows import NO_WINDOWS, windows_of


def take_cap_slots(
    context: RouterContext, user_id: str, own_id: bytes, category: str, channel: Channel, preferences: Preferences
) -> None:
    """In every cap that counts a send of the category on the channel, the user's own limit among them."""
    caps = caps_in_force(preferences, context.policy, category, channel)
    if not caps:
        return
    windows, key, now = context.state.windows, user_id.encode(), context.now
    row = windows.get(key) or NO_WINDOWS
    places = row.places()
    longest_ms = 0
    for cap in caps:
        places[cap.name] = take(places.get(cap.name, b""), own_id, now, cap)
        longest_ms = cap.window_ms if cap.window_ms > longest_ms else longest_ms
    windows.put(key, windows_of(places, row.waiting, max(row.until_ms, now + longest_ms)))


def release_cap_slots(
    context: RouterContext, user_id: str, own_id: bytes, channel: Channel, kept_by: frozenset[Channel]
) -> None:
    """Of the caps that count nothing on the channels ``kept_by``, where a provider may have accepted the notification;
    whoever waits for such a place is woken. Of any category: the policy may have moved its event type since."""
    key = user_id.encode()
    row = context.state.windows.get(key)
    if row is None:
        return
    before = row.places()
    places = before.copy()
    for cap in context.policy.caps:
        if not cap.concerns(channel) or any(cap.concerns(other) for other in kept_by):
            continue
        window = places.get(cap.name, b"")
        left = give_back(window, own_id)
        if left != window:
            places[cap.name] = left
            if row.waiting.get(cap.name):
                wake_queue_now(context, user_id, cap.name)
    own = own_cap_name(channel)
    if own in places and channel not in kept_by:
        places[own] = give_back(places[own], own_id)
    if places != before:
        context.state.windows.put(key, windows_of(places, row.waiting, row.until_ms))


def join_queue(context: RouterContext, user_id: str, own_id: bytes, cap: str) -> None:
    """Behind those who wait already; whoever is in the queue keeps its place there."""
    key = user_id.encode()
    row = context.state.windows.get(key) or NO_WINDOWS
    queue = row.waiting.get(cap, ())
    if own_id not in queue:
        context.state.windows.put(key, replace(row, waiting={**row.waiting, cap: (*queue, own_id)}))


def leave_queue(context: RouterContext, user_id: str, own_id: bytes, cap: str) -> None:
    key = user_id.encode()
    row = context.state.windows.get(key) or NO_WINDOWS
    before = row.waiting.get(cap, ())
    if own_id not in before:
        return
    queue = tuple(other for other in before if other != own_id)
    waiting = {name: ids for name, ids in row.waiting.items() if name != cap}
    context.state.windows.put(key, replace(row, waiting={**waiting, cap: queue} if queue else waiting))
    if queue:  # who is next may go sooner than it was told
        wake_queue_now(context, user_id, cap)


def wake_queue_now(context: RouterContext, user_id: str, cap: str) -> None:
    """As soon as what is being handled is done; later than what fell due now, whose time names what it says."""
    context.state.schedule.at(context.now + 1, Due("place", user_id, user_id.encode(), cap))
