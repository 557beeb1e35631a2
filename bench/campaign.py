"""One campaign to very many: from a file that is streamed, through gateway, job, router and push role, into a sandbox
that only counts. How fast, in how much memory, how many exactly; and what urgent messages wait beside it."""

import asyncio
import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from app.domain.out import Produce
from app.domain.partition import partition_of
from bench.delivering import name_of
from bench.figures import Figure, compared, percentile
from bench.ground import Ground, Worker
from bench.run import Run
from bench.workload import URGENT_TYPE, Workload, commands, config_records, request, unix_ms, user_id
from schemas.instants import parse_ms
from schemas.topics import COMMANDS, EVENTS_CRITICAL, LIFECYCLE

NAME = "campaign"
_URGENT_RATE = 10.0
_EVERY_S = 0.5
#: While nothing new comes for so long, nothing goes on any more.
_NOTHING_NEW_S = 300.0
#: Of the recipients: where memory is looked at first, so that whatever is allocated once has been.
_EARLY = 0.25
_TERMS = {"campaign_id": "bench", "event_type": "order.shipped", "template_id": "order_shipped"}
_COMMON = {"carrier": "Parcel Post", "items": 1, "total": "9.90"}


async def measure(run: Run) -> None:
    users = run.recipients or run.size(100_000, 3_000)
    async with Ground(run, NAME, sandbox_drops=True) as ground:
        load = Workload(users=users, events=0, partitions=ground.partitions, now_ms=unix_ms())
        await ground.produce(config_records(load.now_ms), "policy", 2)
        await ground.produce(_devices(load), "devices", users)
        workers = {role: await ground.start_ready(role) for role in ("router", "push")}
        workers["gateway"] = await ground.start_gateway()
        file = await asyncio.to_thread(_written, ground.folder / "recipients.ndjson", users)
        urgent = _Urgent(ground, load)
        await urgent.during(asyncio.sleep(2.0), "first")  # when these are sent, all devices are known
        calm = await urgent.during(asyncio.sleep(run.size(20.0, 5.0)), "calm")
        sent = _Campaign(ground, workers, users, lambda: urgent.sent)
        beside = await urgent.during(sent.carry_out(file), f"beside {users:,}")
        await _check(ground, users + urgent.asked)
    run.tell(f"campaign: {users:,} recipients", [*sent.figures(), *_urgent_figures(users, calm, beside)])


def _devices(load: Workload) -> Iterator[Produce]:
    """Of every user one, as an app would add it."""
    for number in range(load.users):
        command = next(each for each in commands(number, load.now_ms) if each["type"] == "device.add")
        key = user_id(number).encode()
        yield Produce(COMMANDS, key, msgspec.json.encode(command), partition_of(key, load.partitions))


def _written(file: Path, users: int) -> Path:
    with file.open("wb") as rows:
        for number in range(users):
            row = {"user_id": user_id(number), "data": {"order_id": f"A-{number:07}"}}
            rows.write(msgspec.json.encode(row) + b"\n")
    return file


@dataclass(slots=True)
class _Sample:
    at_s: float
    #: What the sandbox has accepted, and what each process holds then.
    accepted: int
    rss_mb: Mapping[str, float]


@dataclass(slots=True)
class _Campaign:
    ground: Ground
    workers: Mapping[str, Worker]
    users: int
    #: How many others the sandbox has accepted, as far as is known.
    others: Callable[[], int] = lambda: 0
    samples: list[_Sample] = field(default_factory=list)
    began_s: float = 0.0
    uploaded_s: float = 0.0
    produced_s: float = 0.0
    cpu_s: dict[str, float] = field(default_factory=dict)

    async def carry_out(self, file: Path) -> None:
        """Until the sandbox has what all its recipients are sent. Raises ProcessEnded, RuntimeError, TimeoutError."""
        state = self.ground.system.state
        headers = {"Authorization": f"Bearer {state.api_keys['demo']}"}
        before = {role: worker.cpu_s() for role, worker in self.workers.items()}
        already = await _accepted(self.ground) - self.others()
        self.began_s = time.monotonic()
        async with aiohttp.ClientSession(
            state.gateway_url, headers=headers, timeout=aiohttp.ClientTimeout(total=None)
        ) as http:
            await self._upload(http, file)
            self.uploaded_s = time.monotonic()
            await self._watch(http, already)
        self.cpu_s = {role: worker.cpu_s() - before[role] for role, worker in self.workers.items()}

    async def _upload(self, http: aiohttp.ClientSession, file: Path) -> None:
        params = {**_TERMS, "data": msgspec.json.encode(_COMMON).decode()}
        headers = {"Content-Type": "application/x-ndjson"}
        with file.open("rb") as rows:
            async with http.post("/v1/campaigns", params=params, headers=headers, data=rows) as answer:
                if answer.status != 202:
                    raise RuntimeError(f"the gateway answered {answer.status}: {await answer.text()}")

    async def _watch(self, http: aiohttp.ClientSession, already: int) -> None:
        task = self.ground.progress.add_task("  recipients", total=self.users)
        last, changed = -1, time.monotonic()
        while last < self.users or not self.produced_s:
            shown = await _shown(http)
            if not self.produced_s and shown["status"] == "done":
                self.produced_s = time.monotonic()
                if (shown["recipients"], shown["produced"]) != (self.users, self.users):
                    raise RuntimeError(f"the campaign is done with {shown}")
            found = await _accepted(self.ground) - already - self.others()
            rss = {role: worker.rss_mb() for role, worker in self.workers.items()}
            self.samples.append(_Sample(time.monotonic(), found, rss))
            self.ground.progress.update(task, completed=found)
            if found > last:  # (less is none: what others sent is read at another moment)
                last, changed = found, time.monotonic()
            for worker in self.workers.values():
                if worker.process.returncode is not None:
                    raise worker.ended()
            if time.monotonic() - changed > _NOTHING_NEW_S:
                raise TimeoutError(f"nothing new for {_NOTHING_NEW_S:g} s at {last} of {self.users}: {shown}")
            await asyncio.sleep(_EVERY_S)
        self.ground.progress.remove_task(task)

    def figures(self) -> list[Figure]:
        case = f"{self.users:,} recipients"
        ended_s = self.samples[-1].at_s
        early = next(each for each in self.samples if each.accepted >= _EARLY * self.users)
        rates = {
            "uploaded": self.users / (self.uploaded_s - self.began_s),
            "produced": self.users / (self.produced_s - self.began_s),
            "sent": self.users / (ended_s - self.began_s),
        }
        found = [Figure(benchmark=NAME, case=case, name=name, value=rate, unit="/s") for name, rate in rates.items()]
        for role, spent_s in self.cpu_s.items():
            cpu = 1e6 * spent_s / self.users
            first, last = early.rss_mb[role], self.samples[-1].rss_mb[role]
            most = max(each.rss_mb[role] for each in self.samples)
            detail = {"at_a_quarter_mb": round(first, 1), "most_mb": round(most, 1)}
            found.append(Figure(benchmark=NAME, case=f"{case}, {role}", name="cpu", value=cpu, unit="µs/recipient"))
            memory = Figure(
                benchmark=NAME, case=f"{case}, {role}", name="memory", value=last, unit="MiB", detail=detail
            )
            quarter = Figure(benchmark=NAME, case="at a quarter", name="memory", value=first, unit="MiB")
            found.append(compared(memory, quarter))
        return found


async def _shown(http: aiohttp.ClientSession) -> dict[str, Any]:
    """The campaign as the list shows it, for which ClickHouse isn't asked."""
    async with http.get("/v1/campaigns") as answer:
        answer.raise_for_status()
        [shown] = (await answer.json())["campaigns"]
        return dict(shown)


async def _stats(ground: Ground) -> dict[str, Any]:
    async with (
        aiohttp.ClientSession(raise_for_status=True) as http,
        http.get(f"{ground.system.state.sandbox_url}/stats") as answer,
    ):
        return dict(await answer.json())


async def _accepted(ground: Ground) -> int:
    providers = (await _stats(ground))["providers"]
    return sum(int(each["accepted"]) for each in providers.values())


async def _check(ground: Ground, expected: int) -> None:
    """Waits for the last of them. Raises RuntimeError unless each was accepted once."""
    last, changed = -1, time.monotonic()
    while (found := await _accepted(ground)) < expected and time.monotonic() - changed < _NOTHING_NEW_S:
        if found != last:
            last, changed = found, time.monotonic()
        await asyncio.sleep(_EVERY_S)
    stats = await _stats(ground)
    accepted = sum(int(each["accepted"]) for each in stats["providers"].values())
    if accepted != expected or stats["duplicates"]["count"]:
        raise RuntimeError(f"{expected} were asked for; the sandbox has {stats}")


# --- urgent messages beside it ---


class _Urgent:
    """Critical requests at random times; how long each took is in its event ``sent``."""

    def __init__(self, ground: Ground, load: Workload) -> None:
        self._ground = ground
        self._load = load
        self.asked = self.sent = 0

    async def during(self, work: Any, words: str) -> list[float]:
        """Milliseconds from when each was due until its provider had accepted it."""
        due: dict[str, float] = {}
        took: dict[str, float] = {}
        consumer = AIOKafkaConsumer(
            LIFECYCLE, bootstrap_servers=self._ground.bootstrap, group_id=None, max_partition_fetch_bytes=4 << 20
        )
        await consumer.start()
        try:
            await consumer.seek_to_end()
            for part in consumer.assignment():
                await consumer.position(part)
            reading = asyncio.create_task(self._read_sent(consumer, due, took))
            asking = asyncio.create_task(self._ask(due, words))
            try:
                await work
                asking.cancel()
                await asyncio.wait([asking])
                async with asyncio.timeout(_NOTHING_NEW_S):
                    while len(took) < len(due) and not reading.done():  # noqa: ASYNC110 (the reader tells nobody)
                        await asyncio.sleep(_EVERY_S)
            finally:
                for task in (reading, asking):
                    task.cancel()
                ended = await asyncio.gather(reading, asking, return_exceptions=True)
            for one in ended:
                if isinstance(one, Exception):
                    raise one
        finally:
            await consumer.stop()
        return list(took.values())

    async def _ask(self, due: dict[str, float], words: str) -> None:
        chance = random.Random(words)
        producer = AIOKafkaProducer(bootstrap_servers=self._ground.bootstrap, acks="all", linger_ms=0)
        await producer.start()
        try:
            begun, at_s = time.time(), 0.0
            while True:
                at_s += chance.expovariate(_URGENT_RATE)
                await asyncio.sleep(max(0.0, begun + at_s - time.time()))
                record = request(self._load, self.asked, EVENTS_CRITICAL, URGENT_TYPE)
                self.asked += 1
                due[name_of(record)] = 1000 * (begun + at_s)
                await producer.send(record.topic, record.value, key=record.key, partition=record.partition)
        finally:
            await producer.stop()

    async def _read_sent(self, consumer: AIOKafkaConsumer, due: Mapping[str, float], took: dict[str, float]) -> None:
        while True:
            for records in (await consumer.getmany(timeout_ms=200)).values():
                for record in records:
                    if b'"status":"sent"' in record.value and URGENT_TYPE.encode() in record.value:
                        said = msgspec.json.decode(record.value)
                        name = said["notification_id"]
                        self.sent += name not in took
                        took[name] = parse_ms(said["occurred_at"]) - due[name]
            await asyncio.sleep(0)


def _urgent_figures(users: int, calm: list[float], beside: list[float]) -> list[Figure]:
    found: list[Figure] = []
    for name, percent in (("p50", 50.0), ("p99", 99.0)):
        base, loaded = (
            Figure(
                benchmark=NAME,
                case=f"critical, {case}",
                name=name,
                value=percentile(took, percent),
                unit="ms",
                detail={"requests": len(took)},
            )
            for case, took in (("calm", calm), (f"beside {users:,}", beside))
        )
        found += [base, compared(loaded, base)]
    return found
