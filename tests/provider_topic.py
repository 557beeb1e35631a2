"""``tocsin_providers`` in memory: what is published there is taken at once."""

from collections.abc import Callable, Sequence
from typing import Any

from app.store.provider_states import PauseWriter, ProvidersFollower
from app.store.publisher import Outgoing
from schemas.topics import PROVIDERS
from tests.records import Record

SECRET = b"the installation's own secret of 32 bytes"
NOW = 1_780_000_000_000


def record(
    key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes | None]] = (), offset: int = 0
) -> Record:
    return Record(PROVIDERS, 0, offset, NOW, key, value, headers)


class ProviderTopic:
    """The log, and those who follow it; each has taken all of it."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.followers: list[ProvidersFollower] = []

    def follow(self, clock: Callable[[], int] = lambda: NOW, secret: bytes = SECRET, **told: Any) -> ProvidersFollower:
        follower = _Follower({}, secret, clock, **told)
        for each in self.records:
            follower.take(each)
        follower._started = True
        follower.live()
        self.followers.append(follower)
        return follower

    def writer(
        self, states: ProvidersFollower, clock: Callable[[], int] = lambda: NOW, secret: bytes = SECRET
    ) -> PauseWriter:
        publisher: Any = self
        return PauseWriter(publisher, states, secret, clock)

    async def publish(self, topic: str, key: bytes | None, value: bytes | None, **given: Any) -> tuple[int, int]:
        [position] = await self.publish_many([Outgoing(topic, key, value, **given)])
        return position

    async def publish_many(self, records: Sequence[Outgoing]) -> list[tuple[int, int]]:
        positions = []
        for each in records:
            assert each.topic == PROVIDERS
            taken = record(each.key, each.value, each.headers, len(self.records))
            self.records.append(taken)
            positions.append((0, taken.offset))
            for follower in self.followers:
                follower.take(taken)
        return positions


class _Follower(ProvidersFollower):
    async def reached(self, offset: int) -> None:
        return
