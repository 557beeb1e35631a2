"""Reading notify_dead without a group: the newest letters, page by page."""

from base64 import b64decode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator, Mapping
from sys import maxsize
from typing import Any, NamedTuple

import msgspec
from aiokafka import TopicPartition
from aiokafka.structs import ConsumerRecord

from app.kafka.consumers import LogConsumer
from app.store.erased import ErasedUsers
from schemas.dead import DeadLetter, read_dead
from schemas.decode import Invalid
from schemas.instants import parse_ms
from schemas.topics import DEAD

_POLL_MS = 500


class Letter(NamedTuple):
    """A dead letter and where it lies."""

    partition: int
    offset: int
    letter: DeadLetter


class DeadLetters:
    """Opens a consumer for each page: few ask, and seldom. Raises KafkaError. Letters of users who were erased since
    aren't shown."""

    def __init__(self, client_options: Mapping[str, Any], erased: ErasedUsers) -> None:
        self._options = client_options
        self._erased = erased

    async def newest(self, limit: int, cursor: str | None = None) -> tuple[list[Letter], str | None]:
        """At most ``limit`` letters, newest first, and where to go on (None: there are no older ones).

        Raises ValueError for a cursor that isn't one of ours.
        """
        before = _ends_in(cursor)
        consumer = LogConsumer(DEAD, **self._options, group_id=None)
        await consumer.start()
        try:
            letters, following = await _page(consumer, limit, before)
            return [letter for letter in letters if not is_of_erased(letter.letter, self._erased)], following
        finally:
            await consumer.stop()


async def _page(consumer: LogConsumer, limit: int, before: Mapping[int, int] | None) -> tuple[list[Letter], str | None]:
    partitions = sorted(consumer.assignment())
    starts = await consumer.beginning_offsets(partitions)
    ends = await consumer.end_offsets(partitions)
    if before is not None:
        ends = {at: min(end, before.get(at.partition, end)) for at, end in ends.items()}
    more, page = True, list[ConsumerRecord]()
    while more and not page:  # (offsets need not have records)
        page, ends = await _newest(consumer, limit, starts, ends)
        more = any(ends[at] > start for at, start in starts.items())
    letters = [letter for record in page if (letter := _letter(record))]
    return letters, _cursor({at.partition: end for at, end in ends.items()}) if more else None


async def _newest(
    consumer: LogConsumer, limit: int, starts: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
) -> tuple[list[ConsumerRecord], dict[TopicPartition, int]]:
    """The newest records before these ends, and the ends of what is left."""
    left = {at: max(starts[at], end - limit) for at, end in ends.items()}
    found: list[tuple[int, int, int, ConsumerRecord]] = []
    for at, end in ends.items():
        moment = maxsize  # (a partition's letters stay in its order, whatever their clocks said)
        for record in reversed(await _last(consumer, at, left[at], end)):
            moment = min(moment, record.timestamp)
            found.append((moment, record.partition, record.offset, record))
    found.sort(key=lambda one: one[:3], reverse=True)
    page, older = [one[3] for one in found[:limit]], [one[3] for one in found[limit:]]
    for record in older:
        at = TopicPartition(record.topic, record.partition)
        left[at] = max(left[at], record.offset + 1)
    return page, left


async def _last(consumer: LogConsumer, at: TopicPartition, start: int, end: int) -> list[ConsumerRecord]:
    consumer.seek(at, start)
    records: list[ConsumerRecord] = []
    while await consumer.position(at) < end:
        read = await consumer.getmany(at, timeout_ms=_POLL_MS)
        records += [record for record in read.get(at, ()) if record.offset < end]
    return records


def _letter(record: ConsumerRecord) -> Letter | None:
    """None for what isn't a letter, though it lies among them."""
    try:
        letter = read_dead(record.value or b"")
        parse_ms(letter.at), b64decode(letter.key or ""), b64decode(letter.value or "")
    except (Invalid, ValueError):
        return None
    return Letter(record.partition, record.offset, letter)


def is_of_erased(letter: DeadLetter, erased: ErasedUsers) -> bool:
    """Whether a letter's key, or its value where that can be read, names a user who was erased after its record."""
    written_ms = parse_ms(letter.at)
    recorded_ms = min(letter.timestamp, written_ms) if letter.timestamp > 0 else written_ms
    return any(erased.since(user_id, recorded_ms) for user_id in _users_of(letter))


def _users_of(letter: DeadLetter) -> Iterator[str]:
    if letter.key is not None:
        yield b64decode(letter.key).decode(errors="surrogateescape")
    try:
        value = msgspec.json.decode(b64decode(letter.value or ""))
    except (ValueError, RecursionError):
        return
    named = (value.get("user_id"), value.get("subject")) if isinstance(value, dict) else ()
    yield from (name for name in named if isinstance(name, str))


def _cursor(ends: Mapping[int, int]) -> str:
    return urlsafe_b64encode(msgspec.json.encode(ends)).decode().rstrip("=")


def _ends_in(cursor: str | None) -> dict[int, int] | None:
    if cursor is None:
        return None
    try:
        ends: dict[int, int] = msgspec.json.decode(
            urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)), type=dict[int, int]
        )
        if any(end < 0 for end in ends.values()):
            raise ValueError
        return ends
    except (ValueError, msgspec.MsgspecError):
        raise ValueError("not a cursor that was handed out") from None
