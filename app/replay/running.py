"""Carries a replay out: gathers its candidates, has their routers judge them, and asks for their sends at its pace.

All that must survive is in the log: which candidates there are, and what was answered of each. So whoever takes a
replay over asks about those that have no answer yet; routers absorb what they are asked twice.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import structlog
from aiokafka import TopicPartition
from msgspec.structs import replace

from app.jobs.pace import Pace
from app.kafka.reading import ends_of, open_reader, read_spans
from app.replay.candidates import AT_ONCE, Candidates
from app.replay.jobs import Jobs
from app.replay.ledger import LedgerFollower
from app.replay.reading import counted_requests, decoded, request_spans, spans_since
from app.replay.receipt import Counts
from app.store.publisher import KafkaPublisher, Outgoing
from schemas.lifecycle import read_lifecycle
from schemas.replay_jobs import ReplayJob, ReplayState
from schemas.replays import ReplayRequest, encode_replay_request
from schemas.sends import Send, read_send
from schemas.topics import LIFECYCLE, REPLAY_REQUESTS, SEND_TOPICS
from schemas.words import Channel, Provider

log = structlog.get_logger(__name__)

#: A request that a router takes later begins nothing. From 1 s after a stop nothing is queued: the rest of that second
#: is for the stop to be known here, and for the router's batch.
LEASE_MS = 750
#: What has no answer for so long is asked for again.
_AGAIN_S = 5.0
#: Requests without an answer at most: a router that is behind isn't buried.
_COUNTING_WINDOW = 2_000
_LEAST_WINDOW = 50
_TICK_S = 0.1
#: So often one candidate of a provider that nobody else calls goes ahead of the others, to see whether it works again.
_PROBE_EVERY_S = 10.0
#: A replay is done when nothing of it waits, or nothing has changed for so long: what waits goes its way.
_SETTLED_S = 10.0
#: Clocks differ, and events lie in the log a little later than they happened.
_EARLIER_MS = 10 * 60_000


@dataclass(frozen=True, slots=True)
class World:
    """What a replay is carried out with. ``is_open``: whether a provider rests, by its breaker or by hand. ``is_idle``:
    whether it rests by its breaker and nobody waits for it, so that nobody finds out that it works again. ``clock``:
    Unix ms. ``order``: a channel's providers that have settings, in the policy's order."""

    client_options: Mapping[str, Any]
    partitions: int
    publisher: KafkaPublisher
    jobs: Jobs
    ledger: LedgerFollower
    folder: Path
    is_open: Callable[[Provider], bool]
    is_idle: Callable[[Provider], bool]
    order: Callable[[Channel], tuple[Provider, ...]]
    clock: Callable[[], int]


async def carry_out(world: World, job: ReplayJob, state: ReplayState | None) -> None:
    """From where it stands to its end. Raises KafkaError, PublishError; it may be called again, and cancelled."""
    if state is None or state.phase == "counting":
        state = await _Counting(world, job).run(state)
    if state.phase == "running":
        await _Sending(world, job).run(state)


class _Counting:
    """Every replay counts first: its candidates are written down, and judged without anything coming of it."""

    def __init__(self, world: World, job: ReplayJob) -> None:
        self._world = world
        self._job = job
        self._asking = _Asking(world, job, _COUNTING_WINDOW, dry_run=True)

    async def run(self, state: ReplayState | None) -> ReplayState:
        world, job = self._world, self._job
        if state is None:
            begin = await self._request_ends()
            state = ReplayState(phase="counting", at=world.clock(), begin=begin)
            await world.jobs.note(job.replay_id, state)
        for partition in range(world.partitions):
            if partition not in state.collected:
                await self._collect(partition, state)
                state = replace(state, collected=(*state.collected, partition))
                await world.jobs.note(job.replay_id, state)
        end = await self._request_ends()
        await self._until_judged(request_spans(state.begin, end))
        state = replace(state, phase="done" if job.dry_run else "running", at=world.clock(), end=end)
        await world.jobs.note(job.replay_id, state)
        return state

    async def _request_ends(self) -> tuple[int, ...]:
        async with open_reader(self._world.client_options) as reader:
            return await ends_of(reader, REPLAY_REQUESTS, self._world.partitions)

    async def _collect(self, partition: int, state: ReplayState) -> None:
        """Asks about each candidate of the partition that wasn't asked about before a restart."""
        world, job = self._world, self._job
        file = world.folder / f"{job.replay_id}-{partition}.db"
        with Candidates(job, file, world.order(job.channel)) as candidates:
            async with open_reader(world.client_options) as reader:
                since = job.filters.from_ms - _EARLIER_MS
                lifecycle = await spans_since(reader, [TopicPartition(LIFECYCLE, partition)], since)
                async for records in read_spans(reader, lifecycle, AT_ONCE):
                    await asyncio.to_thread(_take_events, candidates, records)
                lanes = [TopicPartition(topic, partition) for topic in SEND_TOPICS[job.channel]]
                async for records in read_spans(reader, await spans_since(reader, lanes, since), AT_ONCE):
                    await asyncio.to_thread(_take_sends, candidates, records)
                ends = await ends_of(reader, REPLAY_REQUESTS, world.partitions)
                spans = request_spans(state.begin, ends)
                before = {at: span for at, span in spans.items() if at.partition == partition}
                async for asked in counted_requests(reader, job.replay_id, before):
                    await asyncio.to_thread(candidates.leave_out, [each.send.send_id for each in asked])
            requests = candidates.requests()
            while some := await asyncio.to_thread(_some, requests):
                await self._asking.ask(some)

    async def _until_judged(self, spans: Mapping[TopicPartition, tuple[int, int]]) -> None:
        """Reads over them again and again, until each has its answer."""
        missing = True
        while missing:
            await self._asking.until_answered()
            missing = False
            async with open_reader(self._world.client_options) as reader:
                async for requests in counted_requests(reader, self._job.replay_id, spans):
                    left = await self._asking.unanswered(requests)
                    missing = missing or bool(left)
                    await self._asking.ask(left)


def _take_events(candidates: Candidates, records: Sequence[Any]) -> None:
    candidates.take_events(decoded(records, read_lifecycle))


def _take_sends(candidates: Candidates, records: Sequence[Any]) -> None:
    candidates.take_sends([each for each in decoded(records, read_send) if isinstance(each, Send)])


def _some(requests: Iterator[ReplayRequest]) -> list[ReplayRequest]:
    return list(islice(requests, AT_ONCE))


class _Sending:
    """Asks for each candidate's send, oldest first; those of a provider that rests wait, and others go on."""

    def __init__(self, world: World, job: ReplayJob) -> None:
        self._world = world
        self._job = job
        self._loop = asyncio.get_running_loop()
        self._pace = Pace(job.rate, job.per_ms, self._loop.time())
        self._asking = _Asking(world, job, max(_LEAST_WINDOW, 2 * job.rate * 1000 // job.per_ms), dry_run=False)
        #: Whoever could have carried those that don't say: sends of an earlier version.
        self._first = next(iter(world.order(job.channel)), None) if job.channel != "push" else None
        #: Providers that candidates wait for.
        self._resting: set[Provider] = set()
        self._probed: dict[Provider, float] = {}
        self._probes: set[str] = set()

    async def run(self, state: ReplayState) -> None:
        spans = request_spans(state.begin, state.end)
        while await self._pass(spans):
            await self._until_more()
        await self._until_settled()
        done = replace(state, phase="done", at=self._world.clock())
        await self._world.jobs.note(self._job.replay_id, done)

    async def _pass(self, spans: Mapping[TopicPartition, tuple[int, int]]) -> bool:
        """Goes over the candidates once; whether any is left without an answer."""
        left = False
        self._resting.clear()
        self._asking.gave_up = False
        async with open_reader(self._world.client_options) as reader:
            async for requests in counted_requests(reader, self._job.replay_id, spans):
                unanswered = await self._asking.unanswered(requests)
                left = left or bool(unanswered)
                async for some in self._paced(unanswered):
                    await self._asking.ask(some)
        return left

    async def _paced(self, requests: Sequence[ReplayRequest]) -> AsyncIterator[list[ReplayRequest]]:
        waiting = list(requests)
        while waiting:
            waiting = [each for each in waiting if not self._rests(each)]
            room = self._pace.take(self._loop.time(), min(len(waiting), self._asking.room))
            if room:
                until = self._world.clock() + LEASE_MS
                yield [replace(each, dry_run=False, until=until) for each in waiting[:room]]
                waiting = waiting[room:]
            elif waiting:
                await self._asking.look()
                await asyncio.sleep(min(_TICK_S, self._pace.wait_s) or _TICK_S)

    def _rests(self, request: ReplayRequest) -> bool:
        provider = request.provider or request.send.provider or self._first
        if provider is None or request.send.send_id in self._probes or not self._world.is_open(provider):
            return False
        self._resting.add(provider)
        if not self._may_probe(provider):
            return True
        self._probed[provider] = self._loop.time()
        self._probes.add(request.send.send_id)
        return False

    def _may_probe(self, provider: Provider) -> bool:
        since = self._probed.get(provider)
        is_due = since is None or self._loop.time() - since > _PROBE_EVERY_S
        return is_due and self._world.is_idle(provider)

    async def _until_more(self) -> None:
        """What was asked for is answered or has been too long, and one of those who rested doesn't any more."""
        await self._asking.until_answered()
        if self._asking.gave_up or not self._resting:
            return
        while True:
            await asyncio.sleep(_TICK_S)
            if any(not self._world.is_open(each) or self._may_probe(each) for each in self._resting):
                return

    async def _until_settled(self) -> None:
        counts: Counts | None = None
        since = self._loop.time()
        while self._loop.time() - since < _SETTLED_S:
            now: Counts = await self._world.ledger.ask(lambda ledger: ledger.counts(self._job.replay_id))
            if not any(outcome == "waiting" and count for (_, outcome), count in now.items()):
                return
            if now != counts:
                counts, since = now, self._loop.time()
            await asyncio.sleep(_TICK_S)


class _Asking:
    """Requests on their way to routers, as many as the window takes. ``dry_run``: what they ask."""

    def __init__(self, world: World, job: ReplayJob, window: int, *, dry_run: bool) -> None:
        self._world = world
        self._replay_id = job.replay_id
        self._window = window
        self._dry_run = dry_run
        self._loop = asyncio.get_running_loop()
        self._asked: dict[str, float] = {}
        self._seen = -1
        #: Some had no answer for too long; whoever looks at it resets it.
        self.gave_up = False

    @property
    def room(self) -> int:
        return max(0, self._window - len(self._asked))

    async def ask(self, requests: Sequence[ReplayRequest]) -> None:
        """Returns when they are in the log; waits while the window is full. Raises PublishError."""
        if not requests:
            return
        while self._asked and self.room < len(requests):
            await self.look()
            await asyncio.sleep(_TICK_S / 5)
        now = self._loop.time()
        self._asked |= {each.send.send_id: now for each in requests}
        await self._world.publisher.publish_many(
            [Outgoing(REPLAY_REQUESTS, each.user_id.encode(), encode_replay_request(each)) for each in requests]
        )

    async def unanswered(self, requests: Sequence[ReplayRequest]) -> list[ReplayRequest]:
        """Those that have no answer yet, each once, also where one may be on its way."""
        once = {each.send.send_id: each for each in requests}
        left = await self._unanswered(once)
        return [each for name, each in once.items() if name in left and name not in self._asked]

    async def look(self) -> None:
        """Takes note of what was answered, and gives up what was not for too long."""
        if self._seen != self._world.ledger.version:
            self._seen = self._world.ledger.version
            left = await self._unanswered(self._asked)
            self._asked = {name: at for name, at in self._asked.items() if name in left}
        late = self._loop.time() - _AGAIN_S
        if given_up := [name for name, at in self._asked.items() if at < late]:
            self.gave_up = True
            for name in given_up:
                del self._asked[name]

    async def until_answered(self) -> None:
        while self._asked:
            await self.look()
            await asyncio.sleep(_TICK_S / 5)

    async def _unanswered(self, send_ids: Collection[str]) -> set[str]:
        ids, replay_id, dry_run = tuple(send_ids), self._replay_id, self._dry_run
        if not ids:
            return set()
        found: set[str] = await self._world.ledger.ask(
            lambda ledger: ledger.unanswered(replay_id, ids, dry_run=dry_run)
        )
        return found
