"""Poison that doesn't raise: a record, due row or send that blocks the process until a watchdog kills it, or kills it
outright (out of memory, a fault in native code). Nothing in the process can catch that, so the next one has to know.

What is being handled is named in a small memory-mapped file. Writing there is no system call, and the pages outlive a
``kill -9`` of the process. Whoever opens the file next and finds a name there knows what the process before died of,
or at least during. That is counted beside it, until the same thing is handled to an end.

Once is no proof: anybody may kill a process at any moment. See ``Suspect.is_poison``, and
docs/decisions/0016-poison-that-hangs.md.
"""

import mmap
import os
import struct
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from uuid import UUID

import msgspec
import structlog
from msgspec.structs import replace

from app.ports import LogRecord, Poison
from app.private import write_private

log = structlog.get_logger(__name__)

#: Kind, partition, offset, timestamp, when it began (Unix s), and the topic or the key of the due row.
_PLACE = struct.Struct("<Bxxxiqqd256p")
#: The key of the send that is being worked on; behind the place.
_SUBJECT = struct.Struct("<64p")
_write_place = _PLACE.pack_into  # (looked up once: it is called for every record)
_SIZE = _PLACE.size + _SUBJECT.size
_NOTHING, _RECORD, _DUE, _RESULT, _SEND = range(5)
_KINDS = ("nothing", "record", "due row", "result", "send")
_LONGEST_NAME = 255
#: The folder, in a process's own, of the guard for what all processes follow: it knows of no partition.
FOLLOWING = "following"
#: An end that is noticed so long after the handling began may be a watchdog's.
BLOCKED_S = 30.0
#: Suspects that are remembered, and for how long.
_MOST, _FOR_S = 64, 7 * 86_400.0


class Place(msgspec.Struct, frozen=True):
    """What was handled. ``name``: a topic, or the key of a due row or send."""

    kind: int
    partition: int
    name: bytes
    offset: int = -1
    timestamp: int = -1


class Suspect(msgspec.Struct, frozen=True):
    """How many processes in a row ended at a place, how many of them after a long time; ``at``: the latest, Unix s."""

    place: Place
    ends: int
    blocked: int
    at: float

    @property
    def is_poison(self) -> bool:
        """At the second end by a watchdog, at the third of any kind: that kills at random moments hit the half of a
        millisecond in which one record is handled three times in a row doesn't happen."""
        return self.blocked >= 2 or self.ends >= 3

    @property
    def is_beyond_help(self) -> bool:
        """Giving it up ended processes, too."""
        return self.is_poison and self.ends >= 5


class Ended(Poison):
    """``suspect`` says how often."""

    def __init__(self, suspect: Suspect) -> None:
        super().__init__(f"the process ended {suspect.ends} times in a row while this was being handled")
        self.suspect = suspect


class PoisonGuard:
    """Names what is being handled, and refuses what has ended too many processes. One for all partitions of a process:
    deciding is synchronous. In memory only until ``open``. ``clock``: Unix seconds."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._memory = mmap.mmap(-1, _SIZE)
        self._file: Path | None = None
        self._suspects: dict[Place, Suspect] = {}
        #: Of the suspects, what is being handled now.
        self._suspected: list[Place] = []
        self._has_subject = False

    def open(self, folder: Path) -> None:
        """From here on a crash is remembered; what the process before left is counted."""
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / "suspects.json"
        self._suspects = {suspect.place: suspect for suspect in _read(self._file)}
        self._memory = _mapped(folder / "handling")
        left = self._left()
        if left is not None:
            self._count(*left)
        self._has_subject = True
        self.end()

    def record(self, record: LogRecord) -> None:
        """It is handled from now on. Raises Poison (it is named all the same, until ``end``)."""
        partition, offset, timestamp = record.partition, record.offset, record.timestamp
        name = _topic_name(record.topic)
        _write_place(self._memory, 0, _RECORD, partition, offset, timestamp, self._clock(), name)
        if self._suspects:
            self._check(Place(_RECORD, partition, name, offset, timestamp))

    def due(self, partition: int, key: bytes) -> None:
        """The same for a row of ``schedule``."""
        name = _name(key)
        _write_place(self._memory, 0, _DUE, partition, -1, -1, self._clock(), name)
        if self._suspects:
            self._check(Place(_DUE, partition, name))

    def result(self, partition: int) -> None:
        """The same for a result, which has no name: it is never poison, but the send that it belongs to may be."""
        _write_place(self._memory, 0, _RESULT, partition, -1, -1, self._clock(), b"")

    def works_on(self, key: bytes) -> None:
        """Of what is handled, this send is worked on: it is the one to blame. Empty: it is done. Raises Poison."""
        _SUBJECT.pack_into(self._memory, _PLACE.size, key)
        self._has_subject = True
        if self._suspects and key:
            self._check(Place(_SEND, -1, key))

    def end(self) -> None:
        """Whatever was handled is handled to its end."""
        self._memory[0] = _NOTHING
        if self._has_subject:
            self._memory[_PLACE.size] = 0
            self._has_subject = False
        if self._suspected:
            self._acquit()

    def _check(self, place: Place) -> None:
        suspect = self._suspects.get(place)
        if suspect is None:
            return
        if suspect.is_poison:
            raise Ended(suspect)
        self._suspected.append(place)

    def _acquit(self) -> None:
        for place in self._suspected:
            self._suspects.pop(place, None)
        self._suspected.clear()
        self._save()

    def _left(self) -> tuple[Place, float] | None:
        """What was being handled when the process before ended, and since when."""
        kind, partition, offset, timestamp, began, name = _PLACE.unpack_from(self._memory, 0)
        if kind not in (_RECORD, _DUE, _RESULT):
            return None
        (subject,) = _SUBJECT.unpack_from(self._memory, _PLACE.size)
        if subject:
            return Place(_SEND, -1, subject), began
        return None if kind == _RESULT else (Place(kind, partition, name, offset, timestamp), began)

    def _count(self, place: Place, began: float) -> None:
        now = self._clock()
        before = self._suspects.pop(place, Suspect(place, 0, 0, now))
        blocked = int(now - began >= BLOCKED_S)
        suspect = replace(before, ends=before.ends + 1, blocked=before.blocked + blocked, at=now)
        kept = [each for each in self._suspects.values() if now - each.at <= _FOR_S][1 - _MOST :]
        self._suspects = {each.place: each for each in (*kept, suspect)}
        self._save()
        log.error(
            "the process ended while this was being handled",
            kind=_KINDS[place.kind],
            name=_shown(place),
            partition=place.partition,
            offset=place.offset,
            ends=suspect.ends,
            poison=suspect.is_poison,
        )

    def _save(self) -> None:
        """A power cut may take it: then it is counted anew."""
        if self._file is None:
            return
        with suppress(OSError):  # (without it the guard forgets, and nothing else)
            write_private(self._file, msgspec.json.encode(list(self._suspects.values())))


def _name(name: bytes) -> bytes:
    return name if len(name) <= _LONGEST_NAME else blake2b(name).digest()


@lru_cache(maxsize=64)
def _topic_name(topic: str) -> bytes:
    return _name(topic.encode())


def _shown(place: Place) -> str:
    if place.kind == _SEND and len(place.name) == 16:
        return str(UUID(bytes=place.name))
    return place.name.decode(errors="replace") if place.kind == _RECORD else place.name.hex()


def _read(file: Path) -> Iterable[Suspect]:
    try:
        return msgspec.json.decode(file.read_bytes(), type=list[Suspect])
    except (OSError, msgspec.MsgspecError):  # there is none, or it is damaged: it is counted anew
        return ()


def _mapped(file: Path) -> mmap.mmap:
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if os.fstat(descriptor).st_size != _SIZE:
            os.ftruncate(descriptor, 0)
            os.ftruncate(descriptor, _SIZE)
        return mmap.mmap(descriptor, _SIZE)
    finally:
        os.close(descriptor)
