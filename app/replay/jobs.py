"""The replays that there are, as ``tocsin_replays`` has them: followed by every gateway, by heart."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import structlog

from app.ports import Guard, LogRecord, Publisher
from app.replay.receipt import JobStatus, status_of
from app.store.follower import TopicFollower
from schemas.decode import Invalid
from schemas.replay_jobs import (
    JOB,
    KEPT_DAYS,
    PARTITION,
    STATE,
    WISH,
    ReplayJob,
    ReplayState,
    ReplayWish,
    encode_replay,
    read_replay_job,
    read_replay_state,
    read_replay_wish,
)
from schemas.topics import REPLAYS

log = structlog.get_logger(__name__)

_KEPT_MS = KEPT_DAYS * 86_400_000


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of one replay; ``job`` None: it was never asked for, or is no longer kept."""

    job: ReplayJob | None = None
    wish: ReplayWish | None = None
    state: ReplayState | None = None

    @property
    def status(self) -> JobStatus:
        return status_of(self.wish, self.state)

    @property
    def is_active(self) -> bool:
        return self.status in ("counting", "running")


class Jobs:
    """Reads and writes the topic. ``clock``: Unix milliseconds.

    What writes returns when the record is acknowledged and known here; raises PublishError, and TimeoutError where it
    isn't known after a while.
    """

    def __init__(
        self,
        client_options: Mapping[str, Any],
        publisher: Publisher,
        clock: Callable[[], int],
        guard: Guard | None = None,
    ) -> None:
        self._follower = TopicFollower(client_options, REPLAYS, self.take, guard=guard)
        self._publisher = publisher
        self._clock = clock
        self._known: dict[str, Known] = {}
        #: Set with everything that is taken; whoever waits for it clears it.
        self.changed = asyncio.Event()

    async def start(self) -> None:
        await self._follower.start()

    async def close(self) -> None:
        await self._follower.close()

    def take(self, record: LogRecord) -> None:
        """Takes the next record of the topic."""
        kind, _, name = (record.key or b"").partition(b"/")
        replay_id = name.decode(errors="replace")
        known = self._known.get(replay_id, Known())
        value = record.value
        try:
            match kind + b"/":
                case b"job/":
                    known = replace(known, job=None if value is None else read_replay_job(value))
                case b"wish/":
                    known = replace(known, wish=None if value is None else read_replay_wish(value))
                case b"state/":
                    known = replace(known, state=None if value is None else read_replay_state(value))
                case _:
                    return
        except Invalid as invalid:
            log.warning("a replay can't be read", offset=record.offset, reason=str(invalid))
            return
        if known == Known():
            self._known.pop(replay_id, None)
        else:
            self._known[replay_id] = known
        self.changed.set()

    def get(self, replay_id: str) -> Known | None:
        """None: there is none, or it is no longer kept."""
        known = self._known.get(replay_id)
        return known if known is not None and known.job is not None and not self._is_over(known.job) else None

    def newest(self) -> list[Known]:
        """All that are kept, newest first."""
        kept = [each for each in self._known.values() if each.job is not None and not self._is_over(each.job)]
        return sorted(kept, key=_age, reverse=True)

    def over(self) -> list[str]:
        """Those that are no longer kept but still lie in the topic."""
        return [name for name, each in self._known.items() if each.job is not None and self._is_over(each.job)]

    def _is_over(self, job: ReplayJob) -> bool:
        return job.at < self._clock() - _KEPT_MS

    async def add(self, job: ReplayJob) -> None:
        await self._write(JOB, job.replay_id, encode_replay(job))

    async def wish(self, replay_id: str, wish: ReplayWish) -> None:
        await self._write(WISH, replay_id, encode_replay(wish))

    async def note(self, replay_id: str, state: ReplayState) -> None:
        await self._write(STATE, replay_id, encode_replay(state))

    async def drop(self, replay_id: str) -> None:
        """The job last: as long as it is there, the rest is found again."""
        for kind in (STATE, WISH, JOB):
            await self._write(kind, replay_id, None)

    async def _write(self, kind: bytes, replay_id: str, value: bytes | None) -> None:
        key = kind + replay_id.encode()
        _, offset = await self._publisher.publish(REPLAYS, key, value, partition=PARTITION)
        await self._follower.reached(offset)


def _age(known: Known) -> tuple[int, str]:
    assert known.job is not None
    return known.job.at, known.job.replay_id
