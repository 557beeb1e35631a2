"""A record of Kafka's, as tests hand it to what reads one."""

from collections.abc import Sequence
from dataclasses import dataclass

from schemas.topics import EVENTS


@dataclass
class Record:
    """See ``app.ports.LogRecord``."""

    topic: str = EVENTS
    partition: int = 0
    offset: int = 0
    timestamp: int = -1
    key: bytes | None = b"ann"
    value: bytes | None = b"{}"
    headers: Sequence[tuple[str, bytes | None]] = ()
