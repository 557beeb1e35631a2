"""The doors out of the process, as the code that uses them needs them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Literal, Protocol, TypeVar

from app.domain.out import Out
from app.domain.outcome import Outcome
from schemas.requests import PushOptions
from schemas.words import Channel, Platform, Priority, Provider

# --- the log -----------------------------------------------------------------------------------------------------


class LogRecord(Protocol):
    """One record as read from Kafka (aiokafka's ``ConsumerRecord`` is one)."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None

    @property
    def headers(self) -> Sequence[tuple[str, bytes | None]]:
        """In names, bytes that aren't UTF-8 are as ``surrogateescape`` has them."""
        ...


class Publisher(Protocol):
    """Produces and returns when every in-sync replica has the record; raises on any failure, never retries silently
    beyond the producer's own idempotent retries."""

    async def publish(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        *,
        partition: int | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
        timestamp_ms: int | None = None,
    ) -> tuple[int, int]:
        """Returns (partition, offset)."""
        ...


# --- state -------------------------------------------------------------------------------------------------------


class Rows(Protocol):
    """The stored rows of one partition, by table. Keys and values are bytes."""

    def get(self, table: str, key: bytes) -> bytes | None: ...

    def scan(self, table: str, start: bytes, end: bytes | None) -> Iterator[tuple[bytes, bytes]]:
        """Rows with start <= key < end, in the order of their keys' bytes."""
        ...


# --- providers ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Address:
    """Where a message goes on its channel: a device token, a mail address, a phone number (E.164)."""

    channel: Channel
    value: str = field(repr=False)
    platform: Platform | None = None
    app_id: str | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """What one channel shows, rendered. Push: title, body, url, image, data. Email: subject, html, text.
    SMS: body."""

    title: str | None = None
    body: str | None = None
    subject: str | None = None
    html: str | None = None
    text: str | None = None
    url: str | None = None
    image: str | None = None
    #: Strings only (FCM allows no others).
    data: dict[str, str] = field(default_factory=dict)
    #: Extra mail headers, such as List-Unsubscribe.
    headers: dict[str, str] = field(default_factory=dict)
    #: Of mail: where answers go, if not to whom it is from.
    reply_to: str | None = None
    #: Of push: how it is shown, where the request says so.
    push: PushOptions | None = None


@dataclass(frozen=True, slots=True)
class Handle:
    """What names the send in every call, the same in all attempts (docs/policy.md#attempts-and-providers)."""

    send_id: str
    notification_id: str
    attempt: int
    priority: Priority
    category: str
    #: Unix milliseconds; nothing is sent after it.
    expires_at_ms: int
    #: The collapse key's hash, else the send id (at most 64 bytes).
    collapse_id: str
    #: When the first attempt's call began, Unix milliseconds (where to start looking for evidence).
    first_called_at_ms: int | None = None
    #: Where receipts should come back, if the gateway has a public address.
    callback_url: str | None = None


class ProviderClient(Protocol):
    """One vendor. ``send`` makes exactly one request and returns what it meant; it raises only for bugs."""

    name: Provider
    channel: Channel

    async def start(self) -> None: ...

    async def send(self, message: Message, to: Address, handle: Handle, timeout_s: float) -> Outcome:
        """Never longer than ``timeout_s``. A call whose answer was lost is ``in_doubt``, never an exception."""
        ...

    async def ask(self, message: Message, to: Address, handle: Handle, timeout_s: float) -> Outcome | None:
        """Looks for evidence of an in-doubt send: ``ok`` found, None nothing found (or no way to ask), ``in_doubt`` it
        could not be asked."""
        ...

    async def close(self) -> None: ...


# --- roles -------------------------------------------------------------------------------------------------------

#: Why what fell due is given up: it leads to too much, or it fails whenever it is tried.
FailedReason = Literal["too_large", "permanent"]


class Urgency(IntEnum):
    """The order in which a partition's runner draws from its intakes."""

    COMMANDS = 0
    CRITICAL = 1
    RECEIPTS = 2
    NORMAL = 3
    BULK = 4


@dataclass(frozen=True, slots=True)
class Subscription:
    """A topic that a role reads. ``gated``: its records are handled only when the partition's commands that were
    acknowledged before they were fetched have been handled. ``owned``: this role answers for the topic's bad records
    (one role a topic: the others pass them over). ``patient``: nobody waits for its records, so that a fetch or a batch
    for them alone may come a tenth of a second later."""

    topic: str
    urgency: Urgency
    gated: bool = True
    owned: bool = True
    patient: bool = False


class State(Protocol):
    """One partition's tables as a batch sees them (each role has its own, with a typed attribute for each table)."""

    def tables(self) -> Sequence[Any]:
        """Every ``tables.table.Table`` of the partition; one of them is the ``schedule``."""
        ...


class Poison(Exception):
    """What is about to be handled has ended process after process (``app/streaming/poison.py``)."""


class Failing(Exception):
    """Of several things that a record sets going, one fails: the cause says how. ``key``, ``due``: what to wake to
    take it out of the way of the others, before all is done again without it."""

    def __init__(self, key: bytes, due: Any) -> None:
        super().__init__(due.kind)
        self.key = key
        self.due = due


class Guard(Protocol):
    """Stands around each record: what has ended process after process while it was handled is refused."""

    def record(self, record: LogRecord) -> None:
        """It is handled from now on, until ``end``. Raises Poison."""
        ...

    def end(self) -> None: ...


class Unguarded:
    """Where a process lives no longer than one reading."""

    def record(self, record: LogRecord) -> None:
        pass

    def end(self) -> None:
        pass


StateT = TypeVar("StateT", bound=State)
#: A row of ``schedule`` (a ``tables.schedule.Due``), a provider call, and what came of one.
DueT = TypeVar("DueT", contravariant=True)
CallT = TypeVar("CallT", contravariant=True)
ResultT = TypeVar("ResultT")
SettledT = TypeVar("SettledT", contravariant=True)


class Machine(Protocol[StateT, DueT, SettledT]):
    """One role's decisions. Synchronous and pure: it reads and writes ``state`` and appends to ``out``; time is ``now``
    (Unix milliseconds, one for a whole batch). Raising ``schemas.decode.Invalid`` sends the record to notify_dead;
    its changes are undone."""

    role: str
    catalog: Any

    @property
    def subscriptions(self) -> Sequence[Subscription]: ...

    @property
    def outputs(self) -> Sequence[str]:
        """The topics that it produces to (``Out.send``)."""
        ...

    @property
    def tables(self) -> Sequence[str]:
        """The names of the role's tables."""
        ...

    def open(self, rows: Rows, partition: int) -> StateT:
        """The state over a partition's stored rows."""
        ...

    def handle(self, record: LogRecord, state: StateT, out: Out, now: int) -> None:
        """Takes one record of an intake."""
        ...

    def wake(self, due_key: bytes, due: DueT, state: StateT, out: Out, now: int) -> None:
        """Takes one row of ``schedule`` (a ``tables.schedule.Due``) that fell due; the runner has deleted it."""
        ...

    def give_up(self, due_key: bytes, due: DueT, state: StateT, out: Out, now: int, reason: FailedReason) -> bool:
        """Ends what a row of ``schedule`` belongs to that can't be woken; the runner has deleted the row. False: there
        is nothing that could have an end, so it is tried again."""
        ...

    def end_refused(self, record: LogRecord, state: StateT, out: Out, now: int, reason: FailedReason) -> None:
        """Ends the send that a record names which became a dead letter: nobody else would ever end it."""

    def settle(self, result: SettledT, state: StateT, out: Out, now: int) -> None:
        """Takes the result of a call that this role asked for."""
        ...

    def read(self, view: str, user_id: str, params: Mapping[str, str], state: StateT, now: int) -> Any:
        """What the gateway asks of a user's partition: a JSON-able answer, None where there is nothing known.
        Raises LookupError for a view that the role doesn't have."""
        ...


class CallExecutor(Protocol[CallT, ResultT]):
    """Carries out the calls of a channel's machine; many at a time."""

    def room(self, urgency: Urgency) -> int:
        """For how many more calls there is room now, beside those that are claimed and have yet to begin; as long as
        there is none, records stay in the log."""
        ...

    async def perform(self, call: CallT) -> ResultT:
        """Makes the call and returns what ``settle`` takes."""
        ...

    def put_off(self, result: ResultT) -> ResultT:
        """What ``settle`` takes in place of a result that could bring another call, when none may be begun."""
        ...


# --- state, served by its owner ---


class NotOwned(Exception):
    """The partition belongs to another worker."""


class StateReads(Protocol):
    """A worker's answers for the partitions it owns."""

    async def read(
        self, partition: int, view: str, user_id: str, params: Mapping[str, str], after: int | None, within_s: float
    ) -> Any:
        """``after``: the offset on notify_commands that the answer must have seen. Raises NotOwned, TimeoutError,
        LookupError (no such view), Invalid (a parameter)."""
        ...
