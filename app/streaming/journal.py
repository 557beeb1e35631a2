"""The journal: a checkpoint as one Kafka record, written before any of its effects.

One record is appended or it isn't, so a checkpoint is atomic: what a batch changed, what it produces and how far it
read are durable together. After a crash the entries that were not yet carried out are carried out again, byte for
byte; what was never journaled never happened (docs/decisions/0002-journal.md).

It is also what fences a partition: its owner appends a claim first, and an entry that names an older claim than the
latest before it was written by a worker that had lost the partition without knowing: it counts for nothing
(docs/decisions/0005-fencing-epochs.md).
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec
from msgspec import Struct

from app.domain.out import Produce
from app.streaming.epochs import Epoch, make_epoch, read_epoch
from schemas.sizes import STATE_BYTES, size_on_wire

#: Keys, so that compaction leaves the last entry and the last claim.
ENTRY, CLAIM = b"", b"claim"

#: Rows changed by table: key and new bytes, None for a deleted row.
Changes = Mapping[str, Mapping[bytes, bytes | None]]


class Entry(Struct, frozen=True, array_like=True, gc=False):
    """One checkpoint of one partition."""

    #: The next offset to read of every topic that the partition's runner reads.
    positions: dict[str, int]
    changes: dict[str, dict[bytes, bytes | None]]
    outputs: list[Produce]
    #: The offset of the claim under which it was written.
    claim: int = -1


@dataclass(frozen=True, slots=True)
class JournalPosition:
    """An entry's offset and that of its claim: the last one that is known to have been carried out."""

    entry: int
    claim: int


class Fenced(Exception):
    """Another worker has taken the partition over: this one must stop before it does anything more."""


class EntryTooLarge(Exception):
    """A checkpoint that the journal's topic wouldn't take. Nothing of it was written."""


class Appender(Protocol):
    async def append(self, topic: str, partition: int, value: bytes, key: bytes = ENTRY) -> int:
        """One record, alone in its batch; returns its offset."""
        ...


#: Whether the journal's partition holds a claim in these offsets, the second not included; None: whatever comes.
Claimed = Callable[[int, int, int | None], Awaitable[bool]]

encode_entry: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Entry).decode


def decode_entry(value: bytes) -> Entry:
    """Raises msgspec.DecodeError for what isn't an entry."""
    return _decode(value)


def valid_entries(
    records: Iterable[tuple[int, bytes | None, bytes]], since: JournalPosition | None
) -> list[tuple[int, Entry]]:
    """The entries among a journal's records (offset, key, value) that were written by the partition's owner of then.

    ``since``: what is known from before the first record.
    """
    latest = since.claim if since is not None else -1
    valid: list[tuple[int, Entry]] = []
    for offset, key, value in records:
        if key == CLAIM:
            latest = offset
            continue
        entry = decode_entry(value)
        if entry.claim >= latest:
            latest = entry.claim
            valid.append((offset, entry))
    return valid


class OwnedJournal:
    """One partition's journal as its owner writes it. Its records lie one after the other: a gap was somebody else."""

    def __init__(self, appender: Appender, claimed: Claimed, topic: str, partition: int) -> None:
        self._appender = appender
        self._claimed = claimed
        self.topic = topic
        self._partition = partition
        self._claim = -1
        self._next = 0

    async def claim(self, owner: str) -> int:
        """Takes the partition over: from here on no entry of an earlier owner counts. Returns the claim's offset."""
        self._claim = await self._appender.append(self.topic, self._partition, owner.encode(), CLAIM)
        self._next = self._claim + 1
        return self._claim

    @property
    def latest(self) -> int:
        """The offset of its latest record, as far as its owner knows."""
        return self._next - 1

    async def epoch(self, seen: Epoch) -> Epoch:
        """What this owner's rows have to say. ``seen``: the highest that rows say which were there before.

        Raises Fenced where that is of a worker which has claimed the partition since.
        """
        generation, claim = read_epoch(seen)
        if claim < self._claim:
            return make_epoch(generation, self._claim)
        if await self._claimed(self._partition, self._next, None):
            raise self._fenced()
        return make_epoch(generation + 1, self._claim)  # nobody has: the journal was made anew

    async def append(
        self, positions: dict[str, int], changes: dict[str, dict[bytes, bytes | None]], outputs: list[Produce]
    ) -> tuple[JournalPosition, Entry]:
        """Raises Fenced where another worker claimed the partition before this entry was appended, EntryTooLarge."""
        entry = Entry(positions, changes, outputs, self._claim)
        value = encode_entry(entry)
        if size_on_wire(ENTRY, value) > STATE_BYTES:  # (batches are bounded so that this can't be)
            raise EntryTooLarge(f"{self.topic}[{self._partition}]: {len(value)} bytes")
        offset = await self._appender.append(self.topic, self._partition, value)
        if offset != self._next and await self._claimed(self._partition, self._next, offset):
            raise self._fenced()
        self._next = offset + 1
        return JournalPosition(offset, self._claim), entry

    def _fenced(self) -> Fenced:
        return Fenced(f"{self.topic}[{self._partition}] was claimed by another worker")
