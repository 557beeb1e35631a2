"""Which gateway runs the jobs of a kind: Kafka decides.

The gateways are a consumer group on the topic of these jobs, whose one partition belongs to one of them at a time.
Where it is killed another takes over, or the same one when it is back.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

import structlog
from aiokafka import ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaError

from app.kafka.consumers import LogConsumer

log = structlog.get_logger(__name__)

#: How long a killed owner keeps the partition.
_SESSION_MS = 6_000
_POLL_MS = 500
_BACKOFF_S = 1.0


class Owner(ConsumerRebalanceListener):  # type: ignore[misc]
    """Has ``work`` done for as long as the topic's partition is this gateway's. ``work`` goes on until it is
    cancelled."""

    def __init__(
        self, client_options: Mapping[str, Any], topic: str, group: str, work: Callable[[], Coroutine[Any, Any, None]]
    ) -> None:
        self._options = client_options
        self._topic, self._group = topic, group
        self._work = work
        self._joining: asyncio.Task[None] | None = None
        self._working: asyncio.Task[None] | None = None

    @property
    def owns(self) -> bool:
        return self._working is not None

    async def start(self) -> None:
        self._joining = asyncio.create_task(self._join(), name=f"join {self._group}")

    async def close(self) -> None:
        if self._joining is not None:
            self._joining.cancel()
            await asyncio.gather(self._joining, return_exceptions=True)
        await self._rest()

    async def _join(self) -> None:
        while True:
            try:
                await self._stay()
            except KafkaError as error:
                log.warning("no job can be run here", group=self._group, error=type(error).__name__)
            await self._rest()
            await asyncio.sleep(_BACKOFF_S)

    async def _stay(self) -> None:
        consumer = LogConsumer(
            **self._options,
            group_id=self._group,
            auto_offset_reset="latest",
            session_timeout_ms=_SESSION_MS,
            heartbeat_interval_ms=_SESSION_MS // 3,
        )
        try:
            await consumer.start()
            consumer.subscribe([self._topic], listener=self)
            while True:
                await consumer.getmany(timeout_ms=_POLL_MS)  # what it holds is followed elsewhere
        finally:
            await consumer.stop()

    async def on_partitions_revoked(self, revoked: Sequence[TopicPartition]) -> None:
        await self._rest()

    async def on_partitions_assigned(self, assigned: Sequence[TopicPartition]) -> None:
        await self._rest()
        if assigned:
            log.info("this gateway runs the jobs", topic=self._topic)
            self._working = asyncio.create_task(self._go_on(), name=f"run {self._topic}")

    async def _go_on(self) -> None:
        """The work, begun anew where a surprise ended it: nobody else does it while the partition is here."""
        while True:
            try:
                await self._work()
            except Exception:
                log.exception("the jobs begin anew", topic=self._topic, after_s=_BACKOFF_S)
            await asyncio.sleep(_BACKOFF_S)

    async def _rest(self) -> None:
        working, self._working = self._working, None
        if working is not None:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
