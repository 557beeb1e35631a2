"""Writes down every call and every accepted message before anyone is answered, and finds them again."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from app.sandbox.faults import UNANSWERED
from app.sandbox.records import Accepted, Call

#: So many accepted messages and calls are kept whole in memory; older ones are read from the file.
KEPT = 50_000
_STRIDE = 1000

Line = TypeVar("Line", Accepted, Call)


class Book(Generic[Line]):
    """One append-only file of lines numbered by ``seq`` from 1, with the newest in memory."""

    def __init__(self, path: Path, kind: type[Line], kept: int) -> None:
        self._path = path
        self._encode = msgspec.json.Encoder().encode
        self._decode: Callable[[bytes], Line] = msgspec.json.Decoder(kind).decode
        self._buffer: list[bytes] = []
        #: Where every thousandth line begins, so that a reader need not start at the top.
        self._offsets = [0]
        self._size = 0
        self.last_seq = 0
        self.kept: deque[Line] = deque(maxlen=kept)
        path.touch()
        _cut_off_torn_line(path)
        self._file = path.open("ab")

    def load(self) -> Iterator[Line]:
        """The lines of earlier runs; to be read to the end before anything is added. Raises OSError for a bad line."""
        with self._path.open("rb") as file:
            for number, raw in enumerate(file, 1):
                try:
                    line = self._decode(raw)
                except msgspec.MsgspecError as error:
                    raise OSError(f"{self._path}, line {number}: {error}; move the file away to begin anew") from error
                self._remember(line, len(raw))
                yield line

    def add(self, line: Line) -> None:
        raw = self._encode(line) + b"\n"
        self._buffer.append(raw)
        self._remember(line, len(raw))

    def flush(self) -> None:
        """Raises OSError if the file can't be written."""
        if self._buffer:
            self._file.write(b"".join(self._buffer))
            self._buffer.clear()
            self._file.flush()

    def find(self, wanted: Mapping[str, str], after: int = 0, *, newest_first: bool = False) -> Iterator[Line]:
        """Lines with seq > after whose fields equal those wanted; newest first knows only what is in memory."""
        if newest_first:
            lines: Iterator[Line] = iter(tuple(reversed(self.kept)))
        elif self.kept and self.kept[0].seq > after + 1:
            lines = self._read(after, [self._encode(value)[1:-1] for value in wanted.values()])
        else:
            lines = iter(tuple(self.kept))
        asked = tuple(wanted.items())
        return (line for line in lines if line.seq > after and all(getattr(line, k) == v for k, v in asked))

    def close(self) -> None:
        self._file.close()

    def _remember(self, line: Line, size: int) -> None:
        self.kept.append(line)
        self.last_seq = line.seq
        self._size += size
        if line.seq % _STRIDE == 0:
            self._offsets.append(self._size)

    def _read(self, after: int, containing: list[bytes]) -> Iterator[Line]:
        with self._path.open("rb") as file:
            file.seek(self._offsets[min(after // _STRIDE, len(self._offsets) - 1)])
            for raw in file:
                if raw.endswith(b"\n") and all(part in raw for part in containing):
                    yield self._decode(raw)


class Tally:
    """One provider's counts."""

    def __init__(self) -> None:
        self.calls = 0
        self.accepted = 0
        self.refused: Counter[str] = Counter()
        self.unanswered: Counter[str] = Counter()
        #: send_id → copies that this provider accepted of what had been accepted before.
        self.repeats: Counter[str] = Counter()


class Journal:
    """``calls.jsonl`` and ``accepted.jsonl``, and the counts over them.

    Lines of one tick of the event loop are written together; only then are the callers answered that wait for them.
    They outlive the process, not the machine (no fsync). ``broken`` gets the error when they can't be written.
    ``drop``: nothing is kept but the counts, in memory.
    """

    def __init__(
        self, folder: Path, *, kept: int = KEPT, broken: asyncio.Future[None] | None = None, drop: bool = False
    ) -> None:
        self._broken, self._drop = broken, drop
        self._tallies: dict[str, Tally] = {}
        #: Hashes of the send ids seen, so that a million of them take some 70 MB.
        self._seen: set[int] = set()
        self._waiting: list[Callable[[], None]] = []
        self.calls: Book[Call] = Book(folder / "calls.jsonl", Call, kept)
        self.accepted: Book[Accepted] = Book(folder / "accepted.jsonl", Accepted, kept)
        for call in self.calls.load():
            self._count_call(call)
        for message in self.accepted.load():
            self._count_accepted(message)

    def add_call(self, call: Call) -> None:
        if not self._drop:
            self.calls.add(call)
        self._count_call(call)

    def add_accepted(self, message: Accepted) -> None:
        if not self._drop:
            self.accepted.add(message)
        self._count_accepted(message)

    def when_written(self, tell: Callable[[], None]) -> None:
        """Calls ``tell`` as soon as all lines added until now are in the files; never if they can't be written."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self.flush)
        self._waiting.append(tell)

    def flush(self) -> None:
        try:
            self.calls.flush()
            self.accepted.flush()
        except OSError as error:
            if self._broken is None:
                raise
            if not self._broken.done():
                self._broken.set_exception(error)
            return
        waiting, self._waiting = self._waiting, []
        for tell in waiting:
            tell()

    def close(self) -> None:
        self.calls.close()
        self.accepted.close()

    def stats(self, limit: int = 100) -> dict[str, Any]:
        """Counts of each provider, and the send ids that were accepted more than once."""
        copies: Counter[str] = Counter()
        for tally in self._tallies.values():
            copies.update(tally.repeats)
        return {
            "providers": {
                name: {
                    "calls": tally.calls,
                    "accepted": tally.accepted,
                    "refused": dict(tally.refused),
                    "unanswered": dict(tally.unanswered),
                    "duplicates": _duplicates(tally.repeats, limit),
                }
                for name, tally in sorted(self._tallies.items())
            },
            "duplicates": _duplicates(copies, limit),
        }

    def _tally(self, provider: str) -> Tally:
        return self._tallies.setdefault(provider, Tally())

    def _count_call(self, call: Call) -> None:
        tally = self._tally(call.provider)
        tally.calls += 1
        if call.outcome == "refused":
            tally.refused[call.code or "?"] += 1
        elif call.fault in UNANSWERED:
            tally.unanswered[call.fault] += 1

    def _count_accepted(self, message: Accepted) -> None:
        tally = self._tally(message.provider)
        tally.accepted += 1
        if message.send_id is None:
            return
        mark = hash(message.send_id)
        if mark in self._seen:
            tally.repeats[message.send_id] += 1
        self._seen.add(mark)


def _duplicates(repeats: Counter[str], limit: int) -> dict[str, Any]:
    most = [{"send_id": send_id, "copies": extra + 1} for send_id, extra in repeats.most_common(limit)]
    return {"count": len(repeats), "send_ids": most}


def _cut_off_torn_line(path: Path) -> None:
    """Drops a last line that a kill left half written: nobody was answered for it."""
    with path.open("r+b") as file:
        keep = 0
        for raw in file:
            keep += len(raw) if raw.endswith(b"\n") else 0
        file.truncate(keep)
