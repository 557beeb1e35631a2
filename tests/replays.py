"""Replays without Kafka: what is written is known at once, and answers lie in a file of the test's."""

import asyncio
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from app.config import Settings
from app.replay.jobs import Jobs
from app.replay.ledger import Ledger
from app.replay.service import Replays
from app.store.config_follower import ConfigFollower
from app.store.erased import ErasedUsers
from schemas.replay_jobs import JOB, ReplayFilters, ReplayJob, encode_replay
from schemas.topics import REPLAYS
from tests.records import Record


class LocalJobs(Jobs):
    """``tocsin_replays`` as a list."""

    def __init__(self, clock: Callable[[], int]) -> None:
        super().__init__({}, cast(Any, None), clock)
        self.records: list[Record] = []

    async def _write(self, kind: bytes, replay_id: str, value: bytes | None) -> None:
        self.put(kind, replay_id, value)

    def put(self, kind: bytes, replay_id: str, value: bytes | None) -> None:
        record = Record(REPLAYS, 0, len(self.records), 0, kind + replay_id.encode(), value)
        self.records.append(record)
        self.take(record)


class LocalAnswers:
    """A ledger that nothing follows: tests write into it."""

    def __init__(self, file: Path) -> None:
        self.ledger = Ledger(file)
        self.version = 0

    async def caught_up(self, _: float) -> bool:
        return True

    async def ask(self, question: Callable[[Ledger], Any]) -> Any:
        return await asyncio.to_thread(question, self.ledger)


class LocalReplays(Replays):
    """``is_kept``: whether the log still has what a stopped replay would make again."""

    def __init__(
        self, clock: Callable[[], int], config: ConfigFollower | None = None, erased: ErasedUsers | None = None
    ) -> None:
        folder = Path(tempfile.mkdtemp(prefix="tocsin-replays-"))
        settings = Settings.load({"TOCSIN_DATA__DIR": str(folder)})
        follower = config if config is not None else ConfigFollower({})
        super().__init__(settings, cast(Any, None), follower, erased or ErasedUsers(), clock, 1)
        self.jobs = self._jobs = LocalJobs(clock)
        self.answers = LocalAnswers(folder / "answers.db")
        self._answers = cast(Any, self.answers)
        self.is_kept = True

    def add(self, replay_id: str) -> "LocalReplays":
        """There is a replay, and it runs."""
        filters = ReplayFilters(from_ms=0, to_ms=1)
        job = ReplayJob(
            replay_id=replay_id, by="all", at=self._clock(), channel="push", filters=filters, rate=1, per_ms=1000
        )
        self.jobs.put(JOB, replay_id, encode_replay(job))
        return self

    async def _is_kept(self, *_: Any) -> bool:
        return self.is_kept
