"""What would become of a request that came now: it is judged like any other, and nothing of it stays."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from agents.router.context import RouterContext
from agents.router.requests import take_request
from schemas.decode import Invalid
from schemas.lifecycle import LifecycleEvent, encode_lifecycle
from schemas.topics import EVENTS

#: No record of a topic lies there: the request is nobody's repetition.
_NOWHERE = (1 << 62) - 1


@dataclass(slots=True)
class _Asked:
    """A record that was never produced."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]] = ()


def outlook_view(context: RouterContext, user_id: str, request: str | None) -> list[dict[str, Any]]:
    """The events that it would have, as they stand on ``notify_lifecycle``. ``request``: as on ``notify_events``.
    ``context``: over rows that are only looked at, and an ``Out`` that nobody carries out. Raises Invalid."""
    if request is None:
        raise Invalid("is missing", "request")
    key = user_id.encode()
    take_request(context, _Asked(EVENTS, context.state.partition, _NOWHERE, context.now, key, request.encode()))
    events = [each for each in context.out.counted if isinstance(each, LifecycleEvent)]
    return [msgspec.json.decode(encode_lifecycle(event)) for event in events]
