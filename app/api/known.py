"""The notification that a path names, and what is known of it."""

import asyncio
from typing import Any
from uuid import UUID

from app.api.call import Call
from app.api.problems import Problem, unknown

#: What was accepted a moment ago is waited for.
_PATIENCE_S = 2.0
_PAUSE_S = 0.1


def notification_id_of(call: Call) -> str:
    """The path's notification id; what isn't a UUID is not known."""
    try:
        return str(UUID(call.path("id")))
    except ValueError:
        raise unknown("the notification") from None


async def known(call: Call, pause_s: float = _PAUSE_S) -> dict[str, Any]:
    """What is known of the path's notification; raises Problem 404 when nothing is within the patience, 403 when it
    is another source's."""
    notification_id = notification_id_of(call)
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + _PATIENCE_S
    while (found := await call.deps.history.status(notification_id)) is None:
        if loop.time() >= give_up_at:
            raise unknown("the notification")
        await asyncio.sleep(pause_s)
    if not call.service.may_see(found["source"]):
        raise Problem(403, "another source has sent this notification")
    return found
