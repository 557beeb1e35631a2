"""What workers announce of themselves again and again: signed with the installation's secret, and good for a short
time (``app/domain/announcing.py``). Of each worker the latest announcement counts."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Generic, Literal, NamedTuple, Protocol, TypeVar

import structlog
from msgspec import json

from app.domain import announcing
from app.ports import LogRecord, Publisher
from app.store.publisher import PublishError
from schemas.decode import Invalid, Reader

log = structlog.get_logger(__name__)

HEARTBEAT_S = 5.0

#: Why an announcement doesn't count. ``untrusted``: nobody with the installation's secret made it; ``ahead``: its time
#: is yet to come; ``behind``: it is old; ``replayed``: it is no newer than what was heard of the worker;
#: ``unreadable``: signed, and of another form.
Refusal = Literal["untrusted", "ahead", "behind", "replayed", "unreadable"]
REFUSALS: tuple[Refusal, ...] = ("untrusted", "ahead", "behind", "replayed", "unreadable")
_IN_WORDS: Mapping[Refusal, str] = {
    "untrusted": "not signed with this installation's secret: all processes need the same installation.secret",
    "ahead": "dated in the future: the clocks of all machines must agree",
    "behind": "more than 15 s old: it came late, is a copy, or the clocks of two machines don't agree",
    "replayed": "no newer than what was announced before",
    "unreadable": "not understood: it is of another version",
}


class Announcement(Protocol):
    """What a worker announces. ``key``: names the worker; ``at``: Unix milliseconds, by its own clock."""

    @property
    def key(self) -> bytes: ...

    @property
    def at(self) -> int: ...


T = TypeVar("T", bound=Announcement)


async def keep_announcing(
    publisher: Publisher,
    topic: str,
    describe: Callable[[int], Announcement],
    changed: asyncio.Event,
    secret: bytes,
    clock: Callable[[], int],
) -> None:
    """Announces until cancelled, at each heartbeat and at once when ``changed`` is set; then takes it back.
    ``describe``: what is true at a time; ``clock``: Unix milliseconds."""
    at = clock()
    key = describe(at).key
    try:
        while True:
            changed.clear()
            await publish_signed(publisher, topic, key, json.encode(describe(at)), secret, at)
            with suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), HEARTBEAT_S)
            at = max(clock(), at + 1)  # none says it is as old as the one before
    finally:
        await publish_signed(publisher, topic, key, None, secret, max(clock(), at + 1))


async def publish_signed(
    publisher: Publisher, topic: str, key: bytes, value: bytes | None, secret: bytes, at: int
) -> None:
    """What can't be published now is announced again at the next heartbeat."""
    headers = [(announcing.HEADER, announcing.signed(secret, key, value, at))]
    try:
        await publisher.publish(topic, key, value, headers=headers)
    except PublishError as error:
        log.warning("can't publish an announcement", topic=topic, error=str(error))


class _Latest(NamedTuple, Generic[T]):
    """What was announced last of a worker. ``announced`` None: it has left."""

    at: int
    announced: T | None


class Announced(Generic[T]):
    """What workers have announced lately, as far as it can be trusted. ``clock``: Unix milliseconds; ``on_refused`` is
    called for each announcement that doesn't count. ``is_live``: what is read was just written; before, the topic is
    read from its start, where much is old."""

    def __init__(
        self,
        read: Reader[T],
        secret: bytes,
        clock: Callable[[], int],
        on_refused: Callable[[Refusal], None] = lambda _: None,
    ) -> None:
        self.is_live = False
        self._read = read
        self._secret = secret
        self._clock = clock
        self._on_refused = on_refused
        self._latest: dict[bytes, _Latest[T]] = {}
        self._read_to = -1

    def take(self, record: LogRecord) -> None:
        now = self._clock()
        was_just_written = self.is_live or record.timestamp >= now - announcing.SILENT_MS
        is_news = was_just_written and record.offset > self._read_to  # else the topic is read anew
        self._read_to = max(self._read_to, record.offset)
        why = self._accept(record, now)
        if why is not None and is_news:
            self._on_refused(why)
            log.warning("refused an announcement", topic=record.topic, why=_IN_WORDS[why], offset=record.offset)

    def lately(self) -> list[T]:
        """Of all workers whose latest announcement is recent."""
        since = self._clock() - announcing.SILENT_MS
        lately = (latest.announced for latest in self._latest.values() if latest.at >= since)
        return [announced for announced in lately if announced is not None]

    def _accept(self, record: LogRecord, now: int) -> Refusal | None:
        key, since = record.key or b"", now - announcing.SILENT_MS
        at = announcing.announced_at(self._secret, key, record.value, record.headers)
        if at is None:
            return "untrusted"
        if at > now + announcing.SILENT_MS:
            return "ahead"
        if at < since:
            return "behind"
        if key in self._latest and at <= self._latest[key].at:
            return "replayed"
        try:
            announced = None if record.value is None else self._read(record.value)
        except Invalid:
            return "unreadable"
        # What is older doesn't count any more, whoever repeats it.
        self._latest = {name: latest for name, latest in self._latest.items() if latest.at >= since}
        self._latest[key] = _Latest(at, announced)
        return None
