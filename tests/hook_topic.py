"""``tocsin_hooks`` in memory: what is published there is taken at once."""

from collections.abc import Callable, Sequence
from typing import Any

from app.store.hooks import HooksFollower, HookWriter
from app.store.publisher import Outgoing
from schemas.hooks import Hook, encode_hook_record
from schemas.topics import HOOKS
from schemas.words import Status
from tests.records import Record

SECRET = b"the installation's own secret of 32 bytes"
NOW = 1_780_000_000_000


def a_hook(hook_id: str, source: str = "shop", url: str = "https://example.com/x", **given: Any) -> Hook:
    statuses: list[Status] = ["sent", "failed"]
    fields = {"statuses": statuses, "sealed": b"sealed", "at": NOW, **given}
    return Hook(id=hook_id, source=source, url=url, **fields)


class HookTopic:
    """The log, and those who follow it; each has taken all of it."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.followers: list[HooksFollower] = []

    def follow(self, secrets: Sequence[bytes] = (SECRET,), **told: Any) -> HooksFollower:
        follower = _Follower({}, secrets, **told)
        for each in self.records:
            follower.take(each)
        self.followers.append(follower)
        return follower

    def writer(
        self, states: HooksFollower | None = None, clock: Callable[[], int] = lambda: NOW, secret: bytes = SECRET
    ) -> HookWriter:
        publisher: Any = self
        return HookWriter(publisher, states or self.follow((secret,)), secret, clock)

    def with_hook(self, hook: Hook) -> HookWriter:
        """A writer, where there is this hook."""
        writer = self.writer()
        self._put([writer._signed(hook.key, encode_hook_record(hook))])
        return writer

    async def publish_many(self, records: Sequence[Outgoing]) -> list[tuple[int, int]]:
        return self._put(records)

    def _put(self, records: Sequence[Outgoing]) -> list[tuple[int, int]]:
        positions = []
        for each in records:
            assert each.topic == HOOKS
            taken = Record(HOOKS, 0, len(self.records), NOW, each.key, each.value, each.headers)
            self.records.append(taken)
            positions.append((0, taken.offset))
            for follower in self.followers:
                follower.take(taken)
        return positions


class _Follower(HooksFollower):
    async def reached(self, offset: int) -> None:
        return
