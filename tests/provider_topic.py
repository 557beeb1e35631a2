"""``tocsin_providers`` in memory: what is published there is taken at once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from app.store.provider_states import PauseWriter, ProvidersFollower
from app.store.publisher import Outgoing
from schemas.topics import PROVIDERS

SECRET = b"the installation's own secret of 32 bytes"
NOW = 1_780_000_000_000


@dataclass(frozen=True, slots=True)
class Record:
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]] = ()
    offset: int = 0
    timestamp: int = NOW
    topic: str = PROVIDERS
    partition: int = 0


class ProviderTopic:
    """The log, and those who follow it; each has taken all of it."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.followers: list[ProvidersFollower] = []

    def follow(self, clock: Callable[[], int] = lambda: NOW, secret: bytes = SECRET, **told: Any) -> ProvidersFollower:
        follower = _Follower({}, secret, clock, **told)
        for record in self.records:
            follower.take(record)
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
            record = Record(each.key, each.value, each.headers, len(self.records))
            self.records.append(record)
            positions.append((0, record.offset))
            for follower in self.followers:
                follower.take(record)
        return positions


class _Follower(ProvidersFollower):
    async def reached(self, offset: int) -> None:
        return
