"""Following ``tocsin_inbox_changes``: what gateways take of changed inboxes and of claimed tickets, as it comes."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Protocol

import structlog
from aiokafka import TopicPartition

from app.kafka.consumers import LogConsumer
from app.ports import Guard, LogRecord
from app.store.follower import Follower
from schemas.decode import Invalid
from schemas.inbox_changes import InboxChange, TicketClaim, read_inbox_record
from schemas.topics import INBOX_CHANGES

log = structlog.get_logger(__name__)

_POLL_MS = 1000
#: After so long without an answer for one of the partitions, its changes may go on unheard.
_SILENT_S = 30.0
#: How often that is looked at.
_LOOK_S = 5.0
#: Records are small, and somebody waits for each.
_MOST_RECORDS = 500


class Follows(Protocol):
    """Whoever wants to know. What comes may have come before."""

    def wants(self, user_id: bytes) -> bool:
        """Whether changes of this user's inbox are to be read at all."""
        ...

    def take_change(self, change: InboxChange) -> None: ...

    def take_claim(self, claim: TicketClaim) -> None: ...

    def lost(self) -> None:
        """Some changes may never come."""
        ...


class InboxFollower(Follower):
    """From ``since_ms`` before it starts, all ``partitions``; after a failed read where it was. ``clock``: Unix ms."""

    again = "following inboxes again where they were"

    def __init__(
        self,
        client_options: Mapping[str, Any],
        follows: Follows,
        clock: Callable[[], int],
        *,
        partitions: int,
        since_ms: int,
        guard: Guard | None = None,
    ) -> None:
        super().__init__(client_options, INBOX_CHANGES, guard)
        self._follows = follows
        self._clock = clock
        self._partitions = [TopicPartition(INBOX_CHANGES, partition) for partition in range(partitions)]
        self._since_ms = since_ms
        self._positions: dict[TopicPartition, int] = {}
        #: Of each partition, a consumer's timestamp of its latest answer, and when that was new here.
        self._answered: dict[TopicPartition, tuple[int | None, float]] = {}

    def _duties(self, consumer: LogConsumer) -> list[Coroutine[Any, Any, None]]:
        return [self._follow(consumer), self._watch()]

    async def _assign(self, consumer: LogConsumer) -> None:
        consumer.assign(self._partitions)
        for tp in self._partitions:
            self._answered.setdefault(tp, (None, asyncio.get_running_loop().time()))
        if not self._positions:
            self._positions = await self._beginning(consumer)
        first = await consumer.beginning_offsets(self._partitions)
        if any(self._positions.get(tp, 0) < first[tp] for tp in self._partitions):
            self._follows.lost()
        for tp in self._partitions:
            consumer.seek(tp, max(self._positions.get(tp, 0), first[tp]))

    async def _beginning(self, consumer: LogConsumer) -> dict[TopicPartition, int]:
        since = self._clock() - self._since_ms
        found = await consumer.offsets_for_times(dict.fromkeys(self._partitions, since))
        ends = await consumer.end_offsets(self._partitions)
        return {tp: ends[tp] if found.get(tp) is None else found[tp].offset for tp in self._partitions}

    async def _catch_up(self, consumer: LogConsumer) -> None:
        ends = await consumer.end_offsets(list(consumer.assignment()))
        while any(self._positions[tp] < end for tp, end in ends.items()):
            await self._poll(consumer)

    async def _poll(self, consumer: LogConsumer) -> None:
        fetched = await consumer.getmany(timeout_ms=_POLL_MS, max_records=_MOST_RECORDS)
        for records in fetched.values():
            for record in records:
                self.hand_over(record)
        for tp in consumer.assignment():
            self._positions[tp] = await consumer.position(tp)
            answered = consumer.last_poll_timestamp(tp)
            if answered is not None and answered != self._answered[tp][0]:
                self._answered[tp] = answered, asyncio.get_running_loop().time()

    def _take(self, record: LogRecord) -> None:
        if record.value is None or record.key is None:
            return
        is_claim = b'"type":"claim"' in record.value[:_TYPE_BYTES]
        if not is_claim and not self._follows.wants(record.key):
            return  # most users aren't looking: their records aren't even read
        read = read_inbox_record(record.value)
        if read.user_id.encode() != record.key:
            raise Invalid("is not the record's key", "user_id")
        if isinstance(read, TicketClaim):
            self._follows.take_claim(read)
        else:
            self._follows.take_change(read)

    async def _watch(self) -> None:
        """A consumer that is cut off finds nothing, and says nothing of it: whoever follows has to hear that."""
        while True:
            await asyncio.sleep(_LOOK_S)
            self._look(asyncio.get_running_loop().time())

    def _look(self, now: float) -> None:
        if any(now - at > _SILENT_S for _, at in self._answered.values()):
            log.warning("inboxes aren't heard of: Kafka doesn't answer")
            self._follows.lost()
            self._answered = {tp: (answered, now) for tp, (answered, _) in self._answered.items()}


#: Of a record, in which its type stands: the encoder writes it first.
_TYPE_BYTES = 32
