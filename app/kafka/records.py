"""The records of one partition as a fetch brought them: all that can be read, and in place of what can't be a mark of
it, as a record without key and value. Whoever owns the topic writes the dead letter; everybody else passes it over, as
any record without a value."""

from collections.abc import Iterator
from typing import Any

import structlog
from aiokafka.consumer.fetcher import READ_COMMITTED, PartitionRecords
from aiokafka.structs import ConsumerRecord

from app.kafka.batches import Piece, Pieces, UnreadableBatch, open_batch, readable
from app.kafka.parsing import Parsed, parse
from app.kafka.unpacking import MOST_BYTES, Oversized, Unpackable

log = structlog.get_logger(__name__)

#: A batch that is larger, unpacked, is read one record at a time, with bounds on each.
_FAST_BYTES = 8 * 1024 * 1024


class Unreadable(ConsumerRecord):  # type: ignore[misc]
    """Stands for the offsets from ``offset`` up to ``next_offset``, which can't be read; ``reason`` says why not,
    ``code`` which kind of refusal that is (schemas/dead.py)."""

    def __init__(
        self, topic: str, partition: int, offset: int, next_offset: int, reason: str, code: str = "undecodable"
    ) -> None:
        super().__init__(topic, partition, offset, -1, 0, None, None, None, -1, -1, ())
        self.next_offset = next_offset
        self.reason = reason
        self.code = code


class Rest:
    """In place of a record: so much was unpacked that others get their turn before what follows."""


REST = Rest()
#: So much is unpacked of a partition before that: of what packs well a fetch may hold thousands of times as much.
AT_ONCE_BYTES = MOST_BYTES


class _OneByOne(Exception):
    """A batch that is too large for aiokafka's reader, which has no bounds."""


class TolerantRecords(PartitionRecords):  # type: ignore[misc]
    """aiokafka's records of one fetched partition, but no batch can keep it from those behind. ``portion`` has a
    ``REST`` now and then; as an iterator it passes them over."""

    _records: Pieces
    next_fetch_offset: int

    def __next__(self) -> ConsumerRecord:
        return next(record for record in self.portion() if record is not REST)

    def portion(self) -> Iterator[ConsumerRecord | Rest]:
        """What hasn't been read yet."""
        records: Iterator[ConsumerRecord | Rest] = self._records_iterator
        return records

    def _unpack_records(self) -> Iterator[ConsumerRecord | Rest]:
        (topic, partition), committed = self._tp, self._isolation_level == READ_COMMITTED
        unpacked = 0
        for piece in self._records:
            if unpacked >= AT_ONCE_BYTES:
                unpacked = 0
                yield REST
            try:
                opened = open_batch(piece)
            except UnreadableBatch as error:
                yield from self._pass_over(piece, error)
                continue
            batch = opened.batch
            end = batch.next_offset
            if not self._is_left_out(batch, committed):
                try:
                    reader, data = readable(opened)
                    unpacked += len(data)
                    if opened.magic == 2 and len(data) > _FAST_BYTES:
                        raise _OneByOne
                    for record in reader:
                        offset = record.offset
                        if self.next_fetch_offset <= offset < end:
                            key, value, time = record.key, record.value, record.timestamp
                            self.next_fetch_offset = offset + 1
                            yield ConsumerRecord(
                                topic,
                                partition,
                                offset,
                                -1 if time is None else time,  # (the oldest format has none)
                                record.timestamp_type,
                                key,
                                value,
                                record.checksum,
                                -1 if key is None else len(key),
                                -1 if value is None else len(value),
                                tuple(record.headers),
                            )
                except Oversized as error:
                    unpacked += MOST_BYTES
                    yield from self._mark(end, f"a batch that {error}", "too_large")
                except Unpackable as error:
                    yield from self._mark(end, f"a batch that {error}")
                except Exception as error:  # whatever aiokafka raises for what it doesn't take
                    if opened.magic == 2:
                        yield from self._parse(data, end)
                    else:
                        yield from self._mark(end, f"a batch whose records can't be read: {error}")
            # The batch's last offset stays with it when compaction has taken its last record.
            self.next_fetch_offset = max(self.next_fetch_offset, end)

    def _is_left_out(self, batch: Any, committed: bool) -> bool:
        """Whether it holds no records that count: a marker, or part of a transaction that was aborted."""
        if committed and batch.producer_id is not None:
            self._consume_aborted_up_to(batch.base_offset)
            if batch.is_control_batch and self._ends_aborted(batch):
                self._aborted_producers.discard(batch.producer_id)
            if batch.is_transactional and batch.producer_id in self._aborted_producers:
                return True
        return bool(batch.is_control_batch)

    def _ends_aborted(self, batch: Any) -> bool:
        try:
            return bool(self._contains_abort_marker(batch))
        except Exception as error:
            log.error(
                "can't read a transaction marker: treating the transaction as ended",
                at=str(self._tp),
                error=repr(error),
            )
            return True

    def _parse(self, data: bytes, end: int) -> Iterator[ConsumerRecord]:
        for found in parse(data):
            if found.offset < self.next_fetch_offset:
                continue
            if isinstance(found, Parsed):
                self.next_fetch_offset = found.offset + 1
                yield self._made(found)
            elif found.offset < end:
                yield from self._mark(end if found.rest else found.offset + 1, f"not a record: {found.reason}")

    def _made(self, found: Parsed) -> ConsumerRecord:
        key_size = -1 if found.key is None else len(found.key)
        value_size = -1 if found.value is None else len(found.value)
        where = (self._tp.topic, self._tp.partition, found.offset, found.timestamp, 0)
        return ConsumerRecord(*where, found.key, found.value, None, key_size, value_size, found.headers)

    def _pass_over(self, piece: Piece, error: UnreadableBatch) -> Iterator[ConsumerRecord]:
        """Where the batch ends isn't known, unless another one follows. Else it comes again, asked for one offset later
        each time, and is marked only once."""
        start, following = self.next_fetch_offset, error.next_offset
        end = following if following is not None and following > start else start + 1
        if start <= piece.base:
            yield from self._mark(end, f"a batch that {error.reason}")
        else:
            self.next_fetch_offset = end

    def _mark(self, next_offset: int, reason: str, code: str = "undecodable") -> Iterator[Unreadable]:
        offset = self.next_fetch_offset
        if offset >= next_offset:
            return
        self.next_fetch_offset = next_offset
        log.error(
            "passed over what can't be read",
            topic=self._tp.topic,
            partition=self._tp.partition,
            offset=offset,
            next_offset=next_offset,
            reason=reason,
        )
        yield Unreadable(self._tp.topic, self._tp.partition, offset, next_offset, reason, code)
