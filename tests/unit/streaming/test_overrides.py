"""What we rely on inside Faust and aiokafka. A failure here means: read the new version before trusting it."""

import asyncio
import hashlib
import inspect
import ssl
from collections.abc import Mapping
from importlib.metadata import version
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.consumer.fetcher import Fetcher, FetchResult, PartitionRecords
from faust.app.base import App
from faust.tables.manager import TableManager
from faust.tables.recovery import Recovery
from faust.transport.consumer import Consumer
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, credentials_to_aiokafka_auth
from faust.types import TP

from app.streaming import overrides
from app.streaming.end_offsets import EndOffset
from app.streaming.overrides import BUSY_TURNS, FETCH_APART_S, FETCH_TURNS, credentials_of, leave_out, listen, space_out


def fingerprint(function: object) -> str:
    return hashlib.sha256(inspect.getsource(function).encode()).hexdigest()[:16]  # type: ignore[arg-type]


def test_faust_is_the_version_that_was_read() -> None:
    assert version("faust-streaming") == "0.15.3"


RELIED_ON = {
    # replaced by ours
    Consumer._drain_messages: "44a2500309e83c63",
    Consumer._commit_livelock_detector.fun: "af196ff46fd42a14",
    Consumer.wait_empty: "e4662fe24f094819",
    Consumer.commit: "a354437baaa08bf8",
    TableManager.on_start: "365dd25fbc0e0684",
    TableManager._update_channels: "88e3941facc934d6",
    Recovery.need_recovery: "fd1dc345b5d5e121",
    # called by ours, or calling ours
    Consumer._wait_next_records: "6218e1969a636b3f",
    Consumer.pause_partitions: "27a1c94bdacd54de",
    Consumer.resume_partitions: "afe6b7c02a41d63c",
    Recovery._restart_recovery.fun: "6bd8a8558a2dffe4",
    Recovery.on_recovery_completed: "6ef567acf072e46d",
    App._on_partitions_revoked: "d5c895bbe57dc73a",
    App._on_partitions_assigned: "de932b7927db85b3",
    App._stop_consumer: "55854a5de12c3f52",
    AIOKafkaConsumerThread._create_worker_consumer: "c2701bfc3e6f6cad",
    AIOKafkaConsumerThread.getmany: "26fc5fc9f3b667e1",
    AIOKafkaConsumerThread.on_start: "38b4e8bd1e10723a",
    AIOKafkaConsumerThread._fetch_records: "39a2c6c79fc1455a",
    Fetcher._fetch_requests_routine: "2a8ec5932644c9b0",
    Fetcher._get_actions_per_node: "1dab2cf937d165d0",
    Fetcher._proc_fetch_request: "59bf948fff47eed5",
    Fetcher.fetched_records: "be4348896b9b66af",
    # app.kafka: replaced, called, or run with other names for what they call
    AIOKafkaConsumer.start: "2f1ba70443327538",
    FetchResult: "d7db13f06de8248c",
    PartitionRecords: "94aa0da0dbec8d1b",
}


@pytest.mark.parametrize("function", RELIED_ON, ids=lambda f: f.__qualname__)
def test_faust_still_does_what_the_overrides_rely_on(function: object) -> None:
    assert fingerprint(function) == RELIED_ON[function]


def test_the_table_manager_makes_its_recovery_in_a_property() -> None:
    assert isinstance(inspect.getattr_static(TableManager, "recovery"), property)


def test_aiokafka_takes_its_fetch_wait_from_the_attribute_that_we_set() -> None:
    assert "self._fetch_max_wait_ms" in inspect.getsource(AIOKafkaConsumer.start)


class Fetching:
    """A fetcher whose fetches find something or not."""

    def __init__(self) -> None:
        self.found = True
        self.told = 0
        self._fetch_waiters: set[object] = {object()}
        self._records: dict[TP, object] = {}
        self._wait_consume_future = object()
        self.told_that_records_were_taken = 0

    async def _proc_fetch_request(self, *args: object) -> bool:
        return self.found

    async def _waits_before_it_tries_again(self, *args: object) -> bool:
        await asyncio.Event().wait()
        return False

    def _notify(self, waiter: object) -> None:
        if waiter is self._wait_consume_future:
            self.told_that_records_were_taken += 1
        else:
            self.told += 1


async def test_who_waits_for_records_is_told_before_the_next_fetch_is_put_off() -> None:
    fetcher = Fetching()
    space_out(fetcher, frozenset)
    fetch = asyncio.create_task(fetcher._proc_fetch_request("assignment", 0, "request"))
    await asyncio.sleep(0)

    assert fetcher.told == 1
    assert not fetch.done()
    assert await fetch is False  # they were told already


async def test_a_fetch_that_found_nothing_is_followed_by_the_next_at_once() -> None:
    fetcher = Fetching()
    space_out(fetcher, frozenset)
    fetcher.found = False
    fetch = asyncio.create_task(fetcher._proc_fetch_request("assignment", 0, "request"))
    await asyncio.sleep(0)

    assert fetch.done()
    assert fetcher.told == 0


async def test_the_next_fetch_waits_for_records_that_nobody_has_taken_yet_but_not_for_long() -> None:
    """It would leave their partitions out, and they would wait for as long as it takes."""
    begun, fetcher = asyncio.get_running_loop().time(), Fetching()
    space_out(fetcher, frozenset)
    fetcher._records[TP("topic", 3)] = "records"
    await fetcher._proc_fetch_request("assignment", 0, "request")
    waited_s = asyncio.get_running_loop().time() - begun

    assert waited_s >= FETCH_TURNS * FETCH_APART_S - 0.001
    assert fetcher._records


async def test_the_next_fetch_does_not_wait_for_records_of_a_paused_partition() -> None:
    fetcher, turns = Fetching(), count()
    paused = TP("topic", 3)

    def paused_now() -> set[TP]:
        next(turns)
        return {paused}

    space_out(fetcher, paused_now)
    fetcher._records[paused] = "records"
    await fetcher._proc_fetch_request("assignment", 0, "request")

    assert next(turns) == 1


async def test_the_next_fetch_waits_a_while_for_checkpoints_that_are_made() -> None:
    fetcher, asked = Fetching(), count()
    space_out(fetcher, frozenset, lambda: next(asked) >= 0)
    await fetcher._proc_fetch_request("assignment", 0, "request")

    assert next(asked) == BUSY_TURNS - 1


async def named(fetches: int, *topics: str) -> list[list[str]]:
    """What each of so many fetches, one at once after the other, named of these topics."""
    seen: list[list[str]] = []

    async def fetch(assignment: object, node_id: int, request: Any) -> bool:
        seen.append([topic for topic, _ in request.topics])
        return False

    fetcher = SimpleNamespace(_proc_fetch_request=fetch)
    leave_out(fetcher, frozenset({"receipts"}))
    for _ in range(fetches):
        await fetcher._proc_fetch_request(None, 0, SimpleNamespace(topics=[(topic, [0]) for topic in topics]))
    return seen


async def test_what_nobody_waits_for_is_fetched_now_and_then() -> None:
    assert await named(3, "receipts", "events") == [["receipts", "events"], ["events"], ["events"]]


async def test_what_nobody_waits_for_is_fetched_if_there_is_nothing_else_to_fetch() -> None:
    assert await named(2, "receipts") == [["receipts"], ["receipts"]]


async def test_what_nobody_waits_for_is_fetched_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overrides, "PATIENT_S", 0.0)

    assert await named(2, "receipts", "events") == [["receipts", "events"]] * 2


class Racing(Fetcher):  # type: ignore[misc]
    """aiokafka's own routine, with fetches that end one turn of the loop after records were taken: just before it
    learns that the node is free again, it finds nothing to do and sleeps."""

    def __init__(self) -> None:
        self.fetches = 0
        self.enough = asyncio.Event()
        self._pending_tasks: set[asyncio.Task[bool]] = set()
        self._in_flight: set[int] = set()
        self._fetch_waiters: set[object] = set()
        self._records: dict[str, object] = {}
        assignment = SimpleNamespace(active=True, unassign_future=asyncio.get_running_loop().create_future())
        self._subscriptions = SimpleNamespace(subscription=SimpleNamespace(assignment=assignment))

    def _get_actions_per_node(self, assignment: object) -> tuple[object, ...]:
        requests = [] if 0 in self._in_flight else [(0, "request")]
        return requests, {}, 3600.0, False, []

    async def _proc_fetch_request(self, assignment: object, node_id: int, request: object) -> bool:
        self.fetches += 1
        if self.fetches == 5:
            self.enough.set()
        self._notify(self._wait_consume_future)
        await asyncio.sleep(0)
        return False


async def test_a_fetch_that_ends_as_records_are_taken_is_followed_by_the_next() -> None:
    fetcher = Racing()
    space_out(fetcher, frozenset)
    routine = asyncio.create_task(fetcher._fetch_requests_routine())
    try:
        async with asyncio.timeout(60):
            await fetcher.enough.wait()
    finally:
        routine.cancel()
        await routine


async def test_a_fetch_that_is_cancelled_before_it_is_tried_again_ends_quietly() -> None:
    fetcher = Fetching()
    fetcher._proc_fetch_request = fetcher._waits_before_it_tries_again  # type: ignore[method-assign]
    space_out(fetcher, frozenset)
    fetch = asyncio.create_task(fetcher._proc_fetch_request("assignment", 0, "request"))
    await asyncio.sleep(0)
    fetch.cancel()

    assert await fetch is False


async def test_a_fetch_that_is_cancelled_while_it_is_put_off_ends_quietly() -> None:
    fetcher = Fetching()
    space_out(fetcher, frozenset)
    fetch = asyncio.create_task(fetcher._proc_fetch_request("assignment", 0, "request"))
    await asyncio.sleep(0)
    fetch.cancel()

    assert await fetch is False


class Answering:
    """A fetcher whose fetch hears the ends of these partitions, and finds records or not."""

    def __init__(self, ends: dict[TP, int]) -> None:
        self.ends, self.found = ends, True
        self.states = {tp: SimpleNamespace(timestamp=7, highwater=1) for tp in WANTED}

    def state_value(self, tp: TP) -> Any:
        return self.states[tp]

    async def _proc_fetch_request(self, assignment: object, node_id: int, request: Any) -> bool:
        for tp, end in self.ends.items():
            self.states[tp].highwater = end
            self.states[tp].timestamp += 1
        return self.found


WANTED = [TP("commands", 0), TP("commands", 1), TP("events", 0), TP("events", 1), TP("events", 2)]


async def fetch(fetcher: Answering) -> None:
    topics = [("commands", [(0, 4, 99), (1, 2, 99)]), ("events", [(0, 8, 99), (1, 8, 99), (2, 8, 99)])]
    await fetcher._proc_fetch_request(fetcher, 0, SimpleNamespace(topics=topics))


def of_events(told: Mapping[TP, EndOffset]) -> dict[TP, EndOffset]:
    return {tp: end_offset for tp, end_offset in told.items() if tp.topic == "events"}


async def test_a_fetch_reports_where_each_partitions_commands_ended_before_it_was_sent() -> None:
    fetcher = Answering({TP("commands", 0): 4, TP("commands", 1): 0})
    told = listen(fetcher, "commands", lambda: 100, lambda: 7.0)
    await fetch(fetcher)

    assert of_events(told) == {TP("events", 0): EndOffset(4, 100, 7.0), TP("events", 1): EndOffset(0, 100, 7.0)}


async def test_a_fetch_names_the_commands_last_as_brokers_read_in_the_order_of_the_request() -> None:
    request, fetcher = SimpleNamespace(topics=[("commands", [(0, 0, 9)]), ("events", [(0, 0, 9)])]), Answering({})
    listen(fetcher, "commands", lambda: 0)
    await fetcher._proc_fetch_request(fetcher, 0, request)

    assert [topic for topic, _ in request.topics] == ["events", "commands"]


async def test_an_end_that_this_fetch_did_not_tell_is_not_known_whatever_was_told_before() -> None:
    fetcher = Answering({TP("commands", 0): 4, TP("commands", 1): 5})
    told = listen(fetcher, "commands", lambda: 100, lambda: 7.0)
    await fetch(fetcher)
    assert len(of_events(told)) == 2
    fetcher.ends = {TP("commands", 1): -1}
    await fetch(fetcher)

    assert of_events(told) == {}


async def test_a_fetch_without_records_leaves_what_was_told_with_those_that_wait() -> None:
    fetcher = Answering({TP("commands", 0): 4})
    told = listen(fetcher, "commands", lambda: 100, lambda: 7.0)
    await fetch(fetcher)
    fetcher.found, fetcher.ends = False, {TP("commands", 0): 6}
    await fetch(fetcher)

    assert told[TP("events", 0)] == EndOffset(4, 100, 7.0)


def test_aiokafka_has_the_batches_that_a_checkpoint_is_produced_in() -> None:
    assert list(inspect.signature(AIOKafkaProducer.send_batch).parameters) == ["self", "batch", "topic", "partition"]


CONTEXT = ssl.create_default_context()
SCRAM = {"sasl_mechanism": "SCRAM-SHA-512", "sasl_plain_username": "u", "sasl_plain_password": "p"}


@pytest.mark.parametrize(
    "options",
    [
        {"security_protocol": "PLAINTEXT"},
        {"security_protocol": "SSL", "ssl_context": CONTEXT},
        {"security_protocol": "SASL_PLAINTEXT", **SCRAM},
        {"security_protocol": "SASL_SSL", "ssl_context": CONTEXT, **SCRAM},
    ],
    ids=lambda options: options["security_protocol"],
)
def test_faust_connects_as_securely_as_every_other_client(options: dict[str, Any]) -> None:
    auth = credentials_to_aiokafka_auth(credentials_of(options))

    assert {name: value for name, value in auth.items() if value is not None} == options


async def test_faust_claims_of_no_stream_that_it_has_not_begun() -> None:
    """It asks for each partition what no event of ours tells it."""
    asked: list[TP] = []
    consumer: Any = SimpleNamespace(
        assignment=lambda: {TP("t", 0)},
        should_stop=False,
        sleep=asyncio.sleep,
        verify_event_path=lambda now, tp: asked.append(tp),
    )
    await Consumer.verify_all_partitions_active(consumer)
    assert asked
    asked.clear()
    await overrides.CheckpointConsumer.verify_all_partitions_active(consumer)
    assert not asked
