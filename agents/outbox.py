"""The outbox relay: brings requests from a service's database to the event topics, at least once and in order.

A slot of users is locked while its rows are produced and marked in one transaction. A relay that dies in between leaves
them waiting; the next one produces them again, with the same keys, and the router drops what it had.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from app.domain.outbox import event_record, words
from app.metrics import OutboxMetrics
from app.store.outbox import OUTAGE, Claim, Outbox, OutboxRow
from app.store.publisher import KafkaPublisher, Outgoing, PublishError
from schemas.decode import Invalid
from schemas.instants import rfc3339, to_ms

log = structlog.get_logger(__name__)

BATCH = 500
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0
_LOOK_EVERY_S = 10.0
_AWAY: tuple[type[Exception], ...] = (*OUTAGE, PublishError)


class Opening(Protocol):
    async def __call__(self) -> Outbox: ...


@dataclass(frozen=True, slots=True)
class Relaying:
    """``source``: of all requests. ``once``: until nothing waits, else for ever. ``poll_s``: between two looks when
    nothing waits. ``kept_s``: relayed rows are deleted after that time."""

    source: str
    once: bool = False
    poll_s: float = 0.5
    kept_s: float = 7 * 86_400.0


@dataclass(slots=True)
class Relay:
    """``clock``: Unix ms."""

    open: Opening
    publisher: KafkaPublisher
    how: Relaying
    metrics: OutboxMetrics
    clock: Callable[[], int]
    relayed: int = 0
    refused: int = 0
    _looked_at: float = field(default=float("-inf"))
    _pause_s: float = _FIRST_PAUSE_S

    async def run(self, stop: asyncio.Event, ready: Callable[[], None]) -> None:
        """Until ``stop``, or with ``once`` until nothing waits. A database or a Kafka that is away is waited
        for. Raises OutboxRefused."""
        while not stop.is_set():
            try:
                outbox = await self.open()
                try:
                    ready()
                    await self._work(outbox, stop)
                    return
                finally:
                    with suppress(*OUTAGE):
                        await outbox.close()
            except _AWAY as error:
                self.metrics.retries.inc()
                log.warning("the outbox waits", error=type(error).__name__, again_in_s=self._pause_s)
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), self._pause_s)
                self._pause_s = min(self._pause_s * 2, _LONGEST_PAUSE_S)

    async def _work(self, outbox: Outbox, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await self._look(outbox)
            over = await self._relay(outbox)
            self._pause_s = _FIRST_PAUSE_S
            if over:
                continue
            if self.how.once and not (await outbox.lag()).waiting:
                return
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), self.how.poll_s)

    async def _relay(self, outbox: Outbox) -> int:
        """How many rows were over."""
        async with outbox.claimed(BATCH) as claim:
            return await self._produce(claim)

    async def _produce(self, claim: Claim) -> int:
        records, relayed, refused = list[Outgoing](), list[int](), dict[int, str]()
        for row in claim.rows:
            record = self._record(row)
            if isinstance(record, str):
                refused[row.id] = record
                log.warning("a row of the outbox is refused", id=row.id, why=record)
            else:
                records.append(record)
                relayed.append(row.id)
        if records:
            await self.publisher.publish_many(records)
        await claim.settle(relayed, refused)
        self.metrics.count(len(relayed), len(refused))
        self.relayed += len(relayed)
        self.refused += len(refused)
        return len(claim.rows)

    def _record(self, row: OutboxRow) -> Outgoing | str:
        """The row's record, or why there can't be one: whatever a row holds, those behind it go on."""
        created_at = None if row.created_at is None else rfc3339(to_ms(row.created_at))
        try:
            return Outgoing(
                *event_record(row.user_id, row.request, row.idempotency_key, created_at, self.how.source, self.clock())
            )
        except Invalid as invalid:
            return words(invalid)
        except Exception:
            log.exception("a row of the outbox can't be read", id=row.id)
            return "internal error: the relay's log says more"

    async def _look(self, outbox: Outbox) -> None:
        """Now and then: how much waits, and what may be deleted."""
        now = asyncio.get_running_loop().time()
        if now - self._looked_at < _LOOK_EVERY_S:
            return
        lag = await outbox.lag()
        self.metrics.show(lag.waiting, lag.oldest_s)
        # Where more is to be deleted it looks again after the next batch.
        self._looked_at = float("-inf") if await outbox.purge(self.how.kept_s) else now
