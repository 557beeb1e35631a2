"""Reading a user's state from the worker that owns it, on its operations port, through a rebalance."""

import asyncio
from collections.abc import Mapping
from typing import Any

import aiohttp
import msgspec

from app.domain.partition import partition_of
from app.store.owners import OwnersFollower

_PATIENCE_S = 8.0
_PAUSE_S = 0.1
_ONE_CALL = aiohttp.ClientTimeout(total=5, connect=1)


class _Refusal(msgspec.Struct):
    detail: str = "not understood"
    field: str | None = None


class OwnerUnavailableError(Exception):
    """Nobody who owns the partition answered in time."""


class OwnerRefusedError(Exception):
    """The owner can't answer what was asked (a parameter that isn't one): ``reason`` and ``field``."""

    def __init__(self, reason: str, field: str | None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.field = field


class OwnerClient:
    """Asks the owner, and whoever becomes the owner meanwhile."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        owners: OwnersFollower,
        partitions: int,
        *,
        patience_s: float = _PATIENCE_S,
    ) -> None:
        self._session = session
        self._owners = owners
        self._partitions = partitions
        self._patience_s = patience_s

    async def read(
        self, role: str, user_id: str, view: str, params: Mapping[str, str] | None = None, after: int | None = None
    ) -> Any:
        """A view of the user's state as JSON values, None where nothing is known of him.

        ``after``: an offset on notify_commands, in the user's partition, that the answer must have seen.
        Raises OwnerUnavailableError, OwnerRefusedError.
        """
        partition = partition_of(user_id.encode(), self._partitions)
        return await self.read_partition(role, partition, view, {**(params or {}), "user_id": user_id}, after)

    async def read_partition(
        self, role: str, partition: int, view: str, params: Mapping[str, str], after: int | None = None
    ) -> Any:
        """As ``read``, of a partition."""
        query = {**params, "partition": str(partition)}
        if after is not None:
            query["after"] = str(after)
        try:
            async with asyncio.timeout(self._patience_s):
                while True:
                    answered, document = await self._ask(role, partition, view, query)
                    if answered:
                        return document
                    await asyncio.sleep(_PAUSE_S)
        except TimeoutError:
            raise OwnerUnavailableError(f"no {role} answers for partition {partition}") from None

    async def _ask(self, role: str, partition: int, view: str, query: Mapping[str, str]) -> tuple[bool, Any]:
        """(whether this is the answer, the document)."""
        owner = self._owners.owner_of(role, partition)
        if owner is None:
            return False, None
        try:
            url = f"{owner.url}/state/{view}"
            async with self._session.get(url, params=query, timeout=_ONE_CALL, allow_redirects=False) as response:
                if response.status == 200:
                    return True, msgspec.json.decode(await response.read())
                if response.status == 400:
                    problem = msgspec.json.decode(await response.read(), type=_Refusal)
                    raise OwnerRefusedError(problem.detail, problem.field)
                return response.status == 404, None
        except (aiohttp.ClientError, TimeoutError):
            return False, None
