"""Every role that keeps tables, over several partitions in memory and in virtual time, with the guard that stands
around each of them in a worker, and what must hold whatever is fed to them."""

from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from agents.inbox.machine import InAppMachine
from agents.router.machine import RouterMachine
from agents.sender.calls import Call, Result
from agents.sender.context import ChannelConfig
from agents.sender.machine import SenderMachine
from app.domain.catalog import Catalog
from app.domain.keyed import HashKeys
from app.domain.out import SAME_PARTITION, Out, Produce
from app.domain.outcome import Outcome
from app.domain.partition import partition_of
from app.store.lifecycle_rows import row_of
from app.streaming.journal import Entry, decode_entry, encode_entry
from app.streaming.process import Processor
from schemas import topics
from schemas.dead import DeadLetter, read_dead
from schemas.decode import Invalid
from schemas.instants import LAST_MS
from schemas.lifecycle import LifecycleEvent, read_lifecycle
from schemas.sizes import CHECKPOINT_BYTES, OUTCOME_BYTES, STATE_BYTES, limit_of, size_on_wire
from schemas.words import CHANNELS, ENDS
from tables.rows import MemoryRows
from tables.schedule import Due, due_ms_of
from tests import records
from tests.agents.harness import NOON, PROVIDERS, SECRET, catalog
from tests.agents.test_router_balance import EVERYTHING
from tests.links import LINKS

PARTITIONS = 2
_DAY = 86_400_000
#: Nothing waits longer: a request may be scheduled 366 days ahead, and what is remembered of it lasts a month.
_ALL_WAITS = 500 * _DAY
#: One decision reads so many rows at most, and so many wait at most after a script: work is bounded by what came in.
_MOST_ROWS = 2_000
_MOST_WAKES = 3_000
_MOST_STEPS = 5_000
_TIMEOUT_MS = 15_000
_PUBLIC = (*topics.EVENT_TOPICS, topics.COMMANDS, topics.RECEIPTS)


class Broken(AssertionError):
    """Something was fed in that the system doesn't hold out against."""


@dataclass(slots=True)
class Record(records.Record):
    """One record of the log. ``made_by``: the role that produced it; None: it comes from outside."""

    made_by: str | None = None

    @property
    def place(self) -> tuple[str, int, int]:
        return self.topic, self.partition, self.offset


def waking(key: bytes, row: Due, now: int) -> Callable[[Processor, Out], None]:
    return lambda processor, out: processor.wake(key, row, out, now)


def settling(result: Result, now: int) -> Callable[[Processor, Out], None]:
    return lambda processor, out: processor.settle(result, out, now)


class CountingRows(MemoryRows):
    """Counts what is read, so that a decision's work can be seen."""

    def __init__(self) -> None:
        super().__init__()
        self.read = 0

    def get(self, table: str, key: bytes) -> bytes | None:
        self.read += 1
        return super().get(table, key)

    def scan(self, table: str, start: bytes, end: bytes | None) -> Iterator[tuple[bytes, bytes]]:
        for row in super().scan(table, start, end):
            self.read += 1
            yield row


class _Watched:
    """A machine whose refusals and errors are seen before the guard takes them."""

    def __init__(self, machine: Any) -> None:
        self._machine = machine
        self.raised: Exception | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._machine, name)

    def use(self, catalog: Catalog) -> None:
        self._machine.catalog = catalog

    def handle(self, *given: Any) -> None:
        self._watch(self._machine.handle, *given)

    def wake(self, *given: Any) -> None:
        self._watch(self._machine.wake, *given)

    def settle(self, *given: Any) -> None:
        self._watch(self._machine.settle, *given)

    def _watch(self, decide: Callable[..., None], *given: Any) -> None:
        self.raised = None
        try:
            decide(*given)
        except Exception as error:
            self.raised = error
            raise


@dataclass(slots=True)
class _Owner:
    """One partition of one role."""

    machine: _Watched
    rows: CountingRows
    partition: int
    processor: Processor = field(init=False)
    counted: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """The process ends and starts again: tables are what was stored."""
        self.processor = Processor(self.machine, self.rows, self.partition, self._count, lambda topic, code: None)

    def _count(self, name: str, number: int) -> None:
        self.counted[name] += number


@dataclass(slots=True)
class Fate:
    """What became of a record from outside."""

    letters: list[DeadLetter] = field(default_factory=list)
    #: Where its copy lies, if the router moved it.
    moved_to: tuple[str, int, int] | None = None
    #: What it came to, of a request.
    told: list[LifecycleEvent] = field(default_factory=list)


#: What a provider answers to a call; None: nothing is found, or the call was not made.
Answer = Callable[[Call], Outcome | None]


_CATALOG = catalog(EVERYTHING)


class Machines:
    """``strict``: everything comes through topics that others may write, so that nothing that a role produces may be
    refused by a role that reads it."""

    def __init__(self, answer: Answer, *, strict: bool = True) -> None:
        self.now = NOON
        self.strict = strict
        self.catalog = _CATALOG
        self._answer = answer
        carriers = {
            c: ChannelConfig(
                c, dict.fromkeys(PROVIDERS[c], _TIMEOUT_MS), partitions=PARTITIONS, links=LINKS, keys=HashKeys(SECRET)
            )
            for c in CHANNELS
        }
        machines: list[Any] = [
            RouterMachine(_CATALOG, partitions=PARTITIONS, providers=PROVIDERS, secret=SECRET),
            InAppMachine(_CATALOG, partitions=PARTITIONS),
            *(SenderMachine(_CATALOG, carriers[channel]) for channel in CHANNELS if channel != "in_app"),
        ]
        self.machines = {machine.role: _Watched(machine) for machine in machines}
        self._owners = {
            (role, partition): _Owner(machine, CountingRows(), partition)
            for role, machine in self.machines.items()
            for partition in range(PARTITIONS)
        }
        self._readers: dict[str, list[str]] = {}
        for role, machine in self.machines.items():
            for intake in machine.subscriptions:
                self._readers.setdefault(intake.topic, []).append(role)
        self._ends: Counter[tuple[str, int]] = Counter()
        self._waiting: deque[Record | tuple[_Owner, Result]] = deque()
        self.produced: list[Record] = []
        self.events: list[LifecycleEvent] = []
        self.letters: list[DeadLetter] = []
        self.fates: dict[tuple[str, int, int], Fate] = {}
        #: Receipts that were counted as of no send that is known.
        self._unknown: set[tuple[str, int, int]] = set()

    def fork(self, answer: Answer, *, strict: bool = True) -> "Machines":
        """Another world that begins with what is known and waits here."""
        other = Machines(answer, strict=strict)
        other.now, other._ends = self.now, Counter(self._ends)
        for where, owner in self._owners.items():
            for table, rows in owner.rows.tables.items():
                other._owners[where].rows.write(table, rows)
        return other

    # --- what happens ---

    def feed(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        *,
        partition: int | None = None,
        timestamp: int | None = None,
        headers: Sequence[tuple[str, bytes | None]] = (),
        made_by: str | None = None,
    ) -> Record:
        """One record, and all that follows from it at once."""
        record = self._append(topic, key, value, partition, timestamp, headers, made_by)
        if made_by is None:
            self.fates[record.place] = Fate()
        self._run()
        return record

    def after(self, ms: int) -> None:
        """Moves time on; what falls due is woken at its time."""
        end, wakes = self.now + ms, 0
        while (due := self._next_due()) is not None and due <= end:
            self.now = max(self.now, due)
            for owner in self._owners.values():
                for key, row in owner.processor.due(self.now, 20):
                    self._decide(owner, waking(key, row, self.now), None)
                    wakes += 1
            self._run()
            if wakes > _MOST_WAKES:
                raise Broken(f"more than {_MOST_WAKES} waits ended in {ms} ms, at {self.now}")
        self.now = end

    def run_out(self) -> None:
        """Until nothing waits any more. Raises Broken where something never ends."""
        self.after(_ALL_WAITS)
        for (role, partition), owner in self._owners.items():
            if (due := self._due_of(owner)) is not None:
                raise Broken(f"{role} {partition} still waits for {due} after {_ALL_WAITS // _DAY} days")

    def restart(self) -> None:
        for owner in self._owners.values():
            owner.restart()

    def use(self, catalog: Catalog) -> None:
        """Puts another policy and other templates in force."""
        self.catalog = catalog
        for machine in self.machines.values():
            machine.use(catalog)

    def read(self, role: str, partition: int, view: str, user_id: str, params: Mapping[str, str]) -> Any:
        """What a worker answers to the gateway. Raises LookupError, Invalid."""
        owner = self._owners[role, partition]
        return self.machines[role].read(view, user_id, params, owner.processor._state, self.now)

    # --- what a worker does ---

    def _append(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int | None = None,
        timestamp: int | None = None,
        headers: Sequence[tuple[str, bytes | None]] = (),
        made_by: str | None = None,
    ) -> Record:
        if partition is None:
            partition = partition_of(key or b"", PARTITIONS)
        offset = self._ends[topic, partition]
        self._ends[topic, partition] += 1
        stamp = self.now if timestamp is None else timestamp
        record = Record(topic, partition, offset, stamp, key, value, headers, made_by)
        self._waiting.append(record)
        return record

    def _run(self) -> None:
        for _ in range(_MOST_STEPS):
            if not self._waiting:
                return
            each = self._waiting.popleft()
            if isinstance(each, Record):
                self._hand_in(each)
            else:
                owner, result = each
                self._decide(owner, settling(result, self.now), None)
        raise Broken(f"records lead to records without an end: more than {_MOST_STEPS} at one moment")

    def _hand_in(self, record: Record) -> None:
        refused: dict[str, Exception] = {}
        taken: list[str] = []
        for role in self._readers.get(record.topic, ()):
            owner = self._owners[role, record.partition]
            self._decide(owner, lambda d, out: d.handle(record, out, self.now), record)
            error = owner.machine.raised if record.value is not None else None
            if error is None:
                taken.append(role)
            else:
                refused[role] = error
        if record.topic == topics.LIFECYCLE:
            row_of(record)
        if refused and taken and record.topic in _PUBLIC and self._must_agree(record, refused):
            raise Broken(f"{taken} took what others refused: {refused}, {record}")
        if refused and self._must_be_good(record, refused):
            raise Broken(f"what {record.made_by} produced is refused: {refused}, {record}")

    def _must_agree(self, record: Record, refused: Mapping[str, Exception]) -> bool:
        """The router alone knows what was accepted, and moves what the others leave alone."""
        moved = record.made_by is None and self.fates[record.place].moved_to is not None
        return not moved and record.place not in self._unknown

    def _must_be_good(self, record: Record, refused: Mapping[str, Exception]) -> bool:
        """Whether it was made here, of what was checked; a receipt may speak of a send that nobody knows."""
        made_here = self.strict and record.made_by is not None and not self._is_from_outside(record)
        return made_here and record.place not in self._unknown

    def _is_from_outside(self, record: Record) -> bool:
        """What was moved is as bad as it came."""
        return any(fate.moved_to == record.place for fate in self.fates.values())

    def _decide(self, owner: _Owner, act: Callable[[Processor, Out], None], record: Record | None) -> None:
        out, machine = Out(), owner.machine
        owner.rows.read, machine.raised = 0, None
        act(owner.processor, out)
        if out.unknown and record is not None:
            self._unknown.add(record.place)
        if machine.raised is not None and (record is None or not isinstance(machine.raised, Invalid)):
            raise Broken(f"{machine.role} raised {machine.raised!r}") from machine.raised
        if owner.rows.read > _MOST_ROWS:
            raise Broken(f"{machine.role} read {owner.rows.read} rows for one decision")
        self._checkpoint(owner, out, record)

    def _checkpoint(self, owner: _Owner, out: Out, record: Record | None) -> None:
        """What was decided is journaled, read again and carried out."""
        weighed = out.size
        if weighed > CHECKPOINT_BYTES + OUTCOME_BYTES:
            raise Broken(f"{owner.machine.role} wants a checkpoint of {weighed} bytes")
        written = encode_entry(Entry({}, owner.processor.changes(), out.records))
        if len(written) > STATE_BYTES:
            raise Broken(f"{owner.machine.role}: a journal entry of {len(written)} bytes")
        entry = decode_entry(written)
        for table, rows in entry.changes.items():
            owner.rows.write(table, rows)
        owner.processor.stored()
        for produced in entry.outputs:
            self._produce(owner, produced, record)
        for call in out.calls:
            self._waiting.append((owner, Result(call, self._answer(call))))

    def _produce(self, owner: _Owner, produced: Produce, cause: Record | None) -> None:
        role = owner.machine.role
        if produced.topic not in (*owner.machine.outputs, topics.DEAD):
            raise Broken(f"{role} produced to {produced.topic}")
        size = size_on_wire(produced.key, produced.value, produced.headers)
        if size > limit_of(produced.topic):
            raise Broken(f"{role} produced {size} bytes for {produced.topic}")
        partition = owner.partition if produced.partition == SAME_PARTITION else produced.partition
        if produced.topic == topics.DEAD:
            self._buried(produced, cause)
            return
        record = self._append(
            produced.topic, produced.key, produced.value, partition, produced.timestamp_ms, produced.headers, role
        )
        self.produced.append(record)
        if produced.topic == topics.LIFECYCLE:
            self._told(record, cause)
        elif cause is not None and (produced.topic, produced.value) == (cause.topic, cause.value):
            self._fate_of(cause).moved_to = record.place

    def _buried(self, produced: Produce, cause: Record | None) -> None:
        letter = read_dead(produced.value or b"")
        self.letters.append(letter)
        if cause is None or (letter.topic, letter.partition, letter.offset) != cause.place:
            raise Broken(f"a dead letter of something else: {letter}")
        if letter.code in ("internal", "poison"):
            raise Broken(f"a dead letter for a fault of ours: {letter.reason}")
        if cause.made_by is None or self._is_from_outside(cause):
            self._fate_of(cause).letters.append(letter)

    def _told(self, record: Record, cause: Record | None) -> None:
        try:
            row_of(record)
        except Invalid as invalid:
            raise Broken(f"analytics can't keep {record.value!r}: {invalid}") from invalid
        event = read_lifecycle(record.value or b"")
        self.events.append(event)
        if cause is not None and cause.topic in topics.EVENT_TOPICS:
            self._fate_of(cause).told.append(event)

    def _fate_of(self, record: Record) -> Fate:
        """Of the record, or of the one from outside whose moved copy it is."""
        known = next((fate for fate in self.fates.values() if fate.moved_to == record.place), None)
        return known if known is not None else self.fates.setdefault(record.place, Fate())

    def _next_due(self) -> int | None:
        return min((due for owner in self._owners.values() if (due := self._due_of(owner)) is not None), default=None)

    def _due_of(self, owner: _Owner) -> int | None:
        schedule = next(table for table in owner.processor.tables if table.spec.name == "schedule")
        first = schedule.scan(b"", None, 1)
        due = due_ms_of(first[0][0]) if first else LAST_MS
        return due if due < LAST_MS else None  # (what lies there is a mark, and not a wait)

    # --- what it came to ---

    def judge(self) -> None:
        """After ``run_out``: each request from outside came to events or to one dead letter, and whatever was accepted
        has its ends."""
        for place, fate in self.fates.items():
            if len(fate.letters) > 1:
                raise Broken(f"{place} has {len(fate.letters)} dead letters")
            if fate.letters and fate.told:
                raise Broken(f"{place} has a dead letter and came to {fate.told[0].status}")
        accepted = {(e.notification_id, e.user_id) for e in self.events if e.status == "accepted"}
        ended = {(e.notification_id, e.user_id) for e in self.events if e.status in ENDS}
        if lost := accepted - ended:
            raise Broken(f"accepted and without an end: {lost}")
        if not self.strict:
            return  # (who says in our name that a send was queued says it of sends that nobody knows)
        queued = {e.send_id for e in self.events if e.status == "queued"}
        if lost_sends := queued - {e.send_id for e in self.events if e.status in ENDS}:
            raise Broken(f"queued and without an end: {lost_sends}")
        for event in self.events:
            msgspec.json.encode(event)
