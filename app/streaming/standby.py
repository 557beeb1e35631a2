"""Standby copies: rows of partitions that others own, kept nearly up to date, so that taking one over is quick.

An option: each copy costs its disk, and reading its changelogs.
"""

import asyncio
from collections.abc import Callable, Collection
from concurrent.futures import Executor

import structlog

from app.streaming.restore import Restored, Restorer
from app.streaming.store import PartitionStore

log = structlog.get_logger(__name__)

_EVERY_S = 5.0


class Standby:
    """Walks the partitions that aren't owned here and applies what their changelogs have got since.

    ``store_of`` opens a partition's store; ``clock``: Unix ms.
    """

    def __init__(
        self,
        restorer: Restorer,
        store_of: Callable[[int], PartitionStore],
        partitions: int,
        clock: Callable[[], int],
        compactor: Executor | None = None,
    ) -> None:
        self._restorer = restorer
        self._store_of = store_of
        self._partitions = partitions
        self._clock = clock
        self._compactor = compactor
        self._owned: Collection[int] = ()
        self._copying: tuple[int, asyncio.Task[Restored]] | None = None
        #: How many erasures each copy had seen when it was compacted.
        self._compacted: dict[int, int] = {}
        #: Rows that were applied, by partition.
        self.copied: dict[int, int] = {}

    async def leave(self, owned: Collection[int]) -> None:
        """Has nothing more to do with these partitions; returns when their stores are free."""
        self._owned = owned
        if self._copying is not None and self._copying[0] in owned:
            copying = self._copying[1]
            copying.cancel()
            await asyncio.gather(copying, return_exceptions=True)

    async def run(self) -> None:
        while True:
            for partition in range(self._partitions):
                if partition not in self._owned:
                    await self._copy(partition)
            await asyncio.sleep(_EVERY_S)

    async def _copy(self, partition: int) -> None:
        store = self._store_of(partition)
        copying = asyncio.create_task(self._restorer.restore(store, partition))
        self._copying = (partition, copying)
        try:
            restored = await asyncio.shield(copying)
        except asyncio.CancelledError:
            if not copying.cancelled():  # it is we who are to stop
                copying.cancel()
                await asyncio.gather(copying, return_exceptions=True)
                raise
        except Exception as error:
            log.warning("a standby copy is behind: retrying", partition=partition, error=repr(error))
        else:
            store.touch(self._clock())
            await self._reclaim(partition, store)
            self.copied[partition] = self.copied.get(partition, 0) + restored.rows
        finally:
            self._copying = None

    async def _reclaim(self, partition: int, store: PartitionStore) -> None:
        """What was erased goes from the copy, too; from the log it goes by the partition's owner."""
        if (seen := store.erasures_seen) != self._compacted.get(partition, 0):
            try:
                await asyncio.get_running_loop().run_in_executor(self._compactor, store.compact)
            except Exception as error:
                log.warning("can't compact a standby copy: retrying", partition=partition, error=repr(error))
            else:
                self._compacted[partition] = seen
