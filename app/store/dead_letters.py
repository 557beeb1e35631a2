"""Reading notify_dead without a group: the newest letters page by page, all that match, or some by their ids."""

from base64 import b64decode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from sys import maxsize
from typing import Any, NamedTuple

import msgspec
from aiokafka import TopicPartition
from aiokafka.structs import ConsumerRecord

from app.kafka.consumers import LogConsumer
from app.kafka.reading import open_reader, read_spans
from app.store.erased import ErasedUsers
from schemas.dead import DeadLetter, read_dead
from schemas.decode import Invalid
from schemas.instants import parse_ms
from schemas.topics import DEAD

#: Letters that are looked at for one page, and the least that are looked at in one go where not all are asked for.
_MOST_LOOKED_AT, _PIECE = 20_000, 500
#: By so much a letter's own time may differ from its record's.
_CLOCKS_MS = 3_600_000
#: What lies closer behind is read on to; what lies farther is gone to.
_NEAR = 200


class Letter(NamedTuple):
    """A dead letter and where it lies."""

    partition: int
    offset: int
    letter: DeadLetter

    @property
    def id(self) -> str:
        return f"{self.partition}-{self.offset}"


class Wanted(NamedTuple):
    """Which letters are asked for; None: all. ``from_ms`` and ``to_ms``: when they were written, Unix ms, the second
    excluded."""

    reason: str | None = None
    code: str | None = None
    field: str | None = None
    topic: str | None = None
    from_ms: int | None = None
    to_ms: int | None = None

    def takes(self, letter: DeadLetter) -> bool:
        asked = (self.reason, letter.reason), (self.code, letter.code), (self.field, letter.field)
        if any(want not in (None, has) for want, has in (*asked, (self.topic, letter.topic))):
            return False
        if self.from_ms is None and self.to_ms is None:
            return True
        at_ms = parse_ms(letter.at)
        return (self.from_ms or 0) <= at_ms and (self.to_ms is None or at_ms < self.to_ms)


_ALL = Wanted()


class TooMany(Exception):
    """More letters would have to be looked at than may be."""


class DeadLetters:
    """Opens a consumer for each page: few ask, and seldom. Raises KafkaError. Letters of users who were erased since
    aren't shown."""

    def __init__(self, client_options: Mapping[str, Any], erased: ErasedUsers) -> None:
        self._options = client_options
        self._erased = erased

    async def newest(
        self, limit: int, cursor: str | None = None, wanted: Wanted = _ALL
    ) -> tuple[list[Letter], str | None]:
        """At most ``limit`` letters, newest first, and where to go on (None: there are no older ones). There may be
        fewer although there are older ones, where many had to be passed over.

        Raises ValueError for a cursor that isn't one of ours.
        """
        before = _ends_in(cursor)
        async with open_reader(self._options, DEAD) as consumer:
            letters, following = await _page(consumer, limit, before, wanted)
            return [letter for letter in letters if not is_of_erased(letter.letter, self._erased)], following

    async def matching(self, wanted: Wanted, most: int) -> AsyncIterator[Letter]:
        """All of them that are there now, those of erased users included, partition by partition. Raises TooMany before
        more than ``most`` letters are looked at."""
        async with open_reader(self._options, DEAD) as consumer:
            partitions = sorted(consumer.assignment())
            starts, ends = await _bounds(consumer, partitions, wanted)
            if sum(ends[at] - start for at, start in starts.items()) > most:
                raise TooMany
            for at in partitions:
                async for record in _records(consumer, at, starts[at], ends[at]):
                    letter = _letter(record)
                    if letter is not None and wanted.takes(letter.letter):
                        yield letter

    async def by_id(self, places: Iterable[tuple[int, int]]) -> AsyncIterator[Letter]:
        """Those of these places (partition, offset) that are there."""
        asked: dict[int, set[int]] = {}
        for partition, offset in places:
            asked.setdefault(partition, set()).add(offset)
        async with open_reader(self._options, DEAD) as consumer:
            for at in sorted(consumer.assignment()):
                if offsets := sorted(asked.get(at.partition, ())):
                    async for letter in _letters_at(consumer, at, offsets):
                        yield letter


async def _bounds(
    consumer: LogConsumer, partitions: list[TopicPartition], wanted: Wanted
) -> tuple[dict[TopicPartition, int], dict[TopicPartition, int]]:
    """Where what is wanted begins and ends, by the times of the letters' records."""
    starts = await consumer.beginning_offsets(partitions)
    ends = await consumer.end_offsets(partitions)
    if wanted.from_ms is not None:
        since = await _since(consumer, partitions, wanted.from_ms - _CLOCKS_MS)
        starts = {at: min(ends[at], since.get(at, ends[at])) for at in partitions}
    if wanted.to_ms is not None:
        since = await _since(consumer, partitions, wanted.to_ms + _CLOCKS_MS)
        ends = {at: max(starts[at], min(ends[at], since.get(at, ends[at]))) for at in partitions}
    return starts, ends


async def _since(consumer: LogConsumer, partitions: list[TopicPartition], ms: int) -> dict[TopicPartition, int]:
    found = await consumer.offsets_for_times(dict.fromkeys(partitions, max(0, ms)))
    return {at: there.offset for at, there in found.items() if there is not None}


async def _letters_at(consumer: LogConsumer, at: TopicPartition, offsets: list[int]) -> AsyncIterator[Letter]:
    """``offsets``: ascending. Neighbours are read together."""
    start = (await consumer.beginning_offsets([at]))[at]
    end = (await consumer.end_offsets([at]))[at]
    runs: list[list[int]] = []
    for offset in (offset for offset in offsets if start <= offset < end):
        if runs and offset - runs[-1][-1] <= _NEAR:
            runs[-1].append(offset)
        else:
            runs.append([offset])
    for run in runs:
        wanted = set(run)
        async for record in _records(consumer, at, run[0], run[-1] + 1):
            if record.offset in wanted and (letter := _letter(record)) is not None:
                yield letter


async def _page(
    consumer: LogConsumer, limit: int, before: Mapping[int, int] | None, wanted: Wanted
) -> tuple[list[Letter], str | None]:
    partitions = sorted(consumer.assignment())
    starts, ends = await _bounds(consumer, partitions, wanted)
    if before is not None:
        ends = {at: max(starts[at], min(end, before.get(at.partition, end))) for at, end in ends.items()}
    stop = sum(ends.values()) - _MOST_LOOKED_AT
    more, letters = any(ends[at] > start for at, start in starts.items()), list[Letter]()
    while more and len(letters) < limit and sum(ends.values()) > stop:  # (offsets need not have records)
        left = limit - len(letters)
        page, ends = await _newest(consumer, left if wanted == _ALL else max(left, _PIECE), left, starts, ends, wanted)
        letters += page
        more = any(ends[at] > start for at, start in starts.items())
    return letters, _cursor({at.partition: end for at, end in ends.items()}) if more else None


async def _newest(
    consumer: LogConsumer,
    looked_at: int,
    limit: int,
    starts: Mapping[TopicPartition, int],
    ends: Mapping[TopicPartition, int],
    wanted: Wanted,
) -> tuple[list[Letter], dict[TopicPartition, int]]:
    """The newest letters among so many records before these ends, and the ends of what is left."""
    left = {at: max(starts[at], end - looked_at) for at, end in ends.items()}
    read: dict[TopicPartition, list[ConsumerRecord]] = {at: [] for at in ends}
    async for records in read_spans(consumer, {at: (left[at], end) for at, end in ends.items()}):
        for record in records:
            read[TopicPartition(record.topic, record.partition)].append(record)
    found: list[tuple[int, int, int, Letter | None]] = []
    for each in read.values():
        moment = maxsize  # (a partition's letters stay in its order, whatever their clocks said)
        for record in reversed(each):
            moment = min(moment, record.timestamp)
            letter = _letter(record)
            taken = letter if letter is not None and wanted.takes(letter.letter) else None
            found.append((moment, record.partition, record.offset, taken))
    found.sort(key=lambda one: one[:3], reverse=True)
    page: list[Letter] = []
    for number, (_, _, _, letter) in enumerate(found):
        if len(page) == limit or number == looked_at:  # what is older waits for the next page, or the next look
            for _, partition, offset, _ in found[number:]:
                at = TopicPartition(DEAD, partition)
                left[at] = max(left[at], offset + 1)
            break
        if letter is not None:
            page.append(letter)
    return page, left


async def _records(consumer: LogConsumer, at: TopicPartition, start: int, end: int) -> AsyncIterator[ConsumerRecord]:
    async for records in read_spans(consumer, {at: (start, end)}):
        for record in records:
            yield record


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
        raise ValueError("not a valid cursor") from None
