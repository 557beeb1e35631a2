"""The audit log in Kafka: entries are appended before a change is made, and read back newest first."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from aiokafka import TopicPartition
from aiokafka.structs import ConsumerRecord

from app.kafka.consumers import LogConsumer
from app.kafka.reading import open_reader, read_spans
from schemas.audit_log import AuditEntry, audit_entry, encode_audit_entry, read_audit_entry
from schemas.decode import Invalid
from schemas.instants import parse_ms, rfc3339
from schemas.topics import AUDIT_LOG

_PARTITION = TopicPartition(AUDIT_LOG, 0)
#: Entries that are looked at for one page, and how many of them at a time.
_MOST_LOOKED_AT, _PIECE = 50_000, 2_000
#: By so much the clocks of processes that write entries may differ.
_CLOCKS_MS = 3_600_000


class Publishing(Protocol):
    """See ``KafkaPublisher``."""

    async def publish(self, topic: str, key: bytes | None, value: bytes | None) -> tuple[int, int]: ...


class Wanted(NamedTuple):
    """Which entries are asked for; None: all. ``from_ms``, ``to_ms``: Unix ms, the second excluded."""

    action: str | None = None
    key_id: str | None = None
    from_ms: int | None = None
    to_ms: int | None = None

    def takes(self, entry: AuditEntry) -> bool:
        """Whether the entry is one of them. ``policy`` takes ``policy.put``, too."""
        at_ms = parse_ms(entry.at)
        return (
            (self.action is None or entry.action == self.action or entry.action.startswith(f"{self.action}."))
            and (self.key_id is None or entry.key_id == self.key_id)
            and (self.from_ms is None or at_ms >= self.from_ms)
            and (self.to_ms is None or at_ms < self.to_ms)
        )


_ALL = Wanted()


class AuditLog:
    """``clock``: Unix milliseconds. Opens a consumer for each page: few ask, and seldom."""

    def __init__(self, publisher: Publishing, client_options: Mapping[str, Any], clock: Callable[[], int]) -> None:
        self._publisher = publisher
        self._options = client_options
        self._clock = clock

    async def enter(self, key_id: str | None, from_: str, action: str, what: str) -> None:
        """Returns when every in-sync replica has the entry. Raises PublishError: then the change may not be made."""
        entry = audit_entry(rfc3339(self._clock()), key_id, from_, action, what)
        await self._publisher.publish(AUDIT_LOG, None, encode_audit_entry(entry))

    async def newest(
        self, limit: int, cursor: str | None = None, wanted: Wanted = _ALL
    ) -> tuple[list[AuditEntry], str | None]:
        """At most ``limit`` entries, newest first, and where to go on (None: there are no older ones). There may be
        fewer although there are older ones, where many had to be passed over.

        Raises ValueError for a cursor that isn't one of ours, KafkaError.
        """
        before = _offset_in(cursor)
        async with open_reader(self._options) as consumer:
            return await _page(consumer, limit, before, wanted)


async def _page(
    consumer: LogConsumer, limit: int, before: int | None, wanted: Wanted
) -> tuple[list[AuditEntry], str | None]:
    start = (await consumer.beginning_offsets([_PARTITION]))[_PARTITION]
    end = (await consumer.end_offsets([_PARTITION]))[_PARTITION]
    if wanted.from_ms is not None:
        start = await _first_since(consumer, wanted.from_ms - _CLOCKS_MS, end)
    if before is not None:
        end = min(end, before)
    elif wanted.to_ms is not None:
        end = await _first_since(consumer, wanted.to_ms + _CLOCKS_MS, end)
    stop = max(start, end - _MOST_LOOKED_AT)
    found: list[AuditEntry] = []
    while end > stop:
        left = max(stop, end - _PIECE)
        records = [record async for some in read_spans(consumer, {_PARTITION: (left, end)}) for record in some]
        for record in reversed(records):
            entry = _entry(record)
            if entry is not None and wanted.takes(entry):
                found.append(entry)
                if len(found) == limit:
                    return found, str(record.offset) if record.offset > start else None
        end = left
    return found, str(end) if end > start else None


async def _first_since(consumer: LogConsumer, ms: int, end: int) -> int:
    """The offset of the first entry of that time or later; the end where there is none."""
    found = (await consumer.offsets_for_times({_PARTITION: max(0, ms)}))[_PARTITION]
    return end if found is None else int(found.offset)


def _entry(record: ConsumerRecord) -> AuditEntry | None:
    try:
        return read_audit_entry(record.value or b"")
    except Invalid:
        return None


def _offset_in(cursor: str | None) -> int | None:
    if cursor is None:
        return None
    if not cursor.isascii() or not cursor.isdigit() or len(cursor) > 18:
        raise ValueError("not a valid cursor")
    return int(cursor)
