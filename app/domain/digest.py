"""Digests: many notifications into one (docs/policy.md#digests)."""

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from hashlib import blake2b
from typing import Any, Literal, Self

import msgspec
from msgspec import Raw, Struct

from app.domain.quiet_hours import DAYS, minutes_of
from app.domain.zones import first_moment, local_time, next_minute
from schemas.words import PRIORITIES, Channel, Priority

_LONGEST_KEY = 200
#: The most bytes of data (compact JSON) that the items of one digest carry together.
CARRIED_BYTES = 256 * 1024

Every = Literal["hour", "day", "week"]


class Rhythm(Struct, frozen=True, array_like=True, gc=False):
    """Closing at a local time: ``at`` minutes of the day (of the hour for ``hour``), ``on`` a weekday (Monday 0)."""

    every: Every
    at: int = 9 * 60
    on: int = 0

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        """From ``{every, at?, on?}`` as a policy or a user gives it; raises ValueError for a time that is none."""
        at = minutes_of(document["at"]) if "at" in document else None
        if document["every"] == "hour":
            return cls("hour", (at or 0) % 60)
        return cls(document["every"], 9 * 60 if at is None else at, DAYS.index(document.get("on", "mon")))


@dataclass(frozen=True, slots=True)
class DigestRule:
    """``key``: the member of ``data`` (its path) whose value tells digests apart. Times in milliseconds."""

    name: str
    template: str
    window_ms: int
    max_wait_ms: int
    max_items: int = 100
    min_items: int = 2
    channels: frozenset[Channel] = frozenset(("push", "email", "sms"))
    key: tuple[str, ...] | None = None
    drop_when_active: bool = False
    #: ``send``: the item that opens a digest goes out at once, those after it are gathered.
    first: Literal["hold", "send"] = "hold"
    #: Closes at a local time in place of ``window`` and ``max_wait``.
    rhythm: Rhythm | None = None


class DigestItem(Struct, frozen=True, array_like=True, gc=False):
    """One notification that waits in a digest. Times are Unix ms; ``at`` is when it happened. Its data stays where its
    request is; rows of before 2026-11-29 have it here as well (``data``, MessagePack)."""

    notification_id: str
    event_type: str
    campaign_id: str | None
    priority: Priority
    at: int
    data: Raw = Raw(b"\x80")


class OpenDigest(Struct, frozen=True, array_like=True, gc=False):
    """The digest of one (user, rule, value of key, channel)."""

    rule: str
    key: str
    channel: Channel
    first_ms: int
    last_ms: int
    items: tuple[DigestItem, ...] = ()

    @property
    def size(self) -> int:
        """How many bytes of data its items hold."""
        return sum(len(bytes(item.data)) for item in self.items)


@dataclass(frozen=True, slots=True)
class Aggregate:
    """Enough items: one notification of these, oldest first. ``event_type`` and ``campaign_id`` are the items' where
    all agree, else the rule's name and none."""

    items: tuple[DigestItem, ...]
    priority: Priority
    event_type: str
    campaign_id: str | None


@dataclass(frozen=True, slots=True)
class Singly:
    """Too few items: each goes on by itself."""

    items: tuple[DigestItem, ...]


def key_of(rule: DigestRule, data: Mapping[str, Any]) -> str | None:
    """What tells the rule's digests apart, ``""`` for a rule without key; None: no such field, so not digested."""
    if rule.key is None:
        return ""
    value: Any = data
    for member in rule.key:
        value = value.get(member) if isinstance(value, Mapping) else None
    if value is None:
        return None
    text = msgspec.json.encode(value, order="sorted")
    return text.decode() if len(text) <= _LONGEST_KEY else blake2b(text, digest_size=16).hexdigest()


def lead(rule: DigestRule, key: str, channel: Channel, now_ms: int) -> OpenDigest:
    """The empty digest that an item opens which goes out at once itself (``first: send``)."""
    return OpenDigest(rule.name, key, channel, now_ms, now_ms)


def join(
    row: OpenDigest | None, rule: DigestRule, key: str, channel: Channel, item: DigestItem, now_ms: int
) -> OpenDigest:
    """The digest with the item in it. One that is there changes nothing."""
    if row is None:
        return OpenDigest(rule.name, key, channel, now_ms, now_ms, (item,))
    if any(other.notification_id == item.notification_id for other in row.items):
        return row
    return msgspec.structs.replace(row, last_ms=max(row.last_ms, now_ms), items=(*row.items, item))


def due_of(row: OpenDigest, rule: DigestRule, choice: Rhythm | None, zone: str) -> int:
    """When the digest closes (Unix ms): at once (its last item's time) when it is full; at the user's ``choice`` or the
    rule's own rhythm, in the user's zone; else ``window`` after the latest item, ``max_wait`` after the first."""
    if len(row.items) >= rule.max_items:
        return row.last_ms
    rhythm = choice or rule.rhythm
    if rhythm is not None:
        return _next_beat(rhythm, zone, row.first_ms)
    return min(row.last_ms + rule.window_ms, row.first_ms + rule.max_wait_ms)


def close(row: OpenDigest, rule: DigestRule, alive: Container[str]) -> Aggregate | Singly:
    """What becomes of a digest that closes. ``alive``: ids of the items since not cancelled, expired or opted out."""
    items = tuple(sorted((item for item in row.items if item.notification_id in alive), key=lambda item: item.at))
    if len(items) < max(rule.min_items, 1):
        return Singly(items)
    types = {item.event_type for item in items}
    campaigns = {item.campaign_id for item in items}
    return Aggregate(
        items=items,
        priority=min((item.priority for item in items), key=PRIORITIES.index),
        event_type=types.pop() if len(types) == 1 else rule.name,
        campaign_id=campaigns.pop() if len(campaigns) == 1 else None,
    )


def carried(sizes: Iterable[int]) -> int:
    """How many items, newest first, carry their data, given its sizes; none does from the first that doesn't fit on."""
    left, count = CARRIED_BYTES, 0
    for size in sizes:
        left -= size
        if left < 0:
            break
        count += 1
    return count


def _next_beat(rhythm: Rhythm, zone: str, after_ms: int) -> int:
    """The first moment after ``after_ms`` at which the wall clock reads the rhythm's time."""
    if rhythm.every == "hour":
        return next_minute(zone, after_ms, rhythm.at)
    wall = local_time(zone, after_ms)
    midnight = datetime.combine(wall, time())
    ahead = (rhythm.on - wall.weekday()) % 7 if rhythm.every == "week" else 0
    while (due_ms := first_moment(zone, midnight + timedelta(days=ahead, minutes=rhythm.at))) <= after_ms:
        ahead += 7 if rhythm.every == "week" else 1
    return due_ms
