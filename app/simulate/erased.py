"""Whose records must not be used: users who were erased, by whatever was said of it up to this moment."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiokafka import TopicPartition
from aiokafka.structs import ConsumerRecord

from app.kafka.consumers import LogConsumer
from app.ports import LogRecord
from app.simulate.recorded import open_reader
from schemas.commands import UserErase, read_command
from schemas.decode import Invalid
from schemas.topics import COMMANDS

_POLL_MS = 500


@dataclass(frozen=True, slots=True)
class _Erasure:
    partition: int
    offset: int
    timestamp: int


class Erasures:
    """The last erasure of each user, by the key of their records."""

    def __init__(self) -> None:
        self._last: dict[bytes, _Erasure] = {}

    def note(self, record: LogRecord) -> bool:
        """Takes a record of notify_commands; whether it erases someone."""
        if record.value is None or b"user.erase" not in record.value:
            return False
        try:
            command = read_command(record.value)
        except Invalid:
            return False
        if not isinstance(command, UserErase) or command.user_id is None:
            return False
        self._last[command.user_id.encode()] = _Erasure(record.partition, record.offset, record.timestamp)
        return True

    def hides(self, record: LogRecord) -> bool:
        """Whether the record speaks of a user who was erased after it."""
        last = self._last.get(record.key) if record.key is not None else None
        if last is None:
            return False
        if record.topic == COMMANDS and record.partition == last.partition:
            return record.offset < last.offset
        return record.timestamp <= last.timestamp

    def __contains__(self, user_id: object) -> bool:
        return str(user_id).encode() in self._last


class ErasuresFollower:
    """Reads notify_commands to its end, beyond any range that is simulated. Raises KafkaError."""

    def __init__(self, client_options: Mapping[str, Any], partitions: int) -> None:
        self.erasures = Erasures()
        self._options = client_options
        self._places = [TopicPartition(COMMANDS, number) for number in range(partitions)]
        self._consumer: LogConsumer | None = None

    async def start(self) -> None:
        self._consumer = await open_reader(self._options)
        self._consumer.assign(self._places)
        await self._consumer.seek_to_beginning()
        await self.refresh()

    async def close(self) -> None:
        if self._consumer is not None:
            await self._consumer.stop()

    async def refresh(self) -> list[ConsumerRecord]:
        """Reads to the end of what was said, and returns the erasures that are new."""
        consumer = self._consumer
        assert consumer is not None
        found: list[ConsumerRecord] = []
        ends = await consumer.end_offsets(self._places)
        while behind := [place for place in self._places if await consumer.position(place) < ends[place]]:
            for records in (await consumer.getmany(*behind, timeout_ms=_POLL_MS)).values():
                found += [record for record in records if self.erasures.note(record)]
        return found
