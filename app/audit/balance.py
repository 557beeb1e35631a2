"""Check 1, the balance: what was asked for was accepted once, and what was accepted has one end or a stated wait.

From the topics alone: each record of an event topic leads to one ``accepted``, one ``repeated`` or one dead letter,
whose ids follow from the record; each ``accepted`` goes back to a record, a digest's items, a code that was asked for
or a replay; and each (notification, user, replay) balances (``recipient.py``).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec
from aiokafka import TopicPartition
from aiokafka.structs import ConsumerRecord
from msgspec import Struct

from app.audit.findings import Finding, Progress
from app.audit.recipient import BalanceEvent, balance_event, balance_of, is_counted
from app.audit.recorded import Span, check_topics, log_reader, read_spans, spans_of, total
from app.audit.scratch import Scratch
from app.domain.ids import event_id, keyed_notification_id, positioned_notification_id
from app.domain.origin import origin_of
from app.kafka.consumers import LogConsumer
from app.kafka.records import Unreadable
from app.store.groups import committed_offsets
from schemas.cloudevents import read_event
from schemas.dead import read_dead
from schemas.decode import Invalid
from schemas.lifecycle import LifecycleEvent, read_lifecycle
from schemas.links import SCHEMES
from schemas.replays import read_replay_request
from schemas.requests import Request
from schemas.topics import DEAD, EVENT_TOPICS, LIFECYCLE, REPLAY_REQUESTS, VERIFICATIONS
from schemas.verifications import read_verification

ROUTER_GROUP = "tocsin_router"
#: The source of digests and codes.
_OWN_SOURCE = "tocsin"
#: A record may be accepted so long after it was written, in an audit of a part of the log.
_LATE_MS = 24 * 3_600_000
#: How far a record's timestamp may lie ahead of its events'.
_AHEAD_MS = 3_600_000
#: Kafka deletes whole segments: around the first record that is left, what events refer to may be gone.
_EDGE_MS = 600_000

#: Tables: events that balance; events' bytes; records that ask; the answers they may have; answers; letters; digests.
_EVENTS, _BYTES, _ASKED, _CAUSES, _ANSWERS, _LETTERS, _DIGESTS, _REPLAYS = (
    *("events", "bytes", "asked", "causes", "answers", "letters", "digests", "replays"),
)
_encode = msgspec.msgpack.encode


class _Whose(NamedTuple):
    notification_id: str
    user_id: str
    replay_id: str


class _Event(Struct, frozen=True, array_like=True, gc=False):
    notification_id: str
    user_id: str
    replay_id: str
    partition: int
    balanced: BalanceEvent


class _Asked(Struct, frozen=True, array_like=True, gc=False):
    """A record of an event topic. ``accepted``, ``repeated``: the events that may answer it; "": it is no request."""

    key: bytes
    accepted: str
    repeated: str
    notification_id: str
    user_id: str


class _Answer(Struct, frozen=True, array_like=True, gc=False):
    """An ``accepted`` or ``repeated``."""

    status: str
    partition: int
    offset: int
    notification_id: str
    user_id: str
    replay_id: str
    source: str
    at_ms: int


_decode_event = msgspec.msgpack.Decoder(_Event).decode
_decode_asked = msgspec.msgpack.Decoder(_Asked).decode
_decode_answer = msgspec.msgpack.Decoder(_Answer).decode


@dataclass(frozen=True, slots=True)
class BalanceTerms:
    """Times are Unix ms; ``from_ms`` None: from the beginning of what is kept. ``to_ms`` isn't in the range.

    ``open_ms``: how long something may be under way, with neither an end nor a stated wait.
    """

    partitions: int
    from_ms: int | None
    to_ms: int
    open_ms: int
    secret: bytes = field(repr=False)
    link_schemes: frozenset[str] = SCHEMES


async def check_balance(
    client_options: Mapping[str, Any], terms: BalanceTerms, scratch: Scratch, now_ms: int, progress: Progress
) -> Finding:
    """Raises KafkaError, LookupError for a missing topic."""
    gathering = _Gathering(terms, scratch)
    async with log_reader(client_options) as consumer:
        await gathering.read(client_options, consumer, progress)
    return gathering.evaluate(now_ms)


class _Gathering:
    def __init__(self, terms: BalanceTerms, scratch: Scratch) -> None:
        self._terms = terms
        self._rows = scratch
        self._finding = Finding("balance")
        #: Partitions of notify_lifecycle that were read from their first record, of which nothing was deleted.
        self._whole: dict[int, bool] = {}
        #: By partition: requests of before then (Unix ms) may be gone; 0: none is.
        self._gone_ms = 0
        #: The next record that the router will handle.
        self._handled: Mapping[TopicPartition, int] = {}

    # --- reading ---

    async def read(self, client_options: Mapping[str, Any], consumer: LogConsumer, progress: Progress) -> None:
        """Requests first, as far as the router has handled them, then what was reported of them."""
        terms, from_ms = self._terms, self._terms.from_ms
        there = await consumer.topics()
        await check_topics(consumer, [*EVENT_TOPICS, VERIFICATIONS, LIFECYCLE, DEAD])
        self._handled = await committed_offsets(client_options, ROUTER_GROUP)
        reports_from = None if from_ms is None else from_ms - _AHEAD_MS
        events = await spans_of(consumer, LIFECYCLE, terms.partitions, reports_from)
        letters = await spans_of(consumer, DEAD, terms.partitions, reports_from)
        # Requests are read further than reports of them, so that each report finds its request.
        parts = [await self._asking(consumer, topic) for topic in EVENT_TOPICS]
        for topic in (VERIFICATIONS, REPLAY_REQUESTS):
            if topic in there:
                parts.append(await spans_of(consumer, topic, terms.partitions, reports_from))
        parts += [letters, events]
        self._whole = {place.partition: span.start == 0 for place, span in events.items()}
        done, of = 0, sum(total(spans) for spans in parts)

        def passed(offsets: int) -> None:
            nonlocal done
            done += offsets
            progress(done, of)

        for spans in parts:
            async for place, records in read_spans(consumer, spans, passed):
                for record in records:
                    self._take(place.topic, record)
        self._rows.settle()

    async def _asking(self, consumer: LogConsumer, topic: str) -> dict[TopicPartition, Span]:
        """A topic's requests; and notes from when on they are all there."""
        from_ms = self._terms.from_ms
        spans = await spans_of(consumer, topic, self._terms.partitions, None if from_ms is None else from_ms - _LATE_MS)
        if from_ms is not None:
            self._gone_ms = max(self._gone_ms, from_ms)
        if any(span.begin for span in spans.values()):
            first = await consumer.offsets_for_times(dict.fromkeys(spans, 0))
            kept = [found.timestamp for found in first.values() if found is not None]
            self._gone_ms = max(self._gone_ms, min(kept, default=self._terms.to_ms) + _EDGE_MS)
        for place, span in spans.items():
            unhandled = span.end - max(span.start, self._handled.get(place, 0))
            self._finding.not_covered["records that the router hasn't handled yet"] += max(0, unhandled)
        return spans

    def _take(self, topic: str, record: ConsumerRecord) -> None:
        if topic == LIFECYCLE:
            self._take_event(record)
        elif topic == DEAD:
            self._take_letter(record)
        elif topic == VERIFICATIONS:
            self._take_verification(record)
        elif topic == REPLAY_REQUESTS:
            self._take_replay(record)
        else:
            self._take_request(record)

    def _take_request(self, record: ConsumerRecord) -> None:
        place = _place(record)
        if record.value is None and not isinstance(record, Unreadable):
            self._finding.covered["records without a value"] += 1
            return
        accepted = repeated = notification_id = user_id = ""
        request = self._request(record)
        if request is not None:
            position = origin_of(self._terms.secret, record.key, record.value, record.headers) or place
            user_id = request.user_id
            notification_id = _notification_id(request, position)
            subject = f"{notification_id}\n{user_id}\n"
            accepted = event_id(subject, "accepted", None, position)
            repeated = event_id(subject, "repeated", None, position)
            self._rows.put(_CAUSES, accepted.encode())
            self._rows.put(_CAUSES, repeated.encode())
        handled = record.offset < self._handled.get(TopicPartition(record.topic, record.partition), 0)
        if handled and self._is_in_range(self._recorded_ms(record)):
            asked = _Asked(record.key or b"", accepted, repeated, notification_id, user_id)
            self._rows.put(_ASKED, place.encode(), _encode(asked))

    def _request(self, record: ConsumerRecord) -> Request | None:
        """None for what becomes a dead letter, as far as the record alone says."""
        if record.value is None:
            return None
        try:
            request, _ = read_event(
                record.value, record.headers, self._recorded_ms(record), self._terms.link_schemes, record.key
            )
        except Invalid:
            return None
        return request if record.key == request.user_id.encode() else None

    def _take_verification(self, record: ConsumerRecord) -> None:
        """A code may be asked for without effect, so no answer is due."""
        try:
            message = read_verification(record.value or b"")
        except Invalid:
            return
        subject = f"{message.id}\n{message.user_id}\n"
        self._rows.put(_CAUSES, event_id(subject, "accepted", None, _place(record)).encode())

    def _take_replay(self, record: ConsumerRecord) -> None:
        try:
            asked = read_replay_request(record.value or b"")
        except Invalid:
            return
        whose = _Whose(asked.send.notification_id, asked.user_id, asked.replay_id)
        self._rows.put(_REPLAYS, _name(whose))

    def _take_letter(self, record: ConsumerRecord) -> None:
        try:
            letter = read_dead(record.value or b"")
        except Invalid:
            self._finding.differs(DEAD, record.partition, record.key or b"", record.offset, "can't be read as a letter")
            return
        self._rows.put(_LETTERS, f"{letter.topic}:{letter.partition}:{letter.offset}".encode())

    def _take_event(self, record: ConsumerRecord) -> None:
        try:
            event = read_lifecycle(record.value or b"")
            balanced = balance_event(event, record.offset)
        except (Invalid, ValueError):
            self._finding.differs(
                LIFECYCLE, record.partition, record.key or b"", record.offset, "can't be read as an event"
            )
            return
        self._finding.covered["events"] += 1
        if record.key != event.user_id.encode():
            what = f"{event.status}: the event's user isn't the record's key"
            self._finding.differs(LIFECYCLE, record.partition, record.key or b"", record.offset, what)
        digest = blake2b(record.value or b"", digest_size=8).digest()
        at = f"{record.partition}:{record.offset}".encode()
        self._rows.put(_BYTES, event.event_id.encode() + b"\0" + digest, at)
        whose = _Whose(event.notification, event.user_id, event.replay_id or "")
        if event.status in ("accepted", "repeated"):
            self._take_answer(event, balanced, whose, record)
        if event.status == "aggregated" and isinstance(into := (event.detail or {}).get("into"), str):
            self._rows.put(_DIGESTS, _name(_Whose(into, event.user_id, "")), at)
        if is_counted(event):
            key = _name(whose) + record.partition.to_bytes(4, "big") + record.offset.to_bytes(8, "big")
            self._rows.put(_EVENTS, key, _encode(_Event(*whose, record.partition, balanced)))

    def _take_answer(
        self, event: LifecycleEvent, balanced: BalanceEvent, whose: _Whose, record: ConsumerRecord
    ) -> None:
        answer = _Answer(event.status, record.partition, record.offset, *whose, event.source or "", balanced.at_ms)
        self._rows.put(_ANSWERS, event.event_id.encode(), _encode(answer))

    def _recorded_ms(self, record: ConsumerRecord) -> int:
        """A timestamp that can't be means now."""
        now_ms, at_ms = self._terms.to_ms - 1, int(record.timestamp)
        return at_ms if 0 <= at_ms <= now_ms + _AHEAD_MS else now_ms

    def _is_in_range(self, at_ms: int) -> bool:
        return (self._terms.from_ms or 0) <= at_ms < self._terms.to_ms

    # --- checking ---

    def evaluate(self, now_ms: int) -> Finding:
        self._check_asked()
        self._check_answers(now_ms)
        self._check_copies()
        self._check_recipients(now_ms)
        return self._finding

    def _check_asked(self) -> None:
        for key, value in self._rows.scan(_ASKED):
            asked = _decode_asked(value)
            self._finding.covered["requests"] += 1
            answers = [name for name in (asked.accepted, asked.repeated) if name]
            if any(self._rows.has(_ANSWERS, name.encode()) for name in answers) or self._rows.has(_LETTERS, key):
                continue
            topic, partition, offset = key.decode().rsplit(":", 2)
            what = (
                f"request {asked.notification_id} was neither accepted nor recognized as repeated, nor refused"
                if asked.accepted
                else "isn't a valid request, and has no dead letter"
            )
            self._finding.differs(topic, int(partition), asked.key, int(offset), what)

    def _check_answers(self, now_ms: int) -> None:
        """Nothing is accepted that nobody asked for."""
        for key, value in self._rows.scan(_ANSWERS):
            answer = _decode_answer(value)
            if self._rows.has(_CAUSES, key) or not self._is_in_range(answer.at_ms):
                continue
            if answer.replay_id:
                whose = _Whose(answer.notification_id, answer.user_id, answer.replay_id)
                is_asked = self._rows.has(_REPLAYS, _name(whose))
            else:
                whose = _Whose(answer.notification_id, answer.user_id, "")
                is_asked = answer.source == _OWN_SOURCE and self._rows.has(_DIGESTS, _name(whose))
            if is_asked or (answer.source == _OWN_SOURCE and answer.at_ms + self._terms.open_ms >= now_ms):
                continue  # (of a digest that is being written now, the items' ends may not be there yet)
            if answer.at_ms < self._gone_ms:
                self._finding.not_covered["accepted events whose request is no longer kept"] += 1
                continue
            what = f"{answer.status}: {answer.notification_id}, which no record asked for"
            self._finding.differs(LIFECYCLE, answer.partition, answer.user_id, answer.offset, what)

    def _check_copies(self) -> None:
        """An event that is written twice is written byte for byte."""
        before, first = b"", b""
        for key, at in self._rows.scan(_BYTES):
            name = key[:-9]
            if name == before:
                partition, offset = (int(number) for number in at.split(b":"))
                what = f"event {name.decode()} is written differently at {first.decode()}"
                self._finding.differs(LIFECYCLE, partition, name, offset, what)
            before, first = name, at

    def _check_recipients(self, now_ms: int) -> None:
        name, whose, partition = b"", _Whose("", "", ""), 0
        events: list[BalanceEvent] = []
        for key, value in self._rows.scan(_EVENTS):
            event = _decode_event(value)
            if key[:16] != name:
                if events:
                    self._check_recipient(whose, partition, events, now_ms)
                name, events = key[:16], []
                whose = _Whose(event.notification_id, event.user_id, event.replay_id)
            partition = event.partition
            events.append(event.balanced)
        if events:
            self._check_recipient(whose, partition, events, now_ms)

    def _check_recipient(self, whose: _Whose, partition: int, events: list[BalanceEvent], now_ms: int) -> None:
        found = balance_of(events, now_ms, self._terms.open_ms)
        finding = self._finding
        if not found.accepted_ms:
            if self._whole.get(partition):
                what = f"{_words(whose)}: {events[0].status}, but never accepted"
                finding.differs(LIFECYCLE, partition, whose.user_id, events[0].offset, what)
            else:
                finding.not_covered["recipients that were accepted before what was read"] += 1
            return
        if not any(self._is_in_range(at_ms) for at_ms in found.accepted_ms):
            finding.not_covered["recipients that were accepted outside the range"] += 1
            return
        finding.covered["recipients"] += 1
        finding.covered["ends"] += found.ended
        finding.covered["stated waits"] += found.waiting
        finding.not_covered["sends in flight"] += found.under_way
        for offset, what in found.problems:
            finding.differs(LIFECYCLE, partition, whose.user_id, offset, f"{_words(whose)}: {what}")


def _notification_id(request: Request, position: str) -> str:
    if request.notification_id is not None:
        return request.notification_id.lower()
    if request.idempotency_key is not None:
        return keyed_notification_id(request.source or "", request.idempotency_key)
    if request.assigned_id is not None:
        return request.assigned_id.lower()
    topic, partition, offset = position.rsplit(":", 2)
    return positioned_notification_id(topic, int(partition), int(offset))


def _place(record: ConsumerRecord) -> str:
    return f"{record.topic}:{record.partition}:{record.offset}"


def _name(whose: _Whose) -> bytes:
    return blake2b("\0".join(whose).encode(), digest_size=16).digest()


def _words(whose: _Whose) -> str:
    return f"notification {whose.notification_id}" + (f", replay {whose.replay_id}" if whose.replay_id else "")
