"""Carries a campaign out: finds its recipients where it has to, and produces their requests at its pace.

All that must survive is in the log: the recipients, in one order whoever reads them, and up to where their requests
were acknowledged. Whoever takes a campaign over goes on from there; what is produced twice the router absorbs.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import msgspec
import structlog
from msgspec.structs import replace

from app.campaigns.asking import request_of
from app.campaigns.jobs import Jobs, Known
from app.campaigns.lane import BulkLane
from app.campaigns.listing import Listing
from app.campaigns.recipients import Recipients
from app.domain.holdout import HOLDOUT, is_drawn, signed_holdout
from app.domain.ids import derived_id
from app.jobs.pace import Pace
from app.kafka.reading import ends_of, open_reader
from app.store.owner_client import OwnerClient
from app.store.publisher import KafkaPublisher, Outgoing
from schemas.campaigns import PARTITION, CampaignJob, CampaignState, Chunk, Place, Row, Segment, encode_campaign
from schemas.instants import rfc3339
from schemas.topics import CAMPAIGN_RECIPIENTS, COMMANDS, EVENTS_BULK

log = structlog.get_logger(__name__)

#: Requests that are produced before it is asked again whether to go on.
_AT_ONCE = 500
_AT_ONCE_BYTES = 2 << 20
#: How often it is noted how far it is.
_NOTE_EVERY_S = 0.3
_TICK_S = 0.2
_EVERYBODY = Segment()


@dataclass(frozen=True, slots=True)
class World:
    """What a campaign is carried out with. ``clock``: Unix ms; ``secret``: the installation's."""

    client_options: Mapping[str, Any]
    partitions: int
    publisher: KafkaPublisher
    jobs: Jobs
    recipients: Recipients
    owner: OwnerClient
    lane: BulkLane
    secret: bytes
    clock: Callable[[], int]
    new_id: Callable[[], str]


def in_canary(job: CampaignJob, user_id: str) -> bool:
    """Whether the user is in the part of a campaign's recipients that gets it first: the same whenever it is asked."""
    return is_drawn(b"canary", (job.notification_id,), user_id, job.canary or 0)


def is_next(job: CampaignJob, state: CampaignState, at: Place, user_id: str) -> bool:
    """Whether the recipient's request is produced in the pass that goes on: the canary's first, then all others'."""
    if job.canary is None:
        return True
    if state.halted_at is None:
        return in_canary(job, user_id)
    return at > state.halted_at or not in_canary(job, user_id)


async def cancel_command(publisher: KafkaPublisher, partitions: int, job: CampaignJob, now: int) -> None:
    """Ends what isn't sent yet, in every partition. The same whoever does it. Raises PublishError."""
    value = msgspec.json.encode(
        {
            "type": "notification.cancel",
            "id": derived_id("campaign cancelled", job.notification_id, str(job.at)),
            "at": rfc3339(now),
            "notification_id": job.notification_id,
            "source": job.source,
        }
    )
    await publisher.publish_many([Outgoing(COMMANDS, None, value, number) for number in range(partitions)])


async def carry_out(world: World, name: str) -> None:
    """Until it has ended. Raises KafkaError, PublishError, OwnerUnavailableError; it may be called again, and
    cancelled."""
    known = world.jobs.get(name)
    if known is not None and known.job is not None:
        await _Campaign(world, known, known.job).run()


class _Campaign:
    def __init__(self, world: World, known: Known, job: CampaignJob) -> None:
        self._world = world
        self._job = job
        self._name = job.notification_id
        #: As it was noted last, and as it is.
        self._noted = self._state = known.progress
        #: What had been read of all recipients when these were counted.
        self._counted_at = -1
        self._loop = asyncio.get_running_loop()
        self._noted_at = self._loop.time()
        self._pace = Pace(job.rate, job.per_ms, self._loop.time()) if job.rate else None
        self._common: dict[str, Any] = {} if job.data is None else msgspec.json.decode(job.data)
        self._headers: list[tuple[str, bytes | None]] = (
            []
            if job.holdout is None
            else [(HOLDOUT, signed_holdout(world.secret, job.source, job.campaign_id, job.holdout))]
        )

    @property
    def _known(self) -> Known:
        return self._world.jobs.get(self._name) or Known()

    def _status(self) -> str:
        return self._known.status(self._world.clock())

    async def run(self) -> None:
        await self._world.recipients.caught_up()
        while (known := self._known).job is not None:
            await self._count()
            if known.is_cancelled or known.is_abandoned(self._world.clock()):
                await self._cancel()
                return
            if known.has_ended:
                return
            if known.status(self._world.clock()) == "running":
                await self._go_on()
            else:
                await self._note(at_once=True)
                await self._wait()

    async def _wait(self) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._world.recipients.moved(), _TICK_S)

    async def _cancel(self) -> None:
        if self._known.is_cancelled:
            await cancel_command(self._world.publisher, self._world.partitions, self._job, self._world.clock())
        self._state = replace(self._state, phase="cancelled")
        await self._note(at_once=True)

    # --- what is noted ---

    async def _count(self) -> None:
        """How many recipients there are now; asked only where more has been read since."""
        position = self._world.recipients.position
        if position == self._counted_at:
            return
        recipients, refused, errors = await self._world.recipients.ask(self._name, _counts)
        self._state = replace(self._state, recipients=recipients, refused=refused, errors=errors)
        self._counted_at = position

    async def _note(self, *, at_once: bool = False) -> None:
        """What is known of its progress, where that has changed. Raises PublishError."""
        now = self._loop.time()
        if self._state == self._noted or (not at_once and now - self._noted_at < _NOTE_EVERY_S):
            return
        await self._count()  # (more may have been read while these were produced)
        self._state = replace(self._state, at=self._world.clock())
        await self._world.jobs.note(self._name, self._state)
        self._noted, self._noted_at = self._state, self._loop.time()

    # --- what is produced ---

    async def _go_on(self) -> None:
        """Produces until somebody stops it, or everybody has theirs."""
        if self._state.phase != "running" or not self._state.begun:
            self._state = replace(self._state, phase="running", begun=True)
            await self._note(at_once=True)
        if self._known.listed is None and not await self._find():
            return
        while self._status() == "running":
            if await self._world.lane.is_behind():
                await self._note()
                await asyncio.sleep(_TICK_S)
                continue
            following = await self._world.recipients.ask(self._name, Listing.behind, self._state.through, _AT_ONCE)
            if not following:
                await self._end_of_pass()
                return
            await self._produce(following)
        await self._note(at_once=True)

    async def _produce(self, following: Sequence[tuple[Place, Row]]) -> None:
        left = list(following)
        while left and self._status() == "running":
            wanted = [each for each in left if is_next(self._job, self._state, each[0], each[1].user_id)]
            room = len(wanted) if self._pace is None else self._pace.take(self._loop.time(), len(wanted))
            if wanted and not room:
                assert self._pace is not None
                await self._note()
                await asyncio.sleep(min(_TICK_S, self._pace.wait_s) or _TICK_S)
                continue
            records, octets = list[Outgoing](), 0
            while len(records) < room and octets < _AT_ONCE_BYTES:
                record = self._record(wanted[len(records)][1])
                records.append(record)
                octets += len(record.value or b"")
            if records:
                await self._world.publisher.publish_many(records)
            is_all = len(records) == len(wanted)
            through = left[-1][0] if is_all else wanted[len(records) - 1][0]
            self._state = replace(self._state, through=through, produced=self._state.produced + len(records))
            left = [each for each in left if each[0] > through]
            await self._note()

    def _record(self, row: Row) -> Outgoing:
        request = request_of(self._job, row, self._world.clock(), self._common)
        return Outgoing(EVENTS_BULK, row.user_id.encode(), msgspec.json.encode(request), headers=self._headers)

    async def _end_of_pass(self) -> None:
        """Behind the last of the recipients that are there: the canary has theirs, or everybody has."""
        if self._job.canary is not None and self._state.halted_at is None:
            self._state = replace(self._state, halted_at=self._state.through, through=Place())
            await self._note(at_once=True)
            return
        await self._close()

    async def _close(self) -> None:
        """Ends it, unless somebody is adding users. Whoever begins to after this record waits for what comes of it."""
        self._state = replace(self._state, phase="closing")
        await self._note(at_once=True)
        await self._world.recipients.caught_up()
        more = await self._world.recipients.ask(self._name, Listing.behind, self._state.through, 1)
        is_over = not more and not self._known.is_uploading(self._world.clock())
        self._state = replace(self._state, phase="done" if is_over else "running")
        await self._count()
        await self._note(at_once=True)
        if not is_over and not more:
            await asyncio.sleep(_TICK_S)

    # --- whom it is for ---

    async def _find(self) -> bool:
        """Has the routers say who is in the segment. False: somebody has stopped it."""
        world, job = self._world, self._job
        segment = encode_campaign(job.segment or _EVERYBODY).decode()
        async with open_reader(world.client_options) as reader:
            ends = await ends_of(reader, COMMANDS, world.partitions)
        for partition, end in enumerate(ends):
            found = world.recipients.of(self._name).found
            behind = found.get(partition, "")
            number = 0
            while behind is not None:
                if self._status() != "running":
                    return False
                params = {"segment": segment, **({"behind": behind} if behind else {})}
                after = end - 1 if end else None
                answered = await world.owner.read_partition("router", partition, "segment", params, after=after)
                behind = answered["behind"]
                if answered["users"] or behind is None:
                    await self._add_found(answered["users"], partition, behind)
                number += 1
                if number % 20 == 0:
                    await self._count()
                    await self._note()
        await world.jobs.list(self._name)
        return True

    async def _add_found(self, users: Sequence[str], partition: int, behind: str | None) -> None:
        chunk = Chunk(rows=tuple(Row(user_id) for user_id in users), found=(partition, behind))
        key = f"{self._name}/found-{partition}/{self._world.new_id()}".encode()
        record = Outgoing(CAMPAIGN_RECIPIENTS, key, encode_campaign(chunk), partition=PARTITION)
        [(_, offset)] = await self._world.publisher.publish_many([record])
        await self._world.recipients.reached(offset)


def _counts(listing: Listing) -> tuple[int, int, Any]:
    return listing.recipients, listing.refused, listing.errors()
