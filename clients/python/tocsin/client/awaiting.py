"""The client whose answers are awaited (asyncio)."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Self, TypeVar, Unpack

import httpx

from tocsin.client import bodies
from tocsin.client.answers import StreamEvent
from tocsin.client.attempts import (
    MOST_ANSWER_BYTES,
    Answer,
    Attempts,
    checked_key,
    checked_url,
    key_of_now,
    lowered,
    own_headers,
    request_of,
)
from tocsin.client.batching import Limits, Pile, Result, all_failed, bulk_call, encoded, in_calls, log, log_refused
from tocsin.client.calls import Awaiting, Call, Following
from tocsin.client.errors import TocsinError, Unreachable
from tocsin.client.resources import Resources
from tocsin.client.retrying import RateLimit, Retrying
from tocsin.client.streaming import MOST_BYTES, Follower, limits
from tocsin.client.version import AGENT

T = TypeVar("T")

#: A request that is to be sent, what it was made of, and where its result goes.
Waiting = tuple[bytes, tuple[bodies.Notification, asyncio.Future[Result]]]


class _Way(Awaiting):
    def __init__(
        self,
        url: str,
        key: str | Callable[[], str],
        retrying: Retrying,
        http: httpx.AsyncClient,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._url, self._key, self._retrying, self._http = url, key, retrying, http
        self._clock, self._sleep = clock, sleep
        self.rate_limit: RateLimit | None = None

    async def make(self, call: Call[T]) -> T:
        attempts = Attempts(call, self._retrying, self._clock)
        while True:
            has_s, key = attempts.begin(), key_of_now(self._key)
            try:
                async with asyncio.timeout(has_s):  # httpx's own limit begins anew with each part
                    answer = await self._answer(attempts.call, key, has_s)
                pause = attempts.answered(answer)
            except (httpx.RequestError, TimeoutError) as error:
                pause = attempts.failed(error)
            self.rate_limit = attempts.rate_limit or self.rate_limit
            if pause is None:
                return attempts.result()
            await self._sleep(pause)

    async def follow(self, following: Following) -> AsyncIterator[StreamEvent]:
        follower, url = Follower(following, self._retrying), self._url + following.target
        wait_s = limits(self._retrying)
        while True:
            headers = {**own_headers(key_of_now(self._key)), **follower.headers}
            asked = self._http.stream("GET", url, headers=headers, timeout=wait_s, follow_redirects=False)
            try:
                async with asked as response:
                    if response.status_code == 200:
                        async for part in response.aiter_bytes():
                            for event in follower.take(part):
                                yield event
                        pause = follower.failed()
                    else:
                        body = await anext(response.aiter_bytes(MOST_BYTES), b"")
                        pause = follower.refused(response.status_code, lowered(response.headers), body)
            except httpx.RequestError as error:
                pause = follower.failed(error)
            await self._sleep(pause)

    async def _answer(self, call: Call[T], key: str, has_s: float) -> Answer:
        """Raises RequestError."""
        method, url, headers = request_of(call, self._url, key, AGENT)
        content = call.body if isinstance(call.body, bytes) or call.body is None else _awaited(call.body())
        wait_s = min(has_s, self._retrying.timeout_s)  # for each part of what goes and comes
        asked = self._http.stream(method, url, headers=headers, content=content, timeout=wait_s, follow_redirects=False)
        async with asked as response:
            body = bytearray()
            async for part in response.aiter_bytes():
                body += part
                if len(body) > MOST_ANSWER_BYTES:
                    raise httpx.ReadError("the answer is too large")
            return Answer(response.status_code, lowered(response.headers), bytes(body))


async def _awaited(parts: Iterator[bytes]) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


class AsyncTocsin(Resources[Awaiting]):
    """As ``Tocsin``, with methods to await and lists for ``async for``."""

    def __init__(
        self,
        url: str,
        key: str | Callable[[], str],
        *,
        retrying: Retrying | None = None,
        http: httpx.AsyncClient | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        client = http if http is not None else httpx.AsyncClient()
        self._own = client if http is None else None
        given = checked_key(key) if isinstance(key, str) else key
        self._way = _Way(checked_url(url), given, retrying or Retrying(), client, clock, sleep)
        super().__init__(self._way)

    @property
    def rate_limit(self) -> RateLimit | None:
        """As the latest answer has it."""
        return self._way.rate_limit

    async def send_many(
        self, notifications: Iterable[bodies.Notification], *, limits: Limits | None = None
    ) -> list[Result]:
        """Each as by ``notifications.send``, in as few calls as it takes; one result for each, in order: what was
        accepted, or the error that refused it. One that is refused harms no other."""
        results: list[Result] = []
        for requests in in_calls(notifications, limits or Limits()):
            results += await self._send(requests)
        return results

    def batcher(
        self,
        *,
        latency_s: float = 0.2,
        limits: Limits | None = None,
        most_waiting: int = 10_000,
        on_refused: Callable[[bodies.Notification, TocsinError], None] | None = None,
    ) -> "AsyncBatcher":
        """Collects single notifications into calls: ``async with client.batcher() as batcher``."""
        return AsyncBatcher(self._send, latency_s, limits or Limits(), most_waiting, on_refused or log_refused)

    async def _send(self, requests: list[bytes]) -> list[Result]:
        try:
            return await self._way.make(bulk_call(requests))
        except TocsinError as error:
            return all_failed(requests, error)

    async def close(self) -> None:
        if self._own is not None:
            await self._own.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"AsyncTocsin({self._way._url!r})"  # without the key


class AsyncBatcher:
    """As ``Batcher``. Whoever is cancelled while closing it only stops waiting; where the loop itself ends, what is
    under way is in doubt, and what waits isn't sent."""

    def __init__(
        self,
        send: Callable[[list[bytes]], Awaitable[list[Result]]],
        latency_s: float,
        limits: Limits,
        most_waiting: int,
        on_refused: Callable[[bodies.Notification, TocsinError], None],
    ) -> None:
        if latency_s < 0 or most_waiting < 1:
            raise ValueError("latency_s is at least 0, most_waiting at least 1")
        self._send, self._latency_s, self._most_waiting, self._on_refused = send, latency_s, most_waiting, on_refused
        self._pile: Pile[tuple[bodies.Notification, asyncio.Future[Result]]] = Pile(limits)
        self._changed = asyncio.Condition()
        self._first_at = 0.0
        self._added = self._taken = self._finished = self._flushed = 0
        self._is_closed = False
        self._task: asyncio.Task[None] | None = None
        self._under_way: list[Waiting] = []

    async def add(self, **notification: Unpack[bodies.Notification]) -> "asyncio.Future[Result]":
        """Its future has what was accepted, or the error that refused it."""
        request = encoded(notification)
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        async with self._changed:
            await self._changed.wait_for(lambda: len(self._pile) < self._most_waiting or self._is_closed)
            if self._is_closed or self._task is None:
                raise RuntimeError("the batcher is closed, or wasn't begun by `async with`")
            if not len(self._pile):
                self._first_at = time.monotonic()
            self._pile.add(request, (notification, future))
            self._added += 1
            self._changed.notify_all()
        return future

    async def flush(self) -> None:
        """Returns when all that was added has its result."""
        async with self._changed:
            self._flushed = wanted = self._added
            self._changed.notify_all()
            await self._changed.wait_for(lambda: self._finished >= wanted)

    async def close(self) -> None:
        """Sends what is left; nothing can be added any more."""
        await asyncio.shield(self._end())

    async def _end(self) -> None:
        async with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        if self._task is not None:
            await asyncio.wait([self._task])

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._work())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _work(self) -> None:
        try:
            while await self._next():
                await self._send_taken()
        finally:
            await self._give_up()

    async def _send_taken(self) -> None:
        requests = [request for request, _ in self._under_way]
        try:
            results = await self._send(requests)
        except Exception as error:  # a bug, or an answer that nobody foresaw: whoever waits must hear of it
            results = all_failed(requests, TocsinError(f"the call failed: {error!r}"))
        self._settle(self._under_way, results)
        self._under_way = []
        async with self._changed:
            self._changed.notify_all()

    async def _give_up(self) -> None:
        """Whatever ended it: whoever waits for a result has one, and nobody adds or flushes in vain."""
        self._is_closed = True
        stopped = "the batcher was cancelled"
        self._settle(self._under_way, all_failed(self._under_way, Unreachable(stopped, is_in_doubt=True)))
        while left := self._pile.take():
            self._settle(left, all_failed(left, Unreachable(stopped, is_in_doubt=False)))
        async with self._changed:
            self._changed.notify_all()

    def _settle(self, taken: Sequence[Waiting], results: Sequence[Result]) -> None:
        self._finished += len(taken)
        for (_, (notification, future)), result in zip(taken, results, strict=True):
            if not future.done():
                future.set_result(result)
            if isinstance(result, TocsinError):
                self._tell(notification, result)

    async def _next(self) -> bool:
        """Takes what goes into the next call; False: it is closed, and nothing is left."""
        async with self._changed:
            await self._changed.wait_for(lambda: len(self._pile) or self._is_closed)
            try:
                async with asyncio.timeout(self._first_at + self._latency_s - time.monotonic()):
                    await self._changed.wait_for(self._is_due)
            except TimeoutError:
                pass
            self._under_way = self._pile.take()
            self._taken += len(self._under_way)
            self._changed.notify_all()
            return bool(self._under_way)

    def _is_due(self) -> bool:
        return self._pile.is_full or self._taken < self._flushed or self._is_closed

    def _tell(self, notification: bodies.Notification, error: TocsinError) -> None:
        try:
            self._on_refused(notification, error)
        except Exception:
            log.exception("on_refused failed")
