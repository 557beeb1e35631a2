"""The router, the senders and the inbox side by side in memory: what one says, the others read at once."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agents.inbox.machine import InAppMachine
from agents.router.machine import RouterMachine
from agents.sender.calls import Call, Result
from agents.sender.context import ChannelConfig
from agents.sender.machine import SenderMachine
from app.domain.catalog import Catalog
from app.domain.keyed import HashKeys
from app.domain.links import Links, Tokens
from app.domain.out import Out
from app.ports import Message
from app.testing.providers import TIMEOUT_MS, Answer
from app.virtual import VirtualPartition
from schemas.lifecycle import LifecycleEvent, read_lifecycle
from schemas.topics import LIFECYCLE
from schemas.words import CHANNELS, Channel, Provider
from tables.rows import MemoryRows

#: The world's installation has one, too.
SECRET = b"a world's own secret, known to all"
LINKS = Links("https://notify.example", Tokens(["a world's own signing key, known to all"]))


@dataclass(slots=True)
class Record:
    """One record of the world's log, which has one partition."""

    topic: str
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()
    partition: int = 0


class Roles:
    """Everything that keeps tables. ``told``: called with each lifecycle event. ``called``: with each call to a
    provider. ``produced``: with the topic and the value of each other record."""

    def __init__(
        self,
        catalog: Catalog,
        providers: Mapping[Channel, frozenset[Provider]],
        answer: Answer,
        told: Callable[[LifecycleEvent], None],
        called: Callable[[Call], None],
        produced: Callable[[str, bytes], None] = lambda topic, value: None,
    ) -> None:
        machines: list[Any] = [InAppMachine(catalog, links=LINKS), _router(catalog, providers)]
        machines += [_sender(catalog, channel, providers) for channel in CHANNELS if channel != "in_app"]
        self._rows = [MemoryRows() for _ in machines]
        self._all = [VirtualPartition(machine, rows) for machine, rows in zip(machines, self._rows, strict=True)]
        self._in_app = self._all[0]
        self._answer = answer
        self._told = told
        self._called = called
        self._produced = produced
        self._readers: dict[str, list[VirtualPartition]] = {}
        for role in self._all:
            for intake in role.machine.subscriptions:
                self._readers.setdefault(intake.topic, []).append(role)
        self._offsets: dict[str, int] = {}
        self._waiting: deque[Record] = deque()

    def use(self, catalog: Catalog) -> None:
        """Puts another policy and other templates in force."""
        for role in self._all:
            role.machine.catalog = catalog

    def produce(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        now: int,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> None:
        """Takes a record, and all that follows from it at once. Raises Invalid where it is refused."""
        self._append(topic, key, value, now, headers)
        self._run(now)

    def next_due(self) -> int | None:
        """When the next of all waits ends, Unix ms."""
        return min((due for role in self._all if (due := role.next_due()) is not None), default=None)

    def wake(self, now: int) -> None:
        """Ends the waits that are over, and takes all that follows from it."""
        for role in self._all:
            out = role.wake(now)
            if out is not None:
                self._carry_out(role, out, now)
        self._run(now)

    def sweep(self, now: int) -> None:
        """Deletes whatever rows mean nothing any more, as runners do all the time."""
        for role in self._all:
            role.sweep(now)

    def table_sizes(self) -> dict[tuple[str, str], int]:
        """How many rows each role's tables have."""
        return {
            (role.machine.role, name): len(rows)
            for role, stored in zip(self._all, self._rows, strict=True)
            for name, rows in stored.tables.items()
        }

    def top_of_inbox(self, user_id: str) -> Message:
        """What the newest item of the user's inbox shows."""
        [(_, item)] = self._in_app.state.inbox.newest(user_id, 1)
        return Message(title=item.title, body=item.body, url=item.url, image=item.image)

    def _append(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        now: int,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> None:
        offset = self._offsets.get(topic, 0)
        self._offsets[topic] = offset + 1
        self._waiting.append(Record(topic, offset, now, key, value, headers))

    def _run(self, now: int) -> None:
        while self._waiting:
            record = self._waiting.popleft()
            for role in self._readers[record.topic]:
                self._carry_out(role, role.handle(record, now), now)

    def _carry_out(self, role: VirtualPartition, out: Out, now: int) -> None:
        for produced in out.records:
            if produced.topic == LIFECYCLE:
                assert produced.value is not None
                self._told(read_lifecycle(produced.value))
                continue
            if produced.value is not None:
                self._produced(produced.topic, produced.value)
            if produced.topic in self._readers:
                self._append(produced.topic, produced.key, produced.value, now)
        for call in out.calls:
            self._called(call)
            self._carry_out(role, role.settle(Result(call, self._answer(call)), now), now)


def _router(catalog: Catalog, providers: Mapping[Channel, frozenset[Provider]]) -> RouterMachine:
    return RouterMachine(catalog, partitions=1, providers=providers, secret=SECRET)


def _sender(catalog: Catalog, channel: Channel, providers: Mapping[Channel, frozenset[Provider]]) -> SenderMachine:
    timeouts_ms = dict.fromkeys(providers[channel], TIMEOUT_MS)
    return SenderMachine(catalog, ChannelConfig(channel, timeouts_ms, links=LINKS, keys=HashKeys(SECRET)))
