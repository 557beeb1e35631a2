"""What is known of the commands counts for a moment only, by whichever clock."""

from types import SimpleNamespace
from typing import Any

import pytest

from app.ports import Subscription, Urgency
from app.streaming.buffers import Fetch, FetchBuffers
from app.streaming.select import Selection
from schemas.topics import COMMANDS, EVENTS

NOW = 1_000_000


class Horizon:
    async def end(self, partition: int) -> int:
        return 0


@pytest.fixture
def parts() -> Any:
    return SimpleNamespace(
        executor=object(), clock=lambda: NOW, monotonic=lambda: 50.0, end_offsets=Horizon(), pause=None, resume=None
    )


@pytest.mark.parametrize(
    ("ms", "seconds", "informed"),
    [
        (0, 0.0, True),
        (500, 0.5, True),
        (501, 0.0, False),  # the machine stood still, and only this clock went on
        (-1, 0.0, False),  # it was set back
        (0, 0.6, False),  # it was set back by as much as had passed
    ],
)
async def test_what_was_read_of_the_commands_is_old_by_the_clock_by_which_it_is_older(
    parts: Any, ms: int, seconds: float, informed: bool
) -> None:
    subscriptions = FetchBuffers(
        [Subscription(COMMANDS, Urgency.COMMANDS, gated=False), Subscription(EVENTS, Urgency.NORMAL)], {}
    )
    selection = Selection(0, subscriptions, SimpleNamespace(due=lambda now, most: []), parts)  # type: ignore[arg-type]
    selection.offer(Fetch(COMMANDS, 0, (), 0, 0))
    await selection.learn(True)

    parts.clock, parts.monotonic = lambda: NOW + ms, lambda: 50.0 + seconds

    assert selection.is_informed(parts.clock()) is informed
    assert selection.known_at(parts.clock()) == (NOW if informed else 0)
