"""Brings device tokens that were stored before each had one form to that form, a few profiles at a time.

The router walks through each partition's profiles once, when it first opens tables of a revision before. What it finds
it does not change itself: it writes a command for each device, so that all roles change the same at the same place in
the log.
"""

from agents.router.broadcasts import command
from agents.router.context import RouterContext
from app.domain.ids import derived_id
from schemas.commands import DeviceNormalize
from schemas.instants import rfc3339
from tables.profiles import normalized
from tables.router import NORMALIZED, normalizes_next

_PROFILES = 500
_PAUSE_MS = 50


def normalize_tokens(context: RouterContext, start: bytes) -> None:
    """Takes the next profiles from ``start`` on; those after them follow soon."""
    rows = context.state.known.profiles_from(start, _PROFILES)
    for key, profile in rows:
        user_id = key.decode()
        for device in profile.devices:
            if normalized(device) is not device:
                name = derived_id("normalize", user_id, device.device_id, device.token_hash.hex())
                message = DeviceNormalize(
                    id=name, at=rfc3339(device.registered_ms), user_id=user_id, device_id=device.device_id
                )
                command(context, message)
    if len(rows) < _PROFILES:
        context.state.schedule.put(NORMALIZED, normalizes_next(b""))
    else:
        context.state.schedule.at(context.now + _PAUSE_MS, normalizes_next(rows[-1][0] + b"\0"))
