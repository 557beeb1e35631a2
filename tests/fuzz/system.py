"""A whole development system under mutated records and requests, while neighbours send ordinary ones; judged at the
end."""

import asyncio
import json
import os
import shutil
import struct
import time
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import jwt
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st
from hypothesis.errors import HypothesisDeprecationWarning

from agents.router.requests import _notification_id
from app.demo.balance import balance
from app.dev.kafka_jars import ensure_jars
from app.domain.ids import keyed_notification_id
from app.domain.partition import partition_of
from faults.observing import Observer
from faults.record import Record, unix_ms
from faults.system import Faulty
from schemas import topics
from schemas.cloudevents import read_event
from schemas.decode import Invalid
from schemas.instants import parse_ms
from tests.fuzz import gateway, inputs
from tests.fuzz.gateway import Asked
from tests.fuzz.inputs import Fed
from tests.fuzz.machines import Broken
from tests.fuzz.machines import Record as Lies

_FOLDER = Path(".tocsin/fuzz/system")
_CALM_S = 20.0
_EVERY_S = 0.25
_QUIET_S = 180.0
#: A neighbour waits no longer than this beyond what it waits when all is calm.
_LONGER_MS = 1_000
_LANES = topics.EVENT_TOPICS


class _Found:
    """What went wrong, by kind, with one example each."""

    def __init__(self) -> None:
        self.kinds: dict[str, tuple[int, str]] = {}

    def add(self, kind: str, example: object) -> None:
        count, first = self.kinds.get(kind, (0, str(example)[:2_000]))
        self.kinds[kind] = (count + 1, first)


def run_system(minutes: float, seed: int) -> bool:
    """Prints what came of it; whether nothing was found."""
    print(f"seed {seed}")
    return asyncio.run(_run(minutes, seed))


async def _run(minutes: float, seed: int) -> bool:
    shutil.rmtree(_FOLDER, ignore_errors=True)
    # Inputs are made beside a loop whose clients draw from ``random`` too.
    warnings.filterwarnings("ignore", category=HypothesisDeprecationWarning)
    jars = ensure_jars(Path(".tocsin/kafka"), os.environ)
    found = _Found()
    async with Faulty(_FOLDER, jars) as system:
        record = Record(_FOLDER / "record", system.sandbox_folder)
        system.record = record
        observer = Observer(system.dev.state.kafka_bootstrap, record)
        await observer.start()
        feeding = _Feeding(system, seed, found)
        try:
            await feeding.run(minutes)
            await _until_quiet(observer, feeding, found)
        finally:
            await observer.stop()
            system.record = None
    record.finish({"experiment": "fuzz", "seed": seed})
    _judge(feeding, observer, record, found)
    feeding.print_summary()
    for kind, (count, example) in found.kinds.items():
        print(f"FOUND {count} x {kind}\n    {example}")
    print(f"{len(found.kinds)} kinds of faults found")
    return not found.kinds


class _Feeding:
    """Neighbours from the beginning on; after a calm while everything else too."""

    def __init__(self, system: Faulty, seed: int, found: _Found) -> None:
        self._state = system.dev.state
        self._partitions = system.dev.settings.kafka.partitions
        self._seed = seed
        self._found = found
        self._over = False
        self._producer: AIOKafkaProducer = AIOKafkaProducer(
            bootstrap_servers=self._state.kafka_bootstrap, max_request_size=4 << 20, linger_ms=5
        )
        #: Where each mutated record lies, and what was fed.
        self.lies: dict[tuple[str, int, int], Fed] = {}
        self.stamps: dict[tuple[str, int, int], int] = {}
        #: Of neighbours, by key: when it was acknowledged, and whether it was calm then.
        self.neighbours: dict[str, tuple[int, bool]] = {}
        self.statuses: Counter[int] = Counter()
        self.unproducible = 0
        self._calm = True

    async def run(self, minutes: float) -> None:
        await self._producer.start()
        neighbours = asyncio.create_task(self._neighbours())
        try:
            await asyncio.sleep(_CALM_S)
            self._calm = False
            end = time.monotonic() + 60 * minutes
            await asyncio.gather(self._records(end), self._requests(end))
        finally:
            self._over = True
            await neighbours
            await self._producer.stop()

    async def _records(self, end: float) -> None:
        allowed = (*inputs.PUBLIC, *inputs.PUBLIC, *inputs.PUBLIC, *inputs.SENDS, *inputs.OWN, topics.LIFECYCLE)
        while time.monotonic() < end:
            self._seed += 1
            for fed in await asyncio.to_thread(_some, inputs.records(allowed), self._seed, 200):
                if time.monotonic() >= end:
                    return
                for _ in range(fed.times):
                    await self._produce(fed)

    async def _produce(self, fed: Fed) -> None:
        own = partition_of(fed.key or b"", self._partitions)
        partition = (own + fed.astray) % self._partitions
        stamp = fed.timestamp if fed.timestamp is not None and fed.timestamp >= 0 else None
        try:
            headers = [(name.decode(), said or b"") for name, said in fed.headers]
            at = await self._producer.send_and_wait(
                fed.topic, fed.value, key=fed.key, partition=partition, timestamp_ms=stamp, headers=headers
            )
        except (UnicodeDecodeError, struct.error, ValueError, OverflowError, AssertionError, KafkaError):
            self.unproducible += 1  # no client writes it or no broker takes it (`make faults` writes its own batches)
            return
        self.lies[at.topic, at.partition, at.offset] = fed
        self.stamps[at.topic, at.partition, at.offset] = at.timestamp

    async def _requests(self, end: float) -> None:
        asked_of = [route for route in gateway.ROUTES if (route.method, route.path) != ("PUT", "/v1/policy")]
        strategy = st.sampled_from(asked_of).flatmap(inputs.requests)
        seed = self._seed
        while time.monotonic() < end:
            seed += 1
            for asking in await asyncio.to_thread(_some, strategy, seed, 50):
                for asked in asking.requests:
                    if time.monotonic() >= end:
                        return
                    await self._ask(asked)

    async def _ask(self, asked: Asked) -> None:
        port = int(self._state.gateway_url.rpartition(":")[2])
        try:
            async with asyncio.timeout(20):
                answered = await gateway.over_wire(port, asked, self._authorization(asked.caller))
        except (TimeoutError, OSError) as error:
            self._found.add(f"no answer: {type(error).__name__}", asked)
            return
        self.statuses[answered.status] += 1
        try:
            gateway.judge(asked, answered)
        except Broken as broken:
            self._found.add(f"an answer {answered.status}", f"{broken} to {asked}")

    def _authorization(self, caller: str) -> bytes | None:
        keys = self._state.api_keys
        match caller:
            case "nobody":
                return None
            case "garbage":
                return b"Bearer a.b.c"
            case "ops":
                return f"Bearer {keys['admin']}".encode()
            case "shop" | "sender" | "reader":
                return f"Bearer {keys['demo']}".encode()
            case user:
                claims = {"sub": user, "exp": int(time.time()) + 3_600}
                return f"Bearer {jwt.encode(claims, self._state.jwt_secret, algorithm='HS256')}".encode()

    async def _neighbours(self) -> None:
        """An ordinary request every quarter of a second, in each lane and partition in turn."""
        users = [_a_user_of(partition, self._partitions) for partition in range(self._partitions)]
        number, chance = 0, Random(self._seed)
        while not self._over:
            number += 1
            key, user = f"fuzz-neighbour-{number}", users[number % len(users)]
            said = {
                "user_id": user,
                "event_type": "neighbour.asks",
                "channels": ["in_app"],
                "source": "neighbour",
                "idempotency_key": key,
                "content": {"title": f"Number {number}", "body": f"{chance.random()}"},
            }
            await self._producer.send_and_wait(_LANES[number % 3], json.dumps(said).encode(), key=user.encode())
            self.neighbours[key] = (unix_ms(), self._calm)
            await asyncio.sleep(_EVERY_S)

    def print_summary(self) -> None:
        by_topic = Counter(topic for topic, _, _ in self.lies)
        fed = ", ".join(f"{topic} {count}" for topic, count in sorted(by_topic.items()))
        print(f"{len(self.lies)} records: {fed}")
        print(f"left out, as no client writes them or no broker takes them: {self.unproducible}")
        print(f"{sum(self.statuses.values())} requests, answered {dict(sorted(self.statuses.items()))}")


def _some(strategy: st.SearchStrategy[Any], seed: int, count: int) -> list[Any]:
    made: list[Any] = []

    @seeded(seed)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    @given(strategy)
    def collect(one: Any) -> None:
        made.append(one)

    collect()
    return made


def _a_user_of(partition: int, partitions: int) -> str:
    names = (f"neighbour{n}" for n in range(1_000))
    return next(name for name in names if partition_of(name.encode(), partitions) == partition)


async def _until_quiet(observer: Observer, feeding: _Feeding, found: _Found) -> None:
    """Until nobody has anything left to read."""
    end = time.monotonic() + _QUIET_S
    while any((behind := await observer.lag()).values()) or not await observer.has_seen_all():
        if time.monotonic() >= end:
            found.add(f"still to be read after {_QUIET_S:g} s", dict(behind))
            return
        await asyncio.sleep(0.2)


def _judge(feeding: _Feeding, observer: Observer, record: Record, found: _Found) -> None:
    for line in record.injected:
        if line["fault"] == "process_ended":
            found.add(f"{line['role']} ended: {line['note']}", line)
    _judge_letters(feeding, observer, found)
    _judge_requests(feeding, observer, found)
    _judge_neighbours(feeding, observer, found)


def _judge_letters(feeding: _Feeding, observer: Observer, found: _Found) -> None:
    for letter in observer.dead:
        fed = feeding.lies.get((letter["topic"], letter["partition"], letter["offset"]))
        if letter.get("code") in ("internal", "poison"):
            found.add(f"a dead letter {letter['code']} by {letter['role']}: {letter['reason']}", fed or letter)
        elif fed is None and letter["topic"] not in (*inputs.PUBLIC, topics.LIFECYCLE, *inputs.SENDS):
            found.add(f"{letter['role']} refuses {letter['topic']}: {letter['reason']}", letter)


def _judge_requests(feeding: _Feeding, observer: Observer, found: _Found) -> None:
    """Each is accepted or has one letter, as its reader has it."""
    letters = Counter((letter["topic"], letter["partition"], letter["offset"]) for letter in observer.dead)
    known = {(event["notification_id"], event["user_id"]) for event in _events(observer)}
    for place, fed in feeding.lies.items():
        if fed.topic not in topics.EVENT_TOPICS or fed.value is None or fed.astray or letters[place]:
            continue
        lies = Lies(*place, feeding.stamps[place], fed.key, fed.value, fed.named_headers())
        try:
            request = read_event(fed.value, fed.named_headers(), lies.timestamp)[0]
        except Invalid as invalid:
            found.add("a request that can't be read has no dead letter", f"{invalid}: {place} {fed}")
            continue
        if (_notification_id(request, lies, None), request.user_id) not in known:
            found.add("a request came to nothing", f"{place} {fed}")


def _judge_neighbours(feeding: _Feeding, observer: Observer, found: _Found) -> None:
    accepted: dict[str, int] = {}
    expected = set()
    for event in _of_neighbours(observer):
        if event["status"] == "accepted":
            accepted[event["notification_id"]] = parse_ms(event["occurred_at"])
            expected.add((event["notification_id"], event["user_id"]))
    if len(accepted) < len(feeding.neighbours):
        found.add("requests of neighbours that were not accepted", len(feeding.neighbours) - len(accepted))
    if open_ones := balance(expected, _of_neighbours(observer)).open:
        found.add("requests of neighbours without an end", open_ones)
    waited: dict[bool, list[int]] = {True: [], False: []}
    for key, (acknowledged, calm) in feeding.neighbours.items():
        if (at := accepted.get(_id_of(key))) is not None:
            waited[calm].append(max(0, at - acknowledged))
    calm_ms, busy_ms = _p99(waited[True]), _p99(waited[False])
    longest = max(waited[False], default=0)
    print(
        f"neighbours waited {calm_ms} ms when it was calm (p99), {busy_ms} ms beside it all; the longest {longest} ms"
    )
    if busy_ms > calm_ms + _LONGER_MS:
        found.add("neighbours wait more than a second longer", f"p99 {busy_ms} ms, when it was calm {calm_ms} ms")


def _events(observer: Observer) -> list[dict[str, Any]]:
    """Without those that were fed and can't be."""
    names = ("event_id", "notification_id", "user_id", "status", "occurred_at")
    return [event for event in observer.events if all(isinstance(event.get(name), str) for name in names)]


def _of_neighbours(observer: Observer) -> list[dict[str, Any]]:
    return [event for event in _events(observer) if event.get("source") == "neighbour"]


def _id_of(key: str) -> str:
    return keyed_notification_id("neighbour", key)


def _p99(values: Sequence[int]) -> int:
    return sorted(values)[int(len(values) * 0.99)] if values else 0
