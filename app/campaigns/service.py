"""Campaigns in a gateway: what its API asks, and the work of the one gateway that runs them (``app/jobs/owner.py``)."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from functools import partial
from hashlib import blake2b
from typing import Final, Literal
from uuid import uuid4

import structlog
from aiokafka.errors import KafkaError

from app.campaigns.asking import Terms, check_job, differing, job_of
from app.campaigns.jobs import Jobs, Known
from app.campaigns.lane import BulkLane
from app.campaigns.recipients import Recipients
from app.campaigns.rows import Refused
from app.campaigns.running import World, carry_out
from app.config import Settings
from app.domain.erasure import ErasureSteps
from app.domain.ids import derived_id
from app.jobs.owner import Owner
from app.jobs.running import run_each
from app.ports import Guard
from app.store.config_follower import ConfigFollower
from app.store.erased import ErasedUsers
from app.store.owner_client import OwnerClient
from app.store.publisher import KafkaPublisher, Outgoing, PublishError
from schemas.campaigns import (
    MOST_ERRORS,
    PARTITION,
    Audience,
    CampaignControl,
    CampaignJob,
    Chunk,
    Row,
    RowError,
    Segment,
    Upload,
    encode_campaign,
)
from schemas.topics import CAMPAIGN_RECIPIENTS, CAMPAIGNS

log = structlog.get_logger(__name__)

GROUP: Final = "tocsin_campaigns"
#: Campaigns that haven't ended, at most.
MOST_ACTIVE = 500
_HOUSEKEEPING_S = 5.0
#: How long an upload waits for whether a campaign that is about to end takes more users.
_CLOSING_S, _CLOSING_LOOK_S = 15.0, 0.1
#: An upload's rows are written when there are so many, or so many bytes of them, or it has been so long.
_CHUNK_ROWS, _CHUNK_BYTES, _CHUNK_S = 1000, 256 << 10, 1.0
#: So often an upload reports that it goes on.
_STILL_S = 20.0

Act = Literal["run", "pause", "cancel"]


class Differs(Exception):
    """Another campaign has the name: the first parameter in which it differs."""

    def __init__(self, field: str) -> None:
        super().__init__(field)
        self.field = field


class HasEnded(Exception):
    """It is done or cancelled: nothing of it can be changed."""

    def __init__(self, status: str) -> None:
        super().__init__(status)
        self.status = status


class TooMany(Exception):
    """So many campaigns go on already."""


class Campaigns:
    """Everything that a gateway does with campaigns."""

    def __init__(
        self,
        settings: Settings,
        publisher: KafkaPublisher,
        config: ConfigFollower,
        erased: ErasedUsers,
        owner: OwnerClient,
        secret: bytes,
        clock: Callable[[], int],
        partitions: int,
        guard: Guard | None = None,
    ) -> None:
        self._options = settings.kafka.client_options()
        self._publisher = publisher
        self._config = config
        self._erased = erased
        self._reads = owner
        self._secret = secret
        self._clock = clock
        self._partitions = partitions
        self._folder = settings.data_folder("gateway") / "campaigns"
        self._steps = ErasureSteps(timedelta(seconds=settings.data.erase_within))
        self._jobs = Jobs(self._options, publisher, clock, guard)
        self._owner: Owner | None = None

    async def start(self) -> None:
        """Raises KafkaError, LookupError where a topic is missing."""
        await self._jobs.start()
        self._owner = Owner(self._options, CAMPAIGNS, GROUP, self._run)
        await self._owner.start()

    async def close(self) -> None:
        if self._owner is not None:
            await self._owner.close()
        await self._jobs.close()

    # --- what is asked ---

    def find(self, source: str, campaign_id: str) -> Known | None:
        """None: the source has no such campaign."""
        return self._jobs.get(name_of(source, campaign_id))

    def of_source(self, source: str, limit: int, before: str | None) -> tuple[list[Known], str | None]:
        """Newest first, and where to go on. Raises LookupError where ``before`` is not one of the source's."""
        known = [each for each in self._jobs.newest() if each.job is not None and each.job.source == source]
        if before is not None:
            at = next((n for n, each in enumerate(known) if each.job and each.job.notification_id == before), None)
            if at is None:
                raise LookupError(before)
            known = known[at + 1 :]
        page = known[:limit]
        last = page[-1].job if page else None
        return page, last.notification_id if last is not None and len(known) > limit else None

    def sources(self) -> list[str]:
        """Of all campaigns that are kept."""
        return sorted({each.job.source for each in self._jobs.kept() if each.job is not None})

    def status(self, known: Known) -> str:
        return known.status(self._clock())

    def prepare(
        self, terms: Terms, audience: Audience, segment: Segment | None, source: str, by: str
    ) -> tuple[CampaignJob, Known | None]:
        """The job, and what is there of it already. Raises Invalid, Differs, TooMany."""
        campaign_id = terms.campaign_id or str(uuid4())
        name = name_of(source, campaign_id)
        job = job_of(
            terms,
            audience,
            segment,
            notification_id=name,
            campaign_id=campaign_id,
            source=source,
            by=by,
            now=self._clock(),
        )
        known = self._jobs.get(name)
        if known is not None and known.job is not None:
            _check_same(known.job, job)
            return job, known
        check_job(job, self._config.catalog)
        if sum(not each.has_ended for each in self._jobs.kept()) >= MOST_ACTIVE:
            raise TooMany
        return job, None

    async def begin(self, job: CampaignJob) -> Known:
        """Raises PublishError, and Differs where another one with its name was quicker."""
        known = await self._jobs.add(job, str(uuid4()))
        assert known.job is not None
        _check_same(known.job, job)
        return known

    async def uploading(self, job: CampaignJob) -> "Uploading | None":
        """Takes recipients for a campaign that was begun. None: it has ended, and takes no more. Raises PublishError,
        TimeoutError."""
        upload = Uploading(self._publisher, self._jobs, job, self._clock)
        await upload.begin()
        async with asyncio.timeout(_CLOSING_S):
            while (  # noqa: ASYNC110 (what tells of changes is the runner's)
                known := self._jobs.get(job.notification_id)
            ) is not None and known.progress.phase == "closing":
                await asyncio.sleep(_CLOSING_LOOK_S)
        if known is None or known.has_ended:
            await upload.break_off()
            return None
        return upload

    def may(self, source: str, campaign_id: str) -> Known | None:
        """Whether it can be paused, resumed and cancelled. None: there is none. Raises HasEnded."""
        known = self.find(source, campaign_id)
        if known is not None and known.has_ended:
            raise HasEnded(self.status(known))
        return known

    async def control(self, known: Known, act: Act, by: str) -> Known:
        """Returns what came of it. Raises PublishError, and HasEnded where it ended before."""
        assert known.job is not None
        name = known.job.notification_id
        passed = known.control is not None and known.control.beyond_canary
        halted = known.progress.halted_at is not None
        beyond = passed or (act == "run" and halted)
        await self._jobs.control(name, CampaignControl(act=act, by=by, at=self._clock(), beyond_canary=beyond))
        after = self._jobs.get(name)
        assert after is not None
        if after.progress.phase == "done" or (act != "cancel" and after.has_ended):
            raise HasEnded(self.status(after))
        return after

    # --- what is carried out ---

    async def _run(self) -> None:
        """All of them, until a fault ends it: then its owner begins anew."""
        recipients = Recipients(self._options, self._publisher, self._jobs, self._erased, self._folder)
        lane = BulkLane(self._options, self._partitions, self._clock)
        world = World(
            client_options=self._options,
            partitions=self._partitions,
            publisher=self._publisher,
            jobs=self._jobs,
            recipients=recipients,
            owner=self._reads,
            lane=lane,
            secret=self._secret,
            clock=self._clock,
            new_id=lambda: str(uuid4()),
        )
        work = [
            asyncio.create_task(recipients.follow(), name="follow campaigns' recipients"),
            asyncio.create_task(
                run_each("campaign", self._active, self._jobs.changed, partial(carry_out, world), recipients.drop),
                name="carry out campaigns",
            ),
            asyncio.create_task(self._keep_house(recipients), name="keep house for campaigns"),
            asyncio.create_task(self._tick(recipients), name="roll campaigns' recipients"),
        ]
        try:
            ended, _ = await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                log.warning("campaigns begin anew", error=repr(task.exception()))
        finally:
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)

    def _active(self) -> list[str]:
        return [
            known.job.notification_id
            for known in self._jobs.kept()
            if known.job is not None and known.progress.phase not in ("done", "cancelled")
        ]

    async def _keep_house(self, recipients: Recipients) -> None:
        while True:
            await asyncio.sleep(_HOUSEKEEPING_S)
            try:
                for name in self._jobs.over():
                    await self._jobs.drop(name)
                await recipients.keep_house()
            except (PublishError, KafkaError, TimeoutError) as error:
                log.warning("what is left of campaigns stays for now", error=repr(error))

    async def _tick(self, recipients: Recipients) -> None:
        """The broker compacts no segment that is still written to, and closes none by time alone."""
        while True:
            with suppress(PublishError):
                await recipients.tick()
            await asyncio.sleep(self._steps.roll.total_seconds())


def name_of(source: str, campaign_id: str) -> str:
    """The campaign's notification id."""
    return derived_id("campaign", source, campaign_id)


def _check_same(before: CampaignJob, now: CampaignJob) -> None:
    field = differing(before, now)
    if field is not None:
        raise Differs(field)


class Uploading:
    """Recipients on their way to the log. Nothing is held but the rows of the next chunk."""

    def __init__(self, publisher: KafkaPublisher, jobs: Jobs, job: CampaignJob, clock: Callable[[], int]) -> None:
        self._publisher = publisher
        self._jobs = jobs
        self._job = job
        self._clock = clock
        self._id = str(uuid4())
        self._number = 0
        self._rows: list[Row] = []
        self._refused: list[int] = []
        self._errors: list[RowError] = []
        self._shown = 0
        self._octets = 0
        self._loop = asyncio.get_running_loop()
        self._written = self._reported = self._loop.time()

    async def begin(self) -> None:
        await self._report(is_open=True)

    def add(self, row: Row | Refused) -> None:
        if isinstance(row, Row):
            self._rows.append(row)
            self._octets += len(row.user_id) + len(row.data or "")
        else:
            self._refuse(row)

    def _refuse(self, refused: Refused) -> None:
        named = f"{refused.line}\n".encode() + refused.raw
        self._refused.append(int.from_bytes(blake2b(named, digest_size=8).digest(), "big", signed=True))
        if self._shown < MOST_ERRORS:
            self._shown += 1
            invalid = refused.invalid
            self._errors.append(RowError(line=refused.line, field=invalid.field, detail=invalid.reason))

    @property
    def is_full(self) -> bool:
        rows = len(self._rows) + len(self._refused)
        return rows >= _CHUNK_ROWS or self._octets >= _CHUNK_BYTES

    async def flush(self, *, at_once: bool = False) -> None:
        """Writes what has come, where it is enough. Raises PublishError."""
        now = self._loop.time()
        if at_once or self.is_full or now - self._written >= _CHUNK_S:
            await self._write()
        if now - self._reported >= _STILL_S:
            await self._report(is_open=True)

    async def end(self) -> None:
        """All of it has come. Raises PublishError."""
        await self._write()
        await self._jobs.list(self._job.notification_id)
        await self._report(is_open=False)

    async def break_off(self) -> None:
        """What has come stays."""
        with suppress(PublishError, TimeoutError):
            await self._write()
            await self._report(is_open=False)

    async def _write(self) -> None:
        if self._rows or self._refused:
            chunk = Chunk(rows=tuple(self._rows), refused=tuple(self._refused), errors=tuple(self._errors))
            key = f"{self._job.notification_id}/{self._id}/{self._number}".encode()
            record = Outgoing(CAMPAIGN_RECIPIENTS, key, encode_campaign(chunk), partition=PARTITION)
            await self._publisher.publish_many([record])
            self._number += 1
            self._rows, self._refused, self._errors, self._octets = [], [], [], 0
        self._written = self._loop.time()

    async def _report(self, *, is_open: bool) -> None:
        await self._jobs.upload(self._job.notification_id, self._id, Upload(at=self._clock(), open=is_open))
        self._reported = self._loop.time()
