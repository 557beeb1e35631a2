"""How fast a process works through what waits in Kafka, and what an event costs it: seen from outside, by the records
that it has produced and the CPU time that it has used."""

import asyncio
import time

from aiokafka import AIOKafkaConsumer, TopicPartition
from msgspec import Struct

from bench.figures import Figure
from bench.ground import Ground, Worker

_EVERY_S = 0.1
#: Before the first event stores are rebuilt; those of ten million users took six minutes.
_NOTHING_NEW_S = 900.0


class Sample(Struct, frozen=True):
    """``count``: records in the topic. CPU in seconds."""

    at_s: float
    count: int
    worker_s: float
    broker_s: float


class Drained(Struct, frozen=True):
    """From the sample at which the warm-up was over to the one at which all was done."""

    begin: Sample
    end: Sample
    rss_mb: float

    @property
    def events(self) -> int:
        return self.end.count - self.begin.count

    def figures(self, benchmark: str, case: str) -> dict[str, Figure]:
        """CPU µs an event of the process and of the broker, events a second, memory."""
        seconds = self.end.at_s - self.begin.at_s
        values = {
            "cpu": (1e6 * (self.end.worker_s - self.begin.worker_s) / self.events, "µs/event"),
            "events": (self.events / seconds, "/s"),
            "broker cpu": (1e6 * (self.end.broker_s - self.begin.broker_s) / self.events, "µs/event"),
            "memory": (self.rss_mb, "MiB"),
        }
        detail = {"events": self.events, "seconds": round(seconds, 2)}
        return {
            name: Figure(benchmark=benchmark, case=case, name=name, value=value, unit=unit, detail=detail)
            for name, (value, unit) in values.items()
        }


async def drain(ground: Ground, workers: list[Worker], topic: str, warm: int, total: int, words: str) -> Drained:
    """Waits until ``topic`` has ``total`` records; what was spent since it had ``warm``.

    Raises ProcessEnded, and TimeoutError where nothing new comes for long.
    """
    task = ground.progress.add_task(f"  {words}", total=total)
    consumer = AIOKafkaConsumer(bootstrap_servers=ground.bootstrap, group_id=None)
    parts = [TopicPartition(topic, p) for p in range(ground.partitions)]
    consumer.assign(parts)
    await consumer.start()
    try:
        begin: Sample | None = None
        last = 0
        changed = time.monotonic()
        while True:
            count = sum((await consumer.end_offsets(parts)).values())
            sample = Sample(time.monotonic(), count, sum(w.cpu_s() for w in workers), ground.broker_cpu_s())
            ground.progress.update(task, completed=count)
            if begin is None and count >= warm:
                begin = sample
            if count >= total:
                assert begin is not None
                return Drained(begin, sample, sum(w.rss_mb() for w in workers))
            if count != last:
                last, changed = count, sample.at_s
            for worker in workers:
                if worker.process.returncode is not None:
                    raise worker.ended()
            if sample.at_s - changed > _NOTHING_NEW_S:
                raise TimeoutError(f"{words}: nothing new for {_NOTHING_NEW_S:.0f} s at {count} of {total}")
            await asyncio.sleep(_EVERY_S)
    finally:
        ground.progress.remove_task(task)
        await consumer.stop()
