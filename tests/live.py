"""An inbox at its owner, and the streams and tickets of a gateway that has no topic to follow: what it publishes there
it takes itself."""

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from agents.inbox.machine import InAppMachine
from app.api.live import Live
from app.api.streams import Streams
from app.api.tickets import Tickets
from app.domain.merge import merge_patch
from app.store.inbox_follower import InboxFollower
from app.virtual import VirtualPartition
from schemas.inbox_changes import InboxChange, read_inbox_record
from schemas.instants import rfc3339
from schemas.sends import encode_send
from schemas.topics import COMMANDS, INBOX_CHANGES, send_topic
from tables.rows import MemoryRows
from tests.agents.stage import DAY, NOON, a_catalog, a_send
from tests.records import Record

SECRET = b"the installation's own secret of 32 bytes or more"


class LoopBack:
    """Publishes to whoever follows."""

    def __init__(self, follower: Callable[[], InboxFollower]) -> None:
        self._follower = follower

    async def publish(self, topic: str, key: bytes | None, value: bytes | None, **_: Any) -> tuple[int, int]:
        self._follower().hand_over(Record(topic, 0, 0, 0, key, value))
        return 0, 0


def live_of(
    owner: Any, clock: Callable[[], int], *, most: int = 100, most_of_user: int = 20, longest_s: float = 0.5
) -> tuple[Live, InboxFollower]:
    """``longest_s``: every stream ends soon after it has begun, so that its answer can be read to the end."""
    follower: list[InboxFollower] = []
    publisher: Any = LoopBack(lambda: follower[0])
    live = Live(
        Streams(owner, most=most, most_of_user=most_of_user, longest_s=longest_s),
        Tickets(SECRET, publisher, clock),
    )
    follower.append(InboxFollower({}, live, clock, partitions=1, since_ms=0))
    return live, follower[0]


class Inbox:
    """One user's inbox at its owner, and all that it has put on the topic."""

    def __init__(self, **policy: Any) -> None:
        self.partition = VirtualPartition(InAppMachine(a_catalog(**policy)), MemoryRows())
        self.now = NOON
        self.changes: list[InboxChange] = []
        #: The user's preferences, as their router has them.
        self.preferences: dict[str, Any] = {}
        self._offset = 0
        self._sends = 0
        self.command("profile.set", name="Ada")

    def item(self, **changes: Any) -> str:
        self._sends += 1
        send = a_send(self._sends, channel="in_app", **({"expires_at": self.now + DAY} | changes))
        self._feed(send_topic("in_app", "normal"), encode_send(send))
        return send.notification_id

    def command(self, kind: str, **fields: Any) -> None:
        said = {"type": kind, "id": f"c{self._offset}", "at": rfc3339(self.now), "user_id": "u1", **fields}
        self._feed(COMMANDS, msgspec.json.encode(said))

    def mark(self, notification_id: str, mark: str) -> None:
        self.command("inbox.mark", notification_id=notification_id, **{"as": mark})

    def wait(self, ms: int) -> None:
        """What falls due meanwhile is done, each at its time."""
        end = self.now + ms
        while (due := self.partition.next_due()) is not None and due <= end:
            self.now = max(self.now, due)
            self._collect(self.partition.wake(self.now))
        self.now = end

    def page(self, **params: str) -> dict[str, Any]:
        page: dict[str, Any] = self._read("inbox", {"limit": "100", **params})
        return page

    def shown(self) -> list[dict[str, Any]]:
        return json.loads(msgspec.json.encode(self.page()["notifications"]))  # type: ignore[no-any-return]

    def counts(self) -> dict[str, int]:
        counts: dict[str, int] = self._read("inbox_count", {})
        return counts

    async def read(
        self, role: str, user_id: str, view: str, params: Mapping[str, str] | None = None, after: int | None = None
    ) -> Any:
        """As a gateway asks it."""
        assert user_id == "u1"
        await asyncio.sleep(0)
        if role == "router":
            assert view == "preferences"
            return self.preferences
        return json.loads(msgspec.json.encode(self._read(view, params or {})))

    def take_command(self, value: bytes) -> None:
        """As it comes from a gateway."""
        said = json.loads(value)
        if said["type"] == "preferences.patch":
            self.preferences = merge_patch(self.preferences, said["preferences"])
        self._feed(COMMANDS, value)

    def _read(self, view: str, params: Mapping[str, str]) -> Any:
        machine = self.partition.machine
        return machine.read(view, "u1", params, machine.open(self.partition.rows, 0), self.now)

    def _feed(self, topic: str, value: bytes) -> None:
        self._offset += 1
        self._collect(self.partition.handle(Record(topic, 0, self._offset, self.now, b"u1", value), self.now))

    def _collect(self, out: Any) -> None:
        for record in out.records if out is not None else ():
            if record.topic == INBOX_CHANGES:
                change = read_inbox_record(record.value)
                assert isinstance(change, InboxChange)
                self.changes.append(change)
