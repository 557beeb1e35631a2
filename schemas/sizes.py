"""How large a record may be on each topic, as the topics are declared and as everything that writes there is bounded.

What others write may be anything that fits into 4 MiB, so that it can be refused properly. What Tocsin writes fits by
construction (docs/decisions/0007-bounded-checkpoints.md).
"""

from collections.abc import Iterable
from functools import cache

from schemas.topics import is_changelog_or_journal

KIB = 1024
MIB = 1024 * KIB

#: ``max.message.bytes`` of every topic but changelogs and journals, and of those.
RECORD_BYTES = 4 * MIB
STATE_BYTES = 16 * MIB

#: A batch is closed when the rows and records it leads to have so many bytes.
CHECKPOINT_BYTES = 1 * MIB
#: What one record, due row or result may lead to at most. It comes on top of a batch that is about to be closed, and
#: both lie in one journal entry with the positions and what is swept.
OUTCOME_BYTES = 8 * MIB

#: Of a Kafka batch with one record, beside the record's key, value and headers: the batch's 61 bytes, and the record's
#: lengths and deltas at their longest.
_BATCH_BYTES, _HEADER_BYTES = 61 + 5 + 1 + 10 + 5 + 5 + 5 + 5, 10


@cache
def limit_of(topic: str) -> int:
    """The most bytes of a record on the topic, with all that Kafka counts."""
    return STATE_BYTES if is_changelog_or_journal(topic) else RECORD_BYTES


def size_on_wire(key: bytes | None, value: bytes | None, headers: Iterable[tuple[str, bytes | None]] = ()) -> int:
    """No less than Kafka counts of a record that is alone in its batch. Raises UnicodeEncodeError for a header's name
    that can't be written."""
    size = _BATCH_BYTES + len(key or b"") + len(value or b"")
    for name, text in headers:
        size += _HEADER_BYTES + len(name.encode()) + len(text or b"")
    return size
