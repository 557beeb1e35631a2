"""Two policies side by side: what became of everything under each, and whom the difference concerns."""

import heapq
from collections import Counter
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from app.simulate.fates import Fate, Fates

#: A message that goes out so much earlier or later is noticed.
NOTICED_MS = 60_000

_NOTHING = Fate("", "nothing")
_EXAMPLES_OF_A_USER = 3


class Kind(NamedTuple):
    """A row of the table: what became of how many channels of recipients."""

    category: str
    channel: str
    outcome: str
    reason: str


class Change(NamedTuple):
    """What became something else; ``nothing``: under that policy it isn't there at all (a digest)."""

    category: str
    channel: str
    now: str
    new: str


@dataclass(slots=True)
class UserChange:
    """One user's messages under both policies. ``moved``: sent under both, but a minute or more apart."""

    user_id: str
    sent_now: int = 0
    sent_new: int = 0
    more: int = 0
    fewer: int = 0
    moved: int = 0
    changed: int = 0
    examples: list[dict[str, str]] = field(default_factory=list)

    @property
    def notices(self) -> bool:
        return bool(self.more or self.fewer or self.moved)


class Comparison:
    """Gathers, user by user, and keeps nothing but counts and ``examples`` users, those whom most changes for."""

    def __init__(self, examples: int = 10) -> None:
        self.now: Counter[Kind] = Counter()
        self.new: Counter[Kind] = Counter()
        self.changes: Counter[Change] = Counter()
        self.users_of: Counter[Change] = Counter()
        #: Users of whom anything was said; of those, whose fates differ; of those, who gets anything else, or when.
        self.users = self.differing = self.noticing = 0
        self._examples = examples
        self._most: list[tuple[int, int, UserChange]] = []

    def add(self, user_id: str, now: Fates, new: Fates) -> None:
        """Takes all of one user's fates, those in force now and the new ones."""
        for counter, fates in ((self.now, now), (self.new, new)):
            counter.update(_kind(channel, fate) for (_, channel), fate in fates.items())
        self.users += 1
        user = UserChange(user_id)
        changes: Counter[Change] = Counter()
        for name in sorted({*now, *new}):
            change = _weigh(user, name, now.get(name, _NOTHING), new.get(name, _NOTHING))
            if change is not None:
                changes[change] += 1
        self.changes.update(changes)
        self.users_of.update(changes.keys())
        self.differing += bool(changes)
        self.noticing += user.notices
        if changes:
            self._keep(user)

    def leave_out(self, users: Container[str]) -> None:
        """Shows none of these as an example; they still count."""
        self._most = [entry for entry in self._most if entry[2].user_id not in users]
        heapq.heapify(self._most)

    @property
    def most_changed(self) -> list[UserChange]:
        """The users whom most changes for, the most concerned first."""
        return [user for *_, user in sorted(self._most, reverse=True)]

    def kinds(self) -> list[tuple[Kind, int, int]]:
        """What became of how many, now and under the new policy, by category and channel."""
        return [(kind, self.now[kind], self.new[kind]) for kind in sorted({*self.now, *self.new})]

    def as_json(self) -> dict[str, Any]:
        """``outcomes``, ``changes`` and ``users``, for programs."""
        return {
            "outcomes": [{**_named(kind), "now": now, "new": new} for kind, now, new in self.kinds()],
            "changes": [
                {**_named(change), "count": count, "users": self.users_of[change]}
                for change, count in self.changes.most_common()
            ],
            "users": {
                "seen": self.users,
                "differ": self.differing,
                "would_notice": self.noticing,
                "examples": [
                    {
                        "user_id": user.user_id,
                        "sent": {"now": user.sent_now, "new": user.sent_new},
                        "more": user.more,
                        "fewer": user.fewer,
                        "at_another_time": user.moved,
                        "changes": user.examples,
                    }
                    for user in self.most_changed
                ],
            },
        }

    def _keep(self, user: UserChange) -> None:
        weight = user.more + user.fewer + user.moved
        entry = (weight, -self.users, user)  # (of two whom as much changes for, the first)
        if len(self._most) < self._examples:
            heapq.heappush(self._most, entry)
        elif self._most:
            heapq.heappushpop(self._most, entry)


def _weigh(user: UserChange, name: tuple[str, str], now: Fate, new: Fate) -> Change | None:
    """What this means to the user; None where it came to the same."""
    notification_id, channel = name
    was, will = now.outcome == "sent", new.outcome == "sent"
    moved = was and will and abs(now.at_ms - new.at_ms) >= NOTICED_MS
    user.sent_now += was
    user.sent_new += will
    user.fewer += was and not will
    user.more += will and not was
    user.moved += moved
    if now.words == new.words and not moved:
        return None
    becomes = f"{new.words}, at another time" if moved and now.words == new.words else new.words
    user.changed += 1
    if len(user.examples) < _EXAMPLES_OF_A_USER:
        example = {"notification_id": notification_id, "channel": channel or "all", "now": now.words, "new": becomes}
        user.examples.append(example)
    return Change(now.category or new.category, channel or "all", now.words, becomes)


def _kind(channel: str, fate: Fate) -> Kind:
    return Kind(fate.category, channel or "all", fate.outcome, fate.why)


def _named(row: Kind | Change) -> Mapping[str, str]:
    return row._asdict()
