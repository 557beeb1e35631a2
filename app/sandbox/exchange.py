"""What passes between a protocol, the desk and a vendor: requests, replies and what the vendor made of a request."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol
from urllib.parse import parse_qsl
from uuid import UUID

from app.sandbox.records import Shown
from schemas.words import Provider


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request, whatever the version. Header names are lower case, pseudo headers are left out."""

    method: str
    path: str
    query: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    authority: str = ""

    def header(self, name: str) -> str | None:
        """The first value of a header, by its lower-case name."""
        return next((value for key, value in self.headers if key == name), None)

    def params(self) -> dict[str, str]:
        return dict(parse_qsl(self.query, keep_blank_values=True))


@dataclass(frozen=True, slots=True)
class Reply:
    """``bytes_per_s``: its body goes out drop by drop, no faster than this; None: at once."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    bytes_per_s: int | None = None


@dataclass(frozen=True, slots=True)
class Moment:
    """Time and chance of one request: Unix milliseconds and a fresh id."""

    ms: int
    id: UUID


@dataclass(frozen=True, slots=True)
class Judged:
    """What a vendor makes of a request. A message to accept has ``shown``; a refusal has ``code``."""

    reply: Reply
    #: What the client asked for: ``send``, ``token``, ``list`` …
    operation: str = "send"
    #: The provider's own error code, None if it has nothing against the request.
    code: str | None = None
    address: str | None = None
    send_id: str | None = None
    notification_id: str | None = None
    attempt: int | None = None
    provider_message_id: str | None = None
    shown: Shown | None = None


class Vendor(Protocol):
    """One provider: reads its requests as strictly as it does, in its own words."""

    name: Provider
    #: By ALPN, in the provider's order of preference; the first also serves clients that don't ask.
    protocols: tuple[str, ...]
    #: Its error codes that a fault may ask for.
    codes: frozenset[str]
    #: The one that it gives when it is down.
    outage: str
    #: What its client looks for in the environment.
    env: Mapping[str, str]

    def open_at(self, host: str, port: int, ca_file: str) -> dict[str, Any]:
        """Told where it listens; returns the settings table that a worker needs to call it."""
        ...

    def judge(self, request: Request, at: Moment) -> Judged:
        """Decides on one request; accepts nothing by itself."""
        ...

    def failure(self, code: str, judged: Judged, since_ms: int) -> Reply:
        """The reply that refuses with one of ``codes``; since_ms: from when on the provider refuses so."""
        ...


class Caller(Protocol):
    """Who waits for a reply."""

    def reply(self, reply: Reply) -> None: ...

    def reset(self) -> None:
        """Closes the connection without a word."""
        ...

    def doom(self) -> int:
        """The connection takes no more requests, as it is about to be reset; returns how many others still wait for
        their answers on it."""
        ...

    # What only HTTP/2 has; over HTTP/1.1 the nearest thing happens, which is said.

    def reset_stream(self, *, refused: bool) -> None:
        """Ends this request alone (HTTP/1.1: the connection). ``refused``: says that it was not looked at."""
        ...

    def say_goaway(self) -> None:
        """Announces that what comes from now on isn't looked at (HTTP/1.1: closes after the answer)."""
        ...

    def limit_streams(self, count: int) -> None:
        """Lets the client have no more requests open at a time (HTTP/1.1: nothing)."""
        ...


def refused(judged: Judged, code: str, reply: Reply) -> Judged:
    return replace(judged, code=code, reply=reply, shown=None)


def attempt_of(value: object) -> int | None:
    """The attempt beside a send id, where the request carries one that is a number."""
    return int(value) if isinstance(value, int | str) and str(value).isdecimal() else None


def text_of(value: object) -> str | None:
    return value if isinstance(value, str) else None


#: Seconds between two drops of an answer that comes slowly.
DROP_S = 0.1


def drops(body: bytes, bytes_per_s: int) -> Iterator[bytes]:
    """What goes out every ``DROP_S`` at this speed, in pieces that any frame can carry."""
    size = min(16_384, max(1, round(bytes_per_s * DROP_S)))
    return (body[begin : begin + size] for begin in range(0, len(body), size))
