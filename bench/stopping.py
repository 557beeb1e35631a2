"""What an interruption costs: a worker that is told to stop, one that is killed, and one that joins, all under load."""

import asyncio
import contextlib
import time
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import msgspec
from aiokafka import TopicPartition
from msgspec import Struct

from bench.draining import drain
from bench.figures import Figure, held
from bench.ground import Ground, Worker
from bench.preloading import Changelogs, preload_users
from bench.routing import SENDS
from bench.run import Run
from bench.workload import Workload, requests, unix_ms
from schemas.topics import LIFECYCLE

NAME = "stopping"
CASES = ("sigterm", "kill", "rebalance")
_SIGTERM_S, _RESTART_S, _REBALANCE_S = 5.0, 10.0, 3.0
_LIMIT_S = 120.0
_LOOK_EVERY_S = 0.02


async def measure(run: Run) -> None:
    if run.wants(NAME, "sigterm", "kill"):
        await _interrupted(run)
    if run.wants(NAME, "rebalance"):
        await _joined(run)


class _Named(Struct):
    send_id: str


async def _interrupted(run: Run) -> None:
    """A router works through what waits; it is told to stop at a third of it, and killed at two thirds."""
    async with Ground(run, NAME) as ground:
        load = Workload(
            users=run.size(5_000, 500), events=run.size(90_000, 12_000), partitions=ground.partitions, now_ms=unix_ms()
        )
        await preload_users(ground, load, (Changelogs("router"),))
        await ground.produce(requests(load), "requests", load.events)
        router = await ground.start_role("router")
        await drain(ground, [router], SENDS, 0, load.events // 3, "until a third is done")
        stopped_s = await router.stop()
        run.tell(
            "a worker under load, told to stop", [held(_figure("SIGTERM", "ends after", stopped_s), at_most=_SIGTERM_S)]
        )

        router = await ground.start_role("router")
        await drain(ground, [router], SENDS, 0, 2 * load.events // 3, "until two thirds are done")
        await router.kill()
        killed = time.monotonic()
        ends, sent = await ground.ends(LIFECYCLE), await ground.ends(SENDS)
        router = await ground.start_role("router")
        await _all_move(ground, ends, router)
        again_s = time.monotonic() - killed
        run.tell(
            "a worker killed with -9 and restarted on its disk",
            [held(_figure("kill -9", "all partitions go on after", again_s), at_most=_RESTART_S)],
        )

        await drain(ground, [router], SENDS, 0, load.events, "the rest")
        records = await _all_sent(ground, load.events)
        await router.stop()
        run.tell("what was written twice, byte for byte", _twice(records, sent))


async def _all_sent(ground: Ground, events: int) -> list[Any]:
    """The sends in the log, once every request has one (some lie there twice). Raises TimeoutError."""
    missing = events
    try:
        async with asyncio.timeout(_LIMIT_S):
            while True:
                records = await ground.read(SENDS)
                missing = events - len({_name_of(record) for record in records})
                if missing <= 0:
                    return records
                await asyncio.sleep(1)
    except TimeoutError:
        raise TimeoutError(f"{missing} of {events} requests have no send after {_LIMIT_S:.0f} s") from None


def _name_of(record: Any) -> str:
    return msgspec.json.decode(record.value, type=_Named).send_id


def _twice(records: Sequence[Any], until_kill: Mapping[Any, int]) -> list[Figure]:
    """Sends that are in the log more than once, those of before the kill apart."""
    seen: set[str] = set()
    before, after = 0, 0
    for record in records:
        name = _name_of(record)
        if name in seen:
            by_kill = record.offset >= until_kill[TopicPartition(record.topic, record.partition)]
            before, after = before + (not by_kill), after + by_kill
        seen.add(name)
    return [
        held(_figure("SIGTERM", "sends written twice", before, "sends"), at_most=0),
        _figure("kill -9", "sends written twice", after, "sends"),
    ]


async def _all_move(ground: Ground, ends: dict[Any, int], worker: Worker) -> None:
    """Until every partition has new lifecycle events."""
    async with asyncio.timeout(_LIMIT_S):
        while any(end <= ends[part] for part, end in (await ground.ends(LIFECYCLE)).items()):
            if worker.process.returncode is not None:
                raise worker.ended()
            await asyncio.sleep(_LOOK_EVERY_S)


async def _joined(run: Run) -> None:
    """Two routers share the partitions; one leaves and comes back, with its stores warm, while requests come in."""
    async with Ground(run, NAME) as ground:
        load = Workload(users=run.size(5_000, 500), events=1_000_000, partitions=ground.partitions, now_ms=unix_ms())
        await preload_users(ground, load, (Changelogs("router"),))
        first, second = await ground.start_ready("router", "1"), await ground.start_ready("router", "2")
        offering = asyncio.create_task(_offer(ground, load, rate=run.size(800, 160)))
        try:
            await _both_ready(ground, first, second)
            await asyncio.sleep(5)
            await second.stop()
            await first.until(ground.ready("router", "1"))
            await asyncio.sleep(5)
            joins_ms = unix_ms()
            second = await ground.start_ready("router", "2")
            await _both_ready(ground, first, second)
            await asyncio.sleep(run.size(10.0, 5.0))
            over_ms = unix_ms()
        finally:
            offering.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await offering
        times: dict[int, list[int]] = {p: [] for p in range(ground.partitions)}
        for record in await ground.read(LIFECYCLE):
            times[record.partition].append(record.timestamp)
        gaps = [longest_gap(found, joins_ms, over_ms) for found in times.values()]
        before = [longest_gap(found, joins_ms - 4_000, joins_ms) for found in times.values()]
        figure = _figure("second worker joins", "a partition pauses at most", max(gaps) / 1000)
        figure.detail.update(per_partition_s=[gap / 1000 for gap in gaps], before_s=[gap / 1000 for gap in before])
        run.tell("a rebalance with warm stores", [held(figure, at_most=_REBALANCE_S)])


def longest_gap(times: Sequence[int], begin: int, end: int) -> int:
    """The longest time within [begin, end] in which nothing happened; the edges count as happenings."""
    inside = [begin, *sorted(t for t in times if begin <= t <= end), end]
    return max(later - earlier for earlier, later in pairwise(inside))


async def _both_ready(ground: Ground, *workers: Worker) -> None:
    for number, worker in enumerate(workers, 1):
        await worker.until(ground.ready("router", str(number)))


async def _offer(ground: Ground, load: Workload, rate: int) -> None:
    """Produces requests for ever, in twenty portions a second."""
    begun, portion, waiting = time.monotonic(), 0, requests(load)
    while True:
        await ground.append([next(waiting) for _ in range(rate // 20)])
        portion += 1
        await asyncio.sleep(max(0.0, begun + portion / 20 - time.monotonic()))


def _figure(case: str, name: str, value: float, unit: str = "s") -> Figure:
    return Figure(benchmark=NAME, case=case, name=name, value=value, unit=unit, detail={})
