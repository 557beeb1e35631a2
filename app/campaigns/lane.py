"""How far the routers are behind on the bulk lane: campaigns give way to what waits there."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

from aiokafka import TopicPartition

from app.kafka.reading import open_reader
from app.store.groups import committed_offsets
from schemas.topics import EVENTS_BULK

MOST_RECORDS = 100_000
MOST_AGE_MS = 60_000
ROUTERS: Final = "tocsin_router"
#: An answer is good for so long.
_LOOK_EVERY_S = 1.0


def is_behind(
    committed: Mapping[Any, int], begins: Mapping[Any, int], ends: Mapping[Any, int], old: Mapping[Any, int]
) -> bool:
    """All by partition, offsets. ``committed``: where the routers are; ``old``: where the first record lies that isn't
    older than ``MOST_AGE_MS``."""
    at = {place: max(committed.get(place, 0), begins[place]) for place in ends}
    records = sum(max(0, ends[place] - at[place]) for place in ends)
    return records > MOST_RECORDS or any(at[place] < min(old[place], ends[place]) for place in ends)


class BulkLane:
    """``clock``: Unix milliseconds."""

    def __init__(self, client_options: Mapping[str, Any], partitions: int, clock: Callable[[], int]) -> None:
        self._options = client_options
        self._places = [TopicPartition(EVENTS_BULK, number) for number in range(partitions)]
        self._clock = clock
        self._looked: float | None = None
        self._behind = False
        self._looking = asyncio.Lock()

    async def is_behind(self) -> bool:
        """As it was a moment ago. Raises KafkaError."""
        async with self._looking:
            now = asyncio.get_running_loop().time()
            if self._looked is None or now - self._looked >= _LOOK_EVERY_S:
                self._behind = await self._look()
                self._looked = now
        return self._behind

    async def _look(self) -> bool:
        committed = await committed_offsets(self._options, ROUTERS)
        async with open_reader(self._options) as reader:
            begins = await reader.beginning_offsets(self._places)
            ends = await reader.end_offsets(self._places)
            found = await reader.offsets_for_times(dict.fromkeys(self._places, self._clock() - MOST_AGE_MS))
        old = {place: at.offset if (at := found[place]) is not None else ends[place] for place in self._places}
        return is_behind(committed, begins, ends, old)
