"""Reading a user's state from the worker that owns it, on its operations port, through a rebalance.

Requests are signed with the installation's secret, and only answers that are count (``app/domain/signed_reads.py``).
"""

import asyncio
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import msgspec
import structlog
from yarl import URL

from app.domain import signed_reads
from app.domain.partition import partition_of
from app.store.owners import Announcements

log = structlog.get_logger(__name__)

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


class NotAnsweredError(Exception):
    """An operations port didn't answer, or not as one of our processes does; says why."""


@dataclass(frozen=True, slots=True)
class StateReader:
    """Reads from an operations port. ``clock``: Unix milliseconds; ``tls``: how its certificate is verified."""

    session: aiohttp.ClientSession
    secret: bytes
    clock: Callable[[], int]
    tls: ssl.SSLContext | bool = True

    async def read(self, url: str, view: str, query: Mapping[str, str]) -> tuple[int, bytes]:
        """(status, JSON) as a process with our secret answered. ``url``: the port's. Raises NotAnsweredError."""
        where = URL(url)
        target = (where / "state" / view).with_query(query)
        host = where.raw_authority
        signed = signed_reads.authorization(self.secret, "GET", host, target.raw_path_qs, self.clock())
        headers = {"Host": host, "Authorization": signed}
        try:
            async with self.session.get(
                target, headers=headers, timeout=_ONE_CALL, allow_redirects=False, ssl=self.tls
            ) as response:
                status, body = response.status, await response.read()
                proof = response.headers.get(signed_reads.PROOF, "")
        except (aiohttp.ClientError, TimeoutError) as error:
            raise NotAnsweredError(f"{url} doesn't answer ({type(error).__name__})") from None
        if not signed_reads.is_proven(self.secret, signed, status, body, proof):
            raise NotAnsweredError(f"{url} answers {status}, not signed with this installation's secret{_detail(body)}")
        return status, body


def _detail(body: bytes) -> str:
    try:
        return f" ({msgspec.json.decode(body, type=_Refusal).detail[:200]})"
    except msgspec.MsgspecError:
        return ""


class OwnerClient:
    """Asks the owner, and whoever becomes the owner meanwhile."""

    def __init__(
        self, reader: StateReader, owners: Announcements, partitions: int, *, patience_s: float = _PATIENCE_S
    ) -> None:
        self._reader = reader
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
            status, body = await self._reader.read(owner.url, view, query)
        except NotAnsweredError as error:
            log.warning("can't read a worker's state", worker=owner.name, reason=str(error))
            return False, None
        if status == 400:
            problem = msgspec.json.decode(body, type=_Refusal)
            raise OwnerRefusedError(problem.detail, problem.field)
        if status == 200:
            return True, msgspec.json.decode(body)
        return status == 404, None
