"""What the vendors' wires have in common: time limits, TLS, Retry-After, and outcomes that need no vendor's words."""

import ssl
from contextvars import ContextVar
from datetime import UTC
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Literal

import aiohttp
from aiohttp.connector import Connection

from app.domain.outcome import LONGEST_WAIT_MS, Outcome, OutcomeKind, Why

#: Seconds until a connection (TCP and TLS) must stand.
CONNECT_S = 3.0

#: Questions after sends in doubt that are put to one provider at a time. They have connections of their own: a provider
#: that answers none of them would else keep sends from being made.
QUESTIONS = 50

#: Bytes of an answer that are read: a list of 200 messages has some 400 KB, everything else a few lines.
MAX_ANSWER = 4 * 1024 * 1024

#: Characters of a ``Retry-After`` that are looked at: the longest date has 33.
_MAX_RETRY_AFTER = 64


def tls_context(ca_file: Path | None, protocol: Literal["http/1.1", "h2"] = "http/1.1") -> ssl.SSLContext:
    """Verifies servers against ``ca_file``, or against the system's authorities when there is none, and asks for
    ``protocol``.

    Raises:
        ValueError: the file can't be read or holds no certificate.
    """
    try:
        context = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    except OSError as error:
        raise ValueError(f"ca_file: {ca_file}: not a readable PEM file of certificates") from error
    context.set_alpn_protocols([protocol])
    return context


#: Whether a byte of the current task's request may have left.
_left: ContextVar[bool] = ContextVar("left", default=False)


def stays() -> None:
    """A call begins in this task, and nothing of it has left."""
    _left.set(False)


def leaves() -> None:
    """From here on bytes of this task's request may leave: an unforeseen error leaves it in doubt."""
    _left.set(True)


def has_left() -> bool:
    """Whether the latest call of this task may have reached its provider."""
    return _left.get()


#: Where the statuses of the current task's answers are kept, those of tasks that it begins too; None: nobody asks.
_statuses: ContextVar[list[int] | None] = ContextVar("statuses", default=None)


def watch_statuses() -> list[int]:
    """What this task's answers come with from now on, as they come."""
    statuses: list[int] = []
    _statuses.set(statuses)
    return statuses


def note_status(status: int) -> None:
    """A provider answered with it."""
    if (statuses := _statuses.get()) is not None:
        statuses.append(status)


class TooLong(aiohttp.ClientPayloadError):
    """The answer is longer than any that a vendor gives."""


class Answer(aiohttp.ClientResponse):
    """An HTTP answer of which no more is read than any vendor says, however long it goes on."""

    async def start(self, connection: Connection) -> "Answer":
        await super().start(connection)
        note_status(self.status)
        return self

    async def read(self) -> bytes:
        """Raises TooLong."""
        if self._body is None:
            body = bytearray()
            async for chunk in self.content.iter_any():
                body += chunk
                if len(body) > MAX_ANSWER:
                    self.close()
                    raise TooLong
            self._body = bytes(body)
        return await super().read()


def retry_after_ms(header: str | None, now_s: float) -> int | None:
    """Milliseconds that a ``Retry-After`` header (RFC 9110: seconds, or a date in any of HTTP's three forms) asks to
    wait, at most ``LONGEST_WAIT_MS``; None if absent or nonsense."""
    if not header or len(header) > _MAX_RETRY_AFTER:
        return None
    text = header.strip()
    try:
        wait_s = float(text) if text.isascii() and text.isdigit() else _http_date_s(text) - now_s
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return round(min(max(wait_s * 1000, 0), LONGEST_WAIT_MS))


def _http_date_s(text: str) -> float:
    """Unix seconds. An HTTP date is UTC, whatever zone the process is in."""
    date = parsedate_to_datetime(text)
    return (date if date.tzinfo is not None else date.replace(tzinfo=UTC)).timestamp()


def not_sent(code: str) -> Outcome:
    """The request never left, or certainly was not processed."""
    return Outcome("retry", code=code)


def lost(doubt: Literal["timeout", "connection_lost"], code: str | None = None) -> Outcome:
    """The request left and its answer didn't come."""
    return Outcome("in_doubt", code=code, doubt=doubt)


def unanswered(error: Exception) -> Outcome:
    """What it means that aiohttp got no whole answer. Raises what is not the network's doing."""
    match error:
        case aiohttp.ClientConnectorError() | aiohttp.ConnectionTimeoutError():
            return not_sent(type(error).__name__)
        case aiohttp.InvalidURL():
            return Outcome("config", code="InvalidURL")
        case TimeoutError():
            return lost("timeout")
        case aiohttp.ClientError() | ValueError() | OSError():
            return lost("connection_lost", type(error).__name__)
        case _:
            raise error


def dropped(code: str, why: Why = "permanent") -> Outcome:
    """This message can never work."""
    return Outcome("drop", code=code, why=why)


def unusable(code: str) -> Outcome:
    """The address is none, as can be seen without a call."""
    return Outcome("bad_token", code=code, called=False)


def answered(
    kind: OutcomeKind, code: str, retry_after: int | None = None, scope: Literal["lane", "address"] = "lane"
) -> Outcome:
    """A refusal of ``kind``; ``retry_after`` in milliseconds; ``scope`` of one that says wait."""
    match kind:
        case "drop":
            return dropped(code)
        case "in_doubt":
            return lost("connection_lost", code)
        case "retry" | "throttle":
            return Outcome(kind, code=code, retry_after_ms=retry_after, scope=scope)
        case _:
            return Outcome(kind, code=code)


def kind_of_status(status: int) -> OutcomeKind:
    """What an HTTP status means where the vendor gave no code that its table knows."""
    match status:
        case 401 | 403 | 404:  # a path of ours that isn't there is a wrong base URL, not a wrong message
            return "config"
        case 429:
            return "throttle"
        case _ if 400 <= status < 500:
            return "drop"
        case _:
            return "in_doubt"


def kind_without_redirects(status: int) -> OutcomeKind:
    """As ``kind_of_status``, of a client that follows no redirects: one says that the URL is wrong."""
    return "config" if 300 <= status < 400 else kind_of_status(status)
