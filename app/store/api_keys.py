"""The API keys that were made over HTTP, and when keys were used last, as ``tocsin_keys`` has them."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import structlog

from app.domain import announcing
from app.domain.api_keys import is_revoked
from app.ports import Guard, LogRecord
from app.store.follower import TopicFollower
from app.store.publisher import KafkaPublisher, Outgoing, PublishError
from schemas.decode import Invalid
from schemas.keys import READERS, KeyRecord, KeyRevoked, KeyUsed, MadeKey, encode_key_record, used_key
from schemas.topics import KEYS

log = structlog.get_logger(__name__)

#: So often it is looked whether something has to be written, and so often a use of one secret is.
_LOOK_EVERY_S, USED_EVERY_MS = 1.0, 60_000
#: Uses that are remembered and not yet written, and that are written at once.
_MOST_USES, _AT_ONCE = 20_000, 500
_LAST_WORDS_S = 2.0


class KeyStates:
    """What the topic says up to now. Only what is signed with one of the installation's secrets counts, and of an id
    nothing whose version is no later than what counts: of two changes at the same time, the first in the log.

    Compaction keeps the last record of a key, which may be one that doesn't count: what counts is then to be written
    again (``to_rewrite``).
    """

    def __init__(self, secrets: Sequence[bytes]) -> None:
        self._secrets = secrets
        self._made: dict[str, MadeKey] = {}
        self._revoked: dict[str, KeyRevoked] = {}
        self._used: dict[bytes, int] = {}
        self._rewritten: dict[bytes, KeyRecord] = {}

    def find(self, key_id: str) -> MadeKey | None:
        """The key of that id, unless it is revoked. It may have expired."""
        made = self._made.get(key_id)
        return None if made is None or is_revoked(made, self._revoked.get(key_id)) else made

    def all(self) -> list[MadeKey]:
        """Every key that isn't revoked, the oldest first."""
        found = [made for made in self._made.values() if not is_revoked(made, self._revoked.get(made.id))]
        return sorted(found, key=lambda made: (made.created_at, made.id))

    def version_of(self, key_id: str) -> int:
        """That of the id's last change; 0: it was never used."""
        made, revocation = self._made.get(key_id), self._revoked.get(key_id)
        return max(made.version if made else 0, revocation.version if revocation else 0)

    @property
    def ids(self) -> int:
        """How many ids were ever used."""
        return len(self._made)

    def counts(self, record: MadeKey | KeyRevoked) -> bool:
        """Whether it is so now."""
        match record:
            case MadeKey():
                return self.find(record.id) == record
            case KeyRevoked():  # perhaps by another's
                return self.find(record.id) is None

    def used_at(self, key_id: str, number: int) -> int | None:
        """When, as far as it was written."""
        return self._used.get(used_key(key_id, number))

    def to_rewrite(self) -> list[KeyRecord]:
        """What counts though another record of its key comes later in the log."""
        return list(self._rewritten.values())

    def take(self, record: LogRecord) -> None:
        """Takes the next record of the topic."""
        key, value = record.key or b"", record.value
        kind = key.partition(b":")[0] + b":"
        if kind not in READERS or not self._is_signed(key, value, record.headers):
            log.warning("a record of tocsin_keys doesn't count", offset=record.offset, why="untrusted")
            return
        if value is None:  # nothing is ever taken back like this
            return
        try:
            read: KeyRecord = READERS[kind](value)
        except Invalid as invalid:
            log.warning("a record of tocsin_keys doesn't count", offset=record.offset, why=str(invalid))
            return
        if read.key != key:
            log.warning("a record of tocsin_keys doesn't count", offset=record.offset, why="another's key")
            return
        self._take(read)

    def _take(self, read: KeyRecord) -> None:
        if isinstance(read, KeyUsed):
            self._used[read.key] = max(read.at, self._used.get(read.key, 0))
            return
        counting: MadeKey | KeyRevoked | None
        if isinstance(read, MadeKey):
            counting = self._made.get(read.id)
            if counting is None or read.version > counting.version:
                self._made[read.id] = counting = read
        else:
            counting = self._revoked.get(read.id)
            if counting is None or read.version > counting.version:
                self._revoked[read.id] = counting = read
        if counting == read:
            self._rewritten.pop(read.key, None)
        else:
            self._rewritten[read.key] = counting

    def _is_signed(self, key: bytes, value: bytes | None, headers: Sequence[tuple[str, bytes | None]]) -> bool:
        return any(announcing.announced_at(secret, key, value, headers) is not None for secret in self._secrets)


class KeysFollower(KeyStates):
    """The same, kept up to date."""

    def __init__(self, client_options: Mapping[str, Any], secrets: Sequence[bytes], guard: Guard | None = None) -> None:
        super().__init__(secrets)
        self._follower = TopicFollower(client_options, KEYS, self.take, guard=guard)

    async def start(self) -> None:
        """Returns when all that was in the topic is taken. Raises KafkaError, LookupError for no topic."""
        await self._follower.start()

    async def close(self) -> None:
        await self._follower.close()

    async def reached(self, offset: int) -> None:
        """Returns when the record at that offset has been taken. Raises TimeoutError after a while."""
        await self._follower.reached(offset)


class LastUses:
    """When each secret was used last: by calls to this process, else as it was written. ``clock``: Unix ms."""

    def __init__(self, states: KeyStates, clock: Callable[[], int]) -> None:
        self._states = states
        self._clock = clock
        self._here: dict[tuple[str, int], int] = {}

    def note(self, key_id: str, number: int) -> None:
        """It is used now."""
        if len(self._here) < _MOST_USES or (key_id, number) in self._here:
            self._here[key_id, number] = self._clock()

    def at(self, key_id: str, number: int) -> int | None:
        here, written = self._here.get((key_id, number)), self._states.used_at(key_id, number)
        return max((at for at in (here, written) if at is not None), default=None)

    def to_write(self, every_ms: int = USED_EVERY_MS) -> list[KeyUsed]:
        """Those that are so much later than what is written."""
        return [
            KeyUsed(id=key_id, number=number, at=at)
            for (key_id, number), at in self._here.items()
            if at - (self._states.used_at(key_id, number) or -every_ms) >= every_ms
        ]


class KeyWriter:
    """Writes keys, and when they were used. ``clock``: Unix milliseconds."""

    def __init__(
        self, publisher: KafkaPublisher, states: KeysFollower, secret: bytes, clock: Callable[[], int]
    ) -> None:
        self.states = states
        self.uses = LastUses(states, clock)
        self._publisher = publisher
        self._secret = secret
        self._clock = clock

    async def write(self, record: MadeKey | KeyRevoked) -> bool:
        """Returns when it is acknowledged and known to this process: whether it counts. False: another process changed
        the same key at the same time.

        Raises PublishError, and TimeoutError where the topic can't be followed.
        """
        [(_, offset)] = await self._publisher.publish_many([self._signed(record)])
        await self.states.reached(offset)
        return self.states.counts(record)

    async def keep_written(self) -> None:
        """Writes uses, each at most once a minute, and what compaction would lose. Until it is cancelled; then the
        latest uses once more."""
        try:
            while True:
                await asyncio.sleep(_LOOK_EVERY_S)
                await self.write_due()
        finally:
            try:
                async with asyncio.timeout(_LAST_WORDS_S):
                    await self.write_due(every_ms=1)
            except TimeoutError:
                log.info("the last uses of keys weren't written", reason="Kafka didn't acknowledge them in time")

    async def write_due(self, every_ms: int = USED_EVERY_MS) -> None:
        """What could not be written waits for the next time."""
        due: list[KeyRecord] = [*self.states.to_rewrite(), *self.uses.to_write(every_ms)][:_AT_ONCE]
        if not due:
            return
        try:
            positions = await self._publisher.publish_many([self._signed(record) for record in due])
            await self.states.reached(max(offset for _, offset in positions))
        except (PublishError, TimeoutError) as error:
            log.info("the uses of keys aren't written yet", reason=str(error) or type(error).__name__)

    def _signed(self, record: KeyRecord) -> Outgoing:
        value = encode_key_record(record)
        header = announcing.signed(self._secret, record.key, value, self._clock())
        return Outgoing(KEYS, record.key, value, headers=[(announcing.HEADER, header)])
