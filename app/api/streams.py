"""The live streams of users' inboxes: what each lacks, it gets, in order and once, and nobody waits for a slow one.

For each user somebody looks at there is one feed: what the topic says of that inbox lately, with the content of new
items, read from the owner once for all of the user's streams. A stream takes from it what comes next, at its own pace,
and what the feed no longer has (or never had) from the owner. So a feed may forget anything at any time, and a stream
that doesn't keep up holds one change, or one page of the owner's. Nothing here knows how a stream is written:
``app.api.inbox_stream`` does.
"""

import asyncio
import math
import random
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, Protocol, TypeVar, get_args

import msgspec
import structlog
from msgspec import Struct

from app.api.problems import Problem
from app.api.refusals import UNCOUNTED, Counting
from app.domain.inbox_events import ChangeEvents, Event, Recent, change_events, count_event, reset_event
from app.store.owner_client import OwnerRefusedError, OwnerUnavailableError
from schemas.inbox_changes import InboxChange

log = structlog.get_logger(__name__)

T = TypeVar("T")

#: Changes asked for in one read of the owner; and how many of a user may wait for it.
_AT_ONCE = 100
_MOST_PENDING = 1_000
#: The topic may show a change a moment before its owner answers with it.
_PAUSE_S, _LONGEST_PAUSE_S, _PATIENCE_S = 0.01, 0.25, 8.0
#: After these an owner is asked again that hasn't got to a version which the topic has shown, or which a client names:
#: after the last, there never was one. Anybody can make up an id, so theirs is asked after less often.
#: How often a feed reads on until its owner has what the topic shows: some five seconds.
_TRIES = 25
_SHOWN_S: Sequence[float] = (0.01, 0.02, 0.04, 0.08, 0.16, 0.25, 0.25, 0.25)
_NAMED_S: Sequence[float] = (0.1, 0.9)

#: Why a stream ends: its token, the gateway stops, the inbox can't be read, the client has gone, or doesn't read.
Ended = Literal["token", "stopping", "unavailable", "gone", "slow"]
ENDS: tuple[Ended, ...] = get_args(Ended)


class Owners(Protocol):
    """Who answers for an inbox."""

    async def read(self, role: str, user_id: str, view: str, params: Any = None) -> Any:
        """Raises OwnerUnavailableError, OwnerRefusedError."""
        ...


class Page(Struct, frozen=True):
    """The owner's answer: see ``agents.inbox.page.changes_of``."""

    version: int = 0
    unread: int = 0
    unseen: int = 0
    changes: list[InboxChange] | None = None
    items: dict[str, dict[str, Any]] = {}

    def change_events(self) -> list[ChangeEvents]:
        return [change_events(change, self.items.get(str(change.version))) for change in self.changes or ()]


class Ending(Exception):
    """The stream is over; ``why``."""

    def __init__(self, why: Ended) -> None:
        super().__init__(why)
        self.why = why


class Stream:
    """One client's stream, as long as it lasts. ``ends_at``: of the event loop's clock."""

    def __init__(self, feed: "Feed", ends_at: float) -> None:
        self.position = 0
        #: The latest version that the owner has reported.
        self._known = 0
        self._feed = feed
        self._ends_at = ends_at
        self._moved = asyncio.Event()
        #: When it is woken though nothing has come. The timer may be earlier: it isn't moved for each change.
        self._wakes_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._waits: asyncio.Timeout | None = None
        self._ended: Ended | None = None

    def wake(self) -> None:
        self._moved.set()

    def end(self, why: Ended) -> None:
        self._ended = self._ended or why
        self._moved.set()
        if self._waits is not None and not self._waits.expired():
            self._waits.reschedule(asyncio.get_running_loop().time())

    def check(self) -> None:
        """Raises Ending."""
        if self._ended is not None:
            raise Ending(self._ended)
        if asyncio.get_running_loop().time() >= self._ends_at:
            raise Ending("token")

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def until_end(self, waiting: Awaitable[T], within_s: float = math.inf) -> T:
        """What is waited for. Raises Ending where the stream ends first, TimeoutError where it takes longer."""
        gives_up_at = asyncio.get_running_loop().time() + within_s
        try:
            async with asyncio.timeout_at(min(self._ends_at, gives_up_at)) as self._waits:
                return await waiting
        except TimeoutError:
            is_over = self._ended is not None or self._ends_at <= gives_up_at
            if is_over and self._waits is not None and self._waits.expired():
                raise Ending(self._ended or "token") from None
            raise
        finally:
            self._waits = None

    async def begin(self, after: int | None) -> list[Event]:
        """The first events: ``count``, and ``reset`` where nothing can be resumed behind ``after``. Raises
        OwnerUnavailableError, Ending."""
        page = await self._read(after, 1, _NAMED_S)
        if after is not None and page.changes:
            first = page.changes[0]
            self.position = after
            return [count_event(after, first.unread_before, first.unseen_before)]
        self.position = page.version
        count = count_event(page.version, page.unread, page.unseen)
        is_whole = after is None or page.changes is not None
        return [count] if is_whole else [count, reset_event(page.version)]

    async def events(self, every_s: float) -> AsyncIterator[Sequence[Event]]:
        """What comes next, in order; nothing where nothing came for ``every_s``. Raises Ending."""
        while True:
            self._moved.clear()
            self.check()
            lacking = self._feed.recent.after(self.position)
            if lacking:
                oldest = lacking[0]  # (one at a time: whoever is slow holds no more)
                self.position = oldest.reached
                if not self.position:  # whoever was erased begins anew
                    self._known = 0
                self._feed.forget()
                yield oldest.events
            elif lacking is None or self._known > self.position:
                caught_up = await self._caught_up()
                self._feed.forget()
                yield caught_up
            elif not await self._is_moved(every_s):
                yield []

    async def _read(self, after: int | None, limit: int = _AT_ONCE, pauses_s: Sequence[float] = ()) -> Page:
        self.check()
        page = await self.until_end(self._feed.read(after, limit, pauses_s or _SHOWN_S))
        self.check()
        self._known = page.version
        return page

    async def _is_moved(self, within_s: float) -> bool:
        loop = asyncio.get_running_loop()
        self._wakes_at = min(loop.time() + within_s, self._ends_at)
        if self._timer is None or self._timer.when() > self._wakes_at:
            self.close()
            self._timer = loop.call_at(self._wakes_at, self._ring)
        await self._moved.wait()
        is_woken = self._timer is None and self._ended is None
        return not is_woken or loop.time() >= self._ends_at  # (then ``check`` ends it)

    def _ring(self) -> None:
        """Nobody moves the timer while changes come: where one has come since it was set, it is set anew."""
        loop = asyncio.get_running_loop()
        self._timer = None
        if loop.time() < self._wakes_at:
            self._timer = loop.call_at(self._wakes_at, self._ring)
        else:
            self._moved.set()

    async def _caught_up(self) -> list[Event]:
        """What the owner has behind the position."""
        pause, give_up_at = _PAUSE_S, asyncio.get_running_loop().time() + _PATIENCE_S
        while True:
            try:
                page = await self._read(self.position)
            except OwnerUnavailableError:
                raise Ending("unavailable") from None
            if page.changes is None:
                self.position = page.version
                return [count_event(page.version, page.unread, page.unseen), reset_event(page.version)]
            if page.changes:
                self.position = page.changes[-1].version
                return [event for each in page.change_events() for event in each.events]
            self.check()
            if asyncio.get_running_loop().time() >= give_up_at:
                raise Ending("unavailable")
            await asyncio.sleep(pause)  # what was announced isn't there yet
            pause = min(2 * pause, _LONGEST_PAUSE_S)


class Feed:
    """What the streams of one user share."""

    def __init__(self, user_id: str, owners: Owners) -> None:
        self.recent = Recent()
        self.streams: set[Stream] = set()
        self._user_id = user_id
        self._owners = owners
        self._pending: deque[InboxChange] = deque()
        self._reading: asyncio.Task[None] | None = None

    async def read(self, after: int | None, limit: int, pauses_s: Sequence[float]) -> Page:
        """Waits a moment for an owner that hasn't got to ``after`` yet: what the topic has shown is stored just then.
        Raises OwnerUnavailableError."""
        page = await self._ask(after, limit)
        for pause in pauses_s:
            if after is None or after <= page.version:
                break
            await asyncio.sleep(pause)
            page = await self._ask(after, limit)
        return page

    async def _ask(self, after: int | None, limit: int) -> Page:
        params = {} if after is None else {"behind": str(after), "limit": str(limit)}
        try:
            answer = await self._owners.read("in_app", self._user_id, "inbox_changes", params)
            return msgspec.convert(answer or {}, Page)
        except (OwnerRefusedError, LookupError, msgspec.ValidationError) as error:
            raise OwnerUnavailableError("the inbox's owner is of a revision before") from error

    def take(self, change: InboxChange) -> None:
        """The topic's next change of this user."""
        if change.kind != "added" and not self._pending:
            self._publish(change_events(change, None))
        elif len(self._pending) < _MOST_PENDING:
            self._pending.append(change)
            if self._reading is None:
                self._reading = asyncio.create_task(self._read_pending())
        else:
            self._pending.clear()
            self.skip(change.version)

    def skip(self, version: int) -> None:
        self.recent.skip(version)
        self._wake()

    def forget(self) -> None:
        """Lets go of what every stream has."""
        self.recent.forget(min((stream.position for stream in self.streams), default=self.recent.latest))

    def close(self) -> None:
        if self._reading is not None:
            self._reading.cancel()

    def _publish(self, changed: ChangeEvents) -> None:
        self.recent.take(changed)
        self._wake()

    def _wake(self) -> None:
        for stream in self.streams:
            stream.wake()

    async def _read_pending(self) -> None:
        try:
            while self._pending:
                change = self._pending[0]
                if change.version > self.recent.latest:
                    await self._settle(change)
                if self._pending and self._pending[0] is change:
                    self._pending.popleft()
        finally:
            self._reading = None

    async def _settle(self, change: InboxChange) -> None:
        if change.kind != "added":
            self._publish(change_events(change, None))
            return
        pause, tries = _PAUSE_S, 0
        while tries < _TRIES:
            try:
                page = await self.read(change.previous, len(self._pending), _SHOWN_S)
            except OwnerUnavailableError:
                break
            if page.changes is None:
                break
            for changed in page.change_events():
                self._publish(changed)
            if change.version <= self.recent.latest:
                return
            tries += 1
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)
        self.skip(change.version)  # each stream asks for itself, and ends where nobody answers


class Streams:
    """All streams of this gateway. ``most``, ``most_of_user``: how many there may be. ``longest_s``: of one."""

    def __init__(
        self,
        owners: Owners,
        *,
        most: int,
        most_of_user: int,
        longest_s: float = 86_400.0,
        counting: Counting = UNCOUNTED,
    ) -> None:
        self._counting = counting
        self._owners = owners
        self._most = most
        self._most_of_user = most_of_user
        self._longest_s = longest_s
        self._feeds: dict[bytes, Feed] = {}
        self._open = 0
        self._is_stopping = False
        self.ended: Counter[Ended] = Counter()

    @property
    def open(self) -> int:
        """How many there are."""
        return self._open

    def _check_room(self, user_id: str) -> None:
        """Raises Problem 429, 503 where there is no room for one more."""
        wait = {"Retry-After": str(random.randint(1, 5))}
        if self._is_stopping:
            raise Problem(503, "this gateway is stopping: connect again", headers=wait)
        feed = self._feeds.get(user_id.encode())
        if feed is not None and len(feed.streams) >= self._most_of_user:
            raise Problem(429, f"a user has at most {self._most_of_user} streams at a time", headers=wait)
        if self._open >= self._most:
            raise Problem(503, "this gateway has no room for another stream: connect again", headers=wait)

    @contextmanager
    def opened(self, user_id: str, lasts_s: float) -> Iterator[Stream]:
        """One more stream, which hears of every change from now on. Raises Problem as ``_check_room`` does."""
        self._check_room(user_id)
        key = user_id.encode()
        feed = self._feeds.get(key)
        if feed is None:
            feed = self._feeds[key] = Feed(user_id, self._owners)
        ends_at = asyncio.get_running_loop().time() + min(lasts_s, self._longest_s)
        stream = Stream(feed, ends_at)
        feed.streams.add(stream)
        self._opened(1)
        try:
            yield stream
        except Ending as ending:
            self.ended[ending.why] += 1
            self._counting.stream_ended(ending.why)
            raise
        finally:
            self._opened(-1)
            stream.close()
            feed.streams.discard(stream)
            feed.forget()
            if not feed.streams:
                feed.close()
                del self._feeds[key]

    def _opened(self, more: int) -> None:
        self._open += more
        self._counting.streams(self._open)

    def stop(self) -> None:
        """Ends every stream, and opens no other."""
        self._is_stopping = True
        for feed in self._feeds.values():
            for stream in feed.streams:
                stream.end("stopping")

    # --- what the topic says ---

    def wants(self, user_id: bytes) -> bool:
        return user_id in self._feeds

    def take_change(self, change: InboxChange) -> None:
        feed = self._feeds.get(change.user_id.encode())
        if feed is not None:
            feed.take(change)

    def lost(self) -> None:
        """Some changes may never come: every stream ends, and resumes at the inbox's owner."""
        for feed in self._feeds.values():
            for stream in feed.streams:
                stream.end("unavailable")
