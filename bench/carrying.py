"""One turn of the benchmark ``pipe``: a system of one revision carries pushes, and what each process and topic took.

``python -P bench/carrying.py TURN RESULT``, with the revision's root as working folder and PYTHONPATH: another revision
is measured by the same lines with modules of its own. So this imports only what revision 2312310 has, too.
"""

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec
import psutil
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from msgspec import Struct
from rich.console import Console

from bench.delivering import Pipe, name_of
from bench.ground import Ground
from bench.run import Run
from schemas.topics import journal_topic

_ROLES = ("router", "push", "analytics")
_EVERY_S = 0.25
_LATE_S = 300.0


class Turn(Struct, frozen=True):
    """``warm``: pushes before anything is measured. ``waiting``: pushes that wait. ``rate`` a second for ``seconds``:
    pushes that come singly."""

    users: int
    warm: int
    waiting: int
    rate: float
    seconds: float


class Sample(Struct):
    """CPU seconds of each process, and of each topic how many records and bytes its partitions have taken."""

    cpu_s: dict[str, float]
    records: dict[str, int]
    bytes: dict[str, int]


class Load(Struct):
    """What ``notifications`` took, until no role had anything left to read."""

    notifications: int
    begin: Sample
    end: Sample
    seconds: float
    latencies_ms: list[float] = []

    def cpu_us(self, process: str) -> float:
        """A notification's, in µs."""
        return 1e6 * (self.end.cpu_s[process] - self.begin.cpu_s[process]) / self.notifications

    def topics(self) -> list[str]:
        """Those that took records."""
        return sorted(topic for topic in self.end.records if self.records(topic))

    def records(self, topic: str) -> float:
        return (self.end.records[topic] - self.begin.records.get(topic, 0)) / self.notifications

    def bytes(self, topic: str) -> float:
        """As they lie in the broker's folder."""
        return (self.end.bytes[topic] - self.begin.bytes.get(topic, 0)) / self.notifications

    def checkpoints_a_second(self, role: str) -> float:
        """A journal's record is a checkpoint."""
        return self.records(journal_topic(role)) * self.notifications / self.seconds

    def notifications_a_checkpoint(self, role: str) -> float:
        return 1 / self.records(journal_topic(role))


class Carried(Struct):
    waiting: Load
    singly: Load


class Logs:
    """What the broker's folder shows of its topics. A segment that is cleaned shrinks, so its greatest size counts."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sizes: dict[TopicPartition, dict[str, int]] = {}

    def look(self) -> None:
        for folder in self._folder.glob("[!_]*-[0-9]*"):
            topic, _, number = folder.name.rpartition("-")
            if not number.isdecimal():  # one that is being deleted
                continue
            sizes = self._sizes.setdefault(TopicPartition(topic, int(number)), {})
            for segment in folder.glob("*.log"):
                try:
                    sizes[segment.name] = max(segment.stat().st_size, sizes.get(segment.name, 0))
                except FileNotFoundError:  # just cleaned
                    continue

    def bytes(self) -> dict[TopicPartition, int]:
        return {partition: sum(sizes.values()) for partition, sizes in self._sizes.items()}


class System:
    """``async with System(ground, pipe)``: the roles do their work, and samples can be taken of it."""

    def __init__(self, ground: Ground, pipe: Pipe) -> None:
        self._ground = ground
        self._pipe = pipe
        self._logs = Logs(ground.folder / "kafka" / "data")
        self._admin = AIOKafkaAdminClient(bootstrap_servers=ground.bootstrap)
        self._consumer = AIOKafkaConsumer(bootstrap_servers=ground.bootstrap, group_id=None)

    async def __aenter__(self) -> Self:
        self._pipe.workers["analytics"] = await self._ground.start_ready("analytics")
        await self._pipe.start()
        await self._admin.start()
        await self._consumer.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._consumer.stop()
        await self._admin.close()

    async def carry(self, count: int) -> Load:
        """So many that wait."""
        records = list(self._pipe.take(count))
        begin, began = await self._sample(), time.monotonic()
        await self._ground.append(records)
        end = await self._at_rest({name_of(record) for record in records})
        return Load(count, begin, end, time.monotonic() - began)

    async def carry_singly(self, rate: float, seconds: float) -> Load:
        begin, began = await self._sample(), time.monotonic()
        offered = await self._pipe.offer(rate, seconds, "singly")
        end = await self._at_rest(set(offered.at_ms))
        spent = time.monotonic() - began
        return Load(len(offered.at_ms), begin, end, spent, self._pipe.latencies(offered))

    async def _at_rest(self, names: set[str]) -> Sample:
        """The sample at which all were accepted and no role had anything left to read."""
        accepted = asyncio.create_task(self._pipe.until_accepted(names, "until accepted"))
        while not accepted.done():
            await asyncio.to_thread(self._logs.look)
            await asyncio.wait((accepted,), timeout=_EVERY_S)
        await accepted
        deadline = time.monotonic() + _LATE_S
        while lag := await self._lag():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{lag} records weren't read {_LATE_S:.0f} s after all had been accepted")
            await asyncio.sleep(_EVERY_S)
        return await self._sample()

    async def _lag(self) -> int:
        """How many records the consumer groups haven't committed yet."""
        committed: dict[TopicPartition, int] = {}
        for name, *_ in await self._admin.list_consumer_groups():
            for partition, at in (await self._admin.list_consumer_group_offsets(name)).items():
                committed[partition] = min(at.offset, committed.get(partition, at.offset))
        ends = await self._consumer.end_offsets(list(committed))
        return sum(max(0, ends[partition] - at) for partition, at in committed.items())

    async def _sample(self) -> Sample:
        self._logs.look()
        taken = self._logs.bytes()
        cpu_s = {role: _cpu_s(self._pipe.workers[role].process.pid) for role in _ROLES}
        cpu_s |= {"broker": self._ground.broker_cpu_s(), "sandbox": self._ground.sandbox_cpu_s()}
        return Sample(cpu_s, _by_topic(await self._consumer.end_offsets(list(taken))), _by_topic(taken))


def _by_topic(counts: Mapping[TopicPartition, int]) -> dict[str, int]:
    sums: Counter[str] = Counter()
    for partition, count in counts.items():
        sums[partition.topic] += count
    return dict(sums)


def _cpu_s(pid: int) -> float:
    """User and system time of a process and of its children, also of those that have ended."""
    process = psutil.Process(pid)
    times = [process.cpu_times(), *(child.cpu_times() for child in process.children(recursive=True))]
    return sum(float(each.user + each.system + each.children_user + each.children_system) for each in times)


async def carry(turn: Turn) -> Carried:
    async with Ground(Run(Console()), "carrying") as ground:
        pipe = Pipe(ground, turn.users)
        await pipe.prepare()
        async with System(ground, pipe) as system:
            await system.carry(turn.warm)
            waiting = await system.carry(turn.waiting)
            return Carried(waiting, await system.carry_singly(turn.rate, turn.seconds))


if __name__ == "__main__":
    carried = asyncio.run(carry(msgspec.json.decode(sys.argv[1], type=Turn)))
    Path(sys.argv[2]).write_bytes(msgspec.json.encode(carried))
