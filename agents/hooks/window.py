"""What a hook has in hand: a bounded number of events, which it is called for one after the other for each user, and
for several users at a time. Decides only; times are Unix ms."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count
from typing import Literal

from app.domain.hooks import Answer, retry_at
from schemas.hooks import HookPosition, PendingCall

#: Events in hand of one hook: with their bodies, less than 5 MiB.
MOST_EVENTS, MOST_BYTES = 500, 4 * 1024 * 1024
#: Calls under way of one hook; of one that fails again and again, one.
CALLS = 8
_FAILS = 5

#: What becomes of an event after a call.
Settled = Literal["ok", "retried", "given_up"]


@dataclass(eq=False, slots=True)
class Delivery:
    """An event that the hook is to be called for."""

    partition: int
    offset: int
    user_id: str
    event_id: str
    body: bytes
    recorded_at: int = 0
    attempts: int = 0
    first_at: int | None = None


class Window:
    """Of one hook, in this process."""

    def __init__(self, failing_since: int | None = None) -> None:
        self.failing_since = failing_since
        self._failures = 0
        self._lines: dict[str, deque[Delivery]] = {}
        #: The first of each line that isn't being called: when it is due.
        self._due: list[tuple[int, int, Delivery]] = []
        self._numbers = count()
        self._pending: dict[int, dict[int, Delivery]] = {}
        self._bytes = 0
        self._count = 0
        self._calls = 0

    @property
    def room(self) -> int:
        """How many more events may be taken."""
        return max(0, MOST_EVENTS - self._count) if self._bytes < MOST_BYTES else 0

    @property
    def calls(self) -> int:
        """Calls under way."""
        return self._calls

    @property
    def waiting(self) -> int:
        """Events in hand."""
        return self._count

    def add(self, delivery: Delivery, due: int) -> None:
        """Events of one user are added in their order."""
        self._pending.setdefault(delivery.partition, {})[delivery.offset] = delivery
        self._bytes += len(delivery.body)
        self._count += 1
        line = self._lines.setdefault(delivery.user_id, deque())
        line.append(delivery)
        if len(line) == 1:
            self._queue(due, delivery)

    def begin(self, now: int) -> Delivery | None:
        """The next call to make, if there is one for now."""
        due = self.next_due()
        if due is None or due > now:
            return None
        _, _, delivery = heappop(self._due)
        self._calls += 1
        if delivery.first_at is None:
            delivery.first_at = now
        delivery.attempts += 1
        return delivery

    def next_due(self) -> int | None:
        """When the next call may begin; None: not before another ends, or an event comes."""
        most = 1 if self._failures >= _FAILS else CALLS
        return self._due[0][0] if self._due and self._calls < most else None

    def end(self, delivery: Delivery, answer: Answer, now: int) -> Settled:
        """What came of a call that was begun."""
        self._calls -= 1
        first_at = now if delivery.first_at is None else delivery.first_at  # (None: all began anew meanwhile)
        if answer.outcome == "ok":
            was_down = self._failures >= _FAILS
            self._failures, self.failing_since = 0, None
            self._over(delivery, now)
            if was_down:  # whoever waits for another try needn't any longer
                self._due = sorted((min(due, now), number, each) for due, number, each in self._due)
            return "ok"
        self._failures += 1
        if self.failing_since is None:
            self.failing_since = now
        again = retry_at(delivery.event_id, max(1, delivery.attempts), first_at, now, answer.retry_after_s)
        if again is None:
            self._over(delivery, now)
            return "given_up"
        self._queue(again, delivery)
        return "retried"

    def position(self, partition: int, following: int, until: int | None = None) -> HookPosition:
        """What has to be remembered, when all before ``following`` was added."""
        pending = self._pending.get(partition, {})
        return HookPosition(
            next=following,
            until=until,
            pending=[PendingCall(o, pending[o].attempts, pending[o].first_at) for o in sorted(pending)],
            failing_since=self.failing_since,
        )

    def begin_anew(self) -> None:
        """All that is in hand gets its whole time again."""
        self._failures, self.failing_since = 0, None
        for delivery in self._all():
            delivery.attempts, delivery.first_at = 0, None

    def oldest(self, partition: int) -> Delivery | None:
        """The first event in hand. (They are added in their order.)"""
        return next(iter(self._pending.get(partition, {}).values()), None)

    def _all(self) -> Iterable[Delivery]:
        return (delivery for pending in self._pending.values() for delivery in pending.values())

    def _over(self, delivery: Delivery, now: int) -> None:
        del self._pending[delivery.partition][delivery.offset]
        self._bytes -= len(delivery.body)
        self._count -= 1
        line = self._lines[delivery.user_id]
        line.popleft()
        if line:
            self._queue(now, line[0])
        else:
            del self._lines[delivery.user_id]

    def _queue(self, due: int, delivery: Delivery) -> None:
        heappush(self._due, (due, next(self._numbers), delivery))
