"""An inbox that is followed live: what comes of its stream, and what follows when the stream ends. It does no I/O."""

from collections.abc import Mapping
from datetime import UTC, datetime

import httpx

from tocsin.client.answers import StreamEvent
from tocsin.client.calls import Following
from tocsin.client.errors import BadAnswer, Unreachable, problem_of_answer
from tocsin.client.retrying import Retrying, retry_after_s

#: The gateway writes something every 20 seconds: what is silent for so long is dead.
SILENT_S = 60.0
#: Larger than any event, and than what a refusal says.
MOST_BYTES = 1 << 20
#: The stream can be had again, whatever was answered.
_LATER = frozenset((408, 429, 500, 502, 503, 504))


class Follower:
    """One stream after another, each from behind the last event of the one before. ``take`` what comes; when a stream
    has ended, ``refused`` or ``failed`` say how long to wait before the next."""

    def __init__(self, following: Following, policy: Retrying) -> None:
        self.target = following.target
        self._after = following.last_event_id
        self._policy = policy
        self._failures = 0
        self._asked_s = 0.0
        self._begin()

    def _begin(self) -> None:
        self._left = b""
        self._id, self._event, self._data = "", "", list[str]()

    @property
    def headers(self) -> Mapping[str, str]:
        """Of the next stream's request."""
        self._begin()
        resumed = {} if self._after is None else {"Last-Event-ID": self._after}
        return {"Accept": "text/event-stream", **resumed}

    def take(self, octets: bytes) -> list[StreamEvent]:
        """The events that are complete with it. Raises BadAnswer."""
        self._failures = 0
        *lines, self._left = (self._left + octets).split(b"\n")
        if len(self._left) > MOST_BYTES:
            raise BadAnswer("the stream has a line that is too long")
        try:
            found = [event for line in lines if (event := self._line(line.rstrip(b"\r").decode())) is not None]
        except UnicodeDecodeError as error:
            raise BadAnswer("the stream isn't UTF-8") from error
        if found:
            self._after = found[-1].id or self._after
        return found

    def _line(self, line: str) -> StreamEvent | None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "id":
                self._id = value
            case "event":
                self._event = value
            case "data":
                self._data.append(value)
            case "retry" if value.isascii() and value.isdigit() and len(value) < 6:
                self._asked_s = int(value) / 1000
            case "" if not line and self._data:
                event = StreamEvent(id=self._id, event=self._event, data="\n".join(self._data))
                self._event, self._data = "", []
                return event
        return None

    def refused(self, status: int, headers: Mapping[str, str], body: bytes) -> float:
        """Seconds to wait. Raises ProblemError where it isn't to be had, and for the last of the attempts."""
        after_s = retry_after_s(headers, datetime.now(UTC))
        problem = problem_of_answer(status, body, after_s)
        if status not in _LATER:
            raise problem
        return max(self._pause_s(problem), min(after_s or 0.0, self._policy.retry_after_most_s))

    def failed(self, error: Exception | None = None) -> float:
        """Seconds to wait after a stream that broke off, or came to its end. Raises Unreachable for the last of the
        attempts between which nothing came."""
        why = "the stream ended" if error is None else str(error) or type(error).__name__
        return self._pause_s(Unreachable(f"the inbox can't be followed ({why})", is_in_doubt=False))

    def _pause_s(self, error: Exception) -> float:
        self._failures += 1
        if self._failures >= self._policy.attempts:
            raise error
        return max(self._asked_s, self._policy.pause_s(self._failures))


def limits(policy: Retrying) -> httpx.Timeout:
    return httpx.Timeout(policy.timeout_s, read=SILENT_S)
