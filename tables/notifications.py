"""notifications: what was decided for each recipient of each notification, and what of it is still open."""

from collections.abc import Iterable
from hashlib import blake2b
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from app.domain.fallback import ChainState
from schemas.traces import Trace
from schemas.words import Channel, Priority, Status
from tables.table import TableSpec

#: What came back of a send, a bit for each in ``Sent.told``.
REPORTED: dict[Status, int] = {
    "delivered": 1,
    "opened": 2,
    "clicked": 4,
    "seen": 8,
    "read": 16,
    "bounced": 32,
    "complained": 64,
    "unsubscribed": 128,
}
#: In ``Sent.reported``: a mail program's prefetch or a link scanner fetched something of it, and maybe nobody read it.
MACHINE = 256


class Facts(Struct, frozen=True, array_like=True, gc=False):
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
    policy_version: int
    collapse_key: str | None
    replay_id: str | None
    #: Requested on the bulk lane.
    bulk: bool
    created_ms: int
    accepted_ms: int
    #: The timestamp of its record.
    recorded_ms: int
    expires_ms: int
    #: The span that took the request, where its trace is sampled.
    trace: Trace | None = None


class Sent(Struct, frozen=True, array_like=True, gc=False):
    """One send that was queued. ``end`` "": none is known. ``address``: the hash of where it goes.
    ``reported``: what came back and was reported, a bit for each state of ``REPORTED``. ``template_version`` and
    ``variant``: what its channel's role rendered, as far as is known; None: those of the notification's facts."""

    send_id: str
    device_id: str | None
    address: bytes
    end: Status | Literal[""] = ""
    reported: int = 0
    template_version: int | None = None
    variant: str | None = None
    #: A call was made, and until the end nobody knows whether the provider accepted it.
    in_doubt: bool = False
    #: The latest receipts of it; see ``with_receipt``.
    receipts: bytes = b""


#: The step of a send that is made once more is that of the first, and so many more each time.
_FURTHER = 100


def further_step(step: int) -> int:
    """The step that makes the step's send once more."""
    return step + _FURTHER


def chain_step(step: int) -> int:
    """The step of a fallback chain that it is, or makes once more."""
    return step % _FURTHER


class Part(Struct, frozen=True, array_like=True, gc=False):
    """One channel that was begun: it waits (``wait`` is why), has sends, or ended without one (neither)."""

    channel: Channel
    #: The step of a fallback chain, from 0; see ``further_step``.
    step: int = 0
    wait: str = ""
    #: When the wait is over (Unix ms), and its row in schedule.
    until_ms: int = 0
    due: bytes = b""
    #: The cap, or the key of the digest, that it waits for.
    waits_for: bytes = b""
    sends: tuple[Sent, ...] = ()
    #: It came out of a digest.
    undigested: bool = False
    #: Its send may be made once more by another provider: the row in schedule by which that happens unless something
    #: comes back, or, as long as no provider has accepted it, by which it is over.
    awaits_until: bytes = b""
    #: Of a step that makes a send once more: the first of them.
    of: str = ""


class Chained(Struct, frozen=True, array_like=True, gc=False):
    """A fallback chain on its way: its state, the rule it was begun with, and its row in schedule."""

    state: ChainState
    wait_ms: int
    until: tuple[Status, ...]
    due: bytes = b""


class Replay(Struct, frozen=True, array_like=True, gc=False):
    """What a row of a replay repeats, and what was reported of that. Such a row is of one send, which has its id from
    the start."""

    #: The send that is repeated; its own send, ``""`` where none was begun.
    candidate: str
    send_id: str
    channel: Channel
    device_id: str | None
    #: The original's place in the order of acceptance.
    order: bytes
    as_decided: bool = False
    #: The template's version that is rendered; None: the one in force.
    renders: int | None = None
    #: See ``schemas.replays``; ``""``: nothing was reported yet.
    outcome: str = ""
    reason: str | None = None


class Notification(Struct, frozen=True, array_like=True, gc=False):
    """One recipient's notification. The row is also what tells a repeated request."""

    facts: Facts
    #: Where the accepted record lies.
    position: str
    #: A hash of what it says.
    content: bytes
    #: As long as a repeated request is known as one, and its sends to their receipts, Unix ms.
    until_ms: int
    #: The request's JSON, as long as anything of it waits or may yet begin; else empty.
    request: bytes = b""
    parts: tuple[Part, ...] = ()
    chain: Chained | None = None
    #: Its row in schedule, as long as the whole of it waits for its time.
    scheduled: bytes = b""
    #: Of a digest: its items as JSON, kept as the request is.
    items: bytes = b""
    #: By ``topic:partition``: the latest offset of those that asked for the same and were told as such.
    reported_until: dict[str, int] = {}
    #: Accepted while what was there before the user's erasure was still being forgotten: that erasure's command.
    after_erasure: str = ""
    #: A replay's.
    replay: Replay | None = None
    #: Something of it was begun again by a replay, whose rows have keys that start as this one's does.
    replayed: bool = False
    #: Something came back of it, and of no send in particular.
    came_back: bool = False
    #: Its campaign's holdout (``app.domain.holdout``); None: the campaign has none of its own.
    holdout: int | None = None
    #: The latest receipts of no send in particular; see ``with_receipt``.
    receipts: bytes = b""

    @property
    def is_forgotten(self) -> bool:
        """Its user was erased since."""
        return not self.facts.event_type

    @property
    def is_open(self) -> bool:
        """Whether anything of it waits here or may yet begin."""
        return is_open(self.scheduled, self.parts, self.chain)

    def was_reported(self, position: str) -> bool:
        """Whether the record there asked for the same, and that was told."""
        place, _, offset = position.rpartition(":")
        return int(offset) <= self.reported_until.get(place, -1)

    def with_reported(self, position: str) -> dict[str, int]:
        """``reported_until`` with the record there."""
        place, _, offset = position.rpartition(":")
        return {**self.reported_until, place: max(int(offset), self.reported_until.get(place, -1))}

    @property
    def still_waits(self) -> bool:
        """Whether anything of it has not come to its end, here or with its channel's role."""
        sends = (sent for part in self.parts for sent in part.sends)
        return self.is_open or (not self.is_forgotten and any(not sent.end for sent in sends))


def forgotten(row: Notification) -> Notification:
    """Of an erased user's notification: what recognises the same request and its sends again, and nothing else."""
    facts = replace(
        row.facts,
        event_type="",
        category="",
        priority="normal",
        source="",
        campaign_id=None,
        template_id=None,
        template_version=None,
        variant=None,
        collapse_key=None,
        trace=None,
    )
    parts = tuple(
        replace(
            part,
            sends=tuple(
                replace(sent, device_id=None, address=b"", template_version=None, variant=None, receipts=b"")
                for sent in part.sends
            ),
        )
        for part in row.parts
    )
    replay = None if row.replay is None else replace(row.replay, device_id=None)
    return replace(
        row,
        facts=facts,
        content=b"",
        request=b"",
        parts=parts,
        chain=None,
        items=b"",
        replay=replay,
        receipts=b"",
    )


#: So many receipts are remembered, and so many bytes of each one's hash.
_RECEIPTS, _RECEIPT_BYTES = 8, 8


def with_receipt(receipts: bytes, receipt_id: str, status: str) -> bytes | None:
    """The latest receipts with that one as the last; None: it is among them already. (Some reuse a provider's message
    id for each status.)"""
    mark = blake2b(f"{status}\n{receipt_id}".encode(), digest_size=_RECEIPT_BYTES).digest()
    if any(receipts[at : at + _RECEIPT_BYTES] == mark for at in range(0, len(receipts), _RECEIPT_BYTES)):
        return None
    return (receipts + mark)[-_RECEIPTS * _RECEIPT_BYTES :]


def is_open(scheduled: bytes, parts: Iterable[Part], chain: Chained | None) -> bool:
    if scheduled:
        return True
    for part in parts:  # (asked of every request: a generator would cost more than the question)
        if part.wait or part.awaits_until:
            return True
    return chain is not None and not chain.state.over and chain.state.step + 1 < len(chain.state.steps)


NOTIFICATIONS: TableSpec[Notification] = TableSpec(
    "notifications", Notification, until="until_ms", stays=lambda row: row.is_open
)


def aside_key(key: bytes, recorded_ms: int) -> bytes:
    """Of a row whose key another one has now, accepted later with the same id."""
    return key + f"\0{recorded_ms}".encode()


def notification_key(user_id: str, notification_id: str) -> bytes:
    return f"{user_id}\0{notification_id}\0".encode()


def replay_key(user_id: str, notification_id: str, replay_id: str, channel: Channel, device_id: str | None) -> bytes:
    """Of what a replay makes of a notification's send on the channel (push: to the device)."""
    return f"{user_id}\0{notification_id}\0{replay_id}\0{channel}\0{device_id or ''}".encode()


def range_of_notification(user_id: str, notification_id: str) -> tuple[bytes, bytes]:
    """Where the keys start and end of all its rows: its own, those set aside, and those of replays."""
    start = notification_key(user_id, notification_id)
    return start, start[:-1] + b"\1"
