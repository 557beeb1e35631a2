"""Runs each job in a task of its own, for as long as it is active, and tries again what a fault interrupted."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress

import structlog
from aiokafka.errors import KafkaError

from app.store.owner_client import OwnerUnavailableError
from app.store.publisher import PublishError

log = structlog.get_logger(__name__)

#: What comes and goes with brokers, workers and disks.
PASSING = (KafkaError, PublishError, OwnerUnavailableError, TimeoutError, OSError, sqlite3.Error)
_BACKOFF_S, _LONGEST_BACKOFF_S = 1.0, 30.0
#: So often it looks which are active, though nothing has changed: time alone ends some.
_LOOK_S = 1.0


async def run_each(
    what: str,
    active: Callable[[], Collection[str]],
    changed: asyncio.Event,
    carry_out: Callable[[str], Awaitable[None]],
    forget: Callable[[str], Awaitable[None]] | None = None,
) -> None:
    """Until it is cancelled. A job that waits holds up no other.

    Args:
        what: what such a job is called in logs.
        active: the names of those that are to go on.
        changed: set when that may have changed.
        carry_out: brings a job to its end from wherever it is; it may be cancelled, and called again.
        forget: called with each that has ended or isn't active any more.
    """
    tasks = dict[str, asyncio.Task[None]]()
    try:
        while True:
            changed.clear()
            wanted = set(active())
            over = [name for name, task in tasks.items() if name not in wanted or task.done()]
            await _end([tasks.pop(name) for name in over])
            if forget is not None:
                await _forget(what, [name for name in over if name not in wanted], forget)
            for name in wanted - tasks.keys():
                tasks[name] = asyncio.create_task(_persist(what, name, carry_out), name=f"{what} {name}")
            with suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), _LOOK_S)
    finally:
        await _end(tasks.values())


async def _forget(what: str, names: Collection[str], forget: Callable[[str], Awaitable[None]]) -> None:
    for name in names:
        try:
            await forget(name)
        except Exception:
            log.exception("what is left of a job stays", job=f"{what} {name}")


async def _persist(what: str, name: str, carry_out: Callable[[str], Awaitable[None]]) -> None:
    backoff_s = _BACKOFF_S
    while True:
        try:
            await carry_out(name)
            return
        except PASSING as error:
            log.warning("a job waits", job=f"{what} {name}", error=repr(error), again_in_s=backoff_s)
        except Exception:
            log.exception("a job fails", job=f"{what} {name}", again_in_s=backoff_s)
        await asyncio.sleep(backoff_s)
        backoff_s = min(2 * backoff_s, _LONGEST_BACKOFF_S)


async def _end(tasks: Collection[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
