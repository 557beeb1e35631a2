"""Digests: many notifications into one (contract, "Digest")."""

from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

from msgspec import Raw, Struct

from app.domain.quiet_hours import DAYS, minutes_of
from schemas.words import Channel, Priority

Every = Literal["hour", "day", "week"]


class Rhythm(Struct, frozen=True, array_like=True):
    """Closing at a local time: ``at`` minutes of the day (of the hour for ``hour``), ``on`` a weekday (Monday 0)."""

    every: Every
    at: int = 9 * 60
    on: int = 0

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> Self:
        """From ``{every, at?, on?}`` as a policy or a user says it; raises ValueError for a time that is none."""
        at = minutes_of(said["at"]) if "at" in said else None
        if said["every"] == "hour":
            return cls("hour", (at or 0) % 60)
        return cls(said["every"], 9 * 60 if at is None else at, DAYS.index(said.get("on", "mon")))


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


class DigestItem(Struct, frozen=True, array_like=True):
    """One notification that waits in a digest. Times are Unix ms; ``at`` is when it happened."""

    notification_id: str
    event_type: str
    campaign_id: str | None
    priority: Priority
    at: int
    data: Raw


class OpenDigest(Struct, frozen=True, array_like=True):
    """The digest of one (user, rule, value of key, channel)."""

    rule: str
    key: str
    channel: Channel
    first_ms: int
    last_ms: int
    items: tuple[DigestItem, ...] = ()


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
    raise NotImplementedError


def join(
    row: OpenDigest | None, rule: DigestRule, key: str, channel: Channel, item: DigestItem, now_ms: int
) -> OpenDigest:
    """The digest with the item in it. One that is there changes nothing."""
    raise NotImplementedError


def lead(rule: DigestRule, key: str, channel: Channel, now_ms: int) -> OpenDigest:
    """The empty digest that an item opens which goes out at once itself (``first: send``)."""
    return OpenDigest(rule.name, key, channel, now_ms, now_ms)


def due_of(row: OpenDigest, rule: DigestRule, choice: Rhythm | None, zone: str) -> int:
    """When the digest closes (Unix ms): at once (its last item's time) when it is full; at the user's ``choice`` or the
    rule's own rhythm, in the user's zone; else ``window`` after the latest item, ``max_wait`` after the first."""
    raise NotImplementedError


def close(row: OpenDigest, rule: DigestRule, alive: Container[str]) -> Aggregate | Singly:
    """What becomes of a digest that closes. ``alive``: ids of the items since not cancelled, expired or opted out."""
    raise NotImplementedError
