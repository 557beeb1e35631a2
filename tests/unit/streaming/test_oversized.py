"""An entry of a version that did not know what topics take is carried out: what is too large becomes a letter."""

from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator
from pathlib import Path
from random import Random

import msgspec
import pytest

from app.domain.out import Produce
from app.streaming.checkpoints import Checkpoints
from app.streaming.journal import CLAIM, ENTRY, Entry, EntryTooLarge, OwnedJournal, encode_entry
from app.streaming.oversized import mended
from app.streaming.producer import RecordRefused, Span
from app.streaming.store import PartitionStore, block_cache
from schemas.dead import KEPT_BYTES, read_dead
from schemas.sizes import RECORD_BYTES, STATE_BYTES, limit_of, size_on_wire
from schemas.topics import DEAD, changelog_topic, journal_topic
from tests.simulation.broker import Broker
from tests.simulation.clients import LogRestorer

NOW = 1_700_000_000_000
_CHANGELOG, _JOURNAL = changelog_topic("router", "rows"), journal_topic("router")


def old_letter(value: bytes) -> Produce:
    letter = {
        "topic": "notify_events", "partition": 0, "offset": 7, "timestamp": 2, "headers": [["a", None]],
        "key": b64encode(b"ann").decode(), "value": b64encode(value).decode(), "reason": "is not UTF-8", "field": None,
        "role": "router", "at": "2026-01-01T00:00:00.000Z",
    }  # fmt: skip
    return Produce(DEAD, b"ann", msgspec.json.encode(letter))


FITS = Produce("notify_lifecycle", b"ann", b"{}")
#: The dead letter of an unreadable record of 3.6 MB, as it was written before.
LARGE_LETTER = old_letter(b"\xff" * 3_600_000)
LARGE_SEND = Produce("notify_send_email", b"ann", b"x" * (RECORD_BYTES + 1))


def test_what_fits_is_left_as_it_is() -> None:
    outputs = [FITS, old_letter(b"{}")]
    assert mended(outputs, 0, "router", NOW) == outputs


def test_a_letter_that_is_too_large_is_shortened() -> None:
    [output] = mended([LARGE_LETTER], 0, "router", NOW)
    letter = read_dead(output.value or b"")

    assert (output.topic, output.key, letter.offset, letter.reason) == (DEAD, b"ann", 7, "is not UTF-8")
    assert (letter.truncated, letter.value_bytes) == (True, 3_600_000)
    assert b64decode(letter.value or "") == b"\xff" * KEPT_BYTES


def test_another_record_that_is_too_large_becomes_its_own_dead_letter() -> None:
    first, output, last = mended([FITS, LARGE_SEND, FITS], 3, "router", NOW)
    letter = read_dead(output.value or b"")

    assert (first, last) == (FITS, FITS)
    assert (output.topic, letter.topic, letter.partition, letter.code) == (DEAD, "notify_send_email", 3, "too_large")
    assert (letter.offset, letter.value_bytes) == (-1, RECORD_BYTES + 1)


class Kafka:
    """A log in memory. ``takes``: what its topics really take of a record."""

    def __init__(self, takes: int | None = None) -> None:
        self.broker = Broker(lambda: 0, lambda: 0.0)
        self._takes = takes

    async def append(self, topic: str, partition: int, value: bytes, key: bytes = ENTRY) -> int:
        return self.broker.append(partition, Produce(topic, key, value))

    async def produce(self, records: Iterable[Produce], partition: int) -> dict[tuple[str, int], Span]:
        spans: dict[tuple[str, int], Span] = {}
        for record in records:
            if not self._fits(record):
                raise RecordRefused(record.topic)
            at = self.broker.append(partition, record)
            first = spans.get((record.topic, partition), Span(at, at, 0)).first
            spans[record.topic, partition] = Span(first, at + 1, at + 1 - first)
        return spans

    async def produce_what_fits(self, records: Iterable[Produce], partition: int) -> list[Produce]:
        refused = []
        for record in records:
            if self._fits(record):
                self.broker.append(partition, record)
            else:
                refused.append(record)
        return refused

    async def ends(self, topics: Iterable[str], partition: int) -> dict[str, int]:
        return {topic: self.broker.end(topic, partition) for topic in topics}

    def _fits(self, record: Produce) -> bool:
        limit = limit_of(record.topic) if self._takes is None else self._takes
        return size_on_wire(record.key, record.value, record.headers) <= limit


async def opened(kafka: Kafka, store: PartitionStore, outputs: list[Produce]) -> None:
    """Opens a partition whose journal holds an entry with these outputs that nobody has carried out."""
    await kafka.append(_JOURNAL, 0, b"an owner", CLAIM)
    await kafka.append(_JOURNAL, 0, encode_entry(Entry({"notify_events": 8}, {"rows": {b"k": b"1"}}, outputs, 0)))
    restorer = LogRestorer(kafka.broker, Random(0), {"rows": _CHANGELOG}, _JOURNAL)
    checkpoints = Checkpoints(
        0,
        store,
        "router",
        ["rows"],
        kafka,  # type: ignore[arg-type]
        restorer,
        kafka.ends,
        10.0,
        lambda: NOW,
    )
    _, pending_entry = await checkpoints.open("router-1", None, lambda done, of: None)
    assert pending_entry.entry is not None


@pytest.fixture
def store(tmp_path: Path) -> Iterator[PartitionStore]:
    store = PartitionStore(tmp_path / "0", block_cache(1))
    yield store
    store.close()


async def test_an_entry_whose_outputs_are_too_large_is_carried_out_mended(store: PartitionStore) -> None:
    kafka = Kafka()
    await opened(kafka, store, [FITS, LARGE_LETTER, LARGE_SEND, FITS])

    assert dict(store.scan("rows", b"", None)) == {b"k": b"1"}
    assert kafka.broker.folded(_CHANGELOG, 0) == {b"k": b"1"}
    assert kafka.broker.end("notify_lifecycle", 0) == 2
    letters = [read_dead(record.value or b"") for record in kafka.broker.of(DEAD)]
    assert [(letter.topic, letter.truncated) for letter in letters] == [
        ("notify_events", True),
        ("notify_send_email", True),
    ]


async def test_what_a_topic_refuses_that_takes_less_than_declared_is_a_letter_too(store: PartitionStore) -> None:
    kafka = Kafka(takes=1_000_000)
    await opened(kafka, store, [FITS, Produce("notify_send_email", b"ann", b"x" * 1_000_000), FITS])

    assert dict(store.scan("rows", b"", None)) == {b"k": b"1"}
    assert kafka.broker.end("notify_lifecycle", 0) >= 2
    [letter] = [read_dead(record.value or b"") for record in kafka.broker.of(DEAD)]
    assert (letter.topic, letter.code) == ("notify_send_email", "too_large")


async def test_no_entry_is_appended_that_the_journal_would_refuse() -> None:
    kafka = Kafka()
    journal = OwnedJournal(kafka, lambda *_: pytest.fail("asked who claimed it"), _JOURNAL, 0)
    with pytest.raises(EntryTooLarge):
        await journal.append({}, {"rows": {b"k": b"x" * STATE_BYTES}}, [])
    assert kafka.broker.end(_JOURNAL, 0) == 0
