"""The attempts of one call: what is asked, how long it may take, and what follows from what came back. It does no I/O,
so that a client that blocks and one that awaits go the same way."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

import httpx
import msgspec

from tocsin.client.calls import Call
from tocsin.client.errors import BadAnswer, ProblemError, TocsinError, Unreachable, problem_of_answer
from tocsin.client.retrying import (
    RateLimit,
    Retrying,
    pause_after_answer,
    pause_after_failure,
    rate_limit,
    retry_after_s,
)
from tocsin.client.version import AGENT

T = TypeVar("T")

#: More than any answer of the gateway has.
MOST_ANSWER_BYTES = 64 << 20
#: What surely wasn't sent.
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


class Attempts(Generic[T]):
    """``clock``: monotonic seconds. For each attempt: ``request``, then ``answered`` or ``failed``; either returns how
    long to wait before the next, or None when ``result`` says what came of it."""

    def __init__(self, call: Call[T], policy: Retrying, clock: Callable[[], float]) -> None:
        #: What the next attempt asks.
        self.call: Call[Any] = call
        self._policy, self._clock = policy, clock
        self._over_at = clock() + (call.total_s or policy.total_s)
        self._begun = 0
        self._may_have_been_taken = False
        self._refusal: ProblemError | None = None
        self._error: TocsinError | None = None
        self._body = b""
        self.rate_limit: RateLimit | None = None

    def begin(self) -> float:
        """Counts an attempt. Returns how many seconds it has."""
        self._begun += 1
        left = max(0.001, self._left_s())
        return left if self.call.total_s else min(left, self._policy.timeout_s)

    def answered(self, answer: Answer) -> float | None:
        self.rate_limit = rate_limit(answer.headers)
        was_obeyed = self._may_have_been_taken and self.call.is_gone_done and answer.status == 404
        if 200 <= answer.status < 300 or was_obeyed:
            self._error, self._body = None, answer.body if not was_obeyed else b""
            return None
        now = datetime.now(UTC)
        problem = problem_of_answer(answer.status, answer.body, retry_after_s(answer.headers, now))
        self._error = problem
        if answer.status == 408 or answer.status >= 500:
            self._may_have_been_taken = True
        if self._may_have_been_taken and self.call.settled_by is not None and _is_of_status(problem):
            return self._settle(self.call.settled_by, problem)
        if not self.call.can_send_again:
            return None
        return pause_after_answer(
            self._policy,
            self._begun,
            self._left_s(),
            answer.status,
            answer.headers,
            is_idempotent=self.call.is_idempotent,
            now=now,
        )

    def _settle(self, by: Call[Any], refusal: ProblemError) -> float | None:
        """The refusal may be of what this call itself has done: the next attempts find out."""
        self._error = Unreachable("the gateway's first answer was lost", is_in_doubt=True)
        self._refusal, self.call = refusal, by
        return pause_after_failure(self._policy, self._begun, self._left_s(), may_repeat=True)

    def failed(self, error: Exception) -> float | None:
        surely_not = isinstance(error, _NOT_SENT)
        if not surely_not:
            self._may_have_been_taken = True
        detail = f"the gateway didn't answer ({str(error) or type(error).__name__})"
        self._error = Unreachable(detail, is_in_doubt=self._may_have_been_taken)
        may_repeat = self.call.can_send_again and (surely_not or self.call.is_idempotent)
        return pause_after_failure(self._policy, self._begun, self._left_s(), may_repeat=may_repeat)

    def result(self) -> T:
        """Raises TocsinError."""
        if self._error is not None:
            raise self._error
        try:
            found: T = self.call.read(self._body)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise BadAnswer(f"the answer isn't what it should be: {error}") from error
        if found is None and self._refusal is not None:
            raise self._refusal
        return found

    def _left_s(self) -> float:
        return self._over_at - self._clock()


def _is_of_status(problem: ProblemError) -> bool:
    return problem.status == 409 and problem.field == "status"


def request_of(call: Call[Any], url: str, key: str, agent: str) -> tuple[str, str, dict[str, str]]:
    """(method, URL, headers)."""
    headers = {**own_headers(key, agent), "Accept": "application/json", **call.headers}
    if call.body is not None:
        headers["Content-Type"] = call.media
    return call.method, url + call.target, headers


def own_headers(key: str, agent: str = AGENT) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}", "User-Agent": agent}


def lowered(headers: Mapping[str, str]) -> dict[str, str]:
    """With their names in lower case."""
    return {name.lower(): value for name, value in headers.items()}


def checked_url(url: str) -> str:
    """Without a slash at its end. Raises ValueError."""
    try:
        parts = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ValueError(f"url is not a URL: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.host or parts.userinfo or parts.query or parts.fragment:
        raise ValueError("url is the gateway's, such as https://notify.example.com, without user, query and fragment")
    return url.rstrip("/")


def key_of_now(key: str | Callable[[], str]) -> str:
    """Raises ValueError, and whatever the caller's function raises: neither is a lost answer."""
    return key if isinstance(key, str) else checked_key(key())


def checked_key(key: str) -> str:
    """Raises ValueError, which doesn't show it."""
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise ValueError("key is an API key (ID.SECRET) or a user's token: printable ASCII without blanks")
    return key
