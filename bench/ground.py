"""Where a benchmark runs: a local system of its own, whose workers it starts, stops and kills by hand."""

import asyncio
import shutil
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from app.dev import process
from app.dev.process import Program
from app.dev.supervisor import Ready
from app.dev.system import DevSystem, Options, operations_ready
from app.domain.out import Produce
from app.streaming.producer import BatchProducer
from bench.run import Run

_JARS = Path(__file__).parents[1] / ".tocsin" / "kafka"
_READY_S = 300.0
_STOP_S = 30.0
_CHUNK = 20_000


class ProcessEnded(Exception):
    """A process that was to work has ended; the message has the end of its log."""


class Worker:
    """One process under measurement."""

    def __init__(self, program: Program, running: asyncio.subprocess.Process, log_from: int) -> None:
        self.program = program
        self.process = running
        self.started = time.monotonic()
        #: Where in its log this process begins.
        self.log_from = log_from
        self._seen = psutil.Process(running.pid)

    def cpu_s(self) -> float:
        """User and system time of all its threads since it was started."""
        try:
            times = self._seen.cpu_times()
        except psutil.NoSuchProcess:
            raise self.ended() from None
        return float(times.user + times.system)

    def rss_mb(self) -> float:
        return float(self._seen.memory_info().rss) / 2**20

    async def until(self, ready: Ready, within_s: float = _READY_S) -> float:
        """Waits until it is ready; the seconds since it was started. Raises ProcessEnded, TimeoutError."""
        async with asyncio.timeout(within_s):
            while not await ready(self.process.pid):
                if self.process.returncode is not None:
                    raise self.ended()
                await asyncio.sleep(0.05)
        return time.monotonic() - self.started

    def ended(self) -> ProcessEnded:
        return ProcessEnded(f"{self.program.name} has ended: {process.last_lines(self.program.log, 12)}")

    async def stop(self) -> float:
        """SIGTERM; how many seconds it takes to end."""
        begun = time.monotonic()
        await process.stop(self.process, _STOP_S)
        return time.monotonic() - begun

    async def kill(self) -> None:
        process.send(self.process, signal.SIGKILL)
        await self.process.wait()


class Ground:
    """``async with Ground(run, name) as ground``: broker, sandbox and topics are ready; no worker runs yet."""

    def __init__(self, run: Run, name: str, *, partitions: int = 8, sandbox_drops: bool = False) -> None:
        self.folder = (run.folder / name).absolute()
        self.progress = run.progress
        self.partitions = partitions
        self._workers: list[Worker] = []
        options = Options(folder=self.folder, jars=_JARS, roles=(), partitions=partitions, sandbox_drops=sandbox_drops)
        self._system = DevSystem(options)
        self._producer: BatchProducer | None = None

    @property
    def system(self) -> DevSystem:
        return self._system

    @property
    def bootstrap(self) -> str:
        return self._system.state.kafka_bootstrap

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(shutil.rmtree, self.folder, ignore_errors=True)
        task = self.progress.add_task("  broker, topics, sandbox", total=None)
        try:
            await self._system.start()
            await self._system.stop_processes(["gateway"])  # nothing asks it, and it has its share of the machine
            self._producer = BatchProducer({"bootstrap_servers": self.bootstrap}, "bench")
            await self._producer.start()
        except BaseException:
            await self._system.stop()
            raise
        self.progress.remove_task(task)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stops everything; the logs stay."""
        try:
            for worker in self._workers:
                await worker.kill()
            if self._producer is not None:
                await self._producer.stop()
        finally:
            await self._system.stop()
        for name in ("kafka", "data", "sandbox", "rivals"):
            await asyncio.to_thread(shutil.rmtree, self.folder / name, ignore_errors=True)

    # --- processes ---

    async def start(self, name: str, command: Sequence[str | Path], **environ: str) -> Worker:
        """Runs a program of ours in the system's environment."""
        program = Program(name, command, {**self._system.environment, **environ}, self.folder / "logs" / f"{name}.log")
        log_from = program.log.stat().st_size if program.log.exists() else 0
        worker = Worker(program, await process.start(program), log_from)
        self._workers.append(worker)
        return worker

    async def start_role(self, role: str, instance: str = "1") -> Worker:
        """As ``tocsin worker ROLE``, which is how ``make run`` starts it."""
        command = [sys.executable, "-m", "app.cli", "worker", role]
        return await self.start(f"{role}-{instance}", command, TOCSIN_INSTANCE=instance)

    def ready(self, role: str, instance: str = "1") -> Ready:
        return operations_ready(self._system.settings.data.dir / f"{role}-{instance}")

    async def start_ready(self, role: str, instance: str = "1") -> Worker:
        worker = await self.start_role(role, instance)
        await worker.until(self.ready(role, instance))
        return worker

    async def start_gateway(self) -> Worker:
        """For a benchmark that asks it something; the others have it stopped."""
        worker = await self.start("gateway-1", [sys.executable, "-m", "app.cli", "gateway"], TOCSIN_INSTANCE="1")
        await worker.until(self.ready("gateway"))
        return worker

    def broker_cpu_s(self) -> float:
        return self._cpu_s("kafka")

    def sandbox_cpu_s(self) -> float:
        return self._cpu_s("sandbox")

    def _cpu_s(self, name: str) -> float:
        times = psutil.Process(self._system.processes[name].pid).cpu_times()
        return float(times.user + times.system)

    # --- the log ---

    async def make_topics(self, names: Iterable[str], *, compacted: bool = False) -> None:
        config = {"cleanup.policy": "compact"} if compacted else {}
        config |= {"max.message.bytes": str(16 << 20)}
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        try:
            await admin.create_topics([NewTopic(name, self.partitions, 1, topic_configs=config) for name in names])
        finally:
            await admin.close()

    async def produce(self, records: Iterable[Produce], words: str, total: int) -> None:
        """``append`` of many, with progress."""
        task = self.progress.add_task(f"  {words}", total=total)
        for chunk in _chunks(records):
            await self.append(chunk)
            self.progress.advance(task, len(chunk))
        self.progress.remove_task(task)

    async def append(self, records: Iterable[Produce]) -> None:
        """Produces records that name their partitions; all are acknowledged when it returns."""
        assert self._producer is not None
        await self._producer.produce(records, 0)

    async def ends(self, *topics: str) -> dict[TopicPartition, int]:
        """The next offset of every partition of the topics."""
        async with _Reader(self.bootstrap, topics, self.partitions) as consumer:
            found: dict[TopicPartition, int] = await consumer.end_offsets(consumer.assignment())
            return found

    async def read(self, topic: str) -> list[Any]:
        """All records of a topic, up to where it ends now."""
        found: list[Any] = []
        async with _Reader(self.bootstrap, (topic,), self.partitions) as consumer:
            left = {tp: end for tp, end in (await consumer.end_offsets(consumer.assignment())).items() if end}
            for tp in left:
                consumer.seek(tp, 0)
            while left:
                for tp, records in (await consumer.getmany(*left, timeout_ms=500)).items():
                    found.extend(record for record in records if record.offset < left[tp])
                for tp in list(left):
                    if await consumer.position(tp) >= left[tp]:
                        del left[tp]
        return found


class _Reader:
    """A consumer of whole topics, in no group."""

    def __init__(self, bootstrap: str, topics: Sequence[str], partitions: int) -> None:
        self.consumer = AIOKafkaConsumer(
            bootstrap_servers=bootstrap, group_id=None, auto_offset_reset="earliest", max_partition_fetch_bytes=8 << 20
        )
        self.consumer.assign([TopicPartition(topic, p) for topic in topics for p in range(partitions)])

    async def __aenter__(self) -> AIOKafkaConsumer:
        await self.consumer.start()
        return self.consumer

    async def __aexit__(self, *_: object) -> None:
        await self.consumer.stop()


def _chunks(records: Iterable[Produce]) -> Iterator[list[Produce]]:
    iterator = iter(records)
    while chunk := list(islice(iterator, _CHUNK)):
        yield chunk
