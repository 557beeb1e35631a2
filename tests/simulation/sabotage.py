"""Key steps broken on purpose, one at a time: a simulation that doesn't notice proves nothing."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from aiokafka import TopicPartition

from agents.sender.calls import Call, Result
from app.domain.out import Out, Produce
from app.streaming.journal import ENTRY, JournalPosition, decode_entry
from app.streaming.producer import Span
from app.streaming.restore import PendingEntry
from app.streaming.runtime import Runtime
from schemas.topics import COMMANDS, REPLAY_REQUESTS
from tests.simulation.broker import Record
from tests.simulation.clients import LogRestorer, Reader
from tests.simulation.process import Process, Sabotage


class _Around:
    """Everything as the part that it stands for does it."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def _replaced(parts: Runtime, **broken: Any) -> Runtime:
    """What stands around a part isn't of the part's class."""
    return replace(parts, **broken)


# --- the journal ---


class _Hasty(_Around):
    """Says that the journal has the entry while it is still on its way."""

    async def append(self, topic: str, partition: int, value: bytes, key: bytes = ENTRY) -> int:
        landing = asyncio.ensure_future(self._inner.append(topic, partition, value, key))
        await asyncio.sleep(0)
        assert not landing.done()
        return int(self._inner._broker.end(topic, partition))


class _StoreFirst(_Around):
    """Writes the rows to the store before the journal has them."""

    def __init__(self, inner: Any, process: Process) -> None:
        super().__init__(inner)
        self._process = process

    async def append(self, topic: str, partition: int, value: bytes, key: bytes = ENTRY) -> int:
        if key == ENTRY:
            self._process.disks[partition].write(decode_entry(value).changes, {})
        return int(await self._inner.append(topic, partition, value, key))


class _Forgetful(_Around):
    """Never carries out what the journal still owes."""

    async def pending_entry(self, *args: Any) -> PendingEntry:
        pending_entry = await self._inner.pending_entry(*args)
        return PendingEntry(None, pending_entry.positions)


class _NoJournal(_Around):
    """Goes by the commits alone."""

    async def pending_entry(self, *args: Any) -> PendingEntry:
        return PendingEntry(None, {})


# --- changelogs ---


class _Gullible(LogRestorer):
    """Takes every row for what counts, whoever wrote it."""

    @asynccontextmanager
    async def _reader(self, tps: Sequence[TopicPartition]) -> AsyncIterator[Any]:
        yield _Unstamped(Reader(self._broker, self._chance, tps))


class _Unstamped(_Around):
    async def getmany(self, *tps: TopicPartition, **options: Any) -> Mapping[Any, list[Record]]:
        found = await self._inner.getmany(*tps, **options)
        return {tp: [replace(record, headers=()) for record in records] for tp, records in found.items()}


class _Careless(_Around):
    """Overlooks what a former owner writes late."""

    async def late(self, *args: Any) -> set[bytes]:
        return set()


def _gullible(parts: Runtime, process: Process) -> Runtime:
    known = parts.restorer
    assert isinstance(known, LogRestorer)
    return _replaced(parts, restorer=_Gullible(known._broker, known._chance, known._changelogs, known._journal))


# --- outputs and positions ---


class _Lossy(_Around):
    """Acknowledges outputs of which it loses a part now and then."""

    _count = 0

    async def produce(self, records: Iterable[Produce], partition: int) -> dict[tuple[str, int], Span]:
        _Lossy._count += 1
        kept = [r for n, r in enumerate(records) if "changelog" in r.topic or (n + _Lossy._count) % 29]
        return dict(await self._inner.produce(kept, partition))


class _Unlogged(_Around):
    """Loses rows on their way to the changelogs."""

    _count = 0

    async def produce(self, records: Iterable[Produce], partition: int) -> dict[tuple[str, int], Span]:
        kept = []
        ends: dict[tuple[str, int], Span] = {}
        for record in records:
            _Unlogged._count += 1
            if "changelog" in record.topic and _Unlogged._count % 29 == 0:
                end = self._inner._broker.end(record.topic, partition)
                ends[record.topic, partition] = Span(end, end, 0)
            else:
                kept.append(record)
        return ends | dict(await self._inner.produce(kept, partition))


class _Ahead(_Around):
    """Commits a record that hasn't been handled yet."""

    def note(self, partition: int, positions: Mapping[str, int], journal_position: JournalPosition | None) -> None:
        self._inner.note(partition, {topic: at + 1 for topic, at in positions.items()}, journal_position)


# --- calls ---


class _Undated(_Around):
    """Claims without the row that falls due when the call must have ended."""

    def handle(self, record: Any, state: Any, out: Out, now: int) -> None:
        self._inner.handle(record, state, out, now)
        self._forget(state)

    def wake(self, due_key: bytes, due: Any, state: Any, out: Out, now: int) -> None:
        self._inner.wake(due_key, due, state, out, now)
        self._forget(state)

    def settle(self, result: Any, state: Any, out: Out, now: int) -> None:
        self._inner.settle(result, state, out, now)
        self._forget(state)

    def _forget(self, state: Any) -> None:
        for key, due in state.schedule.scan(b"", None):
            if due.kind == "deadline":
                state.schedule.delete(key)


class _EarlyMachine(_Around):
    """Calls at once, and makes the claim durable afterwards."""

    def __init__(self, inner: Any, executor: "_EarlyPerformer") -> None:
        super().__init__(inner)
        self._performer = executor

    def handle(self, record: Any, state: Any, out: Out, now: int) -> None:
        before = len(out.calls)
        self._inner.handle(record, state, out, now)
        for call in out.calls[before:]:
            self._performer.begin(call)


class _EarlyPerformer(_Around):
    def __init__(self, inner: Any) -> None:
        super().__init__(inner)
        self._begun: dict[tuple[bytes, int], asyncio.Task[Result]] = {}

    def begin(self, call: Call) -> None:
        self._begun[call.key, call.number] = asyncio.ensure_future(self._inner.perform(call))

    async def perform(self, call: Call) -> Result:
        begun = self._begun.pop((call.key, call.number), None)
        return await (begun if begun is not None else self._inner.perform(call))


class _Refreshed(_Around):
    """Makes calls however old their last look is when their turn comes, which is late."""

    async def perform(self, call: Call) -> Result:
        await asyncio.sleep(1.0)
        made = await self._inner.perform(replace(call, claimed_at=self._inner._clock(), known_at=None))
        return Result(call, made.outcome)


# --- commands ---


class _Blind(_Around):
    """Says that there are no commands to wait for."""

    async def end(self, partition: int) -> int:
        await asyncio.sleep(0)
        return 0


def _short(parts: Runtime, process: Process) -> Runtime:
    """Fetches tell an end that lacks three commands, as if it had been read before they came."""
    known = process.commands_end
    process.commands_end = lambda partition: known(partition) - 3
    return parts


def _blind(parts: Runtime, process: Process) -> Runtime:
    process.commands_end = lambda partition: 0
    return _replaced(parts, end_offsets=_Blind(parts.end_offsets))


class _Deaf(_Around):
    """Never hears what a sender should know of its users."""

    def handle(self, record: Any, state: Any, out: Out, now: int) -> None:
        if record.topic != COMMANDS or b"preferences" not in record.value:
            self._inner.handle(record, state, out, now)


class _Unguarded(_Around):
    """Begins whatever a replay asks for."""

    def handle(self, record: Any, state: Any, out: Out, now: int) -> None:
        if record.topic != REPLAY_REQUESTS:
            self._inner.handle(record, state, out, now)
            return
        with patch("agents.router.replay_guard.refusal", lambda *made, **known: None):
            self._inner.handle(record, state, out, now)


def _sending(parts: Runtime) -> bool:
    return parts.executor is not None


def _early(parts: Runtime, process: Process) -> Runtime:
    if not _sending(parts):
        return parts
    executor = _EarlyPerformer(parts.executor)
    return _replaced(parts, machine=_EarlyMachine(parts.machine, executor), executor=executor)


#: What is broken, and how.
BROKEN: Mapping[str, Sabotage] = {
    "the journal acknowledges what it doesn't have": lambda parts, _: _replaced(parts, producer=_Hasty(parts.producer)),
    "the store is written before the journal": lambda parts, its: _replaced(
        parts, producer=_StoreFirst(parts.producer, its)
    ),
    "what the journal owes is not carried out": lambda parts, _: _replaced(parts, restorer=_Forgetful(parts.restorer)),
    "the journal is not read": lambda parts, _: _replaced(parts, restorer=_NoJournal(parts.restorer)),
    "rows are restored whoever wrote them": _gullible,
    "rows of a former owner are left as the last word": lambda parts, _: _replaced(
        parts, restorer=_Careless(parts.restorer)
    ),
    "outputs are acknowledged and lost": lambda parts, _: _replaced(parts, producer=_Lossy(parts.producer)),
    "rows are lost on their way to the changelogs": lambda parts, _: _replaced(
        parts, producer=_Unlogged(parts.producer)
    ),
    "a position is committed before its record is handled": lambda parts, _: _replaced(
        parts, positions=_Ahead(parts.positions)
    ),
    "a claim has no deadline": lambda parts, _: (
        _replaced(parts, machine=_Undated(parts.machine)) if _sending(parts) else parts
    ),
    "a call begins before its claim is durable": _early,
    "a call is made on an old look": lambda parts, _: (
        _replaced(parts, executor=_Refreshed(parts.executor)) if _sending(parts) else parts
    ),
    "sends don't wait for the commands before them": _blind,
    "a fetch tells of an end that lacks the last commands": _short,
    "what is durable is counted twice": lambda parts, _: replace(
        parts, on_durable=lambda counted: parts.on_durable([*counted, *counted])
    ),
    "a replay asks nobody what was made before": lambda parts, _: replace(parts, machine=_Unguarded(parts.machine)),
    "a sender passes preferences over": lambda parts, _: (
        _replaced(parts, machine=_Deaf(parts.machine)) if _sending(parts) else parts
    ),
}
