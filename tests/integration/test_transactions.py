"""Transactions, holes and hostile bytes on a real broker, in a role that does nothing but note what it handles.

Every rule is shown on every kind of topic that a role reads: ``LANES``.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import cramjam
import pytest
import pytest_asyncio
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.protocol.produce import ProduceRequest

from app.dev.broker import Broker
from app.kafka.consumers import LogConsumer
from app.kafka.unpacking import MOST_BYTES
from app.ports import FailedReason, Subscription, Urgency
from app.streaming.worker import RoleWorker
from schemas.dead import DeadLetter, read_dead
from schemas.topics import (
    COMMANDS,
    DEAD,
    EVENTS,
    EVENTS_BULK,
    EVENTS_CRITICAL,
    RECEIPTS,
    changelog_topic,
    journal_topic,
)
from tests.conftest import broker_options, eventually
from tests.unit.kafka.wire import batch, record
from tests.unit.streaming.memory_store import ScheduleState

pytestmark = pytest.mark.asyncio(loop_scope="module")

_PARTITIONS = 2
_ROLE = "noting"
LANES = [COMMANDS, EVENTS_CRITICAL, RECEIPTS, EVENTS, EVENTS_BULK]


class Noting:
    """A machine that notes the values that it handles, of each topic's partition."""

    role = _ROLE
    catalog: Any = None
    tables = ("schedule",)
    outputs = ()
    subscriptions = (
        Subscription(COMMANDS, Urgency.COMMANDS, gated=False),
        Subscription(EVENTS_CRITICAL, Urgency.CRITICAL),
        Subscription(RECEIPTS, Urgency.RECEIPTS, gated=False),
        Subscription(EVENTS, Urgency.NORMAL),
        Subscription(EVENTS_BULK, Urgency.BULK),
    )

    def __init__(self) -> None:
        self.handled: list[tuple[str, int, bytes]] = []

    def open(self, rows: Any, partition: int) -> ScheduleState:
        return ScheduleState(rows)

    def handle(self, record: Any, state: Any, out: Any, now: int) -> None:
        self.handled.append((record.topic, record.partition, record.value))

    def wake(self, due_key: bytes, due: Any, state: Any, out: Any, now: int) -> None: ...

    def give_up(self, due_key: bytes, due: Any, state: Any, out: Any, now: int, reason: FailedReason) -> bool:
        return True

    def end_refused(self, record: Any, state: Any, out: Any, now: int, reason: FailedReason) -> None: ...

    def settle(self, result: Any, state: Any, out: Any, now: int) -> None: ...

    def read(self, view: str, user_id: str, params: Any, state: Any, now: int) -> Any: ...


@dataclass
class Role:
    """A role that runs, and a producer beside it."""

    bootstrap: str
    machine: Noting
    worker: RoleWorker
    producer: AIOKafkaProducer
    names: Any = field(default_factory=count)

    def value(self) -> bytes:
        """One that was never produced."""
        return b"record %d" % next(self.names)

    def has_handled(self, topic: str, partition: int, value: bytes) -> bool:
        return (topic, partition, value) in self.machine.handled

    async def says(self, topic: str, partition: int = 0) -> bytes:
        value = self.value()
        await self.producer.send_and_wait(topic, value, partition=partition)
        return value

    async def handles(self, topic: str, partition: int, value: bytes) -> None:
        async def it_has() -> bool:
            assert not self.worker.crashed.done(), self.worker.crashed.result()
            return self.has_handled(topic, partition, value)

        await eventually(it_has)

    async def has_caught_up(self) -> None:
        """The group has committed the end of every topic: no marker, aborted record or hole is left before it."""

        async def it_has() -> bool:
            assert not self.worker.crashed.done(), self.worker.crashed.result()
            return not any(self.worker.behind().values()) and await self._committed() == await self._ends()

        await eventually(it_has)

    async def _committed(self) -> dict[TopicPartition, int]:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        try:
            found = await admin.list_consumer_group_offsets(f"tocsin_{_ROLE}")
        finally:
            await admin.close()
        return {tp: at.offset for tp, at in found.items() if at.offset > 0}

    async def _ends(self) -> dict[TopicPartition, int]:
        async with LogConsumer(bootstrap_servers=self.bootstrap, isolation_level="read_uncommitted") as consumer:
            ends = await consumer.end_offsets([TopicPartition(t, n) for t in LANES for n in range(_PARTITIONS)])
        return {tp: end for tp, end in ends.items() if end}

    async def produce_raw(self, topic: str, partition: int, data: bytes) -> int:
        """Appends a batch byte for byte; returns its first offset."""
        request = ProduceRequest(None, -1, 10_000, [(topic, [(partition, data)])])
        node = self.producer.client.cluster.leader_for_partition(TopicPartition(topic, partition))
        response = await self.producer.client.send(node, request)
        (_, [(_, code, offset, *_)]) = response.topics[0]
        assert code == 0
        return int(offset)

    async def letters(self, topic: str) -> list[DeadLetter]:
        """The topic's dead letters: at least one."""
        async with LogConsumer(DEAD, bootstrap_servers=self.bootstrap, auto_offset_reset="earliest") as consumer:
            found: list[DeadLetter] = []
            async with asyncio.timeout(60):
                while not found:
                    for records in (await consumer.getmany(timeout_ms=200)).values():
                        letters = [read_dead(one.value) for one in records]
                        found += [letter for letter in letters if letter.topic == topic]
            return found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def role(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Role]:
    broker = Broker(broker_options(tmp_path_factory.mktemp("transactions")))
    await broker.start()
    options = {"bootstrap_servers": broker.bootstrap}
    admin = AIOKafkaAdminClient(**options)
    await admin.start()
    own = [changelog_topic(_ROLE, "schedule"), journal_topic(_ROLE)]
    await admin.create_topics([NewTopic(name, _PARTITIONS, 1) for name in [*LANES, DEAD, *own]])
    await admin.close()
    machine = Noting()
    worker = RoleWorker(
        machine,
        client_options=options,
        folder=tmp_path_factory.mktemp("role"),
        instance="1",
        partitions=_PARTITIONS,
        clock=lambda: time.time_ns() // 1_000_000,
    )
    producer = AIOKafkaProducer(**options, acks="all")
    await producer.start()
    await worker.start()
    for topic in LANES:
        for number in range(_PARTITIONS):
            await producer.partitions_for(topic)
            await producer.send_and_wait(topic, b"first", partition=number)
    yield Role(broker.bootstrap, machine, worker, producer)
    await producer.stop()
    await worker.stop()
    await broker.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def transactional(role: Role) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(
        bootstrap_servers=role.bootstrap, transactional_id=f"a stranger {next(role.names)}", linger_ms=0
    )
    await producer.start()
    yield producer
    await producer.stop()


@pytest.mark.parametrize("topic", LANES)
async def test_what_was_committed_is_handled_and_the_marker_at_the_end_is_passed(
    role: Role, transactional: AIOKafkaProducer, topic: str
) -> None:
    value = role.value()
    async with transactional.transaction():
        await transactional.send_and_wait(topic, value, partition=0)

    await role.handles(topic, 0, value)
    await role.has_caught_up()
    for other in LANES:  # commands as well, which everything else waits for
        await role.handles(other, 0, await role.says(other))


@pytest.mark.parametrize("topic", LANES)
async def test_what_was_aborted_never_happened_and_is_passed(
    role: Role, transactional: AIOKafkaProducer, topic: str
) -> None:
    value = role.value()
    await transactional.begin_transaction()
    await transactional.send_and_wait(topic, value, partition=0)
    await transactional.abort_transaction()

    await role.has_caught_up()
    for other in LANES:
        await role.handles(other, 0, await role.says(other))
    assert not role.has_handled(topic, 0, value)


@pytest.mark.parametrize("topic", [EVENTS_CRITICAL, RECEIPTS, EVENTS, EVENTS_BULK])
async def test_what_lies_behind_an_open_transaction_waits_and_all_other_partitions_go_on(
    role: Role, transactional: AIOKafkaProducer, topic: str
) -> None:
    await transactional.begin_transaction()
    await transactional.send_and_wait(topic, role.value(), partition=0)
    behind = await role.says(topic)
    for other in LANES:
        await role.handles(other, 1, await role.says(other, 1))
        if other != topic:
            await role.handles(other, 0, await role.says(other))

    assert not role.has_handled(topic, 0, behind)
    await transactional.abort_transaction()
    await role.handles(topic, 0, behind)


async def test_requests_wait_for_commands_behind_an_open_transaction_and_the_role_lives_on(
    role: Role, transactional: AIOKafkaProducer
) -> None:
    """``lag_seconds`` shows it, and the watch, which ends what stands still, doesn't take it for that."""
    await transactional.begin_transaction()
    await transactional.send_and_wait(COMMANDS, role.value(), partition=0)
    command, request = await role.says(COMMANDS), await role.says(EVENTS)
    receipt = await role.says(RECEIPTS)
    await role.handles(RECEIPTS, 0, receipt)
    for topic in LANES:
        await role.handles(topic, 1, await role.says(topic, 1))

    async def lag_shows_it() -> bool:
        return all(role.worker.lag_seconds()[topic, 0] > 1.5 for topic in (COMMANDS, EVENTS))

    await eventually(lag_shows_it)
    assert role.worker.behind()[COMMANDS, 0] > 0
    assert role.worker.lag_seconds()[COMMANDS, 1] == 0.0
    assert not role.has_handled(EVENTS, 0, request)
    assert not role.has_handled(COMMANDS, 0, command)
    assert role.worker.still == {}
    assert role.worker.problem() is None

    await transactional.commit_transaction()
    await role.handles(EVENTS, 0, request)
    at = role.machine.handled.index
    assert at((COMMANDS, 0, command)) < at((EVENTS, 0, request))
    await role.has_caught_up()


@pytest.mark.parametrize("topic", LANES)
async def test_records_with_any_header_and_batches_that_cannot_be_unpacked_harm_nobody(role: Role, topic: str) -> None:
    strange = role.value()
    header = record(0, b"k", strange, [(b"\xff\xfe", None), (b"", b"v")])
    first = await role.produce_raw(topic, 1, batch(0, [header]))
    bomb = batch(
        0, [record(0, b"k", bytes(MOST_BYTES + 1))], codec=4, pack=lambda data: bytes(cramjam.zstd.compress(data))
    )
    await role.produce_raw(topic, 1, bomb)
    after = await role.says(topic, 1)

    await role.handles(topic, 1, strange)
    await role.handles(topic, 1, after)
    await role.has_caught_up()
    (letter,) = await role.letters(topic)
    assert (letter.partition, letter.offset) == (1, first + 1)
    assert (letter.key, letter.value) == (None, None)
    assert "unpacks to more than" in letter.reason
