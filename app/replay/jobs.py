"""The replays that there are, as ``tocsin_replays`` has them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from app.jobs.topic import JobsTopic
from app.ports import Guard, Publisher
from app.replay.receipt import JobStatus, status_of
from schemas.replay_jobs import (
    JOB,
    KEPT_DAYS,
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


class Jobs(JobsTopic[Known]):
    """Reads and writes the topic. ``clock``: Unix milliseconds."""

    def __init__(
        self,
        client_options: Mapping[str, Any],
        publisher: Publisher,
        clock: Callable[[], int],
        guard: Guard | None = None,
    ) -> None:
        super().__init__(REPLAYS, Known(), client_options, publisher, clock, guard)

    def _taken(self, known: Known, kind: bytes, part: str, value: bytes | None) -> Known:
        match kind:
            case b"job/":
                return replace(known, job=None if value is None else read_replay_job(value))
            case b"wish/":
                return replace(known, wish=None if value is None else read_replay_wish(value))
            case b"state/":
                return replace(known, state=None if value is None else read_replay_state(value))
            case _:
                return known

    def _asked_at(self, known: Known) -> int | None:
        return None if known.job is None else known.job.at

    def _is_over(self, known: Known) -> bool:
        return known.job is not None and known.job.at < self._clock() - _KEPT_MS

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
