"""Who owns which partitions: every worker with tables announces it, the gateway follows."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import structlog
from msgspec import Struct, json

from app.ports import LogRecord, Publisher
from app.store.follower import TopicFollower
from app.store.publisher import PublishError
from schemas.decode import Invalid, Reader
from schemas.topics import OWNERS

log = structlog.get_logger(__name__)

HEARTBEAT_S = 5.0
#: Three heartbeats: who hasn't been heard of for so long doesn't run.
_SILENT_MS = 15_000


class Owner(Struct, frozen=True, kw_only=True):
    """What a worker says of itself. ``at``: Unix milliseconds, by its own clock."""

    role: str
    instance: str
    partitions: Sequence[int]
    #: Of its operations port, with no slash at the end.
    url: str
    policy_version: int
    at: int

    @property
    def name(self) -> str:
        return f"{self.role}/{self.instance}"


read_owner: Reader[Owner] = Reader(Owner, own=True)


async def announce(publisher: Publisher, describe: Callable[[], Owner], changed: asyncio.Event) -> None:
    """Tells until cancelled, at each heartbeat and at once when ``changed`` is set (partitions, policy); then takes
    it back."""
    name = describe().name.encode()
    try:
        while True:
            changed.clear()
            await _tell(publisher, name, json.encode(describe()))
            try:
                await asyncio.wait_for(changed.wait(), HEARTBEAT_S)
            except TimeoutError:
                continue
    finally:
        await _tell(publisher, name, None)


async def _tell(publisher: Publisher, name: bytes, value: bytes | None) -> None:
    try:
        await publisher.publish(OWNERS, name, value)
    except PublishError as error:
        log.warning("ownership isn't announced", error=str(error))


class OwnersFollower:
    """The announcements as they stand now. ``clock``: Unix milliseconds."""

    def __init__(self, client_options: Mapping[str, Any], clock: Callable[[], int]) -> None:
        self._owners: dict[str, Owner] = {}
        self._clock = clock
        self._follower = TopicFollower(client_options, OWNERS, self._take)

    async def start(self) -> None:
        await self._follower.start()

    async def close(self) -> None:
        await self._follower.close()

    def running(self, role: str) -> list[Owner]:
        """The role's workers that were heard of lately, by name."""
        since = self._clock() - _SILENT_MS
        return [self._owners[name] for name in sorted(self._owners) if self._is(self._owners[name], role, since)]

    def owner_of(self, role: str, partition: int) -> Owner | None:
        """Who last said that he owns the partition; two may for a moment, while it moves."""
        claims = (owner for owner in self.running(role) if partition in owner.partitions)
        return max(claims, key=lambda owner: owner.at, default=None)

    def behind(self, policy_version: int) -> list[str]:
        """The running routers that haven't taken over this version of the policy, by name."""
        return [owner.name for owner in self.running("router") if owner.policy_version < policy_version]

    @staticmethod
    def _is(owner: Owner, role: str, since_ms: int) -> bool:
        return owner.role == role and owner.at >= since_ms

    def _take(self, record: LogRecord) -> None:
        name = (record.key or b"").decode(errors="replace")
        if record.value is None:
            self._owners.pop(name, None)
            return
        try:
            self._owners[name] = read_owner(record.value)
        except Invalid as invalid:
            log.warning("an announcement can't be read", offset=record.offset, reason=str(invalid))
