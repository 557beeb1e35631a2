"""The client that waits for its answers."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from itertools import islice
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
from tocsin.client.calls import Blocking, Call, Following
from tocsin.client.errors import TocsinError
from tocsin.client.resources import Resources
from tocsin.client.retrying import RateLimit, Retrying
from tocsin.client.streaming import MOST_BYTES, Follower, limits
from tocsin.client.version import AGENT

T = TypeVar("T")


class _Way(Blocking):
    def __init__(
        self,
        url: str,
        key: str | Callable[[], str],
        retrying: Retrying,
        http: httpx.Client,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        self._url, self._key, self._retrying, self._http = url, key, retrying, http
        self._clock, self._sleep = clock, sleep
        self.rate_limit: RateLimit | None = None

    def make(self, call: Call[T]) -> T:
        attempts = Attempts(call, self._retrying, self._clock)
        while True:
            has_s, key = attempts.begin(), key_of_now(self._key)
            try:
                pause = attempts.answered(self._answer(attempts.call, key, has_s))
            except (httpx.RequestError, TimeoutError) as error:
                pause = attempts.failed(error)
            self.rate_limit = attempts.rate_limit or self.rate_limit
            if pause is None:
                return attempts.result()
            self._sleep(pause)

    def follow(self, following: Following) -> Iterator[StreamEvent]:
        follower, url = Follower(following, self._retrying), self._url + following.target
        wait_s = limits(self._retrying)
        while True:
            headers = {**own_headers(key_of_now(self._key)), **follower.headers}
            try:
                with self._http.stream("GET", url, headers=headers, timeout=wait_s, follow_redirects=False) as response:
                    if response.status_code == 200:
                        for part in response.iter_bytes():
                            yield from follower.take(part)
                        pause = follower.failed()
                    else:
                        body = b"".join(islice(response.iter_bytes(MOST_BYTES), 1))
                        pause = follower.refused(response.status_code, lowered(response.headers), body)
            except httpx.RequestError as error:
                pause = follower.failed(error)
            self._sleep(pause)

    def _answer(self, call: Call[T], key: str, has_s: float) -> Answer:
        """Raises RequestError, TimeoutError."""
        method, url, headers = request_of(call, self._url, key, AGENT)
        content = call.body if isinstance(call.body, bytes) or call.body is None else call.body()
        over_at = self._clock() + has_s
        wait_s = min(has_s, self._retrying.timeout_s)  # for each part of what goes and comes
        asked = self._http.stream(method, url, headers=headers, content=content, timeout=wait_s, follow_redirects=False)
        with asked as response:
            body = bytearray()
            for part in response.iter_bytes():
                body += part
                if len(body) > MOST_ANSWER_BYTES:
                    raise httpx.ReadError("the answer is too large")
                if self._clock() > over_at:  # httpx's own limit begins anew with each part
                    raise TimeoutError("the answer took too long")
            return Answer(response.status_code, lowered(response.headers), bytes(body))


class Tocsin(Resources[Blocking]):
    """Calls the gateway and waits for its answers; safe to share between threads.

    ``key``: an API key or a user's token, or what returns the one of now. ``retrying``: how often and how long a call
    is made again. ``http``: a client of httpx to make them with, which stays the caller's; else one of its own.
    ``clock``, ``sleep``: monotonic seconds, and waiting so many.
    """

    def __init__(
        self,
        url: str,
        key: str | Callable[[], str],
        *,
        retrying: Retrying | None = None,
        http: httpx.Client | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        client = http if http is not None else httpx.Client()
        self._own = client if http is None else None
        given = checked_key(key) if isinstance(key, str) else key
        self._way = _Way(checked_url(url), given, retrying or Retrying(), client, clock, sleep)
        super().__init__(self._way)

    @property
    def rate_limit(self) -> RateLimit | None:
        """As the latest answer has it."""
        return self._way.rate_limit

    def send_many(self, notifications: Iterable[bodies.Notification], *, limits: Limits | None = None) -> list[Result]:
        """Each as by ``notifications.send``, in as few calls as it takes; one result for each, in order: what was
        accepted, or the error that refused it. One that is refused harms no other."""
        results: list[Result] = []
        for requests in in_calls(notifications, limits or Limits()):
            results += self._send(requests)
        return results

    def batcher(
        self,
        *,
        latency_s: float = 0.2,
        limits: Limits | None = None,
        most_waiting: int = 10_000,
        on_refused: Callable[[bodies.Notification, TocsinError], None] | None = None,
    ) -> "Batcher":
        """Collects single notifications into calls; see ``Batcher``."""
        return Batcher(self._send, latency_s, limits or Limits(), most_waiting, on_refused or log_refused)

    def _send(self, requests: list[bytes]) -> list[Result]:
        try:
            return self._way.make(bulk_call(requests))
        except TocsinError as error:
            return all_failed(requests, error)

    def close(self) -> None:
        if self._own is not None:
            self._own.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Tocsin({self._way._url!r})"  # without the key


class Batcher:
    """Collects notifications, and sends them ``latency_s`` after the first at the latest, or when a call is full; one
    call at a time, so that their order stays. ``add`` waits while ``most_waiting`` wait. Leaving the ``with`` sends
    what is left.

    ``on_refused`` is called, from a thread of the batcher's, for each that wasn't accepted; its future has the same.
    """

    def __init__(
        self,
        send: Callable[[list[bytes]], list[Result]],
        latency_s: float,
        limits: Limits,
        most_waiting: int,
        on_refused: Callable[[bodies.Notification, TocsinError], None],
    ) -> None:
        if latency_s < 0 or most_waiting < 1:
            raise ValueError("latency_s is at least 0, most_waiting at least 1")
        self._send, self._latency_s, self._most_waiting, self._on_refused = send, latency_s, most_waiting, on_refused
        self._pile: Pile[tuple[bodies.Notification, Future[Result]]] = Pile(limits)
        self._changed = threading.Condition()
        self._first_at = 0.0
        self._added = self._taken = self._finished = self._flushed = 0
        self._is_closed = False
        self._thread = threading.Thread(target=self._work, name="tocsin-batcher", daemon=True)
        self._thread.start()

    def add(self, **notification: Unpack[bodies.Notification]) -> "Future[Result]":
        """Its future has what was accepted, or the error that refused it."""
        request, future = encoded(notification), Future[Result]()
        with self._changed:
            self._changed.wait_for(lambda: len(self._pile) < self._most_waiting or self._is_closed)
            if self._is_closed:
                raise RuntimeError("the batcher is closed")
            if not len(self._pile):
                self._first_at = time.monotonic()
            self._pile.add(request, (notification, future))
            self._added += 1
            self._changed.notify_all()
        return future

    def flush(self) -> None:
        """Returns when all that was added has its result."""
        with self._changed:
            self._flushed = wanted = self._added
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._finished >= wanted)

    def close(self) -> None:
        """Sends what is left; nothing can be added any more."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _work(self) -> None:
        while taken := self._next():
            requests = [request for request, _ in taken]
            try:
                results = self._send(requests)
            except Exception as error:  # a bug, or an answer that nobody foresaw: whoever waits must hear of it
                results = all_failed(requests, TocsinError(f"the call failed: {error!r}"))
            for (_, (notification, future)), result in zip(taken, results, strict=True):
                if future.set_running_or_notify_cancel():
                    future.set_result(result)
                if isinstance(result, TocsinError):
                    self._tell(notification, result)
            with self._changed:
                self._finished += len(taken)
                self._changed.notify_all()

    def _next(self) -> list[tuple[bytes, tuple[bodies.Notification, "Future[Result]"]]]:
        """What goes into the next call; nothing: it is closed."""
        with self._changed:
            while not self._is_due():
                if not len(self._pile) and self._is_closed:
                    return []
                left = self._first_at + self._latency_s - time.monotonic() if len(self._pile) else None
                self._changed.wait(left)
            taken = self._pile.take()
            self._taken += len(taken)
            self._changed.notify_all()
            return taken

    def _is_due(self) -> bool:
        if not len(self._pile):
            return False
        is_late = time.monotonic() >= self._first_at + self._latency_s
        return self._pile.is_full or self._taken < self._flushed or self._is_closed or is_late

    def _tell(self, notification: bodies.Notification, error: TocsinError) -> None:
        try:
            self._on_refused(notification, error)
        except Exception:
            log.exception("on_refused failed")
