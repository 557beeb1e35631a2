"""Who owns which partitions: every worker with tables announces it, the gateway follows."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from app.ports import Guard, Publisher
from app.store.announced import Announced, Refusal, keep_announcing
from app.store.follower import TopicFollower
from schemas.decode import Reader
from schemas.topics import OWNERS


class Owner(Struct, frozen=True, kw_only=True):
    """What a worker announces of itself. ``at``: Unix milliseconds, by its own clock."""

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

    @property
    def key(self) -> bytes:
        return self.name.encode()


read_owner: Reader[Owner] = Reader(Owner, own=True)


async def announce(
    publisher: Publisher,
    describe: Callable[[int], Owner],
    changed: asyncio.Event,
    secret: bytes,
    clock: Callable[[], int],
) -> None:
    """Announces until cancelled, at once when ``changed`` is set (partitions, policy): see ``keep_announcing``."""
    await keep_announcing(publisher, OWNERS, describe, changed, secret, clock)


class Announcements(Announced[Owner]):
    """The owners that were announced lately."""

    def __init__(
        self, secret: bytes, clock: Callable[[], int], on_refused: Callable[[Refusal], None] = lambda _: None
    ) -> None:
        super().__init__(read_owner, secret, clock, on_refused)

    def running(self, role: str) -> list[Owner]:
        """The role's workers that were heard of lately, by name."""
        return [owner for owner in self.everyone() if owner.role == role]

    def everyone(self) -> list[Owner]:
        """All workers that were heard of lately, by name."""
        return sorted(self.lately(), key=lambda owner: owner.name)

    def owner_of(self, role: str, partition: int) -> Owner | None:
        """Who last said that he owns the partition; two may for a moment, while it moves."""
        claims = (owner for owner in self.running(role) if partition in owner.partitions)
        return max(claims, key=lambda owner: owner.at, default=None)

    def behind(self, policy_version: int) -> list[str]:
        """The running routers that haven't taken over this version of the policy, by name."""
        return [owner.name for owner in self.running("router") if owner.policy_version < policy_version]


class OwnersFollower(Announcements):
    """The announcements as they stand now."""

    def __init__(
        self,
        client_options: Mapping[str, Any],
        secret: bytes,
        clock: Callable[[], int],
        on_refused: Callable[[Refusal], None] = lambda _: None,
        guard: Guard | None = None,
    ) -> None:
        super().__init__(secret, clock, on_refused)
        self._follower = TopicFollower(client_options, OWNERS, self.take, guard=guard)

    async def start(self) -> None:
        await self._follower.start()
        self.is_live = True

    async def close(self) -> None:
        await self._follower.close()
