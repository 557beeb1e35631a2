"""The whole pipe under load that doesn't slow for it: requests are produced at their times, whatever is still on its
way, and each one's latency is from its time to the moment at which the provider sandbox accepted it."""

import asyncio
import random
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
from aiokafka import AIOKafkaProducer
from msgspec import Struct

from app.domain.ids import keyed_notification_id
from app.domain.out import Produce
from bench.figures import Figure, percentile
from bench.ground import Ground, Worker
from bench.preloading import Changelogs, preload_users
from bench.workload import EVENT_TYPE, SOURCE, Workload, request, unix_ms
from schemas.topics import EVENTS

_LOOK_EVERY_S = 0.1
_LATE_S = 120.0
_FIRST = 100


class _Accepted(Struct):
    notification_id: str | None
    at_ms: int


class Phone:
    """What the sandbox accepted, read from its file as it is written: notification id → when (Unix ms)."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "accepted.jsonl"
        self._at = 0
        self._decode = msgspec.json.Decoder(_Accepted).decode
        self.accepted: dict[str, int] = {}

    def look(self) -> int:
        """Reads what is new; how many were accepted so far."""
        with self._file.open("rb") as file:
            file.seek(self._at)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._at += len(line)
                found = self._decode(line)
                if found.notification_id is not None:
                    self.accepted.setdefault(found.notification_id, found.at_ms)
        return len(self.accepted)


class Pipe:
    """Router, push role and sandbox on a ground with users, and requests that go through them by number."""

    def __init__(self, ground: Ground, users: int) -> None:
        self.ground = ground
        self.load = Workload(users=users, events=0, partitions=ground.partitions, now_ms=unix_ms())
        self.phone = Phone(ground.folder / "sandbox")
        self.workers: dict[str, Worker] = {}
        self._next = 0

    async def prepare(self) -> None:
        await preload_users(self.ground, self.load, (Changelogs("router"), Changelogs("push")))

    async def start(self) -> None:
        """Router and push role; returns when the first messages, which connect them, have arrived."""
        for role in ("router", "push"):
            self.workers[role] = await self.ground.start_role(role)
        for role, worker in self.workers.items():
            await worker.until(self.ground.ready(role))
        first = list(self.take(_FIRST))
        await self.ground.append(first)
        await self.until_accepted({name_of(record) for record in first}, "first messages")

    def take(
        self, count: int, topic: str = EVENTS, event_type: str = EVENT_TYPE, user: int | None = None
    ) -> Iterator[Produce]:
        """The next requests, of random users or of one; none is ever the same as another."""
        first, self._next = self._next, self._next + count
        return (request(self.load, number, topic, event_type, user) for number in range(first, first + count))

    async def until_accepted(self, names: set[str], words: str) -> None:
        """Until the sandbox has accepted all of them. Raises TimeoutError where nothing new comes for long."""
        task = self.ground.progress.add_task(f"  {words}", total=len(names))
        last, changed = -1, time.monotonic()
        while (found := len(names & self.phone.accepted.keys())) < len(names):
            self.ground.progress.update(task, completed=found)
            if found != last:
                last, changed = found, time.monotonic()
            self.check()
            if time.monotonic() - changed > _LATE_S:
                raise TimeoutError(f"{words}: {len(names) - found} of {len(names)} were not accepted")
            await asyncio.sleep(_LOOK_EVERY_S)
            self.phone.look()
        self.ground.progress.remove_task(task)

    def check(self) -> None:
        """Raises ProcessEnded where one of the workers has ended."""
        for worker in self.workers.values():
            if worker.process.returncode is not None:
                raise worker.ended()

    async def offer(
        self, rate: float, seconds: float, words: str, topic: str = EVENTS, event_type: str = EVENT_TYPE
    ) -> "Offered":
        """Produces requests for so long at random (Poisson) times, so many a second on average."""
        task = self.ground.progress.add_task(f"  {words}", total=round(seconds))
        chance = random.Random(f"{words} {rate}")
        producer = AIOKafkaProducer(bootstrap_servers=self.ground.bootstrap, acks="all", linger_ms=0)
        await producer.start()
        offered = Offered({})
        begun, at_s = time.time(), 0.0
        try:
            while (at_s := at_s + chance.expovariate(rate)) < seconds:
                [record] = self.take(1, topic, event_type)
                if (wait_s := begun + at_s - time.time()) > 0:
                    await asyncio.sleep(wait_s)
                else:
                    offered.late_s = max(offered.late_s, -wait_s)
                await producer.send(topic, record.value, key=record.key, partition=record.partition)
                offered.at_ms[name_of(record)] = 1000 * (begun + at_s)
                offered.keys[name_of(record)] = record.key or b""
                self.ground.progress.update(task, completed=int(at_s))
            await producer.flush()
        finally:
            await producer.stop()
            self.ground.progress.remove_task(task)
        return offered

    def latencies(self, offered: "Offered") -> list[float]:
        """Milliseconds of every request that was offered and accepted."""
        accepted = self.phone.accepted
        return [accepted[name] - at_ms for name, at_ms in offered.at_ms.items() if name in accepted]


class Offered(Struct):
    """``at_ms``: when each notification was due to be produced. ``late_s``: how late the generator was at worst.
    ``keys``: each notification's user."""

    at_ms: dict[str, float]
    late_s: float = 0.0
    keys: dict[str, bytes] = {}


class _Keyed(Struct):
    idempotency_key: str


def name_of(record: Produce) -> str:
    """The notification's id."""
    assert record.value is not None
    return keyed_notification_id(SOURCE, msgspec.json.decode(record.value, type=_Keyed).idempotency_key)


def latency_figures(benchmark: str, case: str, latencies: list[float], offered: Offered) -> dict[str, Figure]:
    """p50, p99 and p99.9 of what was accepted."""
    detail = {"requests": len(latencies), "generator_late_ms": round(1000 * offered.late_s, 1)}
    return {
        name: Figure(
            benchmark=benchmark, case=case, name=name, value=percentile(latencies, percent), unit="ms", detail=detail
        )
        for name, percent in (("p50", 50.0), ("p99", 99.0), ("p99.9", 99.9))
    }
