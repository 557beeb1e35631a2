"""The API keys that were made over HTTP, and when keys were used last, as ``tocsin_keys`` has them."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import structlog

from app.domain import announcing
from app.domain.api_keys import IN_SETTINGS, is_revoked
from app.failures import RateLimitedLog
from app.ports import Guard, LogRecord
from app.store.follower import TopicFollower
from app.store.publisher import KafkaPublisher, Outgoing, PublishError
from schemas.decode import Invalid
from schemas.keys import (
    READERS,
    FormerEnded,
    KeyRecord,
    KeyRevoked,
    KeyUsed,
    MadeKey,
    encode_key_record,
    made_key,
    revoked_key,
    used_key,
)
from schemas.topics import KEYS

log = structlog.get_logger(__name__)

#: So often it is looked whether something has to be written, and so often a use of one secret is.
_LOOK_EVERY_S, USED_EVERY_MS = 1.0, 60_000
#: Uses that are remembered and not yet written, and that are written at once.
_MOST_USES, _AT_ONCE = 20_000, 500
_LAST_WORDS_S = 2.0
#: So many of the latest changes of keys are known by where they were written.
_COUNTED = 1000
_ENDED = FormerEnded(at=0).key


class KeyStates:
    """What the topic says up to now. Only what is signed with one of the installation's secrets counts, and of an id
    nothing whose version is no later than what counts: of two changes at the same time, the first in the log.

    ``secrets``: the present one, then the former. What a former one has signed counts until the same is signed with the
    present one, or anything of its topic's key is; and until ``FormerEnded`` is there. Revocations count always.

    Compaction keeps the last record of a key, which may be one that doesn't count: what counts is then to be written
    again (``to_rewrite``), as is what a former secret has signed.
    """

    def __init__(self, secrets: Sequence[bytes]) -> None:
        self._secrets = secrets
        self._records: dict[bytes, KeyRecord] = {}
        #: The keys of the topic whose record is signed with a former secret only.
        self._formerly: set[bytes] = set()
        self._rewrite: dict[bytes, None] = {}
        self._counted: deque[int] = deque(maxlen=_COUNTED)

    def find(self, key_id: str) -> MadeKey | None:
        """The key of that id, unless it is revoked. It may have expired."""
        made = self._made(key_id)
        return None if made is None or is_revoked(made, self._revoked(key_id)) else made

    def all(self) -> list[MadeKey]:
        """Every key that isn't revoked, the oldest first."""
        found = [made for made in self._all_made() if not is_revoked(made, self._revoked(made.id))]
        return sorted(found, key=lambda made: (made.created_at, made.id))

    def version_of(self, key_id: str) -> int:
        """That of the id's last change; 0: it was never used."""
        made, revocation = self._made(key_id), self._revoked(key_id)
        return max(made.version if made else 0, revocation.version if revocation else 0)

    @property
    def ids(self) -> int:
        """How many ids were ever used."""
        return sum(1 for _ in self._all_made())

    def was_made(self, record: MadeKey | KeyRevoked, offset: int) -> bool:
        """Whether this change, written there, has counted: others may have followed."""
        match record:
            case MadeKey():
                return offset in self._counted
            case KeyRevoked():  # perhaps by another's
                found = self.find(record.id)
                return found is None or found.creation != record.creation

    def used_at(self, key_id: str, number: int) -> int | None:
        """When, as far as it was written."""
        used = self._records.get(used_key(key_id, number))
        return used.at if isinstance(used, KeyUsed) else None

    def to_rewrite(self) -> list[KeyRecord]:
        """What counts though another record of its key comes later in the log, or a former secret has signed it."""
        return [self._records[key] for key in self._rewrite]

    @property
    def former_count(self) -> bool:
        """Whether what a former secret has signed still does."""
        return len(self._secrets) > 1 and _ENDED not in self._records

    def take(self, record: LogRecord) -> None:
        """Takes the next record of the topic."""
        key, read, former = record.key or b"", None, False
        try:
            former = self._is_former(key, record)
            read = _read(key, record.value)
        except Invalid as invalid:
            log.warning("a record of tocsin_keys doesn't count", offset=record.offset, why=str(invalid))
        else:
            self._take(read, former, record.offset)
        current = self._records.get(key)
        if current is not None and (former or read is None or (read != current and not isinstance(read, KeyUsed))):
            self._rewrite[key] = None
        else:
            self._rewrite.pop(key, None)

    def _take(self, read: KeyRecord, former: bool, offset: int) -> None:
        key = read.key
        if self._counts(read, former):
            self._records[key] = read
            if isinstance(read, MadeKey) and self.find(read.id) is read:
                self._counted.append(offset)
            if former:
                self._formerly.add(key)
        if not former and read == self._records.get(key):
            self._formerly.discard(key)
        if isinstance(read, FormerEnded) and not former:
            self._forget_former()

    def _counts(self, read: KeyRecord, former: bool) -> bool:
        """Whether it takes the place of the record before it."""
        if isinstance(read, FormerEnded):
            return not former
        current = self._records.get(read.key)
        is_newer = current is None or _order(read) > _order(current)
        if isinstance(read, KeyRevoked):
            return is_newer
        if former:
            return is_newer and self.former_count and (current is None or read.key in self._formerly)
        return is_newer or read.key in self._formerly

    def _forget_former(self) -> None:
        for key in [key for key in self._formerly if not isinstance(self._records[key], KeyRevoked)]:
            self._formerly.discard(key)
            self._rewrite.pop(key, None)
            del self._records[key]

    def _is_former(self, key: bytes, record: LogRecord) -> bool:
        """Whether a former secret has signed it. Raises Invalid where none of ours has."""
        for secret in self._secrets:
            if announcing.announced_at(secret, key, record.value, record.headers) is not None:
                return secret != self._secrets[0]
        raise Invalid("untrusted")

    def _made(self, key_id: str) -> MadeKey | None:
        made = self._records.get(made_key(key_id))
        return made if isinstance(made, MadeKey) else None

    def _revoked(self, key_id: str) -> KeyRevoked | None:
        revocation = self._records.get(revoked_key(key_id))
        return revocation if isinstance(revocation, KeyRevoked) else None

    def _all_made(self) -> Iterator[MadeKey]:
        return (record for record in self._records.values() if isinstance(record, MadeKey))


def _read(key: bytes, value: bytes | None) -> KeyRecord:
    """Raises Invalid."""
    kind = key.partition(b":")[0] + b":"
    if kind not in READERS:
        raise Invalid("untrusted")
    if value is None:
        raise Invalid("nothing is taken back like this")
    read: KeyRecord = READERS[kind](value)
    if read.key != key:
        raise Invalid("another's key")
    return read


def _order(record: KeyRecord) -> int:
    """Of two records of one key the greater is the later."""
    return record.at if isinstance(record, KeyUsed | FormerEnded) else record.version


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
        self._here.pop((key_id, number), None)  # so that the first one is the oldest
        self._here[key_id, number] = self._clock()
        if len(self._here) > _MOST_USES:
            del self._here[next(iter(self._here))]

    def at(self, key_id: str, number: int) -> int | None:
        here, written = self._here.get((key_id, number)), self._states.used_at(key_id, number)
        return max((at for at in (here, written) if at is not None), default=None)

    def to_write(self, every_ms: int = USED_EVERY_MS) -> list[KeyUsed]:
        """Those that are so much later than what is written. Those of secrets that have ended are forgotten."""
        for gone in [each for each in self._here if not self._may_be_used(*each)]:
            del self._here[gone]
        return [
            KeyUsed(id=key_id, number=number, at=at)
            for (key_id, number), at in self._here.items()
            if at - (self._states.used_at(key_id, number) or -every_ms) >= every_ms
        ]

    def _may_be_used(self, key_id: str, number: int) -> bool:
        if number == IN_SETTINGS:
            return True
        made = self._states.find(key_id)
        return made is not None and any(secret.number == number for secret in made.secrets)


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
        self._failures = RateLimitedLog()

    async def write(self, record: MadeKey | KeyRevoked) -> bool:
        """Returns when it is acknowledged and known to this process: whether the change is made. False: another process
        changed the same key at the same time.

        Raises PublishError, and TimeoutError where the topic can't be followed.
        """
        [(_, offset)] = await self._publisher.publish_many([self._signed(record)])
        await self.states.reached(offset)
        return self.states.was_made(record, offset)

    async def keep_written(self) -> None:
        """Writes uses, each at most once a minute, and what compaction would lose. Until it is cancelled; then the
        latest uses once more."""
        try:
            while True:
                await asyncio.sleep(_LOOK_EVERY_S)
                try:
                    await self.write_due()
                except Exception as error:  # nobody would notice that it has ended
                    self._failures.log("the uses of keys aren't written", error, self._clock())
        finally:
            try:
                async with asyncio.timeout(_LAST_WORDS_S):
                    await self.write_due(every_ms=1)
            except TimeoutError:
                log.info("the last uses of keys weren't written", reason="Kafka didn't acknowledge them in time")

    async def write_due(self, every_ms: int = USED_EVERY_MS) -> None:
        """What could not be written waits for the next time."""
        rewritten = self.states.to_rewrite()
        due: list[KeyRecord] = [*rewritten, *self.uses.to_write(every_ms)][:_AT_ONCE]
        if not rewritten and self.states.former_count:
            due.append(FormerEnded(at=self._clock()))
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
