"""Who owns which partitions: every worker with tables announces it, the gateway follows.

Only what is signed with the installation's secret counts, and only for a short time (``app/domain/announcing.py``).
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal, NamedTuple

import structlog
from msgspec import Struct, json

from app.domain import announcing
from app.ports import Guard, LogRecord, Publisher
from app.store.follower import TopicFollower
from app.store.publisher import PublishError
from schemas.decode import Invalid, Reader
from schemas.topics import OWNERS

log = structlog.get_logger(__name__)

HEARTBEAT_S = 5.0

#: Why an announcement doesn't count. ``untrusted``: nobody with the installation's secret made it; ``ahead``: its time
#: is yet to come; ``behind``: it is old; ``replayed``: it is no newer than what was heard of the worker;
#: ``unreadable``: signed, and no owner.
Refusal = Literal["untrusted", "ahead", "behind", "replayed", "unreadable"]
REFUSALS: tuple[Refusal, ...] = ("untrusted", "ahead", "behind", "replayed", "unreadable")
_IN_WORDS: Mapping[Refusal, str] = {
    "untrusted": "not signed with this installation's secret: all processes need the same installation.secret",
    "ahead": "of a time that is yet to come: the clocks of all machines must agree",
    "behind": "more than 15 s old: it came late, is a copy, or the clocks of two machines don't agree",
    "replayed": "no newer than what was announced before",
    "unreadable": "not understood: it is of another version",
}


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


read_owner: Reader[Owner] = Reader(Owner, own=True)


async def announce(
    publisher: Publisher,
    describe: Callable[[int], Owner],
    changed: asyncio.Event,
    secret: bytes,
    clock: Callable[[], int],
) -> None:
    """Announces until cancelled, at each heartbeat and at once when ``changed`` is set (partitions, policy); then takes
    it back. ``describe``: what is true at a time; ``clock``: Unix milliseconds."""
    at = clock()
    name = describe(at).name.encode()
    try:
        while True:
            changed.clear()
            await _tell(publisher, name, json.encode(describe(at)), secret, at)
            with suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), HEARTBEAT_S)
            at = max(clock(), at + 1)  # none says it is as old as the one before
    finally:
        await _tell(publisher, name, None, secret, max(clock(), at + 1))


async def _tell(publisher: Publisher, name: bytes, value: bytes | None, secret: bytes, at: int) -> None:
    headers = [(announcing.HEADER, announcing.signed(secret, name, value, at))]
    try:
        await publisher.publish(OWNERS, name, value, headers=headers)
    except PublishError as error:
        log.warning("ownership isn't announced", error=str(error))


class _Heard(NamedTuple):
    """What was announced last of a worker. ``owner`` None: it has left."""

    at: int
    owner: Owner | None


class Announcements:
    """What workers have announced lately, as far as it can be trusted. ``clock``: Unix milliseconds; ``on_refused`` is
    called for each announcement that doesn't count. ``is_live``: what is read was just written; before, the topic is
    read from its start, where much is old."""

    def __init__(
        self, secret: bytes, clock: Callable[[], int], on_refused: Callable[[Refusal], None] = lambda _: None
    ) -> None:
        self.is_live = False
        self._secret = secret
        self._clock = clock
        self._on_refused = on_refused
        self._heard: dict[bytes, _Heard] = {}
        self._read_to = -1

    def take(self, record: LogRecord) -> None:
        now = self._clock()
        was_just_written = self.is_live or record.timestamp >= now - announcing.SILENT_MS
        is_news = was_just_written and record.offset > self._read_to  # else the topic is read anew
        self._read_to = max(self._read_to, record.offset)
        why = self._hear(record, now)
        if why is not None and is_news:
            self._on_refused(why)
            log.warning("an announcement doesn't count", why=_IN_WORDS[why], offset=record.offset)

    def running(self, role: str) -> list[Owner]:
        """The role's workers that were heard of lately, by name."""
        return [owner for owner in self.everyone() if owner.role == role]

    def everyone(self) -> list[Owner]:
        """All workers that were heard of lately, by name."""
        since = self._clock() - announcing.SILENT_MS
        lately = (heard.owner for heard in self._heard.values() if heard.at >= since)
        return sorted((owner for owner in lately if owner is not None), key=lambda owner: owner.name)

    def owner_of(self, role: str, partition: int) -> Owner | None:
        """Who last said that he owns the partition; two may for a moment, while it moves."""
        claims = (owner for owner in self.running(role) if partition in owner.partitions)
        return max(claims, key=lambda owner: owner.at, default=None)

    def behind(self, policy_version: int) -> list[str]:
        """The running routers that haven't taken over this version of the policy, by name."""
        return [owner.name for owner in self.running("router") if owner.policy_version < policy_version]

    def _hear(self, record: LogRecord, now: int) -> Refusal | None:
        key, since = record.key or b"", now - announcing.SILENT_MS
        at = announcing.announced_at(self._secret, key, record.value, record.headers)
        if at is None:
            return "untrusted"
        if at > now + announcing.SILENT_MS:
            return "ahead"
        if at < since:
            return "behind"
        if key in self._heard and at <= self._heard[key].at:
            return "replayed"
        try:
            owner = None if record.value is None else read_owner(record.value)
        except Invalid:
            return "unreadable"
        # What is older doesn't count any more, whoever repeats it.
        self._heard = {name: heard for name, heard in self._heard.items() if heard.at >= since}
        self._heard[key] = _Heard(at, owner)
        return None


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
