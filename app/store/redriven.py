"""Which dead letters were put back, by their ids: followed by every gateway."""

from collections.abc import Mapping, Sequence
from typing import Any

import structlog

from app.ports import LogRecord
from app.store.follower import TopicFollower
from app.store.publisher import KafkaPublisher, Outgoing
from schemas.decode import Invalid
from schemas.redriven import Redriven, encode_redriven, read_redriven
from schemas.topics import REDRIVEN

log = structlog.get_logger(__name__)


class RedrivenLetters:
    """A few hundred bytes for each letter that was put back in the time that letters are kept."""

    def __init__(self, client_options: Mapping[str, Any], publisher: KafkaPublisher) -> None:
        self._publisher = publisher
        self._follower = TopicFollower(client_options, REDRIVEN, self.take)
        self._known: dict[str, Redriven] = {}

    async def start(self) -> None:
        """Raises KafkaError, LookupError for no topic."""
        await self._follower.start()

    async def close(self) -> None:
        await self._follower.close()

    def of(self, letter_id: str) -> Redriven | None:
        return self._known.get(letter_id)

    def take(self, record: LogRecord) -> None:
        """Takes the next record of the topic. Of several of one letter, the first holds."""
        try:
            self._known.setdefault((record.key or b"").decode(), read_redriven(record.value or b""))
        except (Invalid, UnicodeDecodeError) as invalid:
            log.warning("what was redriven can't be read", offset=record.offset, reason=str(invalid))

    async def add(self, redriven: Sequence[tuple[str, Redriven]]) -> None:
        """Returns when they are acknowledged and known here. Raises PublishError, TimeoutError."""
        records = [Outgoing(REDRIVEN, letter_id.encode(), encode_redriven(each)) for letter_id, each in redriven]
        positions = await self._publisher.publish_many(records)
        await self._follower.reached(max(offset for _, offset in positions))
