"""Reading sends back from the send topics without a group: what a recipient's channels were asked to bring."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple

from aiokafka import TopicPartition

from app.domain.ids import partition_of_send
from app.kafka.consumers import LogConsumer
from app.kafka.reading import open_reader, read_spans
from app.store.erased import ErasedUsers
from schemas.decode import Invalid
from schemas.sends import Send, read_send
from schemas.topics import SEND_TOPICS
from schemas.words import Channel

#: Of one recipient's notification.
MOST_SENDS: Final = 50
#: By so much a record may be older than the event that tells of it.
_CLOCKS_MS = 1000
#: Records that are looked at in one partition of one topic.
_MOST_LOOKED_AT = 20_000
_WITHIN_S = 15.0


class Queued(NamedTuple):
    """A send that was queued, and when (Unix ms)."""

    send_id: str
    channel: Channel
    at_ms: int


class RecordedSends:
    """Opens a consumer for each look: few ask, and seldom. What was recorded of users before they were erased isn't
    shown. Raises KafkaError, TimeoutError."""

    def __init__(self, client_options: Mapping[str, Any], erased: ErasedUsers) -> None:
        self._options = client_options
        self._erased = erased

    async def of(self, user_id: str, asked: Sequence[Queued]) -> dict[str, Send]:
        """By id, those that the topics still hold: at most the first ``MOST_SENDS``."""
        wanted = {each.send_id: each for each in asked[:MOST_SENDS]}
        if not wanted:
            return {}
        topics = sorted({topic for each in wanted.values() for topic in SEND_TOPICS[each.channel]})
        async with asyncio.timeout(_WITHIN_S), open_reader(self._options, *topics) as consumer:
            spans = await _spans(consumer, list(wanted.values()))
            return await self._found(consumer, spans, user_id, set(wanted))

    async def _found(
        self, consumer: LogConsumer, spans: dict[TopicPartition, tuple[int, int]], user_id: str, wanted: set[str]
    ) -> dict[str, Send]:
        found: dict[str, Send] = {}
        async for records in read_spans(consumer, spans):
            for record in records:
                with suppress(Invalid):
                    send = read_send(record.value or b"")
                    if isinstance(send, Send) and send.user_id == user_id and send.send_id in wanted:
                        found[send.send_id] = send
            if found.keys() >= wanted:
                break
        return {name: send for name, send in found.items() if not self._erased.hides(user_id, send.accepted_at)}


async def _spans(consumer: LogConsumer, wanted: Sequence[Queued]) -> dict[TopicPartition, tuple[int, int]]:
    """Where they may lie: in the partition that the id names, on any lane of the channel, from when they were queued
    on."""
    since: dict[TopicPartition, int] = {}
    for each in wanted:
        for topic in SEND_TOPICS[each.channel]:
            place = TopicPartition(topic, partition_of_send(each.send_id) or 0)
            if place in consumer.assignment():
                since[place] = max(0, min(since.get(place, each.at_ms), each.at_ms - _CLOCKS_MS))
    if not since:
        return {}
    first, ends = await consumer.offsets_for_times(since), await consumer.end_offsets(list(since))
    starts = {place: found.offset for place, found in first.items() if found is not None}
    return {place: (start, min(ends[place], start + _MOST_LOOKED_AT)) for place, start in starts.items()}
