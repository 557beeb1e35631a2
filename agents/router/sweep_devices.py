"""Retires devices that were neither added nor renewed for as long as the policy says, a few profiles at a time.

APNs goes on accepting what is meant for an app that is gone, and FCM lets a token expire after 270 days: whoever hasn't
registered for so long won't be reached. The router walks through its profiles once a day. What it finds it broadcasts,
so that every role lets the device go at the same place in the log, unless it was renewed meanwhile.
"""

from agents.router.broadcasts import to_owner
from agents.router.context import RouterContext
from schemas.broadcasts import TokenDead
from schemas.instants import LAST_MS
from tables.schedule import Due, due_key

#: At most this many are looked at in one go, and as soon as so many devices were found, it goes on later.
_PROFILES = 500
_DEVICES = 200
_PAUSE_MS = 50
_SHORTEST_MS, _LONGEST_MS = 60_000, 24 * 3600 * 1000

#: A row that never falls due: devices are swept here.
SWEEPING = due_key(LAST_MS, "stale", b"")


def begin_sweeping(context: RouterContext) -> None:
    """With whatever comes first since a policy names a time; from then on it goes on by itself."""
    state = context.state
    if context.policy.stale_after_ms is None or state.sweeps:
        return
    if state.schedule.get(SWEEPING) is not None:
        state.sweeps = True  # (only what was read: what is written now may be rolled back)
        return
    context.state.schedule.put(SWEEPING, _next(b""))
    context.state.schedule.at(context.now + _SHORTEST_MS, _next(b""))


def sweep_devices(context: RouterContext, start: bytes) -> None:
    """Takes the next profiles from ``start`` on; those after them follow soon, and the first again tomorrow."""
    stale_after_ms = context.policy.stale_after_ms
    if stale_after_ms is None:
        context.state.schedule.delete(SWEEPING)
        context.state.sweeps = False
        return
    since = context.now - stale_after_ms
    found = 0
    rows = context.state.known.profiles_from(start, _PROFILES)
    for key, profile in rows:
        stale = [device for device in profile.devices if device.registered_ms <= since]
        for device in stale:
            token_hash = device.token_hash.hex()
            to_owner(context, TokenDead(token_hash=token_hash, user_id=key.decode(), since=since, reason="stale"))
        found += len(stale)
        if found >= _DEVICES:
            context.state.schedule.at(context.now + _PAUSE_MS, _next(key + b"\0"))
            return
    if len(rows) == _PROFILES:
        context.state.schedule.at(context.now + _PAUSE_MS, _next(rows[-1][0] + b"\0"))
    else:
        again_ms = min(max(stale_after_ms, _SHORTEST_MS), _LONGEST_MS)
        context.state.schedule.at(context.now + again_ms, _next(b""))


def _next(start: bytes) -> Due:
    return Due("stale", "", start)
