"""Writes the receipts of opens and clicks beside the answers, which never wait for the log."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Hashable
from contextlib import suppress

import structlog
from aiokafka.errors import KafkaError

from app.store.publisher import KafkaPublisher, Outgoing, PublishError
from schemas.receipts import Receipt, encode_receipt
from schemas.topics import RECEIPTS

log = structlog.get_logger(__name__)

#: Receipts that may wait for the log. More are given up: an open is worth less than a gateway.
_MAX_WAITING = 10_000
_AT_ONCE = 200
#: The same of a send again within so many seconds is the same open or click: programs fetch a picture several times.
_AGAIN_S = 10.0
_REMEMBERED = 50_000
#: After so long without the log the next ones are tried.
_PAUSE_S = 1.0
_ATTEMPTS = 5
#: At the end, what waits gets so long.
_END_S = 3.0


class Reporter:
    """``clock``: seconds of a clock that nobody sets."""

    def __init__(self, publisher: KafkaPublisher, clock: Callable[[], float]) -> None:
        self._publisher = publisher
        self._clock = clock
        self._waiting: asyncio.Queue[Receipt] = asyncio.Queue(_MAX_WAITING)
        self._latest: OrderedDict[Hashable, float] = OrderedDict()
        self._task: asyncio.Task[None] | None = None
        self._lost = 0

    async def start(self) -> None:
        self._task = asyncio.create_task(self._write())

    async def close(self) -> None:
        """Writes what waits, if that doesn't take long."""
        if self._task is None:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(_END_S):
                await self._waiting.join()
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    def report(self, what: Hashable, receipt: Receipt) -> None:
        """Takes a receipt and returns at once. ``what``: names the open or click, so that its repeats are known."""
        now = self._clock()
        while self._latest and next(iter(self._latest.values())) <= now - _AGAIN_S:
            self._latest.popitem(last=False)
        if what in self._latest:
            return
        if len(self._latest) < _REMEMBERED:
            self._latest[what] = now
        try:
            self._waiting.put_nowait(receipt)
        except asyncio.QueueFull:
            self._give_up(1, "too many wait for the log")

    async def _write(self) -> None:
        while True:
            receipts = [await self._waiting.get()]
            while len(receipts) < _AT_ONCE and not self._waiting.empty():
                receipts.append(self._waiting.get_nowait())
            try:
                await self._publish(receipts)
            except Exception as error:
                log.exception("opens and clicks can't be written", exc_info=error)
                self._give_up(len(receipts), type(error).__name__)
            finally:
                for _ in receipts:
                    self._waiting.task_done()

    async def _publish(self, receipts: list[Receipt]) -> None:
        """The same receipt twice is one event, so what may be in the log is written again."""
        records = [Outgoing(RECEIPTS, str(each.user_id).encode(), encode_receipt(each)) for each in receipts]
        for _ in range(_ATTEMPTS):
            try:
                positions = await self._publisher.publish_each(records)
                records = [record for record, at in zip(records, positions, strict=True) if at is None]
            except (KafkaError, PublishError, TimeoutError) as error:
                log.warning("opens and clicks wait for the log", number=len(records), reason=type(error).__name__)
            except Exception as error:
                log.exception("opens and clicks wait for the log", number=len(records), exc_info=error)
            if not records:
                return
            await asyncio.sleep(_PAUSE_S)
        self._give_up(len(records), "the log doesn't take them")

    def _give_up(self, number: int, why: str) -> None:
        self._lost += number
        log.warning("opens and clicks are lost", number=number, in_all=self._lost, reason=why)
