"""``tocsin_keys`` in memory: what is published there is taken at once."""

import secrets
from collections.abc import Callable, Sequence
from typing import Any

from app.domain.api_keys import hash_of
from app.store.api_keys import KeysFollower, KeyWriter
from app.store.publisher import Outgoing, PublishError
from schemas.keys import KeySecret, MadeKey
from schemas.topics import KEYS
from tests.records import Record

SECRET = b"the installation's own secret of 32 bytes"
NOW = 1_780_000_000_000


def a_key(key_id: str, whole: str | None = None, **given: Any) -> MadeKey:
    """``whole``: as it is sent."""
    secret = KeySecret(number=1, sha256=hash_of(whole or f"{key_id}.{secrets.token_urlsafe(32)}"), created_at=0)
    fields = {
        "creation": f"creation of {key_id}"[:36],
        "version": 1,
        "source": "shop",
        "scopes": ["send"],
        "secrets": [secret],
        "created_at": 0,
        **given,
    }
    return MadeKey(id=key_id, **fields)


def two_secrets() -> list[KeySecret]:
    """Of a key that is being rotated."""
    return [KeySecret(number=number, sha256=str(number) * 64, created_at=0) for number in (1, 2)]


class KeyTopic:
    """The log, and those who follow it; each has taken all of it. ``is_down``: nothing can be written."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.followers: list[KeysFollower] = []
        self.is_down = False

    def follow(self, secrets: Sequence[bytes] = (SECRET,)) -> KeysFollower:
        follower = _Follower({}, secrets)
        for each in self.records:
            follower.take(each)
        self.followers.append(follower)
        return follower

    def writer(
        self,
        states: KeysFollower | None = None,
        clock: Callable[[], int] = lambda: NOW,
        secret: bytes = SECRET,
    ) -> KeyWriter:
        publisher: Any = self
        return KeyWriter(publisher, states or self.follow((secret,)), secret, clock)

    def with_key(self, made: MadeKey, clock: Callable[[], int] = lambda: NOW) -> KeyWriter:
        """A writer, where there is this key."""
        writer = self.writer(clock=clock)
        self.put([writer._signed(made)])
        return writer

    async def publish_many(self, records: Sequence[Outgoing]) -> list[tuple[int, int]]:
        if self.is_down:
            raise PublishError("NotEnoughReplicasError")
        return self.put(records)

    def put(self, records: Sequence[Outgoing]) -> list[tuple[int, int]]:
        positions = []
        for each in records:
            assert each.topic == KEYS
            taken = Record(KEYS, 0, len(self.records), NOW, each.key, each.value, each.headers)
            self.records.append(taken)
            positions.append((0, taken.offset))
            for follower in self.followers:
                follower.take(taken)
        return positions


class _Follower(KeysFollower):
    async def reached(self, offset: int) -> None:
        return
