"""notifications: what was decided for each recipient of each notification, and what of it is still open."""

from msgspec import Struct

from schemas.words import Channel, Priority, Status
from tables.table import TableSpec


class Facts(Struct, frozen=True, array_like=True):
    """What every event of the notification says of it. Times are Unix ms."""

    notification_id: str
    user_id: str
    event_type: str
    category: str
    priority: Priority
    source: str
    campaign_id: str | None
    template_id: str | None
    template_version: int | None
    variant: str | None
    collapse_key: str | None
    replay_id: str | None
    #: Requested on the bulk lane.
    bulk: bool
    created_ms: int
    accepted_ms: int
    #: The timestamp of its record.
    recorded_ms: int
    expires_ms: int


class Sent(Struct, frozen=True, array_like=True):
    """One send that was queued. ``end`` "": not ended yet. ``address``: the hash of where it goes."""

    send_id: str
    device_id: str | None
    address: str
    end: Status | str = ""


class Part(Struct, frozen=True, array_like=True):
    """One channel that was begun: it waits (``wait`` is why), has sends, or ended without one (neither)."""

    channel: Channel
    step: int = 0
    wait: str = ""
    #: The key of the wait's row in schedule, and when it falls due (Unix ms).
    due: bytes = b""
    until_ms: int = 0
    #: The cap or the digest that it waits for.
    waits_for: str = ""
    sends: tuple[Sent, ...] = ()
    #: It came out of a digest, or was let go singly: not digested again.
    undigested: bool = False

    @property
    def is_open(self) -> bool:
        return bool(self.wait) or any(not sent.end for sent in self.sends)


class Steps(Struct, frozen=True, array_like=True):
    """A fallback chain on its way. ``over``: no further step begins."""

    channels: tuple[Channel, ...]
    until: tuple[Status, ...]
    wait_ms: int
    at: int = 0
    due: bytes = b""
    over: bool = False


class Notification(Struct, frozen=True, array_like=True):
    """One recipient's notification. The row also is what tells a repeated request."""

    facts: Facts
    #: Where the accepted record lies.
    position: str
    #: A hash of what it says.
    content: bytes
    #: As long as a repeated request is known as one, Unix ms.
    until_ms: int
    #: The request's JSON, as long as anything of it waits or may yet begin; else empty.
    request: bytes = b""
    #: A digest's items as JSON, with the request.
    items: bytes = b""
    parts: tuple[Part, ...] = ()
    steps: Steps | None = None
    #: Of the whole notification, before its channels are judged.
    scheduled_due: bytes = b""

    @property
    def waits(self) -> bool:
        """Whether anything of it waits here."""
        return bool(self.scheduled_due) or any(part.wait for part in self.parts)


def _expires(row: Notification) -> int | None:
    return None if row.waits or (row.steps is not None and not row.steps.over) else row.until_ms


NOTIFICATIONS: TableSpec[Notification] = TableSpec("notifications", Notification, expires=_expires)


def notification_key(user_id: str, notification_id: str, replay_id: str | None = None) -> bytes:
    return f"{user_id}\0{notification_id}\0{replay_id or ''}".encode()
