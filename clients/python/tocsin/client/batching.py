"""Many requests in few calls: what is put into one, and what came of each."""

import logging
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec

from tocsin.client import answers, bodies
from tocsin.client.calls import Call, json_of, reader
from tocsin.client.errors import BadAnswer, TocsinError, problem_of
from tocsin.client.resources import given, new_key

T = TypeVar("T")

log = logging.getLogger("tocsin.client")

#: What the gateway takes in one call.
MOST_REQUESTS, MOST_BYTES = 1_000, 16 << 20
#: So that several calls share the way, and none takes long.
_BYTES_AT_A_TIME = 4 << 20
_AROUND = len(b'{"requests":[]}')
_TARGET = "/v1/notifications/bulk"

#: What came of one request.
Result = answers.Accepted | TocsinError

_read_results = reader(answers.BulkAccepted)


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one call."""

    requests: int = MOST_REQUESTS
    octets: int = _BYTES_AT_A_TIME

    def __post_init__(self) -> None:
        if not (1 <= self.requests <= MOST_REQUESTS and 1 <= self.octets <= MOST_BYTES):
            raise ValueError(f"a call takes 1 to {MOST_REQUESTS} requests and {MOST_BYTES} bytes at most")


def encoded(notification: bodies.Notification) -> bytes:
    """As it stands in a bulk call, with a key of its own: the same in all attempts."""
    return json_of({"idempotency_key": new_key(), **given(notification)})


class Pile(Generic[T]):
    """Requests that wait for their call, each with something of its caller's; in order."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._waiting: deque[tuple[bytes, T]] = deque()
        self._octets = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, request: bytes, of: T) -> None:
        self._waiting.append((request, of))
        self._octets += len(request) + 1

    @property
    def is_full(self) -> bool:
        """Whether a call could take no more."""
        return len(self._waiting) >= self._limits.requests or self._octets + _AROUND >= self._limits.octets

    def take(self) -> list[tuple[bytes, T]]:
        """As many as fit into one call; one that is too large by itself goes alone, for the gateway to refuse."""
        taken: list[tuple[bytes, T]] = []
        octets = _AROUND
        while self._waiting and len(taken) < self._limits.requests:
            size = len(self._waiting[0][0]) + 1
            if taken and octets + size > self._limits.octets:
                break
            octets += size
            taken.append(self._waiting.popleft())
            self._octets -= size
        return taken


def in_calls(notifications: Iterable[bodies.Notification], limits: Limits) -> Iterator[list[bytes]]:
    """The requests of each call, in order."""
    pile: Pile[None] = Pile(limits)
    for notification in notifications:
        pile.add(encoded(notification), None)
        while pile.is_full:
            yield [request for request, _ in pile.take()]
    while len(pile):
        yield [request for request, _ in pile.take()]


def bulk_call(requests: Sequence[bytes]) -> Call[list[Result]]:
    """Its answer has one result for each request, in order."""

    def read(body: bytes) -> list[Result]:
        results = [_result(each) for each in _read_results(body).results]
        if len(results) != len(requests):
            raise BadAnswer(f"{len(requests)} requests have {len(results)} results")
        return results

    return Call("POST", _TARGET, read, b'{"requests":[' + b",".join(requests) + b"]}")


def all_failed(requests: Sequence[Any], error: TocsinError) -> list[Result]:
    """What became of each request of a call that failed as a whole."""
    return [error] * len(requests)


def _result(document: dict[str, Any]) -> Result:
    if "notification_id" in document:
        return msgspec.convert(document, answers.Accepted)
    status = document.get("status")
    return problem_of(status if isinstance(status, int) else 0, document)


def log_refused(notification: bodies.Notification, error: TocsinError) -> None:
    """What is done unless something else is asked for: it says nothing of the notification's content."""
    log.warning("a notification of type %s wasn't accepted: %s", notification.get("event_type"), error)
