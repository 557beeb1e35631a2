"""Replays in a gateway: what its API asks, and the work of the one gateway that runs them (``app/jobs/owner.py``)."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import structlog
from aiokafka import TopicPartition

from app.config import Settings
from app.domain.policy import Rate
from app.jobs.owner import Owner
from app.jobs.pace import default_rate
from app.jobs.running import run_each
from app.kafka.reading import open_reader
from app.ports import Guard
from app.providers.registry import CLIENTS
from app.replay.asking import ReplayAsked, job_of
from app.replay.jobs import Jobs, Known
from app.replay.ledger import Candidate, Change, Ledger, LedgerFollower
from app.replay.receipt import Receipt, receipt_of
from app.replay.running import World, carry_out
from app.store.config_follower import ConfigFollower
from app.store.erased import ErasedUsers
from app.store.publisher import KafkaPublisher, PublishError
from app.store.topics import retentions
from schemas.replay_jobs import ReplayJob, ReplayWish
from schemas.topics import REPLAY_REQUESTS, REPLAYS, SEND_TOPICS
from schemas.words import Channel, Provider

log = structlog.get_logger(__name__)

GROUP: Final = "tocsin_replays"
#: Replays that aren't done, and aren't stopped, at most.
MOST_ACTIVE = 20
_HOUSEKEEPING_S = 3_600.0
_CATCH_UP_S = 2.0


class NotNow(Exception):
    """The copy of what routers answered isn't up to date yet."""


class Ended(Exception):
    """The replay is done: it can't be stopped or go on."""


class TooMany(Exception):
    """So many replays run already."""


class NoLongerKept(Exception):
    """The sends that it would make again are gone from the log."""


class ReplayPage(NamedTuple):
    candidates: list[Candidate]
    #: Where the next page begins; None: there is none.
    following: str | None


class Replays:
    """Everything that a gateway does with replays. ``on_outcome``: called with each outcome of a candidate, by the
    gateway that runs the replay alone."""

    def __init__(
        self,
        settings: Settings,
        publisher: KafkaPublisher,
        config: ConfigFollower,
        erased: ErasedUsers,
        clock: Callable[[], int],
        partitions: int,
        is_open: Callable[[Provider], bool] = lambda _: False,
        is_idle: Callable[[Provider], bool] = lambda _: False,
        on_outcome: Callable[[str], None] = lambda _: None,
        guard: Guard | None = None,
    ) -> None:
        self._settings = settings
        self._options = settings.kafka.client_options()
        self._config = config
        self._erased = erased
        self._clock = clock
        self._on_outcome = on_outcome
        self._folder = settings.data_folder("gateway") / "replays"
        self._jobs = Jobs(self._options, publisher, clock, guard)
        self._ledger: Ledger | None = None
        self._answers: LedgerFollower | None = None
        self._publisher = publisher
        self._partitions = partitions
        self._is_open, self._is_idle = is_open, is_idle
        self._owner: Owner | None = None

    async def start(self) -> None:
        """Raises KafkaError, LookupError where a topic is missing, OSError."""
        await self._jobs.start()
        self._ledger = Ledger(self._folder / "answers.db")
        self._answers = LedgerFollower(self._options, self._ledger, self._erased, self._partitions, self._count)
        await self._answers.start()
        world = World(
            client_options=self._options,
            partitions=self._partitions,
            publisher=self._publisher,
            jobs=self._jobs,
            ledger=self._answers,
            folder=self._folder,
            is_open=self._is_open,
            is_idle=self._is_idle,
            order=self._order,
            clock=self._clock,
        )
        self._owner = Owner(self._options, REPLAYS, GROUP, Runner(world).run)
        await self._owner.start()

    async def close(self) -> None:
        if self._owner is not None:
            await self._owner.close()
        if self._answers is not None:
            await self._answers.close()
        if self._ledger is not None:
            self._ledger.close()
        await self._jobs.close()

    # --- what is asked ---

    def prepare(self, asked: ReplayAsked, replay_id: str, by: str) -> ReplayJob:
        """The job that is asked for. Raises Invalid with the field, TooMany."""
        kept = retentions(self._settings.kafka)
        kept_ms = min(int(kept[topic].total_seconds() * 1000) for topic in SEND_TOPICS[asked.channel])
        job = job_of(
            asked,
            replay_id=replay_id,
            by=by,
            now=self._clock(),
            kept_ms=kept_ms,
            default_rate=default_rate(self._limits(asked.channel)),
        )
        self._check_room()
        return job

    async def begin(self, job: ReplayJob) -> Known:
        """Raises PublishError."""
        await self._jobs.add(job)
        return Known(job)

    def may_stop(self, replay_id: str) -> Known | None:
        """None: there is no such replay. Raises Ended."""
        known = self._jobs.get(replay_id)
        if known is not None and known.status == "done":
            raise Ended
        return known

    async def may_resume(self, replay_id: str) -> Known | None:
        """None: there is no such replay. Raises Ended, NoLongerKept, TooMany, KafkaError."""
        known = self.may_stop(replay_id)
        if known is not None and known.status == "stopped":
            self._check_room()
            if known.state is not None and not await self._is_kept(known.state.begin, known.state.end):
                raise NoLongerKept
        return known

    async def wish(self, replay_id: str, by: str, *, stop: bool) -> Known | None:
        """That it is stopped, or goes on. Raises PublishError."""
        await self._jobs.wish(replay_id, ReplayWish(stop=stop, by=by, at=self._clock()))
        return self._jobs.get(replay_id)

    def _check_room(self) -> None:
        if sum(known.is_active for known in self._jobs.kept()) >= MOST_ACTIVE:
            raise TooMany

    async def _is_kept(self, begin: Sequence[int], end: Sequence[int]) -> bool:
        async with open_reader(self._options) as consumer:
            places = [TopicPartition(REPLAY_REQUESTS, number) for number in range(len(begin))]
            first = await consumer.beginning_offsets(places)
        last = end or begin
        return all(first[at] <= begin[at.partition] or last[at.partition] <= begin[at.partition] for at in places)

    async def receipt(self, replay_id: str) -> Receipt | None:
        """None: there is no such replay. Raises NotNow."""
        await self._up_to_date()
        known = self._jobs.get(replay_id)
        return None if known is None else await self._receipt(known)

    async def receipts(self, limit: int, before: str | None = None) -> tuple[list[Receipt], str | None]:
        """Newest first, and where to go on. Raises NotNow, LookupError where ``before`` is no replay."""
        await self._up_to_date()
        known = self._jobs.newest()
        if before is not None:
            at = next((n for n, each in enumerate(known) if each.job and each.job.replay_id == before), None)
            if at is None:
                raise LookupError(before)
            known = known[at + 1 :]
        page = [await self._receipt(each) for each in known[:limit]]
        return page, page[-1].replay_id if len(known) > limit else None

    async def candidates(self, replay_id: str, outcome: str | None, after: str, limit: int) -> ReplayPage | None:
        """None: there is no such replay. Raises NotNow."""
        await self._up_to_date()
        known = self._jobs.get(replay_id)
        if known is None or known.job is None:
            return None
        assert self._answers is not None
        only_counted = known.job.dry_run
        found = await self._answers.ask(
            partial(
                Ledger.page,
                replay_id=replay_id,
                only_counted=only_counted,
                outcome=outcome,
                after=after,
                limit=limit + 1,
            )
        )
        page = [self._shown(candidate, at) for candidate, at in found[:limit]]
        return ReplayPage(page, page[-1].send_id if len(found) > limit else None)

    async def _receipt(self, known: Known) -> Receipt:
        assert known.job is not None
        assert self._answers is not None
        replay_id = known.job.replay_id
        counts = await self._answers.ask(lambda ledger: ledger.counts(replay_id))
        return receipt_of(known.job, known.status, counts)

    def _shown(self, candidate: Candidate, at: int) -> Candidate:
        if candidate.reason is None or not self._erased.hides(candidate.user_id, at):
            return candidate
        return Candidate(
            candidate.send_id,
            candidate.new_send_id,
            candidate.notification_id,
            candidate.user_id,
            candidate.outcome,
            None,
        )

    async def _up_to_date(self) -> None:
        assert self._answers is not None
        if not await self._answers.caught_up(_CATCH_UP_S):
            raise NotNow

    # --- what it is carried out with ---

    def _order(self, channel: Channel) -> tuple[Provider, ...]:
        configured = self._settings.providers.configured()
        order = self._config.catalog.policy.providers[channel].order
        return tuple(each for each in order if each in configured and each in CLIENTS)

    def _limits(self, channel: Channel) -> list[Rate]:
        configured, said = self._settings.providers.configured(), self._config.catalog.policy.providers[channel].limits
        order = self._order(channel)
        own = [Rate(round(rate), 1000) for each in order if (rate := configured[each].rate) is not None and rate >= 1]
        return [*own, *(said[each] for each in order if each in said)]

    def _count(self, changes: Sequence[Change]) -> None:
        if self._owner is not None and self._owner.owns:
            for change in changes:
                if change.outcome != "waiting":
                    self._on_outcome(change.outcome)


class Runner:
    """Carries out replays. ``run`` goes on until it is cancelled."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def run(self) -> None:
        await asyncio.to_thread(_leave_nothing, self._world.folder)
        jobs = self._world.jobs
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_house(), name="keep house for replays")
            tasks.create_task(run_each("replay", self._active, jobs.changed, self._carry_out), name="carry out replays")

    def _active(self) -> list[str]:
        return [known.job.replay_id for known in self._world.jobs.kept() if known.job is not None and known.is_active]

    async def _carry_out(self, replay_id: str) -> None:
        known = self._world.jobs.get(replay_id)
        if known is not None and known.job is not None and known.is_active:
            await carry_out(self._world, known.job, known.state)

    async def _keep_house(self) -> None:
        """Receipts that are no longer kept go."""
        while True:
            try:
                for replay_id in self._world.jobs.over():
                    await self._world.jobs.drop(replay_id)
            except (PublishError, TimeoutError) as error:
                log.warning("receipts that are too old stay for now", error=repr(error))
            await asyncio.sleep(_HOUSEKEEPING_S)


def _leave_nothing(folder: Path) -> None:
    """What a killed process left of the partitions that it was counting."""
    for file in folder.glob("*-*.db*"):
        file.unlink(missing_ok=True)
