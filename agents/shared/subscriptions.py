"""What every channel's role reads, by urgency; where a record lies, and the timestamp that counts."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.ports import LogRecord, Subscription, Urgency
from schemas.instants import counted_ms
from schemas.topics import BROADCASTS, COMMANDS, LIFECYCLE, RECEIPTS, RESULTS, SEND_TOPICS
from schemas.words import Channel

#: What every channel's role produces to.
CHANNEL_OUTPUTS = (LIFECYCLE, RESULTS)


def channel_subscriptions(channel: Channel) -> tuple[Subscription, ...]:
    """The channel's sends, each judged only when the commands before it are known."""
    critical, normal, bulk = SEND_TOPICS[channel]
    return (
        Subscription(COMMANDS, Urgency.COMMANDS, gated=False, owned=False),
        Subscription(BROADCASTS, Urgency.COMMANDS, gated=False, owned=False, patient=True),
        Subscription(critical, Urgency.CRITICAL),
        Subscription(normal, Urgency.NORMAL),
        Subscription(bulk, Urgency.BULK),
    )


def sender_subscriptions(channel: Channel) -> tuple[Subscription, ...]:
    """The same for a channel that calls providers: what comes back of a send is evidence that it was sent."""
    return (
        *channel_subscriptions(channel),
        Subscription(RESULTS, Urgency.RECEIPTS, gated=False, owned=False, patient=True),
        Subscription(RECEIPTS, Urgency.RECEIPTS, gated=False, owned=False, patient=True),
    )


def position_of(record: LogRecord) -> str:
    """Names a record by where it lies."""
    return f"{record.topic}:{record.partition}:{record.offset}"


@dataclass(slots=True)
class _Timed:
    """A record whose own timestamp can't be."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]


def timed(record: LogRecord, now: int) -> LogRecord:
    """The record with the timestamp that counts."""
    ms = counted_ms(record.timestamp, now)
    if ms == record.timestamp:
        return record
    return _Timed(record.topic, record.partition, record.offset, ms, record.key, record.value, record.headers)
