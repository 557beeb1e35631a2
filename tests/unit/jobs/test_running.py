"""That jobs go on, each by itself, whatever becomes of the others."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiokafka import TopicPartition
from structlog.testing import capture_logs

from app.jobs import owner, running
from app.jobs.owner import Owner
from app.jobs.running import run_each
from tests.conftest import eventually


class Jobs:
    """Which are active; what was begun and forgotten. ``fails``: how often each fails before it goes on."""

    def __init__(self, *active: str) -> None:
        self.active = set(active)
        self.changed = asyncio.Event()
        self.fails: dict[str, list[Exception]] = {}
        self.running: set[str] = set()
        self.stopped: list[str] = []
        self.forgotten: list[str] = []
        self.slow_to_stop: set[str] = set()

    async def carry_out(self, name: str) -> None:
        if self.fails.get(name):
            raise self.fails[name].pop(0)
        self.running.add(name)
        try:
            await asyncio.Event().wait()
        finally:
            self.running.discard(name)
            self.stopped.append(name)
            if name in self.slow_to_stop:
                await asyncio.sleep(0.05)

    async def forget(self, name: str) -> None:
        self.forgotten.append(name)
        raise RuntimeError("a surprise")

    def end(self, *names: str) -> None:
        self.active -= {*names}
        self.changed.set()


@asynccontextmanager
async def run(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[asyncio.Task[None]]:
    monkeypatch.setattr(running, "_BACKOFF_S", 0.01)
    work = run_each("job", lambda: jobs.active, jobs.changed, jobs.carry_out, jobs.forget)
    task = asyncio.create_task(work)
    try:
        with capture_logs():
            yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_job_that_fails_is_tried_again_and_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = Jobs("a", "b")
    jobs.fails["a"] = [OSError(), ValueError("a surprise"), TimeoutError()]
    async with run(jobs, monkeypatch):
        await eventually(_is(lambda: jobs.running == {"a", "b"}))


async def test_all_that_end_together_are_stopped_before_any_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = Jobs("a", "b", "c")
    jobs.slow_to_stop = {"a", "b"}
    async with run(jobs, monkeypatch) as task:
        await eventually(_is(lambda: jobs.running == {"a", "b", "c"}))
        jobs.end("a", "b")
        await eventually(_is(lambda: sorted(jobs.forgotten) == ["a", "b"]))
        assert sorted(jobs.stopped) == ["a", "b"]
        assert jobs.running == {"c"}
        assert not task.done()


async def test_an_owner_begins_anew_what_a_surprise_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner, "_BACKOFF_S", 0.01)
    begun = 0

    async def work() -> None:
        nonlocal begun
        begun += 1
        if begun < 3:
            raise OSError("a folder that can't be read")
        await asyncio.Event().wait()

    mine = Owner({}, "topic", "group", work)
    with capture_logs():
        await mine.on_partitions_assigned([TopicPartition("topic", 0)])
        await eventually(_is(lambda: begun == 3))
        await mine.on_partitions_revoked([])
    assert not mine.owns


def _is(holds: Callable[[], bool]) -> Callable[[], Awaitable[bool]]:
    async def condition() -> bool:
        return holds()

    return condition
