"""The recipients of all campaigns that go on, read by the gateway that runs them."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import structlog
from aiokafka import TopicPartition
from aiokafka.structs import ConsumerRecord
from msgspec.structs import replace

from app.campaigns.jobs import Jobs
from app.campaigns.listing import Listing
from app.kafka.consumers import LogConsumer
from app.kafka.reading import open_reader
from app.store.erased import ErasedUsers
from app.store.publisher import Outgoing
from schemas.campaigns import PARTITION, Chunk, encode_campaign, read_chunk
from schemas.decode import Invalid
from schemas.topics import CAMPAIGN_RECIPIENTS

log = structlog.get_logger(__name__)

_PLACE = TopicPartition(CAMPAIGN_RECIPIENTS, PARTITION)
_POLL_MS = 200
#: Chunks that are taken in one go, in a thread.
_AT_ONCE = 20
#: Written now and then, so that the broker closes the segment before it, and compacts it.
TICK = b"tick"


class Publishing(Protocol):
    async def publish_many(self, records: Sequence[Outgoing]) -> list[tuple[int, int]]: ...


class Recipients:
    """``folder``: for the campaigns' files. One reader, until it is closed."""

    def __init__(
        self,
        client_options: Mapping[str, Any],
        publisher: Publishing,
        jobs: Jobs,
        erased: ErasedUsers,
        folder: Path,
    ) -> None:
        self._options = client_options
        self._publisher = publisher
        self._jobs = jobs
        self._erased = erased
        self._folder = folder
        self._listings: dict[str, Listing] = {}
        self._reader = LogConsumer(**client_options, group_id=None, auto_offset_reset="earliest")
        self._position = 0
        self._moved = asyncio.Condition()
        self._lock = asyncio.Lock()
        #: Chunks of campaigns that have ended: their keys.
        self._stale: set[bytes] = set()
        self._forgotten: set[tuple[bytes, int | None]] = set()

    async def follow(self) -> None:
        """Reads for as long as nobody cancels it. Raises KafkaError."""
        await asyncio.to_thread(_leave_nothing, self._folder)
        await self._reader.start()
        try:
            self._reader.assign([_PLACE])
            await self._reader.seek_to_beginning(_PLACE)
            while True:
                fetched = await self._reader.getmany(timeout_ms=_POLL_MS, max_records=_AT_ONCE)
                for records in fetched.values():
                    await self._take(records)
                async with self._moved:
                    self._position = await self._reader.position(_PLACE)
                    self._moved.notify_all()
        finally:
            await self._reader.stop()
            for listing in self._listings.values():
                listing.close()
            self._listings.clear()

    async def caught_up(self) -> None:
        """Returns when all that is there now has been read. Raises KafkaError."""
        async with open_reader(self._options) as reader:
            end = (await reader.end_offsets([_PLACE]))[_PLACE]
        await self.reached(end - 1)

    async def reached(self, offset: int) -> None:
        async with self._moved:
            await self._moved.wait_for(lambda: self._position > offset)

    @property
    def position(self) -> int:
        """The offset up to which it has read."""
        return self._position

    async def moved(self) -> None:
        """Returns when more has been read."""
        async with self._moved:
            before = self._position
            await self._moved.wait_for(lambda: self._position != before)

    def of(self, name: str) -> Listing:
        """The campaign's."""
        if name not in self._listings:
            self._listings[name] = Listing(self._folder / f"{name}.db")
        return self._listings[name]

    async def ask(self, name: str, question: Any, *given: Any) -> Any:
        """What a method of the campaign's listing answers, in a thread."""
        async with self._lock:
            return await asyncio.to_thread(question, self.of(name), *given)

    async def _take(self, records: Sequence[ConsumerRecord]) -> None:
        async with self._lock:
            await asyncio.to_thread(self._take_all, records)

    def _take_all(self, records: Sequence[ConsumerRecord]) -> None:
        for record in records:
            key: bytes = record.key or b""
            if record.value is None or key == TICK:
                self._stale.discard(key)
                continue
            name = key.partition(b"/")[0].decode(errors="replace")
            known = self._jobs.get(name)
            if known is not None and known.has_ended:
                self._stale.add(key)
                continue
            try:
                chunk = read_chunk(record.value)
            except Invalid as invalid:
                log.warning("recipients can't be read", offset=record.offset, reason=str(invalid))
                continue
            at: int = record.timestamp
            self.of(name).take(record.offset, key, at, chunk, partial(self._is_erased, at))

    def _is_erased(self, at: int, user_id: str) -> bool:
        return self._erased.hides(user_id, at)

    # --- what must go ---

    async def drop(self, name: str) -> None:
        """The campaign has ended: nobody asks for its recipients any more."""
        async with self._lock:
            listing = self._listings.pop(name, None)
            if listing is not None:
                self._stale.update(await asyncio.to_thread(listing.chunks))
                listing.close()

    async def keep_house(self) -> None:
        """Deletes what is left of campaigns that have ended, and the data of users who were erased. Raises
        PublishError, KafkaError."""
        while stale := sorted(self._stale)[:500]:
            await self._publisher.publish_many(
                [Outgoing(CAMPAIGN_RECIPIENTS, key, None, partition=PARTITION) for key in stale]
            )
            self._stale.difference_update(stale)
        await self._forget()

    async def _forget(self) -> None:
        known = set(self._erased.known())
        if not (new := known - self._forgotten):
            return
        for name in list(self._listings):
            for offset in await self.ask(name, Listing.forget, new):
                await self._rewrite(offset)
        self._forgotten = known

    async def _rewrite(self, offset: int) -> None:
        """The same chunk without the data of whoever was erased since."""
        async with open_reader(self._options) as reader:
            reader.assign([_PLACE])
            reader.seek(_PLACE, offset)
            [record] = (await reader.getmany(_PLACE, timeout_ms=5_000, max_records=1)).get(_PLACE) or [None]
        if record is None or record.offset != offset or record.value is None:
            return  # a newer one is there already
        chunk = without_data(read_chunk(record.value), offset, partial(self._is_erased, record.timestamp))
        anew = Outgoing(
            CAMPAIGN_RECIPIENTS, record.key, encode_campaign(chunk), PARTITION, timestamp_ms=record.timestamp
        )
        await self._publisher.publish_many([anew])

    async def tick(self) -> None:
        await self._publisher.publish_many([Outgoing(CAMPAIGN_RECIPIENTS, TICK, b"{}", partition=PARTITION)])


def without_data(chunk: Chunk, offset: int, is_erased: Callable[[str], bool]) -> Chunk:
    """In the place of the one that lies at the offset."""
    rows = tuple(
        replace(row, data=None) if row.data is not None and is_erased(row.user_id) else row for row in chunk.rows
    )
    return replace(chunk, rows=rows, place=offset if chunk.place is None else chunk.place)


def _leave_nothing(folder: Path) -> None:
    """What a killed process left."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in folder.glob("*.db*"):
        file.unlink(missing_ok=True)
