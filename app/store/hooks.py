"""The hooks that services have set up, as ``tocsin_hooks`` has them."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import structlog

from app.domain import announcing
from app.domain.keyed import HashKeys
from app.ports import Guard, LogRecord
from app.store.follower import TopicFollower
from app.store.publisher import KafkaPublisher, Outgoing
from schemas.decode import Invalid
from schemas.hooks import (
    READERS,
    Hook,
    HookDisabled,
    HookReplay,
    disabled_key,
    encode_hook_record,
    hook_key,
    replay_key,
)
from schemas.topics import HOOKS

log = structlog.get_logger(__name__)

HookRecord = Hook | HookDisabled | HookReplay


def secrets_of(keys: HashKeys) -> tuple[bytes, ...]:
    """The installation's secret, and those that it had before: hooks outlive them."""
    return (keys.secret, *(former.encode() for former in keys.former if not former.startswith("lost:")))


class HookStates:
    """What the topic says up to now. Only what is signed with one of the installation's secrets counts, and of a key
    nothing that is no newer than what was taken before. ``on_change`` is called after each record that counts."""

    def __init__(self, secrets: Sequence[bytes], on_change: Callable[[], None] = lambda: None) -> None:
        self._secrets = secrets
        self._on_change = on_change
        self._taken_at: dict[bytes, int] = {}
        self._records: dict[bytes, HookRecord] = {}

    def all(self) -> list[Hook]:
        """Every hook, the oldest first."""
        return sorted((each for each in self._records.values() if isinstance(each, Hook)), key=lambda h: (h.at, h.id))

    def hook(self, hook_id: str) -> Hook | None:
        found = self._records.get(hook_key(hook_id))
        return found if isinstance(found, Hook) else None

    def disabled(self, hook_id: str) -> HookDisabled | None:
        found = self._records.get(disabled_key(hook_id))
        return found if isinstance(found, HookDisabled) else None

    def replay(self, hook_id: str) -> HookReplay | None:
        found = self._records.get(replay_key(hook_id))
        return found if isinstance(found, HookReplay) else None

    def taken_at(self, key: bytes) -> int:
        """The time of the record that counts of a key; -1: there is none."""
        return self._taken_at.get(key, -1)

    def take(self, record: LogRecord) -> None:
        """Takes the next record of the topic."""
        key, value = record.key or b"", record.value
        at = self._signed_at(key, value, record.headers)
        kind = key.partition(b":")[0] + b":"
        if at is None or kind not in READERS:
            log.warning("a record of tocsin_hooks doesn't count", offset=record.offset, why="untrusted")
            return
        if at <= self.taken_at(key):
            return
        if value is None:
            self._records.pop(key, None)
        else:
            try:
                read: HookRecord = READERS[kind](value)
            except Invalid as invalid:
                log.warning("a record of tocsin_hooks doesn't count", offset=record.offset, why=str(invalid))
                return
            if read.key != key:
                log.warning("a record of tocsin_hooks doesn't count", offset=record.offset, why="another's key")
                return
            self._records[key] = read
        self._taken_at[key] = at
        self._on_change()

    def _signed_at(self, key: bytes, value: bytes | None, headers: Sequence[tuple[str, bytes | None]]) -> int | None:
        for secret in self._secrets:
            if (at := announcing.announced_at(secret, key, value, headers)) is not None:
                return at
        return None


class HooksFollower(HookStates):
    """The same, kept up to date."""

    def __init__(
        self,
        client_options: Mapping[str, Any],
        secrets: Sequence[bytes],
        on_change: Callable[[], None] = lambda: None,
        guard: Guard | None = None,
    ) -> None:
        super().__init__(secrets, on_change)
        self._follower = TopicFollower(client_options, HOOKS, self.take, guard=guard)

    async def start(self) -> None:
        """Returns when all that was in the topic is taken. Raises KafkaError, LookupError for no topic."""
        await self._follower.start()

    async def close(self) -> None:
        await self._follower.close()

    async def reached(self, offset: int) -> None:
        """Returns when the record at that offset has been taken. Raises TimeoutError after a while."""
        await self._follower.reached(offset)


class HookWriter:
    """Sets hooks up and takes them down. Returns when it is acknowledged, and counts in this process.

    All methods raise PublishError, and TimeoutError where the topic can't be followed. ``clock``: Unix milliseconds.
    """

    def __init__(
        self, publisher: KafkaPublisher, states: HooksFollower, secret: bytes, clock: Callable[[], int]
    ) -> None:
        self.states = states
        self._publisher = publisher
        self._secret = secret
        self._clock = clock
        self._writing = asyncio.Lock()

    async def write(self, record: HookRecord) -> None:
        await self._publish([(record.key, encode_hook_record(record))])

    async def enable(self, hook_id: str) -> None:
        await self._publish([(disabled_key(hook_id), None)])

    async def delete(self, hook_id: str) -> None:
        keys = [key(hook_id) for key in (replay_key, disabled_key) if self.states.taken_at(key(hook_id)) >= 0]
        await self._publish([(key, None) for key in (*keys, hook_key(hook_id))])

    async def _publish(self, records: Sequence[tuple[bytes, bytes | None]]) -> None:
        """Each later than what is known of its key, whatever the clocks say."""
        async with self._writing:
            positions = await self._publisher.publish_many([self._signed(key, value) for key, value in records])
            await self.states.reached(max(offset for _, offset in positions))

    def _signed(self, key: bytes, value: bytes | None) -> Outgoing:
        at = max(self._clock(), self.states.taken_at(key) + 1)
        return Outgoing(
            HOOKS, key, value, headers=[(announcing.HEADER, announcing.signed(self._secret, key, value, at))]
        )
