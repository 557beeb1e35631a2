"""Writes down every call and every accepted message before anyone is answered, and finds them again."""

import asyncio
import os
from collections import Counter, deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import msgspec

from app.sandbox.records import Accepted, Call

#: So many accepted messages and calls are kept whole in memory; older ones are read from the file.
KEPT = 50_000

Line = TypeVar("Line", Accepted, Call)


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
    """Two append-only files, ``calls.jsonl`` and ``accepted.jsonl``.

    Lines of one tick of the event loop are written together; only then are the callers answered that wait for them.
    They outlive the process, not the machine (no fsync).
    ``broken`` gets the error when the files can't be written any more.
    """

    def __init__(self, folder: Path, *, kept: int = KEPT, broken: asyncio.Future[None] | None = None) -> None:
        self.accepted: deque[Accepted] = deque(maxlen=kept)
        self.calls: deque[Call] = deque(maxlen=kept)
        self.tallies: dict[str, Tally] = {}
        #: Hashes of the send ids seen, so that a million of them take some 70 MB.
        self._seen: set[int] = set()
        self._encode = msgspec.json.Encoder().encode
        self._files: dict[type, BinaryIO] = {}
        self._paths = {Call: folder / "calls.jsonl", Accepted: folder / "accepted.jsonl"}
        for kind, path in self._paths.items():
            self._files[kind] = _open_whole(path)
        for call in self._read(Call):
            self._count_call(call)
        for message in self._read(Accepted):
            self._count_accepted(message)
        self._waiting: list[Callable[[], None]] = []
        self._broken = broken

    # --- writing

    def next_seq(self, kind: type[Accepted] | type[Call]) -> int:
        last = self.accepted if kind is Accepted else self.calls
        return last[-1].seq + 1 if last else 1

    def add_call(self, call: Call) -> None:
        self._files[Call].write(self._encode(call) + b"\n")
        self._count_call(call)

    def add_accepted(self, message: Accepted) -> None:
        self._files[Accepted].write(self._encode(message) + b"\n")
        self._count_accepted(message)

    def when_written(self, tell: Callable[[], None]) -> None:
        """Calls ``tell`` as soon as all lines added until now are in the files; never if they can't be written."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self.flush)
        self._waiting.append(tell)

    def flush(self) -> None:
        try:
            for file in self._files.values():
                file.flush()
        except OSError as error:
            if self._broken is not None and not self._broken.done():
                self._broken.set_exception(error)
            return
        waiting, self._waiting = self._waiting, []
        for tell in waiting:
            tell()

    def close(self) -> None:
        for file in self._files.values():
            file.close()

    # --- reading

    def find(
        self,
        kind: type[Line],
        after: int = 0,
        *,
        newest_first: bool = False,
        **wanted: str,
    ) -> Iterator[Line]:
        """Lines with seq > after whose fields equal those wanted. Newest first: only what is kept in memory."""
        kept: deque[Line] = self.accepted if kind is Accepted else self.calls  # type: ignore[assignment]
        if newest_first:
            lines: Iterator[Line] = iter(reversed(kept))
        elif kept and kept[0].seq > after + 1:
            lines = self._read(kind, tuple(self._encode(value)[1:-1] for value in wanted.values()))
        else:
            lines = iter(tuple(kept))
        asked = tuple(wanted.items())
        return (line for line in lines if line.seq > after and all(getattr(line, k) == v for k, v in asked))

    def stats(self, limit: int = 100) -> dict[str, Any]:
        """Counts of each provider, and the send ids that were accepted more than once."""
        copies: Counter[str] = Counter()
        for tally in self.tallies.values():
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
                for name, tally in sorted(self.tallies.items())
            },
            "duplicates": _duplicates(copies, limit),
        }

    # --- inside

    def _read(self, kind: type[Line], containing: tuple[bytes, ...] = ()) -> Iterator[Line]:
        decode = msgspec.json.Decoder(kind).decode
        with self._paths[kind].open("rb") as file:
            for line in file:
                if all(part in line for part in containing):
                    yield decode(line)

    def _tally(self, provider: str) -> Tally:
        return self.tallies.setdefault(provider, Tally())

    def _count_call(self, call: Call) -> None:
        self.calls.append(call)
        tally = self._tally(call.provider)
        tally.calls += 1
        if call.outcome == "refused":
            tally.refused[call.code or "?"] += 1
        elif call.outcome in ("hung", "reset") or call.fault in ("accept_and_hang", "accept_and_reset"):
            tally.unanswered[call.fault or "?"] += 1

    def _count_accepted(self, message: Accepted) -> None:
        self.accepted.append(message)
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


def _open_whole(path: Path) -> BinaryIO:
    """Opens for appending; cuts off a last line that a kill left half written (nobody was answered for it)."""
    path.touch()
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        keep = size
        while keep > 0:
            start = max(0, keep - 65536)
            file.seek(start)
            cut = file.read(keep - start).rfind(b"\n")
            keep = start + cut + 1 if cut >= 0 else start
            if cut >= 0:
                break
        if keep < size:
            file.truncate(keep)
    return path.open("ab", buffering=1 << 20)
