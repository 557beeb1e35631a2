"""Reports a device that can't be reached any more, and logs a token that moved to another user."""

from collections import OrderedDict
from collections.abc import Iterable

import structlog

from agents.router.context import RouterContext
from app.domain.ids import event_id
from schemas.lifecycle import LifecycleEvent, encode_lifecycle
from schemas.topics import LIFECYCLE
from tables.knowledge import Retired

log = structlog.get_logger(__name__)

_DAY_MS = 24 * 3600 * 1000
#: Log lines of one token on one day (UTC).
_MOST_LINES = 5
#: Tokens whose lines are counted; of more, those that moved longest ago begin anew.
_MOST_TOKENS = 10_000


class MoveLog:
    """Which moves of a token are logged: the first five of a day. A new owner of the partition begins to count anew."""

    def __init__(self) -> None:
        self._lines: OrderedDict[bytes, tuple[int, int]] = OrderedDict()

    def takes(self, token_hash: bytes, now: int) -> int:
        """Which line of the day this move of a token is; 0: none, for it has had its lines."""
        day = now // _DAY_MS
        counted_on, lines = self._lines.pop(token_hash, (day, 0))
        lines = lines + 1 if counted_on == day else 1
        self._lines[token_hash] = (day, min(lines, _MOST_LINES + 1))
        if len(self._lines) > _MOST_TOKENS:
            self._lines.popitem(last=False)
        return lines if lines <= _MOST_LINES else 0


def report_retired(context: RouterContext, devices: Iterable[Retired], cause: str) -> None:
    """``cause``: the position of the record that did it."""
    for device in devices:
        _report(context, device, cause)
        if device.moved_to not in (None, device.user_id):
            context.out.tokens_moved += 1
            if line := context.moves.takes(device.token_hash, context.now):
                log.warning(
                    "a device token moved to another user",
                    token_hash=device.token_hash.hex(),
                    from_user=device.user_id,
                    to_user=device.moved_to,
                    last_today=line == _MOST_LINES,
                )


def _report(context: RouterContext, device: Retired, cause: str) -> None:
    event = LifecycleEvent(
        event_id=event_id(f"{device.user_id}\n{device.device_id}", "device_retired", None, cause),
        notification_id=None,
        user_id=device.user_id,
        status="device_retired",
        reason=device.reason,
        channel="push",
        policy_version=context.catalog.policy_version,
        occurred_at=context.now_text,
        detail={"device_id": device.device_id},
    )
    context.out.send(LIFECYCLE, device.user_id.encode(), encode_lifecycle(event))
