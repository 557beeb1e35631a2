"""How many records each role has yet to read: between what its consumer group has committed and the ends of its topics.

A group commits at its checkpoints, so a role that keeps up shows what came in the last moment. The hooks are left out:
each keeps its own place, and their group commits nothing.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import structlog
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from app.kafka.reading import open_reader
from app.store.groups import committed_by_group
from schemas.topics import COMMANDS, EVENT_TOPICS, LIFECYCLE, RECEIPTS, SEND_TOPICS

log = structlog.get_logger(__name__)

#: By role, the topics that bring its work. Its consumer group is named after it.
TOPICS: Final[Mapping[str, Sequence[str]]] = {
    "router": (*EVENT_TOPICS, COMMANDS, RECEIPTS),
    **{str(channel): lanes for channel, lanes in SEND_TOPICS.items()},
    "analytics": (LIFECYCLE,),
}
#: For so long nobody asks again; so old, an answer isn't shown any more, and so long Kafka may take.
_LOOK_EVERY_S, _GOOD_FOR_S, _PATIENCE_S = 2.0, 10.0, 10.0

Offsets = Mapping[TopicPartition, int]


def group_of(role: str) -> str:
    return f"tocsin_{role}"


def lag_of(places: Iterable[TopicPartition], committed: Offsets, begins: Offsets, ends: Offsets) -> int:
    """What was never committed begins at the first record that is still there; what is no longer there isn't waited
    for."""
    return sum(max(0, ends[place] - max(committed.get(place, 0), begins[place])) for place in places)


class RoleLags:
    """Asks Kafka when somebody wants to know, and not more than every 2 seconds. ``partitions``: of each topic."""

    def __init__(self, client_options: Mapping[str, Any], partitions: int, monotonic: Callable[[], float]) -> None:
        self._options = client_options
        self._places = {
            role: [TopicPartition(topic, number) for topic in topics for number in range(partitions)]
            for role, topics in TOPICS.items()
        }
        self._monotonic = monotonic
        self._looked = 0.0
        self._found: dict[str, int] = {}
        self._found_at = 0.0
        #: Whether Kafka could be asked, the last time.
        self.is_answered = True
        self._looking: asyncio.Task[None] | None = None

    def by_role(self) -> Mapping[str, int]:
        """As it was a moment ago; nothing where Kafka hasn't answered for a while. Whoever asks doesn't wait for
        Kafka: it is asked meanwhile, for whoever asks next."""
        now = self._monotonic()
        if self._looking is None or (self._looking.done() and now - self._looked >= _LOOK_EVERY_S):
            self._looked = now
            self._looking = asyncio.create_task(self._refresh())
        return self._found if now - self._found_at < _GOOD_FOR_S else {}

    async def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    async def _refresh(self) -> None:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                self._found = await self._look()
            self._found_at, self.is_answered = self._monotonic(), True
        except (KafkaError, TimeoutError, OSError) as error:
            self._found, self.is_answered = {}, False
            log.warning("can't ask Kafka how far the roles are", reason=str(error) or type(error).__name__)
        except Exception:
            self._found, self.is_answered = {}, False
            log.exception("asking Kafka how far the roles are failed")

    async def _look(self) -> dict[str, int]:
        groups = [group_of(role) for role in self._places]
        committed, (begins, ends) = await asyncio.gather(committed_by_group(self._options, groups), self._bounds())
        return {role: lag_of(places, committed[group_of(role)], begins, ends) for role, places in self._places.items()}

    async def _bounds(self) -> tuple[Offsets, Offsets]:
        places = list(dict.fromkeys(place for each in self._places.values() for place in each))
        async with open_reader(self._options) as reader:
            return await reader.beginning_offsets(places), await reader.end_offsets(places)
