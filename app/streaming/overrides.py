"""What we change in Faust 0.15.3, each with its reason. ``tests/unit/streaming/test_overrides.py`` fails when a new
version changes what an override relies on.

Faust keeps: group membership and co-partitioned assignment, the declaration of agents and tables, the life of the
worker's services. We take over: how fetched records reach an agent (whole lists instead of one event at a time),
recovery (raw batches, partition by partition), and offsets (committed by the checkpoint).
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Set
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from typing import Any, cast

import faust
from aiokafka.structs import OffsetAndMetadata, TopicPartition
from faust.auth import SASLCredentials, SSLCredentials
from faust.tables.manager import TableManager
from faust.tables.recovery import Recovery
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport
from faust.types import TP
from faust.types.auth import CredentialsT

from app.kafka.consumers import adopt
from app.streaming.buffers import Fetch
from app.streaming.end_offsets import EndOffset
from schemas.topics import COMMANDS

# mode logs the life of each service under the name of the module that defines its class: this one.
logging.getLogger(__name__).setLevel(logging.WARNING)

#: How long Kafka may hold a fetch that finds nothing; Faust says 1.5 s. A partition that is opened, and so is fetched
#: from another offset, waits for the fetch under way.
FETCH_WAIT_MS = 100
#: After a fetch that found records the next one waits so long, and up to so many times more while checkpoints are made,
#: or not all of the records were taken: it would leave out the partitions of those that weren't. Meanwhile more come
#: together, and partitions that begin together share their requests.
FETCH_APART_S = 0.005
FETCH_TURNS, BUSY_TURNS = 10, 3
#: Topics that nobody waits for are fetched so often: what comes there wakes nobody, and a fetch costs by the partition.
PATIENT_S = 0.1
_SEEK_S = 10.0
#: A broker's answer about a partition counts for so long.
_ANSWER_VALID_MS = 10_000
_POLL_S = 0.1


class CheckpointConsumerThread(AIOKafkaConsumerThread):  # type: ignore[misc]
    """Fetches that are short and let records gather, urgent records first, and commits that carry metadata."""

    #: Set by this thread when urgent records were fetched, reset by the loop that hands them out.
    urgent_came = False
    #: See ``listen``.
    end_offsets: Mapping[TP, EndOffset] = {}
    #: How far the latest take moved each partition: from where, and to where. Set by this thread, and taken by the loop
    #: that hands out its records.
    moved: Mapping[TP, tuple[int, int]] = {}

    @property
    def has_died(self) -> bool:
        """It ended though nobody stopped it. Faust wouldn't tell: whoever called into it waits for ever, and its tasks
        pass over the error of a closed loop."""
        return self._thread is not None and not self._thread.is_alive() and not self._stopped.is_set()

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = adopt(super()._create_worker_consumer(transport))
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS
        return consumer

    async def on_start(self) -> None:
        await super().on_start()
        fetcher = self._ensure_consumer()._fetcher
        self.end_offsets = listen(fetcher, COMMANDS, self.app.hooks.clock)
        leave_out(fetcher, self.app.hooks.patient_topics)
        space_out(fetcher, lambda: self.app.consumer._paused_partitions, self.app.hooks.is_busy)

    async def _fetch_records(
        self, consumer: Any, active_partitions: Any, timeout: float | None = None, max_records: int | None = None
    ) -> Any:
        """Returns as soon as there are records, or a position moved past offsets that have none."""
        records = await self._take(consumer, active_partitions, max_records)
        if not (records or self.moved) and timeout:
            waiter = consumer._fetcher._create_fetch_waiter()
            await asyncio.wait([waiter], timeout=timeout)
            if waiter.done():
                waiter.result()  # aiokafka's way to tell of what the group refuses
            else:
                waiter.cancel()
            records = await self._take(consumer, active_partitions, max_records)
        return records

    async def _take(self, consumer: Any, active_partitions: Any, max_records: int | None) -> Any:
        """What was fetched: of urgent topics alone where there is any, so that it doesn't wait until thousands of
        others are decoded."""
        fetcher = consumer._fetcher
        if fetcher._subscriptions.reassignment_in_progress:
            await fetcher._subscriptions.wait_for_assignment()
        urgent = {tp for tp in fetcher._records if tp.topic in self.app.hooks.urgent_topics}
        urgent = urgent if active_partitions is None else urgent & active_partitions
        self.urgent_came = self.urgent_came or bool(urgent)
        states = {tp: _state_of(consumer, tp) for tp in fetcher._records}
        starts = {tp: state.position for tp, state in states.items() if state is not None and state.has_valid_position}
        records = await super()._fetch_records(
            consumer, urgent or active_partitions, timeout=0, max_records=max_records
        )
        self.moved = {
            TP(*tp): (start, states[tp].position) for tp, start in starts.items() if states[tp]._position != start
        }
        return records

    def is_held(self, tp: TP) -> bool:
        """Whether all was read there but for what lies behind an open transaction, as the broker reported lately."""
        state = _state_of(self._consumer, tp) if self._consumer is not None else None
        if state is None or state.timestamp is None or time.time() * 1000 - state.timestamp > _ANSWER_VALID_MS:
            return False
        position, stable, end = state._position, state.lso, state.highwater
        return position is not None and position == stable and stable < end

    async def commit_positions(self, positions: Mapping[TP, OffsetAndMetadata]) -> None:
        """Commits as the group's member; raises aiokafka's errors (Faust's own commit swallows some)."""
        await self.call_thread(self._commit_positions, positions)

    async def _commit_positions(self, positions: Mapping[TP, OffsetAndMetadata]) -> None:
        assigned = self.assignment()
        offsets = {TopicPartition(*tp): at for tp, at in positions.items() if tp in assigned}
        if offsets:
            await self._ensure_consumer().commit(offsets)

    async def fetch_again(self, positions: Mapping[TP, int]) -> None:
        """Has the next fetches begin at these offsets, where the partitions are still assigned. Raises TimeoutError."""
        async with asyncio.timeout(_SEEK_S):
            await self.call_thread(self._fetch_again, positions)

    async def _fetch_again(self, positions: Mapping[TP, int]) -> None:
        consumer = self._ensure_consumer()
        for tp in self.assignment() & set(positions):
            consumer.seek(tp, positions[tp])

    async def fetch_committed(self, tps: list[TP]) -> dict[TP, OffsetAndMetadata]:
        """The group's commits with their metadata (aiokafka's public call leaves the metadata out)."""
        return cast(dict[TP, OffsetAndMetadata], await self.call_thread(self._fetch_committed, tps))

    async def _fetch_committed(self, tps: list[TP]) -> dict[TP, OffsetAndMetadata]:
        coordinator = self._ensure_consumer()._coordinator
        found = await coordinator.fetch_committed_offsets([TopicPartition(*tp) for tp in tps])
        return {TP(tp.topic, tp.partition): at for tp, at in found.items()}


def _state_of(consumer: Any, tp: Any) -> Any:
    """What aiokafka knows of a partition; None where it isn't assigned."""
    subscription = consumer._subscription.subscription
    assignment = subscription.assignment if subscription is not None else None
    return assignment.state_value(tp) if assignment is not None else None


def listen(
    fetcher: Any, topic: str, clock: Callable[[], int], monotonic: Callable[[], float] = time.monotonic
) -> Mapping[TP, EndOffset]:
    """Has fetches report how far ``topic`` goes. Returns, for each partition, what the fetch
    reported that brought the records which wait; where nothing did, that isn't known. ``clock``: Unix ms;
    ``monotonic``: seconds.

    A broker reads partitions in the order in which a request names them (KIP-74), and says where each ends; so the
    topic is named last. Of a partition that was not among them, or that had an error, nothing is reported.
    """
    fetch = fetcher._proc_fetch_request
    end_offsets: dict[TP, EndOffset] = {}

    async def listening(assignment: Any, node_id: int, request: Any) -> bool:
        request.topics.sort(key=lambda partitions: partitions[0] == topic)
        since, fresh_since = clock(), monotonic()
        asked = [TP(name, number) for name, partitions in request.topics for number, *_ in partitions]
        states = {tp.partition: assignment.state_value(tp) for tp in asked if tp.topic == topic}
        set_at = {number: state.timestamp for number, state in states.items()}  # aiokafka sets it with the end
        found: bool = await fetch(assignment, node_id, request)
        if found:
            ends = {n: state.highwater for n, state in states.items() if state.timestamp != set_at[n]}
            for tp in asked:
                if (end := ends.get(tp.partition, -1)) >= 0:
                    end_offsets[tp] = EndOffset(end, since, fresh_since)
                else:
                    end_offsets.pop(tp, None)
        return found

    fetcher._proc_fetch_request = listening
    return end_offsets


def leave_out(fetcher: Any, topics: Set[str]) -> None:
    """Has a node's fetches name these topics only now and then, unless they are all that there is to name."""
    fetch = fetcher._proc_fetch_request
    named_at: dict[int, float] = {}

    async def leaving_out(assignment: Any, node_id: int, request: Any) -> bool:
        now = asyncio.get_running_loop().time()
        others = [partitions for partitions in request.topics if partitions[0] not in topics]
        if others and now - named_at.get(node_id, -inf) < PATIENT_S:
            request.topics[:] = others
        else:
            named_at[node_id] = now
        return bool(await fetch(assignment, node_id, request))

    fetcher._proc_fetch_request = leaving_out


def space_out(fetcher: Any, paused: Callable[[], Set[TP]], busy: Callable[[], bool] = lambda: False) -> None:
    """Has a node's next fetch wait after one that found something; those who wait for records are notified before.
    ``paused``: partitions whose records nobody will take now. ``busy``: whether checkpoints are made.

    And has aiokafka look again after each: where a fetch ends just as records are taken, its routine wakes before it
    knows that the node is free, finds nothing to do, and sleeps for its 200 ms.
    """
    fetch = fetcher._proc_fetch_request

    async def spaced_out(*args: Any) -> bool:
        with suppress(asyncio.CancelledError):  # whoever cancels it awaits it; aiokafka's own lets some through
            if await fetch(*args):
                for waiter in list(fetcher._fetch_waiters):
                    fetcher._notify(waiter)
                for turn in range(1, FETCH_TURNS + 1):
                    await asyncio.sleep(FETCH_APART_S)
                    if not (fetcher._records.keys() - paused() or (turn < BUSY_TURNS and busy())):
                        break
        loop = asyncio.get_running_loop()
        loop.call_soon(loop.call_soon, look_again)
        return False

    def look_again() -> None:
        fetcher._notify(fetcher._wait_consume_future)

    fetcher._proc_fetch_request = spaced_out


class CheckpointConsumer(Consumer):  # type: ignore[misc]
    """Hands whole fetched lists to the agents' channels; waits for the partitions' runners where Faust waits for
    acks."""

    async def verify_all_partitions_active(self) -> None:
        """Not Faust's: it looks at events and commits that it doesn't see here, and says after some minutes that no
        stream has begun. ``stall_detection.py`` looks at what really has to get on."""

    def _new_consumer_thread(self) -> CheckpointConsumerThread:
        return CheckpointConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def _drain_messages(self, fetcher: Any) -> None:
        """Faust's loop costs 60 to 90 µs a record before any work is done; this one a fraction of a microsecond.

        Nothing here blocks on a full channel: a partition whose runner has enough is paused instead, so a slow one
        never holds up the others, and a rebalance finds nothing to cancel.
        """
        stopping = self._stopped.is_set
        while not (stopping() or fetcher._stopped.is_set()):
            generation = self.app.consumer_generation_id
            records, active = await self._wait_next_records(_POLL_S)
            moved, self._thread.moved = self._thread.moved, {}
            if not moved:
                continue
            if not self.flow_active or generation != self.app.consumer_generation_id:
                # They may be of the assignment that has just begun: dropped, they would never come again.
                self._thread.urgent_came = False
                await self._thread.fetch_again({tp: start for tp, (start, _) in moved.items()})
                continue
            for tp, (start, position) in moved.items():
                if active is not None and tp not in active and tp not in self._paused_partitions:
                    await self._thread.fetch_again({tp: start})
                    continue
                end_offset, found = self._thread.end_offsets.get(tp), records.get(tp, ())
                for channel in self.app.topics._tp_index.get(tp, ()):
                    channel.queue.put_nowait(
                        Fetch(tp.topic, tp.partition, found, start, position, end_offset, generation)
                    )

    async def wait_empty(self) -> None:
        """Called before partitions are given up and before the worker stops: every runner finishes its checkpoint
        and its calls, within a limit (Faust would wait for acks for ever)."""
        await self.app.hooks.drain()

    async def commit(self, *args: Any, **kwargs: Any) -> bool:
        """Faust has nothing to commit: positions are the checkpoints' business."""
        return False


class CheckpointTransport(Transport):  # type: ignore[misc]
    Consumer = CheckpointConsumer


@dataclass(frozen=True, slots=True)
class Hooks:
    """What our parts of Faust need from the worker that runs it.

    Args:
        drain: waits until the runner of each partition has finished its checkpoint and its calls.
        is_busy: whether any partition makes a checkpoint; the consumer's thread asks.
        clock: Unix ms.
        urgent_topics: their records are handed out before all others that were fetched.
        patient_topics: nobody waits for them.
    """

    drain: Callable[[], Awaitable[None]]
    is_busy: Callable[[], bool]
    clock: Callable[[], int]
    urgent_topics: frozenset[str]
    patient_topics: frozenset[str]


class CheckpointApp(faust.App):  # type: ignore[misc]
    """Faust's app with our transport and the worker's hooks."""

    def __init__(self, *args: Any, hooks: Hooks, **options: Any) -> None:
        self.hooks = hooks
        super().__init__(*args, **options)

    def _new_transport(self) -> CheckpointTransport:
        return CheckpointTransport(self.conf.broker_consumer, self)


class NoRecovery(Recovery):  # type: ignore[misc]
    """Tables are brought up to date by each partition's runner, in raw batches, while others are served; so Faust has
    nothing to recover and resumes at once."""

    def need_recovery(self) -> bool:
        return False

    async def _build_highwaters(self, *args: Any, **kwargs: Any) -> None:
        return None

    async def _build_offsets(self, *args: Any, **kwargs: Any) -> None:
        return None

    async def _seek_offsets(self, *args: Any, **kwargs: Any) -> None:
        return None


class CheckpointTableManager(TableManager):  # type: ignore[misc]
    """Tables are declared, which has the group assigned by Faust's co-partitioning assignor; their changelogs are not
    subscribed to. Faust would only pause them in its own books, and the client would fetch them all the same."""

    _recovery: Recovery | None = None

    async def on_start(self) -> None:
        """At once: Faust waits a second for tables that are declared late."""
        await self._update_channels()
        await self.recovery.start()

    async def _update_channels(self) -> None:
        self._tables_finalized.set()
        self._tables_registered.set()

    @property
    def recovery(self) -> Recovery:
        if self._recovery is None:
            self._recovery = NoRecovery(self.app, self, beacon=self.beacon, loop=self.loop)
        return self._recovery


def credentials_of(client_options: Mapping[str, Any]) -> CredentialsT | None:
    """Faust's words for aiokafka's security options; None for plain text."""
    context = client_options.get("ssl_context")
    if "sasl_mechanism" in client_options:
        return SASLCredentials(
            username=client_options["sasl_plain_username"],
            password=client_options["sasl_plain_password"],
            mechanism=client_options["sasl_mechanism"],
            ssl_context=context,
        )
    return None if context is None else SSLCredentials(context)


__all__ = [
    "FETCH_WAIT_MS",
    "CheckpointApp",
    "CheckpointConsumer",
    "CheckpointConsumerThread",
    "CheckpointTableManager",
    "CheckpointTransport",
    "Hooks",
    "NoRecovery",
    "credentials_of",
]
