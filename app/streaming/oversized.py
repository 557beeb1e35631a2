"""A record in the journal that its topic refuses for its size is replaced by a dead letter.

Entries of the version before may hold such records. Whatever else they hold is carried out as it is.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from app.domain.out import SAME_PARTITION, Produce
from schemas.dead import dead_key, dead_letter, encode_dead, read_dead, shortened
from schemas.sizes import limit_of, size_on_wire
from schemas.topics import DEAD


@dataclass(frozen=True, slots=True)
class _Unwritten:
    """A record that never got a place."""

    topic: str
    partition: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    offset: int = -1


def mended(outputs: Iterable[Produce], partition: int, role: str, now: int) -> list[Produce]:
    """The records, those that are too large for their topics replaced. ``now``: Unix ms."""
    return [output if _fits(output) else instead_of(output, partition, role, now) for output in outputs]


def instead_of(output: Produce, partition: int, role: str, now: int) -> Produce:
    """What is written in place of a record that its topic refuses: its dead letter, or a shorter one."""
    if output.topic == DEAD:
        letter = shortened(read_dead(output.value or b""))
    else:
        where = partition if output.partition == SAME_PARTITION else output.partition
        timestamp = now if output.timestamp_ms is None else output.timestamp_ms
        record = _Unwritten(output.topic, where, timestamp, output.key, output.value, tuple(output.headers))
        letter = dead_letter(record, "too_large", f"is larger than {output.topic} accepts", None, role, now)
    return Produce(DEAD, dead_key(letter), encode_dead(letter))


def _fits(output: Produce) -> bool:
    return size_on_wire(output.key, output.value, output.headers) <= limit_of(output.topic)
